/** Media files as ends of a pipeline: an encoded video through mediabunny, a contact sheet as PNG. */
import { rename, unlink } from "node:fs/promises";
import { basename, dirname, extname, join } from "node:path";
import type { Output, VideoCodec, VideoSampleSource } from "mediabunny";
import type { MediaBuffer } from "../media/media-buffer.ts";
import { oneOf, wholeNumber } from "../observe/arguments.ts";
import { MillpondError } from "../observe/errors.ts";
import { Caps } from "../pipeline/caps.ts";
import { ContactSheetSink } from "../pipeline/elements/contact-sheet-sink.ts";
import { Sink } from "../pipeline/sink.ts";
import type { StreamFormat, VideoStream } from "../pipeline/stream-format.ts";
import { writeWhole } from "./file-elements.ts";
import { loadMediabunny } from "./mediabunny.ts";
import { encodePng } from "./png.ts";

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
 * Encodes pictures into an MP4, MOV, WebM or Matroska file, by its name: WebCodecs where the platform has it, mediabunny's own
 * encoders on Node. The file appears when it is whole.
 */
export class EncodeSink extends Sink {
  /** The file. */
  readonly path: string;
  readonly #options: EncodeSinkOptions;
  readonly #temporary: string;
  #output: Output | undefined;
  #source: VideoSampleSource | undefined;
  #format: VideoStream | undefined;
  #index = 0;

  /** Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`. */
  constructor(path: string, options: EncodeSinkOptions = {}) {
    oneOf("the path's ending", extname(path).toLowerCase(), [".mp4", ".m4v", ".mov", ".webm", ".mkv"]);
    if (options.codec !== undefined) oneOf("options.codec", options.codec, CODECS);
    if (options.bitrate !== undefined) wholeNumber("options.bitrate", options.bitrate, 1000);
    // Chroma of a quarter is what every encoder takes, and it wants even sides.
    const even = { min: 16, max: 8192, step: 2 };
    super(options.name, Caps.video({ format: ["I420"], width: even, height: even }));
    this.path = path;
    this.#options = options;
    this.#temporary = join(dirname(path), `.${process.pid}.${basename(path)}`);
  }

  /** An encoder is waited for. */
  override get waits(): boolean {
    return true;
  }

  /** Opens the encoder. Rejects with `ERR_UNSUPPORTED` without one, `ERR_NOT_NEGOTIATED` for a change in mid-stream. */
  override async configure(format: StreamFormat): Promise<void> {
    if (this.#output !== undefined) {
      const [before, now] = [this.#format!.info, (format as VideoStream).info];
      if (before.width === now.width && before.height === now.height) return;
      throw new MillpondError(
        "ERR_NOT_NEGOTIATED",
        `"${this.name}" cannot change its size to ${now}; put a scaler in front of it`,
      );
    }
    this.#format = format as VideoStream;
    this.#index = 0;
    const mediabunny = await loadMediabunny();
    const codec = await this.#chooseCodec(mediabunny);
    const { FilePathTarget, Output: Out, VideoSampleSource: Samples } = mediabunny;
    const kinds = {
      ".webm": mediabunny.WebMOutputFormat,
      ".mkv": mediabunny.MkvOutputFormat,
      ".mov": mediabunny.MovOutputFormat,
    };
    const Kind = kinds[extname(this.path).toLowerCase() as keyof typeof kinds] ?? mediabunny.Mp4OutputFormat;
    this.#output = new Out({ format: new Kind(), target: new FilePathTarget(this.#temporary) });
    this.#source = new Samples({ codec, bitrate: this.#options.bitrate ?? 2_000_000 });
    const rate = this.#format.frameRate;
    this.#output.addVideoTrack(this.#source, rate === undefined ? {} : { frameRate: rate.num / rate.den });
    await this.#output.start();
  }

  async #chooseCodec(mediabunny: typeof import("mediabunny")): Promise<VideoCodec> {
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
    const { info, frameRate } = this.#format!;
    const copy = new Uint8Array(info.size);
    buffer.extract(0, copy);
    const frame = frameRate === undefined ? 0.04 : frameRate.den / frameRate.num;
    const timestamp = buffer.pts === undefined ? this.#index * frame : Number(buffer.pts) / 1e9;
    const duration = buffer.duration === undefined ? frame : Number(buffer.duration) / 1e9;
    this.#index++;
    const { width: codedWidth, height: codedHeight } = info;
    const layout = info.planes.map(({ offset, stride }) => ({ offset, stride }));
    const sample = new VideoSample(copy, { format: "I420", codedWidth, codedHeight, timestamp, duration, layout });
    try {
      await this.#source!.add(sample);
    } finally {
      sample.close();
    }
  }

  /** Completes the file. */
  override async finish(): Promise<void> {
    const output = this.#output;
    if (output === undefined) return;
    await output.finalize();
    this.#output = undefined;
    await rename(this.#temporary, this.path);
  }

  /** Removes what is not whole. */
  override async stop(): Promise<void> {
    void super.stop();
    const output = this.#output;
    this.#output = undefined;
    if (output === undefined) return;
    await output.cancel();
    await unlink(this.#temporary).catch(() => {});
  }

  /** `encodes out.mp4`. */
  override get role(): string {
    return `encodes ${basename(this.path)}`;
  }
}

/** A contact sheet as a PNG file. */
export class ContactSheetFile extends ContactSheetSink {
  /** The file. */
  readonly path: string;

  /** @param path where the sheet is written at the end; nothing is written for an empty stream */
  constructor(path: string, options: { name?: string; tiles?: number } = {}) {
    super({ ...options, onSheet: async (picture) => writeWhole(path, await encodePng(picture)) });
    this.path = path;
  }

  /** `up to 20 pictures on out.png`. */
  override get role(): string {
    return `${super.role}, ${basename(this.path)}`;
  }
}
