// Shares its realm with other files: nothing that it changes outlives it.
/** A block whose ArrayBuffer a holder transferred away: nobody gets an element of it any more, and it goes back. */
import { describe, expect, it } from "vitest";
import { PagePool, SlabPool, SystemAllocator } from "../../../src/index.ts";
import { code } from "../buffer/pools.ts";

const SOURCES = {
  "no source": () => undefined,
  "a SystemAllocator": () => new SystemAllocator("s"),
  "a PagePool": () => PagePool.create({ max: 8 }).allocator,
};

describe.each(Object.keys(SOURCES) as (keyof typeof SOURCES)[])("a SlabPool over %s", (from) => {
  const make = (options: object = {}) => {
    const source = SOURCES[from]();
    return SlabPool.create({
      elementSize: 64,
      blockSize: 1024,
      maxBlocks: 2,
      ...(source ? { source } : {}),
      ...options,
    });
  };
  const transfer = ({ buffer }: Uint8Array): void =>
    void structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });

  it.each([false, true])(
    "gives no element of a transferred block once a call has met it (generations: %s)",
    (generations) => {
      const destroyed: number[] = [];
      const pool = make({ generations, destroy: (pointer: number) => void destroyed.push(pointer) });
      const pointers = Array.from({ length: pool.capacity - 3 }, () => pool.alloc());
      transfer(pool.bytes(pointers[0]!));
      pool.free(pointers.pop()!);
      expect(code(() => pool.bytes(pointers[1]!))).toBe("ERR_DETACHED");
      pool.validate();
      expect([pool.live, pool.stats().free]).toEqual([pointers.length, 0]);
      const fresh = Array.from({ length: pool.capacity }, () => pool.alloc());
      for (const pointer of fresh) expect(pool.bytes(pointer).length).toBe(64);
      expect(pool.tryAlloc()).toBe(undefined);
      for (const call of ["bytes", "view", "blockOf", "blockViewOf"] as const) {
        expect(code(() => pool[call](pointers[2]!))).toBe("ERR_DETACHED");
      }
      expect([pool.isLive(pointers[2]!), [...pool].length]).toEqual([true, pool.capacity + pointers.length]);
      expect(pool.holders().length).toBe(pool.capacity + pointers.length);
      for (const pointer of pointers) {
        expect(destroyed).toEqual([]);
        pool.free(pointer);
        expect(() => pool.free(pointer)).toThrow();
      }
      pool.validate();
      expect([destroyed.length, pool.stats().blocks, pool.live]).toEqual([pool.capacity, 1, pool.capacity]);
      // The number of the block is used again.
      for (let i = 0; i < pool.capacity; i++) expect(pool.bytes(pool.alloc()).length).toBe(64);
      expect(pool.close({ force: true }).live).toBe(2 * pool.capacity);
      expect(destroyed.length).toBe(3 * pool.capacity);
    },
  );

  it("one element after the other: one call fails, and then the elements have bytes", () => {
    const pool = make({ maxBlocks: 1 });
    const pointer = pool.alloc();
    transfer(pool.bytes(pointer));
    pool.free(pointer);
    let failed = 0;
    for (let i = 0; i < 20; i++) {
      const next = pool.alloc();
      if (code(() => pool.bytes(next)) === "ERR_DETACHED") failed++;
      pool.free(next);
    }
    expect(failed).toBe(1);
    pool.validate();
    pool.close();
  });

  it("a block that is lost while it ages, or while its rest is not carved yet, goes all the same", () => {
    let fails = true;
    const pool = make({
      ageOut: 1,
      timer: false,
      init: (pointer: number) => {
        if (pointer === 5 && fails) throw new Error("init");
      },
    });
    expect(() => pool.alloc()).toThrow("init");
    fails = false;
    const rest = pool.alloc();
    transfer(pool.bytes(rest));
    expect(code(() => pool.bytes(rest))).toBe("ERR_DETACHED");
    pool.validate();
    for (const now of [1e6, 2e6]) pool.maintain(now);
    pool.validate();
    expect(pool.live).toBe(1);
    pool.free(rest);
    pool.validate();
    expect(pool.stats().blocks).toBe(0);
    const next = pool.alloc();
    expect(pool.bytes(next).length).toBe(64);
    pool.free(next);
    pool.close();
  });

  it("closes while elements of a lost block are live: refused, and by force", () => {
    const pool = make();
    const pointer = pool.alloc();
    transfer(pool.bytes(pointer));
    expect(code(() => pool.bytes(pointer))).toBe("ERR_DETACHED");
    expect(code(() => pool.close())).toBe("ERR_IN_USE");
    expect(pool.close({ force: true }).live).toBe(1);
  });
});
