/** One worker of the stress test: a random load on a PagePool of its own over shared memory, checked on the way. */
import { parentPort, workerData } from "node:worker_threads";
import type { Memory } from "../../../src/index.ts";
import { PagePool, SharedAllocator } from "../../../src/index.ts";

const { seed, steps } = workerData as { seed: number; steps: number };
const source = new SharedAllocator();
const pool = PagePool.create({
  source,
  maxBytes: 4 * 2 ** 20,
  ageOut: 3,
  curve: seed % 2 === 0 ? "cliff" : "smooth",
  min: seed % 3,
});
let state = seed | 1;
function random(below: number): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % below;
}

const live: { memory: Memory; mark: number }[] = [];
let worst = 0;
function give(at: number): void {
  const [{ memory, mark }] = live.splice(at, 1) as [{ memory: Memory; mark: number }];
  const { bytes } = memory.region;
  if (bytes[0] !== mark || bytes[memory.size - 1] !== mark)
    throw new Error(`block of ${memory} was written by somebody else`);
  memory.release();
}

// A quick machine goes on until a block has aged; one that never does is told of at the end.
for (let step = 0; step < steps || (pool.stats().agedOut === 0 && step < 50_000); step++) {
  if (live.length > 0 && random(5) < 2) give(random(live.length));
  else {
    const memory = pool.tryAllocate(1 + random(200_000));
    if (memory === undefined) give(random(live.length));
    else {
      const mark = random(256);
      memory.region.bytes[0] = mark;
      memory.region.bytes[memory.size - 1] = mark;
      live.push({ memory, mark });
    }
  }
  worst = Math.max(worst, pool.stats().bytes);
  if (step % 64 === 0) pool.validate();
  // Now and then the event loop turns, so that the pool's own timer has its part.
  if (random(500) === 0) await new Promise((resolve) => setTimeout(resolve, 1));
}
while (live.length > 0) give(0);
const { hits, agedOut } = pool.stats();
pool.trim();
parentPort!.postMessage({ hits, agedOut, worst, left: source.stats().liveMemories, count: pool.stats().count });
