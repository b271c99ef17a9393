// Shares its realm with other files: nothing that it changes outlives it.
/** Waits of stages end whatever a hook throws, and however many wait in one place. */
import { describe, expect, it } from "vitest";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { Element, nextTurn } from "../../src/pipeline/base/element.ts";
import type { Maybe } from "../../src/pipeline/base/pad.ts";
import { AppSink } from "../../src/pipeline/elements/app-sink.ts";
import { type AppItem, AppSource } from "../../src/pipeline/elements/app-source.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { Identity } from "../../src/pipeline/elements/pass-through.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { BLOCK, Collector, expectHome, Numbers, numberOf, runOrStall, turns } from "./kit.ts";

const broken = (): never => {
  throw new Error("of unlock()");
};

/** What became of a promise by 500 turns of the event loop, in which nothing here waits for time. */
async function outcome(promise: Promise<unknown>): Promise<string> {
  let became = "waits";
  promise.then(
    () => {
      became = "resolved";
    },
    (error: Error) => {
      became = error.message;
    },
  );
  for (let turn = 0; turn < 500 && became === "waits"; turn++) await nextTurn();
  return became;
}

class BrokenNumbers extends Numbers {
  override unlock(): void {
    broken();
  }
}
class BrokenSink extends AppSink {
  override unlock(): void {
    broken();
  }
}
class BrokenSource extends AppSource {
  override unlock(): void {
    broken();
  }
}
class BrokenQueue extends Queue {
  override unlock(): void {
    broken();
  }
}

async function takeTwo(sink: AppSink): Promise<void> {
  let taken = 0;
  for await (const buffer of sink) {
    buffer.release();
    if (++taken === 2) break;
    await turns(3);
  }
}

describe("an unlock() that throws", () => {
  it("fails the run that an application's loop was left in, and not that loop", async () => {
    const sink = new AppSink();
    const pipeline = new Pipeline().link(new BrokenNumbers("src", 50), sink);
    const run = outcome(pipeline.run());
    expect(await outcome(takeTwo(sink))).toBe("resolved");
    expect(await run).toBe("of unlock()");
    expect(pipeline.failedIn).toBe("src");
    expectHome(pipeline);
  });

  it("and one whose promise rejects fail the run when a sink wants no more, behind a queue too", async () => {
    for (const hook of [broken, (): Promise<void> => Promise.reject(new Error("of unlock()"))]) {
      for (const between of [[], [new Queue()]]) {
        class Source extends Numbers {
          override unlock(): Promise<void> {
            return hook();
          }
        }
        const pipeline = new Pipeline().link(new Source("src", 50), ...between, new NullSink({ limit: 3 }));
        expect(await outcome(pipeline.run())).toBe("of unlock()");
        expectHome(pipeline);
      }
    }
  });

  it("does not keep what waits in its stage from ending with the run", async () => {
    async function* nothing(): AsyncGenerator<AppItem> {
      await new Promise(() => {});
      yield new Uint8Array(1);
    }
    const graphs = [
      () => new Pipeline().link(new Numbers("src", 50), new BrokenSink()),
      () => new Pipeline().link(new BrokenSource(nothing(), { format: BLOCK }), new NullSink()),
      () => new Pipeline().link(new Numbers("src", 50), new BrokenQueue({ max: 1 }), new AppSink()),
      () => new Pipeline().link(new AppSource(nothing(), { format: BLOCK }), new BrokenQueue(), new NullSink()),
    ];
    for (const graph of graphs) {
      const pipeline = graph();
      const abort = new AbortController();
      const run = pipeline.run({ signal: abort.signal });
      await turns(20);
      abort.abort(new Error("aborted"));
      expect(await outcome(run)).toBe("aborted");
      expectHome(pipeline);
    }
  });
});

/** Two out of each that comes, without a wait between them. */
class Twice extends Element {
  readonly in = this.addInput("in");
  readonly out = this.addOutput("out");
  #count = 0;

  override formatChanged(format: typeof BLOCK): Maybe<void> {
    return this.out.setFormat(format);
  }
  override onEos(): Maybe<void> {
    return this.out.end();
  }
  override async chain(buffer: MediaBuffer): Promise<void> {
    const other = buffer.copy({ deep: true });
    for (const one of [buffer, other]) {
      const bytes = one.map("write");
      new DataView(bytes.bytes.buffer, bytes.bytes.byteOffset).setUint32(0, this.#count);
      bytes.unmap();
      one.pts = BigInt(this.#count++);
    }
    await Promise.all([this.out.push(buffer), this.out.push(other)]);
  }
}

const FORTY = Array.from({ length: 40 }, (_, i) => i);

describe("a stage that pushes without waiting for the push before", () => {
  it("loses no push at a full queue, and they arrive in order", async () => {
    const sink = new Collector("sink", { slow: 1 });
    const pipeline = new Pipeline().link(new Numbers("src", 20), new Twice(), new Queue({ max: 1 }), sink);
    expect(await runOrStall(pipeline)).toBe("done");
    expect(sink.seen).toEqual(FORTY);
    expectHome(pipeline);
  });

  it("waits at a queue that is bounded in bytes, too", async () => {
    const sink = new Collector("sink", { slow: 1 });
    const queue = new Queue({ max: 3, maxBytes: 100 });
    const pipeline = new Pipeline().link(new Numbers("src", 20), new Twice(), queue, sink);
    expect(await runOrStall(pipeline)).toBe("done");
    expect(sink.seen).toEqual(FORTY);
  });

  it("loses no push to an application's loop", async () => {
    const sink = new AppSink({ retainedBuffers: 2 });
    const pipeline = new Pipeline().link(new Numbers("src", 20), new Twice(), sink);
    const seen: number[] = [];
    const loop = (async () => {
      for await (const buffer of sink) {
        seen.push(numberOf(buffer));
        await turns(1);
        buffer.release();
      }
    })();
    expect(await outcome(pipeline.run())).toBe("resolved");
    await loop;
    expect(seen).toEqual(FORTY);
    expectHome(pipeline);
  });

  it("ends at an abort with every buffer back, at an application's loop that never begins, too", async () => {
    const pipeline = new Pipeline().link(new Numbers("src", 20), new Twice(), new AppSink());
    const abort = new AbortController();
    const run = pipeline.run({ signal: abort.signal });
    await turns(20);
    abort.abort(new Error("aborted"));
    expect(await outcome(run)).toBe("aborted");
    expectHome(pipeline);
  });

  it("ends at an abort with every buffer back", async () => {
    const pipeline = new Pipeline();
    pipeline.link(new Numbers("src", 20), new Twice(), new Queue({ max: 1 }), new AppSink());
    const abort = new AbortController();
    const run = pipeline.run({ signal: abort.signal });
    await turns(20);
    abort.abort(new Error("aborted"));
    expect(await outcome(run)).toBe("aborted");
    expectHome(pipeline);
  });
});

describe("a hook of a queue that throws when a buffer joins", () => {
  it.each(["bounded in buffers", "bounded in bytes"])("loses no buffer, in one %s", async (how) => {
    class Works extends Queue {
      protected override begin(): Promise<MediaBuffer> | undefined {
        throw new Error("of begin()");
      }
    }
    const queue = new Works(how === "bounded in bytes" ? { maxBytes: 64 } : {});
    const pipeline = new Pipeline().link(new Numbers("src", 5), queue, new NullSink());
    expect(String(await runOrStall(pipeline))).toBe("Error: of begin()");
    expect(queue.length).toBe(0);
    expectHome(pipeline);
  });

  it("leaves the room that the buffer had taken to the next one", async () => {
    let calls = 0;
    class Works extends Queue {
      protected override begin(): Promise<MediaBuffer> | undefined {
        if (calls++ < 3) throw new Error("of begin()");
        return undefined;
      }
    }
    const queue = new Works({ maxBytes: 64, full: "drop-new" });
    class Insists extends Identity {
      override chain(buffer: MediaBuffer): Maybe<void> {
        try {
          return super.chain(buffer);
        } catch {
          return undefined;
        }
      }
    }
    const pipeline = new Pipeline().link(new Numbers("src", 4), new Insists("insists"), queue, new NullSink());
    expect(await runOrStall(pipeline)).toBe("done");
    expect({ calls, dropped: queue.dropped }).toEqual({ calls: 4, dropped: 0 });
    expectHome(pipeline);
  });
});

describe("a list of buffers whose iterator throws at the end of a run", () => {
  it("does not keep the item in hand, nor its iterator from being told", async () => {
    const pool = BufferPool.create({ size: 64, max: 3 });
    const list = [pool.tryAcquire()!, pool.tryAcquire()!];
    let returned = 0;
    let at = 0;
    list[Symbol.iterator] = () =>
      ({
        next: () => {
          if (at < list.length) return { done: false, value: list[at++]! };
          throw new Error("of the iterator");
        },
        return: () => {
          returned++;
          return { done: true, value: undefined };
        },
      }) as never;
    const source = new AppSource(list, { format: BLOCK });
    source.attach({} as never);
    source.start();
    await source.next();
    expect(() => source.stop()).toThrow("of the iterator");
    source.attach(null);
    expect({ returned, outstanding: pool.outstanding }).toEqual({ returned: 1, outstanding: 0 });
  });
});
