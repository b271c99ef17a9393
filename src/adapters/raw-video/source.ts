/**
 * RawVideo: raw video that is being read, frame by frame, from whatever delivers its bytes.
 *
 * Life: {@link startRawVideo} reads the header, `next` waits for the first byte of a frame, `copyTo` reads its bytes
 * straight into the caller's memory; a frame that is closed without that is skipped. `close` ends it at any time, also
 * while it waits.
 *
 * Invariants: a frame has bytes until it is read, closed, or the next one is asked for; after that it refuses, because
 * what the reader holds then belongs to others. Calls take turns: a `next` waits for a copy that is under way. Where a
 * call failed nobody knows where the next frame begins, so every later `next` fails with the same.
 */
import { MillpondError } from "../../util/errors.ts";
import {
  bytesFor,
  type FrameLayout,
  type FrameSource,
  type Presentation,
  type SourceFrame,
} from "../node/frame-source.ts";
import type { ByteReader } from "./chunk-reader.ts";
import type { Run } from "./frame-runs.ts";
import { layoutFor, type RawVideoPlan } from "./layout.ts";
import { isFrameLine, isY4m, MAX_Y4M_LINE, parseY4mHeader, Y4M_MAGIC } from "./y4m.ts";

const DEFAULT_PRESENTATION: Presentation = {
  rotation: 0,
  flip: false,
  pixelAspect: 1,
  matrix: undefined,
  fullRange: false,
};

/** Bytes of a row that a promise costs more than. */
const SHORT_ROW = 4096;

/**
 * Begins to read: frames of the plan's layout one behind the other; without one Y4M, or frames of `fallback` where the
 * stream does not begin as Y4M does. The reader belongs to the result from now on, and is closed when this rejects.
 * Rejects with `ERR_BAD_DATA`, `ERR_UNSUPPORTED`, and what the reader rejects with.
 */
export async function startRawVideo(
  reader: ByteReader,
  { layout, frameRate }: RawVideoPlan,
  fallback?: FrameLayout,
): Promise<RawVideo> {
  try {
    if (await reader.atEnd()) throw new MillpondError("ERR_BAD_DATA", "the stream is empty: not one byte arrived");
    const plain = layout ?? (isY4m(await reader.peek(Y4M_MAGIC.length)) ? undefined : fallback);
    if (plain === undefined) return await openY4m(reader, frameRate);
    return new RawVideo(reader, plain, { ...DEFAULT_PRESENTATION }, frameRate, false);
  } catch (error) {
    await reader.close();
    throw error;
  }
}

async function openY4m(reader: ByteReader, frameRate: RawVideoPlan["frameRate"]): Promise<RawVideo> {
  if (!isY4m(await reader.peek(Y4M_MAGIC.length))) {
    throw new MillpondError(
      "ERR_BAD_DATA",
      "the stream is not Y4M (it does not begin with YUV4MPEG2), and its format is not given; " +
        "give its format and size, or let ffmpeg write -f yuv4mpegpipe",
    );
  }
  const line = await reader.line(MAX_Y4M_LINE);
  if (line === undefined) throw new MillpondError("ERR_BAD_DATA", "the stream ends inside its Y4M header");
  const header = parseY4mHeader(line);
  const layout = layoutFor(header.format, header.width, header.height);
  const presentation = { ...DEFAULT_PRESENTATION, pixelAspect: header.pixelAspect, fullRange: header.fullRange };
  return new RawVideo(reader, layout, presentation, frameRate ?? header.frameRate, true);
}

/** Raw video that is being read. Made by `openRawVideo`; close it. */
export class RawVideo implements FrameSource {
  /** How each frame lies in its bytes. */
  readonly layout: FrameLayout;
  /** How to show each frame: rotation, colors. */
  readonly presentation: Presentation;
  /** Frames per second as a fraction; undefined when it was not given. */
  readonly frameRate: { readonly num: number; readonly den: number } | undefined;
  /** True when the stream is Y4M. */
  readonly isY4m: boolean;
  readonly #reader: ByteReader;
  #frames = 0;
  #shortfall: string | undefined;
  #starvedMs = 0;
  #unread = false;
  /** Frames that were asked for; the last one is the only one with bytes. */
  #asked = 0;
  /** A call is under way, or its turn goes to the first of those that wait. */
  #isBusy = false;
  readonly #waiting: (() => void)[] = [];
  #failure: { readonly error: unknown } | undefined;

  /** @internal */
  constructor(
    reader: ByteReader,
    layout: FrameLayout,
    presentation: Presentation,
    frameRate: { readonly num: number; readonly den: number } | undefined,
    isY4m: boolean,
  ) {
    this.#reader = reader;
    this.layout = layout;
    this.presentation = presentation;
    this.frameRate = frameRate;
    this.isY4m = isY4m;
  }

  /**
   * Waits for the first byte of the next frame; undefined at the end of the stream. The frame before has no bytes from
   * now on: copy it first. Rejects with `ERR_BAD_DATA` for a frame line without an end, with the stream's own errors,
   * and with what a copy has failed with.
   */
  next(): Promise<SourceFrame | undefined> {
    return this.nextFrame();
  }

  /** @internal */
  async nextFrame(): Promise<RawFrame | undefined> {
    const number = ++this.#asked;
    // The one that ends hands its turn over, so that calls are served in order.
    if (this.#isBusy) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#isBusy = true;
    try {
      if (this.#failure !== undefined) throw this.#failure.error;
      if (this.#shortfall !== undefined) return undefined;
      if ((this.#unread && !(await this.#skipUnread())) || (await this.#reader.atEnd())) return undefined;
      if (this.isY4m && !(await this.#readFrameLine())) return undefined;
      this.#unread = true;
      return new RawFrame(this, this.#frames++, number);
    } catch (error) {
      this.#failure ??= { error };
      throw error;
    } finally {
      this.#endTurn();
    }
  }

  async #readFrameLine(): Promise<boolean> {
    const line = await this.#reader.line(MAX_Y4M_LINE);
    if (line !== undefined && isFrameLine(line)) return true;
    this.#shortfall =
      line === undefined
        ? `the stream ends inside the line in front of frame ${this.#frames + 1}`
        : `after frame ${this.#frames} there is no FRAME line where one should be; the rest is not read`;
    return false;
  }

  /** Why the stream ended early; undefined when it ended behind a whole frame. */
  get shortfall(): string | undefined {
    return this.#shortfall;
  }

  /** Milliseconds that copies have waited for the stream, in all. */
  get starvedMs(): number {
    return this.#starvedMs;
  }

  /** Ends the stream; a `next()` that waits sees the end. */
  close(): Promise<void> {
    return this.#reader.close();
  }

  /** @internal Whether a frame, by its number among those that were asked for, is the last one. */
  isLast(number: number): boolean {
    return number === this.#asked;
  }

  /**
   * @internal Reads the bytes of the last frame to where the runs say, once; false when the stream ends inside it. No
   * call is under way: a next() would have made it another frame than the last.
   */
  async readFrame(bytes: Uint8Array, runs: readonly Run[]): Promise<boolean> {
    this.#isBusy = true;
    this.#unread = false;
    const reader = this.#reader;
    const before = reader.waitedMs;
    let arrived = 0;
    try {
      for (const { offset, stride, rowBytes, rows } of runs) {
        for (let row = 0; row < rows; row++) {
          const start = offset + row * stride;
          const end = start + rowBytes;
          // Most short rows are here already, and a wait for nothing costs more than the copy.
          let at = rowBytes < SHORT_ROW ? reader.take(bytes, start, end) : start;
          if (at < end) at = await reader.fill(bytes, at, end);
          arrived += at - start;
          if (at < end) return this.#endedInside(arrived);
        }
      }
      return true;
    } catch (error) {
      this.#failure ??= { error };
      throw error;
    } finally {
      this.#starvedMs += reader.waitedMs - before;
      this.#endTurn();
    }
  }

  #endTurn(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#isBusy = false;
    else next();
  }

  /** A frame that was closed without being copied still lies in the stream. */
  async #skipUnread(): Promise<boolean> {
    this.#unread = false;
    const skipped = await this.#reader.skip(this.layout.size);
    return skipped === this.layout.size || this.#endedInside(skipped);
  }

  #endedInside(bytes: number): false {
    this.#shortfall = `the stream ends inside frame ${this.#frames}: ${bytes} of its ${this.layout.size} bytes arrived`;
    return false;
  }
}

/** One frame that begins to arrive. */
export class RawFrame implements SourceFrame {
  readonly layout: FrameLayout;
  readonly presentation: Presentation;
  readonly pts: bigint | undefined;
  readonly duration: bigint | undefined;
  readonly #video: RawVideo;
  readonly #number: number;
  #isRead = false;
  #isClosed = false;

  constructor(video: RawVideo, index: number, number: number) {
    this.#video = video;
    this.#number = number;
    this.layout = video.layout;
    this.presentation = video.presentation;
    const rate = video.frameRate;
    if (rate === undefined) return;
    // Each time is computed from the start, so that roundings do not add up.
    this.pts = frameTime(index, rate);
    this.duration = frameTime(index + 1, rate) - this.pts;
  }

  /**
   * Reads the frame into `bytes`, once. Rejects with `ERR_USE_AFTER_RELEASE` when it was read or closed before, or the
   * next one was asked for, `ERR_INVALID_ARG_TYPE`, `ERR_DETACHED`, `ERR_OUT_OF_RANGE`, and the stream's own errors.
   */
  async copyTo(bytes: Uint8Array): Promise<boolean> {
    this.#assertHere();
    const { size } = this.layout;
    bytesFor("bytes", bytes, size);
    return this.copyRuns(bytes, [{ offset: 0, stride: size, rowBytes: size, rows: 1 }]);
  }

  /** {@link copyTo}, with the rows where the runs say. The caller has checked that they are inside `bytes`. Throws. */
  copyRuns(bytes: Uint8Array, runs: readonly Run[]): Promise<boolean> {
    this.#assertHere();
    this.#isRead = true;
    return this.#video.readFrame(bytes, runs);
  }

  /** Its bytes are passed over, where they were not read. */
  close(): void {
    this.#isClosed = true;
  }

  #assertHere(): void {
    const why = this.#isRead
      ? "it was read before, and a frame of a stream can be read once"
      : this.#isClosed
        ? "it was closed; copy it before close()"
        : this.#video.isLast(this.#number)
          ? undefined
          : "the next one was asked for; copy a frame before next()";
    if (why === undefined) return;
    throw new MillpondError("ERR_USE_AFTER_RELEASE", `the bytes of the frame cannot be read: ${why}`);
  }
}

function frameTime(index: number, rate: { readonly num: number; readonly den: number }): bigint {
  return (BigInt(index) * 1_000_000_000n * BigInt(rate.den) + BigInt(rate.num) / 2n) / BigInt(rate.num);
}
