/**
 * Real workers on one pool, some of them killed in the middle of anything: no slot is ever with two of them, and none
 * is lost. The seed decides the sizes, what each worker does and when one is killed; the timing is the machine's.
 */
import { Worker } from "node:worker_threads";
import type { SharedHandle } from "../../../src/pools/shared/attach.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";

/** What a worker gets. */
export interface StressJob {
  readonly handle: SharedHandle;
  readonly ledger: SharedArrayBuffer;
  /** Of this worker alone, also after its death. */
  readonly uid: number;
  readonly seed: number;
  /** Slots that it holds at most. */
  readonly most: number;
}

/** Words of the ledger, which is outside of the pool and knows who has each slot. */
export const LEDGER = { STOP: 0, OPERATIONS: 1, VIOLATIONS: 2, SLOTS: 16 } as const;

/** How hard. */
export interface StressOptions {
  readonly seed: number;
  /** Operations, in all workers together. */
  readonly operations: number;
  readonly workers: number;
  readonly count: number;
  /** Milliseconds between two kills; 0: none. */
  readonly killEvery: number;
}

/** What came of it. */
export interface StressResult {
  readonly operations: number;
  readonly kills: number;
  readonly violations: number;
  /** Slots that nobody could take in the end. */
  readonly lost: number;
  readonly seconds: number;
}

/** Runs it to the end. Throws what a worker throws. */
export async function stress(options: StressOptions): Promise<StressResult> {
  const { seed, operations, workers, count, killEvery } = options;
  const started = performance.now();
  const pool = SharedPool.create({ size: 8, count, members: Math.min(20, workers + 2), name: "stress" });
  const ledger = new SharedArrayBuffer(4 * (LEDGER.SLOTS + count));
  const words = new Int32Array(ledger);
  let random = seed | 1;
  const next = (limit: number): number => {
    random ^= random << 13;
    random ^= random >>> 17;
    random ^= random << 5;
    return (random >>> 0) % limit;
  };
  let uid = 0;
  let kills = 0;
  let failure: unknown;
  const running = new Set<{ worker: Worker; gone: Promise<void> }>();
  const spawn = (): void => {
    const own = ++uid;
    const handle = pool.reserve();
    // More than there are, so that the pool runs empty.
    const most = Math.max(1, Math.ceil((1.5 * count) / workers));
    const job: StressJob = { handle, ledger, uid: own, seed: next(2 ** 31), most };
    const worker = new Worker(new URL("./stress.worker.ts", import.meta.url), { workerData: job, execArgv: [] });
    worker.on("error", (error) => {
      failure ??= error;
    });
    const member = {
      worker,
      gone: new Promise<void>((resolve) => {
        worker.once("exit", () => {
          // The dead one's entries first: from the moment it is reclaimed, its slots are others'.
          for (let i = 0; i < count; i++) Atomics.compareExchange(words, LEDGER.SLOTS + i, own, 0);
          pool.reclaim(handle);
          running.delete(member);
          resolve();
        });
      }),
    };
    running.add(member);
  };
  for (let i = 0; i < workers; i++) spawn();
  const least = killEvery > 0 ? 3 : 0;
  const isDone = (): boolean => failure !== undefined || (words[LEDGER.OPERATIONS]! >= operations && kills >= least);
  while (!isDone()) {
    await new Promise((resolve) => setTimeout(resolve, killEvery > 0 ? 1 + next(2 * killEvery) : 20));
    if (killEvery === 0 || isDone()) continue;
    const victim = [...running][next(running.size)]!;
    await Promise.all([victim.worker.terminate(), victim.gone]);
    kills++;
    spawn();
  }
  Atomics.store(words, LEDGER.STOP, 1);
  await Promise.all([...running].map((member) => member.gone));
  if (failure !== undefined) throw failure;
  pool.validate();
  let found = 0;
  while (pool.tryAcquireId() >= 0) found++;
  return {
    operations: words[LEDGER.OPERATIONS]!,
    kills,
    violations: words[LEDGER.VIOLATIONS]!,
    lost: count - found,
    seconds: (performance.now() - started) / 1000,
  };
}
