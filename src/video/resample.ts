/**
 * Scales one component of a picture: a triangle filter whose base grows with the reduction, so that every source pixel
 * counts when a picture shrinks and neighbors are blended when it grows. Rows first across, then down; each source row
 * is filtered once. The filter that swscale calls bilinear.
 */

/** 8-bit samples, or 10 and 12 bits in two bytes. */
export type Samples = Uint8Array | Uint16Array;

/** Where the samples of one component lie, in units of its sample type. */
export interface Grid {
  /** First sample. */
  readonly offset: number;
  /** Units from one row to the next. */
  readonly stride: number;
  /** Units from one sample to the next. */
  readonly step: number;
  /** Samples in a row. */
  readonly width: number;
  /** Rows. */
  readonly height: number;
}

/** For each result the first source sample and the weights of it and its successors. */
interface Taps {
  readonly first: Int32Array;
  readonly weights: Float32Array;
  readonly count: number;
}

/**
 * A scaler of one component from one grid to another; keeps its tables and row buffers, so that a frame allocates
 * nothing.
 */
export class Resampler {
  readonly #from: Grid;
  readonly #to: Grid;
  readonly #factor: number;
  readonly #across: Taps;
  readonly #down: Taps;
  readonly #rows: Float32Array[];
  readonly #held: Int32Array;
  readonly #sum: Float32Array;
  readonly #isCopy: boolean;

  /** @param factor what values are multiplied by: 4 from 8 to 10 bits, 1/4 back */
  constructor(from: Grid, to: Grid, factor = 1) {
    this.#from = from;
    this.#to = to;
    this.#factor = factor;
    this.#isCopy = from.width === to.width && from.height === to.height && factor === 1;
    this.#across = tapsFor(from.width, to.width);
    this.#down = tapsFor(from.height, to.height);
    const kept = this.#isCopy ? 0 : this.#down.count;
    this.#rows = Array.from({ length: kept }, () => new Float32Array(to.width));
    this.#held = new Int32Array(kept);
    this.#sum = new Float32Array(this.#isCopy ? 0 : to.width);
  }

  /** Reads `source`, writes `target`. O(pixels of both). */
  run(source: Samples, target: Samples): void {
    if (this.#isCopy) copyGrid(source, this.#from, target, this.#to);
    else this.#scale(source, target);
  }

  #scale(source: Samples, target: Samples): void {
    const { first, weights, count } = this.#down;
    const { height, offset, stride, step, width } = this.#to;
    const sum = this.#sum;
    this.#held.fill(-1);
    for (let y = 0; y < height; y++) {
      sum.fill(0);
      for (let tap = 0; tap < count; tap++) {
        const weight = weights[y * count + tap]!;
        if (weight === 0) continue;
        addRow(sum, this.#row(source, first[y]! + tap), weight * this.#factor);
      }
      storeRow(sum, target, offset + y * stride, step, width);
    }
  }

  /** A source row, filtered across; the last few are kept, since neighboring results need them again. */
  #row(source: Samples, y: number): Float32Array {
    const place = y % this.#rows.length;
    const row = this.#rows[place]!;
    if (this.#held[place] === y) return row;
    this.#held[place] = y;
    const { offset, stride, step } = this.#from;
    filterRow(source, offset + y * stride, step, this.#across, row);
    return row;
  }
}

function filterRow(source: Samples, offset: number, step: number, taps: Taps, row: Float32Array): void {
  const { first, weights, count } = taps;
  if (count === 1) {
    for (let x = 0; x < row.length; x++) row[x] = source[offset + first[x]! * step]!;
    return;
  }
  for (let x = 0, w = 0; x < row.length; x++) {
    let at = offset + first[x]! * step;
    let sum = 0;
    for (let tap = 0; tap < count; tap++, w++, at += step) sum += weights[w]! * source[at]!;
    row[x] = sum;
  }
}

function addRow(sum: Float32Array, row: Float32Array, weight: number): void {
  for (let x = 0; x < sum.length; x++) sum[x]! += weight * row[x]!;
}

function storeRow(sum: Float32Array, target: Samples, offset: number, step: number, width: number): void {
  // Weights are positive and add up to one, so that no result leaves the range of its samples.
  for (let x = 0, at = offset; x < width; x++, at += step) target[at] = sum[x]! + 0.5;
}

function copyGrid(source: Samples, from: Grid, target: Samples, to: Grid): void {
  const { width, height } = to;
  for (let y = 0; y < height; y++) {
    const [a, b] = [from.offset + y * from.stride, to.offset + y * to.stride];
    if (from.step === 1 && to.step === 1) {
      target.set(source.subarray(a, a + width), b);
      continue;
    }
    for (let x = 0, i = a, j = b; x < width; x++, i += from.step, j += to.step) target[j] = source[i]!;
  }
}

/** The triangle over each result's place in the source; what falls over the edge counts for the last sample inside. */
function tapsFor(from: number, to: number): Taps {
  if (from === to) {
    return { first: Int32Array.from({ length: to }, (_, i) => i), weights: new Float32Array(to).fill(1), count: 1 };
  }
  const ratio = from / to;
  const base = Math.max(1, ratio);
  const count = Math.min(from, Math.floor(2 * base) + 1);
  const first = new Int32Array(to);
  const weights = new Float32Array(to * count);
  for (let i = 0; i < to; i++) {
    const center = (i + 0.5) * ratio - 0.5;
    const start = Math.min(Math.max(Math.ceil(center - base), 0), from - count);
    first[i] = start;
    let sum = 0;
    for (let s = Math.ceil(center - base); s <= center + base; s++) {
      const weight = 1 - Math.abs(s - center) / base;
      const place = Math.min(Math.max(s, 0), from - 1) - start;
      if (weight <= 0 || place >= count) continue;
      weights[i * count + place]! += weight;
      sum += weight;
    }
    for (let tap = 0; tap < count; tap++) weights[i * count + tap]! /= sum;
  }
  return { first, weights, count };
}
