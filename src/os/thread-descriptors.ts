/**
 * Descriptors of a worker thread that were made by native calls. When a worker ends, Node closes what it has opened by
 * `fs`, also where it was terminated and none of its code runs any more; of what came by other calls it knows nothing,
 * and that would stay open until the process ends. So each gets a number that `fs` has opened, and is closed by `fs`.
 * So is one that the program opened and gave away: Node would close its number at the worker's end, when it may be the
 * number of a file of another thread. In a main thread, where the process ends with it, and in other runtimes, which
 * close nothing there, nothing is done.
 */
import { closeSync, openSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
import type { KoffiLibrary } from "./koffi.ts";
import type { PosixMemory } from "./posix.ts";
import { done, made, type Outcome, type Result, systemFailure } from "./result.ts";

const O_CLOEXEC = 0o2000000;

const closesByItself = !isMainThread && process.versions.bun === undefined && !("Deno" in globalThis);

/** Those of this thread. Linux. */
export class ThreadDescriptors {
  /** The numbers that `fs` has opened; one that somebody else has closed may be another file's by now. */
  readonly #numbers: Set<number> = new Set();
  /** The numbers that the program gave: `fs` has opened them, in this thread or another, or nobody knows who. */
  readonly #given: Set<number> = new Set();
  readonly #moveTo: (descriptor: number, number: number) => boolean;
  readonly #close: (descriptor: number) => Result;

  /** Throws what koffi throws when libc lacks a call. */
  constructor(libc: KoffiLibrary, memory: PosixMemory) {
    const dup3 = libc.func("dup3", "int", ["int", "int", "int"]);
    const close = libc.func("close", "int", ["int"]);
    this.#moveTo = (descriptor, number) => Number(dup3(descriptor, number, O_CLOEXEC)) >= 0;
    this.#close = (descriptor) =>
      Number(close(descriptor)) === 0 ? done(0) : memory.failed("close", `descriptor ${descriptor}`);
  }

  /**
   * The same file under a number that ends with this thread; the number itself where the thread may not have one. Where
   * no further number is left the file is closed, and the answer is `limit`.
   */
  own(descriptor: number): Outcome<number> {
    // It was made just now, so nobody else has that number.
    this.#numbers.delete(descriptor);
    this.#given.delete(descriptor);
    if (!closesByItself) return made(descriptor);
    let number: number;
    try {
      number = openSync("/dev/null", "r");
    } catch (error) {
      const code = String((error as { code?: unknown }).code);
      if (code !== "EMFILE" && code !== "ENFILE") return made(descriptor);
      this.#close(descriptor);
      return systemFailure("open", code, "a worker needs a second descriptor while one is made (see ulimit -n)");
    }
    if (!this.#moveTo(descriptor, number)) {
      closeSync(number);
      return made(descriptor);
    }
    this.#close(descriptor);
    this.#given.delete(number);
    this.#numbers.add(number);
    return made(number);
  }

  /** One that the program opened, and that {@link close} is to close. */
  takeOver(descriptor: number): void {
    if (closesByItself && !this.#numbers.has(descriptor)) this.#given.add(descriptor);
  }

  /** Closes one, also one that another thread or process made. */
  close(descriptor: number): Result {
    const isGiven = this.#given.delete(descriptor);
    if (!this.#numbers.delete(descriptor) && !isGiven) return this.#close(descriptor);
    // Node warns where a worker closes what this thread's `fs` did not open, which for a given one is no mistake.
    const { emitWarning } = process;
    if (isGiven) process.emitWarning = () => {};
    try {
      closeSync(descriptor);
      return done(0);
    } catch (error) {
      return systemFailure("close", String((error as { code?: unknown }).code), `descriptor ${descriptor}`);
    } finally {
      if (isGiven) process.emitWarning = emitWarning;
    }
  }
}
