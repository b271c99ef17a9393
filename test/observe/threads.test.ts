/** Threads of a `workers` stage record when somebody here does, and hand it in at the end. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { WorkersElement } from "../../src/adapters/workers/workers-element.ts";
import { RealmInspector } from "../../src/observe/realm-inspector.ts";
import { record } from "../../src/observe/recorder.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { PatternSource } from "../../src/pipeline/elements/pattern-source.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { REPEATED, times } from "../helpers/effort.ts";
import { traceProblems } from "./trace-schema.ts";

const folder = mkdtempSync(join(tmpdir(), "millpond-test-"));
afterAll(() => rmSync(folder, { recursive: true }));
const module = join(folder, "look.mjs");
writeFileSync(module, "export default ({ bytes }) => bytes.length;");
const throwing = join(folder, "throws.mjs");
writeFileSync(throwing, "export default () => { throw new Error('it fails'); };");

async function play(path = module): Promise<void> {
  const source = new PatternSource({ width: 16, height: 16, frames: 10 });
  await new Pipeline().link(source, new WorkersElement(path, { name: "look", workers: 2 }), new NullSink()).run();
}

describe("the threads of a workers stage", () => {
  it("record while somebody here does: their frames, and their part of the shared pool", async () => {
    const recorder = record({ thread: "here" });
    await play();
    recorder.stop();
    const recordings = recorder.recordings();
    expect(recordings.map(({ thread }) => thread)).toEqual(["here", "look 1", "look 2"]);
    const frames = recordings.slice(1).flatMap(({ spans }) => spans.filter(({ type }) => type === "work"));
    expect(frames).toHaveLength(10);
    const shared = recordings.flatMap(({ pools }) => pools.filter(({ kind }) => kind === "SharedPool"));
    expect(new Set(shared.map((pool) => pool.shared)).size).toBe(1);
    for (const { from, to, events } of recordings.slice(1)) {
      expect(events.filter(({ type }) => type === "acquire").length).toBeGreaterThan(0);
      expect([from > recordings[0]!.from, to < recordings[0]!.to]).toEqual([true, true]);
    }
    expect(traceProblems(JSON.stringify(recorder.trace()))).toEqual([]);
  });

  it("do not keep a run from its end when one is stuck behind its last frame", async () => {
    const stuck = join(folder, "stuck.mjs");
    // Some microtasks after the call: behind the answer to the last frame, and before any other message.
    const spin = `export default async ({ index }) => {
      let later = Promise.resolve();
      for (let i = 0; i < 50; i++) later = later.then(() => {});
      if (index === 9) later.then(() => { for (;;); });
    };`;
    writeFileSync(stuck, spin);
    const recorder = record();
    await play(stuck);
    recorder.stop();
    // The other thread's is there.
    expect(recorder.recordings()).toHaveLength(2);
  });

  it("keep as many events together as the recorder, which keeps those of the newest runs", REPEATED, async () => {
    const recorder = record({ capacity: 32 });
    const runs = times(5, 8);
    for (let run = 0; run < runs; run++) await play();
    recorder.stop();
    const threads = recorder.recordings().slice(1);
    const sizes = threads.map(({ events, spans }) => events.length + spans.length);
    expect(threads.every(({ events, spans }) => events.length <= 16 && spans.length <= 16)).toBe(true);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(4 * 32);
    expect([threads.at(-2)!.thread, threads.at(-1)!.thread]).toEqual(["look 1", "look 2"]);
    expect(threads.length).toBeLessThan(2 * runs);
  });

  it("hand nothing in of a run that fails", async () => {
    const recorder = record();
    await expect(play(throwing)).rejects.toThrow("it fails");
    recorder.stop();
    expect(recorder.recordings()).toHaveLength(1);
  });

  it("do not record for an inspector, nor for a recorder that begins later or has stopped", async () => {
    const stop = new RealmInspector().look();
    const early = record();
    early.stop();
    const run = play();
    await new Promise((resolve) => setImmediate(resolve));
    const late = record();
    await run;
    late.stop();
    stop();
    expect([early.recordings().length, late.recordings().length]).toEqual([1, 1]);
  });
});
