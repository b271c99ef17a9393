/** GstBufferPool's behaviors, in the words of the reference's section 6, with the core's decisions. */
import { describe, expect, it } from "vitest";
import {
  AllocationParams,
  Allocator,
  Buffer,
  BufferFlags,
  BufferPool,
  BufferPoolAcquireFlags,
  FlowReturn,
  MapFlags,
  Memory,
  Meta,
  MetaFlags,
  type PoolConfig,
} from "../../src/compat/gstreamer.ts";
import { code } from "../pools/buffer/pools.ts";

const DONTWAIT = { flags: BufferPoolAcquireFlags.DONTWAIT };

function configured<P extends BufferPool>(
  pool: P,
  size = 10,
  min = 0,
  max = 0,
  caps: unknown = { name: "test/data" },
): P {
  const config = pool.get_config();
  BufferPool.config_set_params(config, caps, size, min, max);
  expect(pool.set_config(config)).toBe(true);
  return pool;
}

function active<P extends BufferPool>(pool: P, ...args: [number?, number?, number?]): P {
  configured(pool, ...args);
  expect(pool.set_active(true)).toBe(true);
  return pool;
}

const get = async (pool: BufferPool): Promise<Buffer> => {
  const [flow, buffer] = await pool.acquire_buffer();
  expect(flow).toBe(FlowReturn.OK);
  return buffer!;
};

describe("states and flow", () => {
  it("an unconfigured pool cannot be activated, and answers FLUSHING", async () => {
    const pool = BufferPool.new();
    expect([pool.set_active(true), pool.set_active(false), pool.is_active()]).toEqual([false, true, false]);
    expect(await pool.acquire_buffer()).toEqual([FlowReturn.FLUSHING, null]);
  });

  it("an inactive pool answers FLUSHING, an active one OK", async () => {
    const pool = configured(BufferPool.new());
    expect((await pool.acquire_buffer())[0]).toBe(FlowReturn.FLUSHING);
    pool.set_active(true);
    expect((await get(pool)).get_size()).toBe(10);
  });

  it("DONTWAIT on an empty pool is EOS, not an error; without it the caller waits", async () => {
    const pool = active(BufferPool.new(), 10, 0, 1);
    const buffer = await get(pool);
    expect(await pool.acquire_buffer(DONTWAIT)).toEqual([FlowReturn.EOS, null]);
    const wait = pool.acquire_buffer();
    buffer.unref();
    expect((await wait)[0]).toBe(FlowReturn.OK);
  });

  it("flushing wakes waiters with FLUSHING, keeps what comes back, and ends without a new start", async () => {
    const pool = active(BufferPool.new(), 10, 0, 1);
    const buffer = await get(pool);
    const wait = pool.acquire_buffer();
    pool.set_flushing(true);
    expect(await wait).toEqual([FlowReturn.FLUSHING, null]);
    buffer.unref();
    expect((await pool.acquire_buffer())[0]).toBe(FlowReturn.FLUSHING);
    pool.set_flushing(false);
    expect((await get(pool)).core.slotIndex).toBe(0);
    const closed = BufferPool.new();
    closed.set_flushing(true);
    expect(closed.is_active()).toBe(false);
  });

  it("deactivation wakes waiters too, and frees what comes back at once", async () => {
    const pool = active(BufferPool.new(), 10, 1, 1);
    const buffer = await get(pool);
    const wait = pool.acquire_buffer();
    pool.set_active(false);
    expect((await wait)[0]).toBe(FlowReturn.FLUSHING);
    buffer.unref();
    expect(pool.core.stats().count).toBe(0);
  });

  it("a buffer knows its pool, and a copy does not have one", async () => {
    const pool = active(BufferPool.new());
    const buffer = await get(pool);
    expect(buffer.pool).toBe(pool);
    const copy = buffer.copy();
    expect([copy.pool, buffer.is_writable()]).toEqual([null, true]);
    buffer.unref();
    copy.unref();
    expect(pool.core.free).toBe(1);
  });

  it("a pool with max 0 makes a buffer whenever none is free, and never waits", async () => {
    const pool = active(BufferPool.new(), 10, 0, 0);
    const held = [];
    for (let i = 0; i < 50; i++) held.push(await get(pool));
    expect(new Set(held).size).toBe(50);
  });
});

describe("configuration", () => {
  it("get_config is a private copy", () => {
    const pool = configured(BufferPool.new());
    pool.get_config().size = 99;
    expect(BufferPool.config_get_params(pool.get_config())).toEqual([true, { name: "test/data" }, 10, 0, 0]);
  });

  it("parameters are needed, min may not exceed max, neither allocator nor params is refused, options are added once", () => {
    const pool = BufferPool.new();
    expect(pool.set_config(pool.get_config())).toBe(false);
    const config = pool.get_config();
    expect(code(() => BufferPool.config_set_params(config, null, 1, 3, 2))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => BufferPool.config_set_allocator(config, null, null))).toBe("ERR_INVALID_ARG_TYPE");
    BufferPool.config_add_option(config, "x");
    BufferPool.config_add_option(config, "x");
    expect([config.options, pool.get_options(), pool.has_option("x")]).toEqual([["x"], [], false]);
    expect(BufferPool.config_get_allocator(config)[1]).toBeNull();
  });

  it("the same configuration again is true while active; another is false while active or with buffers out", async () => {
    const pool = active(BufferPool.new());
    const same = pool.get_config();
    const other = pool.get_config();
    BufferPool.config_set_params(other, null, 20, 0, 0);
    expect([pool.set_config(same), pool.set_config(other)]).toEqual([true, false]);
    const buffer = await get(pool);
    pool.set_active(false);
    expect(pool.set_config(other)).toBe(false);
    buffer.unref();
    expect(pool.set_config(other)).toBe(true);
  });

  it("a config that the pool adjusts is refused, read back, validated and set again; null caps on both sides are equal (Q6, Q7)", () => {
    class Aligned extends BufferPool {
      override vfunc_set_config(config: PoolConfig): boolean {
        if (config.size! % 16 === 0) return true;
        config.size = Math.ceil(config.size! / 16) * 16;
        return false;
      }
    }
    const pool = new Aligned();
    const config = pool.get_config();
    BufferPool.config_set_params(config, null, 10, 1, 2);
    expect(pool.set_config(config)).toBe(false);
    expect(pool.set_active(true)).toBe(false);
    const near = pool.get_config();
    expect([
      near.size,
      BufferPool.config_validate_params(near, null, 10, 1, 2),
      BufferPool.config_validate_params(near, null, 17, 1, 2),
    ]).toEqual([16, true, false]);
    expect(BufferPool.config_validate_params(near, { other: 1 }, 10, 1, 2)).toBe(false);
    expect(pool.set_config(near)).toBe(true);
    expect(pool.set_active(true)).toBe(true);
    expect(pool.core.config?.size).toBe(16);
    pool.set_active(false);
    const bad = pool.get_config();
    bad.size = 33;
    expect(pool.set_config(bad)).toBe(false);
    expect(pool.set_config(pool.get_config())).toBe(true);
    expect(pool.core.config?.size).toBe(48);
  });

  it("allocator and params reach the memory", async () => {
    const pool = BufferPool.new();
    const config = pool.get_config();
    BufferPool.config_set_params(config, null, 100, 0, 1);
    BufferPool.config_set_allocator(
      config,
      Allocator.find("shared"),
      Object.assign(new AllocationParams(), { align: 63, prefix: 10 }),
    );
    pool.set_config(config);
    pool.set_active(true);
    const memory = (await get(pool)).peek_memory(0);
    expect([memory.allocator, memory.get_sizes()[1], memory.core.align]).toEqual([Allocator.find("shared"), 10, 64]);
  });
});

describe("coming back", () => {
  it("resets times, flags and size, keeps the bytes", async () => {
    const pool = active(BufferPool.new(), 10, 0, 1);
    const buffer = await get(pool);
    buffer.pts = 5n;
    buffer.set_flags(BufferFlags.DISCONT);
    buffer.memset(0, 7, -1);
    buffer.resize(2, 3);
    buffer.unref();
    const next = await get(pool);
    expect([next.pts, next.has_flags(BufferFlags.DISCONT), next.get_size(), [...next.extract(0, 2)]]).toEqual([
      2n ** 64n - 1n,
      false,
      10,
      [7, 7],
    ]);
    expect(pool.core.stats().discards).toEqual({});
  });

  it("a buffer whose memory was changed is discarded, and somebody who waits gets a new one", async () => {
    const pool = active(BufferPool.new(), 10, 0, 1);
    const buffer = await get(pool);
    const wait = pool.acquire_buffer();
    expect(buffer.has_flags(BufferFlags.TAG_MEMORY)).toBe(false);
    buffer.append_memory(Memory.new_wrapped(0, new Uint8Array(4), 4, 0, 4));
    expect(buffer.has_flags(BufferFlags.TAG_MEMORY)).toBe(true);
    buffer.unref();
    expect((await wait)[1]?.get_size()).toBe(10);
    expect(pool.core.stats().discards).toEqual({ "memory-changed": 1 });
  });

  it("metas: those of a fresh buffer are POOLED and LOCKED and stay (cleared), later ones go", async () => {
    const api = Meta.api_type_register("PoolTestAPI", []);
    let cleared = 0;
    const info = Meta.register(api!, "PoolTest", {
      init: () => true,
      clear: () => {
        cleared++;
      },
    })!;
    class WithMeta extends BufferPool {
      override vfunc_alloc_buffer(): [FlowReturn, Buffer | null] {
        const buffer = Buffer.new_allocate(null, 10, null)!;
        buffer.add_meta(info);
        return [FlowReturn.OK, buffer];
      }
    }
    const pool = active(new WithMeta(), 10, 0, 1);
    const buffer = await get(pool);
    expect(buffer.get_meta(api!)?.flags).toBe(MetaFlags.POOLED | MetaFlags.LOCKED);
    expect(code(() => buffer.remove_meta(buffer.get_meta(api!)!))).toBe("ERR_META_LOCKED");
    buffer.add_meta(info);
    buffer.unref();
    expect([[...(await get(pool)).iterate_meta()].length, cleared]).toEqual([1, 1]);
  });

  it("a release into another pool, or a second one, is an error instead of silence", async () => {
    const [pool, other] = [active(BufferPool.new()), active(BufferPool.new())];
    const buffer = await get(pool);
    expect(code(() => other.release_buffer(buffer))).toBe("ERR_FOREIGN_RELEASE");
    pool.release_buffer(buffer);
    expect(code(() => pool.release_buffer(buffer))).toBe("ERR_DOUBLE_RELEASE");
  });

  it("a buffer that is still mapped cannot be recycled (Q13)", async () => {
    const buffer = await get(active(BufferPool.new()));
    const [ok, info] = buffer.map(MapFlags.WRITE);
    expect([ok, code(() => buffer.unref())]).toEqual([true, "ERR_MAPPED"]);
    buffer.unmap(info);
    buffer.unref();
  });
});

describe("vfuncs", () => {
  it("run in the order of a buffer's life, and start can refuse", async () => {
    const calls: string[] = [];
    class Loud extends BufferPool {
      override vfunc_start(): boolean {
        calls.push("start");
        return calls.length < 10;
      }
      override vfunc_stop(): boolean {
        calls.push("stop");
        return true;
      }
      override vfunc_reset_buffer(): void {
        calls.push("reset");
      }
      override vfunc_release_buffer(): void {
        calls.push("release");
      }
      override vfunc_free_buffer(): void {
        calls.push("free");
      }
    }
    const pool = active(new Loud(), 10, 1, 1);
    (await get(pool)).unref();
    pool.set_active(false);
    expect(calls).toEqual(["start", "reset", "release", "free", "stop"]);
    calls.push("1", "2", "3", "4");
    expect([pool.set_active(true), pool.is_active()]).toEqual([false, false]);
  });

  it("an alloc that fails is the acquire's answer; EOS with room left does not spin (Q15); acquire can be replaced", async () => {
    class Failing extends BufferPool {
      answer: FlowReturn = FlowReturn.NOT_SUPPORTED;
      override vfunc_alloc_buffer(): [FlowReturn, Buffer | null] {
        return [this.answer, null];
      }
    }
    const pool = active(new Failing(), 10, 0, 2);
    expect(await pool.acquire_buffer()).toEqual([FlowReturn.NOT_SUPPORTED, null]);
    pool.answer = FlowReturn.EOS;
    expect(await pool.acquire_buffer()).toEqual([FlowReturn.ERROR, null]);
    class Own extends BufferPool {
      override async vfunc_acquire_buffer(): Promise<[FlowReturn, Buffer | null]> {
        return [FlowReturn.EOS, null];
      }
    }
    expect(await active(new Own()).acquire_buffer()).toEqual([FlowReturn.EOS, null]);
  });

  it("an acquire of a subclass that answers no buffer of the pool is an error, and reaches nobody", async () => {
    const other = active(new BufferPool(), 10, 0, 2);
    const [, foreign] = await other.acquire_buffer();
    for (const answer of [
      5,
      [],
      [FlowReturn.OK],
      [FlowReturn.OK, null],
      [FlowReturn.OK, {}],
      [FlowReturn.OK, foreign],
      [FlowReturn.EOS, foreign],
      [99, null],
      ["x", null],
    ]) {
      class Odd extends BufferPool {
        override async vfunc_acquire_buffer(): Promise<[FlowReturn, Buffer | null]> {
          return answer as [FlowReturn, Buffer | null];
        }
      }
      expect(await active(new Odd(), 10, 0, 2).acquire_buffer()).toEqual([FlowReturn.ERROR, null]);
    }
    foreign!.unref();
  });

  it("a failing preallocation leaves the pool inactive and empty", () => {
    class Third extends BufferPool {
      made = 0;
      override vfunc_alloc_buffer(): [FlowReturn, Buffer | null] {
        return ++this.made === 3 ? [FlowReturn.ERROR, null] : [FlowReturn.OK, Buffer.new_allocate(null, 10, null)];
      }
    }
    const pool = configured(new Third(), 10, 3, 3);
    expect([pool.set_active(true), pool.core.stats().count]).toEqual([false, 0]);
    expect(pool.set_active(true)).toBe(true);
  });
});
