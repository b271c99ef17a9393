/**
 * Funnel: several streams into one output, buffer by buffer, in order of arrival. After GStreamer's funnel.
 *
 * Invariants: downstream is never called twice at once. The output's format is that of the buffer that goes out. The
 * output ends when all inputs have ended.
 *
 * Complexity: O(1) for each buffer, and a format downstream where two inputs with different formats take turns.
 */
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { releaseQuietly } from "../../media/buffer/release.ts";
import { Element } from "../base/element.ts";
import type { InputPad, Maybe, OutputPad } from "../base/pad.ts";
import type { Caps } from "../caps.ts";
import type { AllocationQuery } from "../negotiate/allocation-query.ts";
import { type StreamFormat, sameFormat } from "../stream-format.ts";

/** A stage with as many inputs as are linked, and one output. */
export class Funnel extends Element {
  /** Its output. */
  readonly out: OutputPad = this.addOutput("out");
  #busy: Promise<void> | undefined;

  /** Adds an input. */
  override freeInput(): InputPad {
    return super.freeInput() ?? this.addInput(`in${this.inputs.length}`);
  }

  /** One at a time: what is downstream is never called twice at once. */
  override chain(buffer: MediaBuffer, pad: InputPad): Maybe<void> {
    return this.#inTurn(() => this.#pass(buffer, pad));
  }

  #pass(buffer: MediaBuffer, pad: InputPad): Maybe<void> {
    const { format } = pad;
    // Another stream's format may be in force; buffers of both may come in turn.
    if (format === null || sameFormat(format, this.out.format)) return this.out.push(buffer);
    let changed: Maybe<void>;
    try {
      changed = this.out.setFormat(format);
    } catch (error) {
      releaseQuietly(buffer);
      throw error;
    }
    if (changed === undefined) return this.out.push(buffer);
    return changed.then(
      () => this.out.push(buffer),
      (error: unknown) => {
        releaseQuietly(buffer);
        throw error;
      },
    );
  }

  /** The first format goes on at once, so that what is downstream can be asked; later ones when a buffer needs them. */
  override formatChanged(format: StreamFormat): Maybe<void> {
    return this.#inTurn(() => (this.out.format === null ? this.out.setFormat(format) : this.#check(format)));
  }

  #check(format: StreamFormat): void {
    const bad = this.out.peer?.caps.whyNot(format);
    // A format that is refused in the middle of the stream is refused when it comes, not with its first buffer.
    if (bad !== undefined) void this.out.setFormat(format);
  }

  #inTurn(what: () => Maybe<void>): Maybe<void> {
    if (this.#busy !== undefined) return this.#queue(what);
    const done = what();
    if (done === undefined) return undefined;
    return this.#occupy(done);
  }

  async #queue(what: () => Maybe<void>): Promise<void> {
    while (this.#busy !== undefined) await this.#busy.catch(() => {});
    return this.#inTurn(what);
  }

  #occupy(done: Promise<void>): Promise<void> {
    const free = (): void => {
      if (this.#busy === occupied) this.#busy = undefined;
    };
    const occupied = done.then(free, (error: unknown) => {
      free();
      throw error;
    });
    this.#busy = occupied;
    return occupied;
  }

  /** When all inputs have ended, so does the output. */
  override onEos(): Maybe<void> {
    return this.#inTurn(() => (this.inputs.every((pad) => pad.ended) ? this.out.end() : undefined));
  }

  /** What is behind it takes. */
  override acceptedCaps(pad: InputPad): Caps {
    return pad.caps.intersect(this.out.peerCaps());
  }

  /**
   * As downstream says; pools and allocators are not passed on when there are several producers, each of which could
   * take all of one.
   */
  override proposeAllocation(query: AllocationQuery): Maybe<boolean> {
    const asked = this.out.query(query);
    return typeof asked === "boolean"
      ? this.#withhold(query, asked)
      : asked.then((answered) => this.#withhold(query, answered));
  }

  #withhold(query: AllocationQuery, answered: boolean): boolean {
    query.answering = this.name;
    if (this.inputs.length > 1) query.withholdPools(`${this.name} has several producers`);
    return answered;
  }

  /** As any of what feeds it. */
  override sharesOutput(): boolean {
    return this.inputs.some((pad) => pad.isShared);
  }

  /** Forgets whom it waited for. */
  override onFlush(): void {
    this.#busy = undefined;
  }

  /** `2 streams in turn`. */
  override get role(): string {
    return `${this.inputs.length} streams in turn`;
  }
}
