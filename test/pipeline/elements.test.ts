import { spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  createReadStream,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { openVideoFile } from "../../src/adapters/mediabunny/video-file.ts";
import { FileSink, FileSource, RawVideoSink } from "../../src/adapters/node/file-elements.ts";
import type { FrameSource } from "../../src/adapters/node/frame-source.ts";
import { DecodeElement, FramesElement, RawVideoElement } from "../../src/adapters/node/frames-element.ts";
import { ContactSheetFile, EncodeSink } from "../../src/adapters/node/media-sinks.ts";
import { openRawVideo } from "../../src/adapters/raw-video/raw-video.ts";
import { AudioInfo } from "../../src/media/audio/info.ts";
import { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import type { VideoPixelFormat } from "../../src/media/video/format.ts";
import { VideoInfo } from "../../src/media/video/info.ts";
import { nextTurn } from "../../src/pipeline/base/element.ts";
import { Caps } from "../../src/pipeline/caps.ts";
import { AppSink } from "../../src/pipeline/elements/app-sink.ts";
import { type AppItem, AppSource } from "../../src/pipeline/elements/app-source.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { CapsFilter, Identity } from "../../src/pipeline/elements/pass-through.ts";
import { PatternSource } from "../../src/pipeline/elements/pattern-source.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import { Tee } from "../../src/pipeline/elements/tee.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { audioFormat, byteFormat, type VideoStream } from "../../src/pipeline/stream-format.ts";
import { FakeClock } from "../../src/util/clock.ts";
import { ContactSheetSink } from "../../src/video/contact-sheet-sink.ts";
import { FrameConverter } from "../../src/video/convert.ts";
import { VideoScale } from "../../src/video/scale.ts";
import { mkfifo, openDescriptors, openedSince } from "../helpers/descriptors.ts";
import { FULL } from "../helpers/effort.ts";
import { expectHome } from "./kit.ts";

const folder = mkdtempSync(join(tmpdir(), "millpond-elements-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string): string => join(folder, name);
const hasFfmpeg = spawnSync("ffmpeg", ["-version"], { stdio: "ignore" }).status === 0;

/** A smooth picture with some edges, the same on every machine. */
function picture(info: VideoInfo): Uint8Array {
  const bytes = new Uint8Array(info.size);
  info.planes.forEach(({ offset, stride, rowBytes, height, sampleBytes }, plane) => {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < rowBytes; x++) {
        const column = Math.floor(x / sampleBytes);
        const channel = x % sampleBytes;
        const wave = 128 + 60 * Math.sin((column + plane * 9 + channel * 5) / 11) + 40 * Math.cos((y + channel) / 7);
        bytes[offset + y * stride + x] = column > rowBytes / sampleBytes / 2 && y > height / 2 ? wave / 2 + 60 : wave;
      }
    }
  });
  return bytes;
}

const FFMPEG: Partial<Record<VideoPixelFormat, string>> = {
  I420: "yuv420p",
  I422: "yuv422p",
  I444: "yuv444p",
  NV12: "nv12",
  RGBA: "rgba",
  BGRA: "bgra",
  GRAY8: "gray",
};

function ffmpegScale(bytes: Uint8Array, from: VideoInfo, to: VideoInfo): Uint8Array {
  const size = (info: VideoInfo): string => `${info.width}x${info.height}`;
  const flags = "bilinear+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact";
  const filter = `scale=${to.width}:${to.height}:flags=${flags}:in_color_matrix=bt601:out_color_matrix=bt601:in_range=tv:out_range=tv`;
  // Without a change of size swscale takes a short way to RGB that repeats chroma; 4:4:4 in between makes it blend.
  const chain =
    to.format === "RGBA" && from.format === "I420" ? `scale=flags=${flags},format=yuv444p,${filter}` : filter;
  const args = ["-v", "error", "-f", "rawvideo", "-pix_fmt", FFMPEG[from.format]!, "-s", size(from), "-i", "-"];
  args.push("-vf", chain, "-pix_fmt", FFMPEG[to.format]!, "-f", "rawvideo", "-");
  const { stdout, stderr } = spawnSync("ffmpeg", args, { input: bytes, maxBuffer: 1 << 26 });
  if (stdout.length === 0) throw new Error(String(stderr));
  return stdout;
}

function difference(a: Uint8Array, b: Uint8Array): { mean: number; worst: number } {
  expect(a.length).toBe(b.length);
  let sum = 0;
  let worst = 0;
  for (let i = 0; i < a.length; i++) {
    const d = Math.abs(a[i]! - b[i]!);
    sum += d;
    worst = Math.max(worst, d);
  }
  return { mean: sum / a.length, worst };
}

describe("scaling and converting", () => {
  const cases: [VideoPixelFormat, number, number, VideoPixelFormat, number, number][] = [
    ["I420", 96, 64, "I420", 48, 32],
    ["I420", 96, 64, "I420", 60, 34],
    ["I420", 96, 64, "I420", 150, 90],
    ["GRAY8", 96, 64, "GRAY8", 31, 23],
    ["RGBA", 96, 64, "RGBA", 40, 30],
    ["RGBA", 96, 64, "BGRA", 96, 64],
    ["I444", 96, 64, "RGBA", 96, 64],
    ["I420", 96, 64, "RGBA", 96, 64],
    ["I420", 96, 64, "BGRA", 48, 32],
    ["NV12", 96, 64, "I420", 96, 64],
    ["I420", 96, 64, "NV12", 48, 32],
    ["RGBA", 96, 64, "I444", 96, 64],
    ["RGBA", 96, 64, "I420", 96, 64],
    ["I422", 96, 64, "I420", 96, 64],
    ["I420", 96, 64, "I444", 96, 64],
  ];
  const layouts = ([a, w, h, b, tw, th]: (typeof cases)[number], divide = 1): [VideoInfo, VideoInfo] => [
    VideoInfo.of({ format: a, width: w / divide, height: h / divide }),
    VideoInfo.of({ format: b, width: Math.ceil(tw / divide), height: Math.ceil(th / divide) }),
  ];
  const convert = (from: VideoInfo, to: VideoInfo): Uint8Array => {
    const target = new Uint8Array(to.size);
    new FrameConverter(from, to).run(picture(from), target);
    return target;
  };
  const expectAlike = (ours: Uint8Array, theirs: Uint8Array): void => {
    const { mean, worst } = difference(ours, theirs);
    expect(mean).toBeLessThan(0.2);
    expect(worst).toBeLessThanOrEqual(1);
  };

  // The fast lane asks ffmpeg once; for the others it has what ffmpeg made of small pictures, below.
  for (const [nth, one] of cases.entries()) {
    const [a, w, h, b, tw, th] = one;
    test.runIf(hasFfmpeg)(
      `${a} ${w}x${h} to ${b} ${tw}x${th} is what ffmpeg makes of it`,
      nth === 0 ? {} : FULL,
      () => {
        const [from, to] = layouts(one);
        expectAlike(convert(from, to), ffmpegScale(picture(from), from, to));
      },
    );
  }

  // What ffmpeg made of small pictures, for machines without it; MILLPOND_VECTORS=1 writes the file anew.
  const vectorFile = new URL("./scale-vectors.json", import.meta.url);
  if (process.env.MILLPOND_VECTORS === "1") {
    const made = cases.map((one) => {
      const [from, to] = layouts(one, 4);
      return [one.join(" "), Buffer.from(ffmpegScale(picture(from), from, to)).toString("base64")];
    });
    writeFileSync(vectorFile, `${JSON.stringify(Object.fromEntries(made), undefined, 1)}\n`);
  }
  const vectors = JSON.parse(readFileSync(vectorFile, "utf8")) as Record<string, string>;
  test.each(cases)("%s %dx%d to %s %dx%d, a quarter of the size, is what ffmpeg once made of it", (...one) => {
    const [from, to] = layouts(one, 4);
    expectAlike(convert(from, to), Buffer.from(vectors[one.join(" ")]!, "base64"));
  });

  test("rows with padding, shared memory and ten bits come out the same", () => {
    const tight = VideoInfo.of({ format: "I420", width: 50, height: 30 });
    const padded = VideoInfo.of({ format: "I420", width: 50, height: 30, strideAlign: 64 });
    const target = VideoInfo.of({ format: "RGBA", width: 33, height: 21 });
    const source = picture(tight);
    const wide = new Uint8Array(new SharedArrayBuffer(padded.size));
    new FrameConverter(tight, padded).run(source, wide);
    const [a, b] = [new Uint8Array(target.size), new Uint8Array(target.size)];
    new FrameConverter(tight, target).run(source, a);
    new FrameConverter(padded, target).run(wide, b);
    expect(b).toEqual(a);

    const deep = VideoInfo.of({ format: "I420P10", width: 50, height: 30 });
    const up = new Uint8Array(deep.size);
    new FrameConverter(tight, deep).run(source, up);
    expect(new Uint16Array(up.buffer)[7]).toBe(source[7]! * 4);
    const back = new Uint8Array(tight.size);
    new FrameConverter(deep, tight).run(up, back);
    expect(back).toEqual(source);
  });

  test("alpha stays, X is opaque, gray gets neutral chroma", () => {
    const of = (format: VideoPixelFormat): VideoInfo => VideoInfo.of({ format, width: 4, height: 2 });
    const rgba = new Uint8Array(of("RGBA").size).fill(77);
    const out = new Uint8Array(of("I420A").size);
    new FrameConverter(of("RGBA"), of("I420A")).run(rgba, out);
    expect([...out.subarray(of("I420A").planes[3]!.offset)]).toEqual(new Array(8).fill(77));
    const x = new Uint8Array(of("BGRX").size);
    new FrameConverter(of("RGBA"), of("BGRX")).run(rgba, x);
    expect([x[3], x[0]]).toEqual([255, 77]);
    const yuv = new Uint8Array(of("I420").size);
    new FrameConverter(of("GRAY8"), of("I420")).run(new Uint8Array(8).fill(9), yuv);
    expect([...yuv]).toEqual([9, 9, 9, 9, 9, 9, 9, 9, 128, 128, 128, 128]);
    expect(() => new FrameConverter(of("I420P10"), of("RGBA"))).toThrow(/ERR_UNSUPPORTED/);
  });

  const settled = async (scale: VideoScale, ...more: (Identity | CapsFilter)[]): Promise<string> => {
    const sink = new NullSink();
    const source = new PatternSource({ format: "I420", width: 640, height: 360, frames: 3 });
    const pipeline = new Pipeline().link(source, scale, ...more, sink);
    await pipeline.run();
    expect(sink.count).toBe(3);
    expectHome(pipeline);
    const { info } = sink.in.format as VideoStream;
    return `${info.format} ${info.width}x${info.height} ${scale.mode}`;
  };

  test("the element keeps the shape, follows what downstream takes, and passes through where nothing is to do", async () => {
    expect(await settled(new VideoScale({ width: 320 }))).toBe("I420 320x180 copy");
    expect(await settled(new VideoScale({ height: 90 }))).toBe("I420 160x90 copy");
    expect(await settled(new VideoScale({ format: "RGBA" }))).toBe("RGBA 640x360 copy");
    expect(await settled(new VideoScale())).toBe("I420 640x360 passthrough");
    const small = Caps.video({ width: { min: 16, max: 400 }, format: ["BGRA", "I422"] });
    expect(await settled(new VideoScale(), new CapsFilter(small))).toBe("I422 400x225 copy");
    expect(
      await settled(new VideoScale(), new Identity(), new CapsFilter(Caps.video({ format: "RGBA", height: 180 }))),
    ).toBe("RGBA 320x180 copy");
  });

  test("the element refuses what it cannot make, with both sides", async () => {
    const pipeline = new Pipeline().link(
      new PatternSource({ format: "I420", width: 64, height: 64, frames: 1 }),
      new VideoScale({ name: "scale", width: 32, height: 32 }),
      new Identity(),
      new CapsFilter(Caps.video({ width: { min: 100, max: 200 } })),
      new NullSink(),
    );
    await expect(pipeline.run()).rejects.toThrow(
      /"scale" gets I420 64x64 at 25 and cannot make anything of it: it gives video \{ width: 32, height: 32 \}, and downstream takes video \{ width: 100\.\.200 \}/,
    );
    expect(() => new VideoScale({ format: "YUYV" as never })).toThrow(/ERR_INVALID_ARG_VALUE/);
    expect(() => new VideoScale({ width: 0 })).toThrow(/ERR_OUT_OF_RANGE/);
  });
});

describe("files", () => {
  test("are read in blocks of the pool and written whole", async () => {
    const bytes = Uint8Array.from({ length: 200_001 }, (_, i) => (i * 31) ^ (i >> 8));
    writeFileSync(path("in.bin"), bytes);
    const source = new FileSource(path("in.bin"), { blockSize: 4096 });
    const pipeline = new Pipeline().link(source, new FileSink(path("out.bin")));
    await pipeline.run();
    expect(readFileSync(path("out.bin")).equals(bytes)).toBe(true);
    expect(readdirSync(folder).filter((name) => name.endsWith(".part"))).toEqual([]);
    // One being read, one in line, one on its way, and no more for 49 blocks.
    expect(source.out.decision!.count).toBe(3);
    expectHome(pipeline);
  });

  test("that are named pipes are read as they come, in whole blocks, and waited for without a thread", async () => {
    mkfifo(path("pipe"));
    const before = openDescriptors();
    const stop = new AbortController();
    const waiting = new FileSource(path("pipe"));
    const waits = new Pipeline({ acquireTimeout: 100, clock: new FakeClock() }).link(waiting, new NullSink());
    const canceled = waits.run({ signal: stop.signal });
    canceled.catch(() => {});
    for (let turn = 0; turn < 50; turn++) await nextTurn();
    expect(waiting.isPacedFromOutside).toBe(true);
    stop.abort(new Error("mine"));
    await expect(canceled).rejects.toThrow("mine");

    const bytes = Uint8Array.from({ length: 30_001 }, (_, i) => (i * 31) ^ (i >> 8));
    const writer = openSync(path("pipe"), constants.O_RDWR);
    const source = new FileSource(path("pipe"), { blockSize: 4096 });
    const pipeline = new Pipeline().link(source, new FileSink(path("piped.bin")));
    const run = pipeline.run();
    writeSync(writer, bytes);
    while (source.out.buffers < 7) await nextTurn();
    for (let turn = 0; turn < 20; turn++) await nextTurn();
    await expect(pipeline.seek(0)).rejects.toMatchObject({ code: "ERR_UNSUPPORTED" });
    await expect(run).rejects.toMatchObject({ code: "ERR_UNSUPPORTED" });
    closeSync(writer);
    const again = openSync(path("pipe"), constants.O_RDWR);
    const whole = pipeline.run();
    writeSync(again, bytes);
    while (source.out.buffers < 7) await nextTurn();
    closeSync(again);
    await whole;
    expect(readFileSync(path("piped.bin")).equals(bytes)).toBe(true);
    expect(openedSince(before)).toEqual([]);
    expectHome(pipeline);
  });

  test("that were written leave no listener to the exit of the process behind", async () => {
    const before = process.listenerCount("exit");
    for (let n = 0; n < 12; n++) {
      const failing = n % 3 === 0 ? AbortSignal.abort() : undefined;
      const pipeline = new Pipeline().link(new PatternSource({ frames: 2 }), new FileSink(path("listeners.bin")));
      await pipeline.run({ ...(failing && { signal: failing }) }).catch(() => {});
    }
    expect(process.listenerCount("exit")).toBe(before);
  });

  test("a contact sheet has no name before every other stage has ended well", async () => {
    class Fails extends NullSink {
      override finish(): void {
        expect(readdirSync(folder).filter((name) => name === "early.png")).toEqual([]);
        throw new Error("at the end");
      }
    }
    const [tee, queue] = [new Tee(), new Queue()];
    const sheet = new ContactSheetFile(path("early.png"));
    const pipeline = new Pipeline().link(new PatternSource({ frames: 3 }), tee, sheet).link(tee, queue, new Fails());
    await expect(pipeline.run()).rejects.toThrow("at the end");
    expect(readdirSync(folder).filter((name) => name.includes("early.png"))).toEqual([]);
    await new Pipeline().link(new PatternSource({ frames: 3 }), new ContactSheetFile(path("late.png"))).run();
    expect(readFileSync(path("late.png")).length).toBeGreaterThan(100);
  });

  test("that cannot be written or were not finished are not there", async () => {
    const sink = new FileSink(path("never.bin"));
    const source = new AppSource(
      (function* () {
        yield new Uint8Array(4);
        throw new Error("no more");
      })(),
      { format: byteFormat(4) },
    );
    await expect(new Pipeline().link(source, sink).run()).rejects.toThrow("no more");
    expect(readdirSync(folder).filter((name) => name.includes("never"))).toEqual([]);
    await expect(new Pipeline().link(new FileSource(path("absent")), new NullSink()).run()).rejects.toMatchObject({
      code: "ENOENT",
    });
    await expect(new Pipeline().link(new FileSource(folder), new NullSink()).run()).rejects.toThrow(/folder/);
  });

  test("a seek goes to a byte", async () => {
    const got: number[] = [];
    const sink = new AppSink();
    const pipeline = new Pipeline().link(new FileSource(path("in.bin"), { blockSize: 65_536 }), sink);
    const run = pipeline.run();
    let n = 0;
    for await (const buffer of sink) {
      got.push(Number(buffer.offset));
      buffer.release();
      if (++n === 2) await pipeline.seek(196_608);
    }
    await run;
    expect(got.slice(0, 2)).toEqual([0, 65_536]);
    expect(got.at(-1)).toBe(196_608);
    expectHome(pipeline);
  });

  test("Y4M goes out and comes in again", async () => {
    const file = path("bars.y4m");
    const pattern = new PatternSource({
      format: "I422",
      width: 50,
      height: 30,
      frames: 7,
      frameRate: { num: 30_000, den: 1001 },
    });
    await new Pipeline().link(pattern, new RawVideoSink(file)).run();
    const sink = new AppSink();
    const pipeline = new Pipeline().link(new FileSource(file), new DecodeElement(), sink);
    const run = pipeline.run();
    const stamps: (bigint | undefined)[] = [];
    for await (const buffer of sink) {
      stamps.push(buffer.pts);
      expect(buffer.bytes[0]).toBe(((stamps.length - 1) << 1) & 255);
      buffer.release();
    }
    await run;
    expect(stamps).toHaveLength(7);
    expect(stamps[1]).toBe(33_366_667n);
    const format = sink.in.format as VideoStream;
    expect([format.info.format, format.frameRate]).toEqual(["I422", { num: 30_000, den: 1001 }]);
    expectHome(pipeline);
  });

  test.runIf(hasFfmpeg)("ffmpeg reads what is written", async () => {
    const file = path("scaled.y4m");
    const source = new PatternSource({ format: "RGBA", width: 64, height: 48, frames: 5 });
    await new Pipeline().link(source, new VideoScale({ width: 30, strideAlign: 64 }), new RawVideoSink(file)).run();
    const { stdout } = spawnSync("ffprobe", [
      "-v",
      "error",
      "-count_frames",
      "-show_entries",
      "stream=pix_fmt,width,height,nb_read_frames",
      "-of",
      "csv=p=0",
      file,
    ]);
    expect(String(stdout).trim()).toBe("30,23,yuv420p,5");
  });

  test("bare frames have to be told", async () => {
    const file = path("frames.raw");
    await new Pipeline()
      .link(
        new PatternSource({ format: "NV12", width: 32, height: 16, frames: 3 }),
        new RawVideoSink(file, { y4m: false }),
      )
      .run();
    expect(readFileSync(file)).toHaveLength(3 * 32 * 16 * 1.5);
    const sink = new NullSink();
    await new Pipeline().link(new RawVideoElement(file, { format: "nv12", width: 32, height: 16 }), sink).run();
    expect(sink.count).toBe(3);
  });

  test("a video file is decoded, scaled and put on a contact sheet", async () => {
    let sheet: { width: number; height: number; rgb: Uint8Array } | undefined;
    const clip = new URL("../../assets/clip.mp4", import.meta.url).pathname;
    const decode = new DecodeElement("decode");
    const pipeline = new Pipeline().link(
      new FileSource(clip),
      decode,
      new Queue({ max: 2 }),
      new VideoScale({ width: 160 }),
      new ContactSheetSink({
        tiles: 6,
        onSheet: (made) => {
          sheet = made;
        },
      }),
    );
    const summary = await pipeline.run();
    expect(Object.values(summary.sinks)[0]).toBeGreaterThan(50);
    expect(sheet!.rgb).toHaveLength(3 * sheet!.width * sheet!.height);
    expect(decode.shortfall).toBeUndefined();
    expect(summary.holders).toEqual([]);
    expectHome(pipeline);
  });

  test("decoded video that changes its resolution in mid-stream goes on in new pools, into one sheet and one file", async () => {
    const clip = new URL("../../assets/clip.mp4", import.meta.url).pathname;
    const small = path("small.y4m");
    await new Pipeline()
      .link(new FileSource(clip), new DecodeElement(), new VideoScale({ width: 320 }), new RawVideoSink(small))
      .run();
    // The clip as it is, then the same film at a quarter of its width: one stream for what is behind.
    const playlist = new FramesElement(async () => {
      const files: FrameSource[] = [await openVideoFile(clip), await openRawVideo(createReadStream(small))];
      return {
        frames: {
          shortfall: undefined,
          starvedMs: 0,
          async next() {
            for (;;) {
              const frame = await files[0]?.next();
              if (frame !== undefined || files.length === 0) return frame;
              await files.shift()?.close();
            }
          },
          async close() {
            for (const file of files.splice(0)) await file.close();
          },
        },
      };
    }, "playlist");
    const tee = new Tee("tee");
    const out = path("one-size.y4m");
    const sizes: string[] = [];
    const watch = new NullSink({ name: "watch", retainedBuffers: 2 });
    watch.configure = (format) => void sizes.push(String((format as VideoStream).info.width));
    const pipeline = new Pipeline().link(
      playlist,
      new Queue({ max: 3 }),
      tee,
      new VideoScale({ width: 160, height: 90 }),
      new RawVideoSink(out),
    );
    pipeline.link(tee, watch);
    const summary = await pipeline.run();
    expect(sizes).toEqual(["1280", "320"]);
    expect(watch.count).toBe(150);
    expect(summary.holders).toEqual([]);
    const rounds = pipeline
      .describe()
      .decisions.filter((one) => one.pad === "playlist.out")
      .map((one) => [one.round, one.size]);
    expect(rounds).toEqual([
      [1, 1_382_400],
      [2, 86_400],
    ]);
    const sink = new NullSink();
    await new Pipeline().link(new RawVideoElement(out), sink).run();
    expect(sink.count).toBe(150);
    expectHome(pipeline);
  });

  test("frames that lie like the one before have its format; a format is made when their layout or presentation changes", async () => {
    let made = 0;
    const rotations = [0, 0, 0, 90, 90, 0] as const;
    let n = 0;
    const frames: FrameSource = {
      shortfall: undefined,
      starvedMs: 0,
      next: async () => {
        if (n === rotations.length) return undefined;
        const rotation = rotations[n++]!;
        return {
          layout: VideoInfo.of({ format: "GRAY8", width: n < 6 ? 4 : 8, height: 4 }),
          presentation: { rotation, flip: false, pixelAspect: 1, matrix: undefined, fullRange: false },
          pts: BigInt(n),
          duration: 1n,
          copyTo: async () => true,
          close: () => {},
        };
      },
      close: async () => {},
    };
    const source = new FramesElement(async () => ({
      frames,
      get frameRate() {
        made++;
        return { num: 25, den: 1 };
      },
    }));
    const sink = new NullSink();
    const seen: string[] = [];
    sink.configure = (format) => {
      const { info, presentation } = format as VideoStream;
      seen.push(`${info.width} ${presentation?.rotation ?? 0}`);
    };
    await new Pipeline().link(source, sink).run();
    expect(sink.count).toBe(rotations.length);
    expect(seen).toEqual(["4 0", "4 90", "8 0"]);
    expect(made).toBe(3);
  });

  test("pictures are encoded into a file that decodes again", async () => {
    const file = path("out.mp4");
    const source = new PatternSource({ width: 64, height: 48, frames: 12 });
    await new Pipeline().link(source, new EncodeSink(file)).run();
    const sink = new NullSink();
    await new Pipeline().link(new FileSource(file), new DecodeElement(), sink).run();
    expect(sink.count).toBe(12);
    expect((sink.in.format as VideoStream).info.width).toBe(64);
    expect(readdirSync(folder).filter((name) => name.endsWith("out.mp4"))).toEqual(["out.mp4"]);
    expect(() => new EncodeSink("out.gif")).toThrow(/ERR_INVALID_ARG_VALUE/);
  });

  test("a decoder without a file in front of it is refused", async () => {
    const source = new AppSource([new Uint8Array(1)], { format: byteFormat(1) });
    await expect(new Pipeline().link(source, new DecodeElement("d"), new NullSink()).run()).rejects.toThrow(
      /"d" needs a file/,
    );
  });

  test("a change of resolution in mid-stream goes through to a file of one size", async () => {
    const small = VideoInfo.of({ format: "I420", width: 32, height: 16 });
    const large = VideoInfo.of({ format: "I420", width: 64, height: 48 });
    const items = (function* (): Generator<AppItem> {
      for (let i = 0; i < 3; i++) yield picture(small);
      yield { format: { kind: "video", info: large } };
      for (let i = 0; i < 3; i++) yield picture(large);
    })();
    const file = path("change.y4m");
    const scale = new VideoScale({ width: 32, height: 16 });
    const pipeline = new Pipeline().link(
      new AppSource(items, { format: { kind: "video", info: small }, name: "app" }),
      scale,
      new RawVideoSink(file),
    );
    const warnings: string[] = [];
    await pipeline.run({ onWarning: (warning) => warnings.push(String(warning)) });
    // 64x48 squeezed into 32x16 has pixels of another shape, which the header cannot say a second time.
    expect(warnings).toContainEqual(expect.stringContaining("the pixel aspect ratio changes from 1 to 0.6667"));
    const sink = new NullSink();
    await new Pipeline().link(new RawVideoElement(file), sink).run();
    expect(sink.count).toBe(6);
    const rounds = pipeline
      .describe()
      .decisions.filter((one) => one.pad === "app.out")
      .map((one) => one.size);
    expect(rounds).toEqual([small.size, large.size]);
    expectHome(pipeline);
  });
});

describe("an application", () => {
  test("gives bytes, which are copied, and buffers, which are passed on", async () => {
    const own = MediaBuffer.allocate(4);
    own.bytes.set([9, 9, 9, 9]);
    const source = new AppSource([Uint8Array.of(1, 2, 3, 4), own, Uint8Array.of(5, 6)], { format: byteFormat(4) });
    const sink = new AppSink();
    const pipeline = new Pipeline().link(source, sink);
    const run = pipeline.run();
    const seen: number[][] = [];
    for await (const buffer of sink) {
      seen.push([...buffer.bytes]);
      buffer.release();
    }
    await run;
    expect(seen).toEqual([
      [1, 2, 3, 4],
      [9, 9, 9, 9],
      [5, 6],
    ]);
    expect(own.isLive).toBe(false);
    expectHome(pipeline);
  });

  test("sends audio as it sends pictures: blocks of one layout, and a new pool for another", async () => {
    const info = (frames: number): AudioInfo =>
      AudioInfo.of({ format: "f32-planar", sampleRate: 48_000, channels: 2, frames });
    const items: AppItem[] = [
      new Uint8Array(info(480).size).fill(1),
      { format: audioFormat(info(960)) },
      new Uint8Array(info(960).size).fill(2),
    ];
    const sink = new AppSink({ caps: Caps.audio({ sampleRate: [44_100, 48_000], channels: { min: 1, max: 2 } }) });
    const pipeline = new Pipeline().link(
      new AppSource(items, { format: audioFormat(info(480)), name: "app" }),
      new Queue(),
      sink,
    );
    const run = pipeline.run();
    const sizes: number[] = [];
    for await (const buffer of sink) {
      sizes.push(buffer.size);
      buffer.release();
    }
    await run;
    expect(sizes).toEqual([3840, 7680]);
    expect(pipeline.describe().decisions.map((one) => one.size)).toEqual([3840, 7680]);
    const picky = new NullSink();
    const filter = new CapsFilter(Caps.audio({ channels: 1 }));
    const one = new Pipeline().link(
      new AppSource([new Uint8Array(4)], { format: audioFormat(info(480)), name: "stereo" }),
      filter,
      picky,
    );
    await expect(one.run()).rejects.toThrow(/channels is 2, and 1 is wanted/);
    expectHome(pipeline);
  });

  test("that gives too many bytes, or something else, ends the run", async () => {
    const run = (item: unknown): Promise<unknown> =>
      new Pipeline().link(new AppSource([item as AppItem], { format: byteFormat(4) }), new NullSink()).run();
    await expect(run(new Uint8Array(5))).rejects.toMatchObject({ code: "ERR_OUT_OF_RANGE" });
    await expect(run("text")).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
  });

  test("that leaves its loop ends the run in order", async () => {
    const source = new PatternSource({ width: 16, height: 16 });
    const sink = new AppSink();
    const pipeline = new Pipeline().link(source, new Queue(), sink);
    const run = pipeline.run();
    let n = 0;
    for await (const buffer of sink) {
      buffer.release();
      if (++n === 5) break;
    }
    await run;
    expect(n).toBe(5);
    expectHome(pipeline);
  });

  test("whose run is canceled hears of it in its loop, also while its source waits", async () => {
    const stop = new AbortController();
    async function* never(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(4);
      await new Promise(() => {});
    }
    const sink = new AppSink();
    const pipeline = new Pipeline().link(new AppSource(never(), { format: byteFormat(4) }), sink);
    const run = pipeline.run({ signal: stop.signal });
    const loop = (async () => {
      for await (const buffer of sink) {
        buffer.release();
        stop.abort(new Error("canceled"));
      }
    })();
    await expect(run).rejects.toThrow("canceled");
    await expect(loop).rejects.toThrow("canceled");
    expectHome(pipeline);
  });

  test("may hold as many buffers as it has said", async () => {
    const sink = new AppSink({ retainedBuffers: 3 });
    const pipeline = new Pipeline().link(new PatternSource({ width: 16, height: 16, frames: 20 }), sink);
    const run = pipeline.run();
    const held: { release(): void }[] = [];
    let n = 0;
    for await (const buffer of sink) {
      n++;
      held.push(buffer);
      if (held.length === 3) held.shift()!.release();
    }
    for (const buffer of held) buffer.release();
    await run;
    expect(n).toBe(20);
    expectHome(pipeline);
  });
});
