/** The errors of RealtimePool, built off the fast path. */
import { MillpondError } from "../../util/errors.ts";
import type { RealtimeHolder } from "./options.ts";

/** Blocks that a message names. */
const MAX_NAMED = 8;

/** The pool has no room for a block; says what it has. */
export function poolFull(name: string, size: number, available: number, largest: number, most: number): MillpondError {
  const why =
    size > most
      ? "which is more than the whole pool"
      : largest < size && available >= size
        ? "which are free, but not in one piece"
        : "and is full";
  return new MillpondError(
    "ERR_POOL_FULL",
    `realtime pool "${name}" has no block of ${size} bytes, ${why} (${available} bytes free, the largest ${largest}); ` +
      "free some, make the pool larger, or let it grow",
    { pool: name, size, available, largest },
  );
}

/** A call on a closed pool. */
export function poolClosed(name: string, verb: string): MillpondError {
  return new MillpondError(
    "ERR_POOL_DEAD",
    `cannot ${verb} realtime pool "${name}": it was closed; make a new one, and close() it last`,
    { pool: name },
  );
}

/** A close under live blocks. */
export function liveBlocks(name: string, blocks: readonly RealtimeHolder[]): MillpondError {
  const named = blocks.slice(0, MAX_NAMED).map(({ pointer, size, memory }) => {
    return `${memory === undefined ? "block" : `memory #${memory} in block`} ${pointer} (${size} bytes)`;
  });
  const more = blocks.length > MAX_NAMED ? ` and ${blocks.length - MAX_NAMED} more` : "";
  return new MillpondError(
    "ERR_IN_USE",
    `realtime pool "${name}" cannot be closed: ${blocks.length === 1 ? "1 block is" : `${blocks.length} blocks are`} live: ${named.join(", ")}${more}; ` +
      "free them, or close({ force: true })",
    { pool: name, live: blocks.length, blocks: blocks.slice(0, 64) },
  );
}

/** A block whose guard was written to. */
export function overrunBlock(name: string, pointer: number, size: number, at: number): MillpondError {
  return new MillpondError(
    "ERR_CORRUPTED",
    `realtime pool "${name}": block ${pointer} of ${size} bytes was overrun: byte ${at} behind its start was written to`,
    { pool: name, pointer, size, at },
  );
}

/** The accounts of the pool disagree. */
export function corruptPool(name: string, what: string): MillpondError {
  return new MillpondError("ERR_CORRUPTED", `realtime pool "${name}": ${what}`, { pool: name });
}

/** A Memory that another allocator made. */
export function foreignMemory(name: string, what: string, verb: string): MillpondError {
  return new MillpondError(
    "ERR_FOREIGN_RELEASE",
    `cannot ${verb} ${what} with realtime pool "${name}": another allocator made it; give it back where it came from`,
    { pool: name },
  );
}
