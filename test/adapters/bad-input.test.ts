// Shares its realm with other files: nothing that it changes outlives it.
/**
 * What the adapters answer to wrong arguments: the library's own error, at once, and a source that nobody has touched.
 */
import { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import { openVideoFile, VideoFileFrame } from "../../src/adapters/mediabunny/video-file.ts";
import { type FrameSource, pooledFrames } from "../../src/adapters/node/frame-source.ts";
import { openRawVideo, rawLayout } from "../../src/adapters/raw-video/raw-video.ts";
import { WebCodecsDecoder, WebCodecsEncoder } from "../../src/adapters/webcodecs/coders.ts";
import { codeOf } from "../helpers/code-of.ts";
import { code, openPool } from "../pools/buffer/pools.ts";

const TYPE = "ERR_INVALID_ARG_TYPE";
const VALUE = "ERR_INVALID_ARG_VALUE";
const RANGE = "ERR_OUT_OF_RANGE";

function untouchable(): FrameSource & { calls: number } {
  const source = {
    calls: 0,
    shortfall: undefined,
    starvedMs: 0,
    next: () => {
      source.calls++;
      return Promise.resolve(undefined);
    },
    close: () => {
      source.calls++;
      return Promise.resolve();
    },
  };
  return source;
}

describe("pooledFrames", () => {
  it("refuses wrong arguments at the call, before the loop, and does not touch the source", () => {
    const pool = openPool();
    const source = untouchable();
    expect([
      code(() => pooledFrames(null as never, pool)),
      code(() => pooledFrames({ next() {} } as never, pool)),
      code(() => pooledFrames(source, {} as never)),
      code(() => pooledFrames(source, pool, null as never)),
      code(() => pooledFrames(source, pool, { timeot: 5 } as never)),
      code(() => pooledFrames(source, pool, { timeout: -1 })),
      code(() => pooledFrames(source, pool, { signal: { aborted: false } as never })),
    ]).toEqual([TYPE, TYPE, TYPE, TYPE, VALUE, RANGE, TYPE]);
    expect([source.calls, pool.outstanding]).toEqual([0, 0]);
  });

  it("reads each option once", async () => {
    let reads = 0;
    const options = {
      get timeout() {
        return reads++ === 0 ? 10 : ("later" as never);
      },
    };
    for await (const buffer of pooledFrames(untouchable(), openPool(), options)) buffer.release();
    expect(reads).toBe(1);
  });

  it("answers a frame that does not fit with ERR_OUT_OF_RANGE, and gives the buffer back", async () => {
    const pool = openPool();
    const source = await openRawVideo(Readable.from([Buffer.alloc(100)]), { format: "gray", width: 10, height: 10 });
    expect(await codeOf(pooledFrames(source, pool).next())).toBe(RANGE);
    expect(pool.outstanding).toBe(0);
  });
});

describe("raw video", () => {
  it("refuses a name, a width or a height that is none, also for gray formats", () => {
    expect([
      code(() => rawLayout(undefined as never, 8, 8)),
      code(() => rawLayout("gray", Symbol("8") as never, 8)),
      code(() => rawLayout("gray", 8, 8n as never)),
      code(() => rawLayout("gray", Number.NaN, 8)),
      code(() => rawLayout("gray", 8, -1)),
      code(() => rawLayout("gray", 8, 1e308)),
      code(() => rawLayout("__proto__", 8, 8)),
    ]).toEqual([TYPE, TYPE, TYPE, RANGE, RANGE, RANGE, "ERR_UNSUPPORTED"]);
  });

  it("leaves the stream to the caller when an argument is refused", async () => {
    const stream = Readable.from([Buffer.from("x")]);
    expect([
      await codeOf(openRawVideo({} as never)),
      await codeOf(openRawVideo(stream, null as never)),
      await codeOf(openRawVideo(stream, { formt: "gray" } as never)),
      await codeOf(openRawVideo(stream, { format: "gray" })),
      await codeOf(openRawVideo(stream, { format: "gray", width: 1.5, height: 8 })),
      await codeOf(openRawVideo(stream, { width: "8" as never })),
      await codeOf(openRawVideo(stream, { frameRate: { num: 25, den: 0 } })),
      await codeOf(openRawVideo(stream, { frameRate: 25 as never })),
    ]).toEqual([TYPE, TYPE, VALUE, VALUE, RANGE, TYPE, RANGE, TYPE]);
    expect([stream.destroyed, stream.readableFlowing]).toEqual([false, null]);
    stream.destroy();
  });

  it("a frame refuses bytes that are too few or gone, and can be copied after that", async () => {
    const source = await openRawVideo(Readable.from([Buffer.alloc(100, 7)]), {
      format: "gray",
      width: 10,
      height: 10,
    });
    const frame = (await source.next())!;
    const gone = new Uint8Array(100);
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    expect([
      await codeOf(frame.copyTo(null as never)),
      await codeOf(frame.copyTo(gone)),
      await codeOf(frame.copyTo(new Uint8Array(99))),
    ]).toEqual([TYPE, "ERR_DETACHED", RANGE]);
    const bytes = new Uint8Array(100);
    expect([await frame.copyTo(bytes), bytes[99]]).toEqual([true, 7]);
    await source.close();
  });
});

describe("mediabunny", () => {
  it("refuses a path that is none before the file system sees it", async () => {
    expect([
      await codeOf(openVideoFile(undefined as never)),
      await codeOf(openVideoFile(new Uint8Array(4) as never)),
      await codeOf(openVideoFile("")),
      await codeOf(openVideoFile("a\0b")),
    ]).toEqual([TYPE, TYPE, VALUE, VALUE]);
  });

  it("a frame refuses bytes that are too few or gone before the decoder sees them", async () => {
    let copies = 0;
    const sample = {
      format: "I420",
      visibleRect: { width: 4, height: 4 },
      copyTo: () => Promise.resolve(copies++),
    };
    const frame = new VideoFileFrame(sample as never, {} as never);
    expect([
      await codeOf(frame.copyTo({ length: 100 } as never)),
      await codeOf(frame.copyTo(new Uint8Array(23))),
      copies,
      await codeOf(frame.copyTo(new Uint8Array(24))),
      copies,
    ]).toEqual([TYPE, RANGE, 0, "ok", 1]);
  });
});

describe("WebCodecs stages", () => {
  it("refuse options that are none, unknown, or of the wrong type, and name them", () => {
    expect([
      code(() => new WebCodecsEncoder(undefined as never)),
      code(() => new WebCodecsEncoder(null as never)),
      code(() => new WebCodecsEncoder({} as never)),
      code(() => new WebCodecsEncoder({ codec: "" })),
      code(() => new WebCodecsEncoder({ codec: "vp8", bitrat: 5 } as never)),
      code(() => new WebCodecsEncoder({ codec: "vp8", bitrate: 0 })),
      code(() => new WebCodecsEncoder({ codec: "vp8", keyFrameEvery: null as never })),
      code(() => new WebCodecsEncoder({ codec: "vp8", name: "" })),
      code(() => new WebCodecsDecoder(5 as never)),
      code(() => new WebCodecsDecoder({ codec: 5 as never })),
      code(() => new WebCodecsDecoder({ codec: "vp8", description: "x" as never })),
      code(() => new WebCodecsDecoder({ codec: "vp8", descriptin: new Uint8Array(1) } as never)),
    ]).toEqual([TYPE, TYPE, TYPE, VALUE, VALUE, RANGE, TYPE, VALUE, TYPE, TYPE, TYPE, VALUE]);
    expect(() => new WebCodecsEncoder({ codec: "vp8", bitrat: 5 } as never)).toThrow(
      'options.bitrat is not an option here; did you mean "bitrate"?',
    );
  });

  it("keep their options as they were at the call", () => {
    const options = { codec: "vp8" };
    const encoder = new WebCodecsEncoder(options);
    options.codec = "av1";
    expect(encoder.role).toContain("vp8");
  });
});
