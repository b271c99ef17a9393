/**
 * A lane: leases that move between two threads, both ways, in order. Sending a lease gives it up; receiving it is
 * holding it. What carries it (a slot in shared memory, or an ArrayBuffer that is transferred and comes back) is a
 * {@link Carrier}; everything else is here: the window that is the back-pressure, the iteration, the orderly close, the
 * end without one.
 *
 * ```ts
 * const lane = await pool.connect(worker);                  // there: const lane = await receiveLane(parentPort)
 * await lane.send(lease, { pts });                          // waits while the other side is behind
 * for await (const { lease, data } of lane) { ... lease.release(); }
 * await lane.close();
 * ```
 *
 * Life-cycle of one end; `->` posts, `<-` has come:
 * ```
 *   open --close(): -> CLOSE--> closing --<- CLOSED, and no UNREAD is open: -> CLOSED--> ended
 *    |                             |
 *    |                             +--<- CLOSE, and no UNREAD is open: -> CLOSED--> done --<- CLOSED--> ended
 *    |                                                                               |
 *    +--<- CLOSE--> asked, sends no lease --no UNREAD is open: -> CLOSED-------------+
 *
 *   any --the port ends, or the pool of either side--> ended
 * ```
 * CLOSE says: no lease of mine comes after this, and answer when you have had all. CLOSED says: I have had all that you
 * sent, I send nothing more, I need no answer. An end that was asked receives what came before that; its own close()
 * has nothing to add but the wait.
 *
 * Invariants: what is sent arrives in order; at most `window` leases are under way in each direction; a lease that has
 * come is in the inbox, or with who took it, or released; a refused send leaves the lease with the sender. A message
 * that was posted counts as sent, whatever became of its lease: the other side gives the credit for it, and only that
 * side. Data that may run code when it is copied goes in front of the lease's message, so that nothing of the caller's
 * runs when bytes have gone. An end stays until both have said CLOSED: so a side that is owed an answer (UNREAD asks
 * which lease it was that could not be read) gets it, in whatever order the two close, unless the other thread or its
 * part in the pool ends. Nothing waits after the end, nor for a lease that was named and not given: the lane's end, or
 * CLOSE, comes after each step that its sender takes. Only who owns a pool can say that it was closed; whatever empties
 * the inbox gives back what is in it; a message that its sender may not send ends the lane (`ERR_BAD_DATA`).
 *
 * Complexity: each send and each receive O(1), beside the copy of `data`; close O(inbox).
 */
import { type Clock, systemClock } from "../../util/clock.ts";
import { isMillpondError, MillpondError, throwLater } from "../../util/errors.ts";
import { wholeNumber } from "../../util/validate.ts";
import type { Delivery, Lease, LeaseData, LeasePool } from "../common/lease.ts";
import { closedError } from "../common/lease-errors.ts";
import { readWait, type WaitOptions, WaitQueue } from "../common/wait-queue.ts";
import { lookNowAndThen, onPoolEnd, type PoolEnd } from "./liveness.ts";

/** The part of a MessagePort that a lane needs; browsers' and Node's both are one. */
export interface LanePort {
  /** As MessagePort's. */
  postMessage(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  /** As MessagePort's; setting it starts the port. */
  onmessage: ((event: { readonly data: unknown }) => void) | null;
  /** As MessagePort's: called for a message that cannot be read on this side. */
  onmessageerror?: ((event: never) => void) | null;
  /** As MessagePort's. */
  addEventListener(type: "close", listener: () => void): void;
  /** As MessagePort's. */
  close(): void;
  /** As that of a MessagePort of Node: it keeps the thread alive no longer. */
  unref?(): void;
}

/** What the other side did and may not do; its lane ends. */
export interface Breach {
  /** As in "the other side of the lane ...". */
  readonly breach: string;
}

/** How a lease gets to the other side. */
export interface Carrier {
  /** The pool on this side. */
  readonly pool: LeasePool;
  /**
   * Gives the lease up and posts it in one. When it throws, the lease is still the sender's, or its membership is over;
   * a message may have gone. `check`: for bytes that are transferred; it is called when all getters in the data have
   * run and the bytes are still here: what it throws refuses the send.
   */
  send(lease: LeaseData, post: (payload: unknown, transfer?: readonly ArrayBuffer[], check?: () => void) => void): void;
  /**
   * Takes a lease in; "later": it is not quite there; undefined: it is over. `isLast`: its sender takes no step any
   * more to give it, so nothing is waited for.
   */
  receive(payload: unknown, isLast: boolean): Lease | Breach | "later" | undefined;
  /** A message of the carrier's own. */
  control(message: unknown, post: (message: unknown, transfer?: readonly ArrayBuffer[]) => void): Breach | undefined;
  /** Whether the pool can be over by what the other side did: it owns the pool, or the pool's own words say so. */
  isPoolClosed(): boolean;
  /** The other side could not read the message that lease `id` went with; it is told so afterwards. */
  unread(id: number): void;
  /** This side could not read the message of lease `id`; undefined: of which nobody will tell. */
  unreadable(id: number | undefined): void;
  /** Called once, when the lane is at its end: `lost` when the other side ended without closing it. */
  ended(lost: boolean): void;
  /** What the loss of the other side means for what it held, for messages. */
  readonly lossNote: string;
  /**
   * Where others can end the pool and tell nobody: ends this thread's lanes if that has happened. Absent: only this
   * thread can.
   */
  readonly lookForEnd?: () => void;
}

/** @internal What a message says; the first place of each. */
export const MessageType = {
  LEASE: 0,
  CREDIT: 1,
  CLOSE: 2,
  CLOSED: 3,
  CONTROL: 4,
  POOL_CLOSED: 5,
  UNREAD: 6,
  UNREAD_WAS: 7,
  DATA: 8,
} as const;

/** 8 leases under way: two for each of a frame being filled, sent, looked at and coming back. */
const DEFAULT_WINDOW = 8;

/** In place of a lease: the message went, and then the lease was found to be over. */
const NO_LEASE = -1;

/** In place of a lease: the other side could not read that message, and was told which lease it was. */
const ANSWERED = -2;

/** Milliseconds between two looks for a lease that is not quite there: 0, 1, 2, 4 and so on. */
const MAX_RETRY_MS = 64;

/** How a lane is made. */
export interface LaneOptions {
  /** The most leases that were sent and not yet taken by the other side, in each direction; default 8. */
  window?: number;
  /** Time; default: the platform's. */
  clock?: Clock;
}

/**
 * One end of a connection between two threads, over which leases go both ways, in order. Sending a lease gives it up;
 * who receives it holds it. At most `window` leases are under way in each direction: {@link Lane.send} waits while the
 * other side is behind. A refused send leaves the lease with the sender. {@link Lane.close} ends the lane in good
 * order; it ends also with the other thread, or with the pool. Each send and each receive is O(1), beside the copy of
 * `data`.
 *
 * ```ts
 * const lane = await pool.connect(worker);              // there: const lane = await receiveLane(parentPort)
 * await lane.send(lease, { pts });
 * for await (const { lease, data } of lane) lease.release(); // what the other side sends
 * await lane.close();
 * ```
 */
export class Lane<Data = unknown> {
  readonly #port: LanePort;
  readonly #carrier: Carrier;
  readonly #clock: Clock;
  readonly #window: number;
  readonly #senders: WaitQueue<void>;
  readonly #inbox: (Delivery<Data> | MillpondError)[] = [];
  /** Messages behind one whose lease is not quite there; an error stands for one that cannot be read. */
  readonly #late: ([payload: unknown, data: Data] | MillpondError)[] = [];
  /** The leases that were sent last, by the number of their messages: the other side names one by that number. */
  readonly #sent: number[] = [];
  #sentCount = 0;
  #arrivedCount = 0;
  /** The data of the lease that comes next, where it comes in front of it. */
  #dataInFront: { readonly data: Data } | undefined;
  /** Messages that have come and were not paid back with credit. */
  #unpaid = 0;
  #retryMs = 0;
  /** A lease was named that its sender had not given when nothing of it could come any more. */
  #isWithheld = false;
  /** Messages that could not be read, and of which it is not known yet which leases they were of. */
  #unreadable = 0;
  readonly #readers: { resolve: () => void }[] = [];
  #credit: number;
  #taken = 0;
  #state: "open" | "closing" | "ended" = "open";
  /** The other side sends no lease any more. */
  #theyClosed = false;
  /** CLOSED was posted; the other side's has come. */
  #isDone = false;
  #theyAreDone = false;
  #failure: MillpondError | undefined;
  /** The other side did what it may not: nothing that it sent counts. */
  #isBreached = false;
  /** The pool ended with its last lease: sends fail, and who receives has had all. */
  #poolError: MillpondError | undefined;
  #closed: (() => void) | undefined;
  #ending: Promise<void> | undefined;
  readonly #leavePool: () => void;
  #isPosting = false;
  /** Stops the looks for the pool's end; undefined: nobody waits here. */
  #stopLooking: (() => void) | undefined;

  /** @internal Made by a pool's `connect`, and by `receiveLane`. */
  constructor(port: LanePort, carrier: Carrier, options: LaneOptions = {}) {
    this.#port = port;
    this.#carrier = carrier;
    this.#clock = options.clock ?? systemClock;
    this.#window = wholeNumber("options.window", options.window ?? DEFAULT_WINDOW, 1, 2 ** 20);
    this.#credit = this.#window;
    this.#senders = new WaitQueue(this.#clock);
    this.#leavePool = onPoolEnd(carrier.pool, {
      poolEnded: (error, end) => this.#poolEnded(error as MillpondError, end),
    });
    // Last: what came before is handed over at once, and may end this lane.
    port.onmessageerror = () => this.#onUnreadable();
    port.onmessage = (event) => this.#onMessage(event.data);
    port.addEventListener("close", () => this.lost());
  }

  /** The pool on this side: call its `bytes`, `retain` and `release` with a lease that was received. */
  get pool(): LeasePool {
    return this.#carrier.pool;
  }

  /** Leases that can be sent without waiting. */
  get credit(): number {
    return this.#credit;
  }

  /** Leases that have come and were not yet taken. */
  get pending(): number {
    return this.#inbox.length;
  }

  /** Whether leases can still be sent. */
  get isOpen(): boolean {
    return this.#state === "open" && !this.#theyClosed;
  }

  /**
   * Sends a lease, with data that can be cloned, and gives it up: any use of it after this is `ERR_USE_AFTER_RELEASE`.
   * False, with nothing changed: the other side is behind by the whole window. Throws what the pool throws for a lease
   * that is not this thread's, `ERR_INACTIVE` when the lane is closed, `ERR_INVALID_ARG_VALUE` for data that cannot be
   * cloned, and what getters in it throw; nothing changes then. Where a getter in the data gives the lease of a
   * SharedPool back, or one of a DOMException in it takes the bytes of a lease or ends its pool, a message has gone by
   * then, and counts against the window until the other side has passed over it.
   */
  trySend(lease: LeaseData, data?: Data): boolean {
    this.#checkOpen();
    if (this.#credit === 0 || this.#senders.length > 0) return false;
    this.#post(lease, data);
    return true;
  }

  /**
   * As {@link trySend}, waiting while the other side is behind. Also rejects with the signal's reason and `ERR_STARVED`
   * in time.
   */
  async send(lease: LeaseData, data?: Data, options: WaitOptions = {}): Promise<void> {
    const { signal, timeout } = readWait(options);
    if (signal?.aborted) throw signal.reason;
    if (this.trySend(lease, data)) return;
    this.#look();
    await this.#senders.wait({ signal, timeout }, undefined, (waiter) => this.#behind(waiter.since));
    // The place was kept for this one: #serveSenders counted it.
    this.#checkOpen();
    this.#credit++;
    this.#post(lease, data);
  }

  /**
   * The oldest lease that has come, or undefined. This thread holds it; release it, or send it on. Throws
   * `ERR_BAD_DATA`, once and in its place, for one whose data cannot be read in this thread (nested too deeply): that
   * lease is released, and the lane goes on.
   */
  tryReceive(): Delivery<Data> | undefined {
    const delivery = this.#inbox.shift();
    if (delivery !== undefined && this.#state === "open") this.#giveCredit();
    if (delivery instanceof MillpondError) throw delivery;
    return delivery;
  }

  /**
   * Waits for a lease; undefined when the other side has closed and all was taken, and when the pool was retired and
   * its last lease is back. Throws `ERR_INACTIVE` when the other side is gone, `ERR_POOL_DEAD` when either one closed
   * the pool, and as {@link tryReceive}.
   */
  async receive(): Promise<Delivery<Data> | undefined> {
    for (;;) {
      const delivery = this.tryReceive();
      if (delivery !== undefined) return delivery;
      if (this.#failure !== undefined) throw this.#failure;
      // Nothing is late by then, or it goes back.
      if (this.#theyClosed || this.#state !== "open") return undefined;
      this.#look();
      await new Promise<void>((resolve) => {
        this.#readers.push({ resolve });
      });
    }
  }

  /** Looks for the pool's end while somebody waits here. */
  #look(): void {
    const { lookForEnd } = this.#carrier;
    if (lookForEnd === undefined || this.#stopLooking !== undefined || this.#state === "ended") return;
    this.#stopLooking = lookNowAndThen(this.#clock, () => {
      lookForEnd();
      const waits = this.#readers.length > 0 || this.#senders.length > 0 || this.#state === "closing";
      if (!waits) this.#stopLook();
    });
  }

  #stopLook(): void {
    this.#stopLooking?.();
    this.#stopLooking = undefined;
  }

  /** The leases as they come, until the other side closes. Leaving the loop leaves the lane open. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Delivery<Data>, void, void> {
    for (;;) {
      const delivery = await this.receive();
      if (delivery === undefined) return;
      yield delivery;
    }
  }

  /**
   * Closes in good order: what was sent before arrives, leases that arrived and were not taken are released, and the
   * other side's iteration ends. Resolves when it has heard so, or is gone. Leases that this thread holds stay its own.
   */
  close(): Promise<void> {
    this.#ending ??= this.#close();
    return this.#ending;
  }

  async #close(): Promise<void> {
    // A getter in what is being sent closes it: that lease is in front of the end.
    if (this.#isPosting) await undefined;
    this.#dropInbox();
    if (this.#state === "ended") return;
    this.#state = "closing";
    const heard = new Promise<void>((resolve) => {
      this.#closed = resolve;
    });
    this.#senders.rejectAll(() => this.#closedError());
    this.#wakeReaders();
    // Who was asked has answered, or will.
    if (!this.#theyClosed) this.#port.postMessage([MessageType.CLOSE]);
    this.#look();
    await heard;
  }

  /** @internal The other side is gone. */
  lost(): void {
    if (this.#state === "ended") return;
    if (this.#state === "open" && !this.#theyClosed) {
      this.#failure = new MillpondError(
        "ERR_INACTIVE",
        `the other side of the lane ended without closing it; ${this.#carrier.lossNote}`,
      );
    }
    this.#end(!this.#theyClosed);
  }

  /** The pool is over: no lease of it is good, so there is nothing to wait for and nothing to give back. */
  #poolEnded(error: MillpondError, end: PoolEnd): void {
    if (this.#state === "ended") return;
    if (end === "retired") this.#poolError = error;
    else if (!this.#theyClosed) this.#failure = error;
    // What is still told of after a retirement is data that could not be read; its lease is back.
    if (end !== "retired") {
      this.#inbox.length = 0;
      this.#late.length = 0;
    }
    try {
      // Where no lease was out, nothing is lost over there: its iteration ends in good order.
      if (end === "closed" || end === "retired") {
        this.#port.postMessage([MessageType.CLOSE]);
        this.#port.postMessage([MessageType.CLOSED]);
      } else if (end === "forced") this.#port.postMessage([MessageType.POOL_CLOSED]);
    } catch {
      // The other side is gone.
    }
    this.#end(false);
  }

  /**
   * Says CLOSED once nothing more comes but that: the other side sends no lease any more, and has told of each that
   * could not be read here. Ends when both have said it.
   */
  #settle(): void {
    if (this.#unreadable > 0 || !(this.#theyClosed || this.#theyAreDone)) return;
    if (!this.#isDone) {
      this.#isDone = true;
      this.#port.postMessage([MessageType.CLOSED]);
    }
    if (this.#theyAreDone) this.#end(false);
  }

  #end(lost: boolean): void {
    this.#state = "ended";
    this.#stopLook();
    this.#leavePool();
    // What has come is taken in: the carrier gives back what has not.
    this.#retry(true);
    this.#carrier.ended(lost);
    if (this.#unreadable > 0 || (this.#isWithheld && !lost)) this.#carrier.unreadable(undefined);
    this.#port.onmessage = null;
    this.#port.onmessageerror = null;
    this.#port.close();
    this.#senders.rejectAll(() => this.#closedError());
    this.#wakeReaders();
    this.#closed?.();
  }

  #post(lease: LeaseData, data: Data | undefined): void {
    const before = this.#isPosting;
    let number: number | undefined;
    let isDataGone = false;
    this.#isPosting = true;
    // Taken before anything is posted: getters in the data may send, too.
    this.#credit--;
    try {
      this.#carrier.send(lease, (payload, transfer, check) => {
        if (check !== undefined && !isDataGone && mayRunCode(data)) {
          // The last that is read, and the receiver passes over it.
          this.#postCloned([MessageType.DATA, data, lastRead(check)]);
          isDataGone = true;
        }
        // Engines read some objects (Node 24 a DOMException) behind all others, and behind the transfer.
        if (isDataGone) check!();
        number = this.#postLease(payload, isDataGone ? undefined : data, isDataGone, transfer);
      });
    } catch (error) {
      // The message is under way, and the other side gives the credit for it. It brings no lease.
      if (isDataGone) number ??= this.#postLease(undefined, undefined, true);
      if (number === undefined) {
        this.#credit++;
        this.#serveSenders();
      } else this.#sent[number % this.#window] = NO_LEASE;
      throw error;
    } finally {
      this.#isPosting = before;
    }
  }

  /** The number of the message. `isBehind`: its data went in front of it. */
  #postLease(
    payload: unknown,
    data: Data | undefined,
    isBehind: boolean,
    transfer?: readonly ArrayBuffer[] | undefined,
  ): number {
    const message: unknown[] = [MessageType.LEASE, payload];
    if (isBehind) message.push(undefined, true);
    else if (data !== undefined) message.push(data);
    this.#postCloned(message, transfer);
    // It is under way until it was taken, and no more than the window are.
    const number = this.#sentCount++;
    this.#sent[number % this.#window] = Array.isArray(payload) ? payload[0] : payload;
    return number;
  }

  #postCloned(message: unknown[], transfer?: readonly ArrayBuffer[]): void {
    try {
      this.#port.postMessage(message, transfer);
    } catch (error) {
      throw cloneError(error);
    }
  }

  #onMessage(message: unknown): void {
    if (!Array.isArray(message)) return;
    const inFront = this.#dataInFront;
    this.#dataInFront = undefined;
    switch (message[0]) {
      case MessageType.DATA:
        this.#dataInFront = { data: message[1] as Data };
        break;
      case MessageType.LEASE:
        // Its data could not be read: that was counted, and the other side is asked which lease it was.
        if (message[3] === true && inFront === undefined) break;
        if (this.#theyClosed) this.#breach("sent a lease after it had said that none comes any more");
        else if (this.#isWithinWindow())
          this.#arrive(message[1], inFront === undefined ? (message[2] as Data) : inFront.data, false);
        break;
      case MessageType.CREDIT:
        // Never more than the window, whatever the other side says.
        if (Number.isInteger(message[1]) && message[1] > 0)
          this.#credit = Math.min(this.#credit + message[1], this.#window);
        this.#serveSenders();
        break;
      case MessageType.CLOSE:
        // Its sender is behind the last step of each that it sent.
        this.#retry(true);
        this.#theyClosed = true;
        this.#senders.rejectAll(() => this.#closedError());
        this.#settle();
        this.#wakeReaders();
        break;
      case MessageType.CLOSED:
        // It is no answer to anything.
        if (this.#state === "open" && !this.#theyClosed) break;
        this.#theyAreDone = true;
        this.#settle();
        break;
      case MessageType.POOL_CLOSED:
        if (this.#state === "ended") break;
        if (!this.#carrier.isPoolClosed()) {
          this.#breach("said that the pool was closed, which is not so");
          break;
        }
        this.#failure = closedError(
          { kind: "pool", name: this.pool.name, unit: "slot" },
          "wait for a lease of",
          "closed",
        );
        this.#late.length = 0;
        this.#end(false);
        this.#dropInbox();
        break;
      case MessageType.UNREAD: {
        const number = message[1] as unknown;
        const isUnderWay =
          Number.isInteger(number) &&
          (number as number) < this.#sentCount &&
          (number as number) >= Math.max(0, this.#sentCount - this.#window);
        if (!isUnderWay) break;
        const place = (number as number) % this.#window;
        const id = this.#sent[place]!;
        // Once: each answer waits here for a side that may read none.
        if (id === ANSWERED) break;
        this.#sent[place] = ANSWERED;
        if (id !== NO_LEASE) this.#carrier.unread(id);
        this.#port.postMessage([MessageType.UNREAD_WAS, id]);
        break;
      }
      case MessageType.UNREAD_WAS:
        if (this.#unreadable === 0) break;
        this.#unreadable--;
        // An object may refuse to become a number.
        this.#carrier.unreadable(typeof message[1] === "number" ? message[1] : Number.NaN);
        this.#settle();
        break;
      case MessageType.CONTROL: {
        const said = this.#carrier.control(message[1], (answer, transfer) => this.control(answer, transfer));
        if (said !== undefined) this.#breach(said.breach);
        break;
      }
    }
  }

  /** @internal Posts a message of the carrier's own. */
  control(message: unknown, transfer?: readonly ArrayBuffer[]): void {
    if (this.#state !== "ended") this.#port.postMessage([MessageType.CONTROL, message], transfer);
  }

  /**
   * The other side could write what it sent, and this one cannot read it: the engine says so, and nothing else. Only
   * what goes with a lease can be like that, and messages come in order, so the other side can tell which one it was.
   */
  #onUnreadable(): void {
    this.#dataInFront = undefined;
    if (!this.#isWithinWindow()) return;
    this.#unreadable++;
    this.#port.postMessage([MessageType.UNREAD, this.#arrivedCount - 1]);
    if (this.#ending !== undefined) return;
    const error = new MillpondError(
      "ERR_BAD_DATA",
      `the data of a lease of pool "${this.pool.name}" cannot be read in this thread, and the lease was released; send data that is nested less deeply`,
      { pool: this.pool.name },
    );
    if (this.#late.length > 0) this.#late.push(error);
    else this.#put(error);
  }

  #put(entry: Delivery<Data> | MillpondError): void {
    this.#inbox.push(entry);
    this.#readers.shift()?.resolve();
  }

  /** Counts a message that has come. The lane ends where the other side sends more than the window. */
  #isWithinWindow(): boolean {
    if (this.#state === "ended") return false;
    this.#arrivedCount++;
    if (this.#unpaid++ < this.#window) return true;
    this.#breach(`sent more than the ${this.#window} leases that may be under way`);
    return false;
  }

  /** Ends the lane for what the other side did; what it sent and nobody took goes back. */
  #breach(what: string): void {
    if (this.#state === "ended") return;
    this.#isBreached = true;
    this.#failure = new MillpondError(
      "ERR_BAD_DATA",
      `the other side of the lane ${what}, so the lane was ended; ${this.#carrier.lossNote}`,
      { window: this.#window },
    );
    this.#end(true);
    this.#dropInbox();
  }

  #arrive(payload: unknown, data: Data, isLast: boolean): void {
    // In order: nothing overtakes one that is not quite there.
    if (this.#late.length > 0) {
      this.#late.push([payload, data]);
      return;
    }
    const lease = this.#carrier.receive(payload, isLast);
    if (lease === "later" && !isLast) {
      this.#late.push([payload, data]);
      this.#clock.setTimer(() => this.#retry(false), this.#retryMs, false);
      this.#retryMs = Math.min(Math.max(1, 2 * this.#retryMs), MAX_RETRY_MS);
    } else if (lease === "later") {
      this.#isWithheld = true;
      this.#giveCredit();
    } else if (lease === undefined) this.#giveCredit();
    else if ("breach" in lease) this.#breach(lease.breach);
    else this.#deliver(lease, data);
  }

  /**
   * Looks again for what was not quite there. `isLast`: who sent it has said or shown that no lease comes any more, so
   * it has taken its step for each that it will ever give. What is not there then was named and not given: it is passed
   * over, and holds no end.
   */
  #retry(isLast: boolean): void {
    if (this.#late.length === 0) return;
    const late = this.#late.splice(0);
    for (const entry of late) {
      if (!(entry instanceof MillpondError)) this.#arrive(...entry, isLast);
      else if (this.#late.length > 0) this.#late.push(entry);
      else if (this.#ending === undefined) this.#put(entry);
    }
    if (this.#late.length === 0) this.#retryMs = 0;
    this.#wakeReaders();
  }

  #deliver(lease: Lease, data: Data): void {
    // Only this side's close gives up what comes late; what the other side sent before its own still counts.
    if (this.#ending !== undefined || this.#isBreached) {
      this.#giveBack(lease);
      return;
    }
    this.#put({ lease, data });
  }

  /** Half a window at once: a message each would be half of all messages. */
  #giveCredit(): void {
    this.#taken++;
    if (this.#taken * 2 < this.#window || this.#state === "ended") return;
    this.#port.postMessage([MessageType.CREDIT, this.#taken]);
    this.#unpaid -= this.#taken;
    this.#taken = 0;
  }

  #serveSenders(): void {
    while (this.#credit > 0 && this.#senders.next(undefined)) this.#credit--;
  }

  #dropInbox(): void {
    for (const entry of this.#inbox.splice(0)) if (!(entry instanceof MillpondError)) this.#giveBack(entry.lease);
  }

  /** A lease that nobody will see. Its pool may be over, and the lease with it. */
  #giveBack(lease: Lease): void {
    try {
      this.pool.release(lease);
    } catch (error) {
      if (!isMillpondError(error)) throwLater(error);
    }
  }

  #wakeReaders(): void {
    for (const reader of this.#readers.splice(0)) reader.resolve();
  }

  #checkOpen(): void {
    if (!this.isOpen) throw this.#closedError();
  }

  #closedError(): MillpondError {
    return (
      this.#failure ??
      this.#poolError ??
      new MillpondError(
        "ERR_INACTIVE",
        `the lane is closed; the lease of pool "${this.pool.name}" is still yours, release it`,
      )
    );
  }

  #behind(since: number): MillpondError {
    const waited = Math.round(this.#clock.now() - since);
    return new MillpondError(
      "ERR_STARVED",
      `the other side of the lane took none of the ${this.#window} leases under way within ${waited} ms; take them faster, or widen the window`,
      { waited, window: this.#window },
    );
  }
}

/**
 * Whether code may run when data is copied: not for what is no object, nor for a plain one without another one in it.
 * It costs 0.2 us; data that goes in front of its lease costs a message more.
 */
function mayRunCode(data: unknown): boolean {
  if (data === null || typeof data !== "object") return false;
  // What is in others may be much.
  if (Object.getPrototypeOf(data) !== Object.prototype) return true;
  // Symbols too: by one of them Node tells its own classes' objects, whatever their prototype is.
  return Reflect.ownKeys(data).some((key) => {
    if (typeof key === "symbol") return true;
    const value = Object.getOwnPropertyDescriptor(data, key);
    return value === undefined || value.get !== undefined || (typeof value.value === "object" && value.value !== null);
  });
}

/** An object that calls `check` when it is copied. */
function lastRead(check: () => void): object {
  return {
    get end(): undefined {
      return check() as undefined;
    },
  };
}

/**
 * What the engine says of data that it cannot copy, in the words of {@link Lane.send}; an error of the caller's own
 * getters stays.
 */
function cloneError(error: unknown): unknown {
  if (!isCloneError(error)) return error;
  const { message } = error as Error;
  return new MillpondError(
    "ERR_INVALID_ARG_VALUE",
    `data cannot be sent with a lease, which is still yours: ${message}`,
    { name: "data" },
    { cause: error },
  );
}

/** How engines name what they cannot copy. Each by what its message or code says, for a getter may throw anything. */
function isCloneError(error: unknown): boolean {
  const { name, message, code } = (error ?? {}) as { name?: unknown; message?: unknown; code?: unknown };
  if (name === "DataCloneError" || code === "ERR_MISSING_TRANSFERABLE_IN_TRANSFER_LIST") return true;
  // Node's v8.serialize throws a plain Error.
  if (name === "Error") return /could not be cloned\.?$/.test(String(message));
  // Nested too deeply.
  return /^(Maximum call stack size exceeded|too much recursion)/.test(String(message));
}
