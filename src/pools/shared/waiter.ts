/**
 * How threads sleep and wake on a word of shared memory: by Atomics within a process, by the system's futex between
 * processes. A pool and its rings take either; a program may bring its own, which is checked by shape.
 */
import { MillpondError } from "../../util/errors.ts";
import {
  callback,
  methodsOf,
  milliseconds,
  required,
  wholeNumber,
  withMethods,
  wrongType,
} from "../../util/validate.ts";
import { isShared } from "./layout.ts";

/**
 * How threads sleep and wake on a word of the pool's memory: Atomics within a process. Between processes it must be the
 * system's futex, in slices (at most 50 ms) with a look at a stop word between them, so that a thread can be ended.
 */
export interface SharedWaiter {
  /**
   * Sleeps while the word has that value, for at most `ms`; may wake for no reason. Throws where the thread must not
   * sleep.
   */
  wait(i32: Int32Array, index: number, value: number, ms: number): void;
  /** Wakes at most `count` who sleep on the word. */
  notify(i32: Int32Array, index: number, count: number): void;
  /** As `wait` without blocking the thread; absent where the platform has no such thing: then the pool polls. */
  waitAsync?: ((i32: Int32Array, index: number, value: number, ms: number) => Promise<unknown> | undefined) | undefined;
}

type WaitAsync = (
  i32: Int32Array,
  index: number,
  value: number,
  ms: number,
) => { async: false; value: string } | { async: true; value: Promise<string> };

/** What the pools call, with words of their own: by Atomics, unchecked. */
const ownWaiter: SharedWaiter = {
  wait(i32, index, value, ms) {
    Atomics.wait(i32, index, value, ms);
  },
  notify(i32, index, count) {
    Atomics.notify(i32, index, count);
  },
  waitAsync: makeWaitAsync((Atomics as { waitAsync?: WaitAsync }).waitAsync),
};

const ownWaitAsync = ownWaiter.waitAsync;

/**
 * Sleeping within one process, by Atomics. Each call throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE` for another kind
 * of argument.
 */
export const atomicsWaiter: SharedWaiter = {
  wait(i32, index, value, ms) {
    checkWord(i32, index, value, ms);
    ownWaiter.wait(i32, index, value, ms);
  },
  notify(i32, index, count) {
    checkWord(i32, index, 0, 0);
    ownWaiter.notify(i32, index, wholeNumber("count", count));
  },
  waitAsync:
    ownWaitAsync === undefined
      ? undefined
      : (i32, index, value, ms) => {
          checkWord(i32, index, value, ms);
          return ownWaitAsync(i32, index, value, ms);
        },
};

/**
 * The word that a thread sleeps on: of shared memory, as the engine demands it. Throws `ERR_INVALID_ARG_TYPE`,
 * `ERR_OUT_OF_RANGE`.
 */
function checkWord(i32: unknown, index: number, value: number, ms: number): void {
  if (!(i32 instanceof Int32Array) || !isShared(i32.buffer))
    throw wrongType("i32", "an Int32Array of shared memory", i32);
  wholeNumber("index", index, 0, i32.length - 1);
  wholeNumber("value", value, -(2 ** 31), 2 ** 31 - 1);
  milliseconds("ms", ms);
}

/**
 * A waiter of the library's own: pools take it as it is. Its `waitAsync` may be a getter that answers anew at each
 * wait, and that starts a thread at the first.
 */
export abstract class CheckedWaiter {}

/**
 * A waiter of the caller's: each method is read once and called on the caller's object, so that a waiter may be an
 * instance of a class, with a state of its own.
 */
class BoundWaiter extends CheckedWaiter implements SharedWaiter {
  readonly wait: SharedWaiter["wait"];
  readonly notify: SharedWaiter["notify"];
  readonly waitAsync: SharedWaiter["waitAsync"];

  constructor(name: string, waiter: SharedWaiter) {
    super();
    const what = "a SharedWaiter with wait() and notify()";
    const { wait, notify } = methodsOf(name, what, waiter, ["wait", "notify"]);
    this.wait = wait;
    this.notify = notify;
    this.waitAsync = callback(`${name}.waitAsync`, waiter.waitAsync)?.bind(waiter);
  }
}

/** Checks a waiter of the caller's, by shape; absent: Atomics. Throws `ERR_INVALID_ARG_TYPE`. */
export function checkWaiter(name: string, waiter: SharedWaiter | undefined): SharedWaiter {
  if (waiter === undefined || waiter === atomicsWaiter || waiter === ownWaiter) return ownWaiter;
  if (waiter instanceof CheckedWaiter) return waiter;
  return new BoundWaiter(name, waiter);
}

/** Whether a waiter that was checked sleeps by Atomics. */
export function isOwnWaiter(waiter: SharedWaiter): boolean {
  return waiter === ownWaiter;
}

function makeWaitAsync(waitAsync: WaitAsync | undefined): SharedWaiter["waitAsync"] {
  if (typeof waitAsync !== "function") return undefined;
  return (i32, index, value, ms) => {
    const result = waitAsync(i32, index, value, ms);
    return result.async ? result.value : undefined;
  };
}

/** Sleeping on a word of memory, as the system does it. */
export interface Futex {
  /** Sleeps while the word has that value, for at most `ms`. */
  wait(i32: Int32Array, index: number, value: number, ms: number): void;
  /** Wakes at most `count` sleepers, of any process. */
  wake(i32: Int32Array, index: number, count: number): void;
}

/** A thread that sleeps in the system cannot be ended before it wakes: this is how long ending it may take. */
const SLICE_MS = 50;

/**
 * Waiting between processes: a futex in slices, and a look between them whether the thread is to stop; its wait then
 * throws `ERR_INACTIVE`. Without blocking the thread, the pool polls.
 *
 * @param stop answers true when the thread is to stop waiting: a word of shared memory that is no longer zero, say
 */
export function slicedWaiter(futex: Futex, stop: () => boolean): SharedWaiter {
  withMethods("futex", "a Futex with wait() and wake()", futex, ["wait", "wake"]);
  required("stop", stop);
  return {
    wait(i32, index, value, ms) {
      for (let left = ms; left > 0 && i32[index] === value; left -= SLICE_MS) {
        if (stop()) throw new MillpondError("ERR_INACTIVE", "the wait for a slot of a shared pool was stopped");
        futex.wait(i32, index, value, Math.min(left, SLICE_MS));
      }
    },
    notify(i32, index, count) {
      futex.wake(i32, index, count);
    },
    waitAsync: undefined,
  };
}
