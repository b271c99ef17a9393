/**
 * Traces: recordings as Trace Event JSON, which opens in Perfetto (ui.perfetto.dev) and chrome://tracing. After
 * Google's public description of the format ("Trace Event Format"); of its events these are used: complete ("X"),
 * counter ("C"), instant ("i") and metadata ("M").
 *
 * A trace shows each thread as a process (pauses of the garbage collector, stages of pipelines), and each pool as a
 * process: a track for every slot with a span for each lease, tracks for waiters, an event track (starvation, discards,
 * the end), and counters. A shared pool that several recordings saw is one process.
 *
 * Invariants:
 *
 * - No two spans of a track overlap: what does goes to a further row.
 * - There is one span for each acquire that was recorded. A lease that has no release ends with its pool or with the
 *   recording, and has `open: true`. A release without its acquire (which was overwritten) is ignored.
 * - Counters end at what the pool said then.
 * - Times are microseconds since the first recording began, in steps of a quarter: that is what times since 1970 are
 *   exact to, and any reader gets the same nanoseconds of it.
 *
 * Complexity: O(events log events). Size: about 200 bytes a recorded event (a lease has a span and two samples of the
 * counters), so 14 MB for a full ring of 65,536; texts are cut at 300 characters.
 */
import { finish, ITEMS_A_STEP, type Steps, sortSteps } from "../util/steps.ts";
import { badValue, checkOptions, listOf, wrongType } from "../util/validate.ts";
import type { PoolKind } from "./pool-info.ts";
import type { RecordedEvent, RecordedPool, Recording } from "./recorder.ts";

/** One event of a trace. */
export interface TraceEvent {
  /** What it shows, or which metadata it is. */
  readonly name: string;
  /** "X": a span; "C": samples of counters; "i": a moment; "M": metadata. */
  readonly ph: "X" | "C" | "i" | "M";
  /** The process: a thread or a pool. */
  readonly pid: number;
  /** The track. */
  readonly tid: number;
  /** Microseconds since the trace began; metadata has none. */
  readonly ts?: number;
  /** Microseconds that a span lasts. */
  readonly dur?: number;
  /** "lease", "wait", "stage" or "gc", to filter by. */
  readonly cat?: string;
  /** A moment of a track. */
  readonly s?: "t";
  /** What there is to know. */
  readonly args?: Readonly<Record<string, string | number | boolean>>;
}

/** A trace, as the JSON of it is. */
export interface Trace {
  /** In order of time, metadata first. */
  readonly traceEvents: readonly TraceEvent[];
  /** How a viewer shows times. */
  readonly displayTimeUnit: "ms";
  /** About the whole: when it began, what was overwritten. */
  readonly otherData: Readonly<Record<string, string | number | boolean>>;
}

/** What a program adds to a trace. */
export interface TraceExtra {
  /** Further entries of {@link Trace.otherData}. */
  about?: Readonly<Record<string, string | number | boolean>>;
}

/** A pool in which a slot is an address, which says little and is new at each allocation. */
const HAS_ADDRESSES: ReadonlySet<PoolKind> = new Set<PoolKind>(["PagePool", "SlabPool", "RealtimePool"]);
/** Its blocks are made as they are leased: none is ever free. */
const HAS_NO_FREE: ReadonlySet<PoolKind> = new Set<PoolKind>(["RealtimePool"]);
const POOL_TYPES: ReadonlySet<string> = new Set([
  ...["acquire", "release", "wait", "waitEnd", "resize", "discard", "starved", "end"],
]);

/** Ticks in a millisecond: a quarter of a microsecond. */
const TICKS = 4000;
/**
 * 0.1 ms: two threads' notes of one hand-over may be in the wrong order by the time that it takes; then the earlier
 * lease ends where the later one begins.
 */
const HAND_OVER = TICKS / 10;
const MAX_TEXT = 300;
/** Threads come first in a viewer, then pools; and in a pool its events, slots and waiters. */
const POOLS_FROM = 1000;

/**
 * One trace of several threads' recordings. Times of threads of one process agree; of several processes, as well as the
 * clock of the machine. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`. O(events log events).
 */
export function traceOf(recordings: readonly Recording[], extra: TraceExtra = {}): Trace {
  return finish(traceSteps(recordings, extra));
}

/** @internal {@link traceOf} in steps. */
export function* traceSteps(recordings: readonly Recording[], extra: TraceExtra = {}): Steps<Trace> {
  const list = listOf("recordings", "an array of what Recorder.recording() gave", recordings);
  const { about = {} } = checkOptions("extra", extra, ["about"]);
  if (typeof about !== "object" || about === null) throw wrongType("extra.about", "an object", about);
  for (const [i, recording] of list.entries()) checkRecording(`recordings[${i}]`, recording);
  const begin = list.reduce((first, { from }) => Math.min(first, from), Infinity);
  const base = Number.isFinite(begin) ? begin : 0;
  const writer = new TraceWriter(base);
  for (const i of list.keys()) yield* addThread(writer, i, list);
  const groups = yield* groupPools(list);
  for (const [i, group] of groups.entries()) yield* addPool(writer, group, POOLS_FROM + i);
  const sum = (of: (recording: Recording) => number): number => list.reduce((all, one) => all + of(one), 0);
  const overwritten = sum(({ dropped }) => dropped) + sum(({ droppedSpans }) => droppedSpans);
  const otherData = { ...about, producer: "millpond", began: new Date(base).toISOString(), overwritten };
  return { traceEvents: yield* writer.finish(), displayTimeUnit: "ms", otherData };
}

function checkRecording(name: string, recording: Recording): void {
  if (typeof recording !== "object" || recording === null) throw wrongType(name, "a recording", recording);
  for (const key of ["pools", "events", "spans"] as const) {
    if (!Array.isArray(recording[key])) throw wrongType(`${name}.${key}`, "an array", recording[key]);
  }
  for (const key of ["from", "to", "dropped", "droppedSpans"] as const) {
    if (typeof recording[key] !== "number") throw wrongType(`${name}.${key}`, "a number", recording[key]);
    if (!isTime(recording[key])) throw badValue(`${name}.${key}`, "a time or a count", recording[key]);
  }
  if (typeof recording.thread !== "string") throw wrongType(`${name}.thread`, "a string", recording.thread);
}

/** The last moment that a date has. */
const MAX_TIME = 8.64e15;

function isTime(value: unknown): value is number {
  return typeof value === "number" && Math.abs(value) <= MAX_TIME;
}

/** Entries that can be read: a recording may have come from anywhere. */
function objects<T extends object>(list: readonly T[]): T[] {
  return list.filter((one) => typeof one === "object" && one !== null);
}

/** Pools that can be read. */
function readable(pools: readonly RecordedPool[]): RecordedPool[] {
  return objects(pools).filter(({ id, kind, name, shared }) => {
    const isNumbered = typeof id === "number" && (shared === undefined || typeof shared === "number");
    return isNumbered && typeof kind === "string" && typeof name === "string";
  });
}

/** A text that is one; a value of another kind may not even have one. */
function textOf(value: unknown): string {
  return typeof value === "string" ? cut(value) : "";
}

/** A number that JSON has. */
function countOf(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? Math.max(0, value) : 0;
}

type Arguments = Record<string, string | number | boolean>;

/** A span on its way to a row. Times are ticks. */
interface Span {
  readonly begin: number;
  end: number;
  readonly name: string;
  readonly cat: string;
  readonly args: Arguments;
  /** Which recording it is from. */
  readonly source: number;
}

/** Collects events, numbers processes and tracks, and gives each span a row in which it overlaps no other. */
class TraceWriter {
  readonly #base: number;
  readonly #metadata: TraceEvent[] = [];
  readonly #events: TraceEvent[] = [];
  #processes = 0;
  /** Never a process's number, for which viewers take a process's main thread. */
  #tracks = 1_000_000;

  constructor(base: number) {
    this.#base = base;
  }

  /** A time as ticks; what was before the beginning is at the beginning. */
  ticks(time: number): number {
    return Math.max(0, Math.round((time - this.#base) * TICKS));
  }

  /** Milliseconds that a time lies before the beginning. */
  msBefore(time: number): number {
    return Math.max(0, Math.round((this.#base - time) * 1000) / 1000);
  }

  process(name: string, order: number): number {
    const pid = ++this.#processes;
    this.#about(pid, 0, "process_name", { name });
    this.#about(pid, 0, "process_sort_index", { sort_index: order });
    return pid;
  }

  track(pid: number, name: string, order: number): number {
    const tid = ++this.#tracks;
    this.#about(pid, tid, "thread_name", { name });
    this.#about(pid, tid, "thread_sort_index", { sort_index: order });
    return tid;
  }

  #about(pid: number, tid: number, name: string, args: Arguments): void {
    this.#metadata.push({ name, ph: "M", pid, tid, args });
  }

  counters(pid: number, tid: number, name: string, ticks: number, args: Arguments): void {
    this.#events.push({ name, ph: "C", pid, tid, ts: ticks / 4, args });
  }

  instant(pid: number, tid: number, name: string, ticks: number, args: Arguments): void {
    this.#events.push({ name, ph: "i", s: "t", pid, tid, ts: ticks / 4, args });
  }

  /** Spans in as few rows as they need. */
  *rows(pid: number, spans: Span[], order: number, nameOf: (row: number) => string): Steps<void> {
    const tids: number[] = [];
    // Their ends, and the rows that are free: the lowest first.
    const busy = new Heap<{ end: number; row: number }>((a, b) => a.end - b.end);
    const free = new Heap<number>((a, b) => a - b);
    yield* sortSteps(spans, (a, b) => a.begin - b.begin || a.end - b.end);
    for (const [i, { begin, end, name, cat, args }] of spans.entries()) {
      if (i % ITEMS_A_STEP === 0) yield;
      for (let first = busy.first; first !== undefined && first.end <= begin; first = busy.first) {
        free.add(first.row);
        busy.take();
      }
      const row = free.take() ?? tids.length;
      if (row === tids.length) tids.push(this.track(pid, nameOf(row), order + row / 1e6));
      busy.add({ end, row });
      this.#events.push({ name, ph: "X", cat, pid, tid: tids[row]!, ts: begin / 4, dur: (end - begin) / 4, args });
    }
  }

  *finish(): Steps<TraceEvent[]> {
    // Ranks of tracks are whole numbers: their order is what counts.
    const order = new Map<number, [number, TraceEvent][]>();
    const rest: TraceEvent[] = [];
    for (const event of this.#metadata) {
      if (event.name !== "thread_sort_index") rest.push(event);
      else {
        const list = order.get(event.pid) ?? [];
        list.push([event.args!.sort_index as number, event]);
        order.set(event.pid, list);
      }
    }
    for (const list of order.values()) {
      list.sort((a, b) => a[0] - b[0]);
      for (const [rank, [, event]] of list.entries()) rest.push({ ...event, args: { sort_index: rank } });
    }
    yield* sortSteps(this.#events, (a, b) => a.ts! - b.ts!);
    return rest.concat(this.#events);
  }
}

/** A binary heap: the least first. Adding and taking are O(log n). */
class Heap<T> {
  readonly #items: T[] = [];
  readonly #compare: (a: T, b: T) => number;

  constructor(compare: (a: T, b: T) => number) {
    this.#compare = compare;
  }

  get first(): T | undefined {
    return this.#items[0];
  }

  add(item: T): void {
    const items = this.#items;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (this.#compare(items[above]!, item) <= 0) break;
      items[at] = items[above]!;
      at = above;
    }
    items[at] = item;
  }

  take(): T | undefined {
    const items = this.#items;
    const [least] = items;
    const last = items.pop();
    if (last === undefined || items.length === 0) return least;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= items.length) break;
      if (below + 1 < items.length && this.#compare(items[below + 1]!, items[below]!) < 0) below++;
      if (this.#compare(items[below]!, last) >= 0) break;
      items[at] = items[below]!;
      at = below;
    }
    items[at] = last;
    return least;
  }
}

function cut(text: string): string {
  return text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT - 3)}...`;
}

/** Two threads of one name are told apart by their places. */
function threadLabel({ thread }: Recording, index: number, all: readonly Recording[]): string {
  const isOnly = all.every((other, i) => i === index || other.thread !== thread);
  return cut(isOnly ? thread : `${thread} (${index + 1})`);
}

/** Pauses and stages of one thread. */
function* addThread(writer: TraceWriter, index: number, all: readonly Recording[]): Steps<void> {
  const recording = all[index]!;
  const tracks = new Map<number, { name: string; spans: Span[] }>();
  for (const [i, { type, time, duration, track, name, text }] of objects(recording.spans).entries()) {
    if (i % ITEMS_A_STEP === 0) yield;
    if (!isTime(time) || !isTime(duration) || duration < 0 || !Number.isFinite(track)) continue;
    const label = textOf(name);
    const spans = tracks.get(track) ?? { name: label, spans: [] };
    tracks.set(track, spans);
    const cat = type === "gc" ? "gc" : type === "wait" ? "wait" : "stage";
    const [begin, end] = [writer.ticks(time), writer.ticks(time + duration)];
    spans.spans.push({ begin, end, name: textOf(text), cat, args: {}, source: index });
  }
  if (tracks.size === 0) return;
  const pid = writer.process(`thread ${threadLabel(recording, index, all)}`, index);
  for (const [number, { name, spans }] of tracks) {
    yield* writer.rows(pid, spans, number, (row) => (row === 0 ? name : `${name} (${row + 1})`));
  }
}

/** A pool, as each recording that saw it saw it. */
interface PoolGroup {
  readonly kind: PoolKind;
  readonly name: string;
  readonly views: readonly PoolView[];
}

interface PoolView {
  readonly recording: Recording;
  /** Its place among the recordings. */
  readonly source: number;
  readonly label: string;
  /** Whether there are recordings of other threads. */
  readonly isOneOfSeveral: boolean;
  readonly pool: RecordedPool;
  readonly events: readonly RecordedEvent[];
}

/** A shared pool once, however many recordings have it. */
function* groupPools(list: readonly Recording[]): Steps<PoolGroup[]> {
  const groups = new Map<string, { kind: PoolKind; name: string; views: PoolView[] }>();
  for (const [source, recording] of list.entries()) {
    const events = new Map<number, RecordedEvent[]>();
    for (const [i, event] of objects(recording.events).entries()) {
      if (i % ITEMS_A_STEP === 0) yield;
      const { type, time, subject, value } = event;
      if (!POOL_TYPES.has(type) || !isTime(time) || !Number.isFinite(subject) || !Number.isFinite(value)) continue;
      const of = events.get(event.pool);
      if (of === undefined) events.set(event.pool, [event]);
      else of.push(event);
    }
    for (const pool of readable(recording.pools)) {
      const { id, kind, name, shared } = pool;
      const key = shared === undefined ? `${source}.${id}` : `shared.${shared}`;
      const group = groups.get(key) ?? { kind, name: cut(name), views: [] };
      groups.set(key, group);
      const label = threadLabel(recording, source, list);
      const isOneOfSeveral = list.length > 1;
      group.views.push({ recording, source, label, isOneOfSeveral, pool, events: events.get(id) ?? [] });
    }
  }
  return [...groups.values()];
}

/** An event of a view; of a lease or a wait whose end was not seen yet. */
interface Open {
  readonly event: RecordedEvent;
  readonly view: PoolView;
}

/** Samples of a pool's counters. */
interface Sample {
  readonly ticks: number;
  readonly count: number;
  leased: number;
  waiting: number;
}

/** Follows one pool through its events, in order of time. */
class PoolTracer {
  /** Leases by slot. */
  readonly leases: Map<number, Span[]> = new Map();
  readonly waits: Span[] = [];
  readonly moments: { readonly name: string; readonly ticks: number; readonly args: Arguments }[] = [];
  readonly samples: Sample[] = [];
  readonly #writer: TraceWriter;
  readonly #group: PoolGroup;
  /** By view and slot, and by view and number. */
  readonly #openLeases: Map<string, Open> = new Map();
  readonly #openWaits: Map<string, Open> = new Map();
  readonly #ended: Set<PoolView> = new Set();
  /** How many views have a slot. */
  readonly #holds: Map<number, number> = new Map();
  #count: number;
  /** Ends whose beginnings were overwritten: there were so many more before. */
  #lostLeases = 0;
  #lostWaits = 0;

  constructor(writer: TraceWriter, group: PoolGroup) {
    this.#writer = writer;
    this.#group = group;
    this.#count = countOf(group.views[0]!.pool.count);
  }

  /** Once. */
  *run(): Steps<void> {
    const { views } = this.#group;
    const happened: Open[] = [];
    for (const view of views) {
      for (const [i, event] of view.events.entries()) {
        if (i % ITEMS_A_STEP === 0) yield;
        happened.push({ view, event });
      }
    }
    if (views.length > 1) yield* sortSteps(happened, (a, b) => a.event.time - b.event.time);
    this.#sample(views.reduce((least, { recording }) => Math.min(least, recording.from), Infinity));
    for (const [i, { view, event }] of happened.entries()) {
      if (i % ITEMS_A_STEP === 0) yield;
      this.#step(view, event);
    }
    this.#finish();
  }

  #step(view: PoolView, event: RecordedEvent): void {
    const { type, time, subject, value, text } = event;
    const key = `${view.source}.${subject}`;
    const ticks = this.#writer.ticks(time);
    if (type === "acquire") {
      // Two in a row: the release between them was not recorded.
      this.#endLease(key, time, true);
      this.#openLeases.set(key, { event, view });
      this.#holds.set(subject, (this.#holds.get(subject) ?? 0) + 1);
    } else if (type === "release") {
      if (!this.#endLease(key, time, false)) this.#lostLeases++;
    } else if (type === "wait") this.#openWaits.set(key, { event, view });
    else if (type === "waitEnd") {
      if (!this.#endWait(key, time, { served: value === 1 })) this.#lostWaits++;
    } else if (type === "resize") this.#count = subject;
    else if (type === "discard") {
      this.moments.push({ name: `discarded: ${textOf(text)}`, ticks, args: { slot: subject } });
    } else if (type === "starved") {
      this.moments.push({ name: "starved", ticks, args: { waited_ms: value, waiting: subject } });
    } else {
      this.#endView(view, time);
      // A shared pool goes on without the thread that has left it, as long as another one sees it.
      this.#ended.add(view);
      if (this.#group.views.every((one) => this.#ended.has(one) || one.recording.to <= time)) this.#count = 0;
      this.moments.push({ name: "pool ended", ticks, args: this.#threadOf(view) });
    }
    this.#sample(time);
  }

  /** What was before the first event follows from what is at the end. */
  #finish(): void {
    const last = this.#group.views.reduce((a, b) => (b.recording.to >= a.recording.to ? b : a));
    const end = last.pool.last ?? undefined;
    const leased = Math.max(0, countOf(end?.leased) - this.#holds.size) + this.#lostLeases;
    const waiting = Math.max(0, countOf(end?.waiting) - this.#openWaits.size) + this.#lostWaits;
    this.#sample(last.recording.to);
    for (const sample of this.samples) {
      sample.leased += leased;
      sample.waiting += waiting;
    }
    if (end !== undefined) {
      const ticks = this.#writer.ticks(last.recording.to);
      const [count, nowLeased, nowWaiting] = [countOf(end.count), countOf(end.leased), countOf(end.waiting)];
      this.samples.push({ ticks, count, leased: nowLeased, waiting: nowWaiting });
    }
    for (const view of this.#group.views) this.#endView(view, view.recording.to);
  }

  /** Everything that is open in a view ends with it. */
  #endView(view: PoolView, time: number): void {
    for (const [key, open] of this.#openLeases) if (open.view === view) this.#endLease(key, time, true);
    for (const [key, open] of this.#openWaits) if (open.view === view) this.#endWait(key, time, { open: true });
  }

  #endLease(key: string, time: number, isOpen: boolean): boolean {
    const open = this.#openLeases.get(key);
    if (open === undefined) return false;
    this.#openLeases.delete(key);
    const { event, view } = open;
    const { subject, value, text, site } = event;
    const left = this.#holds.get(subject)! - 1;
    if (left === 0) this.#holds.delete(subject);
    else this.#holds.set(subject, left);
    const args: Arguments = { slot: subject, lease: value };
    if (typeof text === "string") args.tag = cut(text);
    if (typeof site === "string") args.site = cut(site);
    if (isOpen) args.open = true;
    const plain = this.#group.views.length > 1 ? view.label : "lease";
    const span = this.#span(open, time, textOf(text) || plain, "lease", args);
    const spans = this.leases.get(subject);
    if (spans === undefined) this.leases.set(subject, [span]);
    else spans.push(span);
    return true;
  }

  #endWait(key: string, time: number, args: Arguments): boolean {
    const open = this.#openWaits.get(key);
    if (open === undefined) return false;
    this.#openWaits.delete(key);
    this.waits.push(this.#span(open, time, "waiting", "wait", { ...args }));
    return true;
  }

  #span({ event, view }: Open, time: number, name: string, cat: string, args: Arguments): Span {
    const begin = this.#writer.ticks(event.time);
    const before = this.#writer.msBefore(event.time);
    if (before > 0) args.ms_before = before;
    Object.assign(args, this.#threadOf(view));
    return { begin, end: Math.max(begin, this.#writer.ticks(time)), name, cat, args, source: view.source };
  }

  #threadOf({ label }: PoolView): Arguments {
    return this.#group.views.length > 1 ? { thread: label } : {};
  }

  #sample(time: number): void {
    const leased = this.#holds.size - this.#lostLeases;
    const waiting = this.#openWaits.size - this.#lostWaits;
    this.samples.push({ ticks: this.#writer.ticks(time), count: this.#count, leased, waiting });
  }
}

function* addPool(writer: TraceWriter, group: PoolGroup, order: number): Steps<void> {
  const { kind, name, views } = group;
  const tracer = new PoolTracer(writer, group);
  yield* tracer.run();
  const { leases, waits, moments, samples } = tracer;
  const where = views.length === 1 && views[0]!.isOneOfSeveral ? ` (${views[0]!.label})` : "";
  const pid = writer.process(`${kind} ${name}${where}`, order);
  const events = writer.track(pid, "events", 0);
  for (const { name: what, ticks, args } of moments) writer.instant(pid, events, what, ticks, args);
  if (HAS_ADDRESSES.has(kind)) {
    yield* writer.rows(pid, [...leases.values()].flat(), 1, (row) => `leases ${row + 1}`);
  } else {
    for (const slot of [...leases.keys()].sort((a, b) => a - b)) {
      const spans = leases.get(slot)!;
      if (views.length > 1) yield* trimHandOvers(spans);
      yield* writer.rows(pid, spans, 1 + slot, (row) => (row === 0 ? `slot ${slot}` : `slot ${slot} (${row + 1})`));
    }
  }
  yield* writer.rows(pid, waits, Number.MAX_SAFE_INTEGER, (row) => `waiters ${row + 1}`);
  yield* addCounters(writer, pid, events, samples, !HAS_NO_FREE.has(kind));
}

/** A lease that went from one thread to another ends where the next one begins. */
function* trimHandOvers(spans: Span[]): Steps<void> {
  yield* sortSteps(spans, (a, b) => a.begin - b.begin);
  for (let i = 1; i < spans.length; i++) {
    const [before, after] = [spans[i - 1]!, spans[i]!];
    const overlap = before.end - after.begin;
    if (overlap > 0 && overlap <= HAND_OVER && before.source !== after.source && before.end <= after.end) {
      before.end = after.begin;
    }
  }
}

/** One sample a moment: the last one, where it is new. */
function* addCounters(
  writer: TraceWriter,
  pid: number,
  tid: number,
  samples: readonly Sample[],
  hasFree: boolean,
): Steps<void> {
  let before: Sample | undefined;
  for (const [i, sample] of samples.entries()) {
    if (i % ITEMS_A_STEP === 0) yield;
    if (samples[i + 1]?.ticks === sample.ticks) continue;
    const { ticks, count, leased, waiting } = sample;
    const isLast = i === samples.length - 1;
    if (isLast || before?.count !== count || before.leased !== leased) {
      const args: Arguments = { leased: Math.max(0, leased) };
      if (hasFree) args.free = Math.max(0, count - leased);
      writer.counters(pid, tid, "slots", ticks, args);
    }
    if (isLast || before?.waiting !== waiting)
      writer.counters(pid, tid, "waiters", ticks, { waiting: Math.max(0, waiting) });
    before = sample;
  }
}
