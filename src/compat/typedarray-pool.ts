/**
 * A drop-in for the package `typedarray-pool` 1.2: the same functions, which find a second free, a foreign array and a
 * transferred one, and let idle memory go. docs/doors/typedarray-pool.md says how a program gets it by
 * `overrides`, and what differs.
 *
 * ```ts
 * const points = mallocFloat32(3 * count); // exactly that many elements, with whatever was in them
 * fill(points);
 * freeFloat32(points);                     // once; the bytes are the next one's
 * ```
 *
 * There is one pool in a realm, also where the package is loaded twice (as ES module and as CommonJS, or in two
 * versions with the same layout of this object): what one copy gives out, the other takes back.
 */
import {
  createTypedArrayPool,
  type Freeable,
  type NodeBuffer,
  type TypedArrayPool,
  type TypedArrayPoolOptions,
  type TypedArrayPoolStats,
  type TypedArrayTypes,
} from "./typedarray-pool/pool.ts";

export type { Freeable, NodeBuffer, TypedArrayPoolOptions, TypedArrayPoolStats, TypedArrayTypes };

/** Where the pool of the realm is; the number is that of the interface of it. */
const SHARED: unique symbol = Symbol.for("millpond.typedarray-pool.1") as never;

const realm = globalThis as { [SHARED]?: TypedArrayPool };
if (realm[SHARED] === undefined) {
  Object.defineProperty(realm, SHARED, { value: createTypedArrayPool() });
}
const pool: TypedArrayPool = realm[SHARED]!;

/**
 * An array of `n` elements of a data type by its name; without one an ArrayBuffer of at least `n` bytes; null for a
 * name that is none. What was in the bytes before is still there. O(1). Throws `ERR_INVALID_ARG_TYPE`,
 * `ERR_OUT_OF_RANGE`, `ERR_ALLOCATION_FAILED`, as all of them do.
 */
export function malloc(n: number): ArrayBuffer;
export function malloc<T extends keyof TypedArrayTypes>(n: number, dtype: T): TypedArrayTypes[T];
export function malloc(n: number, dtype: string | undefined): TypedArrayTypes[keyof TypedArrayTypes] | null;
export function malloc(n: number, dtype?: string): TypedArrayTypes[keyof TypedArrayTypes] | null {
  return pool.malloc(n, dtype);
}

/**
 * An ArrayBuffer of the next power of two of `n` bytes; the same object in each lease of it. Throws as
 * {@link malloc}.
 */
export const mallocArrayBuffer: (n: number) => ArrayBuffer = pool.mallocArrayBuffer;

/** A Uint8Array of `n` elements. Throws as {@link malloc}. */
export const mallocUint8: (n: number) => Uint8Array<ArrayBuffer> = pool.mallocUint8;

/** A Uint16Array of `n` elements. Throws as {@link malloc}. */
export const mallocUint16: (n: number) => Uint16Array<ArrayBuffer> = pool.mallocUint16;

/** A Uint32Array of `n` elements. Throws as {@link malloc}. */
export const mallocUint32: (n: number) => Uint32Array<ArrayBuffer> = pool.mallocUint32;

/** A BigUint64Array of `n` elements. Throws as {@link malloc}. */
export const mallocBigUint64: (n: number) => BigUint64Array<ArrayBuffer> = pool.mallocBigUint64;

/** A Int8Array of `n` elements. Throws as {@link malloc}. */
export const mallocInt8: (n: number) => Int8Array<ArrayBuffer> = pool.mallocInt8;

/** A Int16Array of `n` elements. Throws as {@link malloc}. */
export const mallocInt16: (n: number) => Int16Array<ArrayBuffer> = pool.mallocInt16;

/** A Int32Array of `n` elements. Throws as {@link malloc}. */
export const mallocInt32: (n: number) => Int32Array<ArrayBuffer> = pool.mallocInt32;

/** A BigInt64Array of `n` elements. Throws as {@link malloc}. */
export const mallocBigInt64: (n: number) => BigInt64Array<ArrayBuffer> = pool.mallocBigInt64;

/** A Float32Array of `n` elements; the same as {@link mallocFloat}. Throws as {@link malloc}. */
export const mallocFloat32: (n: number) => Float32Array<ArrayBuffer> = pool.mallocFloat;

/** A Float32Array of `n` elements. Throws as {@link malloc}. */
export const mallocFloat: (n: number) => Float32Array<ArrayBuffer> = pool.mallocFloat;

/** A Float64Array of `n` elements; the same as {@link mallocDouble}. Throws as {@link malloc}. */
export const mallocFloat64: (n: number) => Float64Array<ArrayBuffer> = pool.mallocDouble;

/** A Float64Array of `n` elements. Throws as {@link malloc}. */
export const mallocDouble: (n: number) => Float64Array<ArrayBuffer> = pool.mallocDouble;

/** A Uint8ClampedArray of `n` elements. Throws as {@link malloc}. */
export const mallocUint8Clamped: (n: number) => Uint8ClampedArray<ArrayBuffer> = pool.mallocUint8Clamped;

/** A DataView of `n` bytes. Throws as {@link malloc}. */
export const mallocDataView: (n: number) => DataView<ArrayBuffer> = pool.mallocDataView;

/**
 * A Buffer of the next power of two of `n` bytes. Throws as {@link malloc}, and `ERR_UNSUPPORTED` where there is no
 * Buffer.
 */
export const mallocBuffer: (n: number) => NodeBuffer = pool.mallocBuffer;

/**
 * Takes an array back: what malloc gave, a view of the same bytes, or their ArrayBuffer. O(1). Throws, and then nothing
 * has changed: `ERR_DOUBLE_RELEASE` when it was freed before, `ERR_FOREIGN_RELEASE` for bytes that are not the pool's,
 * `ERR_DETACHED` when they were transferred away, `ERR_INVALID_ARG_TYPE` for what is no object. With `onMisuse` that
 * gets the error instead.
 */
export function free(array: Freeable): void {
  pool.free("free", array);
}

/** As {@link free}. */
export function freeUint8(array: Freeable): void {
  pool.free("freeUint8", array);
}

/** As {@link free}. */
export function freeUint16(array: Freeable): void {
  pool.free("freeUint16", array);
}

/** As {@link free}. */
export function freeUint32(array: Freeable): void {
  pool.free("freeUint32", array);
}

/** As {@link free}. */
export function freeBigUint64(array: Freeable): void {
  pool.free("freeBigUint64", array);
}

/** As {@link free}. */
export function freeInt8(array: Freeable): void {
  pool.free("freeInt8", array);
}

/** As {@link free}. */
export function freeInt16(array: Freeable): void {
  pool.free("freeInt16", array);
}

/** As {@link free}. */
export function freeInt32(array: Freeable): void {
  pool.free("freeInt32", array);
}

/** As {@link free}. */
export function freeBigInt64(array: Freeable): void {
  pool.free("freeBigInt64", array);
}

/** As {@link free}. */
export function freeFloat32(array: Freeable): void {
  pool.free("freeFloat32", array);
}

/** As {@link free}. */
export function freeFloat(array: Freeable): void {
  pool.free("freeFloat", array);
}

/** As {@link free}. */
export function freeFloat64(array: Freeable): void {
  pool.free("freeFloat64", array);
}

/** As {@link free}. */
export function freeDouble(array: Freeable): void {
  pool.free("freeDouble", array);
}

/** As {@link free}. */
export function freeUint8Clamped(array: Freeable): void {
  pool.free("freeUint8Clamped", array);
}

/** As {@link free}. */
export function freeDataView(array: Freeable): void {
  pool.free("freeDataView", array);
}

/** As {@link free}. */
export function freeArrayBuffer(array: Freeable): void {
  pool.free("freeArrayBuffer", array);
}

/** As {@link free}. */
export function freeBuffer(array: Freeable): void {
  pool.free("freeBuffer", array);
}

/** Lets all idle blocks go to the garbage collector; what is out stays good, and can be freed. O(idle blocks). */
export function clearCache(): void {
  pool.clearCache();
}

/**
 * Sets how long and how much is kept, and what a misuse does; what is absent stays as it is. Throws
 * `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` for an unknown option, `ERR_OUT_OF_RANGE`; then nothing has changed.
 */
export function configure(options: TypedArrayPoolOptions): void {
  pool.configure(options);
}

/** A snapshot of the counters. O(1). */
export function stats(): TypedArrayPoolStats {
  return pool.stats();
}
