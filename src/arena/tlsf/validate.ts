/** What an arena says about itself: its blocks in order, its counters, and whether all of it still agrees. */

import { corrupted } from "./corrupted.ts";
import { detached, overrun } from "./errors.ts";
import { Control, FREE, listOf, MAGIC, MIN_BLOCK, pointerTo, SIZE_MASK, STEP_BITS, TAGGED } from "./layout.ts";
import { regionsOf, regionWords } from "./regions.ts";
import type { TlsfArena } from "./tlsf-arena.ts";

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
  /** Bytes of the arena that no block can take: control, list heads, region ends. */
  readonly overhead: number;
}

/** The blocks of an arena in the order of their addresses, region by region. Throws `ERR_CORRUPTED`, `ERR_DETACHED`. */
export function* walkBlocks(arena: TlsfArena): IterableIterator<ArenaBlock> {
  const { words } = arena;
  if (words.length === 0) throw detached();
  for (const region of regionsOf(words)) {
    const end = region + regionWords(words, region) - 2;
    let previous = 0;
    for (let block = region + 2; block < end; ) {
      const word = words[block + 1]!;
      const size = word & SIZE_MASK;
      if (size < MIN_BLOCK || block + size > end) throw overrun(words, region, previous, block);
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

/** The accounts of an arena. */
export function arenaStats(arena: TlsfArena): ArenaStats {
  const { words } = arena;
  if (words.length === 0) throw detached();
  let freeBlocks = 0;
  let largest = 0;
  for (const { free, size } of walkBlocks(arena)) {
    if (!free) continue;
    freeBlocks++;
    largest = Math.max(largest, size);
  }
  const total = words[Control.TOTAL]!;
  return {
    capacity: total * 4,
    used: arena.used,
    available: arena.available,
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
export function validateArena(arena: TlsfArena): void {
  const { words } = arena;
  if (words.length === 0) throw detached();
  if (words[Control.MAGIC] !== MAGIC || words[Control.LENGTH] !== words.length) {
    throw corrupted("its first words were overwritten; something wrote in front of its blocks");
  }
  const found: Found = { used: 0, live: 0, total: 0, free: new Map() };
  let regions = 0;
  for (const region of regionsOf(words)) {
    // No arena has more regions than words: a list that runs in a circle would never end.
    if (++regions > words.length) throw corrupted("its list of regions runs in a circle");
    validateRegion(words, region, found);
  }
  validateLists(words, found.free);
  const counters: readonly (readonly [string, number, number])[] = [
    ["used words", words[Control.USED]!, found.used],
    ["live blocks", words[Control.LIVE]!, found.live],
    ["words of its regions", words[Control.TOTAL]!, found.total],
  ];
  for (const [name, counted, walked] of counters) {
    if (counted !== walked) throw corrupted(`it counts ${counted} ${name}, and the walk finds ${walked}`);
  }
}

function validateRegion(words: Int32Array, region: number, found: Found): void {
  const end = region + regionWords(words, region) - 2;
  if (end > words.length || end <= region) throw corrupted(`the region at ${region * 4} reaches beyond the arena`);
  let previous = 0;
  let previousFree = false;
  let block = region + 2;
  while (block < end) {
    const size = words[block + 1]! & SIZE_MASK;
    const isFree = (words[block + 1]! & FREE) !== 0;
    const expected = previous | (previousFree ? FREE : 0);
    if (words[block] !== expected || size < MIN_BLOCK || block + size > end) {
      throw overrun(words, region, previous, block);
    }
    if (isFree && previousFree) throw corrupted(`two free blocks touch at byte ${block * 4}`, pointerTo(block));
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
    throw overrun(words, region, previous, end);
  }
}

function validateLists(words: Int32Array, free: ReadonlyMap<number, number>): void {
  const rows = words[Control.ROWS]!;
  let listed = 0;
  let rowMap = 0;
  for (let row = 0; row < 32; row++) {
    let map = 0;
    for (let step = 0; step < 32 && row < rows; step++) {
      const list = (row << STEP_BITS) + step;
      let previous = 0;
      for (let block = words[Control.HEADS + list]!; block !== 0; block = words[block + 2]!) {
        map |= 1 << step;
        const size = free.get(block);
        if (size === undefined) {
          throw corrupted(
            `list ${list} leads to byte ${block * 4}, where no free block begins: a free block was written to`,
          );
        }
        if (listOf(size) !== list) throw corrupted(`a free block of ${size * 4} bytes is in list ${list}`);
        if (previous !== 0 && words[block + 3] !== previous) {
          throw corrupted(
            `the free block ${pointerTo(block)} was written to: its back link is wrong`,
            pointerTo(block),
          );
        }
        if (++listed > free.size) throw corrupted(`list ${list} runs in a circle: a free block was written to`);
        previous = block;
      }
    }
    if (map !== words[Control.LIST_MAPS + row]) throw corrupted(`the map of row ${row} and its lists differ`);
    if (map !== 0) rowMap |= 1 << row;
  }
  if (rowMap !== words[Control.ROW_MAP]) throw corrupted("the map of rows and the rows differ");
  if (listed !== free.size) throw corrupted(`${free.size} blocks are free, and ${listed} are in lists`);
}
