/** GStreamer's flags and codes, as the introspected bindings name them. */
import { CopyFlags, BufferFlags as CoreBufferFlags } from "../../media/buffer/flags.ts";
import { MetaFlags as CoreMetaFlags } from "../../media/meta/meta.ts";
import { MemoryFlags as CoreMemoryFlags } from "../../memory/params.ts";

/** How memory is mapped. */
export const MapFlags = {
  /** For reading. */
  READ: 1,
  /** For writing; does not imply reading. */
  WRITE: 2,
  /** The map holds a reference of its own. */
  REF_MEMORY: 4,
} as const;

/** How memory is locked. */
export const LockFlags = {
  /** For reading. */
  READ: 1,
  /** For writing. */
  WRITE: 2,
  /** One owner more. */
  EXCLUSIVE: 4,
} as const;

const { READONLY, NO_SHARE, ZERO_PREFIXED, ZERO_PADDED, PHYSICALLY_CONTIGUOUS, NOT_MAPPABLE } = CoreMemoryFlags;

/** Flags of a memory. */
export const MemoryFlags: {
  readonly READONLY: number;
  readonly NO_SHARE: number;
  readonly ZERO_PREFIXED: number;
  readonly ZERO_PADDED: number;
  readonly PHYSICALLY_CONTIGUOUS: number;
  readonly NOT_MAPPABLE: number;
} = { READONLY, NO_SHARE, ZERO_PREFIXED, ZERO_PADDED, PHYSICALLY_CONTIGUOUS, NOT_MAPPABLE };

/** How a step of streaming ended. */
export const FlowReturn = {
  /** Well. */
  OK: 0,
  /** The pad or pool is flushing. */
  FLUSHING: -2,
  /** The end; from a pool: nothing free and DONTWAIT. */
  EOS: -3,
  /** No agreement. */
  NOT_NEGOTIATED: -4,
  /** An error. */
  ERROR: -5,
  /** Not supported. */
  NOT_SUPPORTED: -6,
} as const;

/** A {@link FlowReturn} code. */
export type FlowReturn = (typeof FlowReturn)[keyof typeof FlowReturn];

/** Flags of a buffer: the core's, and TAG_MEMORY, which shows that the list of memories was changed. */
export const BufferFlags: typeof CoreBufferFlags & { readonly TAG_MEMORY: number } = {
  ...CoreBufferFlags,
  TAG_MEMORY: 16384,
};

const { FLAGS, TIMESTAMPS, META, MEMORY, MERGE, DEEP } = CopyFlags;

/** What a copy takes along. */
export const BufferCopyFlags: {
  readonly FLAGS: number;
  readonly TIMESTAMPS: number;
  readonly META: number;
  readonly MEMORY: number;
  readonly MERGE: number;
  readonly DEEP: number;
} = { FLAGS, TIMESTAMPS, META, MEMORY, MERGE, DEEP };

/** Flags of a meta instance. */
export const MetaFlags: { readonly READONLY: number; readonly POOLED: number; readonly LOCKED: number } = {
  READONLY: CoreMetaFlags.READONLY,
  POOLED: CoreMetaFlags.POOLED,
  LOCKED: CoreMetaFlags.LOCKED,
};

/** How a buffer is acquired. */
export const BufferPoolAcquireFlags = {
  /** A hint. */
  KEY_UNIT: 1,
  /** Answer EOS instead of waiting. */
  DONTWAIT: 2,
  /** A hint. */
  DISCONT: 4,
} as const;

/** No time. */
export const CLOCK_TIME_NONE: bigint = 2n ** 64n - 1n;

/** The core's undefined as CLOCK_TIME_NONE. */
export function timeOut(time: bigint | undefined): bigint {
  return time ?? CLOCK_TIME_NONE;
}
