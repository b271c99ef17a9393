/** The invariants of a slab pool, for tests and for whoever hunts a bug. */

import { END, FAILED, GONE, LIVE } from "./free-list.ts";
import type { SlabLayout } from "./layout.ts";

/** How many links have one value. O(pointers). */
export function countLinks(table: Int32Array, value: number): number {
  let count = 0;
  for (const link of table) if (link === value) count++;
  return count;
}

/**
 * What is wrong with a table of links, or undefined: the list holds each free slot once and nothing else, only slots of existing
 * blocks are in use, and none is lost. O(pointers).
 *
 * @param pending slots that are not carved yet
 */
export function findCorruption(
  table: Int32Array,
  head: number,
  views: readonly (Uint8Array | undefined)[],
  { capacity, shift }: SlabLayout,
  pending: number,
): string | undefined {
  const free = new Set<number>();
  for (let pointer = head; pointer >= 0; pointer = table[pointer]!) {
    if (free.has(pointer)) return `pointer ${pointer} is in the free list twice`;
    free.add(pointer);
    if (pointer >= table.length) return `pointer ${pointer} is free and beyond the table`;
  }
  let used = 0;
  for (let pointer = 0; pointer < table.length; pointer++) {
    const link = table[pointer]!;
    const slot = pointer & ((1 << shift) - 1);
    const exists = views[pointer >> shift] !== undefined && slot < capacity;
    if (!exists && link !== GONE) return `pointer ${pointer} has link ${link} and no block`;
    if (link >= END !== free.has(pointer))
      return `pointer ${pointer} has link ${link} and is not in the free list, or is`;
    if (link === LIVE || link === FAILED) used++;
  }
  const slots = views.filter((view) => view !== undefined).length * capacity;
  if (used + free.size + pending === slots) return undefined;
  return `${used} used, ${free.size} free and ${pending} pending are not the ${slots} slots of the blocks`;
}
