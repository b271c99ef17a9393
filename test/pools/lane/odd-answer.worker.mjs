/** Answers a connection with what it was told to. */
import { parentPort, workerData } from "node:worker_threads";

parentPort.on("message", ({ port }) => port?.postMessage(workerData));
