/**
 * Joins over the port that it was given; holds a slot, and a worker of its own that holds one, or closes its lane, or
 * leaves the pool and says so in shared memory.
 */
import { parentPort, Worker, workerData } from "node:worker_threads";
import { type LaneSource, receiveLane } from "../../../src/pools/lane/receive.ts";
import type { SharedPool } from "../../../src/pools/shared/shared-pool.ts";

const { job, port, words } = workerData as { job: string; port: LaneSource | undefined; words?: Int32Array };
const lane = await receiveLane(port ?? (parentPort as LaneSource));
lane.pool.tryAcquire();
if (job === "connects a worker") {
  const worker = new Worker(new URL(import.meta.url), { workerData: { job: "holds" }, execArgv: [] });
  const holds = new Promise((resolve) => worker.once("message", resolve));
  await (lane.pool as SharedPool).connect(worker);
  await holds;
} else if (job === "closes its lane") await lane.close();
else if (job === "leaves") {
  (lane.pool as SharedPool).leave({ force: true });
  Atomics.store(words!, 0, 1);
  Atomics.notify(words!, 0);
}
// Ports between workers: this one connects to the other side, or joins over it once more.
const pools = [lane.pool as SharedPool];
interface Order {
  readonly give?: never;
  readonly take?: LaneSource;
  /** Whose number: a worker of its own that holds a slot is connected by it, or it is left. */
  readonly nest?: number;
  readonly leave?: number;
  /** Joins over its parent's port once more. */
  readonly again?: true;
}
parentPort!.on("message", async ({ give, take, nest, leave, again }: Order) => {
  if (give !== undefined) await pools[0]!.connect(give);
  else if (take !== undefined || again) {
    const { pool } = await receiveLane(take ?? (parentPort as LaneSource));
    pools.push(pool as SharedPool);
    if (take !== undefined) pool.tryAcquire();
  } else if (nest !== undefined) {
    const worker = new Worker(new URL(import.meta.url), { workerData: { job: "holds" }, execArgv: [] });
    const holds = new Promise((resolve) => worker.once("message", resolve));
    await pools[nest]!.connect(worker);
    await holds;
  } else if (leave !== undefined) pools[leave]!.leave({ force: true });
  // A request to connect.
  else return;
  parentPort!.postMessage("done");
});
parentPort!.postMessage("holds");
setInterval(() => {}, 1e6);
