/**
 * RealtimePool on memory that is really pinned: what the kernel says of the process is what the pool says of itself.
 */
import { readFileSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { allocators } from "../../src/allocators/registry.ts";
import { rtm_alloc, rtm_create_pool, rtm_delete_pool, rtm_free } from "../../src/compat/realtime.ts";
import { PagesAllocator } from "../../src/native.ts";
import { nativeOps } from "../../src/os/load.ts";
import { PagePool } from "../../src/pools/page/page-pool.ts";
import { RealtimePool, type RealtimePoolOptions } from "../../src/pools/realtime/realtime-pool.ts";

const ops = nativeOps();
const here = ops.availability.ok && ops.platform === "linux";
const why = ops.availability.ok ? "not Linux: no /proc to ask" : ops.availability.hint;

/** KiB that the kernel counts as locked for this process. */
function vmLck(): number {
  return Number(/^VmLck:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))![1]);
}

describe.skipIf(!here)(`a RealtimePool in locked pages${here ? "" : ` (skipped: ${why})`}`, () => {
  const pools: RealtimePool[] = [];
  afterEach(() => {
    for (const pool of pools.splice(0)) pool.close({ force: true });
  });
  const make = (options?: Omit<RealtimePoolOptions, "totalSize">, size = 1 << 20): RealtimePool => {
    const pool = RealtimePool.create({ totalSize: size, ...options });
    pools.push(pool);
    return pool;
  };

  it("takes the native allocator by itself once it is there, and VmLck grows by its pages", () => {
    const before = vmLck();
    const pool = make({ name: "mixer", lock: "required" });
    expect([pool.locked, pool.lockReason]).toEqual([true, undefined]);
    expect(vmLck() - before).toBeGreaterThanOrEqual(1024);
    expect(pool.stats().lockedBytes).toBeGreaterThanOrEqual(1 << 20);
    pools.pop()!.close();
    expect(vmLck()).toBe(before);
  });

  it('lock: "off" takes the default allocator and locks nothing', () => {
    const before = vmLck();
    const pool = make({ lock: "off" });
    expect([pool.locked, vmLck()]).toEqual([false, before]);
    expect(pool.allocator.allocate(1).region.bytes.buffer).toBeInstanceOf(ArrayBuffer);
  });

  it("pages that were not locked at allocation are locked on request, and unlocked when the pool goes", () => {
    const before = vmLck();
    const pool = make({ source: new PagesAllocator({ prefault: true }) });
    expect([pool.locked, vmLck() > before]).toEqual([true, true]);
    pools.pop()!.close();
    expect(vmLck()).toBe(before);
  });

  it("a pool over a PagePool over locked pages is locked too", () => {
    const pages = PagePool.create({ source: allocators.find("locked")! });
    const pool = make({ source: pages.allocator }, 200_000);
    expect(pool.locked).toBe(true);
    pools.pop()!.close();
    pages.close();
  });

  it("a pool that is deleted under live blocks gives its pages back, and kept views read zeros or nothing, never a stranger's bytes", () => {
    const before = vmLck();
    const pool = make();
    const memory = pool.allocate(4096);
    const mapping = memory.map("write");
    const { bytes } = mapping;
    bytes.fill(7);
    mapping.unmap();
    pools.pop()!.close({ force: true });
    expect(vmLck()).toBe(before);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
  });

  it("rtm_create_pool gives blocks in locked memory", () => {
    const before = vmLck();
    const pool = rtm_create_pool(65_536, "locked");
    const block = rtm_alloc(pool, 100)!;
    expect(vmLck()).toBeGreaterThan(before);
    rtm_free(block);
    rtm_delete_pool(pool);
    expect(vmLck()).toBe(before);
  });
});
