/** What a RealtimePool keeps when a Memory moves, and what it says when its source is gone. */
import { describe, expect, it } from "vitest";
import { SharedAllocator } from "../../../src/allocators/shared.ts";
import { MemoryFlags } from "../../../src/memory/params.ts";
import { PagePool } from "../../../src/pools/page/page-pool.ts";
import { RealtimePool } from "../../../src/pools/realtime/realtime-pool.ts";
import { lateErrors } from "../../helpers/late-errors.ts";
import { code } from "../buffer/pools.ts";

describe("reallocate()", () => {
  const cases = (["READONLY", "NO_SHARE"] as const).flatMap((flag) =>
    [700, 90, 8].flatMap((size) => [true, false].map((walled): [typeof flag, number, boolean] => [flag, size, walled])),
  );

  it.each(cases)("keeps %s at %i bytes, also where the block moves (walled: %s)", (name, size, walled) => {
    const pool = RealtimePool.create({ totalSize: 8192, lock: "off" });
    const memory = pool.allocate(64, { flags: MemoryFlags[name] | MemoryFlags.FIRST_CUSTOM });
    if (walled) pool.alloc(64);
    const moved = pool.reallocate(memory, size);
    expect(moved.flags).toBe(MemoryFlags[name] | MemoryFlags.FIRST_CUSTOM);
    if (name === "READONLY") expect(code(() => moved.map("write"))).toBe("ERR_NOT_WRITABLE");
    else expect(code(() => moved.share(0))).toBe("ERR_NOT_SHAREABLE");
    moved.release();
    pool.validate();
  });

  it("keeps no promise of zeros behind bytes that it does not know", () => {
    const pool = RealtimePool.create({ totalSize: 8192, lock: "off" });
    const junk = pool.alloc(4000);
    pool.bytes(junk).fill(0xff);
    pool.free(junk);
    for (const walled of [false, true]) {
      const memory = pool.allocate(64, { padding: 8, flags: MemoryFlags.ZERO_PADDED });
      const wall = walled ? pool.alloc(64) : 0;
      const moved = pool.reallocate(memory, 1000);
      const { offset, size, region } = moved;
      const padding = region.bytes.subarray(offset + size);
      if ((moved.flags & MemoryFlags.ZERO_PADDED) !== 0) expect(padding.every((byte) => byte === 0)).toBe(true);
      moved.release();
      if (wall !== 0) pool.free(wall);
    }
  });
});

describe("a RealtimePool over a PagePool that was closed by force", () => {
  const make = () => {
    const source = PagePool.create({ max: 4 });
    return { source, pool: RealtimePool.create({ totalSize: 256, source: source.allocator, lock: "off" }) };
  };

  it("answers stats() and holders(), and close() ends it", async () => {
    const { source, pool } = make();
    source.close({ force: true });
    expect([pool.holders(), pool.stats().liveBlocks, pool.stats().used]).toEqual([[], 0, 0]);
    expect(code(() => pool.alloc(8))).toBe("ERR_DETACHED");
    expect(await lateErrors(() => pool.close())).toEqual([]);
    expect(pool.isClosed).toBe(true);
    pool.close();
  });

  it.each([false, true])(
    "answers validate() with the reason, also where the bytes are left and wiped (shared: %s)",
    (shared) => {
      const source = PagePool.create({ max: 4, zero: "release", ...(shared && { source: new SharedAllocator() }) });
      const pool = RealtimePool.create({ totalSize: 256, source: source.allocator, lock: "off" });
      const memory = pool.allocate(8);
      pool.validate();
      source.close({ force: true });
      expect(code(() => pool.validate())).toBe("ERR_POOL_DEAD");
      expect(() => pool.validate()).toThrow(/its source "pages" was closed by force/);
      expect([pool.holders().map((holder) => holder.memory), pool.stats().totalSize]).toEqual([[memory.id], 0]);
      pool.close({ force: true });
    },
  );

  it("has no blocks any more, but the Memories that somebody holds, which only force ends", async () => {
    const { source, pool } = make();
    pool.alloc(8);
    const memory = pool.allocate(8);
    source.close({ force: true });
    expect(pool.holders().map((holder) => holder.memory)).toEqual([memory.id]);
    expect([code(() => pool.close()), pool.isClosed]).toEqual(["ERR_IN_USE", false]);
    expect(await lateErrors(() => pool.close({ force: true }))).toEqual([]);
    expect([pool.isClosed, code(() => memory.map("read"))]).toEqual([true, "ERR_POOL_DEAD"]);
  });
});
