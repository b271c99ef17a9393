/**
 * Who takes part in a shared pool, how a lease moves from one to another, and what becomes of what the dead held. As
 * shared-core.ts, these are steps that may be cut off after any one of them, and the tests cut them off after each.
 *
 * An owner's seat is one word: how often it was given away (epoch) and whether it is free, reserved for a thread that is
 * starting, live, leaving or dying. Clearing up is done by one at a time (the sweeper), for all the dying at once, so that
 * no late sweep can hit a seat's next owner; a sweeper who dies is found dying himself, and the office passes on.
 */
import { type Core, forget, holds, isLease, keep, knows, MANY, ownerWord, stateAt, wake } from "./shared-core.ts";
import {
  DEAD_SLOT,
  Header,
  LINE,
  Owner,
  OwnerState,
  PoolState,
  type SharedLayout,
  WORD_SHIFT,
  WORD_SLOTS,
} from "./shared-layout.ts";

/** What became of a grant, or of an acceptance. */
export const Outcome = { DONE: 0, NOT_HELD: 1, GONE: 2, HAS_IT: 3, NOT_YET: 4 } as const;

/** More than there can be waiters. */
const ALL = 0x3fffffff;

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

/** Sits down on the seat that was reserved with this status: the new one, or 0 when it was taken back meanwhile. */
export function sitDown(i32: Int32Array, layout: SharedLayout, owner: number, reserved: number): number {
  // A status that no reservation has is forged: that of a free seat, or of one who sits there.
  if ((reserved & OwnerState.MASK) !== OwnerState.RESERVED) return 0;
  const at = layout.ownersAt + owner * LINE + Owner.STATUS;
  const live = (reserved & ~OwnerState.MASK) | OwnerState.LIVE;
  return Atomics.compareExchange(i32, at, reserved, live) === reserved ? live : 0;
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
  i32[own + Owner.GRANT_TO] = to;
  // From here on the receiver's seat is given to nobody else. Who sees this store sees the one before it.
  Atomics.store(i32, own + Owner.GRANT, id + 1);
  let outcome: number = Outcome.DONE;
  if (!isStillThere(statusOf(core, to), status)) outcome = Outcome.GONE;
  // A plain look at the usual case: held here, by nobody else. The step itself looks again.
  const alone = ((id >>> core.indexBits) << core.ownerBits) | core.me;
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
  const own = ((id >>> core.indexBits) << core.ownerBits) | me;
  let moved = core.mine[index] === id && Atomics.compareExchange(i32, at, own, own - me + bit) === own;
  while (!moved) {
    const state = Atomics.load(i32, at);
    if (!holds(core, state, id)) {
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
  for (;;) {
    const state = Atomics.load(i32, at);
    if (!isLease(core, state, id)) return false;
    if (Atomics.compareExchange(i32, at, state, (state & ~bit) | me) === state) return true;
  }
}

/**
 * Notes a lease that `from` announced to this thread. NOT_YET: the giver is between its message and its step. GONE: the
 * lease is over, or the giver was swept before it could give.
 */
export function accept(core: Core, id: number, from: number): number {
  const { i32 } = core;
  const index = id & core.indexMask;
  const state = Atomics.load(i32, stateAt(core, index));
  if (!isLease(core, state, id)) return Outcome.GONE;
  if ((state & core.me) === 0) return (state & (1 << from)) === 0 ? Outcome.GONE : Outcome.NOT_YET;
  if (knows(core, index, id)) return keep(core, id) ? Outcome.DONE : Outcome.GONE;
  core.mine[index] = id;
  core.extra[index] = 0;
  return Outcome.DONE;
}

/** This thread goes: what only it holds comes free. Returns how many slots that were. */
export function leave(core: Core): number {
  const { i32, status } = core;
  const at = ownerWord(core, core.owner) + Owner.STATUS;
  const leaving = (status & ~OwnerState.MASK) | OwnerState.LEAVING;
  // First this: who grants to this thread from now on notices. False: it was declared dead, and others clear up.
  if (Atomics.compareExchange(i32, at, status, leaving) !== status) return 0;
  // A slot that is taken out of the magazine asks nobody whether this thread still takes part.
  core.mask = 0;
  const freed = sweep(core, core.owner);
  Atomics.compareExchange(i32, at, leaving, status & ~OwnerState.MASK);
  wake(core, ALL);
  return freed;
}

/**
 * Ends another owner, the one who had the status `then` (0: whoever sits there): what only it held is free, what others
 * hold too stays theirs. Returns how many slots came free by this call. While another thread sweeps, that one does it.
 */
export function bury(core: Core, owner: number, then: number): number {
  const { i32 } = core;
  const at = ownerWord(core, owner) + Owner.STATUS;
  for (;;) {
    const status = Atomics.load(i32, at);
    if (then !== 0 && (status & ~OwnerState.MASK) !== (then & ~OwnerState.MASK)) break;
    // Also an empty seat: one who was declared dead too early may have taken slots since.
    if ((status & OwnerState.MASK) === OwnerState.DYING) break;
    const dying = (status & ~OwnerState.MASK) | OwnerState.DYING;
    if (Atomics.compareExchange(i32, at, status, dying) === status) break;
  }
  return sweepAll(core);
}

/** Sweeps after all the dying, unless somebody is at it. */
export function sweepAll(core: Core): number {
  const { i32, layout } = core;
  let freed = 0;
  // Again and again: one who dies after the last look and before the office is given up would be left over.
  while (anyDying(core) && beSweeper(core)) {
    for (let owner = 0; owner < layout.owners; owner++) {
      const status = statusOf(core, owner);
      if ((status & OwnerState.MASK) !== OwnerState.DYING) continue;
      freed += sweep(core, owner);
      Atomics.add(i32, Header.SWEPT, 1);
      Atomics.store(i32, ownerWord(core, owner) + Owner.STATUS, status & ~OwnerState.MASK);
    }
    Atomics.compareExchange(i32, Header.SWEEPER, core.owner + 1, 0);
    // All of them: the dead may have been woken in others' place.
    wake(core, ALL);
  }
  return freed;
}

function anyDying(core: Core): boolean {
  for (let owner = 0; owner < core.layout.owners; owner++) {
    if ((statusOf(core, owner) & OwnerState.MASK) === OwnerState.DYING) return true;
  }
  return false;
}

/** Takes the office, also from a dead one. */
function beSweeper(core: Core): boolean {
  const { i32 } = core;
  for (;;) {
    const sweeper = Atomics.load(i32, Header.SWEEPER);
    if (sweeper === core.owner + 1) return true;
    // A number that is no owner's can only be damage; the office is free then.
    const known = sweeper > 0 && sweeper <= core.layout.owners;
    if (known && isPresent(statusOf(core, sweeper - 1))) return false;
    if (Atomics.compareExchange(i32, Header.SWEEPER, sweeper, core.owner + 1) === sweeper) return true;
  }
}

/** Takes an owner out of every slot and shows every free slot in the bitmap again. */
function sweep(core: Core, owner: number): number {
  const { i32 } = core;
  const bit = 1 << owner;
  let freed = 0;
  Atomics.and(i32, Header.WAITING, ~bit);
  dropGrant(core, owner);
  for (let index = 0; index < core.count; index++) {
    freed += sweepSlot(core, index, bit);
    // What the owner had in its magazine is in no bitmap.
    if ((Atomics.load(i32, stateAt(core, index)) & core.takenMask) === 0) {
      Atomics.or(i32, core.bitmapAt + (index >>> WORD_SHIFT) * LINE, 1 << (index & (WORD_SLOTS - 1)));
    }
  }
  return freed;
}

function sweepSlot(core: Core, index: number, bit: number): number {
  const { i32, me } = core;
  const at = stateAt(core, index);
  let own = bit;
  for (;;) {
    const state = Atomics.load(i32, at);
    if ((state & own) === 0 || (state & DEAD_SLOT) !== 0) return 0;
    const last = (state & core.takenMask) === own;
    if (last && !core.plain && own !== me) {
      // To be cleared first: held by the sweeper meanwhile, so that its death is no loss either.
      if (Atomics.compareExchange(i32, at, state, (state & ~own) | me) === state) own = me;
      continue;
    }
    if (last && !core.plain) core.clear(index);
    const next = last ? (state - own + core.step) & core.stateMask : state & ~own;
    if (Atomics.compareExchange(i32, at, state, next) === state) return last ? 1 : 0;
  }
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
    for (;;) {
      const state = Atomics.load(i32, at);
      if (!isLease(core, state, id) || (state & (1 << to)) === 0) break;
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
    if ((state & DEAD_SLOT) === 0 && (state & core.takenMask) !== 0) held++;
  }
  wake(core, ALL);
  return held;
}

/** Whether the pool goes on. */
export function isAlive(core: Core): boolean {
  const { i32 } = core;
  return Atomics.load(i32, Header.STATE) === PoolState.LIVE;
}
