// Frames to a worker, a new one each, moved there; three are under way at a time.
import { once } from "node:events";
import { Worker } from "node:worker_threads";

const worker = new Worker(new URL("./worker.mjs", import.meta.url));
function decode(n) {
  return new Uint8Array(1920 * 1080 * 4).fill(n);
}
let under = 0;
for (let n = 0; n < 300; n++) {
  const bytes = decode(n);
  worker.postMessage({ bytes, pts: n }, [bytes.buffer]);
  if (++under === 3) {
    await once(worker, "message");
    under--;
  }
}
while (under-- > 0) await once(worker, "message");
worker.postMessage({ end: true });
await once(worker, "exit");
