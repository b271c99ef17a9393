/**
 * GstMemory, GstMapInfo, GstAllocator and GstAllocationParams over the core's Memory and Allocator, and DMA buffers.
 */
import type { DmabufAllocator, DmabufReport } from "../../allocators/native/dmabuf.ts";
import { allocators } from "../../allocators/registry.ts";
import { Allocator as CoreAllocator, defaultAllocator, systemAllocator, wrapMemory } from "../../memory/allocator.ts";
import type { Memory as CoreMemory, MapMode, Mapping } from "../../memory/memory.ts";
import { exchangeFor, lockBits, releaseWhenUnmapped, unlockBits } from "../../memory/memory.ts";
import {
  type AllocationParams as CoreParams,
  DEFAULT_ALIGN,
  MAX_ALIGN,
  type ResolvedParams,
  resolveParams,
} from "../../memory/params.ts";
import { type Region, viewBytes } from "../../memory/region.ts";
import { MillpondError, throwLater } from "../../util/errors.ts";
import { MAKE } from "../door-error.ts";
import { MapFlags } from "./constants.ts";
import {
  attempt,
  bad,
  checkFunction,
  checkName,
  checkSize,
  checkStruct,
  checkWhole,
  makerOnly,
  note,
  outside,
  refuse,
  speaks,
  wrong,
} from "./words.ts";

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

  /** `AllocationParams { align: 63, prefix: 0, padding: 0, flags: 0 }`. */
  toString(): string {
    const { align, prefix, padding, flags } = this;
    return `AllocationParams { align: ${align}, prefix: ${prefix}, padding: ${padding}, flags: ${flags} }`;
  }
}

/** A checked copy of what a caller gave as params; null: none. */
export function checkParams(params: unknown): AllocationParams | null {
  if (params === null) return null;
  if (typeof params !== "object") throw wrong("params", "AllocationParams or null", params);
  checkStruct("params", params, ["flags", "align", "prefix", "padding"]);
  const { flags = 0, align = 0, prefix = 0, padding = 0 } = params as Partial<AllocationParams>;
  if (typeof align !== "number") throw wrong("params.align", "a number", align);
  if (!Number.isInteger(align) || align < 0 || align >= MAX_ALIGN || (align & (align + 1)) !== 0) {
    throw bad("params.align", `2^n - 1 below ${MAX_ALIGN} (a mask: 63 for 64 bytes)`, align);
  }
  checkWhole("params.flags", flags, 0, 0x7fffffff);
  checkWhole("params.prefix", prefix);
  checkWhole("params.padding", padding);
  return Object.assign(new AllocationParams(), { flags, align, prefix, padding });
}

/** The core's params of a caller's. Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE` in the caller's own values. */
export function paramsIn(params: AllocationParams | null): CoreParams {
  const checked = checkParams(params);
  if (checked === null) return {};
  const { flags, prefix, padding, align } = checked;
  // The system's minimum is or-ed in, as there.
  return { flags, prefix, padding, align: Math.max(align + 1, DEFAULT_ALIGN) };
}

/** Our params of the core's. */
export function paramsOut(params: ResolvedParams): AllocationParams {
  const { flags, prefix, padding } = params;
  return Object.assign(new AllocationParams(), { flags, prefix, padding, align: params.align - 1 });
}

/**
 * The core's mode of map flags; READ and WRITE together are "readwrite". Throws `ERR_INVALID_ARG_VALUE` for neither.
 */
export function modeIn(flags: number): MapMode {
  const mode = checkWhole("flags", flags, 0, 0x7fffffff) & (MapFlags.READ | MapFlags.WRITE);
  if (mode === 0) throw bad("flags", "MapFlags with READ, WRITE or both", flags);
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
  #mapping: Mapping | null = null;
  #ended: (() => void) | undefined;
  /** Whose unmap() may end it; undefined: it never was a map, so that there is nothing to end. */
  #owners: readonly object[] | undefined;

  /**
   * @internal Fills a map info; with `holds` it has a reference of the memory until {@link clear}, which calls `ended`.
   * The memory's unmap() may end it, and that of the `buffer`.
   */
  static of(mapping: Mapping, flags: number, holds: boolean, buffer?: object, ended?: () => void): MapInfo {
    const core = mapping.memory;
    const info = new MapInfo();
    if (holds) core.retain();
    const memory = Memory.of(core);
    info.memory = memory;
    info.#owners = buffer === undefined ? [memory] : [memory, buffer];
    info.flags = flags;
    info.data = mapping.bytes;
    info.size = mapping.size;
    info.maxsize = core.maxSize - core.offset;
    info.#mapping = mapping;
    info.#ended = () => {
      ended?.();
      // Another mapping may be all that keeps it.
      if (holds) releaseWhenUnmapped(core);
    };
    return info;
  }

  /** @internal Whether it is a live map of this memory or buffer. */
  isLiveOf(owner: object): boolean {
    return this.#owners?.includes(owner) ?? false;
  }

  /** @internal Whether it never was a map: that of a buffer without memory, or one that failed. */
  get isEmpty(): boolean {
    return this.#owners === undefined;
  }

  /** @internal Ends the access and forgets it; a second call does nothing. */
  clear(): void {
    const mapping = this.#mapping;
    const ended = this.#ended;
    if (mapping === null) return;
    this.#owners = [];
    this.#mapping = null;
    this.#ended = undefined;
    this.memory = null;
    this.data = null;
    this.flags = 0;
    try {
      mapping.unmap();
    } finally {
      ended?.();
    }
  }

  /** `MapInfo (4 bytes, flags 1)`. */
  toString(): string {
    return this.data === null ? "MapInfo (not mapped)" : `MapInfo (${this.size} bytes, flags ${this.flags})`;
  }
}

/** Checks what a caller gives as a map info. */
export function checkInfo(info: unknown): MapInfo {
  if (!(info instanceof MapInfo)) throw wrong("info", "a MapInfo from map()", info);
  return info;
}

const byCore: WeakMap<CoreMemory, Memory> = new WeakMap();
const byRegion: WeakMap<Region, { readonly face: Memory; slot: object | null }> = new WeakMap();

/**
 * A block of memory; made by {@link Allocator.alloc}, {@link Memory.new_wrapped}, {@link Memory.share} and {@link
 * Memory.copy}.
 */
export class Memory {
  #core: CoreMemory;

  /** @internal */
  private constructor(core: CoreMemory, key?: unknown) {
    makerOnly(key, "Memory", "Memory.new_wrapped() or Allocator.alloc()");
    this.#core = core;
  }

  /**
   * @internal The face of a core memory. What `vfunc_alloc` returned is the face of its bytes until `vfunc_free` has
   * got it, whichever core memory stands for them. A pool gives the next lease another core memory over the same bytes;
   * its face stays the same for as long as the pool's buffer has those bytes.
   */
  static of(core: CoreMemory): Memory {
    const known = byCore.get(core);
    if (known !== undefined) {
      if (core.parent === null && core.parentBuffer !== null) Memory.stand(known, core.parentBuffer);
      return known;
    }
    const pooled = core.parent === null && core.parentBuffer !== null ? byRegion.get(core.region) : undefined;
    const kept = pooled?.slot === core.parentBuffer ? pooled.face : undefined;
    const face = (core.references > 0 ? handedOut(core) : undefined) ?? kept ?? new Memory(core, MAKE);
    Memory.standFor(face, core);
    if (core.parent === null && core.parentBuffer !== null) Memory.stand(face, core.parentBuffer);
    return face;
  }

  /** @internal A face acts on this core memory from now on. */
  static standFor(face: Memory, core: CoreMemory): void {
    face.#core = core;
    byCore.set(core, face);
  }

  /**
   * @internal Of memories that have a face already, it stays that of whatever this pool's buffer has in their place.
   */
  static keep(cores: readonly CoreMemory[], slot: object): void {
    for (const core of cores) {
      const face = byCore.get(core);
      if (face !== undefined && core.parent === null) Memory.stand(face, slot);
    }
  }

  /** @internal From now on a face stands for the memory that this pool's buffer has. */
  static stand(face: Memory, slot: object): void {
    const { region } = face.#core;
    const known = byRegion.get(region);
    if (known?.face === face) known.slot = slot;
    else byRegion.set(region, { face, slot });
  }

  /** @internal Whether a value is a Memory that this door made. */
  static is(value: unknown): value is Memory {
    return typeof value === "object" && value !== null && #core in value;
  }

  /** The core's memory underneath. */
  get core(): CoreMemory {
    return this.#core;
  }

  /**
   * Wraps foreign bytes; `notify` is called once, when they are free. Throws `ERR_OUT_OF_RANGE`,
   * `ERR_INVALID_ARG_TYPE`.
   */
  static new_wrapped(
    flags: number,
    data: Uint8Array,
    maxsize: number,
    offset: number,
    size: number,
    notify?: () => void,
  ): Memory {
    checkWhole("flags", flags, 0, 0x7fffffff);
    const bytes = checkBytes("data", data);
    if (checkWhole("maxsize", maxsize) > bytes.length) {
      throw outside("maxsize", `at most ${bytes.length}, the bytes of data`, maxsize);
    }
    checkWhole("offset", offset, 0, maxsize);
    checkWhole("size", size, 0, maxsize - offset);
    checkFunction("notify", notify);
    const region = bytes.length > maxsize ? bytes.subarray(0, maxsize) : bytes;
    return Memory.of(wrapMemory(region, { flags, offset, size, ...(notify && { onRelease: notify }) }));
  }

  /** Maps: [true, info], or [false, zeroed info] when the locks or the memory forbid it; {@link lastError} says why. */
  map(flags: number): [boolean, MapInfo] {
    const mode = modeIn(flags);
    return attempt(
      () => [true, MapInfo.of(this.#core.map(mode), flags, (flags & MapFlags.REF_MEMORY) !== 0)],
      [false, new MapInfo()],
    );
  }

  /** Ends a map of this memory. Throws `ERR_INVALID_ARG_VALUE` for another's info, or one that was ended. */
  unmap(info: MapInfo): void {
    if (!checkInfo(info).isLiveOf(this)) throw bad("info", `of a live map of ${this}`, info);
    info.clear();
  }

  /** Consumes the memory and maps it, or a copy where it cannot be mapped so: [memory | null, info]. */
  make_mapped(flags: number): [Memory | null, MapInfo] {
    const [ok, info] = this.map(flags);
    if (ok) return [this, info];
    const copy = this.copy(0, -1);
    if (copy === null) return [null, info];
    exchangeFor(this.#core, copy.#core);
    const [done, copied] = copy.map(flags);
    if (done) return [copy, copied];
    copy.unref();
    return [null, copied];
  }

  /** [size, offset, maxsize]. */
  get_sizes(): [number, number, number] {
    return [this.#core.size, this.#core.offset, this.#core.maxSize];
  }

  /** Moves the valid part: `offset` is relative. Throws `ERR_NOT_WRITABLE`, `ERR_OUT_OF_RANGE`. */
  resize(offset: number, size: number): void {
    const core = this.#core;
    checkWhole("offset", offset, -core.offset, core.maxSize - core.offset);
    checkWhole("size", size, 0, core.maxSize - core.offset - offset);
    core.resize(offset, size);
  }

  /**
   * A sub-memory; size -1: to the end. Null while mapped for writing. Throws `ERR_NOT_SHAREABLE`, `ERR_OUT_OF_RANGE`.
   */
  share(offset: number, size: number): Memory | null {
    checkWhole("offset", offset, -this.#core.offset);
    const bytes = checkSize("size", size);
    return attempt(() => Memory.of(this.#core.share(offset, bytes)), null);
  }

  /** A copy; size -1: to the end. Null when it cannot be mapped or allocated. Throws `ERR_OUT_OF_RANGE`. */
  copy(offset: number, size: number): Memory | null {
    checkWhole("offset", offset, -this.#core.offset);
    const bytes = checkSize("size", size);
    return attempt(() => Memory.of(this.#core.copy(offset, bytes)), null);
  }

  /** Whether `next` continues this one in the same parent, and where this one starts in it. */
  is_span(next: Memory): [boolean, number] {
    const start = this.#core.isSpan(coreMemory("next", next));
    return [start !== undefined, start ?? 0];
  }

  /** Whether it is exclusively held. READONLY is a matter of mapping. */
  is_writable(): boolean {
    return this.#core.isExclusive;
  }

  /** Whether the allocator's memory type is `name`. */
  is_type(name: string): boolean {
    return this.allocator.mem_type === checkName("name", name);
  }

  /** Takes {@link LockFlags}, all or none. Throws `ERR_INVALID_ARG_VALUE` for none at all. */
  lock(flags: number): boolean {
    return lockBits(this.#core, checkLocks(flags));
  }

  /** Gives them back. Throws `ERR_OUT_OF_RANGE` when not held. */
  unlock(flags: number): void {
    unlockBits(this.#core, checkLocks(flags));
  }

  /** One reference more. */
  ref(): this {
    this.#core.retain();
    return this;
  }

  /** One reference less. Throws `ERR_DOUBLE_RELEASE`, `ERR_MAPPED`, `ERR_FOREIGN_RELEASE`. */
  unref(): void {
    this.#core.release();
  }

  /** References. */
  get refcount(): number {
    return this.#core.refCount;
  }

  /** {@link MemoryFlags}. */
  get flags(): number {
    return this.#core.flags;
  }

  /** The allocator. */
  get allocator(): Allocator {
    return Allocator.of(this.#core.allocator);
  }

  /** The memory that this one is a part of, or null. */
  get parent(): Memory | null {
    return this.#core.parent === null ? null : Memory.of(this.#core.parent);
  }

  /** `memory #3 (4096 bytes of "SystemMemory")`. */
  toString(): string {
    const { id, size, allocator } = this.#core;
    return `memory #${id} (${size} bytes of "${Allocator.of(allocator).mem_type}")`;
  }
}
speaks(Memory, Memory.is);

/** Checks what a caller gives as a memory, and gives the core's. */
export function coreMemory(name: string, memory: unknown): CoreMemory {
  if (!Memory.is(memory)) throw wrong(name, "a Memory", memory);
  return memory.core;
}

/** Checks bytes that a caller gives; throws `ERR_INVALID_ARG_TYPE`, `ERR_DETACHED`. */
export function checkBytes(name: string, data: unknown): Uint8Array {
  let bytes: Uint8Array | undefined;
  try {
    bytes = viewBytes(data);
  } catch (cause) {
    throw refuse("ERR_DETACHED", `${name} is detached: its ArrayBuffer was transferred; copy the bytes before`, cause);
  }
  if (bytes === undefined) throw wrong(name, "an ArrayBuffer, SharedArrayBuffer, typed array or DataView", data);
  return bytes;
}

function checkLocks(flags: number): number {
  checkWhole("flags", flags);
  if (flags === 0 || flags > 7) throw bad("flags", "LockFlags: READ, WRITE, EXCLUSIVE or some of them", flags);
  return flags;
}

/**
 * The core allocator of a subclass. What `vfunc_alloc` returns is handed on as it is: it only changes hands, from the
 * allocator that made it (which gets it back at the end) to this one.
 */
class BridgeAllocator extends CoreAllocator {
  readonly #face: Allocator;
  /**
   * Who made what this allocator hands out, and the face that `vfunc_alloc` returned. A root is known by its region,
   * which outlives the handles over it.
   */
  readonly #origins: WeakMap<object, { readonly maker: CoreAllocator; readonly face: Memory }> = new WeakMap();
  /** Which of its memories were handed out, by the number of the call. */
  readonly #handed: WeakMap<CoreMemory, number> = new WeakMap();

  constructor(face: Allocator) {
    super(`gst-${face.constructor.name || "Allocator"}`);
    this.#face = face;
    // A subclass may set its mem_type after this constructor has run.
    Object.defineProperty(this, "memoryType", { get: () => String(face.mem_type), enumerable: true });
  }

  override allocate(size: number, params?: CoreParams): CoreMemory {
    const resolved = resolveParams(params);
    const calls = this.allocationCount;
    let made: Memory | null | undefined;
    try {
      made = this.#face.vfunc_alloc(size, paramsOut(resolved));
    } catch (cause) {
      throw this.#noMemory(size, cause);
    }
    if (made === null || made === undefined) throw this.#noMemory(size, undefined);
    if (!Memory.is(made)) throw this.#noMemory(size, wrong("what vfunc_alloc() returns", "a Memory or null", made));
    const { core } = made;
    if (core.refCount === 0) {
      throw this.#noMemory(
        size,
        refuse("ERR_USE_AFTER_RELEASE", `${made}, which vfunc_alloc() returned, was unreffed`),
      );
    }
    if (core.references <= core.ownerCount || (core.references === 1 && this.#wasHandedBefore(core, calls))) {
      const text = `every reference of ${made}, which vfunc_alloc() returned, is somebody else's; ref() it before`;
      throw this.#noMemory(size, refuse("ERR_FOREIGN_RELEASE", text));
    }
    // What a buffer or a pool owns stays its allocator's; its caller gets a reference of it.
    if (core.ownerCount === 0 && core.parentBuffer === null && core.allocator !== this) {
      this.#origins.set(keyOf(core), { maker: takeOver(this, core), face: made });
    }
    this.allocationCount++;
    this.#handed.set(core, this.allocationCount);
    return core;
  }

  /**
   * Handed out before the call that is under way; inside it a vfunc_alloc() may have called alloc() for what it
   * returns.
   */
  #wasHandedBefore(core: CoreMemory, calls: number): boolean {
    const at = this.#handed.get(core);
    return at !== undefined && at <= calls;
  }

  #noMemory(size: number, cause: unknown): MillpondError {
    const text = `allocator "${this.name}" has no memory of ${size} bytes: its vfunc_alloc() `;
    const [why, options] =
      cause === undefined
        ? ["answered null", undefined]
        : [`failed: ${cause instanceof Error ? cause.message : String(cause)}`, { cause }];
    return new MillpondError("ERR_ALLOCATION_FAILED", text + why, { size }, options);
  }

  override onRelease(memory: CoreMemory): void {
    const key = keyOf(memory);
    const origin = this.#origins.get(key);
    if (origin === undefined) {
      super.onRelease(memory);
      return;
    }
    const { maker, face } = origin;
    const refusal = maker.releaseRefusal(memory);
    if (refusal !== undefined) {
      memory.references = 1;
      throw refusal;
    }
    this.#origins.delete(key);
    Memory.standFor(face, memory);
    try {
      this.#face.vfunc_free(face);
    } catch (error) {
      throwLater(error);
    }
    takeOver(maker, memory);
    maker.onRelease(memory);
  }

  override onHandleReplaced(fresh: CoreMemory): void {
    this.#maker(fresh)?.onHandleReplaced(fresh);
  }

  override deadMemoryError(memory: CoreMemory, verb: string): MillpondError | undefined {
    return this.#maker(memory)?.deadMemoryError(memory, verb);
  }

  override releaseRefusal(memory: CoreMemory): MillpondError | undefined {
    return this.#maker(memory)?.releaseRefusal(memory);
  }

  override async openRegionAsync(region: Region, mode: MapMode, signal?: AbortSignal): Promise<Uint8Array> {
    return (
      this.#origins.get(region)?.maker.openRegionAsync(region, mode, signal) ??
      super.openRegionAsync(region, mode, signal)
    );
  }

  override openRegion(region: Region, mode: MapMode): Uint8Array {
    return this.#origins.get(region)?.maker.openRegion(region, mode) ?? super.openRegion(region, mode);
  }

  override closeRegion(region: Region, mode: MapMode): void {
    this.#origins.get(region)?.maker.closeRegion(region, mode);
  }

  #maker(memory: CoreMemory): CoreAllocator | undefined {
    return this.#origins.get(keyOf(memory))?.maker;
  }

  /** What `vfunc_alloc` returned for these bytes, until `vfunc_free` gets it. */
  faceOf(memory: CoreMemory): Memory | undefined {
    return this.#origins.get(keyOf(memory))?.face;
  }

  protected override allocateRegion(): undefined {
    return undefined;
  }

  protected override freeRegion(): void {}
}

function handedOut(core: CoreMemory): Memory | undefined {
  return core.allocator instanceof BridgeAllocator ? core.allocator.faceOf(core) : undefined;
}

function keyOf(memory: CoreMemory): object {
  return memory.parent === null ? memory.region : memory;
}

const faces: WeakMap<CoreAllocator, Allocator> = new WeakMap();

/** GStreamer's names of allocators that are registered under others here. */
const NAMES: Readonly<Record<string, string>> = { SystemMemory: "system" };

/** Where memory comes from; subclasses give `vfunc_alloc` and may give `vfunc_free`. */
export class Allocator {
  /** The kind of memory; a subclass may set it at any time. */
  declare mem_type: string;
  #core: CoreAllocator;

  /** Subclasses call it without arguments, or with their memory type. */
  constructor(memType = "SystemMemory", core?: CoreAllocator, key?: unknown) {
    if (core !== undefined) makerOnly(key, "Allocator", "Allocator.find()");
    if (!Reflect.has(this, "mem_type")) this.mem_type = checkName("mem_type", memType);
    this.#core = core ?? new BridgeAllocator(this);
    faces.set(this.#core, this);
  }

  /** @internal The one face of a core allocator. */
  static of(core: CoreAllocator): Allocator {
    return faces.get(core) ?? new Allocator(core.memoryType, core, MAKE);
  }

  /** @internal Whether a value is an Allocator of this door. */
  static is(value: unknown): value is Allocator {
    return typeof value === "object" && value !== null && #core in value;
  }

  /** The core's allocator underneath. */
  get core(): CoreAllocator {
    return this.#core;
  }

  /** The allocator of that name, the default for null, or null. */
  static find(name: string | null): Allocator | null {
    if (name === null) return Allocator.of(defaultAllocator());
    const core = allocators.find(NAMES[checkName("name", name)] ?? name);
    return core === undefined ? null : Allocator.of(core);
  }

  /** Makes an allocator known by name; an older entry is replaced, as there. */
  static register(name: string, allocator: Allocator): void {
    checkName("name", name);
    const core = coreAllocator("allocator", allocator);
    if (core === null) throw wrong("allocator", "an Allocator", allocator);
    allocators.register(NAMES[name] ?? name, core, { replace: true });
  }

  /** Makes it the default. */
  set_default(): void {
    allocators.default = this.#core;
  }

  /**
   * A memory, or null ({@link lastError} says why). Throws `ERR_INVALID_ARG_VALUE` for an alignment that is not 2^n -
   * 1.
   */
  alloc(size: number, params: AllocationParams | null): Memory | null {
    checkWhole("size", size);
    const wanted = paramsIn(params);
    if (this.#core instanceof BridgeAllocator && this.vfunc_alloc === Allocator.prototype.vfunc_alloc) {
      note(refuse("ERR_ALLOCATION_FAILED", `${this} has no vfunc_alloc()`));
      return null;
    }
    try {
      return Memory.of(this.#core.allocate(size, wanted));
    } catch (error) {
      note(error);
      return null;
    }
  }

  /** Frees a memory of this allocator: its last reference. Throws `ERR_FOREIGN_RELEASE` for another's. */
  free(memory: Memory): void {
    const core = coreMemory("memory", memory);
    if (core.allocator !== this.#core) {
      throw refuse("ERR_FOREIGN_RELEASE", `${memory} belongs to ${memory.allocator}, not to ${this}`);
    }
    core.release();
  }

  /**
   * Subclasses: makes a memory whose valid part has `size` bytes, or null. What it returns is what the caller gets. The
   * default: system memory.
   */
  vfunc_alloc(size: number, params: AllocationParams): Memory | null {
    checkWhole("size", size);
    if (params === null) throw wrong("params", "AllocationParams", params);
    return Memory.of(systemAllocator().allocate(size, paramsIn(params)));
  }

  /**
   * Subclasses: a memory that `vfunc_alloc` returned is free; its bytes go back to the allocator that made them. The
   * default: nothing.
   */
  vfunc_free(memory: Memory): void {
    coreMemory("memory", memory);
  }

  /** `allocator of "SystemMemory"`. */
  toString(): string {
    return `allocator of "${this.mem_type}"`;
  }
}
speaks(Allocator, Allocator.is);

/** Checks what a caller gives as an allocator, and gives the core's; null stays null. */
export function coreAllocator(name: string, allocator: unknown): CoreAllocator | null {
  if (allocator === null) return null;
  if (!Allocator.is(allocator)) throw wrong(name, "an Allocator or null", allocator);
  return allocator.core;
}

/*
 * GstDmaBufMemory and GstUdmabufAllocator, as far as this machine has them: DMA buffers made of a sealed memfd's pages
 * by udmabuf, or from a dma-heap. `import "millpond/native"` brings them; without it, and on kernels without either
 * device, the answer is `NOT_SUPPORTED`. A plain memfd is never passed off as a DMA buffer.
 */

function isDmabuf(core: CoreAllocator | undefined): core is DmabufAllocator {
  return core?.memoryType === "DmabufMemory" && typeof (core as Partial<DmabufAllocator>).reportOf === "function";
}

/** The allocator of DMA buffers made of ordinary memory. */
export const UdmabufAllocator = {
  /** It, or null where this machine makes none; {@link lastError} says which step is missing (status NOT_SUPPORTED). */
  get(): Allocator | null {
    const core = allocators.find("dmabuf");
    if (!isDmabuf(core)) {
      note(refuse("ERR_UNSUPPORTED", 'no allocator makes DMA buffers here; import "millpond/native" on Linux'));
      return null;
    }
    const why = core.lacks("memory:DMABuf");
    if (why !== undefined) {
      note(refuse("ERR_UNSUPPORTED", `this machine makes no DMA buffers: ${why}`));
      return null;
    }
    return Allocator.of(core);
  },
} as const;

function reportOf(memory: Memory): DmabufReport | undefined {
  const core = coreMemory("memory", memory);
  const root = core.parent ?? core;
  return isDmabuf(root.allocator) && root.refCount > 0 ? root.allocator.reportOf(root) : undefined;
}

/** Whether a memory really is a DMA buffer. */
export function is_dmabuf_memory(memory: Memory): boolean {
  const kind = reportOf(memory)?.kind;
  return kind === "udmabuf" || kind === "dma-heap";
}

/** The descriptor of a DMA buffer, which lives as long as the memory; -1 for any other memory. */
export function dmabuf_memory_get_fd(memory: Memory): number {
  return is_dmabuf_memory(memory) ? reportOf(memory)!.descriptor : -1;
}

/** `own` takes over a live memory that another allocator made: its onRelease() ends it. Returns whose it was. */
function takeOver(own: CoreAllocator, memory: CoreMemory): CoreAllocator {
  const { allocator, region, parent } = memory;
  if (allocator === own) return own;
  const bytes = parent === null ? region.size : 0;
  allocator.liveMemoryCount--;
  allocator.liveByteCount -= bytes;
  own.liveMemoryCount++;
  own.liveByteCount += bytes;
  (memory as { allocator: CoreAllocator }).allocator = own;
  return allocator;
}
