/**
 * Media files as ends of a pipeline: an encoded video through mediabunny, a contact sheet as PNG.
 *
 * Life: as of a FileSink. The encoder is opened with the first format, which must not change its size afterwards; a
 * picture's buffer is released when the encoder has copied it. What a kind of file cannot carry is said when the format
 * is known.
 */
import { basename, extname } from "node:path";
import type { Output, OutputFormat, VideoCodec, VideoSampleSource } from "mediabunny";
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { checkName } from "../../pipeline/base/element.ts";
import type { InputPad, Maybe } from "../../pipeline/base/pad.ts";
import { Sink } from "../../pipeline/base/sink.ts";
import { Caps } from "../../pipeline/caps.ts";
import type { AllocationQuery } from "../../pipeline/negotiate/allocation-query.ts";
import {
  type StreamFormat,
  sameFormat,
  type VideoPresentation,
  type VideoStream,
} from "../../pipeline/stream-format.ts";
import { MillpondError } from "../../util/errors.ts";
import { oneOf, readOptions, wholeNumber } from "../../util/validate.ts";
import { ContactSheetSink } from "../../video/contact-sheet-sink.ts";
import { loadMediabunny } from "../mediabunny/load.ts";
import { assertFilesApart, pathOf } from "./file-paths.ts";
import { type Carried, changesOf, gcd, lossesOf, nearestFraction } from "./losses.ts";
import { OutputFile } from "./output-file.ts";

type Mediabunny = typeof import("mediabunny");

/** How an {@link EncodeSink} is made. */
export interface EncodeSinkOptions {
  /** For messages. */
  name?: string;
  /** Default: the first that this machine can encode and the file's kind can carry. */
  codec?: "avc" | "hevc" | "vp8" | "vp9" | "av1";
  /** Bits a second; default 2,000,000. */
  bitrate?: number;
}

const CODECS = ["avc", "hevc", "vp8", "vp9", "av1"] as const;
/** What WebM carries. */
const WEBM_CODECS: readonly VideoCodec[] = ["vp9", "vp8", "av1"];

/**
 * Encodes pictures into an MP4, MOV, WebM or Matroska file, by its name: WebCodecs where the platform has it,
 * mediabunny's own encoders on Node. The file appears when it is whole. Rotation, pixel shape, color matrix and range,
 * and each picture's time go into the file; what it cannot carry is a warning when the format is settled.
 */
export class EncodeSink extends Sink {
  /** The file. */
  readonly path: string;
  readonly #options: EncodeSinkOptions;
  readonly #ending: string;
  #file: OutputFile | undefined;
  #output: Output | undefined;
  #source: VideoSampleSource | undefined;
  #format: VideoStream | undefined;
  #index = 0;

  /** Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`. */
  constructor(path: string, options: EncodeSinkOptions = {}) {
    const ending = extname(pathOf("path", path)).toLowerCase();
    oneOf("the path's ending", ending, [".mp4", ".m4v", ".mov", ".webm", ".mkv"]);
    const given = readOptions("options", options, ["name", "codec", "bitrate"]);
    const { name, codec, bitrate } = given;
    if (codec !== undefined) {
      oneOf("options.codec", codec, CODECS);
      if (ending === ".webm" && !WEBM_CODECS.includes(codec)) {
        throw new MillpondError(
          "ERR_INVALID_ARG_VALUE",
          `a .webm file cannot hold ${codec}; it can hold ${WEBM_CODECS.join(", ")}`,
        );
      }
    }
    if (bitrate !== undefined) wholeNumber("options.bitrate", bitrate, 1000);
    // Chroma of a quarter is what every encoder takes, and it wants even sides.
    const even = { min: 16, max: 8192, step: 2 };
    super(checkName("options.name", name), Caps.video({ format: ["I420"], width: even, height: even }));
    this.path = path;
    this.#options = given;
    this.#ending = ending;
  }

  /** An encoder is waited for. */
  override get waits(): boolean {
    return true;
  }

  /** Files that it writes. */
  get writesFiles(): readonly string[] {
    return [this.path];
  }

  /**
   * Opens the file under another name. Rejects as {@link FileSink.start}, and with `ERR_UNSUPPORTED` without the
   * packages.
   */
  override async start(): Promise<void> {
    await assertFilesApart(this);
    await loadMediabunny();
    this.#file = await OutputFile.open(this.path, { signal: this.running.signal });
  }

  /** As {@link Sink.proposeAllocation}; says what the file cannot carry. */
  override proposeAllocation(query: AllocationQuery, pad: InputPad): Maybe<boolean> {
    if (query.format?.kind === "video") this.#warn(query.format);
    return super.proposeAllocation(query, pad);
  }

  #warn(format: VideoStream, codec: VideoCodec | undefined = this.#options.codec): void {
    const ending = this.#ending;
    // QuickTime's color atom has no range; the VP codecs and AV1 say one in the stream, where ours say 16 to 235.
    const fullRange = ending !== ".mov" && ending !== ".webm" && codec !== "vp8" && codec !== "vp9" && codec !== "av1";
    const carried: Carried = { rotation: true, matrix: true, fullRange, times: true };
    for (const loss of lossesOf(ending, carried, format)) this.running.warn(`${this.path}: ${loss}`, this);
  }

  /** Opens the encoder. Rejects with `ERR_UNSUPPORTED` without one, `ERR_NOT_NEGOTIATED` for a change in mid-stream. */
  override async configure(format: StreamFormat): Promise<void> {
    if (this.#output !== undefined) return this.#keep(format as VideoStream);
    this.#format = format as VideoStream;
    this.#index = 0;
    const mediabunny = await loadMediabunny();
    const codec = await this.#chooseCodec(mediabunny);
    this.#warn(this.#format, codec);
    const { Output: Out, StreamTarget, VideoSampleSource: Samples } = mediabunny;
    const file = this.#file!;
    const writable = new WritableStream<{ data: Uint8Array; position: number }>({
      write: ({ data, position }) => file.writeAt(data, position),
    });
    this.#output = new Out({ format: this.#container(mediabunny, file), target: new StreamTarget(writable, CHUNKS) });
    const colorSpace = colorSpaceOf(this.#format.presentation);
    this.#source = new Samples({
      codec,
      bitrate: this.#options.bitrate ?? 2_000_000,
      // The encoder does not say what the colors mean; the container shall.
      onEncodedPacket: (_, meta) => {
        if (meta?.decoderConfig !== undefined && colorSpace !== undefined) meta.decoderConfig.colorSpace = colorSpace;
      },
    });
    const { frameRate: rate, presentation = {} } = this.#format;
    this.#output.addVideoTrack(this.#source, {
      rotation: presentation.rotation ?? 0,
      flip: presentation.flip === true,
      // A rate snaps the times to its grid, so it is given only where the times lie on it.
      ...(rate === undefined ? {} : { frameRate: rate.num / rate.den }),
    });
    await this.#output.start();
  }

  /** A format in mid-stream is fine as long as the file says the same of it. */
  #keep(now: VideoStream): void {
    const before = this.#format!;
    if (sameFormat({ ...before, frameRate: undefined }, { ...now, frameRate: undefined })) return;
    const { format, width, height } = before.info;
    if (format !== now.info.format || width !== now.info.width || height !== now.info.height) {
      throw new MillpondError(
        "ERR_NOT_NEGOTIATED",
        `"${this.name}" cannot change its format to ${now.info}; put a scaler in front of it`,
      );
    }
    for (const loss of changesOf(before.presentation, now.presentation))
      this.running.warn(`${this.path}: ${loss}`, this);
  }

  #container(mediabunny: Mediabunny, file: OutputFile): OutputFormat {
    const { MkvOutputFormat, MovOutputFormat, Mp4OutputFormat, WebMOutputFormat } = mediabunny;
    const isIso = this.#ending !== ".webm" && this.#ending !== ".mkv";
    if (!isIso) {
      const Matroska = this.#ending === ".webm" ? WebMOutputFormat : MkvOutputFormat;
      return new Matroska({ appendOnly: !file.isSeekable });
    }
    const Iso = this.#ending === ".mov" ? MovOutputFormat : Mp4OutputFormat;
    // The index of an MP4 file is patched in at the end; into a pipe go fragments, which have one each.
    return new Iso({ fastStart: file.isSeekable ? false : "fragmented" });
  }

  async #chooseCodec(mediabunny: Mediabunny): Promise<VideoCodec> {
    const { width, height } = this.#format!.info;
    const carried = extname(this.path).toLowerCase() === ".webm" ? WEBM_CODECS : CODECS;
    const wanted = this.#options.codec === undefined ? carried : [this.#options.codec];
    const codec = await mediabunny.getFirstEncodableVideoCodec([...wanted], { width, height });
    if (codec !== null) return codec;
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      `there is no encoder here for ${wanted.join(", ")} at ${width}x${height}`,
    );
  }

  /** Encodes one picture; a copy of it, since an encoder keeps what it gets for as long as it likes. */
  override async render(buffer: MediaBuffer): Promise<void> {
    const { VideoSample } = await loadMediabunny();
    const { info, frameRate, presentation } = this.#format!;
    const copy = new Uint8Array(info.size);
    buffer.extract(0, copy);
    const frame = frameRate === undefined ? 0.04 : frameRate.den / frameRate.num;
    const timestamp = buffer.pts === undefined ? this.#index * frame : Number(buffer.pts) / 1e9;
    const duration = buffer.duration === undefined ? frame : Number(buffer.duration) / 1e9;
    this.#index++;
    this.#checkTime(buffer.pts);
    const { width: codedWidth, height: codedHeight } = info;
    const layout = info.planes.map(({ offset, stride }) => ({ offset, stride }));
    const sample = new VideoSample(copy, {
      format: "I420",
      codedWidth,
      codedHeight,
      timestamp,
      duration,
      layout,
      ...displaySize(codedWidth, codedHeight, presentation?.pixelAspect ?? 1),
    });
    try {
      await this.#source!.add(sample);
    } finally {
      sample.close();
    }
  }

  /** A rate says finer times than the milliseconds of Matroska; without one they are what they are. */
  #checkTime(pts: bigint | undefined): void {
    if (pts === undefined || this.#format!.frameRate !== undefined) return;
    if (this.#ending !== ".webm" && this.#ending !== ".mkv") return;
    const past = pts % 1_000_000n;
    if (past <= ROUNDED_NS || past >= 1_000_000n - ROUNDED_NS) return;
    this.running.warn(
      `${this.path}: the times of the frames are rounded: ${this.#ending} carries whole milliseconds`,
      this,
    );
  }

  /** Completes the file. */
  override async finish(): Promise<void> {
    const output = this.#output;
    if (output === undefined) return;
    await output.finalize();
    this.#output = undefined;
    await this.#file!.seal();
  }

  /** Gives the file its name. */
  override async commit(): Promise<void> {
    await this.#file?.commit();
  }

  /** Removes what is not whole. */
  override async stop(): Promise<void> {
    void super.stop();
    const [output, file] = [this.#output, this.#file];
    this.#output = undefined;
    this.#file = undefined;
    try {
      // A muxer that has failed may refuse to be canceled; its file goes all the same.
      await output?.cancel().catch(() => {});
    } finally {
      await file?.discard();
    }
  }

  /** `encodes out.mp4`. */
  override get role(): string {
    return `encodes ${basename(this.path)}`;
  }
}

// Matroska's times are whole milliseconds; a hundredth of that is the rounding of others.
const ROUNDED_NS = 10_000n;

// A system call for each small box would be most of the work; a megabyte is written in a few milliseconds.
const CHUNKS = { chunked: true, chunkSize: 2 ** 20 };

/** Colors as the container says them; undefined when nothing is known. */
function colorSpaceOf(presentation: VideoPresentation | undefined): VideoColorSpaceInit | undefined {
  const { matrix, fullRange } = presentation ?? {};
  if (matrix === undefined && fullRange !== true) return undefined;
  return {
    ...(matrix === undefined ? {} : { matrix: matrix as NonNullable<VideoColorSpaceInit["matrix"]> }),
    fullRange: fullRange === true,
  };
}

/** Two whole numbers whose ratio is that of the picture as shown. */
function displaySize(
  width: number,
  height: number,
  pixelAspect: number,
): { displayWidth: number; displayHeight: number } {
  const { num, den } = nearestFraction(pixelAspect);
  const [across, down] = [width * num, height * den];
  const divisor = gcd(across, down);
  return { displayWidth: across / divisor, displayHeight: down / divisor };
}

/** A contact sheet as a PNG file. */
export class ContactSheetFile extends ContactSheetSink {
  /** The file. */
  readonly path: string;
  #file: OutputFile | undefined;

  /**
   * @param path where the sheet is written at the end; nothing is written for an empty stream. Throws
   * `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`.
   */
  constructor(path: string, options: { name?: string; tiles?: number } = {}) {
    pathOf("path", path);
    const { name, tiles } = readOptions("options", options, ["name", "tiles"]);
    const given = { ...(name !== undefined && { name }), ...(tiles !== undefined && { tiles }) };
    super({ ...given, onSheet: (picture) => this.#write(picture) });
    this.path = path;
  }

  /** All that can fail, but for the name: that comes when every other stage has ended well. */
  async #write(picture: { width: number; height: number; rgb: Uint8Array }): Promise<void> {
    const png = await encodePng(picture);
    const file = await OutputFile.open(this.path, { signal: this.running.signal });
    this.#file = file;
    if (this.running.stopping) file.interrupt();
    await file.write(png);
    await file.seal();
  }

  /** Files that it writes. */
  get writesFiles(): readonly string[] {
    return [this.path];
  }

  /**
   * Rejects with `ERR_INVALID_ARG_VALUE` for a file that another stage reads or writes, `ERR_UNSUPPORTED` without
   * fast-png.
   */
  override async start(): Promise<void> {
    await assertFilesApart(this);
    // At the end of a long film it would be late to hear that a package is missing.
    await loadPng();
    super.start();
  }

  /** A reader that takes nothing must not keep a run that is over. */
  override unlock(): void {
    if (this.running.stopping) this.#file?.interrupt();
  }

  /** Gives the file its name. */
  override async commit(): Promise<void> {
    await this.#file?.commit();
  }

  /** Removes what has no name yet. */
  override async stop(): Promise<void> {
    await super.stop();
    const file = this.#file;
    this.#file = undefined;
    await file?.discard();
  }

  /** `up to 20 pictures on out.png`. */
  override get role(): string {
    return `${super.role}, ${basename(this.path)}`;
  }
}

/** The package. Rejects with `ERR_UNSUPPORTED` when it is absent. */
export function loadPng(): Promise<typeof import("fast-png")> {
  return import("fast-png").catch((cause: unknown) => {
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      'the contact sheet is encoded with fast-png, which is optional and not installed: "npm install fast-png", or leave the contact sheet out',
      { missing: "fast-png" },
      { cause },
    );
  });
}

/** Encodes RGB pixels. Rejects with `ERR_UNSUPPORTED` when fast-png is absent. */
export async function encodePng(picture: { width: number; height: number; rgb: Uint8Array }): Promise<Uint8Array> {
  const { encode } = await loadPng();
  return encode({ width: picture.width, height: picture.height, data: picture.rgb, channels: 3 });
}
