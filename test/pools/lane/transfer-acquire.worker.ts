/** Takes a slot when it is told to; posts how many bytes it had, or the error's code. */
import { parentPort } from "node:worker_threads";
import { receiveLane } from "../../../src/pools/lane/receive.ts";

const port = parentPort!;
const { pool } = await receiveLane(port);
port.on("message", async (message) => {
  if (message === "say") port.postMessage("said");
  if (message !== "acquire") return;
  const lease = pool.acquire();
  port.postMessage("asks");
  try {
    const given = await lease;
    port.postMessage(pool.bytes(given).length);
    pool.release(given);
  } catch (error) {
    port.postMessage((error as { code?: string }).code);
  }
});
