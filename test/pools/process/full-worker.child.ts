/**
 * Workers, one after another, that make pools until no descriptor is left and are terminated: prints a line of JSON,
 * the codes that they met and how many blocks are open or mapped in the process afterwards.
 */
import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { isMillpondError } from "../../../src/index.ts";
import { ProcessPool } from "../../../src/native.ts";

function blocks(): number {
  const open = readdirSync("/proc/self/fd").filter((number) => {
    try {
      return readlinkSync(`/proc/self/fd/${number}`).startsWith("/memfd:millpond");
    } catch {
      // The one of the listing itself.
      return false;
    }
  });
  return open.length + readFileSync("/proc/self/maps", "latin1").split("/memfd:millpond").length - 1;
}

if (isMainThread) {
  const codes: string[] = [];
  for (let round = 0; round < 2; round++) {
    const worker = new Worker(new URL(import.meta.url));
    codes.push(String((await once(worker, "message"))[0]));
    await worker.terminate();
  }
  console.log(JSON.stringify({ codes, left: blocks() }));
} else {
  const pools: ProcessPool[] = [];
  let code = "";
  while (code === "") {
    try {
      pools.push(ProcessPool.create({ size: 64, count: 1 }));
    } catch (error) {
      code = isMillpondError(error) ? error.code : String(error);
    }
  }
  parentPort!.postMessage(code);
  parentPort!.on("message", () => pools.length);
}
