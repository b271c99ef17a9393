/**
 * What the harness and its subjects agree on: the effort, handed down in environment variables so that C and JS read
 * the same numbers, and the one JSON line that a subject prints.
 */

/** How much a subject measures. */
export interface Effort {
  /** Repetitions whose 20th percentile is the figure. */
  readonly repetitions: number;
  /** Length of one repetition in ns. */
  readonly repetitionNs: number;
  /** Warm-up in ns: long enough for the optimizing compiler, whose work would else be measured. */
  readonly warmUpNs: number;
  /** Single operations timed for the p99.9, as many as fit into sampleNs. */
  readonly samples: number;
  readonly sampleNs: number;
}

/**
 * 1.2 ms is below a scheduler slice, so most repetitions run undisturbed; the 20th percentile of 41 picks among those.
 */
export const FULL: Effort = {
  repetitions: 41,
  repetitionNs: 1_200_000,
  warmUpNs: 150_000_000,
  samples: 200_000,
  sampleNs: 1_000_000_000,
};

/** Enough to see that a subject runs; not enough to quote. */
export const QUICK: Effort = {
  repetitions: 9,
  repetitionNs: 300_000,
  warmUpNs: 20_000_000,
  samples: 5_000,
  sampleNs: 100_000_000,
};

const VARIABLES: Readonly<Record<keyof Effort, string>> = {
  repetitions: "BENCH_REPETITIONS",
  repetitionNs: "BENCH_REPETITION_NS",
  warmUpNs: "BENCH_WARM_UP_NS",
  samples: "BENCH_SAMPLES",
  sampleNs: "BENCH_SAMPLE_NS",
};

export function effortToEnvironment(effort: Effort): Record<string, string> {
  const entries = Object.entries(VARIABLES) as [keyof Effort, string][];
  return Object.fromEntries(entries.map(([key, name]) => [name, String(effort[key])]));
}

/** The effort that the harness asked for; the full one for a subject that is run by hand. */
export function effortFromEnvironment(): Effort {
  const read = (key: keyof Effort): number => Number(process.env[VARIABLES[key]] ?? FULL[key]);
  return {
    repetitions: read("repetitions"),
    repetitionNs: read("repetitionNs"),
    warmUpNs: read("warmUpNs"),
    samples: read("samples"),
    sampleNs: read("sampleNs"),
  };
}

/** What one process of one subject found. */
export interface Figures {
  /** Time per operation in ns. */
  readonly ns: number;
  /**
   * p99.9 of single operations in ns, the timer's own cost included; null where one operation cannot be timed alone.
   */
  readonly p999: number | null;
  /** Operations in the measured window, which the counts below are over. */
  readonly ops: number;
  /** Collections of any kind, and the mark-sweep ones among them; null for C. */
  readonly gc: number | null;
  readonly gcMajor: number | null;
  readonly faultsMinor: number;
  readonly faultsMajor: number;
  /** Peak resident set of the whole process in bytes. */
  readonly rss: number;
  /** Processor time over wall time: near 2 when two threads really ran side by side. */
  readonly cores?: number;
  /** What was measured, with its version: `mimalloc 2.0.9`. */
  readonly library?: string;
  /** Further figures of this subject, for the JSON only. */
  readonly extra?: Readonly<Record<string, number | string>>;
}

/** Parses the last line of a subject's output. Throws an Error that says what is wrong with it. */
export function parseFigures(output: string): Figures {
  const line = output.trim().split("\n").at(-1) ?? "";
  let value: Partial<Figures>;
  try {
    value = JSON.parse(line) as Partial<Figures>;
  } catch {
    throw new Error(`its last line is no JSON: ${line.slice(0, 200)}`);
  }
  for (const key of ["ns", "ops", "faultsMinor", "faultsMajor", "rss"] as const) {
    if (typeof value[key] !== "number" || !Number.isFinite(value[key]) || value[key] < 0) {
      throw new Error(`"${key}" is ${JSON.stringify(value[key])}, not a number`);
    }
  }
  // A compiler that removed the work would leave a pool that costs nothing.
  if (value.ns === 0) throw new Error("it measured 0 ns: the work was optimized away");
  return { p999: null, gc: null, gcMajor: null, ...value } as Figures;
}
