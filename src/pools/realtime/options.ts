/** What a RealtimePool is made from, and what it tells about itself. */
import { findRegistered } from "../../allocators/registry.ts";
import type { Allocator } from "../../memory/allocator.ts";
import { Allocator as AllocatorClass, defaultAllocator } from "../../memory/allocator.ts";
import { badValue, flag, oneOf, outOfRange, readOptions, text, wholeNumber, wrongType } from "../../util/validate.ts";
import { RealtimeFlags, realtimePreference } from "./preference.ts";

/**
 * Whether the pool's bytes are to stay in RAM: "auto" tries and says whether it worked, "required" fails when it cannot
 * be done, "off" does not try. "preference" does as the user of the machine wants (see {@link realtimePreference}): as
 * "auto" if the ALLOCATOR flag is on when the pool is made; else it does not try, and `lockReason` begins with
 * "disabled".
 */
export type LockPolicy = "auto" | "required" | "off" | "preference";

/** How a {@link RealtimePool} is made. */
export interface RealtimePoolOptions {
  /** Bytes of the largest block that the empty pool gives; smaller blocks cost 8 bytes each beyond the first. */
  totalSize: number;
  /**
   * The ceiling of all areas together in bytes; default `totalSize`: the pool never grows. Growing may reach into
   * virtual memory, so a realtime thread uses `tryAlloc()`, which never does.
   */
  maxBytes?: number;
  /** Bytes of each further area; default `totalSize`. */
  growBy?: number;
  /** For messages, reports and debug patterns: at most 32 bytes of UTF-8; default "realtime pool". */
  name?: string;
  /** Default "auto". */
  lock?: LockPolicy;
  /** Whether every page is touched at creation, so that no first use faults; default true. */
  prefault?: boolean;
  /**
   * Where the bytes come from. Default: "locked" of the registry, which `millpond/native` puts there, unless lock is
   * "off"; else the default allocator. Any that can pin (see PinningAllocator), or that gives locked memory, makes
   * `locked` true.
   */
  source?: Allocator;
}

/** One live block, for reports. */
export interface RealtimeHolder {
  /** Its pointer. */
  readonly pointer: number;
  /** Bytes that it can hold. */
  readonly size: number;
  /** The id of the Memory that it was handed out as; undefined: it was handed out as an integer. */
  readonly memory: number | undefined;
}

/** A snapshot of a RealtimePool's accounts; every figure is exact. */
export interface RealtimePoolStats {
  /** The pool's name. */
  readonly name: string;
  /** Bytes of the largest block that an empty pool gives, over all areas: its ceiling. */
  readonly totalSize: number;
  /** Bytes in live blocks, 8 of header each included. */
  readonly used: number;
  /** Bytes in free blocks, 8 of header each included. */
  readonly available: number;
  /** Bytes of the largest block that can be had now; less than `available` by what is scattered. */
  readonly largest: number;
  /** Live blocks. */
  readonly liveBlocks: number;
  /** The most that `used` has been, area by area. */
  readonly peak: number;
  /** Requests that failed because the pool was full. */
  readonly failures: number;
  /** Areas: 1, unless the pool has grown. */
  readonly areas: number;
  /** Bytes that are locked into RAM. */
  readonly lockedBytes: number;
  /** Bytes whose pages were touched at creation. */
  readonly prefaultedBytes: number;
  /** See MALLOC_DEBUG: 0 off, 1 junk, 2 and more guards and validation. */
  readonly debugLevel: number;
}

/** {@link RealtimePoolOptions} with every default filled in and checked. */
export interface ResolvedRealtimeOptions {
  /** Bytes. */
  readonly totalSize: number;
  /** At most 32 bytes. */
  readonly name: string;
  /** What to do about locking; "disabled": the preference is not to. */
  readonly lock: Exclude<LockPolicy, "preference"> | "disabled";
  /** Whether to touch every page. */
  readonly prefault: boolean;
  /** The ceiling of all areas in bytes. */
  readonly maxBytes: number;
  /** Bytes of a further area. */
  readonly growBy: number;
  /** Where the bytes come from. */
  readonly source: Allocator;
}

/** B_OS_NAME_LENGTH: the longest name that the reference's pools have. */
const MAX_NAME = 32;

/** 2 GiB less a page: block pointers stay in 32 bits whatever an engine's small integers are. */
const MAX_SIZE = 2 ** 31 - 4096;

const OPTION_KEYS: readonly (keyof RealtimePoolOptions)[] = [
  "totalSize",
  "maxBytes",
  "growBy",
  "name",
  "lock",
  "prefault",
  "source",
];

/** Bytes of a string in UTF-8, counted by hand: a worklet has no TextEncoder. */
function utf8Length(text: string): number {
  let bytes = 0;
  for (const character of text) {
    const code = character.codePointAt(0)!;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  return bytes;
}

function lockFor(policy: LockPolicy): ResolvedRealtimeOptions["lock"] {
  oneOf("options.lock", policy, ["auto", "required", "off", "preference"]);
  if (policy !== "preference") return policy;
  return (realtimePreference() & RealtimeFlags.ALLOCATOR) === 0 ? "disabled" : "auto";
}

/**
 * Checks and completes options; `defaultSize` stands in for a missing total size. Throws `ERR_INVALID_ARG_TYPE`,
 * `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`.
 */
export function resolveRealtime(options: Partial<RealtimePoolOptions>, defaultSize?: number): ResolvedRealtimeOptions {
  const given = readOptions("options", options, OPTION_KEYS);
  const { lock: policy = "auto", source: own } = given;
  const totalSize = wholeNumber(
    "options.totalSize",
    given.totalSize === undefined ? defaultSize : given.totalSize,
    1,
    MAX_SIZE,
  );
  const lock = lockFor(policy);
  const locks = lock === "auto" || lock === "required";
  const source = own !== undefined ? own : ((locks ? findRegistered("locked") : undefined) ?? defaultAllocator());
  const name = text("options.name", given.name, "realtime pool");
  if (utf8Length(name) > MAX_NAME) throw outOfRange("options.name", `at most ${MAX_NAME} bytes long`, name);
  const prefault = flag("options.prefault", given.prefault, true);
  if (!(source instanceof AllocatorClass)) throw wrongType("options.source", "an Allocator", source);
  const maxBytes =
    given.maxBytes === undefined ? totalSize : wholeNumber("options.maxBytes", given.maxBytes, totalSize);
  const growBy = given.growBy === undefined ? totalSize : wholeNumber("options.growBy", given.growBy, 1, MAX_SIZE);
  if (given.growBy !== undefined && given.maxBytes === undefined) {
    throw badValue("options.growBy", "absent where maxBytes is: such a pool never grows", growBy);
  }
  return { totalSize, name, lock, prefault, maxBytes, growBy, source };
}
