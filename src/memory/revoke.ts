/**
 * Revocation: after it, every view that was handed out has length zero, and the same bytes (same address, nothing copied)
 * live in a new ArrayBuffer that only the pool knows. 0.2 to 0.9 us for 8 MB; the first detach in an isolate slows its
 * typed-array loops for good, which is why it is opt-in.
 */
import { moveLockReport } from "./lock-report.ts";
import { type Region, Wipe } from "./region.ts";
import { zeroBytes } from "./zero.ts";

interface Transferable {
  transfer?: () => ArrayBuffer;
}

/** Buffers that cannot be transferred although they look like any other: WebAssembly's, and foreign memory on Node 20. */
const fixed: WeakSet<ArrayBufferLike> = new WeakSet();

/** For allocators: says that a buffer can never be transferred, so that no pool promises to revoke its views. */
export function forbidRevocation(buffer: ArrayBufferLike): void {
  fixed.add(buffer);
}

/**
 * True when the views of a region can be revoked: an ArrayBuffer of its own, fixed in length. Shared memory cannot be
 * taken back from another agent, and a part of a larger buffer would take its neighbours along.
 */
export function isRevocable(region: Region): boolean {
  const { buffer } = region.bytes;
  return (
    region.isPlain &&
    buffer instanceof ArrayBuffer &&
    buffer.byteLength === region.size &&
    !fixed.has(buffer) &&
    (buffer as { resizable?: boolean }).resizable !== true
  );
}

/** Detaches every view of a revocable region and gives the region a new one. O(1). */
export function revokeViews(region: Region): void {
  const old = region.bytes.buffer as ArrayBuffer;
  const { transfer } = old as Transferable;
  // Node 20 has no transfer(); structuredClone with a transfer list does the same in a few microseconds.
  const next = transfer === undefined ? structuredClone(old, { transfer: [old] }) : transfer.call(old);
  moveLockReport(old, next);
  region.bytes = new Uint8Array(next);
}

/** Does what {@link Region.wipe} says, once: zeroes the bytes, then detaches every view of them. O(size) when it zeroes. */
export function wipeRegion(region: Region): void {
  const { wipe } = region;
  region.wipe = 0;
  if (!region.isPlain || region.isDetached) return;
  if ((wipe & Wipe.ZERO) !== 0) zeroBytes(region.bytes);
  if ((wipe & Wipe.REVOKE) !== 0 && isRevocable(region)) revokeViews(region);
}
