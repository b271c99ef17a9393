/** What a pool does over its life: states, waiting, returns, draining, ending. */
import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { SharedAllocator } from "../../../src/allocators/shared.ts";
import type { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { MetaFlags, registerMeta } from "../../../src/media/meta/meta.ts";
import { SystemAllocator, wrapMemory } from "../../../src/memory/allocator.ts";
import type { ResolvedParams } from "../../../src/memory/params.ts";
import { Region } from "../../../src/memory/region.ts";
import { BufferPool, type BufferPoolOptions } from "../../../src/pools/buffer/buffer-pool.ts";
import type { ActualPoolConfig } from "../../../src/pools/buffer/config.ts";
import type { BufferPoolEvents } from "../../../src/pools/buffer/stats.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { debugLevel, parseLevel, setDebugLevel } from "../../../src/util/debug.ts";
import type { MillpondError } from "../../../src/util/errors.ts";
import { code, openPool } from "./pools.ts";

const Note = registerMeta<{ text: string; cleared: number }, string>({
  api: "pool-test-note",
  init(meta, text) {
    meta.text = text;
    meta.cleared = 0;
  },
  clear(meta) {
    meta.cleared++;
  },
});

describe("states (GStreamer's table)", () => {
  it("fresh and unconfigured: acquire is refused", async () => {
    await expect(new BufferPool().acquire()).rejects.toMatchObject({ code: "ERR_INACTIVE" });
  });

  it("configured and inactive: acquire is refused", () => {
    const pool = new BufferPool();
    pool.configure({ size: 8, max: 1 });
    expect(code(() => pool.tryAcquire())).toBe("ERR_INACTIVE");
  });

  it("active: an acquire gives a buffer of the configured size", () => expect(openPool().tryAcquire()?.size).toBe(64));

  it("active and flushing: refused even with free buffers, and what comes back is kept", () => {
    const pool = openPool({ min: 2 });
    const buffer = pool.tryAcquire()!;
    pool.setFlushing(true);
    expect(code(() => pool.tryAcquire())).toBe("ERR_FLUSHING");
    buffer.release();
    expect(pool.free).toBe(2);
    pool.setFlushing(false);
    expect(pool.tryAcquire()?.isLive).toBe(true);
  });

  it("draining: refused, returned memory is freed at once, not with the last lease", () => {
    const allocator = new SystemAllocator("drain");
    const pool = openPool({ min: 4, allocator });
    const held = [pool.tryAcquire()!, pool.tryAcquire()!];
    pool.deactivate();
    expect([pool.isDraining, allocator.stats().liveMemories]).toEqual([true, 2]);
    held[0]!.release();
    expect(allocator.stats().liveMemories).toBe(1);
    expect(code(() => pool.tryAcquire())).toBe("ERR_INACTIVE");
    held[1]!.release();
    expect([pool.isDraining, allocator.stats().liveMemories]).toEqual([false, 0]);
  });

  it("flushing needs an active pool", () =>
    expect(code(() => new BufferPool().setFlushing(true))).toBe("ERR_INACTIVE"));

  it("activating a draining pool cancels the drain and keeps the leases; drained() of it resolves when they come back later", async () => {
    const pool = openPool({ min: 2 });
    const held = pool.tryAcquire()!;
    pool.deactivate();
    pool.activate();
    expect([pool.isActive, pool.stats().count]).toEqual([true, 2]);
    held.release();
    expect(pool.free).toBe(2);
    pool.deactivate();
    await pool.drained();
  });

  it("the same configuration again is accepted in any state", () => {
    const pool = openPool();
    const held = pool.tryAcquire()!;
    const { config } = pool;
    expect(pool.configure({ size: 64, max: 4 })).toBe(config);
    held.release();
  });

  it("a refused configuration is not stored: the next try with it is judged anew (GStreamer's Q6)", () => {
    const pool = openPool();
    expect(code(() => pool.configure({ size: 128, max: 4 }))).toBe("ERR_ACTIVE");
    expect(code(() => pool.configure({ size: 128, max: 4 }))).toBe("ERR_ACTIVE");
    expect(pool.tryAcquire()?.size).toBe(64);
  });
});

describe("waiting", () => {
  it("is first come, first served, and a newcomer cannot overtake", async () => {
    const pool = openPool({ max: 1 });
    const held = pool.tryAcquire()!;
    const order: number[] = [];
    const waits = [1, 2, 3].map((n) =>
      pool.acquire().then((buffer) => {
        order.push(n);
        return buffer;
      }),
    );
    held.release();
    expect(pool.tryAcquire()).toBeUndefined();
    (await waits[0]!).release();
    (await waits[1]!).release();
    (await waits[2]!).release();
    expect(order).toEqual([1, 2, 3]);
  });

  it("a discard wakes a waiter, who gets a new buffer", async () => {
    const pool = openPool({ max: 1 });
    const held = pool.tryAcquire()!;
    const wait = pool.acquire();
    held.append(new SystemAllocator().allocate(1));
    held.release();
    expect((await wait).size).toBe(64);
    expect(pool.stats().discards).toEqual({ "memory-changed": 1 });
  });

  it("flush and deactivation refuse every waiter in order, each with its own code", async () => {
    const pool = openPool({ max: 1 });
    pool.tryAcquire();
    const flushed = [pool.acquire(), pool.acquire()];
    pool.setFlushing(true);
    for (const wait of flushed) await expect(wait).rejects.toMatchObject({ code: "ERR_FLUSHING" });
    pool.setFlushing(false);
    const closed = pool.acquire();
    pool.deactivate();
    await expect(closed).rejects.toMatchObject({ code: "ERR_INACTIVE" });
  });

  it("names a deliberately lost buffer, and where it was taken, to the next who starves", async () => {
    const clock = new FakeClock();
    const pool = openPool({ max: 2 }, { clock, trace: true });
    const events: BufferPoolEvents["starved"][] = [];
    pool.on("starved", (event) => events.push(event));
    function loseOne(): void {
      pool.tryAcquire({ tag: "thumbnailer" });
    }
    loseOne();
    clock.advance(41_250);
    const held = await pool.acquire({ tag: "encoder" });
    const wait = pool.acquire({ timeout: 100 });
    clock.advance(100);
    const error = await wait.then(
      () => undefined,
      (thrown: MillpondError) => thrown,
    );
    expect(error?.code).toBe("ERR_STARVED");
    expect(error?.message).toMatch(/slot 0 for 41350 ms by "thumbnailer", taken at loseOne \(.*life\.test\.ts/);
    expect(events[0]?.holders.map(({ tag, age }) => [tag, age])).toEqual([
      ["thumbnailer", 41_350],
      ["encoder", 100],
    ]);
    held.release();
  });

  it("rings the alarm while somebody waits without a timeout, and the alarm does not keep the process alive", () => {
    const clock = new FakeClock();
    const pool = openPool({ max: 1 }, { clock, starvedAfter: 1000 });
    const waited: number[] = [];
    pool.on("starved", (event) => waited.push(event.waited));
    pool.tryAcquire();
    void pool.acquire();
    clock.advance(999);
    expect(waited).toEqual([]);
    clock.advance(2001);
    expect(waited).toEqual([1000, 2000, 3000]);
    const script = `import { BufferPool } from ${JSON.stringify(new URL("../../../src/pools/buffer/buffer-pool.ts", import.meta.url).href)};
      const pool = new BufferPool({ starvedAfter: 60_000 }); pool.configure({ size: 8, max: 1 }); pool.activate();
      pool.on("starved", () => {}); pool.tryAcquire(); void pool.acquire(); console.log("end");`;
    const out = execFileSync(process.execPath, ["--input-type=module", "-e", script], {
      encoding: "utf8",
      timeout: 100_000,
    });
    expect(out.trim()).toBe("end");
  });

  it("nowait and a timeout of 0 do not wait", async () => {
    const pool = openPool({ max: 1 });
    pool.tryAcquire();
    await expect(pool.acquire({ nowait: true })).rejects.toMatchObject({ code: "ERR_STARVED" });
    await expect(pool.acquire({ timeout: 0 })).rejects.toMatchObject({ code: "ERR_STARVED" });
  });

  it("a byte bound holds as well as a count", () => {
    const pool = openPool({ max: 10, maxBytes: 150 });
    expect([pool.tryAcquire(), pool.tryAcquire(), pool.tryAcquire()].map((buffer) => buffer?.size)).toEqual([
      64,
      64,
      undefined,
    ]);
  });
});

describe("a return", () => {
  it("resets times, counters, flags and size; bytes and POOLED metas stay, other metas go, even locked ones", () => {
    class Noted extends BufferPool {
      protected override populate(buffer: MediaBuffer, config: ActualPoolConfig): void {
        super.populate(buffer, config);
        buffer.addMeta(Note, "pool");
      }
    }
    const pool = new Noted();
    pool.configure({ size: 64, max: 1 });
    pool.activate();
    const first = pool.tryAcquire()!;
    first.bytes[0] = 7;
    first.pts = first.dts = first.duration = first.offset = first.offsetEnd = 5n;
    first.flags = 3;
    first.addMeta(Note, "mine")!.flags |= MetaFlags.LOCKED;
    first.resize(8, 16);
    first.release();
    const second = pool.tryAcquire()!;
    const times = [second.pts, second.dts, second.duration, second.offset, second.offsetEnd];
    expect(times).toEqual([undefined, undefined, undefined, undefined, undefined]);
    expect([second.flags, second.size, second.bytes[0]]).toEqual([0, 64, 7]);
    expect(second.metas().map((meta) => (meta as unknown as { text: string }).text)).toEqual(["pool"]);
    expect(second.getMeta(Note)).toMatchObject({ cleared: 1, flags: MetaFlags.POOLED | MetaFlags.LOCKED });
    expect(code(() => second.removeMeta(second.getMeta(Note)!))).toBe("ERR_META_LOCKED");
  });

  it.each([
    ["a shallow copy", (buffer: MediaBuffer) => buffer.copy()],
    ["a region", (buffer: MediaBuffer) => buffer.copyRange(8, 8)],
    ["a retained memory", (buffer: MediaBuffer) => buffer.memoryAt(0).retain()],
    ["a sub-memory", (buffer: MediaBuffer) => buffer.memoryAt(0).share(0, 8)],
  ])("waits for %s of it, and then is kept, not thrown away (Q10 to Q12)", (_what, take) => {
    const pool = openPool({ max: 1 });
    const buffer = pool.tryAcquire()!;
    const other = take(buffer);
    expect(buffer.isWritable).toBe(true);
    buffer.release();
    expect([pool.free, pool.outstanding, pool.stats().awaitingMemory]).toEqual([0, 1, 1]);
    expect(pool.holders()[0]).toMatchObject({ slot: 0, refCount: 0 });
    other.release();
    expect([pool.free, pool.stats().discards]).toEqual([1, {}]);
    pool.validate();
  });

  it("stops waiting when a copy has made bytes of its own (Q11)", () => {
    const pool = openPool({ max: 1 });
    const buffer = pool.tryAcquire()!;
    const copy = buffer.copy();
    buffer.release();
    copy.fill(0, new Uint8Array([1]));
    expect(pool.free).toBe(1);
    copy.release();
  });

  it("a deep copy holds nothing of the pool", () => {
    const pool = openPool({ max: 1 });
    const buffer = pool.tryAcquire()!;
    const copy = buffer.copy({ deep: true });
    buffer.release();
    expect(pool.free).toBe(1);
    copy.release();
  });

  it("hands the most recently returned buffer out first", () => {
    const pool = openPool({ min: 3 });
    const [a, b] = [pool.tryAcquire()!, pool.tryAcquire()!];
    a.release();
    b.release();
    expect(pool.tryAcquire()?.slotIndex).toBe(b.slotIndex);
  });

  it("runs release listeners when the buffer is already free, and they may acquire and release", () => {
    const pool = openPool({ max: 1 });
    const seen: number[] = [];
    const off = pool.on("release", ({ free }) => {
      seen.push(free);
      off();
      pool.tryAcquire()!.release();
    });
    pool.tryAcquire()!.release();
    expect(seen).toEqual([1]);
    expect(pool.free).toBe(1);
    pool.validate();
  });
});

describe("zero policies and revocation", () => {
  const dirty = (pool: BufferPool): void => {
    const buffer = pool.tryAcquire()!;
    buffer.bytes.fill(9);
    buffer.release();
  };

  it.each([
    ["never", 9],
    ["fresh", 9],
    ["acquire", 0],
    ["release", 0],
  ] as const)("zero: %s gives %i back", (zero, value) => {
    const pool = openPool({ max: 1, zero });
    dirty(pool);
    expect(pool.tryAcquire()!.bytes[63]).toBe(value);
  });

  it("zeroes new blocks of an allocator that gives used ones, unless the policy is never", () => {
    class Used extends SystemAllocator {
      override get zeroInitialized(): boolean {
        return false;
      }
      protected override allocateRegion(size: number): Region {
        return new Region(new Uint8Array(size).fill(5));
      }
    }
    expect(openPool({ allocator: new Used("used") }).tryAcquire()!.bytes[0]).toBe(0);
    expect(openPool({ allocator: new Used("used"), zero: "never" }).tryAcquire()!.bytes[0]).toBe(5);
  });

  it("revoke kills every view at the last release; the bytes move on unharmed", () => {
    const pool = openPool({ max: 1, revoke: true });
    const buffer = pool.tryAcquire()!;
    const view = buffer.bytes;
    const part = view.subarray(4, 8);
    view[5] = 42;
    buffer.retain().release();
    expect(view.length).toBe(64);
    buffer.release();
    expect([view.length, part.length]).toEqual([0, 0]);
    expect(pool.tryAcquire()!.bytes[5]).toBe(42);
    pool.validate();
  });

  it("revokes by structuredClone where transfer() is missing (Node 20)", () => {
    const { transfer } = ArrayBuffer.prototype;
    try {
      Object.defineProperty(ArrayBuffer.prototype, "transfer", { value: undefined, configurable: true });
      const pool = openPool({ max: 1, revoke: true });
      const buffer = pool.tryAcquire()!;
      const view = buffer.bytes;
      buffer.release();
      expect(view.length).toBe(0);
    } finally {
      Object.defineProperty(ArrayBuffer.prototype, "transfer", { value: transfer, configurable: true, writable: true });
    }
  });
});

describe("debug levels", () => {
  it("MALLOC_DEBUG: unset, empty and 0 are off, a number above 1 is that level, anything else is on", () => {
    expect([undefined, "", "0", "1", "yes", "2", "7", "-3", "1.5"].map(parseLevel)).toEqual([
      0, 0, 0, 1, 1, 2, 7, 1, 1,
    ]);
  });

  it("revocation is on in debug levels where the memory allows it, and never fails a pool whose memory does not", () => {
    const before = debugLevel();
    setDebugLevel(1);
    try {
      const pool = openPool({ max: 1 });
      const buffer = pool.tryAcquire()!;
      const view = buffer.bytes;
      buffer.release();
      expect(view.length).toBe(0);
      const shared = openPool({ max: 1, allocator: new SharedAllocator() });
      shared.tryAcquire()!.release();
      const kept = openPool({ max: 1, revoke: false }).tryAcquire()!;
      const stays = kept.bytes;
      kept.release();
      expect([shared.free, stays.length]).toEqual([1, 64]);
    } finally {
      setDebugLevel(before);
    }
  });
});

describe("hooks", () => {
  class Hooked extends BufferPool {
    readonly calls: string[] = [];
    fail = "";
    #note(name: string): void {
      this.calls.push(name);
      if (this.fail === name) throw new Error(`${name} failed`);
    }
    protected override start(): void {
      this.#note("start");
      super.start();
    }
    protected override stop(): void {
      this.#note("stop");
    }
    protected override populate(buffer: MediaBuffer, config: ActualPoolConfig): void {
      super.populate(buffer, config);
      this.#note("populate");
    }
    protected override reset(buffer: MediaBuffer): void {
      expect(buffer.isLive).toBe(true);
      this.#note("reset");
    }
    protected override recycle(): boolean {
      this.#note("recycle");
      return this.fail !== "refuse";
    }
    protected override dispose(): void {
      this.#note("dispose");
    }
  }
  const hooked = (): Hooked => {
    const pool = new Hooked({ name: "hooked" });
    pool.configure({ size: 8, min: 1, max: 1 });
    return pool;
  };

  it("run in the order of a buffer's life", () => {
    const pool = hooked();
    pool.activate();
    pool.tryAcquire()!.release();
    pool.deactivate();
    expect(pool.calls).toEqual(["start", "populate", "reset", "recycle", "dispose", "stop"]);
  });

  it.each(["reset", "recycle"])(
    "a throwing %s discards the buffer, the caller hears of it, the pool goes on",
    (name) => {
      const pool = hooked();
      pool.activate();
      const buffer = pool.tryAcquire()!;
      pool.fail = name;
      expect(() => buffer.release()).toThrow(`${name} failed`);
      expect(pool.stats().discards).toEqual({ hook: 1 });
      pool.validate();
      pool.fail = "";
      expect(pool.tryAcquire()?.size).toBe(8);
    },
  );

  it("a throwing dispose, meta free or meta clear loses nothing: the work is done first, the error surfaces after", async () => {
    const late: unknown[] = [];
    const listeners = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.on("uncaughtException", (error) => late.push((error as Error).message));
    try {
      const bad = registerMeta({
        api: "pool-test-bad",
        free: () => {
          throw new Error("free failed");
        },
        clear: () => {
          throw new Error("clear failed");
        },
      });
      const pool = hooked();
      pool.activate();
      const buffer = pool.tryAcquire()!;
      buffer.addMeta(bad);
      buffer.addMeta(bad)!.flags |= MetaFlags.POOLED;
      buffer.release();
      pool.validate();
      expect(pool.free).toBe(1);
      pool.fail = "dispose";
      pool.deactivate();
      pool.validate();
      expect(pool.stats().count).toBe(0);
      await new Promise((resolve) => setTimeout(resolve, 0));
      expect(late).toEqual(["free failed", "clear failed", "dispose failed", "free failed"]);
    } finally {
      process.removeAllListeners("uncaughtException");
      for (const listener of listeners) process.on("uncaughtException", listener);
    }
  });

  it("a refusing recycle discards quietly", () => {
    const pool = hooked();
    pool.activate();
    pool.fail = "refuse";
    pool.tryAcquire()!.release();
    expect(pool.stats().discards).toEqual({ hook: 1 });
  });

  it.each(["start", "populate"])("a throwing %s leaves the pool inactive and empty", (name) => {
    const pool = hooked();
    pool.fail = name;
    expect(() => pool.activate()).toThrow(`${name} failed`);
    expect([pool.isActive, pool.stats().count]).toEqual([false, 0]);
  });

  it("a handle that a hook kept is stale for the next holder", () => {
    const kept: MediaBuffer[] = [];
    class Keeper extends BufferPool {
      protected override reset(buffer: MediaBuffer): void {
        kept.push(buffer);
      }
    }
    const pool = new Keeper();
    pool.configure({ size: 8, max: 1 });
    pool.activate();
    pool.tryAcquire()!.release();
    pool.tryAcquire();
    expect(code(() => kept[0]!.bytes)).toBe("ERR_USE_AFTER_RELEASE");
  });

  it("adjust may refuse and say what it could do; that is then accepted, and nothing was stored meanwhile", () => {
    class Picky extends BufferPool {
      protected override adjust(wanted: ActualPoolConfig): ActualPoolConfig {
        if (wanted.size >= 32) return wanted;
        throw this.adjusted({ ...wanted, size: 32, requestedSize: 32 }, "needs 32 bytes");
      }
    }
    const pool = new Picky();
    let near: ActualPoolConfig | undefined;
    try {
      pool.configure({ size: 8, max: 1 });
    } catch (error) {
      near = (error as MillpondError).details?.config as ActualPoolConfig;
    }
    expect([near?.size, pool.config]).toEqual([32, null]);
    expect(pool.configure({ size: near!.size, max: 1 }).size).toBe(32);
  });
});

describe("ends", () => {
  it("retire keeps leases valid and ends the pool with the last one", async () => {
    const pool = openPool();
    const buffer = pool.tryAcquire()!;
    expect(pool.retire()).toHaveLength(1);
    expect(buffer.bytes.length).toBe(64);
    expect(code(() => pool.activate())).toBe("ERR_POOL_DEAD");
    const drained = pool.drained();
    buffer.release();
    await drained;
    expect(pool.stats().count).toBe(0);
  });

  it("close refuses while leases are out, says who holds what, and changes nothing", () => {
    const pool = openPool();
    const buffer = pool.tryAcquire({ tag: "me" })!;
    expect(() => pool.close()).toThrow(/1 buffer is leased; held: slot 0 .* by "me"/);
    expect(pool.isActive).toBe(true);
    buffer.release();
    pool.close();
    expect(code(() => pool.tryAcquire())).toBe("ERR_POOL_DEAD");
  });

  it("close refuses while leases are out; with force it takes them back, but not from under a mapping or a copy", () => {
    const allocator = new SystemAllocator("close");
    const pool = openPool({ allocator });
    const plain = pool.tryAcquire()!;
    const mapped = pool.tryAcquire()!;
    const shared = pool.tryAcquire()!;
    const mapping = mapped.map("readwrite");
    const copy = shared.copy();
    expect(code(() => pool.close())).toBe("ERR_IN_USE");
    expect(pool.close({ force: true })).toHaveLength(3);
    expect(code(() => plain.bytes)).toBe("ERR_POOL_DEAD");
    expect([mapping.bytes.length, copy.size]).toEqual([64, 64]);
    copy.release();
    mapping.unmap();
    expect([pool.outstanding, pool.stats().count]).toEqual([0, 0]);
  });

  it("tells of a lease whose handle was collected unreleased, when asked to watch, and of no other", () => {
    const script = `import { BufferPool } from ${JSON.stringify(new URL("../../../src/pools/buffer/buffer-pool.ts", import.meta.url).href)};
      const pool = new BufferPool({ name: "watched", leaks: "all", trace: true });
      pool.configure({ size: 8, max: 8 }); pool.activate();
      pool.on("leak", ({ holder }) => { console.log("leak", holder.slot, holder.tag, /lose/.test(holder.site)); clearInterval(timer); });
      function lose() { pool.tryAcquire({ tag: "kept" }).release(); globalThis.held = pool.tryAcquire({ tag: "held" }); pool.tryAcquire({ tag: "lost" }); }
      lose();
      const timer = setInterval(() => gc(), 10);
      setTimeout(() => process.exit(1), 10_000).unref();`;
    const out = execFileSync(process.execPath, ["--expose-gc", "--input-type=module", "-e", script], {
      encoding: "utf8",
      timeout: 100_000,
    });
    expect(out.trim()).toBe("leak 1 lost true");
  });

  it("makes no major garbage collection over a million cycles", () => {
    const script = `import { PerformanceObserver, constants } from "node:perf_hooks";
      import { BufferPool } from ${JSON.stringify(new URL("../../../src/pools/buffer/buffer-pool.ts", import.meta.url).href)};
      const pool = new BufferPool(); pool.configure({ size: 1 << 20, min: 4, max: 4 }); pool.activate();
      let major = 0;
      const observer = new PerformanceObserver((list) => {
        // Loading the program leaves old garbage that is collected once, early on; what counts is what the cycles
        // cause.
        for (const entry of list.getEntries()) if (entry.startTime >= began && entry.detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) major++;
      });
      observer.observe({ entryTypes: ["gc"] });
      const cycle = () => { const buffer = pool.tryAcquire(); buffer.pts = 1n; buffer.bytes[0] = 1; buffer.release(); };
      for (let i = 0; i < 1e6; i++) cycle();
      const began = performance.now();
      for (let i = 0; i < 1e6; i++) cycle();
      await new Promise((resolve) => setTimeout(resolve, 20));
      console.log("major", major, "leases", pool.stats().acquires);`;
    const out = execFileSync(process.execPath, ["--input-type=module", "-e", script], {
      encoding: "utf8",
      timeout: 100_000,
    });
    expect(out.trim()).toBe("major 0 leases 2000000");
  });
});

describe("BufferPool.create", () => {
  it("makes a pool that is usable at once, of both kinds of options", () => {
    const pool = BufferPool.create({ name: "made", trace: true, size: 64, min: 1, max: 2, maxBytes: 100 });
    expect([pool.name, pool.trace, pool.isActive, pool.config?.maxBytes, pool.stats().count]).toEqual([
      "made",
      true,
      true,
      100,
      1,
    ]);
    expect([pool.tryAcquire()?.size, pool.tryAcquire()]).toEqual([64, undefined]);
  });

  it("makes a pool of a subclass, which gets the options that only it knows", () => {
    class Tagged extends BufferPool {
      readonly label: string;
      constructor({ label = "", ...options }: BufferPoolOptions & { label?: string } = {}) {
        super(options);
        this.label = label;
      }
    }
    const pool = Tagged.create({ label: "left", name: "sub", size: 8, max: 1 });
    expect([pool instanceof Tagged, pool.label, pool.name, pool.isActive]).toEqual([true, "left", "sub", true]);
    expect(code(() => Tagged.create({ label: "left", size: 8, max: 1, nmae: "x" } as never))).toBe(
      "ERR_INVALID_ARG_VALUE",
    );
  });

  it("names a wrong option as the caller wrote it, and suggests the right one from both kinds", () => {
    const make = (options: unknown) => () => BufferPool.create(options as never);
    expect(make({ max: 2 })).toThrow(/options\.size must be a number/);
    expect(make({ size: 0, max: 2 })).toThrow(/options\.size must be 1 or more bytes.*ERR_OUT_OF_RANGE/);
    expect(make({ size: 1, max: 0 })).toThrow(/options\.max must be 1 or more buffers.*ERR_OUT_OF_RANGE/);
    expect(make({ size: 1, max: 1, min: 2 })).toThrow(/options\.min must be at most options\.max, 1/);
    expect(make({ size: 1, max: 1, prefx: 2 })).toThrow(/options\.prefx is not an option here; did you mean "prefix"/);
    expect(make({ size: 1, max: 1, nam: "x" })).toThrow(/did you mean "name"/);
    expect(make({ size: 1, max: 1, clock: 1 })).toThrow(/options\.clock/);
    for (const none of [undefined, null, 3, []]) expect(code(make(none))).toBe("ERR_INVALID_ARG_TYPE");
  });

  it("reads each option once", () => {
    const reads: string[] = [];
    const given = { size: 64, max: 1, name: "read", align: 16 };
    const watched = Object.defineProperties(
      {},
      Object.fromEntries(
        Object.entries(given).map(([key, value]) => [
          key,
          { enumerable: true, get: () => [reads.push(key), value][1] },
        ]),
      ),
    );
    BufferPool.create(watched as typeof given);
    expect(reads.sort()).toEqual(["align", "max", "name", "size"]);
  });

  it("leaves nothing behind when the first buffers cannot be made", () => {
    class Failing extends SystemAllocator {
      #made = 0;
      protected override allocateRegion(...args: [number, ResolvedParams]): Region | undefined {
        return this.#made++ === 1 ? undefined : super.allocateRegion(...args);
      }
    }
    const allocator = new Failing("failing");
    expect(code(() => BufferPool.create({ size: 8, min: 2, max: 2, allocator }))).toBe("ERR_ALLOCATION_FAILED");
    expect(allocator.stats().liveMemories).toBe(0);
  });
});

it("a buffer's pool is the BufferPool that it is leased from", () => {
  const pool = openPool();
  const from: BufferPool | null = pool.tryAcquire()!.pool;
  expect([from === pool, from?.stats().outstanding]).toEqual([true, 1]);
});

it.runIf(typeof Symbol.dispose === "symbol")("a pool that goes out of a using block is closed by force", () => {
  const pool = openPool();
  const buffer = pool.tryAcquire()!;
  pool[Symbol.dispose]();
  expect([code(() => pool.tryAcquire()), code(() => buffer.bytes), pool.outstanding]).toEqual([
    "ERR_POOL_DEAD",
    "ERR_POOL_DEAD",
    0,
  ]);
});

describe("what an acquire asks for", () => {
  it("reaches populate() when the acquire makes a buffer, at once or after a wait; activation asks for nothing", async () => {
    const hints: unknown[] = [];
    class Hinted extends BufferPool {
      protected override populate(buffer: MediaBuffer, config: ActualPoolConfig, hint?: unknown): void {
        hints.push(hint);
        super.populate(buffer, config);
      }
    }
    const pool = new Hinted();
    pool.configure({ size: 8, min: 1, max: 2 });
    pool.activate();
    const first = pool.tryAcquire({ hint: "kept, not made" })!;
    const second = await pool.acquire({ hint: "second" });
    const third = pool.acquire({ hint: "third" });
    second.append(wrapMemory(new Uint8Array(1)));
    second.release();
    (await third).release();
    first.release();
    expect(hints).toEqual([undefined, "second", "third"]);
    pool.validate();
  });
});
