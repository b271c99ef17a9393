/** What the command reads: a video file through mediabunny, or raw video from a file or standard input. */
import { fstatSync } from "node:fs";
import { basename } from "node:path";
import type { Readable } from "node:stream";
import { openVideoFile, type VideoFileFacts } from "../../adapters/mediabunny/video-file.ts";
import type { FrameSource, SourceFrame } from "../../adapters/node/frame-source.ts";
import { assertInputReadable, isPipe, isY4mFile, openInput, openRawFile } from "../../adapters/node/input-stream.ts";
import { openRawVideo, type RawVideo, type RawVideoOptions } from "../../adapters/raw-video/raw-video.ts";
import { onAbort } from "../../util/abortable.ts";
import type { RunOptions } from "../args.ts";
import { explain, Failure } from "../exit.ts";

/** What is known of an input before its first frame. */
export interface SourceFacts {
  /** The path, or "-". */
  readonly input: string;
  /** Name for people. */
  readonly name: string;
  /** "file", "y4m" or "rawvideo". */
  readonly kind: "file" | "y4m" | "rawvideo";
  /** Container of a file. */
  readonly container: string | null;
  /** Codec of a file, in WebCodecs' short names. */
  readonly codec: string | null;
  /** Pixels in a stored row. */
  readonly width: number;
  /** Stored rows. */
  readonly height: number;
  /** Pixels in a row as shown. */
  readonly displayWidth: number;
  /** Rows as shown. */
  readonly displayHeight: number;
  /** Degrees clockwise that the stored picture is turned by to be shown. */
  readonly rotation: number;
  /** Frames that the container lists; null when nobody knows yet. */
  readonly expectedFrames: number | null;
  /** Seconds; null when nobody knows yet. */
  readonly duration: number | null;
}

/** An open input. */
export interface OpenSource {
  /** What it says of itself. */
  readonly facts: SourceFacts;
  /** Its frames. */
  readonly frames: FrameSource;
  /** True for a pipe, which brings frames in its own time. */
  readonly isPaced: boolean;
}

/** Opens what the command line names. Throws {@link Failure}, and the signal's reason when it was aborted meanwhile. */
export async function openSource(options: RunOptions, signal: AbortSignal): Promise<OpenSource> {
  try {
    if (options.input === "-") return await openStdin(options, signal);
    if (isPipe(options.input)) return await openPipe(options, signal);
    if (options.format !== undefined || (await isY4mFile(options.input))) return await openRawPath(options);
    return await openFile(options);
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof Failure
      ? error
      : new Failure(explain(describePath(error, options.input)), 1, { cause: error });
  }
}

async function openFile(options: RunOptions): Promise<OpenSource> {
  const first = await openVideoFile(options.input);
  const { facts } = first;
  const frames = options.passes === 1 ? first : new Replay(() => openVideoFile(options.input), options.passes, first);
  return { facts: fileFacts(options.input, facts, options.passes), frames, isPaced: false };
}

function fileFacts(input: string, facts: VideoFileFacts, passes: number): SourceFacts {
  return {
    input,
    name: basename(input),
    kind: "file",
    container: facts.container,
    codec: facts.codec,
    width: facts.width,
    height: facts.height,
    displayWidth: facts.displayWidth,
    displayHeight: facts.displayHeight,
    rotation: facts.rotation,
    expectedFrames: facts.expectedFrames === undefined ? null : facts.expectedFrames * passes,
    duration: facts.duration,
  };
}

async function openStdin(options: RunOptions, signal: AbortSignal): Promise<OpenSource> {
  if (process.stdin.isTTY) {
    throw new Failure(
      "standard input is a terminal; pipe video in, for example: ffmpeg -i in.mp4 -f yuv4mpegpipe - | millpond run -",
    );
  }
  assertInputReadable(process.stdin);
  return await openPaced(options, process.stdin, signal);
}

async function openPipe(options: RunOptions, signal: AbortSignal): Promise<OpenSource> {
  const { input } = options;
  if (options.compare || options.passes > 1) {
    throw new Failure(`--compare plays its input several times, and ${input} is a pipe, which comes only once`);
  }
  try {
    return await openPaced(options, openInput(input), signal);
  } catch (error) {
    signal.throwIfAborted();
    throw new Failure(`${input} is a pipe, which can bring raw video only: ${explain(error)}`, 1, { cause: error });
  }
}

/** The first byte of a pipe may never come; ending the stream is what ends that wait. */
async function openPaced(options: RunOptions, stream: Readable, signal: AbortSignal): Promise<OpenSource> {
  const stopListening = onAbort(signal, () => stream.destroy());
  try {
    const isFile = stream === process.stdin && fstatSync(0).isFile();
    return { ...(await openRaw(options, (raw) => openRawVideo(stream, raw))), isPaced: !isFile };
  } finally {
    stopListening();
  }
}

async function openRawPath(options: RunOptions): Promise<OpenSource> {
  const open = (): Promise<OpenSource> => openRaw(options, (raw) => openRawFile(options.input, raw));
  const first = await open();
  if (options.passes === 1) return first;
  const again = async (): Promise<FrameSource> => (await open()).frames;
  return { facts: first.facts, frames: new Replay(again, options.passes, first.frames), isPaced: false };
}

async function openRaw(options: RunOptions, open: (raw: RawVideoOptions) => Promise<RawVideo>): Promise<OpenSource> {
  const { input, format, size, fps } = options;
  const video = await open(
    format === undefined || size === undefined
      ? { ...(fps !== undefined && { frameRate: fps }) }
      : // Raw video has no clock of its own; 25 is what ffmpeg assumes too.
        { format, ...size, frameRate: fps ?? { num: 25, den: 1 } },
  );
  const { layout, presentation } = video;
  const facts: SourceFacts = {
    input,
    name: input === "-" ? "standard input" : input.startsWith("/dev/fd/") ? "the pipe" : basename(input),
    kind: video.isY4m ? "y4m" : "rawvideo",
    container: null,
    codec: null,
    width: layout.width,
    height: layout.height,
    displayWidth: Math.round(layout.width * Math.max(1, presentation.pixelAspect)),
    displayHeight: Math.round(layout.height * Math.max(1, 1 / presentation.pixelAspect)),
    rotation: 0,
    expectedFrames: null,
    duration: null,
  };
  return { facts, frames: video, isPaced: false };
}

/** One file several times in a row, for comparisons that need more frames than a clip has. */
class Replay implements FrameSource {
  readonly #open: () => Promise<FrameSource>;
  #left: number;
  #current: FrameSource;
  #starvedBefore = 0;
  #concealedBefore = 0;

  constructor(open: () => Promise<FrameSource>, passes: number, first: FrameSource) {
    this.#open = open;
    this.#left = passes - 1;
    this.#current = first;
  }

  get shortfall(): string | undefined {
    return this.#current.shortfall;
  }

  get concealed(): number {
    return this.#concealedBefore + (this.#current.concealed ?? 0);
  }

  get starvedMs(): number {
    return this.#starvedBefore + this.#current.starvedMs;
  }

  async next(): Promise<SourceFrame | undefined> {
    for (;;) {
      const frame = await this.#current.next();
      if (frame !== undefined || this.#left === 0) return frame;
      this.#left--;
      this.#starvedBefore += this.#current.starvedMs;
      this.#concealedBefore += this.#current.concealed ?? 0;
      await this.#current.close();
      this.#current = await this.#open();
    }
  }

  close(): Promise<void> {
    return this.#current.close();
  }
}

/** A file system's error names no path when it comes from an open file. */
function describePath(error: unknown, path: string): unknown {
  if (error instanceof Error && "code" in error && "syscall" in error && !("path" in error)) {
    return Object.assign(error, { path });
  }
  return error;
}
