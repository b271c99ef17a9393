/**
 * GStreamer's front door: memory, allocators, buffers, metas and pools with the names of the introspected bindings, over
 * millpond's core. Preconditions throw MillpondError; expected failures return as the bindings return them. What the core
 * decides otherwise is in docs/differences.md.
 */
export { Buffer } from "./gstreamer/buffer.ts";
export { type AcquireParams, BufferPool, type Caps, type PoolConfig } from "./gstreamer/buffer-pool.ts";
export {
  BufferCopyFlags,
  BufferFlags,
  BufferPoolAcquireFlags,
  CLOCK_TIME_NONE,
  FlowReturn,
  LockFlags,
  MapFlags,
  MemoryFlags,
  MetaFlags,
} from "./gstreamer/constants.ts";
export { AllocationParams, Allocator, MapInfo, Memory } from "./gstreamer/memory.ts";
export { Meta, MetaHandle, type MetaHooks, MetaInfo, type MetaInstance } from "./gstreamer/meta.ts";
export { Query } from "./gstreamer/query.ts";
export { lastError } from "./gstreamer/words.ts";
