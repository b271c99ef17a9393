/**
 * MediaBufferList: buffers that travel together, counted as one. After GstBufferList.
 *
 * Life-cycle: made with one reference; shared by retain(); over with the last release(), which gives every buffer back.
 *
 * Invariants: the list holds one reference of each buffer, and a second one of each while it is shared. It is over
 * before the last release() runs any hook, and a buffer whose release fails keeps no other from being released.
 *
 * Complexity: looking up is O(1); retain() and release() between one and two references are O(buffers).
 */

import { disposeWith } from "../../util/dispose.ts";
import { MillpondError, reentrantError, throwAll } from "../../util/errors.ts";
import { checkOptions, flag, listOf, wholeNumber, wrongType } from "../../util/validate.ts";
import { isMediaBuffer, type MediaBuffer } from "./media-buffer.ts";
import { dropAll } from "./release.ts";

/** What an error says that has several others in it. */
const FAILED = "buffers of a list failed at release";

/**
 * A counted list of buffers. The list holds one reference of each buffer. With two references nobody may change the
 * list, nor its buffers: it holds a second reference of each meanwhile, so that they are shared by the rule that holds
 * for every buffer.
 */
export class MediaBufferList {
  /** Use it with `using` where the platform has `Symbol.dispose`. */
  declare [Symbol.dispose]: () => void;
  readonly #buffers: MediaBuffer[];
  #references = 1;
  /** Buffers are being copied, which runs hooks. */
  #isBusy = false;

  /** Takes over the caller's reference of each buffer. */
  constructor(buffers: readonly MediaBuffer[] = []) {
    const own = listOf("buffers", "a list of MediaBuffers", buffers);
    for (const buffer of own) checkBuffer(buffer);
    this.#buffers = own;
  }

  /** How many buffers. */
  get length(): number {
    return this.#live().length;
  }

  /** References; 0 once it is over. */
  get refCount(): number {
    return this.#references;
  }

  /** True when nobody else refers to the list. */
  get isWritable(): boolean {
    return this.#references === 1;
  }

  /** A buffer, without a reference for the caller. Throws `ERR_OUT_OF_RANGE`, `ERR_USE_AFTER_RELEASE`. */
  at(index: number): MediaBuffer {
    const buffers = this.#live();
    return buffers[wholeNumber("index", index, 0, buffers.length - 1)]!;
  }

  /**
   * A buffer that may be changed, without a reference for the caller: a shared one is replaced in the list by a copy.
   * Throws `ERR_NOT_WRITABLE`, `ERR_REENTRANT`.
   */
  writableAt(index: number): MediaBuffer {
    const buffers = this.#own();
    wholeNumber("index", index, 0, buffers.length - 1);
    return this.#busy(() => {
      buffers[index] = buffers[index]!.makeWritable();
      return buffers[index];
    });
  }

  /** Puts a buffer in, at the end by default, and takes over the caller's reference. Throws `ERR_NOT_WRITABLE`. */
  insert(buffer: MediaBuffer, index?: number): void {
    const buffers = this.#own();
    checkBuffer(buffer);
    buffers.splice(index === undefined ? buffers.length : wholeNumber("index", index, 0, buffers.length), 0, buffer);
  }

  /**
   * Takes buffers out and drops the list's references. Throws `ERR_NOT_WRITABLE`, `ERR_OUT_OF_RANGE`, and as
   * {@link release}.
   */
  remove(index: number, length = 1): void {
    const buffers = this.#own();
    wholeNumber("index", index, 0, buffers.length);
    wholeNumber("length", length, 0, buffers.length - index);
    checkDroppable(buffers.slice(index, index + length));
    const { refused, failures } = dropAll(buffers.splice(index, length));
    buffers.splice(Math.min(index, buffers.length), 0, ...refused);
    throwAll(failures, FAILED);
  }

  /** Valid bytes of all buffers. O(buffers). */
  get size(): number {
    return this.#live().reduce((sum, buffer) => sum + buffer.size, 0);
  }

  /** The buffers, in order, without references for the caller. */
  [Symbol.iterator](): IterableIterator<MediaBuffer> {
    return this.#live()[Symbol.iterator]();
  }

  /** A list of its own with the same buffers (one reference more of each), or with deep copies of them. */
  copy(options?: { deep?: boolean }): MediaBufferList {
    const deep = flag("options.deep", checkOptions("options", options, ["deep"]).deep, false);
    const buffers = this.#live();
    const made: MediaBuffer[] = [];
    try {
      this.#busy(() => {
        for (const buffer of buffers) made.push(deep ? buffer.copy({ deep }) : buffer.retain());
      });
      return new MediaBufferList(made);
    } catch (error) {
      dropAll(made);
      throw error;
    }
  }

  /** Consumes the caller's reference and gives a list that may be changed: this one, or a copy. */
  makeWritable(): MediaBufferList {
    if (this.#references === 1) return this;
    const copy = this.copy();
    try {
      this.release();
    } catch (error) {
      copy.release();
      throw error;
    }
    return copy;
  }

  /** Adds a reference; with two its buffers are shared too. Throws `ERR_USE_AFTER_RELEASE`. */
  retain(): this {
    const buffers = this.#live();
    if (this.#references === 1) {
      for (const buffer of buffers) buffer.live("share");
      for (const buffer of buffers) buffer.retain();
    }
    this.#references++;
    return this;
  }

  /**
   * Gives one reference back; the last one releases the buffers. Throws `ERR_DOUBLE_RELEASE`, and `ERR_MAPPED` while a
   * buffer is mapped, with nothing changed. What the release of a buffer throws, one that was released before or that
   * lost its bytes, is thrown when all are released; several as an AggregateError.
   */
  release(): void {
    if (this.#references === 0) throw new MillpondError("ERR_DOUBLE_RELEASE", "the buffer list was already released");
    if (this.#references === 1) {
      this.#assertIdle();
      checkDroppable(this.#buffers);
      // Hooks of the buffers find a list that is over.
      this.#references = 0;
      const { refused, failures } = dropAll(this.#buffers.splice(0));
      if (refused.length > 0) {
        this.#buffers.push(...refused);
        this.#references = 1;
      }
      throwAll(failures, FAILED);
    } else if (--this.#references === 1) {
      // Gives back what retain() took. A buffer that was released by other code is skipped.
      throwAll(dropAll(this.#buffers.filter((buffer) => buffer.isLive)).failures, FAILED);
    }
  }

  #busy<T>(work: () => T): T {
    const before = this.#isBusy;
    this.#isBusy = true;
    try {
      return work();
    } finally {
      this.#isBusy = before;
    }
  }

  #assertIdle(): void {
    if (this.#isBusy) throw reentrantError("the buffer list", "change");
  }

  #live(): MediaBuffer[] {
    if (this.#references === 0)
      throw new MillpondError("ERR_USE_AFTER_RELEASE", "the buffer list was released; retain() it to keep it");
    return this.#buffers;
  }

  #own(): MediaBuffer[] {
    if (this.#references > 1) {
      throw new MillpondError(
        "ERR_NOT_WRITABLE",
        `the buffer list has ${this.#references} references; makeWritable() gives one of your own`,
      );
    }
    this.#assertIdle();
    return this.#live();
  }
}
disposeWith(MediaBufferList, function (this: MediaBufferList): void {
  if (this.refCount > 0) this.release();
});

/** Refuses while a buffer cannot be released; one that is over already keeps nobody from releasing the others. */
function checkDroppable(buffers: readonly MediaBuffer[]): void {
  for (const buffer of buffers) if (buffer.isLive) buffer.assertReleasable();
}

function checkBuffer(buffer: MediaBuffer): void {
  if (!isMediaBuffer(buffer)) throw wrongType("buffer", "a MediaBuffer", buffer);
  buffer.live("put into a list");
}
