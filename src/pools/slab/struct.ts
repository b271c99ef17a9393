/**
 * Struct layouts for SlabPool elements: named fields at natural alignment, read and written through a cursor that moves
 * from element to element, so that no object is made for one. Accessors are defined once a layout, on a prototype; no
 * code is generated from strings, so it works under a strict content security policy.
 *
 * ```ts
 * const Packet = struct({ time: "f64", sequence: "u32", source: bytes(6) });
 * const pool = SlabPool.create({ struct: Packet });
 * pool.at(pool.alloc()).sequence = 7;          // typed from the literal: sequence is a number, source a Uint8Array
 * const second = Packet.cursor(pool);          // for two elements at a time
 * ```
 */
import { isRevoked, wholeNumber, withMethods, wrongType } from "../../util/validate.ts";

/** The number of bytes of a byte field; made by {@link bytes}. */
export interface BytesField {
  /** How many bytes. */
  readonly bytes: number;
}

/** A field of `length` bytes, seen as a Uint8Array. Throws `ERR_OUT_OF_RANGE`. */
export function bytes(length: number): BytesField {
  return Object.freeze({ bytes: wholeNumber("length", length) });
}

/** A field's type: a number of WebAssembly's and C's usual widths, or {@link bytes}. Little-endian. */
export type FieldType = "u8" | "i8" | "u16" | "i16" | "u32" | "i32" | "f32" | "f64" | "i64" | "u64" | BytesField;

/** What a layout is made from: fields in order. */
export type StructFields = Readonly<Record<string, FieldType>>;

/** The value of a field. */
export type FieldValue<F extends FieldType> = F extends BytesField
  ? Uint8Array
  : F extends "i64" | "u64"
    ? bigint
    : number;

/** A cursor over elements of one layout; bytes fields are views made at each reading, to be written into. */
export type Cursor<S extends StructFields> = {
  /** Moves to an element and returns this cursor. @realtime Throws what {@link ElementSource.blockViewOf} throws. */
  at(pointer: number): Cursor<S>;
} & { -readonly [K in keyof S as S[K] extends BytesField ? never : K]: FieldValue<S[K]> } & {
  readonly [K in keyof S as S[K] extends BytesField ? K : never]: Uint8Array;
};

/** Where elements lie: a SlabPool. */
export interface ElementSource {
  /** The block that an element lies in: one view a block, which is not made at each call. */
  blockViewOf(pointer: number): DataView;
  /** Bits of a pointer below the number of its block: the element's own number in the block. */
  readonly shift: number;
  /** Where the first element of a block begins, in bytes. */
  readonly firstOffset: number;
  /** Bytes from one element to the next. */
  readonly stride: number;
}

/** Bytes of each scalar, which is its alignment too. */
const WIDTHS: { readonly [Type in ScalarType]: number } = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  f64: 8,
  i64: 8,
  u64: 8,
};

type ScalarType = Exclude<FieldType, BytesField>;

/** A layout. */
export interface Struct<S extends StructFields> {
  /** Bytes of an element: a multiple of its alignment, so that elements in a row stay aligned. */
  readonly size: number;
  /** The largest alignment of its fields. */
  readonly align: number;
  /** Where each field begins. */
  readonly offsets: { readonly [K in keyof S]: number };
  /**
   * A new cursor over the elements of a pool; reading before `at()` throws. Throws `ERR_INVALID_ARG_TYPE`,
   * `ERR_OUT_OF_RANGE` for what is none.
   */
  cursor(source: ElementSource): Cursor<S>;
}

/** A view that no accessor can read: every offset is beyond it. */
const NO_VIEW = new DataView(new ArrayBuffer(0));

type Getter = (this: BaseCursor) => unknown;
type Setter = (this: BaseCursor, value: never) => void;

/** What every cursor keeps; the accessors of a layout are added on its own prototype. */
class BaseCursor {
  #view: DataView = NO_VIEW;
  #base = 0;
  readonly #elements: ElementSource;
  readonly #mask: number;
  readonly #firstOffset: number;
  readonly #stride: number;

  constructor(elements: ElementSource) {
    this.#elements = withMethods("source", "a SlabPool", elements, ["blockViewOf"]);
    this.#mask = (1 << wholeNumber("source.shift", elements.shift, 0, 30)) - 1;
    this.#firstOffset = wholeNumber("source.firstOffset", elements.firstOffset);
    this.#stride = wholeNumber("source.stride", elements.stride);
    const list = cursorsOf.get(elements) ?? new CursorList();
    cursorsOf.set(elements, list);
    list.add(this);
  }

  /** A block went back to its source: a cursor that stands in it must not reach its bytes any more. */
  static leave(cursor: BaseCursor, gone: ReadonlySet<DataView>, ended: DataView): void {
    if (gone.has(cursor.#view)) cursor.#view = ended;
  }

  at(pointer: number): this {
    // One call that checks, then arithmetic: what is small is inlined with the accessors, and then numbers are not
    // boxed.
    this.#view = this.#elements.blockViewOf(pointer);
    this.#base = this.#firstOffset + (pointer & this.#mask) * this.#stride;
    return this;
  }

  /**
   * The accessors of each type are functions of their own: one function for all types would see ten DataView methods at
   * one call site, where no compiler could inline any of them (2 ns against 20).
   */
  static readonly accessors: Readonly<Record<ScalarType, (offset: number) => readonly [Getter, Setter]>> = {
    u8: (offset) => [
      function (this: BaseCursor): number {
        return this.#view.getUint8(this.#base + offset);
      },
      function (this: BaseCursor, value: number): void {
        this.#view.setUint8(this.#base + offset, value);
      },
    ],
    i8: (offset) => [
      function (this: BaseCursor): number {
        return this.#view.getInt8(this.#base + offset);
      },
      function (this: BaseCursor, value: number): void {
        this.#view.setInt8(this.#base + offset, value);
      },
    ],
    u16: (offset) => [
      function (this: BaseCursor): number {
        return this.#view.getUint16(this.#base + offset, true);
      },
      function (this: BaseCursor, value: number): void {
        this.#view.setUint16(this.#base + offset, value, true);
      },
    ],
    i16: (offset) => [
      function (this: BaseCursor): number {
        return this.#view.getInt16(this.#base + offset, true);
      },
      function (this: BaseCursor, value: number): void {
        this.#view.setInt16(this.#base + offset, value, true);
      },
    ],
    u32: (offset) => [
      function (this: BaseCursor): number {
        return this.#view.getUint32(this.#base + offset, true);
      },
      function (this: BaseCursor, value: number): void {
        this.#view.setUint32(this.#base + offset, value, true);
      },
    ],
    i32: (offset) => [
      function (this: BaseCursor): number {
        return this.#view.getInt32(this.#base + offset, true);
      },
      function (this: BaseCursor, value: number): void {
        this.#view.setInt32(this.#base + offset, value, true);
      },
    ],
    f32: (offset) => [
      function (this: BaseCursor): number {
        return this.#view.getFloat32(this.#base + offset, true);
      },
      function (this: BaseCursor, value: number): void {
        this.#view.setFloat32(this.#base + offset, value, true);
      },
    ],
    f64: (offset) => [
      function (this: BaseCursor): number {
        return this.#view.getFloat64(this.#base + offset, true);
      },
      function (this: BaseCursor, value: number): void {
        this.#view.setFloat64(this.#base + offset, value, true);
      },
    ],
    i64: (offset) => [
      function (this: BaseCursor): bigint {
        return this.#view.getBigInt64(this.#base + offset, true);
      },
      function (this: BaseCursor, value: bigint): void {
        this.#view.setBigInt64(this.#base + offset, value, true);
      },
    ],
    u64: (offset) => [
      function (this: BaseCursor): bigint {
        return this.#view.getBigUint64(this.#base + offset, true);
      },
      function (this: BaseCursor, value: bigint): void {
        this.#view.setBigUint64(this.#base + offset, value, true);
      },
    ],
  };

  static bytesGetter(offset: number, length: number): Getter {
    return function (this: BaseCursor): Uint8Array {
      const view = this.#view;
      return new Uint8Array(view.buffer, view.byteOffset + this.#base + offset, length);
    };
  }
}

function define(prototype: object, name: string, type: FieldType, offset: number): void {
  const [get, set] =
    typeof type === "object" ? [BaseCursor.bytesGetter(offset, type.bytes)] : BaseCursor.accessors[type](offset);
  Object.defineProperty(prototype, name, { enumerable: true, get, set: set as ((value: unknown) => void) | undefined });
}

/**
 * Lays out fields in order, each at its natural alignment. Throws `ERR_INVALID_ARG_TYPE` for an unknown type or a name
 * that a cursor has itself (`at`).
 */
export function struct<const S extends StructFields>(fields: S): Struct<S> {
  if (fields === null || typeof fields !== "object" || isRevoked(fields))
    throw wrongType("fields", "an object of fields", fields);
  class LayoutCursor extends BaseCursor {}
  const offsets: Record<string, number> = {};
  let size = 0;
  let align = 1;
  for (const [name, type] of Object.entries(fields)) {
    const width = widthOf(name, type);
    const alignment = typeof type === "object" ? 1 : width;
    size = Math.ceil(size / alignment) * alignment;
    offsets[name] = size;
    define(LayoutCursor.prototype, name, type, size);
    size += width;
    align = Math.max(align, alignment);
  }
  return Object.freeze({
    size: wholeNumber("the size of fields", Math.ceil(size / align) * align),
    align,
    offsets: Object.freeze(offsets) as Struct<S>["offsets"],
    cursor: (source: ElementSource) => new LayoutCursor(source) as unknown as Cursor<S>,
  });
}

function widthOf(name: string, type: FieldType): number {
  if (name === "at" || name === "constructor" || name === "__proto__")
    throw wrongType(`fields.${name}`, "a name that cursors do not have themselves", name);
  // Objects list such names by value, not in the order they were written.
  if (/^\d+$/.test(name)) throw wrongType(`fields.${name}`, "a name that is not a number", name);
  if (typeof type === "object" && type !== null) return wholeNumber(`fields.${name}.bytes`, type.bytes);
  if (typeof type === "string" && Object.hasOwn(WIDTHS, type)) return WIDTHS[type];
  throw wrongType(`fields.${name}`, `one of ${Object.keys(WIDTHS).join(", ")}, or bytes(n)`, type);
}

/*
 * The cursors over the blocks of each pool, so that a block that goes back to its source leaves no cursor behind that
 * reads and writes it. Held weakly: a cursor is forgotten with its last user. Adding one is O(1) amortized; leaving
 * blocks is O(cursors). Nothing here is on the path of `at()` or of a field.
 */

/** The cursors of one pool. */
class CursorList {
  #refs: WeakRef<BaseCursor>[] = [];
  /** How long the list may grow before those that were collected are taken out. */
  #limit = 8;

  add(cursor: BaseCursor): void {
    if (this.#refs.length >= this.#limit) {
      this.#refs = this.#refs.filter((ref) => ref.deref() !== undefined);
      this.#limit = Math.max(8, 2 * this.#refs.length);
    }
    this.#refs.push(new WeakRef(cursor));
  }

  /** Makes every cursor leave the blocks that go; what it reads or writes then throws `error()`. */
  leaveBlocks(gone: ReadonlySet<DataView>, error: () => Error): void {
    const ended = endedView(error);
    for (const ref of this.#refs) {
      const cursor = ref.deref();
      if (cursor !== undefined) BaseCursor.leave(cursor, gone, ended);
    }
  }
}

/** By pool. A program that makes no cursor has no more of this file in its bundle. */
export const cursorsOf: WeakMap<object, CursorList> = new WeakMap();

/** A view whose every member throws: the accessors of a cursor need no check of their own. */
function endedView(error: () => Error): DataView {
  const view = new DataView(new ArrayBuffer(0));
  const get = (): never => {
    throw error();
  };
  for (const name of Object.getOwnPropertyNames(DataView.prototype)) {
    if (name !== "constructor") Object.defineProperty(view, name, { get });
  }
  return view;
}
