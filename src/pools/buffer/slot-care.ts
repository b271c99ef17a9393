/** What is done to a slot between two borrowers: judge it, mend it, wipe it, empty it. Functions over a slot. */

import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { dropMemories, totalSize } from "../../media/buffer/memory-list.ts";
import { type BufferSlot, SlotFlags } from "../../media/buffer/slot.ts";
import { freeMetas } from "../../media/meta/attach.ts";
import type { Memory } from "../../memory/memory.ts";
import { Wipe } from "../../memory/region.ts";
import { isRevocable, revokeViews, wipeRegion } from "../../memory/revoke.ts";
import { zeroBytes } from "../../memory/zero.ts";
import { throwLater } from "../../util/late.ts";
import type { DiscardReason } from "./stats.ts";

/** Why a returned slot cannot be lent again, or undefined. A resize in place is undone on the way, as GStreamer does it. */
export function discardReason(slot: BufferSlot, size: number): DiscardReason | undefined {
  if (slot.memories.some((memory) => memory.region.isDetached)) return "detached";
  if (slot.memoryChanged) return "memory-changed";
  if (!slot.isExclusive() || slot.memories.some((memory) => memory.parent !== null)) return "memory-unfit";
  undoResize(slot, size);
  return totalSize(slot) === size ? undefined : "memory-unfit";
}

function undoResize(slot: BufferSlot, size: number): void {
  const memory = slot.memories[0]!;
  if (slot.memories.length > 1 || (memory.currentSize === size && memory.currentOffset === slot.baseOffset)) return;
  memory.setExtent(slot.baseOffset, size);
}

/**
 * Drops all memories and metas of a slot and voids its leases; returns what an allocator had to say about its memory. Each memory
 * is wiped as its region demands when its last holder lets go, which may be later: a copy, or a mapping.
 */
export function emptySlot(slot: BufferSlot, buffer: MediaBuffer): unknown {
  slot.slotFlags |= SlotFlags.HELD | SlotFlags.RETURNING;
  const { memories } = slot;
  slot.memories = [];
  const failure = dropMemories(slot, memories);
  freeMetas(slot, buffer);
  slot.refCount = 0;
  slot.generation++;
  // What a meta's hook put into the buffer goes too; no handle reaches the slot any more.
  const late = dropMemories(slot, slot.memories);
  if (late !== undefined) throwLater(late);
  return failure;
}

/** Drops the memories of a released slot that the pool did not make for it; returns what their allocators had to say. */
export function dropAdded(slot: BufferSlot): unknown {
  if (!slot.memoryChanged) return undefined;
  const added = slot.memories.filter((memory) => memory.parentBuffer !== slot);
  if (added.length === 0) return undefined;
  slot.memories = slot.memories.filter((memory) => memory.parentBuffer === slot);
  return dropMemories(slot, added);
}

/** Gives the next lease other memory objects than those that were handed out. */
export function replaceHandles(slot: BufferSlot): void {
  for (let i = 0; i < slot.memories.length; i++) {
    const memory = slot.memories[i]!;
    if (memory.parent === null) slot.memories[i] = memory.replaceHandle();
  }
  slot.slotFlags &= ~SlotFlags.SHARED;
}

/** Sets all bytes of a slot to zero, prefix and padding included. O(size). */
export function zeroSlot(slot: BufferSlot): void {
  for (const memory of slot.memories) if (memory.region.isPlain) zeroBytes(memory.region.bytes);
}

/** Notes with the bytes of a new slot what the end of every lease over them demands. */
export function demandWipe(memories: readonly Memory[], zero: boolean, revoke: boolean): void {
  const wipe = (zero ? Wipe.ZERO : 0) | (revoke ? Wipe.REVOKE : 0);
  for (const memory of memories) if (memory.parent === null) memory.region.wipe = wipe;
}

/** Wipes the bytes of a slot that is kept, as {@link demandWipe} noted it; the demand stays. O(size) when it zeroes. */
export function wipeSlot(slot: BufferSlot): void {
  for (const memory of slot.memories) {
    const { region } = memory;
    const { wipe, bytes } = region;
    if (wipe === 0) continue;
    wipeRegion(region);
    region.wipe = wipe;
    if (region.bytes !== bytes) memory.view = null;
  }
}

/** Detaches every view of a slot's bytes, where the memory allows it. */
export function revokeSlot(slot: BufferSlot): void {
  for (const memory of slot.memories) {
    if (!isRevocable(memory.region)) continue;
    revokeViews(memory.region);
    memory.view = null;
  }
}

/** Views are made once, here, so that the first use of a lease allocates nothing; they also tell a fresh slot from a used one. */
export function cacheViews(slot: BufferSlot): void {
  for (const memory of slot.memories) if (memory.view === null && memory.region.isPlain) memory.map("read").unmap();
  const [only] = slot.memories;
  slot.baseMemory = slot.memories.length === 1 && only !== undefined && only.view !== null ? only : null;
  slot.baseView = slot.baseMemory?.view ?? null;
  slot.line = null;
}

/** Bytes that the regions of a slot take. */
export function regionBytes(slot: BufferSlot): number {
  let bytes = 0;
  for (const memory of slot.memories) bytes += memory.region.size;
  return bytes;
}
