/**
 * BufferPool: a bounded set of equal buffers that are leased and given back. Misuse is never silent, and a wait never
 * hangs without saying who holds the buffers. After GStreamer's GstBufferPool and DirectShow's IMemAllocator.
 *
 * ```ts
 * const pool = BufferPool.create({ name: "frames", size: 3_110_400, max: 4 });
 * const frame = await pool.acquire({ timeout: 1000 }); // waits its turn; a timeout says who holds the others
 * frame.bytes.set(pixels);
 * frame.release();                                     // a second release() throws ERR_DOUBLE_RELEASE
 * ```
 *
 * Life-cycle of the pool. `BufferPool.create()` starts in "active", `new BufferPool()` in "inactive":
 *
 * ```
 *                 activate()              setFlushing(true)
 *    inactive ------------------> active <------------------> flushing
 *        ^                        |    ^  setFlushing(false)      |
 *        |           deactivate() |    | activate()               | deactivate()
 *        |                        v    |                          |
 *        +---------------------- draining <-----------------------+
 *         the last lease is back
 *
 *    any of them -- retire() ---------> retired -- the last lease is back --> closed
 *    any of them -- close({ force }) -----------------------------------------> closed
 * ```
 *
 * | state    | acquire         | what comes back              | configure   |
 * | -------- | --------------- | ---------------------------- | ----------- |
 * | inactive | `ERR_INACTIVE`  | -                            | accepted    |
 * | active   | a buffer        | goes to a waiter, or is kept | `ERR_ACTIVE` |
 * | flushing | `ERR_FLUSHING`  | is kept                      | `ERR_ACTIVE` |
 * | draining | `ERR_INACTIVE`  | is freed                     | `ERR_IN_USE` |
 * | retired  | `ERR_POOL_DEAD` | is freed                     | `ERR_POOL_DEAD` |
 * | closed   | `ERR_POOL_DEAD` | -                            | `ERR_POOL_DEAD` |
 *
 * Life-cycle of a slot, the place that a buffer's bytes live in:
 *
 * ```
 *             acquire                    last release()
 *    FREE ----------------> LEASED --------------------------------> RETURNING --> FREE, or its memory is freed
 *                              |                                         ^
 *                              | last release(), while a copy or a       | the last other holder
 *                              | sub-memory still holds bytes            | of the bytes lets go
 *                              +-----------------> AWAITING -------------+
 * ```
 * A mapping refuses the release (`ERR_MAPPED`), unless its memory has another holder too: then the release is deferred.
 *
 * Invariants:
 * - at most `max` slots exist, and at most `maxBytes` bytes;
 * - while the pool is active and a slot is free, nobody waits; waiters are served in order of arrival;
 * - every lease ends in the fast path of {@link BufferPool.onRelease}, which is taken only when nothing is to be run,
 *   zeroed or revoked, or in {@link SlotStore.finish}. So zeroing, revocation and hooks are never skipped;
 * - a refused call changes nothing;
 * - hooks of one pool never nest. Inside a hook (docs/hooks.md has the whole table):
 *
 * | call                                            | answer                                                      |
 * | ----------------------------------------------- | ----------------------------------------------------------- |
 * | release(), retain() of the hook's own buffer    | `ERR_REENTRANT`                                             |
 * | addMeta(), removeMeta() on a returning buffer   | `ERR_REENTRANT`                                             |
 * | anything else on it                             | works; what is left is judged after the last hook           |
 * | release() of another lease of the pool          | works; its hooks run when this one has returned             |
 * | acquire, configure, activate, deactivate, ends  | `ERR_REENTRANT`, nothing changes                            |
 *
 * Complexity: acquire and release O(1), plus O(size) where bytes are zeroed; activate O(min); stats, holders and
 * validate O(buffers). The fast paths of {@link BufferPool.tryAcquire} and of the last release make no closure and no
 * view, and read the clock once in 64 acquires while they come fast. Whatever is unusual (a waiter, a listener, a hook,
 * tracing, zeroing, revoking) switches them off: {@link BufferPool.#updateFastPath}.
 */

import { isMediaBuffer, MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { type BufferSlot, inHookError, SlotFlags } from "../../media/buffer/slot.ts";
import { takeKeepers } from "../../media/meta/attach.ts";
import { isTaken } from "../../memory/claims.ts";
import { heldAlreadyError } from "../../memory/errors.ts";
import { answered, releaseFailed } from "../../memory/memory.ts";
import type { PoolPhase } from "../../observe/pool-info.ts";
import {
  beginWait,
  canWarn,
  isStarvationHeard,
  type PoolRegistration,
  registerPool,
  tellDiscarded,
  tellLeaked,
  tellStarved,
  warnOnce,
} from "../../observe/registry.ts";
import { type Clock, CoarseClock, checkClock, systemClock } from "../../util/clock.ts";
import { disposeByForce } from "../../util/dispose.ts";
import { Emitter } from "../../util/emitter.ts";
import { MillpondError, throwLater } from "../../util/errors.ts";
import { callSite, type Entry, type Site, setEntry } from "../../util/stack.ts";
import { UNCLONEABLE } from "../../util/uncloneable.ts";
import {
  checkOptions,
  flag,
  milliseconds,
  oneOf,
  outOfRange,
  readOptions,
  text,
  wrongType,
  yesOrNo,
} from "../../util/validate.ts";
import { checkWait, type WaitOptions, WaitQueue } from "../common/wait-queue.ts";
import {
  type ActualPoolConfig,
  type BufferPoolConfig,
  CONFIG_KEYS,
  checkAdjusted,
  resolveConfig,
  sameConfig,
} from "./config.ts";
import {
  corruptedError,
  foreignError,
  inUseError,
  refusedError,
  rethrow,
  staleLeaseError,
  starvedError,
} from "./errors.ts";
import { SlotStore } from "./slots.ts";
import {
  type BufferPoolEvents,
  type BufferPoolStats,
  countsOf,
  type DiscardReason,
  type Holder,
  holderOf,
  LEAK_SAMPLE,
  LeakMonitor,
  poolHolder,
  StarvationMonitor,
} from "./stats.ts";

/** How a {@link BufferPool} is made. */
export interface BufferPoolOptions {
  /** For messages and reports; default "buffers". */
  name?: string;
  /** Time and timers; default: the platform's. */
  clock?: Clock;
  /** Remember where each buffer was acquired (about 4 us an acquire); default false. Can be switched later. */
  trace?: boolean;
  /**
   * Register leases with the garbage collector and emit "leak" when one is collected without a release: none (default),
   * one in 128, or all. A back-stop only: a collection may come late or never. Costs 30 ns an acquire, 200 ns a
   * registered one.
   */
  leaks?: "off" | "sample" | "all";
  /**
   * Milliseconds a wait may last before the "starved" event tells who holds the buffers, and between two of them; 1 or
   * more, default 1000. Where nobody listens, a warning of the process tells it once, of a wait without a timeout.
   */
  starvedAfter?: number;
}

/** How a buffer is acquired. */
export interface AcquireOptions extends WaitOptions {
  /** Do not wait: reject with `ERR_STARVED` when no buffer is free. */
  nowait?: boolean;
  /** What the holder calls itself, for reports. */
  tag?: string;
  /** Anything that a subclass's `populate()` hook understands when this acquire makes a new buffer; not looked into. */
  hint?: unknown;
}

/** What a waiter asked for. */
interface AcquireRequest {
  readonly tag: string | undefined;
  readonly hint: unknown;
  /** Where it asked, when tracing was on then. */
  readonly site: Site | undefined;
}

/** What a BufferPool's constructor understands; subclasses with options of their own add to it. */
export const POOL_OPTIONS: readonly (keyof BufferPoolOptions)[] = ["name", "clock", "trace", "starvedAfter", "leaks"];

const NO_OPTIONS: AcquireOptions = /* @__PURE__ */ Object.freeze({});
const TRY_KEYS = ["tag", "hint"] as const;
const ACQUIRE_KEYS = ["signal", "timeout", "tag", "nowait", "hint"] as const;

/**
 * A bounded set of equal buffers that are leased and given back. {@link BufferPool.create} makes one that is usable at
 * once; {@link BufferPool.acquire} waits in line, first come, first served, and {@link BufferPool.tryAcquire} does not
 * wait. The last `release()` ends a lease, and every later call on its buffer throws. At most `max` buffers and
 * `maxBytes` bytes exist. The pool ends with its last lease by `retire()`, or now by `close()`. Acquire and release
 * are O(1), plus O(size) where bytes are zeroed. One thread uses a pool. Subclasses override the hooks at the end.
 *
 * ```ts
 * const pool = BufferPool.create({ name: "frames", size: 3_110_400, max: 4 });
 * const frame = await pool.acquire({ timeout: 1000 });  // ERR_STARVED names who holds the others
 * frame.bytes.set(pixels);
 * frame.release();                                      // a second release() throws ERR_DOUBLE_RELEASE
 * ```
 */
export class BufferPool {
  /** @internal */
  readonly uncloneable: symbol = UNCLONEABLE;
  /** For messages and reports. */
  readonly name: string;
  /** Closes by force, for `using pool = BufferPool.create(...)` where the platform has `Symbol.dispose`. */
  declare [Symbol.dispose]: () => void;
  readonly #clock: Clock;
  readonly #coarse: CoarseClock;
  readonly #events: Emitter<BufferPoolEvents> = new Emitter(["starved", "discard", "release", "drained", "leak"]);
  readonly #waiters: WaitQueue<MediaBuffer, AcquireRequest>;
  /** Who has leases to spare when somebody waits. */
  #spare: Set<() => boolean> | undefined;
  readonly #slots: SlotStore;
  readonly #starvation: StarvationMonitor;
  readonly #leaks: LeakMonitor | undefined;
  readonly #registration: PoolRegistration;
  #config: ActualPoolConfig | null = null;
  /** What {@link configure} was asked for when {@link adjust} made the configuration in force of it. */
  #wanted: ActualPoolConfig | null = null;
  #state: PoolPhase = "inactive";
  #trace: boolean;
  /** The public method that the call under way came in by; what it called is not the caller's line. */
  #entry: Entry | undefined = undefined;
  /** Acquire may take the fast path: active, not traced, and no hook runs. */
  #fastAcquire = false;
  /** What `#fastAcquire` is while no hook runs. */
  #fastAcquireAllowed = false;
  /** Release may take the fast path: nobody waits, listens or watches, nothing is zeroed, revoked or hooked. */
  #fastRelease = false;
  /** As the two above, in a pool that would be on the fast path if an observer did not watch it. */
  #watchedAcquire = false;
  #watchedRelease = false;
  #waitCount = 0;
  #starvedCount = 0;
  #drainedWaits: { resolve: () => void; reject: (error: MillpondError) => void }[] = [];
  /** What a close() that threw could not return. */
  #unreported: Holder[] = [];

  /** Makes an inactive pool without a configuration. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. */
  constructor(options: BufferPoolOptions = {}) {
    const {
      name,
      clock: given,
      trace,
      starvedAfter = 1000,
      leaks = "off",
    } = checkOptions("options", options, POOL_OPTIONS);
    this.name = text("options.name", name, "buffers");
    const clock = checkClock("options.clock", given);
    this.#clock = clock;
    this.#trace = flag("options.trace", trace, false);
    this.#coarse = new CoarseClock(clock);
    const level = oneOf("options.leaks", leaks, ["off", "sample", "all"]);
    if (level !== "off") {
      this.#leaks = new LeakMonitor(level === "all" ? 1 : LEAK_SAMPLE, (slot) => {
        const holder = holderOf(slot, this.#coarse.look());
        this.#events.emit("leak", { pool: this.name, holder });
        tellLeaked(this.#registration, poolHolder(holder, this.#config?.size ?? 0));
      });
    }
    this.#waiters = new WaitQueue(clock);
    const after = milliseconds("options.starvedAfter", starvedAfter, 1);
    this.#starvation = new StarvationMonitor(clock, after, this.#waiters, (waited) =>
      warnOnce(this.#registration, this.#tellStarved(waited)),
    );
    // A hook that no subclass overrides is not passed on, and costs nothing.
    const base = BufferPool.prototype;
    const hooks = {
      populate: (buffer: MediaBuffer, config: ActualPoolConfig, hint: unknown) => this.populate(buffer, config, hint),
      reset: this.reset === base.reset ? undefined : (buffer: MediaBuffer) => this.reset(buffer),
      recycle: this.recycle === base.recycle ? undefined : (buffer: MediaBuffer) => this.recycle(buffer),
      dispose: this.dispose === base.dispose ? undefined : (buffer: MediaBuffer) => this.dispose(buffer),
    };
    this.#slots = new SlotStore(this, hooks, (hookRuns) => {
      this.#fastAcquire = !hookRuns && this.#fastAcquireAllowed;
    });
    this.#registration = registerPool("BufferPool", this.name, {
      counts: () => countsOf(BufferPool.prototype.stats.call(this), this.#state),
      stats: () => this.stats(),
      holders: (most) => this.#holders(most).map((holder) => poolHolder(holder, this.#config?.size ?? 0)),
      watch: () => this.#updateFastPath(),
    });
    if (this.#leaks !== undefined) this.#registration.leaks = 0;
    this.#waiters.beginSpan = (ahead) => beginWait(this.#registration, ahead, this.#waiters);
    this.#slots.registration = this.#registration;
    this.#registration.begin();
  }

  /**
   * Makes a pool that is usable at once: `new`, {@link configure} and {@link activate} in one call. Negotiation calls
   * them one by one. Subclasses inherit it, with the options of their constructors. Throws what these three throw; size
   * and max are at least 1.
   *
   * @param options those of the constructor and of {@link configure} together
   */
  static create<P extends BufferPool, O extends object>(
    this: new (
      options?: O,
    ) => P,
    options: BufferPoolConfig & NoInfer<O>,
  ): P {
    // biome-ignore lint/complexity/noThisInStatic: a subclass inherits create(), which makes one of the subclass.
    const [own, config] = splitOptions(options, (this as unknown) === BufferPool);
    const { requestedSize, max } = resolveConfig(config, "options");
    if (requestedSize === 0) throw outOfRange("options.size", "1 or more bytes", 0);
    if (max === 0) throw outOfRange("options.max", "1 or more buffers", 0);
    const pool = new this(own as O);
    pool.configure(config);
    pool.#entry = BufferPool.create;
    try {
      pool.activate();
    } finally {
      pool.#entry = undefined;
    }
    return pool;
  }

  /** The configuration in force, or null. Frozen. */
  get config(): ActualPoolConfig | null {
    return this.#config;
  }

  /** @internal What {@link configure} was asked for: {@link config}, before {@link adjust}. */
  get askedConfig(): ActualPoolConfig | null {
    return this.#wanted;
  }

  /** Whether buffers can be acquired. */
  get isActive(): boolean {
    return this.#state === "active" || this.#state === "flushing";
  }

  /** @internal The memory that it takes beyond its largest number of buffers, in buffers. */
  get spareBuffers(): number {
    return 0;
  }

  /** True between `setFlushing(true)` and `setFlushing(false)`. */
  get isFlushing(): boolean {
    return this.#state === "flushing";
  }

  /** True while the pool is deactivated or retired and leases are still out. */
  get isDraining(): boolean {
    return (this.#state === "draining" || this.#state === "retired") && this.#slots.outstanding > 0;
  }

  /** Buffers that can be acquired without waiting and without allocating. */
  get free(): number {
    return this.#slots.free;
  }

  /** Leased buffers, including released ones whose memory is still held elsewhere. */
  get outstanding(): number {
    return this.#slots.outstanding;
  }

  /** Whether acquire remembers where it was called. */
  get trace(): boolean {
    return this.#trace;
  }
  set trace(on: boolean) {
    this.#trace = yesOrNo("trace", on);
    this.#updateFastPath();
  }

  /**
   * Leases a buffer; undefined when the bound is reached and none is free. A free one first (the last returned, because
   * its pages are warm), then a new one. @realtime when a free one is taken, but for the handle of one lease. Throws
   * `ERR_INACTIVE`, `ERR_FLUSHING`, `ERR_NOT_CONFIGURED`, `ERR_POOL_DEAD`, `ERR_REENTRANT` inside a hook of the pool,
   * and what the allocator throws.
   */
  tryAcquire(options?: { tag?: string; hint?: unknown }): MediaBuffer | undefined {
    const slots = this.#slots;
    const coarse = this.#coarse;
    const slot = slots.head;
    if (slot === null || !this.#fastAcquire || options !== undefined) return this.#tryAcquireSlow(options);
    slots.head = slot.next;
    slot.next = null;
    slot.refCount = 1;
    if (++slots.outstanding > slots.highWater) slots.highWater = slots.outstanding;
    // In two places: where the handle leaves this function by one way only, a caller's loop may do without it (3 ns).
    if (++slots.acquires >= coarse.due) return this.#stamp(new MediaBuffer(slot));
    slot.leasedAt = coarse.now;
    return new MediaBuffer(slot);
  }

  /**
   * Notes when a lease began. The clock may call the pool back, so the handle is there before it is read: when the
   * clock ended the lease with its pool, no handle of another generation reaches the slot. Throws `ERR_POOL_DEAD` then.
   */
  #stamp(buffer: MediaBuffer): MediaBuffer {
    const now = this.#coarse.read(this.#slots.acquires);
    if (!buffer.isLive) throw this.#refusal("acquire from");
    buffer.slot.leasedAt = now;
    return buffer;
  }

  #tryAcquireSlow(options: { tag?: string; hint?: unknown } | undefined): MediaBuffer | undefined {
    if (options === undefined) return this.#acquireNow(undefined, undefined);
    const { tag, hint } = checkOptions("options", options, TRY_KEYS);
    return this.#acquireNow(tag, hint);
  }

  /** The fast path of {@link tryAcquire} once more, and the observer is told. */
  #acquireWatched(slot: BufferSlot): MediaBuffer {
    const slots = this.#slots;
    slots.head = slot.next;
    slot.next = null;
    slot.refCount = 1;
    if (++slots.outstanding > slots.highWater) slots.highWater = slots.outstanding;
    let buffer = new MediaBuffer(slot);
    if (++slots.acquires >= this.#coarse.due) buffer = this.#stamp(buffer);
    else slot.leasedAt = this.#coarse.now;
    this.#registration.acquired(slot.index, slot.generation);
    return buffer;
  }

  #acquireNow(tag: string | undefined, hint: unknown): MediaBuffer | undefined {
    const { head } = this.#slots;
    // Not in #tryAcquireSlow, which is to stay as small as it is: what is compiled into the fast path counts (0.6 ns).
    if (this.#watchedAcquire && head !== null && tag === undefined && !this.#slots.inHook) {
      return this.#acquireWatched(head);
    }
    if (tag !== undefined && typeof tag !== "string") throw wrongType("options.tag", "a string", tag);
    this.#slots.assertNoHook("acquire from");
    if (this.#state !== "active") throw this.#refusal("acquire from");
    // The one gate: what is there while somebody waits is on its way to the first in line.
    if (this.#waiters.first !== null) return undefined;
    const entry = this.#entry;
    this.#entry = entry ?? BufferPool.prototype.tryAcquire;
    try {
      const slot = this.#slots.take(hint);
      return slot === null ? undefined : this.#lease(slot, tag, this.#trace ? callSite(this.#entry) : undefined);
    } finally {
      this.#entry = entry;
      this.#finishQueued();
    }
  }

  /** Makes the handle of a lease whose slot has been taken. Throws as {@link BufferPool.#stamp}. */
  #lease(slot: BufferSlot, tag: string | undefined, site: Site | undefined): MediaBuffer {
    slot.tag = tag;
    slot.site = site;
    if (tag !== undefined || site !== undefined) slot.slotFlags |= SlotFlags.DIRTY_FIELDS;
    const buffer = this.#stamp(new MediaBuffer(slot));
    this.#leaks?.watch(buffer);
    this.#registration.acquired(slot.index, slot.generation, tag, site);
    return buffer;
  }

  /**
   * Leases a buffer; waits in line when there is none. First come, first served; nobody overtakes. The wait ends by a
   * release, a discard, a flush, a deactivation, the signal or the timeout.
   *
   * Rejects with `ERR_STARVED` (timeout, or `nowait`; the message and `details.holders` say who holds the buffers),
   * `signal.reason`, `ERR_FLUSHING`, `ERR_INACTIVE`, `ERR_POOL_DEAD`, `ERR_OUT_OF_RANGE`, and the allocator's errors.
   */
  acquire(options: AcquireOptions = NO_OPTIONS): Promise<MediaBuffer> {
    try {
      const { signal, timeout, tag, nowait, hint } =
        options === NO_OPTIONS ? options : checkOptions("options", options, ACQUIRE_KEYS);
      if (nowait !== undefined) flag("options.nowait", nowait, false);
      if (signal !== undefined || timeout !== undefined) checkWait(signal, timeout);
      if (signal?.aborted) return Promise.reject(signal.reason);
      this.#entry = BufferPool.prototype.acquire;
      const buffer = tag === undefined && hint === undefined ? this.tryAcquire() : this.#acquireNow(tag, hint);
      this.#entry = undefined;
      if (buffer !== undefined) return Promise.resolve(buffer);
      if (nowait === true || timeout === 0) {
        this.#starvedCount++;
        return Promise.reject(this.#tellStarved(0));
      }
      const site = this.#trace ? callSite(BufferPool.prototype.acquire) : undefined;
      return this.#wait({ signal, timeout }, { tag, hint, site });
    } catch (error) {
      this.#entry = undefined;
      return Promise.reject(error);
    }
  }

  #wait(options: WaitOptions, request: AcquireRequest): Promise<MediaBuffer> {
    this.#waitCount++;
    // Before the clock and the signal run: what they give back goes to the first in line.
    this.#closeFastPath();
    const wait = this.#waiters.wait(options, request, (waiter) => {
      const error = this.#tellStarved(this.#coarse.look() - waiter.since);
      // The clock or a listener may have served this wait.
      if (waiter.queued) this.#starvedCount++;
      return error;
    });
    // They may also have ended the wait, or opened the fast paths.
    this.#updateFastPath();
    this.#serveWaiters();
    this.#finishQueued();
    if (this.#spare !== undefined) this.#askForSpare(this.#spare);
    // A wait with a timeout has an error of its own. Another clock than the platform's is asked for nothing by itself.
    const warns = (options.timeout ?? Infinity) === Infinity && this.#clock === systemClock;
    if (this.#events.has("starved") || isStarvationHeard(this.#registration) || (warns && canWarn(this.#registration)))
      this.#starvation.arm();
    return wait;
  }

  #askForSpare(spare: ReadonlySet<() => boolean>): void {
    if (this.#waiters.first === null) return;
    for (const giveUp of [...spare]) if (giveUp()) return;
  }

  /**
   * @internal For who has leases of this pool that it can do without, such as blocks that were read ahead. `giveUp` is
   * called when a wait begins; it gives one of them back, now or as soon as that can be, and returns whether it does.
   * It does not throw. Returns what ends that.
   */
  offerSpare(giveUp: () => boolean): () => void {
    const spare = this.#spare ?? new Set();
    this.#spare = spare;
    spare.add(giveUp);
    return () => void spare.delete(giveUp);
  }

  #tellStarved(waited: number): MillpondError {
    const holders = this.holders();
    this.#events.emit("starved", { pool: this.name, waited, waiting: this.#waiters.length, holders });
    tellStarved(this.#registration, waited, this.#waiters.length);
    return starvedError(this.name, this.#config!, waited, holders);
  }

  /**
   * Takes a lease back; the same as `buffer.release()`, with a check that it is this pool's.
   * Throws `ERR_FOREIGN_RELEASE`, `ERR_INVALID_ARG_TYPE`, and what {@link MediaBuffer.release} throws.
   */
  release(buffer: MediaBuffer): void {
    if (!isMediaBuffer(buffer)) throw wrongType("buffer", "a MediaBuffer", buffer);
    const { pool } = buffer.slot;
    if (pool !== this) throw foreignError(this.name, pool?.name);
    buffer.release();
  }

  /** @internal The last reference of a lease went. @realtime on the fast path. */
  onRelease(slot: BufferSlot): void {
    const slots = this.#slots;
    if (this.#fastRelease && slot.isClean()) {
      if (slot.slotFlags !== 0) slot.resetFields();
      slot.refCount = 0;
      slot.generation++;
      slot.next = slots.head;
      slots.head = slot;
      slots.outstanding--;
      return;
    }
    this.#onReleaseSlow(slot);
  }

  #onReleaseSlow(slot: BufferSlot): void {
    if (this.#watchedRelease && slot.isClean()) {
      this.#releaseWatched(slot);
      return;
    }
    if ((slot.slotFlags & SlotFlags.IN_HOOK) !== 0) throw inHookError(slot, "release");
    this.#slots.assertReturnable(slot);
    this.#endLease(slot);
  }

  /** @internal {@link onRelease}, by a holder that cannot try again: mappings keep the slot until they end. */
  onPassed(slot: BufferSlot): void {
    if (slot.isClean()) {
      this.onRelease(slot);
      return;
    }
    if ((slot.slotFlags & SlotFlags.IN_HOOK) !== 0) throw inHookError(slot, "release");
    this.#endLease(slot);
  }

  #endLease(slot: BufferSlot): void {
    slot.refCount = 0;
    slot.generation++;
    if (slot.isHeldElsewhere()) {
      slot.awaitingMemory = true;
      // Neither memory that was added to the list nor a parent buffer is waited for: its own pool may wait for this
      // buffer to let it go, and the parent may have the bytes that this one waits for.
      const letGo = takeKeepers(slot);
      const failure = this.#slots.dropAdded(slot);
      letGo?.();
      if (failure !== undefined) throw failure;
      return;
    }
    this.onReturned(slot);
  }

  /** The fast path of {@link onRelease} once more, and the observer is told. */
  #releaseWatched(slot: BufferSlot): void {
    const slots = this.#slots;
    if (slot.slotFlags !== 0) slot.resetFields();
    slot.refCount = 0;
    slot.generation++;
    slot.next = slots.head;
    slots.head = slot;
    slots.outstanding--;
    this.#registration.released(slot.index);
  }

  /** @internal A slot holds its memory alone again: it is kept, handed on, or freed. */
  onReturned(slot: BufferSlot): void {
    // Released inside a hook of this pool: it goes on when the hook has returned.
    if (this.#slots.queueReturn(slot)) return;
    const error = this.#finishReturn(slot);
    this.#finishQueued();
    if (error !== undefined) throw error;
  }

  /** Goes on with the leases that ended while a hook ran. To be called where hooks have just run, outside of them. */
  #finishQueued(): void {
    if (this.#slots.lost.length > 0) this.#tellLost();
    for (let slot = this.#slots.nextQueued(); slot !== null; slot = this.#slots.nextQueued()) {
      const error = this.#finishReturn(slot);
      // Its release() has returned long ago.
      if (error !== undefined) throwLater(error);
    }
  }

  #tellLost(): void {
    for (const slot of this.#slots.lost.splice(0)) this.#tellDiscard(slot, "detached");
  }

  #tellDiscard(slot: number, reason: DiscardReason): void {
    this.#events.emit("discard", { slot, reason });
    tellDiscarded(this.#registration, slot, reason);
  }

  /** Ends one lease: its hooks, then the waiters, then the listeners. Returns what its holder must hear. */
  #finishReturn(slot: BufferSlot): unknown {
    const { reason, error } = this.#slots.finish(slot, this.isActive ? undefined : "drained");
    this.#registration.released(slot.index);
    this.#serveWaiters();
    if (reason !== undefined) this.#tellDiscard(slot.index, reason);
    if (this.#waiters.length === 0) this.#updateFastPath();
    this.#events.emit("release", { slot: slot.index, free: this.#slots.free });
    try {
      if (!this.isActive && this.#slots.outstanding === 0) this.#finishDrain();
    } catch (thrown) {
      return error ?? thrown;
    }
    return error;
  }

  /** Gives the waiters, in order, what can be had. */
  #serveWaiters(): void {
    while (this.#waiters.first !== null && this.#state === "active") {
      const waiter = this.#waiters.first;
      let slot: BufferSlot | null;
      try {
        slot = this.#slots.take(waiter.tag.hint);
      } catch (error) {
        // One failed allocation refuses one waiter, and the next has its own try at once: nobody may wait while there
        // is room.
        this.#waiters.reject(waiter, error);
        continue;
      }
      if (slot === null) return;
      let buffer: MediaBuffer;
      try {
        buffer = this.#lease(slot, waiter.tag.tag, waiter.tag.site);
      } catch (error) {
        // The clock ended the pool, and the waits with it.
        this.#waiters.reject(waiter, error);
        return;
      }
      if (waiter.queued) this.#waiters.next(buffer);
      // A hook, the allocator or the clock ended the very wait that the slot was for: it is free for the next, unless
      // the pool ended too.
      else if (buffer.isLive) buffer.releaseWhenUnmapped();
    }
  }

  /** @internal */
  staleLease(slot: BufferSlot, generation: number, verb: string): Error {
    return staleLeaseError(this.name, slot, generation, verb, this.#state === "closed");
  }

  /**
   * Says what the pool shall hold. The same configuration again is accepted in any state; another one only while
   * inactive with no lease out. Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`, then `ERR_POOL_DEAD`, `ERR_ACTIVE`,
   * `ERR_IN_USE`, and `ERR_CONFIG_ADJUSTED` when a subclass can only do something near it (`details.config`). What
   * {@link adjust} returns is checked as strictly. A refused call changes nothing.
   *
   * @returns the configuration in force, with the actual size
   */
  configure(config: BufferPoolConfig): ActualPoolConfig {
    const wanted = resolveConfig(config);
    this.#slots.assertNoHook("configure");
    this.#assertNotEnded("configure");
    const { config: inForce } = this;
    if (inForce !== null && (sameConfig(wanted, inForce) || sameConfig(wanted, this.#wanted!))) return inForce;
    if (this.isActive) throw refusedError(this.name, "active", "configure");
    if (this.#slots.outstanding > 0) throw inUseError(this.name, "configure", this.holders());
    try {
      this.#config = this.#slots.callHook(() => checkAdjusted(this.adjust(wanted), wanted));
      this.#wanted = wanted;
    } finally {
      this.#finishQueued();
    }
    return this.#config;
  }

  /**
   * Makes `min` buffers, all or none, and opens the pool. On an active pool: nothing; on a draining one: the drain is
   * canceled, and {@link drained} rejects. Throws `ERR_NOT_CONFIGURED` (also for size or count 0), `ERR_POOL_DEAD`,
   * and what the allocator throws.
   */
  activate(): void {
    this.#slots.assertNoHook("activate");
    this.#assertNotEnded("activate");
    if (this.isActive) return;
    const config = this.#config;
    if (config === null || config.requestedSize === 0 || config.max === 0) {
      const why =
        config === null
          ? "has no configuration"
          : `is configured for ${config.max} buffers of ${config.requestedSize} bytes`;
      throw new MillpondError(
        "ERR_NOT_CONFIGURED",
        `pool "${this.name}" ${why}; configure() size and max of at least 1 first`,
      );
    }
    this.#slots.open(config);
    // A drain that is canceled was never stopped, so nothing is started again.
    const isStarted = this.#state === "draining";
    const entry = this.#entry;
    this.#entry = entry ?? BufferPool.prototype.activate;
    try {
      this.#slots.callHook(() => (isStarted ? this.#slots.preallocate() : this.start()));
      this.#state = "active";
      this.#updateFastPath();
      if (isStarted) this.#cancelDrain();
    } catch (error) {
      this.#slots.freeUnused("drained");
      throw error;
    } finally {
      this.#entry = entry;
      this.#finishQueued();
    }
  }

  #cancelDrain(): void {
    for (const { reject } of this.#drainedWaits.splice(0)) {
      reject(
        new MillpondError(
          "ERR_ACTIVE",
          `pool "${this.name}" was activated again before all its leases were back; deactivate() it, then wait for drained() anew`,
        ),
      );
    }
  }

  /**
   * Closes the pool for now: every waiter is refused (`ERR_INACTIVE`, in order), free buffers are freed, and leases
   * drain: each buffer is freed when it comes back. On an inactive pool: nothing. See {@link drained}.
   */
  deactivate(): void {
    this.#slots.assertNoHook("deactivate");
    if (!this.isActive) return;
    this.#drain(
      "draining",
      () => new MillpondError("ERR_INACTIVE", `pool "${this.name}" was deactivated while waiting for a buffer`),
    );
  }

  #drain(state: "draining" | "retired", refusal: () => MillpondError): void {
    this.#state = state;
    this.#updateFastPath();
    this.#waiters.rejectAll(refusal);
    this.#slots.freeUnused("drained");
    this.#finishQueued();
    if (this.#slots.outstanding === 0) this.#finishDrain();
  }

  #finishDrain(): void {
    if (this.#state === "draining") this.#state = "inactive";
    else if (this.#state === "retired") this.#state = "closed";
    else return;
    this.#endDrain();
  }

  /** The pool is stopped before anybody hears that it is drained, because a listener may activate it anew. */
  #endDrain(): void {
    if (this.#state === "closed") this.#registration.end();
    try {
      this.#slots.callHook(() => this.stop());
    } finally {
      for (const { resolve } of this.#drainedWaits.splice(0)) resolve();
      this.#events.emit("drained", { pool: this.name });
    }
  }

  /**
   * Resolves when no lease of a deactivated pool is out any more; at once when there is none, and on a pool that does
   * not drain. Rejects with `ERR_ACTIVE` when {@link activate} cancels the drain.
   */
  drained(): Promise<void> {
    if (!this.isDraining) return Promise.resolve();
    return new Promise((resolve, reject) => this.#drainedWaits.push({ resolve, reject }));
  }

  /**
   * Refuses acquires without freeing anything (for a seek): waiters get `ERR_FLUSHING`, buffers that come back are
   * kept. Throws `ERR_INACTIVE` on an inactive pool.
   */
  setFlushing(on: boolean): void {
    yesOrNo("on", on);
    this.#slots.assertNoHook("flush");
    if (!this.isActive) throw this.#refusal("flush");
    this.#state = on ? "flushing" : "active";
    this.#updateFastPath();
    if (on) this.#waiters.rejectAll(() => this.#refusal("wait for a buffer of"));
  }

  /** Ends the pool with its last lease: acquires are refused from now on, leases stay valid. Returns the holders. */
  retire(): Holder[] {
    this.#slots.assertNoHook("retire");
    if (this.#state === "closed" || this.#state === "retired") return this.holders();
    this.#drain("retired", () => this.#refusal("wait for a buffer of"));
    return this.holders();
  }

  /**
   * Ends the pool now. While leases are out it refuses (`ERR_IN_USE` says who holds what) and changes nothing; with
   * `force` it takes them back: every later use of such a lease throws `ERR_POOL_DEAD`. Returns the leases that were
   * taken back. What the `dispose` and `stop` hooks and the allocator throw is thrown when all is done, several as an
   * AggregateError; the next call returns the leases then.
   */
  close(options?: { force?: boolean }): Holder[] {
    const force = flag("options.force", checkOptions("options", options, ["force"]).force, false);
    this.#slots.assertNoHook("close");
    if (!force && this.#slots.outstanding > 0) throw inUseError(this.name, "close", this.holders());
    let holders = this.#unreported;
    this.#unreported = [];
    if (this.#state === "closed") return holders;
    const failures = this.#slots.collectFailures(() => {
      holders = this.retire();
      if (this.#state !== "retired") return;
      this.#state = "closed";
      this.#slots.takeBackAll();
      this.#endDrain();
    });
    if (failures.length > 0) this.#unreported = holders;
    rethrow(this.name, failures);
    return holders;
  }

  /** A snapshot of the counters. O(buffers). */
  stats(): BufferPoolStats {
    return {
      name: this.name,
      active: this.isActive,
      size: this.#config?.size ?? 0,
      max: this.#config?.max ?? 0,
      maxBytes: this.#config?.maxBytes ?? 0,
      ...this.#slots.stats(),
      waiting: this.#waiters.length,
      waits: this.#waitCount,
      starved: this.#starvedCount,
    };
  }

  /** The leases, oldest first, with age, tag and (tracing on) the place where each was acquired. O(buffers). */
  holders(): Holder[] {
    return this.#holders(Infinity);
  }

  #holders(most: number): Holder[] {
    const now = this.#coarse.look();
    const leased = this.#slots.leased().sort((a, b) => a.leasedAt - b.leasedAt);
    return leased.slice(0, most).map((slot) => holderOf(slot, now));
  }

  /** Checks every invariant; throws `ERR_CORRUPTED` when one does not hold. O(buffers). For tests and debug levels. */
  validate(): void {
    this.#slots.validate();
    if (this.#waiters.length > 0 && this.#state === "active" && this.#slots.head !== null) {
      throw corruptedError(this.name, "it has waiters and a free buffer at the same time");
    }
  }

  /** Calls `listener` at every event of that name, outside the pool's own bookkeeping; returns what removes it. */
  on<K extends keyof BufferPoolEvents>(name: K, listener: (event: BufferPoolEvents[K]) => void): () => void {
    const off = this.#events.on(name, listener);
    this.#updateFastPath();
    if (name === "starved") {
      this.#registration.isWarned = true;
      this.#starvation.arm();
    }
    return () => {
      off();
      this.#updateFastPath();
    };
  }

  /** Opens the fast paths exactly while nothing needs the slow ones; called when anything named here has changed. */
  #updateFastPath(): void {
    const config = this.#config;
    const plain = config !== null && config.zero !== "acquire" && !this.#trace && this.#leaks === undefined;
    const isWatched = this.#registration.observer !== null;
    const isWaited = this.#waiters.first !== null;
    const mayAcquire = plain && this.#state === "active" && !isWaited;
    this.#fastAcquireAllowed = mayAcquire && !isWatched;
    this.#watchedAcquire = mayAcquire && isWatched;
    this.#fastAcquire = this.#fastAcquireAllowed && !this.#slots.inHook;
    const mayRelease =
      plain &&
      this.isActive &&
      config.zero !== "release" &&
      !config.revoke &&
      !this.#slots.hasHooks &&
      !isWaited &&
      !this.#events.has("release");
    this.#fastRelease = mayRelease && !isWatched;
    this.#watchedRelease = mayRelease && isWatched;
  }

  #closeFastPath(): void {
    this.#fastAcquireAllowed = false;
    this.#fastAcquire = false;
    this.#watchedAcquire = false;
    this.#fastRelease = false;
    this.#watchedRelease = false;
  }

  #assertNotEnded(verb: string): void {
    if (this.#state === "closed" || this.#state === "retired") throw this.#refusal(verb);
  }

  #refusal(verb: string): MillpondError {
    return refusedError(this.name, this.#state, verb);
  }

  /**
   * Hook: what the pool can really do of a wanted configuration. Return it, return a changed copy of it to accept with
   * changes, or throw {@link adjusted} to refuse and say what would be accepted. Default: as wanted.
   */
  protected adjust(wanted: ActualPoolConfig): ActualPoolConfig {
    return wanted;
  }

  /** For {@link adjust}: the refusal that carries what would be accepted. */
  protected adjusted(near: ActualPoolConfig, why: string): MillpondError {
    return new MillpondError(
      "ERR_CONFIG_ADJUSTED",
      `pool "${this.name}" ${why}; configure() what details.config says, or take another pool`,
      { config: near },
    );
  }

  /** Hook: activation. Default: makes `min` buffers, all or none. */
  protected start(): void {
    this.#slots.preallocate();
  }

  /** Hook: the last lease of a deactivated pool is back. Default: nothing. */
  protected stop(): void {}

  /**
   * Hook: fills a new buffer. Default: one memory from the allocator. Metas added here stay with the buffer while the
   * pool keeps it. `hint` is what the acquire that needs the buffer gave as its `hint`; undefined at activation.
   */
  protected populate(buffer: MediaBuffer, config: ActualPoolConfig, _hint?: unknown): void {
    // A traced pool of pages below names the caller of this pool.
    const before = setEntry(this.#entry);
    try {
      const { allocator, size, params } = config;
      const memory = answered(allocator, allocator.allocate(size, params), size);
      if (isTaken(allocator, memory.region.bytes)) {
        releaseFailed(memory);
        throw heldAlreadyError(allocator, memory);
      }
      buffer.append(memory);
    } finally {
      setEntry(before);
    }
  }

  /** Hook: a buffer came back, before times, flags and metas are reset. Default: nothing more than that. */
  protected reset(_buffer: MediaBuffer): void {}

  /** Hook: whether a clean buffer is kept (true) or freed. Default: kept. */
  protected recycle(_buffer: MediaBuffer): boolean {
    return true;
  }

  /** Hook: a buffer is about to be freed. Default: nothing. */
  protected dispose(_buffer: MediaBuffer): void {}
}
disposeByForce(BufferPool);

/**
 * The options of {@link BufferPool.create}, each read once: the constructor's, then the configuration. Inherited ones
 * count. Only a subclass knows others; its constructor reads those and refuses what it does not know.
 */
function splitOptions(options: BufferPoolConfig, isPlain: boolean): [own: object, config: BufferPoolConfig] {
  if (options === undefined) throw wrongType("options", "a plain object", options);
  const known: readonly string[] = [...CONFIG_KEYS, ...POOL_OPTIONS];
  const given = readOptions<Record<string, unknown>>(
    "options",
    options as unknown as Record<string, unknown>,
    isPlain ? known : [...new Set([...known, ...Object.keys(options ?? {})])],
  );
  const config: Record<string, unknown> = {};
  const own: Record<string, unknown> = Object.create(
    isPlain ? Object.prototype : inheritedBeside(options, CONFIG_KEYS),
  );
  for (const key of Object.keys(given)) {
    if ((CONFIG_KEYS as readonly string[]).includes(key)) config[key] = given[key];
    else own[key] = given[key];
  }
  return [own, config as unknown as BufferPoolConfig];
}

/** What an object inherits under other names, as getters: what a constructor does not ask for is not read. */
function inheritedBeside(object: object, names: readonly string[]): object {
  const inherited: object = {};
  for (let from = Object.getPrototypeOf(object); from !== null; from = Object.getPrototypeOf(from)) {
    if (from === Object.prototype) break;
    for (const key of Object.getOwnPropertyNames(from)) {
      if (names.includes(key) || Object.hasOwn(inherited, key)) continue;
      Object.defineProperty(inherited, key, { get: () => (object as Record<string, unknown>)[key] });
    }
  }
  return inherited;
}
