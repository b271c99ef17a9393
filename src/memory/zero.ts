/** Zeroing bytes at memset speed, whatever kind of buffer they are in. */

import type { Memory } from "./memory.ts";
import { MemoryFlags } from "./params.ts";

/**
 * 64 KiB: large enough that the per-call cost of `set` vanishes (16 calls a megabyte), small enough to stay in the second
 * level cache while it is the source of every copy.
 */
const BLOCK = 64 * 1024;

let zeros: Uint8Array | undefined;

/**
 * Sets bytes to zero. `fill` on shared memory stores byte by byte (measured: ten times slower than on plain memory), so
 * shared bytes are overwritten from a block of zeros instead. O(length).
 */
export function zeroBytes(bytes: Uint8Array): void {
  if (bytes.buffer instanceof ArrayBuffer) {
    bytes.fill(0);
    return;
  }
  zeros ??= new Uint8Array(BLOCK);
  let at = 0;
  for (; at + BLOCK <= bytes.length; at += BLOCK) bytes.set(zeros, at);
  if (at < bytes.length) bytes.set(zeros.subarray(0, bytes.length - at), at);
}

/** Zeroes the prefix and the padding of a fresh memory, as its flags ask for. */
export function zeroEdges(memory: Memory): void {
  if (!memory.region.isPlain) return;
  const whole = memory.region.bytes;
  if ((memory.flags & MemoryFlags.ZERO_PREFIXED) !== 0) whole.fill(0, 0, memory.offset);
  if ((memory.flags & MemoryFlags.ZERO_PADDED) !== 0) whole.fill(0, memory.offset + memory.size);
}
