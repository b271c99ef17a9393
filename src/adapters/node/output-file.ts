/**
 * OutputFile: the one way in which this package writes a file. What is a regular file, or not there yet, is written
 * under another name in the same folder and gets its own name when it is whole; links are followed, so the link stays
 * and its target is replaced. A device, a pipe or standard output is written into as it is. Every write checks how much
 * the system took.
 *
 * Life: `open`, then `write` or `writeAt`, then either `commit` or `discard`; `seal` before `commit` does all of it
 * that can fail. After a failed call only `discard` is left to do. Invariant: a temporary file is listed from before it
 * exists until it has its name or is removed, and whatever is listed is removed when the process exits.
 */
import { constants, fstatSync, open as openCallback, type Stats, unlinkSync } from "node:fs";
import { access, type FileHandle, lstat, open, rename, stat, unlink } from "node:fs/promises";
import { Socket } from "node:net";
import { basename, dirname, join } from "node:path";
import type { Writable } from "node:stream";
import { promisify } from "node:util";
import { MillpondError } from "../../util/errors.ts";
import { absent, followLinks } from "./file-paths.ts";

const unfinished: Set<string> = new Set();

/** Lists a file that is not complete; while one is listed, the exit of the process removes it. */
function list(path: string): void {
  if (unfinished.size === 0) process.on("exit", removeUnfinished);
  unfinished.add(path);
}

/** It is complete, or gone. */
function unlist(path: string): void {
  if (unfinished.delete(path) && unfinished.size === 0) process.off("exit", removeUnfinished);
}

/** Removes every file that is not complete, at once: for an exit that cannot wait. */
export function removeUnfinished(): void {
  for (const path of unfinished) {
    try {
      unlinkSync(path);
    } catch {
      // Nothing more can be done about it on the way out.
    }
  }
  unfinished.clear();
  process.off("exit", removeUnfinished);
}

let isNaming = false;

/** True once a file of this process has begun to get its name: from here on an end in the middle would leave some. */
export function filesAreNamed(): boolean {
  return isNaming;
}

/** Where the bytes go: a file at positions, or a stream in order. */
type Target =
  | { readonly kind: "whole"; readonly handle: FileHandle; readonly temporary: string; readonly final: string }
  | { readonly kind: "device"; readonly handle: FileHandle }
  | { readonly kind: "stream"; readonly stream: Writable; readonly isStdout: boolean };

/** How {@link OutputFile.open} waits. */
interface OutputFileOptions {
  /** Ends the wait for the reader of a pipe; rejects with its reason. */
  signal?: AbortSignal | undefined;
}

// A pipe without a reader is asked this often whether it has one: no event tells.
const READER_POLL_MS = 20;
const openDescriptor: (path: string, flags: number) => Promise<number> = promisify(openCallback);

// The system takes this many pieces at a time.
const MAX_PARTS = 1024;

/** A file that is either whole or absent; or a device or pipe, which is written into. */
export class OutputFile {
  /** As the caller wrote it. */
  readonly path: string;
  readonly #target: Target;
  #position = 0;
  #failure: unknown;
  #isSealed = false;
  #isOver = false;

  private constructor(path: string, target: Target) {
    this.path = path;
    this.#target = target;
    if (target.kind === "stream") target.stream.on("error", this.#onError);
  }

  /**
   * Opens `path` for writing; "-" is standard output. A pipe is opened when somebody reads it.
   * Rejects with the file system's error, which names `path`, `ERR_BAD_DATA` for a folder, and the signal's reason.
   */
  static async open(path: string, options: OutputFileOptions = {}): Promise<OutputFile> {
    try {
      return new OutputFile(path, await openTarget(path, options.signal));
    } catch (error) {
      throw named(error, path);
    }
  }

  /** A pipe or standard output, whose reader takes its time. */
  get isStream(): boolean {
    return this.#target.kind === "stream";
  }

  /** Bytes can be written at any place, in any order. */
  get isSeekable(): boolean {
    return this.#target.kind === "whole";
  }

  /** Appends. Rejects with the file system's error. */
  async write(bytes: Uint8Array): Promise<void> {
    await this.writeAt(bytes, this.#position);
  }

  /** Appends pieces, in one system call where that works. Rejects with the file system's error. */
  async writeParts(parts: readonly Uint8Array[]): Promise<void> {
    const target = this.#target;
    let size = 0;
    for (const part of parts) size += part.length;
    if (parts.length === 1 || target.kind === "stream" || parts.length > MAX_PARTS) {
      for (const part of parts) await this.write(part);
      return;
    }
    if (this.#failure !== undefined) throw this.#failure;
    try {
      const position = target.kind === "whole" ? this.#position : undefined;
      const { bytesWritten } = await target.handle.writev(parts, position);
      // The system may take less than it was given; the rest is rare, and written the plain way.
      if (bytesWritten < size) {
        const rest = Buffer.concat(parts).subarray(bytesWritten);
        await writeFully(target.handle, rest, position === undefined ? null : position + bytesWritten);
      }
    } catch (error) {
      throw this.#fail(error);
    }
    this.#position += size;
  }

  /**
   * Writes at a place; only what {@link isSeekable} takes another place than the end. Rejects with the file system's
   * error.
   */
  async writeAt(bytes: Uint8Array, position: number): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (!this.isSeekable && position !== this.#position) {
      throw new MillpondError(
        "ERR_UNSUPPORTED",
        `${this.path} takes bytes in their order only: it is not a regular file`,
      );
    }
    try {
      const target = this.#target;
      if (target.kind === "stream") await writeStream(target.stream, bytes);
      else await writeFully(target.handle, bytes, target.kind === "whole" ? position : null);
    } catch (error) {
      throw this.#fail(error);
    }
    this.#position = Math.max(this.#position, position + bytes.length);
  }

  /** Nothing more is written: all bytes are with the disk, or with the reader. Rejects with the file system's error. */
  async seal(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#isSealed || this.#isOver) return;
    this.#isSealed = true;
    try {
      const target = this.#target;
      if (target.kind === "stream") {
        if (!target.isStdout) await endStream(target.stream);
        return;
      }
      // A full disk may show only here, where the system has kept the bytes back until now. A device has nothing to
      // sync.
      if (target.kind === "whole") await target.handle.sync();
      await target.handle.close();
    } catch (error) {
      throw this.#fail(error);
    }
  }

  /** Completes it: a regular file has its name from now on. Rejects with the file system's error. */
  async commit(): Promise<void> {
    await this.seal();
    if (this.#isOver) return;
    const target = this.#target;
    if (target.kind === "whole") {
      isNaming = true;
      try {
        await rename(target.temporary, target.final);
      } catch (error) {
        throw this.#fail(error);
      }
      unlist(target.temporary);
    }
    this.#end();
  }

  /** Ends a write that waits for the reader of a pipe; it rejects. Anything else is not interrupted. */
  interrupt(): void {
    const target = this.#target;
    if (target.kind === "stream" && !target.isStdout) target.stream.destroy();
  }

  /** Gives it up: a regular file is not there afterwards, or is as it was. After {@link commit} it does nothing. */
  async discard(): Promise<void> {
    if (this.#isOver) return;
    this.#end();
    const target = this.#target;
    if (target.kind === "stream") {
      if (!target.isStdout) target.stream.destroy();
      return;
    }
    await target.handle.close().catch(() => {});
    if (target.kind === "whole") {
      await unlink(target.temporary).catch(() => {});
      unlist(target.temporary);
    }
  }

  #end(): void {
    this.#isOver = true;
    if (this.#target.kind === "stream" && this.#target.isStdout) this.#target.stream.off("error", this.#onError);
  }

  #fail(error: unknown): unknown {
    this.#failure ??= named(error, this.path);
    return this.#failure;
  }

  readonly #onError = (error: Error): void => void this.#fail(error);
}

async function openTarget(path: string, signal: AbortSignal | undefined): Promise<Target> {
  if (path === "-") return { kind: "stream", stream: process.stdout, isStdout: true };
  if (path.endsWith("/")) throw new MillpondError("ERR_BAD_DATA", `${path} is the name of a folder, not of a file`);
  const final = await followLinks(path);
  const present = await stat(final).catch(absent);
  // A link still: it stands for a descriptor whose file has been deleted, and is no name that could be replaced.
  const isLink = (await lstat(final).catch(absent))?.isSymbolicLink() === true;
  if (present === undefined || (present.isFile() && !isLink)) return await openTemporary(final, present);
  if (present.isDirectory()) throw new MillpondError("ERR_BAD_DATA", `${path} is a folder, not a file`);
  // /dev/stdout and its like: our own end of the pipe may not be there to be opened once more.
  if (isStdout(present)) return { kind: "stream", stream: process.stdout, isStdout: true };
  if (present.isFIFO()) return { kind: "stream", stream: await openPipe(final, signal), isStdout: false };
  return { kind: "device", handle: await open(final, "w") };
}

async function openTemporary(final: string, present: Stats | undefined): Promise<Target> {
  // A rename asks the folder only; a file that may not be written shall not be replaced either.
  if (present !== undefined) await access(final, constants.W_OK);
  // Names end at 255 bytes; fifty characters are 200 at most.
  const stem = join(dirname(final), `.${basename(final).slice(0, 50)}.${process.pid}`);
  for (let n = 0; ; n++) {
    const temporary = n === 0 ? `${stem}.part` : `${stem}.${n}.part`;
    if (unfinished.has(temporary)) continue;
    list(temporary);
    try {
      // Exclusive: a name that is taken is another thread's, or was left by a process that was killed.
      const handle = await open(temporary, "wx");
      // Who could read the file before can read it after; a file system without modes has none to keep.
      if (present !== undefined) await handle.chmod(present.mode & 0o7777).catch(() => {});
      return { kind: "whole", handle, temporary, final };
    } catch (error) {
      unlist(temporary);
      if ((error as NodeJS.ErrnoException).code !== "EEXIST" || n > 100) throw error;
    }
  }
}

function isStdout(found: Stats): boolean {
  try {
    const own = fstatSync(1);
    return own.dev === found.dev && own.ino === found.ino;
  } catch {
    return false;
  }
}

/** Waits for the reader without blocking a thread: a blocked one would keep the process from ending. */
async function openPipe(path: string, signal: AbortSignal | undefined): Promise<Writable> {
  for (;;) {
    signal?.throwIfAborted();
    try {
      // A bare descriptor: the socket closes it.
      const fd = await openDescriptor(path, constants.O_WRONLY | constants.O_NONBLOCK);
      return new Socket({ fd, readable: false, writable: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENXIO") throw error;
    }
    await new Promise((later) => setTimeout(later, READER_POLL_MS));
  }
}

async function writeFully(handle: FileHandle, bytes: Uint8Array, position: number | null): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const at = position === null ? null : position + done;
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, at);
    // The system may take less than it was given, and says why at the next try; nothing at all would be tried without
    // end.
    if (bytesWritten === 0) throw Object.assign(new Error("ENOSPC: nothing was taken, write"), { code: "ENOSPC" });
    done += bytesWritten;
  }
}

function writeStream(stream: Writable, bytes: Uint8Array): Promise<void> {
  return new Promise((done, refuse) => {
    stream.write(bytes, (error) => (error ? refuse(error) : done()));
  });
}

function endStream(stream: Writable): Promise<void> {
  return new Promise((done, refuse) => {
    stream.once("error", refuse);
    stream.end(() => done());
  });
}

/** A file system's error about the path that the caller knows, not about a temporary one. */
function named(error: unknown, path: string): unknown {
  if (!(error instanceof Error) || !("code" in error) || error instanceof MillpondError) return error;
  const { code, syscall } = error as NodeJS.ErrnoException;
  const what = error.message.split(/[,:] /)[1] ?? "it cannot be written";
  return Object.assign(new Error(`${code}: ${what}, ${path}`, { cause: error }), { code, syscall, path });
}
