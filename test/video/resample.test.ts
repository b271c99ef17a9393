// Shares its realm with other files: nothing that it changes outlives it.
/** The scaler of this package against the filter that it promises, computed pixel by pixel in floating point. */
import { describe, expect, it } from "vitest";
import { VideoInfo, type VideoPixelFormat } from "../../src/media/video/info.ts";
import { FrameConverter } from "../../src/video/convert.ts";
import { Resampler } from "../../src/video/resample.ts";
import { isFullLength, REPEATED } from "../helpers/effort.ts";
import { generator } from "../helpers/random.ts";

/** The triangle filter in one direction: what falls over the edge counts for the last sample inside. */
function filtered(line: readonly number[], size: number): number[] {
  if (size === line.length) return [...line];
  const ratio = line.length / size;
  const base = Math.max(1, ratio);
  return Array.from({ length: size }, (_, i) => {
    const center = (i + 0.5) * ratio - 0.5;
    let [sum, total] = [0, 0];
    for (let s = Math.ceil(center - base); s <= center + base; s++) {
      const weight = Math.max(0, 1 - Math.abs(s - center) / base);
      sum += weight * line[Math.min(Math.max(s, 0), line.length - 1)]!;
      total += weight;
    }
    return sum / total;
  });
}

function scaled(rows: readonly (readonly number[])[], width: number, height: number): number[][] {
  const across = rows.map((row) => filtered(row, width));
  const columns = Array.from({ length: width }, (_, x) =>
    filtered(
      across.map((row) => row[x]!),
      height,
    ),
  );
  return Array.from({ length: height }, (_, y) => columns.map((column) => column[y]!));
}

const SIZES: readonly (readonly [number, number, number, number])[] = [
  [1, 1, 1, 1],
  [1, 1, 7, 5],
  [7, 5, 1, 1],
  [2, 2, 1, 3],
  [64, 36, 16, 9],
  [64, 36, 21, 36],
  [64, 36, 64, 11],
  [33, 17, 50, 40],
  [97, 61, 96, 60],
  [200, 3, 3, 200],
  [90, 90, 60, 60],
  [255, 128, 17, 11],
];

describe("the resampler", () => {
  it.each(SIZES)(
    "scales %dx%d to %dx%d as the triangle filter says, in 8, 10 and 12 bits",
    REPEATED,
    (w, h, tw, th) => {
      const random = generator(w * 1000 + tw);
      for (const [at, bits] of [8, 10, 12].entries()) {
        // In the fast lane a number of bits has one step, another one at each size.
        for (const step of isFullLength ? [1, 2, 4] : [2 ** ((at + w) % 3)]) {
          const Samples = bits === 8 ? Uint8Array : Uint16Array;
          // Noise of full swing is the worst case.
          const source = new Samples(3 + (w * step + 5) * h);
          for (let i = 0; i < source.length; i++) source[i] = random(2) === 0 ? random(2 ** bits) : 2 ** bits - 1;
          const target = new Samples(2 + (tw * step + 3) * th);
          const from = { offset: 3, stride: w * step + 5, step, width: w, height: h };
          const to = { offset: 2, stride: tw * step + 3, step, width: tw, height: th };
          new Resampler(from, to, bits).run(source, target);
          const rows = Array.from({ length: h }, (_, y) =>
            Array.from({ length: w }, (_, x) => source[from.offset + y * from.stride + x * step]!),
          );
          scaled(rows, tw, th).forEach((row, y) => {
            row.forEach((value, x) => {
              const made = target[to.offset + y * to.stride + x * step]!;
              // Half for the rounding at the end; the rest for weights of 14 bits, of which there are up to 134 here.
              expect(Math.abs(made - value)).toBeLessThan(bits === 8 ? 0.6 : 1.5);
            });
          });
          // What is no sample of the target's grid stays as it was.
          const written = target.filter((value) => value !== 0).length;
          expect(written).toBeLessThanOrEqual(tw * th);
        }
      }
    },
  );

  it("leaves an even picture even, whatever the sizes", () => {
    const random = generator(5);
    for (let round = 0; round < 200; round++) {
      const [w, h, tw, th] = [1 + random(80), 1 + random(80), 1 + random(80), 1 + random(80)];
      const value = random(256);
      const from = { offset: 0, stride: w, step: 1, width: w, height: h };
      const to = { offset: 0, stride: tw, step: 1, width: tw, height: th };
      const target = new Uint8Array(tw * th);
      new Resampler(from, to).run(new Uint8Array(w * h).fill(value), target);
      expect(target.every((sample) => sample === value)).toBe(true);
    }
  });

  it.each([
    ["RGBA", 4],
    ["NV12", 2],
  ] as const)("scales the components of %s alike, at once or one by one", (format, lanes) => {
    const random = generator(9);
    const plane = format === "RGBA" ? 0 : 1;
    const [from, to] = [
      VideoInfo.of({ format: format as VideoPixelFormat, width: 66, height: 38, strideAlign: 16 }),
      VideoInfo.of({ format: format as VideoPixelFormat, width: 24, height: 50 }),
    ];
    const source = Uint8Array.from({ length: from.size }, () => random(256));
    const together = new Uint8Array(to.size);
    new FrameConverter(from, to).run(source, together);
    const grid = (info: VideoInfo, lane: number) => {
      const { offset, stride, width, height } = info.planes[plane]!;
      return { offset: offset + lane, stride, step: lanes, width, height };
    };
    const alone = together.slice();
    for (let lane = 0; lane < lanes; lane++) new Resampler(grid(from, lane), grid(to, lane)).run(source, alone);
    expect(Buffer.compare(alone, together)).toBe(0);
  });
});
