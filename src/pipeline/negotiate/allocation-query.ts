/**
 * AllocationQuery: what a stage asks the stages behind it before the first byte moves. It travels downstream; each
 * stage that will retain buffers says how many, how large and how aligned, may offer a pool of its own, and says which
 * metas it understands. What comes back are suggestions: the stage that asked decides. After GStreamer's ALLOCATION
 * query.
 *
 * Everything that is added is signed with the stage's name, so that the decision can be explained afterwards.
 *
 * Invariants: every entry was checked and copied when it was added; a refused call adds nothing.
 *
 * Complexity: each call is O(proposals).
 */
import { MetaType } from "../../media/meta/meta.ts";
import { Allocator } from "../../memory/allocator.ts";
import { type AllocationParams, type ResolvedParams, resolveParams } from "../../memory/params.ts";
import { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import { frozenData } from "../../util/same-data.ts";
import {
  flag,
  instance,
  nonEmpty,
  outOfRange,
  readOptions,
  required,
  wholeNumber,
  word,
  wrongType,
} from "../../util/validate.ts";
import { checkFormat, type StreamFormat, sizeOfFormat } from "../stream-format.ts";

/** "Buffers of at least this size, this many", with or without a pool to take them from. */
export interface PoolProposal {
  /** Who says so. */
  readonly by: string;
  /** The pool that is offered; null: only the numbers count. */
  readonly pool: BufferPool | null;
  /** Bytes of each buffer at least. */
  readonly size: number;
  /** Buffers that the stages which answered will retain; the stage that asked adds its own. */
  readonly min: number;
  /** The most that the offered pool can ever hold; 0: no limit. Always 0 without a pool. */
  readonly max: number;
}

/** How memory should be allocated. */
export interface ParamsProposal {
  /** Who says so. */
  readonly by: string;
  /** Where bytes should come from; null: anywhere. */
  readonly allocator: Allocator | null;
  /** Alignment, prefix, padding, flags. */
  readonly params: ResolvedParams;
}

/** One part of a sum: so many buffers stay with that stage. */
export interface RetainedPart {
  /** The stage. */
  readonly by: string;
  /** Buffers that it holds on to. */
  readonly count: number;
  /** Why, in a few words. */
  readonly why: string;
}

/** "I understand this on buffers." */
export interface MetaProposal {
  /** Who says so. */
  readonly by: string;
  /** The meta's API. */
  readonly api: string;
  /** What is wanted of it; plain data, or null. */
  readonly params: Readonly<Record<string, unknown>> | null;
}

/** What {@link AllocationQuery.addPool} takes. */
export interface PoolOffer {
  /** The pool; absent or null: only the numbers count. */
  pool?: BufferPool | null;
  /** Bytes of each buffer at least; absent: those of the format. */
  size?: number;
  /** Buffers that will be held on to; default 0. */
  min?: number;
  /** The most that the pool can hold; default 0, no limit. */
  max?: number;
}

/** Merges what two branches want of the same meta; undefined: it cannot be merged, and the meta is dropped. */
export type MetaMerger = (
  a: Readonly<Record<string, unknown>> | null,
  b: Readonly<Record<string, unknown>> | null,
) => Readonly<Record<string, unknown>> | null | undefined;

const mergers: Map<string, MetaMerger> = new Map();

/**
 * Says how the params of several branches for one meta API are merged; without a merger, only metas without params pass
 * a tee. Throws `ERR_INVALID_ARG_TYPE`.
 */
export function registerMetaMerger(api: string, merge: MetaMerger): void {
  mergers.set(nonEmpty("api", api, "the name of an API"), required("merge", merge));
}

/** @internal */
export function findMetaMerger(api: string): MetaMerger | undefined {
  return mergers.get(api);
}

/** What was answered at a pad that several ways lead to. */
interface KnownAnswer {
  readonly query: AllocationQuery;
  readonly answered: boolean;
}

/** The question, and the answers so far. */
export class AllocationQuery {
  /** What will flow. */
  readonly format: StreamFormat | null;
  /** Whether to bother offering a pool; sizes and counts are wanted in any case. */
  readonly needPool: boolean;
  /** Other stages will read the same buffers: do not write. After DirectShow's read-only connections. */
  readonly readOnly: boolean;
  /** Pools and counts, in order of arrival. */
  readonly pools: readonly PoolProposal[] = [];
  /** Ways to allocate, in order of preference. */
  readonly params: readonly ParamsProposal[] = [];
  /** Metas that are understood. */
  readonly metas: readonly MetaProposal[] = [];
  /** What was changed or dropped on the way, in words. */
  readonly notes: readonly string[] = [];
  /** How the held buffers add up, stage by stage. */
  readonly parts: readonly RetainedPart[] = [];
  /** @internal name of the stage that is being asked */
  answering = "?";
  /** @internal Answers by the pad that asked for them, while one negotiation goes on; undefined: none are kept. */
  known: Map<object, KnownAnswer> | undefined;

  /** An empty question. Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`. */
  constructor(format: StreamFormat | null, options: { needPool?: boolean; readOnly?: boolean } = {}) {
    const { needPool, readOnly } = readOptions("options", options, ["needPool", "readOnly"]);
    this.format = format === null ? null : checkFormat("format", format);
    this.needPool = flag("options.needPool", needPool, true);
    this.readOnly = flag("options.readOnly", readOnly, false);
  }

  /** Bytes that the format needs; 0 without one. */
  get formatSize(): number {
    return this.format === null ? 0 : sizeOfFormat(this.format);
  }

  /**
   * Says how many buffers of what size are needed, and offers a pool or not. No deduplication. Throws
   * `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`.
   */
  addPool(offer: PoolOffer): void {
    const proposal = this.#proposal(offer);
    if (proposal.min > 0 && this.pools.length === 0) this.#account(proposal.min, "retained");
    (this.pools as PoolProposal[]).push(proposal);
  }

  #account(count: number, why: string): void {
    (this.parts as RetainedPart[]).push({ by: this.answering, count, why });
  }

  #proposal(offer: PoolOffer): PoolProposal {
    if (offer === undefined) throw wrongType("offer", "a plain object", offer);
    const given = readOptions("offer", offer, ["pool", "size", "min", "max"]);
    const pool = given.pool ?? null;
    if (pool !== null) instance("offer.pool", "a BufferPool or null", BufferPool, pool);
    const size = given.size === undefined ? this.formatSize : wholeNumber("offer.size", given.size);
    const min = given.min === undefined ? 0 : wholeNumber("offer.min", given.min);
    const max = given.max === undefined ? 0 : wholeNumber("offer.max", given.max);
    if (max > 0 && min > max) throw outOfRange("offer.min", `at most offer.max, ${max}`, min);
    // Without a pool there is nothing that a cap could be true of; upstream would only stall for it.
    return { by: this.answering, pool, size, min, max: pool === null ? 0 : max };
  }

  /** Replaces a proposal. Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`. */
  setPool(index: number, offer: PoolOffer): void {
    (this.pools as PoolProposal[])[inside("index", index, this.pools)] = this.#proposal(offer);
  }

  /** Removes a proposal. Throws `ERR_OUT_OF_RANGE`. */
  removePool(index: number): void {
    (this.pools as PoolProposal[]).splice(inside("index", index, this.pools), 1);
  }

  /** Says how memory should be allocated; at least one of allocator and params. Throws `ERR_INVALID_ARG_*`. */
  addParams(allocator: Allocator | null, params?: AllocationParams): void {
    checkSource(allocator, params);
    (this.params as ParamsProposal[]).push({ by: this.answering, allocator, params: resolveParams(params) });
  }

  /** Replaces a way to allocate; errors as {@link addParams}, and `ERR_OUT_OF_RANGE`. */
  setParams(index: number, allocator: Allocator | null, params?: AllocationParams): void {
    checkSource(allocator, params);
    const entry = { by: this.answering, allocator, params: resolveParams(params) };
    (this.params as ParamsProposal[])[inside("index", index, this.params)] = entry;
  }

  /** Removes a way to allocate. Throws `ERR_OUT_OF_RANGE`. */
  removeParams(index: number): void {
    (this.params as ParamsProposal[]).splice(inside("index", index, this.params), 1);
  }

  /** Says that a meta is understood. No deduplication. Throws `ERR_INVALID_ARG_*`. */
  addMeta(api: string | MetaType<object, never>, params?: Readonly<Record<string, unknown>> | null): void {
    const name = nameOfApi(api);
    // Copied in: what the caller does with its object afterwards changes nothing here.
    const copy = params === undefined || params === null ? null : frozenData("params", checkParams(params));
    (this.metas as MetaProposal[]).push({ by: this.answering, api: name, params: copy });
  }

  /** Removes a meta. Throws `ERR_OUT_OF_RANGE`. */
  removeMeta(index: number): void {
    (this.metas as MetaProposal[]).splice(inside("index", index, this.metas), 1);
  }

  /** Index of the first entry for a meta API; -1: not understood. */
  findMeta(api: string | MetaType<object, never>): number {
    const name = nameOfApi(api);
    return this.metas.findIndex((meta) => meta.api === name);
  }

  /** Buffers that the stages which answered retain: the first entry's count; 0 without one. */
  get retained(): number {
    return this.pools[0]?.min ?? 0;
  }

  /**
   * "I hold `count` more": raises every entry, and drops an offered pool whose cap is too low now (its numbers stay).
   * What a stage that keeps buffers calls while the question passes through it. Throws `ERR_INVALID_ARG_TYPE`,
   * `ERR_OUT_OF_RANGE`.
   */
  raise(count: number, why: string): void {
    wholeNumber("count", count);
    word("why", why);
    if (count === 0) return;
    const pools = this.pools as PoolProposal[];
    this.#account(count, why);
    if (pools.length === 0) {
      pools.push(this.#proposal({ min: count }));
      return;
    }
    pools.forEach((entry, i) => {
      const min = entry.min + count;
      if (entry.max > 0 && min >= entry.max) {
        // "At least one more" is for the producer: a pool that is held entirely by consumers can never be filled.
        this.note(
          `the pool of ${entry.by} is dropped: it can have ${entry.max}, and with ${this.answering} (${why}) ${min} are held and one is filled`,
        );
        pools[i] = { ...entry, pool: null, min, max: 0 };
      } else pools[i] = { ...entry, min };
    });
  }

  /**
   * "These same buffers must suit me too": what a stage in the middle calls, where {@link addParams} would only offer
   * an alternative. Alignment, prefix and padding of every entry become the larger of both; an allocator goes first.
   */
  requireParams(allocator: Allocator | null, wanted: AllocationParams = {}): void {
    const params = resolveParams(wanted, "wanted");
    checkAllocator(allocator);
    const list = this.params as ParamsProposal[];
    list.forEach((entry, i) => {
      list[i] = { ...entry, params: mergeParams(entry.params, params) };
    });
    if (list.length === 0) list.push({ by: this.answering, allocator, params });
    else if (allocator !== null && list[0]!.allocator !== allocator) {
      if (list[0]!.allocator !== null) {
        this.note(
          `allocator "${list[0]!.allocator.name}" of ${list[0]!.by} comes after "${allocator.name}" of ${this.answering}`,
        );
      }
      list.unshift({ by: this.answering, allocator, params: list[0]!.params });
    }
  }

  /**
   * Adds what another answer holds to every entry here: for stages that ask several others about the same buffers. What
   * is behind the place where their ways meet again counts once.
   */
  adopt(other: AllocationQuery): void {
    instance("other", "an AllocationQuery", AllocationQuery, other);
    const { retained } = other;
    if (retained === 0) return;
    const counted = new Set(this.parts);
    const parts = other.parts.filter((part) => !counted.has(part));
    const twice = sumOf(other.parts) - sumOf(parts);
    const more = Math.max(0, retained - twice);
    const pools = this.pools as PoolProposal[];
    if (pools.length === 0) pools.push(this.#proposal({ min: more }));
    else
      pools.forEach((entry, i) => {
        pools[i] = { ...entry, min: entry.min + more };
      });
    (this.parts as RetainedPart[]).push(...parts);
  }

  /** Makes every entry at least `size` bytes. Throws `ERR_OUT_OF_RANGE`. */
  enlarge(size: number): void {
    wholeNumber("size", size);
    const pools = this.pools as PoolProposal[];
    if (pools.length === 0 && size > this.formatSize) pools.push(this.#proposal({ size }));
    pools.forEach((entry, i) => {
      pools[i] = { ...entry, size: Math.max(entry.size, size) };
    });
  }

  /** Takes all offered pools and allocators out, keeping numbers and alignment, and says why. */
  withholdPools(why: string): void {
    word("why", why);
    (this.pools as PoolProposal[]).forEach((entry, i, pools) => {
      if (entry.pool === null) return;
      this.note(`the pool of ${entry.by} is not passed on: ${why}`);
      pools[i] = { ...entry, pool: null, max: 0 };
    });
    (this.params as ParamsProposal[]).forEach((entry, i, params) => {
      if (entry.allocator === null) return;
      this.note(`allocator "${entry.allocator.name}" of ${entry.by} is not passed on: ${why}`);
      params[i] = { ...entry, allocator: null };
    });
  }

  /** Writes down what was changed on the way. */
  note(text: string): void {
    (this.notes as string[]).push(word("text", text));
  }

  /** Takes back every answer. */
  clear(): void {
    for (const list of [this.pools, this.params, this.metas, this.parts] as unknown[][]) list.length = 0;
  }

  /** @internal Nobody has answered, and nothing was noted. */
  get isBlank(): boolean {
    return [this.pools, this.params, this.metas, this.parts, this.notes].every((list) => list.length === 0);
  }

  /** @internal Whether the other one is the same question. */
  asksLike(other: AllocationQuery): boolean {
    return this.format === other.format && this.needPool === other.needPool && this.readOnly === other.readOnly;
  }

  /** @internal Adds what was answered and noted in the other one. */
  repeat(other: AllocationQuery): void {
    (this.pools as PoolProposal[]).push(...other.pools);
    (this.params as ParamsProposal[]).push(...other.params);
    (this.metas as MetaProposal[]).push(...other.metas);
    (this.notes as string[]).push(...other.notes);
    (this.parts as RetainedPart[]).push(...other.parts);
    this.answering = other.answering;
  }

  /** The same question and the same answers, independent of this one. */
  copy(): AllocationQuery {
    const twin = new AllocationQuery(this.format, { needPool: this.needPool, readOnly: this.readOnly });
    twin.known = this.known;
    twin.repeat(this);
    return twin;
  }
}

function sumOf(parts: readonly RetainedPart[]): number {
  let sum = 0;
  for (const { count } of parts) sum += count;
  return sum;
}

/** The least that suits both: alignments are powers of two, so the larger one is a multiple of the other. */
export function mergeParams(a: ResolvedParams, b: ResolvedParams): ResolvedParams {
  return {
    align: Math.max(a.align, b.align),
    prefix: Math.max(a.prefix, b.prefix),
    padding: Math.max(a.padding, b.padding),
    flags: a.flags | b.flags,
  };
}

function checkSource(allocator: Allocator | null, params: AllocationParams | undefined): void {
  checkAllocator(allocator);
  if (allocator === null && params === undefined) throw wrongType("params", "given when there is no allocator", params);
}

function checkAllocator(allocator: Allocator | null): void {
  if (allocator !== null) instance("allocator", "an Allocator or null", Allocator, allocator);
}

function nameOfApi(api: string | MetaType<object, never>): string {
  return nonEmpty("api", api instanceof MetaType ? api.api : api, "a meta type or the name of an API");
}

function checkParams<T>(params: T): T {
  if (typeof params !== "object" || Array.isArray(params))
    throw wrongType("params", "an object of data or null", params);
  return params;
}

function inside(name: string, index: number, list: readonly unknown[]): number {
  if (list.length === 0) throw outOfRange(name, "inside the list, which is empty", index);
  return wholeNumber(name, index, 0, list.length - 1);
}
