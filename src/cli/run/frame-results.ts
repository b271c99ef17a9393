/**
 * How the threads of `millpond run` hand over what they measured: in one block of shared memory, with a place for each
 * frame that can be under way. A histogram and a picture are 200 kB; as messages they would be cloned twice a frame,
 * and be garbage.
 *
 * A place belongs to the frame whose number modulo the number of places it is, from the moment in which the frame is
 * posted until its result is read. With as many places as the pool has buffers, and frames that leave in order, two
 * frames never share one.
 */
import type { WorkerFrame } from "../../adapters/workers/workers-element.ts";
import type { FrameLayout, Presentation } from "../../media/video/frame-layout.ts";
import { HISTOGRAM_BINS } from "../../video/measure.ts";
import { THUMB_SIDE } from "../../video/thumbnail.ts";
import type { GcCount } from "./meter.ts";

/** How a frame lies in its bytes, and how it is shown: all that is needed to measure it. */
export interface FrameShape {
  /** How it lies. */
  readonly layout: FrameLayout;
  /** How it is shown. */
  readonly presentation: Presentation;
}

/** A way in which a thread fails on purpose, for tests. */
export interface WorkerFault {
  /** `throw` inside a frame, `exit` without an error, `hang` without end, `crash` from outside any frame. */
  readonly kind: "throw" | "exit" | "hang" | "crash";
  /** At the frame with this number. */
  readonly frame: number;
}

/** What the module of the threads is given. */
export interface MeasureOptions {
  /** Places of {@link RESULT_BYTES} each. */
  readonly results: SharedArrayBuffer;
  /** Frames from one that needs a picture to the next; 0: none does. */
  readonly pictureStep: number;
  /** For tests. */
  readonly fault: WorkerFault | undefined;
}

/** What that module returns for a frame; the rest is in its place. */
export interface MeasureReply {
  /** Number of the thread. */
  readonly thread: number;
  /** Its garbage collections so far. */
  readonly gc: GcCount;
}

/** What was found out about a frame; valid until its buffer is released. */
export interface FrameResult {
  /** Number of the frame, from 0. */
  readonly frame: number;
  /** Mean luma in code values of 8 bits. */
  readonly lumaMean: number;
  /** Pixels measured. */
  readonly pixels: number;
  /** Pixels a bin; shared memory that a later frame overwrites. */
  readonly histogram: Uint32Array;
  /** Upright RGB picture; shared memory that a later frame overwrites. Only where a picture was asked for. */
  readonly thumbnail: Uint8Array;
  /** Its width in pixels. */
  readonly thumbWidth: number;
  /** Its height in pixels. */
  readonly thumbHeight: number;
}

// A place: luma sum and pixels (Float64), width and height of the picture (Uint32), histogram (Uint32), picture (RGB
// bytes).
const SIZE_OFFSET = 16;
const HISTOGRAM_OFFSET = 24;
const THUMBNAIL_OFFSET = HISTOGRAM_OFFSET + 4 * HISTOGRAM_BINS;

/** Bytes of a place; a multiple of 64, so that two threads never write into one cache line. */
const RESULT_BYTES: number = Math.ceil((THUMBNAIL_OFFSET + 3 * THUMB_SIDE * THUMB_SIDE) / 64) * 64;

/** The views of one place. */
export interface ResultPlace {
  /** Luma sum, and pixels. */
  readonly sums: Float64Array;
  /** Width and height of the picture. */
  readonly size: Uint32Array;
  /** Pixels a bin. */
  readonly histogram: Uint32Array;
  /** Room for the largest picture. */
  readonly thumbnail: Uint8Array;
}

/** A block with places for `frames` frames. Pages that nothing is written to cost nothing. */
export function createResults(frames: number): SharedArrayBuffer {
  return new SharedArrayBuffer(RESULT_BYTES * frames);
}

/** The places of a block, in order. */
export function resultPlaces(results: SharedArrayBuffer): ResultPlace[] {
  return Array.from({ length: results.byteLength / RESULT_BYTES }, (_, n) => {
    const offset = n * RESULT_BYTES;
    return {
      sums: new Float64Array(results, offset, 2),
      size: new Uint32Array(results, offset + SIZE_OFFSET, 2),
      histogram: new Uint32Array(results, offset + HISTOGRAM_OFFSET, HISTOGRAM_BINS),
      thumbnail: new Uint8Array(results, offset + THUMBNAIL_OFFSET, 3 * THUMB_SIDE * THUMB_SIDE),
    };
  });
}

/** Reads what a thread has written for a frame. */
export function readResult(frame: number, place: ResultPlace): FrameResult {
  const [lumaSum, pixels] = place.sums as unknown as [number, number];
  const [thumbWidth, thumbHeight] = place.size as unknown as [number, number];
  const thumbnail = place.thumbnail.subarray(0, 3 * thumbWidth * thumbHeight);
  return { frame, lumaMean: lumaSum / pixels, pixels, histogram: place.histogram, thumbnail, thumbWidth, thumbHeight };
}

/**
 * A shape as the name of a format of bytes: the pipeline knows no samples of 16 bits, and the threads need the layout
 * anyway. Equal shapes have equal names.
 */
export function nameOfShape({ layout, presentation }: FrameShape): string {
  const { format, width, height, size } = layout;
  const planes = layout.planes.map(({ offset, stride, width, height }) => ({ offset, stride, width, height }));
  return JSON.stringify({ layout: { format, width, height, size, planes }, presentation });
}

/** The shape of a frame that travels under such a name. */
export function shapeOf({ format }: WorkerFrame): FrameShape {
  return JSON.parse(format.format!) as FrameShape;
}
