/**
 * Lease: the right to use one slot, which moves between threads. SharedPool, TransferPool and ProcessPool give it out,
 * a lane carries it.
 *
 * Life-cycle: held from `acquire` (or from its arrival over a lane) until `release` or `send`. The pool tells the next
 * lease of the same slot by its generation. A lease that was sent may come back, under the same identity, and is then
 * another object: each pool counts, by slot, how often this thread has given up a lease that went on elsewhere, its
 * *tenures*, and an object that was received is good at the number that it was made at alone, one that was acquired
 * while its lease was never given up. So it is over for good with the last hold of this thread, however that ended: by
 * the object, by data, by its number, by a ring.
 * Of `id`, `index` and `pool` alone, which are plain data and survive `postMessage`, that cannot be told: {@link
 * LeaseData}, which the pool's methods take as well, is good whenever this thread holds the lease.
 */
import { disposeWith } from "../../util/dispose.ts";
import { isMillpondError, MillpondError } from "../../util/errors.ts";
import type { WaitOptions } from "./wait-queue.ts";

/** A lease as plain data. */
export interface LeaseData {
  /** Slot and generation, below 2^53: what the integer API calls the lease. */
  readonly id: number;
  /** Which slot. */
  readonly index: number;
  /** Of which pool. */
  readonly pool: number;
}

/**
 * The right to use one slot of a SharedPool, TransferPool or ProcessPool, from `acquire` (or its arrival over a lane)
 * until `release` or `send`; every later use throws, also when the lease has come back meanwhile: what is received is
 * another object. Its bytes are `pool.bytes(lease)`. `id`, `index` and `pool` are plain data and survive `postMessage`:
 * what arrives there is {@link LeaseData}, which the pool's methods take as well. It is good while this thread holds
 * the lease, as a number is.
 */
export class Lease implements LeaseData {
  /** Slot and generation, below 2^53: what the integer API calls the lease. */
  declare readonly id: number;
  /** Which slot. */
  declare readonly index: number;
  /** Of which pool. */
  declare readonly pool: number;
  /** Use it as `using lease = await pool.acquire()` where the platform has `Symbol.dispose`. */
  declare [Symbol.dispose]: () => void;
  readonly #from: Pick<LeasePool, "release">;
  readonly #tenure: number;

  /** @internal Made by the pools. `tenure`: how often this thread has given up such a lease; 0 for a new one. */
  constructor(id: number, index: number, pool: number, from: Pick<LeasePool, "release">, tenure = 0) {
    this.id = id;
    this.index = index;
    this.pool = pool;
    this.#from = from;
    this.#tenure = tenure;
  }

  /**
   * @internal Of a lease that this thread has given up before, `tenure` times in its slot: whether that ended this
   * object, whatever the lease is now. What `pool` has not made is data to it.
   */
  static isOver(lease: LeaseData, pool: Pick<LeasePool, "release">, tenure: number): boolean {
    return #from in lease && lease.#from === pool && lease.#tenure !== tenure;
  }

  /** @internal Where a buffer's bytes are: of a lease only its pool knows them. */
  get bytes(): never {
    throw new MillpondError("ERR_UNSUPPORTED", "a lease has no bytes; take pool.bytes(lease)");
  }

  /**
   * Gives the hold back, as `pool.release(lease)` does. Throws `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE`,
   * `ERR_POOL_DEAD`.
   */
  release(): void {
    this.#from.release(this);
  }
}

disposeWith(Lease, function (this: Lease): void {
  try {
    this.release();
  } catch (error) {
    if (!isMillpondError(error, "ERR_DOUBLE_RELEASE") && !isMillpondError(error, "ERR_POOL_DEAD")) throw error;
  }
});

/** A lease that came over a lane, with what was sent along. */
export interface Delivery<Data> {
  /** The lease: this thread's from now on. */
  readonly lease: Lease;
  /** What the sender sent along; undefined when nothing. */
  readonly data: Data;
}

/** What SharedPool and TransferPool have in common, so that a program is written once and runs with either. */
export interface LeasePool {
  /** For messages. */
  readonly name: string;
  /** Bytes of a slot. */
  readonly size: number;
  /** Slots. */
  readonly count: number;
  /** "shared": slots in shared memory; "transfer": ArrayBuffers that are moved and come back. */
  readonly transport: "shared" | "transfer";
  /** A free slot, or undefined. */
  tryAcquire(): Lease | undefined;
  /** Waits for a free slot. */
  acquire(options?: WaitOptions): Promise<Lease>;
  /** The bytes of a lease that this thread holds. */
  bytes(lease: LeaseData): Uint8Array;
  /** One hold more. */
  retain(lease: LeaseData): void;
  /** Gives a hold back. */
  release(lease: LeaseData): void;
}
