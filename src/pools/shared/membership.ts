/**
 * Who takes part in a shared pool, how a lease moves from one to another, and what becomes of what the dead held. As
 * shared-core.ts, these are steps that may be cut off after any one of them, and the tests cut them off after each.
 *
 * An owner's seat is one word: how often it was given away (epoch) and whether it is free, reserved for a thread that is
 * starting, live, leaving or dying. Clearing up is done by one at a time (the sweeper), for all the dying at once, so that
 * no late sweep can hit a seat's next owner; a sweeper who dies is found dying himself, and the office passes on.
 *
 * Clearing up is bounded: one call passes over all slots a few times at most and clears {@link CLEAR_BYTES}. What is left stays with
 * its dying owner, and {@link resumeSweep} goes on with it: at the next search for a slot that finds none, at each look of a
 * waiter, at the next reclaim.
 */
import {
  type Core,
  drop,
  forget,
  holds,
  isCurrent,
  isLease,
  keep,
  knows,
  MANY,
  NONE,
  ownerWord,
  RETRIES,
  reopen,
  stateAt,
  wake,
} from "./core.ts";
import {
  DEAD_SLOT,
  Header,
  LINE,
  Owner,
  OwnerState,
  PoolState,
  type SharedLayout,
  SlotWord,
  WORD_SLOTS,
} from "./layout.ts";

/** What became of a grant, or of an acceptance. */
export const Outcome = { DONE: 0, NOT_HELD: 1, GONE: 2, HAS_IT: 3, NOT_YET: 4 } as const;

/** 64 MiB take some 20 ms to clear. Slots beyond that are cleared by the next call. */
export const CLEAR_BYTES: number = 2 ** 26;

/** A slot costs as much as 2 KiB, however few bytes it has: half a microsecond for the steps around the clearing. */
const LEAST_BYTES = 2048;

/** Looks at slots in one call, some 5 ms of them: at least one pass, at most {@link MOST_PASSES}. */
const MOST_LOOKS = 2 ** 18;
const MOST_PASSES = 8;

/** Tries on one slot of a pass, and slots that changed under its hands each time before it gives the pass up. */
const SLOT_TRIES = 4;
const MOST_DISTURBED = 1024;

/** More than there can be waiters. */
const ALL = 0x3fffffff;

/** What of an identity is announced in {@link Owner}: index and low part of the generation. */
const LOW_BITS = 0x3fffffff;

/** A seat: whose it is, and its status word. */
export interface Seat {
  /** Number of the owner. */
  readonly owner: number;
  /** Its status word. */
  readonly status: number;
}

/** Takes a free seat from `first` on and before `end` for `state`, live or reserved; null when there is none. */
export function takeSeat(
  i32: Int32Array,
  layout: SharedLayout,
  state: number,
  first = 0,
  end: number = layout.owners,
): Seat | null {
  for (let owner = first; owner < end; owner++) {
    const at = layout.ownersAt + owner * LINE + Owner.STATUS;
    const status = Atomics.load(i32, at);
    if ((status & OwnerState.MASK) !== OwnerState.FREE) continue;
    const mine = ((status + OwnerState.EPOCH) & ALL) | state;
    if (Atomics.compareExchange(i32, at, status, mine) !== status) continue;
    if (!isPromised(i32, layout, owner)) return { owner, status: mine };
    // Somebody is about to give a lease to who sat here before. He will notice; until then the seat stays empty.
    Atomics.store(i32, at, mine & ~OwnerState.MASK);
  }
  return null;
}

function isPromised(i32: Int32Array, layout: SharedLayout, owner: number): boolean {
  for (let other = 0; other < layout.owners; other++) {
    const at = layout.ownersAt + other * LINE;
    if (Atomics.load(i32, at + Owner.GRANT) !== 0 && Atomics.load(i32, at + Owner.GRANT_TO) === owner) return true;
  }
  return false;
}

/** Whether a status is that of a reserved seat: what {@link sitDown} takes. */
export function isReservation(status: number): boolean {
  return (status & OwnerState.MASK) === OwnerState.RESERVED;
}

/** Sits down on the seat that was reserved with this status: the new one, or 0 when it was taken back meanwhile. */
export function sitDown(i32: Int32Array, layout: SharedLayout, owner: number, reserved: number): number {
  // A free seat's status would make a member that nobody let in, a live one's a second thread on that seat.
  if (!isReservation(reserved)) return 0;
  const at = layout.ownersAt + owner * LINE + Owner.STATUS;
  const live = (reserved & ~OwnerState.MASK) | OwnerState.LIVE;
  return Atomics.compareExchange(i32, at, reserved, live) === reserved ? live : 0;
}

/** Gives a reserved seat back on which nobody has sat down; false, with nothing changed: somebody has, or it was taken back. */
export function cancelReservation({ i32, layout }: Core, { owner, status }: Seat): boolean {
  const at = layout.ownersAt + owner * LINE + Owner.STATUS;
  return isReservation(status) && Atomics.compareExchange(i32, at, status, status & ~OwnerState.MASK) === status;
}

/** The status of a seat. */
export function statusOf(core: Core, owner: number): number {
  const { i32 } = core;
  return Atomics.load(i32, ownerWord(core, owner) + Owner.STATUS);
}

/** Whether a status is that of one who may hold leases. */
export function isPresent(status: number): boolean {
  const state = status & OwnerState.MASK;
  return state === OwnerState.LIVE || state === OwnerState.RESERVED;
}

/** Whether a seat is empty, or somebody else's, after it was that of one who had `then`. */
export function isVacated(now: number, then: number): boolean {
  return (now & ~OwnerState.MASK) !== (then & ~OwnerState.MASK) || (now & OwnerState.MASK) === OwnerState.FREE;
}

/** Whether the one who had `then` is still there; it may have sat down meanwhile. */
export function isStillThere(now: number, then: number): boolean {
  return isPresent(now) && (now & ~OwnerState.MASK) === (then & ~OwnerState.MASK);
}

/**
 * The first half of moving a lease: announces it and looks whether it can be. When it answers DONE, the message to the
 * receiver goes out, and then {@link finishGrant} moves the lease. In this order a giver who dies on the way leaves the
 * lease either with himself, where the sweep finds it, or with a receiver who knows; never with one who does not.
 */
export function beginGrant(core: Core, id: number, to: number, status: number): number {
  const { i32 } = core;
  const index = id & core.indexMask;
  const own = ownerWord(core, core.owner);
  if (i32[core.statusAt] !== core.status) return Outcome.NOT_HELD;
  i32[own + Owner.GRANT_TO] = to;
  // From here on the receiver's seat is given to nobody else. Who sees this store sees the one before it.
  Atomics.store(i32, own + Owner.GRANT, (id & LOW_BITS) + 1);
  let outcome: number = Outcome.DONE;
  if (!isStillThere(statusOf(core, to), status)) outcome = Outcome.GONE;
  // A plain look at the usual case: held here, by nobody else. The step itself looks again.
  const alone = (((id >>> core.indexBits) & core.generationMask) << core.ownerBits) | core.me;
  if (core.mine[index] !== id || i32[stateAt(core, index)] !== alone) {
    const state = Atomics.load(i32, stateAt(core, index));
    if (!holds(core, state, id) || !knows(core, index, id)) outcome = Outcome.NOT_HELD;
    else if (outcome === Outcome.DONE && (state & (1 << to)) !== 0) outcome = Outcome.HAS_IT;
  }
  if (outcome !== Outcome.DONE) Atomics.store(i32, own + Owner.GRANT, 0);
  return outcome;
}

/** Takes an announced grant back: the message could not be sent. */
export function cancelGrant(core: Core): void {
  const { i32 } = core;
  Atomics.store(i32, ownerWord(core, core.owner) + Owner.GRANT, 0);
}

/** The second half: one hold of this thread becomes the receiver's, in one step. GONE: he died; this thread still has it. */
export function finishGrant(core: Core, id: number, to: number, status: number): number {
  const { i32, me } = core;
  const index = id & core.indexMask;
  const at = stateAt(core, index);
  const bit = 1 << to;
  let outcome: number = Outcome.DONE;
  // The usual case: this thread alone holds it, and once.
  const own = (((id >>> core.indexBits) & core.generationMask) << core.ownerBits) | me;
  let moved = core.mine[index] === id && Atomics.compareExchange(i32, at, own, own - me + bit) === own;
  for (let n = 0; !moved; n++) {
    const state = Atomics.load(i32, at);
    if (n === RETRIES || !holds(core, state, id)) {
      outcome = Outcome.NOT_HELD;
      break;
    }
    // Held more than once here: this thread stays a holder.
    const next = core.mine[index] === id ? (state & ~me) | bit : state | bit;
    moved = Atomics.compareExchange(i32, at, state, next) === state;
  }
  if (outcome === Outcome.DONE && !isStillThere(statusOf(core, to), status)) {
    outcome = takeBack(core, id, at, bit) ? Outcome.GONE : Outcome.NOT_HELD;
  } else if (outcome === Outcome.DONE && core.mine[index] === MANY - id) {
    if (--core.extra[index]! === 0) core.mine[index] = id;
  } else if (outcome === Outcome.DONE) forget(core, index, id);
  // A plain store: when others see it matters to nobody but who wants the receiver's seat.
  i32[ownerWord(core, core.owner) + Owner.GRANT] = 0;
  return outcome;
}

/** Undoes a grant to one who is gone; false when his sweep was faster and nobody else held it, so that the lease is over. */
function takeBack(core: Core, id: number, at: number, bit: number): boolean {
  const { i32, me } = core;
  const index = id & core.indexMask;
  for (let n = 0; n < RETRIES; n++) {
    const state = Atomics.load(i32, at);
    if (!isLease(core, state, id) || !isCurrent(core, index, id)) return false;
    if (Atomics.compareExchange(i32, at, state, (state & ~bit) | me) !== state) continue;
    // As in keep(): now the generation stands still.
    if (isCurrent(core, index, id)) return true;
    drop(core, index, id);
    return false;
  }
  return false;
}

/**
 * Notes a lease that `from` announced to this thread. NOT_YET: the giver is between its message and its step. GONE: the
 * lease is over, or the giver was swept before it could give.
 */
export function accept(core: Core, id: number, from: number): number {
  const { i32 } = core;
  const index = id & core.indexMask;
  const state = Atomics.load(i32, stateAt(core, index));
  if (!isLease(core, state, id) || !isCurrent(core, index, id)) return Outcome.GONE;
  if ((state & core.me) === 0) return (state & (1 << from)) === 0 ? Outcome.GONE : Outcome.NOT_YET;
  if (knows(core, index, id)) return keep(core, id) ? Outcome.DONE : Outcome.GONE;
  core.mine[index] = id;
  core.extra[index] = 0;
  return Outcome.DONE;
}

/**
 * As {@link accept}, for a lease of which this thread was told only the low bits, `mask` of them: its identity, or NONE when the step
 * has not been taken yet or anything else is unusual. Where the bit of this thread is in the state the generation stands still, so
 * one look at the state and a plain one at the high part are enough. @realtime
 */
export function acceptGiven(core: Core, low: number, mask: number): number {
  const { i32, mine } = core;
  const index = low & core.indexMask;
  // What comes out of shared memory may be anything.
  if (index >= core.count) return NONE;
  const at = core.statesAt + (index << core.stateShift);
  const state = Atomics.load(i32, at);
  const generation = (state >>> core.ownerBits) & core.generationMask;
  if ((state & core.me) === 0 || (state & ~core.stateMask) !== 0 || generation === core.generationMask) return NONE;
  const id = (i32[at + 1]! & core.highMask) * core.highUnit + ((generation << core.indexBits) | index);
  const known = mine[index];
  if ((id & mask) !== low || known === id || known === MANY - id) return NONE;
  mine[index] = id;
  core.extra[index] = 0;
  return id;
}

/** This thread goes: what only it holds comes free. Returns how many slots that were. */
export function leave(core: Core): number {
  const { i32, status } = core;
  const at = ownerWord(core, core.owner) + Owner.STATUS;
  const leaving = (status & ~OwnerState.MASK) | OwnerState.LEAVING;
  // First this: a thread that grants to this one from now on notices. False: it was declared dead, and others clear up.
  if (Atomics.compareExchange(i32, at, status, leaving) !== status) return 0;
  // A slot that is taken out of the magazine asks nobody whether this thread still takes part.
  core.mask = 0;
  const pass = newPass();
  const whole = sweep(core, core.me, pass);
  // What is left is for the others, as if this thread had died now.
  const end = (status & ~OwnerState.MASK) | (whole ? OwnerState.FREE : OwnerState.DYING);
  Atomics.compareExchange(i32, at, leaving, end);
  if (!whole) Atomics.store(i32, Header.UNSWEPT, 1);
  wake(core, ALL);
  return pass.freed;
}

/** What a call that clears up has done, and may do still. */
interface Pass {
  freed: number;
  /** Bytes that it may clear. */
  bytes: number;
  /** Slots that changed under its hands. */
  disturbed: number;
  /** Slots that it left, for that reason or because it may clear no more. */
  left: number;
}

function newPass(): Pass {
  return { freed: 0, bytes: CLEAR_BYTES, disturbed: 0, left: 0 };
}

/**
 * Ends another owner, the one who had the status `then` (0: whoever sits there): what only it held is free, what others
 * hold too stays theirs. Returns how many slots came free by this call.
 */
export function bury(core: Core, owner: number, then: number): number {
  condemn(core, owner, then);
  return sweepAll(core);
}

/** Declares an owner dead, the one who had the status `then` (0: whoever sits there); the next sweep clears up. */
export function condemn(core: Core, owner: number, then: number): void {
  const { i32 } = core;
  const at = ownerWord(core, owner) + Owner.STATUS;
  for (let n = 0; n < RETRIES; n++) {
    const status = Atomics.load(i32, at);
    if (then !== 0 && (status & ~OwnerState.MASK) !== (then & ~OwnerState.MASK)) break;
    // Also an empty seat: one who was declared dead too early may have taken slots since.
    const state = status & OwnerState.MASK;
    if (state === OwnerState.DYING || state === OwnerState.SWEPT) break;
    const dying = (status & ~OwnerState.MASK) | OwnerState.DYING;
    if (Atomics.compareExchange(i32, at, status, dying) === status) break;
  }
}

/** Goes on with clearing up that an earlier call left. Returns how many slots came free. */
export function resumeSweep(core: Core): number {
  const { i32 } = core;
  return i32[Header.UNSWEPT] === 0 ? 0 : sweepAll(core);
}

/**
 * Reclaims what the dying hold. Returns how many slots came free by this call. Several may do so at once: one that is stopped in the
 * middle keeps at most the one slot that it clears (all of them where a slot takes several passes). Only a seat has to wait for it. A pass that was begun while the seat's member was
 * dying may still take that member out of slots, so the seat is not given away before every such pass is over:
 * - A sweeper sets its bit before it looks who is dying, and clears it after its pass.
 * - A seat whose slots are done becomes SWEPT, so that no pass that begins later counts it in.
 * - It becomes FREE once nobody else's bit is set, looked at after it was SWEPT. Whoever clears the last bit sees that.
 */
export function sweepAll(core: Core): number {
  const { i32, layout, me } = core;
  // One whose membership has ended, or whose pool has, clears up nothing: these words may be another pool's.
  if (statusOf(core, core.owner) !== core.status) return 0;
  const pass = newPass();
  const passes = Math.max(1, Math.min(MOST_PASSES, Math.floor(MOST_LOOKS / core.count)));
  // More than once: one who dies after the last look and before the end of the pass would be left over.
  for (let n = 0; ; n++) {
    if (n === passes || pass.bytes <= 0 || pass.disturbed >= MOST_DISTURBED) {
      Atomics.store(i32, Header.UNSWEPT, 1);
      break;
    }
    const before = Atomics.or(i32, Header.SWEEPERS, me) & ~me;
    if (takesPasses(core) && anyPresent(core, before)) {
      // A slot that another one may leave half cleared is that one's alone: in these pools one sweeps at a time, the first.
      Atomics.and(i32, Header.SWEEPERS, ~me);
      Atomics.store(i32, Header.UNSWEPT, 1);
      break;
    }
    if (i32[Header.UNSWEPT] !== 0) Atomics.store(i32, Header.UNSWEPT, 0);
    let bits = 0;
    const dying: Seat[] = [];
    const done: Seat[] = [];
    for (let owner = 0; owner < layout.owners; owner++) {
      const status = statusOf(core, owner);
      const state = status & OwnerState.MASK;
      if (state === OwnerState.SWEPT) done.push({ owner, status });
      if (state !== OwnerState.DYING) continue;
      dying.push({ owner, status });
      bits |= 1 << owner;
    }
    const whole = bits !== 0 && sweep(core, bits, pass);
    for (const { owner, status } of whole ? dying : []) {
      const swept = (status & ~OwnerState.MASK) | OwnerState.SWEPT;
      // Not a store: another sweeper may have been faster, and the seat somebody else's by now.
      const seen = Atomics.compareExchange(i32, ownerWord(core, owner) + Owner.STATUS, status, swept);
      if (seen === status || seen === swept) done.push({ owner, status: swept });
    }
    const others = Atomics.and(i32, Header.SWEEPERS, ~me) & ~me;
    if (bits === 0 && done.length === 0) break;
    const waits = done.length > 0 && anyPresent(core, others);
    for (const { owner, status } of waits ? [] : done) {
      const at = ownerWord(core, owner) + Owner.STATUS;
      if (Atomics.compareExchange(i32, at, status, status & ~OwnerState.MASK) === status) {
        Atomics.add(i32, Header.SWEPT, 1);
      }
    }
    // All of them: the dead may have been woken in others' place.
    if (bits !== 0) wake(core, ALL);
    if (waits) {
      // The other one frees these seats at its end. If it does not come to that, the next slow path does.
      Atomics.store(i32, Header.UNSWEPT, 1);
      break;
    }
  }
  return pass.freed;
}

/** Whether one of these bits is that of a member. Those of others can only be damage, or of members that were declared dead. */
function anyPresent(core: Core, bits: number): boolean {
  for (let owner = 0; owner < core.layout.owners; owner++) {
    if ((bits & (1 << owner)) !== 0 && isPresent(statusOf(core, owner))) return true;
  }
  return false;
}

/**
 * One pass: takes owners out of every slot, and shows every free slot in the bitmap again, since what they had in their magazines is
 * in no bitmap. False when it is not whole: a bound was reached, or a slot changed under its hands.
 */
function sweep(core: Core, bits: number, pass: Pass): boolean {
  const { i32, layout } = core;
  Atomics.and(i32, Header.WAITING, ~bits);
  // Those who were cut off in a pass of their own. Who sits there next is not in one.
  Atomics.and(i32, Header.SWEEPERS, ~bits);
  for (let owner = 0; owner < layout.owners; owner++) if ((bits & (1 << owner)) !== 0) dropGrant(core, owner);
  const { left } = pass;
  for (let word = 0; word < core.words; word++) {
    const first = word * WORD_SLOTS;
    const end = Math.min(first + WORD_SLOTS, core.count);
    let free = 0;
    for (let index = first; index < end; index++) {
      if (sweepSlot(core, index, bits, pass)) free |= 1 << (index - first);
    }
    if (free !== 0) Atomics.or(i32, core.bitmapAt + word * LINE, free);
    if (pass.disturbed >= MOST_DISTURBED) return false;
  }
  return pass.left === left;
}

/** Takes owners out of one slot; whether it is free then. */
function sweepSlot(core: Core, index: number, bits: number, pass: Pass): boolean {
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
    // The last holders. One who died in a closed slot at the last low part had moved the high part, or had not.
    const generation = state & core.lastState;
    const partly = takesPasses(core);
    // A slot that an earlier pass cleared in part is closed already.
    const resumed = partly && i32[at + SlotWord.CLOSED] === state;
    const next = generation === core.lastState || resumed ? generation : generation + core.step;
    const free = core.plain && next !== core.lastState;
    // Closed by the sweeper, so that its death is no loss either.
    if (Atomics.compareExchange(i32, at, state, free ? next : next | me) !== state) continue;
    if (partly && !clearPart(core, index, next, state & core.holderMask, resumed, pass)) break;
    if (!free) reopen(core, index, next | me, partly);
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
 * Clears as much of a slot as the pass may clear. When that is not all, the slot goes back to the dying that held it, still closed, and
 * two words beside its state say how far it was cleared, and in which state: no other state is ever the same. True: all of it.
 */
function clearPart(core: Core, index: number, closed: number, dying: number, resumed: boolean, pass: Pass): boolean {
  const { i32, me } = core;
  const at = stateAt(core, index);
  const { size } = core.layout;
  const from = resumed ? Math.min(Math.max(0, i32[at + SlotWord.CLEARED]!), size) : 0;
  i32[at + SlotWord.CLOSED] = 0;
  const to = Math.min(size, from + pass.bytes);
  pass.bytes -= Math.max(to - from, LEAST_BYTES);
  core.clear(index, from, to);
  if (to === size) return true;
  i32[at + SlotWord.CLEARED] = to;
  Atomics.store(i32, at + SlotWord.CLOSED, closed | dying);
  Atomics.compareExchange(i32, at, closed | me, closed | dying);
  return false;
}

/** A grant that was cut off after its step, to one who was gone by then: the hold is the giver's still. */
function dropGrant(core: Core, owner: number): void {
  const { i32, layout } = core;
  const own = ownerWord(core, owner);
  const id = Atomics.load(i32, own + Owner.GRANT) - 1;
  const to = Atomics.load(i32, own + Owner.GRANT_TO);
  const index = id & core.indexMask;
  const valid = id >= 0 && index < core.count && to >= 0 && to < layout.owners;
  if (valid && !isPresent(statusOf(core, to))) {
    const at = stateAt(core, index);
    // Without the high part: the hold is that of one who is gone in any case, and to be ended.
    for (let n = 0; n < RETRIES; n++) {
      const state = Atomics.load(i32, at);
      if (!isLease(core, state, id) || (state & (1 << to)) === 0) break;
      // Another sweeper was faster: the bit is that of the seat's next member, who joined.
      if (isPresent(statusOf(core, to))) break;
      const next = (state & ~(1 << to)) | (1 << owner);
      if (Atomics.compareExchange(i32, at, state, next) === state) break;
    }
  }
  // Last: it keeps the receiver's seat empty.
  Atomics.store(i32, own + Owner.GRANT, 0);
}

/** Ends the pool: every lease is over, no slot is free. Returns how many slots were held. */
export function killPool(core: Core): number {
  const { i32 } = core;
  Atomics.store(i32, Header.STATE, PoolState.DEAD);
  let held = 0;
  for (let index = 0; index < core.count; index++) {
    const state = Atomics.or(i32, stateAt(core, index), DEAD_SLOT);
    if ((state & DEAD_SLOT) === 0 && (state & core.holderMask) !== 0) held++;
  }
  wake(core, ALL);
  return held;
}

/** Whether the pool goes on, and is still the one in this memory. */
export function isAlive(core: Core): boolean {
  const { i32 } = core;
  return Atomics.load(i32, Header.STATE) === PoolState.LIVE && i32[Header.POOL] === core.pool;
}
