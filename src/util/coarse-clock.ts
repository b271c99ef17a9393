/**
 * A clock for hot paths: one reading (about 30 ns) costs more than a whole acquire, so it is read every few ticks only.
 * While ticks come fast it reads one in 64 (half a nanosecond each); when two readings lie 5 ms or more apart, ticks are rare and every
 * one reads.
 */
import type { Clock } from "./clock.ts";
import { throwLater } from "./late.ts";

/** Ticks between two readings while they come fast. */
const STRIDE = 64;

/** Milliseconds between two readings from which on ticks count as rare. */
const RARE = 5;

/**
 * Usage, inlined by the caller, who counts the ticks anyway: `if (++ticks >= coarse.due) coarse.read(ticks); stamp = coarse.now;`
 * The stamp never lies in the future; it is late by at most the 63 ticks before it.
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
    const now = this.#look();
    this.#stride = now - this.now > RARE ? 1 : Math.min(this.#stride * 2, this.#most);
    this.due = tick + this.#stride;
    this.now = now;
    return now;
  }

  /** Reads the clock because something else than a tick says that time has passed; the next tick reads again. */
  wake(tick: number): number {
    this.now = this.#look();
    this.#stride = 1;
    this.due = tick + 1;
    return this.now;
  }

  /** A clock that throws is told of in a later turn; the last reading holds, so that no lease is left halfway. */
  #look(): number {
    try {
      return this.#clock.now();
    } catch (error) {
      throwLater(error);
      return this.now;
    }
  }
}
