// Looks at the frames that are posted.
import { parentPort } from "node:worker_threads";
import { detect } from "./work.mjs";

parentPort.on("message", ({ bytes, end }) => {
  if (end) return parentPort.close();
  parentPort.postMessage(detect(bytes));
});
