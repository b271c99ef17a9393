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
import type { Memory } from "../memory/memory.ts";
import { MemoryFlags } from "../memory/params.ts";
import { wholeNumber } from "../observe/arguments.ts";
import { exchangeMemories, freezeExtents } from "./buffer-list.ts";
import type { BufferSlot } from "./slot.ts";

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
  let size = 0;
  let offset = 0;
  let maxSize = 0;
  for (let i = 0; i < length; i++) {
    const memory = slot.memories[index + i]!;
    const low = lowEdge(memory, i);
    // Up to the first byte each memory lies in front of the window as far as its own offset says.
    if (size === 0) offset += memory.currentOffset - low;
    size += memory.currentSize;
    maxSize += highEdge(memory, i, length) - low;
  }
  return { size, offset, maxSize };
}

/**
 * Moves the start of a checked range by `delta` bytes and makes it `size` bytes long. No byte moves.
 * Throws `ERR_OUT_OF_RANGE` when the window would leave the line, `ERR_MAPPED` when a shared memory must be replaced
 * under a live map; nothing changed then.
 */
export function resizeRange(slot: BufferSlot, index: number, length: number, delta: number, size: number): void {
  const sizes = sizesOf(slot, index, length);
  wholeNumber("delta", delta, -sizes.offset, sizes.maxSize - sizes.offset);
  const start = sizes.offset + delta;
  wholeNumber("size", size, 0, sizes.maxSize - start);
  if (delta === 0 && size === sizes.size) return;
  let base = 0;
  for (let i = 0; i < length; i++) {
    const memory = slot.memories[index + i]!;
    const low = lowEdge(memory, i);
    const room = highEdge(memory, i, length) - low;
    const from = clamp(start - base, room);
    const to = clamp(start + size - base, room);
    moveWindow(slot, index + i, low + from, to - from);
    base += room;
  }
  if (length !== slot.memories.length) freezeExtents(slot);
}

function clamp(value: number, max: number): number {
  return value < 0 ? 0 : value > max ? max : value;
}

function lowEdge(memory: Memory, i: number): number {
  return i === 0 ? 0 : memory.extentStart;
}

function highEdge(memory: Memory, i: number, length: number): number {
  return i === length - 1 ? memory.maxSize : memory.extentEnd;
}

function moveWindow(slot: BufferSlot, index: number, offset: number, size: number): void {
  const memory = slot.memories[index]!;
  if (memory.currentOffset === offset && memory.currentSize === size) return;
  if (memory.isExclusive) {
    memory.moveWindow(offset, size);
    return;
  }
  exchangeMemories(slot, index, 1, privatePart(memory, offset, size));
}

/** A shared memory is not moved under its other owners: the buffer gets a sub-memory, or a copy where that is refused. */
function privatePart(memory: Memory, offset: number, size: number): Memory {
  const delta = offset - memory.currentOffset;
  const inside = delta >= 0 && delta + size <= memory.currentSize;
  if (inside && (memory.flags & MemoryFlags.NO_SHARE) !== 0) return memory.copy(delta, size);
  const part = memory.share(0);
  part.moveWindow(offset, size);
  part.extentStart = memory.extentStart;
  part.extentEnd = memory.extentEnd;
  return part;
}
