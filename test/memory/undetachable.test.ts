/**
 * Buffers that cannot be detached, and look like any other: WebAssembly's memory, and what a program has marked as
 * untransferable. Ending views never throws: where it was promised, such memory is refused, or nobody else gets it.
 */
import { markAsUntransferable } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { readInto } from "../../src/adapters/web-streams.ts";
import { createTypedArrayPool } from "../../src/compat/typedarray-pool/pool.ts";
import { Allocator } from "../../src/memory/allocator.ts";
import { Region, revokeViews } from "../../src/memory/region.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { PagePool } from "../../src/pools/page/page-pool.ts";
import { RealtimePool } from "../../src/pools/realtime/realtime-pool.ts";
import { SlabPool } from "../../src/pools/slab/slab-pool.ts";
import { debugLevel, setDebugLevel } from "../../src/util/debug.ts";
import { lateErrors } from "../helpers/late-errors.ts";
import { code } from "../pools/buffer/pools.ts";

const WASM_PAGE = 65_536;

const { WebAssembly } = globalThis as unknown as {
  WebAssembly: { Memory: new (about: { initial: number }) => { readonly buffer: ArrayBuffer } };
};

/** A user's own allocator over WebAssembly's memory, which knows nothing of forbidRevocation(). */
class WasmPages extends Allocator {
  live = 0;

  constructor() {
    super("my-wasm");
  }

  protected override allocateRegion(): Region {
    this.live++;
    return new Region(new Uint8Array(new WebAssembly.Memory({ initial: 1 }).buffer));
  }

  protected override freeRegion(): void {
    this.live--;
  }
}

describe("memory that cannot be detached", () => {
  it("revokeViews() answers false, throws nothing and leaves the region as it was", () => {
    const marked = new Region(new Uint8Array(64));
    markAsUntransferable(marked.bytes.buffer);
    const wasm = new Region(new Uint8Array(new WebAssembly.Memory({ initial: 1 }).buffer));
    for (const region of [marked, wasm]) {
      const { bytes } = region;
      expect(revokeViews(region)).toBe(false);
      expect(region.bytes).toBe(bytes);
      expect(bytes.length).toBe(region.size);
    }
    expect(revokeViews(new Region(new Uint8Array(64)))).toBe(true);
  });

  it("is refused with ERR_UNSUPPORTED by pools that promise to revoke, and no region is leaked", () => {
    const allocator = new WasmPages();
    const options = { size: WASM_PAGE, max: 2, min: 1, allocator, revoke: true };
    expect(code(() => BufferPool.create(options))).toBe("ERR_UNSUPPORTED");
    const pages = PagePool.create({ source: allocator, revoke: true, pageSize: WASM_PAGE });
    expect(code(() => pages.allocate(100))).toBe("ERR_UNSUPPORTED");
    expect(allocator.live).toBe(0);
  });

  it("serves a pool that revokes wherever the memory allows it (debug levels)", () => {
    const before = debugLevel();
    setDebugLevel(1);
    try {
      const allocator = new WasmPages();
      const pool = BufferPool.create({ size: WASM_PAGE, max: 1, min: 1, allocator });
      expect(pool.config?.revoke).toBe(true);
      for (let i = 0; i < 3; i++) pool.tryAcquire()!.release();
      expect(pool.stats().misses).toBe(0);
      pool.close();
      expect(allocator.live).toBe(0);
    } finally {
      setDebugLevel(before);
    }
  });

  it("stays out for good when its lease is ended by force, and close() throws nothing", async () => {
    const allocator = new WasmPages();
    const pool = BufferPool.create({ size: WASM_PAGE, max: 2, allocator });
    const buffer = pool.tryAcquire()!;
    expect(buffer.bytes.length).toBe(WASM_PAGE);
    expect(await lateErrors(() => pool.close({ force: true }))).toEqual([]);
    expect(code(() => buffer.bytes)).toBe("ERR_POOL_DEAD");
    expect([allocator.live, pool.outstanding]).toEqual([1, 0]);
    pool.validate();
  });
});

describe("bytes that a holder marks as untransferable", () => {
  it("are discarded by a BufferPool that revokes: nothing is thrown, and the next lease has other bytes", () => {
    class Recycling extends BufferPool {
      protected override recycle(): boolean {
        return true;
      }
    }
    for (const Kind of [BufferPool, Recycling]) {
      const pool = Kind.create({ size: 64, max: 1, revoke: true });
      const first = pool.tryAcquire()!;
      const kept = first.bytes;
      markAsUntransferable(kept.buffer);
      first.release();
      expect(pool.stats()).toMatchObject({ count: 0, outstanding: 0, discards: { "memory-unfit": 1 } });
      const next = pool.tryAcquire()!;
      next.bytes.fill(7);
      expect(kept).not.toContain(7);
      next.release();
      pool.validate();
      pool.close();
    }
  });

  it("never reach the recycling allocator of a pool that revokes", () => {
    const pages = PagePool.create();
    const pool = BufferPool.create({ size: 4096, max: 1, revoke: true, allocator: pages.allocator });
    const buffer = pool.tryAcquire()!;
    const kept = buffer.bytes;
    markAsUntransferable(kept.buffer);
    buffer.release();
    expect(pages.stats()).toMatchObject({ live: 0, idle: 0 });
    const other = pages.allocate(4096);
    const mapping = other.map("write");
    mapping.bytes.fill(7);
    mapping.unmap();
    expect(kept).not.toContain(7);
    other.release();
    pool.close();
    pages.close();
  });

  it("keep no forced close of a PagePool, a SlabPool or a RealtimePool from going through", () => {
    const pages = PagePool.create();
    const [a, b] = [pages.allocate(4096), pages.allocate(8192)];
    const mapping = a.map("read");
    markAsUntransferable(mapping.bytes.buffer);
    mapping.unmap();
    pages.close({ force: true });
    for (const memory of [a, b]) expect(code(() => memory.map("read"))).toBe("ERR_POOL_DEAD");
    expect(pages.stats().live).toBe(0);

    const below = PagePool.create();
    const slab = SlabPool.create({ elementSize: 16, source: below.allocator, blockSize: 4096 });
    markAsUntransferable(slab.blockOf(slab.alloc()!).buffer as ArrayBuffer);
    slab.close({ force: true });
    const realtime = RealtimePool.create({ totalSize: 4096, lock: "off", source: below.allocator });
    realtime.alloc(8);
    markAsUntransferable(realtime.buffer as ArrayBuffer);
    realtime.close({ force: true });
    expect(below.stats()).toMatchObject({ live: 0, idle: 0 });
    below.close();
  });

  it("are let go by a typedarray-pool that revokes, and not counted as live", () => {
    const pool = createTypedArrayPool();
    pool.configure({ revoke: true });
    const array = pool.mallocUint8(64);
    markAsUntransferable(array.buffer as ArrayBuffer);
    pool.free("free", array);
    expect(pool.stats()).toMatchObject({ live: 0, idle: 0 });
    expect(pool.mallocUint8(64).buffer).not.toBe(array.buffer);
  });

  it("are copied into by readInto(), because a reader cannot take them", async () => {
    const pool = BufferPool.create({ size: 1024, max: 1 });
    const lease = pool.tryAcquire()!;
    markAsUntransferable(lease.bytes.buffer);
    lease.release();
    let bytes = 0;
    const content = Uint8Array.from({ length: 5000 }, (_, i) => i % 251);
    for await (const buffer of readInto(new Blob([content]).stream(), pool)) {
      expect(buffer.bytes).toEqual(content.subarray(bytes, bytes + buffer.size));
      bytes += buffer.size;
      buffer.release();
    }
    expect([bytes, pool.outstanding]).toEqual([5000, 0]);
    pool.close();
  });
});
