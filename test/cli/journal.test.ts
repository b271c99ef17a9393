// Shares its realm with other files: nothing that it changes outlives it.
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { FrameResult } from "../../src/cli/run/frame-results.ts";
import { difference, Journal } from "../../src/cli/run/journal.ts";

function result(frame: number, bin: number): FrameResult {
  const histogram = new Uint32Array(64);
  histogram[bin] = 100;
  const thumbnail = new Uint8Array(0);
  return { frame, lumaMean: bin * 4, pixels: 100, histogram, thumbnail, thumbWidth: 0, thumbHeight: 0 };
}

/** Frames whose luma lies in the given bins, told in the given order. */
function journal(bins: readonly number[], order: readonly number[] = bins.map((_, i) => i)) {
  const lines: { frame: number; isCut: boolean; time: number }[] = [];
  const subject = new Journal((line) => lines.push(JSON.parse(line)));
  for (const frame of bins.keys()) subject.expect(frame, BigInt(frame) * 40_000_000n, 40_000_000n);
  for (const frame of order) subject.accept(result(frame, bins[frame]!));
  return { summary: subject.finish(), lines };
}

describe("the journal", () => {
  it("tells frames in presentation order whatever order they come back in", () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7], { minLength: 8 }), (order) => {
        const bins = [1, 1, 1, 9, 9, 9, 9, 9];
        const { lines, summary } = journal(bins, order);
        expect(lines.map(({ frame }) => frame)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
        expect(lines.map(({ time }) => time)).toEqual([0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28]);
        expect(summary).toEqual(journal(bins).summary);
      }),
    );
  });

  it("sees a cut where the histogram changes once", () => {
    const { summary } = journal([1, 1, 1, 9, 9, 9]);
    expect(summary.cuts).toEqual([{ frame: 3, time: 0.12, score: 1 }]);
    expect(summary.endTime).toBeCloseTo(0.24, 9);
  });

  it("sees none in a fade, where it changes all the time, nor in a flash, where it changes back", () => {
    expect(journal([1, 2, 3, 4, 5, 6, 7, 8]).summary.cuts).toEqual([]);
    expect(journal([1, 1, 1, 60, 1, 1, 1]).summary.cuts).toEqual([]);
  });

  it("sees a cut into the last frame", () => {
    expect(journal([1, 1, 1, 9]).summary.cuts.map(({ frame }) => frame)).toEqual([3]);
  });

  it("has a difference from 0, the same, to 1, nothing in common, whatever the sizes", () => {
    const a = { histogram: new Uint32Array(64).fill(2), pixels: 128 };
    const b = { histogram: new Uint32Array(64).fill(5), pixels: 320 };
    expect(difference(a, b)).toBeCloseTo(0, 12);
    expect(difference(result(0, 3), result(1, 4))).toBe(1);
  });

  it("says nothing of an empty film", () => {
    expect(journal([]).summary).toEqual({
      frames: 0,
      firstTime: null,
      lastTime: null,
      endTime: null,
      luma: null,
      cuts: [],
    });
  });
});
