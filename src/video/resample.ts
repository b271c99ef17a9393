/**
 * Scales one component of a picture: a triangle filter whose base grows with the reduction, so that every source pixel
 * counts when a picture shrinks and neighbors are blended when it grows. First down, then across, in whole numbers. The
 * filter that swscale calls bilinear.
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

/** For each result the first source sample and the weights of it and its successors, which add up to {@link ONE}. */
interface Taps {
  readonly first: Int32Array;
  readonly weights: Int32Array;
  readonly count: number;
}

/** Weights have 14 bits behind the point, as swscale's. */
const WEIGHT_BITS = 14;
const ONE = 1 << WEIGHT_BITS;
/** Between the two directions samples have 15 bits, so that a weighted sum of them stays below 2^30. */
const MIDDLE_BITS = 15;

/**
 * A scaler from one grid to another, of one component or of all that lie side by side; keeps its tables and one row, so
 * that a frame allocates nothing.
 */
export class Resampler {
  readonly #from: Grid;
  readonly #to: Grid;
  readonly #fromBits: number;
  readonly #toBits: number;
  readonly #lanes: number;
  readonly #across: Taps;
  readonly #down: Taps;
  readonly #row: Int32Array;
  readonly #isCopy: boolean;

  /**
   * @param fromBits significant bits of the source's samples: 8, 10 or 12
   * @param toBits those of the target's
   * @param lanes components that are scaled alike: 1, or `step` of both grids
   */
  constructor(from: Grid, to: Grid, fromBits = 8, toBits: number = fromBits, lanes = 1) {
    this.#from = from;
    this.#to = to;
    this.#fromBits = fromBits;
    this.#toBits = toBits;
    this.#lanes = lanes;
    this.#isCopy = from.width === to.width && from.height === to.height && fromBits === toBits;
    this.#across = tapsFor(from.width, to.width);
    this.#down = tapsFor(from.height, to.height);
    this.#row = new Int32Array(this.#isCopy ? 0 : from.width * lanes);
  }

  /** Reads `source`, writes `target`. O(pixels of both). */
  run(source: Samples, target: Samples): void {
    if (this.#isCopy) copyGrid(source, this.#from, target, this.#to, this.#lanes);
    else this.#scale(source, target);
  }

  /** Down first: that way the long inner loops walk along rows. */
  #scale(source: Samples, target: Samples): void {
    const down = this.#down;
    const across = this.#across;
    const row = this.#row;
    const lanes = this.#lanes;
    const from = this.#from;
    const { offset, stride, step } = from;
    const to = this.#to;
    const shift = this.#fromBits + WEIGHT_BITS - MIDDLE_BITS;
    // Lanes lie side by side in the rows, and in their sum.
    const pace = lanes > 1 ? 1 : step;
    for (let y = 0; y < to.height; y++) {
      sumRows(source, offset + down.first[y]! * stride, stride, pace, down, y * down.count, shift, row);
      const at = to.offset + y * to.stride;
      for (let lane = 0; lane < lanes; lane++) {
        if (from.width === to.width) storeRow(row, lane, lanes, MIDDLE_BITS - this.#toBits, target, at + lane, to.step);
        else filterRow(row, lane, lanes, across, WEIGHT_BITS + MIDDLE_BITS - this.#toBits, target, at + lane, to.step);
      }
    }
  }
}

/**
 * The weighted sum of some rows, with {@link MIDDLE_BITS}: eight or four rows at a time, because it is the loads and
 * stores of the sum that cost.
 */
function sumRows(
  source: Samples,
  offset: number,
  stride: number,
  pace: number,
  { weights, count }: Taps,
  firstWeight: number,
  shift: number,
  row: Int32Array,
): void {
  for (let tap = 0; tap < count; ) {
    const at = offset + tap * stride;
    const w = firstWeight + tap;
    const isFirst = tap === 0;
    const rows = isFirst && pace === 1 && count >= 8 ? 8 : tap + 4 <= count ? 4 : tap + 2 <= count ? 2 : 1;
    tap += rows;
    const bits = tap === count ? shift : 0;
    if (rows === 8) sumEight(source, at, stride, weights, w, bits, row);
    else if (rows === 4) sumFour(source, at, stride, pace, weights, w, isFirst, bits, row);
    else
      sumTwo(
        source,
        at,
        rows === 2 ? stride : 0,
        pace,
        weights[w]!,
        rows === 2 ? weights[w + 1]! : 0,
        isFirst,
        bits,
        row,
      );
  }
}

/** What is added before a shift, so that it rounds. */
function halfOf(shift: number): number {
  return shift === 0 ? 0 : 1 << (shift - 1);
}

function sumEight(
  source: Samples,
  at: number,
  stride: number,
  weights: Int32Array,
  w: number,
  shift: number,
  row: Int32Array,
): void {
  const [a, b, c, d] = [weights[w]!, weights[w + 1]!, weights[w + 2]!, weights[w + 3]!];
  const [e, f, g, h] = [weights[w + 4]!, weights[w + 5]!, weights[w + 6]!, weights[w + 7]!];
  const [i, j, k, l] = [at, at + stride, at + 2 * stride, at + 3 * stride];
  const [m, n, o, p] = [at + 4 * stride, at + 5 * stride, at + 6 * stride, at + 7 * stride];
  const half = halfOf(shift);
  const { length } = row;
  for (let x = 0; x < length; x++) {
    const sum =
      Math.imul(a, source[i + x]!) +
      Math.imul(b, source[j + x]!) +
      Math.imul(c, source[k + x]!) +
      Math.imul(d, source[l + x]!) +
      Math.imul(e, source[m + x]!) +
      Math.imul(f, source[n + x]!) +
      Math.imul(g, source[o + x]!) +
      Math.imul(h, source[p + x]!);
    row[x] = (sum + half) >> shift;
  }
}

function sumFour(
  source: Samples,
  at: number,
  stride: number,
  pace: number,
  weights: Int32Array,
  w: number,
  isFirst: boolean,
  shift: number,
  row: Int32Array,
): void {
  const [a, b, c, d] = [weights[w]!, weights[w + 1]!, weights[w + 2]!, weights[w + 3]!];
  const half = halfOf(shift);
  let [i, j, k, l] = [at, at + stride, at + 2 * stride, at + 3 * stride];
  for (let x = 0; x < row.length; x++, i += pace, j += pace, k += pace, l += pace) {
    const sum =
      Math.imul(a, source[i]!) + Math.imul(b, source[j]!) + Math.imul(c, source[k]!) + Math.imul(d, source[l]!);
    row[x] = ((isFirst ? sum : row[x]! + sum) + half) >> shift;
  }
}

function sumTwo(
  source: Samples,
  at: number,
  stride: number,
  pace: number,
  a: number,
  b: number,
  isFirst: boolean,
  shift: number,
  row: Int32Array,
): void {
  const half = halfOf(shift);
  for (let x = 0, i = at, j = at + stride; x < row.length; x++, i += pace, j += pace) {
    const sum = Math.imul(a, source[i]!) + Math.imul(b, source[j]!);
    row[x] = ((isFirst ? sum : row[x]! + sum) + half) >> shift;
  }
}

/** A row with {@link MIDDLE_BITS}, filtered across into samples: one lane of those that lie side by side in it. */
function filterRow(
  row: Int32Array,
  lane: number,
  lanes: number,
  { first, weights, count }: Taps,
  shift: number,
  target: Samples,
  offset: number,
  step: number,
): void {
  if (lanes > 1) filterLane(row, lane, lanes, first, weights, count, shift, target, offset, step);
  else if (count === 2) blendPairs(row, first, weights, shift, target, offset, step);
  else filterPlain(row, first, weights, count, shift, target, offset, step);
}

// In all three the weights are positive and add up to one, so that no result leaves the range of its samples.

function blendPairs(
  row: Int32Array,
  first: Int32Array,
  weights: Int32Array,
  shift: number,
  target: Samples,
  offset: number,
  step: number,
): void {
  const half = halfOf(shift);
  const { length } = first;
  for (let x = 0, w = 0, at = offset; x < length; x++, w += 2, at += step) {
    const from = first[x]!;
    target[at] = (Math.imul(weights[w]!, row[from]!) + Math.imul(weights[w + 1]!, row[from + 1]!) + half) >> shift;
  }
}

function filterPlain(
  row: Int32Array,
  first: Int32Array,
  weights: Int32Array,
  count: number,
  shift: number,
  target: Samples,
  offset: number,
  step: number,
): void {
  const half = halfOf(shift);
  const { length } = first;
  for (let x = 0, w = 0, at = offset; x < length; x++, at += step) {
    let from = first[x]!;
    let sum = half;
    const end = w + count;
    for (; w + 3 < end; w += 4, from += 4) {
      sum =
        (sum +
          Math.imul(weights[w]!, row[from]!) +
          Math.imul(weights[w + 1]!, row[from + 1]!) +
          Math.imul(weights[w + 2]!, row[from + 2]!) +
          Math.imul(weights[w + 3]!, row[from + 3]!)) |
        0;
    }
    for (; w < end; w++, from++) sum = (sum + Math.imul(weights[w]!, row[from]!)) | 0;
    target[at] = sum >> shift;
  }
}

function filterLane(
  row: Int32Array,
  lane: number,
  lanes: number,
  first: Int32Array,
  weights: Int32Array,
  count: number,
  shift: number,
  target: Samples,
  offset: number,
  step: number,
): void {
  const half = halfOf(shift);
  const { length } = first;
  for (let x = 0, w = 0, at = offset; x < length; x++, at += step) {
    let from = (lane + Math.imul(first[x]!, lanes)) | 0;
    let sum = half;
    for (const end = w + count; w < end; w++, from += lanes) {
      sum = (sum + Math.imul(weights[w]!, row[from]!)) | 0;
    }
    target[at] = sum >> shift;
  }
}

function storeRow(
  row: Int32Array,
  lane: number,
  lanes: number,
  shift: number,
  target: Samples,
  offset: number,
  step: number,
): void {
  const half = halfOf(shift);
  for (let i = lane, at = offset; i < row.length; i += lanes, at += step) target[at] = (row[i]! + half) >> shift;
}

function copyGrid(source: Samples, from: Grid, target: Samples, to: Grid, lanes: number): void {
  const { height } = to;
  const width = to.width * lanes;
  for (let y = 0; y < height; y++) {
    const [a, b] = [from.offset + y * from.stride, to.offset + y * to.stride];
    if ((from.step === 1 && to.step === 1) || lanes > 1) {
      target.set(source.subarray(a, a + width), b);
      continue;
    }
    for (let x = 0, i = a, j = b; x < width; x++, i += from.step, j += to.step) target[j] = source[i]!;
  }
}

/** The triangle over each result's place in the source; what falls over the edge counts for the last sample inside. */
function tapsFor(from: number, to: number): Taps {
  if (from === to) {
    return { first: Int32Array.from({ length: to }, (_, i) => i), weights: new Int32Array(to).fill(ONE), count: 1 };
  }
  const ratio = from / to;
  const base = Math.max(1, ratio);
  const rows = Array.from({ length: to }, (_, i) => triangle((i + 0.5) * ratio - 0.5, base, from));
  const most = rows.reduce((count, { weights }) => Math.max(count, weights.length), 1);
  // Four at a time are faster than three.
  const count = Math.min(from, most % 4 === 3 ? most + 1 : most);
  const first = new Int32Array(to);
  const weights = new Int32Array(to * count);
  rows.forEach((row, i) => {
    // All have the same number of taps; near the end the zeros come first.
    first[i] = Math.min(row.first, from - count);
    wholeWeights(row.weights, weights, i * count + row.first - first[i]!);
  });
  return { first, weights, count };
}

/** The weights of one result, which are not 0, from the first sample on. */
function triangle(center: number, base: number, length: number): { first: number; weights: number[] } {
  const [start, end] = [Math.floor(center - base) + 1, Math.ceil(center + base) - 1];
  const first = Math.min(Math.max(start, 0), length - 1);
  const last = Math.min(Math.max(end, 0), length - 1);
  const weights = new Array<number>(last - first + 1).fill(0);
  for (let s = start; s <= end; s++) {
    weights[Math.min(Math.max(s, 0), length - 1) - first]! += 1 - Math.abs(s - center) / base;
  }
  return { first, weights };
}

/** Rounds weights so that they add up to {@link ONE}: what one loses, the next gets. */
function wholeWeights(weights: readonly number[], out: Int32Array, at: number): void {
  const sum = weights.reduce((a, b) => a + b, 0);
  let exact = 0;
  let given = 0;
  weights.forEach((weight, i) => {
    exact += (weight / sum) * ONE;
    const rounded = Math.round(exact) - given;
    out[at + i] = rounded;
    given += rounded;
  });
}
