/**
 * Releasing buffers where something else goes on whatever that throws: a release fails when the bytes of the buffer
 * were transferred away, or it was released by other code. Its lease is over then all the same.
 *
 * One rule for all that hold the last reference of something mapped: they refuse before anything has changed
 * (`release()`, {@link dropAll}), or the reference passes to the mapping, whose end gives the bytes back (all others).
 * None lets go of what it does not give back.
 */
import { saysGone, throwLater } from "../../util/errors.ts";
import type { MediaBuffer } from "./media-buffer.ts";

/** Releases each, whatever the others throw; `refused` are those that stayed as they were. */
export function dropAll(buffers: Iterable<MediaBuffer>): {
  readonly refused: MediaBuffer[];
  readonly failures: unknown[];
} {
  const refused: MediaBuffer[] = [];
  const failures: unknown[] = [];
  for (const buffer of buffers) {
    try {
      buffer.release();
    } catch (error) {
      failures.push(error);
      if (buffer.isLive) refused.push(buffer);
    }
  }
  return { refused, failures };
}

/** Releases each, those that are mapped when they are unmapped, and throws the first error when all are released. */
export function releaseAll(buffers: Iterable<MediaBuffer>): void {
  let failure: { error: unknown } | undefined;
  for (const buffer of buffers) {
    try {
      buffer.releaseWhenUnmapped();
    } catch (error) {
      failure ??= { error };
    }
  }
  if (failure !== undefined) throw failure.error;
}

/**
 * Releases a lease when it is not over yet: a pool that was closed by force has it already. What release() throws
 * (`ERR_DETACHED`: a stale view was transferred away) is for a holder to hear, and none is left; the lease is over all
 * the same.
 */
export function giveBack(lease: MediaBuffer): void {
  if (lease.isLive) releaseQuietly(lease);
}

/** Releases on the way out with an error, which is the one that counts. */
export function releaseQuietly(...buffers: readonly (MediaBuffer | undefined)[]): void {
  for (const buffer of buffers) {
    try {
      buffer?.releaseWhenUnmapped();
    } catch {
      // The error that is on its way says what happened first.
    }
  }
}

/** Releases the first; when that throws, the others go no further, and are released as well. */
export function releaseOrDrop(buffer: MediaBuffer, ...others: readonly (MediaBuffer | undefined)[]): void {
  try {
    releaseOrPass(buffer);
  } catch (error) {
    releaseQuietly(...others);
    throw error;
  }
}

/** Releases a buffer whose holder cannot try again: who is told that it is mapped has let go of it all the same. */
export function releaseOrPass(buffer: MediaBuffer): void {
  try {
    buffer.release();
  } catch (error) {
    giveBack(buffer);
    throw error;
  }
}

/**
 * Releases what a call consumed that has succeeded, and so does not throw any more. A hook's error surfaces in a later
 * turn; what a hook of that call has mapped is given back when it is unmapped.
 */
export function releaseConsumed(buffer: MediaBuffer): void {
  try {
    try {
      buffer.release();
    } catch (error) {
      if (!buffer.isLive) throw error;
      buffer.releaseWhenUnmapped();
    }
  } catch (error) {
    if (!saysGone(error)) throwLater(error);
  }
}
