/** However a run ends, what waits for it ends with it, and what it was given is back. */
import { describe, expect, test } from "vitest";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { registerMeta } from "../../src/media/meta/meta.ts";
import { nextTurn } from "../../src/pipeline/base/element.ts";
import type { Maybe } from "../../src/pipeline/base/pad.ts";
import { Sink } from "../../src/pipeline/base/sink.ts";
import { AppSink } from "../../src/pipeline/elements/app-sink.ts";
import { type AppItem, AppSource } from "../../src/pipeline/elements/app-source.ts";
import { Funnel } from "../../src/pipeline/elements/funnel.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { Identity } from "../../src/pipeline/elements/pass-through.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import { Tee } from "../../src/pipeline/elements/tee.ts";
import type { AllocationQuery } from "../../src/pipeline/negotiate/allocation-query.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { byteFormat } from "../../src/pipeline/stream-format.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { type Clock, systemClock } from "../../src/util/clock.ts";
import { lateErrors, lateRejections } from "../helpers/late-errors.ts";
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

/** Items whose `next()` gives what `give` is called with. */
function waiting(): { readonly items: AsyncIterable<AppItem>; give(result: unknown): void } {
  let settle: (result: unknown) => void = () => {};
  const next = (): Promise<IteratorResult<AppItem>> =>
    new Promise((resolve) => {
      settle = resolve as (result: unknown) => void;
    });
  return { items: { [Symbol.asyncIterator]: () => ({ next }) }, give: (result) => settle(result) };
}

const thrower = (): never => {
  throw new Error("of a getter");
};

describe("an iterator that keeps no promise of its own", () => {
  test.each<[string, () => unknown]>([
    ["undefined", () => undefined],
    ["null", () => null],
    ["a number", () => 5],
    ["a value that throws when it is read", () => Object.defineProperty({}, "value", { get: thrower })],
  ])("and gives %s behind the end of its run is no unhandled rejection", async (_, result) => {
    const { items, give } = waiting();
    const late = await lateRejections(async () => {
      const abort = new AbortController();
      const pipeline = new Pipeline().link(new AppSource(items, { format: byteFormat(16) }), new NullSink());
      const run = pipeline.run({ signal: abort.signal });
      setTimeout(() => abort.abort(new Error("enough")), 5);
      await expect(run).rejects.toThrow("enough");
      give(result());
    });
    expect(late).toEqual([]);
  });

  test.each<[string, unknown]>([
    ["undefined", undefined],
    ["null", null],
    ["a number", 5],
  ])("and gives %s fails the run, which commits nothing", async (_, result) => {
    let committed = 0;
    class Commits extends NullSink {
      override commit(): void {
        committed++;
      }
    }
    let count = 0;
    const next = async (): Promise<IteratorResult<AppItem>> =>
      ++count < 3 ? { value: new Uint8Array(16) } : (result as IteratorResult<AppItem>);
    const sink = new Commits();
    const source = new AppSource({ [Symbol.asyncIterator]: () => ({ next }) }, { format: byteFormat(16), name: "app" });
    const pipeline = new Pipeline().link(source, sink);
    await expect(pipeline.run()).rejects.toMatchObject({
      code: "ERR_INVALID_ARG_TYPE",
      message: expect.stringMatching(/^what next\(\) of the items of "app" gave must be an object/),
    });
    expect([committed, sink.count]).toEqual([0, 2]);
    expectHome(pipeline);
    // What it gave is not what the next run gets first.
    count = 2;
    await expect(pipeline.run()).rejects.toThrow(/must be an object/);
    expect(count).toBe(3);
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

describe("from inside a hook of a pool of the run", () => {
  let notes = 0;
  /** A sink that offers a pool whose `hook` calls `act` at the fifth time. */
  function graph(hook: "reset" | "recycle" | "free", act: () => void): Pipeline {
    let calls = 0;
    const call = (): true => {
      if (++calls === 5) act();
      return true;
    };
    class Hooked extends BufferPool {
      override reset(buffer: MediaBuffer): void {
        super.reset(buffer);
        if (hook === "reset") call();
      }
      override recycle(): boolean {
        return hook === "recycle" ? call() : true;
      }
    }
    const pool = new Hooked({ name: "offered" });
    class Offers extends NullSink {
      override proposeAllocation(query: AllocationQuery): boolean {
        if (hook !== "free") query.addPool({ pool });
        return true;
      }
    }
    const note = registerMeta({ api: `note ${++notes}`, init() {}, free: () => void call() });
    class Notes extends Identity {
      override inspect(buffer: MediaBuffer): undefined {
        if (hook === "free") buffer.addMeta(note);
      }
    }
    return new Pipeline().link(new Numbers("src", 200), new Notes("notes"), new Offers());
  }

  test.each(["reset", "recycle", "free"] as const)(
    "an abort in %s ends the run, and nothing else is thrown",
    async (hook) => {
      const stop = new AbortController();
      const pipeline = graph(hook, () => stop.abort(new Error("mine")));
      expect(
        await lateErrors(async () =>
          expect(await outcome(pipeline.run({ signal: stop.signal }))).toBe("rejected: mine"),
        ),
      ).toEqual([]);
      expectHome(pipeline);
    },
  );

  test.each(["reset", "recycle", "free"] as const)("a seek in %s is made, and the run ends", async (hook) => {
    let seeking: Promise<void> | undefined;
    const pipeline = graph(hook, () => {
      seeking = pipeline.seek(0);
    });
    expect(await outcome(pipeline.run())).toMatch(/^resolved/);
    expect(await outcome(seeking!)).toMatch(/^resolved/);
    expectHome(pipeline);
  });
});

describe("the end of a run whose steps throw", () => {
  test("lets go of every pool and every stage, and says the first error", async () => {
    class Unstoppable extends BufferPool {
      override stop(): void {
        throw new Error("it cannot stop");
      }
    }
    const offered = new Unstoppable({ name: "offered" });
    class First extends Step {
      override proposeAllocation(query: AllocationQuery): boolean {
        query.addPool({ pool: offered });
        return true;
      }
    }
    const second = new Step("second", "copy");
    const pipeline = new Pipeline().link(new Numbers("src", 5), new First("first", "copy"), second, new NullSink());
    await expect(pipeline.run()).rejects.toThrow("it cannot stop");
    expect(second.out.pool!.isActive).toBe(false);
    expect(() => second.running).toThrow(/not in a running pipeline/);
    expect(pipeline.isRunning).toBe(false);
  });

  test("is not hindered by a clock whose timers cannot be cleared", async () => {
    const clock = {
      now: () => performance.now(),
      setTimer: (callback: () => void, ms: number) => setTimeout(callback, ms).unref(),
      clearTimer: () => {
        throw new Error("no timer is cleared");
      },
    };
    const sink = new NullSink();
    const pipeline = new Pipeline({ clock, acquireTimeout: 60_000 }).link(new Numbers("src", 5), sink);
    await expect(pipeline.run()).rejects.toThrow("no timer is cleared");
    expect(() => sink.running).toThrow(/not in a running pipeline/);
    expect(pipeline.isRunning).toBe(false);
  });
});

describe("a clock that throws", () => {
  /** One run under a clock whose call number `at` of that method throws; false: it was not called so often. */
  async function runUnder(method: keyof Clock, at: number): Promise<boolean> {
    let calls = 0;
    const call = (name: keyof Clock): void => {
      if (name === method && ++calls === at) throw new Error("it broke");
    };
    const clock: Clock = {
      now() {
        call("now");
        return performance.now();
      },
      setTimer(callback, ms, unref) {
        call("setTimer");
        return systemClock.setTimer(callback, ms, unref);
      },
      clearTimer(handle) {
        call("clearTimer");
        systemClock.clearTimer(handle);
      },
    };
    const sink = new AppSink({ retainedBuffers: 2 });
    const pipeline = new Pipeline({ clock, acquireTimeout: 60_000 });
    pipeline.link(new Numbers("src", 12), new Step("copy", "copy"), new Queue({ max: 2 }), sink);
    const looping = loop(sink);
    looping.catch(() => {});
    expect(await outcome(pipeline.run())).toMatch(/^(rejected: it broke|resolved)/);
    expect(await outcome(looping)).not.toBe("waits");
    expect(() => sink.running).toThrow(/not in a running pipeline/);
    expectHome(pipeline);
    return calls >= at;
  }

  test.each(["now", "setTimer", "clearTimer"] as const)("at any call of %s: every wait ends", async (method) => {
    let most = 0;
    let rejections: string[] = [];
    const errors = await lateErrors(async () => {
      rejections = await lateRejections(async () => {
        while (most < 60 && (await runUnder(method, most + 1))) most++;
      });
    });
    expect(most).toBeGreaterThan(0);
    // What a pool's own clock throws surfaces by itself; the lease goes on.
    expect([rejections, errors.filter((message) => message !== "it broke")]).toEqual([[], []]);
  });
});

test("a run that a getter of the options of another one begins is the only one", async () => {
  const pipeline = new Pipeline().link(new Numbers("src", 5), new NullSink());
  let inner: Promise<unknown> | undefined;
  const options = {
    get strict(): boolean {
      inner ??= pipeline.run();
      return false;
    },
  };
  await expect(pipeline.run(options)).rejects.toMatchObject({ code: "ERR_ACTIVE" });
  await inner;
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
