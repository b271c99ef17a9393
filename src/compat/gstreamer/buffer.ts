/** GstBuffer over MediaBuffer: the bindings' names, indices and return shapes. */

import { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { releaseConsumed } from "../../media/buffer/release.ts";
import { SlotFlags } from "../../media/buffer/slot.ts";
import { findReferenceTimestamp, ParentBufferMeta, ReferenceTimestampMeta } from "../../media/meta/built-in.ts";
import type { MetaType } from "../../media/meta/meta.ts";
import { MAKE } from "../door-error.ts";
import type { BufferPool } from "./buffer-pool.ts";
import { BufferFlags, MapFlags, timeOut } from "./constants.ts";
import {
  type AllocationParams,
  type Allocator,
  checkBytes,
  checkInfo,
  coreAllocator,
  coreMemory,
  MapInfo,
  Memory,
  modeIn,
  paramsIn,
} from "./memory.ts";
import {
  apiIn,
  checkMetaInfo,
  coreMeta,
  MetaHandle,
  type MetaInfo,
  type MetaInstance,
  setBufferFaces,
} from "./meta.ts";
import {
  attempt,
  bad,
  checkSize,
  checkWhole,
  makerOnly,
  note,
  outside,
  refuse,
  speaks,
  timeIn,
  wrong,
} from "./words.ts";

/** @internal The pool that a core pool is the inside of; filled by buffer-pool.ts. */
export const poolFaces: WeakMap<object, BufferPool> = new WeakMap();

/** A pool's buffer is known by its slot, which outlives the leases; any other by its core buffer. */
const buffers: WeakMap<object, Buffer> = new WeakMap();

function keyOf(core: MediaBuffer): object {
  return core.slot.pool === null ? core : core.slot;
}

/**
 * A buffer; made by {@link Buffer.new}, {@link Buffer.new_allocate}, {@link Buffer.new_wrapped}, by copies and by
 * pools. Precondition violations throw MillpondError; expected failures return as the signatures show, and {@link
 * lastError} says why.
 */
export class Buffer {
  #core: MediaBuffer;
  /** Live maps that hold the memory, and not on their own account (REF_MEMORY). */
  #maps = 0;

  /** @internal */
  private constructor(core: MediaBuffer, key?: unknown) {
    makerOnly(key, "Buffer", "Buffer.new()");
    this.#core = core;
  }

  /** @internal The one face of a core buffer; a pool's buffer has the same one in every lease. */
  static of(core: MediaBuffer): Buffer {
    const key = keyOf(core);
    let buffer = buffers.get(key);
    if (buffer === undefined) {
      buffer = new Buffer(core, MAKE);
      buffers.set(key, buffer);
    }
    // A handle of a lease that is over must not take the place of the present one.
    if (core.isLive || !buffer.#core.isLive) buffer.#core = core;
    return buffer;
  }

  /** @internal A buffer that a hook made becomes the face of a pool's buffer. */
  static stand(face: Buffer, core: MediaBuffer): void {
    face.#core = core;
    buffers.set(keyOf(core), face);
  }

  /** @internal Whether a value is a Buffer that this door made. */
  static is(value: unknown): value is Buffer {
    return typeof value === "object" && value !== null && #core in value;
  }

  /** The core's buffer underneath; another one in each lease of a pool's buffer. */
  get core(): MediaBuffer {
    return this.#core;
  }

  /** An empty buffer. */
  static new(): Buffer {
    return Buffer.of(new MediaBuffer());
  }

  /** A buffer with one memory (none for size 0), or null when the allocation fails. */
  static new_allocate(allocator: Allocator | null, size: number, params: AllocationParams | null): Buffer | null {
    checkWhole("size", size);
    const from = coreAllocator("allocator", allocator);
    const wanted = paramsIn(params);
    try {
      return Buffer.of(MediaBuffer.allocate(size, { ...wanted, ...(from && { allocator: from }) }));
    } catch (error) {
      note(error);
      return null;
    }
  }

  /** A buffer around bytes. */
  static new_wrapped(data: Uint8Array): Buffer {
    return Buffer.of(MediaBuffer.wrap(checkBytes("data", data)));
  }

  /** The most memories of a buffer: 16. */
  static get_max_memory(): number {
    return MediaBuffer.maxMemories;
  }

  /** Appends a memory and takes the caller's reference. */
  append_memory(memory: Memory): void {
    this.#core.append(coreMemory("memory", memory));
  }

  /** Prepends a memory. */
  prepend_memory(memory: Memory): void {
    this.#core.prepend(coreMemory("memory", memory));
  }

  /** Inserts a memory; index -1: at the end. */
  insert_memory(index: number, memory: Memory): void {
    const core = coreMemory("memory", memory);
    const count = this.#core.memoryCount;
    this.#core.insert(checkWhole("index", index, -1, count) === -1 ? count : index, core);
  }

  /** Puts a memory in the place of others; length -1: to the end, 0 is not allowed. */
  replace_memory_range(index: number, length: number, memory: Memory): void {
    const core = coreMemory("memory", memory);
    const count = this.#core.memoryCount;
    checkWhole("index", index, 0, count);
    checkWhole("length", length, -1, count - index);
    this.#core.replace(index, length === -1 ? count - index : length, core);
  }

  /** Removes memories; length -1: to the end, 0: none, but the layout counts as changed. */
  remove_memory_range(index: number, length: number): void {
    this.#core.remove(index, checkSize("length", length));
  }

  /** A memory, without a reference for the caller. */
  peek_memory(index: number): Memory {
    return Memory.of(this.#core.memoryAt(index));
  }

  /** A memory, with a reference. */
  get_memory(index: number): Memory {
    return Memory.of(this.#core.memoryAt(index).retain());
  }

  /** One memory with the bytes of a range, or null for an empty one; the buffer stays as it is. */
  get_memory_range(index: number, length: number): Memory | null {
    const joined = this.#core.joined(index, checkSize("length", length));
    return joined === undefined ? null : Memory.of(joined);
  }

  /** How many memories. */
  n_memory(): number {
    return this.#core.memoryCount;
  }

  /** [found, index, length, skip]. Size -1: to the end. */
  find_memory(offset: number, size: number): [boolean, number, number, number] {
    const found = this.#core.find(offset, checkSize("size", size));
    return found === undefined ? [false, 0, 0, 0] : [true, found.index, found.length, found.skip];
  }

  /** [size, offset, maxsize]. */
  get_sizes(): [number, number, number] {
    return this.get_sizes_range(0, -1);
  }

  /** [size, offset, maxsize] of a range. */
  get_sizes_range(index: number, length: number): [number, number, number] {
    const { size, offset, maxSize } = this.#core.getSizes(index, checkSize("length", length));
    return [size, offset, maxSize];
  }

  /** Moves the start by `offset` and sets the size; -1: keep the end. */
  resize(offset: number, size: number): void {
    this.#core.resize(offset, checkSize("size", size));
  }

  /** Sets the size. */
  set_size(size: number): void {
    this.#core.resize(0, checkSize("size", size));
  }

  /** Valid bytes. */
  get_size(): number {
    return this.#core.size;
  }

  /** Maps all bytes: [true, info], or [false, zeroed info]. A buffer without memory: [true, an empty info]. */
  map(flags: number): [boolean, MapInfo] {
    return this.map_range(0, -1, flags);
  }

  /**
   * Maps a range of memories as one run. Throws `ERR_OUT_OF_RANGE` for length 0, `ERR_NOT_WRITABLE` for a shared
   * buffer.
   */
  map_range(index: number, length: number, flags: number): [boolean, MapInfo] {
    const mode = modeIn(flags);
    const count = checkSize("length", length);
    if (mode !== "read" && !this.#core.isWritable) {
      throw refuse(
        "ERR_NOT_WRITABLE",
        `${this} has ${this.refcount} references; make_writable() before mapping it for writing`,
      );
    }
    if (this.#core.memoryCount === 0 && index === 0 && length === -1) return [true, new MapInfo()];
    return attempt(() => [true, this.#mapped(index, count, mode, flags)], [false, new MapInfo()]);
  }

  #mapped(index: number, length: number | undefined, mode: "read" | "write" | "readwrite", flags: number): MapInfo {
    const mapping = this.#core.mapRange(index, length, mode);
    if ((flags & MapFlags.REF_MEMORY) !== 0) return MapInfo.of(mapping, flags, true, this);
    this.#maps++;
    return MapInfo.of(mapping, flags, true, this, () => {
      this.#maps--;
    });
  }

  /**
   * Ends a map of this buffer; an empty info (of a buffer without memory, or of a map that failed): nothing. Throws
   * `ERR_INVALID_ARG_VALUE` for another buffer's info, or one that was ended.
   */
  unmap(info: MapInfo): void {
    if (checkInfo(info).isEmpty) return;
    if (!info.isLiveOf(this)) throw bad("info", `of a live map of ${this}`, info);
    info.clear();
  }

  /** Copies bytes in; how many found room. */
  fill(offset: number, source: Uint8Array): number {
    return this.#core.fill(checkWhole("offset", offset), checkBytes("source", source));
  }

  /** Copies `size` bytes out (fewer at the end). */
  extract(offset: number, size: number): Uint8Array {
    const room = Math.max(0, this.#core.size - checkWhole("offset", offset));
    const out = new Uint8Array(Math.min(checkSize("size", size) ?? room, room));
    this.#core.extract(offset, out);
    return out;
  }

  /** Sets bytes; how many. Size -1: to the end. */
  memset(offset: number, value: number, size: number): number {
    checkWhole("offset", offset);
    checkWhole("value", value, 0, 255);
    return this.#core.memset(offset, value, checkSize("size", size));
  }

  /** 0 when equal, -1 when out of range, else the sign of given minus buffer. */
  memcmp(offset: number, bytes: Uint8Array): number {
    checkWhole("offset", offset);
    const given = checkBytes("bytes", bytes);
    return this.#core.compare(offset, given);
  }

  /** A shallow copy. */
  copy(): Buffer {
    return Buffer.of(this.#core.copy());
  }

  /** A deep copy. */
  copy_deep(): Buffer {
    return Buffer.of(this.#core.copy({ deep: true }));
  }

  /** A copy of a region; size -1: to the end. */
  copy_region(flags: number, offset: number, size: number): Buffer {
    checkWhole("offset", offset);
    const bytes = checkSize("size", size);
    checkWhole("flags", flags, 0, 0x7fffffff);
    return Buffer.of(this.#core.copyRange(offset, bytes, flags));
  }

  /** Copies a region of `src` into this buffer; false when a memory could not be copied. Throws `ERR_OUT_OF_RANGE`. */
  copy_into(src: Buffer, flags: number, offset: number, size: number): boolean {
    const from = coreBuffer("src", src);
    checkWhole("offset", offset);
    const bytes = checkSize("size", size);
    checkWhole("flags", flags, 0, 0x7fffffff);
    return attempt(() => {
      this.#core.copyFrom(from, flags, offset, bytes);
      return true;
    }, false);
  }

  /**
   * Appends the other's memories and consumes both; gives the result. What a vfunc throws at the other's return is an
   * uncaught error in a later turn.
   */
  append(other: Buffer): Buffer {
    if (coreBuffer("other", other) === this.#core)
      throw bad("other", "another buffer than the one it is appended to", other);
    const from = coreBuffer("other", other);
    if (this.#core.isWritable) {
      this.#core.append(from);
      return this;
    }
    const own = this.copy();
    try {
      own.#core.append(from);
    } catch (error) {
      own.#core.release();
      throw error;
    }
    releaseConsumed(this.#core);
    return own;
  }

  /** Consumes the reference and gives a writable buffer. */
  make_writable(): Buffer {
    return Buffer.of(this.#core.makeWritable());
  }

  /** Whether nobody else refers to it. */
  is_writable(): boolean {
    return this.#core.isWritable;
  }

  /** Whether the bytes of a range may be written. */
  is_memory_range_writable(index: number, length: number): boolean {
    const { memories } = this.#core.live("read");
    checkWhole("index", index, 0, memories.length);
    const count = checkSize("length", length) ?? memories.length - index;
    if (count > memories.length - index) throw outside("length", `at most ${memories.length - index}`, length);
    return memories.slice(index, index + count).every((memory) => memory.isWritable);
  }

  /** Whether all bytes may be written. */
  is_all_memory_writable(): boolean {
    return this.is_memory_range_writable(0, -1);
  }

  /** Presentation time in ns, or CLOCK_TIME_NONE. */
  get pts(): bigint {
    return timeOut(this.#core.pts);
  }
  set pts(time: bigint) {
    this.#core.pts = timeIn("pts", time);
  }

  /** Decoding time in ns, or CLOCK_TIME_NONE. */
  get dts(): bigint {
    return timeOut(this.#core.dts);
  }
  set dts(time: bigint) {
    this.#core.dts = timeIn("dts", time);
  }

  /** Duration in ns, or CLOCK_TIME_NONE. */
  get duration(): bigint {
    return timeOut(this.#core.duration);
  }
  set duration(time: bigint) {
    this.#core.duration = timeIn("duration", time);
  }

  /** Counter of the first unit, or CLOCK_TIME_NONE. */
  get offset(): bigint {
    return timeOut(this.#core.offset);
  }
  set offset(count: bigint) {
    this.#core.offset = timeIn("offset", count);
  }

  /** Counter behind the last unit, or CLOCK_TIME_NONE. */
  get offset_end(): bigint {
    return timeOut(this.#core.offsetEnd);
  }
  set offset_end(count: bigint) {
    this.#core.offsetEnd = timeIn("offset_end", count);
  }

  /** Whether all of the flags are set; TAG_MEMORY tells of a changed memory list. */
  has_flags(flags: number): boolean {
    checkWhole("flags", flags, 0, 0x7fffffff);
    const tainted = (this.#core.live("read").slotFlags & SlotFlags.MEMORY_CHANGED) !== 0;
    return ((this.#core.flags | (tainted ? BufferFlags.TAG_MEMORY : 0)) & flags) === flags;
  }

  /** Sets flags. Throws `ERR_NOT_WRITABLE`. */
  set_flags(flags: number): boolean {
    checkWhole("flags", flags, 0, 0x7fffffff);
    this.#core.flags |= flags & ~BufferFlags.TAG_MEMORY;
    if ((flags & BufferFlags.TAG_MEMORY) !== 0) this.#core.live("change").memoryChanged = true;
    return true;
  }

  /** Clears flags. Throws `ERR_NOT_WRITABLE`. */
  unset_flags(flags: number): boolean {
    this.#core.flags &= ~checkWhole("flags", flags, 0, 0x7fffffff);
    return true;
  }

  /** Adds a meta, or null when its init refuses. Throws `ERR_NOT_WRITABLE`. */
  add_meta(info: MetaInfo, params?: unknown): MetaInstance | null {
    const type = checkMetaInfo(info).core as MetaType<object, unknown>;
    const meta = this.#core.addMeta(type, params);
    return meta === undefined ? null : MetaHandle.of(meta);
  }

  /** The first meta of an API, or null. Throws `ERR_INVALID_ARG_TYPE` for anything but a name. */
  get_meta(api: string): MetaInstance | null {
    const meta = this.#core.getMeta(apiIn(api));
    return meta === undefined ? null : MetaHandle.of(meta);
  }

  /** Removes a meta; false when it is not here. Throws `ERR_META_LOCKED`, `ERR_NOT_WRITABLE`. */
  remove_meta(meta: MetaInstance): boolean {
    return this.#core.removeMeta(coreMeta("meta", meta));
  }

  /** Visits the metas: "remove" takes one away, "stop" ends the walk and makes the answer false. */
  foreach_meta(fn: (meta: MetaInstance) => "keep" | "remove" | "stop"): boolean {
    if (typeof fn !== "function") throw wrong("fn", "a function", fn);
    for (const meta of this.#core.metas()) {
      // An earlier call of fn may have removed it.
      if (!this.#core.metas().includes(meta)) continue;
      const what = fn(MetaHandle.of(meta));
      if (what === "remove") this.#core.removeMeta(meta);
      else if (what === "stop") return false;
      else if (what !== "keep") throw bad("what fn returns", '"keep", "remove" or "stop"', what);
    }
    return true;
  }

  /** The metas, oldest first. */
  iterate_meta(): IterableIterator<MetaInstance> {
    return this.#core
      .metas()
      .map((meta) => MetaHandle.of(meta))
      [Symbol.iterator]();
  }

  /** Adds a time on another clock. Throws `ERR_NOT_WRITABLE`. */
  add_reference_timestamp_meta(reference: unknown, timestamp: bigint, duration: bigint): MetaInstance | null {
    const time = timeIn("timestamp", timestamp);
    if (time === undefined) throw bad("timestamp", "a time, not CLOCK_TIME_NONE", timestamp);
    const lasts = timeIn("duration", duration);
    const meta = this.#core.addMeta(ReferenceTimestampMeta, { reference, timestamp: time, duration: lasts });
    return meta === undefined ? null : MetaHandle.of(meta);
  }

  /** The first time whose reference contains `reference`, or null. */
  get_reference_timestamp_meta(reference?: unknown): MetaInstance | null {
    const meta = findReferenceTimestamp(this.#core, reference ?? undefined);
    return meta === undefined ? null : MetaHandle.of(meta);
  }

  /** Keeps another buffer until this one goes; the meta's `buffer` is that one. Throws `ERR_NOT_WRITABLE`. */
  add_parent_buffer_meta(parent: Buffer): MetaInstance | null {
    const meta = this.#core.addMeta(ParentBufferMeta, coreBuffer("parent", parent));
    return meta === undefined ? null : MetaHandle.of(meta);
  }

  /** The pool it is leased from, or null. */
  get pool(): BufferPool | null {
    const owner = this.#core.pool;
    return owner === null ? null : (poolFaces.get(owner) ?? null);
  }

  /** One reference more. */
  ref(): this {
    this.#core.retain();
    return this;
  }

  /**
   * One reference less; the last one sends a pool's buffer back and frees any other. Throws `ERR_DOUBLE_RELEASE`, and
   * `ERR_MAPPED` for the last reference of a pool's buffer that is still mapped: the next user would meet the map. A
   * map with REF_MEMORY is let be: the pool waits for its end.
   */
  unref(): void {
    const core = this.#core;
    if (this.#maps > 0 && core.refCount === 1 && core.slot.pool !== null) {
      throw refuse(
        "ERR_MAPPED",
        `${this} is still mapped; unmap() it before the last unref(), or map it with REF_MEMORY`,
      );
    }
    core.release();
  }

  /** References. */
  get refcount(): number {
    return this.#core.refCount;
  }

  /** `buffer (10 bytes in 1 memory) of pool "gst-BufferPool"`. */
  toString(): string {
    const core = this.#core;
    const { pool } = core.slot;
    const whose = pool === null ? "" : ` of pool "${pool.name}"`;
    if (!core.isLive) return `buffer (unreffed)${whose}`;
    const count = core.memoryCount;
    return `buffer (${core.size} bytes in ${count} ${count === 1 ? "memory" : "memories"})${whose}`;
  }
}
speaks(Buffer, Buffer.is);
setBufferFaces((core) => Buffer.of(core));

/** Checks what a caller gives as a buffer, and gives the core's. */
export function coreBuffer(name: string, buffer: unknown): MediaBuffer {
  if (!Buffer.is(buffer)) throw wrong(name, "a Buffer", buffer);
  return buffer.core;
}
