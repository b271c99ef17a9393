/**
 * Promises that wait on one side of a ring, first come, first served: they sleep as waitSync of ring-steps.ts does, on
 * the same word and by the same rule, without blocking the thread.
 */
import type { Clock, TimerHandle } from "../../util/clock.ts";
import { type Waiter, type WaitOptions, WaitQueue } from "../common/wait-queue.ts";
import { AGAIN, announce, ENDED, type RingState, RingWord, SOON, trustPopped } from "./ring-steps.ts";
import { POLL_MS, RECHECK_MS } from "./wait.ts";
import type { SharedWaiter } from "./waiter.ts";

/** 16: each after one came between a look and the sleep; more than two in a row are not seen from an honest peer. */
const MAX_LOOKS = 16;

/** What a {@link RingQueue} is made from. */
export interface RingQueueParts {
  /** This side's view of the ring. */
  readonly state: RingState;
  /** The word that the other side changes. */
  readonly word: number;
  /** How threads sleep. */
  readonly waiter: SharedWaiter;
  /** For timeouts and polls. */
  readonly clock: Clock;
  /** One look, for the waiter with that tag: what it ends with, AGAIN, SOON or ENDED. */
  readonly attempt: (tag: number) => number;
  /** The error of a ring that was closed. */
  readonly ended: () => unknown;
}

/** Those who wait on one side of a ring. */
export class RingQueue {
  readonly #parts: RingQueueParts;
  readonly #queue: WaitQueue<number, number>;
  #timer: TimerHandle | undefined;
  #pollMs: number = POLL_MS.first;
  #hint: number = AGAIN;
  #asleep = false;

  /** Nothing is started yet. */
  constructor(parts: RingQueueParts) {
    this.#parts = parts;
    this.#queue = new WaitQueue(parts.clock, () => this.#settle());
  }

  /** How many wait. */
  get length(): number {
    return this.#queue.length;
  }

  /** Joins the queue; settles as {@link WaitQueue.wait}. */
  async wait(
    tag: number,
    options: WaitOptions,
    onTimeout: (waiter: Waiter<number, number>) => unknown,
  ): Promise<number> {
    const result = this.#queue.wait(options, tag, onTimeout);
    this.#pollMs = POLL_MS.first;
    this.#settle();
    return await result;
  }

  /** Serves those who can be; answers whether nobody waits any more. Before this thread blocks: it would block them. */
  serve(): boolean {
    return this.#serve() === undefined;
  }

  /** Serves in order; undefined when nobody waits any more, else what the first one's attempt answered. */
  #serve(): number | undefined {
    for (;;) {
      const { first } = this.#queue;
      this.#setWaiting(false);
      if (first === null) return undefined;
      try {
        const got = this.#parts.attempt(first.tag);
        if (got >= 0) this.#queue.next(got);
        else if (got === ENDED) this.#queue.rejectAll(this.#parts.ended);
        else {
          this.#setWaiting(true);
          return got;
        }
      } catch (error) {
        this.#queue.reject(first, error);
      }
    }
  }

  /** Serves, and goes to sleep for the rest. A thread that cannot sleep must not let them wait. */
  #settle(): void {
    try {
      this.#settleOrThrow();
    } catch (error) {
      this.#queue.rejectAll(() => error);
      this.#setWaiting(false);
    }
  }

  #settleOrThrow(): void {
    for (let looks = 1; ; looks++) {
      // First this: who changes the word after the look wakes.
      const value = this.#queue.length === 0 ? 0 : announce(this.#parts.state, this.#parts.word);
      const got = this.#serve();
      if (got === undefined) {
        this.#stopTimer();
        return;
      }
      // A peer that writes the word without end must not hold this thread.
      if (this.#asleep || looks === MAX_LOOKS || this.#sleep(value)) {
        this.#keepLooking(got === SOON || looks === MAX_LOOKS);
        return;
      }
    }
  }

  #setWaiting(waits: boolean): void {
    const { state, word } = this.#parts;
    if (word === RingWord.HEAD) state.pushesWait = waits;
    else state.popsWait = waits;
  }

  /** False when the word has changed meanwhile. */
  #sleep(value: number): boolean {
    const { waiter, state, word } = this.#parts;
    if (waiter.waitAsync === undefined) return true;
    const woken = waiter.waitAsync(state.i32, word, value, Number.POSITIVE_INFINITY);
    if (woken === undefined) return false;
    this.#asleep = true;
    void woken.then(() => {
      this.#asleep = false;
      this.#settle();
    });
    return true;
  }

  /** As for all pools, it does not keep the process alive; the timeout of a wait does. */
  #keepLooking(soon: boolean): void {
    if (this.#timer !== undefined) return;
    const { waiter, clock, state, word } = this.#parts;
    const polls = waiter.waitAsync === undefined;
    const ms = soon ? POLL_MS.first : polls ? this.#pollMs : RECHECK_MS;
    this.#pollMs = Math.min(this.#pollMs * 2, POLL_MS.most);
    this.#timer = clock.setTimer(
      () => {
        this.#timer = undefined;
        if (word === RingWord.HEAD && ms >= POLL_MS.most) this.#hint = trustPopped(state, this.#hint);
        this.#settle();
      },
      ms,
      true,
    );
  }

  #stopTimer(): void {
    this.#hint = AGAIN;
    const timer = this.#timer;
    this.#timer = undefined;
    if (timer !== undefined) this.#parts.clock.clearTimer(timer);
  }
}
