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
 */
import type { Readable } from "node:stream";
import type { MediaBuffer } from "../../../media/buffer/media-buffer.ts";
import type { FrameLayout } from "../../../media/video/frame-layout.ts";
import type { BufferPool } from "../../../pools/buffer/buffer-pool.ts";
import { onAbort } from "../../../util/abortable.ts";
import { abortSignal, milliseconds, readOptions, withMethods } from "../../../util/validate.ts";
import { ChunkReader } from "../../raw-video/chunk-reader.ts";
import { planRawVideo, RAW_VIDEO_KEYS, type RawVideoOptions, type RawVideoPlan } from "../../raw-video/layout.ts";
import { type RawVideo, startRawVideo } from "../../raw-video/source.ts";
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
  return new FrameStream(readable, slots, planRawVideo(given), given.signal, given.timeout);
}

/** The frames of a stream, for one `for await`. Made by {@link frames}. */
export class FrameStream implements AsyncIterableIterator<MediaBuffer, void, undefined> {
  readonly #readable: Readable;
  readonly #slots: FrameSlots;
  readonly #plan: RawVideoPlan;
  readonly #signal: AbortSignal | undefined;
  readonly #timeout: number | undefined;
  readonly #run: AsyncGenerator<MediaBuffer, void, undefined>;
  readonly #stopWaiting: AbortController = new AbortController();
  #video: RawVideo | undefined;
  /** Set when the loop has to end before the stream does; with the reason that it rejects with, if any. */
  #stopped: { readonly failure?: { readonly reason: unknown } } | undefined;

  /** @internal */
  constructor(
    readable: Readable,
    slots: FrameSlots,
    plan: RawVideoPlan,
    signal: AbortSignal | undefined,
    timeout: number | undefined,
  ) {
    this.#readable = readable;
    this.#slots = slots;
    this.#plan = plan;
    this.#signal = signal;
    this.#timeout = timeout;
    this.#run = this.#read();
  }

  /** The pool that the frames are leased from; undefined until a pool of its own is made, with the first frame. */
  get pool(): BufferPool | undefined {
    return this.#slots.pool;
  }

  /** How each frame lies in its slot; undefined until the first frame. */
  get layout(): FrameLayout | undefined {
    return this.#slots.layout;
  }

  /** After the end: how the stream ended inside a frame, as one sentence; undefined when it did not. */
  get shortfall(): string | undefined {
    return this.#video?.shortfall;
  }

  /** Waits for a frame, then for a slot, and gives the lease; calls are served in order. */
  next(): Promise<IteratorResult<MediaBuffer, void>> {
    return this.#run.next();
  }

  /** Ends it at any time, also while a `next()` waits, which then sees the end. Resolves when all is undone. */
  async return(): Promise<IteratorResult<MediaBuffer, void>> {
    this.#stop({});
    return await this.#run.return();
  }

  /** Itself: the frames can be read once. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  #stop(stopped: { readonly failure?: { readonly reason: unknown } }): void {
    this.#stopped ??= stopped;
    this.#stopWaiting.abort();
    // Wakes whatever waits for bytes.
    this.#readable.destroy();
  }

  async *#read(): AsyncGenerator<MediaBuffer, void, undefined> {
    const wait = { signal: this.#stopWaiting.signal, timeout: this.#timeout };
    let unlisten: (() => void) | undefined;
    try {
      unlisten = onAbort(this.#signal, (reason) => this.#stop({ failure: { reason } }));
      this.#throwIfStopped();
      const video = await startRawVideo(new ChunkReader(this.#readable), this.#plan, this.#slots.packed);
      this.#video = video;
      for (;;) {
        const frame = await video.nextFrame();
        const buffer = frame === undefined ? undefined : await this.#slots.fill(frame, wait);
        if (this.#stopped !== undefined) buffer?.release();
        this.#throwIfStopped();
        if (buffer === undefined || this.#stopped !== undefined) return;
        // From here on the buffer is the consumer's, also when it leaves the loop with this one in hand.
        yield buffer;
        this.#throwIfStopped();
      }
    } catch (error) {
      this.#throwIfStopped();
      // What an end that was asked for makes of a wait is not an error.
      if (this.#stopped === undefined) throw error;
    } finally {
      unlisten?.();
      this.#readable.destroy();
      this.#slots.end();
    }
  }

  #throwIfStopped(): void {
    if (this.#stopped?.failure !== undefined) throw this.#stopped.failure.reason;
  }
}
