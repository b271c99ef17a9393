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
  /** Most places have one at most, which needs no list. */
  #first: (() => void) | undefined;
  #others: (() => void)[] = [];

  /** Ends when it is woken; never rejects. */
  wait(): Promise<void> {
    return new Promise((resolve) => this.#add(resolve));
  }

  /** Ends when it is woken, or when `work` has settled; never rejects. */
  waitFor(work: Promise<unknown>): Promise<void> {
    return new Promise((resolve) => {
      const settled = (): void => {
        this.#remove(resolve);
        resolve();
      };
      this.#add(resolve);
      work.then(settled, settled);
    });
  }

  #add(wake: () => void): void {
    if (this.#first === undefined) this.#first = wake;
    else this.#others.push(wake);
  }

  #remove(wake: () => void): void {
    if (this.#first === wake) this.#first = this.#others.shift();
    else this.#others = this.#others.filter((other) => other !== wake);
  }

  /** Everybody looks again. */
  wake(): void {
    const first = this.#first;
    if (first === undefined) return;
    this.#first = undefined;
    first();
    if (this.#others.length === 0) return;
    const others = this.#others;
    this.#others = [];
    for (const wake of others) wake();
  }
}
