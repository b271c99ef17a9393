/**
 * Video files through mediabunny: every frame of the first video track, copied once, straight into a buffer of yours.
 * `VideoSample.copyTo` takes plain and shared memory alike, so a frame lands in the slot that a worker will read.
 *
 * mediabunny and @mediabunny/server (its decoders for Node) are optional peers, loaded when they are first needed.
 */
import { stat } from "node:fs/promises";
import type { Input, InputVideoTrack, VideoSample } from "mediabunny";
import { VideoInfo, type VideoPixelFormat } from "../media/video-info.ts";
import { MillpondError } from "../observe/errors.ts";
import type { Fraction } from "../pipeline/stream-format.ts";
import { type ContainerLength, containerLength } from "./container-length.ts";
import type { FrameLayout, FrameSource, Presentation, SourceFrame } from "./frame-source.ts";
import { catchLibavLog } from "./libav-log.ts";

export {
  type FrameLayout,
  type FrameSource,
  type PlaneLayout,
  type PooledFramesOptions,
  type Presentation,
  pooledFrames,
  type SourceFrame,
} from "./frame-source.ts";

type Mediabunny = typeof import("mediabunny");

/** What a file says of its video track before anything is decoded. */
export interface VideoFileFacts {
  /** Container, as mediabunny calls it: "MP4", "WebM", "Matroska", "QuickTime File Format". */
  readonly container: string;
  /** Codec, as WebCodecs calls it in short: "avc", "hevc", "vp9", "av1". */
  readonly codec: string;
  /** Pixels in a stored row. */
  readonly width: number;
  /** Stored rows. */
  readonly height: number;
  /** Pixels in a row as shown: square pixels, after rotation. */
  readonly displayWidth: number;
  /** Rows as shown. */
  readonly displayHeight: number;
  /** Degrees clockwise to turn the stored picture by. */
  readonly rotation: 0 | 90 | 180 | 270;
  /** True when it is mirrored left to right after that. */
  readonly flip: boolean;
  /** Packets in the track, where the container lists them; for most codecs that is frames. */
  readonly expectedFrames: number | undefined;
  /** Frames a second, where the container's index shows all of them to be equally long; else undefined. */
  readonly frameRate: Fraction | undefined;
  /** Frames a second on average, by the index or by the first packets; undefined for a file of one frame. */
  readonly averageRate: Fraction | undefined;
  /** Seconds from the first to the end of the last frame, as the container has them. */
  readonly duration: number;
}

let loaded: Promise<Mediabunny> | undefined;

/**
 * mediabunny, with the server decoders registered (in software: frames have to reach the CPU anyway). Loaded once.
 * Rejects with `ERR_UNSUPPORTED` and the command that installs them when a package is absent.
 */
export function loadMediabunny(): Promise<Mediabunny> {
  loaded ??= importPackages();
  return loaded;
}

async function importPackages(): Promise<Mediabunny> {
  let missing = "mediabunny";
  try {
    const mediabunny = await import("mediabunny");
    missing = "@mediabunny/server";
    const { registerMediabunnyServer } = await import("@mediabunny/server");
    registerMediabunnyServer({ hardwareContext: null });
    await catchLibavLog(import.meta.resolve("@mediabunny/server"));
    return mediabunny;
  } catch (cause) {
    loaded = undefined;
    const why = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      `video files are decoded with mediabunny and @mediabunny/server, which are optional: ${missing} cannot be loaded ` +
        `(${why}). Install them with "npm install mediabunny @mediabunny/server", or pipe raw frames in`,
      { missing },
      { cause },
    );
  }
}

/**
 * Opens the first video track of an MP4, MOV, WebM or Matroska file.
 * Rejects with the file system's error, `ERR_BAD_DATA` (no media file, no index, no video track) or `ERR_UNSUPPORTED`
 * (no decoder for the codec, or the packages are not installed).
 */
export async function openVideoFile(path: string): Promise<VideoFile> {
  const found = await stat(path);
  if (found.isDirectory()) throw new MillpondError("ERR_BAD_DATA", `${path} is a folder, not a video file`);
  if (found.size === 0) throw new MillpondError("ERR_BAD_DATA", `${path} is empty (0 bytes)`);
  const mediabunny = await loadMediabunny();
  const length = await containerLength(path);
  const input = new mediabunny.Input({
    source: new mediabunny.FilePathSource(path),
    formats: mediabunny.ALL_FORMATS,
  });
  try {
    return new VideoFile(mediabunny, input, ...(await examine(mediabunny, path, input, length)));
  } catch (error) {
    input.dispose();
    throw error;
  }
}

async function examine(
  mediabunny: Mediabunny,
  path: string,
  input: Input,
  length: ContainerLength,
): Promise<[InputVideoTrack, VideoFileFacts, ContainerLength]> {
  if (!(await canRead(input))) {
    throw new MillpondError("ERR_BAD_DATA", `${path} is not a media file that can be read, whatever its name says`);
  }
  const container = (await input.getFormat()).name;
  const track = await input.getPrimaryVideoTrack();
  if (track === null) {
    const cut = length.declared !== undefined && length.declared > length.actual;
    const why = length.lacksIndex
      ? `its index (the moov box) is missing${cut ? `, and the file is cut short: it should have ${length.declared} bytes or more and has ${length.actual}` : ""}; nothing of it can be decoded`
      : "it has no video track";
    throw new MillpondError("ERR_BAD_DATA", `${path} is ${container}, but ${why}`);
  }
  const codec = await track.getCodec();
  if (codec === null || !(await track.canDecode())) {
    const name = codec ?? String((await track.getInternalCodecId()) ?? "unknown");
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      `${path} has a video track in "${name}", and there is no decoder for that here; convert it first ` +
        `(ffmpeg -i in -c:v libx264 out.mp4), or pipe raw frames in (ffmpeg -i in -f yuv4mpegpipe - | millpond run -)`,
      { codec: name },
    );
  }
  // Only ISO media lists its packets in an index; elsewhere counting them would read the whole file.
  const isIso = container === "MP4" || container.startsWith("QuickTime");
  const rates = await ratesOf(mediabunny, track, isIso);
  const facts: VideoFileFacts = {
    container,
    codec,
    width: await track.getCodedWidth(),
    height: await track.getCodedHeight(),
    displayWidth: await track.getDisplayWidth(),
    displayHeight: await track.getDisplayHeight(),
    rotation: await track.getRotation(),
    flip: await track.getFlip(),
    expectedFrames: isIso ? rates.packets : undefined,
    frameRate: rates.frameRate,
    averageRate: rates.averageRate,
    duration: Math.max(await track.computeDuration(), (await track.getDurationFromMetadata()) ?? 0),
  };
  return [track, facts, length];
}

// Enough to tell 30 from 29.97 frames a second by times in milliseconds: half of one in four seconds is an eighth of the difference.
const RATE_PACKETS = 120;
// Times that are further from a grid than this are not on it.
const GRID_SECONDS = 10e-6;

/** Counts and times of the packets: of all of them in an index, else of the first few. */
async function ratesOf(
  { EncodedPacketSink }: Mediabunny,
  track: InputVideoTrack,
  isIndexed: boolean,
): Promise<{ packets: number; frameRate: Fraction | undefined; averageRate: Fraction | undefined }> {
  const times: number[] = [];
  let isReadable = true;
  let longest = 0;
  try {
    for await (const packet of new EncodedPacketSink(track).packets(undefined, undefined, { metadataOnly: true })) {
      times.push(packet.timestamp);
      longest = Math.max(longest, packet.duration);
      if (!isIndexed && times.length === RATE_PACKETS) break;
    }
  } catch {
    // A damaged file: the decoder will say so at the right place.
    isReadable = false;
  }
  const packets = times.length;
  // Decoding order is not the order of show.
  times.sort((a, b) => a - b);
  const [first, last] = [times[0] ?? 0, times.at(-1) ?? 0];
  if (packets === 1 && longest > 0) {
    const rate = nearestRate(1 / longest);
    return { packets, frameRate: rate, averageRate: rate };
  }
  if (packets < 2 || last <= first) return { packets, frameRate: undefined, averageRate: undefined };
  const averageRate = nearestRate((packets - 1) / (last - first));
  const step = averageRate.den / averageRate.num;
  const isRegular = times.every((time, i) => Math.abs(time - first - i * step) <= GRID_SECONDS);
  return { packets, frameRate: isIndexed && isReadable && isRegular ? averageRate : undefined, averageRate };
}

/** A rate as a fraction: whole, or whole times 1000/1001 as in NTSC, where one of them is within a thousandth. */
function nearestRate(rate: number): Fraction {
  const whole = Math.round(rate);
  const ntsc = Math.round((rate * 1001) / 1000);
  const error = Math.abs(rate - whole) / rate;
  const ntscError = Math.abs(rate - (ntsc * 1000) / 1001) / rate;
  if (whole > 0 && error <= ntscError && error < 5e-4) return { num: whole, den: 1 };
  if (ntsc > 0 && ntscError < 5e-4) return { num: ntsc * 1000, den: 1001 };
  return { num: Math.max(1, Math.round(rate * 1000)), den: 1000 };
}

async function canRead(input: Input): Promise<boolean> {
  try {
    return await input.canRead();
  } catch (error) {
    // Its probes may stumble over a file of some bytes; only what the file system says is news.
    if (error instanceof Error && "syscall" in error) throw error;
    return false;
  }
}

/** One open video file. Made by {@link openVideoFile}; close it. */
export class VideoFile implements FrameSource {
  /** What the file says of itself. */
  readonly facts: VideoFileFacts;
  /** Nothing is ever waited for inside a copy: the frame is decoded before it is handed out. */
  readonly starvedMs: number = 0;
  readonly #input: Input;
  readonly #length: ContainerLength;
  readonly #samples: AsyncGenerator<VideoSample, void, unknown>;
  #frames = 0;
  #concealed = 0;
  #end = 0;
  #failure: string | undefined;
  #closed = false;

  /** @internal */
  constructor(
    mediabunny: Mediabunny,
    input: Input,
    track: InputVideoTrack,
    facts: VideoFileFacts,
    length: ContainerLength,
  ) {
    this.#input = input;
    this.#length = length;
    this.facts = facts;
    this.#samples = new mediabunny.VideoSampleSink(track).samples();
  }

  /** The next frame in presentation order; undefined at the end, or where the stream cannot be decoded any further. */
  async next(): Promise<VideoFileFrame | undefined> {
    if (this.#closed || this.#failure !== undefined) return undefined;
    let result: IteratorResult<VideoSample, void>;
    try {
      result = await this.#samples.next();
    } catch (error) {
      if (this.#closed) return undefined;
      // What was decoded is whole and stays useful; the caller learns of the rest through `shortfall`.
      this.#failure = error instanceof Error ? error.message : String(error);
      return undefined;
    }
    if (result.done === true) return undefined;
    this.#frames++;
    if (isDamaged(result.value)) this.#concealed++;
    this.#end = result.value.timestamp + result.value.duration;
    return new VideoFileFrame(result.value);
  }

  /** Frames so far that the decoder had to make up in part, because their data is damaged. */
  get concealed(): number {
    return this.#concealed;
  }

  /** What is missing at the end of the file, judged by its index, its clock and its length in bytes. */
  get shortfall(): string | undefined {
    const { expectedFrames, duration } = this.facts;
    const { actual, declared } = this.#length;
    const frames = this.#frames;
    const missing = expectedFrames === undefined ? 0 : Math.max(0, expectedFrames - frames);
    const upTo = `up to ${this.#end.toFixed(2)} s of ${duration.toFixed(2)} s`;
    if (this.#failure !== undefined) {
      return `decoding stopped after frame ${frames} (${upTo}): ${this.#failure}`;
    }
    const isCut = declared !== undefined && declared > actual;
    // A decoder may make fewer frames than there are packets (interlaced pairs); a hole at the end in time is a loss.
    const frameTime = frames > 0 ? this.#end / frames : 0;
    const endsEarly = missing > 0 && this.#end < duration - 1.5 * frameTime;
    if (!isCut && !endsEarly) return undefined;
    const bytes = isCut ? ` The file is cut short: ${actual} of at least ${declared} bytes are there.` : "";
    if (missing > 0) return `${missing} of ${expectedFrames} frames are missing (${upTo} decoded).${bytes}`;
    if (this.#end < duration - 1.5 * frameTime) return `the video ends early (${upTo} decoded).${bytes}`;
    return `the video track is whole, but other parts of the file are missing.${bytes}`;
  }

  /** Stops the decoder and closes the file; a second call does nothing. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#samples.return();
    this.#input.dispose();
  }
}

/** A decoded frame that still lies in the decoder's memory. */
export class VideoFileFrame implements SourceFrame {
  /** mediabunny's own sample, for what this adapter does not offer. */
  readonly sample: VideoSample;
  /** How its bytes will lie: tightly packed, or as WebCodecs pads it. */
  readonly layout: FrameLayout;

  /** Throws `ERR_UNSUPPORTED` when the frame has no format that the CPU can read. */
  constructor(sample: VideoSample) {
    this.sample = sample;
    const { format, visibleRect } = sample;
    if (format === null) {
      sample.close();
      throw new MillpondError("ERR_UNSUPPORTED", "the decoder's frames are in a format that cannot be copied out");
    }
    this.layout = layoutOf(format as VideoPixelFormat, visibleRect.width, visibleRect.height);
  }

  /** Rotation, pixel shape and colour of the frame. */
  get presentation(): Presentation {
    const { sample } = this;
    const ratio = sample.pixelAspectRatio;
    return {
      rotation: sample.rotation,
      flip: sample.flip,
      pixelAspect: ratio.num > 0 && ratio.den > 0 ? ratio.num / ratio.den : 1,
      matrix: sample.colorSpace.matrix ?? undefined,
      fullRange: sample.colorSpace.fullRange === true,
    };
  }

  /** Presentation time in nanoseconds. */
  get pts(): bigint {
    return nanoseconds(this.sample.timestamp);
  }

  /** Nanoseconds that it is shown for; undefined when the file does not say. */
  get duration(): bigint | undefined {
    return this.sample.duration > 0 ? nanoseconds(this.sample.duration) : undefined;
  }

  /** One copy, out of the decoder's memory into `bytes`. Rejects with mediabunny's error when they are too few. */
  async copyTo(bytes: Uint8Array): Promise<boolean> {
    const { planes } = this.layout;
    await this.sample.copyTo(bytes, { layout: planes.map(({ offset, stride }) => ({ offset, stride })) });
    return true;
  }

  /** Gives the decoder its frame back. */
  close(): void {
    this.sample.close();
  }
}

// AV_FRAME_FLAG_CORRUPT.
const CORRUPT_FLAG = 1;

/** Whether libav marked the frame: its data was damaged, or what it refers to is missing. */
function isDamaged(sample: VideoSample): boolean {
  const { _data: resource } = sample as unknown as { readonly _data?: { readonly frame?: DecodedFrame } };
  const frame = resource?.frame;
  return frame !== undefined && (frame.decodeErrorFlags !== 0 || (frame.flags & CORRUPT_FLAG) !== 0);
}

/** What is read of node-av's Frame. */
interface DecodedFrame {
  readonly flags: number;
  readonly decodeErrorFlags: number;
}

// Every frame of a stream has the same layout; the last one is kept, so that a frame costs no layout.
let lastLayout: VideoInfo | undefined;

function layoutOf(format: VideoPixelFormat, width: number, height: number): VideoInfo {
  const last = lastLayout;
  if (last !== undefined && last.format === format && last.width === width && last.height === height) return last;
  const layout = VideoInfo.of({ format, width, height });
  lastLayout = layout;
  return layout;
}

/** Seconds to nanoseconds, to the nearest: mediabunny's times are exact to far below a microsecond. */
function nanoseconds(seconds: number): bigint {
  return BigInt(Math.round(seconds * 1e9));
}
