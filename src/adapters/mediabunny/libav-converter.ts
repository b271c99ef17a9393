/**
 * Pixels by libswscale, which @mediabunny/server brings along with its decoders: sizes, subsampling and colors, ten
 * times as fast as in JavaScript.
 *
 * The picture is copied into a native frame, scaled into another one, and copied out: the two copies cost a tenth of
 * the work, and swscale, which reads and writes beyond the ends of rows, never sees memory that is not its own. A
 * converter allocates nothing for a frame.
 *
 * Life: made for a pair of layouts; the first picture gets the frames' buffers, after a trial, or goes to this
 * package's own code for good; `close` frees both frames.
 *
 * Not everything that swscale can do has the same result as this package's own code: `canConvert` says what has.
 * Complexity: O(pixels).
 */
import { findVideoFormat, isRgb, type VideoFormat } from "../../media/video/format.ts";
import { VideoInfo } from "../../media/video/info.ts";
import type { VideoPresentation } from "../../pipeline/stream-format.ts";
import { MillpondError } from "../../util/errors.ts";
import { matrixOf } from "../../video/color.ts";
import { checkPicture, extentOf, FrameConverter } from "../../video/convert.ts";
import { type ConverterMaker, type PictureConverter, portableConverter } from "../../video/picture-converter.ts";
import { type AvFrame, type AvScaler, type FrameCopier, type FrameCopierClass, frameOf, type Libav } from "./libav.ts";

/** libav's names of the pixel formats, behind AV_PIX_FMT_. */
function pixelFormatName(format: string): string | undefined {
  const planar = /^I(4\d\d)(A?)(?:P(\d\d))?$/.exec(format);
  if (planar !== null) return `YUV${planar[2]}${planar[1]}P${planar[3] === undefined ? "" : `${planar[3]}LE`}`;
  const packed = /^(RGB|BGR)([AX])$/.exec(format);
  if (packed !== null) return `${packed[1]}${packed[2] === "A" ? "A" : "0"}`;
  return format === "NV12" || format === "GRAY8" ? format : undefined;
}

/** AVCOL_SPC_* of each matrix. */
const COLOR_SPACES = { bt709: 1, smpte170m: 6, "bt2020-ncl": 9 } as const;
const RGB_SPACE = 0;
/** AVCOL_RANGE_*: 16 to 235, and 0 to 255. */
const [LIMITED_RANGE, FULL_RANGE] = [1, 2];
/** AVCHROMA_LOC_CENTER. */
const CENTERED = 2;

/** As precise as it gets, blending chroma in both directions, the same on every processor. */
const OPTIONS: readonly (readonly [string, string])[] = [
  ["sws_flags", "bilinear+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"],
  ["sws_dither", "none"],
];

/** Swscale's weights at the edges are others, and below this edges are a good part of a picture. */
const MIN_SIDE = 16;

/** Whether swscale's result for a pair of layouts is this package's own, but for rounding. */
function canConvert(from: VideoInfo, to: VideoInfo): boolean {
  const [a, b] = [findVideoFormat(from.format)!, findVideoFormat(to.format)!];
  // Another number of bits is a question of dithering, gray one of range.
  if (a.bits !== b.bits || (a.name === "GRAY8") !== (b.name === "GRAY8")) return false;
  // What is in an X is nobody's business here, and swscale's own there.
  if (b.name.endsWith("X") || (a.name.endsWith("X") && /A$/.test(b.name))) return false;
  if (Math.min(from.width, from.height, to.width, to.height) < MIN_SIDE) return false;
  // Without a change of size swscale has ways of its own, which leave out the last column and row of odd pictures.
  if (from.width === to.width && from.height === to.height) return a !== b && (to.width | to.height) % 2 === 0;
  // Chroma that gets coarser is filtered twice here, and once there.
  return subsampling(b) <= subsampling(a);
}

/** Pixels that share a sample of chroma. */
function subsampling({ planes }: VideoFormat): number {
  return Math.max(...planes.map(({ subX, subY }) => subX * subY));
}

/** A native frame of a layout, and the way between it and the bytes of a picture. */
class NativePicture {
  readonly frame: AvFrame;
  readonly #info: VideoInfo;
  readonly #copier: FrameCopier;
  readonly #size: number;
  readonly #least: number;
  readonly #isWide: boolean;
  /** Rows one behind the other, for a layout with gaps. */
  readonly #packed: VideoInfo | undefined;
  #bytes: Uint8Array | undefined;

  constructor(
    av: Libav,
    Copier: FrameCopierClass,
    info: VideoInfo,
    { matrix, fullRange }: VideoPresentation,
    height: number,
  ) {
    const { format, width, height: rows } = info;
    const number = (av as unknown as Readonly<Record<string, number | undefined>>)[
      `AV_PIX_FMT_${pixelFormatName(format)}`
    ];
    this.frame = frameOf(av, number ?? -1, width, rows);
    this.frame.colorRange = isRgb(format) || fullRange === true ? FULL_RANGE : LIMITED_RANGE;
    this.frame.colorSpace = isRgb(format) ? RGB_SPACE : COLOR_SPACES[matrixOf(matrix, height)];
    this.frame.chromaLocation = CENTERED;
    this.#copier = new Copier(av);
    this.#info = info;
    this.#least = extentOf(info);
    this.#isWide = findVideoFormat(format)!.bits > 8;
    const packed = VideoInfo.of({ format, width, height: rows });
    this.#size = packed.size;
    if (!packed.equals(info)) this.#packed = packed;
  }

  check(name: string, bytes: Uint8Array): void {
    checkPicture(name, bytes, this.#least, this.#isWide);
  }

  /** Bytes into the frame. */
  load(bytes: Uint8Array): boolean {
    if (this.#packed === undefined) return this.#copier.fill(this.frame, bytes, this.#size);
    this.#bytes ??= new Uint8Array(this.#size);
    copyRows(this.#info, bytes, this.#packed, this.#bytes);
    return this.#copier.fill(this.frame, this.#bytes, this.#size);
  }

  /** The frame into bytes. */
  store(bytes: Uint8Array): boolean {
    if (this.#packed === undefined) return this.#copier.copy(this.frame, bytes, this.#size);
    this.#bytes ??= new Uint8Array(this.#size);
    if (!this.#copier.copy(this.frame, this.#bytes, this.#size)) return false;
    copyRows(this.#packed, this.#bytes, this.#info, bytes);
    return true;
  }
}

function copyRows(from: VideoInfo, source: Uint8Array, to: VideoInfo, target: Uint8Array): void {
  from.planes.forEach(({ offset, stride, rowBytes, height }, i) => {
    const place = to.planes[i]!;
    for (let y = 0; y < height; y++) {
      const at = offset + y * stride;
      target.set(source.subarray(at, at + rowBytes), place.offset + y * place.stride);
    }
  });
}

/** libswscale on one pair of layouts. */
class LibavConverter implements PictureConverter {
  readonly #scaler: AvScaler;
  readonly #from: NativePicture;
  readonly #to: NativePicture;
  /** Takes over where libav turns out not to get its buffers. */
  readonly #other: () => PictureConverter;
  #state: "new" | "ready" | PictureConverter = "new";

  constructor(scaler: AvScaler, from: NativePicture, to: NativePicture, other: () => PictureConverter) {
    this.#scaler = scaler;
    this.#from = from;
    this.#to = to;
    this.#other = other;
  }

  get by(): string {
    return typeof this.#state === "string" ? "libav" : this.#state.by;
  }

  run(source: Uint8Array, target: Uint8Array): void {
    this.#from.check("source", source);
    this.#to.check("target", target);
    if (this.#state === "new") this.#state = this.#begin();
    if (this.#state !== "ready") {
      this.#state.run(source, target);
      return;
    }
    const isDone = this.#from.load(source) && this.#scale() && this.#to.store(target);
    if (!isDone) throw new MillpondError("ERR_ALLOCATION_FAILED", "libav could not convert a picture: out of memory");
  }

  /**
   * Gets the buffers, and scales one picture of whatever is in them. With the first picture, not before: then a pool
   * has been allowed to have slots of that size.
   */
  #begin(): "ready" | PictureConverter {
    if (this.#from.frame.getBuffer(0) >= 0 && this.#to.frame.getBuffer(0) >= 0 && this.#scale()) return "ready";
    this.#free();
    return this.#other();
  }

  #scale(): boolean {
    return this.#scaler.scaleFrameSync(this.#to.frame, this.#from.frame) >= 0;
  }

  close(): void {
    if (typeof this.#state === "string") this.#free();
    else this.#state.close();
  }

  #free(): void {
    this.#scaler.freeContext();
    this.#from.frame.free();
    this.#to.frame.free();
  }
}

/** What makes converters of a node-av; undefined, and a text instead, where it does not do what is known of it. */
export function converterMaker(av: Libav, Copier: FrameCopierClass): ConverterMaker | string {
  const make: ConverterMaker = (from, to, presentation) => {
    if (!canConvert(from, to)) return undefined;
    const scaler = new av.SoftwareScaleContext();
    scaler.allocContext();
    // Unmarked colors are taken by the height of the picture that has a matrix.
    const { height } = isRgb(from.format) ? to : from;
    const pictures = [from, to].map((info) => new NativePicture(av, Copier, info, presentation, height));
    const other = (): PictureConverter => portableConverter(from, to, presentation);
    const converter = new LibavConverter(scaler, pictures[0]!, pictures[1]!, other);
    if (OPTIONS.every(([name, value]) => scaler.setOption(name, value) >= 0)) return converter;
    converter.close();
    return undefined;
  };
  try {
    return isAlike(make) ? make : "its scaler gives other pictures";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Tries a size and a change of colors, with a matrix and a range that are not the default, on small pictures. */
function isAlike(make: ConverterMaker): boolean {
  const from = VideoInfo.of({ format: "I420", width: 64, height: 64 });
  const source = Uint8Array.from({ length: from.size }, (_, i) => 128 + 60 * Math.sin(i / 9));
  return (["I420", "RGBA"] as const).every((format) => {
    const to = VideoInfo.of({ format, width: 32, height: 32 });
    const shown = { matrix: "bt709", fullRange: true };
    const [own, theirs] = [new Uint8Array(to.size), new Uint8Array(to.size)];
    new FrameConverter(from, to, shown).run(source, own);
    const converter = make(from, to, shown);
    if (converter === undefined) return false;
    converter.run(source, theirs);
    const isLibav = converter.by === "libav";
    converter.close();
    return isLibav && own.every((value, i) => Math.abs(value - theirs[i]!) <= 3);
  });
}
