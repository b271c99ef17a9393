/** millpond/mediabunny: the frames of video files, through mediabunny, in pooled buffers. */
export { loadMediabunny, quietDecoders } from "./adapters/mediabunny/load.ts";
export { openVideoFile, VideoFile, type VideoFileFacts, VideoFileFrame } from "./adapters/mediabunny/video-file.ts";
export {
  type FrameLayout,
  type FrameSource,
  type PlaneLayout,
  type PooledFramesOptions,
  type Presentation,
  pooledFrames,
  type SourceFrame,
} from "./adapters/node/frame-source.ts";
