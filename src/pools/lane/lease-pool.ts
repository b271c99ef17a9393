/** What SharedPool and TransferPool have in common, so that a program is written once and runs with either. */

import type { WaitOptions } from "../common/wait-queue.ts";
import type { Slot } from "../shared/handle.ts";

/** A lease that came over a lane, with what was sent along. */
export interface Delivery<Data> {
  /** The lease: this thread's from now on. */
  readonly slot: Slot;
  /** What the sender sent along; undefined when nothing. */
  readonly data: Data;
}

/** A pool whose leases move between threads. */
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
  tryAcquire(): Slot | undefined;
  /** Waits for a free slot. */
  acquire(options?: WaitOptions): Promise<Slot>;
  /** The bytes of a lease that this thread holds. */
  bytes(slot: Slot): Uint8Array;
  /** One hold more. */
  retain(slot: Slot): void;
  /** Gives a hold back. */
  release(slot: Slot): void;
}
