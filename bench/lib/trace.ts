/**
 * The same pseudo-random choices as bench/native/bench.h makes: xorshift32 from the same seed, so that C and JS
 * replace the same objects and ask for the same sizes in the same order.
 */

/** Length of every table of choices: a power of two, so that walking it round is a mask. */
export const TRACE_LENGTH = 65_536;

/** TRACE_LENGTH numbers below `limit`. */
export function trace(limit: number): Int32Array {
  return numbers(2_463_534_242, (random) => random % limit);
}

/**
 * TRACE_LENGTH sizes from 16 bytes to 64 KiB: an octave at random, then a size at random in it. The mean is 8,190
 * bytes, so that 10,000 live blocks are 82 MB.
 */
export function traceSizes(): Int32Array {
  return numbers(88_675_123, (random) => {
    const octave = 1 << (4 + (random % 12));
    return octave + ((random >>> 8) & (octave - 1));
  });
}

function numbers(seed: number, choose: (random: number) => number): Int32Array {
  const table = new Int32Array(TRACE_LENGTH);
  let state = seed;
  for (let i = 0; i < TRACE_LENGTH; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    table[i] = choose(state >>> 0);
  }
  return table;
}

/** Objects alive in the random replacement benchmark. */
export const LIVE_OBJECTS = 10_000;

/** Replacements that a heap of mixed sizes has behind it when it is measured: twice its live blocks. */
export const SETTLE: number = 2 * LIVE_OBJECTS;

/** Bytes in the frame benchmarks: 8 MiB, about one 1080p RGBA frame. */
export const FRAME_BYTES: number = 8 * 1024 * 1024;

/** The page cache's sizes: a plane of a small picture to a frame of a large one. */
export const PAGE_SIZES: readonly number[] = [64, 128, 512, 1024, 3072, 4096, 8192, 12_288].map((kib) => kib * 1024);
