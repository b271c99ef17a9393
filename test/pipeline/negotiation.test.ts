// Shares its realm with other files: nothing that it changes outlives it.
/** The negotiation cases of GStreamer (reference parts 7 to 9) and of DirectShow (7 and 9), by name. */
import { describe, expect, test } from "vitest";
import { SharedAllocator } from "../../src/allocators/shared.ts";
import { registerMeta } from "../../src/media/meta/meta.ts";
import { Sink } from "../../src/pipeline/base/sink.ts";
import { Caps } from "../../src/pipeline/caps.ts";
import { Funnel } from "../../src/pipeline/elements/funnel.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import { Tee } from "../../src/pipeline/elements/tee.ts";
import { AllocationQuery, registerMetaMerger } from "../../src/pipeline/negotiate/allocation-query.ts";
import type { Decision } from "../../src/pipeline/negotiate/pool.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { byteFormat } from "../../src/pipeline/stream-format.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import type { ActualPoolConfig } from "../../src/pools/buffer/config.ts";
import { FakeClock } from "../../src/util/clock.ts";
import { BLOCK, Collector, expectHome, Numbers, Step } from "./kit.ts";

type Propose = (query: AllocationQuery) => boolean;

/** What the source settles with one sink that answers like that. */
async function decide(propose: Propose, format = BLOCK): Promise<Decision> {
  const pipeline = new Pipeline({ clock: new FakeClock() });
  pipeline.link(new Numbers("src", 3, format), new Collector("sink", { propose }));
  await pipeline.run();
  expectHome(pipeline);
  return pipeline.describe().decisions[0]!;
}

const why = ({ candidates }: Decision): string[] =>
  candidates.map(({ won, by, why: text }) => `${by} ${won ? "won" : "lost"}: ${text}`);

class CappedPool extends BufferPool {
  readonly #cap: number;
  constructor(cap: number) {
    super({ name: "capped" });
    this.#cap = cap;
  }
  protected override adjust(wanted: ActualPoolConfig): ActualPoolConfig {
    if (wanted.max <= this.#cap) return wanted;
    throw this.adjusted(
      { ...wanted, max: this.#cap, min: Math.min(wanted.min, this.#cap) },
      `has ${this.#cap} buffers at most`,
    );
  }
}

describe("the query (7.1, 7.2)", () => {
  test("keeps order, deduplicates nothing, finds the first index", () => {
    const query = new AllocationQuery(BLOCK);
    query.addMeta("b");
    query.addMeta("a", { x: 1 });
    query.addMeta("a", { x: 2 });
    expect(query.metas.map((meta) => meta.api)).toEqual(["b", "a", "a"]);
    expect(query.findMeta("a")).toBe(1);
    expect(query.findMeta("c")).toBe(-1);
    query.addPool({ min: 1 });
    query.addPool({ min: 1 });
    expect(query.pools).toHaveLength(2);
  });

  test("copies params in, and a copied query carries all lists", () => {
    const query = new AllocationQuery(BLOCK);
    const params = { stride: 64 };
    query.addMeta("a", params);
    params.stride = 1;
    query.addPool({ size: 100, min: 2 });
    query.addParams(null, { align: 32 });
    const twin = query.copy();
    query.clear();
    expect(twin.metas[0]!.params).toEqual({ stride: 64 });
    expect(twin.pools[0]).toMatchObject({ size: 100, min: 2, max: 0, pool: null });
    expect(twin.params[0]!.params.align).toBe(32);
    expect(query.pools).toHaveLength(0);
  });

  test("refuses indices that are not there, and params that are nothing", () => {
    const query = new AllocationQuery(BLOCK);
    expect(() => query.removePool(0)).toThrow(/ERR_OUT_OF_RANGE/);
    query.addPool({});
    expect(() => query.setPool(1, {})).toThrow(/ERR_OUT_OF_RANGE/);
    expect(() => query.addParams(null)).toThrow(/ERR_INVALID_ARG_TYPE/);
    expect(() => query.addPool({ pool: new BufferPool(), min: 3, max: 2 })).toThrow(/ERR_OUT_OF_RANGE/);
    expect(() => query.addMeta("")).toThrow(/ERR_INVALID_ARG_TYPE/);
  });

  test("a cap without a pool is dropped: upstream would stall for nothing (7.3)", () => {
    const query = new AllocationQuery(BLOCK);
    query.addPool({ min: 1, max: 3 });
    expect(query.pools[0]).toMatchObject({ min: 1, max: 0 });
  });

  test("raising drops a pool whose cap is too low now, and keeps an unlimited one (9)", () => {
    const query = new AllocationQuery(BLOCK);
    const [small, open] = [new BufferPool(), new BufferPool()];
    query.addPool({ pool: small, min: 2, max: 4 });
    query.addPool({ pool: open, min: 2, max: 0 });
    query.raise(2, "looks ahead");
    expect(query.pools.map(({ pool, min, max }) => [pool, min, max])).toEqual([
      [null, 4, 0],
      [open, 4, 0],
    ]);
    expect(query.notes[0]).toMatch(/dropped: it can have 4/);
  });
});

describe("deciding (8.2, 8.3)", () => {
  test("an unanswered query is no error: a pool of its own with the one that is filled", async () => {
    const decision = await decide((query) => {
      query.addPool({ min: 99 });
      return false;
    });
    expect(decision.count).toBe(1);
    expect(why(decision)).toEqual(["src won: nothing better was offered"]);
  });

  test("an entry without a pool states sizes and counts", async () => {
    const decision = await decide((query) => {
      query.addPool({ size: 1000, min: 4 });
      return true;
    });
    expect(decision).toMatchObject({ size: 1000, count: 5, pool: "src.out" });
    expect(decision.parts).toEqual([
      { by: "src", count: 1, why: "being filled" },
      { by: "sink", count: 4, why: "retained" },
    ]);
  });

  test("an offered pool is configured, opened, used, and closed by the decider", async () => {
    const pool = new BufferPool({ name: "mine" });
    const decision = await decide((query) => {
      query.addPool({ pool, min: 2 });
      return true;
    });
    expect(decision).toMatchObject({ pool: "mine", count: 3, size: 64 });
    expect(pool.stats()).toMatchObject({ acquires: 3, outstanding: 0, active: false });
    expect(decision.candidates[0]).toMatchObject({ by: "sink", won: true });
  });

  test("an offered pool that can have too few loses, and the numbers stay", async () => {
    const pool = new BufferPool({ name: "small" });
    const decision = await decide((query) => {
      query.addPool({ pool, min: 3, max: 3 });
      return true;
    });
    expect(decision).toMatchObject({ pool: "src.out", count: 4 });
    expect(why(decision)).toEqual([
      "sink lost: it can have 3 buffers, and 4 are needed",
      "src won: nothing better was offered",
    ]);
  });

  test("a pool that adjusts to something that serves is configured with that", async () => {
    class Rounding extends BufferPool {
      protected override adjust(wanted: ActualPoolConfig): ActualPoolConfig {
        if (wanted.size % 4096 === 0) return wanted;
        throw this.adjusted({ ...wanted, size: 4096 }, "has whole pages only");
      }
    }
    const pool = new Rounding({ name: "pages" });
    const decision = await decide((query) => {
      query.addPool({ pool, min: 1 });
      return true;
    });
    expect(decision).toMatchObject({ pool: "pages", size: 4096, count: 2 });
  });

  test("a pool that adjusts to something that does not serve loses: a new generic one with the original wishes", async () => {
    const decision = await decide((query) => {
      query.addPool({ pool: new CappedPool(2), min: 5 });
      return true;
    });
    expect(decision).toMatchObject({ pool: "src.out", count: 6, size: 64 });
    expect(why(decision)[0]).toBe("sink lost: it can have 2 buffers, and 6 are needed");
  });

  test("a pool that cannot be opened loses", async () => {
    class Broken extends BufferPool {
      protected override start(): void {
        throw new Error("no device");
      }
    }
    const decision = await decide((query) => {
      query.addPool({ pool: new Broken(), min: 1 });
      return true;
    });
    expect(why(decision)[0]).toBe("sink lost: no device");
    expect(decision.pool).toBe("src.out");
  });

  test("of several offers the first that can do it wins, and each of the others learns why not", async () => {
    const [small, good, late] = [
      new BufferPool({ name: "small" }),
      new BufferPool({ name: "good" }),
      new BufferPool({ name: "late" }),
    ];
    const decision = await decide((query) => {
      query.addPool({ pool: small, min: 1, max: 1 });
      query.addPool({ pool: good, min: 1 });
      query.addPool({ pool: late, min: 1 });
      return true;
    });
    expect(decision.pool).toBe("good");
    expect(decision.candidates.map((one) => one.won)).toEqual([false, true, false]);
    expect(decision.candidates[2]!.why).toBe("an earlier one was taken");
  });

  test("params slot 0 decides about alignment, prefix, padding and allocator", async () => {
    const shared = new SharedAllocator("for-workers");
    const decision = await decide((query) => {
      query.addParams(shared, { align: 64, prefix: 32, padding: 16 });
      query.addParams(null, { align: 4096 });
      return true;
    });
    expect(decision).toMatchObject({ allocator: "for-workers", params: { align: 64, prefix: 32, padding: 16 } });
    expect(why(decision)[0]).toBe("src won: with the allocator that sink asked for");
  });

  test("an allocator that fails is replaced by the default one", async () => {
    class Dry extends SharedAllocator {
      protected override allocateRegion(): undefined {
        return undefined;
      }
    }
    const decision = await decide((query) => {
      query.addParams(new Dry("dry"), { align: 16 });
      return true;
    });
    expect(decision.allocator).toBe("system");
    expect(decision.params.align).toBe(16);
    expect(decision.candidates[0]).toMatchObject({ won: false, what: 'allocator "dry"' });
  });

  test("an alignment that an offered pool cannot give makes it lose", async () => {
    class Loose extends BufferPool {
      protected override adjust(wanted: ActualPoolConfig): ActualPoolConfig {
        return { ...wanted, params: { ...wanted.params, align: 8 } };
      }
    }
    const decision = await decide((query) => {
      query.addPool({ pool: new Loose({ name: "loose" }), min: 1 });
      query.requireParams(null, { align: 256 });
      return true;
    });
    expect(why(decision)[0]).toBe("sink lost: it aligns to 8 bytes, and 256 are needed");
  });

  test("a pool that somebody else has active is taken when it serves and is idle, and loses when it is in use", async () => {
    const pool = new BufferPool({ name: "ready" });
    pool.configure({ size: 128, max: 8 });
    pool.activate();
    const taken = await decide((query) => {
      query.addPool({ pool, min: 1 });
      return true;
    });
    expect(taken).toMatchObject({ pool: "ready", size: 128, count: 8 });

    pool.activate();
    const buffer = pool.tryAcquire()!;
    const lost = await decide((query) => {
      query.addPool({ pool, min: 1 });
      return true;
    });
    expect(why(lost)[0]).toBe("sink lost: it is in use: 1 buffers are out");
    buffer.release();
    pool.close();
  });

  test("what a source holds on to is added (and makes its buffers read-only downstream)", async () => {
    const source = new Numbers("src", 20);
    source.holdsBack = 2;
    const inc = new Step("inc", "in-place");
    const pipeline = new Pipeline().link(source, inc, new Collector("sink", { keepLast: 1 }));
    await pipeline.run();
    expect(inc.copiesFirst).toBe(true);
    const counts = Object.fromEntries(pipeline.describe().decisions.map(({ pad, count }) => [pad, count]));
    expect(counts).toEqual({ "inc.out": 2, "src.out": 3 });
  });

  test("a bound of the bytes that is too small is refused with the sum, before anything moves", async () => {
    const source = new Numbers("src", 5);
    const pipeline = new Pipeline({ maxBytes: 300 }).link(
      source,
      new Queue({ name: "q", max: 3 }),
      new Collector("sink", { keepFirst: 1 }),
    );
    await expect(pipeline.run()).rejects.toThrow(
      /src\.out cannot get its 6 buffers of 64 bytes .*1 with sink \(retained\) \+ 4 with q .*384 bytes.*300/,
    );
    expect(source.made).toBe(0);
  });

  test("a new pool is open before the old one closes; the old one drains by itself (6.11)", async () => {
    const source = new Numbers("src", 6);
    const next = source.next.bind(source);
    source.next = () => {
      source.format = byteFormat(source.made < 3 ? 64 : 32);
      return next();
    };
    const pipeline = new Pipeline().link(source, new Collector("sink", { keepLast: 3 }));
    const summary = await pipeline.run();
    expect(pipeline.describe().decisions.map(({ size, round }) => [size, round])).toEqual([
      [64, 1],
      [32, 2],
    ]);
    expect(summary.holders).toEqual([]);
    expect(summary.pools.every((pool) => pool.outstanding === 0)).toBe(true);
  });

  test("the same offered pool again, which is busy with the old format, loses to a new one", async () => {
    const source = new Numbers("src", 6);
    const next = source.next.bind(source);
    source.next = () => {
      source.format = byteFormat(source.made < 3 ? 64 : 32, source.made < 3 ? "a" : "b");
      return next();
    };
    const pool = new BufferPool({ name: "offered" });
    const sink = new Collector("sink", {
      keepLast: 1,
      propose(query) {
        query.setPool(0, { pool, min: 1 });
        return true;
      },
    });
    const pipeline = new Pipeline().link(source, sink);
    await pipeline.run();
    const [first, second] = pipeline.describe().decisions;
    expect(first!.pool).toBe("offered");
    expect(second!.pool).toBe("src.out");
    expect(second!.candidates[0]!.why).toMatch(/ERR_ACTIVE/);
    expectHome(pipeline);
    expect(pool.outstanding).toBe(0);
  });

  test("a request to reconfigure is answered before the next buffer (7.4)", async () => {
    let need = 1;
    const source = new Numbers("src", 10);
    const sink = new Collector("sink", {
      propose(query) {
        query.addPool({ min: need });
        return true;
      },
    });
    const render = sink.render.bind(sink);
    sink.render = (buffer) => {
      if (sink.seen.length === 4) {
        need = 5;
        sink.in.reconfigure();
      }
      return render(buffer);
    };
    const pipeline = new Pipeline().link(source, new Step("pass", "passthrough"), sink);
    await pipeline.run();
    expect(pipeline.describe().decisions.map(({ pad, count }) => [pad, count])).toEqual([
      ["src.out", 2],
      ["src.out", 6],
    ]);
  });
});

describe("a transform (8.4)", () => {
  test("passthrough and in place ask nothing themselves: upstream's question goes on downstream", async () => {
    for (const mode of ["passthrough", "in-place"] as const) {
      const pool = new BufferPool({ name: "deep" });
      const sink = new Collector("sink", {
        propose(query) {
          query.addPool({ pool, min: 1 });
          return true;
        },
      });
      const pipeline = new Pipeline().link(new Numbers("src", 3), new Step("a", mode), new Step("b", mode), sink);
      await pipeline.run();
      expect(pipeline.describe().decisions.map((one) => [one.pad, one.pool])).toEqual([["src.out", "deep"]]);
    }
  });

  test("copy decides for its output, and upstream gets kept metas only: no pools, no params", async () => {
    const queries: AllocationQuery[] = [];
    const source = new Numbers("src", 3);
    source.decideAllocation = (query) => void queries.push(query.copy());
    const step = new Step("copy", "copy");
    step.metas = ["kept"];
    const pool = new BufferPool({ name: "deep" });
    const sink = new Collector("sink", {
      propose(query) {
        query.addPool({ pool, min: 4 });
        query.addParams(null, { align: 64 });
        query.addMeta("kept", { x: 1 });
        query.addMeta("dropped");
        return true;
      },
    });
    const pipeline = new Pipeline().link(source, step, sink);
    await pipeline.run();
    expect(queries[0]!.pools).toEqual([]);
    expect(queries[0]!.params).toEqual([]);
    expect(queries[0]!.metas.map(({ api, params }) => [api, params])).toEqual([["kept", { x: 1 }]]);
    const decisions = Object.fromEntries(pipeline.describe().decisions.map((one) => [one.pad, one]));
    expect(decisions["copy.out"]).toMatchObject({ pool: "deep", count: 5, params: { align: 64 } });
    expect(decisions["src.out"]).toMatchObject({ pool: "src.out", count: 1 });
    expect(decisions["copy.out"]!.metas.map((meta) => meta.api)).toEqual(["kept"]);
  });

  test("copy removes every meta that depends on the memory, even one it would keep", async () => {
    const type = registerMeta({ api: "test-memory-meta", tags: ["memory"] });
    const step = new Step("copy", "copy");
    step.metas = [type.api];
    const sink = new Collector("sink", {
      propose(query) {
        query.addMeta(type);
        return true;
      },
    });
    const pipeline = new Pipeline().link(new Numbers("src", 1), step, sink);
    await pipeline.run();
    expect(pipeline.describe().decisions[0]!.metas).toEqual([]);
  });

  test("one that is not negotiated yet refuses", () => {
    const step = new Step("copy", "copy");
    expect(step.proposeAllocation(new AllocationQuery(BLOCK))).toBe(false);
  });

  test("in place takes the buffer when it is writable, else a copy out of a bounded pool of its own", async () => {
    const source = new Numbers("src", 50);
    const held: { release(): void }[] = [];
    // An impolite stage: it keeps buffers without having said so.
    class Impolite extends Step {
      override inspect(buffer: Parameters<Step["chain"]>[0]): void {
        if (held.length < 1) held.push(buffer.retain());
      }
    }
    source.holdsBack = 0;
    const extra = new Queue({ max: 2 });
    const sink = new Collector("sink");
    const pipeline = new Pipeline().link(
      source,
      new Impolite("rude", "passthrough"),
      new Step("inc", "in-place"),
      extra,
      sink,
    );
    await pipeline.run();
    expect(sink.seen[0]).toBe(1);
    expect(sink.seen).toHaveLength(50);
    expect(pipeline.describe().decisions.map((one) => one.pad)).toEqual(["src.out", "inc.out"]);
    for (const buffer of held) buffer.release();
    expectHome(pipeline);
  });

  test("a stage that retains inputs raises the count in passing", async () => {
    const pipeline = new Pipeline().link(
      new Numbers("src", 10),
      new Step("look", "passthrough", 4),
      new Collector("sink", { keepLast: 2 }),
    );
    await pipeline.run();
    expect(pipeline.describe().decisions[0]).toMatchObject({
      count: 7,
      parts: [
        { by: "src", count: 1 },
        { by: "sink", count: 2 },
        { by: "look", count: 4 },
      ],
    });
  });
});

describe("a sink (8.5)", () => {
  test("the last buffer that it keeps becomes a copy before the pool is left, so that it pins nothing", async () => {
    class Screen extends Sink {
      pools: (string | undefined)[] = [];
      constructor() {
        super("screen", undefined, { keepLast: true });
      }
      render(): void {
        this.pools.push(this.lastBuffer?.pool?.name ?? (this.lastBuffer === undefined ? undefined : "own"));
      }
    }
    const source = new Numbers("src", 6);
    const next = source.next.bind(source);
    source.next = () => {
      source.format = byteFormat(source.made < 3 ? 64 : 32);
      return next();
    };
    const screen = new Screen();
    const pipeline = new Pipeline().link(source, screen);
    const summary = await pipeline.run();
    expect(screen.pools).toEqual([undefined, "src.out", "src.out", "own", "src.out", "src.out"]);
    expect(pipeline.describe().decisions[0]!.count).toBe(2);
    expect(summary.holders).toEqual([]);
  });
});

describe("in the middle (9)", () => {
  test("a queue adds what it can hold and the one on its way", async () => {
    const pipeline = new Pipeline().link(
      new Numbers("src", 10),
      new Queue({ name: "q", max: 3 }),
      new Collector("sink", { keepFirst: 1 }),
    );
    await pipeline.run();
    expect(pipeline.describe().decisions[0]).toMatchObject({
      count: 6,
      parts: [{ count: 1 }, { by: "sink", count: 1 }, { by: "q", count: 4 }],
    });
  });

  test("a queue answers in line: behind the buffers of the old format", async () => {
    const order: string[] = [];
    const source = new Numbers("src", 8);
    const next = source.next.bind(source);
    source.next = () => {
      source.format = byteFormat(source.made < 4 ? 64 : 32);
      return next();
    };
    const sink = new Collector("sink", {
      slow: 1,
      propose(query) {
        order.push(`asked ${query.formatSize} after ${sink.seen.length}`);
        return true;
      },
    });
    await new Pipeline().link(source, new Queue({ max: 8 }), sink).run();
    expect(order).toEqual(["asked 64 after 0", "asked 32 after 4"]);
  });

  const teeWith = async (...branches: Propose[]): Promise<{ decision: Decision; asked: boolean[] }> => {
    const tee = new Tee("tee");
    const asked: boolean[] = [];
    const pipeline = new Pipeline().link(new Numbers("src", 4), tee);
    branches.forEach((propose, i) => {
      const sink = new Collector(`s${i}`, {
        propose(query) {
          asked.push(query.needPool || !query.readOnly);
          return propose(query);
        },
      });
      pipeline.link(tee, sink);
    });
    await pipeline.run();
    expectHome(pipeline);
    return { decision: pipeline.describe().decisions[0]!, asked };
  };

  test("a tee merges: largest alignment, prefix, padding and size; counts added, one more for several; no pools, no allocators", async () => {
    const { decision, asked } = await teeWith(
      (query) => {
        query.addPool({ pool: new BufferPool({ name: "a" }), size: 100, min: 2, max: 10 });
        query.addParams(new SharedAllocator(), { align: 16, prefix: 8 });
        return true;
      },
      (query) => {
        query.addPool({ size: 300, min: 3 });
        query.addParams(null, { align: 64, padding: 4 });
        return true;
      },
    );
    expect(asked).toEqual([false, false]);
    expect(decision).toMatchObject({ pool: "src.out", size: 300, count: 1 + 2 + 3 + 1, allocator: "system" });
    expect(decision.params).toMatchObject({ align: 64, prefix: 8, padding: 4 });
    expect(decision.notes.join("\n")).toMatch(/the pool of s0 is not passed on: tee has several branches/);
    expect(decision.notes.join("\n")).toMatch(/allocator "shared" of s0 is not passed on/);
  });

  test("a tee whose branches have no wishes makes up no zero-size entry", async () => {
    const { decision } = await teeWith(
      () => true,
      () => true,
    );
    expect(decision).toMatchObject({ size: 64, count: 1, parts: [{ by: "src" }] });
  });

  test("a tee keeps metas that all branches understand, merges params only where the API says how", async () => {
    registerMetaMerger("mergeable", (a, b) => ({ n: Math.max(Number(a?.n), Number(b?.n)) }));
    const { decision } = await teeWith(
      (query) => {
        query.addMeta("plain");
        query.addMeta("only-here");
        query.addMeta("with-params", { a: 1 });
        query.addMeta("mergeable", { n: 1 });
        return true;
      },
      (query) => {
        query.addMeta("mergeable", { n: 5 });
        query.addMeta("with-params", { a: 1 });
        query.addMeta("plain");
        return true;
      },
    );
    expect(decision.metas.map(({ api, params }) => [api, params])).toEqual([
      ["plain", null],
      ["mergeable", { n: 5 }],
    ]);
  });

  test("a branch that does not answer understands no meta", async () => {
    const { decision } = await teeWith(
      (query) => {
        query.addMeta("plain");
        return true;
      },
      () => false,
    );
    expect(decision.metas).toEqual([]);
  });

  test("a tee with one branch is not there", async () => {
    const pool = new BufferPool({ name: "deep" });
    const { decision } = await teeWith((query) => {
      query.addPool({ pool, min: 1 });
      return true;
    });
    expect(decision.pool).toBe("deep");
  });

  test("a funnel passes no pool on to two producers, who could starve each other; the counts go to both", async () => {
    const pool = new BufferPool({ name: "one" });
    const funnel = new Funnel("funnel");
    const sink = new Collector("sink", {
      propose(query) {
        query.addPool({ pool, min: 2 });
        return true;
      },
    });
    const pipeline = new Pipeline().link(new Numbers("a", 5), funnel, sink).link(new Numbers("b", 5), funnel);
    await pipeline.run();
    expect(pipeline.describe().decisions.map((one) => [one.pool, one.count])).toEqual([
      ["a.out", 3],
      ["b.out", 3],
    ]);
  });

  test("one pool that is offered to two producers goes to the first; the second learns who has it", async () => {
    const pool = new BufferPool({ name: "one" });
    const propose: Propose = (query) => {
      query.addPool({ pool, min: 1 });
      return true;
    };
    const pipeline = new Pipeline();
    pipeline.link(new Numbers("a", 5), new Collector("sa", { propose }));
    pipeline.link(new Numbers("b", 5), new Collector("sb", { propose }));
    await pipeline.run();
    const decisions = pipeline.describe().decisions;
    expect(decisions.map((one) => one.pool)).toEqual(["one", "b.out"]);
    expect(decisions[1]!.candidates[0]!.why).toBe("a.out has it, and two producers could starve each other");
  });
});

describe("linking", () => {
  test("formats that have nothing in common are refused, with both sides", () => {
    const pipeline = new Pipeline();
    const source = new Numbers("src", 1, BLOCK, Caps.bytes());
    expect(() => pipeline.link(source, new Collector("sink", { caps: Caps.video({ format: "RGBA" }) }))).toThrow(
      '"src" gives bytes, and "sink" takes video { format: RGBA }: they have no format in common',
    );
    expect(source.out.peer).toBeNull();
  });

  test("a graph with 2^40 ways through it is linked at once", () => {
    const pipeline = new Pipeline();
    const first = new Tee("tee0");
    let tee = first;
    for (let i = 0; i < 40; i++) {
      const funnel = new Funnel(`funnel${i}`);
      const next = new Tee(`tee${i + 1}`);
      pipeline.link(tee, funnel).link(tee, funnel).link(funnel, next);
      tee = next;
    }
    pipeline.link(new Numbers("src", 1), first);
    expect(pipeline.elements).toHaveLength(82);
  });

  test("cycles, used pads, names that are there already, and loose ends are refused", async () => {
    const [a, b] = [new Step("a", "passthrough"), new Step("b", "passthrough")];
    const pipeline = new Pipeline().link(a, b);
    expect(() => pipeline.link(b, a)).toThrow(/cycle/);
    expect(() => pipeline.link(a, new Collector("c"))).toThrow(/linked to|linked already/);
    expect(() => pipeline.add(new Collector("b"))).toThrow(/ERR_ALREADY_EXISTS/);
    expect(() => pipeline.link(new Collector("s"), b)).toThrow(/has no output/);
    await expect(pipeline.run()).rejects.toThrow(/a\.in is not linked/);
    await expect(new Pipeline().run()).rejects.toThrow(/empty/);
    await expect(new Pipeline().link(new Numbers("n", 1), new Tee("t")).run()).rejects.toThrow(/"t" leads nowhere/);
  });

  test("a refused link changes nothing, nor do those before it in the same call", async () => {
    const pipeline = new Pipeline();
    const [source, tee, sink] = [new Numbers("src", 3), new Tee("tee"), new Collector("sink")];
    const picky = new Collector("picky", { caps: Caps.video() });
    class OnlyBytes extends Step {
      constructor() {
        super("bytes", "passthrough");
      }
    }
    pipeline.link(source, tee, sink);
    const before = pipeline.elements.length;
    const filter = new OnlyBytes();
    const { CapsFilter } = await import("../../src/pipeline/elements/pass-through.ts");
    const bytes = new CapsFilter(Caps.bytes(), "only-bytes");
    expect(() => pipeline.link(tee, filter, bytes, picky)).toThrow(/no format in common/);
    expect(pipeline.elements).toHaveLength(before);
    expect(tee.outputs).toHaveLength(1);
    expect([filter.in.peer, filter.out.peer, bytes.in.peer, picky.in.peer]).toEqual([null, null, null, null]);
    await pipeline.run();
    expect(sink.seen).toEqual([0, 1, 2]);
    new Pipeline().link(new Numbers("other", 1), filter, new Collector("end"));
  });

  test("an element is in one pipeline", () => {
    const source = new Numbers("src", 1);
    new Pipeline({ name: "first" }).add(source);
    expect(() => new Pipeline().add(source)).toThrow(/belongs to pipeline "first"/);
  });

  test("a running pipeline cannot be changed", async () => {
    const pipeline = new Pipeline().link(new Numbers("src", 5), new Collector("sink", { slow: 1 }));
    const run = pipeline.run();
    expect(() => pipeline.add(new Tee())).toThrow(/ERR_ACTIVE/);
    await expect(pipeline.run()).rejects.toMatchObject({ code: "ERR_ACTIVE" });
    await run;
  });
});

describe("the description", () => {
  test("says what was settled and why, as text, Mermaid and SVG", async () => {
    const tee = new Tee("tee");
    const pipeline = new Pipeline({ name: "demo" }).link(
      new Numbers("src", 5),
      tee,
      new Queue({ name: "q", max: 2 }),
      new Collector("a<b", { keepLast: 1 }),
    );
    pipeline.link(tee, new Step("inc", "in-place"), new Collector("c"));
    const decisions = await pipeline.negotiate();
    expect(decisions).toHaveLength(2);
    const description = pipeline.describe();
    const text = description.text();
    expect(text).toContain("src  Numbers: fills buffers of its pool");
    expect(text).toContain("src.out: bytes, blocks of 64");
    expect(text).toContain("= 1 src (being filled) + 1 a<b (retained) + 3 q (2 in line, 1 on its way out)");
    expect(text).toContain("in place on copies, since others hold the buffers that come");
    const mermaid = description.mermaid();
    expect(mermaid.split("\n")[0]).toBe("flowchart LR");
    expect(mermaid).toContain("a&lt;b");
    const svg = description.svg();
    expect(svg.startsWith("<svg ")).toBe(true);
    expect(svg).toContain("a&lt;b");
    expect(svg).not.toContain("a<b");
    expect(svg.match(/<g>/g)!.length).toBe(svg.match(/<\/g>/g)!.length);
  });
});
