/** Equality and copies of plain data: formats, caps, references. */
import { badValue } from "./validate.ts";

type Indexed = Record<string, unknown>;

/** Deep equality of plain data: by value for arrays and objects, `Object.is` for the rest. */
export function sameData(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  return keys.every((key) => Object.hasOwn(b, key) && sameData((a as Indexed)[key], (b as Indexed)[key]));
}

/** Deeper than any format or caps are; a structure that contains itself has no end. */
const MAX_DEPTH = 64;

/**
 * A copy of plain data that shares no array and no plain object with it. Instances of classes (a `VideoInfo`),
 * functions and primitives stay what they are. Throws `ERR_INVALID_ARG_VALUE` for data that contains itself.
 *
 * @param name what messages call it
 */
export function copyData<T>(name: string, data: T): T {
  return copyOf(name, data, false, MAX_DEPTH) as T;
}

/**
 * As {@link copyData}, and every array and object of the copy is frozen; data that is frozen all through is its own
 * copy.
 */
export function frozenData<T>(name: string, data: T): T {
  return copyOf(name, data, true, MAX_DEPTH) as T;
}

function copyOf(name: string, data: unknown, freeze: boolean, depth: number): unknown {
  if (!isPlain(data)) return data;
  if (depth === 0) throw badValue(name, "data that does not contain itself", data);
  let changed = !freeze || !Object.isFrozen(data);
  const copy: Indexed = (Array.isArray(data) ? [] : {}) as Indexed;
  for (const key of Object.keys(data)) {
    const field = (data as Indexed)[key];
    const own = copyOf(name, field, freeze, depth - 1);
    changed ||= own !== field;
    // A field may be called "__proto__" in parsed JSON; an assignment would change the copy's prototype.
    Object.defineProperty(copy, key, { value: own, writable: true, enumerable: true, configurable: true });
  }
  if (!changed) return data;
  return freeze ? Object.freeze(copy) : copy;
}

function isPlain(data: unknown): data is object {
  if (typeof data !== "object" || data === null) return false;
  if (Array.isArray(data)) return true;
  const prototype: unknown = Object.getPrototypeOf(data);
  // Plain objects of another realm have that realm's Object.prototype, whose own prototype is null too.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
