/** What ported GStreamer code relies on: subclasses that chain up, identity, errors in GStreamer's own words. */
import { describe, expect, it } from "vitest";
import {
  type AcquireParams,
  AllocationParams,
  Allocator,
  Buffer,
  BufferFlags,
  BufferPool,
  CLOCK_TIME_NONE,
  FlowReturn,
  LockFlags,
  lastError,
  MapFlags,
  MapInfo,
  Memory,
  MemoryFlags,
  Meta,
  MetaHandle,
  MetaInfo,
  type PoolConfig,
  Query,
} from "../../src/compat/gstreamer.ts";
import { VideoMeta } from "../../src/media/meta/layout-metas.ts";
import { VideoInfo } from "../../src/media/video/info.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { BufferPool as CorePool } from "../../src/pools/buffer/buffer-pool.ts";
import { isMillpondError } from "../../src/util/errors.ts";
import { REPEATED, times } from "../helpers/effort.ts";
import { Collector, Numbers } from "../pipeline/kit.ts";
import { code } from "../pools/buffer/pools.ts";

const params = (fields: Partial<AllocationParams>): AllocationParams => Object.assign(new AllocationParams(), fields);
const wrap = (bytes: number[], flags = 0): Memory =>
  Memory.new_wrapped(flags, new Uint8Array(bytes), bytes.length, 0, bytes.length);

function configured<P extends BufferPool>(pool: P, size = 10, min = 0, max = 0): P {
  const config = pool.get_config();
  BufferPool.config_set_params(config, { name: "test/data" }, size, min, max);
  expect(pool.set_config(config)).toBe(true);
  return pool;
}

function active<P extends BufferPool>(pool: P, ...args: [number?, number?, number?]): P {
  expect(configured(pool, ...args).set_active(true)).toBe(true);
  return pool;
}

const get = async (pool: BufferPool, acquire?: AcquireParams): Promise<Buffer> => {
  const [flow, buffer] = await pool.acquire_buffer(acquire);
  expect(flow).toBe(FlowReturn.OK);
  return buffer!;
};

const thrown = (fn: () => unknown): Error & { code?: string; status?: number } => {
  try {
    fn();
  } catch (error) {
    return error as Error;
  }
  throw new Error("nothing was thrown");
};

describe("an allocator's subclass", () => {
  it("vfunc_alloc gets the size without prefix and padding, and the mask as the caller gave it", () => {
    const asked: unknown[] = [];
    class Mine extends Allocator {
      override vfunc_alloc(size: number, given: AllocationParams): Memory | null {
        asked.push([size, { ...given }]);
        return super.vfunc_alloc(size, given);
      }
    }
    const memory = new Mine().alloc(100, params({ align: 63, prefix: 10, padding: 6 }))!;
    expect(asked).toEqual([[100, { flags: 0, align: 63, prefix: 10, padding: 6 }]]);
    expect(memory.get_sizes().slice(0, 2)).toEqual([100, 10]);
  });

  it("the memory that vfunc_alloc returns is what the caller gets: object, flags, region, valid part, READONLY", () => {
    const bytes = new Uint8Array(16).fill(7);
    let made: Memory | undefined;
    class Mine extends Allocator {
      override vfunc_alloc(size: number): Memory {
        made = Memory.new_wrapped(MemoryFlags.READONLY | MemoryFlags.PHYSICALLY_CONTIGUOUS, bytes, 16, 4, size);
        return made;
      }
    }
    const mine = new Mine();
    const memory = mine.alloc(8, null)!;
    expect(memory).toBe(made);
    expect([memory.flags, memory.get_sizes(), memory.allocator, memory.map(MapFlags.WRITE)[0]]).toEqual([
      MemoryFlags.READONLY | MemoryFlags.PHYSICALLY_CONTIGUOUS,
      [8, 4, 16],
      mine,
      false,
    ]);
    const [, info] = memory.map(MapFlags.READ);
    expect(info.data!.buffer).toBe(bytes.buffer);
    memory.unmap(info);
    const buffer = Buffer.new_allocate(mine, 8, null)!;
    expect(buffer.peek_memory(0)).toBe(made);
  });

  it("vfunc_free gets that very memory once, and its bytes go back to who made them", () => {
    const calls: unknown[] = [];
    class Mine extends Allocator {
      override vfunc_alloc(size: number): Memory {
        return Memory.new_wrapped(0, new Uint8Array(size), size, 0, size, () => calls.push("notify"));
      }
      override vfunc_free(memory: Memory): void {
        calls.push(memory);
        super.vfunc_free(memory);
      }
    }
    const mine = new Mine();
    const memory = mine.alloc(4, null)!;
    const part = memory.share(0, 2)!;
    memory.unref();
    expect(calls).toEqual([]);
    part.unref();
    expect(calls).toEqual([memory, "notify"]);
    expect([mine.core.stats().liveMemories, mine.core.stats().liveBytes, code(() => memory.ref())]).toEqual([
      0,
      0,
      "ERR_USE_AFTER_RELEASE",
    ]);
  });

  it("a failure is null and keeps its cause; a subclass without vfunc_alloc has no memory", () => {
    const cause = new TypeError("the card is gone");
    class Broken extends Allocator {
      override vfunc_alloc(): Memory | null {
        throw cause;
      }
    }
    expect(new Broken().alloc(4, null)).toBeNull();
    const error = lastError() as Error & { code: string; status: number };
    expect([error.code, error.status, (error.cause as Error).cause]).toEqual([
      "ERR_ALLOCATION_FAILED",
      FlowReturn.ERROR,
      cause,
    ]);
    expect(error.message).toContain("the card is gone");
    class Bare extends Allocator {}
    expect(new Bare().alloc(4, null)).toBeNull();
    expect(Buffer.new_allocate(new Broken(), 4, null)).toBeNull();
    expect((lastError() as Error).message).toContain("the card is gone");
    class Odd extends Allocator {
      override vfunc_alloc(): Memory {
        return { core: {} } as unknown as Memory;
      }
    }
    expect(new Odd().alloc(4, null)).toBeNull();
  });

  it("a mem_type that a subclass sets counts, as a field, in its constructor or as a getter", () => {
    class Field extends Allocator {
      override mem_type = "FieldMemory";
      override vfunc_alloc(size: number): Memory {
        return wrap(Array(size).fill(0));
      }
    }
    class Late extends Field {
      constructor() {
        super();
        this.mem_type = "LateMemory";
      }
    }
    for (const [make, name] of [
      [new Field(), "FieldMemory"],
      [new Late(), "LateMemory"],
    ] as const) {
      const memory = make.alloc(1, null)!;
      expect([memory.is_type(name), memory.is_type("SystemMemory"), make.core.memoryType]).toEqual([true, false, name]);
    }
    const getter = class extends Allocator {};
    Object.defineProperty(getter.prototype, "mem_type", { get: () => "GotMemory" });
    expect(new getter().mem_type).toBe("GotMemory");
  });

  it("a pool draws from it, and the memory stays the same object in every lease of the buffer", async () => {
    const tags = new WeakMap<Memory, number>();
    let made = 0;
    class Mine extends Allocator {
      override vfunc_alloc(size: number): Memory {
        const memory = wrap(Array(size).fill(9));
        tags.set(memory, ++made);
        return memory;
      }
    }
    const pool = BufferPool.new();
    const config = pool.get_config();
    BufferPool.config_set_params(config, null, 4, 0, 1);
    BufferPool.config_set_allocator(config, new Mine(), null);
    expect([pool.set_config(config), pool.set_active(true)]).toEqual([true, true]);
    for (let lease = 0; lease < 4; lease++) {
      const buffer = await get(pool);
      const memory = buffer.peek_memory(0);
      expect([tags.get(memory), [...buffer.extract(0, 4)]]).toEqual([1, [9, 9, 9, 9]]);
      buffer.unref();
    }
    expect(pool.core.stats().discards).toEqual({});
  });

  it.each([0, 1])(
    "what a pool of at least %i frees is the object that vfunc_alloc made, after any lease",
    async (min) => {
      const handles = new Map<Memory, string>();
      class Mine extends Allocator {
        override vfunc_alloc(size: number, params: AllocationParams): Memory | null {
          const memory = super.vfunc_alloc(size, params);
          if (memory !== null) handles.set(memory, "a handle of the device");
          return memory;
        }
        override vfunc_free(memory: Memory): void {
          freed.push(handles.get(memory));
          handles.delete(memory);
        }
      }
      const freed: unknown[] = [];
      const pool = BufferPool.new();
      const config = pool.get_config();
      BufferPool.config_set_params(config, null, 64, min, 2);
      BufferPool.config_set_allocator(config, new Mine(), null);
      expect([pool.set_config(config), pool.set_active(true)]).toEqual([true, true]);
      for (let lease = 0; lease < 2; lease++) {
        const buffer = await get(pool);
        expect(handles.has(buffer.peek_memory(0))).toBe(true);
        buffer.unref();
      }
      pool.set_active(false);
      expect([freed, handles.size]).toEqual([["a handle of the device"], 0]);
    },
  );
});

describe("a pool's subclass chains up", () => {
  it("super.vfunc_alloc_buffer makes a buffer as configured, with the params of the acquire that needs it", async () => {
    const seen: unknown[] = [];
    class Tagged extends BufferPool {
      override vfunc_alloc_buffer(given: AcquireParams): [FlowReturn, Buffer | null] {
        seen.push(given.stream ?? null);
        const [flow, buffer] = super.vfunc_alloc_buffer(given);
        expect([flow, buffer!.get_size()]).toEqual([FlowReturn.OK, 10]);
        return [flow, buffer];
      }
    }
    const pool = active(new Tagged(), 10, 1, 2);
    const first = await get(pool, { stream: "a" });
    const second = await get(pool, { stream: "b" });
    // The third waits; the second's memory is changed, so that it is discarded and a new one is made for who waits.
    const wait = pool.acquire_buffer({ stream: "c" });
    second.append_memory(wrap([1]));
    second.unref();
    expect((await wait)[0]).toBe(FlowReturn.OK);
    expect(seen).toEqual([null, "b", "c"]);
    first.unref();
  });

  it("the buffer that vfunc_alloc_buffer returns is the one that acquire gives, in every lease", async () => {
    const made = new WeakMap<Buffer, string>();
    class Own extends BufferPool {
      override vfunc_alloc_buffer(given: AcquireParams): [FlowReturn, Buffer | null] {
        const answer = super.vfunc_alloc_buffer(given);
        made.set(answer[1]!, "mine");
        return answer;
      }
      override vfunc_reset_buffer(buffer: Buffer): void {
        expect(made.get(buffer)).toBe("mine");
        super.vfunc_reset_buffer(buffer);
      }
      override vfunc_free_buffer(buffer: Buffer): void {
        expect(made.get(buffer)).toBe("mine");
        super.vfunc_free_buffer(buffer);
      }
    }
    const pool = active(new Own(), 10, 0, 1);
    for (let lease = 0; lease < 3; lease++) {
      const buffer = await get(pool);
      expect(made.get(buffer)).toBe("mine");
      expect(buffer.pool).toBe(pool);
      buffer.unref();
      expect(code(() => buffer.unref())).toBe("ERR_DOUBLE_RELEASE");
    }
    pool.set_active(false);
    expect.assertions(3 * 4 + 3 + 1 + 2);
  });

  it("super.vfunc_acquire_buffer and super.acquire_buffer are the pool's own acquire, also after an await", async () => {
    const calls: string[] = [];
    class Up extends BufferPool {
      override async vfunc_acquire_buffer(given: AcquireParams): Promise<[FlowReturn, Buffer | null]> {
        calls.push("vfunc");
        await Promise.resolve();
        return super.vfunc_acquire_buffer(given);
      }
    }
    class Method extends BufferPool {
      override acquire_buffer(given?: AcquireParams): Promise<[FlowReturn, Buffer | null]> {
        calls.push("method");
        return super.acquire_buffer(given);
      }
    }
    class Both extends BufferPool {
      override async vfunc_acquire_buffer(given: AcquireParams): Promise<[FlowReturn, Buffer | null]> {
        calls.push("both");
        await Promise.resolve();
        return super.acquire_buffer(given);
      }
    }
    for (const pool of [new Up(), new Method(), new Both()]) (await get(active(pool, 10, 0, 1))).unref();
    expect(calls).toEqual(["vfunc", "method", "both"]);
    const again = active(new Both(), 10, 0, 1);
    const shared = {};
    const [one, two] = [again.acquire_buffer(shared), again.acquire_buffer(shared)];
    (await one)[1]!.unref();
    (await two)[1]!.unref();
    expect(calls.filter((call) => call === "both")).toHaveLength(3);
  });

  it("super.vfunc_start preallocates, and a pool that drains is not started again", async () => {
    const calls: string[] = [];
    class Loud extends BufferPool {
      override vfunc_start(): boolean {
        calls.push("start");
        return super.vfunc_start();
      }
      override vfunc_stop(): boolean {
        calls.push("stop");
        return super.vfunc_stop();
      }
    }
    const pool = active(new Loud(), 10, 2, 2);
    expect(pool.core.stats().count).toBe(2);
    const buffer = await get(pool);
    pool.set_active(false);
    expect(pool.set_active(true)).toBe(true);
    buffer.unref();
    pool.set_active(false);
    expect(calls).toEqual(["start", "stop"]);
  });

  it("a vfunc_stop that answers false keeps the pool active and flushing; the next one may succeed", async () => {
    class Busy extends BufferPool {
      busy = true;
      starts = 0;
      override vfunc_start(): boolean {
        this.starts++;
        return super.vfunc_start();
      }
      override vfunc_stop(): boolean {
        return !this.busy && super.vfunc_stop();
      }
    }
    const pool = active(new Busy(), 10, 1, 1);
    expect([pool.set_active(false), pool.is_active()]).toEqual([false, true]);
    expect((lastError() as Error).message).toMatch(/vfunc_stop\(\)/);
    expect(await pool.acquire_buffer()).toEqual([FlowReturn.FLUSHING, null]);
    pool.set_flushing(false);
    (await get(pool)).unref();
    pool.busy = false;
    expect([pool.set_active(false), pool.is_active(), pool.starts]).toEqual([true, false, 1]);
    expect(pool.set_active(true)).toBe(true);
    expect(pool.starts).toBe(2);
  });

  it("a refused vfunc_start says why: its own cause, or that it refused", () => {
    class Refuses extends BufferPool {
      override vfunc_start(): boolean {
        return false;
      }
    }
    expect(configured(new Refuses()).set_active(true)).toBe(false);
    expect((lastError() as Error).message).toMatch(/vfunc_start\(\) of pool "gst-Refuses".*refused/);
    class Fails extends BufferPool {
      override vfunc_alloc_buffer(): [FlowReturn, Buffer | null] {
        throw new Error("no such device");
      }
    }
    const pool = configured(new Fails(), 10, 1, 1);
    expect(pool.set_active(true)).toBe(false);
    expect(pool.is_active()).toBe(false);
    expect(String(((lastError() as Error).cause as Error).message)).toMatch(/no such device/);
  });

  it("an alloc that fails keeps its cause beside the flow, also when it threw", async () => {
    class Fails extends BufferPool {
      override vfunc_alloc_buffer(): [FlowReturn, Buffer | null] {
        throw new Error("no such device");
      }
    }
    expect(await active(new Fails(), 10, 0, 1).acquire_buffer()).toEqual([FlowReturn.ERROR, null]);
    expect((lastError() as Error).message).toBe("no such device");
    class Taken extends BufferPool {
      override vfunc_alloc_buffer(): [FlowReturn, Buffer | null] {
        return [FlowReturn.OK, other];
      }
    }
    const other = await get(active(BufferPool.new(), 10, 0, 1));
    expect(await active(new Taken(), 10, 0, 1).acquire_buffer()).toEqual([FlowReturn.ERROR, null]);
    expect([other.refcount, isMillpondError(lastError(), "ERR_FOREIGN_RELEASE")]).toEqual([1, true]);
  });
});

describe("a pool and buffers that do not fit it", () => {
  it("a buffer that somebody else holds, is mapped or has the wrong size is not taken, and keeps its metas", async () => {
    Meta.api_type_register("KeptAPI", []);
    const info = Meta.register("KeptAPI", "Kept", { init: () => true })!;
    class Odd extends BufferPool {
      made: Buffer = Buffer.new();
      override vfunc_alloc_buffer(): [FlowReturn, Buffer | null] {
        return [FlowReturn.OK, this.made];
      }
    }
    const pool = active(new Odd(), 4, 0, 1);
    const held = Buffer.new_wrapped(new Uint8Array(4));
    held.add_meta(info);
    pool.made = held.ref();
    expect([await pool.acquire_buffer(), held.refcount]).toEqual([[FlowReturn.ERROR, null], 2]);
    expect(isMillpondError(lastError(), "ERR_NOT_WRITABLE")).toBe(true);
    held.unref();
    const [, map] = held.peek_memory(0).map(MapFlags.READ);
    expect((await pool.acquire_buffer())[0]).toBe(FlowReturn.ERROR);
    expect([held.refcount, held.get_meta("KeptAPI")?.impl]).toEqual([1, "Kept"]);
    held.peek_memory(0).unmap(map);
    expect((await pool.acquire_buffer())[0]).toBe(FlowReturn.OK);
    const small = active(new Odd(), 8, 0, 1);
    small.made = Buffer.new_wrapped(new Uint8Array(4));
    expect((await small.acquire_buffer())[0]).toBe(FlowReturn.ERROR);
    expect((lastError() as Error).message).toMatch(/4 bytes .* instead of 8; mend its vfunc_alloc_buffer\(\)/);
    small.core.validate();
  });

  it("a core handle of a lease that is over does not take the present lease's place", async () => {
    const pool = active(BufferPool.new(), 4, 0, 1);
    const old = pool.core.tryAcquire()!;
    old.release();
    const buffer = await get(pool);
    expect(Buffer.of(old)).toBe(buffer);
    expect([buffer.get_size(), buffer.refcount]).toEqual([4, 1]);
  });
});

describe("configurations", () => {
  class Even extends BufferPool {
    asked: PoolConfig[] = [];
    override vfunc_set_config(config: PoolConfig): boolean {
      this.asked.push({ ...config });
      if (config.size! % 64 === 0) return super.vfunc_set_config(config);
      config.size = Math.ceil(config.size! / 64) * 64;
      return false;
    }
  }

  it("a pipeline asks a door pool's vfunc_set_config, and its get_config tells the truth", async () => {
    const pool = new Even();
    const sink = new Collector("sink", {
      propose(core) {
        Query.of(core).add_allocation_pool(pool, 100, 2, 0);
        return true;
      },
    });
    const pipeline = new Pipeline().link(new Numbers("src", 4), sink);
    await pipeline.run();
    expect(pool.asked.map((config) => [config.size, config.min, config.max])).toEqual([
      [100, 3, 3],
      [128, 3, 3],
    ]);
    expect(pipeline.describe().decisions[0]).toMatchObject({ pool: pool.core.name, size: 128 });
    const [set, caps, size, min, max] = BufferPool.config_get_params(pool.get_config());
    expect([set, size, min, max]).toEqual([true, 128, 3, 3]);
    expect(caps).toEqual(pool.core.config?.format);
  });

  it("a configuration that was refused once is not accepted later unasked", () => {
    const pool = configured(new Even(), 64);
    const refused = pool.get_config();
    refused.size = 100;
    expect(pool.set_config(refused)).toBe(false);
    const near = pool.get_config();
    expect(near.size).toBe(128);
    // What goes wrong in between must not make the one that was refused look accepted.
    expect(code(() => pool.set_config({ ...near, min: -1 }))).toBe("ERR_OUT_OF_RANGE");
    const before = pool.asked.length;
    expect([pool.set_config(refused), pool.asked.length]).toEqual([false, before + 1]);
    expect([pool.set_config(pool.get_config()), pool.asked.length]).toEqual([true, before + 2]);
    expect(pool.core.config?.size).toBe(128);
  });

  it("a pool that is opened after a refusal says what is in force", () => {
    const pool = configured(new Even(), 64);
    expect(pool.set_config({ ...pool.get_config(), size: 100 })).toBe(false);
    expect([pool.set_active(true), pool.get_config().size, pool.core.config?.size]).toEqual([true, 64, 64]);
  });

  it("a configuration that differs in a subclass's own field only is asked about", () => {
    const pool = configured(new Even(), 64);
    const before = pool.asked.length;
    expect(pool.set_config({ ...pool.get_config(), layout: "tiled" })).toBe(true);
    expect([pool.asked.length, pool.get_config().layout]).toEqual([before + 1, "tiled"]);
  });

  it("configurations keep their own copy of caps", () => {
    const pool = BufferPool.new();
    const caps = { name: "video/x-raw", sizes: [{ width: 320 }] };
    const config = pool.get_config();
    BufferPool.config_set_params(config, caps, 10, 0, 0);
    caps.sizes[0]!.width = 1;
    expect((config.caps as typeof caps).sizes[0]!.width).toBe(320);
    pool.set_config(config);
    (config.caps as typeof caps).sizes[0]!.width = 2;
    (pool.get_config().caps as typeof caps).sizes[0]!.width = 3;
    expect((pool.get_config().caps as typeof caps).sizes[0]!.width).toBe(320);
    const query = Query.new_allocation(caps, true);
    caps.sizes[0]!.width = 4;
    expect(query.parse_allocation()[0]).toEqual({ name: "video/x-raw", sizes: [{ width: 1 }] });
  });

  it("query meta params are copied deeply, and neither argument of a param is refused, also in set_nth", () => {
    const query = Query.new_allocation(null, true);
    const wanted = { stride: { align: 16 } };
    query.add_allocation_meta("GstVideoMetaAPI", wanted);
    wanted.stride.align = 1;
    expect(query.parse_nth_allocation_meta(0)).toEqual(["GstVideoMetaAPI", { stride: { align: 16 } }]);
    expect(query.core.findMeta(VideoMeta)).toBe(0);
    query.add_allocation_param(Allocator.find(null), null);
    expect([
      code(() => query.add_allocation_param(null, null)),
      code(() => query.set_nth_allocation_param(0, null, null)),
      query.get_n_allocation_params(),
    ]).toEqual(["ERR_INVALID_ARG_TYPE", "ERR_INVALID_ARG_TYPE", 1]);
  });
});

describe("buffers, memories and maps", () => {
  it("a buffer map holds its memory: the map outlives the buffer, and memory that is taken out", () => {
    const buffer = Buffer.new_wrapped(new Uint8Array([1, 2, 3]));
    const memory = buffer.peek_memory(0);
    const [ok, info] = buffer.map(MapFlags.READ);
    expect([ok, info.memory, memory.refcount]).toEqual([true, memory, 2]);
    buffer.remove_memory_range(0, -1);
    buffer.unref();
    expect([memory.refcount, [...info.data!]]).toEqual([1, [1, 2, 3]]);
    buffer.unmap(info);
    expect([memory.refcount, info.data]).toEqual([0, null]);
    expect(code(() => buffer.unmap(info))).toBe("ERR_INVALID_ARG_VALUE");
  });

  it("REF_MEMORY works for buffers: a pool's buffer that is mapped so comes back at once, and is free when the map ends", async () => {
    const pool = active(BufferPool.new(), 10, 0, 1);
    const buffer = await get(pool);
    const [, info] = buffer.map(MapFlags.READ | MapFlags.WRITE | MapFlags.REF_MEMORY);
    info.data!.fill(5);
    buffer.unref();
    expect([pool.core.free, (await pool.acquire_buffer({ flags: 2 }))[0]]).toEqual([0, FlowReturn.EOS]);
    buffer.unmap(info);
    expect([pool.core.free, pool.core.stats().discards]).toEqual([1, {}]);
  });

  it("copies, compares and extracts of a buffer that its caller maps for writing work", () => {
    const buffer = Buffer.new_wrapped(new Uint8Array([1, 2, 3]));
    const [, info] = buffer.map(MapFlags.WRITE);
    info.data![0] = 9;
    expect([
      [...buffer.extract(0, -1)],
      buffer.memcmp(0, new Uint8Array([9, 2, 3])),
      [...buffer.copy().extract(0, 3)],
      [...buffer.copy_deep().extract(0, 3)],
      [...buffer.copy_region(15, 1, 2).extract(0, 2)],
      Buffer.new().copy_into(buffer, 15, 0, -1),
      buffer.map(MapFlags.READ)[0],
    ]).toEqual([[9, 2, 3], 0, [9, 2, 3], [9, 2, 3], [2, 3], true, false]);
    buffer.unmap(info);
    expect(buffer.map(MapFlags.READ)[0]).toBe(true);
  });

  it("is_memory_range_writable refuses a range that the buffer does not have", () => {
    const buffer = Buffer.new_wrapped(new Uint8Array(1));
    expect([buffer.is_memory_range_writable(0, -1), buffer.is_memory_range_writable(1, -1)]).toEqual([true, true]);
    for (const [index, length] of [
      [2, -1],
      [0, 2],
      [-1, 1],
      [0, -2],
      [0.5, 1],
    ] as const) {
      expect(code(() => buffer.is_memory_range_writable(index, length))).toBe("ERR_OUT_OF_RANGE");
    }
  });

  it("Memory.new_wrapped refuses a maxsize beyond the bytes, and a valid part beyond maxsize", () => {
    const data = new Uint8Array(4);
    expect(code(() => Memory.new_wrapped(0, data, 5, 0, 4))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => Memory.new_wrapped(0, data, 3, 0, 4))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => Memory.new_wrapped(0, data, 3, 2, 2))).toBe("ERR_OUT_OF_RANGE");
    expect(Memory.new_wrapped(0, data, 3, 1, 2).get_sizes()).toEqual([2, 1, 3]);
  });

  it("times are 64-bit unsigned: -1n is NONE, what does not fit is refused", () => {
    const buffer = Buffer.new();
    buffer.pts = 2n ** 64n - 2n;
    expect(buffer.pts).toBe(2n ** 64n - 2n);
    for (const field of ["pts", "dts", "duration", "offset", "offset_end"] as const) {
      buffer[field] = 5n;
      buffer[field] = -1n;
      expect(buffer[field]).toBe(CLOCK_TIME_NONE);
      expect(code(() => (buffer[field] = -2n))).toBe("ERR_OUT_OF_RANGE");
      expect(code(() => (buffer[field] = 2n ** 64n))).toBe("ERR_OUT_OF_RANGE");
      expect(code(() => (buffer[field] = 1 as unknown as bigint))).toBe("ERR_INVALID_ARG_TYPE");
    }
  });

  it("lock(0) and get_meta({}) are refused", () => {
    const memory = wrap([1]);
    expect(code(() => memory.lock(0))).toBe("ERR_INVALID_ARG_VALUE");
    expect(code(() => memory.unlock(0))).toBe("ERR_INVALID_ARG_VALUE");
    expect(code(() => memory.lock(8))).toBe("ERR_INVALID_ARG_VALUE");
    expect(memory.lock(LockFlags.READ)).toBe(true);
    for (const api of [{}, undefined, null, 3, ""]) {
      expect(code(() => Buffer.new().get_meta(api as unknown as string))).toBe("ERR_INVALID_ARG_TYPE");
    }
  });

  it("an append that fails changes neither buffer, nor loses a reference", () => {
    const [a, b] = [Buffer.new_wrapped(new Uint8Array(1)).ref(), Buffer.new_wrapped(new Uint8Array(2)).ref()];
    expect(code(() => a.append(a))).toBe("ERR_INVALID_ARG_VALUE");
    expect([a.refcount, a.get_size(), b.refcount]).toEqual([2, 1, 2]);
    const result = a.append(b);
    expect([result === a, a.refcount, result.get_size(), b.refcount]).toEqual([false, 1, 3, 1]);
  });
});

describe("metas", () => {
  it("have api, impl, flags and seqnum, the core's own, too", () => {
    const buffer = Buffer.new_wrapped(new Uint8Array(4));
    const parent = Buffer.new();
    const metas = [
      buffer.add_parent_buffer_meta(parent)!,
      buffer.add_reference_timestamp_meta("timestamp/x-ntp", 5n, -1n)!,
    ];
    buffer.core.addMeta(VideoMeta, VideoInfo.of({ format: "GRAY8", width: 2, height: 2 }));
    const all = [...buffer.iterate_meta()];
    expect(all.slice(0, 2)).toEqual(metas);
    expect(all.map(({ api, impl, flags }) => [api, impl, flags])).toEqual([
      ["GstParentBufferMetaAPI", "GstParentBufferMeta", 0],
      ["GstReferenceTimestampMetaAPI", "GstReferenceTimestampMeta", 0],
      ["GstVideoMetaAPI", "GstVideoMeta", 0],
    ]);
    expect(all[0]!.seqnum).toBeLessThan(all[1]!.seqnum);
    expect(metas[0]!.buffer).toBe(parent);
    expect([metas[1]!.reference, metas[1]!.timestamp, metas[1]!.duration]).toEqual([
      "timestamp/x-ntp",
      5n,
      CLOCK_TIME_NONE,
    ]);
    const video = buffer.get_meta("GstVideoMetaAPI")!;
    expect([video.width, video.stride, video.offset, video.n_planes]).toEqual([2, [2], [0], 1]);
    expect(buffer.get_meta("GstParentBufferMetaAPI")).toBe(metas[0]);
    expect([buffer.remove_meta(metas[0]!), parent.refcount]).toEqual([true, 1]);
    expect(Meta.get_info("GstVideoMeta")?.api).toBe("GstVideoMetaAPI");
  });
});

describe("one error convention", () => {
  it("handles cannot be made by users", () => {
    for (const [type, how] of [
      [Memory, /Memory\.new_wrapped\(\)/],
      [Buffer, /Buffer\.new\(\)/],
      [Query, /Query\.new_allocation\(\)/],
      [MetaInfo, /Meta\.register\(\)/],
      [MetaHandle, /Buffer\.add_meta\(\)/],
      [Meta, /Meta\.register\(\)/],
    ] as const) {
      const make = type as unknown as new (core: unknown) => unknown;
      const error = thrown(() => new make(wrap([1]).core));
      expect([error.code, error.status, how.test(error.message)]).toEqual(["ERR_UNSUPPORTED", FlowReturn.ERROR, true]);
    }
    expect(code(() => Reflect.construct(Allocator, ["x", wrap([1]).core.allocator]))).toBe("ERR_UNSUPPORTED");
  });

  it("messages repeat the caller's own values: align = 5, not 6", () => {
    const error = thrown(() => Allocator.find(null)!.alloc(1, params({ align: 5 })));
    expect(error.message).toMatch(/params\.align must be 2\^n - 1.*but it is 5 /);
    expect(error.message).not.toMatch(/\b6\b/);
    expect(thrown(() => wrap([1, 2]).resize(5, 1)).message).toMatch(/offset must be .* but it is 5/);
  });

  it("messages name the call as GStreamer does", async () => {
    const pool = active(BufferPool.new(), 10, 0, 1);
    const buffer = await get(pool);
    buffer.unref();
    expect(thrown(() => buffer.unref()).message).toMatch(/unref\(\).*ref\(\)/);
    expect(thrown(() => buffer.get_size()).message).toMatch(/ref\(\)/);
    const shared = Buffer.new().ref();
    expect(thrown(() => shared.append_memory(wrap([1]))).message).toMatch(/make_writable\(\)/);
    pool.set_active(false);
    await pool.acquire_buffer();
    const error = lastError() as Error & { status: number };
    expect([error.status, error.message]).toEqual([FlowReturn.FLUSHING, expect.stringContaining("set_active(true)")]);
  });

  it("String(x) says what it is", async () => {
    const pool = active(BufferPool.new(), 10, 0, 4);
    const buffer = await get(pool);
    const info = buffer.map(MapFlags.READ)[1];
    expect(
      [pool, buffer, buffer.peek_memory(0), Allocator.find(null), new AllocationParams(), info, new MapInfo()].map(
        String,
      ),
    ).toEqual([
      'pool "gst-BufferPool" (active, 10 bytes, 0 to 4 buffers, 1 out)',
      'buffer (10 bytes in 1 memory) of pool "gst-BufferPool"',
      expect.stringMatching(/^memory #\d+ \(10 bytes of "SystemMemory"\)$/),
      'allocator of "SystemMemory"',
      "AllocationParams { align: 0, prefix: 0, padding: 0, flags: 0 }",
      "MapInfo (10 bytes, flags 1)",
      "MapInfo (not mapped)",
    ]);
    expect(String(Query.new_allocation(null, true))).toBe("allocation query (0 pools, 0 params, 0 metas)");
    expect(String(buffer.add_parent_buffer_meta(Buffer.new()))).toBe(
      'meta "GstParentBufferMeta" (GstParentBufferMetaAPI)',
    );
  });

  it(
    "no method lets a raw TypeError out, whatever it is given, and every error has a status and speaks this door's calls",
    REPEATED,
    async () => {
      const rounds = times(15, 60);
      const junk: unknown[] = [
        undefined,
        null,
        Number.NaN,
        -1,
        0,
        1.5,
        2 ** 53,
        3n,
        "",
        "x",
        {},
        [],
        () => {},
        Symbol("s"),
        new Proxy({}, {}),
      ];
      const pool = active(BufferPool.new(), 8, 0, 0);
      const make: Record<string, () => object> = {
        Memory: () => wrap([1, 2, 3, 4]),
        "released Memory": () => {
          const memory = wrap([1]);
          memory.unref();
          return memory;
        },
        Buffer: () => Buffer.new_wrapped(new Uint8Array(4)),
        "shared Buffer": () => Buffer.new_wrapped(new Uint8Array(4)).ref(),
        "released Buffer": () => {
          const buffer = Buffer.new_wrapped(new Uint8Array(4));
          buffer.unref();
          return buffer;
        },
        Allocator: () => new (class extends Allocator {})(),
        Query: () => Query.new_allocation(null, true),
        BufferPool: () => configured(BufferPool.new(), 8, 0, 1),
        MapInfo: () => Buffer.new_wrapped(new Uint8Array(4)).map(1)[1],
      };
      const statics: [string, object][] = [Memory, Buffer, Allocator, Query, BufferPool, Meta].map((type) => [
        type.name,
        type,
      ]);
      const foreign =
        /\b(retain|release|makeWritable|activate|deactivate|configure|setFlushing|destroy|close|retire|mapAsync|populate|allocateRegion|tryAcquire|acquire|drained|addMeta|removeMeta)\(/;
      let errors = 0;
      const judge = (error: unknown, what: string): void => {
        errors++;
        const { status, message } = error as { status?: unknown; message: string };
        expect([what, isMillpondError(error), typeof status]).toEqual([what, true, "number"]);
        expect(foreign.exec(message)?.[0] ?? "", `${what}: ${message}`).toBe("");
      };
      const attack = async (what: string, target: () => object, key: string): Promise<void> => {
        for (let round = 0; round < rounds; round++) {
          const args = [0, 1, 2, 3, 4].map((i) => junk[(round * (i + 1) + i * 7 + round) % junk.length]);
          try {
            const on = target() as Record<string, unknown>;
            if (typeof on[key] !== "function") {
              on[key] = args[0];
              continue;
            }
            const answer = (on[key] as (...a: unknown[]) => unknown)(...args);
            if (answer instanceof Promise) await Promise.race([answer, Promise.resolve()]);
          } catch (error) {
            // A field without a setter is the language's own error.
            if (error instanceof TypeError && /only a getter/.test(error.message)) return;
            judge(error, what);
          }
        }
      };
      for (const [name, target] of Object.entries(make)) {
        const keys = new Set<string>();
        for (
          let type: object | null = target();
          type !== null && type !== Object.prototype;
          type = Object.getPrototypeOf(type)
        ) {
          for (const key of Object.getOwnPropertyNames(type)) keys.add(key);
        }
        for (const key of keys) {
          if (/^(constructor|core|vfunc_.*|mem_type|set_default|clear|caught)$/.test(key)) continue;
          await attack(`${name}.${key}`, target, key);
        }
      }
      for (const [name, type] of statics) {
        for (const key of Object.getOwnPropertyNames(type)) {
          if (/^(length|name|prototype|of|is|stand|standFor|keep|api_type_register)$/.test(key)) continue;
          await attack(`${name}.${key}`, () => type, key);
        }
      }
      expect(code(() => Memory.prototype.map.call({} as Memory, 1))).toBe("ERR_INVALID_ARG_TYPE");
      expect(code(() => Buffer.prototype.unref.call(pool as unknown as Buffer))).toBe("ERR_INVALID_ARG_TYPE");
      expect(errors).toBeGreaterThan(times(150, 500));
      pool.core.validate();
    },
  );

  it("structures that only look like handles are refused", () => {
    const fake = { core: wrap([1]).core, map: () => {} };
    expect(code(() => Buffer.new().append_memory(fake as unknown as Memory))).toBe("ERR_INVALID_ARG_TYPE");
    const core = { core: new CorePool() };
    expect(code(() => Query.new_allocation(null, true).add_allocation_pool(core as never, 1, 0, 0))).toBe(
      "ERR_INVALID_ARG_TYPE",
    );
    // @ts-expect-error a Memory has a private brand
    const typed: Memory = fake;
    expect(typed).toBe(fake);
    expect(BufferFlags.TAG_MEMORY).toBeGreaterThan(0);
  });
});
