/** What the front doors agree on: one error class, that system's status, its words, handles that only the door makes. */
import { describe, expect, it } from "vitest";
import {
  CFAllocatorAllocate,
  CFAllocatorDeallocate,
  CFAllocatorGetPreferredSizeForSize,
  CFAllocatorReallocate,
  CMMemoryPool,
  CMMemoryPoolCreate,
  CMMemoryPoolFlush,
  CMMemoryPoolGetAllocator,
  kCMMemoryPoolError_AllocationFailed,
  kCMMemoryPoolError_InvalidParameter,
} from "../../src/compat/coremedia.ts";
import { thrownBy } from "./thrown-by.ts";

describe("Core Media's door", () => {
  const pool = CMMemoryPoolCreate();
  const allocator = CMMemoryPoolGetAllocator(pool);

  it("makes a pool by CMMemoryPoolCreate() only", () => {
    // @ts-expect-error the constructor is private
    const error = thrownBy(() => new CMMemoryPool());
    expect(error).toMatchObject({ status: kCMMemoryPoolError_InvalidParameter, code: "ERR_UNSUPPORTED" });
    expect(error.message).toMatch(/CMMemoryPoolCreate\(\)/);
    for (const forged of [Object.create(CMMemoryPool.prototype), { pool: pool.pool }])
      expect(thrownBy(() => CMMemoryPoolFlush(forged)).status).toBe(kCMMemoryPoolError_InvalidParameter);
    // @ts-expect-error an object of the same shape is not a pool
    expect(thrownBy(() => CMMemoryPoolFlush({ pool: pool.pool })).code).toBe("ERR_INVALID_ARG_TYPE");
    expect(String(pool)).toMatch(/^CMMemoryPool of \d+ bytes/);
  });

  it("gives every error its status and its code once, in its own words", () => {
    const memory = CFAllocatorAllocate(allocator, 10)!;
    const mapping = memory.map("read");
    const mapped = thrownBy(() => CFAllocatorDeallocate(allocator, memory));
    expect(mapped).toMatchObject({ status: kCMMemoryPoolError_InvalidParameter, code: "ERR_MAPPED" });
    expect(thrownBy(() => CFAllocatorReallocate(allocator, memory, 0)).code).toBe("ERR_MAPPED");
    mapping.unmap();
    CFAllocatorDeallocate(allocator, memory);
    const twice = thrownBy(() => CFAllocatorDeallocate(allocator, memory));
    expect(twice).toMatchObject({ status: kCMMemoryPoolError_InvalidParameter, code: "ERR_DOUBLE_RELEASE" });
    expect(twice.message).toMatch(/find the first CFAllocatorDeallocate\(\)/);
    expect(twice.message).not.toMatch(/release\(\)|retain\(\)/);
    const gone = thrownBy(() => CFAllocatorReallocate(allocator, memory, 1e6));
    expect(gone).toMatchObject({ status: kCMMemoryPoolError_InvalidParameter, code: "ERR_USE_AFTER_RELEASE" });
    for (const ask of [CFAllocatorAllocate, CFAllocatorGetPreferredSizeForSize])
      expect(thrownBy(() => ask(allocator, 2 ** 53 - 1))).toMatchObject({
        status: kCMMemoryPoolError_AllocationFailed,
        code: "ERR_ALLOCATION_FAILED",
      });
    expect(thrownBy(() => CFAllocatorAllocate(allocator, "8" as never)).code).toBe("ERR_INVALID_ARG_TYPE");
    expect(thrownBy(() => CFAllocatorAllocate(allocator, -8)).message).toMatch(/but it is -8/);
  });
});
