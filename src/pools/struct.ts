/**
 * Struct layouts for SlabPool elements: named fields at natural alignment, read and written through a cursor that moves from
 * element to element, so that no object is made for one. Accessors are defined once a layout, on a prototype; no code is
 * generated from strings, so a strict content security policy is no obstacle.
 *
 * ```ts
 * const Packet = struct({ time: "f64", sequence: "u32", source: bytes(6) });
 * const pool = new SlabPool({ struct: Packet });
 * const packet = Packet.cursor(pool);
 * packet.at(pool.alloc()).sequence = 7;        // typed from the literal: sequence is a number, source a Uint8Array
 * ```
 */
import { wholeNumber, wrongType } from "../observe/arguments.ts";

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
export type FieldType = keyof typeof SCALARS | BytesField;

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
  /** Moves to an element and returns this cursor. @realtime Throws what {@link ElementSource.blockOf} throws. */
  at(pointer: number): Cursor<S>;
} & { -readonly [K in keyof S as S[K] extends BytesField ? never : K]: FieldValue<S[K]> } & {
  readonly [K in keyof S as S[K] extends BytesField ? K : never]: Uint8Array;
};

/** Where elements lie: a SlabPool. */
export interface ElementSource {
  /** The bytes of the block that an element lies in. */
  blockOf(pointer: number): Uint8Array;
  /** Where it begins there. */
  offsetOf(pointer: number): number;
}

/** Bytes of each scalar, which is its alignment too, and its DataView accessors. */
const SCALARS = {
  u8: [1, "Uint8"],
  i8: [1, "Int8"],
  u16: [2, "Uint16"],
  i16: [2, "Int16"],
  u32: [4, "Uint32"],
  i32: [4, "Int32"],
  f32: [4, "Float32"],
  f64: [8, "Float64"],
  i64: [8, "BigInt64"],
  u64: [8, "BigUint64"],
} as const;

/** A layout. */
export interface Struct<S extends StructFields> {
  /** Bytes of an element: a multiple of its alignment, so that elements in a row stay aligned. */
  readonly size: number;
  /** The largest alignment of its fields. */
  readonly align: number;
  /** Where each field begins. */
  readonly offsets: { readonly [K in keyof S]: number };
  /** A new cursor over the elements of a pool; reading before `at()` throws. */
  cursor(source: ElementSource): Cursor<S>;
}

/** What every cursor keeps, under names that no field will have; the accessors of a layout are added on its own prototype. */
class BaseCursor {
  declare $view: DataView;
  declare $base: number;
  declare $block: Uint8Array | undefined;
  declare readonly $elements: ElementSource;

  constructor(elements: ElementSource) {
    this.$view = new DataView(new ArrayBuffer(0));
    this.$base = 0;
    this.$block = undefined;
    this.$elements = elements;
  }

  at(pointer: number): this {
    const block = this.$elements.blockOf(pointer);
    // A view of a block costs 50 ns: it is made when the cursor enters another block, not at each element.
    if (block !== this.$block) {
      this.$block = block;
      this.$view = new DataView(block.buffer, block.byteOffset, block.length);
    }
    this.$base = this.$elements.offsetOf(pointer);
    return this;
  }
}

type Reader = (this: DataView, offset: number, little: boolean) => unknown;
type Writer = (this: DataView, offset: number, value: unknown, little: boolean) => void;

function define(prototype: object, name: string, type: FieldType, offset: number): void {
  if (typeof type === "object") {
    Object.defineProperty(prototype, name, {
      enumerable: true,
      get(this: BaseCursor): Uint8Array {
        const block = this.$block ?? new Uint8Array(0);
        return block.subarray(this.$base + offset, this.$base + offset + type.bytes);
      },
    });
    return;
  }
  const methods = DataView.prototype as unknown as Record<string, unknown>;
  const read = methods[`get${SCALARS[type][1]}`] as Reader;
  const write = methods[`set${SCALARS[type][1]}`] as Writer;
  Object.defineProperty(prototype, name, {
    enumerable: true,
    get(this: BaseCursor): unknown {
      return read.call(this.$view, this.$base + offset, true);
    },
    set(this: BaseCursor, value: unknown) {
      write.call(this.$view, this.$base + offset, value, true);
    },
  });
}

/**
 * Lays out fields in order, each at its natural alignment. Throws `ERR_INVALID_ARG_TYPE` for an unknown type or a name that a
 * cursor has itself (`at`, and what begins with `$`).
 */
export function struct<const S extends StructFields>(fields: S): Struct<S> {
  if (fields === null || typeof fields !== "object") throw wrongType("fields", "an object of fields", fields);
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
    size: Math.ceil(size / align) * align,
    align,
    offsets: Object.freeze(offsets) as Struct<S>["offsets"],
    cursor: (source: ElementSource) => new LayoutCursor(source) as unknown as Cursor<S>,
  });
}

function widthOf(name: string, type: FieldType): number {
  if (name === "at" || name === "constructor" || name === "__proto__" || name.startsWith("$"))
    throw wrongType(`fields.${name}`, "a name that cursors do not have themselves", name);
  if (typeof type === "object" && type !== null && Number.isInteger(type.bytes)) return type.bytes;
  if (typeof type === "string" && Object.hasOwn(SCALARS, type)) return SCALARS[type][0];
  throw wrongType(`fields.${name}`, `one of ${Object.keys(SCALARS).join(", ")}, or bytes(n)`, type);
}
