/** GstQuery's ALLOCATION query over AllocationQuery. */
import { outOfRange } from "../../observe/arguments.ts";
import { AllocationQuery } from "../../pipeline/allocation-query.ts";
import { poolFaces } from "./buffer.ts";
import type { BufferPool, Caps } from "./buffer-pool.ts";
import { type AllocationParams, Allocator, paramsIn, paramsOut } from "./memory.ts";

/** Caps are plain data here and settled formats in the core: a query keeps those it was made with beside the core's. */
const capsOf: WeakMap<AllocationQuery, Caps> = new WeakMap();

/** The ALLOCATION query. Indices that are not there throw `ERR_OUT_OF_RANGE`, where the original has a "critical". */
export class Query {
  /** The core's query underneath. */
  readonly core: AllocationQuery;

  private constructor(core: AllocationQuery) {
    this.core = core;
  }

  /** A question about memory for buffers of those caps (or of none). */
  static new_allocation(caps: Caps, need_pool: boolean): Query {
    const core = new AllocationQuery(null, { needPool: need_pool });
    capsOf.set(core, caps);
    return new Query(core);
  }

  /** The face of a core query, for an element that is written with these names. */
  static of(core: AllocationQuery): Query {
    return new Query(core);
  }

  /** [caps, whether a pool is wanted]. */
  parse_allocation(): [Caps, boolean] {
    const { core } = this;
    return [capsOf.has(core) ? capsOf.get(core) : core.format, core.needPool];
  }

  /** Says how many buffers of what size are needed, from that pool or from any. `max` without a pool reads back as 0. */
  add_allocation_pool(pool: BufferPool | null, size: number, min: number, max: number): void {
    this.core.addPool({ pool: pool?.core ?? null, size, min, max });
  }

  /** How many pool entries there are. */
  get_n_allocation_pools(): number {
    return this.core.pools.length;
  }

  /** [pool, size, min, max]; a core pool that was not made with these names reads as null. */
  parse_nth_allocation_pool(index: number): [BufferPool | null, number, number, number] {
    const { pool, size, min, max } = at(this.core.pools, index);
    return [pool === null ? null : (poolFaces.get(pool) ?? null), size, min, max];
  }

  /** Replaces an entry. */
  set_nth_allocation_pool(index: number, pool: BufferPool | null, size: number, min: number, max: number): void {
    this.core.setPool(index, { pool: pool?.core ?? null, size, min, max });
  }

  /** Removes an entry. */
  remove_nth_allocation_pool(index: number): void {
    this.core.removePool(index);
  }

  /** Says how memory should be allocated; one of both at least. Throws `ERR_INVALID_ARG_TYPE` for neither. */
  add_allocation_param(allocator: Allocator | null, params: AllocationParams | null): void {
    this.core.addParams(allocator?.core ?? null, params === null ? undefined : paramsIn(params));
  }

  /** How many ways to allocate there are. */
  get_n_allocation_params(): number {
    return this.core.params.length;
  }

  /** [allocator, params]. */
  parse_nth_allocation_param(index: number): [Allocator | null, AllocationParams] {
    const { allocator, params } = at(this.core.params, index);
    return [allocator === null ? null : Allocator.of(allocator), paramsOut(params)];
  }

  /** Replaces a way to allocate. */
  set_nth_allocation_param(index: number, allocator: Allocator | null, params: AllocationParams | null): void {
    this.core.setParams(index, allocator?.core ?? null, params === null ? undefined : paramsIn(params));
  }

  /** Removes a way to allocate. */
  remove_nth_allocation_param(index: number): void {
    this.core.removeParams(index);
  }

  /** Says that a meta is understood; params are copied in. */
  add_allocation_meta(api: string, params: Readonly<Record<string, unknown>> | null): void {
    this.core.addMeta(api, params);
  }

  /** How many metas there are; the same API twice counts twice. */
  get_n_allocation_metas(): number {
    return this.core.metas.length;
  }

  /** [api, params]. */
  parse_nth_allocation_meta(index: number): [string, Readonly<Record<string, unknown>> | null] {
    const { api, params } = at(this.core.metas, index);
    return [api, params];
  }

  /** Removes a meta. */
  remove_nth_allocation_meta(index: number): void {
    this.core.removeMeta(index);
  }

  /** [found, index of the first entry (0 when there is none)]. */
  find_allocation_meta(api: string): [boolean, number] {
    const index = this.core.findMeta(api);
    return [index >= 0, Math.max(0, index)];
  }

  /** A query with the same lists. */
  copy(): Query {
    const core = this.core.copy();
    if (capsOf.has(this.core)) capsOf.set(core, capsOf.get(this.core));
    return new Query(core);
  }
}

function at<T>(list: readonly T[], index: number): T {
  const entry = list[index];
  if (entry === undefined) throw outOfRange("index", `below ${list.length}, the length of the list`, index);
  return entry;
}
