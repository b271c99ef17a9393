/**
 * Waiters: where calls of a stage wait for what the stage itself brings about, such as room in a line or a loop that
 * takes. A stage makes them with `addWaiters()`, so that the run knows of them.
 *
 * Life-cycle of a wait: it begins with {@link Waiters.wait} and ends when the stage wakes it. The run wakes all waits
 * of a stage when it ends, when a seek begins, and when the other end of an output wants nothing more: before the
 * hooks, and whatever they throw. Who was woken looks again at what it waits for, and at the pads and the run.
 *
 * Invariants: any number of calls may wait. They are woken in the order in which they came.
 *
 * Complexity: O(1) to begin; O(waiters) to wake.
 */
export class Waiters {
  #wakes: (() => void)[] = [];

  /** Ends when it is woken; never rejects. */
  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#wakes.push(resolve);
    });
  }

  /** Ends when it is woken, or when `work` has settled; never rejects. */
  waitFor(work: Promise<unknown>): Promise<void> {
    return new Promise((resolve) => {
      const settled = (): void => {
        const at = this.#wakes.indexOf(resolve);
        if (at >= 0) this.#wakes.splice(at, 1);
        resolve();
      };
      this.#wakes.push(resolve);
      work.then(settled, settled);
    });
  }

  /** Everybody looks again. */
  wake(): void {
    const wakes = this.#wakes;
    if (wakes.length === 0) return;
    this.#wakes = [];
    for (const wake of wakes) wake();
  }
}
