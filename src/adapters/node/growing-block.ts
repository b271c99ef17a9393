/**
 * GrowingBlock: bytes whose number is not known beforehand, in one block of a PagePool.
 *
 * Life-cycle: empty, then {@link GrowingBlock.reserve} (waits for pages while the pool is full) or the first
 * {@link GrowingBlock.append}, then growth, then {@link GrowingBlock.finish} gives the buffer away, or
 * {@link GrowingBlock.drop} gives the pages back. Both may be called at any time, once.
 *
 * Invariants: the pages are owned by a buffer from the moment they are there, so a pool that is closed by force leaves
 * them to it; `length` is at most `limit`. Only the first allocation waits. Growth holds pages while it asks for more,
 * and two that waited for each other's would wait without end; it is refused with `ERR_POOL_FULL` instead.
 *
 * Complexity: appending is O(bytes). The first block has room for up to an eighth more than was asked for, where the
 * pool has it, so that bodies that are about as long find each other's blocks. A block grows to twice its size, so each
 * byte is copied once more on average; the block that it leaves goes back to the pool, where the next one of that size
 * finds it.
 */

import { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { releaseOrPass } from "../../media/buffer/release.ts";
import type { Memory } from "../../memory/memory.ts";
import { plainBytes } from "../../os/bytes.ts";
import type { PagePool } from "../../pools/page/page-pool.ts";
import { MillpondError } from "../../util/errors.ts";
import { bytesOf } from "../../util/validate.ts";

/** 64 KiB: what a socket or a pipe delivers at once. */
const FIRST_BYTES = 1 << 16;

/** Bytes that arrive in pieces; see the module text. */
export class GrowingBlock {
  readonly #pages: PagePool;
  readonly #limit: number;
  readonly #what: string;
  #buffer: MediaBuffer | undefined;
  #bytes: Uint8Array = EMPTY;
  #length = 0;

  /**
   * @param limit the most bytes
   * @param what names what is read, for the message of `ERR_TOO_LARGE`: "the body"
   */
  constructor(pages: PagePool, limit: number, what: string) {
    this.#pages = pages;
    this.#limit = limit;
    this.#what = what;
  }

  /** Bytes so far. */
  get length(): number {
    return this.#length;
  }

  /** Bytes that fit without growing; 0: there is no block yet. */
  get capacity(): number {
    return this.#bytes.length;
  }

  /** All bytes of the block, those that are not filled yet too. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Waits for a first block of `size` bytes or more. Rejects as `PagePool.acquire` does. */
  async reserve(size: number, signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted !== true && this.tryReserve(size)) return;
    this.#take(await this.#pages.acquire(this.#rounded(size), signal === undefined ? {} : { signal }));
  }

  /** As {@link reserve}, without waiting: false when the pool is full. */
  tryReserve(size: number): boolean {
    const exact = this.#rounded(size);
    const roomy = this.#pages.roundedSize(Math.max(exact, Math.min(roomFor(exact), this.#limit + 1)));
    let memory = this.#pages.tryAllocate(roomy);
    // Where there is no room for more there may be for this much.
    if (memory === undefined && roomy > exact) memory = this.#pages.tryAllocate(exact);
    if (memory === undefined) return false;
    this.#take(memory);
    return true;
  }

  /**
   * Copies bytes behind those that are there, as many as the engine says there are. Throws `ERR_DETACHED` when they
   * were transferred away, `ERR_TOO_LARGE` (nothing is copied), and what `PagePool.allocate` throws.
   */
  append(piece: Uint8Array): void {
    const bytes = plainBytes("a chunk of the stream", bytesOf("a chunk of the stream", piece));
    const end = this.#length + bytes.length;
    if (end > this.#limit) throw tooLargeError(this.#what, this.#limit);
    if (end > this.#bytes.length) this.grow(end);
    this.#bytes.set(bytes, this.#length);
    this.#length = end;
  }

  /** Says that `count` bytes more were written into {@link bytes} by somebody else. Throws `ERR_TOO_LARGE`. */
  filled(count: number): void {
    this.#length += count;
    if (this.#length > this.#limit) throw tooLargeError(this.#what, this.#limit);
  }

  /** Makes room for `size` bytes or more; copies what is there. Throws what `PagePool.allocate` throws. */
  grow(size: number = this.#bytes.length + 1): void {
    const wanted = this.#rounded(Math.max(size, Math.min(this.#bytes.length * 2, this.#limit + 1)));
    const before = this.#buffer;
    const old = this.#bytes;
    this.#take(this.#pages.allocate(wanted));
    this.#bytes.set(old.subarray(0, Math.min(this.#length, old.length)));
    if (before !== undefined) releaseOrPass(before);
  }

  /** The buffer with what has arrived; it is the caller's. */
  finish(): MediaBuffer {
    if (this.#buffer === undefined) this.#take(this.#pages.allocate(0));
    const buffer = this.#buffer!;
    buffer.resize(0, this.#length);
    this.#buffer = undefined;
    this.#bytes = EMPTY;
    return buffer;
  }

  /** Gives the pages back; nothing when there are none. */
  drop(): void {
    const buffer = this.#buffer;
    this.#buffer = undefined;
    this.#bytes = EMPTY;
    if (buffer !== undefined) releaseOrPass(buffer);
  }

  #rounded(size: number): number {
    return this.#pages.roundedSize(Math.max(size, Math.min(FIRST_BYTES, this.#limit + 1)));
  }

  #take(memory: Memory): void {
    const buffer = new MediaBuffer();
    buffer.append(memory);
    this.#buffer = buffer;
    this.#bytes = buffer.bytes;
  }
}

/** Parts of a power of two that lengths are rounded up to. */
const STEPS = 8;

/**
 * An eighth more at most. No two bodies are equally long, and a block serves those only that are as long as itself: of
 * 200 bodies of 1 to 16 MiB none found an idle block, and each wrote fresh pages for the first time.
 */
function roomFor(size: number): number {
  const step = 2 ** Math.floor(Math.log2(size)) / STEPS;
  return size < FIRST_BYTES ? size : Math.ceil(size / step) * step;
}

const EMPTY: Uint8Array = new Uint8Array(0);

/** The refusal of more bytes than are allowed. */
export function tooLargeError(what: string, limit: number, size?: number): MillpondError {
  const has = size === undefined ? `has more than ${limit} bytes` : `has ${size} bytes, and ${limit} are allowed`;
  return new MillpondError("ERR_TOO_LARGE", `${what} ${has}; raise options.maxBytes, or refuse it`, {
    maxBytes: limit,
    size,
  });
}
