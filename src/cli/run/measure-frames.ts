/**
 * The module that the threads of `millpond run` call for every frame: measures it, and draws its picture where one may
 * be shown.
 */
import { threadId } from "node:worker_threads";
import type { WorkerFormat, WorkerFrame } from "../../adapters/workers/workers-element.ts";
import { isOnStep } from "../../video/contact-sheet.ts";
import { createMeasures, type Measures, measureFrame } from "../../video/measure.ts";
import { drawThumbnail, type ThumbSize, thumbSize } from "../../video/thumbnail.ts";
import {
  type FrameShape,
  type MeasureOptions,
  type MeasureReply,
  type ResultPlace,
  resultPlaces,
  shapeOf,
  type WorkerFault,
} from "./frame-results.ts";
import { countGc } from "./meter.ts";

/** The present format, with what is reused from frame to frame. */
interface Prepared extends FrameShape {
  readonly format: WorkerFormat;
  readonly size: ThumbSize;
  readonly measures: Measures;
}

const gc = countGc();
let places: readonly ResultPlace[] | undefined;
let prepared: Prepared | undefined;

/** Measures a frame into its place of the block of results. */
// biome-ignore lint/style/noDefaultExport: a workers stage calls the default export of its module
export default function measure(frame: WorkerFrame, options: MeasureOptions): MeasureReply {
  const { fault } = options;
  if (fault?.frame === frame.index) failOnPurpose(fault);
  // A thread serves one run, which has one block.
  places ??= resultPlaces(options.results);
  if (prepared?.format !== frame.format) prepared = prepare(frame);
  const { layout, presentation, size, measures } = prepared;
  const place = places[frame.index % places.length]!;
  const hasPicture = options.pictureStep > 0 && isOnStep(frame.index, options.pictureStep);
  measureFrame(frame.bytes, layout, size.columns, size.rows, measures, hasPicture ? "all" : "luma");
  if (hasPicture) drawThumbnail(measures, size, layout, presentation, place.thumbnail);
  place.sums[0] = measures.lumaSum;
  place.sums[1] = measures.pixels;
  place.size[0] = size.width;
  place.size[1] = size.height;
  place.histogram.set(measures.histogram);
  return { thread: threadId, gc: gc.count };
}

function prepare(frame: WorkerFrame): Prepared {
  const shape = shapeOf(frame);
  const size = thumbSize(shape.layout, shape.presentation);
  return { ...shape, format: frame.format, size, measures: createMeasures(size.columns, size.rows) };
}

function failOnPurpose({ kind }: WorkerFault): void {
  switch (kind) {
    case "throw":
      throw new Error("a fault was asked for");
    case "exit":
      process.exit(7);
      break;
    case "crash":
      // A task of its own would come after all messages that are waiting; this one comes right behind the frame.
      queueMicrotask(() => {
        throw new Error("a crash was asked for");
      });
      break;
    case "hang":
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  }
}
