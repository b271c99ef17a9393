import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createServer, type Server, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { connectSocket, type PooledSocket } from "../../../src/adapters/node/pooled-socket.ts";
import { SharedAllocator } from "../../../src/allocators/shared.ts";
import { BufferPool, MediaBuffer } from "../../../src/index.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { openDescriptors, openedSince } from "../../helpers/descriptors.ts";
import { REPEATED, seedOf, times } from "../../helpers/effort.ts";
import { generator } from "../../helpers/random.ts";
import { watchedSignal } from "../../helpers/watched-signal.ts";

const content = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 31 + (i >> 8)) & 255);
const servers: Server[] = [];
const peers: Socket[] = [];

afterEach(async () => {
  for (const peer of peers.splice(0)) peer.destroy();
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
});

/** A server; `onPeer` gets the other end of each connection. */
async function serve(
  onPeer: (peer: Socket) => void = () => {},
  path?: string,
): Promise<{ port: number; host: string }> {
  const server = createServer({ allowHalfOpen: true }, (peer) => {
    peers.push(peer);
    peer.on("error", () => {});
    onPeer(peer);
  });
  servers.push(server);
  if (path === undefined) server.listen(0, "127.0.0.1");
  else server.listen(path);
  await once(server, "listening");
  const address = server.address() as AddressInfo;
  return { port: address.port, host: "127.0.0.1" };
}

/** A connection and its other end. */
async function pair(
  pool: BufferPool,
  how?: Parameters<typeof connectSocket>[2],
  options: object = {},
): Promise<[PooledSocket, Socket]> {
  let arrived: (peer: Socket) => void = () => {};
  const peer = new Promise<Socket>((resolve) => {
    arrived = resolve;
  });
  const address = await serve((one) => arrived(one));
  const socket = connectSocket({ ...address, ...options }, pool, how);
  await socket.opened;
  return [socket, await peer];
}

function poolOf(max = 4, size = 10_000): BufferPool {
  return BufferPool.create({ name: "net", size, max });
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

function expectHome(pool: BufferPool): void {
  expect(pool.outstanding).toBe(0);
  pool.validate();
  pool.close();
}

/** Reads to the end; the bytes, and the size of each lease. */
async function readAll(
  socket: PooledSocket,
  work: () => unknown = () => {},
): Promise<{ bytes: Buffer; sizes: number[] }> {
  const parts: Buffer[] = [];
  for await (const lease of socket) {
    parts.push(Buffer.from(lease.bytes));
    await work();
    lease.release();
  }
  return { bytes: Buffer.concat(parts), sizes: parts.map((part) => part.length) };
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe("connectSocket, reading", () => {
  it("hands out all bytes in order, whatever the slots, the read-ahead and the pace", async () => {
    for (const fill of ["any", "full"] as const) {
      for (const [max, size, ahead, work] of [
        [4, 10_000, 2, undefined],
        [1, 7000, 1, undefined],
        [1, 100, 64, undefined],
        [3, 100_000, 1, turn],
        [2, 4096, 5, turn],
      ] as const) {
        const bytes = content.subarray(0, size === 100 ? 50_000 : undefined);
        const pool = poolOf(max, size);
        const socket = connectSocket(await serve((peer) => peer.end(bytes)), pool, { fill, ahead });
        const got = await readAll(socket, work);
        expect(Buffer.compare(got.bytes, bytes)).toBe(0);
        if (fill === "full") expect(new Set(got.sizes.slice(0, -1))).toEqual(new Set([size]));
        await socket.closed;
        expect(socket.bytesRead).toBe(bytes.length);
        expectHome(pool);
      }
    }
  });

  it("hands out what has arrived when nothing more has come, also exactly as much as a slot or the front holds", async () => {
    for (const size of [1, 4095, 4096, 4097, 9999, 10_000, 10_001, 14_096]) {
      const pool = poolOf();
      const [socket, peer] = await pair(pool);
      for (let message = 0; message < 3; message++) {
        // The other side waits for the answer, so a byte that is kept back would end it here.
        peer.write(content.subarray(0, size));
        let got = 0;
        while (got < size) {
          const lease = (await socket.read())!;
          expect(Buffer.compare(lease.bytes, content.subarray(got, got + lease.size))).toBe(0);
          got += lease.size;
          lease.release();
          await turn();
        }
        expect(got).toBe(size);
      }
      socket.destroy();
      await socket.closed;
      expectHome(pool);
    }
  });

  it("takes no slot before bytes have come, none while it waits, and at most `ahead` for a loop that is busy", async () => {
    for (const ahead of [1, 2, 3]) {
      const pool = poolOf(8, 1000);
      const [socket, peer] = await pair(pool, { ahead });
      const first = socket.read();
      await turn();
      expect(pool.stats().acquires).toBe(0);
      peer.write(content.subarray(0, 100_000));
      const lease = (await first)!;
      await until(() => pool.outstanding === ahead + 1);
      for (let i = 0; i < 20; i++) await turn();
      expect(pool.outstanding).toBe(ahead + 1);
      expect(pool.stats().highWater).toBe(ahead + 1);
      lease.release();
      socket.destroy();
      // At once: the event loop has no slot of the pool.
      expect(pool.outstanding).toBe(0);
      await socket.closed;
      expectHome(pool);
    }
  });

  it("copies everything where the descriptor cannot be had, as on Windows", async () => {
    const paused = vi.spyOn(Socket.prototype, "pause");
    const pool = poolOf(3, 10_000);
    const [socket, peer] = await pair(pool);
    const inner = paused.mock.contexts[0] as Socket & { _handle: object };
    paused.mockRestore();
    let asked = 0;
    Object.defineProperty(inner._handle, "fd", { get: () => -(++asked / asked) });
    peer.end(content);
    expect(Buffer.compare((await readAll(socket)).bytes, content)).toBe(0);
    await socket.closed;
    expect(asked).toBeGreaterThan(0);
    expect(socket.bytesRead).toBe(content.length);
    expectHome(pool);
  });

  it("hands out what came while nobody asked, as one lease", async () => {
    const pool = poolOf(4, 100_000);
    const [socket, peer] = await pair(pool, { ahead: 2 });
    const first = socket.read();
    peer.write(content.subarray(0, 10));
    (await first)!.release();
    for (let at = 10; at < 100; at += 10) {
      peer.write(content.subarray(at, at + 10));
      await until(() => socket.bytesRead === at + 10);
    }
    expect(pool.outstanding).toBe(1);
    const lease = (await socket.read())!;
    expect(Buffer.compare(lease.bytes, content.subarray(10, 100))).toBe(0);
    lease.release();
    socket.destroy();
    expectHome(pool);
  });

  it("never writes into a slot whose stale view was transferred away", async () => {
    const pool = poolOf(1, 50_000);
    const [socket, peer] = await pair(pool, { fill: "full" });
    const read = codeOf(socket.read());
    peer.write(content.subarray(0, 10_000));
    const lease = pool.tryAcquire();
    const stale = lease?.bytes;
    lease?.release();
    await until(() => socket.bytesRead === 10_000);
    expect(pool.outstanding).toBe(1);
    // The slot is half full, and the connection's now.
    const stolen = structuredClone(stale!.buffer, { transfer: [stale!.buffer as ArrayBuffer] });
    peer.write(content.subarray(10_000, 50_000));
    expect(await read).toBe("ERR_DETACHED");
    expect(new Uint8Array(stolen).subarray(10_000).every((byte) => byte === 0)).toBe(true);
    expect(pool.outstanding).toBe(0);
    await codeOf(socket.closed);
  });

  it("stops the sender while no slot is free, and goes on when one comes back", async () => {
    const pool = poolOf(2, 50_000);
    const held = [pool.tryAcquire()!, pool.tryAcquire()!];
    let sent = 0;
    const [socket, peer] = await pair(pool);
    const sending = (async () => {
      // More than all buffers between the two ends hold.
      for (let i = 0; i < 12; i++) {
        if (!peer.write(content)) await once(peer, "drain");
        sent++;
      }
      peer.end();
    })();
    const reading = readAll(socket);
    await until(() => pool.stats().waiting === 1);
    let last = -1;
    while (last !== sent) {
      last = sent;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(sent).toBeLessThan(12);
    expect(socket.bytesRead).toBeLessThanOrEqual(65_536);
    for (const lease of held) lease.release();
    await sending;
    expect((await reading).bytes.length).toBe(12 * content.length);
    await socket.closed;
    expectHome(pool);
  });

  it("serves several reads at once in order, and the end to all that are left", async () => {
    const pool = poolOf();
    const [socket, peer] = await pair(pool);
    const reads = [socket.read(), socket.read(), socket.read()];
    peer.write("a");
    const first = (await reads[0])!;
    peer.end("b");
    const second = (await reads[1])!;
    expect(Buffer.from([...first.bytes, ...second.bytes]).toString()).toBe("ab");
    expect(await reads[2]).toBeUndefined();
    expect(await socket.read()).toBeUndefined();
    first.release();
    second.release();
    await socket.closed;
    expectHome(pool);
  });

  it("keeps what was read before a clean end, until it is read, or until destroy() or the signal", async () => {
    for (const end of ["read", "destroy", "abort"] as const) {
      const pool = poolOf(4, 100);
      const controller = new AbortController();
      const [socket, peer] = await pair(pool, { signal: controller.signal, ahead: 4 });
      const read = socket.read();
      peer.end(content.subarray(0, 300));
      (await read)!.release();
      await socket.closed;
      expect(pool.outstanding).toBeGreaterThan(0);
      if (end === "read") {
        for (let lease = await socket.read(); lease !== undefined; lease = await socket.read()) lease.release();
      } else if (end === "destroy") socket.destroy();
      else controller.abort(new Error("enough"));
      expectHome(pool);
      if (end !== "read") expect(await codeOf(socket.read())).toBe(end === "destroy" ? "ERR_ENDED" : "Error: enough");
    }
  });

  it.skipIf(process.platform === "win32")("connects to a Unix socket by its path", async () => {
    const folder = mkdtempSync(join(tmpdir(), "millpond-net-"));
    const path = join(folder, "socket");
    await serve((peer) => peer.end("hello"), path);
    const pool = poolOf();
    expect((await readAll(connectSocket({ path }, pool))).bytes.toString()).toBe("hello");
    expectHome(pool);
    rmSync(folder, { recursive: true });
  });

  it("reads into shared memory, and into slots that are revoked", async () => {
    for (const config of [{ allocator: new SharedAllocator() }, { revoke: true }]) {
      const pool = BufferPool.create({ size: 9000, max: 3, ...(config as object) });
      const socket = connectSocket(await serve((peer) => peer.end(content)), pool);
      expect(Buffer.compare((await readAll(socket)).bytes, content)).toBe(0);
      expectHome(pool);
    }
  });
});

describe("connectSocket, writing", () => {
  it("sends leases in order and releases each when its bytes are out", async () => {
    const pool = poolOf(3, 100_000);
    const [socket, peer] = await pair(pool);
    const got: Buffer[] = [];
    peer.on("data", (chunk: Buffer) => got.push(chunk));
    for (let at = 0; at < content.length; at += 100_000) {
      const lease = await pool.acquire();
      lease.bytes.set(content.subarray(at, at + 100_000));
      void socket.write(lease);
    }
    await socket.end();
    await once(peer, "end");
    expect(Buffer.compare(Buffer.concat(got), content)).toBe(0);
    expect(socket.bytesWritten).toBe(content.length);
    socket.destroy();
    await socket.closed;
    expectHome(pool);
  });

  it("holds the lease while the other side does not read, and refuses a release meanwhile", async () => {
    const pool = poolOf(1, 30_000_000);
    const [socket, peer] = await pair(pool);
    peer.pause();
    const lease = pool.tryAcquire()!;
    lease.bytes.fill(7);
    let isOut = false;
    const writing = socket.write(lease).then(() => {
      isOut = true;
    });
    for (let i = 0; i < 20; i++) await turn();
    expect([isOut, pool.outstanding]).toEqual([false, 1]);
    expect(await codeOf((async () => lease.release())())).toBe("ERR_MAPPED");
    let sum = 0;
    peer.on("data", (chunk: Buffer) => {
      expect(chunk.equals(Buffer.alloc(chunk.length, 7))).toBe(true);
      sum += 7 * chunk.length;
    });
    peer.resume();
    await writing;
    expect(pool.outstanding).toBe(0);
    expect(await codeOf((async () => lease.release())())).toBe("ERR_DOUBLE_RELEASE");
    await until(() => sum === 7 * 30_000_000);
    socket.destroy();
    await socket.closed;
    expectHome(pool);
  });

  it("sends several memories, shared leases, buffers without a pool, and nothing of an empty one", async () => {
    const pool = poolOf();
    const [socket, peer] = await pair(pool);
    const got: Buffer[] = [];
    peer.on("data", (chunk: Buffer) => got.push(chunk));
    const several = MediaBuffer.wrap(Buffer.from("one "));
    several.append(MediaBuffer.wrap(Buffer.from("two ")));
    await socket.write(several);
    const shared = MediaBuffer.wrap(Buffer.from("three"));
    shared.retain();
    await socket.write(shared);
    expect(shared.refCount).toBe(1);
    shared.release();
    await socket.write(new MediaBuffer());
    await socket.end();
    await once(peer, "end");
    expect(Buffer.concat(got).toString()).toBe("one two three");
    socket.destroy();
    await socket.closed;
    expectHome(pool);
  });

  it("gives leases back that cannot be sent any more, and leaves alone what is none", async () => {
    const pool = poolOf(2, 30_000_000);
    const [socket, peer] = await pair(pool);
    expect(await codeOf(socket.write({} as never))).toBe("ERR_INVALID_ARG_TYPE");
    const stale = pool.tryAcquire()!;
    stale.release();
    expect(await codeOf(socket.write(stale))).toBe("ERR_USE_AFTER_RELEASE");
    const mapped = pool.tryAcquire()!;
    const mapping = mapped.map("write");
    expect(await codeOf(socket.write(mapped))).toBe("ERR_MAPPED");
    mapping.unmap();
    expect(mapped.isLive).toBe(true);
    mapped.release();

    peer.pause();
    const under = socket.write(pool.tryAcquire()!);
    const queued = socket.write(pool.tryAcquire()!);
    const codes = Promise.all([codeOf(under), codeOf(queued)]);
    await turn();
    socket.destroy();
    expect(await codes).toEqual(["ERR_ENDED", "ERR_ENDED"]);
    await socket.closed;
    expect(pool.outstanding).toBe(0);
    expect(await codeOf(socket.write(pool.tryAcquire()!))).toBe("ERR_ENDED");
    expectHome(pool);
  });

  it("refuses writes behind end(), which says when all is out and may be called twice", async () => {
    const pool = poolOf();
    const [socket, peer] = await pair(pool, {}, { allowHalfOpen: true });
    peer.resume();
    const ended = socket.end();
    expect(socket.end()).toBe(ended);
    await ended;
    expect(await codeOf(socket.write(pool.tryAcquire()!))).toBe("ERR_ENDED");
    expect(pool.outstanding).toBe(0);
    // The other direction is still open.
    peer.end("the answer");
    expect((await readAll(socket)).bytes.toString()).toBe("the answer");
    await socket.closed;
    expectHome(pool);
  });

  it("goes on to write when the other side has ended, where half-open is allowed", async () => {
    const pool = poolOf();
    const [socket, peer] = await pair(pool, {}, { allowHalfOpen: true });
    peer.end("question");
    expect((await readAll(socket)).bytes.toString()).toBe("question");
    const lease = pool.tryAcquire()!;
    lease.bytes.set(Buffer.from("late"));
    const heard = once(peer, "data");
    await socket.write(lease);
    expect(
      Buffer.from((await heard)[0])
        .subarray(0, 4)
        .toString(),
    ).toBe("late");
    await socket.end();
    await socket.closed;
    expectHome(pool);
  });
});

describe("connectSocket, every way out", () => {
  it("rejects everything when there is nobody to connect to, without a rejection that nobody handles", async () => {
    const { port, host } = await serve();
    await new Promise((resolve) => servers.pop()!.close(resolve));
    const pool = poolOf();
    const unhandled: unknown[] = [];
    const onUnhandled = (error: unknown): void => void unhandled.push(error);
    process.on("unhandledRejection", onUnhandled);
    // Nobody looks at this one.
    connectSocket({ port, host }, pool);
    const socket = connectSocket({ port, host }, pool);
    const read = socket.read();
    const write = socket.write(pool.tryAcquire()!);
    for (const promise of [read, write, socket.opened, socket.closed, socket.end()]) {
      await expect(promise).rejects.toMatchObject({ code: "ECONNREFUSED" });
    }
    await expect(socket.read()).rejects.toMatchObject({ code: "ECONNREFUSED" });
    await new Promise((resolve) => setTimeout(resolve, 0));
    process.off("unhandledRejection", onUnhandled);
    expect(unhandled).toEqual([]);
    expectHome(pool);
  });

  it("gives everything back on break, throw, destroy(), `using` and a reset by the other side", async () => {
    const before = openDescriptors();
    for (const way of ["break", "throw", "destroy", "dispose", "reset", "destroy with an error"] as const) {
      const pool = poolOf(6, 1000);
      const [socket, peer] = await pair(pool, { ahead: 4 });
      peer.write(content.subarray(0, 100_000));
      let ending = "the end";
      let isFull = false;
      try {
        for await (const lease of socket) {
          if (!isFull) await until(() => pool.outstanding === 5);
          isFull = true;
          lease.release();
          if (way === "break") break;
          if (way === "throw") throw new Error("the loop's own");
          if (way === "destroy") socket.destroy();
          if (way === "destroy with an error") socket.destroy(new Error("given"));
          if (way === "dispose") socket[Symbol.dispose]();
          if (way === "reset") {
            peer.resetAndDestroy();
          }
        }
      } catch (error) {
        ending = (error as { code?: string }).code ?? (error as Error).message;
      }
      expect([way, ending]).toEqual([
        way,
        {
          break: "the end",
          throw: "the loop's own",
          destroy: "ERR_ENDED",
          dispose: "ERR_ENDED",
          reset: "ECONNRESET",
          "destroy with an error": "given",
        }[way],
      ]);
      const closed = await codeOf(socket.closed);
      expect(closed === "ok").toBe(way !== "reset" && way !== "destroy with an error");
      expectHome(pool);
      peer.destroy();
      await new Promise((resolve) => servers.pop()!.close(resolve));
    }
    await until(() => openDescriptors().length <= before.length);
  });

  it("throws the signal's reason before it connects, while it waits for bytes, for a slot, and to write", async () => {
    const reason = new Error("enough");
    const pool = poolOf(2, 30_000_000);
    const early = connectSocket(await serve(), pool, { signal: AbortSignal.abort(reason) });
    await expect(early.read()).rejects.toBe(reason);
    await expect(early.closed).rejects.toBe(reason);

    for (const wait of ["bytes", "slot", "write"] as const) {
      const controller = new AbortController();
      const [socket, peer] = await pair(pool, { signal: controller.signal });
      peer.pause();
      const held = wait === "slot" ? [pool.tryAcquire()!, pool.tryAcquire()!] : [];
      const waiting = wait === "write" ? socket.write(pool.tryAcquire()!) : socket.read();
      const seen = expect(waiting).rejects.toBe(reason);
      await turn();
      if (wait === "slot") {
        peer.write("bytes that no slot is free for");
        await until(() => pool.stats().waiting === 1);
      }
      controller.abort(reason);
      await seen;
      for (const lease of held) lease.release();
      await expect(socket.closed).rejects.toBe(reason);
      expect(pool.stats()).toMatchObject({ outstanding: 0, waiting: 0 });
    }
    expectHome(pool);
  });

  it("is destroyed when its pool is closed while it waits for bytes, or has filled a slot in part", async () => {
    const before = openDescriptors();
    for (const [sent, end] of [
      [0, "close"],
      [500, "close"],
      [0, "retire"],
    ] as const) {
      const pool = BufferPool.create({ size: 1000, max: 4, revoke: true });
      const [socket, peer] = await pair(pool, { fill: "full" });
      const read = socket.read();
      if (sent > 0) {
        peer.write(content.subarray(0, sent));
        await until(() => pool.outstanding === 1);
      }
      pool[end]({ force: true });
      expect(await codeOf(read)).toBe("ERR_POOL_DEAD");
      expect(await codeOf(socket.closed)).toBe("ERR_POOL_DEAD");
      expect(pool.outstanding).toBe(0);
      peer.destroy();
      await new Promise((resolve) => servers.pop()!.close(resolve));
    }
    await until(() => openDescriptors().length <= before.length);
  });

  it("keeps no slot when a hook of its pool destroys it while it takes one", async () => {
    const pool = poolOf();
    const [socket, peer] = await pair(pool, { fill: "any" });
    const tryAcquire = pool.tryAcquire.bind(pool);
    pool.tryAcquire = () => {
      const buffer = tryAcquire();
      socket.destroy();
      return buffer;
    };
    const read = codeOf(socket.read());
    peer.write(content.subarray(0, 100));
    expect(await read).toBe("ERR_ENDED");
    await socket.closed;
    expectHome(pool);
  });

  it("is destroyed when its pool is retired, inactive or flushing and bytes come; what it has stays good", async () => {
    for (const end of ["retire", "deactivate", "setFlushing"] as const) {
      const pool = poolOf(2, 1000);
      const [socket, peer] = await pair(pool);
      const first = socket.read();
      peer.write(content.subarray(0, 10));
      const lease = (await first)!;
      pool[end](true);
      expect(lease.size).toBe(10);
      peer.write(content.subarray(0, 10));
      const expected = { retire: "ERR_POOL_DEAD", deactivate: "ERR_INACTIVE", setFlushing: "ERR_FLUSHING" }[end];
      expect(await codeOf(socket.read())).toBe(expected);
      expect(await codeOf(socket.closed)).toBe(expected);
      lease.release();
      expect(pool.outstanding).toBe(0);
    }
  });

  type Answer = (error: unknown, found?: unknown, family?: unknown) => void;
  const answering = (isLater: boolean, ...answer: Parameters<Answer>): never =>
    ((_host: string, _options: unknown, call: Answer): void => {
      if (isLater) setImmediate(() => call(...answer));
      else call(...answer);
    }) as never;

  it("rejects with a typed error when options.lookup finds what is no address, at once or later", async () => {
    const pool = BufferPool.create({ size: 100, max: 1 });
    const hostile = Object.defineProperty({ family: 4 }, "address", {
      get() {
        throw new Error("hostile");
      },
    });
    const revoked = Proxy.revocable([], {});
    revoked.revoke();
    const isType = [null, undefined, 5, [null], [{}], [new Array(1)], new Array(1), {}, [{ address: 5, family: 4 }]];
    const alsoType = [[{ address: Symbol("no"), family: 4 }], [hostile], revoked.proxy];
    const isValue = [[], "", "zz", [{ address: "", family: 4 }], [{ address: "zz", family: 4 }]];
    const alsoValue = [
      [{ address: "127.0.0.1", family: 9 }],
      [{ address: "127.0.0.1", family: 6 }],
      [{ address: "::1" }, { address: "1" }],
    ];
    const codes = new Map<unknown, string>();
    for (const found of [...isType, ...alsoType]) codes.set(found, "ERR_INVALID_ARG_TYPE");
    for (const found of [...isValue, ...alsoValue]) codes.set(found, "ERR_INVALID_ARG_VALUE");
    for (const [found, code] of codes) {
      for (const isLater of [false, true]) {
        for (const autoSelectFamily of [false, true]) {
          const lookup = answering(isLater, null, found, 4);
          const socket = connectSocket({ host: "nobody.invalid", port: 1, autoSelectFamily, lookup }, pool);
          expect(await codeOf(socket.opened)).toBe(code);
          expect(await codeOf(socket.closed)).toBe(code);
        }
      }
    }
    expect(pool.outstanding).toBe(0);
  });

  it("takes an address and a list of them from options.lookup, whichever was asked for, and its first answer alone", async () => {
    const pool = BufferPool.create({ size: 100, max: 1 });
    const { port } = await serve((peer) => void peer.end("x"));
    const one = { address: "127.0.0.1", family: 4 };
    const answers: Parameters<Answer>[] = [
      [null, "127.0.0.1", 4],
      [undefined, "127.0.0.1", 0],
      [null, "127.0.0.1"],
      [0, [one]],
      [null, [{ address: "127.0.0.1" }, { address: "127.0.0.1", family: 0 }]],
    ];
    for (const answer of answers) {
      for (const autoSelectFamily of [false, true]) {
        const lookup = ((_host: string, _options: unknown, call: Answer): void => {
          call(...answer);
          call(null, []);
          call(new Error("second"));
        }) as never;
        const socket = connectSocket({ host: "some.invalid", port, autoSelectFamily, lookup }, pool);
        for await (const lease of socket) lease.release();
        await socket.closed;
      }
    }
    expect(pool.outstanding).toBe(0);
  });

  it("rejects with what options.lookup says or throws, whatever that is", async () => {
    const pool = BufferPool.create({ size: 100, max: 1 });
    const reason = new Error("no such host");
    for (const autoSelectFamily of [false, true]) {
      for (const isLater of [false, true]) {
        const socket = connectSocket(
          { host: "a.invalid", port: 1, autoSelectFamily, lookup: answering(isLater, reason) },
          pool,
        );
        await expect(socket.opened).rejects.toBe(reason);
        const unreadable = new Proxy(reason, {
          get() {
            throw new Error("hostile");
          },
        });
        const lookup = answering(isLater, unreadable);
        const other = connectSocket({ host: "a.invalid", port: 1, autoSelectFamily, lookup }, pool);
        expect(await codeOf(other.closed)).toBe("ERR_INVALID_ARG_TYPE");
      }
      for (const [thrown, code] of [
        [reason, undefined],
        [undefined, "ERR_INVALID_ARG_TYPE"],
      ] as const) {
        const lookup = (): never => {
          throw thrown;
        };
        const socket = connectSocket({ host: "a.invalid", port: 1, autoSelectFamily, lookup }, pool);
        const error = await socket.closed.catch((rejected: unknown) => rejected);
        if (code === undefined) expect(error).toBe(reason);
        else expect(error).toMatchObject({ code });
      }
    }
  });

  it("has one answer for end() and write() after the other side's end, whatever the turn", async () => {
    for (let turns = 0; turns < 6; turns++) {
      for (const verb of ["end", "write"] as const) {
        const pool = poolOf();
        const address = await serve((peer) => void peer.end("hello"));
        const socket = connectSocket(address, pool);
        for await (const lease of socket) lease.release();
        for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
        if (verb === "end") await socket.end();
        else expect(await codeOf(socket.write(pool.tryAcquire()!))).toBe("ERR_ENDED");
        await socket.closed;
        await socket.end();
        expectHome(pool);
      }
    }
  });

  it("sends what was written before the other side's end, and end() waits for it", async () => {
    const pool = poolOf(2, 4 << 20);
    let received = 0;
    const address = await serve((peer) => {
      peer.end("hello");
      peer.on("data", (chunk) => {
        received += chunk.length;
      });
    });
    const socket = connectSocket(address, pool);
    await socket.opened;
    const written = socket.write(pool.tryAcquire()!);
    for await (const lease of socket) lease.release();
    const ended = socket.end();
    await Promise.all([written, ended]);
    await socket.closed;
    while (received < 4 << 20) await new Promise((resolve) => setImmediate(resolve));
    expect(received).toBe(4 << 20);
    expectHome(pool);
  });

  it("does not take a lease that is being written a second time", async () => {
    const server = createServer((peer) => void peer.pause()).listen(0, "127.0.0.1");
    await once(server, "listening");
    const pool = BufferPool.create({ size: 8 << 20, max: 1 });
    const socket = connectSocket({ host: "127.0.0.1", port: (server.address() as AddressInfo).port }, pool);
    await socket.opened;
    const lease = await pool.acquire();
    const first = codeOf(socket.write(lease));
    expect(await codeOf(socket.write(lease))).toBe("ERR_MAPPED");
    expect(lease.isLive).toBe(true);
    socket.destroy();
    expect(await first).toBe("ERR_ENDED");
    expect(pool.outstanding).toBe(0);
    server.close();
  });

  it("ends one that is still looking for its host, by the signal, destroy() and options.timeout", async () => {
    const before = openDescriptors();
    const pool = poolOf();
    const options = { host: "nobody.invalid", port: 1, lookup: () => {} };
    const controller = new AbortController();
    const reason = new Error("enough");
    const aborted = connectSocket(options, pool, { signal: controller.signal });
    const read = aborted.read();
    controller.abort(reason);
    await expect(read).rejects.toBe(reason);
    const destroyed = connectSocket(options, pool);
    const write = codeOf(destroyed.write(pool.tryAcquire()!));
    destroyed.destroy();
    expect(await write).toBe("ERR_ENDED");
    const late = connectSocket({ ...options, timeout: 10 }, pool);
    expect(await codeOf(late.opened)).toBe("ERR_TIMED_OUT");
    expect(await codeOf(late.read())).toBe("ERR_TIMED_OUT");
    for (const socket of [aborted, destroyed, late]) await codeOf(socket.closed);
    expect(openedSince(before)).toEqual([]);
    expectHome(pool);
  });

  it("writes into no slot that is not its own: the leases of others keep their bytes", REPEATED, async () => {
    const random = generator(seedOf("pooled-socket"));
    for (let round = 0; round < times(8, 200); round++) {
      const size = [1, 100, 4096, 5000, 70_000][random(5)]!;
      const pool = BufferPool.create({ size, max: 2 + random(6), revoke: random(4) === 0 });
      const total = Math.min(content.length, size * (10 + random(200)));
      const address = await serve((peer) => {
        const step = 1 + random(200_000);
        const write = (at: number): void => {
          if (at >= total) peer.end();
          else if (random(3) === 0)
            setImmediate(() => peer.write(content.subarray(at, Math.min(at + step, total)), () => write(at + step)));
          else peer.write(content.subarray(at, Math.min(at + step, total)), () => write(at + step));
        };
        write(0);
      });
      // Slots go from one connection to the other, and to a holder who marks them.
      const marked: MediaBuffer[] = [];
      const mark = (): void => {
        const lease = pool.stats().free > 1 ? pool.tryAcquire() : undefined;
        if (lease === undefined) return;
        lease.bytes.fill(0xee);
        marked.push(lease);
      };
      const unmark = (): void => {
        const lease = marked.shift();
        if (lease === undefined) return;
        expect(lease.bytes.every((byte) => byte === 0xee)).toBe(true);
        lease.release();
      };
      const reading = [0, 1].map(async () => {
        const how = { fill: (["any", "full"] as const)[random(2)]!, ahead: 1 + random(3) };
        let at = 0;
        for await (const lease of connectSocket(address, pool, how)) {
          expect(Buffer.compare(lease.bytes, content.subarray(at, at + lease.size))).toBe(0);
          at += lease.size;
          if (random(4) === 0) await turn();
          lease.release();
          if (random(2) === 0) mark();
          else unmark();
        }
        expect(at).toBe(total);
      });
      // Who has marked slots gives them back for those who wait.
      const giving = setInterval(unmark, 1);
      await Promise.all(reading);
      clearInterval(giving);
      while (marked.length > 0) unmark();
      await until(() => pool.outstanding === 0);
      expectHome(pool);
    }
  });

  it("gives everything back, wherever it ends and by either side", REPEATED, async () => {
    const random = generator(seedOf("pooled-socket ends"));
    const before = openDescriptors();
    for (let round = 0; round < times(30, 600); round++) {
      const pool = poolOf(1 + random(4), [1, 500, 4096, 100_000][random(4)]!);
      const out = poolOf(2, 1 + random(100_000));
      const controller = new AbortController();
      const how = {
        fill: (["any", "full"] as const)[random(2)]!,
        ahead: 1 + random(3),
        signal: controller.signal,
      };
      const [socket, peer] = await pair(pool, how, { allowHalfOpen: random(2) === 0 });
      const send = (): void => {
        if (!peer.destroyed) peer.write(content.subarray(0, 1 + random(100_000)), () => setImmediate(send));
      };
      if (random(3) > 0) send();
      else peer.pipe(peer);
      peer.resume();
      const ends = [
        () => controller.abort(new Error("aborted")),
        () => socket.destroy(),
        () => socket.destroy(new Error("given")),
        () => pool.close({ force: true }),
        () => pool.retire(),
        () => pool.deactivate(),
        () => peer.resetAndDestroy(),
        () => peer.destroy(),
        () => void socket.end(),
      ];
      const end = ends[random(ends.length)]!;
      let left = random(40);
      const step = (): void => {
        if (left-- === 0) end();
      };
      const writing = async (): Promise<void> => {
        for (let i = 0; i < 1 + random(20); i++) {
          const lease = await out.acquire();
          step();
          if (random(3) > 0) await socket.write(lease);
          else void codeOf(socket.write(lease));
        }
      };
      const reading = async (): Promise<void> => {
        for await (const lease of socket) {
          if (random(4) === 0) await turn();
          step();
          if (lease.isLive) lease.release();
          if (random(200) === 0) break;
        }
      };
      const both = Promise.all([codeOf(writing()), codeOf(reading())]);
      // It ends at a step of its own, or when nothing happens any more.
      await Promise.race([both, new Promise((resolve) => setTimeout(resolve, 50))]);
      socket.destroy();
      await both;
      await codeOf(socket.closed);
      expect([pool.outstanding, out.outstanding]).toEqual([0, 0]);
      pool.validate();
      peer.destroy();
      await new Promise((resolve) => servers.pop()!.close(resolve));
    }
    peers.length = 0;
    await until(() => openDescriptors().length <= before.length);
  });

  it("ends an idle connection after options.timeout", async () => {
    const pool = poolOf(2, 1000);
    const [socket] = await pair(pool, {}, { timeout: 20 });
    expect(await codeOf(socket.read())).toBe("ERR_TIMED_OUT");
    expect(await codeOf(socket.closed)).toBe("ERR_TIMED_OUT");
    expectHome(pool);
  });

  it("does not count the time that its own loop or pool takes", async () => {
    const armed = vi.spyOn(Socket.prototype, "setTimeout");
    const pool = poolOf(2, 1000);
    const [socket, peer] = await pair(pool, { ahead: 1 }, { timeout: 2 ** 30 });
    const inner = armed.mock.contexts[0] as Socket;
    const elapse = (): unknown => inner.emit("timeout");
    // Nobody has asked to read yet.
    elapse();
    const read = socket.read();
    peer.write(content.subarray(0, 5000));
    const lease = (await read)!;
    await until(() => pool.outstanding === 2);
    const before = armed.mock.calls.length;
    // The loop is busy, then every slot is taken.
    elapse();
    expect(armed.mock.calls.length).toBe(before + 1);
    const next = (await socket.read())!;
    const waiting = socket.read();
    expect(pool.stats().waiting).toBe(1);
    elapse();
    lease.release();
    (await waiting)!.release();
    next.release();
    for (let left = 2000; left > 0; ) {
      const more = (await socket.read())!;
      left -= more.size;
      more.release();
    }
    const last = codeOf(socket.read());
    elapse();
    expect(await last).toBe("ERR_TIMED_OUT");
    armed.mockRestore();
    await codeOf(socket.closed);
    expectHome(pool);
  });

  it("leaves no listener at the signal and the pool", async () => {
    const pool = poolOf();
    const { signal, listeners } = watchedSignal();
    let atPool = 0;
    const on = pool.on.bind(pool);
    Object.assign(pool, {
      on: (...args: Parameters<typeof on>) => {
        atPool++;
        const off = on(...args);
        return () => {
          atPool--;
          off();
        };
      },
    });
    const socket = connectSocket(await serve((peer) => peer.end("x")), pool, { signal });
    expect([listeners(), atPool]).toEqual([1, 1]);
    await readAll(socket);
    await socket.closed;
    const gone = connectSocket(await serve(), pool, { signal });
    gone.destroy();
    await gone.closed;
    expect([listeners(), atPool]).toEqual([0, 0]);
    expectHome(pool);
  });

  it("refuses TLS, a target of its own and other bad arguments, by name, and takes no slot", () => {
    const pool = poolOf();
    const bad = (options: unknown, how?: unknown, of: unknown = pool): unknown => {
      try {
        connectSocket(options as never, of as never, how as never);
      } catch (error) {
        return [(error as { code: string }).code, (error as Error).message.split(" ")[0]];
      }
      return "ok";
    };
    expect(bad({ port: 1, servername: "x" })).toEqual(["ERR_UNSUPPORTED", "options.servername"]);
    expect(bad({ port: 1, onread: {} })).toEqual(["ERR_INVALID_ARG_VALUE", "options.onread"]);
    expect(bad({ prot: 1 })).toEqual(["ERR_INVALID_ARG_VALUE", "options.prot"]);
    expect(bad({})).toEqual(["ERR_INVALID_ARG_TYPE", "options.port"]);
    expect(bad(undefined)).toEqual(["ERR_INVALID_ARG_TYPE", "options"]);
    expect(bad(8080)).toEqual(["ERR_INVALID_ARG_TYPE", "options"]);
    expect(bad({ port: 70_000 })).toEqual(["ERR_OUT_OF_RANGE", "options.port"]);
    expect(bad({ port: 1, host: 5 })).toEqual(["ERR_INVALID_ARG_TYPE", "options.host"]);
    expect(bad({ port: 1, localAddress: "no address" })).toEqual(["ERR_INVALID_ARG_VALUE", "options"]);
    expect(bad({ port: 1, lookup: 5 })).toEqual(["ERR_INVALID_ARG_TYPE", "options.lookup"]);
    expect(bad({ port: 1, family: 5 })).toEqual(["ERR_INVALID_ARG_VALUE", "options.family"]);
    expect(bad({ port: 1, noDelay: 1 })).toEqual(["ERR_INVALID_ARG_TYPE", "options.noDelay"]);
    expect(bad({ path: "" })).toEqual(["ERR_INVALID_ARG_VALUE", "options.path"]);
    expect(bad({ port: 1, timeout: -1 })).toEqual(["ERR_OUT_OF_RANGE", "options.timeout"]);
    expect(bad({ port: 1 }, { fill: "some" })).toEqual(["ERR_INVALID_ARG_VALUE", "how.fill"]);
    expect(bad({ port: 1 }, { ahead: 0 })).toEqual(["ERR_OUT_OF_RANGE", "how.ahead"]);
    expect(bad({ port: 1 }, { signal: 1 })).toEqual(["ERR_INVALID_ARG_TYPE", "how.signal"]);
    expect(bad({ port: 1 }, undefined, {})).toEqual(["ERR_INVALID_ARG_TYPE", "pool"]);
    expect(pool.stats().acquires).toBe(0);
  });
});
