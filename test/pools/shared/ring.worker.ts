/** The far end of the ring tests: pushes numbers in order, or leases whose bytes say which they are. */
import { workerData } from "node:worker_threads";
import type { SharedHandle } from "../../../src/pools/shared/attach.ts";
import { LeaseRing } from "../../../src/pools/shared/lease-ring.ts";
import { SpscRing } from "../../../src/pools/shared/ring.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";

const { memory, handle, total, waits } = workerData as {
  memory: SharedArrayBuffer;
  handle?: SharedHandle;
  total: number;
  waits?: boolean;
};
if (handle === undefined) {
  const ring = SpscRing.attach(memory);
  if (waits === true) for (let n = 0; n < total; n++) ring.pushSync(n);
  else for (let n = 0; n < total; ) if (ring.tryPush(n)) n++;
} else {
  const pool = SharedPool.attach(handle);
  const ring = LeaseRing.attach(pool, memory, "push");
  for (let n = 0; n < total; n++) {
    const { id } = pool.acquireSync(60_000);
    pool.bytesOf(id).fill(n & 255);
    while (!ring.tryPush(id));
  }
}
