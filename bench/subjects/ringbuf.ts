/** ringbuf.js: integers, one at a time as handles are sent, from one thread to the other, and in one thread alone. */
import { RingBuffer } from "ringbuf.js";
import { measure, packageVersion, sink } from "../lib/subject.ts";
import { dataOfFirst, isSecond, measureTwo, serve } from "../lib/two-threads.ts";

// 64 places: one more than it was asked for stays empty in a ring that tells full from empty by it.
const memory = isSecond
  ? dataOfFirst<SharedArrayBuffer>()
  : (RingBuffer.getStorageForCapacity(64, Int32Array) as SharedArrayBuffer);
const ring = new RingBuffer(memory, Int32Array);
const item = new Int32Array(1);

function push(n: number): void {
  for (let i = 0; i < n; i++) {
    item[0] = i & 0xffff;
    while (ring.push(item) === 0);
  }
}

function pop(n: number): void {
  for (let i = 0; i < n; i++) while (ring.pop(item) === 0);
}

function both(n: number): void {
  for (let i = 0; i < n; i++) {
    item[0] = i & 0xffff;
    ring.push(item);
    ring.pop(item);
    sink.value = item[0];
  }
}

if (isSecond) serve(pop);
else if (process.argv[2] === "one") await measure({ loop: both, library: packageVersion("ringbuf.js") });
else await measureTwo(import.meta.url, memory, push, packageVersion("ringbuf.js"), "one operation needs both");
