/**
 * The sampled back-stop for leases that nobody released: a FinalizationRegistry over their handles. It can only report. The
 * bytes are not taken back, because a raw view of them may live on anywhere.
 */
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import type { BufferSlot } from "../../media/buffer/slot.ts";

/** One lease in 128, as Netty's detector samples: registering costs 200 ns, so a sample costs under 2 ns an acquire. */
export const LEAK_SAMPLE = 128;

interface Watched {
  readonly slot: BufferSlot;
  readonly generation: number;
}

/** Watches one lease in so many. */
export class LeakWatch {
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
