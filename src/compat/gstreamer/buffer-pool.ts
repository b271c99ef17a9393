/** GstBufferPool over BufferPool: configuration structures, flow returns, vfuncs. */
import type { MediaBuffer } from "../../media/media-buffer.ts";
import { type Allocator as CoreAllocator, defaultAllocator } from "../../memory/allocator.ts";
import { isMillpondError } from "../../observe/errors.ts";
import { sameData } from "../../observe/same-data.ts";
import { BufferPool as CorePool } from "../../pools/buffer-pool.ts";
import type { ActualPoolConfig, BufferPoolConfig } from "../../pools/pool-config.ts";
import { Buffer, poolFaces } from "./buffer.ts";
import { BufferPoolAcquireFlags, FlowReturn } from "./constants.ts";
import { AllocationParams, type Allocator, paramsIn } from "./memory.ts";

/** Caps are plain data, compared deeply. */
export type Caps = unknown;

/** A pool's configuration; build it with the static `config_*` functions. */
export interface PoolConfig {
  /** What the bytes mean, or null. */
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
}

/** The core pool, asking its face's vfuncs. */
class BridgePool extends CorePool {
  readonly #face: BufferPool;

  constructor(face: BufferPool) {
    super({ name: `gst-${face.constructor.name}` });
    this.#face = face;
  }

  protected override start(): void {
    if (this.#face.vfunc_start !== undefined && !this.#face.vfunc_start()) throw new StartRefused();
    super.start();
  }

  protected override stop(): void {
    this.#face?.vfunc_stop?.();
  }

  protected override populate(buffer: MediaBuffer, config: ActualPoolConfig): void {
    const { vfunc_alloc_buffer } = this.#face;
    if (vfunc_alloc_buffer === undefined) {
      super.populate(buffer, config);
      return;
    }
    const [flow, made] = vfunc_alloc_buffer.call(this.#face, {});
    if (flow !== FlowReturn.OK || made === null) throw new AllocRefused(flow);
    const slot = made.core.live("adopt");
    // The metas that the vfunc added belong to the pool's buffer from now on; appending would lose them.
    buffer.live("populate").metas = slot.metas;
    slot.metas = null;
    buffer.append(made.core);
  }

  protected override reset(buffer: MediaBuffer): void {
    this.#face.vfunc_reset_buffer?.(Buffer.of(buffer));
  }

  protected override recycle(buffer: MediaBuffer): boolean {
    return this.#face.vfunc_release_buffer?.(Buffer.of(buffer)) !== false;
  }

  protected override dispose(buffer: MediaBuffer): void {
    this.#face.vfunc_free_buffer?.(Buffer.of(buffer));
  }
}

class StartRefused extends Error {}

class AllocRefused extends Error {
  readonly flow: FlowReturn;
  constructor(flow: FlowReturn) {
    super(`alloc_buffer answered ${flow}`);
    this.flow = flow === FlowReturn.OK || flow === FlowReturn.EOS ? FlowReturn.ERROR : flow;
  }
}

/** A pool of buffers. */
export class BufferPool {
  /** The core's pool underneath. */
  readonly core: CorePool = new BridgePool(this);
  #accepted = false;
  #config: PoolConfig = {
    caps: null,
    size: undefined,
    min: 0,
    max: 0,
    allocator: null,
    params: new AllocationParams(),
    options: [],
  };

  /** Subclasses: makes a buffer. EOS is not an answer with room left; it counts as ERROR. */
  vfunc_alloc_buffer?(params: AcquireParams): [FlowReturn, Buffer | null];
  /** Subclasses: a buffer is about to be freed. */
  vfunc_free_buffer?(buffer: Buffer): void;
  /** Subclasses: a buffer came home, before it is reset. */
  vfunc_reset_buffer?(buffer: Buffer): void;
  /** Subclasses: a clean buffer came home; false frees it. */
  vfunc_release_buffer?(buffer: Buffer): unknown;
  /** Subclasses: activation; false refuses it. */
  vfunc_start?(): boolean;
  /** Subclasses: the last loan of an inactive pool is back. */
  vfunc_stop?(): boolean;
  /** Subclasses: may edit the configuration; false: not as asked, read it back. */
  vfunc_set_config?(config: PoolConfig): boolean;
  /** Subclasses: acquires instead of the default. */
  vfunc_acquire_buffer?(params: AcquireParams): Promise<[FlowReturn, Buffer | null]>;
  /** Subclasses: the options they know. */
  vfunc_get_options?(): string[];

  /** An unconfigured pool; subclasses call it without arguments. */
  constructor() {
    poolFaces.set(this.core, this);
  }

  /** A plain pool. */
  static new(): BufferPool {
    return new BufferPool();
  }

  /** A copy of the configuration: the accepted one, or what a refused handshake left to read back. */
  get_config(): PoolConfig {
    return copyConfig(this.#config);
  }

  /**
   * Configures. False while active or with loans out, for a configuration without parameters, or when `vfunc_set_config` could
   * not do as asked: then `get_config` has what it could do, and setting that is judged anew (never "unchanged").
   */
  set_config(config: PoolConfig): boolean {
    const wanted = copyConfig(config);
    if (this.core.config !== null && sameConfig(wanted, this.#config) && this.#accepted) return true;
    if (this.core.isActive || this.core.outstanding > 0 || wanted.size === undefined) return false;
    const ok = this.vfunc_set_config?.(wanted) ?? true;
    this.#accepted = ok;
    if (ok) this.core.configure(coreConfig(wanted));
    this.#config = wanted;
    return ok;
  }

  /** The options that the pool knows; the plain one: none. */
  get_options(): string[] {
    return this.vfunc_get_options?.() ?? [];
  }

  /** Whether it knows an option. */
  has_option(option: string): boolean {
    return this.get_options().includes(option);
  }

  /** Sets caps, size, min and max (0: no limit). Throws RangeError for min above max. */
  static config_set_params(config: PoolConfig, caps: Caps, size: number, min: number, max: number): void {
    if (max !== 0 && min > max) throw new RangeError(`min ${min} is above max ${max}`);
    Object.assign(config, { caps, size, min, max });
  }

  /** [set?, caps, size, min, max]. */
  static config_get_params(config: PoolConfig): [boolean, Caps, number, number, number] {
    return [config.size !== undefined, config.caps, config.size ?? 0, config.min, config.max];
  }

  /** Sets allocator and params; one of them at least. Throws TypeError for neither. */
  static config_set_allocator(config: PoolConfig, allocator: Allocator | null, params: AllocationParams | null): void {
    if (allocator === null && params === null) throw new TypeError("an allocator or params are needed");
    config.allocator = allocator;
    config.params = Object.assign(new AllocationParams(), params ?? {});
  }

  /** [set?, allocator, params]. */
  static config_get_allocator(config: PoolConfig): [boolean, Allocator | null, AllocationParams] {
    return [true, config.allocator, config.params];
  }

  /** Adds an option once. */
  static config_add_option(config: PoolConfig, option: string): void {
    if (!config.options.includes(option)) config.options.push(option);
  }

  /** Whether a read-back configuration still serves: equal caps (both null too), size and min at least as wanted. */
  static config_validate_params(config: PoolConfig, caps: Caps, size: number, min: number, _max: number): boolean {
    return config.size !== undefined && sameData(config.caps, caps) && config.size >= size && config.min >= min;
  }

  /** Opens or closes the pool; false when it cannot be opened, and then it stays closed. */
  set_active(on: boolean): boolean {
    if (!on) {
      this.core.deactivate();
      return true;
    }
    if (!this.core.isActive && !this.#accepted && this.core.config === null) return false;
    try {
      this.core.activate();
      return true;
    } catch {
      return false;
    }
  }

  /** Whether it is open. */
  is_active(): boolean {
    return this.core.isActive;
  }

  /** Refuses acquires without freeing anything; on a closed pool: nothing. */
  set_flushing(on: boolean): void {
    if (this.core.isActive) this.core.setFlushing(on);
  }

  /** Lends a buffer: [OK, buffer], [FLUSHING, null], [EOS, null] with DONTWAIT on an empty pool, or an error. Waits otherwise. */
  async acquire_buffer(params: AcquireParams = {}): Promise<[FlowReturn, Buffer | null]> {
    if (this.vfunc_acquire_buffer !== undefined) return this.vfunc_acquire_buffer(params);
    try {
      const nowait = ((params?.flags ?? 0) & BufferPoolAcquireFlags.DONTWAIT) !== 0;
      return [FlowReturn.OK, Buffer.of(await this.core.acquire({ nowait }))];
    } catch (error) {
      return [flowOf(error), null];
    }
  }

  /** Takes a buffer back. Throws `ERR_FOREIGN_RELEASE`, `ERR_DOUBLE_RELEASE` where the original returns silently. */
  release_buffer(buffer: Buffer): void {
    this.core.release(buffer.core);
  }
}

function flowOf(error: unknown): FlowReturn {
  if (isMillpondError(error, "ERR_INACTIVE") || isMillpondError(error, "ERR_FLUSHING")) return FlowReturn.FLUSHING;
  if (isMillpondError(error, "ERR_STARVED")) return FlowReturn.EOS;
  return error instanceof AllocRefused ? error.flow : FlowReturn.ERROR;
}

function copyConfig(config: PoolConfig): PoolConfig {
  return { ...config, params: Object.assign(new AllocationParams(), config.params), options: [...config.options] };
}

function sameConfig(a: PoolConfig, b: PoolConfig): boolean {
  const { allocator: first, ...rest } = a;
  const { allocator: second, ...others } = b;
  return first === second && sameData({ ...rest }, { ...others });
}

function coreConfig(config: PoolConfig): BufferPoolConfig {
  const allocator: CoreAllocator = config.allocator?.core ?? defaultAllocator();
  const { size = 0, min, caps: format, options } = config;
  return {
    ...paramsIn(config.params),
    size,
    min,
    max: config.max === 0 ? Number.POSITIVE_INFINITY : config.max,
    allocator,
    format,
    options,
  };
}
