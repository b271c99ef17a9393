/** Where the time and the memory of a run go: stages, allocation times, garbage collections, faults, peak RSS. */
import { setTimeout as sleep } from "node:timers/promises";
import { MAJOR_GC, watchGc } from "../../observe/gc.ts";

/** Garbage collections of one thread. */
export interface GcCount {
  /** All of them. */
  readonly all: number;
  /** The major ones (mark and compact). */
  readonly major: number;
  /** Milliseconds in all of them. */
  readonly ms: number;
}

/** A running count of this thread's garbage collections. */
export interface GcCounter {
  /** What there was so far. */
  readonly count: GcCount;
  /** Ends it, after the pauses that are under way have been told of. */
  stop(): Promise<GcCount>;
}

/** Starts to count the garbage collections of this thread. */
export function countGc(): GcCounter {
  let all = 0;
  let major = 0;
  let ms = 0;
  const watch = watchGc((kind, _start, duration) => {
    // A major collection tells of its incremental steps as well; they are parts of one.
    if (kind !== MAJOR_GC && !kind.startsWith("minor")) return;
    all++;
    if (kind === MAJOR_GC) major++;
    ms += duration;
  });
  return {
    get count() {
      watch.poll();
      return { all, major, ms };
    },
    async stop() {
      // A pause is told of by a task of its own, shortly after it.
      await sleep(5);
      watch.stop();
      return { all, major, ms };
    },
  };
}

/** Sum of several threads' collections. */
export function addGc(counts: readonly GcCount[]): GcCount {
  const sum = { all: 0, major: 0, ms: 0 };
  for (const { all, major, ms } of counts) {
    sum.all += all;
    sum.major += major;
    sum.ms += ms;
  }
  return sum;
}

/** What a {@link Meter} adds up; milliseconds. */
interface StageTimes {
  /** Waiting for the decoder, or for bytes of a stream. */
  decode: number;
  /** Waiting for a buffer to come back: the workers' time. */
  wait: number;
  /** Getting a buffer: from the pool, or newly made. */
  allocate: number;
  /** Copying the frame into it. */
  copy: number;
  /** Telling a worker, and taking back what it returns. */
  handOff: number;
}

/** Times and samples of one run. */
export interface Meter {
  /** Sums of milliseconds. */
  readonly stages: StageTimes;
  /** Microseconds of each allocation that did not have to wait. */
  readonly allocations: number[];
  /** How often no buffer was free. */
  waits: number;
}

/** A meter at zero. */
export function createMeter(): Meter {
  return { stages: { decode: 0, wait: 0, allocate: 0, copy: 0, handOff: 0 }, allocations: [], waits: 0 };
}

/** The value below which the fraction `p` of the values lies, by nearest rank; 0 of nothing. */
export function percentile(values: readonly number[], p: number): number {
  if (values.length === 0) return 0;
  const sorted = values.slice().sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(p * sorted.length) - 1))]!;
}

/** What the whole process took, as the system counts it. */
export interface ProcessUse {
  /** Milliseconds of processor time, of all threads. */
  readonly cpuMs: number;
  /** Page faults that needed no disk: first touches of fresh pages, for the most part. */
  readonly minorFaults: number;
  /** Most bytes resident at one time since the process began. */
  readonly peakRss: number;
}

/** Reads {@link ProcessUse} now; all but the peak counts from the beginning of the process. */
export function processUse(): ProcessUse {
  const use = process.resourceUsage();
  const cpuMs = (use.userCPUTime + use.systemCPUTime) / 1000;
  return { cpuMs, minorFaults: use.minorPageFault, peakRss: use.maxRSS * 1024 };
}
