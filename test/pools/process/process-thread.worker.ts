/** A thread that joins a pool as a process does: it holds two slots, and has a worker of its own. */
import { parentPort, workerData } from "node:worker_threads";
import { connectToPool, ProcessPool } from "../../../src/native.ts";

const { path, descriptor } = workerData as { path?: string; descriptor?: number };
const pool =
  path === undefined ? ProcessPool.attach(descriptor!) : (await connectToPool(path, { asyncWait: "poll" })).pool;
pool.tryAcquire();
pool.tryAcquire();
pool.reserve();
parentPort!.postMessage("held");
setInterval(() => {}, 1e6);
