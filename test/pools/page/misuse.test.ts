// Shares its realm with other files: nothing that it changes outlives it.
/** What is refused, and that a refused call changes nothing; how a PagePool ends. */
import { describe, expect, it } from "vitest";
import { SharedAllocator } from "../../../src/allocators/shared.ts";
import { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { Allocator, SystemAllocator } from "../../../src/memory/allocator.ts";
import { opaqueRegion, Region } from "../../../src/memory/region.ts";
import { PagePool, type PagePoolOptions } from "../../../src/pools/page/page-pool.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { code } from "../buffer/pools.ts";

const PAGE = 4096;

function open(options: PagePoolOptions = {}): PagePool {
  return PagePool.create({ name: "test", clock: new FakeClock(), pageSize: PAGE, ...options });
}

const seen = (pool: PagePool): unknown => [pool.stats(), pool.holders()];

describe("the five misuse kinds", () => {
  it("a second release is ERR_DOUBLE_RELEASE, also when the block is leased again, and takes nothing from the next holder", () => {
    const pool = open();
    const stale = pool.allocator.allocate(PAGE);
    stale.release();
    const now = pool.allocator.allocate(PAGE);
    const before = seen(pool);
    expect(now.region).toBe(stale.region);
    expect(code(() => stale.release())).toBe("ERR_DOUBLE_RELEASE");
    expect(seen(pool)).toEqual(before);
    expect(now.refCount).toBe(1);
  });

  it("a memory of another pool cannot be given to this one: it goes back by itself", () => {
    const [one, other] = [open(), open({ name: "other" })];
    const memory = one.allocator.allocate(PAGE);
    memory.release();
    expect([one.stats().idle, other.stats().idle]).toEqual([1, 0]);
  });

  it("a reference that a sub-memory or a buffer holds is nobody else's: ERR_FOREIGN_RELEASE", () => {
    const pool = open();
    const memory = pool.allocator.allocate(PAGE);
    const part = memory.share(0, 10);
    const more = memory.share(10, 10);
    memory.release();
    const before = seen(pool);
    expect(code(() => memory.release())).toBe("ERR_FOREIGN_RELEASE");
    expect(seen(pool)).toEqual(before);
    part.release();
    more.release();
    expect(pool.stats().idle).toBe(1);
    const buffer = new MediaBuffer();
    const owned = pool.allocator.allocate(PAGE);
    buffer.append(owned);
    expect(code(() => owned.release())).toBe("ERR_FOREIGN_RELEASE");
    buffer.release();
    expect(pool.stats().idle).toBe(1);
  });

  it("use after release is ERR_USE_AFTER_RELEASE, with any holder of the block since", () => {
    const pool = open();
    const stale = pool.allocator.allocate(PAGE);
    stale.release();
    pool.allocator.allocate(PAGE);
    for (const use of [
      () => stale.map("read"),
      () => stale.lock("write"),
      () => stale.share(0),
      () => stale.copy(),
      () => stale.resize(0, 1),
      () => stale.retain(),
      () => stale.makeWritable(),
    ])
      expect(code(use)).toBe("ERR_USE_AFTER_RELEASE");
  });

  it("a block that comes back without its bytes is ERR_DETACHED, once; the pool goes on without it", () => {
    const pool = open();
    const memory = pool.allocator.allocate(PAGE);
    const bytes = memory.lock("write");
    structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] });
    expect(code(() => memory.release())).toBe("ERR_MAPPED");
    memory.unlock("write");
    expect(code(() => memory.release())).toBe("ERR_DETACHED");
    expect(code(() => memory.release())).toBe("ERR_DOUBLE_RELEASE");
    expect([pool.stats().detached, pool.stats().count, pool.stats().liveMemories]).toEqual([1, 0, 0]);
    pool.validate();
    expect(pool.allocator.allocate(PAGE).map("read").bytes.length).toBe(PAGE);
  });

  it("an idle block whose bytes a stale view transfers away is not leased again", () => {
    const pool = open();
    const memory = pool.allocator.allocate(PAGE);
    const { bytes } = memory.region;
    memory.release();
    structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] });
    const next = pool.allocator.allocate(PAGE);
    expect([next.map("write").bytes.length, pool.stats().misses, pool.stats().count]).toEqual([PAGE, 2, 1]);
    pool.validate();
  });

  it("a memory of a pool that was closed by force is ERR_POOL_DEAD in every use", () => {
    const pool = open();
    const memory = pool.allocator.allocate(PAGE);
    const bytes = memory.lock("read");
    memory.unlock("read");
    expect(pool.close({ force: true })).toMatchObject([{ memory: memory.id, size: PAGE }]);
    expect(code(() => memory.release())).toBe("ERR_POOL_DEAD");
    expect(code(() => memory.map("read"))).toBe("ERR_POOL_DEAD");
    expect(code(() => pool.allocator.allocate(1))).toBe("ERR_POOL_DEAD");
    expect([bytes.length, pool.stats().count, pool.stats().liveMemories]).toEqual([0, 0, 0]);
  });
});

describe("memories by way of the pool", () => {
  it("allocate() and release() of the pool do what its allocator and the memory do", () => {
    const pool = open({ max: 1 });
    const memory = pool.allocate(100, { prefix: 8 });
    expect([memory.allocator, memory.size, memory.offset]).toEqual([pool.allocator, 100, 8]);
    expect(code(() => pool.allocate(PAGE))).toBe("ERR_POOL_FULL");
    pool.release(memory);
    expect([memory.refCount, pool.stats().idle]).toEqual([0, 1]);
    expect(code(() => pool.release(memory))).toBe("ERR_DOUBLE_RELEASE");
    pool.validate();
  });

  it("release() refuses another allocator's memory, and what is not a memory, and changes nothing", () => {
    const pool = open();
    const foreign = new SystemAllocator().allocate(1);
    expect(code(() => pool.release(foreign))).toBe("ERR_FOREIGN_RELEASE");
    expect(code(() => pool.release({} as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect([foreign.refCount, pool.stats().liveMemories]).toEqual([1, 0]);
  });
});

describe("how a pool ends", () => {
  it.runIf(typeof Symbol.dispose === "symbol")("the end of a using block closes the pool by force", () => {
    const pool = open();
    const memory = pool.allocate(PAGE);
    pool[Symbol.dispose]();
    pool[Symbol.dispose]();
    expect(code(() => memory.map("read"))).toBe("ERR_POOL_DEAD");
    expect(pool.stats().count).toBe(0);
  });

  it("close() refuses while leases are out, names them, and changes nothing", () => {
    const pool = open({ trace: true });
    const memory = pool.allocator.allocate(100);
    const before = seen(pool);
    expect(() => pool.close()).toThrow(/memory #\d+ \(100 bytes\) for \d+ ms, taken .*misuse\.test/);
    expect(code(() => pool.close())).toBe("ERR_IN_USE");
    expect(seen(pool)).toEqual(before);
    memory.release();
    pool.close();
    expect(code(() => pool.allocator.allocate(1))).toBe("ERR_POOL_DEAD");
    pool.close();
  });

  it("retire() lets leases live and takes their blocks straight back to the source", () => {
    const source = new SystemAllocator();
    const pool = open({ source });
    const memory = pool.allocator.allocate(PAGE);
    expect(pool.retire()).toHaveLength(1);
    memory.lock("write")[0] = 1;
    memory.unlock("write");
    memory.release();
    expect([source.stats().liveMemories, pool.stats().count]).toEqual([0, 0]);
    expect(code(() => pool.allocator.allocate(1))).toBe("ERR_POOL_DEAD");
  });

  it("close({ force }) leaves blocks alone that a buffer holds, whole or in part, until it releases them", () => {
    const source = new SystemAllocator();
    const pool = open({ source });
    const [whole, root] = [pool.allocator.allocate(PAGE), pool.allocator.allocate(PAGE)];
    const buffer = new MediaBuffer();
    buffer.append(whole);
    buffer.append(root.share(0, 4));
    root.release();
    expect(pool.close({ force: true })).toHaveLength(2);
    expect([whole.lock("read").length, buffer.size]).toEqual([PAGE, PAGE + 4]);
    whole.unlock("read");
    buffer.release();
    expect(source.stats().liveMemories).toBe(0);
  });

  it("waiters of a pool that ends are refused in order", async () => {
    const pool = open({ max: 1 });
    const memory = pool.allocator.allocate(PAGE);
    const waits = [pool.acquire(1), pool.acquire(2)].map((wait) => wait.catch((error) => error.code));
    pool.retire();
    expect(await Promise.all(waits)).toEqual(["ERR_POOL_DEAD", "ERR_POOL_DEAD"]);
    memory.release();
    expect(pool.stats().waiting).toBe(0);
  });
});

describe("bad arguments are refused, and nothing has changed", () => {
  it.each<[keyof PagePoolOptions, unknown, string]>([
    ["ageOut", -1, "ERR_OUT_OF_RANGE"],
    ["ageOut", Number.NaN, "ERR_OUT_OF_RANGE"],
    ["ageOut", "500", "ERR_INVALID_ARG_TYPE"],
    ["curve", "steep", "ERR_INVALID_ARG_VALUE"],
    ["source", {}, "ERR_INVALID_ARG_TYPE"],
    ["maxBytes", -1, "ERR_OUT_OF_RANGE"],
    ["max", 1.5, "ERR_OUT_OF_RANGE"],
    ["min", Number.POSITIVE_INFINITY, "ERR_OUT_OF_RANGE"],
    ["zero", "always", "ERR_INVALID_ARG_VALUE"],
    ["revoke", 1, "ERR_INVALID_ARG_TYPE"],
    ["timer", "no", "ERR_INVALID_ARG_TYPE"],
    ["pageSize", 5000, "ERR_INVALID_ARG_VALUE"],
    ["pageSize", 256, "ERR_OUT_OF_RANGE"],
    ["name", 7, "ERR_INVALID_ARG_TYPE"],
  ])("the option %s with %s is refused", (key, value, expected) => {
    expect(code(() => PagePool.create({ [key]: value } as PagePoolOptions))).toBe(expected);
  });

  it("sizes, alignments, levels and requests", async () => {
    const pool = open();
    pool.allocator.allocate(PAGE);
    const before = seen(pool);
    for (const size of [-1, 1.5, Number.NaN, "4096", null, undefined, 2 ** 53, Number.POSITIVE_INFINITY]) {
      expect(code(() => pool.allocator.allocate(size as number))).toMatch(/ERR_OUT_OF_RANGE|ERR_INVALID_ARG_TYPE/);
      expect(code(() => pool.tryAllocate(size as number))).toMatch(/ERR_OUT_OF_RANGE|ERR_INVALID_ARG_TYPE/);
      await expect(pool.acquire(size as number)).rejects.toThrow(/ERR_OUT_OF_RANGE|ERR_INVALID_ARG_TYPE/);
    }
    expect(code(() => pool.allocator.allocate(1, { align: 3 }))).toBe("ERR_INVALID_ARG_VALUE");
    expect(code(() => pool.tryAllocate(1, { threshold: -1 }))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => pool.setPressure("higher" as "high"))).toBe("ERR_INVALID_ARG_VALUE");
    expect(code(() => pool.maintain("now" as unknown as number))).toBe("ERR_INVALID_ARG_TYPE");
    await expect(pool.acquire(1, { timeout: -1 })).rejects.toThrow(/ERR_OUT_OF_RANGE/);
    expect([pool.stats().count, pool.holders()]).toEqual([1, (before as unknown[])[1]]);
  });

  it("an engine that has no such memory is ERR_ALLOCATION_FAILED, and the pool is as it was", () => {
    const pool = open();
    expect(code(() => pool.allocator.allocate(2 ** 52))).toBe("ERR_ALLOCATION_FAILED");
    expect([pool.stats().count, pool.stats().bytes, pool.stats().failures]).toEqual([0, 0, 1]);
    pool.validate();
  });
});

/** A source that answers what it is told to. */
class Fickle extends Allocator {
  answer: (size: number) => Region | undefined = (size) => new Region(new Uint8Array(size));
  given = 0;

  protected override allocateRegion(size: number): Region | undefined {
    const region = this.answer(size);
    if (region !== undefined) this.given++;
    return region;
  }

  protected override freeRegion(_region: Region): void {
    this.given--;
  }
}

describe("sources", () => {
  it("idle blocks go back when the source has no more, and the allocation succeeds", () => {
    const source = new Fickle("fickle");
    source.answer = (size) => (source.given < 2 ? new Region(new Uint8Array(size)) : undefined);
    const pool = open({ source });
    const [a, b] = [pool.allocator.allocate(PAGE), pool.allocator.allocate(PAGE)];
    expect(code(() => pool.allocator.allocate(2 * PAGE))).toBe("ERR_ALLOCATION_FAILED");
    a.release();
    const c = pool.allocator.allocate(2 * PAGE);
    expect([c.size, pool.stats().evicted, source.given]).toEqual([2 * PAGE, 1, 2]);
    b.release();
    c.release();
    pool.trim();
    expect(source.given).toBe(0);
  });

  it("draws from shared memory, and from another PagePool, and nothing is left in either", () => {
    const bottom = open({ name: "bottom", source: new SharedAllocator() });
    const top = open({ name: "top", source: bottom.allocator });
    const memory = top.allocator.allocate(3 * PAGE - 5);
    expect(memory.lock("write").buffer).toBeInstanceOf(SharedArrayBuffer);
    memory.unlock("write");
    memory.release();
    top.close();
    expect([bottom.stats().idle, bottom.stats().live]).toEqual([1, 0]);
    bottom.close();
  });

  it("opaque memory is recycled too, mapped by its own allocator", () => {
    class Device extends Allocator {
      mapped = 0;
      protected override allocateRegion(size: number): Region {
        return opaqueRegion(size, new Uint8Array(size));
      }
      protected override freeRegion(): void {}
      protected override mapRegion(region: Region): Uint8Array {
        this.mapped++;
        return region.handle as Uint8Array;
      }
      protected override unmapRegion(): void {
        this.mapped--;
      }
    }
    const device = new Device("device", { memoryType: "DeviceMemory" });
    const pool = open({ source: device });
    const memory = pool.allocator.allocate(PAGE);
    expect(memory.isType("DeviceMemory")).toBe(true);
    const mapping = memory.map("write");
    expect([mapping.bytes.length, device.mapped]).toEqual([PAGE, 1]);
    mapping.unmap();
    memory.release();
    expect([device.mapped, pool.stats().idle]).toEqual([0, 1]);
    expect(code(() => open({ source: device, zero: "acquire" }).allocator.allocate(1))).toBe("ERR_UNSUPPORTED");
    expect(code(() => open({ source: device, revoke: true }).allocator.allocate(1))).toBe("ERR_UNSUPPORTED");
  });

  it("revoke: true revokes the views of the last holder, and refuses memory that cannot be revoked", () => {
    const pool = open({ revoke: true });
    const memory = pool.allocator.allocate(PAGE);
    const view = memory.lock("write");
    view[0] = 7;
    memory.unlock("write");
    memory.release();
    expect(view.length).toBe(0);
    const next = pool.allocator.allocate(PAGE);
    expect([next.map("read").bytes[0], pool.stats().misses]).toEqual([7, 1]);
    expect(code(() => open({ revoke: true, source: new SharedAllocator() }).allocator.allocate(1))).toBe(
      "ERR_UNSUPPORTED",
    );
  });

  it.each([
    ["never", 7],
    ["fresh", 7],
    ["acquire", 0],
    ["release", 0],
  ] as const)("zero policy %s: the next holder reads %i", (zero, expected) => {
    const pool = open({ zero });
    const memory = pool.allocator.allocate(PAGE - 1);
    const region = memory.region;
    region.bytes.fill(7);
    memory.release();
    if (zero === "release") expect(region.bytes[PAGE - 1]).toBe(0);
    const next = pool.allocator.allocate(PAGE - 1);
    expect([next.region === region, next.map("read").bytes[5], next.region.bytes[PAGE - 1]]).toEqual([
      true,
      expected,
      expected,
    ]);
  });

  it("fresh pages of a source that does not give zeros are zeroed, unless the policy is never", () => {
    const source = new Fickle("dirty");
    source.answer = (size) => new Region(new Uint8Array(size).fill(9));
    expect(open({ source }).allocator.allocate(1).region.bytes[0]).toBe(0);
    expect(open({ source, zero: "never" }).allocator.allocate(1).region.bytes[0]).toBe(9);
  });
});
