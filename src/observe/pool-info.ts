/** What every pool says of itself in the same words, whichever kind it is. Plain data; no bytes of any buffer. */

/** The kinds of pool that register. */
export type PoolKind =
  | "BufferPool"
  | "PagePool"
  | "SlabPool"
  | "RealtimePool"
  | "SharedPool"
  | "TransferPool"
  | "ProcessPool";

/** Where a pool is in its life. */
export type PoolPhase =
  /** Not configured or not activated, or drained. */
  | "inactive"
  /** Leases can be had. */
  | "active"
  /** Refuses for a while. */
  | "flushing"
  /** Ends for now with its last lease. */
  | "draining"
  /** Ends for good with its last lease. */
  | "retired"
  /** Has ended. */
  | "closed";

/** The counters that all pools have. `null`: this kind does not count it, because counting would slow its fast path. */
export interface PoolCounts {
  /** Where the pool is in its life. */
  readonly phase: PoolPhase;
  /** Bytes of one lease; 0: leases have different sizes. */
  readonly size: number;
  /** Slots, blocks or elements that exist. */
  readonly count: number;
  /** The most there may be; `Infinity`: no bound. */
  readonly max: number;
  /** Bytes that exist. */
  readonly bytes: number;
  /** The most there may be; `Infinity`: no bound. */
  readonly maxBytes: number;
  /** Those that can be leased at once. `null`: cannot be counted, because blocks of a free range have any size. */
  readonly free: number | null;
  /** Leases that are out. */
  readonly leased: number;
  /** Waiters. */
  readonly waiting: number;
  /** Leases since the beginning. */
  readonly acquires: number | null;
  /** Leases that found nothing idle. */
  readonly misses: number | null;
  /** Acquires that had to wait. */
  readonly waits: number | null;
  /** Waits that ended without a lease because none came in time. */
  readonly starved: number | null;
  /** Slots that were freed instead of kept. */
  readonly discarded: number | null;
  /** The most leases that were out at a time. */
  readonly highWater: number | null;
}

/** For kinds whose fast paths count nothing. */
export const UNCOUNTED: Pick<PoolCounts, "acquires" | "misses" | "waits" | "starved" | "discarded" | "highWater"> = {
  acquires: null,
  misses: null,
  waits: null,
  starved: null,
  discarded: null,
  highWater: null,
};

/** One lease that is out, as every kind of pool can say it. */
export interface PoolHolder {
  /** The slot's number; of a pool without slots the block's number or address. */
  readonly slot: number;
  /** Which lease of the slot; `null`: this kind does not number them. */
  readonly lease: number | null;
  /** Bytes of the lease. */
  readonly size: number;
  /** Milliseconds since it was taken, read coarsely; `null`: not known. */
  readonly age: number | null;
  /** What the holder called itself. */
  readonly tag?: string | undefined;
  /** What else there is to know, for a person. */
  readonly note?: string | undefined;
  /** The members of a shared pool that hold it. */
  readonly members?: readonly number[] | undefined;
  /** Where it was taken, in a pool that is traced. */
  readonly site?: string | undefined;
}

/** A member of a shared pool: a thread or a process. */
export interface PoolMember {
  /** Its number. */
  readonly member: number;
  /** Whether it is the thread that was asked. */
  readonly self: boolean;
  /** What it is doing there: "reserved", "live", "leaving" or "reclaiming". */
  readonly state: string;
  /** Slots that it holds. */
  readonly holds: number;
  /** Whether somebody waits there. */
  readonly waiting: boolean;
  /** Its process, where members are processes and it is known; 0: not known. */
  readonly pid?: number | undefined;
}
