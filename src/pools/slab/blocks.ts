/**
 * The blocks of a slab pool: where elements lie in one, how pointers are numbered, and which blocks there are.
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
import type { Mapping } from "../../memory/memory.ts";
import { alignUp } from "../../util/align.ts";
import { MillpondError } from "../../util/errors.ts";
import { outOfRange, powerOfTwo, wholeNumber } from "../../util/validate.ts";

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
    const memory = source.allocate(this.#layout.blockSize, { align: this.#layout.align });
    try {
      // As long as the block exists: memory that is not plain is reachable only while it is mapped.
      return memory.map("readwrite");
    } catch (error) {
      memory.release();
      throw error;
    }
  }

  /** Block numbers, the one carved last first. */
  newestFirst(): number[] {
    return [...this.#order].reverse();
  }

  /**
   * Gives blocks back to the allocator, the newest first; what its hooks threw is returned, and keeps no block from
   * going. `forced`: elements are live, so views of the blocks may have been kept.
   */
  drop(numbers: ReadonlySet<number>, forced: boolean): unknown[] {
    const failures: unknown[] = [];
    for (const number of this.newestFirst()) {
      if (!numbers.has(number)) continue;
      const mapping = this.#mappings[number];
      this.#mappings[number] = undefined;
      this.views[number] = undefined;
      this.dataViews[number] = undefined;
      if (mapping === undefined) continue;
      if (forced) mapping.source.endByForce();
      attempt(failures, () => mapping.unmap());
      attempt(failures, () => mapping.source.release());
    }
    this.#order = this.#order.filter((number) => !numbers.has(number));
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
    failures.push(error);
  }
}
