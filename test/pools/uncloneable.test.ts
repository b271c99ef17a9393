// Shares its realm with other files: nothing that it changes outlives it.
/** What structured clone refuses: a clone of it would be an object that nothing works with. */
import { expect, it } from "vitest";
import { SizeClassArena, TlsfArena } from "../../src/arena.ts";
import { MemAllocator } from "../../src/compat/directshow.ts";
import { BufferPool, PagePool, RealtimePool, SlabPool } from "../../src/index.ts";
import { SharedPool, TransferPool } from "../../src/shared.ts";

const MAKERS: Record<string, () => object> = {
  BufferPool: () => BufferPool.create({ size: 8, max: 1 }),
  PagePool: () => PagePool.create(),
  SlabPool: () => SlabPool.create({ elementSize: 8 }),
  RealtimePool: () => RealtimePool.create({ totalSize: 512, lock: "off" }),
  SharedPool: () => SharedPool.create({ size: 8, count: 1 }),
  TransferPool: () => TransferPool.create({ size: 8, count: 1 }),
  TlsfArena: () => TlsfArena.create({ source: new ArrayBuffer(65_536) }),
  SizeClassArena: () => SizeClassArena.create({ source: new ArrayBuffer(1 << 20) }),
  MemAllocator: () => new MemAllocator(),
};

it.each(Object.keys(MAKERS))("a %s cannot be cloned", (name) => {
  const made = MAKERS[name]!();
  expect(() => structuredClone(made)).toThrow(expect.objectContaining({ name: "DataCloneError" }));
  expect(() => structuredClone({ made })).toThrow(expect.objectContaining({ name: "DataCloneError" }));
});

it("reclaim() reads a handle's status once", () => {
  const pool = SharedPool.create({ size: 8, count: 1, members: 3 });
  const { handle } = pool;
  let reads = 0;
  const membership = {
    member: 1,
    get status() {
      reads++;
      return 1;
    },
  };
  try {
    pool.reclaim({ ...handle, membership } as never);
  } catch {
    // Whether it is that of a reserved membership is not the question.
  }
  expect(reads).toBe(1);
});
