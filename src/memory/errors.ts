/** The errors of memories, built off the hot path: what happened, to which memory, and how to mend it. */
import { MillpondError } from "../util/errors.ts";
import { show } from "../util/validate.ts";
import type { Allocator } from "./allocator.ts";
import { Access, describeAccess, heldAccess } from "./lock.ts";
import type { Memory } from "./memory.ts";
import { MemoryFlags } from "./params.ts";
import type { Region } from "./region.ts";

/** A memory was used after its last release. */
export function usedAfterReleaseError(memory: Memory, verb: string): MillpondError {
  return (
    memory.allocator.deadMemoryError(memory, verb) ??
    new MillpondError(
      "ERR_USE_AFTER_RELEASE",
      `cannot ${verb} ${memory}: it was released, and its bytes may belong to another lease; retain() it to keep it`,
    )
  );
}

/** A memory was released more often than it was held. */
export function doubleReleaseError(memory: Memory): MillpondError {
  return (
    memory.allocator.deadMemoryError(memory, "release") ??
    new MillpondError("ERR_DOUBLE_RELEASE", `${memory} was already released; find the second release() and remove it`)
  );
}

/** The bytes behind a memory are gone. */
export function detachedError(memory: Memory): MillpondError {
  return new MillpondError(
    "ERR_DETACHED",
    `the ArrayBuffer behind ${memory} was transferred or shrunk; ` +
      "copy the bytes before posting, transferring or enqueueing them",
  );
}

/** A map or lock was refused; says which rule and how to go on. */
export function lockError(memory: Memory, access: number): MillpondError {
  const wanted = describeAccess(access);
  if ((access & Access.WRITE) !== 0 && (memory.flags & MemoryFlags.READONLY) !== 0) {
    return new MillpondError(
      "ERR_NOT_WRITABLE",
      `${memory} is read-only; makeWritable() or copy() gives a writable one`,
    );
  }
  if ((access & Access.WRITE) !== 0 && memory.owners > 1) {
    return new MillpondError(
      "ERR_NOT_WRITABLE",
      `${memory} has ${memory.owners} owners, so none may write; makeWritable() or copy() gives a writable one`,
    );
  }
  if ((access & Access.WRITE) !== 0 && memory.sharedOwners > 0) {
    return new MillpondError(
      "ERR_NOT_WRITABLE",
      `the buffer that owns ${memory} has several references, so none may write; makeWritable() or copy() gives a writable one`,
    );
  }
  return new MillpondError(
    "ERR_MAPPED",
    `${memory} is already mapped for ${describeAccess(heldAccess(memory.accessWord))}, which does not include ${wanted}; ` +
      'unmap it first, or map it "readwrite" from the start',
  );
}

/** A lock was ended that is not held. */
export function notLockedError(memory: Memory, mode: string): MillpondError {
  return new MillpondError(
    "ERR_OUT_OF_RANGE",
    `${memory} is not locked for "${mode}"; unlock() once for each lock(), with its mode`,
  );
}

/** An allocator's hook gave no region; `cause` is what it threw. */
export function noRegionError(allocator: string, size: number, align: number, cause: unknown): MillpondError {
  return new MillpondError(
    "ERR_ALLOCATION_FAILED",
    `allocator "${allocator}" has no region of ${size} bytes (align ${align}); release memory, raise its bound, or ask for less`,
    { size, align },
    { cause },
  );
}

/** An allocator's hook gave a region that cannot serve. */
export function badRegionError(allocator: string, region: Region, size: number, align: number): MillpondError {
  return new MillpondError(
    "ERR_ALLOCATION_FAILED",
    `allocator "${allocator}" answered with a region that is too small, misaligned or detached ` +
      `(${region.size} of ${size} bytes, byteOffset ${region.bytes.byteOffset}, align ${align}); mend its allocateRegion()`,
    { size, align },
  );
}

/** An allocator gave the same memory, or the same bytes, twice. */
export function heldAlreadyError(allocator: Allocator, memory: Memory): MillpondError {
  return new MillpondError(
    "ERR_ALLOCATION_FAILED",
    `allocator "${allocator.name}" answered ${memory}, whose bytes somebody has already; mend its hooks, which must give ` +
      "bytes that nobody else has until they are freed",
  );
}

/** An allocator gave what is no live memory, or one of another size. */
export function wrongAnswerError(allocator: Allocator, memory: Memory, isLive: boolean, size?: number): MillpondError {
  return new MillpondError(
    "ERR_ALLOCATION_FAILED",
    `allocator "${allocator.name}" answered ${isLive ? `${memory}, and ${size} bytes were due` : show(memory)}; mend its hooks, ` +
      "which must give a live Memory",
  );
}

/** An allocator's hook gave no bytes; `cause` is what it threw; a MillpondError is passed on as it is. */
export function notMappableError(allocator: Allocator, mode: string, cause: unknown): MillpondError {
  if (cause instanceof MillpondError) return cause;
  return new MillpondError(
    "ERR_NOT_MAPPABLE",
    `allocator "${allocator.name}" (${allocator.memoryType}) cannot map its memory for "${mode}" here; try mapAsync()`,
    undefined,
    cause === undefined ? undefined : { cause },
  );
}
