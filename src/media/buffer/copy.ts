/**
 * Copying buffers. Whole memories are shared by reference, clipped ones become sub-memories, DEEP copies bytes. After
 * GStreamer, except that sharing the memory of a pool's buffer defers the return of exactly that memory (the slot
 * awaits it): no parent meta is needed, the source stays writable as an object, and nothing is pinned once the copy has
 * bytes of its own.
 */

import { Access, heldAccess } from "../../memory/lock.ts";
import { type Memory, releaseFailed } from "../../memory/memory.ts";
import { MemoryFlags } from "../../memory/params.ts";
import { outOfRange, wholeNumber } from "../../util/validate.ts";
import { copyMetas } from "../meta/attach.ts";
import { CopyFlags } from "./flags.ts";
import type { MediaBuffer } from "./media-buffer.ts";
import {
  appendMemories,
  assertMergeable,
  joinMemories,
  protect,
  tellFailure,
  totalSize,
  unprotect,
} from "./memory-list.ts";
import {
  assertNotEnded,
  assertSameLease,
  type BufferSlot,
  MAX_MEMORIES,
  SlotFlags,
  sharedBuffer,
  unpooledSlot,
} from "./slot.ts";

/**
 * Copies what `flags` name of `size` bytes from `offset` of one buffer into another.
 * Throws `ERR_OUT_OF_RANGE`, `ERR_NOT_WRITABLE`; the target is as it was then.
 *
 * @returns errors that meta transforms threw
 */
export function copyInto(
  target: BufferSlot,
  targetBuffer: MediaBuffer,
  source: BufferSlot,
  sourceBuffer: MediaBuffer,
  flags: CopyFlags,
  offset: number,
  size: number | undefined,
): unknown[] {
  if (target === source) return [];
  if (target.refCount !== 1) throw sharedBuffer(target, "copy into");
  // Allocators and metas run hooks on the way, which must leave both buffers where they are.
  const targetBefore = protect(target, SlotFlags.IN_HOOK);
  const sourceBefore = protect(source, SlotFlags.IN_HOOK);
  try {
    return copyProtected(target, targetBuffer, source, sourceBuffer, flags, offset, size);
  } finally {
    unprotect(source, sourceBefore);
    unprotect(target, targetBefore);
  }
}

function copyProtected(
  target: BufferSlot,
  targetBuffer: MediaBuffer,
  source: BufferSlot,
  sourceBuffer: MediaBuffer,
  flags: CopyFlags,
  offset: number,
  size: number | undefined,
): unknown[] {
  const total = totalSize(source);
  wholeNumber("offset", offset);
  if (offset > total) throw outOfRange("offset", `at most ${total}, the size of the buffer`, offset);
  const length = size === undefined ? total - offset : wholeNumber("size", size, 0, total - offset);
  const partial = offset > 0 || length < total;
  if ((flags & CopyFlags.MEMORY) !== 0) copyMemories(target, source, flags, offset, length);
  if ((flags & CopyFlags.FLAGS) !== 0) target.flags = source.flags;
  if ((flags & CopyFlags.TIMESTAMPS) !== 0) copyTimes(target, source, offset, partial);
  if ((flags & (CopyFlags.FLAGS | CopyFlags.TIMESTAMPS)) !== 0) target.slotFlags |= SlotFlags.DIRTY_FIELDS;
  if ((flags & CopyFlags.META) === 0 || source.metas === null) return [];
  return copyMetas(source, sourceBuffer, targetBuffer, flags, { partial, offset, size: length });
}

/**
 * The fast path of a shallow whole copy: every memory shared, no metas. Undefined when a memory cannot simply be shared
 * (NO_SHARE, or mapped for writing): {@link copyInto} knows what to do then. O(memories), one small object.
 */
export function shareWhole(source: BufferSlot): BufferSlot | undefined {
  const { memories } = source;
  for (const memory of memories) {
    if ((memory.currentFlags & MemoryFlags.NO_SHARE) !== 0 || isWriteMapped(memory)) return undefined;
  }
  const target = unpooledSlot();
  for (const memory of memories) {
    memory.references++;
    memory.ownerCount++;
    memory.show();
    target.memories.push(memory);
  }
  if ((source.slotFlags & SlotFlags.DIRTY_FIELDS) !== 0) copyFields(target, source);
  return target;
}

function copyFields(target: BufferSlot, source: BufferSlot): void {
  target.pts = source.pts;
  target.dts = source.dts;
  target.duration = source.duration;
  target.offset = source.offset;
  target.offsetEnd = source.offsetEnd;
  target.flags = source.flags;
  target.slotFlags |= SlotFlags.DIRTY_FIELDS;
}

function isWriteMapped(memory: Memory): boolean {
  return memory.accessWord !== 0 && (heldAccess(memory.accessWord) & Access.WRITE) !== 0;
}

function copyTimes(target: BufferSlot, source: BufferSlot, offset: number, partial: boolean): void {
  if (offset !== 0) {
    target.pts = target.dts = target.duration = target.offset = target.offsetEnd = undefined;
    return;
  }
  target.pts = source.pts;
  target.dts = source.dts;
  target.offset = source.offset;
  if (partial) return;
  target.duration = source.duration;
  target.offsetEnd = source.offsetEnd;
}

/**
 * Appends the bytes of a range to the target's list. All that calls a hook is done before the list changes, also the
 * merges, so that a refused copy has changed nothing and no hook sees a list half made.
 */
function copyMemories(target: BufferSlot, source: BufferSlot, flags: CopyFlags, offset: number, size: number): void {
  const { generation } = target;
  const lease = source.generation;
  let start = 0;
  let left = size;
  let merged = 0;
  const parts: Memory[] = [];
  let failure: unknown;
  try {
    // The list as it is now: an allocator's hook may change it on the way.
    for (const memory of source.memories.slice()) {
      const skip = Math.max(offset - start, 0);
      start += memory.size;
      if (skip > memory.size || (skip === memory.size && memory.size > 0)) continue;
      const run = Math.min(memory.size - skip, left);
      if (run === 0 && memory.size > 0) continue;
      left -= run;
      parts.push(partOf(memory, skip, run, (flags & CopyFlags.DEEP) !== 0));
    }
    assertSameLease(target, generation, "copy into");
    const merge = (flags & CopyFlags.MERGE) !== 0;
    if (merge || target.memories.length + parts.length > MAX_MEMORIES) {
      merged = makeRoom(target, parts, merge);
      assertSameLease(target, generation, "copy into");
    }
    assertNotEnded(source, lease, "copy");
    failure = appendMemories(target, parts, merged);
  } catch (error) {
    for (const part of parts) releaseFailed(part);
    throw error;
  }
  // The copy is made, whatever an allocator says to the memories that were merged.
  tellFailure(failure);
}

/**
 * Merges the memories of the target into one in front of `parts`, or all of both into one; returns how many of the
 * target's that takes the place of. The list is not changed.
 */
function makeRoom(target: BufferSlot, parts: Memory[], all: boolean): number {
  const { memories } = target;
  const { length } = memories;
  const before = protect(target, SlotFlags.IN_HOOK | SlotFlags.FROZEN);
  try {
    if (all) {
      if (length + parts.length > 1) joinParts(parts, parts.length, memories);
      return parts.length > 0 ? length : 0;
    }
    // With 16 parts and one memory in front of them the list would be one too long.
    if (parts.length === MAX_MEMORIES) joinParts(parts, 2, []);
    if (length < 2) return 0;
    joinParts(parts, 0, memories);
    return length;
  } finally {
    unprotect(target, before);
  }
}

/** Puts one memory in the place of the first `count` parts, with the bytes of `front` before theirs. */
function joinParts(parts: Memory[], count: number, front: readonly Memory[]): void {
  const run = front.concat(parts.slice(0, count));
  if (front.length > 0) assertMergeable(run);
  for (const part of parts.splice(0, count, joinMemories(run))) releaseFailed(part);
}

/** A reference for the target's list: the memory itself, a part of it, or a copy where sharing is refused. */
function partOf(memory: Memory, skip: number, size: number, deep: boolean): Memory {
  const whole = skip === 0 && size === memory.size;
  const refuses = (memory.flags & MemoryFlags.NO_SHARE) !== 0 || isWriteMapped(memory);
  if (deep || refuses) return memory.copy(skip, size);
  return whole ? memory.retain() : memory.share(skip, size);
}
