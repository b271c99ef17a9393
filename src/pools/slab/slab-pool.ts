/**
 * SlabPool: equal small objects carved from blocks, handed out as integers. After libcork's cork_mempool: the same
 * capacity of a block, last slot first, strict LIFO over all blocks, `init` once a slot and `destroy` at the end.
 * Beyond libcork, every misuse is found, the pool is bounded, and empty blocks go back.
 *
 * ```ts
 * const pool = SlabPool.create({ elementSize: 64 });
 * const pointer = pool.alloc();        // a small integer; nothing is allocated on this path
 * pool.bytes(pointer)[0] = 1;
 * pool.free(pointer);
 * pool.free(pointer);                  // ERR_DOUBLE_RELEASE
 * ```
 *
 * Life-cycle of a pool:
 *
 * 1. `SlabPool.create()` checks the options. The pool is usable at once and has no block.
 * 2. `alloc()` takes the head of the free list (fast path). When the list is empty (slow path), it takes a block from
 *    the source, carves it into slots and calls `init` for each; at `maxBlocks` it throws `ERR_POOL_FULL`.
 * 3. `free()` puts the element at the head of the list. Its bytes stay as they are.
 * 4. With `ageOut`, a timer (or `maintain()`) looks for blocks that were empty at two visits. `destroy` is called for
 *    their slots, and they go back to the source. A block's number is used again.
 * 5. `close()` throws `ERR_IN_USE` while an element is live and changes nothing. Otherwise `destroy` is called for
 *    every slot and all blocks go back. `close({ force: true })` does so under live elements too and returns a {@link
 *    LeakReport}. Every later call throws `ERR_POOL_DEAD`, a second `close()` does nothing.
 *
 * A block whose ArrayBuffer was transferred away gives no element any more as soon as a call meets it; its live
 * elements answer `ERR_DETACHED` (LOST), its free ones are SPENT, and it goes back with the last live one.
 *
 * Life-cycle of a slot: UNMAPPED, then FREE (or FAILED where `init` threw), then LIVE and FREE in turn, then UNMAPPED
 * again.
 *
 * Invariants, which `validate()` checks:
 *
 * - Each free slot is in the free list once. Each other slot is live, failed, or behind `#next` in the block that is
 *   being carved.
 * - A pointer without a block has the link UNMAPPED; so has a slot that is not carved yet.
 * - While foreign code runs (source, clock, hook), `#links` is the sentinel and the list is empty: such code may look,
 *   not change. A call that fails leaves the pool as it was.
 *
 * Complexity: `alloc`, `free`, `isLive`, `offsetOf`, `blockOf` are O(1). A new block is O(capacity). `live`, `stats`,
 * `holders`, `maintain` and `close` are O(pointers).
 *
 * The format of the links, the numbers of pointers and the blocks are in blocks.ts; pointers with generations are in
 * generations.ts.
 */

import { type PoolCounts, type PoolHolder, UNCOUNTED } from "../../observe/pool-info.ts";
import { type PoolRegistration, registerPool } from "../../observe/registry.ts";
import { type Clock, checkTime, isTime, systemClock, type TimerHandle } from "../../util/clock.ts";
import { disposeByForce } from "../../util/dispose.ts";
import { type MillpondError, reentrantError, throwLater } from "../../util/errors.ts";
import { UNCLONEABLE } from "../../util/uncloneable.ts";
import { checkOptions, flag, wrongType } from "../../util/validate.ts";
import {
  countLinks,
  END,
  FAILED,
  findCorruption,
  LIVE as LIVE_LINK,
  LOST,
  MAX_POINTERS,
  SlabBlocks,
  type SlabLayout,
  SPENT,
  sentinelLinks,
  UNMAPPED,
} from "./blocks.ts";
import { leakReport, SlabSites, traceAllocs } from "./debug.ts";
import * as errors from "./errors.ts";
import { SlabGenerations } from "./generations.ts";
import {
  type LeakReport,
  resolveOptions,
  type SlabHolder,
  type SlabPoolOptions,
  type SlabPoolStats,
} from "./options.ts";
import { type Cursor, cursorsOf, type StructFields } from "./struct.ts";

export type { LeakReport, SlabHolder, SlabPoolOptions, SlabPoolStats } from "./options.ts";

/**
 * A constant of this module: an imported one is read from its module's cell at each use, which the compiler does not
 * fold (0.7 ns).
 */
const LIVE = LIVE_LINK;

/** What a pool without a block starts with. */
const NO_LINKS: Int32Array = new Int32Array(0);

/** What a close() that threw could not return, by its pool: the class keeps the shape that its fast path wants. */
const unreported: WeakMap<object, LeakReport> = new WeakMap();

/**
 * Equal small objects carved from blocks, handed out as integers (pointers), so that nothing is allocated while it
 * works. `S` is the layout of its elements, where it has one. `alloc()` and `free()` are O(1); a new block is
 * O(capacity). Double frees, foreign numbers and use after free throw; a stale pointer whose slot was handed out again
 * is found with `generations: true` only. {@link SlabPool.close} is refused while elements are live. One thread uses a
 * pool.
 *
 * ```ts
 * const pool = SlabPool.create({ elementSize: 64 });
 * const pointer = pool.alloc();                         // a small integer
 * pool.bytes(pointer)[0] = 1;
 * pool.free(pointer);                                   // a second free() throws ERR_DOUBLE_RELEASE
 * ```
 */
export class SlabPool<S extends StructFields = Record<never, never>> {
  // The pointer that is handed out next, or END. Not `#head`: a number that a field initializer defines makes a pair of
  // alloc and free 1.30 times slower (4.34 ns against 3.34, Node 24), one that the constructor assigns does not. The
  // other private fields cost nothing.
  declare private head: number;
  /** One word a pointer: the links themselves, or the sentinel while foreign code runs. */
  #links: Int32Array = NO_LINKS;
  /** @internal */
  declare readonly uncloneable: symbol;
  /** For messages. */
  declare readonly name: string;
  /** Bytes of an element. */
  declare readonly elementSize: number;
  /** Bytes of a block. */
  declare readonly blockSize: number;
  /** Elements of a block: floor((blockSize - 8) / (elementSize + 8)) unless `align` spreads them. */
  declare readonly capacity: number;
  /** A pointer is `block << shift | slot`: bits of it below the block's number. */
  declare readonly shift: number;
  /** Where the first element of a block begins, in bytes. */
  declare readonly firstOffset: number;
  /** Bytes from one element to the next. */
  declare readonly stride: number;
  /** `close({ force: true })`, where the platform has `Symbol.dispose`. */
  declare [Symbol.dispose]: () => void;
  readonly #layout: SlabLayout;
  readonly #blocks: SlabBlocks;
  readonly #views: readonly (Uint8Array | undefined)[];
  readonly #dataViews: readonly (DataView | undefined)[];
  readonly #cursor: Cursor<S> | undefined;
  readonly #maxBlocks: number;
  readonly #ageOut: number;
  readonly #clock: Clock;
  readonly #timed: boolean;
  readonly #init: ((pointer: number) => void) | undefined;
  readonly #destroy: ((pointer: number) => void) | undefined;
  readonly #sites: SlabSites | undefined;
  readonly #generations: SlabGenerations | undefined;
  /** Whether any code that is not the library's is called: a source, a clock, a hook. */
  readonly #foreign: boolean;
  /** The links themselves, also while foreign code runs. */
  #table: Int32Array = NO_LINKS;
  /** The rest of the block that is being carved: a throwing init stops there, and the next alloc goes on. */
  #next = 0;
  #end = 0;
  /** The element that a hook is called for, or -1. */
  #hooked = -1;
  /** Where the free list begins while foreign code runs and {@link head} says that it is empty. */
  #freeHead: number = END;
  /** Whether code that is not the pool's (source, clock, hook) is being called: it may look, and change nothing. */
  #calling = false;
  /** Whether an observer watches: {@link head} and the links are as while foreign code runs. */
  #isWatched = false;
  /** Whether a watched pool is as if nobody watched it, for one call. */
  #isOpened = false;
  #timer: TimerHandle;
  #closed = false;
  readonly #registration: PoolRegistration;

  /**
   * Makes a pool, usable at once; it has no block yet. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`,
   * `ERR_OUT_OF_RANGE`, also when not one element fits into a block.
   */
  static create<S extends StructFields = Record<never, never>>(options: SlabPoolOptions<S>): SlabPool<S> {
    return new SlabPool(options);
  }

  private constructor(options: SlabPoolOptions<S>) {
    this.head = END;
    const resolved = resolveOptions(options);
    const { layout, source, clock, struct } = resolved;
    this.#layout = layout;
    this.shift = layout.shift;
    this.firstOffset = layout.firstOffset;
    this.stride = layout.stride;
    this.name = resolved.name;
    this.uncloneable = UNCLONEABLE;
    this.elementSize = layout.elementSize;
    this.blockSize = layout.blockSize;
    this.capacity = layout.capacity;
    this.#blocks = new SlabBlocks(source, layout);
    this.#views = this.#blocks.views;
    this.#dataViews = this.#blocks.dataViews;
    this.#cursor = struct?.cursor(this);
    this.#maxBlocks = resolved.maxBlocks;
    this.#ageOut = resolved.ageOut;
    this.#clock = clock;
    this.#timed = resolved.timed;
    this.#init = resolved.init;
    this.#destroy = resolved.destroy;
    const hooks = resolved.init !== undefined || resolved.destroy !== undefined;
    this.#foreign = hooks || source !== undefined || clock !== systemClock;
    this.#sites = resolved.trace ? new SlabSites() : undefined;
    const numbers = Math.min(resolved.maxBlocks * 2 ** layout.shift, MAX_POINTERS);
    this.#generations = resolved.generations ? new SlabGenerations(numbers) : undefined;
    if (this.#generations !== undefined) this.#useGenerations(this.#generations);
    if (this.#sites !== undefined) traceAllocs(this, this.#sites, this.#generations?.mask ?? MAX_POINTERS * 2 - 1);
    this.#registration = registerPool("SlabPool", this.name, {
      counts: () => this.#counts(),
      stats: () => this.stats(),
      holders: (most) => this.#poolHolders(most),
      watch: () => this.#watch(),
    });
    this.#registration.begin();
  }

  /** Methods of this pool's own, over those of plain pointers: a pool without generations pays nothing for them. */
  #useGenerations(generations: SlabGenerations): void {
    const { mask } = generations;
    const plain = SlabPool.prototype;
    // Copies of the fast path, not calls of it: pools of two shapes in one function would make it three times as slow
    // for both.
    const alloc = (): number => {
      const number = this.head;
      if (number < 0) return this.#pointerOf(this.#allocSlow());
      const links = this.#links;
      this.head = links[number]!;
      links[number] = LIVE;
      return generations.pointers[number]!;
    };
    const own = {
      alloc,
      tryAlloc: (): number | undefined => {
        const full = this.head < 0 && !this.#closed && !this.#calling && this.#isFull();
        return full ? undefined : alloc();
      },
      free: (pointer: number): void => {
        const number = typeof pointer === "number" ? pointer & mask : 0;
        const links = this.#links;
        if (generations.pointers[number] !== pointer || links[number] !== LIVE) {
          this.#freeSlow(pointer);
          return;
        }
        links[number] = this.head;
        this.head = number;
        generations.retire(number);
      },
      isLive: (pointer: number): boolean =>
        typeof pointer === "number" && generations.pointers[pointer & mask] === pointer && this.#isOut(pointer & mask),
    };
    const reach = (pointer: number): number => {
      const number = typeof pointer === "number" ? pointer & mask : 0;
      if (generations.pointers[number] !== pointer) throw this.#misuse(pointer, "use");
      if (!this.#isOut(number) && (!this.#calling || number !== this.#hooked)) throw this.#misuse(pointer, "use");
      return number;
    };
    // Not over each other, as the plain ones are: a plain number must not get in by any of them.
    const reading = {
      bytes: (pointer: number): Uint8Array => {
        const block = plain.blockOf.call(this, reach(pointer));
        return new Uint8Array(block.buffer, block.byteOffset + this.#start(pointer), this.elementSize);
      },
      view: (pointer: number): DataView => {
        const block = plain.blockOf.call(this, reach(pointer));
        return new DataView(block.buffer, block.byteOffset + this.#start(pointer), this.elementSize);
      },
      offsetOf: (pointer: number): number => this.#start(reach(pointer)),
      blockOf: (pointer: number): Uint8Array => plain.blockOf.call(this, reach(pointer)),
      blockViewOf: (pointer: number): DataView => plain.blockViewOf.call(this, reach(pointer)),
    };
    for (const [name, value] of Object.entries({ ...own, ...reading })) {
      Object.defineProperty(this, name, { value, configurable: true });
    }
  }

  /** The pointer that the application knows an element by. */
  #pointerOf(number: number): number {
    return this.#generations?.pointers[number] ?? number;
  }

  /** Elements handed out. O(pointers). */
  // A count kept by alloc and free would cost them a tenth of their time.
  get live(): number {
    return countLinks(this.#table, LIVE) + countLinks(this.#table, LOST);
  }

  #isOut(number: number): boolean {
    const link = this.#table[number];
    return link === LIVE || link === LOST;
  }

  /** True after {@link close}. */
  get isClosed(): boolean {
    return this.#closed;
  }

  /**
   * Hands out an element, the one freed last first; a new block is carved when none is free. @realtime while one is
   * free.
   * Throws `ERR_POOL_FULL`, `ERR_POOL_DEAD`, `ERR_REENTRANT` from a hook, the source or the clock, and what the
   * allocator and `init` throw.
   */
  alloc(): number {
    const pointer = this.head;
    if (pointer < 0) return this.#allocSlow();
    const links = this.#links;
    this.head = links[pointer]!;
    links[pointer] = LIVE;
    return pointer;
  }

  /**
   * Takes an element back; its bytes stay as they are for the next one. @realtime
   * Throws `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE` (a number that no alloc here gave: between elements, negative,
   * NaN), `ERR_INVALID_ARG_TYPE` (not a number), `ERR_POOL_DEAD`, `ERR_REENTRANT` from a hook. The number of a live
   * element of this pool is freed, wherever the caller has it from: neither a stale copy from before it was handed out
   * again nor another pool's is told apart.
   */
  free(pointer: number): void {
    const links = this.#links;
    if (typeof pointer !== "number" || links[pointer] !== LIVE) {
      this.#freeSlow(pointer);
      return;
    }
    links[pointer] = this.head;
    // -0 is element 0 to an array, but would turn the field into a double for good.
    this.head = pointer | 0;
  }

  /** As {@link alloc}, but undefined when the bound is reached. Other failures throw. */
  tryAlloc(): number | undefined {
    const full = this.head < 0 && !this.#closed && !this.#calling && this.#isFull();
    return full ? undefined : this.alloc();
  }

  /** True for a pointer that is handed out. @realtime */
  isLive(pointer: number): boolean {
    return typeof pointer === "number" && this.#isOut(pointer);
  }

  /**
   * The bytes of an element: a new view (20 ns); keep it no longer than the element. Throws `ERR_USE_AFTER_RELEASE`,
   * `ERR_FOREIGN_RELEASE`, `ERR_INVALID_ARG_TYPE`, `ERR_DETACHED`, `ERR_POOL_DEAD`.
   */
  bytes(pointer: number): Uint8Array {
    const block = this.blockOf(pointer);
    return new Uint8Array(block.buffer, block.byteOffset + this.#start(pointer), this.elementSize);
  }

  /** As {@link bytes}, as a DataView (50 ns). */
  view(pointer: number): DataView {
    const block = this.blockOf(pointer);
    return new DataView(block.buffer, block.byteOffset + this.#start(pointer), this.elementSize);
  }

  /**
   * Moves the pool's one cursor to an element and returns it: `pool.at(pointer).sequence = 7`. Two elements at a time
   * need a second cursor, from `struct.cursor(pool)`. @realtime Throws as {@link bytes}; `ERR_NOT_CONFIGURED` in a pool
   * without `struct`.
   */
  at(pointer: number): Cursor<S> {
    if (this.#cursor === undefined) throw errors.noFieldsError(this.name);
    return this.#cursor.at(pointer);
  }

  /**
   * Where an element begins in its block, in bytes: the way to its bytes without a view. @realtime Throws as {@link
   * bytes}.
   */
  offsetOf(pointer: number): number {
    if (typeof pointer !== "number" || this.#links[pointer] !== LIVE) this.#reach(pointer);
    return this.#start(pointer);
  }

  /**
   * The bytes of the block that an element lies in; the same view for the block's life. @realtime Throws as {@link
   * bytes}.
   */
  blockOf(pointer: number): Uint8Array {
    if (typeof pointer !== "number" || this.#links[pointer] !== LIVE) this.#reach(pointer);
    const block = this.#views[pointer >> this.shift]!;
    if (block.length !== this.blockSize) throw this.#lose(pointer);
    return block;
  }

  /** As {@link blockOf}, as a DataView; cursors read and write through it. @realtime Throws as {@link bytes}. */
  blockViewOf(pointer: number): DataView {
    if (typeof pointer !== "number" || this.#links[pointer] !== LIVE) this.#reach(pointer);
    const number = pointer >> this.shift;
    // A DataView that lost its bytes throws when it is asked for its length.
    if (this.#views[number]!.length !== this.blockSize) throw this.#lose(pointer);
    return this.#dataViews[number]!;
  }

  /** The pointers that are handed out, lowest first. Freeing the present one while walking is allowed. */
  *[Symbol.iterator](): IterableIterator<number> {
    for (const number of this.#liveNumbers()) yield this.#pointerOf(number);
  }

  *#liveNumbers(): IterableIterator<number> {
    for (let number = 0; number < this.#table.length; number++) if (this.#isOut(number)) yield number;
  }

  #start(pointer: number): number {
    return this.firstOffset + (pointer & ((1 << this.shift) - 1)) * this.stride;
  }

  /**
   * Lets a hook at its own element and at live ones; throws for all others. With generations `pointer` is an element's
   * number, judged already, so the table is asked and not {@link isLive}.
   */
  #reach(pointer: number): void {
    if (typeof pointer === "number") {
      if ((this.#isWatched || this.#calling) && this.#table[pointer] === LIVE) return;
      if (this.#table[pointer] === LOST) throw errors.detachedError(this.name, pointer);
      if (this.#calling && this.#hooked >= 0 && pointer === this.#hooked) return;
    }
    throw this.#misuse(pointer, "use");
  }

  /** The block of a live element has lost its bytes: nobody gets an element of it any more. Returns the error. */
  #lose(pointer: number): MillpondError {
    // Foreign code may look only; the next call finds it.
    if (this.#isWatched && !this.#calling) this.#whileOpen(() => this.#loseBlock(pointer >> this.shift));
    else if (!this.#calling) this.#loseBlock(pointer >> this.shift);
    return errors.detachedError(this.name, pointer);
  }

  #loseBlock(number: number): void {
    const table = this.#table;
    const stay: number[] = [];
    for (const pointer of [...this.#freePointers()]) {
      if (pointer >> this.shift === number) table[pointer] = SPENT;
      else stay.push(pointer);
    }
    this.#link(stay);
    const first = number << this.shift;
    for (let at = first; at < first + this.capacity; at++) if (table[at] === LIVE) table[at] = LOST;
    if (this.#next >> this.shift === number && this.#next < this.#end) {
      table.fill(FAILED, this.#next, this.#end);
      this.#next = this.#end;
    }
  }

  /** Makes the list of these, in their order. */
  #link(pointers: readonly number[]): void {
    let head = END;
    for (let i = pointers.length - 1; i >= 0; i--) {
      this.#table[pointers[i]!] = head;
      head = pointers[i]!;
    }
    this.head = head;
  }

  /** An element of a block without its bytes came back; with the last one the block goes. */
  #freeLost(number: number): void {
    this.#table[number] = SPENT;
    this.#generations?.retire(number);
    const block = number >> this.shift;
    if (this.#isEmpty(block)) this.#dropBlocks(new Set([block]));
  }

  /** Whether an alloc has to fail, when {@link head} says that nothing is free. */
  #isFull(): boolean {
    if (this.#isWatched && this.#freeHead >= 0) return false;
    return this.#next === this.#end && this.#blocks.count >= this.#maxBlocks;
  }

  /**
   * An observer came or went. While one watches, the list looks empty and nothing looks live, so that every alloc and
   * free takes its slow path, as while foreign code runs.
   */
  #watch(): void {
    // A hook, or an observer of a pool that is open for a call: at the end of this turn the pool is at rest.
    if (this.#calling || this.#isOpened) {
      queueMicrotask(() => this.#watch());
      return;
    }
    const { observer } = this.#registration;
    if (observer === null) this.#openWatched();
    else this.#shutWatched();
  }

  #openWatched(): void {
    if (!this.#isWatched) return;
    this.#isWatched = false;
    this.#links = this.#table;
    this.head = this.#freeHead;
  }

  #shutWatched(): void {
    if (this.#isWatched || this.#closed) return;
    this.#isWatched = true;
    this.#freeHead = this.head;
    this.#links = sentinelLinks(this.#table.length);
    this.head = END;
  }

  /** Calls `fn` with the pool as it is when nobody watches. */
  #whileOpen<T>(fn: () => T): T {
    this.#openWatched();
    this.#isOpened = true;
    try {
      return fn();
    } finally {
      this.#isOpened = false;
      this.#shutWatched();
    }
  }

  #allocWatched(): number {
    const number = this.#whileOpen(() => {
      const first = this.head;
      if (first < 0) return this.#allocSlow();
      this.head = this.#table[first]!;
      this.#table[first] = LIVE;
      return first;
    });
    this.#registration.acquired(number, this.#pointerOf(number));
    return number;
  }

  /** The slow path of {@link free}: an observer is told, or the pointer is not one. */
  #freeSlow(pointer: number): void {
    if (!this.#isWatched && !this.#calling && this.isLive(pointer)) {
      this.#freeLost(this.#generations === undefined ? pointer | 0 : pointer & this.#generations.mask);
      return;
    }
    if (!this.#isWatched || !this.isLive(pointer)) throw this.#misuse(pointer, "free");
    this.#whileOpen(() => this.free(pointer));
    const number = this.#generations === undefined ? pointer : pointer & this.#generations.mask;
    this.#registration.released(number);
  }

  /** The slow path of {@link alloc}: the list is empty. */
  #allocSlow(): number {
    if (this.#isWatched) return this.#allocWatched();
    if (this.#calling) throw reentrantError(errors.slabText(this.name), "alloc from");
    if (this.#closed) throw errors.closedError(this.name, "alloc from");
    if (this.#isFull()) throw errors.fullError(this.name, this.#blocks.count, this.live);
    // None is free, so no block is idle: what a visit saw empty has been in use since.
    this.#blocks.resetAges();
    if (this.#next === this.#end) this.#addBlock();
    this.#carve();
    // Taken here and not by the fast path, which this slow one must not show a pool of another shape.
    const number = this.head;
    if (number < 0) return this.#allocSlow();
    this.head = this.#table[number]!;
    this.#table[number] = LIVE;
    return number;
  }

  #addBlock(): void {
    const number = this.#blocks.nextNumber();
    // Shifts, not products: a number that was ever a double would make a boxed field of `head`, at twice the time of
    // alloc and free.
    const first = number << this.shift;
    this.#grow(first + this.capacity);
    this.#beginForeign();
    try {
      this.#blocks.add(number);
      this.#next = first;
      this.#end = first + this.capacity;
    } finally {
      this.#endForeign(END);
    }
    this.#noteCount();
    this.#arm();
  }

  #noteCount(): void {
    this.#registration.resized(this.#blocks.count * this.capacity);
  }

  #grow(pointers: number): void {
    if (pointers <= this.#table.length) return;
    let table: Int32Array;
    try {
      this.#generations?.grow(Math.max(pointers, 2 * this.#table.length));
      table = new Int32Array(Math.max(pointers, 2 * this.#table.length)).fill(UNMAPPED);
    } catch (cause) {
      throw errors.linksError(this.name, pointers, cause);
    }
    table.set(this.#table);
    this.#table = table;
    this.#links = table;
  }

  /**
   * Carving walks up, so the last slot is handed out first. A throwing init loses its one slot; the rest waits for the
   * next alloc.
   */
  #carve(): void {
    const init = this.#init;
    const table = this.#table;
    let head = this.head;
    this.#beginForeign();
    try {
      while (this.#next < this.#end) {
        const pointer = this.#next++;
        this.#hooked = pointer;
        table[pointer] = FAILED;
        init?.(this.#pointerOf(pointer));
        table[pointer] = head;
        head = pointer;
        this.#freeHead = head;
      }
    } finally {
      this.#endForeign(head);
    }
  }

  /**
   * Closes the pool to calls from the code that is called next: the list is empty, and nothing is live on the fast
   * path.
   */
  #beginForeign(): void {
    this.#calling = true;
    this.#freeHead = this.head;
    // Plain ArrayBuffers and the system clock do not call back, and the sentinel costs memory once it is read.
    if (this.#foreign) this.#links = sentinelLinks(this.#table.length);
    this.head = END;
  }

  #endForeign(head: number): void {
    this.#calling = false;
    this.#hooked = -1;
    this.#links = this.#table;
    this.head = head;
  }

  #arm(): void {
    if (!this.#timed || this.#timer !== undefined) return;
    // The timer must not keep a forgotten pool alive. 1 ms: an age of 0 would spin.
    const self = new WeakRef(this);
    const visit = (): void => {
      const pool = self.deref();
      if (pool !== undefined) pool.#visit();
    };
    const head = this.head;
    this.#beginForeign();
    try {
      this.#timer = this.#clock.setTimer(visit, Math.max(1, this.#ageOut / 2), true);
    } catch (error) {
      // The block that this timer is for is there already; the next one tries again.
      throwLater(error);
    } finally {
      this.#endForeign(head);
    }
  }

  #visit(): void {
    this.#timer = undefined;
    try {
      // A clock of the application's may fire while a hook runs; the next visit is soon enough.
      if (!this.#calling) this.maintain();
    } finally {
      if (this.#blocks.count > 0) this.#arm();
    }
  }

  /**
   * Gives back the blocks that were empty at two visits `ageOut` ms or more apart; what happens between visits is not
   * seen. Runs by itself where there is a timer. O(pointers). Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE` (a
   * `now` beyond 2^53), `ERR_REENTRANT` from a hook, and what `destroy` and the allocator throw, when all is done,
   * several as an AggregateError; what is thrown in the timer surfaces as an uncaught error.
   */
  maintain(now?: number): void {
    if (now !== undefined) checkTime("now", now);
    if (this.#calling) throw reentrantError(errors.slabText(this.name), "maintain");
    if (this.#ageOut === Number.POSITIVE_INFINITY || this.#closed) return;
    if (this.#isWatched) this.#whileOpen(() => this.#age(now ?? this.#readClock()));
    else this.#age(now ?? this.#readClock());
  }

  #readClock(): number {
    const head = this.head;
    this.#beginForeign();
    try {
      return this.#clock.now();
    } finally {
      this.#endForeign(head);
    }
  }

  #age(now: number): void {
    // What is no time says nothing of how long a block has been empty.
    if (!isTime(now)) return;
    const expired = this.#blocks.expired(now, this.#ageOut, (number) => this.#isEmpty(number));
    if (expired.size > 0) this.#dropBlocks(expired);
  }

  #isEmpty(number: number): boolean {
    const first = number << this.shift;
    const links = this.#table.subarray(first, first + this.capacity);
    return !links.includes(LIVE) && !links.includes(LOST);
  }

  #dropBlocks(gone: ReadonlySet<number>): void {
    const stay: number[] = [];
    const doomed: number[] = [];
    for (const pointer of this.#freePointers()) (gone.has(pointer >> this.shift) ? doomed : stay).push(pointer);
    for (const pointer of this.#spentNumbers()) if (gone.has(pointer >> this.shift)) doomed.push(pointer);
    const failures = this.#finish(doomed);
    if (gone.has(this.#next >> this.shift)) this.#end = this.#next;
    let head = END;
    for (const pointer of stay.reverse()) {
      this.#table[pointer] = head;
      head = pointer;
    }
    failures.push(...this.#drop(gone, false, head));
    errors.rethrow(this.name, failures);
  }

  *#spentNumbers(): IterableIterator<number> {
    for (let number = 0; number < this.#table.length; number++) if (this.#table[number] === SPENT) yield number;
  }

  /** Calls `destroy` for slots, in order; a hook that throws keeps no other from its call. */
  #finish(pointers: readonly number[]): unknown[] {
    const failures: unknown[] = [];
    const destroy = this.#destroy;
    if (destroy === undefined) return failures;
    const head = this.head;
    this.#beginForeign();
    for (const pointer of pointers) {
      this.#hooked = pointer;
      try {
        destroy(this.#pointerOf(pointer));
      } catch (error) {
        failures.push(error);
      }
    }
    this.#endForeign(head);
    return failures;
  }

  /** Gives blocks back; `head` is where the list of what stays begins. The answer is what the source threw. */
  #drop(gone: ReadonlySet<number>, forced: boolean, head: number): unknown[] {
    const views = new Set<DataView>();
    for (const number of gone) views.add(this.#dataViews[number]!);
    cursorsOf.get(this)?.leaveBlocks(views, () => errors.blockGoneError(this.name, this.#closed));
    for (const number of gone) {
      const first = number << this.shift;
      this.#table.fill(UNMAPPED, first, first + this.capacity);
    }
    this.#beginForeign();
    this.#freeHead = head;
    const failures = this.#blocks.drop(gone, forced);
    this.#endForeign(head);
    this.#noteCount();
    return failures;
  }

  get #firstFree(): number {
    return this.#calling || this.#isWatched ? this.#freeHead : this.head;
  }

  *#freePointers(): IterableIterator<number> {
    for (let pointer = this.#firstFree; pointer >= 0; pointer = this.#table[pointer]!) yield pointer;
  }

  /**
   * Ends the pool: `destroy` for every slot, most recently freed first, then the blocks, newest first. With live
   * elements it throws `ERR_IN_USE` (count, pointers, with `trace` their sites) and changes nothing; with `force` their
   * slots are done last, and the same report is returned. `ERR_REENTRANT` from a hook. What `destroy` and the allocator
   * throw is thrown when all is done, several as an AggregateError; the next call returns the report then. Any other
   * second call does nothing.
   */
  close(options?: { force?: boolean }): LeakReport {
    const force = flag("options.force", checkOptions("options", options, ["force"]).force, false);
    if (this.#calling) throw reentrantError(errors.slabText(this.name), "close");
    if (this.#closed) {
      const report = unreported.get(this);
      unreported.delete(this);
      return report ?? { live: 0, pointers: [], sites: [] };
    }
    const left = leakReport(this, this.live, this.#sites?.count(this.#liveNumbers()) ?? []);
    if (left.live > 0 && !force) {
      throw errors.inUseError(this.name, left, this.#sites !== undefined);
    }
    this.#openWatched();
    const failures =
      this.#destroy === undefined
        ? []
        : this.#finish([...this.#freePointers(), ...this.#spentNumbers(), ...this.#liveNumbers()]);
    this.#closed = true;
    this.#beginForeign();
    try {
      this.#clock.clearTimer(this.#timer);
    } catch (error) {
      failures.push(error);
    }
    this.#next = this.#end;
    failures.push(...this.#drop(new Set(this.#blocks.newestFirst()), left.live > 0, END));
    this.#table = new Int32Array(0);
    this.#endForeign(END);
    this.#registration.end();
    if (failures.length > 0) unreported.set(this, left);
    errors.rethrow(this.name, failures);
    return left;
  }

  /** The elements that are handed out, lowest pointer first, with `trace` also where they were taken. O(pointers). */
  holders(): SlabHolder[] {
    const holders: SlabHolder[] = [];
    for (const number of this.#liveNumbers()) {
      holders.push({ pointer: this.#pointerOf(number), site: this.#sites?.siteOf(number) });
    }
    return holders;
  }

  /** A snapshot of the counters. O(pointers). */
  stats(): SlabPoolStats {
    const { count, carved } = this.#blocks;
    const bytes = count * this.blockSize;
    let free = 0;
    for (const _ of this.#freePointers()) free++;
    return {
      live: this.live,
      free,
      failed: countLinks(this.#table, FAILED) + countLinks(this.#table, SPENT) - (this.#isMaking ? 1 : 0),
      blocks: count,
      carved,
      bytes,
      wastedBytes: bytes - count * this.capacity * this.elementSize,
      capacity: this.capacity,
    };
  }

  #counts(): PoolCounts {
    const { live, free, blocks, bytes, capacity } = this.stats();
    const max = this.#maxBlocks;
    const bounds = { count: blocks * capacity, max: max * capacity, bytes, maxBytes: max * this.blockSize };
    const phase = this.#closed ? "closed" : "active";
    return { phase, size: this.elementSize, ...bounds, free, leased: live, waiting: 0, ...UNCOUNTED };
  }

  #poolHolders(most: number): PoolHolder[] {
    const holders: PoolHolder[] = [];
    for (const number of this.#liveNumbers()) {
      if (holders.length >= most) break;
      const lease = this.#pointerOf(number);
      const site = this.#sites?.siteOf(number);
      holders.push({ slot: number, lease, size: this.elementSize, age: null, site });
    }
    return holders;
  }

  /** Whether `init` runs for a slot, which counts as failed until it has returned. */
  get #isMaking(): boolean {
    return this.#calling && this.#hooked >= 0 && this.#table[this.#hooked] === FAILED;
  }

  /** Checks every invariant; throws `ERR_CORRUPTED` when one does not hold. O(pointers). For tests. */
  validate(): void {
    const wrong = findCorruption(this.#table, this.#firstFree, this.#views, this.#layout, this.#end - this.#next);
    if (wrong !== undefined) throw errors.corruptedError(this.name, wrong);
  }

  /** The error for a pointer that is not handed out. */
  #misuse(pointer: unknown, verb: "free" | "use"): MillpondError {
    if (typeof pointer !== "number") return wrongType("pointer", "a number that alloc() gave", pointer);
    if (this.#calling && verb === "free") return reentrantError(errors.slabText(this.name), "free into");
    if (this.#closed) return errors.closedError(this.name, verb === "free" ? "free into" : "use an element of");
    const mask = this.#generations?.mask;
    const number = mask === undefined ? pointer : pointer & mask;
    const link = this.#table[number];
    if (mask !== undefined && this.#generations?.pointers[number] !== pointer) {
      if (this.#generations?.isPast(pointer) !== true) return errors.foreignError(this.name, pointer, verb);
      if (link === LIVE) return errors.freedError(this.name, pointer, verb, true);
    }
    if (link === undefined || link === UNMAPPED || link === FAILED)
      return errors.foreignError(this.name, pointer, verb);
    return errors.freedError(this.name, pointer, verb, false);
  }
}
disposeByForce(SlabPool);
