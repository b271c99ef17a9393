/** Several observers of one pool, which knows one at most. */
import { throwLater } from "../util/errors.ts";
import type { PoolObserver, PoolRegistration } from "./registry.ts";

const watching: WeakMap<PoolRegistration, readonly PoolObserver[]> = new WeakMap();

/** Tells `observer` of everything in a pool from now on; returns what ends that, and holds the pool weakly. */
export function watchPool(pool: PoolRegistration, observer: PoolObserver): () => void {
  setObservers(pool, [...(watching.get(pool) ?? []), observer]);
  return endOf(new WeakRef(pool), observer);
}

/** A function of its own: a closure holds all that any closure of its function uses. */
function endOf(watched: WeakRef<PoolRegistration>, observer: PoolObserver): () => void {
  return () => {
    const pool = watched.deref();
    const now = (pool && watching.get(pool)) ?? [];
    if (pool === undefined || !now.includes(observer)) return;
    const others = now.filter((other) => other !== observer);
    setObservers(pool, others);
  };
}

function setObservers(pool: PoolRegistration, observers: readonly PoolObserver[]): void {
  watching.set(pool, observers);
  pool.setObserver(observers.length > 1 ? fanOut(observers) : (observers[0] ?? null));
}

/** Several observers as one. What one throws keeps no other from hearing. */
function fanOut(observers: readonly PoolObserver[]): PoolObserver {
  const each = (tell: (observer: PoolObserver) => void): void => {
    for (const observer of observers) {
      try {
        tell(observer);
      } catch (error) {
        throwLater(error);
      }
    }
  };
  /** Each observer counts waits by itself: the numbers that they gave, by the number that the pool gets. */
  const waits = new Map<number, Map<PoolObserver, number>>();
  let count = 0;
  return {
    onAcquire: (pool, slot, lease, tag, site) => each((to) => to.onAcquire(pool, slot, lease, tag, site)),
    onRelease: (pool, slot) => each((to) => to.onRelease(pool, slot)),
    onWait(pool) {
      const numbers = new Map<PoolObserver, number>();
      each((to) => numbers.set(to, to.onWait(pool)));
      waits.set(++count, numbers);
      return count;
    },
    onWaitEnd(pool, wait, served) {
      const numbers = waits.get(wait);
      waits.delete(wait);
      each((to) => {
        const number = numbers?.get(to);
        if (number !== undefined) to.onWaitEnd(pool, number, served);
      });
    },
    onResize: (pool, slots) => each((to) => to.onResize(pool, slots)),
    onDiscard: (pool, slot, reason) => each((to) => to.onDiscard(pool, slot, reason)),
    onStarved: (pool, waited, waiting) => each((to) => to.onStarved(pool, waited, waiting)),
    onEnd: (pool) => each((to) => to.onEnd(pool)),
  };
}
