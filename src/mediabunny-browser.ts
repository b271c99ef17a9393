/**
 * millpond/mediabunny where "browser" is among the conditions of resolution: what needs no files and no decoders of
 * Node. The names that are here do the same there.
 */
export { pooledSamples } from "./adapters/mediabunny/browser-samples.ts";
export {
  type PooledSampleOptions,
  PooledSampleResource,
  type PooledSampleResources,
} from "./adapters/mediabunny/sample-resource.ts";
export type { PooledSamplesOptions } from "./adapters/mediabunny/samples.ts";
export {
  type FrameLayout,
  type FrameSource,
  type PlaneLayout,
  type PooledFramesOptions,
  type Presentation,
  pooledFrames,
  type SourceFrame,
} from "./adapters/node/frame-source.ts";
