// Shares its realm with other files: nothing that it changes outlives it.
/** What it costs to settle formats and memory: calls of hooks, by the number of stages and not by that of the ways. */
import { describe, expect, test } from "vitest";
import type { Maybe, OutputPad } from "../../src/pipeline/base/pad.ts";
import { Transform } from "../../src/pipeline/base/transform.ts";
import type { Caps } from "../../src/pipeline/caps.ts";
import { Funnel } from "../../src/pipeline/elements/funnel.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { Identity } from "../../src/pipeline/elements/pass-through.ts";
import { PatternSource } from "../../src/pipeline/elements/pattern-source.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import { Tee } from "../../src/pipeline/elements/tee.ts";
import type { AllocationQuery } from "../../src/pipeline/negotiate/allocation-query.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";

/** Counts what it is asked. */
class Asked extends Transform {
  readonly calls = { caps: 0, memory: 0, again: 0 };
  constructor() {
    super(undefined, { mode: "passthrough" });
  }
  override inputsFor(downstream: Caps): Caps {
    this.calls.caps++;
    return super.inputsFor(downstream);
  }
  override proposeAllocation(query: AllocationQuery): Maybe<boolean> {
    this.calls.memory++;
    return super.proposeAllocation(query);
  }
  override reconfigureRequested(pad: OutputPad): void {
    this.calls.again++;
    super.reconfigureRequested(pad);
  }
}

class Holder extends NullSink {
  asked = 0;
  override proposeAllocation(query: AllocationQuery): boolean {
    this.asked++;
    return super.proposeAllocation(query);
  }
}

/** So many tees in a row, with two branches each that meet again. */
function diamonds(count: number, make: () => Identity | Queue, sink: Holder) {
  const pipeline = new Pipeline();
  const stages: Asked[] = [];
  const tees: Tee[] = [];
  let last: PatternSource | Funnel = new PatternSource({ frames: 1, width: 16, height: 16 });
  for (let i = 0; i < count; i++) {
    const [stage, tee, funnel] = [new Asked(), new Tee(`tee${i}`), new Funnel(`funnel${i}`)];
    stages.push(stage);
    tees.push(tee);
    pipeline.link(last, stage, tee);
    pipeline.link(tee, make(), funnel);
    pipeline.link(tee, make(), funnel);
    last = funnel;
  }
  pipeline.link(last, sink);
  return { pipeline, stages };
}

describe("branches that meet again, one pair behind the other", () => {
  test.each([
    ["stages", () => new Identity()],
    ["queues", () => new Queue()],
  ])("are asked once in each question, and not once for each way to them: %s", async (_, make) => {
    const sink = new Holder({ retainedBuffers: 1 });
    const { pipeline, stages } = diamonds(24, make, sink);
    await pipeline.negotiate();
    // One question of formats by the source, one of memory; the second stage is behind two ways, the last behind 2^23.
    expect(stages.map(({ calls }) => calls.caps)).toEqual(stages.map(() => 1));
    expect(stages.map(({ calls }) => calls.memory)).toEqual(stages.map(() => 1));
    expect(sink.asked).toBe(1);
  });

  test("hand a request to negotiate again upstream once", async () => {
    const sink = new Holder({ retainedBuffers: 1 });
    const { pipeline, stages } = diamonds(24, () => new Identity(), sink);
    await pipeline.negotiate();
    sink.in.reconfigure();
    expect(stages.map(({ calls }) => calls.again)).toEqual(stages.map(() => 1));
    sink.in.reconfigure();
    expect(stages.map(({ calls }) => calls.again)).toEqual(stages.map(() => 2));
  });

  test("count what a stage behind them retains once, and what each branch retains", async () => {
    const sink = new Holder({ retainedBuffers: 7 });
    const { pipeline } = diamonds(3, () => new Queue({ max: 2 }), sink);
    const [decision] = await pipeline.negotiate();
    const parts = decision!.parts.filter(({ why }) => why === "retained" || why.includes("in line"));
    // The sink's 7, and 3 of each of the six queues.
    expect(parts.map(({ count }) => count).sort()).toEqual([3, 3, 3, 3, 3, 3, 7]);
    expect(decision!.parts.filter(({ by }) => by.startsWith("tee"))).toHaveLength(3);
    expect(decision!.count).toBe(1 + 7 + 18 + 3);
    expect(decision!.count).toBe(decision!.parts.reduce((sum, { count }) => sum + count, 0));
  });

  test("run with that many buffers while the stage behind them has all of its own", async () => {
    const sink = new Holder({ retainedBuffers: 3 });
    const pipeline = new Pipeline();
    const [tee, funnel] = [new Tee(), new Funnel()];
    pipeline.link(new PatternSource({ frames: 40, width: 16, height: 16 }), tee);
    pipeline.link(tee, new Queue({ max: 1 }), funnel);
    pipeline.link(tee, new Queue({ max: 3 }), funnel);
    pipeline.link(funnel, sink);
    await expect(pipeline.run()).resolves.toMatchObject({ sinks: { [sink.name]: 80 } });
  });
});

describe("stages one behind the other", () => {
  /** A source, so many of these, and a sink. */
  function line(count: number, make: () => Transform): { pipeline: Pipeline; sink: NullSink; stages: Transform[] } {
    const stages = Array.from({ length: count }, make);
    const sink = new NullSink();
    const pipeline = new Pipeline();
    pipeline.link(new PatternSource({ frames: 2, width: 16, height: 16 }), ...stages, sink);
    return { pipeline, sink, stages };
  }

  test("are asked for formats once where they look at no caps", async () => {
    const { pipeline, sink, stages } = line(200, () => new Asked());
    await expect(pipeline.run()).resolves.toMatchObject({ sinks: { [sink.name]: 2 } });
    expect((stages as Asked[]).map(({ calls }) => calls.caps)).toEqual(stages.map(() => 1));
  });

  test("run when there are a thousand, and are refused before anything starts when there are more", async () => {
    const most = line(998, () => new Identity());
    await expect(most.pipeline.run()).resolves.toMatchObject({ sinks: { [most.sink.name]: 2 } });
    const more = line(999, () => new Identity());
    await expect(more.pipeline.run()).rejects.toThrow(
      /more than 1000 stages are one behind the other.*ERR_NOT_NEGOTIATED/,
    );
    expect(more.pipeline.describe().toString()).toContain("identity");
  });

  test("are linked from either end, however many there are", () => {
    const stages = Array.from({ length: 20_000 }, () => new Identity());
    const pipeline = new Pipeline();
    pipeline.link(...(stages as [Identity, ...Identity[]]));
    expect(() => pipeline.link(stages.at(-1)!, stages[0]!)).toThrow(/would make a cycle/);
  });
});
