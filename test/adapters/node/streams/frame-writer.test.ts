import { type ChildProcess, spawn } from "node:child_process";
import { EventEmitter, getEventListeners, once } from "node:events";
import { createWriteStream, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import http2 from "node:http2";
import { type AddressInfo, connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Writable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type FrameWriter, frameWriter } from "../../../../src/adapters/node/streams/frame-writer.ts";
import { SharedAllocator } from "../../../../src/allocators/shared.ts";
import { MediaBuffer } from "../../../../src/media/buffer/media-buffer.ts";
import { VideoInfo } from "../../../../src/media/video/info.ts";
import { BufferPool } from "../../../../src/pools/buffer/buffer-pool.ts";
import { PagePool } from "../../../../src/pools/page/page-pool.ts";
import { codeOf } from "../../../helpers/code-of.ts";
import { http2Exchange } from "../../../helpers/http2-server.ts";
import { lateErrors } from "../../../helpers/late-errors.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "frame-writer-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function untilTrue(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** A writable whose callbacks the test calls: it has read a chunk only then. */
class Slow extends Writable {
  readonly taken: Buffer[] = [];
  waiting: (() => void) | undefined;
  override _write(chunk: Buffer, _encoding: string, callback: (error?: Error | null) => void): void {
    this.waiting = () => {
      this.waiting = undefined;
      this.taken.push(Buffer.from(chunk));
      callback();
    };
  }
}

/** A child that reads its input when it is told to, and gives it back. */
function stallingReader(): ChildProcess & { go(): void; output: Promise<Buffer> } {
  const child = spawn("sh", ["-c", "read x <&3; cat"], { stdio: ["pipe", "pipe", "inherit", "pipe"] });
  const chunks: Buffer[] = [];
  child.stdout!.on("data", (chunk: Buffer) => chunks.push(chunk));
  const output = once(child, "close").then(() => Buffer.concat(chunks));
  return Object.assign(child, { go: () => void (child.stdio[3] as Writable).end("go\n"), output });
}

/** A client of HTTP/2 that asks for one answer, takes so many bytes of it, and does not read until it is told. */
function rawHttp2(socket: Socket, window: number): { rest(): Promise<Buffer> } {
  const frame = (type: number, flags: number, id: number, payload: Buffer): Buffer => {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head[3] = type;
    head[4] = flags;
    head.writeUInt32BE(id, 5);
    return Buffer.concat([head, payload]);
  };
  const settings = Buffer.alloc(12);
  settings.writeUInt16BE(4, 0);
  settings.writeUInt32BE(window, 2);
  settings.writeUInt16BE(5, 6);
  settings.writeUInt32BE(16_777_215, 8);
  const more = Buffer.alloc(4);
  more.writeUInt32BE(window - 65_535);
  // GET http://a/
  const request = Buffer.from([0x82, 0x86, 0x84, 0x41, 1, 0x61]);
  socket.pause();
  socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  socket.write(
    Buffer.concat([
      frame(4, 0, 0, settings),
      frame(8, 0, 0, more),
      frame(4, 1, 0, Buffer.alloc(0)),
      frame(1, 5, 1, request),
    ]),
  );
  return {
    async rest(): Promise<Buffer> {
      // The answer to a ping is behind all that the session had to send.
      const chunks: Buffer[] = [];
      socket.write(frame(6, 0, 0, Buffer.from("pingpong")));
      for await (const chunk of socket) {
        chunks.push(chunk as Buffer);
        if (Buffer.concat(chunks.slice(-2)).includes("pingpong")) break;
      }
      return Buffer.concat(chunks);
    },
  };
}

const SIZE = 300_000;
const expected = (count: number, size = SIZE): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, i) => Buffer.alloc(size, i + 1)));

async function fill(pool: BufferPool, value: number): Promise<MediaBuffer> {
  const buffer = await pool.acquire();
  buffer.bytes.fill(value);
  return buffer;
}

describe("a writer of frames", () => {
  it("keeps a slot until a reader that stalls has its bytes, where a ring of buffers is overwritten", async () => {
    const ring = [new Uint8Array(SIZE), new Uint8Array(SIZE)];
    const naive = stallingReader();
    for (let i = 0; i < 6; i++) {
      const buffer = ring[i % 2]!;
      buffer.fill(i + 1);
      naive.stdin!.write(buffer);
    }
    naive.stdin!.end();
    naive.go();
    const overwritten = await naive.output;
    expect(overwritten.length).toBe(6 * SIZE);
    expect(overwritten.equals(expected(6))).toBe(false);

    const pool = BufferPool.create({ size: SIZE, max: 2 });
    const reader = stallingReader();
    const writer = frameWriter(reader.stdin!);
    let most = 0;
    const writing = (async () => {
      const writes: Promise<void>[] = [];
      for (let i = 0; i < 6; i++) {
        const frame = await fill(pool, i + 1);
        writes.push(writer.write(frame));
        most = Math.max(most, writer.inFlight);
      }
      await Promise.all(writes);
      await writer.end();
    })();
    // Nothing more can be written before the reader reads.
    await untilTrue(() => pool.stats().waiting === 1);
    expect(writer.inFlight).toBe(2);
    reader.go();
    await writing;
    expect((await reader.output).equals(expected(6))).toBe(true);
    expect(most).toBe(2);
    expect([pool.outstanding, writer.inFlight, writer.written]).toEqual([0, 0, 6]);
  });

  it("gives a lease back in the turn in which the writable calls back for it, and resolves then", async () => {
    const pool = BufferPool.create({ size: 10, max: 3 });
    const slow = new Slow();
    const writer = frameWriter(slow);
    const done: number[] = [];
    for (let i = 1; i <= 3; i++) {
      const frame = await fill(pool, i);
      void writer.write(frame).then(() => done.push(i));
      // It is the writer's: a second release is refused, and the bytes can be read only.
      expect(() => frame.release()).toThrow("ERR_MAPPED");
      expect(() => frame.map("write")).toThrow("ERR_MAPPED");
    }
    expect(writer.inFlight).toBe(3);
    for (let i = 1; i <= 3; i++) {
      expect([pool.outstanding, done.length]).toEqual([4 - i, i - 1]);
      slow.waiting!();
      await untilTrue(() => done.length === i);
      expect(pool.outstanding).toBe(3 - i);
    }
    expect(slow.taken.map((chunk) => chunk[0])).toEqual([1, 2, 3]);
    await writer.end();
    expect(slow.writableFinished).toBe(true);
    expect(slow.listenerCount("error") + slow.listenerCount("close")).toBe(0);
  });

  it("writes padded rows packed, by option or by the pool's format, with and without writev", async () => {
    const info = VideoInfo.of({
      format: "I420",
      width: 37,
      height: 19,
      strideAlign: 32,
      padding: { top: 2, left: 3, right: 1, bottom: 1 },
    });
    const packed = VideoInfo.of({ format: "I420", width: 37, height: 19 });
    for (const allocator of [undefined, new SharedAllocator()]) {
      for (const isInPool of [true, false]) {
        for (const kind of ["file", "process", "without writev"]) {
          const pool = BufferPool.create({
            size: info.size,
            max: 2,
            ...(isInPool ? { format: info } : {}),
            ...(allocator === undefined ? {} : { allocator }),
          });
          const path = join(folder, "packed");
          const child = kind === "process" ? stallingReader() : undefined;
          child?.go();
          const slow = new Slow();
          const writable = child?.stdin ?? (kind === "file" ? createWriteStream(path) : slow);
          const writer = frameWriter(writable, isInPool ? {} : { layout: info });
          const sent: Buffer[] = [];
          for (let i = 0; i < 3; i++) {
            const frame = await pool.acquire();
            frame.bytes.fill(0xee);
            for (const { offset, stride, rowBytes, height } of info.planes) {
              for (let row = 0; row < height; row++) {
                const line = Uint8Array.from({ length: rowBytes }, (_, x) => (x * 3 + row * 5 + i * 7) & 127);
                frame.bytes.set(line, offset + row * stride);
                sent.push(Buffer.from(line));
              }
            }
            const write = writer.write(frame);
            if (kind === "without writev") slow.waiting!();
            await write;
            expect(pool.outstanding).toBe(0);
          }
          await writer.end();
          const got =
            child !== undefined ? await child.output : kind === "file" ? readFileSync(path) : Buffer.concat(slow.taken);
          expect(got.length).toBe(3 * packed.size);
          expect(got.equals(Buffer.concat(sent)), `${kind}, ${isInPool}`).toBe(true);
          if (kind === "without writev") expect(slow.taken).toHaveLength(3);
        }
      }
    }
  });

  it("writes the memories of a buffer one after another, and buffers that are held by others too", async () => {
    const slow = new Slow();
    const writer = frameWriter(slow);
    const buffer = MediaBuffer.wrap(Uint8Array.of(1, 2));
    buffer.append(MediaBuffer.wrap(Uint8Array.of(3)));
    buffer.append(MediaBuffer.wrap(Uint8Array.of(4, 5)));
    const held = buffer.retain();
    const write = writer.write(buffer);
    while (slow.taken.length < 3) {
      await untilTrue(() => slow.waiting !== undefined);
      slow.waiting!();
    }
    await write;
    expect(Buffer.concat(slow.taken)).toEqual(Buffer.from([1, 2, 3, 4, 5]));
    expect([held.isLive, held.refCount]).toEqual([true, 1]);
    held.release();
    await writer.write(MediaBuffer.allocate(0));
    expect(writer.written).toBe(2);
  });

  it("has every lease back, refuses the next and leaves no listener, whatever ends it", async () => {
    const ways: [
      string,
      (slow: Slow, abort: AbortController, writer: ReturnType<typeof frameWriter>) => void,
      string,
    ][] = [
      ["destroy by the other side", (slow) => void slow.destroy(), "ERR_STREAM_DESTROYED|ERR_ENDED"],
      ["an error of the other side", (slow) => void slow.destroy(new Error("no space")), "no space"],
      ["the signal", (_slow, abort) => abort.abort(new Error("enough")), "enough"],
      ["the signal without an error", (_slow, abort) => abort.abort("enough"), "enough"],
      ["destroy()", (_slow, _abort, writer) => writer.destroy(new Error("mine")), "mine"],
      ["destroy() without a reason", (_slow, _abort, writer) => writer.destroy(), "ERR_ENDED"],
      ["dispose", (_slow, _abort, writer) => writer[Symbol.dispose](), "ERR_ENDED"],
    ];
    for (const [name, way, message] of ways) {
      const pool = BufferPool.create({ size: 10, max: 3 });
      const slow = new Slow();
      const abort = new AbortController();
      const writer = frameWriter(slow, { signal: abort.signal });
      const writes = [1, 2, 3].map(async (i) => writer.write(await fill(pool, i)));
      await untilTrue(() => writer.inFlight === 3);
      way(slow, abort, writer);
      for (const write of writes) {
        const end = await write.then(
          () => "written",
          (error: unknown) =>
            String((error as { message?: unknown }).message ?? error) + (error as { code?: string }).code,
        );
        expect(end, name).toMatch(new RegExp(message));
      }
      expect([pool.outstanding, writer.inFlight, writer.isEnded], name).toEqual([0, 0, true]);
      expect(await codeOf(writer.write(await fill(pool, 4))), name).toBe("ERR_ENDED");
      expect(pool.outstanding, name).toBe(0);
      await expect(writer.end(), name).rejects.toBeTruthy();
      await untilTrue(() => slow.closed);
      expect(slow.listenerCount("error") + slow.listenerCount("close") + slow.listenerCount("finish"), name).toBe(0);
      expect(getEventListeners(abort.signal, "abort"), name).toHaveLength(0);
      pool.validate();
    }
  });

  it("keeps no listener at the signal when a writable that never closes is ended by others, or fails", async () => {
    for (const way of ["end", "error"] as const) {
      const abort = new AbortController();
      const open = new Writable({
        autoDestroy: false,
        write: (_chunk, _encoding, done) => done(way === "error" ? new Error("no space") : null),
      });
      const writer = frameWriter(open, { signal: abort.signal });
      expect(getEventListeners(abort.signal, "abort"), way).toHaveLength(1);
      const over = once(open, way === "end" ? "finish" : "error");
      if (way === "end") open.end();
      else open.write("x");
      await over;
      expect([writer.isEnded, open.closed], way).toEqual([true, false]);
      expect(getEventListeners(abort.signal, "abort"), way).toHaveLength(0);
    }
  });

  it("rejects with EPIPE when the reader ends, with every lease back", async () => {
    const pool = BufferPool.create({ size: SIZE, max: 4 });
    const child = spawn("sh", ["-c", "head -c 100 >/dev/null"], { stdio: ["pipe", "ignore", "inherit"] });
    const writer = frameWriter(child.stdin);
    const codes = new Set<unknown>();
    for (;;) {
      try {
        await writer.write(await fill(pool, 1));
      } catch (error) {
        codes.add((error as NodeJS.ErrnoException).code);
        break;
      }
    }
    expect([...codes]).toEqual([expect.stringMatching(/EPIPE|ECONNRESET/)]);
    const refused = await writer.write(await fill(pool, 1)).catch((error: Error) => error);
    expect(refused).toMatchObject({ code: "ERR_ENDED", cause: { code: expect.stringMatching(/EPIPE|ECONNRESET/) } });
    expect(pool.outstanding).toBe(0);
  });

  it("has its bytes to the end when the pool is closed by force meanwhile", async () => {
    const pages = PagePool.create({ maxBytes: 1 << 22 });
    for (const config of [{}, { revoke: true }, { allocator: pages.allocator }]) {
      const pool = BufferPool.create({ size: SIZE, max: 2, ...config });
      const reader = stallingReader();
      const writer = frameWriter(reader.stdin!);
      const writes = [writer.write(await fill(pool, 1)), writer.write(await fill(pool, 2))];
      expect(pool.close({ force: true })).toHaveLength(2);
      // What is allocated now must not be what is still being written.
      const others = Array.from({ length: 4 }, () => MediaBuffer.allocate(SIZE, { allocator: pages.allocator }));
      for (const other of others) other.bytes.fill(99);
      reader.go();
      await Promise.all(writes);
      await writer.end();
      for (const other of others) other.release();
      expect((await reader.output).equals(expected(2))).toBe(true);
    }
    pages.close();
  });

  it("writes the body of an HTTP response", async () => {
    const pool = BufferPool.create({ size: SIZE, max: 2 });
    const server = createServer((_request: IncomingMessage, response: ServerResponse) => {
      const writer = frameWriter(response);
      void (async () => {
        for (let i = 0; i < 5; i++) void writer.write(await fill(pool, i + 1));
        await writer.end();
      })();
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    expect(Buffer.from(await response.arrayBuffer()).equals(expected(5))).toBe(true);
    expect(pool.outstanding).toBe(0);
    await new Promise((resolve) => server.close(resolve));
  });

  it("refuses what it cannot write, and takes every live lease over all the same", async () => {
    const slow = new Slow();
    const info = VideoInfo.of({ format: "I420", width: 4, height: 4 });
    const ended = new Slow().end();
    const wrong: [unknown[], string][] = [
      [[undefined], "writable must be a Writable"],
      [[new PassThrough()], "PassThrough"],
      [[new Writable({ objectMode: true })], "not of objects"],
      [[slow, { layuot: info }], 'did you mean "layout"'],
      [[slow, { layout: {} }], "options.layout must be a VideoInfo"],
      [[slow, { layout: { ...info, format: "XYZ" } }], "raw video cannot be read in format"],
      [[slow, { signal: 1 }], "options.signal"],
      [[ended], "ERR_ENDED"],
    ];
    for (const [args, message] of wrong) {
      expect(() => (frameWriter as (...all: unknown[]) => unknown)(...args), message).toThrow(message);
    }
    expect(slow.listenerCount("error") + slow.listenerCount("close")).toBe(0);

    const writer = frameWriter(slow, { layout: info });
    const pool = BufferPool.create({ size: 23, max: 1 });
    expect(await codeOf(writer.write(await pool.acquire()))).toBe("ERR_OUT_OF_RANGE");
    expect(pool.outstanding).toBe(0);
    expect(await codeOf(writer.write({} as MediaBuffer))).toBe("ERR_INVALID_ARG_TYPE");
    const released = await pool.acquire();
    released.release();
    expect(await codeOf(writer.write(released))).toBe("ERR_USE_AFTER_RELEASE");
    const ending = writer.end();
    expect(writer.end()).toBe(ending);
    expect(await codeOf(writer.write(await pool.acquire()))).toBe("ERR_ENDED");
    expect(pool.outstanding).toBe(0);
    await ending;
  });

  it("discards a slot that a writable may still read when it closes without calling back", async () => {
    let sink: Buffer | undefined;
    const writable = new Writable({
      write(chunk: Buffer) {
        sink = chunk;
      },
    });
    const pool = BufferPool.create({ size: 16, max: 1 });
    const writer = frameWriter(writable);
    const writing = writer.write(await fill(pool, 1));
    writer.destroy(new Error("stop"));
    await expect(writing).rejects.toThrow("stop");
    expect(pool.outstanding).toBe(0);
    await fill(pool, 2);
    expect([...sink!]).toEqual(Array.from({ length: 16 }, () => 1));
    expect(pool.stats().discards).toEqual({ "memory-unfit": 1 });
  });

  it("discards it also where the memory of a lease would be zeroed, detached or used again", async () => {
    const pages = PagePool.create({ maxBytes: 2 ** 20 });
    const pools: BufferPool[] = [
      BufferPool.create({ size: 16, max: 1, zero: "release" }),
      BufferPool.create({ size: 16, max: 1, revoke: true }),
      BufferPool.create({ size: 16, max: 1, allocator: new SharedAllocator() }),
      BufferPool.create({ size: 4096, max: 1, allocator: pages.allocator }),
    ];
    for (const pool of pools) {
      let sink: Buffer | undefined;
      const writable = new Writable({
        write(chunk: Buffer) {
          sink = chunk;
        },
      });
      const writer = frameWriter(writable);
      const writing = writer.write(await fill(pool, 1));
      writable.destroy();
      expect(await codeOf(writing)).toBe("ERR_ENDED");
      expect(pool.outstanding).toBe(0);
      await fill(pool, 2);
      expect(sink!.length).toBe(pool.config!.size);
      expect(sink!.every((byte) => byte === 1)).toBe(true);
    }
  });

  it("waits for the callback of each chunk, so that the last one's error does not give back the first one's bytes", async () => {
    let callback: (() => void) | undefined;
    let sink: Buffer | undefined;
    const writable = new Writable({
      write(chunk: Buffer, _encoding, done) {
        sink = chunk;
        callback = done;
      },
      // As that of a file, which waits for its write.
      destroy() {},
    });
    const pool = BufferPool.create({ size: 16, max: 1 });
    const writer = frameWriter(writable);
    const buffer = await fill(pool, 1);
    buffer.append(MediaBuffer.wrap(new Uint8Array(16).fill(1)));
    const writing = writer.write(buffer);
    writer.destroy(new Error("stop"));
    await new Promise((resolve) => setImmediate(resolve));
    expect(pool.outstanding).toBe(1);
    expect([...sink!]).toEqual(Array.from({ length: 16 }, () => 1));
    callback!();
    await expect(writing).rejects.toThrow("stop");
    expect(pool.outstanding).toBe(0);
  });

  it("ends with what a writable throws in its write(): no later write and no end() waits for it", async () => {
    class Broken extends Writable {
      #count = 0;
      override _write(_chunk: Buffer, _encoding: string, callback: () => void): void {
        if (++this.#count === 2) throw new Error("broken");
        setImmediate(callback);
      }
    }
    const pool = BufferPool.create({ size: 100, max: 4 });
    const writable = new Broken();
    const writer = frameWriter(writable);
    await writer.write(pool.tryAcquire()!);
    const [second, third] = [writer.write(pool.tryAcquire()!), writer.write(pool.tryAcquire()!)];
    await expect(second).rejects.toThrow("broken");
    await expect(third).rejects.toThrow("broken");
    await expect(writer.write(pool.tryAcquire()!)).rejects.toMatchObject({ code: "ERR_ENDED" });
    await expect(writer.end()).rejects.toThrow("broken");
    expect([writer.inFlight, writer.isEnded, writable.destroyed, pool.outstanding]).toEqual([0, true, true, 0]);
    pool.close();
  });

  it("takes a second callback for a chunk for no other's", async () => {
    const layout = VideoInfo.of({ format: "GRAY8", width: 10, height: 3, strideAlign: 16 });
    const callbacks: (() => void)[] = [];
    class Twice extends Writable {
      override _writev(): void {}
      override write(...args: unknown[]): boolean {
        callbacks.push(args[1] as () => void);
        return true;
      }
    }
    const pool = BufferPool.create({ size: layout.size, max: 1, format: layout });
    const writer = frameWriter(new Twice());
    const written = writer.write(pool.tryAcquire()!);
    expect(callbacks.length).toBe(3);
    for (let i = 0; i < 5; i++) callbacks[0]!();
    await new Promise((resolve) => setImmediate(resolve));
    expect([writer.inFlight, pool.outstanding]).toEqual([1, 1]);
    for (const call of callbacks) call();
    await written;
    expect([writer.inFlight, writer.written, pool.outstanding]).toEqual([0, 1, 0]);
    pool.close();
  });

  it("gives slots of a child that was killed back to the pool, because a pipe calls back for each write", async () => {
    const child = stallingReader();
    child.stdin!.on("error", () => {});
    const pool = BufferPool.create({ size: SIZE, max: 2 });
    const writer = frameWriter(child.stdin!);
    const writes = [writer.write(await fill(pool, 1)), writer.write(await fill(pool, 2))];
    child.kill("SIGKILL");
    const results = await Promise.allSettled(writes);
    expect(results.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(pool.outstanding).toBe(0);
    expect(pool.stats().discards).toEqual({});
    await child.output;
  });

  it.each([2 ** 31 - 1, 6 << 20])(
    "an HTTP/2 session sends no bytes of a later lease behind a stream that was destroyed (window %i)",
    async (window) => {
      const pool = BufferPool.create({ size: 8 << 20, max: 1 });
      const server = http2.createServer();
      const done = new Promise<void>((resolve, reject) => {
        server.on("stream", (stream) => {
          (async () => {
            stream.on("error", () => {});
            stream.respond({ ":status": 200 });
            const writer = frameWriter(stream);
            const writing = writer.write(await fill(pool, 0x41));
            // By then the kernel's buffers are full, and the session has taken what the window lets it.
            for (let i = 0; i < 20; i++) await new Promise((next) => setImmediate(next));
            writer.destroy(new Error("stop"));
            await expect(writing).rejects.toThrow("stop");
            expect(pool.outstanding).toBe(0);
            await fill(pool, 0x42);
          })().then(resolve, reject);
        });
      });
      await once(server.listen(0, "127.0.0.1"), "listening");
      const client = rawHttp2(connect((server.address() as AddressInfo).port, "127.0.0.1"), window);
      await done;
      expect((await client.rest()).includes(Buffer.alloc(64, 0x42))).toBe(false);
      server.close();
    },
  );
});

type Ends = Promise<{ readonly codes: string[]; readonly end: string }>;

/** Three writes under way and an end(): how each of them ends. */
function endsOf(writer: FrameWriter, writes: readonly Promise<void>[]): Ends {
  return Promise.all(writes.map(codeOf)).then(async (codes) => ({ codes, end: await codeOf(writer.end()) }));
}

describe("a writer whose stream ends", () => {
  /** A writer at one end of a stream of HTTP/2 whose other end takes nothing, and that other end. */
  async function http2Pair(kind: "server stream" | "response" | "client stream"): Promise<{
    readonly writable: Writable;
    readonly peer: http2.Http2Stream;
    close(): void;
  }> {
    const server = http2.createServer();
    server.on("session", (session) => session.on("error", () => {}));
    const arrived = new Promise<{ stream: http2.ServerHttp2Stream; response: http2.Http2ServerResponse }>((resolve) => {
      server.on("stream", (stream) => {
        stream.on("error", () => {});
        if (kind === "response") return;
        stream.respond();
        resolve({ stream, response: undefined as never });
      });
      if (kind === "response") server.on("request", (_, response) => resolve({ stream: response.stream, response }));
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    const client = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    client.on("error", () => {});
    const request = client.request({ ":method": kind === "client stream" ? "POST" : "GET" });
    request.on("error", () => {});
    const { stream, response } = await arrived;
    const isClient = kind === "client stream";
    return {
      writable: isClient ? request : kind === "response" ? (response as unknown as Writable) : stream,
      peer: isClient ? stream : request,
      close() {
        client.destroy();
        server.close();
      },
    };
  }

  it.each(["server stream", "response", "client stream"] as const)(
    "rejects what waits, and the end, when the peer resets an HTTP/2 %s without an error, or with one",
    async (kind) => {
      for (const code of [http2.constants.NGHTTP2_NO_ERROR, http2.constants.NGHTTP2_CANCEL, "end first"] as const) {
        const { writable, peer, close } = await http2Pair(kind);
        const pool = BufferPool.create({ size: 300_000, max: 3 });
        const writer = frameWriter(writable);
        const writes = await Promise.all([1, 2, 3].map(async (i) => ({ write: writer.write(await fill(pool, i)) })));
        const all = writes.map(({ write }) => write);
        // The end is called while writes wait, too.
        const ends = code === "end first" ? codeOf(writer.end()) : undefined;
        const settled = endsOf(writer, all);
        // The window lets the peer have some of it.
        await new Promise<void>((resolve) => void peer.once("data", () => resolve()));
        peer.close(code === "end first" ? 0 : code);
        const { codes, end } = await settled;
        expect(
          codes.every((each) => each !== "ok"),
          `${code}: ${codes}`,
        ).toBe(true);
        expect(end, String(code)).not.toBe("ok");
        if (ends !== undefined) expect(await ends).not.toBe("ok");
        expect([pool.outstanding, writer.inFlight, writer.isEnded], String(code)).toEqual([0, 0, true]);
        close();
      }
    },
  );

  it.each(["server stream", "response", "client stream"] as const)(
    "gives every lease back when the owner ends an HTTP/2 %s and its peer resets it then, of which Node says nothing",
    async (kind) => {
      const { writable, peer, close } = await http2Pair(kind);
      const pool = BufferPool.create({ size: 300_000, max: 3 });
      const writer = frameWriter(writable);
      const writes = await Promise.all(
        [1, 2, 3].map(async (i) => ({ code: codeOf(writer.write(await fill(pool, i))) })),
      );
      await new Promise<void>((resolve) => void peer.once("data", () => resolve()));
      writable.end();
      peer.close(http2.constants.NGHTTP2_NO_ERROR);
      const codes = await Promise.all(writes.map(({ code }) => code));
      expect(codes.every((each) => each !== "ok")).toBe(true);
      expect([pool.outstanding, writer.inFlight]).toEqual([0, 0]);
      pool.validate();
      close();
    },
  );

  it("takes an HTTP/2 stream that its owner closes behind its end() for none that was reset", async () => {
    const { writable, peer, close } = await http2Pair("server stream");
    const pool = BufferPool.create({ size: 300_000, max: 3 });
    const writer = frameWriter(writable);
    const writes = await Promise.all([1, 2, 3].map(async (i) => ({ code: codeOf(writer.write(await fill(pool, i))) })));
    writable.end();
    (writable as unknown as http2.Http2Stream).close();
    let received = 0;
    peer.on("data", (chunk: Buffer) => {
      received += chunk.length;
    });
    expect(await Promise.all(writes.map(({ code }) => code))).toEqual(["ok", "ok", "ok"]);
    await once(peer, "end");
    expect([received, pool.outstanding]).toEqual([900_000, 0]);
    close();
  });

  it("says that an HTTP/2 response has not finished when its client had left before end() was called", async () => {
    const { writable, peer, close } = await http2Pair("response");
    const pool = BufferPool.create({ size: 1000, max: 1 });
    const writer = frameWriter(writable);
    await writer.write(await fill(pool, 1));
    const gone = once(writable, "close");
    peer.close(http2.constants.NGHTTP2_CANCEL);
    await gone;
    expect(await codeOf(writer.end())).toBe("ERR_ENDED");
    expect(await codeOf(writer.write(await fill(pool, 2)))).toBe("ERR_ENDED");
    expect(pool.outstanding).toBe(0);
    close();
  });

  it("has ended an HTTP/2 response when it is written, also while its client still sends", async () => {
    const { client, response, close } = await http2Exchange();
    client.resume();
    const pool = BufferPool.create({ size: 1000, max: 1 });
    const writer = frameWriter(response as unknown as Writable);
    await writer.write(await fill(pool, 1));
    await writer.end();
    expect([client.writableEnded, pool.outstanding]).toEqual([false, 0]);
    close();
  });

  it("ends a response that waits for its turn on a connection, when the client leaves and when it is destroyed", async () => {
    for (const how of ["client leaves", "destroy()"] as const) {
      const pool = BufferPool.create({ size: 65_536, max: 1 });
      let connection: Socket | undefined;
      const ends = new Promise<Awaited<Ends>>((resolve) => {
        const server = createServer((request, response) => {
          // The first is never answered.
          if (request.url === "/a") return;
          const writer = frameWriter(response);
          void endsOf(writer, [writer.write(pool.tryAcquire()!)]).then((all) => {
            server.closeAllConnections();
            server.close();
            resolve(all);
          });
          if (how === "destroy()") writer.destroy();
          else connection!.destroy();
        });
        server.listen(0, "127.0.0.1", () => {
          connection = connect((server.address() as AddressInfo).port, "127.0.0.1");
          connection.on("error", () => {});
          connection.write("GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n");
        });
      });
      expect(await ends, how).toEqual({ codes: ["ERR_ENDED"], end: "ERR_ENDED" });
      expect(pool.outstanding, how).toBe(0);
      connection!.destroy();
    }
  });

  it("adds one listener to a connection, however many requests a client pipelines", async () => {
    const warnings: string[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning.name);
    process.on("warning", onWarning);
    const pool = BufferPool.create({ size: 16, max: 20 });
    const server = createServer();
    await once(server.listen(0, "127.0.0.1"), "listening");
    const connection = connect((server.address() as AddressInfo).port, "127.0.0.1");
    connection.on("error", () => {});
    const writes: Promise<string>[] = [];
    const all = new Promise<void>((resolve) => {
      server.on("request", (request: IncomingMessage, response: ServerResponse) => {
        if (request.url === "/0") return;
        writes.push(codeOf(frameWriter(response).write(pool.tryAcquire()!)));
        if (writes.length === 19) resolve();
      });
    });
    connection.write(Array.from({ length: 20 }, (_, i) => `GET /${i} HTTP/1.1\r\nHost: x\r\n\r\n`).join(""));
    await all;
    connection.destroy();
    expect(new Set(await Promise.all(writes))).toEqual(new Set(["ERR_ENDED"]));
    expect(pool.outstanding).toBe(0);
    await new Promise((resolve) => setImmediate(resolve));
    expect(warnings).toEqual([]);
    process.off("warning", onWarning);
    server.close();
  });

  it("settles with a stream that never says that it has closed, whoever destroys it, and leaves it as it was", async () => {
    const silent = (): Writable => new Writable({ emitClose: false, write() {} });
    const stuck = (): Writable => new Writable({ write() {}, destroy() {} });
    const ways: [string, () => Writable, (writable: Writable, writer: FrameWriter) => void][] = [
      ["emitClose: false, by others", silent, (writable) => void writable.destroy()],
      ["emitClose: false, by the writer", silent, (_, writer) => writer.destroy()],
      ["never closed, by the writer", stuck, (_, writer) => writer.destroy()],
      [
        "never closed, by others, then by the writer",
        stuck,
        (writable, writer) => {
          writable.destroy();
          writer.destroy();
        },
      ],
    ];
    for (const [name, make, way] of ways) {
      const pool = BufferPool.create({ size: 10, max: 3 });
      const writable = make();
      const writer = frameWriter(writable);
      const writes = [1, 2, 3].map(() => writer.write(pool.tryAcquire()!));
      const ends = endsOf(writer, writes);
      way(writable, writer);
      const { codes, end } = await ends;
      expect(codes[0], name).toBe("ERR_ENDED");
      expect(codes.every((code) => code !== "ok") && end !== "ok", name).toBe(true);
      expect([pool.outstanding, writer.inFlight], name).toEqual([0, 0]);
      expect(Object.hasOwn(writable, "_destroy"), name).toBe(make === stuck);
      pool.validate();
    }
  });

  it("writes to a stream that has what is asked for, and no more", async () => {
    const emitter = new EventEmitter();
    const stream = {
      write: (_chunk: Uint8Array, callback: () => void) => setImmediate(callback),
      end: () => setImmediate(() => emitter.emit("finish") && emitter.emit("close")),
      on: (event: string, listener: () => void) => void emitter.on(event, listener),
      off: (event: string, listener: () => void) => void emitter.off(event, listener),
      destroy: () => setImmediate(() => emitter.emit("close")),
      cork: () => {},
      uncork: () => {},
    } as unknown as Writable;
    const pool = BufferPool.create({ size: 10, max: 1 });
    const writer = frameWriter(stream);
    await writer.write(pool.tryAcquire()!);
    expect(await lateErrors(() => writer.end())).toEqual([]);
    expect([writer.written, pool.outstanding]).toEqual([1, 0]);
  });

  it("says why others have destroyed the writable, also before its error event, and to every later call", async () => {
    const boom = new Error("disk full");
    for (const first of ["write", "end", "pending"]) {
      const slow = new Slow();
      const pool = BufferPool.create({ size: 8, max: 4 });
      const writer = frameWriter(slow);
      const pending =
        first === "pending" ? writer.write(pool.tryAcquire()!).catch((e: Error) => e.cause ?? e) : undefined;
      let isTold = false;
      slow.once("error", () => {
        isTold = true;
      });
      slow.destroy(boom);
      slow.waiting?.();
      const write = (): Promise<unknown> => writer.write(pool.tryAcquire()!).catch((e: Error) => e.cause);
      const end = (): Promise<unknown> => writer.end().catch((e: Error) => e.cause ?? e);
      const result = await (pending ?? (first === "write" ? write() : end()));
      expect([first, result]).toEqual([first, boom]);
      while (!isTold) await new Promise((resolve) => setImmediate(resolve));
      expect([await write(), await end(), await write(), await end()]).toEqual([boom, boom, boom, boom]);
      expect(pool.outstanding).toBe(0);
    }
  });

  it("ends no process with an error that a stream has when it was given up", async () => {
    let close: ((error: Error) => void) | undefined;
    const writable = new Writable({
      write() {},
      destroy(_error, callback) {
        close = callback;
      },
    });
    const pool = BufferPool.create({ size: 10, max: 1 });
    const writer = frameWriter(writable);
    const write = codeOf(writer.write(pool.tryAcquire()!));
    writer.destroy();
    expect(await write).toBe("ERR_ENDED");
    expect(await lateErrors(() => close!(new Error("late")))).toEqual([]);
    expect(writable.listenerCount("error")).toBe(0);
  });
});

describe("a lease that is being written", () => {
  it("is not taken by a second write, and is by as many as it has references", async () => {
    const pool = BufferPool.create({ size: 4, max: 1 });
    const slow = new Slow();
    const [writer, other] = [frameWriter(slow), frameWriter(new Slow())];
    const lease = await fill(pool, 1);
    const first = writer.write(lease);
    expect(await codeOf(writer.write(lease))).toBe("ERR_MAPPED");
    expect(await codeOf(other.write(lease))).toBe("ERR_MAPPED");
    expect(lease.isLive).toBe(true);
    lease.retain();
    const second = writer.write(lease);
    slow.waiting!();
    await first;
    await untilTrue(() => slow.waiting !== undefined);
    slow.waiting!();
    await second;
    expect([pool.outstanding, slow.taken.length]).toEqual([0, 2]);
    expect(await codeOf(writer.write(lease))).toBe("ERR_USE_AFTER_RELEASE");
    pool.validate();
  });
});
