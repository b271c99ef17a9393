/**
 * What the parts of the inspector say to each other: a realm (one thread) and a process at one moment, as plain JSON.
 * `Infinity` is null. Texts of the program (names, tags, sites) are cut, and stay what they were otherwise: the code
 * that shows them takes care of control characters and markup. No bytes of any buffer.
 *
 * Complexity: {@link mergePools} is O(pools + holders).
 */
import type { PoolCounts, PoolHolder, PoolKind, PoolMember } from "./pool-info.ts";
import type { RecordedEvent } from "./recorder.ts";

/** {@link PoolCounts}, with null for no bound. */
export interface PoolSnapshotCounts extends Omit<PoolCounts, "max" | "maxBytes"> {
  /** The most slots that there may be; null: no bound. */
  readonly max: number | null;
  /** The most bytes that there may be; null: no bound. */
  readonly maxBytes: number | null;
}

/** The last report of a wait that lasted too long. */
export interface StarvedReport {
  /** When, in milliseconds since 1970. */
  readonly time: number;
  /** Milliseconds that the first in line had waited. */
  readonly waited: number;
  /** How many waited. */
  readonly waiting: number;
  /** Who had the leases then, at most 64. */
  readonly holders: readonly PoolHolder[];
}

/** One pool, as one realm sees it. */
export interface PoolSnapshot extends PoolSnapshotCounts {
  /** The pool's number in its realm. */
  readonly id: number;
  /** Its kind. */
  readonly kind: PoolKind;
  /** Its name, at most {@link MAX_NAME} characters. */
  readonly name: string;
  /** The same for all views of one shared pool, in every realm and process. */
  readonly shared?: number;
  /** Leases that were taken in this realm since somebody looks; absent: nothing is recorded. */
  readonly taken?: number;
  /**
   * The leases that are out, longest first where ages are known: at most 4,096, and 8,192 of all pools of a thread.
   * Where it has fewer than `leased`, the others are not listed.
   */
  readonly holders: readonly PoolHolder[];
  /**
   * Present: `holders` is empty because the viewer asked for rare lists. Events told of all leases since the last list,
   * or since the pool is there, unless an update has `dropped` some.
   */
  readonly unlisted?: true;
  /** Who takes part, in a shared pool. */
  readonly members: readonly PoolMember[];
  /** The last time that somebody waited too long since somebody looks. */
  readonly starvedLast?: StarvedReport;
}

/** One thread at one moment. */
export interface RealmSnapshot {
  /** Of this format. */
  readonly version: 1;
  /** When, in milliseconds since 1970, with fractions. */
  readonly time: number;
  /** The thread's number; 0: the main thread. */
  readonly thread: number;
  /** "Node 24.1.0", "Chrome". */
  readonly runtime: string;
  /** Its live pools, oldest first. */
  readonly pools: readonly PoolSnapshot[];
  /** Collections while somebody looked, and their milliseconds; zeros where they cannot be seen. */
  readonly gc: { readonly count: number; readonly major: number; readonly ms: number };
  /** Bytes; null where they cannot be seen. */
  readonly heap: { readonly used: number; readonly external: number } | null;
  /** Whether events are recorded. */
  readonly recording: boolean;
  /** Milliseconds that the thread has not answered for: it is blocked, and this is its last snapshot. */
  readonly silent?: number;
}

/** One process at one moment. */
export interface ProcessSnapshot {
  /** Of this format. */
  readonly version: 1;
  /** When, in milliseconds since 1970, with fractions. */
  readonly time: number;
  /** Its number; 0 where there is none (a page). */
  readonly pid: number;
  /** The script's name and arguments, for a person. */
  readonly title: string;
  /** Seconds that it has run. */
  readonly uptime: number;
  /** Bytes of physical memory; 0: not known. */
  readonly rss: number;
  /** Seconds of CPU time since it started. */
  readonly cpu: { readonly user: number; readonly system: number };
  /** The main thread first, then the workers that answer or have answered. */
  readonly realms: readonly RealmSnapshot[];
}

/** An event of one of the realms: `pool` is the number in that thread. */
export interface RealmEvent extends RecordedEvent {
  /** The thread that it happened in. */
  readonly thread: number;
}

/** What viewers get, again and again. */
export interface InspectorUpdate {
  /** The process now. */
  readonly snapshot: ProcessSnapshot;
  /** What happened since the update before, in order of time within each thread: the newest {@link MAX_EVENTS}. */
  readonly events: readonly RealmEvent[];
  /** Events since the update before that are left out, because there were more. */
  readonly dropped: number;
}

/** Where a page gets its data: over HTTP, or from the realm that it is in. */
export interface InspectorSource {
  /** Calls `onUpdate` until what it returned is called. */
  subscribe(onUpdate: (update: InspectorUpdate) => void): () => void;
  /** What was recorded, as a Trace Event JSON file. */
  trace(): Promise<Blob>;
}

/** Holders of one pool in a snapshot. */
export const MAX_HOLDERS = 4096;
/** Characters of a pool's name and of a tag. */
export const MAX_NAME = 200;
/** Events in one update. */
export const MAX_EVENTS = 4096;
/** Characters of a site or a note. */
export const MAX_TEXT = 2000;

/** A lease, with the thread whose snapshot told of it. */
export interface ShownHolder extends PoolHolder {
  /** The thread that told of it; of a shared pool the one that has the lease where that is known. */
  readonly thread: number;
}

/** A member, with its thread where that is known. */
interface ShownMember extends PoolMember {
  /** Its thread in this process; undefined: none of those that answered. */
  readonly thread: number | undefined;
}

/** A pool as people see it: a shared pool is one entry. */
export interface ShownPool extends Omit<PoolSnapshot, "holders" | "members"> {
  /** Tells it apart from all others of the process, and stays the same from snapshot to snapshot. */
  readonly key: string;
  /** The threads that see it, in order. */
  readonly threads: readonly number[];
  /** The pool's number in each of {@link threads}. */
  readonly ids: readonly number[];
  /** The leases that are out. */
  readonly holders: readonly ShownHolder[];
  /** Who takes part, in a shared pool. */
  readonly members: readonly ShownMember[];
  /** Milliseconds that no thread which sees it has answered for; absent: one does. */
  readonly silent?: number;
}

/** The pools of a process as people see them: in order of thread and age, each shared pool once. */
export function mergePools({ realms }: ProcessSnapshot): ShownPool[] {
  const views = new Map<string, View[]>();
  for (const realm of realms) {
    for (const pool of realm.pools) {
      const key = pool.shared === undefined ? `${realm.thread}.${pool.id}` : `shared.${pool.shared}`;
      const list = views.get(key);
      if (list === undefined) views.set(key, [{ realm, pool }]);
      else list.push({ realm, pool });
    }
  }
  return [...views].map(([key, list]) => merge(key, list));
}

interface View {
  readonly realm: RealmSnapshot;
  readonly pool: PoolSnapshot;
}

function merge(key: string, views: readonly View[]): ShownPool {
  // A thread that does not answer told what it saw then; others see more.
  const newest = views.reduce((best, view) => (isFresher(view.realm, best.realm) ? view : best));
  const threadOf = new Map<number, number>();
  for (const { realm, pool } of views) {
    for (const { member, self } of pool.members) if (self) threadOf.set(member, realm.thread);
  }
  const known = views.length > 1 ? knownLeases(views) : undefined;
  const holders = newest.pool.holders.map((holder): ShownHolder => {
    const [first] = holder.members ?? [];
    const thread = (first === undefined ? undefined : threadOf.get(first)) ?? newest.realm.thread;
    return { ...holder, ...known?.get(leaseKey(holder)), thread };
  });
  const isTimed = holders.some(({ age }) => age !== null);
  if (isTimed && views.length > 1) holders.sort((a, b) => (b.age ?? -1) - (a.age ?? -1));
  const members = newest.pool.members.map((member): ShownMember => {
    return { ...member, self: false, thread: threadOf.get(member.member) };
  });
  const taken = sum(views.map(({ pool }) => pool.taken));
  const starved = views.map(({ pool }) => pool.starvedLast).filter((report) => report !== undefined);
  const starvedLast = starved.length === 0 ? undefined : starved.reduce((a, b) => (b.time > a.time ? b : a));
  const { silent } = newest.realm;
  const { taken: _, starvedLast: __, ...rest } = newest.pool;
  return {
    ...rest,
    key,
    threads: views.map(({ realm }) => realm.thread),
    ids: views.map(({ pool }) => pool.id),
    holders,
    members,
    ...(taken === undefined ? {} : { taken }),
    ...(starvedLast === undefined ? {} : { starvedLast }),
    ...(silent === undefined ? {} : { silent }),
  };
}

function isFresher(a: RealmSnapshot, b: RealmSnapshot): boolean {
  return a.silent === undefined && b.silent === undefined ? a.time > b.time : (a.silent ?? 0) < (b.silent ?? 0);
}

/** What only the thread knows that took a lease of a shared pool: since when, as what, and where. */
function knownLeases(views: readonly View[]): Map<string, Partial<PoolHolder>> {
  const known = new Map<string, Partial<PoolHolder>>();
  for (const { pool } of views) {
    for (const holder of pool.holders) {
      const { age, tag, site } = holder;
      if (age !== null || tag !== undefined) known.set(leaseKey(holder), { age, tag, site });
    }
  }
  return known;
}

function leaseKey({ slot, lease }: PoolHolder): string {
  return `${slot}.${lease}`;
}

function sum(values: readonly (number | undefined)[]): number | undefined {
  let total: number | undefined;
  for (const value of values) if (value !== undefined) total = (total ?? 0) + value;
  return total;
}
