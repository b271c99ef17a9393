/** GstMemory, GstAllocator, GstBuffer and GstMeta through the front door, after the reference's sections 2 to 5. */
import { describe, expect, it } from "vitest";
import {
  AllocationParams,
  Allocator,
  Buffer,
  BufferCopyFlags,
  BufferFlags,
  BufferPoolAcquireFlags,
  CLOCK_TIME_NONE,
  FlowReturn,
  LockFlags,
  MapFlags,
  MapInfo,
  Memory,
  MemoryFlags,
  Meta,
  MetaFlags,
  type MetaInfo,
} from "../../src/compat/gstreamer.ts";
import { deserializeMetas, serializeMetas } from "../../src/media/meta/serialize.ts";
import { Allocator as CoreAllocator } from "../../src/memory/allocator.ts";
import { opaqueRegion, Region } from "../../src/memory/region.ts";
import { code } from "../pools/buffer/pools.ts";

const params = (fields: Partial<AllocationParams>): AllocationParams => Object.assign(new AllocationParams(), fields);
const wrap = (bytes: number[], flags = 0): Memory =>
  Memory.new_wrapped(flags, new Uint8Array(bytes), bytes.length, 0, bytes.length);
const bytesOf = (buffer: Buffer): number[] => [...buffer.extract(0, -1)];

describe("constants", () => {
  it("have the values of GStreamer's bindings", () => {
    expect([MapFlags.READ, MapFlags.WRITE, MapFlags.REF_MEMORY]).toEqual([1, 2, 4]);
    expect([LockFlags.READ, LockFlags.WRITE, LockFlags.EXCLUSIVE]).toEqual([1, 2, 4]);
    expect([
      FlowReturn.OK,
      FlowReturn.FLUSHING,
      FlowReturn.EOS,
      FlowReturn.NOT_NEGOTIATED,
      FlowReturn.ERROR,
      FlowReturn.NOT_SUPPORTED,
    ]).toEqual([0, -2, -3, -4, -5, -6]);
    expect([
      BufferPoolAcquireFlags.KEY_UNIT,
      BufferPoolAcquireFlags.DONTWAIT,
      BufferPoolAcquireFlags.DISCONT,
      CLOCK_TIME_NONE,
    ]).toEqual([1, 2, 4, 2n ** 64n - 1n]);
    for (const flags of [BufferFlags, MemoryFlags, BufferCopyFlags, MetaFlags]) {
      const bits = Object.entries(flags)
        .filter(([name, bit]) => bit !== 0 && name !== "ALL" && name !== "NONE")
        .map(([, bit]) => bit);
      expect(new Set(bits).size).toBe(bits.length);
      for (const bit of bits) expect(bit & (bit - 1)).toBe(0);
    }
  });
});

describe("memory", () => {
  it("the same core memory has one face", () => {
    const buffer = Buffer.new();
    const memory = wrap([1, 2, 3]);
    buffer.append_memory(memory);
    expect(buffer.peek_memory(0)).toBe(memory);
    expect(memory.share(0, -1)?.parent).toBe(memory);
  });

  it("alloc honors mask, prefix and padding: the region starts aligned, sizes tell the rest", () => {
    const memory = Allocator.find(null)!.alloc(100, params({ align: 63, prefix: 10, padding: 6 }))!;
    const [size, offset, maxsize] = memory.get_sizes();
    expect([size, offset, maxsize >= 116, memory.core.align, memory.is_type("SystemMemory")]).toEqual([
      100,
      10,
      true,
      64,
      true,
    ]);
    expect(code(() => Allocator.find(null)!.alloc(1, params({ align: 5 })))).toBe("ERR_INVALID_ARG_VALUE");
    expect(Allocator.find(null)!.alloc(2 ** 50, null)).toBeNull();
  });

  it("map and unmap: nested subset ok, conflict [false, zeroed], info cleared but for its sizes, twice is an error", () => {
    const memory = wrap([1, 2, 3, 4]);
    const [ok, info] = memory.map(MapFlags.READ | MapFlags.WRITE);
    expect([ok, info.size, info.maxsize, info.memory, info.data?.[3]]).toEqual([true, 4, 4, memory, 4]);
    const [again, inner] = memory.map(MapFlags.READ);
    expect([again, inner.data]).toEqual([true, info.data]);
    memory.unmap(inner);
    memory.unmap(info);
    expect([info.memory, info.data, info.flags, info.size, info.maxsize]).toEqual([null, null, 0, 4, 4]);
    expect(code(() => memory.unmap(info))).toBe("ERR_INVALID_ARG_VALUE");
    expect(code(() => memory.unmap(new MapInfo()))).toBe("ERR_INVALID_ARG_VALUE");
    memory.map(MapFlags.WRITE);
    const [no, zeroed] = memory.map(MapFlags.READ);
    expect([no, zeroed.data, zeroed.size]).toEqual([false, null, 0]);
    expect(code(() => memory.map(0))).toBe("ERR_INVALID_ARG_VALUE");
  });

  it("REF_MEMORY: the map holds a reference of its own", () => {
    const memory = wrap([1]);
    const [, info] = memory.map(MapFlags.READ | MapFlags.REF_MEMORY);
    expect(memory.refcount).toBe(2);
    memory.unref();
    expect(info.data?.[0]).toBe(1);
    memory.unmap(info);
    expect(memory.refcount).toBe(0);
  });

  it("lock and unlock: exclusive locks make it unwritable from two on, all or none", () => {
    const memory = wrap([1]);
    expect([memory.lock(LockFlags.EXCLUSIVE), memory.is_writable(), memory.lock(LockFlags.WRITE)]).toEqual([
      true,
      true,
      true,
    ]);
    expect(memory.lock(LockFlags.EXCLUSIVE)).toBe(false);
    memory.unlock(LockFlags.WRITE);
    expect([
      memory.lock(LockFlags.EXCLUSIVE | LockFlags.READ),
      memory.is_writable(),
      memory.map(MapFlags.WRITE)[0],
    ]).toEqual([true, false, false]);
    memory.unlock(LockFlags.EXCLUSIVE | LockFlags.READ);
    expect(code(() => memory.unlock(LockFlags.READ))).toBe("ERR_OUT_OF_RANGE");
    expect(memory.is_writable()).toBe(true);
  });

  it("refcount 2 and no exclusive lock is writable", () => {
    const memory = wrap([1]).ref();
    expect([memory.refcount, memory.is_writable(), memory.map(MapFlags.WRITE)[0]]).toEqual([2, true, true]);
  });

  it("share: null while write-mapped, an error for NO_SHARE, spans re-join", () => {
    const memory = wrap([1, 2, 3, 4, 5]);
    const [, info] = memory.map(MapFlags.WRITE);
    expect(memory.share(0, -1)).toBeNull();
    memory.unmap(info);
    const [a, b] = [memory.share(1, 2)!, memory.share(3, 2)!];
    expect([a.is_span(b), b.is_span(a), (a.flags & MemoryFlags.READONLY) !== 0]).toEqual([[true, 1], [false, 0], true]);
    expect(code(() => wrap([1], MemoryFlags.NO_SHARE).share(0, 1))).toBe("ERR_NOT_SHAREABLE");
    expect(code(() => memory.share(0, 100))).toBe("ERR_OUT_OF_RANGE");
  });

  it("copy and make_mapped: a read-only memory is copied, and the original reference is gone", () => {
    const memory = wrap([7, 8], MemoryFlags.READONLY);
    const [copy, info] = memory.make_mapped(MapFlags.WRITE);
    expect([copy === memory, info.data?.[1], memory.refcount, wrap([1, 2, 3]).copy(1, -1)?.get_sizes()[0]]).toEqual([
      false,
      8,
      0,
      2,
    ]);
  });

  it("a subclassed allocator makes and frees through its vfuncs", () => {
    const freed: Memory[] = [];
    class Mine extends Allocator {
      constructor() {
        super("MyMemory");
      }
      override vfunc_alloc(size: number): Memory | null {
        return size > 100 ? null : wrap(Array.from({ length: size }, () => 9));
      }
      override vfunc_free(memory: Memory): void {
        freed.push(memory);
      }
    }
    const mine = new Mine();
    Allocator.register("mine", mine);
    const memory = Allocator.find("mine")!.alloc(4, null)!;
    expect([
      Allocator.find("mine"),
      memory.allocator,
      memory.is_type("MyMemory"),
      memory.map(MapFlags.READ)[1].data?.[0],
    ]).toEqual([mine, mine, true, 9]);
    expect([mine.alloc(101, null), Allocator.find("nobody"), Allocator.find("SystemMemory")?.mem_type]).toEqual([
      null,
      null,
      "SystemMemory",
    ]);
    const other = mine.alloc(1, null)!;
    expect(code(() => Allocator.find(null)!.free(other))).toBe("ERR_FOREIGN_RELEASE");
    mine.free(other);
    expect(freed).toHaveLength(1);
  });

  it("an allocator that hands on another's memory maps it by its maker; set_default makes it the default", () => {
    const calls: string[] = [];
    class Remote extends CoreAllocator {
      protected override allocateRegion(size: number): Region {
        return opaqueRegion(size, new Uint8Array(size));
      }
      protected override mapRegion(region: Region): Uint8Array {
        calls.push("map");
        return region.handle as Uint8Array;
      }
      protected override unmapRegion(): void {
        calls.push("unmap");
      }
      protected override freeRegion(): void {
        calls.push("free");
      }
    }
    const remote = Allocator.of(new Remote("remote", { memoryType: "Remote" }));
    class HandsOn extends Allocator {
      override vfunc_alloc(size: number): Memory | null {
        return remote.alloc(size, null);
      }
      override vfunc_free(): void {
        calls.push("vfunc_free");
      }
    }
    const before = Allocator.find(null)!;
    const own = new HandsOn("Remote");
    own.set_default();
    expect(Allocator.find(null)).toBe(own);
    before.set_default();
    const memory = own.alloc(4, null)!;
    const [ok, info] = memory.map(MapFlags.WRITE);
    expect([ok, info.data?.length]).toEqual([true, 4]);
    memory.unmap(info);
    memory.unref();
    expect(calls).toEqual(["map", "unmap", "vfunc_free", "free"]);
  });
});

describe("buffer", () => {
  const three = (): Buffer => {
    const buffer = Buffer.new();
    for (const bytes of [[1, 2], [3], [4, 5, 6]]) buffer.append_memory(wrap(bytes));
    return buffer;
  };

  it("sets and clears the flags that are named, and leaves the others", () => {
    const buffer = Buffer.new();
    expect(buffer.set_flags(BufferFlags.DISCONT | BufferFlags.GAP)).toBe(true);
    expect(buffer.unset_flags(BufferFlags.DISCONT)).toBe(true);
    expect([buffer.has_flags(BufferFlags.DISCONT), buffer.has_flags(BufferFlags.GAP)]).toEqual([false, true]);
    expect(code(() => buffer.unset_flags(-1))).toBe("ERR_OUT_OF_RANGE");
    buffer.ref();
    expect(code(() => buffer.unset_flags(BufferFlags.GAP))).toBe("ERR_NOT_WRITABLE");
    expect(buffer.has_flags(BufferFlags.GAP)).toBe(true);
  });

  it("starts empty, without times; size 0 allocates no memory", () => {
    const buffer = Buffer.new();
    expect([buffer.pts, buffer.dts, buffer.duration, buffer.offset, buffer.offset_end]).toEqual(
      Array(5).fill(CLOCK_TIME_NONE),
    );
    expect([buffer.n_memory(), Buffer.new_allocate(null, 0, null)?.n_memory(), Buffer.get_max_memory()]).toEqual([
      0, 0, 16,
    ]);
    expect(Buffer.new_wrapped(new Uint8Array([1, 2])).get_size()).toBe(2);
  });

  it("a map of a buffer without memory is true with null data; length 0 is an error", () => {
    const [ok, info] = Buffer.new().map(MapFlags.READ);
    expect([ok, info.data, info.size]).toEqual([true, null, 0]);
    expect(code(() => three().map_range(0, 0, MapFlags.READ))).toBe("ERR_OUT_OF_RANGE");
    Buffer.new().unmap(info);
  });

  it("17 one-byte memories become few, in order, wherever the last is put (Q2)", () => {
    for (const at of [0, 1, 8, 16]) {
      const buffer = Buffer.new();
      for (let i = 0; i < 16; i++) buffer.append_memory(wrap([i]));
      buffer.insert_memory(at, wrap([99]));
      const wanted = Array.from({ length: 16 }, (_, i) => i);
      wanted.splice(at, 0, 99);
      expect(bytesOf(buffer)).toEqual(wanted);
      expect(buffer.n_memory()).toBeLessThanOrEqual(3);
    }
  });

  it("list operations, get_memory_range and find_memory", () => {
    const buffer = three();
    buffer.insert_memory(-1, wrap([7]));
    buffer.prepend_memory(wrap([0]));
    buffer.replace_memory_range(1, 2, wrap([8, 8]));
    expect(bytesOf(buffer)).toEqual([0, 8, 8, 4, 5, 6, 7]);
    expect(buffer.get_memory_range(0, 2)?.get_sizes()[0]).toBe(3);
    expect([
      buffer.find_memory(2, 3),
      buffer.find_memory(6, -1),
      buffer.find_memory(7, 0),
      buffer.find_memory(0, 8),
    ]).toEqual([
      [true, 1, 2, 1],
      [true, 3, 1, 0],
      [false, 0, 0, 0],
      [false, 0, 0, 0],
    ]);
    buffer.remove_memory_range(1, -1);
    expect([bytesOf(buffer), Buffer.new().get_memory_range(0, -1)]).toEqual([[0], null]);
    expect(code(() => buffer.replace_memory_range(0, 0, wrap([1])))).toBe("ERR_OUT_OF_RANGE");
  });

  it("a copy shares: both are writable as objects, neither may write bytes without copying", () => {
    const buffer = three();
    const copy = buffer.copy();
    expect([
      buffer.is_writable(),
      copy.is_writable(),
      buffer.is_all_memory_writable(),
      copy.is_memory_range_writable(0, 1),
    ]).toEqual([true, true, false, false]);
    copy.memset(0, 9, 1);
    expect([
      bytesOf(copy)[0],
      bytesOf(buffer)[0],
      copy.is_memory_range_writable(0, 1),
      copy.has_flags(BufferFlags.TAG_MEMORY),
    ]).toEqual([9, 1, true, true]);
  });

  it("a merge joins neighbors of one parent without a copy", () => {
    const parent = wrap([1, 2, 3, 4]);
    const buffer = Buffer.new();
    buffer.append_memory(parent.share(0, 2)!);
    buffer.append_memory(parent.share(2, 2)!);
    const joined = buffer.get_memory_range(0, -1)!;
    expect([joined.parent, joined.get_sizes()]).toEqual([parent, [4, 0, 4]]);
  });

  it("unmap() takes a live map of this very buffer alone, once, or of its memory", () => {
    const [a, b] = [three(), three()];
    const [, info] = b.map(MapFlags.READ);
    expect(code(() => a.unmap(info))).toBe("ERR_INVALID_ARG_VALUE");
    expect(info.data).not.toBe(null);
    // The field that shows the memory is not what decides.
    const [, own] = a.map(MapFlags.READ);
    own.memory = info.memory;
    expect(code(() => info.memory!.unmap(own))).toBe("ERR_INVALID_ARG_VALUE");
    a.unmap(own);
    b.unmap(info);
    expect(code(() => b.unmap(info))).toBe("ERR_INVALID_ARG_VALUE");
    const [, again] = b.map(MapFlags.READ);
    again.memory!.unmap(again);
    expect(code(() => b.unmap(again))).toBe("ERR_INVALID_ARG_VALUE");
  });

  it("make_mapped() that throws has changed nothing: the memory is the caller's, and no copy is left", () => {
    let live = 0;
    class Counted extends CoreAllocator {
      constructor() {
        super("counted");
      }
      protected override allocateRegion(size: number): Region {
        live++;
        return new Region(new Uint8Array(size));
      }
      protected override freeRegion(): void {
        live--;
      }
    }
    const memory = Memory.of(new Counted().allocate(16));
    const [, info] = memory.map(MapFlags.WRITE);
    expect(code(() => memory.make_mapped(MapFlags.READ))).toBe("ERR_MAPPED");
    expect([live, memory.refcount]).toEqual([1, 1]);
    memory.unmap(info);
    memory.unref();
    expect(live).toBe(0);
  });

  it("map merges in place, also for reading; a second, conflicting map is [false] and loses nothing (Q14)", () => {
    const buffer = three();
    const [, info] = buffer.map(MapFlags.WRITE);
    expect([buffer.n_memory(), buffer.map(MapFlags.READ)[0]]).toEqual([1, false]);
    info.data![0] = 42;
    buffer.unmap(info);
    expect(code(() => buffer.unmap(info))).toBe("ERR_INVALID_ARG_VALUE");
    expect(bytesOf(buffer)).toEqual([42, 2, 3, 4, 5, 6]);
    buffer.ref();
    expect(code(() => buffer.map(MapFlags.WRITE))).toBe("ERR_NOT_WRITABLE");
    expect(buffer.map(MapFlags.READ)[0]).toBe(true);
  });

  it("sizes and resizes over several memories, and back (Q3)", () => {
    const buffer = three();
    expect(buffer.get_sizes()).toEqual([6, 0, 6]);
    buffer.resize(3, 2);
    expect([bytesOf(buffer), buffer.get_sizes()]).toEqual([
      [4, 5],
      [2, 3, 6],
    ]);
    buffer.resize(-3, 6);
    expect(bytesOf(buffer)).toEqual([1, 2, 3, 4, 5, 6]);
    buffer.set_size(4);
    buffer.resize(1, -1);
    expect(bytesOf(buffer)).toEqual([2, 3, 4]);
    expect(code(() => buffer.resize(-2, 1))).toBe("ERR_OUT_OF_RANGE");
  });

  it("byte helpers: short counts at the end, memcmp's signs, extraction past the end (Q5)", () => {
    const buffer = three();
    expect([
      buffer.fill(5, new Uint8Array([9, 9])),
      buffer.memset(10, 0, 5),
      buffer.fill(99, new Uint8Array(0)),
    ]).toEqual([1, 0, 0]);
    expect([
      buffer.memcmp(0, new Uint8Array([1, 2])),
      buffer.memcmp(0, new Uint8Array([2])),
      buffer.memcmp(0, new Uint8Array([0])),
      buffer.memcmp(5, new Uint8Array(2)),
    ]).toEqual([0, 1, -1, -1]);
    expect([buffer.extract(100, 5).length, buffer.extract(4, 100).length]).toEqual([0, 2]);
  });

  it("copy_region and copy_into: which times survive, rollback, merge, itself", () => {
    const buffer = three();
    buffer.pts = 1n;
    buffer.duration = 2n;
    buffer.offset_end = 3n;
    const all = BufferCopyFlags.FLAGS | BufferCopyFlags.TIMESTAMPS | BufferCopyFlags.MEMORY;
    const head = buffer.copy_region(all, 0, 3);
    expect([bytesOf(head), head.pts, head.duration, head.offset_end]).toEqual([
      [1, 2, 3],
      1n,
      CLOCK_TIME_NONE,
      CLOCK_TIME_NONE,
    ]);
    expect(buffer.copy_region(all, 1, -1).pts).toBe(CLOCK_TIME_NONE);
    expect([buffer.copy().duration, buffer.copy_into(buffer, all, 0, -1)]).toEqual([2n, true]);
    const target = Buffer.new_wrapped(new Uint8Array([0]));
    expect([target.copy_into(buffer, all | BufferCopyFlags.MERGE, 4, 2), target.n_memory(), bytesOf(target)]).toEqual([
      true,
      1,
      [0, 5, 6],
    ]);
    expect([
      code(() => target.copy_into(buffer, all, 7, -1)),
      code(() => target.copy_into(buffer, all, 0, 7)),
      bytesOf(target),
    ]).toEqual(["ERR_OUT_OF_RANGE", "ERR_OUT_OF_RANGE", [0, 5, 6]]);
  });

  it("append consumes both and keeps the first one's times", () => {
    const [a, b] = [three(), Buffer.new_wrapped(new Uint8Array([9]))];
    a.pts = 5n;
    b.pts = 6n;
    const result = a.append(b);
    expect([bytesOf(result), result.pts, b.refcount]).toEqual([[1, 2, 3, 4, 5, 6, 9], 5n, 0]);
  });

  it("make_writable copies a shared buffer and drops the caller's reference", () => {
    const buffer = three();
    buffer.ref();
    const own = buffer.make_writable();
    expect([own === buffer, buffer.refcount, own.is_writable(), buffer.peek_memory(0).is_writable()]).toEqual([
      false,
      1,
      true,
      false,
    ]);
  });
});

describe("meta", () => {
  it("registers an API and an implementation once, finds it, refuses a taken name", () => {
    expect([Meta.api_type_register("FaceAPI", ["video"]), Meta.api_type_register("FaceAPI", [])]).toEqual([
      "FaceAPI",
      null,
    ]);
    const info = Meta.register("FaceAPI", "Face", { init: () => true })!;
    expect([
      info.tags,
      Meta.register("FaceAPI", "Face", { init: () => true }),
      Meta.get_info("Face"),
      Meta.get_info("None"),
    ]).toEqual([["video"], null, info, null]);
  });

  it("add, get, iterate, foreach, remove; init may refuse; a locked one stays; copies go through transform", () => {
    Meta.api_type_register("CountAPI", []);
    const freed: number[] = [];
    const info: MetaInfo = Meta.register("CountAPI", "Count", {
      init(meta, params) {
        meta.count = params;
        return params !== -1;
      },
      free: (meta) => void freed.push(meta.count as number),
      transform: (dest, meta, _src, type, data) =>
        type === "copy" && !data.region && dest.add_meta(info, meta.count) !== null,
    })!;
    const buffer = Buffer.new_wrapped(new Uint8Array(4));
    expect(buffer.add_meta(info, -1)).toBeNull();
    const [one, two, three] = [1, 2, 3].map((n) => buffer.add_meta(info, n)!);
    expect([
      one!.api,
      one!.impl,
      one!.seqnum < two!.seqnum,
      buffer.get_meta("CountAPI"),
      buffer.get_meta("None"),
    ]).toEqual(["CountAPI", "Count", true, one, null]);
    expect([...buffer.copy().iterate_meta()].map((meta) => meta.count)).toEqual([1, 2, 3]);
    expect([...buffer.copy_region(15, 0, 2).iterate_meta()]).toEqual([]);
    expect(buffer.foreach_meta((meta) => (meta === two ? "remove" : "keep"))).toBe(true);
    expect([buffer.foreach_meta(() => "stop"), buffer.remove_meta(two!), freed]).toEqual([false, false, [2]]);
    three!.flags |= MetaFlags.LOCKED;
    expect(code(() => buffer.remove_meta(three!))).toBe("ERR_META_LOCKED");
    buffer.unref();
    expect(freed).toEqual([2, 1, 3]);
  });

  it("finds the first reference timestamp whose reference contains the one asked for", () => {
    const buffer = Buffer.new();
    expect(buffer.get_reference_timestamp_meta()).toBeNull();
    const ntp = buffer.add_reference_timestamp_meta({ clock: "ntp", host: "a" }, 5n, CLOCK_TIME_NONE);
    const ptp = buffer.add_reference_timestamp_meta({ clock: "ptp" }, 7n, 1n);
    expect([
      buffer.get_reference_timestamp_meta(),
      buffer.get_reference_timestamp_meta({ clock: "ntp" }),
      buffer.get_reference_timestamp_meta({ clock: "ptp" }),
      buffer.get_reference_timestamp_meta({ clock: "gps" }),
    ]).toEqual([ntp, ntp, ptp, null]);
  });

  it("a transform is told which bytes were copied, in the original's words", () => {
    Meta.api_type_register("WhereAPI", []);
    const told: unknown[] = [];
    const where = Meta.register("WhereAPI", "Where", {
      init: () => true,
      transform: (_dest, _meta, _src, type, data) => told.push([type, data]) > 0,
    })!;
    const buffer = Buffer.new_wrapped(new Uint8Array(4));
    buffer.add_meta(where, null);
    buffer.copy();
    buffer.copy_region(15, 1, 2);
    expect(told).toEqual([
      ["copy", { region: false, offset: 0, size: 4 }],
      ["copy", { region: true, offset: 1, size: 2 }],
    ]);
  });

  it("goes into bytes and comes back by its hooks; one that answers null is left out", () => {
    Meta.api_type_register("GainAPI", []);
    const gain: MetaInfo = Meta.register("GainAPI", "Gain", {
      init: (meta, db) => {
        meta.db = db;
        return true;
      },
      serialize: (meta) => (meta.db === 0 ? null : new Uint8Array([meta.db as number])),
      deserialize: ([db], buffer, version) => (version === 0 && db !== 9 ? buffer.add_meta(gain, db) : null),
    })!;
    const buffer = Buffer.new();
    for (const db of [3, 0, 9]) buffer.add_meta(gain, db);
    const other = Buffer.new();
    deserializeMetas(other.core, serializeMetas(buffer.core));
    expect([...other.iterate_meta()].map((meta) => meta.db)).toEqual([3]);
  });
});
