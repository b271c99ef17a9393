/** Equality of plain data: formats, caps, references. */

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
