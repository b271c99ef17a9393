/**
 * How an allocation is asked for, and what a memory promises. After GStreamer's GstAllocationParams and GstMemoryFlags,
 * with one change: `align` is a power of two in bytes here, not a bit mask (the compat front door translates).
 */
import { checkOptions, powerOfTwo, wholeNumber } from "../util/validate.ts";

/** Bit flags of a memory; combine with `|`. */
export const MemoryFlags = {
  /** No flag. */
  NONE: 0,
  /** The bytes may never be written. Sub-memories of another memory always have it. */
  READONLY: 1,
  /** The memory refuses {@link Memory.share}; buffer copies copy its bytes. */
  NO_SHARE: 2,
  /** The prefix is all zero: asked for at allocation, promised at wrapping, dropped when the prefix grows. */
  ZERO_PREFIXED: 4,
  /** The padding is all zero: asked for at allocation, promised at wrapping, dropped when the end moves back. */
  ZERO_PADDED: 8,
  /** Informational: physically contiguous pages. */
  PHYSICALLY_CONTIGUOUS: 16,
  /** Informational: a plain map will not work without preparation (GPU memory before `mapAsync`). */
  NOT_MAPPABLE: 32,
  /** The first bit that is free for an application's own flags. */
  FIRST_CUSTOM: 65536,
} as const;

/** A combination of {@link MemoryFlags}. */
export type MemoryFlags = number;

/** What a caller may ask of an allocation; everything is optional. */
export interface AllocationParams {
  /**
   * Alignment in bytes, a power of two; default 8. It holds for the payload, or for the slot when `prefix` is given.
   */
  align?: number;
  /** Private bytes in front of the payload, reachable by `resize` with a negative offset; default 0. */
  prefix?: number;
  /** Private bytes behind the payload; default 0. */
  padding?: number;
  /** {@link MemoryFlags}; only ZERO_PREFIXED, ZERO_PADDED and application flags mean something to an allocation. */
  flags?: MemoryFlags;
}

/** {@link AllocationParams} with every default filled in and checked. */
export interface ResolvedParams {
  /** Alignment in bytes, a power of two. */
  readonly align: number;
  /** Bytes in front of the payload. */
  readonly prefix: number;
  /** Bytes behind the payload. */
  readonly padding: number;
  /** {@link MemoryFlags}. */
  readonly flags: MemoryFlags;
}

/**
 * 8 bytes: every typed array and DataView access of a payload that starts on it is aligned, and it is the minimum that
 * GStreamer's system allocator is configured with.
 */
export const DEFAULT_ALIGN = 8;

/**
 * 2 MiB, one huge page: the largest alignment with a use (a larger one would waste more than it gives on every slot).
 */
export const MAX_ALIGN: number = 2 * 1024 * 1024;

/** What an allocation without params gets. */
export const DEFAULT_PARAMS: ResolvedParams = /* @__PURE__ */ Object.freeze({
  align: DEFAULT_ALIGN,
  prefix: 0,
  padding: 0,
  flags: 0,
});

/**
 * Fills in the defaults and checks each field.
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` (align) or `ERR_OUT_OF_RANGE`.
 */
export function resolveParams(
  params: AllocationParams | undefined,
  name = "params",
  others: readonly string[] = [],
): ResolvedParams {
  if (params === undefined) return DEFAULT_PARAMS;
  const { align, prefix, padding, flags } = checkOptions(
    name,
    params,
    others.length === 0 ? KEYS : [...KEYS, ...others],
  );
  return {
    align: align === undefined ? DEFAULT_ALIGN : powerOfTwo(`${name}.align`, align, MAX_ALIGN),
    prefix: prefix === undefined ? 0 : wholeNumber(`${name}.prefix`, prefix),
    padding: padding === undefined ? 0 : wholeNumber(`${name}.padding`, padding),
    flags: flags === undefined ? 0 : wholeNumber(`${name}.flags`, flags, 0, 0x7fffffff),
  };
}

const KEYS = ["align", "prefix", "padding", "flags"] as const;
