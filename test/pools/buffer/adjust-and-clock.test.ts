// Shares its realm with other files: nothing that it changes outlives it.
/**
 * Code of the application that a pool calls in the middle: what adjust() answers is checked, a clock may call anything
 * back, and validate() is right in every hook.
 */
import { describe, expect, test } from "vitest";
import type { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { systemAllocator } from "../../../src/memory/allocator.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import type { ActualPoolConfig } from "../../../src/pools/buffer/config.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { code } from "./pools.ts";

describe("what adjust() answers", () => {
  const poolThat = (answer: (wanted: ActualPoolConfig) => unknown): BufferPool =>
    new (class extends BufferPool {
      protected override adjust(wanted: ActualPoolConfig): ActualPoolConfig {
        return answer(wanted) as ActualPoolConfig;
      }
    })();

  test.each<[string, (wanted: ActualPoolConfig) => unknown, string]>([
    ["nothing", () => undefined, "ERR_INVALID_ARG_TYPE"],
    ["null", () => null, "ERR_INVALID_ARG_TYPE"],
    ["a number", () => 5, "ERR_INVALID_ARG_TYPE"],
    ["a promise", async () => undefined, "ERR_INVALID_ARG_TYPE"],
    ["what configure() takes", () => ({ size: 8, max: 2 }), "ERR_INVALID_ARG_TYPE"],
    ["a wrong allocator", (wanted) => ({ ...wanted, allocator: 5 }), "ERR_INVALID_ARG_TYPE"],
    ["no parameters", (wanted) => ({ ...wanted, params: null }), "ERR_INVALID_ARG_TYPE"],
    ["a wrong alignment", (wanted) => ({ ...wanted, params: { align: 3 } }), "ERR_INVALID_ARG_VALUE"],
    ["NaN buffers", (wanted) => ({ ...wanted, max: Number.NaN }), "ERR_OUT_OF_RANGE"],
    ["half a byte", (wanted) => ({ ...wanted, size: 0.5 }), "ERR_OUT_OF_RANGE"],
    ["more than the bound", (wanted) => ({ ...wanted, min: 3 }), "ERR_OUT_OF_RANGE"],
    ["more bytes than the bound", (wanted) => ({ ...wanted, min: 2, maxBytes: 15 }), "ERR_OUT_OF_RANGE"],
    ["an unknown policy", (wanted) => ({ ...wanted, zero: "always" }), "ERR_INVALID_ARG_VALUE"],
    ["a misspelled key", (wanted) => ({ ...wanted, maxbytes: 5 }), "ERR_INVALID_ARG_VALUE"],
    [
      "a promise to revoke that it does not keep",
      (w) => ({ ...w, mustRevoke: true, revoke: false }),
      "ERR_INVALID_ARG_VALUE",
    ],
  ])("%s is refused, and the pool is as it was", (_name, answer, expected) => {
    let isBad = false;
    const pool = poolThat((wanted) => (isBad ? answer(wanted) : wanted));
    const before = pool.configure({ size: 4, max: 1 });
    isBad = true;
    expect(code(() => pool.configure({ size: 8, max: 2 }))).toBe(expected);
    expect(pool.config).toBe(before);
    pool.activate();
    pool.tryAcquire()!.release();
    pool.validate();
  });

  test("is kept as a frozen copy, which the hook cannot change afterwards", () => {
    let given: { max: number } | undefined;
    const pool = poolThat((wanted) => (given = { ...wanted, max: 3 }));
    pool.configure({ size: 8, max: 2 });
    given!.max = 99;
    expect([pool.config!.max, Object.isFrozen(pool.config)]).toEqual([3, true]);
  });

  test("the same configuration again is accepted at any time, as it was asked for and as it was adjusted", () => {
    const pool = poolThat((wanted) => ({ ...wanted, max: Math.max(4, wanted.max) }));
    const inForce = pool.configure({ size: 8, max: 2 });
    pool.activate();
    expect(pool.configure({ size: 8, max: 2 })).toBe(inForce);
    expect(pool.configure({ size: 8, max: 4 })).toBe(inForce);
    expect(code(() => pool.configure({ size: 8, max: 3 }))).toBe("ERR_ACTIVE");
  });
});

test("validate(), holders() and the counters agree in dispose() when `min` buffers could not all be made", () => {
  const seen: unknown[] = [];
  let made = 0;
  class Pool extends BufferPool {
    protected override populate(buffer: MediaBuffer, config: ActualPoolConfig): void {
      if (++made === 4) throw new Error("no more");
      super.populate(buffer, config);
    }
    protected override dispose(): void {
      this.validate();
      seen.push([this.holders().length, this.outstanding, this.free]);
    }
  }
  const pool = new Pool();
  pool.configure({ size: 8, max: 4, min: 4 });
  expect(() => pool.activate()).toThrow("no more");
  expect(seen).toEqual([
    [1, 1, 2],
    [1, 1, 1],
    [1, 1, 0],
  ]);
  pool.validate();
});

describe("a clock that calls its pool back", () => {
  class Calling extends FakeClock {
    hook: (() => void) | undefined;
    override now(): number {
      const { hook } = this;
      this.hook = undefined;
      hook?.();
      return super.now();
    }
  }
  function made(): { clock: Calling; pool: BufferPool } {
    const clock = new Calling();
    return { clock, pool: BufferPool.create({ size: 8, max: 2, min: 1, clock }) };
  }

  test.each([
    ["tryAcquire()", (pool: BufferPool) => pool.tryAcquire()],
    ["tryAcquire({ tag })", (pool: BufferPool) => pool.tryAcquire({ tag: "x" })],
  ])("and closes it by force during %s: the acquire is refused, and no handle reaches a slot", (_name, acquire) => {
    const { clock, pool } = made();
    clock.hook = () => pool.close({ force: true });
    expect(code(() => acquire(pool))).toBe("ERR_POOL_DEAD");
    expect([pool.outstanding, pool.stats().count]).toEqual([0, 0]);
    pool.validate();
  });

  test("and closes it by force during acquire(), or while a waiter is served: the wait is refused", async () => {
    const { clock, pool } = made();
    const [first, second] = [pool.tryAcquire()!, pool.tryAcquire()!];
    const wait = pool.acquire();
    clock.hook = () => pool.close({ force: true });
    first.release();
    await expect(wait).rejects.toMatchObject({ code: "ERR_POOL_DEAD" });
    expect(code(() => second.release())).toBe("ERR_POOL_DEAD");
    pool.validate();

    const other = made();
    other.clock.hook = () => other.pool.close({ force: true });
    await expect(other.pool.acquire()).rejects.toMatchObject({ code: "ERR_POOL_DEAD" });
  });

  test.each<[string, (pool: BufferPool) => void, string]>([
    ["deactivates it", (pool) => pool.deactivate(), "a lease"],
    ["retires it", (pool) => void pool.retire(), "a lease"],
    ["flushes it", (pool) => pool.setFlushing(true), "a lease"],
    ["acquires from it", (pool) => pool.tryAcquire()!.release(), "a lease"],
    ["closes it", (pool) => void expect(code(() => pool.close())).toBe("ERR_IN_USE"), "a lease"],
  ])("and %s: the lease under way is good", (_name, call) => {
    const { clock, pool } = made();
    clock.hook = () => call(pool);
    const buffer = pool.tryAcquire()!;
    expect([buffer.isLive, buffer.bytes.length, pool.outstanding]).toEqual([true, 8, 1]);
    buffer.release();
    expect(pool.outstanding).toBe(0);
    pool.validate();
  });
});

describe("starvation reports", () => {
  test("starvedAfter is 1 ms or more: with 0 the report would repeat without end", () => {
    for (const starvedAfter of [0, 0.5, Number.NaN, -1]) {
      expect(code(() => BufferPool.create({ size: 8, max: 1, starvedAfter }))).toBe("ERR_OUT_OF_RANGE");
    }
    BufferPool.create({ size: 8, max: 1, starvedAfter: 1 }).close();
    BufferPool.create({ size: 8, max: 1, starvedAfter: Number.POSITIVE_INFINITY }).close();
  });

  test("FakeClock.advance(Infinity) fires what is pending once, and ends although a timer starts itself anew", () => {
    const clock = new FakeClock();
    let starved = 0;
    const pool = BufferPool.create({ size: 8, max: 1, clock, allocator: systemAllocator() });
    pool.on("starved", () => starved++);
    const buffer = pool.tryAcquire()!;
    const wait = pool.acquire();
    const order: string[] = [];
    clock.setTimer(() => order.push("late"), 5000, true);
    clock.setTimer(() => order.push("soon"), 5, true);
    clock.setTimer(() => order.push("never"), Number.POSITIVE_INFINITY, true);
    clock.advance(Number.POSITIVE_INFINITY);
    expect([starved, order, clock.now(), clock.pending]).toEqual([1, ["soon", "late"], 5000, 2]);
    clock.advance(0);
    expect(starved).toBe(2);
    buffer.release();
    return wait.then((next) => next.release());
  });
});
