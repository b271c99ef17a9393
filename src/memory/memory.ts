/**
 * Memory: counted bytes of a {@link Region}, which are reached through a {@link Mapping} only.
 *
 * Two counts answer two questions, after GStreamer's GstMemory. `refCount` says when the memory goes back to its
 * allocator. `owners` (the buffers and sub-memories that hold it) says whether its bytes may be written: with two or
 * more, by nobody.
 *
 * ```
 *   allocate ──> live ── last release() ──────────────────────────────> freed: the allocator has the region
 *                 │ ▲                                                     ▲
 *           map() │ │ unmap()                                             │ the last unmap()
 *                 ▼ │                                                     │
 *               mapped ── the last owner leaves, no reference is left ──> deferred release: only its mappings keep it
 * ```
 * - Live. Each owner holds a reference of its own; a caller can only release what is beyond those.
 * - Mapped. The access word (lock.ts) says for what. `release()` of the last reference is refused, because the caller
 *   can unmap first.
 * - Deferred release ({@link releaseWhenUnmapped}). Where nobody can be refused (a pool is closed by force; a holder
 *   that cannot try again ends), the last reference passes to the mappings, and the last unmap() releases it. A
 *   memory in a pool buffer that is released (`parentBuffer.awaitingMemory`) tells that buffer of every holder it
 *   loses.
 * - Freed. The object itself is the generation: it never lives again, so a stale reference cannot reach the next
 *   lease's bytes.
 *
 * Invariants: `offset + size <= maxSize`; `references >= owners`; a write lock means one owner at most. Everything is
 * O(1) but for copies and zeroing. The fast path of map(), lock(), unlock(), retain() and release() is in the class;
 * each goes over to a function below the class, its slow path, as soon as anything is out of the ordinary.
 */
import { abortable } from "../util/abortable.ts";
import { disposeBy, disposeWith } from "../util/dispose.ts";
import { isMillpondError, MillpondError, saysGone, throwLater } from "../util/errors.ts";
import { abortSignal, checkOptions, outOfRange, wholeNumber, word, wrongType } from "../util/validate.ts";
import type { Allocator } from "./allocator.ts";
import { type Claim, isHeld } from "./claims.ts";
import {
  detachedError,
  doubleReleaseError,
  heldAlreadyError,
  lockError,
  notLockedError,
  usedAfterReleaseError,
  wrongAnswerError,
} from "./errors.ts";
import {
  Access,
  accessOfUnit,
  addAccess,
  canShare,
  heldAccess,
  lessUnit,
  modeOf,
  ONE_BOTH,
  ONE_READ,
  ONE_WRITE,
  REFUSED,
  removeAccess,
  unitOf,
  unitOfAccess,
} from "./lock.ts";
import { MemoryFlags } from "./params.ts";
import { inheritWipe, type Region, Wipe, wipeToFree } from "./region.ts";

/** How bytes are mapped. "write" does not imply "read": ask for "readwrite" to do both. */
export type MapMode = "read" | "write" | "readwrite";

/**
 * A bit beside the lock in what a mapping remembers, above every lock unit: the bytes came from the allocator's map
 * hook, which wants to hear of the end.
 */
const OPAQUE = 16777216;

/**
 * Access to the bytes of a memory, until {@link Mapping.unmap}; after GStreamer's GstMapInfo, made safe: the view is
 * reachable only while the access lasts, and ending it twice is harmless. Hold it as short as possible: what is mapped
 * cannot be released, and what is mapped for writing cannot be shared.
 */
export class Mapping {
  /** @internal The memory that is mapped. */
  declare readonly source: Memory;
  /** Use it as `using mapping = memory.map("read")` where the platform has `Symbol.dispose`. */
  declare [Symbol.dispose]: () => void;
  /** @internal */
  declare readonly view: Uint8Array;
  /**
   * @internal the lock unit and {@link OPAQUE}; negative once the access is over (three fields keep it at 48
   * bytes)
   */
  declare word: number;

  /** @internal Mappings are made by {@link Memory.map}. */
  constructor(memory: Memory, view: Uint8Array, word: number) {
    this.source = memory;
    this.view = view;
    this.word = word;
  }

  /**
   * The valid part of the memory as it was when it was mapped. Throws `ERR_USE_AFTER_RELEASE` after {@link unmap},
   * `ERR_POOL_DEAD` after the pool was closed by force.
   * @realtime
   */
  get bytes(): Uint8Array {
    if (this.word < 0 || this.source.references === 0) throw staleMappingError(this);
    return this.view;
  }

  /**
   * The memory that is mapped, for as long as it is: afterwards it may belong to another lease. Throws
   * `ERR_USE_AFTER_RELEASE` after {@link unmap}.
   */
  get memory(): Memory {
    if (this.word < 0 || this.source.references === 0) throw staleMappingError(this);
    this.source.show();
    return this.source;
  }

  /** Bytes mapped; stays readable after {@link unmap}. */
  get size(): number {
    return this.view.length;
  }

  /** How it was mapped. */
  get mode(): MapMode {
    return modeOf(Math.abs(this.word) & UNITS);
  }

  /** True until {@link unmap}. */
  get isLive(): boolean {
    return this.word > 0;
  }

  /**
   * Ends the access; a second call does nothing. @realtime
   * Throws what an allocator's unmap hook throws.
   */
  unmap(): void {
    const { word } = this;
    if (word < 0) return;
    this.word = -word;
    if (word >= OPAQUE) endSpecial(this.source, word);
    else this.source.unlockUnit(word);
  }
}
disposeBy(Mapping, "unmap");

/**
 * The pool buffer that a memory belongs to. When it is released while its memory is held elsewhere too, it waits for
 * the last of those holders before it returns to its pool.
 */
export interface HoldingBuffer {
  /** True while the buffer is released but its memories are still held elsewhere. */
  readonly awaitingMemory: boolean;
  /** Called when a memory lost a holder while {@link awaitingMemory} is true. */
  onExclusive(): void;
  /** Called when one of its memory objects was handed out, which the next lease must not get. */
  onShared(): void;
}

let nextId = 1;

/** A counted lease over a range of bytes; made by {@link Allocator.allocate}, {@link Memory.share} and `wrapMemory`. */
export class Memory {
  /** Where the bytes came from and go back to. */
  declare readonly allocator: Allocator;
  /** The root memory that a sub-memory was cut from; null for a root. Trees are one level deep. */
  declare readonly parent: Memory | null;
  /** Bytes in the whole region, fixed for life: `offset + size` never exceeds it. */
  declare readonly maxSize: number;
  /** Alignment of the region start in bytes, a power of two; 0 when it is unknown (wrapped bytes). */
  declare readonly align: number;
  /** A number for messages and reports, unique in this realm. */
  declare readonly id: number;
  /** Use it as `using memory = allocator.allocate(size)` where the platform has `Symbol.dispose`. */
  declare [Symbol.dispose]: () => void;

  /** @internal the long-lived half */
  declare readonly region: Region;
  /** @internal cached view of the valid part; null until the first map or after a resize */
  declare view: Uint8Array | null;
  /** @internal the access locks held; see lock.ts */
  declare accessWord: number;
  /** @internal which of them lock() took, as such a word: unlock() ends no other */
  declare plainWord: number;
  /** @internal exclusive locks held */
  declare ownerCount: number;
  /** @internal how many of the owning buffers have two references or more; while one has, nobody may write */
  declare sharedOwners: number;
  /**
   * @internal the pool buffer that this memory belongs to, which returns to its pool when the memory is exclusive again
   */
  declare parentBuffer: HoldingBuffer | null;

  /** @internal */
  declare currentOffset: number;
  /** @internal */
  declare currentSize: number;
  /** @internal */
  declare currentFlags: MemoryFlags;
  /** @internal */
  declare references: number;
  /** @internal what a pool that took it from its source notes of its bytes; see claims.ts */
  declare claim: Claim | null;

  /** @internal Memories are made by allocators. */
  constructor(
    allocator: Allocator,
    region: Region,
    parent: Memory | null,
    align: number,
    offset: number,
    size: number,
    flags: MemoryFlags,
  ) {
    this.allocator = allocator;
    this.parent = parent;
    this.maxSize = region.size;
    this.align = align;
    this.id = nextId++;
    this.region = region;
    this.view = null;
    this.accessWord = 0;
    this.plainWord = 0;
    this.ownerCount = 0;
    this.sharedOwners = 0;
    this.parentBuffer = null;
    this.currentOffset = offset;
    this.currentSize = size;
    this.currentFlags = flags;
    this.references = 1;
    this.claim = null;
  }

  /** @internal Where a buffer's bytes are: of a memory only a mapping has them. */
  get bytes(): never {
    throw new MillpondError("ERR_UNSUPPORTED", `${this} has no bytes; map() it`);
  }

  /** Bytes in front of the valid part (the prefix), counted from the region start. */
  get offset(): number {
    return this.currentOffset;
  }

  /** Bytes in the valid part. */
  get size(): number {
    return this.currentSize;
  }

  /** {@link MemoryFlags} as they are now. */
  get flags(): MemoryFlags {
    return this.currentFlags;
  }

  /** How many references keep this memory; 0 once it went back to its allocator. */
  get refCount(): number {
    return this.references;
  }

  /** How many buffers and sub-memories own this memory; bytes are writable with 0 or 1. */
  get owners(): number {
    return this.ownerCount;
  }

  /** True while at least one mapping is live. */
  get isMapped(): boolean {
    return this.accessWord !== 0;
  }

  /** True when at most one owner holds it, and that owner is itself exclusively held: it may be resized. */
  get isExclusive(): boolean {
    return this.ownerCount <= 1 && this.sharedOwners === 0;
  }

  /** True when its bytes may be written: exclusive, and not READONLY. */
  get isWritable(): boolean {
    return (this.currentFlags & MemoryFlags.READONLY) === 0 && this.isExclusive;
  }

  /** True when the allocator's memory type is `name`. */
  isType(name: string): boolean {
    return this.allocator.memoryType === word("name", name);
  }

  /**
   * Locks the bytes for access and gives a view of the valid part. Nested maps whose mode is a subset of what is
   * already held are allowed and get the same view. One small object a call.
   *
   * Throws `ERR_USE_AFTER_RELEASE`, `ERR_NOT_WRITABLE` (mode with write, and not {@link isWritable}), `ERR_MAPPED`
   * (conflict with a live map), `ERR_DETACHED`, `ERR_NOT_MAPPABLE`, `ERR_INVALID_ARG_VALUE`; nothing is locked then.
   *
   * @param mode "read", "write" or "readwrite"
   */
  map(mode: MapMode): Mapping {
    const unit = unitOf(mode);
    const { view } = this;
    // Fast path: no other mapping, no second owner, no flag that forbids it, and the view is there.
    if (
      this.accessWord === 0 &&
      this.ownerCount <= 1 &&
      this.sharedOwners === 0 &&
      this.currentFlags === 0 &&
      view !== null &&
      view.length === this.currentSize &&
      this.references > 0
    ) {
      this.accessWord = unit;
      return new Mapping(this, view, unit);
    }
    return mapSlow(this, unit);
  }

  /**
   * As {@link map}, without the object: for callbacks that may not allocate. Nothing guards the view after
   * {@link unlock}, so prefer map() where an object is affordable. @realtime once the view was made
   */
  lock(mode: MapMode): Uint8Array {
    const unit = unitOf(mode);
    const { view } = this;
    if (
      this.accessWord === 0 &&
      this.ownerCount <= 1 &&
      this.sharedOwners === 0 &&
      this.currentFlags === 0 &&
      view !== null &&
      view.length === this.currentSize &&
      this.references > 0
    ) {
      this.accessWord = unit;
      this.plainWord = unit;
      return view;
    }
    const { view: bytes } = mapSlow(this, unit);
    this.plainWord += unit;
    return bytes;
  }

  /**
   * Ends one {@link lock} of that mode; never what a map() holds, or a mapAsync() that opens. @realtime Throws
   * `ERR_OUT_OF_RANGE` when none is held.
   */
  unlock(mode: MapMode): void {
    const unit = unitOf(mode);
    // A cached view tells plain memory from opaque, whose allocator wants to hear of the end.
    if (
      this.accessWord === unit &&
      this.plainWord === unit &&
      this.view !== null &&
      !this.parentBuffer?.awaitingMemory
    ) {
      this.accessWord = 0;
      this.plainWord = 0;
    } else unlockSlow(this, unit);
  }

  /**
   * As {@link map}, for memory that cannot be mapped at once (GPU buffers): waits for the allocator's `mapRegionAsync`.
   * Plain memory maps without waiting. Released meanwhile, the memory lives until the mapping ends.
   * Errors as {@link map}, plus the signal's reason, at once, also while waiting.
   */
  async mapAsync(mode: MapMode, options?: { signal?: AbortSignal }): Promise<Mapping> {
    const { signal } = checkOptions("options", options, ["signal"]);
    abortSignal("options.signal", signal);
    if (this.region.isPlain) return this.map(mode);
    return mapLater(this, unitOf(mode), signal);
  }

  /**
   * @internal Ends one access lock; a pool buffer that waits for it returns to its pool. @realtime Throws
   * `ERR_OUT_OF_RANGE`.
   */
  unlockUnit(unit: number): void {
    if (this.accessWord === unit) this.accessWord = 0;
    else endNested(this, unit);
    if (this.accessWord === 0 && this.parentBuffer?.awaitingMemory) this.parentBuffer.onExclusive();
  }

  /**
   * Makes a sub-memory over the same bytes: read-only, no copy, one reference and one owner more on the root.
   *
   * @param offset bytes from the start of the valid part
   * @param size bytes; absent: to the end of the valid part
   * Throws `ERR_OUT_OF_RANGE`, `ERR_NOT_SHAREABLE` (NO_SHARE), `ERR_MAPPED` (mapped for writing),
   * `ERR_USE_AFTER_RELEASE`.
   */
  share(offset: number, size?: number): Memory {
    if (this.references === 0) throw usedAfterReleaseError(this, "share");
    const length = checkRange(this, offset, size);
    if ((this.currentFlags & MemoryFlags.NO_SHARE) !== 0) {
      throw new MillpondError("ERR_NOT_SHAREABLE", `${this} has NO_SHARE; copy() it instead`);
    }
    if ((heldAccess(this.accessWord) & Access.WRITE) !== 0) {
      throw new MillpondError(
        "ERR_MAPPED",
        `${this} is mapped for writing, so its bytes may still change; unmap it before share()`,
      );
    }
    this.show();
    return answered(this.allocator, this.allocator.shareMemory(this, offset, length));
  }

  /**
   * Copies bytes into a new memory of the same allocator (or of the default one when the allocator does not copy).
   * The result is exclusive and writable, with the same alignment, no prefix and no padding asked for. Bytes that are
   * zeroed or revoked when they are freed have copies that are, too. O(size).
   *
   * Throws `ERR_OUT_OF_RANGE`, `ERR_USE_AFTER_RELEASE`, and what {@link map} and the allocator throw.
   */
  copy(offset = 0, size?: number): Memory {
    if (this.references === 0) throw usedAfterReleaseError(this, "copy");
    const { region } = this;
    this.show();
    const copy = answered(this.allocator, this.allocator.copyMemory(this, offset, checkRange(this, offset, size)));
    inheritWipe(copy.region, region);
    return copy;
  }

  /**
   * Moves the valid part inside the region; no byte moves, live mappings keep what they have.
   *
   * @param delta bytes to add to the present offset; may be negative
   * @param size the new size in bytes
   * Throws `ERR_NOT_WRITABLE` when it is not exclusive, `ERR_OUT_OF_RANGE` when the part would leave the region.
   */
  resize(delta: number, size: number): void {
    if (this.references === 0) throw usedAfterReleaseError(this, "resize");
    if (!this.isExclusive) {
      throw new MillpondError("ERR_NOT_WRITABLE", `${this} has ${this.ownerCount} owners; makeWritable() it first`);
    }
    wholeNumber("delta", delta, -this.currentOffset, this.maxSize - this.currentOffset);
    const offset = this.currentOffset + delta;
    wholeNumber("size", size, 0, this.maxSize - offset);
    this.setExtent(offset, size);
  }

  /** @internal Sets the valid part, checked by the caller; zero promises fall when it leaves bytes behind. */
  setExtent(offset: number, size: number): void {
    const end = this.currentOffset + this.currentSize;
    if (offset > this.currentOffset) this.currentFlags &= ~MemoryFlags.ZERO_PREFIXED;
    if (offset + size < end) this.currentFlags &= ~MemoryFlags.ZERO_PADDED;
    this.currentOffset = offset;
    this.currentSize = size;
    this.view = null;
  }

  /**
   * The offset in the common parent at which this memory starts, when `next` continues exactly where it ends;
   * `parent.share(thatOffset, this.size + next.size)` then joins both without a copy. Otherwise undefined.
   * Throws `ERR_INVALID_ARG_TYPE`.
   */
  isSpan(next: Memory): number | undefined {
    if (!isMemory(next)) throw wrongType("next", "a Memory", next);
    const parent = this.parent;
    if (parent === null || parent !== next.parent || this.allocator !== next.allocator) return undefined;
    if (!this.allocator.isSpan(this, next)) return undefined;
    const start = this.currentOffset - parent.currentOffset;
    return start < 0 ? undefined : start;
  }

  /** Adds a reference and returns this memory. @realtime Throws `ERR_USE_AFTER_RELEASE`. */
  retain(): this {
    if (this.references === 0) throw usedAfterReleaseError(this, "retain");
    this.references++;
    return this;
  }

  /**
   * Gives one reference back; the last one sends the bytes to the allocator. @realtime but for the last.
   *
   * Throws `ERR_DOUBLE_RELEASE`; `ERR_MAPPED` when it is the last reference and a mapping is live;
   * `ERR_FOREIGN_RELEASE` when every reference belongs to a buffer or sub-memory (the caller had none to give).
   */
  release(): void {
    // Each owner holds a reference of its own; a caller may only give what is beyond those.
    if (this.references > 1 && this.references > this.ownerCount) {
      this.references--;
      if (this.parentBuffer?.awaitingMemory) this.parentBuffer.onExclusive();
      return;
    }
    releaseLast(this);
  }

  /**
   * @internal {@link release}, for code of the library that has nothing left to try again with. A pool that refuses the
   * last reference because it is calling its source or clock (`ERR_REENTRANT`) gets it when the present call stack is
   * done. Throws as release() for anything else.
   */
  releaseOrLater(): void {
    try {
      this.release();
    } catch (error) {
      if (this.references === 0 || !isMillpondError(error, "ERR_REENTRANT")) throw error;
      this.parentBuffer = new DeferredRelease(this);
      queueMicrotask(() => {
        try {
          this.parentBuffer?.onExclusive();
        } catch (late) {
          if (!saysGone(late)) throw late;
        }
      });
    }
  }

  /**
   * Consumes the caller's reference and gives back a memory whose bytes may be written: this one when it is writable,
   * else a copy. Throws what {@link copy} throws; the reference is kept then.
   */
  makeWritable(): Memory {
    if (this.references === 0) throw usedAfterReleaseError(this, "makeWritable");
    if (this.isWritable) return this;
    return exchangeFor(this, this.copy());
  }

  /**
   * @internal Its lease ends by force, so a holder may keep views of the bytes: where their allocator recycles, it gets
   * them only when those are detached, whenever the last holder lets go.
   */
  endByForce(): void {
    this.region.wipe |= Wipe.FORCED;
  }

  /**
   * @internal Something that cannot be asked may still read the bytes: they are left as they are, a pool discards the
   * slot, and no later memory gets them.
   */
  markInUse(): void {
    this.region.wipe |= Wipe.IN_USE;
    // What is cached is what a pool takes for a slot that needs no look.
    this.view = null;
  }

  /** @internal One owner more: false when a live write map forbids a second one. @realtime */
  acquireOwnership(): boolean {
    if (!canShare(this.accessWord, this.ownerCount)) return false;
    this.ownerCount++;
    this.show();
    return true;
  }

  /**
   * @internal Code that does not end with the lease may have this object from now on, so the next lease of the slot
   * that it belongs to gets another one. The one place that says so, for every way out: a buffer's list, a mapping, a
   * second owner (another buffer's list; a sub-memory, whose `parent` it is), a hook of its allocator. @realtime
   */
  show(): void {
    this.parentBuffer?.onShared();
  }

  /** @internal The reverse of {@link acquireOwnership}. @realtime */
  dropOwnership(): void {
    this.ownerCount--;
    if (this.parentBuffer?.awaitingMemory) this.parentBuffer.onExclusive();
  }

  /** What this memory is, for messages: `memory #3 (4096 bytes of "system")`. */
  toString(): string {
    // What only has this prototype is named in messages, too.
    return `memory #${this.id} (${this.currentSize} bytes of "${this.allocator?.name}")`;
  }
}
disposeWith(Memory, function (this: Memory): void {
  if (this.references > 0) this.release();
});

/**
 * A new lease over the same region in the place of `old`, which is dead from now on: code that kept that object cannot
 * reach the next lease's bytes through it. Only for an unmapped root with one owner. A function, because only one kind
 * of pool needs it.
 */
export function replaceHandle(old: Memory): Memory {
  const { allocator, region, align, currentOffset, currentSize } = old;
  const fresh = new Memory(allocator, region, null, align, currentOffset, currentSize, old.currentFlags);
  fresh.ownerCount = old.ownerCount;
  fresh.parentBuffer = old.parentBuffer;
  old.references = 0;
  old.ownerCount = 0;
  old.parentBuffer = null;
  old.view = null;
  const { claim } = old;
  if (claim !== null) {
    fresh.claim = claim;
    claim.memory = fresh;
  }
  allocator.onHandleReplaced(fresh);
  return fresh;
}

/**
 * Maps a memory for a read that ends before the caller's own call does. When it is mapped for writing only, and nobody
 * else may read it, the caller itself mapped it, so the read joins that access instead of being refused. Throws as
 * {@link Memory.map}: a read that is refused is `ERR_MAPPED`.
 */
export function mapToRead(memory: Memory): Mapping {
  const joins = heldAccess(memory.accessWord) === Access.WRITE && memory.isExclusive;
  return memory.map(joins ? "write" : "read");
}

/**
 * Checks what an allocator, which may be the application's, answered. `size`: the bytes that were asked for, of memory
 * that is to be new; live memory of another size goes back. Throws `ERR_ALLOCATION_FAILED`.
 */
export function answered(allocator: Allocator, memory: Memory, size?: number): Memory {
  const isLive = isMemory(memory) && memory.references > 0;
  if (isLive && size !== undefined && isHeld(memory)) throw heldAlreadyError(allocator, memory);
  if (isLive && (size === undefined || memory.currentSize === size)) return memory;
  if (isLive) releaseFailed(memory);
  throw wrongAnswerError(allocator, memory, isLive, size);
}

/** True for a memory that was made as one: not for what only has the prototype, nor for a revoked Proxy. */
export function isMemory(value: unknown): value is Memory {
  try {
    return value instanceof Memory && value.references !== undefined;
  } catch {
    return false;
  }
}

/**
 * Releases a memory that was made for a call that fails. Its error is on the way to the caller; what an allocator says
 * to this release surfaces in a later turn, so that neither the error nor the bytes are lost.
 */
export function releaseFailed(memory: Memory): void {
  try {
    memory.releaseOrLater();
  } catch (error) {
    throwLater(error);
  }
}

/**
 * Gives the caller's reference of a memory back in exchange for a copy, which it returns. When that is refused, the
 * copy is released and the reference is the caller's still. Where it was given and the allocator threw after that, the
 * caller needs what it was given for: the error surfaces in a later turn. Throws as {@link Memory.release}.
 */
export function exchangeFor(memory: Memory, copy: Memory): Memory {
  const before = memory.references;
  try {
    memory.release();
  } catch (error) {
    if (memory.references < before) {
      throwLater(error);
    } else {
      releaseFailed(copy);
      throw error;
    }
  }
  return copy;
}

/** Ends a mapping that a failing call made, as {@link releaseFailed} does. Twice: nothing. */
export function unmapFailed(mapping: Mapping | undefined): void {
  try {
    mapping?.unmap();
  } catch (error) {
    throwLater(error);
  }
}

/** @internal The checked length of a range of a memory. */
export function checkRange(memory: Memory, offset: number, size: number | undefined): number {
  wholeNumber("offset", offset, 0);
  if (offset > memory.size) throw outOfRange("offset", `at most ${memory.size}, the size of ${memory}`, offset);
  if (size === undefined) return memory.size - offset;
  return wholeNumber("size", size, 0, memory.size - offset);
}

const UNITS: number = ONE_READ | ONE_WRITE | ONE_BOTH;

function endSpecial(memory: Memory, word: number): void {
  const unit = word & UNITS;
  const held = lessUnit(memory.accessWord, unit) !== REFUSED;
  try {
    if (!held) throw notLockedError(memory, modeOf(unit));
    if ((word & OPAQUE) !== 0) memory.allocator.closeRegion(memory.region, modeOf(unit));
  } finally {
    // The caller hears what is thrown, but the lock ends with the mapping.
    if (held) memory.unlockUnit(unit);
  }
}

function staleMappingError({ source: memory, word }: Mapping): MillpondError {
  // A live mapping holds its memory, so only a pool that was closed by force has ended it.
  if (word >= 0) return usedAfterReleaseError(memory, "read");
  return new MillpondError(
    "ERR_USE_AFTER_RELEASE",
    `this mapping of ${memory} was unmapped; map() again, and keep no view of the old one`,
  );
}

/** Takes one access lock or throws; nothing is locked then. */
function takeLock(memory: Memory, unit: number): void {
  if (memory.references === 0) throw usedAfterReleaseError(memory, "map");
  const access = accessOfUnit(unit);
  // A buffer with two references is two holders of its memory: reading is all that either of them may do.
  const word = addAccess(memory.accessWord, memory.ownerCount + memory.sharedOwners, access, memory.currentFlags);
  if (word === REFUSED) throw lockError(memory, access);
  memory.accessWord = word;
}

/**
 * The slow path of {@link Memory.map}: a nested lock, an opaque region, a view that has to be made, or a refusal.
 * Throws as documented there.
 */
function mapSlow(memory: Memory, unit: number): Mapping {
  takeLock(memory, unit);
  try {
    const { region } = memory;
    if (!region.isPlain) {
      const whole = memory.allocator.openRegion(region, modeOf(unit));
      return new Mapping(memory, validPart(memory, whole), unit | OPAQUE);
    }
    if (region.isDetached) throw detachedError(memory);
    memory.view ??= validPart(memory, region.bytes);
    if (memory.view.length !== memory.currentSize) memory.view = validPart(memory, region.bytes);
    return new Mapping(memory, memory.view, unit);
  } catch (error) {
    memory.unlockUnit(unit);
    throw error;
  }
}

/** The view of the valid part; the whole view itself where that is all of it. */
function validPart(memory: Memory, whole: Uint8Array): Uint8Array {
  const { currentOffset: offset, currentSize: size } = memory;
  return offset === 0 && size === whole.length ? whole : whole.subarray(offset, offset + size);
}

/**
 * Maps a memory whose bytes take time. The wait holds the lock and a reference, so that a release meanwhile cannot free
 * the region under it; a mapping that ends up with the only reference keeps it until unmap(). An abort ends the
 * caller's wait at once; what the allocator was asked for is taken back when it comes.
 */
async function mapLater(memory: Memory, unit: number, signal: AbortSignal | undefined): Promise<Mapping> {
  signal?.throwIfAborted();
  takeLock(memory, unit);
  memory.retain();
  const opening = memory.allocator.openRegionAsync(memory.region, modeOf(unit), signal);
  let whole: Uint8Array;
  try {
    whole = await (signal === undefined
      ? opening
      : abortable<Uint8Array>(signal, ({ resolve, reject }) => void opening.then(resolve, reject)));
  } catch (error) {
    // Whatever ended this wait, the lock ends when the allocator has answered.
    opening.then(
      () => endAccess(memory, unit, true),
      () => endAccess(memory, unit, false),
    );
    throw error;
  }
  if (memory.references === 0) {
    // A pool that was closed by force took the memory back meanwhile.
    endAccess(memory, unit, true);
    throw usedAfterReleaseError(memory, "map");
  }
  const mapping = new Mapping(memory, validPart(memory, whole), unit | OPAQUE);
  releaseWhenUnmapped(memory);
  return mapping;
}

/** Ends the access of a wait that came to nothing, and the reference that it held. */
function endAccess(memory: Memory, unit: number, opened: boolean): void {
  try {
    if (opened) memory.allocator.closeRegion(memory.region, modeOf(unit));
  } catch (error) {
    throwLater(error);
  }
  try {
    memory.unlockUnit(unit);
    if (memory.references > 0) releaseWhenUnmapped(memory);
  } catch (error) {
    if (!saysGone(error)) throwLater(error);
  }
}

/** Takes one lock out of several; throws `ERR_OUT_OF_RANGE` when it is not held. */
function endNested(memory: Memory, unit: number): void {
  const word = lessUnit(memory.accessWord, unit);
  if (word === REFUSED) throw notLockedError(memory, modeOf(unit));
  memory.accessWord = word;
}

/** Ends the plain locks of `word` for a holder that cannot any more; those that others have ended are left out. */
export function endPlainLocks(memory: Memory, word: number): void {
  for (const unit of [ONE_READ, ONE_WRITE, ONE_BOTH]) {
    for (let left = word; lessUnit(left, unit) >= 0 && lessUnit(memory.plainWord, unit) >= 0; left -= unit) {
      try {
        unlockSlow(memory, unit);
      } catch (error) {
        throwLater(error);
      }
    }
  }
}

/** The slow path of {@link Memory.unlock}. Throws `ERR_OUT_OF_RANGE` when no such lock is held. */
function unlockSlow(memory: Memory, unit: number): void {
  const plain = lessUnit(memory.plainWord, unit);
  if (plain === REFUSED) throw notLockedError(memory, modeOf(unit));
  memory.plainWord = plain;
  try {
    if (!memory.region.isPlain) memory.allocator.closeRegion(memory.region, modeOf(unit));
  } finally {
    memory.unlockUnit(unit);
  }
}

/**
 * The slow path of {@link Memory.release}: the last reference goes back, and the region with it, or an error says why
 * not.
 */
function releaseLast(memory: Memory): void {
  if (memory.references === 0) throw doubleReleaseError(memory);
  if (memory.ownerCount > 0) {
    throw new MillpondError(
      "ERR_FOREIGN_RELEASE",
      `every reference of ${memory} belongs to the buffers and sub-memories that own it; ` +
        "release() only what you allocated or retained",
    );
  }
  if (memory.accessWord !== 0) {
    throw new MillpondError("ERR_MAPPED", `${memory} is still mapped; unmap() every mapping before the last release()`);
  }
  if (memory.region.wipe !== 0 && memory.parent === null) {
    // A release that is refused changes nothing: the bytes stay, and so do the views of them.
    const refusal = memory.allocator.releaseRefusal(memory);
    if (refusal !== undefined) throw refusal;
    if (memory.allocator.zeroesFreed) memory.region.wipe &= ~Wipe.ZERO;
    if (!wipeToFree(memory.region, !memory.allocator.viewsOutliveFree)) {
      memory.references = 0;
      memory.view = null;
      memory.allocator.withhold(memory);
      return;
    }
  }
  memory.references = 0;
  memory.view = null;
  memory.allocator.onRelease(memory);
}

/**
 * Takes the place of `parentBuffer` in a memory that only its mappings keep, or whose release has to wait: {@link
 * onExclusive} releases it.
 */
class DeferredRelease implements HoldingBuffer {
  readonly awaitingMemory = true;
  readonly #memory: Memory;

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  onShared(): void {}

  onExclusive(): void {
    const memory = this.#memory;
    if (memory.references > 0 && memory.references <= memory.ownerCount) {
      // A release() has just given back the reference that is kept here.
      memory.references++;
      throw new MillpondError(
        "ERR_FOREIGN_RELEASE",
        `${memory} is kept for its mapping, which gives it back by itself; release() only what you allocated or retained`,
      );
    }
    if (memory.accessWord !== 0 || memory.parentBuffer !== this || memory.references === 0) return;
    memory.parentBuffer = null;
    memory.releaseOrLater();
  }
}

/** Releases a memory, or, when only its mappings hold it, has the last unmap() release it. */
export function releaseWhenUnmapped(memory: Memory): void {
  if (memory.references === 1 && memory.accessWord !== 0 && memory.ownerCount === 0) {
    memory.parentBuffer = new DeferredRelease(memory);
  } else memory.releaseOrLater();
}

/** True when one reference of a memory is kept for its mappings, so that no caller can release it. */
export function isKeptByMapping(memory: Memory): boolean {
  return memory.parentBuffer instanceof DeferredRelease;
}

const MODE = Access.READ | Access.WRITE;

/**
 * Raw locks, for front doors whose users lock and own memories themselves. Takes every lock in `bits` ({@link Access}),
 * or none: false. Owning is judged together with the access asked for. @realtime
 */
export function lockBits(memory: Memory, bits: number): boolean {
  const owns = (bits & Access.EXCLUSIVE) !== 0;
  const mode = bits & MODE;
  if (memory.references === 0 || (owns && !canShare(memory.accessWord, memory.ownerCount))) return false;
  if (mode !== 0) {
    const word = addAccess(memory.accessWord, memory.ownerCount + (owns ? 1 : 0), mode, memory.currentFlags);
    if (word === REFUSED) return false;
    // No mapping relies on it.
    memory.plainWord += unitOfAccess(mode);
    memory.accessWord = word;
  }
  if (owns) memory.ownerCount++;
  return true;
}

/**
 * Gives back what {@link lockBits} took. Throws `ERR_OUT_OF_RANGE` when one of them is not held; nothing changes then.
 */
export function unlockBits(memory: Memory, bits: number): void {
  const owns = (bits & Access.EXCLUSIVE) !== 0;
  const mode = bits & MODE;
  const plain = mode === 0 ? memory.plainWord : removeAccess(memory.plainWord, mode);
  if (plain === REFUSED || (owns && memory.ownerCount === 0)) throw notLockedError(memory, `bits ${bits}`);
  const word = mode === 0 ? memory.accessWord : removeAccess(memory.accessWord, mode);
  memory.plainWord = plain;
  memory.accessWord = word;
  if (owns) memory.dropOwnership();
  else if (word === 0 && memory.parentBuffer?.awaitingMemory) memory.parentBuffer.onExclusive();
}
