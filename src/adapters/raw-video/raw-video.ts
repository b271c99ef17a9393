/**
 * Raw video from any Node stream (a pipe, a socket, a file): whole frames in memory of the caller's, whatever chunks
 * they arrive in. Y4M says itself what it is; plain raw video has to be told.
 *
 * Life: `openRawVideo` reads the header, `next` waits for the first byte of a frame, `copyTo` reads its bytes straight
 * into the caller's memory; a frame that is closed without that is skipped. `close` ends it at any time, also while it
 * waits.
 */
import type { Readable } from "node:stream";
import { VideoInfo, type VideoPixelFormat } from "../../media/video/info.ts";
import { MillpondError } from "../../util/errors.ts";
import { checkOptions, readOptions, show, text, wholeNumber, withMethods, word } from "../../util/validate.ts";
import {
  bytesFor,
  type FrameLayout,
  type FrameSource,
  type Presentation,
  type SourceFrame,
} from "../node/frame-source.ts";
import { ChunkReader } from "./chunk-reader.ts";
import { isFrameLine, MAX_Y4M_LINE, parseY4mHeader } from "./y4m.ts";

export {
  type FrameLayout,
  type FrameSource,
  type PlaneLayout,
  type PooledFramesOptions,
  type Presentation,
  pooledFrames,
  type SourceFrame,
} from "../node/frame-source.ts";

/** What has to be said of a stream that does not say it itself. */
export interface RawVideoOptions {
  /** A WebCodecs pixel format or ffmpeg's name for it (`I420` or `yuv420p`). Absent: the stream is Y4M. */
  format?: string;
  /** Pixels in a row. */
  width?: number;
  /** Rows. */
  height?: number;
  /** Frames per second; absent: a Y4M header's own, else frames carry no time. */
  frameRate?: { readonly num: number; readonly den: number };
}

// ffmpeg's names (-pix_fmt) for the formats that WebCodecs names otherwise.
const FFMPEG_NAMES: Readonly<Record<string, string>> = {
  yuv420p: "I420",
  yuvj420p: "I420",
  yuva420p: "I420A",
  yuv422p: "I422",
  yuvj422p: "I422",
  yuv444p: "I444",
  yuvj444p: "I444",
  yuva444p: "I444A",
  yuv420p10le: "I420P10",
  yuv422p10le: "I422P10",
  yuv444p10le: "I444P10",
  yuv420p12le: "I420P12",
  yuv422p12le: "I422P12",
  yuv444p12le: "I444P12",
  nv12: "NV12",
  rgba: "RGBA",
  rgb0: "RGBX",
  bgra: "BGRA",
  bgr0: "BGRX",
  gray: "GRAY8",
  gray10le: "GRAY10",
  gray12le: "GRAY12",
  gray16le: "GRAY16",
};

/** Formats of one luma plane, which WebCodecs does not have, and their bytes a sample. */
const GRAY_BYTES: Readonly<Record<string, number>> = { GRAY8: 1, GRAY10: 2, GRAY12: 2, GRAY16: 2 };

/**
 * The layout of a tightly packed frame, as ffmpeg's `rawvideo` and Y4M write it. Throws `ERR_INVALID_ARG_TYPE`,
 * `ERR_OUT_OF_RANGE`, and `ERR_UNSUPPORTED` for an unknown format or an odd size that it does not have.
 */
export function rawLayout(name: string, width: number, height: number): FrameLayout {
  return layoutFor(word("name", name), sideOf("width", width), sideOf("height", height));
}

/** Beyond any picture; the bytes of a row stay exact. */
function sideOf(name: string, value: unknown): number {
  return wholeNumber(name, value, 1, 2 ** 24);
}

function layoutFor(name: string, width: number, height: number): FrameLayout {
  const format = FFMPEG_NAMES[name.toLowerCase()] ?? name.toUpperCase();
  const bytes = GRAY_BYTES[format];
  if (bytes !== undefined) {
    const stride = width * bytes;
    return { format, width, height, size: stride * height, planes: [{ offset: 0, stride, width, height }] };
  }
  try {
    return VideoInfo.of({ format: format as VideoPixelFormat, width, height });
  } catch (cause) {
    if (!(cause instanceof MillpondError)) throw cause;
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      `raw video cannot be read in format "${name}" at ${width}x${height}: ${cause.message}; ` +
        `ffmpeg's names work too (${Object.keys(FFMPEG_NAMES).join(", ")})`,
      { format: name },
      { cause },
    );
  }
}

/**
 * Starts to read raw video: Y4M when no format is given, else frames of that format and size, one behind the other.
 * The stream belongs to the result from now on.
 * Rejects with `ERR_BAD_DATA` (empty, or not what it should be), `ERR_UNSUPPORTED`; with `ERR_INVALID_ARG_TYPE`,
 * `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE` for the arguments, and the stream is still the caller's then.
 */
export async function openRawVideo(stream: Readable, options: RawVideoOptions = {}): Promise<RawVideo> {
  withMethods("stream", "a Readable", stream as Readable & AsyncIterable<unknown>, [Symbol.asyncIterator, "destroy"]);
  const {
    format,
    width,
    height,
    frameRate: rate,
  } = readOptions("options", options, ["format", "width", "height", "frameRate"]);
  const frameRate = rateOf(rate);
  const layout = format === undefined ? undefined : plainLayout(format, width, height);
  if (format === undefined) {
    // A Y4M stream says these itself; given all the same, they are at least no nonsense.
    if (width !== undefined) sideOf("options.width", width);
    if (height !== undefined) sideOf("options.height", height);
  }
  const reader = new ChunkReader(stream);
  try {
    if (layout === undefined) return await openY4m(reader, frameRate);
    if (await reader.atEnd()) throw new MillpondError("ERR_BAD_DATA", "the stream is empty: not one byte arrived");
    return new RawVideo(reader, layout, { ...DEFAULT_PRESENTATION }, frameRate, false);
  } catch (error) {
    await reader.close();
    throw error;
  }
}

function plainLayout(given: string, width: number | undefined, height: number | undefined): FrameLayout {
  const format = text("options.format", given, "");
  if (width === undefined || height === undefined) {
    throw new MillpondError(
      "ERR_INVALID_ARG_VALUE",
      `raw video in ${show(format)} needs options.width and options.height too`,
    );
  }
  return layoutFor(format, sideOf("options.width", width), sideOf("options.height", height));
}

/** A copy of a rate that frames can be timed by; absent: undefined. */
function rateOf(rate: RawVideoOptions["frameRate"]): RawVideoOptions["frameRate"] {
  if (rate === undefined) return undefined;
  const { num, den } = checkOptions("options.frameRate", rate, ["num", "den"]);
  return {
    num: wholeNumber("options.frameRate.num", num, 1),
    den: wholeNumber("options.frameRate.den", den, 1),
  };
}

const DEFAULT_PRESENTATION: Presentation = {
  rotation: 0,
  flip: false,
  pixelAspect: 1,
  matrix: undefined,
  fullRange: false,
};

async function openY4m(reader: ChunkReader, frameRate: RawVideoOptions["frameRate"]): Promise<RawVideo> {
  const magic = await reader.peek(9);
  if (magic.length === 0) throw new MillpondError("ERR_BAD_DATA", "the stream is empty: not one byte arrived");
  if (magic.toString("latin1") !== "YUV4MPEG2") {
    throw new MillpondError(
      "ERR_BAD_DATA",
      "the stream is not Y4M (it does not begin with YUV4MPEG2), and its format is not given; " +
        "give its format and size, or let ffmpeg write -f yuv4mpegpipe",
    );
  }
  const line = await reader.line(MAX_Y4M_LINE);
  if (line === undefined) throw new MillpondError("ERR_BAD_DATA", "the stream ends inside its Y4M header");
  const header = parseY4mHeader(line);
  const layout = layoutFor(header.format, header.width, header.height);
  const presentation = { ...DEFAULT_PRESENTATION, pixelAspect: header.pixelAspect, fullRange: header.fullRange };
  return new RawVideo(reader, layout, presentation, frameRate ?? header.frameRate, true);
}

/** Raw video that is being read. Made by {@link openRawVideo}; close it. */
export class RawVideo implements FrameSource {
  /** How each frame lies in its bytes. */
  readonly layout: FrameLayout;
  /** How each frame is to be shown. */
  readonly presentation: Presentation;
  /** Frames per second as a fraction; undefined when it was not given. */
  readonly frameRate: { readonly num: number; readonly den: number } | undefined;
  /** True when the stream is Y4M. */
  readonly isY4m: boolean;
  readonly #reader: ChunkReader;
  #frames = 0;
  #shortfall: string | undefined;
  #starvedMs = 0;
  #unread = false;

  /** @internal */
  constructor(
    reader: ChunkReader,
    layout: FrameLayout,
    presentation: Presentation,
    frameRate: { readonly num: number; readonly den: number } | undefined,
    isY4m: boolean,
  ) {
    this.#reader = reader;
    this.layout = layout;
    this.presentation = presentation;
    this.frameRate = frameRate;
    this.isY4m = isY4m;
  }

  /**
   * Waits for the first byte of the next frame; undefined at the end of the stream.
   * Rejects with `ERR_BAD_DATA` when a Y4M frame does not begin with FRAME, and with the stream's own errors.
   */
  async next(): Promise<SourceFrame | undefined> {
    if (this.#shortfall !== undefined || !(await this.#skipUnread()) || (await this.#reader.atEnd())) return undefined;
    if (this.isY4m) {
      const line = await this.#reader.line(MAX_Y4M_LINE);
      if (line === undefined) {
        this.#shortfall = `the stream ends inside the line in front of frame ${this.#frames + 1}`;
        return undefined;
      }
      if (!isFrameLine(line)) {
        this.#shortfall = `after frame ${this.#frames} there is no FRAME line where one should be; the rest is not read`;
        return undefined;
      }
    }
    this.#unread = true;
    return new RawFrame(this, this.#frames++);
  }

  /** Why the stream ended early; undefined when it ended behind a whole frame. */
  get shortfall(): string | undefined {
    return this.#shortfall;
  }

  /** Milliseconds that copies have waited for the stream, in all. */
  get starvedMs(): number {
    return this.#starvedMs;
  }

  /** Ends the stream; a `next()` that waits sees the end. */
  close(): Promise<void> {
    return this.#reader.close();
  }

  /** @internal reads the bytes of one frame */
  async readFrame(bytes: Uint8Array): Promise<boolean> {
    const { size } = this.layout;
    this.#unread = false;
    const before = this.#reader.waitedMs;
    const end = await this.#reader.fill(bytes, 0, size);
    this.#starvedMs += this.#reader.waitedMs - before;
    if (end === size) return true;
    return this.#endedInside(end);
  }

  /** A frame that was closed without being copied still lies in the stream. */
  async #skipUnread(): Promise<boolean> {
    if (!this.#unread) return true;
    this.#unread = false;
    const skipped = await this.#reader.skip(this.layout.size);
    return skipped === this.layout.size || this.#endedInside(skipped);
  }

  #endedInside(bytes: number): false {
    this.#shortfall = `the stream ends inside frame ${this.#frames}: ${bytes} of its ${this.layout.size} bytes arrived`;
    return false;
  }
}

class RawFrame implements SourceFrame {
  readonly layout: FrameLayout;
  readonly presentation: Presentation;
  readonly pts: bigint | undefined;
  readonly duration: bigint | undefined;
  readonly #video: RawVideo;
  #read = false;

  constructor(video: RawVideo, index: number) {
    this.#video = video;
    this.layout = video.layout;
    this.presentation = video.presentation;
    const rate = video.frameRate;
    if (rate === undefined) return;
    // Each time is computed from the start, so that roundings do not add up.
    this.pts = frameTime(index, rate);
    this.duration = frameTime(index + 1, rate) - this.pts;
  }

  async copyTo(bytes: Uint8Array): Promise<boolean> {
    if (this.#read) throw new MillpondError("ERR_USE_AFTER_RELEASE", "a frame of a stream can be read once");
    bytesFor("bytes", bytes, this.layout.size);
    this.#read = true;
    return this.#video.readFrame(bytes);
  }

  close(): void {}
}

function frameTime(index: number, rate: { readonly num: number; readonly den: number }): bigint {
  return (BigInt(index) * 1_000_000_000n * BigInt(rate.den) + BigInt(rate.num) / 2n) / BigInt(rate.num);
}
