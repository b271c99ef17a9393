/**
 * FrameLoop: the loop behind every reader of frames. It asks an origin for bytes, puts each frame into a slot, and
 * gives the lease to the next call that waits for one.
 *
 * Life: idle until the first `next()`; then it reads; it ends once, with the stream, an error, the signal or a
 * `stop()`, and then the origin has let go of everything ({@link FrameOrigin.end}).
 *
 * Invariants: no slot is taken before a byte for it is here; at most `ahead` frames are here that no call has asked
 * for, and a frame that is read ahead takes a free slot and never joins the pool's line of waiters; after the end no
 * lease is here. Calls are served in order. A call that finds the signal aborted rejects with its reason, whatever the
 * read-ahead has seen, unless the loop was ended by its consumer or its end was told.
 *
 * Complexity: O(1) a frame beside its bytes; two promises a call.
 */

import type { MediaBuffer } from "../../../media/buffer/media-buffer.ts";
import { releaseOrPass } from "../../../media/buffer/release.ts";
import type { BufferPool } from "../../../pools/buffer/buffer-pool.ts";
import { abortOf, onAbort } from "../../../util/abortable.ts";
import type { ByteReader } from "../../raw-video/chunk-reader.ts";
import type { RawVideoPlan } from "../../raw-video/layout.ts";
import { type RawVideo, startRawVideo } from "../../raw-video/source.ts";
import type { FrameSlots } from "./frame-slots.ts";

/** An error, or whatever else was thrown. */
export interface Thrown {
  readonly error: unknown;
}

/** Where the bytes come from. */
export interface FrameOrigin {
  /** Delivers the bytes, once. */
  open(): Promise<ByteReader>;
  /** Ends it now: what waits in {@link open} or the reader sees the end. Called any number of times. */
  stop(): void;
  /**
   * Called once when the reading is over, by itself or by what was thrown. Resolves when nothing is left of the origin,
   * with what the loop has to throw.
   */
  end(thrown: Thrown | undefined, video: RawVideo | undefined): Promise<Thrown | undefined>;
}

/** How a loop waits. */
interface FrameLoopOptions {
  readonly signal: AbortSignal | undefined;
  /** Milliseconds to wait for a slot. */
  readonly timeout: number | undefined;
  /** Frames that are read before they are asked for: 0 or 1. */
  readonly ahead: number;
}

export class FrameLoop {
  readonly slots: FrameSlots;
  readonly #origin: FrameOrigin;
  readonly #plan: RawVideoPlan;
  readonly #options: FrameLoopOptions;
  readonly #run: AsyncGenerator<MediaBuffer, void, undefined>;
  readonly #stopWaiting: AbortController = new AbortController();
  #unlisten: (() => void) | undefined;
  #video: RawVideo | undefined;
  /** Set when the loop has to end before the stream does; with the reason that it rejects with, if any. */
  #stopped: { readonly failure?: Thrown } | undefined;
  #ahead: Promise<IteratorResult<MediaBuffer, void>> | undefined;
  /** Calls of next() under way. */
  #calls = 0;
  #onAsked: (() => void) | undefined;
  #delivered = 0;
  /** The end was told by a call, or is the consumer's own: a signal changes nothing any more. */
  #isTold = false;

  constructor(origin: FrameOrigin, slots: FrameSlots, plan: RawVideoPlan, options: FrameLoopOptions) {
    this.#origin = origin;
    this.slots = slots;
    this.#plan = plan;
    this.#options = options;
    this.#run = this.#read();
  }

  /** Why the stream ended early; undefined when it ended behind a whole frame, or has not ended. */
  get shortfall(): string | undefined {
    return this.#video?.shortfall;
  }

  /** Frames that were read. */
  get delivered(): number {
    return this.#delivered;
  }

  /** Begins to listen to the signal: an abort ends the loop. Once; the first next() does it too. */
  listen(): void {
    if (this.#unlisten !== undefined) return;
    this.#unlisten = () => {};
    this.#unlisten = onAbort(this.#options.signal, (error) => this.stop({ error }));
  }

  /** The next frame; calls are served in order. */
  async next(): Promise<IteratorResult<MediaBuffer, void>> {
    const aborted = abortOf(this.#options.signal);
    let end: { readonly result: IteratorResult<MediaBuffer, void> } | Thrown;
    try {
      const result = await this.#step();
      if (result.done !== true) return result;
      end = { result };
    } catch (error) {
      end = { error };
    }
    const isReason = aborted !== undefined && !this.#isTold;
    this.#isTold = true;
    if (isReason) throw aborted.error;
    if ("error" in end) throw end.error;
    return end.result;
  }

  async #step(): Promise<IteratorResult<MediaBuffer, void>> {
    this.#calls++;
    this.#asked();
    const ahead = this.#ahead;
    this.#ahead = undefined;
    try {
      const result = await (ahead ?? this.#run.next());
      // A frame that was read ahead, and whose pool was closed by force since.
      if (result.done !== true && !result.value.isLive) {
        this.stop();
        await this.#run.next();
        result.value.live("deliver");
      }
      return result;
    } finally {
      this.#calls--;
      if (this.#options.ahead > 0 && this.#calls === 0 && this.#ahead === undefined && this.#stopped === undefined) {
        this.#ahead = this.#run.next();
        this.#ahead.catch(() => {});
      }
    }
  }

  /** Ends the loop now; with a failure, it rejects with it. The first call counts. */
  stop(failure?: Thrown): void {
    if (this.#stopped === undefined && failure === undefined) this.#isTold = true;
    this.#stopped ??= failure === undefined ? {} : { failure };
    this.#stopWaiting.abort();
    this.#unlisten?.();
    this.#origin.stop();
    this.#asked();
    // A frame that is here goes back; how the loop ended is for the next call to tell.
    this.#ahead = this.#ahead?.then((result) => {
      if (result.done === true) return result;
      if (result.value.isLive) releaseOrPass(result.value);
      return this.#run.next();
    });
    this.#ahead?.catch(() => {});
  }

  /** Ends the loop and resolves when it has ended. */
  async return(): Promise<IteratorResult<MediaBuffer, void>> {
    this.stop();
    // Not the generator's return(), which would wait for a next() that is under way and skip what follows the loop.
    while ((await this.#run.next()).done !== true);
    this.#ahead = undefined;
    return { done: true, value: undefined };
  }

  async *#read(): AsyncGenerator<MediaBuffer, void, undefined> {
    let thrown: Thrown | undefined;
    try {
      this.listen();
      if (this.#stopped === undefined) yield* this.#frames();
    } catch (error) {
      thrown = { error };
    }
    this.slots.end();
    const failure = await this.#origin.end(thrown, this.#video);
    this.#unlisten?.();
    if (this.#stopped === undefined) this.#stopped = {};
    else if (this.#stopped.failure !== undefined) throw this.#stopped.failure.error;
    // What an end that was asked for makes of a wait is not an error.
    else return;
    if (failure !== undefined) throw failure.error;
  }

  async *#frames(): AsyncGenerator<MediaBuffer, void, undefined> {
    const video = await startRawVideo(await this.#origin.open(), this.#plan, this.slots.packed);
    this.#video = video;
    for (;;) {
      const frame = await video.nextFrame();
      if (frame === undefined) return;
      const buffer = await this.slots.fill(frame, this.#acquire);
      if (this.#stopped !== undefined && buffer !== undefined) releaseOrPass(buffer);
      if (buffer === undefined || this.#stopped !== undefined) return;
      this.#delivered++;
      yield buffer;
      if (this.#stopped !== undefined) return;
    }
  }

  readonly #acquire = async (pool: BufferPool): Promise<MediaBuffer> => {
    if (this.#isUnasked) {
      const free = pool.tryAcquire();
      if (free !== undefined) return free;
      // Looked at again: a hook of the pool may have called.
      if (this.#isUnasked) {
        await new Promise<void>((resolve) => {
          this.#onAsked = resolve;
        });
      }
    }
    return await pool.acquire({ signal: this.#stopWaiting.signal, timeout: this.#options.timeout });
  };

  /** A frame is read ahead, and a call or a stop may still come: nothing else wakes what waits for them. */
  get #isUnasked(): boolean {
    return this.#calls === 0 && this.#stopped === undefined;
  }

  #asked(): void {
    const wake = this.#onAsked;
    this.#onAsked = undefined;
    wake?.();
  }
}
