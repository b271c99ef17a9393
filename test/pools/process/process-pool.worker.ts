/**
 * A thread of a process that shares a pool: waits, blocking, for a slot that nobody gives back, until it is told to
 * stop.
 */
import { parentPort, workerData } from "node:worker_threads";
import { ProcessPool } from "../../../src/native.ts";
import type { SharedHandle } from "../../../src/pools/shared/attach.ts";
import { isMillpondError } from "../../../src/util/errors.ts";

const { handle, words } = workerData as { handle: SharedHandle; words: Int32Array };
const pool = ProcessPool.attach(handle, { stop: { words, index: 0 } });
parentPort!.postMessage("waits");
try {
  pool.acquireSync();
} catch (error) {
  parentPort!.postMessage(isMillpondError(error) ? error.code : String(error));
}
pool.leave();
