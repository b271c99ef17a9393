/**
 * Where elements lie in a block and how pointers are numbered. libcork's 64-bit model, to the byte, unless `align` asks for more:
 *
 * ```
 *   block     |link 8|head 8| element 0 |head 8| element 1 |head 8| element 2 | tail |
 *             0             lead        |<---- stride --->|
 *   pointer   block << shift | slot
 * ```
 * Slots are numbered with a power of two a block, so that finding a block or an offset is a shift, a mask and a
 * multiplication; a division would cost more than the rest of the access together.
 */
import { alignUp } from "../../util/align.ts";
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
 * Lays out a block. Without `align`, capacity is floor((blockSize - 8) / (elementSize + 8)); with it, elements begin on its
 * multiples and the stride grows to one. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`, also when not one
 * element fits.
 */
export function computeLayout(elementSize: number, blockSize: number, align: number | undefined): SlabLayout {
  wholeNumber("options.elementSize", elementSize);
  const unit = align === undefined ? 1 : powerOfTwo("options.align", align, MAX_ALIGN);
  const lead = alignUp(2 * WORD, unit);
  const stride = alignUp(elementSize + WORD, unit);
  wholeNumber("options.blockSize", blockSize, lead - WORD + stride);
  const capacity = Math.floor((blockSize - lead + WORD) / stride);
  if (capacity > MAX_POINTERS) throw outOfRange("options.blockSize", "room for at most 2^30 elements", blockSize);
  const shift = 32 - Math.clz32(capacity - 1);
  const mostBlocks = MAX_POINTERS >>> shift;
  return {
    elementSize,
    blockSize,
    align: Math.max(WORD, unit),
    firstOffset: lead,
    stride,
    capacity,
    shift,
    maxBlocks: mostBlocks,
  };
}
