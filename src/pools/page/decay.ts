/**
 * When idle blocks go back to the source: each at its own age ("cliff", Core Media's rule), or together along a smooth
 * curve ("smooth", jemalloc's decay). Both answer one question: how long until the next sweep.
 *
 * The curve: of the bytes that were freed together, the share S(1 - age / period) may stay, S(x) = 6x^5 - 15x^4 +
 * 10x^3: 89.6 % after a quarter of the period, 50 % after half, 10.4 % after three quarters.
 *
 * jemalloc learns of new bytes as the growth between two steps, so what is freed and taken again within one step is
 * never new, and a block in steady use ages as if it were idle. Here each block knows the step that it was freed in,
 * and its bytes leave that step when it is leased again.
 */
import type { PageConfig, PressureLevel } from "./options.ts";
import type { PageBlock, PageCache } from "./page-cache.ts";

/** Steps over a period, as jemalloc has them: 2.5 ms each of the default half second, finer than any media clock. */
export const DECAY_STEPS = 200;

const share: Float64Array = new Float64Array(DECAY_STEPS + 1);
for (let age = 0; age <= DECAY_STEPS; age++) {
  const x = 1 - age / DECAY_STEPS;
  share[age] = x * x * x * (x * (x * 6 - 15) + 10);
}

/** How many freed bytes may stay, as time goes by. */
class DecayCurve {
  /** Milliseconds of a step. */
  readonly stepLength: number;
  readonly #backlog: Float64Array = new Float64Array(DECAY_STEPS);
  /** When step {@link #first} began, in milliseconds. */
  #origin = 0;
  #first = 0;
  #step = 0;

  /** @param period milliseconds until nothing may stay, more than 0 and finite */
  constructor(period: number) {
    this.stepLength = period / DECAY_STEPS;
  }

  /** Goes on to `now`, in milliseconds; a clock that went back changes nothing. O(steps passed, at most 200). */
  advance(now: number): void {
    const passed = this.#first + Math.floor((now - this.#origin) / this.stepLength) - this.#step;
    if (passed <= 0) return;
    if (passed < DECAY_STEPS) {
      for (let i = 1; i <= passed; i++) this.#backlog[(this.#step + i) % DECAY_STEPS] = 0;
      this.#step += passed;
      return;
    }
    // A pause, however long, is as many steps as it takes to forget everything: a step stays a number to count with.
    this.#step += DECAY_STEPS;
    this.#startAt(now);
  }

  /** The present step begins at `now`, and nothing was freed before. */
  #startAt(now: number): void {
    this.#backlog.fill(0);
    this.#origin = now;
    this.#first = this.#step;
  }

  /**
   * Starts the steps at `now`, so that the first bytes to be freed age from their own moment. Only while no block is
   * idle.
   */
  restart(now: number): void {
    this.#startAt(now);
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

/** 5 ms: with the smooth curve a sweep comes this often at most; a hundredth of the default period. */
const SMOOTH_LOOK = 5;

/**
 * What is left of a block's time under pressure; .NET's shared pool halves it at medium and takes all of it at high.
 */
const LEFT: Record<PressureLevel, number> = { low: 1, medium: 0.5, high: 0 };

/** The aging of one pool's idle blocks. */
export class PageAge {
  readonly #cache: PageCache;
  readonly #config: PageConfig;
  readonly #curve: DecayCurve | undefined;
  /** How urgently memory is wanted back. */
  pressure: PressureLevel = "low";

  /** Ages what stands in `cache`. */
  constructor(cache: PageCache, config: PageConfig) {
    this.#cache = cache;
    this.#config = config;
    const { ageOut, curve } = config;
    if (curve === "smooth" && ageOut > 0 && ageOut < Number.POSITIVE_INFINITY) this.#curve = new DecayCurve(ageOut);
  }

  /** True when blocks have to be counted in and out. */
  get isSmooth(): boolean {
    return this.#curve !== undefined;
  }

  /** True when nothing is kept beyond this moment. */
  get holdsNothing(): boolean {
    return this.pressure === "high" || (this.#config.ageOut === 0 && this.#config.min === 0);
  }

  /** A block was freed at `now`, and is not in the cache yet. */
  freed(block: PageBlock, now: number): void {
    block.stamp = now;
    if (this.#curve === undefined) return;
    if (this.#cache.idle === 0) this.#curve.restart(now);
    else this.#curve.advance(now);
    block.step = this.#curve.add(block.cls.bytes);
  }

  /** A idle block is leased again. */
  taken(block: PageBlock): void {
    this.#curve?.remove(block.cls.bytes, block.step);
  }

  /** Lets go what has to go at `now`; returns when to look again, `Infinity`: not before another block is freed. */
  sweep(now: number): number {
    if (this.pressure === "high") {
      this.#cache.agedOut += this.#cache.trim();
      return Number.POSITIVE_INFINITY;
    }
    if (this.#config.ageOut === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
    return this.#curve === undefined ? this.#sweepCliff(now) : this.#sweepSmooth(now, this.#curve);
  }

  #sweepCliff(now: number): number {
    const cache = this.#cache;
    const age = this.#config.ageOut * LEFT[this.pressure];
    while (cache.idle > this.#config.min) {
      const { stamp } = cache.oldest()!;
      // The sum on both sides: a difference may round the other way, and the timer would come back at once without end.
      if (now < stamp + age) return stamp + age;
      cache.agedOut++;
      cache.dropOldest();
    }
    return Number.POSITIVE_INFINITY;
  }

  #sweepSmooth(now: number, curve: DecayCurve): number {
    const cache = this.#cache;
    curve.advance(now);
    const allowed = curve.allowed() * LEFT[this.pressure];
    let idleBytes = cache.idleBytes();
    while (cache.idle > this.#config.min) {
      // A block goes whole, so it stays until the curve leaves nothing of it: what is idle is never below the curve.
      const { bytes } = cache.oldest()!.cls;
      if (idleBytes - bytes < allowed) return now + Math.max(SMOOTH_LOOK, curve.stepLength);
      idleBytes -= bytes;
      cache.agedOut++;
      cache.dropOldest();
    }
    return Number.POSITIVE_INFINITY;
  }
}
