/**
 * What a BufferPool is asked to hold, checked and completed. Plain data: a pool keeps a frozen copy, callers never
 * share an object with it.
 */

import { type Allocator, Allocator as AllocatorClass, defaultAllocator } from "../../memory/allocator.ts";
import { type MemoryFlags, type ResolvedParams, resolveParams } from "../../memory/params.ts";
import { alignUp } from "../../util/align.ts";
import { debugLevel } from "../../util/debug.ts";
import { frozenData, sameData } from "../../util/same-data.ts";
import {
  badValue,
  bound,
  flag,
  isMade,
  listOf,
  oneOf,
  outOfRange,
  readOptions,
  wholeNumber,
  wrongType,
  yesOrNo,
} from "../../util/validate.ts";

/**
 * When bytes are zeroed: never; when a block is new (which the system does for free); at every acquire; at every
 * release (so that the next holder, perhaps another process, cannot read them).
 */
export type ZeroPolicy = "never" | "fresh" | "acquire" | "release";

/** What {@link BufferPool.configure} takes. */
export interface BufferPoolConfig {
  /** Valid bytes of each buffer, without prefix and padding. */
  size: number;
  /** The most buffers that exist at a time; `Infinity` only when another bound holds. */
  max: number;
  /** Buffers that activation makes; default 0. */
  min?: number;
  /** The most bytes that exist at a time, those of one buffer at least; default `Infinity`. */
  maxBytes?: number;
  /** Alignment in bytes, a power of two; default 8. */
  align?: number;
  /** Private bytes in front of each buffer; default 0. */
  prefix?: number;
  /** Private bytes behind each buffer; default 0. */
  padding?: number;
  /** {@link MemoryFlags} of the memories. */
  flags?: MemoryFlags;
  /** Where the bytes come from; default: the default allocator. */
  allocator?: Allocator;
  /** What the bytes mean, as the stages agreed; plain data, not looked into. */
  format?: unknown;
  /** Options that a subclass understands; the base pool knows none, keeps them, and ignores them. */
  options?: readonly string[];
  /**
   * Give rounding slack to the buffer: `size + prefix` becomes a multiple of `align` (DirectShow's rule); default
   * false.
   */
  roundSize?: boolean;
  /** When bytes are zeroed; default "fresh". */
  zero?: ZeroPolicy;
  /**
   * Revoke the views that were handed out, at the last release; see docs/buffer-pool.md for its price. True is a
   * demand: memory that cannot be revoked fails activation. Default: false, and in debug levels wherever the memory
   * allows it.
   */
  revoke?: boolean;
}

/** A configuration with every default filled in; frozen. `size` is the actual one, after rounding. */
export interface ActualPoolConfig {
  /** Valid bytes of each buffer. */
  readonly size: number;
  /** Valid bytes that were asked for, before rounding. */
  readonly requestedSize: number;
  /** The most buffers. */
  readonly max: number;
  /** Buffers that activation makes. */
  readonly min: number;
  /** The most bytes. */
  readonly maxBytes: number;
  /** How each memory is allocated. */
  readonly params: ResolvedParams;
  /** Where the bytes come from. */
  readonly allocator: Allocator;
  /** What the bytes mean. */
  readonly format: unknown;
  /** Options for a subclass. */
  readonly options: readonly string[];
  /** Whether the size was rounded. */
  readonly roundSize: boolean;
  /** When bytes are zeroed. */
  readonly zero: ZeroPolicy;
  /** Whether views are revoked at the last release. */
  readonly revoke: boolean;
  /** Whether memory that cannot be revoked is refused. */
  readonly mustRevoke: boolean;
}

/** The keys of a {@link BufferPoolConfig} beside the allocation's. */
const POOL_KEYS = [
  "size",
  "max",
  "min",
  "maxBytes",
  "allocator",
  "format",
  "options",
  "roundSize",
  "zero",
  "revoke",
] as const;

/** What a BufferPool can be configured with. */
export const CONFIG_KEYS: readonly (keyof BufferPoolConfig)[] = [...POOL_KEYS, "align", "prefix", "padding", "flags"];

const ZERO_POLICIES: readonly ZeroPolicy[] = ["never", "fresh", "acquire", "release"];

/**
 * Checks and completes a configuration, which messages call `name`; the argument is not touched.
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` (align, zero) or `ERR_OUT_OF_RANGE`.
 */
export function resolveConfig(config: BufferPoolConfig, name = "config"): ActualPoolConfig {
  if (config === undefined) throw wrongType(name, "a plain object", config);
  // Each is read once, inherited ones too: a getter may answer otherwise the second time.
  const given = readOptions(name, config, CONFIG_KEYS);
  const params = resolveParams(given, name, POOL_KEYS);
  const requestedSize = wholeNumber(`${name}.size`, given.size);
  const max = bound(`${name}.max`, given.max);
  const min = given.min === undefined ? 0 : wholeNumber(`${name}.min`, given.min);
  const maxBytes = given.maxBytes === undefined ? Infinity : bound(`${name}.maxBytes`, given.maxBytes);
  const { allocator = defaultAllocator() } = given;
  const options = given.options === undefined ? [] : listOf(`${name}.options`, "a list of strings", given.options);
  const roundSize = flag(`${name}.roundSize`, given.roundSize, false);
  const revoke = flag(`${name}.revoke`, given.revoke, debugLevel() > 0);
  const stride = wholeNumber(`${name}.size + ${name}.prefix`, alignUp(requestedSize + params.prefix, params.align));
  const size = roundSize && requestedSize > 0 ? stride - params.prefix : requestedSize;
  const resolved: ActualPoolConfig = {
    size,
    requestedSize,
    max,
    min,
    maxBytes,
    params: Object.freeze({ ...params }),
    allocator,
    format: frozenData(`${name}.format`, given.format),
    options: Object.freeze(options),
    roundSize,
    zero: given.zero === undefined ? "fresh" : oneOf(`${name}.zero`, given.zero, ZERO_POLICIES),
    revoke,
    mustRevoke: given.revoke === true,
  };
  assertConsistent(resolved, name);
  return Object.freeze(resolved);
}

const ACTUAL_KEYS = [
  "size",
  "requestedSize",
  "max",
  "min",
  "maxBytes",
  "params",
  "allocator",
  "format",
  "options",
  "roundSize",
  "zero",
  "revoke",
  "mustRevoke",
] as const;

/**
 * Checks the configuration that an `adjust()` hook made of the `wanted` one, and keeps a frozen copy of it. Throws as
 * {@link resolveConfig}.
 */
export function checkAdjusted(answer: ActualPoolConfig, wanted: ActualPoolConfig): ActualPoolConfig {
  if (answer === wanted) return wanted;
  const name = "adjust()'s config";
  if (answer === undefined) throw wrongType(name, "the configuration, or a changed copy of it", answer);
  const given = readOptions(name, answer, ACTUAL_KEYS);
  const params = resolveParams(given.params, `${name}.params`);
  const config: ActualPoolConfig = {
    size: wholeNumber(`${name}.size`, given.size),
    requestedSize: wholeNumber(`${name}.requestedSize`, given.requestedSize),
    max: bound(`${name}.max`, given.max),
    min: wholeNumber(`${name}.min`, given.min),
    maxBytes: bound(`${name}.maxBytes`, given.maxBytes),
    params: Object.freeze({ ...params }),
    allocator: given.allocator,
    format: given.format === wanted.format ? given.format : frozenData(`${name}.format`, given.format),
    options: Object.freeze(listOf(`${name}.options`, "a list of strings", given.options)),
    roundSize: yesOrNo(`${name}.roundSize`, given.roundSize),
    zero: oneOf(`${name}.zero`, given.zero, ZERO_POLICIES),
    revoke: yesOrNo(`${name}.revoke`, given.revoke),
    mustRevoke: yesOrNo(`${name}.mustRevoke`, given.mustRevoke),
  };
  assertConsistent(config, name);
  if (config.mustRevoke && !config.revoke) throw badValue(`${name}.revoke`, "true, as mustRevoke says", false);
  return Object.freeze(config);
}

/** Throws when the fields of a configuration contradict one another. */
function assertConsistent(config: ActualPoolConfig, name: string): void {
  const { allocator, options, min, max, maxBytes } = config;
  if (!isMade(AllocatorClass, allocator, "name")) throw wrongType(`${name}.allocator`, "an Allocator", allocator);
  if (!options.every((option) => typeof option === "string")) {
    throw wrongType(`${name}.options`, "a list of strings", options);
  }
  if (min > max) throw outOfRange(`${name}.min`, `at most ${name}.max, ${max}`, min);
  const perBuffer = wholeNumber(`${name}.size + prefix + padding`, bytesPerBuffer(config));
  // A pool that can never hold one buffer would let every acquire wait without end.
  const fewest = Math.max(min, max > 0 && config.requestedSize > 0 ? 1 : 0);
  if (fewest > 0 && fewest * perBuffer > maxBytes) {
    const buffers = fewest === 1 ? "a buffer" : `${fewest} buffers`;
    const least = `at least ${fewest * perBuffer}, for ${buffers} of ${perBuffer} bytes`;
    throw outOfRange(`${name}.maxBytes`, least, maxBytes);
  }
}

/** Bytes that one buffer takes from the allocator, as far as the configuration can tell. */
export function bytesPerBuffer(config: ActualPoolConfig): number {
  return config.params.prefix + config.size + config.params.padding;
}

/** True when two configurations ask for the same; formats are compared deeply. */
export function sameConfig(a: ActualPoolConfig, b: ActualPoolConfig): boolean {
  return (
    a.requestedSize === b.requestedSize &&
    a.max === b.max &&
    a.min === b.min &&
    a.maxBytes === b.maxBytes &&
    a.allocator === b.allocator &&
    a.roundSize === b.roundSize &&
    a.zero === b.zero &&
    a.revoke === b.revoke &&
    sameData(a.params, b.params) &&
    sameData(a.options, b.options) &&
    sameData(a.format, b.format)
  );
}
