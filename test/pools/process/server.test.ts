/** A server of a pool, and who comes there: strangers, those that went, those that say nothing, and its own end. */
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deserialize, serialize } from "node:v8";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { connectToPool, ProcessPool, type ProcessServer, serveProcesses } from "../../../src/native.ts";
import { closeDescriptor, connectDescriptors, serveDescriptors } from "../../../src/os/descriptors.ts";
import { nativeOps } from "../../../src/os/load.ts";
import { notDone, type Outcome } from "../../../src/os/result.ts";
import type { Lane } from "../../../src/pools/lane/lane.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { run } from "../../helpers/child.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { countOpen } from "../../helpers/descriptors.ts";

const value = <T>(outcome: Outcome<T>): T => {
  if (!outcome.ok) throw new Error(`${outcome.status} ${outcome.errno}: ${outcome.hint}`);
  return outcome.value;
};

let folder = "";
const closers: (() => void)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mp-"));
});
afterEach(() => {
  for (const close of closers.splice(0).reverse()) close();
  rmSync(folder, { recursive: true, force: true });
});

function make(more: object = {}): ProcessPool {
  const pool = ProcessPool.create({ size: 64, count: 1, ...more });
  closers.push(() => pool.leave({ force: true }));
  return pool;
}

async function serve(pool: ProcessPool, path: string, options: { clock?: FakeClock } = {}): Promise<ProcessServer> {
  const server = await serveProcesses(pool, path, options);
  closers.push(() => server.close());
  return server;
}

/** Sockets, and blocks of pools: the test runner has other files open. */
function descriptors(): number {
  return countOpen("/memfd:millpond", "socket:");
}

async function until(isSo: () => boolean): Promise<void> {
  const end = performance.now() + 60_000;
  while (!isSo()) {
    if (performance.now() > end) throw new Error(`it did not come to that: ${isSo}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Connects and says nothing. */
async function silent(path: string): Promise<Socket> {
  const socket = createConnection(path).on("error", () => {});
  closers.push(() => socket.destroy());
  await once(socket, "connect");
  return socket;
}

describe.runIf(nativeOps().availability.ok)("a server of a pool", () => {
  const path = (): string => join(folder, "s");

  it("lets clients in after others have come to its second socket and gone", async () => {
    const pool = make();
    // Its clock stands still: nobody gets in because another one's time is over.
    await serve(pool, path(), { clock: new FakeClock() });
    for (let gone = 0; gone < 20; gone++) closeDescriptor(value(connectDescriptors(`${path()}.fd`)));
    for (let n = 0; n < 3; n++) {
      const { pool: joined } = await connectToPool(path());
      closeDescriptor(value(connectDescriptors(`${path()}.fd`)));
      joined.leave();
    }
  });

  it("lets clients in while others that connected before them say nothing", async () => {
    const pool = make();
    const clock = new FakeClock();
    await serve(pool, path(), { clock });
    for (let n = 0; n < 5; n++) await silent(path());
    const clients = await Promise.all([1, 2, 3].map(() => connectToPool(path())));
    for (const { pool: joined } of clients) joined.leave();
  });

  it("sends nobody away who says a word, however many come after it that say none", async () => {
    const real = nativeOps();
    const nothing = notDone("timeout", "ETIMEDOUT", "accept: nobody is there");
    let isHanding = false;
    const sockets = {
      ...real.sockets,
      accept: (socket: number, ms: number) => (isHanding ? real.sockets.accept(socket, ms) : nothing),
    };
    const pool = make({ ops: { ...real, sockets } });
    const clock = new FakeClock();
    await serve(pool, path(), { clock });
    const coming = connectToPool(path());
    for (let n = 0; n < 100; n++) await silent(path());
    clock.advance(100);
    isHanding = true;
    const { pool: joined } = await coming;
    joined.leave();
  });

  it("tells the one that has been silent for longest when too many are, and lets the next one in", async () => {
    const pool = make();
    const clock = new FakeClock();
    await serve(pool, path(), { clock });
    const first = await silent(path());
    const heard: Buffer[] = [];
    first.on("data", (chunk: Buffer) => heard.push(chunk));
    for (let n = 0; n < 64; n++) await silent(path());
    // Each is given 100 ms to say a word.
    clock.advance(100);
    await once(first, "close");
    const said = Buffer.concat(heard);
    // After "hello", with the length before it.
    const failed = 4 + said.readUInt32LE(0);
    expect(deserialize(said.subarray(failed + 4))).toEqual({ failed: "too many connect at once" });
    const { pool: joined } = await connectToPool(path());
    joined.leave();
  });

  it("without a descriptor to spare lets those in who wait as soon as it has one", async () => {
    const real = nativeOps();
    let refused = 0;
    const full = notDone("limit", "EMFILE", "accept: too many open files");
    const sockets = {
      ...real.sockets,
      accept: (socket: number, ms: number) => (refused++ < 3 ? full : real.sockets.accept(socket, ms)),
    };
    const pool = make({ ops: { ...real, sockets } });
    await serve(pool, path());
    const { pool: joined } = await connectToPool(path());
    expect(refused).toBeGreaterThan(3);
    joined.leave();
  });

  it("whose pool's descriptor is closed says so to who connects, and no descriptor is left", async () => {
    const pool = make();
    await serve(pool, path());
    pool.block!.closeDescriptor();
    const before = descriptors();
    for (let n = 0; n < 5; n++)
      await expect(connectToPool(path())).rejects.toThrow(/descriptor of its pool was closed/);
    await until(() => descriptors() <= before);
  });

  it("a connection that is given up leaves no socket behind, at whichever step", async () => {
    const descriptors_ = value(serveDescriptors(`${path()}.fd`));
    const server = createServer((socket) => {
      socket.on("error", () => {}).resume();
      const hello = serialize("hello");
      const length = Buffer.alloc(4);
      length.writeUInt32LE(hello.length);
      socket.write(Buffer.concat([length, hello]));
    });
    closers.push(
      () => descriptors_.close(),
      () => server.close(),
    );
    await once(server.listen(path()), "listening");
    const before = descriptors();
    for (let n = 0; n < 5; n++) {
      const given = new AbortController();
      const connecting = connectToPool(path(), { signal: given.signal });
      // It waits for the block, which nobody gives.
      const accepted = value(await descriptors_.accept());
      const reason = new Error("given up");
      given.abort(reason);
      await expect(connecting).rejects.toBe(reason);
      closeDescriptor(accepted);
    }
    await until(() => descriptors() <= before);
  });

  it("ends its loop, and takes its path away, when its pool is retired here or by another process", async () => {
    const clock = new FakeClock();
    for (const where of ["here", "there"] as const) {
      const pool = make();
      const lease = pool.tryAcquire()!;
      const path = join(folder, where);
      const server = await serve(pool, path, { clock });
      const loop = server[Symbol.asyncIterator]().next();
      const { lane, pool: other } = await connectToPool(path);
      const near = (await loop).value as Lane;
      const next = server[Symbol.asyncIterator]().next();
      (where === "here" ? pool : other).retire();
      clock.advance(1000);
      expect((await next).done).toBe(true);
      expect([path, `${path}.fd`].filter((file) => existsSync(file))).toEqual([]);
      // Lanes go on, and so do leases.
      expect(near.trySend(lease)).toBe(true);
      other.release((await lane.receive())!.lease);
    }
  });

  it("closes whole, without an error, when its files cannot be removed", async () => {
    for (const end of ["server", "pool"] as const) {
      const pool = make();
      const server = await serve(pool, path());
      const loop = server[Symbol.asyncIterator]().next();
      rmSync(`${path()}.fd`);
      mkdirSync(`${path()}.fd`);
      if (end === "server") server.close();
      else pool.close();
      expect((await loop).done).toBe(true);
      expect(existsSync(path())).toBe(false);
      expect(await codeOf(connectToPool(path()))).toBe("ERR_INACTIVE");
      rmSync(`${path()}.fd`, { recursive: true });
    }
  });

  it.each([
    ["process.exit()", "process.exit(0)", 0],
    ["an uncaught error", 'setImmediate(() => { throw new Error("uncaught") })', 1],
  ])("of a process that ends by %s leaves no files and no name, and is served again", async (_, end, exitCode) => {
    const native = new URL("../../../src/native.ts", import.meta.url);
    const program = `
      import { ProcessPool, serveProcesses } from ${JSON.stringify(native)};
      const pool = ProcessPool.create({ size: 64, count: 1 });
      if (!pool.publish("cam").ok) throw new Error("no name");
      const closed = await serveProcesses(pool, ${JSON.stringify(`${path()}2`)});
      await serveProcesses(pool, ${JSON.stringify(path())});
      closed.close();
      await (await import("node:fs/promises")).writeFile(${JSON.stringify(`${path()}2`)}, "precious");
      ${end};`;
    const exit = await run([process.execPath, "--input-type=module", "--eval", program], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, XDG_RUNTIME_DIR: folder },
    });
    expect([exit.code, exit.signal]).toEqual([exitCode, null]);
    expect(readdirSync(folder).sort()).toEqual(["millpond", "s2"]);
    expect(readdirSync(join(folder, "millpond"))).toEqual([]);
    await serve(make(), path());
  });

  it("of a process that ends before it hears that it listens leaves no file", async () => {
    const native = new URL("../../../src/native.ts", import.meta.url);
    const program = `
      import { ProcessPool, serveProcesses } from ${JSON.stringify(native)};
      void serveProcesses(ProcessPool.create({ size: 64, count: 1 }), ${JSON.stringify(path())});
      process.exit(0);`;
    const exit = await run([process.execPath, "--input-type=module", "--eval", program]);
    expect([exit.code, exit.signal]).toEqual([0, null]);
    expect(readdirSync(folder)).toEqual([]);
  });

  it("that is closed listens for the end of the process no more", async () => {
    const before = process.listenerCount("exit");
    const server = await serve(make(), path());
    expect(process.listenerCount("exit")).toBeGreaterThan(before);
    server.close();
    expect(process.listenerCount("exit")).toBe(before);
  });

  it("at a relative path removes its own files in whichever directory the process is at its end", async () => {
    const before = process.cwd();
    const [here, there] = [join(folder, "here"), join(folder, "there")];
    mkdirSync(here);
    mkdirSync(there);
    try {
      process.chdir(here);
      const server = await serve(make(), "cam");
      process.chdir(there);
      for (const name of ["cam", "cam.fd"]) writeFileSync(name, "precious");
      server.close();
      // The runtime closes its handle in a later turn.
      for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
    } finally {
      process.chdir(before);
    }
    for (const name of ["cam", "cam.fd"]) expect(readFileSync(join(there, name), "utf8")).toBe("precious");
    expect(readdirSync(here)).toEqual([]);
  });

  it("whose path was taken away and served anew leaves the new one's files alone", async () => {
    const first = await serve(make(), path());
    rmSync(path());
    rmSync(`${path()}.fd`);
    const pool = make();
    await serve(pool, path());
    first.close();
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
    const { pool: joined } = await connectToPool(path());
    expect(joined.block!.inode).toBe(pool.block!.inode);
    joined.leave();
  });

  it("replaces the second socket of one that was killed, and no socket that somebody listens at, and no file", async () => {
    const { sockets, shared } = nativeOps();
    const door = `${path()}.fd`;
    // What a killed process leaves: the socket's file, and nobody at it.
    shared.close(value(sockets.listen(door)));
    (await serve(make(), path())).close();
    const alive = value(sockets.listen(door));
    expect(await codeOf(serveProcesses(make(), path()))).toBe("ERR_INACTIVE");
    expect(readdirSync(folder)).toEqual(["s.fd"]);
    shared.close(alive);
    rmSync(door);
    writeFileSync(door, "precious");
    expect(await codeOf(serveProcesses(make(), path()))).toBe("ERR_INACTIVE");
    expect(readFileSync(door, "utf8")).toBe("precious");
    expect(readdirSync(folder)).toEqual(["s.fd"]);
  });

  it("of several that begin at one path at once one gets it, and the others leave nothing", async () => {
    const all = await Promise.allSettled([1, 2, 3, 4].map(() => serve(make(), path())));
    expect(all.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    const { pool: joined } = await connectToPool(path());
    joined.leave();
    expect(readdirSync(folder).sort()).toEqual(["s", "s.fd"]);
    for (const one of all) if (one.status === "fulfilled") one.value.close();
    expect(readdirSync(folder)).toEqual([]);
  });
});
