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
  const { columns, rows, width, height } = size;
  const { rotation, flip } = presentation;
  const color = colorOf(presentation, layout.height);
  let at = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      // Backwards from what is shown to what is stored: undo the mirroring, then the rotation.
      const across = flip ? width - 1 - x : x;
      let column = across;
      let row = y;
      if (rotation === 90) {
        column = y;
        row = rows - 1 - across;
      } else if (rotation === 180) {
        column = columns - 1 - across;
        row = rows - 1 - y;
      } else if (rotation === 270) {
        column = columns - 1 - y;
        row = across;
      }
      const cell = row * columns + column;
      writePixel(measures, cell, color, rgb, at);
      at += 3;
    }
  }
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
