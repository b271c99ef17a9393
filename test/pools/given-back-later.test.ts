/**
 * A pool that is calling its source or its clock refuses what is given back to it. Code of the library that has nothing
 * left to try again with gives it back when the call stack is done: nothing stays out, and nobody hears of it.
 */
import { describe, expect, it } from "vitest";
import { Allocator } from "../../src/memory/allocator.ts";
import { Region } from "../../src/memory/region.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { PagePool } from "../../src/pools/page/page-pool.ts";
import { RealtimePool } from "../../src/pools/realtime/realtime-pool.ts";
import { SlabPool } from "../../src/pools/slab/slab-pool.ts";
import { FakeClock } from "../../src/util/clock.ts";
import { lateErrors } from "../helpers/late-errors.ts";
import { code } from "./buffer/pools.ts";

describe("bytes that go back to a pool which is calling out", () => {
  it("a PagePool's blocks reach the PagePool below whose source trims the upper one", async () => {
    let relieve: (() => void) | undefined;
    class Short extends Allocator {
      protected override allocateRegion(size: number): Region {
        relieve?.();
        return new Region(new Uint8Array(size));
      }
      protected override freeRegion(): void {}
    }
    const base = PagePool.create({ name: "base", source: new Short("short"), ageOut: Infinity });
    const top = PagePool.create({ name: "top", source: base.allocator, ageOut: Infinity });
    top.allocate(4096).release();
    expect(
      await lateErrors(() => {
        relieve = () => {
          relieve = undefined;
          top.trim();
        };
        base.allocate(20_000).release();
      }),
    ).toEqual([]);
    expect([top.stats().idle, top.stats().count, base.stats().live]).toEqual([0, 0, 0]);
    top.close();
    base.close();
  });

  /** Each makes a pool over pages, and gives what closes it. */
  const POOLS: Readonly<Record<string, (pages: PagePool) => { close(options?: { force?: boolean }): unknown }>> = {
    SlabPool(pages) {
      const pool = SlabPool.create({ elementSize: 16, source: pages.allocator });
      pool.free(pool.alloc()!);
      return pool;
    },
    RealtimePool: (pages) => RealtimePool.create({ totalSize: 4096, lock: "off", source: pages.allocator }),
    BufferPool: (pages) => BufferPool.create({ size: 4096, max: 2, min: 2, allocator: pages.allocator }),
    PagePool(pages) {
      const pool = PagePool.create({ source: pages.allocator });
      pool.allocate(4096).release();
      return pool;
    },
  };

  it.each(Object.keys(POOLS))(
    "a %s that is closed from the clock of the pool below is closed, and its bytes are back",
    async (kind) => {
      for (const force of [false, true]) {
        let hook: (() => void) | undefined;
        class Calling extends FakeClock {
          override now(): number {
            const call = hook;
            hook = undefined;
            call?.();
            return super.now();
          }
        }
        const pages = PagePool.create({ clock: new Calling(), timer: false });
        const pool = POOLS[kind]!(pages);
        expect(pages.stats().live).toBeGreaterThan(0);
        let closed = false;
        const late = await lateErrors(() => {
          hook = () => {
            pool.close({ force });
            closed = true;
          };
          pages.maintain();
        });
        expect([closed, late, pages.stats().live]).toEqual([true, [], 0]);
        pages.validate();
        pages.close();
      }
    },
  );

  it("surface no error when they were transferred away: the slot's holder has heard of it", async () => {
    let hook: (() => void) | undefined;
    class Calling extends FakeClock {
      override now(): number {
        const call = hook;
        hook = undefined;
        call?.();
        return super.now();
      }
    }
    const pages = PagePool.create({ clock: new Calling(), timer: false });
    const pool = BufferPool.create({ size: 4096, max: 1, allocator: pages.allocator });
    const buffer = pool.tryAcquire()!;
    structuredClone(buffer.bytes.buffer, { transfer: [buffer.bytes.buffer as ArrayBuffer] });
    let told = "nothing";
    const late = await lateErrors(() => {
      hook = () => {
        told = code(() => buffer.release());
      };
      pages.maintain();
    });
    expect([told, late, pages.stats().live, pages.stats().detached]).toEqual(["ERR_DETACHED", [], 0, 1]);
    pool.close();
    pages.close();
  });
});
