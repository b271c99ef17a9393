/**
 * What a TLSF arena promises at worst, in numbers. Time is constant and small; memory is not: no allocator that does
 * not move its blocks has a bound that helps, and a reader who sizes a pool ought to see that (the figure is Robson's
 * for best fit, which TLSF shares; after the comparison in o1heap's documentation).
 */
import { wholeNumber } from "../../util/validate.ts";
import { GRANULE } from "./layout.ts";

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
