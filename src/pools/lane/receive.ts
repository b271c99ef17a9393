/**
 * The worker's side of a connection: the pool that it gets (another view of the shared memory, or the other side of a
 * TransferPool), and the pool that takes whichever transport there is.
 */
import { abortable } from "../../util/abortable.ts";
import { type Clock, checkClock, systemClock } from "../../util/clock.ts";
import { MillpondError, throwLater } from "../../util/errors.ts";
import {
  abortSignal,
  callback,
  methodsOf,
  oneOf,
  readOptions,
  show,
  wholeNumber,
  word,
  wrongType,
} from "../../util/validate.ts";
import { bufferOf, lengthOf } from "../../util/view.ts";
import { Lease, type LeaseData, type LeasePool } from "../common/lease.ts";
import { foreignError, overError } from "../common/lease-errors.ts";
import { readWait, type WaitOptions, WaitQueue } from "../common/wait-queue.ts";
import { SharedPool } from "../shared/shared-pool.ts";
import { type Answer, type ConnectRequest, Greeting, type Lives } from "./connect.ts";
import { type Breach, type Carrier, Lane, type LanePort } from "./lane.ts";
import { holdLivenessLock, isLifePort, keepLife, watchLife } from "./liveness.ts";
import { connectorWatch, SharedConnection, type SharedOffer } from "./shared-transport.ts";
import {
  BACK,
  detachedError,
  heldTwiceError,
  isSlotBuffer,
  laneEndedError,
  mostRequests,
  noMemory,
  postBytes,
  slotOf,
  type TransferMessage,
  type TransferOffer,
  TransferPool,
  wordsOf,
} from "./transfer-pool.ts";

interface RemoteLease {
  readonly id: number;
  readonly view: Uint8Array<ArrayBuffer>;
  holds: number;
}

type Grant = Extract<TransferMessage, readonly ["grant", ...unknown[]]>;

type Post = (message: unknown, transfer?: readonly ArrayBuffer[]) => void;

/** The other side of a TransferPool, which `receiveLane` gives: leases that came, and slots that are asked for. */
class RemoteTransferPool implements LeasePool {
  /** For messages. */
  readonly name: string;
  /** Bytes of a slot. */
  readonly size: number;
  /** Slots of the pool. */
  readonly count: number;
  /** What carries a lease to another thread. */
  readonly transport = "transfer";
  /** @internal */
  readonly carrier: Carrier;
  readonly #pool: number;
  /** By slot: how often a lease of it was given up here; see Lease. */
  readonly #tenures: Float64Array;
  readonly #clock: Clock;
  /** By slot: a slot has one lease at a time. */
  readonly #leases: Map<number, RemoteLease> = new Map();
  readonly #requests: WaitQueue<Lease>;
  readonly #post: Post;
  /** Requests under way: as many as there are waits, up to the most that the other side takes. */
  readonly #asked: number[] = [];
  #request = 0;
  #isClosed = false;
  #isRetired = false;

  /** @internal Made by `receiveLane`. */
  constructor(offer: TransferOffer, post: Post, clock: Clock = systemClock) {
    this.name = offer.name;
    this.size = offer.size;
    this.count = offer.count;
    this.#tenures = new Float64Array(offer.count);
    this.#pool = offer.pool;
    this.#post = post;
    this.#clock = clock;
    this.#requests = new WaitQueue(clock);
    this.carrier = {
      pool: this,
      lossNote: `transfer pool "${this.name}" gives no slots to this thread any more`,
      send: (lease, post) => {
        const held = this.#held(lease, "send");
        if (held.holds > 1) throw heldTwiceError(this.name, slotOf(held.id), held.holds);
        if (lengthOf(held.view) !== this.size) throw detachedError(this.name, slotOf(held.id));
        const check = (): void => {
          if (this.#isClosed) throw laneEndedError(this.name, slotOf(held.id));
          if (lengthOf(held.view) !== this.size) throw detachedError(this.name, slotOf(held.id));
        };
        // Getters in the data find that it is not theirs any more.
        this.#leases.delete(slotOf(held.id));
        try {
          postBytes(this.name, held.view, (buffer) => post([held.id, buffer], [buffer], check));
        } catch (error) {
          this.#leases.set(slotOf(held.id), held);
          throw error;
        }
        this.#tenures[slotOf(held.id)]!++;
      },
      receive: (payload) => {
        const [id, buffer] = Array.isArray(payload) ? (payload as [unknown, unknown]) : [];
        return this.#acceptLease(id, buffer);
      },
      // Its buffer went with the message; the pool makes another when it hears of it.
      unread() {},
      unreadable() {},
      control: (message) => {
        const [what, request, id, buffer] = (Array.isArray(message) ? message : []) as unknown as Grant;
        if (what === ("retired" as string)) {
          this.#isRetired = true;
          this.#requests.rejectAll(() => this.#dead("wait for a slot of", "it was retired or closed"));
        } else if (what === ("refused" as string)) {
          this.#answered(request);
          if (this.#requests.first !== null)
            this.#requests.reject(this.#requests.first, noMemory(this.name, this.size));
        } else if (what !== "grant") return { breach: "said what only who takes part in a pool may say to its owner" };
        else {
          this.#answered(request);
          const lease = this.#acceptLease(id, buffer);
          if (lease !== undefined && "breach" in lease) return lease;
          // Who asked may have given up; the slot goes back then.
          if (lease !== undefined && !this.#requests.next(lease)) this.release(lease);
          // It was answered, and is not again.
          if (lease === undefined && this.#requests.first !== null)
            this.#requests.reject(this.#requests.first, this.#badGrant());
        }
        this.#ask();
        return undefined;
      },
      // The pool is the other side's.
      isPoolClosed: () => true,
      ended: () => {
        this.#isClosed = true;
        this.#requests.rejectAll(() => this.#dead("wait for a slot of"));
      },
    };
  }

  /** Always undefined: whether a slot is free is known to the pool's own thread only. Use {@link acquire}. */
  tryAcquire(): Lease | undefined {
    return undefined;
  }

  /**
   * Asks the pool's own thread for a slot. Rejects with the signal's reason, `ERR_STARVED`, and `ERR_POOL_DEAD` when
   * the lane ends or the pool is retired.
   */
  async acquire(options: WaitOptions = {}): Promise<Lease> {
    const { signal, timeout } = readWait(options);
    if (signal?.aborted) throw signal.reason;
    if (this.#isClosed) throw this.#dead("take a slot of");
    if (this.#isRetired) throw this.#dead("take a slot of", "it was retired or closed");
    const given = this.#requests.wait({ signal, timeout }, undefined, (waiter) => {
      const waited = Math.round(this.#clock.now() - waiter.since);
      return new MillpondError("ERR_STARVED", `no slot of transfer pool "${this.name}" came within ${waited} ms`);
    });
    this.#ask();
    try {
      return await given;
    } catch (error) {
      this.#ask();
      throw error;
    }
  }

  /** Asks for those who wait and were not asked for; the last requests go where there are fewer waits. */
  #ask(): void {
    if (this.#isClosed || this.#isRetired) return;
    const wanted = Math.min(this.#requests.length, mostRequests(this.count));
    while (this.#asked.length > wanted) this.#post(["cancel", this.#asked.pop()!] satisfies TransferMessage);
    while (this.#asked.length < wanted) {
      this.#asked.push(++this.#request);
      this.#post(["request", this.#request] satisfies TransferMessage);
    }
  }

  /** They are answered in order, all but some. */
  #answered(request: number): void {
    const at = this.#asked.indexOf(request);
    if (at >= 0) this.#asked.splice(at, 1);
  }

  /**
   * The bytes of a lease that this thread holds. Throws `ERR_USE_AFTER_RELEASE`, `ERR_FOREIGN_RELEASE`, `ERR_DETACHED`.
   */
  bytes(lease: LeaseData): Uint8Array {
    const held = this.#held(lease, "use");
    if (lengthOf(held.view) !== this.size) throw detachedError(this.name, slotOf(held.id));
    return held.view;
  }

  /** One hold more. Throws as {@link bytes}. */
  retain(lease: LeaseData): void {
    this.#held(lease, "retain").holds++;
  }

  /**
   * Gives a hold back; the last one sends the buffer back. Throws `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE`,
   * `ERR_DETACHED` (the slot gets a new buffer).
   */
  release(lease: LeaseData): void {
    const held = this.#held(lease, "release");
    if (--held.holds > 0) return;
    this.#leases.delete(slotOf(held.id));
    this.#tenures[slotOf(held.id)]!++;
    const detached = lengthOf(held.view) !== this.size;
    // A lane that has ended took its slots back already.
    if (!this.#isClosed) this.#return(held.id, detached ? undefined : bufferOf(held.view));
    if (detached) throw detachedError(this.name, slotOf(held.id));
  }

  /** The pool makes another buffer for a slot that comes back without one. */
  #return(id: number, buffer: ArrayBuffer | undefined): void {
    try {
      const message: TransferMessage = ["return", id, buffer];
      this.#post(message, buffer === undefined ? [] : [buffer]);
    } catch (error) {
      if (buffer === undefined) throw error;
      // A holder made it untransferable: it stays here.
      this.#return(id, undefined);
    }
  }

  #acceptLease(id: unknown, buffer: unknown): Lease | Breach | undefined {
    if (typeof id !== "number" || !Number.isSafeInteger(id) || id < 0 || Object.is(id, -0)) return undefined;
    const slot = slotOf(id);
    // One of a slot that the pool does not have is nobody's.
    if (slot >= this.count) return undefined;
    if (this.#leases.has(slot)) return { breach: `sent a second lease of slot ${slot}, which is held here` };
    if (!isSlotBuffer(buffer, this.size)) {
      this.#return(id, undefined);
      return undefined;
    }
    this.#leases.set(slot, { id, view: new Uint8Array(buffer), holds: 1 });
    return new Lease(id, slot, this.#pool, this, this.#tenures[slot]);
  }

  #held(lease: LeaseData, verb: string): RemoteLease {
    if (lease === null || typeof lease !== "object") throw wrongType("lease", "a Lease of this pool", lease);
    // Each once: what is read twice can be something else the second time.
    const { id, index, pool } = lease;
    const held = pool === this.#pool && typeof id === "number" ? this.#leases.get(slotOf(id)) : undefined;
    // A Map takes -0 for 0; and a slot has many leases, one after the other.
    const isHeld = held !== undefined && Object.is(id, held.id) && index === slotOf(id);
    if (isHeld && !Lease.isOver(lease, this, this.#tenures[slotOf(id)]!)) return held;
    if (pool !== this.#pool) {
      throw foreignError(wordsOf(this.name), "that lease", `${verb} it where it came from`);
    }
    const slot = `slot ${show(index)} of transfer pool "${this.name}"`;
    throw overError(wordsOf(this.name), slot, verb, isHeld ? BACK : undefined);
  }

  #badGrant(): MillpondError {
    return new MillpondError(
      "ERR_BAD_DATA",
      `what came from transfer pool "${this.name}" is no slot of it; use the same version of millpond on both sides`,
    );
  }

  #dead(verb: string, why = "its lane has ended"): MillpondError {
    return new MillpondError("ERR_POOL_DEAD", `cannot ${verb} transfer pool "${this.name}": ${why}`);
  }
}

/** Where messages come from: a worker's global scope, Node's parentPort, a MessagePort. */
export interface LaneSource {
  /** As EventTarget's; Node's parentPort has it too. */
  addEventListener(type: "message", listener: (event: unknown) => void): void;
  /** As EventTarget's. */
  removeEventListener(type: "message", listener: (event: unknown) => void): void;
  /** As MessagePort's. */
  start?(): void;
}

/**
 * Waits for the thread that calls `pool.connect(worker)`, and answers. Call it as the worker starts: browsers drop
 * messages that come before anybody listens. Rejects with the signal's reason, and with what {@link SharedPool.attach}
 * throws.
 *
 * @param source `self` in a browser's worker, `parentPort` in Node's
 */
export async function receiveLane<Data = unknown>(
  source: LaneSource,
  options: { signal?: AbortSignal; clock?: Clock } = {},
): Promise<Lane<Data>> {
  const listening = {
    ...methodsOf(
      "source",
      "a worker's global scope or its parentPort, in the worker; its maker calls pool.connect(worker)",
      source,
      ["addEventListener", "removeEventListener"],
    ),
    start: callback("source.start", source.start)?.bind(source),
  };
  const { signal: given, clock: own } = readOptions("options", options, ["signal", "clock"]);
  const signal = abortSignal("options.signal", given);
  const clock = checkClock("options.clock", own);
  const desk = new RequestDesk(source, listening, signal);
  try {
    for (;;) {
      const lane = await accept<Data>(checkConnectRequest(await desk.next()), clock, signal);
      if (lane !== undefined) return lane;
    }
  } finally {
    desk.leave();
  }
}

/** Joins what the request offers, and answers it; undefined: the other side has given it up, or ended. */
async function accept<Data>(
  { port, offer, window, lock, hasLife }: ConnectRequest,
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<Lane<Data> | undefined> {
  const holds = await orRefuse(
    port,
    abortable<boolean>(signal, ({ resolve }) => void holdLivenessLock(lock).then(resolve)),
  );
  const ready: Answer = { kind: Greeting.READY, holds };
  // It came before the request.
  const lives = hasLife === true ? await firstOf(port, signal) : undefined;
  const { keep, watch } = (lives ?? {}) as Partial<Lives>;
  if (isLifePort(keep)) keepLife(keep);
  const settings = window === undefined ? { clock } : { clock, window };
  if ((offer as SharedOffer).transport === "shared") {
    const { handle, from } = offer as SharedOffer;
    let pool: SharedPool | undefined;
    try {
      pool = SharedPool.attach(handle);
      const connection = new SharedConnection(pool, from);
      const lane = new Lane<Data>(
        port,
        connection.carrier(false, () => {}),
        settings,
      );
      if (isLifePort(watch)) watchLife(watch, connectorWatch(pool, offer as SharedOffer));
      // Before this thread can leave: who reads it knows this thread from then on.
      port.postMessage({ ...ready, thread: pool.core.thread } satisfies Answer);
      return lane;
    } catch (error) {
      // A request that was given up took its reservation with it.
      if (pool === undefined && !(await isWanted(port, signal))) return undefined;
      // The other side waits for an answer.
      port.postMessage({ kind: Greeting.REFUSED, failed: (error as Error).message });
      port.close();
      pool?.leave({ force: true });
      throw error;
    }
  }
  // A pool that lies in no memory of both says nothing about it.
  if (!(await isWanted(port, signal))) return undefined;
  let lane: Lane<Data> | undefined;
  const pool = new RemoteTransferPool(
    offer as TransferOffer,
    (message, transfer) => lane?.control(message, transfer),
    clock,
  );
  lane = new Lane<Data>(port, pool.carrier, settings);
  port.postMessage(ready);
  return lane;
}

/** Whether the other side of a request still waits for its answer. */
async function isWanted(port: LanePort, signal: AbortSignal | undefined): Promise<boolean> {
  const answer = firstOf(port, signal);
  port.postMessage({ kind: Greeting.HELLO });
  return ((await answer) as { readonly kind?: unknown } | null | undefined)?.kind === Greeting.GO;
}

/** The next message on a port that is not the lane's yet; undefined: the other side has closed it, or ended. */
function firstOf(port: LanePort, signal: AbortSignal | undefined): Promise<unknown> {
  const first = abortable<unknown>(signal, ({ resolve, onEnd }) => {
    port.onmessage = ({ data }) => resolve(data);
    port.addEventListener("close", () => resolve(undefined));
    onEnd(() => {
      port.onmessage = null;
    });
  });
  return orRefuse(port, first);
}

/** A wait of this side that is given up: the other side waits for an answer. */
async function orRefuse<T>(port: LanePort, wait: Promise<T>): Promise<T> {
  try {
    return await wait;
  } catch (error) {
    port.postMessage({ kind: Greeting.REFUSED, failed: "it has given up its wait" });
    port.close();
    throw error;
  }
}

/**
 * What came in a message may be anything: of another version of the library, or of a program that guesses. Throws
 * `ERR_BAD_DATA`.
 */
function checkConnectRequest(given: ConnectRequest): ConnectRequest {
  try {
    methodsOf("port", "a MessagePort", given.port, ["postMessage", "addEventListener", "close"]);
    const offer = given.offer as Partial<SharedOffer> | Partial<TransferOffer>;
    if (oneOf("offer.transport", offer?.transport, ["shared", "transfer"]) === "transfer") {
      const { name, pool, size, count } = offer as TransferOffer;
      word("offer.name", name);
      wholeNumber("offer.pool", pool, 1);
      wholeNumber("offer.size", size, 1, 2 ** 30);
      wholeNumber("offer.count", count, 1, 2 ** 16);
    }
    if (given.window !== undefined) wholeNumber("window", given.window, 1, 2 ** 20);
    if (given.lock !== undefined) word("lock", given.lock);
  } catch (cause) {
    throw new MillpondError(
      "ERR_BAD_DATA",
      `a message asks for a lane, but it makes no sense: ${(cause as Error).message}; use the same version of millpond on both sides`,
      {},
      { cause },
    );
  }
  return given;
}

/** Requests that came to a source, and those of this thread who wait for one there. */
interface Requests {
  readonly untaken: ConnectRequest[];
  readonly takers: ((request: ConnectRequest) => void)[];
}

const requestsOf = new WeakMap<object, Requests>();

/** Requests that somebody has heard: each listener of a source hears each message. */
const heard = new WeakSet<object>();

/**
 * One who waits for requests at a source. Each request goes to one of those who wait there: to the first that has none,
 * and where all of them have one to the next that asks.
 */
class RequestDesk {
  readonly #requests: Requests;
  readonly #signal: AbortSignal | undefined;
  readonly #leave: () => void;

  constructor(source: object, listening: LaneSource, signal: AbortSignal | undefined) {
    if (signal?.aborted) throw signal.reason;
    const requests = requestsOf.get(source) ?? { untaken: [], takers: [] };
    requestsOf.set(source, requests);
    this.#requests = requests;
    this.#signal = signal;
    const listen = (event: unknown): void => {
      const data = (event as { readonly data: unknown }).data as Partial<ConnectRequest> | null;
      if (data?.kind !== "millpond.lane" || data.port === undefined || heard.has(data)) return;
      heard.add(data);
      const take = requests.takers.shift();
      if (take === undefined) requests.untaken.push(data as ConnectRequest);
      else take(data as ConnectRequest);
    };
    listening.addEventListener("message", listen);
    this.#leave = () => listening.removeEventListener("message", listen);
    try {
      listening.start?.();
    } catch (error) {
      this.leave();
      throw error;
    }
  }

  /** The next request. Rejects with the signal's reason. */
  next(): Promise<ConnectRequest> {
    const { untaken, takers } = this.#requests;
    return abortable(this.#signal, ({ resolve, onEnd }) => {
      const waiting = untaken.shift();
      if (waiting !== undefined) {
        resolve(waiting);
        return;
      }
      takers.push(resolve);
      onEnd(() => {
        const at = takers.indexOf(resolve);
        if (at >= 0) takers.splice(at, 1);
      });
    });
  }

  /** Listens no more. What the source throws surfaces in a later turn: the caller has its answer. */
  leave(): void {
    try {
      this.#leave();
    } catch (error) {
      throwLater(error);
    }
  }
}

/** How {@link leasePool} makes a pool. */
export interface LeasePoolOptions {
  /** Bytes of a slot. */
  size: number;
  /** Slots. */
  count: number;
  /** For messages. */
  name?: string;
  /** "auto" (default): shared memory where there is some, else transfer. */
  transport?: "auto" | "shared" | "transfer";
}

/**
 * A pool whose leases move between threads, by shared memory where it exists and by transfer where not. Throws as their
 * makers.
 */
export function leasePool(options: LeasePoolOptions): (SharedPool | TransferPool) & LeasePool {
  if (options === undefined) throw wrongType("options", "a plain object", options);
  const given = readOptions("options", options, ["size", "count", "name", "transport"]);
  const { transport = "auto", ...rest } = given;
  const wanted = oneOf("options.transport", transport, ["auto", "shared", "transfer"]);
  const shared = wanted === "shared" || (wanted === "auto" && typeof SharedArrayBuffer === "function");
  return shared ? SharedPool.create(rest) : TransferPool.create(rest);
}
