/** close({ force: true }) of every pool over every kind of source: no holder reaches the next owner's bytes. */
import { describe, expect, it } from "vitest";
import { SharedAllocator } from "../../../src/allocators/shared.ts";
import { Allocator, SystemAllocator } from "../../../src/memory/allocator.ts";
import type { MapMode } from "../../../src/memory/memory.ts";
import { opaqueRegion, type Region } from "../../../src/memory/region.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import { PagePool } from "../../../src/pools/page/page-pool.ts";
import { RealtimePool } from "../../../src/pools/realtime/realtime-pool.ts";
import { SlabPool } from "../../../src/pools/slab/slab-pool.ts";
import { struct } from "../../../src/pools/slab/struct.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { lateErrors } from "../../helpers/late-errors.ts";
import { code } from "../buffer/pools.ts";

const SIZE = 4096;

interface Source {
  readonly allocator: Allocator;
  validate(): void;
}

function pages(source?: Allocator): Source {
  const pool = PagePool.create({ ageOut: Number.POSITIVE_INFINITY, timer: false, source });
  return { allocator: pool.allocator, validate: () => pool.validate() };
}

function realtime(): Source {
  const pool = RealtimePool.create({ totalSize: 65536 });
  return { allocator: pool.allocator, validate: () => pool.validate() };
}

const SOURCES: Readonly<Record<string, () => Source>> = {
  "a PagePool": () => pages(),
  "a PagePool over a PagePool": () => pages(pages().allocator),
  "a PagePool over shared memory": () => pages(new SharedAllocator()),
  "a PagePool over a PagePool over shared memory": () => pages(pages(new SharedAllocator()).allocator),
  "a RealtimePool": realtime,
};

/** Takes what the source gives next, eight times, and answers whether a write through the kept view shows in it. */
function reachesNextOwner({ allocator, validate }: Source, write: () => void): boolean {
  const next = Array.from({ length: 8 }, () => allocator.allocate(SIZE).map("readwrite").bytes.fill(0));
  try {
    write();
  } catch {
    // Refused: that is the point.
  }
  validate();
  return next.some((bytes) => bytes.includes(77));
}

const fill = (view: Uint8Array) => (): void => void view.fill(77);

describe.each(Object.entries(SOURCES))("over %s", (_name, open) => {
  it("a view of a BufferPool's lease does not reach the next owner after a forced close", () => {
    const source = open();
    const pool = BufferPool.create({ size: SIZE, max: 1, allocator: source.allocator });
    const view = pool.tryAcquire()!.bytes;
    pool.close({ force: true });
    expect(reachesNextOwner(source, fill(view))).toBe(false);
  });

  it("nor does one of a lease whose copy, mapping or retained memory outlives the close", () => {
    for (const kind of ["copy", "mapping", "memory"]) {
      const source = open();
      const pool = BufferPool.create({ size: SIZE, max: 1, allocator: source.allocator });
      const buffer = pool.tryAcquire()!;
      const view = buffer.bytes;
      const copy = kind === "copy" ? buffer.copy() : undefined;
      const mapping = kind === "mapping" ? buffer.map("write") : undefined;
      const memory = kind === "memory" ? buffer.memories[0]!.retain() : undefined;
      pool.close({ force: true });
      copy?.release();
      mapping?.unmap();
      memory?.release();
      expect(reachesNextOwner(source, fill(view))).toBe(false);
    }
  });

  it("nor does one of memory that the holder added to its buffer", () => {
    const source = open();
    const pool = BufferPool.create({ size: 64, max: 1 });
    const buffer = pool.tryAcquire()!;
    const memory = source.allocator.allocate(SIZE);
    const mapping = memory.map("readwrite");
    const view = mapping.bytes;
    mapping.unmap();
    buffer.append(memory);
    pool.close({ force: true });
    expect(reachesNextOwner(source, fill(view))).toBe(false);
  });

  it("nor does one of another pool's buffer that shared the bytes, when their own pool frees or keeps them", () => {
    const source = open();
    const pool = BufferPool.create({ size: SIZE, max: 1, allocator: source.allocator });
    const other = BufferPool.create({ size: 64, max: 1 });
    const buffer = pool.tryAcquire()!;
    const taker = other.tryAcquire()!;
    taker.append(buffer.memories[0]!.share(0));
    const part = taker.memories[1]!.map("read");
    const view = part.bytes;
    part.unmap();
    other.close({ force: true });
    buffer.release();
    const next = pool.tryAcquire()!;
    next.bytes.fill(0);
    try {
      view.fill(77);
    } catch {
      // Refused.
    }
    expect(next.bytes.includes(77)).toBe(false);
    expect(reachesNextOwner(source, fill(view))).toBe(false);
    pool.validate();
  });

  it("neither a cursor nor a view of a SlabPool's element reaches the next owner after a forced close", () => {
    const source = open();
    const slab = SlabPool.create({ struct: struct({ a: "u32" }), source: source.allocator });
    const element = slab.alloc();
    const [cursor, bytes, block] = [slab.at(element), slab.bytes(element), slab.blockOf(element)];
    slab.close({ force: true });
    const write = (): void => {
      bytes.fill(77);
      block.fill(77);
      cursor.a = 0x4d4d4d4d;
    };
    expect(reachesNextOwner(source, write)).toBe(false);
    expect(code(() => cursor.a)).toBe("ERR_POOL_DEAD");
  });

  it("a view of a PagePool's lease does not reach the next owner of its source after a forced close", () => {
    const source = open();
    const pool = PagePool.create({ source: source.allocator, timer: false });
    const memory = pool.allocate(SIZE);
    const mapping = memory.map("readwrite");
    const view = mapping.bytes;
    mapping.unmap();
    pool.close({ force: true });
    pool.validate();
    expect(reachesNextOwner(source, fill(view))).toBe(false);
  });
});

it("bytes that cannot be revoked leave the page pool, and go where views outlive a release", () => {
  const shared = new SharedAllocator();
  const pool = PagePool.create({ source: shared, timer: false });
  const frames = BufferPool.create({ size: SIZE, max: 1, allocator: pool.allocator });
  frames.tryAcquire();
  frames.close({ force: true });
  expect([pool.stats().count, pool.stats().liveMemories, pool.holders()]).toEqual([0, 0, []]);
  expect(shared.stats().liveMemories).toBe(0);
  expect(pool.close()).toEqual([]);
});

it("a forced close over the system allocator leaves views as they are: the garbage collector has the bytes", () => {
  const source = new SystemAllocator();
  const pool = BufferPool.create({ size: 64, max: 1, allocator: source });
  const view = pool.tryAcquire()!.bytes;
  pool.close({ force: true });
  expect([view.length, source.stats().liveMemories]).toEqual([64, 0]);
});

describe("a cursor of a slab pool without a source", () => {
  const layout = struct({ a: "u32", leave: "u8", big: "i64" });

  it("throws ERR_POOL_DEAD at every field after close(), also one that struct.cursor() made", () => {
    const pool = SlabPool.create({ struct: layout });
    const element = pool.alloc();
    const cursors = [pool.at(element), layout.cursor(pool).at(element)];
    pool.free(element);
    pool.close();
    for (const cursor of cursors) {
      expect(code(() => cursor.a)).toBe("ERR_POOL_DEAD");
      expect(code(() => (cursor.big = 1n))).toBe("ERR_POOL_DEAD");
      expect(code(() => cursor.leave)).toBe("ERR_POOL_DEAD");
      expect(code(() => cursor.at(element))).toBe("ERR_POOL_DEAD");
    }
  });

  it("throws ERR_USE_AFTER_RELEASE when its block aged out, and works again after at()", () => {
    const pool = SlabPool.create({ struct: layout, ageOut: 0 });
    const element = pool.alloc();
    const cursor = pool.at(element);
    pool.free(element);
    pool.maintain();
    pool.maintain();
    expect(pool.stats().blocks).toBe(0);
    expect(code(() => (cursor.a = 1))).toBe("ERR_USE_AFTER_RELEASE");
    cursor.at(pool.alloc()).a = 5;
    expect(cursor.a).toBe(5);
  });
});

describe("PagePool.close({ force: true })", () => {
  it("takes back a lease that is mapped: its mapping is over, unmap() is harmless", () => {
    const pool = PagePool.create({ timer: false });
    const memory = pool.allocate(100);
    const mapping = memory.map("write");
    const view = mapping.bytes;
    expect(pool.close({ force: true })).toHaveLength(1);
    expect([view.length, pool.holders(), pool.stats().live, pool.stats().liveMemories]).toEqual([0, [], 0, 0]);
    expect(code(() => mapping.bytes)).toBe("ERR_POOL_DEAD");
    expect(code(() => mapping.unmap())).toBe("ok");
    for (const use of [
      () => memory.map("read"),
      () => memory.share(0, 5),
      () => memory.retain(),
      () => memory.release(),
    ])
      expect(code(use)).toBe("ERR_POOL_DEAD");
    pool.validate();
  });

  it("takes back a lease that is locked: unlock() is harmless, lock() is refused", () => {
    const pool = PagePool.create({ timer: false });
    const memory = pool.allocate(100);
    const view = memory.lock("write");
    pool.close({ force: true });
    expect(view.length).toBe(0);
    expect(code(() => memory.unlock("write"))).toBe("ok");
    expect(code(() => memory.lock("write"))).toBe("ERR_POOL_DEAD");
  });

  it("takes back a lease with a sub-memory, and the sub-memory, mapped or not", () => {
    const source = new SystemAllocator();
    const pool = PagePool.create({ source, timer: false });
    const memory = pool.allocate(100);
    const [idle, mapped] = [memory.share(0, 5), memory.share(5, 5)];
    const mapping = mapped.map("read");
    memory.release();
    pool.close({ force: true });
    for (const dead of [memory, idle, mapped])
      expect([code(() => dead.map("read")), code(() => dead.release())]).toEqual(["ERR_POOL_DEAD", "ERR_POOL_DEAD"]);
    expect(code(() => mapping.bytes)).toBe("ERR_POOL_DEAD");
    mapping.unmap();
    expect([pool.stats().liveMemories, pool.holders(), source.stats().liveMemories]).toEqual([0, [], 0]);
    pool.validate();
  });
});

it("a BufferPool whose close() is refused names retire() and the forced close, not drained()", () => {
  const pool = BufferPool.create({ size: 64, max: 1 });
  pool.tryAcquire();
  expect(() => pool.close()).toThrow(/Release them, use retire\(\), or close\(\{ force: true \}\)/);
  pool.deactivate();
  expect(() => pool.configure({ size: 1, max: 1 })).toThrow(/Wait for drained\(\)/);
});

describe("a hook that throws while a pool is closed by force", () => {
  class Throwing extends BufferPool {
    calls = 0;
    bad: readonly number[] = [];
    protected override dispose(): void {
      if (this.bad.includes(++this.calls)) throw new Error(`dispose ${this.calls}`);
    }
  }

  function thrownBy(fn: () => unknown): unknown {
    try {
      fn();
    } catch (error) {
      return error;
    }
    return undefined;
  }

  it("BufferPool: one error reaches the caller as it is, several together, and the next close() has the report", async () => {
    for (const bad of [[2], [1, 3]]) {
      const source = new SystemAllocator();
      const pool = Throwing.create({ size: 64, max: 3, allocator: source });
      const [first] = [pool.tryAcquire()!, pool.tryAcquire()!, pool.tryAcquire()!];
      pool.tryAcquire();
      first.release();
      pool.bad = bad;
      let thrown: unknown;
      const late = await lateErrors(() => {
        thrown = thrownBy(() => pool.close({ force: true }));
      });
      expect(late).toEqual([]);
      const texts = (thrown instanceof AggregateError ? thrown.errors : [thrown]).map(({ message }) => message);
      expect([thrown instanceof AggregateError, texts]).toEqual([bad.length > 1, bad.map((call) => `dispose ${call}`)]);
      expect([pool.calls, pool.outstanding, source.stats().liveMemories]).toEqual([3, 0, 0]);
      expect([pool.close().length, pool.close().length]).toEqual([2, 0]);
      pool.validate();
    }
  });

  it("SlabPool: the next close() has the report", () => {
    const pool = SlabPool.create({
      elementSize: 8,
      destroy() {
        throw new Error("destroy");
      },
    });
    const pointer = pool.alloc();
    expect(thrownBy(() => pool.close({ force: true }))).toBeInstanceOf(AggregateError);
    expect([pool.close(), pool.close().live]).toEqual([{ live: 1, pointers: [pointer], sites: [] }, 0]);
  });
});

describe("a PagePool over memory that has to be mapped", () => {
  class Device extends Allocator {
    mapped = 0;
    freed = 0;
    open: () => void = () => {};
    protected override allocateRegion(size: number): Region {
      return opaqueRegion(size, new Uint8Array(size));
    }
    protected override freeRegion(): void {
      this.freed++;
    }
    protected override mapRegion(region: Region): Uint8Array {
      this.mapped++;
      return region.handle as Uint8Array;
    }
    protected override async mapRegionAsync(region: Region, _mode: MapMode): Promise<Uint8Array | undefined> {
      await new Promise<void>((resolve) => {
        this.open = resolve;
      });
      return this.mapRegion(region);
    }
    protected override unmapRegion(): void {
      this.mapped--;
    }
  }

  it("takes back a mapped lease at once, and the source gets the bytes when the last mapping has ended", () => {
    const device = new Device("device");
    const pool = PagePool.create({ source: device, timer: false, revoke: false });
    const memory = pool.allocate(SIZE);
    const part = memory.share(0, 8);
    const mappings = [memory.map("read"), memory.map("read"), part.map("read")];
    pool.close({ force: true });
    pool.validate();
    for (const mapping of mappings) {
      expect([device.freed, pool.holders(), code(() => mapping.bytes)]).toEqual([0, [], "ERR_POOL_DEAD"]);
      mapping.unmap();
      mapping.unmap();
    }
    expect([device.mapped, device.freed, device.stats().liveMemories]).toEqual([0, 1, 0]);
    expect(code(() => part.map("read"))).toBe("ERR_POOL_DEAD");
  });

  it("a mapAsync() that waits meanwhile is refused when the bytes come, and they go back", async () => {
    const device = new Device("device");
    const pool = PagePool.create({ source: device, timer: false, revoke: false });
    const memory = pool.allocate(SIZE);
    const wait = memory.mapAsync("read").catch((error) => error.code);
    await Promise.resolve();
    pool.close({ force: true });
    device.open();
    expect(await wait).toBe("ERR_POOL_DEAD");
    expect([device.mapped, device.freed]).toEqual([0, 1]);
  });
});

describe("a PagePool over a pool that was closed by force", () => {
  const INNER: Record<string, () => { readonly allocator: Allocator; close(options: { force: true }): unknown }> = {
    "a PagePool over shared memory": () => PagePool.create({ source: new SharedAllocator(), timer: false }),
    "a PagePool": () => PagePool.create({ timer: false }),
    "a RealtimePool": () => RealtimePool.create({ totalSize: 65536, lock: "off", prefault: false }),
  };
  const WAYS: Record<string, (pool: PagePool, clock: FakeClock) => void> = {
    "its age timer": (_pool, clock) => clock.advance(600),
    "maintain()": (pool) => pool.maintain(600),
    "trim()": (pool) => pool.trim(),
    "an eviction": (pool) => expect(code(() => pool.allocate(3 * SIZE))).toBe("ERR_POOL_DEAD"),
    "the pressure": (pool) => pool.setPressure("high"),
    "invalidate()": (pool) => pool.invalidate(),
    "retire()": (pool) => pool.retire(),
    "close()": (pool) => pool.close(),
    "a forced close()": (pool) => pool.close({ force: true }),
  };
  for (const [inner, make] of Object.entries(INNER)) {
    it.each(Object.entries(WAYS))(
      `lets go of its idle blocks without an uncaught error: ${inner}, by %s`,
      async (_name, end) => {
        const source = make();
        const clock = new FakeClock();
        const pool = PagePool.create({ source: source.allocator, clock, maxBytes: 4 * SIZE, pageSize: SIZE });
        const blocks = [pool.allocate(SIZE), pool.allocate(SIZE)];
        for (const block of blocks) block.release();
        source.close({ force: true });
        expect(await lateErrors(() => end(pool, clock))).toEqual([]);
        expect(pool.stats()).toMatchObject({ idle: 0, count: 0, bytes: 0 });
        pool.validate();
      },
    );
  }
});
