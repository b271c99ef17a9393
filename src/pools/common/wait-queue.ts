/**
 * WaitQueue: the waiters of a pool, first come, first served; nobody overtakes.
 *
 * A waiter joins by {@link WaitQueue.wait} and leaves once: served, refused, aborted by its signal, or timed out.
 *
 * Invariants: every way out of the queue clears the timer and the abort listener and settles the promise exactly once,
 * whatever a signal, a clock or the error's builder throws. A waiter is in line before any foreign code runs.
 *
 * Complexity: every call is O(1), except rejectAll. The list is doubly linked, so an abort takes its waiter out of the
 * middle.
 *
 * Every pool follows one rule on whether a pending wait keeps the process alive. A wait with a finite timeout does
 * until it settles, because its timer will settle it. A wait without one does not by itself: in a process with nothing
 * else to do, nothing could end it.
 */

import type { WaitSpan } from "../../observe/registry.ts";
import { onAbort } from "../../util/abortable.ts";
import type { Clock, TimerHandle } from "../../util/clock.ts";
import { throwLater } from "../../util/errors.ts";
import { abortSignal, checkOptions, MAX_TIMER, milliseconds } from "../../util/validate.ts";

/** How a wait may end early. */
export interface WaitOptions {
  /** Aborts the wait; the promise rejects with `signal.reason`. */
  signal?: AbortSignal | undefined;
  /**
   * Milliseconds after which the wait is over; default, and `Infinity`: none. With one the process lives until the wait
   * settles.
   */
  timeout?: number | undefined;
}

/**
 * Checks how a wait may end, before anything is taken or queued. Callers read each option once and pass what they read.
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`.
 */
export function checkWait(signal: unknown, timeout: unknown): void {
  if (timeout !== undefined) milliseconds("options.timeout", timeout);
  abortSignal("options.signal", signal);
}

/**
 * Reads how a wait may end, each option once, and checks it: what `acquire` and its like take.
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` for an unknown option, `ERR_OUT_OF_RANGE`.
 */
export function readWait(options: WaitOptions): WaitOptions {
  const { signal, timeout } = checkOptions("options", options, ["signal", "timeout"]);
  checkWait(signal, timeout);
  return { signal, timeout };
}

/** One waiter. `T` is what the wait ends with. */
export class Waiter<T, Tag = string | undefined> {
  /** What the waiter calls itself, or asks for. */
  readonly tag: Tag;
  /** Since when, in milliseconds of the clock. */
  since = 0;
  /** @internal */
  prev: Waiter<T, Tag> | null = null;
  /** @internal */
  next: Waiter<T, Tag> | null = null;
  /** @internal */
  queued = true;
  /** @internal */
  timer: TimerHandle | undefined = undefined;
  /** @internal */
  readonly resolve: (value: T) => void;
  /** @internal */
  readonly reject: (error: unknown) => void;
  /** @internal */
  stopListening: (() => void) | undefined = undefined;
  /** @internal Who is told of its end; null: nobody. */
  span: WaitSpan | null = null;
  readonly #onTimeout: (waiter: Waiter<T, Tag>) => unknown;

  /** @internal Made by {@link WaitQueue.wait}. */
  constructor(
    resolve: (value: T) => void,
    reject: (error: unknown) => void,
    tag: Tag,
    onTimeout: (waiter: Waiter<T, Tag>) => unknown,
  ) {
    this.resolve = resolve;
    this.reject = reject;
    this.tag = tag;
    this.#onTimeout = onTimeout;
  }

  /** @internal What the wait ends with when it is in vain. */
  starve(): unknown {
    return this.#onTimeout(this);
  }
}

/** Waiters in order of arrival. */
export class WaitQueue<T, Tag = string | undefined> {
  readonly #clock: Clock;
  #first: Waiter<T, Tag> | null = null;
  #last: Waiter<T, Tag> | null = null;
  #length = 0;

  readonly #onLeave: (() => void) | undefined;

  /** Begins what is told of a wait behind so many others; set by a pool, once it is registered. */
  beginSpan: ((ahead: number) => WaitSpan | null) | undefined = undefined;

  /**
   * @param clock gives the time of arrival and the timeouts
   * @param onLeave called when a signal or a timeout took a waiter out, which may have been in the way of those behind
   * it
   */
  constructor(clock: Clock, onLeave?: () => void) {
    this.#clock = clock;
    this.#onLeave = onLeave;
  }

  /** How many waiters there are. */
  get length(): number {
    return this.#length;
  }

  /** The waiter that has waited longest, or null. */
  get first(): Waiter<T, Tag> | null {
    return this.#first;
  }

  /**
   * Joins the queue. The promise settles by {@link next}, {@link rejectAll}, the signal (with its reason) or the
   * timeout (with what `onTimeout` returns).
   */
  wait(options: WaitOptions, tag: Tag, onTimeout: (waiter: Waiter<T, Tag>) => unknown): Promise<T> {
    const { signal, timeout } = options;
    return new Promise<T>((resolve, reject) => {
      const waiter = new Waiter<T, Tag>(resolve, reject, tag, onTimeout);
      // In line before any foreign code runs: a clock or signal that ends the pool, or serves it, then finds this wait.
      this.#append(waiter);
      try {
        waiter.since = this.#clock.now();
        if (waiter.queued) this.#beginSpan(waiter);
        if (signal !== undefined && waiter.queued) {
          const stop = onAbort(signal, (reason) => this.#endEarly(waiter, () => reason));
          if (waiter.queued) waiter.stopListening = stop;
          else stop();
        }
        // Any of these calls may have ended the wait.
        if (waiter.queued && timeout !== undefined && timeout !== Infinity) this.#arm(waiter, timeout);
      } catch (error) {
        this.reject(waiter, error);
      }
    });
  }

  /** Subscribers of the platform's diagnostics run here, and may end the wait. */
  #beginSpan(waiter: Waiter<T, Tag>): void {
    const span = this.beginSpan?.(this.#length - 1) ?? null;
    if (waiter.queued) waiter.span = span;
    else span?.end(false, undefined);
  }

  /** Starts the timer of a wait. It keeps the process alive: the caller is owed an answer at that time. */
  #arm(waiter: Waiter<T, Tag>, left: number): void {
    // A longer wait goes in slices.
    const slice = Math.min(left, MAX_TIMER);
    const fire = (): void => {
      if (slice < left) this.#arm(waiter, left - slice);
      else this.#endEarly(waiter, () => waiter.starve());
    };
    waiter.timer = this.#clock.setTimer(fire, slice, false);
  }

  /** Takes the first waiter out of the queue and settles it with `value`; false when there is none. */
  next(value: T): boolean {
    const waiter = this.#first;
    if (waiter === null) return false;
    this.#remove(waiter);
    waiter.span?.end(true, undefined);
    waiter.resolve(value);
    return true;
  }

  /**
   * Ends a wait by signal or timeout. Building the error may run code of the application, and that may serve this very
   * waiter.
   */
  #endEarly(waiter: Waiter<T, Tag>, makeError: () => unknown): void {
    if (!waiter.queued) return;
    let error: unknown;
    try {
      error = makeError();
    } catch (thrown) {
      error = thrown;
    }
    this.reject(waiter, error);
    this.#onLeave?.();
  }

  /** Rejects one waiter; does nothing when it has left already. */
  reject(waiter: Waiter<T, Tag>, error: unknown): void {
    if (!waiter.queued) return;
    this.#remove(waiter);
    waiter.span?.end(false, error);
    waiter.reject(error);
  }

  /** Rejects all, in order. Those who join while this runs are not touched. */
  rejectAll(error: (waiter: Waiter<T, Tag>) => unknown): void {
    let left = this.#length;
    while (left-- > 0 && this.#first !== null) this.reject(this.#first, error(this.#first));
  }

  #append(waiter: Waiter<T, Tag>): void {
    waiter.prev = this.#last;
    if (this.#last === null) this.#first = waiter;
    else this.#last.next = waiter;
    this.#last = waiter;
    this.#length++;
  }

  #remove(waiter: Waiter<T, Tag>): void {
    if (waiter.prev === null) this.#first = waiter.next;
    else waiter.prev.next = waiter.next;
    if (waiter.next === null) this.#last = waiter.prev;
    else waiter.next.prev = waiter.prev;
    waiter.prev = null;
    waiter.next = null;
    waiter.queued = false;
    this.#length--;
    waiter.stopListening?.();
    try {
      if (waiter.timer !== undefined) this.#clock.clearTimer(waiter.timer);
    } catch (error) {
      // The waiter is out of the queue and is about to be settled; a clock that fails must not stop that.
      throwLater(error);
    }
  }
}
