/**
 * FileReader: bytes of a file in order, read by the system straight into the caller's memory.
 *
 * ```
 *   file    ...| payload of frame 3                  |FRAME\n| payload of frame 4 ...
 *   read n     |== the caller's slot ================|== stage: 256 bytes ==|
 *   read n+1                                  copied from the stage |xxxxxxx|== the next slot ===...
 * ```
 * One `preadv` brings a frame and the bytes behind it, so that the line in front of the next frame is here when it is
 * asked for: a read a frame, no chunk, and a copy of 250 bytes. What is shorter than the stage is read by way of it,
 * many small frames or rows at once.
 *
 * Life: nothing is opened before the first call; `close` ends it at any time, and answers when the read that is under
 * way has ended and the file is closed. Until then the system writes into the caller's memory, so a call that such a
 * read belongs to ends with it, and not before.
 *
 * Invariants: the stage is read into only while it is empty (but for `peek`, behind what is held); the end is a read
 * that finds no byte, so that a file which grows meanwhile is read to its end as found.
 */
import { plainBytes } from "../../os/bytes.ts";
import { bytesOf, detachedError } from "../../util/validate.ts";
import { type FileInput, MAX_READ, type OpenFile, openFile } from "../node/open-file.ts";
import { type ByteReader, copyBytes, headerLineError } from "./chunk-reader.ts";

/** What is read together and copied: a call into the system's threads costs as much as copying about so much. */
const STAGE_BYTES = 1 << 16;

/** Read behind a frame: a Y4M frame line has 6 bytes, and some more with parameters. */
const LOOK_AHEAD_BYTES = 256;

/** Reads a file at positions. One call at a time. */
export class FileReader implements ByteReader {
  /** A file is not waited for: the read is the copy. */
  readonly waitedMs = 0;
  readonly #input: FileInput;
  #file: OpenFile | undefined;
  /** Of the next read. */
  #position = 0;
  readonly #stage: Buffer = Buffer.allocUnsafeSlow(STAGE_BYTES);
  /** Held bytes, read and not yet taken: from #at to #end of the stage. */
  #at = 0;
  #end = 0;
  /** Nothing more comes, or is wanted. */
  #over = false;
  #ended = false;
  #reading: Promise<number> | undefined;
  #closing: Promise<void> | undefined;

  /** @param input a path or URL that it opens and closes, or a FileHandle of the caller's, which is read from 0 on */
  constructor(input: FileInput) {
    this.#input = input;
  }

  get ended(): boolean {
    return this.#ended;
  }

  async atEnd(): Promise<boolean> {
    return this.#at === this.#end && !(await this.#more());
  }

  /** As {@link ByteReader.line}. Throws `ERR_BAD_DATA` when no line feed comes within `limit` bytes. */
  async line(limit: number): Promise<string | undefined> {
    let text = "";
    for (;;) {
      if (await this.atEnd()) return undefined;
      const end = this.#stage.subarray(0, this.#end).indexOf(0x0a, this.#at);
      const stop = end === -1 ? this.#end : end;
      if (text.length + (stop - this.#at) > limit) throw headerLineError(limit);
      text += this.#stage.toString("latin1", this.#at, stop);
      this.#at = end === -1 ? stop : stop + 1;
      if (end !== -1) return text;
    }
  }

  /** As {@link ByteReader.peek}, of at most 64 KiB. */
  async peek(count: number): Promise<Buffer> {
    while (this.#end - this.#at < count) {
      this.#stage.copyWithin(0, this.#at, this.#end);
      this.#end -= this.#at;
      this.#at = 0;
      const found = await this.#read([this.#stage.subarray(this.#end)]);
      if (found === 0) break;
      this.#end += found;
    }
    return this.#stage.subarray(this.#at, Math.min(this.#at + count, this.#end));
  }

  take(target: Uint8Array, start: number, end: number): number {
    const count = Math.min(end - start, this.#end - this.#at);
    if (count > 0) copyBytes(this.#stage, this.#at, count, target, start);
    this.#at += count;
    return start + count;
  }

  async fill(target: Uint8Array, start: number, end: number): Promise<number> {
    let at = this.take(target, start, end);
    while (at < end) {
      if (end - at < STAGE_BYTES) {
        if (!(await this.#more())) break;
        at = this.take(target, at, end);
      } else {
        const count = await this.#readInto(target, at, end);
        if (count === 0) break;
        at += count;
      }
    }
    return at;
  }

  async skip(count: number): Promise<number> {
    const held = Math.min(count, this.#end - this.#at);
    this.#at += held;
    const rest = count - held;
    if (rest > STAGE_BYTES && (await this.#jump(rest))) return count;
    let skipped = held;
    while (skipped < count && !(await this.atEnd())) {
      const step = Math.min(count - skipped, this.#end - this.#at);
      this.#at += step;
      skipped += step;
    }
    return skipped;
  }

  close(): Promise<void> {
    this.#over = true;
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Nothing is waited for. */
  limitWaits(): void {}

  async #close(): Promise<void> {
    await this.#reading?.catch(() => {});
    await this.#file?.close();
  }

  /** Reads from `start` to `end` and a little more; returns how many bytes of `target` it brought. */
  async #readInto(target: Uint8Array, start: number, end: number): Promise<number> {
    const bytes = plainBytes("bytes", bytesOf("bytes", target));
    // A read into less would take the frame's last bytes for the line of the next one.
    if (bytes.length < end) throw detachedError("bytes");
    const wanted = Math.min(end - start, MAX_READ);
    const part = bytes.subarray(start, start + wanted);
    const found = await this.#read(wanted < end - start ? [part] : [part, this.#stage.subarray(0, LOOK_AHEAD_BYTES)]);
    // Transferred away while the system read: what it brought is gone.
    if (bytes.length < end) throw detachedError("bytes");
    this.#at = 0;
    this.#end = Math.max(0, found - wanted);
    return Math.min(found, wanted);
  }

  /** Goes on `count` bytes further; false where the file has fewer. The stage is empty. */
  async #jump(count: number): Promise<boolean> {
    const before = this.#position;
    this.#position += count - 1;
    const found = await this.#read([this.#stage.subarray(0, LOOK_AHEAD_BYTES)], true);
    if (found === 0) this.#position = before;
    this.#at = Math.min(1, found);
    this.#end = found;
    return found > 0;
  }

  /** Fills the stage, which is empty; false at the end. */
  async #more(): Promise<boolean> {
    this.#at = 0;
    this.#end = 0;
    this.#end = await this.#read([this.#stage]);
    return this.#end > 0;
  }

  /** One call of the system; 0: there is no more. */
  #read(parts: readonly Uint8Array[], mayMiss = false): Promise<number> {
    const reading = this.#readOnce(parts, mayMiss);
    this.#reading = reading;
    return reading;
  }

  async #readOnce(parts: readonly Uint8Array[], mayMiss: boolean): Promise<number> {
    if (this.#over) return 0;
    this.#file ??= await openFile(this.#input);
    // Closed while it was opened.
    if (this.#over) return 0;
    const count = await this.#file.readParts(parts, this.#position);
    this.#position += count;
    if (count === 0 && !mayMiss) {
      this.#ended = !this.#over;
      this.#over = true;
    }
    return count;
  }
}
