/** From the averages of a grid to an upright picture in RGB: color, rotation, mirroring. */
import type { FrameLayout, Presentation } from "../media/video/frame-layout.ts";
import { colorOf, type YuvColor } from "./color.ts";
import type { Measures } from "./measure.ts";

/** Longest side of a thumbnail in pixels: twenty of them fill a screen. */
export const THUMB_SIDE = 256;

/** Width and height of a thumbnail. */
export interface ThumbSize {
  /** Pixels in a row, upright. */
  readonly width: number;
  /** Rows, upright. */
  readonly height: number;
  /** Pixels in a row before rotation, as {@link measureFrame} averages them. */
  readonly columns: number;
  /** Rows before rotation. */
  readonly rows: number;
}

/**
 * The size of a frame's thumbnail: its picture as shown, scaled down to {@link THUMB_SIDE}, and never more cells than
 * the coarsest plane has samples.
 */
export function thumbSize(layout: FrameLayout, presentation: Presentation): ThumbSize {
  const shown = layout.width * presentation.pixelAspect;
  const scale = Math.min(1, THUMB_SIDE / Math.max(shown, layout.height));
  const columns = clamp(Math.round(shown * scale), Math.ceil(layout.width / 2));
  const rows = clamp(Math.round(layout.height * scale), Math.ceil(layout.height / 2));
  const isTurned = presentation.rotation % 180 !== 0;
  return { width: isTurned ? rows : columns, height: isTurned ? columns : rows, columns, rows };
}

function clamp(value: number, max: number): number {
  return Math.max(1, Math.min(value, max));
}

/** Writes the picture of `measures` into `rgb`: `width * height * 3` bytes, rows from the top. */
export function drawThumbnail(
  measures: Measures,
  size: ThumbSize,
  layout: FrameLayout,
  presentation: Presentation,
  rgb: Uint8Array,
): void {
  const color = colorOf(presentation, layout.height);
  for (let y = 0, at = 0; y < size.height; y++) {
    for (let x = 0; x < size.width; x++, at += 3)
      writePixel(measures, storedCell(x, y, size, presentation), color, rgb, at);
  }
}

/** Writes a picture of `columns * rows` RGBA pixels into `rgb`, upright. */
export function drawUpright(rgba: Uint8Array, size: ThumbSize, presentation: Presentation, rgb: Uint8Array): void {
  for (let y = 0, at = 0; y < size.height; y++) {
    for (let x = 0; x < size.width; x++, at += 3) {
      const from = 4 * storedCell(x, y, size, presentation);
      rgb[at] = rgba[from]!;
      rgb[at + 1] = rgba[from + 1]!;
      rgb[at + 2] = rgba[from + 2]!;
    }
  }
}

/** Backwards from what is shown to what is stored: undoes the mirroring, then the rotation. */
function storedCell(
  x: number,
  y: number,
  { width, columns, rows }: ThumbSize,
  { rotation, flip }: Presentation,
): number {
  const across = flip ? width - 1 - x : x;
  if (rotation === 90) return (rows - 1 - across) * columns + y;
  if (rotation === 180) return (rows - 1 - y) * columns + columns - 1 - across;
  if (rotation === 270) return across * columns + columns - 1 - y;
  return y * columns + across;
}

function writePixel(measures: Measures, cell: number, color: YuvColor, rgb: Uint8Array, at: number): void {
  const first = measures.first[cell]!;
  const second = measures.second[cell]!;
  const third = measures.third[cell]!;
  if (measures.isRgb) {
    rgb[at] = first;
    rgb[at + 1] = second;
    rgb[at + 2] = third;
    return;
  }
  const luma = (first - color.black) * color.gain;
  const cb = second - 128;
  const cr = third - 128;
  rgb[at] = byte(luma + color.redCr * cr);
  rgb[at + 1] = byte(luma + color.greenCb * cb + color.greenCr * cr);
  rgb[at + 2] = byte(luma + color.blueCb * cb);
}

// Plain byte arrays wrap around where a clamped one would not, and shared memory has no clamped view of a mixed block.
function byte(value: number): number {
  return value < 0 ? 0 : value > 255 ? 255 : Math.round(value);
}
