/**
 * What the main thread and its workers say to each other. Frames are never in a message of a pooled run: a message has
 * the identity of a lease, which the worker joins while it looks, so that nobody can hand the slot on under it.
 */
import type { FrameLayout, Presentation } from "../../media/video/frame-layout.ts";
import type { SharedHandle } from "../../pools/shared/handle.ts";
import { HISTOGRAM_BINS } from "../../video/measure.ts";

export { HISTOGRAM_BINS };

/** Where a slot's results lie in its part of the shared results block. */
export const ResultOffset: {
  readonly LUMA_SUM: 0;
  readonly PIXELS: 8;
  readonly HISTOGRAM: 16;
  readonly THUMBNAIL: number;
} = {
  /** Float64: sum of luma, in code values of 8 bits. */
  LUMA_SUM: 0,
  /** Float64: pixels measured. */
  PIXELS: 8,
  /** Uint32 times {@link HISTOGRAM_BINS}. */
  HISTOGRAM: 16,
  /** RGB bytes of the thumbnail, upright. */
  THUMBNAIL: 16 + 4 * HISTOGRAM_BINS,
};

/** All that a worker must know to measure the frames of one layout. */
export interface FrameTask {
  /** Counts the layouts of a run. */
  readonly id: number;
  /** How a frame lies in its bytes. */
  readonly layout: FrameLayout;
  /** How it is shown. */
  readonly presentation: Presentation;
  /** Width of the thumbnail, upright. */
  readonly thumbWidth: number;
  /** Height of the thumbnail, upright. */
  readonly thumbHeight: number;
  /** Results of all slots, {@link resultBytes} each. */
  readonly results: SharedArrayBuffer;
}

/** A way in which a worker fails on purpose, for tests. */
export interface WorkerFault {
  /** `throw` inside a frame, `exit` without a word, `hang` for ever, `crash` from outside any frame. */
  readonly kind: "throw" | "exit" | "hang" | "crash";
  /** At the frame with this number. */
  readonly frame: number;
}

/** Main thread to worker. */
export type ToWorker =
  | { readonly type: "task"; readonly task: FrameTask; readonly pool: SharedHandle | undefined }
  | { readonly type: "slot"; readonly slot: number; readonly bytes: Uint8Array }
  | { readonly type: "pooled"; readonly frame: number; readonly slot: number; readonly lease: number }
  | { readonly type: "fixed"; readonly frame: number; readonly slot: number }
  | { readonly type: "fresh"; readonly frame: number; readonly slot: number; readonly bytes: Uint8Array }
  | { readonly type: "stop" };

/** Worker to main thread. */
export type FromWorker =
  | { readonly type: "done"; readonly frame: number; readonly slot: number }
  | { readonly type: "failed"; readonly frame: number; readonly slot: number; readonly message: string }
  | { readonly type: "bye"; readonly gc: GcCount };

/** Garbage collections of one thread. */
export interface GcCount {
  /** All of them. */
  readonly all: number;
  /** The major ones (mark and compact). */
  readonly major: number;
  /** Milliseconds in all of them. */
  readonly ms: number;
}

/** Bytes of one slot's results; a multiple of 64, so that two workers never write into one cache line. */
export function resultBytes(task: Pick<FrameTask, "thumbWidth" | "thumbHeight">): number {
  return Math.ceil((ResultOffset.THUMBNAIL + 3 * task.thumbWidth * task.thumbHeight) / 64) * 64;
}
