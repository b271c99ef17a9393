/** Lanes between this thread and real workers, the same tests over both transports. */
import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import type { Lane } from "../../../src/pools/lane/lane.ts";
import { watchExit } from "../../../src/pools/lane/liveness.ts";
import { leasePool } from "../../../src/pools/lane/receive.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { FULL } from "../../helpers/effort.ts";
import { reachableBytes } from "../../helpers/heap.ts";
import { code } from "../buffer/pools.ts";

type Data = { n: number };

const workers: Worker[] = [];
const complaints: unknown[] = [];

function spawn(job: string): Worker {
  const worker = new Worker(new URL("./lane.worker.ts", import.meta.url), {
    workerData: { job },
    execArgv: [],
    stderr: true,
  });
  worker.on("error", () => {});
  worker.on("message", (message) => {
    if (message !== "holding") complaints.push(message);
  });
  workers.push(worker);
  return worker;
}

afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.terminate()));
  expect(complaints.splice(0)).toEqual([]);
});

const free = (pool: ReturnType<typeof leasePool>): number => pool.stats().free;

describe.each(["shared", "transfer"] as const)("over %s memory", (transport) => {
  const open = (count = 4) => leasePool({ size: 1000, count, transport, name: "frames" });

  it("ends its waits on both sides when the pool is closed by force", async () => {
    const pool = open();
    const worker = spawn("report the end");
    const end = new Promise((resolve) => worker.once("message", (message) => resolve(message)));
    const lane = await pool.connect<Data>(worker);
    const held = pool.tryAcquire()!;
    const waiting = codeOf(lane.receive());
    pool.close({ force: true });
    expect([await waiting, await codeOf(lane.receive()), lane.isOpen]).toEqual([
      "ERR_POOL_DEAD",
      "ERR_POOL_DEAD",
      false,
    ]);
    expect([code(() => lane.trySend(held)), await end]).toEqual(["ERR_POOL_DEAD", "ERR_POOL_DEAD"]);
    complaints.splice(0);
    await lane.close();
  });

  it("ends the other side's iteration in good order when the pool is closed with no lease out", async () => {
    const pool = open();
    const worker = spawn("report the end");
    const end = new Promise((resolve) => worker.once("message", resolve));
    const lane = await pool.connect<Data>(worker);
    const waiting = codeOf(lane.receive());
    pool.close();
    expect([await waiting, await end]).toEqual(["ERR_POOL_DEAD", "end"]);
    complaints.splice(0);
  });

  it("ends the iterations of both sides in good order when the last lease of a retired pool is back", async () => {
    const pool = open();
    const worker = spawn("report the end");
    const end = new Promise((resolve) => worker.once("message", resolve));
    const lane = await pool.connect<Data>(worker);
    const held = pool.tryAcquire()!;
    const waiting = lane.receive();
    expect(pool.retire()).toHaveLength(1);
    await lane.send(held, { n: 1 });
    expect([await waiting, await end]).toEqual([undefined, "end"]);
    complaints.splice(0);
  });

  it("is not made to a worker that has ended, and takes no membership", async () => {
    const pool = open();
    const worker = spawn("deaf");
    await worker.terminate();
    const before = pool.stats();
    expect(await codeOf(pool.connect(worker))).toBe("ERR_INACTIVE");
    expect(pool.stats()).toEqual(before);
    pool.close();
  });

  it("that is being made ends with the pool", async () => {
    const pool = open();
    const made = codeOf(pool.connect(spawn("deaf")));
    pool.close();
    expect(await made).toBe("ERR_POOL_DEAD");
  });

  it("a lease goes there and back with its bytes and data, and is nobody's twice", async () => {
    const pool = open();
    const lane: Lane<Data> = await pool.connect<Data>(spawn("echo"));
    for (let n = 0; n < 10; n++) {
      const lease = pool.tryAcquire()!;
      pool.bytes(lease).fill(n);
      await lane.send(lease, { n });
      expect([
        code(() => pool.bytes(lease)),
        code(() => pool.release(lease)),
        code(() => lane.trySend(lease, { n })),
      ]).toEqual(["ERR_USE_AFTER_RELEASE", "ERR_DOUBLE_RELEASE", "ERR_USE_AFTER_RELEASE"]);
      const back = (await lane.receive())!;
      expect([back.lease.id, back.data.n, pool.bytes(back.lease)[0], pool.bytes(back.lease)[999]]).toEqual([
        lease.id,
        n * 1000,
        n + 1,
        n,
      ]);
      pool.release(back.lease);
    }
    await lane.close();
    expect(free(pool)).toBe(4);
  });

  it("the other side releases, and a wait here ends", async () => {
    const pool = open(1);
    const lane = await pool.connect<Data>(spawn("release"));
    for (let n = 0; n < 10; n++) await lane.send(await pool.acquire({ timeout: 60_000 }), { n });
    const last = await pool.acquire({ timeout: 60_000 });
    expect(pool.bytes(last)[0]).toBe(10);
    pool.release(last);
    await lane.close();
  });

  it("the other side takes slots of its own and sends them; iteration ends when it closes", async () => {
    const pool = open(2);
    const lane = await pool.connect<Data>(spawn("produce"), { window: 3 });
    const seen: number[] = [];
    for await (const { lease, data } of lane) {
      expect(new Set(pool.bytes(lease))).toEqual(new Set([data.n]));
      seen.push(data.n);
      pool.release(lease);
    }
    expect(seen).toEqual(Array.from({ length: 20 }, (_, n) => n));
    expect(code(() => lane.trySend(pool.tryAcquire()!, { n: 0 }))).toBe("ERR_INACTIVE");
    await lane.close();
  });

  it("back-pressure: at most a window is under way, more wait, by signal and time", async () => {
    const pool = open(8);
    const lane = await pool.connect<Data>(spawn("hold when asked"), { window: 2 });
    const slots = Array.from({ length: 8 }, () => pool.tryAcquire()!);
    expect([
      lane.trySend(slots[0]!, { n: 0 }),
      lane.trySend(slots[1]!, { n: 0 }),
      lane.trySend(slots[2]!, { n: 0 }),
      lane.credit,
    ]).toEqual([true, true, false, 0]);
    const stopped = new AbortController();
    const aborted = lane.send(slots[3]!, { n: 0 }, { signal: stopped.signal });
    const late = lane.send(slots[4]!, { n: 0 }, { timeout: 0 });
    stopped.abort(new Error("enough"));
    expect([await codeOf(aborted), await codeOf(late)]).toEqual(["Error: enough", "ERR_STARVED"]);
    workers[0]!.postMessage("go");
    for (const lease of slots.slice(2)) await lane.send(lease, { n: 0 });
    expect(free(pool)).toBe(0);
    await workers[0]!.terminate();
    expect(free(pool)).toBe(8);
    // The lane ends with its port, a little after the thread: what was sent before is still on its way.
    while (lane.isOpen) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(code(() => lane.trySend(slots[7]!, { n: 0 }))).toBe("ERR_INACTIVE");
  });

  for (const [job, fast] of [
    ["hold and die", "shared"],
    ["hold and exit", "transfer"],
  ] as const) {
    const tag = transport === fast ? {} : FULL;
    it(`the worker ends with leases in its hands (${job}): they are free again, who waits gets them`, tag, async () => {
      const pool = open(3);
      const worker = spawn(job);
      const lane = await pool.connect<Data>(worker, { window: 3 });
      for (let n = 0; n < 3; n++) await lane.send(pool.tryAcquire()!, { n });
      const waits = [pool.acquire({ timeout: 60_000 }), pool.acquire({ timeout: 60_000 })];
      await new Promise((resolve) => worker.once("message", resolve));
      for (const lease of await Promise.all(waits)) pool.release(lease);
      expect([free(pool), await codeOf(lane.receive()), await codeOf(lane.send(pool.tryAcquire()!, { n: 0 }))]).toEqual(
        [3, "ERR_INACTIVE", "ERR_INACTIVE"],
      );
      await lane.close();
    });
  }

  it("a worker that closes at once, one that never answers, one that ends before it does, a signal", async () => {
    const pool = open();
    const lane = await pool.connect<Data>(spawn("close at once"));
    expect(await lane.receive()).toBeUndefined();
    await lane.close();
    const deaf = new Worker("setTimeout(() => {}, 60_000)", { eval: true, execArgv: [] });
    workers.push(deaf);
    expect(await codeOf(pool.connect(deaf, { timeout: 20 }))).toBe("ERR_INACTIVE");
    expect(await codeOf(pool.connect(spawn("deaf")))).toBe("ERR_INACTIVE");
    expect(await codeOf(pool.connect(deaf, { signal: AbortSignal.timeout(20) }))).toMatch(/TimeoutError/);
    expect(await codeOf(pool.connect({} as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(free(pool)).toBe(4);
  });

  it("data that cannot be cloned is refused, and the lease stays", async () => {
    const pool = open();
    const lane = await pool.connect<unknown>(spawn("hold"));
    const lease = pool.tryAcquire()!;
    expect(() => lane.trySend(lease, () => {})).toThrow(/could not be cloned/);
    expect([pool.bytes(lease).length, lane.credit]).toEqual([1000, 8]);
    pool.release(lease);
    expect(free(pool)).toBe(4);
  });

  it("closing releases what came and was not taken; what is held stays", async () => {
    const pool = open(3);
    const lane = await pool.connect<Data>(spawn("echo"));
    const kept = pool.tryAcquire()!;
    for (let n = 0; n < 2; n++) await lane.send(pool.tryAcquire()!, { n });
    while (lane.pending < 2) await new Promise((resolve) => setTimeout(resolve, 1));
    const closed = lane.close();
    expect(code(() => lane.trySend(kept, { n: 0 }))).toBe("ERR_INACTIVE");
    await closed;
    expect([free(pool), pool.bytes(kept).length]).toEqual([2, 1000]);
  });
});

it("one listener for all lanes to a worker, and a worker that lives on keeps no pool whose lane was closed and left", async () => {
  const worker = spawn("echo");
  const heard: string[] = [];
  const { once } = worker;
  worker.once = function (this: Worker, event: string, listener: never) {
    heard.push(event);
    return once.call(this, event, listener);
  } as never;
  const told: string[] = [];
  const watch = (name: string) => ({ ended: () => void told.push(name), isSettled: () => name === "settled" });
  const listen = worker.once.bind(worker);
  const stop = worker.off.bind(worker);
  watchExit(worker, listen, stop, watch("settled"));
  watchExit(worker, listen, stop, watch("alive"));
  const lane = await SharedPool.create({ size: 1, count: 1 }).connect(worker);
  await lane.close();
  expect(heard).toEqual(["exit"]);
  await worker.terminate();
  expect(told).toEqual(["alive"]);
});

it("a worker for which another object stands at each connection has a few listeners at most, and its end is seen", async () => {
  const worker = spawn("again");
  const before = worker.listenerCount("exit");
  const pool = SharedPool.create({ size: 1, count: 1, members: 20 });
  const most: number[] = [];
  for (let n = 0; n < 12; n++) {
    const { threadId } = worker;
    const target = {
      threadId,
      postMessage: (message: unknown, list: never[]) => worker.postMessage(message, list),
      once: (event: "exit", listener: () => void) => worker.once(event, listener),
      off: (event: "exit", listener: () => void) => worker.off(event, listener),
    };
    await pool.connect(target);
    most.push(worker.listenerCount("exit") - before);
  }
  expect(Math.max(...most)).toBeLessThan(4);
  await worker.terminate();
  expect(pool.stats().members).toHaveLength(1);
});

it("a worker that lives on, and has left a pool that nobody here has any more, keeps nothing of it", async () => {
  const worker = spawn("leave");
  const dropped = await (async () => {
    const pool = SharedPool.create({ size: 1, count: 1 });
    await pool.connect(worker);
    while (pool.stats().members.length > 1) await new Promise((resolve) => setTimeout(resolve, 1));
    return new WeakRef(pool);
  })();
  // The watches of what is settled are looked at with the next one.
  await SharedPool.create({ size: 1, count: 1 }).connect(worker);
  await expect.poll(async () => (await reachableBytes()) > 0 && dropped.deref()).toBe(undefined);
});

it("memberships come back when connected workers end, one after another", async () => {
  const pool = SharedPool.create({ size: 10, count: 4, members: 2 });
  for (let i = 0; i < 2; i++) {
    const worker = spawn("hold");
    const lane = await pool.connect<Data>(worker);
    await lane.send(pool.tryAcquire()!, { n: i });
    await worker.terminate();
  }
  expect(pool.stats()).toMatchObject({ free: 4, reclaimed: 2, members: [{ member: 0 }] });
  pool.validate();
});
