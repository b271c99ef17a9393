// Shares its realm with other files: nothing that it changes outlives it.
/** GStreamer's ALLOCATION query with the bindings' names: the reference's part 7. */
import { describe, expect, it } from "vitest";
import { AllocationParams, Allocator, BufferPool, Query } from "../../src/compat/gstreamer.ts";
import { AllocationQuery } from "../../src/pipeline/negotiate/allocation-query.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { byteFormat } from "../../src/pipeline/stream-format.ts";
import { Collector, Numbers } from "../pipeline/kit.ts";

const params = (fields: Partial<AllocationParams>): AllocationParams => Object.assign(new AllocationParams(), fields);

describe("the allocation query", () => {
  it("keeps caps, null too, and whether a pool is wanted", () => {
    const caps = { name: "video/x-raw", width: 320 };
    expect(Query.new_allocation(caps, true).parse_allocation()).toEqual([caps, true]);
    expect(Query.new_allocation(null, false).parse_allocation()).toEqual([null, false]);
  });

  it("adds, sets, parses and removes pools, in order, without deduplication", () => {
    const query = Query.new_allocation(null, true);
    const pool = BufferPool.new();
    query.add_allocation_pool(pool, 1024, 2, 4);
    query.add_allocation_pool(null, 512, 3, 0);
    query.add_allocation_pool(pool, 1024, 2, 4);
    expect(query.get_n_allocation_pools()).toBe(3);
    expect(query.parse_nth_allocation_pool(0)).toEqual([pool, 1024, 2, 4]);
    expect(query.parse_nth_allocation_pool(1)).toEqual([null, 512, 3, 0]);
    query.set_nth_allocation_pool(1, pool, 600, 1, 9);
    expect(query.parse_nth_allocation_pool(1)).toEqual([pool, 600, 1, 9]);
    query.remove_nth_allocation_pool(0);
    expect(query.get_n_allocation_pools()).toBe(2);
    expect(() => query.parse_nth_allocation_pool(2)).toThrow(/ERR_OUT_OF_RANGE/);
    expect(() => query.remove_nth_allocation_pool(2)).toThrow(/ERR_OUT_OF_RANGE/);
  });

  it("adds, sets, parses and removes params; one of allocator and params is needed", () => {
    const query = Query.new_allocation(null, true);
    const allocator = Allocator.find(null)!;
    query.add_allocation_param(allocator, params({ align: 15, prefix: 1, padding: 2 }));
    query.add_allocation_param(null, params({ align: 63 }));
    expect(query.get_n_allocation_params()).toBe(2);
    const [found, first] = query.parse_nth_allocation_param(0);
    expect(found).toBe(allocator);
    expect({ ...first }).toEqual({ flags: 0, align: 15, prefix: 1, padding: 2 });
    query.set_nth_allocation_param(0, null, params({ align: 31 }));
    expect(query.parse_nth_allocation_param(0)[0]).toBeNull();
    expect(query.parse_nth_allocation_param(0)[1].align).toBe(31);
    query.remove_nth_allocation_param(0);
    expect(query.parse_nth_allocation_param(0)[1].align).toBe(63);
    expect(() => query.add_allocation_param(null, null)).toThrow(/ERR_INVALID_ARG_TYPE/);
  });

  it("adds, finds and removes metas: the first index, params copied in, the same API twice", () => {
    const query = Query.new_allocation(null, true);
    const wish = { stride: 64 };
    query.add_allocation_meta("crop", null);
    query.add_allocation_meta("video", wish);
    query.add_allocation_meta("video", null);
    wish.stride = 1;
    expect(query.get_n_allocation_metas()).toBe(3);
    expect(query.find_allocation_meta("video")).toEqual([true, 1]);
    expect(query.find_allocation_meta("none")[0]).toBe(false);
    expect(query.parse_nth_allocation_meta(1)).toEqual(["video", { stride: 64 }]);
    query.remove_nth_allocation_meta(1);
    expect(query.find_allocation_meta("video")).toEqual([true, 1]);
    expect(query.parse_nth_allocation_meta(1)).toEqual(["video", null]);
  });

  it("a copied query carries all lists, and its own", () => {
    const query = Query.new_allocation({ a: 1 }, true);
    query.add_allocation_meta("x", null);
    const twin = query.copy();
    query.remove_nth_allocation_meta(0);
    expect(twin.get_n_allocation_metas()).toBe(1);
    expect(twin.parse_allocation()).toEqual([{ a: 1 }, true]);
  });

  it("is the core's query underneath: an element written with these names takes part in a pipeline", async () => {
    const pool = BufferPool.new();
    const sink = new Collector("sink", {
      propose(core) {
        const query = Query.of(core);
        expect(query.parse_allocation()).toEqual([core.format, true]);
        query.add_allocation_pool(pool, 100, 2, 0);
        query.add_allocation_param(null, params({ align: 63 }));
        return true;
      },
    });
    const pipeline = new Pipeline().link(new Numbers("src", 4), sink);
    await pipeline.run();
    expect(pipeline.describe().decisions[0]).toMatchObject({
      pool: pool.core.name,
      size: 100,
      count: 3,
      params: { align: 64 },
    });
    expect(new AllocationQuery(byteFormat(4)).formatSize).toBe(4);
  });
});
