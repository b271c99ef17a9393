// Shares its realm with other files: nothing that it changes outlives it.
/** The five misuse kinds, and everything else that is refused: a typed error, and the pool is as it was. */
import { describe, expect, it } from "vitest";
import { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { Allocator, SystemAllocator } from "../../../src/memory/allocator.ts";
import { Region } from "../../../src/memory/region.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import type { BufferPoolConfig } from "../../../src/pools/buffer/config.ts";
import { code, openPool, snapshot } from "./pools.ts";

describe("the five misuse kinds", () => {
  it("a second release is ERR_DOUBLE_RELEASE and names the slot, the lease and the one who has it now", () => {
    const pool = openPool({ max: 1 });
    const first = pool.tryAcquire()!;
    first.release();
    const second = pool.tryAcquire({ tag: "second owner" })!;
    expect(() => first.release()).toThrow(/lease \d+ of slot 0 of pool "test" was already released.*"second owner"/);
    expect(code(() => first.release())).toBe("ERR_DOUBLE_RELEASE");
    expect(second.isLive).toBe(true);
    pool.validate();
  });

  it("a release into another pool is ERR_FOREIGN_RELEASE and changes neither pool", () => {
    const [pool, other] = [openPool(), openPool()];
    const buffer = pool.tryAcquire()!;
    const before = [snapshot(pool), snapshot(other)];
    expect(code(() => other.release(buffer))).toBe("ERR_FOREIGN_RELEASE");
    expect(code(() => other.release(new MediaBuffer()))).toBe("ERR_FOREIGN_RELEASE");
    expect(code(() => other.release({} as MediaBuffer))).toBe("ERR_INVALID_ARG_TYPE");
    expect([snapshot(pool), snapshot(other)]).toEqual(before);
    buffer.release();
  });

  it("every use of a released lease is ERR_USE_AFTER_RELEASE, also when the slot is leased again", () => {
    const pool = openPool({ max: 1 });
    const stale = pool.tryAcquire()!;
    stale.release();
    const now = pool.tryAcquire()!;
    const uses: (() => unknown)[] = [
      () => stale.bytes,
      () => stale.pts,
      () => {
        stale.pts = 1n;
      },
      () => stale.flags,
      () => stale.map("read"),
      () => stale.copy(),
      () => stale.copyRange(0, 1),
      () => stale.retain(),
      () => stale.memories,
      () => stale.memoryAt(0),
      () => stale.resize(0, 1),
      () => stale.fill(0, new Uint8Array(1)),
      () => stale.extract(0, new Uint8Array(1)),
      () => stale.metas(),
      () => stale.size,
      () => stale.makeWritable(),
      () => stale.lock("read"),
      () => stale.remove(),
      () => stale.isWritable,
      () => stale.pool,
      () => now.append(stale),
      () => now.copyFrom(stale),
    ];
    for (const use of uses) expect(code(use), String(use)).toBe("ERR_USE_AFTER_RELEASE");
    expect([stale.isLive, stale.refCount, stale.slotIndex]).toEqual([false, 0, 0]);
    now.release();
    pool.validate();
  });

  it("a memory or mapping that was kept beyond the lease cannot reach the next holder's bytes", () => {
    const pool = openPool({ max: 1 });
    const first = pool.tryAcquire()!;
    const memory = first.memoryAt(0);
    const mapping = first.map("readwrite");
    mapping.unmap();
    first.release();
    const second = pool.tryAcquire()!;
    expect(code(() => memory.map("read"))).toBe("ERR_USE_AFTER_RELEASE");
    expect(code(() => memory.retain())).toBe("ERR_USE_AFTER_RELEASE");
    expect(code(() => memory.release())).toBe("ERR_DOUBLE_RELEASE");
    expect(code(() => mapping.bytes)).toBe("ERR_USE_AFTER_RELEASE");
    expect(second.memoryAt(0)).not.toBe(memory);
    second.release();
  });

  it("a detached block coming back is ERR_DETACHED; it is replaced and a waiter gets the new one", async () => {
    const pool = openPool({ max: 1 });
    const lost = pool.tryAcquire()!;
    const { buffer } = lost.bytes;
    structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
    const wait = pool.acquire({ timeout: 1000 });
    expect(code(() => lost.release())).toBe("ERR_DETACHED");
    const fresh = await wait;
    expect(fresh.bytes.length).toBe(64);
    expect(pool.stats().discards).toEqual({ detached: 1 });
    expect(fresh.generation).toBeGreaterThan(lost.generation);
    fresh.release();
    pool.validate();
  });

  it("a release into a pool that was closed by force is ERR_POOL_DEAD", () => {
    const pool = openPool();
    const buffer = pool.tryAcquire({ tag: "late" })!;
    const holders = pool.close({ force: true });
    expect(holders.map(({ slot, tag }) => [slot, tag])).toEqual([[0, "late"]]);
    expect(code(() => buffer.release())).toBe("ERR_POOL_DEAD");
    expect(code(() => buffer.bytes)).toBe("ERR_POOL_DEAD");
    expect(code(() => pool.tryAcquire())).toBe("ERR_POOL_DEAD");
  });

  it("a release under a live mapping is ERR_MAPPED, and the lease goes on", () => {
    const pool = openPool();
    const buffer = pool.tryAcquire()!;
    const mapping = buffer.map("write");
    expect(code(() => buffer.release())).toBe("ERR_MAPPED");
    expect(buffer.isLive).toBe(true);
    mapping.unmap();
    mapping.unmap();
    buffer.release();
    expect(pool.free).toBe(1);
  });
});

describe("bad input is refused, and nothing changes", () => {
  const values: [string, unknown, string][] = [
    ["size", "64", "ERR_INVALID_ARG_TYPE"],
    ["size", Number.NaN, "ERR_OUT_OF_RANGE"],
    ["size", -1, "ERR_OUT_OF_RANGE"],
    ["size", 1.5, "ERR_OUT_OF_RANGE"],
    ["size", 2 ** 53, "ERR_OUT_OF_RANGE"],
    ["max", -1, "ERR_OUT_OF_RANGE"],
    ["max", Number.NaN, "ERR_OUT_OF_RANGE"],
    ["max", undefined, "ERR_INVALID_ARG_TYPE"],
    ["min", 5, "ERR_OUT_OF_RANGE"],
    ["min", "1", "ERR_INVALID_ARG_TYPE"],
    ["maxBytes", 1, "ERR_OUT_OF_RANGE"],
    ["align", 3, "ERR_INVALID_ARG_VALUE"],
    ["align", 0, "ERR_INVALID_ARG_VALUE"],
    ["align", 2 ** 30, "ERR_INVALID_ARG_VALUE"],
    ["prefix", -1, "ERR_OUT_OF_RANGE"],
    ["padding", Number.NaN, "ERR_OUT_OF_RANGE"],
    ["allocator", {}, "ERR_INVALID_ARG_TYPE"],
    ["options", [1], "ERR_INVALID_ARG_TYPE"],
    ["zero", "always", "ERR_INVALID_ARG_VALUE"],
    ["revoke", "yes", "ERR_INVALID_ARG_TYPE"],
    ["roundSize", 1, "ERR_INVALID_ARG_TYPE"],
    ["flags", -1, "ERR_OUT_OF_RANGE"],
  ];
  it.each(values)("configure({ %s: %s }) is %s", (key, value, wanted) => {
    const pool = new BufferPool({ name: "test" });
    pool.configure({ size: 8, max: 2 });
    const before = snapshot(pool);
    const config = { size: 64, max: 4, min: 1, [key]: value } as BufferPoolConfig;
    expect(code(() => pool.configure(config))).toBe(wanted);
    expect(snapshot(pool)).toEqual(before);
  });

  it("a list of options with 2^32 - 1 holes is refused by its length, and does not fill the heap", () => {
    const pool = new BufferPool({ name: "test" });
    const options: string[] = Object.assign([], { length: 2 ** 32 - 1 });
    expect(() => pool.configure({ size: 8, max: 2, options })).toThrow(/config\.options\.length must be at most 65536/);
    expect(pool.config).toBe(null);
  });

  it("bad arguments are named before a wrong state, and active before leases", () => {
    const pool = openPool();
    const buffer = pool.tryAcquire()!;
    expect(code(() => pool.configure({ size: -1, max: 1 }))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => pool.configure({ size: 1, max: 1 }))).toBe("ERR_ACTIVE");
    pool.deactivate();
    expect(code(() => pool.configure({ size: 1, max: 1 }))).toBe("ERR_IN_USE");
    expect(() => pool.configure({ size: 1, max: 1 })).toThrow(/held: slot 0/);
    buffer.release();
    expect(pool.configure({ size: 1, max: 1 }).size).toBe(1);
  });

  it("a pool of zero bytes or zero buffers cannot be activated, also where rounding would have made it more", () => {
    for (const config of [
      { size: 0, max: 2 },
      { size: 8, max: 0 },
      { size: 0, max: 2, align: 16, prefix: 1, roundSize: true },
    ]) {
      const pool = new BufferPool();
      pool.configure(config);
      expect(code(() => pool.activate())).toBe("ERR_NOT_CONFIGURED");
    }
    expect(code(() => new BufferPool().activate())).toBe("ERR_NOT_CONFIGURED");
  });

  it("acquire's options are checked before a buffer is taken", async () => {
    const pool = openPool();
    await expect(pool.acquire({ timeout: Number.NaN })).rejects.toMatchObject({ code: "ERR_OUT_OF_RANGE" });
    await expect(pool.acquire({ timeout: "5" as never })).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
    await expect(pool.acquire({ signal: AbortSignal.abort("no") })).rejects.toBe("no");
    expect(pool.outstanding).toBe(0);
  });

  it("the constructor and on() refuse values of a wrong type and out of range", () => {
    expect(code(() => new BufferPool({ name: 3 as never }))).toBe("ERR_INVALID_ARG_TYPE");
    expect(code(() => new BufferPool({ starvedAfter: -1 }))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => openPool().on("release", "x" as never))).toBe("ERR_INVALID_ARG_TYPE");
  });
});

describe("activation is all or nothing", () => {
  class Stingy extends Allocator {
    left: number;
    constructor(left: number) {
      super("stingy");
      this.left = left;
    }
    protected override allocateRegion(size: number): Region | undefined {
      return this.left-- > 0 ? new Region(new Uint8Array(size)) : undefined;
    }
    protected override freeRegion(): void {}
  }

  it("gives back what it had made when the k-th buffer fails, and can be tried again", () => {
    const allocator = new Stingy(2);
    const pool = new BufferPool();
    pool.configure({ size: 8, min: 3, max: 4, allocator });
    expect(code(() => pool.activate())).toBe("ERR_ALLOCATION_FAILED");
    expect([pool.isActive, pool.stats().count, allocator.stats().liveMemories]).toEqual([false, 0, 0]);
    allocator.left = 3;
    pool.activate();
    expect([pool.free, allocator.stats().liveMemories]).toEqual([3, 3]);
  });

  it("a failing allocation refuses one acquire and leaves the pool as it was", async () => {
    const allocator = new Stingy(1);
    const pool = new BufferPool();
    pool.configure({ size: 8, max: 4, allocator });
    pool.activate();
    const held = pool.tryAcquire()!;
    expect(code(() => pool.tryAcquire())).toBe("ERR_ALLOCATION_FAILED");
    await expect(pool.acquire()).rejects.toMatchObject({ code: "ERR_ALLOCATION_FAILED" });
    expect(pool.outstanding).toBe(1);
    held.release();
    pool.validate();
  });

  it("an allocator that cannot be revoked is refused at activation", () => {
    class Slices extends SystemAllocator {
      protected override allocateRegion(size: number): Region {
        return new Region(new Uint8Array(new ArrayBuffer(size + 64), 64, size));
      }
    }
    const pool = new BufferPool();
    pool.configure({ size: 64, min: 1, max: 1, revoke: true, allocator: new Slices("slices") });
    expect(code(() => pool.activate())).toBe("ERR_UNSUPPORTED");
    expect(pool.stats().count).toBe(0);
  });
});
