/** A source, clock or hook that calls back into the pool it serves gets ERR_REENTRANT, and nothing has changed. */
import { describe, expect, it } from "vitest";
import { BufferPool, MediaBuffer, PagePool, RealtimePool, SlabPool } from "../../../src/index.ts";
import { Allocator } from "../../../src/memory/allocator.ts";
import type { Memory } from "../../../src/memory/memory.ts";
import { Region } from "../../../src/memory/region.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { isMillpondError } from "../../../src/util/errors.ts";
import { code } from "../buffer/pools.ts";

/** A source that runs something inside each of its hooks. */
class Hostile extends Allocator {
  onAllocate: () => void = () => undefined;
  onFree: () => void = () => undefined;
  live = 0;
  constructor() {
    super("hostile");
  }
  protected override allocateRegion(size: number): Region {
    this.onAllocate();
    this.live++;
    return new Region(new Uint8Array(size));
  }
  protected override freeRegion(): void {
    this.live--;
    this.onFree();
  }
}

/** The codes of several calls; nothing they throw gets out. */
const codes = (calls: readonly (() => unknown)[]): string[] => calls.map((call) => code(call));
const refused = (calls: readonly unknown[]): string[] => calls.map(() => "ERR_REENTRANT");

describe("a source of a RealtimePool", () => {
  it("that calls back while the pool grows is refused every call that changes it, and blocks never overlap", () => {
    const source = new Hostile();
    const pool = RealtimePool.create({ totalSize: 4096, source, lock: "off", maxBytes: 1 << 16 });
    const first = pool.alloc(4000);
    const memory = RealtimePool.create({ totalSize: 64 }).allocate(8);
    let seen: string[] = [];
    const calls = [
      () => pool.alloc(8),
      () => pool.tryAlloc(8),
      () => pool.free(first),
      () => pool.allocate(8),
      () => pool.realloc(first, 4096),
      () => pool.close(),
      () => pool.close({ force: true }),
    ];
    source.onAllocate = () => {
      seen = codes(calls);
      expect(pool.stats().areas).toBe(1);
      pool.validate();
    };
    const second = pool.alloc(4000);
    expect(seen).toEqual(refused(calls));
    source.onAllocate = () => undefined;
    expect(second).not.toBe(first);
    expect(pool.stats()).toMatchObject({ areas: 2, liveBlocks: 2 });
    pool.validate();
    pool.free(first);
    pool.free(second);
    expect(pool.stats().liveBlocks).toBe(0);
    pool.close();
    expect(source.live).toBe(0);
    memory.release();
  });

  it("that lets the refusal pass is told to the caller, not taken for a full pool", () => {
    const source = new Hostile();
    const pool = RealtimePool.create({ totalSize: 4096, source, lock: "off", maxBytes: 1 << 16 });
    pool.alloc(4000);
    source.onAllocate = () => pool.alloc(4000);
    expect(code(() => pool.alloc(4000))).toBe("ERR_REENTRANT");
    source.onAllocate = () => undefined;
    expect(pool.stats()).toMatchObject({ areas: 1, liveBlocks: 1 });
    pool.free(pool.alloc(4000));
    pool.validate();
  });

  it("cannot end a Memory, a part of one, or a buffer over one; each lives on and can be ended afterwards", () => {
    const source = new Hostile();
    const pool = RealtimePool.create({ totalSize: 8192, source, lock: "off", maxBytes: 1 << 16 });
    const memory = pool.allocate(64);
    const other = pool.allocate(64);
    const part = other.share(0, 8);
    other.release();
    const buffer = new MediaBuffer();
    buffer.append(pool.allocate(64));
    let seen: string[] = [];
    const calls = [
      () => memory.release(),
      () => pool.release(memory),
      () => part.release(),
      () => buffer.release(),
      () => pool.reallocate(memory, 100),
    ];
    source.onAllocate = () => {
      seen = codes(calls);
    };
    pool.alloc(8192);
    expect(seen).toEqual(refused(calls));
    pool.validate();
    source.onAllocate = () => undefined;
    expect([memory.refCount, part.refCount, buffer.isLive]).toEqual([1, 1, true]);
    memory.release();
    part.release();
    buffer.release();
    pool.validate();
    expect(pool.stats().liveBlocks).toBe(1);
  });

  it("that gives bytes back with an error keeps no other area from going back", () => {
    const source = new Hostile();
    const pool = RealtimePool.create({ totalSize: 4096, source, lock: "off", maxBytes: 1 << 16 });
    const blocks = [pool.alloc(4000), pool.alloc(4000), pool.alloc(4000)];
    for (const block of blocks) pool.free(block);
    expect(source.live).toBe(3);
    source.onFree = () => pool.alloc(8);
    expect(code(() => pool.close())).toMatch(/ERR_POOL_DEAD|AggregateError/);
    expect(source.live).toBe(0);
  });

  it("of the default pool cannot make a second default pool", () => {
    const source = new Hostile();
    let seen = "";
    source.onAllocate = () => {
      source.onAllocate = () => undefined;
      seen = code(() => RealtimePool.createDefault({ totalSize: 4096, source, lock: "off" }));
    };
    const pool = RealtimePool.createDefault({ totalSize: 4096, source, lock: "off" });
    expect(seen).toBe("ERR_REENTRANT");
    expect(RealtimePool.default).toBe(pool);
    expect(source.live).toBe(1);
  });
});

describe("a source of a PagePool", () => {
  const changing = (pool: PagePool): (() => unknown)[] => [
    () => pool.tryAllocate(64),
    () => pool.allocator.allocate(64),
    () => pool.allocator.allocate(64, { align: 16 }),
    () => pool.allocator.allocate(0),
    () => pool.trim(),
    () => pool.maintain(),
    () => pool.setPressure("high"),
    () => pool.invalidate(),
    () => pool.retire(),
    () => pool.close(),
    () => pool.close({ force: true }),
  ];

  it("that calls back is refused every call that changes the pool, and the bound of one block holds", () => {
    const source = new Hostile();
    const pool = PagePool.create({ source, max: 1, clock: new FakeClock() });
    let seen: string[] = [];
    source.onAllocate = () => {
      seen = codes(changing(pool));
      expect(pool.stats().count).toBe(0);
    };
    const memory = pool.tryAllocate(64)!;
    expect(seen).toEqual(refused(changing(pool)));
    expect(pool.stats()).toMatchObject({ count: 1, live: 1 });
    expect(source.live).toBe(1);
    pool.validate();
    memory.release();
    expect(pool.tryAllocate(64)).toBeDefined();
  });

  it("that calls back when a block goes is refused too, and acquire() rejects without queueing", async () => {
    const source = new Hostile();
    const pool = PagePool.create({ source, max: 1, clock: new FakeClock() });
    pool.tryAllocate(64)!.release();
    let seen: string[] = [];
    let wait: Promise<unknown> = Promise.resolve();
    source.onFree = () => {
      seen = codes(changing(pool));
      wait = pool.acquire(64).catch((error: unknown) => error);
    };
    // Of another size: the idle block goes to make room.
    const memory = pool.tryAllocate(1 << 16)!;
    expect(seen).toEqual(refused(changing(pool)));
    expect(isMillpondError(await wait, "ERR_REENTRANT")).toBe(true);
    expect(pool.stats()).toMatchObject({ count: 1, live: 1, waiting: 0 });
    pool.validate();
    source.onFree = () => undefined;
    memory.release();
    pool.close();
    expect(source.live).toBe(0);
  });

  it("cannot end a memory, a part of one, or a buffer over one; each lives on and can be ended afterwards", () => {
    const source = new Hostile();
    const pool = PagePool.create({ source, clock: new FakeClock() });
    const memory = pool.tryAllocate(64)!;
    const other = pool.tryAllocate(64)!;
    const part = other.share(0, 8);
    other.release();
    const buffer = new MediaBuffer();
    buffer.append(pool.tryAllocate(64)!);
    const calls = [() => memory.release(), () => part.release(), () => buffer.release()];
    let seen: string[] = [];
    source.onAllocate = () => {
      seen = codes(calls);
    };
    const fresh = pool.tryAllocate(64)!;
    expect(seen).toEqual(refused(calls));
    pool.validate();
    for (const call of calls) call();
    fresh.release();
    pool.validate();
    expect(pool.stats().live).toBe(0);
    pool.close();
    expect(source.live).toBe(0);
  });

  it("that throws at any call leaves the pool open to the next", () => {
    const source = new Hostile();
    const pool = PagePool.create({ source, max: 1, clock: new FakeClock() });
    source.onAllocate = () => {
      throw new Error("no memory");
    };
    expect(code(() => pool.tryAllocate(64))).toBe("ERR_ALLOCATION_FAILED");
    source.onAllocate = () => undefined;
    const memory = pool.tryAllocate(64)!;
    memory.release();
    pool.allocator.allocate(64).release();
    pool.validate();
  });

  it("may end a wait: the next in line is served, and no block is lost", async () => {
    for (const whose of ["its own", "the only one", "another's"] as const) {
      const source = new Hostile();
      const clock = new FakeClock();
      const pool = PagePool.create({ source, max: 1, clock });
      const held = pool.tryAllocate(64)!;
      const stop = new AbortController();
      const first = pool.acquire(1 << 16, whose === "another's" ? {} : { signal: stop.signal }).catch(() => undefined);
      const second =
        whose === "the only one"
          ? Promise.resolve(undefined)
          : pool.acquire(1 << 17, whose === "another's" ? { signal: stop.signal } : {}).catch(() => undefined);
      source.onAllocate = () => stop.abort();
      held.release();
      const got = (await first) as Memory | undefined;
      expect(got?.size).toBe(whose === "another's" ? 1 << 16 : undefined);
      got?.release();
      const next = (await second) as Memory | undefined;
      expect(next?.size).toBe(whose === "its own" ? 1 << 17 : undefined);
      next?.release();
      expect(pool.stats()).toMatchObject({ live: 0, waiting: 0 });
      pool.validate();
    }
  });
});

describe("a source that calls back while it takes the last bytes of a pool back", () => {
  it("is refused by a SlabPool that closes and by a RealtimePool that is deleted", () => {
    const source = new Hostile();
    const slab = SlabPool.create({ elementSize: 64, source });
    const pointer = slab.alloc();
    const realtime = RealtimePool.create({ totalSize: 4096, source, lock: "off" });
    const block = realtime.alloc(8);
    const slabCalls = [
      () => slab.alloc(),
      () => slab.tryAlloc(),
      () => slab.free(pointer),
      () => slab.close({ force: true }),
    ];
    const realtimeCalls = [
      () => realtime.alloc(8),
      () => realtime.tryAlloc(8),
      () => realtime.free(block),
      () => realtime.realloc(block, 16),
      () => realtime.close(),
    ];
    let seen: string[] = [];
    source.onFree = () => {
      seen = codes(slabCalls);
    };
    slab.close({ force: true });
    expect(seen).toEqual(refused(slabCalls));
    source.onFree = () => {
      seen = codes(realtimeCalls);
    };
    realtime.close({ force: true });
    expect(seen).toEqual(refused(realtimeCalls));
    expect([code(() => slab.alloc()), code(() => realtime.alloc(8))]).toEqual(["ERR_POOL_DEAD", "ERR_POOL_DEAD"]);
    expect(source.live).toBe(0);
  });
});

describe("a clock of a pool", () => {
  /** A clock that runs something at every reading and timer. */
  function hostileClock(run: () => void): FakeClock {
    const clock = new FakeClock();
    const { now, setTimer } = clock;
    clock.now = () => {
      run();
      return now.call(clock);
    };
    clock.setTimer = (fn, ms, background) => {
      run();
      return setTimer.call(clock, fn, ms, background);
    };
    return clock;
  }

  it("that calls back into a PagePool is refused, in every call that reads it", () => {
    let run = (): void => undefined;
    const clock = hostileClock(() => run());
    const pool = PagePool.create({ clock, max: 2 });
    const seen = new Set<string>();
    run = () => {
      seen.add(code(() => pool.allocator.allocate(64)));
    };
    const memory = pool.tryAllocate(64)!;
    memory.release();
    pool.maintain();
    clock.advance(10_000);
    expect([...seen]).toEqual(["ERR_REENTRANT"]);
    expect(pool.stats().live).toBe(0);
    pool.validate();
  });

  it("that gives pages or buffers back while a wait is made ends that wait", async () => {
    let run = (): void => undefined;
    const clock = hostileClock(() => run());
    const pages = PagePool.create({ clock, max: 1 });
    const page = pages.tryAllocate(64)!;
    let late = 0;
    // The reading that the wait itself takes; those before it belong to the allocation that found no room.
    run = () => {
      if (late++ === 0 && page.refCount > 0) page.release();
    };
    (await pages.acquire(64)).release();
    run = () => undefined;
    const pool = new BufferPool({ clock });
    pool.configure({ size: 64, max: 1 });
    pool.activate();
    const buffer = pool.tryAcquire()!;
    run = () => {
      if (buffer.isLive) buffer.release();
    };
    const wait = pool.acquire();
    run = () => undefined;
    (await wait).release();
    expect(pool.outstanding).toBe(0);
    pool.validate();
  });

  it("that calls back while a pool stops its timer is refused, and nothing has changed", () => {
    let run = (): void => undefined;
    const clock = new FakeClock();
    const { clearTimer } = clock;
    clock.clearTimer = (handle) => {
      run();
      clearTimer.call(clock, handle);
    };
    const pages = PagePool.create({ clock });
    const page = pages.tryAllocate(64)!;
    pages.tryAllocate(5000)!.release();
    const calls = [
      () => pages.tryAllocate(64),
      () => page.release(),
      () => pages.trim(),
      () => pages.maintain(),
      () => pages.invalidate(),
      () => pages.retire(),
      () => pages.close(),
    ];
    let seen: string[] = [];
    run = () => {
      seen = codes(calls);
    };
    pages.trim();
    expect(seen).toEqual(refused(calls));
    expect(pages.stats()).toMatchObject({ live: 1, idle: 0, count: 1 });
    pages.validate();

    const slab = SlabPool.create({ elementSize: 64, clock, ageOut: 100 });
    slab.free(slab.alloc());
    const slabCalls = [() => slab.alloc(), () => slab.tryAlloc(), () => slab.close(), () => slab.maintain()];
    run = () => {
      seen = codes(slabCalls);
    };
    expect(slab.close().live).toBe(0);
    expect(seen).toEqual(refused(slabCalls));
    expect(slab.stats()).toMatchObject({ live: 0, free: 0, blocks: 0 });
  });

  it("that calls back into a SlabPool is refused", () => {
    let run = (): void => undefined;
    const clock = hostileClock(() => run());
    const pool = SlabPool.create({ elementSize: 64, clock, ageOut: 100 });
    const pointer = pool.alloc();
    const seen = new Set<string>();
    run = () => {
      for (const call of [() => pool.alloc(), () => pool.free(pointer), () => pool.close(), () => pool.maintain()]) {
        seen.add(code(call));
      }
    };
    pool.maintain();
    clock.advance(1000);
    expect([...seen]).toEqual(["ERR_REENTRANT"]);
    run = () => undefined;
    expect(pool.live).toBe(1);
    pool.validate();
  });
});

describe("a source or hook of a SlabPool", () => {
  const calls = (pool: SlabPool, live: number): (() => unknown)[] => [
    () => pool.alloc(),
    () => pool.tryAlloc(),
    () => pool.free(live),
    () => pool.maintain(),
    () => pool.close(),
    () => pool.close({ force: true }),
  ];

  it("that calls back is refused every call that changes the pool, and no pointer is handed out twice", () => {
    const source = new Hostile();
    const pool = SlabPool.create({ elementSize: 1000, source, ageOut: 0, timer: false });
    const live = [pool.alloc(), pool.alloc(), pool.alloc(), pool.alloc()];
    const seen: string[][] = [];
    source.onAllocate = () => {
      seen.push(codes(calls(pool, live[0]!)));
      pool.stats();
      expect(pool.bytes(live[0]!)).toHaveLength(1000);
      expect(code(() => pool.bytes(-1))).toBe("ERR_FOREIGN_RELEASE");
    };
    const fifth = pool.alloc();
    source.onFree = () => seen.push(codes(calls(pool, live[0]!)));
    expect(new Set([...live, fifth]).size).toBe(5);
    expect(pool.live).toBe(5);
    pool.validate();
    pool.free(fifth);
    pool.maintain();
    pool.maintain();
    expect(seen).toEqual([refused(calls(pool, 0)), refused(calls(pool, 0))]);
    expect(pool.stats()).toMatchObject({ live: 4, blocks: 1 });
    pool.validate();
    for (const pointer of live) pool.free(pointer);
    source.onFree = () => undefined;
    pool.close();
    expect(source.live).toBe(0);
  });

  it("that throws at any call leaves the pool open to the next", () => {
    const source = new Hostile();
    const pool = SlabPool.create({ elementSize: 1000, source });
    source.onAllocate = () => {
      throw new Error("no memory");
    };
    expect(code(() => pool.alloc())).toBe("ERR_ALLOCATION_FAILED");
    source.onAllocate = () => undefined;
    pool.free(pool.alloc());
    pool.validate();
    source.onFree = () => {
      throw new RangeError("cannot");
    };
    expect(pool.stats().blocks).toBe(1);
  });

  it("of another pool may use this one: pools stand on each other", () => {
    const slab = SlabPool.create({ elementSize: 64 });
    const source = new Hostile();
    source.onAllocate = () => slab.alloc();
    const pages = PagePool.create({ source });
    pages.tryAllocate(64)!.release();
    expect(slab.live).toBe(1);
    const nested = SlabPool.create({ elementSize: 64, source: PagePool.create({}).allocator });
    nested.free(nested.alloc());
    nested.close();
  });
});

describe("an allocator of the application's", () => {
  it("that allocates from itself in its hook keeps its counters right, whatever the hook throws", () => {
    class Nested extends Allocator {
      depth = 0;
      constructor() {
        super("nested");
      }
      protected override allocateRegion(size: number): Region {
        if (this.depth++ === 0) this.allocate(8).release();
        if (size === 13) throw new Error("unlucky");
        return new Region(new Uint8Array(size));
      }
      protected override freeRegion(): void {}
    }
    const nested = new Nested();
    const memory = nested.allocate(16);
    expect(nested.stats()).toEqual({ liveMemories: 1, liveBytes: 16, allocations: 2, failures: 0 });
    expect(code(() => nested.allocate(13))).toBe("ERR_ALLOCATION_FAILED");
    memory.release();
    expect(nested.stats()).toEqual({ liveMemories: 0, liveBytes: 0, allocations: 2, failures: 1 });
  });

  it("that releases the memory whose region it is taking back is refused", () => {
    let seen = "";
    const source = new Hostile();
    const memory = source.allocate(8);
    source.onFree = () => {
      seen = code(() => memory.release());
    };
    memory.release();
    expect(seen).toBe("ERR_DOUBLE_RELEASE");
    expect(source.stats()).toMatchObject({ liveMemories: 0, liveBytes: 0 });
  });
});
