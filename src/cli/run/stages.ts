/**
 * The run as a pipeline of three stages, in every subject of a comparison: the frames of the input, which are read or
 * decoded into buffers of a pool; a `workers` stage whose threads measure them; and an end that gives the buffers back,
 * in order. The second one offers the pool. Each class here only adds to a stage of the adapters what a run wants to
 * know: times, and places.
 */
import type { FrameLayout, FrameSource, SourceFrame } from "../../adapters/node/frame-source.ts";
import { FramesElement } from "../../adapters/node/frames-element.ts";
import { type WorkerErrorDetails, WorkersElement } from "../../adapters/workers/workers-element.ts";
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import type { Maybe } from "../../pipeline/base/pad.ts";
import { Sink } from "../../pipeline/base/sink.ts";
import { Caps } from "../../pipeline/caps.ts";
import { Pipeline } from "../../pipeline/pipeline.ts";
import { byteFormat, type StreamFormat } from "../../pipeline/stream-format.ts";
import type { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import type { SharedBufferPoolOptions } from "../../pools/shared/shared-buffer-pool.ts";
import { isMillpondError } from "../../util/errors.ts";
import { sheetStep } from "../../video/contact-sheet.ts";
import { canMeasure } from "../../video/measure.ts";
import type { RunOptions } from "../args.ts";
import { explain, Failure } from "../exit.ts";
import { count } from "../terminal.ts";
import type { FramePools } from "./frame-pools.ts";
import {
  createResults,
  type FrameResult,
  type MeasureOptions,
  type MeasureReply,
  nameOfShape,
  readResult,
  resultPlaces,
  type WorkerFault,
} from "./frame-results.ts";
import type { GcCount, Meter } from "./meter.ts";
import type { OpenSource } from "./source.ts";

/** What the stages need. */
export interface StageParts {
  /** The command line. */
  readonly options: RunOptions;
  /** Where frames come from. */
  readonly source: OpenSource;
  /** Where their bytes go. */
  readonly pools: FramePools;
  /** Takes the times. */
  readonly meter: Meter;
  /** Ends the run; its reason is thrown. */
  readonly signal: AbortSignal;
  /** Called for each frame that was read, before a thread has it. */
  readonly onFrame: (frame: number, source: SourceFrame) => void;
  /** Called for each measured frame, in the order of completion. */
  readonly onResult: (result: FrameResult) => void;
  /** Called for each frame that is done with, in order; what it returns is waited for. */
  readonly afterFrame: (frames: number) => Promise<void> | undefined;
  /** For tests. */
  readonly fault: WorkerFault | undefined;
  /** For tests: the frame whose buffer is not given back. */
  readonly leakAt: number | undefined;
}

/** How it went. */
export interface StagesResult {
  /** Frames that were measured. */
  readonly frames: number;
  /** What is missing, in words; undefined when all was there. */
  readonly shortfall: string | undefined;
  /** Frames that the decoder had to make up in part. */
  readonly concealed: number;
  /** Layout of the first frame. */
  readonly layout: FrameLayout | undefined;
  /** When the first frame was asked for, as performance.now() counts. */
  readonly startedAt: number;
  /** When the last frame was measured. */
  readonly endedAt: number;
  /** Garbage collections of each thread. */
  readonly workerGc: readonly GcCount[];
}

/** A source that takes its times, and ends where it breaks: whole frames that came before are a partial result. */
class MeteredSource implements FrameSource {
  readonly #parts: StageParts;
  readonly #onStart: () => void;
  #broke: string | undefined;
  startedAt: number | undefined;
  frames = 0;
  first: FrameLayout | undefined;

  constructor(parts: StageParts, onStart: () => void) {
    this.#parts = parts;
    this.#onStart = onStart;
  }

  get #frames(): FrameSource {
    return this.#parts.source.frames;
  }

  get shortfall(): string | undefined {
    return this.#broke ?? this.#frames.shortfall;
  }

  get concealed(): number {
    return this.#frames.concealed ?? 0;
  }

  get starvedMs(): number {
    return this.#frames.starvedMs;
  }

  async next(): Promise<SourceFrame | undefined> {
    const { meter, signal } = this.#parts;
    if (this.startedAt === undefined) {
      this.#onStart();
      this.startedAt = performance.now();
    }
    const start = performance.now();
    let frame: SourceFrame | undefined;
    try {
      frame = await this.#frames.next();
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      // With no frame there is nothing to keep.
      if (this.frames === 0) throw new Failure(explain(error), 1, { cause: error });
      this.#broke = `the input broke off after frame ${this.frames}: ${explain(error)}`;
    }
    meter.stages.decode += performance.now() - start;
    if (frame === undefined) {
      this.#assertSome();
      return undefined;
    }
    const { layout, presentation, pts, duration } = frame;
    if (!canMeasure(layout.format)) {
      frame.close();
      throw new Failure(`frames in ${layout.format} cannot be measured; convert them first`);
    }
    const taken = frame;
    const copyTo = (bytes: Uint8Array): Promise<boolean> => this.#copy(taken, bytes);
    return { layout, presentation, pts, duration, copyTo, close: () => taken.close() };
  }

  async #copy(frame: SourceFrame, bytes: Uint8Array): Promise<boolean> {
    const { stages } = this.#parts.meter;
    const starved = this.starvedMs;
    const start = performance.now();
    const whole = await frame.copyTo(bytes);
    const waited = this.starvedMs - starved;
    stages.copy += performance.now() - start - waited;
    stages.decode += waited;
    if (!whole) {
      this.#assertSome();
      return false;
    }
    this.first ??= frame.layout;
    this.#parts.onFrame(this.frames++, frame);
    return true;
  }

  #assertSome(): void {
    if (this.frames > 0) return;
    this.#parts.signal.throwIfAborted();
    const { facts } = this.#parts.source;
    const nothing = facts.kind === "file" ? "its video track is empty" : "it has nothing after its header";
    throw new Failure(`no frame could be read from ${facts.name}: ${this.shortfall ?? nothing}`);
  }

  close(): Promise<void> {
    return this.#frames.close();
  }
}

/** Frames of any layout, as bytes under a name that says all. */
class InputStage extends FramesElement {
  readonly #isPaced: boolean;

  constructor(frames: FrameSource, isPaced: boolean) {
    super(async () => ({ frames }), "frames", Caps.any);
    this.#isPaced = isPaced;
  }

  /** A pipe that brings nothing is waited for. */
  override get isPacedFromOutside(): boolean {
    return this.#isPaced;
  }

  protected override formatOf({ layout, presentation }: SourceFrame): StreamFormat {
    return byteFormat(layout.size, nameOfShape({ layout, presentation }));
  }
}

// From the source tree Node runs the TypeScript file, from the package the compiled one.
const MEASURE_MODULE = new URL(
  import.meta.url.endsWith(".ts") ? "./measure-frames.ts" : "./measure-frames.js",
  import.meta.url,
);

/** The threads that measure. */
class MeasureStage extends WorkersElement {
  readonly #parts: StageParts;
  readonly #gc: Map<number, GcCount>;

  constructor(parts: StageParts) {
    const { workers, buffers } = parts.options;
    const results = createResults(buffers);
    const places = resultPlaces(results);
    const gc = new Map<number, GcCount>();
    super(MEASURE_MODULE, {
      name: "workers",
      workers,
      buffers,
      options: { results, pictureStep: pictureStep(parts), fault: parts.fault } satisfies MeasureOptions,
      onResult: (reply, index) => {
        const { thread, gc: collections } = reply as MeasureReply;
        gc.set(thread, collections);
        parts.onResult(readResult(index, places[index % buffers]!));
      },
    });
    this.#parts = parts;
    this.#gc = gc;
  }

  get workerGc(): readonly GcCount[] {
    return [...this.#gc.values()];
  }

  protected override createPool(options: SharedBufferPoolOptions): BufferPool {
    return this.#parts.pools.create(options);
  }

  protected override get transfers(): boolean {
    return this.#parts.options.variant === "fresh";
  }

  protected override begin(buffer: MediaBuffer): Promise<MediaBuffer> {
    const start = performance.now();
    const work = super.begin(buffer);
    this.#parts.meter.stages.handOff += performance.now() - start;
    return work;
  }
}

/** Pictures are for the sheet, and the sheet for `--out`. */
function pictureStep({ options: { out, tiles }, source }: StageParts): number {
  return out === undefined ? 0 : sheetStep(tiles, source.facts.expectedFrames ?? undefined);
}

/** Gives the buffers back. */
class EndStage extends Sink {
  readonly #parts: StageParts;
  #frames = 0;
  endedAt: number | undefined;

  constructor(parts: StageParts) {
    super("end");
    this.#parts = parts;
  }

  override chain(buffer: MediaBuffer): Maybe<void> {
    const { meter, afterFrame } = this.#parts;
    const start = performance.now();
    void super.chain(buffer);
    meter.stages.handOff += performance.now() - start;
    const work = afterFrame(++this.#frames);
    return work === undefined ? undefined : this.bounded(work, "writing the results");
  }

  override render(buffer: MediaBuffer): void {
    if (this.#frames === this.#parts.leakAt) buffer.retain();
  }

  override finish(): void {
    this.endedAt = performance.now();
  }
}

/**
 * Takes every frame from the source through the threads, and returns when all are measured. Rejects with the signal's
 * reason or a {@link Failure}; every buffer is back then, and no thread is left.
 *
 * @param onStart called when the threads are ready and the first frame is about to be asked for
 */
export async function playStages(parts: StageParts, onStart: () => void): Promise<StagesResult> {
  const { options, signal } = parts;
  const frames = new MeteredSource(parts, onStart);
  const input = new InputStage(frames, parts.source.isPaced);
  const workers = new MeasureStage(parts);
  const end = new EndStage(parts);
  const pipeline = new Pipeline({ name: "run", acquireTimeout: options.patience }).link(input, workers, end);
  try {
    await pipeline.run({ signal });
  } catch (error) {
    throw failureOf(error, options, input.name);
  }
  const now = performance.now();
  return {
    frames: frames.frames,
    shortfall: input.shortfall,
    concealed: input.concealed,
    layout: frames.first,
    startedAt: frames.startedAt ?? now,
    endedAt: end.endedAt ?? now,
    workerGc: workers.workerGc,
  };
}

/** What a stage has thrown, in the words of this command. */
function failureOf(error: unknown, options: RunOptions, input: string): unknown {
  if (!isMillpondError(error)) return error;
  const details = error.details ?? {};
  if (error.code === "ERR_STARVED") return new Failure(stalled(details, options, input), 1, { cause: error });
  if (typeof details.worker !== "number") return error;
  const { worker, frame, code, reason } = details as unknown as WorkerErrorDetails;
  const what =
    frame !== undefined
      ? `failed at frame ${frame + 1}: ${reason}`
      : reason === undefined
        ? `ended with code ${code} in the middle of its work`
        : `died: ${reason}`;
  return new Failure(`worker ${worker} ${what}`, 1, { cause: error });
}

function stalled(details: Readonly<Record<string, unknown>>, options: RunOptions, input: string): string {
  const { patience, buffers } = options;
  const limit = `for ${patience / 1000} s`;
  if (details.stage === input) {
    return `the input gave nothing ${limit}: it is stuck, or far too slow (--patience sets the limit)`;
  }
  if (String(details.doing).startsWith("loading")) {
    return `the worker threads have been starting for ${Number(details.limit) / 1000} s: the machine is far too slow (--patience sets the limit)`;
  }
  return (
    `no worker gave a frame back ${limit}, while they had ${count(buffers, "frame")}: ` +
    "a worker hangs, or the machine is far too slow (--patience sets the limit)"
  );
}
