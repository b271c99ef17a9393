/** Traces: what a recording becomes, that viewers can read it, and that its numbers are those of the pools. */
import { setImmediate as turn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { type PoolInfo, pools } from "../../src/observe/pools.ts";
import { type RecordedEvent, type Recorder, type Recording, record } from "../../src/observe/recorder.ts";
import { stagesWatched, stageWaits, stageWorks, watchedCall } from "../../src/observe/stages.ts";
import { type Trace, type TraceEvent, traceOf } from "../../src/observe/trace.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { TransferPool } from "../../src/pools/lane/transfer-pool.ts";
import { PagePool } from "../../src/pools/page/page-pool.ts";
import { RealtimePool } from "../../src/pools/realtime/realtime-pool.ts";
import { SharedPool } from "../../src/pools/shared/shared-pool.ts";
import { SlabPool } from "../../src/pools/slab/slab-pool.ts";
import { REPEATED, seedOf, times } from "../helpers/effort.ts";
import { code } from "../pools/buffer/pools.ts";
import { traceProblems } from "./trace-schema.ts";

const recorders: Recorder[] = [];
afterEach(() => {
  for (const recorder of recorders.splice(0)) recorder.stop();
});
function start(...given: Parameters<typeof record>): Recorder {
  const recorder = record(...given);
  recorders.push(recorder);
  return recorder;
}

const infoOf = (name: string): PoolInfo => pools().find((info) => info.name === name)!;

/** The trace, after it has been read as a viewer would. */
function read(trace: Trace): readonly TraceEvent[] {
  const json = JSON.stringify(trace);
  expect(traceProblems(json)).toEqual([]);
  return (JSON.parse(json) as Trace).traceEvents;
}

const spansOf = (events: readonly TraceEvent[], cat: string): TraceEvent[] => events.filter((one) => one.cat === cat);
const isOpen = ({ args }: TraceEvent): boolean => args?.open === true;

/** Names of processes and tracks. */
function names(events: readonly TraceEvent[]): Map<number, string> {
  const found = new Map<number, string>();
  for (const { name, args, pid, tid } of events) {
    if (name === "process_name") found.set(pid, String(args!.name));
    if (name === "thread_name") found.set(tid, String(args!.name));
  }
  return found;
}

/** The last sample of each counter. */
function lastCounters(events: readonly TraceEvent[]): Record<string, unknown> {
  return Object.assign({}, ...events.filter(({ ph }) => ph === "C").map(({ args }) => args)) as Record<string, unknown>;
}

const event = (
  type: RecordedEvent["type"],
  time: number,
  subject: number,
  value = 0,
  more: Partial<RecordedEvent> = {},
): RecordedEvent => ({ type, time, pool: 1, subject, value, ...more });

/** A recording of one pool from 1000 to 1010 ms. */
function recorded(events: RecordedEvent[], more: Partial<Recording> = {}): Recording {
  const pool = { id: 1, kind: "BufferPool", name: "frames", count: 2 } as const;
  const rest = { dropped: 0, spans: [], droppedSpans: 0, from: 1000, to: 1010 };
  return { thread: "main", pools: [pool], events, ...rest, ...more };
}

describe("a trace", () => {
  it("has a process for the pool, a track for each slot and for waiters, and a span for each lease and wait", () => {
    const trace = traceOf([
      recorded([
        event("acquire", 1000, 0, 7, { text: "decoder", site: "at decode (app.js:31)" }),
        event("acquire", 1001, 1, 3),
        event("wait", 1002, 1),
        event("wait", 1003, 2),
        event("release", 1004, 0),
        event("waitEnd", 1004, 1, 1),
        event("starved", 1005, 1, 2.5),
        event("discard", 1006, 0, 0, { text: "drained" }),
      ]),
    ]);
    const events = read(trace);
    const name = names(events);
    const shown = (list: TraceEvent[]): unknown[] =>
      list.map(({ pid, tid, name: what, ts, dur, args }) => [name.get(pid), name.get(tid), what, ts, dur, args]);
    expect(shown(spansOf(events, "lease"))).toEqual([
      [
        "BufferPool frames",
        "slot 0",
        "decoder",
        0,
        4000,
        { slot: 0, lease: 7, tag: "decoder", site: "at decode (app.js:31)" },
      ],
      ["BufferPool frames", "slot 1", "lease", 1000, 9000, { slot: 1, lease: 3, open: true }],
    ]);
    expect(shown(spansOf(events, "wait"))).toEqual([
      ["BufferPool frames", "waiters 1", "waiting", 2000, 2000, { served: true }],
      ["BufferPool frames", "waiters 2", "waiting", 3000, 7000, { open: true }],
    ]);
    expect(shown(events.filter(({ ph }) => ph === "i"))).toEqual([
      ["BufferPool frames", "events", "starved", 5000, undefined, { waited_ms: 2.5, waiting: 1 }],
      ["BufferPool frames", "events", "discarded: drained", 6000, undefined, { slot: 0 }],
    ]);
    const samples = events.filter(({ ph, name: what }) => ph === "C" && what === "slots");
    expect(samples.map(({ ts, args }) => [ts, args])).toEqual([
      [0, { leased: 1, free: 1 }],
      [1000, { leased: 2, free: 0 }],
      [4000, { leased: 1, free: 1 }],
      [10000, { leased: 1, free: 1 }],
    ]);
    expect(trace.otherData).toMatchObject({ producer: "millpond", began: "1970-01-01T00:00:01.000Z", overwritten: 0 });
  });

  it("ignores a release whose acquire was overwritten, and counts that lease before it", () => {
    const last = { count: 2, leased: 1, waiting: 0 };
    const pool = { id: 1, kind: "BufferPool", name: "frames", count: 2, last } as const;
    const events = read(traceOf([recorded([event("release", 1004, 0)], { pools: [pool], dropped: 9 })]));
    expect(spansOf(events, "lease")).toEqual([]);
    const slots = events.filter(({ ph, name }) => ph === "C" && name === "slots").map(({ args }) => args!.leased);
    expect(slots).toEqual([2, 1, 1]);
  });

  it("begins with the recording: what was out before says by how much", () => {
    const events = read(traceOf([recorded([event("acquire", 400.5, 0, 1), event("release", 1001, 0)])]));
    expect(spansOf(events, "lease")).toMatchObject([{ ts: 0, dur: 1000, args: { ms_before: 599.5 } }]);
  });

  it("ends a lease with its pool", () => {
    const events = read(traceOf([recorded([event("acquire", 1000, 0), event("end", 1003, 0)])]));
    expect(spansOf(events, "lease")).toMatchObject([{ ts: 0, dur: 3000, args: { open: true } }]);
    expect(lastCounters(events)).toMatchObject({ leased: 0, free: 0 });
  });

  it("numbers rows densely where a slot is an address", () => {
    const pool = { id: 1, kind: "RealtimePool", name: "audio", count: 0 } as const;
    const list = [
      event("acquire", 1000, 65_536),
      event("acquire", 1001, 131_072),
      event("release", 1002, 65_536),
      event("acquire", 1003, 9_999_999),
    ];
    const events = read(traceOf([recorded(list, { pools: [pool] })]));
    const name = names(events);
    expect(spansOf(events, "lease").map(({ tid, args }) => [name.get(tid), args!.slot])).toEqual([
      ["leases 1", 65_536],
      ["leases 2", 131_072],
      ["leases 1", 9_999_999],
    ]);
    // Its blocks are made as they are leased.
    expect(lastCounters(events)).toEqual({ leased: 2, waiting: 0 });
  });

  it("shows a shared pool once, whoever saw it, and a slot's life across threads on one track", () => {
    const pool = { id: 1, kind: "SharedPool", name: "frames", count: 2, shared: 5 } as const;
    const main = recorded([event("acquire", 1000, 0), event("release", 1004.05, 0)], { pools: [pool] });
    const worker = recorded([event("acquire", 1004, 0), event("release", 1006, 0)], {
      thread: "worker 1",
      pools: [{ ...pool, id: 1, name: "its view" }],
      from: 1002,
    });
    const events = read(traceOf([main, worker]));
    const name = names(events);
    expect([...name.values()].filter((text) => text.startsWith("SharedPool"))).toEqual(["SharedPool frames"]);
    // The two threads' notes of the hand-over were 50 us in the wrong order.
    expect(spansOf(events, "lease").map(({ tid, name: what, ts, dur }) => [name.get(tid), what, ts, dur])).toEqual([
      ["slot 0", "main", 0, 4000],
      ["slot 0", "worker 1", 4000, 2000],
    ]);
    const slots = events.filter(({ ph, name: what }) => ph === "C" && what === "slots");
    expect(slots.map(({ args }) => args!.leased)).toEqual([1, 0, 0]);
  });

  it("gives threads that hold a slot at the same time rows of their own", () => {
    const pool = { id: 1, kind: "SharedPool", name: "frames", count: 2, shared: 5 } as const;
    const main = recorded([event("acquire", 1000, 0), event("release", 1008, 0)], { pools: [pool] });
    const list = [event("acquire", 1002, 0), event("release", 1004, 0)];
    const events = read(traceOf([main, recorded(list, { thread: "worker 1", pools: [pool] })]));
    const name = names(events);
    expect(spansOf(events, "lease").map(({ tid }) => name.get(tid))).toEqual(["slot 0", "slot 0 (2)"]);
  });

  it("tells threads and pools of one name apart, and takes no recordings at all", () => {
    const span = { type: "gc", time: 1001, duration: 1, track: 0, name: "GC", text: "major GC" } as const;
    const events = read(traceOf([recorded([], { spans: [span] }), recorded([], { spans: [span] })]));
    expect([...names(events).values()]).toEqual(
      expect.arrayContaining(["thread main (1)", "thread main (2)", "BufferPool frames (main (1))"]),
    );
    expect(read(traceOf([]))).toEqual([]);
  });

  it("shows what stages did on a track of each, in rows where it overlaps", () => {
    const span = (time: number, duration: number, type: "work" | "wait", text: string) =>
      ({ type, time, duration, track: 1, name: "scale", text }) as const;
    const spans = [span(1001, 4, "work", "transform"), span(1002, 1, "wait", "for a buffer")];
    const events = read(traceOf([recorded([], { pools: [], spans })]));
    const name = names(events);
    const shown = events.filter(({ ph }) => ph === "X");
    expect(shown.map(({ pid, tid, cat, name: what }) => [name.get(pid), name.get(tid), cat, what])).toEqual([
      ["thread main", "scale", "stage", "transform"],
      ["thread main", "scale (2)", "wait", "for a buffer"],
    ]);
  });

  it("refuses what is not a recording, by name, and leaves out what cannot be read", () => {
    const bad = (given: unknown): string | undefined => code(() => traceOf(given as Recording[]));
    expect(bad(undefined)).toBe("ERR_INVALID_ARG_TYPE");
    expect(bad([null])).toBe("ERR_INVALID_ARG_TYPE");
    expect(bad([{ ...recorded([]), events: 1 }])).toBe("ERR_INVALID_ARG_TYPE");
    expect(bad([{ ...recorded([]), from: Number.NaN }])).toBe("ERR_INVALID_ARG_VALUE");
    expect(() => traceOf([recorded([]), { ...recorded([]), thread: 1 } as unknown as Recording])).toThrow(
      "recordings[1].thread",
    );
    expect(code(() => traceOf([], { abuot: {} } as never))).toBe("ERR_INVALID_ARG_VALUE");
    const strange = [
      event("acquire", Number.NaN, 0),
      event("acquire", 1001, Infinity),
      event("explode" as "end", 1001, 0),
      { ...event("acquire", 1001, 0), pool: 77 },
    ];
    expect(spansOf(read(traceOf([recorded(strange)])), "lease")).toEqual([]);
    const last = { count: Number.NaN, leased: "many", waiting: -1 };
    const pool = { id: 1, kind: "BufferPool", name: "frames", count: Infinity, last };
    const broken = { events: [null, event("acquire", 1e300, 0)], pools: [null, pool], spans: [null, { time: "now" }] };
    expect(read(traceOf([{ ...recorded([]), ...broken } as never])).length).toBeGreaterThan(0);
    expect(bad([{ ...recorded([]), to: 1e300 }])).toBe("ERR_INVALID_ARG_VALUE");
  });

  it("leaves out what another thread posted in the place of a number or a text, whatever it is", () => {
    const good = {
      ...recorded([event("acquire", 1001, 0)]),
      pools: [{ id: 1, kind: "BufferPool", name: "frames", count: 4, last: { count: 4, leased: 1, waiting: 0 } }],
      spans: [{ type: "work", time: 1000, duration: 1, track: 1, name: "scale", text: "transform" }],
    };
    const strange: readonly unknown[] = [
      null,
      0,
      -1,
      1e308,
      "x",
      5n,
      [],
      {},
      { toString: 1, valueOf: 1 },
      new Map(),
      Number.NaN,
      true,
    ];
    let count = 0;
    const spoil = (parent: Record<string, unknown>): void => {
      for (const [key, value] of Object.entries(parent)) {
        for (const other of strange) {
          parent[key] = other;
          const recording = structuredClone(good) as unknown as Recording;
          count++;
          const result = code(() => JSON.stringify([traceOf([recording]), traceOf([recording, recorded([])])]));
          expect([key, other, result]).toEqual([
            key,
            other,
            expect.stringMatching(/^(ok|ERR_INVALID_ARG_(TYPE|VALUE))$/),
          ]);
        }
        parent[key] = value;
        if (typeof value === "object" && value !== null) spoil(value as Record<string, unknown>);
      }
    };
    spoil(good as unknown as Record<string, unknown>);
    expect(count).toBeGreaterThan(200);
    expect(spansOf(read(traceOf([good as unknown as Recording])), "lease")).toHaveLength(1);
  });

  it("cuts texts, so that its size is bounded", () => {
    const text = "x".repeat(1e6);
    const list = [event("acquire", 1000, 0, 1, { text, site: text }), event("discard", 1001, 0, 0, { text })];
    expect(JSON.stringify(traceOf([recorded(list)])).length).toBeLessThan(6000);
  });

  it("takes about 200 bytes an event", () => {
    const list = Array.from({ length: 20_000 }, (_, i) => {
      const time = 1000 + (i >> 1) * 0.001 + (i & 1) * 0.0005;
      return event((i & 1) === 0 ? "acquire" : "release", time, (i >> 1) % 2, (i & 1) === 0 ? i >> 1 : 0);
    });
    const size = JSON.stringify(traceOf([recorded(list, { to: 2000 })])).length / list.length;
    expect(size).toBeLessThan(220);
  });
});

describe("a trace of any recording", () => {
  it("is valid, and has a span for each acquire", REPEATED, () => {
    const type = fc.constantFrom<RecordedEvent["type"]>(
      ...(["acquire", "release", "wait", "waitEnd", "resize", "discard", "starved", "end"] as const),
    );
    const time = fc.oneof(
      fc.integer({ min: 0, max: 40 }).map((n) => 1000 + n / 4),
      // A quarter of a microsecond apart, which is the least that a trace tells apart.
      fc.integer({ min: 0, max: 40 }).map((n) => 1000 + n / 4000),
      fc.double({ min: 990, max: 1020, noNaN: true }),
    );
    const one = fc.record({
      type,
      time,
      pool: fc.integer({ min: 1, max: 2 }),
      subject: fc.integer({ min: 0, max: 3 }),
      value: fc.integer({ min: 0, max: 3 }),
      text: fc.option(fc.string(), { nil: undefined }),
    });
    const span = fc.record({
      type: fc.constantFrom("gc", "work", "wait"),
      time,
      duration: fc.oneof(
        fc.double({ min: 0, max: 5, noNaN: true }),
        fc.integer({ min: 0, max: 8 }).map((n) => n / 4000),
      ),
      track: fc.integer({ min: 0, max: 2 }),
      name: fc.constant("stage"),
      text: fc.constantFrom("transform", "render"),
    });
    const kind = fc.constantFrom("BufferPool", "SharedPool", "SlabPool");
    const recording = fc
      .record({ events: fc.array(one, { maxLength: 60 }), spans: fc.array(span, { maxLength: 20 }), kind })
      .map(({ events, spans, kind: of }) => {
        const shared = of === "SharedPool" ? { shared: 9 } : {};
        const made = [1, 2].map((id) => ({ id, kind: of, name: `pool ${id}`, count: 3, ...(id === 1 ? shared : {}) }));
        const sorted = [...events].sort((a, b) => a.time - b.time);
        return recorded(sorted as RecordedEvent[], { pools: made, spans } as Partial<Recording>);
      });
    fc.assert(
      fc.property(fc.array(recording, { minLength: 1, maxLength: 3 }), (list) => {
        const events = read(traceOf(list));
        const acquires = list.flatMap((one) => one.events.filter((each) => each.type === "acquire"));
        expect(spansOf(events, "lease")).toHaveLength(acquires.length);
        expect(events.filter(({ cat }) => cat === "gc" || cat === "stage")).toHaveLength(
          list.flatMap(({ spans }) => spans.filter((each) => each.type !== "wait")).length,
        );
      }),
      { numRuns: times(200, 5000), seed: seedOf("any recording") },
    );
  });
});

interface Verbs {
  take(): (() => void) | undefined;
  wait?(): void;
  close(): void;
}

const KINDS: readonly (readonly [string, (name: string) => Verbs])[] = [
  [
    "BufferPool",
    (name) => {
      const pool = BufferPool.create({ name, size: 64, max: 4 });
      const got: { release(): void }[] = [];
      return {
        take() {
          // What waiters got counts as well.
          const lease = got.pop() ?? pool.tryAcquire({ tag: "tagged" }) ?? pool.tryAcquire();
          return lease === undefined ? undefined : () => lease.release();
        },
        wait() {
          pool.acquire().then(
            (lease) => got.push(lease),
            () => {},
          );
        },
        close: () => pool.close({ force: true }),
      };
    },
  ],
  [
    "PagePool",
    (name) => {
      const pool = PagePool.create({ name });
      let size = 1000;
      return {
        take() {
          size = ((size * 7) % 50_000) + 1;
          const memory = pool.allocate(size);
          return () => memory.release();
        },
        close: () => pool.close({ force: true }),
      };
    },
  ],
  [
    "SlabPool",
    (name) => {
      const pool = SlabPool.create({ name, elementSize: 1024 });
      return {
        take() {
          const pointer = pool.alloc();
          return () => pool.free(pointer);
        },
        close: () => pool.close({ force: true }),
      };
    },
  ],
  [
    "RealtimePool",
    (name) => {
      const pool = RealtimePool.create({ name, totalSize: 65_536 });
      return {
        take() {
          const pointer = pool.alloc(100);
          return pointer === 0 ? undefined : () => pool.free(pointer);
        },
        close: () => pool.close({ force: true }),
      };
    },
  ],
  [
    "SharedPool",
    (name) => {
      const pool = SharedPool.create({ name, size: 64, count: 4 });
      return {
        take() {
          const lease = pool.tryAcquire();
          return lease === undefined ? undefined : () => lease.release();
        },
        close: () => pool.close({ force: true }),
      };
    },
  ],
  [
    "TransferPool",
    (name) => {
      const pool = TransferPool.create({ name, size: 64, count: 4 });
      return {
        take() {
          const lease = pool.tryAcquire();
          return lease === undefined ? undefined : () => lease.release();
        },
        close: () => pool.close({ force: true }),
      };
    },
  ],
];

let count = 0;

describe.each(KINDS)("the numbers of a %s", (_kind, make) => {
  const steps = fc.array(fc.constantFrom("take", "take", "give", "wait"), { maxLength: 60 });

  it("add up: spans are acquires, open spans are leases, counters end at counts()", REPEATED, async () => {
    const property = fc.asyncProperty(steps, steps, fc.constantFrom(16, 4096), async (before, during, capacity) => {
      const name = `traced ${++count}`;
      const pool = make(name);
      const info = infoOf(name);
      const gives: (() => void)[] = [];
      const act = async (what: string): Promise<void> => {
        if (what === "wait") pool.wait?.();
        else if (what === "give") gives.splice(Math.floor(gives.length / 2), 1)[0]?.();
        else {
          const give = pool.take();
          if (give !== undefined) gives.push(give);
        }
        await Promise.resolve();
      };
      for (const what of before) await act(what);
      const already = info.counts();
      const recorder = start({ pools: [info], capacity });
      for (const what of during) await act(what);
      const counts = info.counts();
      const recording = recorder.recording();
      const events = read(recorder.trace());
      const acquired = recording.events.filter(({ type }) => type === "acquire").length;
      const spans = spansOf(events, "lease");
      expect(spans).toHaveLength(acquired);
      const { leased, waiting } = counts;
      expect(lastCounters(events)).toMatchObject({ leased, waiting });
      if (_kind !== "RealtimePool") expect(lastCounters(events).free).toBe(counts.free);
      if (recording.dropped === 0) {
        expect(spans.filter(isOpen)).toHaveLength(leased);
        if (counts.acquires !== null) expect(acquired).toBe(counts.acquires - already.acquires! + already.leased);
        const waits = spansOf(events, "wait");
        if (counts.waits !== null) expect(waits).toHaveLength(counts.waits - already.waits!);
        if (already.waiting === 0) expect(waits.filter(isOpen)).toHaveLength(waiting);
        const first = events.find(({ ph, name: what }) => ph === "C" && what === "slots")!;
        expect(first.args!.leased).toBe(already.leased);
      } else expect(spans.filter(isOpen).length).toBeLessThanOrEqual(leased);
      pool.close();
      const ended = read(recorder.trace());
      expect(lastCounters(ended)).toMatchObject({ leased: 0, waiting: 0 });
      recorder.stop();
      // Nothing is recorded any more.
      expect(recorder.trace()).toEqual(recorder.trace());
    });
    await fc.assert(property, { numRuns: times(40, 400), seed: seedOf("numbers") });
  });
});

describe("a recorder", () => {
  it("follows a SlabPool that makes blocks", () => {
    const pool = SlabPool.create({ name: "blocks", elementSize: 1024 });
    const recorder = start({ pools: [infoOf("blocks")] });
    const pointers = Array.from({ length: 10 }, () => pool.alloc());
    const { count: slots } = infoOf("blocks").counts();
    for (const pointer of pointers) pool.free(pointer);
    const counters = read(recorder.trace()).filter(({ ph, name }) => ph === "C" && name === "slots");
    const full = counters.find(({ args }) => args!.leased === 10)!;
    expect(full.args!.free).toBe(slots - 10);
    pool.close();
  });

  it("does not count other members' leases of a shared pool as its own", () => {
    const pool = SharedPool.create({ name: "two members", size: 64, count: 4 });
    const other = SharedPool.attach(pool.reserve());
    const theirs = other.tryAcquire()!;
    const mine = pool.tryAcquire()!;
    const [first, second] = pools().filter(({ name }) => name === "two members");
    const recorders = [start({ pools: [first!], thread: "a" }), start({ pools: [second!], thread: "b" })];
    theirs.release();
    const events = read(traceOf(recorders.map((one) => one.recording())));
    expect(spansOf(events, "lease").map((span) => [span.args!.thread, isOpen(span)])).toEqual([
      ["a", true],
      ["b", false],
    ]);
    expect(lastCounters(events)).toMatchObject({ leased: 1, free: 3 });
    mine.release();
    other.leave();
    const left = read(traceOf(recorders.map((one) => one.recording())));
    expect(lastCounters(left)).toMatchObject({ leased: 0, free: 4 });
    pool.close();
    const ended = read(traceOf(recorders.map((one) => one.recording())));
    expect(lastCounters(ended)).toMatchObject({ leased: 0, free: 0 });
  });

  it("tells of stages while it records, and nobody does otherwise", async () => {
    const stage = { name: "scale", transform: (n: number) => n + 1, fail: () => unsupported() };
    const unsupported = (): never => {
      throw new Error("it fails");
    };
    expect(stagesWatched).toBe(false);
    const recorder = start({ pools: [], thread: "here" });
    expect(stagesWatched).toBe(true);
    expect(watchedCall(stage, "transform", stage.transform, 1)).toBe(2);
    expect(() => watchedCall(stage, "render", stage.fail)).toThrow("it fails");
    stageWorks(stage, "works", Promise.reject(new Error("failed")));
    stageWaits(stage, "for a buffer", Promise.resolve());
    await turn();
    recorder.stop();
    expect(stagesWatched).toBe(false);
    stageWaits(stage, "for a buffer", Promise.resolve());
    stageWorks(stage, "works", Promise.resolve());
    await turn();
    const { spans, thread } = recorder.recording();
    expect(
      spans.filter(({ type }) => type !== "gc").map(({ type, track, name, text }) => [type, track, name, text]),
    ).toEqual(
      expect.arrayContaining([
        ["work", 1, "scale", "transform"],
        ["work", 1, "scale", "render"],
        ["work", 1, "scale", "works"],
        ["wait", 1, "scale", "for a buffer"],
      ]),
    );
    expect(spans.filter(({ type }) => type !== "gc")).toHaveLength(4);
    expect(thread).toBe("here");
  });

  it("keeps the newest spans and counts the others", () => {
    const recorder = start({ pools: [], capacity: 16 });
    const stage = { name: "fast" };
    for (let i = 0; i < 20; i++) watchedCall(stage, String(i), () => undefined);
    const { spans, droppedSpans } = recorder.recording();
    expect(spans).toHaveLength(16);
    expect(droppedSpans).toBeGreaterThanOrEqual(4);
    expect(recorder.trace().otherData.overwritten).toBe(droppedSpans);
  });

  it("notes pauses of the garbage collector, within the recording", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const recorder = start({ pools: [] });
    collect();
    while (!recorder.recording().spans.some(({ text }) => text === "major GC")) await turn();
    recorder.stop();
    const { spans, from, to } = recorder.recording();
    const major = spans.find(({ text }) => text === "major GC")!;
    expect(major.time).toBeGreaterThanOrEqual(from);
    expect(major.time + major.duration).toBeLessThanOrEqual(to);
    const events = read(recorder.trace());
    expect(names(events).get(spansOf(events, "gc")[0]!.tid)).toBe("GC");
  });

  it("forgets pools that ended once their events are overwritten", () => {
    const recorder = start({ capacity: 16 });
    const lasting = BufferPool.create({ name: "lasting", size: 1, max: 1 });
    for (let i = 0; i < 50; i++) BufferPool.create({ name: `gone ${i}`, size: 1, max: 1 }).close();
    const kept = recorder.recording().pools.filter(({ name }) => name.startsWith("gone")).length;
    expect(kept).toBeLessThanOrEqual(16);
    expect(recorder.recording().pools.some(({ name }) => name === "lasting")).toBe(true);
    lasting.close();
    read(recorder.trace());
  });
});
