// Shares its realm with other files: nothing that it changes outlives it.
/** One gate: while somebody waits, what comes free is the first one's in line, whoever else asks, and from where. */
import { describe, expect, it } from "vitest";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { PagePool } from "../../src/pools/page/page-pool.ts";
import { FakeClock, type TimerHandle } from "../../src/util/clock.ts";
import { code } from "./buffer/pools.ts";

const PAGE = 4096;

async function turns(): Promise<void> {
  for (let i = 0; i < 5; i++) await null;
}

describe("a PagePool in which somebody waits", () => {
  it("gives an idle block to nobody else: not to acquire(), tryAllocate() or the allocator", async () => {
    const pool = PagePool.create({ maxBytes: 4 * PAGE, pageSize: PAGE, ageOut: Infinity });
    const [a, c, d] = [pool.allocate(2 * PAGE), pool.allocate(PAGE), pool.allocate(PAGE)];
    d.release();
    const order: string[] = [];
    const large = pool.acquire(3 * PAGE).then((memory) => {
      order.push("large");
      return memory;
    });
    const small = pool.acquire(PAGE).then((memory) => {
      order.push("small");
      return memory;
    });
    await turns();
    expect(order).toEqual([]);
    expect(pool.tryAllocate(PAGE)).toBeUndefined();
    expect(code(() => pool.allocate(PAGE))).toBe("ERR_POOL_FULL");
    expect(code(() => pool.allocator.allocate(PAGE))).toBe("ERR_POOL_FULL");
    expect(pool.stats().idle).toBe(1);
    pool.validate();
    a.release();
    (await large).release();
    (await small).release();
    expect(order).toEqual(["large", "small"]);
    c.release();
    pool.allocate(PAGE).release();
    pool.validate();
    pool.close();
  });

  it("lets no clock take pages between two that are served", async () => {
    let whenCleared: (() => void) | undefined;
    class Calling extends FakeClock {
      override clearTimer(handle: TimerHandle): void {
        super.clearTimer(handle);
        const call = whenCleared;
        whenCleared = undefined;
        call?.();
      }
    }
    const pool = PagePool.create({ maxBytes: 2 * PAGE, pageSize: PAGE, clock: new Calling(), timer: false });
    const held = pool.allocate(2 * PAGE);
    const first = pool.acquire(PAGE, { timeout: 1000 });
    const second = pool.acquire(PAGE);
    let stolen = "not tried";
    whenCleared = () => {
      stolen = code(() => pool.allocate(PAGE));
    };
    held.release();
    expect(stolen).toBe("ERR_POOL_FULL");
    (await first).release();
    (await second).release();
    pool.close();
  });

  it("is sound in the turn before a waiter is served that is served a turn later", async () => {
    let hook: (() => void) | undefined;
    class Calling extends FakeClock {
      override now(): number {
        const call = hook;
        hook = undefined;
        call?.();
        return super.now();
      }
    }
    const pool = PagePool.create({ pageSize: 512, maxBytes: 2048, clock: new Calling(), timer: false });
    const held = pool.allocate(1024);
    const abort = new AbortController();
    const large = pool.acquire(2048, { signal: abort.signal }).catch(() => "aborted");
    const small = pool.acquire(1024);
    hook = () => abort.abort();
    pool.maintain();
    pool.validate();
    expect(await large).toBe("aborted");
    (await small).release();
    held.release();
    pool.validate();
    pool.close();
  });
});

describe("a BufferPool in which somebody waits", () => {
  it('gives nothing to a listener of "discard", "release" or a clock before the first in line', async () => {
    let whenRead: (() => void) | undefined;
    class Calling extends FakeClock {
      override now(): number {
        const call = whenRead;
        whenRead = undefined;
        call?.();
        return super.now();
      }
    }
    const clock = new Calling();
    const pool = BufferPool.create({ size: 64, max: 1, clock });
    const stolen: (MediaBuffer | undefined)[] = [];
    const steal = () => void stolen.push(pool.tryAcquire());
    const off = [pool.on("discard", steal), pool.on("release", steal)];
    const first = pool.tryAcquire()!;
    const waits = pool.acquire();
    structuredClone(first.bytes.buffer, { transfer: [first.bytes.buffer as ArrayBuffer] });
    whenRead = steal;
    expect(code(() => first.release())).toBe("ERR_DETACHED");
    const second = await waits;
    expect(second.bytes.length).toBe(64);
    expect(stolen.length).toBeGreaterThanOrEqual(2);
    expect(stolen.every((buffer) => buffer === undefined)).toBe(true);
    for (const end of off) end();
    second.release();
    pool.close();
  });

  it("hands what comes back while a wait is made to that wait, and opens its fast paths again after it", async () => {
    let whenRead: (() => void) | undefined;
    class Calling extends FakeClock {
      override now(): number {
        const call = whenRead;
        whenRead = undefined;
        call?.();
        return super.now();
      }
    }
    const pool = BufferPool.create({ size: 64, max: 1, clock: new Calling() });
    const first = pool.tryAcquire()!;
    let stolen: MediaBuffer | undefined;
    whenRead = () => {
      first.release();
      stolen = pool.tryAcquire();
    };
    const waits = pool.acquire();
    expect(stolen).toBeUndefined();
    (await waits).release();
    pool.tryAcquire()!.release();
    pool.validate();
    pool.close();
  });
});
