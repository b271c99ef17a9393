/** Where a lease was taken: the caller's line, also in a bundle, after a wait, and through two pools. */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { rolldown } from "rolldown";
import { afterEach, describe, expect, it } from "vitest";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import type { Memory } from "../../src/memory/memory.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { PagePool } from "../../src/pools/page/page-pool.ts";
import { SlabPool } from "../../src/pools/slab/slab-pool.ts";

const top = (site: string | undefined): string => String(site).split("\n")[0]!;
const limit = Error.stackTraceLimit;
afterEach(() => {
  Error.stackTraceLimit = limit;
});

describe("the site of a lease", () => {
  it("is the caller's line in a bundle, for every method that leases", async () => {
    const folder = await mkdtemp(join(tmpdir(), "millpond-sites-"));
    try {
      const file = join(folder, "app.mjs");
      const from = (path: string): string =>
        JSON.stringify(fileURLToPath(new URL(`../../src/${path}`, import.meta.url)));
      const entry = join(folder, "entry.mjs");
      await writeFile(
        entry,
        `
            import { BufferPool } from ${from("pools/buffer/buffer-pool.ts")};
            import { PagePool } from ${from("pools/page/page-pool.ts")};
            import { SlabPool } from ${from("pools/slab/slab-pool.ts")};
            const buffers = BufferPool.create({ size: 8, max: 5, trace: true });
            const pages = PagePool.create({ trace: true });
            const below = PagePool.create({ trace: true });
            const cells = SlabPool.create({ elementSize: 8, trace: true });
            (function culpritOne() { buffers.tryAcquire(); })();
            (function culpritTwo() { buffers.tryAcquire({ tag: "x" }); })();
            await (async function culpritThree() { await buffers.acquire(); })();
            const last = buffers.tryAcquire();
            (function culpritFour() { buffers.tryAcquire(); })();
            const wait = (async function culpritFive() { await buffers.acquire(); })();
            (function releaser() { last.release(); })();
            await wait;
            (function culpritSix() { pages.allocate(8); })();
            (function culpritSeven() { pages.tryAllocate(8); })();
            await (async function culpritEight() { await pages.acquire(8); })();
            (function culpritNine() { pages.allocator.allocate(8); })();
            (function culpritTen() { cells.alloc(); })();
            (function culpritEleven() { cells.tryAlloc(); })();
            (function culpritTwelve() { BufferPool.create({ size: 8, max: 2, min: 1, allocator: below.allocator }); })();
            const fed = BufferPool.create({ size: 8, max: 2, allocator: below.allocator });
            (function culpritThirteen() { fed.tryAcquire(); })();
            (function culpritFourteen() { fed.acquire(); })();
            const sites = [buffers, pages, cells, below].flatMap((pool) => pool.holders().map(({ site }) => site));
            console.log(JSON.stringify(sites.map((site) => /culprit\\w+/.exec(site.split("\\n")[0])?.[0] ?? site)));`,
      );
      const bundle = await rolldown({ input: entry, platform: "node" });
      await bundle.write({ file });
      await bundle.close();
      const { stdout } = await promisify(execFile)(process.execPath, [file], { timeout: 100_000 });
      const names = "One Two Three Four Five Six Seven Eight Nine Ten Eleven Twelve Thirteen Fourteen".split(" ");
      expect((JSON.parse(stdout) as string[]).sort()).toEqual(names.map((name) => `culprit${name}`).sort());
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  it("is the caller's line when the stack is limited to one frame", () => {
    const buffers = BufferPool.create({ size: 8, max: 1, trace: true });
    const pages = PagePool.create({ trace: true });
    const fed = BufferPool.create({ size: 8, max: 1, allocator: pages.allocator });
    const cells = SlabPool.create({ elementSize: 8, trace: true });
    Error.stackTraceLimit = 1;
    (function culprit(): void {
      buffers.tryAcquire();
      pages.allocate(8);
      fed.tryAcquire();
      cells.alloc();
    })();
    Error.stackTraceLimit = limit;
    const sites = [buffers, pages, cells].flatMap((pool) => pool.holders().map(({ site }) => site));
    expect(sites.map((site) => /culprit/.test(site!))).toEqual([true, true, true, true]);
  });

  it("of a lease that was waited for is the line that waited, not the one that released", async () => {
    const buffers = BufferPool.create({ size: 8, max: 1, trace: true });
    const pages = PagePool.create({ max: 1, trace: true });
    const [buffer, page] = [buffers.tryAcquire()!, pages.allocate(8)];
    const waits = (async function waiter(): Promise<unknown> {
      return await Promise.all([buffers.acquire(), pages.acquire(8)]);
    })();
    (function releaser(held: (MediaBuffer | Memory)[]): void {
      for (const one of held) one.release();
    })([buffer, page]);
    await waits;
    for (const pool of [buffers, pages]) expect(top(pool.holders()[0]!.site)).toContain("waiter");
  });

  it("of a wait that began before tracing is unknown, rather than the releaser's", async () => {
    const pool = BufferPool.create({ size: 8, max: 1 });
    const held = pool.tryAcquire()!;
    const wait = pool.acquire();
    pool.trace = true;
    held.release();
    await wait;
    expect(pool.holders()[0]!.site).toBeUndefined();
  });

  it("stays right after an acquire that failed", async () => {
    let fails = true;
    class Failing extends BufferPool {
      protected override populate(...args: Parameters<BufferPool["populate"]>): void {
        if (fails) throw new Error("no");
        super.populate(...args);
      }
    }
    const pages = PagePool.create({ trace: true });
    const pool = Failing.create({ size: 8, max: 2, trace: true, allocator: pages.allocator });
    await expect(pool.acquire()).rejects.toThrow("no");
    expect(() => pool.tryAcquire()).toThrow("no");
    fails = false;
    (function culprit(): void {
      pool.tryAcquire();
    })();
    expect([pool, pages].map((one) => /culprit/.test(top(one.holders()[0]!.site)))).toEqual([true, true]);
  });
});
