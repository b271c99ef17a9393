// Frames to a worker, cloned on the way; three are under way at a time.
import { once } from "node:events";
import { Worker } from "node:worker_threads";

const worker = new Worker(new URL("./worker.mjs", import.meta.url));
const frame = new Uint8Array(1920 * 1080 * 4);
function send(bytes, pts) {
  worker.postMessage({ bytes, pts });
}
let under = 0;
for (let n = 0; n < 300; n++) {
  frame.fill(n); // stands for a decoder
  send(frame, n);
  if (++under === 3) {
    await once(worker, "message");
    under--;
  }
}
while (under-- > 0) await once(worker, "message");
worker.postMessage({ end: true });
await once(worker, "exit");
