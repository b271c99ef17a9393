import type { SubjectResult, SuiteResult } from "./run-suite.ts";
import type { Goal, Metric } from "./suite.ts";

/** What became of a goal. `open` means that a subject is missing here; the reason says which and why. */
export interface Verdict {
  readonly what: string;
  readonly state: "met" | "missed" | "open";
  /** The ratio found, or the figure itself for a bound. */
  readonly found: number | null;
  readonly limit: number;
  readonly reason: string;
}

/** Judges each goal by this run's figures, and by nothing else. */
export function judge(goals: readonly Goal[], run: Pick<SuiteResult, "results" | "skipped">): Verdict[] {
  return goals.map((goal) => {
    const limit = "maxRatio" in goal ? goal.maxRatio : goal.atMost;
    const metric = goal.metric ?? "ns";
    const names = "maxRatio" in goal ? [goal.subject, goal.against] : [goal.subject];
    const figures: number[] = [];
    for (const name of names) {
      const figure = figureOf(run.results, name, metric);
      if (figure === undefined) {
        const skip = run.skipped.find((entry) => entry.name === name);
        const reason = skip === undefined ? `${name} has no ${metric}` : `${name}: ${skip.why}`;
        return { what: goal.what, state: "open", found: null, limit, reason };
      }
      figures.push(figure);
    }
    const [own = Number.NaN, other = 1] = figures;
    const found = own / other;
    return { what: goal.what, state: found <= limit ? "met" : "missed", found, limit, reason: names.join(" / ") };
  });
}

function figureOf(results: readonly SubjectResult[], name: string, metric: Metric): number | undefined {
  return results.find((result) => result.name === name)?.[metric] ?? undefined;
}
