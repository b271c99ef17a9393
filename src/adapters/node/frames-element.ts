/**
 * Stages over frame sources: raw video (Y4M or told) and decoded files. The frame is read or decoded straight into a
 * buffer of the pool that the stages agreed on; a frame of another size is negotiated anew in the middle of the stream.
 *
 * Life: `start` opens the source; `next` waits for a frame and says its format, `fill` copies it into the buffer;
 * `stop` closes the source, and what was missing or concealed can still be asked for. `unlock` closes it too when the
 * run ends, because a source may wait for bytes that never come.
 *
 * Invariant: one frame at most is taken from the source and not yet closed. A stream without one whole frame is an
 * error.
 */

import { Readable } from "node:stream";
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { MAX_SIDE, VideoInfo } from "../../media/video/info.ts";
import { ignoreErrors } from "../../os/stream-end.ts";
import { checkName } from "../../pipeline/base/element.ts";
import type { Maybe } from "../../pipeline/base/pad.ts";
import { Source } from "../../pipeline/base/source.ts";
import { Caps } from "../../pipeline/caps.ts";
import {
  checkFraction,
  type Fraction,
  type StreamFormat,
  type VideoPresentation,
  videoFormat,
} from "../../pipeline/stream-format.ts";
import { onAbort } from "../../util/abortable.ts";
import { isMillpondError, MillpondError, plainMessage } from "../../util/errors.ts";
import { readOptions, required, wholeNumber, withMethods, word } from "../../util/validate.ts";
import { openVideoFile } from "../mediabunny/video-file.ts";
import { openRawVideo, type RawVideoOptions } from "../raw-video/raw-video.ts";
import { FileSource } from "./file-elements.ts";
import { pathOf } from "./file-paths.ts";
import { copyInto, type FrameLayout, type FrameSource, type Presentation, type SourceFrame } from "./frame-source.ts";
import { assertInputReadable, isPipe, isRegularFile, isY4mFile, openInput, openRawFile } from "./input-stream.ts";

/** Frames, and how many of them a second where somebody knows. */
export interface OpenFrames {
  /** Where they come from. */
  readonly frames: FrameSource;
  /** Frames a second, where all of them are equally long. */
  readonly frameRate?: Fraction | undefined;
  /** Frames a second on average, where they are not, or nobody knows. */
  readonly averageRate?: Fraction | undefined;
  /** True where the times of the frames are known to vary. */
  readonly isVariable?: boolean | undefined;
  /** Frames in all, where somebody knows. */
  readonly expected?: number | undefined;
  /** Frames in all, about, where somebody can tell; default: `expected`. */
  readonly estimate?: number | undefined;
  /** What they are read from, for messages; default "the stream". */
  readonly from?: string | undefined;
}

/** A stage that gives the frames of a {@link FrameSource}. */
export class FramesElement extends Source {
  readonly #open: (signal: AbortSignal) => Promise<OpenFrames>;
  #opened: OpenFrames | undefined;
  #closing: Promise<void> | undefined;
  #frame: SourceFrame | undefined;
  /**
   * Of the frame before, with what it was made from: a format is validated when it is made, which takes as long as 20
   * pushes.
   */
  #format: StreamFormat | undefined;
  #shape: Shape | undefined;
  #frames = 0;

  /**
   * @param openFrames called at every start, with a signal that ends it; the pipeline closes what it gives. Throws
   * `ERR_INVALID_ARG_TYPE`.
   * @param caps what {@link formatOf} can give; default: video
   */
  constructor(openFrames: (signal: AbortSignal) => Promise<OpenFrames>, name?: string, caps: Caps = Caps.video()) {
    super(name, caps);
    this.#open = required("openFrames", openFrames);
  }

  /**
   * What was missing at the end of the stream, as one sentence; undefined when all was there, and when the stages
   * behind had enough before the end came.
   */
  get shortfall(): string | undefined {
    if (!this.#reachedEnd) return undefined;
    return this.#opened?.frames.shortfall ?? this.#shortfall;
  }
  #shortfall: string | undefined;
  #reachedEnd = false;

  /** Frames that the decoder had to make up in part, because their data is damaged. */
  get concealed(): number {
    return this.#opened?.frames.concealed ?? this.#concealed;
  }
  #concealed = 0;

  /** Frames in all; undefined when nobody knows. */
  get expected(): number | undefined {
    return this.#opened?.expected;
  }

  /** Frames in all, about. */
  override get expectedBuffers(): number | undefined {
    return this.#opened?.estimate ?? this.expected;
  }

  /** Opens the source. */
  override async start(): Promise<void> {
    this.#shortfall = undefined;
    this.#reachedEnd = false;
    this.#concealed = 0;
    this.#frames = 0;
    this.#format = undefined;
    this.#opened = await this.#open(this.running.signal);
  }

  /**
   * Waits for a frame, and says how it will lie. Rejects with `ERR_BAD_DATA` when there is none at all: nothing is
   * written then.
   */
  override async next(): Promise<StreamFormat | undefined> {
    this.#frame = await this.#opened!.frames.next();
    if (this.#frame === undefined) {
      this.#reachedEnd = true;
      this.#assertSome();
      return undefined;
    }
    if (this.#format === undefined || !isShapedAs(this.#frame, this.#shape)) {
      const { layout, presentation } = this.#frame;
      this.#format = this.formatOf(this.#frame);
      this.#shape = { layout, presentation: { ...presentation } };
    }
    return this.#format;
  }

  /**
   * Hook: what the stages behind are told of a frame. Called when its layout or presentation is not that of the frame
   * before. Default: video. Throws `ERR_UNSUPPORTED` for a layout that they do not know.
   */
  protected formatOf({ layout, presentation }: SourceFrame): StreamFormat {
    if (!(layout instanceof VideoInfo)) {
      throw new MillpondError(
        "ERR_UNSUPPORTED",
        `frames in ${layout.format} have no place in a pipeline; convert them first`,
      );
    }
    const shown = plain(presentation);
    const { frameRate, averageRate, isVariable } = this.#opened!;
    return videoFormat(layout, { frameRate, averageRate, isVariable, presentation: shown });
  }

  /** Copies the frame into the buffer. */
  override async fill(buffer: MediaBuffer): Promise<boolean> {
    const frame = this.#frame!;
    this.#frame = undefined;
    try {
      if (!(await copyInto(frame, buffer))) {
        this.#reachedEnd = true;
        this.#assertSome();
        return false;
      }
      this.#frames++;
      buffer.pts = frame.pts;
      buffer.duration = frame.duration;
      return true;
    } finally {
      frame.close();
    }
  }

  #assertSome(): void {
    if (this.#frames > 0 || this.running.stopping) return;
    const { frames, from = "the stream" } = this.#opened!;
    throw new MillpondError(
      "ERR_BAD_DATA",
      `no frame could be read from ${from}: ${frames.shortfall ?? "it has a header and nothing else"}`,
    );
  }

  /** Ends a wait for bytes that may never come. */
  override unlock(): void {
    if (this.running.stopping) void this.#close();
  }

  /** Closes the source, once; {@link stop} tells what went wrong. */
  #close(): Promise<void> | undefined {
    this.#closing ??= this.#opened?.frames.close();
    this.#closing?.catch(() => {});
    return this.#closing;
  }

  /** Closes the frame that was not copied. */
  override onFlush(): void {
    super.onFlush();
    this.#closeFrame();
  }

  #closeFrame(): void {
    const frame = this.#frame;
    this.#frame = undefined;
    frame?.close();
  }

  /** Closes the source. */
  override async stop(): Promise<void> {
    void super.stop();
    try {
      this.#closeFrame();
      this.#shortfall = this.#opened?.frames.shortfall;
      this.#concealed = this.#opened?.frames.concealed ?? 0;
    } finally {
      await this.#closeFrames();
    }
  }

  async #closeFrames(): Promise<void> {
    try {
      await this.#close();
    } finally {
      this.#opened = undefined;
      this.#closing = undefined;
    }
  }

  /** `decodes into buffers of its pool`. */
  override get role(): string {
    return "frames, straight into buffers of its pool";
  }
}

/** What a frame's format is made from. */
interface Shape {
  readonly layout: FrameLayout;
  readonly presentation: Presentation;
}

function isShapedAs({ layout, presentation }: SourceFrame, shape: Shape | undefined): boolean {
  if (shape === undefined) return false;
  const isLaidOut =
    layout === shape.layout || (layout instanceof VideoInfo && layout.equals(shape.layout as VideoInfo));
  const { rotation, flip, pixelAspect, matrix, fullRange } = shape.presentation;
  return (
    isLaidOut &&
    presentation.rotation === rotation &&
    presentation.flip === flip &&
    presentation.pixelAspect === pixelAspect &&
    presentation.matrix === matrix &&
    presentation.fullRange === fullRange
  );
}

function plain(presentation: Presentation): VideoPresentation | undefined {
  const { rotation, flip, pixelAspect, matrix, fullRange } = presentation;
  const isPlain = rotation === 0 && !flip && pixelAspect === 1 && matrix === undefined && !fullRange;
  return isPlain ? undefined : { rotation, flip, pixelAspect, matrix, fullRange };
}

/** Raw video from a file or a stream: Y4M says itself what it is; other raw video has to be told. */
export class RawVideoElement extends FramesElement {
  /** Files that it reads; "-" is standard input. */
  readonly readsFiles: readonly string[];
  readonly #input: string | Readable;
  #isPaced: boolean;

  /** @param input a path, or a stream that is read once. Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`. */
  constructor(input: string | Readable, options: RawVideoOptions & { name?: string } = {}) {
    if (typeof input === "string") pathOf("input", input);
    else withMethods("input", "a path or a Readable", input, ["on", "destroy", Symbol.asyncIterator]);
    const { name, ...raw } = readRawOptions(options);
    super((signal) => openRaw(input, raw, signal), checkName("options.name", name));
    this.readsFiles = typeof input === "string" ? [input] : input === process.stdin ? ["-"] : [];
    // An error that comes before the run is told by its start; with nobody listening it would end the process.
    if (input instanceof Readable) ignoreErrors(input);
    this.#input = input;
    this.#isPaced = typeof input !== "string";
  }

  /** Opens the file or the stream. */
  override start(): Promise<void> {
    this.#isPaced = typeof this.#input !== "string" || isPipe(this.#input);
    return super.start();
  }

  /** A pipe brings frames in its own time. */
  override get isPacedFromOutside(): boolean {
    return this.#isPaced;
  }
}

/** Reads the options now: what is wrong with them is the constructor's caller's affair, not the run's. */
function readRawOptions(options: RawVideoOptions & { name?: string }): RawVideoOptions & { name?: string } {
  const { name, format, width, height, frameRate } = readOptions("options", options, [
    "name",
    "format",
    "width",
    "height",
    "frameRate",
  ]);
  return {
    ...(name !== undefined && { name }),
    ...(format !== undefined && { format: word("options.format", format) }),
    ...(width !== undefined && { width: wholeNumber("options.width", width, 1, MAX_SIDE) }),
    ...(height !== undefined && { height: wholeNumber("options.height", height, 1, MAX_SIDE) }),
    ...(frameRate !== undefined && { frameRate: checkFraction("options.frameRate", frameRate) }),
  };
}

async function openRaw(input: string | Readable, options: RawVideoOptions, signal: AbortSignal): Promise<OpenFrames> {
  if (typeof input === "string" && isRegularFile(input)) {
    const video = await openRawFile(input, options);
    return { frames: video, frameRate: video.frameRate, from: input };
  }
  const stream = typeof input === "string" ? openInput(input) : input;
  assertInputReadable(stream);
  // The first byte may never come; ending the stream is what ends that wait.
  const stopListening = onAbort(signal, () => stream.destroy());
  try {
    const video = await openRawVideo(stream, options);
    const from = typeof input === "string" ? input : "the stream";
    return { frames: video, frameRate: video.frameRate, from };
  } catch (error) {
    throw typeof input === "string" && isPipe(input) ? pipeError(input, error) : error;
  } finally {
    stopListening();
  }
}

/** A container cannot be read from a pipe, which the parser of raw video does not know. */
function pipeError(path: string, error: unknown): unknown {
  if (!isMillpondError(error, "ERR_BAD_DATA")) return error;
  return new MillpondError(
    "ERR_BAD_DATA",
    `${path} is a pipe, which can bring raw video only: ${plainMessage(error)}`,
    {},
    { cause: error },
  );
}

/**
 * Decodes the first video track of the file that the stage in front of it names, or reads it when it is Y4M. A decoder
 * reads a file in its own order, so it takes the path instead of the bytes: GStreamer's pull mode.
 */
export class DecodeElement extends FramesElement {
  #isPaced = false;

  /** @param name for messages */
  constructor(name?: string) {
    super((signal) => this.#openFile(signal), name);
    this.addInput("in", Caps.bytes());
  }

  /** Takes the path, so that the file source reads nothing. */
  get pullsFile(): true {
    return true;
  }

  /** Opens the file. */
  override start(): Promise<void> {
    const upstream = this.inputs[0]?.peer?.element;
    this.#isPaced = upstream instanceof FileSource && isPipe(upstream.path);
    return super.start();
  }

  /** A pipe brings frames in its own time. */
  override get isPacedFromOutside(): boolean {
    return this.#isPaced;
  }

  async #openFile(signal: AbortSignal): Promise<OpenFrames> {
    const upstream = this.inputs[0]?.peer?.element;
    if (!(upstream instanceof FileSource)) {
      throw new MillpondError(
        "ERR_NOT_NEGOTIATED",
        `"${this.name}" needs a file in front of it, which it can read in its own order, not "${upstream?.name}"`,
      );
    }
    const { path } = upstream;
    if (this.#isPaced || (await isY4mFile(path))) return openRaw(path, {}, signal);
    const file = await openVideoFile(path);
    const { expectedFrames: expected, frameRate, averageRate, isVariable, duration } = file.facts;
    // Matroska does not count its frames; its length and rate tell about how many there are.
    const counted = averageRate === undefined ? 0 : Math.round((duration * averageRate.num) / averageRate.den);
    const estimate = expected ?? (counted > 0 ? counted : undefined);
    return { frames: file, frameRate, averageRate, isVariable, expected, estimate, from: path };
  }

  /** The file source has nothing to send. */
  override onEos(): Maybe<void> {}
}
