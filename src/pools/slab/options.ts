/** What a SlabPool is made from, checked, and what it tells about itself. */
import type { Allocator } from "../../memory/allocator.ts";
import { replacedDefault } from "../../memory/default.ts";
import { type Clock, checkClock, systemClock } from "../../util/clock.ts";
import {
  badValue,
  callback,
  flag,
  milliseconds,
  readOptions,
  text,
  wholeNumber,
  withMethods,
  wrongType,
} from "../../util/validate.ts";
import { computeLayout, DEFAULT_BLOCK_SIZE, type SlabLayout } from "./blocks.ts";
import type { Struct, StructFields } from "./struct.ts";

/** How a {@link SlabPool} is made. */
export interface SlabPoolOptions<S extends StructFields = Record<never, never>> {
  /** Bytes of an element; 0 is allowed, pointers are distinct all the same. This or `struct`. */
  elementSize?: number;
  /** The layout of an element (see {@link struct}), in place of its size; {@link SlabPool.at} then moves a cursor. */
  struct?: Struct<S>;
  /** Bytes of a block; default 4096. */
  blockSize?: number;
  /**
   * What elements' addresses are multiples of, a power of two up to 4096; costs the stride's rounding. Default: as
   * libcork lays them out, which keeps a struct's natural alignment, and none for other odd sizes.
   */
  align?: number;
  /**
   * Where blocks come from, one memory a block; default: the default allocator where it was replaced, else an
   * ArrayBuffer a block.
   */
  source?: Allocator;
  /** The most blocks; default: as many as pointers fit into 31 bits. */
  maxBlocks?: number;
  /**
   * The most bytes in blocks: another way to say {@link maxBlocks}; with both, the lower bound counts. Default: no such
   * bound.
   */
  maxBytes?: number;
  /** Milliseconds after which an empty block goes back; default `Infinity`: never before {@link SlabPool.close}. */
  ageOut?: number;
  /**
   * Whether a timer looks for old blocks, twice an age, while there are blocks; it keeps neither the process nor the
   * pool alive. Default: on with an `ageOut`, where the platform has timers. Without it {@link SlabPool.maintain} has
   * to be called.
   */
  timer?: boolean;
  /** Called once for each slot when its block is carved. It may use elements, not alloc, free or close. */
  init?: (pointer: number) => void;
  /** Called once for each slot when its block goes: at {@link SlabPool.close}, or by age. As `init`. */
  destroy?: (pointer: number) => void;
  /**
   * Whether pointers carry a generation, so that a stale one is refused also when its element was handed out again.
   * They are then whole numbers up to 2^53 instead of small integers; an alloc and its free take three times as long.
   * Default false.
   */
  generations?: boolean;
  /** For messages; default "slab". */
  name?: string;
  /**
   * Remembers where each element was taken, for {@link SlabPool.close} to tell (some microseconds an alloc). Default
   * false.
   */
  trace?: boolean;
  /** Time; default: the platform's. */
  clock?: Clock;
}

/** A snapshot of a pool's counters. */
export interface SlabPoolStats {
  /** Elements handed out. */
  readonly live: number;
  /** Elements that can be handed out without carving. */
  readonly free: number;
  /** Slots whose `init` threw. */
  readonly failed: number;
  /** Blocks that exist. */
  readonly blocks: number;
  /** Blocks carved since the beginning. */
  readonly carved: number;
  /** Bytes of the blocks that exist. */
  readonly bytes: number;
  /** Of those, bytes in no element: links, headers, tails. */
  readonly wastedBytes: number;
  /** Elements a block. */
  readonly capacity: number;
}

/** An element that is handed out, as {@link SlabPool.holders} lists it. */
export interface SlabHolder {
  /** Its pointer. */
  readonly pointer: number;
  /** The stack at `alloc()`, innermost frame first; undefined without `trace`. */
  readonly site: string | undefined;
}

/** Elements that were live when a pool was closed. */
export interface LeakReport {
  /** How many. */
  readonly live: number;
  /** Their pointers, lowest first; the first thousand. */
  readonly pointers: readonly number[];
  /**
   * Where they were taken (the stack at `alloc()`, innermost frame first), most frequent first; empty without `trace`.
   */
  readonly sites: readonly { readonly site: string; readonly count: number }[];
}

/** {@link SlabPoolOptions} with every default filled in. */
interface ResolvedSlabOptions<S extends StructFields> {
  /** The geometry. */
  readonly layout: SlabLayout;
  /** The fields of an element. */
  readonly struct: Struct<S> | undefined;
  /** Where blocks come from; undefined: each is an ArrayBuffer. */
  readonly source: Allocator | undefined;
  /** The most blocks. */
  readonly maxBlocks: number;
  /** Milliseconds; Infinity: never. */
  readonly ageOut: number;
  /** Whether a timer looks for old blocks. */
  readonly timed: boolean;
  /** Whether sites are noted. */
  readonly trace: boolean;
  /** Whether pointers carry a generation. */
  readonly generations: boolean;
  /** The hook at carving. */
  readonly init: ((pointer: number) => void) | undefined;
  /** The hook when a block goes. */
  readonly destroy: ((pointer: number) => void) | undefined;
  /** For messages. */
  readonly name: string;
  /** Time. */
  readonly clock: Clock;
}

const OPTION_KEYS: readonly (keyof SlabPoolOptions)[] = [
  "elementSize",
  "struct",
  "blockSize",
  "align",
  "source",
  "maxBlocks",
  "maxBytes",
  "ageOut",
  "timer",
  "init",
  "destroy",
  "generations",
  "name",
  "trace",
  "clock",
];

/**
 * Checks everything and fills in the defaults. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`,
 * `ERR_OUT_OF_RANGE`.
 */
export function resolveOptions<S extends StructFields>(options: SlabPoolOptions<S>): ResolvedSlabOptions<S> {
  if (options === undefined) throw wrongType("options", "a plain object", options);
  const given = readOptions("options", options, OPTION_KEYS);
  const { source = replacedDefault(), struct } = given;
  const clock = checkClock("options.clock", given.clock);
  if (source !== undefined) withMethods("options.source", "an Allocator", source, ["allocate"]);
  const name = text("options.name", given.name, "slab");
  const init = callback("options.init", given.init);
  const destroy = callback("options.destroy", given.destroy);
  const blockSize = given.blockSize === undefined ? DEFAULT_BLOCK_SIZE : given.blockSize;
  const layout = computeLayout(elementSizeOf(given), blockSize, given.align);
  const maxBlocks = boundOf(given, layout);
  const ageOut = milliseconds("options.ageOut", given.ageOut === undefined ? Number.POSITIVE_INFINITY : given.ageOut);
  const timed = flag("options.timer", given.timer, hasTimers(clock)) && ageOut < Number.POSITIVE_INFINITY;
  const trace = flag("options.trace", given.trace, false);
  const generations = flag("options.generations", given.generations, false);
  return { layout, struct, source, maxBlocks, ageOut, timed, trace, generations, init, destroy, name, clock };
}

function elementSizeOf<S extends StructFields>({ struct, elementSize }: SlabPoolOptions<S>): number {
  if (struct === undefined) {
    if (elementSize !== undefined) return elementSize;
    throw wrongType("options.elementSize", "a number, or options.struct a layout", elementSize);
  }
  if (typeof struct?.cursor !== "function") throw wrongType("options.struct", "a layout that struct() made", struct);
  if (elementSize !== undefined) throw badValue("options.elementSize", "absent where a struct is given", elementSize);
  return struct.size;
}

/** The most blocks by both bounds. */
function boundOf({ maxBlocks, maxBytes }: { maxBlocks?: number; maxBytes?: number }, layout: SlabLayout): number {
  const isUnbounded = (bound: number | undefined): boolean => bound === undefined || bound === Number.POSITIVE_INFINITY;
  const blocks = isUnbounded(maxBlocks)
    ? layout.maxBlocks
    : wholeNumber("options.maxBlocks", maxBlocks, 0, layout.maxBlocks);
  if (isUnbounded(maxBytes)) return blocks;
  return Math.min(blocks, Math.floor(wholeNumber("options.maxBytes", maxBytes) / layout.blockSize));
}

/** An AudioWorklet has no timers; a clock of one's own has. */
function hasTimers(clock: Clock): boolean {
  return clock !== systemClock || typeof setTimeout === "function";
}
