/**
 * Sizes of a range of memories, and resizing over several of them. The memories of a range form one line of bytes: the
 * first may use its prefix, the last its padding, and in between each contributes what it contributed when the list was
 * made. The valid part is a window on that line, so moving it back undoes a resize byte for byte (GStreamer's cannot).
 *
 * ```
 *   line:    |prefix 0 | bytes of 0 | bytes of 1 | bytes of 2 | padding 2 |
 *   window:       |<--------- size ----------->|
 *            offset                                                        maxSize
 * ```
 */
import type { Memory } from "../../memory/memory.ts";
import { MemoryFlags } from "../../memory/params.ts";
import { wholeNumber } from "../../util/validate.ts";
import { assertNotFrozen, assertUnmapped, dropMemories, hold, swapIn, throwIfFailed, unhold } from "./memory-list.ts";
import { assertSameLease, type BufferSlot, SlotFlags } from "./slot.ts";

/** Sizes of a range of memories, as {@link MediaBuffer.getSizes} gives them; bytes. */
export interface BufferSizes {
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
    // Up to the first byte each memory lies in front of the window as far as its own offset says.
    if (size === 0) offset += memory.currentOffset - low;
    size += memory.currentSize;
    maxSize += edges[2 * i + 1]! - low;
  }
  return { size, offset, maxSize };
}

/**
 * Moves the start of a checked range by `delta` bytes and makes it `size` bytes long. No byte moves.
 * Throws `ERR_OUT_OF_RANGE` when the window would leave the line; nothing changed then.
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
  const before = hold(slot, SlotFlags.HELD | SlotFlags.FROZEN);
  let parts: (Memory | undefined)[] | undefined;
  try {
    parts = privateParts(slot, index, length, edges, start, size);
  } finally {
    unhold(slot, before);
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
  throwIfFailed(dropMemories(slot, gone));
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
    for (const part of parts) part?.release();
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
    for (const part of parts ?? []) part?.release();
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
