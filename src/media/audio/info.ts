/**
 * AudioInfo: how one block of audio lies in its bytes, and how long it lasts. The sample formats are those of
 * WebCodecs.
 *
 * ```ts
 * const info = AudioInfo.of({ format: "f32-planar", sampleRate: 48_000, channels: 2, frames: 960 });
 * info.size;     // 7680 bytes
 * info.duration; // 20000000n ns
 * ```
 */
import { badValue, checkOptions, wholeNumber, wrongType } from "../../util/validate.ts";
import { checkPlane } from "../video/plane-check.ts";

/** The sample formats, by their WebCodecs names; a planar one has one plane for each channel. */
export type AudioSampleFormat = `${"u8" | "s16" | "s32" | "f32"}${"" | "-planar"}`;

/** What {@link AudioInfo.of} takes. */
export interface AudioInfoOptions {
  /** A WebCodecs sample format. */
  format: AudioSampleFormat;
  /** Frames a second, 1 to 768,000. */
  sampleRate: number;
  /** Channels, 1 to 64. */
  channels: number;
  /** Frames in the block (one frame = one sample of every channel). */
  frames: number;
}

/** One plane of an audio block. */
export interface AudioPlane {
  /** First byte of the plane. */
  readonly offset: number;
  /** Bytes of the plane. */
  readonly size: number;
}

const SAMPLE_BYTES: Readonly<Record<string, number>> = { u8: 1, s16: 2, s32: 4, f32: 4 };

/** 768 kHz: the highest rate that any audio interface or file format in use has. */
const MAX_RATE = 768_000;

/** 64: more than 22.2 surround and third-order ambisonics need. */
const MAX_CHANNELS = 64;

/** 2^32 frames are a day at 48 kHz; the product with 256 bytes a frame stays far below 2^53. */
const MAX_FRAMES = 2 ** 32;

/** The layout of one audio block; immutable. */
export class AudioInfo {
  /** The sample format's name. */
  readonly format: AudioSampleFormat;
  /** Frames a second. */
  readonly sampleRate: number;
  /** Channels. */
  readonly channels: number;
  /** Frames in the block. */
  readonly frames: number;
  /** Bytes of one sample of one channel. */
  readonly bytesPerSample: number;
  /** Bytes of one frame: `bytesPerSample * channels`. */
  readonly bytesPerFrame: number;
  /** Bytes of the block. */
  readonly size: number;
  /** The planes: one, or one for each channel. */
  readonly planes: readonly AudioPlane[];

  private constructor(format: AudioSampleFormat, sampleRate: number, channels: number, frames: number) {
    this.format = format;
    this.sampleRate = sampleRate;
    this.channels = channels;
    this.frames = frames;
    this.bytesPerSample = SAMPLE_BYTES[format.replace("-planar", "")]!;
    this.bytesPerFrame = this.bytesPerSample * channels;
    this.size = this.bytesPerFrame * frames;
    const size = this.isPlanar ? this.bytesPerSample * frames : this.size;
    const count = this.isPlanar ? channels : 1;
    this.planes = Object.freeze(Array.from({ length: count }, (_, i) => Object.freeze({ offset: i * size, size })));
    Object.freeze(this);
  }

  /**
   * Lays out a block; O(planes). Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` (unknown format),
   * `ERR_OUT_OF_RANGE`.
   */
  static of(options: AudioInfoOptions): AudioInfo {
    if (options === undefined) throw wrongType("options", "a plain object", options);
    const given = checkOptions("options", options, ["format", "sampleRate", "channels", "frames"]);
    const { format } = given;
    if (typeof format !== "string") throw wrongType("options.format", "the name of a sample format", format);
    if (!/^(u8|s16|s32|f32)(-planar)?$/.test(format)) {
      throw badValue("options.format", "u8, s16, s32 or f32, or one of them with -planar", format);
    }
    const sampleRate = wholeNumber("options.sampleRate", given.sampleRate, 1, MAX_RATE);
    const channels = wholeNumber("options.channels", given.channels, 1, MAX_CHANNELS);
    return new AudioInfo(format, sampleRate, channels, wholeNumber("options.frames", given.frames, 0, MAX_FRAMES));
  }

  /** True when each channel has a plane of its own. */
  get isPlanar(): boolean {
    return this.format.endsWith("-planar");
  }

  /**
   * How long the block lasts, in nanoseconds, rounded down (so that a sum of blocks never runs ahead of its samples).
   */
  get duration(): bigint {
    return this.durationOf(this.frames);
  }

  /**
   * How long `frames` frames last, in nanoseconds: `floor(frames * 10^9 / sampleRate)`, exact up to 2^53 - 1 frames.
   * For timestamps pass the frames since the start: a sum of rounded durations falls behind by up to 1 ns a block.
   * Throws `ERR_INVALID_ARG_TYPE` and `ERR_OUT_OF_RANGE`.
   */
  durationOf(frames: number): bigint {
    return (BigInt(wholeNumber("frames", frames)) * 1_000_000_000n) / BigInt(this.sampleRate);
  }

  /** Bytes that `frames` frames take, all channels. Throws `ERR_INVALID_ARG_TYPE` and `ERR_OUT_OF_RANGE`. @realtime */
  bytesFor(frames: number): number {
    return wholeNumber("frames", frames, 0, MAX_FRAMES) * this.bytesPerFrame;
  }

  /** Whole frames in `bytes` bytes, rounded down. Throws `ERR_INVALID_ARG_TYPE` and `ERR_OUT_OF_RANGE`. @realtime */
  framesIn(bytes: number): number {
    return Math.floor(wholeNumber("bytes", bytes) / this.bytesPerFrame);
  }

  /**
   * The bytes of one plane of a block that starts at the beginning of `bytes`: a new view, no copy. O(1).
   * Throws `ERR_INVALID_ARG_TYPE` (no Uint8Array) and `ERR_OUT_OF_RANGE` (no such plane, or `bytes` is too short).
   */
  plane(bytes: Uint8Array, index: number): Uint8Array {
    checkPlane(this, bytes, index);
    const { offset, size } = this.planes[index]!;
    return bytes.subarray(offset, offset + size);
  }

  /** True when both describe the same block; a structured clone equals it too, anything else is false. @realtime */
  equals(other: AudioInfo | null | undefined): boolean {
    return (
      other?.format === this.format &&
      other.sampleRate === this.sampleRate &&
      other.channels === this.channels &&
      other.frames === this.frames
    );
  }

  /** `f32-planar 48000 Hz x 2, 960 frames (7680 bytes)`. */
  toString(): string {
    return `${this.format} ${this.sampleRate} Hz x ${this.channels}, ${this.frames} frames (${this.size} bytes)`;
  }
}
