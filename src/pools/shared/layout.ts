/**
 * Where everything of a shared pool lies in its memory, as a function of a few numbers. Nobody reads a position from
 * shared memory: a thread that attaches computes the layout anew and compares, so that a damaged or hostile header
 * moves no access.
 *
 * ```
 *   | header | members | bitmap words, 64 bytes apart | words of each slot | slot 0 | slot 1 | ...
 *   first word of a slot, its state, 30 bits:  | low part of the generation | one bit for each member that holds it |
 *     two bits above them:                     | closed | of a dead pool |
 *   second word of a slot, up to 30 bits:      | high part of the generation |
 *   one more for each member, its sender word: | which member sent the lease that comes there |
 *   identity of a lease, up to 53 bits:        | high part | low part | index of the slot |
 * ```
 * State: 30 bits, not 32, because a number in an engine with compressed pointers (every browser of the Chromium family)
 * is free of garbage only up to there, and an AudioWorklet must not make garbage. An identity stays below 2^30 for at
 * least 2^29 / count uses of a slot, and is a double after that, which compiled code keeps in a register. The
 * generations of a pool begin at a number of its own, which tells its identities from another pool's.
 *
 * The high part moves once in 2^10 uses or more, and only while the slot is closed (core.ts). Both parts together take
 * at least 2^33 uses of one slot to come round, for any number of members and slots.
 *
 * Sender words (transfer.ts says what they mean) take 4 bytes for each slot and member. Up to 1024 slots and 12 members
 * they lie in the cache line that the slot's state has to itself, and cost nothing. Of more slots they come after all
 * states, 48 bytes a slot for 12 members; a page of them that no lane has written to is never touched.
 */

import { alignUp } from "../../util/align.ts";
import { MillpondError } from "../../util/errors.ts";
import { oneOf, powerOfTwo, wholeNumber, wrongType } from "../../util/validate.ts";
import type { ZeroPolicy } from "../buffer/config.ts";

/** Changes with every change of what lies where, or of what a number means. */
export const LAYOUT_VERSION = 11;

/** "MPSP": a memory that holds a pool begins with it. */
export const MAGIC = 0x4d505350;

/** "MPSM": a thread makes the first pool in that memory. Until it is there the memory holds none. */
export const MAKING_MAGIC = 0x4d50534d;

/** 64 bytes, a cache line of every machine that we know, in 32-bit words. */
export const LINE = 16;

/**
 * Slots of one bitmap word: 16 states of 8 bytes are two whole lines, so a worker that takes a whole word has their
 * states to itself; and a bit of a word is a small integer everywhere.
 */
export const WORD_SLOTS = 16;

/** From a slot's index to its word. */
export const WORD_SHIFT = 4;

/** Words of the header. Each that changes has a line of its own. */
export const Header = {
  MAGIC: 0,
  VERSION: 1,
  POOL: 2,
  SIZE: 3,
  COUNT: 4,
  ALIGN: 5,
  MEMBERS: 6,
  ZERO: 7,
  /** Threads that are not members and are at the words of this pool: to attach, or to end what is left of it. */
  VISITORS: 8,
  /** 0 in every pool: what one who is not a member any more reads as its status. */
  NOBODY: 9,
  /** One of {@link PoolState}. */
  STATE: 16,
  /** One bit for each member in which somebody waits. */
  WAITING: 32,
  /** Counts the wake-ups; waiters sleep on it. */
  WAKES: 48,
  /** One bit for each member that clears up after dead ones at the moment. */
  RECLAIMERS: 64,
  /** Members that were reclaimed since the pool was made. */
  RECLAIMED: 80,
  /** Not 0: a pass over dead members' slots was cut off at its bound; the next slow path goes on. */
  UNRECLAIMED: 81,
  /**
   * One for each member, a line apart: its status while it clears a slot. Not among the member's own words, which lie
   * elsewhere in a pool with another number of members that is made in this memory while this thread is late.
   */
  CLEARING: 96,
  /**
   * After it, on each member's line: the threads whose end is the end of this one's thread, the nearest first, and then
   * memberships that those had, up to a 0. As PARENT they say nothing of the next member in this place. They stay where
   * one of those has left.
   */
  ANCESTORS: 97,
  /** After {@link MAX_MEMBERS} lines. */
  END: 416,
} as const;

/**
 * Words of a member's entry. Only `STATUS`, `PARENT` and what stands with that, and the ancestors, are written by
 * others than the member.
 */
export const MemberWord = {
  /** Epoch and one of {@link MemberState}. */
  STATUS: 0,
  /** The transfer in progress: the low 30 bits of the lease's identity, + 1, and to whom. */
  TRANSFER: 1,
  TRANSFER_TO: 2,
  /** The lease that this member is about to join: the low 30 bits of its identity, + 1. */
  JOINING: 3,
  /** Counted on slow paths, for stats. */
  MISSES: 4,
  WAITS: 5,
  /**
   * The member that connected or reserved this one, + 1, or 0, and above it the epoch of this one: what stands here
   * says nothing of the next member in this place. And that member's status, without its state.
   */
  PARENT: 6,
  PARENT_STATUS: 7,
  /** The process that this one is of, as far as somebody can judge it, and when it started; 0: none. */
  PROCESS: 8,
  PROCESS_START: 9,
  /**
   * The thread that has this membership: the same word in each membership that it ever has in this pool. And which
   * membership that was noted for.
   */
  THREAD: 10,
  THREAD_OF: 11,
  /** The memberships that it had before, the newest first, up to a 0 or the end of the line. */
  EARLIER: 12,
} as const;

/** What a membership is: the low bits of its status; above them, how often it was given away. */
export const MemberState = {
  FREE: 0,
  RESERVED: 1,
  LIVE: 2,
  LEAVING: 3,
  RECLAIMING: 4,
  RECLAIMED: 5,
  JOINING: 6,
  MASK: 7,
  EPOCH: 8,
} as const;

/** The bits of a status that are its epoch. */
const ALL_EPOCHS = 0x3ffffff8;

/**
 * Words of a slot, from its state on. Those after `HIGH` are there only in pools of up to {@link SPREAD_UP_TO} slots:
 * slots that take more than one pass to clear are few.
 */
export const SlotWord = {
  STATE: 0,
  HIGH: 1,
  /** Bytes at the slot's beginning that a reclaiming pass has cleared. */
  CLEARED: 2,
  /** The state in which that pass left the slot; 0: none. */
  CLOSED: 3,
  /** The first sender word. */
  SENDERS: 4,
} as const;

/**
 * What a pool is. A memory of zeros has not become a pool yet; a pool that retires ends with its last lease; MAKING: a
 * thread writes a new one over one that is dead.
 */
export const PoolState = { NONE: 0, LIVE: 1, DEAD: 2, RETIRING: 3, MAKING: 4 } as const;

/** Set in `Header.WAITING` of a pool that retires, so that each last release looks further. No member has this bit. */
export const RETIRING: number = 1 << 29;

/** Set in every state of a dead pool: no slot is free, and no lease is good. */
export const DEAD_SLOT: number = 1 << 30;

/**
 * Set in the state of a slot that is closed: its holder clears it, or moves the high part of its generation. It is not
 * free, and no lease of it is good, neither the last one nor the next. The highest bit, so the state is negative.
 */
export const CLOSED_SLOT: number = -(2 ** 31);

/** Bits of a state, and of the low part of an identity. */
const BITS = 30;

/** Bits of an identity: what a number holds exactly. */
const IDENTITY_BITS = 53;

/** The low part of a generation: with fewer than 2^10, the slower step that moves the high part would be felt. */
const MIN_GENERATION_BITS = 10;

/**
 * Members of one pool. Each has a bit in a slot's state, which leaves one bit less for the low part of the generation.
 */
export const MAX_MEMBERS: number = BITS - MIN_GENERATION_BITS;

/** From this many slots on workers take whole words: of fewer slots, 16 in one worker's magazine are too many. */
const BATCH_FROM = 256;

/**
 * Up to this many slots each state has a cache line of its own (64 KiB in all; two with more than 12 members): other
 * threads may use the neighboring slots, and threads that write to one line slow each other down. Beyond, the states of
 * a word share lines.
 */
const SPREAD_UP_TO = 1024;

/** When a slot's bytes are cleared. */
export const ZERO_POLICIES: readonly ZeroPolicy[] = ["never", "fresh", "acquire", "release"];

/** The numbers that a pool is made from. */
export interface SharedShape {
  /** Bytes of a slot. */
  readonly size: number;
  /** Slots. */
  readonly count: number;
  /** Alignment of a slot within the memory, in bytes. */
  readonly align: number;
  /** Threads that can be attached at once. */
  readonly members: number;
  /** When bytes are cleared. */
  readonly zero: ZeroPolicy;
}

/** Positions are 32-bit words from the start of the memory, except where bytes are named. */
export interface SharedLayout extends SharedShape {
  /** Bits of an identity that are the index. */
  readonly indexBits: number;
  /** Bits of the low part of a generation. */
  readonly generationBits: number;
  /** Bits of its high part. */
  readonly highBits: number;
  /** Bitmap words. */
  readonly words: number;
  /** Whether a worker takes a whole word at once. */
  readonly batch: boolean;
  /** First member's entry; one a line. */
  readonly membersAt: number;
  /** First bitmap word; one a line. */
  readonly bitmapAt: number;
  /** First state. */
  readonly statesAt: number;
  /** A state's distance to the next, as a shift of words; the high part of the generation is the word after it. */
  readonly stateShift: number;
  /** First sender word of the first slot; those of its other members follow. */
  readonly sendersAt: number;
  /** Words from slot to slot there. */
  readonly senderStride: number;
  /** First slot, in bytes. */
  readonly slotsAt: number;
  /** Bytes from slot to slot. */
  readonly stride: number;
  /** Bytes of the whole. */
  readonly bytes: number;
}

/**
 * Checks what a caller asks for and fills in the defaults. Throws `ERR_INVALID_ARG_TYPE`, `_VALUE`, `ERR_OUT_OF_RANGE`.
 */
export function checkShape(options: Partial<SharedShape>, zero: SharedShape["zero"]): SharedShape {
  if (options === null || typeof options !== "object") throw wrongType("options", "a plain object", options);
  const { size, count, align = 64, members = 12, zero: chosen = zero } = options;
  return {
    size: wholeNumber("options.size", size, 1, 2 ** 30),
    count: wholeNumber("options.count", count, 1, 2 ** (BITS - MIN_GENERATION_BITS)),
    align: powerOfTwo("options.align", align, 2 ** 20),
    members: wholeNumber("options.members", members, 1, MAX_MEMBERS),
    zero: oneOf("options.zero", chosen, ZERO_POLICIES),
  };
}

/** Where everything lies. Throws `ERR_OUT_OF_RANGE` when no memory could be that large. */
export function layoutOf(shape: SharedShape): SharedLayout {
  const { size, count, align, members } = shape;
  const indexBits = Math.max(1, 32 - Math.clz32(count - 1));
  const generationBits = BITS - Math.max(indexBits, members);
  const highBits = Math.min(BITS, IDENTITY_BITS - generationBits - indexBits);
  const words = Math.ceil(count / WORD_SLOTS);
  const batch = count >= BATCH_FROM;
  const isSpread = count <= SPREAD_UP_TO;
  const stateShift = !isSpread ? 1 : SlotWord.SENDERS + members <= LINE ? 4 : 5;
  const membersAt = Header.END;
  const bitmapAt = membersAt + members * LINE;
  const statesAt = bitmapAt + words * LINE;
  const statesEnd = statesAt + alignUp(count << stateShift, LINE);
  const sendersAt = isSpread ? statesAt + SlotWord.SENDERS : statesEnd;
  const senderStride = isSpread ? 1 << stateShift : members;
  const wordsEnd = isSpread ? statesEnd : sendersAt + alignUp(count * senderStride, LINE);
  const slotsAt = alignUp(4 * wordsEnd, Math.max(align, 64));
  const stride = alignUp(size, align);
  const bytes = slotsAt + stride * count;
  if (bytes > 2 ** 33) {
    throw new MillpondError(
      "ERR_OUT_OF_RANGE",
      `a pool of ${count} slots of ${size} bytes needs ${bytes} bytes; the most is 2^33. Make several pools`,
    );
  }
  return {
    ...shape,
    indexBits,
    generationBits,
    highBits,
    words,
    batch,
    membersAt,
    bitmapAt,
    statesAt,
    stateShift,
    sendersAt,
    senderStride,
    slotsAt,
    stride,
    bytes,
  };
}

/** The generation before a pool's first one, in its two parts. */
interface GenerationStart {
  /** The part in the state, unshifted. */
  readonly low: number;
  /** The part in the second word. */
  readonly high: number;
}

const FIRST: GenerationStart = { low: 0, high: 0 };

/**
 * A pool's first identities are below 2 to this many bits: code that is not compiled makes an object of a
 * number beyond 2^30.
 */
const START_BITS = 29;

/**
 * Where a pool's generations begin, from a random 32-bit word: anywhere that keeps its first 2^29 identities below
 * 2^30. An identity of another pool of `count` slots then fits one of this pool's with a chance of about count / 2^29,
 * and 2^32 uses of a slot and more come before its generation comes round.
 */
export function generationStart(layout: SharedLayout, chance: number): GenerationStart {
  const { generationBits, indexBits } = layout;
  const start = (chance >>> 0) % 2 ** Math.max(0, START_BITS - indexBits);
  return { low: start % 2 ** generationBits, high: Math.floor(start / 2 ** generationBits) };
}

/**
 * Writes a new pool into a memory, every slot free. Where a pool of the same shape was before, its generations go on,
 * so that a step of a thread that still has the old pool finds nothing that it knows; else they begin after `start`.
 * Members' epochs begin at a number of this pool's own. Sender words may say anything: each is written before it is
 * read.
 */
export function writePool(i32: Int32Array, layout: SharedLayout, pool: number, start: GenerationStart = FIRST): void {
  const again = i32[Header.MAGIC] === MAGIC && difference(i32, layout, i32[Header.POOL]!) === undefined;
  Atomics.store(i32, Header.STATE, PoolState.MAKING);
  // One who comes too late for the last pool may be counted in at this moment, and counts itself out.
  if (!holdsPool(i32)) Atomics.store(i32, Header.VISITORS, 0);
  i32[Header.NOBODY] = 0;
  i32[Header.VERSION] = LAYOUT_VERSION;
  i32[Header.POOL] = pool;
  i32[Header.SIZE] = layout.size;
  i32[Header.COUNT] = layout.count;
  i32[Header.ALIGN] = layout.align;
  i32[Header.MEMBERS] = layout.members;
  i32[Header.ZERO] = ZERO_POLICIES.indexOf(layout.zero);
  i32.fill(0, Header.STATE + 1, layout.statesAt);
  if (!again) i32.fill(0, layout.statesAt, layout.statesAt + (layout.count << layout.stateShift));
  for (let member = 0; member < layout.members; member++) {
    i32[layout.membersAt + member * LINE + MemberWord.STATUS] = firstStatus(pool);
  }
  for (let index = 0; index < layout.count; index++) {
    const at = layout.statesAt + (index << layout.stateShift);
    if (!again) {
      i32[at] = start.low << layout.members;
      i32[at + 1] = start.high;
    }
    nextGeneration(i32, layout, at);
    i32[bitmapWordOf(layout, index)]! |= 1 << (index % WORD_SLOTS);
  }
  Atomics.store(i32, Header.MAGIC, MAGIC);
  // Last, and atomically: a thread that sees a live pool sees all of it.
  Atomics.store(i32, Header.STATE, PoolState.LIVE);
}

/**
 * The status of a membership that nobody had yet. Its epoch is taken from the pool's number, 26 bits of chance, so that
 * no other pool's status fits; the highest bit keeps it apart from the words of a bitmap, which may lie here in a pool
 * with fewer members.
 */
function firstStatus(pool: number): number {
  return ((pool << 3) & ALL_EPOCHS) | (1 << 29);
}

/**
 * A slot that is free, in the generation after the one that its words say. The first is 1: no identity is 0, so none is
 * -0.
 */
function nextGeneration(i32: Int32Array, { members, generationBits, highBits }: SharedLayout, at: number): void {
  const last = (1 << generationBits) - 1;
  const high = i32[at + 1]! & ((1 << highBits) - 1);
  const low = ((i32[at]! >>> members) & last) + 1;
  // No lease has the last one: see core.ts.
  i32[at + 1] = low < last ? high : carried(high, highBits);
  i32[at] = (low < last ? low : 0) << members;
}

/** The high part of a generation after this one. It comes round to 1: only a pool's first generations have 0 there. */
export function carried(high: number, highBits: number): number {
  const most = (1 << highBits) - 1;
  return (high & most) === most ? 1 : (high & most) + 1;
}

/** Compares a memory's header with the layout that a handle promises; answers what is wrong, or undefined. */
export function checkPool(i32: Int32Array, layout: SharedLayout, pool: number): string | undefined {
  const state = Atomics.load(i32, Header.STATE);
  if (state === PoolState.NONE || state === PoolState.MAKING || i32[Header.MAGIC] !== MAGIC)
    return "there is no pool in it";
  return difference(i32, layout, pool);
}

/** Whether a memory holds, or held, a pool whose words mean what they mean here. */
export function holdsPool(i32: Int32Array): boolean {
  return i32[Header.MAGIC] === MAGIC && i32[Header.VERSION] === LAYOUT_VERSION;
}

/** What of the numbers in a header is not as a handle says. */
function difference(i32: Int32Array, layout: SharedLayout, pool: number): string | undefined {
  if (i32[Header.VERSION] !== LAYOUT_VERSION) {
    return `its layout has version ${i32[Header.VERSION]}, this millpond reads ${LAYOUT_VERSION}`;
  }
  const expected: readonly (readonly [number, number, string])[] = [
    [Header.POOL, pool, "pool"],
    [Header.SIZE, layout.size, "size"],
    [Header.COUNT, layout.count, "count"],
    [Header.ALIGN, layout.align, "align"],
    [Header.MEMBERS, layout.members, "members"],
    [Header.ZERO, ZERO_POLICIES.indexOf(layout.zero), "zero policy"],
  ];
  for (const [at, value, name] of expected) {
    if (i32[at] !== value) return `its ${name} is ${i32[at]}, the handle says ${value}`;
  }
  return undefined;
}

function bitmapWordOf(layout: SharedLayout, index: number): number {
  return layout.bitmapAt + (index >>> WORD_SHIFT) * LINE;
}

const bytesOfShared =
  typeof SharedArrayBuffer === "function"
    ? Object.getOwnPropertyDescriptor(SharedArrayBuffer.prototype, "byteLength")?.get
    : undefined;

/** Also one of another realm. The engine is asked: what an object says that it is, anybody can write. */
export function isShared(value: unknown): value is SharedArrayBuffer {
  try {
    return typeof bytesOfShared?.call(value) === "number";
  } catch {
    return false;
  }
}
