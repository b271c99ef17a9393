/** MALLOC_DEBUG: junk, guards that name the overrun block, validation on the way, and switching by name at run time. */
import { afterEach, describe, expect, it } from "vitest";
import { RealtimePool } from "../../../src/pools/realtime/realtime-pool.ts";
import { debugLevel, debugLevelOf, setDebugLevel } from "../../../src/util/debug.ts";
import { code } from "../buffer/pools.ts";

afterEach(() => {
  setDebugLevel(0);
  setDebugLevel(0, "*");
});

function poolAt(level: number, name = "debugged"): RealtimePool {
  setDebugLevel(level, name);
  return RealtimePool.create({ totalSize: 16_384, name });
}

describe("level 0", () => {
  it("leaves blocks as they are", () => {
    const pool = poolAt(0);
    const a = pool.alloc(64);
    pool.bytes(a).fill(1);
    pool.free(a);
    const b = pool.alloc(64);
    expect(b).toBe(a);
    // But for the links of the free list, which take the first 8 bytes.
    expect(
      pool
        .bytes(b)
        .subarray(8)
        .every((byte) => byte === 1),
    ).toBe(true);
    expect(pool.stats().debugLevel).toBe(0);
  });
});

describe("level 1", () => {
  it("fills new blocks and freed ones with junk, for integers and Memories", () => {
    const pool = poolAt(1);
    const pointer = pool.alloc(64);
    const memory = pool.allocate(64);
    expect(pool.bytes(pointer).every((byte) => byte === 0xa5)).toBe(true);
    expect(memory.lock("read").every((byte) => byte === 0xa5)).toBe(true);
    memory.unlock("read");
    const bytes = pool.bytes(pointer);
    const { bytes: own } = memory.region;
    pool.free(pointer);
    pool.release(memory);
    expect(bytes.subarray(8).every((byte) => byte === 0x5a)).toBe(true);
    expect(own.subarray(8).every((byte) => byte === 0x5a)).toBe(true);
    pool.close();
  });

  it("finds no overrun: there is no guard", () => {
    const pool = poolAt(1);
    const a = pool.alloc(61);
    expect(pool.physicalSizeOf(a)).toBe(64);
  });
});

describe("level 2", () => {
  it("names the integer block that was overrun by one byte, at its free and at every other call", () => {
    const pool = poolAt(2);
    const a = pool.alloc(61);
    const b = pool.alloc(10);
    expect(pool.physicalSizeOf(a)).toBe(61);
    const { buffer, byteOffset } = pool;
    new Uint8Array(buffer, byteOffset + a, 62)[61] = 1;
    const before = pool.stats();
    for (const call of [
      () => pool.free(a),
      () => pool.free(b),
      () => pool.validate(),
      () => pool.alloc(8),
      () => pool.allocate(8),
    ]) {
      expect(code(call)).toBe("ERR_CORRUPTED");
      expect(call).toThrow(new RegExp(`"debugged": block ${a} of 61 bytes was overrun: byte 61`));
    }
    expect(pool.stats()).toEqual(before);
  });

  it("names the Memory's block that was overrun; the Memory stays live, and can be given back once the guard is whole", () => {
    const pool = poolAt(2);
    const memory = pool.allocate(100);
    const { pointer } = pool.holders()[0]!;
    const beyond = new Uint8Array(pool.buffer, pool.byteOffset + pointer + 100, 1);
    const guard = beyond[0]!;
    beyond[0] = 0;
    expect(code(() => memory.release())).toBe("ERR_CORRUPTED");
    expect(memory.refCount).toBe(1);
    expect(memory.map("read").bytes.length).toBe(100);
    beyond[0] = guard;
  });

  it("names the block whose neighbor's header was overwritten", () => {
    const pool = poolAt(2);
    const a = pool.alloc(64);
    pool.alloc(64);
    new Uint8Array(pool.buffer, pool.byteOffset + a, 96).fill(0xee);
    expect(() => pool.validate()).toThrow(new RegExp(`block ${a} of 64 bytes|${a}`));
    expect(code(() => pool.alloc(8))).toBe("ERR_CORRUPTED");
  });

  it("moves the guard along when a block changes its size", () => {
    const pool = poolAt(2);
    const a = pool.realloc(pool.alloc(64), 200);
    expect(pool.physicalSizeOf(a)).toBe(200);
    pool.bytes(a).fill(1);
    const b = pool.realloc(a, 10);
    expect(pool.physicalSizeOf(b)).toBe(10);
    let memory = pool.allocate(50);
    memory = pool.reallocate(memory, 500);
    memory = pool.reallocate(memory, 20);
    expect(memory.maxSize).toBe(20);
    memory.lock("write").fill(1);
    memory.unlock("write");
    pool.validate();
    pool.release(memory);
    pool.free(b);
    pool.close();
  });

  it("refuses wrong sizes, with a guard and without", () => {
    const pool = poolAt(2);
    for (const size of [0, -8, 1.5, Number.NaN]) expect(code(() => pool.alloc(size))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => pool.alloc("8" as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(code(() => pool.alloc(2 ** 40))).toBe("ERR_POOL_FULL");
    expect(pool.stats().liveBlocks).toBe(0);
  });

  it("gives a block without a guard rather than none", () => {
    const pool = poolAt(2);
    const memory = pool.allocate(16_384);
    expect(memory.maxSize).toBe(16_384);
    pool.release(memory);
    pool.close();
  });

  it("still finds double and foreign frees for what they are", () => {
    const pool = poolAt(2);
    const a = pool.alloc(8);
    pool.free(a);
    expect(code(() => pool.free(a))).toBe("ERR_DOUBLE_RELEASE");
    expect(code(() => pool.free(12))).toBe("ERR_FOREIGN_RELEASE");
    const memory = pool.allocate(8);
    expect(code(() => pool.free(pool.holders()[0]!.pointer))).toBe("ERR_FOREIGN_RELEASE");
    memory.release();
    expect(code(() => memory.release())).toBe("ERR_DOUBLE_RELEASE");
  });
});

describe("switching", () => {
  it("reaches pools in use by the pattern of their name, and pools to come", () => {
    const mixer = RealtimePool.create({ totalSize: 4096, name: "audio.mixer" });
    const video = RealtimePool.create({ totalSize: 4096, name: "video" });
    setDebugLevel(2, "audio.*");
    const later = RealtimePool.create({ totalSize: 4096, name: "audio.later" });
    expect([mixer, video, later].map((pool) => pool.stats().debugLevel)).toEqual([2, 0, 2]);
    setDebugLevel(1, "audio.mixer");
    expect([mixer, video, later].map((pool) => pool.stats().debugLevel)).toEqual([1, 0, 2]);
    setDebugLevel(0, "audio*");
    expect([mixer, video, later].map((pool) => pool.stats().debugLevel)).toEqual([0, 0, 0]);
  });

  it("takes a pattern literally but for its stars", () => {
    const odd = RealtimePool.create({ totalSize: 4096, name: "a+b(c)" });
    setDebugLevel(1, "a.b(c)");
    expect(odd.stats().debugLevel).toBe(0);
    setDebugLevel(1, "*+b(*)");
    expect(odd.stats().debugLevel).toBe(1);
  });

  it("on and off again under live blocks loses none of them", () => {
    const pool = RealtimePool.create({ totalSize: 16_384, name: "switched" });
    const before = pool.alloc(100);
    setDebugLevel(2, "switched");
    const guarded = pool.alloc(100);
    const memory = pool.allocate(100);
    pool.validate();
    pool.free(before);
    setDebugLevel(0, "switched");
    pool.validate();
    setDebugLevel(3, "switched");
    pool.free(guarded);
    pool.release(memory);
    pool.validate();
    pool.close();
  });

  it("the realm's level is for pools that are made afterwards; a rule outranks it", () => {
    setDebugLevel(0, "quiet");
    setDebugLevel(2);
    expect(debugLevel()).toBe(2);
    expect(debugLevelOf("quiet")).toBe(0);
    setDebugLevel(1, "*");
    expect(RealtimePool.create({ totalSize: 64, name: "loud" }).stats().debugLevel).toBe(1);
  });

  it("refuses wrong levels and patterns", () => {
    expect(code(() => setDebugLevel(-1, "*"))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => setDebugLevel(1.5))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => setDebugLevel(1, 7 as never))).toBe("ERR_INVALID_ARG_TYPE");
  });
});
