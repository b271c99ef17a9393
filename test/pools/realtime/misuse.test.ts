/** Every kind of misuse of a RealtimePool: a typed error, and the pool is as it was. */
import { describe, expect, it } from "vitest";
import { SystemAllocator } from "../../../src/memory/allocator.ts";
import { RealtimePool } from "../../../src/pools/realtime/realtime-pool.ts";
import { lateErrors } from "../../helpers/late-errors.ts";
import { code } from "../buffer/pools.ts";

function setUp() {
  const pool = RealtimePool.create({ totalSize: 16_384, name: "test" });
  return { pool, memory: pool.allocate(100), pointer: pool.alloc(100) };
}

/** The Memory of the set is a part of what it was from now on. */
function takePart(set: ReturnType<typeof setUp>): void {
  set.memory = set.memory.share(0);
}

/** What a refused call must leave alone. */
function state(pool: RealtimePool): unknown {
  return [{ ...pool.stats(), failures: 0 }, pool.holders(), pool.allocator.stats().liveMemories];
}

describe("a misused RealtimePool", () => {
  it.each<[string, string, (set: ReturnType<typeof setUp>) => unknown, ((set: ReturnType<typeof setUp>) => unknown)?]>([
    [
      "a Memory freed twice",
      "ERR_DOUBLE_RELEASE",
      ({ pool, memory }) => pool.release(memory),
      ({ pool, memory }) => pool.release(memory),
    ],
    [
      "a pointer freed twice",
      "ERR_DOUBLE_RELEASE",
      ({ pool, pointer }) => pool.free(pointer),
      ({ pool, pointer }) => pool.free(pointer),
    ],
    [
      "a Memory used after it was freed",
      "ERR_USE_AFTER_RELEASE",
      ({ memory }) => memory.map("read"),
      ({ memory }) => memory.release(),
    ],
    [
      "a Memory measured after it was freed",
      "ERR_USE_AFTER_RELEASE",
      ({ pool, memory }) => pool.sizeOf(memory),
      ({ memory }) => memory.release(),
    ],
    [
      "a Memory reallocated after it was freed",
      "ERR_USE_AFTER_RELEASE",
      ({ pool, memory }) => pool.reallocate(memory, 8),
      ({ memory }) => memory.release(),
    ],
    [
      "a pointer measured after it was freed",
      "ERR_USE_AFTER_RELEASE",
      ({ pool, pointer }) => pool.physicalSizeOf(pointer),
      ({ pool, pointer }) => pool.free(pointer),
    ],
    [
      "a pointer reallocated after it was freed",
      "ERR_USE_AFTER_RELEASE",
      ({ pool, pointer }) => pool.realloc(pointer, 8),
      ({ pool, pointer }) => pool.free(pointer),
    ],
    [
      "a Memory of another allocator",
      "ERR_FOREIGN_RELEASE",
      ({ pool }) => pool.release(new SystemAllocator().allocate(8)),
    ],
    [
      "a Memory of another realtime pool",
      "ERR_FOREIGN_RELEASE",
      ({ pool }) => pool.release(RealtimePool.create({ totalSize: 64 }).allocate(8)),
    ],
    [
      "the size of another allocator's Memory",
      "ERR_FOREIGN_RELEASE",
      ({ pool }) => pool.sizeOf(new SystemAllocator().allocate(8)),
    ],
    [
      "another allocator's Memory reallocated",
      "ERR_FOREIGN_RELEASE",
      ({ pool }) => pool.reallocate(new SystemAllocator().allocate(8), 9),
    ],
    [
      "the pointer of a Memory's block freed",
      "ERR_FOREIGN_RELEASE",
      ({ pool }) => pool.free(pool.holders()[0]!.pointer),
    ],
    [
      "the pointer of a Memory's block reallocated",
      "ERR_FOREIGN_RELEASE",
      ({ pool }) => pool.realloc(pool.holders()[0]!.pointer, 8),
    ],
    [
      "the pointer of a Memory's block measured",
      "ERR_FOREIGN_RELEASE",
      ({ pool }) => pool.physicalSizeOf(pool.holders()[0]!.pointer),
    ],
    [
      "the bytes of a Memory's block by its pointer",
      "ERR_FOREIGN_RELEASE",
      ({ pool }) => pool.bytes(pool.holders()[0]!.pointer),
    ],
    ["a pointer into a block", "ERR_FOREIGN_RELEASE", ({ pool, pointer }) => pool.free(pointer + 8)],
    ["a misaligned pointer", "ERR_FOREIGN_RELEASE", ({ pool, pointer }) => pool.free(pointer + 4)],
    ["a pointer beyond the pool", "ERR_FOREIGN_RELEASE", ({ pool }) => pool.free(1 << 28)],
    ["no pointer at all", "ERR_FOREIGN_RELEASE", ({ pool }) => pool.free(Number.NaN)],
    ["a null block", "ERR_INVALID_ARG_TYPE", ({ pool }) => pool.free(null as never)],
    ["a string", "ERR_INVALID_ARG_TYPE", ({ pool }) => pool.free("16" as never)],
    ["a null Memory measured", "ERR_INVALID_ARG_TYPE", ({ pool }) => pool.sizeOf(null as never)],
    [
      "a mapped Memory freed",
      "ERR_MAPPED",
      ({ pool, memory }) => pool.release(memory),
      ({ memory }) => memory.map("read"),
    ],
    [
      "a mapped Memory reallocated",
      "ERR_MAPPED",
      ({ pool, memory }) => pool.reallocate(memory, 5000),
      ({ memory }) => memory.map("read"),
    ],
    [
      "a Memory with another holder reallocated",
      "ERR_NOT_WRITABLE",
      ({ pool, memory }) => pool.reallocate(memory, 5000),
      ({ memory }) => memory.retain(),
    ],
    [
      "a shared Memory reallocated",
      "ERR_NOT_WRITABLE",
      ({ pool, memory }) => pool.reallocate(memory, 8),
      ({ memory }) => memory.share(0),
    ],
    ["a part of a Memory measured", "ERR_INVALID_ARG_VALUE", ({ pool, memory }) => pool.sizeOf(memory), takePart],
    [
      "a part of a Memory reallocated",
      "ERR_INVALID_ARG_VALUE",
      ({ pool, memory }) => pool.reallocate(memory, 8),
      takePart,
    ],
    ["a size of zero", "ERR_OUT_OF_RANGE", ({ pool }) => pool.alloc(0)],
    ["a negative size", "ERR_OUT_OF_RANGE", ({ pool }) => pool.tryAlloc(-8)],
    ["a size that is no number", "ERR_INVALID_ARG_TYPE", ({ pool }) => pool.alloc("8" as never)],
    ["a Memory of size zero", "ERR_OUT_OF_RANGE", ({ pool }) => pool.allocate(0)],
    ["reallocation to zero", "ERR_OUT_OF_RANGE", ({ pool, memory }) => pool.reallocate(memory, 0)],
    ["reallocation of a pointer to zero", "ERR_OUT_OF_RANGE", ({ pool, pointer }) => pool.realloc(pointer, 0)],
    ["an alignment of 3", "ERR_INVALID_ARG_VALUE", ({ pool }) => pool.allocate(8, { align: 3 })],
    ["more than there is", "ERR_POOL_FULL", ({ pool }) => pool.allocate(1 << 20)],
    ["more than there is, in place", "ERR_POOL_FULL", ({ pool, memory }) => pool.reallocate(memory, 1 << 20)],
    ["more than any pool has", "ERR_POOL_FULL", ({ pool }) => pool.alloc(2 ** 40)],
  ])("%s: %s", (_name, expected, act, prepare) => {
    const set = setUp();
    prepare?.(set);
    const before = state(set.pool);
    expect(code(() => act(set))).toBe(expected);
    expect(state(set.pool)).toEqual(before);
    set.pool.validate();
  });

  it("a Memory that was freed never reaches the next user's bytes", () => {
    const { pool, memory } = setUp();
    const old = memory.map("write");
    old.unmap();
    pool.release(memory);
    const next = pool.allocate(100);
    expect(pool.holders()[0]?.memory).toBe(next.id);
    for (const use of [
      () => memory.map("write"),
      () => memory.lock("read"),
      () => old.bytes,
      () => memory.retain(),
      () => memory.share(0),
    ]) {
      expect(code(use)).toBe("ERR_USE_AFTER_RELEASE");
    }
    expect(code(() => pool.release(memory))).toBe("ERR_DOUBLE_RELEASE");
    next.release();
  });

  it("a retained Memory outlives one free, and its block with it", () => {
    const { pool, memory } = setUp();
    memory.retain();
    pool.release(memory);
    expect(pool.sizeOf(memory)).toBe(100);
    pool.release(memory);
    expect(code(() => pool.release(memory))).toBe("ERR_DOUBLE_RELEASE");
  });

  it("says so when its buffer was transferred away", () => {
    const { pool, memory, pointer } = setUp();
    structuredClone(pool.buffer, { transfer: [pool.buffer as ArrayBuffer] });
    for (const use of [
      () => pool.alloc(8),
      () => pool.free(pointer),
      () => pool.allocate(8),
      () => memory.map("read"),
      () => pool.validate(),
    ]) {
      expect(code(use)).toBe("ERR_DETACHED");
    }
  });

  it("a release() of a Memory whose pool lost its bytes is told so, and nothing surfaces later", async () => {
    const { pool, memory } = setUp();
    structuredClone(pool.buffer, { transfer: [pool.buffer as ArrayBuffer] });
    let told = "nothing";
    const late = await lateErrors(() => {
      told = code(() => memory.release());
    });
    expect([told, late, memory.refCount, pool.allocator.stats().liveMemories]).toEqual(["ERR_DETACHED", [], 0, 0]);
    pool.close({ force: true });
  });
});
