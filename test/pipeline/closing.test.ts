// Shares its realm with other files: nothing that it changes outlives it.
/** How a run closes its stages after it has given one up. */
import { describe, expect, test } from "vitest";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { nextTurn } from "../../src/pipeline/base/element.ts";
import type { Maybe } from "../../src/pipeline/base/pad.ts";
import { Sink } from "../../src/pipeline/base/sink.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { Tee } from "../../src/pipeline/elements/tee.ts";
import type { AllocationQuery } from "../../src/pipeline/negotiate/allocation-query.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { FakeClock } from "../../src/util/clock.ts";
import { Numbers, turns } from "./kit.ts";

/** Runs until the run waits for something, then lets the time pass. */
async function passTime(clock: FakeClock, ms: number): Promise<void> {
  for (let i = 0; i < 20; i++) await nextTurn();
  clock.advance(ms);
  for (let i = 0; i < 5; i++) await nextTurn();
}

/** Hangs with the second buffer until it is unlocked. */
class Stuck extends Sink {
  #rendered = 0;
  #free = (): void => {};
  override start(): void {
    this.#rendered = 0;
  }
  override render(): Maybe<void> {
    if (++this.#rendered < 2) return undefined;
    return new Promise((resolve) => {
      this.#free = resolve;
    });
  }
  override unlock(): void {
    this.#free();
  }
}

/** Needs some turns to close. */
class SlowToClose extends Sink {
  readonly calls: string[] = [];
  override start(): void {
    this.calls.push("start");
  }
  override render(): void {}
  override async stop(): Promise<void> {
    void super.stop();
    await turns(60);
    this.calls.push("stopped");
  }
}

describe("a run that gave up a stage", () => {
  test("rejects when the other stages are closed, and begins again with none of them half open", async () => {
    const clock = new FakeClock();
    const tee = new Tee();
    const slow = new SlowToClose("slow");
    const pipeline = new Pipeline({ clock, acquireTimeout: 500 }).link(new Numbers("src", 9), tee, new Stuck("stuck"));
    pipeline.link(tee, slow);
    for (const round of [1, 2]) {
      const failed = expect(pipeline.run()).rejects.toMatchObject({ code: "ERR_STARVED", details: { stage: "stuck" } });
      await passTime(clock, 500);
      await failed;
      expect(slow.calls).toEqual(Array.from({ length: round }, () => ["start", "stopped"]).flat());
    }
  });

  test("while it closes cannot run again, and says so", async () => {
    const clock = new FakeClock();
    let close = (): void => {};
    class Hangs extends NullSink {
      override stop(): Promise<void> {
        return new Promise((resolve) => {
          close = resolve;
        });
      }
    }
    const pipeline = new Pipeline({ clock, acquireTimeout: 500 }).link(new Numbers("src", 1), new Hangs());
    const failed = expect(pipeline.run()).rejects.toMatchObject({ code: "ERR_STARVED" });
    await passTime(clock, 10_000);
    await failed;
    await expect(pipeline.run()).rejects.toMatchObject({ code: "ERR_ACTIVE" });
    close();
    await nextTurn();
    const again = expect(pipeline.run()).rejects.toMatchObject({ code: "ERR_STARVED" });
    await passTime(clock, 10_000);
    await again;
  });

  test("because an application's pool never answered, whatever timeout it was given, ends", async () => {
    class Deaf extends BufferPool {
      override tryAcquire(): undefined {}
      override acquire(): Promise<MediaBuffer> {
        return new Promise(() => {});
      }
    }
    const clock = new FakeClock();
    const pool = new Deaf({ name: "deaf" });
    class Offers extends NullSink {
      override proposeAllocation(query: AllocationQuery): boolean {
        void super.proposeAllocation(query);
        query.addPool({ pool });
        return true;
      }
    }
    const pipeline = new Pipeline({ clock, acquireTimeout: 500 }).link(new Numbers("src", 1), new Offers());
    const failed = expect(pipeline.run()).rejects.toMatchObject({
      code: "ERR_STARVED",
      details: { stage: "src", doing: "waiting for a buffer" },
    });
    await passTime(clock, 1000);
    await failed;
  });
});
