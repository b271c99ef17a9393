/**
 * VideoScale: changes the size, the pixel format, or both; passes buffers through where nothing is to be done. What it
 * makes is settled with the formats, and planned once for them, by libav where it is there (picture-converter.ts).
 * O(pixels) a frame, and no allocation.
 */
import type { MediaBuffer } from "../media/buffer/media-buffer.ts";
import { findVideoFormat, isRgb, type VideoPixelFormat, videoFormatNames } from "../media/video/format.ts";
import { MAX_SIDE, VideoInfo } from "../media/video/info.ts";
import { checkName } from "../pipeline/base/element.ts";
import type { Maybe } from "../pipeline/base/pad.ts";
import { Transform, type TransformMode } from "../pipeline/base/transform.ts";
import { Caps, type CapsFields, type CapsScalar } from "../pipeline/caps.ts";
import { formatText, type StreamFormat, sameFormat, type VideoStream, videoFormat } from "../pipeline/stream-format.ts";
import { MillpondError } from "../util/errors.ts";
import { badValue, powerOfTwo, readOptions, wholeNumber, yesOrNo } from "../util/validate.ts";
import { bestConverter, type PictureConverter, portableConverter } from "./picture-converter.ts";

/** What a {@link VideoScale} shall make; what is absent stays as it comes, as far as downstream takes it. */
export interface VideoScaleOptions {
  /** For messages. */
  name?: string;
  /** Columns; without `height` the shape of the picture is kept. */
  width?: number;
  /** Rows; without `width` the shape of the picture is kept. */
  height?: number;
  /** Pixel format. */
  format?: VideoPixelFormat;
  /** Rows begin at multiples of this, a power of two in bytes; default 1. */
  strideAlign?: number;
  /**
   * True: the pixels are computed by this package's own code, the same on every machine. Default false: by libav, where
   * it is installed (@mediabunny/server) and `millpond/pipeline/node` or a decoder of `millpond/mediabunny` is used;
   * ten times as fast, and at most one code value away, three where RGB becomes Y'CbCr or the other way round, eight at
   * the edges.
   */
  portable?: boolean;
}

/** Scales and converts pictures. Its own pool holds what downstream needs. */
export class VideoScale extends Transform {
  readonly #options: VideoScaleOptions;
  #converter: PictureConverter | undefined;
  /** Who computes, also when the run is over. */
  #by: string | undefined;
  /** Counts the formats, so that a converter that comes late is not taken for another one. */
  #plan = 0;

  /** Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`. */
  constructor(options: VideoScaleOptions = {}) {
    const given = readOptions("options", options, ["name", "width", "height", "format", "strideAlign", "portable"]);
    const { name, width, height, format, strideAlign, portable } = given;
    if (portable !== undefined) yesOrNo("options.portable", portable);
    if (width !== undefined) wholeNumber("options.width", width, 1, MAX_SIDE);
    if (height !== undefined) wholeNumber("options.height", height, 1, MAX_SIDE);
    if (strideAlign !== undefined) powerOfTwo("options.strideAlign", strideAlign, 4096);
    if (format !== undefined && findVideoFormat(format) === undefined) {
      throw badValue("options.format", `one of ${videoFormatNames().join(", ")}`, format);
    }
    const fixed: Record<string, CapsScalar> = {};
    if (width !== undefined) fixed.width = width;
    if (height !== undefined) fixed.height = height;
    if (format !== undefined) fixed.format = format;
    super(checkName("options.name", name), { input: Caps.video(), output: Caps.video(fixed) });
    this.#options = given;
  }

  /** Any picture: whatever downstream takes, something can be made for it. */
  override inputsFor(_downstream: Caps): Caps {
    return Caps.video();
  }

  /** The nearest to the input that downstream takes, in the shape of the input unless both sides are given. */
  override outputFor(input: StreamFormat, downstream: Caps): VideoStream {
    const video = input as VideoStream;
    const { info, frameRate, averageRate, isVariable, presentation } = video;
    const allowed = Caps.video({ format: formatsFrom(info.format) }).intersect(downstream);
    const structure = allowed.fixate({ ...this.#preferred(info), ...(frameRate === undefined ? {} : { frameRate }) });
    if (structure === undefined) {
      throw new MillpondError(
        "ERR_NOT_NEGOTIATED",
        `"${this.name}" gets ${formatText(input)} and cannot make anything of it: it gives ${this.out.caps}, and downstream takes ${this.out.wanted()}`,
      );
    }
    const fields = structure.fields as { format: VideoPixelFormat; width: number; height: number };
    const { width, height } = this.#shaped(info, fields, allowed);
    const { format } = fields;
    const { strideAlign } = this.#options;
    if (format === info.format && width === info.width && height === info.height && strideAlign === undefined)
      return video;
    const made = VideoInfo.of({ format, width, height, ...(strideAlign === undefined ? {} : { strideAlign }) });
    // Pixels change their shape when the two sides do not scale alike.
    const stretch = info.width / info.height / (width / height);
    const pixelAspect = (presentation?.pixelAspect ?? 1) * (Math.abs(stretch - 1) < 0.02 ? 1 : stretch);
    const shown = presentation === undefined && pixelAspect === 1 ? undefined : { ...presentation, pixelAspect };
    return videoFormat(made, { frameRate, averageRate, isVariable, presentation: shown });
  }

  #preferred({ format, width, height }: VideoInfo): CapsFields & Record<string, CapsScalar> {
    const wanted = this.#options;
    return { format, ...shape(width, height, wanted.width, wanted.height) };
  }

  /** When downstream bends one side, the other follows, as far as it may. */
  #shaped(info: VideoInfo, fixed: { width: number; height: number }, allowed: Caps): { width: number; height: number } {
    const { width, height } = this.#options;
    const wanted = shape(info.width, info.height, width, height);
    if (
      (width !== undefined && height !== undefined) ||
      (fixed.width === wanted.width && fixed.height === wanted.height)
    )
      return fixed;
    const ratio = Math.min(fixed.width / wanted.width, fixed.height / wanted.height);
    const bent = allowed.fixate({ width: Math.round(wanted.width * ratio), height: Math.round(wanted.height * ratio) });
    return (bent?.fields ?? fixed) as { width: number; height: number };
  }

  /** Plans the conversion; passes through where there is none. */
  override configure(input: StreamFormat, output: StreamFormat): Maybe<TransformMode> {
    this.#closeConverter();
    this.#by = undefined;
    if (sameFormat(input, output)) return "passthrough";
    const [from, to] = [input as VideoStream, output as VideoStream];
    if (hasAlpha(from.info) && !hasAlpha(to.info)) {
      const { format } = to.info;
      this.running.warn(`"${this.name}": the transparency of ${from.info.format} is lost: ${format} has none`, this);
    }
    if (this.#options.portable !== true) return this.#chooseConverter(from, to);
    return this.#take(portableConverter(from.info, to.info, from.presentation));
  }

  async #chooseConverter(from: VideoStream, to: VideoStream): Promise<TransformMode> {
    const plan = this.#plan;
    const converter = await bestConverter(from.info, to.info, from.presentation);
    // The run may have ended meanwhile, and another one begun.
    if (plan === this.#plan) return this.#take(converter);
    converter.close();
    return "copy";
  }

  #take(converter: PictureConverter): TransformMode {
    this.#converter = converter;
    return "copy";
  }

  #closeConverter(): void {
    this.#plan++;
    this.#by = this.#converter?.by ?? this.#by;
    this.#converter?.close();
    this.#converter = undefined;
  }

  /** Gives the converter back. */
  override stop(): Maybe<void> {
    this.#closeConverter();
    return super.stop();
  }

  /** Converts one picture. */
  override transform(input: MediaBuffer, output: MediaBuffer): void {
    const source = input.map("read");
    try {
      this.#converter!.run(source.bytes, output.bytes);
    } finally {
      source.unmap();
    }
  }

  /** `320 wide`. */
  override get role(): string {
    const { width, height, format } = this.#options;
    const size = width === undefined && height === undefined ? "" : `${width ?? "?"}x${height ?? "?"}`;
    const what = [size, format].filter((word) => word !== undefined && word !== "").join(" ");
    const who = this.#converter?.by ?? this.#by;
    const by = who === undefined ? "" : `, by ${who}`;
    return `${what === "" ? "as downstream wants it" : what}, ${super.role}${by}`;
  }
}

/** Both sides from one or none of them, in the shape of the picture. */
function shape(
  width: number,
  height: number,
  wantedWidth?: number,
  wantedHeight?: number,
): { width: number; height: number } {
  if (wantedWidth !== undefined) {
    return { width: wantedWidth, height: wantedHeight ?? Math.max(1, Math.round((height * wantedWidth) / width)) };
  }
  if (wantedHeight !== undefined)
    return { width: Math.max(1, Math.round((width * wantedHeight) / height)), height: wantedHeight };
  return { width, height };
}

/** What can be made of a format, the nearest first: the same, then its own kind, then the rest. */
function formatsFrom(format: VideoPixelFormat): VideoPixelFormat[] {
  const own = findVideoFormat(format)!;
  const rank = (name: VideoPixelFormat): number => {
    if (name === format) return 0;
    const other = findVideoFormat(name)!;
    const kind = isRgb(name) === isRgb(format) ? 1 : 3;
    return kind + (other.bits === own.bits ? 0 : 1) + (name === "GRAY8" ? 4 : 0);
  };
  return videoFormatNames()
    .filter((name) => isRgb(name) === isRgb(format) || (own.bits === 8 && findVideoFormat(name)!.bits === 8))
    .sort((a, b) => rank(a) - rank(b));
}

function hasAlpha({ format }: VideoInfo): boolean {
  return /A(P\d+)?$/.test(format);
}
