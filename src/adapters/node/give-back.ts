/** Releases leases where no holder is left to be told of an error. */
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";

/**
 * Releases a lease when it is not over yet: a pool that was closed by force has it already. What release() throws
 * (`ERR_DETACHED`: a stale view was transferred away) is for a holder to hear, and there is none; the lease is over all
 * the same.
 */
export function giveBack(lease: MediaBuffer): void {
  try {
    if (lease.isLive) lease.release();
  } catch {
    // As said above.
  }
}
