/** Waiting that blocks the thread; a step of the pool as those in shared-core.ts, and tested with them. */
import { acquireSlow, type Core, memberAt, NONE, wake } from "./core.ts";
import { Header, MemberWord } from "./layout.ts";
import { isAlive, resumeReclaim, statusOf } from "./membership.ts";
import type { SharedWaiter } from "./wait.ts";

/**
 * A sleeper looks by itself this often. Nothing in the protocol needs it; a wake-up that was meant for a thread that was
 * killed at that moment comes this late at worst, when nobody sees its end and calls reclaim().
 */
export const RECHECK_MS = 100;

/** 20 us: two wake-ups' worth. Longer pays only when there are more cores than threads that run, which nobody knows. */
const SPIN_MS = 0.02;

/**
 * Spins shortly, then sleeps, until a slot is taken, or the time or the pool is over: then {@link NONE}. `others`: this
 * thread has waiters besides, who keep its bit.
 */
export function acquireIdSync(core: Core, waiter: SharedWaiter, ms: number, others: boolean): number {
  const start = performance.now();
  do {
    for (let i = 0; i < core.spins; i++) {
      const id = acquireSlow(core);
      if (id !== NONE) return id;
    }
  } while (performance.now() - start < Math.min(SPIN_MS, ms));
  const { i32 } = core;
  if (statusOf(core, core.member) !== core.status) return NONE;
  i32[memberAt(core, core.member) + MemberWord.WAITS]!++;
  Atomics.or(i32, Header.WAITING, core.me);
  try {
    for (;;) {
      const wakes = Atomics.load(i32, Header.WAKES);
      resumeReclaim(core);
      const id = acquireSlow(core);
      if (id !== NONE) return id;
      const left = ms - (performance.now() - start);
      if (left <= 0 || !isAlive(core) || statusOf(core, core.member) !== core.status) {
        // A wake-up may have come between the look and now, meant for one who can use it.
        wake(core, 1);
        return NONE;
      }
      waiter.wait(i32, Header.WAKES, wakes, Math.min(left, RECHECK_MS));
    }
  } finally {
    if (!others) stopWaiting(core);
  }
}

/** Says that nobody of this thread waits any more; not where the memory holds another pool now, whose word it would be. */
export function stopWaiting(core: Core): void {
  const { i32 } = core;
  if (statusOf(core, core.member) === core.status) Atomics.and(i32, Header.WAITING, ~core.me);
}
