/**
 * Workers, one after another, that make pools until no descriptor is left and are terminated: prints a line of JSON,
 * the codes that they met and how many blocks are open or mapped in the process afterwards.
 */
import { once } from "node:events";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { isMillpondError } from "../../../src/index.ts";
import { ProcessPool } from "../../../src/native.ts";
import { countMapped, countOpen } from "../../helpers/descriptors.ts";

if (isMainThread) {
  const codes: string[] = [];
  for (let round = 0; round < 2; round++) {
    const worker = new Worker(new URL(import.meta.url));
    codes.push(String((await once(worker, "message"))[0]));
    await worker.terminate();
  }
  console.log(JSON.stringify({ codes, left: countOpen("/memfd:millpond") + countMapped() }));
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
