/**
 * A vitest reporter for CI: ends a run with one plain line, `412 passed, 0 failed, 3 skipped`, and names each skipped
 * test with its reason. With MILLPOND_CLOSING_LINE set, the line is also written to that file, so that a script may
 * print it after whatever else it still has to do.
 */
import { writeFileSync } from "node:fs";
import type { Reporter, TestModule } from "vitest/node";

export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

/** Counts tests; a file that could not be loaded, and an error outside every test, count as one failure each. */
export function tally(modules: readonly TestModule[], unhandledErrors: number): Tally {
  const counts: Tally = { passed: 0, failed: unhandledErrors, skipped: 0 };
  for (const module of modules) {
    let failedHere = 0;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === "passed") counts.passed++;
      else if (state === "failed") failedHere++;
      // A run that was interrupted leaves tests pending: not run is not passed.
      else counts.skipped++;
    }
    // A broken import or a failed hook leaves no failed test behind, only a failed file.
    counts.failed += module.state() === "failed" && failedHere === 0 ? 1 : failedHere;
  }
  return counts;
}

export function closingLine(counts: Tally): string {
  return `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`;
}

// biome-ignore lint/style/noDefaultExport: vitest loads a reporter named in its configuration by its default export
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state !== "skipped") continue;
        console.log(`skipped: ${test.fullName}: ${result.note ?? "no reason given"}`);
      }
    }
    const line = closingLine(tally(modules, unhandledErrors.length));
    console.log(line);
    const file = process.env.MILLPOND_CLOSING_LINE;
    if (file !== undefined && file !== "") writeFileSync(file, `${line}\n`);
  }
}
