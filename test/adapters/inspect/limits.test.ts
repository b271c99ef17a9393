import { once } from "node:events";
import { Socket } from "node:net";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { Listener, type ListenerOptions, SOCKET_HOSTS } from "../../../src/adapters/inspect/listener.ts";
import { RealmHub } from "../../../src/adapters/inspect/realms.ts";
import { answerRequests, type Limits } from "../../../src/adapters/inspect/requests.ts";
import { makeInspector } from "../../../src/adapters/inspect/threads.ts";
import type { ProcessSnapshot } from "../../../src/observe/snapshot.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import { ask, scratch, sendRaw, updatesOf, updateWhere, type Where } from "./kit.ts";

/** What Node knows of a socket that it writes to. */
interface ServerSocket extends Socket {
  readonly _handle: { readonly writeQueueSize: number } | null;
}

interface Served {
  readonly where: Where;
  readonly hub: RealmHub;
  readonly listener: Listener;
}

async function serve(limits?: Limits, options?: ListenerOptions, sameHub?: RealmHub): Promise<Served> {
  const hub = sameHub ?? new RealmHub(await makeInspector());
  const gate = { hosts: SOCKET_HOSTS, isToken: undefined };
  const page = { html: "<p>page</p>", scripts: ["sha256-abc"] };
  const listener = new Listener(async () => answerRequests(hub, gate, () => page, limits), options);
  const socketPath = `${scratch()}/s`;
  await listener.listen({ path: socketPath });
  onTestFinished(async () => {
    await listener.close();
    hub.close();
  });
  return { where: { socketPath }, hub, listener };
}

const GET = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;

describe("what one viewer may cost", () => {
  it("is one stream of so many, and the place is free again when it has gone", async () => {
    const { where } = await serve({ streams: 2, traces: 2, stalled: 30_000 });
    const first = sendRaw(where, GET("/stream?interval=50"));
    const second = sendRaw(where, GET("/stream?interval=50"));
    await Promise.all([first, second].map(({ socket }) => once(socket, "data")));
    const third = await ask(where, "/stream?interval=50");
    expect([third.status, third.body]).toEqual([503, "there are 2 viewers already\n"]);
    first.socket.destroy();
    await first.answer;
    await expect
      .poll(async () => {
        const { socket } = sendRaw(where, GET("/stream?interval=50"));
        const [text] = (await once(socket, "data")) as [string];
        return text.slice(0, 15);
      })
      .toBe("HTTP/1.1 200 OK");
  });

  it("is one update that it did not read: others are left out, and who reads nothing is cut off", async () => {
    const names = Array.from({ length: 300 }, (_, i) => `${i}`.padStart(180, "n"));
    const pools = names.map((name) => BufferPool.create({ name, size: 1, max: 1 }));
    const { where, hub } = await serve({ streams: 2, traces: 2, stalled: 300 });
    // Two updates fill what the kernel keeps of a socket that is not read.
    const { socket, answer } = sendRaw(where, GET("/stream?interval=50"));
    socket.pause();
    await expect.poll(() => hub.isRecording).toBe(true);
    await expect.poll(() => hub.isRecording, { interval: 50 }).toBe(false);
    socket.resume();
    const text = await answer;
    // 100 KB an update: what was under way, and not one for each 50 ms.
    expect(text.split("\n").filter((line) => line.startsWith("{")).length).toBeLessThan(8);
    for (const pool of pools) pool.close();
  });

  it("is an answer that is read within a time, and so many traces at once", async () => {
    const names = Array.from({ length: 1500 }, (_, i) => `${i}`.padStart(190, "n"));
    const pools = names.map((name) => BufferPool.create({ name, size: 1, max: 1 }));
    const { where, hub, listener } = await serve({ streams: 2, traces: 1, stalled: 200 });
    // Some 700 kB, of which the kernel takes a part.
    const { socket, answer } = sendRaw(where, GET("/snapshot"));
    socket.pause();
    await expect.poll(() => listener.connections).toBe(1);
    await expect.poll(() => listener.connections).toBe(0);
    socket.resume();
    expect((await answer).endsWith("}")).toBe(false);
    for (const pool of pools) pool.close();
    const first = sendRaw(where, GET("/trace?seconds=60"));
    await expect.poll(() => hub.isRecording).toBe(true);
    expect((await ask(where, "/trace?seconds=1")).status).toBe(503);
    first.socket.destroy();
    await first.answer;
    await expect.poll(async () => (await ask(where, "/trace?seconds=1")).status).toBe(200);
  });

  it("is a recording that ends with the viewer of a trace, though it leaves before the first view", async () => {
    const { where, hub, listener } = await serve();
    const views = vi.spyOn(hub, "view").mockReturnValue(new Promise(() => {}));
    const { socket } = sendRaw(where, GET("/trace?seconds=60"));
    await expect.poll(() => views.mock.calls.length).toBe(1);
    expect(hub.isRecording).toBe(true);
    socket.destroy();
    await expect.poll(() => listener.connections).toBe(0);
    await expect.poll(() => hub.isRecording).toBe(false);
  });

  it("is an answer that is read as slowly as the viewer likes, as long as it reads", async () => {
    const names = Array.from({ length: 1500 }, (_, i) => `${i}`.padStart(190, "s"));
    const pools = names.map((name) => BufferPool.create({ name, size: 1, max: 1 }));
    onTestFinished(() => {
      for (const pool of pools) pool.close();
    });
    const { where } = await serve({ streams: 1, traces: 1, stalled: 30 });
    // Node's own look at a socket whose time is over: the viewer reads some before each.
    const looked = Socket.prototype as unknown as { _onTimeout: (this: ServerSocket) => void };
    const look = looked._onTimeout;
    let looks = 0;
    const spy = vi.spyOn(looked, "_onTimeout").mockImplementation(async function (this: ServerSocket) {
      const queued = this._handle?.writeQueueSize;
      while (queued !== undefined && this._handle?.writeQueueSize === queued && queued > 0) {
        socket.read(4096) ?? socket.read();
        await new Promise((resolve) => setImmediate(resolve));
      }
      // One that comes before the answer has begun looks at nothing.
      if (queued !== undefined && queued > 0) looks++;
      look.call(this);
    });
    onTestFinished(() => spy.mockRestore());
    const { socket, answer } = sendRaw(where, GET("/snapshot"));
    socket.pause();
    // What is queued behind the kernel's part goes in three parts, of which a busy machine may send two at once.
    await expect.poll(() => looks).toBeGreaterThanOrEqual(2);
    socket.resume();
    expect((await answer).endsWith("}")).toBe(true);
  });

  it("is bounded for all servers of a process together", async () => {
    const limits = { streams: 1, traces: 1, stalled: 30_000 };
    const { where: first, hub } = await serve(limits);
    const { where: second } = await serve(limits, undefined, hub);
    const stream = sendRaw(first, GET("/stream?interval=50"));
    await once(stream.socket, "data");
    const refused = sendRaw(second, GET("/stream"));
    expect(String((await once(refused.socket, "data"))[0])).toContain(" 503 ");
    stream.socket.destroy();
    await expect.poll(() => hub.isRecording).toBe(false);
    const trace = sendRaw(first, GET("/trace?seconds=60"));
    await expect.poll(() => hub.isRecording).toBe(true);
    const alsoRefused = sendRaw(second, GET("/trace?seconds=1"));
    expect(String((await once(alsoRefused.socket, "data"))[0])).toContain(" 503 ");
    trace.socket.destroy();
  });

  it("is a trace of its own seconds, also where another viewer's has just begun", async () => {
    const { where, hub } = await serve();
    const other = sendRaw(where, GET("/trace?seconds=60"));
    await expect.poll(() => hub.isRecording).toBe(true);
    const began = performance.now();
    expect((await ask(where, "/trace?seconds=1")).status).toBe(200);
    // A timer may come a little early.
    expect(performance.now() - began).toBeGreaterThan(900);
    other.socket.destroy();
  });

  it("is a trace that is read: one that is not is cut off, and its place is free again", async () => {
    const { where, hub, listener } = await serve({ streams: 2, traces: 1, stalled: 300 });
    const end = hub.look();
    const pool = BufferPool.create({ name: "traced", size: 1, max: 1 });
    for (let i = 0; i < 20_000; i++) pool.tryAcquire({ tag: `${i}`.padStart(190, "t") })!.release();
    const { socket } = sendRaw(where, GET("/trace"));
    socket.pause();
    await expect.poll(() => listener.connections).toBe(1);
    await expect.poll(() => listener.connections).toBe(0);
    socket.destroy();
    end();
    pool.close();
    expect((await ask(where, "/trace?seconds=1")).status).toBe(200);
  });

  it("is one request a connection, complete within a time, and so many connections", async () => {
    const { where } = await serve(undefined, { requestTimeout: 150 });
    for (const half of [
      "",
      "GET /snap",
      "GET /snapshot HTTP/1.1\r\nHost: localhost\r\n",
      "\u0000\u0001\u0002\r\n\r\n",
    ]) {
      expect(await sendRaw(where, half).answer).not.toContain("200 OK");
    }
    const crowded = await serve(undefined, { requestTimeout: 600_000, maxConnections: 3 });
    const twice = await sendRaw(crowded.where, GET("/snapshot") + GET("/snapshot")).answer;
    expect(twice.match(/HTTP\/1\.1 200/g)).toHaveLength(1);
    // A stream behind it would have no connection, and no end.
    await sendRaw(crowded.where, GET("/snapshot") + GET("/stream")).answer;
    expect(crowded.hub.isRecording).toBe(false);
    const open = Array.from({ length: 3 }, () => sendRaw(crowded.where, ""));
    await expect.poll(() => crowded.listener.connections).toBe(3);
    expect(await sendRaw(crowded.where, GET("/snapshot")).answer).toBe("");
    for (const { socket } of open) socket.destroy();
    await expect.poll(() => crowded.listener.connections).toBe(0);
    expect((await ask(crowded.where, "/snapshot")).status).toBe(200);
  });

  it("is 8 kB of headers and 1 kB of path; upgrades and tunnels are not made", async () => {
    const { where } = await serve();
    const long = await sendRaw(where, `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(20_000)}\r\n\r\n`).answer;
    expect(long).not.toContain("200 OK");
    expect((await ask(where, `/snapshot?${"x".repeat(2000)}`)).status).toBe(400);
    expect(await sendRaw(where, "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n").answer).not.toContain(
      "200",
    );
    const upgrade = "GET /snapshot HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    expect(await sendRaw(where, upgrade).answer).not.toContain("101 ");
    expect(await sendRaw(where, "GET http://localhost/snapshot HTTP/1.1\r\nHost: localhost\r\n\r\n").answer).toContain(
      " 400 ",
    );
    expect(
      await sendRaw(where, "GET /snapshot HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n").answer,
    ).not.toContain("200 OK");
    expect(await sendRaw(where, "GET /snapshot HTTP/1.0\r\n\r\n").answer).not.toContain("200 OK");
  });
});

describe("what a program may do to the inspector", () => {
  it("closes, makes and loses pools while they are read", async () => {
    const { where } = await serve();
    const updates = updatesOf(where, "/stream?interval=50");
    for (let round = 0; round < 4; round++) {
      const pools = Array.from({ length: 50 }, (_, i) =>
        BufferPool.create({ name: `round ${round}.${i}`, size: 8, max: 4 }),
      );
      const leases = pools.map((pool) => pool.tryAcquire()!);
      const { snapshot } = await updateWhere(updates, (update) => {
        return update.snapshot.realms[0]!.pools.some(({ name }) => name === `round ${round}.49`);
      });
      expect(snapshot.realms[0]!.pools.filter(({ name }) => name.startsWith(`round ${round}`))).toHaveLength(50);
      for (const pool of pools) pool.close({ force: true });
      expect(leases).toHaveLength(50);
    }
    await updateWhere(updates, ({ snapshot }) =>
      snapshot.realms[0]!.pools.every(({ name }) => !name.startsWith("round")),
    );
  });

  it("names pools and holders as markup, escapes and separators, and each viewer gets them as text in JSON", async () => {
    const hostile = [
      "</script><script>alert(1)</script>",
      "\u001b]0;title\u0007\u001b[2J",
      "a\nb\r\ndata: x\n\n",
      "\u2028\u2029\ud800\u0000",
    ];
    const pools = hostile.map((name) => BufferPool.create({ name, size: 1, max: 1 }));
    const leases = pools.map((pool, i) => pool.tryAcquire({ tag: hostile[i]! })!);
    const { where } = await serve();
    const snapshot = JSON.parse((await ask(where, "/snapshot")).body) as ProcessSnapshot;
    const found = snapshot.realms[0]!.pools.slice(-4);
    expect(found.map(({ name }) => name)).toEqual(hostile);
    expect(found.map(({ holders }) => holders[0]!.tag)).toEqual(hostile);
    const { socket } = sendRaw(
      where,
      "GET /stream?interval=50 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n",
    );
    let text = "";
    socket.on("data", (chunk: string) => {
      text += chunk;
    });
    await expect.poll(() => text.match(/\n\n/g)?.length ?? 0).toBeGreaterThan(0);
    expect(text).toContain("Content-Type: text/event-stream");
    // Every line is a field of ours: no name ends one and begins another.
    const lines = text.slice(text.indexOf("data: ")).split(/\r\n|\n|\r/);
    expect(lines.filter((line) => line.startsWith("data: x"))).toEqual([]);
    for (const lease of leases) lease.release();
    for (const pool of pools) pool.close();
  });
});
