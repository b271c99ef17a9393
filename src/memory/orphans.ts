/**
 * Memories whose last reference went while they were mapped, which only an asynchronous map makes possible: its wait holds a
 * reference of its own, so the caller's release is accepted. The region then waits for the last mapping to end.
 */
import type { Memory, MemoryHome } from "./memory.ts";

const orphans: WeakSet<Memory> = new WeakSet();

/** Gives back a reference that a wait or a mapping held; the last one as soon as nothing is mapped any more. */
export function letGo(memory: Memory): void {
  if (memory.references === 1 && memory.accessWord !== 0) orphans.add(memory);
  else memory.release();
}

/** To be called when a lock on opaque memory ended: the last one lets an orphan go. */
export function afterUnlock(memory: Memory): void {
  if (memory.accessWord === 0 && orphans.delete(memory)) memory.release();
}

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
