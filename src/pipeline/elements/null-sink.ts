/**
 * NullSink: takes every buffer and does nothing with it; it may retain the last few, as a stage does that looks back.
 */
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { releaseAll, releaseOrPass } from "../../media/buffer/release.ts";
import { readOptions, wholeNumber } from "../../util/validate.ts";
import { checkName } from "../base/element.ts";
import type { Maybe } from "../base/pad.ts";
import { Sink } from "../base/sink.ts";
import type { AllocationQuery } from "../negotiate/allocation-query.ts";

/** How a {@link NullSink} is made. */
export interface NullSinkOptions {
  /** For messages. */
  name?: string;
  /** Buffers that it keeps, to stand for a stage that does; default 0. */
  retainedBuffers?: number;
  /** Ends the stream after so many buffers; default: never. */
  limit?: number;
}

/** Takes every buffer and does nothing with it. */
export class NullSink extends Sink {
  /** Buffers so far. */
  count = 0;
  readonly #retainedBuffers: number;
  readonly #limit: number;
  readonly #kept: MediaBuffer[] = [];

  /** Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`. */
  constructor(options: NullSinkOptions = {}) {
    const { name, retainedBuffers = 0, limit } = readOptions("options", options, ["name", "retainedBuffers", "limit"]);
    super(checkName("options.name", name));
    this.#retainedBuffers = wholeNumber("options.retainedBuffers", retainedBuffers, 0, 4096);
    this.#limit = limit === undefined ? Infinity : wholeNumber("options.limit", limit, 1);
  }

  /** As it was told. */
  override get retainedBuffers(): number {
    return this.#retainedBuffers;
  }

  /** Understands every meta that it is asked about: none of them changes what it does. */
  override proposeAllocation(query: AllocationQuery): boolean {
    query.raise(this.#retainedBuffers, "retained");
    return true;
  }

  /** Counts. */
  override render(buffer: MediaBuffer): void {
    this.count++;
    if (this.count === this.#limit) this.requestEos();
    if (this.#retainedBuffers === 0) return;
    this.#kept.push(buffer.retain());
    if (this.#kept.length > this.#retainedBuffers) releaseOrPass(this.#kept.shift()!);
  }

  /** Begins to count. */
  override start(): void {
    this.count = 0;
  }

  /** Releases what it keeps. */
  override onFlush(): void {
    releaseAll(this.#kept.splice(0));
  }

  /** Releases what it keeps. */
  override stop(): Maybe<void> {
    // An override may be async.
    return this.onFlush() as Maybe<void>;
  }
}
