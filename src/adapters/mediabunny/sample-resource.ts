/**
 * A lease as the bytes of mediabunny's samples: what a program has in a pooled buffer goes into an encoder, a canvas or
 * an output of mediabunny without a copy in between, and the slot is free when the last of those is closed.
 *
 * Life: `create()` takes over one reference of the lease. mediabunny counts the samples over it (`clone()` adds one)
 * and closes the resource with the last of them; that releases the reference, once. A closed resource answers nothing,
 * also while others hold the lease: a sample over it would give back what is theirs.
 */

import type { VideoSample, VideoSampleColorSpace, VideoSampleResource } from "mediabunny";
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { releaseOrPass } from "../../media/buffer/release.ts";
import { VideoMeta } from "../../media/meta/layout-metas.ts";
import { VideoInfo, type VideoPixelFormat } from "../../media/video/info.ts";
import { MillpondError } from "../../util/errors.ts";
import { readOptions, wholeNumber, withMethods, wrongType } from "../../util/validate.ts";
import { importMediabunny, type Mediabunny } from "./package.ts";

/** How the bytes of a lease are to be seen; see {@link PooledSampleResource}. */
export interface PooledSampleOptions {
  /** How the picture lies. Default: what the buffer's `VideoMeta` says, as `copyFrame` and `pooledSamples` set it. */
  info?: VideoInfo;
  /** The colors by their WebCodecs names; default: unknown. */
  colorSpace?: VideoColorSpaceInit;
  /** Pixels in a row as shown, where the stored ones are not square; default: those of the picture. */
  squarePixelWidth?: number;
  /** Rows as shown; default: those of the picture. */
  squarePixelHeight?: number;
}

/** mediabunny's resource class over a lease: `new VideoSample(resource, { timestamp })`. */
export interface PooledSampleResource extends VideoSampleResource {
  /**
   * The lease; the resource's reference is released when the last sample over it is closed. Then it is over: everything
   * else, and another `new VideoSample` over it, throws `ERR_USE_AFTER_RELEASE`.
   */
  readonly buffer: MediaBuffer;
}

/** Makes resources of mediabunny over leases: its class is there only once the package is loaded. */
export interface PooledSampleResources {
  /**
   * A resource that takes over one reference of the lease when it resolves: do not release that one. Nothing is copied;
   * samples read the slot's own bytes, and `toRgbSample` converts them to plain memory (to sRGB, whatever is asked).
   *
   * Rejects with `ERR_UNSUPPORTED` where mediabunny is not installed, or has no samples in that pixel format,
   * `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` for a buffer whose layout is not known, `ERR_OUT_OF_RANGE` for one
   * that is too small, `ERR_USE_AFTER_RELEASE`. The lease is the caller's then.
   */
  create(buffer: MediaBuffer, options?: PooledSampleOptions): Promise<PooledSampleResource>;
}

/** Leases as the bytes of mediabunny's samples. */
export const PooledSampleResource: PooledSampleResources = Object.freeze({
  async create(buffer: MediaBuffer, options?: PooledSampleOptions): Promise<PooledSampleResource> {
    withMethods("buffer", "a MediaBuffer", buffer, ["map", "getMeta", "release"]);
    const given = readOptions("options", options, ["info", "colorSpace", "squarePixelWidth", "squarePixelHeight"]);
    const { info = buffer.getMeta(VideoMeta)?.info, colorSpace } = given;
    if (info === undefined) {
      throw new MillpondError(
        "ERR_INVALID_ARG_VALUE",
        "buffer must have a VideoMeta, or options.info must say how its picture lies; pooledSamples() and copyFrame() add one",
        { name: "buffer" },
      );
    }
    if (!(info instanceof VideoInfo)) throw wrongType("options.info", "a VideoInfo", info);
    const { squarePixelWidth = info.width, squarePixelHeight = info.height } = given;
    wholeNumber("options.squarePixelWidth", squarePixelWidth, 1);
    wholeNumber("options.squarePixelHeight", squarePixelHeight, 1);
    if (colorSpace !== undefined && (typeof colorSpace !== "object" || colorSpace === null)) {
      throw wrongType("options.colorSpace", "an object of color names", colorSpace);
    }
    assertHolds(buffer, info);
    const mediabunny = await importMediabunny();
    const { VIDEO_SAMPLE_PIXEL_FORMATS: formats } = mediabunny;
    if (!(formats as readonly string[]).includes(info.format)) {
      throw new MillpondError(
        "ERR_UNSUPPORTED",
        `mediabunny has no samples in ${info.format}; convert the picture first`,
        {
          format: info.format,
        },
      );
    }
    const colors = colorsOf(mediabunny, colorSpace);
    // It may have been released, or resized, while the package was loaded.
    assertHolds(buffer, info);
    return new (classFor(mediabunny))(buffer, info, colors, squarePixelWidth, squarePixelHeight);
  },
});

function assertHolds(buffer: MediaBuffer, info: VideoInfo): void {
  const { size } = buffer;
  if (size >= info.size) return;
  throw new MillpondError("ERR_OUT_OF_RANGE", `${info} does not fit into the ${size} bytes of the buffer`, {
    needed: info.size,
    size,
  });
}

function colorsOf(
  { VideoSampleColorSpace }: Mediabunny,
  given: VideoColorSpaceInit | undefined,
): VideoSampleColorSpace {
  try {
    return new VideoSampleColorSpace(given);
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw new MillpondError("ERR_INVALID_ARG_VALUE", `options.colorSpace: ${cause.message}`, {}, { cause });
  }
}

type ResourceClass = new (
  buffer: MediaBuffer,
  info: VideoInfo,
  colors: VideoSampleColorSpace,
  squarePixelWidth: number,
  squarePixelHeight: number,
) => PooledSampleResource;

/** One class for each copy of the package. */
const classes: WeakMap<Mediabunny, ResourceClass> = new WeakMap();

function classFor(mediabunny: Mediabunny): ResourceClass {
  const made = classes.get(mediabunny);
  if (made !== undefined) return made;
  const { VideoSample, VideoSampleResource } = mediabunny;
  class LeaseResource extends VideoSampleResource implements PooledSampleResource {
    readonly buffer: MediaBuffer;
    readonly #info: VideoInfo;
    readonly #colors: VideoSampleColorSpace;
    readonly #squareWidth: number;
    readonly #squareHeight: number;
    #isClosed = false;

    constructor(
      buffer: MediaBuffer,
      info: VideoInfo,
      colors: VideoSampleColorSpace,
      squareWidth: number,
      squareHeight: number,
    ) {
      super();
      this.buffer = buffer;
      this.#info = info;
      this.#colors = colors;
      this.#squareWidth = squareWidth;
      this.#squareHeight = squareHeight;
    }

    getFormat(): Exclude<VideoPixelFormat, "GRAY8"> {
      this.#assertOpen();
      return this.#info.format as Exclude<VideoPixelFormat, "GRAY8">;
    }

    getCodedWidth(): number {
      this.#assertOpen();
      return this.#info.width;
    }

    getCodedHeight(): number {
      this.#assertOpen();
      return this.#info.height;
    }

    getSquarePixelWidth(): number {
      this.#assertOpen();
      return this.#squareWidth;
    }

    getSquarePixelHeight(): number {
      this.#assertOpen();
      return this.#squareHeight;
    }

    getColorSpace(): VideoSampleColorSpace {
      this.#assertOpen();
      return this.#colors;
    }

    getDataPlanes(): { data: Uint8Array; stride: number }[] {
      this.#assertOpen();
      const info = this.#info;
      // mediabunny has read them when its own call returns, and the lease is its until close().
      const mapping = this.buffer.map("read");
      try {
        return info.planes.map(({ stride }, i) => ({ data: info.plane(mapping.bytes, i), stride }));
      } finally {
        mapping.unmap();
      }
    }

    async toRgbSample(init: {
      timestamp: number;
      duration?: number;
      rotation?: 0 | 90 | 180 | 270;
      flip?: boolean;
    }): Promise<VideoSample> {
      this.#assertOpen();
      const { FrameConverter } = await import("../../video/convert.ts");
      this.#assertOpen();
      const { width, height } = this.#info;
      const rgba = VideoInfo.of({ format: "RGBA", width, height });
      const { matrix, fullRange } = this.#colors;
      const converter = new FrameConverter(this.#info, rgba, {
        ...(matrix === null || matrix === "rgb" ? {} : { matrix }),
        ...(fullRange === null ? {} : { fullRange }),
      });
      const bytes = new Uint8Array(rgba.size);
      const mapping = this.buffer.map("read");
      try {
        converter.run(mapping.bytes, bytes);
      } finally {
        mapping.unmap();
      }
      return new VideoSample(bytes, { ...init, format: "RGBA", codedWidth: width, codedHeight: height });
    }

    close(): void {
      if (this.#isClosed) return;
      this.#isClosed = true;
      // Its pool may have been closed by force, or somebody has released a reference too many.
      if (this.buffer.isLive) releaseOrPass(this.buffer);
    }

    #assertOpen(): void {
      if (!this.#isClosed) return;
      throw new MillpondError(
        "ERR_USE_AFTER_RELEASE",
        "the resource was closed with the last sample over it; clone() a sample before, or create() a resource with a reference of its own",
      );
    }
  }
  classes.set(mediabunny, LeaseResource);
  return LeaseResource;
}
