/**
 * A whole stream in one block of a PagePool: the body of a request, the output of a program.
 *
 * No call of Node reads a request's body into memory of ours, so each chunk is copied once, and can be collected as
 * garbage at once. `Buffer.concat` keeps every chunk until the last has come, then allocates and copies all of them.
 *
 * Life-cycle: listens at once; takes pages with the first byte, so a client that sends only headers holds none; ends
 * with the stream, an error, the limit or the signal, and then nothing listens any more. While pages are waited for the
 * stream is paused, and its sender with it.
 *
 * What happens to the stream when it is not read to its end: a request that a server received is left paused, because
 * destroying it would cut the connection before an answer (413) is sent; the answer is to have `connection: close`. Any
 * other stream is destroyed, a web stream canceled: nobody else would end it.
 *
 * Complexity: O(bytes). With a true `content-length` nothing is copied twice; without one, see growing-block.ts.
 */
import type { Readable } from "node:stream";
import type { ReadableStream, ReadableStreamDefaultReader, ReadableStreamReadResult } from "node:stream/web";
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { hasEnded, hasEndedEmpty, ignoreErrors, onReadEnd, takeError } from "../../os/stream-end.ts";
import { PagePool } from "../../pools/page/page-pool.ts";
import { abortable, onAbort } from "../../util/abortable.ts";
import { MillpondError } from "../../util/errors.ts";
import {
  abortSignal,
  badValue,
  flag,
  instance,
  isRevoked,
  readOptions,
  show,
  wholeNumber,
  withMethods,
  wrongType,
} from "../../util/validate.ts";
import { GrowingBlock, tooLargeError } from "./growing-block.ts";
import { throwIfAborted } from "./read-file.ts";

/** How {@link collect} collects. */
export interface CollectOptions {
  /** The most bytes that may come; one more: `ERR_TOO_LARGE`. Default 2^26, 64 MiB. */
  maxBytes?: number;
  /**
   * Bytes that will probably come, so that the block need not grow. Default: the stream's own `content-length` header.
   * A wrong one costs memory or copies, up to `maxBytes`, and nothing else.
   */
  expected?: number;
  /**
   * Free the memory of each chunk as soon as it is copied, by detaching it: half the processor time, half the memory
   * and no major collections for a large body. Only for streams whose chunks nobody else has: requests, answers,
   * sockets, files. A chunk that another listener gets too, or that is a part of a larger block, is left alone. The
   * first detached block of a program slows its loops over typed arrays for good, as `revoke` of a pool does. Needs
   * `ArrayBuffer.prototype.transfer` (Node 22 and later): on Node 20 the option has no effect. Default false.
   */
  detach?: boolean;
  /** Ends it; rejects with its reason. */
  signal?: AbortSignal;
}

const DEFAULT_MAX_BYTES = 2 ** 26;

/** What is called of a Readable here, and by Node's `finished()`. */
const READABLE_METHODS: readonly (keyof Readable)[] = [
  "on",
  "once",
  "off",
  "removeListener",
  "listenerCount",
  "pipe",
  "pause",
  "resume",
  "destroy",
];

/**
 * Reads a stream to its end into one block of `pages`; the caller releases it. Waits for the first pages while the pool
 * is full, and the stream with it.
 *
 * Rejects with `ERR_TOO_LARGE` (more than `maxBytes`, or a `content-length` that says so, before a byte is read), the
 * signal's reason, the stream's error (a client that hangs up: `ECONNRESET`, or `ERR_STREAM_PREMATURE_CLOSE`),
 * `ERR_ENDED` when the stream has ended before, `ERR_POOL_FULL` when the pool has no room to grow, what `pages.acquire`
 * rejects with, and `ERR_INVALID_ARG_TYPE` (text, objects), `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE` for the
 * arguments; for those the stream is not touched. Otherwise the pages are back in the pool then, and the stream is
 * destroyed, or paused when it is a request that a server received: answer it with `connection: close`.
 *
 * @param readable a Readable of bytes, such as a request of `node:http`, or a ReadableStream of Uint8Arrays
 * @param pages where the block comes from
 */
export async function collect(
  readable: Readable | ReadableStream<Uint8Array>,
  pages: PagePool,
  options?: CollectOptions,
): Promise<MediaBuffer> {
  const isWeb = isWebStream(readable);
  if (!isWeb) withMethods("readable", "a Readable or a ReadableStream", readable, READABLE_METHODS);
  instance("pages", "a PagePool", PagePool, pages);
  const given = readOptions<CollectOptions>("options", options, ["maxBytes", "expected", "detach", "signal"]);
  const maxBytes = wholeNumber("options.maxBytes", given.maxBytes === undefined ? DEFAULT_MAX_BYTES : given.maxBytes);
  const expected = given.expected === undefined ? undefined : wholeNumber("options.expected", given.expected);
  const detach = flag("options.detach", given.detach, false);
  const signal = abortSignal("options.signal", given.signal);
  if (isWeb && readable.locked)
    throw endedError("it has another reader; hand over the stream before anything reads it");
  if (!isWeb) checkReadable(readable);
  const isEmpty = !isWeb && hasEndedEmpty(readable);
  const declared = isWeb ? undefined : contentLength(readable);
  const source = isWeb ? new WebSource(readerOf(readable), detach) : new NodeSource(readable, detach, declared);
  const block = new GrowingBlock(pages, maxBytes, "the body");
  try {
    throwIfAborted(signal);
    if (declared !== undefined && declared > maxBytes) throw tooLargeError("the body", maxBytes, declared);
    if (!isEmpty) await source.read(block, Math.min(expected ?? declared ?? 0, maxBytes), signal);
    // A server sees to it that all of a body arrives: what is missing went to somebody else.
    if (!isWeb && isServerRequest(readable) && block.length < (declared ?? 0)) {
      throw endedError(
        `${declared! - block.length} of its ${declared} bytes were read before; collect() it before anything else does`,
      );
    }
    return block.finish();
  } catch (error) {
    block.drop();
    source.abandon(error);
    // What was read of it is lost, so nobody may take the rest for the whole.
    if (source.hasRead) abandoned.add(readable);
    throw error;
  }
}

/** Streams that a collect() gave up; those of node:http are still open then. */
const abandoned: WeakSet<object> = new WeakSet();

/** Where the bytes of a collect() come from. */
interface Source {
  /** Whether a byte of it was taken. */
  readonly hasRead: boolean;
  /** Reads to the end into `block`, whose first pages hold `expected` bytes. */
  read(block: GrowingBlock, expected: number, signal: AbortSignal | undefined): Promise<void>;
  /** Stops a stream that is not read any further. */
  abandon(error: unknown): void;
}

class NodeSource implements Source {
  hasRead = false;
  readonly #readable: Readable;
  readonly #detach: boolean;
  /** Bytes that its headers say it has. */
  readonly #declared: number | undefined;

  constructor(readable: Readable, detach: boolean, declared: number | undefined) {
    this.#readable = readable;
    this.#detach = detach;
    this.#declared = declared;
  }

  read(block: GrowingBlock, expected: number, signal: AbortSignal | undefined): Promise<void> {
    const readable = this.#readable;
    return abortable<void>(signal, ({ resolve, reject, onEnd }) => {
      let isOver = false;
      let isWaiting = false;
      let received = 0;
      onEnd(() => {
        isOver = true;
      });
      const append = (chunk: Uint8Array): void => {
        try {
          block.append(chunk);
        } catch (error) {
          reject(error);
          return;
        }
        if (this.#detach && readable.listenerCount("data") === 1) freeChunk(chunk);
      };
      // While the first pages are waited for, nothing else is to come; a stream that is pushed to all the same does not
      // lose what it delivers.
      const waiting: Uint8Array[] = [];
      const onData = (chunk: unknown): void => {
        if (isOver) return;
        this.hasRead = true;
        if (!(chunk instanceof Uint8Array)) {
          reject(notBytesError(chunk));
          return;
        }
        received += chunk.length;
        if (isWaiting) {
          waiting.push(chunk);
          return;
        }
        try {
          if (block.capacity === 0 && !block.tryReserve(Math.max(expected, chunk.length))) {
            isWaiting = true;
            waiting.push(chunk);
            readable.pause();
            void reserve(Math.max(expected, chunk.length));
            return;
          }
        } catch (error) {
          reject(error);
          return;
        }
        append(chunk);
      };
      const stop = new AbortController();
      onEnd(() => stop.abort());
      const reserve = async (size: number): Promise<void> => {
        try {
          await block.reserve(size, stop.signal);
        } catch (error) {
          reject(error);
          return;
        }
        // Ended while the pages were on their way.
        if (isOver) {
          block.drop();
          return;
        }
        isWaiting = false;
        for (const chunk of waiting.splice(0)) if (!isOver) append(chunk);
        if (isOver) return;
        if (isAtEnd) resolve();
        else readable.resume();
      };
      let isAtEnd = false;
      onEnd(
        onReadEnd(readable, (error, isCut) => {
          // A body that has its whole length was not cut off, whatever the peer did behind it.
          if (error !== undefined && !(isCut && this.#declared === received)) reject(error);
          else if (isWaiting) isAtEnd = true;
          else resolve();
        }),
      );
      readable.on("data", onData);
      onEnd(() => {
        readable.off("data", onData);
        // One that pushes in its read() would otherwise run on in this very call.
        if (!readable.readableEnded) readable.pause();
      });
      // A stream that the caller has paused stays paused when it is listened to.
      readable.resume();
    });
  }

  abandon(_error: unknown): void {
    const readable = this.#readable;
    if (isServerRequest(readable)) readable.pause();
    else {
      // Errors that come after this call's have no receiver, and would end the process.
      ignoreErrors(readable);
      readable.destroy();
    }
  }
}

class WebSource implements Source {
  // It is locked for good, which says enough.
  readonly hasRead = false;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #detach: boolean;

  constructor(reader: ReadableStreamDefaultReader<Uint8Array>, detach: boolean) {
    this.#reader = reader;
    this.#detach = detach;
  }

  async read(block: GrowingBlock, expected: number, signal: AbortSignal | undefined): Promise<void> {
    const reader = this.#reader;
    const stopped = onAbort(signal, (reason) => this.abandon(reason));
    try {
      for (;;) {
        const result: unknown = await reader.read();
        throwIfAborted(signal);
        if (typeof result !== "object" || result === null) {
          throw wrongType("what read() of the reader resolves with", "an object with done and value", result);
        }
        const { done, value } = result as ReadableStreamReadResult<Uint8Array>;
        if (done) break;
        if (!(value instanceof Uint8Array)) throw notBytesError(value);
        if (block.capacity === 0 && value.length > 0) await block.reserve(Math.max(expected, value.length), signal);
        block.append(value);
        if (this.#detach) freeChunk(value);
      }
    } finally {
      stopped();
    }
    reader.releaseLock();
  }

  abandon(error: unknown): void {
    // What the stream says to its cancellation is of no use to anybody: the caller has the first error.
    void Promise.resolve(this.#reader.cancel(error)).catch(() => {});
  }
}

/** Frees the memory of a chunk that is all of its ArrayBuffer; parts of larger blocks belong to others too. */
function freeChunk(chunk: Uint8Array): void {
  const { buffer } = chunk as { buffer: ArrayBufferLike & { transfer?: (length: number) => ArrayBuffer } };
  if (!(buffer instanceof ArrayBuffer) || buffer.byteLength !== chunk.length || buffer.transfer === undefined) return;
  try {
    buffer.transfer(0);
  } catch {
    // WebAssembly's memory, or another that cannot be detached.
  }
}

function isWebStream(value: unknown): value is ReadableStream<Uint8Array> {
  if (typeof value !== "object" || value === null || isRevoked(value)) return false;
  return typeof (value as { getReader?: unknown }).getReader === "function";
}

/** Its reader. Throws `ERR_INVALID_ARG_TYPE` for what only looks like a stream. */
function readerOf(stream: ReadableStream<Uint8Array>): ReadableStreamDefaultReader<Uint8Array> {
  return withMethods("readable.getReader()", "a reader of a ReadableStream", stream.getReader(), [
    "read",
    "cancel",
    "releaseLock",
  ]);
}

/** A request as a server of node:http received it: it has a method, which the answer to a client's request has not. */
function isServerRequest(readable: Readable): boolean {
  const { method, headers, socket } = readable as { method?: unknown; headers?: unknown; socket?: unknown };
  return typeof method === "string" && typeof headers === "object" && typeof socket === "object";
}

/** What the headers of a request or an answer say of its length; undefined when they say nothing of use. */
function contentLength(readable: Readable): number | undefined {
  const { headers } = readable as { headers?: { readonly "content-length"?: unknown } };
  const value = typeof headers === "object" && headers !== null ? headers["content-length"] : undefined;
  return typeof value === "string" && /^\d+$/.test(value) ? Number(value) : undefined;
}

function checkReadable(readable: Readable): void {
  if (readable.readableObjectMode) {
    throw wrongType(
      "readable",
      "a stream of bytes (Readable.from() needs { objectMode: false })",
      "a stream in object mode",
    );
  }
  if (readable.readableEncoding !== null && readable.readableEncoding !== undefined) {
    throw wrongType("readable", "a stream of bytes", `a stream of text (${readable.readableEncoding})`);
  }
  // What a stream was destroyed with may be on its way still. Older classes do not keep it.
  const error = readable.destroyed ? takeError(readable) : undefined;
  if (abandoned.has(readable)) {
    throw endedError("an earlier collect() gave up in the middle of it, and what it had read is gone", error);
  }
  if (hasEnded(readable) && !hasEndedEmpty(readable)) {
    throw endedError(
      "it was read to its end before, by a body parser perhaps; collect() it before anything else does",
      error,
    );
  }
  if (error !== undefined) throw error;
  if (readable.destroyed) throw endedError("it was destroyed before; collect() it before anything else ends it");
  if (readable.listenerCount("readable") > 0) {
    throw badValue(
      "readable",
      'a stream that nobody reads yet; one with a listener of "readable" gives its bytes to that',
      readable,
    );
  }
}

function endedError(why: string, cause?: unknown): MillpondError {
  const options = cause === undefined ? undefined : { cause };
  return new MillpondError("ERR_ENDED", `the stream cannot be collected: ${why}`, undefined, options);
}

function notBytesError(chunk: unknown): MillpondError {
  return new MillpondError(
    "ERR_INVALID_ARG_TYPE",
    `readable must deliver Uint8Arrays, but it delivered ${show(chunk)}; give it no encoding and no object mode`,
  );
}
