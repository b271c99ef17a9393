/**
 * millpond/pipeline: who hands bytes to whom. Stages agree on whose pool, how many buffers, what size and alignment before
 * the first byte moves; requirements add up along the graph, so that a pipeline that links cannot starve itself.
 */
export {
  AllocationQuery,
  type HeldPart,
  type MetaMerger,
  type MetaProposal,
  type ParamsProposal,
  type PoolOffer,
  type PoolProposal,
  registerMetaMerger,
} from "./pipeline/allocation-query.ts";
export type { Verdict } from "./pipeline/candidates.ts";
export {
  Caps,
  type CapsFields,
  type CapsScalar,
  type CapsStructure,
  type CapsValue,
  type FixedCaps,
  type Range,
} from "./pipeline/caps.ts";
export { type DescribedElement, type DescribedLink, Description } from "./pipeline/describe.ts";
export { Element, type Running } from "./pipeline/element.ts";
export { AppSink, type AppSinkOptions } from "./pipeline/elements/app-sink.ts";
export { type AppItem, AppSource, type AppSourceOptions } from "./pipeline/elements/app-source.ts";
export { ContactSheetSink, type ContactSheetSinkOptions } from "./pipeline/elements/contact-sheet-sink.ts";
export { FrameConverter } from "./pipeline/elements/convert-frame.ts";
export { PatternSource, type PatternSourceOptions } from "./pipeline/elements/pattern-source.ts";
export { CapsFilter, Identity, NullSink, type NullSinkOptions } from "./pipeline/elements/small.ts";
export { VideoScale, type VideoScaleOptions } from "./pipeline/elements/video-scale.ts";
export { COMMON_ELEMENTS } from "./pipeline/elements/words.ts";
export { Funnel } from "./pipeline/funnel.ts";
export { InputPad, type Maybe, OutputPad, Pad } from "./pipeline/pad.ts";
export { Pipeline, type PipelineOptions, type RunOptions } from "./pipeline/pipeline.ts";
export { Queue, type QueueOptions } from "./pipeline/queue.ts";
export type { Progress, RunSummary } from "./pipeline/session.ts";
export { Sink, type SinkOptions } from "./pipeline/sink.ts";
export { Source } from "./pipeline/source.ts";
export {
  type AudioStream,
  audioFormat,
  type ByteStream,
  byteFormat,
  type Fraction,
  formatText,
  type StreamFormat,
  sameFormat,
  sizeOfFormat,
  type VideoPresentation,
  type VideoStream,
  videoFormat,
} from "./pipeline/stream-format.ts";
export type { Decision } from "./pipeline/supply.ts";
export { Tee } from "./pipeline/tee.ts";
export {
  type ElementSpec,
  type ParsedPipeline,
  type Properties,
  type PropertyKind,
  type PropertySpec,
  parsePipeline,
  type Word,
} from "./pipeline/text.ts";
export { Transform, type TransformMode, type TransformOptions } from "./pipeline/transform.ts";
export type { QueueLimits } from "./pools/queue-level.ts";
export {
  type ItemTimes,
  type QueueTrigger,
  TimedQueue,
  type TimedQueueOptions,
  type TriggerCondition,
} from "./pools/timed-queue.ts";
