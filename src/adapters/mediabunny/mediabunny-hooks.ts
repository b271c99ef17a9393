/**
 * Where this package reaches into mediabunny: bounds and repairs for damaged files, hooked into methods that mediabunny
 * does not promise. A version in which one of them has another name works with whole files as before; that its bound is
 * missing is said once, as a warning of the process, when the package is loaded.
 */
import type { Source, VideoSampleSink } from "mediabunny";
import { MillpondError } from "../../util/errors.ts";

/** The part of the package that the methods are looked for in. */
type Classes = Pick<typeof import("mediabunny"), "CustomSource" | "FilePathSource" | "VideoSampleSink">;

/** A method that something here is hooked into, and what happens without it. */
interface Hook {
  readonly owner: keyof Classes;
  readonly method: string;
  readonly without: string;
}

const CIRCLE = "a damaged file that sends its reader in a circle is read without end";

const DAMAGED_PACKET = "a damaged packet ends the film, and whole frames in front of it are lost";

const HOOKS: readonly Hook[] = [
  { owner: "FilePathSource", method: "_read", without: CIRCLE },
  { owner: "CustomSource", method: "_read", without: CIRCLE },
  {
    owner: "VideoSampleSink",
    method: "_createDecoder",
    without: DAMAGED_PACKET,
  },
  {
    owner: "VideoSampleSink",
    method: "_createPacketSink",
    without: "a film with many damaged packets in a row can be waited for without end",
  },
];

/** The code of the warning that a bound is missing. */
const MISSING_BOUND = "MILLPOND_MISSING_BOUND";

/**
 * The bounds that an installed version has no place for, each with what follows; empty for the versions that are known.
 */
export function missingBounds(mediabunny: Classes): string[] {
  return HOOKS.filter(({ owner, method }) => {
    const methods = mediabunny[owner]?.prototype as unknown as Readonly<Record<string, unknown>> | undefined;
    return typeof methods?.[method] !== "function";
  }).map(({ owner, method, without }) => `${owner}.${method}: ${without}`);
}

/** Emits a warning when a bound is missing: one for all of them. */
export function warnOfMissingBounds(mediabunny: Classes): void {
  warn(missingBounds(mediabunny));
}

function warn(missing: readonly string[]): void {
  if (missing.length === 0) return;
  process.emitWarning(
    "the installed version of mediabunny lacks what keeps the reading of damaged files in bounds; install a version that this version " +
      `of millpond was tested with, or read only files that you trust. Missing: ${missing.join("; ")}`,
    { code: MISSING_BOUND },
  );
}

// Whole files of every container are asked for the same bytes twice in a row at most.
const MAX_SAME_READS = 1_000;
// A demuxer asks mostly for bytes that are there already: 10^6 such requests take a second or less.
const MIN_READS = 1e6;
// MPEG-TS asks most often, once for every 35 bytes; video in MP4 once for some hundred.
const BYTES_PER_READ = 8;

/** What mediabunny's Reader calls for every slice that it looks at, whether the bytes are cached or not. */
interface Readable {
  _read?: (start: number, end: number, ...positions: number[]) => unknown;
}

/**
 * Bounds the requests to a source for a file of `size` bytes. A reader that asks for the same bytes 1,000 times in a
 * row does not get on, and is told that the file ends there; going on after more requests than all packets of such a
 * file can need throws `ERR_BAD_DATA`. Each loop of a demuxer either reads or walks tables in memory, which are checked
 * before (see sample-tables.ts); so both kinds end.
 */
export function boundReads<T extends Source>(source: T, path: string, size: number): T {
  const inside = source as unknown as Readable;
  const read = inside._read?.bind(source);
  if (read === undefined) return source;
  let left = MIN_READS + Math.ceil(size / BYTES_PER_READ);
  let same = 0;
  let lastStart = -1;
  let lastEnd = -1;
  inside._read = (start, end, ...positions) => {
    // Once used up it stays so: a reader that catches the error may not go on.
    if (left-- <= 0) {
      left = 0;
      throw new MillpondError(
        "ERR_BAD_DATA",
        `${path} is damaged: its parts refer to each other in a circle, at byte ${start}, so that reading it would not end`,
        { at: start },
      );
    }
    same = start === lastStart && end === lastEnd ? same + 1 : 0;
    lastStart = start;
    lastEnd = end;
    // Null is what a source says of bytes behind its end.
    return same > MAX_SAME_READS ? null : read(start, end, ...positions);
  };
  return source;
}

/** What is read of mediabunny's decoder, where it runs libav. */
interface PacketDecoder {
  decode(packet: { readonly timestamp: number }): Promise<void>;
  flush?(): Promise<void>;
}

/** What is read of the queue in front of it. */
interface DecoderQueue {
  readonly customDecoder?: PacketDecoder | null;
  getDecodeQueueSize(): number;
}

/** What is read of the queue in front of it to close it. */
interface ClosableQueue {
  readonly customDecoder?: { close?(): unknown } | null;
  readonly customDecoderCallSerializer?: { call?(fn: () => unknown): Promise<unknown> };
  close(): void;
}

/**
 * Has a decoder that failed closed all the same, without a rejection that nobody handles. mediabunny makes each call
 * behind the one before: where that was refused, `close()` is never made, and what it rejects with, the error that the
 * loop throws, ends the process.
 */
export function closeBehindFailure(sink: VideoSampleSink): void {
  const inside = sink as unknown as { _createDecoder?: (...args: unknown[]) => Promise<ClosableQueue> };
  const createDecoder = inside._createDecoder?.bind(sink);
  if (createDecoder === undefined) return;
  inside._createDecoder = async (...args) => {
    const made = await createDecoder(...args);
    const { customDecoder: decoder, customDecoderCallSerializer: calls } = made;
    if (typeof decoder?.close !== "function" || typeof calls?.call !== "function") return made;
    const call = calls.call.bind(calls);
    const close = made.close.bind(made);
    made.close = () => {
      // What close() itself fails with has nobody to go to either: the loop is over.
      calls.call = (fn) =>
        call(() => {})
          .catch(() => {})
          .then(fn)
          .catch(() => {});
      close();
    };
    return made;
  };
}

/** What is read of a sink of samples. */
interface SampleSink {
  _createDecoder?: (...args: unknown[]) => Promise<DecoderQueue>;
  _createPacketSink?: () => { packets: (...args: unknown[]) => AsyncGenerator<unknown, void, unknown> };
}

/**
 * A stream whose packets are all refused is not damaged here and there, it is unreadable: after this many in a row
 * nothing more of it is decoded.
 */
const MAX_REFUSED_IN_A_ROW = 8;
// The most that mediabunny has under way without waiting for a frame.
const MAX_UNDER_WAY = 40;

/** False once it was said that decoders are unlike those that are known. */
let isDecoderKnown = true;

/** What {@link passOverDamage} tells. */
interface DamageListener {
  /** A packet was refused, at that time in seconds, and passed over. */
  onRefusal(seconds: number): void;
  /** Nothing more is decoded, because of this; what was decoded before still comes, and then the stream ends. */
  onFailure(error: unknown): void;
}

/**
 * One packet that libav refuses ends mediabunny's decoding, and takes the whole frames with it that are still in line
 * behind the decoder: dozens, which are not damaged at all. ffmpeg passes over such a packet, and so does this.
 *
 * Then there may be no frame for a long time, up to the next key packet, and mediabunny would wait for one for good as
 * soon as more than 40 packets are under way. So a packet waits here until fewer are.
 *
 * No call of the decoder rejects: mediabunny makes each call behind the one before, its `close()` too, and handles the
 * promise of none. So a rejection would end the process as an unhandled one, and the decoder would stay open. What
 * ends the decoding is told to the listener, once; packets end then, and what is whole comes out.
 */
export function passOverDamage(sink: VideoSampleSink, { onRefusal, onFailure }: DamageListener): void {
  const inside = sink as unknown as SampleSink;
  const createDecoder = inside._createDecoder?.bind(sink);
  const createPackets = inside._createPacketSink?.bind(sink);
  if (createDecoder === undefined || createPackets === undefined) return;
  let underWay = (): number => 0;
  let onDecoded: () => void = () => {};
  let hasFailed = false;
  const fail = (error: unknown): void => {
    if (hasFailed) return;
    hasFailed = true;
    onFailure(error);
  };
  inside._createDecoder = async (...args) => {
    const made = await createDecoder(...args);
    const decoder = made.customDecoder;
    // Null: a decoder of the platform's, which is never asked to go on behind an error.
    if (decoder === null) return made;
    if (typeof decoder?.decode !== "function" || typeof made.getDecodeQueueSize !== "function") {
      if (!isDecoderKnown) return made;
      isDecoderKnown = false;
      warn([`the decoder of a VideoSampleSink (customDecoder.decode, getDecodeQueueSize): ${DAMAGED_PACKET}`]);
      return made;
    }
    underWay = () => made.getDecodeQueueSize();
    const decode = decoder.decode.bind(decoder);
    const flush = decoder.flush?.bind(decoder);
    let inARow = 0;
    decoder.decode = async (packet) => {
      try {
        if (hasFailed) return;
        await decode(packet);
        inARow = 0;
      } catch (error) {
        const isRefused = error instanceof Error && error.constructor.name === "FFmpegError";
        if (isRefused && ++inARow <= MAX_REFUSED_IN_A_ROW) onRefusal(packet.timestamp);
        else fail(error);
      } finally {
        onDecoded();
      }
    };
    if (flush !== undefined) {
      decoder.flush = async () => {
        await flush().catch(fail);
      };
    }
    return made;
  };
  inside._createPacketSink = () => {
    const made = createPackets();
    const packets = made.packets.bind(made);
    made.packets = async function* (...args) {
      for await (const packet of packets(...args)) {
        while (underWay() >= MAX_UNDER_WAY) {
          await new Promise<void>((resolve) => {
            onDecoded = resolve;
          });
        }
        if (hasFailed) return;
        yield packet;
      }
    };
    return made;
  };
}
