/** GstQuery's ALLOCATION query over AllocationQuery. */

import { AllocationQuery } from "../../pipeline/negotiate/allocation-query.ts";
import { copyData } from "../../util/same-data.ts";
import { MAKE } from "../door-error.ts";
import { poolFaces } from "./buffer.ts";
import { type BufferPool, type Caps, corePool } from "./buffer-pool.ts";
import { type AllocationParams, Allocator, coreAllocator, paramsIn, paramsOut } from "./memory.ts";
import { apiIn, apiOut } from "./meta.ts";
import { checkName, checkWhole, makerOnly, outside, speaks, wrong } from "./words.ts";

/** Caps are plain data here and settled formats in the core: a query keeps those it was made with beside the core's. */
const capsOf: WeakMap<AllocationQuery, Caps> = new WeakMap();

/** How this door's caller named the API of an entry, where the core has another name for it. */
const apisOf: WeakMap<object, string> = new WeakMap();

/** The ALLOCATION query. Indices that are not there throw `ERR_OUT_OF_RANGE`, where the original has a "critical". */
export class Query {
  readonly #core: AllocationQuery;

  /** @internal */
  private constructor(core: AllocationQuery, key?: unknown) {
    makerOnly(key, "Query", "Query.new_allocation()");
    this.#core = core;
  }

  /** @internal Whether a value is a Query of this door. */
  static is(value: unknown): value is Query {
    return typeof value === "object" && value !== null && #core in value;
  }

  /** The core's query underneath. */
  get core(): AllocationQuery {
    return this.#core;
  }

  /** A question about memory for buffers of those caps (or of none). */
  static new_allocation(caps: Caps, need_pool: boolean): Query {
    if (typeof need_pool !== "boolean") throw wrong("need_pool", "a boolean", need_pool);
    const core = new AllocationQuery(null, { needPool: need_pool });
    capsOf.set(core, copyData("caps", caps));
    return new Query(core, MAKE);
  }

  /** The face of a core query, for an element that is written with these names. */
  static of(core: AllocationQuery): Query {
    if (!(core instanceof AllocationQuery)) throw wrong("core", "an AllocationQuery", core);
    return new Query(core, MAKE);
  }

  /** [caps, whether a pool is wanted]. */
  parse_allocation(): [Caps, boolean] {
    const core = this.#core;
    return [capsOf.has(core) ? copyData("caps", capsOf.get(core)) : core.format, core.needPool];
  }

  /**
   * Says how many buffers of what size are needed, from that pool or from any. `max` without a pool reads back as 0.
   */
  add_allocation_pool(pool: BufferPool | null, size: number, min: number, max: number): void {
    this.#core.addPool(offerOf(pool, size, min, max));
  }

  /** How many pool entries there are. */
  get_n_allocation_pools(): number {
    return this.#core.pools.length;
  }

  /** [pool, size, min, max]; a core pool that was not made with these names reads as null. */
  parse_nth_allocation_pool(index: number): [BufferPool | null, number, number, number] {
    const { pool, size, min, max } = at(this.#core.pools, index);
    return [pool === null ? null : (poolFaces.get(pool) ?? null), size, min, max];
  }

  /** Replaces an entry. */
  set_nth_allocation_pool(index: number, pool: BufferPool | null, size: number, min: number, max: number): void {
    at(this.#core.pools, index);
    this.#core.setPool(index, offerOf(pool, size, min, max));
  }

  /** Removes an entry. */
  remove_nth_allocation_pool(index: number): void {
    at(this.#core.pools, index);
    this.#core.removePool(index);
  }

  /** Says how memory should be allocated; one of both at least. Throws `ERR_INVALID_ARG_TYPE` for neither. */
  add_allocation_param(allocator: Allocator | null, params: AllocationParams | null): void {
    this.#core.addParams(...sourceOf(allocator, params));
  }

  /** How many ways to allocate there are. */
  get_n_allocation_params(): number {
    return this.#core.params.length;
  }

  /** [allocator, params]. */
  parse_nth_allocation_param(index: number): [Allocator | null, AllocationParams] {
    const { allocator, params } = at(this.#core.params, index);
    return [allocator === null ? null : Allocator.of(allocator), paramsOut(params)];
  }

  /** Replaces a way to allocate. */
  set_nth_allocation_param(index: number, allocator: Allocator | null, params: AllocationParams | null): void {
    at(this.#core.params, index);
    this.#core.setParams(index, ...sourceOf(allocator, params));
  }

  /** Removes a way to allocate. */
  remove_nth_allocation_param(index: number): void {
    at(this.#core.params, index);
    this.#core.removeParams(index);
  }

  /** Says that a meta is understood; params are copied in. */
  add_allocation_meta(api: string, params: Readonly<Record<string, unknown>> | null): void {
    if (typeof params !== "object") {
      throw wrong("params", "an object or null", params);
    }
    this.#core.addMeta(apiIn(api), params);
    apisOf.set(this.#core.metas.at(-1)!, api);
  }

  /** How many metas there are; the same API twice counts twice. */
  get_n_allocation_metas(): number {
    return this.#core.metas.length;
  }

  /** [api, params]. */
  parse_nth_allocation_meta(index: number): [string, Readonly<Record<string, unknown>> | null] {
    const entry = at(this.#core.metas, index);
    return [apisOf.get(entry) ?? apiOut(entry.api), entry.params];
  }

  /** Removes a meta. */
  remove_nth_allocation_meta(index: number): void {
    at(this.#core.metas, index);
    this.#core.removeMeta(index);
  }

  /** [found, index of the first entry (0 when there is none)]. */
  find_allocation_meta(api: string): [boolean, number] {
    const index = this.#core.findMeta(apiIn(checkName("api", api)));
    return [index >= 0, Math.max(0, index)];
  }

  /** A query with the same lists. */
  copy(): Query {
    const core = this.#core.copy();
    if (capsOf.has(this.#core)) capsOf.set(core, capsOf.get(this.#core));
    return new Query(core, MAKE);
  }

  /** `allocation query (2 pools, 1 params, 0 metas)`. */
  toString(): string {
    const { pools, params, metas } = this.#core;
    return `allocation query (${pools.length} pools, ${params.length} params, ${metas.length} metas)`;
  }
}
speaks(Query, Query.is);

function offerOf(pool: unknown, size: number, min: number, max: number): Parameters<AllocationQuery["addPool"]>[0] {
  const core = corePool("pool", pool);
  checkWhole("size", size);
  checkWhole("min_buffers", min);
  checkWhole("max_buffers", max);
  if (max !== 0 && min > max) throw outside("min_buffers", `at most max_buffers, ${max}`, min);
  return { pool: core, size, min, max };
}

function sourceOf(allocator: unknown, params: AllocationParams | null): Parameters<AllocationQuery["addParams"]> {
  const core = coreAllocator("allocator", allocator);
  if (core === null && params === null) {
    throw wrong("params", "AllocationParams where allocator is null", params);
  }
  return [core, params === null ? undefined : paramsIn(params)];
}

function at<T>(list: readonly T[], index: number): T {
  if (typeof index !== "number") throw wrong("index", "a number", index);
  const entry = list[index];
  if (entry === undefined) throw outside("index", `below ${list.length}, the length of the list`, index);
  return entry;
}
