/** millpond/mediabunny: the frames of video files, through mediabunny, in pooled buffers. */
export { loadMediabunny, quietDecoders } from "./adapters/mediabunny/load.ts";
export { pooledSamples } from "./adapters/mediabunny/node-samples.ts";
export {
  type PooledSampleOptions,
  PooledSampleResource,
  type PooledSampleResources,
} from "./adapters/mediabunny/sample-resource.ts";
export type { PooledSamplesOptions } from "./adapters/mediabunny/samples.ts";
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
