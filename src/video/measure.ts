/**
 * Reads every pixel of a frame once: luma sum and histogram over all of them, and the averages of a coarse grid, of
 * which the thumbnail is made. Works on any memory, shared or not, and allocates nothing after the first frame.
 */
import type { FrameLayout } from "../media/video/frame-layout.ts";

/** Bins of the luma histogram; each is four code values of 8 bits wide, fine enough to tell scenes apart. */
export const HISTOGRAM_BINS = 64;

/** What {@link measureFrame} finds; reused from frame to frame. */
export interface Measures {
  /** Sum of luma in code values of 8 bits. */
  lumaSum: number;
  /** Pixels in the sum. */
  pixels: number;
  /** Pixels a bin. */
  readonly histogram: Uint32Array;
  /** Averages a cell, rows from the top: luma (or red) in 8 bits. */
  readonly first: Float32Array;
  /** The same of Cb (or green); 128 for a gray format. */
  readonly second: Float32Array;
  /** The same of Cr (or blue). */
  readonly third: Float32Array;
  /** True when the three are red, green and blue. */
  isRgb: boolean;
}

/** What of the measures is wanted. */
type MeasureNeeds = "all" | "luma" | "picture";

/** How the samples of a format lie; enough to walk through them. */
interface SampleFormat {
  readonly kind: "planar" | "nv12" | "packed" | "gray";
  /** Bits beyond eight. */
  readonly shift: number;
  /** Luma columns a chroma sample. */
  readonly subX: number;
  /** Luma rows a chroma sample. */
  readonly subY: number;
  /** Byte of red in a packed pixel; blue is `2 - red`. */
  readonly red: number;
}

type Samples = Uint8Array | Uint16Array;

/** Empty measures for a grid of `columns` x `rows` cells. */
export function createMeasures(columns: number, rows: number): Measures {
  const cells = columns * rows;
  return {
    lumaSum: 0,
    pixels: 0,
    histogram: new Uint32Array(HISTOGRAM_BINS),
    first: new Float32Array(cells),
    second: new Float32Array(cells).fill(128),
    third: new Float32Array(cells).fill(128),
    isRgb: false,
  };
}

/** True for a format that {@link measureFrame} can walk through. */
export function canMeasure(format: string): boolean {
  return sampleFormat(format) !== undefined;
}

function sampleFormat(format: string): SampleFormat | undefined {
  const packed = /^(RGB|BGR)[AX]$/.exec(format);
  if (packed !== null) return { kind: "packed", shift: 0, subX: 1, subY: 1, red: packed[1] === "RGB" ? 0 : 2 };
  if (format === "NV12") return { kind: "nv12", shift: 0, subX: 2, subY: 2, red: 0 };
  const gray = /^GRAY(8|10|12|16)$/.exec(format);
  if (gray !== null) return { kind: "gray", shift: Number(gray[1]) - 8, subX: 1, subY: 1, red: 0 };
  const planar = /^I4(20|22|44)A?(?:P(10|12))?$/.exec(format);
  if (planar === null) return undefined;
  const shift = planar[2] === undefined ? 0 : Number(planar[2]) - 8;
  return { kind: "planar", shift, subX: planar[1] === "44" ? 1 : 2, subY: planar[1] === "20" ? 2 : 1, red: 0 };
}

/**
 * Measures one frame into `out`, whose grid has `columns` x `rows` cells (neither more than the frame has chroma
 * samples). Throws `RangeError` for a format that {@link canMeasure} does not know. O(pixels).
 *
 * @param needs "luma": only the sum and the histogram; "picture": only the averages of the grid
 */
export function measureFrame(
  bytes: Uint8Array,
  layout: FrameLayout,
  columns: number,
  rows: number,
  out: Measures,
  needs: MeasureNeeds = "all",
): void {
  const format = sampleFormat(layout.format);
  const luma = layout.planes[0];
  if (format === undefined || luma === undefined) throw new RangeError(`frames in ${layout.format} cannot be measured`);
  const hasPicture = needs !== "luma";
  out.isRgb = format.kind === "packed";
  if (needs !== "picture") {
    out.histogram.fill(0);
    out.pixels = layout.width * layout.height;
  }
  if (format.kind === "packed") {
    if (needs !== "picture")
      out.lumaSum = scanPacked(bytes, luma.offset, luma.stride, layout, format.red, out.histogram);
    if (hasPicture) averagePacked(bytes, luma.offset, luma.stride, layout, format.red, columns, rows, out);
    return;
  }
  const wide = format.shift > 0;
  const samples: Samples = wide ? new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length >> 1) : bytes;
  const unit = wide ? 2 : 1;
  const scale = 1 / (1 << format.shift);
  const [start, stride] = [luma.offset / unit, luma.stride / unit];
  if (needs === "picture") {
    averageCells(samples, start, stride, 1, layout.width, layout.height, columns, rows, out.first);
  } else {
    const { first, histogram } = out;
    out.lumaSum = scale * scanLuma(samples, start, stride, layout, format.shift, columns, rows, first, histogram);
  }
  if (wide) scaleAll(out.first, scale);
  if (format.kind === "gray" || !hasPicture) return;

  const width = Math.ceil(layout.width / format.subX);
  const height = Math.ceil(layout.height / format.subY);
  const isNv12 = format.kind === "nv12";
  const cb = layout.planes[1]!;
  const cr = isNv12 ? cb : layout.planes[2]!;
  const step = isNv12 ? 2 : 1;
  averageCells(samples, cb.offset / unit, cb.stride / unit, step, width, height, columns, rows, out.second);
  averageCells(
    samples,
    cr.offset / unit + (isNv12 ? 1 : 0),
    cr.stride / unit,
    step,
    width,
    height,
    columns,
    rows,
    out.third,
  );
  if (wide) {
    scaleAll(out.second, scale);
    scaleAll(out.third, scale);
  }
}

/** The hot loop: one load, one count and one addition a pixel. Returns the sum in the format's own code values. */
function scanLuma(
  samples: Samples,
  offset: number,
  stride: number,
  size: { readonly width: number; readonly height: number },
  shift: number,
  columns: number,
  rows: number,
  cells: Float32Array,
  histogram: Uint32Array,
): number {
  const { width, height } = size;
  // 64 bins of 8-bit code values: two bits off, and whatever the format has beyond eight.
  const binShift = shift + 2;
  const ends = endsOf(columns, width, 1);
  let total = 0;
  for (let row = 0; row < rows; row++) {
    const top = edge(row, rows, height);
    const bottom = edge(row + 1, rows, height);
    const start = row * columns;
    cells.fill(0, start, start + columns);
    for (let y = top; y < bottom; y++) {
      const line = offset + y * stride;
      let x = line;
      for (let column = 0; column < columns; column++) {
        const end = line + ends[column]!;
        let sum = 0;
        for (; x < end; x++) {
          const value = samples[x]!;
          histogram[value >> binShift]!++;
          sum += value;
        }
        cells[start + column]! += sum;
        total += sum;
      }
    }
    divideRow(cells, start, columns, width, bottom - top);
  }
  return total;
}

function averageCells(
  samples: Samples,
  offset: number,
  stride: number,
  step: number,
  width: number,
  height: number,
  columns: number,
  rows: number,
  cells: Float32Array,
): void {
  const ends = endsOf(columns, width, step);
  for (let row = 0; row < rows; row++) {
    const top = edge(row, rows, height);
    const bottom = edge(row + 1, rows, height);
    const start = row * columns;
    cells.fill(0, start, start + columns);
    for (let y = top; y < bottom; y++) {
      const line = offset + y * stride;
      let x = line;
      for (let column = 0; column < columns; column++) {
        const end = line + ends[column]!;
        let sum = 0;
        for (; x < end; x += step) sum += samples[x]!;
        cells[start + column]! += sum;
      }
    }
    divideRow(cells, start, columns, width, bottom - top);
  }
}

function scanPacked(
  bytes: Uint8Array,
  offset: number,
  stride: number,
  { width, height }: { readonly width: number; readonly height: number },
  red: number,
  histogram: Uint32Array,
): number {
  let total = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0, at = offset + y * stride; x < width; x++, at += 4) {
      // BT.709 luma in 8-bit fixed point: 0.2126, 0.7152, 0.0722.
      const luma = (54 * bytes[at + red]! + 183 * bytes[at + 1]! + 19 * bytes[at + 2 - red]!) >> 8;
      histogram[luma >> 2]!++;
      total += luma;
    }
  }
  return total;
}

function averagePacked(
  bytes: Uint8Array,
  offset: number,
  stride: number,
  { width, height }: { readonly width: number; readonly height: number },
  red: number,
  columns: number,
  rows: number,
  { first, second, third }: Measures,
): void {
  averageCells(bytes, offset + red, stride, 4, width, height, columns, rows, first);
  averageCells(bytes, offset + 1, stride, 4, width, height, columns, rows, second);
  averageCells(bytes, offset + 2 - red, stride, 4, width, height, columns, rows, third);
}

/** Where each cell of a row ends, in units of its samples: kept, because a division a cell costs as much as its sum. */
const knownEnds: Map<string, Int32Array> = new Map();
/** The planes of a few formats. */
const MAX_KNOWN = 32;

function endsOf(columns: number, width: number, step: number): Int32Array {
  const key = `${columns} ${width} ${step}`;
  const known = knownEnds.get(key);
  if (known !== undefined) return known;
  if (knownEnds.size >= MAX_KNOWN) knownEnds.clear();
  const ends = Int32Array.from({ length: columns }, (_, column) => step * edge(column + 1, columns, width));
  knownEnds.set(key, ends);
  return ends;
}

/** Where cell `index` of `count` begins in a run of `length` samples. */
function edge(index: number, count: number, length: number): number {
  return Math.floor((index * length) / count);
}

function divideRow(cells: Float32Array, start: number, columns: number, width: number, height: number): void {
  for (let column = 0; column < columns; column++) {
    const samples = height * (edge(column + 1, columns, width) - edge(column, columns, width));
    cells[start + column]! /= samples;
  }
}

function scaleAll(values: Float32Array, factor: number): void {
  for (let i = 0; i < values.length; i++) values[i]! *= factor;
}
