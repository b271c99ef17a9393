/**
 * Converts a picture from one layout to another: size, chroma subsampling, interleaving, bit depth, Y'CbCr to RGB and
 * back. Planned once for a pair of layouts; a frame then allocates nothing.
 */
import { findVideoFormat, isRgb } from "../media/video/format.ts";
import { VideoInfo } from "../media/video/info.ts";
import { checkPresentation, type VideoPresentation } from "../pipeline/stream-format.ts";
import { MillpondError } from "../util/errors.ts";
import { badValue, bytesOf, instance, outOfRange } from "../util/validate.ts";
import { colorOf, type RgbColor, type YuvColor, yuvOf } from "./color.ts";
import { type Grid, Resampler, type Samples } from "./resample.ts";

/** One step of a plan. */
type Step = (source: Frame, target: Frame) => void;

/** The bytes of a picture, as samples of 8 or of 16 bits. */
interface Frame {
  readonly bytes: Samples;
}

/**
 * Converts pictures from one layout to another: it scales between sizes, and converts chroma subsampling, interleaving,
 * bit depth, and Y'CbCr to RGB and back. Made once for two layouts; a picture then allocates nothing. It is no stage of
 * a pipeline: {@link VideoScale} is.
 *
 * ```ts
 * const half = new FrameConverter(info, VideoInfo.of({ format: "I420", width: 960, height: 540 }));
 * half.run(frame.bytes, out.bytes);
 * ```
 */
export class FrameConverter {
  readonly #steps: readonly Step[];
  readonly #wideSource: boolean;
  readonly #wideTarget: boolean;
  readonly #sourceBytes: number;
  readonly #targetBytes: number;

  /**
   * Plans it. Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`, `ERR_UNSUPPORTED` for formats that cannot be converted
   * into each other.
   */
  constructor(from: VideoInfo, to: VideoInfo, presentation: VideoPresentation = {}) {
    instance("from", "a VideoInfo", VideoInfo, from);
    instance("to", "a VideoInfo", VideoInfo, to);
    const shown = complete(checkPresentation("presentation", presentation));
    const source = findVideoFormat(from.format)!;
    const target = findVideoFormat(to.format)!;
    this.#wideSource = source.bits > 8;
    this.#wideTarget = target.bits > 8;
    this.#sourceBytes = extentOf(from);
    this.#targetBytes = extentOf(to);
    const [fromRgb, toRgb] = [isRgb(from.format), isRgb(to.format)];
    if ((fromRgb && this.#wideTarget) || (toRgb && this.#wideSource)) {
      // One step more, through 8 bits, would lose what the wide format is for; nobody has asked for it yet.
      throw new MillpondError(
        "ERR_UNSUPPORTED",
        `${from.format} cannot be converted to ${to.format}; convert to 8 bits of its kind first`,
      );
    }
    if (fromRgb === toRgb) this.#steps = planSame(from, to);
    else if (fromRgb) this.#steps = planToYuv(from, to, yuvOf(shown, to.height));
    else this.#steps = planToRgb(from, to, colorOf(shown, from.height));
  }

  /**
   * Converts one picture; both are plain or shared memory, the wide ones on even addresses. O(pixels).
   * Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE` for bytes that end before the picture does, `ERR_DETACHED`.
   */
  run(source: Uint8Array, target: Uint8Array): void {
    checkPicture("source", source, this.#sourceBytes, this.#wideSource);
    checkPicture("target", target, this.#targetBytes, this.#wideTarget);
    const from: Frame = { bytes: this.#wideSource ? widen(source) : source };
    const to: Frame = { bytes: this.#wideTarget ? widen(target) : target };
    for (const step of this.#steps) step(from, to);
  }
}

/** Bytes from the first sample to the last: what follows in the last row is padding. */
export function extentOf(info: VideoInfo): number {
  return Math.max(
    ...info.planes.map(({ offset, stride, rowBytes, height }) => offset + stride * (height - 1) + rowBytes),
  );
}

/**
 * Checks the bytes of a picture. Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE` below `least`, `ERR_DETACHED`.
 */
export function checkPicture(name: string, bytes: Uint8Array, least: number, isWide: boolean): void {
  bytesOf(name, bytes);
  if (bytes.length < least) throw outOfRange(`${name}.length`, `at least ${least}, the picture's`, bytes.length);
  if (isWide && bytes.byteOffset % 2 !== 0) throw badValue(`${name}.byteOffset`, "even", bytes.byteOffset);
}

function widen(bytes: Uint8Array): Uint16Array {
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length >> 1);
}

function complete({ matrix, fullRange = false }: VideoPresentation): {
  matrix: string | undefined;
  fullRange: boolean;
} {
  return { matrix, fullRange };
}

/** Where a component lies, in units of its sample type; undefined when the format does not have it. */
function gridOf(info: VideoInfo, component: string): Grid | undefined {
  const format = findVideoFormat(info.format)!;
  const unit = format.bits > 8 ? 2 : 1;
  const index = format.planes.findIndex((plane) => plane.components.includes(component));
  if (index === -1) return undefined;
  const { components } = format.planes[index]!;
  const { offset, stride, width, height } = info.planes[index]!;
  const step = components.length;
  return { offset: offset / unit + components.indexOf(component), stride: stride / unit, step, width, height };
}

function bitsOf(info: VideoInfo): number {
  return findVideoFormat(info.format)!.bits;
}

/** Component by component, each scaled from its own grid to its own grid; planes of the same components at once. */
function planSame(from: VideoInfo, to: VideoInfo): Step[] {
  const most = 2 ** bitsOf(to) - 1;
  const planes = findVideoFormat(from.format)!.planes.map(({ components }) => components);
  return findVideoFormat(to.format)!.planes.flatMap(({ components }) => {
    if (components.length > 1 && !components.includes("X") && planes.includes(components)) {
      return [scaling(gridOf(from, components[0]!)!, gridOf(to, components[0]!)!, from, to, components.length)];
    }
    return [...components].map((component) => {
      const target = gridOf(to, component)!;
      const source = component === "X" ? undefined : gridOf(from, component);
      if (source !== undefined) return scaling(source, target, from, to, 1);
      return fill(target, component === "U" || component === "V" ? (most + 1) / 2 : most);
    });
  });
}

function scaling(source: Grid, target: Grid, from: VideoInfo, to: VideoInfo, lanes: number): Step {
  const resampler = new Resampler(source, target, bitsOf(from), bitsOf(to), lanes);
  return (a, b) => resampler.run(a.bytes, b.bytes);
}

function fill({ offset, stride, step, width, height }: Grid, value: number): Step {
  return (_, { bytes }) => {
    for (let y = 0; y < height; y++) {
      for (let x = 0, at = offset + y * stride; x < width; x++, at += step) bytes[at] = value;
    }
  };
}

/** A plane of our own between two steps. */
function scratch(width: number, height: number): { grid: Grid; bytes: Uint8Array } {
  return { grid: { offset: 0, stride: width, step: 1, width, height }, bytes: new Uint8Array(width * height) };
}

/** Luma and chroma to the full size first, then the matrix. */
function planToRgb(from: VideoInfo, to: VideoInfo, color: YuvColor): Step[] {
  const { width, height } = to;
  const [y, u, v] = [scratch(width, height), scratch(width, height), scratch(width, height)];
  const steps: Step[] = [];
  for (const [component, plane] of [
    ["Y", y],
    ["U", u],
    ["V", v],
  ] as const) {
    const grid = gridOf(from, component);
    if (grid === undefined) plane.bytes.fill(128);
    else {
      const resampler = new Resampler(grid, plane.grid);
      steps.push((a) => resampler.run(a.bytes, plane.bytes));
    }
  }
  const plane = to.planes[0]!;
  const red = to.format.startsWith("R") ? 0 : 2;
  steps.push((_, b) =>
    writeRgb(y.bytes, u.bytes, v.bytes, color, b.bytes, plane.offset, plane.stride, width, height, red),
  );
  const [alpha, target] = [gridOf(from, "A"), gridOf(to, "A")];
  if (alpha !== undefined && target !== undefined) {
    const resampler = new Resampler(alpha, target);
    steps.push((a, b) => resampler.run(a.bytes, b.bytes));
  }
  return steps;
}

function writeRgb(
  y: Uint8Array,
  u: Uint8Array,
  v: Uint8Array,
  color: YuvColor,
  out: Samples,
  offset: number,
  stride: number,
  width: number,
  height: number,
  red: number,
): void {
  const { black, gain, redCr, greenCb, greenCr, blueCb } = color;
  for (let row = 0, i = 0; row < height; row++) {
    let at = offset + row * stride;
    for (let x = 0; x < width; x++, i++, at += 4) {
      const luma = (y[i]! - black) * gain + 0.5;
      const cb = u[i]! - 128;
      const cr = v[i]! - 128;
      out[at + red] = clamp(luma + redCr * cr);
      out[at + 1] = clamp(luma + greenCb * cb + greenCr * cr);
      out[at + 2 - red] = clamp(luma + blueCb * cb);
      out[at + 3] = 255;
    }
  }
}

/** To the target's size first, then the matrix, then chroma to its own size. */
function planToYuv(from: VideoInfo, to: VideoInfo, color: RgbColor): Step[] {
  const { width, height } = to;
  const rgb = ["R", "G", "B"].map((component) => {
    const plane = scratch(width, height);
    return { plane, resampler: new Resampler(gridOf(from, component)!, plane.grid) };
  });
  const steps: Step[] = rgb.map(
    ({ plane, resampler }) =>
      (a: Frame) =>
        resampler.run(a.bytes, plane.bytes),
  );
  const [r, g, b] = rgb.map(({ plane }) => plane.bytes) as [Uint8Array, Uint8Array, Uint8Array];
  for (const [component, weights, base] of [
    ["Y", color.luma, color.black],
    ["U", color.cb, 128],
    ["V", color.cr, 128],
  ] as const) {
    const grid = gridOf(to, component);
    if (grid === undefined) continue;
    const plane = scratch(width, height);
    const resampler = new Resampler(plane.grid, grid);
    steps.push((_, target) => {
      weigh(r, g, b, weights, base, plane.bytes);
      resampler.run(plane.bytes, target.bytes);
    });
  }
  const [alpha, target] = [gridOf(from, "A"), gridOf(to, "A")];
  if (target !== undefined) {
    if (alpha === undefined) steps.push(fill(target, 255));
    else {
      const resampler = new Resampler(alpha, target);
      steps.push((a, out) => resampler.run(a.bytes, out.bytes));
    }
  }
  return steps;
}

function weigh(
  r: Uint8Array,
  g: Uint8Array,
  b: Uint8Array,
  [wr, wg, wb]: readonly [number, number, number],
  base: number,
  out: Uint8Array,
): void {
  for (let i = 0; i < out.length; i++) out[i] = clamp(wr * r[i]! + wg * g[i]! + wb * b[i]! + base + 0.5);
}

function clamp(value: number): number {
  return value < 0 ? 0 : value > 255 ? 255 : value;
}
