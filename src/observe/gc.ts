/** Pauses of the garbage collector, where the platform tells of them (Node, and what has its entry type). */

/** V8's kinds of collection. */
const KINDS: Readonly<Record<number, string>> = {
  1: "minor GC",
  2: "minor mark-sweep GC",
  4: "major GC",
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

/**
 * Tells of each pause from now on: its kind, when it began as `performance.now()` counts, and its milliseconds. A pause
 * is told of in a later turn of the event loop. Returns what ends it, after telling of what has been delivered.
 */
export function watchGc(onPause: (kind: string, start: number, duration: number) => void): () => void {
  const { PerformanceObserver } = globalThis as { PerformanceObserver?: ObserverClass };
  if (PerformanceObserver?.supportedEntryTypes?.includes("gc") !== true) return () => {};
  const hear = (entries: readonly GcEntry[]): void => {
    for (const { startTime, duration, detail } of entries) {
      onPause(KINDS[Number(detail?.kind)] ?? "GC", startTime, duration);
    }
  };
  try {
    const observer = new PerformanceObserver((list) => hear(list.getEntries()));
    observer.observe({ entryTypes: ["gc"] });
    return () => {
      hear(observer.takeRecords?.() ?? []);
      observer.disconnect();
    };
  } catch {
    // A platform that lists the type and refuses it.
    return () => {};
  }
}
