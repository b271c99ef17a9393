/**
 * Core Media's front door: memory pools, block buffers and queues in their own words, over the core's page pool, memories, rings and timed
 * queue. docs/doors/coremedia.md goes function by function.
 *
 * ```ts
 * const pool = CMMemoryPoolCreate({ [kCMMemoryPoolOption_AgeOutPeriod]: 1 }); // seconds
 * const allocator = CMMemoryPoolGetAllocator(pool);
 * const packet = CMBlockBufferCreateWithMemoryBlock(null, null, 65_536, allocator, null, 0, 65_536, kCMBlockBufferAssureMemoryNowFlag);
 * const { dataPointer } = CMBlockBufferGetDataPointer(packet, 0);
 * CFRelease(packet);                                                          // kept a second for the next
 * ```
 */

export type { CMBlockBufferCustomBlockSource, CMMemoryBlock } from "./coremedia/block.ts";
export {
  CMBlockBuffer,
  CMBlockBufferAccessDataBytes,
  CMBlockBufferAppendBufferReference,
  CMBlockBufferAppendMemoryBlock,
  CMBlockBufferAssureBlockMemory,
  CMBlockBufferCopyDataBytes,
  CMBlockBufferCreateContiguous,
  CMBlockBufferCreateEmpty,
  CMBlockBufferCreateWithBufferReference,
  CMBlockBufferCreateWithMemoryBlock,
  type CMBlockBufferDataPointer,
  CMBlockBufferFillDataBytes,
  CMBlockBufferGetDataLength,
  CMBlockBufferGetDataPointer,
  CMBlockBufferGetTypeID,
  CMBlockBufferIsEmpty,
  CMBlockBufferIsRangeContiguous,
  CMBlockBufferReplaceDataBytes,
} from "./coremedia/block-buffer.ts";
export {
  kCMBlockBufferAlwaysCopyDataFlag,
  kCMBlockBufferAssureMemoryNowFlag,
  kCMBlockBufferBadCustomBlockSourceErr,
  kCMBlockBufferBadLengthParameterErr,
  kCMBlockBufferBadOffsetParameterErr,
  kCMBlockBufferBadPointerParameterErr,
  kCMBlockBufferBlockAllocationFailedErr,
  kCMBlockBufferCustomBlockSourceVersion,
  kCMBlockBufferDontOptimizeDepthFlag,
  kCMBlockBufferEmptyBBufErr,
  kCMBlockBufferPermitEmptyReferenceFlag,
  kCMBlockBufferStructureAllocationFailedErr,
  kCMBlockBufferUnallocatedBlockErr,
} from "./coremedia/block-buffer-codes.ts";
export { CFGetRetainCount, CFGetTypeID, CFRelease, CFRetain, CFType, type CFTypeRef } from "./coremedia/cf-type.ts";
export {
  type CFAllocator,
  CFAllocatorAllocate,
  CFAllocatorDeallocate,
  CFAllocatorGetPreferredSizeForSize,
  CFAllocatorReallocate,
  CMMemoryPool,
  CMMemoryPoolCreate,
  CMMemoryPoolError,
  CMMemoryPoolFlush,
  CMMemoryPoolGetAllocator,
  CMMemoryPoolGetTypeID,
  CMMemoryPoolInvalidate,
  kCFAllocatorDefault,
  kCFAllocatorNull,
  kCMMemoryPoolError_AllocationFailed,
  kCMMemoryPoolError_InvalidParameter,
  kCMMemoryPoolOption_AgeOutPeriod,
} from "./coremedia/memory-pool.ts";
export {
  CMSimpleQueue,
  CMSimpleQueueAttach,
  CMSimpleQueueCreate,
  CMSimpleQueueDequeue,
  CMSimpleQueueEnqueue,
  CMSimpleQueueGetCapacity,
  CMSimpleQueueGetCount,
  CMSimpleQueueGetFullness,
  CMSimpleQueueGetHead,
  CMSimpleQueueGetTypeID,
  type CMSimpleQueueHandle,
  CMSimpleQueueReset,
  kCMSimpleQueueError_AllocationFailed,
  kCMSimpleQueueError_ParameterOutOfRange,
  kCMSimpleQueueError_QueueIsFull,
  kCMSimpleQueueError_RequiredParameterMissing,
} from "./coremedia/simple-queue.ts";
export { DoorError } from "./door-error.ts";
