/**
 * The frames of a track in pooled buffers, in browsers and in Node. mediabunny gives out a few frames of the decoder at
 * a time; each is copied into a slot and closed before the next is asked for, so that what a program keeps are its
 * leases, and the decoder never runs dry.
 *
 * Life: the decoder starts with the first turn of the loop. When every slot is out the loop waits with one frame, and
 * the decoder with the few that it has ahead. At the end, on break, on an error and on an abort, mediabunny is told to
 * stop, which closes what it has decoded ahead; a frame that comes later is closed as it comes.
 */
import type { InputVideoTrack, VideoSample } from "mediabunny";
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { giveBack } from "../../media/buffer/release.ts";
import type { VideoInfo } from "../../media/video/info.ts";
import type { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import { abortable } from "../../util/abortable.ts";
import { endable } from "../../util/endable.ts";
import { outOfRange, readOptions, withMethods, wrongType } from "../../util/validate.ts";
import { type CopyFrameOptions, checkCopy, copyPicture, type Picture } from "../webcodecs/frames.ts";
import { closeBehindFailure } from "./mediabunny-hooks.ts";
import { importMediabunny, type Mediabunny, nanoseconds } from "./package.ts";

/** Which frames {@link pooledSamples} gives, and how. */
export interface PooledSamplesOptions extends CopyFrameOptions {
  /** Seconds: the first frame is the one that is shown then. Default: the first of the track. */
  start?: number;
  /** Seconds: the first frame that is shown then or later is not given any more. Default: all. */
  end?: number;
}

/** A way from a sample into a slot past `VideoSample.copyTo`; false: it is not there for this one. */
export type CopyPast = (sample: object, bytes: Uint8Array, info: VideoInfo) => boolean;

/** What the frames are taken from: an iterator of mediabunny's, which closes what it has when it is told to return. */
type Samples = AsyncIterator<VideoSample, void, unknown>;

/** {@link pooledSamples}, with what the platform has beside `copyTo`, looked for when the loop begins. */
export function samplesInto(
  track: InputVideoTrack,
  pool: BufferPool,
  options: PooledSamplesOptions | undefined,
  prepare: () => Promise<CopyPast | undefined>,
): AsyncIterableIterator<MediaBuffer, void, undefined> {
  withMethods("track", "an InputVideoTrack of mediabunny", track, ["canDecode", "getCodedWidth"]);
  const { start, end, ...copy } = readOptions("options", options, ["format", "signal", "timeout", "start", "end"]);
  const given = checkCopy(pool, withoutAbsent(copy));
  const from = seconds("options.start", start);
  const to = seconds("options.end", end);
  return endable(given.signal, (ended) => read(track, pool, { ...given, signal: ended }, [from, to], prepare));
}

/** An option that is absent is not one that is undefined. */
function withoutAbsent(options: CopyFrameOptions): CopyFrameOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function seconds(name: string, value: unknown): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "number") throw wrongType(name, "a number of seconds", value);
  if (Number.isNaN(value)) throw outOfRange(name, "a number of seconds", value);
  return value;
}

async function* read(
  track: InputVideoTrack,
  pool: BufferPool,
  copy: CopyFrameOptions & { signal: AbortSignal },
  [from, to]: readonly [number | undefined, number | undefined],
  prepare: () => Promise<CopyPast | undefined>,
): AsyncGenerator<MediaBuffer, void, undefined> {
  const { signal: ended } = copy;
  ended.throwIfAborted();
  const mediabunny = await importMediabunny();
  const past = await prepare();
  ended.throwIfAborted();
  const samples: Samples = sinkOf(mediabunny, track).samples(from, to);
  try {
    for (;;) {
      const { done, value: sample } = await nextOf(samples, ended);
      if (done === true) return;
      yield await copyAndClose(sample, past, pool, copy);
    }
  } finally {
    // It closes what it has at once; its decoder may still take a while to stop, and nobody waits for that.
    void samples.return?.().catch(() => {});
  }
}

/** The copy of a frame, which is closed whatever happens; a frame that cannot be closed has no copy. */
async function copyAndClose(
  sample: VideoSample,
  past: CopyPast | undefined,
  pool: BufferPool,
  copy: CopyFrameOptions,
): Promise<MediaBuffer> {
  let buffer: MediaBuffer;
  try {
    buffer = await copyPicture(pictureOf(sample, past), pool, copy);
  } catch (error) {
    try {
      sample.close();
    } catch {
      // The first error is the one to mend.
    }
    throw error;
  }
  try {
    sample.close();
  } catch (error) {
    giveBack(buffer);
    throw error;
  }
  return buffer;
}

function sinkOf(
  { VideoSampleSink }: Mediabunny,
  track: InputVideoTrack,
): { samples(from?: number, to?: number): Samples } {
  try {
    const sink = new VideoSampleSink(track);
    closeBehindFailure(sink);
    return sink;
  } catch (cause) {
    // Its own class of track is asked for: one of another copy of the package is none.
    const error = wrongType("track", "an InputVideoTrack of the mediabunny that millpond finds", track);
    error.cause = cause;
    throw error;
  }
}

/** The next frame, or the signal's reason at once; a frame that comes after that is closed. */
function nextOf(samples: Samples, ended: AbortSignal): Promise<IteratorResult<VideoSample, void>> {
  return abortable(ended, ({ resolve, reject }) => {
    samples
      .next()
      .then((step) => {
        if (ended.aborted && step.done !== true) step.value.close();
        resolve(step);
        // What close() throws after an abort has nobody to go to: the wait is over.
      })
      .catch(reject);
  });
}

function pictureOf(sample: VideoSample, past: CopyPast | undefined): Picture {
  const { format, visibleRect, displayWidth, displayHeight, timestamp, duration } = sample;
  return {
    format,
    width: visibleRect.width,
    height: visibleRect.height,
    shownWidth: displayWidth,
    shownHeight: displayHeight,
    pts: nanoseconds(timestamp),
    duration: duration > 0 ? nanoseconds(duration) : undefined,
    allocationSize: (options) => sample.allocationSize(options),
    copyTo: (bytes, options) => sample.copyTo(bytes as Uint8Array<ArrayBuffer>, options),
    draw: (surface, width, height) => sample.draw(surface as never, 0, 0, width, height),
    ...(past === undefined ? {} : { copyPast: (bytes: Uint8Array, info: VideoInfo) => past(sample, bytes, info) }),
  };
}
