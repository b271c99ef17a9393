// Shares its realm with other files: nothing that it changes outlives it.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AudioInfo, type AudioSampleFormat } from "../../../src/media/audio/info.ts";

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

  it("gives timestamps without drift from the frames since the start; a sum of rounded durations falls behind", () => {
    const info = AudioInfo.of({ format: "s16", sampleRate: 44_100, channels: 2, frames: 1024 });
    const blocks = 100_000;
    const exact = info.durationOf(1024 * blocks);
    expect(exact).toBe((1024n * 100_000n * 1_000_000_000n) / 44_100n);
    const behind = exact - info.duration * BigInt(blocks);
    expect(behind > 0n && behind <= BigInt(blocks)).toBe(true);
    expect(info.durationOf(Number.MAX_SAFE_INTEGER)).toBe((BigInt(Number.MAX_SAFE_INTEGER) * 1_000_000_000n) / 44_100n);
  });

  it("views one plane, refuses what is not a Uint8Array, too short, or no plane of it", () => {
    const info = AudioInfo.of({ format: "s16-planar", sampleRate: 48_000, channels: 2, frames: 4 });
    const bytes = Uint8Array.from({ length: 20 }, (_, i) => i);
    expect([...info.plane(bytes, 1)]).toEqual([8, 9, 10, 11, 12, 13, 14, 15]);
    const refused = (bad: unknown, index: unknown, code: string): void =>
      expect(() => info.plane(bad as never, index as never)).toThrow(expect.objectContaining({ code }));
    refused(new Int16Array(16), 0, "ERR_INVALID_ARG_TYPE");
    refused(undefined, 0, "ERR_INVALID_ARG_TYPE");
    refused(bytes, "0", "ERR_INVALID_ARG_TYPE");
    refused(bytes, 2, "ERR_OUT_OF_RANGE");
    refused(bytes, -1, "ERR_OUT_OF_RANGE");
    refused(bytes.subarray(5), 0, "ERR_OUT_OF_RANGE");
  });

  it("equals its structured clone, and nothing that differs", () => {
    const options = { format: "s16", sampleRate: 48_000, channels: 2, frames: 10 } as const;
    const info = AudioInfo.of(options);
    expect(info.equals(structuredClone(info))).toBe(true);
    for (const other of [{ format: "s16-planar" }, { sampleRate: 44_100 }, { channels: 1 }, { frames: 11 }] as const)
      expect(info.equals(AudioInfo.of({ ...options, ...other }))).toBe(false);
    for (const other of [null, undefined, {}]) expect(info.equals(other as AudioInfo)).toBe(false);
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
