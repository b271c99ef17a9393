/**
 * Memory: a counted lease over a {@link Region}; its bytes are reached through a {@link Mapping} only.
 *
 * Two counts decide two different questions, after GStreamer's GstMemory, with names that say which is which:
 * `refCount` says when the memory goes back to its allocator; `owners` (buffers and sub-memories that hold it) says
 * whether its bytes may be written: by nobody when two or more own it.
 *
 * A released memory is dead for good: the object itself is the generation, so a stale reference can never reach the
 * next user's bytes through this interface.
 */

import { disposeBy } from "../util/dispose.ts";
import { MillpondError } from "../util/errors.ts";
import { abortSignal, checkOptions, outOfRange, wholeNumber, wrongType } from "../util/validate.ts";
import type { Allocator } from "./allocator.ts";
import { staleMemory } from "./errors.ts";
import { Access, canShare, heldAccess } from "./lock.ts";
import { type MapMode, Mapping, unitOf } from "./mapping.ts";
import { MemoryFlags } from "./params.ts";
import type { Region } from "./region.ts";
import { endNested, mapLater, mapSlow, releaseLast, unlockSlow } from "./slow-ways.ts";

/**
 * The pool buffer that a memory belongs to. Released while the memory is still held elsewhere, it lingers until the last
 * outside holder lets go.
 */
export interface HoldingBuffer {
  /** True while the buffer is released but its memories are still held elsewhere. */
  readonly awaitingMemory: boolean;
  /** Called when a memory whose home lingers lost a holder. */
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
  /** @internal access locks held: see lock.ts */
  declare accessWord: number;
  /** @internal exclusive locks held */
  declare ownerCount: number;
  /** @internal how many of the owning buffers have two references or more; while one has, nobody may write */
  declare sharedOwners: number;
  /** @internal the pool buffer that this memory belongs to, which must not go home before it is exclusive again */
  declare parentBuffer: HoldingBuffer | null;

  /** @internal */
  declare currentOffset: number;
  /** @internal */
  declare currentSize: number;
  /** @internal */
  declare currentFlags: MemoryFlags;
  /** @internal */
  declare references: number;

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
    this.ownerCount = 0;
    this.sharedOwners = 0;
    this.parentBuffer = null;
    this.currentOffset = offset;
    this.currentSize = size;
    this.currentFlags = flags;
    this.references = 1;
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
    if (typeof name !== "string") throw wrongType("name", "a string", name);
    return this.allocator.memoryType === name;
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
    // The common case in one breath: nobody else maps it, nobody shares it, no flag forbids it, the view is at hand.
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
      return view;
    }
    return mapSlow(this, unit).view;
  }

  /** Ends one {@link lock} of that mode. @realtime Throws `ERR_OUT_OF_RANGE` when none is held. */
  unlock(mode: MapMode): void {
    const unit = unitOf(mode);
    // A cached view tells plain memory from opaque, whose allocator wants to hear of the end.
    if (this.accessWord === unit && this.view !== null && !this.parentBuffer?.awaitingMemory) this.accessWord = 0;
    else unlockSlow(this, unit);
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

  /** @internal Ends one access lock; a pool buffer that waits for it goes home. @realtime Throws `ERR_OUT_OF_RANGE`. */
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
   * Throws `ERR_OUT_OF_RANGE`, `ERR_NOT_SHAREABLE` (NO_SHARE), `ERR_MAPPED` (mapped for writing), `ERR_USE_AFTER_RELEASE`.
   */
  share(offset: number, size?: number): Memory {
    if (this.references === 0) throw staleMemory(this, "share");
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
    return this.allocator.shareMemory(this, offset, length);
  }

  /**
   * Copies bytes into a new memory of the same allocator (or of the default one when the allocator does not copy).
   * The result is exclusive and writable, with the same alignment, no prefix and no padding asked for. O(size).
   *
   * Throws `ERR_OUT_OF_RANGE`, `ERR_USE_AFTER_RELEASE`, and what {@link map} and the allocator throw.
   */
  copy(offset = 0, size?: number): Memory {
    if (this.references === 0) throw staleMemory(this, "copy");
    return this.allocator.copyMemory(this, offset, checkRange(this, offset, size));
  }

  /**
   * Moves the valid part inside the region; no byte moves, live mappings keep what they have.
   *
   * @param delta bytes to add to the present offset; may be negative
   * @param size the new size in bytes
   * Throws `ERR_NOT_WRITABLE` when it is not exclusive, `ERR_OUT_OF_RANGE` when the part would leave the region.
   */
  resize(delta: number, size: number): void {
    if (this.references === 0) throw staleMemory(this, "resize");
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
    if (!(next instanceof Memory)) throw wrongType("next", "a Memory", next);
    const parent = this.parent;
    if (parent === null || parent !== next.parent || this.allocator !== next.allocator) return undefined;
    if (!this.allocator.isSpan(this, next)) return undefined;
    const start = this.currentOffset - parent.currentOffset;
    return start < 0 ? undefined : start;
  }

  /** Adds a reference and returns this memory. @realtime Throws `ERR_USE_AFTER_RELEASE`. */
  retain(): this {
    if (this.references === 0) throw staleMemory(this, "retain");
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
   * Consumes the caller's reference and gives back a memory whose bytes may be written: this one when it is writable,
   * else a copy. Throws what {@link copy} throws; the reference is kept then.
   */
  makeWritable(): Memory {
    if (this.references === 0) throw staleMemory(this, "makeWritable");
    if (this.isWritable) return this;
    const copy = this.copy();
    try {
      this.release();
    } catch (error) {
      copy.release();
      throw error;
    }
    return copy;
  }

  /** @internal One owner more: false when a live write map forbids a second one. @realtime */
  acquireOwnership(): boolean {
    if (!canShare(this.accessWord, this.ownerCount)) return false;
    this.ownerCount++;
    return true;
  }

  /** @internal The reverse of {@link acquireOwnership}. @realtime */
  dropOwnership(): void {
    this.ownerCount--;
    if (this.parentBuffer?.awaitingMemory) this.parentBuffer.onExclusive();
  }

  /**
   * @internal A new lease over the same region in the place of this one, which is dead from now on: whoever kept this
   * object after it went home cannot reach the next borrower's bytes through it. Only for an unmapped root with one owner.
   */
  replaceHandle(): Memory {
    const { allocator, region, align, currentOffset, currentSize } = this;
    const fresh = new Memory(allocator, region, null, align, currentOffset, currentSize, this.currentFlags);
    fresh.ownerCount = this.ownerCount;
    fresh.parentBuffer = this.parentBuffer;
    this.references = 0;
    this.ownerCount = 0;
    this.parentBuffer = null;
    this.view = null;
    allocator.onHandleReplaced(fresh);
    return fresh;
  }

  /** What this memory is, for messages: `memory #3 (4096 bytes of "system")`. */
  toString(): string {
    return `memory #${this.id} (${this.currentSize} bytes of "${this.allocator.name}")`;
  }
}
disposeBy(Memory, "release");

/**
 * Maps a memory for a read that ends before the caller's own call does. Whoever holds it mapped for writing only is that very
 * caller (writing has one owner), so the read joins that access instead of being refused. Throws as {@link Memory.map}.
 */
export function mapToRead(memory: Memory): Mapping {
  return memory.map(heldAccess(memory.accessWord) === Access.WRITE ? "write" : "read");
}

/** @internal The checked length of a range of a memory. */
export function checkRange(memory: Memory, offset: number, size: number | undefined): number {
  wholeNumber("offset", offset, 0);
  if (offset > memory.size) throw outOfRange("offset", `at most ${memory.size}, the size of ${memory}`, offset);
  if (size === undefined) return memory.size - offset;
  return wholeNumber("size", size, 0, memory.size - offset);
}
