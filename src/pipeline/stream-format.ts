/**
 * What flows through a pad, exactly: a picture layout, an audio block layout, or plain bytes. A {@link StreamFormat} is
 * one settled format; a set of formats that a pad could take is a `Caps`.
 *
 * Invariants: a format of {@link videoFormat}, {@link audioFormat} or {@link byteFormat} was read once, checked, and is
 * frozen. `checkFormat()` returns it as it is, and makes such a copy of any other object.
 *
 * Complexity: making one takes 0.1 to 0.7 us, so make it once and not for each buffer. Comparing two is O(planes).
 */
import { AudioInfo } from "../media/audio/info.ts";
import { VideoInfo } from "../media/video/info.ts";
import { sameData } from "../util/same-data.ts";
import {
  badValue,
  instance,
  outOfRange,
  readOptions,
  wholeNumber,
  word,
  wrongType,
  yesOrNo,
} from "../util/validate.ts";

/** A ratio of two whole numbers, such as a frame rate of 30000/1001. */
export interface Fraction {
  /** Above the line. */
  readonly num: number;
  /** Below the line, at least 1. */
  readonly den: number;
}

/**
 * How stored pixels become the picture that is shown; absent fields: upright, square, as the height suggests, 16 to
 * 235.
 */
export interface VideoPresentation {
  /** Degrees clockwise to turn the stored picture by. */
  readonly rotation?: 0 | 90 | 180 | 270;
  /** Mirrored left to right after that. */
  readonly flip?: boolean;
  /** Width of a pixel over its height. */
  readonly pixelAspect?: number;
  /** Color matrix by its WebCodecs name. */
  readonly matrix?: string | undefined;
  /** Luma uses 0 to 255. */
  readonly fullRange?: boolean;
}

/** The caps feature of bytes that every stage can map; what a format without `memory` is in. */
export const SYSTEM_MEMORY = "memory:SystemMemory";

/** What every format may say. */
export interface FormatOptions {
  /**
   * The caps feature that says what kind of memory the bytes are in: "memory:DMABuf"; absent: {@link SYSTEM_MEMORY}.
   */
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

/** What {@link videoFormat} takes beside the layout. */
export type VideoFormatOptions = FormatOptions & {
  frameRate?: Fraction | undefined;
  averageRate?: Fraction | undefined;
  isVariable?: boolean | undefined;
  presentation?: VideoPresentation | undefined;
};

const MEMORY_OPTION: readonly (keyof FormatOptions)[] = ["memory"];
const VIDEO_OPTIONS: readonly (keyof VideoFormatOptions)[] = [
  "frameRate",
  "averageRate",
  "isVariable",
  "presentation",
  "memory",
];
const PRESENTATION_KEYS: readonly (keyof VideoPresentation)[] = [
  "rotation",
  "flip",
  "pixelAspect",
  "matrix",
  "fullRange",
];
const KEYS: Readonly<Record<StreamFormat["kind"], readonly string[]>> = {
  video: ["kind", "info", ...VIDEO_OPTIONS],
  audio: ["kind", "info", "memory"],
  bytes: ["kind", "size", "type", "memory"],
};

/**
 * A format whose fields were read once and checked, and that is frozen all through. The private field tells it apart in
 * one test, so that a format is checked where it is made, and not for each buffer; a WeakSet of formats would cost 500
 * ns for each one.
 */
class CheckedFormat {
  readonly #isChecked: true = true;

  static is(value: unknown): value is StreamFormat {
    return typeof value === "object" && value !== null && #isChecked in value && value.#isChecked;
  }
}

class CheckedVideo extends CheckedFormat {
  readonly kind = "video";
  readonly info: VideoInfo;

  constructor(info: VideoInfo, more: VideoFormatOptions) {
    super();
    this.info = info;
    Object.assign(this, more);
    Object.freeze(this);
  }
}

class CheckedAudio extends CheckedFormat {
  readonly kind = "audio";
  readonly info: AudioInfo;
  declare readonly memory?: string;

  constructor(info: AudioInfo, memory: string | undefined) {
    super();
    this.info = info;
    if (memory !== undefined) this.memory = memory;
    Object.freeze(this);
  }
}

class CheckedBytes extends CheckedFormat {
  readonly kind = "bytes";
  readonly size: number;
  readonly type: string | undefined;
  declare readonly memory?: string;

  constructor(size: number, type: string | undefined, memory: string | undefined) {
    super();
    this.size = size;
    this.type = type;
    if (memory !== undefined) this.memory = memory;
    Object.freeze(this);
  }
}

/** Pictures of that layout. Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`. */
export function videoFormat(info: VideoInfo, more?: VideoFormatOptions): VideoStream {
  return videoOf("info", info, "more", more === undefined ? {} : readOptions("more", more, VIDEO_OPTIONS));
}

/** Blocks of audio of that layout. Throws `ERR_INVALID_ARG_*`. */
export function audioFormat(info: AudioInfo, more?: FormatOptions): AudioStream {
  return audioOf("info", info, "more", memoryOption(more));
}

/** Blocks of at most `size` bytes. Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`. */
export function byteFormat(size: number, type?: string, more?: FormatOptions): ByteStream {
  return bytesOf("size", size, "type", type, "more", memoryOption(more));
}

function memoryOption(more: FormatOptions | undefined): string | undefined {
  return more === undefined ? undefined : readOptions("more", more, MEMORY_OPTION).memory;
}

function videoOf(infoName: string, info: VideoInfo, name: string, more: VideoFormatOptions): VideoStream {
  instance(infoName, "a VideoInfo", VideoInfo, info);
  const { frameRate, averageRate, isVariable, presentation, memory } = more;
  const checked: VideoFormatOptions = {};
  if (frameRate !== undefined) checked.frameRate = checkFraction(`${name}.frameRate`, frameRate);
  if (averageRate !== undefined) checked.averageRate = checkFraction(`${name}.averageRate`, averageRate);
  if (isVariable !== undefined) checked.isVariable = yesOrNo(`${name}.isVariable`, isVariable);
  if (presentation !== undefined) checked.presentation = checkPresentation(`${name}.presentation`, presentation);
  if (memory !== undefined) checked.memory = checkMemory(name, memory);
  return new CheckedVideo(info, checked);
}

function audioOf(infoName: string, info: AudioInfo, name: string, memory: string | undefined): AudioStream {
  instance(infoName, "an AudioInfo", AudioInfo, info);
  return new CheckedAudio(info, memory === undefined ? undefined : checkMemory(name, memory));
}

function bytesOf(
  sizeName: string,
  size: number,
  typeName: string,
  type: string | undefined,
  name: string,
  memory: string | undefined,
): ByteStream {
  wholeNumber(sizeName, size, 1);
  if (type !== undefined) word(typeName, type);
  return new CheckedBytes(size, type, memory === undefined ? undefined : checkMemory(name, memory));
}

function checkMemory(name: string, memory: string): string {
  if (typeof memory === "string" && memory.startsWith("memory:")) return memory;
  throw wrongType(`${name}.memory`, 'the name of a caps feature, such as "memory:DMABuf"', memory);
}

/** Checks a ratio above 0 and copies it. Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`. */
export function checkFraction(name: string, fraction: Fraction): Fraction {
  if (fraction === undefined) throw wrongType(name, "a ratio { num, den }", fraction);
  const { num, den } = readOptions(name, fraction, ["num", "den"]);
  return Object.freeze({ num: wholeNumber(`${name}.num`, num, 1), den: wholeNumber(`${name}.den`, den, 1) });
}

/**
 * Checks how pictures are shown and copies it, without the fields that are absent. Throws `ERR_INVALID_ARG_*`,
 * `ERR_OUT_OF_RANGE`.
 */
export function checkPresentation(name: string, presentation: VideoPresentation | undefined): VideoPresentation {
  const { rotation, flip, pixelAspect, matrix, fullRange } = readOptions(name, presentation, PRESENTATION_KEYS);
  const checked: { -readonly [K in keyof VideoPresentation]: VideoPresentation[K] } = {};
  if (rotation !== undefined) {
    if (typeof rotation !== "number") throw wrongType(`${name}.rotation`, "0, 90, 180 or 270", rotation);
    if (![0, 90, 180, 270].includes(rotation)) throw badValue(`${name}.rotation`, "0, 90, 180 or 270", rotation);
    checked.rotation = rotation;
  }
  if (flip !== undefined) checked.flip = yesOrNo(`${name}.flip`, flip);
  if (pixelAspect !== undefined) {
    if (typeof pixelAspect !== "number") throw wrongType(`${name}.pixelAspect`, "a number", pixelAspect);
    if (!(pixelAspect > 0 && pixelAspect < Infinity)) {
      throw outOfRange(`${name}.pixelAspect`, "a number above 0", pixelAspect);
    }
    checked.pixelAspect = pixelAspect;
  }
  if (matrix !== undefined) checked.matrix = word(`${name}.matrix`, matrix);
  if (fullRange !== undefined) checked.fullRange = yesOrNo(`${name}.fullRange`, fullRange);
  return Object.freeze(checked);
}

/**
 * Checks one settled format: its kind, and the fields that go with it. What {@link videoFormat} and its kind made comes
 * back as it is; an object of the caller's is read once and comes back as a frozen copy. Throws `ERR_INVALID_ARG_*`,
 * `ERR_OUT_OF_RANGE`.
 */
export function checkFormat(name: string, format: StreamFormat): StreamFormat {
  return CheckedFormat.is(format) ? format : checkedCopy(name, format);
}

function checkedCopy(name: string, format: StreamFormat): StreamFormat {
  const kind = format === null || typeof format !== "object" ? undefined : format.kind;
  if (kind !== "video" && kind !== "audio" && kind !== "bytes") {
    throw wrongType(name, "a format of videoFormat(), audioFormat() or byteFormat()", format);
  }
  const given = readOptions<VideoFormatOptions & { info?: unknown; size?: number; type?: string }>(
    name,
    format as object,
    KEYS[kind] as never,
  );
  if (kind === "video") return videoOf(`${name}.info`, given.info as VideoInfo, name, given);
  if (kind === "audio") return audioOf(`${name}.info`, given.info as AudioInfo, name, given.memory);
  return bytesOf(`${name}.size`, given.size as number, `${name}.type`, given.type, name, given.memory);
}

/** The caps feature that says what kind of memory a format's bytes are in. */
export function memoryOfFormat(format: StreamFormat): string {
  return format.memory ?? SYSTEM_MEMORY;
}

/** Bytes that one buffer of the format needs. O(1). Throws `ERR_INVALID_ARG_TYPE`. */
export function sizeOfFormat(format: StreamFormat): number {
  const checked = checkFormat("format", format);
  return checked.kind === "bytes" ? checked.size : checked.info.size;
}

/** True when buffers of both mean the same: nothing has to be negotiated again. Throws `ERR_INVALID_ARG_TYPE`. */
export function sameFormat(a: StreamFormat | null, b: StreamFormat | null): boolean {
  if (a === b && (a === null || CheckedFormat.is(a))) return true;
  return isSettled(a === null ? null : checkFormat("a", a), b === null ? null : checkFormat("b", b));
}

/**
 * Whether a format is the checked one that is in force, for a loop that asks before each buffer. The format itself is
 * not checked: one that is equal is not used, and one that is not is checked where it is settled. Throws nothing of its
 * own.
 */
export function isSettled(a: StreamFormat | null, b: StreamFormat | null): boolean {
  if (a === b) return true;
  if (a === null || b === null || typeof a !== "object" || a.kind !== b.kind || memoryOfFormat(a) !== memoryOfFormat(b))
    return false;
  if (a.kind === "bytes") return a.size === (b as ByteStream).size && a.type === (b as ByteStream).type;
  if (a.kind === "audio") return (b as AudioStream).info.equals(a.info);
  const other = b as VideoStream;
  return (
    other.info.equals(a.info) &&
    sameFraction(a.frameRate, other.frameRate) &&
    (a.presentation === other.presentation || sameData(a.presentation ?? {}, other.presentation ?? {}))
  );
}

/** Equality of ratios, not of their terms: 50/2 is 25/1. */
function sameFraction(a: Fraction | undefined, b: Fraction | undefined): boolean {
  if (a === b) return true;
  return isRatio(a) && isRatio(b) && a.num * b.den === b.num * a.den;
}

function isRatio(value: Fraction | undefined): value is Fraction {
  if (typeof value !== "object" || value === null) return false;
  return typeof value.num === "number" && typeof value.den === "number";
}

/** `I420 1920x1080 at 30000/1001`, `f32 48000 Hz x 2`, `bytes, blocks of 65536`. */
export function formatText(format: StreamFormat | null): string {
  if (format === null) return "not settled";
  const checked = checkFormat("format", format);
  const memory = memoryOfFormat(checked);
  return memory === SYSTEM_MEMORY ? layoutText(checked) : `${layoutText(checked)} in ${memory}`;
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
