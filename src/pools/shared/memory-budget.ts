/**
 * The arenas of shared pools, counted: engines do not see a SharedArrayBuffer's bytes as garbage-collection pressure, so
 * that a program which makes pools without end grows until the system kills it (measured: 24 GB). Here it is stopped first.
 */

import { MillpondError } from "../../util/errors.ts";
import { wholeNumber } from "../../util/validate.ts";

/** 4 GiB: a hundred 4K frames of 4:4:4:4 with room to spare, and far from what ends a common machine. */
const DEFAULT_LIMIT = 2 ** 32;

let limit = DEFAULT_LIMIT;
let bytes = 0;
let arenas = 0;

// The engine takes an arena when no agent refers to it any more, also without a destroy().
const lost: FinalizationRegistry<Arena> | undefined =
  typeof FinalizationRegistry === "function" ? new FinalizationRegistry((arena) => uncount(arena)) : undefined;

/** What was counted for one memory. */
export interface Arena {
  /** Bytes of the memory. */
  readonly bytes: number;
  /** Whether they still count. */
  counted: boolean;
}

/** A new arena, counted. Throws `ERR_UNSUPPORTED`, `ERR_POOL_FULL` beyond the limit, `ERR_ALLOCATION_FAILED`. */
export function makeArena(size: number): { memory: SharedArrayBuffer; arena: Arena } {
  if (typeof SharedArrayBuffer !== "function") {
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      "there is no SharedArrayBuffer here; serve the page with COOP and COEP headers, or use leasePool(), which transfers",
    );
  }
  if (bytes + size > limit) {
    throw new MillpondError(
      "ERR_POOL_FULL",
      `${arenas} shared arenas of this thread hold ${bytes} bytes, and ${size} more exceed the limit of ${limit}; ` +
        "destroy() pools that are done with, make one pool instead of many, or raise it with limitSharedArenas()",
      { arenas, bytes, limit, size },
    );
  }
  let memory: SharedArrayBuffer;
  try {
    memory = new SharedArrayBuffer(size);
  } catch (cause) {
    throw new MillpondError("ERR_ALLOCATION_FAILED", `no shared memory of ${size} bytes`, { size }, { cause });
  }
  const arena: Arena = { bytes: size, counted: true };
  bytes += size;
  arenas++;
  lost?.register(memory, arena);
  return { memory, arena };
}

/** Counts an arena no more; the second time nothing happens. */
export function uncount(arena: Arena): void {
  if (!arena.counted) return;
  arena.counted = false;
  bytes -= arena.bytes;
  arenas--;
}

/** The shared arenas that this thread made, and that were neither destroyed nor collected. */
export function sharedArenas(): { readonly arenas: number; readonly bytes: number; readonly limit: number } {
  return { arenas, bytes, limit };
}

/** Sets the most bytes of shared arenas that this thread may make; default 4 GiB. Throws `ERR_OUT_OF_RANGE`. */
export function limitSharedArenas(most: number): void {
  limit = wholeNumber("most", most);
}
