/**
 * PipelineRun: one run of a pipeline.
 *
 * Life-cycle:
 *
 * 1. open: pads are reset, `start()` is called from the sinks upwards.
 * 2. prepare: every source gives its first format and negotiates; no byte has moved. With `play` false the run closes
 *    here.
 * 3. play: the loops of sources and queues run side by side until every sink has seen the end of its stream.
 * 4. commit: `commit()` from the sources downwards, when nothing has failed.
 * 5. close: nothing new begins (`stopping`), `unlock()` ends every wait, loops end, `stop()` is called from the sources
 *    downwards, and the pools are retired.
 *
 * An error, the abort of the signal, or a wait past its limit goes to 5 at once. A seek in 3 ends every wait, waits for
 * the loops, calls `onFlush()` and the sources' `seek()`, and starts the loops again.
 *
 * Invariants: the first error is the run's error. Every promise of a hook is in `#calls` or `#tasks` until it settles.
 * A pool is one pad's at most, in all pipelines. Pools of former formats are listed until they have drained. The limits
 * of waits are in stage-waits.ts.
 *
 * Complexity: nothing here is called for each buffer but `acquire()` when a pool is empty, and what begins and ends a
 * wait or a call that is not over at once.
 */

import type { MediaBuffer } from "../media/buffer/media-buffer.ts";
import type { BufferPool } from "../pools/buffer/buffer-pool.ts";
import type { BufferPoolStats, Holder } from "../pools/buffer/stats.ts";
import { onAbort } from "../util/abortable.ts";
import { type Clock, systemClock } from "../util/clock.ts";
import { isMillpondError, MillpondError } from "../util/errors.ts";
import { wrongType } from "../util/validate.ts";
import {
  attachErrorSource,
  type Element,
  errorSource,
  Pace,
  promiseIn,
  type Running,
  type StageWait,
  type WaitBounds,
} from "./base/element.ts";
import type { Maybe, OutputPad } from "./base/pad.ts";
import { Source } from "./base/source.ts";
import { type Decision, dropPool } from "./negotiate/pool.ts";
import { Settlement } from "./settlement.ts";
import { WaitWatch, type WatchedRun } from "./stage-waits.ts";

/** How far a run is. */
export interface Progress {
  /** Buffers that reached the sinks. */
  readonly buffers: number;
  /** Milliseconds since the start. */
  readonly elapsed: number;
}

/** How {@link PipelineRun} runs. */
interface PipelineRunOptions {
  /** Cancels the run; it rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Told how far it is, at most ten times a second, and once at the end. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Told what will be lost of the stream, each once. */
  readonly onWarning?: ((text: string) => void) | undefined;
  /** What would be lost is an error. */
  readonly strict?: boolean | undefined;
  /** Milliseconds that one wait for a buffer, or of a stage, may last. */
  readonly acquireTimeout: number;
  /** The most bytes that all pools may have together. */
  readonly maxBytes: number;
  /** Time and timers. */
  readonly clock: Clock;
}

/** How a run went. */
export interface RunSummary {
  /** Buffers that reached each sink. */
  readonly sinks: Readonly<Record<string, number>>;
  /** Milliseconds. */
  readonly elapsed: number;
  /** Pools at the end, those of former formats too. */
  readonly pools: readonly BufferPoolStats[];
  /** Leases that were still out at the end: buffers that an application retains. */
  readonly holders: readonly Holder[];
  /** What was lost of the stream on its way: that a file cannot carry its rotation, its times. */
  readonly warnings: readonly string[];
}

// Once the run no longer waits for a stage, what is under way has this long to end. It is real time, also under a fake
// clock.
const ABANDON_MS = 500;

// So long each stage may take to close then: nothing is wrong with most of them, and they remove files and end threads.
const CLOSING_MS = 5000;

// A thread needs a second to start on a busy machine, and a decoder to load: the limit for a buffer is not meant for
// that.
const OPENING_BOUNDS: WaitBounds = { atLeast: 10_000 };

// Ten times a second is smooth to the eye, and nothing beside a frame.
const PROGRESS_MS = 100;

/** Hooks that are called without a look whether they are there; those of a transform's modes are looked at. */
const HOOKS = [
  ...["start", "commit", "stop", "unlock", "onFlush", "chain", "formatChanged", "onEos", "acceptedCaps"],
  ...["proposeAllocation", "decideAllocation", "sharesOutput", "outputFinished", "reconfigureRequested"],
] as const;

const SOURCE_HOOKS = [...HOOKS, "next", "seek"] as const;

/** A class without types may lack one. Throws `ERR_INVALID_ARG_TYPE`. */
function checkHooks(element: Element): void {
  for (const name of element instanceof Source ? SOURCE_HOOKS : HOOKS) {
    const hook = (element as unknown as Readonly<Record<string, unknown>>)[name];
    if (typeof hook !== "function") throw wrongType(`${name}() of "${element.name}"`, "a function", hook);
  }
}

/** @internal One run. */
export class PipelineRun implements Running, WatchedRun {
  readonly clock: Clock;
  /** Every decision, in order. */
  readonly decisions: Decision[] = [];
  /** What ended the run early. */
  failure: { readonly error: unknown; readonly element: string | undefined } | undefined;
  stopping = false;
  readonly #elements: readonly Element[];
  readonly #options: PipelineRunOptions;
  readonly pace: Pace = new Pace();
  #opening: Settlement | undefined = new Settlement(this.pace);
  readonly #abort: AbortController = new AbortController();
  readonly #tasks: Set<Promise<void>> = new Set();
  /** Hooks between the streams that have not settled. */
  readonly #calls: Set<Promise<void>> = new Set();
  readonly #pools: Set<BufferPool> = new Set();
  readonly #waiting: Set<Element> = new Set();
  readonly #warnings: Set<string> = new Set();
  /** A seek goes on. */
  #flushing = false;
  /** What is under way is dropped: pads and pools refuse. */
  #isDropping = false;
  #isPlaying = false;
  #isCommitting = false;
  /** The pads have no pools any more. */
  #arePoolsDropped = false;
  /** What comes now is not this run's any more. */
  #isOver = false;
  #settle: () => void = () => {};
  readonly #waits: WaitWatch;
  /** Loops of sources, the preparing ones too. */
  #sourceLoops = 0;
  #onHalt!: () => void;
  /** Resolves when {@link Run.#halt} begins. */
  readonly #halted: Promise<void> = new Promise((resolve) => {
    this.#onHalt = resolve;
  });

  /** @param elements in order from the sources to the sinks */
  constructor(elements: readonly Element[], options: PipelineRunOptions) {
    this.#elements = elements;
    this.#options = options;
    this.clock = options.clock;
    this.#waits = new WaitWatch(this, elements, options.acquireTimeout);
  }

  get opening(): Settlement | undefined {
    return this.#opening;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Plays to the end; with `play` false, only settles formats and memory. */
  async execute(play = true): Promise<RunSummary> {
    const { signal, onProgress } = this.#options;
    let started = 0;
    let stopListening: (() => void) | undefined;
    let timer: unknown;
    const report = (): void => {
      try {
        const progress = { buffers: this.#delivered(), elapsed: this.clock.now() - started };
        this.#tell("onProgress", onProgress?.(progress));
      } catch (error) {
        this.fail(error);
      }
    };
    const tick = (): void => {
      report();
      timer = this.clock.setTimer(tick, PROGRESS_MS, true);
    };
    const opened: Element[] = [];
    for (const element of this.#elements) element.attach(this);
    try {
      started = this.clock.now();
      stopListening = onAbort(signal, (reason) => this.fail(reason));
      if (this.failure === undefined) {
        await this.#open(opened);
        if (onProgress !== undefined) timer = this.clock.setTimer(tick, PROGRESS_MS, true);
        await this.#play(play);
        if (play) await this.#commit();
      }
    } catch (error) {
      this.fail(error);
    }
    this.#try(() => this.clock.clearTimer(timer));
    stopListening?.();
    await this.#close(opened);
    this.#isOver = true;
    for (const element of this.#elements) this.#try(() => element.attach(null), element);
    if (this.failure !== undefined) throw this.failure.error;
    const summary = this.#summary(this.clock.now() - started);
    report();
    return summary;
  }

  /** A promise that a callback of the application answers: what it rejects with is as what the callback throws. */
  #tell(callback: string, answer: unknown): void {
    promiseIn(`what ${callback} answered`, answer)?.then(undefined, (error: unknown) => this.fail(error));
  }

  async #open(opened: Element[]): Promise<void> {
    for (const element of this.#elements) {
      for (const pad of element.inputs) Object.assign(pad, { format: null, buffers: 0, ended: false });
      for (const pad of element.outputs) {
        const fresh = {
          format: null,
          buffers: 0,
          ended: false,
          finished: false,
          flushing: false,
          needsReconfigure: false,
          missedFormat: null,
          refusal: null,
          traffic: { calls: 0, acquires: 0 },
        };
        Object.assign(pad, fresh, { pool: null, decision: null });
        pad.updateClosed();
      }
      if (element.outputs.length === 0) this.#waiting.add(element);
    }
    // From the sinks upwards, so that a stage that starts finds those downstream ready.
    for (const element of this.#elements.toReversed()) {
      if (this.failure !== undefined) return;
      try {
        // Here it is refused before it starts; it is read again for each wait, since a stage may know only then.
        element.answeredNow("isPacedFromOutside", "true or false", element.isPacedFromOutside);
        checkHooks(element);
        opened.push(element);
        await this.#within("start", () => element.start(), element, "starting");
      } catch (error) {
        this.fail(error, element);
      }
    }
  }

  async #play(play: boolean): Promise<void> {
    if (this.failure !== undefined) return;
    const done = new Promise<void>((resolve) => {
      this.#settle = resolve;
    });
    for (const element of this.#elements) if (!(element instanceof Source)) this.#startLoop(element);
    const preparing = this.#elements.map((element) =>
      element instanceof Source ? this.#spawn(element, () => this.#prepare(element)) : undefined,
    );
    await Promise.race([Promise.all(preparing), done]);
    if (!play || this.failure !== undefined) return;
    this.#isPlaying = true;
    this.#opening = undefined;
    for (const element of this.#elements) if (element instanceof Source) this.#startLoop(element);
    if (this.#waiting.size > 0) await done;
  }

  /** The one of Source bounds its steps by itself. */
  #prepare(source: Source): Promise<void> {
    const work = source.prepare();
    if (source.prepare === Source.prototype.prepare || work === undefined) return work;
    return this.boundCall(work, source, undefined, "preparing its stream");
  }

  /**
   * Calls a hook of a stage between the streams and waits for it; at most as long as `acquireTimeout`. The wait begins
   * before the call, so that what the hook itself waits for is inside it, and is what an error names.
   */
  async #within(hook: string, call: () => void | Promise<void>, element: Element, doing: string): Promise<void> {
    const wait = this.beginWait(element, doing, OPENING_BOUNDS);
    try {
      const work = element.promiseOf(hook, call());
      if (work !== undefined) await Promise.race([this.#called(work), this.#waits.stall]);
    } finally {
      this.endWait(wait);
    }
  }

  /** Notes a promise of a hook until it settles. */
  #called(work: Promise<void>): Promise<void> {
    const settled = (): void => void this.#calls.delete(work);
    this.#calls.add(work);
    work.then(settled, settled);
    return work;
  }

  /** As {@link #within}; a stall elsewhere leaves the stage its time to close. */
  async #stop(element: Element): Promise<void> {
    const wait = this.beginWait(element, "closing", OPENING_BOUNDS);
    try {
      const grace = this.#waits.hasStalled ? CLOSING_MS : ABANDON_MS;
      const work = element.promiseOf("stop", element.stop());
      if (work !== undefined) await this.#endOrAbandon(this.#called(work), grace);
    } finally {
      this.endWait(wait);
    }
  }

  /**
   * After the run: true while a stage is still inside a call that the run no longer waits for. Its elements cannot run
   * again meanwhile.
   */
  get unfinished(): boolean {
    return this.#tasks.size > 0 || this.#calls.size > 0;
  }

  beginWait(element: Element, doing: string, bounds?: WaitBounds): StageWait | undefined {
    return this.#waits.begin(element, doing, bounds);
  }

  endWait(wait: StageWait | undefined): void {
    this.#waits.end(wait);
  }

  ownFromNow(element: Element): void {
    this.#waits.ownFromNow(element);
  }

  boundCall<T>(
    work: Promise<T>,
    callee: Element,
    caller: OutputPad | undefined,
    doing: string,
    times?: number,
  ): Promise<T> {
    return this.#waits.boundCall(work, callee, caller, doing, times);
  }

  get isEnding(): boolean {
    const isOn = this.#isPlaying && !this.#flushing && !this.stopping;
    return isOn && this.#sourceLoops === 0 && this.#waiting.size > 0;
  }

  awaitsEnd(sink: Element): boolean {
    return this.#waiting.has(sink);
  }

  onStall(error: MillpondError, element: Element): void {
    this.fail(error, element);
    // All went well until a stage did not close: the caller has to hear of it all the same.
    this.failure ??= { error, element: element.name };
    this.#isCommitting = false;
  }

  /** Starts the loop of a stage that has one; a source has one. */
  #startLoop(element: Element): void {
    try {
      const task = element.answeredNow("task", "a function", element.task);
      if (task === undefined && !(element instanceof Source)) return;
      if (typeof task !== "function") throw wrongType(`the task of "${element.name}"`, "a function", task);
      this.#spawn(element, task);
    } catch (error) {
      this.fail(error, element);
    }
  }

  /**
   * Starts a loop. It is in the set before its first line runs, which may be a hook that seeks: a seek waits for all
   * loops.
   */
  #spawn(element: Element, task: () => Promise<void>): Promise<void> {
    const isSource = element instanceof Source;
    if (isSource) this.#sourceLoops++;
    const running = Promise.resolve()
      .then(task)
      .catch((error: unknown) => {
        // What a seek or the end interrupts is meant to be interrupted.
        const isInterrupted = isMillpondError(error, "ERR_FLUSHING") || isMillpondError(error, "ERR_INACTIVE");
        if (isInterrupted && (this.#flushing || this.stopping)) return;
        this.fail(error, element);
      })
      .finally(() => {
        this.#tasks.delete(running);
        if (isSource && --this.#sourceLoops === 0) this.#waits.watchEnd();
      });
    this.#tasks.add(running);
    return running;
  }

  fail(error: unknown, element?: Element): void {
    if (this.failure !== undefined || this.stopping) return;
    // Some files have their names: it comes too late.
    if (this.#isCommitting) return;
    this.failure = { error, element: errorSource(error) ?? element?.name };
    this.#halt(error);
    this.#settle();
  }

  /** Ends every wait; nothing new begins from here on. */
  #halt(reason: unknown): void {
    this.stopping = true;
    this.#setFlushing(true);
    if (!this.#abort.signal.aborted) this.#abort.abort(reason);
    this.#onHalt();
    this.#endWaits();
  }

  /** Ends what waits in the stages: first what they cannot fail to end, then by their hooks. */
  #endWaits(): void {
    for (const element of this.#elements) element.wakeWaiters();
    for (const element of this.#elements) this.callHook("unlock", () => element.unlock(), element);
  }

  callHook(name: string, hook: () => unknown, element: Element): void {
    // Also while the run ends; the rejection of one that comes later still has nobody to go to.
    const fail = (error: unknown): void => {
      this.fail(error, element);
      if (!this.#isOver) this.failure ??= { error, element: errorSource(error) ?? element.name };
    };
    try {
      element.promiseOf(name, hook() as Maybe<unknown>)?.then(undefined, fail);
    } catch (error) {
      fail(error);
    }
  }

  #setFlushing(on: boolean): void {
    this.#isDropping = on;
    for (const element of this.#elements) {
      for (const pad of element.outputs) {
        pad.flushing = on;
        pad.updateClosed();
      }
    }
    for (const pool of this.#poolsOfPads()) this.#flushPool(pool);
  }

  /** The pools that buffers come from now. */
  #poolsOfPads(): Set<BufferPool> {
    const pools = new Set<BufferPool>();
    for (const element of this.#elements) {
      for (const { pool } of element.outputs) if (pool !== null) pools.add(pool);
    }
    return pools;
  }

  /**
   * Tells a pool whether what is under way is dropped. One that is inside a hook of its own cannot be told; it is when
   * the hook has returned. What ends a run may be called from there, and has to end it.
   */
  #flushPool(pool: BufferPool): void {
    if (!pool.isActive || pool.isFlushing === this.#isDropping) return;
    try {
      pool.setFlushing(this.#isDropping);
    } catch (error) {
      if (isMillpondError(error, "ERR_REENTRANT")) queueMicrotask(() => this.#flushLater(pool));
      else this.failure ??= { error, element: undefined };
    }
  }

  /** Unless it is another's by then. */
  #flushLater(pool: BufferPool): void {
    if (!this.#arePoolsDropped && this.#poolsOfPads().has(pool)) this.#flushPool(pool);
  }

  warn(text: string, element: Element): void {
    if (this.#options.strict === true) throw attachErrorSource(new MillpondError("ERR_NOT_NEGOTIATED", text), element);
    if (this.#warnings.has(text)) return;
    this.#warnings.add(text);
    this.#tell("onWarning", this.#options.onWarning?.(text));
  }

  sinkDone(element: Element): void {
    if (this.#flushing) return;
    this.#waiting.delete(element);
    if (this.#waiting.size === 0) this.#settle();
  }

  /**
   * A seek: drops what is under way, moves the sources, and goes on. Rejects with what ends the run meanwhile, or with
   * its own failure, which ends it.
   */
  async flush(position: unknown): Promise<void> {
    if (!this.#isPlaying || this.stopping || this.#flushing) {
      const why = this.#flushing ? "another seek is going on" : "it is not playing";
      throw new MillpondError("ERR_INACTIVE", `the pipeline cannot seek now: ${why}`);
    }
    this.#flushing = true;
    try {
      this.#setFlushing(true);
      this.#endWaits();
      await this.#unlessHalted(this.#idle());
      for (const element of this.#elements) this.callHook("onFlush", () => element.onFlush(), element);
      await this.#unlessHalted();
      for (const element of this.#elements) {
        for (const pad of element.inputs) pad.ended = false;
        for (const pad of element.outputs) Object.assign(pad, { ended: false, finished: false });
        if (element.outputs.length === 0) this.#waiting.add(element);
      }
      this.#setFlushing(false);
      for (const element of this.#elements) if (!(element instanceof Source)) this.#startLoop(element);
      // Who wanted nothing before the seek, and does now, has not heard of the formats since.
      for (const element of this.#elements) {
        for (const pad of element.outputs) {
          const { missedFormat } = pad;
          if (missedFormat !== null) await this.#unlessHalted(pad.setFormat(missedFormat));
        }
      }
      for (const element of this.#elements) if (element instanceof Source) await this.#seekSource(element, position);
    } catch (error) {
      this.fail(error);
      throw this.failure?.error ?? error;
    } finally {
      this.#flushing = false;
    }
    for (const element of this.#elements) if (element instanceof Source) this.#startLoop(element);
  }

  async #seekSource(source: Source, position: unknown): Promise<void> {
    const wait = this.beginWait(source, "seeking");
    try {
      const work = source.promiseOf("seek", source.seek(position));
      await this.#unlessHalted(work === undefined ? undefined : this.#called(work));
    } finally {
      this.endWait(wait);
    }
  }

  /** Waits for work that may never end when the run is over; throws what ended the run then. */
  async #unlessHalted(work?: void | Promise<void>): Promise<void> {
    if (work !== undefined) await Promise.race([work, this.#halted]);
    if (this.stopping) throw this.failure?.error ?? this.#abort.signal.reason;
  }

  /**
   * Only now may files get their names: no stage has failed, and every stream has ended well. From here on nothing but
   * the failure of a commit() counts, so that a run that was canceled has no files.
   */
  async #commit(): Promise<void> {
    this.#isPlaying = false;
    if (this.failure !== undefined) return;
    this.#isCommitting = true;
    for (const element of this.#elements) {
      try {
        await this.#within("commit", () => element.commit(), element, "completing its file");
      } catch (error) {
        this.#isCommitting = false;
        this.fail(error, element);
      }
      if (this.failure !== undefined) return;
    }
  }

  async #idle(): Promise<void> {
    while (this.#tasks.size > 0) await Promise.all(this.#tasks);
  }

  async #close(opened: readonly Element[]): Promise<void> {
    if (!this.stopping) this.#halt(new MillpondError("ERR_INACTIVE", "the pipeline has ended"));
    await this.#endOrAbandon(this.#idle(), ABANDON_MS);
    for (const element of opened.toReversed()) {
      try {
        await this.#stop(element);
      } catch (error) {
        this.failure ??= { error, element: element.name };
      }
    }
    this.#try(() => this.#waits.close());
    this.#arePoolsDropped = true;
    for (const element of this.#elements) {
      for (const pad of element.outputs) {
        const { pool } = pad;
        if (pool !== null) this.#try(() => dropPool(pool, pad), element);
      }
    }
  }

  /** One step of the end of a run: the others follow, whatever it throws. */
  #try(step: () => void, element?: Element): void {
    try {
      step();
    } catch (error) {
      this.failure ??= { error, element: element?.name };
    }
  }

  /** Waits for work that ends by itself; once a wait has lasted too long, only so many milliseconds more. */
  async #endOrAbandon(work: Promise<void>, grace: number): Promise<void> {
    let timer: unknown;
    const abandoned = this.#waits.stall.then(
      () =>
        new Promise<void>((resolve) => {
          timer = systemClock.setTimer(resolve, grace, false);
        }),
    );
    await Promise.race([work, abandoned]);
    systemClock.clearTimer(timer);
  }

  #delivered(): number {
    let buffers = 0;
    for (const element of this.#elements) {
      if (element.outputs.length === 0) for (const pad of element.inputs) buffers += pad.buffers;
    }
    return buffers;
  }

  #summary(elapsed: number): RunSummary {
    const sinks: Record<string, number> = {};
    for (const { name, outputs, inputs } of this.#elements) {
      if (outputs.length === 0) sinks[name] = inputs.reduce((sum, pad) => sum + pad.buffers, 0);
    }
    const pools = [...this.#pools];
    return {
      sinks,
      elapsed,
      pools: pools.map((pool) => pool.stats()),
      holders: pools.flatMap((pool) => pool.holders()),
      warnings: [...this.#warnings],
    };
  }

  acquire(pool: BufferPool): Promise<MediaBuffer> {
    const { acquireTimeout } = this.#options;
    if (acquireTimeout === Infinity) return pool.acquire();
    return pool.acquire({ timeout: acquireTimeout }).catch((error: unknown) => {
      throw isMillpondError(error, "ERR_STARVED") ? this.#waits.withBusyStage(error) : error;
    });
  }

  watch(pool: BufferPool): void {
    // Pools of former formats are forgotten once they are empty; otherwise a stream that changes its size all day would
    // collect them.
    const inUse = this.#poolsOfPads();
    for (const old of this.#pools) if (!inUse.has(old) && old.outstanding === 0) this.#pools.delete(old);
    this.#pools.add(pool);
    if (this.#isDropping) this.#flushPool(pool);
  }

  overBudget(bytes: number, pad: OutputPad): string | undefined {
    // A hook that the run no longer waited for: nobody would end this pool.
    if (this.#arePoolsDropped) return "the run is over";
    const { maxBytes } = this.#options;
    let sum = bytes;
    for (const element of this.#elements) {
      for (const other of element.outputs) {
        const { decision, pool } = other;
        if (other !== pad && decision !== null) sum += decision.size * (decision.count + (pool?.spareBuffers ?? 0));
      }
    }
    if (sum <= maxBytes) return undefined;
    return `all pools together would have ${sum} bytes, and the pipeline may have ${maxBytes}`;
  }

  decided(decision: Decision): void {
    this.decisions.push(decision);
    // The record of a stream that renegotiates without end stays bounded; 256 rounds are more than anybody reads.
    if (this.decisions.length > 256) this.decisions.shift();
  }
}
