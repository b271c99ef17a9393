/** What only a TransferPool has to say: buffers that are detached, and leases at the very moment of a hand-over. */
import { type MessagePort, Worker } from "node:worker_threads";
import { afterEach, describe, expect, it, vi } from "vitest";
import { TransferPool } from "../../../src/pools/lane/transfer-pool.ts";
import { FakeClock, type TimerHandle } from "../../../src/util/clock.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { code } from "../buffer/pools.ts";

const workers: Worker[] = [];
afterEach(() => Promise.all(workers.splice(0).map((worker) => worker.terminate())));

function detach(bytes: Uint8Array): void {
  structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] });
}

describe("a slot that is released while somebody waits", () => {
  it("is the waiter's at once: counts, holders and validate() agree before the waiter has heard of it", async () => {
    const pool = TransferPool.create({ size: 8, count: 1 });
    const first = pool.tryAcquire()!;
    const waits = pool.acquire();
    pool.release(first);
    expect(pool.stats()).toEqual({ count: 1, free: 0, held: 1, away: 0 });
    expect(pool.holders()).toEqual([{ slot: 0, holds: 1, isAway: false }]);
    pool.validate();
    expect(code(() => pool.close())).toBe("ERR_IN_USE");
    pool.release(await waits);
    pool.close();
  });

  it("is nobody's after a close by force: the wait is rejected", async () => {
    const pool = TransferPool.create({ size: 8, count: 1 });
    const first = pool.tryAcquire()!;
    const waits = pool.acquire();
    pool.release(first);
    pool.close({ force: true });
    await expect(waits).rejects.toMatchObject({ code: "ERR_POOL_DEAD" });
    pool.validate();
  });

  it("stays good when the pool is retired", async () => {
    const pool = TransferPool.create({ size: 8, count: 1 });
    const first = pool.tryAcquire()!;
    const waits = pool.acquire();
    pool.release(first);
    expect(pool.retire()).toHaveLength(1);
    pool.release(await waits);
    expect(code(() => pool.tryAcquire())).toBe("ERR_POOL_DEAD");
  });
});

it("refuses a stale lease after any number of uses of its slot", () => {
  const pool = TransferPool.create({ size: 8, count: 1 });
  const stale = pool.tryAcquire()!;
  pool.release(stale);
  for (let i = 1; i < 2 ** 14; i++) pool.release(pool.tryAcquire()!);
  pool.tryAcquire();
  expect(code(() => pool.bytes(stale))).toBe("ERR_USE_AFTER_RELEASE");
  expect(code(() => pool.release(stale))).toBe("ERR_DOUBLE_RELEASE");
  for (let i = 2 ** 14; i < 2 ** 16 + 2; i++) {
    pool.release(pool.holders().length > 0 ? { ...stale, id: i * 2 ** 16 } : pool.tryAcquire()!);
    pool.tryAcquire();
  }
  expect(code(() => pool.bytes(stale))).toBe("ERR_USE_AFTER_RELEASE");
});

it("tells the other side, too, that a buffer was transferred, and gets its slot back", async () => {
  const pool = TransferPool.create({ size: 64, count: 1 });
  const worker = new Worker(new URL("./transfer-pool.worker.ts", import.meta.url), { execArgv: [] });
  workers.push(worker);
  const lane = await pool.connect(worker);
  const said = new Promise((resolve) => worker.once("message", resolve));
  await lane.send(pool.tryAcquire()!);
  expect(await said).toEqual(["ERR_DETACHED", "ERR_DETACHED", "ERR_DETACHED", "ERR_DOUBLE_RELEASE"]);
  // The return is on its way before the message that says so.
  const again = await pool.acquire();
  expect(pool.bytes(again)).toHaveLength(64);
  detach(pool.bytes(again));
  expect(code(() => pool.bytes(again))).toBe("ERR_DETACHED");
});

describe("a buffer that is transferred through a view that was kept after its release", () => {
  const begin = async () => {
    const pool = TransferPool.create({ size: 64, count: 1 });
    const worker = new Worker(new URL("./transfer-acquire.worker.ts", import.meta.url), { execArgv: [] });
    workers.push(worker);
    await pool.connect(worker);
    const heard: unknown[] = [];
    const waiting: ((message: unknown) => void)[] = [];
    worker.on("message", (message) => {
      const next = waiting.shift();
      if (next === undefined) heard.push(message);
      else next(message);
    });
    const says = () => new Promise((resolve) => (heard.length > 0 ? resolve(heard.shift()) : waiting.push(resolve)));
    return { pool, worker, says };
  };

  it("while its slot is free: a worker gets the slot with all of its bytes, and so does this thread", async () => {
    const { pool, worker, says } = await begin();
    for (let n = 0; n < 3; n++) {
      const lease = pool.tryAcquire()!;
      const bytes = pool.bytes(lease);
      expect(bytes).toHaveLength(64);
      pool.release(lease);
      detach(bytes);
      worker.postMessage("acquire");
      expect(await says()).toBe("asks");
      expect(await says()).toBe(64);
      (await pool.acquire()).release();
    }
    expect(pool.stats().free).toBe(1);
    pool.validate();
  });

  it("in the turn in which a worker that waits for it was given it", async () => {
    const { pool, worker, says } = await begin();
    const lease = pool.tryAcquire()!;
    const bytes = pool.bytes(lease);
    worker.postMessage("acquire");
    expect(await says()).toBe("asks");
    // By now its request is here, or is about to be.
    worker.postMessage("say");
    expect(await says()).toBe("said");
    await new Promise((resolve) => setImmediate(resolve));
    pool.release(lease);
    detach(bytes);
    expect(await says()).toBe(64);
    (await pool.acquire()).release();
    expect(pool.stats().free).toBe(1);
  });

  it("and where there is no memory for another: the slot is not lost, and who asks is told, here and over there", async () => {
    const { pool, worker, says } = await begin();
    const lease = pool.tryAcquire()!;
    const bytes = pool.bytes(lease);
    pool.release(lease);
    detach(bytes);
    vi.stubGlobal(
      "Uint8Array",
      class extends Uint8Array {
        constructor(given: number) {
          if (given === 64) throw new RangeError("Array buffer allocation failed");
          super(given);
        }
      },
    );
    expect(code(() => pool.tryAcquire())).toBe("ERR_ALLOCATION_FAILED");
    expect(await codeOf(pool.acquire())).toBe("ERR_ALLOCATION_FAILED");
    worker.postMessage("acquire");
    expect([await says(), await says()]).toEqual(["asks", "ERR_ALLOCATION_FAILED"]);
    vi.unstubAllGlobals();
    expect(pool.stats()).toEqual({ count: 1, free: 1, held: 0, away: 0 });
    worker.postMessage("acquire");
    expect([await says(), await says()]).toEqual(["asks", 64]);
  });
});

describe("a lease that is being sent", () => {
  it("is not this thread's for getters in its data, and stays its own when they throw", async () => {
    const pool = TransferPool.create({ size: 8, count: 2 });
    const worker = new Worker(new URL("./lane.worker.ts", import.meta.url), {
      workerData: { job: "echo" },
      execArgv: [],
    });
    workers.push(worker);
    const lane = await pool.connect<object>(worker);
    const lease = pool.tryAcquire()!;
    const said: unknown[] = [];
    const data = {
      get n() {
        said.push(
          code(() => pool.release(lease)),
          code(() => lane.trySend(lease)),
          code(() => pool.retain(lease)),
        );
        return 1;
      },
    };
    const failing = {
      get n() {
        throw new Error("a getter of the caller's");
      },
    };
    expect(() => lane.trySend(lease, failing)).toThrow("a getter of the caller's");
    expect(pool.bytes(lease)).toHaveLength(8);
    expect(lane.trySend(lease, data)).toBe(true);
    expect(said).toEqual(["ERR_DOUBLE_RELEASE", "ERR_USE_AFTER_RELEASE", "ERR_USE_AFTER_RELEASE"]);
    pool.validate();
    expect(pool.stats()).toEqual({ count: 2, free: 1, held: 0, away: 1 });
    expect((await lane.receive())!.lease.id).toBe(lease.id);
  });
});

it("tells a worker that waits for a slot when the pool is retired, and each that asks later", async () => {
  const pool = TransferPool.create({ size: 8, count: 1 });
  const worker = new Worker(new URL("./waiting.worker.ts", import.meta.url), { execArgv: [] });
  workers.push(worker);
  const held = pool.tryAcquire()!;
  const said = new Promise((resolve) => worker.on("message", (message) => message !== "waits" && resolve(message)));
  // It may come in the same turn as the end of the connection.
  const waits = new Promise((resolve) => worker.once("message", resolve));
  await pool.connect(worker);
  await waits;
  pool.retire();
  expect(await said).toEqual(["ERR_POOL_DEAD", "ERR_POOL_DEAD"]);
  pool.release(held);
});

describe("the end of a TransferPool", () => {
  const begin = async () => {
    const pool = TransferPool.create({ size: 64, count: 1 });
    const worker = new Worker(new URL("./lane.worker.ts", import.meta.url), {
      workerData: { job: "report the end" },
      execArgv: [],
    });
    const deaf = new Worker(new URL("./deaf.worker.mjs", import.meta.url), { execArgv: [] });
    workers.push(worker, deaf);
    const said = new Promise((resolve) => worker.once("message", resolve));
    const lane = await pool.connect(worker);
    return { pool, said, lane, waits: [codeOf(lane.receive()), codeOf(pool.connect(deaf))] };
  };

  it.each(["with no lease out", "with the last lease"])("by retire(), %s, ends lanes and connections", async (when) => {
    const { pool, said, waits } = await begin();
    const lease = when === "with the last lease" ? pool.tryAcquire() : undefined;
    pool.retire();
    if (lease !== undefined) pool.release(lease);
    expect(await Promise.all(waits)).toEqual(["ok", "ERR_POOL_DEAD"]);
    expect(await said).toBe("end");
    pool.close();
  });

  it("by force leaves nothing held", () => {
    const pool = TransferPool.create({ size: 64, count: 2 });
    pool.tryAcquire();
    pool.close({ force: true });
    expect([pool.stats(), pool.holders()]).toEqual([{ count: 2, free: 2, held: 0, away: 0 }, []]);
    pool.validate();
  });

  it("by force in a getter of what is sent is told to the sender", async () => {
    const { pool, lane } = await begin();
    const lease = pool.tryAcquire()!;
    const data = {
      get n() {
        pool.close({ force: true });
        return 1;
      },
    };
    expect(code(() => lane.trySend(lease, data))).toBe("ERR_POOL_DEAD");
  });
});

it("a getter that sends another lease finds the window as full as it is", async () => {
  const pool = TransferPool.create({ size: 8, count: 4 });
  const worker = new Worker(new URL("./lane.worker.ts", import.meta.url), {
    workerData: { job: "hold when asked" },
    execArgv: [],
  });
  workers.push(worker);
  const lane = await pool.connect<object>(worker, { window: 1 });
  const other = pool.tryAcquire()!;
  const said: boolean[] = [];
  const data = {
    get n() {
      said.push(lane.trySend(other));
      return 1;
    },
  };
  expect(lane.trySend(pool.tryAcquire()!, data)).toBe(true);
  expect([said, lane.credit]).toEqual([[false], 0]);
});

it("the other side asks twice with one number and goes: no slot is given to it after that", async () => {
  const pool = TransferPool.create({ size: 8, count: 1 });
  let port: MessagePort | undefined;
  const lane = await pool.connect({
    postMessage(request: { port: MessagePort }) {
      port = request.port;
      port.postMessage({ kind: "millpond.ready", holds: false });
    },
  } as never);
  const lease = pool.tryAcquire()!;
  for (let n = 0; n < 2; n++) port!.postMessage([4, ["request", 1]]);
  // What comes after them has been heard when this has.
  port!.postMessage([2]);
  port!.close();
  expect(await lane.receive()).toBeUndefined();
  while (lane.isOpen) await new Promise((resolve) => setImmediate(resolve));
  await lane.close();
  pool.release(lease);
  expect(pool.stats()).toEqual({ count: 1, free: 1, held: 0, away: 0 });
  pool.close();
});

describe("a pool that is closed by force while its clock gives leases back", () => {
  it("has every slot free once", async () => {
    let whenCleared: (() => void) | undefined;
    class Calling extends FakeClock {
      override clearTimer(handle: TimerHandle): void {
        super.clearTimer(handle);
        const call = whenCleared;
        whenCleared = undefined;
        call?.();
      }
    }
    for (const all of [false, true]) {
      const pool = TransferPool.create({ size: 64, count: 2, clock: new Calling() });
      const leases = [pool.tryAcquire()!, pool.tryAcquire()!];
      const waits = codeOf(pool.acquire({ timeout: 1000 }));
      await null;
      whenCleared = () => {
        for (const lease of all ? leases : leases.slice(1)) pool.release(lease);
      };
      pool.close({ force: true });
      expect(await waits).toBe("ERR_POOL_DEAD");
      expect(pool.stats()).toEqual({ count: 2, free: 2, held: 0, away: 0 });
      pool.validate();
      pool.close();
    }
  });
});

describe("more bytes than a machine has", () => {
  it("are refused before any of them is asked for", () => {
    expect(code(() => TransferPool.create({ size: 2 ** 30, count: 65_536 }))).toBe("ERR_OUT_OF_RANGE");
  });

  it("are ERR_ALLOCATION_FAILED where the engine says so", () => {
    const { Uint8Array: system } = globalThis;
    globalThis.Uint8Array = class extends system {
      constructor(length: number) {
        if (length === 4321) throw new RangeError("Array buffer allocation failed");
        super(length);
      }
    } as typeof system;
    try {
      expect(code(() => TransferPool.create({ size: 4321, count: 2 }))).toBe("ERR_ALLOCATION_FAILED");
    } finally {
      globalThis.Uint8Array = system;
    }
  });
});
