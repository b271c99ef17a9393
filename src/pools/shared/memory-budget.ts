/**
 * A budget for the memory of shared pools: engines do not see a SharedArrayBuffer's bytes as garbage-collection
 * pressure, so that a program which makes pools without end grows until the system kills it (measured: 24 GB). Here it
 * is stopped first.
 */

import { MillpondError } from "../../util/errors.ts";
import { wholeNumber } from "../../util/validate.ts";

/** 4 GiB: a hundred 4K frames of 4:4:4:4 with room to spare, and far from what ends a common machine. */
const DEFAULT_LIMIT = 2 ** 32;

let limit = DEFAULT_LIMIT;
let bytes = 0;
let memories = 0;

// The engine frees a memory when no agent refers to it any more, also without a close().
const lost: FinalizationRegistry<BudgetEntry> | undefined =
  typeof FinalizationRegistry === "function" ? new FinalizationRegistry(uncount) : undefined;

/** The memories that count, and what says that one is done with. */
const counting: Map<BudgetEntry, () => boolean> = new Map();

/** What was counted for one memory. */
export interface BudgetEntry {
  /** Bytes of the memory. */
  readonly bytes: number;
  /** Whether they still count. */
  counted: boolean;
}

/** A new memory, counted. Throws `ERR_UNSUPPORTED`, `ERR_POOL_FULL` beyond the limit, `ERR_ALLOCATION_FAILED`. */
export function allocateCounted(size: number): { memory: SharedArrayBuffer; entry: BudgetEntry } {
  if (typeof SharedArrayBuffer !== "function") {
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      "there is no SharedArrayBuffer here; serve the page with COOP and COEP headers, or use leasePool(), which transfers",
    );
  }
  if (bytes + size > limit) uncountEnded();
  if (bytes + size > limit) {
    throw new MillpondError(
      "ERR_POOL_FULL",
      `${memories} shared memories of this thread have ${bytes} bytes, and ${size} more exceed the limit of ${limit}; ` +
        "close() pools that are done with, make one pool instead of many, or raise it with limitSharedMemory()",
      { memories, bytes, limit, size },
    );
  }
  let memory: SharedArrayBuffer;
  try {
    memory = new SharedArrayBuffer(size);
  } catch (cause) {
    throw new MillpondError("ERR_ALLOCATION_FAILED", `no shared memory of ${size} bytes`, { size }, { cause });
  }
  const entry: BudgetEntry = { bytes: size, counted: true };
  bytes += size;
  memories++;
  lost?.register(memory, entry);
  return { memory, entry };
}

/** Counts a memory no more; the second time nothing happens. */
export function uncount(entry: BudgetEntry): void {
  if (!entry.counted) return;
  entry.counted = false;
  counting.delete(entry);
  bytes -= entry.bytes;
  memories--;
}

/**
 * Has a memory counted no more once it is done with, which whichever thread may bring about; looked at where it
 * matters.
 */
export function countUntil(
  entry: BudgetEntry,
  memory: SharedArrayBuffer,
  isDone: (memory: SharedArrayBuffer) => boolean,
): void {
  if (typeof WeakRef !== "function") return;
  const held = new WeakRef(memory);
  counting.set(entry, () => {
    const found = held.deref();
    return found !== undefined && isDone(found);
  });
}

/** O(memories). */
function uncountEnded(): void {
  for (const [entry, isDone] of counting) if (isDone()) uncount(entry);
}

/**
 * The shared memories that this thread made, and whose pools have neither ended nor were collected. O(memories).
 */
export function sharedMemoryBudget(): { readonly memories: number; readonly bytes: number; readonly limit: number } {
  uncountEnded();
  return { memories, bytes, limit };
}

/** Sets the most bytes of shared memory that this thread may make; default 4 GiB. Throws `ERR_OUT_OF_RANGE`. */
export function limitSharedMemory(maxBytes: number): void {
  limit = wholeNumber("maxBytes", maxBytes);
}
