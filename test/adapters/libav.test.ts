/**
 * The native way from a decoded frame into a buffer: the same bytes as VideoSample.copyTo, without a look at the
 * planes.
 */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import * as server from "@mediabunny/server";
import { VideoSample, type VideoSamplePixelFormat } from "mediabunny";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import {
  type AvFrame,
  chooseCopier,
  copyNatively,
  DirectCopier,
  type FrameCopier,
  frameOfSample,
  importLibav,
  type Libav,
  SLOW_COPY,
  StagedCopier,
  warnOfSlowCopies,
} from "../../src/adapters/mediabunny/libav.ts";
import { loadMediabunny } from "../../src/adapters/mediabunny/load.ts";
import { openVideoFile, type VideoFileFacts, VideoFileFrame } from "../../src/adapters/mediabunny/video-file.ts";
import { FileSource } from "../../src/adapters/node/file-elements.ts";
import { DecodeElement } from "../../src/adapters/node/frames-element.ts";
import { VideoInfo, type VideoPixelFormat } from "../../src/media/video/info.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { VideoScale } from "../../src/video/scale.ts";
import { answerOf, run } from "../helpers/child.ts";
import { codeOf } from "../helpers/code-of.ts";
import { HANGS_MS, REPEATED, times } from "../helpers/effort.ts";
import { generator } from "../helpers/random.ts";
import { type Film, film } from "./film.ts";

type Formats = Libav &
  Readonly<Record<string, number>> & { readonly Rational: new (num: number, den: number) => object };

/** libav's name of each format that mediabunny knows. */
const FORMATS: readonly (readonly [VideoSamplePixelFormat, string])[] = [
  ["I420", "AV_PIX_FMT_YUV420P"],
  ["I420", "AV_PIX_FMT_YUVJ420P"],
  ["I420P10", "AV_PIX_FMT_YUV420P10LE"],
  ["I420P12", "AV_PIX_FMT_YUV420P12LE"],
  ["I420A", "AV_PIX_FMT_YUVA420P"],
  ["I420AP10", "AV_PIX_FMT_YUVA420P10LE"],
  ["I422", "AV_PIX_FMT_YUV422P"],
  ["I422P10", "AV_PIX_FMT_YUV422P10LE"],
  ["I422A", "AV_PIX_FMT_YUVA422P"],
  ["I422AP12", "AV_PIX_FMT_YUVA422P12LE"],
  ["I444", "AV_PIX_FMT_YUV444P"],
  ["I444P12", "AV_PIX_FMT_YUV444P12LE"],
  ["I444AP10", "AV_PIX_FMT_YUVA444P10LE"],
  ["NV12", "AV_PIX_FMT_NV12"],
  ["RGBA", "AV_PIX_FMT_RGBA"],
  ["RGBX", "AV_PIX_FMT_RGB0"],
  ["BGRA", "AV_PIX_FMT_BGRA"],
  ["BGRX", "AV_PIX_FMT_BGR0"],
];

const SIZES = [
  [64, 36],
  [33, 17],
  [1, 1],
  [2, 3],
  [639, 361],
] as const;

let av: Formats;
let clip: Film;

beforeAll(async () => {
  await loadMediabunny();
  clip = await film();
  av = (await importLibav(import.meta.resolve("@mediabunny/server"))) as Formats;
});

afterAll(() => clip.remove());

/** A frame as a decoder has it, with rows that have gaps, and its random pixels as they lie tightly packed. */
function nativeFrame(
  name: string,
  width: number,
  height: number,
  seed = width,
): { frame: AvFrame; pixels: Uint8Array } {
  const shaped = (): AvFrame => {
    const frame = new av.Frame();
    frame.alloc();
    frame.format = av[name]!;
    frame.width = width;
    frame.height = height;
    return frame;
  };
  const random = generator(seed);
  const pixels = Uint8Array.from({ length: av.avImageGetBufferSize(av[name]!, width, height, 1) }, () => random(256));
  const [packed, frame] = [shaped(), shaped()];
  packed.fromBuffer(pixels);
  expect(frame.getBuffer(0)).toBe(0);
  expect(frame.copy(packed)).toBe(0);
  packed.free();
  Object.assign(frame, { sampleAspectRatio: new av.Rational(1, 1) });
  return { frame, pixels };
}

function sampleOf(frame: AvFrame): VideoSample {
  return new VideoSample(new server.AvFrameVideoSampleResource(frame as never), { timestamp: 0, duration: 0.04 });
}

function layoutOf(format: string, width: number, height: number): VideoInfo {
  return VideoInfo.of({ format: format as VideoPixelFormat, width, height });
}

/** Bytes with guards around them. */
function guarded(size: number, isShared: boolean): { bytes: Uint8Array; assertGuards: () => void } {
  const whole = new Uint8Array(isShared ? new SharedArrayBuffer(size + 66) : new ArrayBuffer(size + 66)).fill(0xa5);
  return {
    bytes: whole.subarray(1, size + 1),
    assertGuards: () => {
      expect(whole[0]).toBe(0xa5);
      expect(whole.subarray(size + 1).every((byte) => byte === 0xa5)).toBe(true);
    },
  };
}

const WAYS: readonly (readonly [string, () => FrameCopier])[] = [
  ["direct", () => new DirectCopier(av)],
  ["staged", () => new StagedCopier(av)],
];

describe.each(WAYS)("the %s copy", (_, createCopier) => {
  it.each(FORMATS)(
    "brings the pixels of %s (%s) in every size, and writes nothing beside them",
    REPEATED,
    async (format, name) => {
      // One copier for all of them: the format changes in mid-stream, too.
      const copier = createCopier();
      for (const [width, height] of SIZES.slice(0, times(4, 5))) {
        const layout = layoutOf(format, width, height);
        const { frame, pixels } = nativeFrame(name, width, height);
        expect(layout.size).toBe(pixels.length);
        for (const isShared of [false, true]) {
          const { bytes, assertGuards } = guarded(layout.size, isShared);
          expect(copier.copy(frame, bytes, layout.size)).toBe(true);
          expect(Buffer.compare(bytes, pixels)).toBe(0);
          assertGuards();
        }
        const sample = sampleOf(frame);
        const ordinary = new Uint8Array(layout.size);
        await sample.copyTo(ordinary, { layout: layout.layout });
        // mediabunny 1.59 leaves the last column of chroma out where the width is odd.
        if (width % 2 === 0) expect(Buffer.compare(ordinary, pixels)).toBe(0);
        sample.close();
      }
    },
  );

  it("refuses bytes that are too few, and a size that is not the frame's, and writes nothing", () => {
    const copier = createCopier();
    const { frame } = nativeFrame("AV_PIX_FMT_YUV420P", 64, 36);
    const bytes = new Uint8Array(3456);
    expect(copier.copy(frame, bytes.subarray(1), 3456)).toBe(false);
    expect(copier.copy(frame, bytes, 3455)).toBe(false);
    expect(copier.copy(frame, bytes, 3457)).toBe(false);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    expect(copier.copy(frame, bytes, 3456)).toBe(true);
    frame.free();
    expect(copier.copy(frame, bytes, 3456)).toBe(false);
  });
});

describe("the choice of a copy", () => {
  /** node-av with another Frame. */
  const withFrame = (Frame: unknown): Libav => ({ ...av, Frame }) as Libav;

  it("is the direct one with the installed packages", () => {
    expect(chooseCopier(av)).toBe(DirectCopier);
  });

  it("is the staged one where fromBuffer copies, as node-av's documentation has it", () => {
    class Copying extends (av.Frame as new () => AvFrame) {
      override fromBuffer(bytes: Uint8Array): number {
        let at = 0;
        for (const plane of this.data ?? []) {
          plane.set(bytes.subarray(at, at + plane.length));
          at += plane.length;
        }
        return at;
      }
    }
    expect(chooseCopier(withFrame(Copying))).toBe(StagedCopier);
  });

  it("is none where neither works, and says why", () => {
    class Broken extends (av.Frame as new () => AvFrame) {
      override copy(): number {
        return -22;
      }
    }
    expect(chooseCopier(withFrame(Broken))).toBe("its frames cannot be copied natively");
    expect(chooseCopier(withFrame(undefined))).toMatch(/is not a constructor/);
    expect(chooseCopier({ ...av, avImageGetBufferSize: undefined } as unknown as Libav)).toMatch(/not a function/);
  });

  it("warns once, with a code, when frames go the slow way", async () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    try {
      warnOfSlowCopies("a reason");
      warnOfSlowCopies("another one");
      await importLibav("file:///nowhere/x.js");
      expect(warn).toHaveBeenCalledOnce();
      expect(warn).toHaveBeenCalledWith(expect.stringMatching(/with VideoSample\.copyTo.*\(a reason\)/), {
        code: SLOW_COPY,
      });
    } finally {
      warn.mockRestore();
    }
  });
});

describe("a decoded frame", () => {
  const facts = { pixelAspect: 1, colors: { matrix: undefined, fullRange: false } } as VideoFileFacts;

  it("is copied without a look at its planes: no external ArrayBuffer a frame", async () => {
    const { frame, pixels } = nativeFrame("AV_PIX_FMT_YUV420P", 64, 36);
    const sample = sampleOf(frame);
    let looks = 0;
    Object.defineProperty(frame, "data", { get: () => looks++ });
    const decoded = new VideoFileFrame(sample, facts);
    const bytes = new Uint8Array(new SharedArrayBuffer(decoded.layout.size));
    expect(await decoded.copyTo(bytes)).toBe(true);
    expect(Buffer.compare(bytes, pixels)).toBe(0);
    expect(looks).toBe(0);
    decoded.close();
  });

  it("that is a part of the native one is not copied natively", () => {
    const { frame } = nativeFrame("AV_PIX_FMT_YUV420P", 64, 36);
    const sample = sampleOf(frame);
    const bytes = new Uint8Array(64 * 36 * 2);
    expect(copyNatively(sample, bytes, layoutOf("I420", 32, 36))).toBe(false);
    expect(copyNatively(sample, bytes, layoutOf("I420", 64, 18))).toBe(false);
    expect(copyNatively(sample, bytes, layoutOf("I444", 64, 36))).toBe(false);
    expect(copyNatively(sample, bytes, VideoInfo.of({ format: "I420", width: 64, height: 36, strideAlign: 64 }))).toBe(
      false,
    );
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    sample.close();
  });

  it("of another decoder is copied as before", async () => {
    const layout = layoutOf("I420", 64, 36);
    const pixels = Uint8Array.from({ length: layout.size }, (_, i) => i % 251);
    const sample = new VideoSample(pixels, { format: "I420", codedWidth: 64, codedHeight: 36, timestamp: 0 });
    const decoded = new VideoFileFrame(sample, facts);
    const bytes = new Uint8Array(layout.size);
    expect(frameOfSample(sample)).toBeUndefined();
    expect(await decoded.copyTo(bytes)).toBe(true);
    expect(Buffer.compare(bytes, pixels)).toBe(0);
    decoded.close();
    await expect(decoded.copyTo(bytes)).rejects.toMatchObject({ code: "ERR_USE_AFTER_RELEASE" });
  });

  it("cannot be copied once it is closed, though a clone of it is open", async () => {
    const sample = sampleOf(nativeFrame("AV_PIX_FMT_YUV420P", 64, 36).frame);
    const clone = sample.clone();
    const decoded = new VideoFileFrame(sample, facts);
    decoded.close();
    const bytes = new Uint8Array(decoded.layout.size);
    await expect(decoded.copyTo(bytes)).rejects.toThrow(/closed/);
    expect(copyNatively(clone, bytes, decoded.layout)).toBe(true);
    clone.close();
    expect(copyNatively(clone, bytes, decoded.layout)).toBe(false);
    await expect(decoded.copyTo(bytes)).rejects.toThrow(/closed/);
  });

  it("writes into no buffer that was taken away from it", async () => {
    const sample = sampleOf(nativeFrame("AV_PIX_FMT_YUV420P", 64, 36).frame);
    const decoded = new VideoFileFrame(sample, facts);
    const bytes = new Uint8Array(decoded.layout.size);
    await decoded.copyTo(bytes);
    const moved = new Uint8Array(structuredClone(bytes.buffer, { transfer: [bytes.buffer] }));
    moved.fill(9);
    expect(await codeOf(decoded.copyTo(bytes))).toBe("ERR_DETACHED");
    await decoded.copyTo(new Uint8Array(decoded.layout.size));
    expect(moved.every((byte) => byte === 9)).toBe(true);
    decoded.close();
  });

  it("leaves the slots of a pool that was closed by force alone", async () => {
    const sample = sampleOf(nativeFrame("AV_PIX_FMT_YUV420P", 64, 36).frame);
    const decoded = new VideoFileFrame(sample, facts);
    const pool = BufferPool.create({ size: decoded.layout.size, max: 2, revoke: true });
    const lease = pool.tryAcquire()!;
    const kept = lease.bytes;
    await decoded.copyTo(kept);
    pool.close({ force: true });
    expect(await codeOf(decoded.copyTo(kept))).toBe("ERR_DETACHED");
    decoded.close();
  });
});

describe("native copies into memory that comes and goes", () => {
  it(
    "touch nothing that is not their target, while pools are closed by force and buffers are collected",
    REPEATED,
    async () => {
      const script = new URL("./libav-stress.ts", import.meta.url).pathname;
      const rounds = times(10, 2000);
      // 40 s at full length, and several times that beside other work.
      const exit = await run([process.execPath, "--expose-gc", script, String(rounds), "7"], { timeout: HANGS_MS });
      expect(answerOf(exit)).toEqual({ rounds, bad: 0 });
    },
  );

  it("are each thread's own: those that decode at once get the same frames", REPEATED, async () => {
    const threads = [1, 2, 3]
      .slice(0, times(2, 3))
      .map(() => new Worker(new URL("./libav-thread.ts", import.meta.url), { workerData: clip.path }));
    const answers = await Promise.all(threads.map(async (thread) => (await once(thread, "message"))[0] as unknown));
    await Promise.all(threads.map((thread) => thread.terminate()));
    expect(answers[0]).toEqual({ frames: clip.frames, sum: expect.any(Number) });
    expect(answers).toEqual(answers.map(() => answers[0]));
  });
});

describe("a decoded film", REPEATED, () => {
  /** How often JavaScript looked at the planes of a native frame, each time for as many external ArrayBuffers. */
  async function looks(copy: (frame: VideoFileFrame, bytes: Uint8Array) => Promise<unknown>): Promise<number> {
    const spy = vi.spyOn(av.Frame.prototype as AvFrame, "data", "get");
    const bytes = new Uint8Array(new SharedArrayBuffer((1280 * 720 * 3) / 2));
    try {
      const file = await openVideoFile(clip.path);
      for (let frame = await file.next(); frame !== undefined; frame = await file.next()) {
        await copy(frame, bytes);
        frame.close();
      }
      await file.close();
      return spy.mock.calls.length;
    } finally {
      spy.mockRestore();
    }
  }

  it("is copied without one look at a native frame, where VideoSample.copyTo looks at each", async () => {
    expect(await looks((frame, bytes) => frame.copyTo(bytes))).toBe(0);
    expect(await looks(({ sample }, bytes) => sample.copyTo(bytes))).toBeGreaterThanOrEqual(clip.frames);
  });

  it("is scaled without a look either", async () => {
    // The packages are tried when they are loaded, with one look.
    await new Pipeline()
      .link(new FileSource(clip.path), new DecodeElement(), new VideoScale({ width: 160 }), new NullSink())
      .run();
    const spy = vi.spyOn(av.Frame.prototype as AvFrame, "data", "get");
    try {
      const [source, decode, sink] = [new FileSource(clip.path), new DecodeElement(), new NullSink()];
      const scale = new VideoScale({ width: 160 });
      await new Pipeline().link(source, decode, scale, sink).run();
      expect(scale.role).toMatch(/by libav$/);
      expect([sink.count, spy.mock.calls.length]).toEqual([clip.frames, 0]);
    } finally {
      spy.mockRestore();
    }
  });
});
