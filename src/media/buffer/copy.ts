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
import { insertMemory, joined, mergeRange, protect, removeMemories, totalSize, unprotect } from "./memory-list.ts";
import {
  assertSameLease,
  type BufferSlot,
  freeUnpooledSlot,
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
    target.memories.push(memory);
  }
  source.slotFlags |= SlotFlags.SHARED;
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

function copyMemories(target: BufferSlot, source: BufferSlot, flags: CopyFlags, offset: number, size: number): void {
  const { generation, slotFlags: flagsBefore } = target;
  let merged = false;
  let before = target.memories.length;
  let start = 0;
  let left = size;
  const parts: Memory[] = [];
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
    before = target.memories.length;
    if (before > 0 && before + parts.length > MAX_MEMORIES) {
      // Room is made before anything is appended: a merge in the middle would take parts with it, and could not be
      // undone.
      if (parts.length === MAX_MEMORIES) joinFirstTwo(parts);
      mergeRange(target, 0, before);
      assertSameLease(target, generation, "copy into");
      merged = true;
      before = target.memories.length;
    }
    while (parts.length > 0) {
      insertMemory(target, target.memories.length, parts[0]!);
      parts.shift();
    }
    if ((flags & CopyFlags.MERGE) !== 0) mergeRange(target, 0, target.memories.length);
  } catch (error) {
    for (const part of parts) releaseFailed(part);
    if (target.memories.length > before) {
      removeMemories(target, before, target.memories.length - before);
      target.slotFlags = merged ? target.slotFlags : flagsBefore;
    }
    throw error;
  }
}

/** With 16 parts and one merged memory in front of them the list would be one too long. */
function joinFirstTwo(parts: Memory[]): void {
  const pair = unpooledSlot();
  try {
    pair.memories.push(parts[0]!, parts[1]!);
    const one = joined(pair, 0, 2);
    for (const part of parts.splice(0, 2, one)) part.release();
  } finally {
    pair.memories.length = 0;
    freeUnpooledSlot(pair);
  }
}

/** A reference for the target's list: the memory itself, a part of it, or a copy where sharing is refused. */
function partOf(memory: Memory, skip: number, size: number, deep: boolean): Memory {
  const whole = skip === 0 && size === memory.size;
  const refuses = (memory.flags & MemoryFlags.NO_SHARE) !== 0 || isWriteMapped(memory);
  if (deep || refuses) return memory.copy(skip, size);
  return whole ? memory.retain() : memory.share(skip, size);
}
