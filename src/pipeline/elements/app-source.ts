/**
 * AppSource: an application's own data into a pipeline, from any iterable. Bytes are copied into buffers of the pool
 * that the stages settled; MediaBuffers are passed on as they are.
 *
 * ```ts
 * new AppSource(socketChunks(), { format: byteFormat(65536) })
 * ```
 */
import { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { giveBack, releaseOrPass, releaseQuietly } from "../../media/buffer/release.ts";
import { isMillpondError } from "../../util/errors.ts";
import { outOfRange, readOptions, wrongType } from "../../util/validate.ts";
import { checkName, promiseIn, unreadableError } from "../base/element.ts";
import { flushingError, type Maybe } from "../base/pad.ts";
import { Source } from "../base/source.ts";
import type { Waiters } from "../base/waiters.ts";
import { Caps } from "../caps.ts";
import { checkFormat, type StreamFormat, sizeOfFormat } from "../stream-format.ts";

/**
 * What an iterable may give: bytes, which are copied; a buffer, which is passed on with its reference; a new format.
 */
export type AppItem = Uint8Array | MediaBuffer | { readonly format: StreamFormat };

/** How an {@link AppSource} is made. */
export interface AppSourceOptions {
  /** What comes, until an item says otherwise. */
  format: StreamFormat;
  /** For messages. */
  name?: string;
}

/** What begins to iterate; the methods are read once. Throws `ERR_INVALID_ARG_TYPE`. */
function iteratorOf(
  items: AsyncIterable<AppItem> | Iterable<AppItem>,
): () => AsyncIterator<AppItem> | Iterator<AppItem> {
  if (items !== null && typeof items === "object") {
    const { [Symbol.asyncIterator]: later, [Symbol.iterator]: now } = items as AsyncIterable<AppItem> &
      Iterable<AppItem>;
    const open: unknown = later ?? now;
    if (typeof open === "function") return () => open.call(items) as AsyncIterator<AppItem> | Iterator<AppItem>;
  }
  throw wrongType("items", "an iterable", items);
}

/** What a race gives whose others have not settled. */
const UNSETTLED: unique symbol = Symbol("unsettled");

/** Releases the buffers that a list still has; `most` bounds it where the list grows meanwhile. */
function releaseRest(iterator: Iterator<AppItem>, most: number): void {
  for (let n = 0; n < most; n++) {
    const { done, value } = iterator.next();
    if (done === true) return;
    if (value instanceof MediaBuffer) giveBack(value);
  }
}

/** Takes what an iterable gives. */
export class AppSource extends Source {
  readonly #open: () => AsyncIterator<AppItem> | Iterator<AppItem>;
  /** The items, where they are a list: its buffers are this stage's from the start on. */
  readonly #list: readonly AppItem[] | undefined;
  #iterator: AsyncIterator<AppItem> | Iterator<AppItem> | undefined;
  #format: StreamFormat;
  #item: Uint8Array | MediaBuffer | undefined;
  readonly #interruptions: Waiters = this.addWaiters();
  #pending: Promise<IteratorResult<AppItem>> | undefined;

  /** Throws `ERR_INVALID_ARG_TYPE`. */
  constructor(items: AsyncIterable<AppItem> | Iterable<AppItem>, options: AppSourceOptions) {
    const open = iteratorOf(items);
    const { name, format } = readOptions("options", options, ["format", "name"]);
    super(checkName("options.name", name), Caps.any);
    this.#open = open;
    this.#list = Array.isArray(items) ? items : undefined;
    this.#format = checkFormat("options.format", format);
  }

  /** The application gives when it likes. */
  override get isPacedFromOutside(): boolean {
    return true;
  }

  /** Bytes need the pool. */
  override get usesPool(): boolean {
    return true;
  }

  /**
   * Begins to iterate. Buffers in a list are this stage's from here on: those that are left at the end are released.
   */
  override start(): void {
    this.#iterator = this.#open();
  }

  /** Waits for the next item. */
  override async next(): Promise<StreamFormat | undefined> {
    while (this.#item === undefined) {
      const result = await this.#await();
      if (result === undefined || !this.#read(result)) return undefined;
    }
    return this.#format;
  }

  /** False: the items have ended. */
  #read(result: IteratorResult<AppItem>): boolean {
    let name = `what next() of the items of "${this.name}" gave`;
    let value: unknown = result;
    try {
      if (result.done === true) return false;
      value = result.value;
      name = `an item of "${this.name}"`;
      this.#take(value as AppItem);
    } catch (error) {
      throw isMillpondError(error) ? error : unreadableError(name, value, error);
    }
    return true;
  }

  #take(value: AppItem): void {
    if (value instanceof Uint8Array || value instanceof MediaBuffer) this.#item = value;
    else if (value !== null && typeof value === "object" && "format" in value)
      this.#format = checkFormat(`the format of an item of "${this.name}"`, value.format);
    else throw wrongType(`an item of "${this.name}"`, "bytes, a MediaBuffer or { format }", value);
  }

  /** The next item, or the end of the wait for it: an iterator cannot be interrupted, but the wait for it can end. */
  async #await(): Promise<IteratorResult<AppItem> | undefined> {
    this.#pending ??= this.#ask();
    const pending = this.#pending;
    const result: unknown = await Promise.race([pending, this.#interruptions.waitFor(pending)]);
    if ((typeof result === "object" && result !== null) || typeof result === "function") this.#pending = undefined;
    else await this.#checkWait(pending, result);
    return result as IteratorResult<AppItem> | undefined;
  }

  #ask(): Promise<IteratorResult<AppItem>> {
    const answer = this.#iterator!.next();
    const coming = promiseIn(`what next() of the items of "${this.name}" gave`, answer);
    return Promise.resolve((coming ?? answer) as IteratorResult<AppItem>);
  }

  /** The wait ended without a result: it was interrupted, or what came is none. */
  async #checkWait(pending: Promise<unknown>, result: unknown): Promise<void> {
    if (result !== undefined || (await Promise.race([pending, UNSETTLED])) !== UNSETTLED) {
      this.#pending = undefined;
      throw wrongType(`what next() of the items of "${this.name}" gave`, "an object { done, value }", result);
    }
    if (this.out.flushing) throw flushingError(String(this.out));
  }

  /** The item itself, or a buffer of the pool with its bytes. */
  override create(): Maybe<MediaBuffer | undefined> {
    const item = this.#item!;
    this.#item = undefined;
    if (item instanceof MediaBuffer) return item;
    return this.#copy(item);
  }

  async #copy(bytes: Uint8Array): Promise<MediaBuffer> {
    const size = sizeOfFormat(this.#format);
    const { length } = bytes;
    if (length > size)
      throw outOfRange(`bytes of an item of "${this.name}"`, `at most ${size}, as its format says`, length);
    const buffer = await this.out.acquire();
    try {
      // While a buffer was waited for, the application may have resized or transferred them.
      buffer.fill(0, bytes);
      if (length < buffer.size) buffer.resize(0, length);
    } catch (error) {
      releaseQuietly(buffer);
      throw error;
    }
    return buffer;
  }

  /** Ends the wait for the application. */
  override unlock(): void {
    this.#interruptions.wake();
  }

  #drop(): void {
    const item = this.#item;
    this.#item = undefined;
    if (item instanceof MediaBuffer && item.isLive) releaseOrPass(item);
  }

  /** Drops the item that was not pushed yet. */
  override onFlush(): void {
    super.onFlush();
    this.#drop();
  }

  /** Ends the iteration. An iterator that waits for something of its own learns of it when that wait is over. */
  override stop(): void {
    void super.stop();
    const iterator = this.#iterator;
    this.#iterator = undefined;
    const pending = this.#pending;
    this.#pending = undefined;
    // An item that arrives too late may be a buffer, which must not be lost with it.
    pending
      ?.then((result) => {
        const value = result?.value;
        if (value instanceof MediaBuffer) giveBack(value);
      })
      // Also what its getters throw: the run is over, and has its error.
      .catch(() => {});
    // An iterator of the program may throw, and a buffer that is mapped cannot be released: each step whatever the
    // one before throws.
    try {
      if (this.#list !== undefined && iterator !== undefined)
        releaseRest(iterator as Iterator<AppItem>, this.#list.length);
    } finally {
      try {
        this.#drop();
      } finally {
        Promise.resolve(iterator?.return?.()).catch(() => {});
      }
    }
  }

  /** What an application gives. */
  override get role(): string {
    return "what the application gives";
  }
}
