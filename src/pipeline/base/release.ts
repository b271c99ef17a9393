/**
 * Releasing buffers where something else goes on whatever that throws: a release fails when the bytes of the buffer
 * were transferred away, or it was released by other code. Its lease is over then all the same.
 */
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";

/** Releases each, and throws the first error when all are released. */
export function releaseAll(buffers: Iterable<MediaBuffer>): void {
  let failure: { readonly error: unknown } | undefined;
  for (const buffer of buffers) {
    try {
      buffer.release();
    } catch (error) {
      failure ??= { error };
    }
  }
  if (failure !== undefined) throw failure.error;
}

/** Releases on the way out with an error, which is the one that counts. */
export function releaseQuietly(...buffers: readonly (MediaBuffer | undefined)[]): void {
  for (const buffer of buffers) {
    try {
      buffer?.release();
    } catch {
      // The error that is on its way says what happened first.
    }
  }
}

/** Releases the first; when that throws, the others go no further, and are released as well. */
export function releaseOrDrop(buffer: MediaBuffer, ...others: readonly (MediaBuffer | undefined)[]): void {
  try {
    buffer.release();
  } catch (error) {
    releaseQuietly(...others);
    throw error;
  }
}
