/**
 * Source: the base class of stages that buffers begin at. It settles the pool, waits for free buffers and pushes
 * them; a subclass says what comes next and fills it. After GStreamer's base source.
 *
 * ```ts
 * const BLOCKS = byteFormat(4096);      // once: a format is validated when it is made
 * class Ramp extends Source {
 *   #n = 0;
 *   next() { return this.#n < 100 ? BLOCKS : undefined; }                // undefined: the end
 *   fill(buffer: MediaBuffer) { buffer.bytes.fill(this.#n++); }
 * }
 * ```
 *
 * Life-cycle in a run: `start()`; `next()` gives the first format, and the pool is settled (`prepare()`). Then, for
 * each buffer, `next()`, a free buffer of the pool, `fill()`, and a push. The stream ends when `next()` gives undefined
 * or `fill()` false. A seek calls `onFlush()`, then `seek()`, and the loop begins again.
 *
 * Invariants: one buffer is being filled at a time, of a pool that was settled for the pad's format, and none when the
 * stage behind wants no more; a buffer that is not pushed is released, also when a hook throws.
 *
 * Complexity: a step is O(1) beside the hooks, and makes no promise when no hook and no stage downstream waits.
 */
import { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { releaseOrPass, releaseQuietly } from "../../media/buffer/release.ts";
import { stagesWatched, stageWaits, watchedCall } from "../../observe/stages.ts";
import { MillpondError } from "../../util/errors.ts";
import { isMade, wrongType } from "../../util/validate.ts";
import { Caps, type CapsScalar, checkCaps, type FixedCaps } from "../caps.ts";
import { checkFormat, isSettled, type StreamFormat } from "../stream-format.ts";
import { attachErrorSource, Element, TimeSlice, unreadableError } from "./element.ts";
import { DOWNSTREAM, type HookResult, type InputPad, type Maybe, type OutputPad } from "./pad.ts";

/** A stage that makes buffers. */
export abstract class Source extends Element {
  /** Its output. */
  readonly out: OutputPad;
  #upcoming: StreamFormat | undefined;
  #isPrepared = false;

  /** @param caps what it can make at all */
  constructor(name?: string, caps: Caps = Caps.any) {
    super(name);
    this.out = this.addOutput("out", caps);
  }

  /** Buffers that it retains after pushing them; they are added to the pool. Default 0. */
  get retainedBuffers(): number {
    return 0;
  }

  /**
   * Hook: the format of the next buffer, or undefined at the end of the stream. Called before every buffer; a format
   * unlike the one before is negotiated again, with a new pool.
   */
  abstract next(): Maybe<StreamFormat | undefined>;

  /**
   * Hook: writes the next buffer, whose bytes are of the format that {@link next} gave, with times and flags. False:
   * there is no buffer after all, the stream ends here. The buffer is the source's until the call, or its promise,
   * ends; it has at least the bytes of the format, and more where a stage downstream has asked for more: resize it when
   * the count matters.
   */
  fill?(buffer: MediaBuffer): Maybe<HookResult>;

  /**
   * Hook instead of {@link fill}: gives a buffer that exists already, with one reference, or undefined at the end. Such
   * a source settles no pool, unless {@link usesPool} says so.
   */
  create?(): Maybe<MediaBuffer | undefined>;

  /** Whether buffers of a settled pool are needed. Default: when there is no {@link create}. */
  get usesPool(): boolean {
    return this.create === undefined;
  }

  /** Hook: a seek to a place in the stream. The source says what a position is. */
  seek(_position: unknown): Maybe<void> {}

  /**
   * Settles one format out of what this source can make and what downstream takes, nearest to `prefer`.
   * Throws `ERR_NOT_NEGOTIATED` with both sides when there is nothing in common, `ERR_INVALID_ARG_TYPE`.
   */
  protected agree(mine: Caps, prefer: Readonly<Record<string, CapsScalar>> = {}): FixedCaps {
    checkCaps("mine", mine);
    return this.settling(() => this.#agree(mine, prefer));
  }

  #agree(mine: Caps, prefer: Readonly<Record<string, CapsScalar>>): FixedCaps {
    const theirs = this.out.wanted();
    const fixed = mine.intersect(this.out.caps).intersect(theirs).fixate(prefer);
    if (fixed !== undefined) return fixed;
    throw new MillpondError(
      "ERR_NOT_NEGOTIATED",
      `${this.out} can make ${mine}, and downstream takes ${theirs}; put a converter between them`,
    );
  }

  /**
   * @internal Opens the stream as far as its first format, and settles the pool; the pipeline calls it before any byte
   *   moves.
   */
  async prepare(): Promise<void> {
    const format = this.settling(() => this.next());
    const later = this.promiseOf("next", format);
    this.#upcoming =
      later === undefined
        ? (format as StreamFormat | undefined)
        : await this.bounded(later, "waiting for its first buffer");
    this.#isPrepared = true;
    if (this.#upcoming !== undefined) await this.#settle(this.#upcoming);
  }

  /** @internal */
  override get task(): () => Promise<void> {
    return () => this.#loop();
  }

  async #loop(): Promise<void> {
    const { out } = this;
    const slice = new TimeSlice(this.running.pace);
    while (!out.finished && !this.running.stopping) {
      if (out.flushing) return;
      const format = this.#isPrepared ? this.#upcoming : this.next();
      const later = this.promiseOf("next", format);
      this.#isPrepared = false;
      if (later !== undefined) stageWaits(this, "waits for its next buffer", later);
      const settled = later === undefined ? (format as StreamFormat | undefined) : await this.#coming(later);
      if (settled === undefined) break;
      if (out.flushing) return;
      if (out.needsReconfigure || !this.#isSettled(settled)) {
        for (let turn = this.turnDue; turn !== undefined; turn = this.turnDue) await turn;
        if (out.flushing) return;
        await this.#settle(settled);
        if (out.flushing) return;
      }
      // Nothing is made for a stage that wants no more; it may have said so meanwhile.
      if (out.finished) break;
      const step = this.create === undefined ? this.#fillOne() : this.#createOne();
      if ((typeof step === "boolean" ? step : await step) === false) break;
      for (let pause = slice.yieldIfNeeded(); pause !== undefined; pause = slice.yieldIfNeeded()) await pause;
    }
    if (out.flushing || this.running.stopping) return;
    await out.end();
  }

  #coming(next: Promise<StreamFormat | undefined>): Promise<StreamFormat | undefined> {
    return this.bounded(next, "waiting for its next buffer");
  }

  async #settle(format: StreamFormat): Promise<void> {
    const { out } = this;
    this.answeredWell(() => this.#checkHooks());
    await out.setFormat(this.checkedAnswer("next", format, (name) => checkFormat(name, format)));
    if (!this.answeredNow("usesPool", "true or false", this.usesPool)) out.needsReconfigure = false;
    else if (!out.finished) await out.negotiate(this.answeredCount("retainedBuffers", this.retainedBuffers));
  }

  /** What an iterator of the program's gave may be anything, and is checked where it is not the format in force. */
  #isSettled(format: StreamFormat): boolean {
    try {
      return isSettled(format, this.out.format);
    } catch (cause) {
      throw attachErrorSource(unreadableError(this.answerOf("next"), format, cause), this);
    }
  }

  /** Without the hook that makes buffers, the source is refused at its format. */
  #checkHooks(): void {
    const [name, hook]: [string, unknown] = this.create === undefined ? ["fill", this.fill] : ["create", this.create];
    if (typeof hook !== "function") throw wrongType(`${name}() of "${this.name}"`, "a function", hook);
  }

  #fillOne(): Maybe<boolean> {
    const buffer = this.out.acquire();
    if (buffer instanceof MediaBuffer) return this.#fillInto(buffer);
    return buffer.then((one) => this.#fillIfWanted(one));
  }

  #fillIfWanted(buffer: MediaBuffer): Maybe<boolean> {
    if (!this.out.finished) return this.#fillInto(buffer);
    releaseOrPass(buffer);
    return false;
  }

  #fillInto(buffer: MediaBuffer): Maybe<boolean> {
    let filled: Maybe<HookResult>;
    let later: Promise<HookResult> | undefined;
    try {
      filled = stagesWatched ? watchedCall(this, "fill", this.fill!, buffer) : this.fill!(buffer);
      // In here: what a hook answers may throw when it is asked whether it has a `then`.
      later = this.promiseOf("fill", filled);
    } catch (error) {
      releaseQuietly(buffer);
      throw error;
    }
    if (later !== undefined) return this.#fillLater(buffer, later);
    if (filled === false) {
      releaseOrPass(buffer);
      return false;
    }
    const pushed = this.out.push(buffer);
    if (pushed === undefined) return true;
    stageWaits(this, DOWNSTREAM, pushed);
    return pushed.then(() => true);
  }

  async #fillLater(buffer: MediaBuffer, filling: Promise<HookResult>): Promise<boolean> {
    let filled: HookResult;
    try {
      filled = await this.bounded(filling, "filling a buffer");
    } catch (error) {
      releaseQuietly(buffer);
      throw error;
    }
    if (filled === false) {
      releaseOrPass(buffer);
      return false;
    }
    await this.#pushed(this.out.push(buffer));
    return true;
  }

  #pushed(pushed: Maybe<void>): Maybe<void> {
    if (pushed !== undefined) stageWaits(this, DOWNSTREAM, pushed);
    return pushed;
  }

  #checkBuffer(buffer: MediaBuffer): void {
    if (isMade(MediaBuffer, buffer, "slot")) return;
    const name = this.answerOf("create");
    throw attachErrorSource(wrongType(name, "a MediaBuffer or undefined", buffer), this);
  }

  async #createOne(): Promise<boolean> {
    const created = stagesWatched ? watchedCall(this, "create", this.create!) : this.create!();
    const later = this.promiseOf("create", created);
    const buffer =
      later === undefined ? (created as MediaBuffer | undefined) : await this.bounded(later, "making a buffer");
    if (buffer === undefined) return false;
    this.#checkBuffer(buffer);
    await this.#pushed(this.out.push(buffer));
    return true;
  }

  /** Downstream wants nothing more: ends the wait for what comes next. */
  override outputFinished(): void {
    this.callHook("unlock", () => this.unlock());
  }

  /** Others may not change what it retains. */
  override sharesOutput(): boolean {
    return this.answeredCount("retainedBuffers", this.retainedBuffers) > 0;
  }

  /** A source has no input. */
  override chain(buffer: MediaBuffer, pad: InputPad): void {
    releaseOrPass(buffer);
    throw new MillpondError("ERR_UNSUPPORTED", `${pad} is not an input of a source`);
  }

  /** A source has no input. */
  override formatChanged(): void {}

  /** A source has no input. */
  override onEos(): void {}

  /** Forgets what was to come next. Subclasses that override it call it. */
  override onFlush(): void {
    this.#isPrepared = false;
    this.#upcoming = undefined;
  }

  /** Forgets what was to come next. Subclasses that override it call it. */
  override stop(): Maybe<void> {
    this.#isPrepared = false;
    this.#upcoming = undefined;
  }

  /** Makes what {@link next} and {@link fill} say. */
  override get role(): string {
    return this.create === undefined ? "fills buffers of its pool" : "pushes buffers that exist already";
  }
}
