/** PatternSource: moving test pictures in any 8-bit format and size that downstream takes. */
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { findVideoFormat, type VideoPixelFormat, videoFormatNames } from "../../media/video/format.ts";
import { MAX_SIDE, VideoInfo } from "../../media/video/info.ts";
import { oneOf, readOptions, wholeNumber } from "../../util/validate.ts";
import { checkName } from "../base/element.ts";
import { Source } from "../base/source.ts";
import { Caps } from "../caps.ts";
import { checkFraction, type Fraction, type VideoStream, videoFormat } from "../stream-format.ts";

/** How a {@link PatternSource} is made. */
export interface PatternSourceOptions {
  /** For messages. */
  name?: string;
  /** Pixel format; absent: I420, or what downstream takes. */
  format?: VideoPixelFormat;
  /** Columns; absent: 320, or what downstream takes. */
  width?: number;
  /** Rows; absent: 240, or what downstream takes. */
  height?: number;
  /** Pictures a second; default 25. */
  frameRate?: Fraction;
  /** Pictures in all; default: without end. */
  frames?: number;
  /**
   * "bars" that move, or "none": bytes as they lie in the buffer, for measurements of everything else. Default "bars".
   */
  pattern?: "bars" | "none";
}

const OPTIONS = ["name", "format", "width", "height", "frameRate", "frames", "pattern"] as const;
const DEFAULT_RATE: Fraction = { num: 25, den: 1 };
const BYTE_FORMATS = videoFormatNames().filter((name) => findVideoFormat(name)!.bits === 8);

/** Makes test pictures. */
export class PatternSource extends Source {
  readonly #options: PatternSourceOptions;
  readonly #frames: number;
  readonly #rate: Fraction;
  readonly #isBlank: boolean;
  #format: VideoStream | undefined;
  #index = 0;

  /** Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`. */
  constructor(options: PatternSourceOptions = {}) {
    const given = readOptions("options", options, OPTIONS);
    const { format, width, height, frameRate = DEFAULT_RATE, frames, pattern = "bars" } = given;
    super(checkName("options.name", given.name), Caps.video({ format: BYTE_FORMATS }));
    if (width !== undefined) wholeNumber("options.width", width, 1, MAX_SIDE);
    if (height !== undefined) wholeNumber("options.height", height, 1, MAX_SIDE);
    if (format !== undefined) oneOf("options.format", format, BYTE_FORMATS);
    this.#options = given;
    this.#rate = checkFraction("options.frameRate", frameRate);
    this.#frames = frames === undefined ? Infinity : wholeNumber("options.frames", frames);
    this.#isBlank = oneOf("options.pattern", pattern, ["bars", "none"]) === "none";
  }

  /** Settles the format once: what was asked for, else what downstream takes. */
  override next(): VideoStream | undefined {
    if (this.#index >= this.#frames) return undefined;
    this.#format ??= this.#settle();
    return this.#format;
  }

  #settle(): VideoStream {
    const { format, width, height } = this.#options;
    const fixed = { ...(format && { format }), ...(width && { width }), ...(height && { height }) };
    const mine = Caps.video({ format: BYTE_FORMATS }).intersect(Caps.video(fixed));
    const { fields } = this.agree(mine, { format: "I420", width: 320, height: 240, frameRate: this.#rate });
    const chosen = fields as { format: VideoPixelFormat; width: number; height: number };
    return videoFormat(VideoInfo.of({ format: chosen.format, width: chosen.width, height: chosen.height }), {
      frameRate: this.#rate,
    });
  }

  /** Draws diagonal bars that move a pixel a picture. O(bytes). */
  override fill(buffer: MediaBuffer): void {
    const index = this.#index++;
    const { num, den } = this.#rate;
    const time = (n: number): bigint => (BigInt(n) * 1_000_000_000n * BigInt(den)) / BigInt(num);
    buffer.pts = time(index);
    buffer.duration = time(index + 1) - time(index);
    if (this.#isBlank) return;
    const { bytes } = buffer;
    this.#format!.info.planes.forEach(({ offset, stride, rowBytes, height }, plane) => {
      for (let y = 0; y < height; y++) {
        const start = offset + y * stride;
        for (let x = 0; x < rowBytes; x++) bytes[start + x] = ((x + y + index) << 1) + plane * 64;
      }
    });
  }

  /** Begins at the first picture. */
  override start(): void {
    this.#index = 0;
    this.#format = undefined;
  }

  /** To the picture with that number. */
  override seek(position: unknown): void {
    if (typeof position === "number") this.#index = Math.max(0, Math.floor(position));
  }

  /** Test pictures. */
  override get role(): string {
    return "test pictures";
  }
}
