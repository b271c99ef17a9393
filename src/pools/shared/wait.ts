/**
 * Waiting for a slot of a shared pool. A waiter sets its member's bit, reads the wake counter, looks once more for a
 * slot, and sleeps on the counter's value. A release after that look sees the bit; the slot of one before it was found.
 * So no wake-up is lost. One release wakes one sleeper, in the order in which they fell asleep; within a thread the
 * order is first come, first served. A thread that takes without waiting may be faster than one that is just waking up,
 * and that one then queues anew behind the others: that is how far the order goes.
 */

import { beginWait, type PoolRegistration } from "../../observe/registry.ts";
import type { Clock, TimerHandle } from "../../util/clock.ts";
import { throwLater } from "../../util/errors.ts";
import { type Waiter, type WaitOptions, WaitQueue } from "../common/wait-queue.ts";
import { acquireSlow, type Core, memberAt, NONE, wake } from "./core.ts";
import { Header, MemberWord } from "./layout.ts";
import { isOpen } from "./pool-state.ts";
import { resumeReclaim } from "./reclaim.ts";
import type { SharedWaiter } from "./waiter.ts";

/**
 * A sleeper looks by itself this often. Nothing in the protocol needs it; a wake-up that was meant for a thread that
 * was killed at that moment comes this late at worst, when nobody sees its end and calls reclaim().
 */
export const RECHECK_MS = 100;

/** 20 us: two wake-ups' worth. Longer pays only when there are more cores than threads that run, which nobody knows. */
const SPIN_MS = 0.02;

/**
 * Spins shortly, then sleeps, until a slot is taken, or the time or the pool is over: then {@link NONE}. `others`: this
 * thread has waiters besides, who keep its bit.
 */
export function acquireIdSync(core: Core, waiter: SharedWaiter, ms: number, others: boolean): number {
  const start = performance.now();
  do {
    for (let i = 0; i < core.spins; i++) {
      const id = acquireSlow(core);
      if (id !== NONE) return id;
    }
  } while (performance.now() - start < Math.min(SPIN_MS, ms));
  const { i32 } = core;
  if (Atomics.load(i32, core.statusAt) !== core.status) return NONE;
  i32[memberAt(core, core.member) + MemberWord.WAITS]!++;
  Atomics.or(i32, Header.WAITING, core.me);
  try {
    for (;;) {
      const wakes = Atomics.load(i32, Header.WAKES);
      resumeReclaim(core);
      const id = acquireSlow(core);
      if (id !== NONE) return id;
      const left = ms - (performance.now() - start);
      if (left <= 0 || !isOpen(core) || Atomics.load(i32, core.statusAt) !== core.status) {
        // A wake-up may have come between the look and now, meant for one who can use it.
        wake(core, 1);
        return NONE;
      }
      waiter.wait(i32, Header.WAKES, wakes, Math.min(left, RECHECK_MS));
    }
  } finally {
    if (!others) stopWaiting(core);
  }
}

/**
 * Says that nobody of this thread waits any more; not where the memory holds another pool now, whose word it would be.
 */
function stopWaiting(core: Core): void {
  const { i32 } = core;
  if (Atomics.load(i32, core.statusAt) === core.status) Atomics.and(i32, Header.WAITING, ~core.me);
}

/**
 * Looks of one turn while the wake counter moves under them: each goes over all slots, and a thread that writes the
 * counter without end must not stop this one's event loop. After them the timer looks.
 */
const MAX_LOOKS = 4;

/** Slots that these looks go over: some 2 ms. One look there is in any case. */
const MAX_WAIT_SLOTS = 2 ** 18;

/**
 * Where nothing wakes: at first often, for the usual wait for a frame; then less often, as such a wait is long anyway.
 */
export const POLL_MS = { first: 1, most: 16 } as const;

/** The waits of one thread that do not block it. */
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

  /** The pool that these wait for, once it is registered. */
  set registration(pool: PoolRegistration) {
    this.#queue.beginSpan = (ahead) => beginWait(pool, ahead, this.#queue);
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

  /**
   * Gives what is free to those who wait, and goes to sleep for the rest. A thread that cannot sleep must not let them
   * wait.
   */
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
      if (++looks < MAX_LOOKS && looks * this.#core.count < MAX_WAIT_SLOTS) continue;
      // A timer that was set for one who sleeps is a long one.
      this.#clearTimer();
      break;
    }
    if (this.#queue.length === 0) this.#quiet();
    else this.#keepLooking();
  }

  /** Whether the pool goes on, and this thread takes part in it. */
  #isMember(): boolean {
    const { i32, statusAt, status } = this.#core;
    return isOpen(this.#core) && Atomics.load(i32, statusAt) === status;
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

  /**
   * In the background: a wait with a timeout keeps the process alive by its own timer (wait-queue.ts), one without does
   * not.
   */
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
