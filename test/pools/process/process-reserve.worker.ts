/** A thread that came by a handle, and reserves for others itself. */
import { once } from "node:events";
import { type MessagePort, parentPort } from "node:worker_threads";
import { ProcessPool } from "../../../src/native.ts";

const port = parentPort as MessagePort;
const [handle] = (await once(port, "message")) as [Parameters<typeof ProcessPool.attach>[0]];
const pool = ProcessPool.attach(handle, { asyncWait: "poll" });
pool.reserve();
pool.reserve();
port.postMessage("reserved");
setInterval(() => pool, 1e6);
