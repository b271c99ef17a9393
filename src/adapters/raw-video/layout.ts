/**
 * How raw video lies in its bytes, by the names that ffmpeg and WebCodecs have for it, and the options that say it of a
 * stream that does not say it itself.
 */
import { VideoInfo, type VideoPixelFormat } from "../../media/video/info.ts";
import { MillpondError } from "../../util/errors.ts";
import { checkOptions, show, text, wholeNumber, word } from "../../util/validate.ts";
import type { FrameLayout } from "../node/frame-source.ts";

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

/** {@link rawLayout}, of checked numbers. */
export function layoutFor(name: string, width: number, height: number): FrameLayout {
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

/** Options of raw video that were read once and checked. */
export interface RawVideoPlan {
  /** How each frame lies in the stream; undefined where the stream is to say it. */
  readonly layout: FrameLayout | undefined;
  /** Frames per second, where they were given. */
  readonly frameRate: RawVideoOptions["frameRate"];
}

/** The keys of {@link RawVideoOptions}. */
export const RAW_VIDEO_KEYS: readonly (keyof RawVideoOptions)[] = ["format", "width", "height", "frameRate"];

/** Checks what is said of a stream. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`. */
export function planRawVideo({ format, width, height, frameRate }: RawVideoOptions): RawVideoPlan {
  const rate = rateOf(frameRate);
  if (format !== undefined) return { layout: plainLayout(format, width, height), frameRate: rate };
  // A Y4M stream says these itself; given all the same, they are at least no nonsense.
  if (width !== undefined) sideOf("options.width", width);
  if (height !== undefined) sideOf("options.height", height);
  return { layout: undefined, frameRate: rate };
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
