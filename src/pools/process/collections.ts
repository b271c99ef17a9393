/**
 * What it costs to read a message. The engine builds each Set and Map that is in it, and hashes numbers in a way that
 * everybody knows: some 65,000 that collide, in 380 KB, took 15 seconds. It makes each array as long as the message
 * claims, before it has read an element: 200 bytes claimed more than there is memory. It makes an object for each empty
 * buffer, in 3 bytes: a megabyte of them took 650 ms; and a new shape for each key that no object had: 150 ms. So all
 * of these are counted in a message's bytes, before they are read, by the writer as well. It parses each RegExp, and
 * what that costs does not show in its length: 900 bytes took 700 ms. So none is read.
 *
 * Invariant: what is read has at most {@link MAX_COLLECTED} members in all of its Sets and Maps, {@link MAX_COSTLY}
 * buffers, errors and the like, {@link MAX_PARTS} objects and keys, arrays of at most as many elements as it has
 * bytes, {@link MAX_PLACES} places in arrays with holes, and no RegExp. What cannot be walked is not read. Complexity:
 * O(bytes), without recursion.
 */
import { serialize } from "node:v8";

/** Members of all Sets and Maps of a message together, a Map's key and its value each: some 15 ms where all collide. */
export const MAX_COLLECTED = 2048;

/** Places of all arrays of a message that are mostly holes: 8 MiB. */
export const MAX_PLACES: number = 2 ** 20;

/**
 * Buffers, views, errors, Sets, Maps, arrays with holes and objects around a number, a text or a truth value, of a
 * message together: up to 3 us each, some 6 ms.
 */
export const MAX_COSTLY = 2048;

/** Objects, and keys of objects and arrays, of a message together: some 45 ms where no two keys are the same. */
export const MAX_PARTS: number = 2 ** 15;

/** What begins each message, of this engine: where it is not V8's mark, the format is another one. */
const HEADER: Uint8Array = serialize(0).subarray(0, 2);
const MARK = 0xff;

/** The tags of V8's format, version 15. */
const Tag = {
  PADDING: 0x00,
  STRING: 0x22,
  ARRAY_END: 0x24,
  SET: 0x27,
  SET_END: 0x2c,
  HOLE: 0x2d,
  NULL: 0x30,
  MAP_END: 0x3a,
  MAP: 0x3b,
  COUNT: 0x3f,
  SPARSE_END: 0x40,
  ARRAY: 0x41,
  BUFFER: 0x42,
  DATE: 0x44,
  FALSE: 0x46,
  INTEGER: 0x49,
  NUMBER: 0x4e,
  UTF8: 0x53,
  TRUE: 0x54,
  UNSIGNED: 0x55,
  VIEW: 0x56,
  BIGINT: 0x5a,
  HOST: 0x5c,
  REFERENCE: 0x5e,
  UNDEFINED: 0x5f,
  SPARSE: 0x61,
  WIDE_STRING: 0x63,
  NUMBER_OBJECT: 0x6e,
  OBJECT: 0x6f,
  ERROR: 0x72,
  STRING_OBJECT: 0x73,
  FALSE_OBJECT: 0x78,
  TRUE_OBJECT: 0x79,
  BIGINT_OBJECT: 0x7a,
  OBJECT_END: 0x7b,
  RESIZABLE: 0x7e,
} as const;

/** What stands in an Error: the letters of its kinds, its texts, its cause, its end. */
const ErrorTag = { KINDS: "EFRSTU", MESSAGE: 0x6d, STACK: 0x73, CAUSE: 0x63, END: 0x2e } as const;

/** The end of each that has members, and the numbers after it. */
const ENDS: ReadonlyMap<number, { readonly end: number; readonly numbers: number }> = new Map([
  [Tag.OBJECT, { end: Tag.OBJECT_END, numbers: 1 }],
  [Tag.ARRAY, { end: Tag.ARRAY_END, numbers: 2 }],
  [Tag.SPARSE, { end: Tag.SPARSE_END, numbers: 2 }],
  [Tag.SET, { end: Tag.SET_END, numbers: 1 }],
  [Tag.MAP, { end: Tag.MAP_END, numbers: 1 }],
]);

/** Whether a message can be read at little cost. */
export function isCheap(bytes: Uint8Array): boolean {
  if (HEADER[0] !== MARK) return true;
  try {
    return new Walk(bytes).isCheap();
  } catch {
    return false;
  }
}

/** One way through the bytes of a message. Throws where they are not what this knows. */
class Walk {
  readonly #bytes: Uint8Array;
  #at = 0;
  #collected = 0;
  #elements = 0;
  #places = 0;
  #costly = 0;
  #parts = 0;
  /** What has begun and not ended, the innermost last; and the elements without keys that are to come there. */
  readonly #open: number[] = [];
  readonly #left: number[] = [];

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  isCheap(): boolean {
    if (this.#next() !== HEADER[0] || this.#next() !== HEADER[1]) return false;
    do {
      if (this.#open.at(-1) === Tag.ERROR) this.#inError();
      else this.#token(this.#next());
    } while (this.#isWithin() && (this.#open.length > 0 || this.#at < this.#bytes.length));
    return this.#isWithin();
  }

  #isWithin(): boolean {
    // Each element of an array without holes has a byte of its own.
    return (
      this.#collected <= MAX_COLLECTED &&
      this.#elements <= this.#bytes.length &&
      this.#places <= MAX_PLACES &&
      this.#costly <= MAX_COSTLY &&
      this.#parts <= MAX_PARTS
    );
  }

  #token(tag: number): void {
    switch (tag) {
      case Tag.PADDING:
        return;
      case Tag.COUNT:
        this.#varint();
        return;
      case Tag.NULL:
      case Tag.UNDEFINED:
      case Tag.HOLE:
      case Tag.TRUE:
      case Tag.FALSE:
        break;
      case Tag.TRUE_OBJECT:
      case Tag.FALSE_OBJECT:
        this.#costly++;
        break;
      case Tag.INTEGER:
      case Tag.UNSIGNED:
      case Tag.REFERENCE:
        this.#varint();
        break;
      case Tag.NUMBER_OBJECT:
        this.#costly++;
        this.#skip(8);
        break;
      case Tag.NUMBER:
      case Tag.DATE:
        this.#skip(8);
        break;
      case Tag.BIGINT:
      case Tag.BIGINT_OBJECT:
        if (tag === Tag.BIGINT_OBJECT) this.#costly++;
        // The lowest bit is its sign.
        this.#skip(this.#varint() >>> 1);
        break;
      case Tag.STRING:
      case Tag.WIDE_STRING:
      case Tag.UTF8:
      case Tag.BUFFER:
        if (tag === Tag.BUFFER) this.#costly++;
        this.#skip(this.#varint());
        break;
      case Tag.RESIZABLE: {
        this.#costly++;
        const length = this.#varint();
        this.#varint();
        this.#skip(length);
        break;
      }
      case Tag.VIEW:
        // Of the ArrayBuffer before it, which was counted: which kind, where, how long, its flags.
        this.#costly++;
        for (let n = 0; n < 4; n++) this.#varint();
        return;
      case Tag.HOST:
        // As Node writes a view: which kind, how long, its bytes.
        this.#costly++;
        this.#varint();
        this.#skip(this.#varint());
        break;
      case Tag.STRING_OBJECT:
        this.#costly++;
        this.#string();
        break;
      case Tag.ARRAY: {
        const elements = this.#varint();
        this.#elements += elements;
        this.#begin(tag, elements);
        return;
      }
      case Tag.SPARSE:
        this.#costly++;
        this.#places += this.#varint();
        this.#begin(tag);
        return;
      case Tag.OBJECT:
        this.#parts++;
        this.#begin(tag);
        return;
      case Tag.SET:
      case Tag.MAP:
      case Tag.ERROR:
        this.#costly++;
        this.#begin(tag);
        return;
      default:
        this.#end(tag);
    }
    this.#value();
  }

  #begin(tag: number, elements = 0): void {
    this.#open.push(tag);
    this.#left.push(elements);
  }

  /** The value that has begun last is whole. */
  #end(tag: number): void {
    this.#left.pop();
    const ends = ENDS.get(this.#open.pop() ?? tag);
    if (ends?.end !== tag) throw new RangeError(`tag ${tag}`);
    for (let n = 0; n < ends.numbers; n++) this.#varint();
  }

  /** A value is whole: it is a member of what it stands in. */
  #value(): void {
    const within = this.#open.at(-1);
    if (within === Tag.SET || within === Tag.MAP) this.#collected++;
    if (within !== Tag.OBJECT && within !== Tag.ARRAY && within !== Tag.SPARSE) return;
    const last = this.#left.length - 1;
    // A key, or its value: half a part.
    if (this.#left[last] === 0) this.#parts += 0.5;
    else this.#left[last]!--;
  }

  #inError(): void {
    const tag = this.#next();
    if (tag === ErrorTag.MESSAGE || tag === ErrorTag.STACK) this.#string();
    else if (tag === ErrorTag.END) {
      this.#open.pop();
      this.#left.pop();
      this.#value();
    } else if (tag === ErrorTag.CAUSE) {
      // A value like any other.
      this.#token(this.#afterPadding());
    } else if (!ErrorTag.KINDS.includes(String.fromCharCode(tag))) throw new RangeError(`tag ${tag} in an error`);
  }

  /** How many bytes it has. */
  #string(): number {
    const tag = this.#afterPadding();
    if (tag !== Tag.STRING && tag !== Tag.WIDE_STRING && tag !== Tag.UTF8) throw new RangeError(`tag ${tag}`);
    const length = this.#varint();
    this.#skip(length);
    return length;
  }

  #afterPadding(): number {
    let tag = this.#next();
    while (tag === Tag.PADDING) tag = this.#next();
    return tag;
  }

  #next(): number {
    if (this.#at >= this.#bytes.length) throw new RangeError("it ends too early");
    return this.#bytes[this.#at++]!;
  }

  #skip(bytes: number): void {
    this.#at += bytes;
    if (this.#at > this.#bytes.length) throw new RangeError("it ends too early");
  }

  /** At most 32 bits, in at most five bytes. */
  #varint(): number {
    let value = 0;
    for (let scale = 1; scale <= 0x80 ** 4; scale *= 0x80) {
      const byte = this.#next();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > 0xffffffff) break;
        return value;
      }
    }
    throw new RangeError("a number of more than 32 bits");
  }
}
