/**
 * frameWriter: frames from the slots of a pool into a Writable: a program's standard input, a socket, a file. A lease
 * goes back to its pool when its bytes are out, and not before.
 *
 * A Writable keeps a reference to what it is given until the system has taken it. A ring of buffers that is filled
 * again by count or by guess is overwritten while ffmpeg still reads, and nothing says so. Here the writer holds the
 * lease, and a read mapping of its bytes, until the Writable calls back.
 *
 * Life of a {@link FrameWriter}: open; ended by `end()`, which writes what is under way, or by `destroy()`, the signal,
 * an error or the other side, which drop it; then every write is refused.
 *
 * A Writable that others destroy and whose `_destroy()` never calls back says nothing: its leases wait for the writer's
 * own `destroy()`.
 *
 * Invariants: every lease that `write` takes over is released once, when the Writable has called back for each of its
 * chunks, or is over (os/stream-end.ts knows when, for each class of stream; after `destroy()` at the latest 8 turns of
 * the event loop later); its bytes are mapped until then, so that neither a writer nor a forced close of the pool
 * changes them. A Writable that is over without calling back may still have them queued, as may an HTTP/2 session whose
 * stream was destroyed: then the write rejects at once, and the pool discards the slot. Its memory belongs to what
 * refers to it from then on, so that no later lease has its bytes, whether they are ever sent or not.
 *
 * Complexity: no byte is copied here, and a frame is one write for each memory, or for each row where its slot has
 * padded rows. Only where a Writable takes one chunk at a time are padded rows first copied into one.
 */

import { PassThrough, type Writable } from "node:stream";
import { MediaBuffer } from "../../../media/buffer/media-buffer.ts";
import { releaseOrPass } from "../../../media/buffer/release.ts";
import type { FrameLayout } from "../../../media/video/frame-layout.ts";
import type { Mapping } from "../../../memory/memory.ts";
import { isDestroyed, isHttp2, isWriteOver, takeError, type WriteWatch, watchWrites } from "../../../os/stream-end.ts";
import { onAbort } from "../../../util/abortable.ts";
import { disposeWith } from "../../../util/dispose.ts";
import { MillpondError } from "../../../util/errors.ts";
import { abortSignal, badValue, instance, readOptions, withMethods, wrongType } from "../../../util/validate.ts";
import { endOf, pictureOf, type Run, runsOf } from "../../raw-video/frame-runs.ts";
import { layoutFor } from "../../raw-video/layout.ts";
import { takeLease, untakeLease } from "../taken-leases.ts";
import type { Thrown } from "./frame-loop.ts";
import { layoutOf } from "./frame-slots.ts";

/** How {@link frameWriter} writes. */
export interface FrameWriterOptions {
  /**
   * How the frames lie in their slots: a `VideoInfo`. Rows and planes that are padded there are written packed, as
   * ffmpeg's `rawvideo` has them. Default: the format that a frame's pool is configured for; without one all valid
   * bytes of a buffer are written as they are.
   */
  layout?: FrameLayout;
  /** Destroys the writable with its reason. */
  signal?: AbortSignal;
}

/**
 * Writes frames to a Writable whose callback means that the bytes are out: a program's standard input, a socket, a
 * file, an HTTP request or response. A PassThrough is refused, because it hands the very bytes on; so do other
 * Transforms of your own that push what they get.
 *
 * The writable belongs to the result from now on, and so do its errors. Throws `ERR_INVALID_ARG_TYPE`,
 * `ERR_INVALID_ARG_VALUE`, `ERR_UNSUPPORTED` for a format without a packed form, `ERR_ENDED` for a writable that has
 * ended, with the error that it was destroyed with as its cause.
 */
export function frameWriter(writable: Writable, options: FrameWriterOptions = {}): FrameWriter {
  withMethods("writable", "a Writable", writable, ["write", "end", "on", "off", "destroy", "cork", "uncork"]);
  if (!callsBack(writable)) {
    throw wrongType("writable", "a Writable whose write() calls back, as Node's does", writable);
  }
  if (writable.writableObjectMode) throw badValue("writable", "a Writable of bytes, not of objects", writable);
  if (writable instanceof PassThrough) {
    throw badValue("writable", "where the bytes go at last; what is behind a PassThrough would read slots", writable);
  }
  const { layout, signal } = readOptions("options", options, ["layout", "signal"]);
  abortSignal("options.signal", signal);
  const given = layout === undefined ? undefined : layoutOf(layout);
  if (layout !== undefined && given === undefined) throw wrongType("options.layout", "a VideoInfo", layout);
  const packing = given === undefined ? undefined : packingOf(given);
  if (isWriteOver(writable)) {
    throw endedError("write to it", isDestroyed(writable) ? takeError(writable) : undefined);
  }
  return new FrameWriter(writable, packing, signal);
}

/**
 * Whether its write() takes a callback, where that can be known: a Writable of streamx has a state of its own shape.
 * The messages of HTTP have none.
 */
function callsBack(writable: object): boolean {
  const { _writableState: state } = writable as { _writableState?: { readonly length?: unknown } | null };
  return typeof state !== "object" || state === null || typeof state.length === "number";
}

/** How frames of one layout are packed. */
interface Packing {
  readonly layout: FrameLayout;
  readonly runs: readonly Run[];
  readonly size: number;
  /** Bytes that a slot has at least. */
  readonly slotBytes: number;
}

/** Ends a write whose callbacks have not come; the first call counts. */
type EndWrite = (error: unknown) => void;

/** How a write ended. */
interface Outcome {
  readonly failure: Thrown | undefined;
  /** Whether the writable, or what is behind it, may still read the bytes. */
  readonly isInUse: boolean;
}

/** Writes leases to a Writable. Made by {@link frameWriter}. */
export class FrameWriter {
  /** {@link destroy}, for `using writer = frameWriter(...)`; nothing when {@link end} was called by then. */
  declare [Symbol.dispose]: () => void;
  readonly #writable: Writable;
  readonly #packing: Packing | undefined;
  readonly #pending: Set<EndWrite> = new Set();
  /** By the format object of a pool's configuration, which is frozen. */
  #found: { readonly format: unknown; readonly packing: Packing | undefined } | undefined;
  #failure: Thrown | undefined;
  #ending: Promise<void> | undefined;
  #settleEnding: (() => void) | undefined;
  /** Called when nothing is under way any more. */
  #onIdle: (() => void) | undefined;
  /** It is over: what it has not called back for by now is lost. */
  #isClosed = false;
  #hasFinished = false;
  readonly #watch: WriteWatch;
  #written = 0;
  #unlisten: () => void = () => {};

  /** @internal */
  constructor(writable: Writable, packing: Packing | undefined, signal: AbortSignal | undefined) {
    this.#writable = writable;
    this.#packing = packing;
    this.#watch = watchWrites(writable, {
      onFinish: () => this.#onFinish(),
      onError: (error) => this.#onError(error),
      onClose: () => this.#onClose(),
    });
    this.#unlisten = onAbort(signal, (reason) => this.destroy(reason));
  }

  /** True once writes are refused: after `end()`, `destroy()`, an error, an abort, or the other side's end. */
  get isEnded(): boolean {
    return this.#ending !== undefined || this.#isOver;
  }

  get #isOver(): boolean {
    return this.#isClosed || this.#failure !== undefined || isWriteOver(this.#writable);
  }

  /** Why it has ended, if that is known: a writable that others have destroyed knows before its error event, if any. */
  #cause(): unknown {
    if (this.#failure !== undefined) return this.#failure.error;
    return isDestroyed(this.#writable) ? takeError(this.#writable) : undefined;
  }

  /** Leases that the writable has not taken the bytes of. */
  get inFlight(): number {
    return this.#pending.size;
  }

  /** Frames whose bytes are out. */
  get written(): number {
    return this.#written;
  }

  /**
   * Writes a frame. The lease is the writer's from the call on, whatever comes of it, and goes back to its pool when
   * the writable has taken the bytes: then the promise resolves. Frames go out in the order of the calls. Waiting for
   * each keeps one under way; a loop that does not wait has as many as the pool gives it.
   *
   * Rejects with `ERR_INVALID_ARG_TYPE` or `ERR_USE_AFTER_RELEASE` for what is no lease, `ERR_OUT_OF_RANGE` for a
   * buffer that is smaller than its frame, `ERR_ENDED` after the end, the writable's own error, or the signal's reason;
   * with `ERR_MAPPED`, and nothing is taken over, when the lease is being written already.
   */
  async write(buffer: MediaBuffer): Promise<void> {
    instance("buffer", "a MediaBuffer", MediaBuffer, buffer);
    buffer.live("write");
    takeLease("buffer", buffer);
    const mappings: Mapping[] = [];
    try {
      if (this.isEnded) throw endedError("write a frame to it", this.#cause());
      const packing = this.#packing ?? this.#packingFor(buffer);
      const chunks =
        packing === undefined ? plainChunks(buffer, mappings) : this.#packedChunks(buffer, packing, mappings);
      if (chunks.length > 0) {
        const { failure, isInUse } = await this.#put(chunks);
        if (isInUse) for (const { source } of mappings) source.markInUse();
        if (failure !== undefined) throw failure.error;
      }
      this.#written++;
    } finally {
      untakeLease(buffer);
      unmapAndRelease(buffer, mappings);
    }
  }

  /**
   * Ends the writable when all frames are out; resolves when it has finished. The second call gives the first one's
   * promise. Rejects with the writable's own error, the signal's reason, or `ERR_ENDED` when the other side has closed
   * it.
   */
  end(): Promise<void> {
    this.#ending ??= this.#finish();
    return this.#ending;
  }

  /**
   * Drops what is under way and destroys the writable; the writes that wait reject with the reason, and their leases
   * come back when the writable has let go of them or has closed, within a few turns of the event loop. Slots that it
   * has not let go of by then are discarded.
   */
  destroy(reason?: unknown): void {
    if (this.#isClosed) return;
    if (!this.#writable.destroyed) {
      this.#failure ??= { error: reason ?? endedError("finish a write to it", undefined) };
      this.#unlisten();
      this.#writable.destroy(isError(reason) ? reason : undefined);
    }
    // Also where others have destroyed it: a stream need not say that it has closed.
    this.#watch.expectClose();
  }

  // A writable without autoDestroy never closes: with its error or its end there is nothing left to abort.
  #onError(error: unknown): void {
    this.#failure ??= { error };
    this.#unlisten();
  }

  #onFinish(): void {
    this.#hasFinished = true;
    this.#unlisten();
    this.#settleEnding?.();
  }

  #onClose(): void {
    this.#isClosed = true;
    this.#unlisten();
    for (const pending of [...this.#pending]) pending(endedError("finish a write to it", this.#cause()));
    this.#settleEnding?.();
  }

  /** What a write that was cut off rejects with before the error event of the writable; undefined: it has no error. */
  #cutFailure(): Thrown | undefined {
    const cause = this.#cause();
    return cause === undefined ? undefined : { error: endedError("finish a write to it", cause) };
  }

  /** Gives the chunks to the writable; resolves when it has called back for each of them, or has closed. */
  #put(chunks: readonly Uint8Array[]): Promise<Outcome> {
    const writable = this.#writable;
    return new Promise((resolve) => {
      let left = chunks.length;
      let failure: Thrown | undefined;
      const end: EndWrite = (error) => {
        // Without its callbacks, nothing says that it will not read them any more.
        if (this.#pending.delete(end)) resolve({ failure: this.#failure ?? { error }, isInUse: true });
      };
      const onCalledBack = (error: unknown): void => {
        left--;
        if (error !== undefined && error !== null) failure ??= { error };
        if (left > 0 || !this.#pending.delete(end)) return;
        const isCut = isDestroyed(writable);
        // Node reports what a destroy() cut off as written.
        if (failure !== undefined || isCut) failure = this.#failure ?? this.#cutFailure() ?? failure;
        // A stream of HTTP/2 calls back as soon as it is destroyed, and its session still sends what it has begun.
        resolve({ failure, isInUse: isCut && isHttp2(writable) });
        // The write in front of this one may never be called back.
        if (isCut) this.#watch.expectClose();
        if (this.#pending.size === 0) this.#onIdle?.();
      };
      this.#pending.add(end);
      try {
        if (chunks.length > 1) writable.cork();
        for (const chunk of chunks) {
          let isOut = false;
          writable.write(chunk, (error) => {
            // A second call for one chunk is none for another.
            if (isOut) return;
            isOut = true;
            onCalledBack(error);
          });
        }
        if (chunks.length > 1) writable.uncork();
      } catch (error) {
        // It takes itself to be in the middle of a write from now on, and would never call back for another.
        this.#failure ??= { error };
        end(error);
        this.destroy(error);
      }
    });
  }

  #finish(): Promise<void> {
    const writable = this.#writable;
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        this.#settleEnding = undefined;
        // Node ends a stream of HTTP/2 that its peer has reset, and its response "finishes" whatever it has sent.
        const isFinished = this.#hasFinished && writable.writableFinished !== false;
        if (isFinished && this.#failure === undefined) resolve();
        else reject(this.#failure === undefined ? endedError("finish it", this.#cause()) : this.#failure.error);
      };
      if (this.#isOver) {
        settle();
        return;
      }
      this.#settleEnding = settle;
      // Node says nothing of a reset by the peer that comes behind the end() of a stream of HTTP/2, so it is called
      // when nothing is under way. What is corked goes out by it alone.
      if (this.#pending.size > 0 && isHttp2(writable) && !(writable.writableCorked > 0)) {
        this.#onIdle = () => {
          this.#onIdle = undefined;
          if (!this.#isOver) writable.end();
        };
      } else writable.end();
    });
  }

  /** How the frames of a buffer's pool are packed; undefined where its format is no picture's. */
  #packingFor(buffer: MediaBuffer): Packing | undefined {
    const format: unknown = buffer.pool?.config?.format;
    if (this.#found === undefined || this.#found.format !== format) {
      const layout = layoutOf(format);
      this.#found = { format, packing: layout === undefined ? undefined : packingOf(layout) };
    }
    return this.#found.packing;
  }

  #packedChunks(buffer: MediaBuffer, packing: Packing, mappings: Mapping[]): Uint8Array[] {
    const { layout, runs, size, slotBytes } = packing;
    if (buffer.size < slotBytes) {
      throw new MillpondError(
        "ERR_OUT_OF_RANGE",
        `a frame of ${pictureOf(layout)} takes ${slotBytes} bytes of its slot, and the buffer has ${buffer.size}`,
      );
    }
    const mapping = buffer.map("read");
    mappings.push(mapping);
    const { bytes } = mapping;
    const rows: Uint8Array[] = [];
    for (const { offset, stride, rowBytes, rows: count } of runs) {
      for (let row = 0; row < count; row++) {
        const start = offset + row * stride;
        rows.push(bytes.subarray(start, start + rowBytes));
      }
    }
    // A writable without writev would be called once a row.
    if (rows.length === 1 || typeof this.#writable._writev === "function") return rows;
    const packed = Buffer.allocUnsafeSlow(size);
    let at = 0;
    for (const row of rows) {
      packed.set(row, at);
      at += row.length;
    }
    return [packed];
  }
}
disposeWith(FrameWriter, function (this: FrameWriter): void {
  if (!this.isEnded) this.destroy();
});

/** Each memory of a buffer, mapped: nothing is joined. */
function plainChunks(buffer: MediaBuffer, mappings: Mapping[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let i = 0; i < buffer.memoryCount; i++) {
    const mapping = buffer.mapRange(i, 1, "read");
    mappings.push(mapping);
    if (mapping.size > 0) chunks.push(mapping.bytes);
  }
  return chunks;
}

function packingOf(layout: FrameLayout): Packing {
  const packed = layoutFor(layout.format, layout.width, layout.height);
  const runs = runsOf(packed, layout);
  return { layout, runs, size: packed.size, slotBytes: endOf(runs) };
}

function unmapAndRelease(buffer: MediaBuffer, mappings: readonly Mapping[]): void {
  for (const mapping of mappings) mapping.unmap();
  // Its pool may have been closed by force meanwhile.
  if (buffer.isLive) releaseOrPass(buffer);
}

/** False too for a proxy that does not say what it is. */
function isError(value: unknown): value is Error {
  try {
    return value instanceof Error;
  } catch {
    return false;
  }
}

function endedError(verb: string, cause: unknown): MillpondError {
  const why = isError(cause) ? `: ${cause.message}` : "; a writer is for one stream, from its begin to its end";
  return new MillpondError(
    "ERR_ENDED",
    `cannot ${verb}: the writable has ended${why}`,
    undefined,
    cause === undefined ? undefined : { cause },
  );
}
