/**
 * The steps of a ring, as plain functions over plain data, so that a test can run them access by access (as
 * core.ts; test/pools/shared/ring-waits.test.ts does).
 *
 * Each side publishes its counter in a word, and a side that sleeps does so on the other side's word. Before it sleeps
 * it sets a bit above the counter in that word and looks once more. Publishing is an exchange: it writes the counter
 * without the bit and answers whether the bit was there, so publishing and looking for a sleeper are one instruction
 * and no wake-up can fall between them. Who has something else to say (the ring was closed, the other side came) clears
 * the bit, which changes the word too.
 */
import { MillpondError } from "../../util/errors.ts";
import { RECHECK_MS } from "./wait.ts";
import type { SharedWaiter } from "./waiter.ts";

/** Words; each that changes has a line of its own. `PUSHER` and `POPPER` are for who uses the ring. */
export const RingWord = {
  MAGIC: 0,
  VERSION: 1,
  CAPACITY: 2,
  TAIL: 16,
  HEAD: 32,
  PUSHER: 48,
  POPPER: 64,
  /** Not 0: closed. */
  CLOSED: 80,
  /** The popping side's counter, as far as it is, whether it was published or not. */
  POPPED: 96,
  ITEMS: 112,
} as const;

/** Counters wrap here: small integers in every engine. Every capacity divides it. */
export const WRAP: number = 2 ** 29 - 1;

/** What an attempt answers: not yet. */
export const AGAIN: number = -1;
/** Not yet, and nobody will wake this thread for it: look again soon. */
export const SOON: number = -2;
/** Never again. */
export const ENDED: number = -3;

/** What {@link put} answers when the ring is full; else 0, or another number when the other side is to be woken. */
export const FULL: number = -1;
/** What {@link put} answers, with nothing changed, when another thread has pushed since. */
export const DISPLACED: number = -4;

/** More than can sleep on a word. */
const EVERYONE = 0x7fffffff;

/**
 * 5 us, one wake-up. Measured on two cores beside two busy loops, for 0, 5, 20, 50 and 200 us: a number in a stream
 * takes 1.5, 1.6, 4, 6 and 15 us, one there and back 40, 45, 250, 700 and 230 us; beside none, one there and back is 15
 * to 25 us with up to 20.
 */
const RING_SPIN_MS = 0.005;

/** Looks between two readings of the clock: what `looks` of a ring is but in tests. */
export const RING_SPINS = 4;

/** 1 ms: the other side is between two steps that take nanoseconds, and lost its core there. */
const SOON_MS = 1;

/**
 * Who finds the ring empty looks away for a third of a microsecond (8 pauses of the processor, 43 ns each on the
 * machine that this was measured on): a thread that looks again and again takes the counter's line from the pushing
 * core each time, and every push waits for it to come back (35 against 23 ns). Engines before Atomics.pause do without.
 */
const PAUSES = 8;
const pause: () => void = (Atomics as { pause?: () => void }).pause ?? (() => {});

/*
 * The same again for the hot path, because what is exported, or a property, is loaded anew at each use: with these a
 * push and a pop take 30 ns, without 35.
 */
const TAIL: number = RingWord.TAIL;
const HEAD: number = RingWord.HEAD;
const CLOSED: number = RingWord.CLOSED;
const POPPED: number = RingWord.POPPED;
const ITEMS: number = RingWord.ITEMS;
// WRAP.
const MASK = 0x1fffffff;
/** Above a counter: the other side sleeps on this word. With it a word is still a small integer. */
const BIT = 0x20000000;
const NOT_YET = -1;
/** What a place can hold. Shared memory may say anything: a negative number would read as an empty ring. */
const ITEM_MASK = 0x7fffffff;

/** What one side of a ring knows. */
export interface RingState {
  /** Header and items. */
  readonly i32: Int32Array;
  /** The capacity less 1. */
  readonly last: number;
  /** Pops between two publications. */
  readonly batch: number;
  /** Of the pushing side: how many it pushed. */
  tail: number;
  /** Of the popping side: how many it popped. */
  head: number;
  /** The other side's counter as the popping side saw it last. */
  cachedTail: number;
  /** The `tail` at which the ring is full, by the other side's counter as the pushing side saw it last. */
  cachedLimit: number;
  /** The last `head` that was published. */
  publishedHead: number;
  /** The `head` at which to publish it. */
  publishAt: number;
  /** True while promises wait to push: a try does not overtake them. */
  pushesWait: boolean;
  /** True while promises wait to pop. */
  popsWait: boolean;
  /** Attempts of a wait that spins, between two readings of the clock. */
  readonly spins: number;
  /** Wakes those who sleep on a word. */
  readonly notify: (i32: Int32Array, index: number, count: number) => unknown;
}

/** Puts an integer in. @realtime */
export function put(ring: RingState, value: number): number {
  const { tail, i32 } = ring;
  if (tail === ring.cachedLimit) {
    const refusal = lookForRoom(ring);
    if (refusal !== 0) return refusal;
  }
  i32[ITEMS + (tail & ring.last)] = value;
  const next = (tail + 1) & MASK;
  ring.tail = next;
  return Atomics.exchange(i32, TAIL, next) & BIT;
}

/** As {@link put}, and wakes the other side; false when the ring is full. @realtime */
export function tryPush(ring: RingState, value: number): boolean {
  const waits = put(ring, value);
  if (waits === 0) return true;
  if (waits === NOT_YET) return false;
  if (waits === DISPLACED) throw displacedError("push");
  wakeSide(ring, TAIL);
  return true;
}

/** Takes the oldest integer out, or answers -1. @realtime */
export function tryPop(ring: RingState): number {
  const { head, i32 } = ring;
  if (head === ring.cachedTail && !hasItem(ring)) return NOT_YET;
  const value = i32[ITEMS + (head & ring.last)]! & ITEM_MASK;
  const next = (head + 1) & MASK;
  ring.head = next;
  if (next === ring.publishAt) publishHead(ring);
  else i32[POPPED] = next;
  return value;
}

/** The oldest integer, which stays in; or -1. @realtime */
export function peek(ring: RingState): number {
  const { head, i32 } = ring;
  if (head === ring.cachedTail && !hasItem(ring)) return NOT_YET;
  return i32[ITEMS + (head & ring.last)]! & ITEM_MASK;
}

/** 0: there is room; else {@link FULL} or {@link DISPLACED}. */
function lookForRoom(ring: RingState): number {
  const { i32 } = ring;
  // This side alone writes that counter.
  if ((Atomics.load(i32, TAIL) & MASK) !== ring.tail) return DISPLACED;
  const head = Atomics.load(i32, HEAD) & MASK;
  // The next push comes here again where this one finds none.
  if (((ring.tail - head) & MASK) > ring.last) return NOT_YET;
  if (ring.pushesWait || Atomics.load(i32, CLOSED) !== 0) return NOT_YET;
  ring.cachedLimit = (head + ring.last + 1) & MASK;
  return 0;
}

/** Says how much room there is, and wakes who waits for it. */
function publishHead(ring: RingState): void {
  const { i32, head } = ring;
  ring.publishedHead = head;
  ring.publishAt = (head + ring.batch) & MASK;
  if ((Atomics.exchange(i32, HEAD, head) & BIT) !== 0) wakeSide(ring, HEAD);
}

function hasItem(ring: RingState): boolean {
  const { i32 } = ring;
  const seen = Atomics.load(i32, TAIL) & MASK;
  // A damaged counter may not make items of what nobody pushed.
  if (((seen - ring.head) & MASK) > ring.last + 1) throw damaged(ring, seen);
  if ((i32[HEAD]! & MASK) !== ring.publishedHead) throw displacedError("pop");
  if (ring.head === seen) {
    if (ring.publishedHead !== ring.head) publishHead(ring);
    for (let i = 0; i < PAUSES; i++) pause();
    return false;
  }
  if (ring.popsWait) return false;
  ring.cachedTail = seen;
  return true;
}

function damaged(ring: RingState, seen: number): MillpondError {
  return new MillpondError(
    "ERR_CORRUPTED",
    `the ring's counters are damaged: ${seen} pushed, ${ring.head} popped, and room for ${ring.last + 1}; two threads on one side do that`,
  );
}

/** The error of a side that another thread uses too, or whose counter something else wrote. */
export function displacedError(side: "push" | "pop"): MillpondError {
  return new MillpondError(
    "ERR_CORRUPTED",
    `this ring's counter of ${side === "push" ? "pushes" : "pops"} has moved since this object's last ${side}: one thread a side, by one object; ` +
      "take a ring for each pair of threads",
  );
}

/** Whether the ring was closed. */
export function isClosed(ring: RingState): boolean {
  const { i32 } = ring;
  return Atomics.load(i32, CLOSED) !== 0;
}

/** Wakes who sleeps on a word that was changed. */
export function wakeSide(ring: RingState, word: number): void {
  const { i32 } = ring;
  ring.notify(i32, word, EVERYONE);
}

/** Makes both sides look again: something other than a counter changed. */
export function wakeBoth(ring: RingState): void {
  const { i32 } = ring;
  Atomics.and(i32, TAIL, MASK);
  wakeSide(ring, TAIL);
  Atomics.and(i32, HEAD, MASK);
  wakeSide(ring, HEAD);
}

/** Closes the ring and wakes all. */
export function close(ring: RingState): void {
  const { i32 } = ring;
  Atomics.store(i32, CLOSED, 1);
  wakeBoth(ring);
  // The next push of this side, and the next pop of an empty ring, look.
  ring.cachedLimit = ring.tail;
}

/** Says that this side is going to sleep on the word; answers the value to sleep on. Look once more after it. */
export function announce(ring: RingState, word: number): number {
  const { i32 } = ring;
  return Atomics.or(i32, word, BIT) | BIT;
}

/** A push that waits, once: 0, {@link AGAIN} or {@link ENDED}. */
export function pushOrEnd(ring: RingState, value: number): number {
  if (isClosed(ring)) return ENDED;
  return tryPush(ring, value) ? 0 : AGAIN;
}

/**
 * A pop that waits, once: the integer, {@link AGAIN} or {@link ENDED}. What was pushed before the ring was closed comes
 * out.
 */
export function popOrEnd(ring: RingState): number {
  const closed = isClosed(ring);
  const value = tryPop(ring);
  return value === AGAIN && closed ? ENDED : value;
}

/**
 * Room that the popping side has made and not published: it pops now and then, and an eighth of the ring is not full
 * yet. The counter is a plain store, so it counts when it has stood there for a whole slice of sleep: by then the pops
 * before it are over.
 */
export function trustPopped(ring: RingState, hint: number): number {
  const { i32 } = ring;
  const now = Atomics.load(i32, POPPED) & MASK;
  if (now === hint && ((ring.tail - now) & MASK) <= ring.last) ring.cachedLimit = (now + ring.last + 1) & MASK;
  return now;
}

/**
 * Attempts, spins shortly, then sleeps on `word`, until the attempt answers something, or `ms` are over: then {@link
 * AGAIN}.
 */
export function waitSync(
  ring: RingState,
  word: number,
  attempt: () => number,
  waiter: Pick<SharedWaiter, "wait">,
  ms: number,
): number {
  const { i32 } = ring;
  const start = performance.now();
  do {
    for (let i = 0; i < ring.spins; i++) {
      const got = attempt();
      if (got !== AGAIN && got !== SOON) return got;
    }
  } while (performance.now() - start < Math.min(RING_SPIN_MS, ms));
  let hint = AGAIN;
  for (;;) {
    const value = announce(ring, word);
    const got = attempt();
    if (got !== AGAIN && got !== SOON) return got;
    const left = ms - (performance.now() - start);
    if (left <= 0) return AGAIN;
    const asleep = performance.now();
    waiter.wait(i32, word, value, Math.min(left, got === SOON ? SOON_MS : RECHECK_MS));
    // Half: a sleep may end a little early.
    if (word === HEAD && performance.now() - asleep > RECHECK_MS / 2) hint = trustPopped(ring, hint);
  }
}
