/**
 * CMMemoryPool's documented rules (R1 to R10 of the reference) and the CF allocator's front end, under their own names.
 */
import { describe, expect, it } from "vitest";
import {
  CFAllocatorAllocate,
  CFAllocatorDeallocate,
  CFAllocatorGetPreferredSizeForSize,
  CFAllocatorReallocate,
  CFGetRetainCount,
  CFRelease,
  CFRetain,
  CMMemoryPool,
  CMMemoryPoolCreate,
  CMMemoryPoolError,
  CMMemoryPoolFlush,
  CMMemoryPoolGetAllocator,
  CMMemoryPoolGetTypeID,
  CMMemoryPoolInvalidate,
  kCMMemoryPoolError_AllocationFailed,
  kCMMemoryPoolError_InvalidParameter,
  kCMMemoryPoolOption_AgeOutPeriod,
} from "../../src/compat/coremedia.ts";
import { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { Allocator, systemAllocator } from "../../src/memory/allocator.ts";
import { Memory } from "../../src/memory/memory.ts";
import { MemoryFlags } from "../../src/memory/params.ts";
import { opaqueRegion, type Region } from "../../src/memory/region.ts";
import { pageSize } from "../../src/os/pages.ts";
import { MillpondError } from "../../src/util/errors.ts";
import { lateErrors } from "../helpers/late-errors.ts";
import { code } from "../pools/buffer/pools.ts";
import { thrownBy } from "./thrown-by.ts";

let time = 0;

function made(seconds?: number): { pool: CMMemoryPool; allocator: ReturnType<typeof CMMemoryPoolGetAllocator> } {
  time = 0;
  const options = seconds === undefined ? null : { [kCMMemoryPoolOption_AgeOutPeriod]: seconds };
  const pool = CMMemoryPoolCreate(options, () => time);
  return { pool, allocator: CMMemoryPoolGetAllocator(pool) };
}

function status(fn: () => unknown): number | string {
  try {
    fn();
    return "ok";
  } catch (error) {
    return error instanceof CMMemoryPoolError ? error.status : String(error);
  }
}

describe("CFAllocatorReallocate", () => {
  it("keeps what may not be written or shared so, where the block moves", () => {
    for (const flag of [MemoryFlags.READONLY, MemoryFlags.NO_SHARE, MemoryFlags.FIRST_CUSTOM]) {
      for (const size of [50, 100_000]) {
        const { allocator } = made();
        const block = allocator.allocate(100, { flags: flag | MemoryFlags.ZERO_PADDED });
        const now = CFAllocatorReallocate(allocator, block, size)!;
        expect([size, now.flags & ~MemoryFlags.ZERO_PADDED]).toEqual([size, flag]);
        CFAllocatorDeallocate(allocator, now);
      }
    }
  });
});

describe("the pool", () => {
  it("R1: a block that was freed serves the next request of its size, the last freed first", () => {
    const { allocator } = made();
    const [a, b] = [CFAllocatorAllocate(allocator, 100_000)!, CFAllocatorAllocate(allocator, 100_000)!];
    CFAllocatorDeallocate(allocator, a);
    CFAllocatorDeallocate(allocator, b);
    expect(CFAllocatorAllocate(allocator, 100_000)!.region).toBe(b.region);
    expect(CFAllocatorAllocate(allocator, 100_000)!.region).toBe(a.region);
  });

  it("R2: small requests are legal, a page each: 55 and 2 bytes", () => {
    const { allocator } = made();
    const [a, b] = [CFAllocatorAllocate(allocator, 55)!, CFAllocatorAllocate(allocator, 2)!];
    expect([a.size, a.maxSize, b.size, b.maxSize]).toEqual([55, pageSize(), 2, pageSize()]);
    expect(a.region).not.toBe(b.region);
  });

  it.each([
    ["the default half second", undefined, 500],
    ["a tenth", 0.1, 100],
    ["two and a half seconds", 2.5, 2500],
  ])("R3: what is not used again within the period goes: %s", (_, seconds, ms) => {
    const { allocator } = made(seconds);
    const { region } = freed(allocator);
    time = ms - 1;
    const again = CFAllocatorAllocate(allocator, 100_000)!;
    expect(again.region).toBe(region);
    CFAllocatorDeallocate(allocator, again);
    time += ms;
    expect(CFAllocatorAllocate(allocator, 100_000)!.region).not.toBe(region);
  });

  it("R4: with a clock of one's own, age is looked at inside allocate and deallocate only; any call sweeps", () => {
    const { pool, allocator } = made();
    freed(allocator);
    time = 100_000;
    expect(pool.pool.stats().idle).toBe(1);
    CFAllocatorDeallocate(allocator, CFAllocatorAllocate(allocator, 1));
    expect(pool.pool.stats()).toMatchObject({ idle: 1, agedOut: 1 });
  });

  it("R5: flush ignores age and leaves allocated blocks alone; the pool stays in service", () => {
    const { pool, allocator } = made();
    const live = CFAllocatorAllocate(allocator, 10)!;
    freed(allocator);
    CMMemoryPoolFlush(pool);
    expect(pool.pool.stats()).toMatchObject({ idle: 0, live: 1 });
    CFAllocatorDeallocate(allocator, live);
    expect(CFAllocatorAllocate(allocator, 10)!.region).toBe(live.region);
  });

  it("R6, R8: invalidate ends recycling; the allocator lives on, blocks out before go straight back", () => {
    const { pool, allocator } = made();
    const live = CFAllocatorAllocate(allocator, 10)!;
    freed(allocator);
    CMMemoryPoolInvalidate(pool);
    expect(pool.pool.stats()).toMatchObject({ idle: 0, live: 1 });
    CFAllocatorDeallocate(allocator, live);
    const { region } = freed(allocator);
    expect(CFAllocatorAllocate(allocator, 100_000)!.region).not.toBe(region);
    expect(CMMemoryPoolGetAllocator(pool)).toBe(allocator);
    expect(pool.pool.stats().idle).toBe(0);
  });

  it("R9: invalidate after flush, twice, and flush after it are no-ops", () => {
    const { pool } = made();
    for (const end of [CMMemoryPoolFlush, CMMemoryPoolInvalidate, CMMemoryPoolInvalidate, CMMemoryPoolFlush]) {
      expect(code(() => end(pool))).toBe("ok");
    }
  });

  it("a period of 0 holds nothing, Infinity never lets go", () => {
    const none = made(0);
    freed(none.allocator);
    expect(none.pool.pool.stats().idle).toBe(0);
    const ever = made(Number.POSITIVE_INFINITY);
    freed(ever.allocator);
    time = 1e12;
    CFAllocatorDeallocate(ever.allocator, CFAllocatorAllocate(ever.allocator, 1));
    expect(ever.pool.pool.stats().idle).toBe(2);
  });

  it("the allocator is one object, the type id one number, never 0", () => {
    const { pool, allocator } = made();
    expect(CMMemoryPoolGetAllocator(pool)).toBe(allocator);
    expect([CMMemoryPoolGetTypeID(), CMMemoryPoolGetTypeID() === 0]).toEqual([CMMemoryPoolGetTypeID(), false]);
  });

  it.each([[-0.1], [Number.NaN], ["0.5"], [{}]])("a period of %s is InvalidParameter", (value) => {
    expect(status(() => CMMemoryPoolCreate({ [kCMMemoryPoolOption_AgeOutPeriod]: value }))).toBe(
      kCMMemoryPoolError_InvalidParameter,
    );
  });

  it("null or a stranger in place of a pool is InvalidParameter; null options are the defaults, unknown ones are ignored", () => {
    for (const call of [CMMemoryPoolGetAllocator, CMMemoryPoolFlush, CMMemoryPoolInvalidate]) {
      for (const pool of [null, undefined, {}]) {
        expect(status(() => call(pool as unknown as CMMemoryPool))).toBe(-15491);
      }
    }
    expect(CMMemoryPoolCreate({ Unknown: 1 })).toBeInstanceOf(CMMemoryPool);
    expect(CMMemoryPoolCreate()).toBeInstanceOf(CMMemoryPool);
    expect(status(() => CMMemoryPoolCreate(7 as unknown as null))).toBe(-15491);
  });
});

function freed(allocator: ReturnType<typeof CMMemoryPoolGetAllocator>): { region: unknown } {
  const memory = CFAllocatorAllocate(allocator, 100_000)!;
  const { region } = memory;
  CFAllocatorDeallocate(allocator, memory);
  return { region };
}

describe("the allocator's front end", () => {
  it("allocate(0) is null, deallocate(null) nothing", () => {
    const { pool, allocator } = made();
    expect(CFAllocatorAllocate(allocator, 0)).toBeNull();
    CFAllocatorDeallocate(allocator, null);
    expect(pool.pool.stats()).toMatchObject({ count: 0, allocations: 0 });
  });

  it("reallocate: (null, n) allocates, (block, 0) frees, (null, 0) is null", () => {
    const { pool, allocator } = made();
    const memory = CFAllocatorReallocate(allocator, null, 10)!;
    expect(memory.size).toBe(10);
    expect(CFAllocatorReallocate(allocator, memory, 0)).toBeNull();
    expect([CFAllocatorReallocate(allocator, null, 0), pool.pool.stats().live]).toEqual([null, 0]);
  });

  it("reallocate keeps the block within its pages, and moves and copies beyond them", () => {
    const { pool, allocator } = made();
    const memory = CFAllocatorAllocate(allocator, 10)!;
    memory.lock("write").set([1, 2, 3]);
    memory.unlock("write");
    expect(CFAllocatorReallocate(allocator, memory, 2000)).toBe(memory);
    expect(memory.size).toBe(2000);
    const moved = CFAllocatorReallocate(allocator, memory, 5 * pageSize())!;
    expect([...moved.lock("read").subarray(0, 4)]).toEqual([1, 2, 3, 0]);
    moved.unlock("read");
    expect(code(() => memory.release())).toBe("ERR_DOUBLE_RELEASE");
    const small = CFAllocatorReallocate(allocator, moved, 2)!;
    expect([small.size, small.maxSize, [...small.lock("read")]]).toEqual([2, pageSize(), [1, 2]]);
    small.unlock("read");
    expect(pool.pool.stats().live).toBe(1);
  });

  it("a refused reallocate leaves the old block as it was, and nothing else behind", () => {
    const { pool, allocator } = made();
    const memory = CFAllocatorAllocate(allocator, 10)!;
    const part = memory.share(0, 4);
    memory.release();
    expect(status(() => CFAllocatorReallocate(allocator, memory, 1e6))).toMatch(/ERR_FOREIGN_RELEASE/);
    expect(pool.pool.stats().live).toBe(1);
    part.release();
    expect(status(() => CFAllocatorReallocate(allocator, memory, -1))).toBe(-15491);
    expect(status(() => CFAllocatorReallocate(allocator, memory, 1e6))).toMatch(/ERR_USE_AFTER_RELEASE/);
    expect(pool.pool.stats().live).toBe(0);
  });

  it("preferred size: whole pages, never less than asked, n <= 0 unchanged", () => {
    const { allocator } = made();
    const page = pageSize();
    const sizes = [-5, 0, 1, page, page + 1].map((n) => CFAllocatorGetPreferredSizeForSize(allocator, n));
    expect(sizes).toEqual([-5, 0, page, page, 2 * page]);
  });

  it("bad sizes and foreign blocks are InvalidParameter, no memory is AllocationFailed", () => {
    const { allocator } = made();
    const other = made().allocator;
    const memory = CFAllocatorAllocate(other, 10)!;
    expect(status(() => CFAllocatorAllocate(allocator, -1))).toBe(-15491);
    expect(status(() => CFAllocatorAllocate(allocator, 1.5))).toBe(-15491);
    expect(status(() => CFAllocatorDeallocate(allocator, memory))).toBe(-15491);
    expect(status(() => CFAllocatorAllocate(null as unknown as typeof allocator, 1))).toBe(-15491);
    expect(status(() => CFAllocatorAllocate(allocator, 2 ** 52))).toBe(kCMMemoryPoolError_AllocationFailed);
    expect(memory.refCount).toBe(1);
  });
});

describe("a clock that calls back", () => {
  it("is refused in Core Media's words with InvalidParameter, and the pool goes on", () => {
    const texts: string[] = [];
    let isArmed = false;
    const pool = CMMemoryPoolCreate(null, () => {
      if (!isArmed) return 0;
      isArmed = false;
      for (const call of [
        () => CFAllocatorAllocate(CMMemoryPoolGetAllocator(pool), 5),
        () => CMMemoryPoolFlush(pool),
        () => CMMemoryPoolInvalidate(pool),
      ]) {
        const error = thrownBy(call);
        expect(error).toMatchObject({ code: "ERR_REENTRANT", status: kCMMemoryPoolError_InvalidParameter });
        texts.push(error.message);
      }
      return 0;
    });
    const allocator = CMMemoryPoolGetAllocator(pool);
    isArmed = true;
    CFAllocatorDeallocate(allocator, CFAllocatorAllocate(allocator, 5));
    expect(texts).toHaveLength(3);
    for (const text of texts) expect(text).toMatch(/^(CFAllocatorAllocate|CMMemoryPool(Flush|Invalidate))\(\) .*clock/);
  });

  it("gives the last reference back, and the pool stops recycling when the call stack is done", async () => {
    let isArmed = false;
    const pool = CMMemoryPoolCreate(null, () => {
      if (isArmed) {
        isArmed = false;
        CFRelease(pool);
      }
      return 0;
    });
    const allocator = CMMemoryPoolGetAllocator(pool);
    const block = CFAllocatorAllocate(allocator, 5);
    isArmed = true;
    CFAllocatorDeallocate(allocator, block);
    expect([isArmed, CFGetRetainCount(pool)]).toEqual([false, 0]);
    await null;
    expect(pool.pool.stats()).toMatchObject({ idle: 0, count: 0 });
    CFAllocatorDeallocate(allocator, CFAllocatorAllocate(allocator, 5));
    expect(pool.pool.stats()).toMatchObject({ idle: 0, count: 0 });
  });

  it("CFAllocatorReallocate to 0 of a mapped block is refused in its own name (3.3)", () => {
    const allocator = CMMemoryPoolGetAllocator(CMMemoryPoolCreate());
    const block = CFAllocatorAllocate(allocator, 5)!;
    const mapping = block.map("read");
    expect(thrownBy(() => CFAllocatorReallocate(allocator, block, 0)).message).toMatch(/^CFAllocatorReallocate\(\)/);
    mapping.unmap();
    expect(CFAllocatorReallocate(allocator, block, 0)).toBeNull();
  });
});

describe("CFAllocatorReallocate() that throws", () => {
  class Opaque extends Allocator {
    fails: "map" | "unmap" | "free" | undefined;
    live = 0;
    constructor() {
      super("opaque");
    }
    #say(hook: "map" | "unmap" | "free"): void {
      if (this.fails !== hook) return;
      this.fails = undefined;
      throw new MillpondError("ERR_CORRUPTED", hook);
    }
    protected override allocateRegion(size: number): Region {
      this.live++;
      return opaqueRegion(size, new Uint8Array(size));
    }
    protected override freeRegion(): void {
      this.live--;
      this.#say("free");
    }
    protected override mapRegion(region: Region, mode: string): Uint8Array {
      if (mode === "write") this.#say("map");
      return region.handle as Uint8Array;
    }
    protected override unmapRegion(): void {
      this.#say("unmap");
    }
  }

  it.each(["map", "unmap"] as const)("in %s: the old block is as it was, not mapped, and nothing is left", (hook) => {
    const allocator = new Opaque();
    const block = CFAllocatorAllocate(allocator, 100)!;
    allocator.fails = hook;
    expect(() => CFAllocatorReallocate(allocator, block, 9000)).toThrow();
    expect([block.isMapped, block.size, allocator.live]).toEqual([false, 100, 1]);
    CFAllocatorDeallocate(allocator, block);
    expect(allocator.live).toBe(0);
  });

  it("in the end of the old block: the new one is given, and the error surfaces in a later turn", async () => {
    const allocator = new Opaque();
    const block = CFAllocatorAllocate(allocator, 100)!;
    const late = await lateErrors(() => {
      allocator.fails = "free";
      const moved = CFAllocatorReallocate(allocator, block, 9000)!;
      expect([moved.size, block.refCount, allocator.live]).toEqual([9000, 0, 1]);
      CFAllocatorDeallocate(allocator, moved);
    });
    expect(late).toEqual(["free [ERR_CORRUPTED]"]);
  });
});

describe("what only looks right", () => {
  const revoked = (target: object): never => {
    const { proxy, revoke } = Proxy.revocable(target, {});
    revoke();
    return proxy as never;
  };
  it.each<[string, () => unknown]>([
    ["CFRetain", () => CFRetain(revoked({}))],
    ["CFRelease", () => CFRelease(Object.create(MediaBuffer.prototype) as MediaBuffer)],
    ["CFAllocatorAllocate", () => CFAllocatorAllocate(revoked({}), 8)],
    ["CFAllocatorDeallocate", () => CFAllocatorDeallocate(systemAllocator(), revoked({}))],
    [
      "CFAllocatorDeallocate",
      () => CFAllocatorDeallocate(systemAllocator(), Object.create(Memory.prototype) as Memory),
    ],
  ])("%s() of a forged or revoked object gets this door's own error", (_name, call) => {
    expect(call).toThrow(expect.objectContaining({ code: "ERR_INVALID_ARG_TYPE" }));
  });
});
