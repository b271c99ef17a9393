/**
 * Membership of a shared pool: joining and leaving, moving a lease from one member to another, and reclaiming what a
 * dead member held.
 *
 * Life-cycle of a member, which is one status word: an epoch that counts how often the place was taken, and a state.
 * ```
 *   FREE --claim--> RESERVED --> JOINING --activate--> LIVE --leave--> LEAVING --all slots given back--> FREE
 *                       |           |                    |                |
 *                       +---------- evict ---------------+---- evict -----+--not all cleared yet--> RECLAIMING
 *   RECLAIMING --a pass is whole--> RECLAIMED --no earlier pass goes on--> FREE        RESERVED --cancel--> FREE
 * ```
 * A reservation is for a thread that is starting: its maker knows the number and can evict it whenever it dies. Until
 * it is live it belongs to its maker, which its epoch names from the first step on, and is taken back when its maker
 * leaves or ends. JOINING: one thread, and no other one, writes whose it is, see below; nobody cancels it.
 *
 * What ends with a thread ends by one function, {@link evictThread}, however that end is told: each of its memberships,
 * what it reserved, and the members whose threads are its workers, or theirs. A thread has one word in a pool, the same
 * in each membership that it ever has there ({@link threadOf}); it writes that before the membership is live, so there
 * is no live membership of which it is not known whose it is. Each member's line names all threads that its own ends
 * with, by those words, so that a member in between that has left the pool is no gap. Who is to see a thread's end
 * remembers its word, and needs no membership of it: numbers may be used again. It also names the process, where there
 * is a table of processes: the end of that is the end of each of its members.
 * LIVE, JOINING and RESERVED members may hold leases. A RECLAIMED member holds nothing; its place is free as soon as no
 * earlier pass of another thread can still count it in. Each state is left by one compare-exchange from the exact word
 * that was read, so that no step meets a later member.
 *
 * Whose message a lease waits for. From the second step of a transfer on the lease is the receiver's, which learns of
 * it by a message: it takes the hold over in its own memory, when that comes. A message may never come: its sender was
 * killed before the system had it, or the receiver cannot read it. So each slot has a *sender word* for each receiver,
 * which the sender writes between the first step and the second: its own epoch and number where a lane carries the
 * message, {@link BY_RING} where a ring does. When a lane is at its end, no message comes from its other side any more:
 * then its receiver ends each hold that it has not taken over and whose word names that side ({@link dropLost}). It
 * asks nobody, waits for nobody, and looks at nothing but its own bits, so no other thread, stopped or blocked, keeps a
 * slot.
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
 * it out of the slot, known or not. A lease whose message came and was not taken over yet is "not yet" (see {@link
 * acceptTransfer}) and has no bit; the lane takes in what it has at its end, before it looks for what it lost. A member
 * that was declared dead and lives may write its word late, and a hostile one anything: then the receiver misses a
 * message, or a lost lease, which stays its own until it leaves, or ends a hold before its message comes, which then
 * says nothing. The late one puts the word back that it found, as soon as it sees that it moves nothing. The receiver
 * ends no hold that it has taken over, and nobody else's.
 *
 * Invariants. A lease moves in three steps, prepare, commit, accept, and belongs to exactly one of the two members
 * after each. The receiver's bit is not set before the second: a bit is one hold, or one that was joined while it was
 * on its way; a thread neither joins a lease that is being sent to it nor is sent one that it is about to join. Any
 * number of members may reclaim at once; each of these steps may be the last of the thread that takes it, and the tests
 * stop threads after each. Only a place (not a slot) waits for a reclaimer that stopped in the middle.
 *
 * A member of a pool that was closed is LIVE until its own thread notices, or another one says that it has ended: as
 * long as one is, the memory gets no other pool.
 *
 * Complexity: joining O(members^2 + count), a transfer O(1), a look at one slot for a lost lease O(1), a pass O(count).
 * One call passes over all slots a few times at most and clears {@link CLEAR_BYTES}. What is left stays with its
 * RECLAIMING member, and {@link resumeReclaim} goes on with it: at the next search that finds no slot, at each look of
 * a waiter, at the next reclaim.
 */
import {
  announced,
  beginHold,
  type Core,
  clearSlot,
  closeFree,
  depart,
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
  reopen,
  senderAt,
  stateAt,
  takeDelivery,
  wake,
} from "./core.ts";
import {
  CLOSED_SLOT,
  DEAD_SLOT,
  Header,
  LAYOUT_VERSION,
  LINE,
  MAGIC,
  MAKING_MAGIC,
  MAX_MEMBERS,
  MemberState,
  MemberWord,
  PoolState,
  RETIRING,
  type SharedLayout,
  SlotWord,
  WORD_SHIFT,
  WORD_SLOTS,
} from "./layout.ts";

/** What became of a transfer, at either end. */
export const TransferResult = { DONE: 0, NOT_HELD: 1, GONE: 2, HAS_IT: 3, NOT_YET: 4, REENTRANT: 5 } as const;

/* For the hot path: what is imported, or a property, is loaded anew at each use. */
const DONE: number = TransferResult.DONE;
const TRANSFER: number = MemberWord.TRANSFER;
const TRANSFER_TO: number = MemberWord.TRANSFER_TO;
const JOINING: number = MemberWord.JOINING;

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

/** More than there can be waiters. */
const ALL = 0x3fffffff;

/** One member, told from earlier and later ones of the same number by its status word. */
export interface Membership {
  /** Number of the member. */
  readonly member: number;
  /** Its status word. */
  readonly status: number;
}

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
    const mine = ((free + steps * MemberState.EPOCH) & ALL) | state;
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
 * A reservation's epoch, modulo this, is the number of the member that made it, + 1; 0: nobody's. So the step that
 * makes it names its maker: one that is killed right after it leaves no reservation that belongs to nobody.
 */
const MAKERS = 32;

/** Epochs from that status to the next one that names this maker: at least 1. */
function stepsToMaker(status: number, maker: number): number {
  return MAKERS - (((status >>> STATE_BITS) - maker - 1) & (MAKERS - 1)) - 1 || MAKERS;
}

/** Bits of a status below its epoch. */
const STATE_BITS: number = Math.log2(MemberState.EPOCH);

/** Bits of a member's number in the words that {@link epochAndNumber} makes. */
const NUMBER_BITS = 5;

/** How far up it is known whose worker a thread is, past members that have left the pool and live on. */
const ANCESTORS: number = LINE - 1;

/**
 * Writes who made a member, and its process. `isWorker`: its thread is a worker of the maker's, and so ends with that
 * thread and with each that the maker's ends with; else it belongs to its maker until it is activated. The maker calls
 * it.
 */
function noteMaker(
  i32: Int32Array,
  layout: SharedLayout,
  { member, status }: Membership,
  maker: Membership,
  isWorker: boolean,
): void {
  const at = layout.membersAt + member * LINE;
  const makerAt = layout.membersAt + maker.member * LINE;
  const isNoted = isNotedAt(i32, makerAt, maker.status);
  i32[at + MemberWord.PROCESS] = isNoted ? i32[makerAt + MemberWord.PROCESS]! : 0;
  i32[at + MemberWord.PROCESS_START] = i32[makerAt + MemberWord.PROCESS_START]!;
  // Threads first: where the line ends, memberships are left out.
  const thread = threadOf(i32, layout, maker);
  const above = lineOf(i32, layout, maker);
  const memberships = [epochAndNumber(maker.status, maker.member), ...earlierOf(i32, layout, maker)];
  writeLine(i32, member, isWorker ? [thread, ...above, ...memberships] : []);
  i32[at + MemberWord.PARENT_STATUS] = maker.status & ~MemberState.MASK;
  // The maker's number and the member's epoch, so that the word of the last member in this place fits no other one.
  Atomics.store(i32, at + MemberWord.PARENT, epochAndNumber(status, maker.member));
}

/** Writes whose end is that of a member's thread. Of as many as the line has room for. */
function writeLine(i32: Int32Array, member: number, words: readonly number[]): void {
  const line = ancestorsAt(member);
  const written: number[] = [];
  for (const word of words) {
    if (word === 0 || written.includes(word) || written.length === ANCESTORS) continue;
    i32[line + written.length] = word;
    written.push(word);
  }
  for (let n = written.length; n < ANCESTORS; n++) i32[line + n] = 0;
}

/** Whether what stands beside a status was written for the member that has it. */
function isNotedAt(i32: Int32Array, at: number, status: number): boolean {
  const noted = Atomics.load(i32, at + MemberWord.PARENT);
  return noted >>> NUMBER_BITS === epochAndNumber(status, 0) >>> NUMBER_BITS;
}

/** Where it stands whose end is the end of that member's thread: the nearest first, up to a 0. */
function ancestorsAt(member: number): number {
  return Header.ANCESTORS + member * LINE;
}

/**
 * Says which process this member is of: its number and start, or 0 where nobody can judge it. What it connects or
 * reserves is of the same process, also where no row of a table says so.
 */
export function noteProcess(core: Core, pid: number, start: number): void {
  const { i32, status, member } = core;
  const at = memberAt(core, member);
  const isNoted = isNotedAt(i32, at, status);
  // A process and the start of another one would be one that has ended.
  Atomics.store(i32, at + MemberWord.PROCESS, 0);
  i32[at + MemberWord.PROCESS_START] = start;
  Atomics.store(i32, at + MemberWord.PROCESS, pid);
  if (isNoted) return;
  i32[ancestorsAt(member)] = 0;
  // Nobody made it.
  Atomics.store(i32, at + MemberWord.PARENT, epochAndNumber(status, -1));
}

/** The process of a member that none can name: one of another process than its maker's, which knows of no table. */
export const UNKNOWN_PROCESS = -1;

/**
 * Says that a membership that was reserved in one process is another one's now: it ends neither with its maker's
 * process nor with a thread of that. Who has just activated it calls this; nothing changes in its maker's process.
 */
export function noteTravel(i32: Int32Array, layout: SharedLayout, { member, status }: Membership): void {
  const at = layout.membersAt + member * LINE;
  const pid = isNotedAt(i32, at, status) ? i32[at + MemberWord.PROCESS]! : 0;
  if (pid === 0 || pid === (globalThis as Program).process?.pid) return;
  i32[ancestorsAt(member)] = 0;
  Atomics.store(i32, at + MemberWord.PROCESS, UNKNOWN_PROCESS);
}

/** Where a program knows its process; an AudioWorklet does not. */
interface Program {
  readonly process?: { readonly pid?: number };
}

/** The process that a member with that status was noted to be of: its number and its start; 0: none. */
export function processOf(
  i32: Int32Array,
  layout: SharedLayout,
  { member, status }: Membership,
): { readonly pid: number; readonly start: number } {
  const at = layout.membersAt + member * LINE;
  const state = status & MemberState.MASK;
  if ((!isPresent(status) && state !== MemberState.LEAVING) || !isNotedAt(i32, at, status)) return { pid: 0, start: 0 };
  const pid = i32[at + MemberWord.PROCESS]!;
  const start = i32[at + MemberWord.PROCESS_START]!;
  // Of the next one in this place, which is written there after its status.
  return hasLeft(Atomics.load(i32, at + MemberWord.STATUS), status) ? { pid: 0, start: 0 } : { pid, start };
}

/**
 * Whether another member has announced a transfer to the last member in this place. The word of a free place says
 * nothing: a member that joins there and announces later sees the new epoch, and one that left or was reclaimed has no
 * lease.
 */
function isTransferTarget(i32: Int32Array, layout: SharedLayout, member: number): boolean {
  for (let other = 0; other < layout.members; other++) {
    const at = layout.membersAt + other * LINE;
    if (other === member || Atomics.load(i32, at + MemberWord.TRANSFER) === 0) continue;
    if (Atomics.load(i32, at + MemberWord.TRANSFER_TO) !== member) continue;
    if ((Atomics.load(i32, at + MemberWord.STATUS) & MemberState.MASK) !== MemberState.FREE) return true;
  }
  return false;
}

/** The status of a free place that nobody has taken, so that one who expects this one does not take it. */
export function nextFree(status: number): number {
  return ((status & ~MemberState.MASK) + MemberState.EPOCH) & ALL;
}

/** Whether a status is that of a reserved membership: what {@link activateReservation} takes. */
export function isReservation(status: number): boolean {
  return (status & MemberState.MASK) === MemberState.RESERVED;
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

/** Whether the member that had the status `then` is gone: its place is free, or another member's. */
export function hasLeft(now: number, then: number): boolean {
  return (now & ~MemberState.MASK) !== (then & ~MemberState.MASK) || (now & MemberState.MASK) === MemberState.FREE;
}

/** Whether the member that had the status `then` may still hold leases; it may have become live meanwhile. */
export function isSameMember(now: number, then: number): boolean {
  return isPresent(now) && (now & ~MemberState.MASK) === (then & ~MemberState.MASK);
}

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

/** What a sender word says of a lane whose other end is that member. */
export function senderWord({ member, status }: Membership): number {
  return epochAndNumber(status, member);
}

/** What it says of a lease that was pushed into a ring: it lies there, and no end of a lane loses it. */
export const BY_RING = 0;

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
  wake(core, ALL);
  return pass.freed;
}

/**
 * Gives up this thread's membership in a pool that has ended. Only between two operations of this thread: from now on
 * the memory may get another pool.
 */
export function leaveEnded(core: Core): void {
  const { i32, status, statusAt } = core;
  depart(core);
  if (statusAt === core.statusAt || Atomics.load(i32, statusAt) !== status) return;
  Atomics.and(i32, Header.WAITING, ~core.me);
  Atomics.compareExchange(i32, statusAt, status, status & ~MemberState.MASK);
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
 * Counts in a thread that is not a member of the pool with that number, for some steps at its words. True: it is the
 * pool in this memory, and stays that until {@link endVisit}.
 */
export function visit(i32: Int32Array, pool: number): boolean {
  Atomics.add(i32, Header.VISITORS, 1);
  // After that step: `takeMemory` marks the pool first and counts then.
  const state = Atomics.load(i32, Header.STATE);
  if (state !== PoolState.MAKING && i32[Header.POOL] === pool) return true;
  endVisit(i32);
  return false;
}

/** Counts a thread out that {@link visit} counted in. */
export function endVisit(i32: Int32Array): void {
  Atomics.sub(i32, Header.VISITORS, 1);
}

/** Why a memory gets no other pool: see {@link takeMemory}. */
export const Occupied = { CLEARING: 100, VISITED: 200, MAKING: 201, RUNNING: 202 } as const;

/**
 * Claims a memory for the thread that writes a pool into it; of any number of threads one succeeds: {@link NONE}. What
 * comes out else says why not, and nothing has changed then: the number of a member that may be inside an operation,
 * `Occupied.CLEARING` plus that of one that clears a slot, or another of {@link Occupied}.
 *
 * Where no pool has been, the claim is one step on the first word, whatever is there: no step that expects another
 * value than {@link MAGIC} there meets a pool. Where one has been it is one step on its state, and the mark comes
 * before the looks, so that one who attaches, or closes the pool after it left, either is seen here or sees the mark. A
 * reservation is nobody's: what would make it live is such a visit. `end`: words of the memory.
 */
export function takeMemory(i32: Int32Array, end: number): number {
  const magic = Atomics.load(i32, Header.MAGIC);
  if (magic !== MAGIC) {
    if (magic === MAKING_MAGIC) return Occupied.MAKING;
    return Atomics.compareExchange(i32, Header.MAGIC, magic, MAKING_MAGIC) === magic ? NONE : Occupied.MAKING;
  }
  const was = Atomics.load(i32, Header.STATE);
  if (was === PoolState.LIVE || was === PoolState.RETIRING) return Occupied.RUNNING;
  if (was === PoolState.MAKING || Atomics.compareExchange(i32, Header.STATE, was, PoolState.MAKING) !== was)
    return Occupied.MAKING;
  // The members of a pool of another version are elsewhere.
  if (i32[Header.VERSION] !== LAYOUT_VERSION) return NONE;
  let found: number = Atomics.load(i32, Header.VISITORS) === 0 ? NONE : Occupied.VISITED;
  const members = Math.min(i32[Header.MEMBERS]!, MAX_MEMBERS, (end - Header.END) / LINE);
  for (let member = 0; found === NONE && member < members; member++) {
    const state = Atomics.load(i32, Header.END + member * LINE + MemberWord.STATUS) & MemberState.MASK;
    if (state === MemberState.LIVE || state === MemberState.LEAVING) found = member;
  }
  for (let member = 0; found === NONE && member < MAX_MEMBERS; member++) {
    if (Atomics.load(i32, Header.CLEARING + member * LINE) !== 0) found = Occupied.CLEARING + member;
  }
  if (found !== NONE) Atomics.compareExchange(i32, Header.STATE, PoolState.MAKING, was);
  return found;
}

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

function newPass(): Pass {
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

/** Says that the thread of a reserved membership is a worker of this thread: it ends with this one. */
export function adopt(core: Core, membership: Membership): void {
  const { i32, layout } = core;
  for (let n = 0; n < ANCESTORS; n++) {
    const before = lineOf(i32, layout, core).join();
    noteMaker(i32, layout, membership, core, true);
    // It may have learned of an ancestor meanwhile, see noteLineage(), when nobody knew of this member.
    if (lineOf(i32, layout, core).join() === before) break;
  }
}

/** Whose end is that of a member's thread, the nearest first; none where another member is in its place by now. */
export function lineOf(i32: Int32Array, layout: SharedLayout, { member, status }: Membership): number[] {
  const found: number[] = [];
  const at = layout.membersAt + member * LINE;
  if (!isNotedAt(i32, at, status)) return found;
  const line = ancestorsAt(member);
  for (let n = 0; n < ANCESTORS; n++) {
    const word = Atomics.load(i32, line + n);
    if (word === 0) break;
    found.push(word);
  }
  return isNotedAt(i32, at, status) ? found : [];
}

/** The memberships that a member's thread had before, as far as they are known. */
function earlierOf(i32: Int32Array, layout: SharedLayout, { member, status }: Membership): number[] {
  const found: number[] = [];
  const at = layout.membersAt + member * LINE;
  const own = epochAndNumber(status, member);
  if (Atomics.load(i32, at + MemberWord.THREAD_OF) !== own) return found;
  for (let n = MemberWord.EARLIER; n < LINE; n++) {
    const word = i32[at + n]!;
    if (word === 0) break;
    found.push(word);
  }
  return Atomics.load(i32, at + MemberWord.THREAD_OF) === own ? found : [];
}

/**
 * The thread that has, or had, a membership: one word for each thread and pool, which no membership's word is. Of one
 * that nobody has noted: a word of its own.
 */
export function threadOf(i32: Int32Array, layout: SharedLayout, membership: Membership): number {
  return notedThread(i32, layout, membership) || ~epochAndNumber(membership.status, membership.member);
}

/** The same, and 0 where nobody has noted it, or another one has joined in that place since. */
export function notedThread(i32: Int32Array, layout: SharedLayout, { member, status }: Membership): number {
  const at = layout.membersAt + member * LINE;
  const own = epochAndNumber(status, member);
  const noted = Atomics.load(i32, at + MemberWord.THREAD_OF);
  const thread = i32[at + MemberWord.THREAD]!;
  // The words may be those of the next one in this place, whose thread is being noted.
  return noted === own && Atomics.load(i32, at + MemberWord.THREAD_OF) === own ? thread : 0;
}

/** What a thread remembers of itself in a pool. */
export interface ThreadMemory {
  /** Its word, see {@link threadOf}. */
  readonly thread: number;
  /** The threads that it ends with. */
  readonly above: readonly number[];
  /** The memberships that it had, the newest first. */
  readonly earlier: readonly number[];
}

/** Memberships that a thread had, of which its entry has room for the newest. */
const MOST_EARLIER: number = LINE - MemberWord.EARLIER;

/** As {@link ThreadMemory}, with one membership more. */
export function rememberMembership(known: ThreadMemory | undefined, { member, status }: Membership): ThreadMemory {
  const own = epochAndNumber(status, member);
  const { thread, above, earlier }: ThreadMemory = known ?? { thread: ~own, above: [], earlier: [] };
  return { thread, above, earlier: [own, ...earlier].slice(0, MOST_EARLIER) };
}

/**
 * Says which thread has a membership: from here on it ends with that thread. The thread calls it, when nobody else can
 * have the place: JOINING, or as soon as it was claimed.
 */
export function noteThreadOf(
  i32: Int32Array,
  layout: SharedLayout,
  { member, status }: Membership,
  known: ThreadMemory | undefined,
): void {
  const at = layout.membersAt + member * LINE;
  const own = epochAndNumber(status, member);
  const above = known === undefined ? [] : known.above;
  const earlier = known === undefined ? [] : known.earlier;
  // Its maker has ended, and the place may be another one's by now.
  if (hasLeft(Atomics.load(i32, at + MemberWord.STATUS), status)) return;
  if (isNotedAt(i32, at, status)) writeLine(i32, member, [...lineOf(i32, layout, { member, status }), ...above]);
  else {
    // Nobody made it.
    i32[at + MemberWord.PROCESS] = 0;
    writeLine(i32, member, above);
    Atomics.store(i32, at + MemberWord.PARENT, epochAndNumber(status, -1));
  }
  i32[at + MemberWord.THREAD] = known === undefined ? ~own : known.thread;
  for (let n = 0; n < MOST_EARLIER; n++) i32[at + MemberWord.EARLIER + n] = n < earlier.length ? earlier[n]! : 0;
  Atomics.store(i32, at + MemberWord.THREAD_OF, own);
}

/**
 * What this thread knows of itself after it has joined: the threads that it ends with, as any of its memberships says,
 * or as it knew. Says so in each of them, and in those of its workers and of theirs, which may have joined when this
 * one did not know. O(members^2).
 */
export function noteLineage(core: Core, known: ThreadMemory): ThreadMemory {
  const { i32, layout } = core;
  const own = [known.thread, ...known.earlier];
  const above: number[] = [];
  for (let member = 0; member < layout.members; member++) {
    const membership = { member, status: statusOf(core, member) };
    if (isPresent(membership.status) && threadOf(i32, layout, membership) === known.thread) {
      own.push(epochAndNumber(membership.status, member));
      for (const word of lineOf(i32, layout, membership)) above.push(word);
    }
  }
  const found = [...known.above, ...above].filter((word, n, all) => !own.includes(word) && all.indexOf(word) === n);
  found.length = Math.min(found.length, ANCESTORS);
  // Once more after each change: a worker that has joined meanwhile may have been told what its maker knew before.
  for (let n = 0, changed = found.length > 0; changed && n < layout.members; n++) {
    changed = false;
    for (let member = 0; member < layout.members; member++) {
      const membership = { member, status: statusOf(core, member) };
      if (!isPresent(membership.status)) continue;
      const line = lineOf(i32, layout, membership);
      const isOwn = threadOf(i32, layout, membership) === known.thread;
      if ((isOwn || line.some((word) => own.includes(word))) && extendLine(core, membership, line, found))
        changed = true;
    }
  }
  return { thread: known.thread, above: found, earlier: known.earlier };
}

/** Adds to what a member's thread ends with; whether there was something to add, and room for it. */
function extendLine(core: Core, { member, status }: Membership, line: number[], above: readonly number[]): boolean {
  const { i32, layout } = core;
  let changed = false;
  for (const word of above) {
    if (line.includes(word) || line.length === ANCESTORS) continue;
    // The place may be another one's by now, who ends with none of this.
    if (!isNotedAt(i32, layout.membersAt + member * LINE, status)) return false;
    Atomics.store(i32, ancestorsAt(member) + line.length, word);
    line.push(word);
    changed = true;
  }
  return changed;
}

/** An epoch and a member's number in one word, which is not 0: two words are the same where both are. */
function epochAndNumber(status: number, member: number): number {
  return ((status & ~MemberState.MASK) << 2) | (member + 1);
}

/**
 * The reservations that this member made, or that the one in its place is about to name its maker, and that nobody has
 * activated; of a maker that has ended also those by which a thread joins, for it may have ended with that. O(members).
 */
function reservationsOf(core: Core, maker: Membership, hasEnded: boolean): Membership[] {
  const { i32, layout } = core;
  const found: Membership[] = [];
  for (let member = 0; member < layout.members; member++) {
    const at = memberAt(core, member);
    const status = statusOf(core, member);
    const isJoining = (status & MemberState.MASK) === MemberState.JOINING;
    if (
      !(isReservation(status) || (isJoining && hasEnded)) ||
      ((status >>> STATE_BITS) & (MAKERS - 1)) !== maker.member + 1
    )
      continue;
    // Its maker was stopped between the two steps where the words are not there: the one who is in that place still.
    const then =
      Atomics.load(i32, at + MemberWord.PARENT) === epochAndNumber(status, maker.member)
        ? i32[at + MemberWord.PARENT_STATUS]!
        : statusOf(core, maker.member);
    if ((then & ~MemberState.MASK) === (maker.status & ~MemberState.MASK)) found.push({ member, status });
  }
  return found;
}

/** Whether nobody takes part any more: what nobody has, nobody has to end. */
export function isDeserted(core: Core): boolean {
  for (let member = 0; member < core.layout.members; member++) {
    const state = statusOf(core, member) & MemberState.MASK;
    if (state !== MemberState.FREE && state !== MemberState.RECLAIMED) return false;
  }
  return true;
}

/**
 * Takes back what a member that has ended, or ends now, has reserved; whether there was something. What may have been
 * sent there is a reclaim's. One that is activated in this moment is its new member's: the same word decides.
 */
function takeBackReservations(core: Core, maker: Membership, hasEnded: boolean): boolean {
  const reservations = reservationsOf(core, maker, hasEnded);
  for (const { member, status } of reservations) {
    const reclaiming = (status & ~MemberState.MASK) | MemberState.RECLAIMING;
    Atomics.compareExchange(core.i32, memberAt(core, member) + MemberWord.STATUS, status, reclaiming);
  }
  return reservations.length > 0;
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
  wake(core, ALL);
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
 * Makes the place of a member that has ended the next one's, reserved, with all that it held: where every member has
 * ended, and so nobody is there to reclaim it. The one who joins there calls {@link disown} first. Null, and nothing
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
  const mine = ((free + stepsToMaker(free, 0) * MemberState.EPOCH) & ALL) | MemberState.RESERVED;
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

/**
 * Takes this thread out of every slot that the last member in its place held, before it holds one itself. If it is
 * stopped on the way, its own end is met by the same step, or by a reclaim.
 */
export function disown(core: Core): void {
  const { size } = core.layout;
  const passes = MAX_PASSES + Math.ceil((core.count * Math.max(size, LEAST_BYTES)) / CLEAR_BYTES);
  // Bounded: another process may write into these words without end.
  for (let n = 0; n < passes && isAlive(core) && !reclaimPass(core, core.me, newPass()); n++);
  wake(core, ALL);
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
    if (bits !== 0) wake(core, ALL);
    if (waits) {
      // The other one frees these memberships at its end. If it does not come to that, the next slow path does.
      Atomics.store(i32, Header.UNRECLAIMED, 1);
      break;
    }
  }
  return pass.freed;
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
 * Whether one of these bits is that of a member. Those of others can only be damage, or of members that were declared
 * dead.
 */
function anyPresent(core: Core, bits: number): boolean {
  for (let member = 0; member < core.layout.members; member++) {
    if ((bits & (1 << member)) !== 0 && isPresent(statusOf(core, member))) return true;
  }
  return false;
}

/**
 * One pass: takes members out of every slot, and shows every free slot in the bitmap again, since what they had in
 * their magazines is in no bitmap. False when it is not whole: a bound was reached, or others changed a slot
 * at every try.
 */
function reclaimPass(core: Core, bits: number, pass: Pass): boolean {
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

/**
 * Ends the pool: every lease is over, no slot is free; and this thread's part in it. Returns how many slots were held.
 */
export function closePool(core: Core): number {
  const { i32 } = core;
  const isMember = Atomics.load(i32, core.statusAt) === core.status;
  if (!isMember && !visit(i32, core.pool)) return 0;
  Atomics.store(i32, Header.STATE, PoolState.DEAD);
  let held = 0;
  for (let index = 0; index < core.count; index++) {
    const state = Atomics.or(i32, stateAt(core, index), DEAD_SLOT);
    if ((state & DEAD_SLOT) === 0 && (state & core.holderMask) !== 0) held++;
  }
  if (isMember) leaveEnded(core);
  else endVisit(i32);
  wake(core, ALL);
  return held;
}

/**
 * Ends the pool with its last lease: no slot is given out from now on. The bit sends each last release to {@link wake},
 * which closes what came free, and the pool with the last slot. Returns how many slots are held. Nothing happens in a
 * pool that retires or is closed.
 */
export function retirePool(core: Core): number {
  const { i32 } = core;
  if (Atomics.compareExchange(i32, Header.STATE, PoolState.LIVE, PoolState.RETIRING) !== PoolState.LIVE) return 0;
  // First this: a slot that is released after the pass has looked at it meets the bit.
  Atomics.or(i32, Header.WAITING, RETIRING);
  const held = closeFree(core);
  wake(core, ALL);
  return held;
}

/**
 * Whether a pool that is over ended with its last lease, after {@link retirePool}: then nobody holds a slot. A close by
 * force leaves the holders' bits. False where another pool is in this memory by now. O(count).
 */
export function hasRetired(core: Core): boolean {
  const { i32, pool } = core;
  if (!visit(i32, pool)) return false;
  let isWhole = (Atomics.load(i32, Header.WAITING) & RETIRING) !== 0;
  for (let index = 0; isWhole && index < core.count; index++)
    isWhole = (Atomics.load(i32, stateAt(core, index)) & core.holderMask) === 0;
  endVisit(i32);
  return isWhole;
}

/** Whether this thread had leases of a pool when that was closed by force: it may be at their bytes still. O(count). */
export function hadLeases(core: Core): boolean {
  const { i32, pool, me } = core;
  if (!visit(i32, pool)) return false;
  let had = false;
  for (let index = 0; !had && index < core.count; index++) had = (Atomics.load(i32, stateAt(core, index)) & me) !== 0;
  endVisit(i32);
  return had;
}

/** Whether leases are good: the pool is live or retires, and is still the one in this memory. */
export function isAlive(core: Core): boolean {
  const { i32 } = core;
  const state = Atomics.load(i32, Header.STATE);
  return (state === PoolState.LIVE || state === PoolState.RETIRING) && i32[Header.POOL] === core.pool;
}

/** Whether slots are given out. */
export function isOpen(core: Core): boolean {
  const { i32 } = core;
  return Atomics.load(i32, Header.STATE) === PoolState.LIVE && i32[Header.POOL] === core.pool;
}
