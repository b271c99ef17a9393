// Shares its realm with other files: nothing that it changes outlives it.
/** SlabPool: libcork's numbers and order, every misuse, hooks, bounds and ages. */
import { describe, expect, it } from "vitest";
import { SharedAllocator } from "../../../src/allocators/shared.ts";
import { SystemAllocator } from "../../../src/memory/allocator.ts";
import { SlabPool, type SlabPoolOptions } from "../../../src/pools/slab/slab-pool.ts";
import { struct } from "../../../src/pools/slab/struct.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { code } from "../buffer/pools.ts";
import { CORK_CAPACITIES } from "./cork-capacities.ts";

describe("libcork's numbers", () => {
  it.each(CORK_CAPACITIES)("a block of %i holds %i-byte elements: %i", (blockSize, elementSize, capacity) => {
    const pool = SlabPool.create({ elementSize, blockSize });
    expect(pool.capacity).toBe(capacity);
    const pointers = Array.from({ length: capacity }, () => pool.alloc());
    expect([new Set(pointers).size, pool.stats().blocks]).toEqual([capacity, 1]);
    pool.validate();
  });

  it.each([
    [4096, 4081],
    [64, 49],
    [15, 0],
    [8, 8],
  ])("capacity 0 is refused at construction: blocks of %i, elements of %i", (blockSize, elementSize) => {
    expect(code(() => SlabPool.create({ elementSize, blockSize }))).toBe("ERR_OUT_OF_RANGE");
  });

  it("hands out the last slot first, LIFO over all blocks, a new block on top", () => {
    const pool = SlabPool.create({ elementSize: 8, blockSize: 64 });
    const offsets = Array.from({ length: 6 }, () => pool.offsetOf(pool.alloc()));
    expect(offsets).toEqual([48, 32, 16, 48, 32, 16]);
    pool.free(0);
    pool.free(4);
    expect([pool.alloc(), pool.alloc()]).toEqual([4, 0]);
  });

  it("init runs once a slot at carving, destroy once a slot at the end, most recently freed first; bytes survive recycling", () => {
    const calls: string[] = [];
    const pool = SlabPool.create({
      elementSize: 8,
      blockSize: 64,
      init: (pointer) => {
        calls.push(`init ${pointer}`);
        pool.bytes(pointer)[0] = 12;
      },
      destroy: (pointer) => calls.push(`destroy ${pointer}`),
    });
    const pointer = pool.alloc();
    expect([calls, pool.bytes(pointer)[0]]).toEqual([["init 0", "init 1", "init 2"], 12]);
    pool.bytes(pointer)[0] = 42;
    pool.free(pointer);
    expect(pool.bytes(pool.alloc())[0]).toBe(42);
    pool.free(pointer);
    calls.length = 0;
    pool.close();
    pool.close();
    expect(calls).toEqual(["destroy 2", "destroy 1", "destroy 0"]);
  });
});

describe("misuse and bad input", () => {
  it("double free, foreign and impossible pointers, use after free, anything after close", () => {
    const pool = SlabPool.create({ elementSize: 8, blockSize: 64 });
    const pointer = pool.alloc();
    pool.free(pointer);
    expect(code(() => pool.free(pointer))).toBe("ERR_DOUBLE_RELEASE");
    for (const use of [
      () => pool.bytes(pointer),
      () => pool.view(pointer),
      () => pool.offsetOf(pointer),
      () => pool.blockOf(pointer),
      () => pool.blockViewOf(pointer),
    ])
      expect(code(use)).toBe("ERR_USE_AFTER_RELEASE");
    // Pointers here are 0, 1 and 2: what lies between them, in front of them or behind them was never handed out.
    for (const bad of [-1, 3, 4, 0.5, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, 2 ** 32, 2 ** 53])
      for (const misuse of [() => pool.free(bad), () => pool.bytes(bad), () => pool.offsetOf(bad)])
        expect(code(misuse)).toBe("ERR_FOREIGN_RELEASE");
    for (const bad of ["0", "0x", null, undefined, {}, 0n])
      for (const misuse of [() => pool.free(bad as never), () => pool.view(bad as never)])
        expect(code(misuse)).toBe("ERR_INVALID_ARG_TYPE");
    expect([pool.live, pool.stats().free, pool.isLive(pointer)]).toEqual([0, 3, false]);
    pool.validate();
    pool.close();
    expect([
      code(() => pool.alloc()),
      code(() => pool.free(pointer)),
      code(() => pool.bytes(pointer)),
      code(() => pool.tryAlloc()),
    ]).toEqual(Array(4).fill("ERR_POOL_DEAD"));
  });

  it.each([
    [{ elementSize: -1 }, "ERR_OUT_OF_RANGE"],
    [{ elementSize: "8" }, "ERR_INVALID_ARG_TYPE"],
    [{ elementSize: Number.NaN }, "ERR_OUT_OF_RANGE"],
    [{ elementSize: 8, blockSize: 2 ** 53 }, "ERR_OUT_OF_RANGE"],
    [{ elementSize: 8, maxBlocks: -1 }, "ERR_OUT_OF_RANGE"],
    [{ elementSize: 8, source: {} }, "ERR_INVALID_ARG_TYPE"],
    [{ elementSize: 8, init: 3 }, "ERR_INVALID_ARG_TYPE"],
    [{ elementSize: 8, ageOut: -1 }, "ERR_OUT_OF_RANGE"],
    [{ elementSize: 8, align: 24 }, "ERR_INVALID_ARG_VALUE"],
    [{ elementSize: 8, align: "8" }, "ERR_INVALID_ARG_TYPE"],
    [{ elementSize: 2000, blockSize: 4096, align: 4096 }, "ERR_OUT_OF_RANGE"],
    [{ elementSize: 8, struct: struct({ a: "u8" }) }, "ERR_INVALID_ARG_VALUE"],
    [{ struct: { size: 8 } }, "ERR_INVALID_ARG_TYPE"],
    [{}, "ERR_INVALID_ARG_TYPE"],
    [{ elementSize: 8, timer: "no" }, "ERR_INVALID_ARG_TYPE"],
    [{ elementSize: 8, trace: 1 }, "ERR_INVALID_ARG_TYPE"],
    [{ elementSize: 8, clock: {} }, "ERR_INVALID_ARG_TYPE"],
    [{ elementSize: 8, name: 7 }, "ERR_INVALID_ARG_TYPE"],
    [null, "ERR_INVALID_ARG_TYPE"],
  ])("%j is %s", (options, wanted) =>
    expect(code(() => SlabPool.create(options as unknown as SlabPoolOptions))).toBe(wanted),
  );

  it("the bound: alloc throws, tryAlloc answers undefined, and nothing is lost", () => {
    const pool = SlabPool.create({ elementSize: 8, blockSize: 64, maxBlocks: 1 });
    const pointers = [pool.alloc(), pool.alloc(), pool.alloc()];
    expect([code(() => pool.alloc()), pool.tryAlloc(), pool.live]).toEqual(["ERR_POOL_FULL", undefined, 3]);
    pool.free(pointers[1]!);
    expect(pool.tryAlloc()).toBe(pointers[1]);
  });

  it("maxBytes bounds the blocks' bytes; the lower of both bounds counts", () => {
    const blocksOf = (options: object): number => {
      const pool = SlabPool.create({ elementSize: 8, blockSize: 64, ...options });
      while (pool.tryAlloc() !== undefined);
      return pool.stats().blocks;
    };
    expect([blocksOf({ maxBytes: 191 }), blocksOf({ maxBytes: 192, maxBlocks: 5 })]).toEqual([2, 3]);
    expect([blocksOf({ maxBytes: 1000, maxBlocks: 1 }), blocksOf({ maxBytes: 63 })]).toEqual([1, 0]);
    for (const bad of [-1, 1.5, Number.NaN])
      expect(code(() => SlabPool.create({ elementSize: 8, maxBytes: bad }))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => SlabPool.create({ elementSize: 8, maxBytes: "64" as never }))).toBe("ERR_INVALID_ARG_TYPE");
  });

  it("holders lists what is handed out, lowest pointer first, with sites where the pool is traced", () => {
    const pool = SlabPool.create({ elementSize: 8, blockSize: 64 });
    pool.alloc();
    pool.free(pool.alloc());
    pool.alloc();
    expect(pool.holders()).toEqual([
      { pointer: 1, site: undefined },
      { pointer: 2, site: undefined },
    ]);
    const traced = SlabPool.create({ elementSize: 8, trace: true, generations: true });
    const pointer = traced.alloc();
    expect(traced.holders()).toEqual([{ pointer, site: expect.stringContaining("slab-pool.test.ts") }]);
  });

  it("using closes a pool by force at the end of the block, also one that was closed before", () => {
    const allocator = new SystemAllocator("slab");
    let kept: SlabPool;
    {
      using pool = SlabPool.create({ elementSize: 8, source: allocator });
      pool.alloc();
      kept = pool;
      using other = SlabPool.create({ elementSize: 8, source: allocator });
      other.close();
    }
    expect([kept.isClosed, allocator.stats().liveMemories]).toEqual([true, 0]);
  });

  it("close names the live ones and changes nothing; force does them too", () => {
    const done: number[] = [];
    const allocator = new SystemAllocator("slab");
    const pool = SlabPool.create({
      elementSize: 8,
      blockSize: 64,
      source: allocator,
      destroy: (pointer) => done.push(pointer),
    });
    const pointer = pool.alloc();
    expect(() => pool.close()).toThrow(/1 element is live/);
    expect([pool.isLive(pointer), done]).toEqual([true, []]);
    pool.close({ force: true });
    expect([done.sort(), allocator.stats().liveMemories]).toEqual([[0, 1, 2], 0]);
  });

  it("a throwing init loses its one slot and no other; the next alloc goes on; a hook cannot alloc from its own pool", () => {
    const pool = SlabPool.create({
      elementSize: 8,
      blockSize: 64,
      maxBlocks: 2,
      init: (pointer) => {
        if (pointer === 1) throw new Error("slot 1");
      },
    });
    expect(() => pool.alloc()).toThrow("slot 1");
    expect([pool.live, pool.alloc()]).toEqual([0, 0]);
    pool.validate();
    const greedy: SlabPool = SlabPool.create({ elementSize: 8, blockSize: 64, init: () => void greedy.alloc() });
    expect(code(() => greedy.alloc())).toBe("ERR_REENTRANT");
  });

  it("an allocation that fails leaves the pool as it was", () => {
    const pool = SlabPool.create({ elementSize: 2 ** 50, blockSize: 2 ** 50 + 16 });
    expect([code(() => pool.alloc()), pool.stats().blocks, pool.live]).toEqual(["ERR_ALLOCATION_FAILED", 0, 0]);
  });
});

describe("blocks", () => {
  it("come from any allocator, shared memory too", () => {
    const pool = SlabPool.create({ elementSize: 8, source: new SharedAllocator() });
    const pointer = pool.alloc();
    const block = pool.blockOf(pointer);
    pool.view(pointer).setFloat64(0, 1.5);
    expect([
      pool.bytes(pointer).buffer instanceof SharedArrayBuffer,
      pool.view(pointer).getFloat64(0),
      pool.blockOf(pointer) === block,
    ]).toEqual([true, 1.5, true]);
  });

  it("go back when they were empty for the age, with destroy for their slots; the order of the others stays", () => {
    const clock = new FakeClock();
    const allocator = new SystemAllocator("age");
    const done: number[] = [];
    const pool = SlabPool.create({
      elementSize: 8,
      blockSize: 64,
      ageOut: 100,
      clock,
      source: allocator,
      destroy: (pointer) => done.push(pointer),
    });
    const pointers = Array.from({ length: 6 }, () => pool.alloc());
    for (const pointer of pointers.slice(3)) pool.free(pointer);
    pool.free(1);
    pool.maintain();
    clock.advance(99);
    pool.maintain();
    expect(pool.stats().blocks).toBe(2);
    clock.advance(1);
    pool.maintain();
    expect([pool.stats().blocks, allocator.stats().liveMemories, done.sort(), pool.alloc()]).toEqual([
      1,
      1,
      [4, 5, 6],
      1,
    ]);
    expect(code(() => pool.free(4))).toBe("ERR_FOREIGN_RELEASE");
    pool.validate();
    expect(pool.offsetOf(pool.alloc())).toBe(48);
  });

  it("are walked by the iterator, lowest live pointer first", () => {
    const pool = SlabPool.create({ elementSize: 8, blockSize: 64 });
    for (let i = 0; i < 5; i++) pool.alloc();
    pool.free(1);
    for (const pointer of pool) if (pointer === 2) pool.free(pointer);
    // Three slots a block take four numbers, so that a shift finds the block.
    expect([...pool]).toEqual([0, 5, 6]);
  });
});
