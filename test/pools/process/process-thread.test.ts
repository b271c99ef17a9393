/** A thread that joined a pool as a process does, and ends while its process lives. */
import { once } from "node:events";
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import { ProcessPool, serveProcesses } from "../../../src/native.ts";
import { nativeOps } from "../../../src/os/load.ts";
import { hasThreadEnded, ownIdentity } from "../../../src/os/process-liveness.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { countMapped, countOpen } from "../../helpers/descriptors.ts";

const pools: ProcessPool[] = [];
afterEach(() => {
  for (const pool of pools.splice(0)) pool.close({ force: true });
});

async function start(workerData: unknown, file = "./process-thread.worker.ts"): Promise<Worker> {
  const worker = new Worker(new URL(file, import.meta.url), { workerData, execArgv: [] });
  await new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  return worker;
}

/** The kernel wakes who waits for a thread a moment before it takes that out of /proc. */
async function until(isSo: () => boolean, pool: ProcessPool): Promise<void> {
  for (let n = 0; n < 10_000 && !isSo(); n++) {
    pool.reclaimEnded();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  expect(isSo()).toBe(true);
}

/** Blocks of memory that this process has open or mapped, and its sockets. */
function held(): number {
  return countOpen("/memfd:millpond", "socket:") + countMapped();
}

describe.runIf(nativeOps().availability.ok)("a thread that makes a pool, serves it and connects", () => {
  for (const how of ["terminate", "exit", "throw"] as const) {
    it(`ends by ${how}: no descriptor and no memory stays, and its path is served again`, async () => {
      const folder = mkdtempSync(join(tmpdir(), "mp-"));
      const path = join(folder, "socket");
      const pool = ProcessPool.create({ size: 64, count: 1 });
      pools.push(pool);
      const before = held();
      const worker = await start({ path }, "./process-serve.worker.ts");
      expect(held()).toBeGreaterThan(before);
      const ended = new Promise((resolve) => worker.once("exit", resolve));
      worker.on("error", () => {});
      if (how === "terminate") await worker.terminate();
      else worker.postMessage(how);
      await ended;
      await until(() => held() === before, pool);
      rmSync(path, { force: true });
      (await serveProcesses(pool, path)).close();
      rmSync(folder, { recursive: true });
    });
  }
});

describe.runIf(nativeOps().availability.ok)("a descriptor that a thread gave to the library", () => {
  for (const how of ["attach fails", "open fails", "leave"]) {
    it(`is no more that thread's (${how}): its end closes nothing that has the number since`, async () => {
      const pool = ProcessPool.create({ size: 64, count: 1 });
      pools.push(pool);
      const path = how === "leave" ? `/proc/self/fd/${pool.descriptor}` : "/dev/null";
      const file = new URL("./process-given.worker.ts", import.meta.url);
      const worker = new Worker(file, { workerData: { path, how }, execArgv: [] });
      const [told] = (await once(worker, "message")) as [{ descriptor: number; warnings: string[] }];
      expect(told.warnings).toEqual([]);
      // The lowest number that is free comes first, so one of the next is that one.
      const mine: number[] = [];
      while (!mine.includes(told.descriptor)) mine.push(openSync(import.meta.filename, "r"));
      await worker.terminate();
      expect(mine.map((number) => fstatSync(number).isFile())).toEqual(mine.map(() => true));
      for (const number of mine) closeSync(number);
    });
  }
});

describe.runIf(nativeOps().availability.ok)("a thread that joined as a process does", () => {
  it("by connectToPool(): what it held is free at its end, its place too, and its lane says so", async () => {
    const folder = mkdtempSync(join(tmpdir(), "mp-"));
    const pool = ProcessPool.create({ size: 64, count: 4, members: 4, asyncWait: "poll" });
    pools.push(pool);
    const server = await serveProcesses(pool, join(folder, "socket"));
    const worker = await start({ path: server.path });
    const { value: lane } = await server[Symbol.asyncIterator]().next();
    const received = codeOf(lane!.receive());
    expect(pool.stats().free).toBe(2);
    expect(pool.reclaimEnded()).toEqual({ freed: 0, members: 0 });
    await worker.terminate();
    expect(await received).toBe("ERR_INACTIVE");
    await until(() => pool.stats().free === 4, pool);
    expect(pool.stats().members).toHaveLength(1);
    pool.validate();
    // Each with its row.
    for (let n = 0; n < 3; n++) pool.reserve();
    server.close();
    rmSync(folder, { recursive: true });
  });

  it("by attach(): the next look finds it, and not the others of its process", async () => {
    const pool = ProcessPool.create({ size: 64, count: 8, members: 6, watch: Number.POSITIVE_INFINITY });
    pools.push(pool);
    const workers: Worker[] = [];
    for (let n = 0; n < 2; n++) {
      workers.push(await start({ descriptor: openSync(`/proc/self/fd/${pool.descriptor}`, "r+") }));
    }
    await workers[0]!.terminate();
    expect(pool.stats().free).toBe(4);
    await until(() => pool.stats().free !== 4, pool);
    expect(pool.stats().free).toBe(6);
    expect(pool.reclaimEnded()).toEqual({ freed: 0, members: 0 });
    await workers[1]!.terminate();
    await until(() => pool.stats().free === 8, pool);
    expect(pool.stats().members).toHaveLength(1);
    pool.validate();
  });

  it("is judged by its number and its start, and where its process is not there nothing is known", () => {
    const { pid, start } = ownIdentity();
    expect(hasThreadEnded(pid, pid, start!)).toBe(false);
    expect(hasThreadEnded(pid, pid, start! + 1)).toBe(true);
    expect(hasThreadEnded(pid, 2 ** 22 - 1, start!)).toBe(true);
    expect(hasThreadEnded(2 ** 22 - 1, 2 ** 22 - 1, start!)).toBe(false);
  });
});
