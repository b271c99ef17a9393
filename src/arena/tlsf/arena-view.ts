/** The bytes of an arena: found in whatever they are in, and written on for the first time. */

import { MillpondError } from "../../util/errors.ts";
import { outOfRange, wholeNumber, wrongType } from "../../util/validate.ts";
import { Control, controlWords, FORMAT, GRANULE, MAGIC, MAX_ARENA, MIN_BLOCK, REGION_COST, rowsFor } from "./layout.ts";
import { addRegion } from "./regions.ts";

/** What an arena can lie in: a buffer, a part of one, or a WebAssembly.Memory (anything with a `buffer`). */
export type ArenaSource = ArrayBufferLike | Uint8Array | { readonly buffer: ArrayBufferLike };

function bytesOf(source: ArenaSource): Uint8Array {
  try {
    return viewOfSource(source);
  } catch (error) {
    if (error instanceof MillpondError || !(error instanceof TypeError)) throw error;
    throw new MillpondError(
      "ERR_DETACHED",
      "the bytes of source are detached or out of bounds; give bytes that are there",
      {},
      {
        cause: error,
      },
    );
  }
}

function viewOfSource(source: ArenaSource): Uint8Array {
  if (source instanceof Uint8Array) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  const tag = Object.prototype.toString.call(source);
  if (tag === "[object ArrayBuffer]" || tag === "[object SharedArrayBuffer]") {
    const buffer = source as ArrayBufferLike;
    return new Uint8Array(buffer, 0, buffer.byteLength);
  }
  const memory = source as { readonly buffer?: unknown } | null | undefined;
  if (typeof memory === "object" && memory !== null && !ArrayBuffer.isView(memory) && memory.buffer !== undefined) {
    return viewOfSource(memory.buffer as ArrayBufferLike);
  }
  throw wrongType("source", "an ArrayBuffer, SharedArrayBuffer, Uint8Array or WebAssembly.Memory", source);
}

/**
 * The part of a source that an arena takes, whole granules of it.
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`.
 */
export function viewOf(source: ArenaSource, byteOffset = 0, byteLength?: number): Uint8Array {
  const whole = bytesOf(source);
  const start = wholeNumber("byteOffset", byteOffset, 0, whole.length);
  if ((whole.byteOffset + start) % GRANULE !== 0) {
    throw outOfRange("byteOffset", `such that the arena begins at a multiple of ${GRANULE} in its buffer`, byteOffset);
  }
  const most = whole.length - start;
  const length = wholeNumber("byteLength", byteLength ?? Math.min(most, MAX_ARENA), 0, Math.min(most, MAX_ARENA));
  return whole.subarray(start, start + length - (length % GRANULE));
}

/** The view of the same place in a source whose buffer was replaced; `start` counts from the new buffer's beginning. */
export function viewAgain(source: ArenaSource, start: number, length: number): Uint8Array {
  const whole = bytesOf(source);
  return new Uint8Array(whole.buffer, start, length);
}

/** Writes an empty arena over the bytes, one region of all of them or of the first `initial`. Throws `ERR_OUT_OF_RANGE`. */
export function formatArena(bytes: Uint8Array, initial: number = bytes.length): void {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
  const control = controlWords(rowsFor(words.length));
  const least = (control + REGION_COST + MIN_BLOCK) * 4;
  wholeNumber("byteLength", bytes.length, least);
  const first = wholeNumber("initial", initial, least, bytes.length);
  words.fill(0, 0, control);
  words[Control.MAGIC] = MAGIC;
  words[Control.FORMAT] = FORMAT;
  words[Control.LENGTH] = words.length;
  words[Control.ROWS] = rowsFor(words.length);
  addRegion(words, control * 4, first - (first % GRANULE) - control * 4);
}

/** Finds the arena that begins at an offset of a source. Throws `ERR_BAD_DATA` when none does. */
export function attachView(source: ArenaSource, byteOffset = 0): Uint8Array {
  const bytes = viewOf(source, byteOffset);
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
  const length = words[Control.LENGTH] ?? 0;
  if (
    words[Control.MAGIC] !== MAGIC ||
    words[Control.FORMAT] !== FORMAT ||
    length < Control.HEADS ||
    length > words.length ||
    words[Control.ROWS] !== rowsFor(length)
  ) {
    throw new MillpondError(
      "ERR_BAD_DATA",
      `no arena of this format begins at byte ${byteOffset}; TlsfArena.create() one there first, and attach with the same offset`,
    );
  }
  return bytes.subarray(0, length * 4);
}
