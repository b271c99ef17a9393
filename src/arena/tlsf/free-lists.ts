/**
 * The free lists of an arena, on its words: the long ways (fast-ways.ts has the two that count, all in one piece). Each list is doubly linked through the free blocks; the back link of a list's head
 * is never read, so that taking the head writes to no other block: that write would be a cache miss.
 */
import { strayLink } from "./corrupted.ts";
import { Control, FREE, listOf, MIN_BLOCK, STEP_BITS } from "./layout.ts";

/** Enters a free block of `size` words at the head of its list. Two lists of one step at most are touched. @realtime */
export function insert(words: Int32Array, block: number, size: number): void {
  const list = listOf(size);
  const head = words[Control.HEADS + list]!;
  words[block + 2] = head;
  words[Control.HEADS + list] = block;
  if (head !== 0) {
    words[head + 3] = block;
    return;
  }
  const row = list >>> STEP_BITS;
  words[Control.LIST_MAPS + row]! |= 1 << (list & 31);
  words[Control.ROW_MAP]! |= 1 << row;
}

/** Takes a free block of `size` words out of its list. @realtime */
export function unlink(words: Int32Array, block: number, size: number): void {
  const list = listOf(size);
  const next = words[block + 2]!;
  if (words[Control.HEADS + list] === block) {
    setHead(words, list, next);
    return;
  }
  const previous = words[block + 3]!;
  if (words[previous + 2] !== block) throw strayLink(block);
  words[previous + 2] = next;
  if (next !== 0) words[next + 3] = previous;
}

/** Makes `next` the head of a list; an emptied list disappears from the maps. @realtime */
export function setHead(words: Int32Array, list: number, next: number): void {
  words[Control.HEADS + list] = next;
  if (next !== 0) return;
  const row = list >>> STEP_BITS;
  const map = words[Control.LIST_MAPS + row]! & ~(1 << (list & 31));
  words[Control.LIST_MAPS + row] = map;
  if (map === 0) words[Control.ROW_MAP]! &= ~(1 << row);
}

/**
 * The first list from `list` on that has a block, or -1: one step in the list's own row, one over the rows, however many
 * blocks there are. @realtime
 */
export function findList(words: Int32Array, list: number): number {
  let row = list >>> STEP_BITS;
  // A shift counts modulo 32, so `list` needs no mask.
  let map = words[Control.LIST_MAPS + row]! & (-1 << list);
  if (map === 0) {
    const rows = words[Control.ROW_MAP]! & (-2 << row);
    if (rows === 0) return -1;
    row = 31 - Math.clz32(rows & -rows);
    map = words[Control.LIST_MAPS + row]!;
  }
  return (row << STEP_BITS) + 31 - Math.clz32(map & -map);
}

/**
 * Makes a block live that is out of its list: `need` words of its `size`, the rest (when it can stand alone) a free block
 * again. Answers the words it took. @realtime
 */
export function occupy(words: Int32Array, block: number, size: number, need: number): number {
  const rest = size - need;
  if (rest < MIN_BLOCK) {
    words[block + 1] = size;
    words[block + size] = block;
    return size;
  }
  const remainder = block + need;
  words[block + 1] = need;
  words[remainder] = block;
  words[remainder + 1] = rest | FREE;
  words[block + size] = remainder | FREE;
  insert(words, remainder, rest);
  return need;
}

/** Adds to the count of live words and keeps the peak. @realtime */
export function countUsed(words: Int32Array, taken: number): void {
  const used = words[Control.USED]! + taken;
  words[Control.USED] = used;
  if (used > words[Control.PEAK]!) words[Control.PEAK] = used;
}
