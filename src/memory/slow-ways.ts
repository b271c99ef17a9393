/** The long ways of a memory: nested locks, opaque regions, views that have to be made, the last release, every refusal. */

import { abortable } from "../util/abortable.ts";
import { MillpondError } from "../util/errors.ts";
import { throwLater } from "../util/late.ts";
import { detachedMemory, lockRefused, notLocked, releasedTwice, staleMemory } from "./errors.ts";
import { addAccess, REFUSED, removeAccess } from "./lock.ts";
import { accessOfUnit, Mapping, MappingBits, modeOf } from "./mapping.ts";
import type { Memory } from "./memory.ts";
import { releaseWhenUnmapped } from "./orphans.ts";
import { wipeRegion } from "./revoke.ts";

/** Takes one access lock or throws; nothing is locked then. */
export function lock(memory: Memory, unit: number): void {
  if (memory.references === 0) throw staleMemory(memory, "map");
  const access = accessOfUnit(unit);
  // A buffer with two references is two holders of its memory: reading is all that either of them may do.
  const word = addAccess(memory.accessWord, memory.ownerCount + memory.sharedOwners, access, memory.currentFlags);
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

/**
 * Maps a memory whose bytes take time. The wait holds the lock and a reference, so that a release meanwhile cannot free the
 * region under it; a mapping that ends up with the only reference keeps it until unmap(). An abort ends the caller's wait at
 * once; what the allocator was asked for is taken back when it comes.
 */
export async function mapLater(memory: Memory, unit: number, signal: AbortSignal | undefined): Promise<Mapping> {
  signal?.throwIfAborted();
  lock(memory, unit);
  memory.retain();
  const opening = memory.allocator.openRegionAsync(memory.region, modeOf(unit), signal);
  let whole: Uint8Array;
  try {
    whole = await (signal === undefined
      ? opening
      : abortable<Uint8Array>(signal, ({ resolve, reject }) => void opening.then(resolve, reject)));
  } catch (error) {
    if (signal?.aborted === true) {
      // Whether it was the allocator that heard the signal or only this wait: the lock ends when the allocator has answered.
      opening.then(
        () => endAccess(memory, unit, true),
        () => endAccess(memory, unit, false),
      );
    } else endAccess(memory, unit, false);
    throw error;
  }
  const mapping = new Mapping(memory, validPart(memory, whole), unit | MappingBits.OPAQUE);
  releaseWhenUnmapped(memory);
  return mapping;
}

/** Ends the access of a wait that came to nothing, and the reference that it held. */
function endAccess(memory: Memory, unit: number, opened: boolean): void {
  try {
    if (opened) memory.allocator.closeRegion(memory.region, modeOf(unit));
  } catch (error) {
    throwLater(error);
  }
  memory.unlockUnit(unit);
  releaseWhenUnmapped(memory);
}

/** Takes one lock out of several; throws `ERR_OUT_OF_RANGE` when unlock() has already ended it. */
export function endNested(memory: Memory, unit: number): void {
  const word = removeAccess(memory.accessWord, accessOfUnit(unit));
  if (word === REFUSED) throw notLocked(memory, modeOf(unit));
  memory.accessWord = word;
}

/** Ends an access lock that the short way of {@link Memory.unlock} declined. Throws `ERR_OUT_OF_RANGE` when it is not held. */
export function unlockSlow(memory: Memory, unit: number): void {
  if (removeAccess(memory.accessWord, accessOfUnit(unit)) === REFUSED) throw notLocked(memory, modeOf(unit));
  try {
    if (!memory.region.isPlain) memory.allocator.closeRegion(memory.region, modeOf(unit));
  } finally {
    memory.unlockUnit(unit);
  }
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
  if (memory.region.wipe !== 0 && memory.parent === null) {
    // A release that is refused changes nothing: the bytes stay, and so do the views of them.
    const refusal = memory.allocator.reclaimRefusal(memory);
    if (refusal !== undefined) throw refusal;
    wipeRegion(memory.region);
  }
  memory.references = 0;
  memory.view = null;
  memory.allocator.reclaim(memory);
}
