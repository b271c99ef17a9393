// Shares its realm with other files: nothing that it changes outlives it.
import { getEventListeners } from "node:events";
import { PassThrough, Readable } from "node:stream";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { frames } from "../../../../src/adapters/node/streams/frames.ts";
import { openRawVideo, rawLayout } from "../../../../src/adapters/raw-video/raw-video.ts";
import { allocators } from "../../../../src/allocators/registry.ts";
import { VideoInfo } from "../../../../src/media/video/info.ts";
import { BufferPool } from "../../../../src/pools/buffer/buffer-pool.ts";
import { codeOf } from "../../../helpers/code-of.ts";
import { REPEATED, seedOf, times } from "../../../helpers/effort.ts";
import { http2Exchange } from "../../../helpers/http2-server.ts";

function chunked(bytes: Uint8Array, sizes: readonly number[]): Readable {
  const chunks: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length]!;
    chunks.push(Buffer.from(bytes.subarray(at, at + size)));
    at += size;
  }
  return Readable.from(chunks, { objectMode: false });
}

function numbered(count: number, size: number): Uint8Array[] {
  return Array.from({ length: count }, (_, frame) =>
    Uint8Array.from({ length: size }, (_, i) => (i * 7 + frame * 13 + 1) & 255),
  );
}

/** The picture's own bytes, rows packed: what the stream had. */
function packed(info: VideoInfo, bytes: Uint8Array): Buffer {
  return Buffer.concat(
    info.planes.flatMap(({ offset, stride, rowBytes, height }) =>
      Array.from({ length: height }, (_, row) =>
        bytes.subarray(offset + row * stride, offset + row * stride + rowBytes),
      ),
    ),
  );
}

const GRAY = { format: "gray", width: 10, height: 10 };

describe("frames of a stream", () => {
  it(
    "land in the slots of a given pool, in whatever chunks they arrive, rows where the pool's format has them",
    REPEATED,
    async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 6 }),
          fc.constantFrom("I420", "NV12", "RGBA", "I422P10"),
          fc.constantFrom(1, 16, 64),
          fc.constantFrom(0, 5),
          fc.boolean(),
          async (sizes, format, strideAlign, left, isY4m) => {
            const name = isY4m ? "I420" : format;
            const info = VideoInfo.of({
              format: name as "I420",
              width: 67,
              height: 35,
              strideAlign,
              padding: { left, top: left },
            });
            const sent = numbered(3, info.payload);
            const parts = isY4m
              ? [Buffer.from("YUV4MPEG2 W67 H35 F25:1\n"), ...sent.flatMap((one) => [Buffer.from("FRAME\n"), one])]
              : sent;
            const pool = BufferPool.create({
              size: info.size,
              max: 2,
              format: info,
              allocator: allocators.find("shared")!,
            });
            let index = 0;
            for await (const frame of frames(chunked(Buffer.concat(parts), sizes), pool)) {
              expect(packed(info, frame.bytes).equals(sent[index]!)).toBe(true);
              // What belongs to no row stays as the pool gave it.
              expect(frame.bytes.reduce((sum, byte) => sum + byte, 0)).toBe(
                sent[index]!.reduce((sum, byte) => sum + byte, 0),
              );
              expect(frame.pts).toBe(isY4m ? BigInt(index) * 40_000_000n : undefined);
              frame.memset(0, 0);
              frame.release();
              index++;
            }
            expect(index).toBe(3);
            pool.close();
          },
        ),
        { numRuns: times(40, 1000), seed: seedOf("frames of a stream") },
      );
    },
  );

  it("come in a pool of their own for a count, which goes with its last lease", async () => {
    const sent = numbered(5, 6);
    const text = Buffer.concat([
      Buffer.from("YUV4MPEG2 W2 H2 F50:1\n"),
      ...sent.flatMap((one) => [Buffer.from("FRAME\n"), one]),
    ]);
    const stream = frames(chunked(text, [7]), 2);
    expect(stream.pool).toBeUndefined();
    const first = (await stream.next()).value!;
    expect(stream.pool!.stats()).toMatchObject({ size: 6, max: 2, outstanding: 1 });
    expect(stream.layout).toMatchObject({ format: "I420", width: 2, height: 2, size: 6 });
    let count = 1;
    for await (const frame of stream) {
      expect(frame.pts).toBe(BigInt(count) * 20_000_000n);
      expect([...frame.bytes]).toEqual([...sent[count]!]);
      frame.release();
      count++;
    }
    expect(count).toBe(5);
    expect(stream.pool!.isActive).toBe(false);
    expect([...first.bytes]).toEqual([...sent[0]!]);
    first.release();
    expect(stream.pool!.stats()).toMatchObject({ outstanding: 0 });
    expect(await codeOf(stream.pool!.acquire())).toBe("ERR_POOL_DEAD");
  });

  it("wait for a slot: nothing is read beside the chunk in hand and what the stream buffers", async () => {
    const size = rawLayout("GRAY8", 1000, 1000).size;
    const chunk = 1 << 16;
    let pulled = 0;
    const stream = new Readable({
      highWaterMark: chunk,
      read() {
        pulled += chunk;
        this.push(Buffer.alloc(chunk, 1));
      },
    });
    const pool = BufferPool.create({ size, max: 2 });
    const video = frames(stream, pool, { format: "gray", width: 1000, height: 1000 });
    const first = await video.next();
    const second = await video.next();
    const third = video.next();
    // The third waits in line; then no turn of the loop pulls any more.
    while (pool.stats().waiting === 0) await new Promise(setImmediate);
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    expect(pulled).toBeLessThanOrEqual(2 * size + 4 * chunk);
    first.value!.release();
    (await third).value!.release();
    second.value!.release();
    await video.return();
    expect(pool.outstanding).toBe(0);
    expect(stream.destroyed).toBe(true);
  });

  it("end with every slot back and the stream destroyed, whatever ends the loop", async () => {
    const pool = BufferPool.create({ size: 100, max: 2 });
    const endless = (): Readable =>
      new Readable({
        read() {
          this.push(Buffer.alloc(64, 1));
        },
      });
    const controller = new AbortController();
    const ways: [string, (stream: Readable) => Promise<unknown>, unknown][] = [
      [
        "break",
        async (stream) => {
          for await (const frame of frames(stream, pool, GRAY)) {
            frame.release();
            break;
          }
        },
        undefined,
      ],
      [
        "a throw in the loop",
        async (stream) => {
          for await (const frame of frames(stream, pool, GRAY)) {
            frame.release();
            throw new Error("consumer");
          }
        },
        "consumer",
      ],
      [
        "destroy by the other side",
        async (stream) => {
          for await (const frame of frames(stream, pool, GRAY)) {
            frame.release();
            stream.destroy(new Error("the cable was pulled"));
          }
        },
        "the cable was pulled",
      ],
      [
        "the signal",
        async (stream) => {
          for await (const frame of frames(stream, pool, { ...GRAY, signal: controller.signal })) {
            frame.release();
            controller.abort(new Error("enough"));
          }
        },
        "enough",
      ],
      [
        "a signal that was aborted before",
        async (stream) => {
          for await (const frame of frames(stream, pool, { ...GRAY, signal: controller.signal })) frame.release();
        },
        "enough",
      ],
    ];
    for (const [name, way, message] of ways) {
      const stream = endless();
      const end = await way(stream).then(
        () => undefined,
        (error: Error) => error.message,
      );
      expect(end, name).toBe(message);
      expect(pool.outstanding, name).toBe(0);
      expect(stream.destroyed, name).toBe(true);
      expect(getEventListeners(controller.signal, "abort"), name).toHaveLength(0);
    }
  });

  it("end a wait for bytes and a wait for a slot by the signal and by return()", async () => {
    const pool = BufferPool.create({ size: 100, max: 1 });
    for (const isForSlot of [false, true]) {
      for (const isAborted of [false, true]) {
        const stream = new PassThrough();
        const controller = new AbortController();
        const video = frames(stream, pool, { ...GRAY, signal: controller.signal });
        const held = isForSlot ? pool.tryAcquire() : undefined;
        stream.write(Buffer.alloc(isForSlot ? 100 : 50, 1));
        const next = video.next();
        if (isForSlot) while (pool.stats().waiting === 0) await new Promise(setImmediate);
        else while (pool.outstanding === 0) await new Promise(setImmediate);
        if (isAborted) {
          controller.abort(new Error("enough"));
          await expect(next).rejects.toThrow("enough");
          expect(await video.next()).toEqual({ done: true, value: undefined });
        } else {
          await video.return();
          expect(await next).toEqual({ done: true, value: undefined });
        }
        held?.release();
        expect(pool.stats()).toMatchObject({ outstanding: 0, waiting: 0 });
        expect(stream.destroyed).toBe(true);
        expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
      }
    }
  });

  it("end as a loop over the stream's own chunks ends, however the stream does, and listen to it no more", async () => {
    const broken = Object.assign(new Error("broken"), { code: "EBROKEN" });
    const endings: Record<string, (stream: PassThrough) => unknown> = {
      end: (stream) => stream.end(),
      "destroyed without an error": (stream) => stream.destroy(),
      "destroyed with one": (stream) => stream.destroy(broken),
    };
    const outcome = async (stream: PassThrough, end: (stream: PassThrough) => unknown, isLate: boolean) => {
      stream.write(Buffer.alloc(250, 1));
      if (!isLate) end(stream);
      let bytes = 0;
      const read = async (pieces: AsyncIterable<Uint8Array | { bytes: Uint8Array; release(): void }>) => {
        for await (const piece of pieces) {
          bytes += "release" in piece ? piece.bytes.length : piece.length - (piece.length % 100);
          if ("release" in piece) piece.release();
          if (isLate && bytes === 200) end(stream);
        }
      };
      return { read, result: () => bytes };
    };
    for (const [name, end] of Object.entries(endings)) {
      for (const isLate of [false, true]) {
        const [own, plain] = [new PassThrough(), new PassThrough()];
        for (const stream of [own, plain]) stream.on("error", () => {});
        const [ours, theirs] = [await outcome(own, end, isLate), await outcome(plain, end, isLate)];
        const pool = BufferPool.create({ size: 100, max: 2 });
        const listeners = own.listenerCount("readable");
        const codes = [
          await codeOf(ours.read(frames(own, pool, GRAY))),
          await codeOf(theirs.read(plain as AsyncIterable<Buffer>)),
        ];
        expect(codes[0], `${name}, late: ${isLate}`).toBe(codes[1]);
        expect(ours.result(), `${name}, late: ${isLate}`).toBe(theirs.result());
        expect(own.listenerCount("readable")).toBe(listeners);
        expect(pool.outstanding).toBe(0);
        pool.close();
      }
    }
  });

  it("come from whatever has an async iterator and destroy(), an empty chunk between others too", async () => {
    const chunks = [new Uint8Array(50).fill(1), new Uint8Array(0), new Uint8Array(150).fill(2)];
    const none = (): void => {};
    for (const events of [{}, { on: none }, { on: none, off: none }]) {
      let destroyed = 0;
      const stream = {
        ...events,
        destroy: () => destroyed++,
        async *[Symbol.asyncIterator]() {
          yield* chunks;
        },
      } as unknown as Readable;
      const seen: number[] = [];
      for await (const frame of frames(stream, 2, GRAY)) {
        seen.push(frame.bytes[0]!, frame.bytes[99]!);
        frame.release();
      }
      expect(seen).toEqual([1, 2, 2, 2]);
      expect(destroyed).toBeGreaterThan(0);
      const video = await openRawVideo(stream, GRAY);
      const bytes = new Uint8Array(100);
      expect(await (await video.next())!.copyTo(bytes)).toBe(true);
      expect([bytes[0], bytes[99]]).toEqual([1, 2]);
      await video.close();
    }
  });

  it("end with ERR_DETACHED, every slot back, when a chunk is transferred away before all of it was copied", async () => {
    const gone = (bytes: Uint8Array<ArrayBuffer>) => structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    for (const when of ["before it is read", "while a slot is waited for", "behind its first frame"]) {
      const [chunk, pool] = [new Uint8Array(250), BufferPool.create({ size: 100, max: 1 })];
      const pieces = async function* () {
        yield new Uint8Array(100);
        if (when === "before it is read") gone(chunk);
        yield chunk;
        yield new Uint8Array(100);
      };
      const nothing = (): void => {};
      const stream = { on: nothing, once: nothing, off: nothing, destroy: nothing, [Symbol.asyncIterator]: pieces };
      const read = frames(stream as unknown as Readable, pool, GRAY);
      const first = await read.next();
      const next = read.next();
      next.catch(() => {});
      for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
      if (when === "while a slot is waited for") gone(chunk);
      first.value!.release();
      if (when === "behind its first frame") {
        (await next).value!.release();
        gone(chunk);
      }
      const ended = when === "behind its first frame" ? read.next() : next;
      expect(await codeOf(ended), when).toBe("ERR_DETACHED");
      expect(pool.outstanding, when).toBe(0);
      pool.close();
    }
  });

  it("tell an error that came before they were asked for", async () => {
    const stream = new PassThrough();
    const video = frames(stream, 1, GRAY);
    stream.destroy(new Error("the cable was pulled"));
    await new Promise((resolve) => stream.on("close", resolve));
    await expect(video.next()).rejects.toThrow("the cable was pulled");
    expect(await video.next()).toEqual({ done: true, value: undefined });
  });

  it("say how the stream ended inside a frame, which is not delivered", async () => {
    const pool = BufferPool.create({ size: 100, max: 1 });
    const video = frames(chunked(new Uint8Array(250), [64]), pool, { ...GRAY, frameRate: { num: 10, den: 1 } });
    const shown: unknown[] = [];
    for await (const frame of video) {
      shown.push(frame.pts);
      frame.release();
    }
    expect(shown).toEqual([0n, 100_000_000n]);
    expect(video.shortfall).toBe("the stream ends inside frame 3: 50 of its 100 bytes arrived");
    expect(pool.outstanding).toBe(0);
  });

  it("reject when the pool is for other frames, too small, retired or closed meanwhile, and keep no slot", async () => {
    const other = BufferPool.create({
      size: 600,
      max: 1,
      format: VideoInfo.of({ format: "I420", width: 20, height: 20 }),
    });
    const read = (pool: BufferPool, stream: Readable): Promise<string> => codeOf(frames(stream, pool, GRAY).next());
    expect(await read(other, chunked(new Uint8Array(100), [64]))).toBe("ERR_INVALID_ARG_VALUE");
    const small = BufferPool.create({ size: 99, max: 1 });
    expect(await read(small, chunked(new Uint8Array(100), [64]))).toBe("ERR_OUT_OF_RANGE");
    expect(small.outstanding + other.outstanding).toBe(0);

    const closed = BufferPool.create({ size: 100, max: 1, revoke: true });
    const stream = new PassThrough();
    stream.write(Buffer.alloc(50, 1));
    const next = read(closed, stream);
    while (closed.outstanding === 0) await new Promise(setImmediate);
    closed.close({ force: true });
    stream.write(Buffer.alloc(50, 1));
    expect(await next).toBe("ERR_POOL_DEAD");
    expect(stream.destroyed).toBe(true);
  });

  it("refuse wrong arguments at once, and leave the stream as it is", () => {
    const stream = new PassThrough();
    const wrong: [unknown[], string][] = [
      [[undefined, 2], "readable must be a Readable"],
      [[stream, 0], "pool must be a whole number from 1"],
      [[stream, "2"], "pool must be a BufferPool or a count"],
      [[stream, 2, { fromat: "gray" }], 'did you mean "format"'],
      [[stream, 2, { format: "gray", width: 10 }], "needs options.width and options.height"],
      [[stream, 2, { ...GRAY, signal: {} }], "options.signal must be an AbortSignal"],
      [[stream, 2, { ...GRAY, timeout: -1 }], "options.timeout"],
      [[stream, 2, { ...GRAY, frameRate: { num: 0, den: 1 } }], "options.frameRate.num"],
    ];
    for (const [args, message] of wrong) {
      expect(() => (frames as (...all: unknown[]) => unknown)(...args)).toThrow(message);
    }
    expect(stream.destroyed).toBe(false);
    expect(stream.eventNames()).toEqual(new PassThrough().eventNames());
  });

  it("say that a stream of HTTP/2 was cut off, also between two frames", async () => {
    const { server, client, close } = await http2Exchange();
    const video = frames(server, 2, GRAY);
    const first = video.next();
    client.write(Buffer.alloc(200, 1));
    for (const frame of [await first, await video.next()]) frame.value!.release();
    client.destroy();
    await expect(video.next()).rejects.toMatchObject({ code: "ERR_STREAM_PREMATURE_CLOSE" });
    expect(server.destroyed).toBe(true);
    close();
  });
});
