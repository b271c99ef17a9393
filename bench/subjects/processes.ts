/**
 * A frame of 8 MB to another process and back again, one under way: by lane, by a ring of leases and a futex, and
 * copied through a pipe or a socket. And taking and giving back slots, alone and while another process does the same.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { connectProcess, connectToPool, ProcessPool, receiveProcess, serveProcesses } from "../../src/native.ts";
import { nativeOps } from "../../src/os/load.ts";
import { createSharedMemory, openSharedMemory, type SharedMemory } from "../../src/os/shared-memory.ts";
import { waitForChange, wakeWaiters } from "../../src/os/wait.ts";
import type { Lane } from "../../src/pools/lane/lane.ts";
import { LeaseRing } from "../../src/pools/shared/lease-ring.ts";
import { SpscRing } from "../../src/pools/shared/ring.ts";
import { effortFromEnvironment } from "../lib/protocol.ts";
import { median, percentile } from "../lib/statistics.ts";
import { emit, openWindow, sink } from "../lib/subject.ts";
import { FRAME_BYTES } from "../lib/trace.ts";

const WAYS = ["lane-socket", "lane-ipc", "ring", "pipe", "socket", "acquire-one", "acquire-two"] as const;
type Way = (typeof WAYS)[number];

const [which, role, place = ""] = process.argv.slice(2) as [Way, string | undefined, string?];
if (!WAYS.includes(which)) throw new Error(`which one? ${WAYS.join(", ")}`);
const { availability } = nativeOps();
if (!availability.ok) throw new Error(availability.hint);

/** Words of the block beside the pool. */
const Word = { END: 0, OPERATIONS: 16, THERE: 32, BACK: 48 } as const;
/** Where the two rings begin in their blocks. */
const RING_SLOTS = 4;

/** One frame there and back. */
type Trip = () => Promise<void> | void;

function blockOf(bytes: number): SharedMemory {
  const made = createSharedMemory(bytes);
  if (!made.ok) throw new Error(made.hint);
  return made.value;
}

function inherited(descriptor: number): SharedMemory {
  const opened = openSharedMemory(descriptor);
  if (!opened.ok) throw new Error(opened.hint);
  return opened.value;
}

function pairs(pool: ProcessPool, n: number): void {
  for (let i = 0; i < n; i++) {
    const id = pool.tryAcquireId();
    sink.value = id;
    pool.releaseId(id);
  }
}

/** Reads whole frames; `done` after each. */
function readFrames(from: Readable, done: (last: Uint8Array) => void): void {
  let left = FRAME_BYTES;
  from.on("data", (chunk: Buffer) => {
    left -= chunk.length;
    if (left > 0) return;
    left += FRAME_BYTES;
    done(chunk);
  });
}

async function far(): Promise<void> {
  if (which === "pipe" || which === "socket") {
    const socket: Socket | undefined = which === "socket" ? createConnection(place) : undefined;
    const out: Writable = socket ?? process.stdout;
    const frame = new Uint8Array(FRAME_BYTES);
    readFrames(socket ?? process.stdin, () => {
      frame[0]!++;
      out.write(frame);
    });
    return;
  }
  if (which === "lane-socket" || which === "lane-ipc") {
    const { lane, pool } = which === "lane-ipc" ? await receiveProcess() : await connectToPool(place);
    for await (const { lease } of lane) {
      pool.bytes(lease)[0]!++;
      await lane.send(lease);
    }
    process.exit(0);
  }
  const pool = ProcessPool.attach(3);
  const block = inherited(4);
  const words = new Int32Array(block.buffer);
  if (which === "ring") {
    const there = LeaseRing.attach(pool, inherited(5).buffer, "pop");
    const back = LeaseRing.attach(pool, inherited(6).buffer, "push");
    for (let turn = 0; ; turn++) {
      waitForChange(words, Word.THERE, turn);
      if (Atomics.load(words, Word.END) !== 0) process.exit(0);
      let id = there.tryPop();
      while (id < 0) id = there.tryPop();
      pool.bytesOf(id)[0]!++;
      while (!back.tryPush(id));
      Atomics.store(words, Word.BACK, turn + 1);
      wakeWaiters(words, Word.BACK);
    }
  }
  pairs(pool, 100_000);
  while (Atomics.load(words, Word.END) === 0) {
    pairs(pool, 1000);
    Atomics.add(words, Word.OPERATIONS, 1000);
  }
  process.exit(0);
}

const stops: (() => unknown)[] = [];

function startChild(stdio: (number | "pipe" | "inherit" | "ignore" | "ipc")[], where = ""): ChildProcess {
  const child = spawn(process.execPath, [import.meta.filename, which, "far", where], { stdio });
  stops.push(() => child.kill());
  return child;
}

function byLane(pool: ProcessPool, lane: Lane<unknown>): Trip {
  return async () => {
    const lease = pool.tryAcquire()!;
    pool.bytes(lease)[0] = 1;
    await lane.send(lease);
    const back = (await lane.receive())!;
    pool.bytes(back.lease)[0]!++;
    pool.release(back.lease);
  };
}

function byCopy(to: Writable, from: Readable): Trip {
  const frame = new Uint8Array(FRAME_BYTES);
  let came = (): void => {};
  readFrames(from, () => came());
  return () =>
    new Promise((resolve) => {
      came = resolve;
      frame[0]!++;
      to.write(frame);
    });
}

async function byRing(pool: ProcessPool): Promise<Trip> {
  const block = blockOf(65536);
  const rings = [blockOf(65536), blockOf(65536)] as const;
  // A ring makes its own memory; its first words are all that there is to an empty one.
  for (const ring of rings) new Uint8Array(ring.buffer).set(new Uint8Array(SpscRing.create(RING_SLOTS).memory));
  const there = LeaseRing.attach(pool, rings[0].buffer, "push");
  const back = LeaseRing.attach(pool, rings[1].buffer, "pop");
  const words = new Int32Array(block.buffer);
  startChild(["ignore", "inherit", "inherit", ...[pool.descriptor, ...[block, ...rings].map((one) => one.descriptor)]]);
  while (!there.isMet || !back.isMet) await new Promise((resolve) => setTimeout(resolve, 5));
  let turn = 0;
  return () => {
    const id = pool.tryAcquireId();
    pool.bytesOf(id)[0] = 1;
    while (!there.tryPush(id));
    Atomics.store(words, Word.THERE, ++turn);
    wakeWaiters(words, Word.THERE);
    waitForChange(words, Word.BACK, turn - 1);
    let came = back.tryPop();
    while (came < 0) came = back.tryPop();
    pool.bytesOf(came)[0]!++;
    pool.releaseId(came);
  };
}

async function prepare(): Promise<Trip> {
  if (which === "pipe") {
    const child = startChild(["pipe", "pipe", "inherit"]);
    return byCopy(child.stdin!, child.stdout!);
  }
  const path = join(tmpdir(), `millpond-bench-${process.pid}`);
  if (which === "socket") {
    const server = createServer().listen(path);
    stops.push(() => rmSync(path, { force: true }));
    await once(server, "listening");
    startChild(["ignore", "inherit", "inherit"], path);
    const [socket] = (await once(server, "connection")) as [Socket];
    return byCopy(socket, socket);
  }
  const pool = ProcessPool.create({ size: FRAME_BYTES, count: 4, zero: "never" });
  if (which === "ring") return await byRing(pool);
  if (which === "lane-ipc")
    return byLane(pool, await connectProcess(pool, startChild(["ignore", "inherit", "inherit", "ipc"])));
  const server = await serveProcesses(pool, path);
  stops.push(() => server.close());
  startChild(["ignore", "inherit", "inherit"], path);
  for await (const lane of server) return byLane(pool, lane);
  throw new Error("the server ended");
}

/** Round trips: the median over all of them, and their p99.9. */
async function trips(): Promise<void> {
  const trip = await prepare();
  const effort = effortFromEnvironment();
  const warm = performance.now() + effort.warmUpNs / 1e6 + 300;
  while (performance.now() < warm) await trip();
  const window = openWindow();
  const times: number[] = [];
  const end = performance.now() + effort.sampleNs / 1e6;
  while (times.length < effort.samples && performance.now() < end) {
    const began = performance.now();
    await trip();
    times.push((performance.now() - began) * 1e6);
  }
  const counted = await window.close();
  emit({
    ns: median(times),
    p999: percentile(times, 0.999),
    ops: times.length,
    ...counted,
    library: which === "pipe" || which === "socket" ? "node" : "millpond",
  });
}

/** Pairs of take and give: wall time over those of both processes. */
async function acquires(): Promise<void> {
  const pool = ProcessPool.create({ size: 64, count: 1024, zero: "never" });
  const block = blockOf(65536);
  const words = new Int32Array(block.buffer);
  if (which === "acquire-two") {
    startChild(["ignore", "inherit", "inherit", pool.descriptor, block.descriptor]);
    while (Atomics.load(words, Word.OPERATIONS) === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const effort = effortFromEnvironment();
  pairs(pool, 200_000);
  const window = openWindow();
  const times: number[] = [];
  let operations = 0;
  // 24 ms a repetition, as the other subjects with two sides.
  const length = (effort.repetitionNs * 20) / 1e6;
  for (let i = 0; i < effort.repetitions; i++) {
    const before = Atomics.load(words, Word.OPERATIONS);
    const began = performance.now();
    let own = 0;
    let elapsed = 0;
    do {
      pairs(pool, 10_000);
      own += 10_000;
      elapsed = performance.now() - began;
    } while (elapsed < length);
    const both = own + Atomics.load(words, Word.OPERATIONS) - before;
    operations += both;
    times.push((elapsed * 1e6) / both);
  }
  const counted = await window.close();
  Atomics.store(words, Word.END, 1);
  emit({ ns: median(times), p999: null, ops: operations, ...counted, library: "millpond" });
}

if (role === "far") await far();
else {
  await (which.startsWith("acquire") ? acquires() : trips());
  for (const stop of stops) stop();
  process.exit(0);
}
