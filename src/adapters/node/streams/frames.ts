/**
 * frames: raw video or Y4M from any Readable, each frame copied once, into a slot of a pool.
 *
 * ```ts
 * const ffmpeg = spawn("ffmpeg", ["-i", url, "-f", "yuv4mpegpipe", "pipe:1"]);
 * for await (const frame of frames(ffmpeg.stdout, 4)) { // waits when all 4 are out, and so does ffmpeg
 *   detect(frame.bytes);
 *   frame.release();
 * }
 * ```
 *
 * Life of a {@link FrameStream}: it opens the stream at the first `next()`, has at most one slot that is being filled,
 * and ends once: with the stream, an error, the signal, or `return()`, which a loop calls when it is left.
 *
 * Invariants: no slot is taken before a byte for it is here, and no byte is read before the slot is there, beside the
 * chunk in hand and what the stream itself buffers. After the end the stream is destroyed, no slot is held and nothing
 * listens to the signal.
 *
 * Complexity: a frame costs one copy of its bytes and O(chunks) steps.
 */
import type { Readable } from "node:stream";
import type { MediaBuffer } from "../../../media/buffer/media-buffer.ts";
import type { FrameLayout } from "../../../media/video/frame-layout.ts";
import { ignoreErrors } from "../../../os/stream-end.ts";
import type { BufferPool } from "../../../pools/buffer/buffer-pool.ts";
import { abortSignal, milliseconds, readOptions, withMethods } from "../../../util/validate.ts";
import { ChunkReader } from "../../raw-video/chunk-reader.ts";
import { planRawVideo, RAW_VIDEO_KEYS, type RawVideoOptions } from "../../raw-video/layout.ts";
import { FrameLoop, type FrameOrigin } from "./frame-loop.ts";
import { checkFramePool, FrameSlots } from "./frame-slots.ts";

/** How {@link frames} reads. Without a format the stream is Y4M, or what the pool is configured for. */
export interface FramesOptions extends RawVideoOptions {
  /** Ends the loop, which rejects with its reason, and destroys the stream. */
  signal?: AbortSignal;
  /** Milliseconds to wait for a slot, then `ERR_STARVED`. Default: no limit. */
  timeout?: number;
}

/** The options that each reader of frames has. */
export const FRAMES_KEYS: readonly (keyof FramesOptions)[] = [...RAW_VIDEO_KEYS, "signal", "timeout"];

/**
 * The frames of a stream, each in a slot of a pool that the consumer owns and releases. When every slot is out, the
 * loop waits, and so does what writes the stream. The stream belongs to the result and is destroyed at the end, also
 * when the loop is left early.
 *
 * Each frame is copied once. Where the pool's format is a `VideoInfo` with padded rows, each row goes to its place.
 * Frames have times where the rate is known. A stream that ends inside a frame ends the loop, and
 * {@link FrameStream.shortfall} says so.
 *
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`, `ERR_UNSUPPORTED` for the arguments; the
 * stream is still the caller's then. The loop throws `ERR_BAD_DATA` for a stream that is empty or not what it should
 * be, `ERR_OUT_OF_RANGE` when a frame does not fit, the signal's reason, what `pool.acquire` throws, and the stream's
 * own errors.
 *
 * @param readable raw video or Y4M, in whatever chunks; not in object mode, without an encoding
 * @param pool an active pool, or how many frames a pool of its own has at most; that one goes with its last lease
 */
export function frames(readable: Readable, pool: BufferPool | number, options: FramesOptions = {}): FrameStream {
  withMethods("readable", "a Readable", readable as Readable & AsyncIterable<unknown>, [
    Symbol.asyncIterator,
    "destroy",
  ]);
  const slots = new FrameSlots(checkFramePool("pool", pool));
  const given = readOptions("options", options, FRAMES_KEYS);
  abortSignal("options.signal", given.signal);
  if (given.timeout !== undefined) milliseconds("options.timeout", given.timeout);
  const { signal, timeout } = given;
  const plan = planRawVideo(given);
  // From here on the stream is not the caller's.
  return new FrameStream(new FrameLoop(originOf(readable), slots, plan, { signal, timeout, ahead: 0 }));
}

/** The frames of a stream, for one `for await`. Made by {@link frames}. */
export class FrameStream implements AsyncIterableIterator<MediaBuffer, void, undefined> {
  readonly #loop: FrameLoop;

  /** @internal */
  constructor(loop: FrameLoop) {
    this.#loop = loop;
  }

  /** The pool that the frames are leased from; undefined until a pool of its own is made, with the first frame. */
  get pool(): BufferPool | undefined {
    return this.#loop.slots.pool;
  }

  /** How each frame lies in its slot; undefined until the first frame. */
  get layout(): FrameLayout | undefined {
    return this.#loop.slots.layout;
  }

  /** After the end: how the stream ended inside a frame, as one sentence; undefined when it did not. */
  get shortfall(): string | undefined {
    return this.#loop.shortfall;
  }

  /** Waits for a frame, then for a slot, and gives the lease; calls are served in order. */
  next(): Promise<IteratorResult<MediaBuffer, void>> {
    return this.#loop.next();
  }

  /** Ends it at any time, also while a `next()` waits, which then sees the end. Resolves when all is undone. */
  return(): Promise<IteratorResult<MediaBuffer, void>> {
    return this.#loop.return();
  }

  /** Itself: the frames can be read once. */
  [Symbol.asyncIterator](): this {
    return this;
  }
}

function originOf(readable: Readable): FrameOrigin {
  // An error that comes before the first next() is told by it; with nobody listening it would end the process.
  ignoreErrors(readable);
  let reader: ChunkReader | undefined;
  return {
    open() {
      reader = new ChunkReader(readable);
      return Promise.resolve(reader);
    },
    // Wakes whatever waits for bytes.
    stop() {
      readable.destroy();
      void reader?.close();
    },
    end(thrown) {
      readable.destroy();
      return Promise.resolve(thrown);
    },
  };
}
