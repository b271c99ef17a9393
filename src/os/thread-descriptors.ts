/**
 * Descriptors of a worker thread that were made by native calls. When a worker ends, Node closes what it has opened by
 * `fs`, also where it was terminated and none of its code runs any more; of what came by other calls it knows nothing,
 * and that would stay open until the process ends. So each gets a number that `fs` has opened, and is closed by `fs`.
 * In a main thread, where the process ends with it, and in other runtimes, which close nothing there, nothing is done.
 */
import { closeSync, openSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
import type { KoffiLibrary } from "./koffi.ts";
import type { PosixMemory } from "./posix.ts";
import { done, type Result, systemFailure } from "./result.ts";

const O_CLOEXEC = 0o2000000;

const closesByItself = !isMainThread && process.versions.bun === undefined && !("Deno" in globalThis);

/** Those of this thread. Linux. */
export class ThreadDescriptors {
  /** The numbers that `fs` has opened; one that somebody else has closed may be another file's by now. */
  readonly #numbers: Set<number> = new Set();
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

  /** The same file under a number that ends with this thread; the number itself where that cannot be had. */
  own(descriptor: number): number {
    // It was made just now, so nobody else has that number.
    this.#numbers.delete(descriptor);
    if (!closesByItself) return descriptor;
    let number: number;
    try {
      number = openSync("/dev/null", "r");
    } catch {
      return descriptor;
    }
    if (!this.#moveTo(descriptor, number)) {
      closeSync(number);
      return descriptor;
    }
    this.#close(descriptor);
    this.#numbers.add(number);
    return number;
  }

  /** Closes one, whoever made it. */
  close(descriptor: number): Result {
    if (!this.#numbers.delete(descriptor)) return this.#close(descriptor);
    try {
      closeSync(descriptor);
      return done(0);
    } catch (error) {
      return systemFailure("close", String((error as { code?: unknown }).code), `descriptor ${descriptor}`);
    }
  }
}
