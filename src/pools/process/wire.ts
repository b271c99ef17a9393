/**
 * What a lane between processes writes, and that it can be read: the engine's serializer writes things that no
 * deserializer reads again (a WebAssembly.Module; objects nested deeper than its stack), and says what it refuses by
 * plain errors.
 *
 * Invariants: what {@link encode} returns was read here, or is of a form that every reader of this format knows. A
 * reader with a smaller stack may still fail at deep nesting: its lane ends then, and the lease comes back. What {@link
 * decode} returns lies in memory of its own, each view in a buffer of its length: not in the bytes that came, which may
 * be others' as well. And it costs little to read, whatever was written; see collections.ts.
 */
import * as v8 from "node:v8";
import { MillpondError } from "../../util/errors.ts";
import { isCheap, MAX_COLLECTED, MAX_COSTLY, MAX_PARTS, MAX_PLACES } from "./collections.ts";

/** 1 MiB: what a lane carries beside a lease describes the frame; what is larger belongs into the slot. */
export const MAX_MESSAGE: number = 2 ** 20;

/** For what two processes say before they know each other: a greeting, a ticket. */
export const MAX_GREETING: number = 2 ** 10;

/** Deeper values are read for trial, as all are that are not of the usual kinds. */
const PLAIN_DEPTH = 16;

/**
 * The bytes of a message. Throws `ERR_INVALID_ARG_VALUE` for what cannot be written or read, `ERR_OUT_OF_RANGE` for
 * what is too large or has too many members in Sets and Maps, and what getters in it throw.
 */
export function encode(message: unknown): Uint8Array {
  const bytes = written(message);
  if (bytes.length > MAX_MESSAGE) {
    throw new MillpondError(
      "ERR_OUT_OF_RANGE",
      `what goes with a lease has ${bytes.length} bytes, at most ${MAX_MESSAGE}; put it into the slot`,
    );
  }
  if (isPlain(bytes)) return bytes;
  if (!isCheap(bytes)) {
    throw new MillpondError(
      "ERR_OUT_OF_RANGE",
      `what goes with a lease has ${TOO_MUCH}; send texts, and numbers in one array or buffer`,
    );
  }
  tryToRead(bytes);
  return bytes;
}

const TOO_MUCH = `more than ${MAX_COLLECTED} members in Sets and Maps, ${MAX_COSTLY} buffers, errors and collections, ${MAX_PARTS} objects and keys or ${MAX_PLACES} places in arrays with holes; or a RegExp, or another kind whose cost nobody can count`;

/** What was encoded. Throws for what cannot be read, or would cost too much. */
export function decode(bytes: Uint8Array): unknown {
  if (!isPlain(bytes) && !isCheap(bytes)) throw new RangeError(TOO_MUCH);
  reader ??= readerOf(v8.DefaultDeserializer);
  return reader(bytes);
}

/** Chosen at the first message: a runtime may have the class and not what it promises. */
let reader: ((bytes: Uint8Array) => unknown) | undefined;

/** The part of the class that its types leave out: it makes a view that lies in the message, or in a pool of Node's. */
interface ReadsViews {
  _readHostObject(): unknown;
}

function readerOf(Base: typeof v8.DefaultDeserializer): (bytes: Uint8Array) => unknown {
  // Another engine's reader makes buffers of its own, from a copy in any case.
  const copying = (bytes: Uint8Array): unknown => v8.deserialize(new Uint8Array(bytes));
  try {
    const { _readHostObject: readView } = Base.prototype as unknown as ReadsViews;
    class OwnReader extends Base {
      _readHostObject(): unknown {
        return ownView(readView.call(this as unknown as ReadsViews));
      }
    }
    const reading = (bytes: Uint8Array): unknown => {
      const made = new OwnReader(bytes);
      made.readHeader();
      return made.readValue();
    };
    const trial = reading(v8.serialize(new Uint8Array(1))) as Uint8Array;
    return trial.length === 1 && trial.buffer.byteLength === 1 ? reading : copying;
  } catch {
    return copying;
  }
}

/** The same view over a buffer of its own. */
function ownView(read: unknown): unknown {
  const view = read as Uint8Array;
  const own = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) as ArrayBuffer;
  if (Buffer.isBuffer(view)) return Buffer.from(own);
  const Kind = view.constructor as new (buffer: ArrayBuffer) => unknown;
  return new Kind(own);
}

function written(message: unknown): Uint8Array {
  try {
    return v8.serialize(message);
  } catch (error) {
    throw isRefusal(error) ? cannotSend(error) : error;
  }
}

/** Some 30 KiB of stack: the other side may be deeper in calls when it reads. */
const MARGIN = 256;

function tryToRead(bytes: Uint8Array): void {
  try {
    readDeep(bytes, MARGIN);
  } catch (error) {
    throw cannotSend(error, "the other side could not read it: ");
  }
}

function readDeep(bytes: Uint8Array, left: number): unknown {
  return left === 0 ? v8.deserialize(bytes) : [readDeep(bytes, left - 1)];
}

/** Whether it is the engine that refuses, and not a getter in the data: it has no class for it, so by its words. */
function isRefusal(error: unknown): boolean {
  const { name, message } = (error ?? {}) as Partial<Error>;
  const text = String(message);
  return (
    name === "DataCloneError" ||
    (name === "Error" && /could not be cloned\.?$|^Unserializable host object/.test(text)) ||
    (name === "RangeError" && /call stack|recursion/.test(text)) ||
    (name === "TypeError" && /detached/.test(text))
  );
}

function cannotSend(cause: unknown, why = ""): MillpondError {
  const text = `data cannot be sent with a lease, which is still yours: ${why}${(cause as Error).message.split("\n", 1)[0]}`;
  return new MillpondError("ERR_INVALID_ARG_VALUE", text, { name: "data" }, { cause });
}

/*
 * The usual kinds, in V8's format: a byte that says which, and what follows. To walk them is a tenth of reading them.
 */

/** The format's mark and its version; of another one nothing is known. */
const MARK = 0xff;
const VERSION = 15;

const Tag = {
  PADDING: 0x00,
  STRING: 0x22,
  ARRAY_END: 0x24,
  NULL: 0x30,
  ARRAY: 0x41,
  DATE: 0x44,
  FALSE: 0x46,
  INTEGER: 0x49,
  NUMBER: 0x4e,
  TRUE: 0x54,
  UNSIGNED: 0x55,
  UNDEFINED: 0x5f,
  WIDE_STRING: 0x63,
  OBJECT: 0x6f,
  OBJECT_END: 0x7b,
} as const;

/** Bytes of a number. */
const DOUBLE = 8;

/** No position: it is of another kind, or broken. */
const NOT_PLAIN = -1;

/** Whether a message is of the usual kinds and whole. */
export function isPlain(bytes: Uint8Array): boolean {
  parts = 0;
  return bytes[0] === MARK && bytes[1] === VERSION && afterValue(bytes, 2, 0) === bytes.length;
}

/** Objects and keys so far. */
let parts = 0;

function afterValue(bytes: Uint8Array, start: number, depth: number): number {
  let at = start;
  while (bytes[at] === Tag.PADDING) at++;
  switch (bytes[at++]) {
    case Tag.NULL:
    case Tag.FALSE:
    case Tag.TRUE:
    case Tag.UNDEFINED:
      return at;
    case Tag.INTEGER:
    case Tag.UNSIGNED:
      return afterVarint(bytes, at);
    case Tag.NUMBER:
    case Tag.DATE:
      return at + DOUBLE <= bytes.length ? at + DOUBLE : NOT_PLAIN;
    case Tag.STRING:
    case Tag.WIDE_STRING:
      return afterString(bytes, at);
    case Tag.OBJECT:
      return depth < PLAIN_DEPTH ? afterProperties(bytes, at, Tag.OBJECT_END, 1, depth) : NOT_PLAIN;
    case Tag.ARRAY:
      return depth < PLAIN_DEPTH ? afterArray(bytes, at, depth) : NOT_PLAIN;
    default:
      return NOT_PLAIN;
  }
}

function afterArray(bytes: Uint8Array, start: number, depth: number): number {
  let at = afterVarint(bytes, start);
  for (let left = varint(bytes, start); left > 0 && at !== NOT_PLAIN; left--) at = afterValue(bytes, at, depth + 1);
  return at === NOT_PLAIN ? at : afterProperties(bytes, at, Tag.ARRAY_END, 2, depth);
}

/** Keys and values up to the end, which has so many numbers behind it. */
function afterProperties(bytes: Uint8Array, start: number, end: number, numbers: number, depth: number): number {
  let at = end === Tag.ARRAY_END || ++parts <= MAX_PARTS ? start : NOT_PLAIN;
  while (at !== NOT_PLAIN && bytes[at] !== end) {
    at = ++parts <= MAX_PARTS ? afterValue(bytes, at, depth + 1) : NOT_PLAIN;
    if (at !== NOT_PLAIN) at = afterValue(bytes, at, depth + 1);
  }
  if (at === NOT_PLAIN) return at;
  at++;
  for (let n = 0; n < numbers && at !== NOT_PLAIN; n++) at = afterVarint(bytes, at);
  return at;
}

function afterString(bytes: Uint8Array, start: number): number {
  const at = afterVarint(bytes, start);
  const end = at + varint(bytes, start);
  return at !== NOT_PLAIN && end <= bytes.length ? end : NOT_PLAIN;
}

/** Five bytes have the 32 bits that lengths and integers have. */
const LONGEST = 5;

function afterVarint(bytes: Uint8Array, start: number): number {
  for (let at = start; at < start + LONGEST && at < bytes.length; at++) if (bytes[at]! < 0x80) return at + 1;
  return NOT_PLAIN;
}

function varint(bytes: Uint8Array, start: number): number {
  let value = 0;
  let scale = 1;
  for (let at = start; at < start + LONGEST && at < bytes.length; at++, scale *= 0x80) {
    value += (bytes[at]! & 0x7f) * scale;
    if (bytes[at]! < 0x80) break;
  }
  return value;
}
