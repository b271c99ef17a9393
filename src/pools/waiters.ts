/**
 * The queue of those who wait for a buffer: first come, first served, nobody overtakes. A doubly linked list, so that an
 * abort or a timeout takes its waiter out of the middle in O(1). Every way out of the queue clears the timer and the
 * abort listener, and settles the promise exactly once.
 */
import type { Clock, TimerHandle } from "../observe/clock.ts";

/** How a wait may end early. */
export interface WaitOptions {
  /** Aborts the wait; the promise rejects with `signal.reason`. */
  signal?: AbortSignal | undefined;
  /** Milliseconds after which the wait is over; default: none. */
  timeout?: number | undefined;
}

/** One who waits. `T` is what the waiting ends with. */
export class Waiter<T, Tag = string | undefined> {
  /** What the borrower calls itself, or asks for. */
  readonly tag: Tag;
  /** Since when, in milliseconds of the clock. */
  readonly since: number;
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
  readonly signal: AbortSignal | undefined;
  /** @internal */
  onAbort: (() => void) | undefined = undefined;

  /** @internal Made by {@link WaitQueue.wait}. */
  constructor(
    resolve: (value: T) => void,
    reject: (error: unknown) => void,
    tag: Tag,
    since: number,
    signal: AbortSignal | undefined,
  ) {
    this.resolve = resolve;
    this.reject = reject;
    this.tag = tag;
    this.since = since;
    this.signal = signal;
  }
}

/** Waiters in order of arrival. */
export class WaitQueue<T, Tag = string | undefined> {
  readonly #clock: Clock;
  #first: Waiter<T, Tag> | null = null;
  #last: Waiter<T, Tag> | null = null;
  #length = 0;

  readonly #onLeave: (() => void) | undefined;

  /**
   * @param clock gives the time of arrival and the timeouts
   * @param onLeave called when a signal or a timeout took somebody out, who may have been in the way of those behind
   */
  constructor(clock: Clock, onLeave?: () => void) {
    this.#clock = clock;
    this.#onLeave = onLeave;
  }

  /** How many wait. */
  get length(): number {
    return this.#length;
  }

  /** Who has waited longest, or null. */
  get first(): Waiter<T, Tag> | null {
    return this.#first;
  }

  /**
   * Joins the queue. The promise settles by {@link next}, {@link rejectAll}, the signal (with its reason) or the timeout
   * (with what `onTimeout` returns).
   */
  wait(options: WaitOptions, tag: Tag, onTimeout: (waiter: Waiter<T, Tag>) => unknown): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const waiter = new Waiter<T, Tag>(resolve, reject, tag, this.#clock.now(), options.signal);
      this.#append(waiter);
      if (options.signal !== undefined) {
        waiter.onAbort = () => this.#giveUp(waiter, options.signal!.reason);
        options.signal.addEventListener("abort", waiter.onAbort, { once: true });
      }
      const { timeout } = options;
      if (timeout !== undefined && timeout !== Infinity) {
        // A wait keeps the process alive: its caller is owed an answer.
        waiter.timer = this.#clock.setTimer(() => this.#giveUp(waiter, onTimeout(waiter)), timeout, false);
      }
    });
  }

  /** Takes the one who has waited longest out of the queue and settles it with `value`; false when nobody waits. */
  next(value: T): boolean {
    const waiter = this.#first;
    if (waiter === null) return false;
    this.#remove(waiter);
    waiter.resolve(value);
    return true;
  }

  #giveUp(waiter: Waiter<T, Tag>, error: unknown): void {
    this.leave(waiter, error);
    this.#onLeave?.();
  }

  /** Rejects one waiter; nothing happens when it has left already. */
  leave(waiter: Waiter<T, Tag>, error: unknown): void {
    if (!waiter.queued) return;
    this.#remove(waiter);
    waiter.reject(error);
  }

  /** Rejects all, in order. Those who join while this runs are not touched. */
  rejectAll(error: (waiter: Waiter<T, Tag>) => unknown): void {
    let left = this.#length;
    while (left-- > 0 && this.#first !== null) this.leave(this.#first, error(this.#first));
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
    if (waiter.timer !== undefined) this.#clock.clearTimer(waiter.timer);
    if (waiter.onAbort !== undefined) waiter.signal?.removeEventListener("abort", waiter.onAbort);
  }
}
