/**
 * SpscRing: a queue of small integers from one thread to one other, in shared memory. Each side writes one counter and
 * remembers the other's as it last saw it, so that it looks there only when the queue seems full or empty: one atomic
 * exchange for a push, less than one for a pop. After Lamport's single-producer queue; remembering the other counter is
 * from FastForward and the queues after it.
 *
 * ```ts
 * const ring = SpscRing.create(64);                       // post ring.memory; there: SpscRing.attach(memory)
 * ring.tryPush(7);                                          // false: full
 * await ring.push(7, { timeout: 1000 });                    // waits for a place; pushSync blocks instead
 * const value = await ring.pop({ signal });       // there: waits for a number; popSync blocks, tryPop answers -1
 * ring.close();                                             // ends every wait, on both sides
 * ```
 *
 * Life-cycle: made by one side, attached by the other, closed by either. After that every push is refused, and pops
 * give what is left. A later thread may take over a side: it attaches, and begins where the counters are. What a thread
 * took out comes once, unless it was killed between that and its note of it.
 *
 * Invariants: one thread pushes and one pops; integers come out once each, in order; a counter is written by its own
 * side alone; no wake-up is lost between a look and a sleep (ring-steps.ts says how).
 *
 * Complexity: tryPush and tryPop O(1), without a lock and without garbage; a wait spins shortly, then sleeps.
 */
import { type Clock, checkClock, type TimerHandle } from "../../util/clock.ts";
import { isMillpondError, MillpondError } from "../../util/errors.ts";
import { checkOptions, milliseconds, outOfRange, powerOfTwo, wrongType } from "../../util/validate.ts";
import { readWait as readOptions, type Waiter, type WaitOptions, WaitQueue } from "../common/wait-queue.ts";
import { isShared, LINE } from "./layout.ts";
import {
  AGAIN,
  announce,
  close,
  ENDED,
  isClosed,
  peek,
  popOrEnd,
  pushOrEnd,
  RING_SPINS,
  type RingState,
  RingWord,
  SOON,
  trustPopped,
  tryPop,
  tryPush,
  WRAP,
  waitSync,
  wakeSide,
} from "./ring-steps.ts";
import { POLL_MS, RECHECK_MS } from "./wait.ts";
import { checkWaiter, type SharedWaiter } from "./waiter.ts";

/** "MPRG", and the version of what follows it. */
const MAGIC = 0x4d505247;
const VERSION = 2;

/**
 * From this capacity on, the popping side tells of room an eighth of the ring at a time, and when it finds the ring
 * empty: a full ring would else send the counter's line back and forth for every single place. A ring that is popped
 * now and then may seem full with an eighth of it free; small ones are exact.
 */
const PUBLISH_EACH_BELOW = 32;

/* For the hot path: what is imported, or a property, is loaded anew at each use. */
const TAIL: number = RingWord.TAIL;
const POPPED: number = RingWord.POPPED;
const ITEMS: number = RingWord.ITEMS;
// WRAP, and the bit of who sleeps: above every counter, and both together still a small integer in every engine.
const MASK = 0x1fffffff;
const BIT = 0x20000000;

/** How a thread takes part in a ring. */
export interface RingOptions {
  /**
   * How threads sleep and wake; default: Atomics, which reaches every thread of this process. Both sides need the same.
   */
  waiter?: SharedWaiter;
  /** Time; default: the platform's. */
  clock?: Clock;
}

/**
 * A queue of small integers from one thread to one other, in shared memory. One thread pushes and one pops; integers
 * come out once each, in order. `tryPush` and `tryPop` never wait and make no garbage; `push` and `pop` are promises,
 * `pushSync` and `popSync` block. Either side may close it; what was pushed before can still be popped. Each is O(1).
 * A thread that takes a side over from one that has ended attaches then: an object from before, used or not, stands
 * where that side was when it was made. It may give numbers that came out already, and its next look at the other
 * side's counter throws `ERR_CORRUPTED`.
 *
 * ```ts
 * const ring = SpscRing.create(64);                     // post ring.memory; there: SpscRing.attach(memory)
 * ring.tryPush(7);                                      // false: full
 * const value = await ring.pop({ timeout: 1000 });      // there; tryPop() answers -1 for empty
 * ```
 */
export class SpscRing {
  /** Integers that fit in. */
  declare readonly capacity: number;
  /** The memory: post it to the other side. */
  declare readonly memory: SharedArrayBuffer;
  /** @internal */
  declare readonly state: RingState;
  readonly #waiter: SharedWaiter;
  readonly #clock: Clock;
  #pushes: RingQueue | undefined;
  #pops: RingQueue | undefined;

  private constructor(memory: SharedArrayBuffer, capacity: number, options: RingOptions) {
    this.memory = memory;
    this.capacity = capacity;
    this.#waiter = checkWaiter("options.waiter", options.waiter);
    this.#clock = checkClock("options.clock", options.clock);
    const i32 = new Int32Array(memory, 0, RingWord.ITEMS + capacity);
    // Who comes later begins where the other side is.
    const tail = Atomics.load(i32, RingWord.TAIL) & WRAP;
    const published = Atomics.load(i32, RingWord.HEAD) & WRAP;
    const batch = capacity >= PUBLISH_EACH_BELOW ? capacity >>> 3 : 1;
    // Not where the last one published it: what that popped since comes once.
    const since = batch === 1 ? 0 : (Atomics.load(i32, RingWord.POPPED) - published) & WRAP;
    const head = since < batch ? (published + since) & WRAP : published;
    this.state = {
      i32,
      last: capacity - 1,
      batch,
      tail,
      head,
      cachedTail: tail,
      // The first push looks.
      cachedLimit: tail,
      publishedHead: published,
      publishAt: (published + batch) & WRAP,
      pushesWait: false,
      popsWait: false,
      spins: RING_SPINS,
      notify: this.#waiter.notify,
    };
  }

  /**
   * Makes a ring. `capacity` is a power of two, at most 2^20. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`.
   */
  static create(capacity: number, options: RingOptions = {}): SpscRing {
    powerOfTwo("capacity", capacity, 2 ** 20);
    const given = readRingOptions(options);
    const memory = new SharedArrayBuffer(4 * (RingWord.ITEMS + Math.max(capacity, LINE)));
    const i32 = new Int32Array(memory);
    i32[RingWord.VERSION] = VERSION;
    i32[RingWord.CAPACITY] = capacity;
    Atomics.store(i32, RingWord.MAGIC, MAGIC);
    return new SpscRing(memory, capacity, given);
  }

  /**
   * The other side of a ring. Throws `ERR_INVALID_ARG_TYPE`, `ERR_BAD_DATA` when there is no ring of this version in
   * the memory.
   */
  static attach(memory: SharedArrayBuffer, options: RingOptions = {}): SpscRing {
    if (!isShared(memory)) throw wrongType("memory", "the memory of a SpscRing", memory);
    const given = readRingOptions(options);
    const i32 = new Int32Array(memory, 0, Math.min(memory.byteLength >>> 2, RingWord.ITEMS));
    const capacity = i32[RingWord.CAPACITY] ?? 0;
    const fits =
      capacity > 0 &&
      capacity <= 2 ** 20 &&
      (capacity & (capacity - 1)) === 0 &&
      memory.byteLength >= 4 * (RingWord.ITEMS + capacity);
    if (!fits || Atomics.load(i32, RingWord.MAGIC) !== MAGIC || i32[RingWord.VERSION] !== VERSION) {
      throw new MillpondError("ERR_BAD_DATA", `there is no ring of layout version ${VERSION} in that memory`);
    }
    return new SpscRing(memory, capacity, given);
  }

  /**
   * Appends an integer from 0 to 2^31 - 1; false when the ring is full, or closed. One thread pushes. @realtime Throws
   * `ERR_INVALID_ARG_TYPE` for what is not a number, `ERR_OUT_OF_RANGE` for another number. A ring that the other side
   * closed may take numbers until it is full.
   */
  tryPush(value: number): boolean {
    if (typeof value !== "number" || (value & MAX_VALUE) !== value) checkValue(value);
    const ring = this.state;
    const { tail, i32 } = ring;
    if (tail === ring.cachedLimit) return tryPush(ring, value);
    // As put() and tryPush() of ring-steps.ts; here, because a call less is a nanosecond of 12.
    i32[ITEMS + (tail & ring.last)] = value;
    const next = (tail + 1) & MASK;
    ring.tail = next;
    if ((Atomics.exchange(i32, TAIL, next) & BIT) !== 0) wakeSide(ring, TAIL);
    return true;
  }

  /** Takes the oldest integer out, or answers -1. One thread pops. @realtime */
  tryPop(): number {
    const ring = this.state;
    const { head, i32 } = ring;
    const next = (head + 1) & MASK;
    // Empty as far as was seen, or the counter is to be published.
    if (head === ring.cachedTail || next === ring.publishAt) return tryPop(ring);
    const value = i32[ITEMS + (head & ring.last)]! & MAX_VALUE;
    ring.head = next;
    i32[POPPED] = next;
    return value;
  }

  /**
   * As {@link tryPush}, waiting for a place: first come, first served. From 32 places on, a wait hears of room an
   * eighth of the ring at a time, and of less within 200 ms. Rejects with `signal.reason`, `ERR_STARVED` after
   * `timeout` ms, `ERR_INACTIVE` when the ring is closed, `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`.
   */
  async push(value: number, options: WaitOptions = {}): Promise<void> {
    const checked = readWait(options);
    checkValue(value);
    if (this.#pushes === undefined || this.#pushes.length === 0) {
      const got = pushOrEnd(this.state, value);
      if (got === ENDED) throw closedError();
      if (got !== AGAIN) return;
    }
    this.#pushes ??= new RingQueue(this.#queueOf(RingWord.HEAD, (one) => pushOrEnd(this.state, one)));
    await this.#pushes.wait(value, checked, (waiter) => fullError(this.capacity, this.#clock.now() - waiter.since));
  }

  /**
   * As {@link tryPop}, waiting for an integer: first come, first served. Rejects as {@link push}; what was pushed
   * before the ring was closed comes out first.
   */
  async pop(options: WaitOptions = {}): Promise<number> {
    const checked = readWait(options);
    if (this.#pops === undefined || this.#pops.length === 0) {
      const got = popOrEnd(this.state);
      if (got === ENDED) throw closedError();
      if (got !== AGAIN) return got;
    }
    this.#pops ??= new RingQueue(this.#queueOf(RingWord.TAIL, () => popOrEnd(this.state)));
    return await this.#pops.wait(0, checked, (waiter) => emptyError(this.#clock.now() - waiter.since));
  }

  /**
   * As {@link push}, blocking this thread: spins 5 us, then sleeps. Throws `ERR_STARVED` after `timeout` ms,
   * `ERR_INACTIVE`, `ERR_UNSUPPORTED` where a thread must not block (the main thread of a page, an AudioWorklet), and
   * what the waiter throws.
   */
  pushSync(value: number, timeout: number = Number.POSITIVE_INFINITY): void {
    milliseconds("timeout", timeout);
    checkValue(value);
    const waiting = this.#pushes;
    // Most often there is room, and then nothing is allocated.
    if (waiting === undefined && pushOrEnd(this.state, value) === 0) return;
    const got = block(this.state, RingWord.HEAD, this.#waiter, timeout, () =>
      waiting === undefined || waiting.serve() ? pushOrEnd(this.state, value) : AGAIN,
    );
    if (got === AGAIN) throw fullError(this.capacity, timeout);
  }

  /** As {@link pop}, blocking this thread. Throws as {@link pushSync}. */
  popSync(timeout: number = Number.POSITIVE_INFINITY): number {
    milliseconds("timeout", timeout);
    const waiting = this.#pops;
    const first = waiting === undefined ? popOrEnd(this.state) : AGAIN;
    if (first >= 0) return first;
    const got = block(this.state, RingWord.TAIL, this.#waiter, timeout, () =>
      waiting === undefined || waiting.serve() ? popOrEnd(this.state) : AGAIN,
    );
    if (got === AGAIN) throw emptyError(timeout);
    return got;
  }

  /**
   * Closes the ring for both sides: every wait to push, or to pop from an empty ring, ends (`ERR_INACTIVE`). What is in
   * the ring can still be popped. A second time nothing happens.
   */
  close(): void {
    close(this.state);
  }

  /** Whether either side has closed the ring. */
  get isClosed(): boolean {
    return isClosed(this.state);
  }

  /** The oldest integer, which stays in; or -1. @realtime */
  peek(): number {
    return peek(this.state);
  }

  /**
   * Integers in the ring as the pushing side sees it: up to an eighth of a large ring may have been popped. @realtime
   */
  get length(): number {
    const { i32 } = this.state;
    return (Atomics.load(i32, RingWord.TAIL) - Atomics.load(i32, RingWord.HEAD)) & WRAP;
  }

  /**
   * Integers in the ring, without those that are popped and not published yet: exact for either side while the other
   * one rests. @realtime
   */
  get count(): number {
    const { i32, last } = this.state;
    // First what was popped: what is pushed meanwhile must not be missing from the difference.
    const published = Atomics.load(i32, RingWord.HEAD) & WRAP;
    const popped = Atomics.load(i32, RingWord.POPPED) & WRAP;
    // A pop whose counter was published is written there only.
    const head = ((popped - published) & WRAP) <= last + 1 ? popped : published;
    return (Atomics.load(i32, RingWord.TAIL) - head) & WRAP;
  }

  #queueOf(word: number, attempt: (tag: number) => number): RingQueueParts {
    return { state: this.state, word, waiter: this.#waiter, clock: this.#clock, attempt, ended: closedError };
  }
}

/** @internal Waits, and turns what ended it into errors; {@link AGAIN} when the time is over. */
export function block(
  state: RingState,
  word: number,
  waiter: SharedWaiter,
  timeout: number,
  attempt: () => number,
): number {
  let got: number;
  try {
    got = waitSync(state, word, attempt, waiter, timeout);
  } catch (cause) {
    if (isMillpondError(cause)) throw cause;
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      "this thread must not block, so it cannot wait here for the other side of a ring; await push() or pop()",
      undefined,
      { cause },
    );
  }
  if (got === ENDED) throw closedError();
  return got;
}

/** @internal Reads how a wait may end, each option once; the signal is not aborted yet. */
export function readWait(options: WaitOptions): WaitOptions {
  const checked = readOptions(options);
  if (checked.signal?.aborted) throw checked.signal.reason;
  return checked;
}

/** @internal The error of one who waits for a ring that is closed. */
export function closedError(): MillpondError {
  return new MillpondError("ERR_INACTIVE", "the ring was closed; make a new one");
}

/** @internal The error of a push that waited too long. */
export function fullError(capacity: number, waited: number): MillpondError {
  return new MillpondError(
    "ERR_STARVED",
    `none of the ${capacity} places of the ring came free within ${Math.round(waited)} ms; pop faster, or make the ring larger`,
    { waited, capacity },
  );
}

/** @internal The error of a pop that waited too long. */
export function emptyError(waited: number): MillpondError {
  return new MillpondError("ERR_STARVED", `nothing was pushed into the ring within ${Math.round(waited)} ms`, {
    waited,
  });
}

/** The largest integer in a ring; negative ones say that it is empty. */
const MAX_VALUE = 0x7fffffff;

function checkValue(value: unknown): void {
  if (typeof value !== "number") throw wrongType("value", "a number", value);
  if ((value & MAX_VALUE) !== value) throw outOfRange("value", "a whole number from 0 to 2^31 - 1", value);
}

/** Read and checked before a memory is made. */
function readRingOptions(options: RingOptions): RingOptions {
  const { waiter, clock } = checkOptions("options", options, ["waiter", "clock"]);
  return { waiter: checkWaiter("options.waiter", waiter), clock: checkClock("options.clock", clock) };
}

/*
 * Promises that wait on one side of a ring, first come, first served: they sleep as waitSync of ring-steps.ts does, on
 * the same word and by the same rule, without blocking the thread.
 */

/**
 * 16: each means that the other side came between a look and the sleep, which an honest peer does twice in a row at
 * most.
 */
const MAX_LOOKS = 16;

/** What a {@link RingQueue} is made from. */
export interface RingQueueParts {
  /** This side's view of the ring. */
  readonly state: RingState;
  /** The word that the other side changes. */
  readonly word: number;
  /** How threads sleep. */
  readonly waiter: SharedWaiter;
  /** For timeouts and polls. */
  readonly clock: Clock;
  /** One look, for the waiter with that tag: what it ends with, AGAIN, SOON or ENDED. */
  readonly attempt: (tag: number) => number;
  /** The error of a ring that was closed. */
  readonly ended: () => unknown;
}

/** The waits on one side of a ring. */
export class RingQueue {
  readonly #parts: RingQueueParts;
  readonly #queue: WaitQueue<number, number>;
  #timer: TimerHandle | undefined;
  #pollMs: number = POLL_MS.first;
  #hint: number = AGAIN;
  #asleep = false;

  /** Nothing is started yet. */
  constructor(parts: RingQueueParts) {
    this.#parts = parts;
    this.#queue = new WaitQueue(parts.clock, () => this.#settle());
  }

  /** How many wait. */
  get length(): number {
    return this.#queue.length;
  }

  /** Joins the queue; settles as {@link WaitQueue.wait}. */
  async wait(
    tag: number,
    options: WaitOptions,
    onTimeout: (waiter: Waiter<number, number>) => unknown,
  ): Promise<number> {
    const result = this.#queue.wait(options, tag, onTimeout);
    this.#pollMs = POLL_MS.first;
    this.#settle();
    return await result;
  }

  /** Serves those who can be; answers whether nobody waits any more. Before this thread blocks: it would block them. */
  serve(): boolean {
    return this.#serve() === undefined;
  }

  /** Serves in order; undefined when nobody waits any more, else what the first one's attempt answered. */
  #serve(): number | undefined {
    for (;;) {
      const { first } = this.#queue;
      this.#setWaiting(false);
      if (first === null) return undefined;
      try {
        const got = this.#parts.attempt(first.tag);
        if (got >= 0) this.#queue.next(got);
        else if (got === ENDED) this.#queue.rejectAll(this.#parts.ended);
        else {
          this.#setWaiting(true);
          return got;
        }
      } catch (error) {
        this.#queue.reject(first, error);
      }
    }
  }

  /** Serves, and goes to sleep for the rest. A thread that cannot sleep must not let them wait. */
  #settle(): void {
    try {
      this.#settleOrThrow();
    } catch (error) {
      this.#queue.rejectAll(() => error);
      this.#setWaiting(false);
    }
  }

  #settleOrThrow(): void {
    for (let looks = 1; ; looks++) {
      // First this: who changes the word after the look wakes.
      const value = this.#queue.length === 0 ? 0 : announce(this.#parts.state, this.#parts.word);
      const got = this.#serve();
      if (got === undefined) {
        this.#stopTimer();
        return;
      }
      // A peer that writes the word without end must not hold this thread.
      if (this.#asleep || looks === MAX_LOOKS || this.#sleep(value)) {
        this.#keepLooking(got === SOON || looks === MAX_LOOKS);
        return;
      }
    }
  }

  #setWaiting(waits: boolean): void {
    const { state, word } = this.#parts;
    if (word === RingWord.HEAD) state.pushesWait = waits;
    else state.popsWait = waits;
  }

  /** False when the word has changed meanwhile. */
  #sleep(value: number): boolean {
    const { waiter, state, word } = this.#parts;
    if (waiter.waitAsync === undefined) return true;
    const woken = waiter.waitAsync(state.i32, word, value, Number.POSITIVE_INFINITY);
    if (woken === undefined) return false;
    this.#asleep = true;
    void woken.then(() => {
      this.#asleep = false;
      this.#settle();
    });
    return true;
  }

  /** As for all pools, it does not keep the process alive; the timeout of a wait does. */
  #keepLooking(soon: boolean): void {
    if (this.#timer !== undefined) return;
    const { waiter, clock, state, word } = this.#parts;
    const polls = waiter.waitAsync === undefined;
    const ms = soon ? POLL_MS.first : polls ? this.#pollMs : RECHECK_MS;
    this.#pollMs = Math.min(this.#pollMs * 2, POLL_MS.most);
    this.#timer = clock.setTimer(
      () => {
        this.#timer = undefined;
        if (word === RingWord.HEAD && ms >= POLL_MS.most) this.#hint = trustPopped(state, this.#hint);
        this.#settle();
      },
      ms,
      true,
    );
  }

  #stopTimer(): void {
    this.#hint = AGAIN;
    const timer = this.#timer;
    this.#timer = undefined;
    if (timer !== undefined) this.#parts.clock.clearTimer(timer);
  }
}
