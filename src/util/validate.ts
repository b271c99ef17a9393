/**
 * Argument checks, all slow-path: a hot path tests with one comparison and calls these only to build the error.
 * Numbers that come from callers may be NaN, negative, fractional or beyond 2^53; each gets a typed error.
 */
import { MillpondError } from "./errors.ts";

/**
 * The longest byte length that any ArrayBuffer of today's engines accepts is below this; larger numbers are mistakes.
 */
const MAX_BYTES: number = Number.MAX_SAFE_INTEGER;

/** Beyond these a bigint is not written out: a million of its digits take seconds. */
const MAX_SHOWN = 10n ** 60n;

/** How a value is shown in a message: short, never the content of a buffer, and never an error of its own. */
export function show(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value);
  if (typeof value === "bigint") {
    return value < MAX_SHOWN && value > -MAX_SHOWN ? `${value}n` : "a bigint of more than 60 digits";
  }
  if (Object.is(value, -0)) return "-0";
  try {
    if (typeof value === "function") return `function ${nameIn(value) || "(anonymous)"}`;
    if (value === null || typeof value !== "object") return String(value);
    return Array.isArray(value) ? "an array" : `an object of ${nameIn(value.constructor) || "no class"}`;
  } catch {
    // A getter or a proxy of the caller's threw.
    return typeof value === "function" ? "a function" : "an object";
  }
}

/** The name of a function or class, which may be any value of any length. */
function nameIn(of: { readonly name?: unknown } | null | undefined): string {
  const name = of?.name ?? "";
  return typeof name === "bigint" ? "" : String(name).slice(0, 60);
}

/**
 * Checks an object of options: that it is one, and that each key is known. A misspelled `revoke` or `zero` would
 * silently switch a protection off. `undefined` is allowed; what is returned may be read key by key, each once.
 *
 * @param name the argument as the caller's documentation has it, such as `options` Throws `ERR_INVALID_ARG_TYPE` for
 *   what is not an object, `ERR_INVALID_ARG_VALUE` with a suggestion for an unknown key.
 */
export function checkOptions<T extends object>(name: string, value: T | undefined, known: readonly string[]): T {
  if (value === undefined) return {} as T;
  // A view too, and before its keys are listed: those of large bytes would not fit into memory.
  if (
    value === null ||
    typeof value !== "object" ||
    isRevoked(value) ||
    Array.isArray(value) ||
    ArrayBuffer.isView(value)
  ) {
    throw wrongType(name, "a plain object", value);
  }
  // A plain object, the usual one: for-in has its keys from the engine's cache, where Object.keys() makes an array of
  // them.
  if (value.constructor === Object) {
    for (const key in value) if (!isKnown(known, key)) return onlyKnown(name, value, known);
    return value;
  }
  return onlyKnown(name, value, known);
}

/**
 * As known.includes(key) in a third of the time: keys that a program's text has are one string each, compared at once.
 */
function isKnown(known: readonly string[], key: string): boolean {
  for (let i = 0; i < known.length; i++) if (known[i] === key) return true;
  return false;
}

/** The slow path of {@link checkOptions}: the object when all of its own keys are known; else throws. */
function onlyKnown<T extends object>(name: string, value: T, known: readonly string[]): T {
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue;
    const place = `${name}.${key.length > 60 ? `${key.slice(0, 57)}...` : key}`;
    const meant = nearest(key, known);
    const remedy = meant === undefined ? `the options are ${known.join(", ")}` : `did you mean "${meant}"?`;
    throw new MillpondError("ERR_INVALID_ARG_VALUE", `${place} is not an option here; ${remedy}`, { name: place });
  }
  return value;
}

/**
 * As {@link checkOptions}, and each option is read here, once: what is returned is the callee's own, inherited options
 * included.
 */
export function readOptions<T extends object>(name: string, value: T | undefined, known: readonly (keyof T)[]): T {
  const given = checkOptions(name, value, known as readonly string[]);
  const own: Partial<T> = {};
  for (const key of known) own[key] = given[key];
  return own as T;
}

/**
 * True for an object that a constructor of `type` made, by a `field` that every one has: not for one that only has the
 * prototype (`Object.create`), nor for a revoked Proxy, at which even `instanceof` throws the engine's TypeError.
 */
export function isMade<T extends object>(type: ClassOf<T>, value: unknown, field: keyof T): value is T {
  try {
    return value instanceof (type as unknown as new () => T) && value[field] !== undefined;
  } catch {
    return false;
  }
}

/** True for a Proxy that was revoked: every question that is put to it throws the engine's TypeError. */
export function isRevoked(value: unknown): boolean {
  try {
    // The answer is used, or the bundler would leave out a call that it takes for pure.
    return Array.isArray(value) === undefined;
  } catch {
    return true;
  }
}

/** Builds the error for a value of the wrong type. */
export function wrongType(name: string, expected: string, value: unknown): MillpondError {
  return new MillpondError("ERR_INVALID_ARG_TYPE", `${name} must be ${expected}, but it is ${show(value)}`, {
    name,
    value,
  });
}

/** Builds the error for a value of the right type that is not allowed. */
export function badValue(name: string, expected: string, value: unknown): MillpondError {
  return new MillpondError("ERR_INVALID_ARG_VALUE", `${name} must be ${expected}, but it is ${show(value)}`, {
    name,
    value,
  });
}

/** Builds the error for a number outside its range. */
export function outOfRange(name: string, expected: string, value: unknown): MillpondError {
  return new MillpondError("ERR_OUT_OF_RANGE", `${name} must be ${expected}, but it is ${show(value)}`, {
    name,
    value,
  });
}

/**
 * Checks a whole number in `[min, max]` and returns it.
 * Throws `ERR_INVALID_ARG_TYPE` when it is not a number, `ERR_OUT_OF_RANGE` when it is fractional, NaN or out of range.
 */
export function wholeNumber(name: string, value: unknown, min = 0, max: number = MAX_BYTES): number {
  if (typeof value !== "number") throw wrongType(name, "a number", value);
  if (!Number.isInteger(value) || value < min || value > max) {
    const upper = max === MAX_BYTES ? "2^53 - 1" : String(max);
    throw outOfRange(name, `a whole number from ${min} to ${upper}`, value);
  }
  // Not -0, which would be shown, compared by Object.is and divided by.
  return value === 0 ? 0 : value;
}

/** Checks a power of two in `[1, max]` and returns it; throws `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE`. */
export function powerOfTwo(name: string, value: unknown, max: number): number {
  if (typeof value !== "number") throw wrongType(name, "a number", value);
  if (!Number.isInteger(value) || value < 1 || value > max || (value & (value - 1)) !== 0) {
    throw badValue(name, `a power of two from 1 to ${max}`, value);
  }
  return value;
}

/** 2^31 - 1 ms, 24.8 days: longer timers fire at once on every platform, and Node's sockets refuse them. */
export const MAX_TIMER = 0x7fffffff;

/** Checks a duration in milliseconds: `min` or more, `Infinity` allowed, NaN refused. */
export function milliseconds(name: string, value: unknown, min = 0): number {
  if (typeof value !== "number") throw wrongType(name, "a number of milliseconds", value);
  if (!(value >= min)) throw outOfRange(name, `${min} or more milliseconds`, value);
  return value;
}

/** Checks a bound: a whole number, or `Infinity` for none. Throws as {@link wholeNumber}. */
export function bound(name: string, value: unknown): number {
  return value === Number.POSITIVE_INFINITY ? Number.POSITIVE_INFINITY : wholeNumber(name, value);
}

/**
 * Checks an option that is a boolean; absent: `otherwise`. `"false"` and 0 would switch on or off what nobody meant.
 */
export function flag(name: string, value: unknown, otherwise: boolean): boolean {
  return value === undefined ? otherwise : yesOrNo(name, value);
}

/** Checks an argument that is a boolean and has no default. Throws `ERR_INVALID_ARG_TYPE`. */
export function yesOrNo(name: string, value: unknown): boolean {
  if (typeof value !== "boolean") throw wrongType(name, "true or false", value);
  return value;
}

/** Checks an argument that is a string and has no default. Throws `ERR_INVALID_ARG_TYPE`. */
export function word(name: string, value: unknown): string {
  if (typeof value !== "string") throw wrongType(name, "a string", value);
  return value;
}

/** Checks a name: a string that is not empty. Throws `ERR_INVALID_ARG_TYPE`. */
export function nonEmpty(name: string, value: unknown, expected = "a non-empty string"): string {
  if (typeof value !== "string" || value === "") throw wrongType(name, expected, value);
  return value;
}

/** Checks an option that is a string; absent: `otherwise`. Throws `ERR_INVALID_ARG_TYPE`. */
export function text(name: string, value: unknown, otherwise: string): string {
  return value === undefined ? otherwise : word(name, value);
}

/** Checks a callback; absent: undefined. Throws `ERR_INVALID_ARG_TYPE`. */
export function callback<T>(name: string, value: T | undefined): T | undefined {
  return value === undefined ? undefined : required(name, value);
}

/** Checks a callback that there is no default for. Throws `ERR_INVALID_ARG_TYPE`. */
export function required<T>(name: string, value: T): T {
  if (!isCallable(value)) throw wrongType(name, "a function", value);
  return value;
}

/**
 * Whether a value can be called: a class cannot, without `new`, and would throw the engine's TypeError when its turn
 * comes.
 */
function isCallable(value: unknown): boolean {
  if (typeof value !== "function") return false;
  // Arrows and methods have none: the usual case, 18 ns less than the look at a descriptor.
  if ((value as { readonly prototype?: unknown }).prototype === undefined) return true;
  // Only of classes, and of some functions of the engine's, is `prototype` read-only; the text tells those apart.
  if (Object.getOwnPropertyDescriptor(value, "prototype")?.writable !== false) return true;
  return !Function.prototype.toString.call(value).startsWith("class");
}

/** Checks an object that is known by its methods, such as a clock of the caller's. Throws `ERR_INVALID_ARG_TYPE`. */
export function withMethods<T>(name: string, expected: string, value: T, methods: readonly (keyof T)[]): T {
  const isObject = (typeof value === "object" && value !== null) || typeof value === "function";
  if (isObject && !isRevoked(value) && methods.every((method) => isCallable(value[method]))) return value;
  throw wrongType(name, expected, value);
}

/**
 * As {@link withMethods}, and each method is read here, once: what is returned calls the methods that were checked, on
 * the object.
 * Throws `ERR_INVALID_ARG_TYPE`.
 */
export function methodsOf<T, K extends keyof T>(
  name: string,
  expected: string,
  value: T,
  methods: readonly K[],
): Pick<T, K> {
  if (((typeof value !== "object" || value === null) && typeof value !== "function") || isRevoked(value)) {
    throw wrongType(name, expected, value);
  }
  const bound: Partial<Pick<T, K>> = {};
  for (const key of methods) {
    const method = value[key];
    if (!isCallable(method)) throw wrongType(name, expected, value);
    bound[key] = Function.prototype.bind.call(method as () => void, value) as T[K];
  }
  return bound as Pick<T, K>;
}

/** Checks an instance of a class of the library. Throws `ERR_INVALID_ARG_TYPE`. */
export function instance<T>(name: string, expected: string, type: ClassOf<T>, value: T): T {
  if (isRevoked(value) || !type[Symbol.hasInstance](value)) throw wrongType(name, expected, value);
  return value;
}

/** A class, whether or not its constructor is public. */
interface ClassOf<T> {
  readonly prototype: T;
  [Symbol.hasInstance](value: unknown): boolean;
}

/**
 * More items than any list has that a caller gives: a sparse array can say 2^32 - 1, and a copy of that fills the heap.
 */
const MAX_LIST = 65_536;

/**
 * Checks a list and copies it, holes as undefined. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE` above 65,536
 * items.
 */
export function listOf<T>(name: string, expected: string, value: readonly T[]): T[] {
  if (isRevoked(value) || !Array.isArray(value)) throw wrongType(name, expected, value);
  if (value.length > MAX_LIST) throw outOfRange(`${name}.length`, `at most ${MAX_LIST}`, value.length);
  return [...(value as readonly T[])];
}

/** Checks a Uint8Array whose bytes are there, not transferred away. Throws `ERR_INVALID_ARG_TYPE`, `ERR_DETACHED`. */
export function bytesOf(name: string, value: Uint8Array): Uint8Array {
  if (isRevoked(value) || !(value instanceof Uint8Array)) throw wrongType(name, "a Uint8Array", value);
  try {
    value.subarray(0, 0);
  } catch (cause) {
    throw detachedError(name, cause);
  }
  return value;
}

/** The refusal of a view whose bytes are gone. */
export function detachedError(name: string, cause?: unknown): MillpondError {
  return new MillpondError(
    "ERR_DETACHED",
    `${name} has no bytes any more: its ArrayBuffer was transferred or shrunk`,
    { name },
    cause === undefined ? undefined : { cause },
  );
}

/** Checks a signal, by shape, because it may come from another realm or from a polyfill; absent: undefined. */
export function abortSignal(name: string, value: AbortSignal | undefined): AbortSignal | undefined;
export function abortSignal(name: string, value: unknown): unknown;
export function abortSignal(name: string, value: unknown): unknown {
  if (value === undefined || isSignal(value)) return value;
  throw wrongType(name, "an AbortSignal", value);
}

function isSignal(value: unknown): boolean {
  try {
    const { aborted, addEventListener, removeEventListener } = value as AbortSignal;
    return (
      typeof aborted === "boolean" &&
      typeof addEventListener === "function" &&
      typeof removeEventListener === "function"
    );
  } catch {
    // A proxy that throws is none.
    return false;
  }
}

/** Checks one of a fixed list of strings and returns it. */
export function oneOf<T extends string>(name: string, value: unknown, allowed: readonly T[]): T {
  if (typeof value !== "string") throw wrongType(name, `one of ${allowed.join(", ")}`, value);
  if (!allowed.includes(value as T)) throw badValue(name, `one of ${allowed.join(", ")}`, value);
  return value as T;
}

/**
 * The known word that a mistyped one is nearest to, when it is near: at most a third of it wrong; or that it begins or
 * ends with. What pools with a fixed number of slots call `count` is `max` of the others.
 */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = Math.ceil(Math.max(word.length, 3) / 3) + 1;
  const lower = word.toLowerCase();
  for (const one of known) {
    // As many letters have to come or go at least; a word of a megabyte is like none of them.
    const edits = Math.abs(word.length - one.length) < least ? editDistance(lower, one.toLowerCase()) : least;
    const isPart = one.length > 2 && (word.startsWith(one) || lower.endsWith(one));
    const distance = ["countmax", "maxcount"].includes(word + one) ? 0 : isPart ? Math.min(3, edits) : edits;
    if (distance < least) [best, least] = [one, distance];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length]!;
}
