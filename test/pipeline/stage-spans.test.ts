/** What recorders hear of the stages of a pipeline: each hook's work, each wait, and nothing that changes the run. */
import { setImmediate as turn } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { type Recorder, record } from "../../src/observe/recorder.ts";
import type { RecordedSpan } from "../../src/observe/spans.ts";
import { stagesWatched } from "../../src/observe/stages.ts";
import { Sink } from "../../src/pipeline/base/sink.ts";
import { Source } from "../../src/pipeline/base/source.ts";
import { Transform, type TransformMode } from "../../src/pipeline/base/transform.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { byteFormat } from "../../src/pipeline/stream-format.ts";
import { traceProblems } from "../observe/trace-schema.ts";

const FORMAT = byteFormat(64);
const BUFFERS = 12;

class Ramp extends Source {
  readonly isSlow: boolean;
  #n = 0;

  constructor(isSlow: boolean) {
    super("ramp");
    this.isSlow = isSlow;
  }

  next() {
    const format = this.#n < BUFFERS ? FORMAT : undefined;
    return this.isSlow ? turn(format) : format;
  }

  override fill(buffer: MediaBuffer) {
    buffer.bytes[0] = this.#n++;
  }
}

class Change extends Transform {
  readonly isSlow: boolean;

  constructor(mode: TransformMode, isSlow: boolean) {
    super(mode, { mode });
    this.isSlow = isSlow;
  }

  #work(): Promise<void> | undefined {
    return this.isSlow ? turn() : undefined;
  }

  override transform(input: MediaBuffer, output: MediaBuffer) {
    output.bytes[0] = input.bytes[0]!;
    return this.#work();
  }

  override transformInPlace() {
    return this.#work();
  }

  override inspect() {
    return this.#work();
  }
}

class Collect extends Sink {
  readonly seen: number[] = [];
  readonly isSlow: boolean;
  readonly failAt: number;

  constructor(isSlow: boolean, failAt = -1) {
    super("collect");
    this.isSlow = isSlow;
    this.failAt = failAt;
  }

  override render(buffer: MediaBuffer): Promise<void> | undefined {
    if (this.seen.length === this.failAt) throw new Error("it fails");
    this.seen.push(buffer.bytes[0]!);
    return this.isSlow ? turn() : undefined;
  }
}

const recorders: Recorder[] = [];
afterEach(() => {
  for (const recorder of recorders.splice(0)) recorder.stop();
});

function start(): Recorder {
  const recorder = record();
  recorders.push(recorder);
  return recorder;
}

const MODES: readonly TransformMode[] = ["passthrough", "in-place", "copy"];

async function play(isSlow: boolean, sink = new Collect(isSlow)): Promise<number[]> {
  const stages = MODES.map((mode) => new Change(mode, isSlow));
  await new Pipeline().link(new Ramp(isSlow), ...stages, new Queue({ name: "line" }), sink).run();
  return sink.seen;
}

/** How often each stage did what. */
function counted(spans: readonly RecordedSpan[], type: RecordedSpan["type"]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { type: kind, name, text } of spans) {
    if (kind === type) counts[`${name}: ${text}`] = (counts[`${name}: ${text}`] ?? 0) + 1;
  }
  return counts;
}

const WORK = {
  "ramp: fill": BUFFERS,
  "passthrough: inspect": BUFFERS,
  "in-place: transformInPlace": BUFFERS,
  "copy: transform": BUFFERS,
  "collect: render": BUFFERS,
};

describe("the stages of a pipeline", () => {
  it.each([
    ["that never wait", false],
    ["that wait", true],
  ])("%s are recorded: each hook once a buffer, and the run is as without", async (_what, isSlow) => {
    const without = await play(isSlow);
    const recorder = start();
    const withIt = await play(isSlow);
    recorder.stop();
    expect(withIt).toEqual(without);
    expect(counted(recorder.recording().spans, "work")).toEqual(WORK);
    expect(traceProblems(JSON.stringify(recorder.trace()))).toEqual([]);
    expect(stagesWatched).toBe(false);
  });

  it("say what they wait for", async () => {
    const recorder = start();
    await play(true);
    const waits = counted(recorder.recording().spans, "wait");
    // The format after the last buffer, which is none, is waited for, too; the first one before the run.
    expect(waits["ramp: waits for its next buffer"]).toBe(BUFFERS);
    expect(Object.keys(waits)).toEqual(
      expect.arrayContaining(["ramp: waits for downstream", "line: waits for downstream", "line: waits for input"]),
    );
  });

  it("wait for a buffer where a pool is empty", async () => {
    class Keeper extends Sink {
      readonly kept: MediaBuffer[] = [];
      override render(buffer: MediaBuffer): void {
        this.kept.push(buffer.retain());
        // One at a time comes back, in a later turn.
        void turn().then(() => this.kept.shift()!.release());
      }
    }
    const recorder = start();
    await new Pipeline({ acquireTimeout: Infinity }).link(new Ramp(false), new Keeper("keeper")).run();
    await turn();
    const waits = counted(recorder.recording().spans, "wait");
    expect(waits["ramp: waits for a buffer"]).toBeGreaterThan(0);
  });

  it("work in rows where several buffers are in work at a time", async () => {
    class Parallel extends Queue {
      protected override begin(buffer: MediaBuffer): Promise<MediaBuffer> {
        return turn(buffer);
      }
    }
    const recorder = start();
    await new Pipeline().link(new Ramp(false), new Parallel({ name: "parallel" }), new Collect(false)).run();
    expect(counted(recorder.recording().spans, "work")["parallel: works on a buffer"]).toBe(BUFFERS);
    expect(traceProblems(JSON.stringify(recorder.trace()))).toEqual([]);
  });

  it("fail as they would without a recorder", async () => {
    const without = await play(false, new Collect(false, 5)).catch((error: unknown) => error);
    const recorder = start();
    const withIt = await play(false, new Collect(false, 5)).catch((error: unknown) => error);
    expect(String(withIt)).toBe(String(without));
    expect(String(withIt)).toContain("it fails");
    expect(counted(recorder.recording().spans, "work")["collect: render"]).toBe(6);
  });

  it("are heard from the middle of a run on, until the middle", async () => {
    const sink = new Collect(true);
    const running = play(true, sink);
    while (sink.seen.length < 3) await turn();
    const recorder = start();
    while (sink.seen.length < 7) await turn();
    recorder.stop();
    await running;
    const { spans } = recorder.recording();
    const renders = counted(spans, "work")["collect: render"]!;
    expect(renders).toBeGreaterThan(0);
    expect(renders).toBeLessThan(BUFFERS);
  });
});
