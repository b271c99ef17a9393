/**
 * GStreamer's front door under programs that lie to it: wrong structs, vfuncs that call back, handles that are kept.
 */
import { describe, expect, it } from "vitest";
import {
  type AllocationParams,
  Allocator,
  BUFFER_POOL_OPTION_VIDEO_ALIGNMENT,
  BUFFER_POOL_OPTION_VIDEO_META,
  Buffer,
  BufferCopyFlags,
  BufferPool,
  buffer_pool_config_set_video_alignment,
  FlowReturn,
  lastError,
  MapFlags,
  Memory,
  Meta,
  type MetaInstance,
  type PoolConfig,
  Query,
  VideoAlignment,
  VideoBufferPool,
} from "../../src/compat/gstreamer.ts";
import { MillpondError } from "../../src/util/errors.ts";
import { lateErrors } from "../helpers/late-errors.ts";
import { code } from "../pools/buffer/pools.ts";

function refusal(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return error instanceof MillpondError ? `${error.code}: ${error.message}` : `raw: ${error}`;
  }
  return "accepted";
}

describe("what stands for a struct", () => {
  it("a misspelled field is refused, with a suggestion", () => {
    const misspelled = { allign: 63 } as unknown as AllocationParams;
    expect(refusal(() => Allocator.find(null)!.alloc(8, misspelled))).toMatch(/ERR_INVALID_ARG_VALUE.*"align"/);
    const hooks = { init: () => true, transfrom: () => true };
    expect(refusal(() => Meta.register("HostileAPI", "Hostile", hooks))).toMatch(/ERR_INVALID_ARG_VALUE.*"transform"/);
    expect(Meta.get_info("Hostile")).toBeNull();
  });

  it("undefined is not the null that an argument may be", () => {
    const none = undefined as unknown as null;
    const query = Query.new_allocation(null, true);
    for (const call of [
      () => Allocator.find(null)!.alloc(8, none),
      () => Buffer.new_allocate(none, 8, null),
      () => query.add_allocation_pool(none, 8, 0, 0),
      () => query.add_allocation_meta("HostileAPI", none),
    ]) {
      expect(refusal(call)).toMatch(/^ERR_INVALID_ARG_TYPE/);
    }
    expect([query.get_n_allocation_pools(), query.get_n_allocation_metas()]).toEqual([0, 0]);
  });

  it("a list with 2^32 - 1 holes is refused at once", () => {
    const holes = Object.assign([] as string[], { length: 2 ** 32 - 1 });
    // Who walked over the holes would be in the middle of them when the test is ended.
    expect(refusal(() => Meta.api_type_register("HolesAPI", holes))).toMatch(/^ERR_OUT_OF_RANGE/);
    const config = { ...BufferPool.new().get_config(), options: holes };
    expect(refusal(() => BufferPool.config_add_option(config, "x"))).toMatch(/^ERR_OUT_OF_RANGE/);
  });

  it("a configuration that cannot be written is refused whole, and each of its fields is read once", () => {
    const pool = BufferPool.new();
    const half = Object.defineProperty(pool.get_config(), "max", { get: () => 3, enumerable: true });
    expect(refusal(() => BufferPool.config_set_params(half, "x", 8, 1, 2))).toMatch(
      /^ERR_INVALID_ARG_VALUE.*config\.max/,
    );
    expect([half.caps, half.size]).toEqual([null, undefined]);
    const frozen = Object.freeze(pool.get_config());
    expect(refusal(() => BufferPool.config_add_option(frozen, "x"))).toMatch(/^ERR_INVALID_ARG_VALUE/);
    expect(refusal(() => buffer_pool_config_set_video_alignment(frozen, new VideoAlignment()))).toMatch(
      /^ERR_INVALID_ARG_VALUE/,
    );
    const reads: string[] = [];
    const config = pool.get_config();
    BufferPool.config_set_params(config, "x", 8, 1, 2);
    const watched = new Proxy(config, {
      get(target, key, receiver) {
        reads.push(String(key));
        return Reflect.get(target, key, receiver);
      },
    });
    expect(pool.set_config(watched)).toBe(true);
    expect(reads.toSorted()).toEqual(["allocator", "caps", "max", "min", "options", "params", "size"]);
  });

  it("params of a meta that are none are refused in words, not by the engine", () => {
    const buffer = Buffer.new_allocate(null, 8, null)!;
    for (const impl of ["GstReferenceTimestampMeta", "GstVideoMeta", "GstAudioMeta", "GstVideoRegionOfInterestMeta"]) {
      for (const params of [undefined, null, 8]) {
        expect(refusal(() => buffer.add_meta(Meta.get_info(impl)!, params))).toMatch(/^ERR_INVALID_ARG_TYPE/);
      }
    }
    expect([...buffer.iterate_meta()]).toEqual([]);
  });
});

function configured(pool: BufferPool, allocator: Allocator | null = null, max = 1): boolean {
  const config = pool.get_config();
  BufferPool.config_set_params(config, null, 16, 0, max);
  if (allocator !== null) BufferPool.config_set_allocator(config, allocator, null);
  return pool.set_config(config);
}

function active<P extends BufferPool>(pool: P, allocator: Allocator | null = null, max = 1): P {
  expect([configured(pool, allocator, max), pool.set_active(true)]).toEqual([true, true]);
  return pool;
}

async function acquired(pool: BufferPool): Promise<Buffer> {
  const [flow, buffer] = await pool.acquire_buffer({ flags: 2 });
  expect(flow).toBe(FlowReturn.OK);
  return buffer!;
}

function causeOf(error: unknown): unknown {
  return error instanceof Error ? error.cause : undefined;
}

/** An allocator that counts what it gets back. */
class Counting extends Allocator {
  freed = 0;
  override vfunc_alloc(size: number, params: AllocationParams): Memory | null {
    return super.vfunc_alloc(size, params);
  }
  override vfunc_free(): void {
    this.freed++;
  }
}

describe("an allocator subclass", () => {
  it("that returns a memory twice without a reference for the second caller is refused; with one it is not", () => {
    class Twice extends Counting {
      kept: Memory | null = null;
      refs = false;
      override vfunc_alloc(size: number, params: AllocationParams): Memory | null {
        if (this.kept !== null) return this.refs ? this.kept.ref() : this.kept;
        this.kept = super.vfunc_alloc(size, params);
        return this.kept;
      }
    }
    const allocator = new Twice();
    const memory = allocator.alloc(16, null)!;
    expect([allocator.alloc(16, null), memory.refcount]).toEqual([null, 1]);
    expect(causeOf(causeOf(lastError()))).toMatchObject({ code: "ERR_FOREIGN_RELEASE" });
    allocator.refs = true;
    expect([allocator.alloc(16, null), memory.refcount]).toEqual([memory, 2]);
    memory.unref();
    memory.unref();
    expect([allocator.freed, memory.refcount]).toEqual([1, 0]);
  });

  it("may call its own alloc() for what it returns", () => {
    class Nested extends Counting {
      deep = 0;
      override vfunc_alloc(size: number, params: AllocationParams): Memory | null {
        return this.deep++ < 3 ? this.alloc(size, params) : super.vfunc_alloc(size, params);
      }
    }
    const allocator = new Nested();
    const memory = allocator.alloc(16, null)!;
    expect([memory.refcount, memory.allocator]).toEqual([1, allocator]);
    memory.unref();
    expect(allocator.freed).toBe(1);
  });

  it("that returns the memory of somebody's buffer is refused, or gives a reference of it and does not take it over", async () => {
    const pool = active(BufferPool.new());
    const buffer = await acquired(pool);
    const memory = buffer.peek_memory(0);
    const owner = memory.allocator;
    class Foreign extends Counting {
      refs = false;
      override vfunc_alloc(): Memory | null {
        return this.refs ? memory.ref() : memory;
      }
    }
    const allocator = new Foreign();
    expect([allocator.alloc(16, null), memory.refcount]).toEqual([null, 1]);
    allocator.refs = true;
    expect([allocator.alloc(16, null), memory.allocator]).toEqual([memory, owner]);
    buffer.unref();
    expect([pool.core.outstanding, pool.core.stats().awaitingMemory]).toEqual([1, 1]);
    memory.unref();
    expect([pool.core.outstanding, allocator.freed, await acquired(pool)]).toEqual([0, 0, buffer]);
  });

  it("wraps the same bytes again and again: each memory is freed and told of on its own", () => {
    const bytes = new Uint8Array(16);
    let notified = 0;
    class Wrapping extends Counting {
      override vfunc_alloc(size: number): Memory | null {
        return Memory.new_wrapped(0, bytes, size, 0, size, () => notified++);
      }
    }
    const allocator = new Wrapping();
    const [first, second] = [allocator.alloc(16, null)!, allocator.alloc(16, null)!];
    first.unref();
    expect([allocator.freed, notified, second.map(MapFlags.READ)[0]]).toEqual([1, 1, true]);
  });

  /** A buffer of a pool that draws from a subclass, its copy, and what the subclass gave and got back. */
  async function leased(): Promise<{ pool: BufferPool; b: Buffer; made: Memory[]; freed: Memory[] }> {
    const made: Memory[] = [];
    const freed: Memory[] = [];
    class Driver extends Allocator {
      override vfunc_alloc(size: number, params: AllocationParams): Memory | null {
        const memory = super.vfunc_alloc(size, params);
        if (memory !== null) made.push(memory);
        return memory;
      }
      override vfunc_free(memory: Memory): void {
        freed.push(memory);
        expect(memory.get_sizes()).toEqual([32, 0, 32]);
      }
    }
    const pool = new BufferPool();
    const config = pool.get_config();
    BufferPool.config_set_params(config, null, 32, 0, 2);
    BufferPool.config_set_allocator(config, new Driver(), null);
    pool.set_config(config);
    pool.set_active(true);
    return { pool, b: (await pool.acquire_buffer())[1]!, made, freed };
  }

  const writes: readonly (readonly [string, (buffer: Buffer) => void])[] = [
    ["fill()", (buffer) => void buffer.fill(0, new Uint8Array(32).fill(2))],
    [
      "map(WRITE)",
      (buffer) => {
        const [, info] = buffer.map(MapFlags.WRITE);
        info.data!.fill(2);
        buffer.unmap(info);
      },
    ],
  ];
  it.each(
    writes.flatMap(([name, write]) => [["b", "c"], ["c", "b"], ["part"], []].map((look) => ({ name, write, look }))),
  )(
    "what vfunc_alloc returned stands for its bytes until vfunc_free got it: $name makes b copy on write, then a look at $look",
    async ({ write, look }) => {
      const { pool, b, made, freed } = await leased();
      b.fill(0, new Uint8Array(32).fill(1));
      const c = b.copy();
      write(b);
      const [old, fresh] = made as [Memory, Memory];
      for (const at of look) {
        if (at === "b") expect(b.peek_memory(0)).toBe(fresh);
        else if (at === "c") expect(c.peek_memory(0)).toBe(old);
        else {
          const part = c.copy_region(BufferCopyFlags.MEMORY, 1, 2);
          expect(part.peek_memory(0).parent).toBe(old);
          part.unref();
        }
        const [ok, info] = (at === "b" ? fresh : old).map(MapFlags.READ);
        expect([ok, info.data![0]]).toEqual([true, at === "b" ? 2 : 1]);
        (at === "b" ? fresh : old).unmap(info);
      }
      c.unref();
      b.unref();
      pool.set_active(false);
      expect(freed).toEqual([old, fresh]);
      expect([freed[0] === old, freed[1] === fresh]).toEqual([true, true]);
    },
  );

  it("that passes another subclass's memory on: both get the one Memory back, also from a copy that has the old bytes", async () => {
    const freed: [string, Memory][] = [];
    class Inner extends Allocator {
      override vfunc_alloc(size: number, params: AllocationParams): Memory | null {
        return super.vfunc_alloc(size, params);
      }
      override vfunc_free(memory: Memory): void {
        freed.push(["inner", memory]);
      }
    }
    const inner = new Inner();
    const made: Memory[] = [];
    class Outer extends Allocator {
      override vfunc_alloc(size: number): Memory | null {
        const memory = inner.alloc(size, null)!;
        made.push(memory);
        return memory;
      }
      override vfunc_free(memory: Memory): void {
        freed.push(["outer", memory]);
      }
    }
    const pool = new BufferPool();
    const config = pool.get_config();
    BufferPool.config_set_params(config, null, 8, 0, 1);
    BufferPool.config_set_allocator(config, new Outer(), null);
    pool.set_config(config);
    pool.set_active(true);
    const b = (await pool.acquire_buffer())[1]!;
    const c = b.copy();
    b.fill(0, Uint8Array.of(1));
    expect(c.peek_memory(0)).toBe(made[0]);
    c.unref();
    expect(freed.map(([who, memory]) => [who, made.indexOf(memory)])).toEqual([
      ["outer", 0],
      ["inner", 0],
    ]);
    b.unref();
    pool.set_active(false);
    expect(freed.map(([who, memory]) => [who, made.indexOf(memory)]).slice(2)).toEqual([
      ["outer", 1],
      ["inner", 1],
    ]);
  });
});

describe("append() of a pool's buffer that goes back at once, into a vfunc_reset_buffer() that throws", () => {
  class Grumpy extends BufferPool {
    override vfunc_reset_buffer(): void {
      throw new Error("hook");
    }
  }

  it.each(["removed", "replaced"])(
    "does not throw when its memory was %s before: both are consumed, the error comes later",
    async (way) => {
      const pool = new Grumpy();
      const config = pool.get_config();
      BufferPool.config_set_params(config, null, 5, 0, 1);
      pool.set_config(config);
      pool.set_active(true);
      for (const shared of [false, true]) {
        const b = (await pool.acquire_buffer())[1]!;
        const a = Buffer.new_wrapped(Uint8Array.of(1, 2));
        if (shared) a.ref();
        b.remove_memory_range(0, -1);
        if (way === "replaced") b.append_memory(Memory.new_wrapped(0, Uint8Array.of(3), 1, 0, 1));
        let all: Buffer | undefined;
        const late = await lateErrors(() => {
          all = a.append(b);
        });
        expect(late).toEqual(["hook"]);
        expect([...all!.extract(0, -1)]).toEqual(way === "replaced" ? [1, 2, 3] : [1, 2]);
        expect([all === a, a.refcount, pool.core.outstanding]).toEqual([!shared, 1, 0]);
        all!.unref();
        if (shared) a.unref();
      }
    },
  );
});

describe("a pool subclass", () => {
  it("that answers with a promise where C has a boolean is refused, and the pool stays as it was", () => {
    const promised = Promise.resolve(true) as unknown as boolean;
    class Start extends BufferPool {
      override vfunc_start(): boolean {
        return promised;
      }
    }
    const start = new Start();
    expect([configured(start), start.set_active(true), start.is_active()]).toEqual([true, false, false]);
    class Stop extends BufferPool {
      override vfunc_stop(): boolean {
        return promised;
      }
    }
    const stop = active(new Stop());
    expect([stop.set_active(false), stop.is_active()]).toEqual([false, true]);
    expect(lastError()).toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
    class Configure extends BufferPool {
      override vfunc_set_config(): boolean {
        return promised;
      }
    }
    const configure = new Configure();
    expect([configured(configure), configure.get_config().size]).toEqual([false, undefined]);
  });

  it.each([
    ["a size that is none", { size: "x" }, /config\.size must be a number/],
    ["options that are none", { options: undefined }, /config\.options must be a list/],
    ["min above max", { min: 5, max: 2 }, /config\.min must be at most config\.max, 2/],
  ])("whose vfunc_set_config leaves %s is answered false, and the pool keeps what it had", (_, junk, why) => {
    class Junk extends BufferPool {
      junk = {};
      override vfunc_set_config(config: PoolConfig): boolean {
        Object.assign(config, this.junk);
        return true;
      }
    }
    const pool = new Junk();
    expect(configured(pool)).toBe(true);
    pool.junk = junk;
    const config = pool.get_config();
    config.size = 32;
    expect([pool.set_config(config), pool.get_config().size, String(lastError())]).toEqual([
      false,
      16,
      expect.stringMatching(why),
    ]);
  });

  it("that replaces the memory in vfunc_reset_buffer loses the buffer at that very return, as in C: release looks after reset", async () => {
    const log: string[] = [];
    class Replacing extends BufferPool {
      replaces = true;
      override vfunc_reset_buffer(buffer: Buffer): void {
        log.push("reset");
        if (this.replaces) buffer.replace_memory_range(0, -1, Allocator.find(null)!.alloc(16, null)!);
        super.vfunc_reset_buffer(buffer);
      }
      override vfunc_release_buffer(): unknown {
        log.push("release");
        return true;
      }
      override vfunc_free_buffer(): void {
        log.push("free");
      }
    }
    const pool = active(new Replacing());
    const buffer = await acquired(pool);
    buffer.unref();
    expect([log, pool.core.stats().discards, pool.core.stats().count]).toEqual([
      ["reset", "free"],
      { "memory-changed": 1 },
      0,
    ]);
    pool.replaces = false;
    const next = await acquired(pool);
    expect([next === buffer, next.get_size(), next.has_flags(16384)]).toEqual([false, 16, false]);
    next.unref();
    expect([await acquired(pool), log]).toEqual([next, ["reset", "free", "reset", "release"]]);
  });
});

describe("handles that are kept", () => {
  it.each([
    ["the system's memory", (): Allocator | null => null],
    ["a subclass's memory", (): Allocator | null => new Counting()],
  ])("one Buffer and one Memory stand for a slot through 1,000 leases of %s", async (_, from) => {
    const pool = active(BufferPool.new(), from());
    const notes = new WeakMap<object, number>();
    for (let lease = 0; lease < 1000; lease++) {
      const buffer = await acquired(pool);
      const memory = buffer.peek_memory(0);
      expect([notes.get(buffer) ?? 0, notes.get(memory) ?? 0]).toEqual([lease, lease]);
      notes.set(buffer, lease + 1).set(memory, lease + 1);
      if (lease % 3 === 0) memory.unmap(memory.map(MapFlags.READ | MapFlags.WRITE)[1]);
      if (lease % 5 === 0) buffer.copy().unref();
      if (lease % 7 === 0) buffer.get_memory(0).unref();
      if (lease % 11 === 0) memory.share(0, 4)!.unref();
      buffer.unref();
    }
    expect(pool.core.stats().discards).toEqual({});
  });

  it("a REF_MEMORY map outlives its buffer's lease and the closing of the pool, which ends with it", async () => {
    const allocator = new Counting();
    const pool = active(BufferPool.new(), allocator);
    const buffer = await acquired(pool);
    const [, info] = buffer.map(MapFlags.WRITE | MapFlags.REF_MEMORY);
    buffer.unref();
    info.data![0] = 7;
    expect([pool.set_active(false), pool.core.outstanding, allocator.freed]).toEqual([true, 1, 0]);
    buffer.unmap(info);
    expect(code(() => buffer.unmap(info))).toBe("ERR_INVALID_ARG_VALUE");
    expect([pool.core.outstanding, pool.core.stats().count, allocator.freed, info.data]).toEqual([0, 0, 1, null]);
    expect([pool.set_active(true), (await acquired(pool)).get_size()]).toEqual([true, 16]);
  });

  it("foreach_meta does not visit a meta that an earlier visit removed", () => {
    const info = Meta.register("HostileVisitAPI", "HostileVisit", { init: () => true })!;
    const buffer = Buffer.new();
    const metas = [0, 1, 2].map(() => buffer.add_meta(info)!);
    const visited: MetaInstance[] = [];
    buffer.foreach_meta((meta) => {
      visited.push(meta);
      if (meta === metas[0]) buffer.remove_meta(metas[1]!);
      return "keep";
    });
    expect(visited).toEqual([metas[0], metas[2]]);
  });
});

/** Subsampling of the chroma planes and bytes of a sample, by format, as GstVideoFormatInfo has them. */
const PLANES: Readonly<Record<string, readonly (readonly [bytes: number, across: number, down: number])[]>> = {
  I420: [
    [1, 1, 1],
    [1, 2, 2],
    [1, 2, 2],
  ],
  Y42B: [
    [1, 1, 1],
    [1, 2, 1],
    [1, 2, 1],
  ],
  Y444: [
    [1, 1, 1],
    [1, 1, 1],
    [1, 1, 1],
  ],
  NV12: [
    [1, 1, 1],
    [2, 2, 2],
  ],
  RGBA: [[4, 1, 1]],
  A420: [
    [1, 1, 1],
    [1, 2, 2],
    [1, 2, 2],
    [1, 1, 1],
  ],
  I420_10LE: [
    [2, 1, 1],
    [2, 2, 2],
    [2, 2, 2],
  ],
};

describe("the video pool's layouts, computed a second time", () => {
  it.each(Object.entries(PLANES))(
    "%s: odd sizes, paddings and strides keep every plane with its room apart and aligned",
    async (format, planes) => {
      let seed = 12_345;
      const upTo = (n: number): number => {
        seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
        return (seed >>> 8) % n;
      };
      for (let round = 0; round < 25; round++) {
        const [width, height] = [1 + upTo(70), 1 + upTo(50)];
        const [top, bottom, left, right] = [upTo(9), upTo(9), upTo(9), upTo(9)];
        const mask = 2 ** upTo(7) - 1;
        const align = Object.assign(new VideoAlignment(), {
          padding_top: top,
          padding_bottom: bottom,
          padding_left: left,
          padding_right: right,
          stride_align: [mask, 0, 0, 0],
        });
        const pool = VideoBufferPool.new();
        const config = pool.get_config();
        BufferPool.config_set_params(config, { name: "video/x-raw", format, width, height }, 2 ** 17, 0, 1);
        BufferPool.config_add_option(config, BUFFER_POOL_OPTION_VIDEO_META);
        BufferPool.config_add_option(config, BUFFER_POOL_OPTION_VIDEO_ALIGNMENT);
        buffer_pool_config_set_video_alignment(config, align);
        expect([pool.set_config(config), pool.set_active(true)]).toEqual([true, true]);
        const buffer = await acquired(pool);
        const meta = buffer.get_meta("GstVideoMetaAPI")!;
        const { stride, offset } = meta as unknown as { stride: number[]; offset: number[] };
        let end = 0;
        for (const [i, [bytes, across, down]] of planes.entries()) {
          const before = Math.ceil(left / across) * bytes;
          const row = before + (Math.ceil(width / across) + Math.ceil(right / across)) * bytes;
          const start = offset[i]! - Math.ceil(top / down) * stride[i]! - before;
          const rows = Math.ceil(top / down) + Math.ceil(height / down) + Math.ceil(bottom / down);
          const what = `plane ${i} of ${width}x${height}, ${align}`;
          expect([stride[i]! % (mask + 1), start % (mask + 1)], what).toEqual([0, 0]);
          expect([stride[i]! >= row, start >= end, start + rows * stride[i]! <= buffer.get_size()], what).toEqual([
            true,
            true,
            true,
          ]);
          end = start + rows * stride[i]!;
        }
        expect(buffer.peek_memory(0).core.align).toBeGreaterThanOrEqual(mask + 1);
      }
    },
  );

  it("caps that are no picture: the reason that the pool gave is the cause", () => {
    const pool = VideoBufferPool.new();
    const config = pool.get_config();
    BufferPool.config_set_params(config, { name: "video/x-raw", format: "I420", width: -1, height: 2 }, 24, 0, 1);
    expect(pool.set_config(config)).toBe(false);
    expect([lastError(), causeOf(lastError())]).toMatchObject([
      { code: "ERR_CONFIG_ADJUSTED" },
      { message: expect.stringContaining("width") },
    ]);
  });
});
