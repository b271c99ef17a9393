/**
 * The allocator of a PagePool: whole pages, the last freed first; allocating and releasing also read the clock and free
 * what has aged out. It outlives its pool.
 *
 * | state     | allocate()          | a released block   | the next state                                    |
 * | --------- | ------------------- | ------------------ | ------------------------------------------------- |
 * | recycling | idle or fresh pages | is kept, and ages  | direct by invalidate(), retired, or dead by close |
 * | direct    | fresh pages         | goes to the source | retired, or dead; Core Media's invalidated pool   |
 * | retired   | `ERR_POOL_DEAD`     | goes to the source | dead, with the last lease                         |
 * | dead      | `ERR_POOL_DEAD`     | goes to the source | none                                              |
 *
 * A dead pool still has blocks out when close({ force: true }) left them to a buffer; each goes to the source as one
 * whose lease was ended by force. What `zero` and `revoke` demand is kept with the bytes ({@link Wipe}), so that copies
 * of them have it too.
 *
 * The fast paths are in {@link PageAllocator.allocate} and {@link PageAllocator.onRelease}; `updateFastPath` closes
 * them while anything asks for more: a trace, a curve, zeroing, revoking, a waiter, a call of the source that is under
 * way.
 *
 * The clock. One reading costs as much as a whole allocation, so while calls come fast only one in 16 reads it. Two
 * things keep the age exact all the same: readings 5 ms apart or more make every call read, and while calls come fast a
 * background timer reads after 5 ms, so that the first call after a pause never trusts an old reading. What is left:
 * when the event loop is blocked in the middle of a run of fast calls, up to 15 calls take the time before the halt for
 * the time after it.
 */

import { Allocator, AllocatorFlags, type AllocatorStats } from "../../memory/allocator.ts";
import { type MapMode, Memory } from "../../memory/memory.ts";
import { type AllocationParams, DEFAULT_ALIGN, type ResolvedParams } from "../../memory/params.ts";
import { Region, Wipe, wipeRegion, zeroBytes } from "../../memory/region.ts";
import { type PoolRegistration, tellDiscarded } from "../../observe/registry.ts";
import { CoarseClock, systemClock, type TimerHandle } from "../../util/clock.ts";
import { type MillpondError, reentrantError, throwLater } from "../../util/errors.ts";
import { callSite, type Site } from "../../util/stack.ts";
import {
  closedError,
  detachedError,
  fullError,
  type PoolWords,
  poolText,
  takenBackError,
} from "../common/lease-errors.ts";
import { PageAge } from "./decay.ts";
import { holderOf, type PageConfig, type PageHolder, pageHolders, pageWords } from "./options.ts";
import { hashPages, isLost, type PageBlock, PageCache, revokeBlock } from "./page-cache.ts";

/** Calls between two readings of the clock while they come fast: a sixteenth of a reading is 2 to 3 ns a call. */
const STRIDE = 16;

/** 5 ms: how long a reading is trusted while calls come fast; half of the 10 ms that an age may be off. */
const TRUST = 5;

/** The states of a pool; see the module text. */
type PageState = "recycling" | "direct" | "retired" | "dead";

/** What the pool wants to hear. */
interface PageListener {
  /** A block was released, or went to the source: a waiter may be served. */
  onAvailable(): void;
}

/** Made by PagePool only; O(1) where nothing else is said. */
export class PageAllocator extends Allocator {
  /** @internal */
  readonly cache: PageCache;
  /** @internal */
  readonly age: PageAge;
  /** @internal */
  readonly config: PageConfig;
  /** @internal The pool, once it is registered. */
  registration: PoolRegistration | undefined = undefined;
  /** @internal Set while the pool wants to hear of every return. */
  declare listener: PageListener | null;
  /** @internal Whether there are waiters: no other call may take pages before them. */
  declare hasWaiters: boolean;
  /** @internal Allocations that took fresh pages. */
  misses = 0;
  /** @internal Allocations of 0 bytes. */
  empty = 0;
  /** @internal */
  detached = 0;
  #state: PageState = "recycling";
  /** Where the allocation that is under way was asked for, when that is known. */
  nextSite: Site | undefined = undefined;
  /** Whether the fast path of allocate() is open. */
  #canTakeFast = false;
  /** Whether the fast path of a release is open. */
  #canKeepFast = false;
  /** What close({ force: true }) ended; null: nothing. */
  #takenBack: WeakSet<Memory> | null = null;
  /** Counts the calls; the order in which blocks were freed. */
  #ticks = 0;
  #time: number = Number.NEGATIVE_INFINITY;
  #nextSweep: number = Number.POSITIVE_INFINITY;
  readonly #pageShift: number;
  readonly #coarse: CoarseClock;
  readonly #words: PoolWords;
  readonly #foreignClock: boolean;
  #skew = 0;
  #timer: TimerHandle | undefined;
  #timerDue = Number.POSITIVE_INFINITY;

  /** @internal */
  constructor(config: PageConfig) {
    super(config.name, {
      memoryType: config.source.memoryType,
      flags: config.source.flags & AllocatorFlags.NO_COPY,
    });
    this.config = config;
    this.#words = pageWords(config);
    this.#foreignClock = config.clock !== systemClock;
    this.cache = new PageCache(config, () => this.updateFastPath());
    this.age = new PageAge(this.cache, config);
    this.listener = null;
    this.hasWaiters = false;
    this.#pageShift = Math.log2(config.pageSize);
    // Without a timer nothing tells of a pause, so every call reads.
    this.#coarse = new CoarseClock(config.clock, config.timer ? STRIDE : 1);
    this.updateFastPath();
  }

  /** @internal Its blocks are claimed where they are made. */
  override get givesOnce(): boolean {
    return true;
  }

  /** True when every block is zero at hand-out. */
  override get zeroInitialized(): boolean {
    const { zero } = this.config;
    return zero === "acquire" || zero === "release";
  }

  /** Counters since the allocator was made; the fast path leaves the leased bytes to be counted here. O(blocks). */
  override stats(): AllocatorStats {
    return { ...super.stats(), liveBytes: this.cache.bytes - this.cache.idleBytes() };
  }

  /** @internal */
  updateFastPath(): void {
    const { zero, trace, ageOut, revoke } = this.config;
    const isWatched = (this.registration?.observer ?? null) !== null;
    const plain = this.#state === "recycling" && !trace && !isWatched && !this.age.isSmooth && this.cache.calling === 0;
    this.#canTakeFast = plain && zero !== "acquire" && !this.hasWaiters;
    this.#canKeepFast =
      plain && zero !== "release" && !revoke && ageOut > 0 && !this.age.holdsNothing && this.listener === null;
  }

  /**
   * As {@link Allocator.allocate}, in whole pages: the block that was freed last, or fresh pages. Throws
   * `ERR_POOL_FULL` beyond the bounds, `ERR_POOL_DEAD`, and what the source throws. @realtime when a block is idle, but
   * for the memory object.
   */
  override allocate(size: number, params?: AllocationParams): Memory {
    if (params === undefined && this.#canTakeFast && typeof size === "number" && (size | 0) === size && size > 0) {
      if (++this.#ticks >= this.#coarse.due) this.tick();
      const pages = ((size - 1) >>> this.#pageShift) + 1;
      const cls = this.cache.table[hashPages(pages)];
      if (cls !== undefined && cls.key === pages) {
        const block = cls.top;
        if (block !== null) {
          const { region } = block;
          if (region.bytes.length === region.size) {
            cls.top = block.below;
            block.below = null;
            this.cache.idle--;
            const memory = new Memory(this, region, null, DEFAULT_ALIGN, 0, size, 0);
            block.lease = memory;
            block.stamp = this.#time;
            this.allocationCount++;
            this.liveMemoryCount++;
            return memory;
          }
        }
      }
    }
    return this.allocateSlow(size, params);
  }

  /** @internal As {@link allocate}, for a caller that is known already: who waited, or called the pool's own method. */
  allocateAt(site: Site | undefined, size: number, params?: AllocationParams): Memory {
    this.nextSite = site;
    try {
      return this.allocate(size, params);
    } finally {
      this.nextSite = undefined;
    }
  }

  /** @internal */
  allocateSlow(size: number, params?: AllocationParams): Memory {
    const memory = super.allocate(size, params);
    const block = memory.region.handle as PageBlock | undefined;
    if (block === undefined) return memory;
    block.lease = memory;
    this.registration?.acquired(block.memory.id, memory.id, undefined, block.site);
    return memory;
  }

  /** The pages of one allocation. */
  protected override allocateRegion(size: number, params: ResolvedParams): Region {
    this.assertOpen("allocate from");
    if (this.#state === "retired" || this.#state === "dead") throw closedError(this.#words, "allocate from");
    if (size === 0) {
      this.empty++;
      return new Region(new Uint8Array(0));
    }
    this.#ticks++;
    this.tick();
    const cls = this.cache.classFor(size, params.align);
    if (this.hasWaiters) throw this.#fullError(cls.bytes);
    let block = this.#state === "recycling" ? this.cache.take(cls) : null;
    if (block !== null) {
      this.age.taken(block);
      if (this.config.zero === "acquire") zeroBytes(block.region.bytes);
    } else {
      block = this.cache.make(cls);
      if (block === null) throw this.#fullError(cls.bytes);
      this.misses++;
    }
    block.stamp = this.#time;
    if (this.config.trace) block.site = this.nextSite ?? callSite(PageAllocator.prototype.allocate);
    return block.region;
  }

  #fullError(bytes: number): MillpondError {
    const { maxBytes, max } = this.config;
    const bounds = `maxBytes ${maxBytes} and max ${max}`;
    const remedy = "Release some, wait with pool.acquire(), or raise the bounds";
    return fullError(this.#words, `a block of ${bytes} bytes`, bounds, pageHolders(this.holders()), remedy, { bytes });
  }

  /** True when an allocation would be served: by an idle block, or within `maxBlocks` and the bounds; nobody waits. */
  canServe(size: number, align: number, maxBlocks: number): boolean {
    if (this.hasWaiters) return false;
    const cls = this.cache.classFor(size, align);
    if (this.#state === "recycling" && cls.top !== null) return true;
    return this.cache.hasRoom(cls.bytes) && this.cache.count < maxBlocks;
  }

  /** As {@link Allocator.shareMemory}, and remembers the child, which a forced close ends with its root. */
  override shareMemory(memory: Memory, offset: number, size: number): Memory {
    const child = super.shareMemory(memory, offset, size);
    const block = memory.region.handle as PageBlock | undefined;
    if (block !== undefined) {
      block.children ??= new Set();
      block.children.add(child);
    }
    return child;
  }

  /** @internal */
  override releaseRefusal(): MillpondError | undefined {
    return this.cache.calling === 0 ? undefined : reentrantError(poolText(this.#words), "release a block into");
  }

  /** @internal Throws `ERR_REENTRANT` from inside the source or the clock. */
  assertOpen(verb: string): void {
    if (this.cache.calling > 0) throw reentrantError(poolText(this.#words), verb);
  }

  /** @internal A memory was released: its block is kept, or goes to the source. */
  override onRelease(memory: Memory): void {
    const { region } = memory;
    const block = region.handle as PageBlock | undefined;
    if (!this.#canKeepFast || block === undefined || memory.parent !== null || region.bytes.length !== region.size) {
      const refusal = this.releaseRefusal();
      if (refusal !== undefined) {
        memory.references = 1;
        throw refusal;
      }
      if (memory.parent !== null) block?.children?.delete(memory);
      super.onRelease(memory);
      return;
    }
    if (++this.#ticks >= this.#coarse.due) this.tick();
    block.lease = null;
    block.stamp = this.#time;
    block.order = this.#ticks;
    block.cls.push(block);
    this.cache.idle++;
    this.liveMemoryCount--;
    if (this.#nextSweep === Number.POSITIVE_INFINITY) this.sweep();
  }

  /** @internal A BufferPool gives the next lease another Memory over the same pages. */
  override onHandleReplaced(fresh: Memory): void {
    const block = fresh.region.handle as PageBlock | undefined;
    if (block !== undefined) block.lease = fresh;
  }

  /**
   * Keeps the pages of a memory that was released, or gives them to the source. Throws `ERR_DETACHED` when they come
   * without their bytes.
   */
  protected override freeRegion(region: Region): void {
    const block = region.handle as PageBlock | undefined;
    if (block === undefined) return;
    block.lease = null;
    block.site = undefined;
    this.registration?.released(block.memory.id);
    const lost = isLost(block);
    if (lost) {
      this.detached++;
      if (this.registration !== undefined) tellDiscarded(this.registration, block.memory.id, "detached");
    }
    // The release has wiped the bytes, and taken the demand off.
    region.wipe = this.config.wipe;
    if (this.#state === "dead" && !lost) {
      // close({ force: true }) left this lease to a buffer: whose views there are nobody knows.
      revokeBlock(block);
      this.#dropForced(block);
    } else if (lost || this.#state !== "recycling" || this.age.holdsNothing) this.cache.drop(block);
    else this.#keep(block);
    this.#endIfEmpty();
    this.listener?.onAvailable();
    if (lost)
      throw detachedError(this.#words, `a block of ${region.size} bytes of ${poolText(this.#words)}`, {
        bytes: region.size,
      });
  }

  /**
   * @internal The pages leave the pool for good. Whether the source may have them is for the source to say: it may be
   * one whose bytes outlive their views.
   */
  override withhold(memory: Memory): void {
    const block = memory.region.handle as PageBlock;
    this.liveMemoryCount--;
    block.lease = null;
    block.site = undefined;
    this.registration?.released(block.memory.id);
    this.#dropForced(block);
    this.#endIfEmpty();
    this.listener?.onAvailable();
  }

  #endIfEmpty(): void {
    if (this.#state !== "retired" || this.cache.count > 0) return;
    this.#state = "dead";
    this.registration?.end();
  }

  /** Gives a block whose lease was ended by force to the source, which judges the views that may be left. */
  #dropForced(block: PageBlock): void {
    if ((block.region.wipe & Wipe.IN_USE) !== 0) block.memory.markInUse();
    block.memory.endByForce();
    this.cache.drop(block);
  }

  #keep(block: PageBlock): void {
    this.#ticks++;
    this.tick();
    this.age.freed(block, this.#time);
    block.order = this.#ticks;
    block.cls.push(block);
    this.cache.idle++;
    if (this.#nextSweep === Number.POSITIVE_INFINITY || this.config.ageOut === 0) this.sweep();
  }

  /** A clock of the application's may call back. */
  #read(wake: boolean): number {
    if (!this.#foreignClock) return wake ? this.#coarse.wake(this.#ticks) : this.#coarse.read(this.#ticks);
    this.cache.enterCall();
    try {
      return wake ? this.#coarse.wake(this.#ticks) : this.#coarse.read(this.#ticks);
    } finally {
      this.cache.leaveCall();
    }
  }

  /** @internal Reads the clock, and drops what is due. */
  tick(): void {
    this.#setTime(this.#read(false));
    if (this.#time >= this.#nextSweep) this.sweep();
    else if (this.#coarse.stride > 1) this.#arm();
  }

  /** @internal Goes on to a time that was read elsewhere, or now. */
  maintain(now: number | undefined): void {
    if (now !== undefined) this.#coarse.now = now;
    this.#setTime(now ?? this.#read(true));
    this.sweep();
  }

  /** Our time never goes back: what a clock that was set back loses is added for good. */
  #setTime(now: number): void {
    if (now + this.#skew < this.#time) this.#skew = this.#time - now;
    this.#time = now + this.#skew;
  }

  /** @internal Drops what is due, and notes when to look again. */
  sweep(): void {
    const before = this.cache.count;
    this.#nextSweep = this.age.sweep(this.#time);
    this.#arm();
    if (this.cache.count < before) this.listener?.onAvailable();
  }

  /** Starts the timer for the next sweep, or sooner while calls come too fast to read the clock each time. */
  #arm(): void {
    const { clock, timer, ageOut } = this.config;
    if (!timer || ageOut === Number.POSITIVE_INFINITY) return;
    const sweep = this.cache.idle === 0 ? Number.POSITIVE_INFINITY : this.#nextSweep;
    // Also while nothing is idle: the next block to be released must not take a reading from before a pause.
    const wanted = this.#coarse.stride > 1 ? Math.min(sweep, this.#time + TRUST) : sweep;
    if (wanted === Number.POSITIVE_INFINITY || this.#timerDue <= wanted) return;
    this.cache.enterCall();
    try {
      if (this.#timer !== undefined) clock.clearTimer(this.#timer);
      this.#timerDue = wanted;
      this.#timer = clock.setTimer(() => this.#wake(), Math.max(0, wanted - this.#time), true);
    } catch (error) {
      // The block that this timer is for is idle or leased already; the next call tries again.
      this.#timerDue = Number.POSITIVE_INFINITY;
      throwLater(error);
    } finally {
      this.cache.leaveCall();
    }
  }

  #wake(): void {
    this.#timer = undefined;
    this.#timerDue = Number.POSITIVE_INFINITY;
    this.#setTime(this.#read(true));
    if (this.#time >= this.#nextSweep) this.sweep();
    else this.#arm();
  }

  /** @internal Moves to another state; idle blocks go to the source. */
  enter(state: PageState): void {
    this.#state = state === "retired" && this.cache.count === this.cache.idle ? "dead" : state;
    this.cache.trim();
    this.stopTimer();
    this.updateFastPath();
    if (this.#state === "dead") this.registration?.end();
  }

  /** @internal */
  get state(): PageState {
    return this.#state;
  }

  /** @internal No block is idle, so there is nothing to sweep. */
  stopTimer(): void {
    const timer = this.#timer;
    this.#timer = undefined;
    this.#timerDue = Number.POSITIVE_INFINITY;
    this.#nextSweep = Number.POSITIVE_INFINITY;
    if (timer === undefined) return;
    this.cache.enterCall();
    try {
      this.config.clock.clearTimer(timer);
    } catch (error) {
      throwLater(error);
    } finally {
      this.cache.leaveCall();
    }
  }

  /**
   * @internal Takes back every lease, with its sub-memories, mapped and locked ones too; only what a buffer holds stays
   * with the buffer.
   */
  takeBackLeases(): void {
    for (const block of this.cache.blocks.filter((candidate) => candidate.lease !== null)) {
      if (!isInBuffer(block)) this.#takeBack(block);
    }
  }

  #takeBack(block: PageBlock): void {
    const leases = [block.lease!, ...(block.children ?? [])];
    this.#takenBack ??= new WeakSet();
    for (const memory of leases) {
      this.#takenBack.add(memory);
      // The access word stays: unmap() and unlock() of a holder that cleans up find their locks.
      memory.references = 0;
      memory.ownerCount = 0;
      memory.view = null;
      memory.parentBuffer = null;
    }
    this.liveMemoryCount -= leases.length;
    block.lease = null;
    block.children = null;
    block.site = undefined;
    if (!block.region.isPlain && leases.some(isMapped)) {
      this.#freeWhenUnmapped(block, leases.filter(isMapped));
      return;
    }
    if (block.region.isPlain && !isLost(block)) {
      // The demand of this pool, and of pools whose bytes were copied here.
      wipeRegion(block.region);
      revokeBlock(block);
    }
    this.#dropForced(block);
  }

  /** Opaque bytes are mapped by the source, which has to end its mappings before it gets them back. */
  #freeWhenUnmapped(block: PageBlock, mapped: readonly Memory[]): void {
    const onExclusive = (): void => {
      if (!mapped.some(isMapped)) this.cache.giveBack(block);
    };
    for (const memory of mapped) memory.parentBuffer = { awaitingMemory: true, onExclusive, onShared() {} };
    this.cache.remove(block);
  }

  /** @internal Who holds a lease, longest first. O(blocks). */
  holders(): PageHolder[] {
    // Not the time of the newest call: a pool that nobody calls has leases that get older.
    const now = Math.max(this.#time, this.#coarse.look() + this.#skew);
    return this.cache.blocks
      .filter((block) => block.lease !== null)
      .map((block) => holderOf(block, block.lease!, now))
      .sort((a, b) => b.age - a.age);
  }

  /** @internal */
  override deadMemoryError(memory: Memory, verb: string): MillpondError | undefined {
    return this.#takenBack?.has(memory) === true
      ? takenBackError(this.#words, String(memory), verb, { memory: memory.id })
      : undefined;
  }

  /** As the source does it. */
  protected override mapRegion(region: Region, mode: MapMode): Uint8Array | undefined {
    const pages = (region.handle as PageBlock).memory;
    return part(pages.allocator.openRegion(pages.region, mode), pages, region);
  }

  /** As the source does it. */
  protected override async mapRegionAsync(
    region: Region,
    mode: MapMode,
    signal?: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    const pages = (region.handle as PageBlock).memory;
    return part(await pages.allocator.openRegionAsync(pages.region, mode, signal), pages, region);
  }

  /** As the source does it. */
  protected override unmapRegion(region: Region, mode: MapMode): void {
    const pages = (region.handle as PageBlock).memory;
    pages.allocator.closeRegion(pages.region, mode);
  }
}

function isMapped(memory: Memory): boolean {
  return memory.accessWord !== 0;
}

/** True when a buffer holds the lease of a block, or a sub-memory of it. */
function isInBuffer({ lease, children }: PageBlock): boolean {
  let owners = lease!.ownerCount;
  for (const child of children ?? []) {
    if (child.ownerCount > 0) return true;
    owners--;
  }
  return owners > 0;
}

function part(whole: Uint8Array, pages: Memory, region: Region): Uint8Array {
  return whole.subarray(pages.offset, pages.offset + region.size);
}
