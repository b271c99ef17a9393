/**
 * Changed lists of memories at the end of a lease, and hooks that run in the middle of a map, a fill, a merge or a
 * resize.
 */
import { describe, expect, it } from "vitest";
import { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { ParentBufferMeta } from "../../../src/media/meta/built-in.ts";
import { Allocator, setDefaultAllocator, systemAllocator } from "../../../src/memory/allocator.ts";
import type { Memory } from "../../../src/memory/memory.ts";
import { Region, Wipe } from "../../../src/memory/region.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import type { ActualPoolConfig } from "../../../src/pools/buffer/config.ts";
import { PagePool } from "../../../src/pools/page/page-pool.ts";
import { RealtimePool } from "../../../src/pools/realtime/realtime-pool.ts";
import { SharedBufferPool } from "../../../src/pools/shared/shared-buffer-pool.ts";
import { code, openPool } from "./pools.ts";

/** System memory that tells when it is asked for and given back. */
class Telling extends Allocator {
  onAllocate: (() => void) | undefined;
  onFree: (() => void) | undefined;
  live = 0;

  constructor() {
    super("telling");
  }
  protected override allocateRegion(size: number): Region {
    const hook = this.onAllocate;
    this.onAllocate = undefined;
    hook?.();
    this.live++;
    return new Region(new Uint8Array(size));
  }
  protected override freeRegion(_region: Region): void {
    this.live--;
    const hook = this.onFree;
    this.onFree = undefined;
    hook?.();
  }
}

/** A buffer without a pool over `count` memories of four bytes. */
function listOf(allocator: Allocator, count: number): MediaBuffer {
  const buffer = new MediaBuffer();
  for (let i = 0; i < count; i++) buffer.append(allocator.allocate(4));
  return buffer;
}

/** Calls `fn` while merges allocate from `allocator`. */
function withDefault<T>(allocator: Allocator, fn: () => T): T {
  setDefaultAllocator(allocator);
  try {
    return fn();
  } finally {
    setDefaultAllocator(systemAllocator());
  }
}

describe("a released buffer waits for its own memory only", () => {
  it("one buffer appended to another: both slots come back", () => {
    const pool = openPool();
    const [a, b] = [pool.tryAcquire()!, pool.tryAcquire()!];
    a.append(b);
    a.release();
    expect(pool.outstanding).toBe(0);
    pool.validate();
  });

  it("the memory of another pool's buffer in its list: both pools get theirs back", () => {
    const [pool, other] = [openPool(), openPool()];
    const [a, b] = [pool.tryAcquire()!, other.tryAcquire()!];
    a.append(b);
    a.release();
    expect([pool.outstanding, other.outstanding]).toEqual([0, 0]);
  });

  it("two buffers that hold each other's memory do not wait for each other", () => {
    const pool = openPool();
    const [a, b] = [pool.tryAcquire()!, pool.tryAcquire()!];
    const [ofA, ofB] = [a.memories[0]!.retain(), b.memories[0]!.retain()];
    a.append(ofB);
    b.append(ofA);
    a.release();
    b.release();
    expect(pool.outstanding).toBe(0);
  });

  it("a copy of bytes that were copied on write does not keep the slot waiting", () => {
    const pool = openPool();
    const a = pool.tryAcquire()!;
    const first = a.copy();
    a.fill(0, new Uint8Array([1]));
    first.release();
    const second = a.copy();
    a.release();
    expect(pool.outstanding).toBe(0);
    second.release();
    expect(pool.stats().discards).toEqual({ "memory-changed": 1 });
  });

  it("revocation and zeroing come with the release of a buffer whose list was changed", () => {
    const allocator = new Telling();
    const pool = openPool({ allocator, zero: "release", revoke: true });
    const [a, b] = [pool.tryAcquire()!, pool.tryAcquire()!];
    const views = [a.bytes, b.bytes];
    a.append(b);
    a.release();
    expect(views.map((view) => view.length)).toEqual([0, 0]);
    pool.close();
    expect(allocator.live).toBe(0);
  });
});

describe("hooks in the middle of a change", () => {
  it("a copy taken while the old memory of a fill is freed does not see the fill", () => {
    const allocator = new Telling();
    const buffer = MediaBuffer.allocate(4, { allocator });
    const other = buffer.copy();
    let copy: MediaBuffer | undefined;
    allocator.onAllocate = () => other.release();
    allocator.onFree = () => {
      copy = buffer.copy();
    };
    buffer.fill(0, new Uint8Array([7, 7, 7, 7]));
    const seen = new Uint8Array(4);
    copy!.extract(0, seen);
    expect([...seen]).toEqual([0, 0, 0, 0]);
    buffer.extract(0, seen);
    expect([...seen]).toEqual([7, 7, 7, 7]);
  });

  it("a buffer cannot be appended, released or emptied while map() frees what it merged", () => {
    const allocator = new Telling();
    const [buffer, other] = [listOf(allocator, 3), new MediaBuffer()];
    const seen: string[] = [];
    allocator.onFree = () => {
      seen.push(code(() => other.append(buffer)));
      seen.push(code(() => buffer.release()));
      seen.push(code(() => buffer.remove()));
    };
    const mapping = buffer.map("readwrite");
    expect(seen).toEqual(["ERR_MAPPED", "ERR_MAPPED", "ERR_MAPPED"]);
    expect(mapping.bytes.length).toBe(12);
    mapping.unmap();
    buffer.release();
    expect(allocator.live).toBe(0);
  });

  it.each(["fill", "map", "merge", "insert", "copyFrom"] as const)(
    "close({ force }) in an allocator that %s called ends that call with ERR_POOL_DEAD, and nothing leaks",
    (verb) => {
      const allocator = new Telling();
      const pool = openPool({ allocator: new Telling(), max: 1 });
      const buffer = pool.tryAcquire()!;
      const count = verb === "insert" ? 15 : 1;
      for (let i = 0; i < count; i++) buffer.append(allocator.allocate(4));
      const copy = verb === "fill" ? buffer.copy() : undefined;
      const memory = allocator.allocate(4);
      const source = MediaBuffer.allocate(4, { allocator });
      const close = (): void => void pool.close({ force: true });
      const run = {
        fill: () => buffer.fill(64, new Uint8Array(4)),
        map: () => buffer.map("readwrite"),
        merge: () => buffer.map("read"),
        insert: () => buffer.insert(1, memory),
        copyFrom: () => buffer.copyFrom(source, 8 | 32),
      }[verb];
      allocator.onAllocate = close;
      const answer = withDefault(allocator, () => code(run));
      expect(answer).toBe("ERR_POOL_DEAD");
      copy?.release();
      memory.release();
      source.release();
      expect(allocator.live).toBe(0);
    },
  );

  it("a reference added in the middle of a fill refuses the fill, and the counts are right afterwards", () => {
    const allocator = new Telling();
    const buffer = MediaBuffer.allocate(4, { allocator });
    const copy = buffer.copy();
    allocator.onAllocate = () => buffer.retain();
    expect(code(() => buffer.fill(0, new Uint8Array(4)))).toBe("ERR_NOT_WRITABLE");
    expect(copy.memories[0]!.isWritable).toBe(false);
    expect(code(() => buffer.bytes)).toBe("ERR_NOT_WRITABLE");
    buffer.release();
    copy.release();
    expect(buffer.memories[0]!.isWritable).toBe(true);
    expect(buffer.bytes.length).toBe(4);
    buffer.release();
    expect(allocator.live).toBe(0);
  });

  it("a list change by a hook inside a fill is refused also when the hook has called addMeta or copy in between", () => {
    const allocator = new Telling();
    const buffer = listOf(allocator, 2);
    const copy = buffer.copy();
    const seen: string[] = [];
    allocator.onAllocate = () => {
      buffer.copy().release();
      seen.push(code(() => buffer.remove(0)));
      seen.push(code(() => buffer.fill(0, new Uint8Array(8))));
      seen.push(code(() => buffer.resize(0, 4)));
    };
    expect(buffer.fill(0, new Uint8Array(8).fill(3))).toBe(8);
    expect(seen).toEqual(["ERR_REENTRANT", "ERR_REENTRANT", "ERR_REENTRANT"]);
    copy.release();
    buffer.release();
    expect(allocator.live).toBe(0);
  });
});

describe("who may write, and whose reference it is", () => {
  it("the memory of a buffer with two references cannot be mapped or locked for writing", () => {
    const buffer = openPool().tryAcquire()!;
    const memory = buffer.memories[0]!;
    buffer.retain();
    expect(memory.isWritable).toBe(false);
    expect(code(() => memory.map("write"))).toBe("ERR_NOT_WRITABLE");
    expect(code(() => memory.lock("readwrite"))).toBe("ERR_NOT_WRITABLE");
    memory.map("read").unmap();
    buffer.release();
    memory.map("write").unmap();
  });

  it("the reference that a mapping keeps cannot be given to a buffer", () => {
    const buffer = listOf(new Telling(), 2);
    buffer.retain();
    const mapping = buffer.map("read");
    const other = new MediaBuffer();
    expect(code(() => other.append(mapping.memory))).toBe("ERR_FOREIGN_RELEASE");
    const memory: Memory = mapping.memory.retain();
    mapping.unmap();
    other.append(memory);
    other.release();
    expect(memory.refCount).toBe(0);
  });

  it("a view that populate() kept is empty before the first lease of a pool that revokes", () => {
    const views: Uint8Array[] = [];
    class Keeping extends BufferPool {
      protected override populate(buffer: MediaBuffer, config: ActualPoolConfig): void {
        super.populate(buffer, config);
        buffer.bytes.fill(5);
        views.push(buffer.bytes);
      }
    }
    const pool = new Keeping();
    pool.configure({ size: 8, max: 1, revoke: true });
    pool.activate();
    const lease = pool.tryAcquire()!;
    expect(views.map((view) => view.length)).toEqual([0]);
    expect([...lease.bytes]).toEqual([5, 5, 5, 5, 5, 5, 5, 5]);
  });
});

it("a view that populate() kept is empty when populate() failed, and the bytes are cleared", () => {
  const pieces: Region[] = [];
  class Recycling extends Telling {
    protected override allocateRegion(size: number): Region {
      return pieces.pop() ?? super.allocateRegion(size);
    }
    protected override freeRegion(region: Region): void {
      pieces.push(region);
    }
  }
  let fails = true;
  const views: Uint8Array[] = [];
  class Failing extends BufferPool {
    protected override populate(buffer: MediaBuffer, config: ActualPoolConfig): void {
      super.populate(buffer, config);
      views.push(buffer.bytes.fill(5));
      if (fails) throw new Error("populate failed");
    }
  }
  const pool = new Failing();
  pool.configure({ size: 8, max: 1, revoke: true, zero: "release", allocator: new Recycling() });
  pool.activate();
  expect(code(() => pool.tryAcquire())).toContain("populate failed");
  expect(views[0]!.length).toBe(0);
  expect([...pieces[0]!.bytes]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
  fails = false;
  expect(pool.tryAcquire()!.bytes.length).toBe(8);
});

it("a new buffer of a SharedBufferPool does not show what a deep copy left in its slot", () => {
  const pool = new SharedBufferPool();
  pool.configure({ size: 64, max: 2, zero: "release" });
  pool.activate();
  const buffer = pool.tryAcquire()!;
  buffer.bytes.fill(9);
  for (let i = 0; i < 3; i++) buffer.copy({ deep: true }).release();
  expect(pool.tryAcquire()!.bytes.includes(9)).toBe(false);
  pool.close({ force: true });
});

it("a block that a page pool cannot take back while it calls its source comes back right afterwards", async () => {
  const source = new Telling();
  const pages = PagePool.create({ source, pageSize: 512, timer: false });
  class Refusing extends BufferPool {
    protected override recycle(): boolean {
      return false;
    }
  }
  const pool = new Refusing();
  pool.configure({ size: 64, max: 2, allocator: pages.allocator, zero: "release", revoke: true });
  pool.activate();
  const [first, second] = [pool.tryAcquire()!, pool.tryAcquire()!];
  const [memory] = second.memories;
  memory!.retain();
  second.release();
  const view = memory!.map("write");
  const kept = view.bytes.fill(7);
  view.unmap();
  const seen: string[] = [];
  source.onAllocate = () => {
    first.copy().release();
    seen.push(code(() => first.release()));
    seen.push(code(() => memory!.release()));
    seen.push(kept.length === 64 && kept[0] === 7 ? "untouched" : "changed");
  };
  pages.allocator.allocate(5000).release();
  await Promise.resolve();
  expect(seen).toEqual(["ok", "ok", "untouched"]);
  expect(kept.length).toBe(0);
  expect(pool.outstanding).toBe(0);
  pages.trim();
  expect([pages.stats().live, pages.stats().count, source.live]).toEqual([0, 0, 0]);
});

it("a refused release of memory leaves its bytes and its views alone", () => {
  const source = new Telling();
  const pages = PagePool.create({ source, pageSize: 512, timer: false });
  const pool = openPool({ allocator: pages.allocator, zero: "release", revoke: true });
  const memory = pool.tryAcquire()!.memories[0]!.retain();
  pool.close({ force: true });
  const mapping = memory.map("write");
  const kept = mapping.bytes.fill(7);
  mapping.unmap();
  let seen = "";
  source.onAllocate = () => {
    seen = code(() => memory.release());
  };
  pages.allocator.allocate(5000).release();
  expect([seen, kept.length, kept[0]]).toEqual(["ERR_REENTRANT", 64, 7]);
  memory.release();
  expect(kept.length).toBe(0);
});

it("a part that is released while its root is mapped leaves the root to the mapping", () => {
  const allocator = new Telling();
  const pool = openPool({ allocator });
  const buffer = pool.tryAcquire()!;
  const copy = buffer.copy();
  const mapping = copy.map("read");
  const region = buffer.copyRange(0, 8);
  buffer.fill(0, new Uint8Array(8));
  buffer.release();
  copy.fill(0, new Uint8Array(8));
  copy.release();
  region.release();
  expect(mapping.bytes.length).toBe(64);
  mapping.unmap();
  pool.close();
  expect(allocator.live).toBe(0);
});

it("the reference that a mapping keeps cannot be released by somebody else, also while a part exists", () => {
  const allocator = new Telling();
  const pool = openPool({ allocator });
  const buffer = pool.tryAcquire()!;
  const [memory] = buffer.memories;
  const mapping = buffer.map("read");
  pool.close({ force: true });
  const part = memory!.share(0, 8);
  expect(code(() => memory!.release())).toBe("ERR_FOREIGN_RELEASE");
  mapping.unmap();
  expect(allocator.live).toBe(1);
  part.release();
  expect(allocator.live).toBe(0);
});

it.each(["no age", "invalidated", "pressure", "retired", "closed"])(
  "a block that a page pool does not hold (%s) is cleared and revoked before its source gets it",
  (how) => {
    const given: Uint8Array[] = [];
    class Watching extends Telling {
      protected override freeRegion(region: Region): void {
        given.push(region.bytes.slice());
      }
    }
    const source = new Watching();
    const pages = PagePool.create({
      source,
      revoke: true,
      zero: "release",
      ageOut: how === "no age" ? 0 : 500,
      timer: false,
    });
    const memory = pages.allocator.allocate(100);
    const mapping = memory.map("write");
    const view = mapping.bytes.fill(9);
    mapping.unmap();
    if (how === "invalidated") pages.invalidate();
    if (how === "pressure") pages.setPressure("high");
    if (how === "retired") pages.retire();
    if (how === "closed") pages.close({ force: true });
    else memory.release();
    expect(view.length).toBe(0);
    expect(given.map((bytes) => bytes.includes(9))).toEqual([false]);
  },
);

it("a chain of 20,000 parent buffers without a pool is released without recursion", () => {
  const chain = Array.from({ length: 20_000 }, () => new MediaBuffer());
  for (let i = 0; i + 1 < chain.length; i++) {
    chain[i]!.addMeta(ParentBufferMeta, chain[i + 1]!);
    chain[i + 1]!.release();
  }
  expect(chain.every((buffer) => buffer.isLive)).toBe(true);
  chain[0]!.release();
  expect(chain.some((buffer) => buffer.isLive)).toBe(false);
});

it("a block that was reallocated is cleared at its release all the same", () => {
  for (const size of [128, 16, 4096]) {
    const realtime = RealtimePool.create({ totalSize: 16_384 });
    const pool = new BufferPool();
    pool.configure({ size: 64, max: 1, zero: "release", allocator: realtime.allocator });
    pool.activate();
    const buffer = pool.tryAcquire()!;
    buffer.bytes.fill(9);
    const memory = buffer.memories[0]!.retain();
    const rest = size === 4096 ? realtime.alloc(8) : undefined;
    buffer.remove();
    const other = realtime.reallocate(memory, size);
    expect(other.region.wipe).toBe(Wipe.ZERO);
    other.release();
    if (rest !== undefined) realtime.free(rest);
    buffer.release();
    pool.close();
    // In a row: a word of the arena may have such a byte.
    expect(Buffer.from(realtime.buffer, realtime.byteOffset).includes(Buffer.alloc(8, 9))).toBe(false);
  }
});
