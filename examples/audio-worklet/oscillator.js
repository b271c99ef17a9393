/** A worker that computes a tone, block by block, into pooled slots. It is ahead by the whole pool, and then waits for it. */
import { LeaseRing, SharedPool } from "../../dist/shared.js";

/** A function of its own, because the engine optimizes functions: in a loop that never ends, each sum would be an object. */
function fill(block, step, first) {
  for (let i = 0; i < block.length; i++) block[i] = 0.2 * Math.sin(step * (first + i));
}

self.onmessage = ({ data: { handle, ring: memory, sampleRate, frequency } }) => {
  const pool = SharedPool.attach(handle);
  const ring = LeaseRing.attach(pool, memory, "push");
  const views = Array.from(
    { length: pool.count },
    (_, index) => new Float32Array(pool.memory, pool.slotOffset(index), pool.size / 4),
  );
  const step = (2 * Math.PI * frequency) / sampleRate;
  for (let first = 0; ; first += pool.size / 4) {
    const id = pool.acquireIdSync();
    fill(views[pool.indexOf(id)], step, first);
    // The ring has a place for each slot; this waits only until the audio thread is there.
    ring.pushSync(id);
  }
};
