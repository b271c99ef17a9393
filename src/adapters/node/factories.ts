/** The factories of all stages, those that need Node too, and pipelines made of a text. */

import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import type { StageWait } from "../../pipeline/base/element.ts";
import type { Waiters } from "../../pipeline/base/waiters.ts";
import { COMMON_ELEMENTS, named } from "../../pipeline/elements/factories.ts";
import type { PipelineOptions } from "../../pipeline/pipeline.ts";
import type { Fraction } from "../../pipeline/stream-format.ts";
import { type ElementFactory, type ParsedPipeline, type Properties, parsePipeline } from "../../pipeline/text.ts";
import { MillpondError } from "../../util/errors.ts";
import { word } from "../../util/validate.ts";
import { VIDEO_ELEMENTS } from "../../video/factories.ts";
import { offerLibavScaler } from "../mediabunny/load.ts";
import { MAX_THREADS } from "../workers/worker-slots.ts";
import { WorkersElement } from "../workers/workers-element.ts";
import { FileSink, FileSource, RawVideoSink } from "./file-elements.ts";
import { assertFilesApart } from "./file-paths.ts";
import { DecodeElement, RawVideoElement } from "./frames-element.ts";
import { ContactSheetFile, EncodeSink, type EncodeSinkOptions } from "./media-sinks.ts";
import { OutputFile } from "./output-file.ts";

// A pipeline whose frames come from elsewhere is scaled by libav too, where it is installed.
offerLibavScaler();

const path = { kind: "string", help: "the file" } as const;

function text(properties: Properties, key: string): string {
  return properties[key] as string;
}

/** Bytes of results that may wait for the disk or the reader of a pipe before frames do: as a pipe of Linux holds. */
const MAX_UNWRITTEN = 65_536;

/**
 * Results of a workers stage as lines of JSON, in the order of the frames. A frame goes on when at most
 * {@link MAX_UNWRITTEN} bytes are still to be written, so that a slow reader holds the frames back.
 */
class WorkersWithResults extends WorkersElement {
  readonly #path: string;
  /** Lines whose turn has not come; empty for frames that a seek dropped. */
  readonly #early: Map<number, string>;
  #file: OutputFile | undefined;
  #begun = 0;
  #next = 0;
  #unwritten = 0;
  #isCompleting = false;
  #writing: Promise<void> = Promise.resolve();
  /** Where frames wait until more is written. */
  readonly #room: Waiters = this.addWaiters();

  constructor(module: string, path: string, options: ConstructorParameters<typeof WorkersElement>[1]) {
    const early = new Map<number, string>();
    super(module, { ...options, onResult: (result, index) => void early.set(index, line(result, index)) });
    this.#path = path;
    this.#early = early;
  }

  get writesFiles(): readonly string[] {
    return [this.#path];
  }

  /** The reader of a pipe takes its time; the threads have theirs all the same. */
  override isHeldOutside({ isCall }: StageWait): boolean {
    if (this.#file?.isStream !== true) return false;
    return this.#isCompleting || (isCall && this.#unwritten > MAX_UNWRITTEN);
  }

  override async start(): Promise<void> {
    this.#begun = 0;
    this.#next = 0;
    this.#unwritten = 0;
    this.#isCompleting = false;
    this.#early.clear();
    this.#writing = Promise.resolve();
    await assertFilesApart(this);
    this.#file = await OutputFile.open(this.#path, { signal: this.running.signal });
    await super.start();
  }

  /** Results come as frames get done; lines wait until it is their turn. There are never more than frames in work. */
  protected override begin(buffer: MediaBuffer): Promise<MediaBuffer> {
    const index = this.#begun++;
    const work = super.begin(buffer);
    // A frame that a seek drops before a thread has it gives no result; those behind it do not wait for one.
    work.catch(() => this.#early.has(index) || this.#early.set(index, ""));
    return this.#written(work);
  }

  async #written(work: Promise<MediaBuffer>): Promise<MediaBuffer> {
    const buffer = await work;
    this.#write();
    while (this.#unwritten > MAX_UNWRITTEN && !this.out.flushing && !this.out.finished) await this.#room.wait();
    return buffer;
  }

  #write(): void {
    let text = "";
    for (let next = this.#early.get(this.#next); next !== undefined; next = this.#early.get(this.#next)) {
      this.#early.delete(this.#next++);
      text += next;
    }
    if (text === "") return;
    const bytes = new TextEncoder().encode(text);
    this.#unwritten += bytes.length;
    this.#writing = this.#writing
      .then(() => this.#file!.write(bytes))
      .then(() => {
        this.#unwritten -= bytes.length;
        this.#room.wake();
      });
    // A full disk ends the run now, not after the last frame.
    this.#writing.catch((error: unknown) => this.running.fail(error, this));
  }

  override async commit(): Promise<void> {
    await super.commit();
    this.#isCompleting = true;
    this.#write();
    await this.#writing;
    await this.#file?.commit();
  }

  /** A reader that takes nothing must not keep a run that is over. */
  override unlock(): void {
    super.unlock();
    if (this.running.stopping) this.#file?.interrupt();
  }

  override async stop(): Promise<void> {
    const file = this.#file;
    try {
      await super.stop();
    } finally {
      await this.#writing.catch(() => {});
      this.#file = undefined;
      await file?.discard();
    }
  }
}

/** A BigInt is a number where that has all its digits, and a string of them otherwise; so is an object of one. */
function plain(_: string, given: unknown): unknown {
  const value = given instanceof BigInt ? given.valueOf() : given;
  if (typeof value !== "bigint") return value;
  return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
}

function line(result: unknown, index: number): string {
  try {
    return `${JSON.stringify({ frame: index, result }, plain)}\n`;
  } catch (cause) {
    throw new MillpondError(
      "ERR_BAD_DATA",
      `what the function of "workers" returned for frame ${index} cannot be written as JSON: it contains itself, or is too large`,
      { frame: index },
      { cause },
    );
  }
}

/** The factories of everything that can be written in a pipeline text. */
export const ALL_ELEMENTS: readonly ElementFactory[] = [
  {
    word: "file",
    help: "a file, in blocks; in front of decode, the file that decode opens",
    properties: { path, block: { kind: "whole", help: "bytes in a block; default 65536", min: 1, max: 2 ** 30 } },
    positional: ["path"],
    required: ["path"],
    create: (p, name) =>
      new FileSource(text(p, "path"), {
        ...named(name),
        ...(p.block === undefined ? {} : { blockSize: p.block as number }),
      }),
  },
  {
    word: "decode",
    help: "the frames of the video file in front of it (MP4, MOV, WebM, Matroska, MPEG-TS, Y4M)",
    create: (_, name) => new DecodeElement(name),
  },
  {
    word: "rawvideo",
    help: "raw video from a file or standard input (-): Y4M, or frames of the given format and size",
    properties: {
      path,
      format: { kind: "string", help: "pixel format; without it the input is Y4M" },
      size: { kind: "size", help: "like 1920x1080" },
      fps: { kind: "rate", help: "frames a second" },
    },
    positional: ["path"],
    required: ["path"],
    create(p, name) {
      const input = p.path === "-" ? process.stdin : text(p, "path");
      const size = p.size as { width: number; height: number } | undefined;
      const rate = p.fps === undefined ? {} : { frameRate: p.fps as Fraction };
      return new RawVideoElement(input, {
        ...named(name),
        ...rate,
        ...size,
        ...(p.format === undefined ? {} : { format: text(p, "format") }),
      });
    },
  },
  ...COMMON_ELEMENTS,
  ...VIDEO_ELEMENTS,
  {
    word: "workers",
    help: "calls the default export of a module for every frame, in threads",
    properties: {
      module: { kind: "string", help: "the module" },
      n: { kind: "whole", help: "threads; default: cores - 1, at least 1 and at most 4", min: 1, max: MAX_THREADS },
      writes: { kind: "boolean", help: "true when the function changes the bytes" },
      results: { kind: "string", help: "a file for what the function returns, one line of JSON per frame" },
    },
    positional: ["module"],
    required: ["module"],
    create(p, name) {
      const options = {
        ...named(name),
        // Standard output may be a film, or JSON.
        console: "stderr" as const,
        ...(p.n === undefined ? {} : { workers: p.n as number }),
        ...(p.writes === undefined ? {} : { writes: p.writes as boolean }),
      };
      if (p.results === undefined) return new WorkersElement(text(p, "module"), options);
      return new WorkersWithResults(text(p, "module"), text(p, "results"), options);
    },
  },
  {
    word: "contactsheet",
    help: "pictures from the whole stream on one PNG sheet",
    properties: { path, tiles: { kind: "whole", help: "most pictures; default 20", min: 1, max: 400 } },
    positional: ["path"],
    required: ["path"],
    create: (p, name) =>
      new ContactSheetFile(text(p, "path"), {
        ...named(name),
        ...(p.tiles === undefined ? {} : { tiles: p.tiles as number }),
      }),
  },
  {
    word: "encode",
    help: "a video file: .mp4, .mov, .webm or .mkv",
    properties: {
      path,
      codec: { kind: "string", help: "avc, hevc, vp8, vp9 or av1", oneOf: ["avc", "hevc", "vp8", "vp9", "av1"] },
      bitrate: { kind: "whole", help: "bits per second; default 2000000", min: 1000, max: 1e9 },
    },
    positional: ["path"],
    required: ["path"],
    create: (p, name) =>
      new EncodeSink(text(p, "path"), {
        ...named(name),
        ...(p.codec === undefined ? {} : { codec: p.codec as NonNullable<EncodeSinkOptions["codec"]> }),
        ...(p.bitrate === undefined ? {} : { bitrate: p.bitrate as number }),
      }),
  },
  {
    word: "y4msink",
    help: "a Y4M file, or standard output (-)",
    properties: { path },
    positional: ["path"],
    required: ["path"],
    create: (p, name) => new RawVideoSink(text(p, "path"), named(name)),
  },
  {
    word: "rawsink",
    help: "the bare bytes of all frames in a file, or on standard output (-)",
    properties: { path },
    positional: ["path"],
    required: ["path"],
    create: (p, name) => new RawVideoSink(text(p, "path"), { ...named(name), y4m: false }),
  },
  {
    word: "filesink",
    help: "the bytes of every buffer in a file, or on standard output (-)",
    properties: { path },
    positional: ["path"],
    required: ["path"],
    create: (p, name) => new FileSink(text(p, "path"), named(name)),
  },
];

/** Makes a pipeline of a text with every factory there is. Errors as {@link parsePipeline}. */
export function pipelineFromText(source: string, options?: PipelineOptions): ParsedPipeline {
  return parsePipeline(word("source", source), ALL_ELEMENTS, options);
}
