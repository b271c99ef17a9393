/** What ends with a thread: the members of its workers and of theirs, by whichever call its end is told. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { FULL } from "../../helpers/effort.ts";

const workers: Worker[] = [];
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.terminate()));
});

/** Four slots, two of which the last of a line of workers holds; see lineage.worker.ts. */
function start(line: string, more: object = {}): { worker: Worker; holds: Promise<unknown> } {
  const worker = new Worker(new URL("./lineage.worker.ts", import.meta.url), {
    workerData: { line, ...more },
    execArgv: [],
  });
  workers.push(worker);
  return { worker, holds: once(worker, "message") };
}

/** The end is told by events; what waits for it in vain is ended by the test's time. */
async function freed(pool: SharedPool): Promise<void> {
  while (pool.stats().free < 4) await new Promise((resolve) => setTimeout(resolve, 1));
}

describe("what the last of a line of workers holds is free at the end of the first", () => {
  for (const line of ["c", "cl", "l", "ll", "lll", "clcl"]) {
    const tag = line === "clcl" ? {} : FULL;
    it(`where of those in between some left the pool and live: ${line}`, tag, async () => {
      const pool = SharedPool.create({ size: 64, count: 4 });
      const { worker, holds } = start(line);
      await pool.connect(worker);
      await holds;
      expect(pool.stats().held).toBe(2);
      await worker.terminate();
      await freed(pool);
      expect(pool.stats().members).toHaveLength(1);
      pool.validate();
    });
  }

  for (const line of ["c", "cl", "lc", "ll"]) {
    const tag = line === "lc" ? {} : FULL;
    it(`where the first came by a handle, and reclaim() is told of its end: ${line}`, tag, async () => {
      const pool = SharedPool.create({ size: 64, count: 4 });
      const handle = pool.reserve();
      const { worker, holds } = start(line, { handle });
      await holds;
      await worker.terminate();
      expect(pool.reclaim(handle)).toBe(2);
      expect(pool.stats().members).toHaveLength(1);
      pool.validate();
    });
  }

  it("where reclaim() is told its number alone", async () => {
    const pool = SharedPool.create({ size: 64, count: 4 });
    const handle = pool.reserve();
    const { worker, holds } = start("cl", { handle });
    await holds;
    await worker.terminate();
    expect(pool.reclaim(handle.membership.member)).toBe(2);
    expect(pool.stats().members).toHaveLength(1);
  });

  it("where one in between only reserved for the next, that one stays: who has a handle may be anybody", async () => {
    const pool = SharedPool.create({ size: 64, count: 4 });
    const handle = pool.reserve();
    const { worker, holds } = start("r", { handle });
    await holds;
    await worker.terminate();
    expect(pool.reclaim(handle)).toBe(0);
    expect(pool.stats().held).toBe(2);
  });
});

it("of a pool that was closed, reclaim() ends the workers of the thread, too: its memory gets another pool", async () => {
  const memory = new SharedArrayBuffer(SharedPool.bytesNeeded({ size: 64, count: 4 }));
  const pool = SharedPool.create({ size: 64, count: 4, memory });
  const handle = pool.reserve();
  const { worker, holds } = start("cl", { handle });
  await holds;
  await worker.terminate();
  pool.close({ force: true });
  pool.reclaim(handle);
  expect(SharedPool.create({ size: 64, count: 4, memory }).stats().free).toBe(4);
});

it("a reservation ends when its maker leaves: nobody joins by it, and its place is the next one's", () => {
  const pool = SharedPool.create({ size: 64, count: 1, members: 3 });
  const other = SharedPool.attach(pool.handle);
  const handle = other.reserve();
  other.leave();
  expect(() => SharedPool.attach(handle)).toThrow(expect.objectContaining({ code: "ERR_POOL_DEAD" }));
  for (let n = 0; n < 2; n++) pool.reserve();
  expect(() => pool.reserve()).toThrow(expect.objectContaining({ code: "ERR_POOL_FULL" }));
});
