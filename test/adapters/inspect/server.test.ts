import { subscribe } from "node:diagnostics_channel";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { connect, createServer } from "node:net";
import { isAbsolute, join, resolve } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { loopbackHosts } from "../../../src/adapters/inspect/listener.ts";
import { type InspectorServer, serveInspector } from "../../../src/adapters/inspect/server.ts";
import { findSockets, socketFolder } from "../../../src/adapters/inspect/sockets.ts";
import { type InspectorUpdate, MAX_EVENTS, type ProcessSnapshot } from "../../../src/observe/snapshot.ts";
import { userFolder } from "../../../src/os/private-folder.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { ask, scratch, sendRaw, updatesOf, updateWhere, type Where } from "./kit.ts";

async function served(options?: { port?: number; path?: string }): Promise<InspectorServer> {
  const server = await serveInspector(options);
  onTestFinished(() => server.close());
  return server;
}

async function onPort(): Promise<{ readonly where: Where; readonly token: string; readonly host: string }> {
  const server = await served({ port: 0 });
  const url = new URL(server.url!);
  return {
    where: { host: "127.0.0.1", port: Number(url.port) },
    token: url.searchParams.get("token")!,
    host: url.host,
  };
}

function inRuntimeFolder(): string {
  const folder = scratch();
  const before = process.env.XDG_RUNTIME_DIR;
  process.env.XDG_RUNTIME_DIR = folder;
  onTestFinished(() => {
    if (before === undefined) delete process.env.XDG_RUNTIME_DIR;
    else process.env.XDG_RUNTIME_DIR = before;
  });
  return folder;
}

/** A pool whose slots hold bytes that would be found in any answer. */
function poolOf(name: string, max = 2): BufferPool {
  const pool = BufferPool.create({ name, size: 64, max });
  const lease = pool.tryAcquire({ tag: "decoder" })!;
  lease.bytes.set(new TextEncoder().encode("SECRET-BYTES"));
  onTestFinished(() => {
    lease.release();
    pool.close();
  });
  return pool;
}

describe("an inspector on a socket", () => {
  it("is in a private folder of this user, found by the process's number, and gone when it is closed", async () => {
    const runtime = inRuntimeFolder();
    const server = await served();
    expect(server.url).toBeUndefined();
    expect(server.path).toBe(join(runtime, "millpond", "inspect", `${process.pid}.sock`));
    expect(lstatSync(server.path!).mode & 0o777).toBe(0o600);
    for (const folder of ["millpond", "millpond/inspect"]) {
      expect(lstatSync(join(runtime, folder)).mode & 0o777).toBe(0o700);
    }
    expect(findSockets()).toContainEqual({ path: server.path, pid: process.pid });
    await server.close();
    expect(existsSync(server.path!)).toBe(false);
    await server.close();
    const again = await served();
    expect(again).not.toBe(server);
    // The end of another one, on a port, is not its end.
    await (await served({ port: 0 })).close();
    expect((await ask({ socketPath: again.path! }, "/snapshot")).status).toBe(200);
  });

  it("answers with every pool, its holders, and no bytes of buffers", async () => {
    inRuntimeFolder();
    poolOf("on a socket");
    const server = await served();
    const { status, headers, body } = await ask({ socketPath: server.path! }, "/snapshot");
    expect([status, headers["content-type"]]).toEqual([200, "application/json; charset=utf-8"]);
    const snapshot = JSON.parse(body) as ProcessSnapshot;
    expect(snapshot).toMatchObject({ version: 1, pid: process.pid });
    const pool = snapshot.realms[0]!.pools.find(({ name }) => name === "on a socket")!;
    expect(pool).toMatchObject({ leased: 1, max: 2, holders: [{ tag: "decoder", size: 64 }] });
    expect(body).not.toContain("SECRET-BYTES");
    expect(body).not.toContain(Buffer.from("SECRET-BYTES").toString("base64"));
    expect(body).not.toContain([...Buffer.from("SECRET")].join(","));
  });

  it("streams updates with the events of the meantime, and records only while a stream is open", async () => {
    inRuntimeFolder();
    const pool = poolOf("streamed");
    const server = await served();
    const where = { socketPath: server.path! };
    const recording = async (): Promise<boolean> =>
      (JSON.parse((await ask(where, "/snapshot")).body) as ProcessSnapshot).realms[0]!.recording;
    expect(await recording()).toBe(false);
    const updates = updatesOf(where, "/stream?interval=50");
    const { snapshot } = await updateWhere(updates, () => true);
    expect(snapshot.realms[0]!.recording).toBe(true);
    const { id } = snapshot.realms[0]!.pools.find(({ name }) => name === "streamed")!;
    pool.tryAcquire({ tag: "seen" })!.release();
    const update = await updateWhere(updates, ({ events }) => events.some(({ text }) => text === "seen"));
    const from = update.events.findIndex(({ text }) => text === "seen");
    const own = update.events.slice(from).filter((event) => event.pool === id);
    expect(own.map(({ type, thread }) => [type, thread])).toEqual([
      ["acquire", 0],
      ["release", 0],
    ]);
    const silent = updatesOf(where, "/stream?interval=50&events=0");
    pool.tryAcquire()!.release();
    for (let i = 0; i < 3; i++) expect((await updateWhere(silent, () => true)).events).toEqual([]);
  });

  it("lists many leases as often as a viewer asks for it, and in between those that no event tells of", async () => {
    inRuntimeFolder();
    // One lease of each is out already.
    const many = poolOf("many", 300);
    poolOf("few");
    const shared = SharedPool.create({ name: "shared", size: 8, count: 2 });
    const leases = [...Array.from({ length: 299 }, () => many.tryAcquire()!), shared.tryAcquire()!];
    onTestFinished(() => {
      for (const lease of leases) lease.release();
      shared.close();
    });
    const where = { socketPath: (await served()).path! };
    const holdersIn = ({ snapshot }: InspectorUpdate): Record<string, number | undefined> => {
      const { pools } = snapshot.realms[0]!;
      return Object.fromEntries(
        pools.map(({ name, holders, unlisted }) => [name, unlisted ? undefined : holders.length]),
      );
    };
    const all = { many: 300, few: 1, shared: 1 };
    const updates = updatesOf(where, "/stream?interval=50&holders=60000");
    expect(holdersIn(await updateWhere(updates, () => true))).toMatchObject(all);
    // A pool that took long to read is listed until it has been read faster.
    const update = await updateWhere(updates, (one) => {
      const { many: most, few: least } = holdersIn(one);
      return most === undefined && least === undefined;
    });
    expect(holdersIn(update)).toMatchObject({ shared: 1 });
    expect(update.snapshot.realms[0]!.pools.find(({ name }) => name === "many")).toMatchObject({
      leased: 300,
      holders: [],
    });
    // Others who look get what they asked for.
    expect(holdersIn(await updateWhere(updatesOf(where, "/stream?interval=50"), () => true))).toMatchObject(all);
    const alone = updatesOf(where, "/stream?interval=50&events=0&holders=60000");
    for (let i = 0; i < 3; i++) expect(holdersIn(await updateWhere(alone, () => true))).toMatchObject(all);
    const { realms } = JSON.parse((await ask(where, "/snapshot")).body) as ProcessSnapshot;
    expect(realms[0]!.pools.find(({ name }) => name === "many")!.holders).toHaveLength(300);
  });

  it("lists the leases again where a viewer missed events", async () => {
    inRuntimeFolder();
    const many = poolOf("many", 300);
    const leases = Array.from({ length: 299 }, () => many.tryAcquire()!);
    onTestFinished(() => {
      for (const lease of leases) lease.release();
    });
    const where = { socketPath: (await served()).path! };
    const updates = updatesOf(where, "/stream?interval=50&holders=60000");
    await updateWhere(updates, ({ snapshot }) => snapshot.realms[0]!.pools.some(({ unlisted }) => unlisted));
    for (let i = 0; i < MAX_EVENTS; i++) {
      leases.pop()!.release();
      leases.push(many.tryAcquire()!);
    }
    await updateWhere(updates, ({ dropped }) => dropped > 0);
    await updateWhere(updates, ({ snapshot }) => snapshot.realms[0]!.pools.every(({ unlisted }) => !unlisted));
  });

  it("ends its recording when the last viewer has gone, however it went", async () => {
    inRuntimeFolder();
    const server = await served();
    const where = { socketPath: server.path! };
    const { socket } = sendRaw(where, "GET /stream?interval=50 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await new Promise((resolve) => socket.once("data", resolve));
    socket.destroy();
    await expect
      .poll(async () => (JSON.parse((await ask(where, "/snapshot")).body) as ProcessSnapshot).realms[0]!.recording)
      .toBe(false);
  });

  it("is served at a path of the caller's, for this user alone, and takes no file's and no live socket's place", async () => {
    const folder = scratch();
    const path = join(folder, "own.sock");
    const server = await served({ path });
    expect(server.path).toBe(path);
    expect(lstatSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toEqual(["own.sock"]);
    expect((await ask({ socketPath: path }, "/snapshot")).status).toBe(200);
    await expect(serveInspector({ path })).rejects.toMatchObject({ code: "ERR_ALREADY_EXISTS" });
    expect((await ask({ socketPath: path }, "/snapshot")).status).toBe(200);
    const file = join(folder, "file");
    writeFileSync(file, "kept");
    await expect(serveInspector({ path: file })).rejects.toMatchObject({ code: "ERR_ALREADY_EXISTS" });
    symlinkSync("loop", join(folder, "loop"));
    for (const path of [join(folder, "loop/s"), join(file, "s")]) {
      await expect(serveInspector({ path })).rejects.toMatchObject({ code: "ERR_UNSUPPORTED" });
    }
    await expect(serveInspector({ path: join(folder, "no/such/folder") })).rejects.toMatchObject({
      code: "ERR_UNSUPPORTED",
    });
    expect(readdirSync(folder).sort()).toEqual(["file", "loop", "own.sock"]);
  });

  it("leaves what took its path when it is closed: another one's live socket, or a file", async () => {
    const path = join(scratch(), "own.sock");
    const first = await served({ path });
    rmSync(path);
    const second = await served({ path });
    await first.close();
    expect((await ask({ socketPath: path }, "/snapshot")).status).toBe(200);
    rmSync(path);
    writeFileSync(path, "kept");
    await second.close();
    expect(readFileSync(path, "utf8")).toBe("kept");
  });

  it("is another one for who asks while it is being closed", async () => {
    inRuntimeFolder();
    const first = await served();
    const closing = first.close();
    const second = await served();
    await closing;
    expect(second).not.toBe(first);
    expect(second.path).toBe(first.path);
    expect((await ask({ socketPath: second.path! }, "/snapshot")).status).toBe(200);
  });

  it("is shared by all who asked for it, and ends with the last of them", async () => {
    inRuntimeFolder();
    const before = process.listenerCount("worker");
    const [first, second] = await Promise.all([serveInspector(), serveInspector()]);
    const where = { socketPath: first.path! };
    expect(second.path).toBe(first.path);
    // One that closes at once, while another one waits.
    const third = serveInspector();
    await first.close();
    await first.close();
    await second.close();
    const last = await third;
    expect((await ask(where, "/snapshot")).status).toBe(200);
    await last.close();
    expect([existsSync(where.socketPath), process.listenerCount("worker")]).toEqual([false, before]);
  });

  it("takes a path once: of two calls at the same time one is refused, and a file that comes meanwhile stays", async () => {
    const folder = scratch();
    const path = join(folder, "own.sock");
    // What an ended process left behind may be taken.
    const left = createServer();
    await new Promise<void>((resolve) => left.listen(join(folder, "bound"), resolve));
    renameSync(join(folder, "bound"), path);
    await new Promise((resolve) => left.close(resolve));
    const calls = await Promise.allSettled([served({ path }), served({ path })]);
    expect(calls.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(calls.find((call) => call.status === "rejected")!.reason).toMatchObject({ code: "ERR_ALREADY_EXISTS" });
    expect((await ask({ socketPath: path }, "/snapshot")).status).toBe(200);
    const file = join(folder, "file");
    const late = serveInspector({ path: file });
    writeFileSync(file, "precious");
    await expect(late).rejects.toMatchObject({ code: "ERR_ALREADY_EXISTS" });
    expect(readFileSync(file, "utf8")).toBe("precious");
    expect(readdirSync(folder).sort()).toEqual(["file", "own.sock"]);
  });

  it("has no hub when a viewer came just before its end", async () => {
    const before = process.listenerCount("worker");
    // The end comes at each step of what the connection begins.
    for (let steps = 0; steps < 24; steps++) {
      const server = await serveInspector({ port: 0 });
      const taken = new Promise((resolve) => subscribe("net.server.socket", resolve));
      const socket = connect(Number(new URL(server.url!).port), "127.0.0.1").on("error", () => {});
      const gone = new Promise((resolve) => socket.once("close", resolve));
      await taken;
      for (let step = 0; step < steps; step++) await undefined;
      await Promise.all([server.close(), gone]);
      // What the connection began to load is there.
      await import("../../../src/adapters/inspect/requests.ts");
      await import("../../../src/adapters/inspect/page-file.ts");
      await import("../../../src/observe/realm-inspector.ts");
      for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve));
      expect([steps, process.listenerCount("worker")]).toEqual([steps, before]);
    }
  });

  it("answers whatever the program has written into process.argv, or put in the places of its functions", async () => {
    const server = await served({ port: 0 });
    const url = new URL(server.url!);
    const where = { host: "127.0.0.1", port: Number(url.port) };
    const { argv, cpuUsage, memoryUsage, uptime } = process;
    onTestFinished(() => void Object.assign(process, { argv, cpuUsage, memoryUsage, uptime }));
    const titleOf = async (odd: unknown): Promise<string> => {
      process.argv = odd as string[];
      const { status, body } = await ask(where, `/snapshot${url.search}`);
      expect(status).toBe(200);
      return (JSON.parse(body) as ProcessSnapshot).title;
    };
    const rude = { toString: 1 };
    expect(await titleOf(["node", new URL("file:///a/b.js"), 42, Symbol("x"), rude])).toBe("b.js 42 Symbol(x) ?");
    for (const odd of [null, undefined, { _: [] }, "node a.js", []]) expect(await titleOf(odd)).toBe("node");
    const refuse = (): never => {
      throw new Error("mine");
    };
    Object.assign(process, { cpuUsage: refuse, memoryUsage: refuse, uptime: refuse });
    expect(await titleOf(["node", "/a/c.js"])).toBe("c.js");
  });

  it("leaves no listener on the process when it was refused, or closed before anybody asked", async () => {
    inRuntimeFolder();
    const before = process.listenerCount("worker");
    await expect(serveInspector({ path: join(scratch(), "no/s") })).rejects.toMatchObject({ code: "ERR_UNSUPPORTED" });
    expect(process.listenerCount("worker")).toBe(before);
    const closed = await serveInspector();
    const other = await serveInspector({ port: 0 });
    await closed.close();
    expect(process.listenerCount("worker")).toBe(before + 1);
    await other.close();
    expect(process.listenerCount("worker")).toBe(before);
  });

  it("is in no folder that is relative: a program may change the one in which it works", async () => {
    inRuntimeFolder();
    process.env.XDG_RUNTIME_DIR = "run";
    expect([userFolder(), userFolder("run")].map(isAbsolute)).toEqual([true, true]);
    expect(userFolder()).toBe(userFolder(""));
    vi.stubEnv("TMPDIR", "temporary");
    onTestFinished(() => void vi.unstubAllEnvs());
    expect(userFolder("")).toBe(resolve("temporary", `millpond-${process.geteuid!()}`));
  });

  it("refuses options that it does not know, paths that the system would cut, and both places at once", async () => {
    const bad: [object, string][] = [
      [{ prot: 0 }, "ERR_INVALID_ARG_VALUE"],
      [{ port: -1 }, "ERR_OUT_OF_RANGE"],
      [{ port: 65_536 }, "ERR_OUT_OF_RANGE"],
      [{ port: "80" }, "ERR_INVALID_ARG_TYPE"],
      [{ path: 5 }, "ERR_INVALID_ARG_TYPE"],
      [{ path: "" }, "ERR_INVALID_ARG_VALUE"],
      [{ path: "a\0b" }, "ERR_INVALID_ARG_VALUE"],
      [{ path: `/tmp/${"x".repeat(200)}` }, "ERR_OUT_OF_RANGE"],
      [{ path: "a.sock", port: 0 }, "ERR_INVALID_ARG_VALUE"],
    ];
    for (const [options, code] of bad)
      await expect(serveInspector(options), JSON.stringify(options)).rejects.toMatchObject({ code });
  });

  it("uses no folder that others may enter or that is a link, a file or somebody else's", async () => {
    const runtime = inRuntimeFolder();
    const elsewhere = scratch();
    symlinkSync(elsewhere, join(runtime, "millpond"));
    // The temporary folder serves then; nothing is written through the link.
    expect(socketFolder()).not.toContain(runtime);
    expect(readdirSync(elsewhere)).toEqual([]);
    const second = inRuntimeFolder();
    writeFileSync(join(second, "millpond"), "");
    expect(socketFolder()).not.toContain(second);
    const third = inRuntimeFolder();
    mkdirSync(join(third, "millpond/inspect"), { recursive: true });
    chmodSync(join(third, "millpond"), 0o777);
    chmodSync(join(third, "millpond/inspect"), 0o777);
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(join(third, "millpond/inspect/1.sock"), resolve));
    onTestFinished(() => void other.close());
    expect(findSockets().filter(({ path }) => path.startsWith(third))).toEqual([]);
    expect(socketFolder()).toBe(join(third, "millpond/inspect"));
    for (const folder of ["millpond", "millpond/inspect"]) {
      expect(lstatSync(join(third, folder)).mode & 0o777).toBe(0o700);
    }
  });

  it("is not used when the folder belongs to somebody else", async (context) => {
    if (process.geteuid?.() !== 0) return context.skip("only root can make somebody else's folder");
    const { chownSync } = await import("node:fs");
    const runtime = inRuntimeFolder();
    mkdirSync(join(runtime, "millpond/inspect"), { recursive: true, mode: 0o700 });
    chownSync(join(runtime, "millpond"), 12_345, 12_345);
    expect(socketFolder()).not.toContain(runtime);
    expect(findSockets().filter(({ path }) => path.startsWith(runtime))).toEqual([]);
  });
});

describe("an inspector on a port", () => {
  it("listens on 127.0.0.1 only, and says the page's address with a token that no other server has", async () => {
    const server = await served({ port: 0 });
    const other = await served({ port: 0 });
    expect(server.path).toBeUndefined();
    const url = new URL(server.url!);
    expect([url.hostname, url.pathname]).toEqual(["127.0.0.1", "/"]);
    const token = url.searchParams.get("token")!;
    expect(token).toMatch(/^[\w-]{32}$/);
    expect(token).not.toBe(new URL(other.url!).searchParams.get("token"));
    await expect(serveInspector({ port: Number(url.port) })).rejects.toMatchObject({ code: "ERR_ALREADY_EXISTS" });
  });

  it("knows its own name without the port that browsers leave out", () => {
    const url = new URL("http://127.0.0.1:80/?token=x");
    expect(loopbackHosts(80)).toContain(url.host);
    expect(loopbackHosts(80)).toContain("localhost:80");
    expect(loopbackHosts(8080)).not.toContain("127.0.0.1");
  });

  it("answers nobody without the token, on any path, known or not", async () => {
    const { where, token } = await onPort();
    for (const path of ["/", "/snapshot", "/stream", "/trace", "/nothing"]) {
      for (const wrong of ["", `${token.slice(1)}x`, `${token}x`, token.slice(1), "%00", token.toUpperCase() + token]) {
        const { status, body } = await ask(where, `${path}?token=${wrong}`);
        expect([path, wrong, status]).toEqual([path, wrong, 401]);
        expect(body).not.toContain(token);
      }
      expect((await ask(where, path)).status).toBe(401);
    }
    expect((await ask(where, `/snapshot?token=${token}`)).status).toBe(200);
    expect((await ask(where, `/nothing?token=${token}`)).status).toBe(404);
  });

  it("answers no page of another origin, and no name that was rebound to this address", async () => {
    const { where, token, host } = await onPort();
    const path = `/snapshot?token=${token}`;
    const refused: Record<string, string>[] = [
      { host: "evil.example" },
      { host: `evil.example:${new URL(`http://${host}`).port}` },
      { host: "127.0.0.1" },
      { host: `${host}.evil.example` },
      { host: `evil.example@${host}` },
      { origin: "http://evil.example" },
      { origin: "null" },
      { origin: `https://${host}` },
      { origin: `http://localhost:${host.split(":")[1]}` },
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site" },
    ];
    for (const headers of refused) {
      const { status, headers: given } = await ask(where, path, { headers });
      expect([headers, status]).toEqual([headers, 403]);
      expect(Object.keys(given).filter((name) => name.startsWith("access-control"))).toEqual([]);
    }
    const admitted: Record<string, string>[] = [
      { origin: `http://${host}` },
      { "sec-fetch-site": "same-origin" },
      { "sec-fetch-site": "none" },
    ];
    for (const headers of admitted) {
      expect((await ask(where, path, { headers })).status).toBe(200);
    }
    expect((await ask(where, path, { headers: { host: host.replace("127.0.0.1", "localhost") } })).status).toBe(200);
  });

  it("answers GET on four paths, with keys that it knows, and nothing else", async () => {
    const { where, token } = await onPort();
    for (const method of ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "QUERY"]) {
      const { status, headers } = await ask(where, `/snapshot?token=${token}`, { method });
      expect([method, status, headers.allow]).toEqual([method, 405, "GET"]);
      expect(headers["access-control-allow-origin"]).toBeUndefined();
    }
    const paths = [
      "//",
      "/snapshot/",
      "/Snapshot",
      "/%73napshot",
      "/../snapshot",
      "/./",
      "/inspector.html",
      "/toString",
      "/__proto__",
    ];
    for (const path of paths) expect([path, (await ask(where, `${path}?token=${token}`)).status]).toEqual([path, 404]);
    for (const query of ["x=1", "interval=1000", "seconds=5"]) {
      expect([query, (await ask(where, `/snapshot?token=${token}&${query}`)).status]).toEqual([query, 400]);
    }
    for (const query of [
      "interval=49",
      "interval=60001",
      "interval=-1",
      "interval=1e3",
      "interval=",
      "interval=0x40",
      "events=2",
      "holders=-1",
      "holders=60001",
      "holders=100&holders=100",
    ]) {
      expect([query, (await ask(where, `/stream?token=${token}&${query}`)).status]).toEqual([query, 400]);
    }
    for (const query of ["seconds=0", "seconds=61", "seconds=NaN"]) {
      expect([query, (await ask(where, `/trace?token=${token}&${query}`)).status]).toEqual([query, 400]);
    }
    expect(
      (await ask(where, `/snapshot?token=${token}`, { headers: { "content-length": "3" }, body: "abc" })).status,
    ).toBe(400);
  });

  it("says of every answer that it is not to be kept, guessed, framed or told to others", async () => {
    const { where, token } = await onPort();
    for (const path of [`/?token=${token}`, `/snapshot?token=${token}`, "/snapshot", `/nothing?token=${token}`]) {
      const { headers } = await ask(where, path);
      expect(headers).toMatchObject({
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        connection: "close",
      });
      expect(headers["content-security-policy"]).toContain("default-src 'none'");
      expect(headers["content-security-policy"]).toContain("frame-ancestors 'none'");
      expect(headers["content-security-policy"]).not.toMatch(/script-src[^;]*unsafe/);
    }
  });
});
