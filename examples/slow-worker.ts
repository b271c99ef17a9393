/**
 * A trace that explains a slow pipeline: two threads look at frames, and every 15th frame takes one of them far longer.
 *
 *     node examples/slow-worker.ts trace.json      # then open it in ui.perfetto.dev
 *
 * This file is also the module that the threads call.
 */
import { writeFile } from "node:fs/promises";
import { isMainThread } from "node:worker_threads";
import { record } from "../src/observe.ts";
import { NullSink, PatternSource, Pipeline } from "../src/pipeline.ts";
import { type WorkerFrame, WorkersElement } from "../src/pipeline-node.ts";

/** What a thread does with a frame. */
// biome-ignore lint/style/noDefaultExport: a workers stage calls the default export of its module
export default function look({ bytes, index }: WorkerFrame): number {
  const end = performance.now() + (index % 15 === 7 ? 60 : 8);
  let sum = 0;
  for (let i = 0; performance.now() < end; i = (i + 4096) % bytes.length) sum += bytes[i]!;
  return sum;
}

if (isMainThread) {
  const recorder = record();
  const source = new PatternSource({ width: 1280, height: 720, frames: 60, name: "camera" });
  const workers = new WorkersElement(new URL(import.meta.url), { name: "look", workers: 2, buffers: 5 });
  await new Pipeline().link(source, workers, new NullSink({ name: "end" })).run();
  recorder.stop();
  const trace = recorder.trace({ about: { example: "slow-worker" } });
  const [, , path] = process.argv;
  if (path !== undefined) await writeFile(path, JSON.stringify(trace));
  const waits = recorder.recording().spans.filter(({ text }) => text === "waits for a buffer");
  const waited = waits.reduce((sum, { duration }) => sum + duration, 0);
  console.log(`${trace.traceEvents.length} events; the camera waited ${Math.round(waited)} ms for a free buffer`);
}
