/**
 * The contact sheet: pictures from all over the film, upright, each with its time.
 *
 * Life: `offer` the pictures in order, `draw` at the end. One picture is kept every `step` frames. Where somebody knows
 * how many frames come, the step is such that exactly the pictures of the sheet are made; else it begins at 1, and
 * doubles when more than four times as many are kept as the sheet shows: O(tiles) of memory for a film of any length,
 * and O(tiles log frames) pictures.
 */

/** A frame's picture, as it is offered to a sheet. */
interface SheetPicture {
  /** Number of the frame, from 0. */
  readonly frame: number;
  /** Upright RGB picture; copied when it is kept. */
  readonly thumbnail: Uint8Array;
  /** Its width in pixels. */
  readonly thumbWidth: number;
  /** Its height in pixels. */
  readonly thumbHeight: number;
}

/** A picture that may come onto the sheet. */
interface Tile {
  readonly frame: number;
  readonly time: number | undefined;
  readonly width: number;
  readonly height: number;
  readonly rgb: Uint8Array;
}

// The longer the film, the sparser the pictures that are kept: four times as many as are shown, so that the choice at
// the end is even to a quarter of a step without knowing the length in advance.
const KEPT_PER_TILE = 4;

const GAP = 8;
const LABEL_HEIGHT = 18;
const BACKGROUND = 0x16;
const LABEL_COLOR = 0xb8;
const LABEL_SCALE = 2;

// Digits and signs of three by five pixels, a row an octal digit.
const GLYPHS: Readonly<Record<string, number>> = {
  "0": 0o75557,
  "1": 0o26227,
  "2": 0o71747,
  "3": 0o71717,
  "4": 0o55711,
  "5": 0o74717,
  "6": 0o74757,
  "7": 0o71122,
  "8": 0o75757,
  "9": 0o75717,
  ":": 0o02020,
  ".": 0o00002,
};

/** Frames from one picture to the next, so that `tiles` of them are spread over all; at least 1. */
export function sheetStep(tiles: number, frames: number | undefined): number {
  return frames === undefined ? 1 : Math.max(1, frames / tiles);
}

/** Whether a frame is a multiple of a step, which need not be whole, rounded down. */
export function isOnStep(frame: number, step: number): boolean {
  // What is whole but for rounding is meant to be whole.
  return Math.floor(Math.ceil(frame / step - 1e-9) * step + 1e-9) === frame;
}

/** Chooses frames while they pass, and draws them at the end. */
export class ContactSheet {
  readonly #limit: number;
  readonly #kept: Map<number, Tile> = new Map();
  #step: number;

  /**
   * @param tiles most pictures on the sheet
   * @param frames how many come, where somebody knows; when there are others, the sheet has fewer pictures, or they are
   *   spread less evenly
   */
  constructor(tiles: number, frames?: number) {
    this.#limit = tiles;
    this.#step = sheetStep(tiles, frames);
  }

  /** Whether the picture of a frame may come onto the sheet; others need not be made. */
  wants(frame: number): boolean {
    return isOnStep(frame, this.#step);
  }

  /** Looks at a frame that was measured; keeps a copy of its thumbnail when it may be needed. */
  offer(result: SheetPicture, time: number | undefined): void {
    if (!this.wants(result.frame)) return;
    this.#kept.set(result.frame, {
      frame: result.frame,
      time,
      width: result.thumbWidth,
      height: result.thumbHeight,
      rgb: new Uint8Array(result.thumbnail),
    });
    if (this.#kept.size <= KEPT_PER_TILE * this.#limit) return;
    this.#step *= 2;
    for (const frame of this.#kept.keys()) if (!isOnStep(frame, this.#step)) this.#kept.delete(frame);
  }

  /** Draws the sheet; undefined when there is no picture. */
  draw(): { width: number; height: number; rgb: Uint8Array; columns: number; rows: number } | undefined {
    const tiles = this.#choose();
    if (tiles.length === 0) return undefined;
    const cellWidth = Math.max(...tiles.map((tile) => tile.width));
    const cellHeight = Math.max(...tiles.map((tile) => tile.height)) + LABEL_HEIGHT;
    const columns = bestColumns(tiles.length, cellWidth, cellHeight);
    const rows = Math.ceil(tiles.length / columns);
    const width = GAP + columns * (cellWidth + GAP);
    const height = GAP + rows * (cellHeight + GAP);
    const rgb = new Uint8Array(3 * width * height).fill(BACKGROUND);
    tiles.forEach((tile, index) => {
      const left = GAP + (index % columns) * (cellWidth + GAP);
      const top = GAP + Math.floor(index / columns) * (cellHeight + GAP);
      const inset = (cellWidth - tile.width) >> 1;
      for (let y = 0; y < tile.height; y++) {
        const row = tile.rgb.subarray(3 * y * tile.width, 3 * (y + 1) * tile.width);
        rgb.set(row, 3 * ((top + y) * width + left + inset));
      }
      const label = tile.time === undefined ? String(tile.frame) : clock(tile.time);
      drawLabel(rgb, width, left + inset, top + tile.height + (LABEL_HEIGHT - 5 * LABEL_SCALE) / 2, label);
    });
    return { width, height, rgb, columns, rows };
  }

  #choose(): Tile[] {
    const all = [...this.#kept.values()].sort((a, b) => a.frame - b.frame);
    if (all.length <= this.#limit) return all;
    return Array.from({ length: this.#limit }, (_, i) => all[Math.floor((i * all.length) / this.#limit)]!);
  }
}

/** Columns that bring the sheet nearest to the shape of a screen. */
function bestColumns(count: number, cellWidth: number, cellHeight: number): number {
  let best = 1;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const empty = (columns * rows - count) / count;
    const shape = Math.abs(Math.log((columns * cellWidth) / (rows * cellHeight) / (16 / 10)));
    if (shape + empty >= bestDistance) continue;
    bestDistance = shape + empty;
    best = columns;
  }
  return best;
}

function clock(time: number): string {
  const hundredths = Math.round(time * 100);
  const minutes = Math.floor(hundredths / 6000);
  const rest = ((hundredths % 6000) / 100).toFixed(2).padStart(5, "0");
  return minutes < 60
    ? `${minutes}:${rest}`
    : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

function drawLabel(rgb: Uint8Array, stride: number, left: number, top: number, text: string): void {
  let x = left;
  for (const character of text) {
    const glyph = GLYPHS[character] ?? 0;
    for (let row = 0; row < 5; row++) {
      const bits = (glyph >> (3 * (4 - row))) & 7;
      for (let column = 0; column < 3; column++) {
        if (((bits >> (2 - column)) & 1) === 0) continue;
        for (let dot = 0; dot < LABEL_SCALE * LABEL_SCALE; dot++) {
          const px = x + column * LABEL_SCALE + (dot % LABEL_SCALE);
          const py = top + row * LABEL_SCALE + Math.floor(dot / LABEL_SCALE);
          // A label may be wider than a very small picture in the last column.
          if (px >= stride) continue;
          rgb.fill(LABEL_COLOR, 3 * (py * stride + px), 3 * (py * stride + px) + 3);
        }
      }
    }
    x += (character === ":" || character === "." ? 3 : 4) * LABEL_SCALE;
  }
}
