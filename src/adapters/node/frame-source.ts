/**
 * What a decoder and a raw stream have in common: frames in presentation order, whose bytes go where the caller says.
 * A source never allocates a frame; the caller's pool decides how many there are, and not asking is the back-pressure.
 */

import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { releaseOrPass } from "../../media/buffer/release.ts";
import type { FrameLayout, Presentation } from "../../media/video/frame-layout.ts";
import { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import { abortable, onAbort } from "../../util/abortable.ts";
import { endable } from "../../util/endable.ts";
import { MillpondError } from "../../util/errors.ts";
import { abortSignal, bytesOf, instance, milliseconds, readOptions, withMethods } from "../../util/validate.ts";

export type { FrameLayout, PlaneLayout, Presentation } from "../../media/video/frame-layout.ts";

/** A frame that is ready and waits for a place. Close it, copied or not. */
export interface SourceFrame {
  /** How its bytes will lie. */
  readonly layout: FrameLayout;
  /** How to show it: rotation, colors. */
  readonly presentation: Presentation;
  /** Presentation time in nanoseconds from the start of the stream; undefined when there is none. */
  readonly pts: bigint | undefined;
  /** Nanoseconds that it is shown for; undefined when it is not known. */
  readonly duration: bigint | undefined;
  /**
   * Writes the frame into `bytes`, plain or shared, which hold `layout.size` bytes or more.
   * False when the stream ends inside the frame: what was written is not a frame then, and the source says why in
   * {@link FrameSource.shortfall}. Until it answers, `bytes` may be written by the system or by a decoder's thread.
   * Rejects with `ERR_USE_AFTER_RELEASE` after {@link close}, and for a frame of a stream once it was read or the next
   * one was asked for.
   */
  copyTo(bytes: Uint8Array): Promise<boolean>;
  /** Gives the decoder its own memory back; a second call does nothing. */
  close(): void;
}

/** Frames in presentation order. Ask for one at a time, and close each before the next. */
export interface FrameSource {
  /** The next frame, undefined at the end. Rejects when the stream cannot be read or decoded any further. */
  next(): Promise<SourceFrame | undefined>;
  /** Ends it at any moment, also while `next()` waits; a second call does nothing. */
  close(): Promise<void>;
  /** After the end: what should have been there and was not, as one sentence; undefined when all was there. */
  readonly shortfall: string | undefined;
  /** Frames so far that a decoder had to make up in part, because their data is damaged; absent: it cannot tell. */
  readonly concealed?: number;
  /** Milliseconds that `copyTo` has waited for bytes to arrive, in all: time of the source, not of the copy. */
  readonly starvedMs: number;
}

/** How {@link pooledFrames} waits for a free buffer. */
export interface PooledFramesOptions {
  /** Ends the loop; rejects with its reason. */
  signal?: AbortSignal;
  /** Milliseconds to wait for a buffer, then `ERR_STARVED`. Default: no limit. */
  timeout?: number;
}

/**
 * The frames of a source, each in a buffer of `pool` that the consumer owns and releases. When every buffer is out, the
 * loop waits, and so does the decoder or the process at the other end of the pipe. The source is closed at the end,
 * also when the loop is left early; the signal and `return()` end it while it waits for a frame, too.
 *
 * The pool must be active, with buffers of at least `layout.size` bytes. Throws `ERR_INVALID_ARG_TYPE`,
 * `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE` at once; the source is not touched then. The loop throws what
 * `pool.acquire` throws, and `ERR_OUT_OF_RANGE` when a frame does not fit.
 */
export function pooledFrames(
  source: FrameSource,
  pool: BufferPool,
  options: PooledFramesOptions = {},
): AsyncIterableIterator<MediaBuffer, void, undefined> {
  withMethods("source", "a source of frames, with next() and close()", source, ["next", "close"]);
  instance("pool", "a BufferPool", BufferPool, pool);
  const given = readOptions("options", options, ["signal", "timeout"]);
  abortSignal("options.signal", given.signal);
  if (given.timeout !== undefined) milliseconds("options.timeout", given.timeout);
  const { timeout } = given;
  return endable(given.signal, (signal) =>
    readFrames(source, pool, timeout === undefined ? { signal } : { signal, timeout }),
  );
}

async function* readFrames(
  source: FrameSource,
  pool: BufferPool,
  options: PooledFramesOptions & { signal: AbortSignal },
): AsyncGenerator<MediaBuffer, void, undefined> {
  const { signal } = options;
  // Ends a copy that waits for bytes; what it rejects with is told by the close() below.
  const ignore = onAbort(signal, () => void source.close().catch(() => {}));
  try {
    for (;;) {
      const frame = await nextFrame(source, signal);
      if (frame === undefined) return;
      const buffer = await fill(frame, pool, options);
      if (signal.aborted && buffer !== undefined) releaseOrPass(buffer);
      signal.throwIfAborted();
      if (buffer === undefined) return;
      // From here on the buffer is the consumer's, also when it leaves the loop with this one in hand.
      yield buffer;
    }
  } finally {
    ignore();
    await source.close();
  }
}

/** Waits for a frame; one that comes after the end of the wait is closed. */
function nextFrame(source: FrameSource, signal: AbortSignal): Promise<SourceFrame | undefined> {
  return abortable(signal, ({ resolve, reject, onEnd }) => {
    let isOver = false;
    const ready = (frame: SourceFrame | undefined): void => {
      if (isOver) frame?.close();
      else resolve(frame);
    };
    // Also of a frame that comes too late, and cannot be closed.
    source.next().then(ready).catch(reject);
    onEnd(() => {
      isOver = true;
    });
  });
}

async function fill(
  frame: SourceFrame,
  pool: BufferPool,
  options: PooledFramesOptions,
): Promise<MediaBuffer | undefined> {
  let buffer: MediaBuffer | undefined;
  let isWhole = false;
  try {
    try {
      buffer = await pool.acquire(options);
      if (frame.layout.size > buffer.size) {
        throw new MillpondError(
          "ERR_OUT_OF_RANGE",
          `a frame of ${frame.layout.format} ${frame.layout.width}x${frame.layout.height} takes ${frame.layout.size} bytes, ` +
            `and the pool's buffers have ${buffer.size}; configure the pool for the largest frame`,
        );
      }
      isWhole = await copyInto(frame, buffer);
      if (isWhole) {
        buffer.pts = frame.pts;
        buffer.duration = frame.duration;
      }
    } finally {
      frame.close();
    }
    if (!isWhole) return undefined;
    const filled = buffer;
    // From here on it is the caller's.
    buffer = undefined;
    return filled;
  } finally {
    if (buffer?.isLive === true) releaseOrPass(buffer);
  }
}

/**
 * @internal {@link SourceFrame.copyTo} of a buffer's bytes. They are mapped until the copy has ended: the system or a
 * decoder's thread may write them, also when the pool is closed by force meanwhile.
 */
export async function copyInto(frame: SourceFrame, buffer: MediaBuffer): Promise<boolean> {
  // Throws where the bytes are not one run, which map() would join by a copy that is no slot.
  const { bytes } = buffer;
  const mapping = buffer.map("write");
  try {
    return await frame.copyTo(bytes);
  } finally {
    mapping.unmap();
  }
}

/**
 * @internal Checks the bytes that a frame is copied into. Throws `ERR_INVALID_ARG_TYPE`, `ERR_DETACHED`,
 * `ERR_OUT_OF_RANGE`.
 */
export function bytesFor(name: string, bytes: Uint8Array, size: number): Uint8Array {
  if (bytesOf(name, bytes).length >= size) return bytes;
  throw new MillpondError(
    "ERR_OUT_OF_RANGE",
    `a frame takes ${size} bytes, and ${name} has ${bytes.length}; give it a buffer of layout.size bytes`,
    { name },
  );
}
