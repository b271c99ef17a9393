/**
 * What connect(), receiveLane() and a lane answer to hostile objects: the library's own error, and a pool as it was
 * before.
 */
import { MessageChannel } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import type { Lane } from "../../../src/pools/lane/lane.ts";
import { leasePool, receiveLane } from "../../../src/pools/lane/receive.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { atomicsWaiter } from "../../../src/pools/shared/waiter.ts";
import { MillpondError } from "../../../src/util/errors.ts";
import { code } from "../buffer/pools.ts";

const TYPE = "ERR_INVALID_ARG_TYPE";
const VALUE = "ERR_INVALID_ARG_VALUE";
const RANGE = "ERR_OUT_OF_RANGE";

class Hostile extends Error {}

const fail = (): never => {
  throw new Hostile("hostile");
};

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "ok",
    (error: unknown) => (error instanceof MillpondError ? error.code : (error as Error).constructor.name),
  );

async function pair(pool: ReturnType<typeof leasePool>): Promise<{ near: Lane; far: Lane; end: () => void }> {
  const { port1, port2 } = new MessageChannel();
  const receiving = receiveLane(port2 as never);
  const near = await pool.connect(port1 as never);
  const far = await receiving;
  const end = (): void => {
    port1.close();
    port2.close();
  };
  return { near, far, end };
}

describe.each(["shared", "transfer"] as const)("over %s memory", (transport) => {
  const open = () => leasePool({ size: 64, count: 2, transport, name: "frames" });
  class AClass {}

  it("a connection that is refused, whatever the target does, leaves the pool as it was", async () => {
    const pool = open();
    const before = pool.stats();
    const post = (): void => {};
    const results: string[] = [];
    for (const target of [
      null,
      5,
      {},
      { postMessage: AClass },
      { postMessage: post, once: AClass },
      { postMessage: post, once: 5 },
      { postMessage: fail },
      { postMessage: post, once: fail },
      {
        get postMessage() {
          return fail();
        },
      },
    ])
      results.push(await codeOf(pool.connect(target as never)));
    expect(results).toEqual([TYPE, TYPE, TYPE, TYPE, TYPE, TYPE, "Hostile", "Hostile", "Hostile"]);
    expect(pool.stats()).toEqual(before);
  });

  it("a connection that nobody answers leaves the pool as it was", async () => {
    const pool = open();
    const before = pool.stats();
    const target = { postMessage() {} };
    const signal = {
      aborted: false,
      reason: undefined,
      addEventListener: fail,
      removeEventListener() {},
    };
    const clock = { now: () => 0, setTimer: fail, clearTimer() {} };
    const ended = { postMessage() {}, once: (_: string, listener: () => void) => listener() };
    expect([
      await codeOf(pool.connect(target, { timeout: 0 })),
      await codeOf(pool.connect(target, { signal: signal as never })),
      await codeOf(pool.connect(target, { timeout: 5, clock })),
      await codeOf(pool.connect(ended)),
    ]).toEqual(["ERR_INACTIVE", "Hostile", "Hostile", "ERR_INACTIVE"]);
    expect(pool.stats()).toEqual(before);
  });

  it("each method of a target is read once", async () => {
    const pool = open();
    const { port1, port2 } = new MessageChannel();
    const receiving = receiveLane(port2 as never);
    let reads = 0;
    const target = {
      get postMessage() {
        return reads++ === 0 ? port1.postMessage.bind(port1) : fail();
      },
    };
    const lane = await pool.connect(target as never);
    const far = await receiving;
    expect([reads, lane.isOpen, far.isOpen]).toEqual([1, true, true]);
    await Promise.all([lane.close(), far.close()]);
    port1.close();
    port2.close();
  });

  it("data that cannot be cloned is ERR_INVALID_ARG_VALUE, and the lease stays", async () => {
    const pool = open();
    const { near, far, end } = await pair(pool);
    const lease = pool.tryAcquire()!;
    const before = [pool.stats(), near.credit];
    for (const data of [() => {}, Symbol("x"), Promise.resolve(), { deep: [AClass] }]) {
      expect(code(() => near.trySend(lease, data))).toBe(VALUE);
      expect(await codeOf(near.send(lease, data))).toBe(VALUE);
    }
    // What a getter of the caller's throws is the caller's.
    expect(() =>
      near.trySend(lease, {
        get x() {
          return fail();
        },
      }),
    ).toThrow(Hostile);
    expect([pool.stats(), near.credit]).toEqual(before);
    expect(near.trySend(lease, "good")).toBe(true);
    const got = (await far.receive())!;
    expect(got.data).toBe("good");
    expect(code(() => far.trySend(got.lease, () => {}))).toBe(VALUE);
    far.pool.release(got.lease);
    await Promise.all([near.close(), far.close()]);
    end();
  });

  it("a lease whose id is something else at each reading is moved once, or refused", async () => {
    const pool = open();
    const { near, far, end } = await pair(pool);
    const lease = pool.tryAcquire()!;
    let reads = 0;
    const changing = {
      index: lease.index,
      pool: lease.pool,
      get id() {
        return reads++ === 0 ? lease.id : (Symbol("later") as never);
      },
    };
    expect(near.trySend(changing, 1)).toBe(true);
    const got = (await far.receive())!;
    expect(got.lease.id).toBe(lease.id);
    far.pool.release(got.lease);
    await Promise.all([near.close(), far.close()]);
    end();
    expect(pool.stats().free).toBe(2);
  });
});

describe("receiveLane", () => {
  it("refuses a source without the methods, or with classes in their places, and reads each once", async () => {
    const methods = { addEventListener() {}, removeEventListener() {} };
    expect([
      await codeOf(receiveLane(null as never)),
      await codeOf(receiveLane({} as never)),
      await codeOf(receiveLane({ ...methods, addEventListener: Hostile } as never)),
      await codeOf(receiveLane({ ...methods, start: Hostile } as never)),
      await codeOf(receiveLane({ ...methods, addEventListener: fail })),
    ]).toEqual([TYPE, TYPE, TYPE, TYPE, "Hostile"]);
    let reads = 0;
    const changing = {
      ...methods,
      get addEventListener() {
        return reads++ === 0 ? () => {} : (5 as never);
      },
    };
    const aborted = new AbortController();
    const waits = receiveLane(changing, { signal: aborted.signal });
    aborted.abort(new Hostile());
    expect([await codeOf(waits), reads]).toEqual(["Hostile", 1]);
  });

  it("ends its wait also when the source throws while it is let go", async () => {
    const source = { addEventListener() {}, removeEventListener: fail };
    const controller = new AbortController();
    const waits = receiveLane(source, { signal: controller.signal });
    const errors: unknown[] = [];
    const note = (error: unknown): void => void errors.push(error);
    process.prependOnceListener("uncaughtException", note);
    const others = process.listeners("uncaughtException").filter((one) => one !== note);
    for (const one of others) process.off("uncaughtException", one);
    controller.abort(new Hostile("the reason"));
    await expect(waits).rejects.toThrow("the reason");
    await new Promise((resolve) => setImmediate(resolve));
    for (const one of others) process.on("uncaughtException", one);
    process.off("uncaughtException", note);
    expect(errors).toHaveLength(1);
  });

  it("answers an invitation that makes no sense with ERR_BAD_DATA, and keeps no membership", async () => {
    const pool = SharedPool.create({ size: 64, count: 2 });
    const before = pool.stats();
    const { port1: port, port2 } = new MessageChannel();
    port2.on("message", ({ kind }) => kind === "millpond.hello" && port2.postMessage({ kind: "millpond.go" }));
    const good = { kind: "millpond.lane", port, offer: { transport: "shared", handle: pool.handle, from: {} } };
    const results: string[] = [];
    for (const data of [
      { ...good, port: {} },
      { ...good, offer: undefined },
      { ...good, offer: { transport: "smoke" } },
      { ...good, offer: { transport: "transfer", name: 5 } },
      { ...good, window: -1 },
      good,
    ]) {
      let listener: ((event: unknown) => void) | undefined;
      const source = {
        addEventListener(_: "message", listen: (event: unknown) => void) {
          listener = listen;
        },
        removeEventListener() {},
      };
      const waits = receiveLane(source);
      listener!({ data });
      results.push(await codeOf(waits));
    }
    port.close();
    const bad = "ERR_BAD_DATA";
    expect(results).toEqual([bad, bad, bad, bad, bad, TYPE]);
    expect(pool.stats()).toEqual(before);
  });
});

describe("SharedPool.bytesNeeded", () => {
  it("refuses what create() refuses: a name that is none, a memory that is not shared", () => {
    const shape = { size: 64, count: 2 };
    expect([
      code(() => SharedPool.bytesNeeded({ ...shape, name: 5 as never })),
      code(() => SharedPool.bytesNeeded({ ...shape, name: null as never })),
      code(() => SharedPool.bytesNeeded({ ...shape, memory: new ArrayBuffer(64) as never })),
      code(() => SharedPool.bytesNeeded({ ...shape, memory: null as never })),
      code(() => SharedPool.bytesNeeded({ ...shape, memory: new SharedArrayBuffer(1) })),
    ]).toEqual([TYPE, TYPE, TYPE, TYPE, "ok"]);
  });

  it("is enough for create({ memory }), also where slots are cleared in parts", () => {
    const options = { size: 2 ** 26 + 1, count: 1 };
    const memory = new SharedArrayBuffer(SharedPool.bytesNeeded(options));
    expect(code(() => SharedPool.create({ ...options, memory }))).toBe("ok");
  });
});

describe("atomicsWaiter", () => {
  const words = new Int32Array(new SharedArrayBuffer(16));

  it("refuses words, indexes and numbers that are none with the library's own errors", async () => {
    const { wait, notify, waitAsync } = atomicsWaiter;
    for (const call of [
      (...args: [never, never, never, never]) => wait(...args),
      (...args: [never, never, never, never]) => waitAsync!(...args),
    ])
      expect([
        code(() => call(null as never, 0 as never, 0 as never, 0 as never)),
        code(() => call(new Int32Array(4) as never, 0 as never, 0 as never, 0 as never)),
        code(() => call(words as never, 4 as never, 0 as never, 0 as never)),
        code(() => call(words as never, 0 as never, 1n as never, 0 as never)),
        code(() => call(words as never, 0 as never, 0 as never, "0" as never)),
      ]).toEqual([TYPE, TYPE, RANGE, TYPE, TYPE]);
    expect([
      code(() => notify(new Uint8Array(words.buffer) as never, 0, 1)),
      code(() => notify(words, -1, 1)),
      code(() => notify(words, 0, Symbol("1") as never)),
      code(() => notify(words, 0, 1)),
      code(() => wait(words, 0, 1, 0)),
    ]).toEqual([TYPE, RANGE, TYPE, "ok", "ok"]);
  });
});
