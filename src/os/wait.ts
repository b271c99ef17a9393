/**
 * Waiting for a 32-bit word that another process changes. `Atomics.wait` cannot: it wakes within one process. These
 * block the thread, so they are for workers; a main thread lets a worker wait and post it a message.
 */
import { milliseconds, readOptions, wholeNumber, wrongType } from "../util/validate.ts";
import { checkOps } from "./load.ts";
import type { NativeOps, WaitOutcome } from "./native-ops.ts";
import { made, type Outcome } from "./result.ts";

/**
 * 50 ms: a thread inside the wait cannot be terminated or hear of a stop, so it comes up for air this often (measured:
 * a worker ends 30 to 41 ms after terminate() with slices of 50 ms, after seconds without).
 */
const SLICE_MS = 50;

/** How {@link waitForChange} ended. */
type ChangeOutcome = "changed" | "timeout" | "stopped";

/** Bounds of a wait. */
interface ChangeOptions {
  /** Milliseconds; default Infinity. */
  readonly timeout?: number;
  /** A word of a SharedArrayBuffer that ends the wait, within 50 ms, once it is not 0. */
  readonly stop?: { readonly words: Int32Array; readonly index: number };
  /** The operations; default this process's. */
  readonly ops?: NativeOps;
}

/**
 * Blocks until `words[index]` is no longer `expected`, the time is up, or the stop word is set. A peer that dies never
 * wakes anybody: give a timeout and look whether it lives. Answers `unsupported` where there is no futex. Throws
 * `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`.
 */
export function waitForChange(
  words: Int32Array,
  index: number,
  expected: number,
  options: ChangeOptions = {},
): Outcome<ChangeOutcome> {
  checkWord("words", words, "index", index);
  wholeNumber("expected", expected, -(2 ** 31), 2 ** 31 - 1);
  const given = readOptions<ChangeOptions>("options", options, ["timeout", "stop", "ops"]);
  const timeout =
    given.timeout === undefined ? Number.POSITIVE_INFINITY : milliseconds("options.timeout", given.timeout);
  const stop = given.stop === undefined ? undefined : readOptions("options.stop", given.stop, ["words", "index"]);
  if (stop !== undefined) checkWord("options.stop.words", stop.words, "options.stop.index", stop.index);
  const ops = checkOps("options.ops", given.ops);
  const began = performance.now();
  for (;;) {
    if (Atomics.load(words, index) !== expected) return made("changed");
    if (stop !== undefined && Atomics.load(stop.words, stop.index) !== 0) return made("stopped");
    const left = began + timeout - performance.now();
    if (left <= 0) return made("timeout");
    const outcome: Outcome<WaitOutcome> = ops.futex.wait(words, index, expected, Math.min(left, SLICE_MS));
    if (!outcome.ok) return outcome;
  }
}

/**
 * Wakes up to `count` waiters on `words[index]` in every process, after you changed the word. Answers how many there
 * were. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`.
 */
export function wakeWaiters(words: Int32Array, index: number, count = 0x7fffffff, ops?: NativeOps): Outcome<number> {
  checkWord("words", words, "index", index);
  return checkOps("ops", ops).futex.wake(words, index, wholeNumber("count", count, 0, 0x7fffffff));
}

function checkWord(name: string, words: unknown, indexName: string, index: unknown): void {
  if (!(words instanceof Int32Array)) throw wrongType(name, "an Int32Array", words);
  wholeNumber(indexName, index, 0, words.length - 1);
}
