/** The pools of this realm, as a program asks for them. */
import { wholeNumber } from "../util/validate.ts";
import type { PoolCounts, PoolHolder, PoolKind, PoolMember } from "./pool-info.ts";
import { type PoolRegistration, registrations } from "./registry.ts";

/** A live pool of this realm. */
export interface PoolInfo {
  /** Its number in this realm; the first pool is 1. */
  readonly id: number;
  /** Its kind. */
  readonly kind: PoolKind;
  /** Its name. */
  readonly name: string;
  /** Bytes that exist now. O(slots). */
  readonly bytes: number;
  /** Its counters, in the words that all kinds share. O(slots). */
  counts(): PoolCounts;
  /** Its own `stats()`. O(slots). */
  stats(): object;
  /** The leases that are out, at most `most` (default 1024). O(slots). Throws `ERR_OUT_OF_RANGE`. */
  holders(most?: number): readonly PoolHolder[];
  /** Who takes part, in a shared pool; else empty. */
  members(): readonly PoolMember[];
}

/**
 * Every live pool of this realm, oldest first. A pool that ended, or that the program forgot and that was collected, is
 * not in it. An info that is kept keeps its pool. O(pools).
 */
export function pools(): PoolInfo[] {
  return registrations().map(infoOf);
}

/** What the registry says of a pool. */
function infoOf(pool: PoolRegistration): PoolInfo {
  const { id, kind, name, probe } = pool;
  return {
    id,
    kind,
    name,
    get bytes() {
      return probe.counts().bytes;
    },
    counts: () => probe.counts(),
    stats: () => probe.stats(),
    holders: (most = DEFAULT_HOLDERS) => probe.holders(wholeNumber("most", most)),
    members: () => probe.members?.() ?? [],
  };
}

/** What {@link PoolInfo.holders} lists when it is not told. */
const DEFAULT_HOLDERS = 1024;
