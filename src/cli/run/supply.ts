/**
 * Where the bytes of frames come from: a pool of shared slots; or, for comparison, a new ArrayBuffer for every frame, or
 * the floor: fixed slots without a pool. All bound the frames in flight by the same number, so that none wins by
 * holding more.
 */
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import type { AcquireOptions, BufferPool } from "../../pools/buffer/buffer-pool.ts";
import type { Holder } from "../../pools/buffer/stats.ts";
import type { SharedHandle } from "../../pools/shared/handle.ts";
import { SharedBufferPool } from "../../pools/shared/shared-buffer-pool.ts";
import type { SharedPool } from "../../pools/shared/shared-pool.ts";
import { isMillpondError } from "../../util/errors.ts";
import { Failure } from "../exit.ts";
import { count } from "../terminal.ts";
import type { Meter } from "./meter.ts";

/** Bytes for one frame, until they are given back. */
export interface Place {
  /** Number of the place, below the bound; results are filed under it. */
  readonly slot: number;
  /** Identity of the lease, which other threads can check; undefined where nobody checks. */
  readonly lease: number | undefined;
  /** Whether the bytes are new each time, and go with the frame. */
  readonly isFresh: boolean;
  /** Room for the frame. */
  readonly bytes: Uint8Array;
}

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
  /** Places that were not given back. */
  readonly outstanding: number;
  /** Who holds them, in words; empty when all are back. */
  readonly holders: readonly string[];
}

/** Takes places back, and knows how it went. */
export interface Supply {
  /** Takes a place back. */
  giveBack(place: Place): void;
  /** What a worker takes part with, from now on until the next reshaping; undefined where there is nothing to take part in. */
  reserve?(): SharedHandle | undefined;
  /** A worker that took part is gone, however it went: what it held is free. */
  reclaim?(seat: SharedHandle): void;
  /** Ends it, and says how it went. */
  close(): SupplyReport;
}

/** What both kinds need. */
export interface SupplyOptions {
  /** Most places at one time. */
  readonly buffers: number;
  /** Threads that measure. */
  readonly workers: number;
  /** Milliseconds to wait for a place. */
  readonly patience: number;
  /** Takes the times. */
  readonly meter: Meter;
}

// Enough for exact percentiles of any film that is compared, and a bound for one that plays all day.
const MAX_SAMPLES = 65_536;

/** Hands out places for frames, too; where no pipeline does. */
export interface LoopSupply extends Supply {
  /** Makes places of `size` bytes from now on. Every place must be back. */
  reshape(size: number): Promise<void>;
  /** A place, as soon as one is free. Rejects with the signal's reason, or {@link Failure} after the patience is over. */
  take(signal: AbortSignal): Promise<Place>;
}

/** A buffer of the pool that the stages agreed on. */
export interface PooledPlace extends Place {
  /** Released when the frame is measured. */
  readonly buffer: MediaBuffer;
}

/** A pool of shared slots that takes its own times. */
class MeteredPool extends SharedBufferPool {
  readonly #meter: Meter;
  #made = 0;

  constructor({ workers, meter }: SupplyOptions) {
    super({ name: "frames", threads: workers });
    this.#meter = meter;
  }

  /** Buffers that it has made. */
  get made(): number {
    return this.#made + this.stats().misses;
  }

  protected override start(): void {
    super.start();
    this.#made += this.config!.min;
  }

  override tryAcquire(options?: { tag?: string }): MediaBuffer | undefined {
    const start = performance.now();
    const buffer = super.tryAcquire(options);
    if (buffer !== undefined) addAllocation(this.#meter, performance.now() - start);
    return buffer;
  }

  override acquire(options?: AcquireOptions): Promise<MediaBuffer> {
    if (this.free > 0) return super.acquire(options);
    this.#meter.waits++;
    const start = performance.now();
    return super.acquire(options).finally(() => {
      this.#meter.stages.wait += performance.now() - start;
    });
  }
}

/** The pools that the measuring stage offers, one for each shape of frames; the workers take part in the present one. */
export class PooledSupply implements Supply {
  readonly #options: SupplyOptions;
  readonly #pools: MeteredPool[] = [];
  #seats: WeakMap<SharedHandle, SharedPool> = new WeakMap();

  /** Without a pool yet. */
  constructor(options: SupplyOptions) {
    this.#options = options;
  }

  /** A pool to offer; it has no memory before somebody accepts it. */
  offer(): BufferPool {
    const pool = new MeteredPool(this.#options);
    this.#pools.push(pool);
    return pool;
  }

  /** A buffer as the crew wants it. */
  place(buffer: MediaBuffer): PooledPlace {
    const pool = buffer.pool as MeteredPool;
    return { slot: buffer.slotIndex, lease: pool.leaseOf(buffer), isFresh: false, bytes: buffer.bytes, buffer };
  }

  /** Releases the buffer. */
  giveBack(place: Place): void {
    (place as PooledPlace).buffer.release();
  }

  /** A seat in the present pool for one worker. */
  reserve(): SharedHandle {
    const { shared } = this.#pools.at(-1)!;
    const seat = shared.reserve();
    this.#seats.set(seat, shared);
    return seat;
  }

  /** Clears up after a worker. */
  reclaim(seat: SharedHandle): void {
    try {
      this.#seats.get(seat)?.reclaim(seat);
    } catch (error) {
      // The pool may have gone before the worker.
      if (!isMillpondError(error, "ERR_POOL_DEAD")) throw error;
    }
  }

  /** Asks the pools who still holds what, and ends them. */
  close(): SupplyReport {
    const used = this.#pools.filter((pool) => pool.config !== null);
    const report: SupplyReport = {
      name: 'pool "frames"',
      buffers: this.#options.buffers,
      bufferBytes: used.at(-1)?.config?.size ?? 0,
      allocated: used.reduce((sum, pool) => sum + pool.made, 0),
      outstanding: used.reduce((sum, pool) => sum + pool.outstanding, 0),
      holders: used.flatMap((pool) => pool.holders()).map(describeHolder),
    };
    for (const pool of this.#pools) pool.close({ force: true });
    return report;
  }
}

function describeHolder(holder: Holder): string {
  const site = holder.site === undefined ? "" : `, taken at ${holder.site}`;
  return `slot ${holder.slot}, lease ${holder.generation}, on loan for ${Math.round(holder.age)} ms${site}`;
}

/**
 * Frames without a pool. "fresh": a new ArrayBuffer for every frame, transferred to the worker and dropped there, which is
 * what people do. "floor": the same shared slots over and over, with nobody checking who has them, which allocates nothing
 * and is as little as the work can cost.
 */
export class PoollessSupply implements LoopSupply {
  readonly #options: SupplyOptions;
  readonly #kind: "fresh" | "floor";
  readonly #free: number[] = [];
  #slots: Uint8Array[] = [];
  #size = 0;
  #allocated = 0;
  #wake: (() => void) | undefined;

  /** An unshaped supply. */
  constructor(kind: "fresh" | "floor", options: SupplyOptions) {
    this.#kind = kind;
    this.#options = options;
    for (let slot = options.buffers - 1; slot >= 0; slot--) this.#free.push(slot);
  }

  /** Notes the size of the next buffers; the floor makes its slots now. */
  async reshape(size: number): Promise<void> {
    this.#size = size;
    if (this.#kind === "fresh") return;
    const { buffers } = this.#options;
    this.#slots = Array.from({ length: buffers }, () => new Uint8Array(new SharedArrayBuffer(size)));
    this.#allocated += buffers;
  }

  /** Waits until fewer than the bound are in flight, then times the allocation, if there is one. */
  async take(signal: AbortSignal): Promise<Place> {
    const { meter } = this.#options;
    if (this.#free.length === 0) {
      meter.waits++;
      const start = performance.now();
      await this.#turn(signal);
      meter.stages.wait += performance.now() - start;
    }
    const slot = this.#free.pop()!;
    if (this.#kind === "floor") return { slot, lease: undefined, isFresh: false, bytes: this.#slots[slot]! };
    const start = performance.now();
    const bytes = new Uint8Array(this.#size);
    addAllocation(meter, performance.now() - start);
    this.#allocated++;
    return { slot, lease: undefined, isFresh: true, bytes };
  }

  /** Fresh bytes are the garbage collector's now. */
  giveBack(place: Place): void {
    this.#free.push(place.slot);
    this.#wake?.();
  }

  /** Nothing is held: says what was allocated. */
  close(): SupplyReport {
    const { buffers } = this.#options;
    return {
      name: this.#kind === "fresh" ? "fresh buffers" : "fixed slots",
      buffers,
      bufferBytes: this.#size,
      allocated: this.#allocated,
      outstanding: buffers - this.#free.length,
      holders: [],
    };
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (error?: unknown): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", onAbort);
        this.#wake = undefined;
        if (error === undefined) resolve();
        else reject(error);
      };
      const onAbort = (): void => settle(signal.reason);
      const timer = setTimeout(
        () => settle(new Failure(tooSlow(this.#options.patience, this.#options.buffers))),
        this.#options.patience,
      );
      signal.addEventListener("abort", onAbort);
      this.#wake = () => settle();
      if (signal.aborted) onAbort();
    });
  }
}

function addAllocation(meter: Meter, ms: number): void {
  meter.stages.allocate += ms;
  if (meter.allocations.length < MAX_SAMPLES) meter.allocations.push(ms * 1000);
}

/** The message for workers that give nothing back. */
export function tooSlow(patience: number, held: number): string {
  return (
    `no worker gave a frame back for ${patience / 1000} s, while they had ${count(held, "frame")}: ` +
    "a worker hangs, or the machine is far too slow (--patience sets the limit)"
  );
}
