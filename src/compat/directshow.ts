/**
 * DirectShow's front door: the allocator and its samples with their own names and codes, over BufferPool and
 * MediaBuffer. Ported code and ported tests run with the names they were written in; what differs is in
 * docs/differences.md.
 */
export {
  type ALLOCATOR_PROPERTIES,
  type IMemAllocator,
  type IMemAllocatorNotifyCallbackTemp,
  MemAllocator,
} from "./directshow/allocator.ts";
export {
  AM_GBF_NODDSURFACELOCK,
  AM_GBF_NOTASYNCPOINT,
  AM_GBF_NOWAIT,
  AM_GBF_PREVFRAMESKIPPED,
  DirectShowError,
  type FailureName,
  HRESULTS,
  HResultError,
  type HResultName,
  SampleFlags,
} from "./directshow/codes.ts";
export { type InPlaceOptions, TransInPlaceFilter } from "./directshow/in-place.ts";
export {
  BaseInputPin,
  BaseOutputPin,
  type IMemInputPin,
  type InputPinOptions,
  type OutputPinOptions,
} from "./directshow/pins.ts";
export { type IMediaSample, MediaSample, type SampleProperties } from "./directshow/sample.ts";
export { IID, type InterfaceName, type IUnknown } from "./directshow/unknown.ts";
