/**
 * GStreamer's front door: memory, allocators, buffers, metas and pools with the names of the introspected bindings,
 * over millpond's core. Preconditions throw MillpondError; expected failures return as the bindings return them. What
 * the core decides otherwise is in docs/differences.md.
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
export {
  AudioBufferPool,
  BUFFER_POOL_OPTION_AUDIO_META,
  BUFFER_POOL_OPTION_VIDEO_ALIGNMENT,
  BUFFER_POOL_OPTION_VIDEO_META,
  buffer_pool_config_get_video_alignment,
  buffer_pool_config_set_video_alignment,
  VideoAlignment,
  VideoBufferPool,
} from "./gstreamer/media-pools.ts";
export {
  AllocationParams,
  Allocator,
  dmabuf_memory_get_fd,
  is_dmabuf_memory,
  MapInfo,
  Memory,
  UdmabufAllocator,
} from "./gstreamer/memory.ts";
export { Meta, MetaHandle, type MetaHooks, MetaInfo, type MetaInstance } from "./gstreamer/meta.ts";
export { Query } from "./gstreamer/query.ts";
export { lastError } from "./gstreamer/words.ts";
