/** What a PagePool is asked for, checked and completed, and what it tells about itself. */
import {
  type Allocator,
  Allocator as AllocatorClass,
  type AllocatorStats,
  defaultAllocator,
} from "../../memory/allocator.ts";
import type { Memory } from "../../memory/memory.ts";
import { Wipe } from "../../memory/region.ts";
import { pageSize } from "../../os/pages.ts";
import { type Clock, checkClock } from "../../util/clock.ts";
import { debugLevel } from "../../util/debug.ts";
import { callerOf } from "../../util/stack.ts";
import {
  bound,
  flag,
  isMade,
  milliseconds,
  oneOf,
  powerOfTwo,
  readOptions,
  text,
  wholeNumber,
  wrongType,
} from "../../util/validate.ts";
import type { ZeroPolicy } from "../buffer/config.ts";
import type { Holders, PoolWords } from "../common/lease-errors.ts";
import type { PageBlock } from "./page-cache.ts";

/** How urgently the machine wants memory back. */
export type PressureLevel = "low" | "medium" | "high";

/** How a {@link PagePool} is made. */
export interface PagePoolOptions {
  /** For messages and reports; default "pages". */
  name?: string;
  /**
   * Milliseconds that a freed block is kept for the next request; 0: not at all, `Infinity`: without end. Default 500,
   * Core Media's half second.
   */
  ageOut?: number;
  /**
   * "cliff" (default, Core Media's rule): each block goes when its own time is over. "smooth" (jemalloc's decay): bytes
   * freed together go along a curve over the period, so that nothing is dropped all at once.
   */
  curve?: "cliff" | "smooth";
  /** Where pages come from and go to; default: the default allocator. */
  source?: Allocator;
  /** The most bytes that exist at a time, idle and leased; default `Infinity`. */
  maxBytes?: number;
  /** The most blocks that exist at a time, idle and leased; default `Infinity`. */
  max?: number;
  /** Idle blocks that age never takes, the last freed ones; default 0. */
  min?: number;
  /** When bytes are zeroed; default "fresh". */
  zero?: ZeroPolicy;
  /**
   * Revoke the views that were handed out when a block is released; default: false, true in debug levels where it can
   * be done.
   */
  revoke?: boolean;
  /** Remember where each block was taken (about 4 us an allocation); default false. */
  trace?: boolean;
  /**
   * Let a background timer empty an idle pool too; it never keeps the process alive. Default true. Without it the age
   * is looked at inside allocate and release only (Apple's rule), and each of them reads the clock.
   */
  timer?: boolean;
  /** Bytes in a page, a power of two from 512; default: the machine's. */
  pageSize?: number;
  /** Time and timers; default: the platform's. */
  clock?: Clock;
}

/** {@link PagePoolOptions} with every default filled in; frozen. */
export interface PageConfig {
  /** For messages. */
  readonly name: string;
  /** Milliseconds a freed block is kept. */
  readonly ageOut: number;
  /** How idle bytes go. */
  readonly curve: "cliff" | "smooth";
  /** Where pages come from. */
  readonly source: Allocator;
  /** The bound in bytes. */
  readonly maxBytes: number;
  /** The bound in blocks. */
  readonly max: number;
  /** Idle blocks that age never takes. */
  readonly min: number;
  /** When bytes are zeroed. */
  readonly zero: ZeroPolicy;
  /** Whether views are revoked at the end of a lease. */
  readonly revoke: boolean;
  /** What the end of a lease demands of its bytes: {@link Wipe} bits. */
  readonly wipe: number;
  /** Whether a block that cannot be revoked is refused. */
  readonly mustRevoke: boolean;
  /** Whether leases remember where they were made. */
  readonly trace: boolean;
  /** Whether a timer empties an idle pool. */
  readonly timer: boolean;
  /** Bytes in a page. */
  readonly pageSize: number;
  /** Time and timers. */
  readonly clock: Clock;
}

/** One lease of a PagePool. */
export interface PageHolder {
  /** The memory's number, as in messages. */
  readonly memory: number;
  /** Valid bytes. */
  readonly size: number;
  /** Bytes of the block. */
  readonly bytes: number;
  /** Milliseconds since it was taken, read coarsely. */
  readonly age: number;
  /** Where it was taken, when tracing is on. */
  readonly site: string | undefined;
}

/** A snapshot of a PagePool's counters. */
export interface PagePoolStats extends AllocatorStats {
  /** The pool's name. */
  readonly name: string;
  /** Blocks kept for the next request. */
  readonly idle: number;
  /** Their bytes. */
  readonly idleBytes: number;
  /** Blocks leased. */
  readonly live: number;
  /** Of the bytes leased, those that rounding to pages added. */
  readonly wastedBytes: number;
  /** Blocks that exist, and their bytes. */
  readonly count: number;
  /** Bytes that exist. */
  readonly bytes: number;
  /** Allocations that an idle block served. */
  readonly hits: number;
  /** Allocations that took fresh pages. */
  readonly misses: number;
  /** Blocks that went because of their age. */
  readonly agedOut: number;
  /** Blocks that went to make room for another size within the bounds. */
  readonly evicted: number;
  /** Blocks that came back without their bytes. */
  readonly detached: number;
  /** Who waits now. */
  readonly waiting: number;
}

const ZERO_POLICIES: readonly ZeroPolicy[] = ["never", "fresh", "acquire", "release"];

/** 512 bytes: the smallest unit that any device is addressed in; smaller blocks belong into a SlabPool. */
const MIN_PAGE = 512;

/** 2 MiB, a huge page. */
const MAX_PAGE = 2 ** 21;

const OPTION_KEYS: readonly (keyof PagePoolOptions)[] = [
  "name",
  "ageOut",
  "curve",
  "source",
  "maxBytes",
  "max",
  "min",
  "zero",
  "revoke",
  "trace",
  "timer",
  "pageSize",
  "clock",
];

/** Checks and completes the options. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`. */
export function resolvePageOptions(options: PagePoolOptions): PageConfig {
  const given = readOptions("options", options, OPTION_KEYS);
  const { source = defaultAllocator(), pageSize: page = pageSize(), ageOut = 500 } = given;
  const { curve = "cliff", min = 0, zero = "fresh", max = Infinity, maxBytes = Infinity } = given;
  const clock = checkClock("options.clock", given.clock);
  if (!isMade(AllocatorClass, source, "name")) throw wrongType("options.source", "an Allocator", source);
  if (powerOfTwo("options.pageSize", page, MAX_PAGE) < MIN_PAGE) wholeNumber("options.pageSize", page, MIN_PAGE);
  const revoke = flag("options.revoke", given.revoke, debugLevel() > 0);
  return Object.freeze({
    name: text("options.name", given.name, "pages"),
    source,
    clock,
    pageSize: page,
    ageOut: milliseconds("options.ageOut", ageOut),
    curve: oneOf("options.curve", curve, ["cliff", "smooth"]),
    maxBytes: bound("options.maxBytes", maxBytes),
    max: bound("options.max", max),
    min: wholeNumber("options.min", min),
    zero: oneOf("options.zero", zero, ZERO_POLICIES),
    wipe: (zero === "release" ? Wipe.ZERO : 0) | (revoke ? Wipe.REVOKE : 0),
    revoke,
    mustRevoke: given.revoke === true,
    trace: flag("options.trace", given.trace, false),
    timer: flag("options.timer", given.timer, true),
  });
}

/** What messages call a pool and its leases. */
export function pageWords({ name }: PageConfig): PoolWords {
  return { kind: "page pool", name, unit: "block" };
}

/** The lease of a block, for reports. */
export function holderOf(block: PageBlock, lease: Memory, now: number): PageHolder {
  return {
    memory: lease.id,
    size: lease.size,
    bytes: block.cls.bytes,
    age: Math.max(0, now - block.stamp),
    site: block.site === undefined ? undefined : callerOf(block.site),
  };
}

/** Holders, as messages show them. */
export function pageHolders(list: readonly PageHolder[]): Holders<PageHolder> {
  return { list, show: ({ memory, size, age, site }) => ({ lease: `memory #${memory} (${size} bytes)`, age, site }) };
}
