/**
 * TlsfArena: one region of bytes, divided into blocks of any size in constant time. After Masmano, Ripoll and Crespo's TLSF
 * (two-level segregated fit); every word of its state lies in the buffer (see layout.ts), so that
 *
 * ```ts
 * const arena = TlsfArena.create(new SharedArrayBuffer(1 << 20));
 * const pointer = arena.alloc(1000);        // bytes from the arena's start; 0 when nothing fits
 * new Float32Array(arena.buffer, arena.byteOffset + pointer, 250);
 * arena.free(pointer);
 * TlsfArena.attach(sameBufferElsewhere);       // another thread sees the same blocks
 * ```
 * It is not a lock: two threads that change one arena at the same time need one of their own around each call.
 */
import { checkOptions, powerOfTwo, wholeNumber } from "../../util/validate.ts";
import { type ArenaSource, attachView, formatArena, viewAgain, viewOf } from "./arena-view.ts";
import { badPointer, badSize, misuse } from "./errors.ts";
import { give, take } from "./fast-path.ts";
import {
  blockWords,
  Control,
  controlWords,
  FREE,
  GRANULE,
  HEADER,
  MIN_BLOCK,
  REGION_COST,
  rowsFor,
  SIZE_MASK,
  TAGGED,
} from "./layout.ts";
import { addRegion, removeRegion } from "./regions.ts";
import { allocateAligned, resizeBlock } from "./slow-path.ts";
import { type ArenaBlock, type ArenaStats, arenaStats, validateArena, walkBlocks } from "./validate.ts";
import { type WorstCase, worstCase } from "./worst-case.ts";

export type { ArenaSource } from "./arena-view.ts";
export type { ArenaBlock, ArenaStats } from "./validate.ts";
export type { WorstCase } from "./worst-case.ts";

/** Where in its source an arena lies. */
export interface ArenaOptions {
  /** Bytes in front of the arena; a multiple of 8, default 0. */
  byteOffset?: number;
  /** Bytes that the arena may ever use; default: the rest of the source. */
  byteLength?: number;
  /** Bytes of those that are divided at once, the control part included; default: all. Others come by {@link TlsfArena.addRegion}. */
  initial?: number;
}

/** A two-level segregated-fit heap whose whole state lies in the bytes that it divides. */
export class TlsfArena {
  /** The words of the arena. Replaced by {@link refresh}; do not write. */
  declare words: Int32Array;
  /** The bytes of the arena, from its start: `bytes[pointer]` is the first byte of a block. */
  declare bytes: Uint8Array;
  /** Largest payload that is not absurd, in bytes. */
  declare private limit: number;
  readonly #source: ArenaSource;
  /** A detached view forgets where it stood. */
  readonly #start: number;

  /** @internal Use {@link create} or {@link attach}. */
  constructor(source: ArenaSource, bytes: Uint8Array) {
    this.#source = source;
    this.#start = bytes.byteOffset;
    this.bytes = bytes;
    this.words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 2);
    this.limit = bytes.byteLength;
  }

  /**
   * Formats an arena: whatever the bytes held is lost.
   *
   * @param source an ArrayBuffer, SharedArrayBuffer, Uint8Array or WebAssembly.Memory
   * Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE` (an offset that is no multiple of 8, too small for a block). O(1).
   */
  static create(source: ArenaSource, options?: ArenaOptions): TlsfArena {
    const { byteOffset, byteLength, initial } = checkOptions("options", options, [
      "byteOffset",
      "byteLength",
      "initial",
    ]);
    const bytes = viewOf(source, byteOffset, byteLength);
    formatArena(bytes, initial);
    return new TlsfArena(source, bytes);
  }

  /** Views an arena that is there already. Throws `ERR_BAD_DATA` when there is none, and as {@link create}. O(1). */
  static attach(source: ArenaSource, options?: Pick<ArenaOptions, "byteOffset">): TlsfArena {
    return new TlsfArena(source, attachView(source, checkOptions("options", options, ["byteOffset"]).byteOffset));
  }

  /** Bytes of an arena, in one region, in which one block of `size` bytes fits, or many smaller ones with 8 bytes less each. */
  static bytesFor(size: number): number {
    const words = blockWords(wholeNumber("size", size, 1, 2 ** 32 - 65536)) + REGION_COST;
    // The rows depend on the size of the whole, and the whole on the rows; a row more is the most that can come of it.
    let total = words + controlWords(rowsFor(words));
    total = words + controlWords(rowsFor(total));
    return (words + controlWords(rowsFor(total))) * 4;
  }

  /**
   * What an arena promises at worst, in time and in memory, for at most `peak` live bytes in blocks of `smallest` to `largest`
   * bytes; its `text` is there to be printed. Throws `ERR_OUT_OF_RANGE`.
   */
  static worstCase(peak: number, largest: number, smallest?: number): WorstCase {
    return worstCase(peak, largest, smallest);
  }

  /** The buffer that the arena lies in. */
  get buffer(): ArrayBufferLike {
    return this.bytes.buffer;
  }

  /** Where in {@link buffer} the arena begins, in bytes. */
  get byteOffset(): number {
    return this.bytes.byteOffset;
  }

  /** Bytes in live blocks, their headers (8 bytes each) included. @realtime */
  get used(): number {
    return this.words[Control.USED]! * 4;
  }

  /** Bytes in free blocks, their headers included. {@link used} + free is what the regions hold. @realtime */
  get available(): number {
    return (this.words[Control.TOTAL]! - this.words[Control.USED]!) * 4;
  }

  /** Live blocks. @realtime */
  get liveBlocks(): number {
    return this.words[Control.LIVE]!;
  }

  /**
   * A block of at least `size` bytes, aligned to 8; 0 when nothing fits. Constant time. @realtime
   * Throws `ERR_OUT_OF_RANGE` when size is no whole number from 1.
   */
  alloc(size: number): number {
    if (typeof size !== "number" || size >>> 0 !== size || size === 0 || size > this.limit) return this.refuse(size);
    const block = take(this, ((size + 15) >>> 3) << 1);
    return block === 0 ? 0 : ((block + 2) << 2) >>> 0;
  }

  /**
   * As {@link alloc}, with the payload at an address (offset in {@link buffer}) that is a multiple of `align`. @realtime
   * Throws also `ERR_INVALID_ARG_VALUE` when align is no power of two up to 2 MiB.
   */
  allocAligned(size: number, align: number): number {
    if (align === GRANULE) return this.alloc(size);
    powerOfTwo("align", align, 2 * 1024 * 1024);
    if (typeof size !== "number" || size >>> 0 !== size || size === 0 || size > this.limit) return this.refuse(size);
    return align < GRANULE ? this.alloc(size) : allocateAligned(this, blockWords(size), align);
  }

  /**
   * Gives a block back; free neighbours join at once. Constant time. @realtime
   * Throws `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE` (misaligned, inside a block, never given out), `ERR_CORRUPTED` (the
   * block was overrun), `ERR_DETACHED`; nothing has changed then.
   */
  free(pointer: number): void {
    if (typeof pointer !== "number") throw badPointer(pointer);
    const { words } = this;
    const block = (pointer >>> 2) - HEADER;
    const size = words[block + 1]!;
    // A live block is one that its successor names as its live predecessor: wild, stale and freed pointers fail on it.
    if (
      ((pointer >>> 3) << 3) >>> 0 !== pointer ||
      (size & FREE) !== 0 ||
      size < MIN_BLOCK ||
      words[block + size] !== block
    ) {
      throw misuse(this, pointer, "free");
    }
    give(words, block, size);
  }

  /** Bytes that a live block can hold. @realtime Throws `ERR_USE_AFTER_RELEASE` and others as {@link free}. */
  sizeOf(pointer: number): number {
    if (typeof pointer !== "number") throw badPointer(pointer);
    const { words } = this;
    const block = (pointer >>> 2) - HEADER;
    const size = words[block + 1]!;
    // As free() asks: what may not be freed by its pointer may not be looked at by it either.
    if (
      ((pointer >>> 3) << 3) >>> 0 !== pointer ||
      (size & FREE) !== 0 ||
      size < MIN_BLOCK ||
      words[block + size] !== block
    ) {
      throw misuse(this, pointer, "use");
    }
    return (size - HEADER) * 4;
  }

  /** As {@link sizeOf}, for whoever set the block apart: tagged blocks too. @realtime */
  ownSizeOf(pointer: number): number {
    return (this.blockSize(pointer, "use") - HEADER) * 4;
  }

  /**
   * Makes a block hold `size` bytes where it stands: it gives its tail back, or takes from the free block behind it. False, and
   * nothing changed, when that is not enough. Constant time. @realtime Throws as {@link sizeOf} and {@link alloc}.
   */
  resize(pointer: number, size: number): boolean {
    const present = this.blockSize(pointer, "resize");
    if (typeof size !== "number" || size >>> 0 !== size || size === 0 || size > this.limit)
      return this.refuse(size) > 0;
    return resizeBlock(this.words, (pointer >>> 2) - HEADER, present, blockWords(size));
  }

  /**
   * As {@link resize}, but the block moves when it must: its bytes are copied, the old block is freed. 0 when nothing fits; the
   * old block stays as it was then. O(size) for the copy.
   */
  realloc(pointer: number, size: number): number {
    if (this.resize(pointer, size)) return pointer;
    const present = this.ownSizeOf(pointer);
    const moved = this.alloc(size);
    if (moved === 0) return 0;
    this.bytes.copyWithin(moved, pointer, pointer + Math.min(present, size));
    this.free(pointer);
    return moved;
  }

  /** True for the pointer of a live block. @realtime */
  isLive(pointer: number): boolean {
    if (typeof pointer !== "number" || ((pointer >>> 3) << 3) >>> 0 !== pointer) return false;
    const block = (pointer >>> 2) - HEADER;
    const word = this.words[block + 1]!;
    return (word & FREE) === 0 && (word & SIZE_MASK) >= MIN_BLOCK && this.words[block + (word & SIZE_MASK)] === block;
  }

  /**
   * Sets a block apart: {@link free} takes it for foreign until the mark is gone. For owners who hand out something else than
   * the pointer, and must not have the block freed under them. @realtime Throws as {@link sizeOf}.
   */
  tag(pointer: number, tagged: boolean): void {
    const size = this.blockSize(pointer, "tag");
    this.words[(pointer >>> 2) - 1] = tagged ? size | TAGGED : size;
  }

  /** True for the pointer of a live block that {@link tag} has set apart. @realtime */
  isTagged(pointer: number): boolean {
    return this.isLive(pointer) && (this.words[(pointer >>> 2) - 1]! & TAGGED) !== 0;
  }

  /** The blocks, free and live, in the order of their addresses, region by region. Do not allocate or free while walking. */
  blocks(): IterableIterator<ArenaBlock> {
    return walkBlocks(this);
  }

  /**
   * Walks every region, block and list and compares them with the maps and the counters.
   * Throws `ERR_CORRUPTED`, which names the place, and the block in front of it that was overrun. O(blocks).
   */
  validate(): void {
    validateArena(this);
  }

  /** What is used, free and largest. O(free blocks of the largest size step). */
  stats(): ArenaStats {
    return arenaStats(this);
  }

  /**
   * Divides more of the arena's bytes: from `start` (a multiple of 8), `length` bytes, which must overlap nothing.
   * Throws `ERR_OUT_OF_RANGE`. O(regions).
   */
  addRegion(start: number, length: number): void {
    addRegion(this.words, start, length);
  }

  /** Takes a region out again. Throws `ERR_IN_USE` while it holds a live block, `ERR_OUT_OF_RANGE` when there is none. O(regions). */
  removeRegion(start: number): void {
    removeRegion(this.words, start);
  }

  /** Views the source anew after a WebAssembly.Memory has grown (its old buffer is detached). */
  refresh(): void {
    this.bytes = viewAgain(this.#source, this.#start, this.limit);
    this.words = new Int32Array(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength >>> 2);
  }

  /** @internal Words of a live block. @realtime */
  blockSize(pointer: number, verb: string): number {
    if (!this.isLive(pointer)) throw misuse(this, pointer, verb);
    return this.words[(pointer >>> 2) - 1]! & SIZE_MASK;
  }

  /** Large sizes are "does not fit"; what is no size at all is a mistake. */
  private refuse(size: number): number {
    if (typeof size !== "number" || !Number.isInteger(size) || size < 1) throw badSize(size);
    return 0;
  }
}
