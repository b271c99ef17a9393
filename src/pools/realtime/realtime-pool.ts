/**
 * RealtimePool: blocks of any size out of one bounded region that was allocated, touched and (where the source can)
 * locked into RAM beforehand; every call takes constant time. After BeOS's rtm_* pools, as their contract has them.
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
 *
 * Life-cycle of a pool:
 *
 * 1. `RealtimePool.create()` takes an area of bytes from the source, touches its pages, locks them as far as that can
 *    be had, and formats a {@link TlsfArena} in it. Everything that may take time happens here; the pool is usable at
 *    once.
 * 2. `alloc()` and `free()` go straight to the arena (fast path). Where the pool is debugged, has grown or is closed,
 *    and while its source is being called, they take the slow path, which looks at each of these.
 * 3. A full pool throws `ERR_POOL_FULL`. With `maxBytes` it first takes another area from the source; `tryAlloc()`
 *    never does.
 * 4. `close()` throws `ERR_IN_USE` while a block is live and changes nothing (the blocks of an area whose bytes are
 *    gone are not: they went with it). Otherwise the areas go back to the source. `close({ force: true })` puts live
 *    Memories out of reach first: they throw `ERR_POOL_DEAD`, as every later call does. A second `close()` does
 *    nothing. The default pool is never closed.
 *
 * Invariants, which `validate()` checks: those of each arena; each Memory has a tagged block of its own, and each
 * tagged block a Memory; no guard was written to. A call that fails leaves the pool as it was.
 *
 * Complexity: `alloc`, `tryAlloc`, `free` and `physicalSizeOf` of a pointer are O(1), as are `allocate` and `release`
 * but for the object; `realloc` and `reallocate` are O(1) but for a copy. In a pool that has grown all of them are
 * O(areas). `holders`, `stats` and `validate` are O(blocks).
 */

import type { TlsfArena } from "../../arena/tlsf/tlsf-arena.ts";
import type { Allocator } from "../../memory/allocator.ts";
import { Memory } from "../../memory/memory.ts";
import type { AllocationParams } from "../../memory/params.ts";
import { Wipe, zeroBytes } from "../../memory/region.ts";
import { type PoolCounts, type PoolHolder, UNCOUNTED } from "../../observe/pool-info.ts";
import { type PoolRegistration, registerPool } from "../../observe/registry.ts";
import { debugLevelOf, watchDebug } from "../../util/debug.ts";
import { disposeByForce } from "../../util/dispose.ts";
import { isMillpondError, MillpondError, reentrantError, throwAll } from "../../util/errors.ts";
import { badValue, checkOptions, flag, wholeNumber, wrongType } from "../../util/validate.ts";
import { type BlockSource, leaseOf, RealtimeAllocator } from "./allocator.ts";
import { type Area, areaOf, closeArea, isLost, lostError, makeArea } from "./area.ts";
import { RealtimeDebug } from "./debug.ts";
import * as errors from "./errors.ts";
import {
  type RealtimeHolder,
  type RealtimePoolOptions,
  type RealtimePoolStats,
  type ResolvedRealtimeOptions,
  resolveRealtime,
} from "./options.ts";

export type { LockPolicy, RealtimeHolder, RealtimePoolOptions, RealtimePoolStats } from "./options.ts";

/** What the default pool holds unless told otherwise: 1 MiB, what the reference reports for its own. */
const DEFAULT_TOTAL = 1_048_576;

/** Why calls take the slow path; 0: they take the fast one. CALLING: the source is being called, and may call back. */
const Slow = { DEBUG: 1, CLOSED: 2, GROWN: 4, CALLING: 8, WATCHED: 16 } as const;

let defaultPool: RealtimePool | undefined;
let makingDefault = false;

/** True when a block that is to shrink keeps its bytes: the reference's rule, more than a third is still in use. */
function staysAsItIs(physical: number, size: number): boolean {
  return size <= physical && size > Math.floor(physical / 3);
}

/**
 * Blocks of any size out of bytes that were allocated, touched and (where that can be had) locked beforehand. Every
 * call takes constant time, so it is fit for an AudioWorklet. The integer calls (`alloc`, `free`) make no garbage; the
 * same bytes as a {@link Memory} (`allocate`, `release`) are guarded against use after free. A full pool throws
 * `ERR_POOL_FULL`; with `maxBytes` it takes another area first. {@link RealtimePool.close} is refused while blocks are
 * live. One thread uses a pool.
 *
 * ```ts
 * const pool = RealtimePool.create({ totalSize: 1 << 20, name: "mixer" });
 * const pointer = pool.alloc(512);                      // bytes; tryAlloc() is undefined when the pool is full
 * const samples = new Float32Array(pool.buffer, pool.byteOffset + pointer, 128);
 * pool.free(pointer);
 * ```
 */
export class RealtimePool {
  /** For messages, reports and debug patterns. */
  declare readonly name: string;
  /** The pool as an allocator: its Memories can back buffers and other pools. */
  declare readonly allocator: Allocator;
  /** The first area's; its pointers are the pool's. */
  readonly #arena: TlsfArena;
  /** Bits of {@link Slow}. */
  #slow = 0;
  readonly #areas: Area[];
  readonly #allocator: RealtimeAllocator;
  readonly #options: ResolvedRealtimeOptions;
  /** While the level is above 0. */
  #debug: RealtimeDebug | undefined;
  /** Requests that failed because the pool was full. */
  #failures = 0;
  /** What debug patterns reach, weakly: it has to live as long as the pool. */
  readonly #registration: PoolRegistration;
  readonly #debugTarget = { name: "", setDebug: (level: number): void => this.#setDebug(level) };
  /** `close({ force: true })`, where the platform has `Symbol.dispose`. */
  declare [Symbol.dispose]: () => void;

  private constructor(given: Partial<RealtimePoolOptions>, defaultSize?: number) {
    const options = resolveRealtime(given, defaultSize);
    const area = makeArea(options, options.totalSize, 0);
    this.name = options.name;
    this.#options = options;
    this.#areas = [area];
    this.#arena = area.arena;
    const blocks: BlockSource = {
      name: options.name,
      take: (size, align) => this.#takeBlock(size, align),
      give: (pointer) => this.#giveBlock(pointer),
      check: (pointer) => {
        // A block whose area is lost has nothing to be checked: its lease must end all the same.
        if (isLost(areaOf(this.#areas, pointer)!)) return;
        this.#debug?.check(pointer);
        this.#validateAtTimes();
      },
      reentrant: (verb) => this.#reentrant(verb),
      closed: (verb) => this.#closedError(verb),
    };
    this.#allocator = new RealtimeAllocator(blocks);
    this.allocator = this.#allocator;
    this.#debugTarget.name = options.name;
    this.#setDebug(debugLevelOf(options.name));
    watchDebug(this.#debugTarget);
    this.#registration = registerPool("RealtimePool", options.name, {
      counts: () => this.#counts(),
      stats: () => this.stats(),
      holders: (most) => this.#poolHolders(most),
      watch: () => this.#watch(),
    });
    this.#registration.begin();
  }

  /**
   * Makes a pool; everything that may take time happens here.
   *
   * Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE` (also a name over 32 bytes), what the source throws, and, with lock
   * "required", `ERR_UNSUPPORTED` or `ERR_ALLOCATION_FAILED` when the lock cannot be had.
   */
  static create(options: RealtimePoolOptions): RealtimePool {
    return new RealtimePool(options);
  }

  /**
   * Makes the realm's default pool, once: then `ERR_ALREADY_EXISTS`. It is never closed. Else as {@link create};
   * `totalSize` is 1 MiB by default.
   */
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
      defaultPool = new RealtimePool(options, DEFAULT_TOTAL);
    } finally {
      makingDefault = false;
    }
    return defaultPool;
  }

  /** The realm's default pool; undefined until {@link createDefault}. */
  static get default(): RealtimePool | undefined {
    return defaultPool;
  }

  /** True after {@link close}. */
  get isClosed(): boolean {
    return (this.#slow & Slow.CLOSED) !== 0;
  }

  /** True when all of the pool is locked into RAM. */
  get locked(): boolean {
    return this.#areas.length > 0 && this.#areas.every(({ lock }) => lock.ok);
  }

  /** Why the pool is not {@link locked}: "unsupported: ...", "ENOMEM: ...", "disabled: ..."; undefined when it is. */
  get lockReason(): string | undefined {
    for (const { lock } of this.#areas) if (!lock.ok) return `${lock.errno}: ${lock.hint}`;
    return this.#areas.length > 0 ? undefined : "closed: the pool has no bytes any more";
  }

  /**
   * The buffer that the pool's first area lies in; block `pointer` begins at `byteOffset + pointer`. A grown pool has
   * others: {@link bytes}.
   */
  get buffer(): ArrayBufferLike {
    return this.#arena.buffer;
  }

  /** Where in {@link buffer} the pool begins, in bytes. */
  get byteOffset(): number {
    return this.#arena.byteOffset;
  }

  /**
   * A block of at least `size` bytes, aligned to 8, as an integer. Constant time. @realtime
   * Throws `ERR_POOL_FULL`, `ERR_OUT_OF_RANGE`, `ERR_POOL_DEAD`, and, as every call that changes the pool,
   * `ERR_REENTRANT` from inside its source.
   */
  alloc(size: number): number {
    const pointer = this.#slow === 0 ? this.#arena.alloc(size) : this.#allocSlow(size);
    return pointer === 0 ? this.#allocFull(size) : pointer;
  }

  /** As {@link alloc}, but undefined when the pool is full; never grows it. @realtime */
  tryAlloc(size: number): number | undefined {
    const pointer = this.#slow === 0 ? this.#arena.alloc(size) : this.#allocSlow(size);
    return pointer === 0 ? undefined : pointer;
  }

  /**
   * Gives a block back. Constant time. @realtime
   * Throws `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE`, `ERR_POOL_DEAD`, `ERR_CORRUPTED` (overrun).
   */
  free(pointer: number): void {
    if (this.#slow === 0) this.#arena.free(pointer);
    else this.#freeSlow(pointer);
  }

  /** A block of `size` bytes, 1 or more, as a Memory. Throws as {@link alloc} and {@link Allocator.allocate}. */
  allocate(size: number, params?: AllocationParams): Memory {
    return this.#allocator.allocate(wholeNumber("size", size, 1), params);
  }

  /**
   * Gives a Memory back: its `release()`; the block is free when that was the last reference. Throws
   * `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE`, `ERR_POOL_DEAD`, `ERR_CORRUPTED` (overrun), `ERR_MAPPED`.
   */
  release(memory: Memory): void {
    if (!(memory instanceof Memory)) throw wrongType("memory", "a Memory of this pool", memory);
    if (memory.allocator !== this.#allocator) throw errors.foreignError(this.name, memory.toString());
    memory.release();
  }

  /**
   * Makes a block hold `size` bytes, and answers the Memory that it is now: the same one within its physical size, else
   * a new one, and the old one is released. It stays in place where it can (growing into free bytes behind it), and
   * gives bytes back when no more than a third of it is left in use. When it fails, the old block is as it was.
   * Constant time but for copying.
   *
   * Throws `ERR_POOL_FULL`, `ERR_MAPPED`, `ERR_NOT_WRITABLE` (it has another holder too), `ERR_USE_AFTER_RELEASE`,
   * `ERR_FOREIGN_RELEASE`, `ERR_POOL_DEAD`, `ERR_OUT_OF_RANGE`.
   */
  reallocate(memory: Memory, size: number): Memory {
    this.#assertOwn(memory, "reallocate");
    this.#assertOpen("reallocate a memory of");
    return this.#resizeMemory(memory, wholeNumber("size", size, 1));
  }

  /**
   * As {@link reallocate}, for an integer: the pointer that the block has now. Throws as {@link alloc} and {@link
   * free}.
   */
  realloc(pointer: number, size: number): number {
    this.#assertOpen("reallocate a block of");
    if (typeof pointer !== "number") throw wrongType("pointer", "a number that alloc() gave", pointer);
    return this.#resizePointer(pointer, wholeNumber("size", size, 1));
  }

  /**
   * Bytes that a Memory of this pool was asked for. Throws `ERR_USE_AFTER_RELEASE`, `ERR_FOREIGN_RELEASE`,
   * `ERR_POOL_DEAD`.
   */
  sizeOf(memory: Memory): number {
    this.#assertOwn(memory, "measure");
    return leaseOf(memory).requested;
  }

  /** Bytes that a block can hold without moving. @realtime for a pointer. Throws as {@link sizeOf}. */
  physicalSizeOf(block: number | Memory): number {
    if (typeof block !== "number") {
      this.#assertOwn(block, "measure");
      return block.maxSize;
    }
    if (this.#slow === 0) return this.#arena.sizeOf(block);
    const { arena, base } = this.#areaFor(block, "measure");
    const physical = arena.sizeOf(block - base);
    return this.#debug?.sizeOf(block) ?? physical;
  }

  /** The bytes of a block: a new view (20 ns); keep it no longer than the block. Throws as {@link physicalSizeOf}. */
  bytes(pointer: number): Uint8Array {
    const size = this.physicalSizeOf(pointer);
    const { arena, base } = this.#areaFor(pointer, "use");
    return arena.bytes.subarray(pointer - base, pointer - base + size);
  }

  /**
   * Ends the pool and gives its bytes back. With live blocks it throws `ERR_IN_USE`, naming them, and changes nothing;
   * with `force` they end with it: their Memories throw `ERR_POOL_DEAD` from now on.
   * A second call does nothing. Throws `ERR_UNSUPPORTED` for the default pool.
   */
  close(options?: { force?: boolean }): void {
    const force = flag("options.force", checkOptions("options", options, ["force"]).force, false);
    if ((this.#slow & (Slow.CLOSED | Slow.CALLING)) === Slow.CLOSED) return;
    this.#assertOpen("close");
    if (defaultPool === this) {
      throw new MillpondError("ERR_UNSUPPORTED", "the default realtime pool is never closed; others may be using it");
    }
    if (!force) {
      const holders = this.holders();
      if (holders.length > 0) throw errors.inUseError(this.name, holders);
    }
    // By the counter, not by a walk: force must work on an arena that was overrun or transferred away too.
    const stale = this.#areas.some((area) => isLost(area) || area.arena.liveBlocks !== 0);
    this.#slow |= Slow.CLOSED | Slow.CALLING;
    this.#allocator.closeLeases();
    this.#debug?.clear();
    const failures: unknown[] = [];
    for (const area of this.#areas.splice(0)) {
      try {
        closeArea(area, stale);
      } catch (error) {
        // What the source says of one area keeps none of the others from going back.
        failures.push(error);
      }
    }
    this.#slow &= ~Slow.CALLING;
    this.#registration.end();
    throwAll(failures, `areas of ${errors.poolText(this.name)} could not go back`);
  }

  /**
   * The live blocks, in the order of their addresses; those of an area whose bytes are gone went with it. O(blocks).
   */
  holders(): RealtimeHolder[] {
    const memories = new Map<number, number | undefined>();
    for (const { pointer, memory } of this.#allocator.leases) memories.set(pointer, memory?.id);
    const found: RealtimeHolder[] = [];
    for (const { arena, base } of this.#areasLeft()) {
      for (const { pointer, size } of arena.holders()) {
        found.push({ pointer: base + pointer, size, memory: memories.get(base + pointer) });
      }
    }
    return found;
  }

  /**
   * Walks everything: areas, blocks, guards, Memories. Throws `ERR_CORRUPTED`, which names the block, `ERR_POOL_DEAD`
   * (also when the source was closed by force), or `ERR_DETACHED`. O(blocks).
   */
  validate(): void {
    const closed = this.#closedError("validate");
    if (closed !== undefined) throw closed;
    const lost = this.#areas.find(isLost);
    if (lost !== undefined) throw lostError(lost, this.name, "validate");
    this.#validateLeft();
  }

  /** A snapshot of the accounts; an area whose bytes are gone counts as empty. O(blocks). */
  stats(): RealtimePoolStats {
    const sum = { totalSize: 0, used: 0, available: 0, peak: 0, liveBlocks: 0, lockedBytes: 0, prefaultedBytes: 0 };
    let largest = 0;
    for (const { arena, size, lock, prefault } of this.#areasLeft()) {
      const stats = arena.stats();
      for (const key of ["used", "available", "peak", "liveBlocks"] as const) sum[key] += stats[key];
      largest = Math.max(largest, stats.largest);
      sum.totalSize += size;
      if (lock.ok) sum.lockedBytes += lock.bytes;
      if (prefault.ok) sum.prefaultedBytes += prefault.bytes;
    }
    const own = { name: this.name, failures: this.#failures, debugLevel: this.#debug?.level ?? 0 };
    return { ...own, ...sum, largest, areas: this.#areas.length };
  }

  /** The areas that have their bytes: what stats(), holders() and close() count. */
  #areasLeft(): Area[] {
    return this.#areas.filter((area) => !isLost(area));
  }

  /** {@link validate}, of what is left. */
  #validateLeft(): void {
    const areas = new Set(this.#areasLeft());
    let tagged = 0;
    this.#debug?.checkAll(new Set([...areas].map(({ arena }) => arena)));
    for (const { arena } of areas) {
      arena.validate();
      for (const block of arena.blocks()) if (block.tagged) tagged++;
    }
    let live = 0;
    for (const { pointer, memory, isWithheld } of this.#allocator.leases) {
      const area = areaOf(this.#areas, pointer);
      if (area !== undefined && !areas.has(area)) continue;
      const isLive = memory !== null && (memory.refCount > 0 || isWithheld);
      if (area?.arena.isTagged(pointer - area.base) !== true || !isLive) {
        throw errors.corruptedError(this.name, `${memory} has no block of its own`);
      }
      live++;
    }
    if (tagged === live) return;
    throw errors.corruptedError(this.name, `${tagged} blocks belong to Memories, and there are ${live} Memories`);
  }

  #watch(): void {
    if (this.#registration.observer === null) this.#slow &= ~Slow.WATCHED;
    else this.#slow |= Slow.WATCHED;
  }

  #counts(): PoolCounts {
    const { totalSize, liveBlocks, failures } = this.stats();
    const phase = this.isClosed ? "closed" : "active";
    const { maxBytes } = this.#options;
    const base = { phase, size: 0, count: liveBlocks, max: Infinity, bytes: totalSize, maxBytes } as const;
    return { ...UNCOUNTED, ...base, free: null, leased: liveBlocks, waiting: 0, starved: failures };
  }

  #poolHolders(most: number): PoolHolder[] {
    if (this.isClosed) return [];
    return this.holders()
      .slice(0, most)
      .map(({ pointer, size, memory }) => ({ slot: pointer, lease: memory ?? null, size, age: null }));
  }

  /** The debug level changes while the pool is in use; blocks that are out keep what they were given. */
  #setDebug(level: number): void {
    if (level === 0) {
      this.#debug = undefined;
      this.#slow &= ~Slow.DEBUG;
      return;
    }
    this.#slow |= Slow.DEBUG;
    if (this.#debug === undefined) this.#debug = new RealtimeDebug(this.name, level);
    else this.#debug.level = level;
  }

  /** A block for a Memory, set apart from the integer interface. */
  #takeBlock(size: number, align: number): { pointer: number; bytes: Uint8Array } {
    this.#assertOpen("allocate from");
    this.#validateAtTimes();
    let pointer = this.#take(size, align);
    if (pointer === 0 && this.#grow(size + align)) pointer = this.#take(size, align);
    if (pointer === 0) throw this.#full(size);
    const { arena, base } = areaOf(this.#areas, pointer)!;
    const local = pointer - base;
    arena.tag(local, true);
    const usable = this.#debug?.sizeOf(pointer) ?? arena.ownSizeOf(local);
    return { pointer, bytes: arena.bytes.subarray(local, local + usable) };
  }

  #giveBlock(pointer: number): void {
    const area = areaOf(this.#areas, pointer)!;
    if (isLost(area)) {
      // The lease is over; who released it by hand hears that the bytes were lost before.
      this.#debug?.forget(pointer);
      this.#registration.released(pointer);
      throw lostError(area, this.name, "release a memory into");
    }
    const { arena, base } = area;
    arena.tag(pointer - base, false);
    this.#debug?.onFree(arena, pointer - base, pointer);
    arena.free(pointer - base);
    this.#registration.released(pointer);
  }

  /** A block as an integer, from the first area that has one; 0: none has. */
  #take(size: number, align = 8): number {
    const extra = this.#debug?.extra ?? 0;
    // With a guard added, a wrong size could become a right one.
    if (extra > 0) wholeNumber("size", size, 1);
    for (const { arena, base } of this.#areas) {
      let local = arena.allocAligned(size + extra, align);
      const guarded = local !== 0 && extra > 0;
      // The guard must not be what a full pool fails for.
      if (local === 0 && extra > 0) local = arena.allocAligned(size, align);
      if (local === 0) continue;
      this.#debug?.onAlloc(arena, local, base + local, size, guarded);
      this.#registration.acquired(base + local, 0);
      return base + local;
    }
    return 0;
  }

  /** The slow path of {@link alloc}. */
  #allocSlow(size: number): number {
    this.#assertOpen("allocate from");
    // Before anything is taken: a validation that fails must not cost a block.
    this.#validateAtTimes();
    return this.#take(size);
  }

  /** The end of {@link alloc} where no area has room. */
  #allocFull(size: number): number {
    if (!this.#grow(size)) throw this.#full(size);
    const pointer = this.#allocSlow(size);
    if (pointer === 0) throw this.#full(size);
    return pointer;
  }

  /** The slow path of {@link free}. */
  #freeSlow(pointer: number): void {
    if (typeof pointer !== "number") throw wrongType("pointer", "a number that alloc() gave", pointer);
    this.#assertOpen("free a block of");
    const { arena, base } = this.#areaFor(pointer, "free");
    const local = pointer - base;
    if (this.#debug !== undefined && arena.isLive(local) && !arena.isTagged(local)) {
      this.#debug.check(pointer);
      this.#validateAtTimes();
      this.#debug.onFree(arena, local, pointer);
    }
    arena.free(local);
    this.#registration.released(pointer);
  }

  /** Another area, where that is allowed and would help; a source that has none left is as good as a full pool. */
  #grow(size: number): boolean {
    const { maxBytes, growBy } = this.#options;
    let total = 0;
    for (const area of this.#areas) total += area.size;
    const more = Math.min(Math.max(growBy, size), maxBytes - total);
    if (more < size || more < 1) return false;
    const last = this.#areas.at(-1)!;
    this.#slow |= Slow.CALLING;
    try {
      this.#areas.push(makeArea(this.#options, more, last.base + last.memory.region.size));
    } catch (error) {
      // A source that calls back is a mistake in the program; any other refusal is a full pool.
      if (error instanceof MillpondError && !isMillpondError(error, "ERR_REENTRANT")) return false;
      throw error;
    } finally {
      this.#slow &= ~Slow.CALLING;
    }
    this.#slow |= Slow.GROWN;
    return true;
  }

  /** {@link reallocate}, for a live Memory of the pool and a checked size. */
  #resizeMemory(memory: Memory, size: number): Memory {
    assertMovable(memory);
    const lease = leaseOf(memory);
    this.#debug?.check(lease.pointer);
    this.#validateAtTimes();
    // What the bytes in front of the valid part (a prefix) take is kept as it is.
    const front = memory.offset;
    if (staysAsItIs(memory.maxSize, front + size) && this.#debug?.sizeOf(lease.pointer) === undefined) {
      memory.setExtent(front, size);
      lease.requested = size;
      return memory;
    }
    // What a shorter block gives back is cleared before the arena writes its links there.
    const { region } = memory;
    if ((region.wipe & Wipe.ZERO) !== 0 && front + size < region.size) zeroBytes(region.bytes.subarray(front + size));
    const bytes = this.#resizeInPlace(lease.pointer, front + size);
    if (bytes !== undefined) return this.#allocator.replace(memory, bytes, size);
    const fresh = this.#allocator.allocate(size, {
      align: memory.align,
      flags: memory.flags,
      ...(front === 0 ? {} : { prefix: front }),
    });
    try {
      // The source may have been asked for more bytes, and may hold or map this very memory since.
      assertMovable(memory);
    } catch (error) {
      fresh.release();
      throw error;
    }
    fresh.region.bytes.set(memory.region.bytes.subarray(0, Math.min(front + memory.size, front + size)));
    fresh.region.wipe = memory.region.wipe;
    memory.release();
    return fresh;
  }

  /** {@link realloc}, for a checked size. */
  #resizePointer(pointer: number, size: number): number {
    const { arena, base } = this.#areaFor(pointer, "reallocate");
    const local = pointer - base;
    const physical = this.physicalSizeOf(pointer);
    if (arena.isTagged(local)) arena.free(local); // throws: the block belongs to a Memory
    this.#debug?.check(pointer);
    this.#validateAtTimes();
    const guarded = this.#debug?.sizeOf(pointer) !== undefined;
    if (!guarded && staysAsItIs(physical, size)) return pointer;
    if (this.#resizeInPlace(pointer, size) !== undefined) return pointer;
    const moved = this.alloc(size);
    this.bytes(moved).set(this.bytes(pointer).subarray(0, Math.min(physical, size)));
    this.free(pointer);
    return moved;
  }

  /** The bytes of a block that holds `size` bytes where it stands, or undefined. A guard moves along. */
  #resizeInPlace(pointer: number, size: number): Uint8Array | undefined {
    const { arena, base } = this.#areaFor(pointer, "reallocate");
    const local = pointer - base;
    const debug = this.#debug;
    const guarded = debug?.sizeOf(pointer);
    const before = guarded ?? arena.ownSizeOf(local);
    if (!arena.resize(local, size + (guarded === undefined ? 0 : (debug?.extra ?? 0)))) return undefined;
    if (guarded !== undefined) {
      if (size > before) debug?.onGrow(arena, local, before);
      debug?.guard(arena, local, pointer, size);
    }
    const usable = guarded === undefined ? arena.ownSizeOf(local) : size;
    return arena.bytes.subarray(local, local + usable);
  }

  /** The area of a pointer. Throws `ERR_POOL_DEAD`. A pointer of no area is for the first one to refuse. */
  #areaFor(pointer: number, verb: string): Area {
    const closed = this.#closedError(`${verb} a block of`);
    if (closed !== undefined) throw closed;
    return areaOf(this.#areas, pointer) ?? this.#areas[0]!;
  }

  /** The error of a request that found no room. */
  #full(size: number): MillpondError {
    this.#failures++;
    const { available, largest, totalSize } = this.stats();
    return errors.fullError(this.name, size, available, largest, totalSize);
  }

  /** Validates everything when debugging calls for it. */
  #validateAtTimes(): void {
    if (this.#debug === undefined) return;
    const live = isLost(this.#areas[0]!) ? 0 : this.#arena.liveBlocks;
    if (this.#debug.isValidationDue(live)) this.#validateLeft();
  }

  #assertOwn(memory: Memory, verb: string): void {
    if (!(memory instanceof Memory)) throw wrongType("block", "a Memory or a pointer of this pool", memory);
    if (memory.allocator !== this.#allocator) throw errors.foreignError(this.name, memory.toString());
    const closed = this.#closedError(`${verb} a memory of`);
    if (closed !== undefined) throw closed;
    if (memory.parent !== null) {
      throw badValue("memory", `a block of its own, not a part of ${memory.parent}; pass that`, memory);
    }
    if (memory.refCount > 0) return;
    throw errors.freedError(memory.toString(), verb);
  }

  /** Throws `ERR_POOL_DEAD`, `ERR_REENTRANT`. */
  #assertOpen(verb: string): void {
    if ((this.#slow & (Slow.CLOSED | Slow.CALLING)) === 0) return;
    throw this.#reentrant(verb) ?? this.#closedError(verb)!;
  }

  /** The error of a call from inside the source; undefined: the source is not being called. */
  #reentrant(verb: string): MillpondError | undefined {
    return (this.#slow & Slow.CALLING) === 0 ? undefined : reentrantError(errors.poolText(this.name), verb);
  }

  /** The error of a call on a closed pool; undefined: it is open. */
  #closedError(verb: string): MillpondError | undefined {
    return (this.#slow & Slow.CLOSED) === 0 ? undefined : errors.closedError(this.name, verb);
  }
}
disposeByForce(RealtimePool);

/** Throws while a memory cannot be given other bytes. */
function assertMovable(memory: Memory): void {
  if (memory.isMapped) {
    throw new MillpondError(
      "ERR_MAPPED",
      `${memory} is mapped; unmap() it before it is reallocated, its bytes may move`,
    );
  }
  if (memory.refCount === 1 && memory.owners === 0) return;
  throw new MillpondError(
    "ERR_NOT_WRITABLE",
    `${memory} is held elsewhere too (${memory.refCount} references, ${memory.owners} owners); only its only holder may reallocate it`,
  );
}
