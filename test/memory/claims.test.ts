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
} from "../../src/index.ts";
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
const POOLS = ["PagePool", "SlabPool", "RealtimePool"];

/** A BufferPool has another memory over the bytes that it was answered: the first one of two may be anything else. */
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
