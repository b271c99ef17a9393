/**
 * SharedBufferPool: a BufferPool whose buffers lie in the slots of a SharedPool, so that other threads can look at a
 * buffer by a number, and nobody gets its slot while one of them does.
 *
 * ```ts
 * const pool = new SharedBufferPool({ name: "frames", threads: 2 });
 * pool.configure({ size: 3_110_400, max: 6 });
 * pool.activate();
 * const frame = await pool.acquire();
 * worker.postMessage({ pool: pool.shared.handle, lease: pool.leaseOf(frame) });
 * // there: const slots = SharedPool.attach(pool); slots.retainId(lease); slots.bytesOf(lease); slots.releaseId(lease)
 * frame.release();          // a thread that still looks keeps the bytes as they are; another slot serves meanwhile
 * ```
 * A buffer that comes back gets another lease on its slot, so that a late message names a lease that is over:
 * `retainId` throws.
 *
 * Life-cycle: a {@link BufferPool}'s. The slots are made at the first activation; they retire when the pool stops, and
 * end with the last thread that looks. A forced close of either pool ends both, the buffers first.
 *
 * Invariants: each buffer's hold on its slot is pinned, so that only the buffer ends it; there are `threads` more slots
 * than buffers; a slot is leased again, and zeroed, only when nobody looks at it; no other pool is made in the memory
 * while there are buffers in it.
 *
 * Complexity: as BufferPool; a return takes one step more in shared memory, by which the slot's lease is renewed; close
 * O(slots).
 */
import { allocators } from "../../allocators/registry.ts";
import { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { Allocator } from "../../memory/allocator.ts";
import type { ResolvedParams } from "../../memory/params.ts";
import { Region, zeroBytes } from "../../memory/region.ts";
import { MillpondError } from "../../util/errors.ts";
import { checkOptions, flag, instance, readOptions, wholeNumber } from "../../util/validate.ts";
import { type AcquireOptions, BufferPool, type BufferPoolOptions, POOL_OPTIONS } from "../buffer/buffer-pool.ts";
import type { ActualPoolConfig } from "../buffer/config.ts";
import type { Holder } from "../buffer/stats.ts";
import { type Made, makePool, type SharedHolder } from "./attach.ts";
import { NONE, pin, renewLease, stateAt, unpin } from "./core.ts";
import { inUseError, isEvicted, leaseError } from "./errors.ts";
import { Header, PoolState } from "./layout.ts";
import { isAlive } from "./pool-state.ts";
import { SharedPool } from "./shared-pool.ts";

/** How a {@link SharedBufferPool} is made. */
export interface SharedBufferPoolOptions extends BufferPoolOptions {
  /**
   * Other threads that will look at buffers, each at one at a time: memberships, and slots to spare. Default 4, at most
   * 19.
   */
  threads?: number;
}

/** A slot of the shared pool, as the handle of a region. */
interface Placed {
  lease: number;
}

/** How a buffer's slots end: the pool retires, or this call takes them away. */
type SlotsEnd = "retire" | "close" | "leave";

/**
 * The pool of slots. The buffers' holds are theirs alone (`pin`); ending the slots by force under buffers ends the
 * buffers first, so that no buffer is left over bytes that are another one's.
 */
class BufferSlots extends SharedPool {
  readonly #endBuffers: (end: SlotsEnd) => boolean;

  constructor(made: Made, endBuffers: (end: SlotsEnd) => boolean) {
    super(made, made.membership, {});
    this.#endBuffers = endBuffers;
  }

  override leave(options: { force?: boolean } = {}): void {
    const force = isForced(options);
    if (!force || !this.#endBuffers("leave")) super.leave({ force });
  }

  override close(options: { force?: boolean } = {}): void {
    const force = isForced(options);
    if (this.isOut || !force || !this.#endBuffers("close")) super.close({ force });
  }

  /** Ends this pool, called by its buffers' one. */
  end(how: SlotsEnd): void {
    if (how === "close") {
      // Of one who is out the buffers end, and nothing of the others'.
      if (!this.isOut) {
        // In a closed pool nothing is cleared any more. The leases that are left end in this very call.
        if (!this.core.plain && !this.isOver) for (const { slot } of this.holders()) zeroBytes(this.viewOf(slot));
        super.close({ force: true });
      }
    } else if (how === "leave") super.leave({ force: true });
    else if (!this.isOver) this.retire();
    // It was closed, or left, under its buffers. Only now is nothing of them in the memory.
    if (!isAlive(this.core)) super.giveUp();
  }

  /** As long as there are buffers in it, another pool must not be made in the memory. */
  override giveUp(): void {}

  /** Whether its leases are good no more here: it was closed, or this thread left it or was reclaimed. */
  get isOver(): boolean {
    return !isAlive(this.core) || isEvicted(this.core);
  }

  /** As {@link isOver}, by plain reads, which cost nothing. */
  get seemsOver(): boolean {
    const { i32, statusAt, status } = this.core;
    return i32[Header.STATE] === PoolState.DEAD || i32[statusAt] !== status;
  }

  /** Slots with a hold that is not a buffer's: another member's, or one of this thread by retain() or acquire(). */
  looks(): SharedHolder[] {
    const { i32, me, pins, localRefs, holderMask } = this.core;
    return this.holders().filter(({ slot }) => {
      const state = Atomics.load(i32, stateAt(this.core, slot)) & holderMask;
      return (state & ~me) !== 0 || ((state & me) !== 0 && (pins[slot] === 0 || localRefs[slot]! > 1));
    });
  }
}

/** Read once: a getter may say something else the second time. */
function isForced(options: { force?: boolean } = {}): boolean {
  return flag("options.force", checkOptions("options", options, ["force"]).force, false);
}

/** Slots of one SharedPool as regions. */
class SlotAllocator extends Allocator {
  readonly pool: BufferSlots;

  constructor(pool: BufferSlots) {
    super(pool.name, { memoryType: "SharedMemory" });
    this.pool = pool;
  }

  /** The last hold of a slot ends with its bytes, where they are to be zero: another thread may have that hold. */
  override get zeroesFreed(): boolean {
    return true;
  }

  protected override allocateRegion(_size: number, _params: ResolvedParams): Region {
    const lease = this.pool.tryAcquireId();
    if (lease !== NONE) {
      const region = new Region(this.pool.bytesOf(lease), { lease } satisfies Placed);
      pin(this.pool.core, lease);
      return region;
    }
    throw new MillpondError(
      "ERR_POOL_FULL",
      `every slot of shared pool "${this.pool.name}" is held, some of them by threads that look longer than their buffer lives; ` +
        "wait for them before release(), or make the pool with more threads",
    );
  }

  protected override freeRegion(region: Region): void {
    const { lease } = region.handle as Placed;
    const isKnown = unpin(this.pool.core, lease);
    // Slots that ended under the buffer have nothing to be given back; recycle() said so.
    if (isKnown && this.pool.isHeld(lease)) this.pool.releaseId(lease);
  }
}

/**
 * A {@link BufferPool} whose buffers lie in the slots of a {@link SharedPool}, `pool.shared`, so that other threads can
 * look at a buffer. While one of them does, nobody gets its slot; another slot serves meanwhile, and there are
 * `threads` more slots than buffers. The buffer's own hold on its lease is ended by the buffer alone: `retainId` the
 * lease before it is sent or released as a lease. The slots are made at the first activation. Costs as a BufferPool,
 * and one step more in shared memory for each return.
 *
 * ```ts
 * const frame = await pool.acquire({ timeout: 1000 });
 * const id = pool.leaseOf(frame);
 * pool.shared.retainId(id);                             // a second hold, which goes to the worker
 * await lane.send(pool.shared.lease(id), { pts: frame.pts });
 * frame.release();                                      // the bytes stay until the worker releases its hold
 * ```
 */
export class SharedBufferPool extends BufferPool {
  readonly #threads: number;
  #slots: SlotAllocator | undefined;
  #slotsEnd: SlotsEnd = "retire";

  /** Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, as BufferPool. */
  constructor(options: SharedBufferPoolOptions = {}) {
    const { threads = 4, ...others } = readOptions("options", options, [...POOL_OPTIONS, "threads"]);
    super(others);
    // A shared pool has 20 memberships at most, and this thread takes one of them.
    this.#threads = wholeNumber("options.threads", threads, 0, 19);
  }

  /** @internal */
  override get spareBuffers(): number {
    return this.#threads;
  }

  /** As BufferPool.tryAcquire. Also throws `ERR_POOL_DEAD` once another thread has closed {@link shared}. */
  override tryAcquire(options?: { tag?: string; hint?: unknown }): MediaBuffer | undefined {
    if (this.#slots?.pool.seemsOver === true) this.#lookForEnd();
    return super.tryAcquire(options);
  }

  /** As BufferPool.acquire. Also rejects with `ERR_POOL_DEAD` once another thread has closed {@link shared}. */
  override acquire(options?: AcquireOptions): Promise<MediaBuffer> {
    try {
      if (this.#slots?.pool.seemsOver === true) this.#lookForEnd();
    } catch (error) {
      return Promise.reject(error);
    }
    return super.acquire(options);
  }

  /**
   * Another thread has closed the slots' pool, for all threads: the buffers end with it, as when this thread does so.
   * Every use of one is refused from then on, and every wait.
   */
  #lookForEnd(): void {
    const slots = this.#slots?.pool;
    if (slots?.isOver === true) this.#endBy(slots, "close");
  }

  /**
   * The pool of slots behind the buffers, for `handle`, `reserve` and `reclaim`. Throws `ERR_INACTIVE` before
   * activation.
   */
  get shared(): SharedPool {
    if (this.#slots !== undefined) return this.#slots.pool;
    throw new MillpondError("ERR_INACTIVE", `pool "${this.name}" has no slots yet; activate() it first`);
  }

  /**
   * The lease that other threads retain (`retainId`) while they look at a buffer. It ends with the buffer's last
   * release. Throws `ERR_FOREIGN_RELEASE` for a buffer of another pool, `ERR_USE_AFTER_RELEASE`,
   * `ERR_INVALID_ARG_VALUE` for one whose memory was replaced.
   */
  leaseOf(buffer: MediaBuffer): number {
    if (instance("buffer", "a MediaBuffer", MediaBuffer, buffer).pool !== this) {
      throw new MillpondError("ERR_FOREIGN_RELEASE", `this buffer does not belong to pool "${this.name}"`);
    }
    const memory = buffer.memoryCount === 1 ? buffer.memoryAt(0) : undefined;
    if (memory?.allocator === this.#slots) return (memory!.region.handle as Placed).lease;
    throw new MillpondError(
      "ERR_INVALID_ARG_VALUE",
      `this buffer of pool "${this.name}" does not lie in one slot any more: its memory was replaced or added to`,
    );
  }

  /** @internal Slots are made once, so their number must be known; where they lie is this pool's business. */
  protected override adjust(wanted: ActualPoolConfig): ActualPoolConfig {
    if (wanted.max !== Number.POSITIVE_INFINITY) return { ...wanted, allocator: allocators.find("shared")! };
    throw this.adjusted({ ...wanted, max: Math.max(wanted.min, 1) }, "cannot be without a bound in buffers");
  }

  /** @internal */
  protected override start(): void {
    // What a thread still looks at after a drain was canceled stays good, so the slots do too.
    if (this.#slots !== undefined) {
      super.start();
      return;
    }
    this.#slots = new SlotAllocator(this.#makePool(this.config!));
    try {
      super.start();
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  #makePool({ size, max, params, zero }: ActualPoolConfig): BufferSlots {
    const made = makePool({
      name: this.name,
      size: params.prefix + size + params.padding,
      count: max + this.#threads,
      align: Math.max(params.align, 64),
      members: this.#threads + 1,
      zero: zero === "release" ? "release" : "fresh",
    });
    const slots: BufferSlots = new BufferSlots(made, (end) => this.#endBy(slots, end));
    return slots;
  }

  /** @internal */
  protected override populate(buffer: MediaBuffer, config: ActualPoolConfig): void {
    buffer.append(this.#slots!.allocate(config.size, config.params));
  }

  /** @internal A buffer that a thread still looks at is given up; its slot comes free when the thread has done. */
  protected override recycle(buffer: MediaBuffer): boolean {
    const placed = buffer.memoryAt(0).region.handle as Placed;
    const { pool } = this.#slots!;
    const { core } = pool;
    const { lease } = placed;
    const isKnown = unpin(core, lease);
    const next = isKnown ? renewLease(core, lease) : NONE;
    if (next !== NONE) {
      pin(core, next);
      placed.lease = next;
      return true;
    }
    if (isKnown) pin(core, lease);
    // Closed by another thread, or this one was declared dead: the bytes may be another buffer's.
    if (!pool.isHeld(lease)) throw leaseError(pool, lease, "release");
    return false;
  }

  /**
   * @internal The last buffer is back. Threads that still look keep their leases; the last of them closes the slots.
   */
  protected override stop(): void {
    const slots = this.#slots;
    this.#slots = undefined;
    slots?.pool.end(this.#slotsEnd);
  }

  /** Ends the buffers by force, and then the slots; false where `slots` are not in use by buffers any more. */
  #endBy(slots: BufferSlots, end: SlotsEnd): boolean {
    if (this.#slots?.pool !== slots) return false;
    this.#slotsEnd = end;
    try {
      super.close({ force: true });
    } finally {
      this.#slotsEnd = "retire";
    }
    return true;
  }

  /**
   * As BufferPool.close; also throws `ERR_IN_USE` while a thread still looks at a buffer that came back. `force` ends
   * those leases too.
   */
  override close(options?: { force?: boolean }): Holder[] {
    const force = isForced(options);
    const slots = this.#slots?.pool;
    if (slots === undefined || slots.isOver) return super.close({ force });
    if (force) {
      const holders = this.holders();
      this.#endBy(slots, "close");
      return holders;
    }
    const looks = this.stats().outstanding > 0 ? [] : slots.looks();
    if (looks.length > 0) throw inUseError({ name: this.name, core: slots.core, holders: () => looks });
    return super.close({ force });
  }
}
