/** millpond/pipeline/node: stages that need Node: files, raw video, decoding and encoding, worker threads, pipeline text. */

export { ALL_ELEMENTS, pipelineFromText } from "./adapters/element-words.ts";
export { FileSink, FileSource, type FileSourceOptions, RawVideoSink } from "./adapters/file-elements.ts";
export { DecodeElement, FramesElement, type OpenFrames, RawVideoElement } from "./adapters/frames-element.ts";
export { ContactSheetFile, EncodeSink, type EncodeSinkOptions } from "./adapters/media-sinks.ts";
export {
  type WorkerFormat,
  type WorkerFrame,
  WorkersElement,
  type WorkersOptions,
} from "./adapters/workers-element.ts";
