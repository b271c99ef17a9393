// Looks at the frames that come over the lane.
import { parentPort } from "node:worker_threads";
import { receiveLane } from "../../dist/shared.js";
import { detect } from "./work.mjs";

const lane = await receiveLane(parentPort);
for await (const { lease } of lane) {
  detect(lane.pool.bytes(lease));
  lease.release();
}
