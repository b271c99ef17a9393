/**
 * Pipeline: elements, linked to a graph without cycles and run together. After GStreamer's GstPipeline.
 *
 * ```ts
 * const pipeline = new Pipeline();
 * pipeline.link(source, scale, sink);
 * await pipeline.run({ signal });
 * console.log(pipeline.describe().text());
 * ```
 *
 * Life-cycle:
 *
 * ```
 *                  run(), negotiate()
 *   still ----------------------------------------> running
 *     ^                                                |
 *     +------ end of stream, error, abort signal ------+
 * ```
 *
 * | state   | `add`, `link`  | `run`, `negotiate` | `seek`                        | `describe`                  |
 * | ------- | -------------- | ------------------ | ----------------------------- | --------------------------- |
 * | still   | accepted       | accepted           | `ERR_INACTIVE`                | what the last run settled   |
 * | running | `ERR_ACTIVE`   | `ERR_ACTIVE`       | accepted, one at a time       | what is settled so far      |
 *
 * A pipeline can run again. After a run that did not wait for a stage any longer (`acquireTimeout`), `run()` throws
 * `ERR_ACTIVE` until that stage returns.
 *
 * Invariants:
 *
 * - An element belongs to one pipeline, and its name is unique there.
 * - A refused `add()` or `link()` changes nothing, pads on request included.
 * - Formats and memory are settled before the first byte moves; a graph that cannot have its buffers is refused then.
 * - When `run()` settles, every stage is closed, the pools that the pipeline made are retired, and those that stages
 *   offered are deactivated. `RunSummary.holders` lists the leases that an application retains.
 *
 * Complexity: `link()` is O(elements + links). `run()` sorts the graph in O(elements * links) at most, and starts each
 * element once.
 */

import { type Clock, checkClock } from "../util/clock.ts";
import { MillpondError } from "../util/errors.ts";
import {
  abortSignal,
  callback,
  flag,
  milliseconds,
  outOfRange,
  readOptions,
  text,
  wrongType,
} from "../util/validate.ts";
import { Element } from "./base/element.ts";
import { InputPad, OutputPad } from "./base/pad.ts";
import { Description } from "./describe.ts";
import { Queue } from "./elements/queue.ts";
import type { Decision } from "./negotiate/pool.ts";
import { PipelineRun, type Progress, type RunSummary } from "./run.ts";
import { Settlement, settle } from "./settlement.ts";

/** How a {@link Pipeline} is made. */
export interface PipelineOptions {
  /** For messages and pictures; default "pipeline". */
  name?: string;
  /** Time and timers; default: the platform's. */
  clock?: Clock;
  /**
   * Milliseconds that one wait may last, of a source for a buffer or of a stage for anything (its start, a decoder, a
   * thread); then the run fails with `ERR_STARVED`, which names the stage or the holders. A stage may take ten times
   * that at the end of the stream, and an eighth more where it has waited often lately; stages that an application or a
   * pipe feeds are not bounded. Default: no bound, except for threads.
   */
  acquireTimeout?: number;
  /** The most bytes that all pools may have together; a pipeline that needs more is refused. Default: no limit. */
  maxBytes?: number;
  /** Put a queue in front of stages that wait for something outside, so that both sides work at once. Default true. */
  autoQueue?: boolean;
}

/** How {@link Pipeline.run} runs. */
export interface RunOptions {
  /** Cancels the run: it rejects with the signal's reason, after every buffer is back in its pool. */
  signal?: AbortSignal;
  /** Told how far it is, at most ten times a second, and once at the end. */
  onProgress?: (progress: Progress) => void;
  /** Told once of each thing that will be lost on the way, such as a rotation that a file cannot carry. */
  onWarning?: (text: string) => void;
  /** Refuse with `ERR_NOT_NEGOTIATED` what would otherwise be a warning. Default false. */
  strict?: boolean;
}

const PIPELINE_OPTIONS = ["name", "clock", "acquireTimeout", "maxBytes", "autoQueue"] as const;
const RUN_OPTIONS = ["signal", "onProgress", "onWarning", "strict"] as const;

/**
 * The most stages one behind the other. Buffers, formats and questions go from stage to stage in calls inside calls:
 * the usual stack of 1 MB has room for 2000 whose hooks call nothing.
 */
const MAX_LINE = 1000;

/** Which pipeline an element is in: its pads and its state are of one run at a time. */
const owners: WeakMap<Element, Pipeline> = new WeakMap();

/** A graph of elements without cycles. */
export class Pipeline {
  /** For messages and pictures. */
  readonly name: string;
  readonly #elements: Set<Element> = new Set();
  /** Names of the elements: a text may have thousands. */
  readonly #names: Set<string> = new Set();
  readonly #clock: Clock;
  readonly #acquireTimeout: number;
  readonly #maxBytes: number;
  readonly #autoQueue: boolean;
  #run: PipelineRun | undefined;
  #isRunning = false;

  /** An empty pipeline. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. */
  constructor(options: PipelineOptions = {}) {
    const given = readOptions("options", options, PIPELINE_OPTIONS);
    const { acquireTimeout = Infinity, maxBytes = Infinity } = given;
    if (typeof maxBytes !== "number") throw wrongType("options.maxBytes", "a number of bytes", maxBytes);
    if (!(maxBytes > 0)) throw outOfRange("options.maxBytes", "above 0", maxBytes);
    this.name = text("options.name", given.name, "pipeline");
    this.#clock = checkClock("options.clock", given.clock);
    this.#acquireTimeout = milliseconds("options.acquireTimeout", acquireTimeout);
    this.#maxBytes = maxBytes;
    this.#autoQueue = flag("options.autoQueue", given.autoQueue, true);
  }

  /** The elements, in the order in which they were added. */
  get elements(): readonly Element[] {
    return [...this.#elements];
  }

  /** True between the beginning and the end of {@link run}. */
  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** Name of the element in which the last run failed; undefined when it did not, or not in an element. */
  get failedIn(): string | undefined {
    return this.#run?.failure?.element;
  }

  /**
   * Adds elements; those that are there already are left alone. Throws `ERR_INVALID_ARG_TYPE`, `ERR_ALREADY_EXISTS`,
   * `ERR_ACTIVE`.
   */
  add(...elements: Element[]): this {
    this.#assertStill("change");
    const added = new Set<string>();
    for (const element of elements) {
      if (!(element instanceof Element)) throw wrongType("element", "an Element", element);
      if (this.#elements.has(element)) continue;
      const owner = owners.get(element);
      if (owner !== undefined) {
        throw new MillpondError("ERR_ALREADY_EXISTS", `element "${element.name}" belongs to pipeline "${owner.name}"`);
      }
      if (this.#names.has(element.name) || added.has(element.name)) {
        throw new MillpondError(
          "ERR_ALREADY_EXISTS",
          `the pipeline has an element "${element.name}" already; give one of them another name`,
        );
      }
      added.add(element.name);
    }
    for (const element of elements) {
      owners.set(element, this);
      this.#elements.add(element);
      this.#names.add(element.name);
    }
    return this;
  }

  /**
   * Links elements (or pads) one behind the other, adding them first. Throws `ERR_NOT_NEGOTIATED` when two have no
   * format in common, no free pad, or a cycle would come about; `ERR_INVALID_ARG_TYPE`, `ERR_ACTIVE`. A refused link
   * changes nothing.
   */
  link(first: Element | OutputPad, ...others: (Element | InputPad)[]): this {
    this.#assertStill("change");
    if (!(first instanceof Element || first instanceof OutputPad))
      throw wrongType("first", "an Element or an OutputPad", first);
    for (const [i, to] of others.entries()) {
      if (!(to instanceof Element || to instanceof InputPad))
        throw wrongType(`others[${i}]`, "an Element or an InputPad", to);
    }
    const undo: (() => void)[] = [];
    let from = first;
    const settlement = new Settlement();
    try {
      for (const to of others) {
        const { name } = to instanceof InputPad ? to.element : to;
        settle(settlement, undefined, name, () => this.#linkTwo(from, to, undo));
        from = to instanceof InputPad ? to.element : to;
      }
    } catch (error) {
      for (const step of undo.reverse()) step();
      throw error;
    }
    return this;
  }

  #linkTwo(from: Element | OutputPad, to: Element | InputPad, undo: (() => void)[]): void {
    const source = from instanceof OutputPad ? from.element : from;
    const target = to instanceof InputPad ? to.element : to;
    this.#addOnTrial(source, undo);
    this.#addOnTrial(target, undo);
    if (reaches(target, source)) {
      throw new MillpondError("ERR_NOT_NEGOTIATED", `linking "${source.name}" to "${target.name}" would make a cycle`);
    }
    // Pads on request that were made for a link that is refused would lead nowhere.
    const [outputs, inputs] = [source.outputs.length, target.inputs.length];
    undo.push(() => {
      source.outputs.length = Math.min(source.outputs.length, outputs);
      target.inputs.length = Math.min(target.inputs.length, inputs);
    });
    const out = from instanceof OutputPad ? from : freePad(source, "freeOutput", "output", source.freeOutput());
    const input = to instanceof InputPad ? to : freePad(target, "freeInput", "input", target.freeInput());
    if (out === undefined || out.peer !== null) throw noPad(source, "output", out);
    if (input === undefined || input.peer !== null) throw noPad(target, "input", input);
    if (out.caps.intersect(input.caps).isEmpty) {
      throw new MillpondError(
        "ERR_NOT_NEGOTIATED",
        `"${source.name}" gives ${out.caps}, and "${target.name}" takes ${input.caps}: they have no format in common`,
        { from: String(out), to: String(input) },
      );
    }
    undo.push(() => {
      out.peer = null;
      input.peer = null;
    });
    if (this.#autoQueue && isWaiting(target) && !(source instanceof Queue)) {
      const queue = new Queue({ name: this.#free(`${target.name}-queue`), max: 1 });
      this.#addOnTrial(queue, undo);
      join(out, queue.in);
      join(queue.out, input);
    } else join(out, input);
  }

  #addOnTrial(element: Element, undo: (() => void)[]): void {
    if (this.#elements.has(element)) return;
    this.add(element);
    undo.push(() => {
      this.#elements.delete(element);
      this.#names.delete(element.name);
      owners.delete(element);
    });
  }

  #free(name: string): string {
    for (let n = 1; ; n++) {
      const candidate = n === 1 ? name : `${name}${n}`;
      if (!this.#names.has(candidate)) return candidate;
    }
  }

  /**
   * Runs to the end of every stream. Rejects with the first error of any stage, with the signal's reason, or with
   * `ERR_NOT_NEGOTIATED`; by then all stages are closed and every buffer is back in its pool, except those that an
   * application retains. After `ERR_STARVED` each stage has five seconds to close; while one has not, or is inside the
   * call that was given up, another run is refused with `ERR_ACTIVE`.
   */
  run(options: RunOptions = {}): Promise<RunSummary> {
    return this.#start(options, true);
  }

  /**
   * Opens every stage, settles formats and memory, and closes them again; no byte of media moves. {@link describe}
   * shows what was settled.
   */
  async negotiate(options: RunOptions = {}): Promise<readonly Decision[]> {
    await this.#start(options, false);
    return this.#run!.decisions;
  }

  async #start(options: RunOptions, play: boolean): Promise<RunSummary> {
    const given = readOptions("options", options, RUN_OPTIONS);
    const signal = abortSignal("options.signal", given.signal);
    const onProgress = callback("options.onProgress", given.onProgress);
    const onWarning = callback("options.onWarning", given.onWarning);
    const strict = flag("options.strict", given.strict, false);
    // The options are read first: their getters are the caller's code, which may have begun a run.
    this.#assertStill("run");
    if (this.#run?.unfinished === true) {
      throw new MillpondError(
        "ERR_ACTIVE",
        `pipeline "${this.name}" cannot run again yet: a stage is still inside a call that the last run no longer waits for; make a new pipeline`,
      );
    }
    const order = this.#sorted();
    const [acquireTimeout, maxBytes, clock] = [this.#acquireTimeout, this.#maxBytes, this.#clock];
    const run = new PipelineRun(order, { signal, onProgress, onWarning, strict, acquireTimeout, maxBytes, clock });
    this.#run = run;
    this.#isRunning = true;
    try {
      return await run.execute(play);
    } finally {
      this.#isRunning = false;
    }
  }

  /**
   * Seeks while running: releases every buffer that is under way, tells the sources where to go on
   * ({@link Source.seek}), and goes on. Rejects with `ERR_INACTIVE` when it is not playing, and with what ends the run
   * before it goes on: a source's own error, `ERR_STARVED`, the reason of an abort.
   *
   * It waits for every hook that is under way. So a hook may begin a seek, but must not wait for it (nor return its
   * promise): each would wait for the other until `acquireTimeout` or an abort ends the run. Whether a hook waits
   * cannot be known here. In a hook, write `pipeline.seek(position).catch(report)` and return.
   *
   * An {@link AppSink} whose loop has ended waits for another loop after it.
   */
  seek(position?: unknown): Promise<void> {
    if (!this.#isRunning || this.#run === undefined) {
      return Promise.reject(
        new MillpondError("ERR_INACTIVE", "the pipeline is not running; a seek needs a stream to seek in"),
      );
    }
    return this.#run.flush(position);
  }

  /** What there is, what was settled in the present or the last run, and why: as text, Mermaid or SVG. */
  describe(): Description {
    return new Description(this.name, this.#sorted(false), this.#run?.decisions ?? []);
  }

  #assertStill(verb: string): void {
    if (this.#isRunning) throw new MillpondError("ERR_ACTIVE", `cannot ${verb} a pipeline that is running`);
  }

  /** From the sources to the sinks. Throws `ERR_NOT_NEGOTIATED` for a pad that leads nowhere. */
  #sorted(check = true): Element[] {
    if (check && this.#elements.size === 0) throw new MillpondError("ERR_NOT_NEGOTIATED", "the pipeline is empty");
    const done: Element[] = [];
    const left = new Set(this.#elements);
    const places = new Map<Element, number>();
    while (left.size > 0) {
      for (const element of left) {
        if (check) assertLinked(element);
        if (element.inputs.some((pad) => pad.peer !== null && left.has(pad.peer.element))) continue;
        left.delete(element);
        done.push(element);
        let before = 0;
        for (const { peer } of element.inputs) if (peer !== null) before = Math.max(before, places.get(peer.element)!);
        if (check && before === MAX_LINE) throw tooLongError(element);
        places.set(element, before + 1);
      }
    }
    return done;
  }
}

function tooLongError({ name }: Element): MillpondError {
  return new MillpondError(
    "ERR_NOT_NEGOTIATED",
    `more than ${MAX_LINE} stages are one behind the other up to "${name}": a buffer goes through them in calls inside ` +
      "calls, and the stack has an end; do the work of several in one stage",
    { element: name, limit: MAX_LINE },
  );
}

function assertLinked(element: Element): void {
  const loose = [...element.inputs, ...element.outputs].find((pad) => pad.peer === null);
  const lonely = element.inputs.length + element.outputs.length === 0;
  // A tee or a funnel has pads only once they are linked.
  const half = element.freeOutput !== Element.prototype.freeOutput && element.outputs.length === 0;
  const empty = element.freeInput !== Element.prototype.freeInput && element.inputs.length === 0;
  if (loose === undefined && !lonely && !half && !empty) return;
  const what = loose === undefined ? `"${element.name}" leads nowhere` : `${loose} is not linked`;
  // By its pad an error finds the word in a pipeline text.
  const pad = String(loose ?? `${element.name}.out`);
  throw new MillpondError("ERR_NOT_NEGOTIATED", `${what}; link it, or leave the element out`, { pad });
}

function join(out: OutputPad, input: InputPad): void {
  out.peer = input;
  input.peer = out;
}

function reaches(from: Element, to: Element): boolean {
  // Behind a tee and a funnel there are two ways to each element; looked at once each, or 30 such pairs would take 2^30
  // steps.
  const seen = new Set([from]);
  for (const element of seen) {
    if (element === to) return true;
    for (const { peer } of element.outputs) if (peer !== null) seen.add(peer.element);
  }
  return false;
}

function isWaiting(element: Element): boolean {
  return element.answeredNow("waits", "true or false", element.waits);
}

/** What a hook answered that has pads to give. Throws `ERR_INVALID_ARG_TYPE` for what is no pad of the stage. */
function freePad<P extends InputPad | OutputPad>(
  element: Element,
  hook: string,
  kind: "input" | "output",
  answer: P | undefined,
): P | undefined {
  const expected = `an ${kind} of that stage or undefined`;
  const pad = element.answeredNow(hook, expected, answer);
  const pads: readonly unknown[] = kind === "input" ? element.inputs : element.outputs;
  if (pad !== undefined && !pads.includes(pad)) throw wrongType(element.answerOf(hook), expected, pad);
  return pad;
}

function noPad(element: Element, kind: "input" | "output", pad: InputPad | OutputPad | undefined): MillpondError {
  const count = kind === "input" ? element.inputs.length : element.outputs.length;
  const why =
    pad?.peer != null
      ? `${pad} is linked to ${pad.peer} already`
      : count === 0
        ? `"${element.name}" has no ${kind}`
        : `every ${kind} of "${element.name}" is linked already`;
  const remedy = kind === "output" ? "a tee gives one stream to several" : "a funnel takes several streams";
  return new MillpondError("ERR_NOT_NEGOTIATED", `${why}; ${remedy}`);
}
