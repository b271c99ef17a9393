/**
 * The end of members whose threads have ended, or were declared dead: their memberships are marked, and what only they
 * held is free again.
 *
 * Life-cycle, of the status that member-status.ts describes: a member is evicted (RECLAIMING), a pass takes it out of
 * every slot (RECLAIMED), and its place is free when no earlier pass goes on that may still count it in.
 *
 * What ends with a thread ends by one function, {@link evictThread}, however that end is told: each of its memberships,
 * what it reserved, and the members whose threads are its workers, or theirs (lineage.ts). In a pool that is over,
 * where no lease is good, {@link endMember} does it. A free place whose bit a killed thread left in a slot is marked as
 * a member is ({@link markStrays}). A hold that a killed sender gave to a member that was gone by then is the sender's
 * again first ({@link revertCutOff}).
 *
 * Invariants. Any number of members may reclaim at once; each of these steps may be the last of the thread that takes
 * it, and the tests stop threads after each. Only a place (not a slot) waits for a reclaimer that stopped in the
 * middle.
 *
 * Complexity: which memberships have ended O(members^2), a pass O(count). One call passes over all slots a few times at
 * most and clears {@link CLEAR_BYTES}. What is left stays with its RECLAIMING member, and {@link resumeReclaim} goes on
 * with it: at the next search that finds no slot, at each look of a waiter, at the next reclaim.
 */
import { ALL_WAITERS, type Core, clearSlot, isLease, memberAt, NONE, RETRIES, reopen, stateAt, wake } from "./core.ts";
import {
  CLOSED_SLOT,
  DEAD_SLOT,
  Header,
  LINE,
  MemberState,
  MemberWord,
  type SharedLayout,
  SlotWord,
  WORD_SHIFT,
  WORD_SLOTS,
} from "./layout.ts";
import { earlierOf, lineOf, reservationsOf, threadOf } from "./lineage.ts";
import { epochAndNumber, isPresent, isSameMember, type Membership, statusOf } from "./member-status.ts";
import { endVisit, isAlive, visit } from "./pool-state.ts";
import { isTransferTarget } from "./transfer.ts";

/** 64 MiB take some 20 ms to clear. Slots beyond that are cleared by the next call. */
export const CLEAR_BYTES: number = 2 ** 26;

/** A slot costs as much as 2 KiB, however few bytes it has: half a microsecond for the steps around the clearing. */
const LEAST_BYTES = 2048;

/** Looks at slots in one call, some 5 ms of them: at least one pass, at most {@link MAX_PASSES}. */
const MAX_SLOT_LOOKS = 2 ** 18;
const MAX_PASSES = 8;

/** Slots that a call looks at for bits of nobody, some 30 us of them, where no search has seen one. */
const MAX_UNASKED = 2 ** 14;

/** Tries on one slot of a pass; a pass is given up after so many slots that others changed at every try. */
const SLOT_TRIES = 4;
const MAX_DISTURBED = 1024;

/** What a call that clears up has done, and may do still. */
interface Pass {
  freed: number;
  /** Bytes that it may clear. */
  bytes: number;
  /** Slots that others changed at every try. */
  disturbed: number;
  /** Slots that it left, for that reason or because it may clear no more. */
  left: number;
}

export function newPass(): Pass {
  return { freed: 0, bytes: CLEAR_BYTES, disturbed: 0, left: 0 };
}

/**
 * Ends another membership, the one that had the status `then` (0: whichever is there), and no other one, because its
 * thread may live: what only it held is free, what others hold too stays theirs. Returns how many slots came free by
 * this call. Where the thread has ended: {@link reclaimThread}.
 */
export function reclaim(core: Core, member: number, then: number): number {
  evict(core, member, then);
  return reclaimAll(core);
}

/**
 * Ends a thread that has ended: the membership by which that was told, each other one that it has, and those of its
 * workers and of theirs, which have ended with it. `thread`: its word, where that is known; else it is what stands
 * beside the membership. Returns how many slots came free by this call.
 */
export function reclaimThread(core: Core, membership: Membership, thread = 0): number {
  evictThread(core, membership, thread);
  return reclaimAll(core);
}

/**
 * As {@link reclaimThread}, by one that is not a member of the pool any more: it marks the members, and those that are
 * present clear up, at their next look for a slot.
 */
export function reclaimFromOutside(core: Core, membership: Membership, thread = 0): void {
  const { i32, pool } = core;
  if (!visit(i32, pool)) return;
  evictThread(core, membership, thread);
  Atomics.store(i32, Header.UNRECLAIMED, 1);
  wake(core, ALL_WAITERS);
  endVisit(i32);
}

/**
 * The first half of {@link reclaimThread}: the one way to end a thread's memberships, by whichever call its end is
 * told.
 */
export function evictThread(core: Core, membership: Membership, thread = 0): void {
  for (const ended of endedWith(core, membership, thread)) {
    evict(core, ended.member, ended.status);
    // Also where it had left, and its place is another one's by now.
    takeBackReservations(core, ended, true);
  }
}

/** Marks a member for reclaim, the one that had the status `then` (0: whichever is there); the next pass clears up. */
function evict(core: Core, member: number, then: number): void {
  const { i32 } = core;
  const at = memberAt(core, member) + MemberWord.STATUS;
  for (let n = 0; n < RETRIES; n++) {
    const status = Atomics.load(i32, at);
    if (then !== 0 && (status & ~MemberState.MASK) !== (then & ~MemberState.MASK)) break;
    // Also an empty membership: one who was declared dead too early may have taken slots since.
    const state = status & MemberState.MASK;
    if (state === MemberState.RECLAIMING || state === MemberState.RECLAIMED) break;
    const reclaiming = (status & ~MemberState.MASK) | MemberState.RECLAIMING;
    if (Atomics.compareExchange(i32, at, status, reclaiming) !== status) continue;
    // Once for each member: who left by itself, or never came, is none.
    if (state !== MemberState.FREE) Atomics.add(i32, Header.RECLAIMED, 1);
    break;
  }
}

/**
 * The memberships of a thread that has ended, and of all that have ended with it, each told by its number and its
 * epoch: the place of one that left may be that of the worker of its worker. Of this thread's own, whatever is written
 * there, only the one that was named: it lives. Bounded, whatever is written there meanwhile. O(members^2).
 */
function endedWith(core: Core, membership: Membership, thread: number): Membership[] {
  const { i32, layout } = core;
  const ended = [membership];
  const seen = new Set([epochAndNumber(membership.status, membership.member)]);
  // Memberships, and threads.
  const words = new Set(seen);
  for (const word of [thread, threadOf(i32, layout, membership)]) {
    if (word !== 0 && word !== core.thread) words.add(word);
  }
  for (let found = -1; found !== ended.length && ended.length <= 2 * layout.members; ) {
    found = ended.length;
    for (let member = 0; member < layout.members; member++) {
      const status = statusOf(core, member);
      const state = status & MemberState.MASK;
      // One that ends in the middle of leave() has left nothing but a part of its slots.
      if (!isPresent(status) && state !== MemberState.LEAVING) continue;
      if (isSameMember(status, member === core.member ? core.status : 0)) continue;
      const own = epochAndNumber(status, member);
      if (seen.has(own)) continue;
      const by = threadOf(i32, layout, { member, status });
      const ends = [by, ...lineOf(i32, layout, { member, status })];
      if (by !== core.thread) ends.push(...earlierOf(i32, layout, { member, status }));
      if (!ends.some((word) => words.has(word))) continue;
      seen.add(own);
      words.add(own);
      if (by !== core.thread) words.add(by);
      ended.push({ member, status });
    }
  }
  return ended;
}

/**
 * Ends the membership of a thread that has ended, and those that end with it, in a pool that has ended: the one that
 * had the status `then` (0: whichever is there). False: the memory holds another pool by now. This thread need not be a
 * member.
 */
export function endMember(core: Core, member: number, then: number): boolean {
  const { i32, pool } = core;
  if (!visit(i32, pool)) return false;
  for (const ended of endedWith(core, { member, status: then === 0 ? statusOf(core, member) : then }, 0)) {
    const at = memberAt(core, ended.member) + MemberWord.STATUS;
    const status = Atomics.load(i32, at);
    if ((status & ~MemberState.MASK) === (ended.status & ~MemberState.MASK))
      Atomics.compareExchange(i32, at, status, status & ~MemberState.MASK);
  }
  endVisit(i32);
  return true;
}

/**
 * Takes back what a member that has ended, or ends now, has reserved; whether there was something. What may have been
 * sent there is a reclaim's. One that is activated in this moment is its new member's: the same word decides.
 */
export function takeBackReservations(core: Core, maker: Membership, hasEnded: boolean): boolean {
  const reservations = reservationsOf(core, maker, hasEnded);
  for (const { member, status } of reservations) {
    const reclaiming = (status & ~MemberState.MASK) | MemberState.RECLAIMING;
    Atomics.compareExchange(core.i32, memberAt(core, member) + MemberWord.STATUS, status, reclaiming);
  }
  return reservations.length > 0;
}

/** Goes on with clearing up that an earlier call left. Returns how many slots came free. */
export function resumeReclaim(core: Core): number {
  const { i32 } = core;
  return i32[Header.UNRECLAIMED] === 0 ? 0 : reclaimAll(core);
}

/**
 * Takes back the slots of members that are RECLAIMING. Returns how many slots came free by this call. Several may do so
 * at once: one that is stopped in the middle keeps at most the one slot that it clears (all of them where a slot takes
 * several passes). Only a membership has to wait for it. A pass that was begun while the membership's member was
 * reclaiming may still take that member out of slots, so the membership is not given away before every such pass is
 * over:
 * - A reclaimer sets its bit before it looks who is reclaiming, and clears it after its pass.
 * - A membership whose slots are done becomes RECLAIMED, so that no pass that begins later counts it in.
 * - It becomes FREE once nobody else's bit is set, looked at after it was RECLAIMED. The thread that clears the last
 *   bit sees that.
 */
export function reclaimAll(core: Core): number {
  const { i32, layout, me } = core;
  // One whose membership has ended clears up nothing: these words may be another pool's. Looked at in every round, for
  // a waiter that is woken may be a program's own code.
  const pass = newPass();
  const passes = Math.max(1, Math.min(MAX_PASSES, Math.floor(MAX_SLOT_LOOKS / core.count)));
  // More than once: a member that ends after the last look and before the end of the pass would be left over.
  for (let n = 0; Atomics.load(i32, core.statusAt) === core.status; n++) {
    if (n === passes || pass.bytes <= 0 || pass.disturbed >= MAX_DISTURBED) {
      Atomics.store(i32, Header.UNRECLAIMED, 1);
      break;
    }
    const before = Atomics.or(i32, Header.RECLAIMERS, me) & ~me;
    if (takesPasses(core) && anyPresent(core, before)) {
      // In these pools one thread reclaims at a time, the first: it may leave a slot half cleared for a later pass.
      Atomics.and(i32, Header.RECLAIMERS, ~me);
      Atomics.store(i32, Header.UNRECLAIMED, 1);
      break;
    }
    const isAsked = i32[Header.UNRECLAIMED] !== 0;
    if (isAsked) Atomics.store(i32, Header.UNRECLAIMED, 0);
    if (n === 0 && (isAsked || core.count <= MAX_UNASKED)) markStrays(core);
    let bits = 0;
    const reclaiming: Membership[] = [];
    const done: Membership[] = [];
    for (let member = 0; member < layout.members; member++) {
      const status = statusOf(core, member);
      const state = status & MemberState.MASK;
      if (state === MemberState.RECLAIMED) done.push({ member, status });
      if (state !== MemberState.RECLAIMING) continue;
      reclaiming.push({ member, status });
      bits |= 1 << member;
      // Before its place is free, and again by the next one if this thread is stopped here.
      takeBackReservations(core, { member, status }, true);
    }
    const whole = bits !== 0 && reclaimPass(core, bits, pass);
    for (const { member, status } of whole ? reclaiming : []) {
      const reclaimed = (status & ~MemberState.MASK) | MemberState.RECLAIMED;
      // Not a store: another reclaimer may have been faster, and the membership somebody else's by now.
      const seen = Atomics.compareExchange(i32, memberAt(core, member) + MemberWord.STATUS, status, reclaimed);
      if (seen === status || seen === reclaimed) done.push({ member, status: reclaimed });
    }
    const others = Atomics.and(i32, Header.RECLAIMERS, ~me) & ~me;
    if (bits === 0 && done.length === 0) break;
    const waits = done.length > 0 && anyPresent(core, others);
    for (const { member, status } of waits ? [] : done) {
      const at = memberAt(core, member) + MemberWord.STATUS;
      Atomics.compareExchange(i32, at, status, status & ~MemberState.MASK);
    }
    // All of them: a wake-up may have gone to a dead member.
    if (bits !== 0) wake(core, ALL_WAITERS);
    if (waits) {
      // The other one frees these memberships at its end. If it does not come to that, the next slow path does.
      Atomics.store(i32, Header.UNRECLAIMED, 1);
      break;
    }
  }
  return pass.freed;
}

/**
 * Whether one of these bits is that of a member. Those of others can only be damage, or of members that were declared
 * dead.
 */
function anyPresent(core: Core, bits: number): boolean {
  for (let member = 0; member < core.layout.members; member++) {
    if ((bits & (1 << member)) !== 0 && isPresent(statusOf(core, member))) return true;
  }
  return false;
}

/** Whether the bit of a place in which nobody is stands in a slot; then those who clear up are told. O(count). */
export function isStray(i32: Int32Array, layout: SharedLayout, member: number): boolean {
  let isSet = false;
  for (let index = 0; !isSet && index < layout.count; index++) {
    const state = i32[layout.statesAt + (index << layout.stateShift)]!;
    isSet = (state & (1 << member)) !== 0 && (state & DEAD_SLOT) === 0;
  }
  if (isSet) Atomics.store(i32, Header.UNRECLAIMED, 1);
  return isSet;
}

/**
 * Marks for reclaim each place that is free and whose bit stands in a slot: a thread set it that had been declared dead
 * before, and cannot take it back (it was killed, or does not know whose it is). Nothing is marked that is not so: the
 * place is free before the look at the slots and at the step after it, and an epoch comes once; and a sender that set
 * the bit for one who has left takes it back by itself, so a place that one has announced a transfer to is left out.
 * O(count).
 */
function markStrays(core: Core): void {
  const { i32, layout } = core;
  let empty = 0;
  const free = new Int32Array(layout.members);
  for (let member = 0; member < layout.members; member++) {
    free[member] = statusOf(core, member);
    if ((free[member]! & MemberState.MASK) !== MemberState.FREE) continue;
    if (!isTransferTarget(i32, layout, member)) empty |= 1 << member;
  }
  let strays = 0;
  for (let index = 0; empty !== 0 && index < core.count; index++) {
    const state = i32[stateAt(core, index)]!;
    if ((state & empty) !== 0 && (state & DEAD_SLOT) === 0) strays |= state & empty;
  }
  for (let member = 0; member < layout.members; member++) {
    if ((strays & (1 << member)) === 0) continue;
    const reclaiming = free[member]! | MemberState.RECLAIMING;
    Atomics.compareExchange(i32, memberAt(core, member) + MemberWord.STATUS, free[member]!, reclaiming);
  }
}

/**
 * Takes this thread out of every slot that the last member in its place held, before it holds one itself. If it is
 * stopped on the way, its own end is met by the same step, or by a reclaim.
 */
export function disown(core: Core): void {
  const { size } = core.layout;
  const passes = MAX_PASSES + Math.ceil((core.count * Math.max(size, LEAST_BYTES)) / CLEAR_BYTES);
  // Bounded: another process may write into these words without end.
  for (let n = 0; n < passes && isAlive(core) && !reclaimPass(core, core.me, newPass()); n++);
  wake(core, ALL_WAITERS);
}

/**
 * One pass: takes members out of every slot, and shows every free slot in the bitmap again, since what they had in
 * their magazines is in no bitmap. False when it is not whole: a bound was reached, or others changed a slot
 * at every try.
 */
export function reclaimPass(core: Core, bits: number, pass: Pass): boolean {
  const { i32, layout } = core;
  Atomics.and(i32, Header.WAITING, ~bits);
  // Of members that ended in a pass of their own. The next member in that place is not in one.
  Atomics.and(i32, Header.RECLAIMERS, ~bits);
  for (let member = 0; member < layout.members; member++) if ((bits & (1 << member)) !== 0) revertCutOff(core, member);
  const { left } = pass;
  for (let word = 0; word < core.words; word++) {
    const first = word * WORD_SLOTS;
    const end = Math.min(first + WORD_SLOTS, core.count);
    let free = 0;
    for (let index = first; index < end; index++) {
      if (reclaimSlot(core, index, bits, pass)) free |= 1 << (index - first);
    }
    if (free !== 0) Atomics.or(i32, core.bitmapAt + word * LINE, free);
    if (pass.disturbed >= MAX_DISTURBED) return false;
  }
  if (pass.left !== left) return false;
  // Once more, and only now it is over: one that was declared dead and lives may have sent a lease until this pass met
  // that. From here on it holds none.
  for (let member = 0; member < layout.members; member++) {
    if ((bits & (1 << member)) === 0) continue;
    const index = revertCutOff(core, member);
    if (index !== NONE && reclaimSlot(core, index, bits, pass))
      Atomics.or(i32, core.bitmapAt + (index >>> WORD_SHIFT) * LINE, 1 << (index % WORD_SLOTS));
    // Last: it keeps the receiver's membership empty.
    if (pass.left === left) Atomics.store(i32, memberAt(core, member) + MemberWord.TRANSFER, 0);
  }
  return pass.left === left;
}

/** Takes members out of one slot; whether it is free then. */
function reclaimSlot(core: Core, index: number, bits: number, pass: Pass): boolean {
  const { i32, me } = core;
  const at = stateAt(core, index);
  for (let n = 0; n < SLOT_TRIES; n++) {
    const state = Atomics.load(i32, at);
    if ((state & bits) === 0 || (state & DEAD_SLOT) !== 0) return (state & core.takenMask) === 0;
    if ((state & core.holderMask & ~bits) !== 0) {
      if (Atomics.compareExchange(i32, at, state, state & ~bits) === state) return false;
      continue;
    }
    if (!core.plain && pass.bytes <= 0) break;
    // They were the last holders. A holder that died in a closed slot at the last low part may have moved the high part
    // or not.
    const generation = state & core.lastState;
    const partly = takesPasses(core);
    // A slot that an earlier pass cleared in part is closed already.
    const resumed = partly && i32[at + SlotWord.CLOSED] === state;
    const next = generation === core.lastState || resumed ? generation : generation + core.step;
    const free = core.plain && next !== core.lastState;
    // Closed by the reclaimer, so that nothing is lost if it ends as well.
    if (Atomics.compareExchange(i32, at, state, free ? next : next | me | CLOSED_SLOT) !== state) continue;
    if (partly && !clearPart(core, index, next, state & core.holderMask, resumed, pass)) break;
    if (!free) reopen(core, index, next, partly);
    if (!core.plain && !partly) pass.bytes -= Math.max(core.layout.size, LEAST_BYTES);
    pass.freed++;
    return true;
  }
  if (pass.bytes > 0) pass.disturbed++;
  pass.left++;
  return false;
}

/** Whether clearing a slot takes more than one pass. */
function takesPasses(core: Core): boolean {
  return !core.plain && core.layout.size > CLEAR_BYTES;
}

/**
 * Clears as much of a slot as the pass may clear. When that is not all, the slot goes back to the reclaiming that held
 * it, still closed, and two words beside its state say how far it was cleared, and in which state: no other state is
 * ever the same. True: all of it.
 */
function clearPart(core: Core, index: number, next: number, reclaiming: number, resumed: boolean, pass: Pass): boolean {
  const { i32, me } = core;
  const at = stateAt(core, index);
  const { size } = core.layout;
  const from = resumed ? Math.min(Math.max(0, i32[at + SlotWord.CLEARED]!), size) : 0;
  i32[at + SlotWord.CLOSED] = 0;
  const to = Math.min(size, from + pass.bytes);
  pass.bytes -= Math.max(to - from, LEAST_BYTES);
  if (!clearSlot(core, index, from, to)) return false;
  if (to === size) return true;
  const closed = next | CLOSED_SLOT;
  i32[at + SlotWord.CLEARED] = to;
  Atomics.store(i32, at + SlotWord.CLOSED, closed | reclaiming);
  Atomics.compareExchange(i32, at, closed | me, closed | reclaiming);
  return false;
}

/**
 * A transfer that was cut off after its step, to a member that was gone by then: the hold is the sender's still. The
 * slot that it was given back in, or {@link NONE}.
 */
function revertCutOff(core: Core, member: number): number {
  const { i32, layout } = core;
  const own = memberAt(core, member);
  const id = Atomics.load(i32, own + MemberWord.TRANSFER) - 1;
  const to = Atomics.load(i32, own + MemberWord.TRANSFER_TO);
  const index = id & core.indexMask;
  const valid = id >= 0 && index < core.count && to >= 0 && to < layout.members;
  if (!valid || isPresent(statusOf(core, to))) return NONE;
  const at = stateAt(core, index);
  // Without the high part: the hold is that of one who is gone in any case, and to be ended.
  for (let n = 0; n < RETRIES; n++) {
    const state = Atomics.load(i32, at);
    if (!isLease(core, state, id) || (state & (1 << to)) === 0) break;
    // Another reclaimer was faster: the bit is that of the membership's next member, who joined.
    if (isPresent(statusOf(core, to))) break;
    const next = (state & ~(1 << to)) | (1 << member);
    if (Atomics.compareExchange(i32, at, state, next) === state) return index;
  }
  return NONE;
}
