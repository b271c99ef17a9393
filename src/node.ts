/**
 * millpond/node: frames and bytes of Node's own streams, processes, files and sockets, straight into the slots of a
 * pool and out of them.
 */

export { FrameWriter, type FrameWriterOptions, frameWriter } from "./adapters/node/streams/frame-writer.ts";
export { FrameStream, type FramesOptions, frames } from "./adapters/node/streams/frames.ts";
export {
  FrameProcess,
  type FrameTransport,
  type ProcessFailure,
  type SpawnFramesOptions,
  spawnFrames,
} from "./adapters/node/streams/spawn-frames.ts";
export type { RawVideoOptions } from "./adapters/raw-video/layout.ts";
export type { FrameLayout, PlaneLayout } from "./media/video/frame-layout.ts";
