/**
 * The smooth way to let go, after jemalloc's decay: of the bytes that were freed together, the share S(1 - age / period) may
 * stay, S(x) = 6x^5 - 15x^4 + 10x^3: 89.6 % after a quarter of the period, 50 % after half, 10.4 % after three quarters.
 *
 * jemalloc learns of new bytes as the growth between two steps, so what is freed and taken again within one step is never new, and
 * a block in steady use ages as if it were idle. Here each block knows the step that it was freed in, and takes its bytes out of that step when
 * it is lent again.
 */

/** Steps over a period, as jemalloc has them: 2.5 ms each of the default half second, finer than any media clock. */
export const DECAY_STEPS = 200;

const share: Float64Array = new Float64Array(DECAY_STEPS + 1);
for (let age = 0; age <= DECAY_STEPS; age++) {
  const x = 1 - age / DECAY_STEPS;
  share[age] = x * x * x * (x * (x * 6 - 15) + 10);
}

/** How many freed bytes may stay, as time goes by. */
export class DecayCurve {
  /** Milliseconds of a step. */
  readonly stepLength: number;
  readonly #backlog: Float64Array = new Float64Array(DECAY_STEPS);
  #origin = 0;
  #step = 0;

  /** @param period milliseconds until nothing may stay, more than 0 and finite */
  constructor(period: number) {
    this.stepLength = period / DECAY_STEPS;
  }

  /** Goes on to `now`, in milliseconds; a clock that went back changes nothing. O(steps passed, at most 200). */
  advance(now: number): void {
    const step = Math.floor((now - this.#origin) / this.stepLength);
    const passed = step - this.#step;
    if (passed <= 0) return;
    for (let i = 1; i <= Math.min(passed, DECAY_STEPS); i++) this.#backlog[(this.#step + i) % DECAY_STEPS] = 0;
    this.#step = step;
  }

  /** Starts the steps at `now`, so that the first bytes to be freed age from their own moment. Only while nothing is held. */
  restart(now: number): void {
    this.#backlog.fill(0);
    this.#origin = now;
    this.#step = 0;
  }

  /** Bytes were freed; returns the step to remember. @realtime */
  add(bytes: number): number {
    this.#backlog[this.#step % DECAY_STEPS]! += bytes;
    return this.#step;
  }

  /** Bytes that were freed in `step` are in use again. @realtime */
  remove(bytes: number, step: number): void {
    if (this.#step - step < DECAY_STEPS) this.#backlog[step % DECAY_STEPS]! -= bytes;
  }

  /** Bytes that may stay at the present step. O(200). */
  allowed(): number {
    let sum = 0;
    const oldest = Math.max(0, this.#step - DECAY_STEPS + 1);
    for (let step = oldest; step <= this.#step; step++) {
      sum += this.#backlog[step % DECAY_STEPS]! * share[this.#step - step]!;
    }
    return sum;
  }
}
