/**
 * The allocator of a PagePool: whole pages, the last freed first, and a look at the time on the way. It outlives its pool:
 * invalidated, it goes on allocating and recycles no more (Core Media's rule).
 *
 * The clock. One reading costs as much as a whole allocation, so while calls come fast only one in 16 reads it. Two things keep the age
 * exact all the same: readings 5 ms apart or more make every call read, and while calls come fast a background timer reads after 5 ms, so
 * that the first call after a pause never trusts an old reading. What is left: when the event loop stands still in the middle of a
 * run of fast calls, up to 15 calls take the time before the halt for the time after it.
 */

import { Allocator, AllocatorFlags, type AllocatorStats } from "../../memory/allocator.ts";
import type { MapMode } from "../../memory/memory.ts";
import { Memory } from "../../memory/memory.ts";
import { type AllocationParams, DEFAULT_ALIGN, type ResolvedParams } from "../../memory/params.ts";
import { Region, zeroBytes } from "../../memory/region.ts";
import { CoarseClock, systemClock, type TimerHandle } from "../../util/clock.ts";
import type { MillpondError } from "../../util/errors.ts";
import { reentrantError, throwLater } from "../../util/errors.ts";
import { PageAge } from "./decay.ts";
import { pageHolder, pagesDeadError, pagesDetachedError, pagesFullError, pagesTakenError } from "./errors.ts";
import type { PageConfig, PageHolder } from "./options.ts";
import type { PageBlock } from "./page-block.ts";
import { hashPages, PageCache } from "./page-cache.ts";
import { isLost, revokeBlock } from "./page-source.ts";

/** Calls between two readings of the clock while they come fast: a sixteenth of a reading is 2 to 3 ns a call. */
const STRIDE = 16;

/** 5 ms: how long a reading is trusted while calls come fast; half of the 10 ms that an age may be off. */
const TRUST = 5;

/** How a pool stands: recycling; invalidated (allocates and frees directly); ended with its last loan; ended. */
export type PageState = "recycling" | "direct" | "retired" | "dead";

/** What the pool wants to hear. */
export interface PageListener {
  /** A block came back, or went: somebody who waits may be served. */
  onAvailable(): void;
}

/** Made by PagePool only. */
export class PageAllocator extends Allocator {
  /** @internal */
  readonly cache: PageCache;
  /** @internal */
  readonly age: PageAge;
  /** @internal */
  readonly config: PageConfig;
  /** @internal Set while somebody wants to hear of every return. */
  declare listener: PageListener | null;
  /** @internal Whether somebody waits: nobody may take fresh pages past them. */
  declare hasWaiters: boolean;
  /** @internal Allocations that took fresh pages. */
  misses = 0;
  /** @internal Allocations of 0 bytes. */
  empty = 0;
  /** @internal */
  detached = 0;
  declare private currentState: PageState;
  declare private canTakeFast: boolean;
  declare private canHoldFast: boolean;
  declare private ticks: number;
  declare private time: number;
  declare private nextSweep: number;
  declare private readonly shift: number;
  declare private readonly coarse: CoarseClock;
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
    this.#foreignClock = config.clock !== systemClock;
    this.cache = new PageCache(config, () => this.updateFastPath());
    this.age = new PageAge(this.cache, config);
    this.listener = null;
    this.hasWaiters = false;
    this.currentState = "recycling";
    this.ticks = 0;
    this.time = Number.NEGATIVE_INFINITY;
    this.nextSweep = Number.POSITIVE_INFINITY;
    this.shift = Math.log2(config.pageSize);
    // Without a timer nothing tells of a pause, so every call reads.
    this.coarse = new CoarseClock(config.clock, config.timer ? STRIDE : 1);
    this.canTakeFast = false;
    this.canHoldFast = false;
    this.updateFastPath();
  }

  /** True when every block is zero at hand-out. */
  override get zeroInitialized(): boolean {
    const { zero } = this.config;
    return zero === "acquire" || zero === "release";
  }

  /** Counters since the allocator was made; the short way leaves the bytes on loan to be counted here. O(blocks). */
  override stats(): AllocatorStats {
    return { ...super.stats(), liveBytes: this.cache.bytes - this.cache.idleBytes() };
  }

  /** @internal */
  updateFastPath(): void {
    const { zero, trace, ageOut, revoke } = this.config;
    const plain = this.currentState === "recycling" && !trace && !this.age.isSmooth && this.cache.calling === 0;
    this.canTakeFast = plain && zero !== "acquire";
    this.canHoldFast =
      plain && zero !== "release" && !revoke && ageOut > 0 && !this.age.holdsNothing && this.listener === null;
  }

  /**
   * As {@link Allocator.allocate}, in whole pages: the block that was freed last, or fresh pages. Throws `ERR_POOL_FULL` beyond
   * the bounds, `ERR_POOL_DEAD`, and what the source throws. @realtime when a block is held, but for the memory object.
   */
  override allocate(size: number, params?: AllocationParams): Memory {
    if (params === undefined && this.canTakeFast && (size | 0) === size && size > 0) {
      if (++this.ticks >= this.coarse.due) this.tick();
      const pages = ((size - 1) >>> this.shift) + 1;
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
            block.stamp = this.time;
            this.allocationCount++;
            this.liveMemoryCount++;
            return memory;
          }
        }
      }
    }
    return this.allocateSlow(size, params);
  }

  /** @internal */
  allocateSlow(size: number, params?: AllocationParams): Memory {
    const memory = super.allocate(size, params);
    const block = memory.region.handle as PageBlock | undefined;
    if (block !== undefined) block.lease = memory;
    return memory;
  }

  /** The pages of one allocation. */
  protected override allocateRegion(size: number, params: ResolvedParams): Region {
    this.assertOpen("allocate from");
    if (this.currentState === "retired" || this.currentState === "dead")
      throw pagesDeadError(this.config, "allocate from");
    if (size === 0) {
      this.empty++;
      return new Region(new Uint8Array(0));
    }
    this.ticks++;
    this.tick();
    const cls = this.cache.classFor(size, params.align);
    let block = this.currentState === "recycling" ? this.cache.take(cls) : null;
    if (block !== null) {
      this.age.taken(block);
      if (this.config.zero === "acquire") zeroBytes(block.region.bytes);
    } else {
      if (!this.hasWaiters) block = this.cache.make(cls);
      if (block === null) throw pagesFullError(this.config, cls.bytes, this.holders());
      this.misses++;
    }
    block.stamp = this.time;
    if (this.config.trace) block.site = new Error("taken");
    return block.region;
  }

  /** True when an allocation would be served, by a held block or within `mostBlocks` and the bounds. */
  canServe(size: number, align: number, mostBlocks: number): boolean {
    const cls = this.cache.classFor(size, align);
    if (this.currentState === "recycling" && cls.top !== null) return true;
    if (this.hasWaiters || !this.cache.hasRoom(cls.bytes)) return false;
    return this.cache.count < mostBlocks;
  }

  /** @internal */
  override reclaimRefusal(): MillpondError | undefined {
    return this.cache.calling === 0 ? undefined : reentrantError(`page pool "${this.name}"`, "release a block into");
  }

  /** @internal Throws `ERR_REENTRANT` from inside the source or the clock. */
  assertOpen(verb: string): void {
    if (this.cache.calling > 0) throw reentrantError(`page pool "${this.name}"`, verb);
  }

  /** @internal A memory came back; its block is held, handed on, or goes. */
  override reclaim(memory: Memory): void {
    const { region } = memory;
    const block = region.handle as PageBlock | undefined;
    if (!this.canHoldFast || block === undefined || memory.parent !== null || region.bytes.length !== region.size) {
      const refusal = this.reclaimRefusal();
      if (refusal !== undefined) {
        memory.references = 1;
        throw refusal;
      }
      super.reclaim(memory);
      return;
    }
    if (++this.ticks >= this.coarse.due) this.tick();
    block.lease = null;
    block.stamp = this.time;
    block.order = this.ticks;
    block.cls.push(block);
    this.cache.idle++;
    this.liveMemoryCount--;
    if (this.nextSweep === Number.POSITIVE_INFINITY) this.sweep();
  }

  /** @internal A BufferPool gives the next lease another Memory over the same pages. */
  override onHandleReplaced(fresh: Memory): void {
    const block = fresh.region.handle as PageBlock | undefined;
    if (block !== undefined) block.lease = fresh;
  }

  /** Holds the pages of a memory that came back, or lets them go. Throws `ERR_DETACHED` when they came back without their bytes. */
  protected override freeRegion(region: Region): void {
    const block = region.handle as PageBlock | undefined;
    if (block === undefined) return;
    block.lease = null;
    block.site = undefined;
    const lost = isLost(block);
    if (lost) this.detached++;
    else this.wipe(block);
    if (lost || this.currentState !== "recycling" || this.age.holdsNothing) this.cache.drop(block);
    else this.#hold(block);
    if (this.currentState === "retired" && this.cache.count === 0) this.currentState = "dead";
    this.listener?.onAvailable();
    if (lost) throw pagesDetachedError(this.config, region.size);
  }

  /** @internal The end of a lease: what the options demand is done to the bytes, whether they are held or go to the source. O(size). */
  wipe(block: PageBlock): void {
    const { zero, revoke } = this.config;
    if (zero === "release") zeroBytes(block.region.bytes);
    if (revoke) revokeBlock(block);
  }

  #hold(block: PageBlock): void {
    this.ticks++;
    this.tick();
    this.age.freed(block, this.time);
    block.order = this.ticks;
    block.cls.push(block);
    this.cache.idle++;
    if (this.nextSweep === Number.POSITIVE_INFINITY || this.config.ageOut === 0) this.sweep();
  }

  /** A clock of the application's may call back. */
  #read(wake: boolean): number {
    if (!this.#foreignClock) return wake ? this.coarse.wake(this.ticks) : this.coarse.read(this.ticks);
    this.cache.enterCall();
    try {
      return wake ? this.coarse.wake(this.ticks) : this.coarse.read(this.ticks);
    } finally {
      this.cache.leaveCall();
    }
  }

  /** @internal Reads the clock, and lets go what is due. */
  tick(): void {
    this.#adopt(this.#read(false));
    if (this.time >= this.nextSweep) this.sweep();
    else if (this.coarse.stride > 1) this.#arm();
  }

  /** @internal Goes on to a time that was read elsewhere, or now. */
  maintain(now: number | undefined): void {
    if (now !== undefined) this.coarse.now = now;
    this.#adopt(now ?? this.#read(true));
    this.sweep();
  }

  /** Our time never goes back: what a clock that was set back loses is added for good. */
  #adopt(now: number): void {
    if (now + this.#skew < this.time) this.#skew = this.time - now;
    this.time = now + this.#skew;
  }

  /** @internal Lets go what is due, and notes when to look again. */
  sweep(): void {
    const before = this.cache.count;
    this.nextSweep = this.age.sweep(this.time);
    this.#arm();
    if (this.cache.count < before) this.listener?.onAvailable();
  }

  /** Starts the timer for the next look, or sooner while calls come too fast to read the clock each time. */
  #arm(): void {
    const { clock, timer, ageOut } = this.config;
    if (!timer || ageOut === Number.POSITIVE_INFINITY) return;
    const look = this.cache.idle === 0 ? Number.POSITIVE_INFINITY : this.nextSweep;
    // Also while nothing is held: the next block to come back must not take a reading from before a pause.
    const wanted = this.coarse.stride > 1 ? Math.min(look, this.time + TRUST) : look;
    if (wanted === Number.POSITIVE_INFINITY || this.#timerDue <= wanted) return;
    this.cache.enterCall();
    try {
      if (this.#timer !== undefined) clock.clearTimer(this.#timer);
      this.#timerDue = wanted;
      this.#timer = clock.setTimer(() => this.#wake(), Math.max(0, wanted - this.time), true);
    } catch (error) {
      // The block that this timer is for has changed hands already; the next call tries again.
      this.#timerDue = Number.POSITIVE_INFINITY;
      throwLater(error);
    } finally {
      this.cache.leaveCall();
    }
  }

  #wake(): void {
    this.#timer = undefined;
    this.#timerDue = Number.POSITIVE_INFINITY;
    this.#adopt(this.#read(true));
    if (this.time >= this.nextSweep) this.sweep();
    else this.#arm();
  }

  /** @internal Moves to another state; what is held goes unless the pool recycles on. */
  enter(state: PageState): void {
    this.currentState = state === "retired" && this.cache.count === this.cache.idle ? "dead" : state;
    this.cache.flush();
    this.stopTimer();
    this.updateFastPath();
  }

  /** @internal */
  get state(): PageState {
    return this.currentState;
  }

  /** @internal Nothing is held, so nothing has to be looked at. */
  stopTimer(): void {
    const timer = this.#timer;
    this.#timer = undefined;
    this.#timerDue = Number.POSITIVE_INFINITY;
    this.nextSweep = Number.POSITIVE_INFINITY;
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

  /** @internal Ends every loan that nobody but its borrower holds; the others go back when they come home. */
  voidLoans(): void {
    for (const block of this.cache.blocks.filter((candidate) => candidate.lease !== null)) {
      const memory = block.lease!;
      if (memory.ownerCount > 0 || memory.accessWord !== 0) continue;
      memory.references = 0;
      memory.view = null;
      block.lease = null;
      this.liveMemoryCount--;
      if (this.config.zero === "release" && block.region.isPlain && !isLost(block)) zeroBytes(block.region.bytes);
      if (block.region.isPlain) revokeBlock(block);
      this.cache.drop(block);
    }
  }

  /** @internal The loans, oldest first. O(blocks). */
  holders(): PageHolder[] {
    return this.cache.blocks
      .filter((block) => block.lease !== null)
      .map((block) => pageHolder(block, block.lease!, this.time))
      .sort((a, b) => b.age - a.age);
  }

  /** @internal */
  override deadMemoryError(memory: Memory, verb: string): MillpondError | undefined {
    // Only close({ force: true }) leaves a dead pool behind whose leases never came back.
    return this.currentState === "dead" && memory.region.handle === undefined && memory.region.size > 0
      ? pagesTakenError(this.config, memory, verb)
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

function part(whole: Uint8Array, pages: Memory, region: Region): Uint8Array {
  return whole.subarray(pages.offset, pages.offset + region.size);
}
