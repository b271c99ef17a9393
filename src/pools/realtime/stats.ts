/** What a RealtimePool says about itself: its live blocks, its accounts, and whether all of it agrees. */
import { MillpondError } from "../../util/errors.ts";
import type { RealtimeAllocator } from "./allocator.ts";
import { type Area, areaOf } from "./area.ts";
import type { RealtimeHolder, RealtimePoolStats } from "./options.ts";

/** The live blocks in the order of their addresses. O(blocks). */
export function listBlocks(areas: readonly Area[], { leases }: RealtimeAllocator): RealtimeHolder[] {
  const owners = new Map<number, number | undefined>();
  for (const { pointer, memory } of leases) owners.set(pointer, memory?.id);
  const found: RealtimeHolder[] = [];
  for (const { arena, base } of areas) {
    for (const { pointer, size, free } of arena.blocks()) {
      if (!free) found.push({ pointer: base + pointer, size, memory: owners.get(base + pointer) });
    }
  }
  return found;
}

/** Compares areas and Memories with each other. Throws `ERR_CORRUPTED`. O(blocks). */
export function validateAreas(name: string, areas: readonly Area[], { leases }: RealtimeAllocator): void {
  let tagged = 0;
  for (const { arena } of areas) {
    arena.validate();
    for (const block of arena.blocks()) if (block.tagged) tagged++;
  }
  for (const { pointer, memory } of leases) {
    const area = areaOf(areas, pointer);
    if (area?.arena.isTagged(pointer - area.base) !== true || memory === null || memory.refCount === 0) {
      throw new MillpondError("ERR_CORRUPTED", `realtime pool "${name}": ${memory} has no block of its own`);
    }
  }
  if (tagged === leases.length) return;
  throw new MillpondError(
    "ERR_CORRUPTED",
    `realtime pool "${name}": ${tagged} blocks belong to Memories, and there are ${leases.length} Memories`,
  );
}

/** The accounts of all areas together. O(blocks). */
export function sumStats(
  areas: readonly Area[],
  own: Pick<RealtimePoolStats, "name" | "failures" | "debugLevel">,
): RealtimePoolStats {
  const sum = { totalSize: 0, used: 0, available: 0, peak: 0, liveBlocks: 0, lockedBytes: 0, prefaultedBytes: 0 };
  let largest = 0;
  for (const area of areas) {
    const stats = area.arena.stats();
    for (const key of ["used", "available", "peak", "liveBlocks"] as const) sum[key] += stats[key];
    largest = Math.max(largest, stats.largest);
    sum.totalSize += area.size;
    if (area.lock.ok) sum.lockedBytes += area.lock.bytes;
    if (area.prefault.ok) sum.prefaultedBytes += area.prefault.bytes;
  }
  return { ...own, ...sum, largest, areas: areas.length };
}
