/**
 * A vitest reporter that ends a run with one plain line, `412 passed, 0 failed, 3 skipped`, and names each skipped test
 * with its reason. In the fast lane (test/helpers/effort.ts) the line goes on with what was not done at full length: `;
 * 40 ran short, 20 left out: npm run test:all`.
 *
 * With MILLPOND_CLOSING_LINE set, the line is also written to that file, so that a script may print it after whatever
 * else it still has to do. The run of the rest (`--mode rest`) finds the fast lane's line there and adds itself to it:
 * the tests that ran short count once. What failed, and why, is added to a file beside it whose name ends in
 * `.failures`: a log that is cut to its end still says it.
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import type { Reporter, TestModule, Vitest } from "vitest/node";

export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
  /** Those of the passed that repeat themselves, and ran short. */
  short: number;
  /** Those that run at full length only, and did not run. */
  left: number;
}

/** Which tests run: the fast lane, the rest of it, or all at full length. */
export type Lane = "fast" | "rest" | "all";

/**
 * Counts tests; a file that could not be loaded, and an error outside every test, count as one failure each. Tests that
 * belong to another lane are not skipped: they are counted there.
 */
export function tally(modules: readonly TestModule[], unhandledErrors: number, lane: Lane = "all"): Tally {
  const counts: Tally = { passed: 0, failed: unhandledErrors, skipped: 0, short: 0, left: 0 };
  for (const module of modules) {
    let failedHere = 0;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      const isRepeated = test.tags.includes("repeated");
      if (state === "passed") {
        counts.passed++;
        if (lane === "fast" && isRepeated) counts.short++;
      } else if (state === "failed") failedHere++;
      else if (isFull(test) && lane === "fast") counts.left++;
      // A run that was interrupted leaves tests pending: not run is not passed.
      // The fast lane has said what else it skipped.
      else if (lane !== "rest" || isFull(test)) counts.skipped++;
    }
    // A broken import or a failed hook leaves no failed test behind, only a failed file.
    counts.failed += module.state() === "failed" && failedHere === 0 ? 1 : failedHere;
  }
  return counts;
}

const isFull = (test: { readonly tags: readonly string[] }): boolean => test.tags.includes("full");

export function closingLine({ passed, failed, skipped, short, left }: Tally): string {
  const line = `${passed} passed, ${failed} failed, ${skipped} skipped`;
  return short + left === 0 ? line : `${line}; ${short} ran short, ${left} left out: npm run test:all`;
}

/** The tally of a line that {@link closingLine} wrote; undefined when it is none. */
export function readLine(line: string): Tally | undefined {
  const parts = /^(\d+) passed, (\d+) failed, (\d+) skipped(?:; (\d+) ran short, (\d+) left out: .*)?\n?$/.exec(line);
  if (parts === null) return undefined;
  const [passed, failed, skipped, short, left] = parts.slice(1).map((text) => Number(text ?? 0)) as [
    number,
    number,
    number,
    number,
    number,
  ];
  return { passed, failed, skipped, short, left };
}

/**
 * The fast lane and the rest of it together: what ran short has now run at full length, and what was left out has run.
 */
export function together(fast: Tally, rest: Tally): Tally {
  return {
    passed: fast.passed - fast.short + rest.passed,
    failed: fast.failed + rest.failed,
    skipped: fast.skipped + rest.skipped,
    short: 0,
    left: 0,
  };
}

/** A line for each failure that {@link tally} counts, with its error. */
export function failureLines(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): string[] {
  const lines: string[] = [];
  for (const module of modules) {
    const failed = [...module.children.allTests("failed")];
    for (const test of failed) {
      lines.push(`failed: ${module.relativeModuleId} > ${test.fullName}: ${messagesOf(test.result().errors ?? [])}`);
    }
    if (failed.length > 0 || module.state() !== "failed") continue;
    const suites = [...module.children.allSuites()].flatMap((suite) => suite.errors());
    lines.push(`failed: ${module.relativeModuleId}: ${messagesOf([...module.errors(), ...suites])}`);
  }
  if (unhandledErrors.length > 0) lines.push(`failed outside every test: ${messagesOf(unhandledErrors)}`);
  return lines;
}

/** What a log's reader needs of errors to know which assertion it was: message and place, not a whole difference. */
function messagesOf(errors: readonly unknown[]): string {
  const texts = errors.map((error) => {
    if (typeof error !== "object" || error === null) return String(error);
    const { message, stack } = error as Partial<Error>;
    const place = /\(?([^\s()]*\.test\.[^\s()]*:\d+):\d+\)?/.exec(stack ?? "")?.[1];
    const text = String(message).slice(0, MAX_MESSAGE);
    return place === undefined ? text : `${text} (${place})`;
  });
  return texts.join("; ");
}

const MAX_MESSAGE = 600;

// biome-ignore lint/style/noDefaultExport: vitest loads a reporter named in its configuration by its default export
export default class ClosingLine implements Reporter {
  #lane: Lane = "all";
  /** With `-t NAME` most tests are skipped because that was asked for. */
  #hasPattern = false;

  onInit({ config, vite }: Vitest): void {
    const env: Readonly<Record<string, unknown>> | undefined = config.env;
    this.#hasPattern = config.testNamePattern !== undefined;
    if (vite.config.mode === "rest") this.#lane = "rest";
    else if (env?.MILLPOND_TESTS === "fast") this.#lane = "fast";
  }

  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state !== "skipped" || this.#isOfAnotherLane(test)) continue;
        if (this.#hasPattern && result.note === undefined) continue;
        console.log(`skipped: ${test.fullName}: ${result.note ?? "no reason given"}`);
      }
    }
    let counts = tally(modules, unhandledErrors.length, this.#lane);
    const file = process.env.MILLPOND_CLOSING_LINE;
    if (file === undefined || file === "") {
      console.log(closingLine(counts));
      return;
    }
    const before = this.#lane === "rest" && existsSync(file) ? readLine(readFileSync(file, "utf8")) : undefined;
    if (before !== undefined) counts = together(before, counts);
    console.log(closingLine(counts));
    writeFileSync(file, `${closingLine(counts)}\n`);
    const failures = failureLines(modules, unhandledErrors);
    if (failures.length > 0) appendFileSync(`${file}.failures`, `${failures.join("\n")}\n`);
  }

  #isOfAnotherLane(test: { readonly tags: readonly string[] }): boolean {
    if (this.#lane === "fast") return isFull(test);
    return this.#lane === "rest" && !isFull(test);
  }
}
