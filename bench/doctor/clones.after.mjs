// Frames to a worker in the slots of a TransferPool, as the doctor says.
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { TransferPool } from "../../dist/shared.js";

const worker = new Worker(new URL("./pooled-worker.mjs", import.meta.url));
const pool = TransferPool.create({ name: "send", size: 1920 * 1080 * 4, count: 4 });
const lane = await pool.connect(worker);
for (let n = 0; n < 300; n++) {
  const lease = await pool.acquire();
  pool.bytes(lease).fill(n);
  await lane.send(lease, { pts: n });
}
await lane.close();
await once(worker, "exit");
