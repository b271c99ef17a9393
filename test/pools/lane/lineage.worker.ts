/**
 * A thread of a line of threads, each of which is a worker of the one before: it joins, starts the next one, and leaves
 * the pool and lives on where its letter says so. The last one holds two slots. What it says goes up to the first.
 */
import { once } from "node:events";
import { type MessagePort, parentPort, Worker, workerData } from "node:worker_threads";
import { receiveLane } from "../../../src/pools/lane/receive.ts";
import type { SharedHandle } from "../../../src/pools/shared/attach.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";

/** "c": connects the next; "l": connects it, and leaves when that holds its slots; "r": reserves for it. */
const { line, handle } = workerData as { line: string; handle?: SharedHandle };
const port = parentPort as MessagePort;
const pool = handle === undefined ? (await receiveLane(port)).pool : SharedPool.attach(handle);
const shared = pool as SharedPool;
const [job] = line;
if (job === undefined) {
  shared.tryAcquire();
  shared.tryAcquire();
  port.postMessage("holds");
} else {
  const next = line.slice(1);
  const data = job === "r" ? { line: next, handle: shared.reserve() } : { line: next };
  const worker = new Worker(new URL(import.meta.url), { workerData: data, execArgv: [] });
  const holds = once(worker, "message");
  // It answers after it has joined, and this side hears of that first.
  if (job !== "r") await shared.connect(worker);
  const [said] = await holds;
  if (job === "l") shared.leave();
  port.postMessage(said);
}
setInterval(() => pool, 1e6);
