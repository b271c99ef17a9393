/** For subjects whose operation is a step of something that runs in its own time, such as a frame of a pipeline. */
import { effortFromEnvironment } from "./protocol.ts";
import { median } from "./statistics.ts";
import { emit, openWindow } from "./subject.ts";

/**
 * As for threads in bench.h: 20 times the repetition, to make little of starting; the median counts; no single one is
 * timed.
 */
export async function measureRuns(run: (n: number) => Promise<void>, library: string): Promise<void> {
  const effort = effortFromEnvironment();
  const target = effort.repetitionNs * 20;
  const end = performance.now() + effort.warmUpNs / 1e6;
  let n = 16;
  let perOperation = Number.POSITIVE_INFINITY;
  do {
    const started = performance.now();
    await run(n);
    const elapsed = (performance.now() - started) * 1e6;
    perOperation = Math.max(elapsed / n, 0.01);
    if (elapsed < target) n *= 2;
  } while (performance.now() < end);
  const count = Math.max(1, Math.round(target / perOperation));
  const window = openWindow();
  const times: number[] = [];
  for (let i = 0; i < effort.repetitions; i++) {
    const started = performance.now();
    await run(count);
    times.push(((performance.now() - started) * 1e6) / count);
  }
  const counted = await window.close();
  emit({ ns: median(times), p999: null, ops: count * times.length, ...counted, library });
}
