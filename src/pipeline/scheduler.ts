/**
 * TimeSlice: one loop's share of the thread. A pipeline whose stages never wait would otherwise block timers, signals
 * and input for as long as it runs. O(1); the clock is read for every 16th buffer.
 */
import { systemClock } from "../util/clock.ts";

/** 8 ms: half a frame at 60 Hz, so that a page stays smooth and a signal is felt at once. */
const SLICE_MS = 8;

/** Reading the clock costs 30 ns, as much as a whole push; every 16th buffer it is not noticed. */
const LOOK_EVERY = 16;

/** One loop's share of the thread. */
export class TimeSlice {
  #steps = 0;
  #since: number = systemClock.now();

  /** Undefined while the slice lasts; after that a promise that resolves in another turn of the event loop. */
  yieldIfNeeded(): Promise<void> | undefined {
    if ((++this.#steps & (LOOK_EVERY - 1)) !== 0 || systemClock.now() - this.#since < SLICE_MS) return undefined;
    return nextTurn().then(() => {
      this.#since = systemClock.now();
    });
  }
}

interface Turns {
  setImmediate?: (fn: () => void) => unknown;
  MessageChannel?: typeof MessageChannel;
}

/** Resolves in a later turn of the event loop, as early as the platform allows. */
export function nextTurn(): Promise<void> {
  const { setImmediate: immediate, MessageChannel: Channel } = globalThis as Turns;
  return new Promise((resolve) => {
    if (immediate !== undefined) immediate(() => resolve());
    else if (Channel !== undefined) {
      // setTimeout is clamped to 4 ms after a few turns in a browser; a message is not.
      const { port1, port2 } = new Channel();
      (port1 as { onmessage?: () => void }).onmessage = () => {
        port1.close();
        resolve();
      };
      port2.postMessage(null);
    } else setTimeout(resolve, 0);
  });
}
