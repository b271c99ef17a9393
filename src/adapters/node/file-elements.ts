/**
 * Files as stages: blocks read into pooled buffers, and files that are either whole or absent.
 *
 * Life of a sink: `start` opens the file under another name, each buffer is written before it is released, `finish`
 * stores what the system has kept back, `commit` gives the file its name when every other stage has ended well, and
 * `stop` removes it otherwise.
 */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { basename } from "node:path";
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { checkName } from "../../pipeline/base/element.ts";
import type { InputPad, Maybe } from "../../pipeline/base/pad.ts";
import { Sink } from "../../pipeline/base/sink.ts";
import { Source } from "../../pipeline/base/source.ts";
import { Caps, checkCaps } from "../../pipeline/caps.ts";
import type { AllocationQuery } from "../../pipeline/negotiate/allocation-query.ts";
import { type ByteStream, byteFormat, type StreamFormat, type VideoStream } from "../../pipeline/stream-format.ts";
import { MillpondError } from "../../util/errors.ts";
import { flag, readOptions, wholeNumber } from "../../util/validate.ts";
import { ChunkReader } from "../raw-video/chunk-reader.ts";
import { Y4M_MAGIC } from "../raw-video/y4m.ts";
import { assertFilesApart, pathOf } from "./file-paths.ts";
import { isPipe, openInput } from "./input-stream.ts";
import { type Carried, changesOf, FALLBACK_RATE, lossesOf, nearestFraction } from "./losses.ts";
import { OutputFile } from "./output-file.ts";

/** How a {@link FileSource} is made. */
export interface FileSourceOptions {
  /** For messages. */
  name?: string;
  /** Bytes of a block; default 65,536: larger reads are not faster, smaller ones are. */
  blockSize?: number;
}

/**
 * Gives the bytes of a file in blocks; the last one is shorter. Each block's `offset` is its place in the file. A named
 * pipe is read as its writer delivers, and waited for as long as that takes; it has no places to seek to.
 */
export class FileSource extends Source {
  /** The file. */
  readonly path: string;
  readonly #format: ByteStream;
  #file: FileHandle | undefined;
  /** Instead of the file, where the path is a pipe. */
  #pipe: ChunkReader | undefined;
  #closing: Promise<void> | undefined;
  #position = 0;
  #isPulled = false;

  /** Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. */
  constructor(path: string, options: FileSourceOptions = {}) {
    pathOf("path", path);
    const { name, blockSize = 65_536 } = readOptions("options", options, ["name", "blockSize"]);
    super(checkName("options.name", name), Caps.bytes());
    this.path = path;
    this.#format = byteFormat(wholeNumber("options.blockSize", blockSize, 1, 2 ** 30));
  }

  /** Opens the file. Rejects with the file system's error. */
  override async start(): Promise<void> {
    this.#position = 0;
    const next = this.out.peer?.element;
    this.#isPulled = next !== undefined && "pullsFile" in next;
    if (this.#isPulled) return;
    // A pool's thread that waits in open() or read() for another program cannot be interrupted, and would keep the
    // process from ending.
    if (isPipe(this.path)) {
      this.#pipe = new ChunkReader(openInput(this.path));
      return;
    }
    // Windows has no such flag, and no named pipes among its files.
    this.#file = await open(this.path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    if ((await this.#file.stat()).isDirectory()) {
      throw new MillpondError("ERR_BAD_DATA", `${this.path} is a folder, not a file`);
    }
  }

  /** The writer of a pipe takes its time. */
  override get isPacedFromOutside(): boolean {
    return this.#pipe !== undefined;
  }

  /** Files that it reads. */
  get readsFiles(): readonly string[] {
    return [this.path];
  }

  /** Blocks, unless the stage behind reads the file itself. */
  override next(): StreamFormat | undefined {
    return this.#isPulled ? undefined : this.#format;
  }

  /** Reads one block straight into the buffer. */
  override async fill(buffer: MediaBuffer): Promise<boolean> {
    const { bytes } = buffer;
    const bytesRead = await this.#read(bytes);
    if (bytesRead === 0) return false;
    buffer.offset = BigInt(this.#position);
    this.#position += bytesRead;
    buffer.offsetEnd = BigInt(this.#position);
    if (bytesRead < bytes.length) buffer.resize(0, bytesRead);
    return true;
  }

  async #read(bytes: Uint8Array): Promise<number> {
    if (this.#pipe !== undefined) return await this.#pipe.fill(bytes, 0, bytes.length);
    return (await this.#file!.read(bytes, 0, bytes.length, this.#position)).bytesRead;
  }

  /** To a byte. Throws `ERR_UNSUPPORTED` for a pipe. */
  override seek(position: unknown): void {
    if (this.#pipe !== undefined)
      throw new MillpondError("ERR_UNSUPPORTED", `${this.path} is a pipe, which has no places to seek to`);
    if (typeof position === "number") this.#position = Math.max(0, Math.floor(position));
  }

  /** A pipe that delivers nothing must not keep a run that is over, nor a seek, which it refuses. */
  override unlock(): void {
    if (this.out.flushing || this.out.finished) void this.#closePipe();
  }

  /** Closes the pipe, once; {@link stop} tells what went wrong. */
  #closePipe(): Promise<void> | undefined {
    this.#closing ??= this.#pipe?.close();
    this.#closing?.catch(() => {});
    return this.#closing;
  }

  /** Closes the file. */
  override async stop(): Promise<void> {
    void super.stop();
    const file = this.#file;
    this.#file = undefined;
    try {
      await this.#closePipe();
    } finally {
      this.#pipe = undefined;
      this.#closing = undefined;
      await file?.close();
    }
  }

  /** `blocks of 65536 bytes`. */
  override get role(): string {
    return this.#isPulled ? "named to the stage behind, which reads it itself" : `blocks of ${this.#format.size} bytes`;
  }
}

/** Writes what comes into a file that appears under its name when the stream has ended well, and else not at all. */
export class FileSink extends Sink {
  /** The file; "-" is standard output. */
  readonly path: string;
  #file: OutputFile | undefined;

  /** Throws `ERR_INVALID_ARG_*`. */
  constructor(path: string, options: { name?: string; caps?: Caps } = {}) {
    pathOf("path", path);
    const { name, caps = Caps.any } = readOptions("options", options, ["name", "caps"]);
    super(checkName("options.name", name), checkCaps("options.caps", caps));
    this.path = path;
  }

  /** The reader of a pipe takes its time. */
  override get isPacedFromOutside(): boolean {
    return this.#file?.isStream === true;
  }

  /** A disk is waited for. */
  override get waits(): boolean {
    return true;
  }

  /** Files that it writes. */
  get writesFiles(): readonly string[] {
    return [this.path];
  }

  /**
   * Opens the file under another name; a device or a pipe is opened as it is. Rejects with the file system's error,
   * `ERR_BAD_DATA` for a folder, `ERR_INVALID_ARG_VALUE` for a file that another stage reads or writes.
   */
  override async start(): Promise<void> {
    await assertFilesApart(this);
    this.#file = await OutputFile.open(this.path, { signal: this.running.signal });
  }

  /** Appends bytes. Rejects with the file system's error. */
  protected async write(parts: readonly Uint8Array[]): Promise<void> {
    await this.#file!.writeParts(parts);
  }

  /** Appends the buffer's bytes. */
  override async render(buffer: MediaBuffer): Promise<void> {
    const mapped = buffer.map("read");
    try {
      await this.write([mapped.bytes]);
    } finally {
      mapped.unmap();
    }
  }

  /** A reader that takes nothing must not keep a run that is over. */
  override unlock(): void {
    if (this.running.stopping) this.#file?.interrupt();
  }

  /** All bytes are with the disk, or with the reader. */
  override async finish(): Promise<void> {
    await this.#file?.seal();
  }

  /** Gives the file its name. */
  override async commit(): Promise<void> {
    await this.#file?.commit();
  }

  /** Removes what is not whole. */
  override async stop(): Promise<void> {
    void super.stop();
    const file = this.#file;
    this.#file = undefined;
    await file?.discard();
  }

  /** `writes out.bin`. */
  override get role(): string {
    return `writes ${basename(this.path)}`;
  }
}

const Y4M_TAGS: Readonly<Record<string, string>> = {
  I420: "420jpeg",
  I420P10: "420p10",
  I420P12: "420p12",
  I422: "422",
  I422P10: "422p10",
  I422P12: "422p12",
  I444: "444",
  I444P10: "444p10",
  I444P12: "444p12",
  I444A: "444alpha",
  GRAY8: "mono",
};

/** Writes pictures as Y4M, which says itself what it is, or as bare frames one behind the other. */
export class RawVideoSink extends FileSink {
  readonly #isY4m: boolean;
  #frameNs = 0;
  #index = 0;
  #isOffGrid = false;
  #format: VideoStream | undefined;

  /** @param options `y4m: false` for bare frames; default true. Throws `ERR_INVALID_ARG_*`. */
  constructor(path: string, options: { name?: string; y4m?: boolean } = {}) {
    const { name, y4m } = readOptions("options", options, ["name", "y4m"]);
    const isY4m = flag("options.y4m", y4m, true);
    super(path, {
      ...(name !== undefined && { name }),
      caps: Caps.video(isY4m ? { format: Object.keys(Y4M_TAGS) } : {}),
    });
    this.#isY4m = isY4m;
  }

  /** As {@link Sink.proposeAllocation}; says what Y4M cannot carry. */
  override proposeAllocation(query: AllocationQuery, pad: InputPad): Maybe<boolean> {
    if (query.format?.kind === "video") this.#warn(query.format);
    return super.proposeAllocation(query, pad);
  }

  #warn(format: VideoStream): void {
    if (!this.#isY4m) return;
    for (const loss of lossesOf("Y4M", CARRIED, format)) this.running.warn(`${this.path}: ${loss}`, this);
  }

  /** Y4M says when a picture is shown by its number alone. */
  #checkTime(pts: bigint | undefined): void {
    const index = this.#index++;
    if (!this.#isY4m || pts === undefined || this.#format!.isVariable === true) return;
    if (this.#isOffGrid || Math.abs(Number(pts) - index * this.#frameNs) <= TIME_TOLERANCE_NS) return;
    // One such frame tells of all.
    this.#isOffGrid = true;
    const [is, becomes] = [Number(pts) / 1e9, (index * this.#frameNs) / 1e9].map((seconds) => seconds.toFixed(3));
    this.running.warn(
      `${this.path}: the times of the frames are lost: Y4M carries one rate, and frame ${index + 1} moves from ${is} s to ${becomes} s`,
      this,
    );
  }

  /** Writes the header. Throws `ERR_NOT_NEGOTIATED` for another format in the middle of a Y4M stream. */
  override async configure(format: StreamFormat): Promise<void> {
    const before = this.#format;
    this.#format = format as VideoStream;
    if (!this.#isY4m) return;
    const { info, frameRate, averageRate, presentation } = this.#format;
    if (before !== undefined) {
      const { format, width, height } = before.info;
      if (info.format !== format || info.width !== width || info.height !== height) {
        throw new MillpondError(
          "ERR_NOT_NEGOTIATED",
          `a Y4M stream cannot change its format to ${info}; put a scaler in front of it`,
        );
      }
      for (const loss of changesOf(before.presentation, presentation)) this.running.warn(`${this.path}: ${loss}`, this);
      return;
    }
    this.#warn(this.#format);
    const rate = frameRate ?? averageRate ?? FALLBACK_RATE;
    this.#frameNs = (1e9 * rate.den) / rate.num;
    const range = presentation?.fullRange === true ? " XCOLORRANGE=FULL" : "";
    const { num, den } = nearestFraction(presentation?.pixelAspect ?? 1);
    const line = `${Y4M_MAGIC} W${info.width} H${info.height} F${rate.num}:${rate.den} Ip A${num}:${den} C${Y4M_TAGS[info.format]}${range}\n`;
    await this.write([new TextEncoder().encode(line)]);
  }

  /** Writes one picture, without the padding of its rows. */
  override async render(buffer: MediaBuffer): Promise<void> {
    const { info } = this.#format!;
    this.#checkTime(buffer.pts);
    const mapped = buffer.map("read");
    try {
      const parts: Uint8Array[] = this.#isY4m ? [FRAME] : [];
      if (info.size === info.payload) parts.push(mapped.bytes.subarray(0, info.size));
      else {
        for (const { offset, stride, rowBytes, height } of info.planes) {
          for (let y = 0; y < height; y++)
            parts.push(mapped.bytes.subarray(offset + y * stride, offset + y * stride + rowBytes));
        }
      }
      // The system takes 1024 pieces at a time.
      for (let i = 0; i < parts.length; i += 1024) await this.write(parts.slice(i, i + 1024));
    } finally {
      mapped.unmap();
    }
  }

  /** A new stream has a header of its own. */
  override async start(): Promise<void> {
    this.#format = undefined;
    this.#index = 0;
    this.#isOffGrid = false;
    await super.start();
  }
}

const CARRIED: Carried = { rotation: false, matrix: false, fullRange: true, times: false };
// Times in milliseconds, as Matroska has them, are off by half of one; more than a whole one is another time.
const TIME_TOLERANCE_NS = 1_000_000;
const FRAME = new TextEncoder().encode("FRAME\n");
