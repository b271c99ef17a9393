/**
 * When held blocks go. Two rules, one question: how long until somebody has to look again.
 */
import { DecayCurve } from "./decay-curve.ts";
import type { PageConfig, PressureLevel } from "./options.ts";
import type { PageBlock } from "./page-block.ts";
import type { PageCache } from "./page-cache.ts";

/** 5 ms: with the smooth curve somebody looks this often at most; a hundredth of the default period. */
const SMOOTH_LOOK = 5;

/** What is left of a block's time under pressure; .NET's shared pool halves it at medium and takes all of it at high. */
const LEFT: Record<PressureLevel, number> = { low: 1, medium: 0.5, high: 0 };

/** The ageing of one pool's held blocks. */
export class PageAge {
  readonly #cache: PageCache;
  readonly #config: PageConfig;
  readonly #curve: DecayCurve | undefined;
  #pressure: PressureLevel = "low";

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

  /** True when nothing is held beyond this moment. */
  get holdsNothing(): boolean {
    return this.#pressure === "high" || (this.#config.ageOut === 0 && this.#config.min === 0);
  }

  /** How urgently memory is wanted back. */
  get pressure(): PressureLevel {
    return this.#pressure;
  }
  set pressure(level: PressureLevel) {
    this.#pressure = level;
  }

  /** A block was freed at `now`, and is not in the cache yet. */
  freed(block: PageBlock, now: number): void {
    block.stamp = now;
    if (this.#curve === undefined) return;
    if (this.#cache.idle === 0) this.#curve.restart(now);
    else this.#curve.advance(now);
    block.step = this.#curve.add(block.cls.bytes);
  }

  /** A held block is lent again. */
  taken(block: PageBlock): void {
    this.#curve?.remove(block.cls.bytes, block.step);
  }

  /** Lets go what has to go at `now`; returns when to look again, `Infinity`: not before another block is freed. */
  sweep(now: number): number {
    if (this.#pressure === "high") {
      this.#cache.agedOut += this.#cache.flush();
      return Number.POSITIVE_INFINITY;
    }
    if (this.#config.ageOut === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
    return this.#curve === undefined ? this.#sweepCliff(now) : this.#sweepSmooth(now, this.#curve);
  }

  #sweepCliff(now: number): number {
    const cache = this.#cache;
    const age = this.#config.ageOut * LEFT[this.#pressure];
    while (cache.idle > this.#config.min) {
      const { stamp } = cache.oldest()!;
      // The sum on both sides: a difference may round the other way, and the timer would come back at once for ever.
      if (now < stamp + age) return stamp + age;
      cache.agedOut++;
      cache.dropOldest();
    }
    return Number.POSITIVE_INFINITY;
  }

  #sweepSmooth(now: number, curve: DecayCurve): number {
    const cache = this.#cache;
    curve.advance(now);
    const allowed = curve.allowed() * LEFT[this.#pressure];
    let held = cache.idleBytes();
    while (cache.idle > this.#config.min) {
      // A block goes whole, so it stays until the curve leaves nothing of it: what is held is never below the curve.
      const { bytes } = cache.oldest()!.cls;
      if (held - bytes < allowed) return now + Math.max(SMOOTH_LOOK, curve.stepLength);
      held -= bytes;
      cache.agedOut++;
      cache.dropOldest();
    }
    return Number.POSITIVE_INFINITY;
  }
}
