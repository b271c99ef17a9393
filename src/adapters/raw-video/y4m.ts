/**
 * YUV4MPEG2, the format that ffmpeg and mjpegtools pipe raw video in: one text line for the stream, one line a frame,
 * and the bytes. Restated from the yuv4mpeg(5) manual page.
 */
import { MillpondError } from "../../util/errors.ts";

/** What a stream header says. */
interface Y4mHeader {
  /** Pixels in a row. */
  readonly width: number;
  /** Rows. */
  readonly height: number;
  /** A WebCodecs pixel format, or `GRAY8`, `GRAY10`, `GRAY12`, `GRAY16`. */
  readonly format: string;
  /** Frames per second as a fraction; undefined for "0:0", which means unknown. */
  readonly frameRate: { readonly num: number; readonly den: number } | undefined;
  /** Width of a pixel over its height; 1 where it is unknown. */
  readonly pixelAspect: number;
  /** `p` progressive, `t` top field first, `b` bottom field first, `m` mixed, `?` unknown. */
  readonly interlacing: string;
  /** True when the X extension says that luma uses 0 to 255. */
  readonly fullRange: boolean;
}

/** How a stream header begins. */
export const Y4M_MAGIC = "YUV4MPEG2";

/**
 * Longest header or FRAME line that is looked for. The format sets no limit; a file that is not Y4M must not be read
 * to its end in search of a line feed.
 */
export const MAX_Y4M_LINE = 1024;

// Chroma tags to formats. The 420 kinds differ in where chroma is sited, which no measure here depends on.
const FORMATS: Readonly<Record<string, string>> = {
  "420": "I420",
  "420jpeg": "I420",
  "420mpeg2": "I420",
  "420paldv": "I420",
  "420p10": "I420P10",
  "420p12": "I420P12",
  "422": "I422",
  "422p10": "I422P10",
  "422p12": "I422P12",
  "444": "I444",
  "444p10": "I444P10",
  "444p12": "I444P12",
  "444alpha": "I444A",
  mono: "GRAY8",
  mono10: "GRAY10",
  mono12: "GRAY12",
  mono16: "GRAY16",
};

/** The chroma tags that are understood. */
const Y4M_CHROMA: readonly string[] = Object.keys(FORMATS);

/** True for bytes that begin as Y4M does. */
export function isY4m(bytes: Uint8Array): boolean {
  return String.fromCharCode(...bytes.subarray(0, Y4M_MAGIC.length)) === Y4M_MAGIC;
}

/**
 * Reads a stream header, without its line feed.
 * Throws `ERR_BAD_DATA` when it is none, `ERR_UNSUPPORTED` for a chroma tag that is not understood.
 */
export function parseY4mHeader(line: string): Y4mHeader {
  const [magic, ...params] = line.split(" ").filter((word) => word !== "");
  if (magic !== Y4M_MAGIC) {
    throw new MillpondError("ERR_BAD_DATA", "this is not a Y4M stream: it does not begin with YUV4MPEG2");
  }
  let width = 0;
  let height = 0;
  let chroma = "420jpeg";
  let frameRate: Y4mHeader["frameRate"];
  let pixelAspect = 1;
  let interlacing = "?";
  let fullRange = false;
  for (const param of params) {
    const value = param.slice(1);
    switch (param[0]) {
      case "W":
        width = dimension("W", value);
        break;
      case "H":
        height = dimension("H", value);
        break;
      case "C":
        chroma = value;
        break;
      case "F": {
        const { num, den } = ratio("F", value);
        frameRate = num > 0 && den > 0 ? { num, den } : undefined;
        break;
      }
      case "A": {
        const { num, den } = ratio("A", value);
        pixelAspect = num > 0 && den > 0 ? num / den : 1;
        break;
      }
      case "I":
        interlacing = value;
        break;
      case "X":
        if (value === "COLORRANGE=FULL") fullRange = true;
        break;
      // Other letters are comments of other programs.
    }
  }
  if (width === 0 || height === 0) {
    throw new MillpondError(
      "ERR_BAD_DATA",
      `the Y4M header has no ${width === 0 ? "width (W)" : "height (H)"}: "${line}"`,
    );
  }
  const format = FORMATS[chroma];
  if (format === undefined) {
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      `the Y4M stream has chroma "C${chroma}", and only ${Y4M_CHROMA.map((tag) => `C${tag}`).join(", ")} are understood; ` +
        "convert it on the way (ffmpeg ... -pix_fmt yuv420p -f yuv4mpegpipe -)",
    );
  }
  return { width, height, format, frameRate, pixelAspect, interlacing, fullRange };
}

/** True for the line in front of a frame, with or without parameters. */
export function isFrameLine(line: string): boolean {
  return line === "FRAME" || line.startsWith("FRAME ");
}

function dimension(name: string, value: string): number {
  const size = Number(value);
  if (!/^\d+$/.test(value) || size < 1 || size > 65_536) {
    throw new MillpondError("ERR_BAD_DATA", `the Y4M header says ${name}${value}, which is not a size from 1 to 65536`);
  }
  return size;
}

function ratio(name: string, value: string): { num: number; den: number } {
  const match = /^(\d+):(\d+)$/.exec(value);
  if (match === null)
    throw new MillpondError("ERR_BAD_DATA", `the Y4M header says ${name}${value}, which is not a ratio`);
  return { num: Number(match[1]), den: Number(match[2]) };
}
