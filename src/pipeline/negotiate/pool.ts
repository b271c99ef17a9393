/**
 * decideAllocation: which pool a pad's buffers come from. Downstream has answered the query; the pool that is there,
 * the offered pools in order, and a new pool are tried in that order, and the decision says why each one won or lost.
 * After GStreamer's decide_allocation, with a sum that GStreamer does not make: count = what all stages downstream
 * retain + what this one retains + the one being filled.
 *
 * Invariant: the pad keeps the pool that it has until another one is open, and a refusal changes nothing of the pad.
 */
import { allocators } from "../../allocators/registry.ts";
import { type Allocator, defaultAllocator } from "../../memory/allocator.ts";
import { DEFAULT_PARAMS, type ResolvedParams } from "../../memory/params.ts";
import { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import type { ActualPoolConfig, BufferPoolConfig } from "../../pools/buffer/config.ts";
import type { Clock } from "../../util/clock.ts";
import { isMillpondError, MillpondError } from "../../util/errors.ts";
import { formatText, memoryOfFormat, type StreamFormat, SYSTEM_MEMORY } from "../stream-format.ts";
import type { AllocationQuery, MetaProposal, PoolProposal, RetainedPart } from "./allocation-query.ts";

/** How one pad's supply was settled. Plain data. */
export interface Decision {
  /** The pad that decided. */
  readonly pad: string;
  /** What flows. */
  readonly format: StreamFormat;
  /** Name of the pool. */
  readonly pool: string;
  /** Bytes of each buffer. */
  readonly size: number;
  /** Buffers. */
  readonly count: number;
  /** How the count adds up. */
  readonly parts: readonly RetainedPart[];
  /** Alignment, prefix and padding. */
  readonly params: ResolvedParams;
  /** Name of the allocator. */
  readonly allocator: string;
  /** Metas that the stages downstream understand. */
  readonly metas: readonly MetaProposal[];
  /** Every candidate. */
  readonly candidates: readonly CandidateResult[];
  /** What was changed or dropped while the question was under way. */
  readonly notes: readonly string[];
  /** 1 for the first time, 2 after the first change, and so on. */
  readonly round: number;
}

interface Requirements {
  readonly pad: DecidingPad;
  readonly size: number;
  readonly count: number;
  readonly params: ResolvedParams;
  readonly query: AllocationQuery;
  readonly results: CandidateResult[];
}

/** What a decision needs of the run: a `Running`, which is above this folder. */
interface RunningPools {
  readonly clock: Clock;
  watch(pool: BufferPool): void;
  overBudget(bytes: number, pad: DecidingPad): string | undefined;
  decided(decision: Decision): void;
}

/** What a decision needs of the pad that it is for: an `OutputPad`, which is above this folder. */
interface DecidingPad {
  pool: BufferPool | null;
  decision: Decision | null;
  readonly element: { readonly name: string; readonly running: RunningPools };
}

/**
 * @internal Settles the pad's pool by a query that downstream has answered; see {@link OutputPad.negotiate}.
 *   O(proposals), and the making of a pool. Throws `ERR_NOT_NEGOTIATED`; the pad keeps its pool then.
 */
export function decideAllocation(pad: DecidingPad, query: AllocationQuery, running: RunningPools): void {
  const size = Math.max(query.formatSize, ...query.pools.map((entry) => entry.size));
  if (size === 0)
    throw new MillpondError(
      "ERR_NOT_NEGOTIATED",
      `${pad}: the size of a buffer is not known: neither the source nor a stage behind it gives one`,
    );
  const params = query.params[0]?.params ?? DEFAULT_PARAMS;
  const required: Requirements = { pad, size, count: query.retained + 1, params, query, results: [] };
  const over = running.overBudget(size * required.count, pad);
  if (over !== undefined) throw refusedError(required, over);

  const before = pad.pool;
  const pool = keepPool(required) ?? offeredPool(required) ?? ownPool(required);
  pad.pool = pool;
  pad.decision = record(required, pool, (pad.decision?.round ?? 0) + 1);
  writeBack(required, pool);
  running.watch(pool);
  running.decided(pad.decision);
  // The new one is open before the old one closes; buffers of the old one go back to it when they are released.
  if (before !== null && before !== pool) dropPool(before, pad);
}

/** Who has a pool that a stage offered, and how it was found. */
interface Taking {
  readonly pad: DecidingPad;
  readonly wasActive: boolean;
}

/** For all pipelines: each of two that run at the same time may be offered the same pool. */
const takings: WeakMap<BufferPool, Taking> = new WeakMap();

/** How the application configured a pool: what is in force, and what it asked for. */
interface OwnConfig {
  readonly inForce: ActualPoolConfig;
  readonly asked: ActualPoolConfig;
}

/** A configuration that a run made, and what it stands in the place of; null: the pool had none. */
interface Replacement {
  readonly made: ActualPoolConfig;
  readonly own: OwnConfig | null;
}

const replacements: WeakMap<BufferPool, Replacement> = new WeakMap();

/** The application's, also while the one of a run is in force. */
function ownConfig(pool: BufferPool): OwnConfig | null {
  const { config } = pool;
  const replacement = replacements.get(pool);
  if (replacement !== undefined && replacement.made === config) return replacement.own;
  return config === null ? null : { inForce: config, asked: pool.askedConfig! };
}

/**
 * Puts the application's configuration back, once no lease of the run is out any more; unless somebody else has the
 * pool by then.
 */
function restoreConfig(pool: BufferPool): void {
  const replacement = replacements.get(pool);
  const own = replacement?.own ?? null;
  if (own === null || replacement!.made !== pool.config || pool.isActive || takings.has(pool)) return;
  if (pool.outstanding === 0) pool.configure(configOfActual(own.asked, own.asked.requestedSize));
  // Whatever ends the drain otherwise is the application's own doing.
  else
    pool
      .drained()
      .then(() => restoreConfig(pool))
      .catch(() => {});
}

/** @internal Ends a pad's own pool with its last buffer, and leaves one that a stage offered as it was found. */
export function dropPool(pool: BufferPool, pad: DecidingPad): void {
  if (pool instanceof OwnPool) {
    pool.retire();
    return;
  }
  // It is nothing to what a stage, or another run, does later.
  if (pad.pool === pool) pad.pool = null;
  const taking = takings.get(pool);
  if (taking?.pad !== pad) return;
  takings.delete(pool);
  if (!taking.wasActive) {
    pool.deactivate();
    restoreConfig(pool);
  } else if (pool.isActive && pool.isFlushing) pool.setFlushing(false);
}

/** A pool that a pipeline made for a pad, and therefore retires. */
class OwnPool extends BufferPool {}

function keepPool(required: Requirements): BufferPool | undefined {
  const { pool } = required.pad;
  const config = pool?.config;
  if (!(pool instanceof OwnPool) || config === null || config === undefined || !pool.isActive) return undefined;
  // An offer may have come that was not there before; it gets its chance first.
  if (required.query.pools.some((entry) => entry.pool !== null)) return undefined;
  const allocator = findAllocator(required)?.allocator ?? defaultAllocator();
  const same = config.size === required.size && config.max === required.count && config.allocator === allocator;
  const { align, prefix, padding } = config.params;
  const { params } = required;
  if (!same || align !== params.align || prefix !== params.prefix || padding !== params.padding) return undefined;
  noteResult(
    required,
    required.pad.element.name,
    "the pool that is there",
    true,
    "size, count and alignment are the same",
  );
  return pool;
}

/** The first offered pool that can do it. */
function offeredPool(required: Requirements): BufferPool | undefined {
  const { pad, query } = required;
  const candidates = query.pools.flatMap((entry): Candidate<BufferPool>[] => {
    const { pool, by } = entry;
    if (pool === null) return [];
    const take = (): BufferPool => {
      const before = takings.get(pool);
      if (before !== undefined && before.pad !== pad)
        throw new Error(`${before.pad} has it, and two producers could starve each other`);
      const taking = before ?? { pad, wasActive: pool.isActive };
      // Before anything is done to it: what activates may be code of the application's.
      takings.set(pool, taking);
      let bad: string | undefined = "it cannot be asked";
      try {
        bad = tryPool(required, entry, taking);
      } finally {
        if (bad !== undefined && before === undefined) {
          takings.delete(pool);
          restoreConfig(pool);
        }
      }
      if (bad === undefined) return pool;
      throw new Error(bad);
    };
    const why = "it can do what is needed, and who consumes knows best where bytes should lie";
    return [{ by, what: `pool "${pool.name}"`, why, take }];
  });
  const { selected, results } = selectFirst(candidates);
  required.results.push(...results);
  return selected;
}

/** Configures and opens an offered pool; why not, or undefined. */
function tryPool(required: Requirements, entry: PoolProposal, { wasActive }: Taking): string | undefined {
  const pool = entry.pool!;
  const { pad, size, count } = required;
  const over = pad.element.running.overBudget(size * (count + pool.spareBuffers), pad);
  if (over !== undefined) return over;
  if (entry.max > 0 && entry.max < required.count)
    return `it can have ${entry.max} buffers, and ${required.count} are needed`;
  // The application configured it, and goes on with it after the run.
  if (pool.isActive && (wasActive || pool !== pad.pool)) {
    const short = shortfall(required, pool.config!);
    if (short !== undefined || pool === pad.pool) return short;
    if (pool.isFlushing) return "it is being flushed";
    return inUse(pool);
  }
  if (!pool.isActive) {
    if (wasActive) return "it was deactivated meanwhile";
    // A lease of a run before, or of another pipeline: its slot would be missing.
    const why = inUse(pool);
    if (why !== undefined) return why;
  }
  try {
    const own = ownConfig(pool);
    configure(pool, required, own);
    replacements.set(pool, { made: pool.config!, own });
    const short = shortfall(required, pool.config!);
    if (short !== undefined) return short;
    pool.activate();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function inUse({ outstanding }: BufferPool): string | undefined {
  return outstanding > 0 ? `it is in use: ${outstanding} buffers are out` : undefined;
}

/** As required; or, when the pool can only do something near it, that, if it serves. */
function configure(pool: BufferPool, required: Requirements, own: OwnConfig | null): void {
  const wanted = configOf(required);
  try {
    pool.configure(own === null ? wanted : withOwn(wanted, own.inForce));
  } catch (error) {
    if (!isMillpondError(error, "ERR_CONFIG_ADJUSTED")) throw error;
    const near = error.details?.config as ActualPoolConfig;
    const short = shortfall(required, near);
    if (short !== undefined) throw new Error(short, { cause: error });
    pool.configure(configOfActual(near, near.size));
  }
}

/** What the application said of its pool stays, but for how many buffers of how many bytes there are. */
function withOwn(wanted: BufferPoolConfig, own: ActualPoolConfig): BufferPoolConfig {
  const { align = 0, prefix = 0, padding = 0, flags = 0 } = wanted;
  const { params } = own;
  return {
    ...wanted,
    align: Math.max(align, params.align),
    prefix: Math.max(prefix, params.prefix),
    padding: Math.max(padding, params.padding),
    flags: flags | params.flags,
    // Its own bytes are what a pool is offered for; a stated allocator is for pools that are made here.
    allocator: own.allocator,
    options: own.options,
    zero: own.zero,
    ...revokeOf(own),
  };
}

function configOfActual(config: ActualPoolConfig, size: number): BufferPoolConfig {
  const { min, max, maxBytes, params, allocator, format, options, roundSize, zero } = config;
  const rest = { min, max, maxBytes, allocator, format, options, roundSize, zero };
  return { ...params, ...rest, size, ...revokeOf(config) };
}

/** True is a demand; without one it is for the debug level to say. */
function revokeOf({ revoke, mustRevoke }: ActualPoolConfig): { revoke?: boolean } {
  return mustRevoke || !revoke ? { revoke } : {};
}

/** What a configuration lacks, or undefined. */
function shortfall(required: Requirements, config: ActualPoolConfig): string | undefined {
  const memory = memoryOfFormat(required.query.format!);
  const lack = memory === SYSTEM_MEMORY ? undefined : config.allocator.lacks(memory);
  if (lack !== undefined) return `${memory} is needed: ${lack}`;
  if (config.size < required.size) return `its buffers have ${config.size} bytes, and ${required.size} are needed`;
  if (config.max < required.count) return `it can have ${config.max} buffers, and ${required.count} are needed`;
  if (config.params.align < required.params.align) {
    return `it aligns to ${config.params.align} bytes, and ${required.params.align} are needed`;
  }
  return undefined;
}

function ownPool(required: Requirements): BufferPool {
  const { pad, query } = required;
  const pool = new OwnPool({ name: String(pad), clock: pad.element.running.clock });
  const asked = findAllocator(required);
  const from = asked?.allocator ?? null;
  const special = memoryOfFormat(query.format!) !== SYSTEM_MEMORY;
  try {
    pool.configure({ ...configOf(required), ...(from !== null && { allocator: from }) });
    pool.activate();
    const why = from === null ? "nothing better was offered" : `with the allocator that ${asked!.by} asked for`;
    noteResult(required, pad.element.name, "a pool of its own", true, why);
    return pool;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (from === null || special) throw refusedError(required, message, error);
    noteResult(required, asked!.by, `allocator "${from.name}"`, false, message);
  }
  try {
    pool.configure(configOf(required));
    pool.activate();
    noteResult(
      required,
      pad.element.name,
      "a pool of its own",
      true,
      "with the default allocator, since the one asked for failed",
    );
    return pool;
  } catch (error) {
    throw refusedError(required, error instanceof Error ? error.message : String(error), error);
  }
}

/** Allocators that this library has for a caps feature, by their names in the registry. */
const MAKERS: Readonly<Record<string, string>> = { "memory:DMABuf": "dmabuf" };

/**
 * Where a pool that is made here takes its bytes from: what was asked for first, as long as the format does not want a
 * special kind of memory; else the first that has it. Undefined: the default. Throws `ERR_NOT_NEGOTIATED` when nothing
 * has it.
 */
function findAllocator(
  required: Requirements,
): { readonly by: string; readonly allocator: Allocator | null } | undefined {
  const { params, format } = required.query;
  const memory = memoryOfFormat(format!);
  if (memory === SYSTEM_MEMORY) return params[0];
  const lacks: string[] = [];
  const own = allocators.find(MAKERS[memory] ?? memory);
  for (const entry of [...params, { by: "the registry", allocator: own ?? null }]) {
    if (entry.allocator === null) continue;
    const lack = entry.allocator.lacks(memory);
    if (lack === undefined) return entry;
    lacks.push(`allocator "${entry.allocator.name}": ${lack}`);
  }
  const tried = lacks.length === 0 ? "no stage offers an allocator that makes it" : lacks.join("; ");
  throw refusedError(required, `no memory is ${memory} here (${tried}); offer a pool or an allocator that makes it`);
}

function configOf(required: Requirements): BufferPoolConfig {
  const { size, count, params, query } = required;
  // All of them now, so that a run does not run out of memory in its middle. Fresh pages cost nothing until
  // touched.
  return { ...params, size, min: count, max: count, format: query.format };
}

function noteResult(required: Requirements, by: string, what: string, won: boolean, why: string): void {
  required.results.push({ by, what, won, why });
}

function record(required: Requirements, pool: BufferPool, round: number): Decision {
  const { pad, query, results } = required;
  const config = pool.config!;
  const filled: RetainedPart = { by: pad.element.name, count: 1, why: "being filled" };
  return {
    pad: String(pad),
    format: query.format!,
    pool: pool.name,
    size: config.size,
    count: config.max,
    parts: [filled, ...query.parts],
    params: config.params,
    allocator: config.allocator.name,
    metas: query.metas.slice(),
    candidates: results,
    notes: query.notes.slice(),
    round,
  };
}

/**
 * What was settled stands in slot 0 afterwards, with the numbers that are in force (GStreamer leaves the ones asked
 * for).
 */
function writeBack(required: Requirements, pool: BufferPool): void {
  const { query } = required;
  const { size, max, params, allocator } = pool.config!;
  const offer = { pool, size, min: max, max };
  if (query.pools.length === 0) query.addPool(offer);
  else query.setPool(0, offer);
  if (query.params.length === 0) query.addParams(allocator, params);
  else query.setParams(0, allocator, params);
}

function refusedError(required: Requirements, why: string, cause?: unknown): MillpondError {
  const { pad, count, size, query, results } = required;
  const sum = [`1 being filled`, ...query.parts.map((part) => `${part.count} with ${part.by} (${part.why})`)].join(
    " + ",
  );
  return new MillpondError(
    "ERR_NOT_NEGOTIATED",
    `${pad} cannot get its ${count} buffers of ${size} bytes for ${formatText(query.format)} (${sum}): ${why}`,
    { pad: String(pad), count, size, parts: query.parts, candidates: results },
    cause === undefined ? undefined : { cause },
  );
}

/*
 * The core of every negotiation: candidates are tried in order, the first one that serves wins, and each learns why it
 * won or lost. It is synchronous and does not know what the candidates are: pools for a pad, allocators for a
 * DirectShow pin.
 */

/** One way in which buffers could have come, and what became of it. */
export interface CandidateResult {
  /** Who offered it. */
  readonly by: string;
  /** What it is. */
  readonly what: string;
  /** Whether it was taken. */
  readonly won: boolean;
  /** Why. */
  readonly why: string;
}

/** One way in which buffers could come. */
export interface Candidate<T> {
  /** Who offers it. */
  readonly by: string;
  /** What it is, in words. */
  readonly what: string;
  /** Why it is taken when it serves. */
  readonly why: string;
  /** Makes it ready. Throws why it does not serve; what it has begun, it has undone then. */
  take(): T;
}

/** What {@link selectFirst} found. */
interface Selection<T> {
  /** What won; undefined when nothing served. */
  readonly selected: T | undefined;
  /** Every candidate, in order. */
  readonly results: readonly CandidateResult[];
  /** What the last candidate that was tried threw. */
  readonly error: unknown;
}

/** Tries candidates in order; those behind the winner are not tried. O(candidates). */
export function selectFirst<T>(candidates: readonly Candidate<T>[]): Selection<T> {
  const results: CandidateResult[] = [];
  let chosen: { readonly value: T } | undefined;
  let error: unknown;
  for (const { by, what, why, take } of candidates) {
    if (chosen !== undefined) {
      results.push({ by, what, won: false, why: "an earlier one was taken" });
      continue;
    }
    try {
      chosen = { value: take() };
      results.push({ by, what, won: true, why });
    } catch (thrown) {
      error = thrown;
      results.push({ by, what, won: false, why: thrown instanceof Error ? thrown.message : String(thrown) });
    }
  }
  return { selected: chosen?.value, results, error };
}
