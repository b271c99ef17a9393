/**
 * InputPad and OutputPad: where elements are joined. Buffers, formats and the end of the stream go from an output to an
 * input. Questions about formats and memory go the same way. `finish()` (no more buffers) and `reconfigure()`
 * (negotiate again) go back.
 *
 * Life-cycle of an output in a run: closed until `setFormat()`, then open. It is closed again after `end()`, after the
 * input's `finish()`, and during a seek. `push()` on a closed output releases the buffer: it throws `ERR_FLUSHING`
 * during a seek, nothing after `finish()`, and `ERR_INACTIVE` otherwise.
 *
 * Invariants: `closed` is true when the output is finished, ended, flushing or without a format. A format that the
 * other end did not take is not the pad's: the pad has none until one is taken, and pushes get the error of that one.
 * What a seek interrupted is announced again after it. The callee has the buffer from the moment of the call. A pad
 * that decides about buffers has a `pool` and a `decision`, or neither; a new format needs a new decision before the
 * next buffer, however it came to the pad.
 *
 * Complexity: `push()` is O(1). It is a plain call that returns nothing when the buffer has gone through, and a promise
 * when the caller must wait: back-pressure costs nothing where there is none.
 */

import { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { releaseOrPass } from "../../media/buffer/release.ts";
import { stageWaits } from "../../observe/stages.ts";
import type { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import { MillpondError } from "../../util/errors.ts";
import { instance, wholeNumber } from "../../util/validate.ts";
import type { Caps } from "../caps.ts";
import { AllocationQuery } from "../negotiate/allocation-query.ts";
import { type Decision, decideAllocation } from "../negotiate/pool.ts";
import { enterSettlement, Settlement } from "../settlement.ts";
import { checkFormat, formatText, type StreamFormat, sameFormat } from "../stream-format.ts";
import type { Element, WaitBounds } from "./element.ts";

/** What a call that may have to wait returns: nothing, or the promise of the end of the wait. */
export type Maybe<T> = T | Promise<T>;

/** What a hook that may refuse returns: false refuses, anything else (nothing, too) does not. */
// biome-ignore lint/suspicious/noConfusingVoidType: a hook without a return statement is the usual one.
export type HookResult = boolean | undefined | void;

/** What a stage does, for recorders, until that which it has pushed has gone through. */
export const DOWNSTREAM = "waits for downstream";

/** @internal What a stage does that is in line for a buffer of a pool. */
export const BUFFER_WAIT = "waiting for a buffer";

/** The pool itself refuses after `acquireTimeout`; this is for one of the application's that does not. */
const BUFFER_BOUNDS: WaitBounds = { times: 2 };

/**
 * What pads want that several ways lead to, while one question about formats goes through the stages: behind n tees
 * whose branches meet again there are 2^n ways. Undefined between two questions; no stage does anything inside one.
 */
let knownCaps: Map<OutputPad, Caps> | undefined;

/** Pads that one request to negotiate again has come to. */
let requested: Set<OutputPad> | undefined;

/** What both kinds of pads have. */
export abstract class Pad {
  /** The element that it belongs to. */
  readonly element: Element;
  /** Its name inside the element. */
  readonly name: string;
  /** What the element can take or make here at all. */
  readonly caps: Caps;
  /** What flows now; null before the first format. */
  format: StreamFormat | null = null;
  /** Buffers that went through since the start. */
  buffers = 0;

  /** @internal Elements make their pads. */
  constructor(element: Element, name: string, caps: Caps) {
    this.element = element;
    this.name = name;
    this.caps = caps;
  }

  /** The pad at the other end. */
  abstract readonly peer: Pad | null;

  /** `scale.out`. */
  toString(): string {
    return `${this.element.name}.${this.name}`;
  }
}

/** Where buffers come in. */
export class InputPad extends Pad {
  /** The output that feeds it; null while not linked. */
  peer: OutputPad | null = null;
  /** True when the end of the stream came. */
  ended = false;

  /** Says that no further buffer is wanted; upstream stops as soon as it notices. */
  finish(): void {
    const { peer } = this;
    if (peer === null || peer.finished) return;
    peer.finished = true;
    peer.closed = true;
    const { element } = peer;
    element.wakeWaiters();
    element.callHook("outputFinished", () => element.outputFinished(peer));
  }

  /**
   * True when buffers that arrive here may be shared with others, so that they can be read only: behind a tee, or
   * behind a stage that keeps what it passes on.
   */
  get isShared(): boolean {
    const { peer } = this;
    return peer !== null && isSharing(peer);
  }

  /** Asks the stages upstream that decide about buffers to negotiate again before their next one. */
  reconfigure(): void {
    const { peer } = this;
    if (peer === null || requested?.has(peer) === true) return;
    const outer = requested;
    requested ??= new Set();
    requested.add(peer);
    try {
      peer.element.callHook("reconfigureRequested", () => peer.element.reconfigureRequested(peer));
    } finally {
      requested = outer;
    }
  }
}

/** What is under way through an output: an element that waits for it does nothing itself. */
interface Traffic {
  /** Calls of the stage at the other end that have not settled. */
  calls: number;
  /** Waits for a buffer of the pad's pool. */
  acquires: number;
}

function isSharing(pad: OutputPad): boolean {
  const { element } = pad;
  return Boolean(element.answeredNow("sharesOutput", "true or false", element.sharesOutput(pad)));
}

/** What a stage and those behind it take. */
function wantedBy(input: InputPad): Caps {
  const { element } = input;
  return element.answeredCaps("acceptedCaps", element.acceptedCaps(input)).intersect(input.caps);
}

/** Where buffers go out. */
export class OutputPad extends Pad {
  /** The input that it feeds; null while not linked. */
  peer: InputPad | null = null;
  /** The other end wants nothing more. */
  finished = false;
  /** The end of the stream was sent. */
  ended = false;
  /** @internal a seek is going on */
  flushing = false;
  /** @internal one of the three above, or no format: what push looks at. */
  closed = true;
  /** Negotiate again before the next buffer. */
  needsReconfigure = false;
  /** @internal What is under way through this pad, in the present run. */
  traffic: Traffic = { calls: 0, acquires: 0 };
  /**
   * @internal The format that was announced while the other end wanted nothing, or that a seek kept it from taking; it
   *   needs it when it takes again.
   */
  missedFormat: StreamFormat | null = null;
  /** @internal Why the other end did not take the last format; null when it did. */
  refusal: { readonly error: unknown } | null = null;
  /** Where this pad's buffers come from, when its element decides that; null when it passes on those of others. */
  pool: BufferPool | null = null;
  /** How that was decided; null without a pool. */
  decision: Decision | null = null;

  /**
   * Hands a buffer on; from now on the other end has to release it, also when this fails. Nothing comes back when it
   * went through, a promise when the caller has to wait. Of the stages here, queues and application sinks keep buffers
   * in order that are pushed without waiting for the push before; others take one at a time. Throws or rejects with
   * `ERR_FLUSHING` during a seek, `ERR_INVALID_ARG_TYPE` for what is not a buffer, and with what a stage downstream
   * throws. @realtime for the pad's own part
   */
  push(buffer: MediaBuffer): Maybe<void> {
    const { peer } = this;
    if (this.closed || peer === null || !(buffer instanceof MediaBuffer)) return this.#refuse(buffer);
    this.buffers++;
    peer.buffers++;
    const done = peer.element.chain(buffer, peer);
    // What a stage answers beside a promise is nothing to wait for.
    return done === undefined ? undefined : this.#pushed(done, peer.element);
  }

  #pushed(done: Promise<void>, element: Element): Maybe<void> {
    const work = element.promiseOf("chain", done);
    if (work === undefined) return undefined;
    return element.boundedCall(work, this, "handling a buffer", element.boundsChain ? 0 : 1);
  }

  #refuse(buffer: MediaBuffer): void {
    releaseOrPass(instance("buffer", "a MediaBuffer", MediaBuffer, buffer));
    // The stage that feeds a finished pad looks at `finished`; the buffer in flight goes back to its pool.
    if (this.finished) return;
    if (this.flushing) throw flushingError(String(this));
    if (this.refusal !== null) throw this.refusal.error;
    const why = this.peer === null ? "is not linked" : this.ended ? "has sent its end of stream" : "has no format yet";
    throw new MillpondError("ERR_INACTIVE", `${this} ${why}; nothing can be pushed`);
  }

  /** @internal Recomputes what push looks at. */
  updateClosed(): void {
    this.closed = this.finished || this.ended || this.flushing || this.format === null;
  }

  /**
   * Announces the format of the buffers that follow; the same one again is nothing. Throws or rejects with
   * `ERR_NOT_NEGOTIATED` when a stage downstream does not take it. After what a stage itself threw, the pad has no
   * format, and takes buffers only when one was announced that is taken.
   */
  setFormat(format: StreamFormat): Maybe<void> {
    const { peer } = this;
    const checked = checkFormat("format", format);
    if (peer === null) throw new MillpondError("ERR_INACTIVE", `${this} is not linked`);
    if (this.finished) {
      this.missedFormat = checked;
      return undefined;
    }
    this.missedFormat = null;
    if (sameFormat(this.format, checked)) return undefined;
    const bad = peer.caps.whyNot(checked);
    if (bad !== undefined) {
      throw new MillpondError(
        "ERR_NOT_NEGOTIATED",
        `${peer} does not take ${formatText(checked)} from ${this}: ${bad}; put a converter between them`,
        { from: String(this), to: String(peer) },
      );
    }
    this.format = checked;
    this.refusal = null;
    this.needsReconfigure = true;
    this.updateClosed();
    const { element } = peer;
    const before = element.takes;
    element.takes = this.element.settlement ?? new Settlement(this.element.pace);
    let taking: Promise<void> | undefined;
    try {
      taking = element.promiseOf("formatChanged", element.onFormat(checked, peer));
    } catch (error) {
      this.#formatRefused(checked, error);
      throw error;
    } finally {
      if (taking === undefined) element.takes = before;
    }
    if (taking === undefined) return undefined;
    return element.boundedCall(this.#taken(checked, taking, element), this, "taking a format");
  }

  async #taken(format: StreamFormat, taking: Promise<void>, element: Element): Promise<void> {
    const { takes } = element;
    try {
      await taking;
    } catch (error) {
      this.#formatRefused(format, error);
      throw error;
    } finally {
      // Another format may come meanwhile, to a stage with several inputs.
      if (element.takes === takes) element.takes = undefined;
    }
  }

  /**
   * The other end may be settled for the format before, wholly or in part: a buffer that came now, by another stage
   * that feeds this pad, would be taken for one of that.
   */
  #formatRefused(format: StreamFormat, error: unknown): void {
    // Another one was announced meanwhile.
    if (this.format !== format) return;
    this.format = null;
    this.refusal = { error };
    if (this.flushing) this.missedFormat = format;
    this.updateClosed();
  }

  /** Sends the end of the stream; once. What downstream still holds comes out first. */
  end(): Maybe<void> {
    const { peer } = this;
    if (this.ended || peer === null) return undefined;
    if (this.flushing) throw flushingError(String(this));
    this.ended = true;
    this.closed = true;
    peer.ended = true;
    // A disk may take minutes to store what the system has kept back of a long film.
    const { element } = peer;
    const work = element.promiseOf("onEos", element.onEos(peer));
    return work === undefined ? undefined : element.boundedCall(work, this, "handling the end of the stream", 10);
  }

  /** What the stages downstream could take here: never more than both pads' own caps. */
  peerCaps(): Caps {
    const { element } = this;
    const leave = enterSettlement(element.settlement, element.pace, element.name);
    try {
      return this.wanted().intersect(this.caps);
    } finally {
      leave();
    }
  }

  /** What the stages downstream could take, also what this pad cannot make. */
  wanted(): Caps {
    const { peer } = this;
    if (peer === null) return this.caps;
    const known = knownCaps?.get(this);
    if (known !== undefined) return known;
    const outer = knownCaps;
    knownCaps ??= new Map();
    const leave = enterSettlement(this.element.settlement, this.element.pace, peer.element.name);
    try {
      const caps = wantedBy(peer);
      if (this.element.inputs.length > 1) knownCaps.set(this, caps);
      return caps;
    } finally {
      leave();
      knownCaps = outer;
    }
  }

  /**
   * Sends a question downstream. False: no stage answered, which is not an error. A question that comes to a stage with
   * several inputs by several ways is asked behind it once, and gets the same answer each time.
   */
  query(query: AllocationQuery): Maybe<boolean> {
    instance("query", "an AllocationQuery", AllocationQuery, query);
    const { known } = query;
    if (known === undefined || this.element.inputs.length < 2 || !query.isBlank) return this.#ask(query);
    const before = known.get(this);
    if (before?.query.asksLike(query) === true) {
      query.repeat(before.query);
      return before.answered;
    }
    const note = (answered: boolean): boolean => {
      known.set(this, { query: query.copy(), answered });
      return answered;
    };
    const asked = this.#ask(query);
    return typeof asked === "boolean" ? note(asked) : asked.then(note);
  }

  #ask(query: AllocationQuery): Maybe<boolean> {
    const { peer } = this;
    if (peer === null) return false;
    query.answering = peer.element.name;
    const { element } = peer;
    const answer = element.proposeAllocation(query, peer);
    const work = element.promiseOf("proposeAllocation", answer);
    return work === undefined ? Boolean(answer) : element.boundedCall(work, this, "saying what memory it needs");
  }

  /**
   * Asks downstream and settles where this pad's buffers come from: the pool that is there already when it still fits,
   * one that was offered, or a new one. The old one drains by itself. Rejects with `ERR_NOT_NEGOTIATED`,
   * `ERR_INACTIVE`, `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`.
   *
   * @param retained buffers of this pad that the element itself retains, beyond the one that it fills
   */
  async negotiate(retained = 0): Promise<void> {
    wholeNumber("retained", retained);
    const { format } = this;
    if (format === null)
      throw new MillpondError("ERR_NOT_NEGOTIATED", `${this} has no format to find memory for`, { pad: String(this) });
    const { element } = this;
    const { running } = element;
    this.needsReconfigure = false;
    try {
      const query = new AllocationQuery(format, {
        readOnly: isSharing(this),
      });
      query.known = new Map();
      // Without an answer, no stage downstream requires anything.
      if (!(await this.query(query))) query.clear();
      query.known = undefined;
      query.answering = element.name;
      const deciding = element.promiseOf("decideAllocation", element.decideAllocation(query, this));
      if (deciding !== undefined) await element.bounded(deciding, "choosing its memory");
      query.raise(retained, "retained");
      decideAllocation(this, query, running);
      // A seek ends questions that are under way without an answer, so that what was settled on them has to be settled
      // again.
      if (this.flushing) this.needsReconfigure = true;
    } catch (error) {
      this.needsReconfigure = true;
      throw error;
    }
  }

  /** A buffer of the settled pool; waits in line when all are out. Rejects as `BufferPool.acquire` does. */
  acquire(): Maybe<MediaBuffer> {
    const { pool } = this;
    if (pool === null)
      throw new MillpondError("ERR_NOT_CONFIGURED", `${this} has not settled where its buffers come from`);
    return pool.tryAcquire() ?? this.#waitFor(pool);
  }

  #waitFor(pool: BufferPool): Promise<MediaBuffer> {
    const { element, traffic } = this;
    const { running } = element;
    const coming = running.acquire(pool);
    const wait = running.beginWait(element, BUFFER_WAIT, BUFFER_BOUNDS);
    traffic.acquires++;
    const end = (): void => {
      traffic.acquires--;
      running.endWait(wait);
      running.ownFromNow(element);
    };
    coming.then(end, end);
    stageWaits(element, "waits for a buffer", coming);
    return coming;
  }
}

/** The error of a wait that a seek ends; `name` is the pad's or the pool's. */
export function flushingError(name: string): MillpondError {
  return new MillpondError("ERR_FLUSHING", `${name} is being flushed for a seek`);
}
