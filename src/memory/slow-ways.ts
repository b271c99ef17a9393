/** The long ways of a memory: nested locks, opaque regions, views that have to be made, the last release, every refusal. */

import { MillpondError } from "../observe/errors.ts";
import { detachedMemory, lockRefused, notLocked, releasedTwice, staleMemory } from "./complaints.ts";
import { addAccess, REFUSED, removeAccess } from "./lock.ts";
import { accessOfUnit, Mapping, MappingBits, modeOf } from "./mapping.ts";
import type { Memory } from "./memory.ts";

/** Takes one access lock or throws; nothing is locked then. */
export function lock(memory: Memory, unit: number): void {
  if (memory.references === 0) throw staleMemory(memory, "map");
  const access = accessOfUnit(unit);
  const word = addAccess(memory.accessWord, memory.ownerCount, access, memory.currentFlags);
  if (word === REFUSED) throw lockRefused(memory, access);
  memory.accessWord = word;
}

/** Maps a memory that the short way of {@link Memory.map} declined. Throws as documented there. */
export function mapSlow(memory: Memory, unit: number): Mapping {
  lock(memory, unit);
  try {
    const { region } = memory;
    if (!region.isPlain) {
      const whole = memory.allocator.openRegion(region, modeOf(unit));
      return new Mapping(memory, validPart(memory, whole), unit | MappingBits.OPAQUE);
    }
    if (region.isDetached) throw detachedMemory(memory);
    memory.view ??= validPart(memory, region.bytes);
    if (memory.view.length !== memory.currentSize) memory.view = validPart(memory, region.bytes);
    return new Mapping(memory, memory.view, unit);
  } catch (error) {
    memory.unlockUnit(unit);
    throw error;
  }
}

/** The view of the valid part; the whole view itself where that is all of it. */
export function validPart(memory: Memory, whole: Uint8Array): Uint8Array {
  const { currentOffset: offset, currentSize: size } = memory;
  return offset === 0 && size === whole.length ? whole : whole.subarray(offset, offset + size);
}

/** Ends an access lock that the short way of {@link Memory.unlock} declined. Throws `ERR_OUT_OF_RANGE` when it is not held. */
export function unlockSlow(memory: Memory, unit: number): void {
  if (removeAccess(memory.accessWord, accessOfUnit(unit)) === REFUSED) throw notLocked(memory, modeOf(unit));
  if (!memory.region.isPlain) memory.allocator.closeRegion(memory.region, modeOf(unit));
  memory.unlockUnit(unit);
}

/** Sends a memory back to its allocator, or says why not. */
export function releaseLast(memory: Memory): void {
  if (memory.references === 0) throw releasedTwice(memory);
  if (memory.ownerCount > 0) {
    throw new MillpondError(
      "ERR_FOREIGN_RELEASE",
      `every reference of ${memory} belongs to the buffers and sub-memories that own it; ` +
        "release() only what you allocated or retained",
    );
  }
  if (memory.accessWord !== 0) {
    throw new MillpondError("ERR_MAPPED", `${memory} is still mapped; unmap() every mapping before the last release()`);
  }
  memory.references = 0;
  memory.view = null;
  memory.allocator.reclaim(memory);
}
