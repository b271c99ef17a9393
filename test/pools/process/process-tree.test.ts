/** What a process leaves at its end, and what its threads leave while it lives: no slot, no member, no row. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import { ProcessPool, serveProcesses } from "../../../src/native.ts";
import { nativeOps } from "../../../src/os/load.ts";
import { FULL, REPEATED, times } from "../../helpers/effort.ts";

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0).reverse()) close();
});

interface Child {
  readonly child: ChildProcess;
  /** Has it do a job, and answers what it said. */
  does(job: string): Promise<string>;
}

/** A pool that is served, and the process that comes there. */
async function meet(size: number, more: readonly string[] = []): Promise<Child & { readonly pool: ProcessPool }> {
  const folder = mkdtempSync(join(tmpdir(), "mp-"));
  closers.push(() => rmSync(folder, { recursive: true }));
  const pool = ProcessPool.create({ size, count: 4, asyncWait: "poll" });
  closers.push(() => pool.close({ force: true }));
  const server = await serveProcesses(pool, join(folder, "socket"));
  closers.push(() => server.close());
  void (async () => {
    for await (const _ of server);
  })();
  const file = join(import.meta.dirname, "process-tree.child.ts");
  const child = spawn(process.execPath, [file, server.path, "serve", ...more], { stdio: ["pipe", "pipe", "inherit"] });
  closers.push(() => child.kill("SIGKILL"));
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  await lines.next();
  const does = async (job: string): Promise<string> => {
    child.stdin!.write(`${job}\n`);
    return (await lines.next()).value as string;
  };
  return { pool, child, does };
}

const rows = (pool: ProcessPool): number => pool.processes().filter((pid) => pid !== 0).length;

/** What comes back comes by looks of others; what does not is ended by the test's time. */
async function alone(pool: ProcessPool): Promise<void> {
  for (;;) {
    pool.reclaimEnded();
    pool.tryAcquire()?.release();
    if (pool.stats().free === 4 && pool.stats().members.length === 1 && rows(pool) === 1) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

describe.runIf(nativeOps().availability.ok)("a process is killed", () => {
  for (const [what, line, leaves, tag] of [
    ["has connected a worker of its own", "c", "", FULL],
    ["has reserved for a worker of its own", "r", "", {}],
    ["has connected one and left the pool", "l", "", FULL],
    ["has connected one, left the pool, and its process has left it, too", "l", "leaves", {}],
  ] as const) {
    it(`whose worker ${what}: what that one held is free, and its place is the next one's`, tag, async () => {
      const { pool, child, does } = await meet(64, [line, leaves]);
      expect(await does("line")).toBe("done");
      expect(pool.stats().held).toBe(2);
      // All of its threads are known to be of it, and so none of them is ended while it lives.
      for (const { member } of pool.stats().members) expect(pool.processes()[member]).not.toBe(0);
      pool.reclaimEnded();
      expect(pool.stats().held).toBe(2);
      child.kill("SIGKILL");
      await once(child, "exit");
      await alone(pool);
      for (let n = 0; n < 11; n++) pool.reserve();
      pool.validate();
    });
  }
});

/** At full length more often than there are places; each round looks at the rows, too. */
const ROUNDS = times(1, 13);

describe.runIf(nativeOps().availability.ok)("a row goes with its membership while its process lives", () => {
  it.each([
    ["of a worker whose maker had left the pool before", "left before its worker", 64],
    ["of a connection whose maker left the pool while it was made", "left while it connected", 64],
    ["of a thread's worker, also where more must be cleared than one call clears", "thread ends", 40 * 2 ** 20],
  ])("%s", REPEATED, async (_, job, size) => {
    const { pool, does } = await meet(size);
    for (let n = 0; n < ROUNDS; n++) {
      expect(await does(job)).toBe("done");
      await alone(pool);
    }
  });

  it("of what a thread had reserved that was reclaimed by hand", REPEATED, async () => {
    const pool = ProcessPool.create({ size: 64, count: 4, watch: Number.POSITIVE_INFINITY });
    closers.push(() => pool.close({ force: true }));
    for (let n = 0; n < ROUNDS; n++) {
      const handle = pool.reserve();
      const worker = new Worker(new URL("./process-reserve.worker.ts", import.meta.url), { execArgv: [] });
      worker.postMessage(handle);
      await once(worker, "message");
      await worker.terminate();
      pool.reclaim(handle);
      expect([pool.stats().members.length, rows(pool)]).toEqual([1, 1]);
    }
  });
});
