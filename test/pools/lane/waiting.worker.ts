/** Waits for a slot of a pool that has none, and then for another; posts how the waits ended. */
import { parentPort } from "node:worker_threads";
import { receiveLane } from "../../../src/pools/lane/receive.ts";
import { codeOf } from "../../helpers/code-of.ts";

const { pool } = await receiveLane(parentPort!);
const first = codeOf(pool.acquire());
parentPort!.postMessage("waits");
const code = await first;
parentPort!.postMessage([code, await codeOf(pool.acquire())]);
