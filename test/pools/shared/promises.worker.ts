/** The other threads of promises.test.ts: one gives leases back, one writes what it likes. */
import { workerData } from "node:worker_threads";
import type { SharedHandle } from "../../../src/pools/shared/attach.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";

type Job =
  | { readonly job: "giver"; readonly handle: SharedHandle; readonly memory: SharedArrayBuffer }
  | {
      readonly job: "scribbler";
      readonly memory: SharedArrayBuffer;
      readonly words: number;
      readonly stop: SharedArrayBuffer;
      readonly seed: number;
    };

const job = workerData as Job;
if (job.job === "giver") {
  const pool = SharedPool.attach(job.handle);
  const words = new Int32Array(job.memory);
  const lease = new Float64Array(job.memory, 8, 1);
  while (Atomics.load(words, 1) === 0) {
    const id = pool.acquireIdSync(1000);
    pool.bytesOf(id).fill(1);
    lease[0] = id;
    Atomics.store(words, 0, 1);
    Atomics.notify(words, 0);
    // Until the other thread has read it; then both are off at once.
    while (Atomics.load(words, 0) === 1) Atomics.wait(words, 0, 1, 20);
    pool.releaseId(id);
  }
  pool.leave({ force: true });
} else {
  const words = new Int32Array(job.memory, 0, job.words);
  const stop = new Int32Array(job.stop);
  let random = job.seed | 1;
  const next = (): number => {
    random = (Math.imul(random, 1664525) + 1013904223) | 0;
    return random;
  };
  Atomics.store(stop, 1, 1);
  Atomics.notify(stop, 1);
  while (Atomics.load(stop, 0) === 0) {
    for (let n = 0; n < 1000; n++) {
      const value = (n & 1) === 0 ? next() : (next() >>> 8) % 4096;
      // Often where it hurts: the header, the members and the wake counter.
      const at = (n & 3) === 0 ? 16 + ((next() >>> 8) % 300) : (next() >>> 4) % words.length;
      if (at < 0) continue;
      words[at] = value;
      Atomics.notify(words, 48);
    }
  }
}
