/**
 * The errors of a slab pool, in the wording of every pool (pools/common/lease-errors.ts), and those that only it has.
 */
import { MillpondError } from "../../util/errors.ts";
import * as common from "../common/lease-errors.ts";
import type { LeakReport } from "./options.ts";

/** A message shows this many sites; all are in `details.sites`. */
const MAX_SITES = 4;

function words(name: string): common.PoolWords {
  return { kind: "slab pool", name, unit: "element" };
}

/** The pool as messages call it. */
export function slabText(name: string): string {
  return common.poolText(words(name));
}

/** A call on a closed pool. */
export function closedError(name: string, verb: string): MillpondError {
  return common.closedError(words(name), verb, "closed");
}

/** A cursor stands in a block that went back to its source. */
export function blockGoneError(name: string, isClosed: boolean): MillpondError {
  if (isClosed) return closedError(name, "use an element of");
  return new MillpondError(
    "ERR_USE_AFTER_RELEASE",
    `cannot use the element of this cursor: it was freed, and ${slabText(name)} gave its block back; move the cursor by at()`,
    { pool: name },
  );
}

/** The pool's elements have no layout, so it has no cursor. */
export function noFieldsError(name: string): MillpondError {
  return new MillpondError(
    "ERR_NOT_CONFIGURED",
    `${slabText(name)} has elements without fields; make it with a struct, or use bytes() or view()`,
    { pool: name },
  );
}

/** The bound is reached. */
export function fullError(name: string, blocks: number, live: number): MillpondError {
  return new MillpondError(
    "ERR_POOL_FULL",
    `${slabText(name)} has its ${blocks} blocks, and all ${live} elements are live; free some, or raise maxBlocks or maxBytes`,
    { pool: name, blocks, live },
  );
}

/** No memory for a longer table of links. */
export function linksError(name: string, pointers: number, cause: unknown): MillpondError {
  return new MillpondError(
    "ERR_ALLOCATION_FAILED",
    `${slabText(name)} has no memory for the links of ${pointers} pointers; use larger blocks or several pools`,
    { pool: name, pointers },
    { cause },
  );
}

/** A number that names no slot. */
export function foreignError(name: string, pointer: number, verb: string): MillpondError {
  const remedy = `${verb} what its alloc() gave, unchanged`;
  return common.foreignError(words(name), `element ${pointer}`, remedy, { pointer });
}

/**
 * A pointer whose element is free, or was freed and handed out again since (only a pointer with a generation tells):
 * `ERR_DOUBLE_RELEASE` for `free`, else `ERR_USE_AFTER_RELEASE`.
 */
export function freedError(name: string, pointer: number, verb: "free" | "use", isReused: boolean): MillpondError {
  const state = isReused
    ? "it was freed, and its place is handed out again under another pointer"
    : "it is free already";
  return new MillpondError(
    verb === "free" ? "ERR_DOUBLE_RELEASE" : "ERR_USE_AFTER_RELEASE",
    `cannot ${verb} element ${pointer} of ${slabText(name)}: ${state}; find the first free() of it`,
    { pool: name, pointer },
  );
}

/** The bytes of a block were transferred away. */
export function detachedError(name: string, pointer: number): MillpondError {
  return new MillpondError(
    "ERR_DETACHED",
    `the block of element ${pointer} of ${slabText(name)} was transferred away; copy bytes before posting them`,
    { pool: name, pointer },
  );
}

/**
 * Elements are live, so the pool cannot be closed. There may be millions, so sites are counted instead of elements
 * named.
 */
export function inUseError(name: string, left: LeakReport, isTraced: boolean): MillpondError {
  const shown = left.sites.slice(0, MAX_SITES).map(({ site, count }) => `\n  ${count} taken ${site.split("\n")[0]}`);
  const hint = isTraced ? "" : "; with trace: true this message says where they were taken";
  const live = left.live === 1 ? "1 element is live" : `${left.live} elements are live`;
  return new MillpondError(
    "ERR_IN_USE",
    `cannot close ${slabText(name)}: ${live}; free them, or close({ force: true })${hint}${shown.join("")}`,
    { pool: name, ...left },
  );
}

/** Throws what hooks threw while work went on; several as one AggregateError. */
export function rethrow(name: string, failures: readonly unknown[]): void {
  common.rethrow(words(name), failures);
}

/** An invariant does not hold. */
export function corruptedError(name: string, what: string): MillpondError {
  return common.corruptedError(words(name), what);
}
