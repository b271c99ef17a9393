// Shares its realm with other files: nothing that it changes outlives it.
/** Every hook of a SlabPool may look at its pool, and what it sees adds up. */
import { expect, test } from "vitest";
import { Allocator } from "../../../src/memory/allocator.ts";
import { Region } from "../../../src/memory/region.ts";
import { SlabPool } from "../../../src/pools/slab/slab-pool.ts";
import { FakeClock } from "../../../src/util/clock.ts";

/** What a hook saw of its pool: live, free, failed and pending slots, and all of them. */
interface Seen {
  readonly where: string;
  readonly live: number;
  readonly free: number;
  readonly failed: number;
  readonly blocks: number;
}

function watched(generations: boolean): { pool: SlabPool; seen: Seen[]; clock: FakeClock } {
  const seen: Seen[] = [];
  let pool: SlabPool | undefined;
  const look = (where: string): void => {
    if (pool === undefined) return;
    pool.validate();
    const { live, free, failed, blocks } = pool.stats();
    expect([...pool].length).toBe(live);
    expect(pool.holders().length).toBe(live);
    seen.push({ where, live, free, failed, blocks });
  };
  class Source extends Allocator {
    constructor() {
      super("looking");
    }
    protected override allocateRegion(size: number): Region {
      look("allocateRegion");
      return new Region(new Uint8Array(size));
    }
    protected override freeRegion(): void {
      look("freeRegion");
    }
  }
  class Clock extends FakeClock {
    override now(): number {
      look("now");
      return super.now();
    }
    override setTimer(fn: () => void, ms: number, background: boolean): unknown {
      look("setTimer");
      return super.setTimer(fn, ms, background);
    }
    override clearTimer(handle: unknown): void {
      look("clearTimer");
      super.clearTimer(handle);
    }
  }
  const clock = new Clock();
  pool = SlabPool.create({
    elementSize: 1000,
    source: new Source(),
    clock,
    ageOut: 100,
    generations,
    init: () => look("init"),
    destroy: () => look("destroy"),
  });
  return { pool, seen, clock };
}

test.each([false, true])("validate(), stats() and holders() agree in every hook (generations: %s)", (generations) => {
  const { pool, seen, clock } = watched(generations);
  const { capacity } = pool.stats();
  expect(capacity).toBe(4);
  const pointers = Array.from({ length: 3 * capacity }, () => pool.alloc());
  const first = seen.filter(({ where }) => where === "init").slice(0, 4);
  expect(first.map(({ live, free, failed }) => [live, free, failed])).toEqual([
    [0, 0, 0],
    [0, 1, 0],
    [0, 2, 0],
    [0, 3, 0],
  ]);
  // One block empties and ages out beside two that stay; one slot of those is free.
  for (const pointer of [...pointers.slice(capacity, 2 * capacity), pointers[0]!]) pool.free(pointer);
  seen.length = 0;
  for (let i = 0; i < 6; i++) clock.advance(100);
  expect(pool.stats().blocks).toBe(2);
  const ending = seen.filter(({ where }) => where === "destroy");
  expect(ending.map(({ live, free }) => [live, free])).toEqual(Array.from({ length: 4 }, () => [7, 5]));
  expect(seen.filter(({ where }) => where === "freeRegion")).toEqual([
    { where: "freeRegion", live: 7, free: 1, failed: 0, blocks: 2 },
  ]);
  seen.length = 0;
  pool.close({ force: true });
  expect(seen.map(({ where }) => where)).toEqual([
    ...Array.from({ length: 8 }, () => "destroy"),
    "clearTimer",
    "freeRegion",
    "freeRegion",
  ]);
  expect(seen.filter(({ where }) => where === "destroy").every(({ live, free }) => live === 7 && free === 1)).toBe(
    true,
  );
});

test("an init that throws loses its one slot, and the next look adds up", () => {
  let calls = 0;
  const pool: SlabPool = SlabPool.create({
    elementSize: 1000,
    init() {
      if (++calls === 3) throw new Error("no");
      pool.validate();
      expect(pool.stats().failed).toBe(calls > 3 ? 1 : 0);
    },
  });
  expect(() => pool.alloc()).toThrow("no");
  pool.validate();
  expect(pool.stats()).toMatchObject({ free: 2, failed: 1 });
  for (let i = 0; i < 3; i++) pool.alloc();
  expect(calls).toBe(4);
  pool.close({ force: true });
});
