// Shares its realm with other files: nothing that it changes outlives it.
import { PassThrough, Readable } from "node:stream";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { pooledFrames } from "../../src/adapters/node/frame-source.ts";
import { frames } from "../../src/adapters/node/streams/frames.ts";
import { openRawVideo, type RawVideo, rawLayout } from "../../src/adapters/raw-video/raw-video.ts";
import { parseY4mHeader } from "../../src/adapters/raw-video/y4m.ts";
import { allocators } from "../../src/allocators/registry.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { isMillpondError } from "../../src/util/errors.ts";
import { codeOf } from "../helpers/code-of.ts";

function chunked(bytes: Uint8Array, sizes: readonly number[]): Readable {
  const chunks: Buffer[] = [];
  let at = 0;
  for (let i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length]!;
    chunks.push(Buffer.from(bytes.subarray(at, at + size)));
    at += size;
  }
  return Readable.from(chunks, { objectMode: false });
}

function poolOf(size: number, max: number): BufferPool {
  const pool = new BufferPool({ name: "test" });
  pool.configure({ size, min: 0, max, allocator: allocators.find("shared")! });
  pool.activate();
  return pool;
}

function numbered(count: number, size: number): Uint8Array[] {
  return Array.from({ length: count }, (_, frame) =>
    Uint8Array.from({ length: size }, (_, i) => (i * 7 + frame * 13) & 255),
  );
}

describe("raw video", () => {
  it("comes out in pooled buffers byte for byte, in whatever chunks it arrives", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 6 }),
        fc.boolean(),
        async (sizes, isY4m) => {
          const layout = rawLayout("I420", 66, 34);
          const frames = numbered(4, layout.size);
          const parts = isY4m
            ? [Buffer.from("YUV4MPEG2 W66 H34 F25:1\n"), ...frames.flatMap((f) => [Buffer.from("FRAME X1\n"), f])]
            : frames;
          const options = isY4m ? {} : { format: "I420", width: 66, height: 34, frameRate: { num: 25, den: 1 } };
          const source = await openRawVideo(chunked(Buffer.concat(parts), sizes), options);
          const pool = poolOf(layout.size, 2);
          let index = 0;
          for await (const buffer of pooledFrames(source, pool)) {
            expect(Buffer.compare(buffer.bytes, frames[index]!)).toBe(0);
            expect(buffer.pts).toBe(BigInt(index) * 40_000_000n);
            expect(buffer.duration).toBe(40_000_000n);
            buffer.release();
            index++;
          }
          expect(index).toBe(4);
          expect(source.shortfall).toBeUndefined();
          expect(pool.outstanding).toBe(0);
          pool.close();
        },
      ),
      { numRuns: 30 },
    );
  });

  it("waits for a buffer instead of allocating one: the stream is not read further", async () => {
    const layout = rawLayout("GRAY8", 1000, 1000);
    let pulled = 0;
    const stream = new Readable({
      highWaterMark: 1 << 16,
      read() {
        pulled += 1 << 16;
        this.push(Buffer.alloc(1 << 16, 1));
      },
    });
    const source = await openRawVideo(stream, { format: "gray", width: 1000, height: 1000 });
    const pool = poolOf(layout.size, 2);
    const frames = pooledFrames(source, pool);
    const first = await frames.next();
    const second = await frames.next();
    const third = frames.next();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(pool.outstanding).toBe(2);
    // Two frames, what the stream buffers, and the chunk in hand.
    expect(pulled).toBeLessThan(2 * layout.size + 4 * (1 << 16));
    first.value!.release();
    (await third).value!.release();
    second.value!.release();
    await frames.return!();
    expect(pool.outstanding).toBe(0);
    expect(stream.destroyed).toBe(true);
  });

  it("gives its buffer back when the consumer's loop throws, and when the stream fails", async () => {
    const layout = rawLayout("GRAY8", 10, 10);
    const pool = poolOf(layout.size, 1);
    const broken = new Readable({
      read() {
        this.push(Buffer.alloc(150, 1));
        this.destroy(new Error("the cable was pulled"));
      },
    });
    const source = await openRawVideo(broken, { format: "gray", width: 10, height: 10 }).catch((error: Error) => error);
    if (!(source instanceof Error)) {
      await expect(async () => {
        for await (const buffer of pooledFrames(source, pool)) buffer.release();
      }).rejects.toThrow("the cable was pulled");
    } else expect(source.message).toBe("the cable was pulled");
    expect(pool.outstanding).toBe(0);

    const whole = await openRawVideo(chunked(new Uint8Array(300), [64]), { format: "gray", width: 10, height: 10 });
    await expect(async () => {
      for await (const buffer of pooledFrames(whole, pool)) {
        buffer.release();
        throw new Error("consumer");
      }
    }).rejects.toThrow("consumer");
    expect(pool.outstanding).toBe(0);
  });

  it("skips a frame that was closed without being read", async () => {
    const frames = numbered(3, 100);
    const source = await openRawVideo(chunked(Buffer.concat(frames), [33]), { format: "gray", width: 10, height: 10 });
    (await source.next())!.close();
    const second = (await source.next())!;
    const bytes = new Uint8Array(100);
    expect(await second.copyTo(bytes)).toBe(true);
    expect(bytes).toEqual(frames[1]);
  });

  const GRAY = { format: "gray", width: 10, height: 10, frameRate: { num: 1, den: 1 } } as const;

  it("refuses to copy a frame that the next was asked for, or that was closed or read, and keeps its place", async () => {
    const frames = numbered(6, 100);
    const source = await openRawVideo(chunked(Buffer.concat(frames), [33]), GRAY);
    const bytes = new Uint8Array(100);
    const first = (await source.next())!;
    const asked = source.next();
    expect(await codeOf(first.copyTo(bytes))).toBe("ERR_USE_AFTER_RELEASE");
    const second = (await asked)!;
    expect(await codeOf(first.copyTo(bytes))).toBe("ERR_USE_AFTER_RELEASE");
    expect(bytes).toEqual(new Uint8Array(100));
    expect(await second.copyTo(bytes)).toBe(true);
    expect([second.pts, bytes]).toEqual([1_000_000_000n, frames[1]]);
    expect(await codeOf(second.copyTo(bytes))).toBe("ERR_USE_AFTER_RELEASE");
    const third = (await source.next())!;
    third.close();
    third.close();
    expect(await codeOf(third.copyTo(bytes))).toBe("ERR_USE_AFTER_RELEASE");
    const [fourth, fifth] = await Promise.all([source.next(), source.next()]);
    expect(await codeOf(fourth!.copyTo(bytes))).toBe("ERR_USE_AFTER_RELEASE");
    const copying = fifth!.copyTo(bytes);
    const sixth = (await source.next())!;
    expect(await copying).toBe(true);
    expect([fifth!.pts, bytes]).toEqual([4_000_000_000n, frames[4]]);
    expect(await sixth.copyTo(bytes)).toBe(true);
    expect([sixth.pts, bytes]).toEqual([5_000_000_000n, frames[5]]);
    expect(await source.next()).toBeUndefined();
    expect(await codeOf(sixth.copyTo(bytes))).toBe("ERR_USE_AFTER_RELEASE");
  });

  it("does not begin the next frame while a copy waits for the stream", async () => {
    const frames = numbered(2, 100);
    const stream = new PassThrough();
    stream.write(frames[0]!.subarray(0, 50));
    const source = await openRawVideo(stream, GRAY);
    const bytes = new Uint8Array(100);
    const copying = (await source.next())!.copyTo(bytes);
    const next = source.next();
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    stream.end(Buffer.concat([frames[0]!.subarray(50), frames[1]!]));
    expect(await copying).toBe(true);
    expect(bytes).toEqual(frames[0]);
    expect(await (await next)!.copyTo(bytes)).toBe(true);
    expect(bytes).toEqual(frames[1]);
  });

  it("fails every next() behind a copy that failed in the middle of a frame, where the next one begins being unknown", async () => {
    const stream = new PassThrough();
    stream.write(new Uint8Array(50));
    const source = await openRawVideo(stream, GRAY);
    const bytes = new Uint8Array(100);
    const copying = codeOf((await source.next())!.copyTo(bytes));
    structuredClone(bytes, { transfer: [bytes.buffer] });
    stream.end(new Uint8Array(350));
    const code = await copying;
    expect(code).not.toBe("ok");
    expect(await codeOf(source.next())).toBe(code);
    expect(await codeOf(source.next())).toBe(code);
    await source.close();
  });

  it("ends a read that waits when it is closed", async () => {
    const never = new Readable({ read() {} });
    never.push(Buffer.alloc(100));
    const source = await openRawVideo(never, { format: "gray", width: 10, height: 10 });
    const frame = (await source.next())!;
    await frame.copyTo(new Uint8Array(100));
    const next = source.next();
    await source.close();
    expect(await next).toBeUndefined();
  });

  it("refuses what it cannot read with a typed error", async () => {
    const open = (bytes: string | Uint8Array, options = {}): Promise<unknown> =>
      openRawVideo(Readable.from([Buffer.from(bytes)]), options).then(
        () => undefined,
        (error: unknown) => error,
      );
    expect(isMillpondError(await open("nothing of the kind"), "ERR_BAD_DATA")).toBe(true);
    expect(isMillpondError(await open("YUV4MPEG2 W8 H8 C410\n"), "ERR_UNSUPPORTED")).toBe(true);
    expect(isMillpondError(await open("YUV4MPEG2 W8\n"), "ERR_BAD_DATA")).toBe(true);
    expect(isMillpondError(await open(`YUV4MPEG2 W8 H8 X${"y".repeat(5000)}`), "ERR_BAD_DATA")).toBe(true);
    expect(isMillpondError(await open("x", { format: "H264", width: 8, height: 8 }), "ERR_UNSUPPORTED")).toBe(true);
    expect(isMillpondError(await open("x", { format: "I420" }), "ERR_INVALID_ARG_VALUE")).toBe(true);
  });
});

describe("Y4M headers", () => {
  it("are read with every letter, and with the defaults of the format", () => {
    expect(parseY4mHeader("YUV4MPEG2 W720 H576 F30000:1001 It A64:45 C422p10 XCOLORRANGE=FULL Zfoo")).toEqual({
      width: 720,
      height: 576,
      format: "I422P10",
      frameRate: { num: 30000, den: 1001 },
      pixelAspect: 64 / 45,
      interlacing: "t",
      fullRange: true,
    });
    expect(parseY4mHeader("YUV4MPEG2 H4 W2 F0:0 A0:0")).toEqual({
      width: 2,
      height: 4,
      format: "I420",
      frameRate: undefined,
      pixelAspect: 1,
      interlacing: "?",
      fullRange: false,
    });
  });
});

describe("pooledFrames over a source that waits", () => {
  const stalled = async (): Promise<[Readable, RawVideo]> => {
    const stream = new Readable({ read() {} });
    stream.push(Buffer.alloc(7));
    return [stream, await openRawVideo(stream, { format: "GRAY8", width: 2, height: 3 })];
  };

  it("ends by the signal, by return(), and by return() before the first next()", async () => {
    const pool = BufferPool.create({ size: 6, max: 2 });
    const stop = new AbortController();
    const [first, video] = await stalled();
    const aborted = pooledFrames(video, pool, { signal: stop.signal });
    (await aborted.next()).value!.release();
    const waiting = aborted.next();
    stop.abort(new Error("stop"));
    await expect(waiting).rejects.toThrow("stop");
    expect((await aborted.return!()).done).toBe(true);
    expect(first.destroyed).toBe(true);

    const [second, other] = await stalled();
    const returned = pooledFrames(other, pool);
    (await returned.next()).value!.release();
    const late = returned.next();
    expect((await returned.return!()).done).toBe(true);
    expect((await late).done).toBe(true);
    expect(second.destroyed).toBe(true);

    const [third, unread] = await stalled();
    expect((await pooledFrames(unread, pool).return!()).done).toBe(true);
    expect(third.destroyed).toBe(true);
    expect(pool.outstanding).toBe(0);
  });

  it("ends over a stream whose close never comes", async () => {
    const stream = new Readable({ read() {}, destroy() {} });
    stream.push(Buffer.alloc(7));
    const pool = BufferPool.create({ size: 6, max: 1 });
    const loop = pooledFrames(await openRawVideo(stream, { format: "GRAY8", width: 2, height: 3 }), pool);
    (await loop.next()).value!.release();
    const waiting = loop.next();
    expect((await loop.return!()).done).toBe(true);
    expect((await waiting).done).toBe(true);
    expect(pool.outstanding).toBe(0);
  });

  it("frames() ends by return() and by the signal over a stream whose close never comes", async () => {
    for (const isReturn of [true, false]) {
      const stream = new Readable({ read() {}, destroy() {} });
      stream.push(Buffer.alloc(7));
      const stop = new AbortController();
      const pool = BufferPool.create({ size: 6, max: 1 });
      const loop = frames(stream, pool, { format: "GRAY8", width: 2, height: 3, signal: stop.signal });
      (await loop.next()).value!.release();
      const waiting = loop.next();
      if (isReturn) {
        expect((await loop.return()).done).toBe(true);
        expect((await waiting).done).toBe(true);
      } else {
        stop.abort(new Error("stop"));
        await expect(waiting).rejects.toThrow("stop");
      }
      expect(pool.outstanding).toBe(0);
    }
  });
});
