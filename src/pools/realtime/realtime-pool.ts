/**
 * RealtimePool: blocks of any size out of one bounded region that was allocated, touched and (where the source can) locked
 * into RAM beforehand; every call takes constant time. After BeOS's rtm_* pools, as their contract has them.
 *
 * ```ts
 * const pool = RealtimePool.create({ totalSize: 1 << 20, name: "mixer" });
 * const pointer = pool.alloc(512);             // an integer: no garbage, fit for an AudioWorklet's callback
 * const samples = new Float32Array(pool.buffer, pool.byteOffset + pointer, 128);
 * pool.free(pointer);
 * const memory = pool.allocate(512);           // the same as a Memory: guarded against use after free, 0.3 us
 * pool.release(memory);
 * ```
 * The integer interface and Memories share one arena; neither can free the other's blocks.
 */
import type { TlsfArena } from "../../arena/tlsf/tlsf-arena.ts";
import { Memory } from "../../memory/memory.ts";
import type { AllocationParams } from "../../memory/params.ts";
import { debugLevel, watchDebug } from "../../util/debug.ts";
import { disposeByForce } from "../../util/dispose.ts";
import { isMillpondError, MillpondError, reentrantError } from "../../util/errors.ts";
import { badValue, checkOptions, flag, wholeNumber, wrongType } from "../../util/validate.ts";
import { leaseOf, RealtimeAllocator } from "./allocator.ts";
import { type Area, areaOf, closeArea, makeArea } from "./area.ts";
import { RealtimeDebug } from "./debug.ts";
import { foreignMemory, liveBlocks, poolClosed, poolFull } from "./errors.ts";
import {
  type RealtimeHolder,
  type RealtimePoolOptions,
  type RealtimePoolStats,
  type ResolvedRealtimeOptions,
  resolveRealtime,
} from "./options.ts";
import { resizeMemory, resizePointer } from "./resize.ts";
import { listBlocks, sumStats, validateAreas } from "./stats.ts";

export type {
  LockPolicy,
  RealtimeHolder,
  RealtimePoolOptions,
  RealtimePoolStats,
} from "./options.ts";

/** What the default pool holds unless told otherwise: 1 MiB, what the reference reports for its own. */
const DEFAULT_TOTAL = 1_048_576;

/** Why the fast path of a call is closed; 0: it is open. CALLING: the source is being called, and may call back. */
const Special = { DEBUG: 1, DEAD: 2, GROWN: 4, CALLING: 8 } as const;

let defaultPool: RealtimePool | undefined;
let makingDefault = false;

/** A bounded pool of blocks of any size in constant time; see the module text. */
export class RealtimePool {
  /** For messages, reports and debug patterns. */
  declare readonly name: string;
  /** The pool as an allocator: its Memories can back buffers and other pools. */
  declare readonly allocator: RealtimeAllocator;
  /** @internal The first area's; its pointers are the pool's. */
  declare readonly arena: TlsfArena;
  /** @internal */
  declare readonly areas: Area[];
  /** @internal While the level is above 0. */
  declare debug: RealtimeDebug | undefined;
  declare private special: number;
  declare private failures: number;
  declare private readonly options: ResolvedRealtimeOptions;
  /** Use it as `using pool = RealtimePool.create(size)` where the platform has `Symbol.dispose`. */
  declare [Symbol.dispose]: () => void;

  /** @internal Use {@link create}. */
  constructor(options: ResolvedRealtimeOptions) {
    const area = makeArea(options, options.totalSize, 0);
    this.name = options.name;
    this.options = options;
    this.areas = [area];
    this.arena = area.arena;
    this.allocator = new RealtimeAllocator(this);
    this.debug = undefined;
    this.special = 0;
    this.failures = 0;
    this.setDebug(debugLevel(options.name));
    watchDebug(this);
  }

  /**
   * Makes a pool; everything that may take time happens here.
   *
   * Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE` (also a name over 32 bytes), what the source throws, and, with lock
   * "required", `ERR_UNSUPPORTED` or `ERR_ALLOCATION_FAILED` when the lock cannot be had.
   */
  static create(options: RealtimePoolOptions): RealtimePool {
    return new RealtimePool(resolveRealtime(options));
  }

  /** Makes the realm's default pool, once: then `ERR_ALREADY_EXISTS`. It is never closed. Else as {@link create}; `totalSize` is 1 MiB by default. */
  static createDefault(options: Partial<RealtimePoolOptions> = {}): RealtimePool {
    if (defaultPool !== undefined) {
      throw new MillpondError(
        "ERR_ALREADY_EXISTS",
        `the default realtime pool exists already ("${defaultPool.name}"); use RealtimePool.default`,
      );
    }
    if (makingDefault) throw reentrantError("the default realtime pool", "create");
    makingDefault = true;
    try {
      defaultPool = new RealtimePool(resolveRealtime(options, DEFAULT_TOTAL));
    } finally {
      makingDefault = false;
    }
    return defaultPool;
  }

  /** The realm's default pool; undefined until {@link createDefault}. */
  static get default(): RealtimePool | undefined {
    return defaultPool;
  }

  /** True when all of the pool is locked into RAM. */
  get locked(): boolean {
    return this.areas.length > 0 && this.areas.every(({ lock }) => lock.ok);
  }

  /** Why the pool is not {@link locked}: "unsupported: ...", "ENOMEM: ...", "disabled: ..."; undefined when it is. */
  get lockReason(): string | undefined {
    for (const { lock } of this.areas) if (!lock.ok) return `${lock.errno}: ${lock.hint}`;
    return this.areas.length > 0 ? undefined : "closed: the pool is gone";
  }

  /** The buffer that the pool's first area lies in; block `pointer` begins at `byteOffset + pointer`. A grown pool has others: {@link bytes}. */
  get buffer(): ArrayBufferLike {
    return this.arena.buffer;
  }

  /** Where in {@link buffer} the pool begins, in bytes. */
  get byteOffset(): number {
    return this.arena.byteOffset;
  }

  /**
   * A block of at least `size` bytes, aligned to 8, as an integer. Constant time. @realtime
   * Throws `ERR_POOL_FULL`, `ERR_OUT_OF_RANGE`, `ERR_POOL_DEAD`, and, as every call that changes the pool, `ERR_REENTRANT` from
   * inside its source.
   */
  alloc(size: number): number {
    const pointer = this.special === 0 ? this.arena.alloc(size) : this.allocSpecial(size);
    return pointer === 0 ? this.allocFull(size) : pointer;
  }

  /** As {@link alloc}, but undefined when the pool is full; never grows it. @realtime */
  tryAlloc(size: number): number | undefined {
    const pointer = this.special === 0 ? this.arena.alloc(size) : this.allocSpecial(size);
    return pointer === 0 ? undefined : pointer;
  }

  /**
   * Gives a block back. Constant time. @realtime
   * Throws `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE`, `ERR_POOL_DEAD`, `ERR_CORRUPTED` (overrun).
   */
  free(pointer: number): void {
    if (this.special === 0) this.arena.free(pointer);
    else this.freeSpecial(pointer);
  }

  /**
   * Gives a Memory back: its `release()`; the block is free when that was the last reference. Throws `ERR_DOUBLE_RELEASE`,
   * `ERR_FOREIGN_RELEASE`, `ERR_POOL_DEAD`, `ERR_CORRUPTED` (overrun), `ERR_MAPPED`.
   */
  release(memory: Memory): void {
    if (!(memory instanceof Memory)) throw wrongType("memory", "a Memory of this pool", memory);
    if (memory.allocator !== this.allocator) throw foreignMemory(this.name, memory.toString(), "release");
    memory.release();
  }

  /** A block of `size` bytes, 1 or more, as a Memory. Throws as {@link alloc} and {@link Allocator.allocate}. */
  allocate(size: number, params?: AllocationParams): Memory {
    return this.allocator.allocate(wholeNumber("size", size, 1), params);
  }

  /**
   * Makes a block hold `size` bytes, and answers the Memory that it is now: the same one within its physical size, else a new
   * one, and the old is dead. It stays in place where it can (growing into free bytes behind it), and gives bytes back when no
   * more than a third of it is left in use. When it fails, the old block is as it was. Constant time but for copying.
   *
   * Throws `ERR_POOL_FULL`, `ERR_MAPPED`, `ERR_NOT_WRITABLE` (somebody else holds it too), `ERR_USE_AFTER_RELEASE`,
   * `ERR_FOREIGN_RELEASE`, `ERR_POOL_DEAD`, `ERR_OUT_OF_RANGE`.
   */
  reallocate(memory: Memory, size: number): Memory {
    this.own(memory, "reallocate");
    this.assertOpen("reallocate a memory of");
    return resizeMemory(this, memory, wholeNumber("size", size, 1));
  }

  /** As {@link reallocate}, for an integer: the pointer that the block has now. Throws as {@link alloc} and {@link free}. */
  realloc(pointer: number, size: number): number {
    this.assertOpen("reallocate a block of");
    if (typeof pointer !== "number") throw wrongType("pointer", "a number that alloc() gave", pointer);
    return resizePointer(this, pointer, wholeNumber("size", size, 1));
  }

  /** Bytes that a Memory of this pool was asked for. Throws `ERR_USE_AFTER_RELEASE`, `ERR_FOREIGN_RELEASE`, `ERR_POOL_DEAD`. */
  sizeOf(memory: Memory): number {
    this.own(memory, "measure");
    return leaseOf(memory).requested;
  }

  /** Bytes that a block can hold without moving. @realtime for a pointer. Throws as {@link sizeOf}. */
  physicalSizeOf(block: number | Memory): number {
    if (typeof block !== "number") {
      this.own(block, "measure");
      return block.maxSize;
    }
    if (this.special === 0) return this.arena.sizeOf(block);
    const { arena, base } = this.areaFor(block, "measure");
    const physical = arena.sizeOf(block - base);
    return this.debug?.sizeOf(block) ?? physical;
  }

  /** The bytes of a block: a new view (20 ns); keep it no longer than the block. Throws as {@link physicalSizeOf}. */
  bytes(pointer: number): Uint8Array {
    const size = this.physicalSizeOf(pointer);
    const { arena, base } = this.areaFor(pointer, "use");
    return arena.bytes.subarray(pointer - base, pointer - base + size);
  }

  /**
   * Ends the pool and gives its bytes back. With live blocks it throws `ERR_IN_USE`, naming them, and changes nothing;
   * with `force` they end with it: their Memories throw `ERR_POOL_DEAD` from now on.
   * A second call does nothing. Throws `ERR_UNSUPPORTED` for the default pool.
   */
  close(options?: { force?: boolean }): void {
    const force = flag("options.force", checkOptions("options", options, ["force"]).force, false);
    if ((this.special & Special.CALLING) === 0 && (this.special & Special.DEAD) !== 0) return;
    this.assertOpen("close");
    if (defaultPool === this) {
      throw new MillpondError("ERR_UNSUPPORTED", "the default realtime pool is never closed; others may be using it");
    }
    if (!force) {
      const holders = this.holders();
      if (holders.length > 0) throw liveBlocks(this.name, holders);
    }
    // By the counter, not by a walk: force must work on an arena that was overrun or transferred away too.
    const stale = this.areas.some(({ arena }) => arena.liveBlocks !== 0);
    this.special |= Special.DEAD | Special.CALLING;
    this.allocator.bury();
    this.debug?.clear();
    const failures: unknown[] = [];
    for (const area of this.areas.splice(0)) {
      try {
        closeArea(area, stale);
      } catch (error) {
        // What the source says of one area keeps none of the others from going back.
        failures.push(error);
      }
    }
    this.special &= ~Special.CALLING;
    if (failures.length === 1) throw failures[0];
    if (failures.length > 1)
      throw new AggregateError(failures, `areas of realtime pool "${this.name}" could not go back`);
  }

  /** The live blocks, in the order of their addresses. O(blocks). */
  holders(): RealtimeHolder[] {
    return listBlocks(this.areas, this.allocator);
  }

  /** Walks everything: areas, blocks, guards, Memories. Throws `ERR_CORRUPTED`, which names the block, or `ERR_POOL_DEAD`. O(blocks). */
  validate(): void {
    if ((this.special & Special.DEAD) !== 0) throw poolClosed(this.name, "validate");
    this.debug?.checkAll();
    validateAreas(this.name, this.areas, this.allocator);
  }

  /** A snapshot of the accounts. O(blocks). */
  stats(): RealtimePoolStats {
    const { name, failures } = this;
    return sumStats(this.areas, { name, failures, debugLevel: this.debug?.level ?? 0 });
  }

  /** @internal The debug level changes while the pool is in use; blocks that are out keep what they were given. */
  setDebug(level: number): void {
    if (level === 0) {
      this.debug = undefined;
      this.special &= ~Special.DEBUG;
      return;
    }
    this.special |= Special.DEBUG;
    if (this.debug === undefined) this.debug = new RealtimeDebug(this.name, level);
    else this.debug.level = level;
  }

  /** @internal */
  takeBlock(size: number, align: number): { pointer: number; bytes: Uint8Array } {
    this.assertOpen("allocate from");
    this.moment();
    let pointer = this.take(size, align);
    if (pointer === 0 && this.grow(size + align)) pointer = this.take(size, align);
    if (pointer === 0) throw this.full(size);
    const { arena, base } = areaOf(this.areas, pointer)!;
    const local = pointer - base;
    arena.tag(local, true);
    const usable = this.debug?.sizeOf(pointer) ?? arena.ownSizeOf(local);
    return { pointer, bytes: arena.bytes.subarray(local, local + usable) };
  }

  /** @internal */
  giveBlock(pointer: number): void {
    const { arena, base } = areaOf(this.areas, pointer)!;
    arena.tag(pointer - base, false);
    this.debug?.left(arena, pointer - base, pointer);
    arena.free(pointer - base);
  }

  /** @internal */
  checkBlock(pointer: number): void {
    this.debug?.check(pointer);
    this.moment();
  }

  /** @internal The error of a call from inside the source; undefined: the source is not being called. */
  refusal(verb: string): MillpondError | undefined {
    return (this.special & Special.CALLING) === 0 ? undefined : reentrantError(`realtime pool "${this.name}"`, verb);
  }

  /** @internal */
  deathOf(verb: string): MillpondError | undefined {
    return (this.special & Special.DEAD) === 0 ? undefined : poolClosed(this.name, verb);
  }

  /** @internal A block as an integer, from the first area that has one; 0: none has. */
  take(size: number, align = 8): number {
    const extra = this.debug?.extra ?? 0;
    // With a guard added, a size that is none would become one.
    if (extra > 0) wholeNumber("size", size, 1);
    for (const { arena, base } of this.areas) {
      let local = arena.allocAligned(size + extra, align);
      const guarded = local !== 0 && extra > 0;
      // The guard must not be what a full pool fails for.
      if (local === 0 && extra > 0) local = arena.allocAligned(size, align);
      if (local === 0) continue;
      this.debug?.entered(arena, local, base + local, size, guarded);
      return base + local;
    }
    return 0;
  }

  /** @internal The area of a pointer. Throws `ERR_POOL_DEAD`, `ERR_FOREIGN_RELEASE`. */
  areaFor(pointer: number, verb: string): Area {
    if ((this.special & Special.DEAD) !== 0) throw poolClosed(this.name, `${verb} a block of`);
    // What lies in no area is for the first one to refuse.
    return areaOf(this.areas, pointer) ?? this.areas[0]!;
  }

  /** @internal The error of a request that found no room. */
  full(size: number): MillpondError {
    this.failures++;
    const { available, largest, totalSize } = this.stats();
    return poolFull(this.name, size, available, largest, totalSize);
  }

  /** @internal Validates everything when debugging calls for it. */
  moment(): void {
    if (this.debug?.isMoment(this.arena.liveBlocks) === true) this.validate();
  }

  private own(memory: Memory, verb: string): void {
    if (!(memory instanceof Memory)) throw wrongType("block", "a Memory or a pointer of this pool", memory);
    if (memory.allocator !== this.allocator) throw foreignMemory(this.name, memory.toString(), verb);
    if ((this.special & Special.DEAD) !== 0) throw poolClosed(this.name, `${verb} a memory of`);
    if (memory.parent !== null) {
      throw badValue("memory", `a block of its own, not a part of ${memory.parent}; pass that`, memory);
    }
    if (memory.refCount > 0) return;
    throw new MillpondError(
      "ERR_USE_AFTER_RELEASE",
      `cannot ${verb} ${memory}: it was freed, or reallocated into another one; use what reallocate() gave`,
    );
  }

  /** Throws `ERR_POOL_DEAD`, `ERR_REENTRANT`. */
  private assertOpen(verb: string): void {
    if ((this.special & (Special.DEAD | Special.CALLING)) === 0) return;
    throw this.refusal(verb) ?? this.deathOf(verb)!;
  }

  private allocSpecial(size: number): number {
    this.assertOpen("allocate from");
    // Before anything is taken: a validation that fails must not cost a block.
    this.moment();
    return this.take(size);
  }

  private allocFull(size: number): number {
    if (!this.grow(size)) throw this.full(size);
    const pointer = this.allocSpecial(size);
    if (pointer === 0) throw this.full(size);
    return pointer;
  }

  private freeSpecial(block: number): void {
    if (typeof block !== "number") throw wrongType("pointer", "a number that alloc() gave", block);
    this.assertOpen("free a block of");
    const { arena, base } = this.areaFor(block, "free");
    const local = block - base;
    if (this.debug !== undefined && arena.isLive(local) && !arena.isTagged(local)) {
      this.debug.check(block);
      this.moment();
      this.debug.left(arena, local, block);
    }
    arena.free(local);
  }

  /** Another area, where that is allowed and would help; a source that has none left is as good as a full pool. */
  private grow(size: number): boolean {
    const { maxBytes, growBy } = this.options;
    let total = 0;
    for (const area of this.areas) total += area.size;
    const more = Math.min(Math.max(growBy, size), maxBytes - total);
    if (more < size || more < 1) return false;
    const last = this.areas.at(-1)!;
    this.special |= Special.CALLING;
    try {
      this.areas.push(makeArea({ ...this.options, totalSize: more }, more, last.base + last.memory.region.size));
    } catch (error) {
      // A source that calls back is a mistake in the program; any other refusal is a full pool.
      if (error instanceof MillpondError && !isMillpondError(error, "ERR_REENTRANT")) return false;
      throw error;
    } finally {
      this.special &= ~Special.CALLING;
    }
    this.special |= Special.GROWN;
    return true;
  }
}
disposeByForce(RealtimePool);
