/** A clock that throws, or gives no time, ends no call of a pool halfway. */
import { describe, expect, it } from "vitest";
import { BufferPool, SlabPool } from "../../../src/index.ts";
import { SharedBufferPool } from "../../../src/shared.ts";
import type { Clock } from "../../../src/util/clock.ts";
import { reachableBytes } from "../../helpers/heap.ts";
import { lateErrors } from "../../helpers/late-errors.ts";
import { code } from "./pools.ts";

class Breakable implements Clock {
  readings: () => unknown = () => 1;
  timers: () => unknown = () => 1;

  now(): number {
    return this.readings() as number;
  }

  setTimer(): unknown {
    return this.timers();
  }

  clearTimer(): void {}
}

const BROKEN: Record<string, () => unknown> = {
  throws: () => {
    throw new Error("clock");
  },
  "gives a bigint": () => 5n,
  "gives NaN": () => Number.NaN,
};

const POOLS = {
  BufferPool: (clock: Clock) => BufferPool.create({ size: 64, max: 2, clock }),
  SharedBufferPool: (clock: Clock) => {
    const pool = new SharedBufferPool({ clock });
    pool.configure({ size: 64, max: 2 });
    pool.activate();
    return pool;
  },
};

describe("a clock that breaks", () => {
  for (const [name, reading] of Object.entries(BROKEN))
    for (const [kind, make] of Object.entries(POOLS)) {
      it(`${name}: close({ force: true }) of a ${kind} takes the leases back all the same`, async () => {
        const clock = new Breakable();
        const pool = make(clock);
        const lease = pool.tryAcquire()!;
        clock.readings = reading;
        const late = await lateErrors(() => {
          expect(code(() => pool.close())).toBe("ERR_IN_USE");
          const [holder] = pool.close({ force: true });
          expect([holder?.age, lease.isLive, pool.outstanding]).toEqual([0, false, 0]);
        });
        expect(new Set(late)).toEqual(new Set(name === "throws" ? ["clock"] : []));
      });

      it(`${name}: retire() of a ${kind} retires it and gives the holders`, async () => {
        const clock = new Breakable();
        const pool = make(clock);
        const lease = pool.tryAcquire()!;
        clock.readings = reading;
        await lateErrors(() => {
          expect(pool.retire().map(({ slot }) => slot)).toEqual([lease.slotIndex]);
          expect(pool.isDraining).toBe(true);
          lease.release();
          expect(pool.isDraining).toBe(false);
        });
      });
    }

  it("has no timer: alloc() of a SlabPool gives its element, and says so later", async () => {
    const clock = new Breakable();
    clock.timers = BROKEN.throws!;
    const pool = SlabPool.create({ elementSize: 64, blockSize: 1024, ageOut: 20, maxBlocks: 1, clock });
    const late = await lateErrors(() => pool.free(pool.alloc()));
    expect([late, pool.stats().blocks]).toEqual([["clock"], 1]);
  });

  it("throws once as a starvation is looked at: the next look reports it", async () => {
    const clock = new Breakable();
    const looks: (() => void)[] = [];
    clock.setTimer = (...[look]: unknown[]) => looks.push(look as () => void);
    const pool = BufferPool.create({ size: 64, max: 1, clock, starvedAfter: 50 });
    const waits: number[] = [];
    pool.on("starved", ({ waited }) => waits.push(waited));
    const lease = pool.tryAcquire()!;
    const wait = pool.acquire();
    clock.readings = () => {
      clock.readings = () => 61;
      throw new Error("clock");
    };
    expect(await lateErrors(() => looks.shift()!())).toEqual(["clock"]);
    expect([looks.length, waits]).toEqual([1, []]);
    looks.shift()!();
    expect(waits).toEqual([60]);
    lease.release();
    (await wait).release();
  });

  it("that keeps its timers keeps no forgotten pool whose waiter is forgotten too", async () => {
    const kept: unknown[] = [];
    const clock: Clock = { now: () => 1, setTimer: (fn) => kept.push(fn), clearTimer() {} };
    const pools = Array.from({ length: 10 }, () => {
      const pool = BufferPool.create({ size: 64, max: 1, clock });
      pool.on("starved", () => {});
      pool.tryAcquire();
      pool.acquire().catch(() => {});
      return new WeakRef(pool);
    });
    expect(kept.length).toBe(10);
    await reachableBytes();
    // The stack may hold the last one.
    expect(pools.filter((pool) => pool.deref() !== undefined).length).toBeLessThan(3);
  });

  for (const time of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, "7", null])
    it(`gives ${String(time)} once: blocks of a SlabPool still age out by the readings after it, and not before`, () => {
      const clock = new Breakable();
      const pool = SlabPool.create({ elementSize: 64, blockSize: 1024, ageOut: 20, clock });
      pool.free(pool.alloc());
      const blocks = [time, time, 10, 20, 31].map((now) => {
        clock.readings = () => now;
        pool.maintain();
        return pool.stats().blocks;
      });
      expect(blocks).toEqual([1, 1, 1, 1, 0]);
    });
});
