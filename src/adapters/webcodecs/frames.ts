/**
 * One frame of the platform into a pooled buffer, and back. A decoder has few frames (8 to 13 in browsers) and stops
 * when they are all out, so a frame is copied and closed at once; what a program keeps is a lease of its own pool.
 *
 * The life of a frame: `copyFrame` has it from the call on, waits for a slot with it, copies it, and closes it,
 * whatever happens. The wait is the back-pressure: a decoder whose frames wait makes no others.
 *
 * How a frame is copied:
 *
 * - in its own format: `copyTo`, once, into the slot;
 * - as RGB, and as RGBA one without a format (it is on the GPU only): `copyTo` with `format`, where the platform
 * converts;
 * - where it does not: drawn to a canvas and read back as RGBA.
 *
 * Invariants: a slot is released only when nothing writes into it any more, also after an abort; a lease that is handed
 * out has a `VideoMeta` that says how the picture lies. O(size of the picture).
 */
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { VideoMeta } from "../../media/meta/layout-metas.ts";
import { MAX_SIDE, VideoInfo, type VideoPixelFormat } from "../../media/video/info.ts";
import type { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import { MillpondError } from "../../util/errors.ts";
import {
  abortSignal,
  methodsOf,
  milliseconds,
  outOfRange,
  readOptions,
  wholeNumber,
  withMethods,
  word,
  wrongType,
} from "../../util/validate.ts";

/** A frame that can be copied out and closed: a VideoFrame, of the platform or of a package that is like it. */
export interface CopyableFrame {
  /** The pixel format; null where the frame is on the GPU only. */
  readonly format: string | null;
  /** Microseconds. */
  readonly timestamp: number;
  /** Microseconds; null where the source does not say. */
  readonly duration: number | null;
  /** The picture in the coded frame; null once it is closed. */
  readonly visibleRect: { readonly width: number; readonly height: number } | null;
  /** Pixels in a row as shown. */
  readonly displayWidth: number;
  /** Rows as shown. */
  readonly displayHeight: number;
  /** Bytes that {@link copyTo} writes. */
  allocationSize(options?: object): number;
  /** Copies the picture; where its planes lie. */
  copyTo(bytes: Uint8Array, options?: object): Promise<readonly { readonly offset: number; readonly stride: number }[]>;
  /** Gives the frame back to the platform. */
  close(): void;
}

/** How {@link copyFrame} copies. */
export interface CopyFrameOptions {
  /** The pixel format of the copy; default: the frame's own, RGBA for one on the GPU only. */
  format?: VideoPixelFormat;
  /** Ends the wait for a slot; rejects with its reason. */
  signal?: AbortSignal;
  /** Milliseconds to wait for a slot, then `ERR_STARVED`. Default: no limit. */
  timeout?: number;
}

/**
 * Copies a frame into a buffer of `pool`, which the caller owns and releases, and closes the frame: when it is copied,
 * when anything fails, and when the call is refused. The buffer has the times of the frame, as many bytes as the
 * picture takes, and a `VideoMeta` with the layout that the platform chose.
 *
 * Rejects with `ERR_OUT_OF_RANGE` and the bytes needed when the picture does not fit into a slot, `ERR_UNSUPPORTED`
 * when it cannot be had in that format, `ERR_USE_AFTER_RELEASE` when the frame was closed already, `ERR_META_LOCKED`
 * when the pool's own buffers lie otherwise, `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, and with what
 * `pool.acquire` and the frame's `copyTo` reject with.
 */
export async function copyFrame(
  frame: CopyableFrame,
  pool: BufferPool,
  options?: CopyFrameOptions,
): Promise<MediaBuffer> {
  // Read first, and once: what has one is closed, whatever else is wrong with it.
  const close = frame?.close;
  if (typeof close !== "function") throw wrongType("frame", "a VideoFrame", frame);
  let copy: MediaBuffer;
  try {
    const given = checkCopy(pool, options);
    copy = await copyPicture(pictureOf(frame), pool, given);
  } catch (error) {
    try {
      close.call(frame);
    } catch {
      // The first error is the one to mend.
    }
    throw error;
  }
  try {
    close.call(frame);
  } catch (error) {
    giveBack(copy);
    throw error;
  }
  return copy;
}

/** The options of a copy, checked and the callee's own. */
export function checkCopy(pool: BufferPool, options: CopyFrameOptions | undefined): CopyFrameOptions {
  withMethods("pool", "a BufferPool", pool, ["acquire", "tryAcquire", "configure"]);
  const given = readOptions("options", options, ["format", "signal", "timeout"]);
  // A bad name is told apart from one that the frame cannot be had in.
  if (given.format !== undefined)
    VideoInfo.of({ format: word("options.format", given.format) as VideoPixelFormat, width: 2, height: 2 });
  abortSignal("options.signal", given.signal);
  if (given.timeout !== undefined) milliseconds("options.timeout", given.timeout);
  return given;
}

/** What is copied: a frame of WebCodecs, or a sample of mediabunny. */
export interface Picture {
  readonly format: string | null;
  readonly width: number;
  readonly height: number;
  /** As shown: what a canvas draws. */
  readonly shownWidth: number;
  readonly shownHeight: number;
  /** Nanoseconds. */
  readonly pts: bigint;
  readonly duration: bigint | undefined;
  allocationSize(options?: object): number;
  copyTo(bytes: Uint8Array, options?: object): Promise<readonly { readonly offset: number; readonly stride: number }[]>;
  draw(surface: Surface, width: number, height: number): void;
  /** A way past `copyTo`, into bytes that hold the picture tightly packed; false: it is not there. */
  copyPast?(bytes: Uint8Array, info: VideoInfo): boolean;
}

/** Each field is read once: a frame may be anybody's object. */
function pictureOf(frame: CopyableFrame): Picture {
  const { copyTo, allocationSize } = methodsOf("frame", "a VideoFrame", frame, ["copyTo", "allocationSize"]);
  const { format, visibleRect, timestamp, duration, displayWidth, displayHeight } = frame;
  if (visibleRect === null) {
    throw new MillpondError(
      "ERR_USE_AFTER_RELEASE",
      "the frame was closed before it could be copied; clone() it for the code that closes it",
    );
  }
  const { width, height } = typeof visibleRect === "object" ? visibleRect : { width: undefined, height: undefined };
  return {
    format: format === null ? null : word("frame.format", format),
    width: wholeNumber("frame.visibleRect.width", width, 1, MAX_SIDE),
    height: wholeNumber("frame.visibleRect.height", height, 1, MAX_SIDE),
    shownWidth: wholeNumber("frame.displayWidth", displayWidth, 1, MAX_SIDE),
    shownHeight: wholeNumber("frame.displayHeight", displayHeight, 1, MAX_SIDE),
    pts: nanoseconds("frame.timestamp", timestamp),
    duration: duration === null || duration === undefined ? undefined : nanoseconds("frame.duration", duration),
    allocationSize,
    copyTo,
    draw: (surface, width, height) => surface.drawImage(frame, 0, 0, width, height),
  };
}

function nanoseconds(name: string, microseconds: unknown): bigint {
  if (typeof microseconds !== "number") throw wrongType(name, "a number of microseconds", microseconds);
  if (!Number.isFinite(microseconds)) throw outOfRange(name, "a finite number of microseconds", microseconds);
  return BigInt(Math.round(microseconds)) * 1000n;
}

/** How a picture gets into bytes: how many it takes, and the copy, which says how they lie. */
interface Way {
  readonly size: number;
  copy(bytes: Uint8Array): Promise<VideoInfo>;
}

/**
 * Copies a picture whose frame the caller closes. The slot is the picture's until the copy has ended: an abort that
 * comes meanwhile is answered when nothing writes into it any more.
 */
export async function copyPicture(picture: Picture, pool: BufferPool, options: CopyFrameOptions): Promise<MediaBuffer> {
  const { format, signal, timeout } = options;
  const way = wayOf(picture, format, pool);
  // Before the wait as well: no slot would do.
  if (pool.config !== null) assertFits(picture, way.size, pool.config.size, pool);
  const buffer = await pool.acquire({
    ...(signal === undefined ? {} : { signal }),
    ...(timeout === undefined ? {} : { timeout }),
  });
  try {
    assertFits(picture, way.size, buffer.size, pool);
    const info = await way.copy(buffer.bytes);
    signal?.throwIfAborted();
    // The layout is the frame's own to say.
    assertFits(picture, info.size, buffer.size, pool);
    if (info.size < buffer.size) buffer.resize(0, info.size);
    buffer.pts = picture.pts;
    buffer.duration = picture.duration;
    setLayout(buffer, info);
    return buffer;
  } catch (error) {
    giveBack(buffer);
    throw error;
  }
}

/** As `giveBack()` of media/buffer, with which a page would load all of MediaBuffer. */
function giveBack(lease: MediaBuffer): void {
  if (!lease.isLive) return;
  try {
    lease.releaseWhenUnmapped();
  } catch {
    // The error that is on its way says what happened first.
  }
}

function assertFits({ width, height }: Picture, needed: number, size: number, pool: BufferPool): void {
  if (needed <= size) return;
  throw new MillpondError(
    "ERR_OUT_OF_RANGE",
    `a frame of ${width}x${height} takes ${needed} bytes here, and the buffers of pool "${pool.name}" have ${size}; ` +
      `configure it with size: ${needed} or more`,
    { pool: pool.name, needed, size },
  );
}

/** The pool's own meta stays where it says the same. */
function setLayout(buffer: MediaBuffer, info: VideoInfo): void {
  const present = buffer.getMeta(VideoMeta);
  if (present?.info.equals(info) === true) return;
  if (present !== undefined) buffer.removeMeta(present);
  buffer.addMeta(VideoMeta, info);
}

/** What a platform that converts can make of any frame. */
const RGB: readonly string[] = ["RGBA", "RGBX", "BGRA", "BGRX"];

function wayOf(picture: Picture, wanted: VideoPixelFormat | undefined, pool: BufferPool): Way {
  const { format } = picture;
  if (format !== null && (wanted === undefined || wanted === format)) return plainCopy(picture, format);
  // A platform that converts does so for frames without a format too, straight into the slot.
  const target = wanted ?? "RGBA";
  const converted = RGB.includes(target) ? convertingCopy(picture, target) : undefined;
  return converted ?? canvasCopy(picture, wanted, pool);
}

/** The frame's own bytes, as they are. */
function plainCopy(picture: Picture, format: string): Way {
  const info = layoutOf(format, picture.width, picture.height);
  if (info === undefined) {
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      `the frame is in the pixel format ${format}, whose layout is not known here; ask for format: "RGBA"`,
      { format },
    );
  }
  if (picture.copyPast !== undefined) {
    return {
      size: info.size,
      copy: async (bytes) => (picture.copyPast!(bytes, info) ? info : laidOut(info, await picture.copyTo(bytes))),
    };
  }
  const size = wholeNumber("frame.allocationSize()", picture.allocationSize(), 1);
  return { size, copy: async (bytes) => laidOut(info, await picture.copyTo(bytes)) };
}

/** The platform's conversion to RGB; undefined where it has none: an older one throws, or ignores the option. */
function convertingCopy(picture: Picture, format: VideoPixelFormat): Way | undefined {
  const info = layoutOf(format, picture.width, picture.height)!;
  try {
    if (picture.allocationSize({ format }) !== info.size) return undefined;
  } catch {
    return undefined;
  }
  return {
    size: info.size,
    copy: async (bytes) => {
      const planes = await picture.copyTo(bytes, { format });
      if (planes?.length === 1) return laidOut(info, planes);
      // Four planes of one byte a pixel, as I444 with alpha: as many bytes, and not what was asked for.
      throw new MillpondError("ERR_UNSUPPORTED", `the platform does not convert frames to ${format}`, { format });
    },
  };
}

/** What is used of a canvas's 2D context. */
interface Surface {
  drawImage(image: unknown, x: number, y: number, width: number, height: number): void;
  getImageData(x: number, y: number, width: number, height: number): { readonly data: Uint8ClampedArray };
  readonly canvas: { width: number; height: number };
}

/** A canvas for each pool, which goes with it; drawing and reading back are one step, so that it serves all calls. */
const surfaces: WeakMap<object, Surface> = new WeakMap();

/** Through a canvas: as shown (in square pixels, in sRGB), which is all that a frame on the GPU gives. */
function canvasCopy(picture: Picture, wanted: VideoPixelFormat | undefined, pool: BufferPool): Way {
  const { shownWidth: width, shownHeight: height } = picture;
  if (wanted !== undefined && wanted !== "RGBA" && wanted !== "RGBX") {
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      `a frame ${picture.format === null ? "on the GPU" : `in ${picture.format}`} cannot be copied as ${wanted}; take it as ` +
        `${picture.format ?? "RGBA"}, and convert it with VideoConvert of millpond/video`,
      { format: picture.format, wanted },
    );
  }
  const info = layoutOf(wanted ?? "RGBA", width, height)!;
  const surface = surfaceFor(pool, picture.format);
  return {
    size: info.size,
    copy: async (bytes) => {
      const { canvas } = surface;
      // Setting either clears the canvas, and makes it anew where it differs.
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      picture.draw(surface, width, height);
      bytes.set(surface.getImageData(0, 0, width, height).data);
      return info;
    },
  };
}

function surfaceFor(pool: BufferPool, format: string | null): Surface {
  const present = surfaces.get(pool);
  if (present !== undefined) return present;
  const { OffscreenCanvas: Canvas } = globalThis as { OffscreenCanvas?: new (w: number, h: number) => CanvasLike };
  const surface = Canvas === undefined ? null : new Canvas(1, 1).getContext("2d", { willReadFrequently: true });
  if (surface === null) {
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      format === null
        ? "the frame has no pixel format (it is on the GPU only, or in one that WebCodecs has no name for), and there is no " +
            "OffscreenCanvas here to read it through"
        : `the frame is in ${format}, and neither the platform nor an OffscreenCanvas converts it here; copy it as it is`,
      { format },
    );
  }
  surfaces.set(pool, surface);
  return surface;
}

interface CanvasLike {
  getContext(kind: "2d", options: object): Surface | null;
}

// Every frame of a stream has the same layout; the last one is kept, so that a frame costs no layout.
let last: VideoInfo | undefined;

/** The tight layout of a picture; undefined: nobody knows the format. */
function layoutOf(format: string, width: number, height: number): VideoInfo | undefined {
  if (last?.format === format && last.width === width && last.height === height) return last;
  try {
    last = VideoInfo.of({ format: format as VideoPixelFormat, width, height });
    return last;
  } catch (error) {
    if (error instanceof MillpondError && error.code === "ERR_INVALID_ARG_VALUE") return undefined;
    throw error;
  }
}

/**
 * The layout that the platform has chosen: nearly always the tight one. Throws `ERR_OUT_OF_RANGE` for an impossible
 * one.
 */
function laidOut(info: VideoInfo, planes: readonly { readonly offset: number; readonly stride: number }[]): VideoInfo {
  // Where a package says nothing, it copies tightly.
  if (!Array.isArray(planes)) return info;
  planes.forEach((plane: unknown, i) => {
    if (typeof plane !== "object" || plane === null) {
      throw wrongType(`plane ${i} of what frame.copyTo() resolves with`, "an object with offset and stride", plane);
    }
  });
  const isTight = info.planes.every(
    ({ offset, stride }, i) => planes[i]?.offset === offset && planes[i].stride === stride,
  );
  if (isTight && planes.length === info.planes.length) return info;
  const { format, width, height } = info;
  const strides = planes.map(({ stride }) => stride);
  return VideoInfo.of({ format, width, height, strides, offsets: planes.map(({ offset }) => offset) });
}

const FRAME_KEYS = ["info", "colorSpace", "displayWidth", "displayHeight"] as const;

/** What {@link toVideoFrame} says of the frame beyond what the buffer does. */
export interface ToVideoFrameOptions {
  /** How the picture lies; default: what the buffer's `VideoMeta` says, as {@link copyFrame} sets it. */
  info?: VideoInfo;
  /** The colors, as `VideoColorSpaceInit` of the platform; default: what the platform takes a picture for. */
  colorSpace?: object;
  /** Pixels in a row as shown, where the stored ones are not square; default: those of the picture. */
  displayWidth?: number;
  /** Rows as shown; default: those of the picture. */
  displayHeight?: number;
}

/**
 * A VideoFrame with a copy of a buffer's picture and its times; the lease stays the caller's, and may be released at
 * once. The caller closes the frame. The platform copies, as it does with all bytes that are not transferred to it:
 * those of a slot cannot be, the pool would lose them.
 *
 * Throws `ERR_UNSUPPORTED` where there is no VideoFrame and for GRAY8, which it does not have, `ERR_INVALID_ARG_TYPE`,
 * `ERR_INVALID_ARG_VALUE` for a buffer whose layout is not known, `ERR_OUT_OF_RANGE` for one that is too small, and
 * what {@link MediaBuffer.map} and the platform throw.
 */
export function toVideoFrame(buffer: MediaBuffer, options?: ToVideoFrameOptions): VideoFrame {
  withMethods("buffer", "a MediaBuffer", buffer, ["map", "getMeta"]);
  const { info, colorSpace, displayWidth, displayHeight } = readOptions("options", options, FRAME_KEYS);
  if (info !== undefined && !(info instanceof VideoInfo)) throw wrongType("options.info", "a VideoInfo", info);
  if (colorSpace !== undefined && (typeof colorSpace !== "object" || colorSpace === null)) {
    throw wrongType("options.colorSpace", "a VideoColorSpaceInit", colorSpace);
  }
  if (displayWidth !== undefined) wholeNumber("options.displayWidth", displayWidth, 1, MAX_SIDE);
  if (displayHeight !== undefined) wholeNumber("options.displayHeight", displayHeight, 1, MAX_SIDE);
  const layout = info ?? buffer.getMeta(VideoMeta)?.info;
  if (layout === undefined) {
    throw new MillpondError(
      "ERR_INVALID_ARG_VALUE",
      "buffer must have a VideoMeta, or options.info must say how its picture lies; copyFrame() adds one, addMeta(VideoMeta, info) does",
      { name: "buffer" },
    );
  }
  const { format, width: codedWidth, height: codedHeight } = layout;
  const { VideoFrame: Frame } = globalThis as { VideoFrame?: new (bytes: Uint8Array, init: object) => VideoFrame };
  if (Frame === undefined || format === "GRAY8") {
    const what =
      Frame === undefined
        ? "there is no VideoFrame here; use a browser with WebCodecs"
        : "a VideoFrame cannot be GRAY8";
    throw new MillpondError("ERR_UNSUPPORTED", what, { format });
  }
  const mapping = buffer.map("read");
  try {
    if (mapping.size < layout.size) {
      throw new MillpondError(
        "ERR_OUT_OF_RANGE",
        `${layout} does not fit into the ${mapping.size} bytes of the buffer`,
        { needed: layout.size, size: mapping.size },
      );
    }
    const { pts = 0n, duration } = buffer;
    const init: Record<string, unknown> = { format, codedWidth, codedHeight, layout: layout.layout };
    init.timestamp = Number(pts / 1000n);
    if (duration !== undefined) init.duration = Number(duration / 1000n);
    // Some platforms take a key whose value is undefined for a wrong value.
    for (const [key, value] of Object.entries({ colorSpace, displayWidth, displayHeight })) {
      if (value !== undefined) init[key] = value;
    }
    return new Frame(mapping.bytes, init);
  } finally {
    mapping.unmap();
  }
}
