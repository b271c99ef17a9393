/**
 * The run as a pipeline of two stages: one reads or decodes frames into buffers, the other hands them to the crew and holds them until
 * they are measured. The second one offers the pool; the count adds up to the number of buffers that was asked for.
 */
import type { FrameLayout, Presentation, SourceFrame } from "../../adapters/node/frame-source.ts";
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { VideoInfo } from "../../media/video/info.ts";
import type { InputPad, Maybe } from "../../pipeline/base/pad.ts";
import { Sink } from "../../pipeline/base/sink.ts";
import { Source } from "../../pipeline/base/source.ts";
import type { AllocationQuery } from "../../pipeline/negotiate/allocation-query.ts";
import { Pipeline } from "../../pipeline/pipeline.ts";
import { byteFormat, type StreamFormat, sameFormat, videoFormat } from "../../pipeline/stream-format.ts";
import { isMillpondError } from "../../util/errors.ts";
import { canMeasure } from "../../video/measure.ts";
import { explain, Failure } from "../exit.ts";
import type { StreamParts, StreamResult } from "./stream.ts";
import { type PooledSupply, tooSlow } from "./supply.ts";

type Parts = StreamParts<PooledSupply>;

/** How the frames lie that come now. */
interface Shape {
  readonly layout: FrameLayout;
  readonly presentation: Presentation;
}

/** Reads or decodes frames straight into buffers of the pool. */
class FrameStage extends Source {
  readonly #parts: Parts;
  #frame: SourceFrame | undefined;
  #format: StreamFormat | undefined;
  frames = 0;
  first: Shape | undefined;
  shape: Shape | undefined;
  shortfall: string | undefined;

  constructor(parts: Parts) {
    super("frames");
    this.#parts = parts;
  }

  override async next(): Promise<StreamFormat | undefined> {
    const { source, meter, signal } = this.#parts;
    const start = performance.now();
    try {
      this.#frame = await source.next();
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      // Whole frames that came before a broken stream are a partial result; with none there is nothing to keep.
      if (this.frames === 0) throw new Failure(explain(error), 1, { cause: error });
      this.shortfall = `the input broke off after frame ${this.frames}: ${explain(error)}`;
      this.#frame = undefined;
    }
    meter.stages.decode += performance.now() - start;
    if (this.#frame === undefined) return undefined;
    const { layout, presentation } = this.#frame;
    if (!canMeasure(layout.format)) {
      throw new Failure(`frames in ${layout.format} cannot be measured; convert them first`);
    }
    this.shape = { layout, presentation };
    const format = formatOf(this.shape);
    if (this.#format === undefined || !sameFormat(this.#format, format)) this.#format = format;
    return this.#format;
  }

  override async fill(buffer: MediaBuffer): Promise<boolean> {
    const { source, meter } = this.#parts;
    const frame = this.#frame!;
    this.#frame = undefined;
    try {
      const starved = source.starvedMs;
      const start = performance.now();
      const whole = await frame.copyTo(buffer.bytes);
      const waited = source.starvedMs - starved;
      meter.stages.copy += performance.now() - start - waited;
      meter.stages.decode += waited;
      if (!whole) return false;
      buffer.pts = frame.pts;
      buffer.duration = frame.duration;
      this.first ??= this.shape;
      this.#parts.onFrame(this.frames++, frame);
      return true;
    } finally {
      frame.close();
    }
  }

  /** A pipe that brings nothing is waited for. */
  override get isPacedFromOutside(): boolean {
    return this.#parts.isPaced;
  }

  override stop(): void {
    void super.stop();
    this.#frame?.close();
    this.#frame = undefined;
  }

  override get role(): string {
    return "frames, straight into buffers of its pool";
  }
}

/** What the pipeline is told of a shape; it knows no format of 16 bits, so those travel as bytes under a name that says all. */
function formatOf({ layout, presentation }: Shape): StreamFormat {
  const { rotation, flip, pixelAspect, matrix, fullRange } = presentation;
  if (layout instanceof VideoInfo) {
    return videoFormat(layout, { presentation: { rotation, flip, pixelAspect, matrix, fullRange } });
  }
  const { format, width, height } = layout;
  return byteFormat(layout.size, `${format} ${width}x${height} ${rotation} ${flip} ${matrix} ${fullRange}`);
}

/** Hands frames to the crew, and holds them until they are measured. */
class CrewStage extends Sink {
  readonly #parts: Parts;
  readonly #buffers: number;
  readonly #frames: FrameStage;
  #isNew = true;
  #handed = 0;
  /** When the last frame was measured, as performance.now() counts. */
  settledAt: number | undefined;

  constructor(parts: Parts, buffers: number, frames: FrameStage) {
    super("crew");
    this.#parts = parts;
    this.#buffers = buffers;
    this.#frames = frames;
  }

  /** The one that is being filled is not held here. */
  override get retainedBuffers(): number {
    return this.#buffers - 1;
  }

  override async configure(): Promise<void> {
    await this.#parts.crew.settled(this.#parts.signal);
    this.#isNew = true;
  }

  override proposeAllocation(query: AllocationQuery, pad: InputPad): boolean {
    void super.proposeAllocation(query, pad);
    // Slots begin on a cache line, and 16-bit samples on an even address.
    query.requireParams(null, { align: 64 });
    query.addPool({ pool: this.#parts.supply.offer() });
    return true;
  }

  override render(buffer: MediaBuffer): Maybe<void> {
    const { crew, meter, supply, afterFrame } = this.#parts;
    if (this.#isNew) {
      // Only now is there a pool for the workers to take part in.
      crew.begin(this.#frames.shape!.layout, this.#frames.shape!.presentation);
      this.#isNew = false;
    }
    const start = performance.now();
    const place = supply.place(buffer);
    buffer.retain();
    crew.hand(this.#handed++, place);
    meter.stages.handOff += performance.now() - start;
    return afterFrame(this.#handed);
  }

  override async finish(): Promise<void> {
    await this.#parts.crew.settled(this.#parts.signal);
    this.settledAt = performance.now();
  }

  override get role(): string {
    return `worker threads that measure; holds up to ${this.retainedBuffers}`;
  }
}

function inputStuck(patience: number): string {
  return `the input gave nothing for ${patience / 1000} s: it is stuck, or far too slow (--patience sets the limit)`;
}

/** How {@link playStages} went. */
export interface StagesResult extends StreamResult {
  /** When the last frame was measured, as performance.now() counts. */
  readonly settledAt: number;
}

/**
 * Takes every frame from the source to a worker, and returns when all are measured. Rejects with the signal's reason or a
 * {@link Failure}; the crew brings back the frames that workers have then.
 */
export async function playStages(parts: Parts, buffers: number, patience: number): Promise<StagesResult> {
  const frames = new FrameStage(parts);
  const crew = new CrewStage(parts, buffers, frames);
  const pipeline = new Pipeline({ name: "run", acquireTimeout: patience }).link(frames, crew);
  try {
    await pipeline.run({ signal: parts.signal });
  } catch (error) {
    if (!isMillpondError(error, "ERR_STARVED")) throw error;
    const isInput = error.details?.stage === frames.name;
    throw new Failure(isInput ? inputStuck(patience) : tooSlow(patience, buffers), 1, { cause: error });
  }
  parts.signal.throwIfAborted();
  return {
    frames: frames.frames,
    shortfall: frames.shortfall ?? parts.source.shortfall,
    layout: frames.first?.layout,
    presentation: frames.first?.presentation,
    settledAt: crew.settledAt ?? performance.now(),
  };
}
