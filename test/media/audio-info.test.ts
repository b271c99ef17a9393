import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AudioInfo, type AudioSampleFormat } from "../../src/media/audio-info.ts";

const FORMATS: readonly AudioSampleFormat[] = [
  "u8",
  "s16",
  "s32",
  "f32",
  "u8-planar",
  "s16-planar",
  "s32-planar",
  "f32-planar",
];

describe("AudioInfo", () => {
  it("lays out 20 ms of stereo at 48 kHz", () => {
    const info = AudioInfo.of({ format: "f32-planar", sampleRate: 48_000, channels: 2, frames: 960 });
    expect(info.size).toBe(7680);
    expect(info.duration).toBe(20_000_000n);
    expect(info.planes).toEqual([
      { offset: 0, size: 3840 },
      { offset: 3840, size: 3840 },
    ]);
  });

  it("rounds durations down, so that blocks never run ahead of their samples", () => {
    const info = AudioInfo.of({ format: "s16", sampleRate: 44_100, channels: 1, frames: 1 });
    expect(info.duration).toBe(22_675n);
    expect(info.durationOf(44_100)).toBe(1_000_000_000n);
  });

  it("converts frames to bytes and back, for every format (property)", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...FORMATS),
        fc.integer({ min: 1, max: 64 }),
        fc.nat(100_000),
        (format, channels, frames) => {
          const info = AudioInfo.of({ format, sampleRate: 48_000, channels, frames });
          expect(info.framesIn(info.bytesFor(frames))).toBe(frames);
          expect(info.planes.reduce((sum, plane) => sum + plane.size, 0)).toBe(info.size);
          expect(info.planes).toHaveLength(format.endsWith("-planar") ? channels : 1);
        },
      ),
    );
  });

  it.each([
    [{ format: "s24" }, "ERR_INVALID_ARG_VALUE"],
    [{ format: null }, "ERR_INVALID_ARG_TYPE"],
    [{ sampleRate: 0 }, "ERR_OUT_OF_RANGE"],
    [{ sampleRate: "48k" }, "ERR_INVALID_ARG_TYPE"],
    [{ channels: 65 }, "ERR_OUT_OF_RANGE"],
    [{ frames: -1 }, "ERR_OUT_OF_RANGE"],
    [{ frames: Number.NaN }, "ERR_OUT_OF_RANGE"],
    [{ frames: 2 ** 53 }, "ERR_OUT_OF_RANGE"],
  ])("refuses %j with %s", (bad, code) => {
    const good = { format: "s16", sampleRate: 48_000, channels: 2, frames: 10 };
    expect(() => AudioInfo.of({ ...good, ...bad } as never)).toThrow(expect.objectContaining({ code }));
  });
});
