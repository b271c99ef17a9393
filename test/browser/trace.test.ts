/** Recordings and traces in a browser, which tells nothing of its garbage collector. */
import { expect, it } from "vitest";
import type { Trace } from "../../src/observe/trace.ts";
import { traceProblems } from "../observe/trace-schema.ts";
import { chromium, runInChromium } from "./chromium.ts";

it.skipIf(chromium === undefined)("a page and its worker make one trace", async () => {
  const trace = (await runInChromium(`
    const { BufferPool } = await import("/dist/index.js");
    const { record, traceOf } = await import("/dist/observe.js");
    const recorder = record();
    const pool = BufferPool.create({ name: "frames", size: 64, max: 2 });
    pool.tryAcquire({ tag: "page" }).release();
    const code = \`
      import { BufferPool } from "\${location.origin}/dist/index.js";
      import { record } from "\${location.origin}/dist/observe.js";
      const recorder = record();
      BufferPool.create({ name: "theirs", size: 64, max: 1 }).tryAcquire();
      postMessage(recorder.recording());\`;
    const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    const worker = new Worker(url, { type: "module", name: "decoder" });
    const theirs = await new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => reject(new Error(event.message));
    });
    send(traceOf([recorder.recording(), theirs]));
  `)) as Trace & { error?: string };
  expect(trace.error).toBeUndefined();
  expect(traceProblems(JSON.stringify(trace))).toEqual([]);
  const names = trace.traceEvents.filter(({ name }) => name === "process_name").map(({ args }) => args!.name);
  expect(names).toEqual(["BufferPool frames (main)", "BufferPool theirs (decoder)"]);
  const spans = trace.traceEvents.filter(({ ph }) => ph === "X");
  expect(spans.map(({ name, args }) => [name, args?.open === true])).toEqual([
    ["page", false],
    ["lease", true],
  ]);
});
