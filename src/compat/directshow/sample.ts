/**
 * `IMediaSample2` over MediaBuffer. Times are in units of 100 ns here and in nanoseconds in the core; media times are the
 * core's offset counters. COM references are counted here: the core would call a buffer with two references read-only,
 * which DirectShow does not.
 */
import { BufferFlags } from "../../media/flags.ts";
import type { MediaBuffer } from "../../media/media-buffer.ts";
import type { IMemAllocator } from "./allocator.ts";
import { HRESULTS, HResultError, SampleFlags } from "./codes.ts";

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

/** A sample on loan from an allocator. */
export class MediaSample {
  /** The core's buffer underneath. */
  readonly buffer: MediaBuffer;
  readonly #allocator: IMemAllocator;
  readonly #pointer: Uint8Array;
  #references = 1;
  #mediaType: object | null = null;
  #typeFlags = 0;
  #moreFlags = 0;
  #streamId = 0;

  /** Allocators make samples. */
  constructor(buffer: MediaBuffer, allocator: IMemAllocator) {
    this.buffer = buffer;
    this.#allocator = allocator;
    this.#pointer = buffer.bytes;
  }

  /** The bytes behind the prefix, to the capacity. Throws MillpondError `ERR_USE_AFTER_RELEASE`. */
  GetPointer(): Uint8Array {
    this.buffer.live("read");
    return this.#pointer;
  }

  /** Capacity in bytes. */
  GetSize(): number {
    this.buffer.live("read");
    return this.#pointer.length;
  }

  /** Valid bytes; the capacity at every GetBuffer. */
  GetActualDataLength(): number {
    return this.buffer.size;
  }

  /** Sets the valid bytes. Throws `VFW_E_BUFFER_OVERFLOW` above the capacity or below 0; the old value stays then. */
  SetActualDataLength(length: number): void {
    if (!Number.isInteger(length) || length < 0 || length > this.#pointer.length) {
      throw new HResultError(
        "VFW_E_BUFFER_OVERFLOW",
        `a length of ${length} does not fit into ${this.#pointer.length} bytes`,
      );
    }
    this.buffer.resize(0, length);
  }

  /** The times, with `VFW_S_NO_STOP_TIME` (end = start + 1) when only a start is set. Throws `VFW_E_SAMPLE_TIME_NOT_SET`. */
  GetTime(): { start: bigint; end: bigint; hresult: number } {
    const { pts, duration } = this.buffer;
    if (pts === undefined) throw new HResultError("VFW_E_SAMPLE_TIME_NOT_SET", "the sample has no time");
    const start = pts / UNIT;
    if (duration === undefined) return { start, end: start + 1n, hresult: HRESULTS.VFW_S_NO_STOP_TIME };
    return { start, end: start + duration / UNIT, hresult: HRESULTS.S_OK };
  }

  /** Sets the times, 100 ns; no start clears both, whatever the end is. */
  SetTime(start: bigint | null, end: bigint | null): void {
    const hasEnd = start !== null && end !== null;
    this.buffer.pts = start === null ? undefined : start * UNIT;
    this.buffer.duration = hasEnd ? (end - start) * UNIT : undefined;
  }

  /** The media times. Throws `VFW_E_MEDIA_TIME_NOT_SET`. */
  GetMediaTime(): { start: bigint; end: bigint } {
    const { offset, offsetEnd } = this.buffer;
    if (offset === undefined || offsetEnd === undefined) {
      throw new HResultError("VFW_E_MEDIA_TIME_NOT_SET", "the sample has no media time");
    }
    return { start: offset, end: offsetEnd };
  }

  /** Sets the media times; no start clears them. Throws `E_POINTER` for a start without an end. */
  SetMediaTime(start: bigint | null, end: bigint | null): void {
    if (start !== null && end === null) throw new HResultError("E_POINTER", "a media time has an end");
    this.buffer.offset = start ?? undefined;
    this.buffer.offsetEnd = start === null ? undefined : (end ?? undefined);
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
    return (this.buffer.flags & flag) !== 0;
  }

  #set(flag: number, on: boolean): void {
    this.buffer.flags = on ? this.buffer.flags | flag : this.buffer.flags & ~flag;
  }

  /** A copy of the attached media type, or null. */
  GetMediaType(): object | null {
    this.buffer.live("read");
    return this.#mediaType === null ? null : structuredClone(this.#mediaType);
  }

  /** Attaches a copy of a media type; null takes it away. */
  SetMediaType(type: object | null): void {
    this.buffer.live("change");
    this.#mediaType = type === null ? null : structuredClone(type);
  }

  /** All properties at once. `pMediaType` is the attached type itself. */
  GetProperties(): SampleProperties {
    const { pts, duration } = this.buffer;
    const tStart = (pts ?? 0n) / UNIT;
    return {
      dwTypeSpecificFlags: this.#typeFlags,
      dwSampleFlags: this.#sampleFlags(),
      lActual: this.buffer.size,
      tStart,
      tStop: tStart + (duration ?? 0n) / UNIT,
      dwStreamId: this.#streamId,
      pMediaType: this.#mediaType,
      pbBuffer: this.#pointer,
      cbBuffer: this.#pointer.length,
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
   * Sets the present fields, all or none. Throws `E_INVALIDARG` for reserved flags, for a raised TIMEVALID without a time, for
   * another buffer or capacity, for a length beyond the capacity; `E_POINTER` for TYPECHANGED without a type.
   */
  SetProperties(properties: Partial<SampleProperties>): void {
    const { dwSampleFlags: flags, lActual, tStart, tStop, pMediaType } = properties;
    this.#check(properties);
    if (flags !== undefined) this.#applyFlags(flags);
    if (lActual !== undefined) this.buffer.resize(0, lActual);
    this.#applyTimes(flags, tStart, tStop);
    if (properties.dwTypeSpecificFlags !== undefined) this.#typeFlags = properties.dwTypeSpecificFlags;
    if (properties.dwStreamId !== undefined) this.#streamId = properties.dwStreamId;
    if (pMediaType !== undefined) this.SetMediaType(pMediaType);
  }

  #check(properties: Partial<SampleProperties>): void {
    const { dwSampleFlags: flags, lActual, tStop, pMediaType, pbBuffer, cbBuffer } = properties;
    const capacity = this.GetSize();
    const refuse = (what: string): never => {
      throw new HResultError("E_INVALIDARG", what);
    };
    if (flags !== undefined && (!Number.isInteger(flags) || (flags & ~SETTABLE) !== 0))
      refuse(`flags ${flags} are reserved`);
    const raisesTime = flags !== undefined && (flags & SampleFlags.TIMEVALID) !== 0 && this.buffer.pts === undefined;
    if (raisesTime && tStop === undefined) refuse("a time becomes valid without its fields");
    if (pbBuffer !== undefined && pbBuffer !== null && pbBuffer !== this.#pointer)
      refuse("the buffer cannot be changed");
    if (cbBuffer !== undefined && cbBuffer !== 0 && cbBuffer !== capacity) refuse("the capacity cannot be changed");
    if (lActual !== undefined && (!Number.isInteger(lActual) || lActual < 0 || lActual > capacity)) {
      refuse(`a length of ${lActual} does not fit into ${capacity} bytes`);
    }
    const raisesType = flags !== undefined && (flags & SampleFlags.TYPECHANGED) !== 0;
    if (raisesType && (pMediaType ?? this.#mediaType) === null) {
      throw new HResultError("E_POINTER", "TYPECHANGED needs a media type");
    }
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

  /** One reference more; returns the count. Throws MillpondError `ERR_USE_AFTER_RELEASE`. */
  AddRef(): number {
    this.buffer.live("AddRef");
    return ++this.#references;
  }

  /** One reference less; at 0 the sample goes home. Returns the count. Throws MillpondError `ERR_DOUBLE_RELEASE`. */
  Release(): number {
    this.buffer.live("release");
    if (this.#references > 1) return --this.#references;
    this.#allocator.ReleaseBuffer(this);
    this.#references = 0;
    return 0;
  }
}

/** The sample's contract. */
export type IMediaSample = MediaSample;
