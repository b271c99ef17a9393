/** The numbers of CMBlockBuffer and CMBufferQueue. */

/** `status`: the structure could not be allocated; also for a pool's allocator as structure allocator. */
export const kCMBlockBufferStructureAllocationFailedErr = -12700;
/** `status`: the block could not be allocated. */
export const kCMBlockBufferBlockAllocationFailedErr = -12701;
/** `status`: the custom block source is of another version, or has not what is needed. */
export const kCMBlockBufferBadCustomBlockSourceErr = -12702;
/** `status`: an offset is outside the bytes that there are. */
export const kCMBlockBufferBadOffsetParameterErr = -12703;
/** `status`: a length is 0 where it must not be, or larger than what there is. */
export const kCMBlockBufferBadLengthParameterErr = -12704;
/** `status`: something is not what was due in its place: a buffer, a block, an allocator. */
export const kCMBlockBufferBadPointerParameterErr = -12705;
/** `status`: the buffer is empty. */
export const kCMBlockBufferEmptyBBufErr = -12706;
/** `status`: a block is promised and not allocated yet. */
export const kCMBlockBufferUnallocatedBlockErr = -12707;

/** Flag: a block that is promised is allocated at once. */
export const kCMBlockBufferAssureMemoryNowFlag = 1;
/** Flag: {@link CMBlockBufferCreateContiguous} copies also what is contiguous already. */
export const kCMBlockBufferAlwaysCopyDataFlag = 2;
/** Flag: a reference to a buffer that is itself one reference does not go to the buffer behind it. */
export const kCMBlockBufferDontOptimizeDepthFlag = 4;
/** Flag: a reference may go to a buffer that has not all of the bytes yet. */
export const kCMBlockBufferPermitEmptyReferenceFlag = 8;

/** The version of a custom block source. */
export const kCMBlockBufferCustomBlockSourceVersion = 0;

/** `status`: no memory for the queue. */
export const kCMBufferQueueError_AllocationFailed = -12760;
/** `status`: a queue, a buffer or a callback is missing, or is none. */
export const kCMBufferQueueError_RequiredParameterMissing = -12761;
/** `status`: the callbacks are of another version, or one of them is not a function. */
export const kCMBufferQueueError_InvalidCMBufferCallbacksStruct = -12762;
/** `status`: the queue was marked with the end of data. */
export const kCMBufferQueueError_EnqueueAfterEndOfData = -12763;
/** `status`: the queue is full. */
export const kCMBufferQueueError_QueueIsFull = -12764;
/** `status`: the trigger's time or threshold is not a number. */
export const kCMBufferQueueError_BadTriggerDuration = -12765;
/** `status`: a trigger or another callback of the queue tried to change it. */
export const kCMBufferQueueError_CannotModifyQueueFromTriggerCallback = -12766;
/** `status`: there is no such condition, or not with this kind of threshold. */
export const kCMBufferQueueError_InvalidTriggerCondition = -12767;
/** `status`: the token is not of a trigger on this queue. */
export const kCMBufferQueueError_InvalidTriggerToken = -12768;
/** `status`: the buffer was refused, or its times are none. */
export const kCMBufferQueueError_InvalidBuffer = -12769;

/** Condition: the duration becomes less than the time. */
export const kCMBufferQueueTrigger_WhenDurationBecomesLessThan = 1;
/** Condition: the duration becomes less than or equal to the time. */
export const kCMBufferQueueTrigger_WhenDurationBecomesLessThanOrEqualTo = 2;
/** Condition: the duration becomes greater than the time. */
export const kCMBufferQueueTrigger_WhenDurationBecomesGreaterThan = 3;
/** Condition: the duration becomes greater than or equal to the time. */
export const kCMBufferQueueTrigger_WhenDurationBecomesGreaterThanOrEqualTo = 4;
/** Condition: the earliest presentation time changes; the time is ignored. */
export const kCMBufferQueueTrigger_WhenMinPresentationTimeStampChanges = 5;
/** Condition: the latest presentation time changes; the time is ignored. */
export const kCMBufferQueueTrigger_WhenMaxPresentationTimeStampChanges = 6;
/** Condition: the next buffer becomes ready; the time is ignored. */
export const kCMBufferQueueTrigger_WhenDataBecomesReady = 7;
/** Condition: the queue is marked with the end of data, and empty; the time is ignored. */
export const kCMBufferQueueTrigger_WhenEndOfDataReached = 8;
/** Condition: the queue is reset; the time is ignored. */
export const kCMBufferQueueTrigger_WhenReset = 9;
/** Condition: the number of buffers becomes less than the threshold. */
export const kCMBufferQueueTrigger_WhenBufferCountBecomesLessThan = 10;
/** Condition: the number of buffers becomes greater than the threshold. */
export const kCMBufferQueueTrigger_WhenBufferCountBecomesGreaterThan = 11;
