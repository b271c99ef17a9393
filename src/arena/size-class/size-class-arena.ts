/**
 * SizeClassArena: for mixed loads of small and middling blocks, faster than the arena that it stands on and less
 * sparing. Sizes up to 64 KiB come from spans of equal objects whose free lists lie beside them; larger ones from the
 * arena itself. After mimalloc and jemalloc.
 *
 * ```ts
 * const heap = SizeClassArena.create({ source: new ArrayBuffer(64 << 20) });
 * const pointer = heap.alloc(100);             // an object of 112 bytes, aligned to 16; 0 when nothing fits
 * heap.free(pointer);
 * ```
 *
 * Life-cycle:
 *
 * 1. `create()` formats a {@link TlsfArena} over the bytes and makes the tables in it; `attach()` finds both. All state
 *    lies in the bytes.
 * 2. `alloc()` takes the top of the class's stack of free objects, `free()` puts it back (fast path). With an empty
 *    stack (slow path) the next fresh object of the newest span is handed out; where there is none, a span is made.
 * 3. Spans without a live object go back to the arena: at `trim()`, before a request fails, and in between when much
 *    waits on stacks.
 * 4. `close()` throws `ERR_IN_USE` while a block is live; with `force` it ends all the same, as {@link TlsfArena.close}
 *    does.
 *
 * Invariants, which `validate()` checks: a page is of one class; an object is live, on its class's stack, or fresh; a
 * set bit is a live object. A failed call changes nothing.
 *
 * Complexity: `free`, and `alloc` from a stack, are O(1). Time is not bounded as the arena's is: one call in many makes
 * a span, and when the arena is full, empty spans are searched for, O(objects). Where a deadline counts, use {@link
 * TlsfArena}.
 *
 * The format of the tables is in class-table.ts.
 */
import { disposeByForce } from "../../util/dispose.ts";
import { MillpondError } from "../../util/errors.ts";
import { checkOptions, flag, show } from "../../util/validate.ts";
import { badPointer, badSize, corrupt, isClosed, liveBlocks, unreachable } from "../tlsf/errors.ts";
import { CLOSED, Control } from "../tlsf/layout.ts";
import { type ArenaHolder, type ArenaOptions, TlsfArena } from "../tlsf/tlsf-arena.ts";
import { misuse } from "../tlsf/validate.ts";
import {
  CLASSES,
  Class,
  classOf,
  MAX_CLASS_SIZE,
  PAGE,
  PAGE_BITS,
  RECORD_BITS,
  SPAN_HEADER,
  sizeOfClass,
} from "./class-table.ts";
import {
  assertInside,
  bumpAllocate,
  bumpedIn,
  CLASS_INDICES,
  cachedBytes,
  findRoot,
  isLiveObject,
  makeRoot,
  type Root,
  spansOf,
  stackOf,
  trimSpans,
} from "./spans.ts";

// A constant of this module, as in core.ts.
const { EPOCH } = Control;

/**
 * Fresh objects between two looks for empty spans: a look at 10,000 objects costs about as much as 1,000 fresh ones.
 */
const TRIM_INTERVAL = 256;

/** Live blocks that the error of a refused {@link SizeClassArena.close} names. */
const MAX_NAMED = 8;

const NO_WORDS: Int32Array = new Int32Array(0);
const NO_BYTES: Uint8Array = new Uint8Array(0);

/** A heap of size classes over a {@link TlsfArena}. */
export class SizeClassArena {
  /** The arena underneath; blocks that do not belong to a class may be taken from it directly. */
  readonly arena: TlsfArena;
  #words: Int32Array = NO_WORDS;
  #bytes: Uint8Array = NO_BYTES;
  /** First word of the class records, of the bits; first byte of the page table. */
  #records = 0;
  #bits = 0;
  #pages = 0;
  #length = 0;
  /**
   * From here on calls take the slow path: the length; in shared memory, whose words others write to, the address from
   * which on an object may reach beyond the end.
   */
  #tail = 0;
  /** As {@link TlsfArena.epoch}. */
  #epoch = 0;
  /** Fresh objects before the next look for empty spans. */
  #untilTrim = TRIM_INTERVAL;
  /** `close({ force: true })`, where the platform has `Symbol.dispose`. */
  declare [Symbol.dispose]: () => void;

  private constructor(arena: TlsfArena, root: Root) {
    this.arena = arena;
    this.#bytes = arena.bytes;
    this.#words = arena.words;
    this.#records = root.records;
    this.#bits = root.bits;
    this.#pages = root.pages;
    this.#length = arena.bytes.length;
    const isShared = !(this.#bytes.buffer instanceof ArrayBuffer);
    this.#tail = isShared ? Math.max(0, this.#length - MAX_CLASS_SIZE + 1) : this.#length;
    this.#epoch = arena.epoch;
  }

  /**
   * Formats an arena with its tables (0.9 % of the bytes). Throws as {@link TlsfArena.create}; `ERR_OUT_OF_RANGE` when
   * they do not fit.
   */
  static create(options: ArenaOptions): SizeClassArena {
    const arena = TlsfArena.create(options);
    try {
      return new SizeClassArena(arena, makeRoot(arena));
    } catch (error) {
      // Else the next try would find a live arena there.
      arena.close({ force: true });
      throw error;
    }
  }

  /** Views a heap that is there already. Throws `ERR_BAD_DATA` when there is none. */
  static attach(options: Pick<ArenaOptions, "source" | "byteOffset">): SizeClassArena {
    const arena = TlsfArena.attach(options);
    return new SizeClassArena(arena, findRoot(arena));
  }

  /**
   * A block of at least `size` bytes, aligned to 16 up to 64 KiB and to 8 beyond; 0 when nothing fits.
   * Throws `ERR_OUT_OF_RANGE`, `ERR_INVALID_ARG_TYPE`, `ERR_DETACHED`, `ERR_CORRUPTED` (the tables were written to, and
   * would give bytes outside the arena); nothing has changed then.
   */
  alloc(size: number): number {
    if (typeof size !== "number" || size >>> 0 !== size || size === 0 || size > MAX_CLASS_SIZE)
      return this.#allocLarge(size);
    const words = this.#words;
    if (words[EPOCH] !== this.#epoch) throw unreachable(words);
    const record = this.#records + (classOf(size) << RECORD_BITS);
    const top = words[record]! - 1;
    if (!(top >= words[record + Class.BASE]!)) return this.#allocFresh(classOf(size));
    const pointer = words[top]!;
    // Others may write to these words: what does not lie in the arena must not be given.
    if (pointer >>> 0 >= this.#tail) return this.#allocLast(record, top, size);
    words[record] = top;
    words[this.#bits + (pointer >>> 9)]! |= 1 << (pointer >>> 4);
    return pointer >>> 0;
  }

  /**
   * Gives a block back. Throws `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE`, `ERR_DETACHED`; nothing has changed then.
   */
  free(pointer: number): void {
    if (typeof pointer !== "number") throw badPointer(pointer);
    const words = this.#words;
    if (words[EPOCH] !== this.#epoch) throw unreachable(words);
    const at = this.#bits + (pointer >>> 9);
    const word = words[at]!;
    const bit = 1 << (pointer >>> 4);
    // Only the first byte of a live object has its bit set: doubly freed, interior and foreign pointers fail here.
    if ((word & bit) === 0 || ((pointer >>> 4) << 4) >>> 0 !== pointer || pointer >= this.#tail) {
      this.#freeSlow(pointer);
      return;
    }
    words[at] = word ^ bit;
    const record = this.#records + (this.#bytes[this.#pages + (pointer >>> PAGE_BITS)]! << RECORD_BITS);
    const top = words[record]!;
    words[top] = pointer;
    words[record] = top + 1;
  }

  /** Bytes that a live block can hold. Throws `ERR_USE_AFTER_RELEASE`, `ERR_FOREIGN_RELEASE`. @realtime */
  sizeOf(pointer: number): number {
    if (this.#isObject(pointer)) return sizeOfClass(this.#bytes[this.#pages + (pointer >>> PAGE_BITS)]!);
    this.#refuseObject(pointer, "use");
    return this.arena.sizeOf(pointer);
  }

  /** True for the pointer of a live block. @realtime */
  isLive(pointer: number): boolean {
    return this.#isObject(pointer) || (this.arena.isLive(pointer) && !this.arena.isTagged(pointer));
  }

  /**
   * As {@link TlsfArena.realloc}: stays where it is while its class does, else moves; 0, and nothing changed, when
   * nothing fits.
   */
  realloc(pointer: number, size: number): number {
    const present = this.sizeOf(pointer);
    if (typeof size !== "number" || size >>> 0 !== size || size === 0) throw badSize(size);
    if (!this.#isObject(pointer)) {
      if (size > MAX_CLASS_SIZE) return this.arena.realloc(pointer, size);
    } else if (size <= present && classOf(size) === classOf(present)) return pointer;
    const moved = this.alloc(size);
    if (moved === 0) return 0;
    this.#bytes.copyWithin(moved, pointer, pointer + Math.min(present, size));
    this.free(pointer);
    return moved;
  }

  /**
   * Gives spans without a live object back to the arena; runs by itself before a request fails. Answers the bytes.
   * O(objects). Throws `ERR_CORRUPTED`, and nothing of that class has changed.
   */
  trim(): number {
    if (this.#words[EPOCH] !== this.#epoch) throw unreachable(this.#words);
    const before = this.arena.used;
    for (let index = 0; index < CLASSES; index++) trimSpans(this.arena, this.#root(), index);
    return before - this.arena.used;
  }

  /** The bytes of the arena: `bytes[pointer]` is the first byte of a block. Replaced by {@link refresh}. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /**
   * As {@link TlsfArena.close}; the blocks that it counts are objects and blocks of the arena, not the tables.
   * O(objects).
   */
  close(options?: { force?: boolean }): void {
    const force = flag("options.force", checkOptions("options", options, ["force"]).force, false);
    if (!force && this.arena.words.length > 0) {
      const holders = this.holders();
      const named = holders.slice(0, MAX_NAMED).map(({ pointer }) => pointer);
      if (holders.length > 0) throw liveBlocks(holders.length, named);
    }
    this.arena.close({ force: true });
    this.#words = CLOSED;
    this.#bytes = NO_BYTES;
  }

  /** The live blocks in the order of their addresses. O(objects). */
  holders(): ArenaHolder[] {
    return classHolders(this.arena, this.#root());
  }

  /** As {@link TlsfArena.refresh}. */
  refresh(): void {
    this.arena.refresh();
    this.#bytes = this.arena.bytes;
    this.#words = this.arena.words;
  }

  /** Counts objects and bytes by class. O(objects). */
  stats(): SizeClassStats {
    return classStats(this.arena, this.#root());
  }

  /** Walks the arena and every class. Throws `ERR_CORRUPTED`. O(blocks + objects). */
  validate(): void {
    this.arena.validate();
    if (isClosed(this.arena.words)) return;
    validateClasses(this.arena, this.#root());
  }

  #root(): Root {
    return { records: this.#records, bits: this.#bits, pages: this.#pages };
  }

  #isObject(pointer: number): boolean {
    if (typeof pointer !== "number" || ((pointer >>> 4) << 4) >>> 0 !== pointer || pointer >= this.#length)
      return false;
    const words = this.#words;
    return words[EPOCH] === this.#epoch && (words[this.#bits + (pointer >>> 9)]! & (1 << (pointer >>> 4))) !== 0;
  }

  /**
   * The slow path of {@link alloc}: the stack of the class is empty. The newest span has a fresh object, or a span is
   * made.
   */
  #allocFresh(index: number): number {
    // What waits on other classes' lists is worth a look before the heap grows, but not each time: a look costs
    // O(objects).
    if (--this.#untilTrim <= 0) {
      const waiting = cachedBytes(this.#words, this.#root());
      const given = waiting * 4 > this.arena.used ? this.trim() : 0;
      this.#untilTrim = given * 16 > this.arena.used ? TRIM_INTERVAL : 4 * TRIM_INTERVAL;
    }
    const pointer =
      bumpAllocate(this.arena, this.#root(), index) ||
      (this.trim() > 0 ? bumpAllocate(this.arena, this.#root(), index) : 0);
    if (pointer !== 0) this.#words[this.#bits + (pointer >>> 9)]! |= 1 << (pointer >>> 4);
    return pointer;
  }

  /** {@link alloc}, of an object that may reach beyond the end: the word of the stack may have been written to. */
  #allocLast(record: number, top: number, size: number): number {
    const words = this.#words;
    assertInside(words, top, size);
    words[record] = top;
    const pointer = words[top]!;
    words[this.#bits + (pointer >>> 9)]! |= 1 << (pointer >>> 4);
    return pointer >>> 0;
  }

  #allocLarge(size: number): number {
    return this.arena.alloc(size) || (this.trim() > 0 ? this.arena.alloc(size) : 0);
  }

  /** {@link free}, of a block of the arena, of an object near the end, and of what is no pointer of a live block. */
  #freeSlow(pointer: number): void {
    if (!this.#isObject(pointer)) {
      this.#refuseObject(pointer, "free");
      this.arena.free(pointer);
      return;
    }
    const words = this.#words;
    words[this.#bits + (pointer >>> 9)]! ^= 1 << (pointer >>> 4);
    const record = this.#records + (this.#bytes[this.#pages + (pointer >>> PAGE_BITS)]! << RECORD_BITS);
    const top = words[record]!;
    words[top] = pointer;
    words[record] = top + 1;
  }

  /**
   * Pointers into pages of a class that are not live objects must not be looked up in the arena, which would call them
   * foreign.
   */
  #refuseObject(pointer: number, verb: string): void {
    if (typeof pointer !== "number") throw badPointer(pointer);
    if (this.#words[EPOCH] !== this.#epoch) throw unreachable(this.#words);
    const index = this.#bytes[this.#pages + (pointer >>> PAGE_BITS)];
    const ofClass = pointer < this.#length && index !== undefined && index < CLASSES;
    if (ofClass || this.arena.isTagged(pointer)) throw classMisuse(this.arena, this.#root(), pointer, verb);
  }
}
disposeByForce(SizeClassArena);

/*
 * What a SizeClassArena says about itself: counts by class, whether all of it agrees, what a wrong pointer points at.
 */

/** One size class, counted. */
export interface SizeClassCount {
  /** Bytes of an object. */
  readonly size: number;
  /** Objects handed out. */
  readonly live: number;
  /** Objects that wait on the free list. */
  readonly free: number;
  /** Objects that were never handed out. */
  readonly fresh: number;
}

/** A snapshot of a SizeClassArena. */
export interface SizeClassStats {
  /** The classes that have spans. */
  readonly classes: readonly SizeClassCount[];
  /** Bytes in live objects of classes. */
  readonly liveBytes: number;
  /** Bytes of the arena that are taken: spans, tables, and blocks too large for a class. */
  readonly used: number;
  /** The most that `used` has been. */
  readonly peak: number;
}

/** Counts by class. */
function classStats(arena: TlsfArena, root: Root): SizeClassStats {
  const { words } = arena;
  const classes: SizeClassCount[] = [];
  let liveBytes = 0;
  for (const index of CLASS_INDICES) {
    const record = root.records + (index << RECORD_BITS);
    const objects = words[record + Class.OBJECTS] ?? 0;
    if (objects === 0) continue;
    const size = sizeOfClass(index);
    const free = words[record]! - words[record + Class.BASE]!;
    const bumped = words[record + Class.BUMPED]!;
    classes.push({ size, live: bumped - free, free, fresh: objects - bumped });
    liveBytes += (bumped - free) * size;
  }
  const { used, peak } = arena.stats();
  return { classes, liveBytes, used, peak };
}

/** The live objects of all classes and the live blocks beside them, in the order of their addresses. */
function classHolders(arena: TlsfArena, root: Root): ArenaHolder[] {
  const { words } = arena;
  const holders: ArenaHolder[] = [];
  for (const { pointer, size, free, tagged } of arena.blocks()) if (!free && !tagged) holders.push({ pointer, size });
  for (const index of CLASS_INDICES) {
    const size = sizeOfClass(index);
    for (const span of spansOf(words, root, index)) {
      const end = span + SPAN_HEADER + words[(span >>> 2) + 1]! * size;
      for (let pointer = span + SPAN_HEADER; pointer < end; pointer += size) {
        if (isLiveObject(words, root, pointer)) holders.push({ pointer, size });
      }
    }
  }
  return holders.sort((a, b) => a.pointer - b.pointer);
}

/** Walks every class. Throws `ERR_CORRUPTED`. */
function validateClasses(arena: TlsfArena, root: Root): void {
  for (const index of CLASS_INDICES) validateClass(arena, root, index);
}

function validateClass(arena: TlsfArena, root: Root, index: number): void {
  const { words, bytes } = arena;
  const record = root.records + (index << RECORD_BITS);
  const size = sizeOfClass(index);
  const free = new Set<number>();
  const { base, top } = stackOf(arena, root, index);
  for (let at = base; at < top; at++) free.add(words[at]! >>> 0);
  const listed = top - base;
  if (free.size !== listed) throw corrupt(`an object of ${size} bytes is on the free list twice`);
  let [objects, bumped, live, found] = [0, 0, 0, 0];
  for (const span of spansOf(words, root, index)) {
    const header = span >>> 2;
    objects += words[header + 1]!;
    const used = bumpedIn(words, record, span, size);
    bumped += used;
    for (let page = 0; page < words[header + 3]!; page++) {
      if (bytes[root.pages + span / PAGE + page] !== index)
        throw corrupt(`page ${span / PAGE + page} is of another class`);
    }
    for (let at = 0; at < words[header + 1]!; at++) {
      const pointer = span + SPAN_HEADER + at * size;
      const isLive = isLiveObject(words, root, pointer);
      if (isLive && (at >= used || free.has(pointer)))
        throw corrupt(`object ${pointer} is both free and live`, pointer);
      if (isLive) live++;
      else if (at < used) {
        if (!free.has(pointer)) throw corrupt(`object ${pointer} is neither free nor live`, pointer);
        found++;
      }
    }
  }
  if (found !== listed) throw corrupt(`the free list of ${size} bytes holds pointers of objects that do not exist`);
  if (
    objects !== words[record + Class.OBJECTS] ||
    bumped !== words[record + Class.BUMPED] ||
    live !== bumped - listed
  ) {
    throw corrupt(`the counters of the class of ${size} bytes are wrong`);
  }
}

/** The error for a pointer that is not a live block: what it really points at. */
function classMisuse(arena: TlsfArena, root: Root, pointer: number, verb: string): MillpondError {
  const { words } = arena;
  for (const index of CLASS_INDICES) {
    for (const span of spansOf(words, root, index)) {
      if (pointer < span || pointer >= span + words[(span >>> 2) + 3]! * PAGE) continue;
      const size = sizeOfClass(index);
      const used = bumpedIn(words, root.records + (index << RECORD_BITS), span, size);
      const at = (pointer - span - SPAN_HEADER) / size;
      const name = `cannot ${verb} ${show(pointer)}`;
      if (!Number.isInteger(at) || at < 0 || at >= used) {
        return new MillpondError(
          "ERR_FOREIGN_RELEASE",
          `${name}: it lies between the objects of ${size} bytes that begin at ${span + SPAN_HEADER}; ${verb} what alloc() gave, unchanged`,
          { pointer },
        );
      }
      const code = verb === "free" ? "ERR_DOUBLE_RELEASE" : "ERR_USE_AFTER_RELEASE";
      return new MillpondError(code, `${name}: it is free already; find the first free() of it`, { pointer });
    }
  }
  return misuse(words, pointer, verb);
}
