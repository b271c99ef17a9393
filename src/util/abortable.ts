/**
 * Waits that a signal can end. Every such wait goes through one of two functions, so that each treats a signal alike,
 * one that is aborted before, during or after the wait, and one of the caller's own making that throws or calls back
 * when it likes.
 *
 * A wait's life-cycle: it listens, it begins, it ends once (with a value, an error, or the signal's reason), and then
 * everything that it set up is undone, in reverse order. What undoing throws surfaces in a later turn: the caller has
 * its answer already.
 */
import { throwLater } from "./errors.ts";

/**
 * Calls `call` with the signal's reason when it is aborted, at once when it is already; once at most. Returns the
 * function that stops listening; it may be called at any time and never throws. Throws what the signal's own methods
 * throw; nothing listens then.
 */
export function onAbort(signal: AbortSignal | undefined, call: (reason: unknown) => void): () => void {
  if (signal === undefined) return noop;
  let listening = true;
  const stop = (): void => {
    if (!listening) return;
    listening = false;
    try {
      signal.removeEventListener("abort", fire);
    } catch (error) {
      throwLater(error);
    }
  };
  const fire = (): void => {
    if (!listening) return;
    stop();
    call(reasonOf(signal));
  };
  try {
    signal.addEventListener("abort", fire, { once: true });
    // It may have been aborted before, or by addEventListener() itself, and then sends no event any more.
    if (signal.aborted) fire();
  } catch (error) {
    stop();
    throw error;
  }
  return stop;
}

function noop(): void {}

function reasonOf(signal: AbortSignal): unknown {
  try {
    return signal.reason;
  } catch (thrown) {
    return thrown;
  }
}

/**
 * The reason of a signal that is aborted at this moment; undefined: it is not. What the signal itself throws is its
 * reason.
 */
export function abortOf(signal: AbortSignal | undefined): { readonly error: unknown } | undefined {
  try {
    return signal?.aborted ? { error: signal.reason } : undefined;
  } catch (error) {
    return { error };
  }
}

/** What the code that begins a wait ends it with. After the end, all three do nothing more than is said here. */
interface Wait<T> {
  /** Ends the wait with a value. */
  resolve(value: T): void;
  /** Ends the wait with an error. */
  reject(error: unknown): void;
  /** Has `undo` called once, when the wait has ended in whatever way; at once when it has ended already. */
  onEnd(undo: () => void): void;
}

/**
 * A promise that ends when `begin` says so, or with the signal's reason. A signal that is aborted already ends it
 * before `begin` is called; what `begin` throws ends it too, and what was set up until then is undone.
 */
export function abortable<T>(signal: AbortSignal | undefined, begin: (wait: Wait<T>) => void): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const undoings: (() => void)[] = [];
    let ended = false;
    const end = (settle: () => void): void => {
      if (ended) return;
      ended = true;
      settle();
      for (let undo = undoings.pop(); undo !== undefined; undo = undoings.pop()) undone(undo);
    };
    const wait: Wait<T> = {
      resolve: (value) => end(() => resolve(value)),
      reject: (error) => end(() => reject(error)),
      onEnd(undo) {
        if (ended) undone(undo);
        else undoings.push(undo);
      },
    };
    try {
      wait.onEnd(onAbort(signal, wait.reject));
      if (!ended) begin(wait);
    } catch (error) {
      wait.reject(error);
    }
  });
}

function undone(undo: () => void): void {
  try {
    undo();
  } catch (error) {
    throwLater(error);
  }
}
