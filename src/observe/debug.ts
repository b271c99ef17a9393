/**
 * The debug level of this realm, after Be's MALLOC_DEBUG: unset or 0 is off, anything else is on, a whole number above 1 is that
 * level. Read once from the environment where there is one; {@link setDebugLevel} changes it for what is made afterwards.
 */
import { wholeNumber } from "./arguments.ts";

interface WithEnvironment {
  process?: { env?: Record<string, string | undefined> };
}

let level: number | undefined;

/** 0: off; 1: bytes and views of lent memory are spoilt on purpose; 2 and more: pools also check themselves. */
export function debugLevel(): number {
  level ??= parseLevel(fromEnvironment());
  return level;
}

/** Reading the environment may be forbidden (Deno asks, and throws when it is refused); that is no level. */
function fromEnvironment(): string | undefined {
  try {
    return (globalThis as WithEnvironment).process?.env?.MALLOC_DEBUG;
  } catch {
    return undefined;
  }
}

/** Sets the level for pools that are configured from now on. Throws `ERR_OUT_OF_RANGE`. */
export function setDebugLevel(next: number): void {
  level = wholeNumber("level", next);
}

/** The level that a value of MALLOC_DEBUG stands for; text that is no number is "on". */
export function parseLevel(value: string | undefined): number {
  if (value === undefined || value === "" || value === "0") return 0;
  const number = Number(value);
  return Number.isInteger(number) && number > 1 ? number : 1;
}
