/**
 * What flows through a pad, exactly: a picture layout, an audio block layout, or plain bytes. A {@link StreamFormat} is one
 * settled format; a set of formats that a pad could take is a `Caps`.
 */
import { AudioInfo } from "../media/audio/info.ts";
import { VideoInfo } from "../media/video/info.ts";
import { sameData } from "../util/same-data.ts";
import { wholeNumber, wrongType } from "../util/validate.ts";

/** A ratio of two whole numbers, such as a frame rate of 30000/1001. */
export interface Fraction {
  /** Above the line. */
  readonly num: number;
  /** Below the line, at least 1. */
  readonly den: number;
}

/** How stored pixels become the picture that is shown; absent fields: upright, square, as the height suggests, 16 to 235. */
export interface VideoPresentation {
  /** Degrees clockwise to turn the stored picture by. */
  readonly rotation?: 0 | 90 | 180 | 270;
  /** Mirrored left to right after that. */
  readonly flip?: boolean;
  /** Width of a pixel over its height. */
  readonly pixelAspect?: number;
  /** Colour matrix by its WebCodecs name. */
  readonly matrix?: string | undefined;
  /** Luma uses 0 to 255. */
  readonly fullRange?: boolean;
}

/** The caps feature of bytes that every stage can map; what a format without `memory` is in. */
export const SYSTEM_MEMORY = "memory:SystemMemory";

/** What every format may say. */
export interface FormatOptions {
  /** The caps feature that says what kind of memory the bytes are in: "memory:DMABuf"; absent: {@link SYSTEM_MEMORY}. */
  memory?: string | undefined;
}

/** Pictures of one layout. */
export interface VideoStream {
  /** Which of the three. */
  readonly kind: "video";
  /** The layout of each picture. */
  readonly info: VideoInfo;
  /** Pictures a second, all equally long; absent: unknown or variable. */
  readonly frameRate?: Fraction | undefined;
  /** Pictures a second on average, where the times vary or are not known well enough for {@link frameRate}. */
  readonly averageRate?: Fraction | undefined;
  /** True where the times are known to vary. */
  readonly isVariable?: boolean | undefined;
  /** How they are shown. */
  readonly presentation?: VideoPresentation | undefined;
  /** What kind of memory the bytes are in; absent: {@link SYSTEM_MEMORY}. */
  readonly memory?: string | undefined;
}

/** Blocks of audio of one layout. */
export interface AudioStream {
  /** Which of the three. */
  readonly kind: "audio";
  /** The layout of each block; the last one may be shorter. */
  readonly info: AudioInfo;
  /** What kind of memory the bytes are in; absent: {@link SYSTEM_MEMORY}. */
  readonly memory?: string | undefined;
}

/** Bytes without a layout: a file, packets. */
export interface ByteStream {
  /** Which of the three. */
  readonly kind: "bytes";
  /** Bytes of the largest block. */
  readonly size: number;
  /** What they are, as a media type or a codec's name; absent: unknown. */
  readonly type?: string | undefined;
  /** What kind of memory the bytes are in; absent: {@link SYSTEM_MEMORY}. */
  readonly memory?: string | undefined;
}

/** One settled format. Plain data, except for the immutable infos. */
export type StreamFormat = VideoStream | AudioStream | ByteStream;

/** Pictures of that layout. Throws `ERR_INVALID_ARG_TYPE`. */
export function videoFormat(
  info: VideoInfo,
  more: FormatOptions & {
    frameRate?: Fraction | undefined;
    averageRate?: Fraction | undefined;
    isVariable?: boolean | undefined;
    presentation?: VideoPresentation | undefined;
  } = {},
): VideoStream {
  if (!(info instanceof VideoInfo)) throw wrongType("info", "a VideoInfo", info);
  checkMemory(more.memory);
  return Object.freeze({ kind: "video", info, ...more });
}

/** Blocks of audio of that layout. Throws `ERR_INVALID_ARG_TYPE`. */
export function audioFormat(info: AudioInfo, more: FormatOptions = {}): AudioStream {
  if (!(info instanceof AudioInfo)) throw wrongType("info", "an AudioInfo", info);
  return Object.freeze({ kind: "audio", info, ...memoryField(more) });
}

/** Blocks of at most `size` bytes. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. */
export function byteFormat(size: number, type?: string, more: FormatOptions = {}): ByteStream {
  return Object.freeze({ kind: "bytes", size: wholeNumber("size", size, 1), type, ...memoryField(more) });
}

function memoryField({ memory }: FormatOptions): FormatOptions {
  checkMemory(memory);
  return memory === undefined ? {} : { memory };
}

function checkMemory(memory: unknown): void {
  if (memory === undefined || (typeof memory === "string" && memory.startsWith("memory:"))) return;
  throw wrongType("memory", 'the name of a caps feature, such as "memory:DMABuf"', memory);
}

/** Checks one settled format: its kind, and the layout that goes with it. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. */
export function checkFormat(name: string, format: StreamFormat): StreamFormat {
  if (format?.kind === "video" && format.info instanceof VideoInfo) return format;
  if (format?.kind === "audio" && format.info instanceof AudioInfo) return format;
  if (format?.kind !== "bytes")
    throw wrongType(name, "a format of videoFormat(), audioFormat() or byteFormat()", format);
  wholeNumber(`${name}.size`, format.size, 1);
  return format;
}

/** The caps feature that says what kind of memory a format's bytes are in. */
export function memoryOfFormat(format: StreamFormat): string {
  return format.memory ?? SYSTEM_MEMORY;
}

/** Bytes that one buffer of the format needs. O(1). Throws `ERR_INVALID_ARG_TYPE`. */
export function sizeOfFormat(format: StreamFormat): number {
  checkFormat("format", format);
  return format.kind === "bytes" ? format.size : format.info.size;
}

/** True when buffers of both mean the same: nothing has to be negotiated anew. Throws `ERR_INVALID_ARG_TYPE`. */
export function sameFormat(a: StreamFormat | null, b: StreamFormat | null): boolean {
  if (a === b) return true;
  if (a !== null) checkFormat("a", a);
  if (b !== null) checkFormat("b", b);
  if (a === null || b === null || a.kind !== b.kind || memoryOfFormat(a) !== memoryOfFormat(b)) return false;
  if (a.kind === "bytes") return a.size === (b as ByteStream).size && a.type === (b as ByteStream).type;
  if (a.kind === "audio") return a.info.equals((b as AudioStream).info);
  const other = b as VideoStream;
  return (
    a.info.equals(other.info) &&
    sameFraction(a.frameRate, other.frameRate) &&
    (a.presentation === other.presentation || sameData(a.presentation ?? {}, other.presentation ?? {}))
  );
}

/** Equality of ratios, not of their terms: 50/2 is 25/1. */
export function sameFraction(a: Fraction | undefined, b: Fraction | undefined): boolean {
  if (a === b) return true;
  return a !== undefined && b !== undefined && a.num * b.den === b.num * a.den;
}

/** `I420 1920x1080 at 30000/1001`, `f32 48000 Hz x 2`, `bytes, blocks of 65536`. */
export function formatText(format: StreamFormat | null): string {
  if (format === null) return "not settled";
  checkFormat("format", format);
  const memory = memoryOfFormat(format);
  return memory === SYSTEM_MEMORY ? layoutText(format) : `${layoutText(format)} in ${memory}`;
}

function layoutText(format: StreamFormat): string {
  if (format.kind === "bytes") return `${format.type ?? "bytes"}, blocks of ${format.size}`;
  if (format.kind === "audio") {
    const { info } = format;
    return `${info.format} ${info.sampleRate} Hz x ${info.channels}, ${info.frames} frames`;
  }
  const { info, frameRate } = format;
  const rate = frameRate === undefined ? "" : ` at ${frameRate.num}${frameRate.den === 1 ? "" : `/${frameRate.den}`}`;
  return `${info.format} ${info.width}x${info.height}${rate}`;
}
