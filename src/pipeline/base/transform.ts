/**
 * Transform: the base class of stages with one input and one output, in one of three ways.
 *
 * - passthrough: the buffer itself goes on, untouched. It asks for no memory; questions from upstream go on downstream.
 * - in place: the buffer is changed and goes on, and questions go on as above. Behind a tee other stages read the same
 *   buffer, so the stage works on a copy out of a pool of its own.
 * - copy: a buffer of another size or format is taken from a pool of its own and filled.
 *
 * After GStreamer's base transform, and DirectShow's rule for in-place filters behind a read-only connection.
 *
 * Life-cycle in a run: a format calls `drain()` (but for the first one), `outputFor()` and `configure()`, goes on
 * downstream, and settles a pool where the mode needs one. Then each buffer calls the hook of the mode. The end of the
 * stream calls `drain()`.
 *
 * Invariants: an input buffer is pushed or released exactly once, also when a hook throws. A buffer that others may
 * read is never changed.
 *
 * Complexity: O(1) beside the hooks; passthrough without `inspect()` is one push.
 */
import { CopyFlags } from "../../media/buffer/flags.ts";
import { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { releaseOrDrop, releaseOrPass, releaseQuietly } from "../../media/buffer/release.ts";
import { findMetaTags, TAG_MEMORY, TAG_MEMORY_REFERENCE } from "../../media/meta/meta.ts";
import { stagesWatched, watchedCall } from "../../observe/stages.ts";
import type { MillpondError } from "../../util/errors.ts";
import { oneOf, readOptions, wrongType } from "../../util/validate.ts";
import { type Caps, checkCaps } from "../caps.ts";
import type { AllocationQuery, MetaProposal } from "../negotiate/allocation-query.ts";
import { dropPool } from "../negotiate/pool.ts";
import { checkFormat, type StreamFormat } from "../stream-format.ts";
import { attachErrorSource, Element } from "./element.ts";
import type { HookResult, InputPad, Maybe, OutputPad } from "./pad.ts";

/** How a {@link Transform} treats buffers. */
export type TransformMode = "passthrough" | "in-place" | "copy";

const MODES: readonly TransformMode[] = ["passthrough", "in-place", "copy"];

/** The hook that gets the buffers. */
const HOOK_OF = { passthrough: "inspect", "in-place": "transformInPlace", copy: "transform" } as const;

/** What both pads can take and make at all, and how. */
export interface TransformOptions {
  /** What comes in; default: anything. */
  input?: Caps;
  /** What goes out; default: anything. */
  output?: Caps;
  /** How, until {@link Transform.configure} says otherwise; default "copy". */
  mode?: TransformMode;
}

/** A stage with one input and one output. */
export abstract class Transform extends Element {
  /** Its input. */
  readonly in: InputPad;
  /** Its output. */
  readonly out: OutputPad;
  #mode: TransformMode;
  /** In place, but into a copy: other stages look at the input. */
  #copiesFirst = false;
  #kept: readonly MetaProposal[] = [];
  #isNegotiated = false;
  /** Bytes of the largest buffer of this format that was changed on a copy: one may have more than its format says. */
  #largest = 0;

  /** Names are unique in a pipeline. Throws `ERR_INVALID_ARG_*`. */
  constructor(name?: string, options: TransformOptions = {}) {
    super(name);
    const { input, output, mode = "copy" } = readOptions("options", options, ["input", "output", "mode"]);
    this.in = this.addInput("in", input === undefined ? input : checkCaps("options.input", input));
    this.out = this.addOutput("out", output === undefined ? output : checkCaps("options.output", output));
    this.#mode = oneOf("options.mode", mode, MODES);
  }

  /** How it treats buffers now. */
  get mode(): TransformMode {
    return this.#mode;
  }

  /** True when it works in place on copies, because others hold the buffers that come. */
  get copiesFirst(): boolean {
    return this.#copiesFirst;
  }

  /** Input buffers that it retains across calls; they are added to the pool upstream. Default 0. */
  get retainedBuffers(): number {
    return 0;
  }

  /** Output buffers that it retains after pushing them; they are added to its own pool. Default 0. */
  get retainedOutputBuffers(): number {
    return 0;
  }

  /** Hook: what it makes of an input format, within what downstream takes. Default: the same. Throw to refuse. */
  outputFor(input: StreamFormat, _downstream: Caps): Maybe<StreamFormat> {
    return input;
  }

  /** Hook: the input formats with which something can be made that is in `downstream`. Default: those same formats. */
  inputsFor(downstream: Caps): Caps {
    return downstream;
  }

  /**
   * Hook: both formats are settled; prepares, and says how buffers are treated with them (nothing: as before). A mode
   * whose hook is not there fails the run with `ERR_INVALID_ARG_TYPE`, before a buffer comes.
   */
  // biome-ignore lint/suspicious/noConfusingVoidType: a hook without a return statement is the usual one.
  configure(_input: StreamFormat, _output: StreamFormat): Maybe<TransformMode | undefined | void> {}

  /**
   * Hook of "copy": reads one buffer, which is valid during the call and may be shared, and fills the other. False:
   * nothing comes out of this one.
   */
  transform?(input: MediaBuffer, output: MediaBuffer): Maybe<HookResult>;

  /** Hook of "in-place": changes the buffer. False: it goes no further. */
  transformInPlace?(buffer: MediaBuffer): Maybe<HookResult>;

  /** Hook of "passthrough": may look. False: it goes no further. */
  inspect?(buffer: MediaBuffer): Maybe<HookResult>;

  /** Hook: the end of the stream, or of a format; pushes what is still held. */
  drain(): Maybe<void> {}

  /**
   * Hook of "copy": whether a meta that downstream understands is copied to the output, and may therefore be sent here.
   * Metas that depend on the memory are never asked about: the memory is another. Default: no.
   */
  keepsMeta(_api: string, _params: MetaProposal["params"]): boolean {
    return false;
  }

  /** @internal */
  override get boundsChain(): boolean {
    return this.chain === Transform.prototype.chain;
  }

  /** Treats one buffer as the mode says. */
  override chain(buffer: MediaBuffer): Maybe<void> {
    if (this.#mode === "passthrough") {
      if (this.inspect === undefined) return this.out.push(buffer);
      return this.#apply(buffer, "inspect");
    }
    // What is no buffer is refused where it is copied.
    if (this.#mode === "in-place" && !this.#copiesFirst && buffer?.isWritable === true) {
      return this.#apply(buffer, "transformInPlace");
    }
    return this.#copy(buffer);
  }

  #apply(buffer: MediaBuffer, name: "inspect" | "transformInPlace"): Maybe<void> {
    let done: Maybe<HookResult>;
    let later: Promise<HookResult> | undefined;
    try {
      const hook = this[name];
      if (typeof hook !== "function") throw this.#missingHook();
      done = stagesWatched ? watchedCall(this, name, hook, buffer) : hook.call(this, buffer);
      // In here: what a hook answers may throw when it is asked whether it has a `then`.
      later = this.promiseOf(name, done);
    } catch (error) {
      releaseQuietly(buffer);
      throw attachErrorSource(error, this);
    }
    if (later !== undefined) return this.#applyLater(buffer, later);
    if (done !== false) return this.out.push(buffer);
    releaseOrPass(buffer);
    return undefined;
  }

  async #applyLater(buffer: MediaBuffer, work: Promise<HookResult>): Promise<void> {
    let done: HookResult;
    try {
      done = await this.bounded(work, "working on a buffer");
    } catch (error) {
      releaseQuietly(buffer);
      throw attachErrorSource(error, this);
    }
    if (done === false) releaseOrPass(buffer);
    else await this.out.push(buffer);
  }

  #copy(input: MediaBuffer): Maybe<void> {
    if (!(input instanceof MediaBuffer)) throw attachErrorSource(wrongType("buffer", "a MediaBuffer", input), this);
    // A pool may be missing here when a stage upstream retains a buffer without having said so.
    if (this.out.decision === null || this.out.needsReconfigure || this.#isTooLarge(input))
      return this.#copyLater(input, this.#settle());
    let output: Maybe<MediaBuffer>;
    try {
      output = this.out.acquire();
    } catch (error) {
      releaseQuietly(input);
      throw attachErrorSource(error, this);
    }
    if (!(output instanceof MediaBuffer)) return this.#copyLater(input, output);
    let done: Maybe<HookResult>;
    let later: Promise<HookResult> | undefined;
    try {
      done = this.#fill(input, output);
      later = this.promiseOf(HOOK_OF[this.#mode], done);
    } catch (error) {
      releaseQuietly(input, output);
      throw attachErrorSource(error, this);
    }
    if (later !== undefined) return this.#finishLater(input, output, later, undefined);
    releaseOrDrop(input, output);
    if (done !== false) return this.out.push(output);
    releaseOrPass(output);
    return undefined;
  }

  /** A copy has all bytes of the buffer, whatever the format says: the pool has to have room for them. */
  #isTooLarge(input: MediaBuffer): boolean {
    if (this.#mode === "copy" || input.size <= this.out.decision!.size) return false;
    this.#largest = Math.max(this.#largest, input.size);
    return true;
  }

  async #settle(): Promise<MediaBuffer> {
    await this.#negotiate();
    return this.out.acquire();
  }

  async #copyLater(input: MediaBuffer, coming: Promise<MediaBuffer>): Promise<void> {
    let output: MediaBuffer | undefined;
    let done: Maybe<HookResult>;
    let later: Promise<HookResult> | undefined;
    try {
      output = await coming;
      done = this.#fill(input, output);
      later = this.promiseOf(HOOK_OF[this.#mode], done);
    } catch (error) {
      releaseQuietly(input, output);
      throw attachErrorSource(error, this);
    }
    await this.#finishLater(input, output, later, done as HookResult);
  }

  /** With a promise, what that gives counts. */
  async #finishLater(
    input: MediaBuffer,
    output: MediaBuffer,
    work: Promise<HookResult> | undefined,
    answer: HookResult,
  ): Promise<void> {
    let done = answer;
    try {
      if (work !== undefined) done = await this.bounded(work, "working on a buffer");
    } catch (error) {
      releaseQuietly(input, output);
      throw attachErrorSource(error, this);
    }
    releaseOrDrop(input, output);
    if (done === false) releaseOrPass(output);
    else await this.out.push(output);
  }

  #fill(input: MediaBuffer, output: MediaBuffer): Maybe<HookResult> {
    if (typeof this[HOOK_OF[this.#mode]] !== "function") throw this.#missingHook();
    if (this.#mode === "copy") {
      output.copyFrom(input, CopyFlags.FLAGS | CopyFlags.TIMESTAMPS);
      if (this.#kept.length > 0) this.#copyMetas(input, output);
      if (stagesWatched) return watchedCall(this, "transform", this.transform!, input, output);
      return this.transform!(input, output);
    }
    const from = input.map("read");
    try {
      output.resize(0, from.bytes.length);
      output.fill(0, from.bytes);
    } finally {
      from.unmap();
    }
    output.copyFrom(input, CopyFlags.FLAGS | CopyFlags.TIMESTAMPS | CopyFlags.META);
    if (stagesWatched) return watchedCall(this, "transformInPlace", this.transformInPlace!, output);
    return this.transformInPlace!(output);
  }

  #copyMetas(input: MediaBuffer, output: MediaBuffer): void {
    const data = { partial: false, offset: 0, size: input.size };
    for (const meta of input.metas()) {
      if (!this.#kept.some((kept) => kept.api === meta.api)) continue;
      meta.type.spec.transform?.(output, meta as never, input, "copy", data);
    }
  }

  /** Settles the output's format, then, where buffers of its own are needed, their pool. */
  override async formatChanged(format: StreamFormat): Promise<void> {
    const { out } = this;
    // What is held is of the format before, and has to be gone before the new one is in force.
    if (out.format !== null) await this.#drained();
    // Not asked for a stage that looks at no caps: in a line of n stages, n questions would go through all of the rest.
    const isSame = this.outputFor === Transform.prototype.outputFor;
    if (!isSame) for (let turn = this.turnDue; turn !== undefined; turn = this.turnDue) await this.inLine(turn);
    const output = isSame ? format : await this.#chooseOutput(format);
    const configured: unknown = this.configure(format, output);
    const preparing = this.promiseOf("configure", configured);
    const mode = preparing === undefined ? configured : await this.bounded(preparing, "preparing for its format");
    const copied = this.#isNegotiated && (this.#mode === "copy" || this.#copiesFirst);
    this.#mode = this.answeredWell(() => this.#checkMode(mode));
    this.#largest = 0;
    // Once on copies, always on copies: pools upstream were made without what is held downstream of here.
    this.#copiesFirst = this.#mode === "in-place" && (copied || this.in.isShared);
    if (copied && this.#mode === "passthrough") this.in.reconfigure();
    await out.setFormat(output);
    if (out.finished) return;
    if (this.#mode === "copy" || this.#copiesFirst) await this.#negotiate();
    else this.#dropSupply();
    this.#isNegotiated = true;
  }

  #negotiate(): Promise<void> {
    return this.out.negotiate(this.answeredCount("retainedOutputBuffers", this.retainedOutputBuffers));
  }

  #chooseOutput(format: StreamFormat): Maybe<StreamFormat> {
    const made = this.settling(() => this.outputFor(format, this.out.peerCaps()));
    const choosing = this.promiseOf("outputFor", made);
    if (choosing === undefined) return this.#checkOutput(made as StreamFormat);
    return this.bounded(choosing, "choosing its output format").then((chosen) => this.#checkOutput(chosen));
  }

  #checkOutput(output: StreamFormat): StreamFormat {
    return this.checkedAnswer("outputFor", output, (name) => checkFormat(name, output));
  }

  /** A mode whose hook is not there is refused at the format, and not at the first buffer. */
  #checkMode(answer: unknown): TransformMode {
    const mode = answer === undefined ? this.#mode : oneOf(this.answerOf("configure"), answer, MODES);
    // What a stage does that has a chain() of its own is not known.
    if (!this.boundsChain) return mode;
    const hook: unknown = this[HOOK_OF[mode]];
    if (typeof hook === "function" || (mode === "passthrough" && hook === undefined)) return mode;
    throw this.#missingHook(mode, answer === undefined ? undefined : `configure() answered "${mode}"`);
  }

  /** Also for a chain() of the stage's own that leaves buffers to the one here. */
  #missingHook(mode: TransformMode = this.#mode, why = `its mode is "${mode}"`): MillpondError {
    const name = HOOK_OF[mode];
    return wrongType(`${name}() of "${this.name}"`, `a function, since ${why}`, this[name]);
  }

  #drained(): Maybe<void> {
    const draining = this.promiseOf("drain", this.drain());
    return draining === undefined ? undefined : this.bounded(draining, "giving out what it still holds");
  }

  #retained(): number {
    return this.answeredCount("retainedBuffers", this.retainedBuffers);
  }

  #dropSupply(): void {
    const { out } = this;
    this.#kept = [];
    if (out.pool === null) return;
    dropPool(out.pool, out);
    out.pool = null;
    out.decision = null;
  }

  /** Drains, then passes the end on. */
  override async onEos(): Promise<void> {
    await this.#drained();
    await this.out.end();
  }

  /** Within its own caps, what {@link inputsFor} says. */
  override acceptedCaps(pad: InputPad): Caps {
    return this.answeredCaps("inputsFor", this.inputsFor(this.out.peerCaps())).intersect(pad.caps);
  }

  /**
   * Passthrough and in place: downstream is asked, since it is downstream that gets these buffers, and what is held
   * here is added. Copy: only metas that are kept, and what is held here; downstream never sees these buffers.
   */
  override proposeAllocation(query: AllocationQuery): Maybe<boolean> {
    if (this.#mode === "copy" || this.#copiesFirst) {
      if (!this.#isNegotiated) return false;
      for (const meta of this.#kept) query.addMeta(meta.api, meta.params);
      query.raise(this.#retained(), "retained");
      return true;
    }
    const asked = this.out.query(query);
    if (typeof asked === "boolean") return this.#addHolds(query, asked);
    return asked.then((answered) => this.#addHolds(query, answered));
  }

  #addHolds(query: AllocationQuery, answered: boolean): boolean {
    query.answering = this.name;
    const retained = this.#retained();
    query.raise(retained, "retained");
    return answered || retained > 0;
  }

  /** Metas that depend on the memory, and those that are not kept, are not for upstream to send. */
  override decideAllocation(query: AllocationQuery, _pad: OutputPad): void {
    if (this.#mode !== "copy") {
      query.enlarge(this.#largest);
      return;
    }
    for (let i = query.metas.length - 1; i >= 0; i--) {
      const { api, params } = query.metas[i]!;
      if (isMemoryMeta(api) || !this.#keeps(api, params)) query.removeMeta(i);
    }
    this.#kept = query.metas.slice();
  }

  #keeps(api: string, params: MetaProposal["params"]): boolean {
    return this.answeredNow("keepsMeta", "true or false", this.keepsMeta(api, params));
  }

  /** A buffer that is passed on is shared when it came shared, or is kept here; a copy when its output is kept. */
  override sharesOutput(): boolean {
    if (this.#mode === "copy" || this.#copiesFirst)
      return this.answeredCount("retainedOutputBuffers", this.retainedOutputBuffers) > 0;
    return this.#retained() > 0 || this.in.isShared;
  }

  /** A stage with a pool of its own negotiates again; otherwise the stage upstream does. */
  override reconfigureRequested(pad: OutputPad): void {
    if (this.#mode === "copy" || this.#copiesFirst) pad.needsReconfigure = true;
    else this.in.reconfigure();
  }

  /** `in place`. */
  override get role(): string {
    if (this.#copiesFirst) return "in place on copies, since others hold the buffers that come";
    return this.#mode === "copy"
      ? "fills buffers of its own"
      : this.#mode === "in-place"
        ? "in place"
        : "passes through";
  }
}

function isMemoryMeta(api: string): boolean {
  const tags = findMetaTags(api) ?? [];
  return tags.includes(TAG_MEMORY) || tags.includes(TAG_MEMORY_REFERENCE);
}
