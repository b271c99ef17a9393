/**
 * FrameSlots: the slots that the frames of a stream go to. Either a pool of the caller's, whose format may have padded
 * rows, or a pool of its own, made when the first frame says how large it is.
 *
 * Life: {@link FrameSlots.fill} for each frame; {@link FrameSlots.end} once, which retires a pool of its own: it goes
 * with the last lease.
 *
 * Invariant: a lease leaves `fill` with a whole frame in it, or goes back to its pool.
 *
 * Complexity: a frame costs one copy of its bytes, in one run where its rows are packed, else row by row.
 */

import type { MediaBuffer } from "../../../media/buffer/media-buffer.ts";
import { releaseOrPass } from "../../../media/buffer/release.ts";
import type { FrameLayout } from "../../../media/video/frame-layout.ts";
import { BufferPool } from "../../../pools/buffer/buffer-pool.ts";
import { MillpondError } from "../../../util/errors.ts";
import { instance, wholeNumber } from "../../../util/validate.ts";
import { endOf, pictureOf, type Run, runsOf } from "../../raw-video/frame-runs.ts";
import { layoutFor } from "../../raw-video/layout.ts";
import type { RawFrame } from "../../raw-video/source.ts";

/** A pool, or how many frames a pool of its own has. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. */
export function checkFramePool(name: string, pool: BufferPool | number): BufferPool | number {
  return typeof pool === "number"
    ? wholeNumber(name, pool, 1)
    : instance(name, "a BufferPool or a count", BufferPool, pool);
}

export class FrameSlots {
  readonly #given: BufferPool | number;
  #pool: BufferPool | undefined;
  #layout: FrameLayout | undefined;
  #runs: readonly Run[] = [];

  constructor(given: BufferPool | number) {
    this.#given = given;
    if (typeof given !== "number") this.#pool = given;
  }

  /** The pool; undefined until a pool of its own is made. */
  get pool(): BufferPool | undefined {
    return this.#pool;
  }

  /** How a frame lies in its slot; undefined until the first frame. */
  get layout(): FrameLayout | undefined {
    return this.#layout;
  }

  /** How the frames that the pool is configured for lie in a stream; undefined where it does not say what it is for. */
  get packed(): FrameLayout | undefined {
    const layout = layoutOf(this.#pool?.config?.format);
    return layout && layoutFor(layout.format, layout.width, layout.height);
  }

  /**
   * Waits for a slot and reads the frame into it; undefined when the stream ends inside the frame. Rejects with what
   * `acquire` and the stream reject with, and `ERR_OUT_OF_RANGE` when a frame does not fit.
   */
  async fill(frame: RawFrame, acquire: (pool: BufferPool) => Promise<MediaBuffer>): Promise<MediaBuffer | undefined> {
    const buffer = await acquire(this.#poolFor(frame.layout));
    try {
      if (!(await frame.copyRuns(this.#bytesOf(buffer, frame.layout), this.#runs))) {
        releaseOrPass(buffer);
        return undefined;
      }
      buffer.pts = frame.pts;
      buffer.duration = frame.duration;
      return buffer;
    } catch (error) {
      // Throws when the pool was closed by force while the bytes came: that is the reason, whatever the copy made of
      // it.
      buffer.live("fill");
      releaseOrPass(buffer);
      throw error;
    }
  }

  /** Retires a pool of its own. A second call does nothing. */
  end(): void {
    if (typeof this.#given === "number") this.#pool?.retire();
  }

  #poolFor(frame: FrameLayout): BufferPool {
    if (this.#layout !== undefined) return this.#pool!;
    const layout = layoutOf(this.#pool?.config?.format) ?? frame;
    const runs = runsOf(frame, layout);
    if (typeof this.#given === "number") {
      this.#pool = BufferPool.create({ name: "frames", size: layout.size, max: this.#given, format: layout });
    }
    this.#runs = runs;
    this.#layout = layout;
    return this.#pool!;
  }

  #bytesOf(buffer: MediaBuffer, frame: FrameLayout): Uint8Array {
    const needed = endOf(this.#runs);
    const { bytes } = buffer;
    if (bytes.length >= needed) return bytes;
    throw new MillpondError(
      "ERR_OUT_OF_RANGE",
      `a frame of ${pictureOf(frame)} takes ${needed} bytes, and the pool's buffers have ${bytes.length}; ` +
        "configure the pool for the largest frame",
    );
  }
}

/** A `VideoInfo`, or the plain data of one, as pools have it for a format; undefined for anything else. */
export function layoutOf(format: unknown): FrameLayout | undefined {
  if (typeof format !== "object" || format === null) return undefined;
  const layout = format as Partial<FrameLayout>;
  if (typeof layout.format !== "string" || !isCount(layout.width) || !isCount(layout.height) || !isCount(layout.size)) {
    return undefined;
  }
  const planes: unknown = layout.planes;
  if (!Array.isArray(planes) || !planes.every((plane) => isCount(plane?.offset) && isCount(plane?.stride))) {
    return undefined;
  }
  return layout as FrameLayout;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0;
}
