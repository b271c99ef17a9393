/**
 * The worker threads of a run: who gets which frame, and what happens when one of them fails. The main thread holds every
 * place until its frame is measured; a worker joins the lease while it looks. When it dies, the pool clears up after it.
 */
import { Worker } from "node:worker_threads";
import type { FrameLayout, Presentation } from "../../adapters/node/frame-source.ts";
import type { SharedHandle } from "../../pools/shared/handle.ts";
import { thumbSize } from "../../video/thumbnail.ts";
import { Failure } from "../exit.ts";
import type { Meter } from "./meter.ts";
import {
  type FrameTask,
  type FromWorker,
  type GcCount,
  HISTOGRAM_BINS,
  ResultOffset,
  resultBytes,
  type ToWorker,
  type WorkerFault,
} from "./protocol.ts";
import { type Place, type Supply, tooSlow } from "./supply.ts";

/** What a worker found out about a frame; valid until the callback returns. */
export interface FrameResult {
  /** Number of the frame, from 0. */
  readonly frame: number;
  /** Mean luma in code values of 8 bits. */
  readonly lumaMean: number;
  /** Pixels measured. */
  readonly pixels: number;
  /** Pixels a bin; shared memory that the next frame overwrites. */
  readonly histogram: Uint32Array;
  /** Upright RGB picture; shared memory that the next frame overwrites. */
  readonly thumbnail: Uint8Array;
  /** Its width in pixels. */
  readonly thumbWidth: number;
  /** Its height in pixels. */
  readonly thumbHeight: number;
}

/** How a crew is made. */
export interface CrewOptions {
  /** Threads. */
  readonly workers: number;
  /** Places at most. */
  readonly buffers: number;
  /** Milliseconds without any frame coming back after which the crew is given up. */
  readonly patience: number;
  /** Takes places back. */
  readonly supply: Supply;
  /** Takes the times. */
  readonly meter: Meter;
  /** Called for each measured frame, in the order of completion. */
  readonly onResult: (result: FrameResult) => void;
  /** Called once, when a worker failed and no result can be trusted to come any more. */
  readonly onFailure: (failure: Failure) => void;
  /** For tests. */
  readonly fault: WorkerFault | undefined;
}

interface Member {
  readonly worker: Worker;
  readonly index: number;
  /** Slots whose bytes this worker has, by what they were when they were posted. */
  readonly known: (ArrayBufferLike | undefined)[];
  /** What it takes part in the pool with. */
  seat: SharedHandle | undefined;
  inFlight: number;
  gone: Promise<void>;
  gc: GcCount | undefined;
}

interface Assignment {
  readonly frame: number;
  readonly place: Place;
  readonly member: Member;
}

// A worker that was asked to stop has at most its queue to finish; one that hangs is ended after this.
const STOP_GRACE_MS = 2_000;

// From the source tree Node runs the TypeScript file, from the package the compiled one.
const WORKER_FILE = new URL(import.meta.url.endsWith(".ts") ? "./worker.ts" : "./worker.js", import.meta.url);

/** Worker threads that measure frames. */
export class Crew {
  readonly #options: CrewOptions;
  readonly #members: Member[];
  readonly #assignments: Map<number, Assignment> = new Map();
  #task: FrameTask | undefined;
  #failure: Failure | undefined;
  #closing = false;
  #returned = 0;
  #idle: (() => void) | undefined;

  /** Starts the threads; they take about 50 ms, during which the first frames are decoded. */
  constructor(options: CrewOptions) {
    this.#options = options;
    this.#members = Array.from({ length: options.workers }, (_, index) => this.#hire(index));
  }

  /** Frames that are being measured, or wait to be. */
  get inFlight(): number {
    return this.#assignments.size;
  }

  /** Tells the workers how the next frames lie. No frame may be in flight. */
  begin(layout: FrameLayout, presentation: Presentation): void {
    const { width, height } = thumbSize(layout, presentation);
    const thumb = { thumbWidth: width, thumbHeight: height };
    const results = new SharedArrayBuffer(resultBytes(thumb) * this.#options.buffers);
    const id = (this.#task?.id ?? 0) + 1;
    // Layouts may be objects with methods; a message needs plain data.
    const { format, size } = layout;
    const planes = layout.planes.map((plane) => ({
      offset: plane.offset,
      stride: plane.stride,
      width: plane.width,
      height: plane.height,
    }));
    const plain: FrameLayout = { format, width: layout.width, height: layout.height, size, planes };
    this.#task = { id, layout: plain, presentation: { ...presentation }, ...thumb, results };
    for (const member of this.#members) {
      member.known.length = 0;
      member.seat = this.#options.supply.reserve?.();
      post(member, { type: "task", task: this.#task, pool: member.seat });
    }
  }

  /** Gives a frame to the worker with the least to do. */
  hand(frame: number, place: Place): void {
    const member = this.#leastBusy();
    this.#assignments.set(frame, { frame, place, member });
    member.inFlight++;
    const { slot, lease, isFresh, bytes } = place;
    if (lease !== undefined) {
      post(member, { type: "pooled", frame, slot, lease });
      return;
    }
    if (isFresh) {
      member.worker.postMessage({ type: "fresh", frame, slot, bytes } satisfies ToWorker, [
        bytes.buffer as ArrayBuffer,
      ]);
      return;
    }
    if (member.known[slot] !== bytes.buffer) {
      member.known[slot] = bytes.buffer;
      post(member, { type: "slot", slot, bytes });
    }
    post(member, { type: "fixed", frame, slot });
  }

  /**
   * Resolves when no frame is in flight. Rejects with the signal's reason, and with {@link Failure} when no frame came
   * back for as long as the patience lasts.
   */
  async settled(signal: AbortSignal): Promise<void> {
    if (this.#assignments.size === 0) return;
    const { patience } = this.#options;
    await new Promise<void>((resolve, reject) => {
      const end = (settle: () => void): void => {
        clearInterval(watch);
        signal.removeEventListener("abort", onAbort);
        this.#idle = undefined;
        settle();
      };
      const onAbort = (): void => end(() => reject(signal.reason));
      let seen = this.#returned;
      const watch = setInterval(() => {
        if (this.#returned !== seen) seen = this.#returned;
        else end(() => reject(new Failure(tooSlow(patience, this.#assignments.size))));
      }, patience);
      this.#idle = () => end(resolve);
      signal.addEventListener("abort", onAbort, { once: true });
      if (signal.aborted) onAbort();
    });
  }

  /**
   * Ends the threads and gives every place back, whatever state they are in: what no thread can touch any more is ours.
   * Returns the workers' garbage collections.
   */
  async close(): Promise<GcCount[]> {
    this.#closing = true;
    const members = this.#members;
    for (const member of members) post(member, { type: "stop" });
    const grace = setTimeout(() => {
      for (const member of members) void member.worker.terminate();
    }, STOP_GRACE_MS);
    await Promise.all(members.map((member) => member.gone));
    clearTimeout(grace);
    for (const { place, frame } of [...this.#assignments.values()]) this.#takeBack(frame, place);
    return members.flatMap((member) => (member.gc === undefined ? [] : [member.gc]));
  }

  #hire(index: number): Member {
    // Flags like --expose-gc or a test runner's loaders are not for these threads.
    const worker = new Worker(WORKER_FILE, { workerData: { fault: this.#options.fault }, execArgv: [], stderr: true });
    // What Node prints when a thread dies would be a stack; the message of the error event says it.
    worker.stderr.resume();
    const member: Member = {
      worker,
      index,
      known: [],
      seat: undefined,
      inFlight: 0,
      gone: Promise.resolve(),
      gc: undefined,
    };
    member.gone = new Promise((resolve) => {
      worker.on("exit", (code) => {
        if (member.seat !== undefined) this.#options.supply.reclaim?.(member.seat);
        if (!this.#closing) this.#fail(`worker ${index + 1} ended with code ${code} in the middle of its work`);
        resolve();
      });
    });
    worker.on("error", (error: Error) => {
      if (!this.#closing) this.#fail(`worker ${index + 1} died: ${error.message}`);
    });
    worker.on("message", (message: FromWorker) => this.#hear(member, message));
    return member;
  }

  #hear(member: Member, message: FromWorker): void {
    if (message.type === "bye") {
      member.gc = message.gc;
      return;
    }
    const assignment = this.#assignments.get(message.frame);
    if (assignment === undefined) return;
    member.inFlight--;
    this.#returned++;
    if (message.type === "failed") {
      this.#takeBack(message.frame, assignment.place);
      this.#fail(`worker ${member.index + 1} failed at frame ${message.frame + 1}: ${message.message}`);
      return;
    }
    this.#options.onResult(this.#result(message.frame, message.slot));
    const back = performance.now();
    this.#takeBack(message.frame, assignment.place);
    // Looking at the results is this program's business; taking the buffer back is the hand-off's.
    this.#options.meter.stages.handOff += performance.now() - back;
    if (this.#assignments.size === 0) this.#idle?.();
  }

  #result(frame: number, slot: number): FrameResult {
    const { results, thumbWidth, thumbHeight } = this.#task!;
    const offset = slot * resultBytes(this.#task!);
    const numbers = new Float64Array(results, offset, 2);
    const pixels = numbers[1]!;
    return {
      frame,
      lumaMean: numbers[0]! / pixels,
      pixels,
      histogram: new Uint32Array(results, offset + ResultOffset.HISTOGRAM, HISTOGRAM_BINS),
      thumbnail: new Uint8Array(results, offset + ResultOffset.THUMBNAIL, 3 * thumbWidth * thumbHeight),
      thumbWidth,
      thumbHeight,
    };
  }

  #takeBack(frame: number, place: Place): void {
    this.#assignments.delete(frame);
    this.#options.supply.giveBack(place);
  }

  #leastBusy(): Member {
    let best = this.#members[0]!;
    for (const member of this.#members) if (member.inFlight < best.inFlight) best = member;
    return best;
  }

  #fail(message: string): void {
    if (this.#failure !== undefined) return;
    this.#failure = new Failure(message);
    this.#options.onFailure(this.#failure);
  }
}

function post(member: Member, message: ToWorker): void {
  member.worker.postMessage(message);
}
