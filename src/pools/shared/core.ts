/**
 * The steps of a shared pool, as plain functions over plain data. One rule carries all of it:
 *
 * **A slot changes hands by one compare-exchange on its state word, and by nothing else.** The word says which
 * generation the slot is in and who holds it, so that taking a slot and saying who took it are the same instruction:
 * there is no moment at which a worker that dies could leave a slot that is neither free nor anybody's. The bitmap and
 * the workers' magazines are hints where to look. A hint that is lost (its thread died) or stale (the slot is taken)
 * costs a step, never a slot: a thread that finds no hint looks at every state before it says that there is none.
 *
 * **A lease ends before its slot is free, and begins when its slot is ready.** A last release that has more to do than
 * to release first *closes* the slot: it moves the state to the next generation, sets {@link CLOSED_SLOT}, and stays
 * the only holder. There is no lease in a closed slot, so nobody can join, also one who knows what the next lease will
 * be called. Then it clears the bytes, and then it frees the slot in that generation. A thread that dies in between
 * leaves a slot that a dead member holds: reclaim closes it again, in a generation of its own, and starts over. Where
 * bytes are cleared before they are handed out, taking a slot is the same: it closes the slot, clears it, and only then
 * begins the lease, by one compare-exchange that fails where the thread was declared dead or the pool closed meanwhile.
 *
 * **The generation has two words.** The state holds the low part, which every release counts up; the word beside it
 * holds the high part. No lease has the last value of the low part: a slot that reaches it is closed, its holder moves
 * the high part on by one compare-exchange, and frees the slot at low part 0. So the high part does not change while
 * anybody holds a lease or takes one:
 * - Taking a slot is the compare-exchange on the state; the high part is read after it, when this thread is the holder.
 * - Joining is a compare-exchange on the state as well, so the high part is compared *after* it: if the slot went
 *   through all low parts meanwhile, this thread has joined another lease, or a closed slot, and drops out of it as any
 *   holder does.
 * - The high part is moved from a value that was read while the slot was closed by this very thread. A thread that is
 *   late (it was declared dead, and another one finished its step) finds another value there, and its compare-exchange
 *   fails.
 * - A holder that dies after the step leaves a closed slot at the last low part. Reclaim moves the high part once more:
 *   that skips generations, and repeats none.
 *
 * **A status word is the identity of a pool, and of a membership in it.** Its epoch begins at a number of the pool's
 * own and is never the same for two members. Every operation compares it with what this thread came in with: one plain
 * look on the fast path. So a thread that was declared dead changes nothing.
 *
 * **No bit of a member that is gone stays.** A thread may rest between that look and its step, and be declared dead and
 * cleared up after in between; then the step takes a slot for nobody. So a thread that sets its bit looks at its
 * status once more *after* that: a bit that was set before the membership ended is met by the pass that clears up, one
 * that was set later is seen here, and taken back. A thread that is killed between the two leaves a bit of a free
 * place, and so does one whose second look, a plain one, was answered before others saw its step, as some processors
 * do it. Each search that finds no slot sees those, and each call that clears up ends them (`markStrays` in
 * reclaim.ts).
 *
 * **Nobody is at the words of a pool that is not there any more.** What lies where is another thing in the next pool in
 * this memory, and between a look and the step after it a thread may rest for any time. So a memory is given to
 * another pool only when the last one is closed and has no member left that may be inside an operation (`takeMemory` in
 * pool-state.ts). A membership in a pool that was closed is given up by its own thread, between two operations; from
 * then on this thread has no place to compare its status with ({@link depart}), and changes nothing. One who is not a
 * member (it attaches, or closes the pool after it left) counts itself in at a word that lies in the same place in
 * every pool.
 *
 * **Every pass is bounded**, also when another thread writes into these words without end: each bitmap word is looked
 * at once, each state once, and a compare-exchange that fails is repeated at most {@link RETRIES} times.
 *
 * The tests run this very file with every access to shared memory turned into a scheduling point (test/pools/shared/
 * interleave.ts), so the shared words are only touched as `Atomics.x(...)` and `i32[...]`, and only by top-level
 * functions. A plain read is a hint, checked by the compare-exchange after it: 0.3 ns where Atomics.load is a call of 5
 * ns.
 */
import {
  CLOSED_SLOT,
  carried,
  DEAD_SLOT,
  Header,
  LINE,
  MemberState,
  MemberWord,
  PoolState,
  RETIRING,
  type SharedLayout,
  WORD_SHIFT,
  WORD_SLOTS,
} from "./layout.ts";

/**
 * What one attached thread knows; made by {@link createCore}, all fields always set, so that its shape never changes.
 */
export interface Core {
  /** Header, members, bitmap and states. */
  readonly i32: Int32Array;
  /** Where everything lies. */
  readonly layout: SharedLayout;
  /** The pool's number. The memory's header has another one when another pool was made there. */
  readonly pool: number;
  /** Slots. */
  readonly count: number;
  /** Bits of an identity that are the index. */
  readonly indexBits: number;
  /** Those bits. */
  readonly indexMask: number;
  /** Bits of a state that are members. */
  readonly memberBits: number;
  /** All members' bits. */
  readonly holderMask: number;
  /** All bits of a state that are not its generation: it is free without any of them. */
  readonly takenMask: number;
  /** One generation, in a state. */
  readonly step: number;
  /** The low part of a generation, unshifted. */
  readonly generationMask: number;
  /** A free state with the last low part, which no lease ever has. */
  readonly lastState: number;
  /** The bits of a state that are in use. */
  readonly stateMask: number;
  /** The bits of the second word that are the high part of the generation. */
  readonly highMask: number;
  /** What one of the high part is worth in an identity. */
  readonly highUnit: number;
  /** First bitmap word. */
  readonly bitmapAt: number;
  /** Bitmap words, a line apart. */
  readonly words: number;
  /** Those bits of the last bitmap word that stand for slots. */
  readonly lastWord: number;
  /** First state. */
  readonly statesAt: number;
  /** A state's distance to the next, as a shift of words. */
  readonly stateShift: number;
  /** First sender word. */
  readonly sendersAt: number;
  /** Words from slot to slot there. */
  readonly senderStride: number;
  /** Whether a thread takes a whole bitmap word at once. */
  readonly batch: boolean;
  /** True when the last release has nothing to do but to release. */
  readonly plain: boolean;
  /** True when a slot is cleared before its lease begins. */
  readonly clearsFirst: boolean;
  /** Whether an acquire takes the slow path always: slots are cleared first, or an observer watches. */
  slowAcquire: boolean;
  /** Whether a release may take the fast path: `plain`, and no observer watches. */
  fastRelease: boolean;
  /** Told when a hold of this thread begins, on the slow paths; null: nobody watches. */
  onHold: ((index: number, id: number) => void) | null;
  /** Told when this thread's last hold of a slot ends; null: nobody watches. */
  onDrop: ((index: number) => void) | null;
  /** Told, inside an operation, when a step of this thread ends a pool that retires; null: nobody wants to know. */
  onEnd: (() => void) | null;
  /** Number of this thread among the members. */
  readonly member: number;
  /** Its bit. */
  readonly me: number;
  /** Its status word when it came in. */
  readonly status: number;
  /** This thread in this pool, see `threadOf` in lineage.ts; 0: nobody noted it. */
  readonly thread: number;
  /** Where that is now; `Header.NOBODY` once this thread has given its membership up, see {@link depart}. */
  statusAt: number;
  /** Looks for a slot between two readings of the clock, by a thread that is about to sleep. */
  readonly spins: number;
  /** The magazine: slots of this bitmap word are probably free, and nobody else probably looks at them. */
  word: number;
  /** Which of them. */
  mask: number;
  /** Where the next search begins. */
  start: number;
  /**
   * By slot, one of four: {@link NOTHING}: no lease is known; an identity that the state confirms: this thread holds
   * that lease once; an identity that it does not: the lease that this thread gave back last, which the fast path
   * leaves here; `MANY - id`: it holds that lease `localRefs + 1` times.
   */
  readonly localLease: Float64Array;
  /** By slot: holds of this thread beyond the first. */
  readonly localRefs: Int32Array;
  /** By slot: {@link BUFFER} or {@link DELIVERY} where one of this thread's holds is not for it to end; else 0. */
  readonly pins: Uint8Array;
  /** By slot: the lease that this thread gave up last while others went on holding it. */
  readonly lastLease: Float64Array;
  /** By slot: how often this thread has done so, see {@link tenureOf}. */
  readonly tenures: Float64Array;
  /** A lease is being posted, and getters in its data may run. */
  isSending: boolean;
  /** Clears a slot's bytes from one position up to another. */
  readonly clear: (index: number, from: number, to: number) => void;
  /** Wakes one who sleeps on the wake counter, or all. */
  readonly notify: (i32: Int32Array, index: number, count: number) => unknown;
}

/** No slot is free. */
export const NONE: number = -1;

/** `MANY - id` stands for a lease that is held more than once: negative for every identity. */
export const MANY: number = -1;

/** In {@link Core.pins}: one hold of this thread is a buffer's; see {@link pin}. */
const BUFFER = 1;

/**
 * In {@link Core.pins}: one hold of this thread is that of a message which is on its way here. This thread has joined
 * the lease besides, and has one bit in the state for both.
 */
const DELIVERY = 2;

/** No lease: neither an identity nor one that is held more than once. */
export const NOTHING: number = Number.NEGATIVE_INFINITY;

/**
 * The most compare-exchanges on one word in one step. Each that fails is another thread's success on the same slot;
 * 4096 of them in a row happen only when something writes there that does not belong there, and take about a
 * millisecond.
 */
export const RETRIES = 4096;

/**
 * Hints in one search that may turn out stale: some 30 us of them, or 100 where each is of a whole word. The look at
 * all states, which follows, takes 2 ms for 2^20 slots and needs no hint.
 */
const MAX_STALE = 256;

/**
 * 20 us of spinning is 8 looks at a small pool; over many slots a single look takes longer than reading the clock does.
 */
const SPINS = { few: 8, many: 1, manyFrom: 257 } as const;

/** Makes the view of one thread. `status` is its entry's status word; `pool` the number of the pool that it joined. */
export function createCore(
  i32: Int32Array,
  layout: SharedLayout,
  member: number,
  status: number,
  clear: (index: number, from: number, to: number) => void,
  notify: (i32: Int32Array, index: number, count: number) => unknown,
  pool: number = i32[Header.POOL]!,
  thread = 0,
): Core {
  const { count, members, words, indexBits, generationBits, highBits } = layout;
  const generationMask = (1 << generationBits) - 1;
  return {
    i32,
    layout,
    pool,
    count,
    indexBits,
    indexMask: (1 << indexBits) - 1,
    memberBits: members,
    holderMask: (1 << members) - 1,
    takenMask: ~(generationMask << members),
    step: 1 << members,
    generationMask,
    lastState: generationMask << members,
    stateMask: (1 << (members + generationBits)) - 1,
    highMask: (1 << highBits) - 1,
    highUnit: 2 ** (generationBits + indexBits),
    bitmapAt: layout.bitmapAt,
    words,
    lastWord: (1 << (((count - 1) & (WORD_SLOTS - 1)) + 1)) - 1,
    statesAt: layout.statesAt,
    stateShift: layout.stateShift,
    sendersAt: layout.sendersAt,
    senderStride: layout.senderStride,
    batch: layout.batch,
    plain: layout.zero !== "release",
    clearsFirst: layout.zero === "acquire",
    slowAcquire: layout.zero === "acquire",
    fastRelease: layout.zero !== "release",
    onHold: null,
    onDrop: null,
    onEnd: null,
    member,
    me: 1 << member,
    status,
    thread,
    statusAt: layout.membersAt + member * LINE + MemberWord.STATUS,
    spins: count < SPINS.manyFrom ? SPINS.few : SPINS.many,
    word: 0,
    mask: 0,
    // Members begin far from each other, so that they meet late.
    start: Math.floor((member * words) / members),
    localLease: new Float64Array(count).fill(NOTHING),
    localRefs: new Int32Array(count),
    pins: new Uint8Array(count),
    lastLease: new Float64Array(count).fill(NOTHING),
    tenures: new Float64Array(count),
    isSending: false,
    clear,
    notify,
  };
}

/*
 * Constants of this module for the hot path: what is imported, or a property, is loaded anew at each use. With them
 * taking a slot and giving it back take 36.4 ns, without 37.5.
 */
const WAITING: number = Header.WAITING;
const SLOTS: number = WORD_SLOTS;
const SHIFT: number = WORD_SHIFT;

/** Takes a free slot: the identity of the lease, or {@link NONE}. @realtime */
export function tryAcquire(core: Core): number {
  const { mask, i32 } = core;
  // This plain read costs nothing. A thread that was declared dead and still runs takes no more slots.
  if (mask !== 0 && i32[core.statusAt] === core.status && !core.slowAcquire) {
    const bit = mask & -mask;
    core.mask = mask ^ bit;
    const index = core.word * SLOTS + 31 - Math.clz32(bit);
    const at = core.statesAt + (index << core.stateShift);
    const state = i32[at]!;
    if ((state & core.takenMask) === 0 && Atomics.compareExchange(i32, at, state, state | core.me) === state) {
      const low = ((state >>> core.memberBits) << core.indexBits) | index;
      const id = (i32[at + 1]! & core.highMask) * core.highUnit + low;
      if (i32[core.statusAt] === core.status) {
        core.localLease[index] = id;
        return id;
      }
      // Here and not in a function: a worker that is being terminated may end at each call, also at this one.
      Atomics.compareExchange(i32, at, state | core.me, state);
      return tookTooLate(core);
    }
  }
  return acquireSlow(core);
}

/**
 * As {@link tryAcquire}, when the magazine has nothing: a word of the bitmap, or else any slot that is free. O(count)
 * at most.
 */
export function acquireSlow(core: Core): number {
  const { i32, count, words } = core;
  // This thread was declared dead: nobody would reclaim a slot that it takes now.
  if (Atomics.load(i32, core.statusAt) !== core.status) return NONE;
  let id = takeHinted(core);
  const start = core.start;
  // Each word is tried once, and hints that turn out stale so many times: a thread that sets bits without end does not
  // keep this one here.
  let left = MAX_STALE;
  for (let i = 0; id === NONE && i < words && left > 0; i++) {
    const word = start + i < words ? start + i : start + i - words;
    for (let n = 0; id === NONE && n < WORD_SLOTS && refill(core, word); n++, left--) id = takeHinted(core);
  }
  const first = core.start * WORD_SLOTS;
  let taken = 0;
  for (let i = 0; id === NONE && i < count; i++) {
    const index = first + i < count ? first + i : first + i - count;
    const state = i32[stateAt(core, index)]!;
    if ((state & core.takenMask) === 0) id = acquireAt(core, index);
    else taken |= state;
  }
  if (id === NONE && holdsForNobody(core, taken)) Atomics.store(i32, Header.UNRECLAIMED, 1);
  return id;
}

/** Whether one of these holders' bits is that of a place in which nobody is, as far as plain reads tell. */
function holdsForNobody(core: Core, taken: number): boolean {
  const { i32, layout } = core;
  for (let bits = taken & core.holderMask; bits !== 0; bits &= bits - 1) {
    const status = i32[layout.membersAt + (31 - Math.clz32(bits & -bits)) * LINE + MemberWord.STATUS]!;
    const state = status & MemberState.MASK;
    // Or somebody was, and who was to clear up may have been killed.
    if (state === MemberState.FREE || state === MemberState.RECLAIMING) return true;
  }
  return false;
}

/** This thread was declared dead before it took a slot, and has put that back. One that waits may want it. */
function tookTooLate(core: Core): number {
  const { i32 } = core;
  if (Atomics.load(i32, WAITING) !== 0) wake(core, 1);
  return NONE;
}

/**
 * This thread was declared dead before it set its bit in a lease that others know. Whether the bit is still its own,
 * its place decides: a next member there may have joined the same lease. So the place goes back to those who clear up,
 * unless it is another one's already.
 */
function joinedTooLate(core: Core): void {
  const { i32, status } = core;
  const free = status & ~MemberState.MASK;
  Atomics.compareExchange(i32, core.statusAt, free | MemberState.FREE, free | MemberState.RECLAIMING);
  Atomics.store(i32, Header.UNRECLAIMED, 1);
}

/** Whether this thread set a bit in a lease after it was declared dead; then those who clear up know. */
export function isTooLate(core: Core): boolean {
  const { i32 } = core;
  if (Atomics.load(i32, core.statusAt) === core.status) return false;
  joinedTooLate(core);
  return true;
}

/** Takes a slot that the magazine knows, if one of them is free. */
function takeHinted(core: Core): number {
  while (core.mask !== 0) {
    const bit = core.mask & -core.mask;
    core.mask ^= bit;
    const id = acquireAt(core, core.word * WORD_SLOTS + 31 - Math.clz32(bit));
    if (id !== NONE) return id;
  }
  return NONE;
}

/** Fills the magazine from a word of the bitmap; false when that has no bit. */
function refill(core: Core, word: number): boolean {
  const { i32 } = core;
  const at = core.bitmapAt + word * LINE;
  // The last word has bits that stand for no slot, and shared memory may say anything.
  const slots = word === core.words - 1 ? core.lastWord : (1 << WORD_SLOTS) - 1;
  const seen = i32[at]! & slots;
  if (seen === 0) return false;
  // The whole word where slots abound; one slot where others would miss the rest.
  const want = core.batch ? slots : seen & -seen;
  const got = Atomics.and(i32, at, ~want) & want;
  core.start = word;
  core.word = word;
  core.mask = got;
  return true;
}

/** Takes this slot if it is free. */
function acquireAt(core: Core, index: number): number {
  const { i32 } = core;
  const at = stateAt(core, index);
  const state = i32[at]!;
  if ((state & core.takenMask) !== 0) return NONE;
  if (core.clearsFirst) return acquireCleared(core, index, state);
  if (Atomics.compareExchange(i32, at, state, state | core.me) !== state) return NONE;
  const id = (i32[at + 1]! & core.highMask) * core.highUnit + (((state >>> core.memberBits) << core.indexBits) | index);
  if (i32[core.statusAt] !== core.status) {
    Atomics.compareExchange(i32, at, state | core.me, state);
    return tookTooLate(core);
  }
  beginHold(core, index, id);
  return id;
}

/** Takes the slot that was seen free in that state, and clears it before its lease begins. */
function acquireCleared(core: Core, index: number, state: number): number {
  const { i32, me } = core;
  const at = stateAt(core, index);
  const closed = state | me | CLOSED_SLOT;
  if (Atomics.compareExchange(i32, at, state, closed) !== state) return NONE;
  // Before a byte is cleared: the slot may be another one's soon.
  if (i32[core.statusAt] !== core.status) {
    Atomics.compareExchange(i32, at, closed, state);
    return tookTooLate(core);
  }
  // Else the pool was closed; the slot is closed too.
  if (!clearSlot(core, index, 0, core.layout.size)) return NONE;
  const id = leaseOf(core, index, state);
  // It fails where this thread was declared dead meanwhile: another one has freed the slot.
  if (Atomics.compareExchange(i32, at, closed, state | me) !== closed) return NONE;
  if (i32[core.statusAt] !== core.status) {
    Atomics.compareExchange(i32, at, state | me, state);
    return tookTooLate(core);
  }
  beginHold(core, index, id);
  return id;
}

/** Notes that this thread holds a lease once, which it did not hold. */
export function beginHold(core: Core, index: number, id: number): void {
  core.localLease[index] = id;
  core.localRefs[index] = 0;
  if (core.onHold !== null) core.onHold(index, id);
}

/**
 * Gives back a lease that this thread holds once. False, and nothing changed: it does not hold it once, or the slow
 * path is needed. @realtime
 */
export function release(core: Core, id: number): boolean {
  const { i32 } = core;
  const index = id & core.indexMask;
  // Also false for what is not a whole number or is beyond the pool; and for a thread whose pool or membership has
  // ended.
  if (core.localLease[index] !== id || !core.fastRelease || i32[core.statusAt] !== core.status) return false;
  const at = core.statesAt + (index << core.stateShift);
  const held = (((id >>> core.indexBits) & core.generationMask) << core.memberBits) | core.me;
  const free = held - core.me + core.step;
  if (free === core.lastState || Atomics.compareExchange(i32, at, held, free) !== held) return false;
  publishFree(core, index);
  if (Atomics.load(i32, WAITING) !== 0) wake(core, 1);
  return true;
}

/** Says where a free slot is: in the magazine if it fits there, which costs nothing, else in the bitmap. */
function publishFree(core: Core, index: number): void {
  const word = index >>> SHIFT;
  const bit = 1 << (index & (SLOTS - 1));
  if (word === core.word) core.mask |= bit;
  else if (core.mask === 0) {
    core.word = word;
    core.mask = bit;
  } else {
    const { i32 } = core;
    Atomics.or(i32, core.bitmapAt + word * LINE, bit);
  }
}

/** More than there can be waiters. */
export const ALL_WAITERS = 0x3fffffff;

/** Lets those that wait look again. In a pool that retires it also closes what came free. */
export function wake(core: Core, count: number): void {
  const { i32 } = core;
  if ((i32[WAITING]! & RETIRING) !== 0) closeFree(core);
  // A thread that read the counter before this and goes to sleep on it now does not fall asleep.
  Atomics.add(i32, Header.WAKES, 1);
  core.notify(i32, Header.WAKES, count);
}

/**
 * Closes every free slot of a pool that retires, and the pool with the last one. Returns how many slots are held. A
 * slot that another thread takes meanwhile counts as held: its last release comes here again. `status` is this member's
 * as it is now. O(count).
 */
export function closeFree(core: Core, status: number = core.status): number {
  const { i32 } = core;
  let held = 0;
  for (let index = 0; index < core.count; index++) {
    const at = stateAt(core, index);
    const state = Atomics.load(i32, at);
    // Another pool may be in this memory by now. It has none of this pool's states, so the compare-exchange below
    // fails there.
    if (i32[core.statusAt] !== status) return held;
    if ((state & DEAD_SLOT) !== 0) continue;
    if ((state & core.takenMask) !== 0 || Atomics.compareExchange(i32, at, state, state | DEAD_SLOT) !== state) held++;
  }
  if (held > 0) return held;
  const was = Atomics.compareExchange(i32, Header.STATE, PoolState.RETIRING, PoolState.DEAD);
  if (was === PoolState.RETIRING && core.onEnd !== null) core.onEnd();
  return held;
}

/**
 * Gives back in every case: held more than once, held by others too, bytes to be cleared. Returns false, and changes
 * nothing, when this thread does not hold the lease.
 */
export function releaseSlow(core: Core, id: number): boolean {
  const { i32 } = core;
  const index = id & core.indexMask;
  if (Atomics.load(i32, core.statusAt) !== core.status) return false;
  // This thread's bit may be set for a lease that is on its way here. A lease that was sent away is not this thread's
  // before it has arrived again.
  if (!isLocalHolder(core, index, id)) return false;
  if (core.localLease[index] !== MANY - id) return dropHold(core, index, id);
  if (isPinned(core, index) || !holds(core, Atomics.load(i32, stateAt(core, index)), id)) return false;
  endOne(core, index, id);
  return true;
}

/** One of several holds of this thread ends, with no step in shared memory. */
export function endOne(core: Core, index: number, id: number): void {
  if (--core.localRefs[index]! > 0) return;
  core.localLease[index] = id;
  // What is left is that of a lease on its way here: not this thread's before it has come.
  if (!takeDelivery(core, index)) return;
  forget(core, index, id);
}

/** Whether one of the holds was that of a lease on its way here; from now on it is as the others. */
export function takeDelivery(core: Core, index: number): boolean {
  if (core.pins[index] !== DELIVERY) return false;
  core.pins[index] = 0;
  return true;
}

/**
 * Whether a lease was sent to this thread and has not come, whether or not it has joined it besides. `state` is that of
 * its slot.
 */
export function isUndelivered(core: Core, index: number, id: number, state: number): boolean {
  return holds(core, state, id) && (!isLocalHolder(core, index, id) || core.pins[index] === DELIVERY);
}

/**
 * Ends the hold of a lease that was sent to this thread, by a message that is lost. False, and nothing changed: there
 * is no such lease. Only where nothing can deliver it any more.
 */
export function dropUndelivered(core: Core, id: number): boolean {
  const { i32 } = core;
  const index = id & core.indexMask;
  const state = Atomics.load(i32, stateAt(core, index));
  if (!isUndelivered(core, index, id, state) || !isCurrent(core, index, id)) return false;
  // It was this thread's since its sender's step: who watches hears of both its ends.
  if (!takeDelivery(core, index)) beginHold(core, index, id);
  return releaseSlow(core, id);
}

/**
 * Takes this thread out of a lease; the slot is free with its last holder. False when it is not in it, and nothing
 * changed.
 */
export function dropHold(core: Core, index: number, id: number): boolean {
  const { i32, me } = core;
  const at = stateAt(core, index);
  for (let n = 0; n < RETRIES; n++) {
    const state = Atomics.load(i32, at);
    if (!holds(core, state, id)) return false;
    const last = (state & core.holderMask) === me;
    const free = state - me + core.step;
    const closes = !core.plain || free === core.lastState;
    const next = !last ? state & ~me : closes ? free | me | CLOSED_SLOT : free;
    if (Atomics.compareExchange(i32, at, state, next) !== state) continue;
    forget(core, index, id);
    if (last) {
      if (closes) reopen(core, index, free);
      publishFree(core, index);
      if (Atomics.load(i32, Header.WAITING) !== 0) wake(core, 1);
    }
    return true;
  }
  return false;
}

/**
 * Frees a slot that this thread has closed, and first does what must be done while nobody can join. `next` is the state
 * in which it is to be free.
 */
export function reopen(core: Core, index: number, next: number, cleared = false): void {
  const { i32, me } = core;
  const at = stateAt(core, index);
  // This thread was declared dead meanwhile: another one frees the slot, and the bytes may have a new holder.
  if ((Atomics.load(i32, at) & me) === 0) return;
  // Not cleared in a pool that was closed: it stays closed.
  if (!core.plain && !cleared && !clearSlot(core, index, 0, core.layout.size)) return;
  const closed = next | me | CLOSED_SLOT;
  let free = next;
  if (free === core.lastState) {
    carryGeneration(core, at, closed);
    free = 0;
  }
  freeClosed(core, at, closed, free);
}

/**
 * Clears bytes of a slot that this thread has closed, unless the pool was closed. It announces that in the header
 * before it looks at the pool's state. A thread that makes another pool in this memory looks for announcements after
 * the end of this pool. So either that other pool is refused, or nothing is cleared here. False: nothing was cleared.
 */
export function clearSlot(core: Core, index: number, from: number, to: number): boolean {
  const { i32 } = core;
  const at = Header.CLEARING + core.member * LINE;
  Atomics.store(i32, at, core.status);
  const state = Atomics.load(i32, Header.STATE);
  const isAlive = (state === PoolState.LIVE || state === PoolState.RETIRING) && i32[Header.POOL] === core.pool;
  if (isAlive) core.clear(index, from, to);
  // Not a store: in a new pool in this memory the word belongs to one of its members.
  Atomics.compareExchange(i32, at, core.status, 0);
  return isAlive;
}

/** Frees a closed slot, unless this thread was declared dead and another one does it, or the pool was closed. */
function freeClosed(core: Core, at: number, closed: number, free: number): void {
  const { i32, me, holderMask } = core;
  for (let n = 0; n < RETRIES; n++) {
    const state = Atomics.load(i32, at);
    if ((state & me) === 0 || (state & ~holderMask) !== (closed & ~holderMask)) return;
    const next = (state & holderMask) === me ? free : state & ~me;
    if (Atomics.compareExchange(i32, at, state, next) === state) return;
  }
}

/** Moves the high part of the generation of a slot that this thread has closed at the last low part. */
function carryGeneration(core: Core, at: number, closed: number): void {
  const { i32 } = core;
  const high = Atomics.load(i32, at + 1);
  // This thread was declared dead meanwhile: the high part may be a later one.
  if (Atomics.load(i32, at) !== closed) return;
  Atomics.compareExchange(i32, at + 1, high, carried(high, core.layout.highBits));
}

/**
 * Whether a state says that this thread holds that very lease. The high part is not compared: it does not change while
 * this thread holds the lease.
 */
export function holds(core: Core, state: number, id: number): boolean {
  return (state & core.me) !== 0 && isLease(core, state, id);
}

/**
 * Whether a state says that the lease goes on, whichever member holds it; up to the high part of the generation, see
 * {@link isCurrent}.
 */
export function isLease(core: Core, state: number, id: number): boolean {
  const generation = (id >>> core.indexBits) & core.generationMask;
  return (
    (state & DEAD_SLOT) === 0 &&
    (state & core.holderMask) !== 0 &&
    state >>> core.memberBits === generation &&
    generation !== core.generationMask
  );
}

/** Whether the high part of a slot's generation is that of a lease. Certain only for one who holds the slot. */
export function isCurrent(core: Core, index: number, id: number): boolean {
  const { i32 } = core;
  return (Atomics.load(i32, stateAt(core, index) + 1) & core.highMask) === Math.floor(id / core.highUnit);
}

/** The identity of the lease that a state is of. Certain only for one who holds the slot. */
export function leaseOf(core: Core, index: number, state: number): number {
  const { i32 } = core;
  const low = (((state >>> core.memberBits) & core.generationMask) << core.indexBits) | index;
  return (Atomics.load(i32, stateAt(core, index) + 1) & core.highMask) * core.highUnit + low;
}

/**
 * One hold more. A thread that holds the lease already pays no atomic step; another one that knows of it joins the
 * holders. Returns false, and changes nothing, when the lease is over.
 */
export function retain(core: Core, id: number): boolean {
  const { i32, me } = core;
  const index = id & core.indexMask;
  const at = stateAt(core, index);
  if (i32[core.statusAt] !== core.status) return false;
  for (let n = 0; n < RETRIES; n++) {
    const state = Atomics.load(i32, at);
    if (!isLease(core, state, id)) return false;
    if ((state & me) !== 0 && isLocalHolder(core, index, id)) {
      core.localRefs[index]!++;
      core.localLease[index] = MANY - id;
      return true;
    }
    if (!isCurrent(core, index, id)) return false;
    // The bit may be set already, for a lease that is on its way to this thread. This hold is one more.
    const isOnTheWay = (state & me) !== 0;
    if (!isOnTheWay) {
      const joined = join(core, id, state);
      if (joined === Joined.TOO_LATE) return false;
      if (joined === Joined.REFUSED && Atomics.load(i32, at) === state) return false;
      if (joined !== Joined.YES) continue;
      // From here on the generation does not change. Between the two reads it may have come round to the same low part.
      if (!isCurrent(core, index, id)) {
        dropHold(core, index, id);
        return false;
      }
    }
    core.localLease[index] = isOnTheWay ? MANY - id : id;
    core.localRefs[index] = isOnTheWay ? 1 : 0;
    core.pins[index] = isOnTheWay ? DELIVERY : 0;
    if (core.onHold !== null) core.onHold(index, id);
    return true;
  }
  return false;
}

/**
 * What became of a {@link join}: the state was another one by then; or another thread is sending that lease here; or
 * this thread was declared dead before.
 */
const Joined = { YES: 0, CHANGED: 1, REFUSED: 2, TOO_LATE: 3 } as const;

/** What of an identity is announced in a member's words: index and low part of the generation. */
const LOW_BITS = 0x3fffffff;

/** An identity as a member's words announce it. */
export function announced(id: number): number {
  return (id & LOW_BITS) + 1;
}

/**
 * Takes this thread into a lease whose slot has the given state, without its bit. A thread has one bit for all of its
 * holds, so a lease that moves to it must not meet one that it joined meanwhile: one release would end both. So each
 * side says what it is about to do before it looks at the other: this thread announces the lease that it joins, and
 * then looks for one who announced a transfer of it to this thread; that one announces the transfer, and then looks
 * for both the bit and the announcement (`prepareTransfer`). At least one of the two sees the other, and refuses.
 * O(members).
 */
function join(core: Core, id: number, state: number): number {
  const { i32, me } = core;
  const own = memberAt(core, core.member) + MemberWord.JOINING;
  Atomics.store(i32, own, announced(id));
  let joined: number = isComing(core, id, core.member) ? Joined.REFUSED : Joined.YES;
  if (joined === Joined.YES) {
    const index = id & core.indexMask;
    const seen = Atomics.compareExchange(i32, stateAt(core, index), state, state | me);
    if (seen !== state) joined = Joined.CHANGED;
    else if (isTooLate(core)) joined = Joined.TOO_LATE;
  }
  // Not a store: of one that was declared dead meanwhile the word may be the next member's.
  Atomics.compareExchange(i32, own, announced(id), 0);
  return joined;
}

/** Whether another member than this one has announced a transfer of that lease to the member `to`. O(members). */
export function isComing(core: Core, id: number, to: number): boolean {
  const { i32, layout } = core;
  const wanted = announced(id);
  for (let other = 0; other < layout.members; other++) {
    const at = memberAt(core, other);
    if (other === core.member || Atomics.load(i32, at + MemberWord.TRANSFER) !== wanted) continue;
    // What is there in a free place is nobody's.
    if (i32[at + MemberWord.TRANSFER_TO] === to && (Atomics.load(i32, at) & MemberState.MASK) !== MemberState.FREE)
      return true;
  }
  return false;
}

/**
 * Ends a lease and begins the next one on the same slot, which is never free in between: the identity of the new lease,
 * or NONE when this thread is not the only holder (somebody still looks), holds it more than once, or does not hold it.
 * Nothing has changed then.
 * @realtime
 */
export function renewLease(core: Core, id: number): number {
  const { i32, me } = core;
  const index = id & core.indexMask;
  if (core.localLease[index] !== id || i32[core.statusAt] !== core.status) return NONE;
  const at = stateAt(core, index);
  const state = Atomics.load(i32, at);
  if ((state & core.holderMask) !== me || !isLease(core, state, id)) return NONE;
  let next = state + core.step;
  if (Atomics.compareExchange(i32, at, state, next) !== state) return NONE;
  if (next - me === core.lastState) {
    carryGeneration(core, at, next);
    // This may fail as it may in reopen(). Then the new lease has ended already, and every use of it is refused.
    Atomics.compareExchange(i32, at, next, me);
    next = me;
  }
  forget(core, index, id);
  const fresh = leaseOf(core, index, next);
  beginHold(core, index, fresh);
  return fresh;
}

/** Whether this thread knows that it holds a lease whose state has its bit. */
export function isLocalHolder(core: Core, index: number, id: number): boolean {
  return core.localLease[index] === id || core.localLease[index] === MANY - id;
}

/**
 * Gives the one hold of this thread to a buffer: a release or a send needs a retain() of its own from now on, until
 * {@link unpin}. The hold is noted as one of several, so that the fast path of a release refuses it without a check of
 * its own.
 */
export function pin(core: Core, id: number): void {
  const index = id & core.indexMask;
  core.pins[index] = BUFFER;
  core.localLease[index] = MANY - id;
  core.localRefs[index]!++;
}

/** Ends what {@link pin} began; false where this thread does not know the lease any more. */
export function unpin(core: Core, id: number): boolean {
  const index = id & core.indexMask;
  if (core.pins[index] !== BUFFER || core.localLease[index] !== MANY - id) return false;
  core.pins[index] = 0;
  if (--core.localRefs[index]! === 0) core.localLease[index] = id;
  return true;
}

/** Whether the only hold that this thread has is a buffer's. */
export function isPinned(core: Core, index: number): boolean {
  return core.pins[index] === BUFFER && core.localRefs[index] === 1;
}

/** Notes that this thread holds the lease no more. */
export function forget(core: Core, index: number, id: number): void {
  core.localLease[index] = NOTHING;
  core.lastLease[index] = id;
  core.tenures[index]!++;
  if (core.onDrop !== null) core.onDrop(index);
}

/**
 * How often this thread has given up leases of a slot, where that very lease is one of them: its objects of before are
 * over. 0: it has not.
 */
export function tenureOf(core: Core, id: number): number {
  const index = id & core.indexMask;
  return core.lastLease[index] === id ? core.tenures[index]! : 0;
}

/** This thread's membership has ended, by its own step: from now on its status is that of nobody, in every pool. */
export function depart(core: Core): void {
  core.statusAt = Header.NOBODY;
  // A slot that is taken out of the magazine asks nobody whether this thread still takes part.
  core.mask = 0;
}

/** Position of a slot's state. */
export function stateAt(core: Core, index: number): number {
  return core.statesAt + (index << core.stateShift);
}

/** Position of the word that says who sent the lease of a slot to the member `to`. */
export function senderAt(core: Core, index: number, to: number): number {
  return core.sendersAt + index * core.senderStride + to;
}

/** Position of a member's entry. */
export function memberAt(core: Core, member: number): number {
  return core.layout.membersAt + member * LINE;
}
