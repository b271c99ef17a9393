/**
 * Time, injected. Pools read it only on slow paths, because one reading (about 30 ns) costs more than a whole
 * acquire; tests pass a {@link FakeClock} and never sleep.
 */
import { throwLater } from "./errors.ts";
import { MAX_TIMER, milliseconds, outOfRange, required, withMethods, wrongType, yesOrNo } from "./validate.ts";

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
    const handle = setTimeout(fn, Math.min(ms, MAX_TIMER));
    if (background && typeof handle === "object") (handle as Unrefable).unref?.();
    return handle;
  },
  clearTimer(handle) {
    clearTimeout(handle as ReturnType<typeof setTimeout>);
  },
};

/**
 * True for milliseconds that can be added up: a number within 2^53 of 0. Beyond that a step of 1 ms is lost, and what
 * goes on step by step never arrives.
 */
export function isTime(now: unknown): now is number {
  return typeof now === "number" && Math.abs(now) <= Number.MAX_SAFE_INTEGER;
}

/** Checks a time of the caller's. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. */
export function checkTime(name: string, now: unknown): void {
  if (isTime(now)) return;
  if (typeof now !== "number" || Number.isNaN(now)) throw wrongType(name, "a number of milliseconds", now);
  throw outOfRange(name, "milliseconds within 2^53 of 0", now);
}

/** Ticks between two readings of a {@link CoarseClock} while they come fast. */
const STRIDE = 64;

/** Milliseconds between two readings from which on ticks count as rare. */
const RARE = 5;

/**
 * A clock for hot paths: one reading (about 30 ns) costs more than a whole acquire, so it is read every few ticks only.
 * While ticks come fast it reads one in 64 (half a nanosecond each); when two readings lie 5 ms or more apart, ticks
 * are rare and every one reads.
 *
 * Usage, inlined by the caller, who counts the ticks anyway: `if (++ticks >= coarse.due) coarse.read(ticks); stamp =
 * coarse.now;` The stamp never lies in the future; it is late by at most the 63 ticks before it.
 */
export class CoarseClock {
  /** The last reading, in milliseconds. */
  now = 0;
  /** The tick at which it has to be read again. */
  due = 1;
  readonly #clock: Clock;
  readonly #most: number;
  #stride = 1;

  /** Reads from `clock`, once every `most` ticks while they come fast. */
  constructor(clock: Clock, most: number = STRIDE) {
    this.#clock = clock;
    this.#most = most;
  }

  /** How many ticks lie between this reading and the next. */
  get stride(): number {
    return this.#stride;
  }

  /** Reads the clock at the caller's tick and decides how many may pass before the next reading. */
  read(tick: number): number {
    const now = this.look();
    this.#stride = now - this.now > RARE ? 1 : Math.min(this.#stride * 2, this.#most);
    this.due = tick + this.#stride;
    this.now = now;
    return now;
  }

  /** Reads the clock because something else than a tick says that time has passed; the next tick reads again. */
  wake(tick: number): number {
    this.now = this.look();
    this.#stride = 1;
    this.due = tick + 1;
    return this.now;
  }

  /**
   * What the clock says, for a report: no tick counts. A clock that throws is told of in a later turn; the last reading
   * holds, so that no lease is left halfway. It also holds where the clock gives what is no time.
   */
  look(): number {
    try {
      const now = this.#clock.now();
      return isTime(now) ? now : this.now;
    } catch (error) {
      throwLater(error);
      return this.now;
    }
  }
}

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

  /**
   * Moves time forward by `ms` and fires what falls due on the way, also what is started meanwhile; negative steps set
   * the clock back. `Infinity`: fires the timers that are pending now, and stays at the last of them, because a timer
   * that starts itself anew would have no end. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`.
   */
  advance(ms: number): void {
    if (typeof ms !== "number") throw wrongType("ms", "a number of milliseconds", ms);
    if (Number.isNaN(ms) || ms === Number.NEGATIVE_INFINITY) throw outOfRange("ms", "a number of milliseconds", ms);
    const isEndless = ms === Number.POSITIVE_INFINITY;
    const end = this.#now + ms;
    const known = isEndless ? this.#nextId : Number.POSITIVE_INFINITY;
    for (let next = this.#next(end, known); next !== undefined; next = this.#next(end, known)) {
      this.#timers.delete(next.id);
      this.#now = Math.max(this.#now, next.due);
      next.fn();
    }
    if (!isEndless) this.#now = end;
  }

  /** The timer to fire next: due at `end` at the latest, with an id below `known`. */
  #next(end: number, known: number): FakeTimer | undefined {
    let next: FakeTimer | undefined;
    for (const timer of this.#timers.values()) {
      // One that is due at the end of time never is.
      if (timer.due > end || timer.id >= known || timer.due === Number.POSITIVE_INFINITY) continue;
      if (next === undefined || timer.due < next.due || (timer.due === next.due && timer.id < next.id)) next = timer;
    }
    return next;
  }
}
