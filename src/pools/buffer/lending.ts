/**
 * Lending: the hot half of a BufferPool. Who gets a buffer, who waits, what happens when one comes back. The other half,
 * {@link BufferPool}, says when any of this is open. Short ways take no clock reading, no closure and no view; everything
 * unusual (a waiter, a listener, a hook, tracing, zeroing, revoking) switches them off and takes the long way.
 */
import { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { type BufferOwner, type BufferSlot, heldByHook, SlotFlags } from "../../media/buffer/slot.ts";
import { type Clock, checkClock } from "../../util/clock.ts";
import { CoarseClock } from "../../util/coarse-clock.ts";
import { Emitter } from "../../util/emitter.ts";
import { MillpondError } from "../../util/errors.ts";
import { throwLater } from "../../util/late.ts";
import { checkOptions, flag, milliseconds, oneOf, text, wrongType, yesOrNo } from "../../util/validate.ts";
import { checkWait, type WaitOptions, WaitQueue } from "../common/wait-queue.ts";
import type { ActualPoolConfig } from "./config.ts";
import { type PoolState, refusedError, staleLeaseError, starvedError } from "./errors.ts";
import { LEAK_SAMPLE, LeakWatch } from "./leak-watch.ts";
import { dropAdded } from "./slot-care.ts";
import { type PoolHooks, SlotStore } from "./slots.ts";
import { StarvationAlarm } from "./starvation.ts";
import { type BufferPoolEvents, type Holder, holderOf } from "./stats.ts";

/** How a {@link BufferPool} is made. */
export interface BufferPoolOptions {
  /** For messages and reports; default "buffers". */
  name?: string;
  /** Time and timers; default: the platform's. */
  clock?: Clock;
  /** Remember where each buffer was acquired (about 4 us an acquire); default false. Can be switched later. */
  trace?: boolean;
  /**
   * Register leases with the garbage collector and emit "leak" when one is collected without a release: none (default), one
   * in 128, or all. A back-stop only: a collection may come late or never. Costs 30 ns an acquire, 200 ns a registered one.
   */
  leaks?: "off" | "sample" | "all";
  /** Milliseconds a wait may last before the "starved" event tells who holds the buffers; default 1000. */
  starvedAfter?: number;
}

/** How a buffer is acquired. */
export interface AcquireOptions extends WaitOptions {
  /** Do not wait: reject with `ERR_STARVED` when no buffer is free. */
  nowait?: boolean;
  /** What the borrower calls itself, for reports. */
  tag?: string;
  /** Anything that a subclass's `populate()` hook understands when this acquire makes a new buffer; not looked into. */
  hint?: unknown;
}

/** What one who waits will be asked for when its turn comes. */
interface AcquireRequest {
  readonly tag: string | undefined;
  readonly hint: unknown;
}

/** What a BufferPool's constructor understands; subclasses with options of their own add to it, and pass none of theirs on. */
export const POOL_OPTIONS: readonly (keyof BufferPoolOptions)[] = ["name", "clock", "trace", "starvedAfter", "leaks"];

const NO_OPTIONS: AcquireOptions = Object.freeze({});
const ACQUIRE_KEYS = ["signal", "timeout", "tag", "nowait", "hint"] as const;

/**
 * The lending desk of a pool. Applications use {@link BufferPool}. What the two halves share begins with `$`, so that a field
 * of an application's subclass cannot take its place unnoticed.
 */
export abstract class Lending implements BufferOwner {
  /** For messages and reports. */
  readonly name: string;
  /** @internal */
  protected readonly $clock: Clock;
  /** @internal */
  protected readonly $events: Emitter<BufferPoolEvents> = new Emitter([
    "starved",
    "discard",
    "release",
    "drained",
    "leak",
  ]);
  /** @internal */
  protected readonly $waiters: WaitQueue<MediaBuffer, AcquireRequest>;
  /** @internal */
  protected readonly $store: SlotStore;
  readonly #alarm: StarvationAlarm;
  readonly #coarse: CoarseClock;
  readonly #leaks: LeakWatch | undefined;
  /** @internal */
  protected $configNow: ActualPoolConfig | null = null;
  /** @internal */
  protected $stateNow: PoolState = "inactive";
  #trace: boolean;
  /** Acquire may take the fast path: active, not traced, and no hook runs. */
  #fastAcquire = false;
  /** What `#quickOut` is while no hook runs. */
  #fastAcquireAllowed = false;
  /** Release may take the short way: nobody waits or listens, nothing is zeroed, revoked or hooked. */
  #fastRelease = false;
  /** @internal */
  protected $waitCount = 0;
  /** @internal */
  protected $starvedCount = 0;

  /** Makes an unconfigured, inactive pool. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. */
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
    this.$clock = clock;
    this.#trace = flag("options.trace", trace, false);
    this.#coarse = new CoarseClock(clock);
    const level = oneOf("options.leaks", leaks, ["off", "sample", "all"]);
    if (level !== "off")
      this.#leaks = new LeakWatch(level === "all" ? 1 : LEAK_SAMPLE, (slot) => this.#reportLeak(slot));
    this.$waiters = new WaitQueue(clock);
    const after = milliseconds("options.starvedAfter", starvedAfter);
    this.#alarm = new StarvationAlarm(clock, after, this.$waiters, (waited) =>
      this.#reportStarved(waited, this.holders()),
    );
    this.$store = new SlotStore(this, this.$hooks(), (runs) => {
      this.#fastAcquire = !runs && this.#fastAcquireAllowed;
    });
  }

  /** @internal What a subclass of the pool overrides. */
  protected abstract $hooks(): PoolHooks;

  /** @internal The last loan of a closed pool came back. */
  protected abstract $finishDrain(): void;

  /** Whether buffers can be acquired. */
  get isActive(): boolean {
    return this.$stateNow === "active" || this.$stateNow === "flushing";
  }

  /** True between `setFlushing(true)` and `setFlushing(false)`. */
  get isFlushing(): boolean {
    return this.$stateNow === "flushing";
  }

  /** Buffers that can be acquired without waiting and without allocating. */
  get free(): number {
    return this.$store.free;
  }

  /** Buffers on loan, including released ones whose memory is still held elsewhere. */
  get outstanding(): number {
    return this.$store.outstanding;
  }

  /** Whether acquire remembers where it was called. */
  get trace(): boolean {
    return this.#trace;
  }
  set trace(on: boolean) {
    this.#trace = yesOrNo("trace", on);
    this.$updateFastPath();
  }

  /**
   * Lends a buffer, or undefined when all are on loan and the bound is reached. A free one first (the last returned, its
   * pages are warm), then a new one. @realtime when a free one is taken, but for the handle of one lease.
   * Throws `ERR_INACTIVE`, `ERR_FLUSHING`, `ERR_NOT_CONFIGURED`, `ERR_POOL_DEAD`, `ERR_REENTRANT` inside a hook of the pool, and what
   * the allocator throws.
   */
  tryAcquire(options?: { tag?: string; hint?: unknown }): MediaBuffer | undefined {
    const store = this.$store;
    const coarse = this.#coarse;
    const slot = store.head;
    if (slot === null || !this.#fastAcquire || options !== undefined) return this.#tryAcquireSlow(options);
    store.head = slot.next;
    slot.next = null;
    slot.refCount = 1;
    if (++store.outstanding > store.highWater) store.highWater = store.outstanding;
    if (++store.acquires >= coarse.due) coarse.read(store.acquires);
    slot.leasedAt = coarse.now;
    return new MediaBuffer(slot);
  }

  #tryAcquireSlow(options: { tag?: string; hint?: unknown } | undefined): MediaBuffer | undefined {
    if (options === undefined) return this.#take(undefined, undefined);
    const { tag, hint } = checkOptions("options", options, ["tag", "hint"]);
    return this.#take(tag, hint);
  }

  #take(tag: string | undefined, hint: unknown): MediaBuffer | undefined {
    if (tag !== undefined && typeof tag !== "string") throw wrongType("options.tag", "a string", tag);
    this.$store.assertNoHook("acquire from");
    if (this.$stateNow !== "active") throw this.$refusal("acquire from");
    try {
      const slot = this.$store.take(hint);
      return slot === null ? undefined : this.#lease(slot, tag);
    } finally {
      this.$finishDeferred();
    }
  }

  #lease(slot: BufferSlot, tag: string | undefined): MediaBuffer {
    slot.leasedAt = this.#coarse.read(this.$store.acquires);
    slot.tag = tag;
    slot.site = this.#trace ? new Error("acquired") : undefined;
    if (tag !== undefined || this.#trace) slot.slotFlags |= SlotFlags.DIRTY_FIELDS;
    const buffer = new MediaBuffer(slot);
    this.#leaks?.watch(buffer);
    return buffer;
  }

  /**
   * Lends a buffer; waits in line when there is none. First come, first served; nobody overtakes. The wait ends by a
   * release, a discard, a flush, a deactivation, the signal or the timeout.
   *
   * Rejects with `ERR_STARVED` (timeout, or `nowait`; the message and `details.holders` say who holds the buffers),
   * `signal.reason`, `ERR_FLUSHING`, `ERR_INACTIVE`, `ERR_POOL_DEAD`, `ERR_OUT_OF_RANGE`, and what the allocator throws.
   */
  acquire(options: AcquireOptions = NO_OPTIONS): Promise<MediaBuffer> {
    try {
      const { signal, timeout, tag, nowait, hint } =
        options === NO_OPTIONS ? options : checkOptions("options", options, ACQUIRE_KEYS);
      if (nowait !== undefined) flag("options.nowait", nowait, false);
      if (signal !== undefined || timeout !== undefined) checkWait(signal, timeout);
      if (signal?.aborted) return Promise.reject(signal.reason);
      const buffer = tag === undefined && hint === undefined ? this.tryAcquire() : this.#take(tag, hint);
      if (buffer !== undefined) return Promise.resolve(buffer);
      if (nowait === true || timeout === 0) return Promise.reject(this.#timeoutError(0));
      return this.#wait({ signal, timeout }, { tag, hint });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #wait(options: WaitOptions, asked: AcquireRequest): Promise<MediaBuffer> {
    this.$waitCount++;
    const wait = this.$waiters.wait(options, asked, (waiter) => this.#timeoutError(this.$clock.now() - waiter.since));
    // Only now: a clock or a signal that gave buffers back while the wait was made has opened the fast path again.
    this.#fastRelease = false;
    this.#serveWaiters();
    this.$finishDeferred();
    if (this.$events.has("starved")) this.#alarm.arm();
    return wait;
  }

  #timeoutError(waited: number): MillpondError {
    this.$starvedCount++;
    const holders = this.holders();
    this.#reportStarved(waited, holders);
    return starvedError(this.name, this.$configNow!, waited, holders);
  }

  #reportLeak(slot: BufferSlot): void {
    this.$events.emit("leak", { pool: this.name, holder: holderOf(slot, this.$clock.now()) });
  }

  #reportStarved(waited: number, holders: readonly Holder[]): void {
    this.$events.emit("starved", { pool: this.name, waited, waiting: this.$waiters.length, holders });
  }

  /**
   * Takes a lease back; the same as `buffer.release()`, with a check that it is this pool's.
   * Throws `ERR_FOREIGN_RELEASE`, `ERR_INVALID_ARG_TYPE`, and what {@link MediaBuffer.release} throws.
   */
  release(buffer: MediaBuffer): void {
    if (!(buffer instanceof MediaBuffer)) throw wrongType("buffer", "a MediaBuffer", buffer);
    if (buffer.slot.owner !== this) {
      const owner = buffer.slot.owner;
      const whose = owner === null ? "to no pool" : `to pool "${owner.name}"`;
      throw new MillpondError(
        "ERR_FOREIGN_RELEASE",
        `this buffer belongs ${whose}, not to pool "${this.name}"; call buffer.release()`,
      );
    }
    buffer.release();
  }

  /** @internal The last reference of a lease went. @realtime on the short way. */
  onRelease(slot: BufferSlot): void {
    const store = this.$store;
    if (this.#fastRelease && store.isClean(slot)) {
      if (slot.slotFlags !== 0) slot.resetFields();
      slot.refCount = 0;
      slot.generation++;
      slot.next = store.head;
      store.head = slot;
      store.outstanding--;
      return;
    }
    this.#onReleaseSlow(slot);
  }

  #onReleaseSlow(slot: BufferSlot): void {
    if ((slot.slotFlags & SlotFlags.HELD) !== 0) throw heldByHook(slot, "release");
    this.$store.assertReturnable(slot);
    slot.refCount = 0;
    slot.generation++;
    if (slot.isHeldElsewhere()) {
      slot.awaitingMemory = true;
      // Memory that was added to the list is not waited for: its own pool may wait for this buffer to let it go.
      const failure = dropAdded(slot);
      if (failure !== undefined) throw failure;
      return;
    }
    this.onReturned(slot);
  }

  /** @internal A slot is wholly its own again: keep it, hand it on, or free it. */
  onReturned(slot: BufferSlot): void {
    // Released inside a hook of this pool: it goes on when the hook has returned.
    if (this.$store.defer(slot)) return;
    const error = this.#finishReturn(slot);
    this.$finishDeferred();
    if (error !== undefined) throw error;
  }

  /** @internal Goes on with the leases that ended while a hook ran. To be called where hooks have just run, outside of them. */
  protected $finishDeferred(): void {
    for (let slot = this.$store.nextDeferred(); slot !== null; slot = this.$store.nextDeferred()) {
      const error = this.#finishReturn(slot);
      // Its release() has returned long ago.
      if (error !== undefined) throwLater(error);
    }
  }

  /** Ends one lease: its hooks, then those who wait, then those who listen. Returns what its holder must hear. */
  #finishReturn(slot: BufferSlot): unknown {
    const { reason, error } = this.$store.finish(slot, this.isActive ? undefined : "drained");
    if (reason !== undefined) this.$events.emit("discard", { slot: slot.index, reason });
    this.#serveWaiters();
    if (this.$waiters.length === 0) this.$updateFastPath();
    this.$events.emit("release", { slot: slot.index, free: this.$store.free });
    try {
      if (!this.isActive && this.$store.outstanding === 0) this.$finishDrain();
    } catch (thrown) {
      return error ?? thrown;
    }
    return error;
  }

  /** Gives what can be had to those who wait, in order. */
  #serveWaiters(): void {
    while (this.$waiters.first !== null && this.$stateNow === "active") {
      const waiter = this.$waiters.first;
      let slot: BufferSlot | null;
      try {
        slot = this.$store.take(waiter.tag.hint);
      } catch (error) {
        // One failed allocation refuses one waiter, and the next has its own try at once: nobody may wait while there is room.
        this.$waiters.reject(waiter, error);
        continue;
      }
      if (slot === null) return;
      const buffer = this.#lease(slot, waiter.tag.tag);
      if (waiter.queued) this.$waiters.next(buffer);
      // A hook, the allocator or the clock ended the very wait that the slot was for: it is free for the next, unless the pool ended too.
      else if (buffer.isLive) buffer.release();
    }
  }

  /** @internal */
  staleLease(slot: BufferSlot, generation: number, verb: string): Error {
    return staleLeaseError(this.name, slot, generation, verb, this.$stateNow === "dead");
  }

  /** The loans, oldest first, with age, tag and (tracing on) the place where each was acquired. O(buffers). */
  holders(): Holder[] {
    const now = this.$clock.now();
    return this.$store
      .leased()
      .map((slot) => holderOf(slot, now))
      .sort((a, b) => b.age - a.age);
  }

  /** Calls `listener` at every event of that name, outside the pool's own bookkeeping; returns what removes it. */
  on<K extends keyof BufferPoolEvents>(name: K, listener: (event: BufferPoolEvents[K]) => void): () => void {
    const off = this.$events.on(name, listener);
    this.$updateFastPath();
    if (name === "starved") this.#alarm.arm();
    return () => {
      off();
      this.$updateFastPath();
    };
  }

  /** @internal */
  protected $updateFastPath(): void {
    const config = this.$configNow;
    const active = this.$stateNow === "active";
    const plain = config !== null && config.zero !== "acquire" && !this.#trace && this.#leaks === undefined;
    this.#fastAcquireAllowed = active && plain;
    this.#fastAcquire = this.#fastAcquireAllowed && !this.$store.inHook;
    this.#fastRelease =
      this.isActive &&
      plain &&
      config.zero !== "release" &&
      !config.revoke &&
      !this.$store.hasHooks &&
      this.$waiters.length === 0 &&
      !this.$events.has("release");
  }

  /** @internal */
  protected $refusal(verb: string): MillpondError {
    return refusedError(this.name, this.$stateNow, verb);
  }
}
