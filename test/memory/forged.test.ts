/**
 * What only looks like a Memory, a buffer, an allocator or options: an object that has the prototype and nothing else,
 * a revoked Proxy, an answer that is none. Each is refused with the library's own error, and nothing is taken over.
 */
import { describe, expect, test } from "vitest";
import { allocators } from "../../src/allocators/registry.ts";
import { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { MediaBufferList } from "../../src/media/buffer/media-buffer-list.ts";
import { Allocator, setDefaultAllocator, systemAllocator, wrapMemory } from "../../src/memory/allocator.ts";
import { Memory } from "../../src/memory/memory.ts";
import { opaqueRegion, Region } from "../../src/memory/region.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { PagePool } from "../../src/pools/page/page-pool.ts";
import { RealtimePool } from "../../src/pools/realtime/realtime-pool.ts";
import { SlabPool } from "../../src/pools/slab/slab-pool.ts";
import { struct } from "../../src/pools/slab/struct.ts";
import { code } from "../pools/buffer/pools.ts";

function revoked(target: object): never {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy as never;
}

const forged = <T extends object>(type: { readonly prototype: T }): T => Object.create(type.prototype as object) as T;

describe("values that only look right", () => {
  const none: Record<string, () => unknown> = {
    "buffer.append(forged buffer)": () => MediaBuffer.allocate(8).append(forged(MediaBuffer)),
    "buffer.append(forged memory)": () => new MediaBuffer().append(forged(Memory)),
    "buffer.append(revoked)": () => new MediaBuffer().append(revoked({})),
    "buffer.insert(forged memory)": () => new MediaBuffer().insert(0, forged(Memory)),
    "buffer.copyFrom(forged)": () => new MediaBuffer().copyFrom(forged(MediaBuffer)),
    "MediaBuffer.allocate(forged allocator)": () => MediaBuffer.allocate(8, { allocator: forged(Allocator) }),
    "MediaBuffer.wrap(revoked)": () => MediaBuffer.wrap(revoked(new Uint8Array(8))),
    "new MediaBufferList([forged])": () => new MediaBufferList([forged(MediaBuffer)]),
    "new MediaBufferList(revoked)": () => new MediaBufferList(revoked([])),
    "memory.isSpan(forged)": () => systemAllocator().allocate(8).isSpan(forged(Memory)),
    "allocator.copyMemory(forged)": () => systemAllocator().copyMemory(forged(Memory), 0, 0),
    "setDefaultAllocator(forged)": () => setDefaultAllocator(forged(Allocator)),
    "allocators.register(forged)": () => allocators.register("forged", forged(Allocator)),
    "BufferPool.create(forged allocator)": () => BufferPool.create({ size: 8, max: 1, allocator: forged(Allocator) }),
    "BufferPool.create(revoked)": () => BufferPool.create(revoked({})),
    "pool.close(revoked)": () => BufferPool.create({ size: 8, max: 1 }).close(revoked({})),
    "pool.release(revoked)": () => BufferPool.create({ size: 8, max: 1 }).release(revoked({})),
    "pool.release(forged)": () => BufferPool.create({ size: 8, max: 1 }).release(forged(MediaBuffer)),
    "BufferPool.create(revoked clock)": () => BufferPool.create({ size: 8, max: 1, clock: revoked({}) }),
    "PagePool.create(forged source)": () => PagePool.create({ source: forged(Allocator) }),
    "PagePool.release(forged)": () => PagePool.create().release(forged(Memory)),
    "RealtimePool.release(forged)": () => RealtimePool.create({ totalSize: 4096 }).release(forged(Memory)),
    "SlabPool.create(revoked source)": () => SlabPool.create({ elementSize: 8, source: revoked({}) }),
    "struct(revoked)": () => struct(revoked({})),
    "struct().cursor()": () => struct({ a: "u8" }).cursor(undefined as never),
    "struct().cursor(5)": () => struct({ a: "u8" }).cursor(5 as never),
    "struct().cursor({})": () => struct({ a: "u8" }).cursor({} as never),
    "struct().cursor(revoked)": () => struct({ a: "u8" }).cursor(revoked({})),
    "struct().cursor(half a pool)": () =>
      struct({ a: "u8" }).cursor({ blockViewOf: () => new DataView(new ArrayBuffer(8)) } as never),
  };
  test.each(Object.entries(none))("%s is refused", (_name, call) => {
    expect(code(call)).toMatch(/^ERR_(INVALID_ARG_TYPE|FOREIGN_RELEASE)$/);
  });

  test("a buffer that refused a forged memory has none", () => {
    const buffer = new MediaBuffer();
    expect(code(() => buffer.append(forged(Memory)))).toBe("ERR_INVALID_ARG_TYPE");
    expect(buffer.memoryCount).toBe(0);
  });
});

describe("an allocator that answers nonsense", () => {
  const dead = (): Memory => {
    const memory = systemAllocator().allocate(8);
    memory.release();
    return memory;
  };
  const answers: Record<string, () => unknown> = {
    nothing: () => undefined,
    "a number": () => 5,
    "an object": () => ({}),
    "a forged memory": () => forged(Memory),
    "a released memory": dead,
    "a memory that is too small": () => systemAllocator().allocate(7),
    "a revoked Proxy": () => revoked({}),
  };
  class Odd extends Allocator {
    readonly answer: () => unknown;
    constructor(answer: () => unknown) {
      super("odd");
      this.answer = answer;
    }
    override allocate(): Memory {
      return this.answer() as Memory;
    }
    override copyMemory(): Memory {
      return this.answer() as Memory;
    }
    override shareMemory(): Memory {
      return this.answer() as Memory;
    }
    protected override allocateRegion(): Region | undefined {
      return this.answer() as Region;
    }
    protected override freeRegion(): void {}
  }
  test.each(Object.entries(answers))("%s: every call that asks it fails with ERR_ALLOCATION_FAILED", (name, answer) => {
    const source = new Odd(answer);
    const before = systemAllocator().stats().liveMemories;
    const expected =
      name === "a memory that is too small"
        ? /^ERR_ALLOCATION_FAILED$/
        : /^ERR_(ALLOCATION_FAILED|INVALID_ARG_TYPE|USE_AFTER_RELEASE)$/;
    expect(code(() => MediaBuffer.allocate(8, { allocator: source }))).toBe("ERR_ALLOCATION_FAILED");
    expect(code(() => SlabPool.create({ elementSize: 8, source }).alloc())).toMatch(expected);
    expect(code(() => PagePool.create({ source }).allocate(8))).toBe("ERR_ALLOCATION_FAILED");
    expect(code(() => BufferPool.create({ size: 8, max: 1, min: 1, allocator: source }))).toMatch(expected);
    setDefaultAllocator(source);
    try {
      const buffer = MediaBuffer.wrap(new Uint8Array(4));
      buffer.append(wrapMemory(new Uint8Array(4)));
      expect(code(() => buffer.map("read"))).toBe("ERR_ALLOCATION_FAILED");
      expect(buffer.memoryCount).toBe(2);
      buffer.release();
    } finally {
      setDefaultAllocator(systemAllocator());
    }
    expect(systemAllocator().stats().liveMemories).toBe(before);
    if (name === "a memory that is too small") return;
    const memory = new Memory(source, new Region(new Uint8Array(8)), null, 8, 0, 8, 0);
    for (const call of [() => memory.copy(), () => memory.share(0), () => memory.makeWritable().copy()]) {
      expect(code(call)).toBe("ERR_ALLOCATION_FAILED");
    }
    expect([memory.refCount, memory.owners]).toEqual([1, 0]);
  });

  test("a forged region is none", () => {
    class Forging extends Allocator {
      protected override allocateRegion(): Region {
        return forged(Region);
      }
      protected override freeRegion(): void {}
    }
    expect(code(() => new Forging("forging").allocate(8))).toBe("ERR_ALLOCATION_FAILED");
  });

  test("a map hook that answers something else than bytes is refused", () => {
    for (const answer of [5, {}, "12345678", [1, 2, 3, 4, 5, 6, 7, 8], new Uint16Array(8)]) {
      class Opaque extends Allocator {
        protected override allocateRegion(size: number): Region {
          return opaqueRegion(size, undefined);
        }
        protected override freeRegion(): void {}
        protected override mapRegion(): Uint8Array {
          return answer as never;
        }
      }
      const memory = new Opaque("opaque").allocate(8);
      expect(code(() => memory.map("read"))).toBe("ERR_NOT_MAPPABLE");
      expect(memory.isMapped).toBe(false);
      memory.release();
    }
  });
});
