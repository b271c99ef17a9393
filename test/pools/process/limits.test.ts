/**
 * What a machine has too little of, and what is opened and closed very often: typed errors, and nothing is left over.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { MessageChannel } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import { connectToPool, ProcessPool, serveProcesses } from "../../../src/native.ts";
import { nativeOps } from "../../../src/os/load.ts";
import type { NativeOps } from "../../../src/os/native-ops.ts";
import { notDone } from "../../../src/os/result.ts";
import { receiveLane } from "../../../src/pools/lane/receive.ts";
import { TransferPool } from "../../../src/pools/lane/transfer-pool.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { answerOf, kill, MAY_KEEP_CODE, run } from "../../helpers/child.ts";
import { countOpen } from "../../helpers/descriptors.ts";
import { REPEATED, times } from "../../helpers/effort.ts";

const CHILD = join(import.meta.dirname, "limits.child.ts");
const HOLDER = join(import.meta.dirname, "process-pool.child.ts");
/** Where the kernel lists a process's descriptors: on Linux. */
const LISTED = "/proc/self/fd";
/** Those that a pool or a lane has: the test runner opens and closes files meanwhile. */
function descriptors(): number {
  return countOpen("/memfd:millpond", "socket:");
}

const pools: { leave(options: { force: boolean }): void }[] = [];
const children: ChildProcess[] = [];

afterEach(async () => {
  await Promise.all(children.splice(0).map(kill));
  for (const pool of pools.splice(0)) pool.leave({ force: true });
});

function make(options: Parameters<typeof ProcessPool.create>[0]): ProcessPool {
  const pool = ProcessPool.create(options);
  pools.push(pool);
  return pool;
}

/** Turns of the event loop until that is so: what a port's end sets off comes some turns later. */
async function until(isSo: () => boolean): Promise<void> {
  for (let turn = 0; turn < 10_000 && !isSo(); turn++) await new Promise((resolve) => setImmediate(resolve));
}

describe.runIf(nativeOps().availability.ok && existsSync(LISTED))("a machine that is full", () => {
  const real = nativeOps();
  const full = notDone("limit", "ENOSPC", "ftruncate: no space left on device");
  const cases: readonly (readonly [what: string, shared: Partial<NativeOps["shared"]>])[] = [
    ["no room for shared memory", { create: () => full }],
    ["no room to map it", { overlay: () => full }],
    ["no word about the new object", { inspect: () => full }],
  ];

  it.each(cases)("%s: a typed error that says so, no descriptor is left, and other pools go on", (_, shared) => {
    const other = make({ size: 64, count: 1 });
    const before = descriptors();
    for (let n = 0; n < 10; n++) {
      expect(() =>
        ProcessPool.create({ size: 64, count: 1, ops: { ...real, shared: { ...real.shared, ...shared } } }),
      ).toThrow(
        expect.objectContaining({ code: "ERR_ALLOCATION_FAILED", details: { status: "limit", errno: "ENOSPC" } }),
      );
    }
    expect(descriptors()).toBe(before);
    other.release(other.tryAcquire()!);
    other.validate();
  });

  it("a limit of 48 descriptors: the pool that is one too many is refused, and after another one's end it is made", async () => {
    const limited = ["sh", "-c", 'ulimit -n 48 && exec "$0" "$@"', process.execPath, CHILD];
    const folder = mkdtempSync(join(tmpdir(), "mp-"));
    try {
      const env = { ...process.env, XDG_RUNTIME_DIR: folder };
      const answer = answerOf<{ made: number }>(await run(limited, { stdio: ["ignore", "pipe", "pipe"], env }));
      expect(answer.made).toBeGreaterThan(1);
      expect(answer).toMatchObject({ code: "ERR_ALLOCATION_FAILED", errno: "EMFILE", works: true, again: true });
      // One was withdrawn, and one went with its pool, both without a descriptor to spare.
      expect(answer).toMatchObject({ names: [true, true], left: [] });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe.runIf(nativeOps().availability.ok && existsSync(LISTED))("a worker without a further descriptor", () => {
  it("is told so, and leaves no block behind when it is terminated", async () => {
    const file = join(import.meta.dirname, "full-worker.child.ts");
    const few = ["sh", "-c", 'ulimit -n 80 && exec "$0" "$@"', process.execPath, file];
    const answer = answerOf(await run(few, { stdio: ["ignore", "pipe", "pipe"] }));
    expect(answer).toEqual({ codes: ["ERR_ALLOCATION_FAILED", "ERR_ALLOCATION_FAILED"], left: 0 });
  });
});

describe.runIf(nativeOps().availability.ok && existsSync(LISTED))("a process that cannot say which one it is", () => {
  const few = ["sh", "-c", 'ulimit -n 64 && exec "$0" "$@"', process.execPath, HOLDER];

  it("is not let in without a descriptor to ask: nobody could see its end, and what it held would be lost", async () => {
    const pool = make({ size: 64, count: 1 });
    const stdio = ["ignore", "pipe", "pipe", pool.descriptor] as const;
    const exit = await run([...few, "open", "full"], { stdio: [...stdio] });
    expect(answerOf(exit)).toMatchObject({ code: "ERR_ALLOCATION_FAILED", details: { errno: "EMFILE" } });
    expect(pool.processes().filter((pid) => pid !== 0)).toEqual([process.pid]);
  });

  it("is let in when it was asked before, and what it holds when it is killed comes back", async () => {
    const pool = make({ size: 64, count: 1, watch: Number.POSITIVE_INFINITY });
    const child = spawn(few[0]!, [...few.slice(1), "hold", "1", "full", "early"], {
      stdio: ["ignore", "pipe", "inherit", pool.descriptor],
    });
    children.push(child);
    for await (const line of createInterface({ input: child.stdout! })) {
      expect(JSON.parse(line)).toEqual({ holds: 1 });
      break;
    }
    await kill(child);
    expect(pool.reclaimEnded()).toEqual({ freed: 1, members: 1 });
  });

  it("is not let in, and makes no pool, where it may not read /proc", async () => {
    const pool = make({ size: 64, count: 1 });
    const root = join(import.meta.dirname, "..", "..", "..");
    const may = ["--permission", "--allow-addons", "--allow-worker", `--allow-fs-read=${root}`, ...MAY_KEEP_CODE];
    for (const job of ["open", "create"]) {
      const exit = await run([process.execPath, ...may, HOLDER, job], {
        stdio: ["ignore", "pipe", "pipe", pool.descriptor],
      });
      expect(answerOf(exit)).toMatchObject({
        code: "ERR_UNSUPPORTED",
        message: expect.stringMatching(/ERR_ACCESS_DENIED.*let it read \/proc/),
      });
    }
    expect(pool.processes().filter((pid) => pid !== 0)).toEqual([process.pid]);
  });
});

describe.runIf(nativeOps().availability.ok && existsSync(LISTED))("a child that inherited the descriptor", () => {
  it("and forked another with it: when the child is killed its lease comes free, even where another process has the descriptor", async () => {
    const pool = make({ size: 64, count: 1, watch: Number.POSITIVE_INFINITY });
    // The second process inherits the descriptor, joins nothing, and lives on.
    const forking = spawn(
      "sh",
      ["-c", 'sleep 600 & echo "$!"; exec "$0" "$@"', process.execPath, HOLDER, "hold", "1"],
      {
        stdio: ["ignore", "pipe", "inherit", pool.descriptor],
      },
    );
    children.push(forking);
    const lines: string[] = [];
    for await (const line of createInterface({ input: forking.stdout! })) if (lines.push(line) === 2) break;
    const sleeper = Number(lines[0]);
    try {
      expect(JSON.parse(lines[1]!)).toEqual({ holds: 1 });
      expect(pool.tryAcquire()).toBeUndefined();
      await kill(forking);
      expect(existsSync(`/proc/${sleeper}/fd/3`)).toBe(true);
      expect(pool.reclaimEnded()).toEqual({ freed: 1, members: 1 });
      const lease = pool.tryAcquire()!;
      pool.bytes(lease)[0] = 1;
      pool.release(lease);
      // And what the other one has is the pool still, for one who joins by it.
      const joined = ProcessPool.attach(openSync(`/proc/${sleeper}/fd/3`, "r+"));
      pools.push(joined);
      expect(joined.member).toBe(1);
      joined.release(joined.tryAcquire()!);
      pool.validate();
    } finally {
      process.kill(sleeper, "SIGKILL");
    }
  });
});

describe("many lanes, opened and closed", REPEATED, () => {
  const count = times(20, 1000);

  it.each(["shared", "transfer"] as const)(
    "1,000 at full length, over %s memory: no member, port or listener is left",
    async (transport) => {
      const pool =
        transport === "shared" ? SharedPool.create({ size: 8, count: 2 }) : TransferPool.create({ size: 8, count: 2 });
      const ports = (): number => process.getActiveResourcesInfo().filter((name) => name === "MessagePort").length;
      const before = [ports(), process.listenerCount("exit"), process.listenerCount("message")];
      for (let n = 0; n < count; n++) {
        const { port1, port2 } = new MessageChannel();
        const receiving = receiveLane<{ n: number }>(port2 as never);
        const lane = await pool.connect<{ n: number }>(port1 as never);
        const far = await receiving;
        await lane.send(pool.tryAcquire()!, { n });
        const got = (await far.receive())!;
        expect(got.data.n).toBe(n);
        far.pool.release(got.lease);
        await lane.close();
        if (far.pool instanceof SharedPool) far.pool.leave();
        port1.close();
      }
      await until(() => ports() <= before[0]!);
      expect([ports(), process.listenerCount("exit"), process.listenerCount("message")]).toEqual(before);
      expect(pool.stats().free).toBe(2);
      if (pool instanceof SharedPool) expect(pool.stats().members).toHaveLength(1);
      pool.validate();
    },
  );

  it.runIf(nativeOps().availability.ok && existsSync(LISTED))(
    "300 at full length, through a socket: no member, descriptor or process listener is left",
    async () => {
      const folder = mkdtempSync(join(tmpdir(), "mp-"));
      const pool = make({ size: 8, count: 2 });
      const server = await serveProcesses<{ n: number }>(pool, join(folder, "s"));
      const lanes = server[Symbol.asyncIterator]();
      const listeners = (): number[] =>
        ["exit", "message", "disconnect"].map((name) => process.listenerCount(name as "exit"));
      const once = async (n: number): Promise<void> => {
        const connecting = connectToPool<{ n: number }>(server.path);
        const { value: lane } = await lanes.next();
        const far = await connecting;
        await lane!.send(pool.tryAcquire()!, { n });
        const got = (await far.lane.receive())!;
        expect(got.data.n).toBe(n);
        far.pool.release(got.lease);
        await Promise.all([lane!.close(), far.lane.close()]);
        far.pool.leave();
      };
      try {
        // What the first one opens for all of them stays.
        await once(-1);
        const settled = (): boolean => pool.stats().members.length === 1;
        await until(settled);
        const before = [descriptors(), ...listeners()];
        for (let n = 0; n < times(8, 300); n++) await once(n);
        await until(() => settled() && descriptors() <= before[0]!);
        expect([descriptors(), ...listeners()]).toEqual(before);
        expect(pool.stats().members).toHaveLength(1);
        expect(pool.processes().filter((pid) => pid !== 0)).toEqual([process.pid]);
        pool.validate();
      } finally {
        server.close();
        rmSync(folder, { recursive: true, force: true });
      }
    },
  );
});
