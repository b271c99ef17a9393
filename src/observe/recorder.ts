/**
 * Recorder: what the pools of this realm did, in a ring of fixed size: the beginning and end of every lease and wait,
 * discards and starvation. It allocates its ring once, and for an event nothing but its text. What the stages of
 * pipelines did, and pauses of the garbage collector, are in a second ring of the same size.
 *
 * ```ts
 * const recorder = record();
 * await work();
 * await writeFile("trace.json", JSON.stringify(recorder.trace()));   // opens in Perfetto and chrome://tracing
 * recorder.stop();
 * ```
 * Life-cycle: records from {@link record} until {@link Recorder.stop}; what it recorded stays. While it records, the
 * fast paths of the pools that it watches are closed: an acquire and its release take about 100 ns more together.
 * Without a recorder they are as they were.
 *
 * Invariants: events are in order of time; the newest `capacity` are kept and the others counted in `dropped`; leases
 * that were out at the start have the age that their pool knew. An event is O(1), {@link Recorder.events} O(capacity).
 */
import { cut } from "../util/cut.ts";
import { disposeWith } from "../util/dispose.ts";
import { callerOf, type Site } from "../util/stack.ts";
import { finish, ITEMS_A_STEP, type Steps, sortSteps } from "../util/steps.ts";
import { checkOptions, listOf, wholeNumber, word } from "../util/validate.ts";
import { type GcWatch, watchGc } from "./gc.ts";
import { watchPool } from "./observers.ts";
import type { PoolCounts, PoolKind } from "./pool-info.ts";
import type { PoolInfo } from "./pools.ts";
import { threadName } from "./realm.ts";
import { onRegister, type PoolObserver, type PoolRegistration, registrations } from "./registry.ts";
import { MAX_NAME, MAX_TEXT } from "./snapshot.ts";
import { type RecordedSpan, SpanRing } from "./spans.ts";
import { type StageObserver, watchStages } from "./stages.ts";
import { type Trace, type TraceExtra, traceOf } from "./trace.ts";

/** What happened. */
export type RecordedType = "acquire" | "release" | "wait" | "waitEnd" | "resize" | "discard" | "starved" | "end";

/** One event, as plain data. */
export interface RecordedEvent {
  /** What happened. */
  readonly type: RecordedType;
  /** When, in milliseconds since 1970, with fractions. */
  readonly time: number;
  /** The pool's number, as in {@link Recording.pools}. */
  readonly pool: number;
  /**
   * acquire, release, discard: the slot. wait, waitEnd: the wait's number. resize: how many slots. starved: how many
   * wait.
   */
  readonly subject: number;
  /** acquire: which lease of the slot. waitEnd: 1 when it was served, else 0. starved: milliseconds waited. */
  readonly value: number;
  /** acquire: what the holder calls itself; discard: the reason. At most 200 characters. */
  readonly text?: string;
  /** acquire, in a pool that is traced: where. */
  readonly site?: string;
}

/** A pool that was recorded. */
export interface RecordedPool {
  /** Its number in its realm. */
  readonly id: number;
  /** Its kind. */
  readonly kind: PoolKind;
  /** Its name, at most 200 characters. */
  readonly name: string;
  /** Slots that it had when its recording began. */
  readonly count: number;
  /** The same for all recordings of one shared pool; else undefined. */
  readonly shared?: number;
  /** What it said when the recording ended or was asked for; absent: the pool had ended by then. */
  readonly last?: {
    /** Slots that exist. */
    readonly count: number;
    /** Leases that are out. */
    readonly leased: number;
    /** Waiters. */
    readonly waiting: number;
  };
}

/** What a recorder recorded, as plain data: it can be posted to another thread. */
export interface Recording {
  /** What the thread is called. */
  readonly thread: string;
  /** The pools that were watched. */
  readonly pools: readonly RecordedPool[];
  /** Oldest first. */
  readonly events: readonly RecordedEvent[];
  /** Events that were overwritten. */
  readonly dropped: number;
  /** Pauses of the garbage collector, and what stages of pipelines did, in order of beginning. */
  readonly spans: readonly RecordedSpan[];
  /** Spans that were overwritten. */
  readonly droppedSpans: number;
  /** When the recording began and ended (or was asked for), in milliseconds since 1970. */
  readonly from: number;
  /** See `from`. */
  readonly to: number;
}

/** How a recorder is made. */
export interface RecordOptions {
  /** Which pools; default: all that live, and all that are made while it records. */
  pools?: readonly PoolInfo[];
  /**
   * Events that are kept; 16 to 1,048,576, default 65,536, which take 2.9 MB and 0.3 kB for each text of its own; as
   * many spans of stages.
   */
  capacity?: number;
  /** What this thread is called in a trace; default: "main", "worker 2". */
  thread?: string;
}

const TYPES: readonly RecordedType[] = ["acquire", "release", "wait", "waitEnd", "resize", "discard", "starved", "end"];
const ACQUIRE = 0;
const RELEASE = 1;
const WAIT = 2;
const WAIT_END = 3;
const RESIZE = 4;
const DISCARD = 5;
const STARVED = 6;
const END = 7;
const HAS_TEXT = 8;
const HAS_SITE = 16;
const HAS_NOTE = HAS_TEXT | HAS_SITE;

/** @internal What {@link Recorder.leasesFrom} has for the time of a lease that ended. */
export const ENDED: number = Number.NEGATIVE_INFINITY;

const DEFAULT_CAPACITY = 65_536;
const MAX_CAPACITY = 2 ** 20;

/** Starts to record. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`. */
export function record(options: RecordOptions = {}): Recorder {
  const given = checkOptions("options", options, ["pools", "capacity", "thread"]);
  const { pools: wanted, capacity = DEFAULT_CAPACITY } = given;
  wholeNumber("options.capacity", capacity, 16, MAX_CAPACITY);
  const thread = given.thread === undefined ? threadName() : word("options.thread", given.thread);
  if (wanted === undefined) return new Recorder(capacity, undefined, { thread, threads: true });
  const ids = listOf("options.pools", "an array of what pools() gave", wanted).map((info) =>
    wholeNumber("options.pools[].id", info?.id, 1),
  );
  return new Recorder(capacity, new Set(ids), { thread });
}

/** What only the library says of a recorder. */
interface RecorderExtra {
  /** What the thread is called. */
  readonly thread?: string;
  /** Whether threads of stages record, too, and hand it in. */
  readonly threads?: boolean;
  /** Hears of starvation as it happens. */
  readonly onStarved?: (pool: PoolRegistration, waited: number, waiting: number) => void;
  /** Hears of the end of a pool, by its number. */
  readonly onEnd?: (pool: number) => void;
}

/** A pool that is recorded, or was until it ended. */
interface Watched {
  readonly recorded: RecordedPool;
  /** Undefined from the pool's end on; weak, so that a pool that the program forgets goes while it is recorded. */
  pool: WeakRef<PoolRegistration> | undefined;
  readonly unwatch: () => void;
}

/**
 * Pools that ended and have no event in the ring are forgotten when there are so many more than before, or a part of
 * the ring's size, which is looked through then.
 */
const SWEEP = 256;
const SWEEP_SHARE = 1 / 64;
/** Events and spans of threads that are kept, by capacity: full rings of two stages, or what many short runs leave. */
const THREADS_KEEP = 4;

const UNKNOWN: Pick<PoolCounts, "count" | "leased"> = { count: 0, leased: 0 };

/**
 * What a pool says of itself, or `otherwise`: one that lost its bytes, or whose clock throws, keeps no other from being
 * recorded.
 */
function saidBy<T>(ask: () => T, otherwise: T): T {
  try {
    return ask();
  } catch {
    return otherwise;
  }
}

/**
 * What the pools of this thread did, in a ring of fixed size: the beginning and end of every lease and wait, discards,
 * starvation, stages of pipelines and pauses of the garbage collector. {@link record} makes one, {@link Recorder.stop}
 * ends it, and what it recorded stays. The newest `capacity` events are kept, in order of time, and the others counted
 * in `dropped`. While it records, the fast paths of the pools that it watches are closed; nothing is allocated for an
 * event.
 *
 * ```ts
 * const recorder = record();
 * await work();
 * recorder.stop();
 * await writeFile("trace.json", JSON.stringify(recorder.trace())); // opens in Perfetto and chrome://tracing
 * ```
 */
export class Recorder {
  /** Events that are kept. */
  readonly capacity: number;
  /** Stops, for `using recorder = record()` where the platform has `Symbol.dispose`. */
  declare [Symbol.dispose]: () => void;
  readonly #times: Float64Array;
  /** The pool's number times 32, the type, and whether it has a text and a site. */
  readonly #heads: Uint32Array;
  readonly #subjects: Float64Array;
  readonly #values: Float64Array;
  readonly #texts: (string | undefined)[];
  /** A text where it was asked for before. */
  readonly #sites: (Site | string | undefined)[];
  readonly #watched: Map<number, Watched> = new Map();
  #sweepAt = SWEEP;
  readonly #thread: string;
  readonly #spans: SpanRing;
  readonly #ofThreads: Recording[] = [];
  readonly #gcWatch: GcWatch;
  /** End what tells of new pools and stages. */
  readonly #endings: (() => void)[] = [];
  readonly #began: number = performance.now();
  readonly #from: number = performance.timeOrigin + this.#began;
  readonly #observer: PoolObserver;
  #to: number | undefined;
  /** The pools as they were at the end. */
  #ends: readonly RecordedPool[] | undefined;
  /** Leases that were taken, by the pool's number. */
  readonly #taken: number[] = [];
  #next = 0;
  #count = 0;
  #waits = 0;

  /** @internal Made by {@link record}. */
  constructor(capacity: number, ids: ReadonlySet<number> | undefined, extra: RecorderExtra = {}) {
    const { thread = threadName(), threads = false, onStarved, onEnd } = extra;
    this.capacity = capacity;
    this.#thread = thread;
    this.#spans = new SpanRing(capacity);
    this.#times = new Float64Array(capacity);
    this.#heads = new Uint32Array(capacity);
    this.#subjects = new Float64Array(capacity);
    this.#values = new Float64Array(capacity);
    this.#texts = new Array<string | undefined>(capacity).fill(undefined);
    this.#sites = new Array<Site | string | undefined>(capacity).fill(undefined);
    this.#observer = {
      onAcquire: (pool, slot, lease, tag, site) => {
        const at = this.#add(performance.now(), pool.id * 32 + ACQUIRE, slot, lease);
        this.#taken[pool.id]!++;
        if (tag !== undefined || site !== undefined) this.#note(at, tag, site);
      },
      onRelease: (pool, slot) => {
        this.#add(performance.now(), pool.id * 32 + RELEASE, slot, 0);
      },
      onWait: (pool) => {
        this.#add(performance.now(), pool.id * 32 + WAIT, ++this.#waits, 0);
        return this.#waits;
      },
      onWaitEnd: (pool, wait, served) => {
        // A wait that outlasts the recording tells of its end all the same.
        if (this.#to !== undefined) return;
        this.#add(performance.now(), pool.id * 32 + WAIT_END, wait, served ? 1 : 0);
      },
      onResize: (pool, count) => {
        this.#add(performance.now(), pool.id * 32 + RESIZE, count, 0);
      },
      onDiscard: (pool, slot, reason) => {
        this.#note(this.#add(performance.now(), pool.id * 32 + DISCARD, slot, 0), reason, undefined);
      },
      onStarved: (pool, waited, waiting) => {
        this.#add(performance.now(), pool.id * 32 + STARVED, waiting, waited);
        onStarved?.(pool, waited, waiting);
      },
      onEnd: (pool) => {
        this.#add(performance.now(), pool.id * 32 + END, 0, 0);
        this.#ended(pool.id);
        onEnd?.(pool.id);
      },
    };
    for (const pool of registrations()) if (ids === undefined || ids.has(pool.id)) this.#watch(pool);
    if (ids === undefined) this.#endings.push(onRegister((pool) => this.#watch(pool)));
    const onStage: StageObserver["onStage"] = (stage, activity, isWait, since) =>
      this.#spans.addStage(stage, activity, isWait, since);
    const onRecording = (recording: Recording): void => {
      this.#ofThreads.push(recording);
      let kept = 0;
      for (const { events, spans } of this.#ofThreads) kept += events.length + spans.length;
      while (kept > THREADS_KEEP * capacity && this.#ofThreads.length > 1) {
        const { events, spans } = this.#ofThreads.shift()!;
        kept -= events.length + spans.length;
      }
    };
    this.#endings.push(watchStages({ onStage, threads: threads ? { capacity, onRecording } : undefined }));
    this.#gcWatch = watchGc((kind, start, duration) => this.#spans.addPause(kind, start, duration));
  }

  /** Events that are kept now. */
  get length(): number {
    return Math.min(this.#count, this.capacity);
  }

  /** Events that were overwritten by later ones. */
  get dropped(): number {
    return Math.max(0, this.#count - this.capacity);
  }

  /** Whether it still records. */
  get isRecording(): boolean {
    return this.#to === undefined;
  }

  /** What was recorded until now, as plain data. O(capacity), and 20 us for each traced place. */
  recording(): Recording {
    return finish(this.recordingSteps());
  }

  /** @internal The same in steps: what is recorded now, whatever comes meanwhile. */
  recordingSteps(): Steps<Recording> {
    const to = this.#to ?? performance.timeOrigin + performance.now();
    this.#sweep();
    this.#gcWatch.poll();
    const pools = this.#ends ?? this.#describePools();
    const about = { thread: this.#thread, pools, from: this.#from, to };
    const dropped = { dropped: this.dropped, droppedSpans: this.#spans.dropped };
    const steps = { events: this.#eventSteps(0, this.capacity), spans: this.#spans.spanSteps() };
    return (function* (): Steps<Recording> {
      const events = yield* steps.events;
      // Leases from before the recording were noted when it began, with the times at which they had begun.
      yield* sortSteps(events, (a, b) => a.time - b.time);
      return { ...about, ...dropped, events, spans: yield* steps.spans };
    })();
  }

  /**
   * {@link Recorder.recording}, and what the threads of `workers` stages recorded that began and ended well meanwhile:
   * the newest, with at most four times `capacity` events and spans. None of a recorder that was given its pools.
   */
  recordings(): Recording[] {
    return [this.recording(), ...this.#ofThreads];
  }

  /** {@link traceOf} all {@link Recorder.recordings}. Throws `ERR_INVALID_ARG_*`. O(events log events). */
  trace(extra?: TraceExtra): Trace {
    return traceOf(this.recordings(), extra);
  }

  /** The pools, with what those say that have not ended. O(slots). */
  #describePools(): RecordedPool[] {
    return [...this.#watched.values()].map(({ recorded, pool: reference }) => {
      const pool = reference?.deref();
      if (pool === undefined) return recorded;
      const counts = saidBy(() => pool.probe.counts(), undefined);
      if (counts === undefined) return recorded;
      const { count, leased, waiting } = counts;
      return { ...recorded, last: { count, leased, waiting } };
    });
  }

  /** The events, oldest first. O(capacity). */
  events(): RecordedEvent[] {
    return this.eventsFrom(0, this.capacity).sort((a, b) => a.time - b.time);
  }

  /** @internal Events that were recorded until now, the overwritten ones included: where the next one will be. */
  get sequence(): number {
    return this.#count;
  }

  /** @internal Leases of a pool that were taken while it was recorded. */
  takenOf(pool: number): number {
    return this.#taken[pool] ?? 0;
  }

  /**
   * @internal The newest events from `sequence` on, at most `most`, in the order in which they were recorded. A place
   * that was not asked for before is left out unless `mayFormat` says that there is time for it.
   */
  eventsFrom(sequence: number, most: number, mayFormat?: () => boolean): RecordedEvent[] {
    return finish(this.#eventSteps(sequence, most, mayFormat));
  }

  /** In steps: those of now, whatever comes meanwhile. */
  #eventSteps(sequence: number, most: number, mayFormat?: () => boolean): Steps<RecordedEvent[]> {
    const length = Math.max(0, Math.min(this.#count - sequence, this.length, most));
    const first = (this.#next - length + this.capacity) % this.capacity;
    const columns = {
      times: partOf(this.#times, first, length),
      heads: partOf(this.#heads, first, length),
      subjects: partOf(this.#subjects, first, length),
      values: partOf(this.#values, first, length),
      texts: listOfRing(this.#texts, first, length),
      sites: listOfRing(this.#sites, first, length),
    };
    return this.#describe(first, columns, mayFormat);
  }

  /** @internal Leases that began and ended from `sequence` on, as numbers, without a look at their sites. */
  leasesFrom(sequence: number, visit: (pool: number, slot: number, lease: number, began: number) => void): void {
    const length = Math.min(this.#count - sequence, this.length);
    for (let i = this.#next - length; i < this.#next; i++) {
      const at = i < 0 ? i + this.capacity : i;
      const head = this.#heads[at]!;
      const type = head & 7;
      if (type === ACQUIRE) visit(head >>> 5, this.#subjects[at]!, this.#values[at]!, this.#times[at]!);
      else if (type === RELEASE) visit(head >>> 5, this.#subjects[at]!, 0, ENDED);
    }
  }

  /** Stops; what was recorded stays. The pools' fast paths are open again. A second time nothing happens. */
  stop(): void {
    if (this.#to !== undefined) return;
    this.#ends = this.#describePools();
    this.#to = performance.timeOrigin + performance.now();
    for (const end of this.#endings.splice(0)) end();
    this.#gcWatch.stop();
    for (const { unwatch } of this.#watched.values()) unwatch();
    this.#watched.clear();
  }

  #watch(pool: PoolRegistration): void {
    const { id, kind, name, probe } = pool;
    const { count, leased } = saidBy(() => probe.counts(), UNKNOWN);
    if (this.#watched.size >= this.#sweepAt) {
      this.#sweep();
      this.#sweepAt = this.#watched.size + Math.max(SWEEP, this.capacity * SWEEP_SHARE);
    }
    const recorded = {
      id,
      kind,
      name: cut(name, MAX_NAME),
      count,
      ...(probe.shared === undefined ? {} : { shared: probe.shared }),
    };
    this.#taken[id] = 0;
    const now = performance.now();
    // Other members' leases of a shared pool are recorded where they are; this thread would not hear of their ends.
    const self = saidBy(() => probe.members?.().find((member) => member.self)?.member, undefined);
    const held = saidBy(() => probe.holders(this.capacity), []);
    for (const { slot, lease, age, tag, members } of held) {
      if (members !== undefined && self !== undefined && !members.includes(self)) continue;
      const began = Math.min(this.#began, now - (age ?? 0));
      this.#note(this.#add(began, id * 32 + ACQUIRE, slot, lease ?? 0), tag, undefined);
    }
    // More than the ring has room for: as if they had been overwritten.
    if (held.length === this.capacity && this.#count >= this.capacity) this.#count += Math.max(0, leased - held.length);
    const unwatch = watchPool(pool, this.#observer);
    this.#watched.set(id, { recorded, pool: new WeakRef(pool), unwatch });
  }

  #ended(id: number): void {
    const watched = this.#watched.get(id);
    if (watched !== undefined) watched.pool = undefined;
  }

  /** Forgets the pools that ended, or that the program forgot, and of which nothing is in the ring. O(capacity). */
  #sweep(): void {
    let inRing: Set<number> | undefined;
    for (const [id, { pool, unwatch }] of this.#watched) {
      if (pool?.deref() !== undefined) continue;
      inRing ??= this.#poolsInRing();
      if (inRing.has(id)) continue;
      unwatch();
      this.#watched.delete(id);
      delete this.#taken[id];
    }
  }

  #poolsInRing(): Set<number> {
    const found = new Set<number>();
    for (let i = 0; i < this.length; i++) found.add(this.#heads[i]! >>> 5);
    return found;
  }

  #add(now: number, head: number, subject: number, value: number): number {
    const at = this.#next;
    this.#next = at + 1 === this.capacity ? 0 : at + 1;
    this.#count++;
    if ((this.#heads[at]! & HAS_NOTE) !== 0) this.#forget(at);
    this.#times[at] = now;
    this.#heads[at] = head;
    this.#subjects[at] = subject;
    this.#values[at] = value;
    return at;
  }

  #forget(at: number): void {
    this.#texts[at] = undefined;
    this.#sites[at] = undefined;
  }

  /** What few events have. */
  #note(at: number, text: string | undefined, site: Site | undefined): void {
    if (text !== undefined) {
      this.#texts[at] = cut(text, MAX_NAME);
      this.#heads[at]! |= HAS_TEXT;
    }
    if (site !== undefined) {
      this.#sites[at] = site;
      this.#heads[at]! |= HAS_SITE;
    }
  }

  *#describe(first: number, columns: Columns, mayFormat?: () => boolean): Steps<RecordedEvent[]> {
    const { times, heads, subjects, values, texts, sites } = columns;
    const events: RecordedEvent[] = [];
    // A program has few places, and texts of them that are the same are one.
    const known = new Map<string, string>();
    for (const [i, time] of times.entries()) {
      if (i % ITEMS_A_STEP === 0) yield;
      const head = heads[i]!;
      const text = (head & HAS_TEXT) === 0 ? undefined : texts[i];
      const place = (head & HAS_SITE) === 0 ? undefined : sites[i];
      const isLeftOut = typeof place === "object" && mayFormat?.() === false;
      const site = isLeftOut ? undefined : this.#siteAt((first + i) % this.capacity, place, known);
      events.push({
        type: TYPES[head & 7]!,
        time: performance.timeOrigin + time,
        pool: head >>> 5,
        subject: subjects[i]!,
        value: values[i]!,
        ...(text === undefined ? {} : { text }),
        ...(site === undefined ? {} : { site }),
      });
    }
    return events;
  }

  /** Formats a place once: the ring keeps the text instead. */
  #siteAt(at: number, site: Site | string | undefined, known: Map<string, string>): string | undefined {
    if (typeof site !== "object") return site;
    const text = cut(callerOf(site), MAX_TEXT);
    const one = known.get(text) ?? text;
    if (one === text) known.set(text, text);
    if (this.#sites[at] === site) this.#sites[at] = one;
    return one;
  }
}

/** Events that were copied from the ring: it goes on meanwhile. */
interface Columns {
  readonly times: Float64Array;
  readonly heads: Uint32Array;
  readonly subjects: Float64Array;
  readonly values: Float64Array;
  readonly texts: readonly (string | undefined)[];
  readonly sites: readonly (Site | string | undefined)[];
}

/** So many from `first` on, of a ring. */
function partOf<T extends Float64Array | Uint32Array>(ring: T, first: number, length: number): T {
  const part = ring.slice(first, first + length);
  if (part.length === length) return part as T;
  const whole = new (ring.constructor as new (length: number) => T)(length);
  whole.set(part);
  whole.set(ring.subarray(0, length - part.length), part.length);
  return whole;
}

function listOfRing<T>(ring: readonly T[], first: number, length: number): T[] {
  const part = ring.slice(first, first + length);
  return part.length === length ? part : part.concat(ring.slice(0, length - part.length));
}

disposeWith(Recorder, function (this: Recorder): void {
  this.stop();
});
