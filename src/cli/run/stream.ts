/** The run without a pool, for comparison: source, place, copy, worker, in one loop that the supply of places holds back. */
import type { FrameLayout, FrameSource, Presentation, SourceFrame } from "../../adapters/node/frame-source.ts";
import { canMeasure } from "../../video/measure.ts";
import { explain, Failure } from "../exit.ts";
import type { Crew } from "./crew.ts";
import type { Meter } from "./meter.ts";
import type { LoopSupply } from "./supply.ts";

/** What every way through the frames needs. */
export interface StreamParts<S> {
  /** Where frames come from. */
  readonly source: FrameSource;
  /** True for a pipe, which brings frames in its own time. */
  readonly isPaced: boolean;
  /** Where their bytes go. */
  readonly supply: S;
  /** Who looks at them. */
  readonly crew: Crew;
  /** Takes the times. */
  readonly meter: Meter;
  /** Ends the loop; its reason is thrown. */
  readonly signal: AbortSignal;
  /** Called before a frame is handed to a worker. */
  readonly onFrame: (frame: number, source: SourceFrame) => void;
  /** Called after each frame; what it returns is waited for. */
  readonly afterFrame: (handedOut: number) => Promise<void> | undefined;
}

/** How the loop ended. */
export interface StreamResult {
  /** Frames that reached a worker. */
  readonly frames: number;
  /** What is missing, in words; undefined when all was there. */
  readonly shortfall: string | undefined;
  /** Layout of the first frame; undefined without frames. */
  readonly layout: FrameLayout | undefined;
  /** How it is shown. */
  readonly presentation: Presentation | undefined;
}

/** All that decides about slots and about what the workers do. */
interface Shape {
  readonly layout: FrameLayout;
  readonly presentation: Presentation;
}

/**
 * Takes every frame from the source to a worker, and returns when all are measured. Rejects with the signal's reason or
 * a {@link Failure}; the crew brings back the frames that workers have then.
 */
export async function streamFrames(parts: StreamParts<LoopSupply>): Promise<StreamResult> {
  const { source, crew, meter, signal } = parts;
  let frames = 0;
  let first: FrameLayout | undefined;
  let present: Shape | undefined;
  let shortfall: string | undefined;
  for (;;) {
    signal.throwIfAborted();
    const start = performance.now();
    let frame: SourceFrame | undefined;
    try {
      frame = await source.next();
    } catch (error) {
      // Whole frames that came before a broken stream are a partial result; with none there is nothing to keep.
      if (signal.aborted) throw signal.reason;
      if (frames === 0) throw new Failure(explain(error), 1, { cause: error });
      shortfall = `the input broke off after frame ${frames}: ${explain(error)}`;
    }
    meter.stages.decode += performance.now() - start;
    if (frame === undefined) break;
    try {
      const shape: Shape = { layout: frame.layout, presentation: frame.presentation };
      if (present === undefined || isOther(present, shape)) await reshape(parts, shape);
      present = shape;
      if (!(await pass(parts, frames, frame))) break;
      first ??= frame.layout;
    } finally {
      frame.close();
    }
    frames++;
    await parts.afterFrame(frames);
  }
  await crew.settled(signal);
  signal.throwIfAborted();
  return { frames, shortfall: shortfall ?? source.shortfall, layout: first, presentation: present?.presentation };
}

/** Copies one frame into a place and hands it on; false when the stream ended inside it. */
async function pass(parts: StreamParts<LoopSupply>, index: number, frame: SourceFrame): Promise<boolean> {
  const { supply, source, crew, meter, signal } = parts;
  const { stages } = meter;
  const place = await supply.take(signal);
  const starved = source.starvedMs;
  const start = performance.now();
  let whole = false;
  try {
    whole = await frame.copyTo(place.bytes);
  } finally {
    if (!whole) supply.giveBack(place);
  }
  const copied = performance.now();
  const waited = source.starvedMs - starved;
  stages.copy += copied - start - waited;
  stages.decode += waited;
  if (!whole) return false;
  parts.onFrame(index, frame);
  const before = performance.now();
  crew.hand(index, place);
  stages.handOff += performance.now() - before;
  return true;
}

/** New slots and a new task, when a frame is unlike the one before. */
async function reshape(parts: StreamParts<LoopSupply>, { layout, presentation }: Shape): Promise<void> {
  if (!canMeasure(layout.format))
    throw new Failure(`frames in ${layout.format} cannot be measured; convert them first`);
  await parts.crew.settled(parts.signal);
  await parts.supply.reshape(layout.size);
  parts.crew.begin(layout, presentation);
}

function isOther(a: Shape, b: Shape): boolean {
  const [one, two] = [a.layout, b.layout];
  if (one.format !== two.format || one.width !== two.width || one.height !== two.height) return true;
  const [p, q] = [a.presentation, b.presentation];
  return p.rotation !== q.rotation || p.flip !== q.flip || p.matrix !== q.matrix || p.fullRange !== q.fullRange;
}
