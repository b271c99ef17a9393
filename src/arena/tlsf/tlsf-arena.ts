/**
 * TlsfArena: one region of bytes, divided into blocks of any size in constant time. After Masmano, Ripoll and Crespo's
 * TLSF (two-level segregated fit). Every word of its state lies in the bytes that it divides, so a second view of them
 * needs nothing else:
 *
 * ```ts
 * const arena = TlsfArena.create({ source: new SharedArrayBuffer(1 << 20) });
 * const pointer = arena.alloc(1000);           // bytes from the arena's start; 0 when nothing fits
 * new Float32Array(arena.buffer, arena.byteOffset + pointer, 250);
 * arena.free(pointer);
 * TlsfArena.attach({ source: sameBuffer });    // another thread sees the same blocks
 * ```
 *
 * Life-cycle:
 *
 * 1. `TlsfArena.create()` formats an empty arena over bytes that stay the caller's. `attach()` views one that is
 *    there already.
 * 2. `alloc()` and `free()` divide and merge. `resize()` works in place, `realloc()` moves where it must.
 * 3. `addSegment()` and `removeSegment()` change which bytes are divided. `refresh()` views a WebAssembly.Memory anew
 *    after it has grown.
 * 4. `close()` throws `ERR_IN_USE` while a block is live. Otherwise, or with `force`, the bytes stop being an arena:
 *    `attach()` refuses them, and every view of them throws `ERR_POOL_DEAD`, also where another arena is made in them:
 *    a view compares the epoch (layout.ts) at each call.
 *
 * Invariants: those of core.ts, which `validate()` checks. A failed call changes nothing.
 *
 * Complexity: `alloc`, `free`, `resize`, `sizeOf`, `isLive` and `tag` are O(1), see {@link TlsfArena.worstCase}.
 * `stats`, `holders`, `blocks` and `validate` walk over the blocks; so does the error of a wrong pointer.
 *
 * An arena is not a lock: two threads that change one at the same time need a lock of their own around each call.
 *
 * The format of the words is in layout.ts, the algorithm in core.ts.
 */

import { disposeByForce } from "../../util/dispose.ts";
import { MillpondError } from "../../util/errors.ts";
import { UNCLONEABLE } from "../../util/uncloneable.ts";
import {
  checkOptions,
  flag,
  outOfRange,
  powerOfTwo,
  readOptions,
  wholeNumber,
  wrongType,
} from "../../util/validate.ts";
import * as core from "./core.ts";
import { badPointer, badSize, isArena, liveArena, liveBlocks, unreachable } from "./errors.ts";
import {
  blockWords,
  CLOSED,
  Control,
  controlWords,
  FORMAT,
  FREE,
  flCountFor,
  GRANULE,
  HEADER,
  MAGIC,
  MAX_ARENA,
  MIN_BLOCK,
  newEpoch,
  SEGMENT_COST,
  SIZE_MASK,
  TAGGED,
  type WorstCase,
  worstCase,
} from "./layout.ts";
import { type ArenaBlock, type ArenaStats, arenaStats, misuse, validateArena, walkBlocks } from "./validate.ts";

export type { WorstCase } from "./layout.ts";
export type { ArenaBlock, ArenaStats } from "./validate.ts";

/** What an arena can lie in: a buffer, a part of one, or a WebAssembly.Memory (anything with a `buffer`). */
export type ArenaSource = ArrayBufferLike | Uint8Array | { readonly buffer: ArrayBufferLike };

/** Where an arena lies. */
export interface ArenaOptions {
  /** What it lies in; the bytes stay the caller's. */
  source: ArenaSource;
  /** Bytes in front of the arena; a multiple of 8, default 0. */
  byteOffset?: number;
  /** Bytes that the arena may ever use; default: the rest of the source. */
  byteLength?: number;
  /**
   * Bytes of those that are divided at once, the control part included; default: all. Others come by {@link
   * TlsfArena.addSegment}.
   */
  initial?: number;
}

/** A live block, as `holders()` of an arena lists it. */
export interface ArenaHolder {
  /** Where its payload begins. */
  readonly pointer: number;
  /** Bytes of its payload. */
  readonly size: number;
}

// A constant of this module, as in core.ts.
const { EPOCH } = Control;

/** Live blocks that the error of a refused {@link TlsfArena.close} names. */
const MAX_NAMED = 8;

const OPTION_KEYS: readonly (keyof ArenaOptions)[] = ["source", "byteOffset", "byteLength", "initial"];

const NO_WORDS: Int32Array = new Int32Array(0);
const NO_BYTES: Uint8Array = new Uint8Array(0);

/** A two-level segregated-fit heap whose whole state lies in the bytes that it divides. */
export class TlsfArena {
  /** @internal */
  readonly uncloneable: symbol = UNCLONEABLE;
  #words: Int32Array = NO_WORDS;
  #bytes: Uint8Array = NO_BYTES;
  /** The largest payload that a request may ask for, in bytes. */
  readonly #limit: number = 0;
  readonly #source: ArenaSource;
  /** @internal The epoch of the arena that this is a view of. */
  readonly epoch: number;
  /** A detached view does not know any more where it began. */
  readonly #start: number;
  /** @internal What messages add to a pointer: of which pool it is, where the arena is a pool's. */
  label = "";
  /** @internal What the maker of the arena knows of the loss of its bytes; null or undefined: nothing. */
  whyLost: (() => MillpondError | undefined) | null = null;
  /** `close({ force: true })`, where the platform has `Symbol.dispose`. */
  declare [Symbol.dispose]: () => void;

  private constructor(source: ArenaSource, bytes: Uint8Array) {
    this.#source = source;
    this.#start = bytes.byteOffset;
    this.#bytes = bytes;
    this.#words = wordsOf(bytes);
    this.#limit = bytes.byteLength;
    this.epoch = this.#words[EPOCH]!;
  }

  /**
   * Formats an arena: whatever the bytes held is lost.
   *
   * Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE` (an offset that is not a multiple of 8, too few bytes for a
   * block), `ERR_ALREADY_EXISTS` where a live arena begins (the memory of one that was closed may be used again). O(1).
   */
  static create(options: ArenaOptions): TlsfArena {
    const { source, byteOffset, byteLength, initial } = readOptions("options", options, OPTION_KEYS);
    const bytes = viewOf(source, byteOffset, byteLength);
    formatArena(bytes, byteOffset ?? 0, initial);
    return new TlsfArena(source, bytes);
  }

  /** Views an arena that is there already. Throws `ERR_BAD_DATA` when there is none, and as {@link create}. O(1). */
  static attach(options: Pick<ArenaOptions, "source" | "byteOffset">): TlsfArena {
    const { source, byteOffset } = readOptions("options", options, ["source", "byteOffset"]);
    return new TlsfArena(source, findArena(source, byteOffset));
  }

  /**
   * Bytes of an arena, in one segment, in which one block of `size` bytes fits, or many smaller ones with 8 bytes less
   * each.
   */
  static bytesFor(size: number): number {
    const words = blockWords(wholeNumber("size", size, 1, 2 ** 32 - 65536)) + SEGMENT_COST;
    // The list heads depend on the size of the whole, and the whole on the list heads; one octave more is the most that
    // can come of it.
    let total = words + controlWords(flCountFor(words));
    total = words + controlWords(flCountFor(total));
    return (words + controlWords(flCountFor(total))) * 4;
  }

  /**
   * What an arena promises at worst, in time and in memory, for at most `peak` live bytes in blocks of `smallest` to
   * `largest` bytes; its `text` is there to be printed. Throws `ERR_OUT_OF_RANGE`.
   */
  static worstCase(peak: number, largest: number, smallest?: number): WorstCase {
    return worstCase(peak, largest, smallest);
  }

  /**
   * @internal The words of the arena. Replaced by {@link refresh}; empty once the bytes are gone, or are those of
   * another arena.
   */
  get words(): Int32Array {
    const words = this.#words;
    return words[EPOCH] !== this.epoch && isOther(words) ? CLOSED : words;
  }

  /**
   * The bytes of the arena, from its start: `bytes[pointer]` is the first byte of a block. Replaced by {@link refresh}.
   */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** The buffer that the arena lies in. */
  get buffer(): ArrayBufferLike {
    return this.#bytes.buffer;
  }

  /** Where in {@link buffer} the arena begins, in bytes. */
  get byteOffset(): number {
    return this.#bytes.byteOffset;
  }

  /** Bytes in live blocks, their headers (8 bytes each) included. @realtime */
  get used(): number {
    const { words } = this;
    return count(words, words[Control.USED]) * 4;
  }

  /** Bytes in free blocks, their headers included. {@link used} + free is what the segments hold. @realtime */
  get available(): number {
    const { words } = this;
    return (count(words, words[Control.TOTAL]) - count(words, words[Control.USED])) * 4;
  }

  /** Live blocks. @realtime */
  get liveBlocks(): number {
    const { words } = this;
    return count(words, words[Control.LIVE]);
  }

  /**
   * A block of at least `size` bytes, aligned to 8; 0 when nothing fits. Constant time. @realtime
   * Throws `ERR_OUT_OF_RANGE` when size is not a whole number from 1, `ERR_DETACHED`, `ERR_POOL_DEAD`.
   */
  alloc(size: number): number {
    if (typeof size !== "number" || size >>> 0 !== size || size === 0 || size > this.#limit) return this.#refuse(size);
    const words = this.#words;
    if (words[EPOCH] !== this.epoch) throw lost(this, words);
    // blockWords() and pointerTo(), written out.
    const block = core.malloc(words, ((size + 15) >>> 3) << 1);
    return block === 0 ? 0 : ((block + HEADER) << 2) >>> 0;
  }

  /**
   * As {@link alloc}, with the payload at an address (offset in {@link buffer}) that is a multiple of `align`.
   * @realtime
   * Throws also `ERR_INVALID_ARG_VALUE` when align is not a power of two up to 2 MiB.
   */
  allocAligned(size: number, align: number): number {
    if (align === GRANULE) return this.alloc(size);
    powerOfTwo("align", align, 2 * 1024 * 1024);
    if (typeof size !== "number" || size >>> 0 !== size || size === 0 || size > this.#limit) return this.#refuse(size);
    return align < GRANULE
      ? this.alloc(size)
      : core.memalign(this.#present(), blockWords(size), align, this.byteOffset);
  }

  /**
   * Gives a block back; free neighbors merge at once. Constant time. @realtime
   * Throws `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE` (misaligned, inside a block, never given out), `ERR_CORRUPTED`
   * (the block was overrun), `ERR_DETACHED`; nothing has changed then.
   */
  free(pointer: number): void {
    if (typeof pointer !== "number") throw badPointer(pointer);
    const words = this.#words;
    const block = (pointer >>> 2) - HEADER;
    const size = words[block + 1]!;
    if (words[EPOCH] !== this.epoch) throw lost(this, words);
    // A live block is one that its successor names as its live predecessor: wild, stale and freed pointers fail on it.
    if (
      ((pointer >>> 3) << 3) >>> 0 !== pointer ||
      (size & FREE) !== 0 ||
      size < MIN_BLOCK ||
      words[block + size] !== block
    ) {
      throw misuse(this.#words, pointer, "free", this.label);
    }
    core.free(words, block, size);
  }

  /** Bytes that a live block can hold. @realtime Throws `ERR_USE_AFTER_RELEASE` and others as {@link free}. */
  sizeOf(pointer: number): number {
    if (typeof pointer !== "number") throw badPointer(pointer);
    const words = this.#words;
    const block = (pointer >>> 2) - HEADER;
    const size = words[block + 1]!;
    if (words[EPOCH] !== this.epoch) throw lost(this, words);
    // As free() asks: what may not be freed by its pointer may not be looked at by it either.
    if (
      ((pointer >>> 3) << 3) >>> 0 !== pointer ||
      (size & FREE) !== 0 ||
      size < MIN_BLOCK ||
      words[block + size] !== block
    ) {
      throw misuse(this.#words, pointer, "use", this.label);
    }
    return (size - HEADER) * 4;
  }

  /** As {@link sizeOf}, for the caller that set the block apart: tagged blocks too. @realtime */
  ownSizeOf(pointer: number): number {
    return (this.#blockSize(pointer, "use") - HEADER) * 4;
  }

  /**
   * Makes a block hold `size` bytes where it stands: it gives its tail back, or takes from the free block behind it.
   * False, and nothing changed, when that is not enough. Constant time. @realtime Throws as {@link sizeOf} and {@link
   * alloc}.
   */
  resize(pointer: number, size: number): boolean {
    const present = this.#blockSize(pointer, "resize");
    if (typeof size !== "number" || size >>> 0 !== size || size === 0 || size > this.#limit)
      return this.#refuse(size) > 0;
    return core.resizeBlock(this.#words, (pointer >>> 2) - HEADER, present, blockWords(size));
  }

  /**
   * As {@link resize}, but the block moves when it must: its bytes are copied, the old block is freed. 0 when nothing
   * fits; the old block stays as it was then. O(size) for the copy.
   */
  realloc(pointer: number, size: number): number {
    if (this.resize(pointer, size)) return pointer;
    const present = this.ownSizeOf(pointer);
    const moved = this.alloc(size);
    if (moved === 0) return 0;
    this.#bytes.copyWithin(moved, pointer, pointer + Math.min(present, size));
    this.free(pointer);
    return moved;
  }

  /** True for the pointer of a live block. @realtime */
  isLive(pointer: number): boolean {
    if (typeof pointer !== "number" || ((pointer >>> 3) << 3) >>> 0 !== pointer) return false;
    const block = (pointer >>> 2) - HEADER;
    const words = this.#words;
    const word = words[block + 1]!;
    return (
      words[EPOCH] === this.epoch &&
      (word & FREE) === 0 &&
      (word & SIZE_MASK) >= MIN_BLOCK &&
      words[block + (word & SIZE_MASK)] === block
    );
  }

  /**
   * Sets a block apart: {@link free} takes it for foreign until the mark is gone. For callers that hand out something
   * else than the pointer, so that nobody frees the block under them. @realtime Throws as {@link sizeOf}.
   */
  tag(pointer: number, tagged: boolean): void {
    const size = this.#blockSize(pointer, "tag");
    this.#words[(pointer >>> 2) - 1] = tagged ? size | TAGGED : size;
  }

  /** True for the pointer of a live block that {@link tag} has set apart. @realtime */
  isTagged(pointer: number): boolean {
    return this.isLive(pointer) && (this.#words[(pointer >>> 2) - 1]! & TAGGED) !== 0;
  }

  /**
   * The blocks, free and live, in the order of their addresses, segment by segment. Do not allocate or free while
   * walking.
   */
  blocks(): IterableIterator<ArenaBlock> {
    return walkBlocks(this.words);
  }

  /**
   * Walks every segment, block and list and compares them with the maps and the counters.
   * Throws `ERR_CORRUPTED`, which names the place, and the block in front of it that was overrun. O(blocks).
   */
  validate(): void {
    validateArena(this.words);
  }

  /** What is used, free and largest. O(free blocks of the largest size step). */
  stats(): ArenaStats {
    return arenaStats(this.words);
  }

  /**
   * Divides more of the arena's bytes: from `start` (a multiple of 8), `length` bytes, which must overlap nothing.
   * Throws `ERR_OUT_OF_RANGE`. O(segments).
   */
  addSegment(start: number, length: number): void {
    core.addSegment(this.#present(), start, length);
  }

  /**
   * Takes a segment out again. Throws `ERR_IN_USE` while it holds a live block, `ERR_OUT_OF_RANGE` when there is none.
   * O(segments).
   */
  removeSegment(start: number): void {
    core.removeSegment(this.#present(), start);
  }

  /**
   * Ends the arena. The bytes stay the caller's and stop being an arena: `attach()` refuses them, and every view of
   * them throws `ERR_POOL_DEAD` from now on; `stats`, `holders` and `validate` answer that there is nothing. O(blocks).
   * Throws `ERR_IN_USE` while blocks are live, and changes nothing; `force` closes it all the same. A second call does
   * nothing.
   */
  close(options?: { force?: boolean }): void {
    const force = flag("options.force", checkOptions("options", options, ["force"]).force, false);
    const { words } = this;
    const live = words[Control.LIVE];
    if (!force && live !== undefined && live > 0) {
      throw liveBlocks(
        live,
        this.holders()
          .slice(0, MAX_NAMED)
          .map(({ pointer }) => pointer),
      );
    }
    if (isArena(words) && words[EPOCH] === this.epoch) core.eraseArena(words);
    this.#words = CLOSED;
    this.#bytes = NO_BYTES;
  }

  /** The live blocks, in the order of their addresses, segment by segment. O(blocks). */
  holders(): ArenaHolder[] {
    const holders: ArenaHolder[] = [];
    for (const { pointer, size, free } of walkBlocks(this.words)) if (!free) holders.push({ pointer, size });
    return holders;
  }

  /** Views the source anew after a WebAssembly.Memory has grown (its old buffer is detached). */
  refresh(): void {
    if (this.#words === CLOSED) throw unreachable(CLOSED);
    this.#bytes = new Uint8Array(wholeView(this.#source).buffer, this.#start, this.#limit);
    this.#words = wordsOf(this.#bytes);
  }

  /** The words, for a call that changes them. Throws `ERR_POOL_DEAD`, `ERR_DETACHED`. */
  #present(): Int32Array {
    const words = this.#words;
    if (words[EPOCH] !== this.epoch) throw lost(this, words);
    return words;
  }

  /** Words of a live block. */
  #blockSize(pointer: number, verb: string): number {
    if (!this.isLive(pointer)) throw misuse(this.#present(), pointer, verb, this.label);
    return this.#words[(pointer >>> 2) - 1]! & SIZE_MASK;
  }

  /** A size that is too large does not fit; a wrong size is a mistake. */
  #refuse(size: number): number {
    if (typeof size !== "number" || !Number.isInteger(size) || size < 1) throw badSize(size);
    return 0;
  }
}
disposeByForce(TlsfArena);

/**
 * Whether words that are not of a view's own epoch begin another arena. What is not even that was overwritten, which
 * the walks say themselves.
 */
function isOther(words: Int32Array): boolean {
  return isArena(words) && (words[EPOCH]! & 1) !== 0;
}

/** The error of a call whose bytes are not this arena any more. */
function lost({ whyLost }: TlsfArena, words: Int32Array): MillpondError {
  return whyLost?.() ?? unreachable(words);
}

/** A count of an arena; of one that was closed 0. Throws `ERR_DETACHED`. */
function count(words: Int32Array, value: number | undefined): number {
  if (value !== undefined) return value;
  if (words === CLOSED) return 0;
  throw unreachable(words);
}

function wordsOf(bytes: Uint8Array): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 2);
}

/** All bytes of a source. Throws `ERR_INVALID_ARG_TYPE`, `ERR_DETACHED`. */
function wholeView(source: ArenaSource): Uint8Array {
  try {
    return viewOfSource(source);
  } catch (error) {
    if (error instanceof MillpondError || !(error instanceof TypeError)) throw error;
    const text = "the bytes of options.source are detached or out of bounds; give bytes that are there";
    throw new MillpondError("ERR_DETACHED", text, {}, { cause: error });
  }
}

function viewOfSource(source: ArenaSource): Uint8Array {
  if (source instanceof Uint8Array) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  const tag = Object.prototype.toString.call(source);
  if (tag === "[object ArrayBuffer]" || tag === "[object SharedArrayBuffer]") {
    const buffer = source as ArrayBufferLike;
    return new Uint8Array(buffer, 0, buffer.byteLength);
  }
  const memory = source as { readonly buffer?: unknown } | null | undefined;
  if (typeof memory === "object" && memory !== null && !ArrayBuffer.isView(memory) && memory.buffer !== undefined) {
    return viewOfSource(memory.buffer as ArrayBufferLike);
  }
  throw wrongType("options.source", "an ArrayBuffer, SharedArrayBuffer, Uint8Array or WebAssembly.Memory", source);
}

/**
 * The part of a source that an arena takes, whole granules of it.
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`.
 */
function viewOf(source: ArenaSource, byteOffset = 0, byteLength?: number): Uint8Array {
  const whole = wholeView(source);
  const start = wholeNumber("options.byteOffset", byteOffset, 0, whole.length);
  if ((whole.byteOffset + start) % GRANULE !== 0) {
    throw outOfRange(
      "options.byteOffset",
      `such that the arena begins at a multiple of ${GRANULE} in its buffer`,
      byteOffset,
    );
  }
  const most = whole.length - start;
  const length = wholeNumber(
    "options.byteLength",
    byteLength === undefined ? Math.min(most, MAX_ARENA) : byteLength,
    0,
    Math.min(most, MAX_ARENA),
  );
  return whole.subarray(start, start + length - (length % GRANULE));
}

/**
 * Writes an empty arena over the bytes, one segment of all of them or of the first `initial`. Throws
 * `ERR_OUT_OF_RANGE`.
 */
function formatArena(bytes: Uint8Array, byteOffset: number, initial: number = bytes.length): void {
  const words = wordsOf(bytes);
  const control = controlWords(flCountFor(words.length));
  const least = (control + SEGMENT_COST + MIN_BLOCK) * 4;
  wholeNumber("options.byteLength", bytes.length, least);
  const first = wholeNumber("options.initial", initial, least, bytes.length);
  if (beginsArena(words)) throw liveArena(byteOffset);
  words.fill(0, 0, control);
  words[Control.MAGIC] = MAGIC;
  words[Control.FORMAT] = FORMAT;
  words[Control.LENGTH] = words.length;
  words[Control.FL_COUNT] = flCountFor(words.length);
  words[EPOCH] = newEpoch();
  core.addSegment(words, control * 4, first - (first % GRANULE) - control * 4);
}

/** Whether an arena begins with these words, and was not closed. It may end beyond them. */
function beginsArena(words: Int32Array): boolean {
  const length = words[Control.LENGTH] ?? 0;
  return (
    words[Control.MAGIC] === MAGIC &&
    words[Control.FORMAT] === FORMAT &&
    (words[EPOCH]! & 1) !== 0 &&
    length >= Control.BLOCKS &&
    words[Control.FL_COUNT] === flCountFor(length)
  );
}

/** Finds the arena that begins at an offset of a source. Throws `ERR_BAD_DATA` when none does. */
function findArena(source: ArenaSource, byteOffset = 0): Uint8Array {
  const bytes = viewOf(source, byteOffset);
  const words = wordsOf(bytes);
  const length = words[Control.LENGTH] ?? 0;
  if (!beginsArena(words) || length > words.length) {
    throw new MillpondError(
      "ERR_BAD_DATA",
      `no arena of this format begins at byte ${byteOffset}; TlsfArena.create() one there first, and attach with the same offset`,
    );
  }
  return bytes.subarray(0, length * 4);
}
