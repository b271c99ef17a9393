/** Memory, Mapping and Allocator: the reference's rules, row by row, as millpond decides them. */
import { describe, expect, it } from "vitest";
import { allocators } from "../../src/allocators/registry.ts";
import { SharedAllocator } from "../../src/allocators/shared.ts";
import { Allocator, AllocatorFlags, SystemAllocator, wrapMemory } from "../../src/memory/allocator.ts";
import type { MapMode, Memory } from "../../src/memory/memory.ts";
import { MemoryFlags } from "../../src/memory/params.ts";
import { opaqueRegion, Region } from "../../src/memory/region.ts";
import { code } from "../pools/buffer/pools.ts";

const system = new SystemAllocator("test");

/** What is used of WebAssembly; the core is typed without the DOM's library, which declares it. */
interface WithWasm {
  WebAssembly: { Memory: new (descriptor: { initial: number }) => { buffer: ArrayBuffer } };
}

describe("locks (reference table 1.4): first lock held, then another", () => {
  const table: [MapMode | "none", MapMode | "owner", number, string][] = [
    ["none", "read", 0, "ok"],
    ["none", "write", 0, "ok"],
    ["none", "readwrite", 1, "ok"],
    ["none", "owner", 5, "ok"],
    ["none", "write", 2, "ERR_NOT_WRITABLE"],
    ["none", "readwrite", 2, "ERR_NOT_WRITABLE"],
    ["none", "read", 2, "ok"],
    ["read", "read", 0, "ok"],
    ["read", "write", 0, "ERR_MAPPED"],
    ["read", "readwrite", 0, "ERR_MAPPED"],
    ["read", "owner", 1, "ok"],
    ["write", "read", 0, "ERR_MAPPED"],
    ["write", "write", 0, "ok"],
    ["write", "readwrite", 0, "ERR_MAPPED"],
    ["write", "owner", 0, "ok"],
    ["write", "owner", 1, "refused"],
    ["readwrite", "read", 0, "ok"],
    ["readwrite", "write", 0, "ok"],
    ["readwrite", "readwrite", 0, "ok"],
    ["readwrite", "owner", 0, "ok"],
    ["readwrite", "owner", 1, "refused"],
  ];
  it.each(table)("%s held, %s asked, with %i owners: %s", (held, asked, owners, wanted) => {
    const memory = system.allocate(16);
    for (let i = 0; i < owners; i++) expect(memory.acquireOwnership()).toBe(true);
    const first = held === "none" ? undefined : memory.map(held);
    const before = [memory.isMapped, memory.owners];
    const got = asked === "owner" ? (memory.acquireOwnership() ? "ok" : "refused") : code(() => memory.map(asked));
    expect(got).toBe(wanted);
    if (got !== "ok") expect([memory.isMapped, memory.owners]).toEqual(before);
    expect(first?.isLive ?? true).toBe(true);
  });

  it("forgets the outer mode when the outermost of two nested locks is ended first (Q1)", () => {
    const memory = system.allocate(16);
    const outer = memory.map("readwrite");
    const inner = memory.map("read");
    expect(inner.bytes).toBe(outer.bytes);
    outer.unmap();
    expect(code(() => memory.map("write"))).toBe("ERR_MAPPED");
    inner.unmap();
    for (const mode of ["write", "read", "readwrite"] as const) memory.map(mode).unmap();
    memory.release();
  });

  it("lock and unlock follow the same rules, without an object", () => {
    const memory = system.allocate(16);
    const bytes = memory.lock("write");
    expect(memory.lock("write")).toBe(bytes);
    expect(code(() => memory.lock("read"))).toBe("ERR_MAPPED");
    expect(code(() => memory.release())).toBe("ERR_MAPPED");
    memory.unlock("write");
    expect(code(() => memory.unlock("read"))).toBe("ERR_OUT_OF_RANGE");
    memory.unlock("write");
    expect(code(() => memory.unlock("write"))).toBe("ERR_OUT_OF_RANGE");
    memory.release();
  });

  it("refuses a 1,024th nested lock instead of overflowing into another count", () => {
    const memory = system.allocate(1);
    const held = Array.from({ length: 1023 }, () => memory.map("read"));
    expect(code(() => memory.map("read"))).toBe("ERR_MAPPED");
    for (const mapping of held) mapping.unmap();
    expect(memory.isMapped).toBe(false);
  });
});

describe("mapping", () => {
  it("gives the valid part, the same view each time, and nothing after unmap", () => {
    const memory = system.allocate(10, { prefix: 3, padding: 4 });
    const mapping = memory.map("read");
    expect([mapping.size, mapping.mode, mapping.bytes.byteOffset]).toEqual([10, "read", 3]);
    expect(memory.map("read").bytes).toBe(mapping.bytes);
    mapping.unmap();
    mapping.unmap();
    expect([mapping.isLive, mapping.size, mapping.mode]).toEqual([false, 10, "read"]);
    expect(code(() => mapping.bytes)).toBe("ERR_USE_AFTER_RELEASE");
  });

  it("ends with its block by using or by hand, and never needs Symbol.dispose", () => {
    const memory = system.allocate(4);
    memory.map("read")[Symbol.dispose]();
    expect(memory.isMapped).toBe(false);
    memory[Symbol.dispose]();
    expect(memory.refCount).toBe(0);
  });

  it("a resize leaves live mappings as they are and shows in new ones", () => {
    const memory = system.allocate(10);
    const old = memory.map("readwrite");
    memory.resize(2, 4);
    expect(old.bytes.length).toBe(10);
    const now = memory.map("read");
    expect([now.bytes.byteOffset, now.bytes.length]).toEqual([2, 4]);
    now.unmap();
    old.unmap();
  });

  it("an unmappable region is ERR_NOT_MAPPABLE and stays unlocked; mapAsync waits for one that needs time", async () => {
    class Gpu extends Allocator {
      readonly opened: string[] = [];
      protected override allocateRegion(size: number): Region {
        return opaqueRegion(size, new Uint8Array(size));
      }
      protected override freeRegion(): void {
        this.opened.push("free");
      }
      protected override async mapRegionAsync(region: Region, mode: MapMode): Promise<Uint8Array | undefined> {
        await null;
        this.opened.push(`open ${mode}`);
        return region.size === 13 ? undefined : (region.handle as Uint8Array);
      }
      protected override unmapRegion(_region: Region, mode: MapMode): void {
        this.opened.push(`close ${mode}`);
      }
    }
    const gpu = new Gpu("gpu", { memoryType: "GpuMemory" });
    const memory = gpu.allocate(8);
    expect(code(() => memory.map("read"))).toBe("ERR_NOT_MAPPABLE");
    expect(memory.isMapped).toBe(false);
    const mapping = await memory.mapAsync("write");
    mapping.bytes[0] = 1;
    expect(code(() => memory.release())).toBe("ERR_MAPPED");
    mapping.unmap();
    await expect(gpu.allocate(13).mapAsync("read")).rejects.toMatchObject({ code: "ERR_NOT_MAPPABLE" });
    await expect(memory.mapAsync("read", { signal: AbortSignal.abort("stop") })).rejects.toBe("stop");
    const late = memory.mapAsync("read");
    memory.release();
    (await late).unmap();
    memory.isType("GpuMemory");
    expect(gpu.opened).toContain("close write");
  });

  it("names a detached or shrunk ArrayBuffer", () => {
    const buffer = new ArrayBuffer(8);
    const memory = wrapMemory(buffer);
    structuredClone(buffer, { transfer: [buffer] });
    expect(code(() => memory.map("read"))).toBe("ERR_DETACHED");
    const growable = new ArrayBuffer(8, { maxByteLength: 16 } as never);
    const wrapped = wrapMemory(growable);
    wrapped.map("read").unmap();
    (growable as unknown as { resize(n: number): void }).resize(4);
    expect(code(() => wrapped.map("read"))).toBe("ERR_DETACHED");
    expect(wrapped.isMapped).toBe(false);
  });
});

describe("flags (reference table 2.2)", () => {
  it("READONLY refuses writing always, also by a copy's source", () => {
    const memory = wrapMemory(new Uint8Array(4), { flags: MemoryFlags.READONLY });
    expect(code(() => memory.map("write"))).toBe("ERR_NOT_WRITABLE");
    expect([memory.isWritable, memory.isExclusive, memory.copy().isWritable]).toEqual([false, true, true]);
  });

  it("NO_SHARE refuses share(), and buffers copy instead", () => {
    const memory = wrapMemory(new Uint8Array(4), { flags: MemoryFlags.NO_SHARE });
    expect(code(() => memory.share(0))).toBe("ERR_NOT_SHAREABLE");
  });

  it("ZERO_PREFIXED and ZERO_PADDED zero at allocation, and are dropped for good when the valid part leaves bytes behind", () => {
    class Dirty extends SystemAllocator {
      protected override allocateRegion(size: number): Region {
        return new Region(new Uint8Array(size).fill(9));
      }
    }
    const flags = MemoryFlags.ZERO_PREFIXED | MemoryFlags.ZERO_PADDED;
    const memory = new Dirty("dirty").allocate(4, { prefix: 2, padding: 2, flags });
    expect([...memory.region.bytes]).toEqual([0, 0, 9, 9, 9, 9, 0, 0]);
    memory.resize(-1, 6);
    expect(memory.flags).toBe(flags);
    memory.resize(1, 5);
    expect(memory.flags).toBe(MemoryFlags.ZERO_PADDED);
    memory.resize(0, 4);
    expect(memory.flags).toBe(0);
    memory.resize(-1, 6);
    expect(memory.flags).toBe(0);
  });

  it("PHYSICALLY_CONTIGUOUS and NOT_MAPPABLE only inform: a map still works", () => {
    const memory = wrapMemory(new Uint8Array(4), {
      flags: MemoryFlags.PHYSICALLY_CONTIGUOUS | MemoryFlags.NOT_MAPPABLE,
    });
    memory.map("readwrite").unmap();
    expect(memory.flags).toBe(MemoryFlags.PHYSICALLY_CONTIGUOUS | MemoryFlags.NOT_MAPPABLE);
  });
});

describe("share, copy, span, makeWritable", () => {
  it("a sub-memory is read-only, shares the bytes, hangs off the root, and adds one owner to it", () => {
    const root = system.allocate(16);
    const part = root.share(4, 8);
    const nested = part.share(2, 4);
    expect([nested.parent, nested.offset, nested.flags & MemoryFlags.READONLY, root.owners]).toEqual([
      root,
      6,
      MemoryFlags.READONLY,
      2,
    ]);
    expect(code(() => part.map("write"))).toBe("ERR_NOT_WRITABLE");
    expect(code(() => root.map("write"))).toBe("ERR_NOT_WRITABLE");
    nested.release();
    const mapping = root.map("write");
    mapping.bytes[4] = 7;
    mapping.unmap();
    expect(part.map("read").bytes[0]).toBe(7);
  });

  it("sharing is refused while the memory is mapped for writing, not while it is read", () => {
    const root = system.allocate(16);
    const write = root.map("write");
    expect(code(() => root.share(0))).toBe("ERR_MAPPED");
    expect([root.owners, root.refCount]).toEqual([0, 1]);
    write.unmap();
    root.map("read");
    expect(root.share(16).size).toBe(0);
  });

  it("checks the range of share and copy (Q4)", () => {
    const root = system.allocate(10);
    for (const [offset, size] of [
      [11, 0],
      [0, 11],
      [-1, 1],
      [5, 6],
      [1.5, 1],
      [0, Number.NaN],
    ] as const) {
      expect(code(() => root.share(offset, size))).toBe("ERR_OUT_OF_RANGE");
      expect(code(() => root.copy(offset, size))).toBe("ERR_OUT_OF_RANGE");
    }
    expect([root.refCount, root.owners]).toEqual([1, 0]);
  });

  it("a copy has its own bytes, offset 0 and the same alignment", () => {
    const memory = system.allocate(8, { align: 64, prefix: 4 });
    const mapping = memory.map("write");
    mapping.bytes.set([1, 2, 3, 4, 5, 6, 7, 8]);
    mapping.unmap();
    const copy = memory.copy(2, 3);
    expect([copy.offset, copy.align, copy.size, [...copy.map("read").bytes]]).toEqual([0, 64, 3, [3, 4, 5]]);
  });

  it("isSpan holds only for neighbors of one parent, in order, and tells where to re-join", () => {
    const root = system.allocate(16, { prefix: 4 });
    const [a, b, c] = [root.share(2, 4), root.share(6, 4), root.share(11, 1)];
    expect([a.isSpan(b), b.isSpan(a), b.isSpan(c), root.isSpan(a), a.isSpan(system.allocate(4).share(0))]).toEqual([
      2,
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    expect(root.share(a.isSpan(b)!, 8).size).toBe(8);
  });

  it("makeWritable gives the same memory or a copy, and keeps the caller's reference when it cannot", () => {
    const memory = system.allocate(4);
    expect(memory.makeWritable()).toBe(memory);
    const part = memory.share(0);
    const own = part.makeWritable();
    expect([own === part, own.isWritable, part.refCount, memory.owners]).toEqual([false, true, 0, 0]);
  });
});

describe("references", () => {
  it("a release too many is ERR_DOUBLE_RELEASE; one that belongs to an owner is ERR_FOREIGN_RELEASE", () => {
    const memory = system.allocate(4);
    const child = memory.share(0);
    memory.release();
    expect(code(() => memory.release())).toBe("ERR_FOREIGN_RELEASE");
    child.release();
    expect(code(() => memory.release())).toBe("ERR_DOUBLE_RELEASE");
    expect(code(() => child.release())).toBe("ERR_DOUBLE_RELEASE");
  });

  it("every use of a dead memory is ERR_USE_AFTER_RELEASE", () => {
    const memory = system.allocate(4);
    memory.release();
    for (const use of [
      () => memory.map("read"),
      () => memory.share(0),
      () => memory.copy(),
      () => memory.resize(0, 1),
      () => memory.retain(),
      () => memory.makeWritable(),
      () => memory.lock("read"),
    ]) {
      expect(code(use), String(use)).toBe("ERR_USE_AFTER_RELEASE");
    }
  });

  it("resize checks both ends and exclusivity, and changes nothing when it refuses", () => {
    const memory = system.allocate(8, { prefix: 4, padding: 4 });
    for (const [delta, size] of [
      [-5, 8],
      [13, 0],
      [0, 13],
      [0, -1],
      [Number.NaN, 1],
      [0, 2 ** 53],
    ] as const) {
      expect(code(() => memory.resize(delta, size))).toBe("ERR_OUT_OF_RANGE");
    }
    expect([memory.offset, memory.size]).toEqual([4, 8]);
    memory.acquireOwnership();
    memory.acquireOwnership();
    expect(code(() => memory.resize(1, 1))).toBe("ERR_NOT_WRITABLE");
  });
});

describe("wrapping", () => {
  it("calls back exactly once, when the last sub-memory is gone", () => {
    let calls = 0;
    const memory = wrapMemory(new Uint8Array(16), { onRelease: () => calls++ });
    const part = memory.share(0, 4);
    memory.release();
    expect(calls).toBe(0);
    part.release();
    expect([calls, memory.align]).toEqual([1, 0]);
  });

  it("takes every kind of bytes: views at odd offsets, DataView, SharedArrayBuffer, resizable", () => {
    const odd = new Uint8Array(new ArrayBuffer(16), 3, 7);
    expect(wrapMemory(odd).map("read").bytes.byteOffset).toBe(3);
    expect(wrapMemory(new DataView(new ArrayBuffer(8), 1, 3)).size).toBe(3);
    expect(wrapMemory(new Float32Array(2)).size).toBe(8);
    expect(wrapMemory(new SharedArrayBuffer(8)).size).toBe(8);
  });

  it.each([
    [null, {}, "ERR_INVALID_ARG_TYPE"],
    [{}, {}, "ERR_INVALID_ARG_TYPE"],
    ["bytes", {}, "ERR_INVALID_ARG_TYPE"],
    [[1, 2], {}, "ERR_INVALID_ARG_TYPE"],
    [new Uint8Array(4), { offset: 5 }, "ERR_OUT_OF_RANGE"],
    [new Uint8Array(4), { offset: 2, size: 3 }, "ERR_OUT_OF_RANGE"],
    [new Uint8Array(4), { size: Number.NaN }, "ERR_OUT_OF_RANGE"],
    [new Uint8Array(4), { onRelease: 3 }, "ERR_INVALID_ARG_TYPE"],
    [new Uint8Array(4), { flags: -1 }, "ERR_OUT_OF_RANGE"],
  ])("refuses %s with %j: %s", (source, options, wanted) => {
    expect(code(() => wrapMemory(source as never, options as never))).toBe(wanted);
  });
});

describe("allocators", () => {
  it.each([
    [-1, undefined, "ERR_OUT_OF_RANGE"],
    [1.5, undefined, "ERR_OUT_OF_RANGE"],
    [Number.NaN, undefined, "ERR_OUT_OF_RANGE"],
    [2 ** 53, undefined, "ERR_OUT_OF_RANGE"],
    ["8", undefined, "ERR_INVALID_ARG_TYPE"],
    [8, 3, "ERR_INVALID_ARG_TYPE"],
    [8, null, "ERR_INVALID_ARG_TYPE"],
    [8, { align: 3 }, "ERR_INVALID_ARG_VALUE"],
    [8, { align: -2 }, "ERR_INVALID_ARG_VALUE"],
    [8, { prefix: 2 ** 53 - 1 }, "ERR_OUT_OF_RANGE"],
    [8, { padding: -1 }, "ERR_OUT_OF_RANGE"],
    [2 ** 50, undefined, "ERR_ALLOCATION_FAILED"],
  ])("allocate(%s, %j) is %s and leaves nothing behind", (size, params, wanted) => {
    const allocator = new SystemAllocator("refusing");
    expect(code(() => allocator.allocate(size as never, params as never))).toBe(wanted);
    expect(allocator.stats()).toMatchObject({ liveMemories: 0, liveBytes: 0, allocations: 0 });
  });

  it("size 0 makes an empty memory that can be mapped", () =>
    expect(system.allocate(0).map("readwrite").bytes.length).toBe(0));

  it.each([
    ["too small", () => new Region(new Uint8Array(4))],
    ["at an odd offset", () => new Region(new Uint8Array(new ArrayBuffer(64), 3, 32))],
    [
      "detached",
      () => {
        const region = new Region(new Uint8Array(32));
        structuredClone(region.bytes.buffer, { transfer: [region.bytes.buffer as ArrayBuffer] });
        return region;
      },
    ],
  ])("a custom allocator's region that is %s is refused and given back", (_what, make) => {
    let freed = 0;
    class Hostile extends Allocator {
      protected override allocateRegion(): Region {
        return make();
      }
      protected override freeRegion(): void {
        freed++;
      }
    }
    expect(code(() => new Hostile("hostile").allocate(16))).toBe("ERR_ALLOCATION_FAILED");
    expect(freed).toBe(1);
  });

  it("a throwing allocator is ERR_ALLOCATION_FAILED with the cause", () => {
    class Throwing extends SystemAllocator {
      protected override allocateRegion(): Region {
        throw new RangeError("no room");
      }
    }
    expect(() => new Throwing("throwing").allocate(1)).toThrow(
      expect.objectContaining({ code: "ERR_ALLOCATION_FAILED", cause: new RangeError("no room") }),
    );
  });

  it("NO_COPY allocators leave copies to the default one", () => {
    const special = new SystemAllocator("special");
    class Pooled extends SystemAllocator {}
    const pooled = new Pooled("pooled");
    Object.defineProperty(pooled, "flags", { value: AllocatorFlags.NO_COPY });
    const before = allocators.default;
    allocators.default = special;
    try {
      expect(pooled.allocate(4).copy().allocator).toBe(special);
    } finally {
      allocators.default = before;
    }
  });

  it("the registry knows names, the default, and does not let a name be taken over silently", () => {
    const mine = new SystemAllocator("mine");
    allocators.register("mine", mine);
    allocators.register("mine", mine);
    expect([allocators.find("mine"), allocators.find("Mine"), allocators.find()]).toEqual([
      mine,
      undefined,
      allocators.default,
    ]);
    expect(allocators.find("shared")).toBeInstanceOf(SharedAllocator);
    expect(allocators.find("shared")).toBe(allocators.find("shared"));
    expect(code(() => allocators.register("mine", new SystemAllocator("x")))).toBe("ERR_ALREADY_REGISTERED");
    expect(code(() => allocators.register("shared", mine))).toBe("ERR_ALREADY_REGISTERED");
    allocators.register("mine", system, { replace: true });
    expect([allocators.find("mine"), allocators.names().includes("system"), allocators.find("__proto__")]).toEqual([
      system,
      true,
      undefined,
    ]);
    expect(code(() => allocators.register("", mine))).toBe("ERR_INVALID_ARG_TYPE");
    expect(code(() => allocators.register("x", {} as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(
      code(() => {
        allocators.default = 3 as never;
      }),
    ).toBe("ERR_INVALID_ARG_TYPE");
  });

  it("shared memory is one SharedArrayBuffer a memory, zeroed and writable from everywhere", () => {
    const memory: Memory = new SharedAllocator().allocate(64);
    const { bytes } = memory.map("readwrite");
    expect([bytes.buffer instanceof SharedArrayBuffer, bytes.every((byte) => byte === 0)]).toEqual([true, true]);
  });

  it("aligns real addresses where they can be seen: in WebAssembly memory the byteOffset is the address", () => {
    const { WebAssembly: engine } = globalThis as unknown as WithWasm;
    const wasm = new engine.Memory({ initial: 4 });
    class Linear extends Allocator {
      #used = 3;
      protected override allocateRegion(size: number, { align }: { align: number }): Region {
        const start = Math.ceil(this.#used / align) * align;
        this.#used = start + size;
        return new Region(new Uint8Array(wasm.buffer, start, size));
      }
      protected override freeRegion(): void {}
    }
    const linear = new Linear("linear");
    for (const align of [1, 8, 16, 64, 256, 4096]) {
      const payload = linear.allocate(10, { align }).map("read").bytes;
      expect(payload.byteOffset % align).toBe(0);
      // With a prefix the slot is aligned, and the payload follows it.
      const behind = linear.allocate(10, { align, prefix: 3 }).map("read").bytes;
      expect((behind.byteOffset - 3) % align).toBe(0);
    }
  });

  it("counts what is out, sub-memories included, down to nothing (leak gate)", () => {
    const allocator = new SystemAllocator("gate");
    const memory = allocator.allocate(100);
    const parts = [memory.share(0), memory.share(50, 10)];
    expect(allocator.stats()).toMatchObject({ liveMemories: 3, liveBytes: 100 });
    for (const part of parts) part.release();
    memory.release();
    expect(allocator.stats()).toMatchObject({ liveMemories: 0, liveBytes: 0 });
  });
});
