/** However a run ends, what waits for it ends with it, and what it was given is back. */
import { describe, expect, test } from "vitest";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { nextTurn } from "../../src/pipeline/base/element.ts";
import type { Maybe } from "../../src/pipeline/base/pad.ts";
import { Sink } from "../../src/pipeline/base/sink.ts";
import { AppSink } from "../../src/pipeline/elements/app-sink.ts";
import { AppSource } from "../../src/pipeline/elements/app-source.ts";
import { Funnel } from "../../src/pipeline/elements/funnel.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { Identity } from "../../src/pipeline/elements/pass-through.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import { Tee } from "../../src/pipeline/elements/tee.ts";
import type { AllocationQuery } from "../../src/pipeline/negotiate/allocation-query.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { byteFormat } from "../../src/pipeline/stream-format.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { lateRejections } from "../helpers/late-errors.ts";
import { expectHome, Numbers, Step } from "./kit.ts";

/** What became of a promise by 200 turns of the event loop, in which nothing here waits for time. */
async function outcome(promise: Promise<unknown>): Promise<string> {
  let became = "waits";
  promise.then(
    (value) => {
      became = `resolved: ${String(value)}`;
    },
    (error: unknown) => {
      became = `rejected: ${error instanceof Error ? error.message : String(error)}`;
    },
  );
  for (let turn = 0; turn < 200 && became === "waits"; turn++) await nextTurn();
  return became;
}

async function loop(sink: AppSink): Promise<number> {
  let seen = 0;
  for await (const buffer of sink) {
    buffer.release();
    seen++;
  }
  return seen;
}

class Broken extends Sink {
  override start(): Maybe<void> {
    throw new Error("it cannot start");
  }
  override render(): void {}
}

describe("the loop over an AppSink", () => {
  test("ends with the reason of a signal that was aborted before the run", async () => {
    const sink = new AppSink();
    const pipeline = new Pipeline().link(new Numbers("src", 3), sink);
    const looping = loop(sink);
    await expect(pipeline.run({ signal: AbortSignal.abort(new Error("mine")) })).rejects.toThrow("mine");
    expect(await outcome(looping)).toBe("rejected: mine");
  });

  test.each([
    ["before", true],
    ["after", false],
  ])("ends when another sink, linked %s it, cannot start", async (_, isFirst) => {
    const sink = new AppSink();
    const tee = new Tee();
    const broken = new Broken("broken");
    const pipeline = new Pipeline().link(new Numbers("src", 3), tee, isFirst ? broken : sink);
    pipeline.link(tee, isFirst ? sink : broken);
    const looping = loop(sink);
    await expect(pipeline.run()).rejects.toThrow("it cannot start");
    expect(await outcome(looping)).toBe("rejected: it cannot start");
  });

  test("that begins when the run has failed hears of it, once; the next loop is for the next run", async () => {
    const sink = new AppSink();
    const source = new Numbers("src", 3);
    const pipeline = new Pipeline().link(source, sink);
    await expect(pipeline.run({ signal: AbortSignal.abort(new Error("mine")) })).rejects.toThrow("mine");
    expect(await outcome(loop(sink))).toBe("rejected: mine");
    const looping = loop(sink);
    const run = pipeline.run();
    expect(await outcome(looping)).toBe("resolved: 3");
    await run;
  });

  test("gets the buffers of every run, whether it begins before it or in it", async () => {
    const sink = new AppSink();
    const source = new Numbers("src", 5);
    const pipeline = new Pipeline().link(source, sink);
    for (const isBefore of [true, true, false, true, false]) {
      source.made = 0;
      const early = isBefore ? loop(sink) : undefined;
      const run = pipeline.run();
      expect(await outcome(early ?? loop(sink))).toBe("resolved: 5");
      expect(await outcome(run)).toMatch(/^resolved/);
    }
    expectHome(pipeline);
  });

  test("that is left gets nothing more by its old iterator in the next run", async () => {
    const sink = new AppSink();
    const source = new Numbers("src", 5);
    const pipeline = new Pipeline().link(source, sink);
    const run = pipeline.run();
    const old = sink[Symbol.asyncIterator]();
    (await old.next()).value!.release();
    await old.return!();
    await run;
    source.made = 0;
    const looping = loop(sink);
    const again = pipeline.run();
    expect(await old.next()).toEqual({ value: undefined, done: true });
    expect(await outcome(looping)).toBe("resolved: 5");
    await again;
  });
});

describe("a proposeAllocation() that throws", () => {
  class Refuses extends Sink {
    #calls = 0;
    readonly #at: number;
    constructor(at: number) {
      super("refuses");
      this.#at = at;
    }
    override render(): void {}
    override proposeAllocation(query: AllocationQuery): Maybe<boolean> {
      if (++this.#calls === this.#at) throw new Error("propose");
      return super.proposeAllocation(query, this.in);
    }
  }
  const graphs: [string, (sink: Sink) => Pipeline][] = [
    ["a queue", (sink) => new Pipeline().link(new Numbers("a", 5), new Queue(), sink)],
    [
      "a copying stage and a queue",
      (sink) => new Pipeline().link(new Numbers("a", 5), new Step("copy", "copy"), new Queue(), sink),
    ],
    [
      "a funnel, a copying stage and a queue",
      (sink) => {
        const funnel = new Funnel();
        const pipeline = new Pipeline().link(new Numbers("a", 5), funnel, new Step("copy", "copy"), new Queue(), sink);
        return pipeline.link(new Numbers("b", 5), funnel);
      },
    ],
    [
      "a tee and queues",
      (sink) => {
        const tee = new Tee();
        return new Pipeline().link(new Numbers("a", 5), tee, new Queue(), sink).link(tee, new Queue(), new NullSink());
      },
    ],
  ];
  test.each(graphs)("behind %s ends the run with that error", async (_, graph) => {
    expect(await outcome(graph(new Refuses(1)).run())).toBe("rejected: propose");
  });
});

describe("an application's item", () => {
  test.each([
    [
      "was transferred",
      (bytes: Uint8Array) => structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] }),
    ],
    [
      "has a length that throws when it is read again",
      (bytes: Uint8Array) => {
        let reads = 0;
        Object.defineProperty(bytes, "length", {
          get: () => {
            if (reads++ > 0) throw new Error("no length");
            return 16;
          },
        });
      },
    ],
  ])("whose bytes %s leaves no lease behind", async (_, spoil) => {
    const bytes = new Uint8Array(16);
    spoil(bytes);
    const pipeline = new Pipeline().link(new AppSource([bytes], { format: byteFormat(16) }), new NullSink());
    await pipeline.run().catch(() => {});
    expectHome(pipeline);
  });

  test("that a list still has when the run ends early is released, and those of a list that was never read are not", async () => {
    const pool = BufferPool.create({ size: 64, max: 5 });
    const take = (): MediaBuffer[] => Array.from({ length: 5 }, () => pool.tryAcquire()!);
    const format = byteFormat(64);
    await new Pipeline().link(new AppSource(take(), { format }), new NullSink({ limit: 1 })).run();
    expect(pool.outstanding).toBe(0);
    const leases = take();
    const pipeline = new Pipeline().link(new AppSource(leases, { format }), new NullSink());
    await pipeline.run({ signal: AbortSignal.abort() }).catch(() => {});
    expect(pool.outstanding).toBe(5);
    for (const lease of leases) lease.release();
  });
});

describe("a hook that nobody waits for", () => {
  const hooks = ["unlock", "onFlush", "decideAllocation", "outputFinished", "reconfigureRequested"] as const;
  test.each(hooks)("%s() with a promise that rejects fails the run, and is no unhandled rejection", async (hook) => {
    const copy = Object.assign(new Step("copy", "copy"), {
      [hook]: async () => {
        throw new Error(`of ${hook}`);
      },
    });
    class Acts extends Sink {
      override render(): void {
        if (this.in.buffers !== 1) return;
        if (hook === "reconfigureRequested") this.in.reconfigure();
        if (hook === "outputFinished") this.in.finish();
        if (hook === "onFlush") pipeline.seek(0).catch(() => {});
      }
    }
    const pipeline = new Pipeline().link(new Numbers("src", 2000), copy, new Acts("acts"));
    let run: Promise<unknown> | undefined;
    const late = await lateRejections(async () => {
      run = pipeline.run();
      await run.catch(() => {});
    });
    expect(late).toEqual([]);
    await expect(run).rejects.toThrow(`of ${hook}`);
  });
});

describe("an abort while files get their names", () => {
  class Named extends Sink {
    isNamed = false;
    onCommit = (): void => {};
    override render(): void {}
    override commit(): void {
      this.onCommit();
      this.isNamed = true;
    }
  }
  const graph = (): { a: Named; b: Named; pipeline: Pipeline } => {
    const [tee, a, b] = [new Tee(), new Named("a"), new Named("b")];
    return { a, b, pipeline: new Pipeline().link(new Numbers("src", 3), tee, a).link(tee, b) };
  };

  test("comes too late: the run ends well, and all of them have their names", async () => {
    const { a, b, pipeline } = graph();
    const stop = new AbortController();
    a.onCommit = () => stop.abort();
    b.onCommit = () => stop.abort();
    await pipeline.run({ signal: stop.signal });
    expect([a.isNamed, b.isNamed]).toEqual([true, true]);
  });

  test("before the first of them has its name, none gets one", async () => {
    const { a, b, pipeline } = graph();
    const stop = new AbortController();
    const finish = b.finish.bind(b);
    b.finish = () => {
      stop.abort(new Error("mine"));
      return finish();
    };
    await expect(pipeline.run({ signal: stop.signal })).rejects.toThrow("mine");
    expect([a.isNamed, b.isNamed]).toEqual([false, false]);
  });

  test("a commit() that throws fails the run with its error, also after an abort", async () => {
    const { a, b, pipeline } = graph();
    const stop = new AbortController();
    for (const sink of [a, b]) {
      sink.onCommit = () => {
        stop.abort();
        throw new Error("no name");
      };
    }
    await expect(pipeline.run({ signal: stop.signal })).rejects.toThrow("no name");
    await expect(pipeline.seek(0)).rejects.toMatchObject({ code: "ERR_INACTIVE" });
  });
});

test("a pipeline of many stages looks at each name a few times only, however many there are", () => {
  let reads = 0;
  const stage = (n: number): Identity => {
    const made = new Identity(`stage${n}`);
    return Object.defineProperty(made, "name", {
      get: () => {
        reads++;
        return `stage${n}`;
      },
    });
  };
  const stages = Array.from({ length: 500 }, (_, n) => stage(n));
  const pipeline = new Pipeline();
  for (const one of stages) pipeline.add(one);
  for (let n = 1; n < stages.length; n++) pipeline.link(stages[n - 1]!, stages[n]!);
  expect(reads).toBeLessThan(10 * stages.length);
  expect(() => pipeline.add(new Identity("stage7"))).toThrow(/already/);
});
