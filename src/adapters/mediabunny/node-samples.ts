/** {@link pooledSamples} where frames of @mediabunny/server can be copied natively: Node. */
import type { InputVideoTrack } from "mediabunny";
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import type { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import { nativeCopies } from "./load.ts";
import { type PooledSamplesOptions, samplesInto } from "./samples.ts";

/**
 * The frames of a video track, each in a buffer of `pool` that the consumer owns and releases, with its times and a
 * `VideoMeta`. Each frame of the decoder is copied once and closed at once. When every slot is out, the loop
 * waits with one frame, and the decoder with the few that it has ahead; leaving the loop, an error and the signal close
 * all of them.
 *
 * The track is the program's own: `pooledSamples` neither opens nor disposes its input. In Node its decoder has to be
 * registered before (`registerMediabunnyServer()`, or {@link loadMediabunny}); frames of @mediabunny/server are copied
 * natively, without garbage. A picture that is to be turned is given as it is stored (`track.getRotation()`), but for
 * frames that go through a canvas.
 *
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE` at once. The loop throws what the decoder
 * throws, what `copyFrame` of millpond/webcodecs rejects with (`ERR_OUT_OF_RANGE` with the bytes needed, where a frame
 * does not fit), and `ERR_UNSUPPORTED` where mediabunny is not installed.
 */
export function pooledSamples(
  track: InputVideoTrack,
  pool: BufferPool,
  options?: PooledSamplesOptions,
): AsyncIterableIterator<MediaBuffer, void, undefined> {
  return samplesInto(track, pool, options, nativeCopies);
}
