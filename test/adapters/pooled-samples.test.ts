/** mediabunny's samples into slots, over a decoder of eight frames, and leases as mediabunny's samples. */
import { readFileSync } from "node:fs";
import {
  ALL_FORMATS,
  BufferSource,
  CustomVideoDecoder,
  type EncodedPacket,
  Input,
  type InputVideoTrack,
  registerDecoder,
  VideoSample,
  VideoSampleColorSpace,
  VideoSampleResource,
} from "mediabunny";
import { afterEach, describe, expect, it } from "vitest";
import { pooledSamples } from "../../src/adapters/mediabunny/browser-samples.ts";
import { PooledSampleResource } from "../../src/adapters/mediabunny/sample-resource.ts";
import { SharedAllocator } from "../../src/allocators/shared.ts";
import { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { VideoMeta } from "../../src/media/meta/layout-metas.ts";
import { VideoInfo } from "../../src/media/video/info.ts";
import type { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { CLIP } from "../cli/command.ts";
import { codeOf } from "../helpers/code-of.ts";
import { lateRejections } from "../helpers/late-errors.ts";
import { code, openPool } from "../pools/buffer/pools.ts";

const INFO = VideoInfo.of({ format: "I420", width: 32, height: 16 });
/** Packets of the clip. */
const PACKETS = 75;

/** What the fake decoder has given out, and how it goes on. */
const given = {
  open: 0,
  mostOpen: 0,
  made: 0,
  /** Frames that it has; it waits while they are all out. */
  frames: 8,
  failAt: Number.POSITIVE_INFINITY,
  /** Set: decoding waits for it. */
  hold: undefined as Promise<unknown> | undefined,
  format: "I420" as "I420" | null,
  /** The call of the decoder that fails. */
  failing: "none" as "none" | "init" | "decode" | "flush",
  /** What its close() throws. */
  closing: undefined as string | undefined,
  closed: 0,
  wake: (): void => {},
};

class DecodedPicture extends VideoSampleResource {
  readonly #value: number;
  constructor(value: number) {
    super();
    this.#value = value;
    given.made++;
    given.mostOpen = Math.max(given.mostOpen, ++given.open);
  }
  getFormat(): "I420" | null {
    return given.format;
  }
  getCodedWidth(): number {
    return INFO.width;
  }
  getCodedHeight(): number {
    return INFO.height;
  }
  getSquarePixelWidth(): number {
    return INFO.width;
  }
  getSquarePixelHeight(): number {
    return INFO.height;
  }
  getColorSpace(): VideoSampleColorSpace {
    return new VideoSampleColorSpace();
  }
  getDataPlanes(): { data: Uint8Array; stride: number }[] {
    return INFO.planes.map(({ stride, height }) => ({
      data: new Uint8Array(stride * height).fill(this.#value),
      stride,
    }));
  }
  toRgbSample(init: { timestamp: number }): VideoSample {
    const bytes = new Uint8Array(INFO.width * INFO.height * 4).fill(this.#value + 1);
    return new VideoSample(bytes, { ...init, format: "RGBA", codedWidth: INFO.width, codedHeight: INFO.height });
  }
  close(): void {
    given.open--;
    given.wake();
  }
}

function failAt(call: string): void {
  if (given.failing === call) throw new Error(`${call} failed`);
}

/** For any packet of the clip one small picture, in order of show; it refuses to go on with all its frames out. */
class FewFrames extends CustomVideoDecoder {
  readonly #times: number[] = [];
  static override supports(): boolean {
    return true;
  }
  override init(): void {
    failAt("init");
  }
  override async decode(packet: EncodedPacket): Promise<void> {
    await given.hold;
    failAt("decode");
    if (given.made >= given.failAt) {
      this.onError(new Error("the stream is damaged"));
      return;
    }
    while (given.open >= given.frames) {
      await new Promise<void>((resolve) => {
        given.wake = resolve;
      });
    }
    // Packets are in decoding order: what is shown next is known once two later ones are there.
    this.#times.push(packet.timestamp);
    this.#times.sort((a, b) => a - b);
    if (this.#times.length > 4) this.#emit();
  }
  #emit(): void {
    const timestamp = this.#times.shift()!;
    const number = Math.round(timestamp * 25);
    this.onSample(new VideoSample(new DecodedPicture(number), { timestamp, duration: 0.04 }));
  }
  override async flush(): Promise<void> {
    failAt("flush");
    while (this.#times.length > 0) {
      while (given.open >= given.frames) {
        await new Promise<void>((resolve) => {
          given.wake = resolve;
        });
      }
      this.#emit();
    }
  }
  override close(): void {
    given.closed++;
    if (given.closing !== undefined) throw new Error(given.closing);
  }
}
registerDecoder(FewFrames);

const clip = readFileSync(CLIP);
const inputs: Input[] = [];

async function openTrack(): Promise<InputVideoTrack> {
  const input = new Input({ source: new BufferSource(clip), formats: ALL_FORMATS });
  inputs.push(input);
  return (await input.getPrimaryVideoTrack())!;
}

afterEach(() => {
  for (const input of inputs.splice(0)) input.dispose();
  Object.assign(given, { open: 0, mostOpen: 0, made: 0, frames: 8, failAt: Infinity, hold: undefined, format: "I420" });
  Object.assign(given, { failing: "none", closing: undefined, closed: 0 });
});

async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Every frame is back in the decoder, every lease in the pool. */
async function expectWhole(pool: BufferPool): Promise<void> {
  while (given.open > 0) await settle();
  pool.validate();
  const { outstanding, awaitingMemory, waiting } = pool.stats();
  expect({ outstanding, awaitingMemory, waiting }).toEqual({ outstanding: 0, awaitingMemory: 0, waiting: 0 });
}

const all = Array.from({ length: PACKETS }, (_, i) => i);

describe("pooledSamples", () => {
  it("gives every frame in its slot, with its times and its layout, in the order of show", async () => {
    for (const config of [{}, { allocator: new SharedAllocator() }]) {
      const pool = openPool({ size: INFO.size + 100, max: 2, ...config });
      const numbers: number[] = [];
      for await (const buffer of pooledSamples(await openTrack(), pool)) {
        expect([buffer.size, buffer.duration]).toEqual([INFO.size, 40_000_000n]);
        expect(buffer.getMeta(VideoMeta)!.info).toEqual(INFO);
        const number = Number(buffer.pts! / 40_000_000n);
        expect(buffer.bytes.every((byte) => byte === number)).toBe(true);
        numbers.push(number);
        buffer.release();
      }
      expect(numbers).toEqual(all);
      await expectWhole(pool);
    }
  });

  it("never lets a decoder of eight frames run dry, with more leases kept than it has frames", async () => {
    const pool = openPool({ size: INFO.size, max: 20 });
    const kept: MediaBuffer[] = [];
    let frames = 0;
    for await (const buffer of pooledSamples(await openTrack(), pool)) {
      frames++;
      if (kept.push(buffer) === 20) for (const lease of kept.splice(0)) lease.release();
    }
    for (const lease of kept) lease.release();
    expect([frames, given.made, given.mostOpen <= 8, pool.stats().highWater]).toEqual([PACKETS, PACKETS, true, 20]);
    await expectWhole(pool);
  });

  it("stops the decoder while every slot is out", async () => {
    const pool = openPool({ size: INFO.size, max: 2 });
    const loop = pooledSamples(await openTrack(), pool);
    const held = [await loop.next(), await loop.next()].map(({ value }) => value as MediaBuffer);
    const third = loop.next();
    while (pool.stats().waiting === 0 || given.open < 8) await settle();
    await settle();
    // Two were copied; the decoder has its eight, one of them at the loop.
    expect([given.made, given.open]).toEqual([10, 8]);
    held.shift()!.release();
    ((await third).value as MediaBuffer).release();
    held.shift()!.release();
    await loop.return!();
    await expectWhole(pool);
  });

  it("gives the part of the track that is asked for, in the format that is asked for", async () => {
    const pool = openPool({ size: INFO.width * INFO.height * 4, max: 2 });
    const numbers: number[] = [];
    for await (const buffer of pooledSamples(await openTrack(), pool, { start: 1, end: 1.2, format: "RGBA" })) {
      const number = Number(buffer.pts! / 40_000_000n);
      expect(buffer.getMeta(VideoMeta)!.info.format).toBe("RGBA");
      expect(buffer.bytes.every((byte) => byte === number + 1)).toBe(true);
      numbers.push(number);
      buffer.release();
    }
    expect(numbers).toEqual([25, 26, 27, 28, 29]);
    await expectWhole(pool);
  });

  it("closes every frame when the loop is left, by break, by a throw, and by return() under a wait", async () => {
    const pool = openPool({ size: INFO.size, max: 2 });
    for await (const buffer of pooledSamples(await openTrack(), pool)) {
      buffer.release();
      break;
    }
    await expectWhole(pool);
    await expect(async () => {
      for await (const buffer of pooledSamples(await openTrack(), pool)) {
        buffer.release();
        throw new Error("the consumer's own");
      }
    }).rejects.toThrow("the consumer's own");
    await expectWhole(pool);
    // It waits for the decoder.
    let go = (): void => {};
    given.hold = new Promise<void>((resolve) => {
      go = resolve;
    });
    const loop = pooledSamples(await openTrack(), pool);
    const waiting = loop.next();
    await settle();
    expect(await loop.return!()).toEqual({ done: true, value: undefined });
    expect(await waiting).toEqual({ done: true, value: undefined });
    go();
    await settle();
    await expectWhole(pool);
    // It was never begun.
    expect(await pooledSamples(await openTrack(), pool).return!()).toEqual({ done: true, value: undefined });
    await expectWhole(pool);
  });

  it("ends by its signal, while it decodes, while it waits for a slot, and before it begins", async () => {
    const reason = new Error("stop");
    const pool = openPool({ size: INFO.size, max: 1 });
    let go = (): void => {};
    given.hold = new Promise<void>((resolve) => {
      go = resolve;
    });
    const decoding = new AbortController();
    const first = pooledSamples(await openTrack(), pool, { signal: decoding.signal }).next();
    await settle();
    decoding.abort(reason);
    await expect(first).rejects.toBe(reason);
    go();
    given.hold = undefined;
    await settle();
    await expectWhole(pool);
    const slots = new AbortController();
    const loop = pooledSamples(await openTrack(), pool, { signal: slots.signal });
    const held = (await loop.next()).value as MediaBuffer;
    const second = loop.next();
    while (pool.stats().waiting === 0) await settle();
    slots.abort(reason);
    await expect(second).rejects.toBe(reason);
    held.release();
    await expectWhole(pool);
    const before = pooledSamples(await openTrack(), pool, { signal: AbortSignal.abort(reason) });
    await expect(before.next()).rejects.toBe(reason);
    await expectWhole(pool);
  });

  it("ends by its signal behind its last frame as well", async () => {
    const pool = openPool({ size: INFO.size, max: 2 });
    const stop = new AbortController();
    const loop = pooledSamples(await openTrack(), pool, { signal: stop.signal });
    for (let i = 0; i < PACKETS; i++) ((await loop.next()).value as MediaBuffer).release();
    const reason = new Error("enough");
    stop.abort(reason);
    await expect(loop.next()).rejects.toBe(reason);
    expect(pool.outstanding).toBe(0);
  });

  it("throws what the decoder throws, and what the pool does, with every frame closed", async () => {
    given.failAt = 10;
    const pool = openPool({ size: INFO.size, max: 2 });
    const read = async (): Promise<number> => {
      let frames = 0;
      for await (const buffer of pooledSamples(await openTrack(), pool)) {
        frames++;
        buffer.release();
      }
      return frames;
    };
    await expect(read()).rejects.toThrow("the stream is damaged");
    await expectWhole(pool);
    given.failAt = Number.POSITIVE_INFINITY;
    const small = openPool({ size: INFO.size - 1, max: 2 });
    expect(await codeOf(pooledSamples(await openTrack(), small).next())).toBe("ERR_OUT_OF_RANGE");
    await expectWhole(small);
    const held = await pool.acquire();
    const other = await pool.acquire();
    expect(await codeOf(pooledSamples(await openTrack(), pool, { timeout: 0 }).next())).toBe("ERR_STARVED");
    held.release();
    other.release();
    await expectWhole(pool);
    // Without a pixel format of WebCodecs' it is RGBA: so many bytes does it take.
    given.format = null;
    const error = await pooledSamples(await openTrack(), pool)
      .next()
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "ERR_OUT_OF_RANGE", details: { needed: INFO.width * INFO.height * 4 } });
    await expectWhole(pool);
    given.format = "I420";
    pool.close();
    expect(await codeOf(pooledSamples(await openTrack(), pool).next())).toBe("ERR_POOL_DEAD");
    await expectWhole(pool);
  });

  it("closes a decoder that failed, and leaves no rejection that nobody handles", async () => {
    const pool = openPool({ size: INFO.size, max: 2 });
    for (const [failing, closing] of [
      ["init", undefined],
      ["decode", undefined],
      ["flush", undefined],
      ["decode", "it cannot be closed"],
      ["none", "it cannot be closed"],
    ] as const) {
      Object.assign(given, { failing, closing, closed: 0 });
      let caught: unknown;
      const late = await lateRejections(async () => {
        try {
          for await (const buffer of pooledSamples(await openTrack(), pool)) buffer.release();
        } catch (error) {
          caught = (error as Error).message;
        }
      });
      const said = failing === "none" ? undefined : `${failing} failed`;
      expect([failing, caught, late, given.closed]).toEqual([failing, said, [], 1]);
    }
    await expectWhole(pool);
  });

  it("refuses wrong arguments at the call", async () => {
    const track = await openTrack();
    const pool = openPool();
    expect([
      code(() => pooledSamples(null as never, pool)),
      code(() => pooledSamples({} as never, pool)),
      code(() => pooledSamples(track, {} as never)),
      code(() => pooledSamples(track, pool, null as never)),
      code(() => pooledSamples(track, pool, { from: 1 } as never)),
      code(() => pooledSamples(track, pool, { start: "1" as never })),
      code(() => pooledSamples(track, pool, { end: Number.NaN })),
      code(() => pooledSamples(track, pool, { format: "X" as never })),
    ]).toEqual([
      ...Array(4).fill("ERR_INVALID_ARG_TYPE"),
      "ERR_INVALID_ARG_VALUE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_OUT_OF_RANGE",
      "ERR_INVALID_ARG_VALUE",
    ]);
    // Alike in its methods only: told when the package has seen it.
    const foreign = { canDecode: () => true, getCodedWidth: () => 8 };
    expect(await codeOf(pooledSamples(foreign as never, pool).next())).toBe("ERR_INVALID_ARG_TYPE");
    expect(given.made).toBe(0);
  });
});

/** A lease with a picture whose bytes tell their place. */
async function pictured(pool: BufferPool, info: VideoInfo = INFO): Promise<MediaBuffer> {
  const buffer = await pool.acquire();
  buffer.bytes.set(Uint8Array.from({ length: info.size }, (_, i) => i * 7));
  buffer.addMeta(VideoMeta, info);
  return buffer;
}

describe("PooledSampleResource", () => {
  it("is a lease to mediabunny, without a copy, and releases it with the last sample over it", async () => {
    const pool = openPool({ size: 2000, max: 1 });
    for (const info of [INFO, VideoInfo.of({ format: "I420", width: 30, height: 16, strideAlign: 32 })]) {
      const buffer = await pictured(pool, info);
      const resource = await PooledSampleResource.create(buffer, {
        colorSpace: { matrix: "bt709", fullRange: true, primaries: "bt709", transfer: null },
        squarePixelWidth: 64,
      });
      expect(resource).toBeInstanceOf(VideoSampleResource);
      expect(resource.buffer).toBe(buffer);
      const sample = new VideoSample(resource, { timestamp: 1, duration: 0.5 });
      expect([sample.format, sample.codedWidth, sample.codedHeight, sample.squarePixelWidth]).toEqual([
        "I420",
        info.width,
        16,
        64,
      ]);
      expect(sample.colorSpace.toJSON()).toEqual({
        matrix: "bt709",
        fullRange: true,
        primaries: "bt709",
        transfer: null,
      });
      const bytes = new Uint8Array(sample.allocationSize());
      await sample.copyTo(bytes);
      const rows = info.planes.flatMap(({ offset, stride, rowBytes, height }) =>
        Array.from({ length: height }, (_, y) =>
          buffer.bytes.slice(offset + y * stride, offset + y * stride + rowBytes),
        ),
      );
      expect(Buffer.from(bytes).equals(Buffer.concat(rows))).toBe(true);
      const clone = sample.clone();
      sample.close();
      sample.close();
      expect([buffer.isLive, pool.outstanding]).toEqual([true, 1]);
      clone.close();
      expect([buffer.isLive, pool.outstanding]).toEqual([false, 0]);
      // Views of the slot are not handed out any more.
      expect(code(() => resource.getDataPlanes())).toBe("ERR_USE_AFTER_RELEASE");
    }
    await expectWhole(pool);
  });

  it("is converted to RGB where that is asked for", async () => {
    const pool = openPool({ size: INFO.size, max: 1 });
    const buffer = await pool.acquire();
    buffer.bytes.fill(128);
    const sample = new VideoSample(await PooledSampleResource.create(buffer, { info: INFO }), { timestamp: 0 });
    const bytes = new Uint8Array(sample.allocationSize({ format: "RGBA" } as object));
    const [plane] = await sample.copyTo(bytes, { format: "RGBA" } as object);
    expect([plane!.stride, bytes.length]).toEqual([INFO.width * 4, INFO.width * INFO.height * 4]);
    expect([...bytes.subarray(0, 4)]).toEqual([130, 130, 130, 255]);
    sample.close();
    await expectWhole(pool);
  });

  it("keeps what others hold, and ends with a pool that is closed by force", async () => {
    const pool = openPool({ size: 2000, max: 2 });
    const buffer = (await pictured(pool)).retain();
    new VideoSample(await PooledSampleResource.create(buffer), { timestamp: 0 }).close();
    expect([buffer.isLive, buffer.refCount]).toEqual([true, 1]);
    buffer.release();
    const sample = new VideoSample(await PooledSampleResource.create(await pictured(pool)), { timestamp: 0 });
    pool.close({ force: true });
    expect(await codeOf(sample.copyTo(new Uint8Array(INFO.size)))).toBe("ERR_POOL_DEAD");
    sample.close();
  });

  it("gives its reference back once, and answers nothing after that, while others hold the lease", async () => {
    const pool = openPool({ size: 2000, max: 1 });
    const buffer = (await pictured(pool)).retain();
    const resource = await PooledSampleResource.create(buffer);
    const sample = new VideoSample(resource, { timestamp: 0 });
    const converting = codeOf(Promise.resolve(resource.toRgbSample({ timestamp: 0 }, "srgb")));
    sample.close();
    expect(await converting).toBe("ERR_USE_AFTER_RELEASE");
    expect(code(() => new VideoSample(resource, { timestamp: 1 }))).toBe("ERR_USE_AFTER_RELEASE");
    const calls: readonly (() => unknown)[] = [
      () => resource.getFormat(),
      () => resource.getCodedWidth(),
      () => resource.getCodedHeight(),
      () => resource.getSquarePixelWidth(),
      () => resource.getSquarePixelHeight(),
      () => resource.getColorSpace(),
      () => resource.getDataPlanes(),
    ];
    expect(calls.map(code)).toEqual(calls.map(() => "ERR_USE_AFTER_RELEASE"));
    resource.close();
    expect([buffer.isLive, buffer.refCount]).toEqual([true, 1]);
    buffer.release();
    await expectWhole(pool);
    const other = await pictured(pool);
    const early = await PooledSampleResource.create(other.retain());
    const open = new VideoSample(early, { timestamp: 0 });
    early.close();
    open.close();
    expect([other.isLive, other.refCount]).toEqual([true, 1]);
    other.release();
    await expectWhole(pool);
  });

  it("leaves a lease that it refuses to its holder", async () => {
    const pool = openPool({ size: INFO.size, max: 1 });
    const plain = await pool.acquire();
    const gray = VideoInfo.of({ format: "GRAY8", width: 16, height: 16 });
    const large = VideoInfo.of({ format: "RGBA", width: 160, height: 160 });
    expect([
      await codeOf(PooledSampleResource.create(null as never)),
      await codeOf(PooledSampleResource.create(plain)),
      await codeOf(PooledSampleResource.create(plain, { info: {} as never })),
      await codeOf(PooledSampleResource.create(plain, { info: gray })),
      await codeOf(PooledSampleResource.create(plain, { info: large })),
      await codeOf(PooledSampleResource.create(plain, { info: INFO, colorSpace: 5 as never })),
      await codeOf(PooledSampleResource.create(plain, { info: INFO, colorSpace: { matrix: "bt7" as never } })),
      await codeOf(PooledSampleResource.create(plain, { info: INFO, squarePixelWidth: 0 })),
      await codeOf(PooledSampleResource.create(plain, { layout: INFO } as never)),
    ]).toEqual([
      "ERR_INVALID_ARG_TYPE",
      "ERR_INVALID_ARG_VALUE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_UNSUPPORTED",
      "ERR_OUT_OF_RANGE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_INVALID_ARG_VALUE",
      "ERR_OUT_OF_RANGE",
      "ERR_INVALID_ARG_VALUE",
    ]);
    expect([plain.isLive, plain.refCount]).toEqual([true, 1]);
    const creating = PooledSampleResource.create(plain, { info: INFO });
    plain.release();
    expect(await codeOf(creating)).toBe("ERR_USE_AFTER_RELEASE");
    await expectWhole(pool);
    const empty = new MediaBuffer();
    expect(await codeOf(PooledSampleResource.create(empty, { info: INFO }))).toBe("ERR_OUT_OF_RANGE");
  });
});
