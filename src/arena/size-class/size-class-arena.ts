/**
 * SizeClassArena: for mixed loads of small and middling blocks, faster than the arena that it stands on and less sparing.
 * Sizes up to 64 KiB come from spans of equal objects whose free lists lie beside them; larger ones from the arena itself.
 *
 * ```ts
 * const heap = SizeClassArena.create(new ArrayBuffer(64 << 20));
 * const pointer = heap.alloc(100);          // an object of 112 bytes, aligned to 16; 0 when nothing fits
 * heap.free(pointer);
 * ```
 * All state lies in the buffer here too. Time is not bounded as the arena's is: one call in many makes a span, and when the
 * arena is full, empty spans are looked for. Where a deadline counts, use {@link TlsfArena}. After mimalloc and jemalloc.
 */

import { badPointer, badSize } from "../tlsf/errors.ts";
import { type ArenaOptions, type ArenaSource, TlsfArena } from "../tlsf/tlsf-arena.ts";
import { CLASSES, Class, classOf, LARGEST, PAGE_BITS, RECORD_BITS, sizeOfClass } from "./class-table.ts";
import { carve, findRoot, hoarded, makeRoot, type Root, trimSpans } from "./spans.ts";
import { classMisuse, classStats, type SizeClassStats, validateClasses } from "./validate.ts";

export type { SizeClassStats } from "./validate.ts";

/** Objects that are carved between two looks for empty spans: a look at 10,000 objects costs about as much as carving 1,000. */
const PATIENCE = 256;

/** A heap of size classes over a {@link TlsfArena}. */
export class SizeClassArena {
  /** The arena underneath; blocks that do not belong to a class may be taken from it directly. */
  readonly arena: TlsfArena;
  /** The bytes of the arena: `bytes[pointer]` is the first byte of a block. */
  declare bytes: Uint8Array;
  declare private words: Int32Array;
  /** First word of the class records, of the bits; first byte of the page table. */
  declare private records: number;
  declare private bits: number;
  declare private pages: number;
  declare private length: number;
  /** Calls of {@link allocateFresh} before the next look for empty spans. */
  declare private patience: number;

  /** @internal Use {@link create} or {@link attach}. */
  constructor(arena: TlsfArena, root: Root) {
    this.arena = arena;
    this.bytes = arena.bytes;
    this.words = arena.words;
    this.records = root.records;
    this.bits = root.bits;
    this.pages = root.pages;
    this.length = arena.bytes.length;
    this.patience = PATIENCE;
  }

  /** Formats an arena with its tables (0.9 % of the bytes). Throws as {@link TlsfArena.create}; `ERR_OUT_OF_RANGE` when they do not fit. */
  static create(source: ArenaSource, options?: ArenaOptions): SizeClassArena {
    const arena = TlsfArena.create(source, options);
    return new SizeClassArena(arena, makeRoot(arena));
  }

  /** Views a heap that is there already. Throws `ERR_BAD_DATA` when there is none. */
  static attach(source: ArenaSource, options?: Pick<ArenaOptions, "byteOffset">): SizeClassArena {
    const arena = TlsfArena.attach(source, options);
    return new SizeClassArena(arena, findRoot(arena));
  }

  /**
   * A block of at least `size` bytes, aligned to 16 up to 64 KiB and to 8 beyond; 0 when nothing fits.
   * Throws `ERR_OUT_OF_RANGE`, `ERR_INVALID_ARG_TYPE`, `ERR_DETACHED`.
   */
  alloc(size: number): number {
    if (typeof size !== "number" || size >>> 0 !== size || size === 0 || size > LARGEST)
      return this.allocateLarge(size);
    const { words } = this;
    const record = this.records + (classOf(size) << RECORD_BITS);
    const top = words[record]! - 1;
    if (!(top >= words[record + Class.BASE]!)) return this.allocateFresh(classOf(size));
    words[record] = top;
    const pointer = words[top]!;
    words[this.bits + (pointer >>> 9)]! |= 1 << (pointer >>> 4);
    return pointer >>> 0;
  }

  /**
   * Gives a block back. Throws `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE`, `ERR_DETACHED`; nothing has changed then.
   */
  free(pointer: number): void {
    if (typeof pointer !== "number") throw badPointer(pointer);
    const { words } = this;
    const at = this.bits + (pointer >>> 9);
    const word = words[at]!;
    const bit = 1 << (pointer >>> 4);
    // Only the first byte of a live object has its bit set: doubly freed, interior and foreign pointers fail here.
    if ((word & bit) === 0 || ((pointer >>> 4) << 4) >>> 0 !== pointer || pointer >= this.length) {
      this.freeLarge(pointer);
      return;
    }
    words[at] = word ^ bit;
    const record = this.records + (this.bytes[this.pages + (pointer >>> PAGE_BITS)]! << RECORD_BITS);
    const top = words[record]!;
    words[top] = pointer;
    words[record] = top + 1;
  }

  /** Bytes that a live block can hold. Throws `ERR_USE_AFTER_RELEASE`, `ERR_FOREIGN_RELEASE`. @realtime */
  sizeOf(pointer: number): number {
    if (this.isObject(pointer)) return sizeOfClass(this.bytes[this.pages + (pointer >>> PAGE_BITS)]!);
    this.refuseObject(pointer, "use");
    return this.arena.sizeOf(pointer);
  }

  /** True for the pointer of a live block. @realtime */
  isLive(pointer: number): boolean {
    return this.isObject(pointer) || (this.arena.isLive(pointer) && !this.arena.isTagged(pointer));
  }

  /** As {@link TlsfArena.realloc}: stays where it is while its class does, else moves; 0, and nothing changed, when nothing fits. */
  realloc(pointer: number, size: number): number {
    const present = this.sizeOf(pointer);
    if (typeof size !== "number" || size >>> 0 !== size || size === 0) throw badSize(size);
    if (!this.isObject(pointer)) {
      if (size > LARGEST) return this.arena.realloc(pointer, size);
    } else if (size <= present && classOf(size) === classOf(present)) return pointer;
    const moved = this.alloc(size);
    if (moved === 0) return 0;
    this.bytes.copyWithin(moved, pointer, pointer + Math.min(present, size));
    this.free(pointer);
    return moved;
  }

  /** Gives spans without a live object back to the arena; runs by itself before a request fails. Answers the bytes. O(objects). */
  trim(): number {
    const before = this.arena.used;
    for (let index = 0; index < CLASSES; index++) trimSpans(this.arena, this.root(), index);
    return before - this.arena.used;
  }

  /** As {@link TlsfArena.refresh}. */
  refresh(): void {
    this.arena.refresh();
    this.bytes = this.arena.bytes;
    this.words = this.arena.words;
  }

  /** Counts objects and bytes by class. O(objects). */
  stats(): SizeClassStats {
    return classStats(this.arena, this.root());
  }

  /** Walks the arena and every class. Throws `ERR_CORRUPTED`. O(blocks + objects). */
  validate(): void {
    this.arena.validate();
    validateClasses(this.arena, this.root());
  }

  private root(): Root {
    return { records: this.records, bits: this.bits, pages: this.pages };
  }

  private isObject(pointer: number): boolean {
    if (typeof pointer !== "number" || ((pointer >>> 4) << 4) >>> 0 !== pointer || pointer >= this.length) return false;
    return (this.words[this.bits + (pointer >>> 9)]! & (1 << (pointer >>> 4))) !== 0;
  }

  /** The stack of the class is empty: the newest span has an object that was never used, or a span is made. */
  private allocateFresh(index: number): number {
    // What waits on other classes' lists is worth a look before the heap grows, but not each time: a look costs O(objects).
    if (--this.patience <= 0) {
      const waiting = hoarded(this.words, this.root());
      const given = waiting * 4 > this.arena.used ? this.trim() : 0;
      this.patience = given * 16 > this.arena.used ? PATIENCE : 4 * PATIENCE;
    }
    const pointer =
      carve(this.arena, this.root(), index) || (this.trim() > 0 ? carve(this.arena, this.root(), index) : 0);
    if (pointer !== 0) this.words[this.bits + (pointer >>> 9)]! |= 1 << (pointer >>> 4);
    return pointer;
  }

  private allocateLarge(size: number): number {
    return this.arena.alloc(size) || (this.trim() > 0 ? this.arena.alloc(size) : 0);
  }

  private freeLarge(pointer: number): void {
    this.refuseObject(pointer, "free");
    this.arena.free(pointer);
  }

  /** Pointers into pages of a class that are no live object must not be looked up in the arena, which would call them foreign. */
  private refuseObject(pointer: number, verb: string): void {
    if (typeof pointer !== "number") throw badPointer(pointer);
    const index = this.bytes[this.pages + (pointer >>> PAGE_BITS)];
    const ofClass = pointer < this.length && index !== undefined && index < CLASSES;
    if (ofClass || this.arena.isTagged(pointer)) throw classMisuse(this.arena, this.root(), pointer, verb);
  }
}
