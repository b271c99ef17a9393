/**
 * The steps of a shared pool, as plain functions over plain data. One rule carries all of it:
 *
 * **A slot changes hands by one compare-exchange on its state word, and by nothing else.** The word says which generation
 * the slot is in and who holds it, so that taking a slot and saying who took it are the same instruction: there is no
 * moment at which a dying worker could leave a slot that is neither free nor anybody's. The bitmap and the workers'
 * magazines are hints where to look. A hint that is lost (its worker died) or stale (the slot is taken) costs a step, never
 * a slot: who finds no hint looks at every state before he says that there is none.
 *
 * A compare-exchange that is late by a whole generation cycle is harmless too: unlike the head of a list, a state means
 * nothing beyond itself.
 *
 * The tests run this very file with every access to shared memory turned into a scheduling point (test/shared-pool/
 * interleave.ts), so the shared words are only touched as `Atomics.x(...)` and `i32[...]`, and only by top-level functions.
 * A plain read is a hint, checked by the compare-exchange after it: 0.3 ns where Atomics.load is a call of 5 ns.
 */
import { DEAD_SLOT, Header, LINE, Owner, type SharedLayout, WORD_SHIFT, WORD_SLOTS } from "./shared-layout.ts";

/** What one attached thread knows; made by {@link createCore}, all fields always set, so that its shape never changes. */
export interface Core {
  /** Header, owners, bitmap and states. */
  readonly i32: Int32Array;
  /** Where everything lies. */
  readonly layout: SharedLayout;
  /** Slots. */
  readonly count: number;
  /** Bits of an identity that are the index. */
  readonly indexBits: number;
  /** Those bits. */
  readonly indexMask: number;
  /** Bits of a state that are owners. */
  readonly ownerBits: number;
  /** All owners' bits, and that of a dead pool: a state without any of them is free. */
  readonly takenMask: number;
  /** One generation, in a state. */
  readonly step: number;
  /** The bits of a state that are in use: generations wrap. */
  readonly stateMask: number;
  /** First bitmap word. */
  readonly bitmapAt: number;
  /** Bitmap words, a line apart. */
  readonly words: number;
  /** First state. */
  readonly statesAt: number;
  /** A state's distance to the next, as a shift of words. */
  readonly stateShift: number;
  /** Whether a thread takes a whole bitmap word at once. */
  readonly batch: boolean;
  /** True when the last release has nothing to do but to release. */
  readonly plain: boolean;
  /** Number of this thread among the owners. */
  readonly owner: number;
  /** Its bit. */
  readonly me: number;
  /** Its status word when it came in. */
  readonly status: number;
  /** Where that is now. */
  readonly statusAt: number;
  /** The magazine: slots of this bitmap word are probably free, and nobody else probably looks at them. */
  word: number;
  /** Which of them. */
  mask: number;
  /** Where the next search begins. */
  start: number;
  /** By slot: the lease that this thread holds or held last; `MANY - id` while it holds it more than once. */
  readonly mine: Int32Array;
  /** By slot: holds of this thread beyond the first. */
  readonly extra: Int32Array;
  /** By slot: the lease that this thread gave up last while others went on holding it. */
  readonly gone: Int32Array;
  /** Clears a slot's bytes. */
  readonly clear: (index: number) => void;
  /** Wakes one who sleeps on the wake counter, or all. */
  readonly notify: (i32: Int32Array, index: number, count: number) => unknown;
}

/** No slot is free. */
export const NONE: number = -1;

/** `MANY - id` stands for a lease that is held more than once: negative for every identity. */
export const MANY: number = -1;

/** No lease: neither an identity nor one that is held more than once. */
export const NOTHING: number = -(2 ** 31);

/** Makes the view of one thread. `status` is its entry's status word. */
export function createCore(
  i32: Int32Array,
  layout: SharedLayout,
  owner: number,
  status: number,
  clear: (index: number) => void,
  notify: (i32: Int32Array, index: number, count: number) => unknown,
): Core {
  const { count, owners, words } = layout;
  return {
    i32,
    layout,
    count,
    indexBits: layout.indexBits,
    indexMask: (1 << layout.indexBits) - 1,
    ownerBits: owners,
    takenMask: ((1 << owners) - 1) | DEAD_SLOT,
    step: 1 << owners,
    stateMask: (1 << (owners + layout.generationBits)) - 1,
    bitmapAt: layout.bitmapAt,
    words,
    statesAt: layout.statesAt,
    stateShift: layout.stateShift,
    batch: layout.batch,
    plain: layout.zero !== "release",
    owner,
    me: 1 << owner,
    status,
    statusAt: layout.ownersAt + owner * LINE + Owner.STATUS,
    word: 0,
    mask: 0,
    // Owners begin far from each other, so that they meet late.
    start: Math.floor((owner * words) / owners),
    mine: new Int32Array(count).fill(NOTHING),
    extra: new Int32Array(count),
    gone: new Int32Array(count).fill(NOTHING),
    clear,
    notify,
  };
}

/** Takes a free slot: the identity of the lease, or {@link NONE}. @realtime */
export function take(core: Core): number {
  const { mask, i32 } = core;
  // A plain look costs nothing here: a thread that was declared dead, and lives, takes no more.
  if (mask !== 0 && i32[core.statusAt] === core.status) {
    const bit = mask & -mask;
    core.mask = mask ^ bit;
    const index = core.word * WORD_SLOTS + 31 - Math.clz32(bit);
    const at = core.statesAt + (index << core.stateShift);
    const state = i32[at]!;
    if ((state & core.takenMask) === 0 && Atomics.compareExchange(i32, at, state, state | core.me) === state) {
      const id = ((state >>> core.ownerBits) << core.indexBits) | index;
      core.mine[index] = id;
      return id;
    }
  }
  return takeSlow(core);
}

/** As {@link take}, when the magazine has nothing: a word of the bitmap, or else whatever slot is free. */
export function takeSlow(core: Core): number {
  const { i32, count } = core;
  // Somebody declared this thread dead; what it took now would be nobody's.
  if (Atomics.load(i32, core.statusAt) !== core.status) return NONE;
  for (;;) {
    while (core.mask !== 0) {
      const bit = core.mask & -core.mask;
      core.mask ^= bit;
      const index = core.word * WORD_SLOTS + 31 - Math.clz32(bit);
      // Bits are read from shared memory, and the last word has bits that stand for no slot.
      const id = index < count ? tryTake(core, index) : NONE;
      if (id !== NONE) return id;
    }
    if (!refill(core)) break;
  }
  const first = core.start * WORD_SLOTS;
  for (let i = 0; i < count; i++) {
    const id = tryTake(core, first + i < count ? first + i : first + i - count);
    if (id !== NONE) return id;
  }
  return NONE;
}

/** Fills the magazine from the bitmap; false when no word has a bit. */
function refill(core: Core): boolean {
  const { i32, words } = core;
  for (let i = 0; i < words; i++) {
    const word = core.start + i < words ? core.start + i : core.start + i - words;
    const at = core.bitmapAt + word * LINE;
    const seen = i32[at]!;
    if (seen === 0) continue;
    // The whole word where slots abound; one slot where others would miss the rest.
    const want = core.batch ? -1 : seen & -seen;
    const got = Atomics.and(i32, at, ~want) & want;
    if (got === 0) continue;
    core.start = word;
    core.word = word;
    core.mask = got & ((1 << WORD_SLOTS) - 1);
    return true;
  }
  return false;
}

/** Takes this slot if it is free. */
function tryTake(core: Core, index: number): number {
  const { i32 } = core;
  const at = stateAt(core, index);
  const state = i32[at]!;
  if ((state & core.takenMask) !== 0) return NONE;
  if (Atomics.compareExchange(i32, at, state, state | core.me) !== state) return NONE;
  const id = ((state >>> core.ownerBits) << core.indexBits) | index;
  core.mine[index] = id;
  core.extra[index] = 0;
  return id;
}

/** Gives back a lease that this thread holds once. False: it does not, or not so; nothing changed. @realtime */
export function give(core: Core, id: number): boolean {
  const { i32 } = core;
  const index = id & core.indexMask;
  // Also false for what is no number, no whole one, or beyond the pool.
  if (core.mine[index] !== id || !core.plain) return false;
  const at = core.statesAt + (index << core.stateShift);
  const held = ((id >>> core.indexBits) << core.ownerBits) | core.me;
  const free = (held - core.me + core.step) & core.stateMask;
  if (Atomics.compareExchange(i32, at, held, free) !== held) return false;
  offer(core, index);
  if (Atomics.load(i32, Header.WAITING) !== 0) wake(core, 1);
  return true;
}

/** Says where a free slot is: in the magazine if it fits there, which costs nothing, else in the bitmap. */
function offer(core: Core, index: number): void {
  const word = index >>> WORD_SHIFT;
  const bit = 1 << (index & (WORD_SLOTS - 1));
  if (word === core.word) core.mask |= bit;
  else if (core.mask === 0) {
    core.word = word;
    core.mask = bit;
  } else {
    const { i32 } = core;
    Atomics.or(i32, core.bitmapAt + word * LINE, bit);
  }
}

/** Lets those who wait look again. */
export function wake(core: Core, count: number): void {
  const { i32 } = core;
  // Who read the counter before this and goes to sleep on it now does not fall asleep.
  Atomics.add(i32, Header.WAKES, 1);
  core.notify(i32, Header.WAKES, count);
}

/**
 * Gives back in every case: held more than once, held by others too, bytes to be cleared. Returns false, and changes
 * nothing, when this thread does not hold the lease.
 */
export function giveSlow(core: Core, id: number): boolean {
  const { i32, me } = core;
  const index = id & core.indexMask;
  const at = stateAt(core, index);
  for (;;) {
    const state = Atomics.load(i32, at);
    // Its bit may be there for a lease that is on its way here: sent away, it is not this thread's before it has come back.
    if (!holds(core, state, id) || !knows(core, index, id)) return false;
    if (core.mine[index] === MANY - id) {
      if (--core.extra[index]! === 0) core.mine[index] = id;
      return true;
    }
    const last = (state & core.takenMask) === me;
    // Before the slot is free: after it, the bytes are somebody else's. Nobody can join while this is the only holder.
    if (last && !core.plain) core.clear(index);
    const next = last ? (state - me + core.step) & core.stateMask : state & ~me;
    if (Atomics.compareExchange(i32, at, state, next) !== state) continue;
    forget(core, index, id);
    if (last) {
      offer(core, index);
      if (Atomics.load(i32, Header.WAITING) !== 0) wake(core, 1);
    }
    return true;
  }
}

/** Whether a state says that this thread holds that very lease. */
export function holds(core: Core, state: number, id: number): boolean {
  return (state & core.me) !== 0 && isLease(core, state, id);
}

/** Whether a state says that the lease goes on, whoever holds it. */
export function isLease(core: Core, state: number, id: number): boolean {
  return (
    (state & DEAD_SLOT) === 0 && (state & core.takenMask) !== 0 && state >>> core.ownerBits === id >>> core.indexBits
  );
}

/**
 * One hold more. A thread that holds the lease already pays no atomic step; another one that was told of it joins the
 * holders. Returns false, and changes nothing, when the lease is over.
 */
export function keep(core: Core, id: number): boolean {
  const { i32, me } = core;
  const index = id & core.indexMask;
  const at = stateAt(core, index);
  for (;;) {
    const state = Atomics.load(i32, at);
    if (!isLease(core, state, id)) return false;
    if ((state & me) !== 0 && knows(core, index, id)) {
      core.extra[index]!++;
      core.mine[index] = MANY - id;
      return true;
    }
    // The bit may be there unknown to this thread: a lease that is on its way to it. This hold is that one, then.
    if ((state & me) !== 0 || Atomics.compareExchange(i32, at, state, state | me) === state) {
      core.mine[index] = id;
      core.extra[index] = 0;
      return true;
    }
  }
}

/** Whether this thread knows that it holds a lease whose state has its bit. */
export function knows(core: Core, index: number, id: number): boolean {
  return core.mine[index] === id || core.mine[index] === MANY - id;
}

/** Notes that this thread holds the lease no more. */
export function forget(core: Core, index: number, id: number): void {
  core.mine[index] = NOTHING;
  core.gone[index] = id;
}

/** Position of a slot's state. */
export function stateAt(core: Core, index: number): number {
  return core.statesAt + (index << core.stateShift);
}

/** Position of an owner's entry. */
export function ownerWord(core: Core, owner: number): number {
  return core.layout.ownersAt + owner * LINE;
}
