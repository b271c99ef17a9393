/**
 * Where a deciding pad's buffers come from. It asks downstream, then tries what was offered in order, then makes a pool of
 * its own, and writes down why each one won or lost. After GStreamer's decide_allocation, with the sum that nobody else
 * makes: count = what all stages downstream hold + what this one keeps + the one being filled.
 */
import { allocators } from "../../allocators/registry.ts";
import { type Allocator, defaultAllocator } from "../../memory/allocator.ts";
import { DEFAULT_PARAMS, type ResolvedParams } from "../../memory/params.ts";
import { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import type { ActualPoolConfig, BufferPoolConfig } from "../../pools/buffer/config.ts";
import { isMillpondError, MillpondError } from "../../util/errors.ts";
import type { Running } from "../base/element.ts";
import type { OutputPad } from "../base/pad.ts";
import { formatText, memoryOfFormat, type StreamFormat, SYSTEM_MEMORY } from "../stream-format.ts";
import { AllocationQuery, type HeldPart, type MetaProposal, type PoolProposal } from "./allocation-query.ts";
import { type Candidate, chooseFirst, type Verdict } from "./select.ts";

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
  readonly parts: readonly HeldPart[];
  /** Alignment, prefix and padding. */
  readonly params: ResolvedParams;
  /** Name of the allocator. */
  readonly allocator: string;
  /** Metas that the stages downstream understand. */
  readonly metas: readonly MetaProposal[];
  /** Every candidate. */
  readonly verdicts: readonly Verdict[];
  /** What was changed or dropped while the question was under way. */
  readonly notes: readonly string[];
  /** 1 for the first time, 2 after the first change, and so on. */
  readonly round: number;
}

interface Wish {
  readonly pad: OutputPad;
  readonly size: number;
  readonly count: number;
  readonly params: ResolvedParams;
  readonly query: AllocationQuery;
  readonly verdicts: Verdict[];
}

/** @internal Settles the pad's pool; see {@link OutputPad.negotiate}. */
export async function settleSupply(
  pad: OutputPad,
  format: StreamFormat,
  running: Running,
  retained: number,
): Promise<void> {
  const { element } = pad;
  const query = new AllocationQuery(format, { readOnly: element.sharesOutput(pad) });
  // No answer is no error: it means that nobody downstream has a wish.
  if (!(await pad.query(query))) query.clear();
  query.answering = element.name;
  element.decideAllocation(query, pad);
  query.raise(retained, "retained");

  const size = Math.max(query.formatSize, ...query.pools.map((entry) => entry.size));
  if (size === 0)
    throw new MillpondError(
      "ERR_NOT_NEGOTIATED",
      `${pad}: the size of a buffer is not known: neither the source nor a stage behind it gives one`,
    );
  const params = query.params[0]?.params ?? DEFAULT_PARAMS;
  const wish: Wish = { pad, size, count: query.held + 1, params, query, verdicts: [] };
  const over = running.overBudget(size * wish.count, pad);
  if (over !== undefined) throw refusal(wish, over);

  const before = pad.pool;
  const pool = keepPool(wish) ?? offeredPool(wish) ?? ownPool(wish);
  pad.pool = pool;
  pad.decision = record(wish, pool, (pad.decision?.round ?? 0) + 1);
  writeBack(wish, pool);
  running.watch(pool);
  running.decided(pad.decision);
  // The new one is open before the old one closes, and loans of the old one come home by themselves.
  if (before !== null && before !== pool) dropPool(pad, before);
}

/** @internal Closes a pad's pool; loans drain. */
export function dropPool(pad: OutputPad, pool: BufferPool): void {
  if (pool instanceof OwnPool) pool.retire();
  else pool.deactivate();
  pad.element.running.unclaim(pool);
}

/** A pool that a pipeline made for a pad, and therefore ends. */
class OwnPool extends BufferPool {}

function keepPool(wish: Wish): BufferPool | undefined {
  const { pool } = wish.pad;
  const config = pool?.config;
  if (!(pool instanceof OwnPool) || config === null || config === undefined || !pool.isActive) return undefined;
  // An offer may have come that was not there before; it gets its chance first.
  if (wish.query.pools.some((entry) => entry.pool !== null)) return undefined;
  const allocator = sourceFor(wish)?.allocator ?? defaultAllocator();
  const same = config.size === wish.size && config.max === wish.count && config.allocator === allocator;
  const { align, prefix, padding } = config.params;
  const { params } = wish;
  if (!same || align !== params.align || prefix !== params.prefix || padding !== params.padding) return undefined;
  judge(wish, wish.pad.element.name, "the pool that is there", true, "size, count and alignment are the same");
  return pool;
}

/** The first offered pool that can do it. */
function offeredPool(wish: Wish): BufferPool | undefined {
  const { pad, query } = wish;
  const candidates = query.pools.flatMap((entry): Candidate<BufferPool>[] => {
    const { pool, by } = entry;
    if (pool === null) return [];
    const take = (): BufferPool => {
      const owner = pad.element.running.claim(pool, pad);
      if (owner !== undefined) throw new Error(`${owner} has it, and two producers could starve each other`);
      const bad = tryPool(wish, entry);
      if (bad === undefined) return pool;
      if (pad.pool !== pool) pad.element.running.unclaim(pool);
      throw new Error(bad);
    };
    const why = "it can do what is needed, and who consumes knows best where bytes should lie";
    return [{ by, what: `pool "${pool.name}"`, why, take }];
  });
  const { chosen, verdicts } = chooseFirst(candidates);
  wish.verdicts.push(...verdicts);
  return chosen;
}

/** Configures and opens an offered pool; why not, or undefined. */
function tryPool(wish: Wish, entry: PoolProposal): string | undefined {
  const pool = entry.pool!;
  if (entry.max > 0 && entry.max < wish.count) return `it can have ${entry.max} buffers, and ${wish.count} are needed`;
  if (pool.isActive && pool !== wish.pad.pool) {
    const short = shortfall(wish, pool.config!);
    return short ?? (pool.outstanding > 0 ? `it is in use: ${pool.outstanding} buffers are out` : undefined);
  }
  try {
    configure(pool, wish);
    const short = shortfall(wish, pool.config!);
    if (short !== undefined) return short;
    pool.activate();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** As wished; or, when the pool can only do something near it, that, if it serves. */
function configure(pool: BufferPool, wish: Wish): void {
  // Its own bytes are what a pool is offered for; a stated allocator is for pools that are made here.
  const wanted = configOf(wish);
  if (pool.config !== null) wanted.allocator = pool.config.allocator;
  try {
    pool.configure(wanted);
  } catch (error) {
    if (!isMillpondError(error, "ERR_CONFIG_ADJUSTED")) throw error;
    const near = error.details?.config as ActualPoolConfig;
    const short = shortfall(wish, near);
    if (short !== undefined) throw new Error(short, { cause: error });
    const { size, min, max, maxBytes, params, allocator, format, options, roundSize, zero } = near;
    pool.configure({ ...params, size, min, max, maxBytes, allocator, format, options, roundSize, zero });
  }
}

/** What a configuration lacks, or undefined. */
function shortfall(wish: Wish, config: ActualPoolConfig): string | undefined {
  const memory = memoryOfFormat(wish.query.format!);
  const lack = memory === SYSTEM_MEMORY ? undefined : config.allocator.lacks(memory);
  if (lack !== undefined) return `${memory} is needed: ${lack}`;
  if (config.size < wish.size) return `its buffers have ${config.size} bytes, and ${wish.size} are needed`;
  if (config.max < wish.count) return `it can have ${config.max} buffers, and ${wish.count} are needed`;
  if (config.params.align < wish.params.align) {
    return `it aligns to ${config.params.align} bytes, and ${wish.params.align} are needed`;
  }
  return undefined;
}

function ownPool(wish: Wish): BufferPool {
  const { pad, query } = wish;
  const pool = new OwnPool({ name: String(pad), clock: pad.element.running.clock });
  const asked = sourceFor(wish);
  const from = asked?.allocator ?? null;
  const special = memoryOfFormat(query.format!) !== SYSTEM_MEMORY;
  try {
    pool.configure({ ...configOf(wish), ...(from !== null && { allocator: from }) });
    pool.activate();
    const why = from === null ? "nothing better was offered" : `with the allocator that ${asked!.by} asked for`;
    judge(wish, pad.element.name, "a pool of its own", true, why);
    return pool;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (from === null || special) throw refusal(wish, message, error);
    judge(wish, asked!.by, `allocator "${from.name}"`, false, message);
  }
  try {
    pool.configure(configOf(wish));
    pool.activate();
    judge(
      wish,
      pad.element.name,
      "a pool of its own",
      true,
      "with the default allocator, since the one asked for failed",
    );
    return pool;
  } catch (error) {
    throw refusal(wish, error instanceof Error ? error.message : String(error), error);
  }
}

/** Allocators that this library has for a caps feature, by their names in the registry. */
const MAKERS: Readonly<Record<string, string>> = { "memory:DMABuf": "dmabuf" };

/**
 * Where a pool that is made here takes its bytes from: what was asked for first, as long as the format does not want a special kind of
 * memory; else the first that has it. Undefined: the default. Throws `ERR_NOT_NEGOTIATED` when nothing has it.
 */
function sourceFor(wish: Wish): { readonly by: string; readonly allocator: Allocator | null } | undefined {
  const { params, format } = wish.query;
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
  throw refusal(wish, `no memory is ${memory} here (${tried}); offer a pool or an allocator that makes it`);
}

function configOf(wish: Wish): BufferPoolConfig {
  const { size, count, params, query } = wish;
  // All of them now: a run that began must not fail for want of memory in its middle. Fresh pages cost nothing until touched.
  return { ...params, size, min: count, max: count, format: query.format };
}

function judge(wish: Wish, by: string, what: string, won: boolean, why: string): void {
  wish.verdicts.push({ by, what, won, why });
}

function record(wish: Wish, pool: BufferPool, round: number): Decision {
  const { pad, query, verdicts } = wish;
  const config = pool.config!;
  const filled: HeldPart = { by: pad.element.name, count: 1, why: "being filled" };
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
    verdicts,
    notes: query.notes.slice(),
    round,
  };
}

/** What was settled stands in slot 0 afterwards, with the numbers that are in force (GStreamer leaves the wished ones). */
function writeBack(wish: Wish, pool: BufferPool): void {
  const { query } = wish;
  const { size, max, params, allocator } = pool.config!;
  const offer = { pool, size, min: max, max };
  if (query.pools.length === 0) query.addPool(offer);
  else query.setPool(0, offer);
  if (query.params.length === 0) query.addParams(allocator, params);
  else query.setParams(0, allocator, params);
}

function refusal(wish: Wish, why: string, cause?: unknown): MillpondError {
  const { pad, count, size, query, verdicts } = wish;
  const sum = [`1 being filled`, ...query.parts.map((part) => `${part.count} with ${part.by} (${part.why})`)].join(
    " + ",
  );
  return new MillpondError(
    "ERR_NOT_NEGOTIATED",
    `${pad} cannot get its ${count} buffers of ${size} bytes for ${formatText(query.format)} (${sum}): ${why}`,
    { pad: String(pad), count, size, parts: query.parts, verdicts },
    cause === undefined ? undefined : { cause },
  );
}
