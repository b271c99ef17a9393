/** A thread that makes a pool and serves it, connects to its server, and says so. */
import { parentPort, workerData } from "node:worker_threads";
import { connectToPool, ProcessPool, ProcessSharedAllocator, serveProcesses } from "../../../src/native.ts";

const pool = ProcessPool.create({ size: 64, count: 2 });
pool.bytes(pool.tryAcquire()!).fill(1);
const memory = new ProcessSharedAllocator().allocate(65536);
await serveProcesses(pool, workerData.path);
const connection = await connectToPool(workerData.path);
parentPort!.once("message", (how: "exit" | "throw") => {
  if (how === "exit") process.exit(0);
  throw new Error("as it was told to");
});
parentPort!.postMessage([memory.size, connection.pool.name]);
