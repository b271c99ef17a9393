/**
 * The errors of a RealtimePool, in the wording of every pool (pools/common/lease-errors.ts), and those that only it
 * has.
 */
import { MillpondError } from "../../util/errors.ts";
import * as common from "../common/lease-errors.ts";
import type { RealtimeHolder } from "./options.ts";

function words(name: string): common.PoolWords {
  return { kind: "realtime pool", name, unit: "block" };
}

/** The pool as messages call it. */
export function poolText(name: string): string {
  return common.poolText(words(name));
}

/** The pool has no room for a block; says what it has. */
export function fullError(name: string, size: number, available: number, largest: number, most: number): MillpondError {
  const why =
    size > most
      ? "which is more than the whole pool"
      : largest < size && available >= size
        ? "which are free, but not in one piece"
        : "and is full";
  return new MillpondError(
    "ERR_POOL_FULL",
    `${poolText(name)} has no block of ${size} bytes, ${why} (${Math.min(available, most)} bytes free, the largest ${largest}); ` +
      "free some, make the pool larger, or let it grow",
    { pool: name, size, available, largest },
  );
}

/** A call on a closed pool. */
export function closedError(name: string, verb: string): MillpondError {
  return common.closedError(words(name), verb, "closed");
}

/** The source was closed by force, and took the bytes of the pool with it. */
export function sourceClosedError(name: string, source: string, verb: string): MillpondError {
  return new MillpondError(
    "ERR_POOL_DEAD",
    `cannot ${verb} ${poolText(name)}: its source "${source}" was closed by force and took the bytes; close({ force: true }) ` +
      "this pool, and make one of a source that lives longer",
    { pool: name },
  );
}

/** Blocks are live, so the pool cannot be closed. */
export function inUseError(name: string, holders: readonly RealtimeHolder[]): MillpondError {
  const show = ({ pointer, size, memory }: RealtimeHolder): common.HolderText => ({
    lease: `${memory === undefined ? "block" : `memory #${memory} in block`} ${pointer} (${size} bytes)`,
  });
  return common.inUseError(words(name), "close", { list: holders, show }, "Free them, or close({ force: true })");
}

/** A block whose guard was written to. */
export function overrunError(name: string, pointer: number, size: number, at: number): MillpondError {
  const what = `block ${pointer} of ${size} bytes was overrun: byte ${at} behind its start was written to`;
  return common.corruptedError(words(name), what, "find what writes past its end", { pointer, size, at });
}

/** The accounts of the pool disagree. */
export function corruptedError(name: string, what: string): MillpondError {
  return common.corruptedError(words(name), what, "something wrote over its blocks, or this is a bug in millpond");
}

/** A Memory that another allocator made. */
export function foreignError(name: string, what: string): MillpondError {
  return common.foreignError(words(name), what, "another allocator made it; give it back where it came from");
}

/** A Memory that was freed, or that reallocate() replaced by another. */
export function freedError(memory: string, verb: string): MillpondError {
  return new MillpondError(
    "ERR_USE_AFTER_RELEASE",
    `cannot ${verb} ${memory}: it was freed, or reallocated into another one; use what reallocate() gave`,
  );
}
