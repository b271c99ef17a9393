/** One step more on a shared slot: another lease of the same slot, without the slot ever being free. */
import { type Core, forget, isLease, NONE, stateAt } from "./shared-core.ts";

/**
 * Ends a lease and begins the next one on the same slot in one compare-exchange: the identity of the new lease, or NONE when this
 * thread is not the only holder (somebody still looks), holds it more than once, or does not hold it. Nothing has changed then.
 * @realtime
 */
export function renew(core: Core, id: number): number {
  const { i32, me } = core;
  const index = id & core.indexMask;
  if (core.mine[index] !== id) return NONE;
  const at = stateAt(core, index);
  const state = Atomics.load(i32, at);
  if ((state & core.takenMask) !== me || !isLease(core, state, id)) return NONE;
  const next = ((state - me + core.step) & core.stateMask) | me;
  if (Atomics.compareExchange(i32, at, state, next) !== state) return NONE;
  const fresh = ((next >>> core.ownerBits) << core.indexBits) | index;
  forget(core, index, id);
  core.mine[index] = fresh;
  core.extra[index] = 0;
  return fresh;
}
