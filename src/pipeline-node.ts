/**
 * millpond/pipeline/node: stages that need Node: files, raw video, decoding and encoding, worker threads, pipeline
 * text.
 */

export { ALL_ELEMENTS, pipelineFromText } from "./adapters/node/factories.ts";
export { FileSink, FileSource, type FileSourceOptions, RawVideoSink } from "./adapters/node/file-elements.ts";
export { DecodeElement, FramesElement, type OpenFrames, RawVideoElement } from "./adapters/node/frames-element.ts";
export { ContactSheetFile, EncodeSink, type EncodeSinkOptions } from "./adapters/node/media-sinks.ts";
export {
  type WorkerErrorDetails,
  type WorkerFormat,
  type WorkerFrame,
  WorkersElement,
  type WorkersOptions,
} from "./adapters/workers/workers-element.ts";
