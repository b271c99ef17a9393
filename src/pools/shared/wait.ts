/**
 * Waiting for a slot of a shared pool. Who wants to wait says so with his member's bit, reads the wake counter, looks once
 * more for a slot, and sleeps on the counter's value: whoever gives a slot back after that look sees the bit, and whoever
 * did before it was found. One give wakes one sleeper, in the order in which they fell asleep; within a thread the order is
 * first come, first served. A thread that takes without waiting may be faster than one that is just waking up, and that one
 * then queues anew behind the others: that is how far the order goes.
 */

import type { Clock, TimerHandle } from "../../util/clock.ts";
import { MillpondError, throwLater } from "../../util/errors.ts";
import {
  callback,
  methodsOf,
  milliseconds,
  required,
  wholeNumber,
  withMethods,
  wrongType,
} from "../../util/validate.ts";
import { type Waiter, type WaitOptions, WaitQueue } from "../common/wait-queue.ts";
import { RECHECK_MS, stopWaiting } from "./acquire-sync.ts";
import { acquireSlow, type Core, memberAt, NONE, wake } from "./core.ts";
import { isShared } from "./handle.ts";
import { Header, MemberWord } from "./layout.ts";
import { isAlive, resumeReclaim, statusOf } from "./membership.ts";

/**
 * How threads sleep and wake on a word of the pool's memory: Atomics within a process. Between processes it must be the
 * system's futex, in slices (at most 50 ms) with a look at a stop word between them, so that a thread can be ended.
 */
export interface SharedWaiter {
  /** Sleeps while the word has that value, for at most `ms`; may wake for no reason. Throws where the thread must not sleep. */
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

/** Sleeping within one process, by Atomics. Each call throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE` for words or numbers that are none. */
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

/** The word that a thread sleeps on: of shared memory, as the engine demands it. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. */
function checkWord(i32: unknown, index: number, value: number, ms: number): void {
  if (!(i32 instanceof Int32Array) || !isShared(i32.buffer))
    throw wrongType("i32", "an Int32Array of shared memory", i32);
  wholeNumber("index", index, 0, i32.length - 1);
  wholeNumber("value", value, -(2 ** 31), 2 ** 31 - 1);
  milliseconds("ms", ms);
}

/**
 * A waiter of the caller's: each method is read once and called on the caller's object, so that a waiter may be an instance
 * of a class, with a state of its own.
 */
class BoundWaiter implements SharedWaiter {
  readonly wait: SharedWaiter["wait"];
  readonly notify: SharedWaiter["notify"];
  readonly waitAsync: SharedWaiter["waitAsync"];

  constructor(name: string, waiter: SharedWaiter) {
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
  return waiter instanceof BoundWaiter ? waiter : new BoundWaiter(name, waiter);
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
 * Waiting between processes: a futex in slices, and a look between them whether the thread is to stop; its wait then throws
 * `ERR_INACTIVE`. Without blocking the thread, the pool polls.
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

/**
 * Looks of one turn while the wake counter moves under them: each goes over all slots, and a thread that writes the counter without
 * end must not stop this one's event loop. After them the timer looks.
 */
const MAX_LOOKS = 4;

/** Where nothing wakes: at first often, for the usual wait for a frame; then less, as a wait that long is no hurry. */
export const POLL_MS = { first: 1, most: 16 } as const;

/** Those of one thread who wait without blocking it. */
export class SharedQueue {
  readonly #core: Core;
  readonly #waiter: SharedWaiter;
  readonly #clock: Clock;
  readonly #queue: WaitQueue<number>;
  readonly #dead: () => unknown;
  #timer: TimerHandle | undefined;
  #pollMs: number = POLL_MS.first;
  #asleep = false;

  /** The clock gives timeouts and polls; `dead` makes the error for those who wait when the pool ends. */
  constructor(core: Core, waiter: SharedWaiter, clock: Clock, dead: () => unknown) {
    this.#core = core;
    this.#waiter = waiter;
    this.#clock = clock;
    this.#queue = new WaitQueue(clock);
    this.#dead = dead;
  }

  /** How many wait. */
  get length(): number {
    return this.#queue.length;
  }

  /** Joins the queue for a lease's identity. Settles as {@link WaitQueue.wait}. */
  async wait(options: WaitOptions, onTimeout: (waiter: Waiter<number>) => unknown): Promise<number> {
    const { i32 } = this.#core;
    if (!this.#isMember()) throw this.#dead();
    i32[memberAt(this.#core, this.#core.member) + MemberWord.WAITS]!++;
    const result = this.#queue.wait(options, undefined, onTimeout);
    // Not only for the first: a clock that starts another wait while this one is made has it counted second.
    if (this.#queue.length > 0) Atomics.or(i32, Header.WAITING, this.#core.me);
    this.#pollMs = POLL_MS.first;
    this.serve();
    try {
      return await result;
    } catch (error) {
      if (this.#queue.length === 0) this.#quiet();
      throw error;
    }
  }

  /** Gives what is free to those who wait, and goes to sleep for the rest. A thread that cannot sleep must not let them wait. */
  serve(): void {
    try {
      this.#serveOrThrow();
    } catch (error) {
      this.rejectAll(() => error);
    }
  }

  #serveOrThrow(): void {
    const { i32 } = this.#core;
    if (!this.#isMember()) this.rejectAll(this.#dead);
    else resumeReclaim(this.#core);
    let looks = 0;
    while (this.#queue.length > 0) {
      const wakes = Atomics.load(i32, Header.WAKES);
      const id = acquireSlow(this.#core);
      if (id !== NONE) {
        this.#queue.next(id);
        continue;
      }
      if (this.#asleep || this.#sleep(wakes)) break;
      if (++looks < MAX_LOOKS) continue;
      // A timer that was set for one who sleeps is a long one.
      this.#clearTimer();
      break;
    }
    if (this.#queue.length === 0) this.#quiet();
    else this.#keepLooking();
  }

  /** Whether the pool goes on, and this thread takes part in it. */
  #isMember(): boolean {
    return isAlive(this.#core) && statusOf(this.#core, this.#core.member) === this.#core.status;
  }

  /** Rejects all who wait. */
  rejectAll(error: () => unknown): void {
    this.#queue.rejectAll(error);
    this.#quiet();
  }

  /** False when the counter has moved meanwhile. */
  #sleep(wakes: number): boolean {
    if (this.#waiter.waitAsync === undefined) return true;
    const woken = this.#waiter.waitAsync(this.#core.i32, Header.WAKES, wakes, Number.POSITIVE_INFINITY);
    if (woken === undefined) return false;
    this.#asleep = true;
    void woken.then(() => {
      this.#asleep = false;
      // Nobody here wants it any more: it goes to another thread.
      if (this.#queue.length === 0) wake(this.#core, 1);
      else this.serve();
    });
    return true;
  }

  /** In the background: a wait with a timeout keeps the process alive by its own timer (waiters.ts), one without does not. */
  #keepLooking(): void {
    if (this.#timer !== undefined) return;
    const ms = this.#waiter.waitAsync !== undefined && this.#asleep ? RECHECK_MS : this.#pollMs;
    this.#pollMs = Math.min(this.#pollMs * 2, POLL_MS.most);
    this.#timer = this.#clock.setTimer(
      () => {
        this.#timer = undefined;
        this.serve();
      },
      ms,
      true,
    );
  }

  #quiet(): void {
    stopWaiting(this.#core);
    this.#clearTimer();
  }

  #clearTimer(): void {
    const timer = this.#timer;
    this.#timer = undefined;
    try {
      if (timer !== undefined) this.#clock.clearTimer(timer);
    } catch (error) {
      throwLater(error);
    }
  }
}
