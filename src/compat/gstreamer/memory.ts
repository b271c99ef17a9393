/** GstMemory, GstMapInfo, GstAllocator and GstAllocationParams over the core's Memory and Allocator. */
import { allocators } from "../../allocators/registry.ts";
import { Allocator as CoreAllocator, wrapMemory } from "../../memory/allocator.ts";
import { lockBits, unlockBits } from "../../memory/lock-bits.ts";
import type { MapMode, Mapping } from "../../memory/mapping.ts";
import type { Memory as CoreMemory } from "../../memory/memory.ts";
import { type AllocationParams as CoreParams, DEFAULT_ALIGN, type ResolvedParams } from "../../memory/params.ts";
import { Region } from "../../memory/region.ts";
import { MillpondError } from "../../observe/errors.ts";
import { MapFlags } from "./constants.ts";

/** How memory is asked for. `align` is a mask, 2^n - 1. */
export class AllocationParams {
  /** {@link MemoryFlags}. */
  flags = 0;
  /** Alignment mask: 63 for 64 bytes. */
  align = 0;
  /** Bytes in front. */
  prefix = 0;
  /** Bytes behind. */
  padding = 0;
}

/** The core's params of ours. Throws what the core throws for a mask that is not 2^n - 1. */
export function paramsIn(params: AllocationParams | null | undefined): CoreParams {
  if (params === null || params === undefined) return {};
  const { flags, prefix, padding } = params;
  const align = params.align + 1;
  // The system's minimum is or-ed in, as there; a mask that is no mask goes on to the core, which refuses it.
  return { flags, prefix, padding, align: DEFAULT_ALIGN % align === 0 ? DEFAULT_ALIGN : align };
}

/** Our params of the core's. */
export function paramsOut(params: ResolvedParams): AllocationParams {
  const { flags, prefix, padding } = params;
  return Object.assign(new AllocationParams(), { flags, prefix, padding, align: params.align - 1 });
}

/** The core's mode of map flags; READ and WRITE together are "readwrite". Throws `ERR_INVALID_ARG_VALUE` for neither. */
export function modeIn(flags: number): MapMode {
  const mode = flags & (MapFlags.READ | MapFlags.WRITE);
  if (mode === 0) throw new MillpondError("ERR_INVALID_ARG_VALUE", "map flags need READ, WRITE or both");
  return mode === MapFlags.READ ? "read" : mode === MapFlags.WRITE ? "write" : "readwrite";
}

/** What a map gave; zeroed when it failed, and after unmap but for the sizes. */
export class MapInfo {
  /** The memory that is mapped, or null. */
  memory: Memory | null = null;
  /** {@link MapFlags}. */
  flags = 0;
  /** The valid bytes, or null. */
  data: Uint8Array | null = null;
  /** Valid bytes. */
  size = 0;
  /** Bytes from the first valid one to the end of the region. */
  maxsize = 0;
  /** @internal */
  mapping: Mapping | null = null;

  /** @internal Fills a map info. */
  static of(mapping: Mapping, flags: number): MapInfo {
    const core = mapping.memory;
    const { bytes: data, size } = mapping;
    return Object.assign(new MapInfo(), {
      memory: Memory.of(core),
      flags,
      data,
      size,
      maxsize: core.maxSize - core.offset,
      mapping,
    });
  }

  /** @internal Ends the access and forgets it; a second call does nothing. */
  clear(): void {
    const { mapping, flags } = this;
    if (mapping === null) return;
    this.mapping = null;
    this.memory = null;
    this.data = null;
    this.flags = 0;
    mapping.unmap();
    if ((flags & MapFlags.REF_MEMORY) !== 0) mapping.memory.release();
  }
}

const memories: WeakMap<CoreMemory, Memory> = new WeakMap();

/** A block of memory. */
export class Memory {
  /** The core's memory underneath. */
  readonly core: CoreMemory;

  private constructor(core: CoreMemory) {
    this.core = core;
  }

  /** @internal The one wrapper of a core memory. */
  static of(core: CoreMemory): Memory {
    let memory = memories.get(core);
    if (memory === undefined) {
      memory = new Memory(core);
      memories.set(core, memory);
    }
    return memory;
  }

  /** Wraps foreign bytes; `notify` is called once, when they are free. Throws `ERR_OUT_OF_RANGE`, `ERR_INVALID_ARG_TYPE`. */
  static new_wrapped(
    flags: number,
    data: Uint8Array,
    maxsize: number,
    offset: number,
    size: number,
    notify?: () => void,
  ): Memory {
    const bytes = data?.length > maxsize ? data.subarray(0, maxsize) : data;
    return Memory.of(
      wrapMemory(bytes, { flags, offset, size, ...(notify === undefined ? {} : { onRelease: notify }) }),
    );
  }

  /** Maps: [true, info], or [false, zeroed info] when the locks or the memory forbid it. */
  map(flags: number): [boolean, MapInfo] {
    const mode = modeIn(flags);
    try {
      const mapping = this.core.map(mode);
      if ((flags & MapFlags.REF_MEMORY) !== 0) this.core.retain();
      return [true, MapInfo.of(mapping, flags)];
    } catch (error) {
      if (isRefusal(error)) return [false, new MapInfo()];
      throw error;
    }
  }

  /** Ends a map of this memory. Throws `ERR_INVALID_ARG_VALUE` for another's info, or one that was ended. */
  unmap(info: MapInfo): void {
    if (info.memory !== this)
      throw new MillpondError("ERR_INVALID_ARG_VALUE", "this map info is not of this memory, or was unmapped");
    info.clear();
  }

  /** Consumes the memory and maps it, or a copy where it cannot be mapped so: [memory | null, info]. */
  make_mapped(flags: number): [Memory | null, MapInfo] {
    const [ok, info] = this.map(flags);
    if (ok) return [this, info];
    const copy = this.copy(0, -1);
    if (copy === null) return [null, info];
    this.unref();
    return [copy, copy.map(flags)[1]];
  }

  /** [size, offset, maxsize]. */
  get_sizes(): [number, number, number] {
    return [this.core.size, this.core.offset, this.core.maxSize];
  }

  /** Moves the valid part: `offset` is relative. Throws `ERR_NOT_WRITABLE`, `ERR_OUT_OF_RANGE`. */
  resize(offset: number, size: number): void {
    this.core.resize(offset, size);
  }

  /** A sub-memory; size -1: to the end. Null while mapped for writing. Throws `ERR_NOT_SHAREABLE`, `ERR_OUT_OF_RANGE`. */
  share(offset: number, size: number): Memory | null {
    try {
      return Memory.of(this.core.share(offset, size === -1 ? undefined : size));
    } catch (error) {
      if (error instanceof MillpondError && error.code === "ERR_MAPPED") return null;
      throw error;
    }
  }

  /** A copy; size -1: to the end. Null when it cannot be mapped or allocated. Throws `ERR_OUT_OF_RANGE`. */
  copy(offset: number, size: number): Memory | null {
    try {
      return Memory.of(this.core.copy(offset, size === -1 ? undefined : size));
    } catch (error) {
      if (isRefusal(error)) return null;
      throw error;
    }
  }

  /** Whether `next` continues this one in the same parent, and where this one starts in it. */
  is_span(next: Memory): [boolean, number] {
    const start = this.core.isSpan(next.core);
    return [start !== undefined, start ?? 0];
  }

  /** Whether it is exclusively held. READONLY is a matter of mapping. */
  is_writable(): boolean {
    return this.core.isExclusive;
  }

  /** Whether the allocator's memory type is `name`. */
  is_type(name: string): boolean {
    return this.core.isType(name);
  }

  /** Takes {@link LockFlags}, all or none. */
  lock(flags: number): boolean {
    return lockBits(this.core, flags);
  }

  /** Gives them back. Throws `ERR_OUT_OF_RANGE` when not held. */
  unlock(flags: number): void {
    unlockBits(this.core, flags);
  }

  /** One reference more. */
  ref(): this {
    this.core.retain();
    return this;
  }

  /** One reference less. Throws `ERR_DOUBLE_RELEASE`, `ERR_MAPPED`, `ERR_FOREIGN_RELEASE`. */
  unref(): void {
    this.core.release();
  }

  /** References. */
  get refcount(): number {
    return this.core.refCount;
  }

  /** {@link MemoryFlags}. */
  get flags(): number {
    return this.core.flags;
  }

  /** The allocator. */
  get allocator(): Allocator {
    return Allocator.of(this.core.allocator);
  }

  /** The memory that this one is a part of, or null. */
  get parent(): Memory | null {
    return this.core.parent === null ? null : Memory.of(this.core.parent);
  }
}

/** Failures that the original answers with false or null. */
export function isRefusal(error: unknown): boolean {
  return (
    error instanceof MillpondError &&
    ["ERR_MAPPED", "ERR_NOT_WRITABLE", "ERR_NOT_MAPPABLE", "ERR_DETACHED", "ERR_ALLOCATION_FAILED"].includes(error.code)
  );
}

/** A core allocator whose bytes a subclass's vfuncs make. */
class BridgeAllocator extends CoreAllocator {
  readonly #face: Allocator;

  constructor(face: Allocator, memoryType: string) {
    super(`gst-${face.constructor.name}`, { memoryType });
    this.#face = face;
  }

  protected override allocateRegion(size: number, params: ResolvedParams): Region | undefined {
    const inner = this.#face.vfunc_alloc?.(size, paramsOut(params));
    if (inner === null || inner === undefined) return undefined;
    const [ok, info] = inner.map(MapFlags.READ);
    if (!ok || info.data === null) return undefined;
    const bytes = info.data;
    inner.unmap(info);
    return new Region(bytes, inner);
  }

  protected override freeRegion(region: Region): void {
    const inner = region.handle as Memory;
    this.#face.vfunc_free?.(inner);
    if (inner.refcount > 0) inner.unref();
  }
}

const faces: WeakMap<CoreAllocator, Allocator> = new WeakMap();

/** Where memory comes from; subclasses give `vfunc_alloc` and may give `vfunc_free`. */
export class Allocator {
  /** The core's allocator underneath. */
  readonly core: CoreAllocator;
  /** The kind of memory. */
  readonly mem_type: string;
  /** Subclasses: makes a memory of at least `size` bytes, or null. */
  vfunc_alloc?(size: number, params: AllocationParams): Memory | null;
  /** Subclasses: a memory that `vfunc_alloc` made is free. */
  vfunc_free?(memory: Memory): void;

  /** Subclasses call it without arguments. */
  constructor(memType = "SystemMemory", core?: CoreAllocator) {
    this.core = core ?? new BridgeAllocator(this, memType);
    this.mem_type = this.core.memoryType;
    faces.set(this.core, this);
  }

  /** @internal The one face of a core allocator. */
  static of(core: CoreAllocator): Allocator {
    return faces.get(core) ?? new Allocator(core.memoryType, core);
  }

  /** The allocator of that name, the default for null, or null. */
  static find(name: string | null): Allocator | null {
    const core = name === null ? allocators.default : allocators.find(name === "SystemMemory" ? "system" : name);
    return core === undefined ? null : Allocator.of(core);
  }

  /** Makes an allocator known by name; an older entry is replaced, as there. */
  static register(name: string, allocator: Allocator): void {
    allocators.register(name, allocator.core, { replace: true });
  }

  /** Makes it the default. */
  set_default(): void {
    allocators.default = this.core;
  }

  /** A memory, or null. Throws `ERR_INVALID_ARG_VALUE` for an alignment that is not 2^n - 1. */
  alloc(size: number, params: AllocationParams | null): Memory | null {
    try {
      return Memory.of(this.core.allocate(size, paramsIn(params)));
    } catch (error) {
      if (isRefusal(error)) return null;
      throw error;
    }
  }

  /** Frees a memory of this allocator: its last reference. Throws `ERR_FOREIGN_RELEASE` for another's. */
  free(memory: Memory): void {
    if (memory.core.allocator !== this.core) {
      throw new MillpondError(
        "ERR_FOREIGN_RELEASE",
        `${memory.core} belongs to another allocator than "${this.core.name}"`,
      );
    }
    memory.unref();
  }
}
