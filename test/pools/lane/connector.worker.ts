/** Makes a pool, holds a slot, and connects over the port that it was given. */
import { parentPort, workerData } from "node:worker_threads";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";

const { port } = workerData as { port: unknown };
const pool = SharedPool.create({ size: 64, count: 2, members: 2 });
pool.tryAcquire();
await pool.connect(port as Parameters<SharedPool["connect"]>[0]);
parentPort!.postMessage("holds");
setInterval(() => {}, 1e6);
