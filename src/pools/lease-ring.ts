/**
 * LeaseRing: leases of a SharedPool from one thread to one other, as integers, with nothing allocated: the queue between an
 * AudioWorklet and whoever feeds it. Pushing gives the lease up, popping is holding it; whichever side dies, what was under
 * way is found by `reclaim`.
 *
 * ```ts
 * const ring = LeaseRing.create(pool, 8, "push");           // post pool.handle and ring.memory
 * ring.push(id);                                            // false: full, or nobody is there yet
 * // there: const ring = LeaseRing.attach(pool, memory, "pop");
 * const id = ring.pop();                                    // -1: empty
 * ```
 */
import { oneOf } from "../observe/arguments.ts";
import { grantError } from "./lane-shared.ts";
import { leaseError } from "./shared-errors.ts";
import { accept, beginGrant, cancelGrant, finishGrant, isPresent, Outcome, statusOf } from "./shared-owners.ts";
import type { SharedPool } from "./shared-pool.ts";
import { HandleRing, RingWord } from "./shared-ring.ts";

/**
 * An item is the low 30 bits of an identity. The slot itself knows the others: a lease under way is held, so its generation stands
 * still. Bits that are the same and a lease that is not: only after 2^10 uses or more of a slot whose giver died in the push.
 */
const ITEM_BITS = 0x3fffffff;

/** Which end of the ring a thread has. */
export type RingSide = "push" | "pop";

/** A queue of leases between two threads of one pool; see the module text. */
export class LeaseRing {
  /** Leases that fit in. */
  declare readonly capacity: number;
  /** The memory: post it to the other side. */
  declare readonly memory: SharedArrayBuffer;
  declare private readonly pool: SharedPool;
  declare private readonly ring: HandleRing;
  declare private readonly them: number;
  declare private peer: number;
  declare private peerStatus: number;

  private constructor(pool: SharedPool, ring: HandleRing, side: RingSide) {
    oneOf("side", side, ["push", "pop"]);
    this.pool = pool;
    this.ring = ring;
    this.capacity = ring.capacity;
    this.memory = ring.memory;
    this.them = side === "push" ? RingWord.POPPER : RingWord.PUSHER;
    this.peer = -1;
    this.peerStatus = 0;
    // Where the other side reads whom a lease goes to, or comes from.
    const us = side === "push" ? RingWord.PUSHER : RingWord.POPPER;
    ring.i32[us] = pool.owner;
    Atomics.store(ring.i32, us + 1, pool.core.status);
  }

  /** Makes a ring for `capacity` leases (a power of two) and takes a side. Throws as {@link HandleRing.create}. */
  static create(pool: SharedPool, capacity: number, side: RingSide): LeaseRing {
    return new LeaseRing(pool, HandleRing.create(capacity), side);
  }

  /** Takes the other side, in another thread, which is attached to the same pool. Throws as {@link HandleRing.attach}. */
  static attach(pool: SharedPool, memory: SharedArrayBuffer, side: RingSide): LeaseRing {
    return new LeaseRing(pool, HandleRing.attach(memory), side);
  }

  /** Leases in the ring. @realtime */
  get length(): number {
    return this.ring.length;
  }

  /**
   * Gives a lease up to the other side. False, with nothing changed: the ring is full, or nobody is at its other side yet.
   * @realtime Throws `ERR_USE_AFTER_RELEASE`, `ERR_FOREIGN_RELEASE`, `ERR_POOL_DEAD`, `ERR_ALREADY_EXISTS` when the other side
   * holds that lease already, `ERR_INACTIVE` when it has ended; the lease stays then.
   */
  push(id: number): boolean {
    const { pool, ring } = this;
    const { core } = pool;
    if (this.peer < 0 && !this.meet()) return false;
    if (!pool.isIdentity(id)) throw leaseError(pool, id, "push");
    let begun = beginGrant(core, id, this.peer, this.peerStatus);
    // Another thread may have taken the place of one that ended.
    if (begun === Outcome.GONE && this.meet()) begun = beginGrant(core, id, this.peer, this.peerStatus);
    if (begun !== Outcome.DONE) throw this.failed(id, begun, "push");
    if (!ring.push(id & ITEM_BITS)) {
      cancelGrant(core);
      return false;
    }
    const done = finishGrant(core, id, this.peer, this.peerStatus);
    if (done !== Outcome.DONE) throw this.failed(id, done, "push");
    return true;
  }

  /** Takes the oldest lease over, or answers -1. Leases of a side that died on the way are skipped. @realtime */
  pop(): number {
    const { pool, ring } = this;
    if (this.peer < 0 && !this.meet()) return -1;
    // At most what fits in: one that pushes what is no lease, without end, does not hold this thread up.
    for (let left = this.capacity; left > 0; left--) {
      const item = ring.peek();
      if (item < 0) return -1;
      let id = this.leaseOf(item);
      let outcome: number = id < 0 ? Outcome.GONE : accept(pool.core, id, this.peer);
      // Not from whom it was thought to be: another thread may have taken his place.
      if (outcome === Outcome.GONE && this.meet()) {
        id = this.leaseOf(item);
        if (id >= 0) outcome = accept(pool.core, id, this.peer);
      }
      // The giver is between its push and its step; a moment later it is there.
      if (outcome === Outcome.NOT_YET) return -1;
      ring.pop();
      if (outcome === Outcome.DONE) return id;
    }
    return -1;
  }

  /** The whole identity of a lease whose low bits were in the ring, or -1: what comes out of shared memory may be anything. */
  private leaseOf(item: number): number {
    const { pool } = this;
    const index = item & pool.core.indexMask;
    if (index >= pool.count) return -1;
    const id = pool.currentLease(index);
    return (id & ITEM_BITS) === item ? id : -1;
  }

  /** Whether the other side has come, and has not ended. */
  get isMet(): boolean {
    return (this.meet() || this.peer >= 0) && isPresent(statusOf(this.pool.core, this.peer));
  }

  /** Looks who is at the other side; false: nobody, or still the same. */
  private meet(): boolean {
    const { i32 } = this.ring;
    const status = Atomics.load(i32, this.them + 1);
    const owner = i32[this.them]!;
    if (
      status === 0 ||
      (status === this.peerStatus && owner === this.peer) ||
      owner < 0 ||
      owner >= this.pool.core.layout.owners
    )
      return false;
    this.peer = owner;
    this.peerStatus = status;
    return true;
  }

  private failed(id: number, outcome: number, verb: string): Error {
    const { pool, peer, peerStatus } = this;
    if (outcome === Outcome.NOT_HELD) return leaseError(pool, id, verb);
    return grantError(pool, id, { owner: peer, status: peerStatus }, outcome);
  }
}
