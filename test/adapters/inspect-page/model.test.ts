// Shares its realm with other files: nothing that it changes outlives it.
/** What the page makes of updates: slots, leases over time, samples and reports. */
import { describe, expect, test } from "vitest";
import {
  InspectorModel,
  MAX_REPORTS,
  MAX_SAMPLES,
  MAX_SLOTS,
  type PoolModel,
  type ProcessModel,
  SlotState,
} from "../../../src/adapters/inspect/page/model.ts";
import type { InspectorUpdate } from "../../../src/observe/snapshot.ts";
import { crowd, FakeProgram } from "../../helpers/fake-program.ts";

function modelOf(program: FakeProgram): { apply(): ProcessModel; model: InspectorModel } {
  const model = new InspectorModel();
  return {
    model,
    apply() {
      model.apply(program.update());
      return model.processes.get(program.pid)!;
    },
  };
}

/** The same, as a server tells it that was asked for rare lists. */
function withoutHolders({ snapshot, ...rest }: InspectorUpdate): InspectorUpdate {
  const realms = snapshot.realms.map((realm) => {
    return { ...realm, pools: realm.pools.map((pool) => ({ ...pool, holders: [], unlisted: true as const })) };
  });
  return { ...rest, snapshot: { ...snapshot, realms } };
}

const statesOf = (pool: PoolModel, now: number): number[] => pool.rows.map((row) => pool.stateOf(row, now));

describe("slots", () => {
  test("go through the states as they are held, and are free again", () => {
    const program = new FakeProgram();
    const pool = program.pool({ name: "frames", count: 3 });
    const { apply } = modelOf(program);
    apply();
    pool.acquire(1, "decode");
    const seen: number[] = [];
    for (const ms of [50, 100, 1000, 10_000]) {
      program.time += ms;
      const process = apply();
      seen.push(statesOf(process.pools[0]!, process.now)[1]!);
    }
    expect(seen).toEqual([SlotState.FRESH, SlotState.SHORT, SlotState.LONG, SlotState.OLD]);
    pool.release(1);
    program.time += 10;
    const process = apply();
    expect(statesOf(process.pools[0]!, process.now)).toEqual([0, 0, 0]);
    const spans: [number, number][] = [];
    process.pools[0]!.rows[1]!.each(0, (start, end) => spans.push([start, end]));
    expect(spans).toEqual([[1_700_000_000_000, 1_700_000_011_150]]);
  });

  test("are known from snapshots alone, without a single event", () => {
    const program = new FakeProgram();
    const pool = program.pool({ name: "frames", count: 2 });
    const model = new InspectorModel();
    const apply = (): ProcessModel => {
      model.apply({ ...program.update(), events: [] });
      return model.processes.get(program.pid)!;
    };
    pool.acquire(0);
    program.time += 5000;
    let process = apply();
    expect(statesOf(process.pools[0]!, process.now)).toEqual([SlotState.LONG, SlotState.FREE]);
    pool.release(0);
    pool.acquire(0);
    program.time += 10;
    process = apply();
    expect(statesOf(process.pools[0]!, process.now)).toEqual([SlotState.FRESH, SlotState.FREE]);
    pool.release(0);
    program.time += 10;
    process = apply();
    expect(statesOf(process.pools[0]!, process.now)).toEqual([SlotState.FREE, SlotState.FREE]);
  });

  test("are the same whether each update lists the leases or every tenth, and events tell of those between", () => {
    const { program, step } = crowd(3, 64);
    const [listed, thin] = [new InspectorModel(), new InspectorModel()];
    for (let i = 0; i < 100; i++) {
      const update = step(37, true);
      listed.apply(update);
      thin.apply(i % 10 === 0 ? update : withoutHolders(update));
      const [all, some] = [listed, thin].map((model) => model.processes.get(program.pid)!);
      all!.pools.forEach((pool, at) => {
        expect(statesOf(some!.pools[at]!, some!.now)).toEqual(statesOf(pool, all!.now));
        expect(some!.pools[at]!.info.leased).toBe(pool.info.leased);
      });
    }
  });

  test("of a blocked thread are those that its events told of, when a list that is older is told again", () => {
    const program = new FakeProgram({ threads: [0, 3] });
    const pool = program.pool({ name: "frames", count: 3, thread: 3 });
    const model = new InspectorModel();
    pool.acquire(0, "first");
    const listed = program.update();
    model.apply(listed);
    program.time += 500;
    pool.release(0);
    pool.acquire(1, "second");
    program.time += 10;
    const told = withoutHolders(program.update());
    model.apply(told);
    program.time += 100;
    // What the main thread says of it from now on: its last list, and that it is silent.
    const realms = [told.snapshot.realms[0]!, { ...listed.snapshot.realms[1]!, silent: 100 }];
    model.apply({ snapshot: { ...told.snapshot, time: program.time, realms }, events: [], dropped: 0 });
    const process = model.processes.get(program.pid)!;
    expect(statesOf(process.pools[0]!, process.now)).toEqual([SlotState.FREE, SlotState.SHORT, SlotState.FREE]);
  });

  test("a release that is newer than the snapshot stands", () => {
    const program = new FakeProgram();
    const pool = program.pool({ name: "frames", count: 1 });
    const model = new InspectorModel();
    pool.acquire(0);
    program.time += 10;
    const before = program.update();
    program.time += 1;
    pool.release(0);
    const { events } = program.update();
    model.apply({ ...before, events: [...before.events, ...events] });
    const process = model.processes.get(program.pid)!;
    expect(statesOf(process.pools[0]!, process.now)).toEqual([SlotState.FREE]);
  });

  test("of a pool whose leases have addresses have a row each, and rows are used again", () => {
    const program = new FakeProgram();
    const pool = program.pool({ name: "pages", kind: "PagePool", count: 2 });
    const { apply } = modelOf(program);
    for (let i = 0; i < 1000; i++) {
      const address = 2 ** 40 + i * 65_536;
      pool.acquire(address);
      program.time += 5;
      apply();
      pool.release(address);
      program.time += 5;
      apply();
    }
    pool.acquire(7);
    pool.acquire(2 ** 50);
    program.time += 5;
    const process = apply();
    expect(process.pools[0]!.rows).toHaveLength(2);
    expect(process.pools[0]!.rows.map(({ slot }) => slot)).toEqual([7, 2 ** 50]);
  });

  test("of which the program lists too few are told apart from free ones", () => {
    const program = new FakeProgram();
    const pool = program.pool({ name: "many", count: 300 });
    for (let slot = 0; slot < 299; slot++) pool.acquire(slot);
    program.time += 10;
    const { snapshot } = program.update();
    const [realm] = snapshot.realms;
    const { taken: _, ...told } = realm!.pools[0]!;
    const model = new InspectorModel();
    model.apply({ snapshot: { ...snapshot, realms: [{ ...realm!, pools: [told] }] }, events: [], dropped: 0 });
    const process = model.processes.get(program.pid)!;
    const states = statesOf(process.pools[0]!, process.now);
    expect(states.filter((state) => state === SlotState.FRESH)).toHaveLength(256);
    expect(states.filter((state) => state === SlotState.UNTOLD)).toHaveLength(44);
  });

  test("are not known after events were lost, until an event or a list tells of them", () => {
    const program = new FakeProgram();
    const pool = program.pool({ name: "frames", count: 300 });
    const model = new InspectorModel();
    const apply = (lost: boolean): number[] => {
      const update = program.update();
      model.apply(lost ? { ...update, events: [], dropped: update.events.length } : update);
      const process = model.processes.get(program.pid)!;
      return statesOf(process.pools[0]!, process.now);
    };
    const count = (states: number[], state: SlotState): number => states.filter((one) => one === state).length;
    for (let slot = 0; slot < 290; slot++) pool.acquire(slot);
    program.time += 10;
    expect(count(apply(false), SlotState.FRESH)).toBe(290);
    for (let slot = 0; slot < 20; slot++) pool.release(slot);
    program.time += 10;
    // 256 of 270 are listed: the others may be any of those that are left.
    let states = apply(true);
    expect([count(states, SlotState.FRESH), count(states, SlotState.UNTOLD)]).toEqual([256, 44]);
    expect(states[5]).toBe(SlotState.UNTOLD);
    pool.acquire(5);
    pool.release(20);
    program.time += 10;
    states = apply(false);
    expect([states[5], states[20]]).toEqual([SlotState.FRESH, SlotState.FREE]);
    for (let slot = 21; slot < 41; slot++) pool.release(slot);
    program.time += 10;
    // A list that is whole says what the others are.
    states = apply(true);
    expect([count(states, SlotState.FRESH), count(states, SlotState.UNTOLD)]).toEqual([250, 0]);
    const process = model.processes.get(program.pid)!;
    const spans: [number, number][] = [];
    process.pools[0]!.rows[100]!.each(0, (start, end) => spans.push([start, end]));
    expect(spans).toEqual([[1_700_000_000_000, Number.POSITIVE_INFINITY]]);
  });

  test("without a lease's number are another lease after events were lost, if the list's is younger", () => {
    const program = new FakeProgram();
    const pool = program.pool({ name: "elements", kind: "SlabPool", count: 2 });
    const model = new InspectorModel();
    const apply = (lost: boolean): (number | undefined)[] => {
      const update = program.update();
      const realms = update.snapshot.realms.map((realm) => {
        const own = realm.pools[0]!;
        return { ...realm, pools: [{ ...own, holders: own.holders.map((one) => ({ ...one, lease: null })) }] };
      });
      const dropped = lost ? update.events.length : 0;
      model.apply({ snapshot: { ...update.snapshot, realms }, events: lost ? [] : update.events, dropped });
      const { pools, now } = model.processes.get(program.pid)!;
      return pools[0]!.rows.map(({ openSince }) => now - openSince);
    };
    pool.acquire(0);
    pool.acquire(1);
    program.time += 5000;
    expect(apply(false)).toEqual([5000, 5000]);
    pool.release(1);
    pool.acquire(1);
    program.time += 1000;
    expect(apply(true)).toEqual([6000, 1000]);
    // A clock that is read coarsely says the same of the same lease.
    program.time += 1000;
    expect(apply(true)).toEqual([7000, 2000]);
  });

  test("of a page that is opened late are known as far as a list tells of them", () => {
    const program = new FakeProgram();
    const pool = program.pool({ name: "frames", count: 300 });
    for (let slot = 0; slot < 290; slot++) pool.acquire(slot);
    program.time += 10;
    program.update();
    pool.release(299 - 10);
    program.time += 10;
    const model = new InspectorModel();
    model.apply(program.update());
    const process = model.processes.get(program.pid)!;
    const states = statesOf(process.pools[0]!, process.now);
    expect(states[289]).toBe(SlotState.FREE);
    expect(states.filter((state) => state === SlotState.FRESH)).toHaveLength(256);
    expect(states.filter((state) => state === SlotState.UNTOLD)).toHaveLength(43);
  });

  test("have a bound, whatever a program says", () => {
    const program = new FakeProgram();
    const pool = program.pool({ name: "huge", count: 2 ** 40 });
    const { apply } = modelOf(program);
    for (const slot of [-1, 0.5, Number.NaN, 2 ** 53, MAX_SLOTS]) pool.acquire(slot);
    const process = apply();
    expect(process.pools[0]!.rows).toHaveLength(MAX_SLOTS);
  });

  test("of all pools together have a bound too", () => {
    const program = new FakeProgram();
    for (let i = 0; i < 2000; i++) program.pool({ name: "one of many", count: 1_000_000 }).acquire(999);
    const { pools } = modelOf(program).apply();
    expect(pools.reduce((sum, { rows }) => sum + rows.length, 0)).toBe(2000 * 64);
  });

  test("that a pool gave back are gone, those that are held stay", () => {
    const program = new FakeProgram();
    const options = { name: "elastic", count: 8 };
    const pool = program.pool(options);
    const { apply } = modelOf(program);
    pool.acquire(3);
    expect(apply().pools[0]!.rows).toHaveLength(8);
    options.count = 2;
    program.time += 10;
    expect(apply().pools[0]!.rows).toHaveLength(4);
  });
});

describe("a shared pool", () => {
  const members = [
    { member: 0, self: true, state: "live", holds: 1, waiting: false },
    { member: 1, self: false, state: "live", holds: 0, waiting: true },
  ];

  test("is one entry, whichever threads see it, and keeps its place in the list", () => {
    const program = new FakeProgram({ threads: [0, 4] });
    program.pool({ name: "first", count: 1 });
    const main = program.pool({ name: "frames", kind: "SharedPool", count: 2, shared: 9, members });
    program.pool({ name: "last", count: 1 });
    const others = members.map((member) => ({ ...member, self: !member.self }));
    program.pool({ name: "frames", kind: "SharedPool", count: 2, shared: 9, thread: 4, members: others });
    main.acquire(0);
    const process = modelOf(program).apply();
    expect(process.pools.map(({ info }) => info.name)).toEqual(["first", "frames", "last"]);
    const { info } = process.pools[1]!;
    expect(info.threads).toEqual([0, 4]);
    expect(info.members.map(({ thread }) => thread)).toEqual([0, 4]);
  });

  test("has one row for a slot that one thread acquires and another releases", () => {
    const program = new FakeProgram({ threads: [0, 4] });
    const main = program.pool({ name: "frames", kind: "SharedPool", count: 1, shared: 9 });
    const worker = program.pool({ name: "frames", kind: "SharedPool", count: 1, shared: 9, thread: 4 });
    const { apply } = modelOf(program);
    apply();
    // Told by thread: all that happened in the main one comes first.
    for (let i = 0; i < 3; i++) {
      main.acquire(0);
      program.time += 10;
      worker.release(0);
      main.leases.clear();
      program.time += 10;
    }
    const { snapshot, events } = program.update();
    const model = new InspectorModel();
    const byThread = events.toSorted((a, b) => a.thread - b.thread || a.time - b.time);
    model.apply({ snapshot, events: byThread, dropped: 0 });
    const [pool] = model.processes.get(program.pid)!.pools;
    const lengths: number[] = [];
    pool!.rows[0]!.each(0, (start, end) => lengths.push(end - start));
    expect(lengths).toEqual([10, 10, 10]);
  });
});

describe("samples", () => {
  test("are taken four times a second, and hold rates and collections of that time", () => {
    const program = new FakeProgram();
    const pool = program.pool({ name: "frames", count: 4 });
    const { apply } = modelOf(program);
    apply();
    let process = apply();
    for (let i = 0; i < 40; i++) {
      program.time += 50;
      pool.acquire(0);
      pool.release(0);
      program.gc.set(0, i * 5);
      process = apply();
    }
    expect(process.samples).toHaveLength(1 + 2000 / 250);
    const last = process.samples.at(-1)!;
    expect(last.pools.get(process.pools[0]!.key)).toEqual({ leased: 0, waiting: 0, rate: 20 });
    expect(last.gc.get(0)).toBe(100);
  });

  test("are a minute at most, and a clock that goes back makes no rate", () => {
    const program = new FakeProgram();
    const pool = program.pool({ name: "frames", count: 4 });
    const { apply } = modelOf(program);
    for (let i = 0; i < MAX_SAMPLES + 50; i++) {
      program.time += 250;
      apply();
    }
    program.time -= 3_600_000;
    pool.acquires += 10;
    const process = apply();
    expect(process.samples).toHaveLength(MAX_SAMPLES);
    expect(process.samples.at(-1)!.pools.get(process.pools[0]!.key)!.rate).toBe(0);
  });
});

describe("reports of starvation", () => {
  test("an event and a snapshot that tell of the same are one report, with its holders", () => {
    const program = new FakeProgram();
    const pool = program.pool({ name: "frames", count: 1 });
    const { apply } = modelOf(program);
    apply();
    pool.acquire(0, "encode");
    program.time += 1000;
    pool.starve(1000, 3);
    program.time += 50;
    let process = apply();
    process = apply();
    expect(process.reports).toHaveLength(1);
    expect(process.reports[0]).toMatchObject({ pool: "frames", waited: 1000, waiting: 3 });
    expect(process.reports[0]!.holders).toMatchObject([{ slot: 0, tag: "encode", age: 1000 }]);
    program.time += 1000;
    pool.starve(2000, 3);
    process = apply();
    expect(process.reports.map(({ waited }) => waited)).toEqual([2000, 1000]);
    expect(process.reported).toBe(2);
  });

  test("are bounded, newest first", () => {
    const program = new FakeProgram();
    const pool = program.pool({ name: "frames", count: 1 });
    const { apply } = modelOf(program);
    let process = apply();
    for (let i = 0; i < MAX_REPORTS + 20; i++) {
      program.time += 1000;
      pool.starve(i, 1);
      process = apply();
    }
    expect(process.reports).toHaveLength(MAX_REPORTS);
    expect(process.reports[0]!.waited).toBe(MAX_REPORTS + 19);
    expect(process.reported).toBe(MAX_REPORTS + 20);
  });
});

test("waits are a span from the first waiter to the last", () => {
  const program = new FakeProgram();
  const pool = program.pool({ name: "frames", count: 1 });
  const { apply } = modelOf(program);
  apply();
  const start = program.time;
  const at = (ms: number, type: "wait" | "waitEnd", subject: number): void => {
    program.time = start + ms;
    program.tell(pool, { type, subject, value: 0 });
  };
  at(10, "wait", 1);
  at(20, "wait", 2);
  at(30, "waitEnd", 1);
  at(40, "waitEnd", 2);
  program.time = start + 50;
  const spans: [number, number][] = [];
  apply().pools[0]!.waits.each(0, (from, to) => spans.push([from - start, to - start]));
  expect(spans).toEqual([[10, 40]]);
});

test("waits whose ends are never told do not add up", () => {
  const program = new FakeProgram();
  const pool = program.pool({ name: "frames", count: 1 });
  const { apply } = modelOf(program);
  pool.waiting = 1;
  let wait = 0;
  // Each is told of and its end is not, while always one waits.
  for (let i = 0; i < 20; i++) {
    for (let j = 0; j < 500; j++) program.tell(pool, { type: "wait", subject: ++wait, value: 0 });
    program.time += 100;
    expect(apply().pools[0]!.outstandingWaits).toBeLessThan(2000);
  }
  pool.waiting = 0;
  program.time += 100;
  const process = apply();
  expect(process.pools[0]!.outstandingWaits).toBe(0);
  expect(process.pools[0]!.waits.isOpen).toBe(false);
});

test("a pool that ended is forgotten, and processes are told apart", () => {
  const one = new FakeProgram({ pid: 1 });
  const two = new FakeProgram({ pid: 2 });
  one.pool({ name: "a", count: 1 });
  two.pool({ name: "b", count: 1 });
  const model = new InspectorModel();
  model.apply(one.update());
  model.apply(two.update());
  expect([...model.processes].map(([pid, { pools }]) => [pid, pools[0]!.info.name])).toEqual([
    [1, "a"],
    [2, "b"],
  ]);
  one.pools.pop();
  model.apply(one.update());
  expect(model.processes.get(1)!.pools).toEqual([]);
});

test("events of pools that nobody knows, and updates without anything, are taken", () => {
  const program = new FakeProgram();
  const pool = program.pool({ name: "frames", count: 1 });
  const { snapshot } = program.update();
  const model = new InspectorModel();
  const event = { type: "acquire", time: 0, pool: 99, subject: 0, value: 0, thread: 3 } as const;
  const empty: InspectorUpdate = { snapshot: { ...snapshot, realms: [] }, events: [event], dropped: 5 };
  model.apply(empty);
  expect(model.processes.get(program.pid)!.pools).toEqual([]);
  expect(pool.leases.size).toBe(0);
});

test("20 pools of 256 slots keep their numbers through hundreds of updates", () => {
  const { program, step } = crowd(20);
  const model = new InspectorModel();
  for (let i = 0; i < 200; i++) model.apply(step(100));
  const process = model.processes.get(program.pid)!;
  for (const [i, pool] of process.pools.entries()) {
    const held = pool.rows.filter(({ isOpen }) => isOpen).map(({ slot }) => slot);
    expect(held).toEqual([...program.pools[i]!.leases.keys()].sort((a, b) => a - b));
  }
});
