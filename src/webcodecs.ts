/**
 * millpond/webcodecs: pictures of the platform's coders in pooled buffers, frame by frame or as stages of a pipeline.
 */
export {
  type CodedChunk,
  type CodedFrame,
  CoderElement,
  WebCodecsDecoder,
  type WebCodecsDecoderOptions,
  WebCodecsEncoder,
  type WebCodecsEncoderOptions,
} from "./adapters/webcodecs/coders.ts";
export {
  type CopyableFrame,
  type CopyFrameOptions,
  copyFrame,
  type ToVideoFrameOptions,
  toVideoFrame,
} from "./adapters/webcodecs/frames.ts";
