/** Files as stages: blocks read into pooled buffers, and files that are either whole or absent. */
import { type FileHandle, open, rename, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { MediaBuffer } from "../media/media-buffer.ts";
import { wholeNumber, wrongType } from "../observe/arguments.ts";
import { MillpondError } from "../observe/errors.ts";
import { Caps } from "../pipeline/caps.ts";
import { Sink } from "../pipeline/sink.ts";
import { Source } from "../pipeline/source.ts";
import { type ByteStream, byteFormat, type StreamFormat, type VideoStream } from "../pipeline/stream-format.ts";

/** How a {@link FileSource} is made. */
export interface FileSourceOptions {
  /** For messages. */
  name?: string;
  /** Bytes of a block; default 65,536: larger reads are not faster, smaller ones are. */
  blockSize?: number;
}

/** Gives the bytes of a file in blocks; the last one is shorter. Each block's `offset` is its place in the file. */
export class FileSource extends Source {
  /** The file. */
  readonly path: string;
  readonly #format: ByteStream;
  #file: FileHandle | undefined;
  #position = 0;
  #isPulled = false;

  /** Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. */
  constructor(path: string, options: FileSourceOptions = {}) {
    if (typeof path !== "string" || path === "") throw wrongType("path", "a path", path);
    super(options.name, Caps.bytes());
    this.path = path;
    this.#format = byteFormat(wholeNumber("options.blockSize", options.blockSize ?? 65_536, 1, 2 ** 30));
  }

  /** Opens the file. Rejects with the file system's error. */
  override async start(): Promise<void> {
    this.#position = 0;
    const next = this.out.peer?.element;
    this.#isPulled = next !== undefined && "pullsFile" in next;
    if (this.#isPulled) return;
    this.#file = await open(this.path, "r");
    if ((await this.#file.stat()).isDirectory()) {
      throw new MillpondError("ERR_BAD_DATA", `${this.path} is a folder, not a file`);
    }
  }

  /** Blocks, unless the stage behind reads the file itself. */
  override next(): StreamFormat | undefined {
    return this.#isPulled ? undefined : this.#format;
  }

  /** Reads one block straight into the buffer. */
  override async fill(buffer: MediaBuffer): Promise<boolean> {
    const { bytes } = buffer;
    const { bytesRead } = await this.#file!.read(bytes, 0, bytes.length, this.#position);
    if (bytesRead === 0) return false;
    buffer.offset = BigInt(this.#position);
    this.#position += bytesRead;
    buffer.offsetEnd = BigInt(this.#position);
    if (bytesRead < bytes.length) buffer.resize(0, bytesRead);
    return true;
  }

  /** To a byte. */
  override seek(position: unknown): void {
    if (typeof position === "number") this.#position = Math.max(0, Math.floor(position));
  }

  /** Closes the file. */
  override async stop(): Promise<void> {
    void super.stop();
    await this.#file?.close();
    this.#file = undefined;
  }

  /** `blocks of 65536 bytes`. */
  override get role(): string {
    return this.#isPulled ? "named to the stage behind, which reads it itself" : `blocks of ${this.#format.size} bytes`;
  }
}

/** Writes what comes into a file that appears under its name when the stream has ended well, and else not at all. */
export class FileSink extends Sink {
  /** The file. */
  readonly path: string;
  readonly #temporary: string;
  #file: FileHandle | undefined;
  #isDone = false;

  /** Throws `ERR_INVALID_ARG_TYPE`. */
  constructor(path: string, options: { name?: string; caps?: Caps } = {}) {
    if (typeof path !== "string" || path === "") throw wrongType("path", "a path", path);
    super(options.name, options.caps);
    this.path = path;
    // The process id keeps two runs into one folder apart; the last to finish wins with a whole file.
    this.#temporary = join(dirname(path), `.${basename(path)}.${process.pid}.part`);
  }

  /** A disk is waited for. */
  override get waits(): boolean {
    return true;
  }

  /** Opens the file under another name. Rejects with the file system's error, `ERR_BAD_DATA` for a folder. */
  override async start(): Promise<void> {
    this.#isDone = false;
    const present = await stat(this.path).catch(() => undefined);
    if (present?.isDirectory()) throw new MillpondError("ERR_BAD_DATA", `${this.path} is a folder, not a file`);
    this.#file = await open(this.#temporary, "w");
  }

  /** Appends bytes. Rejects with the file system's error. */
  protected async write(parts: readonly Uint8Array[]): Promise<void> {
    let size = 0;
    for (const part of parts) size += part.length;
    const { bytesWritten } = await this.#file!.writev(parts);
    // The system may take less than it was given; the rest is rare, and written the plain way.
    if (bytesWritten === size) return;
    let skip = bytesWritten;
    for (const part of parts) {
      const rest = part.subarray(Math.min(skip, part.length));
      skip -= part.length - rest.length;
      if (rest.length > 0) await this.#file!.writeFile(rest);
    }
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

  /** Gives the file its name. */
  override async finish(): Promise<void> {
    // A full disk may show only here, where the system has kept the bytes back until now.
    await this.#file?.sync();
    await this.#file?.close();
    this.#file = undefined;
    await rename(this.#temporary, this.path);
    this.#isDone = true;
  }

  /** Removes what is not whole. */
  override async stop(): Promise<void> {
    void super.stop();
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
    if (!this.#isDone) await unlink(this.#temporary).catch(() => {});
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
  #format: VideoStream | undefined;

  /** @param options `y4m: false` for bare frames; default true */
  constructor(path: string, options: { name?: string; y4m?: boolean } = {}) {
    const isY4m = options.y4m !== false;
    super(path, { ...options, caps: Caps.video(isY4m ? { format: Object.keys(Y4M_TAGS) } : {}) });
    this.#isY4m = isY4m;
  }

  /** Writes the header. Throws `ERR_NOT_NEGOTIATED` for another format in the middle of a Y4M stream. */
  override async configure(format: StreamFormat): Promise<void> {
    const before = this.#format;
    this.#format = format as VideoStream;
    if (!this.#isY4m) return;
    const { info, frameRate, presentation } = this.#format;
    if (before !== undefined) {
      const same =
        info.format === before.info.format && info.width === before.info.width && info.height === before.info.height;
      if (same) return;
      throw new MillpondError(
        "ERR_NOT_NEGOTIATED",
        `a Y4M stream cannot change its format to ${info}; put a scaler in front of it`,
      );
    }
    const rate = frameRate ?? { num: 25, den: 1 };
    const range = presentation?.fullRange === true ? " XCOLORRANGE=FULL" : "";
    const line = `YUV4MPEG2 W${info.width} H${info.height} F${rate.num}:${rate.den} Ip C${Y4M_TAGS[info.format]}${range}\n`;
    await this.write([new TextEncoder().encode(line)]);
  }

  /** Writes one picture, without the padding of its rows. */
  override async render(buffer: MediaBuffer): Promise<void> {
    const { info } = this.#format!;
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
    await super.start();
  }
}

const FRAME = new TextEncoder().encode("FRAME\n");

/** Writes a file in one piece at the end: for what is only known when the stream is over. */
export async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.part`);
  try {
    const file = await open(temporary, "w");
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
}
