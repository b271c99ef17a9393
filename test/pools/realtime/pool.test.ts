/** RealtimePool: the reference's contract, ceilings, locking, growth, deletion, and the default pool. */
import { describe, expect, it } from "vitest";
import { SharedAllocator } from "../../../src/allocators/shared.ts";
import { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { SystemAllocator } from "../../../src/memory/allocator.ts";
import type { PinningAllocator, StepResult } from "../../../src/memory/pinning.ts";
import type { Region } from "../../../src/memory/region.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import { RealtimePool } from "../../../src/pools/realtime/realtime-pool.ts";
import { MillpondError } from "../../../src/util/errors.ts";
import { code } from "../buffer/pools.ts";

/** An allocator that can lock, up to a limit, and says what it was asked. */
class FakePinning extends SystemAllocator implements PinningAllocator {
  readonly calls: string[] = [];
  readonly limit: number;
  constructor(limit: number) {
    super("fake-pinning");
    this.limit = limit;
  }
  lockRegion(region: Region): StepResult {
    this.calls.push(`lock ${region.size}`);
    if (region.size <= this.limit) return { ok: true, bytes: region.size };
    return { ok: false, errno: "ENOMEM", hint: `the limit is ${this.limit} bytes` };
  }
  unlockRegion(region: Region): void {
    this.calls.push(`unlock ${region.size}`);
  }
}

describe("a source that answers or does what it must not", () => {
  it.each<[string, object]>([
    ["lockRegion() answers nothing", { lockRegion: () => undefined, unlockRegion() {} }],
    [
      "lockRegion() throws",
      {
        lockRegion() {
          throw new Error("of the source's own");
        },
        unlockRegion() {},
      },
    ],
    ["prefaultRegion() answers nothing", { prefaultRegion: () => undefined }],
  ])("%s: a step that failed, which lock: auto goes on from and required refuses", (_, methods) => {
    const make = (lock: "auto" | "required") =>
      RealtimePool.create({
        totalSize: 4096,
        prefault: true,
        lock,
        source: Object.assign(new SystemAllocator(), methods),
      });
    const pool = make("auto");
    expect(pool.stats().lockedBytes).toBe(0);
    pool.close();
    expect(code(() => make("required"))).toMatch(/^ERR_(UNSUPPORTED|ALLOCATION_FAILED)$/);
  });

  it("maps the memory that is being reallocated while it is asked for more: refused, and no block is lost", () => {
    let hook: (() => void) | undefined;
    class Calls extends SystemAllocator {
      protected override allocateRegion(...args: Parameters<SystemAllocator["allocateRegion"]>): Region | undefined {
        hook?.();
        return super.allocateRegion(...args);
      }
    }
    const pool = RealtimePool.create({
      totalSize: 4096,
      maxBytes: 1 << 20,
      growBy: 65_536,
      source: new Calls(),
      lock: "off",
    });
    const memory = pool.allocate(2000);
    let mapping: { unmap(): void } | undefined;
    hook = () => {
      mapping ??= memory.map("read");
    };
    expect(code(() => pool.reallocate(memory, 8000))).toBe("ERR_MAPPED");
    mapping!.unmap();
    memory.release();
    expect(pool.stats().liveBlocks).toBe(0);
    pool.close();
  });
});

describe("a pool's ceiling", () => {
  it.each([1, 8, 255, 256, 3841, 4080, 4096, 8192, 65_535])(
    "one block of the total size, %i, fits, and nothing beside it",
    (total) => {
      const pool = RealtimePool.create({ totalSize: total });
      const memory = pool.allocate(total);
      expect(pool.stats()).toMatchObject({ totalSize: total, liveBlocks: 1, largest: 0, available: 0 });
      expect(code(() => pool.alloc(1))).toBe("ERR_POOL_FULL");
      pool.release(memory);
      pool.close();
    },
  );

  it("is a bound for the sum of small blocks too", () => {
    const pool = RealtimePool.create({ totalSize: 10_000 });
    let sum = 0;
    for (let pointer = pool.tryAlloc(100); pointer !== undefined; pointer = pool.tryAlloc(100))
      sum += pool.physicalSizeOf(pointer);
    expect(sum).toBeLessThanOrEqual(10_000);
    expect(sum).toBeGreaterThan(9000);
    pool.validate();
    pool.close({ force: true });
  });

  it("a full pool says how full, and whether it is only scattered", () => {
    const pool = RealtimePool.create({ totalSize: 8192, name: "mixer" });
    const pointers: number[] = [];
    for (let pointer = pool.tryAlloc(256); pointer !== undefined; pointer = pool.tryAlloc(256)) pointers.push(pointer);
    for (let i = 0; i < pointers.length; i += 2) pool.free(pointers[i]!);
    let error: unknown;
    try {
      pool.allocate(512);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(MillpondError);
    expect(error).toMatchObject({ code: "ERR_POOL_FULL", details: { pool: "mixer", size: 512 } });
    expect((error as Error).message).toMatch(/mixer.*free, but not in one piece/);
    expect(() => pool.alloc(100_000)).toThrow(/more than the whole pool/);
    expect(pool.stats().failures).toBe(2);
    pool.close({ force: true });
  });

  it.each([0, -1, 1.5, Number.NaN, 2 ** 31])("a total size of %d is refused", (total) => {
    expect(code(() => RealtimePool.create({ totalSize: total }))).toBe("ERR_OUT_OF_RANGE");
  });

  it("a name of 32 bytes is taken, a longer one refused; bytes count, not characters", () => {
    expect(RealtimePool.create({ totalSize: 64, name: "x".repeat(32) }).name.length).toBe(32);
    expect(code(() => RealtimePool.create({ totalSize: 64, name: "x".repeat(33) }))).toBe("ERR_OUT_OF_RANGE");
    expect(RealtimePool.create({ totalSize: 64, name: "\u00e9".repeat(16) }).name.length).toBe(16);
    expect(code(() => RealtimePool.create({ totalSize: 64, name: "\u00e9".repeat(17) }))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => RealtimePool.create({ totalSize: 64, name: "\u{1f3b5}".repeat(9) }))).toBe("ERR_OUT_OF_RANGE");
    expect(RealtimePool.create({ totalSize: 64 }).name).toBe("realtime pool");
    expect(RealtimePool.create({ totalSize: 64, name: "" }).name).toBe("");
  });

  it("bad options are refused before anything is allocated", () => {
    const source = new SystemAllocator("counted");
    const refused: [object, string][] = [
      [{ name: 7 }, "ERR_INVALID_ARG_TYPE"],
      [{ lock: "yes" }, "ERR_INVALID_ARG_VALUE"],
      [{ lock: true }, "ERR_INVALID_ARG_TYPE"],
      [{ prefault: 1 }, "ERR_INVALID_ARG_TYPE"],
      [{ maxBytes: true }, "ERR_INVALID_ARG_TYPE"],
      [{ maxBytes: 10 }, "ERR_OUT_OF_RANGE"],
      [{ maxBytes: 4096, growBy: 0 }, "ERR_OUT_OF_RANGE"],
      [{ growBy: 64 }, "ERR_INVALID_ARG_VALUE"],
    ];
    for (const [options, expected] of refused) {
      expect([options, code(() => RealtimePool.create({ totalSize: 64, source, ...options } as never))]).toEqual([
        options,
        expected,
      ]);
    }
    expect(code(() => RealtimePool.create({ totalSize: 64, source: {} as never }))).toBe("ERR_INVALID_ARG_TYPE");
    expect(code(() => RealtimePool.create(null as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(source.stats().allocations).toBe(0);
  });
});

describe("locking", () => {
  it("cannot be had from the core, and says so", () => {
    const pool = RealtimePool.create({ totalSize: 4096 });
    expect(pool.locked).toBe(false);
    expect(pool.lockReason).toMatch(/^unsupported: .*cannot lock/);
    expect(pool.stats()).toMatchObject({ lockedBytes: 0 });
  });

  it("is done by a source that can, and undone before the bytes go back", () => {
    const source = new FakePinning(1 << 20);
    const pool = RealtimePool.create({ totalSize: 10_000, source });
    expect([pool.locked, pool.lockReason]).toEqual([true, undefined]);
    const { lockedBytes } = pool.stats();
    expect(lockedBytes % 4096).toBe(0);
    pool.close();
    expect(source.calls).toEqual([`lock ${lockedBytes}`, `unlock ${lockedBytes}`]);
    expect(source.stats().liveMemories).toBe(0);
  });

  it("that is refused by the system is a status with auto, and an error with required, which leaves nothing behind", () => {
    const source = new FakePinning(4096);
    const pool = RealtimePool.create({ totalSize: 100_000, source });
    expect([pool.locked, pool.lockReason]).toEqual([false, "ENOMEM: the limit is 4096 bytes"]);
    pool.allocate(50_000).release();
    pool.close();
    expect(code(() => RealtimePool.create({ totalSize: 100_000, source, lock: "required" }))).toBe(
      "ERR_ALLOCATION_FAILED",
    );
    expect(code(() => RealtimePool.create({ totalSize: 100, lock: "required" }))).toBe("ERR_UNSUPPORTED");
    expect(source.stats().liveMemories).toBe(0);
    expect(source.calls.filter((call) => call.startsWith("unlock"))).toEqual([]);
  });

  it("is not tried with off", () => {
    const source = new FakePinning(1 << 20);
    const pool = RealtimePool.create({ totalSize: 100, source, lock: "off" });
    expect([pool.locked, pool.lockReason, source.calls]).toEqual([false, "off: it was not asked for", []]);
  });

  it("touches every page at creation unless told not to, by the source's own way where it has one", () => {
    expect(RealtimePool.create({ totalSize: 100_000 }).stats().prefaultedBytes).toBeGreaterThanOrEqual(100_000);
    expect(RealtimePool.create({ totalSize: 100_000, prefault: false }).stats().prefaultedBytes).toBe(0);
    class Populating extends SystemAllocator {
      asked = 0;
      prefaultRegion(region: Region): StepResult {
        this.asked++;
        return { ok: true, bytes: region.size };
      }
    }
    const source = new Populating();
    RealtimePool.create({ totalSize: 100_000, source });
    expect(source.asked).toBe(1);
  });
});

describe("allocate, reallocate, free", () => {
  it("physical size is at least the size, and both are told apart", () => {
    const pool = RealtimePool.create({ totalSize: 4096 });
    const memory = pool.allocate(13);
    expect([pool.sizeOf(memory), pool.physicalSizeOf(memory), memory.size]).toEqual([13, 16, 13]);
    expect(memory.isType("RealtimeMemory")).toBe(true);
  });

  it("within the physical size the same Memory stays, and nothing moves", () => {
    const pool = RealtimePool.create({ totalSize: 4096 });
    const memory = pool.allocate(1020);
    const same = pool.reallocate(memory, 1024);
    expect(same).toBe(memory);
    expect([pool.sizeOf(same), same.size]).toEqual([1024, 1024]);
    expect(pool.reallocate(memory, 342)).toBe(memory);
    expect(pool.physicalSizeOf(memory)).toBe(1024);
    pool.validate();
  });

  it("gives bytes back in place when no more than a third is left in use", () => {
    const pool = RealtimePool.create({ totalSize: 4096 });
    const memory = pool.allocate(1024);
    memory.lock("write").fill(7);
    memory.unlock("write");
    const { available } = pool.stats();
    const small = pool.reallocate(memory, 341);
    expect(small).not.toBe(memory);
    expect(pool.physicalSizeOf(small)).toBe(344);
    expect(pool.stats().available).toBe(available + 1024 - 344);
    expect(small.map("read").bytes.every((byte) => byte === 7)).toBe(true);
    expect(code(() => memory.map("read"))).toBe("ERR_USE_AFTER_RELEASE");
    pool.validate();
  });

  it("grows in place into free bytes behind it, and moves only when it must, with its bytes", () => {
    const pool = RealtimePool.create({ totalSize: 8192 });
    const first = pool.allocate(1000);
    first.lock("write").fill(3);
    first.unlock("write");
    const [before] = pool.holders();
    const grown = pool.reallocate(first, 3000);
    expect(pool.holders()[0]?.pointer).toBe(before?.pointer);
    const wall = pool.allocate(8);
    const moved = pool.reallocate(grown, 4000);
    expect(pool.holders().at(-1)?.pointer).not.toBe(before?.pointer);
    expect(
      moved
        .map("read")
        .bytes.subarray(0, 1000)
        .every((byte) => byte === 3),
    ).toBe(true);
    expect([code(() => first.release()), code(() => grown.release())]).toEqual([
      "ERR_DOUBLE_RELEASE",
      "ERR_DOUBLE_RELEASE",
    ]);
    expect(pool.stats().liveBlocks).toBe(2);
    wall.release();
    pool.validate();
  });

  it("that fails for want of room keeps the old block, its bytes and its size", () => {
    const pool = RealtimePool.create({ totalSize: 4096 });
    const memory = pool.allocate(100);
    memory.lock("write").fill(9);
    memory.unlock("write");
    const before = pool.stats();
    expect(code(() => pool.reallocate(memory, 5000))).toBe("ERR_POOL_FULL");
    expect({ ...pool.stats(), failures: 0 }).toEqual({ ...before, failures: 0 });
    expect([pool.sizeOf(memory), memory.map("read").bytes.every((byte) => byte === 9)]).toEqual([100, true]);
  });

  it("integers: realloc keeps, grows, shrinks, moves, and fails without harm", () => {
    const pool = RealtimePool.create({ totalSize: 8192 });
    const a = pool.alloc(1000);
    pool.bytes(a).fill(5);
    expect(pool.realloc(a, 900)).toBe(a);
    expect(pool.realloc(a, 2000)).toBe(a);
    pool.alloc(8);
    const moved = pool.realloc(a, 4000);
    expect(moved).not.toBe(a);
    expect(
      pool
        .bytes(moved)
        .subarray(0, 1000)
        .every((byte) => byte === 5),
    ).toBe(true);
    expect(code(() => pool.realloc(moved, 100_000))).toBe("ERR_POOL_FULL");
    expect(pool.physicalSizeOf(moved)).toBe(4000);
    expect(code(() => pool.free(a))).toBe("ERR_DOUBLE_RELEASE");
    expect(pool.realloc(moved, 100)).toBe(moved);
    expect(pool.physicalSizeOf(moved)).toBe(104);
    pool.validate();
  });

  it("Memories have alignment, prefix and padding like any allocator's", () => {
    const pool = RealtimePool.create({ totalSize: 65_536, source: new SharedAllocator() });
    const memory = pool.allocate(100, { align: 1024, prefix: 16, padding: 8 });
    expect([memory.offset, memory.size, memory.maxSize >= 124]).toEqual([16, 100, true]);
    expect(memory.region.bytes.byteOffset % 1024).toBe(0);
    const grown = pool.reallocate(memory, 10_000);
    expect([grown.offset, grown.size]).toEqual([16, 10_000]);
    grown.release();
    expect(pool.stats().liveBlocks).toBe(0);
  });

  it("writes through a Memory land at its pointer in the pool's buffer", () => {
    const pool = RealtimePool.create({ totalSize: 4096 });
    const pointer = pool.alloc(64);
    pool.bytes(pointer).fill(1);
    const samples = new Float32Array(pool.buffer, pool.byteOffset + pointer, 16);
    samples[0] = 0.5;
    expect([...pool.bytes(pointer).subarray(0, 4)]).toEqual([...new Uint8Array(Float32Array.of(0.5).buffer)]);
  });
});

describe("as an allocator", () => {
  it("backs a BufferPool and a MediaBuffer, and has everything back at the end", () => {
    const pool = RealtimePool.create({ totalSize: 65_536 });
    const buffers = new BufferPool({ name: "on top" });
    buffers.configure({ size: 4096, min: 2, max: 8, allocator: pool.allocator });
    buffers.activate();
    const buffer = buffers.tryAcquire();
    expect(buffer?.memories[0]?.allocator).toBe(pool.allocator);
    expect(pool.stats().liveBlocks).toBe(2);
    buffer?.release();
    buffers.deactivate();
    const own = MediaBuffer.allocate(1000, { allocator: pool.allocator });
    expect(own.bytes.length).toBe(1000);
    own.release();
    expect([pool.stats().liveBlocks, pool.allocator.stats().liveMemories, pool.allocator.stats().liveBytes]).toEqual([
      0, 0, 0,
    ]);
    pool.validate();
    pool.close();
  });

  it("keeps track of Memories that a BufferPool replaces for the next holder, and closes those too", () => {
    const pool = RealtimePool.create({ totalSize: 65_536 });
    const buffers = new BufferPool({ name: "on top" });
    buffers.configure({ size: 4096, min: 1, max: 1, allocator: pool.allocator });
    buffers.activate();
    const first = buffers.tryAcquire()!;
    const exposed = first.memories[0]!;
    first.release();
    const second = buffers.tryAcquire()!;
    const renewed = second.memories[0]!;
    expect(renewed).not.toBe(exposed);
    pool.validate();
    expect(pool.holders().map(({ memory }) => memory)).toEqual([renewed.id]);
    renewed.map("read").unmap();
    pool.close({ force: true });
    expect(code(() => renewed.map("read"))).toBe("ERR_POOL_DEAD");
  });

  it("a block of size 0 from the allocator is an empty memory with a pointer of its own", () => {
    const pool = RealtimePool.create({ totalSize: 4096 });
    const [a, b] = [pool.allocator.allocate(0), pool.allocator.allocate(0)];
    expect([a.size, b.size, pool.stats().liveBlocks]).toEqual([0, 0, 2]);
    a.release();
    b.release();
    expect(code(() => pool.allocate(0))).toBe("ERR_OUT_OF_RANGE");
  });
});

describe("growth", () => {
  it("is off by default, and a full pool stays full", () => {
    const source = new SystemAllocator("counted");
    const pool = RealtimePool.create({ totalSize: 4096, source });
    pool.alloc(4096);
    expect(code(() => pool.alloc(8))).toBe("ERR_POOL_FULL");
    expect(source.stats().allocations).toBe(1);
  });

  it("adds areas up to its ceiling, whose pointers are distinct and lead to their bytes", () => {
    const source = new SystemAllocator("counted");
    const pool = RealtimePool.create({ totalSize: 4096, source, maxBytes: 16_384 });
    const pointers = Array.from({ length: 4 }, () => pool.alloc(4000));
    expect(new Set(pointers).size).toBe(4);
    expect(pool.stats()).toMatchObject({ areas: 4, totalSize: 16_384, liveBlocks: 4 });
    for (const [i, pointer] of pointers.entries()) pool.bytes(pointer).fill(i);
    for (const [i, pointer] of pointers.entries()) expect(pool.bytes(pointer).every((byte) => byte === i)).toBe(true);
    expect(code(() => pool.alloc(4000))).toBe("ERR_POOL_FULL");
    expect(pool.tryAlloc(4000)).toBe(undefined);
    pool.free(pointers[3]!);
    const memory = pool.allocate(4000);
    expect(pool.holders().find(({ memory: id }) => id === memory.id)?.pointer).toBe(pointers[3]);
    for (const pointer of pointers.slice(0, 3)) pool.free(pointer);
    expect(code(() => pool.free(pointers[1]!))).toBe("ERR_DOUBLE_RELEASE");
    pool.release(memory);
    pool.validate();
    pool.close();
    expect(source.stats().liveMemories).toBe(0);
  });

  it("tryAlloc never grows; a block larger than a step gets an area of its size; a source that has none leaves the pool full", () => {
    const pool = RealtimePool.create({ totalSize: 4096, maxBytes: 65_536, growBy: 4096 });
    expect(pool.tryAlloc(10_000)).toBe(undefined);
    expect(pool.stats().areas).toBe(1);
    const large = pool.alloc(10_000);
    expect(pool.physicalSizeOf(large)).toBeGreaterThanOrEqual(10_000);
    expect(pool.realloc(large, 12_000)).toBeGreaterThan(0);
    pool.validate();
    class Once extends SystemAllocator {
      #left = 1;
      protected override allocateRegion(...args: Parameters<SystemAllocator["allocateRegion"]>): Region | undefined {
        return this.#left-- > 0 ? super.allocateRegion(...args) : undefined;
      }
    }
    const stuck = RealtimePool.create({ totalSize: 4096, source: new Once(), maxBytes: 65_536 });
    expect(code(() => stuck.alloc(10_000))).toBe("ERR_POOL_FULL");
    stuck.validate();
  });
});

describe("close", () => {
  it("with live blocks is refused, naming them, and changes nothing", () => {
    const pool = RealtimePool.create({ totalSize: 4096, name: "mixer" });
    const memory = pool.allocate(100);
    const pointer = pool.alloc(50);
    let error: unknown;
    try {
      pool.close();
    } catch (caught) {
      error = caught;
    }
    expect(error).toMatchObject({ code: "ERR_IN_USE", details: { holders: [{ memory: memory.id }, { pointer }] } });
    expect((error as Error).message).toContain(`memory #${memory.id}`);
    expect((error as Error).message).toContain(`block ${pointer} (56 bytes)`);
    pool.release(memory);
    pool.free(pointer);
    pool.close();
    expect(code(() => pool.alloc(8))).toBe("ERR_POOL_DEAD");
    pool.close();
  });

  it("comes by force at the end of a using block, also after an explicit close", () => {
    const source = new SystemAllocator("counted");
    let kept: RealtimePool;
    {
      using pool = RealtimePool.create({ totalSize: 4096, source });
      pool.alloc(100);
      kept = pool;
      using other = RealtimePool.create({ totalSize: 4096, source });
      other.close();
    }
    expect([kept.isClosed, source.stats().liveMemories]).toEqual([true, 0]);
  });

  it("by force puts every Memory and its sub-memories out of reach", () => {
    const source = new SystemAllocator("counted");
    const pool = RealtimePool.create({ totalSize: 4096, source });
    const memory = pool.allocate(100);
    memory.map("read").unmap();
    const child = memory.share(0, 10);
    child.map("read").unmap();
    pool.close({ force: true });
    for (const use of [
      () => memory.map("read"),
      () => memory.lock("read"),
      () => child.map("read"),
      () => memory.copy(),
    ]) {
      expect(code(use)).toBe("ERR_POOL_DEAD");
    }
    expect(code(() => child.release())).toBe("ERR_POOL_DEAD");
    expect(source.stats().liveMemories).toBe(0);
  });

  it.each([
    ["its own", undefined],
    ["shared", new SharedAllocator()],
  ])("by force ends Memories that are mapped, locked, retained or shared: %s bytes", (_, source) => {
    const pool = RealtimePool.create({ totalSize: 4096, lock: "off", ...(source === undefined ? {} : { source }) });
    const mapped = pool.allocate(64);
    const retained = pool.allocate(64).retain();
    const whole = pool.allocate(64);
    const partial = whole.share(0);
    const locked = pool.allocate(64);
    const mapping = mapped.map("readwrite");
    locked.lock("read");
    pool.close({ force: true });
    const uses = [
      () => mapping.bytes,
      () => mapped.release(),
      () => locked.release(),
      () => retained.release(),
      () => retained.retain(),
      () => retained.share(0),
      () => retained.resize(0, 10),
      () => whole.release(),
      () => partial.release(),
    ];
    expect(uses.map(code)).toEqual(uses.map(() => "ERR_POOL_DEAD"));
    // Who cleans up finds its locks.
    mapping.unmap();
    locked.unlock("read");
  });

  it("by force revokes the bytes of other allocators before they go back, or keeps what cannot be revoked", () => {
    class Recycling extends SharedAllocator {
      frees = 0;
      readonly #plain: boolean;
      constructor(plain: boolean) {
        super("recycling");
        this.#plain = plain;
      }
      protected override allocateRegion(...args: Parameters<SystemAllocator["allocateRegion"]>): Region | undefined {
        return this.#plain ? new SystemAllocator().allocate(args[0]).region : super.allocateRegion(...args);
      }
      override get viewsOutliveFree(): boolean {
        return false;
      }
      protected override freeRegion(): void {
        this.frees++;
      }
    }
    for (const plain of [true, false]) {
      const source = new Recycling(plain);
      const pool = RealtimePool.create({ totalSize: 4096, source });
      const memory = pool.allocate(100);
      const mapping = memory.map("write");
      const view = mapping.bytes;
      pool.close({ force: true });
      expect([source.frees, view.length]).toEqual(plain ? [1, 0] : [0, 100]);
      mapping.unmap();
    }
  });

  it("by force works on a pool that was overrun, and on one whose buffer was transferred away", () => {
    const source = new SystemAllocator("counted");
    const overrun = RealtimePool.create({ totalSize: 4096, source });
    new Uint8Array(overrun.buffer, overrun.byteOffset + overrun.alloc(64), 200).fill(0xee);
    expect(code(() => overrun.close())).toBe("ERR_CORRUPTED");
    overrun.close({ force: true });
    const detached = RealtimePool.create({ totalSize: 4096, source });
    const memory = detached.allocate(8);
    structuredClone(detached.buffer, { transfer: [detached.buffer as ArrayBuffer] });
    expect([detached.holders(), detached.stats().liveBlocks]).toEqual([[], 0]);
    detached.close({ force: true });
    expect(code(() => memory.map("read"))).toBe("ERR_POOL_DEAD");
    expect(source.stats().liveMemories).toBe(0);
  });

  it("makes every later call an ERR_POOL_DEAD", () => {
    const pool = RealtimePool.create({ totalSize: 4096 });
    const memory = pool.allocate(8);
    const pointer = pool.alloc(8);
    pool.close({ force: true });
    const calls: (() => unknown)[] = [
      () => pool.alloc(8),
      () => pool.tryAlloc(8),
      () => pool.allocate(8),
      () => pool.allocator.allocate(8),
      () => pool.free(pointer),
      () => pool.realloc(pointer, 9),
      () => pool.reallocate(memory, 9),
      () => pool.sizeOf(memory),
      () => pool.physicalSizeOf(pointer),
      () => pool.bytes(pointer),
      () => pool.validate(),
      () => pool.release(memory),
    ];
    for (const call of calls) expect([call.toString(), code(call)]).toEqual([call.toString(), "ERR_POOL_DEAD"]);
    expect([pool.locked, pool.stats().areas]).toEqual([false, 0]);
  });
});

describe("the default pool", () => {
  it("is there once, and is never closed", () => {
    expect(RealtimePool.default).toBe(undefined);
    const pool = RealtimePool.createDefault({ totalSize: 65_536, name: "default" });
    expect(RealtimePool.default).toBe(pool);
    expect(code(() => RealtimePool.createDefault())).toBe("ERR_ALREADY_EXISTS");
    expect(code(() => pool.close({ force: true }))).toBe("ERR_UNSUPPORTED");
    expect(RealtimePool.default).toBe(pool);
    pool.free(pool.alloc(100));
  });
});
