/**
 * Two threads side by side, measured as bench.h measures its threads: repetitions 20 times longer, to make little of
 * starting them; the median counts; no single operation is timed. The second thread runs the same file again.
 */
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { effortFromEnvironment, type Figures } from "./protocol.ts";
import { median } from "./statistics.ts";
import { emit, openWindow } from "./subject.ts";

/** What one thread does, n times. */
export type Loop = (n: number) => void;

interface Link {
  readonly control: SharedArrayBuffer;
  readonly data: unknown;
}

/** Words: the round that is to run, how many operations, the round that is done. */
const GO = 0;
const COUNT = 16;
const DONE = 32;

/** True in the second thread. */
export const isSecond: boolean = !isMainThread;

/** In the second thread: what the first one passed. */
export function dataOfFirst<T>(): T {
  return (workerData as Link).data as T;
}

/** In the second thread: runs the rounds until the process ends. */
export function serve(loop: Loop): void {
  const control = new Int32Array((workerData as Link).control);
  for (let round = 1; ; round++) {
    while (Atomics.load(control, GO) < round) Atomics.wait(control, GO, round - 1);
    loop(Atomics.load(control, COUNT));
    Atomics.store(control, DONE, round);
    Atomics.notify(control, DONE);
  }
}

/**
 * In the first thread: starts the second, runs rounds of `loop` in both, and prints the figures per operation of both
 * together.
 */
export async function measureTwo(
  file: string,
  data: unknown,
  loop: Loop,
  library: string,
  share: "each does half" | "one operation needs both" = "each does half",
): Promise<void> {
  const effort = effortFromEnvironment();
  const control = new Int32Array(new SharedArrayBuffer(256));
  const worker = new Worker(new URL(file), { workerData: { control: control.buffer, data } satisfies Link });
  await new Promise((resolve) => worker.once("online", resolve));
  let round = 0;
  const run = (n: number): number => {
    const each = share === "each does half" ? Math.ceil(n / 2) : n;
    const started = performance.now();
    Atomics.store(control, COUNT, each);
    Atomics.store(control, GO, ++round);
    Atomics.notify(control, GO);
    loop(each);
    while (Atomics.load(control, DONE) < round) Atomics.wait(control, DONE, round - 1);
    return (performance.now() - started) * 1e6;
  };
  // The worker's start, and the compiler's work in both.
  const end = performance.now() + effort.warmUpNs / 1e6 + 200;
  let n = 256;
  let elapsed = 0;
  do {
    elapsed = run(n);
    if (elapsed < effort.repetitionNs * 20) n *= 2;
  } while (performance.now() < end);
  n = Math.max(1, Math.round((n * effort.repetitionNs * 20) / elapsed));
  const window = openWindow();
  const times: number[] = [];
  for (let i = 0; i < effort.repetitions; i++) times.push(run(n) / n);
  const counted = await window.close();
  const figures: Figures = { ns: median(times), p999: null, ops: n * effort.repetitions, ...counted, library };
  emit({ ...figures, extra: { fastest: Math.min(...times) } });
  await worker.terminate();
}
