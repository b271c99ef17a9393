/** A stage that keeps the end of the stream, answers as it should not, or waits for a reader outside. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { type Element, nextTurn, type StageWait } from "../../src/pipeline/base/element.ts";
import type { Maybe } from "../../src/pipeline/base/pad.ts";
import { AppSink } from "../../src/pipeline/elements/app-sink.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { Identity } from "../../src/pipeline/elements/pass-through.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import { Tee } from "../../src/pipeline/elements/tee.ts";
import type { AllocationQuery } from "../../src/pipeline/negotiate/allocation-query.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { FakeClock, systemClock } from "../../src/util/clock.ts";
import { lateErrors } from "../helpers/late-errors.ts";
import { Numbers } from "./kit.ts";

// What a stall leaves to the others is real time; here nobody needs it.
const { setTimer } = systemClock;
beforeEach(() => {
  vi.spyOn(systemClock, "setTimer").mockImplementation((fn, ms, background) =>
    setTimer.call(systemClock, fn, Math.min(ms, 20), background),
  );
});
afterEach(() => void vi.restoreAllMocks());

async function turns(count = 50): Promise<void> {
  for (let i = 0; i < count; i++) await nextTurn();
}

class LostIdentity extends Identity {
  override async onEos(): Promise<void> {}
}
class LostQueue extends Queue {
  override onEos(): void {}
}
class LostTee extends Tee {
  override onEos(): void {}
}
class LostSink extends NullSink {
  override async onEos(): Promise<void> {}
}
class LostSource extends Numbers {
  override get task(): () => Promise<void> {
    return async () => {};
  }
}

describe("the end of the stream", () => {
  const cases: [string, () => Element[]][] = [
    ["a transform", () => [new Numbers("src", 3), new LostIdentity("lost"), new NullSink()]],
    [
      "a transform behind a queue",
      () => [new Numbers("src", 3), new Queue(), new LostIdentity("lost"), new NullSink()],
    ],
    [
      "a transform before a queue",
      () => [new Numbers("src", 3), new LostIdentity("lost"), new Queue(), new NullSink()],
    ],
    ["a queue", () => [new Numbers("src", 3), new LostQueue({ name: "lost" }), new NullSink()]],
    ["a tee", () => [new Numbers("src", 3), new LostTee("lost"), new NullSink()]],
    ["a sink", () => [new Numbers("src", 3), new LostSink({ name: "lost" })]],
    ["a source", () => [new LostSource("lost", 3), new NullSink()]],
  ];
  test.each(cases)("that %s keeps ends the run with its name after ten times acquireTimeout", async (_, stages) => {
    const clock = new FakeClock();
    const [first, ...others] = stages();
    const run = new Pipeline({ clock, acquireTimeout: 500 }).link(first!, ...others).run();
    let isOver = false;
    const failed = expect(
      run.finally(() => {
        isOver = true;
      }),
    ).rejects.toMatchObject({ code: "ERR_STARVED", details: { stage: "lost" } });
    await turns();
    for (let i = 0; i < 10; i++) clock.advance(500);
    await turns();
    expect(isOver).toBe(false);
    clock.advance(1000);
    await failed;
  });

  test("that waits behind buffers for an application is not kept", async () => {
    const clock = new FakeClock();
    const sink = new AppSink();
    const run = new Pipeline({ clock, acquireTimeout: 500 })
      .link(new Numbers("src", 4), new Identity(), new Queue(), new Identity(), sink)
      .run();
    await turns();
    for (let i = 0; i < 100; i++) clock.advance(500);
    for await (const buffer of sink) {
      buffer.release();
      // Timers fire between turns only.
      await turns();
      for (let i = 0; i < 100; i++) clock.advance(500);
    }
    expect((await run).sinks[sink.name]).toBe(4);
  });
});

describe("a source", () => {
  test("without a loop is refused, and with its name", async () => {
    class Idle extends Numbers {
      override get task(): () => Promise<void> {
        return undefined as never;
      }
    }
    const run = new Pipeline().link(new Idle("idle", 3), new NullSink()).run();
    await expect(run).rejects.toMatchObject({
      code: "ERR_INVALID_ARG_TYPE",
      message: expect.stringContaining('the task of "idle"'),
    });
  });

  test("whose own prepare() never settles ends the run", async () => {
    const clock = new FakeClock();
    class Never extends Numbers {
      override prepare(): Promise<void> {
        return new Promise(() => {});
      }
    }
    const run = new Pipeline({ clock, acquireTimeout: 500 }).link(new Never("never", 3), new NullSink()).run();
    const failed = expect(run).rejects.toMatchObject({ code: "ERR_STARVED", details: { stage: "never" } });
    await turns();
    clock.advance(500);
    await failed;
  });
});

describe("a hook that rejects where nobody waits for it fails the run and nothing else", () => {
  const reject = (): never => Promise.reject(new Error("mine")) as never;
  class Flushes extends NullSink {
    override onFlush(): void {
      super.onFlush();
      reject();
    }
  }
  Flushes.prototype.onFlush = async (): Promise<void> => {
    throw new Error("mine");
  };
  class Shares extends Numbers {
    override sharesOutput(): boolean {
      return reject();
    }
  }
  class Passes extends Queue {
    protected override async formatPassed(): Promise<void> {
      await reject();
    }
  }
  class Adds extends Queue {
    protected override async addRetained(): Promise<void> {
      await reject();
    }
  }
  const cases: [string, () => Element[]][] = [
    ["onFlush() in stop()", () => [new Numbers("src", 3), new Flushes()]],
    ["sharesOutput()", () => [new Shares("src", 3), new NullSink()]],
    ["formatPassed()", () => [new Numbers("src", 3), new Passes(), new NullSink()]],
    ["addRetained()", () => [new Numbers("src", 3), new Adds(), new NullSink()]],
  ];
  test.each(cases)("%s", async (_, stages) => {
    const [first, ...others] = stages();
    const late = await lateErrors(async () => {
      await expect(new Pipeline().link(first!, ...others).run()).rejects.toThrow("mine");
    });
    expect(late).toEqual([]);
  });
});

test("what decideAllocation() and chain() answer beside a promise is nothing", async () => {
  class Decides extends Numbers {
    override decideAllocation: () => never = () => 5 as never;
  }
  class Counts extends NullSink {
    override chain(buffer: MediaBuffer): Maybe<void> {
      return (super.chain(buffer) ?? 5) as never;
    }
  }
  const sink = new Counts();
  await new Pipeline().link(new Decides("src", 3), sink).run();
  expect(sink.count).toBe(3);
});

test("a stage that waits for a reader outside is not given up, and one that does not is", async () => {
  for (const isHeld of [true, false]) {
    const clock = new FakeClock();
    let resume = (): void => {};
    class Writes extends Queue {
      override isHeldOutside({ isCall }: StageWait): boolean {
        return isHeld && isCall;
      }
      protected override begin(buffer: MediaBuffer): Promise<MediaBuffer> {
        return new Promise((resolve) => {
          resume = () => resolve(buffer);
        });
      }
    }
    const run = new Pipeline({ clock, acquireTimeout: 500 })
      .link(new Numbers("src", 1), new Writes({ name: "writes" }), new NullSink())
      .run();
    const ended = run.then(
      () => "ended",
      (error) => error.details.stage,
    );
    await turns();
    for (let i = 0; i < 20; i++) clock.advance(500);
    await turns();
    resume();
    expect(await ended).toBe(isHeld ? "ended" : "writes");
  }
});

test("the error of a sink's configure() is the sink's", async () => {
  for (const fails of [
    (): Maybe<void> => {
      throw new Error("mine");
    },
    (): Maybe<void> => Promise.reject(new Error("mine")),
  ]) {
    class Refuses extends NullSink {
      override configure(): Maybe<void> {
        return fails();
      }
    }
    const pipeline = new Pipeline().link(new Numbers("src", 3), new Identity(), new Refuses({ name: "refuses" }));
    await expect(pipeline.run()).rejects.toThrow("mine");
    expect(pipeline.failedIn).toBe("refuses");
  }
});

test("an answer about memory that comes when the run is over takes no pool", async () => {
  const clock = new FakeClock();
  const pool = BufferPool.create({ name: "mine", size: 64, max: 8 });
  let answer = (): void => {};
  class Late extends NullSink {
    override proposeAllocation(query: AllocationQuery): never {
      query.addPool({ pool });
      return new Promise<boolean>((resolve) => {
        answer = () => resolve(true);
      }) as never;
    }
  }
  const source = new Numbers("src", 3);
  const run = new Pipeline({ clock, acquireTimeout: 500 }).link(source, new Late({ name: "late" })).run();
  const failed = expect(run).rejects.toMatchObject({ code: "ERR_STARVED", details: { stage: "late" } });
  await turns();
  clock.advance(500);
  await failed;
  answer();
  await turns();
  expect(source.out.pool).toBe(null);
  const sink = new NullSink();
  sink.proposeAllocation = (query) => query.addPool({ pool }) !== null;
  const again = new Pipeline().link(new Numbers("src", 3), sink);
  await again.run();
  expect(again.describe().decisions[0]!.pool).toBe("mine");
});
