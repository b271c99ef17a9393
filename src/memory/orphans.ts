/**
 * Memories whose last reference went while they were mapped, which only an asynchronous map makes possible: its wait holds a
 * reference of its own, so the caller's release is accepted. The region then waits for the last mapping to end.
 */
import type { Memory } from "./memory.ts";

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
