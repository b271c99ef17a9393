/**
 * Bytes of a file or a pipe, in order. A pipe is opened without waiting for its writer: a thread that waits inside
 * `open` can neither be interrupted nor left behind, and would keep the process from ending.
 */
import { constants, createReadStream, fstatSync, openSync, readSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { Socket } from "node:net";
import type { Readable } from "node:stream";
import { MillpondError } from "../../util/errors.ts";
import { type ByteReader, ChunkReader } from "../raw-video/chunk-reader.ts";
import { FileReader } from "../raw-video/file-reader.ts";
import { planRawVideo, type RawVideoOptions } from "../raw-video/layout.ts";
import { type RawVideo, startRawVideo } from "../raw-video/source.ts";
import { isY4m, Y4M_MAGIC } from "../raw-video/y4m.ts";

// What the shell's <(command) gives. Opening it again could miss that its writer has gone; the descriptor itself
// cannot.
const OWN_DESCRIPTOR = /^\/(?:dev|proc\/self)\/fd\/(\d+)$/;

// As much as a pipe delivers at best; larger chunks are not faster to copy.
const CHUNK_BYTES = 1 << 16;

/** True for a pipe, by whatever name: it can be read once, in order, and its writer takes its time. */
export function isPipe(path: string): boolean {
  try {
    return statSync(path).isFIFO();
  } catch {
    // The caller opens it next, and hears then what is wrong with it.
    return false;
  }
}

/** True for a file whose bytes are there already: a read of it waits for nobody. */
export function isRegularFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/**
 * Node takes a folder as standard input for one without a byte. Throws `ERR_BAD_DATA` for a folder, with the system's
 * error as its cause.
 */
export function assertInputReadable(stream: Readable): void {
  if (stream !== process.stdin) return;
  try {
    if (fstatSync(0).isDirectory()) readSync(0, new Uint8Array(1));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EISDIR") return;
    throw new MillpondError("ERR_BAD_DATA", "standard input is a folder (EISDIR)", undefined, { cause });
  }
}

/** Starts to read. The stream fails with the file system's error. */
export function openInput(path: string): Readable {
  if (!isPipe(path)) return createReadStream(path, { highWaterMark: CHUNK_BYTES });
  const own = OWN_DESCRIPTOR.exec(path)?.[1];
  const fd = own === undefined ? openSync(path, constants.O_RDONLY | constants.O_NONBLOCK) : Number(own);
  return new Socket({ fd, readable: true, writable: false });
}

/**
 * The bytes of a path in order: of a regular file read straight into the memory that they are for, of anything else
 * (a device, a pipe) in the chunks of {@link openInput}, whose waits can be ended. Fails with the file system's error.
 */
export function readInput(path: string): ByteReader {
  return isRegularFile(path) ? new FileReader(path) : new ChunkReader(openInput(path));
}

/** Starts to read raw video from a path; see {@link startRawVideo} and {@link planRawVideo}, which it rejects with. */
export async function openRawFile(path: string, options: RawVideoOptions): Promise<RawVideo> {
  const plan = planRawVideo(options);
  return await startRawVideo(readInput(path), plan);
}

/** True for a file that begins as Y4M does, whatever it is called. Rejects with the file system's error. */
export async function isY4mFile(path: string): Promise<boolean> {
  const file = await open(path, "r");
  try {
    const { bytesRead, buffer } = await file.read(new Uint8Array(Y4M_MAGIC.length), 0, Y4M_MAGIC.length, 0);
    return isY4m(buffer.subarray(0, bytesRead));
  } finally {
    await file.close();
  }
}
