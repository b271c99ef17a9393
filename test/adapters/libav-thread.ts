/** A thread that decodes a film into shared memory, and posts how many frames there were and a sum of their bytes. */
import { parentPort, workerData } from "node:worker_threads";
import { openVideoFile } from "../../src/adapters/mediabunny/video-file.ts";

const file = await openVideoFile(workerData as string);
const bytes = new Uint8Array(new SharedArrayBuffer((1280 * 720 * 3) / 2));
let frames = 0;
let sum = 0;
for (let frame = await file.next(); frame !== undefined; frame = await file.next()) {
  await frame.copyTo(bytes);
  frame.close();
  frames++;
  for (let i = 0; i < bytes.length; i += 997) sum += bytes[i]!;
}
await file.close();
parentPort!.postMessage({ frames, sum });
