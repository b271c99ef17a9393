import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { afterAll, afterEach, describe, expect, test, vi } from "vitest";
import { WorkersElement, type WorkersOptions } from "../../src/adapters/workers/workers-element.ts";
import { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { VideoInfo } from "../../src/media/video/info.ts";
import { nextTurn } from "../../src/pipeline/base/element.ts";
import { Source } from "../../src/pipeline/base/source.ts";
import { AppSource } from "../../src/pipeline/elements/app-source.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { PatternSource } from "../../src/pipeline/elements/pattern-source.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import { Tee } from "../../src/pipeline/elements/tee.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { byteFormat, type StreamFormat } from "../../src/pipeline/stream-format.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { type Clock, FakeClock, systemClock } from "../../src/util/clock.ts";
import { VideoScale } from "../../src/video/scale.ts";
import { FULL, REPEATED, times } from "../helpers/effort.ts";
import { lateErrors } from "../helpers/late-errors.ts";
import { Collector, expectHome, Numbers } from "../pipeline/kit.ts";

const folder = mkdtempSync(join(tmpdir(), "millpond-workers-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let number = 0;
/** Workers over a module with that text. */
function workers(text: string, options: WorkersOptions = {}): WorkersElement {
  const file = join(folder, `m${number++}.mjs`);
  writeFileSync(file, text);
  return new WorkersElement(file, { name: "workers", workers: 2, ...options });
}

describe("a workers stage", () => {
  test("calls the function for every frame, side by side, and lets frames leave in order, without a copy", async () => {
    const results: [number, unknown][] = [];
    // Every other frame takes longer than its neighbor.
    const stage = workers(
      `import { setTimeout as later } from "node:timers/promises";
       export default async ({ bytes, index, pts, format }, add) => {
         if (index % 2 === 0) await later(3);
         return { first: bytes[0], pts, width: format.width, add, shared: bytes.buffer instanceof SharedArrayBuffer };
       };`,
      { options: 7, onResult: (result, index) => results.push([index, result]) },
    );
    const source = new PatternSource({ name: "src", format: "I420", width: 32, height: 16, frames: 30 });
    const shown: (bigint | undefined)[] = [];
    const sink = new NullSink();
    const render = sink.render.bind(sink);
    sink.render = (buffer) => {
      shown.push(buffer.pts);
      render(buffer);
    };
    const pipeline = new Pipeline().link(source, stage, sink);
    await pipeline.run();
    expect(shown).toEqual([...shown].sort((a, b) => Number(a! - b!)));
    expect(shown).toHaveLength(30);
    expect(results.sort((a, b) => a[0] - b[0])[3]).toEqual([
      3,
      { first: 6, pts: 120_000_000n, width: 32, add: 7, shared: true },
    ]);
    const [decision] = pipeline.describe().decisions;
    // The source takes the stage's pool of shared slots, so that threads join a lease while they look.
    expect(pipeline.describe().decisions).toHaveLength(1);
    expect(decision).toMatchObject({
      pad: "src.out",
      pool: "workers-slots",
      allocator: "shared",
      count: 6,
      params: { align: 64 },
    });
    expectHome(pipeline);
  });

  test("behind a scaler, the scaler's pool lies in shared memory", async () => {
    const pipeline = new Pipeline().link(
      new PatternSource({ format: "I420", width: 64, height: 32, frames: 10 }),
      new VideoScale({ name: "scale", width: 16 }),
      workers("export default () => 1;"),
      new NullSink(),
    );
    await pipeline.run();
    expect(pipeline.describe().decisions.map((one) => [one.pad.replace(/\d/g, ""), one.allocator])).toEqual([
      ["scale.out", "shared"],
      ["patternsource.out", "system"],
    ]);
  });

  test("where memory cannot be asked for (behind a tee, or the application's own), frames are copied into a bounded pool", async () => {
    const tee = new Tee();
    const sink = new Collector("sink");
    const other = new Collector("other", { keepLast: 2 });
    const pipeline = new Pipeline().link(new Numbers("src", 40), tee, workers("export default () => {};"), sink);
    pipeline.link(tee, other);
    await pipeline.run();
    expect(sink.seen).toEqual(Array.from({ length: 40 }, (_, i) => i));
    expect(other.seen).toHaveLength(40);
    const own = pipeline.describe().decisions.find((one) => one.pad === "workers.out");
    expect(own).toMatchObject({ allocator: "shared", count: 6 });
    expectHome(pipeline);
  });

  test("that writes changes the frame, and what others see stays", async () => {
    const stage = workers("export default ({ bytes }) => { bytes[3] += 100; };", { writes: true });
    const tee = new Tee();
    const seen: number[][] = [[], []];
    const sinks = seen.map((list) => {
      const sink = new NullSink();
      sink.render = (buffer) => {
        const mapped = buffer.map("read");
        list.push(mapped.bytes[3]!);
        mapped.unmap();
      };
      return sink;
    });
    const pipeline = new Pipeline().link(new Numbers("src", 10), tee, stage, sinks[0]!).link(tee, sinks[1]!);
    await pipeline.run();
    expect(seen[0]).toEqual([100, 101, 102, 103, 104, 105, 106, 107, 108, 109]);
    expect(seen[1]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expectHome(pipeline);
  });

  test("serves a change of format", async () => {
    const widths: unknown[] = [];
    const info = (width: number): VideoInfo => VideoInfo.of({ format: "GRAY8", width, height: 2 });
    const items = [
      new Uint8Array(8),
      new Uint8Array(8),
      { format: { kind: "video" as const, info: info(6) } },
      new Uint8Array(12),
    ];
    const stage = workers("export default ({ format, bytes }) => [format.width, bytes.length];", {
      onResult: (result) => widths.push(result),
      workers: 1,
    });
    const pipeline = new Pipeline().link(
      new AppSource(items, { format: { kind: "video", info: info(4) } }),
      stage,
      new NullSink(),
    );
    await pipeline.run();
    expect(widths).toEqual([
      [4, 8],
      [4, 8],
      [6, 12],
    ]);
    expectHome(pipeline);
  });

  test("with a number of buffers, the pool has exactly so many, also a single one", REPEATED, async () => {
    for (const buffers of [1, 7, 2, 3].slice(0, times(2, 4))) {
      let out = 0;
      let most = 0;
      const results: number[] = [];
      const stage = workers("export default ({ index }) => index;", {
        buffers,
        onResult: (_, index) => results.push(index),
      });
      const source = new Numbers("src", 40);
      const sink = new Collector("sink");
      const fill = source.fill.bind(source);
      source.fill = (buffer) => {
        out = (buffer.pool as BufferPool).outstanding;
        most = Math.max(most, out);
        return fill(buffer);
      };
      const pipeline = new Pipeline().link(source, stage, sink);
      await pipeline.run();
      expect(sink.seen).toEqual(Array.from({ length: 40 }, (_, i) => i));
      expect(results).toHaveLength(40);
      expect(pipeline.describe().decisions).toMatchObject([{ pool: "workers-slots", count: buffers }]);
      expect(most).toBeLessThanOrEqual(buffers);
      expectHome(pipeline);
    }
  });

  test("a number of buffers that cannot be is refused by the option's name", () => {
    for (const buffers of [0, -1, 1.5, 5000, Number.NaN]) {
      expect(() => new WorkersElement("./m.mjs", { buffers })).toThrow(/options\.buffers/);
    }
  });

  test("an error that a thread is the reason of has its number, its frame and its words as details", async () => {
    const run = (text: string): Promise<unknown> =>
      new Pipeline().link(new Numbers("src", 100), workers(text, { workers: 1 }), new NullSink()).run();
    await expect(
      run("export default ({ index }) => { if (index === 5) throw new Error('no'); };"),
    ).rejects.toMatchObject({ details: { worker: 1, frame: 5, reason: expect.stringMatching(/^no \(.*:1:/) } });
    await expect(run("export default () => process.exit(3);")).rejects.toMatchObject({
      details: { worker: 1, code: 3 },
    });
    await expect(
      run("export default () => new Promise(() => setTimeout(() => { throw new Error('late'); }, 1));"),
    ).rejects.toMatchObject({ details: { worker: 1, code: 1, reason: expect.stringMatching(/^late/) } });
  });

  test("a function that throws ends the run, and says at which frame", async () => {
    const stage = workers("export default ({ index }) => { if (index === 5) throw new Error('no good'); };");
    const pipeline = new Pipeline().link(new Numbers("src", 1000), stage, new Collector("sink"));
    await expect(pipeline.run()).rejects.toThrow('the function of "workers" failed at frame 5: no good');
    expectHome(pipeline);
  });

  test("a thread that dies ends the run, with every buffer back", async () => {
    const stage = workers("export default ({ index }) => { if (index === 5) process.exit(3); };");
    const pipeline = new Pipeline().link(new Numbers("src", 1000), stage, new Collector("sink"));
    await expect(pipeline.run()).rejects.toThrow(/a thread of "workers" ended with code 3/);
    expectHome(pipeline);
  });

  test("a function that hangs does not keep a canceled run", async () => {
    const stop = new AbortController();
    const stage = workers("export default () => { for (;;); };");
    const pipeline = new Pipeline().link(new Numbers("src", 1000), stage, new Collector("sink"));
    const run = pipeline.run({ signal: stop.signal });
    setTimeout(() => stop.abort(new Error("canceled")), 100);
    await expect(run).rejects.toThrow("canceled");
    expectHome(pipeline);
  });

  test("a module that cannot be used is refused before anything moves", async () => {
    const source = new Numbers("src", 5);
    const run = (text: string): Promise<unknown> =>
      new Pipeline().link(new Numbers("s", 5), workers(text), new NullSink()).run();
    await expect(run("export const x = 1;")).rejects.toThrow(/no default export that is a function/);
    await expect(run("syntax error here")).rejects.toMatchObject({ code: "ERR_BAD_DATA" });
    await expect(new Pipeline().link(source, new WorkersElement("./absent.mjs"), new NullSink()).run()).rejects.toThrow(
      /absent/,
    );
    expect(source.made).toBe(0);
  });

  test("a seek in the middle loses no buffer", async () => {
    const stage = workers(
      `import { setTimeout as later } from "node:timers/promises";
       export default () => later(1);`,
    );
    const tee = new Tee();
    const [sink, other] = [new Collector("sink"), new Collector("other")];
    const pipeline = new Pipeline().link(new Numbers("src", 500, byteFormat(64)), tee, stage, sink).link(tee, other);
    const run = pipeline.run();
    while (sink.seen.length < 3) await nextTurn();
    await pipeline.seek(490);
    await run;
    expect(sink.seen.slice(-10)).toEqual([490, 491, 492, 493, 494, 495, 496, 497, 498, 499]);
    expectHome(pipeline);
  });
});

describe("a frame that a workers stage cannot use", () => {
  test("because its bytes were transferred away, goes back to its pool", async () => {
    const pool = BufferPool.create({ name: "app", size: 64, max: 3 });
    async function* items(): AsyncGenerator<MediaBuffer> {
      for (let n = 0; n < 3; n++) {
        const buffer = await pool.acquire();
        const bytes = buffer.bytes.buffer as ArrayBuffer;
        if (n === 1) structuredClone(bytes, { transfer: [bytes] });
        yield buffer;
      }
    }
    const source = new AppSource(items(), { format: byteFormat(64) });
    const pipeline = new Pipeline().link(source, workers("export default () => 1;"), new NullSink());
    await expect(pipeline.run()).rejects.toMatchObject({ code: "ERR_DETACHED" });
    expect(pool.outstanding).toBe(0);
  });

  test("because it is larger than its format says and there is no room for more, takes no slot with it", async () => {
    const buffers = [64, 128, 64].map((size) => MediaBuffer.allocate(size));
    const stage = workers("export default () => 1;");
    const source = new AppSource(buffers, { format: byteFormat(64) });
    const pipeline = new Pipeline({ maxBytes: 1000 }).link(source, stage, new NullSink());
    await expect(pipeline.run()).rejects.toMatchObject({ code: "ERR_NOT_NEGOTIATED" });
    expect(stage.out.pool!.outstanding).toBe(0);
    expect(buffers.map(({ isLive }) => isLive)).toEqual([false, false, false]);
  });
});

describe("threads that misbehave", () => {
  const bad = (text: string): Promise<unknown> =>
    new Pipeline({ acquireTimeout: 400 })
      .link(new Numbers("src", 20), workers(text, { workers: 1 }), new NullSink())
      .run();

  test("a function that never answers ends the run with the stage's name", async () => {
    await expect(bad("export default () => new Promise(() => {});")).rejects.toMatchObject({
      code: "ERR_STARVED",
      message: expect.stringMatching(/"workers" has been waiting for a thread to finish a frame for 0\.4 s/),
    });
  });

  test("a function that loops without end ends the run with the stage's name", async () => {
    await expect(bad("export default () => { for (;;); };")).rejects.toMatchObject({
      code: "ERR_STARVED",
      details: { stage: "workers" },
    });
  });

  test("a module whose top-level await never ends is given up, and named", async () => {
    const clock = new FakeClock();
    const begun = join(folder, "begun");
    const text = `import fs from "node:fs"; fs.writeFileSync(${JSON.stringify(begun)}, "");`;
    const stage = workers(`${text} await new Promise(() => {}); export default () => 1;`, { workers: 1 });
    const pipeline = new Pipeline({ clock, acquireTimeout: 400 }).link(new Numbers("src", 20), stage, new NullSink());
    let isOver = false;
    const run = pipeline.run().finally(() => {
      isOver = true;
    });
    const failed = expect(run).rejects.toMatchObject({
      code: "ERR_STARVED",
      message: expect.stringMatching(/"workers" has been loading .*m\d+\.mjs for 10 s/),
    });
    await expect.poll(() => existsSync(begun)).toBe(true);
    while (!isOver) {
      clock.advance(1000);
      await nextTurn();
    }
    await failed;
  });

  test("threads that still load their files when the run is canceled are ended after that, and only then", async () => {
    const online = new Set<unknown>();
    const early: unknown[] = [];
    const { emit, terminate } = Worker.prototype;
    Worker.prototype.emit = function (this: Worker, event: string | symbol, ...rest: unknown[]): boolean {
      if (event === "online") online.add(this);
      return Reflect.apply(emit, this, [event, ...rest]) as boolean;
    };
    Worker.prototype.terminate = async function (this: Worker): Promise<number> {
      // That it runs is told by another port than what it says; what was sent before is here in a few turns.
      for (let turn = 0; turn < 50 && !online.has(this); turn++) await nextTurn();
      if (!online.has(this)) early.push(this);
      return terminate.call(this);
    };
    try {
      const stop = new AbortController();
      const module = workers("export default () => 1;");
      const start = module.start.bind(module);
      module.start = () => {
        const starting = start();
        stop.abort(new Error("mine"));
        return starting;
      };
      const run = new Pipeline().link(new Numbers("src", 20), module, new NullSink()).run({ signal: stop.signal });
      await expect(run).rejects.toThrow("mine");
      // Threads of other tests may still be on their way out.
      const own = early.filter((worker) => online.has(worker));
      expect({ online: online.size, early: own.length }).toEqual({ online: 2, early: 0 });
    } finally {
      Object.assign(Worker.prototype, { emit, terminate });
    }
  });

  test(
    "a module that posts to its parent gets told so, and what it posts is not taken for an answer",
    REPEATED,
    async () => {
      const text = (what: string): string =>
        `import { parentPort } from "node:worker_threads"; export default () => { parentPort.postMessage(${what}); return 1; };`;
      const posted = ["'hello'", "{ type: 'done', index: 0 }", "undefined", "null", "7n"];
      for (const what of posted.slice(0, times(2, 5))) {
        await expect(bad(text(what))).rejects.toMatchObject({
          code: "ERR_BAD_DATA",
          message: expect.stringMatching(/posted a message to its parent.*return the result from the function/),
        });
      }
    },
  );

  test("a module that closes its parentPort does no harm", async () => {
    const text = `import { parentPort } from "node:worker_threads"; parentPort.close(); export default () => 1;`;
    await expect(bad(text)).resolves.toMatchObject({ sinks: {} });
  });

  test("an error is told with its file and line, and a thrown value that is not an error is shown", async () => {
    await expect(bad('export default () => {\n  throw new TypeError("no such plane");\n};')).rejects.toThrow(
      /failed at frame \d: no such plane \(.*m\d+\.mjs:2:9\)/,
    );
    await expect(bad("export default () => { throw { code: 7, why: 'full' }; };")).rejects.toThrow(
      /failed at frame \d: it threw \{ code: 7, why: 'full' \}/,
    );
    await expect(bad("throw { code: 8 };")).rejects.toThrow(/cannot use .*m\d+\.mjs: it threw \{ code: 8 \}/);
    await expect(
      bad("export default () => new Promise(() => setTimeout(() => { throw { late: true }; }, 1));"),
    ).rejects.toThrow(/ended with code 1: it threw \{ late: true \}/);
  });

  test("an error that the engine throws, and values that show nothing, are told as well", FULL, async () => {
    await expect(bad("export default () => {\n  return null.width;\n};")).rejects.toThrow(/m\d+\.mjs:2:15\)/);
    await expect(bad("export default () => { throw undefined; };")).rejects.toThrow(/it threw undefined/);
    await expect(
      bad("export default () => { throw new Proxy({}, { getPrototypeOf() { throw 1; } }); };"),
    ).rejects.toThrow(/failed at frame \d: it threw/);
  });

  test("one that takes memory without end ends the run, not the process", async () => {
    const text = "export default () => { const all = []; for (;;) all.push(new Array(1e6).fill(all.length)); };";
    const run = new Pipeline({ acquireTimeout: 60_000 }).link(
      new Numbers("src", 2),
      workers(text, { workers: 1 }),
      new NullSink(),
    );
    await expect(run.run()).rejects.toThrow(/ended with code 1: it needed more than 512 MB of heap/);
  });
});

describe("a workers stage in which something throws", () => {
  afterEach(() => void vi.restoreAllMocks());

  /** A buffer of a pool of its own, whose memory is not shared, in one format, then one in another. */
  class TwoFormats extends Source {
    readonly pool: BufferPool = BufferPool.create({ size: 32, max: 2 });
    made = 0;
    next(): StreamFormat | undefined {
      return this.made < 2 ? byteFormat(this.made === 0 ? 64 : 32) : undefined;
    }
    override create(): MediaBuffer {
      this.made++;
      return this.pool.tryAcquire()!;
    }
  }

  test("ends its threads, and frames that wait for a format, when the queue's part of unlock() throws", async () => {
    const stage = workers("export default () => { for (;;); };", { workers: 1 });
    // The first frame hangs in the thread, so that the format behind it never leaves the line, and the second waits.
    const source = new TwoFormats("src");
    const pipeline = new Pipeline().link(source, stage, new NullSink());
    const abort = new AbortController();
    const run = pipeline.run({ signal: abort.signal }).catch((error: Error) => error.message);
    while (stage.length < 1 || source.out.buffers < 2 || stage.out.pool === null) await nextTurn();
    const terminate = vi.spyOn(Worker.prototype, "terminate");
    vi.spyOn(Queue.prototype, "unlock").mockImplementation(() => {
      throw new Error("of the queue");
    });
    abort.abort(new Error("aborted"));
    for (let i = 0; i < 20; i++) await nextTurn();
    expect(terminate).toHaveBeenCalledTimes(1);
    expect(await run).toBe("aborted");
    expect(source.pool.outstanding).toBe(0);
    expectHome(pipeline);
  });

  test("waits for its threads to end when the queue's part of stop() throws", async () => {
    const stage = workers("export default () => {};");
    const exits = exitsOfThreads();
    const pipeline = new Pipeline().link(new Numbers("src", 8), stage, new NullSink());
    vi.spyOn(Queue.prototype, "stop").mockImplementation(() => {
      throw new Error("of the queue");
    });
    await expect(pipeline.run()).rejects.toThrow("of the queue");
    expect(exits).toEqual([2]);
    expectHome(pipeline);
  });

  test("answers every frame when the pipeline's clock throws", async () => {
    let isBroken = false;
    const clock = {
      now: () => {
        if (isBroken) throw new Error("of the clock");
        return systemClock.now();
      },
      setTimer: systemClock.setTimer.bind(systemClock),
      clearTimer: systemClock.clearTimer.bind(systemClock),
    } as Clock;
    const stage = workers("export default () => {};", {
      workers: 1,
      buffers: 8,
      onResult: () => {
        isBroken = true;
      },
    });
    const pipeline = new Pipeline({ clock }).link(new Numbers("src", 8), stage, new NullSink());
    const late = await lateErrors(async () => {
      await expect(pipeline.run()).rejects.toThrow("of the clock");
    });
    expect(late).toEqual([]);
    expectHome(pipeline);
  });
});

/** How many threads have ended, each time that a stage's stop() was over: one number, for one run. */
function exitsOfThreads(): number[] {
  const seen: number[] = [];
  let exited = 0;
  const emit = Worker.prototype.emit;
  vi.spyOn(Worker.prototype, "emit").mockImplementation(function (this: Worker, event: never, ...rest: never[]) {
    const told = emit.call(this, event, ...rest);
    if (event === "exit") exited++;
    return told;
  } as never);
  const attach = WorkersElement.prototype.attach;
  vi.spyOn(WorkersElement.prototype, "attach").mockImplementation(function (this: WorkersElement, running) {
    if (running === null) seen.push(exited);
    attach.call(this, running);
  });
  return seen;
}
