/**
 * A file that is read at positions: by path, by URL, or by a FileHandle of the caller's, which stays the caller's.
 *
 * A path is opened without waiting: `open` of a named pipe waits for its writer in a thread that nothing can interrupt.
 * What has no positions (a pipe, a socket) is refused then.
 */
import { constants, type Stats } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { MillpondError } from "../../util/errors.ts";
import { badValue, show, wrongType } from "../../util/validate.ts";

/** A path, a `file:` URL, or a FileHandle, which its owner closes. */
export type FileInput = string | URL | FileHandle;

/** As many bytes as one system call reads at most; Linux stops 4 KiB short of 2 GiB. */
export const MAX_READ: number = 2 ** 30;

/** Checks a path, a URL or a FileHandle. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`. */
export function checkFile(name: string, file: FileInput): FileInput {
  if (typeof file === "string") {
    if (file === "" || file.includes("\0")) throw badValue(name, "the path of a file, without null bytes", file);
    return file;
  }
  if (file instanceof URL) {
    if (file.protocol !== "file:") throw badValue(name, "a URL of the file: scheme", file.protocol);
    return file;
  }
  if (typeof file === "object" && file !== null && "fd" in file && typeof file.fd === "number") {
    if (typeof file.read === "function" && typeof file.stat === "function") return file;
  }
  throw wrongType(name, "a path, a URL or a FileHandle", file);
}

/** An open file. Made by {@link openFile}; {@link OpenFile.close} it. */
export class OpenFile {
  readonly #handle: FileHandle;
  readonly #isOwn: boolean;
  /** Bytes in the file as the system said last; 0 also where it does not know (`/proc`). */
  size: number;

  /** @internal */
  constructor(handle: FileHandle, isOwn: boolean, size: number) {
    this.#handle = handle;
    this.#isOwn = isOwn;
    this.size = size;
  }

  /** Asks for the size again. */
  async refresh(): Promise<number> {
    this.size = (await this.#handle.stat()).size;
    return this.size;
  }

  /**
   * Reads `length` bytes of the file at `position` into `bytes` at `offset`, in as many calls as that takes. Returns
   * how many there were: fewer only at the end of the file.
   */
  async readAt(bytes: Uint8Array, offset: number, length: number, position: number): Promise<number> {
    let done = 0;
    // Without bytes when a stale view of them was transferred away meanwhile.
    while (done < length && bytes.length > 0) {
      const step = Math.min(length - done, MAX_READ);
      const { bytesRead } = await this.#handle.read(bytes, offset + done, step, position + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }

  /** Reads at `position` into the parts, one behind the other, in one call; returns how many bytes there were. */
  async readParts(parts: readonly Uint8Array[], position: number): Promise<number> {
    const { bytesRead } = await this.#handle.readv(parts, position);
    return bytesRead;
  }

  /** Closes what {@link openFile} opened, and no handle of the caller's. */
  async close(): Promise<void> {
    if (this.#isOwn) await this.#handle.close();
  }
}

/**
 * Opens a file to read. Rejects with the file system's error (`ENOENT`, `EACCES`, `EISDIR`), and with `ERR_UNSUPPORTED`
 * for a pipe or a socket.
 */
export async function openFile(file: FileInput): Promise<OpenFile> {
  const isOwn = typeof file === "string" || file instanceof URL;
  // Windows has no such flag, and no named pipes among its files.
  const handle = isOwn ? await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)) : file;
  try {
    const stats = await handle.stat();
    if (stats.isFIFO() || stats.isSocket()) throw noPositions(file, stats);
    // The system says it best: EISDIR, with its number and the call.
    if (stats.isDirectory()) await handle.read(new Uint8Array(1), 0, 1, 0);
    return new OpenFile(handle, isOwn, stats.size);
  } catch (error) {
    if (isOwn) await handle.close();
    throw error;
  }
}

function noPositions(file: FileInput, stats: Stats): MillpondError {
  const name = typeof file === "string" ? show(file) : file instanceof URL ? show(file.href) : `descriptor ${file.fd}`;
  return new MillpondError(
    "ERR_UNSUPPORTED",
    `${name} is a ${stats.isFIFO() ? "pipe" : "socket"}, which has no positions to read at; read it as a stream, with frames() or collect()`,
  );
}
