/**
 * The streams of the platform, into pooled buffers and out of them: browsers, Node, Deno, Bun.
 *
 * ```ts
 * for await (const block of readInto(response.body, pool, { signal })) {   // waits while every slot is out
 *   hash.update(block.bytes);
 *   block.release();
 * }
 * await fetch(url, { method: "POST", body: toReadable(frames), duplex: "half" });   // released as they are read
 * ```
 *
 * How bytes land in a slot:
 *
 * - a byte stream, memory of the system allocator: the reader takes the slot's ArrayBuffer and gives it back filled;
 *   what that answer left of the slot is read into one scratch buffer and copied, and so is one answer while no slot is
 *   free, which tells whether the stream is over;
 * - a byte stream, any other memory (shared, WebAssembly, pages, native, yours), or a prefix: all by the scratch
 * buffer;
 * - any other stream, and on Node a branch of a `tee()`: its chunks are copied.
 *
 * Invariants: a lease that is handed out always has its bytes. A stream never has bytes of a slot that are filled: only
 * an empty slot's ArrayBuffer is given, so a source that answers with another one, that fails, or that closes without
 * an answer takes none along. What is given begins at byte 0 of its buffer: Node's streams over files (20 to 24) fail
 * with anything else. A slot whose ArrayBuffer a stream kept (it was canceled, failed or closed with a read under way)
 * is discarded by its pool, which makes another one when it is asked. Bytes of a lease leave in a copy: a byte stream
 * transfers what is enqueued, which would take the slot's memory from its pool.
 *
 * Everything is O(1) a read, but for the copies.
 */
import { bytesToGive, takeBytesBack } from "../media/buffer/exchange.ts";
import type { MediaBuffer } from "../media/buffer/media-buffer.ts";
import { releaseAll, releaseOrPass } from "../media/buffer/release.ts";
import { viewBytes } from "../memory/region.ts";
import type { BufferPool } from "../pools/buffer/buffer-pool.ts";
import { abortable, onAbort } from "../util/abortable.ts";
import { endable } from "../util/endable.ts";
import { isMillpondError, MillpondError } from "../util/errors.ts";
import {
  abortSignal,
  badValue,
  listOf,
  milliseconds,
  readOptions,
  wholeNumber,
  withMethods,
  wrongType,
} from "../util/validate.ts";

/** How {@link readInto} reads. */
export interface ReadIntoOptions {
  /** Ends the loop and cancels the stream; the next turn rejects with its reason, also behind the last buffer. */
  signal?: AbortSignal;
  /** Milliseconds to wait for a buffer, then `ERR_STARVED`. Default: no limit. */
  timeout?: number;
  /**
   * Bytes that a buffer has at least when it is handed out, but for the last one. Default: all that fit, so that a pool
   * of frames gives whole frames; 1: whatever has arrived.
   */
  min?: number;
}

/** How {@link toReadable} is read. */
export interface ToReadableOptions {
  /** Ends the stream with its reason as the error; every lease is released. */
  signal?: AbortSignal;
  /** Bytes of a chunk for a reader that brings no buffer of its own; default 65,536. */
  chunkSize?: number;
}

/** What a read of a byte stream answers: undefined where the stream has kept the buffer that it was given. */
interface BytesRead {
  readonly done: boolean;
  readonly value: Uint8Array | undefined;
}
interface ChunkRead {
  readonly done: boolean;
  readonly value: unknown;
}

/** What is used of a BYOB reader, and of a default one. */
interface BytesReader {
  read(view: Uint8Array): Promise<BytesRead>;
  readonly closed: Promise<unknown>;
  cancel(reason: unknown): Promise<unknown>;
  releaseLock(): void;
}
type ChunksReader = Omit<BytesReader, "read"> & { read(): Promise<ChunkRead> };

/**
 * 256 KiB: a socket gives 64 KiB a read and a file of Node's as much; more would leave the second level cache before it
 * is copied.
 */
const SCRATCH = 256 * 1024;

/** 64 KiB: what pipes and sockets take at once; each chunk is a fresh buffer of the reader's. */
const CHUNK = 64 * 1024;

/**
 * Reads a stream into buffers of `pool` that the consumer owns and releases: each one full (see {@link
 * ReadIntoOptions.min}), the last one as long as what was left. A byte stream is read straight into the slots where
 * their memory allows it (the table of this module), as far as one answer of its source fills them, which detaches
 * views of a slot that an earlier lease kept. When every buffer is out, nothing is read (but for one answer of at most
 * a buffer's size and 256 KiB, or one chunk, that tells whether the stream is over), and the stream's own back-pressure
 * reaches its source.
 *
 * The stream is locked from the first turn of the loop on. At its end it is unlocked; when the loop is left early, when
 * it fails, and when the signal is aborted it is canceled first, without waiting for its source. A read that was under
 * way then keeps its slot's memory: the pool discards that slot (`stats().discards.detached`) and makes another one.
 *
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` (the stream is locked), `ERR_OUT_OF_RANGE` at once; the stream
 * is not touched then. The loop throws what the stream failed with, what `pool.acquire` throws, and
 * `ERR_INVALID_ARG_TYPE` for a chunk that is not bytes.
 */
export function readInto(
  stream: ReadableStream,
  pool: BufferPool,
  options?: ReadIntoOptions,
): AsyncIterableIterator<MediaBuffer, void, undefined> {
  withMethods("stream", "a ReadableStream", stream, ["getReader"]);
  assertUnlocked(stream);
  withMethods("pool", "a BufferPool", pool, ["acquire", "tryAcquire", "configure"]);
  const { signal, timeout, min } = readOptions("options", options, ["signal", "timeout", "min"]);
  abortSignal("options.signal", signal);
  if (timeout !== undefined) milliseconds("options.timeout", timeout);
  if (min !== undefined) wholeNumber("options.min", min, 1);
  const wait = timeout === undefined ? {} : { timeout };
  return endable(signal, (ended) => {
    const fill = new Fill(pool, { ...wait, signal: ended }, min ?? Number.POSITIVE_INFINITY);
    return read(stream, fill, ended);
  });
}

function assertUnlocked(stream: ReadableStream): void {
  if (stream.locked === true) {
    throw badValue("stream", "a ReadableStream that nobody else reads; release its reader first", stream);
  }
}

/** Reads with the best reader that the stream has, which it gives up at the end, whatever ends it. */
async function* read(
  stream: ReadableStream,
  fill: Fill,
  ended: AbortSignal,
): AsyncGenerator<MediaBuffer, void, undefined> {
  assertUnlocked(stream);
  const byob = byobReader(stream);
  const reader = byob ?? (stream.getReader() as unknown as ChunksReader);
  // It is not waited for: a source that takes its time over its own end must not keep the loop from ending.
  const cancel = (reason: unknown): void => void reader.cancel(reason).catch(() => {});
  // At once, also while the consumer works on a buffer: nobody wants the rest.
  const ignore = onAbort(ended, cancel);
  let isWhole = false;
  let failure: unknown;
  try {
    ended.throwIfAborted();
    if (byob === undefined) yield* fromChunks(reader as ChunksReader, fill, ended);
    else yield* fromBytes(byob, fill, ended);
    isWhole = true;
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    ignore();
    if (!isWhole && !ended.aborted) cancel(failure);
    reader.releaseLock();
  }
}

/** A reader that fills buffers of its caller, where the platform and the stream have it, and it is sure to end. */
function byobReader(stream: ReadableStream): BytesReader | undefined {
  const { ReadableStreamBYOBReader: Reader } = globalThis as {
    ReadableStreamBYOBReader?: new (of: unknown) => BytesReader;
  };
  if (Reader === undefined) return undefined;
  try {
    if (isBranch(stream)) return undefined;
    // The platform's own: it takes no stream of anybody else's, who might keep a view of a slot.
    return new Reader(stream);
  } catch {
    return undefined;
  }
}

/**
 * Whether a stream is a branch of a `tee()`, a body of `Response.clone()` say. When the source behind it closes under a
 * read and does not answer that read, which many sources forget, the branch never ends for a BYOB reader: the platform
 * has no way to tell it, and `closed` stays pending. For a default reader it ends, and no branch minds one: the bytes
 * of one of the two are a copy anyway. Only Node's own properties say it, and only by the name of what pulls; where
 * they are others, or there are none, a branch is read as any byte stream.
 */
function isBranch(stream: object): boolean {
  const state = nodeState(stream);
  const { pullAlgorithm } = (nodeState(state?.controller) ?? {}) as { pullAlgorithm?: { readonly name?: unknown } };
  return pullAlgorithm?.name === "pull1Algorithm" || pullAlgorithm?.name === "pull2Algorithm";
}

function nodeState(of: unknown): { readonly controller?: unknown } | undefined {
  if (typeof of !== "object" || of === null) return undefined;
  const key = Object.getOwnPropertySymbols(of).find(({ description }) => description === "kState");
  return key === undefined ? undefined : ((of as Record<symbol, unknown>)[key] as { readonly controller?: unknown });
}

/** The buffer that is being filled, and how far. */
class Fill {
  readonly #pool: BufferPool;
  readonly #wait: { timeout?: number; signal: AbortSignal };
  readonly #min: number;
  #buffer: MediaBuffer | undefined;
  #size = 0;
  /** Bytes of the present buffer that are there. */
  filled = 0;

  constructor(pool: BufferPool, wait: { timeout?: number; signal: AbortSignal }, min: number) {
    this.#pool = pool;
    this.#wait = wait;
    this.#min = min;
  }

  /** Takes a free slot; false: there is none. */
  tryBegin(): boolean {
    return this.#take(this.#pool.tryAcquire());
  }

  /** Waits for a slot. */
  async begin(): Promise<void> {
    this.#take(await this.#pool.acquire(this.#wait));
  }

  #take(buffer: MediaBuffer | undefined): boolean {
    this.#buffer = buffer;
    this.filled = 0;
    if (buffer !== undefined) this.#size = buffer.size;
    return buffer !== undefined;
  }

  /** Whether it has a buffer. */
  get isOpen(): boolean {
    return this.#buffer !== undefined;
  }

  /** Whether the buffer is to be handed out. */
  get isFull(): boolean {
    return this.filled >= Math.min(this.#min, this.#size);
  }

  /** Bytes that still fit. */
  get room(): number {
    return this.#size - this.filled;
  }

  /** Bytes to read at once into a scratch buffer: those of the last slot, or of the pool's, where they are not more. */
  get scratchSize(): number {
    return Math.min(SCRATCH, this.#size || this.#pool.config?.size || SCRATCH);
  }

  /**
   * Where a reader may write by itself, of a buffer that is empty; undefined: what comes has to be copied. Bytes that
   * are there are never given: who answers with another buffer would take them along. A view behind the begin of its
   * buffer is not, either, for Node's streams over files.
   */
  whole(): Uint8Array<ArrayBuffer> | undefined {
    const bytes = this.filled === 0 ? bytesToGive(this.#buffer!) : undefined;
    return bytes?.byteOffset === 0 ? bytes : undefined;
  }

  /** Takes back what {@link whole} gave, with so many bytes. False: the slot has lost its memory. */
  returned(bytes: Uint8Array): boolean {
    if (!takeBytesBack(this.#buffer!, bytes.buffer)) return false;
    this.filled = bytes.length;
    return true;
  }

  /** Copies as much of the bytes as fits; returns how many. */
  copy(bytes: Uint8Array): number {
    const copied = this.#buffer!.fill(this.filled, bytes.length > this.room ? bytes.subarray(0, this.room) : bytes);
    this.filled += copied;
    return copied;
  }

  /** The buffer, as long as what is in it; the caller's from now on. */
  handOut(): MediaBuffer {
    const buffer = this.#buffer!;
    this.#buffer = undefined;
    if (this.filled < this.#size) buffer.resize(0, this.filled);
    return buffer;
  }

  /** Gives the buffer back, if there is one. A slot whose memory a stream kept is discarded; that is what happened. */
  drop(): void {
    const buffer = this.#buffer;
    this.#buffer = undefined;
    if (buffer?.isLive !== true) return;
    try {
      buffer.releaseWhenUnmapped();
    } catch (error) {
      if (!isMillpondError(error, "ERR_DETACHED")) throw error;
    }
  }
}

/**
 * A byte stream: each read writes into what it is given. The platform's own streams answer every read when they are
 * canceled, so no read has to listen to the signal.
 */
async function* fromBytes(
  reader: BytesReader,
  fill: Fill,
  ended: AbortSignal,
): AsyncGenerator<MediaBuffer, void, undefined> {
  let scratch: ArrayBuffer | undefined;
  /** Bytes of the scratch buffer that had no room in a slot; it is not read into while there are any. */
  let held: Uint8Array | undefined;
  const answered = answersAtEnd(reader);
  const read = (view: Uint8Array): Promise<BytesRead> => {
    ended.throwIfAborted();
    return answered(reader.read(view));
  };
  /** One answer into the scratch buffer, of `most` bytes at most; done: there is none. */
  const readScratch = async (most: number): Promise<boolean> => {
    scratch ??= new ArrayBuffer(fill.scratchSize);
    const { done, value } = await read(new Uint8Array(scratch, 0, Math.min(scratch.byteLength, most)));
    scratch = value?.buffer as ArrayBuffer | undefined;
    held = value;
    return done;
  };
  const copyHeld = (): void => {
    const copied = fill.copy(held!);
    held = copied < held!.length ? held!.subarray(copied) : undefined;
  };
  try {
    for (let isEnd = false; !isEnd; ) {
      ended.throwIfAborted();
      if (!fill.tryBegin()) {
        // The end of a stream is told by a read, and must not have to wait for a slot: one answer tells it.
        if (held === undefined) {
          const isOver = await readScratch(SCRATCH);
          ended.throwIfAborted();
          if (isOver) return;
        }
        await fill.begin();
      }
      if (held !== undefined) copyHeld();
      while (!isEnd && !fill.isFull) {
        const whole = fill.whole();
        if (whole === undefined) {
          isEnd = await readScratch(fill.room);
          if (held !== undefined) copyHeld();
          ended.throwIfAborted();
          continue;
        }
        const { done, value } = await read(whole);
        isEnd = done;
        const isLost = value !== undefined && !fill.returned(value);
        ended.throwIfAborted();
        if (isLost) throw strangeError(value.buffer);
      }
      if (fill.filled > 0) yield fill.handOut();
    }
  } finally {
    fill.drop();
  }
}

/**
 * Ends reads that a closed stream leaves open: one whose source calls `controller.close()` under a read and not
 * `byobRequest.respond(0)` behind it, which the standard asks for. What that read was given is lost, and was empty. One
 * listener for all reads.
 */
function answersAtEnd(reader: BytesReader): (reading: Promise<BytesRead>) => Promise<BytesRead> {
  let giveUp: ((end: BytesRead) => void) | undefined;
  reader.closed.then(
    // A source that answers does so in the turn in which it closes.
    () => void setTimeout(() => giveUp?.({ done: true, value: undefined })),
    () => {},
  );
  return (reading) =>
    new Promise((resolve, reject) => {
      giveUp = resolve;
      reading.then(resolve, reject);
    });
}

function strangeError(buffer: ArrayBufferLike): MillpondError {
  return new MillpondError(
    "ERR_DETACHED",
    `the stream gave back ${buffer.byteLength} bytes of another kind of buffer than it took, so the slot has lost its memory; ` +
      "its source has to respond with a plain ArrayBuffer of the same length",
  );
}

/** Any other stream: its chunks are copied, whatever their lengths are. */
async function* fromChunks(
  reader: ChunksReader,
  fill: Fill,
  ended: AbortSignal,
): AsyncGenerator<MediaBuffer, void, undefined> {
  let chunk: Uint8Array = new Uint8Array(0);
  let left = 0;
  try {
    for (;;) {
      while (left === 0) {
        const { done, value } = await abortable<ChunkRead>(ended, ({ resolve, reject }) => {
          reader.read().then(resolve, reject);
        });
        if (done) {
          if (fill.isOpen) yield fill.handOut();
          return;
        }
        chunk = bytesOfChunk(value);
        left = chunk.length;
      }
      if (!fill.isOpen) await fill.begin();
      if (chunk.length !== left) {
        throw new MillpondError(
          "ERR_DETACHED",
          "a chunk of the stream lost its bytes while it waited for a slot: its source transferred it after it had enqueued it",
        );
      }
      chunk = chunk.subarray(fill.copy(chunk));
      left = chunk.length;
      if (fill.isFull) yield fill.handOut();
    }
  } finally {
    fill.drop();
  }
}

function bytesOfChunk(chunk: unknown): Uint8Array {
  let bytes: Uint8Array | undefined;
  try {
    bytes = viewBytes(chunk);
  } catch (cause) {
    throw new MillpondError(
      "ERR_DETACHED",
      "a chunk of the stream has no bytes any more: it was transferred",
      {},
      { cause },
    );
  }
  if (bytes !== undefined) return bytes;
  throw wrongType("a chunk of the stream", "bytes (text: pipe it through a TextEncoderStream first)", chunk);
}

/**
 * A byte stream of the bytes of leases, one behind the other, times and metas left out. The stream owns the leases:
 * each is released when its last byte is read; when the stream is canceled, when it fails, and when the signal is
 * aborted, the one under way is released, and `return()` is called on the iterator, or the rest of a list is released.
 * Nothing is taken before it is asked for, so that the reader's pace reaches the source.
 *
 * A BYOB reader's own buffers are written into, one copy. Other readers get chunks of {@link
 * ToReadableOptions.chunkSize} bytes of their own, one copy too: an enqueued ArrayBuffer would be the reader's for
 * good, and a slot has no other.
 *
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE` (also for a list of more than 65,536),
 * `ERR_UNSUPPORTED` where there is no ReadableStream; nothing is taken over then. Reads reject with what the iterator
 * throws, `ERR_INVALID_ARG_TYPE` for anything but a lease, and what {@link MediaBuffer.extract} and
 * {@link MediaBuffer.release} throw.
 */
export function toReadable(
  leases: AsyncIterable<MediaBuffer> | Iterable<MediaBuffer>,
  options?: ToReadableOptions,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const list = Array.isArray(leases) ? listOf("leases", "a list of leases", leases as MediaBuffer[]) : undefined;
  list?.forEach((lease, i) => {
    checkLease(`leases[${i}]`, lease);
  });
  const start = list === undefined ? iterationOf(leases) : () => list.values();
  const { signal, chunkSize = CHUNK } = readOptions("options", options, ["signal", "chunkSize"]);
  abortSignal("options.signal", signal);
  wholeNumber("options.chunkSize", chunkSize, 1, MAX_CHUNK);
  const { ReadableStream: Stream } = globalThis as { ReadableStream?: new (source: object) => ReadableStream };
  if (Stream === undefined) throw new MillpondError("ERR_UNSUPPORTED", "there is no ReadableStream here");
  return new Stream(new LeaseSource(start, list !== undefined, chunkSize, signal));
}

/** 1 GiB: larger chunks than any engine gives at once are mistakes. */
const MAX_CHUNK = 2 ** 30;

function checkLease(name: string, lease: MediaBuffer): void {
  withMethods(name, "a lease, a MediaBuffer", lease, ["extract", "release"]);
}

/** How an iteration begins; the method is read once, and called when the stream is read. */
function iterationOf(leases: AsyncIterable<MediaBuffer> | Iterable<MediaBuffer>): () => Leases {
  if (typeof leases === "object" && leases !== null) {
    const { [Symbol.asyncIterator]: later, [Symbol.iterator]: now } = leases as Partial<IterableTwice>;
    const begin = later ?? now;
    if (typeof begin === "function") return () => begin.call(leases as never);
  }
  throw wrongType("leases", "leases that can be iterated over", leases);
}

interface IterableTwice {
  [Symbol.asyncIterator](): Leases;
  [Symbol.iterator](): Leases;
}
type Leases = AsyncIterator<MediaBuffer> | Iterator<MediaBuffer>;

/** What is used of a byte stream's controller. */
interface ByteController {
  readonly byobRequest: { readonly view: ArrayBufferView | null; respond(bytes: number): void } | null | undefined;
  enqueue(chunk: Uint8Array): void;
  close(): void;
  error(reason: unknown): void;
}

/** The source of a stream over leases. One pull at a time; cancel and abort may come while it waits. */
class LeaseSource {
  readonly type = "bytes";
  readonly autoAllocateChunkSize: number;
  readonly #start: () => Leases;
  readonly #isList: boolean;
  readonly #signal: AbortSignal | undefined;
  #ignore: (() => void) | undefined;
  #leases: Leases | undefined;
  #lease: MediaBuffer | undefined;
  /** Bytes of the present lease, and how many of them have been read. */
  #size = 0;
  #at = 0;
  #isOver = false;

  constructor(start: () => Leases, isList: boolean, chunkSize: number, signal: AbortSignal | undefined) {
    this.autoAllocateChunkSize = chunkSize;
    this.#start = start;
    this.#isList = isList;
    this.#signal = signal;
  }

  start(controller: ByteController): void {
    this.#ignore = onAbort(this.#signal, (reason) => {
      controller.error(reason);
      // The caller that aborted waits for nothing, so an error of the source's end has no receiver.
      this.#end().catch(() => {});
    });
    if (this.#isOver) this.#ignore();
  }

  async pull(controller: ByteController): Promise<void> {
    try {
      const lease = await this.#present();
      if (this.#isOver) return;
      if (lease === undefined) {
        this.#isOver = true;
        this.#ignore?.();
        controller.close();
        // The read that asked is answered by this, and its buffer goes back to its reader.
        controller.byobRequest?.respond(0);
      } else this.#give(lease, controller);
    } catch (error) {
      await this.#end().catch(() => {});
      throw error;
    }
  }

  cancel(): Promise<void> {
    return this.#end();
  }

  /** The lease that has bytes to read, or undefined at the end. Empty ones are passed over. */
  async #present(): Promise<MediaBuffer | undefined> {
    while (this.#lease === undefined) {
      this.#leases ??= this.#start();
      const { done, value } = await this.#leases.next();
      if (done === true) return undefined;
      checkLease("a lease of the stream", value);
      if (this.#isOver) {
        // It came too late: the stream was canceled while it was waited for.
        releaseOrPass(value);
        return undefined;
      }
      this.#lease = value;
      this.#size = value.size;
      this.#at = 0;
      if (this.#size === 0) this.#release();
    }
    return this.#lease;
  }

  /** Copies the next bytes of the lease to the reader, and releases it behind its last one. */
  #give(lease: MediaBuffer, controller: ByteController): void {
    const request = controller.byobRequest;
    const view = request?.view;
    const target =
      view === null || view === undefined
        ? new Uint8Array(Math.min(this.autoAllocateChunkSize, this.#size - this.#at))
        : new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    const copied = lease.extract(this.#at, target);
    this.#at += copied;
    if (this.#at >= this.#size) this.#release();
    if (view === null || view === undefined) controller.enqueue(target);
    else request!.respond(copied);
  }

  #release(): void {
    const lease = this.#lease;
    this.#lease = undefined;
    if (lease !== undefined) releaseOrPass(lease);
  }

  /** Ends it early: releases what it has, and ends where the rest would come from. */
  async #end(): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#ignore?.();
    this.#leases ??= this.#start();
    const leases = this.#leases;
    try {
      if (this.#lease?.isLive === true) this.#release();
    } finally {
      this.#lease = undefined;
      if (this.#isList) releaseAll(stillLive(leases as IterableIterator<MediaBuffer>));
      else await leases.return?.();
    }
  }
}

/** What is left in a list, but for leases that are over when it is their turn. */
function* stillLive(leases: Iterable<MediaBuffer>): IterableIterator<MediaBuffer> {
  for (const lease of leases) if (lease.isLive) yield lease;
}
