/**
 * Time, injected. Pools read it only on slow paths, because one reading (about 30 ns) costs more than a whole
 * acquire; tests pass a {@link FakeClock} and never sleep.
 */
import { milliseconds, outOfRange, required, withMethods, wrongType, yesOrNo } from "./validate.ts";

/** A timer that {@link Clock.setTimer} started; opaque. */
export type TimerHandle = unknown;

/** Where a pool gets its time and its timers from. */
export interface Clock {
  /** Milliseconds on a clock that should not go backwards; the origin does not matter. */
  now(): number;
  /** Calls `fn` once after `ms` milliseconds. A timer with `background` must not keep the process alive. */
  setTimer(fn: () => void, ms: number, background: boolean): TimerHandle;
  /** Forgets a timer; a fired or unknown one is ignored. */
  clearTimer(handle: TimerHandle): void;
}

/** Checks a clock of the caller's, by shape; absent: the platform's. Throws `ERR_INVALID_ARG_TYPE`. */
export function checkClock(name: string, clock: Clock | undefined): Clock {
  if (clock === undefined) return systemClock;
  return withMethods(name, "a Clock with now(), setTimer() and clearTimer()", clock, ["now", "setTimer", "clearTimer"]);
}

interface Unrefable {
  unref?: () => void;
}

/** The platform's own monotonic clock and timers. */
export const systemClock: Clock = {
  now: () => performance.now(),
  setTimer(fn, ms, background) {
    required("fn", fn);
    milliseconds("ms", ms);
    yesOrNo("background", background);
    // Timers above 2^31 - 1 ms fire at once on every platform; a longer wait is waited in slices.
    const handle = setTimeout(fn, Math.min(ms, 0x7fffffff));
    if (background && typeof handle === "object") (handle as Unrefable).unref?.();
    return handle;
  },
  clearTimer(handle) {
    clearTimeout(handle as ReturnType<typeof setTimeout>);
  },
};

interface FakeTimer {
  readonly id: number;
  readonly due: number;
  readonly fn: () => void;
}

/**
 * A clock that only moves when told to, for tests of everything that waits or ages.
 * Timers fire in order of their due time, then of their creation.
 */
export class FakeClock implements Clock {
  #now = 0;
  #nextId = 1;
  readonly #timers: Map<number, FakeTimer> = new Map();

  /** The time in milliseconds, as last set. */
  now(): number {
    return this.#now;
  }

  /** Starts a timer that fires during {@link advance}. */
  setTimer(fn: () => void, ms: number, background: boolean): TimerHandle {
    required("fn", fn);
    milliseconds("ms", ms);
    yesOrNo("background", background);
    const id = this.#nextId++;
    this.#timers.set(id, { id, due: this.#now + ms, fn });
    return id;
  }

  /** Forgets a timer. */
  clearTimer(handle: TimerHandle): void {
    this.#timers.delete(handle as number);
  }

  /** How many timers are pending. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Moves time forward by `ms` and fires what falls due on the way; negative steps set the clock back. */
  advance(ms: number): void {
    if (typeof ms !== "number") throw wrongType("ms", "a number of milliseconds", ms);
    if (Number.isNaN(ms) || ms === Number.NEGATIVE_INFINITY) throw outOfRange("ms", "a number of milliseconds", ms);
    const end = this.#now + ms;
    for (;;) {
      let next: FakeTimer | undefined;
      for (const timer of this.#timers.values()) {
        if (timer.due > end) continue;
        if (next === undefined || timer.due < next.due || (timer.due === next.due && timer.id < next.id)) next = timer;
      }
      if (next === undefined) break;
      this.#timers.delete(next.id);
      this.#now = Math.max(this.#now, next.due);
      next.fn();
    }
    this.#now = end;
  }
}
