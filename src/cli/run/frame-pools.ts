/**
 * The pools that `millpond run` offers, and takes the times of: shared slots; or, for a comparison, a new ArrayBuffer
 * for every frame, or fixed slots that nobody checks. All have the same number of buffers, so that none wins by having
 * more under way.
 */

import { allocators } from "../../allocators/registry.ts";
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { wrapMemory } from "../../memory/allocator.ts";
import { type AcquireOptions, BufferPool } from "../../pools/buffer/buffer-pool.ts";
import type { ActualPoolConfig } from "../../pools/buffer/config.ts";
import type { Holder } from "../../pools/buffer/stats.ts";
import { SharedBufferPool, type SharedBufferPoolOptions } from "../../pools/shared/shared-buffer-pool.ts";
import type { Variant } from "../args.ts";
import type { Meter } from "./meter.ts";

/** How it went, at the end. */
export interface SupplyReport {
  /** What it is called. */
  readonly name: string;
  /** Most frames in flight. */
  readonly buffers: number;
  /** Bytes of each. */
  readonly bufferBytes: number;
  /** Buffers that were allocated in all. */
  readonly allocated: number;
  /** Buffers that were not given back. */
  readonly outstanding: number;
  /** Who holds them, in words; empty when all are back. */
  readonly holders: readonly string[];
}

// Enough for exact percentiles of any film that is compared, and a bound for one that plays all day.
const MAX_SAMPLES = 65_536;

function addAllocation(meter: Meter, ms: number): void {
  meter.stages.allocate += ms;
  if (meter.allocations.length < MAX_SAMPLES) meter.allocations.push(ms * 1000);
}

/** Counts and times an acquire that finds every buffer out. */
function metered(meter: Meter, pool: BufferPool, acquire: () => Promise<MediaBuffer>): Promise<MediaBuffer> {
  if (pool.config !== null && pool.outstanding < pool.config.max) return acquire();
  meter.waits++;
  const start = performance.now();
  return acquire().finally(() => {
    meter.stages.wait += performance.now() - start;
  });
}

/**
 * Slots of a pool over shared memory: what a run has. An allocation is what the pool takes to give a buffer that is
 * free.
 */
class PooledFrames extends SharedBufferPool {
  readonly #meter: Meter;

  constructor(options: SharedBufferPoolOptions, meter: Meter) {
    super(options);
    this.#meter = meter;
  }

  override tryAcquire(options?: { tag?: string }): MediaBuffer | undefined {
    const start = performance.now();
    const buffer = super.tryAcquire(options);
    if (buffer !== undefined) addAllocation(this.#meter, performance.now() - start);
    return buffer;
  }

  override acquire(options?: AcquireOptions): Promise<MediaBuffer> {
    return metered(this.#meter, this, () => super.acquire(options));
  }
}

/** The same shared slots over and over, with no lease that a thread could check: as little as the work can cost. */
class FixedFrames extends BufferPool {
  protected readonly meter: Meter;

  constructor({ name, clock }: SharedBufferPoolOptions, meter: Meter) {
    super({ ...(name !== undefined && { name }), ...(clock !== undefined && { clock }) });
    this.meter = meter;
  }

  override acquire(options?: AcquireOptions): Promise<MediaBuffer> {
    return metered(this.meter, this, () => super.acquire(options));
  }

  protected override adjust(wanted: ActualPoolConfig): ActualPoolConfig {
    return { ...wanted, allocator: allocators.find("shared")! };
  }
}

/**
 * A new ArrayBuffer for every frame, which moves to the thread and is dropped there: what people do. A buffer comes
 * back without bytes, so that the pool makes another one. Only the ArrayBuffer counts as an allocation; the pool around
 * it bounds what is under way.
 */
class FreshFrames extends FixedFrames {
  protected override populate(buffer: MediaBuffer, { size }: ActualPoolConfig): void {
    const start = performance.now();
    const bytes = new Uint8Array(size);
    addAllocation(this.meter, performance.now() - start);
    buffer.append(wrapMemory(bytes));
  }
}

const NAMES: Readonly<Record<Variant, string>> = {
  pooled: 'pool "frames"',
  fresh: "fresh buffers",
  floor: "fixed slots",
};

/** The pools of one run, one for each shape of frames that comes. */
export class FramePools {
  readonly #variant: Variant;
  readonly #buffers: number;
  readonly #meter: Meter;
  readonly #pools: BufferPool[] = [];

  /** Without a pool yet. */
  constructor(variant: Variant, buffers: number, meter: Meter) {
    this.#variant = variant;
    this.#buffers = buffers;
    this.#meter = meter;
  }

  /** A pool to offer; it has no memory before somebody accepts it. */
  create(options: SharedBufferPoolOptions): BufferPool {
    const Pool = { pooled: PooledFrames, fresh: FreshFrames, floor: FixedFrames }[this.#variant];
    const pool = new Pool({ ...options, name: "frames" }, this.#meter);
    this.#pools.push(pool);
    return pool;
  }

  /** Buffers that are out. */
  get outstanding(): number {
    return this.#pools.reduce((sum, pool) => sum + pool.outstanding, 0);
  }

  /** Asks the pools who still holds what, and ends them. */
  close(): SupplyReport {
    const used = this.#pools.filter((pool) => pool.config !== null);
    const report: SupplyReport = {
      name: NAMES[this.#variant],
      buffers: this.#buffers,
      bufferBytes: used.at(-1)?.config?.size ?? 0,
      allocated: used.reduce((sum, pool) => sum + pool.config!.min + pool.stats().misses, 0),
      outstanding: this.outstanding,
      holders: used.flatMap((pool) => pool.holders()).map(describeHolder),
    };
    for (const pool of this.#pools) pool.close({ force: true });
    return report;
  }
}

function describeHolder(holder: Holder): string {
  const site = holder.site === undefined ? "" : `, taken at ${holder.site}`;
  return `slot ${holder.slot}, lease ${holder.generation}, leased for ${Math.round(holder.age)} ms${site}`;
}
