/**
 * RealmInspector: what the inspector knows of the realm that it is in, for a page inside this realm or a server.
 *
 * Life-cycle: made once for a realm. It records while somebody looks ({@link RealmInspector.look}); when nobody does,
 * it has no recorder, no observer and no timer, and the pools' fast paths are open.
 *
 * Invariants: a snapshot changes nothing, has no bytes of buffers, and is bounded whatever the program names its pools:
 * {@link MAX_POOLS} pools, {@link MAX_LISTED} holders, texts are cut. A pool that cannot be read is left out. What is
 * kept of a pool goes with the pool.
 * Complexity: a snapshot is O(slots) and the events since the one before; 20 us more for each traced lease, once.
 */
import { cut } from "../util/cut.ts";
import type { Steps } from "../util/steps.ts";
import { type GcWatch, MAJOR_GC, watchGc } from "./gc.ts";
import type { PoolHolder, PoolMember } from "./pool-info.ts";
import { ENDED, Recorder, type Recording } from "./recorder.ts";
import { type PoolRegistration, registrations } from "./registry.ts";
import {
  MAX_EVENTS,
  MAX_HOLDERS,
  MAX_NAME,
  MAX_TEXT,
  type PoolSnapshot,
  type RealmEvent,
  type RealmSnapshot,
  type StarvedReport,
} from "./snapshot.ts";

/** What only the platform knows of a realm. */
export interface RealmFacts {
  /** The thread's number; default 0, the main thread. */
  readonly thread?: number;
  /** "Node 24.1.0"; default: "JavaScript". */
  readonly runtime?: string;
  /** Bytes of the heap now; absent: cannot be seen. */
  readonly heap?: () => { readonly used: number; readonly external: number };
  /** Milliseconds from which on a pool takes long to read, and is read rarely; default 2. */
  readonly slow?: number;
}

/** Events of a realm from a place on. */
export interface RealmEvents {
  /** The newest, at most {@link MAX_EVENTS}. */
  readonly events: RealmEvent[];
  /** Those that were left out. */
  readonly dropped: number;
  /** Where to go on. */
  readonly next: number;
}

/** Pools in a snapshot: above that a table helps nobody. */
export const MAX_POOLS = 2000;
/** Holders in a snapshot of all pools together. */
const MAX_LISTED = 8192;
/** Holders that each pool may list, however many pools there are. */
const MIN_HOLDERS = 4;
/** Holders of all pools together that each snapshot lists: a viewer reads them in a tenth of a millisecond. */
const ALWAYS_LISTED = 200;
/** Members of a shared pool in a snapshot. */
const MAX_MEMBERS = 64;
/** Leases whose beginning is remembered of one pool that does not know their age. */
const MAX_TIMED = 65_536;
/** 2 to 3 MB while somebody looks: four seconds of 8,000 leases a second. */
const CAPACITY = 65_536;
/** A pool that takes so long to read is read rarely: it rests so many times as long. */
const SLOW_MS = 2;
const RARELY = 50;
/** Milliseconds for the sites of events, of which each takes 20 us when it is asked for first. */
const SITES_MS = 8;
/** Holders in a report of starvation. */
const MAX_REPORTED = 64;

/** The note of a lease that was out already when somebody began to look, in a pool that does not know its age. */
export const AT_LEAST = "at least";

interface SlowRead {
  readonly snapshot: PoolSnapshot;
  /** Milliseconds that it took. */
  readonly took: number;
  /** It stands for the pool until then. */
  readonly until: number;
}

/** A lease of a pool that does not know its age: which, and since when. */
interface Timed {
  readonly lease: number;
  readonly began: number;
}

/** See the module text. */
export class RealmInspector {
  readonly #facts: RealmFacts;
  readonly #gc = { count: 0, major: 0, ms: 0 };
  readonly #starved: Map<number, StarvedReport> = new Map();
  /** Since when, and which lease, by slot, of pools that do not know it themselves. */
  readonly #timed: Map<number, Map<number, Timed>> = new Map();
  /** The same of all pools, by what the ring has: made in a snapshot in which such a pool is seen first. */
  #ring: Map<number, Map<number, Timed>> | undefined;
  /** What pools said that take long to read. */
  readonly #slow: WeakMap<PoolRegistration, SlowRead> = new WeakMap();
  #gcWatch: GcWatch | undefined;
  #recorder: Recorder | undefined;
  #lookers = 0;
  /** When the recorder began, by performance.now(). */
  #since = 0;
  #timedTo = 0;
  /** Holders that the newest snapshot which lists them all has, and how many each pool may have. */
  #listed = 0;
  #most = MAX_HOLDERS;
  /** What the recorders before the present one recorded: numbers of events go on. */
  #base = 0;

  /** Starts nothing. */
  constructor(facts: RealmFacts = {}) {
    this.#facts = facts;
  }

  /** Whether somebody looks. */
  get isRecording(): boolean {
    return this.#recorder !== undefined;
  }

  /** Somebody looks: events are recorded. Returns what ends that; with the last look the recording is dropped. */
  look(): () => void {
    if (this.#lookers === 0) this.#start();
    this.#lookers++;
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      if (--this.#lookers === 0) this.#stop();
    };
  }

  /**
   * This realm now. Where there are many holders, `isListed: false` leaves those out that events tell of: of pools that
   * this realm has for itself, while it records.
   */
  snapshot(isListed = true): RealmSnapshot {
    this.#readTimes();
    this.#gcWatch?.poll();
    const all = registrations();
    this.#prune(all);
    const live = all.slice(0, MAX_POOLS);
    const isRare = !isListed && this.#recorder !== undefined && this.#listed > ALWAYS_LISTED;
    if (!isRare) this.#most = this.#mostHolders(live);
    const pools: PoolSnapshot[] = [];
    for (const pool of live) {
      try {
        // What takes long to read is kept with its leases.
        const isLeftOut = isRare && pool.probe.shared === undefined && !this.#slow.has(pool);
        pools.push(isLeftOut ? { ...this.#poolSnapshot(pool, 0), unlisted: true } : this.#read(pool, this.#most));
      } catch {
        // An allocator or a clock of the program's own threw, or the pool is in the middle of its end.
      }
    }
    if (!isRare) this.#listed = pools.reduce((sum, { holders }) => sum + holders.length, 0);
    this.#ring = undefined;
    const { thread = 0, runtime = "JavaScript", heap } = this.#facts;
    return {
      version: 1,
      time: performance.timeOrigin + performance.now(),
      thread,
      runtime,
      pools,
      gc: { ...this.#gc },
      heap: heapOf(heap),
      recording: this.isRecording,
    };
  }

  /** Events from `sequence` on; 0: all that are kept. Of traced pools as many have their sites as can be read soon. */
  eventsFrom(sequence: number): RealmEvents {
    const recorder = this.#recorder;
    if (recorder === undefined) return { events: [], dropped: 0, next: this.#base };
    const from = Math.max(0, sequence - this.#base);
    const { thread = 0 } = this.#facts;
    const until = performance.now() + SITES_MS;
    const found = recorder.eventsFrom(from, MAX_EVENTS, () => performance.now() < until);
    const events = found.map((event) => ({ ...event, ...cutTexts(event), thread }));
    return { events, dropped: recorder.sequence - from - events.length, next: this.#base + recorder.sequence };
  }

  /** What was recorded since somebody looks, in steps; undefined: nobody does. */
  recordingSteps(): Steps<Recording> | undefined {
    return this.#recorder?.recordingSteps();
  }

  #start(): void {
    this.#timedTo = 0;
    this.#recorder = new Recorder(CAPACITY, undefined, {
      onStarved: (pool, waited, waiting) => {
        const time = performance.timeOrigin + performance.now();
        this.#starved.set(pool.id, {
          time,
          waited,
          waiting,
          holders: pool.probe.holders(MAX_REPORTED).map(keptHolder),
        });
      },
      onEnd: (pool) => this.#forget(pool),
    });
    this.#since = performance.now();
    this.#gcWatch = watchGc((kind, _start, duration) => {
      this.#gc.count++;
      if (kind === MAJOR_GC) this.#gc.major++;
      this.#gc.ms += duration;
    });
  }

  #stop(): void {
    this.#gcWatch?.stop();
    this.#gcWatch = undefined;
    this.#base += this.#recorder?.sequence ?? 0;
    this.#recorder?.stop();
    this.#recorder = undefined;
    this.#starved.clear();
    this.#timed.clear();
  }

  /** A pool has gone: so does what is kept of it. */
  #forget(pool: number): void {
    this.#starved.delete(pool);
    this.#timed.delete(pool);
  }

  /** The same for pools that the program forgot, which have no end. */
  #prune(live: readonly PoolRegistration[]): void {
    if (this.#starved.size + this.#timed.size === 0) return;
    const ids = new Set(live.map(({ id }) => id));
    for (const table of [this.#starved, this.#timed]) {
      for (const id of table.keys()) if (!ids.has(id)) this.#forget(id);
    }
  }

  /** Reads of the recorder since when leases are out whose pools do not know it. */
  #readTimes(): void {
    const recorder = this.#recorder;
    if (recorder === undefined) return;
    if (this.#timed.size > 0) {
      recorder.leasesFrom(this.#timedTo, (pool, slot, lease, began) => {
        const leases = this.#timed.get(pool);
        if (leases !== undefined) setTime(leases, slot, lease, began);
      });
    }
    this.#timedTo = recorder.sequence;
  }

  /** What the ring has of a pool. All of it is read once for all pools that are seen first in one snapshot. */
  #timesInRing(recorder: Recorder, pool: number): Map<number, Timed> {
    if (this.#ring === undefined) {
      const ring = new Map<number, Map<number, Timed>>();
      this.#ring = ring;
      recorder.leasesFrom(0, (id, slot, lease, began) => {
        let leases = ring.get(id);
        if (leases === undefined) {
          leases = new Map();
          ring.set(id, leases);
        }
        setTime(leases, slot, lease, began);
      });
    }
    return this.#ring.get(pool) ?? new Map();
  }

  /** How many leases of each pool are listed: what pools with fewer leave over is for the others. */
  #mostHolders(live: readonly PoolRegistration[]): number {
    if (live.length * MAX_HOLDERS <= MAX_LISTED) return MAX_HOLDERS;
    const leased = live.map((pool) => this.#leasedOf(pool)).sort((a, b) => a - b);
    let left = MAX_LISTED;
    for (const [at, count] of leased.entries()) {
      const share = Math.floor(left / (leased.length - at));
      if (count > share) return Math.min(MAX_HOLDERS, Math.max(MIN_HOLDERS, share));
      left -= count;
    }
    return MAX_HOLDERS;
  }

  #leasedOf(pool: PoolRegistration): number {
    const known = this.#slow.get(pool);
    if (known !== undefined) return known.snapshot.leased;
    try {
      return Math.min(MAX_HOLDERS, pool.probe.counts().leased);
    } catch {
      return 0;
    }
  }

  /** A pool of a million slots takes 50 ms to be counted: it is read again when that is 2 % of the time. */
  #read(pool: PoolRegistration, most: number): PoolSnapshot {
    const began = performance.now();
    const known = this.#slow.get(pool);
    if (known !== undefined && began < known.until) {
      const { holders } = known.snapshot;
      return holders.length <= most ? known.snapshot : { ...known.snapshot, holders: holders.slice(0, most) };
    }
    const snapshot = this.#poolSnapshot(pool, most);
    const took = performance.now() - began;
    if (took < (this.#facts.slow ?? SLOW_MS)) this.#slow.delete(pool);
    else {
      // Once may be another program's turn: the quicker one of two counts.
      const rest = known === undefined ? 0 : RARELY * Math.min(took, known.took);
      this.#slow.set(pool, { snapshot, took, until: began + took + rest });
    }
    return snapshot;
  }

  #poolSnapshot(pool: PoolRegistration, most: number): PoolSnapshot {
    const { id, kind, name, probe } = pool;
    const counts = probe.counts();
    const holders = counts.leased === 0 || most === 0 ? [] : probe.holders(most).map(plainHolder);
    const members = (probe.members?.() ?? []).slice(0, MAX_MEMBERS);
    const starvedLast = this.#starved.get(id);
    return {
      id,
      kind,
      name: cut(name, MAX_NAME),
      ...counts,
      max: finite(counts.max),
      maxBytes: finite(counts.maxBytes),
      ...(probe.shared === undefined ? {} : { shared: probe.shared }),
      ...(this.#recorder === undefined ? {} : { taken: this.#recorder.takenOf(id) }),
      holders: holders.some(({ age }) => age === null) ? this.#withAges(pool, holders, members) : holders,
      members,
      ...(starvedLast === undefined ? {} : { starvedLast }),
    };
  }

  #withAges(pool: PoolRegistration, holders: PoolHolder[], members: readonly PoolMember[]): PoolHolder[] {
    if (this.#recorder === undefined) return holders;
    let known = this.#timed.get(pool.id);
    if (known === undefined) {
      known = this.#timesInRing(this.#recorder, pool.id);
      this.#timed.set(pool.id, known);
    }
    const own = members.find(({ self }) => self)?.member;
    const now = performance.now();
    const aged = holders.map((holder) => {
      const lease = known.get(holder.slot);
      if (holder.age !== null || lease === undefined) return holder;
      // Another thread's lease of a slot that this one had before is told apart by its number, and by who has it.
      if (own !== undefined && (holder.lease !== lease.lease || holder.members?.includes(own) === false)) return holder;
      const note = lease.began > this.#since ? {} : { note: [AT_LEAST, holder.note].filter(Boolean).join("; ") };
      return { ...holder, age: Math.round((now - lease.began) * 100) / 100, ...note };
    });
    return aged.sort((a, b) => (b.age ?? -1) - (a.age ?? -1));
  }
}

/** A program may have put a function of its own in the place of the platform's. */
function heapOf(heap: RealmFacts["heap"]): RealmSnapshot["heap"] {
  try {
    return heap?.() ?? null;
  } catch {
    return null;
  }
}

function setTime(leases: Map<number, Timed>, slot: number, lease: number, began: number): void {
  if (began === ENDED) leases.delete(slot);
  else if (leases.size < MAX_TIMED || leases.has(slot)) leases.set(slot, { lease, began });
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

/** As it is, unless a text has to be cut; ages to a hundredth of a millisecond, which is half the characters. */
function plainHolder(holder: PoolHolder): PoolHolder {
  const { age, tag, note, site } = holder;
  const rounded = age === null ? null : Math.round(age * 100) / 100;
  const isShort = (tag?.length ?? 0) <= MAX_NAME && (note?.length ?? 0) <= MAX_TEXT && (site?.length ?? 0) <= MAX_TEXT;
  return isShort ? { ...holder, age: rounded } : { ...holder, ...cutTexts(holder), age: rounded };
}

/** The same to be kept: nothing of the program's texts stays alive with it. */
function keptHolder(holder: PoolHolder): PoolHolder {
  return { ...plainHolder(holder), ...cutTexts(holder) };
}

interface Texts {
  readonly tag?: string | undefined;
  readonly note?: string | undefined;
  readonly text?: string | undefined;
  readonly site?: string | undefined;
}

function cutTexts({ tag, note, text, site }: Texts): Texts {
  return {
    ...(tag === undefined ? {} : { tag: cut(tag, MAX_NAME) }),
    ...(note === undefined ? {} : { note: cut(note, MAX_TEXT) }),
    ...(text === undefined ? {} : { text: cut(text, MAX_NAME) }),
    ...(site === undefined ? {} : { site: cut(site, MAX_TEXT) }),
  };
}
