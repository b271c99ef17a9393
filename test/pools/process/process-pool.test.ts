/**
 * A pool between processes: how they join, how they wait, what becomes of those that are killed, and what is refused.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import { ProcessPool } from "../../../src/native.ts";
import { pools as listPools, type PoolMessage, record } from "../../../src/observe.ts";
import { nativeOps } from "../../../src/os/load.ts";
import { absentOps } from "../../../src/os/native-ops.ts";
import { notDone, type Outcome } from "../../../src/os/result.ts";
import { createSharedMemory, type SharedMemory } from "../../../src/os/shared-memory.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { answerOf, type Exit, kill, MAY_KEEP_CODE, run } from "../../helpers/child.ts";
import { countOpen } from "../../helpers/descriptors.ts";
import { REPEATED, SOAK_MS, seedOf, times } from "../../helpers/effort.ts";
import { generator } from "../../helpers/random.ts";
import { code } from "../buffer/pools.ts";

const CHILD = join(import.meta.dirname, "process-pool.child.ts");
const isRoot: boolean = process.geteuid?.() === 0;
const value = <T>(outcome: Outcome<T>): T => {
  if (!outcome.ok) throw new Error(`${outcome.status} ${outcome.errno}: ${outcome.hint}`);
  return outcome.value;
};

const pools: ProcessPool[] = [];
const blocks: SharedMemory[] = [];
const children: ChildProcess[] = [];

function make(options: Parameters<typeof ProcessPool.create>[0]): ProcessPool {
  const pool = ProcessPool.create(options);
  pools.push(pool);
  return pool;
}

function start(pool: ProcessPool, args: readonly string[], ...more: number[]): ChildProcess {
  const child = spawn(process.execPath, [CHILD, ...args], {
    stdio: ["ignore", "pipe", "inherit", pool.descriptor, ...more],
  });
  children.push(child);
  return child;
}

async function firstLine(child: ChildProcess): Promise<unknown> {
  for await (const line of createInterface({ input: child.stdout! })) return JSON.parse(line);
  throw new Error("the child said nothing");
}

function ask(args: readonly string[], descriptor: number): Promise<Exit> {
  return run([process.execPath, CHILD, ...args], { stdio: ["ignore", "pipe", "pipe", descriptor] });
}

afterEach(async () => {
  await Promise.all(children.splice(0).map(kill));
  for (const pool of pools.splice(0)) pool.leave({ force: true });
  for (const block of blocks.splice(0)) block.retire();
});

describe.runIf(nativeOps().availability.ok)("joining", () => {
  it("a child joins by an inherited descriptor, and its membership is named", async () => {
    const pool = make({ size: 4096, count: 4 });
    const child = start(pool, ["hold", "2"]);
    expect(await firstLine(child)).toEqual({ holds: 2 });
    expect(pool.stats().held).toBe(2);
    expect(pool.processes().slice(0, 3)).toEqual([process.pid, child.pid, 0]);
    expect(pool.handle.zero).toBe("release");
  });

  it("a process joins by name, and the name of a pool that is gone is refused with its reason", async () => {
    // Nobody but this test looks for the ended.
    const pool = make({ size: 4096, count: 1, watch: Number.POSITIVE_INFINITY });
    const name = `millpond-test-${process.pid}`;
    const published = value(pool.publish(name));
    expect(pool.publish(name)).toMatchObject({ ok: false, errno: "EEXIST" });
    expect(answerOf(await ask(["name", name], pool.descriptor))).toEqual({ member: 1, pid: true, waits: pool.waits });
    // What it held when it ended without releasing is free again, and nothing is left in it.
    expect(pool.reclaimEnded()).toEqual({ freed: 1, members: 1 });
    expect(pool.bytes(pool.tryAcquire()!).every((byte) => byte === 0)).toBe(true);
    published.withdraw();
    expect(code(() => ProcessPool.attach(name))).toBe("ERR_INACTIVE");
  });

  it("a second view in one process is a second member, and closing it ends the sharing there", () => {
    const pool = make({ size: 4096, count: 2 });
    const other = ProcessPool.attach(openSync(`/proc/self/fd/${pool.descriptor}`, "r+"));
    const lease = other.tryAcquire()!;
    other.bytes(lease).fill(5);
    expect(pool.stats().held).toBe(1);
    expect(code(() => pool.release(lease))).toBe("ERR_FOREIGN_RELEASE");
    expect(code(() => other.leave())).toBe("ERR_IN_USE");
    const view = other.bytes(lease);
    other.release(lease);
    expect(view[0]).toBe(0);
    other.leave();
    view.fill(9);
    expect(code(() => other.tryAcquireId())).toBe("ERR_POOL_DEAD");
    expect(pool.bytes(pool.tryAcquire()!)[0]).toBe(0);
    expect(pool.processes().filter((pid) => pid !== 0)).toEqual([process.pid]);
  });

  it("a pool that retires ends its sharing with the last lease, and one that another ended with the next look", async () => {
    const retired = make({ size: 4096, count: 2 });
    const lease = retired.tryAcquire()!;
    retired.retire();
    expect(retired.descriptor).toBeGreaterThan(0);
    lease.release();
    await Promise.resolve();
    expect(retired.descriptor).toBe(-1);
    const pool = make({ size: 4096, count: 2, watch: Number.POSITIVE_INFINITY });
    const other = ProcessPool.attach(openSync(`/proc/self/fd/${pool.descriptor}`, "r+"));
    other.close();
    expect(pool.descriptor).toBeGreaterThan(0);
    listPools();
    expect(pool.descriptor).toBe(-1);
    expect(code(() => pool.tryAcquireId())).toBe("ERR_POOL_DEAD");
    pool.close();
    pool.leave();
  });

  it("a look at a pool that another closed by force takes no bytes from a holder; its next call does", () => {
    const pool = make({ name: "looked at", size: 4096, count: 1, watch: Number.POSITIVE_INFINITY });
    const other = ProcessPool.attach(openSync(`/proc/self/fd/${pool.descriptor}`, "r+"));
    const lease = pool.tryAcquire()!;
    const view = pool.bytes(lease).fill(7);
    other.close({ force: true });
    expect(listPools().some(({ name }) => name === pool.name)).toBe(false);
    pool.lookAround();
    expect([view[0], pool.descriptor > 0]).toEqual([7, true]);
    expect(code(() => lease.release())).toBe("ERR_POOL_DEAD");
    expect([view[0], pool.descriptor]).toEqual([0, -1]);
  });

  it("that a member leaves stays the others' of its process: a thread's, and one's that came by the block", () => {
    const pool = make({ size: 4096, count: 1 });
    const other = ProcessPool.attach(openSync(`/proc/self/fd/${pool.descriptor}`, "r+"));
    const thread = ProcessPool.attach(pool.reserve());
    const second = ProcessPool.attach(pool.block!);
    pools.push(other, thread, second);
    const { block } = pool;
    const view = second.block!.bytes;
    pool.leave();
    // It has the descriptor as well, and may hand it on.
    expect(value(nativeOps().shared.inspect(second.descriptor)).inode).toBe(other.block!.inode);
    second.release(second.tryAcquire()!);
    second.leave();
    expect(block!.descriptor).toBe(-1);
    const lease = thread.tryAcquire()!;
    thread.bytes(lease).fill(7);
    expect(other.stats().held).toBe(1);
    thread.release(lease);
    other.release(other.tryAcquire()!);
    other.validate();
    thread.leave();
    // Nobody is left at that mapping who could end it: the engine does.
    expect(view).toHaveLength(block!.size);
  });

  it("by one block twice ends the sharing here with the second leave", () => {
    const pool = make({ size: 4096, count: 1 });
    const other = ProcessPool.attach(openSync(`/proc/self/fd/${pool.descriptor}`, "r+"));
    const second = ProcessPool.attach(pool.block!);
    pools.push(other);
    const lease = pool.tryAcquire()!;
    const view = pool.bytes(lease);
    second.leave();
    view.fill(7);
    pool.release(lease);
    pool.leave();
    view.fill(9);
    expect(other.bytes(other.tryAcquire()!).every((byte) => byte === 0)).toBe(true);
  });

  it("retires with the last lease of any process, and is closed for all of them", () => {
    const pool = make({ size: 64, count: 2 });
    const again = (): ProcessPool => ProcessPool.attach(openSync(`/proc/self/fd/${pool.descriptor}`, "r+"));
    const other = again();
    pools.push(other);
    const lease = other.tryAcquire()!;
    expect(code(() => pool.close())).toBe("ERR_IN_USE");
    expect(pool.retire().map(({ slot, members }) => [slot, members])).toEqual([[lease.index, [other.member]]]);
    expect([code(() => pool.tryAcquire()), code(() => other.tryAcquire()), code(again)]).toEqual(
      Array.from({ length: 3 }, () => "ERR_POOL_DEAD"),
    );
    other.bytes(lease).fill(1);
    lease.release();
    expect(code(() => lease.release())).toBe("ERR_POOL_DEAD");
    pool.close();
    expect([pool.descriptor, pool.memory.byteLength > 0]).toEqual([-1, true]);
  });

  it("is closed for every process by force, and the view of who closes it reads zeros", () => {
    const pool = make({ size: 64, count: 1 });
    const other = ProcessPool.attach(openSync(`/proc/self/fd/${pool.descriptor}`, "r+"));
    pools.push(other);
    const view = pool.bytes(pool.tryAcquire()!).fill(7);
    pool.close({ force: true });
    expect(view.every((byte) => byte === 0)).toBe(true);
    expect(code(() => other.tryAcquire())).toBe("ERR_POOL_DEAD");
  });

  it("as many as there are memberships, and one more is told so; a membership that was left is given away again", () => {
    const pool = make({ size: 64, count: 2, members: 3 });
    const again = (): ProcessPool => {
      const joined = ProcessPool.attach(openSync(`/proc/self/fd/${pool.descriptor}`, "r+"));
      pools.push(joined);
      return joined;
    };
    const first = again();
    again();
    expect(code(again)).toBe("ERR_POOL_FULL");
    first.leave();
    for (let i = 0; i < 20; i++) again().leave();
    expect(again().member).toBe(first.member);
  });

  it("while a membership is an ended process's and nobody clears up, one who joins is told so after a bounded wait, and gets it after the next look", async () => {
    const pool = make({ size: 64, count: 2, members: 2, watch: Number.POSITIVE_INFINITY });
    const child = start(pool, ["hold", "1"]);
    await firstLine(child);
    await kill(child);
    const again = (): ProcessPool => {
      const joined = ProcessPool.attach(openSync(`/proc/self/fd/${pool.descriptor}`, "r+"));
      pools.push(joined);
      return joined;
    };
    // This thread is the only member, and blocked.
    expect(code(again)).toBe("ERR_POOL_FULL");
    expect(pool.reclaimEnded()).toEqual({ freed: 1, members: 1 });
    expect(again().member).toBe(1);
  });

  it("a pool whose members were all killed is the next one's who has its descriptor, with every slot, cleared", async () => {
    const creator = spawn(process.execPath, [CHILD, "create and hold", "2", "2"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    children.push(creator);
    const lines = createInterface({ input: creator.stdout! })[Symbol.asyncIterator]();
    const { descriptor } = JSON.parse((await lines.next()).value!) as { descriptor: number };
    expect(JSON.parse((await lines.next()).value!)).toEqual({ holds: 2 });
    const open = (): number => openSync(`/proc/${creator.pid}/fd/${descriptor}`, "r+");
    const [first, second] = [open(), open()];
    const holder = spawn(process.execPath, [CHILD, "hold", "1"], { stdio: ["ignore", "pipe", "inherit", first] });
    children.push(holder);
    expect(await firstLine(holder)).toEqual({ holds: 1 });
    await kill(holder);
    await kill(creator);
    const heir = ProcessPool.attach(first, { watch: Number.POSITIVE_INFINITY });
    const other = ProcessPool.attach(second, { watch: Number.POSITIVE_INFINITY });
    pools.push(heir, other);
    expect(heir.stats()).toMatchObject({ free: 3, held: 0, reclaimed: 2 });
    for (let slot = 0; slot < 3; slot++) expect(heir.bytes(heir.tryAcquire()!).every((byte) => byte === 0)).toBe(true);
    expect(other.tryAcquire()).toBeUndefined();
    heir.validate();
    expect(heir.processes()).toEqual([process.pid, process.pid]);
  });

  it("a reserved membership is taken once; one that was taken back is refused", () => {
    const pool = make({ size: 64, count: 2, members: 3 });
    const handle = pool.reserve();
    const { membership } = handle;
    const descriptor = (): number => openSync(`/proc/self/fd/${pool.descriptor}`, "r+");
    const joined = ProcessPool.attach(descriptor(), { membership });
    pools.push(joined);
    expect(joined.member).toBe(membership.member);
    expect(code(() => ProcessPool.attach(descriptor(), { membership }))).toBe("ERR_POOL_DEAD");
    // Nor one that was never reserved: the membership of who made the pool, and a free one.
    const rows = pool.processes();
    for (const forged of [pool.membership, { member: 2, status: 2 }, { member: 2, status: 8 }]) {
      expect(code(() => ProcessPool.attach(descriptor(), { membership: forged }))).toBe("ERR_POOL_DEAD");
      expect(code(() => ProcessPool.attach({ ...pool.handle, membership: forged }))).toBe("ERR_POOL_DEAD");
    }
    expect(pool.processes()).toEqual(rows);
    const other = pool.reserve();
    pool.reclaim(other);
    expect(code(() => ProcessPool.attach(descriptor(), { membership: other.membership }))).toBe("ERR_POOL_DEAD");
    joined.leave();
    // Neither has taken a row with it.
    for (let i = 0; i < 10; i++) pool.reclaim(pool.reserve());
    const thread = ProcessPool.attach(pool.reserve());
    expect(thread.tryAcquire()).toBeDefined();
    thread.leave({ force: true });
  });
});

describe.runIf(nativeOps().availability.ok)("waiting", () => {
  const waits = [
    ["sync", "thread"],
    ["async", "thread"],
    ["async", "poll"],
  ] as const;

  it.each(waits)(
    "%s (%s): one process waits for what another gives back, and nobody misses it",
    REPEATED,
    async (how, asyncWait) => {
      const pool = make({ size: 4096, count: 1, asyncWait });
      const turns = times(4, 40);
      const child = start(pool, ["wait", how, String(turns)]);
      await firstLine(child);
      // It may be done first.
      const ended = once(child, "exit");
      for (let i = 0; i < turns; i++) {
        const lease = await pool.acquire({ timeout: 60_000 });
        await new Promise((resolve) => setTimeout(resolve, 3));
        pool.release(lease);
      }
      const [exit] = await ended;
      expect(exit).toBe(0);
      pool.validate();
    },
  );

  it("a stop word ends a wait that blocks, with its own error", () => {
    const words = new Int32Array(new SharedArrayBuffer(4));
    words[0] = 1;
    const pool = make({ size: 64, count: 1, stop: { words, index: 0 } });
    const lease = pool.tryAcquire()!;
    expect(code(() => pool.acquireSync(60_000))).toBe("ERR_INACTIVE");
    pool.release(lease);
    pool.release(pool.acquireSync(60_000));
  });

  it.each(["stopped by its word", "terminated"])("a thread that blocks is %s within a slice", async (how) => {
    const pool = make({ size: 64, count: 1 });
    const lease = pool.tryAcquire()!;
    const words = new Int32Array(new SharedArrayBuffer(4));
    const handle = pool.reserve();
    const worker = new Worker(new URL("./process-pool.worker.ts", import.meta.url), {
      workerData: { handle, words },
      execArgv: [],
    });
    await once(worker, "message");
    if (how === "terminated") await worker.terminate();
    else {
      Atomics.store(words, 0, 1);
      expect(await once(worker, "message")).toEqual(["ERR_INACTIVE"]);
    }
    await worker.terminate();
    pool.reclaim(handle);
    pool.release(lease);
    expect(pool.stats().members).toHaveLength(1);
  });

  it("without a futex it looks again and again", async () => {
    const real = nativeOps();
    const { futex } = absentOps(notDone("unsupported", "NO_SYMBOL", "none here"));
    const pool = make({ size: 64, count: 1, ops: { ...real, futex } });
    expect(pool.waits).toBe("poll");
    const child = start(pool, ["hold", "1"]);
    await firstLine(child);
    setTimeout(() => child.kill("SIGKILL"), 20);
    pool.release(await pool.acquire({ timeout: 60_000 }));
    expect(() => pool.release(pool.acquireSync(0))).not.toThrow();
    const lease = pool.tryAcquire()!;
    const began = performance.now();
    expect(code(() => pool.acquireSync(30))).toBe("ERR_STARVED");
    expect(performance.now() - began).toBeGreaterThan(25);
    pool.release(lease);
  });
});

describe.runIf(nativeOps().availability.ok)("a process that is killed", () => {
  it.each(["sync", "async"])("frees what it held by itself, for one who waits (%s)", async (how) => {
    const pool = make({ size: 4096, count: 3 });
    const child = start(pool, ["hold", "3"]);
    await firstLine(child);
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
    const lease = how === "sync" ? pool.acquireSync(60_000) : await pool.acquire({ timeout: 60_000 });
    expect(pool.bytes(lease).every((byte) => byte === 0)).toBe(true);
    pool.release(lease);
    expect(pool.stats()).toMatchObject({ free: 3, reclaimed: 1 });
    expect(pool.processes().filter((pid) => pid !== 0)).toEqual([process.pid]);
    pool.validate();
  });

  it("its membership is had by one who is started in its place at once, although all are taken", async () => {
    const pool = make({ size: 64, count: 1, members: 2, watch: Number.POSITIVE_INFINITY });
    const first = start(pool, ["hold", "1"]);
    await firstLine(first);
    expect(code(() => ProcessPool.attach(openSync(`/proc/self/fd/${pool.descriptor}`, "r+")))).toBe("ERR_POOL_FULL");
    const exit = once(first, "exit");
    first.kill("SIGKILL");
    // What starts it anew hears of its end; a busy machine may take longer for that than for the start.
    await exit;
    const second = start(pool, ["hold", "1"]);
    // It may have looked for a membership before, and found none: it looks again.
    setTimeout(() => pool.reclaimEnded(), 400);
    expect(await firstLine(second)).toEqual({ holds: 1 });
  });

  it("one that is stopped is not dead", async () => {
    const pool = make({ size: 4096, count: 1 });
    const child = start(pool, ["hold", "1"]);
    await firstLine(child);
    child.kill("SIGSTOP");
    expect(pool.reclaimEnded()).toEqual({ freed: 0, members: 0 });
    expect(code(() => pool.acquireSync(60))).toBe("ERR_STARVED");
    child.kill("SIGCONT");
  });

  const unshare = ["--pid", "--fork", "--kill-child", "--mount-proc"];
  const hasUnshare = spawnSync("unshare", [...unshare, "true"]).status === 0;
  it.runIf(hasUnshare)(
    "one in another PID namespace is not judged; reclaim() ends it, and its membership is free",
    async () => {
      const pool = make({ size: 64, count: 2, watch: 20 });
      const child = spawn("unshare", [...unshare, process.execPath, CHILD, "hold", "2"], {
        stdio: ["ignore", "pipe", "inherit", pool.descriptor],
      });
      children.push(child);
      expect(await firstLine(child)).toEqual({ holds: 2 });
      expect(pool.processes()[1]).toBe(1);
      await kill(child);
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect([pool.stats().held, pool.reclaimEnded()]).toEqual([2, { freed: 0, members: 0 }]);
      expect([pool.reclaim(1), pool.stats().free, pool.processes()[1]]).toEqual([2, 2, 0]);
    },
  );

  it(
    "at random moments, under load: no slot is lost, none has two holders, none shows another's bytes",
    REPEATED,
    async () => {
      const seed = seedOf("killed under load");
      const next = generator(seed);
      const pool = make({ size: 256, count: 8, members: 8 });
      const block = value(createSharedMemory(4096));
      blocks.push(block);
      const words = new Int32Array(block.buffer);
      const children: ChildProcess[] = [];
      let kills = 0;
      const spawnLoad = (): ChildProcess => start(pool, ["load", String(next(2 ** 30))], block.descriptor);
      const workers = times(2, 3);
      for (let i = 0; i < workers; i++) children.push(spawnLoad());
      const end = performance.now() + SOAK_MS;
      const least = times(3, 25);
      // Each is killed after so many operations of them all, however long the machine takes for them.
      while (kills < least || performance.now() < end) {
        const due = Atomics.load(words, 3) + 1 + next(200);
        while (Atomics.load(words, 3) < due) await new Promise((resolve) => setTimeout(resolve, 1));
        const at = next(children.length);
        await kill(children[at]!);
        kills++;
        children[at] = spawnLoad();
      }
      Atomics.store(words, 0, 1);
      const codes = await Promise.all(children.map(async (child) => child.exitCode ?? (await once(child, "exit"))[0]));
      pool.reclaimEnded();
      const slots = Array.from({ length: pool.count }, () => pool.tryAcquire());
      const report = { seed, kills, operations: words[3], doubled: words[1], dirty: words[2], codes };
      console.log(`killed under load: ${JSON.stringify(report)}`);
      expect(report).toMatchObject({ doubled: 0, dirty: 0, codes: children.map(() => 0) });
      expect(words[3]).toBeGreaterThanOrEqual(kills);
      expect(slots.filter((lease) => lease === undefined)).toEqual([]);
      expect(new Set(slots.map((lease) => lease!.index)).size).toBe(pool.count);
      for (const lease of slots) pool.release(lease!);
      pool.validate();
      expect(pool.processes().filter((pid) => pid !== 0)).toEqual([process.pid]);
    },
  );
});

describe.runIf(nativeOps().availability.ok)("what is refused", () => {
  it("an attach that is refused takes no membership: of a plain SharedPool, and of a pool that retires", () => {
    const plain = SharedPool.create({ size: 64, count: 2, members: 3 });
    for (let i = 0; i < 4; i++) expect(code(() => ProcessPool.attach(plain.handle))).toBe("ERR_BAD_DATA");
    for (let i = 0; i < 2; i++) plain.reserve();
    const pool = make({ size: 64, count: 2, members: 3 });
    const held = pool.tryAcquire()!;
    pool.retire();
    for (let i = 0; i < 4; i++) expect(code(() => ProcessPool.attach(pool.block!))).toBe("ERR_POOL_DEAD");
    expect(pool.stats().members).toHaveLength(1);
    pool.release(held);
  });

  const refusedBy = (attempt: () => unknown): { code: string; errno: unknown } => {
    try {
      attempt();
    } catch (error) {
      const { code: kind, details } = error as { code: string; details?: { errno?: unknown } };
      return { code: kind, errno: details?.errno };
    }
    throw new Error("it was not refused");
  };

  it("an ordinary file, a closed descriptor, a memory too short and one without a pool are refused", () => {
    const folder = mkdtempSync(join(tmpdir(), "mp-"));
    const file = openSync(join(folder, "file"), "w+");
    truncateSync(join(folder, "file"), 65536);
    expect(refusedBy(() => ProcessPool.attach(file))).toEqual({ code: "ERR_BAD_DATA", errno: "NOT_SEALED" });
    expect(() => closeSync(file)).toThrow("EBADF");
    expect(refusedBy(() => ProcessPool.attach(file))).toEqual({ code: "ERR_INACTIVE", errno: "EBADF" });
    rmSync(folder, { recursive: true });
    const empty = value(createSharedMemory(65536));
    blocks.push(empty);
    expect(refusedBy(() => ProcessPool.attach(empty))).toEqual({ code: "ERR_BAD_DATA", errno: undefined });
    // It was the caller's, and is.
    expect(empty.descriptor).toBeGreaterThan(0);
    const pool = make({ size: 65536, count: 4 });
    new Uint8Array(empty.buffer).set(new Uint8Array(pool.memory, 0, 65536));
    expect(() => ProcessPool.attach(empty)).toThrow(/promises/);
  });

  it.runIf(isRoot)("memory of another user is refused", async () => {
    const pool = make({ size: 64, count: 1 });
    expect(answerOf(await ask(["open", "nobody"], pool.descriptor))).toMatchObject({
      code: "ERR_BAD_DATA",
      details: { status: "refused", errno: "FOREIGN_USER" },
    });
    expect(pool.stats().members).toHaveLength(1);
  });

  it("a pool where nothing native runs: unsupported, and why", () => {
    const ops = absentOps(notDone("unsupported", "KOFFI_ABSENT", 'the package "koffi" is not installed'));
    expect(() => ProcessPool.create({ size: 64, count: 1, ops })).toThrow(/not installed/);
    expect(code(() => ProcessPool.create({ size: 64, count: 1, ops }))).toBe("ERR_UNSUPPORTED");
    expect(code(() => ProcessPool.attach(3, { ops }))).toBe("ERR_UNSUPPORTED");
    expect(code(() => ProcessPool.attach("some-name", { ops }))).toBe("ERR_UNSUPPORTED");
  });

  it("no worker, by the runtime's permissions: acquire() looks again and again instead", async () => {
    const pool = make({ size: 64, count: 1 });
    const lease = pool.tryAcquire()!;
    const may = ["--permission", "--allow-addons", "--allow-fs-read=*", ...MAY_KEEP_CODE];
    const child = spawn(process.execPath, [...may, CHILD, "wait", "async", "1"], {
      stdio: ["ignore", "pipe", "inherit", pool.descriptor],
    });
    children.push(child);
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    expect(JSON.parse((await lines.next()).value!)).toEqual({ ready: true });
    // It has looked in vain, and waits.
    while (pool.stats().members.every(({ self, waiting }) => self || !waiting))
      await new Promise((resolve) => setTimeout(resolve, 5));
    pool.release(lease);
    expect(JSON.parse((await lines.next()).value!)).toEqual({ worst: expect.any(Number) });
  });

  it("the example ends well where native code is forbidden, and says why", async () => {
    const example = join(import.meta.dirname, "..", "..", "..", "examples", "two-process-frames.ts");
    const exit = await run([process.execPath, "--permission", "--allow-fs-read=*", ...MAY_KEEP_CODE, example]);
    expect([exit.code, exit.stdout]).toEqual([0, expect.stringMatching(/not to be had here: .*--allow-addons/)]);
  });

  it("arguments of the wrong type, before anything is made", () => {
    const bad =
      (options: object): (() => unknown) =>
      () =>
        ProcessPool.create(options as never);
    expect(code(bad({ size: 0, count: 1 }))).toBe("ERR_OUT_OF_RANGE");
    expect(code(bad({ size: 64, count: 1, watch: 0 }))).toBe("ERR_OUT_OF_RANGE");
    expect(code(bad({ size: 64, count: 1, asyncWait: "magic" }))).toBe("ERR_INVALID_ARG_VALUE");
    expect(code(bad({ size: 64, count: 1, stop: {} }))).toBe("ERR_INVALID_ARG_TYPE");
    expect(code(bad({ size: 64, count: 1, name: 5 }))).toBe("ERR_INVALID_ARG_TYPE");
    expect(code(() => ProcessPool.attach(null as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(code(() => ProcessPool.attach(-1))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => ProcessPool.attach({} as never))).toBe("ERR_INVALID_ARG_TYPE");
  });
});

describe.runIf(nativeOps().availability.ok)("a process pool that is made while a recorder runs", () => {
  it("is heard of when it is whole, with its own leases and not the others'", () => {
    const heard: string[] = [];
    const onPool = (message: unknown): void => {
      const { id, event, kind } = message as PoolMessage;
      const listed = listPools().find((pool) => pool.id === id)!;
      heard.push(`${kind} ${event}, member ${listed.members().findIndex(({ self }) => self)}`);
    };
    subscribe("millpond:pool", onPool);
    const recorder = record();
    try {
      const maker = make({ name: "recorded", size: 64, count: 4, members: 3 });
      const theirs = maker.tryAcquire()!;
      const other = ProcessPool.attach(maker.block!);
      pools.push(other);
      const own = other.tryAcquire()!;
      other.release(own);
      maker.release(theirs);
      expect(heard).toEqual(["ProcessPool create, member 0", "ProcessPool create, member 1"]);
      const { pools: all, events } = recorder.recording();
      const recorded = all.slice(-2);
      const of = (n: number): string[] =>
        events.filter(({ pool }) => pool === recorded[n]!.id).map(({ type, subject }) => `${type} ${subject}`);
      expect(recorded.map(({ kind, count }) => [kind, count])).toEqual([
        ["ProcessPool", 4],
        ["ProcessPool", 4],
      ]);
      expect(of(0)).toEqual(["acquire", "release"].map((type) => `${type} ${theirs.index}`));
      expect(of(1)).toEqual(["acquire", "release"].map((type) => `${type} ${own.index}`));
    } finally {
      recorder.stop();
      unsubscribe("millpond:pool", onPool);
    }
  });

  it("is not listed where it cannot be made", () => {
    const before = listPools().length;
    expect(() => ProcessPool.attach(1_000_000)).toThrow();
    expect(listPools()).toHaveLength(before);
  });
});

describe.runIf(nativeOps().availability.ok)("leaks", () => {
  it.runIf(process.platform === "linux")(
    "the thread that sleeps for asynchronous waits starts at the first of them, and the wait is served by it",
    async () => {
      const threads = (): number =>
        readdirSync("/proc/self/task").filter((id) => {
          try {
            return readFileSync(`/proc/self/task/${id}/comm`, "utf8").startsWith("millpond-wait");
          } catch {
            return false;
          }
        }).length;
      const before = threads();
      const pool = make({ size: 64, count: 1 });
      const lease = pool.acquireSync();
      expect(threads()).toBe(before);
      const waits = pool.acquire({ timeout: 60_000 });
      // Node names its threads, where the system lets it, only once they run.
      const helper = (pool as unknown as { waiter: { waitAsync: unknown } }).waiter;
      while (helper.waitAsync === undefined) await new Promise((resolve) => setTimeout(resolve, 1));
      expect(typeof helper.waitAsync).toBe("function");
      pool.release(lease);
      (await waits).release();
    },
  );

  it("a hundred pools that were closed leave no descriptor", () => {
    const open = (): number => countOpen("/memfd:millpond-pool");
    const before = open();
    for (let i = 0; i < 100; i++) {
      const pool = ProcessPool.create({ size: 4096, count: 2 });
      pool.release(pool.tryAcquire()!);
      pool.leave();
      expect(code(() => ProcessPool.attach(pool.block!))).toBe("ERR_BAD_DATA");
    }
    expect(open()).toBe(before);
  });
});
