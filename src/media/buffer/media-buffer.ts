/**
 * MediaBuffer: timed bytes. A buffer is a small handle over a {@link BufferSlot}. For a pool's buffer the handle is the
 * lease. After GStreamer's GstBuffer.
 *
 * ```
 *   handle (one a lease)          slot (recycled)
 *   +------------------+          +---------------------------------+
 *   | generation 7 ----|--------->| generation 7, refCount 1        |
 *   +------------------+          | pts dts duration flags metas    |
 *                                 | memories [ Memory, Memory ... ] |
 *                                 +---------------------------------+
 * ```
 *
 * Life-cycle of a handle:
 *
 * ```
 *                                   retain()                      last release()
 *   acquire(), allocate() --> live, refCount 1 <--> shared, refCount 2 or more        live --------------> stale
 *                                   release()
 * ```
 *
 * While it is live with one reference, everything may be changed. With two or more, times, flags, metas and the list of
 * memories are read-only (`ERR_NOT_WRITABLE`). A stale handle refuses every call with an error that says who has the
 * slot now.
 *
 * Invariants: a call works exactly while `slot.generation === generation`; the generation moves on before the first
 * hook of a return runs; a call that throws leaves the buffer as it was.
 *
 * Complexity: times, flags, bytes, retain and release are O(1) and @realtime; calls over the list are O(memories); what
 * copies, fills or merges is O(size).
 */

import {
  type Allocator,
  Allocator as AllocatorClass,
  defaultAllocator,
  type WrapOptions,
  wrapMemory,
} from "../../memory/allocator.ts";
import { lessUnit, unitOf } from "../../memory/lock.ts";
import { answered, isMemory, type MapMode, type Mapping, type Memory } from "../../memory/memory.ts";
import { type AllocationParams, MemoryFlags } from "../../memory/params.ts";
// The one type that points up: a buffer names its pool. Nothing of it is there at run time (scripts/check-layers.ts).
import type { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import { disposeWith } from "../../util/dispose.ts";
import { MillpondError, throwLater } from "../../util/errors.ts";
import {
  checkOptions,
  flag,
  isMade,
  outOfRange,
  readOptions,
  wholeNumber,
  word,
  wrongType,
} from "../../util/validate.ts";
import * as metas from "../meta/attach.ts";
import { checkMetaType, type Meta, type MetaType } from "../meta/meta.ts";
import { compareBytes, extractInto, fillBytes, mapMemories, setBytes } from "./bytes.ts";
import { copyInto, shareWhole } from "./copy.ts";
import { type BufferFlags, CopyFlags } from "./flags.ts";
import * as list from "./memory-list.ts";
import { releaseConsumed } from "./release.ts";
import {
  assertUnlocked,
  type BufferSlot,
  countLocksOf,
  freeUnpooledSlot,
  inHookError,
  isLockedBy,
  MAX_MEMORIES,
  SlotFlags,
  sharedBuffer,
  unpooledSlot,
} from "./slot.ts";

/**
 * Timed bytes, from a pool (`pool.acquire()`) or of their own (`new MediaBuffer()`, {@link MediaBuffer.allocate}). A
 * comparison of two small integers makes each call safe: after the last `release()` it throws.
 */
// Fields are `declare`d: a plain declaration would define each as undefined first, which costs a third of a whole
// acquire.
export class MediaBuffer {
  /** Which lease of its slot this is; another generation there means this handle is stale. */
  declare readonly generation: number;
  /** @internal */
  declare readonly slot: BufferSlot;

  /** An empty buffer of its own. */
  constructor();
  /** @internal A lease of a pool's slot, or a hook's handle of it. */
  constructor(slot: BufferSlot);
  constructor(slot: BufferSlot = unpooledSlot()) {
    if (slot === null || typeof slot.generation !== "number") throw invalidSlot(slot);
    this.slot = slot;
    this.generation = slot.generation;
  }

  /** Use it as `using buffer = await pool.acquire()` where the platform has `Symbol.dispose`. */
  declare [Symbol.dispose]: () => void;

  /**
   * A buffer with one memory of `size` bytes (none when `size` is 0); absent allocator: the default one. Throws what
   * {@link Allocator.allocate} throws.
   */
  static allocate(size: number, options?: AllocationParams & { allocator?: Allocator }): MediaBuffer {
    if (options === undefined) return allocated(size, defaultAllocator(), undefined);
    const { allocator: given, ...params } = readOptions("options", options, ALLOCATION_KEYS);
    const allocator = given === undefined ? defaultAllocator() : given;
    if (!isMade(AllocatorClass, allocator, "name")) throw wrongType("options.allocator", "an Allocator", allocator);
    return allocated(size, allocator, params);
  }

  /** A buffer around foreign bytes, not copied. Throws what {@link wrapMemory} throws. */
  static wrap(source: ArrayBufferView | ArrayBufferLike, options?: WrapOptions): MediaBuffer {
    const buffer = new MediaBuffer();
    list.insertMemory(buffer.slot, 0, wrapMemory(source, options));
    buffer.slot.memoryChanged = false;
    return buffer;
  }

  /** The most memories a buffer holds. */
  static get maxMemories(): number {
    return MAX_MEMORIES;
  }

  /** The pool this buffer is leased from, or null. */
  get pool(): BufferPool | null {
    return this.live("read").pool as BufferPool | null;
  }

  /** The number of its slot in the pool, stable for the slot's life; -1 without a pool. Works on stale handles too. */
  get slotIndex(): number {
    return this.slot.index;
  }

  /** True until the last {@link release}. */
  get isLive(): boolean {
    return this.slot.generation === this.generation && this.slot.refCount > 0;
  }

  /** References to this lease; 0 once it is over. */
  get refCount(): number {
    return this.slot.generation === this.generation ? this.slot.refCount : 0;
  }

  /** True when nobody else refers to it: times, flags, metas and the memory list may be changed. */
  get isWritable(): boolean {
    return this.live("read").refCount === 1;
  }

  /** @internal The slot, or the error for a stale handle. @realtime */
  live(verb: string): BufferSlot {
    const { slot } = this;
    if (slot.generation !== this.generation) throw stale(this, verb);
    return slot;
  }

  /** @internal The slot of a buffer that may be changed. @realtime */
  writable(what: string): BufferSlot {
    const slot = this.live(what);
    if (slot.refCount !== 1) throw sharedBuffer(slot, what);
    return slot;
  }

  /**
   * Presentation time in nanoseconds; undefined: none. Setting throws `ERR_NOT_WRITABLE`, `ERR_INVALID_ARG_TYPE`.
   * @realtime
   */
  get pts(): bigint | undefined {
    return this.live("read").pts;
  }
  set pts(time: bigint | undefined) {
    const slot = this.writable("set pts of");
    slot.pts = checkTime("pts", time);
    slot.slotFlags |= SlotFlags.DIRTY_FIELDS;
  }

  /** Decoding time in nanoseconds; as {@link pts}. @realtime */
  get dts(): bigint | undefined {
    return this.live("read").dts;
  }
  set dts(time: bigint | undefined) {
    const slot = this.writable("set dts of");
    slot.dts = checkTime("dts", time);
    slot.slotFlags |= SlotFlags.DIRTY_FIELDS;
  }

  /** Duration in nanoseconds; as {@link pts}. @realtime */
  get duration(): bigint | undefined {
    return this.live("read").duration;
  }
  set duration(time: bigint | undefined) {
    const slot = this.writable("set duration of");
    slot.duration = checkTime("duration", time);
    slot.slotFlags |= SlotFlags.DIRTY_FIELDS;
  }

  /** Media-specific counter of the first unit (frame number, sample number, byte); undefined: none. @realtime */
  get offset(): bigint | undefined {
    return this.live("read").offset;
  }
  set offset(count: bigint | undefined) {
    const slot = this.writable("set offset of");
    slot.offset = checkTime("offset", count);
    slot.slotFlags |= SlotFlags.DIRTY_FIELDS;
  }

  /** Media-specific counter behind the last unit; undefined: none. @realtime */
  get offsetEnd(): bigint | undefined {
    return this.live("read").offsetEnd;
  }
  set offsetEnd(count: bigint | undefined) {
    const slot = this.writable("set offsetEnd of");
    slot.offsetEnd = checkTime("offsetEnd", count);
    slot.slotFlags |= SlotFlags.DIRTY_FIELDS;
  }

  /** {@link BufferFlags}. Setting throws `ERR_NOT_WRITABLE`, `ERR_OUT_OF_RANGE`. @realtime */
  get flags(): BufferFlags {
    return this.live("read").flags;
  }
  set flags(flags: BufferFlags) {
    const slot = this.writable("set flags of");
    slot.flags = wholeNumber("flags", flags, 0, 0x7fffffff);
    slot.slotFlags |= SlotFlags.DIRTY_FIELDS;
  }

  /**
   * Adds a reference and returns this buffer; with two nobody may change it. @realtime Throws `ERR_USE_AFTER_RELEASE`.
   */
  retain(): this {
    const slot = this.live("retain");
    if (slot.refCount++ === 1) slot.countSharer(1);
    return this;
  }

  /**
   * Gives one reference back; the last one gives a pool's buffer back to its pool and frees any other. @realtime for a
   * pool's buffer. Throws `ERR_DOUBLE_RELEASE`, `ERR_MAPPED` (a mapping is live), `ERR_DETACHED`, `ERR_POOL_DEAD`.
   */
  release(): void {
    const { slot } = this;
    if (slot.generation !== this.generation) throw stale(this, "release");
    if (slot.refCount > 1) {
      if (--slot.refCount === 1) slot.countSharer(-1);
    } else if (slot.pool !== null) slot.pool.onRelease(slot);
    else freeSlot(slot);
  }

  /**
   * @internal {@link release}, for a holder that cannot try again: of bytes that are mapped, or locked, the last
   * reference passes to those, and the last unmap() gives the bytes back. Throws as release() for anything else.
   */
  releaseWhenUnmapped(): void {
    const { slot } = this;
    if (slot.generation !== this.generation || slot.refCount > 1) this.release();
    else if (slot.pool !== null) slot.pool.onPassed(slot);
    else freeSlotSlow(slot, true);
  }

  /** @internal Throws what the last release() would throw, before anything is changed. */
  assertReleasable(): void {
    const slot = this.live("release");
    if (slot.refCount !== 1) return;
    if ((slot.slotFlags & SlotFlags.IN_HOOK) !== 0) throw inHookError(slot, "release");
    assertUnlocked(slot);
    list.assertDroppable(slot, 0, slot.memories.length);
  }

  /** What this buffer is, for messages. */
  toString(): string {
    const { slot } = this;
    const where =
      slot.pool === null ? "" : ` of pool "${slot.pool.name}", slot ${slot.index}, lease ${this.generation}`;
    return `buffer (${this.isLive ? `${list.totalSize(slot)} bytes` : "released"})${where}`;
  }

  /** Valid bytes in all memories. O(memories). @realtime */
  get size(): number {
    return list.totalSize(this.live("read"));
  }

  /**
   * The bytes of a buffer with exactly one exclusive memory, without a lock: yours until {@link release}. The fast path
   * for code that owns the frame; code that shares maps. @realtime
   * Throws `ERR_NOT_WRITABLE` when somebody else may read or write them, `ERR_NOT_MAPPABLE` with several memories,
   * `ERR_DETACHED`, `ERR_USE_AFTER_RELEASE`.
   */
  get bytes(): Uint8Array {
    const slot = this.live("read");
    const { memories } = slot;
    const memory = memories[0];
    if (memories.length !== 1 || memory === undefined) return noSingleRun(slot);
    const view = memory.view;
    if (
      view !== null &&
      view.length === memory.currentSize &&
      memory.ownerCount === 1 &&
      slot.refCount === 1 &&
      (memory.currentFlags & MemoryFlags.READONLY) === 0
    )
      return view;
    return exclusiveBytes(slot, memory);
  }

  /** How many memories the list has. */
  get memoryCount(): number {
    return this.live("read").memories.length;
  }

  /**
   * The memories, in order, without a reference for the caller: retain() one to keep it longer than the buffer. A new
   * array each time.
   */
  get memories(): readonly Memory[] {
    const { memories } = this.live("read");
    for (const memory of memories) memory.show();
    return memories.slice();
  }

  /** The memory at `index`, without a reference for the caller. Throws `ERR_OUT_OF_RANGE`. */
  memoryAt(index: number): Memory {
    const { memories } = this.live("read");
    const memory = memories[wholeNumber("index", index, 0, memories.length - 1)]!;
    memory.show();
    return memory;
  }

  /** One memory with the bytes of a range of memories, one reference to the caller; the buffer keeps its list. */
  joined(index = 0, length?: number): Memory | undefined {
    const slot = this.live("read");
    const count = list.checkIndices(slot, index, length);
    if (count === 0) return undefined;
    if (count === 1) slot.memories[index]!.show();
    return list.joined(slot, index, count);
  }

  /**
   * Puts a memory into the list and takes over the caller's reference. A list of 16 is merged around the place first.
   * Throws `ERR_NOT_WRITABLE`, `ERR_OUT_OF_RANGE`, `ERR_MAPPED`, `ERR_USE_AFTER_RELEASE`; the caller keeps its
   * reference then.
   */
  insert(index: number, memory: Memory): void {
    const slot = this.writable("change the memories of");
    checkMemory(memory);
    list.insertMemory(slot, index, memory);
  }

  /** {@link insert} at the front. */
  prepend(memory: Memory): void {
    this.insert(0, memory);
  }

  /**
   * Appends a memory, or the memories of another buffer, and takes over the caller's reference of it. The other
   * buffer's times, flags and metas are lost; when others hold it too, its memories are shared. What a hook throws at
   * the other buffer's return is an uncaught error in a later turn: the append is done then. Throws as {@link insert},
   * and nothing has changed then.
   */
  append(what: Memory | MediaBuffer): void {
    const slot = this.writable("change the memories of");
    if (isMemory(what)) {
      this.insert(slot.memories.length, what);
      return;
    }
    if (!isMediaBuffer(what)) throw wrongType("what", "a Memory or a MediaBuffer", what);
    const other = what.live("append");
    if (other === slot) throw wrongType("what", "another buffer than the one it is appended to", what);
    what.assertReleasable();
    copyInto(slot, this, other, what, CopyFlags.MEMORY, 0, undefined);
    releaseConsumed(what);
  }

  /** Puts a memory in the place of `length` others (at least one). Errors as {@link insert}. */
  replace(index: number, length: number, memory: Memory): void {
    const slot = this.writable("change the memories of");
    checkMemory(memory);
    wholeNumber("index", index, 0, slot.memories.length);
    wholeNumber("length", length, 1, slot.memories.length - index);
    list.replaceMemories(slot, index, length, memory);
  }

  /**
   * Takes memories out of the list; absent length: to the end. Throws `ERR_NOT_WRITABLE`, `ERR_OUT_OF_RANGE`,
   * `ERR_MAPPED`.
   */
  remove(index = 0, length?: number): void {
    const slot = this.writable("change the memories of");
    list.removeMemories(slot, index, list.checkIndices(slot, index, length));
  }

  /**
   * Which memories hold `size` bytes from `offset` (absent: to the end): the first, how many, and the bytes to skip in
   * the first; undefined when the range is not inside.
   */
  find(
    offset: number,
    size?: number,
  ): { readonly index: number; readonly length: number; readonly skip: number } | undefined {
    wholeNumber("offset", offset);
    return list.findRange(this.live("read"), offset, size === undefined ? undefined : wholeNumber("size", size));
  }

  /**
   * Sizes of a range of memories: valid bytes (`size`), room in front of them (`offset`), and all of it with the room
   * behind (`maxSize`). O(memories).
   */
  getSizes(index = 0, length?: number): { readonly size: number; readonly offset: number; readonly maxSize: number } {
    const slot = this.live("read");
    return list.sizesOf(slot, index, list.checkIndices(slot, index, length));
  }

  /**
   * Moves the start of the valid bytes by `delta` and makes them `size` long, over several memories if need be. No byte
   * moves, and the reverse call restores the buffer exactly. Absent size: keep the end.
   * Throws `ERR_NOT_WRITABLE`, `ERR_OUT_OF_RANGE`.
   */
  resize(delta: number, size?: number, index = 0, length?: number): void {
    const slot = this.writable("resize");
    const count = list.checkIndices(slot, index, length);
    wholeNumber("delta", delta, -Number.MAX_SAFE_INTEGER);
    list.resizeRange(
      slot,
      index,
      count,
      delta,
      size === undefined ? list.sizesOf(slot, index, count).size - delta : size,
    );
  }

  /**
   * Locks all bytes as one run: several memories are merged first, a shared one is copied for writing. One small
   * object. Throws `ERR_NOT_WRITABLE`, `ERR_MAPPED`, `ERR_DETACHED`, `ERR_NOT_MAPPABLE`, `ERR_INVALID_ARG_VALUE`.
   */
  map(mode: MapMode): Mapping {
    const { slot } = this;
    if (slot.generation !== this.generation) throw stale(this, "map");
    if (slot.refCount === 1 && slot.memories.length === 1) {
      const memory = slot.memories[0]!;
      if (memory.ownerCount === 1 && memory.currentFlags === 0) return memory.map(mode);
    }
    return this.mapRange(0, undefined, mode);
  }

  /**
   * {@link map} of a buffer with one memory, without the object; see {@link Memory.lock}. @realtime Errors as {@link
   * bytes}.
   */
  lock(mode: MapMode): Uint8Array {
    const { slot } = this;
    if (slot.generation !== this.generation) throw stale(this, "lock");
    if (slot.memories.length !== 1) return noSingleRun(slot);
    if (slot.refCount > 1 && mode !== "read") throw sharedBuffer(slot, "write to");
    const memory = slot.memories[0]!;
    if (slot.locked !== memory || slot.lockedIn !== slot.generation) countLocksOf(slot, memory);
    const view = memory.lock(mode);
    if (slot.generation !== this.generation) {
      // A hook of the allocator ended the lease by force.
      memory.unlock(mode);
      throw stale(this, "lock");
    }
    slot.lockWord += unitOf(mode);
    return view;
  }

  /** Ends one {@link lock} of that mode. @realtime Throws `ERR_OUT_OF_RANGE` when none is held. */
  unlock(mode: MapMode): void {
    const slot = isLockedBy(this.slot, this.generation) ? this.slot : this.live("unlock");
    const left = lessUnit(slot.lockedIn === this.generation ? slot.lockWord : 0, unitOf(mode));
    if (left >= 0) {
      slot.lockWord = left;
      slot.locked!.unlock(mode);
      return;
    }
    if (slot.memories.length !== 1) noSingleRun(slot);
    slot.memories[0]!.unlock(mode);
  }

  /** {@link map} for a range of memories; absent length: to the end. An empty range throws `ERR_OUT_OF_RANGE`. */
  mapRange(index: number, length: number | undefined, mode: MapMode): Mapping {
    const slot = this.live("map");
    const count = list.checkIndices(slot, index, length);
    if (count === 0) throw outOfRange("length", "1 or more (the buffer has no memory there to map)", count);
    return mapMemories(slot, index, count, mode);
  }

  /** Copies bytes into the buffer; returns how many found room. Throws `ERR_NOT_WRITABLE`, `ERR_DETACHED`. O(size). */
  fill(offset: number, source: ArrayBufferView | ArrayBufferLike): number {
    return fillBytes(this.writable("fill"), offset, source);
  }

  /** Sets `size` bytes to `value` (absent size: to the end); returns how many were set. O(size). */
  memset(offset: number, value: number, size: number = Number.MAX_SAFE_INTEGER): number {
    return setBytes(this.writable("memset"), offset, value, size);
  }

  /** Copies bytes out into `target`; returns how many there were. Throws `ERR_DETACHED`. O(size). */
  extract(offset: number, target: ArrayBufferView | ArrayBufferLike): number {
    return extractInto(this.live("extract"), offset, target);
  }

  /**
   * 0 when the bytes at `offset` equal `other`; 1 when the first byte that differs is greater in `other`, -1 when it is
   * less. Also -1 when `offset` and the length of `other` reach beyond the buffer: compare with `size` first. O(size).
   */
  compare(offset: number, other: ArrayBufferView | ArrayBufferLike): number {
    const slot = this.live("compare");
    return compareBytes(slot, offset, other, list.totalSize(slot));
  }

  /** A buffer with the same times, flags and metas that shares the memories (or has copies of them: `deep`). */
  copy(options?: { deep?: boolean; flags?: CopyFlags }): MediaBuffer {
    const source = this.live("copy");
    if (options === undefined && (source.metas === null || source.metas.length === 0)) {
      const shared = shareWhole(source);
      if (shared !== undefined) return new MediaBuffer(shared);
    }
    const { deep, flags = CopyFlags.ALL } = checkOptions("options", options, ["deep", "flags"]);
    const chosen = flag("options.deep", deep, false) ? CopyFlags.DEEP : 0;
    return this.copyRange(0, undefined, copyFlags("options.flags", flags) | chosen);
  }

  /** A buffer over a range of bytes; whole memories are shared, clipped ones become sub-memories. */
  copyRange(offset: number, size?: number, flags: CopyFlags = CopyFlags.ALL): MediaBuffer {
    const source = this.live("copy");
    copyFlags("flags", flags);
    const copy = new MediaBuffer();
    copyInto(copy.slot, copy, source, this, flags, offset, size);
    copy.slot.memoryChanged = false;
    return copy;
  }

  /**
   * Copies what `flags` name of a range of `source` into this buffer; memories are appended. A buffer into itself:
   * nothing.
   */
  copyFrom(source: MediaBuffer, flags: CopyFlags = CopyFlags.ALL, offset = 0, size?: number): void {
    if (!isMediaBuffer(source)) throw wrongType("source", "a MediaBuffer", source);
    copyFlags("flags", flags);
    const from = source.live("copy");
    copyInto(this.live("copy into"), this, from, source, flags, offset, size);
  }

  /** Consumes the caller's reference and gives a buffer that may be changed: this one, or a copy of it. */
  makeWritable(): MediaBuffer {
    if (this.live("makeWritable").refCount === 1) return this;
    const copy = this.copy();
    try {
      this.release();
    } catch (error) {
      // A hook of the copy made this the last reference: it is given, whatever the allocator said to it.
      if (this.isLive) {
        copy.release();
        throw error;
      }
      throwLater(error);
    }
    return copy;
  }

  /** Adds a meta; undefined when its type refuses. Throws `ERR_NOT_WRITABLE`, `ERR_INVALID_ARG_TYPE`. O(1). */
  addMeta<T extends object, P>(type: MetaType<T, P>, params: P): (Meta & T) | undefined;
  addMeta<T extends object>(type: MetaType<T, void>): (Meta & T) | undefined;
  addMeta(type: MetaType<object, never>, params?: unknown): Meta | undefined {
    checkMetaType(type);
    return metas.addMeta(this.live("add a meta to"), this, type as unknown as MetaType, params);
  }

  /** The oldest meta of a type, or of an API by name. O(metas). */
  getMeta<T extends object, P>(type: MetaType<T, P>): (Meta & T) | undefined;
  getMeta(api: string): Meta | undefined;
  getMeta(type: MetaType<object, never> | string): Meta | undefined {
    if (typeof type !== "string") checkMetaType(type);
    return metas.firstMeta(this.live("read"), type as MetaType | string);
  }

  /** Removes a meta; false when it is not on this buffer. Throws `ERR_NOT_WRITABLE`, `ERR_META_LOCKED`. O(metas). */
  removeMeta(meta: Meta): boolean {
    if (typeof meta !== "object" || meta === null) throw wrongType("meta", "a Meta", meta);
    return metas.removeMeta(this.live("remove a meta from"), this, meta);
  }

  /** The metas, oldest first; optionally those of one API. A new array each time. */
  metas(api?: string): readonly Meta[] {
    if (api !== undefined) word("api", api);
    const all = this.live("read").metas ?? [];
    return api === undefined ? all.slice() : all.filter((meta) => meta.type.api === api);
  }
}
disposeWith(MediaBuffer, function (this: MediaBuffer): void {
  if (this.isLive) this.release();
});

/** True for a buffer that was made as one: not for what only has the prototype, nor for a revoked Proxy. */
export function isMediaBuffer(value: unknown): value is MediaBuffer {
  try {
    return value instanceof MediaBuffer && value.slot !== undefined;
  } catch {
    return false;
  }
}

const ALLOCATION_KEYS = ["allocator", "align", "prefix", "padding", "flags"] as const;

function allocated(size: number, allocator: Allocator, params: AllocationParams | undefined): MediaBuffer {
  const buffer = new MediaBuffer();
  if (size === 0) return buffer;
  list.insertMemory(buffer.slot, 0, answered(allocator, allocator.allocate(size, params), size));
  buffer.slot.memoryChanged = false;
  return buffer;
}

function copyFlags(name: string, flags: CopyFlags): CopyFlags {
  return wholeNumber(name, flags, 0, 0x7fffffff);
}

function checkMemory(memory: unknown): void {
  if (!isMemory(memory)) throw wrongType("memory", "a Memory", memory);
}

function invalidSlot(slot: unknown): MillpondError {
  return wrongType("slot", "absent (only pools pass a slot; MediaBuffer.allocate() makes a buffer with bytes)", slot);
}

function noSingleRun(slot: BufferSlot): never {
  throw new MillpondError(
    "ERR_NOT_MAPPABLE",
    `the buffer has ${slot.memories.length} memories, not one run of bytes; map() joins them`,
  );
}

function exclusiveBytes(slot: BufferSlot, memory: Memory): Uint8Array {
  if (slot.refCount > 1 || !memory.isWritable) {
    throw new MillpondError(
      "ERR_NOT_WRITABLE",
      `${memory} is shared or read-only, so .bytes would hand out somebody else's bytes; use map("read"), or makeWritable() first`,
    );
  }
  const mapping = memory.map("readwrite");
  mapping.unmap();
  return memory.view ?? noSingleRun(slot);
}

function checkTime(name: string, time: unknown): bigint | undefined {
  if (time !== undefined && typeof time !== "bigint") throw wrongType(name, "a bigint or undefined", time);
  return time;
}

/** Ends the lease of a buffer without a pool: its handles are void before the first hook runs. */
function freeSlot(slot: BufferSlot): void {
  const { memories } = slot;
  if (memories.length === 1 && slot.metas === null && (slot.slotFlags & IN_USE) === 0) {
    const memory = memories[0]!;
    // A shallow copy: others hold its memory too, and no pool's buffer waits for it. Nothing is freed, so no hook is
    // called.
    if (memory.references > 1 && (memory.accessWord | slot.lockWord) === 0 && !memory.parentBuffer?.awaitingMemory) {
      memories.pop();
      memory.ownerCount--;
      memory.references--;
      freeUnpooledSlot(slot);
      return;
    }
  }
  freeSlotSlow(slot, false);
}

const IN_USE: number = SlotFlags.IN_HOOK | SlotFlags.FROZEN;

/** `passes`: what is mapped does not refuse the end; its reference passes to its mappings. */
function freeSlotSlow(slot: BufferSlot, passes: boolean): void {
  if ((slot.slotFlags & SlotFlags.IN_HOOK) !== 0) throw inHookError(slot, "release");
  const { memories } = slot;
  if (!passes) {
    assertUnlocked(slot);
    list.assertDroppable(slot, 0, memories.length);
  }
  slot.generation++;
  // Bytes go before metas: a meta may hold the very buffer that waits for its bytes to be exclusive again.
  const failure = list.dropMemories(slot, memories);
  if (slot.metas === null) freeUnpooledSlot(slot);
  else endMetas(slot);
  list.throwIfFailed(failure);
}

/**
 * Buffers without a pool whose metas end now. Those that a meta's hook releases join the queue, so a chain of them has
 * any length.
 */
const ending: BufferSlot[] = [];

/**
 * Frees the metas of a buffer without a pool, with a handle that is void afterwards; what their hooks put into it goes
 * too.
 */
function endMetas(slot: BufferSlot): void {
  slot.slotFlags |= SlotFlags.IN_HOOK | SlotFlags.RETURNING;
  if (ending.push(slot) > 1) return;
  for (let i = 0; i < ending.length; i++) {
    const next = ending[i]!;
    metas.freeMetas(next, new MediaBuffer(next));
    next.generation++;
    const failure = list.dropMemories(next, next.memories);
    if (failure !== undefined) throwLater(failure);
    freeUnpooledSlot(next);
  }
  ending.length = 0;
}

/** The error for a handle whose lease is over. */
function stale(buffer: MediaBuffer, verb: string): Error {
  const { pool } = buffer.slot;
  if (pool !== null) return pool.staleLease(buffer.slot, buffer.generation, verb);
  const code = verb === "release" ? "ERR_DOUBLE_RELEASE" : "ERR_USE_AFTER_RELEASE";
  return new MillpondError(
    code,
    `cannot ${verb} this buffer: it was already released; retain() it once for each holder`,
  );
}
