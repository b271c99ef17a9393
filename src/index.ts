/**
 * millpond: pooled memory for media. Bytes are allocated once, handed out, handed back and handed out again, and nobody
 * can touch bytes that are no longer theirs. This entry point is isomorphic: Node 20+, Deno, Bun, browsers, workers.
 */
export { allocators } from "./allocators/registry.ts";
export { SharedAllocator } from "./allocators/shared.ts";
export { WasmAllocator, type WasmAllocatorOptions } from "./allocators/wasm.ts";
export { type StagingBuffer, type StagingDevice, WebGpuAllocator } from "./allocators/webgpu.ts";
export { SizeClassArena, type SizeClassStats } from "./arena/size-class/size-class-arena.ts";
export {
  type ArenaBlock,
  type ArenaOptions,
  type ArenaSource,
  type ArenaStats,
  TlsfArena,
  type WorstCase,
} from "./arena/tlsf/tlsf-arena.ts";
export { AudioInfo, type AudioInfoOptions, type AudioPlane, type AudioSampleFormat } from "./media/audio/info.ts";
export { BufferFlags, CopyFlags } from "./media/buffer/flags.ts";
export { type BufferAllocation, MediaBuffer } from "./media/buffer/media-buffer.ts";
export { MediaBufferList } from "./media/buffer/media-buffer-list.ts";
export type { FoundRange } from "./media/buffer/memory-list.ts";
export type { BufferSizes } from "./media/buffer/resize.ts";
export {
  addCustomMeta,
  type CustomMeta,
  type CustomTransform,
  findReferenceTimestamp,
  type ParentBuffer,
  ParentBufferMeta,
  type ReferenceTimestamp,
  ReferenceTimestampMeta,
  type RegionOfInterest,
  RegionOfInterestMeta,
  registerCustomMeta,
} from "./media/meta/built-in.ts";
export { AudioMeta, type AudioMetaFields, VideoMeta, type VideoMetaFields } from "./media/meta/layout-metas.ts";
export {
  type CopyTransform,
  compareMetaAge,
  findMetaType,
  Meta,
  MetaFlags,
  type MetaSpec,
  MetaType,
  registerMeta,
  TAG_MEMORY,
  TAG_MEMORY_REFERENCE,
} from "./media/meta/meta.ts";
export {
  deserializeMeta,
  deserializeMetas,
  type ReadMeta,
  serializeMeta,
  serializeMetas,
} from "./media/meta/serialize.ts";
export { findVideoFormat, type PlaneFormat, type VideoFormat, videoFormatNames } from "./media/video/format.ts";
export {
  type PlaneInfo,
  type PlanePlacement,
  VideoInfo,
  type VideoInfoOptions,
  type VideoPixelFormat,
} from "./media/video/info.ts";
export {
  Allocator,
  AllocatorFlags,
  type AllocatorOptions,
  type AllocatorStats,
  SystemAllocator,
  type WrapOptions,
  wrapMemory,
} from "./memory/allocator.ts";
export { type LockReport, lockReportOf, reportLock } from "./memory/lock-report.ts";
export { type MapMode, Mapping } from "./memory/mapping.ts";
export { Memory } from "./memory/memory.ts";
export { type AllocationParams, MemoryFlags, type ResolvedParams } from "./memory/params.ts";
export type { PinningAllocator, StepResult } from "./memory/pinning.ts";
export { opaqueRegion, Region } from "./memory/region.ts";
export { pageSize } from "./os/page-size.ts";
export { type AcquireOptions, BufferPool, type BufferPoolOptions } from "./pools/buffer/buffer-pool.ts";
export type { ActualPoolConfig, BufferPoolConfig, ZeroPolicy } from "./pools/buffer/config.ts";
export type { BufferPoolEvents, BufferPoolStats, DiscardReason, Holder, StarvedEvent } from "./pools/buffer/stats.ts";
export type { WaitOptions } from "./pools/common/wait-queue.ts";
export type { ConnectOptions, LaneTarget } from "./pools/lane/connect.ts";
export { Lane, type LaneOptions, type LanePort } from "./pools/lane/lane.ts";
export type { Delivery, LeasePool } from "./pools/lane/lease-pool.ts";
export { type LaneSource, type LeasePoolOptions, leasePool, receiveLane } from "./pools/lane/receive.ts";
export { TransferPool, type TransferPoolOptions } from "./pools/lane/transfer-pool.ts";
export {
  type AgeCurve,
  type PageHolder,
  PagePool,
  type PagePoolEvents,
  type PagePoolOptions,
  type PagePoolStats,
  type PageRequest,
  type PressureLevel,
  type ThresholdRequest,
} from "./pools/page/page-pool.ts";
export { RealtimeFlags, realtimePreference, setRealtimePreference } from "./pools/realtime/preference.ts";
export {
  type GrowPolicy,
  type LockPolicy,
  type RealtimeBlock,
  RealtimePool,
  type RealtimePoolOptions,
  type RealtimePoolStats,
} from "./pools/realtime/realtime-pool.ts";
export type {
  AttachOptions,
  SharedHandle,
  SharedMemberStats,
  SharedPoolOptions,
  SharedPoolStats,
  Slot,
} from "./pools/shared/handle.ts";
export { LeaseRing, type RingSide } from "./pools/shared/lease-ring.ts";
export { limitSharedMemory, sharedMemoryBudget } from "./pools/shared/memory-budget.ts";
export { SpscRing } from "./pools/shared/ring.ts";
export { SharedBufferPool, type SharedBufferPoolOptions } from "./pools/shared/shared-buffer-pool.ts";
export { SharedPool } from "./pools/shared/shared-pool.ts";
export { atomicsWaiter, type Futex, type SharedWaiter, slicedWaiter } from "./pools/shared/wait.ts";
export {
  type LeakReport,
  SlabPool,
  type SlabPoolOptions,
  type SlabPoolStats,
  type SlabSite,
} from "./pools/slab/slab-pool.ts";
export {
  type BytesField,
  bytes,
  type Cursor,
  type ElementSource,
  type FieldType,
  type FieldValue,
  type Struct,
  type StructFields,
  struct,
} from "./pools/slab/struct.ts";
export { type Clock, FakeClock, systemClock, type TimerHandle } from "./util/clock.ts";
export { setDebugLevel } from "./util/debug.ts";
export {
  type DoorCode,
  ERROR_CODES,
  type ErrorCode,
  type ErrorDetails,
  isMillpondError,
  MillpondError,
} from "./util/errors.ts";
