// Shares its realm with other files: nothing that it changes outlives it.
/**
 * The promise of negotiation: a pipeline that links cannot starve itself. Random graphs with random requirements either
 * are refused with a reason, or run 1,000 buffers to the end. A stall shows as no progress over many turns of the event
 * loop.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import { nextTurn } from "../../src/pipeline/base/element.ts";
import { Funnel } from "../../src/pipeline/elements/funnel.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import { Tee } from "../../src/pipeline/elements/tee.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { byteFormat } from "../../src/pipeline/stream-format.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { isMillpondError } from "../../src/util/errors.ts";
import { REPEATED, seedOf, times } from "../helpers/effort.ts";
import { Collector, expectHome, Numbers, runOrStall, Step } from "./kit.ts";

type Branch = { stages: Stage[]; end: Sink | Branch[] };
type Stage = { kind: "pass" | "in-place" | "copy"; delay: number; slow: number } | { kind: "queue"; max: number };
type Sink = { keepFirst: number; keepLast: number; slow: number; offer: number; align: number };
type Graph = {
  heads: { stages: Stage[]; holds: number; changeEvery: number }[];
  rest: Branch;
  maxBytes: number | undefined;
};

// By hand: MILLPOND_WALKS=5000 npx vitest run test/pipeline/random-graphs
const RUNS = times(40, 200, "MILLPOND_WALKS");
const SEED = seedOf("random graphs");
const FRAMES = times(50, 1000);

const stage: fc.Arbitrary<Stage> = fc.oneof(
  fc.record({
    kind: fc.constantFrom("pass" as const, "in-place" as const, "copy" as const),
    delay: fc.constantFrom(0, 0, 0, 1, 2, 5),
    slow: fc.constantFrom(0, 0, 0, 1),
  }),
  fc.record({ kind: fc.constant("queue" as const), max: fc.integer({ min: 1, max: 5 }) }),
);
const sink: fc.Arbitrary<Sink> = fc.record({
  keepFirst: fc.constantFrom(0, 0, 3, 8),
  keepLast: fc.constantFrom(0, 0, 1, 8),
  slow: fc.constantFrom(0, 0, 0, 1),
  offer: fc.constantFrom(-1, -1, 0, 2, 6, 12),
  align: fc.constantFrom(1, 8, 64),
});
const stages = fc.array(stage, { maxLength: 3 });
const { branch } = fc.letrec<{ branch: Branch }>((tie) => ({
  branch: fc.record({
    stages,
    end: fc.oneof(
      { maxDepth: 2, withCrossShrink: true },
      sink,
      fc.array(tie("branch"), { minLength: 2, maxLength: 3 }),
    ),
  }),
}));
const graph: fc.Arbitrary<Graph> = fc.record({
  heads: fc.array(
    fc.record({ stages, holds: fc.constantFrom(0, 0, 1, 3), changeEvery: fc.constantFrom(0, 0, 7, 150) }),
    { minLength: 1, maxLength: 2 },
  ),
  rest: branch,
  maxBytes: fc.constantFrom(undefined, undefined, undefined, 2_000),
});

function build(
  { heads, rest, maxBytes }: Graph,
  count: number,
  slowest = 0,
): { pipeline: Pipeline; sinks: Collector[] } {
  const pipeline = new Pipeline(maxBytes === undefined ? {} : { maxBytes });
  let number = 0;
  const sinks: Collector[] = [];
  type Any = Numbers | Step | Queue | Tee | Funnel;
  const chain = (from: Any, list: readonly Stage[]): Any => {
    let last = from;
    for (const one of list) {
      const name = `${one.kind}${number++}`;
      let next: Step | Queue;
      if (one.kind === "queue") next = new Queue({ name, max: one.max });
      else {
        next = new Step(name, one.kind === "pass" ? "passthrough" : one.kind, one.kind === "pass" ? one.delay : 0);
        next.slow = one.slow;
      }
      pipeline.link(last, next);
      last = next;
    }
    return last;
  };
  const grow = (from: Any, { stages: list, end }: Branch): void => {
    const last = chain(from, list);
    if (Array.isArray(end)) {
      const tee = new Tee(`tee${number++}`);
      pipeline.link(last, tee);
      for (const one of end) grow(tee, one);
      return;
    }
    const { offer, align, ...options } = end;
    const pool = new BufferPool({ name: `offered${number}` });
    const collector = new Collector(`sink${number++}`, {
      ...options,
      slow: Math.max(options.slow, slowest),
      propose(query) {
        query.requireParams(null, { align });
        const held = query.retained;
        // A capped pool of the sink's own, whose cap may be too low for all that is in front of it.
        if (offer >= 0 && query.needPool && (offer === 0 || held <= offer)) {
          if (query.pools.length === 0) query.addPool({ pool, min: held, max: offer });
          else query.setPool(0, { pool, min: held, max: offer });
        }
        return true;
      },
    });
    sinks.push(collector);
    pipeline.link(last, collector);
  };
  const ends = heads.map((head, i) => {
    const source = new Numbers(`src${i}`, count);
    source.holdsBack = head.holds;
    const next = source.next.bind(source);
    source.next = () => {
      if (head.changeEvery > 0) source.format = byteFormat(64 + 64 * (Math.floor(source.made / head.changeEvery) % 2));
      return next();
    };
    return chain(source, head.stages);
  });
  if (ends.length === 1) grow(ends[0]!, rest);
  else {
    const funnel = new Funnel("funnel");
    for (const end of ends) pipeline.link(end, funnel);
    grow(funnel, rest);
  }
  return { pipeline, sinks };
}

test(
  "random graphs with random requirements are refused with a reason, or run 1,000 buffers at full length without starving",
  REPEATED,
  async () => {
    let ran = 0;
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(graph, async (shape) => {
        const { pipeline, sinks } = build(shape, FRAMES);
        const result = await runOrStall(pipeline);
        if (result !== "done") {
          expect(isMillpondError(result, "ERR_NOT_NEGOTIATED"), result.message).toBe(true);
          expect(result.message).toMatch(/may have|cannot get/);
          refused++;
        } else {
          ran++;
          for (const sink of sinks) expect(sink.seen).toHaveLength(FRAMES * shape.heads.length);
        }
        expectHome(pipeline);
      }),
      { numRuns: RUNS, seed: SEED },
    );
    // Both answers occur, or the generator tests nothing.
    expect(ran).toBeGreaterThan(times(10, 20));
    expect(refused).toBeGreaterThan(times(0, 2));
  },
);

test(
  "random graphs that are canceled, fail, or seek at any moment bring every buffer back, and do not stall",
  REPEATED,
  async () => {
    const ends = { done: 0, canceled: 0, failed: 0 };
    const trouble = fc.record({
      kind: fc.constantFrom("cancel", "fail", "seek", "seek", "leave"),
      turn: fc.integer({ min: 0, max: 12 }),
      sink: fc.nat(),
    });
    await fc.assert(
      fc.asyncProperty(graph, trouble, async (shape, { kind, turn, sink: which }) => {
        // Slow sinks, so that there is a middle to disturb.
        const { pipeline, sinks } = build({ ...shape, maxBytes: undefined }, 60, 1);
        const stop = new AbortController();
        const victim = sinks[which % sinks.length]!;
        if (kind === "fail") victim.failAt = turn;
        const run = runOrStall(pipeline, { signal: stop.signal });
        for (let i = 0; i < turn; i++) await nextTurn();
        if (kind === "cancel") stop.abort(new Error("canceled"));
        if (kind === "leave") victim.in.finish();
        if (kind === "seek") {
          await pipeline.seek(20).catch((error: unknown) => {
            if (!isMillpondError(error, "ERR_INACTIVE")) throw error;
          });
        }
        const result = await run;
        if (result === "done") ends.done++;
        else if (/canceled/.test(result.message)) ends.canceled++;
        else {
          expect(result.message).toMatch(/fails at/);
          ends.failed++;
        }
        expectHome(pipeline);
        for (const one of pipeline.elements) if (one instanceof Queue) expect(one.length).toBe(0);
      }),
      { numRuns: RUNS, seed: SEED },
    );
    expect(Math.min(ends.done, ends.canceled, ends.failed)).toBeGreaterThan(times(2, 10));
  },
);

test("counts are added over the branches of a tee, because branches may hold different buffers", async () => {
  const shape: Graph = {
    heads: [{ stages: [], holds: 0, changeEvery: 0 }],
    rest: {
      stages: [],
      end: [
        { stages: [], end: { keepFirst: 3, keepLast: 0, slow: 0, offer: -1, align: 8 } },
        { stages: [], end: { keepFirst: 0, keepLast: 4, slow: 0, offer: -1, align: 8 } },
      ],
    },
    maxBytes: undefined,
  };
  const { pipeline } = build(shape, 100);
  expect(await runOrStall(pipeline)).toBe("done");
  const [decision] = pipeline.describe().decisions;
  // 3 + 4 held, 1 for the tee, 1 being filled.
  expect(decision!.count).toBe(9);
  const least = pipeline.elements[0]!.outputs[0]!.pool!;
  // The tee's extra one is for pace; what is held and the one being filled are for life.
  expect(least.stats().highWater).toBe(8);
});
