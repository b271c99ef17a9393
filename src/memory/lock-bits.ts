/** Raw locks by bits, for front doors whose users lock and own memories themselves. Mapping and owning use the same counts. */

import { notLocked } from "./errors.ts";
import { Access, addAccess, canShare, REFUSED, removeAccess } from "./lock.ts";
import type { Memory } from "./memory.ts";

const MODE = Access.READ | Access.WRITE;

/** Takes every lock in `bits` ({@link Access}), or none: false. Owning is judged together with the access asked for. @realtime */
export function lockBits(memory: Memory, bits: number): boolean {
  const owns = (bits & Access.EXCLUSIVE) !== 0;
  const mode = bits & MODE;
  if (memory.references === 0 || (owns && !canShare(memory.accessWord, memory.ownerCount))) return false;
  if (mode !== 0) {
    const word = addAccess(memory.accessWord, memory.ownerCount + (owns ? 1 : 0), mode, memory.currentFlags);
    if (word === REFUSED) return false;
    memory.accessWord = word;
  }
  if (owns) memory.ownerCount++;
  return true;
}

/** Gives back what {@link lockBits} took. Throws `ERR_OUT_OF_RANGE` when one of them is not held; nothing changes then. */
export function unlockBits(memory: Memory, bits: number): void {
  const owns = (bits & Access.EXCLUSIVE) !== 0;
  const mode = bits & MODE;
  const word = mode === 0 ? memory.accessWord : removeAccess(memory.accessWord, mode);
  if (word === REFUSED || (owns && memory.ownerCount === 0)) throw notLocked(memory, `bits ${bits}`);
  memory.accessWord = word;
  if (owns) memory.dropOwnership();
  else if (word === 0 && memory.parentBuffer?.awaitingMemory) memory.parentBuffer.onExclusive();
}
