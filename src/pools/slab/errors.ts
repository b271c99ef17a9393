/** The errors of a slab pool, built off the fast path: what happened, to which element, and how to mend it. */
import { MillpondError } from "../../util/errors.ts";
import type { LeakReport } from "./options.ts";

/** A message shows this many sites; all are in `details.sites`. */
const MAX_SITES = 4;

/** A call on a closed pool. */
export function slabClosed(name: string, verb: string): MillpondError {
  return new MillpondError("ERR_POOL_DEAD", `cannot ${verb} slab pool "${name}": it was closed; make a new one`);
}

/** A hook, source or clock changes the pool that calls it. */
export function slabInHook(name: string, verb: string): MillpondError {
  return new MillpondError(
    "ERR_REENTRANT",
    `cannot ${verb} slab pool "${name}" from inside its own init or destroy hook, its source or its clock; ` +
      "a hook may read and write elements, no more",
    { pool: name },
  );
}

/** The pool's elements have no layout, so it has no cursor. */
export function noFields(name: string): MillpondError {
  return new MillpondError(
    "ERR_NOT_CONFIGURED",
    `slab pool "${name}" has elements without fields; make it with a struct, or use bytes() or view()`,
  );
}

/** The bound is reached. */
export function slabFull(name: string, blocks: number, live: number): MillpondError {
  return new MillpondError(
    "ERR_POOL_FULL",
    `slab pool "${name}" has its ${blocks} blocks, and all ${live} elements are live; free some, or raise maxBlocks or maxBytes`,
    { pool: name, blocks, live },
  );
}

/** A number that names no slot. */
export function foreignPointer(name: string, pointer: number, verb: string): MillpondError {
  return new MillpondError(
    "ERR_FOREIGN_RELEASE",
    `${pointer} is not an element of slab pool "${name}"; ${verb} what its alloc() gave, unchanged`,
    { pool: name, pointer },
  );
}

/** A slot that is free. */
export function freePointer(name: string, pointer: number, verb: "free" | "use"): MillpondError {
  return new MillpondError(
    verb === "free" ? "ERR_DOUBLE_RELEASE" : "ERR_USE_AFTER_RELEASE",
    `cannot ${verb} element ${pointer} of slab pool "${name}": it is free already; find the first free() of it`,
    { pool: name, pointer },
  );
}

/** The pointer's element was freed and handed out again. Only a pointer with a generation tells. */
export function stalePointer(name: string, pointer: number, verb: "free" | "use"): MillpondError {
  return new MillpondError(
    verb === "free" ? "ERR_DOUBLE_RELEASE" : "ERR_USE_AFTER_RELEASE",
    `cannot ${verb} element ${pointer} of slab pool "${name}": it was freed, and its place is handed out again under another ` +
      "pointer; find the first free() of it",
    { pool: name, pointer },
  );
}

/** The bytes of a block were transferred away. */
export function detachedBlock(name: string, pointer: number): MillpondError {
  return new MillpondError(
    "ERR_DETACHED",
    `the block of element ${pointer} of slab pool "${name}" was transferred away; copy bytes before posting them`,
    { pool: name, pointer },
  );
}

/** Elements are live, so the pool cannot be closed. */
export function liveElements(name: string, left: LeakReport, traced: boolean): MillpondError {
  const shown = left.sites.slice(0, MAX_SITES).map(({ site, count }) => `\n  ${count} taken ${site.split("\n")[0]}`);
  const hint = traced ? "" : "; with trace: true this message says where they were taken";
  return new MillpondError(
    "ERR_IN_USE",
    `slab pool "${name}" cannot be closed: ${left.live} elements are live; free them, or close({ force: true })${hint}${shown.join("")}`,
    { pool: name, ...left },
  );
}

/** Throws what hooks threw while work went on; several as one AggregateError. */
export function rethrow(failures: readonly unknown[], name: string): void {
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1)
    throw new AggregateError(failures, `${failures.length} hooks of slab pool "${name}" or its allocator threw`);
}

/** An invariant that does not hold. */
export function corruptSlab(name: string, what: string): MillpondError {
  return new MillpondError("ERR_CORRUPTED", `slab pool "${name}": ${what}`);
}
