/**
 * SharedBufferPool: a BufferPool whose buffers lie in the slots of a SharedPool, so that other threads can look at a
 * buffer by a number, and nobody can lend it again while one of them does.
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
 */
import { allocators } from "../../allocators/registry.ts";
import { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { Allocator } from "../../memory/allocator.ts";
import type { ResolvedParams } from "../../memory/params.ts";
import { Region } from "../../memory/region.ts";
import { MillpondError } from "../../util/errors.ts";
import { instance, readOptions, wholeNumber } from "../../util/validate.ts";
import { BufferPool, type BufferPoolOptions, POOL_OPTIONS } from "../buffer/buffer-pool.ts";
import type { ActualPoolConfig } from "../buffer/config.ts";
import { NONE, renewLease } from "./core.ts";
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

/** Slots of one SharedPool as regions. */
class SlotAllocator extends Allocator {
  readonly pool: SharedPool;

  constructor(pool: SharedPool) {
    super(pool.name, { memoryType: "SharedMemory" });
    this.pool = pool;
  }

  protected override allocateRegion(_size: number, _params: ResolvedParams): Region {
    const lease = this.pool.tryAcquireId();
    if (lease !== NONE) return new Region(this.pool.bytesOf(lease), { lease } satisfies Placed);
    throw new MillpondError(
      "ERR_POOL_FULL",
      `every slot of shared pool "${this.pool.name}" is held, some of them by threads that look longer than their buffer lives; ` +
        "wait for them before release(), or make the pool with more threads",
    );
  }

  protected override freeRegion(region: Region): void {
    this.pool.releaseId((region.handle as Placed).lease);
  }
}

/** Buffers that other threads can look at; see the module text. */
export class SharedBufferPool extends BufferPool {
  readonly #threads: number;
  #slots: SlotAllocator | undefined;

  /** Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, as BufferPool. */
  constructor(options: SharedBufferPoolOptions = {}) {
    const { threads = 4, ...others } = readOptions("options", options, [...POOL_OPTIONS, "threads"]);
    super(others);
    // A shared pool has 20 memberships at most, and this thread takes one of them.
    this.#threads = wholeNumber("options.threads", threads, 0, 19);
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
    // What a thread still looks at after a drain was cancelled stays good, so the slots do too.
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

  #makePool({ size, max, params }: ActualPoolConfig): SharedPool {
    return SharedPool.create({
      name: this.name,
      size: params.prefix + size + params.padding,
      count: max + this.#threads,
      align: Math.max(params.align, 64),
      members: this.#threads + 1,
    });
  }

  /** @internal */
  protected override populate(buffer: MediaBuffer, config: ActualPoolConfig): void {
    buffer.append(this.#slots!.allocate(config.size, config.params));
  }

  /** @internal A buffer that a thread still looks at is given up; its slot comes free when the thread has done. */
  protected override recycle(buffer: MediaBuffer): boolean {
    const placed = buffer.memoryAt(0).region.handle as Placed;
    const next = renewLease(this.shared.core, placed.lease);
    if (next === NONE) return false;
    placed.lease = next;
    return true;
  }

  /**
   * @internal The last buffer is back. Threads that still look keep the bytes, and find the pool dead when they give.
   */
  protected override stop(): void {
    const slots = this.#slots;
    this.#slots = undefined;
    slots?.pool.close({ force: true });
  }
}
