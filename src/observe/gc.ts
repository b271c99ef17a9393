/** Pauses of the garbage collector, where the platform tells of them (Node, and what has its entry type). */

/** A collection of the whole heap. */
export const MAJOR_GC = "major GC";

/** V8's kinds of collection. */
const KINDS: Readonly<Record<number, string>> = {
  1: "minor GC",
  2: "minor mark-sweep GC",
  4: MAJOR_GC,
  8: "incremental marking",
  16: "weak callbacks",
};

interface GcEntry {
  readonly startTime: number;
  readonly duration: number;
  readonly detail?: { readonly kind?: unknown };
}

interface Observer {
  observe(options: { entryTypes: string[] }): void;
  takeRecords?(): GcEntry[];
  disconnect(): void;
}

interface ObserverClass {
  new (hear: (list: { getEntries(): GcEntry[] }) => void): Observer;
  readonly supportedEntryTypes?: readonly string[];
}

/** Pauses that are told of. */
export interface GcWatch {
  /** Tells now of what has been delivered. */
  poll(): void;
  /** The same, for the last time. */
  stop(): void;
}

const NONE: GcWatch = { poll() {}, stop() {} };

/**
 * Tells of each pause from now on: its kind, when it began as `performance.now()` counts, and its milliseconds. The
 * platform delivers a pause in a later turn of the event loop.
 */
export function watchGc(onPause: (kind: string, start: number, duration: number) => void): GcWatch {
  const { PerformanceObserver } = globalThis as { PerformanceObserver?: ObserverClass };
  if (PerformanceObserver?.supportedEntryTypes?.includes("gc") !== true) return NONE;
  const hear = (entries: readonly GcEntry[]): void => {
    for (const { startTime, duration, detail } of entries) {
      onPause(KINDS[Number(detail?.kind)] ?? "GC", startTime, duration);
    }
  };
  try {
    const observer = new PerformanceObserver((list) => hear(list.getEntries()));
    observer.observe({ entryTypes: ["gc"] });
    const poll = (): void => hear(observer.takeRecords?.() ?? []);
    return {
      poll,
      stop() {
        poll();
        observer.disconnect();
      },
    };
  } catch {
    // A platform that lists the type and refuses it.
    return NONE;
  }
}
