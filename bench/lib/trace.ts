/**
 * The same pseudo-random choices as bench/native/bench.h makes: xorshift32 from the same seed, so that C and JS
 * replace the same objects and ask for the same sizes in the same order.
 */

/** Length of every table of choices: a power of two, so that walking it round is a mask. */
export const TRACE_LENGTH = 65_536;

/** TRACE_LENGTH numbers below `limit`. */
export function trace(limit: number): Int32Array {
  const choices = new Int32Array(TRACE_LENGTH);
  let state = 2_463_534_242;
  for (let i = 0; i < TRACE_LENGTH; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    choices[i] = (state >>> 0) % limit;
  }
  return choices;
}

/** Objects alive in the random replacement benchmark. */
export const LIVE_OBJECTS = 10_000;

/** Bytes in the frame benchmarks: 8 MiB, about one 1080p RGBA frame. */
export const FRAME_BYTES: number = 8 * 1024 * 1024;

/** The page cache's sizes: a plane of a small picture to a frame of a large one. */
export const PAGE_SIZES: readonly number[] = [64, 128, 512, 1024, 3072, 4096, 8192, 12_288].map((kib) => kib * 1024);
