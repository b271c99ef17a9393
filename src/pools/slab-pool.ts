/**
 * SlabPool: equal small objects carved from blocks, handed out as integers. After libcork's cork_mempool: same capacity of a
 * block, last slot first, strict LIFO over all blocks, `init` once a slot and `done` at the end; and what it never had: every
 * misuse is found, the pool is bounded, and empty blocks go back.
 *
 * ```ts
 * const pool = new SlabPool({ elementSize: 64 });
 * const pointer = pool.alloc();        // a small integer; nothing is allocated on this path
 * pool.bytes(pointer)[0] = 1;
 * pool.free(pointer);
 * pool.free(pointer);                  // ERR_DOUBLE_RELEASE
 * ```
 *
 * ```
 *   block     |link 8|head 8| element |head 8| element |head 8| element | tail |
 *   pointer                  0               1               2            = block * capacity + slot
 *   links     [ next free pointer, or END, or LIVE ]   one 32-bit word a pointer, beside the blocks
 * ```
 * The room for libcork's links is kept, so that its numbers hold, but the links themselves stand in a table of their own:
 * elements of odd sizes would leave them unaligned, and an element that is overrun cannot break a list that is elsewhere.
 */
import { type Allocator, Allocator as AllocatorClass, defaultAllocator } from "../memory/allocator.ts";
import type { Memory } from "../memory/memory.ts";
import { milliseconds, wholeNumber, wrongType } from "../observe/arguments.ts";
import { type Clock, systemClock } from "../observe/clock.ts";
import { MillpondError } from "../observe/errors.ts";
import type { SlabPoolOptions, SlabPoolStats } from "./slab-options.ts";

export type { SlabPoolOptions, SlabPoolStats } from "./slab-options.ts";

/** libcork's 64-bit model: a block begins with a link, an element with a header, 8 bytes each. */
const LINK = 8;

/** libcork's default. */
const DEFAULT_BLOCK = 4096;

/** End of the free list. */
const END = -1;
/** The pointer is handed out. */
const LIVE = -2;
/** The pointer's block is gone. */
const GONE = -3;

/** 2^30: pointers stay small integers in every engine, also those with compressed pointers. */
const MAX_POINTERS = 2 ** 30;

/** A pool of equal small objects; see the module text. */
export class SlabPool {
  /** For messages. */
  declare readonly name: string;
  /** Bytes of an element. */
  declare readonly elementSize: number;
  /** Bytes of a block. */
  declare readonly blockSize: number;
  /** Elements of a block: floor((blockSize - 8) / (elementSize + 8)). */
  declare readonly capacity: number;
  declare private links: Int32Array;
  declare private head: number;
  readonly #source: Allocator;
  readonly #maxBlocks: number;
  readonly #ageOut: number;
  readonly #clock: Clock;
  readonly #init: ((pointer: number) => void) | undefined;
  readonly #done: ((pointer: number) => void) | undefined;
  readonly #blocks: (Memory | undefined)[] = [];
  readonly #views: (Uint8Array | undefined)[] = [];
  readonly #idleSince: number[] = [];
  #blockCount = 0;
  #busy = false;
  #closed = false;

  /** Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, also when not one element fits into a block. */
  constructor(options: SlabPoolOptions) {
    if (options === null || typeof options !== "object") throw wrongType("options", "SlabPoolOptions", options);
    const { source = defaultAllocator(), name = "slab", clock = systemClock, init, done } = options;
    if (!(source instanceof AllocatorClass)) throw wrongType("options.source", "an Allocator", source);
    for (const [key, hook] of [
      ["init", init],
      ["done", done],
    ] as const) {
      if (hook !== undefined && typeof hook !== "function") throw wrongType(`options.${key}`, "a function", hook);
    }
    this.name = name;
    this.elementSize = wholeNumber("options.elementSize", options.struct?.size ?? options.elementSize);
    this.blockSize = wholeNumber("options.blockSize", options.blockSize ?? DEFAULT_BLOCK, 2 * LINK + this.elementSize);
    this.capacity = Math.floor((this.blockSize - LINK) / (this.elementSize + LINK));
    const most = Math.floor(MAX_POINTERS / this.capacity);
    this.#maxBlocks =
      options.maxBlocks === undefined ? most : wholeNumber("options.maxBlocks", options.maxBlocks, 0, most);
    this.#ageOut = milliseconds("options.ageOut", options.ageOut ?? Number.POSITIVE_INFINITY);
    this.#source = source;
    this.#clock = clock;
    this.#init = init;
    this.#done = done;
    this.links = new Int32Array(0);
    this.head = END;
  }

  /** Elements handed out. O(pointers): a count kept by alloc and free would cost them a tenth of their time. */
  get live(): number {
    let live = 0;
    for (const link of this.links) if (link === LIVE) live++;
    return live;
  }

  /**
   * Hands out an element, the one freed last first; a new block is carved when none is free. @realtime while one is free.
   * Throws `ERR_POOL_FULL`, `ERR_POOL_DEAD`, and what the allocator and `init` throw.
   */
  alloc(): number {
    const pointer = this.head;
    if (pointer < 0) return this.#allocSlow();
    const { links } = this;
    this.head = links[pointer]!;
    links[pointer] = LIVE;
    return pointer;
  }

  /** As {@link alloc}, but undefined when the bound is reached. */
  tryAlloc(): number | undefined {
    if (this.head < 0 && !this.#closed && this.#blockCount >= this.#maxBlocks) return undefined;
    return this.alloc();
  }

  /**
   * Takes an element back; its bytes stay as they are for the next one. @realtime
   * Throws `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE` (never handed out, or no pointer at all), `ERR_POOL_DEAD`.
   */
  free(pointer: number): void {
    const { links } = this;
    if (links[pointer] !== LIVE) throw this.#misuse(pointer, "free");
    links[pointer] = this.head;
    this.head = pointer;
  }

  /** True for a pointer that is handed out. @realtime */
  isLive(pointer: number): boolean {
    return this.links[pointer] === LIVE;
  }

  /** The bytes of an element: a new view (20 ns); keep it no longer than the element. Throws `ERR_USE_AFTER_RELEASE` and others. */
  bytes(pointer: number): Uint8Array {
    const start = this.offsetOf(pointer);
    return this.blockOf(pointer).subarray(start, start + this.elementSize);
  }

  /** As {@link bytes}, as a DataView. */
  view(pointer: number): DataView {
    const block = this.blockOf(pointer);
    return new DataView(block.buffer, block.byteOffset + this.offsetOf(pointer), this.elementSize);
  }

  /** Where an element begins in its block, in bytes: the way to its bytes without a view. @realtime Throws as {@link bytes}. */
  offsetOf(pointer: number): number {
    if (this.links[pointer] !== LIVE) throw this.#misuse(pointer, "use");
    return 2 * LINK + (pointer % this.capacity) * (this.elementSize + LINK);
  }

  /** The bytes of the block that an element lies in; the same view for the block's life. @realtime Throws as {@link bytes}. */
  blockOf(pointer: number): Uint8Array {
    if (this.links[pointer] !== LIVE) throw this.#misuse(pointer, "use");
    return this.#views[Math.floor(pointer / this.capacity)]!;
  }

  /** The pointers that are handed out, lowest first. Freeing the present one while walking is allowed. */
  *[Symbol.iterator](): IterableIterator<number> {
    for (let pointer = 0; pointer < this.links.length; pointer++) if (this.links[pointer] === LIVE) yield pointer;
  }

  #allocSlow(): number {
    if (this.#closed) throw this.#dead("alloc from");
    if (this.#busy)
      throw new MillpondError(
        "ERR_ACTIVE",
        `slab pool "${this.name}" is carving a block; its init hook cannot alloc from it`,
      );
    this.maintain();
    if (this.head < 0) this.#carve();
    return this.alloc();
  }

  #carve(): void {
    if (this.#blockCount >= this.#maxBlocks) {
      throw new MillpondError(
        "ERR_POOL_FULL",
        `slab pool "${this.name}" has its ${this.#maxBlocks} blocks, and all ${this.live} elements are live; free some, or raise maxBlocks`,
      );
    }
    const memory = this.#source.allocate(this.blockSize);
    const number = this.#vacantBlock();
    const first = number * this.capacity;
    this.#grow(first + this.capacity);
    this.#blocks[number] = memory;
    const mapping = memory.map("readwrite");
    this.#views[number] = mapping.bytes;
    mapping.unmap();
    this.#idleSince[number] = Number.POSITIVE_INFINITY;
    this.#blockCount++;
    this.#initSlots(first);
  }

  #vacantBlock(): number {
    const vacant = this.#blocks.indexOf(undefined);
    return vacant < 0 ? this.#blocks.length : vacant;
  }

  #grow(pointers: number): void {
    if (pointers <= this.links.length) return;
    const links = new Int32Array(Math.max(pointers, 2 * this.links.length)).fill(GONE);
    links.set(this.links);
    this.links = links;
  }

  /** Carving walks up, so the last slot is handed out first. A throwing init loses its one slot, and the others stay. */
  #initSlots(first: number): void {
    let failed: { error: unknown } | undefined;
    this.#busy = true;
    for (let pointer = first; pointer < first + this.capacity; pointer++) {
      this.links[pointer] = GONE;
      if (failed === undefined && this.#init !== undefined) {
        // The hook may look at the bytes of its slot, which counts as live for it.
        this.links[pointer] = LIVE;
        try {
          this.#init(pointer);
        } catch (error) {
          failed = { error };
          this.links[pointer] = GONE;
          continue;
        }
      } else if (failed !== undefined) continue;
      this.links[pointer] = this.head;
      this.head = pointer;
    }
    this.#busy = false;
    if (failed !== undefined) throw failed.error;
  }

  /** Gives back blocks that were empty at two visits `ageOut` ms apart; runs by itself before a block is carved. O(pointers). */
  maintain(now: number = this.#clock.now()): void {
    if (this.#ageOut === Number.POSITIVE_INFINITY || this.#busy || this.#closed) return;
    const old: number[] = [];
    for (let number = 0; number < this.#blocks.length; number++) {
      if (this.#blocks[number] === undefined) continue;
      if (!this.#isEmpty(number)) this.#idleSince[number] = Number.POSITIVE_INFINITY;
      else if (this.#idleSince[number] === Number.POSITIVE_INFINITY) this.#idleSince[number] = now;
      if (now - this.#idleSince[number]! >= this.#ageOut) old.push(number);
    }
    if (old.length > 0) this.#dropBlocks(old);
  }

  #isEmpty(number: number): boolean {
    const first = number * this.capacity;
    for (let pointer = first; pointer < first + this.capacity; pointer++)
      if (this.links[pointer] === LIVE) return false;
    return true;
  }

  #dropBlocks(numbers: readonly number[]): void {
    const gone = new Set(numbers);
    const stay: number[] = [];
    for (let pointer = this.head; pointer >= 0; pointer = this.links[pointer]!) {
      if (!gone.has(Math.floor(pointer / this.capacity))) stay.push(pointer);
      else this.#finish(pointer);
    }
    this.head = END;
    for (const pointer of stay.reverse()) {
      this.links[pointer] = this.head;
      this.head = pointer;
    }
    for (const number of [...numbers].sort((a, b) => b - a)) this.#dropBlock(number);
  }

  #finish(pointer: number): void {
    if (this.#done === undefined) return;
    const link = this.links[pointer]!;
    this.links[pointer] = LIVE;
    this.#busy = true;
    try {
      this.#done(pointer);
    } finally {
      this.#busy = false;
      this.links[pointer] = link;
    }
  }

  #dropBlock(number: number): void {
    this.links.fill(GONE, number * this.capacity, (number + 1) * this.capacity);
    this.#blocks[number]!.release();
    this.#blocks[number] = undefined;
    this.#views[number] = undefined;
    this.#blockCount--;
  }

  /**
   * Ends the pool: `done` for every slot, most recently freed first, then the blocks, newest first. With live elements it
   * throws `ERR_LIVE_OBJECTS` (with the count) and changes nothing; with `force` their slots are done too. Twice: nothing.
   */
  close(options?: { force?: boolean }): void {
    if (this.#closed) return;
    const { live } = this;
    if (live > 0 && options?.force !== true) {
      throw new MillpondError(
        "ERR_LIVE_OBJECTS",
        `slab pool "${this.name}" cannot be closed: ${live} elements are live; free them, or close({ force: true })`,
        {
          live,
          pointers: [...this].slice(0, 16),
        },
      );
    }
    for (let pointer = this.head; pointer >= 0; pointer = this.links[pointer]!) this.#finish(pointer);
    for (const pointer of this) this.#finish(pointer);
    for (let number = this.#blocks.length - 1; number >= 0; number--)
      if (this.#blocks[number] !== undefined) this.#dropBlock(number);
    this.#closed = true;
    this.head = END;
  }

  /** A snapshot of the counters. */
  stats(): SlabPoolStats {
    const bytes = this.#blockCount * this.blockSize;
    let free = 0;
    for (let pointer = this.head; pointer >= 0; pointer = this.links[pointer]!) free++;
    const wastedBytes = bytes - this.#blockCount * this.capacity * this.elementSize;
    return { live: this.live, free, blocks: this.#blockCount, bytes, wastedBytes, capacity: this.capacity };
  }

  /** Checks every invariant; throws `ERR_CORRUPTED` when one does not hold. O(pointers). For tests. */
  assertInvariants(): void {
    const seen = new Set<number>();
    for (let pointer = this.head; pointer >= 0; pointer = this.links[pointer]!) {
      if (seen.has(pointer) || this.#blocks[Math.floor(pointer / this.capacity)] === undefined)
        throw this.#corrupted(`pointer ${pointer} is free twice, or of no block`);
      seen.add(pointer);
    }
    const { live } = this;
    if (live + seen.size > this.#blockCount * this.capacity)
      throw this.#corrupted("there are more elements than slots");
  }

  #corrupted(what: string): MillpondError {
    return new MillpondError("ERR_CORRUPTED", `slab pool "${this.name}": ${what}`);
  }

  #dead(verb: string): MillpondError {
    return new MillpondError("ERR_POOL_DEAD", `cannot ${verb} slab pool "${this.name}": it was closed; make a new one`);
  }

  #misuse(pointer: number, verb: string): MillpondError {
    if (this.#closed) return this.#dead(verb === "free" ? "free into" : "use an element of");
    const link = this.links[pointer];
    if (link === undefined || link === GONE) {
      return new MillpondError(
        "ERR_FOREIGN_RELEASE",
        `${String(pointer)} is no element of slab pool "${this.name}"; ${verb} what alloc() gave, unchanged`,
      );
    }
    const code = verb === "free" ? "ERR_DOUBLE_RELEASE" : "ERR_USE_AFTER_RELEASE";
    return new MillpondError(
      code,
      `cannot ${verb} element ${pointer} of slab pool "${this.name}": it is free already; find the first free() of it`,
    );
  }
}
