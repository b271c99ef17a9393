/**
 * The links of a slab pool: one 32-bit word a pointer, in a table beside the blocks. The word says where the free list
 * goes on, or whose the pointer is, so the check of a pointer costs one comparison with a word that is loaded anyway.
 *
 * ```
 *   links     [ next free pointer | END | LIVE | UNMAPPED | FAILED ]
 * ```
 * libcork keeps the links in the elements' headers. Here only the room for them is kept, so that its numbers hold:
 *
 * - Finding a block's words first makes a random replacement 1.6 times slower (4.9 ns against 3.0).
 * - Elements of odd sizes would leave the links unaligned.
 * - An element that is overrun cannot break a list that lies elsewhere.
 */
import type { SlabLayout } from "./blocks.ts";

/** End of the free list. */
export const END = -1;

/** The pointer is handed out. */
export const LIVE = -2;

/** There is no such slot: its block went back, is not carved yet, or never existed. */
export const UNMAPPED = -3;

/** The slot's `init` threw; it is not used while its block lasts. */
export const FAILED = -4;

let sentinel: Int32Array = new Int32Array(0);

/**
 * Stands in for the links of a pool while foreign code runs: nothing in it is live, so the fast path refuses without a
 * check of its own. One table for all pools, of at least `length` zeros, which cost no memory until they are read. It
 * is as long as the links because a read beyond a table would slow that place down for good. Throws `RangeError` when
 * there is no memory for it.
 */
export function sentinelLinks(length: number): Int32Array {
  if (sentinel.length < length) sentinel = new Int32Array(length);
  return sentinel;
}

/** How many links have one value. O(pointers). */
export function countLinks(table: Int32Array, value: number): number {
  let count = 0;
  for (const link of table) if (link === value) count++;
  return count;
}

/**
 * What is wrong with a table of links, or undefined. The list holds each free slot once and nothing else, only slots of
 * existing blocks are in use, and none is lost. O(pointers).
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
    if (!exists && link !== UNMAPPED) return `pointer ${pointer} has link ${link} and no block`;
    if (link >= END !== free.has(pointer)) {
      return `pointer ${pointer} has link ${link}, and the free list ${free.has(pointer) ? "has it" : "does not have it"}`;
    }
    if (link === LIVE || link === FAILED) used++;
  }
  const slots = views.filter((view) => view !== undefined).length * capacity;
  if (used + free.size + pending === slots) return undefined;
  return `${used} used, ${free.size} free and ${pending} pending are not the ${slots} slots of the blocks`;
}
