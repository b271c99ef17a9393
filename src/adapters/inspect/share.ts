/**
 * Share: the part of a thread's time that looking at it may take. Pieces of work stand in one line, whoever wants them;
 * after each the next waits so many times as long as it took. Long work is done in slices of {@link SLICE_MS}.
 *
 * Invariants: two pieces never run in one turn of the event loop, unless they took no time; over any time that is long
 * beside a piece, all of them together take one part in `rests + 1`. It keeps nothing alive, and has no timer while
 * there is nothing to do.
 */
import type { Clock } from "../../util/clock.ts";
import type { Steps } from "../../util/steps.ts";

/** Milliseconds of one slice: a frame of 60 a second goes on beside it. */
export const SLICE_MS = 8;
/** A piece may have been stopped by another program's turn: a pause is not longer than this. */
const MAX_PAUSE_MS = 10_000;

/** See the module text. */
export class Share {
  readonly #rests: number;
  readonly #clock: Clock;
  #line: Promise<unknown> = Promise.resolve();
  #freeAt = Number.NEGATIVE_INFINITY;

  /** One part in `rests + 1` of the thread that `clock` belongs to. */
  constructor(rests: number, clock: Clock) {
    this.#rests = rests;
    this.#clock = clock;
  }

  /** Milliseconds until the next piece may be done; 0: now. */
  get pause(): number {
    return Math.max(0, this.#freeAt - this.#clock.now());
  }

  /** Does a piece of work when its turn has come. Rejects with what it throws. */
  run<T>(work: () => T): Promise<T> {
    const done = this.#line.then(async () => {
      for (let pause = this.pause; pause > 0; pause = this.pause) await this.#sleep(pause);
      const began = this.#clock.now();
      try {
        return work();
      } finally {
        this.charge(this.#clock.now() - began);
      }
    });
    this.#line = done.catch(() => {});
    return done;
  }

  /** Counts what was done beside the line until now: the next piece waits for it, too. */
  charge(milliseconds: number): void {
    const now = this.#clock.now();
    const from = Math.max(this.#freeAt, now - milliseconds);
    this.#freeAt = Math.min(from + (this.#rests + 1) * milliseconds, now + MAX_PAUSE_MS);
  }

  /** One slice of long work: until it yields something, ends, or the slice's time is over. */
  slice<T, Y>(steps: Steps<T, Y | undefined>): Promise<Slice<T, Y>> {
    return this.run(() => {
      const until = this.#clock.now() + SLICE_MS;
      do {
        const { done, value } = steps.next();
        if (done === true) return { done: true, value };
        if (value !== undefined) return { done: false, value };
      } while (this.#clock.now() < until);
      return { done: false, value: undefined };
    });
  }

  /** All of it in slices; undefined when nobody waits for it any more. */
  async finish<T>(steps: Steps<T>, isWanted: () => boolean = () => true): Promise<T | undefined> {
    while (isWanted()) {
      const { done, value } = await this.slice<T, never>(steps);
      if (done) return value;
    }
    steps.return(undefined as T);
    return undefined;
  }

  #sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.setTimer(resolve, milliseconds, true);
    });
  }
}

/** What came of a slice: its end with the result, or what it yielded; undefined: it goes on. */
type Slice<T, Y> = { readonly done: true; readonly value: T } | { readonly done: false; readonly value: Y | undefined };
