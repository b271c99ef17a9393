// Shares its realm with other files: nothing that it changes outlives it.
/** Blocks of a SlabPool: where they come from, how they are aligned, when they go back, and what their hooks may do. */
import { describe, expect, it } from "vitest";
import { allocators } from "../../../src/allocators/registry.ts";
import { SharedAllocator } from "../../../src/allocators/shared.ts";
import { Allocator, SystemAllocator } from "../../../src/memory/allocator.ts";
import type { ResolvedParams } from "../../../src/memory/params.ts";
import { opaqueRegion, Region } from "../../../src/memory/region.ts";
import { PagePool } from "../../../src/pools/page/page-pool.ts";
import { SlabPool } from "../../../src/pools/slab/slab-pool.ts";
import { bytes, struct } from "../../../src/pools/slab/struct.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { code } from "../buffer/pools.ts";

/** TypeScript knows WebAssembly from its browser types only, which these tests are compiled without. */
interface WithWebAssembly {
  readonly WebAssembly: { Memory: new (limits: { initial: number }) => { readonly buffer: ArrayBuffer } };
}
const { WebAssembly } = globalThis as unknown as WithWebAssembly;

/** Blocks in one WebAssembly memory, one after the other. */
class WasmBlocks extends Allocator {
  readonly memory = new WebAssembly.Memory({ initial: 1 });
  #next = 0;
  constructor() {
    super("wasm-blocks", { memoryType: "WasmMemory" });
  }
  protected override allocateRegion(size: number, { align }: ResolvedParams): Region | undefined {
    const start = Math.ceil(this.#next / align) * align;
    if (start + size > this.memory.buffer.byteLength) return undefined;
    this.#next = start + size;
    return new Region(new Uint8Array(this.memory.buffer, start, size));
  }
  protected override freeRegion(): void {}
}

/** Memory without an address, as a device has it; counts its mappings. */
class Device extends Allocator {
  mapped = 0;
  broken = "";
  constructor() {
    super("device", { memoryType: "DeviceMemory" });
  }
  protected override allocateRegion(size: number): Region {
    return opaqueRegion(size, new Uint8Array(size));
  }
  protected override freeRegion(): void {}
  protected override mapRegion(region: Region): Uint8Array | undefined {
    if (this.broken === "map") return undefined;
    this.mapped++;
    return region.handle as Uint8Array;
  }
  protected override unmapRegion(): void {
    this.mapped--;
    if (this.broken === "unmap") throw new Error("lost the device");
  }
}

describe("blocks come from any allocator", () => {
  it.each([
    ["shared", () => new SharedAllocator()],
    ["wasm", () => new WasmBlocks()],
    ["a page pool", () => PagePool.create().allocator],
    ["a device's", () => new Device()],
  ] as const)("elements in %s memory keep their values, and every block goes back at the end", (_name, make) => {
    const source = make();
    const pool = SlabPool.create({ struct: struct({ value: "f64" }), blockSize: 64, source });
    const pointers = Array.from({ length: 7 }, () => pool.alloc());
    for (const pointer of pointers) pool.at(pointer).value = pointer + 0.5;
    for (const pointer of pointers) expect(pool.at(pointer).value).toBe(pointer + 0.5);
    expect([source.stats().liveMemories, pool.stats().bytes]).toEqual([3, 192]);
    for (const pointer of pointers) pool.free(pointer);
    pool.close();
    expect(source.stats().liveMemories).toBe(0);
  });

  it("without a source they are ArrayBuffers, or the default allocator's memories where that was replaced", () => {
    const plain = SlabPool.create({ elementSize: 8, blockSize: 64 });
    expect(plain.blockOf(plain.alloc()).buffer.byteLength).toBe(64);
    const replaced = new SharedAllocator();
    allocators.default = replaced;
    try {
      using pool = SlabPool.create({ elementSize: 8, blockSize: 64 });
      expect(pool.blockOf(pool.alloc()).buffer).toBeInstanceOf(SharedArrayBuffer);
      expect(replaced.stats().liveMemories).toBe(1);
    } finally {
      allocators.default = allocators.find("system")!;
    }
    const after = SlabPool.create({ elementSize: 8 });
    expect(after.blockOf(after.alloc()).buffer).toBeInstanceOf(ArrayBuffer);
    expect([replaced.stats().liveMemories, allocators.default]).toEqual([0, allocators.find("system")]);
  });

  it("memory that wants to be mapped stays mapped while its block lives, and no longer", () => {
    const source = new Device();
    const pool = SlabPool.create({ elementSize: 8, source });
    const pointer = pool.alloc();
    expect(source.mapped).toBe(1);
    pool.free(pointer);
    pool.close();
    expect(source.mapped).toBe(0);
  });

  it("memory that cannot be mapped makes no block, and nothing is left behind", () => {
    const source = new Device();
    const pool = SlabPool.create({ elementSize: 8, source });
    source.broken = "map";
    expect(code(() => pool.alloc())).toBe("ERR_NOT_MAPPABLE");
    expect([source.stats().liveMemories, pool.stats().blocks]).toEqual([0, 0]);
    pool.validate();
    source.broken = "";
    expect(pool.isLive(pool.alloc())).toBe(true);
  });

  it("an unmap hook that throws keeps no block: all go back, then its error is thrown", () => {
    const source = new Device();
    const pool = SlabPool.create({ elementSize: 8, blockSize: 64, source });
    for (let i = 0; i < 6; i++) pool.alloc();
    source.broken = "unmap";
    expect(() => pool.close({ force: true })).toThrow(AggregateError);
    expect([source.mapped, pool.isClosed, pool.stats().blocks]).toEqual([0, true, 0]);
  });

  it("bytes that were transferred away are ERR_DETACHED at every look", () => {
    const pool = SlabPool.create({ elementSize: 8 });
    const pointer = pool.alloc();
    const buffer = pool.blockOf(pointer).buffer as ArrayBuffer;
    structuredClone(buffer, { transfer: [buffer] });
    for (const use of [
      () => pool.bytes(pointer),
      () => pool.view(pointer),
      () => pool.blockOf(pointer),
      () => pool.blockViewOf(pointer),
    ])
      expect(code(use)).toBe("ERR_DETACHED");
    pool.free(pointer);
    pool.close();
  });
});

describe("align", () => {
  it.each([
    [1, 5, 4096],
    [16, 5, 4096],
    [64, 100, 4096],
    [4096, 10, 65_536],
  ])("of %i: elements of %i bytes lie on its multiples in blocks of %i", (align, elementSize, blockSize) => {
    const pool = SlabPool.create({ elementSize, blockSize, align, source: new WasmBlocks() });
    const starts = Array.from({ length: Math.min(pool.capacity, 40) }, () => pool.bytes(pool.alloc()).byteOffset);
    expect(starts.map((start) => start % align)).toEqual(starts.map(() => 0));
    const sorted = starts.toSorted((a, b) => a - b);
    for (let i = 1; i < sorted.length; i++) expect(sorted[i]! - sorted[i - 1]!).toBeGreaterThanOrEqual(elementSize);
    expect(pool.stats().wastedBytes).toBe(blockSize - pool.capacity * elementSize);
  });

  it("is natural for a struct without being asked for", () => {
    const layout = struct({ flag: "u8", time: "f64", name: bytes(3) });
    const pool = SlabPool.create({ struct: layout, source: new WasmBlocks() });
    for (let i = 0; i < 20; i++) expect((pool.bytes(pool.alloc()).byteOffset + layout.offsets.time) % 8).toBe(0);
  });
});

describe("ages", () => {
  const aged = (clock: FakeClock, source: SystemAllocator): SlabPool =>
    SlabPool.create({ elementSize: 8, blockSize: 64, ageOut: 100, clock, source });

  it("an idle pool empties by its timer, between one age and one and a half, and then has no timer", () => {
    const clock = new FakeClock();
    const source = new SystemAllocator("aged");
    const pool = aged(clock, source);
    expect(clock.pending).toBe(0);
    const pointers = Array.from({ length: 6 }, () => pool.alloc());
    expect(clock.pending).toBe(1);
    clock.advance(1000);
    expect(source.stats().liveMemories).toBe(2);
    for (const pointer of pointers) pool.free(pointer);
    clock.advance(99);
    expect(source.stats().liveMemories).toBe(2);
    clock.advance(51);
    expect([source.stats().liveMemories, clock.pending, pool.stats().free]).toEqual([0, 0, 0]);
    expect(pool.isLive(pool.alloc())).toBe(true);
    expect(clock.pending).toBe(1);
    pool.close({ force: true });
    expect(clock.pending).toBe(0);
  });

  it("a block in use keeps its place while others go; pointers into it stay good, and its number is not given twice", () => {
    const clock = new FakeClock();
    const source = new SystemAllocator("aged");
    const pool = aged(clock, source);
    const pointers = Array.from({ length: 9 }, () => pool.alloc());
    const kept = pointers[4]!;
    pool.bytes(kept).fill(7);
    for (const pointer of pointers) if (pointer !== kept) pool.free(pointer);
    clock.advance(200);
    expect([pool.stats().blocks, pool.live, pool.bytes(kept)[0]]).toEqual([1, 1, 7]);
    const fresh = Array.from({ length: 5 }, () => pool.alloc());
    expect([new Set([...fresh, kept]).size, pool.bytes(kept)[0]]).toEqual([6, 7]);
    pool.validate();
  });

  it("0 gives a block back at the next visit; Infinity, which is the default, never", () => {
    const clock = new FakeClock();
    const [now, never] = [0, undefined].map((ageOut) =>
      SlabPool.create({ elementSize: 8, ageOut, timer: false, clock }),
    ) as [SlabPool, SlabPool];
    for (const pool of [now, never]) {
      pool.free(pool.alloc());
      clock.advance(1e9);
      pool.maintain();
    }
    expect([clock.pending, now.stats().blocks, never.stats().blocks]).toEqual([0, 0, 1]);
    expect(code(() => now.maintain(Number.NaN))).toBe("ERR_INVALID_ARG_TYPE");
  });

  it("a clock that goes backwards loses no block and lets each decay", () => {
    const clock = new FakeClock();
    const source = new SystemAllocator("aged");
    const pool = SlabPool.create({ elementSize: 8, ageOut: 100, timer: false, clock, source });
    pool.free(pool.alloc());
    clock.advance(5000);
    pool.maintain();
    clock.advance(-4000);
    pool.maintain();
    clock.advance(99);
    pool.maintain();
    expect(source.stats().liveMemories).toBe(1);
    clock.advance(1);
    pool.maintain();
    expect(source.stats().liveMemories).toBe(0);
  });
});

describe("hooks", () => {
  const caught = (fn: () => unknown): unknown => {
    try {
      return fn();
    } catch (error) {
      return (error as { code?: string }).code;
    }
  };

  it("may read and write their own element and live ones; alloc, free and close are ERR_REENTRANT, other elements are refused", () => {
    const seen: unknown[] = [];
    let live = -1;
    const pool: SlabPool = SlabPool.create({
      elementSize: 8,
      blockSize: 64,
      init(pointer) {
        pool.bytes(pointer).fill(pointer);
        if (pointer < 4) return;
        seen.push([
          caught(() => pool.alloc()),
          caught(() => pool.tryAlloc()),
          caught(() => pool.free(live)),
          caught(() => pool.close({ force: true })),
          caught(() => pool.bytes(live)[0]),
          caught(() => pool.bytes(pointer + 1)),
          caught(() => pool.maintain()),
        ]);
      },
    });
    live = pool.alloc();
    pool.alloc();
    pool.alloc();
    pool.alloc();
    const row = (last: string): unknown[] => [
      "ERR_REENTRANT",
      "ERR_REENTRANT",
      "ERR_REENTRANT",
      "ERR_REENTRANT",
      2,
      last,
      "ERR_REENTRANT",
    ];
    // A slot that is not carved yet was never handed out.
    expect(seen).toEqual([row("ERR_FOREIGN_RELEASE"), row("ERR_FOREIGN_RELEASE"), row("ERR_FOREIGN_RELEASE")]);
    pool.validate();
  });

  it("destroy hooks that throw keep no other from its call and no block from going; one error is thrown as it is, several together", () => {
    for (const bad of [[4], [0, 5]]) {
      const source = new SystemAllocator("done");
      const calls: number[] = [];
      const pool = SlabPool.create({
        elementSize: 8,
        blockSize: 64,
        source,
        destroy(pointer) {
          calls.push(pointer);
          if (bad.includes(pointer)) throw new Error(`destroy ${pointer}`);
        },
      });
      for (let i = 0; i < 4; i++) pool.alloc();
      expect(() => pool.close({ force: true })).toThrow(bad.length === 1 ? "destroy 4" : AggregateError);
      expect([calls.length, source.stats().liveMemories, pool.isClosed]).toEqual([6, 0, true]);
    }
  });

  it("no destroy for a slot whose init threw, and no second init", () => {
    const calls: string[] = [];
    const pool = SlabPool.create({
      elementSize: 8,
      blockSize: 64,
      init(pointer) {
        calls.push(`init ${pointer}`);
        if (pointer === 1) throw new Error("no");
      },
      destroy: (pointer) => calls.push(`destroy ${pointer}`),
    });
    expect(() => pool.alloc()).toThrow("no");
    expect([pool.alloc(), pool.alloc(), pool.stats().failed]).toEqual([0, 2, 1]);
    expect(code(() => pool.free(1))).toBe("ERR_FOREIGN_RELEASE");
    pool.close({ force: true });
    expect(calls).toEqual(["init 0", "init 1", "init 2", "destroy 0", "destroy 2"]);
  });
});

describe("close with tracing", () => {
  function takeHere(pool: SlabPool): number {
    return pool.alloc();
  }
  function tryThere(pool: SlabPool): number | undefined {
    return pool.tryAlloc();
  }

  it("says how many elements are live and where they were taken, most frequent first", () => {
    const pool = SlabPool.create({ name: "traced", elementSize: 8, trace: true });
    const freed = takeHere(pool);
    for (let i = 0; i < 3; i++) takeHere(pool);
    tryThere(pool);
    pool.free(freed);
    expect(() => pool.close()).toThrow(
      /cannot close slab pool "traced": 4 elements are live.*3 taken .*takeHere.*1 taken .*tryThere/s,
    );
    const left = pool.close({ force: true });
    expect([left.live, left.pointers.length, left.sites.map(({ count }) => count)]).toEqual([4, 4, [3, 1]]);
    expect(left.sites[0]?.site.split("\n")[0]).toMatch(/takeHere.*blocks\.test\.ts/);
  });

  it("without it the message says how to get them, and the pointers are listed all the same", () => {
    const pool = SlabPool.create({ elementSize: 8 });
    const pointer = pool.alloc();
    expect(() => pool.close()).toThrow(/trace: true/);
    expect(pool.close({ force: true })).toEqual({ live: 1, pointers: [pointer], sites: [] });
    expect(pool.close()).toEqual({ live: 0, pointers: [], sites: [] });
  });
});
