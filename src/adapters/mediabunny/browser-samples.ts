/** {@link pooledSamples} where the platform decodes: browsers. */
import type { InputVideoTrack } from "mediabunny";
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import type { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import { type PooledSamplesOptions, samplesInto } from "./samples.ts";

/** As `pooledSamples` of Node, by the platform's own copies. */
export function pooledSamples(
  track: InputVideoTrack,
  pool: BufferPool,
  options?: PooledSamplesOptions,
): AsyncIterableIterator<MediaBuffer, void, undefined> {
  return samplesInto(track, pool, options, () => Promise.resolve(undefined));
}
