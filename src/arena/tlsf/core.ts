/**
 * The algorithm of TLSF on an arena's words, after Masmano, Ripoll and Crespo ("TLSF: a new dynamic memory allocator
 * for real-time systems", 2004), in the names of the paper and of Matthew Conte's implementation: a size is mapped to a
 * first-level index `fl` (its octave) and a second-level index `sl` (one of 32 steps of the octave). Each pair has a
 * list of free blocks; a bitmap for each level says which lists have one. Where the words lie is in layout.ts.
 *
 * Differences from the paper:
 *
 * - The list of the request's own size is tried first: its head is the hole that a block of this size left last.
 * - Before the arena counts as full, a few blocks of that list are looked at (`bestEffortSearch`).
 * - The back link of a list's head is never read, so that taking the head writes to no other block: that write would be
 *   a cache miss.
 *
 * Invariants between calls: two free blocks never touch; each free block is in the list that its size maps to; a bit is
 * set where its list is not empty; a block's predecessor word says where the block in front of it begins, and whether
 * that is free.
 *
 * Complexity: `malloc`, `free`, `memalign` and `resizeBlock` read and write a bounded number of words (STEPS in
 * layout.ts). Segments: O(segments).
 *
 * `malloc` and `free` are written out in one piece each, with only the two list functions called: V8 stops inlining
 * after 920 bytes of bytecode, and the calls that were left took a third of the time.
 */
import { MillpondError } from "../../util/errors.ts";
import { outOfRange, wholeNumber, wrongType } from "../../util/validate.ts";
import { corrupt, corruptFreeList, isArena, unreachable } from "./errors.ts";
import {
  Control,
  controlWords,
  FREE,
  flCountFor,
  GRANULE,
  HEADER,
  MIN_BLOCK,
  mappingInsert,
  mappingSearch,
  pointerTo,
  SEGMENT_COST,
  SL_LOG2,
  TAGGED,
} from "./layout.ts";

// Constants of this module: a property of an imported object is a load more in each compiler tier below the last one.
const { USED, LIVE, PEAK, FL_BITMAP, SL_BITMAP, BLOCKS } = Control;

/**
 * Blocks that are looked at, beyond the lists that fit by their name, before an arena counts as full. The search rounds
 * sizes up, so the list of the exact size may hold a block that is large enough; eight keeps the time constant and
 * finds nearly all.
 */
const MAX_LOOKS = 8;

/**
 * A live block of at least `need` words; 0: none is free. The head of the request's own list where it is large enough:
 * the hole that a block of this size left last. Else the head of the first list all of whose blocks are large enough.
 * @realtime
 */
export function malloc(words: Int32Array, need: number): number {
  let units = (need >>> 1) + 32;
  let fl = 26 - Math.clz32(units);
  let sl = (units >>> fl) - 32;
  // Block 0 is an empty list; the word that would be its size says 0 then.
  let block = words[BLOCKS + (fl << 5) + sl]!;
  let size = words[block + 1]! - 1;
  let map = 1;
  // Not "size < need": without its buffer an arena reads undefined.
  if (!(size >= need)) {
    // The list to begin with: the size rounded up to the next step.
    units += (1 << fl) - 1;
    fl = 26 - Math.clz32(units);
    // The step counts from 32; a shift takes it modulo 32.
    map = words[SL_BITMAP + fl]! & (-1 << (units >>> fl));
    if (map === 0) {
      const flMap = words[FL_BITMAP]! & (-2 << fl);
      fl = 31 - Math.clz32(flMap & -flMap);
      map = flMap === 0 ? 0 : words[SL_BITMAP + fl]!;
    }
    if (map !== 0) {
      sl = 31 - Math.clz32(map & -map);
      block = words[BLOCKS + (fl << 5) + sl]!;
      size = words[block + 1]! - 1;
    }
  }
  if (map === 0) {
    block = bestEffortSearch(words, need);
    if (block === 0) return 0;
    size = words[block + 1]! - 1;
  } else {
    // The links of free blocks lie where their last users wrote: a list that was overwritten must not hand out others'
    // bytes.
    if (words[block + size] !== block + 1) throw corruptFreeList(words, block);
    const next = words[block + 2]!;
    words[BLOCKS + (fl << 5) + sl] = next;
    if (next === 0) {
      const left = words[SL_BITMAP + fl]! & ~(1 << sl);
      words[SL_BITMAP + fl] = left;
      if (left === 0) words[FL_BITMAP] = words[FL_BITMAP]! & ~(1 << fl);
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
    insertFreeBlock(words, remainder, rest);
  }
  const used = words[USED]! + size;
  words[USED] = used;
  if (used > words[PEAK]!) words[PEAK] = used;
  words[LIVE] = words[LIVE]! + 1;
  return block;
}

/** Makes a live block of `size` words free and merges it with free neighbors. @realtime */
export function free(words: Int32Array, live: number, size: number): void {
  let block = live;
  let total = size;
  let next = live + size;
  const following = words[next + 1]!;
  if ((following & 1) !== 0) {
    removeFreeBlock(words, next, following - 1);
    // A header that a merge swallows is size 0 from now on: a stale pointer to it is told from a live one.
    words[next + 1] = 0;
    total += following - 1;
    next = live + total;
  }
  const before = words[live]!;
  if ((before & 1) !== 0) {
    block = before - 1;
    const length = words[block + 1]! - 1;
    removeFreeBlock(words, block, length);
    words[live + 1] = 0;
    total += length;
  }
  words[USED] = words[USED]! - size;
  words[LIVE] = words[LIVE]! - 1;
  words[block + 1] = total + 1;
  words[next] = block + 1;
  insertFreeBlock(words, block, total);
}

/** Enters a free block of `size` words at the head of its list. @realtime */
function insertFreeBlock(words: Int32Array, block: number, size: number): void {
  // As mappingInsert, written out.
  const units = (size >>> 1) + 32;
  const fl = 26 - Math.clz32(units);
  const sl = (units >>> fl) - 32;
  const list = BLOCKS + (fl << 5) + sl;
  const head = words[list]!;
  words[block + 2] = head;
  words[list] = block;
  if (head !== 0) {
    words[head + 3] = block;
    return;
  }
  words[SL_BITMAP + fl] = words[SL_BITMAP + fl]! | (1 << sl);
  words[FL_BITMAP] = words[FL_BITMAP]! | (1 << fl);
}

/** Takes a free block of `size` words out of its list; a list that is empty then leaves the bitmaps. @realtime */
function removeFreeBlock(words: Int32Array, block: number, size: number): void {
  const units = (size >>> 1) + 32;
  const fl = 26 - Math.clz32(units);
  const sl = (units >>> fl) - 32;
  const list = BLOCKS + (fl << 5) + sl;
  const next = words[block + 2]!;
  if (words[list] !== block) {
    const previous = words[block + 3]!;
    if (words[previous + 2] !== block) throw corruptFreeList(words, block);
    words[previous + 2] = next;
    if (next !== 0) words[next + 3] = previous;
    return;
  }
  words[list] = next;
  if (next !== 0) return;
  const left = words[SL_BITMAP + fl]! & ~(1 << sl);
  words[SL_BITMAP + fl] = left;
  if (left === 0) words[FL_BITMAP] = words[FL_BITMAP]! & ~(1 << fl);
}

/**
 * The first list from `list` on that has a block, or -1: one step in the list's own octave, one over the octaves,
 * however many blocks there are. @realtime
 */
function searchSuitableBlock(words: Int32Array, list: number): number {
  let fl = list >>> SL_LOG2;
  // A shift counts modulo 32, so `list` needs no mask.
  let map = words[SL_BITMAP + fl]! & (-1 << list);
  if (map === 0) {
    const flMap = words[FL_BITMAP]! & (-2 << fl);
    if (flMap === 0) return -1;
    fl = 31 - Math.clz32(flMap & -flMap);
    map = words[SL_BITMAP + fl]!;
  }
  return (fl << SL_LOG2) + 31 - Math.clz32(map & -map);
}

/**
 * A free block of at least `need` words from the list whose blocks may or may not be that large, out of its list; 0:
 * none.
 */
function bestEffortSearch(words: Int32Array, need: number): number {
  if (!isArena(words)) throw unreachable(words);
  let block = words[BLOCKS + mappingInsert(need)] ?? 0;
  for (let looks = 0; block !== 0 && looks < MAX_LOOKS; looks++) {
    const size = words[block + 1]! ^ FREE;
    if (size >= need) {
      removeFreeBlock(words, block, size);
      return block;
    }
    block = words[block + 2]!;
  }
  return 0;
}

/**
 * Makes a block live that is out of its list: `need` words of its `size`, the rest (when it can stand alone) a free
 * block again. Answers the words it took. @realtime
 */
function splitBlock(words: Int32Array, block: number, size: number, need: number): number {
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
  insertFreeBlock(words, remainder, rest);
  return need;
}

/** Adds to the count of live words and keeps the peak. @realtime */
function countUsed(words: Int32Array, taken: number): void {
  const used = words[USED]! + taken;
  words[USED] = used;
  if (used > words[PEAK]!) words[PEAK] = used;
}

/** Words that must stay in front of an aligned payload in a block: 0, or enough for a free block of its own. */
function gapFor(block: number, base: number, align: number): number {
  const payload = base + (block + HEADER) * 4;
  let gap = (align - (payload % align)) % align;
  // An alignment below the smallest block's size needs more than one step to make room for it.
  while (gap > 0 && gap < MIN_BLOCK * 4) gap += align;
  return gap / 4;
}

/**
 * A live block of at least `need` words whose payload is aligned, counted from `base` bytes in front of the arena; what
 * is in front of it stays free. The pointer, or 0: nothing fits. @realtime
 */
export function memalign(words: Int32Array, need: number, align: number, base: number): number {
  if (!isArena(words)) throw unreachable(words);
  // From the exact size on first: the size that is certain to do may be far larger than what is free.
  let looks = 2 * MAX_LOOKS;
  let list = searchSuitableBlock(words, mappingInsert(need));
  for (; list >= 0 && looks > 0; list = searchSuitableBlock(words, list + 1)) {
    for (let block = words[BLOCKS + list]!; block !== 0 && looks-- > 0; block = words[block + 2]!) {
      const size = words[block + 1]! ^ FREE;
      const gap = gapFor(block, base, align);
      if (size >= need + gap) return takeAligned(words, block, size, gap, need);
    }
  }
  list = searchSuitableBlock(words, mappingSearch(need + align / 4 + MIN_BLOCK));
  if (list < 0) return 0;
  const block = words[BLOCKS + list]!;
  return takeAligned(words, block, words[block + 1]! ^ FREE, gapFor(block, base, align), need);
}

function takeAligned(words: Int32Array, block: number, size: number, gap: number, need: number): number {
  removeFreeBlock(words, block, size);
  let live = block;
  if (gap > 0) {
    live = block + gap;
    words[block + 1] = gap | FREE;
    words[live] = block | FREE;
    insertFreeBlock(words, block, gap);
  }
  countUsed(words, splitBlock(words, live, size - gap, need));
  words[LIVE]!++;
  return pointerTo(live);
}

/**
 * Gives a live block of `present` words `need` words in place, out of itself and the free block behind it; false: not
 * enough.
 * @realtime
 */
export function resizeBlock(words: Int32Array, block: number, present: number, need: number): boolean {
  const next = block + present;
  const following = words[next + 1]!;
  const beyond = (following & FREE) !== 0 ? following ^ FREE : 0;
  const total = present + beyond;
  if (need > total) return false;
  // Too little to stand alone, and nothing to merge it with: it stays.
  if (beyond === 0 && total - need < MIN_BLOCK) return true;
  const tagged = words[block + 1]! & TAGGED;
  if (beyond > 0) {
    removeFreeBlock(words, next, beyond);
    words[next + 1] = 0;
  }
  countUsed(words, splitBlock(words, block, total, need) - present);
  words[block + 1]! |= tagged;
  return true;
}

/**
 * First words of the segments, the one added last first. They do not overlap, so together they have no more words than
 * the arena: a list that runs in a circle ends. Throws `ERR_CORRUPTED`.
 */
export function* segmentsOf(words: Int32Array): IterableIterator<number> {
  let left = words.length;
  for (let segment = words[Control.SEGMENTS]!; segment > 0; segment = words[segment]!) {
    left -= Math.max(segmentWords(words, segment), SEGMENT_COST + MIN_BLOCK);
    if (!(left >= 0)) throw corrupt("its list of segments runs in a circle, or a segment reaches beyond the arena");
    yield segment;
  }
}

/**
 * Words of a segment, its header and sentinel included. They are stored odd, so that no wild pointer takes them for a
 * block's.
 */
export function segmentWords(words: Int32Array, segment: number): number {
  return words[segment + 1]! - 1;
}

/** Adds a segment of bytes as one free block. Throws `ERR_OUT_OF_RANGE`. */
export function addSegment(words: Int32Array, start: number, length: number): void {
  if (!isArena(words)) throw unreachable(words);
  const control = controlWords(words[Control.FL_COUNT]!) * 4;
  wholeNumber("start", start, control, words.length * 4);
  wholeNumber("length", length, (SEGMENT_COST + MIN_BLOCK) * 4, words.length * 4 - start);
  if (start % GRANULE !== 0) throw outOfRange("start", `a multiple of ${GRANULE}`, start);
  const segment = start >>> 2;
  const size = (length >>> 3) << 1;
  for (const other of segmentsOf(words)) {
    if (other < segment + size && segment < other + segmentWords(words, other)) {
      throw outOfRange("start", `such that the segment overlaps none (one begins at ${other * 4})`, start);
    }
  }
  const block = segment + 2;
  const free = size - SEGMENT_COST;
  words[segment] = words[Control.SEGMENTS]!;
  words[segment + 1] = size + 1;
  words[block] = 0;
  words[block + 1] = free | FREE;
  words[block + free] = block | FREE;
  words[block + free + 1] = 0;
  words[Control.SEGMENTS] = segment;
  words[Control.TOTAL]! += free;
  insertFreeBlock(words, block, free);
}

/**
 * Ends an arena in its bytes: no list has a block, no segment is known, and no header says that its block is live. So
 * every other view of the bytes comes to a slow path at its next call, and finds the format gone there. O(blocks).
 */
export function eraseArena(words: Int32Array): void {
  const root = words[Control.ROOT]! >>> 0;
  let segments = 0;
  for (let segment = words[Control.SEGMENTS]!; segment > 0; segment = words[segment]!) {
    // Shared memory may say anything: each step is within the words, and goes on.
    if (++segments > words.length || segment + 3 > words.length) break;
    const end = Math.min(segment + segmentWords(words, segment) - 2, words.length - 1);
    for (let block = segment + 2; block < end; ) {
      const size = words[block + 1]! & ~(FREE | TAGGED);
      words[block + 1] = 0;
      if (size < MIN_BLOCK) break;
      // The tables of size classes: no stack of theirs has an object either.
      if (pointerTo(block) === root) words.fill(0, block + HEADER, Math.min(block + size, end));
      block += size;
    }
  }
  words.fill(0, 0, controlWords(Math.min(words[Control.FL_COUNT]! >>> 0, flCountFor(words.length))));
}

/** Removes a segment that is one free block. Throws `ERR_OUT_OF_RANGE`, `ERR_IN_USE`. */
export function removeSegment(words: Int32Array, start: number): void {
  if (typeof start !== "number") throw wrongType("start", "the start of a segment", start);
  if (!isArena(words)) throw unreachable(words);
  const segment = start >>> 2;
  let link: number = Control.SEGMENTS;
  let steps = 0;
  while (words[link] !== segment || segment * 4 !== start) {
    link = words[link]!;
    if (!(link > 0)) throw outOfRange("start", "the start of a segment", start);
    if (++steps > words.length) throw corrupt("its list of segments runs in a circle");
  }
  const free = segmentWords(words, segment) - SEGMENT_COST;
  const block = segment + 2;
  if (words[block + 1] !== (free | FREE)) {
    throw new MillpondError(
      "ERR_IN_USE",
      `the segment at ${start} holds live blocks; free them, then remove it (holders() lists them)`,
    );
  }
  removeFreeBlock(words, block, free);
  // Pointers into it are foreign from now on.
  words[block + 1] = 0;
  words[link] = words[segment]!;
  words[Control.TOTAL]! -= free;
}
