// Shares its realm with other files: nothing that it changes outlives it.
/// <reference types="dom-webcodecs" />
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { findVideoFormat, type VideoPixelFormat, videoFormatNames } from "../../../src/media/video/format.ts";
import { VideoInfo } from "../../../src/media/video/info.ts";

/**
 * Sizes that ffmpeg writes for one frame, the oracle for odd pictures:
 *   ffmpeg -f lavfi -i testsrc2=size=64x64 -frames:v 1 -vf scale=W:H,format=FMT -pix_fmt FMT -f rawvideo - | wc -c
 */
const FFMPEG: readonly [VideoPixelFormat, string, number][] = [
  ["I420", "1920x1080", 3110400],
  ["I420", "1279x719", 1380401],
  ["I420", "33x17", 867],
  ["I420", "1x1", 3],
  ["I422", "1920x1080", 4147200],
  ["I422", "1279x719", 1839921],
  ["I422", "33x17", 1139],
  ["I422", "1x1", 3],
  ["I444", "1920x1080", 6220800],
  ["I444", "1279x719", 2758803],
  ["I444", "33x17", 1683],
  ["I444", "1x1", 3],
  ["NV12", "1920x1080", 3110400],
  ["NV12", "1279x719", 1380401],
  ["NV12", "33x17", 867],
  ["NV12", "1x1", 3],
  ["RGBA", "1920x1080", 8294400],
  ["RGBA", "1279x719", 3678404],
  ["RGBA", "33x17", 2244],
  ["RGBA", "1x1", 4],
  ["I420P10", "1920x1080", 6220800],
  ["I420P10", "1279x719", 2760802],
  ["I420P10", "33x17", 1734],
  ["I420P10", "1x1", 6],
  ["I420A", "1920x1080", 5184000],
  ["I420A", "1279x719", 2300002],
  ["I420A", "33x17", 1428],
  ["I420A", "1x1", 4],
  ["GRAY8", "1920x1080", 2073600],
  ["GRAY8", "1279x719", 919601],
  ["GRAY8", "33x17", 561],
  ["GRAY8", "1x1", 1],
];

function info(format: VideoPixelFormat, size: string, strideAlign?: number): VideoInfo {
  const [width, height] = size.split("x").map(Number) as [number, number];
  return VideoInfo.of({ format, width, height, ...(strideAlign === undefined ? {} : { strideAlign }) });
}

describe("VideoInfo", () => {
  it.each(FFMPEG)("lays out %s %s in as many bytes as ffmpeg writes", (format, size, bytes) => {
    expect(info(format, size).size).toBe(bytes);
  });

  it("knows the 22 formats of WebCodecs that have linear planes, and GRAY8", () => {
    expect(videoFormatNames()).toHaveLength(24);
    for (const name of ["I420AP12", "I422P10", "I444AP10", "NV12", "BGRX"])
      expect(findVideoFormat(name)?.name).toBe(name);
  });

  it("wastes under 2 % when its pictures lie in whole pages, for common formats at 720p, 1080p and 4K", () => {
    for (const format of ["I420", "NV12", "I422", "I444", "RGBA", "I420P10"] as const) {
      for (const size of ["1280x720", "1920x1080", "3840x2160"]) {
        for (const align of [1, 64]) {
          const layout = info(format, size, align);
          const pages = Math.ceil(layout.size / 4096) * 4096;
          expect(pages / layout.payload - 1, `${layout} aligned to ${align}`).toBeLessThan(0.02);
        }
      }
    }
  });

  it("takes WebCodecs' own layouts: strides and offsets in any order that does not overlap", () => {
    const swapped = VideoInfo.of({ format: "I420", width: 4, height: 4, strides: [8, 4, 4], offsets: [0, 40, 32] });
    expect(swapped.planes.map((plane) => plane.offset)).toEqual([0, 40, 32]);
    expect(swapped.size).toBe(48);
    expect(swapped.equals(info("I420", "4x4"))).toBe(false);
  });

  it("gives the view of one plane", () => {
    const layout = info("NV12", "4x2");
    const bytes = new Uint8Array(layout.size).map((_, i) => i);
    expect([...layout.plane(bytes, 1)]).toEqual([8, 9, 10, 11]);
    expect(() => layout.plane(bytes.subarray(1), 0)).toThrow(expect.objectContaining({ code: "ERR_OUT_OF_RANGE" }));
    expect(() => layout.plane(bytes, 2)).toThrow(expect.objectContaining({ code: "ERR_OUT_OF_RANGE" }));
  });

  it("says where its planes lie in the shape that WebCodecs takes, and nobody can change the layout by it", () => {
    const info = VideoInfo.of({ format: "I420", width: 1920, height: 1080, strideAlign: 64 });
    // The very type of VideoFrame.copyTo().
    const options: VideoFrameCopyToOptions = { layout: info.layout };
    expect(options.layout).toEqual([
      { offset: 0, stride: 1920 },
      { offset: 2_073_600, stride: 960 },
      { offset: 2_592_000, stride: 960 },
    ]);
    options.layout!.pop();
    options.layout![0]!.stride = 1;
    expect([info.layout.length, info.layout[0]?.stride]).toEqual([3, 1920]);
  });

  it("can be rebuilt from its own strides and offsets (property)", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...videoFormatNames()),
        fc.integer({ min: 1, max: 65_535 }),
        fc.integer({ min: 1, max: 65_535 }),
        fc.nat(12),
        fc.nat(21),
        (format, width, height, row, start) => {
          const aligns = { strideAlign: 2 ** row, planeAlign: 2 ** start };
          const info = VideoInfo.of({ format, width, height, ...aligns });
          const strides = info.planes.map((plane) => plane.stride);
          const offsets = info.planes.map((plane) => plane.offset);
          expect(VideoInfo.of({ format, width, height, ...aligns, strides, offsets }).equals(info)).toBe(true);
          expect(VideoInfo.of({ format, width, height, strides, offsets })).toEqual(info);
        },
      ),
    );
  });

  it("equals its structured clone, which is plain data, and nothing that differs in any way", () => {
    const info = VideoInfo.of({ format: "I420", width: 64, height: 32 });
    expect(info.equals(structuredClone(info))).toBe(true);
    for (const other of [
      VideoInfo.of({ format: "I420A", width: 64, height: 32 }),
      VideoInfo.of({ format: "I420", width: 66, height: 32 }),
      VideoInfo.of({ format: "I420", width: 64, height: 34 }),
      VideoInfo.of({ format: "I420", width: 64, height: 32, strideAlign: 128 }),
      VideoInfo.of({ format: "I420", width: 64, height: 32, planeAlign: 4096 }),
      { ...structuredClone(info), planes: undefined },
      null,
      undefined,
      {},
    ])
      expect(info.equals(other as VideoInfo)).toBe(false);
  });

  it("views a plane of bytes of another realm or of a Buffer, and of no other kind of view", () => {
    const info = VideoInfo.of({ format: "GRAY8", width: 4, height: 4 });
    expect(info.plane(Buffer.alloc(16), 0).length).toBe(16);
    expect(info.plane(runInNewContext("new Uint8Array(16)") as Uint8Array, 0).length).toBe(16);
    for (const bad of [new Uint16Array(16), new ArrayBuffer(16), new Uint8ClampedArray(16), [], null, "bytes"])
      expect(() => info.plane(bad as never, 0)).toThrow(expect.objectContaining({ code: "ERR_INVALID_ARG_TYPE" }));
    expect(() => info.plane(new Uint8Array(15), 0)).toThrow(expect.objectContaining({ code: "ERR_OUT_OF_RANGE" }));
  });

  it.each([
    [{ strides: [8.5, 4, 4] }, "ERR_OUT_OF_RANGE"],
    [{ strideAlign: 16, strides: [24, 16, 16] }, "ERR_INVALID_ARG_VALUE"],
    [{ planeAlign: 64, offsets: [0, 72, 128] }, "ERR_INVALID_ARG_VALUE"],
    [{ strides: [2 ** 25, 4, 4] }, "ERR_OUT_OF_RANGE"],
    [{ offsets: [0, 64, 2 ** 43] }, "ERR_OUT_OF_RANGE"],
    [{ offsets: [0, -1, 80] }, "ERR_OUT_OF_RANGE"],
    [{ planeAlign: 2 ** 22 }, "ERR_INVALID_ARG_VALUE"],
    [{ strideAlign: 8192 }, "ERR_INVALID_ARG_VALUE"],
    [{ width: 0 }, "ERR_OUT_OF_RANGE"],
    [{ width: -1 }, "ERR_OUT_OF_RANGE"],
    [{ width: 1.5 }, "ERR_OUT_OF_RANGE"],
    [{ height: Number.NaN }, "ERR_OUT_OF_RANGE"],
    [{ height: 2 ** 53 }, "ERR_OUT_OF_RANGE"],
    [{ height: "8" }, "ERR_INVALID_ARG_TYPE"],
    [{ format: "YUY2" }, "ERR_INVALID_ARG_VALUE"],
    [{ format: 3 }, "ERR_INVALID_ARG_TYPE"],
    [{ strideAlign: 3 }, "ERR_INVALID_ARG_VALUE"],
    [{ strides: [8] }, "ERR_OUT_OF_RANGE"],
    [{ strides: [7, 4, 4] }, "ERR_OUT_OF_RANGE"],
    [{ strides: "wide" }, "ERR_INVALID_ARG_TYPE"],
    [{ offsets: [0, 8, 100] }, "ERR_OUT_OF_RANGE"],
  ])("refuses %j with %s", (bad, code) => {
    expect(() => VideoInfo.of({ format: "I420", width: 8, height: 8, ...bad } as never)).toThrow(
      expect.objectContaining({ code }),
    );
  });

  it("never lets planes overlap, leave the picture, or lose their alignment (property)", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...videoFormatNames()),
        fc.integer({ min: 1, max: 5000 }),
        fc.integer({ min: 1, max: 5000 }),
        fc.constantFrom(1, 2, 16, 64, 256),
        fc.constantFrom(1, 64, 4096, 2 ** 21),
        (format, width, height, strideAlign, planeAlign) => {
          const layout = VideoInfo.of({ format, width, height, strideAlign, planeAlign });
          let end = 0;
          for (const plane of layout.planes) {
            expect(plane.offset).toBeGreaterThanOrEqual(end);
            expect(plane.offset % planeAlign).toBe(0);
            expect(plane.stride % strideAlign).toBe(0);
            expect(plane.stride).toBeGreaterThanOrEqual(plane.rowBytes);
            end = plane.offset + plane.stride * plane.height;
          }
          expect(layout.size).toBe(end);
          expect(layout.payload).toBeLessThanOrEqual(layout.size);
        },
      ),
    );
  });
});
