/** A connection that is given up: what the other thread has by then stays its own. */
import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import { type Lane, type LanePort, MessageType } from "../../../src/pools/lane/lane.ts";
import { LeaseRing } from "../../../src/pools/shared/lease-ring.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { FakeClock } from "../../../src/testing.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { FULL } from "../../helpers/effort.ts";
import { code } from "../buffer/pools.ts";

const workers: Worker[] = [];
afterEach(() => Promise.all(workers.splice(0).map((worker) => worker.terminate())));

function start(file: string, workerData: unknown): Worker {
  const worker = new Worker(new URL(file, import.meta.url), { workerData, execArgv: [] });
  workers.push(worker);
  return worker;
}

/** As long as this thread waits here, it hears nothing from the other one. */
function waitFor(words: Int32Array): void {
  while (Atomics.load(words, 0) === 0) Atomics.wait(words, 0, 0, 1000);
}

describe("an attempt that is given up after the worker has joined, and before it was heard", () => {
  for (const [way, tag] of [
    ["signal", FULL],
    ["timeout", {}],
  ] as const)
    it(`by its ${way}: the worker keeps its lease, and nobody else gets it`, tag, async () => {
      const words = new Int32Array(new SharedArrayBuffer(4));
      const pool = SharedPool.create({ size: 64, count: 1, members: 2 });
      const worker = start("./connect.worker.ts", words);
      const clock = new FakeClock();
      const aborted = new AbortController();
      const connected = pool.connect(worker, way === "signal" ? { signal: aborted.signal } : { clock, timeout: 500 });
      connected.catch(() => {});
      await new Promise((resolve) => worker.once("online", resolve));
      waitFor(words);
      if (way === "signal") aborted.abort();
      else clock.advance(500);
      await expect(connected).rejects.toThrow();
      expect(pool.tryAcquire()).toBeUndefined();
      expect(pool.holders()).toHaveLength(1);
      const said = new Promise((resolve) => worker.once("message", resolve));
      const ended = new Promise((resolve) => worker.once("exit", resolve));
      worker.postMessage("end");
      expect([await said, await ended]).toEqual([66, 0]);
      // Its end is still waited for.
      expect(pool.stats().free).toBe(1);
      pool.reserve();
    });
});

describe("an attempt that is given up before the worker has joined", () => {
  it("takes the membership back at once", async () => {
    const pool = SharedPool.create({ size: 64, count: 1, members: 2 });
    const worker = start("./deaf.worker.mjs", undefined);
    for (let i = 0; i < 3; i++) {
      const aborted = new AbortController();
      const connected = pool.connect(worker, { signal: aborted.signal });
      aborted.abort();
      await expect(connected).rejects.toThrow();
    }
    pool.reserve();
    pool.validate();
  });
});

describe("a worker that is terminated, with workers of its own", () => {
  it.each([
    ["that hold slots", true, 3],
    ["one of which has not answered yet", false, 2],
  ])("%s: what all of them held is free, and every place", async (_, answers, held) => {
    const pool = SharedPool.create({ size: 64, count: 4, members: 4 });
    const worker = start("./nested.worker.ts", { depth: 2, answers });
    // Its message may come in the same turn as the end of the connection.
    const said = new Promise((resolve) => worker.once("message", resolve));
    await pool.connect(worker);
    await said;
    expect(pool.stats().held).toBe(held);
    await worker.terminate();
    expect(pool.stats().held).toBe(0);
    for (let i = 0; i < 3; i++) pool.reserve();
    pool.validate();
  });
});

describe("a worker that is terminated while it connects over a port", () => {
  it("takes what it has reserved with it; nobody joins from it, and one who has joined stays", async () => {
    const pool = SharedPool.create({ size: 64, count: 4, members: 5 });
    const { port1, port2 } = new MessageChannel();
    const worker = new Worker(new URL("./port-connector.worker.ts", import.meta.url), {
      workerData: port1,
      transferList: [port1 as never],
      execArgv: [],
    });
    workers.push(worker);
    const said = new Promise<[SharedPool["handle"], SharedPool["handle"]]>((resolve) =>
      worker.once("message", resolve),
    );
    await pool.connect(worker);
    const [joins, late] = await said;
    const joined = SharedPool.attach(joins);
    // The third is that of the attempt over the port, which is made in the same turn as it is said.
    while (pool.stats().members.length < 5) await new Promise((resolve) => setImmediate(resolve));
    expect(code(() => pool.reserve())).toBe("ERR_POOL_FULL");
    await worker.terminate();
    port2.close();
    expect(pool.stats().members).toHaveLength(2);
    expect(code(() => SharedPool.attach(late))).toBe("ERR_POOL_DEAD");
    joined.tryAcquire()!.release();
    pool.validate();
  });

  it("leaves what another member reserved than the one that left, also the next one in its place", () => {
    const pool = SharedPool.create({ size: 64, count: 4, members: 5 });
    const first = SharedPool.attach(pool.handle);
    const kept = pool.reserve();
    const lost = first.reserve();
    first.leave();
    const second = SharedPool.attach(pool.handle);
    expect(second.member).toBe(first.member);
    const own = second.reserve();
    first.leave({ force: true });
    expect(code(() => SharedPool.attach(lost))).toBe("ERR_POOL_DEAD");
    for (const handle of [kept, own]) SharedPool.attach(handle).tryAcquire()!.release();
  });
});

describe("a wait that only the end of the pool can end", () => {
  it("of a send, and of an attempt to connect, when another member closes the pool by force", async () => {
    const pool = SharedPool.create({ size: 8, count: 4 });
    const lane = await pool.connect(start("./lane.worker.ts", { job: "hold when asked" }), { window: 1 });
    const connecting = codeOf(pool.connect(start("./deaf.worker.mjs", undefined)));
    await lane.send(pool.tryAcquire()!);
    const sending = codeOf(lane.send(pool.tryAcquire()!));
    SharedPool.attach(pool.handle).close({ force: true });
    expect(await Promise.all([sending, connecting])).toEqual(["ERR_POOL_DEAD", "ERR_POOL_DEAD"]);
  });

  it("of an attempt to connect, when the pool is retired while leases are out; lanes go on", async () => {
    const pool = SharedPool.create({ size: 8, count: 4 });
    const lane = await pool.connect<{ n: number }>(start("./lane.worker.ts", { job: "echo" }));
    const lease = pool.tryAcquire()!;
    const connecting = codeOf(pool.connect(start("./deaf.worker.mjs", undefined)));
    pool.retire();
    expect(await connecting).toBe("ERR_POOL_DEAD");
    await lane.send(lease, { n: 1 });
    pool.release((await lane.receive())!.lease);
  });

  it("of an attempt to connect, when the worker is refused or answers what is no answer", async () => {
    for (const answer of [null, 5, { kind: "millpond.other" }]) {
      const pool = SharedPool.create({ size: 8, count: 4 });
      expect(await codeOf(pool.connect(start("./odd-answer.worker.mjs", answer)))).toBe("ERR_INACTIVE");
    }
  });

  it("of a lane, when a lease in its inbox is over with the pool: close() ends all of it", async () => {
    const pool = SharedPool.create({ size: 64, count: 4 });
    const lane = await pool.connect<{ n: number }>(start("./lane.worker.ts", { job: "echo" }), { window: 1 });
    await lane.send(pool.tryAcquire()!, { n: 1 });
    while (lane.pending === 0) await new Promise((resolve) => setImmediate(resolve));
    SharedPool.attach(pool.handle).close({ force: true });
    await lane.close();
    expect(lane.isOpen).toBe(false);
  });
});

describe("a lane on which somebody waits", () => {
  const third = (pool: SharedPool): SharedPool => SharedPool.attach(pool.handle);
  it.each<[string, (pool: SharedPool) => unknown, here: string]>([
    ["another member closes the pool", (pool) => third(pool).close({ force: true }), "ERR_POOL_DEAD"],
    ["another member retires the pool", (pool) => third(pool).retire(), "ok"],
    ["this thread retires the pool", (pool) => pool.retire(), "ok"],
    ["this thread leaves the pool", (pool) => pool.leave(), "ERR_POOL_DEAD"],
  ])("ends on both sides when %s", async (what, end, here) => {
    const pool = SharedPool.create({ size: 8, count: 2, members: 3 });
    const worker = start("./lane.worker.ts", { job: "report the end" });
    const said = new Promise((resolve) => worker.once("message", resolve));
    const lane = await pool.connect(worker);
    const waits = codeOf(lane.receive());
    end(pool);
    expect(await waits).toBe(here);
    expect(lane.isOpen).toBe(false);
    expect(what.includes("retires") ? ["end"] : ["end", "ERR_POOL_DEAD"]).toContain(await said);
  });

  /** A lane over a pool with a second member, and what its other side hears. */
  const begin = async () => {
    const clock = new FakeClock();
    const pool = SharedPool.create({ size: 8, count: 2, members: 3, clock });
    const heard: unknown[] = [];
    let far: LanePort | undefined;
    const target = {
      postMessage({ port }: { port: LanePort }) {
        far = port;
        port.onmessage = ({ data }) => Array.isArray(data) && heard.push(data);
        port.postMessage({ kind: "millpond.ready", holds: false });
      },
    };
    const lane = await pool.connect(target as never, { clock });
    const hears = async (): Promise<unknown> => {
      while (heard.length === 0) await new Promise((resolve) => setImmediate(resolve));
      far!.close();
      return heard[0];
    };
    return { clock, pool, lane, other: third(pool), hears };
  };

  it("ends in good order when the pool retires, and its last lease comes back in whichever thread", async () => {
    for (const who of ["here", "there"] as const) {
      const { clock, pool, lane, other, hears } = await begin();
      const lease = (who === "here" ? pool : other).tryAcquire()!;
      const waits = lane.receive();
      (who === "here" ? other : pool).retire();
      clock.advance(250);
      expect(lane.isOpen).toBe(true);
      lease.release();
      clock.advance(250);
      expect(await waits).toBeUndefined();
      expect(await lane.receive()).toBeUndefined();
      expect(code(() => lane.trySend(lease))).toBe("ERR_POOL_DEAD");
      expect(await hears()).toEqual([MessageType.CLOSE]);
    }
  });

  it("ends by force when a pool that retires is closed while a lease is out", async () => {
    const { clock, pool, lane, other, hears } = await begin();
    pool.tryAcquire();
    const waits = codeOf(lane.receive());
    pool.retire();
    other.close({ force: true });
    clock.advance(250);
    expect(await waits).toBe("ERR_POOL_DEAD");
    expect(await hears()).toEqual([MessageType.POOL_CLOSED]);
  });
});

it("a close() that waits for a thread which hears nothing ends when another member closes the pool by force", async () => {
  const clock = new FakeClock();
  const pool = SharedPool.create({ size: 8, count: 2, members: 3, clock });
  const lane = await pool.connect(
    {
      postMessage: ({ port }: { port: LanePort }) => port.postMessage({ kind: "millpond.ready", holds: false }),
    } as never,
    { clock },
  );
  let isOver = false;
  const closing = lane.close().then(() => {
    isOver = true;
  });
  clock.advance(250);
  await undefined;
  expect(isOver).toBe(false);
  SharedPool.attach(pool.handle).close({ force: true });
  clock.advance(250);
  await new Promise((resolve) => setImmediate(resolve));
  expect(isOver).toBe(true);
  await closing;
});

describe("a getter in the data of a lease that is being sent", () => {
  it("cannot give away a lease of the pool, by a lane or a ring: the one that is being sent arrives once", async () => {
    const pool = SharedPool.create({ size: 64, count: 2, members: 3 });
    const lane = (await pool.connect(start("./lane.worker.ts", { job: "echo" }))) as Lane<object>;
    const ring = LeaseRing.create(pool, 4, "push");
    LeaseRing.attach(SharedPool.attach(pool.handle), ring.memory, "pop");
    const lease = pool.tryAcquire()!;
    const other = pool.tryAcquire()!;
    const said: unknown[] = [];
    const data = {
      get n() {
        said.push(
          code(() => lane.trySend(lease)),
          code(() => lane.trySend(other)),
          code(() => ring.tryPush(other.id)),
        );
        return 1;
      },
    };
    expect(lane.trySend(lease, data)).toBe(true);
    expect(said).toEqual(["ERR_REENTRANT", "ERR_REENTRANT", "ERR_REENTRANT"]);
    expect((await lane.receive())!.lease.id).toBe(lease.id);
    expect(lane.trySend(other, { n: 2 })).toBe(true);
    expect((await lane.receive())!.lease.id).toBe(other.id);
    expect(lane.pending).toBe(0);
    pool.validate();
  });

  it("may close the lane: the lease is in front of the end", async () => {
    const pool = SharedPool.create({ size: 64, count: 2, members: 3 });
    const lane = (await pool.connect(start("./lane.worker.ts", { job: "count" }))) as Lane<object>;
    let closed: Promise<void> | undefined;
    const data = {
      get n() {
        closed = lane.close();
        return 1;
      },
    };
    expect(lane.trySend(pool.tryAcquire()!, data)).toBe(true);
    await closed;
    // The other side has taken it and released it.
    expect(pool.stats().held).toBe(0);
  });
});
