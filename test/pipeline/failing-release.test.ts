// Shares its realm with other files: nothing that it changes outlives it.
/**
 * Buffers whose release throws, because their bytes were transferred away: no other buffer is lost, and no wait hangs.
 */
import { describe, expect, it } from "vitest";
import { BufferPool, type MediaBuffer } from "../../src/index.ts";
import {
  AppSink,
  AppSource,
  byteFormat,
  NullSink,
  Pipeline,
  Queue,
  Sink,
  Source,
  type StreamFormat,
  Transform,
} from "../../src/pipeline.ts";
import { codeOf } from "../helpers/code-of.ts";

function detach(buffer: MediaBuffer): void {
  const bytes = buffer.bytes.buffer as ArrayBuffer;
  structuredClone(bytes, { transfer: [bytes] });
}

/** Makes `count` buffers; the one at `bad` loses its bytes. */
class Failing extends Source {
  pool: BufferPool | null = null;
  #made = 0;
  readonly #count: number;
  readonly #bad: number;

  constructor(count: number, bad: number) {
    super("failing");
    this.#count = count;
    this.#bad = bad;
  }

  override next(): StreamFormat | undefined {
    return this.#made < this.#count ? byteFormat(64) : undefined;
  }

  override fill(buffer: MediaBuffer): void {
    this.pool = buffer.pool;
    if (this.#made++ === this.#bad) detach(buffer);
  }
}

/** Holds the first buffer until it is woken. */
class Stuck extends Sink {
  #go: (() => void) | undefined;
  readonly reached: Promise<void>;
  #reach: (() => void) | undefined;

  constructor() {
    super("stuck");
    this.reached = new Promise((resolve) => {
      this.#reach = resolve;
    });
  }

  override render(): Promise<void> {
    this.#reach?.();
    return new Promise((resolve) => {
      this.#go = resolve;
    });
  }

  override unlock(): void {
    this.#go?.();
  }
}

describe("a run with a buffer whose bytes were transferred away", () => {
  it("a sink that keeps the last few releases all of them", async () => {
    const source = new Failing(4, 1);
    const pipeline = new Pipeline();
    pipeline.link(source, new NullSink({ retainedBuffers: 4 }));
    expect(await codeOf(pipeline.run())).toBe("ERR_DETACHED");
    expect(source.pool!.outstanding).toBe(0);
  });

  it("a canceled run with a full queue ends, and its buffers are back", async () => {
    const source = new Failing(100, 2);
    const sink = new Stuck();
    const queue = new Queue({ max: 6 });
    const pipeline = new Pipeline();
    pipeline.link(source, queue, sink);
    const aborted = new AbortController();
    const run = pipeline.run({ signal: aborted.signal });
    run.catch(() => {});
    await sink.reached;
    while (queue.length < 6) await new Promise((resolve) => setImmediate(resolve));
    aborted.abort();
    await expect(run).rejects.toThrow();
    expect(source.pool!.outstanding).toBe(0);
  });

  it.each(["sync", "async", "throws"])("a copying stage gives its output back, too: %s", async (kind) => {
    let output: BufferPool | null = null;
    class Posts extends Transform {
      constructor() {
        super("posts", { mode: "copy" });
      }
      override transform(input: MediaBuffer, made: MediaBuffer): undefined | Promise<undefined> {
        output = made.pool;
        detach(input);
        if (kind === "throws") throw new Error("of the stage's own");
        return kind === "async" ? Promise.resolve(undefined) : undefined;
      }
    }
    const source = new Failing(3, -1);
    const pipeline = new Pipeline();
    pipeline.link(source, new Posts(), new NullSink());
    const end = await codeOf(pipeline.run());
    if (kind === "throws") expect(end).toMatch(/of the stage's own/);
    else expect(end).toBe("ERR_DETACHED");
    expect([source.pool!.outstanding, output!.outstanding]).toEqual([0, 0]);
  });
});

describe("a queue that drops its oldest buffer to make room", () => {
  it("releases the one that comes, too, when the release of the oldest throws", async () => {
    const source = new Failing(12, 3);
    const pipeline = new Pipeline();
    pipeline.link(source, new Queue({ max: 1, full: "drop-old" }), new Stuck());
    expect(await codeOf(pipeline.run())).toBe("ERR_DETACHED");
    expect(source.pool!.outstanding).toBe(0);
  });
});

describe("a hook whose answer throws when it is looked at", () => {
  const evil = new Proxy(
    {},
    {
      get(_target, key) {
        if (key === "then") throw new Error("looked at");
      },
    },
  ) as unknown as undefined;

  /** The refusal names the hook; what the look threw is its cause. */
  const unreadable = (name: string): object => ({
    code: "ERR_INVALID_ARG_TYPE",
    details: { name },
    cause: { message: "looked at" },
  });

  it("of a source, fails the run and loses no buffer", async () => {
    class Evil extends Failing {
      override fill(buffer: MediaBuffer): undefined {
        super.fill(buffer);
        return evil;
      }
    }
    const source = new Evil(3, -1);
    const pipeline = new Pipeline().link(source, new NullSink());
    await expect(pipeline.run()).rejects.toMatchObject(unreadable('what fill() of "failing" answered'));
    expect(source.pool!.outstanding).toBe(0);
  });

  it.each(["copy", "in-place", "passthrough"] as const)("of a stage that works %s, fails the run", async (mode) => {
    const pools = new Set<BufferPool | null>();
    class Evil extends Transform {
      constructor() {
        super("evil", { mode });
      }
      override transform(_input: MediaBuffer, output: MediaBuffer): undefined {
        pools.add(output.pool);
        return evil;
      }
      override transformInPlace(): undefined {
        return evil;
      }
      override inspect(): undefined {
        return evil;
      }
    }
    const source = new Failing(3, -1);
    const pipeline = new Pipeline().link(source, new Evil(), new NullSink());
    const hook = { copy: "transform", "in-place": "transformInPlace", passthrough: "inspect" }[mode];
    await expect(pipeline.run()).rejects.toMatchObject(unreadable(`what ${hook}() of "evil" answered`));
    expect([source.pool, ...pools].map((pool) => pool!.outstanding)).toEqual(mode === "copy" ? [0, 0] : [0]);
  });
});

describe("an AppSource that is stopped while its next buffer is mapped", () => {
  it("releases the rest of its list, and that one with its last unmap()", async () => {
    const pool = BufferPool.create({ size: 64, max: 4 });
    const list = Array.from({ length: 4 }, () => pool.tryAcquire()!);
    const mapped = list[0]!.map("read");
    const stop = new AbortController();
    class Stops extends NullSink {
      override configure(): void {
        stop.abort(new Error("enough"));
      }
    }
    const pipeline = new Pipeline().link(new AppSource(list, { format: byteFormat(64) }), new Stops());
    await expect(pipeline.run({ signal: stop.signal })).rejects.toThrow("enough");
    expect(list.map(({ isLive }) => isLive)).toEqual([false, false, false, false]);
    expect([pool.outstanding, mapped.bytes.length]).toEqual([1, 64]);
    mapped.unmap();
    expect(pool.outstanding).toBe(0);
  });
});

describe("an AppSink that is asked twice before the first buffer has come", () => {
  it("answers both, in the order in which they were asked", async () => {
    const pipeline = new Pipeline();
    const sink = new AppSink();
    pipeline.link(new AppSource([new Uint8Array(8)], { format: byteFormat(8) }), sink);
    const loop = sink[Symbol.asyncIterator]();
    const asked = [loop.next(), loop.next(), loop.next()];
    const run = pipeline.run();
    const [first, second, third] = await Promise.all(asked);
    expect([first!.done, second!.done, third!.done]).toEqual([false, true, true]);
    first!.value!.release();
    await run;
  });
});
