// Shares its realm with other files: nothing that it changes outlives it.
/** Pools that stages offer belong to the application: one pad at a time has one, and it is left as it was found. */
import { describe, expect, test } from "vitest";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { nextTurn } from "../../src/pipeline/base/element.ts";
import type { Maybe } from "../../src/pipeline/base/pad.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import type { AllocationQuery } from "../../src/pipeline/negotiate/allocation-query.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { byteFormat, type StreamFormat } from "../../src/pipeline/stream-format.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import type { ActualPoolConfig } from "../../src/pools/buffer/config.ts";
import { SharedBufferPool } from "../../src/pools/shared/shared-buffer-pool.ts";
import { type Clock, systemClock } from "../../src/util/clock.ts";
import { Collector, Numbers } from "./kit.ts";

/** Offers a pool, and waits inside its third buffer until it is let go. */
class Offers extends NullSink {
  readonly #pool: BufferPool;
  readonly pools: Set<string | undefined> = new Set();
  release = (): void => {};
  #waiting: Promise<void> | undefined;
  constructor(pool: BufferPool, waits = false) {
    super({});
    this.#pool = pool;
    if (waits) {
      this.#waiting = new Promise((resolve) => {
        this.release = resolve;
      });
    }
  }
  override proposeAllocation(query: AllocationQuery): boolean {
    void super.proposeAllocation(query);
    query.addPool({ pool: this.#pool });
    return true;
  }
  override render(buffer: MediaBuffer): Maybe<void> {
    this.pools.add(buffer.pool?.name);
    super.render(buffer);
    return this.count === 3 ? this.#waiting : undefined;
  }
  override unlock(): void {
    if (this.in.peer!.element.running.stopping) this.release();
  }
}

describe("a pool that the sinks of two pipelines offer", () => {
  test.each(["ends", "is aborted"])(
    "is used by the first of them, which %s, and the other has one of its own",
    async (how) => {
      const pool = new BufferPool({ name: "one" });
      const abort = new AbortController();
      const sinks = [new Offers(pool, true), new Offers(pool, true)] as const;
      const [a, b] = sinks.map((sink) => new Pipeline().link(new Numbers("src", 20), sink));
      const first = a!.run({ signal: abort.signal }).catch((error: Error) => error.message);
      const second = b!.run();
      while (sinks.some(({ count }) => count < 3)) await nextTurn();
      if (how === "ends") sinks[0].release();
      else abort.abort(new Error("enough"));
      const ended = await first;
      if (how !== "ends") expect(ended).toBe("enough");
      sinks[1].release();
      await second;
      expect(sinks.map(({ pools }) => [...pools])).toEqual([["one"], ["src.out"]]);
      // It is free again.
      const third = new Offers(pool);
      await new Pipeline().link(new Numbers("src", 5), third).run();
      expect([...third.pools]).toEqual(["one"]);
      expect(pool.outstanding).toBe(0);
    },
  );
});

describe("an application's pool that a sink offers", () => {
  test("while it is active is active after the run, with the configuration that it had", async () => {
    const pool = BufferPool.create({ name: "mine", size: 100, max: 8 });
    const config = pool.config;
    const sink = new Offers(pool);
    await new Pipeline().link(new Numbers("src", 20), sink).run();
    expect([...sink.pools]).toEqual(["mine"]);
    expect([pool.isActive, pool.isFlushing, pool.outstanding]).toEqual([true, false, 0]);
    expect(pool.config).toBe(config);
    pool.acquire({ timeout: 0 }).then((buffer) => buffer.release());
  });

  test("while it is active takes buffers again after a run that was aborted, and after a seek", async () => {
    const pool = BufferPool.create({ name: "mine", size: 64, max: 8 });
    const sink = new Offers(pool, true);
    const abort = new AbortController();
    const pipeline = new Pipeline().link(new Numbers("src", 20), sink);
    const run = pipeline.run({ signal: abort.signal });
    run.catch(() => {});
    while (sink.count < 3) await nextTurn();
    const seek = pipeline.seek(5);
    sink.release();
    await seek;
    expect([pool.isActive, pool.isFlushing]).toEqual([true, false]);
    abort.abort(new Error("enough"));
    await run.catch(() => {});
    expect([pool.isActive, pool.isFlushing, pool.outstanding]).toEqual([true, false, 0]);
  });

  test("while it is active is not configured anew by a change of format, and is left where it does not serve", async () => {
    class Grows extends Numbers {
      override next(): StreamFormat | undefined {
        return this.made < this.count ? byteFormat(this.made < 8 ? 64 : 256) : undefined;
      }
    }
    const pool = BufferPool.create({ name: "mine", size: 64, max: 8 });
    const sink = new Offers(pool);
    await new Pipeline().link(new Grows("src", 20), sink).run();
    expect([...sink.pools]).toEqual(["mine", "src.out"]);
    expect([pool.isActive, pool.isFlushing, pool.config!.size]).toEqual([true, false, 64]);
  });

  test("while it is being flushed is not taken", async () => {
    const pool = BufferPool.create({ name: "mine", size: 64, max: 8 });
    pool.setFlushing(true);
    const sink = new Offers(pool);
    await new Pipeline().link(new Numbers("src", 5), sink).run();
    expect([...sink.pools]).toEqual(["src.out"]);
    expect(pool.isFlushing).toBe(true);
  });

  test("while it is not active is not active after the run", async () => {
    const pool = new BufferPool({ name: "mine" });
    const sink = new Offers(pool);
    await new Pipeline().link(new Numbers("src", 5), sink).run();
    expect([...sink.pools]).toEqual(["mine"]);
    expect(pool.isActive).toBe(false);
  });

  test("counts with its spare slots against maxBytes", async () => {
    const run = async (maxBytes: number): Promise<string[]> => {
      const pool = new SharedBufferPool({ name: "shared", threads: 9 });
      const sink = new Offers(pool);
      await new Pipeline({ maxBytes }).link(new Numbers("src", 5), sink).run();
      return [...sink.pools] as string[];
    };
    // One buffer, and nine slots for threads that still look.
    expect(await run(639)).toEqual(["src.out"]);
    expect(await run(640)).toEqual(["shared"]);
  });

  test("and its spare slots count for the pools of other pads", async () => {
    const shared = new SharedBufferPool({ name: "shared", threads: 9 });
    const sinks = [new Offers(shared), new Collector("other")];
    const pipeline = new Pipeline({ maxBytes: 640 }).link(new Numbers("a", 5), sinks[0]!);
    pipeline.link(new Numbers("b", 5), sinks[1]!);
    await expect(pipeline.run()).rejects.toMatchObject({ code: "ERR_NOT_NEGOTIATED" });
  });
});

describe("a run that ends before it opens", () => {
  const aborted = { signal: AbortSignal.abort(new Error("enough")) };
  const ways: [string, (pipeline: Pipeline, clock: { isBroken: boolean }) => Promise<unknown>][] = [
    ["by a signal that was aborted before", (pipeline) => pipeline.run(aborted)],
    ["as negotiate() does with such a signal", (pipeline) => pipeline.negotiate(aborted)],
    [
      "by a clock that throws at once",
      (pipeline, clock) => {
        clock.isBroken = true;
        return pipeline.run();
      },
    ],
  ];
  const brokenClock = (): Clock & { isBroken: boolean } => ({
    ...systemClock,
    isBroken: false,
    now() {
      if (this.isBroken) throw new Error("no time");
      return systemClock.now();
    },
  });

  test.each(ways)("%s leaves the pool of the run before active", async (_how, run) => {
    const pool = BufferPool.create({ name: "mine", size: 64, max: 8 });
    const clock = brokenClock();
    const pipeline = new Pipeline({ clock }).link(new Numbers("src", 5), new Offers(pool));
    await pipeline.run();
    await expect(run(pipeline, clock)).rejects.toThrow();
    expect(pool.isActive).toBe(true);
    pool.tryAcquire()!.release();
  });

  test.each(ways)("%s leaves another pipeline the pool that it has meanwhile", async (_how, run) => {
    const pool = new BufferPool({ name: "mine" });
    const clock = brokenClock();
    const first = new Pipeline({ clock }).link(new Numbers("src", 5), new Offers(pool));
    await first.run();
    const sink = new Offers(pool, true);
    const running = new Pipeline().link(new Numbers("src", 20), sink).run();
    while (sink.count < 3) await nextTurn();
    await expect(run(first, clock)).rejects.toThrow();
    const third = new Offers(pool);
    await new Pipeline().link(new Numbers("src", 5), third).run();
    sink.release();
    await running;
    expect([[...sink.pools], [...third.pools]]).toEqual([["mine"], ["src.out"]]);
    expect(pool.isActive).toBe(false);
  });
});

/** The application retains the first buffer, and offers its pool. */
class Retains extends Offers {
  kept: MediaBuffer | undefined;
  override render(buffer: MediaBuffer): Maybe<void> {
    this.kept ??= buffer.retain();
    return super.render(buffer);
  }
}

test("an inactive pool is not taken while a lease of a run before is out, with the same configuration, too", async () => {
  const pool = new BufferPool({ name: "mine" });
  const first = new Retains(pool);
  const summary = await new Pipeline().link(new Numbers("src", 1), first).run();
  expect([summary.holders.length, pool.outstanding]).toEqual([1, 1]);
  const second = new Offers(pool);
  const pipeline = new Pipeline({ acquireTimeout: 5000 }).link(new Numbers("src", 5), second);
  await pipeline.run();
  expect([...second.pools]).toEqual(["src.out"]);
  expect(pipeline.describe().text()).toContain("it is in use: 1 buffers are out");
  first.kept!.release();
  const third = new Offers(pool);
  await new Pipeline().link(new Numbers("src", 5), third).run();
  expect([...third.pools]).toEqual(["mine"]);
});

describe("the application's configuration of an inactive pool", () => {
  const own = { size: 10, max: 3, zero: "release", align: 64, padding: 5, options: ["mine"], revoke: false } as const;

  test("stays in the run but for size and count, and is the pool's again after it", async () => {
    const pool = new BufferPool({ name: "mine" });
    const before = pool.configure(own);
    let during = pool.config;
    class Looks extends Offers {
      override render(buffer: MediaBuffer): Maybe<void> {
        during = buffer.pool!.config;
        return super.render(buffer);
      }
    }
    const sink = new Looks(pool);
    await new Pipeline().link(new Numbers("src", 5), sink).run();
    expect([...sink.pools]).toEqual(["mine"]);
    const { size, max, zero, options, params } = during!;
    expect([size, max, zero, options]).toEqual([64, 1, "release", ["mine"]]);
    expect([params.align, params.padding]).toEqual([64, 5]);
    expect(pool.config).toEqual(before);
  });

  test("is the pool's again when the last lease that the run left is back", async () => {
    const pool = new BufferPool({ name: "mine" });
    const before = pool.configure(own);
    const sink = new Retains(pool);
    await new Pipeline().link(new Numbers("src", 1), sink).run();
    const drained = pool.drained();
    sink.kept!.release();
    await drained;
    // Another run that takes it at once knows which one is the application's.
    await new Pipeline().link(new Numbers("src", 5), new Offers(pool)).run();
    expect(pool.config).toEqual(before);
  });

  test("is the pool's again when the pool was tried and refused", async () => {
    class Small extends BufferPool {
      protected override adjust(config: ActualPoolConfig): ActualPoolConfig {
        return { ...config, size: Math.min(config.size, 20) };
      }
    }
    const pool = new Small({ name: "mine" });
    const before = pool.configure(own);
    const sink = new Offers(pool);
    await new Pipeline().link(new Numbers("src", 5), sink).run();
    expect([...sink.pools]).toEqual(["src.out"]);
    expect(pool.config).toEqual(before);
  });

  test("is not what a run made for it: a second one asks for no more than it needs", async () => {
    const pool = new BufferPool({ name: "mine" });
    class Aligned extends Offers {
      override proposeAllocation(query: AllocationQuery): boolean {
        query.requireParams(null, { align: 128 });
        return super.proposeAllocation(query);
      }
    }
    await new Pipeline().link(new Numbers("src", 5), new Aligned(pool)).run();
    expect(pool.config!.params.align).toBe(128);
    await new Pipeline().link(new Numbers("src", 5), new Offers(pool)).run();
    expect(pool.config!.params.align).toBe(8);
  });
});
