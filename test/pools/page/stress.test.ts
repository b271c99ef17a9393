/** Real workers, each with a PagePool of its own, real time and real timers. */
import { Worker } from "node:worker_threads";
import { expect, it } from "vitest";
import { REPEATED, seedOf, times } from "../../helpers/effort.ts";

const seed = seedOf("page-pool workers");
const WORKERS = 4;

it(`blocks are never doubled, lost or beyond the bound, in ${WORKERS} workers`, REPEATED, async () => {
  const ends = Array.from({ length: WORKERS }, (_, index) => {
    const workerData = { seed: seed + index, steps: times(1_500, 20_000) };
    // Node 24 strips the types of a worker's file by itself.
    const worker = new Worker(new URL("worker.child.ts", import.meta.url), { workerData });
    return new Promise<Record<string, number>>((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
    });
  });
  for (const { hits, agedOut, worst, left, count } of await Promise.all(ends)) {
    expect(hits).toBeGreaterThan(0);
    expect(agedOut).toBeGreaterThan(0);
    expect(worst).toBeLessThanOrEqual(4 * 2 ** 20);
    expect([left, count]).toEqual([0, 0]);
  }
});
