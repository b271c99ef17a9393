/**
 * VideoInfo: how one picture lies in its bytes. Exact sizes, so that a pool sized by it wastes nothing but page rounding
 * (under 2 %; powers of two waste 35 to 52 %).
 *
 * ```ts
 * const info = VideoInfo.of({ format: "I420", width: 1920, height: 1080, strideAlign: 64 });
 * info.size;      // 3110400 bytes
 * info.planes[1]; // { offset: 2073600, stride: 960, width: 960, height: 540, rowBytes: 960, sampleBytes: 1 }
 * pool.configure({ size: info.size, max: 4, format: info });
 * ```
 *
 * ```
 *   plane:   |<- rowBytes ->|.....|        stride = rowBytes rounded up to strideAlign
 *            |<-     stride     ->|        height rows; the last one has its full stride too
 * ```
 */
import { badValue, outOfRange, powerOfTwo, wholeNumber, wrongType } from "../observe/arguments.ts";
import { findVideoFormat, type VideoFormat, type VideoPixelFormat, videoFormatNames } from "./video-format.ts";

export type { VideoPixelFormat } from "./video-format.ts";

/** What {@link VideoInfo.of} takes. */
export interface VideoInfoOptions {
  /** A WebCodecs pixel format, or "GRAY8". */
  format: VideoPixelFormat;
  /** Columns of the picture, 1 to 65,535. */
  width: number;
  /** Rows of the picture, 1 to 65,535. */
  height: number;
  /** Every stride is a multiple of this, a power of two in bytes; default 1 (tight rows). */
  strideAlign?: number;
  /** Every plane starts at a multiple of this, a power of two in bytes; default `strideAlign`. */
  planeAlign?: number;
  /** Strides in bytes, one for each plane, instead of computed ones. */
  strides?: readonly number[];
  /** Plane offsets in bytes, one for each plane, instead of computed ones. Planes may not overlap. */
  offsets?: readonly number[];
}

/** One plane of a picture. */
export interface PlaneInfo {
  /** First byte of the plane, from the start of the picture. */
  readonly offset: number;
  /** Bytes from one row to the next. */
  readonly stride: number;
  /** Columns of the plane (subsampled ones rounded up). */
  readonly width: number;
  /** Rows of the plane (subsampled ones rounded up). */
  readonly height: number;
  /** Bytes of a row that mean something: `width * sampleBytes`. */
  readonly rowBytes: number;
  /** Bytes that one column takes. */
  readonly sampleBytes: number;
}

/** 65,535: what 16-bit header fields of every container carry; it keeps all products far below 2^53. */
const MAX_SIDE = 65_535;

/** The layout of one picture; immutable. */
export class VideoInfo {
  /** The pixel format's name. */
  readonly format: VideoPixelFormat;
  /** Columns of the picture. */
  readonly width: number;
  /** Rows of the picture. */
  readonly height: number;
  /** The planes, in the format's order; a list of {offset, stride} as WebCodecs' `PlaneLayout` wants it, and more. */
  readonly planes: readonly PlaneInfo[];
  /** Bytes of the whole picture, to the end of the last row's stride. */
  readonly size: number;
  /** Bytes of the picture that mean something. */
  readonly payload: number;

  private constructor(format: VideoFormat, width: number, height: number, planes: readonly PlaneInfo[]) {
    this.format = format.name;
    this.width = width;
    this.height = height;
    this.planes = Object.freeze(planes);
    this.size = planes.reduce((end, plane) => Math.max(end, plane.offset + plane.stride * plane.height), 0);
    this.payload = planes.reduce((sum, plane) => sum + plane.rowBytes * plane.height, 0);
    Object.freeze(this);
  }

  /**
   * Lays out a picture. Subsampled planes of odd pictures are rounded up, as WebCodecs does it.
   * Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` (unknown format, alignment), `ERR_OUT_OF_RANGE`.
   */
  static of(options: VideoInfoOptions): VideoInfo {
    if (options === null || typeof options !== "object") throw wrongType("options", "VideoInfoOptions", options);
    const format = checkFormat(options.format);
    const width = wholeNumber("options.width", options.width, 1, MAX_SIDE);
    const height = wholeNumber("options.height", options.height, 1, MAX_SIDE);
    const strideAlign = checkAlign("options.strideAlign", options.strideAlign, 1);
    const planeAlign = checkAlign("options.planeAlign", options.planeAlign, strideAlign);
    checkList("options.strides", options.strides, format);
    checkList("options.offsets", options.offsets, format);
    const planes: PlaneInfo[] = [];
    let end = 0;
    format.planes.forEach((plane, i) => {
      const columns = Math.ceil(width / plane.subX);
      const rows = Math.ceil(height / plane.subY);
      const rowBytes = columns * plane.sampleBytes;
      const stride = chosen("options.strides", options.strides, i, rowBytes) ?? roundUp(rowBytes, strideAlign);
      const offset = chosen("options.offsets", options.offsets, i, 0) ?? roundUp(end, planeAlign);
      const { sampleBytes } = plane;
      planes.push(Object.freeze({ offset, stride, width: columns, height: rows, rowBytes, sampleBytes }));
      end = Math.max(end, offset + stride * rows);
    });
    assertApart(planes);
    return new VideoInfo(format, width, height, planes);
  }

  /** The bytes of one plane of a picture that starts at the beginning of `bytes`; a new view. Throws `ERR_OUT_OF_RANGE`. */
  plane(bytes: Uint8Array, index: number): Uint8Array {
    wholeNumber("index", index, 0, this.planes.length - 1);
    if (bytes.length < this.size) throw outOfRange("bytes.length", `at least ${this.size}, for ${this}`, bytes.length);
    const { offset, stride, height } = this.planes[index]!;
    return bytes.subarray(offset, offset + stride * height);
  }

  /** True when both lay out the same picture in the same way. */
  equals(other: VideoInfo): boolean {
    if (other.format !== this.format || other.width !== this.width || other.height !== this.height) return false;
    return this.planes.every((plane, i) => {
      const twin = other.planes[i]!;
      return plane.offset === twin.offset && plane.stride === twin.stride;
    });
  }

  /** `I420 1920x1080 (3110400 bytes)`. */
  toString(): string {
    return `${this.format} ${this.width}x${this.height} (${this.size} bytes)`;
  }
}

function checkFormat(name: unknown): VideoFormat {
  if (typeof name !== "string") throw wrongType("options.format", "the name of a pixel format", name);
  const format = findVideoFormat(name);
  if (format === undefined) throw badValue("options.format", `one of ${videoFormatNames().join(", ")}`, name);
  return format;
}

/** 4096: rows aligned to a page are the most that any consumer asks for. */
const MAX_STRIDE_ALIGN = 4096;

function checkAlign(name: string, value: number | undefined, fallback: number): number {
  return value === undefined ? fallback : powerOfTwo(name, value, MAX_STRIDE_ALIGN);
}

function checkList(name: string, list: unknown, format: VideoFormat): void {
  if (list === undefined) return;
  if (!Array.isArray(list)) throw wrongType(name, "a list of numbers", list);
  if (list.length !== format.planes.length) {
    throw outOfRange(`${name}.length`, `${format.planes.length}, one for each plane of ${format.name}`, list.length);
  }
}

function chosen(name: string, list: readonly number[] | undefined, i: number, min: number): number | undefined {
  // 2^40 bytes is far beyond any picture of 65,535 x 65,535 and keeps offset + stride * rows exact.
  return list === undefined ? undefined : wholeNumber(`${name}[${i}]`, list[i], min, 2 ** 40 / MAX_SIDE);
}

function assertApart(planes: readonly PlaneInfo[]): void {
  const sorted = [...planes].sort((a, b) => a.offset - b.offset);
  sorted.forEach((plane, i) => {
    const next = sorted[i + 1];
    if (next !== undefined && plane.offset + plane.stride * plane.height > next.offset) {
      throw outOfRange("options.offsets", "far enough apart that planes do not overlap", next.offset);
    }
  });
}

function roundUp(value: number, align: number): number {
  return Math.ceil(value / align) * align;
}
