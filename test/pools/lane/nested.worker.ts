/** Takes a slot of the pool that it is connected to, and says so; with a job, connects a worker of its own first. */
import { parentPort, Worker, workerData } from "node:worker_threads";
import { receiveLane } from "../../../src/pools/lane/receive.ts";
import type { SharedPool } from "../../../src/pools/shared/shared-pool.ts";

const { depth, answers } = workerData as { depth: number; answers: boolean };
const { pool } = await receiveLane(parentPort!);
if (depth > 0) {
  const file = answers || depth > 1 ? import.meta.url : new URL("./deaf.worker.mjs", import.meta.url);
  const worker = new Worker(new URL(file), { workerData: { depth: depth - 1, answers }, execArgv: [] });
  // Before the connection: its message may come in the same turn as the end of that.
  const holds = new Promise((resolve) => worker.once("message", resolve));
  const connected = (pool as SharedPool).connect(worker);
  if (answers || depth > 1) await Promise.all([connected, holds]);
  else connected.catch(() => {});
}
pool.tryAcquire();
parentPort!.postMessage("held");
setInterval(() => {}, 1e6);
