/**
 * How this door speaks: the core's errors in GStreamer's calls, with a FlowReturn as `status`. Every class of the door
 * is passed through {@link speaks}, so that no public method lets an error of the core out as it is, or a TypeError of
 * the engine for a `this` that is not a handle.
 */

import { isMillpondError, type MillpondError } from "../../util/errors.ts";
import { checkOptions } from "../../util/validate.ts";
import { assertMaker, DoorError, inDoor, inDoorWords, messageOf, wants } from "../door-error.ts";
import { CLOCK_TIME_NONE, FlowReturn } from "./constants.ts";

/** What GStreamer itself would answer where the core has this code. */
const FLOWS: Readonly<Record<string, FlowReturn>> = {
  ERR_FLUSHING: FlowReturn.FLUSHING,
  ERR_INACTIVE: FlowReturn.FLUSHING,
  ERR_POOL_DEAD: FlowReturn.FLUSHING,
  ERR_STARVED: FlowReturn.EOS,
  ERR_NOT_NEGOTIATED: FlowReturn.NOT_NEGOTIATED,
  ERR_UNSUPPORTED: FlowReturn.NOT_SUPPORTED,
};

/** The core's calls and what they are called here. The first that fits a call wins. */
const CALLS: readonly (readonly [RegExp, string])[] = [
  [/use map\("read"\), or makeWritable\(\) first/g, "map it for READ, or make_writable() first"],
  [/map(?: it)? "readwrite" from the start/g, "map it with READ | WRITE from the start"],
  [/for "(read|write|readwrite)"/g, "for $1"],
  [/\bmakeWritable\(\)( it)?/g, "make_writable()"],
  [/\bretain\(\)/g, "ref()"],
  [/\b(?:buffer\.)?release\(\)/g, "unref()"],
  [/\bclose\(\)/g, "dropping it"],
  [/, or use retire\(\)/g, ""],
  [/\bretire\(\)/g, "dropping the pool"],
  [/\bdeactivate\(\)/g, "set_active(false)"],
  [/\bactivate\(\)/g, "set_active(true)"],
  [/\bconfigure\(\)/g, "set_config()"],
  [/\bsetFlushing\((true|false)\)/g, "set_flushing($1)"],
  [/\bWait for drained\(\)/g, "Wait until they are back"],
  [/; try mapAsync\(\)/g, ""],
  [/\bits populate\(\) hook/g, "its vfunc_alloc_buffer()"],
  [/\bits allocateRegion\(\)/g, "its vfunc_alloc()"],
  [/; switch pool\.trace on to see where each was taken/g, ""],
  [/\bunlock\(\) once for each lock\(\), with its mode/g, "unlock() once for each lock(), with its flags"],
  [/a MetaType from registerMeta\(\)/g, "a MetaInfo from Meta.register()"],
  [/\bfailed map\(\)/g, "failed map"],
  [/\ba MediaBuffer\b/g, "a Buffer"],
  [/\b(is|are) leased\b/g, "$1 acquired"],
  [/\boptions\.offset\b/g, "offset"],
  [/\bdelta\b/g, "offset"],
  [/\bconfig\.(min|max)\b/g, "$1_buffers"],
  [/\bmaxSize\b/g, "maxsize"],
  [/\bdetails\.config\b/g, "get_config()"],
];

/** The error of the core in this door's words. */
function gstError(cause: MillpondError): DoorError {
  let message = messageOf(cause);
  for (const [call, here] of CALLS) message = message.replaceAll(call, here);
  const status = FLOWS[cause.code] ?? FlowReturn.ERROR;
  return new DoorError(status, cause.code, message, cause.details, { cause });
}

/** An error of the door's own. */
export function refuse(code: DoorError["code"], message: string, cause?: unknown): DoorError {
  const status = FLOWS[code] ?? FlowReturn.ERROR;
  return new DoorError(status, code, message, undefined, cause === undefined ? undefined : { cause });
}

/** The error for an argument of the wrong type. */
export function wrong(name: string, expected: string, value: unknown): DoorError {
  return refuse("ERR_INVALID_ARG_TYPE", wants(name, expected, value));
}

/** The error for an argument of the right type that is not allowed. */
export function bad(name: string, expected: string, value: unknown): DoorError {
  return refuse("ERR_INVALID_ARG_VALUE", wants(name, expected, value));
}

/** The error for a number outside its range. */
export function outside(name: string, expected: string, value: unknown): DoorError {
  return refuse("ERR_OUT_OF_RANGE", wants(name, expected, value));
}

/** Refuses `new` from anybody but the door. */
export function makerOnly(key: unknown, handle: string, maker: string): void {
  assertMaker(key, handle, maker, FlowReturn.ERROR);
}

let last: unknown;

/**
 * Why the latest call that answered null, false, `[false, info]` or a flow other than OK did so: an Error, or whatever
 * a hook threw. Undefined before the first. A call that succeeds does not change it.
 */
export function lastError(): unknown {
  return last;
}

/** Keeps why a call answers a failure, and gives it back in the door's words. */
export function note(error: unknown): unknown {
  last = inDoorWords(error, gstError);
  return last;
}

/** Codes of calls that were wrong as they were made; they throw also where a failure is answered. */
const MISUSE: ReadonlySet<string> = new Set([
  "ERR_INVALID_ARG_TYPE",
  "ERR_INVALID_ARG_VALUE",
  "ERR_OUT_OF_RANGE",
  "ERR_USE_AFTER_RELEASE",
  "ERR_DOUBLE_RELEASE",
  "ERR_FOREIGN_RELEASE",
  "ERR_NOT_SHAREABLE",
  "ERR_META_LOCKED",
]);

/**
 * Runs `call`; answers `otherwise` where it fails for a reason that is not the caller's mistake, and keeps the reason.
 */
export function attempt<T, F>(call: () => T, otherwise: F): T | F {
  try {
    return call();
  } catch (error) {
    if (isMillpondError(error) && MISUSE.has(error.code)) throw error;
    note(error);
    return otherwise;
  }
}

/** Checks a function argument that may be absent. */
export function checkFunction(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== "function") throw wrong(name, "a function", value);
}

/**
 * Checks the keys of what stands for a struct; a misspelled one would silently leave its field at 0. Throws
 * `ERR_INVALID_ARG_*`.
 */
export function checkStruct<T extends object>(name: string, value: T, fields: readonly string[]): T {
  return inDoor(() => checkOptions(name, value, fields), gstError);
}

/**
 * The most strings that a list of options or tags has; more are a mistake, and a sparse array of 2^32 would take a
 * minute.
 */
const MAX_NAMES = 1000;

/** Checks a list of names, and gives a copy. */
export function checkNames(name: string, value: unknown): string[] {
  if (!Array.isArray(value)) throw wrong(name, "a list of strings", value);
  const { length } = value;
  if (length > MAX_NAMES) throw outside(`${name}.length`, `at most ${MAX_NAMES}`, length);
  return Array.from({ length }, (_, i) => {
    const one: unknown = value[i];
    if (typeof one !== "string") throw wrong(`${name}[${i}]`, "a string", one);
    return one;
  });
}

/** Checks a text argument. */
export function checkName(name: string, value: unknown): string {
  if (typeof value !== "string" || value === "") throw wrong(name, "a non-empty string", value);
  return value;
}

/** Checks a whole number argument, from `min` (default 0) to `max`. */
export function checkWhole(name: string, value: unknown, min = 0, max: number = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== "number") throw wrong(name, "a number", value);
  if (!Number.isInteger(value) || value < min || value > max) {
    throw outside(name, `a whole number from ${min} to ${max === Number.MAX_SAFE_INTEGER ? "2^53 - 1" : max}`, value);
  }
  return value;
}

/** A size argument: -1 is "to the end". */
export function checkSize(name: string, value: unknown): number | undefined {
  return checkWhole(name, value, -1) === -1 ? undefined : (value as number);
}

/**
 * A time of this door, unsigned 64-bit, as the core's; CLOCK_TIME_NONE, and -1n which is the same bits, are undefined.
 */
export function timeIn(name: string, time: unknown): bigint | undefined {
  if (typeof time !== "bigint") throw wrong(name, "a bigint", time);
  if (time === CLOCK_TIME_NONE || time === -1n) return undefined;
  if (time < 0n || time > CLOCK_TIME_NONE) throw outside(name, "an unsigned 64-bit number, or -1n for none", time);
  return time;
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

/**
 * Makes every method, getter and setter of a class throw (or reject with) errors in the door's words, and refuse a
 * `this` that `isHandle` does not know. Hooks (`vfunc_*`) stay as they are: they are the subclass's.
 */
export function speaks(
  type: { readonly prototype: object; readonly name: string },
  isHandle: (value: unknown) => boolean,
): void {
  wrapAll(type, undefined);
  wrapAll(type.prototype, (self) => {
    if (!isHandle(self)) throw wrong("this", `a ${type.name} that this door made`, self);
  });
}

function wrapAll(target: object, check: ((self: unknown) => void) | undefined): void {
  for (const [key, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(target))) {
    if (key === "constructor" || key === "prototype" || key.startsWith("vfunc_") || !descriptor.configurable) continue;
    if (typeof descriptor.value === "function") descriptor.value = wrap(descriptor.value as Method, check);
    if (descriptor.get !== undefined) descriptor.get = wrap(descriptor.get as Method, check);
    if (descriptor.set !== undefined)
      descriptor.set = wrap(descriptor.set as Method, check) as (value: unknown) => void;
    Object.defineProperty(target, key, descriptor);
  }
}

function wrap(method: Method, check: ((self: unknown) => void) | undefined): () => unknown {
  function inDoor(this: unknown, ...args: unknown[]): unknown {
    try {
      check?.(this);
      const answer = method.apply(this, args);
      if (!(answer instanceof Promise)) return answer;
      return answer.catch((error: unknown) => {
        throw inDoorWords(error, gstError);
      });
    } catch (error) {
      throw inDoorWords(error, gstError);
    }
  }
  Object.defineProperty(inDoor, "name", { value: method.name });
  return inDoor;
}
