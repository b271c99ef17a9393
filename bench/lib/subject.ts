/**
 * For subjects in TypeScript: measures an operation as the C side does (bench/native/bench.h) and prints the JSON line.
 * One subject per process: a call site that saw a second class is slower for good, and would blame the second.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { constants, PerformanceObserver } from "node:perf_hooks";
import { type Effort, effortFromEnvironment, type Figures } from "./protocol.ts";
import { median, percentile } from "./statistics.ts";

/** The operation under measurement. */
export interface Operation {
  /**
   * Does the operation n times. Write the loop in the subject's own file, so that the compiler may inline the operation
   * as it would in a user's loop.
   */
  loop(n: number): void;
  /**
   * True when an operation leaves garbage: then the mean over a long stretch counts, so that the GC it causes is paid.
   */
  readonly garbage?: boolean;
  /** Name and version of what is measured. */
  readonly library?: string;
}

/** Counts collections, page faults and processor time from its opening to its closing. */
export interface Window {
  close(): Promise<Pick<Figures, "gc" | "gcMajor" | "faultsMinor" | "faultsMajor" | "rss" | "cores">>;
}

/** A place that results are left in, so that no compiler may prove the work useless. */
export const sink: { value: unknown } = { value: undefined };

/** Opens the window over which GCs and faults are counted. */
export function openWindow(): Window {
  let gc = 0;
  let gcMajor = 0;
  const started = performance.now();
  const count = (entries: readonly { startTime: number; detail?: unknown }[]): void => {
    for (const { startTime, detail } of entries) {
      if (startTime < started) continue;
      gc++;
      if ((detail as { kind?: number } | undefined)?.kind === constants.NODE_PERFORMANCE_GC_MAJOR) gcMajor++;
    }
  };
  const observer = new PerformanceObserver((list) => count(list.getEntries()));
  observer.observe({ entryTypes: ["gc"] });
  const before = process.resourceUsage();
  return {
    async close() {
      const after = process.resourceUsage();
      const cpuMs = (after.userCPUTime + after.systemCPUTime - before.userCPUTime - before.systemCPUTime) / 1000;
      const cores = cpuMs / (performance.now() - started);
      // Entries arrive through the event loop, which the measured loop did not let turn.
      for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
      count(observer.takeRecords());
      observer.disconnect();
      return {
        gc,
        gcMajor,
        faultsMinor: after.minorPageFault - before.minorPageFault,
        faultsMajor: after.majorPageFault - before.majorPageFault,
        rss: peakRss(after.maxRSS * 1024),
        cores,
      };
    },
  };
}

/** Peak resident bytes. VmHWM is this program's own; maxRSS still remembers the process that started it. */
function peakRss(fallback: number): number {
  try {
    const kib = /^VmHWM:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
    return kib === undefined ? fallback : Number(kib) * 1024;
  } catch {
    return fallback;
  }
}

/** Measures the operation and prints the line that the harness reads. */
export async function measure(operation: Operation): Promise<void> {
  const effort = effortFromEnvironment();
  const perRepetition = calibrate(operation, effort);
  const window = openWindow();
  const timed =
    operation.garbage === true ? timeWithGarbage(operation, effort) : timeClean(operation, effort, perRepetition);
  // Once for nothing: the clock's readings are garbage, and the fresh pages that the first of it lands on would be
  // faults inside the operations (measured: 1 us at the p99.9 of an operation of 6 ns). C's clock leaves none.
  sampleSingles(operation, effort);
  const samples = sampleSingles(operation, effort);
  const counted = await window.close();
  emit({
    ns: timed.ns,
    p999: percentile(samples, 0.999),
    ops: timed.ops + samples.length,
    ...counted,
    ...(operation.library === undefined ? {} : { library: operation.library }),
    extra: { samples: samples.length },
  });
}

/** Prints the figures as the JSON line; for subjects (workers, pipes) that measure in their own way. */
export function emit(figures: Figures): void {
  console.log(JSON.stringify(figures));
}

/** Name and version of an installed package, for the `library` field. */
export function packageVersion(name: string): string {
  // Not every package exports its package.json, so climb to it from the main file.
  let folder = dirname(createRequire(import.meta.url).resolve(name));
  for (;;) {
    try {
      const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as {
        name?: string;
        version?: string;
      };
      if (manifest.name === name) return `${name} ${manifest.version}`;
    } catch {
      // No manifest in this folder.
    }
    if (dirname(folder) === folder) return name;
    folder = dirname(folder);
  }
}

/** Warms the loop up and finds how many operations fill one repetition. */
function calibrate({ loop }: Operation, effort: Effort): number {
  const end = performance.now() + effort.warmUpNs / 1e6;
  let n = 1;
  let perOperation = Number.POSITIVE_INFINITY;
  do {
    const started = performance.now();
    loop(n);
    const elapsed = (performance.now() - started) * 1e6;
    perOperation = Math.max(elapsed / n, 0.01);
    if (elapsed < effort.repetitionNs) n *= 2;
  } while (performance.now() < end);
  return Math.max(1, Math.round(effort.repetitionNs / perOperation));
}

function timeClean({ loop }: Operation, effort: Effort, n: number): { ns: number; ops: number } {
  const times = new Float64Array(effort.repetitions);
  for (let i = 0; i < times.length; i++) {
    const started = performance.now();
    loop(n);
    times[i] = ((performance.now() - started) * 1e6) / n;
  }
  return { ns: percentile(times, 0.2), ops: n * times.length };
}

/** A hundred repetitions make a stretch (120 ms at full effort): long enough to hold several collections. */
function timeWithGarbage({ loop }: Operation, effort: Effort): { ns: number; ops: number } {
  const means: number[] = [];
  let ops = 0;
  for (let stretch = 0; stretch < 3; stretch++) {
    const started = performance.now();
    let done = 0;
    let elapsed = 0;
    for (let n = 1; elapsed < effort.repetitionNs * 100; n = Math.min(n * 2, 1024)) {
      loop(n);
      done += n;
      elapsed = (performance.now() - started) * 1e6;
    }
    means.push(elapsed / done);
    ops += done;
  }
  return { ns: median(means), ops };
}

function sampleSingles({ loop }: Operation, effort: Effort): Float64Array {
  const times = new Float64Array(effort.samples);
  const end = performance.now() + effort.sampleNs / 1e6;
  let taken = 0;
  while (taken < times.length) {
    const started = performance.now();
    loop(1);
    const now = performance.now();
    times[taken++] = (now - started) * 1e6;
    if (now > end) break;
  }
  return times.subarray(0, taken);
}
