/**
 * Queue: lets the stages in front of it and those behind it run at the same time, and bounds how far they drift apart.
 * Formats, questions and the end of the stream wait in line with the buffers. After GStreamer's queue.
 *
 * Life-cycle in a run: a loop of its own takes entries out in the order in which they joined, until the end of the
 * stream. A full line makes the pusher wait, or drops, as `full` says. A seek releases the buffers and questions in
 * line.
 *
 * Invariants: at most `max` buffers are in line, and at most `maxBytes` and `maxTime` unless one alone exceeds them.
 * After a failure downstream every push gets that error, until a seek or the end of the run.
 *
 * Complexity: joining is O(1), leaving moves the entries behind (an array of about `max`).
 */
import { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { giveBack, releaseAll, releaseOrPass, releaseQuietly } from "../../media/buffer/release.ts";
import { stageWaits, stageWorks } from "../../observe/stages.ts";
import { type ItemMeasure, QueueLevel, type QueueLimits } from "../../pools/common/timed-queue.ts";
import { isMade, milliseconds, oneOf, outOfRange, readOptions, wholeNumber, wrongType } from "../../util/validate.ts";
import { attachErrorSource, checkName, Element, TimeSlice } from "../base/element.ts";
import { DOWNSTREAM, flushingError, type InputPad, type Maybe, type OutputPad } from "../base/pad.ts";
import type { Waiters } from "../base/waiters.ts";
import type { Caps } from "../caps.ts";
import type { AllocationQuery } from "../negotiate/allocation-query.ts";
import type { Settlement } from "../settlement.ts";
import type { StreamFormat } from "../stream-format.ts";

/** How a {@link Queue} is made. */
export interface QueueOptions {
  /** For messages. */
  name?: string;
  /** Most buffers in line; default 4: what a disk or a decoder delivers in a burst, and still a small pool. */
  max?: number;
  /** Most bytes in line; default: no bound. A buffer alone may have more. */
  maxBytes?: number;
  /**
   * Most milliseconds of media in line: the sum of the buffers' durations, or of the distances of their times where
   * they have none. Default: no bound. A buffer alone may be longer.
   */
  maxTime?: number;
  /**
   * What happens to a buffer that finds the line full: it waits; it is dropped; the oldest one is dropped. Default
   * "wait".
   */
  full?: "wait" | "drop-new" | "drop-old";
}

type Entry =
  | {
      readonly kind: "buffer";
      readonly buffer: MediaBuffer;
      readonly work: Promise<MediaBuffer> | undefined;
      readonly measure: ItemMeasure | undefined;
    }
  | { readonly kind: "format"; readonly format: StreamFormat; readonly settlement: Settlement | undefined }
  | { readonly kind: "query"; readonly query: AllocationQuery; answer: Maybe<boolean> | undefined }
  | { readonly kind: "end" };

/** A bounded line between two stages; with {@link Queue.begin} overridden, a line whose buffers are worked on. */
export class Queue extends Element {
  /** Its input. */
  readonly in: InputPad = this.addInput("in");
  /** Its output. */
  readonly out: OutputPad = this.addOutput("out");
  /** Most buffers in line. */
  readonly max: number;
  /** Buffers that were dropped because the line was full. */
  dropped = 0;
  readonly #full: "wait" | "drop-new" | "drop-old";
  /** Bounds beside {@link max}; undefined: none, and nothing is measured. */
  readonly #limits: QueueLimits | undefined;
  readonly #level: QueueLevel = new QueueLevel();
  /** Presentation time of the buffer that joined last, where bounds need it. */
  #lastPts: bigint | undefined;
  #line: Entry[] = [];
  /** The format that has left the line and is being taken by what is behind. */
  #announced: Extract<Entry, { kind: "format" }> | undefined;
  #count = 0;
  #failure: { error: unknown } | undefined;
  /** The loop waits for an entry. */
  #isIdle = false;
  /** Where the loop waits for an entry. */
  readonly #arrivals: Waiters = this.addWaiters();
  /** Where pushers wait for room, and where questions wait for their answers. */
  readonly #departures: Waiters = this.addWaiters();
  /** Buffers that wait for room, in the order in which they came. */
  readonly #outside: MediaBuffer[] = [];

  /** An empty line. Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`. */
  constructor(options: QueueOptions = {}) {
    const given = readOptions("options", options, ["name", "max", "maxBytes", "maxTime", "full"]);
    const { max = 4, full = "wait" } = given;
    super(checkName("options.name", given.name));
    // 4096 buffers: beyond that a queue is a leak with a bound.
    this.max = wholeNumber("options.max", max, 1, 4096);
    this.#limits = readLimits(given);
    this.#full = oneOf("options.full", full, ["wait", "drop-new", "drop-old"]);
  }

  /** Buffers in line now. */
  get length(): number {
    return this.#count;
  }

  /** Joins the line; waits while it is full. */
  override chain(buffer: MediaBuffer): Maybe<void> {
    if (this.#count >= this.max || this.#outside.length > 0 || this.#failure !== undefined || this.out.flushing)
      return this.#chainSlow(buffer);
    return this.#enter(buffer);
  }

  #enter(buffer: MediaBuffer): Maybe<void> {
    let measure: ItemMeasure | undefined;
    if (this.#limits !== undefined) {
      measure = this.#measure(buffer);
      if (!this.#level.fits(this.#limits, measure)) return this.#chainSlow(buffer);
      this.#level.add(measure);
      this.#lastPts = buffer.pts ?? this.#lastPts;
    }
    let work: Promise<MediaBuffer> | undefined;
    try {
      work = this.#begin(buffer);
    } catch (error) {
      if (measure !== undefined) this.#level.remove(measure);
      giveBack(buffer);
      throw attachErrorSource(error, this);
    }
    if (work !== undefined) stageWorks(this, "works on a buffer", work);
    this.#join({ kind: "buffer", buffer, work, measure });
    this.#count++;
    return undefined;
  }

  #begin(buffer: MediaBuffer): Promise<MediaBuffer> | undefined {
    const answer = this.begin(buffer);
    if (answer === undefined) return undefined;
    const work = this.promiseOf("begin", answer);
    if (work === undefined) throw wrongType(this.answerOf("begin"), "a promise of a MediaBuffer or undefined", answer);
    // It may reject long before its turn in the line, where somebody waits for it.
    work.then(undefined, () => {});
    return work;
  }

  async #worked(work: Promise<MediaBuffer>): Promise<MediaBuffer> {
    const buffer = await this.boundedCall(work, undefined, "working on a buffer");
    if (isMade(MediaBuffer, buffer, "slot")) return buffer;
    throw wrongType(this.answerOf("begin"), "a promise of a MediaBuffer", buffer);
  }

  #measure(buffer: MediaBuffer): ItemMeasure {
    const { duration, pts } = buffer;
    const last = this.#lastPts;
    let time = duration ?? 0n;
    if (duration === undefined && pts !== undefined && last !== undefined) time = pts - last;
    return { time: time > 0n ? time : 0n, bytes: buffer.size };
  }

  #isFull(buffer: MediaBuffer): boolean {
    if (this.#count >= this.max) return true;
    return this.#limits !== undefined && !this.#level.fits(this.#limits, this.#measure(buffer));
  }

  /**
   * Hook: a buffer joins the line. A subclass that works on buffers begins here; several are worked on side by side,
   * and leave in the order in which they came. What the promise gives goes on (the buffer itself, or another one, with
   * the reference of this one given back); when it rejects, the subclass has released the buffer, and when the hook
   * itself throws, the queue does. Default: no work.
   */
  protected begin(_buffer: MediaBuffer): Promise<MediaBuffer> | undefined {
    return undefined;
  }

  #chainSlow(buffer: MediaBuffer): Maybe<void> {
    const refusal = this.#refusal();
    if (refusal !== undefined) {
      releaseOrPass(buffer);
      throw refusal.error;
    }
    if (this.out.finished) {
      releaseOrPass(buffer);
      return undefined;
    }
    if (this.#full === "wait") return this.#waitForRoom(buffer);
    if (this.#full === "drop-new") {
      this.dropped++;
      releaseOrPass(buffer);
      return undefined;
    }
    // A large buffer may need the room of several.
    try {
      while (this.#isFull(buffer)) {
        this.dropped++;
        this.#dropOldest();
      }
    } catch (error) {
      releaseQuietly(buffer);
      throw error;
    }
    return this.chain(buffer);
  }

  /**
   * Hook: a format has left the line, and what is behind has taken it; buffers behind it can be worked on for what is
   * downstream now. Called once for each format that was not dropped, in their order.
   */
  protected formatPassed(): void {}

  #dropOldest(): void {
    const index = this.#line.findIndex((entry) => entry.kind === "buffer");
    const [entry] = this.#line.splice(index, 1);
    if (entry?.kind !== "buffer") return;
    this.#leave(entry.measure);
    if (entry.work === undefined) releaseOrPass(entry.buffer);
    else dropLater(entry.work);
  }

  #leave(measure: ItemMeasure | undefined): void {
    this.#count--;
    if (measure !== undefined) this.#level.remove(measure);
  }

  async #waitForRoom(buffer: MediaBuffer): Promise<void> {
    const outside = this.#outside;
    outside.push(buffer);
    try {
      while ((outside[0] !== buffer || this.#isFull(buffer)) && this.#refusal() === undefined && !this.out.finished)
        await this.#departures.wait();
    } finally {
      if (outside[0] === buffer) outside.shift();
      else outside.splice(outside.indexOf(buffer), 1);
    }
    // There may be room for the one behind, too.
    if (outside.length > 0) this.#departures.wake();
    if (this.#refusal() !== undefined || this.out.finished) return this.#chainSlow(buffer);
    return this.#enter(buffer);
  }

  #refusal(): { error: unknown } | undefined {
    return this.#failure ?? (this.out.flushing ? { error: flushingError(String(this.in)) } : undefined);
  }

  #join(entry: Entry): void {
    this.#line.push(entry);
    this.#arrivals.wake();
  }

  /** @internal Waits in line: what came before it still has the old format. */
  override onFormat(format: StreamFormat): void {
    this.#join({ kind: "format", format, settlement: this.settlement });
  }

  /** Handled in line. */
  override formatChanged(): void {}

  /** Waits in line. */
  override onEos(): void {
    this.#join({ kind: "end" });
  }

  /** What is behind it takes. */
  override acceptedCaps(pad: InputPad): Caps {
    return pad.caps.intersect(this.out.peerCaps());
  }

  /** Waits in line, then asks downstream and adds what the line holds, and the one on its way out. */
  override async proposeAllocation(query: AllocationQuery): Promise<boolean> {
    if (this.#refusal() !== undefined) return false;
    const entry: Entry = { kind: "query", query, answer: undefined };
    this.#join(entry);
    // A run that is over, and a seek, leave the question without an answer.
    while (entry.answer === undefined && this.#refusal() === undefined && !this.running.stopping)
      await this.#departures.wait();
    await entry.answer;
    query.answering = this.name;
    this.tell("addRetained", this.addRetained(query));
    return true;
  }

  /** Hook: says how many buffers it has at most. Default: the full line, and the one on its way out. */
  protected addRetained(query: AllocationQuery): void {
    query.raise(this.max + 1, `${this.max} in line, 1 on its way out`);
  }

  /** As what feeds it. */
  override sharesOutput(): boolean {
    return this.in.isShared;
  }

  /** @internal */
  override get isIdle(): boolean {
    return this.#isIdle && this.#line.length === 0;
  }

  /** @internal */
  override get task(): () => Promise<void> {
    return () => this.#loop();
  }

  async #loop(): Promise<void> {
    const slice = new TimeSlice(this.running.pace);
    try {
      for (;;) {
        const { out } = this;
        if (out.flushing || this.running.stopping) return;
        if (out.finished) this.#dropLine();
        const entry = this.#line.shift();
        if (entry === undefined) {
          const more = this.#arrivals.wait();
          stageWaits(this, "waits for input", more);
          this.#isIdle = true;
          await more;
          this.#isIdle = false;
          continue;
        }
        if (entry.kind === "buffer") {
          this.#leave(entry.measure);
          this.#departures.wake();
          const { work } = entry;
          const buffer = work === undefined ? entry.buffer : await this.#worked(work);
          const pushed = out.push(buffer);
          if (pushed !== undefined) {
            stageWaits(this, DOWNSTREAM, pushed);
            await pushed;
          }
        } else if (await this.#handle(entry)) return;
        for (let pause = slice.yieldIfNeeded(); pause !== undefined; pause = slice.yieldIfNeeded()) await pause;
      }
    } catch (error) {
      // The failure may wait for a stage upstream that waits for one of these buffers.
      if (!this.out.flushing) this.#failure = { error };
      try {
        this.#dropLine();
      } catch {
        // The first error is the one that counts.
      }
      throw error;
    }
  }

  /** True for the end of the stream. */
  async #handle(entry: Exclude<Entry, { kind: "buffer" }>): Promise<boolean> {
    if (entry.kind === "format") {
      this.in.format = entry.format;
      this.#announced = entry;
      this.takes = entry.settlement;
      try {
        for (let turn = this.turnDue; turn !== undefined; turn = this.turnDue) await this.inLine(turn);
        await this.out.setFormat(entry.format);
      } finally {
        if (this.takes === entry.settlement) this.takes = undefined;
      }
      this.#announced = undefined;
      this.tell("formatPassed", this.formatPassed());
    } else if (entry.kind === "query") {
      // It has left the line: whatever becomes of it, the asker is told.
      const asked = (async () => this.out.query(entry.query))();
      entry.answer = asked;
      this.#departures.wake();
      await asked;
    } else {
      await this.out.end();
      return true;
    }
    return false;
  }

  /** Releases the buffers in line, and ends every wait for this queue; formats and the end of the stream stay. */
  #dropLine(): void {
    const line = this.#line;
    this.#line = [];
    const waiting: MediaBuffer[] = [];
    for (const entry of line) {
      if (entry.kind === "buffer") {
        if (entry.work === undefined) waiting.push(entry.buffer);
        else dropLater(entry.work);
      } else if (entry.kind === "query") entry.answer = false;
      else this.#line.push(entry);
    }
    this.#count = 0;
    this.#level.clear();
    this.#departures.wake();
    // Last: whatever a release throws, nobody waits any more.
    releaseAll(waiting);
  }

  /** The other end wants nothing more: releases the line, and ends the wait of a stage that is about to join it. */
  override outputFinished(pad: OutputPad): void {
    super.outputFinished(pad);
    this.callHook("outputFinished", () => this.#dropLine());
    this.callHook("unlock", () => this.unlock());
  }

  /** Wakes both sides, so that they look again. Releases the line, too, when the reason is a seek or the end. */
  override unlock(): void {
    this.#departures.wake();
    this.#arrivals.wake();
    if (this.out.flushing) this.#dropLine();
  }

  /**
   * Releases the line. The last format stays in it, also one that the seek kept what is behind from taking: what comes
   * after the seek has it, and downstream must learn of it.
   */
  override onFlush(): void {
    try {
      this.#dropLine();
    } finally {
      const formats = [this.#announced, ...this.#line].filter((entry) => entry?.kind === "format");
      this.#announced = undefined;
      this.#line = formats.slice(-1);
      // It follows what the output has missed, and is announced in line, by one call only.
      if (formats.length > 0) this.out.missedFormat = null;
      this.#lastPts = undefined;
      this.#failure = undefined;
    }
  }

  /** Releases the line. */
  override stop(): void {
    try {
      this.#dropLine();
    } finally {
      this.#line = [];
      this.#announced = undefined;
      this.#lastPts = undefined;
      this.#failure = undefined;
    }
  }

  /** `up to 4 in line`, `up to 100 in line, 1048576 bytes, 500 ms`. */
  override get role(): string {
    const { bytes, time } = this.#limits ?? {};
    const size = bytes === undefined ? "" : `, ${bytes} bytes`;
    const span = time === undefined ? "" : `, ${Number(time) / 1e6} ms`;
    return `up to ${this.max} in line${size}${span}${this.#full === "wait" ? "" : `, ${this.#full} when full`}`;
  }
}

/** The bounds beside the count. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. */
function readLimits({ maxBytes, maxTime }: QueueOptions): QueueLimits | undefined {
  if (maxBytes !== undefined) wholeNumber("options.maxBytes", maxBytes, 1);
  if (maxTime !== undefined && milliseconds("options.maxTime", maxTime) <= 0)
    throw outOfRange("options.maxTime", "more than 0", maxTime);
  const nanoseconds = maxTime === undefined ? Infinity : Math.round(maxTime * 1e6);
  const time = nanoseconds === Infinity ? undefined : BigInt(Math.max(1, nanoseconds));
  return maxBytes === undefined && time === undefined ? undefined : { bytes: maxBytes, time };
}

/** Work that has begun is not interrupted: its buffer is released when the work has ended. */
function dropLater(work: Promise<MediaBuffer>): void {
  work.then(releaseQuietly, () => {});
}
