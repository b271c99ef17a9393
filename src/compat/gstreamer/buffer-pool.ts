/** GstBufferPool over BufferPool: configuration structures, flow returns, vfuncs that chain up. */
import { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { defaultAllocator } from "../../memory/allocator.ts";
import { BufferPool as CorePool } from "../../pools/buffer/buffer-pool.ts";
import { type ActualPoolConfig, type BufferPoolConfig, resolveConfig } from "../../pools/buffer/config.ts";
import { isMillpondError } from "../../util/errors.ts";
import { copyData, sameData } from "../../util/same-data.ts";
import { Buffer, coreBuffer, poolFaces } from "./buffer.ts";
import { BufferPoolAcquireFlags, FlowReturn } from "./constants.ts";
import { AllocationParams, Allocator, checkParams, coreAllocator, Memory, paramsIn, paramsOut } from "./memory.ts";
import { checkName, checkNames, checkWhole, lastError, note, outside, refuse, speaks, wrong } from "./words.ts";

const FLOWS: readonly unknown[] = Object.values(FlowReturn);

/** Caps are plain data, compared deeply. */
export type Caps = unknown;

/** A pool's configuration; build it with the static `config_*` functions. */
export interface PoolConfig {
  /** What the bytes mean, or null; the configuration keeps a copy of its own. */
  caps: Caps;
  /** Bytes of each buffer; undefined until set. */
  size: number | undefined;
  /** Buffers made at activation. */
  min: number;
  /** The most buffers; 0: no limit. */
  max: number;
  /** Where bytes come from, or null. */
  allocator: Allocator | null;
  /** How they are asked for. */
  params: AllocationParams;
  /** What is wished for beyond. */
  options: string[];
  /** What a subclass adds. */
  [field: string]: unknown;
}

/** How a buffer is acquired. */
export interface AcquireParams {
  /** {@link BufferPoolAcquireFlags}. */
  flags?: number;
  /** What a subclass understands. */
  [field: string]: unknown;
}

/** What the two halves of a pool tell each other; the face makes it, and nobody else sees it. */
interface Desk {
  /** A configuration that `set_config` has asked the subclass about already. */
  asked: boolean;
  /** The subclass is asked about what the core, a pipeline's negotiation perhaps, wants; its answer. */
  judge(wanted: ActualPoolConfig, refused: (near: ActualPoolConfig) => Error): ActualPoolConfig;
  start(): void;
  stop(): void;
}

/** The core pool, asking its face's vfuncs. */
class BridgePool extends CorePool {
  readonly #face: BufferPool;
  readonly #desk: Desk;

  constructor(face: BufferPool, desk: Desk) {
    super({ name: `gst-${face.constructor.name || "BufferPool"}` });
    this.#face = face;
    this.#desk = desk;
  }

  preallocate(): void {
    super.start();
  }

  protected override adjust(wanted: ActualPoolConfig): ActualPoolConfig {
    return this.#desk.judge(wanted, (near) => this.adjusted(near, "cannot do exactly what was asked"));
  }

  protected override start(): void {
    this.#desk.start();
  }

  protected override stop(): void {
    this.#desk.stop();
  }

  protected override populate(buffer: MediaBuffer, config: ActualPoolConfig, hint?: unknown): void {
    if (this.#face.vfunc_alloc_buffer === BufferPool.prototype.vfunc_alloc_buffer) {
      super.populate(buffer, config);
      Memory.keep(buffer.live("populate").memories, buffer.slot);
      return;
    }
    const made = this.#ask(typeof hint === "object" && hint !== null ? (hint as AcquireParams) : {});
    const from = made.core;
    const slot = from.live("give to a pool");
    const own = buffer.live("populate");
    // The metas that the vfunc added belong to the pool's buffer from now on; appending would lose them.
    own.metas = slot.metas;
    slot.metas = null;
    try {
      buffer.append(from);
    } catch (error) {
      slot.metas = own.metas;
      own.metas = null;
      throw error;
    }
    Buffer.stand(made, buffer);
    Memory.keep(own.memories, buffer.slot);
  }

  #ask(params: AcquireParams): Buffer {
    const before = lastError();
    const answer: unknown = this.#face.vfunc_alloc_buffer(params);
    if (!Array.isArray(answer)) throw wrong("what vfunc_alloc_buffer() returns", "[FlowReturn, Buffer | null]", answer);
    const [flow, made] = answer as [FlowReturn, Buffer | null];
    if (flow !== FlowReturn.OK || made === null || made === undefined) {
      const cause = lastError();
      throw new AllocRefused(this.#face, flow, cause === before ? undefined : cause);
    }
    const core = coreBuffer("the buffer that vfunc_alloc_buffer() returns", made);
    if (core.pool !== null) {
      throw refuse("ERR_FOREIGN_RELEASE", `${made}, which vfunc_alloc_buffer() returned, is a pool's already`);
    }
    if (core.refCount !== 1) {
      const count = `${core.refCount} references`;
      throw refuse(
        "ERR_NOT_WRITABLE",
        `${made}, which vfunc_alloc_buffer() returned, has ${count}; a pool needs the only one`,
      );
    }
    return made;
  }

  protected override reset(buffer: MediaBuffer): void {
    this.#face.vfunc_reset_buffer(Buffer.of(buffer));
  }

  protected override recycle(buffer: MediaBuffer): boolean {
    return this.#face.vfunc_release_buffer(Buffer.of(buffer)) !== false;
  }

  protected override dispose(buffer: MediaBuffer): void {
    this.#face.vfunc_free_buffer(Buffer.of(buffer));
  }
}

class AllocRefused extends Error {
  readonly flow: FlowReturn;
  constructor(pool: BufferPool, flow: FlowReturn, cause: unknown) {
    super(`vfunc_alloc_buffer() of ${pool} answered flow ${flow}`, cause === undefined ? undefined : { cause });
    this.flow = typeof flow !== "number" || flow === FlowReturn.OK || flow === FlowReturn.EOS ? FlowReturn.ERROR : flow;
  }
}

/** A pool of buffers; subclasses override the `vfunc_*` methods and may chain up to each. */
export class BufferPool {
  readonly #core: BridgePool;
  readonly #desk: Desk;
  /** What is in force, or what a fresh pool starts from. */
  #config: PoolConfig = emptyConfig();
  /** What the last handshake that was refused left to read back; null after one that was not. */
  #near: PoolConfig | null = null;
  /** `vfunc_start` has run and `vfunc_stop` has not: a pool that drains is not started twice. */
  #started = false;
  /** What the last `vfunc_stop` answered. */
  #stopped = true;
  /** True while `vfunc_start` must not be asked: a stop that was refused leaves the pool as it was. */
  #resuming = false;
  /** Params that this pool passed to `vfunc_acquire_buffer`: an acquire with them is the subclass chaining up. */
  readonly #passedOn: WeakSet<AcquireParams> = new WeakSet();
  #inAcquire = false;

  /** An unconfigured pool; subclasses call it without arguments. */
  constructor() {
    this.#desk = {
      asked: false,
      judge: (wanted, refused) => this.#judge(wanted, refused),
      start: () => this.#start(),
      stop: () => this.#stop(),
    };
    this.#core = new BridgePool(this, this.#desk);
    poolFaces.set(this.#core, this);
  }

  /** A plain pool. */
  static new(): BufferPool {
    return new BufferPool();
  }

  /** @internal Whether a value is a BufferPool of this door. */
  static is(value: unknown): value is BufferPool {
    return typeof value === "object" && value !== null && #core in value;
  }

  /** The core's pool underneath. */
  get core(): CorePool {
    return this.#core;
  }

  /**
   * A copy of the configuration: the one in force, or, on an inactive pool, what a refused handshake left to read back.
   */
  get_config(): PoolConfig {
    return copyConfig(this.#core.isActive ? this.#config : (this.#near ?? this.#config));
  }

  /**
   * Configures. False while active or with buffers acquired, for a configuration without parameters, or when
   * `vfunc_set_config` could not do as asked: then `get_config` has what it could do, and setting that is judged anew
   * (never "unchanged"). {@link lastError} says why.
   */
  set_config(config: PoolConfig): boolean {
    const wanted = copyConfig(config);
    const core = this.#core;
    if (this.#near === null && core.config !== null && sameConfig(wanted, this.#config)) return true;
    if (core.isActive) return failed("ERR_ACTIVE", `${this} is active; set_active(false) before another configuration`);
    if (core.outstanding > 0) {
      return failed(
        "ERR_IN_USE",
        `${this} has ${core.outstanding} buffers out; wait until they are back, or take another pool`,
      );
    }
    if (wanted.size === undefined)
      return failed("ERR_NOT_CONFIGURED", "the configuration has no params; config_set_params() them");
    const before = lastError();
    let accepted: boolean;
    let final: PoolConfig;
    try {
      accepted = yesOrNo("vfunc_set_config()", this.vfunc_set_config(wanted));
      final = copyConfig(wanted);
    } catch (error) {
      note(error);
      return false;
    }
    if (!accepted) {
      this.#near = final;
      return failed(
        "ERR_CONFIG_ADJUSTED",
        `${this} cannot do exactly what was asked; get_config() says what it can do`,
        lastError() === before ? undefined : lastError(),
      );
    }
    this.#desk.asked = true;
    try {
      core.configure(coreConfig(final));
    } finally {
      this.#desk.asked = false;
    }
    this.#config = final;
    this.#near = null;
    return true;
  }

  #judge(wanted: ActualPoolConfig, refused: (near: ActualPoolConfig) => Error): ActualPoolConfig {
    if (this.#desk.asked) return wanted;
    const config: PoolConfig = {
      ...copyConfig(this.#config),
      caps: copyData("caps", wanted.format),
      size: wanted.size,
      min: wanted.min,
      max: wanted.max === Number.POSITIVE_INFINITY ? 0 : wanted.max,
      allocator: wanted.allocator === defaultAllocator() ? null : Allocator.of(wanted.allocator),
      params: paramsOut(wanted.params),
      options: [...wanted.options],
    };
    const accepted = yesOrNo("vfunc_set_config()", this.vfunc_set_config(config));
    const final = copyConfig(config);
    const { maxBytes, roundSize, zero, mustRevoke } = wanted;
    const rest = { maxBytes, roundSize, zero: zero === "fresh" ? ("never" as const) : zero };
    const actual = resolveConfig({ ...coreConfig(final), ...rest, ...(mustRevoke && { revoke: true }) });
    if (!accepted) {
      this.#near = final;
      throw refused(actual);
    }
    this.#config = final;
    this.#near = null;
    return actual;
  }

  /** The options that the pool knows; the plain one: none. */
  get_options(): string[] {
    return [...this.vfunc_get_options()];
  }

  /** Whether it knows an option. */
  has_option(option: string): boolean {
    return this.get_options().includes(checkName("option", option));
  }

  /** Sets caps, size, min and max (0: no limit). Throws `ERR_OUT_OF_RANGE` for min above max. */
  static config_set_params(config: PoolConfig, caps: Caps, size: number, min: number, max: number): void {
    readConfig(config);
    checkWhole("size", size);
    checkWhole("min_buffers", min);
    checkWhole("max_buffers", max);
    if (max !== 0 && min > max) throw outside("min_buffers", `at most max_buffers, ${max}`, min);
    writeConfig(config, { caps: copyData("caps", caps), size, min, max });
  }

  /** [set?, caps, size, min, max]. */
  static config_get_params(config: PoolConfig): [boolean, Caps, number, number, number] {
    const { size, caps, min, max } = readConfig(config);
    return [size !== undefined, caps, size ?? 0, min, max];
  }

  /** Sets allocator and params; one of them at least. Throws `ERR_INVALID_ARG_TYPE` for neither. */
  static config_set_allocator(config: PoolConfig, allocator: Allocator | null, params: AllocationParams | null): void {
    readConfig(config);
    coreAllocator("allocator", allocator);
    const checked = checkParams(params);
    if (allocator === null && checked === null)
      throw wrong("params", "AllocationParams where allocator is null", params);
    writeConfig(config, { allocator, params: checked ?? new AllocationParams() });
  }

  /** [set?, allocator, params]. */
  static config_get_allocator(config: PoolConfig): [boolean, Allocator | null, AllocationParams] {
    const { allocator, params } = readConfig(config);
    return [true, allocator, params];
  }

  /** Adds an option once. */
  static config_add_option(config: PoolConfig, option: string): void {
    const { options } = readConfig(config);
    if (!options.includes(checkName("option", option))) writeConfig(config, { options: [...options, option] });
  }

  /** Whether a configuration has an option. */
  static config_has_option(config: PoolConfig, option: string): boolean {
    return readConfig(config).options.includes(checkName("option", option));
  }

  /** Whether a read-back configuration still serves: equal caps (both null too), size and min at least as wanted. */
  static config_validate_params(config: PoolConfig, caps: Caps, size: number, min: number, max: number): boolean {
    const has = readConfig(config);
    checkWhole("size", size);
    checkWhole("min_buffers", min);
    checkWhole("max_buffers", max);
    return has.size !== undefined && sameData(has.caps, caps) && has.size >= size && has.min >= min;
  }

  /**
   * Opens or closes the pool. False when it cannot be opened, and then it stays closed; or when `vfunc_stop` refuses,
   * and then it stays active and flushing. {@link lastError} says why.
   */
  set_active(on: boolean): boolean {
    const core = this.#core;
    if (typeof on !== "boolean") throw wrong("active", "a boolean", on);
    if (!on) return this.#close();
    if (core.isActive) return true;
    if (core.config === null)
      return failed("ERR_NOT_CONFIGURED", `${this} has no configuration; set_config() one first`);
    try {
      core.activate();
      this.#near = null;
      return true;
    } catch (error) {
      note(error);
      return false;
    }
  }

  #close(): boolean {
    const core = this.#core;
    if (!core.isActive) return true;
    this.#stopped = true;
    core.deactivate();
    if (this.#stopped) return true;
    this.#resuming = true;
    try {
      core.activate();
      core.setFlushing(true);
    } finally {
      this.#resuming = false;
    }
    return false;
  }

  #start(): void {
    if (this.#resuming || this.#started) {
      if (!this.#resuming) this.#core.preallocate();
      return;
    }
    const before = lastError();
    if (!yesOrNo("vfunc_start()", this.vfunc_start())) {
      const cause = lastError();
      throw refuse("ERR_INACTIVE", `vfunc_start() of ${this} refused`, cause === before ? undefined : cause);
    }
    this.#started = true;
  }

  #stop(): void {
    if (this.#started === false) return;
    const before = lastError();
    try {
      this.#stopped = yesOrNo("vfunc_stop()", this.vfunc_stop());
    } catch (error) {
      this.#stopped = false;
      note(error);
      return;
    }
    if (this.#stopped) this.#started = false;
    else if (lastError() === before) note(refuse("ERR_ACTIVE", `vfunc_stop() of ${this} refused`));
  }

  /** Whether it is open. */
  is_active(): boolean {
    return this.#core.isActive;
  }

  /** Refuses acquires without freeing anything; on a closed pool: nothing. */
  set_flushing(on: boolean): void {
    if (typeof on !== "boolean") throw wrong("flushing", "a boolean", on);
    if (this.#core.isActive) this.#core.setFlushing(on);
  }

  /**
   * Hands out a buffer: [OK, buffer], [FLUSHING, null], [EOS, null] with DONTWAIT on an empty pool, or an error ({@link
   * lastError} says which). Waits otherwise.
   */
  async acquire_buffer(params?: AcquireParams | null): Promise<[FlowReturn, Buffer | null]> {
    const given = params ?? {};
    const plain = this.vfunc_acquire_buffer === BufferPool.prototype.vfunc_acquire_buffer;
    if (plain || this.#inAcquire || this.#passedOn.has(given)) return this.#acquire(given, checkAcquire(given));
    if (typeof given !== "object") throw wrong("params", "an object of AcquireParams, or null", params);
    const own = { ...given };
    checkAcquire(own);
    this.#passedOn.add(own);
    this.#inAcquire = true;
    let answer: Promise<[FlowReturn, Buffer | null]>;
    try {
      answer = this.vfunc_acquire_buffer(own);
    } catch (error) {
      note(error);
      return [FlowReturn.ERROR, null];
    } finally {
      this.#inAcquire = false;
    }
    try {
      return this.#checkAcquired(await answer);
    } catch (error) {
      note(error);
      return [FlowReturn.ERROR, null];
    }
  }

  /** What a subclass gives out has to be a buffer that this pool leases; with any other flow there is none. */
  #checkAcquired(got: unknown): [FlowReturn, Buffer | null] {
    const what = "what vfunc_acquire_buffer() returns";
    if (!Array.isArray(got)) throw wrong(what, "[FlowReturn, Buffer | null]", got);
    const [flow, buffer] = got as [unknown, unknown];
    if (!FLOWS.includes(flow)) throw wrong(`${what}[0]`, "a FlowReturn", flow);
    if (flow !== FlowReturn.OK) {
      if (buffer !== null) throw wrong(`${what}[1]`, "null beside a flow that is not OK", buffer);
      return [flow as FlowReturn, null];
    }
    const core = coreBuffer(`${what}[1]`, buffer as Buffer);
    if (core.isLive && core.slot.pool === this.#core) return [FlowReturn.OK, buffer as Buffer];
    throw refuse("ERR_FOREIGN_RELEASE", `${what}[1], ${buffer}, is not a buffer that ${this} leases`);
  }

  async #acquire(params: AcquireParams, flags: number): Promise<[FlowReturn, Buffer | null]> {
    try {
      const nowait = (flags & BufferPoolAcquireFlags.DONTWAIT) !== 0;
      return [FlowReturn.OK, Buffer.of(await this.#core.acquire({ nowait, hint: params }))];
    } catch (error) {
      note(error);
      return [flowOf(error), null];
    }
  }

  /** Takes a buffer back. Throws `ERR_FOREIGN_RELEASE`, `ERR_DOUBLE_RELEASE` where the original returns silently. */
  release_buffer(buffer: Buffer): void {
    const core = coreBuffer("buffer", buffer);
    if (core.slot.pool !== this.#core) {
      throw refuse("ERR_FOREIGN_RELEASE", `${buffer} is not of ${this}; unref() gives it back to where it came from`);
    }
    buffer.unref();
  }

  /**
   * Subclasses: makes a buffer for the acquire that has these params ({} at activation). EOS is not an answer with room
   * left; it counts as ERROR. The default: one memory as configured.
   */
  vfunc_alloc_buffer(params: AcquireParams): [FlowReturn, Buffer | null] {
    checkAcquire(params);
    const config = this.#core.config;
    if (config === null) {
      note(refuse("ERR_NOT_CONFIGURED", `${this} has no configuration to make a buffer of`));
      return [FlowReturn.ERROR, null];
    }
    try {
      const { size, params, allocator } = config;
      return [FlowReturn.OK, Buffer.of(MediaBuffer.allocate(size, { ...params, allocator }))];
    } catch (error) {
      note(error);
      return [flowOf(error), null];
    }
  }

  /** Subclasses: a buffer is about to be freed. The default: nothing; the pool frees it in any case. */
  vfunc_free_buffer(buffer: Buffer): void {
    coreBuffer("buffer", buffer);
  }

  /** Subclasses: a buffer came back. The default: nothing; the pool resets times, flags, size and metas in any case. */
  vfunc_reset_buffer(buffer: Buffer): void {
    coreBuffer("buffer", buffer);
  }

  /** Subclasses: a clean buffer came back; false frees it. The default: it is kept. */
  vfunc_release_buffer(buffer: Buffer): unknown {
    coreBuffer("buffer", buffer);
    return true;
  }

  /** Subclasses: activation; false refuses it. The default makes `min` buffers, all or none. */
  vfunc_start(): boolean {
    try {
      this.#core.preallocate();
      return true;
    } catch (error) {
      note(error);
      return false;
    }
  }

  /** Subclasses: no buffer is out any more; false keeps the pool active, and flushing. The default: true. */
  vfunc_stop(): boolean {
    return true;
  }

  /** Subclasses: may edit the configuration; false: not as asked, read it back. The default: as asked. */
  vfunc_set_config(config: PoolConfig): boolean {
    readConfig(config);
    return true;
  }

  /** Subclasses: acquires instead of the default, which is the pool's own. */
  async vfunc_acquire_buffer(params?: AcquireParams | null): Promise<[FlowReturn, Buffer | null]> {
    const given = params ?? {};
    return this.#acquire(given, checkAcquire(given));
  }

  /** Subclasses: the options they know. The default: none. */
  vfunc_get_options(): string[] {
    return [];
  }

  /** `pool "gst-BufferPool" (active, 10 bytes, 0 to 4 buffers, 1 out)`. */
  toString(): string {
    const { name, isActive, outstanding } = this.#core;
    const { size, min, max } = this.#config;
    const what =
      size === undefined ? "not configured" : `${size} bytes, ${min} to ${max === 0 ? "any number of" : max} buffers`;
    return `pool "${name}" (${isActive ? "active" : "inactive"}, ${what}, ${outstanding} out)`;
  }
}
speaks(BufferPool, BufferPool.is);

/** Checks what a caller gives as a pool, and gives the core's; null stays null. */
export function corePool(name: string, pool: unknown): CorePool | null {
  if (pool === null) return null;
  if (!BufferPool.is(pool)) throw wrong(name, "a BufferPool or null", pool);
  return pool.core;
}

/** What a hook answers that says yes or no; none is yes. A promise would be neither: the pool goes on at once. */
function yesOrNo(hook: string, answer: unknown): boolean {
  if (answer === undefined || typeof answer === "boolean") return answer !== false;
  throw wrong(`what ${hook} returns`, "true or false", answer);
}

/** The flags of acquire params, read once. */
function checkAcquire(params: unknown): number {
  if (typeof params !== "object" || params === null) throw wrong("params", "an object of AcquireParams", params);
  const { flags } = params as AcquireParams;
  return flags === undefined ? 0 : checkWhole("params.flags", flags, 0, 0x7fffffff);
}

function failed(
  code: "ERR_ACTIVE" | "ERR_IN_USE" | "ERR_NOT_CONFIGURED" | "ERR_CONFIG_ADJUSTED",
  why: string,
  cause?: unknown,
): false {
  note(refuse(code, why, cause));
  return false;
}

function flowOf(error: unknown): FlowReturn {
  if (isMillpondError(error, "ERR_INACTIVE") || isMillpondError(error, "ERR_FLUSHING")) return FlowReturn.FLUSHING;
  if (isMillpondError(error, "ERR_POOL_DEAD")) return FlowReturn.FLUSHING;
  if (isMillpondError(error, "ERR_STARVED")) return FlowReturn.EOS;
  if (isMillpondError(error, "ERR_UNSUPPORTED")) return FlowReturn.NOT_SUPPORTED;
  return error instanceof AllocRefused ? error.flow : FlowReturn.ERROR;
}

function emptyConfig(): PoolConfig {
  return { caps: null, size: undefined, min: 0, max: 0, allocator: null, params: new AllocationParams(), options: [] };
}

/** The fields of a configuration, each read once and checked. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. */
export function readConfig(config: unknown): PoolConfig {
  if (typeof config !== "object" || config === null || Array.isArray(config) || ArrayBuffer.isView(config)) {
    throw wrong("config", "a configuration from get_config()", config);
  }
  const own = { ...config } as PoolConfig;
  const { size, min, max, allocator, params } = own;
  own.options = checkNames("config.options", own.options);
  coreAllocator("config.allocator", allocator);
  if (size !== undefined) checkWhole("config.size", size);
  checkWhole("config.min", min);
  checkWhole("config.max", max);
  const checked = checkParams(params);
  if (checked === null) throw wrong("config.params", "AllocationParams", params);
  own.params = checked;
  return own;
}

/** Writes fields of a configuration: all, or none where one of them cannot be written. */
export function writeConfig(config: PoolConfig, fields: Partial<PoolConfig>): void {
  for (const field of Object.keys(fields)) {
    const own = Object.getOwnPropertyDescriptor(config, field);
    if (own === undefined ? Object.isExtensible(config) : own.writable === true) continue;
    throw refuse("ERR_INVALID_ARG_VALUE", `config.${field} cannot be written; take a configuration from get_config()`);
  }
  Object.assign(config, fields);
}

/** A checked configuration of its own: nobody who has the other one can change it. */
function copyConfig(config: PoolConfig): PoolConfig {
  const { allocator, params, ...rest } = readConfig(config);
  const { min, max } = rest;
  if (max !== 0 && min > max) throw outside("config.min", `at most config.max, ${max}`, min);
  return { ...copyData("config", rest), allocator, params } as PoolConfig;
}

function sameConfig(a: PoolConfig, b: PoolConfig): boolean {
  const { allocator: first, ...rest } = a;
  const { allocator: second, ...others } = b;
  return first === second && sameData({ ...rest }, { ...others });
}

function coreConfig(config: PoolConfig): BufferPoolConfig {
  const { size = 0, min, max, caps: format, options } = config;
  return {
    ...paramsIn(config.params),
    size,
    min,
    max: max === 0 ? Number.POSITIVE_INFINITY : max,
    allocator: config.allocator?.core ?? defaultAllocator(),
    format,
    options,
    // As there: what an allocator or a vfunc put into fresh bytes stays. System memory is zero without anybody doing
    // it.
    zero: "never",
  };
}
