// Shares its realm with other files: nothing that it changes outlives it.
/** What a stage in the middle does not pass on, and what a query and a configuration keep for themselves. */
import { describe, expect, test } from "vitest";
import { SharedAllocator } from "../../src/allocators/shared.ts";
import { MemoryFlags } from "../../src/memory/params.ts";
import { Funnel } from "../../src/pipeline/elements/funnel.ts";
import { Tee } from "../../src/pipeline/elements/tee.ts";
import { AllocationQuery } from "../../src/pipeline/negotiate/allocation-query.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { copyData, frozenData } from "../../src/util/same-data.ts";
import { code } from "../pools/buffer/pools.ts";
import { Collector, Numbers } from "./kit.ts";

describe("what is not passed on", () => {
  test("withholdPools() takes allocators out, too, keeps alignment, and says so", () => {
    const query = new AllocationQuery(null);
    query.addPool({ pool: new BufferPool({ name: "p" }), size: 8, min: 1, max: 4 });
    query.addParams(new SharedAllocator(), { align: 64 });
    query.addParams(null, { align: 16 });
    query.withholdPools("threads need shared memory");
    expect(query.pools[0]).toMatchObject({ pool: null, size: 8, min: 1, max: 0 });
    expect(query.params.map(({ allocator, params }) => [allocator, params.align])).toEqual([
      [null, 64],
      [null, 16],
    ]);
    expect(query.notes.filter((note) => note.includes('allocator "shared"'))).toHaveLength(1);
  });

  test("a funnel with two producers passes no allocator on", async () => {
    const funnel = new Funnel("funnel");
    const sink = new Collector("sink", {
      propose(query) {
        query.addParams(new SharedAllocator(), { align: 64 });
        return true;
      },
    });
    const pipeline = new Pipeline();
    pipeline.link(new Numbers("a", 1), funnel);
    pipeline.link(new Numbers("b", 1), funnel, sink);
    await pipeline.run();
    for (const decision of pipeline.describe().decisions) {
      expect([decision.allocator, decision.params.align]).toEqual(["system", 64]);
    }
  });

  test("a tee never passes ZERO_PADDED up, nor any other flag of one branch", async () => {
    const tee = new Tee("tee");
    const pipeline = new Pipeline().link(new Numbers("src", 2), tee);
    for (const flags of [MemoryFlags.ZERO_PADDED, MemoryFlags.ZERO_PREFIXED]) {
      pipeline.link(
        tee,
        new Collector(`sink${flags}`, {
          propose(query) {
            query.addParams(null, { align: 32, padding: 16, flags });
            return true;
          },
        }),
      );
    }
    await pipeline.run();
    expect(pipeline.describe().decisions[0]!.params).toEqual({ align: 32, prefix: 0, padding: 16, flags: 0 });
  });
});

describe("plain data is copied", () => {
  test("a query copies a meta's params deeply", () => {
    const query = new AllocationQuery(null);
    const params = { stride: { align: [16, 32] } };
    query.addMeta("video", params);
    params.stride.align[0] = 1;
    expect(query.metas[0]!.params).toEqual({ stride: { align: [16, 32] } });
    expect(Object.isFrozen((query.metas[0]!.params as typeof params).stride.align)).toBe(true);
  });

  test("a pool's configuration keeps a copy of its format", () => {
    const pool = new BufferPool();
    const format = { name: "video/x-raw", size: { width: 2 } };
    pool.configure({ size: 4, max: 1, format });
    format.size.width = 99;
    expect(pool.config?.format).toEqual({ name: "video/x-raw", size: { width: 2 } });
  });

  test("copies keep instances, refuse data that contains itself, and cannot be poisoned by a key", () => {
    class Info {
      width = 1;
    }
    const info = new Info();
    expect(copyData("d", { info }).info).toBe(info);
    const loop: { self?: unknown } = {};
    loop.self = loop;
    expect([code(() => copyData("d", loop)), code(() => frozenData("d", [loop]))]).toEqual([
      "ERR_INVALID_ARG_VALUE",
      "ERR_INVALID_ARG_VALUE",
    ]);
    const parsed = JSON.parse('{"__proto__":{"evil":1}}') as { evil?: number };
    expect(copyData("d", parsed).evil).toBeUndefined();
    const frozen = frozenData("d", { a: [1, { b: 2 }] });
    expect(frozenData("d", frozen)).toBe(frozen);
  });
});
