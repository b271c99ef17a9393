/**
 * Sink: the base class of stages that buffers end at. A subclass reads each buffer in `render`. It may retain some of
 * them, and says in `retainedBuffers` how many, so that the pool has room for them. After GStreamer's base sink.
 *
 * Life-cycle in a run: `start()`, `configure()` for each format, `render()` for each buffer, `finish()` at the end of
 * the stream or after `requestEos()`, `stop()`.
 *
 * Invariants: a buffer is released exactly once after `render()`, also when that throws; with `keepLast` the last one
 * is released by the next.
 *
 * Complexity: O(1) beside the hooks.
 */
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { releaseOrPass, releaseQuietly } from "../../media/buffer/release.ts";
import { stagesWatched, watchedCall } from "../../observe/stages.ts";
import type { MillpondError } from "../../util/errors.ts";
import { flag, readOptions, wrongType } from "../../util/validate.ts";
import type { Caps } from "../caps.ts";
import type { AllocationQuery } from "../negotiate/allocation-query.ts";
import type { StreamFormat } from "../stream-format.ts";
import { attachErrorSource, Element, type WaitBounds } from "./element.ts";
import type { InputPad, Maybe } from "./pad.ts";

/** The end of a long file may take this many times as long as a buffer may. */
const FINISH_BOUNDS: WaitBounds = { times: 10 };

/** How a sink is made. */
export interface SinkOptions {
  /** Keep the last buffer that was rendered, for a snapshot; it is one more that is held. Default false. */
  keepLast?: boolean;
}

/** A stage that takes buffers and gives none. */
export abstract class Sink extends Element {
  /** Its input. */
  readonly in: InputPad;
  readonly #keepLast: boolean;
  #last: MediaBuffer | undefined;

  /** @param caps what it takes. Throws `ERR_INVALID_ARG_*`. */
  constructor(name?: string, caps?: Caps, options: SinkOptions = {}) {
    super(name);
    this.in = this.addInput("in", caps);
    this.#keepLast = flag("options.keepLast", readOptions("options", options, ["keepLast"]).keepLast, false);
  }

  /** Buffers that it retains across calls of {@link render}; they are added to the pool upstream. Default 0. */
  get retainedBuffers(): number {
    return 0;
  }

  /** The last buffer; undefined without `keepLast`. Retain or copy it to use it later: the next buffer releases it. */
  get lastBuffer(): MediaBuffer | undefined {
    return this.#last;
  }

  /** Hook: a buffer, valid until the call, or its promise, ends. It may be shared, so map it for reading. */
  abstract render(buffer: MediaBuffer): Maybe<void>;

  /** Hook: what comes from now on. Throw to refuse. */
  configure(_format: StreamFormat): Maybe<void> {}

  /** Hook: the stream is over and everything was rendered. */
  finish(): Maybe<void> {}

  /** Wants nothing more; the rest of the stream is not made, unless others want it. {@link finish} follows. */
  protected requestEos(): void {
    this.in.finish();
  }

  /** @internal */
  override get boundsChain(): boolean {
    return this.chain === Sink.prototype.chain;
  }

  /** Renders, then releases the buffer. */
  override chain(buffer: MediaBuffer): Maybe<void> {
    let rendering: Promise<void> | undefined;
    try {
      if (typeof this.render !== "function") throw this.#missingHook();
      const rendered = stagesWatched ? watchedCall(this, "render", this.render, buffer) : this.render(buffer);
      if (rendered !== undefined) rendering = this.promiseOf("render", rendered);
    } catch (error) {
      releaseQuietly(buffer);
      throw attachErrorSource(error, this);
    }
    if (rendering === undefined) {
      if (this.#keepLast) this.#keep(buffer);
      else releaseOrPass(buffer);
      return undefined;
    }
    return this.#later(buffer, rendering);
  }

  async #later(buffer: MediaBuffer, rendering: Promise<void>): Promise<void> {
    const { runningOrNull: run } = this;
    const wait = run?.beginWait(this, "handling a buffer");
    try {
      await rendering;
    } catch (error) {
      releaseQuietly(buffer);
      throw attachErrorSource(error, this);
    } finally {
      run?.endWait(wait);
    }
    if (this.#keepLast) this.#keep(buffer);
    else releaseOrPass(buffer);
  }

  #keep(buffer: MediaBuffer): void {
    const before = this.#last;
    this.#last = buffer;
    if (before !== undefined) releaseOrPass(before);
  }

  #dropLast(): void {
    const last = this.#last;
    this.#last = undefined;
    if (last !== undefined) releaseOrPass(last);
  }

  /** Takes the format to {@link configure}. */
  override formatChanged(format: StreamFormat): Maybe<void> {
    if (this.boundsChain && typeof this.render !== "function") throw this.#missingHook();
    const configured = this.answeredWell(() => this.promiseOf("configure", this.configure(format)));
    return configured === undefined ? undefined : this.#configured(configured);
  }

  /** A sink without the hook is refused at the format; one with a chain() of its own where that needs it. */
  #missingHook(): MillpondError {
    return attachErrorSource(wrongType(`render() of "${this.name}"`, "a function", this.render), this);
  }

  async #configured(configuring: Promise<void>): Promise<void> {
    try {
      await this.bounded(configuring, "preparing for its format");
    } catch (error) {
      throw attachErrorSource(error, this);
    }
  }

  /** Finishes, and tells the pipeline. */
  override async onEos(): Promise<void> {
    try {
      const finished = this.promiseOf("finish", this.finish());
      // A disk may take minutes to store what the system has kept back of a long film.
      if (finished !== undefined) await this.bounded(finished, "finishing at the end of the stream", FINISH_BOUNDS);
    } catch (error) {
      throw attachErrorSource(error, this);
    }
    this.running.sinkDone(this);
  }

  /**
   * Says how many buffers it retains. The kept last one becomes a copy first: it would pin a buffer of the pool that is
   * about to be left. Subclasses call this and add pools, params and metas.
   */
  override proposeAllocation(query: AllocationQuery, _pad: InputPad): Maybe<boolean> {
    if (this.#last !== undefined && this.#last.pool !== null) {
      const before = this.#last;
      this.#last = before.copy({ deep: true });
      releaseOrPass(before);
    }
    const retained = this.answeredCount("retainedBuffers", this.retainedBuffers);
    query.raise(retained, "retained");
    if (this.#keepLast) query.raise(1, "its last buffer");
    return retained > 0 || this.#keepLast;
  }

  /** Releases the last buffer. Subclasses that override it call `super`. */
  override onFlush(): void {
    this.#dropLast();
  }

  /** Releases the last buffer. Subclasses that override it call `super`. */
  override stop(): Maybe<void> {
    this.#dropLast();
  }

  /** Takes buffers. */
  override get role(): string {
    const retained = this.answeredCount("retainedBuffers", this.retainedBuffers);
    return retained > 0 ? `retains up to ${retained}` : "takes buffers";
  }
}
