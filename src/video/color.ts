/** From Y'CbCr in 8 bits to R'G'B' and back: ITU-R BT.601, BT.709 and BT.2020, both ranges. */
import type { Presentation } from "../media/video/frame-layout.ts";

/** Factors from Y'CbCr in 8 bits to R'G'B'. */
export interface YuvColor {
  /** Code value of black. */
  readonly black: number;
  /** Luma gain. */
  readonly gain: number;
  /** Red from Cr. */
  readonly redCr: number;
  /** Green from Cb. */
  readonly greenCb: number;
  /** Green from Cr. */
  readonly greenCr: number;
  /** Blue from Cb. */
  readonly blueCb: number;
}

/** Factors from R'G'B' to Y'CbCr: luma, then both chromas are sums of red, green and blue. */
export interface RgbColor {
  /** Code value of black. */
  readonly black: number;
  /** Luma from red, green, blue. */
  readonly luma: readonly [number, number, number];
  /** Cb from red, green, blue. */
  readonly cb: readonly [number, number, number];
  /** Cr from red, green, blue. */
  readonly cr: readonly [number, number, number];
}

type Colorimetry = Pick<Presentation, "matrix" | "fullRange">;

/** How the luma and chroma of a picture become red, green and blue. */
export function colorOf(presentation: Colorimetry, height: number): YuvColor {
  const { kr, kb } = coefficients(presentation.matrix, height);
  const kg = 1 - kr - kb;
  const { fullRange } = presentation;
  const chroma = fullRange ? 1 : 255 / 224;
  return {
    black: fullRange ? 0 : 16,
    gain: fullRange ? 1 : 255 / 219,
    redCr: 2 * (1 - kr) * chroma,
    greenCb: ((-2 * kb * (1 - kb)) / kg) * chroma,
    greenCr: ((-2 * kr * (1 - kr)) / kg) * chroma,
    blueCb: 2 * (1 - kb) * chroma,
  };
}

/** How red, green and blue become the luma and chroma of a picture. */
export function yuvOf(presentation: Colorimetry, height: number): RgbColor {
  const { kr, kb } = coefficients(presentation.matrix, height);
  const kg = 1 - kr - kb;
  const gain = presentation.fullRange ? 1 : 219 / 255;
  const chroma = presentation.fullRange ? 1 : 224 / 255;
  const [b, r] = [chroma / (2 * (1 - kb)), chroma / (2 * (1 - kr))];
  return {
    black: presentation.fullRange ? 0 : 16,
    luma: [kr * gain, kg * gain, kb * gain],
    cb: [-kr * b, -kg * b, (1 - kb) * b],
    cr: [(1 - kr) * r, -kg * r, -kb * r],
  };
}

/** The matrix of a picture; unmarked video is taken by its height, as players do. */
export function matrixOf(matrix: string | undefined, height: number): "bt709" | "smpte170m" | "bt2020-ncl" {
  if (matrix === "bt2020-ncl" || matrix === "bt709") return matrix;
  return matrix !== "smpte170m" && matrix !== "bt470bg" && height >= 720 ? "bt709" : "smpte170m";
}

/** Luma coefficients. */
function coefficients(matrix: string | undefined, height: number): { kr: number; kb: number } {
  const name = matrixOf(matrix, height);
  if (name === "bt2020-ncl") return { kr: 0.2627, kb: 0.0593 };
  return name === "bt709" ? { kr: 0.2126, kb: 0.0722 } : { kr: 0.299, kb: 0.114 };
}
