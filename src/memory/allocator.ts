/**
 * Allocators: where bytes come from. A custom one extends {@link Allocator} and says two things, how to get a region
 * and how to give it back; everything else (alignment, prefix, padding, zeroing, counting, sharing, copying) is done
 * here.
 *
 * ```ts
 * class ArenaAllocator extends Allocator {
 *   constructor() { super("arena"); }
 *   protected override allocateRegion(size: number): Region | undefined { ... }
 *   protected override freeRegion(region: Region): void { ... }
 * }
 * ```
 * The life-cycle of a region: allocateRegion() gives it, and it is checked (size, alignment, bytes that are there); one
 * root memory and the sub-memories cut from it have its bytes; with the last release of the last of them freeRegion()
 * gets it back, exactly once. An allocator that keeps regions for later (a pool) does so in its freeRegion().
 *
 * Invariants: `liveMemories` and `liveBytes` count what was given and not got back, whatever a hook throws; a hook that
 * fails leaves no lock, reference or count behind. All is O(1) but for the hooks, copies and zeroing.
 *
 * After GStreamer's GstAllocator. The built-in {@link SystemAllocator} and the default of the realm are in this file
 * too, because copying falls back to the default.
 */

import { MillpondError, throwLater } from "../util/errors.ts";
import { UNCLONEABLE } from "../util/uncloneable.ts";
import { callback, checkOptions, isMade, nonEmpty, wholeNumber, word, wrongType } from "../util/validate.ts";
import { replaceDefault, replacedDefault } from "./default.ts";
import { badRegionError, noRegionError, notMappableError } from "./errors.ts";
import {
  answered,
  checkRange,
  isMemory,
  type MapMode,
  type Mapping,
  Memory,
  mapToRead,
  releaseFailed,
  releaseWhenUnmapped,
  unmapFailed,
} from "./memory.ts";
import { type AllocationParams, MemoryFlags, type ResolvedParams, resolveParams } from "./params.ts";
import { inheritWipe, isRevocable, promisesRevocation, Region, viewBytes } from "./region.ts";

/** Bit flags of an allocator. */
export const AllocatorFlags = {
  /** No flag. */
  NONE: 0,
  /** Only code that knows this allocator may allocate from it; implies NO_COPY. */
  CUSTOM_ALLOC: 1,
  /** Copies of its memories come from the default allocator (an allocation here is expensive). */
  NO_COPY: 2,
} as const;

/** A combination of {@link AllocatorFlags}. */
export type AllocatorFlags = number;

/** What an allocator has given out and not got back. */
export interface AllocatorStats {
  /** Live memories, sub-memories included. */
  readonly liveMemories: number;
  /** Bytes in the regions of live memories. */
  readonly liveBytes: number;
  /** Allocations since the beginning. */
  readonly allocations: number;
  /** Allocations that failed. */
  readonly failures: number;
}

/** How an {@link Allocator} is made. */
export interface AllocatorOptions {
  /** The kind of memory, for {@link Memory.isType}; default "SystemMemory". */
  memoryType?: string;
  /** {@link AllocatorFlags}; default none. */
  flags?: AllocatorFlags;
}

/** The contract of every place that bytes come from. */
export abstract class Allocator {
  /** @internal A memory is not posted to another thread either: it refers to its allocator. */
  readonly uncloneable: symbol = UNCLONEABLE;
  /** The name that messages and reports use. */
  readonly name: string;
  /** The kind of memory this allocator makes. */
  readonly memoryType: string;
  /** {@link AllocatorFlags}. */
  readonly flags: AllocatorFlags;
  /** @internal Allocators with a fast path of their own count here too. */
  liveMemoryCount = 0;
  /** @internal */
  liveByteCount = 0;
  /** @internal */
  protected allocationCount = 0;
  #failures = 0;

  /** Subclasses give their name. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. */
  constructor(name: string, options?: AllocatorOptions) {
    nonEmpty("name", name);
    const { memoryType = "SystemMemory", flags = 0 } = checkOptions("options", options, ["memoryType", "flags"]);
    word("options.memoryType", memoryType);
    wholeNumber("options.flags", flags, 0, 0x7fffffff);
    this.name = name;
    this.memoryType = memoryType;
    this.flags = (flags & AllocatorFlags.CUSTOM_ALLOC) !== 0 ? flags | AllocatorFlags.NO_COPY : flags;
  }

  /** What this allocator is, for messages: `allocator "system" (SystemMemory)`. */
  toString(): string {
    return `allocator "${this.name}" (${this.memoryType})`;
  }

  /**
   * Makes a memory with a valid part of exactly `size` bytes at `offset = prefix`. Contents are not cleared, except the
   * prefix and padding that ZERO flags ask for. `maxSize` is at least `prefix + size + padding`.
   *
   * @param size bytes; 0 makes an empty memory that can be mapped
   * @param params alignment, prefix, padding, flags
   * Throws `ERR_OUT_OF_RANGE`, `ERR_INVALID_ARG_*`, `ERR_ALLOCATION_FAILED`. O(1) but for what the region costs.
   */
  allocate(size: number, params?: AllocationParams): Memory {
    wholeNumber("size", size);
    const resolved = resolveParams(params);
    const total = resolved.prefix + size + resolved.padding;
    wholeNumber("prefix + size + padding", total);
    const region = this.#obtain(total, resolved);
    const memory = new Memory(this, region, null, resolved.align, resolved.prefix, size, resolved.flags);
    if ((resolved.flags & (MemoryFlags.ZERO_PREFIXED | MemoryFlags.ZERO_PADDED)) !== 0) zeroEdges(memory);
    this.allocationCount++;
    this.liveMemoryCount++;
    this.liveByteCount += region.size;
    return memory;
  }

  #obtain(total: number, params: ResolvedParams): Region {
    let region: Region | undefined;
    let cause: unknown;
    try {
      region = this.allocateRegion(total, params);
    } catch (error) {
      if (error instanceof MillpondError) {
        this.#failures++;
        throw error;
      }
      cause = error;
    }
    if (!isMade(Region, region, "bytes")) {
      this.#failures++;
      throw noRegionError(this.name, total, params.align, cause);
    }
    if (region.size < total || (region.isPlain && (region.isDetached || !this.isAligned(region, params.align)))) {
      this.#failures++;
      this.#giveBack(region);
      throw badRegionError(this.name, region, total, params.align);
    }
    return region;
  }

  /** True when a fresh region is all zero without anybody doing it; pools then need not zero new blocks. */
  get zeroInitialized(): boolean {
    return false;
  }

  /**
   * True when a view of freed memory that was kept can never show the bytes of a later one: the garbage collector has
   * the buffer, or its addresses are retired. A subclass that recycles says false. Where it is true, a pool that is
   * closed by force frees the bytes of live leases as they are; where it is false, their views are detached first, or,
   * where the memory does not allow that, the bytes stay out for good.
   */
  get viewsOutliveFree(): boolean {
    return false;
  }

  /**
   * @internal True when {@link freeRegion} itself zeroes bytes that are to be zeroed: others may still look at them.
   */
  get zeroesFreed(): boolean {
    return false;
  }

  /**
   * Why this allocator's memory does not have a caps feature ("memory:DMABuf"), in words; undefined: it has. Default:
   * it has the one that is named after its memory type. An allocator that can only tell by trying overrides it.
   */
  lacks(feature: string): string | undefined {
    word("feature", feature);
    return feature === `memory:${this.memoryType}` ? undefined : `its memory is ${this.memoryType}`;
  }

  /**
   * @internal True where no two live memories can have the same bytes, so that pools need not look (claims.ts). A
   * subclass may be the application's, and is not to be trusted.
   */
  get givesOnce(): boolean {
    return false;
  }

  /**
   * @internal True where memory comes from that class: neither a subclass nor the object itself has ways of its own.
   */
  protected hasHooksOf({ prototype }: { readonly prototype: Allocator }): boolean {
    return this.allocate === prototype.allocate && this.allocateRegion === prototype.allocateRegion;
  }

  /** Counters since the allocator was made. */
  stats(): AllocatorStats {
    return {
      liveMemories: this.liveMemoryCount,
      liveBytes: this.liveByteCount,
      allocations: this.allocationCount,
      failures: this.#failures,
    };
  }

  /**
   * Hook: gets a region of at least `size` bytes whose first byte is aligned to `params.align` (a power of two).
   * Return undefined, or throw, when there is none; the caller gets `ERR_ALLOCATION_FAILED` with the cause.
   */
  protected abstract allocateRegion(size: number, params: ResolvedParams): Region | undefined;

  /**
   * Hook: whether a region starts on a multiple of `align`. Default: inside its ArrayBuffer, the only address that
   * JavaScript sees; an allocator that knows real addresses answers by them.
   */
  protected isAligned(region: Region, align: number): boolean {
    return region.bytes.byteOffset % align === 0;
  }

  /**
   * Hook: takes a region back. The memory is gone whatever it throws: a MillpondError reaches the caller of the last
   * release(), anything else surfaces as an uncaught error in a later turn.
   */
  protected abstract freeRegion(region: Region): void;

  /**
   * Hook: makes the bytes of an opaque region reachable, whole; default: not mappable. Return undefined, or throw, when
   * it cannot be done; the caller gets `ERR_NOT_MAPPABLE` with the cause.
   */
  protected mapRegion(_region: Region, _mode: MapMode): Uint8Array | undefined {
    return undefined;
  }

  /**
   * Hook: the asynchronous {@link mapRegion}, for memory that has to be fetched first; default: the synchronous one.
   */
  protected async mapRegionAsync(
    region: Region,
    mode: MapMode,
    _signal?: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    return this.mapRegion(region, mode);
  }

  /** Hook: ends an access to an opaque region; default: nothing. */
  protected unmapRegion(_region: Region, _mode: MapMode): void {}

  /** Hook: whether `b` continues exactly where `a` ends; both have the same parent. Default: by offset. */
  isSpan(a: Memory, b: Memory): boolean {
    assertMemory("a", a);
    assertMemory("b", b);
    return a.offset + a.size === b.offset;
  }

  /** Hook: makes a sub-memory; `offset` and `size` are checked. Default: the same region, read-only. */
  shareMemory(memory: Memory, offset: number, size: number): Memory {
    assertMemory("memory", memory);
    wholeNumber("size", size);
    checkRange(memory, offset, size);
    const root = memory.parent ?? memory;
    root.retain();
    if (!root.acquireOwnership()) {
      root.release();
      throw new MillpondError("ERR_MAPPED", `${root} is mapped for writing; unmap it before it is shared again`);
    }
    const child = new Memory(
      this,
      root.region,
      root,
      root.align,
      memory.offset + offset,
      size,
      memory.flags | MemoryFlags.READONLY,
    );
    this.liveMemoryCount++;
    return child;
  }

  /** Hook: copies a checked range into a new memory; default: map, allocate, set. O(size). */
  copyMemory(memory: Memory, offset: number, size: number): Memory {
    assertMemory("memory", memory);
    checkRange(memory, offset, size);
    const target = (this.flags & AllocatorFlags.NO_COPY) !== 0 ? defaultAllocator() : this;
    const source = mapToRead(memory);
    let copy: Memory | undefined;
    let sink: Mapping | undefined;
    try {
      copy = allocateCopy(
        target,
        size,
        memory.align === 0 ? undefined : memory.align,
        promisesRevocation(memory.region),
      );
      // Before the bytes are there: a copy that fails after that is freed as what it is.
      inheritWipe(copy.region, memory.region);
      sink = copy.map("write");
      // No bytes are none to lose, also where their ArrayBuffer was transferred away.
      if (size > 0) sink.bytes.set(source.bytes.subarray(offset, offset + size));
      sink.unmap();
      source.unmap();
      return copy;
    } catch (error) {
      unmapFailed(sink);
      unmapFailed(source);
      if (copy !== undefined) releaseFailed(copy);
      throw error;
    }
  }

  /** @internal Why no memory may end just now; undefined: one may. A pool that is calling its source says so here. */
  releaseRefusal(_memory: Memory): MillpondError | undefined {
    return undefined;
  }

  /** @internal The last reference went: a child frees its hold on the root, a root frees its region. */
  onRelease(memory: Memory): void {
    this.liveMemoryCount--;
    const root = memory.parent;
    if (root !== null) {
      root.dropOwnership();
      // A mapping of the root that outlives every holder keeps its bytes until unmap().
      releaseWhenUnmapped(root);
      return;
    }
    this.liveByteCount -= memory.region.size;
    this.#giveBack(memory.region);
  }

  /**
   * @internal The last reference went, and the bytes must never be handed out again: a holder may have kept views that
   * cannot be detached (`Wipe.FORCED`), or something may still read them (`Wipe.IN_USE`). They stay counted as live,
   * and `freeRegion` never gets them.
   */
  withhold(_memory: Memory): void {}

  /**
   * A MillpondError is meant for the caller of release(); anything else that a hook throws must not interrupt what that
   * caller does.
   */
  #giveBack(region: Region): void {
    try {
      this.freeRegion(region);
    } catch (error) {
      if (error instanceof MillpondError) throw error;
      throwLater(error);
    }
  }

  /**
   * @internal A memory took the place of another one over the same region; for allocators that keep track of theirs.
   */
  onHandleReplaced(_fresh: Memory): void {}

  /** @internal Counts a memory that was made without {@link allocate} (wrapping). */
  adopt(memory: Memory): Memory {
    this.liveMemoryCount++;
    this.liveByteCount += memory.region.size;
    return memory;
  }

  /** @internal The error for a memory that is dead; an allocator that took its leases back by force says so here. */
  deadMemoryError(_memory: Memory, _verb: string): MillpondError | undefined {
    return undefined;
  }

  /** @internal */
  openRegion(region: Region, mode: MapMode): Uint8Array {
    let bytes: Uint8Array | undefined;
    try {
      bytes = this.mapRegion(region, mode);
    } catch (cause) {
      throw notMappableError(this, mode, cause);
    }
    return this.#opened(bytes, region, mode);
  }

  /** @internal */
  async openRegionAsync(region: Region, mode: MapMode, signal?: AbortSignal): Promise<Uint8Array> {
    let bytes: Uint8Array | undefined;
    try {
      bytes = await this.mapRegionAsync(region, mode, signal);
    } catch (cause) {
      throw signal?.aborted === true ? cause : notMappableError(this, mode, cause);
    }
    return this.#opened(bytes, region, mode);
  }

  /** @internal */
  closeRegion(region: Region, mode: MapMode): void {
    this.unmapRegion(region, mode);
  }

  #opened(bytes: Uint8Array | undefined, region: Region, mode: MapMode): Uint8Array {
    if (bytes instanceof Uint8Array && bytes.length >= region.size) return bytes;
    throw notMappableError(this, mode, undefined);
  }
}

/** The built-in allocator: one ArrayBuffer a memory, given back to the garbage collector. Registered as "system". */
export class SystemAllocator extends Allocator {
  /** Most callers want `allocators.find("system")` or {@link defaultAllocator}. */
  constructor(name = "system") {
    super(name, { memoryType: "SystemMemory" });
  }

  /** @internal */
  override get givesOnce(): boolean {
    return this.hasHooksOf(SystemAllocator);
  }

  /** The engine zeroes every new ArrayBuffer. */
  override get zeroInitialized(): boolean {
    return true;
  }

  /** The garbage collector waits for the last view. */
  override get viewsOutliveFree(): boolean {
    return true;
  }

  /**
   * A fresh, zeroed ArrayBuffer; its first byte is at byteOffset 0, so every alignment holds as far as it can be seen.
   */
  protected override allocateRegion(size: number, _params: ResolvedParams): Region | undefined {
    const region = new Region(new Uint8Array(size));
    region.replaceable = true;
    return region;
  }

  /** @internal The garbage collector waits for what uses them; whose bytes were wrapped may not, nor a subclass. */
  override withhold(memory: Memory): void {
    if (this.viewsOutliveFree && typeof memory.region.handle !== "function") this.onRelease(memory);
  }

  /** Calls the release callback of wrapped bytes; the garbage collector does the rest. */
  protected override freeRegion(region: Region): void {
    if (typeof region.handle === "function") callOnRelease(region.handle as () => void);
  }
}

/** Callbacks that wait for the one that runs. */
const waitingCallbacks: (() => void)[] = [];
let isCallbackRunning = false;

/**
 * Calls an `onRelease`. One that frees further wrapped bytes does not call their callbacks from inside, which would
 * overflow the stack after a few thousand: they run when it has returned.
 */
function callOnRelease(callback: () => void): void {
  if (isCallbackRunning) {
    waitingCallbacks.push(callback);
    return;
  }
  isCallbackRunning = true;
  try {
    callNow(callback);
    if (waitingCallbacks.length > 0) callWaiting();
  } finally {
    isCallbackRunning = false;
  }
}

/** Calls those that waited, and those that they make wait, in order. */
function callWaiting(): void {
  try {
    for (let i = 0; i < waitingCallbacks.length; i++) callNow(waitingCallbacks[i]!);
  } finally {
    waitingCallbacks.length = 0;
  }
}

function callNow(callback: () => void): void {
  try {
    callback();
  } catch (error) {
    throwLater(error);
  }
}

/** Zeroes the prefix and the padding of a fresh memory, as its flags ask for. */
function zeroEdges(memory: Memory): void {
  if (!memory.region.isPlain) return;
  const whole = memory.region.bytes;
  if ((memory.flags & MemoryFlags.ZERO_PREFIXED) !== 0) whole.fill(0, 0, memory.offset);
  if ((memory.flags & MemoryFlags.ZERO_PADDED) !== 0) whole.fill(0, memory.offset + memory.size);
}

function assertMemory(name: string, memory: unknown): void {
  if (!isMemory(memory)) throw wrongType(name, "a Memory", memory);
}

const system = new SystemAllocator();

/** The built-in system allocator; it exists always, whatever the default is. */
export function systemAllocator(): Allocator {
  return system;
}

/** The allocator that an absent one stands for; the system allocator until {@link setDefaultAllocator}. */
export function defaultAllocator(): Allocator {
  return replacedDefault() ?? system;
}

/**
 * @internal A memory for a copy of bytes. `revocable`: a pool promised that no view of them outlives its lease, so a
 * copy whose views cannot be revoked (a part of a larger ArrayBuffer, shared memory) comes from the system allocator.
 * Throws what {@link Allocator.allocate} throws.
 */
export function allocateCopy(target: Allocator, size: number, align: number | undefined, revocable: boolean): Memory {
  const params = align === undefined ? undefined : { align };
  const memory = answered(target, target.allocate(size, params), size);
  if (!revocable || !memory.region.isPlain || isRevocable(memory.region)) return memory;
  memory.releaseOrLater();
  return system.allocate(size, params);
}

/** Replaces the default allocator of this realm. Throws `ERR_INVALID_ARG_TYPE`. */
export function setDefaultAllocator(allocator: Allocator): void {
  if (!isMade(Allocator, allocator, "name")) throw wrongType("allocator", "an Allocator", allocator);
  replaceDefault(allocator === system ? undefined : allocator);
}

/** How foreign bytes are wrapped. */
export interface WrapOptions {
  /** {@link MemoryFlags}; ZERO flags are the caller's promise. */
  flags?: MemoryFlags;
  /** Start of the valid part in bytes; default 0. */
  offset?: number;
  /** Bytes in the valid part; default: to the end. */
  size?: number;
  /**
   * Called exactly once, when the memory is freed, or, when another `onRelease` freed it, as soon as that one has
   * returned. What it throws surfaces as an uncaught error in a later turn.
   */
  onRelease?: () => void;
}

const WRAP_KEYS = ["flags", "offset", "size", "onRelease"] as const;

/**
 * Wraps foreign bytes without copying; they belong to the system allocator, with alignment unknown (0).
 *
 * @param source an ArrayBuffer, SharedArrayBuffer, typed array or DataView
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_DETACHED`.
 */
export function wrapMemory(source: ArrayBufferView | ArrayBufferLike, options?: WrapOptions): Memory {
  const given = checkOptions("options", options, WRAP_KEYS);
  let bytes: Uint8Array | undefined;
  try {
    bytes = viewBytes(source);
  } catch (cause) {
    throw new MillpondError(
      "ERR_DETACHED",
      "the bytes to wrap are detached; wrap them before transferring",
      {},
      { cause },
    );
  }
  if (bytes === undefined)
    throw wrongType("source", "an ArrayBuffer, SharedArrayBuffer, typed array or DataView", source);
  const { offset = 0, flags = 0, onRelease } = given;
  wholeNumber("options.offset", offset, 0, bytes.length);
  const { size = bytes.length - offset } = given;
  wholeNumber("options.size", size, 0, bytes.length - offset);
  const region = new Region(bytes, callback("options.onRelease", onRelease));
  wholeNumber("options.flags", flags, 0, 0x7fffffff);
  return system.adopt(new Memory(system, region, null, 0, offset, size, flags));
}
