// Shares its realm with other files: nothing that it changes outlives it.
/** What it costs to settle formats and memory: calls of hooks, by the number of stages and not by that of the ways. */
import { describe, expect, test } from "vitest";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { VideoInfo } from "../../src/media/video/info.ts";
import type { Maybe, OutputPad } from "../../src/pipeline/base/pad.ts";
import { Source } from "../../src/pipeline/base/source.ts";
import { Transform } from "../../src/pipeline/base/transform.ts";
import { Caps, type CapsStructure, valuesLookedAt } from "../../src/pipeline/caps.ts";
import { Funnel } from "../../src/pipeline/elements/funnel.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { CapsFilter, Identity } from "../../src/pipeline/elements/pass-through.ts";
import { PatternSource } from "../../src/pipeline/elements/pattern-source.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import { Tee } from "../../src/pipeline/elements/tee.ts";
import type { AllocationQuery } from "../../src/pipeline/negotiate/allocation-query.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { TURN_STEPS } from "../../src/pipeline/settlement.ts";
import { type StreamFormat, videoFormat } from "../../src/pipeline/stream-format.ts";
import { FakeClock } from "../../src/util/clock.ts";

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

describe("what stages compare to agree is one sum for all of them:", () => {
  /** What one settlement may cost; what comes on top is one list of one structure. */
  const BOUND = (1 << 22) + (1 << 14);
  const list = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
  const nameOf = (i: number, k: number): string => (i + k === 0 ? "I420" : `${i}-${k}-${"x".repeat(850)}`);
  /**
   * A fifth of the sum for each comparison: alternatives that are apart, each with a list that both have. A long name
   * counts as many looks, and is one for the machine.
   */
  const heavy = (): Caps =>
    new Caps(
      list(100, (i): CapsStructure => {
        return { kind: "video", fields: { format: list(2, (k) => nameOf(i, k)), height: list(100, (k) => 16 + k) } };
      }),
    );
  const source = (frames = 1): PatternSource => new PatternSource({ frames, width: 16, height: 16, format: "I420" });
  const filters = (count: number): CapsFilter[] => list(count, (i) => new CapsFilter(heavy(), `filter${i}`));

  function looks(work: () => unknown): number {
    const before = valuesLookedAt();
    work();
    return valuesLookedAt() - before;
  }

  async function looksOf(work: Promise<unknown>): Promise<number> {
    const before = valuesLookedAt();
    await work;
    return valuesLookedAt() - before;
  }

  const refused = (name: string) => ({
    code: "ERR_NOT_NEGOTIATED",
    message: expect.stringMatching(/^the caps of "\w+".* take too long to compare: /) as string,
    details: { stages: expect.arrayContaining([name]) as string[] } as object,
  });
  const thrown = (name: string): Error => {
    const { details, ...rest } = refused(name);
    return expect.objectContaining({ ...rest, details: expect.objectContaining(details) as object }) as Error;
  };

  test("two such stages agree", async () => {
    const sink = new NullSink();
    const pipeline = new Pipeline().link(source(), ...filters(2), sink);
    await expect(pipeline.run()).resolves.toMatchObject({ sinks: { [sink.name]: 1 } });
  });

  test("ten that are linked at once are refused by then, with their names, and nothing has changed", () => {
    const pipeline = new Pipeline();
    const stages = filters(10);
    const attempt = (): void => {
      const link = () => pipeline.link(source(), ...stages, new NullSink());
      expect(link).toThrow(thrown("filter1"));
    };
    expect(looks(attempt)).toBeLessThan(BOUND);
    expect(pipeline.elements).toEqual([]);
    expect(stages.map((stage) => [stage.in.peer, stage.out.peer])).toEqual(stages.map(() => [null, null]));
  });

  test("those that were linked one by one are refused when the pipeline starts, before a byte moves", async () => {
    const pipeline = new Pipeline();
    const first = source();
    let last: PatternSource | CapsFilter = first;
    for (const stage of filters(6)) {
      pipeline.link(last, stage);
      last = stage;
    }
    const sink = new NullSink();
    pipeline.link(last, sink);
    expect(await looksOf(expect(pipeline.run()).rejects.toMatchObject(refused("filter5")))).toBeLessThan(BOUND);
    expect([pipeline.isRunning, sink.in.buffers, pipeline.describe().decisions]).toEqual([false, 0, []]);
  });

  test("several sources, each with such stages behind it, have one sum", async () => {
    const pipeline = new Pipeline();
    const funnel = new Funnel();
    for (let i = 0; i < 6; i++) {
      const stage = new CapsFilter(heavy(), `branch${i}`);
      pipeline.link(source(), new CapsFilter(heavy()), stage);
      pipeline.link(stage, funnel);
    }
    pipeline.link(funnel, new NullSink());
    expect(await looksOf(expect(pipeline.negotiate()).rejects.toMatchObject(refused("branch1")))).toBeLessThan(BOUND);
  });

  /** Asks what is behind it for each format, and hands a new one on with each buffer. */
  class Asks extends Transform {
    constructor(name: string) {
      super(name, { mode: "passthrough" });
    }
    override outputFor(input: StreamFormat, downstream: Caps): StreamFormat {
      expect(downstream.isEmpty).toBe(false);
      return input;
    }
  }

  /** Another rate for its second buffer. */
  class Changes extends Source {
    made = 0;
    constructor() {
      super("changes");
    }
    next(): StreamFormat | undefined {
      const info = VideoInfo.of({ format: "I420", width: 16, height: 16 });
      return this.made < 2 ? videoFormat(info, { frameRate: { num: 24 + this.made, den: 1 } }) : undefined;
    }
    override fill(): void {
      this.made++;
    }
  }

  test.each([
    ["", (): Transform[] => []],
    [", with queues between them", (): Queue[] => [new Queue()]],
  ])("also where each asks on its own%s, at the start and at another format in mid-stream", async (_, between) => {
    // The caps get heavy for the second format.
    let isHeavy = false;
    class Takes extends NullSink {
      override acceptedCaps(): Caps {
        return isHeavy ? heavy().intersect(heavy()) : Caps.any;
      }
    }
    for (const late of [false, true]) {
      isHeavy = !late;
      const source = new Changes();
      const pipeline = new Pipeline();
      const stages = list(5, (i) => [...between(), new Asks(`asks${i}`)]).flat();
      pipeline.link(source, ...stages, new Takes({ name: "takes" }));
      const run = pipeline.run({ onProgress: () => {} });
      if (late) Object.defineProperty(source, "fill", { value: () => (isHeavy = ++source.made > 0) });
      expect(await looksOf(expect(run).rejects.toMatchObject(refused("takes")))).toBeLessThan(BOUND);
      expect(source.made).toBe(late ? 1 : 0);
    }
  });

  describe("what changes in mid-stream leaves a turn of the event loop between two of them:", () => {
    const FORMATS = 6;
    /** More than what is done without a turn. */
    const [mine, theirs] = [0, 7].map(
      (by) =>
        new Caps(
          list(16, (i): CapsStructure => {
            const width = list(60, (k) => 16 + ((k + by) % 60) * 2 + i * 400);
            return { kind: "video", fields: { width, height: { min: 1, max: 9000 } } };
          }),
        ),
    ) as [Caps, Caps];

    /** Settlements with the turn in which each compared. */
    class Compares extends Transform {
      readonly turns: number[] = [];
      readonly #turn: () => number;
      constructor(turn: () => number) {
        super(undefined, { mode: "passthrough" });
        this.#turn = turn;
      }
      override outputFor(input: StreamFormat): StreamFormat {
        const before = valuesLookedAt();
        // The first format is settled with those of all stages.
        if (this.out.format !== null) {
          mine.intersect(theirs);
          expect(valuesLookedAt() - before).toBeGreaterThan(TURN_STEPS);
          this.turns.push(this.#turn());
        }
        return input;
      }
    }

    /** Another rate for each buffer. */
    class Formats extends Source {
      made = 0;
      next(): StreamFormat | undefined {
        const info = VideoInfo.of({ format: "I420", width: 16, height: 16 });
        const frameRate = { num: 24 + this.made, den: 1 };
        return this.made < FORMATS ? videoFormat(info, { frameRate }) : undefined;
      }
      override fill(): void {
        this.made++;
      }
    }

    /** Runs with a count of the turns. */
    async function turnsOf(work: (turn: () => number) => Promise<unknown>): Promise<void> {
      let turns = 0;
      let handle = setImmediate(function count() {
        turns++;
        handle = setImmediate(count);
      });
      try {
        await work(() => turns);
      } finally {
        clearImmediate(handle);
      }
    }

    const distinct = (turns: readonly number[]): number => new Set(turns).size;

    test.each([1, 4])("of %i sources", async (sources) => {
      const stages: Compares[] = [];
      await turnsOf(async (turn) => {
        const pipeline = new Pipeline();
        for (let i = 0; i < sources; i++) {
          const stage = new Compares(turn);
          stages.push(stage);
          pipeline.link(new Formats(), stage, new NullSink());
        }
        await pipeline.run();
      });
      const turns = stages.flatMap((stage) => stage.turns);
      expect(turns).toHaveLength(sources * (FORMATS - 1));
      expect(distinct(turns)).toBe(turns.length);
    });

    test("behind queues, and where a source compares for each buffer", async () => {
      let stage: Compares;
      const asked: number[] = [];
      await turnsOf(async (turn) => {
        stage = new Compares(turn);
        class Agrees extends Formats {
          override next(): StreamFormat | undefined {
            if (this.made > 0) {
              this.agree(mine);
              asked.push(turn());
            }
            return super.next();
          }
        }
        const pipeline = new Pipeline().link(new Formats(), new Queue(), stage, new Queue(), new NullSink());
        await pipeline.run();
        class Takes extends NullSink {
          override acceptedCaps(): Caps {
            return theirs;
          }
        }
        await new Pipeline().link(new Agrees(), new Takes()).run();
      });
      expect([distinct(stage!.turns), distinct(asked)]).toEqual([FORMATS - 1, FORMATS]);
    });

    test("and several stages that compare for the same format do so in one, whatever they are", async () => {
      let stages: Compares[] = [];
      await turnsOf(async (turn) => {
        stages = list(3, () => new Compares(turn));
        await new Pipeline().link(new Formats(), ...stages, new NullSink()).run();
      });
      expect(distinct(stages.flatMap(({ turns }) => turns))).toBe(FORMATS - 1);
    });

    test("the wait for the others is no time of a stage", async () => {
      const clock = new FakeClock();
      class Slow extends Compares {
        override outputFor(input: StreamFormat): StreamFormat {
          const output = super.outputFor(input);
          // What one stage compares takes longer than a wait may, and time is looked at when it is done with it.
          if (this.turns.length > 0) process.nextTick(() => clock.advance(150));
          return output;
        }
      }
      const pipeline = new Pipeline({ acquireTimeout: 100, clock });
      for (let i = 0; i < 8; i++) pipeline.link(new Formats(), new Slow(() => 0), new NullSink());
      await pipeline.run();
    });
  });

  test("a question that a stage asks for each buffer has a sum of its own each time", async () => {
    let asked = 0;
    const many = heavy();
    class Curious extends NullSink {
      override render(buffer: MediaBuffer): void {
        asked += Number(!this.in.peer!.wanted().isEmpty);
        super.render(buffer);
      }
      override acceptedCaps(): Caps {
        return heavy().intersect(many);
      }
    }
    const pipeline = new Pipeline().link(source(5), new CapsFilter(heavy()), new Curious());
    expect(await looksOf(pipeline.run())).toBeGreaterThan(BOUND);
    expect(asked).toBe(5);
  });
});
