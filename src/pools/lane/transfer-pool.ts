/**
 * TransferPool: what SharedPool is to shared memory, for places without it (a page that is not cross-origin isolated).
 * The slots are ArrayBuffers of one thread; sending a lease transfers its buffer, the last release over there transfers
 * it back. No byte is copied and no buffer is made twice; measured, that is as fast as shared memory. The price: one
 * thread at a time sees a slot, and the other side cannot take one without asking.
 *
 * Life-cycle of the pool: open; retired by `retire()`, when leases are still out, and closed with the last of them;
 * closed by `close()`. Of a slot: free; held here; being sent (the getters in the data run, and find that it is
 * nobody's; `view` is undefined); away over a lane (its buffer is in the other thread); free again when it is released
 * here or comes back, in a new generation, so that an old lease is not the next one. When a lane ends, its slots get
 * new buffers.
 *
 * Invariants: a slot is given with all of its bytes: one whose buffer was transferred away through a view that somebody
 * kept gets a new one first. A buffer that a holder made untransferable stays with that holder: a copy of its bytes is
 * sent, or new ones. A send is refused, with nothing changed, or its buffer has gone: what getters did is looked at
 * when the last of them has run, and before anything is posted.
 *
 * Every call is O(1), except making and closing the pool, `stats()`, `holders()`, `validate()` and a lane's end:
 * O(count).
 */
import { canTransfer } from "../../memory/detach.ts";
import { type PoolCounts, type PoolHolder, UNCOUNTED } from "../../observe/pool-info.ts";
import { beginWait, type PoolRegistration, registerPool, tellStarved } from "../../observe/registry.ts";
import { type Clock, checkClock } from "../../util/clock.ts";
import { disposeByForce } from "../../util/dispose.ts";
import { MillpondError } from "../../util/errors.ts";
import { UNCLONEABLE } from "../../util/uncloneable.ts";
import { checkOptions, flag, outOfRange, text, wholeNumber, wrongType } from "../../util/validate.ts";
import { bufferOf, lengthOf } from "../../util/view.ts";
import { Lease, type LeaseData, type LeasePool } from "../common/lease.ts";
import {
  closedError,
  corruptedError,
  foreignError,
  type Holders,
  type HolderText,
  inUseError,
  overError,
  type PoolWords,
  starvedError,
} from "../common/lease-errors.ts";
import { readWait, type WaitOptions, WaitQueue } from "../common/wait-queue.ts";
import { type ConnectOptions, checkConnect, connect, type LaneTarget } from "./connect.ts";
import type { Carrier, Lane } from "./lane.ts";
import { endUsers, type PoolEnd, retireUsers } from "./liveness.ts";

/** How a TransferPool is made. */
export interface TransferPoolOptions {
  /** Bytes of a slot; at most 2^30, and 2^38 in all slots together. */
  size: number;
  /** Slots; at most 2^16. */
  count: number;
  /** For messages; default "transfer". */
  name?: string;
  /** Time; default: the platform's. */
  clock?: Clock;
}

/** A slot of a TransferPool that is not free. */
export interface TransferHolder {
  /** Which slot. */
  readonly slot: number;
  /** How often it is held. */
  readonly holds: number;
  /** Whether its bytes are in another thread. */
  readonly isAway: boolean;
}

/** What the two sides say to each other besides the leases. */
export type TransferMessage =
  | readonly ["return", id: number, buffer: ArrayBuffer | undefined]
  | readonly ["request", request: number]
  | readonly ["cancel", request: number]
  | readonly ["grant", request: number, id: number, buffer: ArrayBuffer]
  /** The slot that came free has no bytes, and there is no memory for new ones: one who waits is told so. */
  | readonly ["refused", request: number]
  /** The pool gives nothing any more, to nobody. */
  | readonly ["retired"];

/** What the other side needs to know. */
export interface TransferOffer {
  /** Which transport. */
  readonly transport: "transfer";
  /** As the pool's. */
  readonly name: string;
  /** As the pool's. */
  readonly pool: number;
  /** As the pool's. */
  readonly size: number;
  /** As the pool's. */
  readonly count: number;
}

interface Entry {
  readonly index: number;
  view: Uint8Array<ArrayBuffer> | undefined;
  generation: number;
  /** 0: free. */
  holds: number;
  /** How often this lease was sent or given to another thread. */
  tenure: number;
  /** The lane that its buffer went over; SENDING: the getters of what is sent with it run. */
  away: Carrier | typeof SENDING | undefined;
}

const SENDING: unique symbol = Symbol("being sent");

/** 16 bits of index leave 37 of generation below 2^53: at a million uses of a slot a second they last 38 hours. */
const SLOTS = 2 ** 16;
const GENERATIONS = 2 ** 37;

/** 2^38, 256 GiB: more than a page or a thread can use, and what the system gives or refuses within a second. */
const MAX_BYTES = 2 ** 38;

/** The most slots that the other side of a pool may ask for at once; its further waits wait there. */
export function mostRequests(count: number): number {
  return Math.max(1024, count);
}

function newBytes(name: string, size: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(size);
  } catch (cause) {
    throw noMemory(name, size, cause);
  }
}

/** The error of a slot without bytes that gets no new ones. */
export function noMemory(name: string, size: number, cause?: unknown): MillpondError {
  return new MillpondError(
    "ERR_ALLOCATION_FAILED",
    `the slots of transfer pool "${name}" cannot be had: no memory for another ${size} bytes; make fewer or smaller ones`,
    { size },
    { cause },
  );
}

/**
 * Posts the buffer of a slot. One that a holder made untransferable stays with that holder, and a copy goes. Throws
 * what `post` throws, and `ERR_ALLOCATION_FAILED` where there is no memory for the copy.
 */
export function postBytes(name: string, view: Uint8Array<ArrayBuffer>, post: (buffer: ArrayBuffer) => void): void {
  try {
    post(bufferOf(view));
  } catch (error) {
    if (lengthOf(view) === 0 || canTransfer(bufferOf(view))) throw error;
    const copy = newBytes(name, lengthOf(view));
    copy.set(view);
    post(copy.buffer);
  }
}

/** Whether what came in a message is the buffer of a slot: one that can be resized would lose its bytes later. */
export function isSlotBuffer(buffer: unknown, size: number): buffer is ArrayBuffer {
  return (
    buffer instanceof ArrayBuffer &&
    buffer.byteLength === size &&
    (buffer as { readonly resizable?: boolean }).resizable !== true
  );
}

function idOf(entry: Entry): number {
  return entry.generation * SLOTS + entry.index;
}

/** The slot of an identity; what is no integer has been refused before. */
export function slotOf(id: number): number {
  return id % SLOTS;
}

/**
 * What {@link SharedPool} is to shared memory, for places without it (a page that is not cross-origin isolated). The
 * slots are ArrayBuffers of one thread: sending a lease transfers its buffer, the last release over there transfers it
 * back, and no byte is copied. One thread at a time sees a slot, and the other side cannot take one without asking.
 * {@link leasePool} makes a SharedPool where there is shared memory, and else this. Calls are O(1), except making and
 * closing the pool, `stats()`, `holders()`, `validate()` and a lane's end: O(count).
 */
export class TransferPool implements LeasePool {
  /** @internal */
  readonly uncloneable: symbol = UNCLONEABLE;
  /** For messages. */
  readonly name: string;
  /** Bytes of a slot. */
  readonly size: number;
  /** Slots. */
  readonly count: number;
  /** What carries a lease to another thread. */
  readonly transport = "transfer";
  /**
   * Use it as `using pool = TransferPool.create(options)` where the platform has `Symbol.dispose`:
   * `close({ force: true })`.
   */
  declare [Symbol.dispose]: () => void;
  readonly #pool: number;
  readonly #entries: Entry[];
  readonly #free: number[];
  readonly #clock: Clock;
  readonly #queue: WaitQueue<Lease>;
  readonly #registration: PoolRegistration;
  #state: "open" | "retired" | "closed" = "open";

  private constructor(options: TransferPoolOptions) {
    if (options === undefined) throw wrongType("options", "a plain object", options);
    const { name, size, count, clock } = checkOptions("options", options, ["name", "size", "count", "clock"]);
    this.name = text("options.name", name, "transfer");
    this.size = wholeNumber("options.size", size, 1, 2 ** 30);
    this.count = wholeNumber("options.count", count, 1, SLOTS);
    this.#clock = checkClock("options.clock", clock);
    this.#pool = 1 + Math.floor(Math.random() * (2 ** 30 - 1));
    // Both in their bounds can still be more than any machine has, and seconds go by until it says so.
    if (this.size * this.count > MAX_BYTES) {
      throw outOfRange("options.size * options.count", `at most ${MAX_BYTES} bytes`, this.size * this.count);
    }
    this.#entries = Array.from({ length: this.count }, (_, index) => ({
      index,
      view: newBytes(this.name, this.size),
      generation: 0,
      holds: 0,
      tenure: 0,
      away: undefined,
    }));
    this.#free = this.#entries.map((_, index) => index).reverse();
    this.#queue = new WaitQueue(this.#clock);
    this.#registration = registerPool("TransferPool", this.name, {
      counts: () => this.#counts(),
      stats: () => this.stats(),
      holders: (most) => this.#poolHolders(most),
      watch() {},
    });
    this.#queue.beginSpan = (ahead) => beginWait(this.#registration, ahead, this.#queue);
    this.#registration.begin();
  }

  /** Makes a pool. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_ALLOCATION_FAILED`. O(count). */
  static create(options: TransferPoolOptions): TransferPool {
    return new TransferPool(options);
  }

  /**
   * A free slot, the one freed last; undefined: none is free, or others wait. Throws `ERR_POOL_DEAD`, and
   * `ERR_ALLOCATION_FAILED` for a slot whose buffer was transferred away, where there is no memory for another.
   */
  tryAcquire(): Lease | undefined {
    if (this.#state !== "open") throw this.#closedError("take a slot of");
    if (this.#queue.length > 0) return undefined;
    const index = this.#free.at(-1);
    if (index === undefined) return undefined;
    const error = this.#refill(this.#entries[index]!);
    if (error !== undefined) throw error;
    this.#free.pop();
    return this.#lease(index);
  }

  /** Waits, first come, first served. Rejects with the signal's reason, `ERR_STARVED`, and as {@link tryAcquire}. */
  async acquire(options: WaitOptions = {}): Promise<Lease> {
    const { signal, timeout } = readWait(options);
    if (signal?.aborted) throw signal.reason;
    const lease = this.tryAcquire();
    if (lease !== undefined) return lease;
    const given = await this.#queue.wait({ signal, timeout }, undefined, (waiter) => this.#starved(waiter.since));
    // It was this waiter's from the release on; a close by force since then has ended it.
    if (idOf(this.#entries[given.index]!) !== given.id) throw this.#closedError("take a slot of");
    return given;
  }

  /**
   * The bytes of a lease that this thread holds. Throws `ERR_USE_AFTER_RELEASE`, `ERR_FOREIGN_RELEASE`, `ERR_DETACHED`.
   */
  bytes(lease: LeaseData): Uint8Array {
    const entry = this.#held(lease, "use");
    if (lengthOf(entry.view!) !== this.size) throw detachedError(this.name, entry.index);
    return entry.view!;
  }

  /** One hold more. Throws as {@link bytes}. */
  retain(lease: LeaseData): void {
    this.#held(lease, "retain").holds++;
  }

  /**
   * Gives a hold back. Throws `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE`, `ERR_DETACHED` (the slot is free, and its
   * next lease has a new buffer).
   */
  release(lease: LeaseData): void {
    const entry = this.#held(lease, "release");
    if (--entry.holds > 0) return;
    const detached = lengthOf(entry.view!) !== this.size;
    this.#recycle(entry.index);
    if (detached) throw detachedError(this.name, entry.index);
  }

  /** Connects to a worker, which calls `receiveLane`. Throws as {@link connect}. */
  async connect<Data = unknown>(target: LaneTarget, options: ConnectOptions = {}): Promise<Lane<Data>> {
    const checked = checkConnect(target, options);
    if (this.#state !== "open") throw this.#closedError("connect");
    const { name, size, count } = this;
    const offer: TransferOffer = { transport: "transfer", name, pool: this.#pool, size, count };
    let carrier: Carrier | undefined;
    let isClosed = false;
    const peer = {
      pool: this,
      carrier: () => {
        const made = this.#carrier();
        carrier = made;
        const ended = (lost: boolean): void => {
          isClosed = true;
          made.ended(lost);
        };
        return { ...made, ended };
      },
      exited: () => carrier?.ended(true),
      // Nothing of it is over there once the lane has ended.
      outlivesLane: false,
      isSettled: () => isClosed && this.#entries.every((entry) => entry.away !== carrier),
      // Without a carrier nothing has gone over there.
      abandoned: () => carrier === undefined,
      unheard() {},
    };
    return connect<Data>(checked, offer, peer);
  }

  /** Slots by where they are. O(count). */
  stats(): { readonly count: number; readonly free: number; readonly held: number; readonly away: number } {
    const away = this.#entries.filter((entry) => entry.away !== undefined).length;
    const free = this.#free.length;
    return { count: this.count, free, held: this.count - free - away, away };
  }

  /** Who has each slot that is not free, in the order of the slots. O(count). */
  holders(): readonly TransferHolder[] {
    return this.#entries
      .filter((entry) => entry.holds > 0)
      .map(({ index, holds, away }) => ({ slot: index, holds, isAway: away !== undefined }));
  }

  /** Checks every invariant; throws `ERR_CORRUPTED`. O(count). For tests. */
  validate(): void {
    const free = new Set(this.#free);
    for (const { index, holds, away, view } of this.#entries) {
      const isFree = this.#state !== "closed" && free.has(index);
      const isSound = isFree ? holds === 0 && away === undefined : holds > 0 || this.#state === "closed";
      if (isSound && (away !== undefined) === (view === undefined)) continue;
      throw new MillpondError(
        "ERR_CORRUPTED",
        `transfer pool "${this.name}": slot ${index} is in no state that there is`,
      );
    }
    if (free.size !== this.#free.length) {
      throw corruptedError(wordsOf(this.name), "a slot is free twice");
    }
  }

  /**
   * Ends the pool with its last lease: nobody gets a slot any more, pending waits reject, leases stay good. Returns
   * who holds one.
   */
  retire(): readonly TransferHolder[] {
    return this.#retire("retired");
  }

  #retire(end: PoolEnd): readonly TransferHolder[] {
    const holders = this.holders();
    if (this.#state !== "open") return holders;
    this.#state = "retired";
    this.#queue.rejectAll(() => this.#closedError("wait for a slot of"));
    retireUsers(this, () => this.#closedError("connect"));
    if (this.#free.length === this.count) this.#end(end);
    return holders;
  }

  #end(how: PoolEnd): void {
    // A clock that is told of the end of a wait may have ended the pool already.
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#registration.end();
    endUsers(this, () => this.#closedError("wait for a lease of"), how);
  }

  /**
   * Ends the pool. Throws `ERR_IN_USE` while slots are held here or away, with who holds them; with `force` those
   * leases end, and a buffer that comes back is dropped. A second time nothing happens. O(count).
   */
  close(options: { force?: boolean } = {}): void {
    const force = flag("options.force", checkOptions("options", options, ["force"]).force, false);
    if (this.#state === "closed") return;
    const holders = this.holders();
    if (holders.length > 0 && !force) {
      const remedy = "Wait for them, use retire(), or close({ force: true })";
      throw inUseError(wordsOf(this.name), "close", holdersOf(holders), remedy);
    }
    this.#retire("closed");
    // Those of now: what ends with the retirement (a clock's timers) may have given some back.
    for (const { slot } of this.holders()) {
      const entry = this.#entries[slot]!;
      if (entry.view === undefined) entry.view = new Uint8Array(0);
      this.#reset(entry);
      this.#free.push(slot);
    }
    this.#end("forced");
  }

  #lease(index: number): Lease {
    const entry = this.#entries[index]!;
    entry.holds = 1;
    this.#registration.acquired(index, entry.generation);
    return new Lease(idOf(entry), index, this.#pool, this);
  }

  /**
   * Before a slot is given: a view that was kept may have transferred its buffer. The error where there is no memory.
   */
  #refill(entry: Entry): MillpondError | undefined {
    if (entry.view !== undefined && lengthOf(entry.view) === this.size) return undefined;
    try {
      entry.view = newBytes(this.name, this.size);
      return undefined;
    } catch (error) {
      return error as MillpondError;
    }
  }

  #recycle(index: number): void {
    const entry = this.#entries[index]!;
    this.#reset(entry);
    const error = this.#queue.length > 0 ? this.#refill(entry) : undefined;
    // They would wait for memory, and none comes by waiting.
    if (error !== undefined) this.#queue.rejectAll(() => error);
    // A slot is leased or free at every moment, also before a waiter has heard of it.
    if (this.#queue.length > 0) this.#queue.next(this.#lease(index));
    else this.#free.push(index);
    if (this.#state === "retired" && this.#free.length === this.count) this.#end("retired");
  }

  #reset(entry: Entry): void {
    this.#registration.released(entry.index);
    entry.holds = 0;
    entry.tenure = 0;
    entry.away = undefined;
    entry.generation = (entry.generation + 1) % GENERATIONS;
  }

  #counts(): PoolCounts {
    const { count, free } = this.stats();
    const bytes = count * this.size;
    const phase = this.#state === "open" ? "active" : this.#state;
    const bounds = { count, max: count, bytes, maxBytes: bytes };
    const leased = phase === "closed" ? 0 : count - free;
    return { phase, size: this.size, ...bounds, free, leased, waiting: this.#queue.length, ...UNCOUNTED };
  }

  #poolHolders(most: number): PoolHolder[] {
    const { size } = this;
    return this.holders()
      .slice(0, most)
      .map(({ slot, isAway }) => {
        const lease = this.#entries[slot]!.generation;
        return { slot, lease, size, age: null, ...(isAway ? { note: "in another thread" } : {}) };
      });
  }

  #carrier(): Carrier {
    const wants = new Map<number, AbortController>();
    let over = false;
    const carrier: Carrier = {
      pool: this,
      lossNote: `what it held of transfer pool "${this.name}" is free again`,
      send: (lease, post) => {
        const entry = this.#held(lease, "send");
        // The thread has ended and its port has not said so yet; a buffer that is posted now never comes back.
        if (over) throw laneEndedError(this.name, entry.index);
        if (entry.holds > 1) throw heldTwiceError(this.name, entry.index, entry.holds);
        const view = entry.view!;
        if (lengthOf(view) !== this.size) throw detachedError(this.name, entry.index);
        const id = idOf(entry);
        // Getters in the data find that it is not theirs any more; and what they end does not take it for sent.
        entry.away = SENDING;
        entry.view = undefined;
        const check = (): void => {
          if (idOf(entry) !== id) throw this.#closedError(`send slot ${entry.index} of`);
          if (over) throw laneEndedError(this.name, entry.index);
          if (lengthOf(view) !== this.size) throw detachedError(this.name, entry.index);
        };
        try {
          postBytes(this.name, view, (buffer) => post([id, buffer], [buffer], check));
        } catch (error) {
          // Unless a getter closed the pool by force.
          if (idOf(entry) === id) {
            entry.away = undefined;
            entry.view = view;
          }
          throw error;
        }
        if (idOf(entry) !== id) throw this.#closedError(`send slot ${entry.index} of`);
        this.#leaves(entry, carrier);
      },
      receive: (payload) => {
        const [id, buffer] = Array.isArray(payload) ? (payload as [number, ArrayBuffer]) : [];
        const entry = this.#acceptReturn(carrier, id, buffer);
        if (entry === undefined) return undefined;
        if (this.#refill(entry) !== undefined) {
          this.#recycle(entry.index);
          return undefined;
        }
        entry.away = undefined;
        return new Lease(idOf(entry), entry.index, this.#pool, this, entry.tenure);
      },
      // Its buffer went with the message.
      unread: (id) => {
        const entry = this.#acceptReturn(carrier, id, undefined);
        if (entry !== undefined) this.#recycle(entry.index);
      },
      unreadable(id) {
        carrier.unread(id ?? Number.NaN);
      },
      control: (message, post) => {
        const [what, number, buffer] = (Array.isArray(message) ? message : []) as unknown as TransferMessage;
        if (what === "return") {
          const entry = this.#acceptReturn(carrier, number, buffer);
          if (entry !== undefined) this.#recycle(entry.index);
        } else if (what === "cancel") {
          wants.get(number as number)?.abort();
          wants.delete(number as number);
        } else if (what !== "request") return { breach: "said what only the pool's own side may say" };
        // Each is answered once: of two with one number the first could not be canceled any more.
        else if (typeof number === "number" && !over && !wants.has(number)) {
          const most = mostRequests(this.count);
          if (wants.size >= most) return { breach: `asked for more than ${most} slots at once` };
          void this.#grant(carrier, number, wants, post);
        }
        return undefined;
      },
      // It is this side's.
      isPoolClosed: () => false,
      ended: () => {
        if (over) return;
        over = true;
        for (const want of wants.values()) want.abort();
        for (const [index, entry] of this.#entries.entries()) {
          if (entry.away !== carrier) continue;
          // Its buffer went with the other side; what it took is gone, the slot is not.
          entry.view = new Uint8Array(0);
          this.#recycle(index);
        }
      },
    };
    return carrier;
  }

  /**
   * The entry of a buffer that came back over the lane that it went; undefined for anything else that came. It has no
   * bytes where the buffer is not its own: it gets new ones when it is given again, or there is no memory then.
   */
  #acceptReturn(carrier: Carrier, id: unknown, buffer: unknown): Entry | undefined {
    if (typeof id !== "number" || !Number.isSafeInteger(id)) return undefined;
    const entry = this.#entries[slotOf(id)];
    // -0 is no identity.
    if (entry?.away !== carrier || !Object.is(id, idOf(entry))) return undefined;
    entry.view = isSlotBuffer(buffer, this.size) ? new Uint8Array(buffer) : new Uint8Array(0);
    return entry;
  }

  async #grant(
    carrier: Carrier,
    request: number,
    wants: Map<number, AbortController>,
    post: (message: unknown, transfer?: readonly ArrayBuffer[]) => void,
  ): Promise<void> {
    const want = new AbortController();
    wants.set(request, want);
    try {
      const lease = await this.acquire({ signal: want.signal });
      const entry = this.#entries[lease.index]!;
      // It has been this side's for a moment.
      const error = this.#refill(entry);
      if (want.signal.aborted || error !== undefined) {
        this.release(lease);
        if (error !== undefined) throw error;
        return;
      }
      try {
        postBytes(this.name, entry.view!, (buffer) =>
          post(["grant", request, lease.id, buffer] satisfies TransferMessage, [buffer]),
        );
      } catch (cause) {
        this.release(lease);
        throw cause;
      }
      this.#leaves(entry, carrier);
    } catch {
      // Canceled over there, or the lane has ended: nobody is owed an answer.
      const answer: TransferMessage = this.#state === "open" ? ["refused", request] : ["retired"];
      if (!want.signal.aborted) post(answer);
    } finally {
      // A number that was canceled may stand for another request by now.
      if (wants.get(request) === want) wants.delete(request);
    }
  }

  /** Its buffer has gone. */
  #leaves(entry: Entry, carrier: Carrier): void {
    entry.away = carrier;
    entry.view = undefined;
    entry.tenure++;
  }

  #held(lease: LeaseData, verb: string): Entry {
    if (lease === null || typeof lease !== "object") throw wrongType("lease", "a Lease of this pool", lease);
    // Each once: what is read twice can be something else the second time.
    const { id, index, pool } = lease;
    if (typeof index !== "number") throw wrongType("lease.index", "a number", index);
    const entry = this.#entries[index];
    if (pool !== this.#pool || entry === undefined) {
      throw foreignError(wordsOf(this.name), "that lease", `${verb} it where it came from`);
    }
    const { away } = entry;
    let now = away === SENDING ? "it is being sent" : away && "its bytes are in another thread now";
    if (entry.holds > 0 && away === undefined && Object.is(id, idOf(entry))) {
      if (entry.tenure === 0 || !Lease.isOver(lease, this, entry.tenure)) return entry;
      now = BACK;
    }
    if (this.#state === "closed") throw this.#closedError(`${verb} slot ${index} of`);
    throw overError(wordsOf(this.name), `slot ${index} of transfer pool "${this.name}"`, verb, now);
  }

  #closedError(verb: string): MillpondError {
    return closedError(wordsOf(this.name), verb, this.#state);
  }

  #starved(since: number): MillpondError {
    const missing = `no slot of transfer pool "${this.name}" came back`;
    const remedy = "Release them sooner, or make the pool with a larger count";
    const waited = this.#clock.now() - since;
    tellStarved(this.#registration, waited, this.#queue.length);
    return starvedError(wordsOf(this.name), missing, waited, holdersOf(this.holders()), remedy);
  }
}

disposeByForce(TransferPool);

/** What has become of a lease that is used by the object that was sent. */
export const BACK = "it has come back since, as another lease object, which has its own release()";

/** The error of a send over a lane that has ended, or that a getter in the data has ended. */
export function laneEndedError(name: string, slot: number): MillpondError {
  return new MillpondError(
    "ERR_INACTIVE",
    `the lane, or the thread at its other side, has ended; slot ${slot} of transfer pool "${name}" is still yours, release it`,
  );
}

/** The error of a lease that cannot go to another thread yet. */
export function heldTwiceError(name: string, slot: number, holds: number): MillpondError {
  return new MillpondError(
    "ERR_NOT_WRITABLE",
    `slot ${slot} of transfer pool "${name}" is held ${holds} times, and its bytes can be in one thread only; release the others first`,
  );
}

/** The error of a lease without bytes. */
export function detachedError(name: string, slot: number): MillpondError {
  return new MillpondError(
    "ERR_DETACHED",
    `slot ${slot} of transfer pool "${name}" lost its bytes: its ArrayBuffer was transferred; send() moves a lease`,
  );
}

/** What messages call a pool and its leases. */
export function wordsOf(name: string): PoolWords {
  return { kind: "transfer pool", name, unit: "slot", over: "released or sent" };
}

function holdersOf(list: readonly TransferHolder[]): Holders<TransferHolder> {
  const show = ({ slot, isAway }: TransferHolder): HolderText => ({
    lease: `slot ${slot}`,
    note: isAway ? "in another thread" : "in this thread",
  });
  return { list, show };
}
