/**
 * Element: a stage of a pipeline. Most stages extend `Source`, `Transform` or `Sink`; tees, queues, funnels and stages
 * of another shape extend this class.
 *
 * Life-cycle. An element belongs to one pipeline at most and takes part in one run at a time:
 *
 * ```
 *          start()          first formatChanged()            onEos() on every input
 *   idle ----------> open --------------------------> flowing ------------------------> ended
 *    ^                |                                |   ^                              |
 *    |                |           a seek: unlock(),    |   |           commit(), when no  |
 *    |                |           then onFlush()       +---+           stage has failed   |
 *    |                |                                |                                  |
 *    +----------------+-------- unlock(), stop() ------+----------------------------------+
 * ```
 *
 * | state   | `running`      | calls that come                                                                        |
 * | ------- | -------------- | -------------------------------------------------------------------------------------- |
 * | idle    | `ERR_INACTIVE` | none; the element can be linked, and run again                                         |
 * | open    | the run        | `acceptedCaps`, `proposeAllocation`, `formatChanged`                                   |
 * | flowing | the run        | `chain`, `formatChanged`, `onEos` for each input, one at a time; questions in between  |
 * | ended   | the run        | `commit` once, unless the run failed                                                   |
 *
 * `start()` is called from the sinks upwards, `commit()` from the sources downwards, `stop()` from the sources
 * downwards and once for each `start()`, also for one that threw. `unlock()` may come at any moment between them, and
 * more than once; no buffer arrives between it and `onFlush()` or `stop()`, which come when the calls under way have
 * ended; `stop()` also when the run no longer waits for them (`acquireTimeout`).
 *
 * Invariants:
 *
 * - A buffer belongs to the element from the call of `chain()` on, also when `chain()` throws.
 * - On one input, calls come one after the other: the next one waits for the promise of the one before.
 * - A pad has a format before the first buffer, and no buffer comes after `onEos()`.
 * - What a call throws ends the run.
 *
 * Complexity: a push from pad to pad is O(1) and allocates nothing.
 */
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import type { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import { type Clock, systemClock } from "../../util/clock.ts";
import { isMillpondError, MillpondError } from "../../util/errors.ts";
import { wholeNumber, wrongType } from "../../util/validate.ts";
import { Caps, checkCaps } from "../caps.ts";
import type { AllocationQuery } from "../negotiate/allocation-query.ts";
import type { Decision } from "../negotiate/pool.ts";
import { type Settlement, settle, TURN_STEPS } from "../settlement.ts";
import type { StreamFormat } from "../stream-format.ts";
import { InputPad, type Maybe, OutputPad } from "./pad.ts";
import { Waiters } from "./waiters.ts";

/** A wait inside a stage that the run bounds. Made by {@link Running.beginWait}. */
export interface StageWait {
  /** The stage that waits. */
  readonly element: Element;
  /** What for, as the message says it: `"scale" did not finish <doing>`. */
  readonly doing: string;
  /** Milliseconds that it may last. */
  readonly limit: number;
  /**
   * When it began, by the run's clock; a stage that sees progress sets it again. Of a stage that waits often it may be
   * later by an eighth of `acquireTimeout`, and NaN until then.
   */
  since: number;
  /** Buffers that the stage had given out by then: one that goes on giving has not stopped. */
  given: number;
  /** @internal A whole call of the stage, which may lead on to others: only the time that it has itself counts. */
  readonly isCall: boolean;
}

/** How a wait is bounded, where the pipeline's `acquireTimeout` alone does not say it. */
export interface WaitBounds {
  /** Milliseconds for a pipeline that has no `acquireTimeout`; default: no bound. */
  readonly fallback?: number;
  /** So many times `acquireTimeout`, for a wait that is long by nature; default 1. */
  readonly times?: number;
  /** Milliseconds that it may last however short `acquireTimeout` is; default 0. */
  readonly atLeast?: number;
}

/** What an element may use of the pipeline that it runs in. */
export interface Running {
  /** Time and timers. */
  readonly clock: Clock;
  /** Aborted when the run ends in any way but the good one. */
  readonly signal: AbortSignal;
  /** True when nothing more shall be started: failed, canceled, or done. */
  readonly stopping: boolean;
  /** Ends the run with an error. */
  fail(error: unknown, element: Element): void;
  /**
   * Something of the stream will be lost; `onWarning` of the run hears of it. Throws `ERR_NOT_NEGOTIATED` in a strict
   * one.
   */
  warn(text: string, element: Element): void;
  /** A sink has seen the end of its stream. */
  sinkDone(element: Element): void;
  /** Waits for a buffer under the run's rules. */
  acquire(pool: BufferPool): Promise<MediaBuffer>;
  /**
   * @internal Bounds a call of a stage, `callee`, as {@link beginWait} does. What it spends in calls of other stages,
   * in line for a buffer of a pad, in a wait of its own, or while another of its inputs brings nothing, does not count.
   * `caller` is the pad that made the call, if it was one. With `times` 0 it bounds itself, and only the pad is told.
   * Returns the work itself.
   */
  boundCall<T>(
    work: Promise<T>,
    callee: Element,
    caller: OutputPad | undefined,
    doing: string,
    times?: number,
  ): Promise<T>;
  /**
   * Bounds a wait of a stage: unless {@link endWait} comes first, the run fails with `ERR_STARVED` and the stage's
   * name. The bound is the pipeline's `acquireTimeout`, changed as `bounds` says; undefined when there is no bound, so
   * nothing to end.
   */
  beginWait(element: Element, doing: string, bounds?: WaitBounds): StageWait | undefined;
  /** Ends a wait; does nothing for undefined. */
  endWait(wait: StageWait | undefined): void;
  /**
   * @internal Calls a hook that nobody waits for. What it throws, or its promise rejects with, is the error of the run
   * and not of the stage or the application that made it be called.
   */
  callHook(name: string, hook: () => unknown, element: Element): void;
  /** @internal What its settlements have cost since the last turn. */
  readonly pace: Pace;
  /** @internal What the stages compare before the first buffer comes; undefined from then on. */
  readonly opening: Settlement | undefined;
  /** @internal From now on what a stage does is its own: something that it waited for has ended. */
  ownFromNow(element: Element): void;
  /** @internal lists a pool in the run's summary until it has drained */
  watch(pool: BufferPool): void;
  /** @internal why so many bytes cannot be had, or undefined; the pad's own pool is not counted */
  overBudget(bytes: number, pad: OutputPad): string | undefined;
  /** @internal */
  decided(decision: Decision): void;
}

let nextNumber = 1;

/** The element in which an error was thrown: the loop that catches it may belong to another one. */
const errorSources: WeakMap<object, string> = new WeakMap();

/** @internal Notes the element in which an error was thrown; the first note stays. Returns the error. */
export function attachErrorSource<T>(error: T, element: Element): T {
  if (typeof error === "object" && error !== null && !errorSources.has(error)) errorSources.set(error, element.name);
  return error;
}

/** @internal Name of the element in which an error was thrown; undefined when it is not known. */
export function errorSource(error: unknown): string | undefined {
  return typeof error === "object" && error !== null ? errorSources.get(error) : undefined;
}

/**
 * @internal Checks an element's name, by the argument that its caller wrote; absent: undefined. Throws
 *   `ERR_INVALID_ARG_TYPE`.
 */
export function checkName(argument: string, name: string | undefined): string | undefined {
  if (name === undefined || (typeof name === "string" && name !== "")) return name;
  throw wrongType(argument, "a non-empty string", name);
}

/**
 * @internal The promise in what code of the application answered, a hook of `element` or something else of that name;
 *   undefined: there is nothing to wait for. Throws `ERR_INVALID_ARG_TYPE` for what cannot be read. @realtime but for
 *   promises
 */
export function promiseIn(name: string, answer: unknown, element?: Element): Promise<unknown> | undefined {
  if ((typeof answer !== "object" || answer === null) && typeof answer !== "function") return undefined;
  try {
    const { then } = answer as { then?: unknown };
    if (typeof then !== "function") return undefined;
    if (answer instanceof Promise && isPlainPromise(answer)) {
      // One with a `then` of its own is waited for as `await` waits for it, which does not look at that.
      return then === Promise.prototype.then ? answer : Promise.prototype.then.call(answer);
    }
    return adopted(name, answer, then as PromiseLike<unknown>["then"], element);
  } catch (cause) {
    unheard(answer);
    throw unreadableAnswer(name, answer, cause, element);
  }
}

/** False for a promise of a subclass, and for a proxy of one, whose `then` throws. */
function isPlainPromise(promise: Promise<unknown>): boolean {
  const same = Promise.resolve(promise);
  if (same === promise) return true;
  // Another one, which was made for the question.
  same.then(undefined, () => {});
  return false;
}

/** The promise of what has a `then` of its own, which was read once and is called once. */
function adopted(
  name: string,
  answer: object,
  then: PromiseLike<unknown>["then"],
  element: Element | undefined,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    try {
      then.call(answer, resolve, reject);
    } catch (cause) {
      unheard(answer);
      reject(unreadableAnswer(name, answer, cause, element));
    }
  });
}

/** What is refused may be a promise that has rejected, with a `then` that throws: the refusal tells enough. */
function unheard(answer: object): void {
  try {
    if (answer instanceof Promise) Promise.prototype.then.call(answer, undefined, () => {});
  } catch {
    // It only has the prototype, or a class whose promises cannot be made.
  }
}

function unreadableAnswer(name: string, answer: unknown, cause: unknown, element: Element | undefined): MillpondError {
  if (element === undefined) return unreadableError(name, answer, cause);
  return attachErrorSource(unreadableError(element.answerOf(name), answer, cause), element);
}

/** @internal The refusal of an answer that throws when it is looked at: a revoked proxy, a getter that throws. */
export function unreadableError(name: string, value: unknown, cause: unknown): MillpondError {
  const message = `${name} cannot be read: a look at it throws`;
  return new MillpondError("ERR_INVALID_ARG_TYPE", message, { name, value }, { cause });
}

/** A stage of a pipeline. */
export abstract class Element {
  /** Its name, unique in a pipeline. */
  readonly name: string;
  /** Where buffers come in. */
  readonly inputs: InputPad[] = [];
  /** Where buffers go out. */
  readonly outputs: OutputPad[] = [];
  /** @internal When it came back last from another stage, from a pool, or from a wait of its own. */
  ownSince = 0;
  #running: Running | null = null;
  readonly #waiters: Waiters[] = [];
  /** @internal The settlement of the format that it is taking; undefined: of none. */
  takes: Settlement | undefined;

  /** @param name for messages and reports; default: the class's name and a number. Throws `ERR_INVALID_ARG_TYPE`. */
  constructor(name?: string) {
    this.name = checkName("name", name) ?? `${this.constructor.name.toLowerCase()}${nextNumber++}`;
  }

  /** Adds an input. */
  protected addInput(name: string, caps: Caps = Caps.any): InputPad {
    const pad = new InputPad(this, name, checkCaps("caps", caps));
    this.inputs.push(pad);
    return pad;
  }

  /** Adds an output. */
  protected addOutput(name: string, caps: Caps = Caps.any): OutputPad {
    const pad = new OutputPad(this, name, checkCaps("caps", caps));
    this.outputs.push(pad);
    return pad;
  }

  /**
   * True for a stage that an application, a pipe or anything else outside feeds or empties in its own time: the run
   * does not bound its waits.
   */
  get isPacedFromOutside(): boolean {
    return false;
  }

  /** @internal True while a wait of this stage is for a reader outside: it may last, and begins anew after that. */
  isHeldOutside(_wait: StageWait): boolean {
    return false;
  }

  /** @internal False while a loop of its own has something to do. */
  get isIdle(): boolean {
    return true;
  }

  /** @internal What messages call an answer of a hook. */
  answerOf(hook: string): string {
    return `what ${hook}() of "${this.name}" answered`;
  }

  /**
   * @internal The promise in what a hook answered; undefined: there is nothing to wait for. Throws
   *   `ERR_INVALID_ARG_TYPE` for what cannot be read. @realtime but for promises
   */
  promiseOf<T>(hook: string, answer: Maybe<T>): Promise<T> | undefined {
    return answer === undefined ? undefined : (promiseIn(hook, answer, this) as Promise<T> | undefined);
  }

  /**
   * @internal Looks at the answer of a hook whose promise nobody waits for: what one rejects with is the run's error,
   *   as {@link callHook} has it.
   */
  tell(hook: string, answer: unknown): void {
    const work = this.promiseOf(hook, answer);
    if (work !== undefined) this.callHook(hook, () => work);
  }

  /**
   * @internal What a hook answered that has to answer at once. A promise is refused with `ERR_INVALID_ARG_TYPE`, and
   *   what it rejects with is told.
   */
  answeredNow<T>(hook: string, expected: string, answer: T): T {
    const work = this.promiseOf<unknown>(hook, answer);
    if (work === undefined) return answer;
    this.callHook(hook, () => work);
    throw attachErrorSource(wrongType(this.answerOf(hook), `${expected}, at once`, answer), this);
  }

  /**
   * @internal What a hook answered, as `check` returns it, which gets the answer's name. Throws what that throws; an
   *   answer that cannot be read is `ERR_INVALID_ARG_TYPE`.
   */
  checkedAnswer<T>(hook: string, answer: unknown, check: (name: string) => T): T {
    const name = this.answerOf(hook);
    return this.answeredWell(() => {
      try {
        return check(name);
      } catch (error) {
        throw isMillpondError(error) ? error : unreadableError(name, answer, error);
      }
    });
  }

  /** @internal Caps that a hook answered. Throws `ERR_INVALID_ARG_TYPE`, which names the hook and this stage. */
  answeredCaps(hook: string, answer: Caps): Caps {
    const caps = this.answeredNow(hook, "Caps", answer);
    return this.answeredWell(() => checkCaps(this.answerOf(hook), caps));
  }

  /** @internal A number of buffers that a getter answered. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. */
  answeredCount(getter: string, answer: number): number {
    const count = this.answeredNow(getter, "a number", answer);
    return this.answeredWell(() => wholeNumber(`${getter} of "${this.name}"`, count));
  }

  /** @internal Calls a hook, or checks its answer; the error is of this stage. */
  answeredWell<T>(check: () => T): T {
    try {
      return check();
    } catch (error) {
      throw attachErrorSource(error, this);
    }
  }

  /** @internal What its comparisons belong to; undefined: to nothing beside themselves. */
  get settlement(): Settlement | undefined {
    return this.takes ?? this.#running?.opening;
  }

  /** @internal Does work that compares caps, see {@link settle}. */
  settling<T>(work: () => T): T {
    return settle(this.settlement, this.pace, this.name, work);
  }

  /** @internal The work of settlements in its run; undefined outside of one. */
  get pace(): Pace | undefined {
    return this.#running?.pace;
  }

  /**
   * @internal The turn of the event loop that has to come before it compares for a format; undefined: none. Who has
   *   waited asks again: another may have been first.
   */
  get turnDue(): Promise<void> | undefined {
    return this.#running?.pace.dueBefore(this.settlement);
  }

  /** @internal Waits for a turn as in line for a buffer: what other stages compare meanwhile is not this one's time. */
  inLine(turn: Promise<void>): Promise<void> {
    const run = this.#running;
    // Those of this run: the next one has others.
    const traffics = this.outputs.map(({ traffic }) => traffic);
    for (const traffic of traffics) traffic.acquires++;
    return turn.then(() => {
      for (const traffic of traffics) traffic.acquires--;
      run?.ownFromNow(this);
    });
  }

  /**
   * Buffers that come through in all, about, where a stage upstream knows, once it has started; undefined where none
   * does. Default: as many as come in; a stage that knows better overrides it.
   */
  get expectedBuffers(): number | undefined {
    const source = this.inputs.length === 1 ? this.inputs[0]!.peer?.element : undefined;
    return source?.answeredNow("expectedBuffers", "a number or undefined", source.expectedBuffers);
  }

  /**
   * @internal The promise of a hook, which the run waits for as long as the bound allows. The hook is not interrupted.
   */
  bounded<T>(work: Promise<T>, doing: string, bounds?: WaitBounds): Promise<T> {
    const running = this.#running;
    const wait = running?.beginWait(this, doing, bounds);
    if (wait === undefined) return work;
    const end = (): void => running!.endWait(wait);
    work.then(end, end);
    return work;
  }

  /** @internal True where {@link chain} bounds by itself whatever it waits for. */
  get boundsChain(): boolean {
    return false;
  }

  /** @internal Bounds a call of this stage as a whole, see {@link Running.boundCall}. Returns the work itself. */
  boundedCall<T>(work: Promise<T>, caller: OutputPad | undefined, doing: string, times?: number): Promise<T> {
    return this.#running === null ? work : this.#running.boundCall(work, this, caller, doing, times);
  }

  /** @internal Calls a hook of this stage that nobody waits for, see {@link Running.callHook}. */
  callHook(name: string, hook: () => unknown): void {
    if (this.#running !== null) this.#running.callHook(name, hook, this);
    // No run whose error it could be: the caller hears of it, unless it comes later.
    else this.promiseOf(name, hook() as Maybe<unknown>)?.then(undefined, () => {});
  }

  /** @internal A place where calls of this stage wait; the run ends every wait there. */
  protected addWaiters(): Waiters {
    const waiters = new Waiters();
    this.#waiters.push(waiters);
    return waiters;
  }

  /** @internal What waits in this stage looks again. Throws nothing. */
  wakeWaiters(): void {
    for (const waiters of this.#waiters) waiters.wake();
  }

  /** The run it takes part in. Throws `ERR_INACTIVE` outside of one. */
  get running(): Running {
    if (this.#running === null)
      throw new MillpondError("ERR_INACTIVE", `element "${this.name}" is not in a running pipeline`);
    return this.#running;
  }

  /** @internal {@link running}; null outside of a run. */
  get runningOrNull(): Running | null {
    return this.#running;
  }

  /** @internal The pipeline sets it at the start, and null at the end. */
  attach(running: Running | null): void {
    this.#running = running;
  }

  /** True for a stage that waits for something outside (a disk, a thread): the pipeline puts a queue in front of it. */
  get waits(): boolean {
    return false;
  }

  /** An unlinked input to link to; elements with inputs on request add one. Undefined: there is none. */
  freeInput(): InputPad | undefined {
    return this.inputs.find((pad) => pad.peer === null);
  }

  /** An unlinked output to link from; elements with outputs on request add one. Undefined: there is none. */
  freeOutput(): OutputPad | undefined {
    return this.outputs.find((pad) => pad.peer === null);
  }

  /** Hook: the run begins. Opens what it needs. What it throws ends the run. */
  start(): Maybe<void> {}

  /**
   * Hook: every stream has ended well, for all stages of the run. What was written may get its name; called from the
   * sources downwards, before {@link stop}. From the first one on an abort of the run comes too late: all of them are
   * called. What it throws makes the run fail.
   */
  commit(): Maybe<void> {}

  /**
   * Hook: the run is over, well or not. Closes what it opened, releases what it retains. Called once for each start.
   */
  stop(): Maybe<void> {}

  /**
   * Hook: ends every wait of this stage, because the run ends or a seek begins; at the end `running.signal` says the
   * same. Not waited for, as {@link onFlush}: what a promise of it rejects with fails the run.
   */
  unlock(): void {}

  /** Hook: a seek. Releases every buffer that it retains, and forgets the stream so far. */
  onFlush(): void {}

  /** A buffer arrives, and is this element's from now on: also when it throws, it must have released it. */
  abstract chain(buffer: MediaBuffer, pad: InputPad): Maybe<void>;

  /**
   * The format of the buffers that follow. The pad has it when this is called. Throw `ERR_NOT_NEGOTIATED` to refuse.
   */
  abstract formatChanged(format: StreamFormat, pad: InputPad): Maybe<void>;

  /** The end of the stream on one input. */
  abstract onEos(pad: InputPad): Maybe<void>;

  /**
   * @internal A format arrives. Sets the pad's format at the moment from which it is in force; a queue does that later.
   */
  onFormat(format: StreamFormat, pad: InputPad): Maybe<void> {
    pad.format = format;
    return this.formatChanged(format, pad);
  }

  /** Formats that an input could take now, considering what is downstream. */
  acceptedCaps(pad: InputPad): Caps {
    return pad.caps;
  }

  /**
   * Answers an upstream stage about memory: adds what this element needs to the query. False: it requires nothing,
   * which is the default; an element that passes buffers on unchanged forwards the question instead.
   */
  proposeAllocation(_query: AllocationQuery, _pad: InputPad): Maybe<boolean> {
    return false;
  }

  /** Hook of a deciding element: looks at the answers, may change them, before the pool is chosen by what they say. */
  decideAllocation(_query: AllocationQuery, _pad: OutputPad): Maybe<void> {}

  /** Whether other stages may hold buffers of that output at the same time. */
  sharesOutput(_pad: OutputPad): boolean {
    return false;
  }

  /** The other end of an output wants nothing more. When that is true of all outputs, the inputs want nothing more. */
  outputFinished(_pad: OutputPad): void {
    if (this.outputs.every((pad) => pad.finished)) for (const pad of this.inputs) pad.finish();
  }

  /**
   * A stage downstream wants to be asked again. A stage that decides about buffers notes it; others pass it upstream.
   */
  reconfigureRequested(pad: OutputPad): void {
    if (pad.pool !== null) pad.needsReconfigure = true;
    else for (const input of this.inputs) input.reconfigure();
  }

  /** @internal Loops of its own: sources and queues. Resolves when there is nothing left to do. */
  get task(): (() => Promise<void>) | undefined {
    return undefined;
  }

  /** A few words for the description: what it does with buffers. */
  get role(): string {
    return "";
  }
}

/*
 * TimeSlice: one loop's share of the thread. A pipeline whose stages never wait would otherwise block timers, signals
 * and input for as long as it runs. O(1); the clock is read for every 16th buffer.
 */

/** 8 ms: half a frame at 60 Hz, so that a page stays smooth and a signal is felt at once. */
const SLICE_MS = 8;

/** Reading the clock costs 30 ns, as much as a whole push; every 16th buffer it is not noticed. */
const LOOK_EVERY = 16;

/** One loop's share of the thread. */
export class TimeSlice {
  #steps = 0;
  #since: number = systemClock.now();
  readonly #pace: Pace;

  /** @param pace of its run: a turn that is due there is due here */
  constructor(pace: Pace) {
    this.#pace = pace;
  }

  /**
   * Undefined while the slice lasts; after that a promise that resolves in another turn of the event loop. Who has
   * waited asks again: another loop may have made a turn due. @realtime
   */
  yieldIfNeeded(): Promise<void> | undefined {
    const { turn } = this.#pace;
    if (turn !== undefined) return turn;
    if ((++this.#steps & (LOOK_EVERY - 1)) !== 0 || systemClock.now() - this.#since < SLICE_MS) return undefined;
    return nextTurn().then(() => {
      this.#since = systemClock.now();
    });
  }
}

/**
 * @internal Work of the settlements of one run since the last turn of the event loop. Where it is considerable, a turn
 * is due: until it has come only the settlement under way then goes on. So one settlement is what blocks timers and
 * input, however many formats and sources there are. Counted and not timed, so that a turn is due at the same place on
 * every machine. O(1).
 */
export class Pace {
  /** The turn that is due; undefined: none is. */
  turn: Promise<void> | undefined;
  #spent = 0;
  #owner: Settlement | undefined;

  /** A settlement did work. */
  spent(steps: number, settlement: Settlement): void {
    this.#spent += steps;
    if (this.#spent < TURN_STEPS || this.turn !== undefined) return;
    this.#owner = settlement;
    this.turn = nextTurn().then(() => {
      this.turn = undefined;
      this.#owner = undefined;
      this.#spent = 0;
    });
  }

  /** The turn that has to come before a settlement goes on. */
  dueBefore(settlement: Settlement | undefined): Promise<void> | undefined {
    return settlement !== undefined && settlement === this.#owner ? undefined : this.turn;
  }
}

interface Turns {
  setImmediate?: (fn: () => void) => unknown;
  MessageChannel?: typeof MessageChannel;
}

/** Resolves in a later turn of the event loop, as early as the platform allows. */
export function nextTurn(): Promise<void> {
  const { setImmediate: immediate, MessageChannel: Channel } = globalThis as Turns;
  return new Promise((resolve) => {
    if (immediate !== undefined) immediate(() => resolve());
    else if (Channel !== undefined) {
      // setTimeout is clamped to 4 ms after a few turns in a browser; a message is not.
      const { port1, port2 } = new Channel();
      (port1 as { onmessage?: () => void }).onmessage = () => {
        port1.close();
        resolve();
      };
      port2.postMessage(null);
    } else setTimeout(resolve, 0);
  });
}
