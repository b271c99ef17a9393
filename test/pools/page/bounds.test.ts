// Shares its realm with other files: nothing that it changes outlives it.
/** Sizes, bounds, thresholds and waits of a PagePool; its allocator after the pool; frames that waste nothing. */
import { describe, expect, it } from "vitest";
import { VideoInfo, type VideoPixelFormat } from "../../../src/media/video/info.ts";
import { SystemAllocator } from "../../../src/memory/allocator.ts";
import { findPageSize, pageSize } from "../../../src/os/pages.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import { PagePool, type PagePoolOptions } from "../../../src/pools/page/page-pool.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { code } from "../buffer/pools.ts";

const PAGE = 4096;

function open(options: PagePoolOptions = {}): PagePool {
  return PagePool.create({ clock: new FakeClock(), pageSize: PAGE, ...options });
}

describe("sizes", () => {
  it.each([
    [1, 4096, 16_384],
    [2, 4096, 16_384],
    [55, 4096, 16_384],
    [4096, 4096, 16_384],
    [4097, 8192, 16_384],
    [16_384, 16_384, 16_384],
    [16_385, 20_480, 32_768],
    [1_382_400, 1_384_448, 1_392_640],
    [3_110_400, 3_112_960, 3_112_960],
    [8_294_400, 8_294_400, 8_306_688],
    [12_441_600, 12_443_648, 12_451_840],
  ])("%i bytes take %i bytes of small pages, %i of large ones", (size, small, large) => {
    expect([open().roundedSize(size), open({ pageSize: 16_384 }).roundedSize(size)]).toEqual([small, large]);
    const memory = open().allocator.allocate(size);
    expect([memory.size, memory.maxSize, memory.offset]).toEqual([size, small, 0]);
  });

  it("sizes of one page count share blocks; the requested size is kept apart", () => {
    const pool = open();
    const small = pool.allocator.allocate(55);
    small.release();
    const larger = pool.allocator.allocate(2000);
    expect([larger.region === small.region, larger.size, pool.stats().wastedBytes]).toEqual([true, 2000, 2096]);
  });

  it("size 0 is an empty memory that takes no page", () => {
    const pool = open();
    const memory = pool.allocator.allocate(0);
    expect([memory.size, memory.lock("read").length, pool.stats().count]).toEqual([0, 0, 0]);
    memory.unlock("read");
    memory.release();
    expect(pool.stats().liveMemories).toBe(0);
  });

  it("prefix, padding and large alignments have their room, and blocks of one alignment are their own", () => {
    const pool = open();
    const memory = pool.allocator.allocate(4000, { prefix: 64, padding: 64 });
    expect([memory.offset, memory.size, memory.maxSize]).toEqual([64, 4000, 2 * PAGE]);
    const aligned = pool.allocator.allocate(PAGE, { align: 65_536 });
    expect(aligned.align).toBe(65_536);
    aligned.release();
    expect(pool.allocator.allocate(PAGE).region).not.toBe(aligned.region);
    expect(pool.allocator.allocate(PAGE, { align: 65_536 }).region).toBe(aligned.region);
    pool.validate();
  });

  it("a thousand sizes, once each, leave nothing behind", () => {
    const clock = new FakeClock();
    const pool = open({ clock });
    for (let pages = 1; pages <= 1000; pages++) pool.allocator.allocate(pages * PAGE).release();
    expect(pool.stats().idle).toBe(1000);
    clock.advance(510);
    expect([pool.stats().count, pool.stats().bytes, clock.pending]).toEqual([0, 0, 0]);
    pool.validate();
  });

  it("the page size is the machine's own", () => {
    expect(findPageSize(undefined)).toBe(4096);
    expect(findPageSize({ platform: "darwin", arch: "arm64" })).toBe(16_384);
    expect(findPageSize({ platform: "darwin", arch: "x64" })).toBe(4096);
    expect(findPageSize({ platform: "win32", arch: "arm64" })).toBe(4096);
    const vector = new DataView(new ArrayBuffer(48));
    for (const [at, word] of [33, 7, 6, 65_536, 0, 0].entries()) vector.setBigUint64(at * 8, BigInt(word), true);
    const host = (bytes: Uint8Array) => ({
      platform: "linux",
      getBuiltinModule: () => ({ readFileSync: () => bytes }),
    });
    expect(findPageSize(host(new Uint8Array(vector.buffer)))).toBe(65_536);
    expect(findPageSize(host(new Uint8Array(7)))).toBe(4096);
    const forbidden = {
      platform: "linux",
      getBuiltinModule: () => {
        throw new Error("no permission");
      },
    };
    expect(findPageSize(forbidden)).toBe(4096);
    expect(pageSize() & (pageSize() - 1)).toBe(0);
  });
});

describe("a frame wastes less than 2 % of its pages", () => {
  const formats: VideoPixelFormat[] = ["I420", "I422", "I444", "NV12", "RGBA", "BGRA", "I420A"];
  const sizes = [
    ["720p", 1280, 720],
    ["1080p", 1920, 1080],
    ["4K", 3840, 2160],
  ] as const;
  const cases = formats.flatMap((format) =>
    sizes.flatMap(([name, width, height]) => [1, 64].map((align) => [format, name, align, width, height] as const)),
  );
  it.each(cases)("%s %s, rows aligned to %i", (format, _name, strideAlign, width, height) => {
    const info = VideoInfo.of({ format, width, height, strideAlign });
    const pixels = VideoInfo.of({ format, width, height }).size;
    for (const pages of [4096, 16_384]) {
      const pool = open({ pageSize: pages });
      pool.allocator.allocate(info.size);
      const { bytes } = pool.stats();
      expect((bytes - pixels) / pixels).toBeLessThan(0.02);
    }
  });
});

describe("bounds", () => {
  it("idle blocks of other sizes make room, oldest first, before anything is refused", () => {
    const pool = open({ maxBytes: 4 * PAGE });
    const blocks = [1, 1, 2].map((pages) => pool.allocator.allocate(pages * PAGE));
    for (const block of blocks) block.release();
    pool.allocator.allocate(3 * PAGE);
    expect([pool.stats().evicted, pool.stats().bytes, pool.stats().idle]).toEqual([3, 3 * PAGE, 0]);
  });

  it("beyond the bound it is ERR_POOL_FULL, which names the holders, and no idle block goes for it", () => {
    const pool = open({ maxBytes: 4 * PAGE });
    const memory = pool.allocator.allocate(3 * PAGE);
    pool.allocator.allocate(PAGE).release();
    expect(() => pool.allocator.allocate(2 * PAGE)).toThrow(new RegExp(`memory #${memory.id} \\(12288 bytes\\)`));
    expect(code(() => pool.allocator.allocate(2 * PAGE))).toBe("ERR_POOL_FULL");
    expect([pool.stats().idle, pool.stats().evicted]).toEqual([1, 0]);
    expect(pool.tryAllocate(2 * PAGE)).toBeUndefined();
  });

  it("a threshold stops fresh pages and still leases idle ones; available says when to try again", () => {
    const pool = open();
    const heard: unknown[] = [];
    const off = pool.on("available", (event) => heard.push(event));
    const [a, b] = [pool.tryAllocate(PAGE, { threshold: 2 })!, pool.tryAllocate(PAGE, { threshold: 2 })!];
    expect(pool.tryAllocate(PAGE, { threshold: 2 })).toBeUndefined();
    a.release();
    b.release();
    expect(heard).toEqual([{ pool: "pages", idle: 1 }]);
    expect(pool.tryAllocate(PAGE, { threshold: 0 })).toBeDefined();
    expect(pool.tryAllocate(2 * PAGE, { threshold: 2 })).toBeUndefined();
    off();
    pool.trim();
    expect(heard).toHaveLength(1);
  });
});

describe("waiting", () => {
  it("is served in order of arrival, a large request first in line is not overtaken", async () => {
    const pool = open({ maxBytes: 4 * PAGE });
    const [a, b] = [pool.allocator.allocate(2 * PAGE), pool.allocator.allocate(2 * PAGE)];
    const order: string[] = [];
    const large = pool.acquire(4 * PAGE).then((memory) => {
      order.push("large");
      return memory;
    });
    const small = pool.acquire(PAGE).then((memory) => {
      order.push("small");
      return memory;
    });
    expect(code(() => pool.allocator.allocate(PAGE))).toBe("ERR_POOL_FULL");
    a.release();
    await Promise.resolve();
    expect(order).toEqual([]);
    b.release();
    (await large).release();
    (await small).release();
    expect(order).toEqual(["large", "small"]);
    pool.validate();
  });

  it("an idle block of the right size serves at once, past those who wait for pages", async () => {
    const pool = open({ max: 2 });
    const a = pool.allocator.allocate(PAGE);
    const held = pool.allocator.allocate(2 * PAGE);
    const wait = pool.acquire(3 * PAGE);
    held.release();
    expect((await wait).size).toBe(3 * PAGE);
    a.release();
  });

  it("ends by timeout with who holds what, by its signal, and lets those behind go on", async () => {
    const clock = new FakeClock();
    const pool = open({ clock, maxBytes: 2 * PAGE });
    const memory = pool.allocator.allocate(PAGE);
    const abort = new AbortController();
    const late = pool.acquire(2 * PAGE, { timeout: 100 }).catch((error) => error);
    const given = pool.acquire(2 * PAGE, { signal: abort.signal }).catch((error) => error);
    const small = pool.acquire(PAGE);
    clock.advance(100);
    const error = await late;
    expect([error.code, error.details.holders[0].memory]).toEqual(["ERR_STARVED", memory.id]);
    abort.abort("changed my mind");
    expect(await given).toBe("changed my mind");
    expect((await small).size).toBe(PAGE);
    expect(clock.pending).toBeLessThanOrEqual(1);
  });

  it("what can never fit is refused at once", async () => {
    const pool = open({ maxBytes: PAGE });
    await expect(pool.acquire(PAGE + 1)).rejects.toThrow(/ERR_POOL_FULL/);
    await expect(open({ max: 0 }).acquire(1)).rejects.toThrow(/ERR_POOL_FULL/);
    await expect(pool.acquire(1, { signal: AbortSignal.abort("never mind") })).rejects.toBe("never mind");
    expect(pool.stats().waiting).toBe(0);
  });
});

describe("composition", () => {
  it("the allocator outlives an invalidated pool: it allocates and frees directly", () => {
    const source = new SystemAllocator();
    const pool = open({ source });
    const { allocator } = pool;
    const memory = allocator.allocate(PAGE);
    allocator.allocate(PAGE).release();
    pool.invalidate();
    pool.invalidate();
    pool.trim();
    expect([source.stats().liveMemories, pool.allocator === allocator]).toEqual([1, true]);
    memory.release();
    allocator.allocate(PAGE).release();
    expect([source.stats().liveMemories, pool.stats().idle]).toEqual([0, 0]);
  });

  it("a BufferPool draws from a PagePool, and its next life finds warm pages", () => {
    const pool = open();
    const frames = new BufferPool({ name: "frames" });
    frames.configure({ size: 3_110_400, max: 2, min: 2, allocator: pool.allocator });
    for (let life = 0; life < 3; life++) {
      frames.activate();
      frames.deactivate();
    }
    expect([pool.stats().misses, pool.stats().idle]).toEqual([2, 2]);
  });
});
