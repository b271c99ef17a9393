/** Small stages: one that does nothing, one that takes everything, one that insists on a format. */
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { readOptions, wholeNumber } from "../../util/validate.ts";
import { checkName } from "../base/element.ts";
import { Sink } from "../base/sink.ts";
import { Transform } from "../base/transform.ts";
import { type Caps, checkCaps } from "../caps.ts";
import type { AllocationQuery } from "../negotiate/allocation-query.ts";

/** Passes every buffer through. */
export class Identity extends Transform {
  /** @param name for messages */
  constructor(name?: string) {
    super(name, { mode: "passthrough" });
  }
}

/** Passes buffers of certain formats through, so that the stages around it settle on one of them. */
export class CapsFilter extends Transform {
  /** @param caps what may pass. Throws `ERR_INVALID_ARG_TYPE`. */
  constructor(caps: Caps, name?: string) {
    checkCaps("caps", caps);
    super(name, { mode: "passthrough", input: caps, output: caps });
  }

  /** What may pass. */
  override get role(): string {
    return `only ${this.in.caps}`;
  }
}

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
    if (this.#kept.length > this.#retainedBuffers) this.#kept.shift()!.release();
  }

  /** Begins to count. */
  override start(): void {
    this.count = 0;
  }

  /** Releases what it keeps. */
  override onFlush(): void {
    for (const buffer of this.#kept.splice(0)) buffer.release();
  }

  /** Releases what it keeps. */
  override stop(): void {
    this.onFlush();
  }
}
