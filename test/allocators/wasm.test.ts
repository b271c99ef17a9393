// Shares its realm with other files: nothing that it changes outlives it.
/** WebAssembly memory as an allocator of the core: no native code, and no way to take a block away. */
import { describe, expect, it } from "vitest";
import { allocators } from "../../src/allocators/registry.ts";
import { WasmAllocator } from "../../src/allocators/wasm.ts";
import { lockReportOf, reportLock } from "../../src/memory/pinning.ts";
import { isRevocable } from "../../src/memory/region.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { code } from "../pools/buffer/pools.ts";

describe("wasm allocator", () => {
  it.each([
    [0, 65536],
    [1, 65536],
    [65536, 65536],
    [65537, 131072],
  ])("%i bytes are %i bytes of whole pages, zeroed", (size, whole) => {
    const memory = new WasmAllocator().allocate(size);
    expect([memory.size, memory.maxSize]).toEqual([size, whole]);
    const mapping = memory.map("read");
    expect(mapping.bytes.every((byte) => byte === 0)).toBe(true);
    mapping.unmap();
    memory.release();
  });

  it("is built in by name; shared ones are SharedArrayBuffers", () => {
    expect(allocators.find("wasm")).toBeInstanceOf(WasmAllocator);
    const memory = new WasmAllocator({ shared: true }).allocate(10);
    expect(memory.region.bytes.buffer).toBeInstanceOf(SharedArrayBuffer);
    memory.release();
  });

  it("its bytes cannot be transferred away, and no pool is told that they could be revoked", () => {
    const memory = new WasmAllocator().allocate(65536);
    const { buffer } = memory.region.bytes;
    expect(() => structuredClone(buffer, { transfer: [buffer as ArrayBuffer] })).toThrow();
    expect(memory.region.bytes.length).toBe(65536);
    expect(isRevocable(memory.region)).toBe(false);
    memory.release();
    const pool = new BufferPool();
    pool.configure({ size: 65536, min: 1, max: 1, allocator: new WasmAllocator(), revoke: true });
    expect(code(() => pool.activate())).toMatch(/^ERR_/);
  });

  it("more than 4 GiB cannot be had, and nothing has changed", () => {
    const allocator = new WasmAllocator();
    expect(code(() => allocator.allocate(2 ** 32 + 1))).toBe("ERR_ALLOCATION_FAILED");
    expect(allocator.stats()).toMatchObject({ liveMemories: 0, failures: 1 });
  });
});

describe("lock reports", () => {
  it("go with the bytes, whatever pool is between, until they are withdrawn", () => {
    const memory = allocators.default.allocate(100);
    const { buffer } = memory.region.bytes;
    expect(lockReportOf(memory)).toMatchObject({ locked: false, lockedBytes: 0 });
    const report = { locked: true, lockReason: "", lockedBytes: 4096 };
    reportLock(buffer, report);
    expect(lockReportOf(memory)).toBe(report);
    expect(lockReportOf(new Uint8Array(buffer, 5, 6))).toBe(report);
    reportLock(buffer, undefined);
    expect(lockReportOf(memory).locked).toBe(false);
    memory.release();
    for (const odd of [null, undefined, {}, 5])
      expect(code(() => lockReportOf(odd as never))).toBe("ERR_INVALID_ARG_TYPE");
  });
});
