/** GstBuffer over MediaBuffer: the bindings' names, indices and return shapes. */
import { findReferenceTimestamp, ParentBufferMeta, ReferenceTimestampMeta } from "../../media/common-metas.ts";
import { MediaBuffer } from "../../media/media-buffer.ts";
import { Marks } from "../../media/slot.ts";
import { MillpondError } from "../../observe/errors.ts";
import type { BufferPool } from "./buffer-pool.ts";
import { BufferCopyFlags, BufferFlags, timeIn, timeOut } from "./constants.ts";
import { type AllocationParams, type Allocator, isRefusal, MapInfo, Memory, modeIn, paramsIn } from "./memory.ts";
import type { MetaInfo, MetaInstance } from "./meta.ts";

/** @internal The pool that a core pool is the inside of; filled by buffer-pool.ts. */
export const poolFaces: WeakMap<object, BufferPool> = new WeakMap();

const buffers: WeakMap<MediaBuffer, Buffer> = new WeakMap();
const _ALL = BufferCopyFlags.FLAGS | BufferCopyFlags.TIMESTAMPS | BufferCopyFlags.META | BufferCopyFlags.MEMORY;

/** -1 is "to the end", as in the original. */
function toEnd(length: number): number | undefined {
  return length === -1 ? undefined : length;
}

/** A buffer. Precondition violations throw MillpondError; expected failures return as the signatures show. */
export class Buffer {
  /** The core's buffer underneath. */
  readonly core: MediaBuffer;

  private constructor(core: MediaBuffer) {
    this.core = core;
  }

  /** @internal The one wrapper of a core buffer. */
  static of(core: MediaBuffer): Buffer {
    let buffer = buffers.get(core);
    if (buffer === undefined) {
      buffer = new Buffer(core);
      buffers.set(core, buffer);
    }
    return buffer;
  }

  /** An empty buffer. */
  static new(): Buffer {
    return Buffer.of(new MediaBuffer());
  }

  /** A buffer with one memory (none for size 0), or null when the allocation fails. */
  static new_allocate(allocator: Allocator | null, size: number, params: AllocationParams | null): Buffer | null {
    try {
      return Buffer.of(
        MediaBuffer.allocate(size, { ...paramsIn(params), ...(allocator && { allocator: allocator.core }) }),
      );
    } catch (error) {
      if (isRefusal(error)) return null;
      throw error;
    }
  }

  /** A buffer around bytes. */
  static new_wrapped(data: Uint8Array): Buffer {
    return Buffer.of(MediaBuffer.wrap(data));
  }

  /** The most memories of a buffer: 16. */
  static get_max_memory(): number {
    return MediaBuffer.maxMemories;
  }

  /** Appends a memory and takes the caller's reference. */
  append_memory(memory: Memory): void {
    this.core.append(memory.core);
  }

  /** Prepends a memory. */
  prepend_memory(memory: Memory): void {
    this.core.prepend(memory.core);
  }

  /** Inserts a memory; index -1: at the end. */
  insert_memory(index: number, memory: Memory): void {
    this.core.insert(index === -1 ? this.core.memoryCount : index, memory.core);
  }

  /** Puts a memory in the place of others; length -1: to the end, 0 is not allowed. */
  replace_memory_range(index: number, length: number, memory: Memory): void {
    this.core.replace(index, length === -1 ? this.core.memoryCount - index : length, memory.core);
  }

  /** Removes memories; length -1: to the end, 0: none, but the layout counts as changed. */
  remove_memory_range(index: number, length: number): void {
    this.core.remove(index, toEnd(length));
  }

  /** A memory, borrowed. */
  peek_memory(index: number): Memory {
    return Memory.of(this.core.memoryAt(index));
  }

  /** A memory, with a reference. */
  get_memory(index: number): Memory {
    return Memory.of(this.core.memoryAt(index).retain());
  }

  /** One memory with the bytes of a range, or null for an empty one; the buffer stays as it is. */
  get_memory_range(index: number, length: number): Memory | null {
    const joined = this.core.joined(index, toEnd(length));
    return joined === undefined ? null : Memory.of(joined);
  }

  /** How many memories. */
  n_memory(): number {
    return this.core.memoryCount;
  }

  /** [found, index, length, skip]. Size -1: to the end. */
  find_memory(offset: number, size: number): [boolean, number, number, number] {
    const found = this.core.find(offset, toEnd(size));
    return found === undefined ? [false, 0, 0, 0] : [true, found.index, found.length, found.skip];
  }

  /** [size, offset, maxsize]. */
  get_sizes(): [number, number, number] {
    return this.get_sizes_range(0, -1);
  }

  /** [size, offset, maxsize] of a range. */
  get_sizes_range(index: number, length: number): [number, number, number] {
    const { size, offset, maxSize } = this.core.getSizes(index, toEnd(length));
    return [size, offset, maxSize];
  }

  /** Moves the start by `offset` and sets the size; -1: keep the end. */
  resize(offset: number, size: number): void {
    this.core.resize(offset, toEnd(size));
  }

  /** Sets the size. */
  set_size(size: number): void {
    this.core.resize(0, toEnd(size));
  }

  /** Valid bytes. */
  get_size(): number {
    return this.core.size;
  }

  /** Maps all bytes: [true, info], or [false, zeroed info]. A buffer without memory: [true, an empty info]. */
  map(flags: number): [boolean, MapInfo] {
    return this.map_range(0, -1, flags);
  }

  /** Maps a range of memories as one run. Throws `ERR_OUT_OF_RANGE` for length 0, `ERR_NOT_WRITABLE` for a shared buffer. */
  map_range(index: number, length: number, flags: number): [boolean, MapInfo] {
    const mode = modeIn(flags);
    if (mode !== "read" && !this.core.isWritable) {
      throw new MillpondError(
        "ERR_NOT_WRITABLE",
        `${this.core} is shared; make_writable() before mapping it for writing`,
      );
    }
    if (this.core.memoryCount === 0 && index === 0 && length === -1) return [true, new MapInfo()];
    try {
      return [true, MapInfo.of(this.core.mapRange(index, toEnd(length), mode), flags & ~4)];
    } catch (error) {
      if (isRefusal(error)) return [false, new MapInfo()];
      throw error;
    }
  }

  /** Ends a map; an empty or ended one: nothing. */
  unmap(info: MapInfo): void {
    info.clear();
  }

  /** Copies bytes in; how many found room. */
  fill(offset: number, source: Uint8Array): number {
    return this.core.fill(offset, source);
  }

  /** Copies `size` bytes out (fewer at the end). */
  extract(offset: number, size: number): Uint8Array {
    const room = Math.max(0, this.core.size - offset);
    const out = new Uint8Array(Math.min(size === -1 ? room : size, room));
    this.core.extract(offset, out);
    return out;
  }

  /** Sets bytes; how many. Size -1: to the end. */
  memset(offset: number, value: number, size: number): number {
    return this.core.memset(offset, value, toEnd(size));
  }

  /** 0 when equal, -1 when out of range, else the sign of given minus buffer. */
  memcmp(offset: number, bytes: Uint8Array): number {
    return this.core.compare(offset, bytes);
  }

  /** A shallow copy. */
  copy(): Buffer {
    return Buffer.of(this.core.copy());
  }

  /** A deep copy. */
  copy_deep(): Buffer {
    return Buffer.of(this.core.copy({ deep: true }));
  }

  /** A copy of a region; size -1: to the end. */
  copy_region(flags: number, offset: number, size: number): Buffer {
    return Buffer.of(this.core.region(offset, toEnd(size), flags));
  }

  /** Copies a region of `src` into this buffer; false when a memory could not be copied. Throws `ERR_OUT_OF_RANGE`. */
  copy_into(src: Buffer, flags: number, offset: number, size: number): boolean {
    try {
      this.core.copyFrom(src.core, flags, offset, toEnd(size));
      return true;
    } catch (error) {
      if (isRefusal(error)) return false;
      throw error;
    }
  }

  /** Appends the other's memories and consumes both; gives the result. */
  append(other: Buffer): Buffer {
    const own = this.make_writable();
    own.core.append(other.core);
    return own;
  }

  /** Consumes the reference and gives a writable buffer. */
  make_writable(): Buffer {
    return Buffer.of(this.core.makeWritable());
  }

  /** Whether nobody else refers to it. */
  is_writable(): boolean {
    return this.core.isWritable;
  }

  /** Whether the bytes of a range may be written. */
  is_memory_range_writable(index: number, length: number): boolean {
    const end = length === -1 ? this.core.memoryCount : index + length;
    return this.core.memories.slice(index, end).every((memory) => memory.isWritable);
  }

  /** Whether all bytes may be written. */
  is_all_memory_writable(): boolean {
    return this.is_memory_range_writable(0, -1);
  }

  /** Presentation time in ns, or CLOCK_TIME_NONE. */
  get pts(): bigint {
    return timeOut(this.core.pts);
  }
  set pts(time: bigint) {
    this.core.pts = timeIn(time);
  }

  /** Decoding time in ns, or CLOCK_TIME_NONE. */
  get dts(): bigint {
    return timeOut(this.core.dts);
  }
  set dts(time: bigint) {
    this.core.dts = timeIn(time);
  }

  /** Duration in ns, or CLOCK_TIME_NONE. */
  get duration(): bigint {
    return timeOut(this.core.duration);
  }
  set duration(time: bigint) {
    this.core.duration = timeIn(time);
  }

  /** Counter of the first unit, or CLOCK_TIME_NONE. */
  get offset(): bigint {
    return timeOut(this.core.offset);
  }
  set offset(count: bigint) {
    this.core.offset = timeIn(count);
  }

  /** Counter behind the last unit, or CLOCK_TIME_NONE. */
  get offset_end(): bigint {
    return timeOut(this.core.offsetEnd);
  }
  set offset_end(count: bigint) {
    this.core.offsetEnd = timeIn(count);
  }

  /** Whether all of the flags are set; TAG_MEMORY tells of a changed memory list. */
  has_flags(flags: number): boolean {
    const tainted = (this.core.live("read").marks & Marks.TAINTED) !== 0;
    return ((this.core.flags | (tainted ? BufferFlags.TAG_MEMORY : 0)) & flags) === flags;
  }

  /** Sets flags. Throws `ERR_NOT_WRITABLE`. */
  set_flags(flags: number): boolean {
    this.core.flags |= flags & ~BufferFlags.TAG_MEMORY;
    if ((flags & BufferFlags.TAG_MEMORY) !== 0) this.core.live("change").tainted = true;
    return true;
  }

  /** Clears flags. Throws `ERR_NOT_WRITABLE`. */
  unset_flags(flags: number): boolean {
    this.core.flags &= ~flags;
    return true;
  }

  /** Adds a meta, or null when its init refuses. Throws `ERR_NOT_WRITABLE`. */
  add_meta(info: MetaInfo, params?: unknown): MetaInstance | null {
    return this.core.addMeta(info, params) ?? null;
  }

  /** The first meta of an API, or null. */
  get_meta(api: string): MetaInstance | null {
    return (this.core.getMeta(api) as MetaInstance | undefined) ?? null;
  }

  /** Removes a meta; false when it is not here. Throws `ERR_META_LOCKED`, `ERR_NOT_WRITABLE`. */
  remove_meta(meta: MetaInstance): boolean {
    return this.core.removeMeta(meta);
  }

  /** Visits the metas: "remove" takes one away, "stop" ends the walk and makes the answer false. */
  foreach_meta(fn: (meta: MetaInstance) => "keep" | "remove" | "stop"): boolean {
    for (const meta of this.core.metas() as readonly MetaInstance[]) {
      const what = fn(meta);
      if (what === "remove") this.core.removeMeta(meta);
      if (what === "stop") return false;
    }
    return true;
  }

  /** The metas, oldest first. */
  iterate_meta(): IterableIterator<MetaInstance> {
    return (this.core.metas() as readonly MetaInstance[])[Symbol.iterator]() as IterableIterator<MetaInstance>;
  }

  /** Adds a time on another clock. Throws `ERR_NOT_WRITABLE`. */
  add_reference_timestamp_meta(reference: unknown, timestamp: bigint, duration: bigint): MetaInstance | null {
    const meta = this.core.addMeta(ReferenceTimestampMeta, { reference, timestamp, duration: timeIn(duration) });
    return (meta as unknown as MetaInstance | undefined) ?? null;
  }

  /** The first time whose reference contains `reference`, or null. */
  get_reference_timestamp_meta(reference?: unknown): MetaInstance | null {
    return (findReferenceTimestamp(this.core, reference) as unknown as MetaInstance | undefined) ?? null;
  }

  /** Keeps another buffer until this one goes. Throws `ERR_NOT_WRITABLE`. */
  add_parent_buffer_meta(parent: Buffer): MetaInstance | null {
    return (this.core.addMeta(ParentBufferMeta, parent.core) as unknown as MetaInstance | undefined) ?? null;
  }

  /** The pool it is on loan from, or null. */
  get pool(): BufferPool | null {
    const owner = this.core.pool;
    return owner === null ? null : (poolFaces.get(owner) ?? null);
  }

  /** One reference more. */
  ref(): this {
    this.core.retain();
    return this;
  }

  /** One reference less; the last sends a pool's buffer home. Throws `ERR_DOUBLE_RELEASE`, `ERR_MAPPED`. */
  unref(): void {
    this.core.release();
  }

  /** References. */
  get refcount(): number {
    return this.core.refCount;
  }
}
