/** millpond/observe: look at the pools of this realm while they run. Looking changes nothing. */
export type {
  DiscardMessage,
  LeakMessage,
  PoolIdentity,
  PoolMessage,
  StarvedMessage,
  WaitMessage,
} from "./observe/channels.ts";
export type { PoolCounts, PoolHolder, PoolKind, PoolMember, PoolPhase } from "./observe/pool-info.ts";
export { type PoolInfo, pools } from "./observe/pools.ts";
export {
  type RecordedEvent,
  type RecordedPool,
  type RecordedType,
  Recorder,
  type Recording,
  type RecordOptions,
  record,
} from "./observe/recorder.ts";
export type { RecordedSpan, SpanType } from "./observe/spans.ts";
export { type Trace, type TraceEvent, type TraceExtra, traceOf } from "./observe/trace.ts";
