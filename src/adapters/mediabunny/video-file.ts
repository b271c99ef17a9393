/**
 * Video files through mediabunny: every frame of the first video track, copied once, straight into a buffer of yours,
 * plain or shared memory alike, so that a frame lands in the slot that a worker will read. The copy is libav's own
 * (libav.ts), or `VideoSample.copyTo` where that is not there.
 *
 * Life: `openVideoFile` holds the file's length against its structure, and mends numbers that would send a reader
 * astray; `next` waits for a frame, which stays with the decoder until it is copied and closed. At the end `shortfall`
 * says what is missing. `close` ends it at any time, also while it waits.
 *
 * Invariant: a damaged file costs no more time and memory than a whole one of its size (mediabunny-hooks.ts,
 * sample-tables.ts).
 */
import { open, stat } from "node:fs/promises";
import type { Input, InputVideoTrack, Source, VideoSample } from "mediabunny";
import { VideoInfo, type VideoPixelFormat } from "../../media/video/info.ts";
import type { Fraction } from "../../pipeline/stream-format.ts";
import { isMillpondError, MillpondError } from "../../util/errors.ts";
import { pathOf } from "../node/file-paths.ts";
import {
  bytesFor,
  type FrameLayout,
  type FrameSource,
  type Presentation,
  type SourceFrame,
} from "../node/frame-source.ts";
import { type ContainerLength, containerLength, type MatroskaCut, matroskaDamage } from "./container-length.ts";
import { copyNatively, frameOfSample } from "./libav.ts";
import { loadMediabunny } from "./load.ts";
import { boundReads, closeBehindFailure, passOverDamage } from "./mediabunny-hooks.ts";
import { type Mediabunny, nanoseconds } from "./package.ts";
import type { WholePackets } from "./transport-packets.ts";

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
  /** True where the times of the frames are known to vary. */
  readonly isVariable: boolean;
  /** Width of a pixel over its height, exactly as the container has it. */
  readonly pixelAspect: number;
  /**
   * Color matrix by its WebCodecs name, and range, as the container has them; a stream that says otherwise is right.
   */
  readonly colors: { readonly matrix: string | undefined; readonly fullRange: boolean };
  /** Seconds from the first to the end of the last frame, as the container has them. */
  readonly duration: number;
}

/**
 * Opens the first video track of an MP4, MOV, WebM or Matroska file. Rejects with the file system's error,
 * `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_BAD_DATA` (no media file, no index, no video track) or
 * `ERR_UNSUPPORTED` (no decoder for the codec, or the packages are not installed).
 */
export async function openVideoFile(path: string): Promise<VideoFile> {
  const found = await stat(pathOf("path", path));
  if (found.isDirectory()) throw new MillpondError("ERR_BAD_DATA", `${path} is a folder, not a video file`);
  if (!found.isFile()) {
    throw new MillpondError(
      "ERR_BAD_DATA",
      `${path} is a ${found.isFIFO() || found.isSocket() ? "pipe" : "device"}, and a video file has to be read back and forth; copy it to a file first`,
    );
  }
  if (found.size === 0) throw new MillpondError("ERR_BAD_DATA", `${path} is empty (0 bytes)`);
  const mediabunny = await loadMediabunny();
  const length = await containerLength(path);
  const input = new mediabunny.Input({
    source: boundReads(await sourceOf(mediabunny, path, length), path, length.actual),
    formats: mediabunny.ALL_FORMATS,
  });
  try {
    return new VideoFile(mediabunny, path, input, ...(await examine(mediabunny, path, input, length)));
  } catch (error) {
    input.dispose();
    throw asBadData(path, error);
  }
}

/** The file as it is to be read: mended where it is damaged in a way that is known. */
async function sourceOf(
  mediabunny: Mediabunny,
  path: string,
  { actual, cut, packets, patches }: ContainerLength,
): Promise<Source> {
  if (cut !== undefined) return await wholePart(mediabunny, path, cut);
  if (patches !== undefined) return await wholePart(mediabunny, path, { end: actual, patches });
  if (packets !== undefined) return await wholePackets(mediabunny, path, packets);
  return new mediabunny.FilePathSource(path);
}

/** A parser that stumbles over damaged bytes throws whatever it stumbled over: to the user it is damaged data. */
function asBadData(path: string, error: unknown): unknown {
  if (isMillpondError(error) || !(error instanceof Error) || "syscall" in error) return error;
  // Its own words ("offset is outside the bounds") are about a parser, not about the file.
  return new MillpondError("ERR_BAD_DATA", `${path} is damaged so that it cannot be opened`, {}, { cause: error });
}

/**
 * What @mediabunny/server decodes on every machine; where it refuses one of them, the track's own header is at fault.
 */
const DECODABLE: readonly string[] = ["avc", "hevc", "vp8", "vp9", "av1"];

/** A file up to where it is whole, with other bytes where a length or a number in it is wrong. */
async function wholePart(
  { CustomSource }: Mediabunny,
  path: string,
  { end, patches, tail = new Uint8Array() }: MatroskaCut,
): Promise<Source> {
  const file = await open(path, "r");
  return new CustomSource({
    getSize: () => end + tail.length,
    read: async (start, stop) => {
      const bytes = new Uint8Array(stop - start);
      if (start < end) await file.read(bytes, 0, Math.min(stop, end) - start, start);
      const lay = (piece: Uint8Array, place: number): void => {
        const from = Math.max(place, start);
        const to = Math.min(place + piece.length, stop);
        if (from < to) bytes.set(piece.subarray(from - place, to - place), from - start);
      };
      lay(tail, end);
      for (const { bytes: piece, at } of patches) lay(piece, at);
      return bytes;
    },
    dispose: () => void file.close().catch(() => {}),
    prefetchProfile: "fileSystem",
  });
}

/** A damaged MPEG transport stream as a whole one: its whole packets, one behind the other. */
async function wholePackets({ CustomSource }: Mediabunny, path: string, { runs, size }: WholePackets): Promise<Source> {
  const file = await open(path, "r");
  return new CustomSource({
    getSize: () => size,
    read: async (start, stop) => {
      const bytes = new Uint8Array(stop - start);
      for (const { at, from, length } of runs) {
        const first = Math.max(start, at);
        const end = Math.min(stop, at + length);
        if (first < end) await file.read(bytes, first - start, end - first, from + first - at);
      }
      return bytes;
    },
    dispose: () => void file.close().catch(() => {}),
    prefetchProfile: "fileSystem",
  });
}

async function examine(
  mediabunny: Mediabunny,
  path: string,
  input: Input,
  length: ContainerLength,
): Promise<[InputVideoTrack, VideoFileFacts, ContainerLength]> {
  if (!(await canRead(input))) {
    throw new MillpondError(
      "ERR_BAD_DATA",
      `${path} is not a media file that can be read (MP4, MOV, WebM, Matroska and MPEG-TS can)`,
    );
  }
  const container = (await input.getFormat()).name;
  const track = await input.getPrimaryVideoTrack();
  if (track === null) {
    const cut = length.declared !== undefined && length.declared > length.actual;
    const why = length.lacksIndex
      ? `its index (the moov box) is missing${cut ? `, and the file is cut short: it should have ${length.declared} bytes or more and has ${length.actual}` : ""}; nothing of it can be decoded`
      : cut
        ? `it is cut short before its video track: it should have ${length.declared} bytes or more and has ${length.actual}`
        : container === "MPEG Transport Stream"
          ? "it has no video track that can be decoded here (H.264 and HEVC can)"
          : "it has no video track";
    throw new MillpondError("ERR_BAD_DATA", `${path} is ${container}, but ${why}`);
  }
  const codec = await track.getCodec();
  if (codec === null || !(await track.canDecode())) {
    if (codec !== null && DECODABLE.includes(codec)) {
      throw new MillpondError(
        "ERR_BAD_DATA",
        `${path} is damaged: the header of its ${codec} video track does not make sense, so the track cannot be decoded`,
        { codec },
      );
    }
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
  const [pixels, colors] = [await track.getPixelAspectRatio(), await track.getColorSpace()];
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
    isVariable: rates.isVariable,
    pixelAspect: exactAspect(pixels.num / pixels.den, await track.getCodedWidth(), await track.getCodedHeight()),
    colors: { matrix: colors.matrix ?? undefined, fullRange: colors.fullRange === true },
    duration: Math.max(await track.computeDuration(), (await track.getDurationFromMetadata()) ?? 0),
  };
  return [track, facts, length];
}

// Enough to tell 30 from 29.97 frames a second by times in milliseconds: half of one in four seconds is an eighth of
// the difference.
const RATE_PACKETS = 120;
// Times that are further from a grid than this are not on it.
const GRID_SECONDS = 10e-6;
// Times in milliseconds lie within half of one of their grid; beyond a whole one they vary.
const COARSE_SECONDS = 1e-3;

/** The shapes of pixels that standards name: H.264's table E-1, and DV. */
const NAMED_ASPECTS = [
  1,
  12 / 11,
  10 / 11,
  16 / 11,
  40 / 33,
  24 / 11,
  20 / 11,
  32 / 11,
  80 / 33,
  18 / 11,
  15 / 11,
  64 / 33,
]
  .concat([160 / 99, 4 / 3, 3 / 2, 2, 16 / 15, 64 / 45, 8 / 9, 32 / 27])
  .flatMap((aspect) => [aspect, 1 / aspect]);

/**
 * mediabunny has the picture as shown in whole pixels; the shape that a standard names and that rounds to the same is
 * meant.
 */
function exactAspect(rounded: number, width: number, height: number): number {
  if (!Number.isFinite(rounded) || rounded <= 0) return 1;
  const shown = (aspect: number): number => Math.round(aspect >= 1 ? width * aspect : height / aspect);
  return NAMED_ASPECTS.find((aspect) => aspect >= 1 === rounded >= 1 && shown(aspect) === shown(rounded)) ?? rounded;
}

interface TrackRates {
  readonly packets: number;
  readonly frameRate: Fraction | undefined;
  readonly averageRate: Fraction | undefined;
  readonly isVariable: boolean;
}

/** Counts and times of the packets: of all of them in an index, else of the first few. */
async function ratesOf(
  { EncodedPacketSink }: Mediabunny,
  track: InputVideoTrack,
  isIndexed: boolean,
): Promise<TrackRates> {
  const times: number[] = [];
  let isReadable = true;
  let longest = 0;
  try {
    for await (const packet of new EncodedPacketSink(track).packets(undefined, undefined, { metadataOnly: true })) {
      times.push(packet.timestamp);
      longest = Math.max(longest, packet.duration);
      if (!isIndexed && times.length === RATE_PACKETS) break;
      // An index is read without waiting for anything; a signal has to get through all the same.
      if (times.length % 4096 === 0) await new Promise((next) => setImmediate(next));
    }
  } catch {
    // A damaged file: the decoder will say so at the right place.
    isReadable = false;
  }
  const packets = times.length;
  // Decoding order is not the order of show.
  times.sort((a, b) => a - b);
  const [first, last] = [times[0] ?? 0, times.at(-1) ?? 0];
  if (packets < 2 || last <= first) {
    const rate = packets === 1 && longest > 0 ? nearestRate(1 / longest) : undefined;
    return { packets, frameRate: rate, averageRate: rate, isVariable: false };
  }
  const averageRate = nearestRate((packets - 1) / (last - first));
  const step = averageRate.den / averageRate.num;
  const furthest = times.reduce((most, time, i) => Math.max(most, Math.abs(time - first - i * step)), 0);
  // Where only some packets were looked at, or the file is damaged, nobody can promise the rate.
  const frameRate = isIndexed && isReadable && furthest <= GRID_SECONDS ? averageRate : undefined;
  return { packets, frameRate, averageRate, isVariable: furthest > COARSE_SECONDS };
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
  readonly #path: string;
  readonly #input: Input;
  readonly #length: ContainerLength;
  readonly #samples: AsyncGenerator<VideoSample, void, unknown>;
  #frames = 0;
  #concealed = 0;
  #end = 0;
  #failure: string | undefined;
  /** What the decoder failed with; the frames that it had decoded by then still come. */
  #decoderFailure: { readonly error: unknown } | undefined;
  #refused = 0;
  #refusedAt = 0;
  #damagedAt: number | undefined;
  #closed = false;

  /** @internal */
  constructor(
    mediabunny: Mediabunny,
    path: string,
    input: Input,
    track: InputVideoTrack,
    facts: VideoFileFacts,
    length: ContainerLength,
  ) {
    this.#path = path;
    this.#input = input;
    this.#length = length;
    this.facts = facts;
    const sink = new mediabunny.VideoSampleSink(track);
    passOverDamage(sink, {
      onRefusal: (seconds) => {
        if (this.#refused++ === 0) this.#refusedAt = seconds;
      },
      onFailure: (error) => {
        this.#decoderFailure = { error };
      },
    });
    // Its init() may fail, too.
    closeBehindFailure(sink);
    this.#samples = sink.samples();
  }

  /** The next frame in presentation order; undefined at the end, or where the stream cannot be decoded any further. */
  async next(): Promise<VideoFileFrame | undefined> {
    if (this.#closed || this.#failure !== undefined) return undefined;
    let result: IteratorResult<VideoSample, void>;
    try {
      result = await this.#samples.next();
    } catch (error) {
      if (this.#closed) return undefined;
      this.#stopAt(error);
      return undefined;
    }
    if (result.done === true) {
      if (this.#decoderFailure !== undefined) this.#stopAt(this.#decoderFailure.error);
      else await this.#lookForDamage();
      return undefined;
    }
    const { value: sample } = result;
    try {
      this.#frames++;
      if (isDamaged(sample)) this.#concealed++;
      this.#end = sample.timestamp + sample.duration;
      return new VideoFileFrame(sample, this.facts);
    } catch (error) {
      // Nobody else has it, and the decoder has few.
      sample.close();
      throw error;
    }
  }

  /** What was decoded is whole and stays useful; the caller learns of the rest through `shortfall`. */
  #stopAt(error: unknown): void {
    // mediabunny asks for a report of what it did not expect; of a damaged file there is nothing to report.
    const why = error instanceof Error ? error.message : String(error);
    this.#failure = why.replace(/ This is likely an internal error,? please report it[^.]*\.?/i, "");
  }

  /** mediabunny passes over what it does not understand in Matroska, and says nothing. */
  async #lookForDamage(): Promise<void> {
    const { container } = this.facts;
    if (this.#length.cut !== undefined || (container !== "Matroska" && container !== "WebM")) return;
    this.#damagedAt = await matroskaDamage(this.#path);
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
    const of = duration > this.#end + 0.005 ? ` of ${duration.toFixed(2)} s` : "";
    const upTo = `up to ${this.#end.toFixed(2)} s${of}`;
    if (this.#failure !== undefined) {
      return `decoding stopped after frame ${frames} (${upTo}): ${this.#failure}`;
    }
    const damage = this.#damage(missing, upTo);
    if (damage !== undefined) return damage;
    const isCut = declared !== undefined && declared > actual;
    // A decoder may make fewer frames than there are packets (interlaced pairs); a hole at the end in time is a loss.
    const frameTime = frames > 0 ? this.#end / frames : 0;
    const isShort = this.#end < duration - 1.5 * frameTime;
    if (!isCut && !(missing > 0 && isShort)) return undefined;
    const bytes = isCut ? ` The file is cut short: ${actual} of at least ${declared} bytes are there.` : "";
    if (missing > 0)
      return `${missing} of ${expectedFrames} frames ${missing === 1 ? "is" : "are"} missing (${upTo} decoded).${bytes}`;
    if (isShort || expectedFrames === undefined)
      return `the video ends early, after ${frames} frames (${upTo} decoded).${bytes}`;
    return `the video track is whole, but other parts of the file are missing.${bytes}`;
  }

  /** What damage in the middle of the file has cost; undefined without any. */
  #damage(missing: number, upTo: string): string | undefined {
    const { lost, patches } = this.#length;
    const found: string[] = [];
    if (this.#refused > 0) {
      const packets = this.#refused === 1 ? "1 packet" : `${this.#refused} packets`;
      found.push(`${packets} could not be decoded, the first one at ${this.#refusedAt.toFixed(2)} s`);
    }
    if (this.#damagedAt !== undefined) found.push(`its structure breaks off at byte ${this.#damagedAt}`);
    if (patches !== undefined) found.push(`its index does not make sense at byte ${patches[0]!.at}`);
    if (lost !== undefined) found.push(`${lost.bytes} bytes from byte ${lost.at} on do not belong to any whole packet`);
    if (found.length === 0) return undefined;
    const of =
      missing > 0 ? `; ${missing} of ${this.facts.expectedFrames} frames ${missing === 1 ? "is" : "are"} missing` : "";
    return `the file is damaged: ${found.join(", and ")}${of} (${this.#frames} frames decoded, ${upTo})`;
  }

  /** Stops the decoder and closes the file; a second call does nothing. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      await this.#samples.return();
    } finally {
      this.#input.dispose();
    }
  }
}

/** A decoded frame that still lies in the decoder's memory. */
export class VideoFileFrame implements SourceFrame {
  /** mediabunny's own sample, for what this adapter does not offer. */
  readonly sample: VideoSample;
  /** How its bytes will lie: tightly packed, or as WebCodecs pads it. */
  readonly layout: FrameLayout;

  readonly #facts: VideoFileFacts;

  #isClosed = false;

  /**
   * @internal Throws `ERR_UNSUPPORTED` when the frame has no format that the CPU can read; it stays the caller's then.
   */
  constructor(sample: VideoSample, facts: VideoFileFacts) {
    this.sample = sample;
    this.#facts = facts;
    const { format, visibleRect } = sample;
    if (format === null) {
      throw new MillpondError(
        "ERR_UNSUPPORTED",
        "the decoded frames are in a pixel format that cannot be read here, such as GBR or 16 bits; convert the file first " +
          "(ffmpeg -i in -pix_fmt yuv420p out.mp4)",
      );
    }
    this.layout = layoutOf(format as VideoPixelFormat, visibleRect.width, visibleRect.height);
  }

  /** Rotation, pixel shape and color of the frame. */
  get presentation(): Presentation {
    const { sample } = this;
    const { pixelAspect, colors } = this.#facts;
    return {
      rotation: sample.rotation,
      flip: sample.flip,
      // The sample has it rounded to whole pixels of a row.
      pixelAspect,
      matrix: sample.colorSpace.matrix ?? colors.matrix,
      fullRange: sample.colorSpace.fullRange === true || (sample.colorSpace.matrix === null && colors.fullRange),
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

  /**
   * One copy, out of the decoder's memory into `bytes`, plain or shared: natively, so that the frame's planes are no
   * garbage. Rejects with `ERR_INVALID_ARG_TYPE`, `ERR_DETACHED`,
   * `ERR_OUT_OF_RANGE` when they are too few, `ERR_USE_AFTER_RELEASE` after {@link close}.
   */
  async copyTo(bytes: Uint8Array): Promise<boolean> {
    if (this.#isClosed) {
      throw new MillpondError("ERR_USE_AFTER_RELEASE", "the frame was closed; copy it before close()");
    }
    const { planes, size } = this.layout;
    bytesFor("bytes", bytes, size);
    if (copyNatively(this.sample, bytes, this.layout)) return true;
    await this.sample.copyTo(bytes, { layout: planes.map(({ offset, stride }) => ({ offset, stride })) });
    return true;
  }

  /** Gives the decoder its frame back. */
  close(): void {
    this.#isClosed = true;
    this.sample.close();
  }
}

// AV_FRAME_FLAG_CORRUPT.
const CORRUPT_FLAG = 1;

/** Whether libav marked the frame: its data was damaged, or what it refers to is missing. */
function isDamaged(sample: VideoSample): boolean {
  const frame = frameOfSample(sample);
  return frame !== undefined && (frame.decodeErrorFlags !== 0 || (frame.flags & CORRUPT_FLAG) !== 0);
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
