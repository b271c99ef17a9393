/** `millpond run`: plays the input, reports, compares if asked, and ends with a code that means something. */
import type { RunOptions } from "../args.ts";
import { ExitCode, Failure, Interruption, type InterruptionSignal } from "../exit.ts";
import { paintFor, wrap } from "../terminal.ts";
import { compare, describeComparison } from "./compare.ts";
import { play } from "./play.ts";
import { createProgress } from "./progress.ts";
import { describeRun } from "./report.ts";

/** Runs the command; resolves with the exit code. Throws {@link Failure} for an end that has only a message. */
export async function run(options: RunOptions): Promise<ExitCode> {
  const stop = new AbortController();
  const forget = listenForSignals(stop);
  const progress = createProgress(process.stderr, options.quiet || options.json);
  try {
    const summary = await play(options, stop, progress);
    progress.clear();
    const isForPeople = !options.json && !options.quiet;
    const paint = paintFor(process.stdout);
    if (isForPeople) await print(`${describeRun(summary, paint)}\n`);
    if (summary.missing !== null) complain(`partial result: ${summary.missing}`);
    const comparison = options.compare
      ? await compare(options, summary.measures.frames, stop.signal, progress).catch(interruptedComparison)
      : undefined;
    progress.clear();
    if (isForPeople && comparison !== undefined) await print(`\n${describeComparison(comparison, paint)}\n`);
    if (options.json) {
      await print(`${JSON.stringify(comparison === undefined ? summary : { ...summary, comparison })}\n`);
    }
    return summary.exitCode;
  } finally {
    progress.clear();
    forget();
  }
}

function interruptedComparison(error: unknown): never {
  if (error instanceof Interruption) error.message += " while comparing; the results of the run before it stay";
  throw error;
}

/** Writes a message for people to standard error, wrapped to its width; an excerpt below it stays as it is. */
export function complain(message: string, excerpt?: string): void {
  const paint = paintFor(process.stderr);
  const width = Math.min(process.stderr.columns || 100, 100);
  const text = wrap(`millpond: ${message}`, width, "  ");
  process.stderr.write(`${text.replace("millpond:", paint.bad("millpond:"))}\n`);
  if (excerpt !== undefined) process.stderr.write(`${excerpt.replace(/\^+$/, (marks) => paint.bad(marks))}\n`);
}

/** Writes to standard output, and waits until it is there. Throws {@link Failure} when it cannot be written. */
export function print(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException): void => {
      const why =
        error.code === "ENOSPC" ? "the disk is full" : error.code === "EPIPE" ? "its reader has gone" : error.message;
      reject(
        new Failure(`standard output could not be written: ${why} (${error.code})`, ExitCode.FAILED, { cause: error }),
      );
    };
    // An error arrives as an event too, which without a listener would end the process with a stack.
    process.stdout.once("error", fail);
    process.stdout.write(text, (error) => {
      if (error) return fail(error);
      process.stdout.removeListener("error", fail);
      resolve();
    });
  });
}

// Ctrl-C, a request to end, a terminal that was closed.
const SIGNALS: readonly InterruptionSignal[] = ["SIGINT", "SIGTERM", "SIGHUP"];

/** The first signal ends the run in order; a second one does not wait for that. Returns what forgets about signals. */
export function listenForSignals(stop: AbortController): () => void {
  const on = (signal: InterruptionSignal): void => {
    const interruption = new Interruption(signal);
    if (!stop.signal.aborted) {
      stop.abort(interruption);
      return;
    }
    // Files that are not whole, and folders made for them, are removed by listeners to the process's exit.
    process.exit(interruption.exitCode);
  };
  for (const signal of SIGNALS) process.on(signal, on);
  return () => {
    for (const signal of SIGNALS) process.removeListener(signal, on);
  };
}
