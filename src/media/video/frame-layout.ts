/**
 * How one frame lies in its bytes and is shown, as plain data: what every `VideoInfo` is, and what a message can carry.
 */

/** Where one plane lies in a frame's bytes. */
export interface PlaneLayout {
  /** Bytes from the start of the frame. */
  readonly offset: number;
  /** Bytes from one row to the next. */
  readonly stride: number;
  /** Samples (or sample groups, where a plane is interleaved) in a row. */
  readonly width: number;
  /** Rows. */
  readonly height: number;
}

/** How a frame lies in its bytes; every `VideoInfo` is one. */
export interface FrameLayout {
  /** A WebCodecs pixel format, or `GRAY8` to `GRAY16` for a luma plane alone. */
  readonly format: string;
  /** Pixels in a row, as coded. */
  readonly width: number;
  /** Rows, as coded. */
  readonly height: number;
  /** Bytes that a buffer for it needs. */
  readonly size: number;
  /** Its planes, luma or the packed one first. */
  readonly planes: readonly PlaneLayout[];
}

/** How stored pixels become the picture that is shown. */
export interface Presentation {
  /** Degrees clockwise to turn the stored picture by. */
  readonly rotation: 0 | 90 | 180 | 270;
  /** True when it is mirrored left to right after that. */
  readonly flip: boolean;
  /** Width of a pixel over its height, before rotation. */
  readonly pixelAspect: number;
  /** Color matrix by its WebCodecs name; undefined where the stream does not say. */
  readonly matrix: string | undefined;
  /** True when luma uses 0 to 255, false for 16 to 235. */
  readonly fullRange: boolean;
}

/** Upright, square pixels, color as the height suggests, 16 to 235. */
export const PLAIN_PRESENTATION: Presentation = /* @__PURE__ */ Object.freeze({
  rotation: 0,
  flip: false,
  pixelAspect: 1,
  matrix: undefined,
  fullRange: false,
});
