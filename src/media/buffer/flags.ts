/** Flags of buffers and of copies, after GStreamer's; bit values are ours. */

/** Bit flags of a buffer. */
export const BufferFlags = {
  /** No flag. */
  NONE: 0,
  /** From a live source. */
  LIVE: 1,
  /** Decode it, do not show it. */
  DECODE_ONLY: 2,
  /** The stream is not continuous before this buffer. */
  DISCONT: 4,
  /** Times may be off; resynchronise. */
  RESYNC: 8,
  /** The data is damaged. */
  CORRUPTED: 16,
  /** Media-specific marker (RTP marker bit, end of frame). */
  MARKER: 32,
  /** Header data. */
  HEADER: 64,
  /** Filler: silence, a repeated picture. */
  GAP: 128,
  /** May be dropped without harm to others. */
  DROPPABLE: 256,
  /** Not decodable on its own. */
  DELTA_UNIT: 512,
  /** Synchronize to storage after it. */
  SYNC_AFTER: 1024,
  /** Must not be dropped. */
  NON_DROPPABLE: 2048,
  /** The first bit that is free for an application's own flags. */
  FIRST_CUSTOM: 65536,
} as const;

/** A combination of {@link BufferFlags}. */
export type BufferFlags = number;

/** What a copy takes along. */
export const CopyFlags = {
  /** Nothing. */
  NONE: 0,
  /** {@link BufferFlags}. */
  FLAGS: 1,
  /** Times and counters; what a partial copy keeps of them depends on where it begins. */
  TIMESTAMPS: 2,
  /** Metas, by their transform. */
  META: 4,
  /** The memories, shared. */
  MEMORY: 8,
  /** Afterwards merge all memories of the target into one. */
  MERGE: 16,
  /** Copy bytes instead of sharing memories. */
  DEEP: 32,
  /** What {@link MediaBuffer.copy} takes: flags, timestamps, metas, memories. */
  ALL: 15,
} as const;

/** A combination of {@link CopyFlags}. */
export type CopyFlags = number;
