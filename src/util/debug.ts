/**
 * The debug level of this realm, after Be's MALLOC_DEBUG: unset or 0 is off, anything else is on, a whole number above
 * 1 is that level. Read once from the environment where there is one; {@link setDebugLevel} changes it for what is made
 * afterwards, or, with a pattern, for the pools of matching names at once (after SLUB's per-cache switches).
 */
import { outOfRange, wholeNumber, wrongType } from "./validate.ts";

let level: number | undefined;

interface Rule {
  readonly pattern: string;
  readonly level: number;
}

/**
 * Names of pools are shorter; a pattern beyond this is a mistake, and would cost every pool that is made from then on.
 */
const MAX_PATTERN = 256;

/** The last one that matches a name counts. */
const rules: Rule[] = [];

/** A pool that can change its level while it is in use. */
interface DebugTarget {
  /** What patterns are compared with. */
  readonly name: string;
  /** Called with the new level. */
  setDebug(level: number): void;
}

const targets: Set<WeakRef<DebugTarget>> = new Set();

/**
 * 0: off; 1: bytes and views of released memory are overwritten and detached on purpose; 2 and more: pools also check
 * themselves.
 */
export function debugLevel(): number {
  level ??= parseLevel(fromEnvironment("MALLOC_DEBUG"));
  return level;
}

/** The level of the pool of that name: the rules for it count. */
export function debugLevelOf(name: string): number {
  return rules.findLast(({ pattern }) => matchesGlob(pattern, name))?.level ?? debugLevel();
}

/** References to collected pools are swept when there are this many more than the sweep before left. */
const SWEEP = 256;
let sweepAt = SWEEP;

/** Lets rules that come later reach a pool; it is held weakly. */
export function watchDebug(target: DebugTarget): void {
  if (targets.size >= sweepAt) {
    for (const reference of targets) if (reference.deref() === undefined) targets.delete(reference);
    sweepAt = targets.size + SWEEP;
  }
  targets.add(new WeakRef(target));
}

function applyRule({ pattern, level: next }: Rule): void {
  for (const reference of targets) {
    const target = reference.deref();
    if (target === undefined) targets.delete(reference);
    else if (matchesGlob(pattern, target.name)) target.setDebug(next);
  }
}

/**
 * `*` stands for any run of characters, everything else for itself. By hand and not by a RegExp: engines refuse long
 * ones at their first use, long after the call that brought them, and need exponential time for many stars. O(pattern x
 * name).
 */
function matchesGlob(pattern: string, name: string): boolean {
  let at = 0;
  let from = 0;
  let star = -1;
  let retry = 0;
  while (from < name.length) {
    if (pattern[at] === "*") {
      star = at++;
      retry = from;
    } else if (at < pattern.length && pattern[at] === name[from]) {
      at++;
      from++;
    } else if (star >= 0) {
      // The last star takes one character more.
      at = star + 1;
      from = ++retry;
    } else return false;
  }
  while (pattern[at] === "*") at++;
  return at === pattern.length;
}

/**
 * A variable of the environment, where there is one. Reading it may be forbidden (Deno asks, and throws when it is
 * refused); that counts as unset.
 */
export function fromEnvironment(name: string): string | undefined {
  try {
    return (globalThis as { process?: { env?: Record<string, string | undefined> } }).process?.env?.[name];
  } catch {
    return undefined;
  }
}

/**
 * Sets the level for pools that are made or configured from now on; with a pattern, for the pools whose name matches
 * it, those that exist (as far as they can change it in use: RealtimePool) and those to come. Throws
 * `ERR_OUT_OF_RANGE`, `ERR_INVALID_ARG_TYPE`.
 *
 * @param next 0: off; 1: junk in new and freed blocks; 2 and more: guards and validation as well
 * @param pattern a name, in which `*` stands for anything; at most 256 characters
 */
export function setDebugLevel(next: number, pattern?: string): void {
  wholeNumber("level", next);
  if (pattern === undefined) {
    level = next;
    return;
  }
  if (typeof pattern !== "string") throw wrongType("pattern", "a string", pattern);
  if (pattern.length > MAX_PATTERN) throw outOfRange("pattern", `at most ${MAX_PATTERN} characters long`, pattern);
  const rule: Rule = { pattern, level: next };
  const known = rules.findIndex((other) => other.pattern === pattern);
  // A pattern that was set before moves to the end: the last word counts, and the list stays short.
  if (known >= 0) rules.splice(known, 1);
  rules.push(rule);
  applyRule(rule);
}

/** The level that a value of MALLOC_DEBUG stands for; text that is not a number is "on". */
export function parseLevel(value: string | undefined): number {
  if (value === undefined || value === "" || value === "0") return 0;
  const number = Number(value);
  return Number.isInteger(number) && number > 1 ? number : 1;
}
