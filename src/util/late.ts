/** Errors of other people's callbacks, at moments when they may not interrupt what is going on. */

/**
 * Lets an error surface as an uncaught one in a later turn. For callbacks that are called in the middle of bookkeeping (a
 * listener, a meta's free hook): the work is finished first, and the error is still not swallowed.
 */
export function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
