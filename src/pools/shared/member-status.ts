/**
 * The status word of a member: an epoch that counts how often the place was taken, and a state. The number of the place
 * and this word tell one member from those before and after it: a {@link Membership}.
 *
 * Life-cycle of a member:
 * ```
 *   FREE --claim--> RESERVED --> JOINING --activate--> LIVE --leave--> LEAVING --all slots given back--> FREE
 *                       |           |                    |                |
 *                       +---------- evict ---------------+---- evict -----+--not all cleared yet--> RECLAIMING
 *   RECLAIMING --a pass is whole--> RECLAIMED --no earlier pass goes on--> FREE        RESERVED --cancel--> FREE
 * ```
 * claim, activate, leave and cancel are in membership.ts; evict, and what comes after it, in reclaim.ts.
 *
 * LIVE, JOINING and RESERVED members may hold leases. JOINING: one thread, and no other one, writes whose the place is
 * (lineage.ts); nobody cancels it. A RECLAIMED member holds nothing; its place is free as soon as no earlier pass of
 * another thread can still count it in. A member of a pool that was closed is LIVE until its own thread notices, or
 * another one says that it has ended: as long as one is, the memory gets no other pool (pool-state.ts).
 *
 * Invariant. Each state is left by one compare-exchange from the exact word that was read, so that no step meets a
 * later member.
 *
 * Complexity: O(1), and O(members) where every member is looked at.
 */
import { type Core, memberAt } from "./core.ts";
import { MemberState, MemberWord } from "./layout.ts";

/** One member, told from earlier and later ones of the same number by its status word. */
export interface Membership {
  /** Number of the member. */
  readonly member: number;
  /** Its status word. */
  readonly status: number;
}

/** The bits of a status: 30, as in a state (layout.ts says why). Epochs come round there. */
const STATUS_BITS = 0x3fffffff;

/** Bits of a member's number, + 1, in the words that {@link epochAndNumber} makes. */
export const NUMBER_BITS = 5;

/** An epoch and a member's number in one word, which is not 0: two words are the same where both are. */
export function epochAndNumber(status: number, member: number): number {
  return ((status & ~MemberState.MASK) << 2) | (member + 1);
}

/** The status of a membership. */
export function statusOf(core: Core, member: number): number {
  const { i32 } = core;
  return Atomics.load(i32, memberAt(core, member) + MemberWord.STATUS);
}

/** Whether a status is that of one who may hold leases. */
export function isPresent(status: number): boolean {
  const state = status & MemberState.MASK;
  return state === MemberState.LIVE || state === MemberState.RESERVED || state === MemberState.JOINING;
}

/** Whether a status is that of a reserved membership: what `activateReservation` takes. */
export function isReservation(status: number): boolean {
  return (status & MemberState.MASK) === MemberState.RESERVED;
}

/** Whether the member that had the status `then` may still hold leases; it may have become live meanwhile. */
export function isSameMember(now: number, then: number): boolean {
  return isPresent(now) && (now & ~MemberState.MASK) === (then & ~MemberState.MASK);
}

/** Whether the member that had the status `then` is gone: its place is free, or another member's. */
export function hasLeft(now: number, then: number): boolean {
  return (now & ~MemberState.MASK) !== (then & ~MemberState.MASK) || (now & MemberState.MASK) === MemberState.FREE;
}

/**
 * The status of a free place so many epochs on: of one that nobody has taken, so that one who expects this status does
 * not take it; with a state, that of its next member.
 */
export function nextFree(status: number, epochs = 1): number {
  return ((status & ~MemberState.MASK) + epochs * MemberState.EPOCH) & STATUS_BITS;
}

/** Whether nobody takes part any more: what nobody has, nobody has to end. */
export function isDeserted(core: Core): boolean {
  for (let member = 0; member < core.layout.members; member++) {
    const state = statusOf(core, member) & MemberState.MASK;
    if (state !== MemberState.FREE && state !== MemberState.RECLAIMED) return false;
  }
  return true;
}
