/**
 * BufferSlot: the recycled half of a {@link MediaBuffer}. A pool makes its slots once. Each acquire makes one small
 * handle that carries the slot's generation, and the end of the lease moves the generation on, so every handle of the
 * old lease is refused from then on.
 *
 * Life-cycle (drawn at {@link BufferPool}), and what tells each state:
 *
 * | state     | told by                                | goes on to                                       |
 * | --------- | -------------------------------------- | ------------------------------------------------ |
 * | FREE      | `refCount` 0, on the free list         | LEASED                                           |
 * | LEASED    | `refCount` 1 or more                   | RETURNING, or AWAITING, by the last release      |
 * | AWAITING  | `awaitingMemory`                       | RETURNING, when its memory has no other holder   |
 * | RETURNING | `SlotFlags.RETURNING`: hooks run on it | FREE, or its memory is freed                     |
 *
 * AWAITING is a deferred release: copies, sub-memories or mappings still hold bytes of a slot that is on no lease and
 * not yet free. It replaces GStreamer's parent-buffer meta for copies: nothing is pinned longer than bytes are shared,
 * and nothing is thrown away because a part of it was shared.
 *
 * Invariants: what ends a lease moves the generation on first, so no handle of a holder reaches a slot in RETURNING.
 * Hooks get a handle of their own, which is void when the last hook has returned (docs/hooks.md). `slotFlags` is 0 on a
 * slot as it was when it was leased.
 *
 * Complexity: every method is O(1) but those marked O(memories).
 */
import { endPlainLocks, type HoldingBuffer, type Memory } from "../../memory/memory.ts";
import { MillpondError } from "../../util/errors.ts";
import type { Site } from "../../util/stack.ts";
import type { Meta } from "../meta/meta.ts";

/** Who a slot belongs to: a pool. */
export interface SlotPool {
  /** For messages. */
  readonly name: string;
  /** @internal The last reference of a lease went; `refCount` is still 1. May throw, and then nothing changed. */
  onRelease(slot: BufferSlot): void;
  /**
   * @internal As {@link onRelease}, for a holder that cannot try again: what is mapped keeps the slot AWAITING until
   * its last mapping ends.
   */
  onPassed(slot: BufferSlot): void;
  /** @internal Nobody but the slot holds its memory any more, and its lease is over. */
  onReturned(slot: BufferSlot): void;
  /** @internal Builds the error for a handle of an old lease: what happened to it, and who has the slot now. */
  staleLease(slot: BufferSlot, generation: number, verb: string): Error;
}

/** What sets a slot apart from a fresh one; 0 lets a return take the fast path. */
export const SlotFlags = {
  /** A time, counter, flag, tag or site was set since the last reset. */
  DIRTY_FIELDS: 1,
  /** Which memory objects it holds has changed since the pool made it (GStreamer's TAG_MEMORY). */
  MEMORY_CHANGED: 2,
  /** A memory object was handed out or shared, so the next lease must get other objects. */
  SHARED: 4,
  /** It has metas that recycling must look at: others than the pool's, or ones with a clear hook. */
  METAS: 8,
  /** A hook runs that must find the buffer again: the last release() is refused. */
  IN_HOOK: 16,
  /** The slot is being made: populate() runs. retain() is refused. */
  FILLING: 32,
  /** The lease is over and its hooks run: retain() and changes of metas are refused. */
  RETURNING: 64,
  /** Its list of memories is being read by a call that runs hooks: changes of the list are refused. */
  FROZEN: 128,
} as const;

/** The state of a {@link BufferSlot}; see the module text. */
type SlotState = "FREE" | "LEASED" | "RETURNING" | "AWAITING";

const NONE: readonly number[] = [];

/** The state behind a {@link MediaBuffer}. Internal to the library; a subclass of a pool sees it in its hooks. */
export class BufferSlot implements HoldingBuffer {
  /** The pool it belongs to, or null for a buffer of its own. */
  readonly pool: SlotPool | null;
  /** Its number in the pool, stable for life; -1 without a pool. */
  readonly index: number;
  /** Counts leases; a handle with another generation is stale. */
  generation = 1;
  /**
   * References to the present lease; 0 while free or awaiting its memory. With two or more nobody may change the
   * buffer.
   */
  refCount = 0;
  /** Released, but its memories are still held elsewhere. */
  awaitingMemory = false;
  /** The bytes, in order; at most {@link MAX_MEMORIES}. */
  memories: Memory[] = [];
  /**
   * Memory that left the list during the lease while others hold it, and memory that was mapped for the lease outside
   * the list: the holder may have views of it. Null: none. Only of a pool's slot.
   */
  dropped: Memory[] | null = null;
  /** Where the valid part of its first memory starts when it is fresh. */
  baseOffset = 0;
  /** With several memories: where the valid part of each starts when it is fresh, and how long it is; else empty. */
  baseExtents: readonly number[] = NONE;
  /** Its only memory; null with several, or with an opaque one. */
  baseMemory: Memory | null = null;
  /** The view of that memory when it is fresh. */
  baseView: Uint8Array | null = null;
  /** {@link SlotFlags}: what the last holder did beyond writing bytes. */
  slotFlags = 0;
  /** What a resize over several memories may grow back to (`resizeRange` in memory-list.ts); null: nothing more. */
  line: number[] | null = null;
  /** Presentation time in nanoseconds. */
  pts: bigint | undefined = undefined;
  /** Decoding time in nanoseconds. */
  dts: bigint | undefined = undefined;
  /** Duration in nanoseconds. */
  duration: bigint | undefined = undefined;
  /** Media-specific counter of the first unit. */
  offset: bigint | undefined = undefined;
  /** Media-specific counter behind the last unit. */
  offsetEnd: bigint | undefined = undefined;
  /** {@link BufferFlags}. */
  flags = 0;
  /** Attached metas in order of age; null until the first. */
  metas: Meta[] | null = null;
  /** The memory that the buffer's lock() has locked. */
  locked: Memory | null = null;
  /** The lease that locked it; another generation than now means that nothing is. */
  lockedIn = 0;
  /** Its locks of that lease that its unlock() has not ended, as an access word (lock.ts). */
  lockWord = 0;
  /** The next free slot of the pool. */
  next: BufferSlot | null = null;
  /** When it was leased, in milliseconds of the pool's clock, read coarsely. */
  leasedAt = 0;
  /** What the holder calls itself. */
  tag: string | undefined = undefined;
  /** Where it was taken, when tracing is on; its stack is formatted only when somebody reads it. */
  site: Site | undefined = undefined;

  /** Made by pools and by buffers of their own. */
  constructor(pool: SlotPool | null, index: number) {
    this.pool = pool;
    this.index = index;
  }

  /** Where it is between two leases. A slot that populate() fills counts as LEASED: to the hook. */
  get state(): SlotState {
    if ((this.slotFlags & SlotFlags.RETURNING) !== 0) return "RETURNING";
    if (this.awaitingMemory) return "AWAITING";
    return this.refCount > 0 ? "LEASED" : "FREE";
  }

  /**
   * Called by a memory that lost a holder while this slot awaits it: the return goes on when all are exclusive again.
   */
  onExclusive(): void {
    if (!this.awaitingMemory || this.isHeldElsewhere()) return;
    this.awaitingMemory = false;
    this.pool?.onReturned(this);
  }

  /** The next lease gets other memory objects. */
  onShared(): void {
    this.slotFlags |= SlotFlags.SHARED;
  }

  /** True when nobody but this slot holds its memories, and none is mapped. O(memories). */
  isExclusive(): boolean {
    for (const memory of this.memories) {
      if (memory.accessWord !== 0) return false;
      if (((memory.references - 1) | (memory.ownerCount - 1)) === 0) continue;
      // What its list holds several times is the slot's own all the same.
      const times = timesIn(this.memories, memory, 0, this.memories.length);
      if (memory.references !== times || memory.ownerCount !== times) return false;
    }
    return true;
  }

  /**
   * True while somebody else holds, or has mapped, memory that the pool made for this slot. Only that memory tells the
   * slot when it is let go ({@link onExclusive}); what was added to the list is dropped with it and never waited for.
   * O(memories).
   */
  isHeldElsewhere(): boolean {
    for (const memory of this.memories) {
      if (memory.parentBuffer !== this) continue;
      if (memory.accessWord !== 0) return true;
      if (((memory.references - 1) | (memory.ownerCount - 1)) === 0) continue;
      const times = timesIn(this.memories, memory, 0, this.memories.length);
      if (memory.references !== times || memory.ownerCount !== times) return true;
    }
    return false;
  }

  /**
   * True when a slot that returns needs nothing but its fields reset: its memory is as it was when it was leased.
   * @realtime
   */
  isClean(): boolean {
    return (this.slotFlags & ~SlotFlags.DIRTY_FIELDS) === 0 && this.hasFreshMemory();
  }

  /** True when a slot has one memory that is the slot's alone, unmapped, and as it was when it was leased. @realtime */
  hasFreshMemory(): boolean {
    const memory = this.baseMemory;
    const view = this.baseView;
    if (memory === null || view === null) return false;
    // One test for four facts: nobody else refers to it, one owner, no lock, the view is the fresh one.
    if (((memory.references - 1) | (memory.ownerCount - 1) | memory.accessWord) !== 0 || memory.view !== view)
      return false;
    // A detached ArrayBuffer shows as a view of length 0.
    return view.length === memory.currentSize;
  }

  /** Puts times, counters and flags back to what a fresh buffer has. @realtime */
  resetFields(): void {
    this.pts = undefined;
    this.dts = undefined;
    this.duration = undefined;
    this.offset = undefined;
    this.offsetEnd = undefined;
    this.flags = 0;
    this.tag = undefined;
    this.site = undefined;
    this.slotFlags &= ~SlotFlags.DIRTY_FIELDS;
  }

  /** Whether the list of memories has changed since the pool made it. */
  get memoryChanged(): boolean {
    return (this.slotFlags & SlotFlags.MEMORY_CHANGED) !== 0;
  }
  set memoryChanged(on: boolean) {
    this.slotFlags = on ? this.slotFlags | SlotFlags.MEMORY_CHANGED : this.slotFlags & ~SlotFlags.MEMORY_CHANGED;
  }

  /** References grew from one to two, or shrank back: its memories are not writable meanwhile. O(memories). */
  countSharer(by: 1 | -1): void {
    const { memories } = this;
    if ((this.slotFlags & UNRETAINABLE) !== 0 && by === 1) refuseRetain(this);
    for (let i = 0; i < memories.length; i++) memories[i]!.sharedOwners += by;
  }
}

const UNRETAINABLE: number = SlotFlags.FILLING | SlotFlags.RETURNING;

function refuseRetain(slot: BufferSlot): never {
  slot.refCount--;
  throw inHookError(slot, "retain");
}

/** The error for a call that has to wait until the hook, or the copy, that has the buffer returns. */
export function inHookError(slot: BufferSlot, verb: string): MillpondError {
  const whose = slot.pool === null ? "this buffer" : `slot ${slot.index} of pool "${slot.pool.name}"`;
  const why =
    (slot.slotFlags & SlotFlags.RETURNING) !== 0
      ? "its lease is over and the hooks of its return run; it goes on by itself when they have returned"
      : (slot.slotFlags & SlotFlags.FILLING) !== 0
        ? "populate() is making it; return from the hook, or throw, and the pool does the rest"
        : "a copy or a merge of it is under way and called a hook; do it when that has returned";
  return new MillpondError("ERR_REENTRANT", `cannot ${verb} ${whose} here: ${why}`, {
    pool: slot.pool?.name,
    slot: slot.index,
  });
}

/** The error for changing a buffer that others refer to. */
export function sharedBuffer(slot: BufferSlot, verb: string): MillpondError {
  return new MillpondError(
    "ERR_NOT_WRITABLE",
    `the buffer has ${slot.refCount} references, so nobody may ${verb} it; makeWritable() or copy() gives one of your own`,
  );
}

/**
 * Throws when a hook that ran in the middle of a call ended the lease that the call works on (`generation` is the
 * lease's), or added a reference to the buffer: its list may not be changed then, and what was made for it has to be
 * given back.
 */
export function assertSameLease(slot: BufferSlot, generation: number, verb: string): void {
  assertNotEnded(slot, generation, verb);
  if (slot.refCount !== 1) throw sharedBuffer(slot, verb);
}

/** Throws when the lease of that generation is over. */
export function assertNotEnded(slot: BufferSlot, generation: number, verb: string): void {
  if (slot.generation === generation) return;
  throw (
    slot.pool?.staleLease(slot, generation, verb) ??
    new MillpondError("ERR_USE_AFTER_RELEASE", `cannot ${verb} this buffer: it was released meanwhile`)
  );
}

/** Has the locks of a lease count for `memory`. Throws `ERR_MAPPED` while they hold another one. */
export function countLocksOf(slot: BufferSlot, memory: Memory): void {
  assertUnlocked(slot);
  slot.locked = memory;
  slot.lockedIn = slot.generation;
  slot.lockWord = 0;
}

/** Throws `ERR_MAPPED` while a lock() of the present lease holds: with the lease goes the handle that can end it. */
export function assertUnlocked(slot: BufferSlot): void {
  const { locked } = slot;
  // Other code may have ended the locks through the memory, or the memory by force.
  if (slot.lockWord === 0 || slot.lockedIn !== slot.generation || !locked?.plainWord || locked.references === 0) return;
  throw new MillpondError(
    "ERR_MAPPED",
    `${locked} is locked by this buffer; unlock() once for each lock(), with its mode`,
  );
}

/** True while a lock() of that lease keeps the bytes, though the lease is over ({@link SlotPool.onPassed}). */
export function isLockedBy(slot: BufferSlot, generation: number): boolean {
  return (
    slot.lockWord !== 0 &&
    slot.lockedIn === generation &&
    slot.locked !== null &&
    (slot.pool === null || slot.awaitingMemory)
  );
}

/** Ends the locks of a lease that was ended by force: its handle cannot. `generation` is the lease's. */
export function endLocks(slot: BufferSlot, generation: number): void {
  const { locked, lockWord } = slot;
  slot.locked = null;
  slot.lockWord = 0;
  if (locked !== null && slot.lockedIn === generation) endPlainLocks(locked, lockWord);
}

/** How often a list holds a memory from `start` to before `end`. O(memories). */
export function timesIn(memories: readonly Memory[], memory: Memory, start: number, end: number): number {
  let times = 0;
  for (let i = start; i < end; i++) if (memories[i] === memory) times++;
  return times;
}

/**
 * The most memories a buffer holds; one more merges them. GStreamer's number, which keeps list operations O(1) in
 * practice.
 */
export const MAX_MEMORIES = 16;

/**
 * Slots of buffers without a pool, recycled: a slot is 25 fields, and a shallow copy should cost less than making one.
 * Generations make it as safe as a pool's slot.
 */
const unpooled: BufferSlot[] = [];

/** 64 slots cover the copies in flight of any pipeline here and weigh about 15 KB; more go to the garbage collector. */
const MAX_UNPOOLED = 64;

/** An empty slot without a pool, with one reference. */
export function unpooledSlot(): BufferSlot {
  const slot = unpooled.pop() ?? new BufferSlot(null, -1);
  slot.refCount = 1;
  return slot;
}

/** Takes back a slot without a pool that holds no memory any more; its handles are stale from now on. */
export function freeUnpooledSlot(slot: BufferSlot): void {
  slot.refCount = 0;
  slot.generation++;
  slot.metas = null;
  slot.line = null;
  // A lock that outlives its lease is ended through the old handle, so nobody else may get the slot.
  if (slot.lockWord !== 0 && slot.locked !== null && slot.locked.plainWord !== 0) return;
  slot.locked = null;
  if (slot.slotFlags !== 0) {
    slot.resetFields();
    slot.slotFlags = 0;
  }
  if (unpooled.length < MAX_UNPOOLED) unpooled.push(slot);
}
