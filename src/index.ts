/**
 * millpond: pooled memory for media. Bytes are allocated once, handed out, handed back and handed out again, and nobody
 * can touch bytes that are no longer theirs. This entry point is isomorphic: Node 20+, Deno, Bun, browsers, workers.
 */
export { allocators } from "./allocators/registry.ts";
export { SharedAllocator } from "./allocators/shared.ts";
export { WasmAllocator, type WasmAllocatorOptions } from "./allocators/wasm.ts";
export { AudioInfo, type AudioInfoOptions, type AudioPlane, type AudioSampleFormat } from "./media/audio/info.ts";
export { BufferFlags, CopyFlags } from "./media/buffer/flags.ts";
export { MediaBuffer } from "./media/buffer/media-buffer.ts";
export { MediaBufferList } from "./media/buffer/media-buffer-list.ts";
export { findVideoFormat, type PlaneFormat, type VideoFormat, videoFormatNames } from "./media/video/format.ts";
export {
  type PlaneInfo,
  type PlanePlacement,
  VideoInfo,
  type VideoInfoOptions,
  type VideoPadding,
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
export { type MapMode, Mapping, Memory } from "./memory/memory.ts";
export { type AllocationParams, MemoryFlags, type ResolvedParams } from "./memory/params.ts";
export { opaqueRegion, Region } from "./memory/region.ts";
export { type AcquireOptions, BufferPool, type BufferPoolOptions } from "./pools/buffer/buffer-pool.ts";
export type { ActualPoolConfig, BufferPoolConfig, ZeroPolicy } from "./pools/buffer/config.ts";
export type { BufferPoolEvents, BufferPoolStats, DiscardReason, Holder } from "./pools/buffer/stats.ts";
export type { WaitOptions } from "./pools/common/wait-queue.ts";
export {
  type PageHolder,
  PagePool,
  type PagePoolEvents,
  type PagePoolOptions,
  type PagePoolStats,
  type PressureLevel,
} from "./pools/page/page-pool.ts";
export { RealtimeFlags, realtimePreference, setRealtimePreference } from "./pools/realtime/preference.ts";
export {
  type LockPolicy,
  type RealtimeHolder,
  RealtimePool,
  type RealtimePoolOptions,
  type RealtimePoolStats,
} from "./pools/realtime/realtime-pool.ts";
export {
  type LeakReport,
  type SlabHolder,
  SlabPool,
  type SlabPoolOptions,
  type SlabPoolStats,
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
export type { Clock, TimerHandle } from "./util/clock.ts";
export { setDebugLevel } from "./util/debug.ts";
export {
  type DoorCode,
  ERROR_CODES,
  type ErrorCode,
  type ErrorDetails,
  isMillpondError,
  MillpondError,
} from "./util/errors.ts";
