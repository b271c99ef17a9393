/** What a BufferPool tells about itself: stats, holders and events. */

import type { BufferSlot } from "../../media/buffer/slot.ts";
import { callerOf } from "../../util/stack.ts";

/** Why a buffer was freed instead of being kept for the next lease. */
export type DiscardReason =
  /** Its list of memories was changed. */
  | "memory-changed"
  /** Its memory was resized beyond repair, or made read-only. */
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
   * upper bound that may include the 63 acquires before it.
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

/** What a "starved" listener gets. */
export interface StarvedEvent {
  /** The pool's name. */
  readonly pool: string;
  /** Milliseconds that the one in front has waited. */
  readonly waited: number;
  /** How many wait. */
  readonly waiting: number;
  /** Who holds the buffers, oldest lease first. */
  readonly holders: readonly Holder[];
}

/** The events of a BufferPool, by name. */
export interface BufferPoolEvents {
  /** A buffer came back and is free (or went to a waiter) when the listener runs. */
  release: { readonly slot: number; readonly free: number };
  /** Somebody has waited too long. */
  starved: StarvedEvent;
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
