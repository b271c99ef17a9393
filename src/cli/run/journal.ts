/**
 * Puts the workers' results back into presentation order, compares neighbors, and writes one line a frame. Frames come
 * back in any order; only those that wait for an earlier one are kept, so that a film of any length needs little
 * memory.
 */
import { HISTOGRAM_BINS } from "../../video/measure.ts";
import type { FrameResult } from "./frame-results.ts";

/**
 * From this much on, two neighboring frames may be of different scenes: 0 is the same histogram, 1 is no luma in
 * common. Pans and fast motion stay below 0.25 on the clips it was tried on; hard cuts are above 0.5.
 */
const CUT_THRESHOLD = 0.4;

/**
 * A cut stands alone: its score is this many times that of the frame before and of the frame after. A fade moves every
 * histogram a little and scores high for many frames in a row, a flash for two; neither is a cut.
 */
const CUT_CONTRAST = 2;

/** A place where a new scene begins. */
interface Cut {
  /** Number of its first frame, from 0. */
  readonly frame: number;
  /** Its time in seconds; null when the stream has no times. */
  readonly time: number | null;
  /** How different it is from the frame before, 0 to 1. */
  readonly score: number;
}

/** What all frames together come to. */
export interface JournalSummary {
  /** Frames measured. */
  readonly frames: number;
  /** Seconds at which the first is shown; null without times. */
  readonly firstTime: number | null;
  /** Seconds at which the last is shown. */
  readonly lastTime: number | null;
  /** Seconds at which the last ends. */
  readonly endTime: number | null;
  /** Mean luma of all frames, and of the darkest and the brightest one; null without frames. */
  readonly luma: { readonly mean: number; readonly min: number; readonly max: number } | null;
  /** Where scenes begin, except the first. */
  readonly cuts: readonly Cut[];
}

/** A frame whose turn has come, and which waits only for the score of the one behind it. */
interface Told {
  readonly frame: number;
  readonly time: number | null;
  readonly duration: number | null;
  readonly lumaMean: number;
  readonly histogram: Uint32Array;
  readonly pixels: number;
  readonly score: number;
  /** Score of the frame before. */
  readonly before: number;
}

interface Entry {
  readonly pts: bigint | undefined;
  readonly duration: bigint | undefined;
  lumaMean: number;
  pixels: number;
  histogram: Uint32Array | undefined;
}

/** Takes results in any order, tells them in the right one. */
export class Journal {
  readonly #entries: Map<number, Entry> = new Map();
  readonly #cuts: Cut[] = [];
  readonly #write: ((line: string) => void) | undefined;
  #next = 0;
  #previous: Told | undefined;
  #lumaSum = 0;
  #lumaMin = Number.POSITIVE_INFINITY;
  #lumaMax = Number.NEGATIVE_INFINITY;
  #firstTime: number | null = null;
  #lastTime: number | null = null;
  #endTime: number | null = null;

  /** @param write takes each frame's JSON object, in presentation order; absent: only the summary is kept */
  constructor(write?: (line: string) => void) {
    this.#write = write;
  }

  /** Notes the times of a frame that was handed out. */
  expect(frame: number, pts: bigint | undefined, duration: bigint | undefined): void {
    this.#entries.set(frame, { pts, duration, lumaMean: 0, pixels: 0, histogram: undefined });
  }

  /** Notes what a worker found; tells every frame whose turn has come. */
  accept(result: FrameResult): void {
    const entry = this.#entries.get(result.frame);
    if (entry === undefined) return;
    entry.lumaMean = result.lumaMean;
    entry.pixels = result.pixels;
    // The worker's block is overwritten by its next frame.
    entry.histogram = new Uint32Array(result.histogram);
    for (;;) {
      const next = this.#entries.get(this.#next);
      if (next?.histogram === undefined) return;
      this.#entries.delete(this.#next);
      this.#tell(this.#next++, next, next.histogram);
    }
  }

  /** Ends it: writes the last frame, and says what all frames come to. */
  finish(): JournalSummary {
    if (this.#previous !== undefined) this.#conclude(this.#previous, 0);
    this.#previous = undefined;
    const frames = this.#next;
    return {
      frames,
      firstTime: this.#firstTime,
      lastTime: this.#lastTime,
      endTime: this.#endTime,
      luma:
        frames === 0
          ? null
          : { mean: round(this.#lumaSum / frames, 3), min: round(this.#lumaMin, 3), max: round(this.#lumaMax, 3) },
      cuts: this.#cuts,
    };
  }

  #tell(frame: number, entry: Entry, histogram: Uint32Array): void {
    const { lumaMean, pixels } = entry;
    const time = seconds(entry.pts);
    const duration = seconds(entry.duration);
    const previous = this.#previous;
    const score = previous === undefined ? 0 : difference(previous, { histogram, pixels });
    if (previous !== undefined) this.#conclude(previous, score);
    this.#previous = { frame, time, duration, lumaMean, histogram, pixels, score, before: previous?.score ?? 0 };
    this.#lumaSum += lumaMean;
    this.#lumaMin = Math.min(this.#lumaMin, lumaMean);
    this.#lumaMax = Math.max(this.#lumaMax, lumaMean);
    if (frame === 0) this.#firstTime = time;
    this.#lastTime = time;
    this.#endTime = time === null ? null : round(time + (duration ?? 0), 9);
  }

  #conclude(told: Told, after: number): void {
    const { frame, time, duration, score, before } = told;
    const isCut = score >= CUT_THRESHOLD && score >= CUT_CONTRAST * Math.max(before, after);
    if (isCut) this.#cuts.push({ frame, time, score: round(score, 4) });
    this.#write?.(
      JSON.stringify({
        frame,
        time,
        duration,
        lumaMean: round(told.lumaMean, 3),
        cutScore: round(score, 4),
        isCut,
        histogram: Array.from(told.histogram),
      }),
    );
  }
}

/**
 * Half the sum of the differences of two histograms, as fractions of their pixels: 0 is equal, 1 has nothing in common.
 */
export function difference(
  a: { readonly histogram: Uint32Array; readonly pixels: number },
  b: { readonly histogram: Uint32Array; readonly pixels: number },
): number {
  let sum = 0;
  for (let bin = 0; bin < HISTOGRAM_BINS; bin++) {
    sum += Math.abs(a.histogram[bin]! / a.pixels - b.histogram[bin]! / b.pixels);
  }
  return sum / 2;
}

function seconds(time: bigint | undefined): number | null {
  // A double has 15 digits: exact to the nanosecond for the first eleven days.
  return time === undefined ? null : Number(time) / 1e9;
}

function round(value: number, digits: number): number {
  const factor = 10 ** digits;
  return Math.round(value * factor) / factor;
}
