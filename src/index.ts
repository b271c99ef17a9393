/**
 * millpond: pooled memory for media. Bytes are allocated once, handed out, handed back and handed out again, and nobody
 * can touch bytes that are no longer theirs. This entry point is isomorphic: Node 20+, Deno, Bun, browsers, workers.
 */
export { allocators } from "./allocators/registry.ts";
export { SharedAllocator } from "./allocators/shared.ts";
export { WasmAllocator, type WasmAllocatorOptions } from "./allocators/wasm.ts";
export { type StagingBuffer, type StagingDevice, WebGpuAllocator } from "./allocators/webgpu.ts";
export { SizeClassArena, type SizeClassStats } from "./arena/size-classes.ts";
export {
  type ArenaBlock,
  type ArenaOptions,
  type ArenaSource,
  type ArenaStats,
  TlsfArena,
  type WorstCase,
} from "./arena/tlsf.ts";
export { AudioInfo, type AudioInfoOptions, type AudioPlane, type AudioSampleFormat } from "./media/audio-info.ts";
export { MediaBufferList } from "./media/buffer-array.ts";
export type { FoundRange } from "./media/buffer-list.ts";
export type { BufferSizes } from "./media/buffer-resize.ts";
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
} from "./media/common-metas.ts";
export { BufferFlags, CopyFlags } from "./media/flags.ts";
export { AudioMeta, type AudioMetaFields, VideoMeta, type VideoMetaFields } from "./media/layout-metas.ts";
export { type BufferAllocation, MediaBuffer } from "./media/media-buffer.ts";
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
} from "./media/meta.ts";
export {
  deserializeMeta,
  deserializeMetas,
  type ReadMeta,
  serializeMeta,
  serializeMetas,
} from "./media/meta-serialize.ts";
export { findVideoFormat, type PlaneFormat, type VideoFormat, videoFormatNames } from "./media/video-format.ts";
export {
  type PlaneInfo,
  type PlanePlacement,
  VideoInfo,
  type VideoInfoOptions,
  type VideoPixelFormat,
} from "./media/video-info.ts";
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
export { type Clock, FakeClock, systemClock, type TimerHandle } from "./observe/clock.ts";
export { setDebugLevel } from "./observe/debug.ts";
export {
  type DoorCode,
  ERROR_CODES,
  type ErrorCode,
  type ErrorDetails,
  isMillpondError,
  MillpondError,
} from "./observe/errors.ts";
export { pageSize } from "./os/page-size.ts";
export { type AcquireOptions, BufferPool, type BufferPoolOptions } from "./pools/buffer-pool.ts";
export { Lane, type LaneOptions, type LanePort } from "./pools/lane.ts";
export type { ConnectOptions, LaneTarget } from "./pools/lane-connect.ts";
export { type LaneSource, type LeasePoolOptions, leasePool, receiveLane } from "./pools/lane-receive.ts";
export type { Delivery, LeasePool } from "./pools/lease-pool.ts";
export { LeaseRing, type RingSide } from "./pools/lease-ring.ts";
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
} from "./pools/page-pool.ts";
export type { ActualPoolConfig, BufferPoolConfig, ZeroPolicy } from "./pools/pool-config.ts";
export type { BufferPoolEvents, BufferPoolStats, DiscardReason, Holder, StarvedEvent } from "./pools/pool-report.ts";
export {
  type GrowPolicy,
  type LockPolicy,
  type RealtimeBlock,
  RealtimePool,
  type RealtimePoolOptions,
  type RealtimePoolStats,
} from "./pools/realtime-pool.ts";
export { RealtimeFlags, realtimePreference, setRealtimePreference } from "./pools/realtime-preference.ts";
export { limitSharedArenas, sharedArenas } from "./pools/shared-arena.ts";
export { SharedBufferPool, type SharedBufferPoolOptions } from "./pools/shared-buffer-pool.ts";
export type {
  AttachOptions,
  SharedHandle,
  SharedOwnerStats,
  SharedPoolOptions,
  SharedPoolStats,
  Slot,
} from "./pools/shared-handle.ts";
export { SharedPool } from "./pools/shared-pool.ts";
export { HandleRing } from "./pools/shared-ring.ts";
export { atomicsWaiter, type Futex, type SharedWaiter, slicedWaiter } from "./pools/shared-wait.ts";
export {
  type SlabLeftovers,
  SlabPool,
  type SlabPoolOptions,
  type SlabPoolStats,
  type SlabSite,
} from "./pools/slab-pool.ts";
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
} from "./pools/struct.ts";
export { TransferPool, type TransferPoolOptions } from "./pools/transfer-pool.ts";
export type { WaitOptions } from "./pools/waiters.ts";
