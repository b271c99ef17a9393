/**
 * BufferPool: a bounded set of equal buffers, lent and taken back, that cannot be misused silently and never hangs without
 * saying why. GStreamer's GstBufferPool and DirectShow's IMemAllocator in one.
 *
 * ```ts
 * const pool = new BufferPool({ name: "frames" });
 * pool.configure({ size: 3_110_400, max: 4 });
 * pool.activate();
 * const frame = await pool.acquire({ timeout: 1000 }); // waits its turn; a timeout says who holds the others
 * frame.bytes.set(pixels);
 * frame.release();                                     // a second release() throws ERR_DOUBLE_RELEASE
 * ```
 *
 * Life: configure -> activate -> acquire/release ... -> deactivate (loans drain: what comes back is freed at once) ->
 * configure again, or one of three ends: {@link BufferPool.retire}, {@link BufferPool.close}, {@link BufferPool.destroy}.
 */
import { MediaBuffer } from "../media/media-buffer.ts";
import type { BufferOwner, BufferSlot } from "../media/slot.ts";
import { milliseconds, wrongType } from "../observe/arguments.ts";
import { type Clock, systemClock } from "../observe/clock.ts";
import { MillpondError } from "../observe/errors.ts";
import { Emitter } from "../observe/events.ts";
import { type ActualPoolConfig, type BufferPoolConfig, resolveConfig, sameConfig } from "./pool-config.ts";
import {
  type BufferPoolEvents,
  type BufferPoolStats,
  describeHolders,
  type Holder,
  holderOf,
  staleLeaseError,
  starvedError,
} from "./pool-report.ts";
import { type PoolHooks, SlotStore } from "./slot-store.ts";
import { type WaitOptions, WaitQueue } from "./waiters.ts";

/** How a {@link BufferPool} is made. */
export interface BufferPoolOptions {
  /** For messages and reports; default "buffers". */
  name?: string;
  /** Time and timers; default: the platform's. */
  clock?: Clock;
  /** Remember where each buffer was acquired (about 4 us an acquire); default false. Can be switched later. */
  trace?: boolean;
  /** Milliseconds a wait may last before the "starved" event tells who holds the buffers; default 1000. */
  starvedAfter?: number;
}

/** How a buffer is acquired. */
export interface AcquireOptions extends WaitOptions {
  /** Do not wait: reject with `ERR_STARVED` when no buffer is free. */
  nowait?: boolean;
  /** What the borrower calls itself, for reports. */
  tag?: string;
}

/** Acquires between two readings of the clock while they come fast: 30 ns of reading over 32 is 1 ns each. */
const CLOCK_STRIDE = 32;

/** Readings further apart than this (ms) mean acquires are rare, and then every one reads the clock. */
const CLOCK_RARE = 5;

type State = "inactive" | "active" | "flushing" | "draining" | "retired" | "dead";

const NO_OPTIONS: AcquireOptions = Object.freeze({});

/** A bounded set of equal buffers; see the module text. Subclasses override the hooks at the end. */
export class BufferPool implements BufferOwner {
  /** For messages and reports. */
  readonly name: string;
  readonly #clock: Clock;
  readonly #events: Emitter<BufferPoolEvents> = new Emitter();
  readonly #waiters: WaitQueue<MediaBuffer>;
  readonly #store: SlotStore;
  readonly #starvedAfter: number;
  #config: ActualPoolConfig | null = null;
  #state: State = "inactive";
  #trace: boolean;
  /** Acquire may take the short way: active, not traced. */
  #quickOut = false;
  /** Release may take the short way: nobody waits or listens, nothing is zeroed, revoked or hooked. */
  #quickBack = false;
  #now = 0;
  #untilClock = 1;
  #stride = 1;
  #waits = 0;
  #starved = 0;
  #alarm: unknown = undefined;
  #drainedWaits: (() => void)[] = [];

  /** Makes an unconfigured, inactive pool. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. */
  constructor(options: BufferPoolOptions = {}) {
    const { name = "buffers", clock = systemClock, trace = false, starvedAfter = 1000 } = options;
    if (typeof name !== "string") throw wrongType("options.name", "a string", name);
    this.name = name;
    this.#clock = clock;
    this.#trace = trace === true;
    this.#starvedAfter = milliseconds("options.starvedAfter", starvedAfter);
    this.#waiters = new WaitQueue(clock);
    const base = BufferPool.prototype;
    const hooks: PoolHooks = {
      populate: (buffer, config) => this.populate(buffer, config),
      reset: this.reset === base.reset ? undefined : (buffer) => this.reset(buffer),
      recycle: this.recycle === base.recycle ? undefined : (buffer) => this.recycle(buffer),
      dispose: this.dispose === base.dispose ? undefined : (buffer) => this.dispose(buffer),
    };
    this.#store = new SlotStore(this, hooks);
  }

  /** The configuration in force, or null. Frozen. */
  get config(): ActualPoolConfig | null {
    return this.#config;
  }

  /** Whether buffers can be acquired. */
  get isActive(): boolean {
    return this.#state === "active" || this.#state === "flushing";
  }

  /** True while the pool is deactivated and loans are still out. */
  get isDraining(): boolean {
    return (this.#state === "draining" || this.#state === "retired") && this.#store.outstanding > 0;
  }

  /** True between `setFlushing(true)` and `setFlushing(false)`. */
  get isFlushing(): boolean {
    return this.#state === "flushing";
  }

  /** Buffers that can be acquired without waiting and without allocating. */
  get free(): number {
    return this.#store.free;
  }

  /** Buffers on loan, including released ones whose memory is still held elsewhere. */
  get outstanding(): number {
    return this.#store.outstanding;
  }

  /** Whether acquire remembers where it was called. */
  get trace(): boolean {
    return this.#trace;
  }
  set trace(on: boolean) {
    this.#trace = on === true;
    this.#retune();
  }

  /**
   * Says what the pool shall hold. The same configuration again is accepted in any state; another one only while inactive
   * with no loan out. Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`, then `ERR_POOL_DEAD`, `ERR_ACTIVE`, `ERR_LOANS_OUT`, and
   * `ERR_CONFIG_ADJUSTED` when a subclass can only do something near it (`details.config`). A refused call changes nothing.
   *
   * @returns the configuration in force, with the actual size
   */
  configure(config: BufferPoolConfig): ActualPoolConfig {
    const wanted = resolveConfig(config);
    this.#assertAlive("configure");
    if (this.#config !== null && sameConfig(wanted, this.#config)) return this.#config;
    if (this.isActive) {
      throw new MillpondError(
        "ERR_ACTIVE",
        `pool "${this.name}" is active; deactivate() it before configuring, or make a new pool`,
      );
    }
    if (this.#store.outstanding > 0) throw this.#loansOut("ERR_LOANS_OUT", "cannot be configured");
    this.#config = this.adjust(wanted);
    return this.#config;
  }

  /**
   * Makes `min` buffers, all or none, and opens the pool. On an active pool: nothing; on a draining one: the drain is
   * cancelled. Throws `ERR_NOT_CONFIGURED` (also for size or count 0), `ERR_POOL_DEAD`, and what the allocator throws.
   */
  activate(): void {
    this.#assertAlive("activate");
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
    this.#store.open(config);
    try {
      this.start();
    } catch (error) {
      this.#store.freeUnused("drained");
      throw error;
    }
    this.#state = "active";
    this.#retune();
  }

  /**
   * Closes the pool: every waiter is refused (`ERR_INACTIVE`, in order), free buffers are freed, and loans drain: each is
   * freed when it comes back. On an inactive pool: nothing. See {@link drained}.
   */
  deactivate(): void {
    if (!this.isActive) return;
    this.#shut(
      "inactive",
      () => new MillpondError("ERR_INACTIVE", `pool "${this.name}" was deactivated while waiting for a buffer`),
    );
  }

  #shut(next: "inactive" | "retired", refusal: () => MillpondError): void {
    this.#state = next === "retired" ? "retired" : "draining";
    this.#retune();
    this.#waiters.rejectAll(refusal);
    this.#store.freeUnused("drained");
    if (this.#store.outstanding === 0) this.#finishDrain();
  }

  #finishDrain(): void {
    if (this.#state === "draining") this.#state = "inactive";
    else if (this.#state === "retired") this.#state = "dead";
    else return;
    const waits = this.#drainedWaits;
    this.#drainedWaits = [];
    for (const resolve of waits) resolve();
    this.#events.emit("drained", { pool: this.name });
    this.stop();
  }

  /** Resolves when no loan of a deactivated pool is out any more; at once when there is none. */
  drained(): Promise<void> {
    if (!this.isDraining) return Promise.resolve();
    return new Promise((resolve) => this.#drainedWaits.push(resolve));
  }

  /**
   * Refuses acquires without freeing anything (for a seek): waiters get `ERR_FLUSHING`, buffers that come back are kept.
   * Throws `ERR_INACTIVE` on an inactive pool.
   */
  setFlushing(on: boolean): void {
    if (!this.isActive) throw this.#refusal("flush");
    this.#state = on ? "flushing" : "active";
    this.#retune();
    if (on) this.#waiters.rejectAll(() => this.#refusal("wait for a buffer of"));
  }

  /**
   * Lends a buffer, or undefined when all are on loan and the bound is reached. A free one first (the last returned, its
   * pages are warm), then a new one. @realtime when a free one is taken, but for the handle of one lease.
   * Throws `ERR_INACTIVE`, `ERR_FLUSHING`, `ERR_NOT_CONFIGURED`, `ERR_POOL_DEAD`, and what the allocator throws.
   */
  tryAcquire(options?: { tag?: string }): MediaBuffer | undefined {
    const store = this.#store;
    const slot = store.head;
    if (slot === null || !this.#quickOut || options !== undefined) return this.#tryAcquireSlow(options?.tag);
    store.head = slot.next;
    slot.next = null;
    slot.refCount = 1;
    store.acquires++;
    if (++store.outstanding > store.highWater) store.highWater = store.outstanding;
    if (--this.#untilClock === 0) this.#readClock();
    slot.lentAt = this.#now;
    return new MediaBuffer(slot);
  }

  #tryAcquireSlow(tag: string | undefined): MediaBuffer | undefined {
    if (this.#state !== "active") throw this.#refusal("acquire from");
    const slot = this.#store.take();
    return slot === null ? undefined : this.#lend(slot, tag);
  }

  #lend(slot: BufferSlot, tag: string | undefined): MediaBuffer {
    this.#readClock();
    slot.lentAt = this.#now;
    slot.tag = tag;
    slot.site = this.#trace ? new Error("acquired") : undefined;
    slot.dirty = tag !== undefined || this.#trace;
    return new MediaBuffer(slot);
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
      const { signal, timeout, tag } = options;
      if (timeout !== undefined) milliseconds("options.timeout", timeout);
      if (signal?.aborted) return Promise.reject(signal.reason);
      const buffer = tag === undefined ? this.tryAcquire() : this.#tryAcquireSlow(tag);
      if (buffer !== undefined) return Promise.resolve(buffer);
      if (options.nowait === true || timeout === 0) return Promise.reject(this.#starve(0));
      return this.#join(options, tag);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #join(options: AcquireOptions, tag: string | undefined): Promise<MediaBuffer> {
    this.#quickBack = false;
    this.#waits++;
    const wait = this.#waiters.wait(options, tag, (waiter) => this.#starve(this.#clock.now() - waiter.since));
    this.#armAlarm();
    return wait;
  }

  #starve(waited: number): MillpondError {
    this.#starved++;
    const holders = this.holders();
    this.#events.emit("starved", { pool: this.name, waited, waiting: this.#waiters.length, holders });
    return starvedError(this.name, this.#config!, waited, holders);
  }

  #armAlarm(): void {
    const first = this.#waiters.first;
    if (this.#alarm !== undefined || first === null || !this.#events.has("starved") || this.#starvedAfter === Infinity)
      return;
    const due = Math.max(0, first.since + this.#starvedAfter - this.#clock.now());
    this.#alarm = this.#clock.setTimer(() => this.#ring(), due > 0 ? due : this.#starvedAfter, true);
  }

  #ring(): void {
    this.#alarm = undefined;
    const first = this.#waiters.first;
    if (first === null) return;
    const waited = this.#clock.now() - first.since;
    if (waited >= this.#starvedAfter) {
      this.#events.emit("starved", { pool: this.name, waited, waiting: this.#waiters.length, holders: this.holders() });
    }
    this.#armAlarm();
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
  takeBack(slot: BufferSlot): void {
    const store = this.#store;
    if (this.#quickBack && store.isPristine(slot)) {
      if (slot.dirty) slot.resetFields();
      slot.refCount = 0;
      slot.generation++;
      slot.next = store.head;
      store.head = slot;
      store.outstanding--;
      return;
    }
    this.#takeBackSlow(slot);
  }

  #takeBackSlow(slot: BufferSlot): void {
    this.#store.assertReturnable(slot);
    slot.refCount = 0;
    slot.generation++;
    if (!slot.isWhole()) {
      slot.lingering = true;
      return;
    }
    this.settled(slot);
  }

  /** @internal A slot is wholly its own again: keep it, hand it on, or free it. */
  settled(slot: BufferSlot): void {
    const open = this.isActive;
    const { reason, error } = open ? this.#store.restore(slot) : this.#store.giveUp(slot, "drained");
    if (reason !== undefined) this.#events.emit("discard", { slot: slot.index, reason });
    this.#serve();
    if (this.#waiters.length === 0) this.#retune();
    this.#events.emit("release", { slot: slot.index, free: this.#store.free });
    if (!open && this.#store.outstanding === 0) this.#finishDrain();
    if (error !== undefined) throw error;
  }

  /** Gives what can be had to those who wait, in order. */
  #serve(): void {
    while (this.#waiters.first !== null && this.#state === "active") {
      const waiter = this.#waiters.first;
      let slot: BufferSlot | null;
      try {
        slot = this.#store.take();
      } catch (error) {
        // One failed allocation refuses one waiter; the next has its own try when something changes again.
        this.#waiters.leave(waiter, error);
        return;
      }
      if (slot === null) return;
      this.#waiters.next(this.#lend(slot, waiter.tag));
    }
  }

  /** @internal */
  staleLease(slot: BufferSlot, generation: number, verb: string): Error {
    return staleLeaseError(this.name, slot, generation, verb, this.#state === "dead");
  }

  /** The loans, oldest first, with age, tag and (tracing on) the place where each was acquired. O(buffers). */
  holders(): Holder[] {
    const now = this.#clock.now();
    return this.#store
      .lent()
      .map((slot) => holderOf(slot, now))
      .sort((a, b) => b.age - a.age);
  }

  /** Calls `listener` at every event of that name, outside the pool's own bookkeeping; returns what removes it. */
  on<K extends keyof BufferPoolEvents>(name: K, listener: (event: BufferPoolEvents[K]) => void): () => void {
    const off = this.#events.on(name, listener);
    this.#retune();
    if (name === "starved") this.#armAlarm();
    return () => {
      off();
      this.#retune();
    };
  }

  /** A snapshot of the counters. */
  stats(): BufferPoolStats {
    return {
      name: this.name,
      active: this.isActive,
      size: this.#config?.size ?? 0,
      max: this.#config?.max ?? 0,
      maxBytes: this.#config?.maxBytes ?? 0,
      ...this.#store.stats(),
      waiting: this.#waiters.length,
      waits: this.#waits,
      starved: this.#starved,
    };
  }

  /** Ends the pool with its last loan: nothing can be acquired any more, loans stay valid. Returns who still holds one. */
  retire(): Holder[] {
    if (this.#state === "dead" || this.#state === "retired") return this.holders();
    this.#shut("retired", () => this.#refusal("wait for a buffer of"));
    return this.holders();
  }

  /** Ends the pool now; refuses while loans are out (`ERR_LOANS_OUT` says who holds what), and then changes nothing. */
  close(): void {
    if (this.#store.outstanding > 0) throw this.#loansOut("ERR_LOANS_OUT", "cannot be closed");
    this.retire();
  }

  /**
   * Ends the pool now. With loans out it throws `ERR_LOANS_OUT`, or with `force` takes them back: their leases are void
   * (every later use throws `ERR_POOL_DEAD`). Returns the loans that were taken back.
   */
  destroy(options?: { force?: boolean }): Holder[] {
    if (options?.force !== true) {
      this.close();
      return [];
    }
    const holders = this.retire();
    if (this.#state === "retired") this.#state = "dead";
    this.#store.reclaimAll();
    for (const resolve of this.#drainedWaits.splice(0)) resolve();
    return holders;
  }

  /** Checks every invariant of the pool; throws `ERR_CORRUPTED` when one does not hold. O(buffers). For tests and debug levels. */
  assertInvariants(): void {
    this.#store.assertInvariants();
    if (this.#waiters.length > 0 && this.#state === "active" && this.#store.head !== null) {
      throw new MillpondError("ERR_CORRUPTED", `pool "${this.name}" has waiters and a free buffer at the same time`);
    }
  }

  #readClock(): void {
    const now = this.#clock.now();
    this.#stride = now - this.#now > CLOCK_RARE ? 1 : Math.min(this.#stride * 2, CLOCK_STRIDE);
    this.#now = now;
    this.#untilClock = this.#stride;
  }

  #retune(): void {
    const config = this.#config;
    const active = this.#state === "active";
    const plain = config !== null && config.zero !== "acquire" && !this.#trace;
    this.#quickOut = active && plain;
    this.#quickBack =
      this.isActive &&
      plain &&
      config.zero !== "release" &&
      !config.revoke &&
      !this.#store.hasHooks &&
      this.#waiters.length === 0 &&
      !this.#events.has("release");
  }

  #assertAlive(verb: string): void {
    if (this.#state === "dead" || this.#state === "retired") throw this.#refusal(verb);
  }

  #refusal(verb: string): MillpondError {
    if (this.#state === "dead" || this.#state === "retired") {
      return new MillpondError(
        "ERR_POOL_DEAD",
        `cannot ${verb} pool "${this.name}": it was retired, closed or destroyed; make a new one`,
      );
    }
    if (this.#state === "flushing") {
      return new MillpondError(
        "ERR_FLUSHING",
        `cannot ${verb} pool "${this.name}": it is flushing; setFlushing(false) ends that`,
      );
    }
    return new MillpondError(
      "ERR_INACTIVE",
      `cannot ${verb} pool "${this.name}": it is not active; activate() it first`,
    );
  }

  #loansOut(code: "ERR_LOANS_OUT", what: string): MillpondError {
    const holders = this.holders();
    return new MillpondError(
      code,
      `pool "${this.name}" ${what}: ${holders.length} buffers are on loan; ${describeHolders(holders)}. Wait for drained(), or use another pool`,
      { pool: this.name, holders },
    );
  }

  /**
   * Hook: what the pool can really do of a wanted configuration. Return it, return a changed one to accept with changes, or
   * throw {@link adjusted} to refuse and say what would be accepted. Default: as wanted.
   */
  protected adjust(wanted: ActualPoolConfig): ActualPoolConfig {
    return wanted;
  }

  /** For {@link adjust}: the refusal that carries what would be accepted. */
  protected adjusted(near: ActualPoolConfig, why: string): MillpondError {
    return new MillpondError(
      "ERR_CONFIG_ADJUSTED",
      `pool "${this.name}" ${why}; configure() what details.config says, or take another pool`,
      {
        config: near,
      },
    );
  }

  /** Hook: activation. Default: makes `min` buffers, all or none. */
  protected start(): void {
    this.#store.preallocate();
  }

  /** Hook: the last loan of a deactivated pool is back. Default: nothing. */
  protected stop(): void {}

  /** Hook: fills a new buffer. Default: one memory from the allocator. Metas added here belong to the pool for good. */
  protected populate(buffer: MediaBuffer, config: ActualPoolConfig): void {
    buffer.append(config.allocator.allocate(config.size, config.params));
  }

  /** Hook: a buffer came home, before times, flags and metas are reset. Default: nothing more than that. */
  protected reset(_buffer: MediaBuffer): void {}

  /** Hook: whether a clean buffer is kept (true) or freed. Default: kept. */
  protected recycle(_buffer: MediaBuffer): boolean {
    return true;
  }

  /** Hook: a buffer is about to be freed. Default: nothing. */
  protected dispose(_buffer: MediaBuffer): void {}
}
