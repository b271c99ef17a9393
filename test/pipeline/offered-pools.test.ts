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
import { SharedBufferPool } from "../../src/pools/shared/shared-buffer-pool.ts";
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
