/**
 * Metrics of pools for OpenTelemetry. The meter is the caller's, from whichever SDK; of `@opentelemetry/api` only types
 * are used, so that nothing is loaded here.
 *
 * ```ts
 * import { metrics } from "@opentelemetry/api";
 * import { instrument } from "millpond/otel";
 *
 * const stop = instrument(metrics.getMeter("my-app"));
 * ```
 *
 * | instrument                    | kind            | unit       | what                                        |
 * | ----------------------------- | --------------- | ---------- | ------------------------------------------- |
 * | `millpond.pool.buffers`       | up-down counter | `{buffer}` | slots, by `state`: `"free"` or `"leased"`   |
 * | `millpond.pool.limit`         | up-down counter | `{buffer}` | the most there may be, where that is known  |
 * | `millpond.pool.bytes`         | up-down counter | `By`       | bytes that exist                            |
 * | `millpond.pool.waiting`       | up-down counter | `{waiter}` | waiters                                     |
 * | `millpond.pool.acquires`      | counter         | `{lease}`  | leases                                      |
 * | `millpond.pool.starved`       | counter         | `{wait}`   | waits that ended because none came in time  |
 * | `millpond.pool.discarded`     | counter         | `{buffer}` | slots that were freed instead of kept       |
 * | `millpond.pool.leaked`        | counter         | `{lease}`  | leases that were collected, not released    |
 * | `millpond.pool.wait.duration` | histogram       | `s`        | how long an acquire waited                  |
 *
 * Each has the attributes `millpond.pool.name` and `millpond.pool.kind`, `millpond.pool.id` with `ids`, and a wait in
 * vain `error.type`.
 *
 * Life-cycle: instruments are made at the first {@link instrument} of a meter; pools are asked when the SDK collects,
 * and heard when a wait is over. Nothing watches a pool, so that its fast paths stay open.
 *
 * Invariants: a series is the sum of the pools that have its attributes. It goes on when they have ended or are chosen
 * no more, with zeros for what goes up and down, so that no counter falls; the newest 2000 such series of pools that
 * have ended are kept. What a pool that lives has counted is in no sum but its own, and counts once when it is chosen
 * again. A counter that a kind of
 * pool does not have is not reported. A shared pool of which this thread has several views counts once. Complexity: a
 * collection is O(slots), a wait O(1).
 */
import type {
  Attributes,
  BatchObservableResult,
  Histogram,
  Meter,
  MetricOptions,
  Observable,
} from "@opentelemetry/api";
import type { PoolCounts } from "../observe/pool-info.ts";
import type { PoolInfo } from "../observe/pools.ts";
import { onEnd, onWaited, type PoolRegistration, registrations } from "../observe/registry.ts";
import { isMillpondError } from "../util/errors.ts";
import { badValue, checkOptions, flag, listOf, wholeNumber, withMethods } from "../util/validate.ts";

/** How pools are measured. */
export interface InstrumentOptions {
  /** Which pools; default: all that live, and all that are made later. */
  pools?: readonly PoolInfo[];
  /**
   * Whether each pool has series of its own, told apart by the attribute `millpond.pool.id`. Default false: pools of
   * one name and kind are added up. A program that makes pools without end makes series without end then.
   */
  ids?: boolean;
}

const METHODS = [
  ...(["createObservableUpDownCounter", "createObservableCounter", "createHistogram"] as const),
  ...(["addBatchObservableCallback", "removeBatchObservableCallback"] as const),
] as const;

/** From a wait that nobody notices to one that a person has given up. */
const BUCKETS: readonly number[] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30];

/**
 * Measures pools with instruments of `meter`, until the function that it returns is called. Several calls for one meter
 * report each pool once, and have the same `ids`. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`,
 * `ERR_OUT_OF_RANGE`, and what the meter throws.
 */
export function instrument(meter: Meter, options: InstrumentOptions = {}): () => void {
  withMethods("meter", "a Meter of OpenTelemetry", meter, METHODS);
  const { pools, ids } = checkOptions("options", options, ["pools", "ids"]);
  const hasIds = flag("options.ids", ids, false);
  const chosen =
    pools === undefined
      ? ALL
      : new Set(
          listOf("options.pools", "an array of what pools() gave", pools).map((info) =>
            wholeNumber("options.pools[].id", info?.id, 1),
          ),
        );
  const metrics = metered.get(meter);
  if (metrics !== undefined && metrics.hasIds !== hasIds)
    throw badValue("options.ids", `${metrics.hasIds}, as this meter has it already`, hasIds);
  const current = metrics ?? new PoolMetrics(meter, hasIds);
  const choice: Choice = { ids: chosen };
  current.add(choice);
  metered.set(meter, current);
  return () => {
    if (current.remove(choice)) metered.delete(meter);
  };
}

const ALL = "all";

/** Series that are kept although their pools have ended: as many as an SDK keeps of an instrument. */
const MAX_SERIES = 2000;

/** What one call of {@link instrument} wants. */
interface Choice {
  readonly ids: ReadonlySet<number> | typeof ALL;
}

const metered: WeakMap<Meter, PoolMetrics> = new WeakMap();

/** What only grows. null: the pool does not count it. */
type Counters = Record<"acquires" | "starved" | "discarded" | "leaked", number | null>;

/** What goes up and down. */
type Levels = Record<"free" | "leased" | "max" | "bytes" | "waiting", number | null>;

/** One series of each instrument. */
interface Series {
  readonly attributes: Attributes;
  readonly levels: Levels;
  readonly counters: Counters;
}

/** What was last seen of one pool. */
interface Seen extends Series {
  /** Its attributes as a key. */
  readonly series: string;
}

/** The instruments of one meter. */
class PoolMetrics {
  readonly #meter: Meter;
  readonly hasIds: boolean;
  readonly #buffers: Observable;
  readonly #max: Observable;
  readonly #bytes: Observable;
  readonly #waiting: Observable;
  readonly #counters: Record<keyof Counters, Observable>;
  readonly #waits: Histogram;
  readonly #all: Observable[];
  readonly #choices: Set<Choice> = new Set();
  /** By the pool's number: those that live, chosen or once chosen. */
  readonly #seen: Map<number, Seen> = new Map();
  /** What pools had counted that have ended, by series. */
  readonly #past: Map<string, Series> = new Map();
  readonly #endings: (() => void)[] = [];

  constructor(meter: Meter, hasIds: boolean) {
    this.#meter = meter;
    this.hasIds = hasIds;
    const level = (name: string, unit: string, description: string): Observable =>
      meter.createObservableUpDownCounter(`millpond.pool.${name}`, { unit, description });
    const counter = (name: string, unit: string, description: string): Observable =>
      meter.createObservableCounter(`millpond.pool.${name}`, { unit, description });
    this.#buffers = level("buffers", "{buffer}", "Slots or blocks of the pool, by state");
    this.#max = level("limit", "{buffer}", "The most slots that the pool may have");
    this.#bytes = level("bytes", "By", "Bytes that the pool has");
    this.#waiting = level("waiting", "{waiter}", "Acquires that wait");
    this.#counters = {
      acquires: counter("acquires", "{lease}", "Leases that were taken"),
      starved: counter("starved", "{wait}", "Waits that ended because no lease came in time"),
      discarded: counter("discarded", "{buffer}", "Slots that were freed instead of kept"),
      leaked: counter("leaked", "{lease}", "Leases that were collected without a release"),
    };
    const histogram: MetricOptions = {
      unit: "s",
      description: "How long an acquire waited for a lease",
      advice: { explicitBucketBoundaries: [...BUCKETS] },
    };
    this.#waits = meter.createHistogram("millpond.pool.wait.duration", histogram);
    this.#all = [this.#buffers, this.#max, this.#bytes, this.#waiting, ...Object.values(this.#counters)];
  }

  add(choice: Choice): void {
    if (this.#choices.size === 0) {
      this.#meter.addBatchObservableCallback(this.#collect, this.#all);
      this.#endings.push(onWaited((pool, waited, served, error) => this.#waited(pool, waited, served, error)));
      this.#endings.push(onEnd((pool) => this.#ended(pool)));
    }
    this.#choices.add(choice);
  }

  /** True when nothing is measured any more. */
  remove(choice: Choice): boolean {
    if (!this.#choices.delete(choice) || this.#choices.size > 0) return false;
    this.#meter.removeBatchObservableCallback(this.#collect, this.#all);
    for (const end of this.#endings.splice(0)) end();
    return true;
  }

  #isChosen({ id }: PoolRegistration): boolean {
    for (const { ids } of this.#choices) if (ids === ALL || ids.has(id)) return true;
    return false;
  }

  #attributesOf({ id, kind, name }: PoolRegistration): Attributes {
    const attributes: Attributes = { "millpond.pool.name": name, "millpond.pool.kind": kind };
    if (this.hasIds) attributes["millpond.pool.id"] = id;
    return attributes;
  }

  /** Asks a pool; undefined where it cannot be asked. */
  #ask(pool: PoolRegistration): Seen | undefined {
    let counts: PoolCounts;
    try {
      counts = pool.probe.counts();
    } catch {
      // A clock or an allocator of the program's own threw; the others are reported all the same.
      return undefined;
    }
    const { free, leased, max, bytes, waiting, acquires, starved, discarded } = counts;
    const levels = { free, leased, max: max === Infinity ? null : max, bytes, waiting };
    const attributes = this.#attributesOf(pool);
    const series = JSON.stringify(Object.values(attributes));
    const seen = { attributes, series, levels, counters: { acquires, starved, discarded, leaked: pool.leaks } };
    this.#seen.set(pool.id, seen);
    return seen;
  }

  #ended(pool: PoolRegistration): void {
    if (!this.#isChosen(pool)) return;
    const seen = this.#ask(pool) ?? this.#seen.get(pool.id);
    if (seen !== undefined) this.#remember(pool.id, seen);
  }

  /** What a pool that has ended counted goes on in its series. */
  #remember(id: number, { series, attributes, levels, counters }: Seen): void {
    this.#seen.delete(id);
    const past = this.#past.get(series);
    if (past !== undefined) {
      addTo(past.counters, counters);
      return;
    }
    this.#past.set(series, { attributes, levels: emptied(levels), counters: { ...counters } });
    if (this.#past.size > MAX_SERIES) this.#past.delete(this.#past.keys().next().value!);
  }

  readonly #collect = (result: BatchObservableResult): void => {
    const all = new Map<string, Series>();
    const live = new Set<number>();
    const shared = new Set<number>();
    // Those that live and are chosen no more.
    const left: Seen[] = [];
    for (const pool of registrations()) {
      live.add(pool.id);
      if (!this.#isChosen(pool)) {
        const seen = this.#seen.get(pool.id);
        if (seen !== undefined) left.push(seen);
        continue;
      }
      const view = pool.probe.shared;
      if (view !== undefined && shared.has(view)) continue;
      const asked = this.#ask(pool);
      if (asked === undefined) continue;
      if (view !== undefined) shared.add(view);
      const { attributes, series, levels, counters } = asked;
      addSeries(all, series, { attributes, levels, counters });
    }
    for (const { series, attributes, levels, counters } of left)
      addSeries(all, series, { attributes, levels: emptied(levels), counters });
    // Those that the program forgot and that were collected.
    for (const [id, seen] of this.#seen) if (!live.has(id)) this.#remember(id, seen);
    for (const [series, { attributes, levels, counters }] of this.#past) {
      const present = all.get(series);
      // SDKs go on with the last value that they got: nothing is there any more.
      if (present === undefined) all.set(series, { attributes, levels, counters });
      else addTo(present.counters, counters);
    }
    for (const series of all.values()) this.#report(result, series);
  };

  #report(result: BatchObservableResult, series: Series): void {
    const { attributes, levels, counters } = series;
    const observe = (instrument: Observable, value: number | null, more?: Attributes): void => {
      if (value !== null)
        result.observe(instrument, value, more === undefined ? attributes : { ...attributes, ...more });
    };
    observe(this.#buffers, levels.free, { state: "free" });
    observe(this.#buffers, levels.leased, { state: "leased" });
    observe(this.#max, levels.max);
    observe(this.#bytes, levels.bytes);
    observe(this.#waiting, levels.waiting);
    for (const name of COUNTERS) observe(this.#counters[name], counters[name]);
  }

  #waited(pool: PoolRegistration, waited: number, served: boolean, error: unknown): void {
    if (!this.#isChosen(pool)) return;
    const attributes = this.#attributesOf(pool);
    if (!served) attributes["error.type"] = errorType(error);
    this.#waits.record(waited / 1000, attributes);
  }
}

const COUNTERS = ["acquires", "starved", "discarded", "leaked"] as const satisfies (keyof Counters)[];

function addSeries(all: Map<string, Series>, key: string, { attributes, levels, counters }: Series): void {
  const before = all.get(key);
  if (before === undefined) all.set(key, { attributes, levels: { ...levels }, counters: { ...counters } });
  else {
    addTo(before.levels, levels);
    addTo(before.counters, counters);
  }
}

/** Of nothing that is there any more. */
function emptied(levels: Levels): Levels {
  const none = { ...levels };
  for (const key of Object.keys(none) as (keyof Levels)[]) if (none[key] !== null) none[key] = 0;
  return none;
}

/** What one does not count, the other says alone. */
function addTo<K extends string>(sum: Record<K, number | null>, more: Readonly<Record<K, number | null>>): void {
  for (const key of Object.keys(more) as K[]) {
    const value = more[key];
    if (typeof value === "number") sum[key] = (sum[key] ?? 0) + value;
  }
}

/** One of few words, whatever a signal was aborted with. */
function errorType(error: unknown): string {
  if (isMillpondError(error)) return error.code;
  const { name } = (typeof error === "object" && error !== null ? error : {}) as { readonly name?: unknown };
  return name === "AbortError" || name === "TimeoutError" ? name : "_OTHER";
}
