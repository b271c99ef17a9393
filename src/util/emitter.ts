/**
 * A small typed event list: no strings at run time beyond the event's name, and nothing at all while nobody listens.
 */

import { throwLater } from "./errors.ts";
import { oneOf, wrongType } from "./validate.ts";

type Listener<T> = (event: T) => void;

/** Listeners by event name; `Events` maps a name to what its listeners get. */
export class Emitter<Events extends object> {
  readonly #listeners: Map<keyof Events, Set<Listener<never>>> = new Map();
  readonly #names: readonly (keyof Events & string)[];

  /** @param names the events there are; a listener to another one would never be called */
  constructor(names: readonly (keyof Events & string)[]) {
    this.#names = names;
  }

  /**
   * Adds a listener and returns the function that removes it. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`.
   */
  on<K extends keyof Events>(name: K, listener: (event: Events[K]) => void): () => void {
    oneOf("name", name, this.#names);
    if (typeof listener !== "function") throw wrongType("listener", "a function", listener);
    let set = this.#listeners.get(name);
    if (set === undefined) {
      set = new Set();
      this.#listeners.set(name, set);
    }
    set.add(listener as Listener<never>);
    return () => {
      set.delete(listener as Listener<never>);
    };
  }

  /** True when somebody listens to `name`. */
  has(name: keyof Events): boolean {
    return (this.#listeners.get(name)?.size ?? 0) > 0;
  }

  /**
   * Calls the listeners in the order they were added. A listener that throws does not stop the others, nor the pool:
   * its error surfaces as an uncaught one in a later turn, where it belongs.
   */
  emit<K extends keyof Events>(name: K, event: Events[K]): void {
    const set = this.#listeners.get(name);
    if (set === undefined) return;
    for (const listener of [...set]) {
      try {
        (listener as Listener<Events[K]>)(event);
      } catch (error) {
        throwLater(error);
      }
    }
  }
}
