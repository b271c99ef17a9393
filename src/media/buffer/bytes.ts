/**
 * Bytes of a buffer without mapping it whole: fill, set, extract, compare, memory by memory, so that nothing is merged.
 * Writing copies a shared memory first (copy on write). Functions over a live slot.
 */

import { unitOf } from "../../memory/lock.ts";
import {
  type MapMode,
  type Mapping,
  type Memory,
  mapToRead,
  releaseFailed,
  releaseWhenUnmapped,
  unmapFailed,
} from "../../memory/memory.ts";
import { viewBytes } from "../../memory/region.ts";
import { MillpondError } from "../../util/errors.ts";
import { wholeNumber, wrongType } from "../../util/validate.ts";
import {
  assertMergeable,
  assertNotFrozen,
  assertUnmapped,
  dropReplaced,
  joined,
  noteDropped,
  protect,
  swapIn,
  unprotect,
} from "./memory-list.ts";
import { assertSameLease, type BufferSlot, SlotFlags, sharedBuffer } from "./slot.ts";

/**
 * Maps a checked, non-empty range of memories as one run of bytes. Several memories are merged first: in place when the
 * slot is writable, else into a temporary memory that the mapping owns. A shared or read-only memory that is mapped for
 * writing is replaced by a copy of its own.
 */
export function mapMemories(slot: BufferSlot, index: number, length: number, mode: MapMode): Mapping {
  // A wrong mode is refused before anything is merged or copied for it.
  unitOf(mode);
  const writable = slot.refCount === 1;
  if (mode !== "read" && !writable) throw sharedBuffer(slot, "write to");
  if (length > 1) {
    if (!writable) return mapTemporary(slot, index, length, mode);
    assertMergeable(slot.memories.slice(index, index + length));
  } else if (mode === "read" || slot.memories[index]!.isWritable) return slot.memories[index]!.map(mode);
  assertNotFrozen(slot);
  return mapReplaced(slot, index, length, mode);
}

function mapTemporary(slot: BufferSlot, index: number, length: number, mode: MapMode): Mapping {
  const merged = joined(slot, index, length);
  let mapping: Mapping;
  try {
    mapping = merged.map(mode);
  } catch (error) {
    releaseFailed(merged);
    throw error;
  }
  releaseWhenUnmapped(merged);
  noteDropped(slot, merged);
  return mapping;
}

/**
 * Puts one memory of the buffer's own in the place of a range, mapped. It is mapped before the old memories are
 * dropped: their allocators call back then, and what is mapped can neither be shared nor leave the buffer. O(size).
 */
function mapReplaced(slot: BufferSlot, index: number, length: number, mode: MapMode): Mapping {
  const { generation } = slot;
  const memory = ownRun(slot, index, length, mode);
  let mapping: Mapping;
  try {
    mapping = memory.map(mode);
  } catch (error) {
    releaseFailed(memory);
    throw error;
  }
  let gone: Memory[];
  try {
    assertSameLease(slot, generation, "map");
    if (length > 1) assertMergeable(slot.memories.slice(index, index + length));
    gone = swapIn(slot, index, length, memory);
  } catch (error) {
    unmapFailed(mapping);
    releaseFailed(memory);
    throw error;
  }
  dropReplaced(slot, gone);
  return mapping;
}

/** The bytes of a range in one memory that may be mapped that way, one reference to the caller. O(size). */
function ownRun(slot: BufferSlot, index: number, length: number, mode: MapMode): Memory {
  const before = protect(slot, SlotFlags.IN_HOOK | SlotFlags.FROZEN);
  try {
    if (length === 1) return slot.memories[index]!.copy();
    const run = joined(slot, index, length);
    if (mode === "read" || run.isWritable) return run;
    // Parts of one memory were joined to a larger part of it, which stays read-only.
    let copy: Memory;
    try {
      copy = run.copy();
    } catch (error) {
      releaseFailed(run);
      throw error;
    }
    // The copy is what was asked for, whatever the allocator says to the end of the run.
    releaseFailed(run);
    return copy;
  } finally {
    unprotect(slot, before);
  }
}

/** The bytes that a caller gave; throws `ERR_INVALID_ARG_TYPE`, or `ERR_DETACHED` when they are gone. */
function given(name: string, source: unknown): Uint8Array {
  let bytes: Uint8Array | undefined;
  try {
    bytes = viewBytes(source);
  } catch (cause) {
    throw new MillpondError("ERR_DETACHED", `${name} is detached; copy before transferring it`, undefined, { cause });
  }
  if (bytes === undefined) throw wrongType(name, "an ArrayBuffer, SharedArrayBuffer, typed array or DataView", source);
  return bytes;
}

/** What a visited run of bytes does; returns false to stop. */
type Visit = (bytes: Uint8Array, done: number) => boolean;

/**
 * Visits `size` bytes from `offset`, run by run; returns how many there were (short at the end of the buffer). Hooks on
 * the way can neither release the buffer nor change its list.
 */
function visit(slot: BufferSlot, offset: number, size: number, mode: MapMode, fn: Visit): number {
  if (mode === "write") assertNotFrozen(slot);
  const before = protect(slot, SlotFlags.IN_HOOK | SlotFlags.FROZEN);
  try {
    if (mode === "write" && slot.memories.length > 1) takeRuns(slot, offset, size);
    return walk(slot, offset, size, mode, fn);
  } finally {
    unprotect(slot, before);
  }
}

/**
 * Makes every memory of a range this buffer's own and proves that it can be written, before the first byte is: a write
 * that fails in the second memory must not have changed the first. All copies are made before the list changes.
 */
function takeRuns(slot: BufferSlot, offset: number, size: number): void {
  if (slot.refCount !== 1) throw sharedBuffer(slot, "write to");
  const { generation, memories } = slot;
  const copies = new Map<number, Memory>();
  try {
    let end = 0;
    for (let index = 0; index < memories.length && end < offset + size; index++) {
      const memory = memories[index]!;
      end += memory.size;
      if (end <= offset || memory.size === 0) continue;
      let own = memory;
      if (!memory.isWritable) {
        own = memory.copy();
        copies.set(index, own);
      }
      own.map("write").unmap();
    }
    assertSameLease(slot, generation, "write to");
    for (const index of copies.keys()) assertUnmapped(slot, index, 1);
  } catch (error) {
    for (const copy of copies.values()) releaseFailed(copy);
    throw error;
  }
  const gone: Memory[] = [];
  for (const [index, copy] of copies) gone.push(...swapIn(slot, index, 1, copy));
  dropReplaced(slot, gone);
}

function walk(slot: BufferSlot, offset: number, size: number, mode: MapMode, fn: Visit): number {
  let start = 0;
  let done = 0;
  for (let index = 0; index < slot.memories.length && done < size; index++) {
    const memory = slot.memories[index]!;
    const length = memory.size;
    const from = offset + done - start;
    start += length;
    if (from >= length) continue;
    const run = Math.min(length - from, size - done);
    const mapping = mode === "read" ? mapToRead(memory) : mapToWrite(slot, index, mode);
    try {
      if (!fn(mapping.bytes.subarray(from, from + run), done)) return done;
    } finally {
      mapping.unmap();
    }
    done += run;
  }
  return done;
}

/** Maps one memory of a list that {@link visit} holds. */
function mapToWrite(slot: BufferSlot, index: number, mode: MapMode): Mapping {
  if (slot.refCount !== 1) throw sharedBuffer(slot, "write to");
  const memory = slot.memories[index]!;
  return memory.isWritable ? memory.map(mode) : mapReplaced(slot, index, 1, mode);
}

/** Copies `source` into the buffer from `offset`; returns the bytes that found room. */
export function fillBytes(slot: BufferSlot, offset: number, source: unknown): number {
  wholeNumber("offset", offset);
  const bytes = given("source", source);
  return visit(slot, offset, bytes.length, "write", (run, done) => {
    run.set(bytes.subarray(done, done + run.length));
    return true;
  });
}

/** Sets `size` bytes from `offset` to `value`; returns the bytes that were set. */
export function setBytes(slot: BufferSlot, offset: number, value: number, size: number): number {
  wholeNumber("offset", offset);
  wholeNumber("value", value, 0, 255);
  return visit(slot, offset, wholeNumber("size", size), "write", (run) => {
    run.fill(value);
    return true;
  });
}

/** Copies bytes from `offset` into `target`; returns how many there were. */
export function extractInto(slot: BufferSlot, offset: number, target: unknown): number {
  wholeNumber("offset", offset);
  const bytes = given("target", target);
  return visit(slot, offset, bytes.length, "read", (run, done) => {
    bytes.set(run, done);
    return true;
  });
}

/**
 * Compares buffer bytes from `offset` with `other`: 0 when equal, else the sign of *given minus buffer* at the first
 * difference (GStreamer's order); -1 when the range is not inside the buffer.
 */
export function compareBytes(slot: BufferSlot, offset: number, other: unknown, total: number): number {
  wholeNumber("offset", offset);
  const bytes = given("other", other);
  if (offset + bytes.length > total) return -1;
  let sign = 0;
  visit(slot, offset, bytes.length, "read", (run, done) => {
    for (let i = 0; i < run.length && sign === 0; i++) sign = Math.sign(bytes[done + i]! - run[i]!);
    return sign === 0;
  });
  return sign;
}
