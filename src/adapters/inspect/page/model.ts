/**
 * What the page knows of the processes that it was told of, without any document: pools with the state of each slot,
 * leases over time, samples for the graphs, and reports of starvation.
 *
 * Life-cycle: made empty, grows by {@link InspectorModel.apply}; a pool that is in no snapshot any more is forgotten.
 * Invariants: all times are the program's, and none is read from a clock here; what is kept is bounded (a minute of
 * samples, {@link MAX_REPORTS} reports, the rings of spans). Complexity of apply: O(holders + events + slots).
 */
import type { PoolHolder } from "../../../observe/pool-info.ts";
import {
  type InspectorUpdate,
  mergePools,
  type ProcessSnapshot,
  type RealmEvent,
  type ShownPool,
} from "../../../observe/snapshot.ts";
import { Spans } from "./spans.ts";

/** Slots of one pool that the page shows. */
export const MAX_SLOTS = 4096;
/** Slots of all pools together, and those that each may have all the same. */
const MAX_ALL_SLOTS = 65_536;
const MIN_SLOTS = 64;
/** Waits of one pool whose ends may be outstanding beyond those that wait. */
const MAX_OPEN_WAITS = 1024;
/** Milliseconds by which what two clocks say of the beginning of one lease may differ: coarse ones read every 5 ms. */
const YOUNGER_MS = 20;
/** Reports that are kept. */
export const MAX_REPORTS = 100;
/** Milliseconds between two samples of the graphs. */
export const SAMPLE_MS = 250;
/** A minute of them. */
export const MAX_SAMPLES = 240;

/** A lease; of a shared pool with the thread that has it, where that is known. */
interface ModelHolder extends PoolHolder {
  /** See {@link ModelHolder}. */
  readonly thread?: number;
}

/**
 * A pool as {@link mergePools} has it; the leases of a pool that one thread sees are not copied to name that thread.
 */
interface ModelPool extends Omit<ShownPool, "holders"> {
  /** The leases that are out. */
  readonly holders: readonly ModelHolder[];
}

/** What a slot can be in, in the order of how long it was held. */
export const SlotState = {
  FREE: 0,
  /** Held for less than 100 ms. */
  FRESH: 1,
  /** Less than a second. */
  SHORT: 2,
  /** Less than ten seconds. */
  LONG: 3,
  /** Ten seconds or more. */
  OLD: 4,
  /** Held, and nobody knows since when. */
  HELD: 5,
  /** The program did not tell: it has more leases than it lists. */
  UNTOLD: 6,
} as const;

/** One of {@link SlotState}. */
export type SlotState = (typeof SlotState)[keyof typeof SlotState];

/** Where an age begins a new state. */
export const AGE_LIMITS = [100, 1000, 10_000] as const;

/** The state of a slot that was held for so many milliseconds. */
export function stateOfAge(ms: number): SlotState {
  if (ms < AGE_LIMITS[0]) return SlotState.FRESH;
  if (ms < AGE_LIMITS[1]) return SlotState.SHORT;
  return ms < AGE_LIMITS[2] ? SlotState.LONG : SlotState.OLD;
}

/** One slot of a pool: its lease now, and those before. */
export class SlotRow extends Spans {
  /** The slot's number, or the block's address in a pool that has no slots. */
  slot: number;
  /** The lease, as the newest snapshot that lists it had it. */
  holder: ModelHolder | null = null;
  /** What the holder calls itself, where an event told it first. */
  tag: string | undefined;
  /** The lease's number, where it is known. */
  lease: number | null = null;
  /** In which snapshot it was listed last. */
  listed = 0;
  /** Whether it is known since when the open lease is held. */
  isTimed = false;
  /** Nothing has told of it since the page was opened, or since events were lost. */
  isUnknown: boolean;

  /** A slot that is free, as far as it is known. */
  constructor(slot: number, isUnknown: boolean) {
    super();
    this.slot = slot;
    this.isUnknown = isUnknown;
  }
}

/** A report of starvation. */
export interface Report {
  /** When, in milliseconds since 1970. */
  readonly time: number;
  /** The pool's name. */
  readonly pool: string;
  /** Its key. */
  readonly key: string;
  /** Milliseconds that the first in line had waited. */
  readonly waited: number;
  /** How many waited. */
  readonly waiting: number;
  /** Who had the leases, oldest first; undefined: was not told. */
  readonly holders: readonly PoolHolder[] | undefined;
}

/** One pool's numbers at one moment. */
interface PoolSample {
  /** Leases that are out. */
  readonly leased: number;
  /** Waiters. */
  readonly waiting: number;
  /** Acquires a second. */
  readonly rate: number;
}

/** A moment of the graphs. */
export interface Sample {
  /** When, in milliseconds since 1970. */
  readonly time: number;
  /** By the pool's key. */
  readonly pools: ReadonlyMap<string, PoolSample>;
  /** Milliseconds of collections in a second, by thread. */
  readonly gc: ReadonlyMap<number, number>;
}

/** Kinds whose slots are numbered from 0; the others name a block's address or number. */
const NUMBERED: ReadonlySet<string> = new Set(["BufferPool", "SharedPool", "TransferPool", "ProcessPool"]);

/** One pool over time. */
export class PoolModel {
  /** Tells it apart from all others of its process. */
  readonly key: string;
  /** The newest that was told. */
  info: ModelPool;
  /** The most slots that are shown. */
  limit: number = MAX_SLOTS;
  /** Its slots, in order. */
  readonly rows: SlotRow[] = [];
  /** When somebody waited. */
  readonly waits: Spans = new Spans();
  readonly #isNumbered: boolean;
  /** Which row an address has, in a pool without numbered slots. */
  readonly #rowOf: Map<number, number> = new Map();
  readonly #openWaits: Set<string> = new Set();
  #snapshots = 0;
  /** There may be leases of which neither an event nor a list has told: rows may be unknown. */
  #isPartial = true;

  /** A pool that was told of for the first time. */
  constructor(info: ModelPool) {
    this.key = info.key;
    this.info = info;
    this.#isNumbered = NUMBERED.has(info.kind);
  }

  /** Waits that were told of, and whose end was not. */
  get outstandingWaits(): number {
    return this.#openWaits.size;
  }

  /** Events were lost, perhaps of this pool: what was known of its slots may be over. */
  forget(): void {
    this.#doubt();
    this.#openWaits.clear();
  }

  #doubt(): void {
    this.#isPartial = true;
    for (const row of this.rows) row.isUnknown = true;
  }

  /** What an observer in one of the threads told. */
  event(event: RealmEvent): void {
    const { type, subject, time } = event;
    switch (type) {
      case "acquire": {
        const row = this.#row(subject);
        if (row === undefined) return;
        row.begin(time);
        row.holder = null;
        row.tag = event.text;
        row.lease = event.value;
        row.isTimed = true;
        row.isUnknown = false;
        return;
      }
      case "release":
      case "discard":
        // A slot of which nothing else was told has its row from now on: it is free.
        this.#end(this.#isNumbered ? this.#row(subject) : this.#find(subject), time);
        return;
      case "wait":
        this.#openWaits.add(`${event.thread}.${subject}`);
        if (!this.waits.isOpen) this.waits.begin(time);
        return;
      case "waitEnd":
        this.#openWaits.delete(`${event.thread}.${subject}`);
        if (this.#openWaits.size === 0) this.waits.end(time);
        return;
      case "end":
        for (const row of this.rows) this.#end(row, time);
        return;
    }
  }

  /** The newest snapshot: it corrects what events did not tell. */
  update(info: ModelPool, time: number): void {
    this.info = info;
    if (!info.unlisted) this.#updateHolders(info, time);
    if (this.#isPartial) this.#complete(info.leased, time);
    // Ends of waits may be among the events that were left out.
    if (this.#openWaits.size > 2 * info.waiting + MAX_OPEN_WAITS) this.#openWaits.clear();
    if (info.waiting === 0) {
      this.#openWaits.clear();
      this.waits.end(time);
    } else if (!this.waits.isOpen) this.waits.begin(time);
    const slots = Math.min(this.limit, Math.max(info.count, this.#isNumbered ? 0 : info.leased));
    while (this.rows.length < slots) this.#addRow(this.rows.length);
    // A pool that gave memory back has fewer slots.
    while (this.rows.length > slots && !this.rows[this.rows.length - 1]!.isOpen) this.rows.pop();
  }

  #updateHolders(info: ModelPool, time: number): void {
    const tick = ++this.#snapshots;
    // Without events, a lease that is not in the list may be over.
    if (info.taken === undefined) this.#doubt();
    for (const holder of info.holders) {
      const row = this.#row(holder.slot);
      if (row === undefined) continue;
      const { age, lease } = holder;
      const isOther =
        row.lease !== null && lease !== null
          ? row.lease !== lease
          : // Events were lost, and there is no number: it is another one if it is younger.
            row.isUnknown && age !== null && time - age > row.openSince + YOUNGER_MS;
      // An event of a later moment than the snapshot's says more.
      if (row.isOpen ? isOther && row.openSince > time : row.lastEnd >= time) continue;
      if (!row.isOpen || isOther) {
        row.begin(age === null ? time : time - age);
        row.isTimed = age !== null;
        row.tag = undefined;
      } else if (!row.isTimed && age !== null) {
        row.openSince = Math.max(row.lastEnd, time - age);
        row.isTimed = true;
      }
      row.holder = holder;
      row.lease = lease;
      row.listed = tick;
      row.isUnknown = false;
    }
    const isAll = info.holders.length >= info.leased;
    if (isAll) {
      for (const row of this.rows) if (row.isOpen && row.listed !== tick && row.openSince < time) this.#end(row, time);
    }
    if (!this.#isPartial) return;
    for (const row of this.rows) {
      if (!row.isUnknown) continue;
      this.#end(row, time);
      row.isUnknown = !isAll;
    }
    this.#isPartial = !isAll;
  }

  /** Where as many leases are known as are out, all other slots are free. */
  #complete(leased: number, time: number): void {
    let known = 0;
    for (const row of this.rows) if (row.isOpen && !row.isUnknown) known++;
    if (known < leased) return;
    this.#isPartial = false;
    for (const row of this.rows) if (row.isUnknown) this.#end(row, time);
  }

  /** The state of a row at that moment. */
  stateOf(row: SlotRow, now: number): SlotState {
    if (row.isOpen) return row.isTimed ? stateOfAge(now - row.openSince) : SlotState.HELD;
    return row.isUnknown ? SlotState.UNTOLD : SlotState.FREE;
  }

  #find(slot: number): SlotRow | undefined {
    const row = this.#rowOf.get(slot);
    return row === undefined ? undefined : this.rows[row];
  }

  /** The row of a slot, made when it is new; undefined: beyond what is shown. */
  #row(slot: number): SlotRow | undefined {
    if (this.#isNumbered) {
      if (!(slot >= 0 && slot < this.limit)) return undefined;
      while (this.rows.length <= slot) this.#addRow(this.rows.length);
      return this.rows[slot];
    }
    let at = this.#rowOf.get(slot);
    if (at === undefined) {
      at = this.rows.findIndex(({ isOpen }) => !isOpen);
      if (at < 0) at = this.rows.length;
      if (at >= this.limit) return undefined;
      if (at === this.rows.length) this.#addRow(slot);
      this.rows[at]!.slot = slot;
      this.#rowOf.set(slot, at);
    }
    return this.rows[at];
  }

  #addRow(slot: number): void {
    this.rows.push(new SlotRow(slot, this.#isPartial));
  }

  #end(row: SlotRow | undefined, time: number): void {
    if (row === undefined) return;
    row.isUnknown = false;
    if (!row.end(time)) return;
    row.holder = null;
    row.tag = undefined;
    row.lease = null;
    if (!this.#isNumbered) this.#rowOf.delete(row.slot);
  }
}

/** One process over time. */
export class ProcessModel {
  /** The newest that was told. */
  snapshot: ProcessSnapshot;
  /** Its pools, in order. */
  pools: readonly PoolModel[] = [];
  /** Newest last. */
  readonly samples: Sample[] = [];
  /** Newest first. */
  readonly reports: Report[] = [];
  /** Reports since the beginning. */
  reported = 0;
  #byKey: Map<string, PoolModel> = new Map();
  /** What the last sample was made of. */
  #acquires: Map<string, number> = new Map();
  #gc: Map<number, number> = new Map();
  #sampled = Number.NEGATIVE_INFINITY;

  /** A process that was told of for the first time. */
  constructor(snapshot: ProcessSnapshot) {
    this.snapshot = snapshot;
  }

  /** The program's time of the newest update. */
  get now(): number {
    return this.snapshot.time;
  }

  /** The pool with this key. */
  pool(key: string): PoolModel | undefined {
    return this.#byKey.get(key);
  }

  /** Takes an update in. */
  apply({ snapshot, events, dropped }: InspectorUpdate): void {
    this.snapshot = snapshot;
    const shown = modelPools(snapshot);
    const byKey = new Map<string, PoolModel>();
    const byThread = new Map<number, Map<number, PoolModel>>();
    const limit = Math.min(MAX_SLOTS, Math.max(MIN_SLOTS, Math.floor(MAX_ALL_SLOTS / shown.length)));
    for (const info of shown) {
      const pool = this.#byKey.get(info.key) ?? new PoolModel(info);
      pool.limit = limit;
      byKey.set(info.key, pool);
      info.threads.forEach((thread, i) => {
        let pools = byThread.get(thread);
        if (pools === undefined) {
          pools = new Map();
          byThread.set(thread, pools);
        }
        pools.set(info.ids[i]!, pool);
      });
    }
    this.#byKey = byKey;
    this.pools = [...byKey.values()];
    if (dropped > 0) for (const pool of this.pools) pool.forget();
    this.#applyEvents(events, byThread);
    for (const info of shown) {
      const pool = byKey.get(info.key)!;
      pool.update(info, timeOf(snapshot, info));
      const { starvedLast } = info;
      if (starvedLast !== undefined) this.#report(pool, starvedLast);
    }
    if (snapshot.time - this.#sampled >= SAMPLE_MS || snapshot.time < this.#sampled) this.#sample(shown);
  }

  #applyEvents(events: readonly RealmEvent[], byThread: ReadonlyMap<number, ReadonlyMap<number, PoolModel>>): void {
    for (const event of inOrder(events)) {
      const pool = byThread.get(event.thread)?.get(event.pool);
      if (pool === undefined) continue;
      if (event.type === "starved") {
        this.#report(pool, { time: event.time, waited: event.value, waiting: event.subject, holders: undefined });
      } else pool.event(event);
    }
  }

  /** Adds a report, unless it is one that is there: an event and a snapshot tell of the same. */
  #report({ key, info }: PoolModel, report: Omit<Report, "pool" | "key">): void {
    const at = this.reports.findIndex((other) => other.key === key && Math.abs(other.time - report.time) < 20);
    const { time, waited, waiting, holders } = report;
    if (at >= 0) {
      if (this.reports[at]!.holders === undefined && holders !== undefined)
        this.reports[at] = { ...this.reports[at]!, holders };
      return;
    }
    const oldest = this.reports[MAX_REPORTS - 1];
    if (oldest !== undefined && time < oldest.time) return;
    this.reported++;
    const place = this.reports.findIndex((other) => other.time <= time);
    const made = { time, pool: info.name, key, waited, waiting, holders };
    this.reports.splice(place < 0 ? this.reports.length : place, 0, made);
    if (this.reports.length > MAX_REPORTS) this.reports.pop();
  }

  #sample(shown: readonly ModelPool[]): void {
    const { time, realms } = this.snapshot;
    const seconds = (time - this.#sampled) / 1000;
    const isFirst = !(seconds > 0 && Number.isFinite(seconds));
    const acquires = new Map<string, number>();
    const pools = new Map<string, PoolSample>();
    for (const { key, leased, waiting, acquires: counted, taken } of shown) {
      const now = counted ?? taken ?? 0;
      acquires.set(key, now);
      const before = this.#acquires.get(key);
      const rate = isFirst || before === undefined ? 0 : Math.max(0, now - before) / seconds;
      pools.set(key, { leased, waiting, rate });
    }
    const totals = new Map<number, number>();
    const gc = new Map<number, number>();
    for (const realm of realms) {
      totals.set(realm.thread, realm.gc.ms);
      const before = this.#gc.get(realm.thread);
      gc.set(realm.thread, isFirst || before === undefined ? 0 : Math.max(0, realm.gc.ms - before) / seconds);
    }
    this.#acquires = acquires;
    this.#gc = totals;
    this.#sampled = time;
    this.samples.push({ time, pools, gc });
    if (this.samples.length > MAX_SAMPLES) this.samples.shift();
  }
}

/** Everything that the page was told. */
export class InspectorModel {
  /** By number, in the order in which they were first told of. */
  readonly processes: Map<number, ProcessModel> = new Map();

  /** Takes an update in. */
  apply(update: InspectorUpdate): void {
    const { pid } = update.snapshot;
    let process = this.processes.get(pid);
    if (process === undefined) {
      process = new ProcessModel(update.snapshot);
      this.processes.set(pid, process);
    }
    process.apply(update);
  }
}

/**
 * As {@link mergePools}, without a copy of each lease of the pools that are not shared: 1 ms less for 2,500 of them.
 */
function modelPools(snapshot: ProcessSnapshot): ModelPool[] {
  const isShared = ({ shared }: { readonly shared?: number }): boolean => shared !== undefined;
  const realms = snapshot.realms.map((realm) => ({ ...realm, pools: realm.pools.filter(isShared) }));
  const merged = new Map(mergePools({ ...snapshot, realms }).map((pool) => [pool.shared, pool]));
  const pools: ModelPool[] = [];
  for (const { thread, pools: own, silent } of snapshot.realms) {
    for (const pool of own) {
      if (pool.shared === undefined) {
        const { members, id } = pool;
        const seen = { key: `${thread}.${id}`, threads: [thread], ids: [id] };
        const named = members.map((member) => ({ ...member, self: false, thread }));
        pools.push({ ...pool, ...seen, members: named, ...(silent === undefined ? {} : { silent }) });
        continue;
      }
      const shared = merged.get(pool.shared);
      // The first thread that sees it says where in the list it is.
      if (shared === undefined) continue;
      merged.delete(pool.shared);
      pools.push(shared);
    }
  }
  return pools;
}

/** When the newest of the threads that see a pool looked at it: of those that answer, if there is one. */
function timeOf({ realms, time }: ProcessSnapshot, { threads }: ModelPool): number {
  let newest = Number.NEGATIVE_INFINITY;
  let silent = Number.NEGATIVE_INFINITY;
  for (const realm of realms) {
    if (!threads.includes(realm.thread)) continue;
    if (realm.silent === undefined) newest = Math.max(newest, realm.time);
    else silent = Math.max(silent, realm.time);
  }
  if (newest !== Number.NEGATIVE_INFINITY) return newest;
  return silent === Number.NEGATIVE_INFINITY ? time : silent;
}

/** Events of several threads in order of time: a shared slot is acquired in one and released in another. */
function inOrder(events: readonly RealmEvent[]): readonly RealmEvent[] {
  for (let i = 1; i < events.length; i++) {
    if (events[i]!.time < events[i - 1]!.time) return [...events].sort((a, b) => a.time - b.time);
  }
  return events;
}
