// Shares its realm with other files: nothing that it changes outlives it.
import { describe, expect, test } from "vitest";
import { AudioInfo } from "../../src/media/audio/info.ts";
import { VideoInfo } from "../../src/media/video/info.ts";
import { Caps } from "../../src/pipeline/caps.ts";
import { audioFormat, byteFormat, formatText, sameFormat, videoFormat } from "../../src/pipeline/stream-format.ts";

const hd = videoFormat(VideoInfo.of({ format: "I420", width: 1920, height: 1080 }), {
  frameRate: { num: 30_000, den: 1001 },
});

describe("caps", () => {
  test("intersect values, lists and ranges, in the order of the first", () => {
    const a = Caps.video({ format: ["RGBA", "I420", "NV12"], width: { min: 16, max: 1920, step: 2 }, height: 1080 });
    const b = Caps.video({ format: ["NV12", "I420"], width: { min: 100, max: 4000, step: 3 } });
    expect(String(a.intersect(b))).toBe("video { format: I420|NV12, width: 100..1920 in steps of 6, height: 1080 }");
    expect(String(b.intersect(a))).toMatch(/^video \{ format: NV12\|I420/);
    expect(a.intersect(Caps.audio()).isEmpty).toBe(true);
    expect(a.intersect(Caps.video({ height: 720 })).isEmpty).toBe(true);
    expect(a.intersect(Caps.any).structures).toEqual(a.structures);
    expect(a.intersect(Caps.none).isEmpty).toBe(true);
  });

  test("a range of one number is that number", () => {
    const a = Caps.video({ width: { min: 10, max: 20, step: 8 } });
    expect(String(a.intersect(Caps.video({ width: { min: 15, max: 40 } })))).toBe("video { width: 16 }");
  });

  test("frame rates are compared as ratios", () => {
    const a = Caps.video({ frameRate: { num: 25, den: 1 } });
    expect(
      a.intersect(
        Caps.video({
          frameRate: [
            { num: 50, den: 2 },
            { num: 30, den: 1 },
          ],
        }),
      ).isEmpty,
    ).toBe(false);
    expect(Caps.video({ frameRate: { min: 24, max: 30 } }).accepts(hd)).toBe(true);
    expect(Caps.video({ frameRate: { min: 1, max: 25 } }).accepts(hd)).toBe(false);
  });

  test("say which field rules a format out", () => {
    expect(Caps.video({ format: "I420" }).whyNot(hd)).toBeUndefined();
    expect(Caps.video({ format: ["RGBA", "BGRA"] }).whyNot(hd)).toBe("format is I420, and RGBA|BGRA is wanted");
    expect(Caps.video({ width: { min: 1, max: 1280 } }).whyNot(hd)).toBe("width is 1920, and 1..1280 is wanted");
    expect(Caps.audio().whyNot(hd)).toBe("video comes, and audio is wanted");
    expect(Caps.none.whyNot(hd)).toBe("nothing is accepted");
    expect(Caps.audio().or(Caps.video()).accepts(hd)).toBe(true);
  });

  test("fixate to the nearest of what is preferred, else the first of a list and the least of a range", () => {
    const caps = Caps.video({
      format: ["RGBA", "I420"],
      width: { min: 16, max: 1280, step: 16 },
      height: [240, 480, 720],
    });
    expect(caps.fixate()?.fields).toEqual({ format: "RGBA", width: 16, height: 240 });
    expect(caps.fixate({ format: "I420", width: 1001, height: 600 })?.fields).toEqual({
      format: "I420",
      width: 1008,
      height: 720,
    });
    expect(caps.fixate({ format: "NV12", width: 9999, height: 1 })?.fields).toEqual({
      format: "RGBA",
      width: 1280,
      height: 240,
    });
    expect(Caps.none.fixate()).toBeUndefined();
  });

  test("fixate prefers the alternative that fits as it is", () => {
    const caps = Caps.video({ format: "RGBA" }).or(Caps.video({ format: "I420" }));
    expect(caps.fixate({ format: "I420", width: 32 })?.fields).toEqual({ format: "I420", width: 32 });
    expect(caps.fixate({ format: "NV12" })?.fields).toEqual({ format: "RGBA" });
  });

  test("refuse what makes no sense", () => {
    expect(() => Caps.video({ colour: "red" })).toThrow(/ERR_INVALID_ARG_VALUE/);
    expect(() => Caps.video({ width: [] })).toThrow(/ERR_INVALID_ARG_VALUE/);
    expect(() => Caps.video({ width: { min: 5, max: 4 } })).toThrow(/ERR_INVALID_ARG_VALUE/);
    expect(() => Caps.video({ width: { min: 5, max: 7, step: 4 } })).toThrow(/ERR_INVALID_ARG_VALUE/);
    expect(() => Caps.video(null as never)).toThrow(/ERR_INVALID_ARG_TYPE/);
    expect(() => Caps.video({ width: true as never })).toThrow(/ERR_INVALID_ARG_TYPE/);
  });
});

describe("stream formats", () => {
  test("are the same when their buffers mean the same", () => {
    const again = videoFormat(VideoInfo.of({ format: "I420", width: 1920, height: 1080 }), {
      frameRate: { num: 60_000, den: 2002 },
    });
    expect(sameFormat(hd, again)).toBe(true);
    expect(
      sameFormat(hd, videoFormat(VideoInfo.of({ format: "I420", width: 1920, height: 1080, strideAlign: 1024 }))),
    ).toBe(false);
    expect(sameFormat(hd, videoFormat(hd.info, { frameRate: hd.frameRate, presentation: { rotation: 90 } }))).toBe(
      false,
    );
    expect(sameFormat(byteFormat(5), byteFormat(5))).toBe(true);
    expect(sameFormat(byteFormat(5), byteFormat(6))).toBe(false);
    const info = AudioInfo.of({ format: "f32", sampleRate: 48_000, channels: 2, frames: 960 });
    expect(sameFormat(audioFormat(info), audioFormat(info))).toBe(true);
    expect(sameFormat(null, hd)).toBe(false);
    expect(formatText(hd)).toBe("I420 1920x1080 at 30000/1001");
    expect(formatText(audioFormat(info))).toBe("f32 48000 Hz x 2, 960 frames");
    expect(Caps.of(audioFormat(info)).accepts(audioFormat(info))).toBe(true);
  });

  test("are refused when they are none", () => {
    expect(() => videoFormat({} as never)).toThrow(/ERR_INVALID_ARG_TYPE/);
    expect(() => byteFormat(0)).toThrow(/ERR_OUT_OF_RANGE/);
  });
});
