/** Joins over the port that it was given; holds a slot, and a worker of its own that holds one, or closes its lane. */
import { parentPort, Worker, workerData } from "node:worker_threads";
import { type LaneSource, receiveLane } from "../../../src/pools/lane/receive.ts";
import type { SharedPool } from "../../../src/pools/shared/shared-pool.ts";

const { job, port } = workerData as { job: string; port: LaneSource | undefined };
const lane = await receiveLane(port ?? (parentPort as LaneSource));
lane.pool.tryAcquire();
if (job === "connects a worker") {
  const worker = new Worker(new URL(import.meta.url), { workerData: { job: "holds" }, execArgv: [] });
  const holds = new Promise((resolve) => worker.once("message", resolve));
  await (lane.pool as SharedPool).connect(worker);
  await holds;
} else if (job === "closes its lane") await lane.close();
// Ports between workers: this one connects to the other side, or joins over it once more.
parentPort!.on("message", async ({ give, take }: { give?: never; take?: LaneSource }) => {
  if (give !== undefined) await (lane.pool as SharedPool).connect(give);
  else if (take !== undefined) (await receiveLane(take)).pool.tryAcquire();
  parentPort!.postMessage("done");
});
parentPort!.postMessage("holds");
setInterval(() => {}, 1e6);
