/**
 * What the front doors agree on: one error class, that system's status, its words, handles that only the door makes.
 */
import { afterEach, describe, expect, it } from "vitest";
import { allocators } from "../../src/allocators/registry.ts";
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
import {
  CORK_FAILURE,
  cork_mempool,
  cork_mempool_bytes,
  cork_mempool_done,
  cork_mempool_free,
  cork_mempool_init,
  cork_mempool_init_size,
  cork_mempool_init_size_ex,
  cork_mempool_new,
  cork_mempool_set_done_object,
  cork_mempool_set_init_object,
  cork_mempool_set_user_data,
} from "../../src/compat/cork.ts";
import {
  B_BAD_VALUE,
  B_ERROR,
  B_MEDIA_REALTIME_ALLOCATOR,
  B_MEDIA_REALTIME_ANYKIND,
  B_MEDIA_REALTIME_AUDIO,
  B_MEDIA_REALTIME_DISABLED,
  B_MEDIA_REALTIME_UNAVAILABLE,
  B_OK,
  BMediaRoster,
  EALREADY,
  rtm_alloc,
  rtm_block,
  rtm_create_default_pool,
  rtm_create_pool,
  rtm_delete_pool,
  rtm_free,
  rtm_phys_size_for,
  rtm_pool,
  rtm_realloc,
  rtm_size_for,
} from "../../src/compat/realtime.ts";
import { Allocator, SystemAllocator } from "../../src/memory/allocator.ts";
import { Memory } from "../../src/memory/memory.ts";
import { MillpondError } from "../../src/util/errors.ts";
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
    for (const call of [
      () => CMMemoryPoolCreate(null, 5 as never),
      () => CMMemoryPoolCreate({ AgeOutPeriod: "1" }),
      () => CMMemoryPoolFlush(5 as never),
      () => CFAllocatorAllocate(Object.create(Allocator.prototype), 8),
      () => CFAllocatorDeallocate(allocator, Object.create(Memory.prototype)),
      () => CFAllocatorDeallocate(allocator, 5 as never),
    ])
      expect(thrownBy(call)).toMatchObject({
        status: kCMMemoryPoolError_InvalidParameter,
        code: "ERR_INVALID_ARG_TYPE",
      });
    expect(thrownBy(() => CMMemoryPoolCreate({ AgeOutPeriod: -1 })).code).toBe("ERR_OUT_OF_RANGE");
    expect(String(allocator)).toBe('allocator "CMMemoryPool" (SystemMemory)');
    expect(thrownBy(() => CFAllocatorAllocate(allocator, -8)).message).toMatch(/but it is -8/);
  });
});

describe("BeOS's door", () => {
  it("makes pools by rtm_create_pool() and blocks by rtm_alloc() only", () => {
    const pool = rtm_create_pool(4096, "mixer");
    const block = rtm_alloc(pool, 8)!;
    // @ts-expect-error the constructor is private
    expect(thrownBy(() => new rtm_pool())).toMatchObject({ status: B_BAD_VALUE, code: "ERR_UNSUPPORTED" });
    // @ts-expect-error the constructor is private
    expect(thrownBy(() => new rtm_block()).message).toMatch(/rtm_alloc\(\)/);
    // @ts-expect-error the constructor is private
    expect(thrownBy(() => new BMediaRoster()).message).toMatch(/BMediaRoster\.Roster\(\)/);
    // @ts-expect-error an object of the same shape is not a pool
    thrownBy(() => rtm_alloc({ pool: pool.pool, lockStatus: 0 }, 8));
    // @ts-expect-error an object of the same shape is not a block
    thrownBy(() => rtm_free({ pool: block.pool, bytes: block.bytes }));
    expect([String(pool), String(block)]).toEqual([
      'rtm_pool "mixer" of 4096 bytes (1 blocks, not locked)',
      'rtm_block of 8 bytes in pool "mixer"',
    ]);
    rtm_free(block);
    rtm_delete_pool(pool);
    expect([String(pool), String(block)]).toEqual([
      'rtm_pool "mixer" (deleted)',
      'rtm_block of deleted pool "mixer" (freed)',
    ]);
  });

  it("rtm_alloc checks its pool: what is none is B_BAD_VALUE, and no default pool comes of it", () => {
    // @ts-expect-error a string is no pool
    const error = thrownBy(() => rtm_alloc("x", 8));
    expect(error).toMatchObject({ status: B_BAD_VALUE, code: "ERR_INVALID_ARG_TYPE" });
    expect(error.message).toMatch(/^rtm_alloc\(\): pool must be .*"x"/);
    for (const pool of [undefined, 0, {}, Object.create(rtm_pool.prototype)] as never[])
      for (const size of [8, 0]) expect(thrownBy(() => rtm_alloc(pool, size)).status).toBe(B_BAD_VALUE);
  });

  it("rtm_alloc takes a freed hole of just the right size again: 150 blocks of 4,096, every other one freed", () => {
    const pool = rtm_create_pool(1 << 20);
    const blocks = Array.from({ length: 150 }, () => rtm_alloc(pool, 4096)!);
    const { largest } = pool.pool.stats();
    const holes = blocks.filter((_, i) => i % 2 === 0);
    const places = holes.map((block) => block.bytes.byteOffset);
    for (const block of holes) rtm_free(block);
    const again = holes.map(() => rtm_alloc(pool, 4096)!.bytes.byteOffset);
    expect(again).toEqual(places.toReversed());
    expect(pool.pool.stats().largest).toBe(largest);
  });

  it("gives every error its status and its code once, in its own words and with the caller's values", () => {
    const pool = rtm_create_pool(65_536, "mixer");
    const block = rtm_alloc(pool, 100)!;
    rtm_alloc(pool, 100);
    const moved = rtm_realloc(block, 4096)!;
    const cases: [() => unknown, number, string, RegExp][] = [
      [() => rtm_create_pool(-5), B_BAD_VALUE, "ERR_OUT_OF_RANGE", /^rtm_create_pool\(\): totalSize .* -5 /],
      [() => rtm_create_pool("8" as never), B_BAD_VALUE, "ERR_INVALID_ARG_TYPE", /totalSize must be .*"8"/],
      [() => rtm_create_pool(8, 5 as never), B_BAD_VALUE, "ERR_INVALID_ARG_TYPE", /\(\): name must be a string/],
      [() => rtm_alloc(pool, -1), B_BAD_VALUE, "ERR_OUT_OF_RANGE", /^rtm_alloc\(\): size must be .* -1 /],
      [() => rtm_alloc(pool, "8" as never), B_BAD_VALUE, "ERR_INVALID_ARG_TYPE", /size must be/],
      [() => rtm_realloc(moved, 1.5), B_BAD_VALUE, "ERR_OUT_OF_RANGE", /^rtm_realloc\(\): newSize must be .* 1\.5 /],
      [() => block.bytes, B_BAD_VALUE, "ERR_USE_AFTER_RELEASE", /rtm_realloc\(\) moved it/],
      [() => rtm_free(block), B_BAD_VALUE, "ERR_DOUBLE_RELEASE", /find the first rtm_free\(\)/],
      [() => rtm_size_for(block), B_BAD_VALUE, "ERR_USE_AFTER_RELEASE", /^rtm_size_for\(\) refuses rtm_block/],
      [() => rtm_phys_size_for(block), B_BAD_VALUE, "ERR_USE_AFTER_RELEASE", /^rtm_phys_size_for\(\)/],
      [() => rtm_realloc(block, 9000), B_BAD_VALUE, "ERR_USE_AFTER_RELEASE", /^rtm_realloc\(\)/],
      [() => rtm_realloc(block, 0), B_BAD_VALUE, "ERR_DOUBLE_RELEASE", /^rtm_realloc\(\)/],
      [() => rtm_free(null), B_BAD_VALUE, "ERR_INVALID_ARG_TYPE", /block must be a block of rtm_alloc\(\), .* null/],
      [() => rtm_delete_pool(pool), B_ERROR, "ERR_LIVE_OBJECTS", /2 blocks are live \(.*\); rtm_free\(\) them first/],
    ];
    for (const [call, status, code, message] of cases) {
      const error = thrownBy(call);
      expect([error.status, error.code]).toEqual([status, code]);
      expect(error.message).toMatch(message);
      expect(error.message).not.toMatch(/force|retain\(|[^_]release\(|[^_]free\(|allocate\(/);
    }
  });

  it("says B_BAD_VALUE for everything of a deleted pool", () => {
    const pool = rtm_create_pool(4096, "mixer");
    const block = rtm_alloc(pool, 8)!;
    pool.pool.close({ force: true });
    for (const call of [
      () => rtm_alloc(pool, 8),
      () => rtm_delete_pool(pool),
      () => rtm_free(block),
      () => block.bytes,
      () => rtm_realloc(block, 16),
      () => rtm_size_for(block),
    ])
      expect(thrownBy(call)).toMatchObject({ status: B_BAD_VALUE, code: "ERR_POOL_DEAD" });
  });

  it("the default pool exists once: EALREADY", () => {
    const pool = rtm_create_default_pool(4096);
    expect(thrownBy(() => rtm_create_default_pool())).toMatchObject({ status: EALREADY, code: "ERR_ALREADY_EXISTS" });
    expect(thrownBy(() => rtm_delete_pool(pool))).toMatchObject({ status: B_BAD_VALUE });
  });
});

describe("BMediaRoster's realtime flags", () => {
  const roster = BMediaRoster.Roster();
  const before = roster.GetRealtimeFlags();
  afterEach(() => roster.SetRealtimeFlags(before));

  it("are the allocator's alone until somebody sets others; the roster is one object", () => {
    expect(BMediaRoster.Roster()).toBe(roster);
    expect(before).toBe(B_MEDIA_REALTIME_ALLOCATOR);
    for (const flags of [0, B_MEDIA_REALTIME_AUDIO, 7, B_MEDIA_REALTIME_ANYKIND]) {
      expect(roster.SetRealtimeFlags(flags)).toBe(B_OK);
      expect(roster.GetRealtimeFlags()).toBe(flags);
    }
    expect(String(roster)).toBe("BMediaRoster (realtime flags 0xffff)");
  });

  it("what are no flags is the status B_BAD_VALUE, and nothing changes", () => {
    for (const bad of [-1, 0x10000, 1.5, Number.NaN, "1", null]) {
      expect(roster.SetRealtimeFlags(bad as number)).toBe(B_BAD_VALUE);
      expect(roster.GetRealtimeFlags()).toBe(before);
    }
  });

  it("decide whether a pool is to be locked: disabled and unavailable are statuses, and the pool is there", () => {
    roster.SetRealtimeFlags(B_MEDIA_REALTIME_AUDIO);
    const disabled = rtm_create_pool(4096);
    roster.SetRealtimeFlags(B_MEDIA_REALTIME_ALLOCATOR);
    const unavailable = rtm_create_pool(4096);
    expect([disabled.lockStatus, unavailable.lockStatus]).toEqual([
      B_MEDIA_REALTIME_DISABLED,
      B_MEDIA_REALTIME_UNAVAILABLE,
    ]);
    expect([B_MEDIA_REALTIME_DISABLED | 0, B_MEDIA_REALTIME_UNAVAILABLE | 0]).toEqual([0x80004081 | 0, 0x80004082 | 0]);
    for (const pool of [disabled, unavailable]) rtm_free(rtm_alloc(pool, 4096));
  });

  it("a pool is locked where the bytes can be, and B_OK is its status", () => {
    class Locking extends SystemAllocator {
      lockRegion({ size }: { size: number }): { ok: true; bytes: number } {
        return { ok: true, bytes: size };
      }
      unlockRegion(): void {}
    }
    allocators.register("locked", new Locking("locked"));
    const pool = rtm_create_pool(4096);
    expect([pool.lockStatus, pool.pool.locked]).toEqual([B_OK, true]);
    roster.SetRealtimeFlags(0);
    expect(rtm_create_pool(4096).lockStatus).toBe(B_MEDIA_REALTIME_DISABLED);
  });
});

describe("libcork's door", () => {
  const made = (): cork_mempool => {
    const mp = new cork_mempool();
    cork_mempool_init_size_ex(mp, 8, 64);
    return mp;
  };

  it("init after done starts without hooks and user data; user data is destroyed once", () => {
    const mp = made();
    const calls: string[] = [];
    cork_mempool_set_user_data(mp, "data", (data) => calls.push(`destroy ${data}`));
    cork_mempool_set_init_object(mp, (data) => calls.push(`init ${data}`));
    cork_mempool_set_done_object(mp, (data) => calls.push(`done ${data}`));
    cork_mempool_free(mp, cork_mempool_new(mp)!);
    cork_mempool_done(mp);
    expect(calls.filter((call) => call === "destroy data")).toHaveLength(1);
    const before = calls.length;
    cork_mempool_init_size_ex(mp, 8, 64);
    cork_mempool_free(mp, cork_mempool_new(mp)!);
    cork_mempool_done(mp);
    expect(calls.length).toBe(before);
  });

  it("a second done is ERR_POOL_DEAD, as is a hook or user data of a pool that is done", () => {
    const mp = made();
    cork_mempool_done(mp);
    for (const call of [
      () => cork_mempool_done(mp),
      () => cork_mempool_set_init_object(mp, () => {}),
      () => cork_mempool_set_done_object(mp, null),
      () => cork_mempool_set_user_data(mp, 1),
    ])
      expect(thrownBy(call)).toMatchObject({ status: CORK_FAILURE, code: "ERR_POOL_DEAD" });
    expect(thrownBy(() => cork_mempool_set_user_data(new cork_mempool(), 1)).code).toBe("ERR_NOT_CONFIGURED");
  });

  it("gives every error its status and its code once, in its own words and with the caller's values", () => {
    const mp = made();
    const [a, b] = [cork_mempool_new(mp)!, cork_mempool_new(mp)!];
    cork_mempool_free(mp, a);
    const cases: [() => unknown, string, RegExp][] = [
      [() => cork_mempool_init_size(mp, 8), "ERR_ALREADY_EXISTS", /cork_mempool_done\(\) it first/],
      [() => cork_mempool_init_size(new cork_mempool(), -3), "ERR_OUT_OF_RANGE", /element_size must be .* -3 /],
      [() => cork_mempool_init_size_ex(new cork_mempool(), 9, 16), "ERR_OUT_OF_RANGE", /block_size must be .* 16 /],
      [() => cork_mempool_init(new cork_mempool(), { size: -1 }), "ERR_OUT_OF_RANGE", /type\.size must be .* -1 /],
      [() => cork_mempool_init(new cork_mempool(), 3 as never), "ERR_INVALID_ARG_TYPE", /type must be .* 3 /],
      [() => cork_mempool_free(mp, a), "ERR_DOUBLE_RELEASE", /object 32 is free .* first cork_mempool_free\(\)/],
      [() => cork_mempool_bytes(mp, a), "ERR_USE_AFTER_RELEASE", /object 32 is free/],
      [() => cork_mempool_free(mp, b + 1), "ERR_FOREIGN_RELEASE", / 17 is not an object of this cork_mempool/],
      [() => cork_mempool_free(mp, 640), "ERR_FOREIGN_RELEASE", /object 640 is not an object of this/],
      [() => cork_mempool_free(mp, null as never), "ERR_INVALID_ARG_TYPE", /ptr must be a number/],
      [() => cork_mempool_done(mp), "ERR_LIVE_OBJECTS", /1 objects are live; cork_mempool_free\(\) them first/],
      [() => cork_mempool_set_init_object(mp, 3 as never), "ERR_INVALID_ARG_TYPE", /init_object must be a function/],
      [() => cork_mempool_new({} as never), "ERR_INVALID_ARG_TYPE", /mp must be a cork_mempool/],
      [() => cork_mempool_new(Object.create(cork_mempool.prototype)), "ERR_INVALID_ARG_TYPE", /mp must be/],
      [() => cork_mempool_new(new cork_mempool()), "ERR_NOT_CONFIGURED", /call cork_mempool_init\(\) first/],
    ];
    for (const [call, code, message] of cases) {
      const error = thrownBy(call);
      expect([error.status, error.code]).toEqual([CORK_FAILURE, code]);
      // The sentence may wrap in the middle of what is looked for; the code stands behind it.
      expect(`${error.message.replace(/ \[\w+\]$/, "")} `).toMatch(message);
      expect(error.message).not.toMatch(/slab|close\(|force|[^_]free\(|[^_]alloc\(/);
    }
    expect(cork_mempool_new(mp)).toBe(a);
    // @ts-expect-error an object of the same shape is not a struct
    thrownBy(() => cork_mempool_new({ toString: () => "cork_mempool" }));
    expect([String(mp), String(new cork_mempool())]).toEqual([
      "cork_mempool of 8-byte objects in blocks of 64 (2 live)",
      "cork_mempool (not initialized)",
    ]);
  });

  it("what a hook throws is the caller's own, also when it looks like a full pool", () => {
    const full = new MillpondError("ERR_POOL_FULL", "some other pool of mine");
    const mp = made();
    cork_mempool_set_init_object(mp, () => {
      throw full;
    });
    expect(thrownBy(() => cork_mempool_new(mp))).toBe(full);
  });
});
