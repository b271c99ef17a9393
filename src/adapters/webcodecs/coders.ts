/**
 * WebCodecs as stages: pictures to packets and back, in browsers and wherever VideoEncoder and VideoDecoder are. Both
 * keep what they get for as long as they like, so a picture is copied once into a VideoFrame, and once out of one into
 * a pooled buffer; how many may be under way is bounded.
 *
 * Life: the coder is made with the first format, and made anew for another one, after what it still has came out. At
 * the end of the stream it is flushed, at a seek it is reset, at the end of the run closed.
 *
 * Invariants: a buffer is pushed or released, and a frame closed, exactly once, whatever the platform's objects throw.
 * Every result that goes nowhere is closed, also one that comes when the coder is gone, and the coder reset or closed,
 * also when one of them throws. A coder that fails, at any time, fails the stage with what its error callback said,
 * behind what it had made.
 */

import { BufferFlags } from "../../media/buffer/flags.ts";
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { releaseOrPass, releaseQuietly } from "../../media/buffer/release.ts";
import { VideoInfo, type VideoPixelFormat } from "../../media/video/info.ts";
import { attachErrorSource, Element } from "../../pipeline/base/element.ts";
import { flushingError, type InputPad, type Maybe, type OutputPad } from "../../pipeline/base/pad.ts";
import { Caps } from "../../pipeline/caps.ts";
import {
  type ByteStream,
  byteFormat,
  type StreamFormat,
  type VideoStream,
  videoFormat,
} from "../../pipeline/stream-format.ts";
import { MillpondError } from "../../util/errors.ts";
import { badValue, bytesOf, readOptions, text, wholeNumber, word, wrongType } from "../../util/validate.ts";

/** The parts of WebCodecs that are used here; the platform's own types need not be installed. */
interface Coder {
  readonly encodeQueueSize?: number;
  readonly decodeQueueSize?: number;
  configure(config: object): void;
  encode?(frame: CodedFrame, options: { keyFrame: boolean }): void;
  decode?(chunk: object): void;
  flush(): Promise<void>;
  reset(): void;
  close(): void;
  readonly state: string;
}
/** What a decoder gives and an encoder takes: a VideoFrame of the platform. */
export interface CodedFrame {
  /** The pixel format; null where the frame is on the GPU only. */
  readonly format: string | null;
  /** Microseconds. */
  readonly timestamp: number;
  /** Microseconds; null where the source does not say. */
  readonly duration: number | null;
  /** The picture in the coded frame. */
  readonly visibleRect: { readonly width: number; readonly height: number } | null;
  /** Copies the planes to where the layout says. */
  copyTo(bytes: Uint8Array, options: { layout: { offset: number; stride: number }[] }): Promise<unknown>;
  /** Gives the frame back to the platform. */
  close(): void;
}
/** What an encoder gives: an EncodedVideoChunk of the platform. */
export interface CodedChunk {
  /** Whether it can be decoded without one before it. */
  readonly type: "key" | "delta";
  /** Microseconds. */
  readonly timestamp: number;
  /** Microseconds; null where the source does not say. */
  readonly duration: number | null;
  /** How many bytes {@link copyTo} writes. */
  readonly byteLength: number;
  /** Copies the bytes. */
  copyTo(bytes: Uint8Array): void;
}
type CoderClass = new (init: { output: (result: never) => void; error: (error: Error) => void }) => Coder;

/** How many pictures a coder may have before its stage waits: enough for B-frames, and a small bound. */
const IN_CODER = 8;

function platform<T>(name: string): T {
  const found = (globalThis as Record<string, unknown>)[name];
  if (found !== undefined) return found as T;
  throw new MillpondError(
    "ERR_UNSUPPORTED",
    `there is no ${name} here; use a browser with WebCodecs, or millpond/pipeline/node`,
  );
}

/** What both stages take: a known set of options, a codec, and a name that may be absent. */
function coderOptions<T extends { name?: string; codec: string }>(
  type: string,
  options: T,
  known: readonly (keyof T)[],
): T {
  if (options === undefined) throw wrongType("options", type, options);
  const given = readOptions("options", options, known);
  if (word("options.codec", given.codec) === "") throw badValue("options.codec", 'a codec string, such as "vp8"', "");
  if (given.name !== undefined && text("options.name", given.name, "") === "") {
    throw badValue("options.name", "a non-empty string", given.name);
  }
  return given;
}

/** What both stages are: what comes out of a coder waits in line, is copied into pooled buffers and pushed in order. */
export abstract class CoderElement<Out> extends Element {
  /** Its input. */
  readonly in: InputPad;
  /** Its output. */
  readonly out: OutputPad;
  /** @internal */
  protected coder: Coder | undefined;
  /** @internal What the coder gave and no one has pushed yet. */
  protected made: Out[] = [];
  /** What the coder's error callback said. A coder that has failed makes nothing more. */
  #failure: { readonly error: unknown } | undefined;
  /** It gave what is no result: nothing that it gives after that is taken, and the stream has no gap. */
  #isOdd = false;
  #wake: (() => void) | undefined;

  constructor(name: string | undefined, input: Caps, output: Caps) {
    super(name);
    this.in = this.addInput("in", input);
    this.out = this.addOutput("out", output);
  }

  /** @internal */
  protected makeCoder(name: string): Coder {
    const Class = platform<CoderClass>(name);
    let coder: Coder | undefined;
    coder = new Class({
      output: (result: never) => {
        // Behind stop() nobody takes it.
        if (this.coder !== coder || this.#isOdd) this.#dropLate(result as Out);
        else this.#take(result as Out, name);
      },
      error: (error) => {
        if (this.coder !== coder) return;
        this.#failure ??= { error: attachErrorSource(error, this) };
        this.#alert();
      },
    });
    return coder;
  }

  #take(result: Out, name: string): void {
    let bad: { readonly error: unknown } | undefined;
    try {
      if (!this.isResult(result)) bad = { error: wrongType(`what the ${name} made`, this.resultName, result) };
    } catch (error) {
      bad = { error };
    }
    if (bad === undefined) this.made.push(result);
    else {
      this.#isOdd = true;
      this.#failure ??= { error: attachErrorSource(bad.error, this) };
      this.#dropLate(result);
    }
    this.#alert();
  }

  #dropLate(result: Out): void {
    try {
      this.drop(result);
    } catch {
      // The run has ended, and the platform is no one to tell.
    }
  }

  #alert(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  /**
   * Everything that is made so far goes out, also of a coder that has failed since; then its failure is thrown, or,
   * while the coder is full, what it makes next goes out.
   */
  protected async deliver(queued: () => number): Promise<void> {
    for (;;) {
      if (this.out.flushing) throw flushingError(String(this.in));
      const next = this.made.shift();
      if (next !== undefined) await this.send(next);
      else if (this.#failure !== undefined) throw this.#failure.error;
      else if (queued() <= IN_CODER) return;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
          // A coder may take from its queue without making anything, and says so only when it is asked.
          setTimeout(resolve, 10);
        });
    }
  }

  /** Copies one result into a buffer of the pool, and pushes it. */
  protected abstract send(result: Out): Promise<void>;

  /** @internal A buffer of the pool with what `copy` puts into it: pushed, or released when that throws. */
  protected async sendCopy(copy: (buffer: MediaBuffer) => Maybe<void>): Promise<void> {
    const buffer = await this.out.acquire();
    try {
      await copy(buffer);
    } catch (error) {
      releaseQuietly(buffer);
      throw error;
    }
    await this.out.push(buffer);
  }

  /** Closes results that go nowhere. */
  protected abstract drop(result: Out): void;

  /** @internal Whether it has the methods of what the coder is to make. */
  protected isResult(_result: Out): boolean {
    return true;
  }

  /** @internal What the coder is to make, for messages. */
  protected get resultName(): string {
    return "a result";
  }

  /**
   * @internal Gives a buffer to the coder with `code`, and lets it go. A coder that has failed gets nothing: its own
   * error counts, and not what its next call throws.
   */
  protected async put(buffer: MediaBuffer, code: () => void, queued: () => number): Promise<void> {
    try {
      if (this.#failure === undefined) code();
    } catch (error) {
      if (this.#failure === undefined) throw attachErrorSource(error, this);
    } finally {
      releaseOrPass(buffer);
    }
    await this.deliver(queued);
  }

  /** @internal What is still in the coder comes out. Throws its failure, whenever that came. */
  protected async drain(): Promise<void> {
    const { coder } = this;
    if (coder === undefined) return;
    if (coder.state === "configured") {
      let isDone = false;
      const flushed = coder.flush().finally(() => {
        isDone = true;
        this.#alert();
      });
      flushed.catch(() => {});
      // Results leave while the coder flushes: it may hold more than fit into its own queue.
      await this.deliver(() => (isDone ? 0 : IN_CODER + 1));
      await flushed;
    }
    await this.deliver(() => 0);
  }

  /** What is still in the coder comes out first. */
  override async onEos(): Promise<void> {
    await this.drain();
    await this.out.end();
  }

  /** Wakes what waits, so that it looks again. */
  override unlock(): void {
    this.#alert();
  }

  #dropMade(): void {
    inTurn(this.made.splice(0).map((one) => () => this.drop(one)));
  }

  /** Forgets what is under way. */
  override onFlush(): void {
    inTurn([() => this.#dropMade(), () => this.reset()]);
  }

  /** Begins a new stream in the coder. */
  protected abstract reset(): void;

  /** Closes the coder. */
  override stop(): void {
    const { coder } = this;
    this.coder = undefined;
    this.#failure = undefined;
    this.#isOdd = false;
    const close = (): void => {
      if (coder !== undefined && coder.state !== "closed") coder.close();
    };
    inTurn([() => this.#dropMade(), close]);
  }
}

/** Takes each step, whatever the others throw; then throws the first error. */
function inTurn(steps: readonly (() => void)[]): void {
  let failure: { readonly error: unknown } | undefined;
  for (const step of steps) {
    try {
      step();
    } catch (error) {
      failure ??= { error };
    }
  }
  if (failure !== undefined) throw failure.error;
}

const CHUNK_METHODS = ["copyTo"] as const;
const FRAME_METHODS = ["copyTo", "close"] as const;

function hasMethods(value: unknown, names: readonly string[]): boolean {
  if (typeof value !== "object" || value === null) return false;
  return names.every((name) => typeof (value as Record<string, unknown>)[name] === "function");
}

/** Nanoseconds of a time that the platform gave in microseconds. */
function nanoseconds(name: string, microseconds: number): bigint {
  if (Number.isFinite(microseconds)) return BigInt(Math.round(microseconds)) * 1000n;
  throw wrongType(name, "a number of microseconds", microseconds);
}

/** How a {@link WebCodecsEncoder} is made. */
export interface WebCodecsEncoderOptions {
  /** For messages. */
  name?: string;
  /** WebCodecs' codec string, such as "vp8" or "avc1.42001f". */
  codec: string;
  /** Bits a second; default 2,000,000. */
  bitrate?: number;
  /** A key frame every so many pictures; default 60. */
  keyFrameEvery?: number;
}

/**
 * Pictures to packets. Packets that are not key frames carry `BufferFlags.DELTA_UNIT`; the decoder's description, if
 * any, is in {@link description}.
 */
export class WebCodecsEncoder extends CoderElement<CodedChunk> {
  /**
   * What a decoder needs beside the codec's string; undefined until the first packet, and for codecs that need nothing.
   */
  description: Uint8Array | undefined;
  readonly #options: WebCodecsEncoderOptions;
  #format: VideoStream | undefined;
  #count = 0;

  /** Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`. */
  constructor(options: WebCodecsEncoderOptions) {
    const formats = ["I420", "I422", "I444", "NV12", "RGBA", "RGBX", "BGRA", "BGRX"];
    const given = coderOptions("WebCodecsEncoderOptions", options, ["name", "codec", "bitrate", "keyFrameEvery"]);
    if (given.bitrate !== undefined) wholeNumber("options.bitrate", given.bitrate, 1);
    if (given.keyFrameEvery !== undefined) wholeNumber("options.keyFrameEvery", given.keyFrameEvery, 1);
    super(given.name, Caps.video({ format: formats }), Caps.bytes());
    this.#options = given;
  }

  /** Configures the encoder; what it had of the format before comes out first. */
  override async formatChanged(format: StreamFormat): Promise<void> {
    await this.drain();
    this.#format = format as VideoStream;
    this.reset();
    // No packet of a sane encoder is larger than its picture; one that is gets an error, and no silent cut.
    await this.out.setFormat(byteFormat(this.#format.info.size, this.#options.codec));
    if (!this.out.finished) await this.out.negotiate();
  }

  /** Begins a new stream. */
  protected override reset(): void {
    if (this.#format === undefined) return;
    this.coder ??= this.makeCoder("VideoEncoder");
    // It has failed, which the next buffer or the end tells.
    if (this.coder.state === "closed") return;
    if (this.coder.state === "configured") this.coder.reset();
    const { info, frameRate } = this.#format;
    const { codec, bitrate = 2_000_000 } = this.#options;
    const framerate = frameRate === undefined ? {} : { framerate: frameRate.num / frameRate.den };
    this.coder.configure({ codec, width: info.width, height: info.height, bitrate, ...framerate });
    this.#count = 0;
  }

  /** Copies the picture into a VideoFrame, and lets the buffer go. */
  override async chain(buffer: MediaBuffer): Promise<void> {
    await this.put(
      buffer,
      () => this.#encode(buffer),
      () => this.coder!.encodeQueueSize ?? 0,
    );
  }

  #encode(buffer: MediaBuffer): void {
    const { info, frameRate } = this.#format!;
    const VideoFrame = platform<new (bytes: Uint8Array, init: object) => CodedFrame>("VideoFrame");
    const period = frameRate === undefined ? 40_000 : (1e6 * frameRate.den) / frameRate.num;
    const mapped = buffer.map("read");
    let frame: CodedFrame;
    try {
      const layout = info.planes.map(({ offset, stride }) => ({ offset, stride }));
      const timestamp = buffer.pts === undefined ? Math.round(this.#count * period) : Number(buffer.pts / 1000n);
      const duration = buffer.duration === undefined ? Math.round(period) : Number(buffer.duration / 1000n);
      const { format, width: codedWidth, height: codedHeight } = info;
      frame = new VideoFrame(mapped.bytes, { format, codedWidth, codedHeight, timestamp, duration, layout });
    } finally {
      mapped.unmap();
    }
    const every = this.#options.keyFrameEvery ?? 60;
    try {
      this.coder!.encode!(frame, { keyFrame: this.#count++ % every === 0 });
    } finally {
      frame.close();
    }
  }

  /** Copies one result into a pooled buffer, and pushes it. */
  protected override async send(chunk: CodedChunk): Promise<void> {
    await this.sendCopy((buffer) => {
      const byteLength = wholeNumber("byteLength of a packet", chunk.byteLength);
      if (byteLength > buffer.size) {
        throw new MillpondError(
          "ERR_OUT_OF_RANGE",
          `a packet has ${byteLength} bytes, and the buffers ${this.#format!.info.size}`,
        );
      }
      chunk.copyTo(buffer.bytes.subarray(0, byteLength));
      buffer.resize(0, byteLength);
      buffer.pts = nanoseconds("timestamp of a packet", chunk.timestamp);
      if (chunk.duration !== null) buffer.duration = nanoseconds("duration of a packet", chunk.duration);
      if (chunk.type === "delta") buffer.flags = BufferFlags.DELTA_UNIT;
    });
  }

  /** Closes a result that goes nowhere. */
  protected override drop(): void {}

  /** @internal */
  protected override isResult(chunk: CodedChunk): boolean {
    return hasMethods(chunk, CHUNK_METHODS);
  }

  /** @internal */
  protected override get resultName(): string {
    return "an EncodedVideoChunk";
  }

  /** `vp8`. */
  override get role(): string {
    return `encodes ${this.#options.codec}, with at most ${IN_CODER} pictures in the encoder`;
  }
}

/** How a {@link WebCodecsDecoder} is made. */
export interface WebCodecsDecoderOptions {
  /** For messages. */
  name?: string;
  /** WebCodecs' codec string. */
  codec: string;
  /** What the codec needs beside it. */
  description?: Uint8Array;
}

/** Packets to pictures, each straight into a pooled buffer. */
export class WebCodecsDecoder extends CoderElement<CodedFrame> {
  readonly #options: WebCodecsDecoderOptions;
  #format: VideoStream | undefined;

  /**
   * Any codec string: the decoder judges it when the stream begins. Throws `ERR_INVALID_ARG_TYPE`,
   * `ERR_INVALID_ARG_VALUE`, `ERR_DETACHED`.
   */
  constructor(options: WebCodecsDecoderOptions) {
    const given = coderOptions("WebCodecsDecoderOptions", options, ["name", "codec", "description"]);
    if (given.description !== undefined) bytesOf("options.description", given.description);
    super(given.name, Caps.bytes(), Caps.video());
    this.#options = given;
  }

  /**
   * Opens the decoder, or begins anew behind what it still has; the pictures' own format comes with the first of them.
   */
  override async formatChanged(_format: ByteStream): Promise<void> {
    await this.drain();
    this.coder ??= this.makeCoder("VideoDecoder");
    this.reset();
  }

  /** Begins a new stream. */
  protected override reset(): void {
    // One that is closed has failed, which the next buffer or the end tells.
    if (this.coder === undefined || this.coder.state === "closed") return;
    if (this.coder.state === "configured") this.coder.reset();
    const { codec, description } = this.#options;
    this.coder.configure({ codec, ...(description === undefined ? {} : { description }) });
  }

  /** Hands the packet over; the decoder copies it. */
  override async chain(buffer: MediaBuffer): Promise<void> {
    await this.put(
      buffer,
      () => this.#decode(buffer),
      () => this.coder!.decodeQueueSize ?? 0,
    );
  }

  #decode(buffer: MediaBuffer): void {
    const EncodedVideoChunk = platform<new (init: object) => object>("EncodedVideoChunk");
    const mapped = buffer.map("read");
    try {
      const type = (buffer.flags & BufferFlags.DELTA_UNIT) === 0 ? "key" : "delta";
      const timestamp = Number((buffer.pts ?? 0n) / 1000n);
      const duration = buffer.duration === undefined ? {} : { duration: Number(buffer.duration / 1000n) };
      this.coder!.decode!(new EncodedVideoChunk({ type, timestamp, ...duration, data: mapped.bytes }));
    } finally {
      mapped.unmap();
    }
  }

  /** Copies one result into a pooled buffer, and pushes it. */
  protected override async send(frame: CodedFrame): Promise<void> {
    try {
      await this.#settle(frame);
      await this.sendCopy(async (buffer) => {
        const layout = this.#format!.info.planes.map(({ offset, stride }) => ({ offset, stride }));
        await frame.copyTo(buffer.bytes, { layout });
        buffer.pts = nanoseconds("timestamp of a picture", frame.timestamp);
        if (frame.duration !== null) buffer.duration = nanoseconds("duration of a picture", frame.duration);
      });
    } finally {
      // An open frame stalls the decoder, which has few.
      frame.close();
    }
  }

  async #settle(frame: CodedFrame): Promise<void> {
    const { format, visibleRect } = frame;
    if (format === null || visibleRect === null || typeof visibleRect !== "object") {
      throw new MillpondError("ERR_UNSUPPORTED", "the decoder's pictures are in a format that cannot be copied out");
    }
    const { width, height } = visibleRect;
    const now = this.#format?.info;
    if (now === undefined || now.format !== format || now.width !== width || now.height !== height) {
      this.#format = videoFormat(VideoInfo.of({ format: format as VideoPixelFormat, width, height }));
    }
    await this.out.setFormat(this.#format!);
    if (this.out.pool === null || this.out.needsReconfigure || this.out.decision?.format !== this.#format)
      await this.out.negotiate();
  }

  /** Closes a result that goes nowhere. */
  protected override drop(frame: CodedFrame): void {
    frame.close();
  }

  /** @internal */
  protected override isResult(frame: CodedFrame): boolean {
    return hasMethods(frame, FRAME_METHODS);
  }

  /** @internal */
  protected override get resultName(): string {
    return "a VideoFrame";
  }

  /** The next stream says anew what it is. */
  override stop(): void {
    this.#format = undefined;
    super.stop();
  }

  /** `vp8`. */
  override get role(): string {
    return `decodes ${this.#options.codec} into buffers of its pool`;
  }
}
