/**
 * A worker thread of `millpond run`: joins the lease of a frame, measures it, leaves the lease, and has written the results into
 * the slot's part of a shared block. While it looks, the slot cannot be anybody else's.
 */
import { parentPort, workerData } from "node:worker_threads";
import { SharedPool } from "../../pools/shared/shared-pool.ts";
import { createMeasures, type Measures, measureFrame } from "../../video/measure.ts";
import { drawThumbnail, type ThumbSize, thumbSize } from "../../video/thumbnail.ts";
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
let pool: SharedPool | undefined;

port.on("message", (message: ToWorker) => {
  switch (message.type) {
    case "pooled":
      workOnLease(message.frame, message.slot, message.lease);
      break;
    case "fixed":
      say(work(message.frame, message.slot, () => slots[message.slot]));
      break;
    case "fresh":
      say(work(message.frame, message.slot, () => message.bytes));
      break;
    case "slot":
      slots[message.slot] = message.bytes;
      break;
    case "task":
      pool?.leave();
      pool = message.pool === undefined ? undefined : SharedPool.attach(message.pool);
      desk = prepare(message.task);
      break;
    case "stop":
      pool?.leave();
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

/** The lease is left before the main thread hears of the frame: what it does then may be the pool's end. */
function workOnLease(frame: number, slot: number, lease: number): void {
  let joined = false;
  const answer = work(frame, slot, () => {
    // Throws when the lease is over; from here on it cannot be.
    pool!.retainId(lease);
    joined = true;
    return pool!.bytesOf(lease);
  });
  if (joined) pool!.releaseId(lease);
  say(answer);
}

function work(frame: number, slot: number, bytesOf: () => Uint8Array | undefined): FromWorker {
  try {
    const bytes = bytesOf();
    if (fault !== undefined && fault.frame === frame) failOnPurpose(fault);
    if (desk === undefined || bytes === undefined) throw new Error(`frame ${frame} came before its slot ${slot}`);
    const { task, size, measures } = desk;
    const result = desk.results[slot]!;
    measureFrame(bytes, task.layout, size.columns, size.rows, measures);
    drawThumbnail(measures, size, task.layout, task.presentation, result.thumbnail);
    result.numbers[0] = measures.lumaSum;
    result.numbers[1] = measures.pixels;
    result.histogram.set(measures.histogram);
    return { type: "done", frame, slot };
  } catch (error) {
    return { type: "failed", frame, slot, message: error instanceof Error ? error.message : String(error) };
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
