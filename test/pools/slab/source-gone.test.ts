/** A SlabPool whose source lost its bytes first: closed by force, or transferred by who holds an element. */
import { describe, expect, it } from "vitest";
import { PagePool } from "../../../src/pools/page/page-pool.ts";
import { RealtimePool } from "../../../src/pools/realtime/realtime-pool.ts";
import { SlabPool } from "../../../src/pools/slab/slab-pool.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { lateErrors } from "../../helpers/late-errors.ts";

const SOURCES = {
  PagePool: () => PagePool.create({ max: 4 }),
  RealtimePool: () => RealtimePool.create({ totalSize: 65_536, lock: "off" }),
};

describe.each(Object.keys(SOURCES) as (keyof typeof SOURCES)[])(
  "a SlabPool over a %s that was closed by force",
  (name) => {
    it("ages its blocks out in its timer without an uncaught error", async () => {
      const source = SOURCES[name]();
      const clock = new FakeClock();
      const slab = SlabPool.create({ elementSize: 32, source: source.allocator, ageOut: 40, clock });
      slab.free(slab.alloc());
      expect(slab.stats().blocks).toBe(1);
      source.close({ force: true });
      expect(
        await lateErrors(() => {
          for (let i = 0; i < 10; i++) clock.advance(40);
        }),
      ).toEqual([]);
      expect(slab.stats().blocks).toBe(0);
      slab.validate();
    });

    it("closes, with and without live elements", () => {
      for (const force of [false, true]) {
        const source = SOURCES[name]();
        const slab = SlabPool.create({ elementSize: 32, source: source.allocator });
        const pointer = slab.alloc();
        if (!force) slab.free(pointer);
        source.close({ force: true });
        slab.close({ force });
        expect(slab.isClosed).toBe(true);
      }
    });
  },
);

it("a SlabPool with a block that its holder transferred ages it out, and the page pool below is whole", async () => {
  const pages = PagePool.create({ max: 4 });
  const clock = new FakeClock();
  const slab = SlabPool.create({ elementSize: 32, source: pages.allocator, ageOut: 40, clock });
  const pointer = slab.alloc();
  const buffer = slab.bytes(pointer).buffer as ArrayBuffer;
  structuredClone(buffer, { transfer: [buffer] });
  slab.free(pointer);
  expect(
    await lateErrors(() => {
      for (let i = 0; i < 10; i++) clock.advance(40);
    }),
  ).toEqual([]);
  expect([slab.stats().blocks, pages.stats().live]).toEqual([0, 0]);
  pages.close();
  slab.close();
});
