/**
 * Allocating and freeing in one piece each. Written out instead of composed of the functions in lists.ts, which do the same:
 * V8 stops inlining after 920 bytes of bytecode, and the calls that were left took a third of the time.
 */
import { strayLink } from "./corrupted.ts";
import { allocateLast } from "./slow-path.ts";
import type { TlsfArena } from "./tlsf-arena.ts";

// The words of layout.ts's Control, as numbers of this module: a property of an imported object is a load more in each tier
// below the last one. A test holds them equal.
const USED = 5;
const LIVE = 6;
const PEAK = 7;
const ROW_MAP = 10;
const LIST_MAPS = 16;
const HEADS = 48;

/** The numbers above, for the test. */
export const MIRRORED: Readonly<Record<string, number>> = { USED, LIVE, PEAK, ROW_MAP, LIST_MAPS, HEADS };

/**
 * A live block of at least `need` words; 0: none is free. The head of the request's own list where it is large enough: the hole that a
 * block of this size left last. Else the head of the first list all of whose blocks are large enough. @realtime
 */
export function take(arena: TlsfArena, need: number): number {
  const { words } = arena;
  let units = (need >>> 1) + 32;
  let row = 26 - Math.clz32(units);
  let step = (units >>> row) - 32;
  // Block 0 is an empty list; the word that would be its size says 0 then.
  let block = words[HEADS + (row << 5) + step]!;
  let size = words[block + 1]! - 1;
  let map = 1;
  // Not "size < need": without its buffer an arena reads undefined.
  if (!(size >= need)) {
    // The list to begin with: the size rounded up to the next step.
    units += (1 << row) - 1;
    row = 26 - Math.clz32(units);
    // The step counts from 32; a shift takes it modulo 32.
    map = words[LIST_MAPS + row]! & (-1 << (units >>> row));
    if (map === 0) {
      const rows = words[ROW_MAP]! & (-2 << row);
      row = 31 - Math.clz32(rows & -rows);
      map = rows === 0 ? 0 : words[LIST_MAPS + row]!;
    }
    if (map !== 0) {
      step = 31 - Math.clz32(map & -map);
      block = words[HEADS + (row << 5) + step]!;
      size = words[block + 1]! - 1;
    }
  }
  if (map === 0) {
    block = allocateLast(arena, need);
    if (block === 0) return 0;
    size = words[block + 1]! - 1;
  } else {
    // The links of free blocks lie where their last users wrote: a list that was led astray must not hand out others' bytes.
    if (words[block + size] !== block + 1) throw strayLink(block);
    const next = words[block + 2]!;
    words[HEADS + (row << 5) + step] = next;
    if (next === 0) {
      const left = words[LIST_MAPS + row]! & ~(1 << step);
      words[LIST_MAPS + row] = left;
      if (left === 0) words[ROW_MAP] = words[ROW_MAP]! & ~(1 << row);
    }
  }
  const rest = size - need;
  if (rest < 4) {
    words[block + 1] = size;
    words[block + size] = block;
  } else {
    // The rest stays free, as a block of its own.
    const remainder = block + need;
    words[block + 1] = need;
    words[remainder] = block;
    words[remainder + 1] = rest + 1;
    words[block + size] = remainder + 1;
    size = need;
    enter(words, remainder, rest);
  }
  const used = words[USED]! + size;
  words[USED] = used;
  if (used > words[PEAK]!) words[PEAK] = used;
  words[LIVE] = words[LIVE]! + 1;
  return block;
}

/** Makes a live block of `size` words free and joins it with free neighbours. @realtime */
export function give(words: Int32Array, live: number, size: number): void {
  let block = live;
  let total = size;
  let next = live + size;
  const following = words[next + 1]!;
  if ((following & 1) !== 0) {
    leave(words, next, following - 1);
    // A header that a join swallows is size 0 from now on: a stale pointer to it is told from a live one.
    words[next + 1] = 0;
    total += following - 1;
    next = live + total;
  }
  const before = words[live]!;
  if ((before & 1) !== 0) {
    block = before - 1;
    const length = words[block + 1]! - 1;
    leave(words, block, length);
    words[live + 1] = 0;
    total += length;
  }
  words[USED] = words[USED]! - size;
  words[LIVE] = words[LIVE]! - 1;
  words[block + 1] = total + 1;
  words[next] = block + 1;
  enter(words, block, total);
}

/** As insert() of lists.ts. */
function enter(words: Int32Array, block: number, size: number): void {
  const units = (size >>> 1) + 32;
  const row = 26 - Math.clz32(units);
  const step = (units >>> row) - 32;
  const at = HEADS + (row << 5) + step;
  const head = words[at]!;
  words[block + 2] = head;
  words[at] = block;
  if (head !== 0) {
    words[head + 3] = block;
    return;
  }
  words[LIST_MAPS + row] = words[LIST_MAPS + row]! | (1 << step);
  words[ROW_MAP] = words[ROW_MAP]! | (1 << row);
}

/** As unlink() of lists.ts. */
function leave(words: Int32Array, block: number, size: number): void {
  const units = (size >>> 1) + 32;
  const row = 26 - Math.clz32(units);
  const step = (units >>> row) - 32;
  const at = HEADS + (row << 5) + step;
  const next = words[block + 2]!;
  if (words[at] !== block) {
    const previous = words[block + 3]!;
    if (words[previous + 2] !== block) throw strayLink(block);
    words[previous + 2] = next;
    if (next !== 0) words[next + 3] = previous;
    return;
  }
  words[at] = next;
  if (next !== 0) return;
  const left = words[LIST_MAPS + row]! & ~(1 << step);
  words[LIST_MAPS + row] = left;
  if (left === 0) words[ROW_MAP] = words[ROW_MAP]! & ~(1 << row);
}
