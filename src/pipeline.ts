/**
 * millpond/pipeline: who hands bytes to whom. Stages agree on whose pool, how many buffers, what size and alignment
 * before the first byte moves; requirements add up along the graph, so that a pipeline that links cannot starve itself.
 */

export { Element, type Running, type StageWait, type WaitBounds } from "./pipeline/base/element.ts";
export { type HookResult, InputPad, type Maybe, OutputPad, Pad } from "./pipeline/base/pad.ts";
export { Sink, type SinkOptions } from "./pipeline/base/sink.ts";
export { Source } from "./pipeline/base/source.ts";
export { Transform, type TransformMode, type TransformOptions } from "./pipeline/base/transform.ts";
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
export { AppSink, type AppSinkOptions } from "./pipeline/elements/app-sink.ts";
export { type AppItem, AppSource, type AppSourceOptions } from "./pipeline/elements/app-source.ts";
export { COMMON_ELEMENTS } from "./pipeline/elements/factories.ts";
export { Funnel } from "./pipeline/elements/funnel.ts";
export { NullSink, type NullSinkOptions } from "./pipeline/elements/null-sink.ts";
export { CapsFilter, Identity } from "./pipeline/elements/pass-through.ts";
export { PatternSource, type PatternSourceOptions } from "./pipeline/elements/pattern-source.ts";
export { Queue, type QueueOptions } from "./pipeline/elements/queue.ts";
export { Tee } from "./pipeline/elements/tee.ts";
export {
  AllocationQuery,
  type MetaMerger,
  type MetaProposal,
  type ParamsProposal,
  type PoolOffer,
  type PoolProposal,
  type RetainedPart,
  registerMetaMerger,
} from "./pipeline/negotiate/allocation-query.ts";
export type { CandidateResult, Decision } from "./pipeline/negotiate/pool.ts";
export { Pipeline, type PipelineOptions, type RunOptions } from "./pipeline/pipeline.ts";
export type { Progress, RunSummary } from "./pipeline/run.ts";
export {
  type AudioStream,
  audioFormat,
  type ByteStream,
  byteFormat,
  type FormatOptions,
  type Fraction,
  formatText,
  type StreamFormat,
  sameFormat,
  sizeOfFormat,
  type VideoFormatOptions,
  type VideoPresentation,
  type VideoStream,
  videoFormat,
} from "./pipeline/stream-format.ts";
export {
  type ElementFactory,
  type ParsedPipeline,
  type Properties,
  type PropertyKind,
  type PropertySpec,
  parsePipeline,
  type Word,
} from "./pipeline/text.ts";
export type { QueueLimits } from "./pools/common/timed-queue.ts";
export {
  type ItemTimes,
  type QueueTrigger,
  TimedQueue,
  type TimedQueueOptions,
  type TriggerCondition,
} from "./pools/common/timed-queue.ts";
