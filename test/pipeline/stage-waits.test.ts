/** Every wait of a stage has a bound, and the error names the stage. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { Element, nextTurn } from "../../src/pipeline/base/element.ts";
import type { InputPad, Maybe } from "../../src/pipeline/base/pad.ts";
import { Sink } from "../../src/pipeline/base/sink.ts";
import { Source } from "../../src/pipeline/base/source.ts";
import { Transform } from "../../src/pipeline/base/transform.ts";
import { AppSink } from "../../src/pipeline/elements/app-sink.ts";
import { AppSource } from "../../src/pipeline/elements/app-source.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import type { AllocationQuery } from "../../src/pipeline/negotiate/allocation-query.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { byteFormat, type StreamFormat } from "../../src/pipeline/stream-format.ts";
import { FakeClock, systemClock } from "../../src/util/clock.ts";
import { Numbers } from "./kit.ts";

// A run that gave a stage up lets the others end for half a second of real time; here none does, and all would wait it
// out.
const { setTimer } = systemClock;
beforeEach(() => {
  vi.spyOn(systemClock, "setTimer").mockImplementation((fn, ms, background) =>
    setTimer.call(systemClock, fn, Math.min(ms, 20), background),
  );
});
afterEach(() => void vi.restoreAllMocks());

const never = <T>(): Promise<T> => new Promise<T>(() => {});
const format = byteFormat(64);

class Stuck extends Source {
  #left = 3;
  readonly hook: "start" | "next" | "fill" | "stop";
  constructor(hook: "start" | "next" | "fill" | "stop") {
    super("stuck");
    this.hook = hook;
  }
  override start(): undefined | Promise<void> {
    return this.hook === "start" ? never() : undefined;
  }
  override next(): StreamFormat | undefined | Promise<StreamFormat | undefined> {
    if (this.hook === "next") return never();
    return this.#left-- > 0 ? format : undefined;
  }
  override fill(): undefined | Promise<boolean> {
    return this.hook === "fill" ? never() : undefined;
  }
  override stop(): undefined | Promise<void> {
    void super.stop();
    return this.hook === "stop" ? never() : undefined;
  }
}

class StuckSource extends Source {
  constructor() {
    super("stuck");
  }
  override next(): StreamFormat {
    return format;
  }
  override create(): Promise<MediaBuffer | undefined> {
    return never();
  }
}

class StuckTransform extends Transform {
  readonly hook: "outputFor" | "configure" | "transform" | "drain" | "inspect";
  constructor(
    hook: "outputFor" | "configure" | "transform" | "drain" | "inspect",
    mode: "copy" | "passthrough" = "copy",
  ) {
    super("stuck", { mode });
    this.hook = hook;
  }
  override outputFor(input: StreamFormat): StreamFormat | Promise<StreamFormat> {
    return this.hook === "outputFor" ? never() : input;
  }
  override configure(): undefined | Promise<undefined> {
    return this.hook === "configure" ? never() : undefined;
  }
  override transform(): undefined | Promise<boolean> {
    return this.hook === "transform" ? never() : undefined;
  }
  override inspect(): undefined | Promise<boolean> {
    return this.hook === "inspect" ? never() : undefined;
  }
  override drain(): undefined | Promise<void> {
    return this.hook === "drain" ? never() : undefined;
  }
}

class StuckSink extends Sink {
  readonly hook: "configure" | "render" | "finish";
  constructor(hook: "configure" | "render" | "finish") {
    super("stuck");
    this.hook = hook;
  }
  override configure(): undefined | Promise<void> {
    return this.hook === "configure" ? never() : undefined;
  }
  override render(): undefined | Promise<void> {
    return this.hook === "render" ? never() : undefined;
  }
  override finish(): undefined | Promise<void> {
    return this.hook === "finish" ? never() : undefined;
  }
}

class PassThrough extends Transform {
  constructor(name: string) {
    super(name, { mode: "passthrough" });
  }
}

class Copy extends Transform {
  override transform(input: MediaBuffer, output: MediaBuffer): void {
    output.fill(0, input.bytes);
  }
}

class Taker extends Sink {
  override render(): void {}
}

/** A stage of another shape: each call goes on downstream, but for the one that hangs. */
class StuckElement extends Element {
  readonly in = this.addInput("in");
  readonly out = this.addOutput("out");
  readonly hook: "proposeAllocation" | "formatChanged" | "onEos" | "chain" | "none";
  constructor(hook: "proposeAllocation" | "formatChanged" | "onEos" | "chain" | "none", name = "stuck") {
    super(name);
    this.hook = hook;
  }
  override proposeAllocation(query: AllocationQuery): Maybe<boolean> {
    return this.hook === "proposeAllocation" ? never() : this.out.query(query);
  }
  override formatChanged(format: StreamFormat): Maybe<void> {
    return this.hook === "formatChanged" ? never() : this.out.setFormat(format);
  }
  override onEos(): Maybe<void> {
    return this.hook === "onEos" ? never() : this.out.end();
  }
  override chain(buffer: MediaBuffer): Maybe<void> {
    if (this.hook !== "chain") return this.out.push(buffer);
    buffer.release();
    return never();
  }
}

class StuckQueue extends Queue {
  constructor() {
    super({ name: "stuck" });
  }
  protected override begin(buffer: MediaBuffer): Promise<MediaBuffer> {
    buffer.release();
    return never();
  }
}

/** A transform or a sink whose hook of another base class hangs. */
function stuck<T extends Element>(element: T, hook: "proposeAllocation" | "formatChanged" | "onEos"): T {
  return Object.assign(element, { [hook]: never });
}

const hooks = ["proposeAllocation", "formatChanged", "onEos"] as const;

const cases: [string, () => Element[]][] = [
  ...(["start", "next", "fill"] as const).map((hook): [string, () => Element[]] => [
    `a source's ${hook}()`,
    () => [new Stuck(hook), new NullSink()],
  ]),
  ["a source's create()", () => [new StuckSource(), new NullSink()]],
  ...(["outputFor", "configure", "transform", "drain"] as const).map((hook): [string, () => Element[]] => [
    `a transform's ${hook}()`,
    () => [new Numbers("src", 3), new StuckTransform(hook), new NullSink()],
  ]),
  [
    "a transform's inspect()",
    () => [new Numbers("src", 3), new StuckTransform("inspect", "passthrough"), new NullSink()],
  ],
  ...(["configure", "render", "finish"] as const).map((hook): [string, () => Element[]] => [
    `a sink's ${hook}()`,
    () => [new Numbers("src", 3), new StuckSink(hook)],
  ]),
  ...([...hooks, "chain"] as const).map((hook): [string, () => Element[]] => [
    `the ${hook}() of an Element`,
    () => [new Numbers("src", 3), new StuckElement(hook), new NullSink()],
  ]),
  ...hooks.flatMap((hook): [string, () => Element[]][] => [
    [
      `a transform's own ${hook}()`,
      () => [new Numbers("src", 3), stuck(new PassThrough("stuck"), hook), new NullSink()],
    ],
    [`a sink's own ${hook}()`, () => [new Numbers("src", 3), stuck(new Taker("stuck"), hook)]],
    [
      `a sink's own ${hook}() behind queues and a copying stage`,
      () => [
        new Numbers("src", 3),
        new Queue({ name: "q1" }),
        new Copy("copy"),
        new Queue({ name: "q2" }),
        stuck(new Taker("stuck"), hook),
      ],
    ],
  ]),
  ["the work of a queue", () => [new Numbers("src", 3), new StuckQueue(), new NullSink()]],
];

/** Runs until the run waits for something, then lets the time pass. */
async function passTime(clock: FakeClock, ms: number): Promise<void> {
  for (let i = 0; i < 20; i++) await nextTurn();
  clock.advance(ms);
  for (let i = 0; i < 5; i++) await nextTurn();
}

describe("a stage that never answers", () => {
  test.each(cases)("%s ends the run with the stage's name when acquireTimeout is over", async (_, elements) => {
    const clock = new FakeClock();
    const [first, ...others] = elements();
    const pipeline = new Pipeline({ clock, acquireTimeout: 500 }).link(first!, ...others);
    const run = pipeline.run();
    const failed = expect(run).rejects.toMatchObject({ code: "ERR_STARVED", details: { stage: "stuck" } });
    let isOver = false;
    run.then(
      () => {},
      () => {
        isOver = true;
      },
    );
    await passTime(clock, 499);
    expect(isOver).toBe(false);
    // The end of a stream may take ten times as long, and a start ten seconds.
    await passTime(clock, 10_000);
    await failed;
    expect(pipeline.failedIn).toBe("stuck");
  });

  test("whose stop() hangs ends the run all the same", async () => {
    const clock = new FakeClock();
    const run = new Pipeline({ clock, acquireTimeout: 500 }).link(new Stuck("stop"), new NullSink()).run();
    const failed = expect(run).rejects.toMatchObject({ code: "ERR_STARVED", details: { stage: "stuck" } });
    await passTime(clock, 10_000);
    await failed;
  });

  test("keeps its buffer: what it may still write to is nobody else's", async () => {
    const clock = new FakeClock();
    let held: MediaBuffer | undefined;
    class Keeps extends Sink {
      override render(buffer: MediaBuffer): Promise<void> {
        held = buffer;
        return never();
      }
    }
    const run = new Pipeline({ clock, acquireTimeout: 500 }).link(new Numbers("src", 3), new Keeps("stuck")).run();
    const failed = expect(run).rejects.toMatchObject({ code: "ERR_STARVED" });
    await passTime(clock, 500);
    await failed;
    expect(held!.isLive).toBe(true);
    held!.release();
  });

  test("cannot run again before its call is over, and says so", async () => {
    const clock = new FakeClock();
    let finish = (): void => {};
    class Late extends Sink {
      override render(): Promise<void> {
        return new Promise((resolve) => {
          finish = resolve;
        });
      }
    }
    const pipeline = new Pipeline({ clock, acquireTimeout: 500 }).link(new Numbers("src", 1), new Late("late"));
    const failed = expect(pipeline.run()).rejects.toMatchObject({ code: "ERR_STARVED" });
    await passTime(clock, 500);
    await failed;
    await expect(pipeline.run()).rejects.toMatchObject({ code: "ERR_ACTIVE" });
    finish();
    for (let i = 0; i < 5; i++) await nextTurn();
    const again = pipeline.run();
    for (let i = 0; i < 20; i++) await nextTurn();
    finish();
    await again;
  });

  test("is not one that goes on giving, however long it takes for all", async () => {
    const clock = new FakeClock();
    const steps: (() => void)[] = [];
    class Slow extends Sink {
      override render(): Promise<void> {
        return new Promise((resolve) => steps.push(resolve));
      }
    }
    const run = new Pipeline({ clock, acquireTimeout: 500 }).link(new Numbers("src", 4), new Slow("slow")).run();
    for (let frame = 0; frame < 4; frame++) {
      await passTime(clock, 400);
      steps.shift()!();
    }
    await expect(run).resolves.toMatchObject({ sinks: { slow: 4 } });
  });

  test("is not an application that takes its time", async () => {
    const clock = new FakeClock();
    const sink = new AppSink();
    const run = new Pipeline({ clock, acquireTimeout: 500 }).link(new Numbers("src", 2), sink).run();
    await passTime(clock, 10_000);
    let seen = 0;
    for await (const buffer of sink) {
      buffer.release();
      seen++;
    }
    await run;
    expect(seen).toBe(2);
  });

  test("is not one that waits for an application behind it", async () => {
    const clock = new FakeClock();
    const sink = new AppSink();
    const stages = [new StuckElement("none", "element"), new Queue({ max: 1 }), new Copy("copy"), sink];
    const run = new Pipeline({ clock, acquireTimeout: 500 }).link(new Numbers("src", 8), ...stages).run();
    await passTime(clock, 10_000);
    let seen = 0;
    for await (const buffer of sink) {
      buffer.release();
      seen++;
      if (seen === 3) await passTime(clock, 10_000);
    }
    await run;
    expect(seen).toBe(8);
  });

  test("has its whole time after it waited for another one", async () => {
    const clock = new FakeClock();
    const steps: (() => void)[] = [];
    const step = (): Promise<void> => new Promise((resolve) => steps.push(resolve));
    class Slow extends Sink {
      override render(): Promise<void> {
        return step();
      }
    }
    class Before extends StuckElement {
      override async chain(buffer: MediaBuffer): Promise<void> {
        await step();
        await this.out.push(buffer);
        await step();
      }
    }
    const stages = [new Before("none", "before"), new Slow("slow")];
    const run = new Pipeline({ clock, acquireTimeout: 500 }).link(new Numbers("src", 2), ...stages).run();
    for (let i = 0; i < 6; i++) {
      await passTime(clock, 400);
      steps.shift()!();
    }
    await expect(run).resolves.toMatchObject({ sinks: { slow: 2 } });
  });

  /** Waits with a buffer of one input for one of the other. */
  class Pair extends Element {
    readonly a = this.addInput("a");
    readonly b = this.addInput("b");
    readonly out = this.addOutput("out");
    #other: { buffer: MediaBuffer; taken: () => void } | undefined;
    isStuck = false;
    override formatChanged(format: StreamFormat): Maybe<void> {
      return this.out.setFormat(format);
    }
    override onEos(): Maybe<void> {
      return this.inputs.every((pad) => pad.ended) ? this.out.end() : undefined;
    }
    override async chain(buffer: MediaBuffer, _pad: InputPad): Promise<void> {
      const other = this.#other;
      if (other === undefined) {
        await new Promise<void>((resolve) => {
          this.#other = { buffer, taken: resolve };
        });
        return;
      }
      this.#other = undefined;
      if (this.isStuck) await never();
      await this.out.push(buffer);
      await this.out.push(other.buffer);
      other.taken();
    }
  }

  test.each([false, true])(
    "is not one that waits for another of its inputs; when all are there it is: %s",
    async (isStuck) => {
      const clock = new FakeClock();
      let give = (): void => {};
      const later = (async function* () {
        await new Promise<void>((resolve) => {
          give = resolve;
        });
        yield new Uint8Array(64);
      })();
      const pair = new Pair("stuck");
      const pipeline = new Pipeline({ clock, acquireTimeout: 500 });
      pipeline.link(new Numbers("src", 1), pair.a).link(pair, new NullSink({ name: "null" }));
      pipeline.link(new AppSource(later, { format }), pair.b);
      const run = pipeline.run();
      run.catch(() => {});
      await passTime(clock, 10_000);
      pair.isStuck = isStuck;
      give();
      await passTime(clock, 500);
      await passTime(clock, 500);
      if (isStuck) await expect(run).rejects.toMatchObject({ code: "ERR_STARVED", details: { stage: "stuck" } });
      else await expect(run).resolves.toMatchObject({ sinks: { null: 2 } });
    },
  );
});

describe("a stage that waits often", () => {
  /** Waits at each buffer, in a hook or in a call of its own, until the last one, at which it hangs. */
  class Busy extends Sink {
    readonly #hangsAt: number;
    readonly #onBuffer: (count: number) => void;
    count = 0;
    constructor(hangsAt: number, onBuffer: (count: number) => void = () => {}) {
      super("busy");
      this.#hangsAt = hangsAt;
      this.#onBuffer = onBuffer;
    }
    override render(): Promise<void> {
      this.#onBuffer(++this.count);
      return this.count === this.#hangsAt ? never() : Promise.resolve();
    }
  }
  class BusyChain extends Busy {
    override async chain(buffer: MediaBuffer): Promise<void> {
      buffer.release();
      await this.render();
    }
  }

  test.each([Busy, BusyChain])(
    "and hangs is found an eighth of the limit later at most, and not before it: %o",
    async (Kind) => {
      const clock = new FakeClock();
      const sink = new Kind(5000, (count) => {
        if (count % 500 === 0) clock.advance(700);
      });
      let ended: unknown;
      const run = new Pipeline({ clock, acquireTimeout: 800 }).link(new Numbers("src", 9000), sink).run();
      run.catch((error) => {
        ended = error;
      });
      while (sink.count < 5000 && ended === undefined) await nextTurn();
      await passTime(clock, 799);
      expect({ count: sink.count, ended }).toEqual({ count: 5000, ended: undefined });
      await passTime(clock, 101);
      await expect(run).rejects.toMatchObject({ code: "ERR_STARVED", details: { stage: "busy", limit: 800 } });
    },
  );

  test("reads the clock for the first of its waits only", async () => {
    const clock = new FakeClock();
    let readings = 0;
    const now = clock.now.bind(clock);
    clock.now = () => {
      readings++;
      return now();
    };
    const sink = new Busy(Number.POSITIVE_INFINITY);
    await new Pipeline({ clock, acquireTimeout: 800 }).link(new Numbers("src", 5000), sink).run();
    expect(sink.count).toBe(5000);
    expect(readings).toBeLessThan(200);
  });

  test.each([1, 2, 3])("may end each of its waits twice, and what is none: wait %i stays", async (stays) => {
    class Several extends NullSink {
      override render(): void {
        const waits = [1, 2, 3].map((i) => this.running.beginWait(this, `waiting ${i}`)!);
        const ended = waits.filter((_, i) => i + 1 !== stays);
        for (const wait of [...ended, ...ended, { ...waits[stays - 1]! }, undefined]) this.running.endWait(wait);
      }
    }
    const clock = new FakeClock();
    const endless = (async function* () {
      yield new Uint8Array(64);
      await never();
    })();
    const stages = [new AppSource(endless, { format }), new Several({ name: "stuck" })] as const;
    const run = new Pipeline({ clock, acquireTimeout: 500 }).link(...stages).run();
    run.catch(() => {});
    await passTime(clock, 500);
    const error = { code: "ERR_STARVED", details: { stage: "stuck", doing: `waiting ${stays}` } };
    await expect(run).rejects.toMatchObject(error);
  });
});
