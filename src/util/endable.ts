/**
 * An iterator over values that take time, which its consumer can end at any moment. A generator alone cannot be ended
 * while it waits: its return() stands in line behind the next() that waits.
 *
 * Life-cycle: nothing runs before the first call. From then on the body's signal is aborted by the caller's signal
 * (next() rejects with its reason) or by return() (next() is done). The body answers by throwing that reason, and
 * undoes in its `finally` what it did. A next() that finds the signal aborted rejects with its reason, also where the
 * body was at its end already, or has failed, until the end was told once. The body also runs, with a signal that is
 * aborted already, when return() is the first call: what it was given has to be closed all the same. Afterwards nothing
 * listens any more.
 *
 * Invariants: the body runs once; its signal is aborted once at most; what the body yielded before the end reaches the
 * consumer. Each step is O(1).
 */
import { onAbort } from "./abortable.ts";

/**
 * Runs `body` as an iterator that ends at any moment.
 *
 * @param signal the caller's; its reason is what the loop throws
 * @param body gets the signal that every wait of it has to end with
 */
export function endable<T>(
  signal: AbortSignal | undefined,
  body: (signal: AbortSignal) => AsyncGenerator<T, void, undefined>,
): AsyncIterableIterator<T, void, undefined> {
  return new Endable(signal, body);
}

class Endable<T> implements AsyncIterableIterator<T, void, undefined> {
  readonly #steps: AsyncGenerator<T, void, undefined>;
  readonly #end = new AbortController();
  readonly #signal: AbortSignal | undefined;
  #ignore: (() => void) | undefined;
  #hasLeft = false;
  /** The end was told: done, or an error. */
  #isTold = false;

  constructor(signal: AbortSignal | undefined, body: (signal: AbortSignal) => AsyncGenerator<T, void, undefined>) {
    this.#signal = signal;
    this.#steps = body(this.#end.signal);
  }

  async next(): Promise<IteratorResult<T, void>> {
    let isAborted = false;
    let end: () => IteratorResult<T, void>;
    try {
      this.#ignore ??= onAbort(this.#signal, (reason) => this.#end.abort(reason));
      isAborted = this.#end.signal.aborted;
      const step = await this.#steps.next();
      if (step.done !== true) return step;
      end = () => step;
    } catch (error) {
      end = () => this.#leave(error);
    }
    this.#ignore?.();
    return this.#tell(isAborted, end);
  }

  /** The end, which is the signal's reason for a call that found it aborted. Told once, it stays as it is. */
  #tell(isAborted: boolean, otherwise: () => IteratorResult<T, void>): IteratorResult<T, void> {
    const isReason = isAborted && !this.#isTold && !this.#hasLeft;
    this.#isTold = true;
    if (isReason) throw this.#end.signal.reason;
    return otherwise();
  }

  async return(): Promise<IteratorResult<T, void>> {
    const isBegun = this.#ignore !== undefined;
    this.#ignore ??= () => {};
    this.#ignore();
    this.#hasLeft = true;
    this.#end.abort();
    try {
      return await (isBegun ? this.#steps.return() : this.#steps.next());
    } catch (error) {
      return this.#leave(error);
    }
  }

  /** The answer to a step that threw: the body's way out is nobody's error when its consumer has left. */
  #leave(error: unknown): IteratorResult<T, void> {
    if (this.#hasLeft && error === this.#end.signal.reason) return { done: true, value: undefined };
    throw error;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
