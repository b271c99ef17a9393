/**
 * The leases that writes have taken over, in all writers of this thread. A lease is taken once for each reference that
 * it has: taken twice, the write that ends first would find it mapped by the other, and could not give it back.
 */
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { MillpondError } from "../../util/errors.ts";

const taken: WeakMap<MediaBuffer, number> = new WeakMap();

/**
 * Takes a live lease for a write; {@link untakeLease} ends that. Throws `ERR_MAPPED` when writes have all of its
 * references already; it stays theirs then.
 */
export function takeLease(name: string, lease: MediaBuffer): void {
  const count = taken.get(lease) ?? 0;
  if (count >= lease.refCount) {
    throw new MillpondError(
      "ERR_MAPPED",
      `${name} is being written already, and goes back to its pool with that; retain() it for each further write`,
      { name },
    );
  }
  taken.set(lease, count + 1);
}

/** The write is over: called before its reference is given back. */
export function untakeLease(lease: MediaBuffer): void {
  const count = taken.get(lease) ?? 0;
  if (count > 1) taken.set(lease, count - 1);
  else taken.delete(lease);
}
