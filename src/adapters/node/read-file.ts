/**
 * A whole file in one block of a PagePool: the system writes straight into pooled pages, and `release()` gives them to
 * the next file of about that size.
 *
 * Node 24 has `fs.readFile({ buffer })`, which reads the same way in pieces of 512 KiB. It is not used: it refuses a
 * file that has more bytes than its size says (everything in `/proc`, a log that grows). The loop here reads on until
 * there is no more, in pieces of 8 MiB, on every Node.
 */
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { PagePool } from "../../pools/page/page-pool.ts";
import { abortSignal, instance, readOptions, wholeNumber } from "../../util/validate.ts";
import { GrowingBlock, tooLargeError } from "./growing-block.ts";
import { checkFile, type FileInput, openFile } from "./open-file.ts";

/** How {@link readFile} reads. */
export interface ReadFileOptions {
  /** Ends the read; rejects with its reason. */
  signal?: AbortSignal;
  /** The most bytes that the file may have; more: `ERR_TOO_LARGE`. Default 2^32, 4 GiB. */
  maxBytes?: number;
}

const DEFAULT_MAX_BYTES = 2 ** 32;

/** 8 MiB: the steps at which a signal is looked at, a millisecond apart when the file is in memory. */
const STEP = 2 ** 23;

/**
 * Reads a whole file into one block of `pages`; the caller releases it. Waits while the pool is full. A file that grows
 * meanwhile is read to its end as found; one that shrinks is as long as what was there; one whose size is not known
 * (`/proc`) is read all the same.
 *
 * Rejects with the file system's error, `ERR_TOO_LARGE` above `maxBytes`, `ERR_UNSUPPORTED` for a pipe or a socket, the
 * signal's reason, `ERR_POOL_FULL` when no room in the pool could ever hold it, `ERR_POOL_DEAD`, and
 * `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE` for the arguments. The pages are back in the pool
 * then, and what was opened is closed: an abort waits for the read that is under way, at most 8 MiB. O(size).
 *
 * @param path a path, a `file:` URL, or a FileHandle, which stays open and whose position does not move
 * @param pages where the block comes from
 */
export async function readFile(path: FileInput, pages: PagePool, options?: ReadFileOptions): Promise<MediaBuffer> {
  checkFile("path", path);
  instance("pages", "a PagePool", PagePool, pages);
  const given = readOptions<ReadFileOptions>("options", options, ["signal", "maxBytes"]);
  const signal = abortSignal("options.signal", given.signal);
  const maxBytes = wholeNumber("options.maxBytes", given.maxBytes === undefined ? DEFAULT_MAX_BYTES : given.maxBytes);
  throwIfAborted(signal);
  const file = await openFile(path);
  const block = new GrowingBlock(pages, maxBytes, "the file");
  try {
    if (file.size > maxBytes) throw tooLargeError("the file", maxBytes, file.size);
    throwIfAborted(signal);
    // One byte of room more than the size: the read that finds no byte for it is the one that tells the end.
    await block.reserve(file.size + 1, signal);
    for (;;) {
      throwIfAborted(signal);
      if (block.length === block.capacity) block.grow();
      const step = Math.min(block.capacity - block.length, STEP);
      const count = await file.readAt(block.bytes, block.length, step, block.length);
      block.filled(count);
      if (count < step) break;
    }
    throwIfAborted(signal);
    return block.finish();
  } catch (error) {
    block.drop();
    throw error;
  } finally {
    await file.close();
  }
}

/** As `signal.throwIfAborted()`, which a signal of another make may not have. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw signal.reason;
}
