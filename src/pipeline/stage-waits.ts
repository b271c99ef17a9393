/**
 * WaitWatch: how a run finds the stage that hangs. The waits and the calls of a stage have a limit; when one lasts
 * longer, the run ends with `ERR_STARVED` and the stage's name.
 *
 * Life-cycle of a wait: `begin()` gives it a limit, or answers undefined where nothing bounds it; `end()` ends it. In
 * between its time begins anew whenever the stage has given out a buffer, or waits for a reader outside. Of a call
 * (`boundCall()`) only the time that the stage has itself counts: not what it spends in calls of other stages, in line
 * for a buffer, in a wait of its own, or without input.
 *
 * Life-cycle of the watch: one for each run. A timer is set for the wait that may be over first; when it is due, the
 * watch looks at all waits, and sets it for the next one. Once the sources have ended (`watchEnd()`) it looks, too, for
 * an idle stage that does not pass the end of the stream on. A wait that is over its limit is a stall: the run is told,
 * and does not wait for the stage any more (`stall`). `close()` drops the waits and the timer.
 *
 * Invariants: every wait with a limit is in the list, in the order in which they began. Until the first stall the timer
 * is due when the first wait may be over, or earlier. Of a stage that waits often times are not read but noted at the
 * next look, so its bound is late by an eighth of `acquireTimeout` at most.
 *
 * Complexity: a wait costs one object and O(pads of its stage), and no timer of its own. A look is O(waits), or
 * O(waits^2) where they are calls; there are a few for each stage.
 */

import type { Clock } from "../util/clock.ts";
import { MillpondError, plainMessage } from "../util/errors.ts";
import { attachErrorSource, type Element, type StageWait, type WaitBounds } from "./base/element.ts";
import { BUFFER_WAIT, type InputPad, type OutputPad } from "./base/pad.ts";

/** What the watch asks its run, and tells it. */
export interface WatchedRun {
  readonly clock: Clock;
  /** The sources have ended, and a sink waits for the end of its stream. */
  readonly isEnding: boolean;
  /** True for a sink that has not seen the end of its stream. */
  awaitsEnd(sink: Element): boolean;
  fail(error: unknown): void;
  callHook(name: string, hook: () => unknown, element: Element): void;
  /** A wait has lasted too long: the run ends, and no longer waits for the stage. */
  onStall(error: MillpondError, element: Element): void;
}

/** A time that was not read: the next look at the waits takes it for now. */
const UNREAD = Number.NaN;

/** Times that are read between two looks at the waits; what comes after them is {@link UNREAD}. */
const EXACT_TIMES = 64;

/** Unread times are looked at within this part of `acquireTimeout`: by so much the bound of a busy stage is late. */
const LOOKS = 8;

/** The end of a stream may be kept so many times `acquireTimeout`: as long as a call that handles it. */
const END_TIMES = 10;

/** Buffers that a stage has given out. */
function givenBy(element: Element): number {
  let given = 0;
  for (const pad of element.outputs) given += pad.buffers;
  return given;
}

/** Nothing comes in there now, and something may come yet. */
function isQuiet({ ended, peer }: InputPad): boolean {
  return !ended && peer !== null && peer.traffic.calls === 0;
}

/** A wait in the list of its run, linked both ways, so that one that ends costs no search. */
class LinkedWait implements StageWait {
  readonly element: Element;
  readonly doing: string;
  readonly limit: number;
  readonly isCall: boolean;
  since: number;
  given: number;
  /** Undefined when it has ended. */
  list: WaitList | undefined;
  before: LinkedWait | undefined;
  after: LinkedWait | undefined;

  constructor(element: Element, doing: string, limit: number, since: number, isCall: boolean) {
    this.element = element;
    this.doing = doing;
    this.limit = limit;
    this.since = since;
    this.given = givenBy(element);
    this.isCall = isCall;
  }
}

/** The waits of a run in the order in which they began. A `Set` costs twice as much as all the rest of a wait. */
class WaitList {
  #first: LinkedWait | undefined;
  #last: LinkedWait | undefined;

  add(wait: LinkedWait): void {
    wait.list = this;
    wait.before = this.#last;
    if (this.#last === undefined) this.#first = wait;
    else this.#last.after = wait;
    this.#last = wait;
  }

  /** False: it is not here. */
  delete(wait: StageWait): boolean {
    if (!(wait instanceof LinkedWait) || wait.list !== this) return false;
    const { before, after } = wait;
    if (before === undefined) this.#first = after;
    else before.after = after;
    if (after === undefined) this.#last = before;
    else after.before = before;
    wait.list = undefined;
    wait.before = undefined;
    wait.after = undefined;
    return true;
  }

  clear(): void {
    for (const wait of this) this.delete(wait);
  }

  *[Symbol.iterator](): Generator<LinkedWait, void, undefined> {
    for (let wait = this.#first; wait !== undefined; ) {
      const { after } = wait;
      yield wait;
      wait = after;
    }
  }
}

/** What the stage of a wait has begun to wait for last: inside its start that is what hangs. */
function innermost(wait: StageWait, waits: Iterable<StageWait>): StageWait {
  let last = wait;
  for (const other of waits) if (other.element === wait.element && (wait.isCall || !other.isCall)) last = other;
  return last;
}

function seconds(ms: number): string {
  return String(Math.round(ms / 10) / 100);
}

function stalledError({ element, doing, limit }: StageWait): MillpondError {
  return new MillpondError(
    "ERR_STARVED",
    `"${element.name}" has been ${doing} for ${seconds(limit)} s, which is as long as the pipeline waits; ` +
      "if it is slow and does not hang, raise acquireTimeout",
    { stage: element.name, doing, limit },
  );
}

/** @internal The waits of the stages of a run, and their limits. */
export class WaitWatch {
  readonly #run: WatchedRun;
  readonly #clock: Clock;
  readonly #elements: readonly Element[];
  readonly #acquireTimeout: number;
  readonly #waits: WaitList = new WaitList();
  /** Times that may be read before the next look. */
  #exactTimes = EXACT_TIMES;
  #timer: { readonly handle: unknown; readonly due: number } | undefined;
  /** A stage that has kept the end of the stream since then. */
  #kept: LinkedWait | undefined;
  /** A wait has lasted too long: the run no longer waits for its stage. */
  hasStalled = false;
  #onStall!: () => void;
  /** Resolves when {@link hasStalled} is set. */
  readonly stall: Promise<void> = new Promise((resolve) => {
    this.#onStall = resolve;
  });

  /** @param acquireTimeout milliseconds that one wait may last, unless its bounds say otherwise */
  constructor(run: WatchedRun, elements: readonly Element[], acquireTimeout: number) {
    this.#run = run;
    this.#clock = run.clock;
    this.#elements = elements;
    this.#acquireTimeout = acquireTimeout;
  }

  /** See `Running.beginWait`; with `isCall` the wait is a whole call of the stage. */
  begin(element: Element, doing: string, bounds: WaitBounds = {}, isCall = false): StageWait | undefined {
    const acquireTimeout = this.#acquireTimeout;
    const { fallback = Number.POSITIVE_INFINITY, times = 1, atLeast = 0 } = bounds;
    const limit = acquireTimeout === Number.POSITIVE_INFINITY ? fallback : Math.max(acquireTimeout * times, atLeast);
    if (limit === Number.POSITIVE_INFINITY || this.#isPaced(element)) return undefined;
    const wait = new LinkedWait(element, doing, limit, this.#now(), isCall);
    this.#waits.add(wait);
    // An unread time is looked at earlier than that.
    if (!Number.isNaN(wait.since)) this.#watch(wait.since + limit);
    return wait;
  }

  /** An answer that is refused fails the run; the wait has to begin all the same. */
  #isPaced(element: Element): boolean {
    try {
      const answer: unknown = element.isPacedFromOutside;
      if (typeof answer === "boolean") return answer;
      return Boolean(element.answeredNow("isPacedFromOutside", "true or false", answer));
    } catch (error) {
      const rethrow = (): never => {
        throw error;
      };
      this.#run.callHook("isPacedFromOutside", rethrow, element);
      return false;
    }
  }

  /**
   * The time of a wait that begins or ends. Reading it takes as long as the rest of the wait, so of a stage that is
   * busy only the first times are read; of the others the bound is late, by an eighth of `acquireTimeout` at most.
   */
  #now(): number {
    if (this.#exactTimes === 0) return UNREAD;
    const now = this.#readClock();
    const acquireTimeout = this.#acquireTimeout;
    if (acquireTimeout !== Number.POSITIVE_INFINITY && --this.#exactTimes === 0)
      this.#watch(now + acquireTimeout / LOOKS);
    return now;
  }

  /** The program's own clock may throw, which fails the run; what is under way has to be waited for all the same. */
  #readClock(): number {
    try {
      return this.#clock.now();
    } catch (error) {
      this.#run.fail(error);
      return UNREAD;
    }
  }

  /** See `Running.endWait`. */
  end(wait: StageWait | undefined): void {
    if (wait === undefined || !this.#waits.delete(wait) || wait.isCall) return;
    this.ownFromNow(wait.element);
  }

  /** From now on what a stage does is its own: something that it waited for has ended. */
  ownFromNow(element: Element): void {
    element.ownSince = this.#now();
  }

  /** See `Running.boundCall`. */
  boundCall<T>(work: Promise<T>, callee: Element, caller: OutputPad | undefined, doing: string, times = 1): Promise<T> {
    if (this.#acquireTimeout === Number.POSITIVE_INFINITY) return work;
    const wait = times === 0 ? undefined : this.begin(callee, doing, { times }, true);
    // Nothing calls a source, so nothing asks where it is.
    if (wait === undefined && (caller === undefined || caller.element.inputs.length === 0)) return work;
    const traffic = caller?.traffic;
    if (traffic !== undefined) traffic.calls++;
    const end = (): void => {
      this.end(wait);
      if (traffic === undefined) return;
      traffic.calls--;
      this.ownFromNow(caller!.element);
    };
    work.then(end, end);
    return work;
  }

  /** Since when the stage of a call has done nothing but this itself; undefined while something else is waited for. */
  #ownSince({ element, since }: StageWait): number | undefined {
    for (const { traffic } of element.outputs) if (traffic.calls + traffic.acquires > 0) return undefined;
    // A stage that joins streams waits with one for the others.
    for (const pad of element.inputs) if (element.inputs.length > 1 && isQuiet(pad)) return undefined;
    let own = Math.max(since, element.ownSince);
    for (const other of this.#waits) {
      if (other.element !== element) continue;
      if (!other.isCall) return undefined;
      own = Math.max(own, other.since);
    }
    return own;
  }

  /**
   * One timer for all waits, which looks at them when the first may be over; most are by then, and cost no timer of
   * their own.
   */
  #watch(due: number): void {
    if (this.#timer !== undefined && this.#timer.due <= due) return;
    const look = (): void => {
      this.#timer = undefined;
      this.#look();
    };
    try {
      this.#clock.clearTimer(this.#timer?.handle);
      this.#timer = { handle: this.#clock.setTimer(look, Math.max(0, due - this.#clock.now()), false), due };
    } catch (error) {
      this.#run.fail(error);
    }
  }

  #look(): void {
    const now = this.#readClock();
    if (Number.isNaN(now)) return;
    this.#exactTimes = EXACT_TIMES;
    for (const wait of this.#waits) if (Number.isNaN(wait.since)) wait.since = now;
    for (const element of this.#elements) if (Number.isNaN(element.ownSince)) element.ownSince = now;
    let next = Number.POSITIVE_INFINITY;
    for (const wait of this.#waits) {
      const given = givenBy(wait.element);
      if (given !== wait.given) {
        wait.given = given;
        wait.since = now;
      } else if (wait.element.isHeldOutside(wait)) wait.since = now;
      else if (wait.isCall) wait.since = this.#ownSince(wait) ?? now;
      if (now - wait.since >= wait.limit) {
        this.#stopWaiting(innermost(wait, this.#waits));
        return;
      }
      next = Math.min(next, wait.since + wait.limit);
    }
    next = Math.min(next, this.#lookAtEnd(now));
    if (next < Number.POSITIVE_INFINITY) this.#watch(next);
  }

  /** Whether a stage keeps the end of the stream is looked at once in each `acquireTimeout`. */
  watchEnd(): void {
    const acquireTimeout = this.#acquireTimeout;
    if (!this.#run.isEnding || acquireTimeout === Number.POSITIVE_INFINITY) return;
    const now = this.#readClock();
    if (!Number.isNaN(now)) this.#watch(now + acquireTimeout);
  }

  /** Returns when to look again. */
  #lookAtEnd(now: number): number {
    const acquireTimeout = this.#acquireTimeout;
    if (!this.#run.isEnding) {
      this.#kept = undefined;
      return Number.POSITIVE_INFINITY;
    }
    const element = this.#elements.find((one) => this.#keepsEnd(one));
    if (element === undefined) this.#kept = undefined;
    else if (this.#kept?.element !== element || this.#kept.given !== givenBy(element)) {
      const limit = END_TIMES * acquireTimeout;
      this.#kept = new LinkedWait(element, "keeping the end of the stream to itself", limit, now, false);
    } else if (now - this.#kept.since >= this.#kept.limit) {
      this.#stopWaiting(this.#kept);
      return Number.POSITIVE_INFINITY;
    }
    return now + acquireTimeout;
  }

  /** It has the end of every input, is in no call and no wait, and has not passed the end on. */
  #keepsEnd(element: Element): boolean {
    const { inputs, outputs } = element;
    const hasPassed = outputs.length === 0 ? !this.#run.awaitsEnd(element) : outputs.every((pad) => pad.ended);
    if (hasPassed || this.#isPaced(element) || !element.isIdle) return false;
    if (!inputs.every(({ ended, peer }) => ended && peer?.traffic.calls === 0)) return false;
    if (outputs.some(({ traffic }) => traffic.calls + traffic.acquires > 0)) return false;
    for (const wait of this.#waits) if (wait.element === element) return false;
    return true;
  }

  #stopWaiting(wait: StageWait): void {
    this.#waits.delete(wait);
    this.hasStalled = true;
    this.#run.onStall(stalledError(wait), wait.element);
    this.#onStall();
  }

  /** A pool starves because a stage does not give back; where one is at work for long, the error names it, too. */
  withBusyStage(error: MillpondError): MillpondError {
    const now = this.#clock.now();
    // What began at an unread time began late; who is in line for a buffer is not busy.
    const busy = [...this.#waits].filter(({ since, doing }) => !Number.isNaN(since) && doing !== BUFFER_WAIT);
    const [first] = busy.sort((a, b) => a.since - b.since);
    if (first === undefined || now - first.since < first.limit / 2) return error;
    const { name } = first.element;
    const long = seconds(now - first.since);
    return attachErrorSource(
      new MillpondError(
        "ERR_STARVED",
        `"${name}" has been ${first.doing} for ${long} s, and meanwhile ${plainMessage(error)}`,
        { ...error.details, stage: name },
        { cause: error },
      ),
      first.element,
    );
  }

  /** Forgets all waits. Throws what the clock throws. */
  close(): void {
    this.#waits.clear();
    this.#clock.clearTimer(this.#timer?.handle);
  }
}
