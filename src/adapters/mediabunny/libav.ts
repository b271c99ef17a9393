/**
 * libav, as @mediabunny/server brings it along in the package node-av: the way from a decoded frame into a buffer, and
 * back, that makes no garbage.
 *
 * To look at a frame's planes from JavaScript (`VideoSample.copyTo` does) makes external ArrayBuffers of its full size.
 * The engine counts those until it collects: on Node 24 a major collection every 13 frames of 1080p. Here the bytes go
 * from native memory into the buffer without JavaScript ever seeing the decoder's planes, in one of two ways:
 *
 * - direct: a frame of ours has its planes put into the buffer (`fromBuffer`), and libav copies the decoder's frame
 *   into it. One copy, into plain and shared memory alike.
 * - staged: for a node-av whose `fromBuffer` copies, as its documentation has it. libav copies into one persistent
 *   frame whose planes were looked at once, and they are set into the buffer. Two copies.
 *
 * Each way is tried on a picture of 6 x 4 when the package is loaded. Where neither works, `VideoSample.copyTo` does,
 * and a warning of the process says so once.
 *
 * Invariant: a frame of ours points into a buffer only between `fromBuffer` and the end of the same call, in which no
 * other code runs; what it pointed to before is never read or written. So nothing depends on how long the buffer lives,
 * and native memory that JavaScript can see (the staging frame's planes) never leaves this file.
 */
import { createRequire } from "node:module";
import type { FrameLayout } from "../../media/video/frame-layout.ts";

/** What is used of node-av's Frame. */
export interface AvFrame {
  /** The number of its pixel format. */
  format: number;
  /** Pixels in a row. */
  width: number;
  /** Rows. */
  height: number;
  /** AVCOL_RANGE_*. */
  colorRange: number;
  /** AVCOL_SPC_*. */
  colorSpace: number;
  /** AVCHROMA_LOC_*. */
  chromaLocation: number;
  /** AV_FRAME_FLAG_*. */
  readonly flags: number;
  /** FF_DECODE_ERROR_*. */
  readonly decodeErrorFlags: number;
  /** Views of its planes, which are not to be used once the frame has other buffers. */
  readonly data: Uint8Array[] | null;
  /** Makes it a frame, without buffers. */
  alloc(): void;
  /** Gives its buffers back, and the frame itself. */
  free(): void;
  /** Gives its buffers back; it has no shape then. */
  unref(): void;
  /** Gets buffers for its shape. Negative: an error. */
  getBuffer(align: number): number;
  /** Puts its planes into bytes, tightly packed; the number of bytes. */
  fromBuffer(bytes: Uint8Array): number;
  /** Copies the pixels of a frame of the same shape. Negative: an error. */
  copy(source: AvFrame): number;
}

/** What is used of node-av's SoftwareScaleContext. */
export interface AvScaler {
  /** Makes it a context, without sizes and formats: it takes those of the frames. */
  allocContext(): void;
  /** Sets an option by its name. Negative: there is none. */
  setOption(name: string, value: string): number;
  /** Scales and converts one frame into another, which has buffers. Negative: an error. */
  scaleFrameSync(target: AvFrame, source: AvFrame): number;
  /** Gives everything back. */
  freeContext(): void;
}

/** What is used of node-av; the package belongs to @mediabunny/server, which is optional. */
export interface Libav {
  readonly Log: {
    setLevel(level: number): void;
    setCallback(callback: (level: number, message: string) => void, options: { maxLevel: number }): void;
  };
  readonly Frame: new () => AvFrame;
  readonly SoftwareScaleContext: new () => AvScaler;
  readonly AV_PIX_FMT_YUV420P: number;
  avImageGetBufferSize(format: number, width: number, height: number, align: number): number;
}

/**
 * node-av as @mediabunny/server sees it, which lies at `server`: package managers differ in whether it can be seen from
 * here. Undefined, with a warning, where @mediabunny/server works without it.
 */
export async function importLibav(server: string): Promise<Libav | undefined> {
  try {
    return (await import(createRequire(server).resolve("node-av"))) as Libav;
  } catch (error) {
    warnOfSlowCopies(`node-av: ${error instanceof Error ? error.message.split("\n")[0] : String(error)}`);
    return undefined;
  }
}

/** A way from a native frame into bytes, and back. */
export interface FrameCopier {
  /** Copies a frame into bytes that hold it tightly packed, all of its `size` bytes. False: it cannot. */
  copy(source: AvFrame, bytes: Uint8Array, size: number): boolean;
  /** Copies `size` bytes that hold a picture tightly packed into a frame of its shape, which has buffers. */
  fill(target: AvFrame, bytes: Uint8Array, size: number): boolean;
}

/** A frame of the given shape, without buffers. */
export function frameOf(av: Libav, format: number, width: number, height: number): AvFrame {
  const frame = new av.Frame();
  frame.alloc();
  setShape(frame, format, width, height);
  return frame;
}

function setShape(frame: AvFrame, format: number, width: number, height: number): void {
  frame.format = format;
  frame.width = width;
  frame.height = height;
}

/** libav writes into the buffer itself. */
export class DirectCopier implements FrameCopier {
  readonly #av: Libav;
  readonly #frame: AvFrame;
  #format = -1;
  #width = 0;
  #height = 0;
  #size = 0;

  /** Throws what node-av throws. */
  constructor(av: Libav) {
    this.#av = av;
    this.#frame = frameOf(av, -1, 0, 0);
  }

  /** O(size). */
  copy(source: AvFrame, bytes: Uint8Array, size: number): boolean {
    return this.#point(source, bytes, size) && this.#frame.copy(source) >= 0;
  }

  /** O(size). */
  fill(target: AvFrame, bytes: Uint8Array, size: number): boolean {
    return this.#point(target, bytes, size) && target.copy(this.#frame) >= 0;
  }

  /** Puts the planes of the frame, which gets the shape of another one, into bytes. */
  #point({ format, width, height }: AvFrame, bytes: Uint8Array, size: number): boolean {
    if (format !== this.#format || width !== this.#width || height !== this.#height) {
      this.#size = this.#av.avImageGetBufferSize(format, width, height, 1);
      this.#format = format;
      this.#width = width;
      this.#height = height;
      setShape(this.#frame, format, width, height);
    }
    return this.#size === size && bytes.length >= size && this.#frame.fromBuffer(bytes) === size;
  }
}

/** libav writes into a frame whose planes are then set into the buffer. */
export class StagedCopier implements FrameCopier {
  readonly #av: Libav;
  #frame: AvFrame | undefined;
  #planes: readonly Uint8Array[] = [];

  /** Makes its frame with the first picture. */
  constructor(av: Libav) {
    this.#av = av;
  }

  /** O(size). */
  copy(source: AvFrame, bytes: Uint8Array, size: number): boolean {
    const frame = this.#stage(source, bytes, size);
    if (frame === undefined || frame.copy(source) < 0) return false;
    let at = 0;
    for (const plane of this.#planes) {
      bytes.set(plane, at);
      at += plane.length;
    }
    return true;
  }

  /** O(size). */
  fill(target: AvFrame, bytes: Uint8Array, size: number): boolean {
    const frame = this.#stage(target, bytes, size);
    if (frame === undefined) return false;
    let at = 0;
    for (const plane of this.#planes) {
      plane.set(bytes.subarray(at, at + plane.length));
      at += plane.length;
    }
    return target.copy(frame) >= 0;
  }

  /** The frame, with the shape of another one; undefined where the bytes are not those of such a picture. */
  #stage({ format, width, height }: AvFrame, bytes: Uint8Array, size: number): AvFrame | undefined {
    if (this.#frame?.format !== format || this.#frame.width !== width || this.#frame.height !== height) {
      // The views of the frame before end here, with its memory.
      this.#planes = [];
      this.#frame?.free();
      this.#frame = undefined;
      const frame = frameOf(this.#av, format, width, height);
      // Rows without gaps, so that a plane is one piece.
      if (frame.getBuffer(1) < 0) return undefined;
      this.#planes = frame.data ?? [];
      this.#frame = frame;
    }
    let total = 0;
    for (const plane of this.#planes) total += plane.length;
    return total === size && bytes.length >= size ? this.#frame : undefined;
  }
}

const PROBE = { width: 6, height: 4, size: 36 };

/** Whether a copier brings a small picture whole into shared memory and back, and writes nothing beside it. */
function works(av: Libav, copier: FrameCopier): boolean {
  const { width, height, size } = PROBE;
  const source = frameOf(av, av.AV_PIX_FMT_YUV420P, width, height);
  try {
    if (source.getBuffer(1) < 0) return false;
    const numbers = Uint8Array.from({ length: size }, (_, i) => i + 1);
    const around = new Uint8Array(new SharedArrayBuffer(size + 2));
    if (!copier.fill(source, numbers, size)) return false;
    if (!copier.copy(source, around.subarray(1, size + 1), size)) return false;
    return around.every((byte, i) => byte === (i > size ? 0 : i));
  } finally {
    source.free();
  }
}

/**
 * Whether `fromBuffer` puts the planes of a frame into the bytes. It is asked with a frame that has buffers, so that a
 * version that copies into those has a place to copy to.
 */
function pointsAtBytes(av: Libav): boolean {
  const { width, height, size } = PROBE;
  const source = frameOf(av, av.AV_PIX_FMT_YUV420P, width, height);
  const target = frameOf(av, av.AV_PIX_FMT_YUV420P, width, height);
  try {
    if (source.getBuffer(1) < 0 || target.getBuffer(1) < 0) return false;
    for (const plane of source.data ?? []) plane.fill(7);
    const bytes = new Uint8Array(size);
    return target.fromBuffer(bytes) === size && target.copy(source) >= 0 && bytes.every((byte) => byte === 7);
  } finally {
    source.free();
    target.free();
  }
}

/** A kind of copier. */
export type FrameCopierClass = new (av: Libav) => FrameCopier;

/** The best kind of copier that works with a node-av; a text says why there is none. */
export function chooseCopier(av: Libav): FrameCopierClass | string {
  try {
    if (pointsAtBytes(av) && works(av, new DirectCopier(av))) return DirectCopier;
    if (works(av, new StagedCopier(av))) return StagedCopier;
    return "its frames cannot be copied natively";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** The code of the warning that frames are copied the slow way. */
export const SLOW_COPY = "MILLPOND_SLOW_COPY";

/** What is used of @mediabunny/server: the class of what a decoded sample is backed by. */
interface ServerPackage {
  readonly AvFrameVideoSampleResource?: abstract new (...args: never[]) => { readonly frame: unknown };
}

/** What is read of a VideoSample: mediabunny does not promise either. */
interface BackedSample {
  readonly _data?: unknown;
  readonly _closed?: boolean;
}

let copier: FrameCopier | undefined;
let Resource: ServerPackage["AvFrameVideoSampleResource"];
let hasWarned = false;

/** Settles, for this realm, how frames are copied; a second call does nothing. */
export function useLibav(av: Libav, server: ServerPackage): void {
  if (copier !== undefined) return;
  const chosen = chooseCopier(av);
  if (typeof chosen === "string") warnOfSlowCopies(`node-av: ${chosen}`);
  else copier = new chosen(av);
  Resource = server.AvFrameVideoSampleResource;
  if (typeof Resource !== "function") warnOfSlowCopies("@mediabunny/server: no AvFrameVideoSampleResource");
}

/** Says, once, that the fast way is not there. */
export function warnOfSlowCopies(why: string): void {
  if (hasWarned) return;
  hasWarned = true;
  process.emitWarning(
    "decoded frames are copied with VideoSample.copyTo, which makes garbage of a frame's size for each of them, because the installed " +
      `packages are not the ones that this version of millpond was tested with (${why})`,
    { code: SLOW_COPY },
  );
}

/** The native frame that a sample is backed by; undefined where it is closed, or backed by something else. */
export function frameOfSample(sample: object): AvFrame | undefined {
  const { _data: data, _closed: isClosed } = sample as BackedSample;
  if (data === undefined) warnOfSlowCopies("mediabunny: a VideoSample does not show what it is backed by");
  if (isClosed === true || Resource === undefined || !(data instanceof Resource)) return undefined;
  return data.frame as AvFrame;
}

/**
 * Copies a sample natively into bytes that hold its picture, tightly packed as `layout` says. False: it cannot be done
 * so, and nothing was promised about the bytes.
 */
export function copyNatively(sample: object, bytes: Uint8Array, { width, height, size }: FrameLayout): boolean {
  const frame = copier === undefined ? undefined : frameOfSample(sample);
  // A picture that is a part of the frame has to be cut out.
  if (frame === undefined || frame.width !== width || frame.height !== height) return false;
  return copier!.copy(frame, bytes, size);
}
