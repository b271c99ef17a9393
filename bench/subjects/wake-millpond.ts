/**
 * How long a thread that waits in SharedPool.acquireSync() takes to have a slot that another one gives back so many
 * microseconds after the wait began. The figure is the median of single wake-ups, as in native/wake.c.
 */

import { isMainThread, Worker, workerData } from "node:worker_threads";
import type { SharedHandle } from "../../src/pools/shared/attach.ts";
import { SharedPool } from "../../src/pools/shared/shared-pool.ts";
import { effortFromEnvironment } from "../lib/protocol.ts";
import { percentile } from "../lib/statistics.ts";
import { emit, openWindow } from "../lib/subject.ts";

interface Shared {
  readonly handle: SharedHandle;
  readonly control: SharedArrayBuffer;
  readonly clock: SharedArrayBuffer;
  readonly samples: number;
}

/** Words of the control block, a line each. */
const WAITING = 0;
const ROUNDS = 16;
const TURN = 32;

function takeAll({ handle, control, clock, samples }: Shared): void {
  const pool = SharedPool.attach(handle);
  const words = new Int32Array(control);
  const given = new BigInt64Array(clock, 0, 1);
  const latencies = new Float64Array(clock, 8, samples);
  for (let i = 0; i < samples; i++) {
    // Not before the other side has the slot again.
    while (Atomics.load(words, TURN) <= i);
    Atomics.store(words, WAITING, 1);
    const lease = pool.acquireSync();
    latencies[i] = Number(process.hrtime.bigint() - Atomics.load(given, 0));
    pool.release(lease);
    Atomics.store(words, ROUNDS, i + 1);
  }
}

async function giveAll(delayUs: number): Promise<void> {
  const samples = Math.floor(effortFromEnvironment().samples / 100) + 1;
  const pool = SharedPool.create({ size: 64, count: 1 });
  const shared: Shared = {
    handle: pool.handle,
    control: new SharedArrayBuffer(256),
    clock: new SharedArrayBuffer(8 + 8 * samples),
    samples,
  };
  const words = new Int32Array(shared.control);
  const given = new BigInt64Array(shared.clock, 0, 1);
  let id = pool.tryAcquireId();
  const worker = new Worker(new URL(import.meta.url), { workerData: shared });
  await new Promise((resolve) => worker.once("online", resolve));
  const window = openWindow();
  for (let i = 0; i < samples; i++) {
    Atomics.store(words, TURN, i + 1);
    while (Atomics.exchange(words, WAITING, 0) === 0);
    const end = process.hrtime.bigint() + BigInt(delayUs * 1000);
    while (process.hrtime.bigint() < end);
    Atomics.store(given, 0, process.hrtime.bigint());
    pool.releaseId(id);
    while (Atomics.load(words, ROUNDS) <= i);
    id = pool.acquireSync().id;
  }
  const counted = await window.close();
  // The first ones are the compiler's.
  const latencies = new Float64Array(shared.clock, 8, samples).slice(Math.floor(samples / 10));
  emit({
    ns: percentile(latencies, 0.5),
    p999: percentile(latencies, 0.999),
    ops: samples,
    ...counted,
    library: "millpond",
  });
  await worker.terminate();
}

if (!isMainThread) takeAll(workerData as Shared);
else {
  const delay = Number(process.argv[2]);
  if (!(delay > 0)) throw new Error("after how many microseconds?");
  await giveAll(delay);
}
