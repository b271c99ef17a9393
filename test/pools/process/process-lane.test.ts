/**
 * Lanes between processes: leases move to a child over its IPC channel and to strangers over a Unix socket, and end in
 * order.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { serialize } from "node:v8";
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { connectProcess, connectToPool, ProcessPool, serveProcesses } from "../../../src/native.ts";
import { closeDescriptor, sendDescriptor, serveDescriptors } from "../../../src/os/descriptors.ts";
import { nativeOps } from "../../../src/os/load.ts";
import { absentOps } from "../../../src/os/native-ops.ts";
import { notDone } from "../../../src/os/result.ts";
import type { Lane } from "../../../src/pools/lane/lane.ts";
import { receiveLane } from "../../../src/pools/lane/receive.ts";
import { giveBackFrom } from "../../../src/pools/process/connect.ts";
import { leaseOf, senderAt, stateAt } from "../../../src/pools/shared/core.ts";
import { LeaseRing } from "../../../src/pools/shared/lease-ring.ts";
import type { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { commitTransfer, prepareTransfer, senderWord } from "../../../src/pools/shared/transfer.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { isMillpondError } from "../../../src/util/errors.ts";
import { kill } from "../../helpers/child.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { countOpen } from "../../helpers/descriptors.ts";
import { FULL, REPEATED, seedOf, times } from "../../helpers/effort.ts";
import { generator } from "../../helpers/random.ts";

const CHILD = join(import.meta.dirname, "process-lane.child.ts");

interface Data {
  readonly n: number;
}

let folder = "";
let paths = 0;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mp-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const pools: ProcessPool[] = [];
const children: ChildProcess[] = [];
const closers: (() => void)[] = [];

function make(count: number, more: object = {}): ProcessPool {
  const pool = ProcessPool.create({ size: 4096, count, watch: 100, ...more });
  pools.push(pool);
  return pool;
}

function start(pool: ProcessPool, job: string, way: string, serialization: "json" | "advanced" = "json"): ChildProcess {
  const child = spawn(process.execPath, [CHILD, job, way], {
    stdio: ["ignore", "pipe", "inherit", "ipc", pool.descriptor],
    serialization,
  });
  children.push(child);
  return child;
}

async function line(child: ChildProcess): Promise<unknown> {
  for await (const text of createInterface({ input: child.stdout! })) return JSON.parse(text);
  return undefined;
}

async function until(what: () => boolean): Promise<void> {
  const end = performance.now() + 60_000;
  while (!what()) {
    if (performance.now() > end) throw new Error(`it did not come to that: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** A lane to a new child that does that job, by the way that is asked for. */
async function meet(pool: ProcessPool, job: string, way: string): Promise<{ lane: Lane<Data>; child: ChildProcess }> {
  if (way !== "socket") {
    const child = start(pool, job, way);
    return { child, lane: await connectProcess<Data>(pool, child) };
  }
  const path = join(folder, `s${++paths}`);
  const server = await serveProcesses<Data>(pool, path);
  closers.push(() => server.close());
  const child = start(pool, job, path);
  for await (const lane of server) return { child, lane };
  throw new Error("the server ended");
}

afterEach(async () => {
  await Promise.all(children.splice(0).map(kill));
  for (const close of closers.splice(0)) close();
  for (const pool of pools.splice(0)) pool.leave({ force: true });
});

/** Ends a process that a child has started. */
function endAtLast(pid: number): void {
  closers.push(() => process.kill(pid, "SIGKILL"));
}

const WAYS = ["ipc", "inherited", "socket"] as const;

/**
 * A behavior on each way; in the fast lane on one, since the ways differ in how they meet, which one test has for all.
 */
function onEachWay(fast: (typeof WAYS)[number], name: string, test: (way: string) => Promise<void>): void {
  for (const way of WAYS) it(`${way}: ${name}`, way === fast ? {} : FULL, () => test(way));
}

describe.runIf(nativeOps().availability.ok)("a lane to another process", () => {
  it("a child that has joined when the attempt is given up keeps its lease until it ends", async () => {
    const pool = make(1);
    const child = start(pool, "take and stay", "inherited");
    const aborted = new AbortController();
    const connected = codeOf(connectProcess<Data>(pool, child, { signal: aborted.signal }));
    // The answer to the child's question goes out in a turn of the event loop; then nothing is heard here until the
    // child has its lease.
    await new Promise<void>((resolve) => child.on("message", (said: object) => "millpondLane" in said && resolve()));
    await new Promise((resolve) => setImmediate(resolve));
    const word = new Int32Array(new SharedArrayBuffer(4));
    for (let i = 0; i < 6000 && pool.stats().held === 0; i++) Atomics.wait(word, 0, 0, 10);
    expect(pool.stats().held).toBe(1);
    aborted.abort();
    await connected;
    expect(pool.tryAcquire()).toBeUndefined();
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
    pool.release((await pool.acquire({ timeout: 10_000 }))!);
  });

  it.each(WAYS)("%s: leases go and come back, in order, with their data; use after send throws", async (way) => {
    const pool = make(4);
    const { lane, child } = await meet(pool, "echo", way);
    for (let n = 0; n < 20; n++) {
      const lease = pool.tryAcquire()!;
      const bytes = pool.bytes(lease);
      bytes.fill(1);
      await lane.send(lease, { n });
      expect(() => pool.bytes(lease)).toThrow(/sent away/);
      const back = await lane.receive();
      expect(back!.data).toEqual({ n: 4096 + n });
      expect(back!.lease.id).toBe(lease.id);
      // What came back is another lease object.
      expect(() => pool.bytes(lease)).toThrow(/it has come back since/);
      pool.bytes(back!.lease);
      pool.release(back!.lease);
    }
    const exit = once(child, "exit");
    await lane.close();
    expect(await exit).toEqual([0, null]);
    await until(() => pool.processes().filter((pid) => pid !== 0).length === 1);
    expect(pool.stats().free).toBe(4);
    pool.validate();
  });

  onEachWay("inherited", "ends its waits on both sides when the pool is closed by force", async (way) => {
    const pool = make(2);
    const { lane, child } = await meet(pool, "report the end", way);
    const lease = pool.tryAcquire()!;
    const waiting = codeOf(lane.receive());
    const end = line(child);
    pool.close({ force: true });
    expect([await waiting, lane.isOpen, await end]).toEqual(["ERR_POOL_DEAD", false, "ERR_POOL_DEAD"]);
    // The mapping is gone, and what was leased is told as in a pool of threads.
    expect(() => pool.bytes(lease)).toThrow(expect.objectContaining({ code: "ERR_POOL_DEAD" }));
    expect(() => lease.release()).toThrow(expect.objectContaining({ code: "ERR_POOL_DEAD" }));
  });

  onEachWay("socket", "ends when the other process is killed and a third has its end of the socket", async (way) => {
    const pool = make(3);
    const { lane, child } = await meet(pool, "leave sockets", way);
    endAtLast((await line(child)) as number);
    const waiting = codeOf(lane.receive());
    const closing = meet(pool, "leave sockets", way);
    await kill(child);
    expect(await waiting).toBe("ERR_INACTIVE");
    const other = await closing;
    endAtLast((await line(other.child)) as number);
    await kill(other.child);
    await other.lane.close();
  });

  it("ends at who connected when the server is killed and a third has its sockets, and the path is served again", async () => {
    const path = join(folder, `s${++paths}`);
    const child = spawn(process.execPath, [CHILD, "serve and leave sockets", path], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    children.push(child);
    const said = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    expect((await said.next()).value).toBe('"serves"');
    const { lane, pool } = await connectToPool(path);
    pools.push(pool);
    endAtLast(Number((await said.next()).value));
    const waiting = codeOf(lane.receive());
    await kill(child);
    expect(await waiting).toBe("ERR_INACTIVE");
    rmSync(path);
    const server = await serveProcesses(pool, path);
    closers.push(() => server.close());
    const { pool: joined } = await connectToPool(path);
    joined.leave();
  });

  it("leases of a pool that this process left by force are over with it, and that is what their errors say", () => {
    const pool = make(2);
    const lease = pool.tryAcquire()!;
    pool.leave({ force: true });
    for (const use of [() => pool.bytes(lease), () => lease.release(), () => pool.retain(lease)])
      expect(use).toThrow(expect.objectContaining({ code: "ERR_POOL_DEAD" }));
  });

  it("that is being made ends with the pool", async () => {
    const pool = make(2);
    const child = start(pool, "deaf", "inherited");
    const made = codeOf(connectProcess(pool, child));
    pool.close();
    expect(await made).toBe("ERR_POOL_DEAD");
  });

  onEachWay("socket", "the other side produces, and its close ends the iteration", async (way) => {
    const pool = make(3);
    const { lane } = await meet(pool, "produce", way);
    const seen: number[] = [];
    for await (const { lease, data } of lane) {
      expect(pool.bytes(lease)[0]).toBe(data.n);
      seen.push(data.n);
      pool.release(lease);
    }
    expect(seen).toEqual(Array.from({ length: 20 }, (_, n) => n));
    await lane.close();
    expect(pool.stats().free).toBe(3);
  });

  onEachWay("ipc", "the other side closes at once: nothing more comes, and nothing more can be sent", async (way) => {
    const pool = make(1);
    const { lane } = await meet(pool, "close at once", way);
    expect(await lane.receive()).toBeUndefined();
    const lease = pool.tryAcquire()!;
    expect(await codeOf(lane.send(lease, { n: 1 }))).toBe("ERR_INACTIVE");
    pool.release(lease);
    await lane.close();
  });

  onEachWay("inherited", "killed while it holds leases: they are free again, and who waits gets one", async (way) => {
    const pool = make(3);
    const { lane, child } = await meet(pool, "hold", way);
    for (let n = 0; n < 3; n++) await lane.send(pool.tryAcquire()!, { n });
    expect(await line(child)).toEqual({ holds: 3 });
    const waiting = pool.acquire({ timeout: 60_000 });
    child.kill("SIGKILL");
    const lease = await waiting;
    expect(await codeOf(lane.receive())).toBe("ERR_INACTIVE");
    expect(await codeOf(lane.send(lease, { n: 1 }))).toBe("ERR_INACTIVE");
    pool.release(lease);
    await until(() => pool.stats().free === 3);
    pool.validate();
  });

  it("a worker of this process gets a membership that is the process's, and it is given away again when it ends", async () => {
    const pool = make(2, { members: 2 });
    for (let round = 0; round < 2; round++) {
      const worker = new Worker(new URL("../lane/lane.worker.ts", import.meta.url), {
        workerData: { job: "echo" },
        execArgv: [],
      });
      const lane = await pool.connect<Data>(worker);
      expect(pool.processes().filter((pid) => pid === process.pid)).toHaveLength(2);
      await lane.send(pool.tryAcquire()!, { n: 1 });
      const back = await lane.receive();
      pool.release(back!.lease);
      await lane.send(pool.tryAcquire()!, { n: 1 });
      await worker.terminate();
      await until(() => pool.stats().free === 2);
    }
    const handle = pool.reserve();
    expect(() => pool.reserve()).toThrow(/are taken/);
    pool.reclaim(handle);
  });

  it("back-pressure: at most a window is under way", async () => {
    const pool = make(8);
    const child = start(pool, "hold", "ipc", "advanced");
    const lane = await connectProcess<Data>(pool, child, { window: 2 });
    const [first, second, third] = [pool.tryAcquire()!, pool.tryAcquire()!, pool.tryAcquire()!];
    expect([lane.trySend(first, { n: 0 }), lane.trySend(second), lane.trySend(third), lane.credit]).toEqual([
      true,
      true,
      false,
      0,
    ]);
    await lane.send(third, { n: 3 });
    expect(lane.pool).toBe(pool);
  });

  it("data that cannot be sent is refused, and the lease stays", async () => {
    const pool = make(2);
    const { lane } = await meet(pool, "echo", "socket");
    const lease = pool.tryAcquire()!;
    expect(() => lane.trySend(lease, { n: (() => 1) as never })).toThrow(/could not be cloned/);
    expect(await codeOf(lane.send(lease, { n: "x".repeat(2 ** 21) as never }))).toBe("ERR_OUT_OF_RANGE");
    expect(pool.bytes(lease).length).toBe(4096);
    await lane.send(lease, { n: 1 });
  });

  it("a child that is deaf, leaves, or is already gone: no membership is lost", async () => {
    const pool = make(2, { members: 3 });
    const deaf = start(pool, "deaf", "ipc");
    for (let i = 0; i < 4; i++) expect(await codeOf(connectProcess(pool, deaf, { timeout: 20 }))).toBe("ERR_INACTIVE");
    const stop = new AbortController();
    const aborted = connectProcess(pool, deaf, { signal: stop.signal });
    stop.abort(new Error("enough"));
    expect(await codeOf(aborted)).toBe("Error: enough");
    const leaver = start(pool, "leave at once", "ipc");
    expect(await codeOf(connectProcess(pool, leaver))).toBe("ERR_INACTIVE");
    expect(await codeOf(connectProcess(pool, leaver))).toBe("ERR_INACTIVE");
    expect(await codeOf(connectProcess(pool, {} as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(pool.stats().members).toHaveLength(1);
  });

  it("killed at random moments while leases go round: none is lost", REPEATED, async () => {
    const seed = seedOf("killed while leases go round");
    const next = generator(seed);
    const pool = make(6);
    let moved = 0;
    const rounds = times(2, 8, "MILLPOND_SOAK_ROUNDS");
    for (let round = 0; round < rounds; round++) {
      const way = WAYS[next(3)]!;
      const { lane, child } = await meet(pool, "flood", way);
      setTimeout(() => child.kill("SIGKILL"), next(60));
      try {
        for (let n = 0; n < 4; n++) await lane.send(pool.tryAcquire()!, { n });
        for await (const { lease, data } of lane) {
          moved++;
          await lane.send(lease, data);
        }
      } catch (error) {
        expect(isMillpondError(error, "ERR_INACTIVE")).toBe(true);
      }
      await kill(child);
      // What this side has and nobody sent on: by its own doing, as a program's `finally` would.
      for (let index = 0; index < pool.count; index++) {
        const state = Atomics.load(pool.core.i32, stateAt(pool.core, index));
        const id = leaseOf(pool.core, index, state);
        if (pool.isHeld(id)) pool.releaseId(id);
      }
      await until(() => pool.stats().free === 6);
      pool.validate();
    }
    console.log(`killed while leases go round: ${JSON.stringify({ seed, rounds, moved })}`);
    expect(moved).toBeGreaterThan(0);
  });

  onEachWay(
    "socket",
    "killed after it gave a lease and before the message went out: the slot comes back",
    async (way) => {
      const pool = make(2);
      const { lane: other } = await meet(pool, "echo", "socket");
      const { lane, child } = await meet(pool, "send and die", way);
      const exit = child.signalCode === null ? once(child, "exit") : undefined;
      expect(await codeOf(lane.receive())).toBe("ERR_INACTIVE");
      await exit;
      await until(() => pool.stats().free === 2);
      pool.validate();
      // The other lane goes on.
      await other.send(pool.tryAcquire()!, { n: 1 });
      pool.release((await other.receive())!.lease);
    },
  );

  it("leases that lie in a ring are not taken for lost ones", async () => {
    const pool = make(2);
    const other = ProcessPool.attach(pool.reserve());
    const ring = LeaseRing.create(pool, 8, "pop");
    const pushed = LeaseRing.attach(other, ring.memory, "push");
    const id = other.tryAcquireId();
    expect(pushed.tryPush(id)).toBe(true);
    await giveBackFrom(pool, other.membership);
    expect(ring.tryPop()).toBe(id);
    pool.releaseId(id);
    other.leave();
  });

  it("a lease that a living thread sent, whose message waits in the port, is not taken for a lost one", async () => {
    const pool = make(3);
    const between = new MessageChannel();
    const door = new MessageChannel();
    const held: unknown[] = [];
    let isBusy = false;
    let port!: MessagePort;
    // Every message passes here, and waits while the pool's own thread is busy, as it were.
    const pass = (data: unknown): void => void (isBusy ? held.push(data) : port.postMessage(data));
    const target = {
      postMessage(request: { port: MessagePort }) {
        port = request.port;
        between.port1.on("message", pass);
        port.on("message", (data: unknown) => {
          // A port of its own: it says nothing.
          if ((data as { kind?: unknown }).kind === "millpond.life") return;
          between.port1.postMessage(data);
        });
        door.port1.postMessage({ ...request, port: between.port2, hasLife: false }, [between.port2]);
      },
    };
    const [lane, far] = await Promise.all([pool.connect<Data>(target as never), receiveLane(door.port2 as never)]);
    isBusy = true;
    await far.send((far.pool as SharedPool).tryAcquire()!, { n: 7 });
    const dying = await meet(pool, "send and die", "ipc");
    expect(await codeOf(dying.lane.receive())).toBe("ERR_INACTIVE");
    await until(() => held.length > 0 && pool.stats().free === 2);
    isBusy = false;
    for (const data of held.splice(0)) pass(data);
    const { lease, data } = (await lane.receive())!;
    expect(data).toEqual({ n: 7 });
    pool.release(lease);
    for (const one of [port, between.port1, door.port1, door.port2]) one.close();
  });

  it(
    "a peer that calls all slots ours, and sent by it, makes nothing throw, and no hold that is known is ended",
    REPEATED,
    async () => {
      const pool = make(2 ** 14);
      const { core } = pool;
      const other = ProcessPool.attach(pool.reserve());
      const kept = pool.tryAcquire()!;
      for (let round = 0; round < times(4, 20); round++) {
        for (let index = 0; index < core.count; index++) {
          if (index !== kept.index) Atomics.xor(core.i32, stateAt(core, index), core.me);
          core.i32[senderAt(core, index, core.member)] = senderWord(other.membership);
        }
        await giveBackFrom(pool, other.membership);
        expect(pool.isHeld(kept.id)).toBe(true);
      }
      pool.release(kept);
      other.leave({ force: true });
    },
  );

  it("a lease whose message was lost with its sender is given back, one that is known is not, nor another's", async () => {
    const pool = make(4);
    const [dead, other] = [0, 1].map(() => ProcessPool.attach(pool.reserve())) as [ProcessPool, ProcessPool];
    const kept = pool.tryAcquire()!;
    // Each moves the bit here, and the message is not written.
    const leases = [dead, other, dead].map((from) => {
      const id = from.tryAcquireId();
      const { member, status } = pool.membership;
      expect(prepareTransfer(from.core, id, member, status)).toBe(0);
      expect(commitTransfer(from.core, id, member, status, senderWord(from.membership))).toBe(0);
      return id;
    });
    // Joined besides: that hold stays.
    pool.retainId(leases[2]!);
    expect(await giveBackFrom(pool, dead.membership)).toBe(true);
    expect(pool.holders().map(({ id }) => id)).toEqual(
      [kept.id, leases[1]!, leases[2]!].sort((a, b) => (a & 3) - (b & 3)),
    );
    pool.releaseId(leases[2]!);
    dead.leave();
    other.leave();
    expect(await giveBackFrom(pool, other.membership)).toBe(false);
    expect(pool.stats().free).toBe(3);
    expect(pool.isHeld(kept.id)).toBe(true);
    pool.release(kept);
    pool.validate();
  });

  onEachWay(
    "ipc",
    "killed before its message went out, beside a peer that is stopped: the slot comes back",
    async (way) => {
      const pool = make(2);
      const other = await meet(pool, "echo", "socket");
      other.child.kill("SIGSTOP");
      await until(() => / T /.test(readFileSync(`/proc/${other.child.pid}/stat`, "utf8")));
      const { lane } = await meet(pool, "send and die", way);
      expect(await codeOf(lane.receive())).toBe("ERR_INACTIVE");
      await until(() => pool.stats().free === 2);
      pool.validate();
      expect(readFileSync(`/proc/${other.child.pid}/stat`, "utf8")).toMatch(/ T /);
      other.child.kill("SIGCONT");
      await other.lane.send(pool.tryAcquire()!, { n: 1 });
      pool.release((await other.lane.receive())!.lease);
    },
  );

  onEachWay(
    "inherited",
    "killed before its message went out, and a peer is blocked for that very slot: it gets it",
    async (way) => {
      const pool = make(1);
      const first = pool.tryAcquire()!;
      const waiter = await meet(pool, "block for a slot", "ipc");
      await until(() => pool.stats().members.some(({ self, waiting }) => waiting && !self));
      const { lane } = await meet(pool, "send back and die", way);
      await lane.send(first, { n: 1 });
      expect(await codeOf(lane.receive())).toBe("ERR_INACTIVE");
      expect(await line(waiter.child)).toBe("has it");
    },
  );
});

describe.runIf(nativeOps().availability.ok)("a server", () => {
  it.each([null, 5, { from: 1 }, { name: 5 }, { name: "x", from: { member: 0 } }])(
    "that offers %j is refused in the library's words, and no descriptor is left",
    async (offer) => {
      const pool = make(1);
      const path = join(folder, `s${++paths}`);
      const descriptors = serveDescriptors(`${path}.fd`);
      if (!descriptors.ok) throw new Error(descriptors.hint);
      const frame = (message: unknown): Buffer => {
        const body = serialize(message);
        const head = Buffer.alloc(4);
        head.writeUInt32LE(body.length);
        return Buffer.concat([head, body]);
      };
      const server = createServer((socket) => {
        socket.on("error", () => {});
        socket.write(frame("hello"));
        void descriptors.value.accept({ timeout: 100_000 }).then((accepted) => {
          if (!accepted.ok) return;
          sendDescriptor(accepted.value, pool.descriptor, new TextEncoder().encode("ticket"));
          closeDescriptor(accepted.value);
          socket.once("data", () => socket.write(frame({ offer })));
        });
      });
      await once(server.listen(path), "listening");
      const results: string[] = [await codeOf(connectToPool(path))];
      const [blocks, sockets] = [countOpen("/memfd:"), countOpen("socket:")];
      for (let i = 0; i < 2; i++) results.push(await codeOf(connectToPool(path)));
      for (const result of results) expect(result).toMatch(/^ERR_/);
      expect(countOpen("/memfd:")).toBeLessThanOrEqual(blocks);
      // This test's own server closes its ends when it hears of it.
      await until(() => countOpen("socket:") <= sockets);
      descriptors.value.close();
      server.close();
    },
  );

  it("serves several at once, is closed to others' eyes, and leaves nothing behind", async () => {
    const pool = make(4);
    const path = join(folder, `s${++paths}`);
    const server = await serveProcesses<Data>(pool, path);
    closers.push(() => server.close());
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const children = [1, 2].map(() => start(pool, "echo", path));
    const lanes: Lane<Data>[] = [];
    for await (const lane of server) if (lanes.push(lane) === 2) break;
    for (const lane of lanes) {
      await lane.send(pool.tryAcquire()!, { n: 1 });
      const back = await lane.receive();
      pool.release(back!.lease);
    }
    const exits = children.map((child) => once(child, "exit"));
    server.close();
    await Promise.all(lanes.map((lane) => lane.close()));
    expect(await Promise.all(exits)).toEqual([
      [0, null],
      [0, null],
    ]);
    expect(readdirSync(folder).filter((name) => name.startsWith(`s${paths}`))).toEqual([]);
    for await (const _ of server) throw new Error("it was closed");
  });

  it("a stranger without a ticket gets no membership; garbage ends its connection", async () => {
    const pool = make(2);
    const path = join(folder, `s${++paths}`);
    const server = await serveProcesses<Data>(pool, path);
    closers.push(() => server.close());
    for (const bytes of [Buffer.from("GET / HTTP/1.1\r\n\r\n"), Buffer.alloc(64, 0xff), Buffer.from([1, 0, 0, 0, 9])]) {
      const stranger = createConnection(path);
      stranger.on("error", () => {});
      stranger.resume();
      stranger.write(bytes);
      await once(stranger, "close");
    }
    expect(pool.stats().members).toHaveLength(1);
    // And others are served after it.
    const { lane, pool: same } = await connectToPool<Data>(path);
    expect(same.member).toBe(1);
    same.close();
    await lane.close().catch(() => {});
  });

  it("ends all loops over it when it is closed, or its pool by this process or another; its paths are gone", async () => {
    const ways = {
      close: (_: ProcessPool, server: { close(): void }) => server.close(),
      "the pool's close": (pool: ProcessPool) => pool.close({ force: true }),
      "its leave": (pool: ProcessPool) => pool.leave(),
      "another's close": (_: ProcessPool, _server: object, other: ProcessPool, clock: FakeClock) => {
        other.close({ force: true });
        clock.advance(250);
      },
    };
    for (const end of Object.values(ways)) {
      const pool = make(2);
      const other = ProcessPool.attach(pool.reserve());
      const path = join(folder, `s${++paths}`);
      const clock = new FakeClock();
      const server = await serveProcesses<Data>(pool, path, { clock });
      closers.push(() => server.close());
      const loops = [1, 2, 3].map(() => server[Symbol.asyncIterator]().next());
      // Each is at its wait by then.
      await new Promise((resolve) => setImmediate(resolve));
      end(pool, server, other, clock);
      for (const loop of loops) expect((await loop).done).toBe(true);
      expect(readdirSync(folder).filter((name) => name.startsWith(`s${paths}`))).toEqual([]);
      for await (const _ of server) throw new Error("it was closed");
      server.close();
      if (!pool.isOver) pool.close({ force: true });
      other.leave();
    }
  });

  it("a path that is taken, too long, or where nobody serves is refused with its reason", async () => {
    const pool = make(2);
    const path = join(folder, `s${++paths}`);
    const server = await serveProcesses(pool, path);
    closers.push(() => server.close());
    expect(await codeOf(serveProcesses(pool, path))).toBe("ERR_INACTIVE");
    expect(await codeOf(serveProcesses(pool, join(folder, "x".repeat(200))))).toBe("ERR_BAD_DATA");
    expect(await codeOf(connectToPool(join(folder, "nobody")))).toBe("ERR_INACTIVE");
    const ops = absentOps(notDone("unsupported", "KOFFI_ABSENT", "not installed"));
    expect(await codeOf(connectToPool(path, { ops }))).toBe("ERR_UNSUPPORTED");
    expect(await codeOf(connectToPool(5 as never))).toBe("ERR_INVALID_ARG_TYPE");
    for (const wrong of ["", "\0abstract"]) {
      expect(await codeOf(connectToPool(wrong))).toBe("ERR_INVALID_ARG_VALUE");
      expect(await codeOf(serveProcesses(pool, wrong))).toBe("ERR_INVALID_ARG_VALUE");
    }
  });

  it("a path of digits alone is a path, and opens no TCP port", async () => {
    const pool = make(2);
    // A number would be taken for a port, which every user of every machine could reach.
    const name = String(49_152 + (process.pid % 16_000));
    const before = process.cwd();
    process.chdir(folder);
    try {
      const server = await serveProcesses<Data>(pool, name);
      closers.push(() => server.close());
      expect(readdirSync(folder)).toContain(name);
      expect(await codeOf(connectToPool("1"))).toBe("ERR_INACTIVE");
      const [error] = await once(
        createConnection(Number(name), "127.0.0.1").on("connect", () => {}),
        "error",
      ).catch((cause: unknown) => [cause]);
      expect(error).toMatchObject({ code: "ECONNREFUSED" });
    } finally {
      process.chdir(before);
    }
  });

  it("a full pool says so to who connects", async () => {
    const pool = make(2, { members: 2 });
    const path = join(folder, `s${++paths}`);
    const server = await serveProcesses<Data>(pool, path);
    closers.push(() => server.close());
    const { pool: first } = await connectToPool<Data>(path);
    await expect(connectToPool(path)).rejects.toThrow(/memberships of shared pool "shared" are taken/);
    first.leave();
  });
});
