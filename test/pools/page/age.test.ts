// Shares its realm with other files: nothing that it changes outlives it.
/**
 * When idle blocks go: the cliff, the curve, the timer, clocks that misbehave, and how exact it is while the clock is
 * read coarsely.
 */
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { SystemAllocator } from "../../../src/memory/allocator.ts";
import type { Memory } from "../../../src/memory/memory.ts";
import { DECAY_STEPS } from "../../../src/pools/page/decay.ts";
import { PagePool, type PagePoolOptions } from "../../../src/pools/page/page-pool.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { FULL } from "../../helpers/effort.ts";
import { code } from "../buffer/pools.ts";

const PAGE = 4096;

function aged(options: PagePoolOptions = {}): { pool: PagePool; clock: FakeClock } {
  const clock = new FakeClock();
  return { clock, pool: PagePool.create({ clock, pageSize: PAGE, ...options }) };
}

function cycle(pool: PagePool, size = PAGE): void {
  pool.allocator.allocate(size).release();
}

/** A clock that counts how often it is read. */
class CountingClock extends FakeClock {
  readings = 0;

  override now(): number {
    this.readings++;
    return super.now();
  }
}

describe("the cliff", () => {
  it("keeps a freed block for its age and lets it go at exactly that moment", () => {
    const { pool, clock } = aged({ timer: false });
    cycle(pool);
    clock.advance(499.999);
    pool.maintain();
    expect(pool.stats().idle).toBe(1);
    clock.advance(0.001);
    pool.maintain();
    expect([pool.stats().idle, pool.stats().agedOut]).toEqual([0, 1]);
  });

  it("looks at the age before it looks for a match, so that an expired block is never leased again", () => {
    const { pool, clock } = aged({ timer: false });
    const first = pool.allocator.allocate(PAGE);
    const { region } = first;
    first.release();
    clock.advance(500);
    const second = pool.allocator.allocate(PAGE);
    expect([second.region === region, pool.stats().misses]).toEqual([false, 2]);
  });

  it("without a timer an idle pool keeps its peak until the next call, of any size", () => {
    const { pool, clock } = aged({ timer: false });
    cycle(pool);
    clock.advance(60_000);
    expect([pool.stats().idle, clock.pending]).toEqual([1, 0]);
    cycle(pool, 10 * PAGE);
    expect(pool.stats().idle).toBe(1);
  });

  it("with the timer an idle pool empties by itself, and leaves no timer behind", () => {
    const { pool, clock } = aged();
    for (let i = 0; i < 100; i++) cycle(pool, PAGE * ((i % 3) + 1));
    clock.advance(490);
    expect(pool.stats().idle).toBe(3);
    clock.advance(20);
    expect([pool.stats().idle, clock.pending]).toEqual([0, 0]);
  });

  it("the oldest goes first, whatever its size, and reuse begins a new age", () => {
    const { pool, clock } = aged({ timer: false });
    cycle(pool, PAGE);
    clock.advance(200);
    cycle(pool, 2 * PAGE);
    clock.advance(200);
    cycle(pool, PAGE);
    clock.advance(300);
    pool.maintain();
    expect(pool.stats().idleBytes).toBe(PAGE);
    clock.advance(200);
    pool.maintain();
    expect(pool.stats().idle).toBe(0);
  });

  it.each([
    ["0 holds nothing", 0, 0],
    ["Infinity keeps without end", Number.POSITIVE_INFINITY, 1],
  ])("an age of %s", (_, ageOut, idle) => {
    const { pool, clock } = aged({ ageOut });
    cycle(pool);
    clock.advance(1e9);
    pool.maintain();
    expect([pool.stats().idle, clock.pending]).toEqual([idle, 0]);
    pool.validate();
  });

  it("min blocks are never taken by age, the last freed ones; trim takes them too", () => {
    const { pool, clock } = aged({ min: 2, ageOut: 100 });
    const all = Array.from({ length: 5 }, () => pool.allocator.allocate(PAGE));
    for (const memory of all) memory.release();
    clock.advance(1000);
    expect([pool.stats().idle, clock.pending]).toEqual([2, 0]);
    expect(pool.allocator.allocate(PAGE).region).toBe(all[4]!.region);
    pool.trim();
    expect(pool.stats().idle).toBe(0);
  });

  it("with an age of 0 the floor alone is kept", () => {
    const { pool } = aged({ min: 1, ageOut: 0 });
    const all = Array.from({ length: 3 }, () => pool.allocator.allocate(PAGE));
    for (const memory of all) memory.release();
    expect(pool.stats().idle).toBe(1);
    pool.validate();
  });

  it("a clock that goes back loses nothing, drops nothing early, and time goes on from there", () => {
    const { pool, clock } = aged({ timer: false });
    cycle(pool);
    clock.advance(400);
    pool.maintain();
    clock.advance(-3_600_000);
    pool.maintain();
    expect(pool.stats().idle).toBe(1);
    clock.advance(99);
    pool.maintain();
    expect(pool.stats().idle).toBe(1);
    clock.advance(1);
    pool.maintain();
    expect(pool.stats().idle).toBe(0);
  });

  it("a frame clock can do the reading: maintain(now) takes the caller's time", () => {
    const clock = new CountingClock();
    const pool = PagePool.create({ clock, pageSize: PAGE });
    cycle(pool);
    clock.readings = 0;
    pool.maintain(499);
    expect(pool.stats().idle).toBe(1);
    pool.maintain(500);
    expect([pool.stats().idle, clock.readings]).toEqual([0, 0]);
  });

  it.each(["medium", "high"] as const)("pressure %s takes idle blocks sooner, and low ends it", (level) => {
    const { pool, clock } = aged({ min: level === "high" ? 1 : 0 });
    cycle(pool);
    clock.advance(240);
    pool.setPressure(level);
    expect(pool.stats().idle).toBe(level === "high" ? 0 : 1);
    clock.advance(20);
    expect(pool.stats().idle).toBe(0);
    cycle(pool);
    expect(pool.stats().idle).toBe(level === "high" ? 0 : 1);
    pool.setPressure("low");
    cycle(pool);
    clock.advance(300);
    expect(pool.stats().idle).toBe(1);
  });

  it("a process with an armed timer still exits", () => {
    const script = `
      const { PagePool } = await import(${JSON.stringify(new URL("../../../src/index.ts", import.meta.url).href)});
      const pool = PagePool.create({ ageOut: 600_000 });
      pool.allocator.allocate(65536).release();
      console.log(pool.stats().idle);
    `;
    const run = spawnSync(process.execPath, ["--input-type=module", "-e", script], { timeout: 100_000 });
    expect([run.status, String(run.stdout).trim()]).toEqual([0, "1"]);
  });
});

/** What the bound is on each side, in milliseconds. */
const EXACT = 10;

/** Gaps between calls, in milliseconds: bursts, frames, pauses. */
const GAPS = [0, 0.001, 0.02, 0.3, 1, 4, 7, 16, 40, 120, 499, 501, 900];

function xorshift(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

describe("the age is exact to 10 ms while one call in sixteen reads the clock", () => {
  for (let seed = 1; seed <= 8; seed++) {
    const name = `over bursts, frames and pauses of an event loop that turns (seed ${seed})`;
    it(name, seed > 3 ? FULL : {}, () => {
      const random = xorshift(seed * 2_654_435_761);
      const { pool, clock } = aged();
      /** The true moment that each idle block was freed at, by size class: each block has a class of its own. */
      const freedAt = new Map<number, number>();
      const live = new Map<number, Memory>();
      let worstEarly = 0;
      let worstLate = 0;
      const check = (): void => {
        const idle = new Set(idleClasses(pool));
        for (const [pages, at] of freedAt) {
          const elapsed = clock.now() - at;
          if (idle.has(pages)) worstLate = Math.max(worstLate, elapsed - 500);
          else {
            worstEarly = Math.max(worstEarly, 500 - elapsed);
            freedAt.delete(pages);
          }
        }
      };
      let burst = 0;
      for (let step = 0; step < 20_000; step++) {
        if (burst-- <= 0) {
          burst = Math.floor(random() * 60);
          advance(clock, GAPS[Math.floor(random() * GAPS.length)]!, check);
        } else advance(clock, random() * 0.01, check);
        const pages = 1 + Math.floor(random() * 24);
        const memory = live.get(pages);
        if (memory === undefined) {
          live.set(pages, pool.allocator.allocate(pages * PAGE));
          freedAt.delete(pages);
        } else {
          memory.release();
          live.delete(pages);
          freedAt.set(pages, clock.now());
        }
        check();
      }
      expect(worstEarly).toBeLessThanOrEqual(EXACT);
      expect(worstLate).toBeLessThanOrEqual(EXACT);
      pool.validate();
    });
  }

  it("reads the clock for one call in sixteen in a burst, and for each call in slow traffic", () => {
    const clock = new CountingClock();
    const pool = PagePool.create({ clock, pageSize: PAGE });
    for (let i = 0; i < 800; i++) cycle(pool);
    expect(clock.readings).toBeLessThan(1600 / 16 + 10);
    clock.advance(100);
    clock.readings = 0;
    for (let i = 0; i < 20; i++) {
      const memory = pool.allocator.allocate(PAGE);
      clock.advance(20);
      memory.release();
      clock.advance(20);
    }
    expect(clock.readings).toBeGreaterThanOrEqual(40);
  });

  it("in a halt of the event loop amid a burst, at most fifteen calls trust the old reading", () => {
    const clock = new FakeClock();
    let halt = 0;
    const pool = PagePool.create({
      pageSize: PAGE,
      clock: {
        now: () => clock.now() + halt,
        setTimer: clock.setTimer.bind(clock),
        clearTimer: clock.clearTimer.bind(clock),
      },
    });
    for (let i = 0; i < 100; i++) cycle(pool, PAGE);
    cycle(pool, 3 * PAGE);
    halt += 10_000;
    let trusted = 0;
    while (idleClasses(pool).includes(3) && trusted < 100) {
      trusted++;
      halt += 100;
      pool.allocator.allocate(PAGE);
    }
    expect(trusted).toBeLessThanOrEqual(16);
  });
});

/** Moves the clock in steps, as an event loop that turns does, and looks at the pool at each. */
function advance(clock: FakeClock, ms: number, check: () => void): void {
  for (let left = ms; left > 0; left -= 2) {
    clock.advance(Math.min(left, 2));
    if (ms > 4) check();
  }
}

/** Which of the classes of 1 to 24 pages hold a block, asked without a call that could change anything. */
function idleClasses(pool: PagePool): number[] {
  const { cache } = pool.allocator as unknown as { cache: { blocks: { lease: unknown; cls: { bytes: number } }[] } };
  return cache.blocks.filter((block) => block.lease === null).map((block) => block.cls.bytes / PAGE);
}

describe("the smooth curve", () => {
  it.each([
    [0.25, 0.8965],
    [0.5, 0.5],
    [0.75, 0.1035],
  ])("after %d of the period %d of a burst is left, within one block and one step", (part, share) => {
    const { pool, clock } = aged({ curve: "smooth", ageOut: 2000 });
    const blocks = Array.from({ length: 1000 }, () => pool.allocator.allocate(PAGE));
    for (const block of blocks) block.release();
    clock.advance(2000 * part);
    const left = pool.stats().idle / 1000;
    // The curve falls by at most 15/8 of a step's share in one step.
    const step = 15 / 8 / DECAY_STEPS;
    expect(left).toBeGreaterThanOrEqual(share - 0.0005);
    expect(left).toBeLessThanOrEqual(share + step + 0.002);
    clock.advance(2000 * (1 - part) + 11);
    expect([pool.stats().idle, clock.pending]).toEqual([0, 0]);
  });

  it("is never below the curve: a lone block stays for the whole period", () => {
    const { pool, clock } = aged({ curve: "smooth" });
    cycle(pool);
    clock.advance(490);
    expect(pool.stats().idle).toBe(1);
    clock.advance(20);
    expect(pool.stats().idle).toBe(0);
  });

  it("a block in steady use never goes, however long", () => {
    const { pool, clock } = aged({ curve: "smooth" });
    for (let frame = 0; frame < 1000; frame++) {
      const memory = pool.allocator.allocate(PAGE);
      clock.advance(8);
      memory.release();
      clock.advance(8);
    }
    expect([pool.stats().misses, pool.stats().agedOut]).toEqual([1, 0]);
  });

  it("a burst over a steady load decays to the load", () => {
    const { pool, clock } = aged({ curve: "smooth" });
    const burst = Array.from({ length: 64 }, () => pool.allocator.allocate(PAGE));
    for (const block of burst) block.release();
    for (let frame = 0; frame < 100; frame++) {
      const memory = pool.allocator.allocate(PAGE);
      clock.advance(8);
      memory.release();
      clock.advance(8);
      pool.validate();
    }
    expect(pool.stats().idle).toBe(1);
  });

  it("the pages that were idle longest go first", () => {
    const { pool, clock } = aged({ curve: "smooth", source: new SystemAllocator() });
    const blocks = Array.from({ length: 10 }, () => pool.allocator.allocate(PAGE));
    const regions = blocks.map((block) => block.region);
    for (const block of blocks) block.release();
    clock.advance(250);
    const { idle } = pool.stats();
    expect(idle).toBeGreaterThanOrEqual(5);
    expect(idle).toBeLessThan(7);
    const left = Array.from({ length: idle }, () => pool.allocator.allocate(PAGE).region);
    expect(left.reverse()).toEqual(regions.slice(10 - idle));
  });
});

it("of a lease grows while nobody calls the pool", () => {
  const { pool, clock } = aged({ timer: true, curve: "smooth" });
  const leases = [1, 2].map(() => pool.allocator.allocate(PAGE));
  clock.advance(6000);
  expect(pool.holders().map(({ age }) => age)).toEqual([6000, 6000]);
  for (const lease of leases) lease.release();
});

describe("a time that is none", () => {
  const NONE = [Infinity, -Infinity, 1e300, -1e300, 2 ** 53, 4 * Number.MAX_SAFE_INTEGER];

  it.each(["smooth", "cliff"] as const)("is refused by maintain() and changes nothing: %s", (curve) => {
    const { pool, clock } = aged({ timer: false, curve });
    cycle(pool);
    for (const now of NONE)
      expect(
        code(() => pool.maintain(now)),
        String(now),
      ).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => pool.maintain(Number.NaN))).toBe("ERR_INVALID_ARG_TYPE");
    const lease = pool.allocator.allocate(PAGE);
    clock.advance(100);
    pool.maintain();
    expect([pool.stats().misses, pool.holders()[0]!.age]).toEqual([1, 100]);
    lease.release();
    clock.advance(600);
    pool.maintain();
    expect(pool.stats().idle).toBe(0);
    pool.validate();
  });

  it.each(["smooth", "cliff"] as const)("in a clock leaves the last reading: %s", (curve) => {
    let time = 0;
    const clock = { now: () => time, setTimer: () => 0, clearTimer: () => {} };
    for (const bad of [...NONE, Number.NaN]) {
      time = 0;
      const pool = PagePool.create({ clock, pageSize: PAGE, timer: false, curve });
      cycle(pool);
      time = bad;
      cycle(pool);
      pool.maintain();
      expect([pool.stats().idle, pool.stats().misses], String(bad)).toEqual([1, 1]);
      time = 600;
      pool.maintain();
      expect(pool.stats().idle, String(bad)).toBe(0);
      pool.validate();
    }
  });

  it.each([1e-9, 500, 1e12])(
    "is not what a jump as far as times go is: the curve of %d ms forgets and goes on",
    (ageOut) => {
      for (const jump of [1e15, Number.MAX_SAFE_INTEGER]) {
        const { pool } = aged({ timer: false, curve: "smooth", ageOut });
        cycle(pool);
        pool.maintain(jump);
        expect(pool.stats().idle).toBe(0);
        cycle(pool);
        expect([pool.stats().idle, pool.stats().misses]).toEqual([1, 2]);
        pool.trim();
        pool.validate();
      }
    },
  );
});
