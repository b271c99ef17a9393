/**
 * millpond/node: frames and bytes of Node's own streams, processes, files and sockets, straight into the slots of a
 * pool and out of them.
 */

export { type CollectOptions, collect } from "./adapters/node/collect.ts";
export type { FileInput } from "./adapters/node/open-file.ts";
export {
  connectSocket,
  PooledSocket,
  type PooledSocketOptions,
  type SocketAddress,
} from "./adapters/node/pooled-socket.ts";
export { type ReadBlocksOptions, readBlocks } from "./adapters/node/read-blocks.ts";
export { type ReadFileOptions, readFile } from "./adapters/node/read-file.ts";
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
