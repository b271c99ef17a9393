// Shares its realm with other files: nothing that it changes outlives it.
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Presentation } from "../../src/adapters/node/frame-source.ts";
import { rawLayout } from "../../src/adapters/raw-video/raw-video.ts";
import { canMeasure, createMeasures, measureFrame } from "../../src/video/measure.ts";
import { drawThumbnail, thumbSize } from "../../src/video/thumbnail.ts";

const plain: Presentation = { rotation: 0, flip: false, pixelAspect: 1, matrix: undefined, fullRange: true };

describe("measures", () => {
  it("agree with a naive count for any size and any bytes", () => {
    fc.assert(
      fc.property(
        fc.constantFrom("I420", "I422", "I444", "NV12", "GRAY8", "I420P10"),
        fc.integer({ min: 2, max: 70 }),
        fc.integer({ min: 2, max: 50 }),
        fc.integer(),
        (format, width, height, seed) => {
          const layout = rawLayout(format, width, height);
          const wide = format === "I420P10";
          const bytes = new Uint8Array(layout.size);
          let state = seed | 1;
          const next = (max: number): number => {
            state = (Math.imul(state, 1664525) + 1013904223) | 0;
            return (state >>> 8) % max;
          };
          const view = new DataView(bytes.buffer);
          for (let i = 0; i < bytes.length; i += wide ? 2 : 1) {
            if (wide) view.setUint16(i, next(1024), true);
            else bytes[i] = next(256);
          }
          const histogram = new Array<number>(64).fill(0);
          let sum = 0;
          const { offset, stride } = layout.planes[0]!;
          for (let y = 0; y < height; y++) {
            for (let x = 0; x < width; x++) {
              const at = offset + y * stride;
              const value = wide ? view.getUint16(at + 2 * x, true) : bytes[at + x]!;
              histogram[wide ? value >> 4 : value >> 2]!++;
              sum += wide ? value / 4 : value;
            }
          }
          const { columns, rows } = thumbSize(layout, plain);
          const out = createMeasures(columns, rows);
          measureFrame(bytes, layout, columns, rows, out);
          expect(out.pixels).toBe(width * height);
          expect(Array.from(out.histogram)).toEqual(histogram);
          expect(out.lumaSum).toBeCloseTo(sum, 6);
          // The grid's averages, weighted by their cells, are the whole again.
          expect(out.first.every((value) => value >= 0 && value <= 255.75)).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("are the same in shared memory", () => {
    const layout = rawLayout("I420", 33, 17);
    const bytes = Uint8Array.from({ length: layout.size }, (_, i) => (i * 31) & 255);
    const shared = new Uint8Array(new SharedArrayBuffer(layout.size));
    shared.set(bytes);
    const { columns, rows } = thumbSize(layout, plain);
    const [a, b] = [createMeasures(columns, rows), createMeasures(columns, rows)];
    measureFrame(bytes, layout, columns, rows, a);
    measureFrame(shared, layout, columns, rows, b);
    expect(b).toEqual(a);
  });

  it("know every format that a decoder delivers", () => {
    for (const base of ["I420", "I422", "I444"]) {
      for (const suffix of ["", "A", "P10", "P12", "AP10", "AP12"]) expect(canMeasure(base + suffix)).toBe(true);
    }
    for (const format of ["NV12", "RGBA", "RGBX", "BGRA", "BGRX"]) expect(canMeasure(format)).toBe(true);
    expect(canMeasure("H264")).toBe(false);
  });
});

describe("thumbnails", () => {
  // A 4 x 2 picture in RGB, each quarter of another color, scaled one to one: what is where can be read off.
  const layout = rawLayout("RGBA", 8, 4);
  const bytes = new Uint8Array(layout.size);
  const colors: readonly (readonly number[])[] = [
    [255, 0, 0],
    [0, 255, 0],
    [0, 0, 255],
    [255, 255, 0],
  ];
  for (let y = 0; y < 4; y++) {
    for (let x = 0; x < 8; x++) bytes.set([...colors[(y < 2 ? 0 : 2) + (x < 4 ? 0 : 1)]!, 255], 4 * (8 * y + x));
  }

  function corners(presentation: Presentation): number[] {
    const size = thumbSize(layout, presentation);
    const measures = createMeasures(size.columns, size.rows);
    measureFrame(bytes, layout, size.columns, size.rows, measures);
    const rgb = new Uint8Array(3 * size.width * size.height);
    drawThumbnail(measures, size, layout, presentation, rgb);
    const at = (x: number, y: number): number => {
      const start = 3 * (y * size.width + x);
      return colors.findIndex((color) => color.every((value, i) => value === rgb[start + i]));
    };
    const [right, bottom] = [size.width - 1, size.height - 1];
    return [at(0, 0), at(right, 0), at(0, bottom), at(right, bottom)];
  }

  // Corners as they are shown: upper left, upper right, lower left, lower right.
  it.each([
    [0, false, [0, 1, 2, 3]],
    [90, false, [2, 0, 3, 1]],
    [180, false, [3, 2, 1, 0]],
    [270, false, [1, 3, 0, 2]],
    [0, true, [1, 0, 3, 2]],
    [90, true, [0, 2, 1, 3]],
  ] as const)("turned %i degrees clockwise, mirrored: %s", (rotation, flip, expected) => {
    expect(corners({ ...plain, rotation, flip })).toEqual(expected);
  });

  it("are as wide as the picture is shown when pixels are not square", () => {
    const wide = thumbSize(rawLayout("I420", 720, 576), { ...plain, pixelAspect: 64 / 45 });
    expect(wide.width / wide.height).toBeCloseTo(16 / 9, 1);
  });
});
