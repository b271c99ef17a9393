/**
 * What a BufferPool tells about itself: stats, holders and events; and what watches it from the side, for leases that
 * nobody released and waits that last too long. The monitors only report.
 */

import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import type { BufferSlot } from "../../media/buffer/slot.ts";
import type { PoolCounts, PoolHolder, PoolPhase } from "../../observe/pool-info.ts";
import type { Clock, TimerHandle } from "../../util/clock.ts";
import { throwLater } from "../../util/errors.ts";
import { callerOf } from "../../util/stack.ts";

/** Why a buffer was freed instead of being kept for the next lease. */
export type DiscardReason =
  /** Its list of memories was changed. */
  | "memory-changed"
  /**
   * Its memory was resized beyond repair, or made read-only; or a writable closed without saying that it was done with
   * the bytes.
   */
  | "memory-unfit"
  /** Its ArrayBuffer was transferred away. */
  | "detached"
  /** A hook refused it or threw. */
  | "hook"
  /** The pool drains. */
  | "drained"
  /** The pool was closed by force. */
  | "closed";

/** One lease that is out. */
export interface Holder {
  /** The slot's number in the pool. */
  readonly slot: number;
  /** Which lease of the slot. */
  readonly generation: number;
  /** What the holder called itself. */
  readonly tag: string | undefined;
  /**
   * Milliseconds since it was leased. The clock is read coarsely: exact while acquires are 5 ms apart or more, else an
   * upper bound that may include the time since the 63rd acquire before it, also where the pool rested meanwhile.
   */
  readonly age: number;
  /** References to the lease; 0: released, but its memory is still held by a copy, a sub-memory or a retain(). */
  readonly refCount: number;
  /** Where it was acquired, when tracing is on. */
  readonly site: string | undefined;
}

/** A snapshot of a BufferPool's counters. */
export interface BufferPoolStats {
  /** The pool's name. */
  readonly name: string;
  /** Whether buffers can be acquired. */
  readonly active: boolean;
  /** Valid bytes of each buffer. */
  readonly size: number;
  /** The bound in buffers. */
  readonly max: number;
  /** The bound in bytes. */
  readonly maxBytes: number;
  /** Buffers that exist. */
  readonly count: number;
  /** Bytes that exist, rounding and slack included. */
  readonly bytes: number;
  /** Of those, bytes that no lease can use (alignment and page slack). */
  readonly wastedBytes: number;
  /** Buffers that can be acquired at once. */
  readonly free: number;
  /** Leased buffers, with those that await their memory. */
  readonly outstanding: number;
  /** Of those, released ones whose memory is still held elsewhere. */
  readonly awaitingMemory: number;
  /** Waiters now. */
  readonly waiting: number;
  /** Leases since the beginning. */
  readonly acquires: number;
  /** Leases that found no free buffer and made a new one. */
  readonly misses: number;
  /** Acquires that had to wait. */
  readonly waits: number;
  /** Acquires that ended without a buffer because none came in time. */
  readonly starved: number;
  /** The most buffers that were leased at a time. */
  readonly highWater: number;
  /** Buffers freed instead of kept, by reason. */
  readonly discards: Readonly<Partial<Record<DiscardReason, number>>>;
}

/** The events of a BufferPool, by name. */
export interface BufferPoolEvents {
  /** A buffer came back and is free (or went to a waiter) when the listener runs. */
  release: { readonly slot: number; readonly free: number };
  /** Somebody has waited too long: the one in front for `waited` ms; the holders have the oldest lease first. */
  starved: {
    readonly pool: string;
    readonly waited: number;
    readonly waiting: number;
    readonly holders: readonly Holder[];
  };
  /** A buffer was freed instead of kept. */
  discard: { readonly slot: number; readonly reason: DiscardReason };
  /** The last lease of a deactivated pool is back. */
  drained: { readonly pool: string };
  /** A handle was collected by the garbage collector and never released. */
  leak: { readonly pool: string; readonly holder: Holder };
}

/** The lease of a slot, for reports. */
export function holderOf(slot: BufferSlot, now: number): Holder {
  const over = slot.state !== "LEASED";
  return {
    slot: slot.index,
    generation: over ? slot.generation - 1 : slot.generation,
    tag: slot.tag,
    age: Math.max(0, now - slot.leasedAt),
    refCount: over ? 0 : slot.refCount,
    site: slot.site === undefined ? undefined : callerOf(slot.site),
  };
}

/** The stats in the words that all pools share. */
export function countsOf(stats: BufferPoolStats, phase: PoolPhase): PoolCounts {
  const { size, count, max, bytes, maxBytes, free, outstanding, waiting, acquires, misses, waits, starved } = stats;
  let discarded = 0;
  for (const number of Object.values(stats.discards)) discarded += number;
  const { highWater } = stats;
  const all = { phase, size, count, max, bytes, maxBytes, free, leased: outstanding, waiting };
  return { ...all, acquires, misses, waits, starved, discarded, highWater };
}

/** A holder in the words that all pools share. */
export function poolHolder({ slot, generation, tag, age, refCount, site }: Holder, size: number): PoolHolder {
  const note = refCount === 0 ? "released; its memory is still held" : undefined;
  return { slot, lease: generation, size, age, tag, note, site };
}

/** One lease in 128, as Netty's detector samples: registering costs 200 ns, so a sample costs under 2 ns an acquire. */
export const LEAK_SAMPLE = 128;

interface Watched {
  readonly slot: BufferSlot;
  readonly generation: number;
}

/**
 * Watches one lease in so many with a FinalizationRegistry. It can only report: the bytes are not taken back, because a
 * raw view of them may still be in use.
 */
export class LeakMonitor {
  readonly #registry: FinalizationRegistry<Watched>;
  readonly #every: number;
  #count = 0;

  /**
   * @param every watch each n-th lease; 1: all
   * @param report called with the slot of a lease whose handle was collected while the lease went on
   */
  constructor(every: number, report: (slot: BufferSlot) => void) {
    this.#every = every;
    this.#registry = new FinalizationRegistry(({ slot, generation }) => {
      if (slot.generation === generation && slot.refCount > 0) report(slot);
    });
  }

  /** Registers the handle when it is its turn. */
  watch(buffer: MediaBuffer): void {
    if (this.#count++ % this.#every !== 0) return;
    this.#registry.register(buffer, { slot: buffer.slot, generation: buffer.generation });
  }
}

/** The first waiter, as far as the monitor must know. */
interface Queue {
  readonly first: { readonly since: number } | null;
}

/**
 * Reports when the first waiter has waited too long: one background timer for a queue, which never keeps the process
 * alive.
 */
export class StarvationMonitor {
  readonly #clock: Clock;
  readonly #after: number;
  readonly #queue: Queue;
  readonly #report: (waited: number) => void;
  #timer: TimerHandle | undefined = undefined;

  /**
   * @param clock time and timers
   * @param after milliseconds a wait may last; `Infinity`: nothing is reported
   * @param queue who waits
   * @param report called with the milliseconds that the first waiter has waited, once every `after`
   */
  constructor(clock: Clock, after: number, queue: Queue, report: (waited: number) => void) {
    this.#clock = clock;
    this.#after = after;
    this.#queue = queue;
    this.#report = report;
  }

  /** Starts the timer when somebody waits and none runs. */
  arm(): void {
    const { first } = this.#queue;
    if (this.#timer !== undefined || first === null || this.#after === Infinity) return;
    try {
      const due = first.since + this.#after - this.#clock.now();
      // The timer must not keep a forgotten pool alive.
      const self = new WeakRef(this);
      const onTimer = (): void => {
        const monitor = self.deref();
        if (monitor !== undefined) monitor.#onTimer();
      };
      this.#timer ??= this.#clock.setTimer(onTimer, due > 0 ? due : this.#after, true);
    } catch (error) {
      // The wait that the timer is for is in line already, and goes on without it.
      throwLater(error);
    }
  }

  #onTimer(): void {
    this.#timer = undefined;
    const { first } = this.#queue;
    if (first === null) return;
    try {
      const waited = this.#clock.now() - first.since;
      if (waited >= this.#after) this.#report(waited);
    } catch (error) {
      throwLater(error);
    }
    this.arm();
  }
}
