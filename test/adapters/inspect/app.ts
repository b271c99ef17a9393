/** A program with pools and workers for the inspector's tests: `app.ts MODE`. It says on stdout when it is ready. */
import { closeSync, writeSync } from "node:fs";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";

interface Given {
  readonly mode: string;
  readonly handle: SharedPool["handle"];
  readonly depth: number;
}

/** A pool that nobody refers to is collected, and then it is not shown. */
const kept: unknown[] = [];
(globalThis as { kept?: unknown[] }).kept = kept;
const forever = new Int32Array(new SharedArrayBuffer(4));

if (isMainThread) {
  const mode = process.argv[2]!;
  const frames = BufferPool.create({ name: "frames", size: 1000, max: 4 });
  kept.push(frames.tryAcquire({ tag: "main holds it" }));
  if (mode === "short") {
    process.exitCode = 7;
    // As many as Node takes without a warning.
    for (let i = 0; i < 10; i++) process.on("exit", () => {});
  } else if (mode === "throw") setTimeout(() => Promise.reject(new Error("the program's own")), 50);
  else {
    const slots = SharedPool.create({ name: "slots", size: 1000, count: 8, members: 4 });
    kept.push(slots, slots.tryAcquireId());
    if (mode === "workers" || mode === "blocked" || mode === "nested") {
      const worker = new Worker(new URL(import.meta.url), { workerData: { mode, handle: slots.handle, depth: 1 } });
      worker.on("message", (text: string) => console.log(text));
      process.on("message", (text) => {
        if (text === "terminate") void worker.terminate();
        else worker.postMessage(text);
      });
    } else if (mode === "bare") {
      const { process: own } = globalThis;
      for (const name of ["process", "setTimeout", "clearTimeout", "setInterval", "setImmediate"]) {
        delete (globalThis as Record<string, unknown>)[name];
      }
      own.on("disconnect", () => own.exit());
      own.stdout.write("ready\n");
    } else if (mode === "no-stderr") {
      process.on("message", (text) => {
        try {
          if (text === "close") closeSync(2);
          else writeSync(2, "not for viewers");
          process.send!("done");
        } catch (error) {
          process.send!((error as NodeJS.ErrnoException).code!);
        }
      });
      console.log("ready");
    } else if (mode === "spoiled") {
      process.on("disconnect", () => {
        Math.max = () => Number.NaN;
        process.removeListener = process.setMaxListeners = () => {
          throw new Error("the program's own");
        };
        process.on("exit", () => console.log("the program's last word"));
      });
      console.log("ready");
    } else console.log("ready");
    if (mode === "bare") await new Promise(() => {});
    if (mode === "input") process.disconnect?.();
    else process.on("disconnect", () => process.exit());
    // Alive until its input ends; then nothing is left that keeps it.
    process.stdin.resume();
  }
} else {
  const { parentPort } = await import("node:worker_threads");
  const { mode, handle, depth } = workerData as Given;
  const slots = SharedPool.attach(handle);
  const max = mode === "blocked" ? 300 : 1;
  const own = BufferPool.create({ name: `of worker ${depth}`, size: 10, max });
  kept.push(slots, slots.tryAcquireId(), own);
  for (let i = 0; i < max; i++) kept.push(own.tryAcquire({ tag: "worker holds it" }));
  parentPort!.on("message", (text) => {
    if (text === "block") {
      parentPort!.postMessage("blocked");
      Atomics.wait(forever, 0, 0);
    } else if (text === "exit") process.exit();
  });
  if (mode === "nested" && depth < 2) {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: { mode, handle: slots.handle, depth: depth + 1 },
    });
    worker.on("message", (said: string) => parentPort!.postMessage(said));
  } else parentPort!.postMessage("ready");
}
