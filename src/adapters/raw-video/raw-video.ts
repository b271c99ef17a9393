/**
 * Raw video from any Node stream (a pipe, a socket, a file): whole frames in memory of the caller's, whatever chunks
 * they arrive in. Y4M says itself what it is; plain raw video has to be told.
 */
import type { Readable } from "node:stream";
import { readOptions, withMethods } from "../../util/validate.ts";
import { ChunkReader } from "./chunk-reader.ts";
import { planRawVideo, RAW_VIDEO_KEYS, type RawVideoOptions } from "./layout.ts";
import { type RawVideo, startRawVideo } from "./source.ts";

export {
  type FrameLayout,
  type FrameSource,
  type PlaneLayout,
  type PooledFramesOptions,
  type Presentation,
  pooledFrames,
  type SourceFrame,
} from "../node/frame-source.ts";
export { type RawVideoOptions, rawLayout } from "./layout.ts";
export { RawVideo } from "./source.ts";

/**
 * Starts to read raw video: Y4M when no format is given, else frames of that format and size, one behind the other.
 * The stream belongs to the result from now on.
 * Rejects with `ERR_BAD_DATA` (empty, or not what it should be), `ERR_UNSUPPORTED`; with `ERR_INVALID_ARG_TYPE`,
 * `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE` for the arguments, and the stream is still the caller's then.
 */
export async function openRawVideo(stream: Readable, options: RawVideoOptions = {}): Promise<RawVideo> {
  withMethods("stream", "a Readable", stream as Readable & AsyncIterable<unknown>, [Symbol.asyncIterator, "destroy"]);
  const plan = planRawVideo(readOptions("options", options, RAW_VIDEO_KEYS));
  return await startRawVideo(new ChunkReader(stream), plan);
}
