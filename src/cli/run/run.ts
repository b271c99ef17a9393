/** `millpond run`: plays the input, reports, compares if asked, and ends with a code that means something. */
import type { RunOptions } from "../args.ts";
import { END_SIGNALS, type EndSignal, ExitCode, Failure, Interruption } from "../exit.ts";
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
    const summary = await play(options, stop.signal, progress);
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

/** A file's name may hold what a terminal takes for commands; each such character becomes one that shows. Line feeds stay. */
function printableText(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are meant
  return text.replaceAll(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, "\ufffd");
}

/** Writes a message for people to standard error, wrapped to its width; an excerpt below it stays as it is. */
export function complain(message: string, excerpt?: string): void {
  const paint = paintFor(process.stderr);
  const width = Math.min(process.stderr.columns || 100, 100);
  const text = wrap(`millpond: ${printableText(message)}`, width, "  ");
  process.stderr.write(`${text.replace("millpond:", paint.bad("millpond:"))}\n`);
  if (excerpt !== undefined)
    process.stderr.write(`${printableText(excerpt).replace(/\^+$/, (marks) => paint.bad(marks))}\n`);
}

/** Writes to a stream, and waits until it is there. Throws {@link Failure} when it cannot be written. */
export function print(text: string, stream: NodeJS.WriteStream = process.stdout): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException): void => {
      const why =
        error.code === "ENOSPC" ? "the disk is full" : error.code === "EPIPE" ? "its reader has gone" : error.message;
      reject(
        new Failure(`standard output could not be written: ${why} (${error.code})`, ExitCode.FAILED, { cause: error }),
      );
    };
    // An error arrives as an event too, which without a listener would end the process with a stack.
    stream.once("error", fail);
    stream.write(text, (error) => {
      if (error) return fail(error);
      stream.removeListener("error", fail);
      resolve();
    });
  });
}

// A decoder or a disk that does not answer must not keep what was told to end.
const END_GRACE_MS = 5_000;

/**
 * The first signal ends the run in order; when that takes too long, or another signal comes, it ends at once. Returns what
 * forgets about signals.
 */
export function listenForSignals(stop: AbortController): () => void {
  let grace: NodeJS.Timeout | undefined;
  const endNow = (interruption: Interruption): void => {
    // Files that are not whole, and folders made for them, are removed by listeners to the process's exit.
    process.exit(interruption.exitCode);
  };
  const on = (signal: EndSignal): void => {
    const interruption = new Interruption(signal);
    if (grace !== undefined) {
      complain(`${interruption.message} a second time; nothing was written`);
      endNow(interruption);
      return;
    }
    grace = setTimeout(() => {
      complain(`${interruption.message}; a stage did not end in time, and nothing was written`);
      endNow(interruption);
    }, END_GRACE_MS);
    stop.abort(interruption);
  };
  for (const signal of END_SIGNALS) process.on(signal, on);
  return () => {
    clearTimeout(grace);
    for (const signal of END_SIGNALS) process.removeListener(signal, on);
  };
}
