/** Every wait of a stage has a bound, and the error names the stage. */
import { describe, expect, test } from "vitest";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { type Element, nextTurn } from "../../src/pipeline/base/element.ts";
import { Sink } from "../../src/pipeline/base/sink.ts";
import { Source } from "../../src/pipeline/base/source.ts";
import { Transform } from "../../src/pipeline/base/transform.ts";
import { AppSink } from "../../src/pipeline/elements/app-sink.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { byteFormat, type StreamFormat } from "../../src/pipeline/stream-format.ts";
import { FakeClock } from "../../src/util/clock.ts";
import { Numbers } from "./kit.ts";

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
});
