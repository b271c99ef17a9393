/** Modules, results, options and pools that a workers stage must not be broken by. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { WorkersElement, type WorkersOptions } from "../../src/adapters/workers/workers-element.ts";
import { nextTurn } from "../../src/pipeline/base/element.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import type { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import type { BufferPoolEvents } from "../../src/pools/buffer/stats.ts";
import { SharedBufferPool, type SharedBufferPoolOptions } from "../../src/pools/shared/shared-buffer-pool.ts";
import { FULL } from "../helpers/effort.ts";
import { lateErrors, lateRejections } from "../helpers/late-errors.ts";
import { expectHome, Numbers } from "../pipeline/kit.ts";

const folder = mkdtempSync(join(tmpdir(), "millpond-hostile-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let number = 0;
function moduleOf(text: string): string {
  const file = join(folder, `m${number++}.mjs`);
  writeFileSync(file, text);
  return file;
}
function workers(text: string, options: WorkersOptions = {}): WorkersElement {
  return new WorkersElement(moduleOf(text), { name: "workers", workers: 1, ...options });
}
function run(stage: WorkersElement): Promise<unknown> {
  return new Pipeline({ acquireTimeout: 10_000 }).link(new Numbers("src", 12), stage, new NullSink()).run();
}

describe("a module that posts into the port of its thread", () => {
  const posts: [string, string][] = [
    ["null", "null"],
    ["undefined", "undefined"],
    ["a number", "3"],
    ["an unknown message", '{ type: "other" }'],
    ["a failure without a frame", '{ type: "failed", index: {}, message: "x" }'],
    ["a failure whose reason is no text", '{ type: "failed", index: 5, message: {} }'],
    ["a recording of nothing", '{ type: "recording", recording: 3 }'],
    ["an answer to a frame that it has not", '{ type: "done", index: 500 }'],
    ["its answer twice", '{ type: "done", index, result: 1 }'],
  ];
  const once = ["null", "a failure without a frame", "an answer to a frame that it has not", "its answer twice"];
  for (const [name, message] of posts) {
    const title = `${name} ends the run with a typed error, and no frame is told of twice`;
    test(title, once.includes(name) ? {} : FULL, () => refused(message));
  }

  async function refused(message: string): Promise<void> {
    const told = new Map<number, number>();
    const stage = workers(
      `import { MessagePort, parentPort } from "node:worker_threads";
       const ports = () => process._getActiveHandles().filter((one) => one instanceof MessagePort && one !== parentPort);
       export default ({ index }) => { if (index === 5) for (const port of ports()) port.postMessage(${message}); };`,
      { onResult: (__, index) => void told.set(index, (told.get(index) ?? 0) + 1) },
    );
    const late = await lateErrors(async () => {
      await expect(run(stage)).rejects.toMatchObject({
        code: "ERR_BAD_DATA",
        message: expect.stringContaining("in the place of the thread"),
      });
    });
    expect(late).toEqual([]);
    expect([...told.values()].every((times) => times === 1)).toBe(true);
  }
});

describe("a module that throws what cannot be told", () => {
  for (const [thrown, tag] of [["Symbol('x')", {}] as const, ["null", FULL] as const, ["undefined", FULL] as const]) {
    test(`${thrown}, while it is loaded, is named`, tag, async () => {
      await expect(run(workers(`throw ${thrown};`))).rejects.toThrow(/it threw (null|undefined|Symbol\(x\))/);
    });
  }

  for (const [message, tag] of [
    ["{ toString() { throw 1; } }", {}],
    ["Symbol('x')", FULL],
    ["7", FULL],
  ] as const) {
    test(`an Error whose message is ${message} fails that frame and not the thread`, tag, async () => {
      const stage = workers(
        `export default ({ index }) => {
           if (index !== 5) return;
           const error = new Error("x");
           error.message = ${message};
           error.stack = Symbol("y");
           throw error;
         };`,
      );
      await expect(run(stage)).rejects.toMatchObject({ code: "ERR_BAD_DATA", details: { frame: 5, worker: 1 } });
    });
  }
});

describe("an onResult that gives a promise", () => {
  test("which rejects ends the run with that error", async () => {
    const stage = workers("export default () => 1;", {
      onResult: async (_, index) => {
        await nextTurn();
        if (index === 11) throw new Error("of onResult");
      },
    });
    const late = await lateRejections(async () => {
      await expect(run(stage)).rejects.toThrow("of onResult");
    });
    expect(late).toEqual([]);
  });

  test("which takes its time holds the frames back", async () => {
    let [open, most] = [0, 0];
    const stage = workers("export default () => 1;", {
      buffers: 3,
      onResult: async () => {
        most = Math.max(most, ++open);
        for (let turn = 0; turn < 20; turn++) await nextTurn();
        open--;
      },
    });
    await run(stage);
    expect([open, most <= 3]).toEqual([0, true]);
  });

  test("which never ends is left by a seek and by an abort", async () => {
    let told = 0;
    const stage = workers("export default () => 1;", {
      onResult: () => (told++ < 12 ? new Promise(() => {}) : undefined),
    });
    const abort = new AbortController();
    const source = new Numbers("src", 1000);
    const pipeline = new Pipeline().link(source, stage, new NullSink());
    const playing = pipeline.run({ signal: abort.signal });
    playing.catch(() => {});
    while (told < 2) await nextTurn();
    await pipeline.seek(0);
    // Two frames fit in line, so that these are behind the seek.
    while (told < 4) await nextTurn();
    abort.abort(new Error("enough"));
    await expect(playing).rejects.toThrow("enough");
    expectHome(pipeline);
  });
});

test("a frame that is answered while a seek goes on does not wait for the promise of its onResult", async () => {
  const gate = new Int32Array(new SharedArrayBuffer(4));
  let told = 0;
  const stage = workers(
    `import { setTimeout as later } from "node:timers/promises";
     export default async (_, gate) => { while (Atomics.load(gate, 0) === 0) await later(1); };`,
    { options: gate, buffers: 1, onResult: () => (told++ === 0 ? new Promise(() => {}) : undefined) },
  );
  const source = new Numbers("src", 8);
  const sink = new NullSink();
  const pipeline = new Pipeline().link(source, stage, sink);
  const playing = pipeline.run();
  while (source.made < 1) await nextTurn();
  // The loop has taken the frame out of the line, and waits for its answer.
  while (stage.length > 0) await nextTurn();
  const sought = pipeline.seek(4);
  Atomics.store(gate, 0, 1);
  await sought;
  await playing;
  expect([told, sink.count]).toEqual([5, 4]);
  expectHome(pipeline);
});

describe("what a workers stage cannot use is refused with a typed error:", () => {
  const revoked = Proxy.revocable({}, {});
  revoked.revoke();
  const getter = {
    get a(): number {
      throw null;
    },
  };
  test.each([
    ["a function", () => 1],
    ["a Symbol", Symbol("s")],
    ["a WeakMap", { deep: new WeakMap() }],
    ["a getter that throws", getter],
  ])("options that cannot be cloned (%s)", (_, options) => {
    expect(() => workers("export default () => 1;", { options })).toThrow(
      expect.objectContaining({ code: "ERR_INVALID_ARG_VALUE", message: expect.stringContaining("options.options") }),
    );
  });

  test.each([
    ["a revoked Proxy", revoked.proxy],
    ["a Symbol", Symbol("s")],
    ["a list", ["x"]],
  ])("a module that is %s", (_, module) => {
    expect(() => new WorkersElement(module as string)).toThrow(
      expect.objectContaining({ code: "ERR_INVALID_ARG_TYPE" }),
    );
  });

  for (const [name, made, tag] of [
    ["an object", {}, {}],
    ["nothing", undefined, FULL],
    ["a promise", Promise.resolve(), FULL],
  ] as const) {
    test(`a createPool() that gives ${name}`, tag, async () => {
      class Own extends WorkersElement {
        protected override createPool(): BufferPool {
          return made as unknown as BufferPool;
        }
      }
      const stage = new Own(moduleOf("export default () => 1;"), { workers: 1 });
      await expect(run(stage)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
    });
  }

  test("frames that shall move to the thread and lie in shared memory", async () => {
    class Moves extends WorkersElement {
      protected override get transfers(): boolean {
        return true;
      }
    }
    const stage = new Moves(moduleOf("export default () => 1;"), { workers: 1 });
    await expect(run(stage)).rejects.toMatchObject({ code: "ERR_UNSUPPORTED" });
  });

  test("a call after stop()", async () => {
    const stage = workers("export default () => 1;", { onResult: (_, index) => void (index === 3 && stage.stop()) });
    await expect(run(stage)).rejects.toMatchObject({ name: "MillpondError" });
  });
});

describe("a workers stage leaves nothing behind:", () => {
  test("no listener on a pool of the application's, however often it runs", async () => {
    let listeners = 0;
    class Counted extends SharedBufferPool {
      override on<K extends keyof BufferPoolEvents>(
        name: K,
        listener: (event: BufferPoolEvents[K]) => void,
      ): () => void {
        const off = super.on(name, listener);
        listeners++;
        return () => {
          listeners--;
          off();
        };
      }
    }
    const pool = new Counted({ name: "mine", threads: 2 });
    let made = 0;
    class Own extends WorkersElement {
      protected override createPool(options: SharedBufferPoolOptions): BufferPool {
        made++;
        return made === 4 ? super.createPool(options) : pool;
      }
    }
    for (let i = 0; i < 5; i++) await run(new Own(moduleOf("export default () => 1;"), { workers: 1 }));
    expect([made, listeners]).toEqual([5, 0]);
  });

  test("no thread when it was given up, and the next run is as good as the first", async () => {
    const flag = join(folder, "hangs");
    const text = `import { existsSync } from "node:fs";
      const hangs = existsSync(${JSON.stringify(flag)});
      export default ({ index }) => { if (hangs && index === 5) for (;;); };`;
    let closed = 0;
    class Counted extends WorkersElement {
      override async stop(): Promise<void> {
        await super.stop();
        closed++;
      }
    }
    const stage = new Counted(moduleOf(text), { workers: 2 });
    const sink = new NullSink();
    const source = new Numbers("src", 12);
    source.start = (): void => {
      source.made = 0;
    };
    const pipeline = new Pipeline({ acquireTimeout: 300 }).link(source, stage, sink);
    writeFileSync(flag, "");
    await expect(pipeline.run()).rejects.toMatchObject({ code: "ERR_STARVED" });
    expect(closed).toBe(1);
    rmSync(flag);
    const { sinks } = await pipeline.run();
    expect(sinks[sink.name]).toBe(12);
    expectHome(pipeline);
  });
});

test("options with a getter are read once, and every thread of every run has the same", async () => {
  let reads = 0;
  const options = {
    get x() {
      if (++reads > 1) throw new Error("mine");
      return 7;
    },
  };
  const seen: unknown[] = [];
  const stage = workers(
    "await new Promise((done) => setTimeout(done, 50)); export default (_, options) => options.x;",
    {
      workers: 3,
      options,
      onResult: (result) => void seen.push(result),
    },
  );
  const late = await lateErrors(() => run(stage));
  expect([late, reads]).toEqual([[], 1]);
  expect(seen).toEqual(Array(12).fill(7));
});

test("options are those of the time when the stage was made, whatever becomes of the caller's object", async () => {
  const options: Record<string, unknown> = { x: 1 };
  const seen: unknown[] = [];
  const onResult = (result: unknown): void => void seen.push(result);
  const stage = workers("export default (_, options) => options.x;", { options, onResult });
  options.x = (): number => 1;
  await run(stage);
  expect(seen).toEqual(Array(12).fill(1));
});
