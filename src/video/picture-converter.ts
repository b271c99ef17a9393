/**
 * Who computes the pixels of a `VideoScale` and of a contact sheet: a kept library where one has been offered and can
 * make the pair of layouts, this package's own code (convert.ts) else.
 *
 * A library is offered by an adapter, because no file here knows a package: {@link offerConverters} takes a function
 * that loads it, which is called once, when the first converter is asked for.
 *
 * What each of them promises: the triangle filter of resample.ts (swscale's "bilinear"), chroma taken as centered, the
 * matrix and range that the presentation says, and results within one code value of it for a change of size or of
 * subsampling, three where the colors change between Y'CbCr and R'G'B'. In the outermost rows and columns of a picture
 * whose size changes, a library may weigh the edge otherwise: up to eight on noise. Codes that the limited range does
 * not have (luma beyond 235 together with chroma beyond 238) overflow in libav's way to R'G'B': the channel is 0 then.
 */
import type { VideoInfo } from "../media/video/info.ts";
import type { VideoPresentation } from "../pipeline/stream-format.ts";
import { FrameConverter } from "./convert.ts";

/** Converts pictures of one layout into another. */
export interface PictureConverter {
  /** Who computes, in a word or two. */
  readonly by: string;
  /** Converts one picture, plain or shared memory. Errors as {@link FrameConverter.run}. */
  run(source: Uint8Array, target: Uint8Array): void;
  /** Gives back what it has outside of JavaScript; it is not used any more. */
  close(): void;
}

/** Makes a converter for a pair of layouts; undefined where the library cannot, or not with the same result. */
export type ConverterMaker = (
  from: VideoInfo,
  to: VideoInfo,
  presentation: VideoPresentation,
) => PictureConverter | undefined;

let load: (() => Promise<ConverterMaker | undefined>) | undefined;
let loading: Promise<ConverterMaker | undefined> | undefined;
let hasFound = false;

/** Offers a library. Of several the first that is there stays, for good. */
export function offerConverters(loadMaker: () => Promise<ConverterMaker | undefined>): void {
  if (hasFound) return;
  load = loadMaker;
  loading = undefined;
}

/** What this package computes itself: the same bytes on every machine. */
export function portableConverter(from: VideoInfo, to: VideoInfo, presentation?: VideoPresentation): PictureConverter {
  const converter = new FrameConverter(from, to, presentation);
  return { by: "millpond", run: (source, target) => converter.run(source, target), close: () => {} };
}

/**
 * The library's converter for a pair of layouts; undefined where there is no library, or it leaves the pair to others.
 */
export async function libraryConverter(
  from: VideoInfo,
  to: VideoInfo,
  presentation: VideoPresentation = {},
): Promise<PictureConverter | undefined> {
  loading ??= load?.();
  const make = await loading;
  hasFound = make !== undefined;
  return make?.(from, to, presentation);
}

/** The best converter that there is. Rejects as {@link FrameConverter}'s constructor throws. */
export async function bestConverter(
  from: VideoInfo,
  to: VideoInfo,
  presentation?: VideoPresentation,
): Promise<PictureConverter> {
  return (await libraryConverter(from, to, presentation)) ?? portableConverter(from, to, presentation);
}
