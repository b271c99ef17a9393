// A worker that ends, one that is terminated, and a fork.
import { fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { isMainThread, Worker, workerData } from "node:worker_threads";

const self = new URL(import.meta.url);
function inWorker() {
  return new Uint8Array(100_000);
}
function inFork() {
  return Buffer.alloc(200_000);
}
function inVain() {
  return new Float64Array(50_000);
}

if (process.argv[2] === "fork") {
  for (let n = 0; n < 30; n++) inFork();
} else if (isMainThread) {
  await once(new Worker(self, { workerData: "ends" }), "exit");
  await once(fork(fileURLToPath(self), ["fork"]), "exit");
  const endless = new Worker(self, { workerData: "endless" });
  await once(endless, "message");
  // The worker has written by then, whatever the load: it writes before it answers.
  await endless.terminate();
} else if (workerData === "ends") {
  for (let n = 0; n < 20; n++) inWorker();
} else {
  const { parentPort } = await import("node:worker_threads");
  for (let n = 0; n < 10; n++) inVain();
  await sleep(1500);
  parentPort.postMessage("ready");
  setInterval(inVain, 1000);
}
