/** What a RealtimePool keeps when a Memory moves, and what it says when its source is gone. */
import { describe, expect, it } from "vitest";
import { SharedAllocator } from "../../../src/allocators/shared.ts";
import { MemoryFlags } from "../../../src/memory/params.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import { PagePool } from "../../../src/pools/page/page-pool.ts";
import { RealtimePool } from "../../../src/pools/realtime/realtime-pool.ts";
import { SlabPool } from "../../../src/pools/slab/slab-pool.ts";
import { setDebugLevel } from "../../../src/util/debug.ts";
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
    expect(code(() => pool.alloc(8))).toBe("ERR_POOL_DEAD");
    expect(await lateErrors(() => pool.close())).toEqual([]);
    expect(pool.isClosed).toBe(true);
    pool.close();
  });

  it.each([false, true])(
    "answers validate() with the reason, also where the bytes are left and wiped (shared: %s)",
    (shared) => {
      const source = PagePool.create({ max: 4, zero: "release", ...(shared && { source: new SharedAllocator() }) });
      const pool = RealtimePool.create({ totalSize: 256, source: source.allocator, lock: "off" });
      pool.allocate(8);
      pool.validate();
      source.close({ force: true });
      expect(code(() => pool.validate())).toBe("ERR_POOL_DEAD");
      expect(() => pool.validate()).toThrow(/its source "pages" was closed by force/);
      expect([pool.holders(), pool.stats().totalSize]).toEqual([[], 0]);
      pool.close();
    },
  );

  it("has no blocks any more, also not of Memories that somebody holds, and close() ends it and them", async () => {
    const { source, pool } = make();
    pool.alloc(8);
    const memory = pool.allocate(8);
    source.close({ force: true });
    expect([pool.holders(), pool.stats().liveBlocks]).toEqual([[], 0]);
    expect(await lateErrors(() => pool.close())).toEqual([]);
    expect([pool.isClosed, code(() => memory.map("read"))]).toEqual([true, "ERR_POOL_DEAD"]);
    expect(code(() => memory.release())).toBe("ERR_POOL_DEAD");
  });

  it.each([0, 1, 2])("ends the lease of a Memory that is released, with one error, at debug level %i", (level) => {
    const { source, pool } = make();
    setDebugLevel(level, pool.name);
    try {
      const [memory, other] = [pool.allocate(8), pool.allocate(8)];
      expect(pool.stats().debugLevel).toBe(level);
      source.close({ force: true });
      expect(() => memory.release()).toThrow(/its source "pages" was closed by force/);
      expect([memory.refCount, code(() => memory.release())]).toEqual([0, "ERR_DOUBLE_RELEASE"]);
      expect(pool.allocator.stats().liveMemories).toBe(1);
      expect([other.refCount, pool.holders(), pool.stats().liveBlocks]).toEqual([1, [], 0]);
      pool.close();
      expect(pool.isClosed).toBe(true);
    } finally {
      setDebugLevel(0, pool.name);
    }
  });

  it.each([0, 1, 2])(
    "lets a BufferPool and a SlabPool over it end, and ends after them, at debug level %i",
    (level) => {
      const { source } = make();
      const pool = RealtimePool.create({ totalSize: 65_536, source: source.allocator, lock: "off", name: "under" });
      setDebugLevel(level, "under");
      try {
        const buffers = BufferPool.create({ name: "b", size: 64, max: 2, allocator: pool.allocator });
        const slabs = SlabPool.create({ elementSize: 16, blockSize: 512, source: pool.allocator });
        const [buffer, element] = [buffers.tryAcquire()!, slabs.alloc()];
        source.close({ force: true });
        expect(code(() => buffer.release())).toBe("ERR_DETACHED");
        slabs.free(element);
        buffers.close();
        slabs.close();
        expect([pool.allocator.stats().liveMemories, pool.holders()]).toEqual([0, []]);
        pool.close();
      } finally {
        setDebugLevel(0, "under");
      }
    },
  );

  it("names the source in every call that needs the bytes", () => {
    const { source, pool } = make();
    const [pointer, memory] = [pool.alloc(8), pool.allocate(8)];
    source.close({ force: true });
    const calls: (() => unknown)[] = [
      () => pool.free(pointer),
      () => pool.alloc(8),
      () => pool.tryAlloc(8),
      () => pool.allocate(8),
      () => pool.realloc(pointer, 16),
      () => pool.physicalSizeOf(pointer),
      () => pool.bytes(pointer),
      () => pool.validate(),
      () => pool.release(memory),
    ];
    for (const call of calls) {
      expect([call.toString(), code(call)]).toEqual([call.toString(), "ERR_POOL_DEAD"]);
      if (memory.refCount > 0) expect(call).toThrow(/its source "pages" was closed by force and took the bytes/);
    }
  });

  it("keeps the blocks of the area that is left when another one was transferred away, also while it is debugged", () => {
    const pool = RealtimePool.create({ totalSize: 4096, maxBytes: 16_384, growBy: 4096, lock: "off", name: "two" });
    setDebugLevel(2, "two");
    try {
      const lost = pool.allocate(3000);
      const kept = pool.allocate(3000);
      structuredClone(pool.buffer, { transfer: [pool.buffer as ArrayBuffer] });
      expect(pool.holders().map((holder) => holder.memory)).toEqual([kept.id]);
      expect([pool.stats().liveBlocks, code(() => pool.close())]).toEqual([1, "ERR_IN_USE"]);
      expect(code(() => lost.release())).toBe("ERR_DETACHED");
      kept.release();
      pool.close();
    } finally {
      setDebugLevel(0, "two");
    }
  });
});
