/** The other side of the lane tests: does what its name says, for each lease that comes. */
import { parentPort, threadId, workerData } from "node:worker_threads";
import { receiveLane } from "../../../src/pools/lane/receive.ts";
import type { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { isMillpondError } from "../../../src/util/errors.ts";

const { job } = workerData as { job: string };
if (job !== "deaf") {
  const lane = await receiveLane<{ n: number; what?: string }>(parentPort!);
  const { pool } = lane;
  while (job === "again") await receiveLane(parentPort!);
  for (let next = lane; job === "leave"; next = await receiveLane(parentPort!)) (next.pool as SharedPool).leave();
  if (job === "hold when asked") await new Promise((resolve) => parentPort!.once("message", resolve));
  if (job === "report the end") {
    try {
      for await (const { lease } of lane) lease.release();
      parentPort!.postMessage("end");
    } catch (error) {
      parentPort!.postMessage((error as { code?: string }).code);
    }
  } else if (job === "produce") {
    for (let n = 0; n < 20; n++) {
      const lease = await pool.acquire({ timeout: 5000 });
      pool.bytes(lease).fill(n);
      await lane.send(lease, { n });
    }
    await lane.close();
  } else if (job === "count") {
    for await (const { lease } of lane) lease.release();
  } else if (job === "close at once") {
    await lane.close();
  } else if (job.startsWith("hold")) {
    let held = 0;
    for await (const _ of lane) {
      held++;
      if (held < 3) continue;
      parentPort!.postMessage("holding");
      if (job === "hold and exit") process.exit(3);
      if (job === "hold and die") throw new Error("died on purpose");
    }
  } else {
    for await (const { lease, data } of lane) {
      const bytes = pool.bytes(lease);
      const sum = bytes.reduce((total, byte) => total + byte, 0);
      bytes[0] = data.n + 1;
      if (job === "echo") await lane.send(lease, { n: sum });
      else pool.release(lease);
      try {
        pool.bytes(lease);
        parentPort!.postMessage(`thread ${threadId} still has it`);
      } catch (error) {
        if (!isMillpondError(error, "ERR_USE_AFTER_RELEASE")) parentPort!.postMessage(String(error));
      }
    }
  }
}
