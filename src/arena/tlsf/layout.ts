/**
 * Where an arena keeps what it knows: all of it in the buffer that it divides, as 32-bit words counted from the arena's
 * start, so that a second view (another thread's, another process's, a copy) needs nothing but the bytes. The algorithm
 * is Masmano's TLSF: two-level segregated fit.
 *
 * ```
 *   arena     | control: 48 words | blocks: 32 an octave | segment ................................ | segment ... |
 *   segment   |next|words+1| block | block | ... | block | sentinel |
 *   block     |prev block + previous is free|words + tagged + free| payload .................. |
 *   free one  |prev block                   |words           + 1  | next free | previous free | ...
 *   pointer                                                       ^ bytes from the arena's start; never 0
 * ```
 * Sizes in headers count words, the header included; they are even, so the lowest bit is free for a flag, and so are
 * block positions. A header that a merge swallowed has size 0: a stale pointer to it is told from a live one.
 */
import { wholeNumber } from "../../util/validate.ts";

/** "MPA1": an arena of this layout begins here. */
export const MAGIC = 0x4d504131;

/** Odd, like every first word behind a position that a wild pointer may name: no block has an odd size. */
export const FORMAT = 3;

/** Words of the control part. */
export const Control = {
  MAGIC: 0,
  FORMAT: 1,
  /** Words of the arena. */
  LENGTH: 2,
  /** First-level indices that have list heads. */
  FL_COUNT: 3,
  /** First word of the segment that was added last; 0: none. */
  SEGMENTS: 4,
  /** Words in live blocks, their headers included. */
  USED: 5,
  /** Live blocks. */
  LIVE: 6,
  /** The most that USED has been. */
  PEAK: 7,
  /** Words that blocks may take: all segments without their headers and sentinels. */
  TOTAL: 8,
  /** A pointer that a user of the arena may leave for others who attach. */
  ROOT: 9,
  /** One bit for each first-level index that has a free block. */
  FL_BITMAP: 10,
  /** Which of the arenas that were ever made in these bytes this one is; see {@link newEpoch}. */
  EPOCH: 12,
  /**
   * 32 words, one a first-level index: one bit for each of its lists that has a free block. Words beyond FL_COUNT stay
   * zero.
   */
  SL_BITMAP: 16,
  /** List heads, 32 a first-level index. */
  BLOCKS: 48,
} as const;

/**
 * log2 of the lists of an octave. With 32 a search rounds up by at most 1/32, and a second-level bitmap is one word.
 */
export const SL_LOG2 = 5;

/** Words of a block's header. */
export const HEADER = 2;

/** Words of the smallest block: its header and the two links that it needs when it is free. */
export const MIN_BLOCK = 4;

/** Words of a segment that are in no block: its own header and the sentinel at its end. */
export const SEGMENT_COST = 4;

/** Bytes between two possible pointers, and the alignment of every payload: what a Float64Array needs. */
export const GRANULE = 8;

/** Set in the second header word of a free block. */
export const FREE = 1;

/**
 * Set in the second header word of a live block that does not belong to the integer interface; no size reaches this
 * bit.
 */
export const TAGGED: number = 1 << 30;

/** The size in a second header word. */
export const SIZE_MASK = 0x3ffffffe;

/**
 * 4 GiB less a page: word positions stay below 2^30, a small integer in every engine, and sizes below {@link TAGGED}.
 */
export const MAX_ARENA: number = 2 ** 32 - 4096;

/**
 * The list that a free block of `words` belongs to, as `fl * 32 + sl`. Sizes are taken 32 granules larger than they
 * are: the first octave then needs no case of its own, and the steps of small sizes, one granule up to 256 bytes, are
 * as fine as can be. @realtime
 */
export function mappingInsert(words: number): number {
  const units = (words >>> 1) + 32;
  const fl = 26 - Math.clz32(units);
  return (fl << SL_LOG2) + (units >>> fl) - 32;
}

/** The first list all of whose blocks hold `words`: that of the size rounded up to the next step. @realtime */
export function mappingSearch(words: number): number {
  const units = (words >>> 1) + 32;
  return mappingInsert((units + (1 << (26 - Math.clz32(units))) - 33) << 1);
}

/** First-level indices that blocks of at most `words` need. */
export function flCountFor(words: number): number {
  return (mappingInsert(words) >>> SL_LOG2) + 1;
}

/** Words of the control part and the list heads, in front of the first segment. */
export function controlWords(flCount: number): number {
  return Control.BLOCKS + (flCount << SL_LOG2);
}

/** Words of a block for a payload of `size` bytes. @realtime */
export function blockWords(size: number): number {
  // Never below the smallest block: the header is 8 bytes and a payload is at least one granule.
  return ((size + HEADER * 4 + GRANULE - 1) >>> 3) << 1;
}

/** The pointer to a block's payload. @realtime */
export function pointerTo(block: number): number {
  return ((block + HEADER) << 2) >>> 0;
}

/**
 * A number that tells an arena from every other one that its bytes hold before or after it: a view that is kept over a
 * close() must not take the next arena for its own. Random, since the bytes are the caller's between the two, who may
 * write anything there. Odd, so that it is neither a block position nor zero; below 2^30, a small integer in every
 * engine.
 */
export function newEpoch(): number {
  return Math.floor(Math.random() * 2 ** 30) | 1;
}

/** The words of an arena that was closed; a detached one has other empty words. */
export const CLOSED: Int32Array = new Int32Array(0);

/*
 * What a TLSF arena promises at worst, in numbers. Time is constant and small; memory is not: no allocator that does
 * not move its blocks has a bound that helps, and a reader who sizes a pool ought to see that (the figure is Robson's
 * for best fit, which TLSF shares; after the comparison in o1heap's documentation).
 */

/**
 * The most words of the arena that one call reads and writes, however many blocks there are; a test counts them.
 * The exact-fit looks of an arena that is about to be full are included.
 */
export const STEPS = {
  /** {@link TlsfArena.alloc}. */
  alloc: 48,
  /** {@link TlsfArena.free}. */
  free: 40,
  /** {@link TlsfArena.resize}. */
  resize: 40,
} as const;

/** What a load of blocks needs at worst. */
export interface WorstCase {
  /** Bytes with which no request can fail, whatever the order of calls. */
  readonly bytes: number;
  /** The most words that one call reads and writes, by call, with any number of blocks. */
  readonly steps: { readonly alloc: number; readonly free: number; readonly resize: number };
  /** All of it in words, to be printed. */
  readonly text: string;
}

/**
 * The worst case of an arena for at most `peak` live bytes in blocks of at most `largest` bytes: `peak * (largest -
 * 2)`, both in granules of 8 bytes. With blocks of one size it is at most the peak. Throws `ERR_OUT_OF_RANGE`.
 */
export function worstCase(peak: number, largest: number, smallest: number = GRANULE): WorstCase {
  wholeNumber("peak", peak, 1);
  wholeNumber("largest", largest, 1, peak);
  wholeNumber("smallest", smallest, 1, largest);
  // Granules as large as the smallest request: nothing smaller is ever asked for. A header comes with each block.
  const unit = Math.ceil((smallest + GRANULE) / GRANULE) * GRANULE;
  const units = Math.ceil((peak + (peak / smallest) * GRANULE) / unit);
  const n = Math.ceil((largest + GRANULE) / unit);
  const bytes = units * Math.max(n - 2, 1) * unit;
  const text =
    `time: at most ${STEPS.alloc} words read or written to allocate, ${STEPS.free} to free, with any number of blocks; ` +
    `memory: ${bytes} bytes hold ${peak} live bytes in blocks of ${smallest} to ${largest} in every order of calls` +
    (n <= 3
      ? " (blocks of about one size cannot fragment)"
      : ` (${(bytes / peak).toFixed(0)} times the peak; a usual load needs 1.1 to 1.4)`);
  return { bytes, steps: STEPS, text };
}
