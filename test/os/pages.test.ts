/** What the page allocators say happened is what the kernel says happened. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { beforeAll, describe, expect, it } from "vitest";
import { allocators } from "../../src/allocators/registry.ts";
import type { Memory } from "../../src/memory/memory.ts";
import { LockedAllocator, lockReportOf, PagesAllocator } from "../../src/native.ts";
import { nativeOps } from "../../src/os/load.ts";
import { absentOps } from "../../src/os/native-ops.ts";
import { notDone } from "../../src/os/result.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { code } from "../pools/buffer/pools.ts";
import { factsOfRange, lockedBytesOfProcess } from "./proc.ts";

const MIB: number = 1024 * 1024;
const ops = nativeOps();
const bytesOf = (memory: Memory): Uint8Array => {
  const mapping = memory.map("readwrite");
  mapping.unmap();
  return mapping.view;
};
const range = (bytes: Uint8Array): ReturnType<typeof factsOfRange> => factsOfRange(ops.addressOf(bytes), bytes.length);

beforeAll(() => {
  // On Linux koffi is a development dependency: its absence is a broken set-up, not a reason to skip.
  if (process.platform === "linux" && !ops.availability.ok) throw new Error(ops.availability.hint);
});

describe.skipIf(process.platform !== "linux")("pages, as /proc sees them (needs Linux)", () => {
  it.each(["engine", "shared", "mapped"] as const)(
    "locked %s memory is in VmLck and smaps until it is freed",
    (backing) => {
      const allocator = new LockedAllocator({ backing });
      const before = lockedBytesOfProcess();
      const memory = allocator.allocate(3 * MIB + 100);
      const bytes = bytesOf(memory);
      const whole = allocator.reportOf(memory).bytes;
      expect(whole).toBe(3 * MIB + ops.pageSize);
      expect(allocator.reportOf(memory).lock).toEqual({ ok: true, bytes: whole });
      expect(lockedBytesOfProcess() - before).toBe(whole);
      expect(range(bytes)).toMatchObject({ locked: whole, rss: whole, marked: bytes.length });
      expect(lockReportOf(memory)).toEqual({ locked: true, lockReason: "", lockedBytes: whole });
      expect(allocator.lockedBytes).toBe(whole);

      memory.release();
      expect(lockedBytesOfProcess()).toBe(before);
      expect(range(bytes)).toMatchObject({ locked: 0, marked: 0 });
      expect(allocator.lockedBytes).toBe(0);
      expect(lockReportOf(bytes).locked).toBe(false);
    },
  );

  it.each(["engine", "shared", "mapped"] as const)(
    "freed %s memory leaves RAM at once, and a kept view reads zeros",
    (backing) => {
      const allocator = new PagesAllocator({ backing, prefault: true });
      const memory = allocator.allocate(2 * MIB);
      const bytes = bytesOf(memory);
      expect(allocator.reportOf(memory).prefault).toEqual({ ok: true, bytes: 2 * MIB });
      expect(range(bytes).rss).toBe(2 * MIB);
      bytes.fill(9);
      memory.release();
      expect(range(bytes).rss).toBe(0);
      expect(bytes[MIB]).toBe(0);
      bytes[MIB] = 1;
      // Read after the write above: only that page came back.
      expect(range(bytes).rss).toBeLessThanOrEqual(2 * MIB);
    },
  );

  it("without prefault nothing is in RAM before it is written", () => {
    const memory = new PagesAllocator({ backing: "mapped" }).allocate(4 * MIB);
    expect(range(bytesOf(memory)).rss).toBe(0);
    memory.release();
  });

  it("decommit gives the pages back, unlocks them for it, and leaves zeros; prefault brings them back", () => {
    const allocator = new LockedAllocator();
    const memory = allocator.allocate(MIB);
    const bytes = bytesOf(memory).fill(5);
    expect(allocator.decommit(memory)).toEqual({ ok: true, bytes: MIB });
    expect(range(bytes)).toMatchObject({ rss: 0, locked: 0, marked: 0 });
    expect(bytes[77]).toBe(0);
    expect(lockReportOf(memory)).toMatchObject({ locked: false, lockReason: expect.stringContaining("UNLOCKED") });
    expect(allocator.lockedBytes).toBe(0);
    expect(allocator.prefault(memory)).toEqual({ ok: true, bytes: MIB });
    expect(range(bytes).rss).toBe(MIB);
    memory.release();
  });

  it("locked pages are not given back by an advice: it says so, and they stay", () => {
    const memory = new LockedAllocator().allocate(MIB);
    const bytes = bytesOf(memory).fill(5);
    expect(ops.advise(bytes, "release")).toMatchObject({ ok: false, errno: "EINVAL" });
    expect(bytes[5]).toBe(5);
    memory.release();
  });

  it.for(["engine", "mapped"] as const)("huge %s pages are huge in smaps", (backing, context) => {
    if (ops.hugePageSize === 0) return context.skip("this kernel has no transparent huge pages");
    const allocator = new PagesAllocator({ backing, huge: true, prefault: true });
    const memory = allocator.allocate(4 * ops.hugePageSize);
    const bytes = bytesOf(memory);
    expect(allocator.reportOf(memory).huge).toEqual({ ok: true, bytes: 4 * ops.hugePageSize });
    expect(ops.addressOf(bytes) % BigInt(ops.hugePageSize)).toBe(0n);
    // Fragmented memory may leave some out; none at all would mean that the request did nothing.
    expect(range(bytes).huge).toBeGreaterThan(0);
    memory.release();
  });

  it("an alignment holds for the real address", () => {
    for (const backing of ["engine", "shared", "mapped"] as const) {
      const memory = new PagesAllocator({ backing }).allocate(100, { align: 2 * MIB });
      expect(ops.addressOf(bytesOf(memory)) % BigInt(2 * MIB), backing).toBe(0n);
      memory.release();
    }
  });

  it("a pool that stands on locked pages leases locked memory, and stays locked when it revokes views of it", () => {
    const before = lockedBytesOfProcess();
    const pool = new BufferPool();
    const allocator = new LockedAllocator({ backing: "mapped" });
    pool.configure({ size: MIB, min: 1, max: 1, allocator, revoke: true });
    pool.activate();
    for (let lease = 0; lease < 3; lease++) {
      const buffer = pool.tryAcquire()!;
      expect(lockReportOf(buffer.memories[0]!)).toMatchObject({ locked: true, lockedBytes: MIB });
      const mapping = buffer.map("readwrite");
      const kept = mapping.bytes;
      expect(kept[5]).toBe(lease);
      kept[5] = lease + 1;
      mapping.unmap();
      buffer.release();
      expect(kept.length).toBe(0);
      expect(lockedBytesOfProcess() - before).toBe(MIB);
    }
    pool.deactivate();
    expect(lockedBytesOfProcess()).toBe(before);
  });

  it("WebAssembly's memory cannot be revoked: a pool that demands it is told so at activation", () => {
    const pool = new BufferPool();
    pool.configure({ size: MIB, min: 1, max: 1, allocator: new PagesAllocator(), revoke: true });
    expect(code(() => pool.activate())).toMatch(/^ERR_/);
  });
});

describe("honest refusals", () => {
  it("small pieces of other people's pages and resizable buffers are not locked", () => {
    if (!ops.availability.ok) return expect(ops.lock(new Uint8Array(1))).toEqual(ops.availability);
    expect(ops.lock(new Uint8Array(100))).toMatchObject({ ok: false, status: "refused", errno: "TOO_SMALL" });
    expect(ops.lock(new Uint8Array(0))).toMatchObject({ ok: false, errno: "TOO_SMALL" });
    const resizable = new Uint8Array(new ArrayBuffer(MIB, { maxByteLength: 2 * MIB }));
    expect(ops.lock(resizable)).toMatchObject({ ok: false, status: "refused", errno: "RESIZABLE" });
  });

  it("another allocator's memory, and a freed one, are refused by name", () => {
    const pages = new PagesAllocator();
    const foreign = allocators.default.allocate(10);
    expect(code(() => pages.reportOf(foreign))).toBe("ERR_FOREIGN_RELEASE");
    expect(code(() => pages.decommit(null as never))).toBe("ERR_INVALID_ARG_TYPE");
    foreign.release();
    const own = pages.allocate(10);
    own.release();
    expect(code(() => pages.prefault(own))).toBe("ERR_FOREIGN_RELEASE");
    expect(code(() => new PagesAllocator({ backing: "gold" as never }))).toBe("ERR_INVALID_ARG_VALUE");
  });

  it("memory of an allocator that locks nothing says so", () => {
    const memory = allocators.default.allocate(10);
    expect(lockReportOf(memory)).toMatchObject({ locked: false, lockedBytes: 0 });
    expect(lockReportOf(memory).lockReason).toContain("does not lock");
    memory.release();
  });

  it("an engine that resets collected ranges gets no lock on its own memory", () => {
    const bun = { ...ops, recyclesRanges: true };
    const shared = new LockedAllocator({ backing: "shared", ops: bun });
    const memory = shared.allocate(MIB);
    expect(shared.reportOf(memory).lock).toMatchObject({ ok: false, errno: "ENGINE_RESETS" });
    expect(lockReportOf(memory).locked).toBe(false);
    memory.release();
    const engine = new LockedAllocator({ ops: bun });
    const mapped = engine.allocate(MIB);
    expect(engine.reportOf(mapped).backing).toBe(ops.availability.ok ? "mapped" : "wasm");
    mapped.release();
  });

  it("where WebAssembly has no address space left, an ArrayBuffer takes its place, aligned as well", () => {
    const scope = globalThis as unknown as { WebAssembly: { Memory: unknown } };
    const { Memory: original } = scope.WebAssembly;
    scope.WebAssembly.Memory = class {
      constructor() {
        throw new RangeError("could not allocate memory");
      }
    };
    try {
      const allocator = new LockedAllocator();
      const memory = allocator.allocate(3 * MIB, { align: 65536 });
      const report = allocator.reportOf(memory);
      expect(report).toMatchObject({ backing: "array", bytes: 3 * MIB });
      expect(report.lock?.ok).toBe(ops.availability.ok);
      expect(ops.addressOf(bytesOf(memory)) % 65536n).toBe(0n);
      const kept = bytesOf(memory).fill(7);
      memory.release();
      if (ops.releaseZeroes) expect(kept.every((byte) => byte === 0)).toBe(true);
      expect(code(() => new PagesAllocator({ backing: "shared" }).allocate(10))).toBe("ERR_ALLOCATION_FAILED");
    } finally {
      scope.WebAssembly.Memory = original;
    }
  });

  it("an engine without address space is asked once, not at each allocation, until memories were collected", async () => {
    const scope = globalThis as unknown as { WebAssembly: { Memory: new (descriptor: object) => object } };
    const { Memory: original } = scope.WebAssembly;
    const allocator = new PagesAllocator();
    const forget = (): void => {
      for (let i = 0; i < 4; i++) allocator.allocate(1);
    };
    forget();
    let asked = 0;
    scope.WebAssembly.Memory = class {
      constructor() {
        asked++;
        throw new RangeError("could not allocate memory");
      }
    };
    try {
      const backings = new Set<string>();
      for (let i = 0; i < 1000; i++) {
        const memory = allocator.allocate(1);
        backings.add(allocator.reportOf(memory).backing);
        memory.release();
      }
      expect([asked, [...backings]]).toEqual([1, ["array"]]);
      setFlagsFromString("--expose-gc");
      const gc = runInNewContext("gc") as () => void;
      scope.WebAssembly.Memory = original;
      let backing = "array";
      for (const end = performance.now() + 60_000; backing === "array" && performance.now() < end; ) {
        gc();
        await new Promise((resolve) => setTimeout(resolve, 5));
        const memory = allocator.allocate(1);
        backing = allocator.reportOf(memory).backing;
        memory.release();
      }
      expect(backing).toBe("wasm");
    } finally {
      scope.WebAssembly.Memory = original;
    }
  });

  it("without anything native every step is unsupported, and the memory is there", () => {
    const why = notDone("unsupported", "KOFFI_ABSENT", "not installed");
    for (const backing of ["engine", "shared", "mapped"] as const) {
      const allocator = new PagesAllocator({ backing, huge: true, prefault: true, lock: true, ops: absentOps(why) });
      const memory = allocator.allocate(100_000);
      const report = allocator.reportOf(memory);
      expect(report).toMatchObject({ backing: "wasm", huge: why, lock: why, prefault: { ok: true } });
      expect(lockReportOf(memory)).toMatchObject({
        locked: false,
        lockReason: expect.stringContaining("KOFFI_ABSENT"),
      });
      expect(allocator.decommit(memory)).toEqual(why);
      bytesOf(memory).fill(1);
      memory.release();
    }
  });
});

describe("registered names", () => {
  it("pages, locked, processShared and dmabuf are found once millpond/native is imported", () => {
    expect(allocators.names()).toEqual(expect.arrayContaining(["pages", "locked", "processShared", "dmabuf", "wasm"]));
    expect(allocators.find("locked")).toBeInstanceOf(LockedAllocator);
    expect(allocators.find("locked")).toBe(allocators.find("locked"));
  });
});
