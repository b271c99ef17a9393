/**
 * The lease half of a buffer: which slot, which generation, times and flags, retain and release. {@link MediaBuffer} adds
 * bytes and metas. Everything here costs a comparison of two small integers to be safe.
 */
import { wholeNumber, wrongType } from "../observe/arguments.ts";
import { MillpondError } from "../observe/errors.ts";
import { sharedBuffer } from "./buffer-bytes.ts";
import * as list from "./buffer-list.ts";
import { freeMetas } from "./buffer-meta.ts";
import type { BufferFlags } from "./flags.ts";
import type { MediaBuffer } from "./media-buffer.ts";
import { type BufferOwner, type BufferSlot, dropLooseSlot, looseSlot, Marks } from "./slot.ts";

/**
 * A handle over one lease of a slot; made as a {@link MediaBuffer} only. Its fields are `declare`d: a plain declaration
 * would define each as undefined first, which costs a third of a whole acquire.
 */
export abstract class BufferLease {
  /** Which lease of its slot this is; another generation there means this handle is stale. */
  declare readonly generation: number;
  /** @internal */
  declare readonly slot: BufferSlot;

  /** An empty buffer of its own. Pools pass a slot; applications pass nothing. */
  constructor(slot: BufferSlot = looseSlot()) {
    this.slot = slot;
    this.generation = slot.generation;
  }

  /** The pool this buffer is on loan from, or null. */
  get pool(): BufferOwner | null {
    return this.live("read").owner;
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

  /** Presentation time in nanoseconds; undefined: none. Setting throws `ERR_NOT_WRITABLE`, `ERR_INVALID_ARG_TYPE`. @realtime */
  get pts(): bigint | undefined {
    return this.live("read").pts;
  }
  set pts(time: bigint | undefined) {
    const slot = this.writable("set pts");
    slot.pts = checkTime("pts", time);
    slot.marks |= Marks.FIELDS;
  }

  /** Decoding time in nanoseconds; as {@link pts}. @realtime */
  get dts(): bigint | undefined {
    return this.live("read").dts;
  }
  set dts(time: bigint | undefined) {
    const slot = this.writable("set dts");
    slot.dts = checkTime("dts", time);
    slot.marks |= Marks.FIELDS;
  }

  /** Duration in nanoseconds; as {@link pts}. @realtime */
  get duration(): bigint | undefined {
    return this.live("read").duration;
  }
  set duration(time: bigint | undefined) {
    const slot = this.writable("set duration");
    slot.duration = checkTime("duration", time);
    slot.marks |= Marks.FIELDS;
  }

  /** Media-specific counter of the first unit (frame number, sample number, byte); undefined: none. @realtime */
  get offset(): bigint | undefined {
    return this.live("read").offset;
  }
  set offset(count: bigint | undefined) {
    const slot = this.writable("set offset");
    slot.offset = checkTime("offset", count);
    slot.marks |= Marks.FIELDS;
  }

  /** Media-specific counter behind the last unit; undefined: none. @realtime */
  get offsetEnd(): bigint | undefined {
    return this.live("read").offsetEnd;
  }
  set offsetEnd(count: bigint | undefined) {
    const slot = this.writable("set offsetEnd");
    slot.offsetEnd = checkTime("offsetEnd", count);
    slot.marks |= Marks.FIELDS;
  }

  /** {@link BufferFlags}. Setting throws `ERR_NOT_WRITABLE`, `ERR_OUT_OF_RANGE`. @realtime */
  get flags(): BufferFlags {
    return this.live("read").flags;
  }
  set flags(flags: BufferFlags) {
    const slot = this.writable("set flags");
    slot.flags = wholeNumber("flags", flags, 0, 0x7fffffff);
    slot.marks |= Marks.FIELDS;
  }

  /** Adds a reference and returns this buffer; with two nobody may change it. @realtime Throws `ERR_USE_AFTER_RELEASE`. */
  retain(): this {
    const slot = this.live("retain");
    if (slot.refCount++ === 1) slot.markShared(1);
    return this;
  }

  /**
   * Gives one reference back; the last one sends a pool's buffer home and frees any other. @realtime for a pool's buffer.
   * Throws `ERR_DOUBLE_RELEASE`, `ERR_MAPPED` (a mapping is live), `ERR_DETACHED`, `ERR_POOL_DEAD`.
   */
  release(): void {
    const { slot } = this;
    if (slot.generation !== this.generation) throw stale(this, "release");
    if (slot.refCount > 1) {
      if (--slot.refCount === 1) slot.markShared(-1);
    } else if (slot.owner !== null) slot.owner.takeBack(slot);
    else freeSlot(this);
  }

  /** @internal Throws what the last release() would throw, before anything is changed. */
  assertReleasable(): void {
    const slot = this.live("release");
    if (slot.refCount === 1) list.assertDroppable(slot, 0, slot.memories.length);
  }

  /** What this buffer is, for messages. */
  toString(): string {
    const { slot } = this;
    const where =
      slot.owner === null ? "" : ` of pool "${slot.owner.name}", slot ${slot.index}, lease ${this.generation}`;
    return `buffer (${this.isLive ? `${list.totalSize(slot)} bytes` : "released"})${where}`;
  }
}

function checkTime(name: string, time: unknown): bigint | undefined {
  if (time !== undefined && typeof time !== "bigint") throw wrongType(name, "a bigint or undefined", time);
  return time;
}

function freeSlot(buffer: BufferLease): void {
  const { slot } = buffer;
  const { memories } = slot;
  list.assertDroppable(slot, 0, memories.length);
  // Bytes go before metas: a meta may hold the very buffer that waits for its bytes to be exclusive again.
  const failure = list.dropMemories(slot, memories);
  if (slot.metas !== null) freeMetas(slot, buffer as unknown as MediaBuffer);
  dropLooseSlot(slot);
  list.finish(failure);
}

/** The error for a handle whose lease is over. */
export function stale(buffer: BufferLease, verb: string): Error {
  const { owner } = buffer.slot;
  if (owner !== null) return owner.staleLease(buffer.slot, buffer.generation, verb);
  const code = verb === "release" ? "ERR_DOUBLE_RELEASE" : "ERR_USE_AFTER_RELEASE";
  return new MillpondError(
    code,
    `cannot ${verb} this buffer: it was already released; retain() it once for each holder`,
  );
}
