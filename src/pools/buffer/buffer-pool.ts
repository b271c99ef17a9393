/**
 * BufferPool: a bounded set of equal buffers, lent and taken back, that cannot be misused silently and never hangs without
 * saying why. GStreamer's GstBufferPool and DirectShow's IMemAllocator in one.
 *
 * ```ts
 * const pool = BufferPool.create({ name: "frames", size: 3_110_400, max: 4 });
 * const frame = await pool.acquire({ timeout: 1000 }); // waits its turn; a timeout says who holds the others
 * frame.bytes.set(pixels);
 * frame.release();                                     // a second release() throws ERR_DOUBLE_RELEASE
 * ```
 *
 * Life: configure -> activate -> acquire/release ... -> deactivate (loans drain: what comes back is freed at once) ->
 * configure again, or one of three ends: {@link BufferPool.retire}, {@link BufferPool.close}, {@link BufferPool.close}.
 *
 * Invariants: a slot is FREE, LEASED, RETURNING (hooks run) or AWAITING (a copy still holds its bytes), and one function, `SlotStore.finish`,
 * ends a lease, whatever ends it. Inside a hook (docs/hooks.md has the whole table):
 *
 * | call                                            | answer                                                      |
 * | ----------------------------------------------- | ----------------------------------------------------------- |
 * | release(), retain() of the hook's own buffer    | `ERR_REENTRANT`                                             |
 * | addMeta(), removeMeta() on a returning buffer   | `ERR_REENTRANT`                                             |
 * | anything else on it                             | works; what is left is judged after the last hook           |
 * | release() of another lease of the pool          | works; its hooks run when this one has returned             |
 * | acquire, configure, activate, deactivate, ends  | `ERR_REENTRANT`, nothing changes                            |
 */
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { disposeByForce } from "../../util/dispose.ts";
import { MillpondError } from "../../util/errors.ts";
import { checkOptions, flag, outOfRange, wrongType, yesOrNo } from "../../util/validate.ts";
import { type ActualPoolConfig, type BufferPoolConfig, CONFIG_KEYS, resolveConfig, sameConfig } from "./config.ts";
import { inUseError, refusedError } from "./errors.ts";
import { Lending, POOL_OPTIONS } from "./lending.ts";
import type { PoolHooks } from "./slots.ts";
import type { BufferPoolStats, Holder } from "./stats.ts";

export type { AcquireOptions, BufferPoolOptions } from "./lending.ts";

/** A bounded set of equal buffers; see the module text. Subclasses override the hooks at the end. */
export class BufferPool extends Lending {
  #drainedWaits: (() => void)[] = [];

  /** Use it as `using pool = BufferPool.create(...)` where the platform has `Symbol.dispose`: it closes the pool by force. */
  declare [Symbol.dispose]: () => void;

  /**
   * Makes a pool that is usable at once: `new`, {@link configure} and {@link activate} in one call. Negotiation calls them one by one.
   * Subclasses inherit it, with the options of their constructors. Throws what these three throw; size and max are at least 1.
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
    pool.activate();
    return pool;
  }

  /** @internal Absent hooks cost nothing, so only overridden ones are passed on. */
  protected override $hooks(): PoolHooks {
    const base = BufferPool.prototype;
    return {
      populate: (buffer, config, hint) => this.populate(buffer, config, hint),
      reset: this.reset === base.reset ? undefined : (buffer) => this.reset(buffer),
      recycle: this.recycle === base.recycle ? undefined : (buffer) => this.recycle(buffer),
      dispose: this.dispose === base.dispose ? undefined : (buffer) => this.dispose(buffer),
    };
  }

  /** The configuration in force, or null. Frozen. */
  get config(): ActualPoolConfig | null {
    return this.$configNow;
  }

  /** True while the pool is deactivated and loans are still out. */
  get isDraining(): boolean {
    return (this.$stateNow === "draining" || this.$stateNow === "retired") && this.$store.outstanding > 0;
  }

  /**
   * Says what the pool shall hold. The same configuration again is accepted in any state; another one only while inactive
   * with no loan out. Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`, then `ERR_POOL_DEAD`, `ERR_ACTIVE`, `ERR_IN_USE`, and
   * `ERR_CONFIG_ADJUSTED` when a subclass can only do something near it (`details.config`). A refused call changes nothing.
   *
   * @returns the configuration in force, with the actual size
   */
  configure(config: BufferPoolConfig): ActualPoolConfig {
    const wanted = resolveConfig(config);
    this.$store.assertNoHook("configure");
    this.#assertAlive("configure");
    if (this.$configNow !== null && sameConfig(wanted, this.$configNow)) return this.$configNow;
    if (this.isActive) throw refusedError(this.name, "active", "configure");
    if (this.$store.outstanding > 0) throw inUseError(this.name, "configure", this.holders());
    try {
      this.$configNow = this.$store.callHook(() => this.adjust(wanted));
    } finally {
      this.$finishDeferred();
    }
    return this.$configNow;
  }

  /**
   * Makes `min` buffers, all or none, and opens the pool. On an active pool: nothing; on a draining one: the drain is
   * cancelled. Throws `ERR_NOT_CONFIGURED` (also for size or count 0), `ERR_POOL_DEAD`, and what the allocator throws.
   */
  activate(): void {
    this.$store.assertNoHook("activate");
    this.#assertAlive("activate");
    if (this.isActive) return;
    const config = this.$configNow;
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
    this.$store.open(config);
    // A drain that is cancelled was never stopped, so nothing is started again.
    const isStarted = this.$stateNow === "draining";
    try {
      this.$store.callHook(() => (isStarted ? this.$store.preallocate() : this.start()));
      this.$stateNow = "active";
      this.$updateFastPath();
    } catch (error) {
      this.$store.freeUnused("drained");
      throw error;
    } finally {
      this.$finishDeferred();
    }
  }

  /**
   * Closes the pool: every waiter is refused (`ERR_INACTIVE`, in order), free buffers are freed, and loans drain: each is
   * freed when it comes back. On an inactive pool: nothing. See {@link drained}.
   */
  deactivate(): void {
    this.$store.assertNoHook("deactivate");
    if (!this.isActive) return;
    this.#closeTo(
      "inactive",
      () => new MillpondError("ERR_INACTIVE", `pool "${this.name}" was deactivated while waiting for a buffer`),
    );
  }

  #closeTo(next: "inactive" | "retired", refusal: () => MillpondError): void {
    this.$stateNow = next === "retired" ? "retired" : "draining";
    this.$updateFastPath();
    this.$waiters.rejectAll(refusal);
    this.$store.freeUnused("drained");
    this.$finishDeferred();
    if (this.$store.outstanding === 0) this.$finishDrain();
  }

  /** @internal */
  protected override $finishDrain(): void {
    if (this.$stateNow === "draining") this.$stateNow = "inactive";
    else if (this.$stateNow === "retired") this.$stateNow = "dead";
    else return;
    this.#endDrain();
  }

  /** The pool is stopped before anybody hears that it is drained, because a listener may activate it anew. */
  #endDrain(): void {
    try {
      this.$store.callHook(() => this.stop());
    } finally {
      for (const resolve of this.#drainedWaits.splice(0)) resolve();
      this.$events.emit("drained", { pool: this.name });
    }
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
    yesOrNo("on", on);
    this.$store.assertNoHook("flush");
    if (!this.isActive) throw this.$refusal("flush");
    this.$stateNow = on ? "flushing" : "active";
    this.$updateFastPath();
    if (on) this.$waiters.rejectAll(() => this.$refusal("wait for a buffer of"));
  }

  /** A snapshot of the counters. */
  stats(): BufferPoolStats {
    return {
      name: this.name,
      active: this.isActive,
      size: this.$configNow?.size ?? 0,
      max: this.$configNow?.max ?? 0,
      maxBytes: this.$configNow?.maxBytes ?? 0,
      ...this.$store.stats(),
      waiting: this.$waiters.length,
      waits: this.$waitCount,
      starved: this.$starvedCount,
    };
  }

  /** Ends the pool with its last loan: nothing can be acquired any more, loans stay valid. Returns who still holds one. */
  retire(): Holder[] {
    this.$store.assertNoHook("retire");
    if (this.$stateNow === "dead" || this.$stateNow === "retired") return this.holders();
    this.#closeTo("retired", () => this.$refusal("wait for a buffer of"));
    return this.holders();
  }

  /**
   * Ends the pool now. While leases are out it refuses (`ERR_IN_USE` says who holds what) and changes nothing; with `force` it takes
   * them back: every later use of such a lease throws `ERR_POOL_DEAD`. Returns the leases that were taken back.
   */
  close(options?: { force?: boolean }): Holder[] {
    const force = flag("options.force", checkOptions("options", options, ["force"]).force, false);
    this.$store.assertNoHook("close");
    if (!force && this.$store.outstanding > 0) throw inUseError(this.name, "close", this.holders());
    const holders = this.retire();
    if (this.$stateNow !== "retired") return holders;
    this.$stateNow = "dead";
    this.$store.reclaimAll();
    this.#endDrain();
    return holders;
  }

  /** Checks every invariant of the pool; throws `ERR_CORRUPTED` when one does not hold. O(buffers). For tests and debug levels. */
  validate(): void {
    this.$store.validate();
    if (this.$waiters.length > 0 && this.$stateNow === "active" && this.$store.head !== null) {
      throw new MillpondError("ERR_CORRUPTED", `pool "${this.name}" has waiters and a free buffer at the same time`);
    }
  }

  #assertAlive(verb: string): void {
    if (this.$stateNow === "dead" || this.$stateNow === "retired") throw this.$refusal(verb);
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
    this.$store.preallocate();
  }

  /** Hook: the last loan of a deactivated pool is back. Default: nothing. */
  protected stop(): void {}

  /**
   * Hook: fills a new buffer. Default: one memory from the allocator. Metas added here belong to the pool for good. `hint` is what
   * the acquire that needs the buffer gave as its `hint`; undefined at activation.
   */
  protected populate(buffer: MediaBuffer, config: ActualPoolConfig, _hint?: unknown): void {
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
disposeByForce(BufferPool);

/** The options of {@link BufferPool.create}, each read once: the constructor's, then the configuration. Only a subclass knows of others. */
function splitOptions(options: BufferPoolConfig, isPlain: boolean): [own: object, config: BufferPoolConfig] {
  if (options === undefined) throw wrongType("options", "an object of options", options);
  const known: readonly string[] = isPlain ? [...CONFIG_KEYS, ...POOL_OPTIONS] : Object.keys(options ?? {});
  const entries = Object.entries(checkOptions("options", options, known));
  const isConfig = ([key]: [string, unknown]): boolean => (CONFIG_KEYS as readonly string[]).includes(key);
  return [
    Object.fromEntries(entries.filter((entry) => !isConfig(entry))),
    Object.fromEntries(entries.filter(isConfig)) as unknown as BufferPoolConfig,
  ];
}
