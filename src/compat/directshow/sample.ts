/**
 * `IMediaSample2` over MediaBuffer. Times are in units of 100 ns here and in nanoseconds in the core; media times are
 * the core's offset counters. COM references are counted here: the core would call a buffer with two references
 * read-only, which DirectShow does not.
 */
import { BufferFlags } from "../../media/buffer/flags.ts";
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import type { Memory } from "../../memory/memory.ts";
import { show } from "../../util/validate.ts";
import { inDoor, MAKE } from "../door-error.ts";
import type { IMemAllocator } from "./allocator.ts";
import { checkFields, HRESULTS, HResultError, released, SampleFlags, translated } from "./codes.ts";
import { type IUnknown, queryInterface } from "./unknown.ts";

/** The bulk properties (AM_SAMPLE2_PROPERTIES); in `SetProperties` an absent field is left alone. */
export interface SampleProperties {
  /** Media-specific flags. */
  dwTypeSpecificFlags: number;
  /** {@link SampleFlags}. */
  dwSampleFlags: number;
  /** Valid bytes. */
  lActual: number;
  /** Start time, 100 ns. */
  tStart: bigint;
  /** Stop time, 100 ns. */
  tStop: bigint;
  /** Which stream. */
  dwStreamId: number;
  /** The attached media type itself, not a copy. */
  pMediaType: object | null;
  /** The bytes. */
  pbBuffer: Uint8Array | null;
  /** Capacity in bytes. */
  cbBuffer: number;
}

/** Core flag of a sync point; DirectShow marks key frames, the core marks the others. */
const SYNC_POINT = BufferFlags.FIRST_CUSTOM;

/** Nanoseconds in a unit of reference time. */
const UNIT = 100n;

/** Flags that SetProperties accepts; 0x20 is internal, ENDOFSTREAM reserved. */
const SETTABLE = 0x1ff & ~0x20;

let make: (buffer: MediaBuffer, allocator: IMemAllocator) => MediaSample;
let end: (sample: MediaSample) => void;
let count: (sample: MediaSample) => number;
let isOurs: (value: unknown) => value is MediaSample;

/** A sample that an allocator gave out; `GetBuffer` makes it, and nothing else. */
export class MediaSample implements IUnknown {
  /** The core's buffer underneath. */
  readonly buffer: MediaBuffer;
  readonly #allocator: IMemAllocator;
  /** The bytes to the capacity, of {@link #memory}. */
  #pointer: Uint8Array;
  /** What they belong to; copy on write gives the buffer another one. */
  #memory: Memory | undefined;
  /** The capacity that it was given with. */
  readonly #full: number;
  #references = 1;
  #mediaType: object | null = null;
  #typeFlags = 0;
  #moreFlags = 0;
  #streamId = 0;

  private constructor(key: symbol, buffer: MediaBuffer, allocator: IMemAllocator) {
    if (key !== MAKE) throw new HResultError("E_NOTIMPL", "new MediaSample() makes no usable sample; call GetBuffer()");
    this.buffer = buffer;
    this.#allocator = allocator;
    this.#pointer = buffer.bytes;
    this.#memory = buffer.live("read").memories[0];
    this.#full = this.#pointer.length;
  }

  static {
    make = (buffer, allocator) => new MediaSample(MAKE, buffer, allocator);
    count = (sample) => sample.#references;
    end = (sample) => {
      sample.#references = 0;
    };
    isOurs = (value): value is MediaSample => typeof value === "object" && value !== null && #pointer in value;
  }

  /** Interfaces: IUnknown, IMediaSample, IMediaSample2. Throws `E_NOINTERFACE`, `E_POINTER`. */
  QueryInterface(iid: string): this {
    return queryInterface(this, iid, ["IMediaSample", "IMediaSample2"]);
  }

  /** One reference more; returns the count. Throws `ERR_USE_AFTER_RELEASE`. */
  AddRef(): number {
    this.#read("AddRef");
    return ++this.#references;
  }

  /** One reference less; at 0 the sample goes back to its allocator. Returns the count. Throws `ERR_DOUBLE_RELEASE`. */
  Release(): number {
    if (this.#references === 0) throw released("Release", String(this));
    if (this.#references > 1) return --this.#references;
    this.#allocator.ReleaseBuffer(this);
    this.#references = 0;
    return 0;
  }

  /** What this sample is. */
  toString(): string {
    const { slot, generation } = this.buffer;
    const state = this.#references === 0 ? "released" : `${this.#references} references`;
    return `sample ${generation} of buffer ${slot.index} of ${slot.pool?.name ?? "no allocator"} (${state})`;
  }

  /** The buffer, while this sample has it. */
  #read(call: string): MediaBuffer {
    if (this.#references === 0) throw released(call, String(this));
    return this.#guard(call, () => {
      this.buffer.live("read");
      return this.buffer;
    });
  }

  #guard<T>(call: string, change: () => T): T {
    return inDoor(change, (cause) => translated(call, String(this), cause));
  }

  /**
   * The bytes behind the prefix, to the capacity. They are the sample's own: where a copy of its buffer shares them,
   * the sample gets others first (copy on write), and an older pointer is the copy's from then on. Throws
   * `ERR_USE_AFTER_RELEASE`, as every method after the last Release, and what a copy of the bytes throws.
   */
  GetPointer(): Uint8Array {
    return this.#own("GetPointer");
  }

  /** The pointer of the memory that the buffer has now, which is made its own where others hold it too. */
  #own(call: string): Uint8Array {
    const buffer = this.#read(call);
    const { memories, refCount } = buffer.live("read");
    const [memory] = memories;
    // With several references all of them are holders of this sample, and see the same bytes.
    if (memories.length === 1 && memory === this.#memory && (refCount > 1 || memory!.isExclusive)) return this.#pointer;
    return this.#guard(call, () => {
      if (refCount === 1) ownBytes(buffer, this.#capacity(buffer));
      return this.#point(buffer);
    });
  }

  /** Takes the pointer anew; empty where the buffer has not exactly one memory that can be read directly. */
  #point(buffer: MediaBuffer): Uint8Array {
    const { memories } = buffer.live("read");
    const memory = memories.length === 1 ? memories[0] : undefined;
    const length = this.#capacity(buffer);
    if (memory !== this.#memory || this.#pointer.length !== length) {
      this.#memory = memory;
      const start = memory?.offset ?? 0;
      this.#pointer = memory?.region.bytes.subarray(start, start + length) ?? this.#pointer.subarray(0, 0);
    }
    return this.#pointer;
  }

  /** Bytes that the buffer has room for, as far as they were the sample's from the start. */
  #capacity(buffer: MediaBuffer): number {
    const { memories } = buffer.live("read");
    if (memories.length === 1 && memories[0] === this.#memory) return this.#pointer.length;
    const { maxSize, offset } = buffer.getSizes();
    return Math.min(maxSize - offset, this.#full);
  }

  /** Capacity in bytes. */
  GetSize(): number {
    return this.#capacity(this.#read("GetSize"));
  }

  /** Valid bytes; the capacity at every GetBuffer. */
  GetActualDataLength(): number {
    return this.#read("GetActualDataLength").size;
  }

  /** Sets the valid bytes. Throws `VFW_E_BUFFER_OVERFLOW` above the capacity or below 0; the old value stays then. */
  SetActualDataLength(length: number): void {
    const buffer = this.#read("SetActualDataLength");
    const capacity = this.#capacity(buffer);
    if (!Number.isInteger(length) || length < 0 || length > capacity) {
      const text = `a length of ${show(length)} does not fit into ${capacity} bytes`;
      throw new HResultError("VFW_E_BUFFER_OVERFLOW", text);
    }
    this.#guard("SetActualDataLength", () => buffer.resize(0, length));
  }

  /**
   * The times, with `VFW_S_NO_STOP_TIME` (end = start + 1) when only a start is set. Throws
   * `VFW_E_SAMPLE_TIME_NOT_SET`.
   */
  GetTime(): { start: bigint; end: bigint; hresult: number } {
    const { pts, duration } = this.#read("GetTime");
    if (pts === undefined) throw new HResultError("VFW_E_SAMPLE_TIME_NOT_SET", "the sample has no time; SetTime() it");
    const start = pts / UNIT;
    if (duration === undefined) return { start, end: start + 1n, hresult: HRESULTS.VFW_S_NO_STOP_TIME };
    return { start, end: start + duration / UNIT, hresult: HRESULTS.S_OK };
  }

  /** Sets the times, 100 ns; no start clears both, whatever the end is. Throws `E_INVALIDARG`. */
  SetTime(start: bigint | null, end: bigint | null): void {
    const [from, to] = [time("SetTime", "start", start), time("SetTime", "end", end)];
    const buffer = this.#read("SetTime");
    this.#guard("SetTime", () => {
      buffer.pts = from === null ? undefined : from * UNIT;
      buffer.duration = from === null || to === null ? undefined : (to - from) * UNIT;
    });
  }

  /** The media times. Throws `VFW_E_MEDIA_TIME_NOT_SET`. */
  GetMediaTime(): { start: bigint; end: bigint } {
    const { offset, offsetEnd } = this.#read("GetMediaTime");
    if (offset === undefined || offsetEnd === undefined) {
      throw new HResultError("VFW_E_MEDIA_TIME_NOT_SET", "the sample has no media time; SetMediaTime() it");
    }
    return { start: offset, end: offsetEnd };
  }

  /** Sets the media times; no start clears them. Throws `E_POINTER` for a start without an end, `E_INVALIDARG`. */
  SetMediaTime(start: bigint | null, end: bigint | null): void {
    const [from, to] = [time("SetMediaTime", "start", start), time("SetMediaTime", "end", end)];
    if (from !== null && to === null) throw new HResultError("E_POINTER", "SetMediaTime(): a start needs an end");
    const buffer = this.#read("SetMediaTime");
    this.#guard("SetMediaTime", () => {
      buffer.offset = from ?? undefined;
      buffer.offsetEnd = from === null ? undefined : (to ?? undefined);
    });
  }

  /** Whether decoding can begin here. */
  IsSyncPoint(): boolean {
    return this.#has(SYNC_POINT);
  }

  /** Sets {@link IsSyncPoint}. */
  SetSyncPoint(on: boolean): void {
    this.#set(SYNC_POINT, on);
  }

  /** Whether it is decoded but not shown. */
  IsPreroll(): boolean {
    return this.#has(BufferFlags.DECODE_ONLY);
  }

  /** Sets {@link IsPreroll}. */
  SetPreroll(on: boolean): void {
    this.#set(BufferFlags.DECODE_ONLY, on);
  }

  /** Whether the stream breaks off before it. */
  IsDiscontinuity(): boolean {
    return this.#has(BufferFlags.DISCONT);
  }

  /** Sets {@link IsDiscontinuity}. */
  SetDiscontinuity(on: boolean): void {
    this.#set(BufferFlags.DISCONT, on);
  }

  #has(flag: number): boolean {
    return (this.#read("IMediaSample::flags").flags & flag) !== 0;
  }

  #set(flag: number, on: boolean): void {
    if (typeof on !== "boolean") {
      throw new HResultError("E_INVALIDARG", `a sample's flag must be true or false, but it is ${show(on)}`);
    }
    const buffer = this.#read("IMediaSample::flags");
    this.#guard("IMediaSample::flags", () => {
      buffer.flags = on ? buffer.flags | flag : buffer.flags & ~flag;
    });
  }

  /** A copy of the attached media type, or null. */
  GetMediaType(): object | null {
    this.#read("GetMediaType");
    return copyOf(this.#mediaType);
  }

  /**
   * Attaches a copy of a media type; null, or nothing, takes it away. Throws `E_INVALIDARG` for what cannot be copied.
   */
  SetMediaType(type?: object | null): void {
    this.#read("SetMediaType");
    this.#mediaType = copyOf(type ?? null);
  }

  /** All properties at once. `pMediaType` is the attached type itself. */
  GetProperties(): SampleProperties {
    const pointer = this.#own("GetProperties");
    const { pts, duration, size } = this.buffer;
    const tStart = (pts ?? 0n) / UNIT;
    return {
      dwTypeSpecificFlags: this.#typeFlags,
      dwSampleFlags: this.#sampleFlags(),
      lActual: size,
      tStart,
      tStop: tStart + (duration ?? 0n) / UNIT,
      dwStreamId: this.#streamId,
      pMediaType: this.#mediaType,
      pbBuffer: pointer,
      cbBuffer: pointer.length,
    };
  }

  #sampleFlags(): number {
    const bit = (on: boolean, flag: number): number => (on ? flag : 0);
    return (
      bit(this.IsSyncPoint(), SampleFlags.SPLICEPOINT) |
      bit(this.IsPreroll(), SampleFlags.PREROLL) |
      bit(this.IsDiscontinuity(), SampleFlags.DATADISCONTINUITY) |
      bit(this.#mediaType !== null, SampleFlags.TYPECHANGED) |
      bit(this.buffer.pts !== undefined, SampleFlags.TIMEVALID) |
      bit(this.buffer.duration !== undefined, SampleFlags.STOPVALID) |
      this.#moreFlags
    );
  }

  /**
   * Sets the present fields, all or none. A media type attaches with the TYPECHANGED bit only; clearing the bit takes
   * none away. Throws `E_INVALIDARG` for reserved flags, for a raised TIMEVALID without a time, for another buffer or
   * capacity, for a length beyond the capacity, for a field of another type; `E_POINTER` for no properties and for
   * TYPECHANGED without a type.
   */
  SetProperties(properties: Partial<SampleProperties>): void {
    if (properties === null || typeof properties !== "object") {
      throw new HResultError("E_POINTER", "SetProperties(): the properties are missing");
    }
    const buffer = this.#read("SetProperties");
    checkFields("AM_SAMPLE2_PROPERTIES", properties, FIELDS);
    const own = { ...properties };
    const { dwSampleFlags: flags, lActual, tStart, tStop } = own;
    const type = this.#check(own);
    this.#guard("SetProperties", () => {
      if (lActual !== undefined) buffer.resize(0, lActual);
      if (flags !== undefined) this.#applyFlags(flags);
      this.#applyTimes(flags, tStart, tStop);
    });
    if (own.dwTypeSpecificFlags !== undefined) this.#typeFlags = own.dwTypeSpecificFlags;
    if (own.dwStreamId !== undefined) this.#streamId = own.dwStreamId;
    if (type !== null) this.#mediaType = type;
  }

  /** Checks all fields; answers a copy of the media type that is to be attached, or null. */
  #check(properties: Partial<SampleProperties>): object | null {
    const { dwSampleFlags: flags, lActual, tStart, tStop, pMediaType, pbBuffer, cbBuffer } = properties;
    const capacity = this.#capacity(this.buffer);
    const refuse = (what: string): never => {
      throw new HResultError("E_INVALIDARG", `SetProperties(): ${what}`);
    };
    if (flags !== undefined && (!Number.isInteger(flags) || (flags & ~SETTABLE) !== 0))
      refuse(`dwSampleFlags ${show(flags)} are reserved`);
    for (const name of ["dwTypeSpecificFlags", "dwStreamId"] as const) {
      const value = properties[name];
      if (value !== undefined && !Number.isInteger(value))
        refuse(`${name} must be a whole number, but it is ${show(value)}`);
    }
    for (const [name, value] of Object.entries({ tStart, tStop })) {
      if (value === undefined) continue;
      if (typeof value !== "bigint") refuse(`${name} must be a bigint, but it is ${show(value)}`);
      time("SetProperties", name, value);
    }
    const raises = (flag: number): boolean => flags !== undefined && (flags & flag) !== 0;
    if (raises(SampleFlags.TIMEVALID) && this.buffer.pts === undefined && tStop === undefined) {
      refuse("TIMEVALID is raised without tStart and tStop");
    }
    if (pMediaType !== undefined && typeof pMediaType !== "object") {
      refuse(`pMediaType must be an object or null, but it is ${show(pMediaType)}`);
    }
    if (pbBuffer !== undefined && pbBuffer !== null && pbBuffer !== this.#point(this.buffer))
      refuse("pbBuffer cannot be changed");
    if (cbBuffer !== undefined && cbBuffer !== 0 && cbBuffer !== capacity) {
      refuse(`cbBuffer is ${capacity} and cannot be ${show(cbBuffer)}`);
    }
    if (lActual !== undefined && (!Number.isInteger(lActual) || lActual < 0 || lActual > capacity)) {
      refuse(`lActual ${show(lActual)} does not fit into ${capacity} bytes`);
    }
    if (!raises(SampleFlags.TYPECHANGED)) return null;
    if (pMediaType === null || (pMediaType ?? this.#mediaType) === null) {
      throw new HResultError("E_POINTER", "SetProperties(): TYPECHANGED needs a pMediaType");
    }
    return copyOf(pMediaType ?? null);
  }

  #applyFlags(flags: number): void {
    this.SetSyncPoint((flags & SampleFlags.SPLICEPOINT) !== 0);
    this.SetPreroll((flags & SampleFlags.PREROLL) !== 0);
    this.SetDiscontinuity((flags & SampleFlags.DATADISCONTINUITY) !== 0);
    this.#moreFlags = flags & (SampleFlags.TIMEDISCONTINUITY | SampleFlags.FLUSH_ON_PAUSE);
  }

  #applyTimes(flags: number | undefined, tStart: bigint | undefined, tStop: bigint | undefined): void {
    const valid = flags ?? this.#sampleFlags();
    if ((valid & SampleFlags.TIMEVALID) === 0) {
      if (flags !== undefined) this.SetTime(null, null);
      return;
    }
    if (flags === undefined && tStart === undefined && tStop === undefined) return;
    const now = this.GetProperties();
    const hasStop = (valid & SampleFlags.STOPVALID) !== 0;
    this.SetTime(tStart ?? now.tStart, hasStop ? (tStop ?? now.tStop) : null);
  }
}

/**
 * Gives a buffer one memory of its own, with room for `capacity` bytes, where it has several or shares it. O(size).
 */
function ownBytes(buffer: MediaBuffer, capacity: number): void {
  if (buffer.memoryCount === 0) return;
  const length = Math.min(buffer.size, capacity);
  buffer.resize(0, capacity);
  try {
    buffer.map("readwrite").unmap();
  } finally {
    buffer.resize(0, length);
  }
}

/** For allocators: a sample over a buffer of theirs. */
export const makeSample: (buffer: MediaBuffer, allocator: IMemAllocator) => MediaSample = make;

/** For allocators: the sample has no reference any more. */
export const endSample: (sample: MediaSample) => void = end;

/** For allocators: references of a sample. */
export const referencesOf: (sample: MediaSample) => number = count;

/** True for a sample that an allocator made. */
export const isSample: (value: unknown) => value is MediaSample = isOurs;

const FIELDS: readonly (keyof SampleProperties)[] = [
  "dwTypeSpecificFlags",
  "dwSampleFlags",
  "lActual",
  "tStart",
  "tStop",
  "dwStreamId",
  "pMediaType",
  "pbBuffer",
  "cbBuffer",
];

/** A time in units of 100 ns (signed 64-bit), or null. Throws `E_INVALIDARG`. */
function time(call: string, name: string, value: bigint | null): bigint | null {
  if (value === null) return null;
  if (typeof value === "bigint") {
    if (BigInt.asIntN(64, value) === value) return value;
    throw new HResultError("E_INVALIDARG", `${call}(): ${name} must fit into 64 bits, but it is ${show(value)}`);
  }
  throw new HResultError("E_INVALIDARG", `${call}(): ${name} must be a bigint or null, but it is ${show(value)}`);
}

/** A deep copy of a media type. Throws `E_INVALIDARG`. */
function copyOf(type: object | null): object | null {
  if (type === null) return null;
  if (typeof type !== "object") {
    throw new HResultError("E_INVALIDARG", `the media type must be an object or null, but it is ${show(type)}`);
  }
  try {
    return structuredClone(type);
  } catch (cause) {
    throw new HResultError("E_INVALIDARG", "the media type has a field that cannot be copied", { cause });
  }
}

/** The sample's contract. */
export type IMediaSample = MediaSample;
