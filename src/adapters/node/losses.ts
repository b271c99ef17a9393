/**
 * What a kind of file cannot say of a stream: told when the format is settled, instead of dropped without a warning.
 */
import type { Fraction, VideoPresentation, VideoStream } from "../../pipeline/stream-format.ts";

/** The things about a picture that only some files can say. */
export interface Carried {
  /** Rotation and mirroring. */
  readonly rotation: boolean;
  /** The color matrix. */
  readonly matrix: boolean;
  /** Luma from 0 to 255. */
  readonly fullRange: boolean;
  /** A time for each picture, instead of one rate for all. */
  readonly times: boolean;
}

/** One sentence for each thing that is lost; `what` names the kind of file. */
export function lossesOf(
  what: string,
  carried: Carried,
  { frameRate, averageRate, isVariable, presentation }: VideoStream,
): string[] {
  const { rotation = 0, flip = false, matrix, fullRange } = presentation ?? ({} as VideoPresentation);
  const losses: string[] = [];
  if (!carried.rotation && rotation !== 0) {
    losses.push(`the rotation of ${rotation} degrees is lost: ${what} cannot carry it, so pictures are shown lying`);
  }
  if (!carried.rotation && flip) losses.push(`the mirroring is lost: ${what} cannot carry it`);
  if (!carried.matrix && matrix !== undefined) {
    losses.push(`the color matrix ${matrix} is lost: ${what} cannot carry it, and its readers guess one`);
  }
  if (!carried.fullRange && fullRange === true) {
    losses.push(`the full range of luma is lost: ${what} says 16 to 235 of pictures that use 0 to 255`);
  }
  if (!carried.times && frameRate === undefined && (isVariable === true || averageRate === undefined)) {
    const { num, den } = averageRate ?? FALLBACK_RATE;
    const rate = `${Math.round((1000 * num) / den) / 1000} frames a second`;
    losses.push(
      averageRate === undefined
        ? `the times of the frames are lost: ${what} carries one rate, none is known, and ${rate} are written`
        : `the times of the frames are lost: ${what} carries one rate, they vary, and ${rate} are written`,
    );
  }
  return losses;
}

/**
 * One sentence for each thing about how pictures are shown that changes in mid-stream: a file says it once, for all of
 * them. `before` is what the file says.
 */
export function changesOf(before: VideoPresentation = PLAIN, now: VideoPresentation = PLAIN): string[] {
  const changes: string[] = [];
  const from = { ...PLAIN, ...before };
  const to = { ...PLAIN, ...now };
  for (const [key, what] of PRESENTED) {
    if (from[key] !== to[key]) {
      changes.push(
        `${what} changes from ${shown(from[key])} to ${shown(to[key])} in mid-stream; the file keeps the first`,
      );
    }
  }
  return changes;
}

function shown(value: string | number | boolean | undefined): string {
  return typeof value === "number" ? String(Math.round(value * 1e4) / 1e4) : String(value ?? "none");
}

const PLAIN: VideoPresentation = { rotation: 0, flip: false, pixelAspect: 1, fullRange: false };
const PRESENTED = [
  ["rotation", "the rotation in degrees"],
  ["flip", "the mirroring"],
  ["pixelAspect", "the pixel aspect ratio"],
  ["matrix", "the color matrix"],
  ["fullRange", "the full range of luma"],
] as const;

/** What is written where nobody knows a rate, as ffmpeg does. */
export const FALLBACK_RATE: Fraction = { num: 25, den: 1 };

/**
 * The fraction of small terms that is nearest to a ratio, by its continued fraction; exact for the ratios that video
 * has.
 */
export function nearestFraction(ratio: number): Fraction {
  if (!Number.isFinite(ratio) || ratio <= 0) return { num: 1, den: 1 };
  let [beforeNum, num] = [1, Math.floor(ratio)];
  let [beforeDen, den] = [0, 1];
  let rest = ratio;
  // Terms beyond this are not a ratio that anybody has written down, but the rounding of a division.
  while (Math.abs(num / den - ratio) > 1e-9 * ratio && den < 10_000) {
    rest = 1 / (rest - Math.floor(rest));
    const digit = Math.floor(rest);
    [beforeNum, num] = [num, digit * num + beforeNum];
    [beforeDen, den] = [den, digit * den + beforeDen];
  }
  return num === 0 ? { num: 1, den: Math.round(1 / ratio) } : { num, den };
}

/** Greatest common divisor of two whole numbers above 0. */
export function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
