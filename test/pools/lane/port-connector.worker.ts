/** Reserves two memberships of the pool that it is connected to, says so, and connects over the port it was given. */
import { parentPort, workerData } from "node:worker_threads";
import type { LaneTarget } from "../../../src/pools/lane/connect.ts";
import { receiveLane } from "../../../src/pools/lane/receive.ts";
import type { SharedPool } from "../../../src/pools/shared/shared-pool.ts";

const { pool } = await receiveLane(parentPort!);
const shared = pool as SharedPool;
parentPort!.postMessage([shared.reserve(), shared.reserve()]);
shared.connect(workerData as LaneTarget).catch(() => {});
setInterval(() => {}, 1e6);
