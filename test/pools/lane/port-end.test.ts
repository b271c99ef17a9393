/** The end of a thread that was connected over a MessagePort, or an object around a worker: what it held is free. */
import { EventEmitter } from "node:events";
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { afterEach, describe, expect, it, vi } from "vitest";
import { receiveLane } from "../../../src/pools/lane/receive.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { FULL } from "../../helpers/effort.ts";
import { reachableBytes } from "../../helpers/heap.ts";

const workers: Worker[] = [];
afterEach(async () => {
  vi.unstubAllGlobals();
  await Promise.all(workers.splice(0).map((worker) => worker.terminate()));
});

type Target = Parameters<SharedPool["connect"]>[0];

/** A worker, and what to connect to. */
function start(
  job: string,
  way: string,
  given?: MessagePort,
  words?: Int32Array,
): { worker: Worker; target: Target; said: Promise<unknown> } {
  const { port1, port2 } = new MessageChannel();
  const isPort = way === "a port";
  const worker = new Worker(new URL("./port-end.worker.ts", import.meta.url), {
    workerData: { job, words, port: given ?? (isPort ? port2 : undefined) },
    transferList: given !== undefined ? [given] : isPort ? [port2] : [],
    execArgv: [],
  });
  workers.push(worker);
  // As programs write it: it knows of the one port.
  const around = { postMessage: (message: { port: never }) => worker.postMessage(message, [message.port]) };
  const said = new Promise((resolve) => worker.once("message", resolve));
  return {
    worker,
    target: isPort ? (port1 as never) : way === "a worker" ? (worker as never) : (around as never),
    said,
  };
}

/** The end is told by events of several channels; what waits for it in vain is ended by the test's time. */
async function freed(pool: SharedPool, count: number): Promise<void> {
  while (pool.stats().free < count) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** An order to a worker, and that it was carried out. */
function tell(worker: Worker, order: object, ports: readonly MessagePort[] = []): Promise<unknown> {
  const done = new Promise((resolve) => worker.once("message", resolve));
  worker.postMessage(order, ports);
  return done;
}

/** Two workers that this thread connected, which hold a slot each. */
async function holders(pool: SharedPool): Promise<[Worker, Worker]> {
  const connected: Worker[] = [];
  for (const { worker, target, said } of [start("holds", "a worker"), start("holds", "a worker")]) {
    await pool.connect(target);
    await said;
    connected.push(worker);
  }
  return connected as [Worker, Worker];
}

/** One worker connects another one, which takes a slot by it. */
async function joined(connector: Worker, worker: Worker): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  await Promise.all([tell(connector, { give: port1 }, [port1]), tell(worker, { take: port2 }, [port2])]);
}

/** A worker that another one connects from its start, and that holds a slot by it. */
async function startedBy(connector: Worker): Promise<ReturnType<typeof start>> {
  const { port1, port2 } = new MessageChannel();
  const started = start("holds", "a worker", port2);
  await Promise.all([tell(connector, { give: port1 }, [port1]), started.said]);
  return started;
}

describe("a worker that joined a second time over another worker's port", () => {
  for (const [when, order, tag] of [
    ["first", [0, 1], {}],
    ["second", [1, 0], FULL],
  ] as const)
    it(`ends with all that it held where the other one ends ${when}`, tag, async () => {
      const pool = SharedPool.create({ size: 64, count: 3, members: 4 });
      const workers = await holders(pool);
      await joined(...workers);
      expect(pool.stats()).toMatchObject({ held: 3, members: { length: 4 } });
      for (const n of order) await workers[n]!.terminate();
      await freed(pool, 3);
      expect(pool.stats().members).toHaveLength(1);
      pool.validate();
    });
});

describe("a worker that has left what its maker gave it, and joined over the port of another one that ends with it", () => {
  for (const way of ["a worker", "an object around it", "a port"]) {
    const tag = way === "a worker" ? {} : FULL;
    it(`ends with that, also where its number is another one's by now: ${way}`, tag, async () => {
      const pool = SharedPool.create({ size: 64, count: 4, members: 8 });
      const connector = start("holds", "a worker");
      const worker = start("holds", way);
      for (const { target, said } of [connector, worker]) {
        await pool.connect(target);
        await said;
      }
      const left = pool.stats().members.at(-1)!.member;
      await tell(worker.worker, { leave: 0 });
      // The next one gets the number. Who is connected to again meets the watches that are of no use any more.
      const next = start("holds", "an object around it");
      await pool.connect(next.target);
      await next.said;
      expect(pool.stats().members.at(-1)!.member).toBe(left);
      await pool.connect(connector.target, { timeout: 1 }).catch(() => {});
      await joined(connector.worker, worker.worker);
      await Promise.all([connector.worker.terminate(), worker.worker.terminate()]);
      await freed(pool, 3);
      expect(pool.stats().members).toMatchObject([{ self: true }, { member: left, holds: 1 }]);
      pool.validate();
    });
  }

  it("ends with it though it had left more often than anybody counts, with its own worker", async () => {
    const pool = SharedPool.create({ size: 64, count: 4, members: 8 });
    const [connector, worker] = await holders(pool);
    for (let n = 0; n < 20; n++) {
      await tell(worker, { leave: n });
      const told = tell(worker, { again: true });
      await pool.connect(worker);
      await told;
    }
    await tell(worker, { leave: 20 });
    await joined(connector, worker);
    await tell(worker, { nest: 21 });
    await tell(worker, { leave: 21 });
    await joined(connector, worker);
    await Promise.all([connector.terminate(), worker.terminate()]);
    await freed(pool, 4);
    expect(pool.stats().members).toHaveLength(1);
  });

  it("ends with it though another view of its maker had connected it last, which nobody has any more", async () => {
    const pool = SharedPool.create({ size: 64, count: 4, members: 8 });
    const [connector, worker] = await holders(pool);
    const view = await (async () => {
      const other = SharedPool.attach(pool.handle);
      const told = tell(worker, { again: true });
      const lane = await other.connect(worker);
      await told;
      await tell(worker, { leave: 1 });
      await lane.close();
      other.leave();
      return new WeakRef(other);
    })();
    await tell(worker, { leave: 0 });
    // Who is connected to again meets the watches that are of no use any more.
    await pool.connect(worker, { timeout: 1 }).catch(() => {});
    await expect.poll(async () => (await reachableBytes()) > 0 && view.deref()).toBe(undefined);
    await joined(connector, worker);
    await Promise.all([connector.terminate(), worker.terminate()]);
    await freed(pool, 4);
    expect(pool.stats().members).toHaveLength(1);
  });

  it("ends with it where the thread that had connected it has left the pool and lives: the others get its slot", async () => {
    const maker = SharedPool.create({ size: 64, count: 4, members: 8 });
    const pool = SharedPool.attach(maker.handle);
    const [connector, worker] = await holders(pool);
    await tell(worker, { leave: 0 });
    pool.leave();
    await joined(connector, worker);
    await Promise.all([connector.terminate(), worker.terminate()]);
    // They are marked, and cleared up by the next search that finds none.
    for (let taken = 0; taken < 4; ) {
      if (maker.tryAcquire() === undefined) await new Promise((resolve) => setTimeout(resolve, 1));
      else taken++;
    }
    expect(maker.stats().members).toHaveLength(1);
  });
});

describe("a worker that had joined and left when the attempt to connect it was given up, before its answer was heard", () => {
  for (const [number, way, isTaken, tag] of [
    ["its number is free", "a worker", false, FULL],
    ["its number is another one's", "a worker", true, {}],
    ["its number is free", "a port", false, {}],
    ["its number is another one's", "a port", true, FULL],
  ] as const)
    it(
      `ends with what it took over the port of one that ends with it, however late that is heard: ${number}, ${way}`,
      tag,
      async () => {
        const pool = SharedPool.create({ size: 64, count: 4, members: 8 });
        const connector = start("holds", "a worker");
        await pool.connect(connector.target);
        await connector.said;
        const words = new Int32Array(new SharedArrayBuffer(4));
        const { worker, target, said } = start("leaves", way, undefined, words);
        const clock = new FakeClock();
        const connected = pool.connect(target, { clock, timeout: 500 });
        connected.catch(() => {});
        await new Promise((resolve) => worker.once("online", resolve));
        // Here this thread hears nothing.
        while (Atomics.load(words, 0) === 0) Atomics.wait(words, 0, 0, 1000);
        if (isTaken) SharedPool.attach(pool.handle);
        clock.advance(500);
        await expect(connected).rejects.toThrow();
        // As on a machine that is so busy that timers come before messages.
        clock.advance(10_000);
        await said;
        await joined(connector.worker, worker);
        await Promise.all([connector.worker.terminate(), worker.terminate()]);
        await freed(pool, 4);
        pool.validate();
      },
    );
});

describe("a worker that joins over another worker's port, and by its maker", () => {
  for (const [when, tag, steps] of [
    ["after its own worker, before it leaves the port's pool", FULL, ["nest", "main", "leave"]],
    ["after its own worker, which stays when it leaves the port's pool", {}, ["nest", "leave", "main"]],
  ] as const)
    it(`ends with its own worker: ${when}`, tag, async () => {
      const pool = SharedPool.create({ size: 64, count: 4, members: 6 });
      const connector = start("holds", "a worker");
      await pool.connect(connector.target);
      await connector.said;
      const { worker, target } = await startedBy(connector.worker);
      for (const step of steps) {
        // First that it listens.
        const told = step === "main" ? tell(worker, { again: true }) : tell(worker, { [step]: 0 });
        if (step === "main") await pool.connect(target);
        await told;
      }
      await connector.worker.terminate();
      await worker.terminate();
      await freed(pool, 4);
      expect(pool.stats().members).toHaveLength(1);
    });

  it("ends with what it took over the port though it had left what its maker gave it", async () => {
    const pool = SharedPool.create({ size: 64, count: 3, members: 6 });
    const [connector, worker] = await holders(pool);
    await tell(worker, { leave: 0 });
    await joined(connector, worker);
    await connector.terminate();
    await worker.terminate();
    await freed(pool, 3);
    expect(pool.stats().members).toHaveLength(1);
  });

  it("ends with what it has by two ports, whichever of the connectors is left", async () => {
    const pool = SharedPool.create({ size: 64, count: 4, members: 6 });
    const [first, second] = await holders(pool);
    const { worker } = await startedBy(first);
    await joined(second, worker);
    await second.terminate();
    await worker.terminate();
    await freed(pool, 3);
  });
});

const WAYS = ["a worker", "a port", "an object around a worker"] as const;

/** In the fast lane each end has another way: what a way is watched by does not depend on what ends. */
describe.each(WAYS)("connected over %s", (way) => {
  const only = (fast: (typeof WAYS)[number]) => (way === fast ? {} : FULL);

  it("what its own worker held comes free, too", only("an object around a worker"), async () => {
    const pool = SharedPool.create({ size: 64, count: 4, members: 3 });
    const { worker, target, said } = start("connects a worker", way);
    await pool.connect(target);
    await said;
    expect(pool.stats().held).toBe(2);
    await worker.terminate();
    await freed(pool, 4);
    for (let n = 0; n < 2; n++) pool.reserve();
    pool.validate();
  });

  it("also where its lane was closed in good order before", only("a port"), async () => {
    const pool = SharedPool.create({ size: 64, count: 1, members: 2 });
    const { worker, target, said } = start("closes its lane", way);
    const lane = await pool.connect(target);
    expect(await lane.receive()).toBeUndefined();
    await said;
    expect(pool.stats().held).toBe(1);
    await worker.terminate();
    await freed(pool, 1);
    pool.reserve();
  });

  it("also where the attempt to connect was given up after it had joined", only("a worker"), async () => {
    const pool = SharedPool.create({ size: 64, count: 1, members: 2 });
    const { worker, target } = start("holds", way);
    const aborted = new AbortController();
    const connecting = pool.connect(target, { signal: aborted.signal });
    connecting.catch(() => {});
    await new Promise((resolve) => worker.once("online", resolve));
    // This thread hears nothing as long as it looks here.
    while (pool.stats().held === 0);
    aborted.abort();
    await expect(connecting).rejects.toThrow();
    expect(pool.stats().held).toBe(1);
    await worker.terminate();
    await freed(pool, 1);
    pool.reserve();
  });
});

it("the thread that called connect() ends, and nobody made it a member: what it held is free for the other side", async () => {
  const { port1, port2 } = new MessageChannel();
  const worker = new Worker(new URL("./connector.worker.ts", import.meta.url), {
    workerData: { port: port2 },
    transferList: [port2],
    execArgv: [],
  });
  workers.push(worker);
  const said = new Promise((resolve) => worker.once("message", resolve));
  const lane = await receiveLane(port1 as never);
  await said;
  const pool = lane.pool as SharedPool;
  expect(pool.stats().free).toBe(1);
  await worker.terminate();
  await freed(pool, 2);
  pool.reserve();
  pool.validate();
  port1.close();
});

it("an attempt that is given up after the other side has joined without a lock does not take that for its end", async () => {
  const asked: string[] = [];
  // As in a page whose worker has no storage of its own: the worker is refused, and the page is not.
  const locks = {
    request: async (name: string, _: unknown, callback: () => unknown): Promise<void> => {
      asked.push(name);
      if (asked.length === 1) throw new Error("SecurityError");
      await callback();
    },
  };
  vi.stubGlobal("navigator", { locks });
  const source = new EventTarget();
  const target = {
    postMessage: (data: unknown) => void source.dispatchEvent(Object.assign(new Event("message"), { data })),
  };
  const pool = SharedPool.create({ size: 64, count: 2 });
  const gone = new AbortController();
  const receiving = receiveLane(source as never);
  const connecting = pool.connect(target as never, { signal: gone.signal });
  connecting.catch(() => {});
  const far = await receiving;
  gone.abort(new Error("enough"));
  await expect(connecting).rejects.toThrow("enough");
  expect(await far.receive()).toBeUndefined();
  expect(asked).toHaveLength(1);
  const lease = far.pool.tryAcquire()!;
  expect(pool.stats().held).toBe(1);
  lease.release();
  (far.pool as SharedPool).leave();
});

it("the thread that called connect() leaves the pool and comes back: its end is of nobody's concern, and it is no other's", async () => {
  const { port1, port2 } = new MessageChannel();
  const made = SharedPool.create({ size: 64, count: 2, members: 3 });
  const [, far] = await Promise.all([made.connect(port2 as never), receiveLane(port1 as never)]);
  made.leave({ force: true });
  const again = SharedPool.attach((far.pool as SharedPool).handle);
  expect(again.member).toBe(made.member);
  again.tryAcquireId();
  for (let n = 0; n < 20; n++) await new Promise((resolve) => setImmediate(resolve));
  expect((far.pool as SharedPool).stats().held).toBe(1);
  port1.close();
});

/** A worker of this thread that is none: its end is told when the test says so. */
function pretended(threadId: number) {
  const source = new EventTarget();
  const worker = Object.assign(new EventEmitter(), {
    threadId,
    postMessage: (data: unknown) => void source.dispatchEvent(Object.assign(new Event("message"), { data })),
  });
  return { worker, source };
}

async function connected(pool: SharedPool, threadId: number) {
  const { worker, source } = pretended(threadId);
  // A module of its own, as each thread has: it knows of no other membership in this thread.
  const path = `../../../src/pools/lane/receive.ts?thread=${threadId}`;
  const own = (await import(/* @vite-ignore */ path)) as { readonly receiveLane: typeof receiveLane };
  const receiving = own.receiveLane(source as never);
  const lane = await pool.connect(worker as never);
  const far = await receiving;
  return { worker, lane, far, pool: far.pool as SharedPool };
}

it("the thread that connected leaves the pool and lives: a worker's end is seen as before, and the others get its slot", async () => {
  const pool = SharedPool.create({ size: 64, count: 1 });
  const first = await connected(pool, 1);
  const second = await connected(pool, 2);
  first.pool.tryAcquireId();
  pool.leave();
  expect(second.pool.tryAcquireId()).toBe(-1);
  first.worker.emit("exit", 0);
  expect(second.pool.tryAcquireId()).toBeGreaterThan(0);
  second.pool.validate();
});

it("a thread that joins in the place of a worker's worker is not ended with that worker, at whatever moment", async () => {
  const root = SharedPool.create({ size: 64, count: 4, members: 4 });
  const parent = await connected(root, 1);
  const child = await connected(parent.pool, 2);
  await child.lane.close();
  child.pool.leave();
  const { compareExchange } = Atomics;
  let isArmed = true;
  // The worker ends just after the newcomer's place is taken.
  Atomics.compareExchange = ((...args: Parameters<typeof compareExchange>) => {
    const seen = compareExchange(...args);
    if (isArmed && args[0].buffer === root.memory) {
      isArmed = false;
      parent.worker.emit("exit", 0);
    }
    return seen;
  }) as typeof compareExchange;
  let newcomer: SharedPool;
  try {
    newcomer = SharedPool.attach(root.handle);
  } finally {
    Atomics.compareExchange = compareExchange;
  }
  expect([isArmed, newcomer.member]).toEqual([false, child.pool.member]);
  expect(newcomer.tryAcquireId()).toBeGreaterThan(0);
});

it("a neighbor that writes two members who are each other's parents: a worker's end looks at each place once", async () => {
  const pool = SharedPool.create({ size: 64, count: 4, members: 4 });
  const first = await connected(pool, 1);
  const second = await connected(first.pool, 2);
  const third = await connected(second.pool, 3);
  const words = new Int32Array(pool.memory);
  const at = (member: number): number => 416 + member * 16;
  const ends = [second, third].map(({ pool: { member } }) => member);
  // The second is the third's child as well; and whatever is done to both, they are live again.
  const live = ends.map((member) => words[at(member)]!);
  const { compareExchange } = Atomics;
  let steps = 0;
  Atomics.compareExchange = ((...args: Parameters<typeof compareExchange>) => {
    const seen = compareExchange(...args);
    if (args[0].buffer === pool.memory) {
      if (++steps > 10_000) throw new Error("it does not end");
      for (const [n, member] of ends.entries()) words[at(member)] = live[n]!;
      words[at(ends[0]!) + 7] = live[1]! & ~7;
      words[at(ends[0]!) + 6] = ((live[0]! & ~7) << 2) | (ends[1]! + 1);
    }
    return seen;
  }) as typeof compareExchange;
  try {
    first.worker.emit("exit", 0);
  } finally {
    Atomics.compareExchange = compareExchange;
  }
  expect(steps).toBeLessThan(100);
});
