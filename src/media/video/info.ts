/**
 * VideoInfo: how one picture lies in its bytes. Exact sizes, so that a pool sized by it wastes nothing but page
 * rounding (under 2 % from 720p up with tight or 64-byte rows; docs/layouts.md has the table).
 *
 * ```ts
 * const info = VideoInfo.of({ format: "I420", width: 1920, height: 1080, strideAlign: 64 });
 * info.size;      // 3110400 bytes
 * info.planes[1]; // { offset: 2073600, stride: 960, width: 960, height: 540, rowBytes: 960, sampleBytes: 1 }
 * await frame.copyTo(bytes, { layout: info.layout }); // a WebCodecs VideoFrame
 * pool.configure({ size: info.size, max: 4, format: info });
 * ```
 *
 * ```
 *   plane:   |<- rowBytes ->|.....|        stride = rowBytes rounded up to strideAlign
 *            |<-     stride     ->|        height rows; the last one has its full stride too
 * ```
 *
 * With `padding`, each plane has rows above and below and columns on both sides that belong to nobody's picture: what
 * decoders write into beyond the edges. `offset` is where the picture itself starts.
 */
import { alignUp } from "../../util/align.ts";
import { badValue, checkOptions, outOfRange, powerOfTwo, wholeNumber, wrongType } from "../../util/validate.ts";
import { findVideoFormat, type VideoFormat, type VideoPixelFormat, videoFormatNames } from "./format.ts";
import { checkPlane } from "./plane-check.ts";

export type { VideoPixelFormat } from "./format.ts";

/** What {@link VideoInfo.of} takes. */
export interface VideoInfoOptions {
  /** A WebCodecs pixel format, or "GRAY8". */
  format: VideoPixelFormat;
  /** Columns of the picture, 1 to 65,535. */
  width: number;
  /** Rows of the picture, 1 to 65,535. */
  height: number;
  /** Every stride is a multiple of this, a power of two up to 4,096 bytes; default 1 (tight rows). */
  strideAlign?: number;
  /** Every plane starts at a multiple of this, a power of two up to 2 MiB; default `strideAlign`. */
  planeAlign?: number;
  /** Strides in bytes, one for each plane, instead of computed ones: at least a row, multiples of `strideAlign`. */
  strides?: readonly number[];
  /**
   * Plane offsets in bytes, one for each plane, instead of computed ones, no overlaps: each plane with its padding
   * starts at a multiple of `planeAlign`.
   */
  offsets?: readonly number[];
  /**
   * Columns and rows of the picture around it that the buffer has, too; default none. Subsampled planes have their
   * part, rounded up.
   */
  padding?: Partial<VideoPadding>;
}

/** Room around a picture, in its own columns and rows; at most 4,096 on a side. */
export interface VideoPadding {
  /** Rows above. */
  readonly top: number;
  /** Rows below. */
  readonly bottom: number;
  /** Columns to the left. */
  readonly left: number;
  /** Columns to the right. */
  readonly right: number;
}

/** Where a plane lies, in the shape of WebCodecs' `PlaneLayout`. */
export interface PlanePlacement {
  /** First byte of the plane, from the start of the picture. */
  readonly offset: number;
  /** Bytes from one row to the next. */
  readonly stride: number;
}

/** One plane of a picture. */
export interface PlaneInfo extends PlanePlacement {
  /**
   * Columns of the plane, rounded up where it is subsampled. A column is what lies side by side for one place: one
   * sample in a planar plane, a UV pair in NV12, a whole pixel in RGBA.
   */
  readonly width: number;
  /** Rows of the plane, rounded up where it is subsampled. */
  readonly height: number;
  /** Bytes of a row that mean something: `width * sampleBytes`. */
  readonly rowBytes: number;
  /** Bytes that one column takes. */
  readonly sampleBytes: number;
}

/** 65,535: what 16-bit header fields of every container carry; it keeps all products far below 2^53. */
export const MAX_SIDE = 65_535;

/** 4,096: more than any codec's largest block and its motion vectors reach beyond the edge. */
const MAX_PADDING = 4096;

const NO_PADDING: VideoPadding = /* @__PURE__ */ Object.freeze({ top: 0, bottom: 0, left: 0, right: 0 });

/** 4,096: rows aligned to a small page are the most that any consumer asks for. */
const MAX_STRIDE_ALIGN = 4096;

/** 2 MiB, a huge page: planes that are mapped one by one start on a page, and those go up to it. */
const MAX_PLANE_ALIGN = 2 ** 21;

/** 16 MiB: 64 times the longest row (65,535 pixels of 4 bytes), for pictures that are windows into larger ones. */
const MAX_STRIDE = 2 ** 24;

/** 4 TiB: four planes of 65,535 rows of the longest stride end below it, so every computed offset is also accepted. */
const MAX_OFFSET = 2 ** 42;

const OPTION_KEYS = [
  "format",
  "width",
  "height",
  "strideAlign",
  "planeAlign",
  "strides",
  "offsets",
  "padding",
] as const;

/** The layout of one picture; immutable. */
export class VideoInfo {
  /** The pixel format's name. */
  readonly format: VideoPixelFormat;
  /** Columns of the picture. */
  readonly width: number;
  /** Rows of the picture. */
  readonly height: number;
  /** The planes, in the format's order. */
  readonly planes: readonly PlaneInfo[];
  /** Room around the picture. */
  readonly padding: VideoPadding;
  /** Bytes of the whole picture, padding included, to the end of the last row's stride. */
  readonly size: number;
  /** Bytes of the picture that mean something. */
  readonly payload: number;

  private constructor(
    format: VideoFormat,
    width: number,
    height: number,
    planes: readonly PlaneInfo[],
    padding: VideoPadding,
    size: number,
  ) {
    this.format = format.name;
    this.width = width;
    this.height = height;
    this.planes = Object.freeze(planes);
    this.padding = padding;
    this.size = size;
    this.payload = planes.reduce((sum, plane) => sum + plane.rowBytes * plane.height, 0);
    Object.freeze(this);
  }

  /**
   * Lays out a picture, planes one after another from byte 0. Subsampled planes of odd pictures are rounded up, as
   * WebCodecs does it. Any layout can be rebuilt from its own strides and offsets. O(planes). Throws
   * `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` (unknown format; an alignment that is not a power of two; strides
   * or offsets that break it), `ERR_OUT_OF_RANGE` (sizes; strides under a row; overlapping planes; wrong count of
   * them).
   */
  static of(options: VideoInfoOptions): VideoInfo {
    if (options === undefined) throw wrongType("options", "a plain object", options);
    const given = checkOptions("options", options, OPTION_KEYS);
    const format = checkFormat(given.format);
    const width = wholeNumber("options.width", given.width, 1, MAX_SIDE);
    const height = wholeNumber("options.height", given.height, 1, MAX_SIDE);
    const { strideAlign: rows = 1, planeAlign: starts = rows, strides, offsets } = given;
    const strideAlign = powerOfTwo("options.strideAlign", rows, MAX_STRIDE_ALIGN);
    const planeAlign = powerOfTwo("options.planeAlign", starts, MAX_PLANE_ALIGN);
    checkList("options.strides", strides, format);
    checkList("options.offsets", offsets, format);
    const padding = checkPadding(given.padding);
    const planes: PlaneInfo[] = [];
    const extents: Extent[] = [];
    let end = 0;
    format.planes.forEach((plane, i) => {
      const columns = Math.ceil(width / plane.subX);
      const rows = Math.ceil(height / plane.subY);
      const rowBytes = columns * plane.sampleBytes;
      const above = Math.ceil(padding.top / plane.subY);
      const before = Math.ceil(padding.left / plane.subX) * plane.sampleBytes;
      const wholeRow = before + rowBytes + Math.ceil(padding.right / plane.subX) * plane.sampleBytes;
      const wholeRows = above + rows + Math.ceil(padding.bottom / plane.subY);
      const stride =
        strides === undefined
          ? alignUp(wholeRow, strideAlign)
          : multipleOf(strideAlign, `options.strides[${i}]`, strides[i], wholeRow, MAX_STRIDE);
      const lead = above * stride + before;
      const offset =
        offsets === undefined
          ? alignUp(end, planeAlign) + lead
          : givenOffset(`options.offsets[${i}]`, offsets[i], lead, planeAlign);
      const { sampleBytes } = plane;
      planes.push(Object.freeze({ offset, stride, width: columns, height: rows, rowBytes, sampleBytes }));
      const extent = { start: offset - lead, end: offset - lead + stride * wholeRows };
      extents.push(extent);
      end = Math.max(end, extent.end);
    });
    assertApart(extents);
    return new VideoInfo(format, width, height, planes, padding, end);
  }

  /**
   * The bytes of one plane, whole strides, of a picture that starts at the beginning of `bytes`: a new view, no copy.
   * O(1). Throws `ERR_INVALID_ARG_TYPE` (no Uint8Array) and `ERR_OUT_OF_RANGE` (no such plane, or `bytes` is too
   * short).
   */
  plane(bytes: Uint8Array, index: number): Uint8Array {
    checkPlane(this, bytes, index);
    const { offset, stride, height } = this.planes[index]!;
    return bytes.subarray(offset, offset + stride * height);
  }

  /**
   * True when both lay out the same picture in the same way. A structured clone of a layout, which is plain data,
   * equals it too; anything else is false. O(planes). @realtime
   */
  equals(other: VideoInfo | null | undefined): boolean {
    if (other?.format !== this.format || other.width !== this.width || other.height !== this.height) return false;
    if (other.size !== this.size) return false;
    for (let i = 0; i < this.planes.length; i++) {
      const mine = this.planes[i]!;
      const theirs = other.planes?.[i];
      if (theirs?.offset !== mine.offset || theirs.stride !== mine.stride) return false;
    }
    return true;
  }

  /**
   * Where the planes lie, nothing else: the `layout` that WebCodecs' `VideoFrame.copyTo()` and its constructor take. A
   * new list at each reading, because their types ask for one that may be changed.
   */
  get layout(): PlanePlacement[] {
    return this.planes.map(({ offset, stride }) => ({ offset, stride }));
  }

  /** `I420 1920x1080 (3110400 bytes)`. */
  toString(): string {
    return `${this.format} ${this.width}x${this.height} (${this.size} bytes)`;
  }
}

function checkFormat(name: unknown): VideoFormat {
  if (typeof name !== "string") throw wrongType("options.format", "the name of a pixel format", name);
  const format = findVideoFormat(name);
  if (format === undefined)
    throw badValue("options.format", `one of ${videoFormatNames().join(", ")} (I420 is ffmpeg's yuv420p)`, name);
  return format;
}

function checkList(name: string, list: unknown, format: VideoFormat): void {
  if (list === undefined) return;
  if (!Array.isArray(list)) throw wrongType(name, "a list of numbers", list);
  if (list.length !== format.planes.length) {
    throw outOfRange(`${name}.length`, `${format.planes.length}, one for each plane of ${format.name}`, list.length);
  }
}

function multipleOf(align: number, name: string, value: unknown, min: number, max: number): number {
  const number = wholeNumber(name, value, min, max);
  if (number % align !== 0) throw badValue(name, `a multiple of ${align}, the alignment that was asked for`, number);
  return number;
}

function givenOffset(name: string, value: unknown, lead: number, align: number): number {
  const offset = wholeNumber(name, value, lead, MAX_OFFSET);
  if ((offset - lead) % align === 0) return offset;
  const what = lead === 0 ? `a multiple of ${align}` : `${lead}, its padding, beyond a multiple of ${align}`;
  throw badValue(name, `${what}, the alignment that was asked for`, offset);
}

function checkPadding(padding: unknown): VideoPadding {
  if (padding === undefined) return NO_PADDING;
  const given = checkOptions("options.padding", padding as Partial<VideoPadding>, ["top", "bottom", "left", "right"]);
  const { top = 0, bottom = 0, left = 0, right = 0 } = given;
  const sides = { top, bottom, left, right };
  for (const [side, value] of Object.entries(sides)) wholeNumber(`options.padding.${side}`, value, 0, MAX_PADDING);
  return top + bottom + left + right === 0 ? NO_PADDING : Object.freeze(sides);
}

/** A plane with its padding; bytes from the start of the picture. */
interface Extent {
  readonly start: number;
  readonly end: number;
}

function assertApart(extents: readonly Extent[]): void {
  const sorted = [...extents].sort((a, b) => a.start - b.start);
  sorted.forEach((plane, i) => {
    const next = sorted[i + 1];
    if (next !== undefined && plane.end > next.start) {
      throw outOfRange("options.offsets", "far enough apart that planes do not overlap", next.start);
    }
  });
}
