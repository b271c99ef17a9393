/** MediaBuffer against careless callers and hostile hooks: what was found by trying to break it, each case once. */
import { describe, expect, it } from "vitest";
import { CopyFlags } from "../../../src/media/buffer/flags.ts";
import { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import {
  Allocator,
  defaultAllocator,
  SystemAllocator,
  setDefaultAllocator,
  wrapMemory,
} from "../../../src/memory/allocator.ts";
import { MemoryFlags } from "../../../src/memory/params.ts";
import { opaqueRegion, Region } from "../../../src/memory/region.ts";
import { code, openPool } from "../../pools/buffer/pools.ts";

const wrap = (...values: number[]): MediaBuffer => MediaBuffer.wrap(new Uint8Array(values));

/** All bytes, without merging anything. */
function contents(buffer: MediaBuffer): number[] {
  const out = new Uint8Array(buffer.size);
  buffer.extract(0, out);
  return [...out];
}

describe("the bytes accessor never hands out bytes that may not be written", () => {
  it("of a partial copy, also once its view was made by a read map: the source's bytes are not the copy's", () => {
    const source = wrap(1, 2, 3, 4);
    const part = source.copyRange(0, 2);
    part.map("read").unmap();
    expect(code(() => part.bytes)).toBe("ERR_NOT_WRITABLE");
    expect(contents(source)).toEqual([1, 2, 3, 4]);
  });

  it("of read-only memory, also once its view was made by a read map", () => {
    const buffer = MediaBuffer.wrap(new Uint8Array(4), { flags: MemoryFlags.READONLY });
    buffer.map("read").unmap();
    expect(code(() => buffer.bytes)).toBe("ERR_NOT_WRITABLE");
  });
});

describe("a refused change of the memory list changes nothing", () => {
  const full = (first: number): MediaBuffer => {
    const buffer = new MediaBuffer();
    for (let i = 0; i < 16; i++) buffer.append(wrapMemory(new Uint8Array([first + i])));
    return buffer;
  };

  it("replace() with a released memory: the buffer would hold bytes of somebody else", () => {
    const buffer = wrap(1);
    const released = wrapMemory(new Uint8Array(2));
    released.release();
    expect(code(() => buffer.replace(0, 1, released))).toBe("ERR_USE_AFTER_RELEASE");
    expect([contents(buffer), code(() => buffer.release())]).toEqual([[1], "ok"]);
  });

  it("insert() into a full list of a memory that is write-mapped and owned elsewhere: nothing is merged for it", () => {
    const buffer = full(0);
    const memory = wrapMemory(new Uint8Array(1));
    new MediaBuffer().append(memory.retain());
    const mapping = memory.map("write");
    for (const index of [0, 7, 16]) expect(code(() => buffer.insert(index, memory))).toBe("ERR_MAPPED");
    expect([buffer.memoryCount, memory.refCount, memory.owners]).toEqual([16, 2, 1]);
    mapping.unmap();
  });

  it("insert() into a full list of which one memory is mapped: neither half is merged", () => {
    const buffer = full(0);
    const mapping = buffer.mapRange(3, 1, "read");
    const memory = wrapMemory(new Uint8Array(1));
    expect(code(() => buffer.insert(8, memory))).toBe("ERR_MAPPED");
    expect([buffer.memoryCount, memory.refCount, memory.owners]).toEqual([16, 1, 0]);
    mapping.unmap();
    buffer.insert(8, memory);
    expect([buffer.memoryCount, contents(buffer)[8]]).toEqual([3, 0]);
  });

  it("append() and copyFrom() that overflow the list while one of its memories is mapped", () => {
    const [target, source] = [full(0), full(16)];
    const mapping = target.mapRange(2, 1, "read");
    const before = contents(target);
    expect(code(() => target.append(source))).toBe("ERR_MAPPED");
    expect(code(() => target.copyFrom(source))).toBe("ERR_MAPPED");
    expect([contents(target), target.memoryCount, source.isLive, source.memoryAt(0).refCount]).toEqual([
      before,
      16,
      true,
      1,
    ]);
    mapping.unmap();
  });

  it("append() of 16 memories to 16 keeps every byte in place, also while somebody reads one of the source's", () => {
    const [target, source] = [full(0), full(16)];
    source.retain();
    const mapping = source.mapRange(2, 1, "read");
    target.append(source);
    expect([contents(target), target.memoryCount]).toEqual([Array.from({ length: 32 }, (_, i) => i), 16]);
    mapping.unmap();
  });

  it("append() whose merge finds no memory", () => {
    class Bounded extends SystemAllocator {
      left = 32;
      protected override allocateRegion(size: number): Region | undefined {
        this.left -= 1;
        return this.left < 0 ? undefined : new Region(new Uint8Array(size));
      }
    }
    const bounded = new Bounded("bounded");
    const before = defaultAllocator();
    setDefaultAllocator(bounded);
    try {
      const [target, source] = [full(0), full(16)];
      for (const left of [0, 1]) {
        bounded.left = left;
        expect(code(() => target.append(source))).toBe("ERR_ALLOCATION_FAILED");
        expect([contents(target), target.memoryCount, source.memoryAt(1).refCount]).toEqual([
          Array.from({ length: 16 }, (_, i) => i),
          16,
          1,
        ]);
      }
      expect(bounded.stats().liveMemories).toBe(0);
      bounded.left = 3;
      expect(code(() => target.copyFrom(source, CopyFlags.MEMORY | CopyFlags.MERGE))).toBe("ok");
      expect([target.memoryCount, contents(target)[31]]).toEqual([1, 31]);
    } finally {
      setDefaultAllocator(before);
    }
  });

  it("a copy whose final merge is refused leaves a pool's buffer as clean as it was", () => {
    const pool = openPool();
    const [target, source] = [pool.tryAcquire()!, wrap(1)];
    const mapping = target.map("read");
    expect(code(() => target.copyFrom(source, CopyFlags.MEMORY | CopyFlags.MERGE))).toBe("ERR_MAPPED");
    mapping.unmap();
    target.release();
    expect([pool.free, pool.stats().discards]).toEqual([1, {}]);
  });

  it("a merge into memory that cannot be mapped leaks nothing", () => {
    class Opaque extends Allocator {
      protected override allocateRegion(size: number): Region {
        return opaqueRegion(size, undefined);
      }
      protected override freeRegion(): void {}
    }
    const opaque = new Opaque("opaque");
    const buffer = wrap(1);
    buffer.append(wrapMemory(new Uint8Array([2])));
    const before = defaultAllocator();
    setDefaultAllocator(opaque);
    try {
      expect(code(() => buffer.map("read"))).toBe("ERR_NOT_MAPPABLE");
    } finally {
      setDefaultAllocator(before);
    }
    expect([opaque.stats().liveMemories, buffer.memoryCount, contents(buffer)]).toEqual([0, 2, [1, 2]]);
  });
});

describe("a write or a resize that fails in its second memory leaves the first alone", () => {
  it("resize() over a NO_SHARE memory that another buffer holds", () => {
    const buffer = wrap(1, 2, 3, 4);
    const refusing = wrapMemory(new Uint8Array([5, 6, 7, 8, 9]), { flags: MemoryFlags.NO_SHARE, size: 4 });
    buffer.append(refusing.retain());
    new MediaBuffer().append(refusing);
    expect(code(() => buffer.resize(1, 8))).toBe("ERR_NOT_SHAREABLE");
    expect([contents(buffer), buffer.getSizes()]).toEqual([
      [1, 2, 3, 4, 5, 6, 7, 8],
      { size: 8, offset: 0, maxSize: 9 },
    ]);
    buffer.resize(1, 5);
    expect([contents(buffer), refusing.size]).toEqual([[2, 3, 4, 5, 6], 4]);
  });

  it("resize() gives back the parts that it made before the one that could not be had", () => {
    const allocator = new SystemAllocator("resize");
    const [shared, refusing] = [
      allocator.allocate(4),
      allocator.allocate(4, { padding: 1, flags: MemoryFlags.NO_SHARE }),
    ];
    const [buffer, other] = [new MediaBuffer(), new MediaBuffer()];
    for (const memory of [shared, refusing]) {
      buffer.append(memory.retain());
      other.append(memory);
    }
    expect(code(() => buffer.resize(1, 8))).toBe("ERR_NOT_SHAREABLE");
    expect(allocator.stats().liveMemories).toBe(2);
    buffer.release();
    other.release();
    expect(allocator.stats().liveMemories).toBe(0);
  });

  it("fill() and memset() over memory that cannot be mapped (Q17)", () => {
    class Opaque extends SystemAllocator {
      protected override allocateRegion(size: number): Region {
        return opaqueRegion(size, undefined);
      }
    }
    const buffer = wrap(1, 2);
    buffer.append(new Opaque("opaque").allocate(2));
    expect([code(() => buffer.fill(0, new Uint8Array(4))), code(() => buffer.memset(0, 9))]).toEqual([
      "ERR_NOT_MAPPABLE",
      "ERR_NOT_MAPPABLE",
    ]);
    const first = new Uint8Array(2);
    buffer.extract(0, first);
    expect([...first]).toEqual([1, 2]);
  });

  it("detached bytes to copy from or to are ERR_DETACHED, not an engine's TypeError", () => {
    const buffer = wrap(1, 2);
    const gone = new Uint8Array(2);
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    for (const bad of [gone, gone.buffer, new DataView(new ArrayBuffer(2, { maxByteLength: 4 }), 1)]) {
      if (bad instanceof DataView) (bad.buffer as ArrayBuffer).resize(0);
      for (const use of [() => buffer.fill(0, bad), () => buffer.extract(0, bad), () => buffer.compare(0, bad)]) {
        expect(code(use), String(use)).toBe("ERR_DETACHED");
      }
      expect(code(() => MediaBuffer.wrap(bad))).toBe("ERR_DETACHED");
    }
    expect(contents(buffer)).toEqual([1, 2]);
  });
});
