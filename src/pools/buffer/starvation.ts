/** The alarm of a pool: while somebody waits and somebody listens, it rings when the first in line has waited too long. */
import type { Clock, TimerHandle } from "../../util/clock.ts";
import { throwLater } from "../../util/late.ts";

/** Who is first in line, as far as the alarm must know. */
interface Queue {
  readonly first: { readonly since: number } | null;
}

/** One background timer for a whole queue; it never keeps the process alive. */
export class StarvationAlarm {
  readonly #clock: Clock;
  readonly #after: number;
  readonly #queue: Queue;
  readonly #ring: (waited: number) => void;
  #timer: TimerHandle | undefined = undefined;

  /**
   * @param clock time and timers
   * @param after milliseconds a wait may last; `Infinity`: never rings
   * @param queue who waits
   * @param ring called with the milliseconds that the first in line has waited, once every `after`
   */
  constructor(clock: Clock, after: number, queue: Queue, ring: (waited: number) => void) {
    this.#clock = clock;
    this.#after = after;
    this.#queue = queue;
    this.#ring = ring;
  }

  /** Starts the timer when somebody waits and none runs. */
  arm(): void {
    const { first } = this.#queue;
    if (this.#timer !== undefined || first === null || this.#after === Infinity) return;
    try {
      const due = first.since + this.#after - this.#clock.now();
      this.#timer ??= this.#clock.setTimer(() => this.#fire(), due > 0 ? due : this.#after, true);
    } catch (error) {
      // The wait that the alarm is for is in line already, and goes on without it.
      throwLater(error);
    }
  }

  #fire(): void {
    this.#timer = undefined;
    const { first } = this.#queue;
    if (first === null) return;
    const waited = this.#clock.now() - first.since;
    if (waited >= this.#after) this.#ring(waited);
    this.arm();
  }
}
