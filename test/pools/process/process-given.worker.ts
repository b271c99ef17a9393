/** A thread that opens a file by fs and gives its descriptor to the library, which closes it; then it waits. */
import { openSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { ProcessPool, ProcessSharedAllocator } from "../../../src/native.ts";

const { path, how } = workerData as { path: string; how: string };
const warnings: string[] = [];
process.on("warning", ({ message }) => warnings.push(message));
const descriptor = openSync(path, "r+");
if (how === "attach fails" || how === "open fails") {
  try {
    if (how === "open fails") new ProcessSharedAllocator().open(descriptor);
    else ProcessPool.attach(descriptor);
  } catch {
    // It is no block, and closed.
  }
} else ProcessPool.attach(descriptor).leave();
setImmediate(() => parentPort!.postMessage({ descriptor, warnings }));
parentPort!.on("message", () => {});
