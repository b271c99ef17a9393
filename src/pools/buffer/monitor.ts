/**
 * What watches a BufferPool from the side: leases that nobody released, and waits that last too long. Both only report.
 */
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import type { BufferSlot } from "../../media/buffer/slot.ts";
import type { Clock, TimerHandle } from "../../util/clock.ts";
import { throwLater } from "../../util/errors.ts";

/** One lease in 128, as Netty's detector samples: registering costs 200 ns, so a sample costs under 2 ns an acquire. */
export const LEAK_SAMPLE = 128;

interface Watched {
  readonly slot: BufferSlot;
  readonly generation: number;
}

/**
 * Watches one lease in so many with a FinalizationRegistry. It can only report: the bytes are not taken back, because a
 * raw view of them may still be in use.
 */
export class LeakMonitor {
  readonly #registry: FinalizationRegistry<Watched>;
  readonly #every: number;
  #count = 0;

  /**
   * @param every watch each n-th lease; 1: all
   * @param report called with the slot of a lease whose handle was collected while the lease went on
   */
  constructor(every: number, report: (slot: BufferSlot) => void) {
    this.#every = every;
    this.#registry = new FinalizationRegistry(({ slot, generation }) => {
      if (slot.generation === generation && slot.refCount > 0) report(slot);
    });
  }

  /** Registers the handle when it is its turn. */
  watch(buffer: MediaBuffer): void {
    if (this.#count++ % this.#every !== 0) return;
    this.#registry.register(buffer, { slot: buffer.slot, generation: buffer.generation });
  }
}

/** The first waiter, as far as the monitor must know. */
interface Queue {
  readonly first: { readonly since: number } | null;
}

/**
 * Reports when the first waiter has waited too long: one background timer for a queue, which never keeps the process
 * alive.
 */
export class StarvationMonitor {
  readonly #clock: Clock;
  readonly #after: number;
  readonly #queue: Queue;
  readonly #report: (waited: number) => void;
  #timer: TimerHandle | undefined = undefined;

  /**
   * @param clock time and timers
   * @param after milliseconds a wait may last; `Infinity`: nothing is reported
   * @param queue who waits
   * @param report called with the milliseconds that the first waiter has waited, once every `after`
   */
  constructor(clock: Clock, after: number, queue: Queue, report: (waited: number) => void) {
    this.#clock = clock;
    this.#after = after;
    this.#queue = queue;
    this.#report = report;
  }

  /** Starts the timer when somebody waits and none runs. */
  arm(): void {
    const { first } = this.#queue;
    if (this.#timer !== undefined || first === null || this.#after === Infinity) return;
    try {
      const due = first.since + this.#after - this.#clock.now();
      this.#timer ??= this.#clock.setTimer(() => this.#onTimer(), due > 0 ? due : this.#after, true);
    } catch (error) {
      // The wait that the timer is for is in line already, and goes on without it.
      throwLater(error);
    }
  }

  #onTimer(): void {
    this.#timer = undefined;
    const { first } = this.#queue;
    if (first === null) return;
    const waited = this.#clock.now() - first.since;
    if (waited >= this.#after) this.#report(waited);
    this.arm();
  }
}
