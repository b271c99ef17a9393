/**
 * PagePool: large blocks of whole pages that are kept a short while after they were freed. After Core Media's
 * CMMemoryPool (freed blocks age out after half a second), with Core Video's bounds, floor and wake-up, jemalloc's
 * smooth curve, and a timer, so that an idle pool empties too.
 *
 * ```ts
 * const pool = PagePool.create({ maxBytes: 256 * 2 ** 20 });
 * const packet = pool.allocate(encoder.packetSize); // any size; the pages of the last one of that size
 * packet.release();                                 // kept 500 ms for the next
 * BufferPool.create({ name: "frames", size: 3_110_400, max: 8, allocator: pool.allocator });
 * ```
 *
 * The life-cycle of a block: fresh pages of the source are leased; released, they are idle and age; leased again in
 * time, they are young again; else they go back to the source, aged out, evicted to make room for another size, or
 * trimmed.
 *
 * The life-cycle of a pool:
 *
 * ```
 *   create() ──> recycling ── invalidate() ──> direct: allocates from the source, keeps nothing, and stays usable
 *                    │                            │
 *                    ├── retire() ────────────────┴──> retired ── the last release ──> dead
 *                    └── close(), close({ force: true }) ─────────────────────────────> dead
 * ```
 * While it recycles, acquire() waits in line when the bounds are reached. A pool that ends rejects its waiters, first
 * come first.
 *
 * Invariants: no pages are taken past a waiter, fresh or idle; a refused call changes nothing; code of others (the
 * source, the clock) that calls back gets `ERR_REENTRANT`, but for the clock that a waiting acquire() reads. allocate()
 * and release() of an idle block are O(1), stats() and holders() O(blocks).
 */

import type { Allocator } from "../../memory/allocator.ts";
import { isMemory, type Memory } from "../../memory/memory.ts";
import { type AllocationParams, resolveParams } from "../../memory/params.ts";
import type { PoolCounts, PoolHolder } from "../../observe/pool-info.ts";
import { beginWait, registerPool, tellStarved } from "../../observe/registry.ts";
import { checkTime } from "../../util/clock.ts";
import { disposeByForce } from "../../util/dispose.ts";
import { Emitter } from "../../util/emitter.ts";
import { MillpondError } from "../../util/errors.ts";
import { callSite, type Site } from "../../util/stack.ts";
import { UNCLONEABLE } from "../../util/uncloneable.ts";
import { checkOptions, flag, oneOf, wholeNumber, wrongType } from "../../util/validate.ts";
import {
  closedError,
  corruptedError,
  foreignError,
  inUseError,
  poolText,
  starvedError,
} from "../common/lease-errors.ts";
import { checkWait, type WaitOptions, WaitQueue } from "../common/wait-queue.ts";
import {
  type PageHolder,
  type PagePoolOptions,
  type PagePoolStats,
  type PressureLevel,
  pageHolders,
  pageWords,
  resolvePageOptions,
} from "./options.ts";
import { PageAllocator } from "./page-allocator.ts";

export type { PageHolder, PagePoolOptions, PagePoolStats, PressureLevel } from "./options.ts";

/** The events of a PagePool, by name. */
export interface PagePoolEvents {
  /** After a refusal by a bound or a threshold: a block came back or went, so that another try may succeed. */
  available: { readonly pool: string; readonly idle: number };
}

interface Wanted {
  readonly size: number;
  readonly params: AllocationParams;
  /** Where it asked, when the pool is traced. */
  readonly site: Site | undefined;
}

/**
 * Large blocks of any size, in whole pages, which are kept a short while (`ageOut`, 500 ms) after they were released.
 * {@link PagePool.allocate} gives a {@link Memory} at once or throws `ERR_POOL_FULL`; {@link PagePool.acquire} waits
 * in line for one while the bounds are reached. A released block is idle: it serves the next request of as
 * many pages, makes room for another size, or goes back to the source when its age is over. Allocate and release are
 * O(1). One thread uses a pool.
 *
 * ```ts
 * const pages = PagePool.create({ maxBytes: 256 * 2 ** 20 });
 * const packet = pages.allocate(100_000);
 * const mapping = packet.map("write");                  // the way to its bytes
 * mapping.bytes.set(data);
 * mapping.unmap();
 * packet.release();                                     // kept 500 ms for the next
 * ```
 */
export class PagePool {
  /** @internal */
  readonly uncloneable: symbol = UNCLONEABLE;
  readonly #allocator: PageAllocator;
  readonly #waiters: WaitQueue<Memory, Wanted>;
  readonly #events: Emitter<PagePoolEvents> = new Emitter(["available"]);
  #hasRefused = false;
  #isServing = false;
  /** The first in line takes its pages. */
  #isTaking = false;
  /** Waiters will be served when the present call stack is done. */
  #isServingLater = false;
  readonly #isTraced: boolean;

  /**
   * Use it as `using pool = PagePool.create()` where the platform has `Symbol.dispose`: it closes the pool by force.
   */
  declare [Symbol.dispose]: () => void;

  /** Makes a pool, usable at once. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`. */
  static create(options: PagePoolOptions = {}): PagePool {
    return new PagePool(options);
  }

  private constructor(options: PagePoolOptions) {
    const config = resolvePageOptions(options);
    this.#isTraced = config.trace;
    this.#allocator = new PageAllocator(config);
    this.#waiters = new WaitQueue(config.clock, () => this.#serveWaiters());
    const registration = registerPool("PagePool", config.name, {
      counts: () => this.#counts(),
      stats: () => this.stats(),
      holders: (most) => this.#poolHolders(most),
      watch: () => this.#allocator.updateFastPath(),
    });
    this.#waiters.beginSpan = (ahead) => beginWait(registration, ahead, this.#waiters);
    this.#allocator.registration = registration;
    this.#allocator.cache.registration = registration;
    registration.begin();
  }

  /** For messages and reports. */
  get name(): string {
    return this.#allocator.name;
  }

  /** Where the pool's blocks come from: the same object always, valid also after the pool was invalidated. */
  get allocator(): Allocator {
    return this.#allocator;
  }

  /** Bytes of the block that `size` bytes get: whole pages; 0 for 0. Throws `ERR_OUT_OF_RANGE`. */
  roundedSize(size: number): number {
    return this.#allocator.cache.rounded(wholeNumber("size", size));
  }

  /**
   * Allocates, or throws `ERR_POOL_FULL` when the bounds forbid it: as `allocator.allocate`.
   * Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`, `ERR_POOL_DEAD`, and what the source throws.
   */
  allocate(size: number, params?: AllocationParams): Memory {
    if (this.#isTraced) return this.#allocator.allocateAt(callSite(PagePool.prototype.allocate), size, params);
    return this.#allocator.allocate(size, params);
  }

  /**
   * Gives a memory of this pool back, as its `release()` does. Throws `ERR_FOREIGN_RELEASE` for another allocator's,
   * and what that throws.
   */
  release(memory: Memory): void {
    if (!isMemory(memory)) throw wrongType("memory", "a Memory", memory);
    if (memory.allocator !== this.#allocator) throw this.#foreignError(memory);
    memory.release();
  }

  /**
   * Allocates, or says undefined when the bounds or the threshold forbid fresh pages and none are idle, or when others
   * wait; "available" tells when to try again. With a `threshold` (Core Video's allocation threshold) fresh pages are
   * taken only while fewer blocks than that exist; idle ones are leased in any case. Throws `ERR_INVALID_ARG_*`,
   * `ERR_OUT_OF_RANGE`, `ERR_POOL_DEAD`, and what the source throws.
   */
  tryAllocate(size: number, request: AllocationParams & { threshold?: number } = {}): Memory | undefined {
    const params = resolveParams(request, "request", ["threshold"]);
    const { threshold: given } = request;
    const threshold = given === undefined ? Infinity : wholeNumber("request.threshold", given);
    this.#allocator.assertOpen("allocate from");
    const total = totalBytes(size, params);
    if (total > 0 && !this.#allocator.canServe(total, params.align, threshold)) {
      this.#assertAlive("allocate from");
      this.#hasRefused = true;
      this.#updateFastPath();
      return undefined;
    }
    const site = this.#isTraced ? callSite(PagePool.prototype.tryAllocate) : undefined;
    return this.#allocator.allocateAt(site, size, params);
  }

  /**
   * Allocates, and waits in line while the bounds do not allow it: first come, first served, no call overtakes (also
   * not `allocator.allocate`, which fails meanwhile).
   *
   * Rejects with `ERR_STARVED` (timeout; `details.holders` says who holds the pages), `signal.reason`, `ERR_POOL_DEAD`,
   * `ERR_POOL_FULL` when no release could ever make it fit, `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`, and what the
   * source throws.
   */
  acquire(size: number, request: AllocationParams & WaitOptions = {}): Promise<Memory> {
    try {
      if (request === null || typeof request !== "object") throw wrongType("request", "a plain object", request);
      const { signal, timeout } = request;
      checkWait(signal, timeout);
      const params = resolveParams(request, "request", ["signal", "timeout"]);
      const total = totalBytes(size, params);
      if (signal?.aborted) return Promise.reject(signal.reason);
      this.#allocator.assertOpen("wait for pages of");
      this.#assertAlive("allocate from");
      const site = this.#isTraced ? callSite(PagePool.prototype.acquire) : undefined;
      if (total === 0 || this.#allocator.canServe(total, params.align, Infinity)) {
        return Promise.resolve(this.#allocator.allocateAt(site, size, params));
      }
      this.#assertPossible(total);
      if (timeout === 0) return Promise.reject(this.#starved(total, 0));
      const { clock } = this.#allocator.config;
      const wanted: Wanted = { size, params, site };
      const wait = this.#waiters.wait({ signal, timeout }, wanted, (waiter) =>
        this.#starved(total, clock.now() - waiter.since),
      );
      this.#updateFastPath();
      // A clock or a signal that released pages while the wait was made came too early for it.
      this.#serveWaiters();
      return wait;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #assertPossible(total: number): void {
    const { maxBytes, max, name } = this.#allocator.config;
    const bytes = this.#allocator.cache.rounded(total);
    if (bytes <= maxBytes && max > 0) return;
    throw new MillpondError(
      "ERR_POOL_FULL",
      `page pool "${name}" can never hold a block of ${bytes} bytes: maxBytes is ${maxBytes}, max ${max}; ask for less, or raise them`,
    );
  }

  #starved(total: number, waited: number): MillpondError {
    const { config, cache } = this.#allocator;
    const words = pageWords(config);
    const bytes = cache.rounded(total);
    const missing = `no room for ${bytes} bytes came free in ${poolText(words)}`;
    const hint = config.trace ? "" : "; trace: true tells where each was taken";
    const remedy = `Release them sooner, or raise the bounds${hint}`;
    const { registration } = this.#allocator;
    if (registration !== undefined) tellStarved(registration, waited, this.#waiters.length);
    return starvedError(words, missing, waited, pageHolders(this.holders()), remedy, undefined, { bytes });
  }

  #updateFastPath(): void {
    const waiting = this.#waiters.length > 0;
    const allocator = this.#allocator;
    allocator.hasWaiters = waiting && !this.#isTaking;
    const wanted = waiting || (this.#hasRefused && this.#events.has("available"));
    allocator.listener = wanted ? this.#listener : null;
    allocator.updateFastPath();
  }

  readonly #listener: { onAvailable: () => void } = { onAvailable: () => this.#serveWaiters() };

  #serveWaiters(): void {
    if (this.#isServing) return;
    if (this.#allocator.cache.calling > 0) {
      // A wait was ended from inside the source, in the middle of an allocation: those behind it are served after that.
      this.#isServingLater = true;
      queueMicrotask(() => {
        this.#isServingLater = false;
        this.#serveWaiters();
      });
      return;
    }
    this.#isServing = true;
    try {
      for (let { first } = this.#waiters; first !== null; first = this.#waiters.first) {
        try {
          const memory = this.#takeFor(first.tag);
          if (memory === undefined) break;
          // The source may have ended the very wait that it was asked for.
          if (first.queued) this.#waiters.next(memory);
          else memory.release();
        } catch (error) {
          this.#waiters.reject(first, error);
        }
      }
    } finally {
      this.#isServing = false;
    }
    this.#announce();
    this.#updateFastPath();
  }

  /** The pages of the first in line, or undefined. The gate is open for this one alone. */
  #takeFor({ size, params, site }: Wanted): Memory | undefined {
    const allocator = this.#allocator;
    this.#isTaking = true;
    allocator.hasWaiters = false;
    try {
      if (!allocator.canServe(totalBytes(size, params), resolveParams(params).align, Infinity)) return undefined;
      return allocator.allocateAt(site, size, params);
    } finally {
      this.#isTaking = false;
      this.#updateFastPath();
    }
  }

  #announce(): void {
    if (!this.#hasRefused || this.#waiters.length > 0) return;
    this.#hasRefused = false;
    this.#events.emit("available", { pool: this.name, idle: this.#allocator.cache.idle });
  }

  /** Calls `listener` at every event of that name; returns what removes it. Throws `ERR_INVALID_ARG_TYPE`. */
  on<K extends keyof PagePoolEvents>(name: K, listener: (event: PagePoolEvents[K]) => void): () => void {
    const off = this.#events.on(name, listener);
    this.#updateFastPath();
    return () => {
      off();
      this.#updateFastPath();
    };
  }

  /** Gives every idle block back now, whatever its age, `min` too; the pool stays in service, leases stay valid. */
  trim(): void {
    this.#allocator.assertOpen("trim");
    this.#allocator.cache.trim();
    this.#allocator.stopTimer();
    this.#serveWaiters();
  }

  /**
   * Stops recycling for good and gives the idle blocks back. The allocator lives on: it allocates from the source, and
   * what comes back goes straight there. Twice: nothing.
   */
  invalidate(): void {
    this.#allocator.assertOpen("invalidate");
    if (this.#allocator.state !== "recycling") return;
    this.#allocator.enter("direct");
    this.#serveWaiters();
  }

  /**
   * Lets go what is due, as every allocation and release does now and then.
   * @param now milliseconds of the pool's clock, for callers that have just read it (once a frame); default: reads it
   * Throws `ERR_INVALID_ARG_TYPE`, and `ERR_OUT_OF_RANGE` beyond 2^53.
   */
  maintain(now?: number): void {
    if (now !== undefined) checkTime("now", now);
    this.#allocator.assertOpen("maintain");
    this.#allocator.maintain(now);
  }

  /**
   * How urgently the machine wants memory back: "low" (the start), "medium" (half the age, half the curve), "high"
   * (idle blocks go at once, and none are kept until it is lower again). After .NET's shared pool. Throws
   * `ERR_INVALID_ARG_*`.
   */
  setPressure(level: PressureLevel): void {
    this.#allocator.assertOpen("change the pressure of");
    this.#allocator.age.pressure = oneOf("level", level, ["low", "medium", "high"]);
    this.#allocator.updateFastPath();
    this.#allocator.maintain(undefined);
  }

  /** The leases, oldest first. O(blocks). */
  holders(): PageHolder[] {
    return this.#allocator.holders();
  }

  /** A snapshot of the counters. O(blocks). */
  stats(): PagePoolStats {
    const { cache, misses, empty, detached } = this.#allocator;
    const counters = this.#allocator.stats();
    let wastedBytes = 0;
    for (const { lease, cls } of cache.blocks) {
      if (lease !== null) wastedBytes += cls.bytes - lease.offset - lease.size;
    }
    return {
      ...counters,
      name: this.name,
      idle: cache.idle,
      idleBytes: cache.idleBytes(),
      live: cache.count - cache.idle,
      wastedBytes,
      count: cache.count,
      bytes: cache.bytes,
      hits: counters.allocations - misses - empty,
      misses,
      agedOut: cache.agedOut,
      evicted: cache.evicted,
      detached,
      waiting: this.#waiters.length,
    };
  }

  #counts(): PoolCounts {
    const { count, bytes, idle, live, allocations, misses, detached, waiting } = this.stats();
    const { max, maxBytes } = this.#allocator.config;
    const { state } = this.#allocator;
    const phase = state === "dead" ? "closed" : state === "retired" ? "retired" : "active";
    const size = 0;
    const base = { phase, size, count, max, bytes, maxBytes, free: idle, leased: live, waiting } as const;
    return { ...base, acquires: allocations, misses, waits: null, starved: null, discarded: detached, highWater: null };
  }

  #poolHolders(most: number): PoolHolder[] {
    const blocks = new Map(this.#allocator.cache.blocks.map(({ lease, memory }) => [lease?.id, memory.id]));
    return this.holders()
      .slice(0, most)
      .map(({ memory, size, age, site }) => ({ slot: blocks.get(memory)!, lease: memory, size, age, site }));
  }

  /**
   * Ends the pool with its last lease: nothing can be allocated any more, leases stay valid. Returns who still holds
   * one.
   */
  retire(): PageHolder[] {
    this.#allocator.assertOpen("retire");
    const { state } = this.#allocator;
    if (state !== "dead" && state !== "retired") {
      this.#allocator.enter("retired");
      this.#waiters.rejectAll(() => closedError(pageWords(this.#allocator.config), "wait for pages of"));
      this.#updateFastPath();
    }
    return this.holders();
  }

  /**
   * Ends the pool now. While leases are out it refuses (`ERR_IN_USE` says who holds what, and nothing changes), or with
   * `force` takes them back: every later use of them throws `ERR_POOL_DEAD`, also of those that are mapped, locked or
   * shared, and their views are revoked. Bytes whose views cannot be revoked (shared memory) go back only to a source
   * that never hands them out again, else they stay out for good. Blocks that a buffer holds stay with the buffer until
   * it lets go, and their views are revoked then. Returns the leases that were out.
   */
  close(options?: { force?: boolean }): PageHolder[] {
    const force = flag("options.force", checkOptions("options", options, ["force"]).force, false);
    this.#allocator.assertOpen("close");
    if (!force) {
      const holders = this.holders();
      if (holders.length > 0) throw this.#inUseError(holders);
    }
    const holders = this.retire();
    if (!force) return holders;
    this.#allocator.takeBackLeases();
    this.#allocator.enter("dead");
    return holders;
  }

  /** Checks every invariant; throws `ERR_CORRUPTED` when one does not hold. O(blocks). */
  validate(): void {
    this.#allocator.cache.validate();
    const { first } = this.#waiters;
    if (first === null || this.#isServingLater) return;
    const { size, params } = first.tag;
    this.#allocator.hasWaiters = false;
    const servable = this.#allocator.canServe(totalBytes(size, params), resolveParams(params).align, Infinity);
    this.#updateFastPath();
    if (servable) throw corruptedError(pageWords(this.#allocator.config), "a waiter waits for pages that are there");
  }

  #foreignError(memory: Memory): MillpondError {
    const remedy = "release it with the pool or allocator that made it";
    return foreignError(pageWords(this.#allocator.config), String(memory), remedy, { memory: memory.id });
  }

  #inUseError(holders: readonly PageHolder[]): MillpondError {
    const remedy = "Release them, use retire(), or close({ force: true })";
    return inUseError(pageWords(this.#allocator.config), "close", pageHolders(holders), remedy);
  }

  #assertAlive(verb: string): void {
    const { state, config } = this.#allocator;
    if (state === "dead" || state === "retired") throw closedError(pageWords(config), verb);
  }
}

disposeByForce(PagePool);

function totalBytes(size: number, params: AllocationParams): number {
  const { prefix, padding } = resolveParams(params);
  return wholeNumber("prefix + size + padding", prefix + wholeNumber("size", size) + padding);
}
