import { once } from "node:events";
import { createReadStream } from "node:fs";
import { createServer, get, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { Duplex, PassThrough, Readable, type Writable } from "node:stream";
import { afterEach, describe, expect, it } from "vitest";
import { type CollectOptions, collect } from "../../../src/adapters/node/collect.ts";
import { type MediaBuffer, PagePool } from "../../../src/index.ts";
import { isMillpondError } from "../../../src/util/errors.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { openDescriptors } from "../../helpers/descriptors.ts";
import { type Http2Exchange, http2Exchange } from "../../helpers/http2-server.ts";

const content = Uint8Array.from({ length: 1_000_000 }, (_, i) => (i * 31 + (i >> 8)) & 255);
const servers: Server[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

function chunksOf(bytes: Uint8Array, size: number): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
  return chunks;
}

function streamOf(bytes: Uint8Array, size = 60_000): Readable {
  return Readable.from(
    chunksOf(bytes, size).map((chunk) => Buffer.from(chunk)),
    { objectMode: false },
  );
}

function expectBytes(buffer: MediaBuffer, expected: Uint8Array, pages: PagePool): void {
  expect(buffer.size).toBe(expected.length);
  expect(Buffer.compare(buffer.bytes, expected)).toBe(0);
  buffer.release();
  expect(pages.stats().live).toBe(0);
}

/** A server that collects each request and answers with its length, or with 413, 400 or 500 and the code. */
async function serve(pages: PagePool, options: CollectOptions, seen: string[]): Promise<string> {
  const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    try {
      const body = await collect(req, pages, options);
      const right = Buffer.compare(body.bytes, content.subarray(0, body.size)) === 0;
      seen.push(`${body.size} ${right}`);
      body.release();
      res.end(`${right}`);
    } catch (error) {
      const code = isMillpondError(error) ? error.code : String((error as NodeJS.ErrnoException).code);
      seen.push(code);
      res.writeHead(code === "ERR_TOO_LARGE" ? 413 : 400, { connection: "close" }).end(code);
    }
  };
  const server = createServer((req, res) => void answer(req, res));
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

describe("collect from streams", () => {
  it("collects what comes, in any pieces, into one block", async () => {
    const pages = PagePool.create();
    for (const size of [1_000_000, 65_536, 999, 100_001]) {
      expectBytes(await collect(streamOf(content, size), pages), content, pages);
    }
    expectBytes(await collect(streamOf(content.subarray(0, 3), 1), pages), content.subarray(0, 3), pages);
    expectBytes(await collect(streamOf(content.subarray(0, 0)), pages), content.subarray(0, 0), pages);
  });

  it("grows by doubling, and gives the smaller blocks back", async () => {
    const pages = PagePool.create({ ageOut: Infinity });
    const body = await collect(streamOf(content, 10_000), pages);
    const { live, count, allocations } = pages.stats();
    // 64 KiB, 128, 256, 512, 1024.
    expect([live, count, allocations]).toEqual([1, 5, 5]);
    body.release();
  });

  it("allocates once when the length is known, and trusts no length beyond maxBytes", async () => {
    const pages = PagePool.create({ ageOut: Infinity });
    expectBytes(await collect(streamOf(content), pages, { expected: content.length }), content, pages);
    expect(pages.stats().allocations).toBe(1);
    const small = content.subarray(0, 10);
    const body = await collect(streamOf(small), pages, { expected: 2 ** 50, maxBytes: 100_000 });
    expect(pages.stats().bytes).toBeLessThan(2_000_000);
    expectBytes(body, small, pages);
  });

  it("finds the block of a body that was about as long, and does with less room where the pool has no more", async () => {
    const pages = PagePool.create({ ageOut: Infinity });
    for (const size of [1_000_000, 985_000, 999_999, 990_000]) {
      const bytes = content.subarray(0, size);
      expectBytes(await collect(streamOf(bytes), pages, { expected: size }), bytes, pages);
    }
    expect(pages.stats()).toMatchObject({ misses: 1, hits: 3 });
    pages.close();
    const exact = PagePool.create({ maxBytes: 1_003_520, pageSize: 4096 });
    expectBytes(await collect(streamOf(content), exact, { expected: content.length }), content, exact);
    expect(exact.stats().bytes).toBe(1_003_520);
    exact.close();
    // Beyond the limit nothing is ever written.
    const limited = PagePool.create({ pageSize: 4096 });
    const options = { expected: content.length, maxBytes: content.length };
    expectBytes(await collect(streamOf(content), limited, options), content, limited);
    expect(limited.stats().bytes).toBe(1_003_520);
    limited.close();
  });

  it("takes exactly maxBytes; one byte more is ERR_TOO_LARGE and destroys the stream", async () => {
    const pages = PagePool.create();
    for (const size of [1, 7, 1000]) {
      const bytes = content.subarray(0, 1001);
      expectBytes(await collect(streamOf(bytes, size), pages, { maxBytes: 1001 }), bytes, pages);
      const stream = streamOf(bytes, size);
      expect(await codeOf(collect(stream, pages, { maxBytes: 1000 }))).toBe("ERR_TOO_LARGE");
      expect(stream.destroyed).toBe(true);
      expect(pages.stats().live).toBe(0);
    }
    expectBytes(await collect(streamOf(content.subarray(0, 0)), pages, { maxBytes: 0 }), content.subarray(0, 0), pages);
    expect(await codeOf(collect(streamOf(content.subarray(0, 1)), pages, { maxBytes: 0 }))).toBe("ERR_TOO_LARGE");
  });

  it("pauses the stream while it waits for pages, and loses nothing", async () => {
    const pages = PagePool.create({ maxBytes: 2 ** 20 });
    const held = pages.allocate(2 ** 20);
    const stream = new PassThrough({ highWaterMark: 1000 });
    const collecting = collect(stream, pages, { expected: 5000 });
    stream.write(content.subarray(0, 500));
    await until(() => pages.stats().waiting === 1);
    expect(stream.isPaused()).toBe(true);
    let accepted = 500;
    while (stream.write(content.subarray(accepted, accepted + 500))) accepted += 500;
    accepted += 500;
    await new Promise((resolve) => setImmediate(resolve));
    // It is as full as it may be, so its writer is stopped.
    expect([stream.readableLength, stream.writableNeedDrain]).toEqual([1000, true]);
    stream.end();
    held.release();
    expectBytes(await collecting, content.subarray(0, accepted), pages);
  });

  it("keeps what a stream that cannot be paused pushes while pages are waited for, also its end", async () => {
    const pages = PagePool.create({ maxBytes: 2 ** 20 });
    const held = pages.allocate(2 ** 20);
    const stream = new Readable({ read() {} });
    stream.pause = () => stream;
    const collecting = collect(stream, pages);
    for (const chunk of chunksOf(content.subarray(0, 5000), 1000)) stream.push(chunk);
    stream.push(null);
    await until(() => pages.stats().waiting === 1 && stream.readableEnded);
    held.release();
    expectBytes(await collecting, content.subarray(0, 5000), pages);
  });

  it("refuses to grow in a full pool, and two that grow never wait for each other", async () => {
    const pages = PagePool.create({ maxBytes: 3 * 65_536 });
    const both = await Promise.all([
      codeOf(collect(streamOf(content, 1000), pages)),
      codeOf(collect(streamOf(content, 1000), pages)),
    ]);
    expect(both).toEqual(["ERR_POOL_FULL", "ERR_POOL_FULL"]);
    expect(pages.stats().live).toBe(0);
  });

  it("rejects with the stream's error, or its premature end, and keeps nothing", async () => {
    const pages = PagePool.create();
    const failing = new PassThrough();
    const collecting = collect(failing, pages);
    failing.write("abc");
    await new Promise((resolve) => setImmediate(resolve));
    failing.destroy(new Error("the stream's own"));
    await expect(collecting).rejects.toThrow("the stream's own");
    const cut = new PassThrough();
    const second = collect(cut, pages);
    cut.write("abc");
    cut.destroy();
    await expect(second).rejects.toMatchObject({ code: "ERR_STREAM_PREMATURE_CLOSE" });
    expect(pages.stats().live).toBe(0);
    expect(failing.listenerCount("data") + cut.listenerCount("data")).toBe(0);
  });

  it("throws the signal's reason before, in the middle, and while it waits; the stream is destroyed", async () => {
    const reason = new Error("enough");
    const pages = PagePool.create({ maxBytes: 2 ** 20 });
    const early = streamOf(content);
    await expect(collect(early, pages, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(early.destroyed).toBe(true);

    const middle = new PassThrough();
    const during = new AbortController();
    const collecting = collect(middle, pages, { signal: during.signal });
    middle.write("abc");
    await until(() => pages.stats().live === 1);
    during.abort(reason);
    await expect(collecting).rejects.toBe(reason);
    expect([middle.destroyed, middle.listenerCount("data")]).toEqual([true, 0]);

    const held = pages.allocate(2 ** 20);
    const waits = new AbortController();
    const waiting = collect(streamOf(content), pages, { signal: waits.signal });
    await until(() => pages.stats().waiting === 1);
    waits.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    held.release();
    expect(pages.stats()).toMatchObject({ live: 0, waiting: 0 });
  });

  it("takes a chunk for as long as the engine says, and none whose bytes were transferred away", async () => {
    const pages = PagePool.create();
    (await collect(streamOf(new Uint8Array(1 << 16).fill(9)), pages)).release();
    class Long extends Uint8Array {
      override get length(): number {
        return 1000;
      }
    }
    const pushed = (...chunks: Uint8Array[]): Readable => {
      const stream = new Readable({ read() {} });
      setImmediate(() => {
        for (const chunk of chunks) stream.emit("data", chunk);
        stream.push(null);
      });
      return stream;
    };
    const body = await collect(pushed(new Long(10)), pages);
    expect([...body.bytes]).toEqual(new Array(10).fill(0));
    body.release();
    const gone = new Uint8Array(10);
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    await expect(collect(pushed(new Uint8Array(5), gone), pages)).rejects.toMatchObject({ code: "ERR_DETACHED" });
    expect(pages.stats().liveBytes).toBe(0);
    pages.close();
  });

  it("refuses text, objects, and streams that have ended, and does not touch them", async () => {
    const pages = PagePool.create();
    const objects = Readable.from([{ a: 1 }]);
    expect(await codeOf(collect(objects, pages))).toBe("ERR_INVALID_ARG_TYPE");
    expect(objects.destroyed).toBe(false);
    const text = streamOf(content).setEncoding("utf8");
    expect(await codeOf(collect(text, pages))).toBe("ERR_INVALID_ARG_TYPE");
    expect(text.destroyed).toBe(false);
    const ended = streamOf(content);
    for await (const _ of ended);
    expect(await codeOf(collect(ended, pages))).toBe("ERR_ENDED");
    const destroyed = new PassThrough();
    destroyed.destroy();
    expect(await codeOf(collect(destroyed, pages))).toBe("ERR_ENDED");
    const late = new PassThrough();
    const collecting = codeOf(collect(late, pages));
    late.setEncoding("utf8");
    late.write("abc");
    expect(await collecting).toBe("ERR_INVALID_ARG_TYPE");
    for (const value of [undefined, null, 5, "x", {}, new Uint8Array(4), []]) {
      expect(await codeOf(collect(value as never, pages))).toBe("ERR_INVALID_ARG_TYPE");
    }
    const untouched = streamOf(content);
    expect(await codeOf(collect(untouched, {} as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(await codeOf(collect(untouched, pages, { maxBytes: 1.5 }))).toBe("ERR_OUT_OF_RANGE");
    expect(await codeOf(collect(untouched, pages, { maxbytes: 1 } as never))).toBe("ERR_INVALID_ARG_VALUE");
    expect([untouched.destroyed, untouched.listenerCount("data")]).toEqual([false, 0]);
    expect(pages.stats().live).toBe(0);
  });

  it("detaches chunks where that is asked for, but none that somebody else gets or that are parts of a larger block", async () => {
    const pages = PagePool.create();
    const whole = chunksOf(content, 100_000).map((chunk) => new Uint8Array(chunk));
    const parts = chunksOf(new Uint8Array(content), 100_000);
    const sizes = async (chunks: Uint8Array[], options: CollectOptions, listen = false): Promise<number> => {
      const stream = Readable.from(chunks, { objectMode: false });
      if (listen) stream.on("data", () => {});
      expectBytes(await collect(stream, pages, options), content, pages);
      return chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    };
    expect(await sizes(whole, {})).toBe(content.length);
    expect(await sizes(parts, { detach: true })).toBe(content.length);
    expect(await sizes(whole, { detach: true }, true)).toBe(content.length);
    expect(await sizes(whole, { detach: true })).toBe("transfer" in ArrayBuffer.prototype ? 0 : content.length);
    const web = chunksOf(content, 100_000).map((chunk) => new Uint8Array(chunk));
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const chunk of web) controller.enqueue(chunk);
        controller.close();
      },
    });
    expectBytes(await collect(body as never, pages, { detach: true }), content, pages);
    expect(web.every((chunk) => chunk.length === 0)).toBe("transfer" in ArrayBuffer.prototype);
  });

  it("collects a stream that was paused, and one that was peeked into and put back", async () => {
    const pages = PagePool.create();
    const paused = streamOf(content).pause();
    expectBytes(await collect(paused, pages), content, pages);
    const peeked = new PassThrough();
    peeked.end(content);
    await once(peeked, "readable");
    peeked.unshift(peeked.read(10));
    expectBytes(await collect(peeked, pages), content, pages);
    const duplex = new Duplex({ read() {}, write: (_c, _e, done) => done() });
    duplex.push(content.subarray(0, 5));
    duplex.push(null);
    expectBytes(await collect(duplex, pages), content.subarray(0, 5), pages);
  });
});

describe("collect from web streams", () => {
  function webOf(bytes: Uint8Array, onCancel: (reason: unknown) => void = () => {}): ReadableStream<Uint8Array> {
    const chunks = chunksOf(bytes, 60_000);
    return new ReadableStream({
      pull(controller) {
        const chunk = chunks.shift();
        if (chunk === undefined) controller.close();
        else controller.enqueue(chunk);
      },
      cancel: onCancel,
    });
  }

  it("collects one, and the body of a fetch", async () => {
    const pages = PagePool.create();
    const stream = webOf(content);
    expectBytes(await collect(stream as never, pages), content, pages);
    expect(stream.locked).toBe(false);
    const response = new Response(content);
    expectBytes(await collect(response.body as never, pages, { expected: content.length }), content, pages);
  });

  it("cancels it when it is too large, fails, or is aborted", async () => {
    const pages = PagePool.create();
    const canceled: unknown[] = [];
    const cancel = (reason: unknown): void => void canceled.push(reason);
    expect(await codeOf(collect(webOf(content, cancel) as never, pages, { maxBytes: 500_000 }))).toBe("ERR_TOO_LARGE");
    expect(canceled).toHaveLength(1);
    const reason = new Error("enough");
    const controller = new AbortController();
    const never = new ReadableStream<Uint8Array>({ cancel });
    const collecting = collect(never as never, pages, { signal: controller.signal });
    controller.abort(reason);
    await expect(collecting).rejects.toBe(reason);
    expect(canceled[1]).toBe(reason);
    const text = new ReadableStream({ start: (c) => c.enqueue("abc"), cancel });
    expect(await codeOf(collect(text as never, pages))).toBe("ERR_INVALID_ARG_TYPE");
    const failing = new ReadableStream({ pull: (c) => c.error(new Error("the stream's own")) });
    await expect(collect(failing as never, pages)).rejects.toThrow("the stream's own");
    const locked = webOf(content);
    locked.getReader();
    expect(await codeOf(collect(locked as never, pages))).toBe("ERR_ENDED");
    expect(pages.stats().live).toBe(0);
  });
});

describe("collect of uploads", () => {
  it("collects a body with a length, in one allocation, and a chunked one, from node:http and from fetch", async () => {
    const pages = PagePool.create({ ageOut: Infinity });
    const seen: string[] = [];
    const url = await serve(pages, { detach: true }, seen);
    expect(await (await fetch(url, { method: "POST", body: content })).text()).toBe("true");
    expect(pages.stats().allocations).toBe(1);
    const chunked = webBody(content);
    expect(await (await fetch(url, { method: "POST", body: chunked, duplex: "half" } as RequestInit)).text()).toBe(
      "true",
    );
    const req = request(url, { method: "PUT" });
    for (const chunk of chunksOf(content, 100_000)) req.write(chunk);
    req.end();
    const [res] = (await once(req, "response")) as [IncomingMessage];
    expect(Buffer.concat(await res.toArray()).toString()).toBe("true");
    expect(await (await fetch(url, { method: "POST" })).text()).toBe("true");
    expect(seen).toEqual(["1000000 true", "1000000 true", "1000000 true", "0 true"]);
    expect(pages.stats().live).toBe(0);
  });

  it("takes exactly maxBytes; of one byte more the client hears 413, by its length and by its bytes", async () => {
    const pages = PagePool.create();
    const seen: string[] = [];
    const url = await serve(pages, { maxBytes: 999_999 }, seen);
    expect((await fetch(url, { method: "POST", body: content.subarray(0, 999_999) })).status).toBe(200);
    expect(await post(url, content, { "content-length": "1000000" })).toBe(413);
    expect(await post(url, content, {})).toBe(413);
    expect(seen).toEqual(["999999 true", "ERR_TOO_LARGE", "ERR_TOO_LARGE"]);
    expect(pages.stats().live).toBe(0);
  });

  it("does not read on behind the limit: the sender is stopped until it is answered", async () => {
    const pages = PagePool.create();
    let body: IncomingMessage | undefined;
    let code = "";
    const server = createServer((req) => {
      body = req;
      void codeOf(collect(req, pages, { maxBytes: 10 })).then((told) => {
        code = told;
      });
    });
    servers.push(server);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const req = request({ port: (server.address() as AddressInfo).port, host: "127.0.0.1", method: "POST" });
    req.on("error", () => {});
    req.write(content.subarray(0, 1000));
    await until(() => code !== "");
    expect(code).toBe("ERR_TOO_LARGE");
    expect([body!.isPaused(), body!.destroyed, body!.listenerCount("data")]).toEqual([true, false, 0]);
    req.destroy();
  });

  it("does not give the rest of a body for the whole, when a part of it was read before", async () => {
    const pages = PagePool.create();
    const codes: string[] = [];
    const server = createServer((req, res) => {
      const answer = async (): Promise<void> => {
        if (req.url === "/peeked") {
          await once(req, "readable");
          req.read(10);
          codes.push(await codeOf(collect(req, pages)));
        } else {
          // Refused before a byte was read: nothing is lost yet.
          if (req.url === "/declared") codes.push(await codeOf(collect(req, pages, { maxBytes: 10 })));
          const body = collect(req, pages, { maxBytes: req.url === "/declared" ? 2_000_000 : 10 });
          codes.push(await codeOf(body.then((buffer) => buffer.release())));
          if (req.url === "/twice") codes.push(await codeOf(collect(req, pages)));
        }
        res.writeHead(400, { connection: "close" }).end();
      };
      void answer();
    });
    servers.push(server);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    expect(await post(`${url}/peeked`, content, { "content-length": "1000000" })).toBe(400);
    expect(await post(`${url}/twice`, content, {})).toBe(400);
    expect(await post(`${url}/declared`, content, { "content-length": "1000000" })).toBe(400);
    expect(codes).toEqual(["ERR_ENDED", "ERR_TOO_LARGE", "ERR_ENDED", "ERR_TOO_LARGE", "ok"]);
    expect(pages.stats().live).toBe(0);
  });

  it("rejects when the client hangs up, before and in the middle of the body", async () => {
    const before = openDescriptors();
    const pages = PagePool.create();
    const seen: string[] = [];
    const url = await serve(pages, {}, seen);
    for (const bytes of [0, 100_000]) {
      const req = request(url, { method: "POST", headers: { "content-length": "1000000" } });
      req.on("error", () => {});
      const arrived = once(servers[0]!, "request");
      if (bytes > 0) req.write(content.subarray(0, bytes));
      else req.flushHeaders();
      await arrived;
      const count = seen.length;
      await until(() => bytes === 0 || pages.stats().live === 1);
      req.destroy();
      await until(() => seen.length > count);
    }
    expect(seen).toEqual(["ECONNRESET", "ECONNRESET"]);
    expect(pages.stats().live).toBe(0);
    const server = servers.pop()!;
    await new Promise((resolve) => server.close(resolve));
    await until(() => openDescriptors().length <= before.length);
  });

  it("holds no pages for a client that sends only headers", async () => {
    const pages = PagePool.create();
    const url = await serve(pages, {}, []);
    const req = request(url, { method: "POST", headers: { "content-length": "60000000" } });
    req.on("error", () => {});
    const arrived = once(servers[0]!, "request");
    req.flushHeaders();
    await arrived;
    await new Promise((resolve) => setImmediate(resolve));
    expect(pages.stats().allocations).toBe(0);
    req.destroy();
  });

  it("collects the answer to a request, and destroys one that is too large", async () => {
    const server = createServer((_req, res) => res.end(content));
    servers.push(server);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const pages = PagePool.create();
    const [answer] = (await once(get({ port, host: "127.0.0.1" }), "response")) as [IncomingMessage];
    expectBytes(await collect(answer, pages), content, pages);
    const [large] = (await once(get({ port, host: "127.0.0.1" }), "response")) as [IncomingMessage];
    expect(await codeOf(collect(large, pages, { maxBytes: 1000 }))).toBe("ERR_TOO_LARGE");
    expect(large.destroyed).toBe(true);
  });
});

function webBody(bytes: Uint8Array): ReadableStream<Uint8Array> {
  const chunks = chunksOf(bytes, 99_999);
  return new ReadableStream({
    pull(controller) {
      const chunk = chunks.shift();
      if (chunk === undefined) controller.close();
      else controller.enqueue(chunk);
    },
  });
}

/** The status of an upload whose answer may come before it is sent. */
async function post(url: string, body: Uint8Array, headers: Record<string, string>): Promise<number | undefined> {
  const req = request(url, { method: "POST", headers });
  req.on("error", () => {});
  const answered = once(req, "response") as Promise<[IncomingMessage]>;
  for (const chunk of chunksOf(body, 100_000)) req.write(chunk);
  req.end();
  const [res] = await answered;
  res.resume();
  return res.statusCode;
}

describe("a collect() that has given up", () => {
  it("a stream's error that comes after the rejection ends no process, and a stream that pushes at once is not read on", async () => {
    const pages = PagePool.create();
    const unheard: unknown[] = [];
    const onUncaught = (error: unknown): void => void unheard.push(error);
    const before = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.on("uncaughtException", onUncaught);
    try {
      let reads = 0;
      const failing = new Readable({
        read() {
          reads++;
          this.push(Buffer.alloc(100));
        },
        destroy(_error, callback) {
          callback(new Error("close failed"));
        },
      });
      expect(await codeOf(collect(failing, pages, { maxBytes: 1000 }))).toBe("ERR_TOO_LARGE");
      await until(() => failing.closed);
      // As much as the stream itself buffers.
      expect(reads).toBeLessThan(2 + failing.readableHighWaterMark / 100 + 11);
      const missing = createReadStream("/nonexistent");
      const signal = AbortSignal.abort(new Error("stop"));
      await expect(collect(missing, pages, { signal })).rejects.toThrow("stop");
      await until(() => missing.closed);
      expect(failing.listenerCount("error") + missing.listenerCount("error")).toBe(0);
    } finally {
      process.off("uncaughtException", onUncaught);
      for (const listener of before) process.on("uncaughtException", listener);
    }
    expect(unheard).toEqual([]);
  });
});

/** "ok" or why not, as a code. */
function endOf(collecting: Promise<MediaBuffer>): Promise<string> {
  return collecting.then(
    (body) => {
      const { size } = body;
      body.release();
      return `ok ${size}`;
    },
    (error: NodeJS.ErrnoException) => String(error.code),
  );
}

describe("collect from HTTP/2", () => {
  type Ends = (exchange: Http2Exchange) => {
    readonly from: Readable;
    readonly to: Writable & { close(code: number): void };
  };
  const ends: [string, Ends][] = [
    ["a request", ({ request, client }) => ({ from: request, to: client })],
    ["a server's stream", ({ server, client }) => ({ from: server, to: client })],
    ["an answer", ({ server, client }) => ({ from: client, to: server })],
  ];
  // Of close(code) Node sends the end first, and then the body is whole for all that its receiver can see.
  const cuts: [string, (to: Writable, exchange: Http2Exchange) => void][] = [
    ["a reset without an error", (to) => void to.destroy()],
    ["a reset with one", (to) => void to.destroy(new Error("no more"))],
    ["the end of the connection", (_, exchange) => exchange.close()],
  ];

  it.each(ends)("never takes %s that was reset for a whole one, nor refuses one that is whole", async (_, endsOf) => {
    const pages = PagePool.create();
    for (const [name, cut] of cuts) {
      for (const isAnswered of [false, true]) {
        const exchange = await http2Exchange();
        const { from, to } = endsOf(exchange);
        const isUpload = from !== (exchange.client as Readable);
        if (!isUpload) exchange.server.respond();
        // Its other direction is over: then Node says nothing of a reset.
        if (isAnswered) {
          if (isUpload) exchange.response.end();
          else exchange.client.end();
          await once(isUpload ? exchange.server : exchange.client, "finish");
        }
        const end = endOf(collect(from, pages));
        to.write(Buffer.alloc(50_000));
        await until(() => pages.stats().live > 0);
        cut(to, exchange);
        expect(await end, `${name}, answered: ${isAnswered}`).toMatch(
          /^ERR_(STREAM_PREMATURE_CLOSE|HTTP2_STREAM_ERROR)$/,
        );
        exchange.close();
      }
    }
    for (const trailers of [false, true]) {
      const exchange = await http2Exchange();
      const { from, to } = endsOf(exchange);
      const isUpload = from !== (exchange.client as Readable);
      if (!isUpload) {
        exchange.server.respond({}, { waitForTrailers: trailers });
        exchange.response.addTrailers({ a: "b" });
      }
      const end = endOf(collect(from, pages));
      to.write(Buffer.alloc(40_000));
      to.end(Buffer.alloc(10_000));
      expect(await end).toBe("ok 50000");
      exchange.close();
    }
    expect(pages.stats().live).toBe(0);
  });

  it("refuses what was reset with an error by the time of its end, unless it has its whole length", async () => {
    const pages = PagePool.create();
    for (const [length, wanted] of [
      [undefined, "ERR_STREAM_PREMATURE_CLOSE"],
      ["6", "ERR_STREAM_PREMATURE_CLOSE"],
      ["5", "ok 5"],
    ] as const) {
      // As Node's streams of HTTP/2 say it.
      const stream = Object.assign(new PassThrough(), {
        rstCode: 0,
        aborted: false,
        headers: { "content-length": length },
      });
      const body = endOf(collect(stream, pages));
      stream.write("hello");
      stream.rstCode = 8;
      stream.end();
      expect(await body, String(length)).toBe(wanted);
    }
    expect(pages.stats().live).toBe(0);
  });

  it("refuses what is left of a request that was answered before it was read", async () => {
    const pages = PagePool.create();
    const { client, server, request, response, close } = await http2Exchange();
    client.write(Buffer.alloc(50_000));
    response.end("no, thank you");
    client.resume();
    await until(() => server.closed);
    expect(await endOf(collect(request, pages))).toMatch(/^ERR_(STREAM_PREMATURE_CLOSE|ENDED)$/);
    expect(pages.stats().live).toBe(0);
    close();
  });

  it("takes an empty body that Node has ended before anybody read it, and no other that has ended", async () => {
    const outcomes: Record<string, string> = {};
    const pages = PagePool.create();
    for (const [name, send] of Object.entries({
      empty: (to) => to.end(),
      "read by others": (to) => to.end("abc"),
      "reset in order": (to) => to.close(0),
      reset: (to) => to.close(8),
      "reset behind its end": (to) => to.end(() => to.close(8)),
      cut: (to) => to.session?.destroy(),
    } as Record<string, (to: http2.ClientHttp2Stream) => void>)) {
      const server = http2.createServer();
      server.on("session", (session) => session.on("error", () => {}));
      const arrived = once(server, "stream") as Promise<[http2.ServerHttp2Stream]>;
      await once(server.listen(0, "127.0.0.1"), "listening");
      const session = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
      session.on("error", () => {});
      const client = session.request({ ":method": "POST" });
      client.on("error", () => {});
      // The body, or its end, comes in a frame of its own, behind the headers.
      const [stream] = await arrived;
      stream.on("error", () => {});
      if (name === "read by others") stream.resume();
      send(client);
      await until(() => stream.readableEnded || stream.destroyed);
      if (name !== "empty" && name !== "read by others") await until(() => stream.closed);
      outcomes[name] = await endOf(collect(stream, pages));
      session.destroy();
      server.close();
    }
    expect(outcomes).toEqual({
      empty: "ok 0",
      "read by others": "ERR_ENDED",
      "reset in order": "ERR_ENDED",
      reset: "ERR_ENDED",
      "reset behind its end": "ERR_ENDED",
      cut: "ERR_ENDED",
    });
    expect(pages.stats().live).toBe(0);
  });

  it("takes an answer whose end came before a reset without an error", async () => {
    const pages = PagePool.create();
    const early = await http2Exchange();
    const answer = endOf(collect(early.client, pages));
    early.client.write(Buffer.alloc(10));
    early.server.respond();
    // The server has said all, and wants no more of the upload.
    early.server.end(Buffer.alloc(1000), () => early.server.close(0));
    expect(await answer).toBe("ok 1000");
    early.close();
  });
});

describe("collect from what is no proper stream", () => {
  it("refuses a stream that has a listener of readable, which gives its bytes to that", async () => {
    const pages = PagePool.create();
    const stream = streamOf(content);
    const listener = (): void => {};
    stream.on("readable", listener);
    expect(await codeOf(collect(stream, pages))).toBe("ERR_INVALID_ARG_VALUE");
    expect([stream.destroyed, stream.listenerCount("data")]).toEqual([false, 0]);
    stream.off("readable", listener);
    expectBytes(await collect(stream, pages), content, pages);
  });

  it("says what is wrong with each that only looks like one", async () => {
    const pages = PagePool.create();
    const revoked = Proxy.revocable({}, {});
    revoked.revoke();
    const none = (): void => {};
    const reader = { read: async () => {}, cancel: async () => {}, releaseLock: none };
    const looks: [string, unknown][] = [
      ["a revoked proxy", revoked.proxy],
      ["getReader() gives null", { getReader: () => null }],
      ["getReader() gives {}", { getReader: () => ({}) }],
      ["read() resolves with undefined", { getReader: () => reader }],
      [
        "read() resolves with null, and cancel() returns nothing",
        { getReader: () => ({ ...reader, read: async () => null, cancel: none }) },
      ],
      ["four methods", { on: none, pause: none, resume: none, destroy: none }],
    ];
    for (const [name, look] of looks) {
      expect(await codeOf(collect(look as Readable, pages)), name).toBe("ERR_INVALID_ARG_TYPE");
    }
    expect(pages.stats().live).toBe(0);
  });

  it("rejects when a stream that never says that it has closed is destroyed", async () => {
    const pages = PagePool.create();
    for (const error of [undefined, new Error("mine")]) {
      const stream = new Readable({ emitClose: false, read() {} });
      const end = collect(stream, pages).then(
        () => "ok",
        (thrown: NodeJS.ErrnoException) => thrown.code ?? thrown.message,
      );
      stream.push(Buffer.alloc(10));
      await until(() => pages.stats().live > 0);
      stream.destroy(error);
      expect(await end).toBe(error === undefined ? "ERR_STREAM_PREMATURE_CLOSE" : "mine");
      expect(pages.stats().live).toBe(0);
    }
  });

  it("refuses a content-length of any number of digits before a byte is read", async () => {
    const pages = PagePool.create();
    for (const length of ["1000001", "1000000000000000", "9007199254740993", "1152921504606846976"]) {
      const stream = Object.assign(new PassThrough(), { headers: { "content-length": length } });
      expect(await codeOf(collect(stream, pages, { maxBytes: 1_000_000 })), length).toBe("ERR_TOO_LARGE");
    }
  });
});
