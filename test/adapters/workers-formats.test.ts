import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { WorkersElement, type WorkersOptions } from "../../src/adapters/workers/workers-element.ts";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { nextTurn } from "../../src/pipeline/base/element.ts";
import type { Maybe } from "../../src/pipeline/base/pad.ts";
import { Source } from "../../src/pipeline/base/source.ts";
import { Transform } from "../../src/pipeline/base/transform.ts";
import { Funnel } from "../../src/pipeline/elements/funnel.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { PatternSource } from "../../src/pipeline/elements/pattern-source.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import { Tee } from "../../src/pipeline/elements/tee.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { byteFormat, type StreamFormat } from "../../src/pipeline/stream-format.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { FULL } from "../helpers/effort.ts";
import { Collector, expectHome, Numbers } from "../pipeline/kit.ts";

const folder = mkdtempSync(join(tmpdir(), "millpond-formats-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let number = 0;
function workers(text: string, options: WorkersOptions = {}): WorkersElement {
  const file = join(folder, `m${number++}.mjs`);
  writeFileSync(file, text);
  return new WorkersElement(file, { workers: 1, ...options });
}

const LENGTH = "export default ({ bytes }) => bytes.length;";

/** Frames in memory that is not shared, out of a pool of the application's; each has the size that is its number's. */
class Plain extends Source {
  readonly pool: BufferPool = BufferPool.create({ name: "app", size: 256, max: 64 });
  readonly #size: (n: number) => number;
  readonly #count: number;
  made = 0;

  constructor(count: number, size: (n: number) => number) {
    super("plain");
    this.#count = count;
    this.#size = size;
  }

  next(): StreamFormat | undefined {
    return this.made < this.#count ? byteFormat(this.#size(this.made)) : undefined;
  }

  override async create(): Promise<MediaBuffer> {
    const buffer = await this.pool.acquire();
    buffer.resize(0, this.#size(this.made));
    buffer.bytes.fill(this.made++);
    return buffer;
  }

  override seek(position: unknown): void {
    this.made = position as number;
  }
}

/** Numbers whose format has another size after every seven. */
class Changing extends Numbers {
  readonly #size: (n: number) => number;
  constructor(count: number, size: (n: number) => number) {
    super("changing", count);
    this.#size = size;
  }
  override next(): StreamFormat | undefined {
    return this.made < this.count ? byteFormat(this.#size(Math.floor(this.made / 7))) : undefined;
  }
}

describe("frames in plain memory whose format changes before workers", () => {
  // The one that goes to and fro does both of what the others do.
  for (const [how, size, tag] of [
    ["grows with every frame", (n: number) => 16 + n, FULL],
    ["shrinks with every frame", (n: number) => 100 - n, FULL],
    ["goes to and fro", (n: number) => (n % 2 === 0 ? 64 : 16), {}],
  ] as const) {
    test(`are copied each for its own format, which ${how}`, tag, async () => {
      const lengths: unknown[] = [];
      const source = new Plain(12, size);
      const stage = workers(LENGTH, { buffers: 8, onResult: (length) => lengths.push(length) });
      await new Pipeline().link(source, stage, new NullSink()).run();
      expect(lengths).toEqual(Array.from({ length: 12 }, (_, n) => size(n)));
      expect(source.pool.outstanding).toBe(0);
    });
  }

  test("end at once with the run while several formats are in line", async () => {
    const source = new Plain(6, (n) => 16 + n);
    const stage = workers("export default () => new Promise(() => {});", { buffers: 8 });
    const abort = new AbortController();
    const pipeline = new Pipeline().link(source, stage, new NullSink());
    const run = pipeline.run({ signal: abort.signal });
    run.catch(() => {});
    while (source.made < 6 || stage.out.pool === null) await nextTurn();
    abort.abort(new Error("enough"));
    await expect(run).rejects.toThrow("enough");
    expect(source.pool.outstanding).toBe(0);
    expectHome(pipeline);
  });

  test("go on after a seek that comes while the stage behind gives out what it holds of the format before", async () => {
    let draining: (() => void) | undefined;
    class Drainer extends Transform {
      #kept: MediaBuffer | undefined;
      constructor() {
        super("drainer", { mode: "passthrough" });
      }
      override get retainedBuffers(): number {
        return 1;
      }
      override inspect(buffer: MediaBuffer): void {
        this.onFlush();
        this.#kept = buffer.retain();
      }
      override async drain(): Promise<void> {
        if (draining === undefined) {
          await new Promise<void>((resolve) => {
            draining = resolve;
          });
        }
        const kept = this.#kept;
        this.#kept = undefined;
        if (kept !== undefined) await this.out.push(kept);
      }
      override onFlush(): void {
        this.#kept?.release();
        this.#kept = undefined;
      }
      override stop(): void {
        this.onFlush();
      }
    }
    const source = new Plain(40, (n) => (n < 4 ? 32 : 64));
    const lengths: unknown[] = [];
    const stage = workers(LENGTH, { onResult: (length) => lengths.push(length) });
    const sink = new NullSink();
    const pipeline = new Pipeline().link(source, stage, new Drainer(), sink);
    const run = pipeline.run();
    while (draining === undefined) await nextTurn();
    const seek = pipeline.seek(30);
    draining();
    await seek;
    await run;
    expect(lengths.slice(-10)).toEqual(Array.from({ length: 10 }, () => 64));
    expect(sink.count).toBeGreaterThanOrEqual(10);
    expect(source.pool.outstanding).toBe(0);
    expectHome(pipeline);
  });
});

describe("a format that changes its size behind a tee", () => {
  const stages: [string, () => (WorkersElement | Queue)[]][] = [
    ["workers", () => [workers(LENGTH)]],
    ["two workers stages", () => [workers(LENGTH), workers(LENGTH)]],
    ["workers and a queue", () => [workers(LENGTH), new Queue()]],
  ];
  const changes: [string, (step: number) => number][] = [
    ["grows", (step) => 64 + 16 * step],
    ["shrinks", (step) => 256 - 16 * step],
  ];
  // The fast lane has each of the stages and each of the changes.
  const once = ["workers, grows", "two workers stages, shrinks", "workers and a queue, grows"];
  for (const [name, make] of stages) {
    for (const [how, size] of changes) {
      const tag = once.includes(`${name}, ${how}`) ? {} : FULL;
      test(`is served by ${name} when it ${how}`, tag, async () => {
        const tee = new Tee();
        const sink = new Collector("sink");
        const pipeline = new Pipeline().link(new Changing(30, size), tee, ...make(), sink);
        await pipeline.link(tee, new NullSink()).run();
        expect(sink.seen).toEqual(Array.from({ length: 30 }, (_, n) => n));
        expectHome(pipeline);
      });
    }
  }

  for (const [a, b] of [
    [8, 16],
    [16, 8],
  ] as const) {
    test(`or before a funnel is served by workers (${a} and ${b} columns)`, a < b ? {} : FULL, async () => {
      const pattern = (width: number): Source => new PatternSource({ format: "GRAY8", width, height: 8, frames: 10 });
      const funnel = new Funnel();
      const lengths: number[] = [];
      const stage = workers(LENGTH, { onResult: (length) => lengths.push(length as number) });
      const pipeline = new Pipeline().link(pattern(a), funnel, stage, new NullSink()).link(pattern(b), funnel);
      await pipeline.run();
      // Rows of pictures are padded: their sizes are the formats'.
      expect(new Set(lengths).size).toBe(2);
      expect(lengths).toHaveLength(20);
      expectHome(pipeline);
    });
  }
});

describe("buffers with more bytes than their format", () => {
  class InPlace extends Transform {
    constructor() {
      super("in-place", { mode: "in-place" });
    }
    override transformInPlace(buffer: MediaBuffer): Maybe<void> {
      buffer.bytes[40]! += 1;
    }
  }
  const stages: [string, () => WorkersElement | Transform][] = [
    ["workers", () => workers("export default () => {};")],
    ["workers that write", () => workers("export default ({ bytes }) => { bytes[40]++; };", { writes: true })],
    ["a transform in place", () => new InPlace()],
  ];

  test.each(stages)("because another branch of a tee asked for more, are copied whole by %s", async (_, make) => {
    const tee = new Tee();
    const sizes = new Set<number>();
    const sink = new NullSink();
    sink.render = (buffer) => void sizes.add(buffer.size);
    const wants = new Collector("wants", {
      propose: (query) => {
        query.addPool({ size: 128 });
        return true;
      },
    });
    const pipeline = new Pipeline().link(new Numbers("src", 20), tee, make(), sink).link(tee, wants);
    await pipeline.run();
    expect([...sizes]).toEqual([128]);
    expect(wants.seen).toHaveLength(20);
    expectHome(pipeline);
  });

  test.each(stages)("because the application's pool has larger ones, are copied whole by %s", async (_, make) => {
    class Larger extends Plain {
      override next(): StreamFormat | undefined {
        return super.next() === undefined ? undefined : byteFormat(64);
      }
    }
    const tee = new Tee();
    const sizes: number[] = [];
    const sink = new NullSink();
    sink.render = (buffer) => void sizes.push(buffer.size);
    const source = new Larger(12, (n) => (n === 5 || n > 8 ? 200 : 64));
    const pipeline = new Pipeline().link(source, tee, make(), sink).link(tee, new NullSink());
    await pipeline.run();
    expect(sizes).toEqual([64, 64, 64, 64, 64, 200, 64, 64, 64, 200, 200, 200]);
    expect(source.pool.outstanding).toBe(0);
    expectHome(pipeline);
  });
});
