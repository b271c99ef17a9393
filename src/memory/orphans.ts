/** Memories whose last reference belongs to their mappings: the end of the last one releases it. */
import type { Memory, MemoryHome } from "./memory.ts";

/** Stands in for the buffer of a memory that nobody holds but a mapping: the last unmap() releases it. */
class DeferredRelease implements MemoryHome {
  readonly lingering = true;
  readonly #memory: Memory;

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  expose(): void {}

  settle(): void {
    const memory = this.#memory;
    if (memory.accessWord !== 0 || memory.home !== this) return;
    memory.home = null;
    memory.release();
  }
}

/** Releases a memory, or, when nobody holds it any more but a mapping, lets the end of the mapping release it. */
export function releaseWhenUnmapped(memory: Memory): void {
  if (memory.references === 1 && memory.accessWord !== 0 && memory.ownerCount === 0) {
    memory.home = new DeferredRelease(memory);
  } else memory.release();
}

/** True when one reference of a memory is kept for its mappings, and so is nobody's to give away. */
export function isKeptByMapping(memory: Memory): boolean {
  return memory.home instanceof DeferredRelease;
}
