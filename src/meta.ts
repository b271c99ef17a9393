/** millpond/meta: facts that travel with a buffer: the built-in kinds, kinds of your own, and their bytes. */
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
