/** Waiting in rings: no wake-up is lost in any interleaving, every wait ends, and nobody spins his time slice away. */
import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { LeaseRing } from "../../../src/pools/shared/lease-ring.ts";
import { SpscRing } from "../../../src/pools/shared/ring.ts";
import { AGAIN, ENDED, type RingState, RingWord, WRAP } from "../../../src/pools/shared/ring-steps.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { atomicsWaiter, type SharedWaiter } from "../../../src/pools/shared/waiter.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { isMillpondError } from "../../../src/util/errors.ts";
import { HANGS_MS, REPEATED, seedOf, times } from "../../helpers/effort.ts";
import { generator } from "../../helpers/random.ts";
import { code } from "../buffer/pools.ts";
import { alone, explore, notify, type Run, type Step, steps, type Thread } from "./interleave.ts";

const waiter = { wait() {} };

/** One ring, as its two threads see it, beginning where counters wrap if `start` says so. */
class RingWorld {
  readonly i32: Int32Array;
  readonly pusher: RingState;
  readonly popper: RingState;
  readonly capacity: number;
  readonly came: number[] = [];
  batch = 1;

  constructor(capacity: number, { start = 0, batch = 1 } = {}) {
    this.capacity = capacity;
    this.batch = batch;
    this.i32 = new Int32Array(RingWord.ITEMS + capacity);
    this.i32[RingWord.TAIL] = start;
    this.i32[RingWord.HEAD] = start;
    this.pusher = this.side(start);
    this.popper = this.side(start);
  }

  side(start: number): RingState {
    // One look where it spins: more would be the same again.
    const counters = { tail: start, head: start, cachedTail: start, cachedLimit: start, publishedHead: start };
    const { i32, batch, capacity } = this;
    const publishAt = (start + batch) & WRAP;
    return {
      i32,
      last: capacity - 1,
      batch,
      publishAt,
      ...counters,
      pushesWait: false,
      popsWait: false,
      spins: 1,
      notify,
    };
  }

  *push(value: number): Step<number> {
    const { pusher } = this;
    const attempt = () => steps.pushOrEnd(pusher, value) as never;
    return (yield* steps.waitSync(pusher, RingWord.HEAD, attempt, waiter, Number.POSITIVE_INFINITY)) as number;
  }

  *pop(): Step<number> {
    const { popper } = this;
    const attempt = () => steps.popOrEnd(popper) as never;
    return (yield* steps.waitSync(popper, RingWord.TAIL, attempt, waiter, Number.POSITIVE_INFINITY)) as number;
  }

  *pushes(...values: number[]): Thread {
    for (const value of values) if ((yield* this.push(value)) !== 0) throw new Error(`could not push ${value}`);
  }

  *pops(count: number): Thread {
    for (let i = 0; i < count; i++) this.came.push(yield* this.pop());
  }

  run(threads: readonly Thread[], expected: readonly number[]): Run {
    const check = (): void => {
      if (this.came.join() !== expected.join()) throw new Error(`came ${this.came}, not ${expected}`);
    };
    return { threads, i32: this.i32, check };
  }
}

describe("every interleaving of two sides of a ring that sleep", REPEATED, () => {
  it.each([
    [1, 2, 0],
    [1, 3, WRAP - 1],
    [2, 3, 0],
  ])(
    "capacity %i: %i numbers arrive in order, and nobody is left asleep (counters from %i)",
    (capacity, count, start) => {
      const values = Array.from({ length: count }, (_, i) => i + 1);
      const make = (): Run => {
        const world = new RingWorld(capacity, { start });
        return world.run([world.pushes(...values), world.pops(count)], values);
      };
      expect(explore(make, { preemptions: 4 }).schedules).toBeGreaterThan(100);
    },
  );

  it("room that is told of in batches wakes the sleeper all the same", () => {
    const make = (): Run => {
      const world = new RingWorld(4, { batch: 2 });
      for (const value of [1, 2, 3, 4]) alone(world.push(value));
      return world.run([world.pushes(5, 6), world.pops(6)], [1, 2, 3, 4, 5, 6]);
    };
    expect(explore(make, { preemptions: 3 }).schedules).toBeGreaterThan(100);
  });

  it("a third thread closes: both sides end, and what was pushed comes out first", () => {
    const make = (): Run => {
      const world = new RingWorld(1);
      let pushed = 0;
      const pusher = function* (): Thread {
        for (let value = 1; ; value++) {
          const got = yield* world.push(value);
          if (got === ENDED) return;
          pushed++;
          if (pushed === 2) return;
        }
      };
      const popper = function* (): Thread {
        for (;;) {
          const got = yield* world.pop();
          if (got === ENDED) return;
          world.came.push(got);
        }
      };
      const closer = function* (): Thread {
        yield* steps.close(world.side(0));
      };
      const check = (): void => {
        const left = pushed - world.came.length;
        // A push that had looked before the ring was closed may end after the popping side has gone.
        if (left < 0 || left > 1) throw new Error(`pushed ${pushed}, came ${world.came}`);
      };
      return { threads: [pusher(), popper(), closer()], i32: world.i32, check };
    };
    expect(explore(make, { preemptions: 3 }).schedules).toBeGreaterThan(100);
  });

  it("an exploration that finds nothing would be no test: a push that stores its counter and looks for no sleeper is caught", () => {
    const make = (): Run => {
      const world = new RingWorld(1);
      const broken = function* (): Thread {
        yield;
        world.i32[RingWord.ITEMS] = 1;
        yield;
        world.i32[RingWord.TAIL] = 1;
      };
      return world.run([broken(), world.pops(1)], [1]);
    };
    expect(() => explore(make)).toThrow(/nobody is left to wake/);
  });
});

const never: SharedWaiter = { ...atomicsWaiter, waitAsync: undefined };

describe.each([
  ["Atomics.waitAsync", undefined],
  ["polls, where there is no Atomics.waitAsync", never],
])("promises of a SpscRing, by %s", (_, given) => {
  const pair = (capacity: number): [SpscRing, SpscRing] => {
    const options = given === undefined ? {} : { waiter: given };
    const ring = SpscRing.create(capacity, options);
    return [ring, SpscRing.attach(ring.memory, options)];
  };

  it("pop waits for a push, push waits for a place, first come, first served", async () => {
    const [pusher, popper] = pair(2);
    const pops = [popper.pop(), popper.pop(), popper.pop()];
    const pushes = [1, 2, 3, 4, 5, 6].map((value) => pusher.push(value));
    expect(await Promise.all(pops)).toEqual([1, 2, 3]);
    await Promise.all(pushes.slice(0, 5));
    expect([await popper.pop(), await popper.pop(), await popper.pop()]).toEqual([4, 5, 6]);
    await Promise.all(pushes);
  });

  it("a try does not overtake those who wait", async () => {
    const [pusher, popper] = pair(1);
    await pusher.push(1);
    const second = pusher.push(2);
    expect([popper.tryPop(), pusher.tryPush(3)]).toEqual([1, false]);
    await second;
    expect([popper.tryPop(), popper.tryPop()]).toEqual([2, -1]);
    const waits = popper.pop();
    expect([pusher.tryPush(4), popper.tryPop(), await waits]).toEqual([true, -1, 4]);
    expect([pusher.tryPush(5), popper.tryPop()]).toEqual([true, 5]);
  });

  it("a signal and a timeout take their waiter out, and those behind it go on", async () => {
    const [pusher, popper] = pair(1);
    await pusher.push(1);
    const abort = new AbortController();
    const aborted = pusher.push(2, { signal: abort.signal });
    const late = pusher.push(3, { timeout: 5 });
    const last = pusher.push(4);
    abort.abort(new Error("enough"));
    await expect(aborted).rejects.toThrow("enough");
    await expect(late).rejects.toMatchObject({ code: "ERR_STARVED" });
    expect([popper.tryPop(), await last, popper.tryPop()]).toEqual([1, undefined, 4]);
    await expect(popper.pop({ timeout: 5 })).rejects.toMatchObject({ code: "ERR_STARVED" });
    await expect(popper.pop({ signal: abort.signal })).rejects.toThrow("enough");
  });

  it("closing wakes all, on both sides; what is in the ring still comes out", async () => {
    const [pusher, popper] = pair(1);
    const [empty, third] = pair(1);
    await pusher.push(7);
    const waits = [pusher.push(8), pusher.push(9), third.pop(), third.pop()];
    const settled = Promise.allSettled(waits);
    popper.close();
    empty.close();
    expect((await settled).map((one) => (one as PromiseRejectedResult).reason?.code)).toEqual(
      new Array(4).fill("ERR_INACTIVE"),
    );
    expect([await popper.pop(), popper.isClosed, pusher.isClosed, pusher.tryPush(1)]).toEqual([7, true, true, false]);
    await expect(popper.pop()).rejects.toMatchObject({ code: "ERR_INACTIVE" });
    await expect(pusher.push(1)).rejects.toMatchObject({ code: "ERR_INACTIVE" });
    expect([code(() => pusher.pushSync(1)), code(() => popper.popSync())]).toEqual(["ERR_INACTIVE", "ERR_INACTIVE"]);
    popper.close();
  });
});

describe("the forms that block", () => {
  it("time out, with their own error, and leave the ring as it was", () => {
    const ring = SpscRing.create(1);
    expect([code(() => ring.popSync(0)), code(() => ring.popSync(5))]).toEqual(["ERR_STARVED", "ERR_STARVED"]);
    ring.pushSync(1);
    expect([code(() => ring.pushSync(2, 5)), ring.popSync(), ring.tryPop()]).toEqual(["ERR_STARVED", 1, -1]);
  });

  it("let those of this thread go first who wait by a promise", async () => {
    const ring = SpscRing.create(1);
    const far = SpscRing.attach(ring.memory);
    ring.tryPush(1);
    const waits = ring.push(2);
    expect([far.tryPop(), code(() => ring.pushSync(3, 1))]).toEqual([1, "ERR_STARVED"]);
    await waits;
    expect(far.popSync()).toBe(2);
    const first = far.pop();
    ring.tryPush(4);
    expect(code(() => far.popSync(1))).toBe("ERR_STARVED");
    expect(await first).toBe(4);
  });

  it("refuse what is not an integer from 0 to 2^31 - 1, and bounds that are none", async () => {
    const ring = SpscRing.create(2);
    for (const bad of [-1, 1.5, Number.NaN, 2 ** 31]) expect(code(() => ring.pushSync(bad))).toBe("ERR_OUT_OF_RANGE");
    for (const bad of ["1", 1n, Symbol("x"), null, undefined]) {
      expect(code(() => ring.pushSync(bad as never))).toBe("ERR_INVALID_ARG_TYPE");
      await expect(ring.push(bad as never)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
    }
    expect([code(() => ring.popSync(-1)), code(() => ring.pushSync(1, Number.NaN))]).toEqual([
      "ERR_OUT_OF_RANGE",
      "ERR_OUT_OF_RANGE",
    ]);
    await expect(ring.pop(null as never)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
    await expect(ring.pop({ signal: { aborted: false } as never })).rejects.toMatchObject({
      code: "ERR_INVALID_ARG_TYPE",
    });
    await expect(ring.pop({ timeout: -1 })).rejects.toMatchObject({ code: "ERR_OUT_OF_RANGE" });
    expect([ring.length, code(() => SpscRing.create(2, null as never))]).toEqual([0, "ERR_INVALID_ARG_TYPE"]);
  });

  it("a push that waits finds the room of a ring that is popped now and then, less than an eighth of it", () => {
    const ring = SpscRing.create(64);
    const far = SpscRing.attach(ring.memory);
    for (let i = 0; i < 64; i++) ring.tryPush(i);
    expect([far.tryPop(), ring.tryPush(64)]).toEqual([0, false]);
    ring.pushSync(64, 5000);
    expect([ring.tryPush(65), far.tryPop()]).toEqual([false, 1]);
  });

  it("a promise that nobody wakes looks again after half a second", async () => {
    const clock = new FakeClock();
    const ring = SpscRing.create(64, { clock });
    const far = SpscRing.attach(ring.memory);
    for (let i = 0; i < 64; i++) ring.tryPush(i);
    far.tryPop();
    const waits = ring.push(64);
    clock.advance(500);
    await waits;
    expect(code(() => ring.pushSync(65, 1))).toBe("ERR_STARVED");
  });
});

describe("promises of a LeaseRing", () => {
  const two = (count = 4): [SharedPool, SharedPool] => {
    const pool = SharedPool.create({ size: 8, count });
    return [pool, SharedPool.attach(pool.handle)];
  };

  it("push waits until somebody is at the other side, and then for a place", async () => {
    const [a, b] = two();
    const ring = LeaseRing.create(a, 1, "push");
    const [first, second] = [a.tryAcquireId(), a.tryAcquireId()];
    const waits = [ring.push(first), ring.push(second)];
    expect(code(() => ring.pushSync(first, 5))).toBe("ERR_STARVED");
    const far = LeaseRing.attach(b, ring.memory, "pop");
    await waits[0];
    expect([await far.pop(), await far.pop(), await waits[1]]).toEqual([first, second, undefined]);
    b.releaseId(first);
    b.releaseId(second);
    expect(a.stats().free).toBe(4);
  });

  it("a wait ends with the pool, with this thread's part in it, and with the ring; leases stay", async () => {
    const [a, b] = two();
    const ring = LeaseRing.create(a, 1, "push");
    const far = LeaseRing.attach(b, ring.memory, "pop");
    const ids = [a.tryAcquireId(), a.tryAcquireId()];
    await ring.push(ids[0]!);
    const closed = ring.push(ids[1]!);
    far.close();
    await expect(closed).rejects.toMatchObject({ code: "ERR_INACTIVE" });
    expect([a.isHeld(ids[1]!), far.tryPop(), code(() => far.popSync())]).toEqual([true, ids[0], "ERR_INACTIVE"]);
    b.releaseId(ids[0]!);
    a.releaseId(ids[1]!);
    const other = LeaseRing.create(a, 1, "push");
    const there = LeaseRing.attach(b, other.memory, "pop");
    const waits = there.pop();
    a.close();
    await expect(waits).rejects.toMatchObject({ code: "ERR_POOL_DEAD" });
    expect(code(() => there.popSync())).toBe("ERR_POOL_DEAD");
  });

  it("a lease that is none is refused, and the next one goes on", async () => {
    const [a, b] = two();
    const ring = LeaseRing.create(a, 1, "push");
    const far = LeaseRing.attach(b, ring.memory, "pop");
    const [first, second] = [a.tryAcquireId(), a.tryAcquireId()];
    await ring.push(first);
    const waits = [ring.push(77), ring.push(second)];
    const settled = Promise.allSettled(waits);
    expect(await far.pop()).toBe(first);
    expect(await far.pop()).toBe(second);
    expect((await settled).map(({ status }) => status)).toEqual(["rejected", "fulfilled"]);
  });
});

describe("a ring whose words anybody may write", () => {
  const seed = seedOf("ring words");
  const next = generator(seed);
  const nasty = (): number =>
    [0, 1, -1, 63, 64, 65, 2 ** 29, 2 ** 29 - 1, 2 ** 30, 2 ** 31 - 1, next(2 ** 24) << 8][next(11)]!;

  it("every call ends at once, with an answer or with an error of the library", () => {
    const a = SharedPool.create({ size: 8, count: 4 });
    const b = SharedPool.attach(a.handle);
    const first = LeaseRing.create(a, 4, "push");
    const far = LeaseRing.attach(b, first.memory, "pop");
    const raw = SpscRing.attach(first.memory);
    const words = new Int32Array(first.memory);
    const calls: (() => unknown)[] = [
      () => first.tryPush(a.tryAcquireId()),
      () => first.pushSync(a.tryAcquireId(), 0),
      () => far.tryPop(),
      () => far.popSync(0),
      () => [first.length, first.isMet, far.isMet, first.isClosed],
      () => raw.tryPush(next(8)),
      () => raw.tryPop(),
      () => raw.peek(),
      () => raw.popSync(0),
      () => SpscRing.attach(first.memory),
      () => LeaseRing.attach(b, first.memory, "pop"),
    ];
    for (let i = 0; i < 20_000; i++) {
      words[next(3) === 0 ? next(words.length) : [16, 32, 48, 49, 64, 65, 80, 96][next(8)]!] = nasty();
      try {
        calls[next(calls.length)]!();
      } catch (error) {
        if (!isMillpondError(error)) throw new Error(`seed ${seed}, step ${i}: ${String(error)}`, { cause: error });
      }
    }
  });

  it("a peer that writes the counter without end holds neither this thread nor its promises", async () => {
    const ring = SpscRing.create(4);
    const word = new Int32Array(ring.memory, 4 * RingWord.TAIL, 1);
    // As a peer that always comes between the look and the sleep.
    const busy: SharedWaiter = {
      ...atomicsWaiter,
      waitAsync: () => {
        Atomics.and(word, 0, WRAP);
        return undefined;
      },
    };
    const popper = SpscRing.attach(ring.memory, { waiter: busy });
    await expect(popper.pop({ timeout: 30 })).rejects.toMatchObject({ code: "ERR_STARVED" });
    const waits = popper.pop({ timeout: 60_000 });
    ring.tryPush(3);
    expect(await waits).toBe(3);
  });
});

describe("beside two busy loops", () => {
  it("numbers through 64 places arrive in order, a million of them at full length", REPEATED, async () => {
    const stop = new Int32Array(new SharedArrayBuffer(4));
    const busy = [0, 1].map(
      () =>
        new Worker("const { workerData: w } = require('node:worker_threads'); while (Atomics.load(w, 0) === 0);", {
          eval: true,
          workerData: stop,
          execArgv: [],
        }),
    );
    const ring = SpscRing.create(64);
    const total = times(5_000, 1_000_000);
    const worker = new Worker(new URL("./ring.worker.ts", import.meta.url), {
      workerData: { memory: ring.memory, total, waits: true },
      execArgv: [],
    });
    try {
      let wrong = 0;
      // The bound ends a pop that hangs, and judges no machine: the side that waits sleeps, and is woken by the other
      // side.
      for (let n = 0; n < total; n++) if (ring.popSync(HANGS_MS) !== n) wrong++;
      expect([wrong, ring.tryPop()]).toEqual([0, AGAIN]);
    } finally {
      Atomics.store(stop, 0, 1);
      await Promise.all([...busy, worker].map((one) => one.terminate()));
    }
  });
});
