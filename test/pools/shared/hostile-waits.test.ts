/** Waits against clocks, signals and lanes that change the pool in the middle: every wait ends, and no slot is lost. */
import { MessageChannel, type MessagePort } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BufferPool, PagePool } from "../../../src/index.ts";
import type { WaitOptions } from "../../../src/pools/common/wait-queue.ts";
import {
  atomicsWaiter,
  type Lane,
  type LaneSource,
  type LaneTarget,
  type Lease,
  LeaseRing,
  receiveLane,
  SharedPool,
  type SharedWaiter,
  SpscRing,
  TransferPool,
} from "../../../src/shared.ts";
import { FakeClock } from "../../../src/testing.ts";
import { codeOf } from "../../helpers/code-of.ts";

/** A clock that runs something once, at its first reading after that was set. */
class HostileClock extends FakeClock {
  run: (() => void) | undefined;
  override now(): number {
    const { run } = this;
    this.run = undefined;
    run?.();
    return super.now();
  }
}

/** The code, or "pending": nothing that could settle the promise is further away than a few turns. */
async function soon(promise: Promise<unknown>): Promise<string> {
  const settled = codeOf(promise);
  for (let turn = 0; turn < 20; turn++) {
    const answer = await Promise.race([settled, new Promise<undefined>((resolve) => setImmediate(resolve, undefined))]);
    if (answer !== undefined) return answer;
  }
  return "pending";
}

interface Full {
  readonly acquire: (options?: WaitOptions) => Promise<unknown>;
  readonly ends: Readonly<Record<string, readonly [end: () => void, code: string]>>;
}

/** A pool of each kind with its only block leased, and what ends a wait there. */
const POOLS: Readonly<Record<string, (clock: FakeClock) => Full>> = {
  BufferPool(clock) {
    const pool = new BufferPool({ clock });
    pool.configure({ size: 64, max: 1 });
    pool.activate();
    const buffer = pool.tryAcquire()!;
    return {
      acquire: (options) => pool.acquire(options),
      ends: {
        release: [() => buffer.release(), "ok"],
        deactivate: [() => pool.deactivate(), "ERR_INACTIVE"],
        setFlushing: [() => pool.setFlushing(true), "ERR_FLUSHING"],
        retire: [() => void pool.retire(), "ERR_POOL_DEAD"],
        destroy: [() => void pool.close({ force: true }), "ERR_POOL_DEAD"],
      },
    };
  },
  PagePool(clock) {
    const pool = PagePool.create({ clock, max: 1, timer: false, ageOut: Number.POSITIVE_INFINITY });
    const memory = pool.tryAllocate(64)!;
    return {
      acquire: (options) => pool.acquire(64, options),
      ends: {
        release: [() => memory.release(), "ok"],
        retire: [() => void pool.retire(), "ERR_POOL_DEAD"],
        close: [() => void pool.close({ force: true }), "ERR_POOL_DEAD"],
      },
    };
  },
  SharedPool(clock) {
    const pool = SharedPool.create({ size: 64, count: 1, clock });
    const lease = pool.tryAcquire()!;
    return {
      acquire: (options) => pool.acquire(options),
      ends: {
        release: [() => pool.release(lease), "ok"],
        detach: [() => pool.leave({ force: true }), "ERR_POOL_DEAD"],
        destroy: [() => pool.close({ force: true }), "ERR_POOL_DEAD"],
      },
    };
  },
  TransferPool(clock) {
    const pool = TransferPool.create({ size: 64, count: 1, clock });
    const lease = pool.tryAcquire()!;
    return { acquire: (options) => pool.acquire(options), ends: { release: [() => pool.release(lease), "ok"] } };
  },
  SpscRing(clock) {
    const ring = SpscRing.create(1, { clock });
    return {
      acquire: (options) => ring.pop(options),
      ends: { push: [() => void ring.tryPush(1), "ok"], close: [() => ring.close(), "ERR_INACTIVE"] },
    };
  },
};

for (const [name, make] of Object.entries(POOLS)) {
  describe(`a wait of a ${name}`, () => {
    for (const end of Object.keys(make(new FakeClock()).ends)) {
      it(`ends when its own reading of the clock calls ${end}`, async () => {
        const clock = new HostileClock();
        const { acquire, ends } = make(clock);
        const [run, code] = ends[end]!;
        clock.run = run;
        expect(await soon(acquire())).toBe(code);
        expect(clock.run).toBeUndefined();
      });
    }

    it("ends when its signal is aborted after it was looked at, by the clock or while a listener is added", async () => {
      for (const by of ["clock", "signal"]) {
        const clock = new HostileClock();
        const { acquire } = make(clock);
        const stop = new AbortController();
        const abort = (): void => stop.abort("stopped");
        if (by === "clock") clock.run = abort;
        else {
          const { signal } = stop;
          const add = signal.addEventListener;
          signal.addEventListener = (...rest: Parameters<typeof add>) => {
            abort();
            add.apply(signal, rest);
          };
        }
        expect([by, await soon(acquire({ signal: stop.signal }))]).toEqual([by, "stopped"]);
      }
    });
  });
}

describe("a wait that is served", () => {
  it("while the clock ends it leaves its buffer to the next, or free", async () => {
    for (const others of [0, 1]) {
      const clock = new HostileClock();
      const pool = new BufferPool({ clock });
      pool.configure({ size: 64, max: 1 });
      pool.activate();
      const buffer = pool.tryAcquire()!;
      const stop = new AbortController();
      const first = soon(pool.acquire({ signal: stop.signal }));
      const next = others === 1 ? pool.acquire() : undefined;
      clock.advance(10);
      clock.run = () => stop.abort("stopped");
      buffer.release();
      expect(await first).toBe("stopped");
      (await next)?.release();
      expect(pool.stats()).toMatchObject({ count: 1, free: 1, outstanding: 0, waiting: 0 });
      pool.validate();
    }
  });

  it("wakes those who joined while another wait was being made, too", async () => {
    const clock = new HostileClock();
    const pool = SharedPool.create({ size: 64, count: 1, clock });
    const lease = pool.tryAcquire()!;
    let inner: Promise<Lease> | undefined;
    clock.run = () => {
      inner = pool.acquire();
    };
    const outer = pool.acquire();
    expect(pool.stats().members[0]!.waiting).toBe(true);
    pool.release(lease);
    pool.release(await outer);
    pool.release((await inner)!);
    expect(pool.stats().free).toBe(1);
    pool.validate();
  });
});

describe("a thread that cannot sleep", () => {
  it("ends all its waits with the error, and what comes afterwards is nobody's", async () => {
    let broken = true;
    const waiter: SharedWaiter = {
      ...atomicsWaiter,
      waitAsync: (...rest) => {
        if (broken) throw new Error("no sleep");
        return atomicsWaiter.waitAsync?.(...rest);
      },
    };
    const ring = SpscRing.create(2, { waiter });
    expect(await soon(ring.pop())).toBe("Error: no sleep");
    broken = false;
    ring.tryPush(7);
    expect(await ring.pop()).toBe(7);

    broken = true;
    const pool = SharedPool.create({ size: 8, count: 1, waiter });
    const lease = pool.tryAcquire()!;
    expect(await soon(pool.acquire())).toBe("Error: no sleep");
    pool.release(lease);
    expect(pool.tryAcquire()).toBeDefined();
  });
});

describe("a waiter that is an instance of a class", () => {
  /** Keeps what it counts in a private field, which only its own methods can read. */
  class CountingWaiter implements SharedWaiter {
    #notified = 0;
    get notified(): number {
      return this.#notified;
    }
    wait(i32: Int32Array, index: number, value: number, ms: number): void {
      this.#notified += 0;
      atomicsWaiter.wait(i32, index, value, ms);
    }
    notify(i32: Int32Array, index: number, count: number): void {
      this.#notified++;
      atomicsWaiter.notify(i32, index, count);
    }
    waitAsync(i32: Int32Array, index: number, value: number, ms: number): Promise<unknown> | undefined {
      this.#notified += 0;
      return atomicsWaiter.waitAsync?.(i32, index, value, ms);
    }
  }

  it("is called as itself by a pool, by a ring and by a ring of leases", async () => {
    const waiter = new CountingWaiter();
    const pool = SharedPool.create({ size: 8, count: 1, waiter });
    const lease = pool.tryAcquire()!;
    const waits = pool.acquire();
    pool.release(lease);
    pool.release(await waits);
    expect(waiter.notified).toBeGreaterThan(0);

    const ring = SpscRing.create(2, { waiter });
    const before = waiter.notified;
    const pops = ring.pop();
    ring.tryPush(7);
    expect(await pops).toBe(7);
    expect(waiter.notified).toBeGreaterThan(before);

    const far = SharedPool.attach(pool.handle, { waiter });
    const pushing = LeaseRing.create(pool, 2, "push");
    const popping = LeaseRing.attach(far, pushing.memory, "pop");
    const between = waiter.notified;
    const comes = popping.pop();
    pushing.tryPush(pool.tryAcquireId());
    far.releaseId(await comes);
    expect(waiter.notified).toBeGreaterThan(between);
  });

  it("has its methods read once, so that a later change of it changes no pool", async () => {
    const waiter: { -readonly [K in keyof SharedWaiter]: SharedWaiter[K] } = { ...atomicsWaiter };
    const pool = SharedPool.create({ size: 8, count: 1, waiter });
    waiter.notify = () => {
      throw new Error("not the one that was checked");
    };
    waiter.waitAsync = 5 as never;
    const lease = pool.tryAcquire()!;
    const waits = pool.acquire();
    pool.release(lease);
    pool.release(await waits);
    expect(() => SharedPool.create({ size: 8, count: 1, waiter })).toThrow(
      expect.objectContaining({ code: "ERR_INVALID_ARG_TYPE" }),
    );
  });
});

describe("a clock that throws", () => {
  let thrown: unknown[] = [];
  const collect = (error: unknown): void => void thrown.push(error);
  let before: NodeJS.UncaughtExceptionListener[] = [];
  beforeEach(() => {
    thrown = [];
    before = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.on("uncaughtException", collect);
  });
  afterEach(() => {
    process.removeAllListeners("uncaughtException");
    for (const listener of before) process.on("uncaughtException", listener);
  });

  it("leaves no lease halfway: taking and giving back go on by the last reading, and the error surfaces later", async () => {
    const clock = new FakeClock();
    const real = { now: clock.now, setTimer: clock.setTimer };
    const broken = (): never => {
      throw new Error("no time");
    };
    const buffers = new BufferPool({ clock });
    buffers.configure({ size: 64, max: 1 });
    buffers.activate();
    for (const curve of ["cliff", "smooth"] as const) {
      const pages = PagePool.create({ clock, max: 1, curve });
      clock.now = broken;
      clock.setTimer = broken;
      const [buffer, page] = [buffers.tryAcquire()!, pages.tryAllocate(64)!];
      buffer.release();
      page.release();
      buffers.validate();
      pages.validate();
      expect([buffers.outstanding, pages.stats().live]).toEqual([0, 0]);
      Object.assign(clock, real);
      pages.tryAllocate(64)!.release();
      buffers.tryAcquire()!.release();
      pages.validate();
    }
    await new Promise((resolve) => setImmediate(resolve));
    expect(new Set(thrown.map(String))).toEqual(new Set(["Error: no time"]));
  });

  it("when the starved alarm is set leaves the wait in line", async () => {
    const clock = new FakeClock();
    const pool = new BufferPool({ clock });
    pool.on("starved", () => undefined);
    pool.configure({ size: 64, max: 1 });
    pool.activate();
    const buffer = pool.tryAcquire()!;
    clock.setTimer = () => {
      throw new Error("no timer");
    };
    const wait = pool.acquire();
    buffer.release();
    (await wait).release();
    expect(pool.outstanding).toBe(0);
    await new Promise((resolve) => setImmediate(resolve));
    expect(thrown.map(String)).toEqual(["Error: no timer"]);
  });
});

const ports: MessagePort[] = [];
afterEach(() => {
  for (const port of ports.splice(0)) port.close();
});

/** A lane within this thread, whose other side can be declared ended while its port is still open. */
async function pair(pool: TransferPool | SharedPool, window = 1): Promise<{ near: Lane; far: Lane; exit: () => void }> {
  const { port1, port2 } = new MessageChannel();
  ports.push(port1, port2);
  const exits: (() => void)[] = [];
  const target: LaneTarget = {
    postMessage: (message, transfer) => port1.postMessage(message, transfer),
    once: (_event, listener) => exits.push(listener),
  };
  const answer = receiveLane(port2 as unknown as LaneSource);
  const near = await pool.connect(target, { window });
  return { near, far: await answer, exit: () => exits.forEach((listener) => void listener()) };
}

describe("a lane of a TransferPool whose thread has ended, before its port says so", () => {
  it("refuses a lease with ERR_INACTIVE: sent there, its slot was lost", async () => {
    const pool = TransferPool.create({ size: 8, count: 1 });
    const { near, exit } = await pair(pool);
    const lease = await pool.acquire();
    exit();
    expect(await codeOf(near.send(lease))).toBe("ERR_INACTIVE");
    pool.release(lease);
    expect(pool.stats()).toEqual({ count: 1, free: 1, held: 0, away: 0 });
  });

  it("answers none of the requests that are still on their way: a slot granted there was lost", async () => {
    const pool = TransferPool.create({ size: 8, count: 1 });
    const { far, exit } = await pair(pool);
    const wait = far.pool.acquire().catch(() => undefined);
    exit();
    expect(await soon(wait)).toBe("pending");
    expect(pool.stats()).toEqual({ count: 1, free: 1, held: 0, away: 0 });
  });
});

describe("senders in line for a lane", () => {
  for (const [name, make] of Object.entries({
    TransferPool: () => TransferPool.create({ size: 8, count: 3 }),
    SharedPool: () => SharedPool.create({ size: 8, count: 3 }),
  })) {
    it(`of a ${name} go on when the first one's lease was released while it waited`, async () => {
      const pool = make();
      const { near, far } = await pair(pool);
      const [first, second, third] = [await pool.acquire(), await pool.acquire(), await pool.acquire()];
      await near.send(first);
      const stale = codeOf(near.send(second));
      const next = near.send(third);
      pool.release(second);
      far.pool.release((await far.receive())!.lease);
      expect(await stale).toBe("ERR_USE_AFTER_RELEASE");
      expect(await soon(next)).toBe("ok");
      far.pool.release((await far.receive())!.lease);
    });
  }
});
