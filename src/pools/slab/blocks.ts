/**
 * The blocks of a slab pool: where elements lie in one, how pointers are numbered, which blocks there are, and
 * the links of the free list.
 * libcork's 64-bit model, to the byte, unless `align` asks for more:
 *
 * ```
 *   block     |link 8|head 8| element 0 |head 8| element 1 |head 8| element 2 | tail |
 *             0             firstOffset |<---- stride --->|
 *   pointer   block << shift | slot
 * ```
 * Slots are numbered with a power of two a block. Finding a block or an offset is then a shift, a mask and a
 * multiplication; a division would cost more than the rest of the access together.
 */
import type { Allocator } from "../../memory/allocator.ts";
import { claimBytes, isHeld } from "../../memory/claims.ts";
import type { Mapping, Memory } from "../../memory/memory.ts";
import { alignUp } from "../../util/align.ts";
import { isMillpondError, MillpondError, saysGone, throwLater } from "../../util/errors.ts";
import { outOfRange, powerOfTwo, show, wholeNumber } from "../../util/validate.ts";

/** libcork's 64-bit model: a block begins with a link, an element with a header, 8 bytes each. */
const WORD = 8;

/** libcork's default. */
export const DEFAULT_BLOCK_SIZE = 4096;

/** 2^30: pointers stay small integers in every engine, also those with compressed pointers. */
export const MAX_POINTERS: number = 2 ** 30;

/** A page: what a block's address can reasonably be asked for. */
const MAX_ALIGN = 4096;

/** The geometry of a slab pool; all in bytes but for the last three. */
export interface SlabLayout {
  /** Bytes of an element. */
  readonly elementSize: number;
  /** Bytes of a block. */
  readonly blockSize: number;
  /** What a block's address is a multiple of. */
  readonly align: number;
  /** Where the first element begins. */
  readonly firstOffset: number;
  /** From one element to the next. */
  readonly stride: number;
  /** Elements of a block. */
  readonly capacity: number;
  /** Bits of a pointer below its block number. */
  readonly shift: number;
  /** The most blocks that pointers can name. */
  readonly maxBlocks: number;
}

/**
 * Lays out a block. Without `align`, capacity is floor((blockSize - 8) / (elementSize + 8)); with it, elements begin on
 * its multiples and the stride grows to one. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`,
 * `ERR_OUT_OF_RANGE`, also when not one element fits.
 */
export function computeLayout(elementSize: number, blockSize: number, align: number | undefined): SlabLayout {
  wholeNumber("options.elementSize", elementSize);
  const unit = align === undefined ? 1 : powerOfTwo("options.align", align, MAX_ALIGN);
  const firstOffset = alignUp(2 * WORD, unit);
  const stride = alignUp(elementSize + WORD, unit);
  wholeNumber("options.blockSize", blockSize, firstOffset - WORD + stride);
  const capacity = Math.floor((blockSize - firstOffset + WORD) / stride);
  if (capacity > MAX_POINTERS) throw outOfRange("options.blockSize", "room for at most 2^30 elements", blockSize);
  const shift = 32 - Math.clz32(capacity - 1);
  const maxBlocks = MAX_POINTERS >>> shift;
  return { elementSize, blockSize, align: Math.max(WORD, unit), firstOffset, stride, capacity, shift, maxBlocks };
}

/**
 * The blocks of one pool: memories that stay mapped while they exist, under numbers that are used again, and their
 * ages.
 */
export class SlabBlocks {
  /** The bytes of each block; undefined where a number is vacant. */
  readonly views: (Uint8Array | undefined)[] = [];
  /**
   * The same bytes for cursors, which go from block to block and must not make a view (50 ns and garbage) at each step.
   */
  readonly dataViews: (DataView | undefined)[] = [];
  /** Blocks added since the beginning. */
  carved = 0;
  readonly #source: Allocator | undefined;
  readonly #layout: SlabLayout;
  readonly #mappings: (Mapping | undefined)[] = [];
  /** When each block was first seen empty; Infinity: not empty. */
  readonly #idleSince: number[] = [];
  /** Numbers in order of their carving. */
  #order: number[] = [];

  /** No blocks yet. */
  constructor(source: Allocator | undefined, layout: SlabLayout) {
    this.#source = source;
    this.#layout = layout;
  }

  /** Blocks that exist. */
  get count(): number {
    return this.#order.length;
  }

  /** The number that the next block gets: the lowest vacant one. O(blocks) while one is vacant. */
  nextNumber(): number {
    return this.count === this.views.length ? this.count : this.views.indexOf(undefined);
  }

  /** Makes block `number`. Throws what the allocator and the mapping throw; there is no new block then. */
  add(number: number): void {
    const mapping = this.#source === undefined ? undefined : this.#allocate(this.#source);
    this.#mappings[number] = mapping;
    const bytes = mapping?.bytes ?? plainBytes(this.#layout.blockSize);
    this.views[number] = bytes;
    this.dataViews[number] = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#idleSince[number] = Number.POSITIVE_INFINITY;
    this.#order.push(number);
    this.carved++;
  }

  #allocate(source: Allocator): Mapping {
    const { blockSize, align } = this.#layout;
    const memory = source.allocate(blockSize, { align });
    let mapping: Mapping;
    let held = false;
    try {
      if (!(memory.refCount > 0)) throw refusedBlock(source, blockSize, memory, undefined);
      held = isHeld(memory);
      if (held) throw heldAlready(source, blockSize);
      // As long as the block exists: memory that is not plain is reachable only while it is mapped.
      mapping = memory.map("readwrite");
    } catch (error) {
      // What somebody has already is not given back: it would be lost to them.
      throw held ? error : refusedBlock(source, blockSize, memory, error);
    }
    if (mapping?.bytes instanceof Uint8Array && mapping.bytes.length === blockSize) {
      if (claimBytes(source, memory, mapping.bytes)) return mapping;
      mapping.unmap();
      throw refusedBlock(source, blockSize, memory, heldAlready(source, blockSize));
    }
    mapping?.unmap?.();
    throw refusedBlock(source, blockSize, memory, undefined);
  }

  /** Block numbers, the one carved last first. */
  newestFirst(): number[] {
    return [...this.#order].reverse();
  }

  /**
   * Gives blocks back to the allocator, the newest first; what its hooks threw is returned, and keeps no block from
   * going. That the bytes have been lost before, to a source that was closed by force or to a transfer, is no failure:
   * who did that knows. `forced`: elements are live, so views of the blocks may have been kept.
   */
  drop(numbers: ReadonlySet<number>, forced: boolean): unknown[] {
    const failures: unknown[] = [];
    const gone: (Mapping | undefined)[] = [];
    // All are gone before the first hook runs, which may look.
    for (const number of this.newestFirst()) {
      if (!numbers.has(number)) continue;
      gone.push(this.#mappings[number]);
      this.#mappings[number] = undefined;
      this.views[number] = undefined;
      this.dataViews[number] = undefined;
    }
    this.#order = this.#order.filter((number) => !numbers.has(number));
    for (const mapping of gone) {
      if (mapping === undefined) continue;
      if (forced) mapping.source.endByForce();
      attempt(failures, () => mapping.unmap());
      attempt(failures, () => mapping.source.releaseOrLater());
    }
    return failures;
  }

  /** Forgets which blocks were seen empty: every slot is live now. O(blocks). */
  resetAges(): void {
    this.#idleSince.fill(Number.POSITIVE_INFINITY);
  }

  /** The blocks that were empty at visits `age` ms apart, with this visit as one. */
  expired(now: number, age: number, isEmpty: (number: number) => boolean): Set<number> {
    const expired = new Set<number>();
    for (const number of this.#order) {
      if (!isEmpty(number)) {
        this.#idleSince[number] = Number.POSITIVE_INFINITY;
        continue;
      }
      // The smaller of both also mends the stamp when the clock went backwards.
      const since = Math.min(this.#idleSince[number]!, now);
      this.#idleSince[number] = since;
      if (now - since >= age) expired.add(number);
    }
    return expired;
  }
}

/**
 * The error for an allocator that answered what cannot be a block; what it answered goes back, where it can. Told by
 * what it does and not by its class, which every bundle with a SlabPool would have to carry.
 */
function refusedBlock(source: Allocator, size: number, memory: Memory, cause: unknown): unknown {
  try {
    if (memory.refCount > 0) memory.release();
  } catch (error) {
    // What is no memory at all throws the engine's error here.
    if (isMillpondError(error)) throwLater(error);
  }
  if (isMillpondError(cause)) return cause;
  const message = `allocator ${show(source.name)} answered ${show(memory)} that cannot be mapped as a block of ${size} bytes; mend its hooks`;
  return new MillpondError("ERR_ALLOCATION_FAILED", message, { size }, { cause });
}

/** The error for an allocator that gives the same bytes twice. */
function heldAlready(source: Allocator, size: number): MillpondError {
  const message = `allocator ${show(source.name)} answered bytes that somebody has already for a block; mend its hooks`;
  return new MillpondError("ERR_ALLOCATION_FAILED", message, { size });
}

/** A block without an allocator: what the system allocator would give. */
function plainBytes(size: number): Uint8Array {
  try {
    return new Uint8Array(size);
  } catch (cause) {
    throw new MillpondError(
      "ERR_ALLOCATION_FAILED",
      `a block of ${size} bytes cannot be allocated`,
      { size },
      { cause },
    );
  }
}

function attempt(failures: unknown[], fn: () => void): void {
  try {
    fn();
  } catch (error) {
    if (!saysGone(error)) failures.push(error);
  }
}

/*
 * The links of a slab pool: one 32-bit word a pointer, in a table beside the blocks. The word says where the free list
 * goes on, or whose the pointer is, so the check of a pointer costs one comparison with a word that is loaded anyway.
 *
 * ```
 *   links     [ next free pointer | END | LIVE | UNMAPPED | FAILED | LOST | SPENT ]
 * ```
 * libcork keeps the links in the elements' headers. Here only the room for them is kept, so that its numbers hold:
 *
 * - Finding a block's words first makes a random replacement 1.6 times slower (4.9 ns against 3.0).
 * - Elements of odd sizes would leave the links unaligned.
 * - An element that is overrun cannot break a list that lies elsewhere.
 */

/** End of the free list. */
export const END = -1;

/** The pointer is handed out. */
export const LIVE = -2;

/** There is no such slot: its block went back, is not carved yet, or never existed. */
export const UNMAPPED = -3;

/** The slot's `init` threw; it is not used while its block lasts. */
export const FAILED = -4;

/** The pointer is handed out, and its block has lost its bytes: it is given back, and to nobody again. */
export const LOST = -5;

/** The slot was free when its block was found without its bytes: nobody gets it. */
export const SPENT = -6;

let sentinel: Int32Array = new Int32Array(0);

/**
 * Stands in for the links of a pool while foreign code runs: nothing in it is live, so the fast path refuses without a
 * check of its own. One table for all pools, of at least `length` zeros, which cost no memory until they are read. It
 * is as long as the links because a read beyond a table would slow that place down for good. Throws `RangeError` when
 * there is no memory for it.
 */
export function sentinelLinks(length: number): Int32Array {
  if (sentinel.length < length) sentinel = new Int32Array(length);
  return sentinel;
}

/** How many links have one value. O(pointers). */
export function countLinks(table: Int32Array, value: number): number {
  let count = 0;
  for (const link of table) if (link === value) count++;
  return count;
}

/**
 * What is wrong with a table of links, or undefined. The list holds each free slot once and nothing else, only slots of
 * existing blocks are in use, and none is lost. O(pointers).
 *
 * @param pending slots that are not carved yet
 */
export function findCorruption(
  table: Int32Array,
  head: number,
  views: readonly (Uint8Array | undefined)[],
  { capacity, shift }: SlabLayout,
  pending: number,
): string | undefined {
  const free = new Set<number>();
  for (let pointer = head; pointer >= 0; pointer = table[pointer]!) {
    if (free.has(pointer)) return `pointer ${pointer} is in the free list twice`;
    free.add(pointer);
    if (pointer >= table.length) return `pointer ${pointer} is free and beyond the table`;
  }
  let used = 0;
  for (let pointer = 0; pointer < table.length; pointer++) {
    const link = table[pointer]!;
    const slot = pointer & ((1 << shift) - 1);
    const exists = views[pointer >> shift] !== undefined && slot < capacity;
    if (!exists && link !== UNMAPPED) return `pointer ${pointer} has link ${link} and no block`;
    if (link >= END !== free.has(pointer)) {
      return `pointer ${pointer} has link ${link}, and the free list ${free.has(pointer) ? "has it" : "does not have it"}`;
    }
    if (link === LIVE || link === FAILED || link === LOST || link === SPENT) used++;
  }
  const slots = views.filter((view) => view !== undefined).length * capacity;
  if (used + free.size + pending === slots) return undefined;
  return `${used} used, ${free.size} free and ${pending} pending are not the ${slots} slots of the blocks`;
}
