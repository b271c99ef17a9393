/**
 * The transfer of a lease from one member to another, whose message comes by a lane or by a ring.
 *
 * Protocol. A lease moves in three steps, and belongs to exactly one of the two members after each. The sender prepares
 * ({@link prepareTransfer}): it announces which lease it is about to send, and to whom. It posts the message, or
 * cancels ({@link cancelTransfer}). It commits ({@link commitTransfer}): one compare-exchange moves the bit. The
 * receiver accepts, when it has the message ({@link acceptTransfer}, {@link acceptCommitted}).
 *
 * Whose message a lease waits for. From the second step on the lease is the receiver's, which learns of it by a
 * message: it takes the hold over in its own memory, when that comes. A message may never come: its sender was killed
 * before the system had it, or the receiver cannot read it. So each slot has a *sender word* for each receiver, which
 * the sender writes between the first step and the second: its own epoch and number where a lane carries the message,
 * {@link BY_RING} where a ring does. When a lane is at its end, no message comes from its other side any more: then its
 * receiver ends each hold that it has not taken over and whose word names that side ({@link dropLost}). It asks nobody,
 * waits for nobody, and looks at nothing but its own bits, so no other thread, stopped or blocked, keeps a slot.
 *
 * A message says nothing by itself: its sender may say anything, again, and of leases that it never had. So a message
 * takes a hold over only where this thread has the bit, has not taken that hold over yet, and the word names the lane
 * that the message came by, or rings ({@link acceptTransfer}). By the first two a hold is given to this thread once,
 * whatever is announced and whatever stands in shared memory; by the third it comes with the message of the one that
 * sent it. A message of which that is not so is of no lease; only while its sender has the lease itself, and this
 * thread has not, it may be early.
 *
 * The word of a hold that was not taken over is that of the transfer which brought it:
 * - Only who holds the lease writes it, and after it has looked that it does: a hold ends by its own thread alone, so
 *   the slot is no other lease's meanwhile. What is posted in between may have ended it.
 * - It is written before the bit is set. Who sees the bit sees this word or a later one.
 * - Nobody writes a later one: one who wants to send the lease there meets the bit, or the announcement of the first
 *   step, and is refused; another lease of that slot there is none, because this one is held.
 * - So nothing is ever cleared. A word without the bit, or of a hold that was taken over, says nothing, whatever is
 *   there: of an earlier lease, of a sender that ended before its second step, of the last member in the receiver's
 *   place, or of a memory's earlier use.
 *
 * What happens to those who are killed. The sender before its second step: the lease is its own, and a reclaim frees
 * it; a message about it is of a lease that is over. After it: the lease is the receiver's, which gets the message, or
 * else the end of the lane and {@link dropLost}. The receiver at any step, before or after its sender: a reclaim takes
 * it out of the slot, known or not. A lease whose message came and was not taken over yet is "not yet" (see
 * {@link acceptTransfer}) and has no bit; the lane takes in what it has at its end, before it looks for what it lost. A
 * member that was declared dead and lives may write its word late, and a hostile one anything: then the receiver misses
 * a message, or a lost lease, which stays its own until it leaves, or ends a hold before its message comes, which then
 * says nothing. The late one puts the word back that it found, as soon as it sees that it moves nothing. The receiver
 * ends no hold that it has taken over, and nobody else's.
 *
 * Invariants. The receiver's bit is not set before the second step: a bit is one hold, or one that was joined while it
 * was on its way; a thread neither joins a lease that is being sent to it nor is sent one that it is about to join.
 * Each step may be the last of the thread that takes it, and the tests stop threads after each.
 *
 * Complexity: a transfer O(1), a look at one slot for a lost lease O(1).
 */
import {
  announced,
  beginHold,
  type Core,
  dropHold,
  dropUndelivered,
  endOne,
  forget,
  holds,
  isComing,
  isCurrent,
  isLease,
  isLocalHolder,
  isPinned,
  isTooLate,
  leaseOf,
  MANY,
  memberAt,
  NONE,
  RETRIES,
  senderAt,
  stateAt,
  takeDelivery,
} from "./core.ts";
import { LINE, MemberState, MemberWord, type SharedLayout } from "./layout.ts";
import { epochAndNumber, isSameMember, type Membership, statusOf } from "./member-status.ts";

/** What became of a transfer, at either end. */
export const TransferResult = { DONE: 0, NOT_HELD: 1, GONE: 2, HAS_IT: 3, NOT_YET: 4, REENTRANT: 5 } as const;

/* For the hot path: what is imported, or a property, is loaded anew at each use. */
const DONE: number = TransferResult.DONE;
const TRANSFER: number = MemberWord.TRANSFER;
const TRANSFER_TO: number = MemberWord.TRANSFER_TO;
const JOINING: number = MemberWord.JOINING;

/** What a sender word says of a lane whose other end is that member. */
export function senderWord({ member, status }: Membership): number {
  return epochAndNumber(status, member);
}

/** What it says of a lease that was pushed into a ring: it lies there, and no end of a lane loses it. */
export const BY_RING = 0;

/**
 * The first half of moving a lease: announces it and looks whether it can be. When it answers DONE, the message to the
 * receiver goes out, and then {@link commitTransfer} moves the lease. In this order a sender that dies on the way
 * leaves the lease either with itself, where a reclaim finds it, or with a receiver that knows of it; never with one
 * that does not.
 */
export function prepareTransfer(core: Core, id: number, to: number, status: number): number {
  const { i32 } = core;
  const index = id & core.indexMask;
  const own = memberAt(core, core.member);
  const peer = memberAt(core, to);
  const word = announced(id);
  if (i32[core.statusAt] !== core.status) return TransferResult.NOT_HELD;
  // One transfer at a time is what the others can see of this member.
  if (core.isSending) return TransferResult.REENTRANT;
  i32[own + TRANSFER_TO] = to;
  // From here on the receiver's membership is given to nobody else. Who sees this store sees the one before it.
  Atomics.store(i32, own + TRANSFER, word);
  let outcome: number = DONE;
  if (!isSameMember(Atomics.load(i32, peer), status)) outcome = TransferResult.GONE;
  // A plain read, which the atomic one before it keeps behind the announcement. Before the look at the state: one that
  // has joined meanwhile is there by then. See join() in core.ts.
  else if (i32[peer + JOINING] === word) outcome = TransferResult.HAS_IT;
  // A plain read for the usual case: held here and by nobody else. commitTransfer() checks again.
  const alone = (((id >>> core.indexBits) & core.generationMask) << core.memberBits) | core.me;
  if (core.localLease[index] !== id || i32[stateAt(core, index)] !== alone) {
    // Before the look at the state: a transfer by another holder that is over by now has set the receiver's bit.
    const comes = outcome === DONE && isComing(core, id, to);
    const state = Atomics.load(i32, stateAt(core, index));
    const isOwn = isLocalHolder(core, index, id) && !isPinned(core, index);
    if (!isOwn || !holds(core, state, id)) outcome = TransferResult.NOT_HELD;
    else if (comes || (outcome === DONE && (state & (1 << to)) !== 0)) outcome = TransferResult.HAS_IT;
  }
  if (outcome !== DONE) Atomics.store(i32, own + TRANSFER, 0);
  return outcome;
}

/**
 * Whether another member has announced a transfer to the last member in this place. The word of a free place says
 * nothing: a member that joins there and announces later sees the new epoch, and one that left or was reclaimed has no
 * lease.
 */
export function isTransferTarget(i32: Int32Array, layout: SharedLayout, member: number): boolean {
  for (let other = 0; other < layout.members; other++) {
    const at = layout.membersAt + other * LINE;
    if (other === member || Atomics.load(i32, at + MemberWord.TRANSFER) === 0) continue;
    if (Atomics.load(i32, at + MemberWord.TRANSFER_TO) !== member) continue;
    if ((Atomics.load(i32, at + MemberWord.STATUS) & MemberState.MASK) !== MemberState.FREE) return true;
  }
  return false;
}

/** Takes an announced transfer back: the message could not be sent. */
export function cancelTransfer(core: Core): void {
  const { i32 } = core;
  // A getter in what was posted may have left the pool: the words may be another one's.
  if (i32[core.statusAt] !== core.status) return;
  Atomics.store(i32, memberAt(core, core.member) + TRANSFER, 0);
}

/**
 * The second step: one hold of this thread becomes the receiver's. GONE: the receiver died; this thread still has it.
 * NOT_HELD, and no word but the announcement has changed: it was given back since the first step.
 * `sender`: what the receiver's sender word is to say, {@link senderWord} of this thread where a lane carries the
 * message, and {@link BY_RING} where a ring does.
 */
export function commitTransfer(core: Core, id: number, to: number, status: number, sender: number): number {
  const { i32, me } = core;
  const index = id & core.indexMask;
  const at = stateAt(core, index);
  const bit = 1 << to;
  if (i32[core.statusAt] !== core.status) return TransferResult.NOT_HELD;
  let outcome: number = DONE;
  // The usual case: this thread alone holds it, and once.
  const own = (((id >>> core.indexBits) & core.generationMask) << core.memberBits) | me;
  let isHeld = core.localLease[index] === id && i32[at] === own;
  // A getter in what was posted may have given it back, and the slot may be another lease's by now. A bit of this
  // thread alone says nothing: the lease may be on its way here.
  if (!isHeld)
    isHeld = isLocalHolder(core, index, id) && !isPinned(core, index) && holds(core, Atomics.load(i32, at), id);
  if (!isHeld) outcome = TransferResult.NOT_HELD;
  // By the holder, and before the bit. Rings, and lanes back and forth, find their own there.
  const word = core.sendersAt + index * core.senderStride + to;
  const before = isHeld && i32[word] !== sender ? Atomics.exchange(i32, word, sender) : sender;
  let moved = isHeld && core.localLease[index] === id && Atomics.compareExchange(i32, at, own, own - me + bit) === own;
  for (let n = 0; isHeld && !moved; n++) {
    const state = Atomics.load(i32, at);
    if (n === RETRIES || !holds(core, state, id)) {
      outcome = TransferResult.NOT_HELD;
      break;
    }
    // Held more than once here: this thread stays a holder.
    const next = core.localLease[index] === id ? (state & ~me) | bit : state | bit;
    moved = Atomics.compareExchange(i32, at, state, next) === state;
  }
  if (outcome === DONE && !isSameMember(statusOf(core, to), status)) {
    outcome = revertTransfer(core, id, at, bit) ? TransferResult.GONE : TransferResult.NOT_HELD;
  } else if (outcome === DONE && core.localLease[index] === MANY - id) {
    endOne(core, index, id);
  } else if (outcome === DONE) forget(core, index, id);
  // This thread was declared dead behind its look: the word may be that of the next lease, which another one has sent.
  if (outcome === TransferResult.NOT_HELD && before !== sender) Atomics.compareExchange(i32, word, sender, before);
  // A plain store: only a thread that wants the receiver's membership has to see it, and may do so later.
  i32[memberAt(core, core.member) + TRANSFER] = 0;
  return outcome;
}

/**
 * Undoes a transfer to a member that is gone; false when its reclaim was faster and nobody else held it, so that the
 * lease is over; or when another holder sends the same lease here, which is this thread's hold then.
 */
function revertTransfer(core: Core, id: number, at: number, bit: number): boolean {
  const { i32, me } = core;
  const index = id & core.indexMask;
  const joining = memberAt(core, core.member) + MemberWord.JOINING;
  // As in join() of core.ts: the bit that this thread takes again must not meet one that is being sent here.
  Atomics.store(i32, joining, announced(id));
  const comes = isComing(core, id, core.member);
  const isOnce = core.localLease[index] === id;
  let isBack = false;
  for (let n = 0; n < RETRIES; n++) {
    const state = Atomics.load(i32, at);
    if (!isLease(core, state, id) || !isCurrent(core, index, id)) break;
    // Held once, this thread's bit was taken out by the transfer: what is there now was sent here.
    const isSent = isOnce && (comes || (state & me) !== 0) && (state & core.holderMask & ~bit) !== 0;
    if (Atomics.compareExchange(i32, at, state, (state & ~bit) | (isSent ? 0 : me)) !== state) continue;
    if (isSent) forget(core, index, id);
    // Else the bit is that of nobody, or of the next member in this place.
    else if (isTooLate(core)) forget(core, index, id);
    // As in retain(): from here on the generation does not change.
    else if (isCurrent(core, index, id)) isBack = true;
    else dropHold(core, index, id);
    break;
  }
  Atomics.compareExchange(i32, joining, announced(id), 0);
  return isBack;
}

/**
 * Takes over the hold that `from` announced to this thread, where that one's transfer has brought it: `sender` is what
 * the sender word says then, as {@link commitTransfer} was told. NOT_YET: `from` holds the lease, and may be between
 * its message and its step. GONE: the lease is over, or comes from another one, or was taken over before: this thread
 * gets no hold that it was not given, and each one once, whatever is announced to it.
 */
export function acceptTransfer(core: Core, id: number, from: number, sender: number): number {
  const { i32 } = core;
  const index = id & core.indexMask;
  if (i32[core.statusAt] !== core.status) return TransferResult.GONE;
  const state = Atomics.load(i32, stateAt(core, index));
  if (!isLease(core, state, id) || !isCurrent(core, index, id)) return TransferResult.GONE;
  if ((state & core.me) === 0) return (state & (1 << from)) === 0 ? TransferResult.GONE : TransferResult.NOT_YET;
  if (!isSentBy(core, index, sender)) return TransferResult.GONE;
  if (!isLocalHolder(core, index, id)) beginHold(core, index, id);
  // It has joined the lease while this hold was under way, which was counted then. Else it has it already.
  else if (!takeDelivery(core, index)) return TransferResult.GONE;
  return TransferResult.DONE;
}

/**
 * Whether a hold of this thread in that slot, of which it has not heard yet, was brought by that sender. After the look
 * at the bit, before which the word was written.
 */
function isSentBy(core: Core, index: number, sender: number): boolean {
  const { i32 } = core;
  return Atomics.load(i32, senderAt(core, index, core.member)) === sender;
}

/**
 * As {@link acceptTransfer}, for a lease of which this thread knows only the low bits, `mask` of them: its identity, or
 * NONE when the step has not been taken yet or anything else is unusual. Where the bit of this thread is in the state
 * the generation does not change, so one look at the state and a plain one at the high part are enough. @realtime
 */
export function acceptCommitted(core: Core, low: number, mask: number): number {
  const { i32, localLease: mine } = core;
  const index = low & core.indexMask;
  // What comes out of shared memory may be anything, and the memory another pool's.
  if (index >= core.count || i32[core.statusAt] !== core.status) return NONE;
  const at = core.statesAt + (index << core.stateShift);
  const state = Atomics.load(i32, at);
  const generation = (state >>> core.memberBits) & core.generationMask;
  if ((state & core.me) === 0 || (state & ~core.stateMask) !== 0 || generation === core.generationMask) return NONE;
  const id = (i32[at + 1]! & core.highMask) * core.highUnit + ((generation << core.indexBits) | index);
  const known = mine[index];
  if ((id & mask) !== low || known === id || known === MANY - id) return NONE;
  // Another one's, by a lane.
  if (i32[core.sendersAt + index * core.senderStride + core.member] !== BY_RING) return NONE;
  beginHold(core, index, id);
  return id;
}

/**
 * Ends the hold that a lease has brought to this thread in that slot by a message from the member whose
 * {@link senderWord} is `sender`, and which has not come. False, and nothing changed: there is none. Only where no
 * message comes from there any more.
 */
export function dropLost(core: Core, index: number, sender: number): boolean {
  const { i32 } = core;
  const state = Atomics.load(i32, stateAt(core, index));
  if ((state & core.me) === 0 || !isSentBy(core, index, sender)) return false;
  return dropUndelivered(core, leaseOf(core, index, state));
}

/** The same for one lease, which the sender says it was: another one's is not ended. */
export function dropUnread(core: Core, id: number, sender: number): boolean {
  const { i32 } = core;
  const index = id & core.indexMask;
  if ((Atomics.load(i32, stateAt(core, index)) & core.me) === 0) return false;
  return isSentBy(core, index, sender) && dropUndelivered(core, id);
}
