/**
 * Where the bytes of frames come from: a pool of shared slots; or, for comparison, a new ArrayBuffer for every frame, or
 * the floor: fixed slots without a pool. All bound the frames in flight by the same number, so that none wins by
 * holding more.
 */
import { allocators } from "../../allocators/registry.ts";
import type { MediaBuffer } from "../../media/media-buffer.ts";
import { isMillpondError } from "../../observe/errors.ts";
import { BufferPool } from "../../pools/buffer-pool.ts";
import type { Holder } from "../../pools/pool-report.ts";
import { Failure } from "../exit.ts";
import { count } from "../terminal.ts";
import type { Meter } from "./meter.ts";

/** Bytes for one frame, until they are given back. */
export interface Place {
  /** Number of the place, below the bound; results are filed under it. */
  readonly slot: number;
  /** Generation of the slot; undefined where bytes are new each time. */
  readonly generation: number | undefined;
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

/** Hands out places for frames, and takes them back. */
export interface Supply {
  /** Makes places of `size` bytes from now on. Every place must be back. */
  reshape(size: number): Promise<void>;
  /** A place, as soon as one is free. Rejects with the signal's reason, or {@link Failure} after the patience is over. */
  take(signal: AbortSignal): Promise<Place>;
  /** Takes a place back. */
  giveBack(place: Place): void;
  /** Ends it, and says how it went. */
  close(): SupplyReport;
}

/** What both kinds need. */
export interface SupplyOptions {
  /** Most places at one time. */
  readonly buffers: number;
  /** Milliseconds to wait for a place. */
  readonly patience: number;
  /** Takes the times. */
  readonly meter: Meter;
}

// Enough for exact percentiles of any film that is compared, and a bound for one that plays all day.
const MAX_SAMPLES = 65_536;

/** A place out of the pool, with the lease that it stands for. */
interface PooledPlace extends Place {
  readonly buffer: MediaBuffer;
}

/** Slots of a BufferPool over shared memory. */
export class PooledSupply implements Supply {
  /** The pool, for tests and reports. */
  readonly pool: BufferPool;
  readonly #options: SupplyOptions;
  #size = 0;
  #allocated = 0;

  /** An unshaped supply. */
  constructor(options: SupplyOptions) {
    this.#options = options;
    this.pool = new BufferPool({ name: "frames" });
  }

  /** Configures the pool anew: a stream that changes its size gets other slots. */
  async reshape(size: number): Promise<void> {
    const { buffers } = this.#options;
    if (this.pool.isActive) this.pool.deactivate();
    // Slots begin on a cache line, and 16-bit samples on an even address.
    this.pool.configure({ size, min: buffers, max: buffers, align: 64, allocator: allocators.find("shared") });
    this.pool.activate();
    this.#size = size;
    this.#allocated += this.pool.stats().count;
  }

  /** Times the pool's synchronous acquire; waiting in the queue is counted apart. */
  async take(signal: AbortSignal): Promise<Place> {
    const { meter } = this.#options;
    const start = performance.now();
    const buffer = this.pool.tryAcquire();
    const end = performance.now();
    if (buffer !== undefined) {
      addAllocation(meter, end - start);
      return placeOf(buffer);
    }
    meter.waits++;
    try {
      return placeOf(await this.pool.acquire({ signal, timeout: this.#options.patience }));
    } catch (error) {
      if (!isMillpondError(error, "ERR_STARVED")) throw error;
      throw new Failure(tooSlow(this.#options.patience, this.#options.buffers), 1, { cause: error });
    } finally {
      meter.stages.wait += performance.now() - end;
    }
  }

  /** Releases the lease. */
  giveBack(place: Place): void {
    (place as PooledPlace).buffer.release();
  }

  /** Deactivates the pool, and asks it who still holds what. */
  close(): SupplyReport {
    const { pool } = this;
    const { buffers } = this.#options;
    const { outstanding } = pool;
    const report: SupplyReport = {
      name: `pool "${pool.name}"`,
      buffers,
      bufferBytes: this.#size,
      allocated: this.#allocated + pool.stats().misses,
      outstanding,
      holders: pool.holders().map(describeHolder),
    };
    if (pool.isActive) pool.deactivate();
    pool.destroy({ force: outstanding > 0 });
    return report;
  }
}

function describeHolder(holder: Holder): string {
  const site = holder.site === undefined ? "" : `, taken at ${holder.site}`;
  return `slot ${holder.slot}, lease ${holder.generation}, on loan for ${Math.round(holder.age)} ms${site}`;
}

function placeOf(buffer: MediaBuffer): PooledPlace {
  return { slot: buffer.slotIndex, generation: buffer.generation, bytes: buffer.bytes, buffer };
}

/**
 * Frames without a pool. "fresh": a new ArrayBuffer for every frame, transferred to the worker and dropped there, which is
 * what people do. "floor": the same shared slots over and over, with nobody checking who has them, which allocates nothing
 * and is as little as the work can cost.
 */
export class PoollessSupply implements Supply {
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
    if (this.#kind === "floor") return { slot, generation: 0, bytes: this.#slots[slot]! };
    const start = performance.now();
    const bytes = new Uint8Array(this.#size);
    addAllocation(meter, performance.now() - start);
    this.#allocated++;
    return { slot, generation: undefined, bytes };
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
    `no worker gave a frame back for ${patience / 1000} s, with ${count(held, "frame")} in the workers' hands: ` +
    "a worker hangs, or the machine is far too slow (--patience sets the limit)"
  );
}
