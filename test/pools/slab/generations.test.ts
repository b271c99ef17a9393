// Shares its realm with other files: nothing that it changes outlives it.
/** `generations: true`: a stale pointer is told apart also when its element was handed out again. */
import { describe, expect, it } from "vitest";
import { SlabPool, struct } from "../../../src/index.ts";
import { code } from "../buffer/pools.ts";

const open = (options: object = {}): SlabPool => SlabPool.create({ elementSize: 8, generations: true, ...options });

/** Every call that takes a pointer. */
const uses = (pool: SlabPool, pointer: number): (() => unknown)[] => [
  () => pool.bytes(pointer),
  () => pool.view(pointer),
  () => pool.blockOf(pointer),
  () => pool.blockViewOf(pointer),
  () => pool.offsetOf(pointer),
];

describe("a slab pointer with a generation", () => {
  it("is refused once its element was handed out again; without generations it is taken for the new one", () => {
    const plain = SlabPool.create({ elementSize: 8 });
    const taken = plain.alloc();
    plain.free(taken);
    expect(plain.alloc()).toBe(taken);

    const pool = open();
    const old = pool.alloc();
    pool.free(old);
    const fresh = pool.alloc();
    expect(fresh).not.toBe(old);
    expect(pool.offsetOf(fresh)).toBe(pool.firstOffset + (pool.capacity - 1) * pool.stride);
    expect(code(() => pool.free(old))).toBe("ERR_DOUBLE_RELEASE");
    for (const use of uses(pool, old)) expect(code(use)).toBe("ERR_USE_AFTER_RELEASE");
    expect([pool.isLive(old), pool.isLive(fresh)]).toEqual([false, true]);
    expect(() => pool.free(old)).toThrow(String(old));
    for (const use of uses(pool, fresh)) expect(code(use)).toBe("ok");
    pool.free(fresh);
    expect(code(() => pool.free(fresh))).toBe("ERR_DOUBLE_RELEASE");
    for (const use of uses(pool, fresh)) expect(code(use)).toBe("ERR_USE_AFTER_RELEASE");
    pool.validate();
  });

  it("cannot be guessed from plain numbers, other pools' pointers or hostile values", () => {
    const pool = open({ maxBlocks: 4 });
    const live = pool.alloc();
    const foreign = [0, -0, 1, pool.capacity - 1, -1, live + 0.5, -live, live + 1, 2 ** 53, 2 ** 60, NaN, Infinity];
    for (const pointer of foreign) {
      for (const use of [...uses(pool, pointer), () => pool.free(pointer)]) {
        expect(code(use)).toMatch(/ERR_FOREIGN_RELEASE|ERR_USE_AFTER_RELEASE|ERR_DOUBLE_RELEASE/);
      }
      expect(pool.isLive(pointer)).toBe(false);
    }
    for (const pointer of [undefined, null, "1", 1n, Symbol("p"), {}]) {
      for (const use of [...uses(pool, pointer as number), () => pool.free(pointer as number)]) {
        expect(code(use)).toBe("ERR_INVALID_ARG_TYPE");
      }
      expect(pool.isLive(pointer as number)).toBe(false);
    }
    expect(pool.live).toBe(1);
    pool.free(live);
    pool.validate();
  });

  it("is what hooks, walks, reports and cursors know the element by", () => {
    const Packet = struct({ sequence: "u32" });
    const inits = new Set<number>();
    const dones: number[] = [];
    const pool: SlabPool<{ sequence: "u32" }> = SlabPool.create({
      struct: Packet,
      generations: true,
      trace: true,
      init(pointer) {
        inits.add(pointer);
        pool.bytes(pointer).fill(1);
      },
      destroy: (pointer) => dones.push(pointer),
    });
    const first = pool.alloc();
    expect(inits.has(first)).toBe(true);
    expect(pool.at(first).sequence).toBe(0x01010101);
    pool.free(first);
    const second = pool.alloc();
    const third = pool.alloc();
    pool.at(second).sequence = 7;
    expect(pool.at(second).sequence).toBe(7);
    expect(code(() => pool.at(first))).toBe("ERR_USE_AFTER_RELEASE");
    expect([...pool].toSorted((a, b) => a - b)).toEqual([second, third].toSorted((a, b) => a - b));
    const left = pool.close({ force: true });
    expect([...left.pointers].toSorted((a, b) => a - b)).toEqual([second, third].toSorted((a, b) => a - b));
    expect(left.sites.reduce((sum, { count }) => sum + count, 0)).toBe(2);
    expect(left.sites[0]!.site).toContain("generations.test");
    expect(dones.slice(-2).toSorted((a, b) => a - b)).toEqual([second, third].toSorted((a, b) => a - b));
    expect(code(() => pool.free(second))).toBe("ERR_POOL_DEAD");
    expect(code(() => pool.alloc())).toBe("ERR_POOL_DEAD");
  });

  it("stays stale when its block went by age and the number came again", () => {
    const pool = open({ elementSize: 1000, ageOut: 0, timer: false });
    const old = pool.alloc();
    pool.free(old);
    pool.maintain(0);
    pool.maintain(1);
    expect(pool.stats().blocks).toBe(0);
    expect(code(() => pool.free(old))).toMatch(/ERR_FOREIGN_RELEASE|ERR_DOUBLE_RELEASE/);
    const again = Array.from({ length: pool.capacity }, () => pool.alloc());
    expect(again).not.toContain(old);
    expect(code(() => pool.free(old))).toBe("ERR_DOUBLE_RELEASE");
    expect(pool.tryAlloc()).toBeTypeOf("number");
    pool.validate();
  });

  it("never repeats in a hundred thousand uses of one element, and stays a whole number below 2^53", () => {
    for (const options of [{}, { maxBlocks: 1 }]) {
      const pool = open(options);
      const seen = new Set<number>();
      for (let i = 0; i < 100_000; i++) {
        const pointer = pool.alloc();
        seen.add(pointer);
        pool.free(pointer);
      }
      expect(seen.size).toBe(100_000);
      expect([...seen].every((pointer) => Number.isSafeInteger(pointer))).toBe(true);
    }
  });

  it("keeps the bound, the hooks' refusals and the option's type", () => {
    let seen: string[] = [];
    const pool: SlabPool = open({
      maxBlocks: 1,
      init: () => {
        seen = [code(() => pool.alloc()), code(() => pool.tryAlloc()), code(() => pool.close())];
      },
    });
    for (let i = 0; i < pool.capacity; i++) pool.alloc();
    expect(pool.tryAlloc()).toBeUndefined();
    expect(code(() => pool.alloc())).toBe("ERR_POOL_FULL");
    expect(seen).toEqual(["ERR_REENTRANT", "ERR_REENTRANT", "ERR_REENTRANT"]);
    expect(code(() => open({ generations: 1 }))).toBe("ERR_INVALID_ARG_TYPE");
  });
});

it.each([false, true])("a hook reads and writes live elements, with generations: %s", (generations) => {
  const live: number[] = [];
  const answers = new Set<string>();
  const look = (): void => {
    for (const pointer of live) for (const use of uses(pool, pointer)) answers.add(code(use));
    for (const pointer of live) answers.add(String(pool.isLive(pointer)));
    // A pointer that is no number, or of no element, stays refused.
    for (const bad of [String(live[0] ?? 0), 2 ** 20, -1, 0.5])
      for (const use of uses(pool, bad as number)) expect(code(use), String(bad)).not.toBe("ok");
  };
  const pool: SlabPool = SlabPool.create({
    elementSize: 8,
    blockSize: 256,
    ageOut: 10,
    timer: false,
    generations,
    init: () => look(),
    destroy: () => pool.isClosed || look(),
  });
  for (let i = 0; i < 100; i++) {
    live.push(pool.alloc());
    if (i % 3 === 0) pool.free(live.pop()!);
  }
  const block = pool.capacity;
  // A block that is empty at two visits goes, and destroy looks at the others.
  for (const pointer of live.splice(block)) pool.free(pointer);
  pool.maintain(0);
  pool.maintain(20);
  expect(pool.stats().blocks).toBeLessThan(100 / block);
  expect([...answers].sort()).toEqual(["ok", "true"]);
  pool.validate();
});
