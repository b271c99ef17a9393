/**
 * Recorder: what the pools of this realm did, in a ring of fixed size: the beginning and end of every lease and wait,
 * discards and starvation. It allocates its ring once and nothing for an event.
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
import { disposeWith } from "../util/dispose.ts";
import { callerOf, type Site } from "../util/stack.ts";
import { checkOptions, listOf, wholeNumber } from "../util/validate.ts";
import { watchPool } from "./observers.ts";
import type { PoolKind } from "./pool-info.ts";
import type { PoolInfo } from "./pools.ts";
import { onRegister, type PoolObserver, type PoolRegistration, registrations } from "./registry.ts";

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
  /** acquire: what the holder calls itself; discard: the reason. */
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
  /** Its name. */
  readonly name: string;
  /** Slots that it had when its recording began. */
  readonly count: number;
  /** The same for all recordings of one shared pool; else undefined. */
  readonly shared?: number;
}

/** What a recorder recorded, as plain data: it can be posted to another thread. */
export interface Recording {
  /** The pools that were watched. */
  readonly pools: readonly RecordedPool[];
  /** Oldest first. */
  readonly events: readonly RecordedEvent[];
  /** Events that were overwritten. */
  readonly dropped: number;
  /** When the recording began and ended (or was asked for), in milliseconds since 1970. */
  readonly from: number;
  /** See `from`. */
  readonly to: number;
}

/** How a recorder is made. */
export interface RecordOptions {
  /** Which pools; default: all that live, and all that are made while it records. */
  pools?: readonly PoolInfo[];
  /** Events that are kept; 16 to 1,048,576, default 65,536, which take 2.9 MB. */
  capacity?: number;
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

const DEFAULT_CAPACITY = 65_536;
const MAX_CAPACITY = 2 ** 20;

/** Starts to record. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`. */
export function record(options: RecordOptions = {}): Recorder {
  const { pools: wanted, capacity = DEFAULT_CAPACITY } = checkOptions("options", options, ["pools", "capacity"]);
  wholeNumber("options.capacity", capacity, 16, MAX_CAPACITY);
  if (wanted === undefined) return new Recorder(capacity, undefined);
  const ids = listOf("options.pools", "an array of what pools() gave", wanted).map((info) =>
    wholeNumber("options.pools[].id", info?.id, 1),
  );
  return new Recorder(capacity, new Set(ids));
}

/** See the module text. */
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
  readonly #sites: (Site | undefined)[];
  readonly #recorded: RecordedPool[] = [];
  readonly #unwatch: (() => void)[] = [];
  readonly #from: number = performance.timeOrigin + performance.now();
  readonly #observer: PoolObserver;
  #to: number | undefined;
  #next = 0;
  #count = 0;
  #waits = 0;

  /** @internal Made by {@link record}. */
  constructor(capacity: number, ids: ReadonlySet<number> | undefined) {
    this.capacity = capacity;
    this.#times = new Float64Array(capacity);
    this.#heads = new Uint32Array(capacity);
    this.#subjects = new Float64Array(capacity);
    this.#values = new Float64Array(capacity);
    this.#texts = new Array<string | undefined>(capacity).fill(undefined);
    this.#sites = new Array<Site | undefined>(capacity).fill(undefined);
    this.#observer = {
      onAcquire: (pool, slot, lease, tag, site) => {
        const at = this.#add(performance.now(), pool.id * 32 + ACQUIRE, slot, lease);
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
      },
      onEnd: (pool) => {
        this.#add(performance.now(), pool.id * 32 + END, 0, 0);
      },
    };
    for (const pool of registrations()) if (ids === undefined || ids.has(pool.id)) this.#watch(pool);
    if (ids === undefined) this.#unwatch.push(onRegister((pool) => this.#watch(pool)));
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
    const to = this.#to ?? performance.timeOrigin + performance.now();
    return { pools: [...this.#recorded], events: this.events(), dropped: this.dropped, from: this.#from, to };
  }

  /** The events, oldest first. O(capacity). */
  events(): RecordedEvent[] {
    const { length } = this;
    const first = this.#next - length;
    const events = Array.from({ length }, (_, i) => this.#eventAt((first + i + this.capacity) % this.capacity));
    // Leases from before the recording were noted when it began, with the times at which they had begun.
    return events.sort((a, b) => a.time - b.time);
  }

  /** Stops; what was recorded stays. The pools' fast paths are open again. A second time nothing happens. */
  stop(): void {
    if (this.#to !== undefined) return;
    this.#to = performance.timeOrigin + performance.now();
    for (const unwatch of this.#unwatch.splice(0)) unwatch();
  }

  #watch(pool: PoolRegistration): void {
    const { id, kind, name, probe } = pool;
    const { count } = probe.counts();
    this.#recorded.push({ id, kind, name, count, ...(probe.shared === undefined ? {} : { shared: probe.shared }) });
    const now = performance.now();
    for (const { slot, lease, age, tag } of probe.holders(Math.floor(this.capacity / 2))) {
      this.#note(this.#add(now - (age ?? 0), id * 32 + ACQUIRE, slot, lease ?? 0), tag, undefined);
    }
    this.#unwatch.push(watchPool(pool, this.#observer));
  }

  #add(now: number, head: number, subject: number, value: number): number {
    const at = this.#next;
    this.#next = at + 1 === this.capacity ? 0 : at + 1;
    this.#count++;
    this.#times[at] = now;
    this.#heads[at] = head;
    this.#subjects[at] = subject;
    this.#values[at] = value;
    return at;
  }

  /** What few events have. A place that has none keeps what an older event left, unread. */
  #note(at: number, text: string | undefined, site: Site | undefined): void {
    if (text !== undefined) {
      this.#texts[at] = text;
      this.#heads[at]! |= HAS_TEXT;
    }
    if (site !== undefined) {
      this.#sites[at] = site;
      this.#heads[at]! |= HAS_SITE;
    }
  }

  #eventAt(at: number): RecordedEvent {
    const head = this.#heads[at]!;
    const text = (head & HAS_TEXT) === 0 ? undefined : this.#texts[at];
    const site = (head & HAS_SITE) === 0 ? undefined : this.#sites[at];
    return {
      type: TYPES[head & 7]!,
      time: performance.timeOrigin + this.#times[at]!,
      pool: head >>> 5,
      subject: this.#subjects[at]!,
      value: this.#values[at]!,
      ...(text === undefined ? {} : { text }),
      ...(site === undefined ? {} : { site: callerOf(site) }),
    };
  }
}

disposeWith(Recorder, function (this: Recorder): void {
  this.stop();
});
