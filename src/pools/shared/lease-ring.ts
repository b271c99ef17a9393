/**
 * LeaseRing: leases of a SharedPool from one thread to one other, as integers, with nothing allocated: the queue
 * between an AudioWorklet and the thread that feeds it. Pushing gives the lease up, popping is holding it; whichever
 * side dies, what was under way is found by `reclaim`.
 *
 * ```ts
 * const ring = LeaseRing.create(pool, 8, "push");           // post pool.handle and ring.memory
 * ring.tryPush(id);                                         // false: full, or nobody is there yet
 * ring.pushSync(id);                              // waits for both; await ring.push(id) does without blocking
 * // there: const ring = LeaseRing.attach(pool, memory, "pop");
 * const id = ring.tryPop();                                 // -1: empty
 * const next = ring.popSync(1000);                // waits; await ring.pop({ timeout: 1000 }) does without blocking
 * ```
 *
 * Life-cycle: made by one side, attached by the other, closed by either; then pushes are refused and pops give what is
 * left. When a side's thread ends, another one may take that side and go on; while it lives, none may. It may itself,
 * by a new object: the older one is over then.
 *
 * Invariants: a lease in the ring is the popping side's, but for one whose push has not returned, because it goes on or
 * its thread died; a refused push leaves the lease with the pusher; a number that names no lease is skipped.
 *
 * Complexity: tryPush and tryPop O(1), with one compare-exchange more than {@link SpscRing}; tryPop skips 1024 numbers
 * at most.
 */
import type { Clock } from "../../util/clock.ts";
import { MillpondError } from "../../util/errors.ts";
import { milliseconds, oneOf, withMethods, wrongType } from "../../util/validate.ts";
import type { WaitOptions } from "../common/wait-queue.ts";
import { transferError } from "../lane/shared-transport.ts";
import type { Core } from "./core.ts";
import { isEvicted, leaseError, refusal } from "./errors.ts";
import { isPresent, isSameMember, statusOf } from "./member-status.ts";
import { isAlive } from "./pool-state.ts";
import {
  block,
  closedError,
  emptyError,
  fullError,
  RingQueue,
  type RingQueueParts,
  readWait,
  SpscRing,
} from "./ring.ts";
import {
  AGAIN,
  displacedError,
  ENDED,
  FULL,
  isClosed,
  peek,
  put,
  RingWord,
  SOON,
  tryPop,
  wakeBoth,
  wakeSide,
} from "./ring-steps.ts";
import type { SharedPool } from "./shared-pool.ts";
import {
  acceptCommitted,
  acceptTransfer,
  BY_RING,
  cancelTransfer,
  commitTransfer,
  prepareTransfer,
  TransferResult,
} from "./transfer.ts";
import { isOwnWaiter, type SharedWaiter } from "./waiter.ts";

/**
 * An item is the low 30 bits of an identity. The slot has the other bits: a lease under way is held, so its generation
 * does not change. Another lease with the same low bits can be there only after 2^10 uses or more of the slot, when the
 * sender died in the push.
 */
const ITEM_BITS = 0x3fffffff;

/** For the hot path: what is imported, or a property, is loaded anew at each use. */
const CLOSED: number = RingWord.CLOSED;
const PUSHER: number = RingWord.PUSHER;
const POPPER: number = RingWord.POPPER;

/** The other side of an object that is over: words in which nobody is. */
const OVER: number = RingWord.CLOSED + 1;

/** Numbers that name no lease, in one call: each takes some 60 ns to tell. */
const MAX_SKIPPED = 1024;

/** Which end of the ring a thread has. */
export type RingSide = "push" | "pop";

/**
 * A queue of leases of one {@link SharedPool} from one thread to one other, as integers, without garbage: between an
 * AudioWorklet and the thread that feeds it. Pushing gives the lease up, popping is holding it. `create` and `attach`
 * take a side for the calling thread, which has it until it leaves the pool or ends; until then another one that asks
 * for it gets `ERR_ALREADY_EXISTS`. A refused push leaves the lease with the pusher. Each call is O(1).
 *
 * ```ts
 * const ring = LeaseRing.create(pool, 8, "push");       // this thread pushes; post pool.handle and ring.memory
 * if (!ring.tryPush(id)) pool.releaseId(id);            // false: full, closed, or nobody is at the other side yet
 * // there: const ring = LeaseRing.attach(pool, memory, "pop");
 * const id = ring.tryPop();                             // -1: empty; await ring.pop({ timeout: 1000 }) waits
 * ```
 */
export class LeaseRing {
  /** Leases that fit in. */
  declare readonly capacity: number;
  /** The memory: post it to the other side. */
  declare readonly memory: SharedArrayBuffer;
  readonly #pool: SharedPool;
  readonly #ring: SpscRing;
  // Numbers from the first moment: the engine keeps the representation that it sees first.
  #them: number = 0;
  #peer = -1;
  #peerStatus = 0;
  #pushes: RingQueue | undefined;
  #pops: RingQueue | undefined;

  private constructor(pool: SharedPool, ring: SpscRing, side: RingSide) {
    oneOf("side", side, ["push", "pop"]);
    const refused = refusal(pool, "make a lease ring of");
    if (refused !== undefined) throw refused;
    // Where the other side reads whom a lease goes to, or comes from.
    const us = side === "push" ? RingWord.PUSHER : RingWord.POPPER;
    const { i32 } = ring.state;
    // What was pushed to that thread, or is being pushed by it, would be lost.
    const holder = otherMember(pool.core, i32, us);
    if (holder >= 0) throw takenError(pool, side, holder);
    this.#pool = pool;
    this.#ring = ring;
    this.capacity = ring.capacity;
    this.memory = ring.memory;
    this.#them = side === "push" ? RingWord.POPPER : RingWord.PUSHER;
    i32[us] = pool.member;
    Atomics.store(i32, us + 1, pool.core.status);
    // The counters of an older object of this thread stand still from now on: it would write over what this one pushes.
    const objects = sidesOf(ring.memory);
    const older = objects[side]?.deref();
    // That of another member of this thread has left the pool, or could not be displaced.
    if (older !== undefined && older.#pool === pool) older.#them = OVER;
    objects[side] = new WeakRef(this);
    // Who waits for somebody to come looks again.
    wakeBoth(ring.state);
  }

  /**
   * Makes a ring for `capacity` leases (a power of two) and takes a side. Throws as {@link SpscRing.create}, and
   * `ERR_POOL_DEAD`.
   */
  static create(pool: SharedPool, capacity: number, side: RingSide): LeaseRing {
    checkPool(pool);
    return new LeaseRing(pool, SpscRing.create(capacity, sleepOf(pool)), side);
  }

  /**
   * Takes the other side, in another thread, which is attached to the same pool; or a side whose thread has ended.
   * A thread that attaches to its side once more goes on by the new object: calls of the older one throw
   * `ERR_ALREADY_EXISTS`.
   * Throws as {@link SpscRing.attach}, `ERR_POOL_DEAD`, and `ERR_ALREADY_EXISTS` while another thread has that side:
   * where neither side is the maker's, both attach to the memory of `SpscRing.create(capacity)`.
   */
  static attach(pool: SharedPool, memory: SharedArrayBuffer, side: RingSide): LeaseRing {
    checkPool(pool);
    return new LeaseRing(pool, SpscRing.attach(memory, sleepOf(pool)), side);
  }

  /** Leases in the ring. @realtime */
  get length(): number {
    return this.#ring.length;
  }

  /**
   * Gives a lease up to the other side. False, with nothing changed: the ring is full or closed, or nobody is at its
   * other side yet.
   * @realtime Throws `ERR_USE_AFTER_RELEASE`, `ERR_FOREIGN_RELEASE`, `ERR_POOL_DEAD`, `ERR_ALREADY_EXISTS` when the
   * other side holds that lease already, `ERR_INACTIVE` when it has ended, `ERR_UNSUPPORTED` on the popping side; the
   * lease stays then.
   */
  tryPush(id: number): boolean {
    const pool = this.#pool;
    const { state } = this.#ring;
    const { core } = pool;
    if (typeof id !== "number") throw wrongType("id", "a lease's number, lease.id", id);
    if (this.#them !== POPPER) throw wrongSide("push", this.#them);
    if (this.#peer < 0 && !this.#meet()) return false;
    if (!pool.isIdentity(id)) throw leaseError(pool, id, "push");
    // Who closed it may pop no more.
    if (state.i32[CLOSED] !== 0) return false;
    let begun = prepareTransfer(core, id, this.#peer, this.#peerStatus);
    // Another thread may have taken the place of one that ended.
    if (begun === TransferResult.GONE && this.#meet()) begun = prepareTransfer(core, id, this.#peer, this.#peerStatus);
    if (begun !== TransferResult.DONE) throw this.#failed(id, begun, "push");
    const waits = put(state, id & ITEM_BITS);
    if (waits < 0) {
      cancelTransfer(core);
      if (waits === FULL) return false;
      throw displacedError("push");
    }
    const done = commitTransfer(core, id, this.#peer, this.#peerStatus, BY_RING);
    // After that step, so that the side that wakes finds the lease to be its own.
    if (waits !== 0) wakeSide(state, RingWord.TAIL);
    if (done !== TransferResult.DONE) throw this.#failed(id, done, "push");
    return true;
  }

  /**
   * Takes the oldest lease over, or answers -1. Leases of a side that died on the way are skipped, and numbers that
   * name no lease, up to 1024 in one call. @realtime Throws `ERR_UNSUPPORTED` on the pushing side, `ERR_POOL_DEAD`
   * where a lease is there and this thread has left the pool: it stays in the ring, for who takes this side over.
   */
  tryPop(): number {
    const got = this.#take();
    return got < 0 ? -1 : got;
  }

  /**
   * As {@link tryPush}, waiting for a place, and for somebody at the other side: first come, first served. Rejects with
   * `signal.reason`, `ERR_STARVED` after `timeout` ms, `ERR_INACTIVE` when the ring is closed, and what {@link tryPush}
   * throws. The lease stays then.
   */
  async push(id: number, options: WaitOptions = {}): Promise<void> {
    const checked = readWait(options);
    if (this.#pushes === undefined || this.#pushes.length === 0) {
      const got = this.#pushOnce(id);
      if (got === ENDED) throw closedError();
      if (got !== AGAIN) return;
    }
    this.#pushes ??= new RingQueue(this.#queueOf(RingWord.HEAD, (one) => this.#pushOnce(one)));
    await this.#pushes.wait(id, checked, ({ since }) => this.#starved(since));
  }

  /**
   * As {@link tryPop}, waiting for a lease: first come, first served. Rejects as {@link push}, and with
   * `ERR_POOL_DEAD`; leases that were pushed before the ring was closed come out first.
   */
  async pop(options: WaitOptions = {}): Promise<number> {
    const checked = readWait(options);
    if (this.#pops === undefined || this.#pops.length === 0) {
      const got = this.#popOnce();
      if (got === ENDED) throw closedError();
      if (got >= 0) return got;
    }
    this.#pops ??= new RingQueue(this.#queueOf(RingWord.TAIL, () => this.#popOnce()));
    return await this.#pops.wait(0, checked, ({ since }) => this.#starved(since));
  }

  /** As {@link push}, blocking this thread. Throws as it rejects, and as {@link SpscRing.pushSync}. */
  pushSync(id: number, timeout: number = Number.POSITIVE_INFINITY): void {
    milliseconds("timeout", timeout);
    const waiting = this.#pushes;
    // Most often there is room, and then nothing is allocated.
    if (waiting === undefined && this.#pushOnce(id) === 0) return;
    const got = block(this.#ring.state, RingWord.HEAD, this.#pool.waiter, timeout, () =>
      waiting === undefined || waiting.serve() ? this.#pushOnce(id) : AGAIN,
    );
    if (got === AGAIN) throw this.#starvedAfter(timeout);
  }

  /** As {@link pop}, blocking this thread. Throws as it rejects, and as {@link SpscRing.pushSync}. */
  popSync(timeout: number = Number.POSITIVE_INFINITY): number {
    milliseconds("timeout", timeout);
    const waiting = this.#pops;
    const first = waiting === undefined ? this.#popOnce() : AGAIN;
    if (first >= 0) return first;
    const got = block(this.#ring.state, RingWord.TAIL, this.#pool.waiter, timeout, () =>
      waiting === undefined || waiting.serve() ? this.#popOnce() : AGAIN,
    );
    if (got === AGAIN) throw this.#starvedAfter(timeout);
    return got;
  }

  /**
   * Closes the ring for both sides, as {@link SpscRing.close}. Leases in it are the popping side's: pop and release
   * them.
   */
  close(): void {
    this.#ring.close();
  }

  /** Whether either side has closed the ring. */
  get isClosed(): boolean {
    return this.#ring.isClosed;
  }

  /** The oldest lease, or -1, or SOON: its giver is between its push and its step. */
  #take(): number {
    const pool = this.#pool;
    const { state } = this.#ring;
    if (this.#them !== PUSHER) throw wrongSide("pop", this.#them);
    if (this.#peer < 0 && !this.#meet()) return AGAIN;
    // Numbers that name no lease are skipped; after so many of them the next call goes on.
    for (let skipped = 0; skipped < MAX_SKIPPED; skipped++) {
      const item = peek(state);
      if (item < 0) return AGAIN;
      const given = acceptCommitted(pool.core, item, ITEM_BITS);
      if (given >= 0) {
        tryPop(state);
        return given;
      }
      let id = this.#leaseOf(item);
      let outcome: number = id < 0 ? TransferResult.GONE : acceptTransfer(pool.core, id, this.#peer, BY_RING);
      // Not of the member that was thought to be there: another one may have taken its place.
      if (outcome === TransferResult.GONE && this.#meet()) {
        id = this.#leaseOf(item);
        if (id >= 0) outcome = acceptTransfer(pool.core, id, this.#peer, BY_RING);
      }
      if (outcome === TransferResult.NOT_YET) return SOON;
      if (outcome === TransferResult.GONE && isEvicted(pool.core)) {
        // It is another member's that has this side now.
        if (isAlive(pool.core)) this.#checkPool("pop from");
        return AGAIN;
      }
      tryPop(state);
      if (outcome === TransferResult.DONE) return id;
    }
    return SOON;
  }

  /**
   * The whole identity of a lease whose low bits were in the ring, or -1: what comes out of shared memory may be
   * anything.
   */
  #leaseOf(item: number): number {
    const pool = this.#pool;
    const index = item & pool.core.indexMask;
    if (index >= pool.count) return -1;
    const id = pool.currentLease(index);
    return (id & ITEM_BITS) === item ? id : -1;
  }

  #pushOnce(id: number): number {
    if (isClosed(this.#ring.state)) return ENDED;
    if (this.tryPush(id)) return 0;
    this.#checkPool("push to");
    return AGAIN;
  }

  #popOnce(): number {
    const closed = isClosed(this.#ring.state);
    const got = this.#take();
    if (got >= 0) return got;
    this.#checkPool("pop from");
    return closed && got === AGAIN ? ENDED : got;
  }

  /** A wait in a pool that was closed, or that this thread left, would not end. */
  #checkPool(verb: string): void {
    const error = refusal(this.#pool, `${verb} a ring of`);
    if (error !== undefined) throw error;
  }

  #queueOf(word: number, attempt: (tag: number) => number): RingQueueParts {
    const { waiter, clock } = sleepOf(this.#pool);
    return { state: this.#ring.state, word, waiter, clock, attempt, ended: closedError };
  }

  /** Whether the other side has come, and has not ended. */
  get isMet(): boolean {
    return (this.#meet() || this.#peer >= 0) && isPresent(statusOf(this.#pool.core, this.#peer));
  }

  /** Looks who is at the other side; false: nobody, or still the same. */
  #meet(): boolean {
    const { i32 } = this.#ring.state;
    const status = Atomics.load(i32, this.#them + 1);
    const member = i32[this.#them]!;
    if (
      status === 0 ||
      (status === this.#peerStatus && member === this.#peer) ||
      member < 0 ||
      member >= this.#pool.core.layout.members
    )
      return false;
    this.#peer = member;
    this.#peerStatus = status;
    return true;
  }

  #starved(since: number): MillpondError {
    return this.#starvedAfter(this.#pool.clock.now() - since);
  }

  #starvedAfter(waited: number): MillpondError {
    const other = this.#them === POPPER ? "pop" : "push";
    if (this.#peer < 0 && !this.#meet()) {
      return new MillpondError(
        "ERR_STARVED",
        `nobody took the ${other} side of the ring within ${Math.round(waited)} ms; LeaseRing.attach(pool, memory, "${other}") there`,
        { waited },
      );
    }
    return other === "pop" ? fullError(this.capacity, waited) : emptyError(waited);
  }

  #failed(id: number, outcome: number, verb: string): Error {
    const pool = this.#pool;
    if (outcome === TransferResult.NOT_HELD) return leaseError(pool, id, verb);
    return transferError(pool, id, { member: this.#peer, status: this.#peerStatus }, outcome);
  }
}

/**
 * How a ring of that pool sleeps: as the pool. What sleeps for promises between processes watches the pool's word
 * alone, so those poll.
 */
function sleepOf(pool: SharedPool): { waiter: SharedWaiter; clock: Clock } {
  if (pool?.core?.i32 === undefined) throw wrongType("pool", "a SharedPool", pool);
  const { waiter, clock } = pool;
  if (isOwnWaiter(waiter)) return { waiter, clock };
  return {
    waiter: {
      wait: (i32, index, value, ms) => waiter.wait(i32, index, value, ms),
      notify: waiter.notify,
      waitAsync: undefined,
    },
    clock,
  };
}

/** The member that has the side at `us`, where it lives and is another than this thread's; else -1. */
function otherMember(core: Core, i32: Int32Array, us: number): number {
  const status = Atomics.load(i32, us + 1);
  const member = i32[us]!;
  if (status === 0 || member === core.member || member < 0 || member >= core.layout.members) return -1;
  return isSameMember(statusOf(core, member), status) ? member : -1;
}

function takenError(pool: SharedPool, side: RingSide, member: number): MillpondError {
  return new MillpondError(
    "ERR_ALREADY_EXISTS",
    `member ${member} of shared pool "${pool.name}" has the ${side} side of this ring; make the ring in the thread that is to ${side}, ` +
      `or let both sides attach to SpscRing.create(capacity).memory. If that thread has ended, pool.reclaim(${member}) first`,
    { pool: pool.name, member, side },
  );
}

/** The newest object of each side, of this thread. */
interface RingObjects {
  push?: WeakRef<LeaseRing>;
  pop?: WeakRef<LeaseRing>;
}

const newest: WeakMap<SharedArrayBuffer, RingObjects> = new WeakMap();

function sidesOf(memory: SharedArrayBuffer): RingObjects {
  const known = newest.get(memory) ?? {};
  newest.set(memory, known);
  return known;
}

function wrongSide(verb: RingSide, them: number): MillpondError {
  if (them === OVER) {
    return new MillpondError(
      "ERR_ALREADY_EXISTS",
      `cannot ${verb} here: this thread has attached to its side of this ring once more, by a newer object; use that one`,
    );
  }
  const own = verb === "push" ? "pop" : "push";
  return new MillpondError(
    "ERR_UNSUPPORTED",
    `cannot ${verb} here: this thread has the ${own} side of the ring, and another one ${verb === "push" ? "pushes" : "pops"}`,
  );
}

/** By shape: importing the class would make a circle. */
function checkPool(pool: SharedPool): void {
  withMethods("pool", "a SharedPool", pool, ["tryAcquireId", "releaseId", "isIdentity"]);
  if (pool.transport !== "shared") throw wrongType("pool", "a SharedPool", pool);
}
