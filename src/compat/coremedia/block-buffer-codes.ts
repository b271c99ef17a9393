/** The numbers of CMBlockBuffer. */

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
