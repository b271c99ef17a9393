/**
 * A source that gives bytes that somebody has already: no two holders get the same bytes, and the first one keeps them.
 */
import { describe, expect, it } from "vitest";
import {
  Allocator,
  BufferPool,
  MediaBuffer,
  type Memory,
  PagePool,
  RealtimePool,
  Region,
  SlabPool,
  SystemAllocator,
} from "../../src/index.ts";
import { reachableBytes } from "../helpers/heap.ts";
import { code } from "../pools/buffer/pools.ts";

/** Gives one memory again and again, or memories whose bytes overlap; `free` is what came back. */
class Broken extends Allocator {
  readonly #how: "the same memory" | "overlapping bytes";
  readonly #bytes: Uint8Array = new Uint8Array(1 << 20);
  #given: Memory | undefined;
  at = 0;
  freed = 0;

  constructor(how: "the same memory" | "overlapping bytes") {
    super("broken");
    this.#how = how;
  }

  override allocate(...args: Parameters<Allocator["allocate"]>): Memory {
    if (this.#how === "overlapping bytes") return super.allocate(...args);
    if (this.#given === undefined || this.#given.refCount === 0) this.#given = super.allocate(...args);
    return this.#given;
  }

  protected override allocateRegion(size: number): Region {
    return new Region(this.#bytes.subarray(this.at, this.at + size));
  }

  protected override freeRegion(): void {
    this.freed++;
  }
}

/** Makes something over the source that has bytes of it: those, and its end. */
const TAKERS: Record<string, (source: Allocator) => { bytes: Uint8Array; end: () => void }> = {
  PagePool: (source) => {
    const pool = PagePool.create({ source, pageSize: 4096 });
    const memory = pool.allocate(4096);
    const mapping = memory.map("write");
    return {
      bytes: mapping.bytes,
      end: () => {
        mapping.unmap();
        memory.release();
        pool.close();
      },
    };
  },
  SlabPool: (source) => {
    const pool = SlabPool.create({ elementSize: 4000, blockSize: 4096, source });
    const pointer = pool.alloc();
    return {
      bytes: pool.bytes(pointer),
      end: () => {
        pool.free(pointer);
        pool.close();
      },
    };
  },
  RealtimePool: (source) => {
    const pool = RealtimePool.create({ totalSize: 512, source, lock: "off" });
    const pointer = pool.alloc(64);
    return {
      bytes: pool.bytes(pointer),
      end: () => {
        pool.free(pointer);
        pool.close();
      },
    };
  },
  BufferPool: (source) => {
    const pool = BufferPool.create({ size: 4096, max: 1, allocator: source });
    const buffer = pool.tryAcquire()!;
    return {
      bytes: buffer.bytes,
      end: () => {
        buffer.release();
        pool.close();
      },
    };
  },
  "MediaBuffer.allocate": (source) => {
    const buffer = MediaBuffer.allocate(4096, { allocator: source });
    return { bytes: buffer.bytes, end: () => buffer.release() };
  },
};

const names = Object.keys(TAKERS);
const POOLS = ["PagePool", "SlabPool", "RealtimePool", "BufferPool"];

/** A BufferPool has another memory over the bytes that it was answered: of that one it is told by its bytes. */
const pairs = names
  .filter((first) => first !== "BufferPool")
  .flatMap((first) => names.map((second): [string, string] => [first, second]));

describe("a source that gives the same memory twice", () => {
  it.each(pairs)("to a %s, then to a %s, is refused, and the first keeps it", (first, second) => {
    const source = new Broken("the same memory");
    const one = TAKERS[first]!(source);
    one.bytes.fill(7);
    const before = one.bytes.slice();
    expect(code(() => TAKERS[second]!(source))).toBe("ERR_ALLOCATION_FAILED");
    expect([one.bytes.length, [...one.bytes]]).toEqual([before.length, [...before]]);
    expect(source.freed).toBe(0);
    one.end();
    expect(source.freed).toBe(1);
    // What came back may be given again.
    TAKERS[second]!(source).end();
  });
});

describe("a source that gives bytes of a live memory", () => {
  const overlaps = POOLS.flatMap((first) =>
    POOLS.flatMap((second) => [0, 8, 2048].map((at): [string, string, number] => [first, second, at])),
  );

  it.each(overlaps)(
    "to a %s, then to a %s from byte %i on, is refused, and the first keeps them",
    (first, second, at) => {
      const source = new Broken("overlapping bytes");
      source.at = 4096;
      const one = TAKERS[first]!(source);
      one.bytes.fill(7);
      // In front of it, in it, and, where that is granted, right behind it.
      for (const start of [4096 - at, 4096 + (at >> 3) * 8]) {
        source.at = start;
        expect([start, code(() => TAKERS[second]!(source))]).toEqual([start, "ERR_ALLOCATION_FAILED"]);
      }
      expect(one.bytes.every((byte) => byte === 7)).toBe(true);
      source.at = 65_536;
      TAKERS[second]!(source).end();
      one.end();
      source.at = 4096;
      TAKERS[second]!(source).end();
    },
  );
});

it("pools on pools share an ArrayBuffer by right, block by block, as often as they like", () => {
  const source = PagePool.create({ pageSize: 4096, max: 64 });
  const area = RealtimePool.create({ totalSize: 1 << 18, source: source.allocator, lock: "off" });
  for (let i = 0; i < 50; i++) {
    const pages = PagePool.create({ source: area.allocator, pageSize: 4096, max: 4 });
    const slab = SlabPool.create({ elementSize: 64, blockSize: 4096, source: pages.allocator });
    const pointers = Array.from({ length: 100 }, () => slab.alloc());
    const other = pages.allocate(4096);
    for (const pointer of pointers) slab.free(pointer);
    slab.close();
    other.release();
    pages.close();
  }
  area.close();
  source.close();
});

/** Gives what `make` makes, and counts what came back. */
class Giver extends Allocator {
  readonly #make: (size: number, given: number) => Region;
  #given = 0;
  readonly freed: Region[] = [];

  constructor(make: (size: number, given: number) => Region) {
    super("giver");
    this.#make = make;
  }

  protected override allocateRegion(size: number): Region {
    return this.#make(size, this.#given++);
  }

  protected override freeRegion(region: Region): void {
    this.freed.push(region);
  }
}

const whole = new ArrayBuffer(65_536);

/** Makes an allocator that gives the same bytes to the first two that ask. */
const GIVERS: Record<string, () => Allocator> = {
  "the same bytes of an ArrayBuffer": () => new Giver((size) => new Region(new Uint8Array(whole, 0, size))),
  "overlapping bytes": () => new Giver((size, given) => new Region(new Uint8Array(whole, given * 8, size))),
  "the same SharedArrayBuffer": () => {
    const shared = new SharedArrayBuffer(65_536);
    return new Giver((size) => new Region(new Uint8Array(shared, 0, size)));
  },
  "the same resizable ArrayBuffer": () => {
    const resizable = new ArrayBuffer(65_536, { maxByteLength: 1 << 20 } as object);
    return new Giver((size) => new Region(new Uint8Array(resizable, 0, size)));
  },
  "the same Region": () => {
    let region: Region | undefined;
    return new Giver((size) => {
      region ??= new Region(new Uint8Array(size));
      return region;
    });
  },
  "the same Region, from a subclass of SystemAllocator": () => {
    class Own extends SystemAllocator {
      #region: Region | undefined;
      protected override allocateRegion(...args: [number, never]): Region | undefined {
        this.#region ??= super.allocateRegion(...args);
        return this.#region;
      }
    }
    return new Own("own");
  },
  "a view of the Region's ArrayBuffer, whichever it is by now": () => {
    let region: Region | undefined;
    return new Giver((size, given) => {
      if (given > 0) return new Region(new Uint8Array(region!.bytes.buffer));
      region = new Region(new Uint8Array(size));
      return region;
    });
  },
  "the same bytes by a hook of the object itself": () => {
    const allocator = new SystemAllocator("patched");
    Object.assign(allocator, { allocateRegion: (size: number) => new Region(new Uint8Array(whole, 0, size)) });
    return allocator;
  },
};

const OPTIONS = [
  {},
  { zero: "release" },
  { zero: "acquire" },
  { revoke: true },
  { zero: "release", revoke: true },
] as const;
const cases = Object.keys(GIVERS).flatMap((how) => OPTIONS.map((options) => [how, options] as const));

describe.each(cases)("a BufferPool whose allocator gives %s, with %o", (how, options) => {
  /** The parts of a larger buffer cannot be revoked, so that not even the first is given. */
  const isRefused = "revoke" in options && /ArrayBuffer$|overlapping|by a hook/.test(how);

  it.each(["one pool", "two pools"])("refuses the second, and the first keeps them: %s", (pools) => {
    const allocator = GIVERS[how]!();
    const make = () => BufferPool.create({ size: 4096, max: 2, allocator, ...options });
    const pool = make();
    if (isRefused) {
      // revoke: true takes what it can; only a PagePool insists.
      expect(["ERR_UNSUPPORTED", undefined]).toContain(code(() => pool.tryAcquire()!.release()));
      return;
    }
    const other = pools === "one pool" ? pool : make();
    // Leases before it: their handles are replaced, their views revoked.
    for (let i = 0; i < 3; i++) {
      const lease = pool.tryAcquire()!;
      lease.memoryAt(0);
      lease.release();
    }
    const first = pool.tryAcquire()!;
    first.bytes.fill(7);
    for (let i = 0; i < 3; i++) expect(code(() => other.tryAcquire())).toBe("ERR_ALLOCATION_FAILED");
    expect(first.bytes.length).toBe(4096);
    expect(first.bytes.every((byte) => byte === 7)).toBe(true);
    expect(pool.stats()).toMatchObject({ count: 1, outstanding: 1 });
    pool.validate();
    first.release();
    expect(pool.tryAcquire()!.size).toBe(4096);
    pool.close({ force: true });
  });
});

it("what a BufferPool freed may be given again, and what a copy still has may not", () => {
  const region = new Region(new Uint8Array(4096));
  const allocator = new Giver(() => region);
  const make = () => BufferPool.create({ size: 4096, max: 1, allocator, revoke: true });
  for (let i = 0; i < 3; i++) {
    const pool = make();
    const lease = pool.tryAcquire()!;
    lease.memoryAt(0);
    lease.release();
    pool.close();
    expect(allocator.freed.length).toBe(i + 1);
  }
  const pool = make();
  const lease = pool.tryAcquire()!;
  const copy = lease.copy();
  pool.close({ force: true });
  const other = make();
  expect(code(() => other.tryAcquire())).toBe("ERR_ALLOCATION_FAILED");
  copy.release();
  other.tryAcquire()!.release();
  other.close();
});

it("a populate() that writes, or that throws, writes and wipes nothing of bytes that somebody has", () => {
  for (const fails of [false, true]) {
    for (const own of [false, true]) {
      class Fills extends BufferPool {
        protected override populate(...[buffer, config]: Parameters<BufferPool["populate"]>): void {
          if (own) buffer.append(config.allocator.allocate(config.size));
          else super.populate(buffer, config);
          if (!own) buffer.bytes.fill(1);
          if (fails && this.outstanding === 0 && this.name === "second") throw new Error("populate");
        }
      }
      const allocator = new Giver((size) => new Region(new Uint8Array(whole, 0, size)));
      const pool = Fills.create({ name: "first", size: 4096, max: 1, allocator });
      const lease = pool.tryAcquire()!;
      lease.bytes.fill(7);
      const other = Fills.create({ name: "second", size: 4096, max: 1, allocator, zero: "release" });
      expect(() => other.tryAcquire()).toThrow();
      expect(lease.bytes.every((byte) => byte === 7)).toBe(true);
      lease.release();
      pool.close();
    }
  }
});

it("memory that a PagePool has is refused to a populate() that asks for it without looking", () => {
  const source = new Broken("the same memory");
  const one = TAKERS.PagePool!(source);
  one.bytes.fill(7);
  class Own extends BufferPool {
    protected override populate(...[buffer, config]: Parameters<BufferPool["populate"]>): void {
      buffer.append(source.allocate(config.size));
    }
  }
  const pool = Own.create({ size: 4096, max: 1, zero: "release" });
  expect(code(() => pool.tryAcquire())).toBe("ERR_ALLOCATION_FAILED");
  expect(one.bytes.every((byte) => byte === 7)).toBe(true);
  one.end();
  expect(source.freed).toBe(1);
});

it("a BufferPool that was forgotten can be collected, also over an allocator that keeps its ArrayBuffer", async () => {
  const region = new Region(new Uint8Array(whole, 32_768, 4096));
  const allocator = new Giver(() => region);
  const forgotten = (() => {
    const pool = BufferPool.create({ size: 4096, max: 1, allocator });
    pool.tryAcquire()!.release();
    return new WeakRef(pool);
  })();
  for (let i = 0; i < 20 && forgotten.deref() !== undefined; i++) {
    await reachableBytes();
  }
  expect(forgotten.deref()).toBe(undefined);
});
