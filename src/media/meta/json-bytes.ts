/**
 * Plain data as JSON bytes that come back as exactly what was written, for the payloads of serialized metas, which are
 * small and read by strangers. What JSON has no word for is tagged: `{"$big": "123"}`, `{"$bytes": "<base64>"}`,
 * `{"$value": "NaN"}`. Anything else that would come back as something else (a Map, a Date, a hole in a list) is
 * refused by its path.
 */

import { MillpondError } from "../../util/errors.ts";
import { badValue, bytesOf, wrongType } from "../../util/validate.ts";

const PLAIN = "plain data (null, booleans, numbers, bigints, strings, Uint8Arrays, lists and plain objects)";
/** Deeper than any meta; data that contains itself has no end. */
const MAX_DEPTH = 64;
/** More values than any meta; lists that share lists can name 2^64 of them. */
const MAX_VALUES = 100_000;
const TAGS: readonly string[] = ["$big", "$bytes", "$value"];
const SPECIAL: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ["undefined", undefined],
  ["NaN", Number.NaN],
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
  ["-0", -0],
]);

/**
 * UTF-8 JSON that {@link decodeJson} turns back into equal data (a subclass of Uint8Array comes back as one).
 *
 * @param name what messages call the data
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` for what cannot be written exactly, `ERR_DETACHED`.
 */
export function encodeJson(name: string, value: unknown): Uint8Array {
  const left = { values: MAX_VALUES };
  return new TextEncoder().encode(JSON.stringify(toJson(name, value, left, MAX_DEPTH)));
}

function toJson(path: string, value: unknown, left: { values: number }, depth: number): unknown {
  if (--left.values < 0) throw badValue(path, `part of at most ${MAX_VALUES} values`, value);
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "bigint") return { $big: String(value) };
  if (value === undefined) return { $value: "undefined" };
  if (typeof value === "number") {
    return Number.isFinite(value) && !Object.is(value, -0) ? value : { $value: value === 0 ? "-0" : String(value) };
  }
  if (typeof value !== "object") throw wrongType(path, PLAIN, value);
  if (depth === 0) throw badValue(path, "data that does not contain itself, at most 64 deep", value);
  if (value instanceof Uint8Array) return { $bytes: toBase64(bytesOf(path, value)) };
  const prototype: unknown = Object.getPrototypeOf(value);
  const isList = Array.isArray(value);
  // Plain objects of another realm have that realm's Object.prototype, whose own prototype is null too.
  if (!isList && prototype !== null && Object.getPrototypeOf(prototype) !== null) throw wrongType(path, PLAIN, value);
  const keys = Object.keys(value);
  if (isList && keys.length !== value.length) throw badValue(path, "a list without holes and keys of its own", value);
  if (Object.getOwnPropertySymbols(value).length > 0) throw badValue(path, "data without symbols as keys", value);
  if (isList) return value.map((item, i) => toJson(`${path}[${i}]`, item, left, depth - 1));
  // Without a prototype no toJSON() is inherited, and "__proto__" is a key like any other.
  const copy = Object.create(null) as Record<string, unknown>;
  for (const key of keys) {
    if (TAGS.includes(key)) throw badValue(`${path}.${key}`, `called something else than ${TAGS.join(", ")}`, value);
    copy[key] = toJson(`${path}.${key}`, (value as Record<string, unknown>)[key], left, depth - 1);
  }
  return copy;
}

/** The reverse; undefined for anything that {@link encodeJson} does not write. */
export function decodeJson(bytes: Uint8Array): unknown {
  try {
    return fromJson(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as unknown);
  } catch {
    return undefined;
  }
}

function fromJson(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(fromJson);
  const { $big, $bytes, $value } = value as { $big?: unknown; $bytes?: unknown; $value?: unknown };
  if (typeof $big === "string") return BigInt($big);
  if (typeof $bytes === "string") return Uint8Array.from(atob($bytes), (char) => char.charCodeAt(0));
  if (typeof $value === "string") {
    if (!SPECIAL.has($value)) throw new MillpondError("ERR_BAD_DATA", `"${$value}" is not a value that is written`);
    return SPECIAL.get($value);
  }
  for (const key of Object.keys(value)) {
    const field = fromJson((value as Record<string, unknown>)[key]);
    // JSON.parse makes "__proto__" a field; an assignment would change the prototype.
    Object.defineProperty(value, key, { value: field, writable: true, enumerable: true, configurable: true });
  }
  return value;
}

function toBase64(bytes: Uint8Array): string {
  const parts: string[] = [];
  // An argument list has a limit, about 2^16 on every engine.
  for (let at = 0; at < bytes.length; at += 0x2000) parts.push(String.fromCharCode(...bytes.subarray(at, at + 0x2000)));
  return btoa(parts.join(""));
}

/** Bytes from elsewhere may say anything: what a meta's own checks refuse is not a meta. */
export function accept<T>(make: () => T | undefined): T | undefined {
  try {
    return make();
  } catch {
    return undefined;
  }
}
