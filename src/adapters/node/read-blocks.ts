/**
 * A file in blocks of a BufferPool: the system writes straight into slots, a few blocks ahead of the loop.
 *
 * ```
 *   position  0         1 MiB       2 MiB       3 MiB           end
 *   file      |== block ==|== block ==|== block ==|...
 *                the loop's   being read  being read
 * ```
 * Life-cycle: nothing is opened before the first `next()`. Reads run until the end of the file, `end`, an error, the
 * signal, or `return()` (which `break` calls); then the reads that are under way end, their leases go back to the pool,
 * and the file is closed. Only after that does the last call answer, because until then the system writes into slots.
 *
 * Invariants: blocks come in order and without gaps; at most `ahead` blocks are being read or wait for the loop, and
 * never more than the pool has free slots for; a slot that is being read into is mapped, so a pool that is closed by
 * force keeps its bytes until the read has ended. (A stale view of a slot that is transferred away while the system
 * writes is beyond it, as in every read of `node:fs`: pools with `revoke: true` leave no stale views.) Reads ahead take
 * free slots only and never wait, and when somebody waits for a slot of the pool, the last one gives up its own, to be
 * read again: what was not asked for is never what a wait waits for. With none under way the next block waits in the
 * pool's line.
 *
 * Complexity: a block is one system call and one view, which the slot keeps; no copy.
 */
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { giveBack, releaseOrPass } from "../../media/buffer/release.ts";
import type { Mapping } from "../../memory/memory.ts";
import { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import { onAbort } from "../../util/abortable.ts";
import { abortSignal, instance, outOfRange, readOptions, wholeNumber } from "../../util/validate.ts";
import { checkFile, type FileInput, type OpenFile, openFile } from "./open-file.ts";

/** What {@link readBlocks} reads. */
export interface ReadBlocksOptions {
  /** The first byte that is read; default 0. */
  start?: number;
  /**
   * The byte behind the last one, as in `Blob.slice` (`createReadStream` counts the last one in); default: to the end.
   */
  end?: number;
  /**
   * Blocks that are read before the loop asks, while slots are free and nobody waits for one: 1 to 64, default 2. When
   * somebody begins to wait, one of them gives its slot up, and is read again later.
   */
  ahead?: number;
  /** Ends the loop; it throws the reason. */
  signal?: AbortSignal;
}

const OPTION_KEYS = ["start", "end", "ahead", "signal"] as const;

/** Two keep the disk busy while the loop works, and leave the rest of a small pool to the loop. */
const DEFAULT_AHEAD = 2;

/** The system's threads are four by default; more than a few each gain nothing. */
const MAX_AHEAD = 64;

/**
 * The bytes of a file in leases of `pool`, in order, each as large as a slot and the last one as large as what is left;
 * the loop releases them. `offset` and `offsetEnd` of each say which bytes of the file it has. Waits for a free slot:
 * give the pool one slot more than all who use it hold at a time, or the loop never goes on. Blocks that are read ahead
 * do not count: when somebody waits, they give their slots up.
 *
 * A file that grows meanwhile is read to its end as found; one that shrinks ends early.
 *
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE` at once. The loop throws the file system's
 * error, `ERR_UNSUPPORTED` for a pipe or a socket, the signal's reason, and what `pool.acquire` throws. However it
 * ends, the leases that the loop did not get are back in the pool then, and what was opened is closed.
 *
 * @param file a path, a `file:` URL, or a FileHandle, which stays open and whose position does not move
 * @param pool active, and not one whose buffers have several memories
 */
export function readBlocks(
  file: FileInput,
  pool: BufferPool,
  options?: ReadBlocksOptions,
): AsyncIterableIterator<MediaBuffer, undefined> {
  checkFile("file", file);
  instance("pool", "a BufferPool", BufferPool, pool);
  const given = readOptions<ReadBlocksOptions>("options", options, OPTION_KEYS);
  const { start = 0, end = Infinity, ahead = DEFAULT_AHEAD } = given;
  wholeNumber("options.start", start);
  if (end !== Infinity) wholeNumber("options.end", end);
  if (end < start) throw outOfRange("options.end", `${start} or more, which is options.start`, end);
  wholeNumber("options.ahead", ahead, 1, MAX_AHEAD);
  return new BlockReader(file, pool, start, end, ahead, abortSignal("options.signal", given.signal));
}

/** A block that is being read. */
interface Read {
  readonly buffer: MediaBuffer;
  readonly mapping: Mapping;
  readonly position: number;
  readonly length: number;
  /** Bytes that were there, or what went wrong; never rejects. */
  readonly result: Promise<number | { readonly error: unknown }>;
  /** The system does not write into the slot any more. */
  isOver: boolean;
}

const DONE: IteratorReturnResult<undefined> = Object.freeze({ done: true, value: undefined });

class BlockReader implements AsyncIterableIterator<MediaBuffer, undefined> {
  readonly #input: FileInput;
  readonly #pool: BufferPool;
  readonly #end: number;
  readonly #ahead: number;
  readonly #signal: AbortSignal | undefined;
  /** Ends waits for a slot: by the caller's signal, or by return(). */
  readonly #stop: AbortController = new AbortController();
  /** Reads under way and blocks that wait for the loop, in order. */
  readonly #reads: Read[] = [];
  /** Reads under way that were given up; each ends with its lease back. */
  readonly #dropped: Set<Promise<void>> = new Set();
  /** A call waits for the first of `#reads`, which is not ahead then. */
  #isAsked = false;
  #withdrawSpare: (() => void) | undefined;
  #file: OpenFile | undefined;
  /** Where the next read starts. */
  #position: number;
  /** The end of the file was found; nothing behind it is handed out, or read. */
  #atEnd = false;
  #stopListening: (() => void) | undefined;
  /** The calls of next() and return(), one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #isStarted = false;
  #isOver = false;

  constructor(
    input: FileInput,
    pool: BufferPool,
    start: number,
    end: number,
    ahead: number,
    signal: AbortSignal | undefined,
  ) {
    this.#input = input;
    this.#pool = pool;
    this.#position = start;
    this.#end = end;
    this.#ahead = ahead;
    this.#signal = signal;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<MediaBuffer, undefined>> {
    return this.#inTurn(() => this.#next());
  }

  return(): Promise<IteratorResult<MediaBuffer, undefined>> {
    // A next() that waits for a slot would wait for the very loop that has ended.
    this.#isOver = true;
    this.#stop.abort();
    return this.#inTurn(async () => {
      await this.#close();
      return DONE;
    });
  }

  #inTurn<T>(step: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(step);
    this.#turn = result.catch(() => {});
    return result;
  }

  async #next(): Promise<IteratorResult<MediaBuffer, undefined>> {
    if (this.#isOver) return DONE;
    try {
      if (!this.#isStarted) await this.#start();
      this.#isAsked = true;
      const block = await this.#takeBlock();
      if (block !== undefined) return { done: false, value: block };
    } catch (error) {
      // return() ended the wait.
      const isReturned = this.#isOver;
      // What happened first counts.
      await this.#close().catch(() => {});
      if (isReturned) return DONE;
      throw error;
    }
    await this.#close();
    return DONE;
  }

  async #start(): Promise<void> {
    this.#isStarted = true;
    this.#stopListening = onAbort(this.#signal, (reason) => {
      this.#stop.abort(reason);
      // The loop may never ask again.
      void this.#inTurn(() => this.#release());
    });
    this.#throwIfStopped();
    this.#file = await openFile(this.#input);
    this.#throwIfStopped();
    // The pool does not keep a reader that nobody reads any more.
    const self = new WeakRef<BlockReader>(this);
    this.#withdrawSpare = this.#pool.offerSpare(() => {
      const reader = self.deref();
      if (reader === undefined) return false;
      return reader.#giveUpLast();
    });
  }

  #throwIfStopped(): void {
    if (this.#stop.signal.aborted) throw this.#stop.signal.reason;
  }

  /** The next block, for the caller; undefined at the end. */
  async #takeBlock(): Promise<MediaBuffer | undefined> {
    this.#throwIfStopped();
    if (this.#reads.length === 0 && (await this.#hasMore())) {
      this.#read(await this.#pool.acquire({ signal: this.#stop.signal }));
    }
    this.#readOn();
    const read = this.#reads[0];
    if (read === undefined) return undefined;
    const result = await read.result;
    this.#throwIfStopped();
    if (typeof result !== "number") throw result.error;
    this.#reads.shift();
    this.#isAsked = false;
    return this.#handOut(read, result);
  }

  #handOut(read: Read, count: number): MediaBuffer | undefined {
    const { buffer, mapping, position, length } = read;
    try {
      mapping.unmap();
      if (count < length) this.#endHere();
      if (count === 0) {
        releaseOrPass(buffer);
        return undefined;
      }
      // A pool that was closed by force meanwhile says so here, and a slot whose bytes were transferred away.
      if (count < buffer.bytes.length) buffer.resize(0, count);
      buffer.offset = BigInt(position);
      buffer.offsetEnd = BigInt(position + count);
    } catch (error) {
      giveBack(buffer);
      throw error;
    }
    this.#readOn();
    return buffer;
  }

  /** A short block is the last: what was read behind it, of a file that is longer again, would leave a gap. */
  #endHere(): void {
    this.#atEnd = true;
    for (const read of this.#reads.splice(0)) this.#giveUp(read);
  }

  /** Whether there are bytes at the next position; asks the system when its last answer says no. */
  async #hasMore(): Promise<boolean> {
    const file = this.#file!;
    if (this.#atEnd || this.#position >= this.#end) return false;
    // A size of 0 may mean that there is none to tell (/proc): the read tells.
    return file.size === 0 || this.#position < file.size || this.#position < (await file.refresh());
  }

  /** Reads ahead, as far as free slots and the size that is known go. */
  #readOn(): void {
    const last = Math.min(this.#end, this.#file!.size);
    while (!this.#atEnd && this.#reads.length < this.#ahead && this.#position < last) {
      let buffer: MediaBuffer | undefined;
      try {
        buffer = this.#pool.tryAcquire();
        if (buffer === undefined) return;
        this.#read(buffer);
      } catch {
        // Whatever the pool refuses now, it refuses again when the block is needed.
        return;
      }
    }
  }

  /** Starts to read the next block into a slot. The lease is ours from here on. */
  #read(buffer: MediaBuffer): void {
    let mapping: Mapping;
    try {
      mapping = buffer.map("write");
    } catch (error) {
      releaseOrPass(buffer);
      throw error;
    }
    const position = this.#position;
    const length = Math.min(mapping.size, this.#end - position);
    const result = this.#file!.readAt(mapping.bytes, 0, length, position).catch((error: unknown) => ({ error }));
    this.#position += length;
    const read: Read = { buffer, mapping, position, length, result, isOver: false };
    void result.then(() => {
      read.isOver = true;
    });
    this.#reads.push(read);
  }

  /** Gives up the last block that was read ahead; false: there is none. */
  #giveUpLast(): boolean {
    if (this.#isOver || this.#reads.length === Number(this.#isAsked)) return false;
    const read = this.#reads.pop();
    if (read === undefined) return false;
    this.#position = read.position;
    this.#giveUp(read);
    return true;
  }

  /** Its lease goes back, when the system does not write into it any more. */
  #giveUp(read: Read): void {
    if (read.isOver) {
      letGo(read);
      return;
    }
    const dropped = read.result.then(() => {
      this.#dropped.delete(dropped);
      letGo(read);
    });
    this.#dropped.add(dropped);
  }

  /** Ends for good, once; answers when all leases are back and the file is closed. */
  async #close(): Promise<void> {
    this.#isOver = true;
    this.#stopListening?.();
    this.#withdrawSpare?.();
    await this.#release();
  }

  async #release(): Promise<void> {
    for (let read = this.#reads.shift(); read !== undefined; read = this.#reads.shift()) {
      await read.result;
      letGo(read);
    }
    await Promise.all(this.#dropped);
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }
}

/** Gives back the slot of a read that is over, and whose bytes nobody wants. */
function letGo({ buffer, mapping }: Read): void {
  try {
    mapping.unmap();
  } catch {
    // The memory of a pool that was closed by force meanwhile has ended with it; the rest goes back all the same.
  }
  giveBack(buffer);
}
