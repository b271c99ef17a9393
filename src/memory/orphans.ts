/** Memories whose last reference belongs to their mappings: the end of the last one releases it. */
import { isMillpondError, MillpondError } from "../util/errors.ts";
import type { HoldingBuffer, Memory } from "./memory.ts";

/** Stands in for the buffer of a memory that nobody holds but a mapping, or whose release has to wait: {@link onExclusive} releases it. */
class DeferredRelease implements HoldingBuffer {
  readonly awaitingMemory = true;
  readonly #memory: Memory;

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  onShared(): void {}

  onExclusive(): void {
    const memory = this.#memory;
    if (memory.references > 0 && memory.references <= memory.ownerCount) {
      // A release() has just given back the reference that is kept here.
      memory.references++;
      throw new MillpondError(
        "ERR_FOREIGN_RELEASE",
        `${memory} is kept for its mapping, which gives it back by itself; release() only what you allocated or retained`,
      );
    }
    if (memory.accessWord !== 0 || memory.parentBuffer !== this || memory.references === 0) return;
    memory.parentBuffer = null;
    releaseOrLater(memory);
  }
}

/** Releases a memory, or, when nobody holds it any more but a mapping, lets the end of the mapping release it. */
export function releaseWhenUnmapped(memory: Memory): void {
  if (memory.references === 1 && memory.accessWord !== 0 && memory.ownerCount === 0) {
    memory.parentBuffer = new DeferredRelease(memory);
  } else releaseOrLater(memory);
}

/**
 * Releases a memory that nobody else can release any more. A pool that refuses it because it is calling its source or clock
 * (`ERR_REENTRANT`) gets it back when the present call stack is done: the caller has nothing left to try again with.
 */
function releaseOrLater(memory: Memory): void {
  try {
    memory.release();
  } catch (error) {
    if (memory.references === 0 || !isMillpondError(error, "ERR_REENTRANT")) throw error;
    memory.parentBuffer = new DeferredRelease(memory);
    queueMicrotask(() => memory.parentBuffer?.onExclusive());
  }
}

/** True when one reference of a memory is kept for its mappings, and so is nobody's to give away. */
export function isKeptByMapping(memory: Memory): boolean {
  return memory.parentBuffer instanceof DeferredRelease;
}
