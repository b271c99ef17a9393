/**
 * A worker thread of `millpond run`: takes frames by slot number, measures them, and writes the results into the slot's
 * part of a shared block. It owns nothing; before and after it looks at a slot, it checks that the slot is still lent.
 */
import { parentPort, workerData } from "node:worker_threads";
import { createMeasures, type Measures, measureFrame } from "../../pipeline/elements/measure-frame.ts";
import { drawThumbnail, type ThumbSize, thumbSize } from "../../pipeline/elements/thumbnail.ts";
import { watchGc } from "./meter.ts";
import {
  type FrameTask,
  type FromWorker,
  HISTOGRAM_BINS,
  ResultOffset,
  resultBytes,
  type ToWorker,
  type WorkerFault,
} from "./protocol.ts";

/** The present layout, with everything that is reused from frame to frame. */
interface Desk {
  readonly task: FrameTask;
  readonly size: ThumbSize;
  readonly measures: Measures;
  readonly control: Int32Array;
  readonly results: Result[];
}

interface Result {
  readonly numbers: Float64Array;
  readonly histogram: Uint32Array;
  readonly thumbnail: Uint8Array;
}

const port = parentPort!;
const { fault } = workerData as { fault: WorkerFault | undefined };
const gc = watchGc();
const slots: Uint8Array[] = [];
let desk: Desk | undefined;

port.on("message", (message: ToWorker) => {
  switch (message.type) {
    case "pooled":
      work(message.frame, message.slot, slots[message.slot], message.generation);
      break;
    case "fresh":
      work(message.frame, message.slot, message.bytes, undefined);
      break;
    case "slot":
      slots[message.slot] = message.bytes;
      break;
    case "task":
      desk = prepare(message.task);
      break;
    case "stop":
      void gc.stop().then((count) => {
        say({ type: "bye", gc: count });
        port.close();
      });
      break;
  }
});

function prepare(task: FrameTask): Desk {
  const size = thumbSize(task.layout, task.presentation);
  const stride = resultBytes(task);
  const count = task.results.byteLength / stride;
  return {
    task,
    size,
    measures: createMeasures(size.columns, size.rows),
    control: new Int32Array(task.control),
    results: Array.from({ length: count }, (_, slot) => resultAt(task, slot * stride)),
  };
}

function resultAt(task: FrameTask, offset: number): Result {
  const { results } = task;
  return {
    numbers: new Float64Array(results, offset, 2),
    histogram: new Uint32Array(results, offset + ResultOffset.HISTOGRAM, HISTOGRAM_BINS),
    thumbnail: new Uint8Array(results, offset + ResultOffset.THUMBNAIL, 3 * task.thumbWidth * task.thumbHeight),
  };
}

function work(frame: number, slot: number, bytes: Uint8Array | undefined, generation: number | undefined): void {
  try {
    if (fault !== undefined && fault.frame === frame) failOnPurpose(fault);
    if (desk === undefined || bytes === undefined) throw new Error(`frame ${frame} came before its slot ${slot}`);
    const { task, size, measures, control } = desk;
    const result = desk.results[slot]!;
    if (generation !== undefined) assertLent(control, slot, generation, frame);
    measureFrame(bytes, task.layout, size.columns, size.rows, measures);
    drawThumbnail(measures, size, task.layout, task.presentation, result.thumbnail);
    result.numbers[0] = measures.lumaSum;
    result.numbers[1] = measures.pixels;
    result.histogram.set(measures.histogram);
    // Once more at the end: had the slot been handed on meanwhile, what was measured would be another frame.
    if (generation !== undefined) assertLent(control, slot, generation, frame);
    say({ type: "done", frame, slot });
  } catch (error) {
    say({ type: "failed", frame, slot, message: error instanceof Error ? error.message : String(error) });
  }
}

function assertLent(control: Int32Array, slot: number, generation: number, frame: number): void {
  const present = Atomics.load(control, slot);
  if (present !== generation) {
    throw new Error(
      `slot ${slot} was taken away while frame ${frame} was read: generation ${generation} expected, ${present} found`,
    );
  }
}

function failOnPurpose(what: WorkerFault): void {
  switch (what.kind) {
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

function say(message: FromWorker): void {
  port.postMessage(message);
}
