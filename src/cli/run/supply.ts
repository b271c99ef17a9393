/**
 * Where the bytes of frames come from: a pool of shared slots; or, for comparison, a new ArrayBuffer for every frame, or
 * the floor: fixed slots without a pool. All bound the frames in flight by the same number, so that none wins by
 * holding more.
 */
import { isMillpondError } from "../../observe/errors.ts";
import type { SharedHandle, SharedOwnerStats } from "../../pools/shared-handle.ts";
import { SharedPool } from "../../pools/shared-pool.ts";
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

/** Hands out places for frames, and takes them back. */
export interface Supply {
  /** Makes places of `size` bytes from now on. Every place must be back. */
  reshape(size: number): Promise<void>;
  /** A place, as soon as one is free. Rejects with the signal's reason, or {@link Failure} after the patience is over. */
  take(signal: AbortSignal): Promise<Place>;
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

/** Slots of a SharedPool: the workers take part in it, so that a slot cannot be handed on while one of them looks at it. */
export class PooledSupply implements Supply {
  readonly #options: SupplyOptions;
  #pool: SharedPool | undefined;
  #allocated = 0;

  /** An unshaped supply. */
  constructor(options: SupplyOptions) {
    this.#options = options;
  }

  /** Makes the pool anew: a stream that changes its size gets other slots. */
  async reshape(size: number): Promise<void> {
    const { buffers, workers } = this.#options;
    this.#pool?.destroy();
    this.#pool = SharedPool.create({ name: "frames", size, count: buffers, owners: workers + 1 });
    this.#allocated += buffers;
  }

  /** Times the pool's own taking; waiting in the queue is counted apart. */
  async take(signal: AbortSignal): Promise<Place> {
    const pool = this.#pool!;
    const { meter, patience, buffers } = this.#options;
    const start = performance.now();
    const lease = pool.tryTake();
    const end = performance.now();
    if (lease >= 0) {
      addAllocation(meter, end - start);
      return placeOf(pool, lease);
    }
    meter.waits++;
    try {
      return placeOf(pool, (await pool.acquire({ signal, timeout: patience })).id);
    } catch (error) {
      if (!isMillpondError(error, "ERR_STARVED")) throw error;
      throw new Failure(tooSlow(patience, buffers), 1, { cause: error });
    } finally {
      meter.stages.wait += performance.now() - end;
    }
  }

  /** Gives the lease back. */
  giveBack(place: Place): void {
    this.#pool!.give(place.lease!);
  }

  /** A seat for one worker. */
  reserve(): SharedHandle {
    return this.#pool!.reserve();
  }

  /** Clears up after a worker, unless its pool has gone since. */
  reclaim(seat: SharedHandle): void {
    if (seat.pool === this.#pool?.handle.pool) this.#pool.reclaim(seat);
  }

  /** Ends the pool, and asks it who still holds what. */
  close(): SupplyReport {
    const pool = this.#pool;
    const stats = pool?.stats();
    pool?.destroy({ force: true });
    const { buffers } = this.#options;
    return {
      name: 'pool "frames"',
      buffers,
      bufferBytes: pool?.size ?? 0,
      allocated: this.#allocated,
      outstanding: stats?.held ?? 0,
      holders: (stats?.owners ?? []).filter((owner) => owner.holds > 0).map(describeOwner),
    };
  }
}

function describeOwner({ owner, self, holds }: SharedOwnerStats): string {
  return `${self ? "the main thread" : `worker ${owner}`} holds ${count(holds, "slot")}`;
}

function placeOf(pool: SharedPool, lease: number): Place {
  return { slot: pool.slot(lease).index, lease, isFresh: false, bytes: pool.bytesOf(lease) };
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
    `no worker gave a frame back for ${patience / 1000} s, with ${count(held, "frame")} in the workers' hands: ` +
    "a worker hangs, or the machine is far too slow (--patience sets the limit)"
  );
}
