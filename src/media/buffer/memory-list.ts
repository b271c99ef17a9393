/**
 * The list of memories in a buffer slot: insert, remove, replace, find, merge, resize. Functions over a slot;
 * {@link MediaBuffer} checks the lease, so every function here may assume a live slot.
 *
 * ```
 *   memories:   |pre|== 0 ==|pad|   |== 1 ==|   |pre|==== 2 ====|pad|
 *   the buffer:      0.......       .......          ...........size
 * ```
 * After GStreamer's GstBuffer, with its quirks mended: inserting into a full list keeps the place, no merge takes bytes
 * away from under a live mapping, and the reverse call undoes a resize byte for byte.
 *
 * Invariants: the list has at most {@link MAX_MEMORIES} entries; each entry is one reference and one ownership of its
 * memory; what calls an allocator back is done before the list changes or after it, never in between; a refused call
 * leaves the list as it was.
 *
 * Complexity: O(memories); O(size) where bytes are merged or copied.
 */

import { allocateCopy, defaultAllocator } from "../../memory/allocator.ts";
import type { Mapping } from "../../memory/memory.ts";
import {
  isKeptByMapping,
  type Memory,
  mapToRead,
  releaseFailed,
  releaseWhenUnmapped,
  unmapFailed,
} from "../../memory/memory.ts";
import { MemoryFlags } from "../../memory/params.ts";
import { inheritWipe, promisesRevocation } from "../../memory/region.ts";
import { MillpondError, saysGone, throwLater } from "../../util/errors.ts";
import { wholeNumber } from "../../util/validate.ts";
import {
  assertNotEnded,
  assertSameLease,
  type BufferSlot,
  inHookError,
  MAX_MEMORIES,
  SlotFlags,
  timesIn,
} from "./slot.ts";

/**
 * Sets slot flags for the time of a call that runs hooks with the slot (an allocator's, a meta's), so that the buffer
 * is still there when they return. Returns what {@link unprotect} needs.
 */
export function protect(slot: BufferSlot, flags: number): number {
  const before = slot.slotFlags & PROTECTION;
  slot.slotFlags |= flags;
  return before;
}

/** Ends a {@link protect}; one around it goes on. */
export function unprotect(slot: BufferSlot, before: number): void {
  slot.slotFlags = (slot.slotFlags & ~PROTECTION) | before;
}

const PROTECTION: number = SlotFlags.IN_HOOK | SlotFlags.FROZEN;

/** Which memories hold a byte range. */
interface FoundRange {
  /** The first memory. */
  readonly index: number;
  /** How many memories. */
  readonly length: number;
  /** Bytes to skip in the first memory. */
  readonly skip: number;
}

/** Valid bytes in all memories. O(memories). */
export function totalSize(slot: BufferSlot): number {
  const { memories } = slot;
  if (memories.length === 1) return memories[0]!.currentSize;
  let size = 0;
  for (const memory of memories) size += memory.currentSize;
  return size;
}

/** Takes over the caller's reference of `memory` at `index`; merges first when the list is full. */
export function insertMemory(slot: BufferSlot, index: number, memory: Memory): void {
  wholeNumber("index", index, 0, slot.memories.length);
  assertNotFrozen(slot);
  takeOwnership(memory);
  if (slot.memories.length >= MAX_MEMORIES) {
    insertIntoFull(slot, index, memory);
    return;
  }
  // At the end, the usual place: splice() makes an array of what it removed, 20 ns.
  if (index === slot.memories.length) slot.memories.push(memory);
  else slot.memories.splice(index, 0, memory);
  slot.slotFlags |= SlotFlags.MEMORY_CHANGED;
  slot.line = null;
}

/**
 * Puts memories (one reference of each taken over) behind the list, and drops its first `dropped`: all of it or
 * nothing. Nothing calls a hook before the list is as it shall be. Returns what {@link dropMemories} does.
 */
export function appendMemories(slot: BufferSlot, memories: readonly Memory[], dropped: number): unknown {
  assertNotFrozen(slot);
  if (dropped > 0) assertSwappableRun(slot, 0, dropped);
  let owned = 0;
  try {
    for (; owned < memories.length; owned++) takeOwnership(memories[owned]!);
  } catch (error) {
    while (owned > 0) memories[--owned]!.dropOwnership();
    throw error;
  }
  if (memories.length === 0) return undefined;
  const gone = dropped === 0 ? undefined : slot.memories.splice(0, dropped);
  slot.memories.push(...memories);
  slot.slotFlags |= SlotFlags.MEMORY_CHANGED;
  slot.line = null;
  return gone === undefined ? undefined : dropMemories(slot, gone);
}

/** Makes the buffer an owner of a memory that it is given; the caller keeps its reference when that is refused. */
function takeOwnership(memory: Memory): void {
  if (memory.references === 0) {
    throw new MillpondError(
      "ERR_USE_AFTER_RELEASE",
      `${memory} was released; retain() it before giving it to a buffer`,
    );
  }
  if (memory.references - (isKeptByMapping(memory) ? 1 : 0) <= memory.ownerCount) {
    throw new MillpondError(
      "ERR_FOREIGN_RELEASE",
      `every reference of ${memory} belongs to the buffers, sub-memories and mappings that keep it, so there is none to give to ` +
        "another buffer; retain() it first, or share() it",
    );
  }
  if (memory.acquireOwnership()) return;
  throw new MillpondError(
    "ERR_MAPPED",
    `${memory} is mapped for writing and owned elsewhere, so the buffer would miss later writes; unmap it first`,
  );
}

/**
 * Merges what is in front of a place and what is behind it, and puts an owned memory between them. Both halves are made
 * before the list changes, and the old memories are dropped after it: each of that calls allocators back. The owner is
 * taken off on errors.
 */
function insertIntoFull(slot: BufferSlot, index: number, memory: Memory): void {
  const { generation } = slot;
  const count = slot.memories.length - index;
  let front: Memory | undefined;
  let back: Memory | undefined;
  try {
    assertHalves(slot, index, count);
    if (index > 1) front = joined(slot, 0, index);
    if (count > 1) back = joined(slot, index, count);
    assertSameLease(slot, generation, "change the memories of");
    assertHalves(slot, index, count);
  } catch (error) {
    for (const half of [front, back]) if (half !== undefined) releaseFailed(half);
    memory.dropOwnership();
    throw error;
  }
  const gone = back === undefined ? [] : swapIn(slot, index, count, back);
  slot.memories.splice(index, 0, memory);
  if (front !== undefined) gone.push(...swapIn(slot, 0, index, front));
  slot.slotFlags |= SlotFlags.MEMORY_CHANGED;
  slot.line = null;
  dropReplaced(slot, gone);
}

/** Throws unless both halves of a full list can be merged now. */
function assertHalves(slot: BufferSlot, index: number, count: number): void {
  // One memory alone is not merged.
  if (index > 1) assertSwappableRun(slot, 0, index);
  if (count > 1) assertSwappableRun(slot, index, count);
}

/** Throws unless the memories of a range can be merged, and dropped after that. */
function assertSwappableRun(slot: BufferSlot, index: number, length: number): void {
  assertMergeable(slot.memories.slice(index, index + length));
  assertUnmapped(slot, index, length);
}

/** Refuses to change the list under a call that reads it and has called a hook. */
export function assertNotFrozen(slot: BufferSlot): void {
  if ((slot.slotFlags & SlotFlags.FROZEN) !== 0) throw inHookError(slot, "change the memories of");
}

/** Refuses to drop memories that are mapped and held by nobody else: the mapping would lose its bytes. */
export function assertDroppable(slot: BufferSlot, index: number, length: number): void {
  assertNotFrozen(slot);
  assertUnmapped(slot, index, length);
}

/** Throws `ERR_MAPPED` for a memory of the range that is mapped and held by nobody else. */
export function assertUnmapped(slot: BufferSlot, index: number, length: number): void {
  for (let i = index; i < index + length; i++) {
    const memory = slot.memories[i]!;
    if (memory.references === 1) {
      const refusal = memory.allocator.releaseRefusal(memory);
      if (refusal !== undefined) throw refusal;
    }
    // A list may hold a memory several times, with a reference for each.
    if (memory.accessWord !== 0 && memory.references <= timesIn(slot.memories, memory, index, index + length)) {
      throw new MillpondError("ERR_MAPPED", `${memory} is mapped; unmap it before it is taken out of its buffer`);
    }
  }
}

/** Takes `length` memories out of the list and drops the buffer's references. O(memories). */
export function removeMemories(slot: BufferSlot, index: number, length: number): void {
  assertDroppable(slot, index, length);
  slot.slotFlags |= SlotFlags.MEMORY_CHANGED;
  const gone = slot.memories.splice(index, length);
  slot.line = null;
  dropReplaced(slot, gone);
}

/**
 * Ends the slot's ownership of memories, all of them, and empties the list that they are in. What an allocator said
 * about one of them (that it came back detached) is returned, for the caller to throw when its own work is done.
 */
export function dropMemories(slot: BufferSlot, memories: Memory[]): unknown {
  let failure: unknown;
  while (memories.length > 0) {
    const memory = memories.pop()!;
    if (memory.parentBuffer === slot) memory.parentBuffer = null;
    memory.dropOwnership();
    try {
      releaseWhenUnmapped(memory);
    } catch (error) {
      failure ??= error;
    }
    noteDropped(slot, memory);
  }
  return failure;
}

/**
 * Remembers memory that a pool's buffer may have shown to its holder and does not list any more, as long as others keep
 * it: an end by force has to reach its bytes too ({@link BufferSlot.dropped}). O(1), amortized.
 */
export function noteDropped(slot: BufferSlot, memory: Memory): void {
  if (slot.pool === null || memory.references === 0) return;
  const { dropped } = slot;
  if (dropped === null) {
    slot.dropped = [memory];
    return;
  }
  // A lease that copies on write again and again: what is freed is forgotten before the list doubles.
  if (dropped.length >= MAX_MEMORIES && (dropped.length & (dropped.length - 1)) === 0)
    slot.dropped = dropped.filter(({ references }) => references > 0);
  slot.dropped!.push(memory);
}

/**
 * {@link dropMemories}, of what a call took out of the list: the call is done, and does not throw. What a hook or an
 * allocator says surfaces in a later turn, but for bytes that their holder gave away.
 */
export function dropReplaced(slot: BufferSlot, memories: Memory[]): void {
  tellFailure(dropMemories(slot, memories));
}

/** As {@link dropReplaced}, of what {@link dropMemories} returned. */
export function tellFailure(failure: unknown): void {
  if (failure !== undefined && !saysGone(failure)) throwLater(failure);
}

/** Throws what {@link dropMemories} returned. */
export function throwIfFailed(failure: unknown): void {
  if (failure !== undefined) throw failure;
}

/** Puts `memory` (one reference taken over) in the place of `length` memories. */
export function replaceMemories(slot: BufferSlot, index: number, length: number, memory: Memory): void {
  assertNotFrozen(slot);
  dropReplaced(slot, swapIn(slot, index, length, memory));
}

/**
 * Puts `memory` (one reference taken over) in the place of `length` memories, and returns those, still owned: the
 * caller drops them when its own work on the list is done, because that calls hooks.
 */
export function swapIn(slot: BufferSlot, index: number, length: number, memory: Memory): Memory[] {
  assertUnmapped(slot, index, length);
  takeOwnership(memory);
  slot.slotFlags |= SlotFlags.MEMORY_CHANGED;
  slot.line = null;
  return slot.memories.splice(index, length, memory);
}

/** Throws `ERR_MAPPED` when merging memories would take one away from under a map. */
export function assertMergeable(run: readonly Memory[]): void {
  for (const memory of run) {
    if (memory.accessWord !== 0) {
      throw new MillpondError(
        "ERR_MAPPED",
        `${memory} is mapped, so it cannot be merged without losing what is written through the map; unmap it first, or mapRange() one memory`,
      );
    }
  }
}

/**
 * One memory with the bytes of a range, one reference to the caller, as {@link joinMemories}. The list is not changed,
 * nor can a hook change it meanwhile. O(size) when it copies.
 */
export function joined(slot: BufferSlot, index: number, length: number): Memory {
  const { generation } = slot;
  const before = protect(slot, SlotFlags.IN_HOOK | SlotFlags.FROZEN);
  try {
    // Hooks can end the lease by force.
    return joinMemories(slot.memories.slice(index, index + length), () => assertNotEnded(slot, generation, "read"));
  } finally {
    unprotect(slot, before);
  }
}

/**
 * One memory with the bytes of several, one reference to the caller: the memory itself where it is the only one, a
 * re-joined parent when they are consecutive parts of one, else a copy from the default allocator. `check` may throw
 * before each is read. O(size) when it copies.
 */
export function joinMemories(run: readonly Memory[], check?: () => void): Memory {
  const first = run[0]!;
  if (run.length === 1) return first.retain();
  let size = 0;
  for (const memory of run) size += memory.size;
  const span = spanStart(run);
  if (span !== undefined) {
    const parent = first.parent!;
    if ((parent.flags & MemoryFlags.NO_SHARE) === 0 && parent.size >= span + size) return parent.share(span, size);
  }
  const regions = run.map(({ region }) => region);
  const merged = allocateCopy(defaultAllocator(), size, undefined, regions.some(promisesRevocation));
  for (const region of regions) inheritWipe(merged.region, region);
  let sink: Mapping | undefined;
  let source: Mapping | undefined;
  try {
    sink = merged.map("write");
    let at = 0;
    for (const memory of run) {
      check?.();
      source = mapToRead(memory);
      // No bytes are none to lose, also where their ArrayBuffer was transferred away.
      if (source.size > 0) sink.bytes.set(source.bytes, at);
      at += source.size;
      source.unmap();
    }
    sink.unmap();
    return merged;
  } catch (error) {
    unmapFailed(source);
    unmapFailed(sink);
    releaseFailed(merged);
    throw error;
  }
}

function spanStart(run: readonly Memory[]): number | undefined {
  let start: number | undefined;
  for (let i = 0; i < run.length - 1; i++) {
    const at = run[i]!.isSpan(run[i + 1]!);
    if (at === undefined) return undefined;
    start ??= at;
  }
  return start;
}

/**
 * Checks a range of list indices and returns its length. An absent length is "to the end"; (0, absent) holds for an
 * empty list too. Throws `ERR_OUT_OF_RANGE`.
 */
export function checkIndices(slot: BufferSlot, index: number, length: number | undefined): number {
  const count = slot.memories.length;
  wholeNumber("index", index, 0, count);
  return length === undefined ? count - index : wholeNumber("length", length, 0, count - index);
}

/** Which memories hold `size` bytes from `offset`; absent size: to the end. Undefined when the range is not inside. */
export function findRange(slot: BufferSlot, offset: number, size: number | undefined): FoundRange | undefined {
  let start = 0;
  for (let index = 0; index < slot.memories.length; index++) {
    const end = start + slot.memories[index]!.size;
    if (offset >= end) {
      start = end;
      continue;
    }
    const skip = offset - start;
    if (size === undefined) return { index, length: slot.memories.length - index, skip };
    let have = end - offset;
    for (let last = index; ; last++) {
      if (have >= size) return { index, length: last - index + 1, skip };
      if (last + 1 === slot.memories.length) return undefined;
      have += slot.memories[last + 1]!.size;
    }
  }
  return undefined;
}

// Sizes and resizing over several memories. The memories of a range form one line of bytes: the first may use its
// prefix, the last its padding, and in between each contributes what it contributed when the list was made. The valid
// part is a range of that line, so moving it back undoes a resize byte for byte (GStreamer's cannot).
//
//   line:    |prefix 0 | bytes of 0 | bytes of 1 | bytes of 2 | padding 2 |
//   valid part:   |<--------- size ----------->|
//            offset                                                        maxSize

/** Sizes of a range of memories, as {@link MediaBuffer.getSizes} gives them; bytes. */
interface BufferSizes {
  /** Valid bytes. */
  readonly size: number;
  /** Room in front of the first valid byte. */
  readonly offset: number;
  /** `offset + size +` room behind the last valid byte. */
  readonly maxSize: number;
}

/** The sizes of a checked range of memories. O(memories). */
export function sizesOf(slot: BufferSlot, index: number, length: number): BufferSizes {
  return measure(slot, index, edgesOf(slot, index, length));
}

function measure(slot: BufferSlot, index: number, edges: readonly number[]): BufferSizes {
  let size = 0;
  let offset = 0;
  let maxSize = 0;
  for (let i = 0; 2 * i < edges.length; i++) {
    const memory = slot.memories[index + i]!;
    const low = edges[2 * i]!;
    // Up to the first byte each memory lies in front of the valid part as far as its own offset says.
    if (size === 0) offset += memory.currentOffset - low;
    size += memory.currentSize;
    maxSize += edges[2 * i + 1]! - low;
  }
  return { size, offset, maxSize };
}

/**
 * Moves the start of a checked range by `delta` bytes and makes it `size` bytes long. No byte moves.
 * Throws `ERR_OUT_OF_RANGE` when the valid part would leave the line; nothing changed then.
 */
export function resizeRange(slot: BufferSlot, index: number, length: number, delta: number, size: number): void {
  const edges = edgesOf(slot, index, length);
  const sizes = measure(slot, index, edges);
  wholeNumber("delta", delta, -sizes.offset, sizes.maxSize - sizes.offset);
  const start = sizes.offset + delta;
  wholeNumber("size", size, 0, sizes.maxSize - start);
  if (delta === 0 && size === sizes.size) return;
  assertNotFrozen(slot);
  const line = length === slot.memories.length && length > 1 ? lineOf(slot) : null;
  const { generation } = slot;
  const before = protect(slot, SlotFlags.IN_HOOK | SlotFlags.FROZEN);
  let parts: (Memory | undefined)[] | undefined;
  try {
    parts = privateParts(slot, index, length, edges, start, size);
  } finally {
    unprotect(slot, before);
  }
  if (parts !== undefined) assertSwappable(slot, index, parts, generation);
  const gone: Memory[] = [];
  let base = 0;
  for (let i = 0; i < length; i++) {
    const low = edges[2 * i]!;
    const room = edges[2 * i + 1]! - low;
    const from = clamp(start - base, room);
    const to = clamp(start + size - base, room);
    const part = parts?.[i];
    const memory = slot.memories[index + i]!;
    if (part !== undefined) gone.push(...swapIn(slot, index + i, 1, part));
    else if (memory.currentOffset !== low + from || memory.currentSize !== to - from)
      memory.setExtent(low + from, to - from);
    base += room;
  }
  slot.line = line === null ? null : afterResize(slot, line);
  // Last, because it calls allocators back.
  dropReplaced(slot, gone);
}

/**
 * After the hooks of {@link privateParts}: gives the parts back, and throws, when the list may not be changed any more.
 */
function assertSwappable(
  slot: BufferSlot,
  index: number,
  parts: readonly (Memory | undefined)[],
  generation: number,
): void {
  try {
    assertSameLease(slot, generation, "resize");
    for (let i = 0; i < parts.length; i++) if (parts[i] !== undefined) assertUnmapped(slot, index + i, 1);
  } catch (error) {
    for (const part of parts) if (part !== undefined) releaseFailed(part);
    throw error;
  }
}

/**
 * What replaces the memories that others own too, by place; made before anything moves, because making one can fail.
 * Undefined when nothing is to be replaced, which is the usual case.
 */
function privateParts(
  slot: BufferSlot,
  index: number,
  length: number,
  edges: readonly number[],
  start: number,
  size: number,
): (Memory | undefined)[] | undefined {
  let parts: (Memory | undefined)[] | undefined;
  let base = 0;
  try {
    for (let i = 0; i < length; i++) {
      const memory = slot.memories[index + i]!;
      const low = edges[2 * i]!;
      const room = edges[2 * i + 1]! - low;
      const from = clamp(start - base, room);
      const to = clamp(start + size - base, room);
      base += room;
      if (memory.isExclusive || (memory.currentOffset === low + from && memory.currentSize === to - from)) continue;
      assertUnmapped(slot, index + i, 1);
      parts ??= [];
      parts[i] = privatePart(memory, low + from, to - from);
    }
  } catch (error) {
    for (const part of parts ?? []) if (part !== undefined) releaseFailed(part);
    throw error;
  }
  return parts;
}

/** Where each memory of a range begins and ends on the line, as [low, high] pairs in one flat list. */
function edgesOf(slot: BufferSlot, index: number, length: number): number[] {
  const line = length > 1 ? currentLine(slot) : null;
  const edges: number[] = [];
  for (let i = 0; i < length; i++) {
    const memory = slot.memories[index + i]!;
    const at = (index + i) * ENTRY;
    const low = line?.[at] ?? memory.currentOffset;
    const high = line?.[at + 1] ?? memory.currentOffset + memory.currentSize;
    edges.push(i === 0 ? 0 : low, i === length - 1 ? memory.maxSize : high);
  }
  return edges;
}

/**
 * Numbers of a line entry: start and end of what a memory contributes, then its valid part as the last resize left it.
 */
const ENTRY = 4;

/**
 * The line that a resize left, as long as it describes the memories as they are: anything else that moved one of them
 * (its own resize) makes what is valid now the whole line.
 */
function currentLine(slot: BufferSlot): number[] | null {
  const { line, memories } = slot;
  if (line === null || line.length !== memories.length * ENTRY) return null;
  for (let i = 0; i < memories.length; i++) {
    if (memories[i]!.currentOffset !== line[i * ENTRY + 2] || memories[i]!.currentSize !== line[i * ENTRY + 3])
      return null;
  }
  return line;
}

function lineOf(slot: BufferSlot): number[] {
  const known = currentLine(slot);
  if (known !== null) return known;
  return slot.memories.flatMap((memory) => {
    const { currentOffset: offset, currentSize: size } = memory;
    return [offset, offset + size, offset, size];
  });
}

function afterResize(slot: BufferSlot, line: number[]): number[] {
  return slot.memories.flatMap((memory, i) => [
    line[i * ENTRY]!,
    line[i * ENTRY + 1]!,
    memory.currentOffset,
    memory.currentSize,
  ]);
}

function clamp(value: number, max: number): number {
  return value < 0 ? 0 : value > max ? max : value;
}

/**
 * A shared memory is not moved under its other owners: the buffer gets a sub-memory, or a copy where that is refused.
 */
function privatePart(memory: Memory, offset: number, size: number): Memory {
  const delta = offset - memory.currentOffset;
  const inside = delta >= 0 && delta + size <= memory.currentSize;
  if (inside && (memory.flags & MemoryFlags.NO_SHARE) !== 0) return memory.copy(delta, size);
  const part = memory.share(0);
  part.setExtent(offset, size);
  return part;
}
