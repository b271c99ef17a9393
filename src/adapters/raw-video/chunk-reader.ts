/**
 * Bytes of a Node stream in the portions that a parser wants, whatever chunks they arrive in. Chunks are copied once,
 * into the caller's memory; nothing is ever joined, which is what costs when frames are cut out of a pipe.
 */
import { Readable } from "node:stream";
import { plainBytes } from "../../os/bytes.ts";
import { ignoreErrors, onReadEnd } from "../../os/stream-end.ts";
import { MillpondError } from "../../util/errors.ts";
import { bytesOf } from "../../util/validate.ts";

/** Bytes in order, in the portions that a parser wants. One call at a time. */
export interface ByteReader {
  /** Milliseconds spent waiting for bytes, in all. */
  readonly waitedMs: number;
  /** True when there are no more bytes to come, and {@link close} is not why. */
  readonly ended: boolean;
  /** True when no byte is left. Waits for the next one when it has none. */
  atEnd(): Promise<boolean>;
  /** Reads over the next line feed, and gives the text before it; undefined when the bytes end first. */
  line(limit: number): Promise<string | undefined>;
  /** The next `count` bytes, without consuming them; fewer only when there are no more. */
  peek(count: number): Promise<Buffer>;
  /** Copies what is here already, without a wait; returns where it stopped. */
  take(target: Uint8Array, start: number, end: number): number;
  /** Fills `target` from `start` to `end`; returns where it stopped, before `end` only when the bytes ended. */
  fill(target: Uint8Array, start: number, end: number): Promise<number>;
  /** Passes over `count` bytes; returns how many there were. */
  skip(count: number): Promise<number>;
  /** Ends it, also while a call waits: that call sees the end. A second one does nothing. */
  close(): Promise<void>;
  /** From now on a wait for bytes that lasts `ms` is taken for the end; what is here already is still read. */
  limitWaits(ms: number): void;
}

/**
 * Calls `end` in `ms` milliseconds, behind what has arrived by then; returns what cancels it. A turn that took longer
 * than that has left bytes behind the timer.
 */
export function endAfter(ms: number, end: () => void): () => void {
  let isOff = false;
  const timer = setTimeout(() => setImmediate(() => isOff || end()), ms);
  return () => {
    isOff = true;
    clearTimeout(timer);
  };
}

/** Chunks of a stream in order. */
interface Chunks {
  /** A chunk that is here; null: none is. Throws the stream's error once nothing else is here. */
  take(): unknown;
  /** Waits until {@link take} has one, or false at the end. Rejects with the stream's error. */
  wait(): Promise<boolean>;
}

/**
 * The chunks of a Readable as its own async iterator gives them, in the same order and with the same errors (and with
 * one where HTTP/2 was cut off), but without a promise for each that is here, and with one instead of three for each
 * that is not.
 */
class ReadableChunks implements Chunks {
  readonly #stream: Readable;
  /** Null: it ended well. Undefined: it has not ended. */
  #error: Error | null | undefined;
  #onChange: (() => void) | undefined;

  constructor(stream: Readable) {
    this.#stream = stream;
    const changed = (): void => {
      const wake = this.#onChange;
      this.#onChange = undefined;
      wake?.();
    };
    stream.on("readable", changed);
    onReadEnd(stream, (error) => {
      stream.off("readable", changed);
      this.#error = error ?? null;
      changed();
    });
  }

  take(): unknown {
    const stream = this.#stream;
    return stream.destroyed ? null : stream.read();
  }

  wait(): Promise<boolean> {
    const error = this.#error;
    if (error === null) return Promise.resolve(false);
    if (error !== undefined) return Promise.reject(error);
    return new Promise((resolve) => {
      // Whatever it was that happened, the next take() or wait() sees it.
      this.#onChange = () => resolve(true);
    });
  }
}

/** The chunks of whatever else can be iterated. */
class IteratedChunks implements Chunks {
  readonly #chunks: AsyncIterator<unknown>;
  #chunk: unknown = null;

  constructor(stream: AsyncIterable<unknown>) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  take(): unknown {
    const chunk = this.#chunk;
    this.#chunk = null;
    return chunk;
  }

  async wait(): Promise<boolean> {
    const { value, done } = await this.#chunks.next();
    if (done === true) return false;
    this.#chunk = value;
    return true;
  }
}

/** Pulls bytes out of a Readable. One reader a stream, one call at a time. */
export class ChunkReader implements ByteReader {
  waitedMs = 0;
  readonly #stream: Readable;
  #chunks: Chunks | undefined;
  #chunk: Buffer = Buffer.alloc(0);
  /** Bytes of the chunk when it came: it has none any more where somebody transfers it away meanwhile. */
  #size = 0;
  #at = 0;
  /** Nothing more comes, or is wanted. */
  #over = false;
  #ended = false;
  #closed = false;
  /** Ends a wait for a chunk. */
  #wake: () => void = () => {};
  #limit: number | undefined;
  #isWaiting = false;
  #cancel: (() => void) | undefined;

  /** Takes over the stream. */
  constructor(stream: Readable) {
    this.#stream = stream;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** True when no byte is left. Waits for the next chunk when it has none. */
  async atEnd(): Promise<boolean> {
    return this.#left() === 0 && !(await this.#more());
  }

  /**
   * Reads up to and over the next line feed, and returns the text before it; undefined when the stream ends first.
   * Throws `ERR_BAD_DATA` when no line feed comes within `limit` bytes.
   */
  async line(limit: number): Promise<string | undefined> {
    let text = "";
    for (;;) {
      if (await this.atEnd()) return undefined;
      const end = this.#chunk.indexOf(0x0a, this.#at);
      const stop = end === -1 ? this.#chunk.length : end;
      if (text.length + (stop - this.#at) > limit) throw headerLineError(limit);
      text += this.#chunk.toString("latin1", this.#at, stop);
      this.#at = end === -1 ? stop : stop + 1;
      if (end !== -1) return text;
    }
  }

  /**
   * Reads ahead without consuming, as far as it can be told from the first chunk (a pipe delivers more than this at
   * once in practice; fewer bytes than `count` are returned only when the stream is that short).
   */
  async peek(count: number): Promise<Buffer> {
    while (this.#left() < count) {
      const rest = this.#chunk.subarray(this.#at);
      if (!(await this.#more())) {
        this.#hold(rest);
        break;
      }
      if (rest.length === 0) continue;
      // Only a header that is split over chunks comes here, never a frame.
      this.#hold(Buffer.concat([rest, this.#chunk]));
    }
    return this.#chunk.subarray(this.#at, this.#at + count);
  }

  /**
   * Fills `target` from `start` to `end`; returns where it stopped, which is before `end` only when the stream ended.
   */
  async fill(target: Uint8Array, start: number, end: number): Promise<number> {
    let position = this.take(target, start, end);
    while (position < end && (await this.#more())) position = this.take(target, position, end);
    return position;
  }

  /** Copies what the chunk in hand has; returns where it stopped. */
  take(target: Uint8Array, start: number, end: number): number {
    const count = Math.min(end - start, this.#left());
    copyBytes(this.#chunk, this.#at, count, target, start);
    this.#at += count;
    return start + count;
  }

  /** Passes over `count` bytes; returns how many there were. */
  async skip(count: number): Promise<number> {
    let skipped = 0;
    while (skipped < count) {
      if (this.#left() === 0 && !(await this.#more())) break;
      const step = Math.min(count - skipped, this.#left());
      this.#at += step;
      skipped += step;
    }
    return skipped;
  }

  /**
   * Ends the stream, also while a read waits: that read sees the end. Rejects with what the stream's destroy() throws.
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#over = true;
    try {
      // Where nothing was read, nobody listens to it yet.
      if (this.#stream instanceof Readable) ignoreErrors(this.#stream);
      this.#stream.destroy();
    } finally {
      // The stream's own end may come late, or not at all: that of a FIFO waits for a read in a thread.
      this.#wake();
    }
  }

  /** Waits for the stream, until it ends or close() does. */
  #wait(chunks: Chunks): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#wake = () => resolve(false);
      this.#isWaiting = true;
      if (this.#limit !== undefined) this.#cancel ??= endAfter(this.#limit, () => this.#wake());
      chunks.wait().then(resolve, reject);
    });
  }

  limitWaits(ms: number): void {
    this.#limit = ms;
    if (this.#isWaiting) this.#cancel ??= endAfter(ms, () => this.#wake());
  }

  /** The next chunk, for which it waits where none is here; false at the end. */
  async #more(): Promise<boolean> {
    if (this.#over) return false;
    // The stream is not touched before somebody asks for bytes.
    this.#chunks ??=
      this.#stream instanceof Readable ? new ReadableChunks(this.#stream) : new IteratedChunks(this.#stream);
    if (this.#takeChunk(this.#chunks)) return true;
    const before = performance.now();
    try {
      while ((await this.#wait(this.#chunks)) && !this.#closed) if (this.#takeChunk(this.#chunks)) return true;
    } catch (error) {
      // A read that close() interrupted has seen the end, and not an error.
      if (!this.#closed) throw error;
    } finally {
      this.#isWaiting = false;
      this.#cancel?.();
      this.#cancel = undefined;
      this.waitedMs += performance.now() - before;
    }
    this.#over = true;
    this.#ended = !this.#closed;
    return false;
  }

  /** Takes the next chunk that is here; false: none is. */
  #takeChunk(chunks: Chunks): boolean {
    for (;;) {
      const value = chunks.take();
      if (value === null) return false;
      if (!(value instanceof Uint8Array)) {
        throw new MillpondError("ERR_INVALID_ARG_TYPE", "the stream delivers text or objects; give it no encoding");
      }
      const chunk = plainBytes("a chunk of the stream", bytesOf("a chunk of the stream", value));
      if (chunk.length === 0) continue;
      this.#hold(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
      return true;
    }
  }

  #hold(chunk: Buffer): void {
    this.#chunk = chunk;
    this.#size = chunk.length;
    this.#at = 0;
  }

  /** Bytes of the chunk in hand that were not taken. Throws `ERR_DETACHED` when they were transferred away. */
  #left(): number {
    if (this.#chunk.length !== this.#size) bytesOf("a chunk of the stream", this.#chunk);
    return this.#size - this.#at;
  }
}

/** The refusal of a header line without an end. */
export function headerLineError(limit: number): MillpondError {
  return new MillpondError("ERR_BAD_DATA", `no line feed within ${limit} bytes where a header line should be`);
}

/** As much as a pipe or a file delivers at once; stays in the second-level cache. */
const SCRATCH_BYTES = 1 << 16;
const scratch: Uint8Array = new Uint8Array(SCRATCH_BYTES + 8);

/**
 * Copies; into shared memory by way of a scratch block that lies as the target does, modulo eight. That looks like
 * twice the work and is the faster way there: `set()` into shared memory copies word by word, but byte by byte where
 * source and target are not aligned alike, as behind a Y4M frame line (3.1 MB on a 2-core machine: aligned 0.11 ms,
 * unaligned 0.84 ms, this way 0.15 ms); Node 24's `Buffer.copy` is a plain memmove, which wins in a loop by itself and
 * loses 2.5 times when another thread has just read the target.
 */
export function copyBytes(chunk: Buffer, from: number, count: number, target: Uint8Array, position: number): void {
  if (!isShared(target)) {
    target.set(chunk.subarray(from, from + count), position);
    return;
  }
  for (let done = 0; done < count; ) {
    const step = Math.min(SCRATCH_BYTES, count - done);
    const lean = (target.byteOffset + position + done) & 7;
    scratch.set(chunk.subarray(from + done, from + done + step), lean);
    target.set(scratch.subarray(lean, lean + step), position + done);
    done += step;
  }
}

function isShared({ buffer }: Uint8Array): boolean {
  return typeof SharedArrayBuffer === "function" && buffer instanceof SharedArrayBuffer;
}
