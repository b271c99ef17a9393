/**
 * One rule for the waits of every pool: what is refused is refused before it is queued, and every wait that is queued
 * ends.
 */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, describe, expect, it } from "vitest";
import { Allocator } from "../../../src/memory/allocator.ts";
import { Region } from "../../../src/memory/region.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import type { WaitOptions } from "../../../src/pools/common/wait-queue.ts";
import { TransferPool } from "../../../src/pools/lane/transfer-pool.ts";
import { PagePool } from "../../../src/pools/page/page-pool.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { FakeClock, type TimerHandle } from "../../../src/util/clock.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { FULL } from "../../helpers/effort.ts";
import { lateErrors } from "../../helpers/late-errors.ts";

interface Waiting {
  /** Takes the pool's only block. */
  readonly take: () => { release(): void };
  readonly acquire: (options?: WaitOptions) => Promise<unknown>;
  /** How many wait; undefined where the pool does not tell. */
  readonly waiting: () => number | undefined;
  readonly check: () => void;
}

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

/** A pool of one block, of each kind. */
const POOLS: Readonly<Record<string, (clock: FakeClock) => Waiting>> = {
  BufferPool(clock) {
    const pool = new BufferPool({ name: "one", clock });
    pool.configure({ size: 64, max: 1 });
    pool.activate();
    return {
      take: () => pool.tryAcquire()!,
      acquire: (options) => pool.acquire(options),
      waiting: () => pool.stats().waiting,
      check: () => pool.validate(),
    };
  },
  PagePool(clock) {
    const pool = PagePool.create({ max: 1, clock });
    return {
      take: () => pool.tryAllocate(64)!,
      acquire: (options) => pool.acquire(64, options),
      waiting: () => pool.stats().waiting,
      check: () => pool.validate(),
    };
  },
  SharedPool(clock) {
    const pool = SharedPool.create({ size: 64, count: 1, clock });
    ends.push(() => pool.close({ force: true }));
    return {
      take() {
        const slot = pool.tryAcquire()!;
        return { release: () => pool.release(slot) };
      },
      acquire: (options) => pool.acquire(options),
      waiting: () => undefined,
      check: () => undefined,
    };
  },
  TransferPool(clock) {
    const pool = TransferPool.create({ size: 64, count: 1, clock });
    return {
      take() {
        const slot = pool.tryAcquire()!;
        return { release: () => pool.release(slot) };
      },
      acquire: (options) => pool.acquire(options),
      waiting: () => undefined,
      check: () => undefined,
    };
  },
};

/** A clock that knows which timers keep the process alive, by their milliseconds. */
class RecordingClock extends FakeClock {
  readonly kept: number[] = [];

  override setTimer(fn: () => void, ms: number, background: boolean): TimerHandle {
    if (!background) this.kept.push(ms);
    return super.setTimer(fn, ms, background);
  }
}

const NO_SIGNALS: Readonly<Record<string, unknown>> = {
  "an object with aborted only": { aborted: false },
  null: null,
  "a string": "signal",
  "a number": 1,
  "a symbol": Symbol("signal"),
  "an object with methods and no aborted": { addEventListener() {}, removeEventListener() {} },
  "a proxy that throws": new Proxy(
    {},
    {
      get() {
        throw new Error("no");
      },
    },
  ),
};

for (const [kind, open] of Object.entries(POOLS)) {
  describe(`waits of ${kind}`, () => {
    for (const [what, signal] of Object.entries(NO_SIGNALS)) {
      it(`refuse ${what} as a signal before anything is queued`, async () => {
        const pool = open(new FakeClock());
        const held = pool.take();
        expect(await codeOf(pool.acquire({ signal: signal as AbortSignal }))).toBe("ERR_INVALID_ARG_TYPE");
        expect(pool.waiting() ?? 0).toBe(0);
        held.release();
        pool.check();
        pool.take().release();
      });
    }

    it("refuse impossible timeouts and options before anything is queued", async () => {
      const pool = open(new FakeClock());
      const held = pool.take();
      for (const timeout of [Number.NaN, -1, -Infinity]) {
        expect(await codeOf(pool.acquire({ timeout }))).toBe("ERR_OUT_OF_RANGE");
      }
      for (const timeout of ["1", 1n, Symbol("1"), null]) {
        expect(await codeOf(pool.acquire({ timeout: timeout as unknown as number }))).toBe("ERR_INVALID_ARG_TYPE");
      }
      expect(await codeOf(pool.acquire(null as unknown as WaitOptions))).toBe("ERR_INVALID_ARG_TYPE");
      expect(pool.waiting() ?? 0).toBe(0);
      held.release();
      pool.take().release();
    });

    it("leave nothing behind when a signal's addEventListener throws", async () => {
      const pool = open(new FakeClock());
      const held = pool.take();
      const signal = {
        aborted: false,
        addEventListener() {
          throw new Error("no listeners here");
        },
        removeEventListener() {},
      } as unknown as AbortSignal;
      expect(await codeOf(pool.acquire({ signal }))).toContain("no listeners here");
      held.release();
      pool.take().release();
    });

    it("end although a signal calls back while it is being listened to", async () => {
      const clock = new FakeClock();
      const pool = open(clock);
      const held = pool.take();
      const signal = {
        aborted: false,
        reason: new Error("at once"),
        addEventListener: (_name: string, listener: () => void) => listener(),
        removeEventListener() {},
      } as unknown as AbortSignal;
      expect(await codeOf(pool.acquire({ signal, timeout: 50 }))).toContain("at once");
      held.release();
      pool.take().release();
    });

    it("read each option once, so that a getter cannot change its mind", async () => {
      const pool = open(new FakeClock());
      const held = pool.take();
      let reads = 0;
      const options = {
        get signal() {
          return reads++ === 0 ? undefined : ({ aborted: false } as AbortSignal);
        },
      };
      const wait = pool.acquire(options);
      expect(reads).toBe(1);
      held.release();
      await wait;
    });

    it("do not fire at once with a timeout above 2^31 ms, and end when it is over", async () => {
      const clock = new RecordingClock();
      const pool = open(clock);
      const held = pool.take();
      let ended = "";
      const wait = codeOf(pool.acquire({ timeout: 2 ** 31 + 1000 })).then((code) => {
        ended = code;
      });
      await Promise.resolve();
      expect(clock.kept.every((ms) => ms < 2 ** 31)).toBe(true);
      // In one step: a pool that polls would look for 35 years of fake milliseconds otherwise.
      if (kind !== "SharedPool") {
        clock.advance(2 ** 31);
        for (let turn = 0; turn < 8; turn++) await Promise.resolve();
        expect(ended).toBe("");
        clock.advance(1000);
        await wait;
        expect(ended).toBe("ERR_STARVED");
      }
      held.release();
    });

    it("with an infinite timeout start no timer that would fire", async () => {
      const clock = new RecordingClock();
      const pool = open(clock);
      const held = pool.take();
      const wait = pool.acquire({ timeout: Infinity });
      await Promise.resolve();
      expect(clock.kept).toEqual([]);
      held.release();
      await wait;
    });

    it("aborted at the hand-over lose no block, whichever comes first", async () => {
      for (const first of ["abort", "release"]) {
        const pool = open(new FakeClock());
        const held = pool.take();
        const stop = new AbortController();
        const wait = pool.acquire({ signal: stop.signal }).then(
          (got) => got as { release?: () => void },
          () => undefined,
        );
        if (first === "abort") {
          stop.abort(new Error("stop"));
          held.release();
        } else {
          held.release();
          stop.abort(new Error("stop"));
        }
        const got = await wait;
        // A release wakes a waiter of a SharedPool in a later turn, so an abort right behind it may win.
        if (kind !== "SharedPool" || first === "abort") expect(got === undefined).toBe(first === "abort");
        if (got === undefined) pool.take().release();
      }
    });

    it("end with what building the error throws rather than never", async () => {
      const clock = new FakeClock();
      const pool = open(clock);
      const held = pool.take();
      const wait = codeOf(pool.acquire({ timeout: 10 }));
      await Promise.resolve();
      const { now } = clock;
      let broken = true;
      clock.now = () => {
        if (broken) throw new Error("the clock is broken");
        return now.call(clock);
      };
      // A pool that ages or polls reads the clock in a timer of its own too; what that reading throws surfaces in a
      // later turn.
      const late = await lateErrors(() => {
        for (let timer = 0; timer < 4; timer++) {
          try {
            clock.advance(5);
          } catch {
            // Or it passes that on to the clock.
          }
        }
      });
      expect(late.filter((message) => message !== "the clock is broken")).toEqual([]);
      expect(await wait).not.toBe("ok");
      broken = false;
      held.release();
    });
  });
}

describe("tags of a BufferPool", () => {
  const hostile: readonly unknown[] = [
    Symbol("tag"),
    Object.create(null),
    {
      toString() {
        throw new Error("no");
      },
    },
    1,
    null,
    new Proxy({}, {}),
  ];

  it("that are no strings are refused before anything is leased or queued", async () => {
    const clock = new FakeClock();
    const pool = new BufferPool({ name: "one", clock });
    pool.configure({ size: 64, max: 1 });
    pool.activate();
    for (const tag of hostile) {
      expect(await codeOf(pool.acquire({ tag: tag as string, timeout: 10 }))).toBe("ERR_INVALID_ARG_TYPE");
      expect(() => pool.tryAcquire({ tag: tag as string })).toThrow(/options\.tag must be a string/);
    }
    expect(pool.outstanding).toBe(0);
    const held = pool.tryAcquire({ tag: "good" })!;
    for (const tag of hostile) {
      expect(await codeOf(pool.acquire({ tag: tag as string, timeout: 10 }))).toBe("ERR_INVALID_ARG_TYPE");
    }
    expect(pool.stats().waiting).toBe(0);
    const late = codeOf(pool.acquire({ timeout: 10 }));
    clock.advance(10);
    expect(await late).toBe("ERR_STARVED");
    held.release();
    pool.validate();
  });
});

/** Fails when it is told to. */
class Moody extends Allocator {
  failures = 0;
  constructor() {
    super("moody");
  }
  protected override allocateRegion(size: number): Region | undefined {
    return this.failures-- > 0 ? undefined : new Region(new Uint8Array(size));
  }
  protected override freeRegion(): void {}
}

describe("waiters of a BufferPool after a failed replacement", () => {
  it("go on being served: the first gets the error, the second the buffer, and no newcomer overtakes", async () => {
    const allocator = new Moody();
    const pool = new BufferPool({ name: "one" });
    pool.configure({ size: 64, max: 1, allocator });
    pool.activate();
    const lease = pool.tryAcquire()!;
    const first = codeOf(pool.acquire());
    const second = pool.acquire({ tag: "second" });
    const third = pool.acquire({ tag: "third" });
    allocator.failures = 1;
    lease.remove();
    lease.release();
    expect(await first).toBe("ERR_ALLOCATION_FAILED");
    expect(pool.tryAcquire()).toBeUndefined();
    const got = await second;
    expect(pool.stats().waiting).toBe(1);
    got.release();
    (await third).release();
    pool.validate();
  });

  it("all hear of an allocator that never recovers, and none waits on", async () => {
    const allocator = new Moody();
    const pool = new BufferPool({ name: "one" });
    pool.configure({ size: 64, max: 1, allocator });
    pool.activate();
    const lease = pool.tryAcquire()!;
    const waits = [1, 2, 3].map(() => codeOf(pool.acquire()));
    allocator.failures = 100;
    lease.remove();
    lease.release();
    expect(await Promise.all(waits)).toEqual(Array(3).fill("ERR_ALLOCATION_FAILED"));
    expect(pool.stats().waiting).toBe(0);
    pool.validate();
  });
});

describe("a pending wait", () => {
  const run = promisify(execFile);
  const source = (name: string): string =>
    JSON.stringify(fileURLToPath(new URL(`../../../src/pools/${name}.ts`, import.meta.url)));
  const MAKE: Readonly<Record<string, string>> = {
    BufferPool: `const { BufferPool } = await import(${source("buffer/buffer-pool")});
      const pool = new BufferPool(); pool.configure({ size: 64, max: 1 }); pool.activate();
      const held = pool.tryAcquire(); const acquire = (options) => pool.acquire(options);`,
    PagePool: `const { PagePool } = await import(${source("page/page-pool")});
      const pool = PagePool.create({ max: 1 });
      const held = pool.tryAllocate(64); const acquire = (options) => pool.acquire(64, options);`,
    SharedPool: `const { SharedPool } = await import(${source("shared/shared-pool")});
      const pool = SharedPool.create({ size: 64, count: 1 });
      const held = pool.tryAcquire(); const acquire = (options) => pool.acquire(options);`,
    TransferPool: `const { TransferPool } = await import(${source("lane/transfer-pool")});
      const pool = TransferPool.create({ size: 64, count: 1 });
      const held = pool.tryAcquire(); const acquire = (options) => pool.acquire(options);`,
  };
  for (const [kind, make] of Object.entries(MAKE)) {
    const child = async (options: string): Promise<string> => {
      const body = `${make}
        process.on("exit", () => console.log("exit"));
        for (const options of [${options}])
          acquire(options).then(() => console.log("got"), (error) => console.log(error.code));`;
      const { stdout } = await run(process.execPath, ["--input-type=module", "-e", body], { timeout: 100_000 });
      return stdout.trim().replaceAll("\n", " ");
    };

    it(`of ${kind} with a timeout keeps the process alive until it settles`, async () => {
      expect(await child("{ timeout: 200 }")).toBe("ERR_STARVED exit");
    });

    it(`of ${kind} without a timeout does not keep the process alive by itself`, async () => {
      expect(await child("{}, { timeout: Infinity, signal: new AbortController().signal }")).toBe("exit");
    });
  }
});

describe("activation with a min of n buffers", () => {
  /** The best of some runs, in microseconds of processor time: other work on the machine is not in it. */
  function best(count: number, allocator?: () => Moody): number {
    let least = Infinity;
    for (let round = 0; round < 5; round++) {
      const pool = new BufferPool({ name: "many" });
      const source = allocator?.();
      pool.configure({ size: 64, min: count, max: count, ...(source === undefined ? {} : { allocator: source }) });
      const start = process.cpuUsage();
      try {
        pool.activate();
        pool.close();
      } catch {
        expect(pool.stats().count).toBe(0);
      }
      const { user, system } = process.cpuUsage(start);
      least = Math.min(least, user + system);
    }
    return least;
  }

  /** Has memory for so many buffers, then no more. */
  class Limited extends Moody {
    left: number;
    constructor(left: number) {
      super();
      this.left = left;
    }
    protected override allocateRegion(size: number): Region | undefined {
      return this.left-- > 0 ? new Region(new Uint8Array(size)) : undefined;
    }
  }

  it("takes linear time, also when the last buffer cannot be made and all go back", FULL, () => {
    // 64 times the buffers: 64 times the time when it is linear, and up to 3 times that with the caches and the garbage
    // collector of a busy machine; 4,096 times when it is quadratic.
    expect(best(64_000) / best(1000)).toBeLessThan(600);
    expect(best(64_000, () => new Limited(63_999)) / best(1000, () => new Limited(999))).toBeLessThan(600);
  });

  it("gives every slot a number of its own again after some were discarded in any order", () => {
    const pool = new BufferPool({ name: "numbers" });
    pool.configure({ size: 64, min: 6, max: 6 });
    pool.activate();
    const leased = Array.from({ length: 6 }, () => pool.tryAcquire()!);
    for (const at of [4, 0, 2]) {
      leased[at]!.remove();
      leased[at]!.release();
    }
    const again = Array.from({ length: 3 }, () => pool.tryAcquire()!);
    const numbers = [...again, leased[1]!, leased[3]!, leased[5]!].map((buffer) => buffer.slotIndex);
    expect(numbers.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5]);
    pool.validate();
  });
});

describe("stats().starved of a BufferPool", () => {
  it("counts waits that ended so, and none that a listener, the clock or a release served at the last moment", async () => {
    const clock = new FakeClock();
    const pool = BufferPool.create({ size: 8, max: 1, clock });
    let held = pool.tryAcquire()!;
    const off = pool.on("starved", () => held.release());
    const served = pool.acquire({ timeout: 10 });
    clock.advance(10);
    held = await served;
    expect(pool.stats()).toMatchObject({ starved: 0, waits: 1 });
    off();
    const starved = pool.acquire({ timeout: 10 });
    clock.advance(10);
    await expect(starved).rejects.toMatchObject({ code: "ERR_STARVED" });
    await expect(pool.acquire({ timeout: 0 })).rejects.toMatchObject({ code: "ERR_STARVED" });
    await expect(pool.acquire({ nowait: true })).rejects.toMatchObject({ code: "ERR_STARVED" });
    expect(pool.stats()).toMatchObject({ starved: 3, waits: 2 });
  });
});
