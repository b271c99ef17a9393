/**
 * What the words of an arena say about it: its blocks in order, its counters, whether all of it still agrees, and what
 * a wrong pointer points at. All of it walks over the blocks.
 */
import { MillpondError } from "../../util/errors.ts";
import { show } from "../../util/validate.ts";
import { segmentsOf, segmentWords } from "./core.ts";
import { badPointer, corrupt, isArena, isClosed, overrun, unreachable } from "./errors.ts";
import {
  Control,
  FREE,
  GRANULE,
  MAGIC,
  MIN_BLOCK,
  mappingInsert,
  pointerTo,
  SIZE_MASK,
  SL_LOG2,
  TAGGED,
} from "./layout.ts";

/** A block of an arena, as {@link TlsfArena.blocks} shows it. */
export interface ArenaBlock {
  /** Where its payload begins. */
  readonly pointer: number;
  /** Bytes of its payload. */
  readonly size: number;
  /** Whether it is free. */
  readonly free: boolean;
  /** Whether it is set apart by {@link TlsfArena.tag}. */
  readonly tagged: boolean;
}

/** A snapshot of an arena's accounts; every figure is exact. */
export interface ArenaStats {
  /** Bytes that blocks can take: `used + available`. */
  readonly capacity: number;
  /** Bytes in live blocks, 8 of header each included. */
  readonly used: number;
  /** Bytes in free blocks, 8 of header each included. */
  readonly available: number;
  /** The most that `used` has been. */
  readonly peak: number;
  /** The largest payload of one free block; 0 when none is free. */
  readonly largest: number;
  /** Live blocks. */
  readonly liveBlocks: number;
  /** Free blocks. */
  readonly freeBlocks: number;
  /** Bytes of the arena that no block can take: control, list heads, segment ends. */
  readonly overhead: number;
}

/**
 * The blocks of an arena in the order of their addresses, segment by segment. Throws `ERR_CORRUPTED`, `ERR_DETACHED`.
 */
export function* walkBlocks(words: Int32Array): IterableIterator<ArenaBlock> {
  if (isClosed(words)) return;
  if (words.length === 0) throw unreachable(words);
  for (const segment of segmentsOf(words)) {
    const end = segment + segmentWords(words, segment) - 2;
    let previous = 0;
    for (let block = segment + 2; block < end; ) {
      const word = words[block + 1]!;
      const size = word & SIZE_MASK;
      if (size < MIN_BLOCK || block + size > end) throw overrun(words, segment, previous, block);
      yield {
        pointer: pointerTo(block),
        size: (size - 2) * 4,
        free: (word & FREE) !== 0,
        tagged: (word & TAGGED) !== 0,
      };
      previous = block;
      block += size;
    }
  }
}

const NOTHING: ArenaStats = /* @__PURE__ */ Object.freeze({
  capacity: 0,
  used: 0,
  available: 0,
  peak: 0,
  largest: 0,
  liveBlocks: 0,
  freeBlocks: 0,
  overhead: 0,
});

/** The accounts of an arena; one that was closed has nothing. */
export function arenaStats(words: Int32Array): ArenaStats {
  if (isClosed(words)) return { ...NOTHING };
  if (words.length === 0) throw unreachable(words);
  let freeBlocks = 0;
  let largest = 0;
  for (const { free, size } of walkBlocks(words)) {
    if (!free) continue;
    freeBlocks++;
    largest = Math.max(largest, size);
  }
  const total = words[Control.TOTAL]!;
  const used = words[Control.USED]!;
  return {
    capacity: total * 4,
    used: used * 4,
    available: (total - used) * 4,
    peak: words[Control.PEAK]! * 4,
    largest,
    liveBlocks: words[Control.LIVE]!,
    freeBlocks,
    overhead: (words.length - total) * 4,
  };
}

interface Found {
  used: number;
  live: number;
  total: number;
  /** Free blocks by position, with their sizes. */
  readonly free: Map<number, number>;
}

/** Compares every header, list, map and counter with every other. Throws `ERR_CORRUPTED`, `ERR_DETACHED`. */
export function validateArena(words: Int32Array): void {
  if (isClosed(words)) return;
  if (words.length === 0) throw unreachable(words);
  if (words[Control.MAGIC] !== MAGIC || words[Control.LENGTH] !== words.length || (words[Control.EPOCH]! & 1) === 0) {
    throw corrupt("its first words were overwritten; something wrote in front of its blocks");
  }
  const found: Found = { used: 0, live: 0, total: 0, free: new Map() };
  for (const segment of segmentsOf(words)) validateSegment(words, segment, found);
  validateLists(words, found.free);
  const counters: readonly (readonly [string, number, number])[] = [
    ["used words", words[Control.USED]!, found.used],
    ["live blocks", words[Control.LIVE]!, found.live],
    ["words of its segments", words[Control.TOTAL]!, found.total],
  ];
  for (const [name, counted, walked] of counters) {
    if (counted !== walked) throw corrupt(`it counts ${counted} ${name}, and the walk finds ${walked}`);
  }
}

function validateSegment(words: Int32Array, segment: number, found: Found): void {
  const end = segment + segmentWords(words, segment) - 2;
  if (end > words.length || end <= segment) throw corrupt(`the segment at ${segment * 4} reaches beyond the arena`);
  let previous = 0;
  let previousFree = false;
  let block = segment + 2;
  while (block < end) {
    const size = words[block + 1]! & SIZE_MASK;
    const isFree = (words[block + 1]! & FREE) !== 0;
    const expected = previous | (previousFree ? FREE : 0);
    if (words[block] !== expected || size < MIN_BLOCK || block + size > end) {
      throw overrun(words, segment, previous, block);
    }
    if (isFree && previousFree) throw corrupt(`two free blocks touch at byte ${block * 4}`, pointerTo(block));
    if (isFree) found.free.set(block, size);
    else {
      found.used += size;
      found.live++;
    }
    found.total += size;
    previous = block;
    previousFree = isFree;
    block += size;
  }
  if (words[end] !== (previous | (previousFree ? FREE : 0)) || words[end + 1] !== 0) {
    throw overrun(words, segment, previous, end);
  }
}

function validateLists(words: Int32Array, free: ReadonlyMap<number, number>): void {
  const flCount = words[Control.FL_COUNT]!;
  let listed = 0;
  let flBitmap = 0;
  for (let fl = 0; fl < 32; fl++) {
    let slBitmap = 0;
    for (let sl = 0; sl < 32 && fl < flCount; sl++) {
      const list = (fl << SL_LOG2) + sl;
      let previous = 0;
      for (let block = words[Control.BLOCKS + list]!; block !== 0; block = words[block + 2]!) {
        slBitmap |= 1 << sl;
        const size = free.get(block);
        if (size === undefined) {
          throw corrupt(
            `list ${list} leads to byte ${block * 4}, where no free block begins: a free block was written to`,
          );
        }
        if (mappingInsert(size) !== list) throw corrupt(`a free block of ${size * 4} bytes is in list ${list}`);
        if (previous !== 0 && words[block + 3] !== previous) {
          throw corrupt(`the free block ${pointerTo(block)} was written to: its back link is wrong`, pointerTo(block));
        }
        if (++listed > free.size) throw corrupt(`list ${list} runs in a circle: a free block was written to`);
        previous = block;
      }
    }
    if (slBitmap !== words[Control.SL_BITMAP + fl]) throw corrupt(`the bitmap of octave ${fl} and its lists differ`);
    if (slBitmap !== 0) flBitmap |= 1 << fl;
  }
  if (flBitmap !== words[Control.FL_BITMAP]) throw corrupt("the bitmap of octaves and the octaves differ");
  if (listed !== free.size) throw corrupt(`${free.size} blocks are free, and ${listed} are in lists`);
}

/** What a pointer that is not live really is. `verb`: free, use, resize ... */
export function misuse(words: Int32Array, pointer: number, verb: string, owner = ""): MillpondError {
  if (!isArena(words)) return unreachable(words);
  if (typeof pointer !== "number") return badPointer(pointer);
  const name = `cannot ${verb} ${show(pointer)}${owner}`;
  const foreign = (what: string): MillpondError =>
    new MillpondError("ERR_FOREIGN_RELEASE", `${name}: ${what}; ${verb} what alloc() gave, unchanged`, { pointer });
  if (!Number.isInteger(pointer) || pointer <= 0 || pointer % GRANULE !== 0) {
    return foreign(`it is not a pointer (whole, positive, a multiple of ${GRANULE})`);
  }
  for (const segment of segmentsOf(words)) {
    const end = segment + segmentWords(words, segment) - 2;
    if (pointer < segment * 4 || pointer > end * 4) continue;
    let previous = 0;
    for (let block = segment + 2; block < end; ) {
      const word = words[block + 1]!;
      const size = word & SIZE_MASK;
      if (size < 4 || block + size > end || (words[block]! & ~FREE) !== previous)
        return overrun(words, segment, previous, block);
      const payload = pointerTo(block);
      if (pointer < payload + size * 4 - 8) return classify(words, block, word, payload, pointer, name, foreign, verb);
      previous = block;
      block += size;
    }
    return overrunOrForeign(words, segment, end, previous, foreign);
  }
  return foreign("it lies in no segment of this arena");
}

function overrunOrForeign(
  words: Int32Array,
  segment: number,
  end: number,
  previous: number,
  foreign: (what: string) => MillpondError,
): MillpondError {
  return (words[end]! & ~FREE) !== previous || words[end + 1] !== 0
    ? overrun(words, segment, previous, end)
    : foreign("it lies behind the last block");
}

function classify(
  words: Int32Array,
  block: number,
  word: number,
  payload: number,
  pointer: number,
  name: string,
  foreign: (what: string) => MillpondError,
  verb: string,
): MillpondError {
  if ((word & FREE) !== 0) {
    const code = verb === "free" ? "ERR_DOUBLE_RELEASE" : "ERR_USE_AFTER_RELEASE";
    return new MillpondError(code, `${name}: it is free already; find the first free() of it`, { pointer });
  }
  if (pointer !== payload) {
    return foreign(pointer < payload ? "it points at a block's header" : `it points into the block at ${payload}`);
  }
  if ((word & TAGGED) !== 0) {
    return foreign(
      words[Control.ROOT] === 0
        ? "this block belongs to a Memory, or was set apart by tag(); release that"
        : "this block holds the objects or tables of a SizeClassArena; free() the objects there",
    );
  }
  const size = word & SIZE_MASK;
  if (words[block + size] !== block) {
    return new MillpondError(
      "ERR_CORRUPTED",
      `${name}: the header behind this block of ${(size - 2) * 4} bytes was overwritten: the block was overrun`,
      { pointer },
    );
  }
  return foreign("it is not a live block");
}
