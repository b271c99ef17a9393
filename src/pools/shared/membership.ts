/**
 * Membership of a shared pool: taking a place in it, reserving one for another thread, making that live, and leaving.
 *
 * The life-cycle of a member is in member-status.ts; here are the steps that a thread takes for itself, or for one that
 * it starts. A member that does not leave by itself is evicted by others (reclaim.ts).
 *
 * A reservation is for a thread that is starting: its maker knows the number and can evict it whenever it dies. Until
 * it is live it belongs to its maker, which its epoch names from the first step on, and is taken back when its maker
 * leaves or ends. JOINING: one thread, and no other one, writes whose it is (lineage.ts); nobody cancels it.
 *
 * Who leaves clears up after itself, by one pass of reclaim.ts; what that does not clear is others' to clear. Where
 * every member has ended, and so nobody is there to clear up, a newcomer takes a place over with all that was held in
 * it ({@link inheritMembership}).
 *
 * Invariants. No place is given out to which a transfer is announced: its sender will notice that the last member has
 * gone. And none whose bit a killed thread left in a slot, while there is another. Each step may be the last of the
 * thread that takes it, and the tests stop threads after each.
 *
 * Complexity: joining O(members^2 + count), leaving as one pass of a reclaim, O(count). All else is O(1).
 */
import { ALL_WAITERS, type Core, closeFree, depart, memberAt, wake } from "./core.ts";
import { Header, LINE, MemberState, MemberWord, RETIRING, type SharedLayout } from "./layout.ts";
import { noteMaker, noteThreadOf, stepsToMaker, type ThreadMemory } from "./lineage.ts";
import { isPresent, isReservation, type Membership, nextFree } from "./member-status.ts";
import { isStray, newPass, reclaimAll, reclaimPass, takeBackReservations } from "./reclaim.ts";
import { isTransferTarget } from "./transfer.ts";

/**
 * Takes a free place from `first` on and before `end` for `state`, live or reserved; null when there is none. `maker`:
 * the member that reserves it, with whose end a reservation ends that nobody has activated. `then`: the status that the
 * free place must have still; 0: any.
 */
export function claimMembership(
  i32: Int32Array,
  layout: SharedLayout,
  state: number,
  first = 0,
  end: number = layout.members,
  maker: Membership | null = null,
  then = 0,
): Membership | null {
  const clean = takePlace(i32, layout, state, first, end, maker, then, true);
  if (clean !== null || i32[Header.UNRECLAIMED] === 0) return clean;
  return takePlace(i32, layout, state, first, end, maker, then, false);
}

/**
 * `onlyClean`: no place whose bit stands in a slot, which a killed thread has left there; the next call that clears up
 * ends that. A member that got such a place would have the slot until it leaves.
 */
function takePlace(
  i32: Int32Array,
  layout: SharedLayout,
  state: number,
  first: number,
  end: number,
  maker: Membership | null,
  then: number,
  onlyClean: boolean,
): Membership | null {
  for (let member = first; member < end; member++) {
    const at = layout.membersAt + member * LINE + MemberWord.STATUS;
    const status = then === 0 ? Atomics.load(i32, at) : then;
    if ((status & MemberState.MASK) !== MemberState.FREE) continue;
    if (onlyClean && isStray(i32, layout, member)) continue;
    const free = status & ~MemberState.MASK;
    const steps = state === MemberState.RESERVED ? stepsToMaker(free, maker === null ? 0 : maker.member + 1) : 1;
    const mine = nextFree(free, steps) | state;
    if (Atomics.compareExchange(i32, at, status, mine) !== status) continue;
    if (!isTransferTarget(i32, layout, member)) {
      if (maker !== null) noteMaker(i32, layout, { member, status: mine }, maker, false);
      // A member that was declared dead too early may have announced a transfer after its end; it would keep others
      // out.
      Atomics.store(i32, at - MemberWord.STATUS + MemberWord.TRANSFER, 0);
      Atomics.store(i32, at - MemberWord.STATUS + MemberWord.JOINING, 0);
      return { member, status: mine };
    }
    // A thread is about to send a lease to the last member here. It will notice; until then the place stays free.
    Atomics.store(i32, at, mine & ~MemberState.MASK);
  }
  return null;
}

/**
 * Makes the reservation with this status live, for a thread that remembers this of itself: the new status, or 0 when it
 * was taken back meanwhile.
 */
export function activateReservation(
  i32: Int32Array,
  layout: SharedLayout,
  member: number,
  reserved: number,
  known?: ThreadMemory,
): number {
  // With the status of a free place a thread would become a member that nobody let in; with that of a live one it
  // would share another thread's rights.
  if (!isReservation(reserved)) return 0;
  const at = layout.membersAt + member * LINE + MemberWord.STATUS;
  const joining = (reserved & ~MemberState.MASK) | MemberState.JOINING;
  const live = (reserved & ~MemberState.MASK) | MemberState.LIVE;
  // From here on nobody takes it back but with the end of its maker or of this thread.
  if (Atomics.compareExchange(i32, at, reserved, joining) !== reserved) return 0;
  noteThreadOf(i32, layout, { member, status: reserved }, known);
  return Atomics.compareExchange(i32, at, joining, live) === joining ? live : 0;
}

/**
 * Gives a reservation back that no thread has activated; false, with nothing changed: one has, or it was taken back.
 */
export function cancelReservation({ i32, layout }: Core, { member, status }: Membership): boolean {
  const at = layout.membersAt + member * LINE + MemberWord.STATUS;
  return isReservation(status) && Atomics.compareExchange(i32, at, status, status & ~MemberState.MASK) === status;
}

/** Gives a membership back that nobody has used yet, reserved or live. */
export function returnMembership(i32: Int32Array, layout: SharedLayout, { member, status }: Membership): void {
  const at = layout.membersAt + member * LINE + MemberWord.STATUS;
  const free = status & ~MemberState.MASK;
  for (const state of [MemberState.RESERVED, MemberState.JOINING, MemberState.LIVE]) {
    if (Atomics.compareExchange(i32, at, free | state, free) === (free | state)) return;
  }
}

/**
 * Makes the place of a member that has ended the next one's, reserved, with all that it held: where every member has
 * ended, and so nobody is there to reclaim it. The one who joins there calls `disown()` first. Null, and nothing
 * changed: it is another one's by now, or is being reclaimed.
 */
export function inheritMembership(
  i32: Int32Array,
  layout: SharedLayout,
  { member, status }: Membership,
): Membership | null {
  const state = status & MemberState.MASK;
  if (!isPresent(status) && state !== MemberState.LEAVING) return null;
  const at = layout.membersAt + member * LINE + MemberWord.STATUS;
  const free = status & ~MemberState.MASK;
  const mine = nextFree(free, stepsToMaker(free, 0)) | MemberState.RESERVED;
  if (Atomics.compareExchange(i32, at, status, mine) !== status) return null;
  Atomics.store(i32, at - MemberWord.STATUS + MemberWord.JOINING, 0);
  Atomics.add(i32, Header.RECLAIMED, 1);
  return { member, status: mine };
}

/** Gives a membership back that was inherited and not used: what was held there is others' to reclaim. */
export function returnInherited(i32: Int32Array, layout: SharedLayout, { member, status }: Membership): void {
  const at = layout.membersAt + member * LINE + MemberWord.STATUS;
  const epoch = status & ~MemberState.MASK;
  for (const state of [MemberState.RESERVED, MemberState.JOINING, MemberState.LIVE]) {
    if (Atomics.compareExchange(i32, at, epoch | state, epoch | MemberState.RECLAIMING) === (epoch | state)) break;
  }
  Atomics.store(i32, Header.UNRECLAIMED, 1);
}

/** This thread goes: what only it holds comes free. Returns how many slots that were. */
export function leave(core: Core): number {
  const { i32, status } = core;
  const at = memberAt(core, core.member) + MemberWord.STATUS;
  const leaving = (status & ~MemberState.MASK) | MemberState.LEAVING;
  // They end with their maker: nobody else would take them back.
  if (takeBackReservations(core, core, false)) reclaimAll(core);
  // First this: a thread that sends to this one from now on notices. It fails where this one was evicted: others clear
  // up then.
  if (Atomics.compareExchange(i32, at, status, leaving) !== status) return 0;
  // The magazine is empty from now on; the pass shows its slots in the bitmap.
  core.mask = 0;
  const pass = newPass();
  const whole = reclaimPass(core, core.me, pass);
  if ((i32[Header.WAITING]! & RETIRING) !== 0) closeFree(core, leaving);
  // What is left is for the others, as if this thread had been evicted now.
  const end = (status & ~MemberState.MASK) | (whole ? MemberState.FREE : MemberState.RECLAIMING);
  if (!whole) Atomics.store(i32, Header.UNRECLAIMED, 1);
  depart(core);
  Atomics.compareExchange(i32, at, leaving, end);
  // In the header, which is the same in every pool: should the memory hold another one by now, it looks once too often.
  wake(core, ALL_WAITERS);
  return pass.freed;
}
