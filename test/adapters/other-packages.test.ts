/**
 * What the cookbook says of packages that take a lease's bytes as they are: which of them copy, and until when they
 * read. Sockets are watched, so that the proof is the memory that was written from.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, Socket } from "node:net";
import sharp from "sharp";
import { Agent, request } from "undici";
import { afterEach, describe, expect, it, vi } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { BufferPool } from "../../src/index.ts";

/** The memory of every chunk that a socket was given. */
function watchWrites(): Set<unknown> {
  const seen = new Set<unknown>();
  const write = Socket.prototype.write;
  vi.spyOn(Socket.prototype, "write").mockImplementation(function watched(this: Socket, ...args: unknown[]) {
    const [chunk] = args;
    seen.add(ArrayBuffer.isView(chunk) ? chunk.buffer : chunk);
    return write.apply(this, args as Parameters<typeof write>);
  });
  return seen;
}

afterEach(() => vi.restoreAllMocks());

const pool = BufferPool.create({ name: "frames", size: 2 ** 18, max: 2 });

describe("ws", () => {
  it("a server writes the slot's own memory, and calls back when it is out; a client masks a copy", async () => {
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    await once(server, "listening");
    const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const [[socket]] = await Promise.all([once(server, "connection") as Promise<[WebSocket]>, once(client, "open")]);
    const frame = await pool.acquire();
    frame.bytes.fill(7);
    const written = watchWrites();
    const arrived = once(client, "message");
    await new Promise<void>((resolve) => socket.send(frame.bytes, { binary: true, compress: false }, () => resolve()));
    expect(written).toContain(frame.bytes.buffer);
    expect((await arrived)[0]).toEqual(Buffer.alloc(2 ** 18, 7));

    written.clear();
    const back = once(socket, "message");
    await new Promise<void>((resolve) => client.send(frame.bytes, { binary: true, compress: false }, () => resolve()));
    expect(written).not.toContain(frame.bytes.buffer);
    expect((await back)[0]).toEqual(Buffer.alloc(2 ** 18, 7));
    // Masking in place would have changed the slot.
    expect(frame.bytes.every((value) => value === 7)).toBe(true);
    frame.release();
    client.terminate();
    server.close();
  });

  it("the callback comes also when the other side has gone, so that no lease is lost", async () => {
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    await once(server, "listening");
    const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const [[socket]] = await Promise.all([once(server, "connection") as Promise<[WebSocket]>, once(client, "open")]);
    client.pause();
    const sent: Promise<unknown>[] = [];
    // More than the kernel takes for a client that does not read: the rest is queued.
    for (let n = 0; n < 64; n++) {
      const bytes = new Uint8Array(2 ** 20);
      sent.push(new Promise((resolve) => socket.send(bytes, resolve)));
    }
    client.terminate();
    await once(socket, "close");
    sent.push(new Promise((resolve) => socket.send(new Uint8Array(8), resolve)));
    const ends = await Promise.all(sent);
    expect(ends.at(-1)).toBeInstanceOf(Error);
    server.close();
  });
});

describe("undici", () => {
  it("writes a body from the slot's own memory", async () => {
    const server = createServer((req, res) => req.resume().on("end", () => res.end()));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const dispatcher = new Agent();
    const body = await pool.acquire();
    const written = watchWrites();
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const response = await request(url, { method: "POST", body: body.bytes, dispatcher });
    await response.body.dump();
    expect(written).toContain(body.bytes.buffer);
    body.release();
    await dispatcher.close();
    server.close();
  });
});

describe("sharp", () => {
  it("reads raw pixels where they lie, after the call has returned", async () => {
    const raw = { width: 256, height: 256, channels: 4 } as const;
    const frame = await pool.acquire();
    frame.bytes.fill(1);
    const image = sharp(frame.bytes, { raw }).raw();
    // What is written before the work begins is seen: it has no copy, and the lease must outlast the promise.
    frame.bytes.fill(200);
    const pixels = await image.toBuffer();
    expect(pixels.every((value) => value === 200)).toBe(true);
    expect(pixels.buffer).not.toBe(frame.bytes.buffer);
    frame.release();
  });
});
