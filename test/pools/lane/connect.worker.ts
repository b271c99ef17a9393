/** Joins a pool, takes a slot of it, says so in shared memory, and keeps it until it is told to end. */
import { parentPort, workerData } from "node:worker_threads";
import { receiveLane } from "../../../src/pools/lane/receive.ts";

const words = workerData as Int32Array;
const { pool } = await receiveLane(parentPort!);
const lease = pool.tryAcquire()!;
pool.bytes(lease).fill(66);
Atomics.store(words, 0, 1);
Atomics.notify(words, 0);
parentPort!.once("message", () => {
  parentPort!.postMessage(pool.bytes(lease)[0]);
  process.exit();
});
