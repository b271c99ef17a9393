/** The seats of processes: every moment at which one may be killed, while others join and clear up, on the code itself. */
import { describe, expect, it } from "vitest";
import {
  bytesWithTable,
  claimSeat,
  pidOf,
  readTable,
  type SeatTable,
  writeTable,
} from "../../../src/pools/process/process-table.ts";
import { createCore } from "../../../src/pools/shared/core.ts";
import { checkShape, layoutOf, OwnerState, type SharedLayout, writePool } from "../../../src/pools/shared/layout.ts";
import { statusOf, takeSeat } from "../../../src/pools/shared/membership.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { REPEATED } from "../../helpers/effort.ts";
import { code } from "../buffer/pools.ts";
import { alone, atLeast, explore, notify, type Run, type Step, steps, type Thread } from "../shared/interleave.ts";

const COUNT = 1;

/** A pool with a table, and processes that are threads of a run: number 100 + i started at tick i. */
class Town {
  readonly layout: SharedLayout = layoutOf(checkShape({ size: 1, count: COUNT, owners: 3 }, "fresh"));
  readonly i32: Int32Array;
  readonly table: SeatTable;
  readonly ended: Set<number> = new Set();
  /** Seats of those that live and believe to sit. */
  readonly seated: Map<number, number> = new Map();
  readonly cores: ReturnType<typeof createCore>[] = [];

  constructor() {
    const memory = new SharedArrayBuffer(bytesWithTable(this.layout));
    this.i32 = new Int32Array(memory, 0, this.layout.slotsAt >>> 2);
    writePool(this.i32, this.layout, 1);
    this.table = writeTable(memory, this.layout, this.process(0)).table;
    const seat = takeSeat(this.i32, this.layout, OwnerState.LIVE)!;
    this.enter(0, seat.owner, seat.status);
  }

  process(i: number): { pid: number; start: number; namespace: number } {
    return { pid: 100 + i, start: i, namespace: 7 };
  }

  enter(i: number, owner: number, status: number): void {
    for (const [other, seat] of this.seated) {
      if (seat === owner && !this.ended.has(other)) throw new Error(`seat ${owner} is that of ${other} and of ${i}`);
    }
    this.seated.set(i, owner);
    this.cores[i] = createCore(this.i32, this.layout, owner, status, () => {}, notify);
  }

  /** Joins, as openProcessPool does. */
  *join(i: number): Step<boolean> {
    const claim = yield* steps.claimSeat(this.table, this.i32, this.layout, this.process(i), OwnerState.RESERVED);
    if (claim === null) return false;
    const { owner, status } = (claim as NonNullable<ReturnType<typeof claimSeat>>).seat;
    const live = yield* steps.sitDown(this.i32, this.layout, owner, status);
    if (live === 0) throw new Error(`the seat of ${i}, which lives, was taken back`);
    this.enter(i, owner, live);
    return true;
  }

  *take(i: number): Step<number> {
    return yield* steps.take(this.cores[i]!);
  }

  *sweep(i: number): Step<void> {
    yield* steps.sweepEnded(this.table, this.cores[i]!, this.process(i), (pid) => this.ended.has(pid - 100));
  }

  *leave(i: number): Step<void> {
    const core = this.cores[i]!;
    this.seated.delete(i);
    yield* steps.leave(core);
    const word = Atomics.load(this.table.rows, core.owner * 8);
    yield* steps.dropRow(this.table, core.owner, word);
  }

  /** All that is left of the dead is cleared up by process 0, and then every seat and slot can be had again. */
  check(): void {
    alone(this.sweep(0));
    const living = [...this.seated].filter(([i]) => !this.ended.has(i));
    for (const [i, owner] of living) {
      const status = statusOf(this.cores[i]!, owner);
      if (status !== this.cores[i]!.status) throw new Error(`process ${i} lives and lost its seat ${owner}`);
    }
    const free = this.layout.owners - living.length;
    for (let n = 0; n <= free; n++) {
      const claim = claimSeat(this.table, this.i32, this.layout, this.process(50 + n), OwnerState.LIVE);
      if ((claim !== null) !== n < free) throw new Error(`${free} seats should be free, and ${n} were had`);
    }
  }

  run(threads: readonly Thread[], victim: number, process: number, after?: () => void): Run {
    return {
      threads,
      i32: this.i32,
      mortal: threads.map((_, i) => i === victim),
      died: () => {
        this.ended.add(process);
        after?.();
      },
      check: () => this.check(),
    };
  }
}

const during = function* (step: Step<unknown>): Thread {
  yield* step as Thread;
};

describe("a process is killed between any two instructions", REPEATED, () => {
  it("while it joins, as another one joins and a third clears up", () => {
    const make = (): Run => {
      const town = new Town();
      return town.run([during(town.join(1)), during(town.join(2)), during(town.sweep(0))], 0, 1);
    };
    expect(explore(make, { preemptions: 2 }).schedules).toBeGreaterThan(atLeast(1000));
  });

  it("while it takes the only slot: it is to be had again", () => {
    const make = (): Run => {
      const town = new Town();
      const victim = function* (): Thread {
        if (yield* town.join(1)) yield* town.take(1);
      };
      const run = town.run([victim(), during(town.sweep(0))], 0, 1);
      return {
        ...run,
        check() {
          if (!town.ended.has(1)) return;
          run.check();
          if (alone(town.take(0)) < 0) throw new Error("the slot is lost");
        },
      };
    };
    expect(explore(make, { preemptions: 3 }).schedules).toBeGreaterThan(100);
  });

  it("while it clears up after one that was killed: the next ends it, and the newcomer keeps his seat", () => {
    const make = (): Run => {
      const town = new Town();
      alone(town.join(1));
      alone(town.join(2));
      alone(town.take(2));
      town.ended.add(2);
      return town.run([during(town.sweep(1)), during(town.sweep(0)), during(town.join(3))], 0, 1);
    };
    expect(explore(make, { preemptions: 2 }).schedules).toBeGreaterThan(atLeast(1000));
  });

  it("after it had its row and before it sat: two clear up, and whoever comes then is not hit", () => {
    const make = (): Run => {
      const town = new Town();
      alone(town.join(2));
      const joining = town.join(1);
      // A look at each row, and the step that takes the third.
      for (let i = 0; i < 4; i++) joining.next();
      if (pidOf(town.table, 2) !== 101) joining.next();
      if (pidOf(town.table, 2) !== 101 || (statusOf(town.cores[0]!, 2) & OwnerState.MASK) !== OwnerState.FREE)
        throw new Error("not where it should be");
      town.ended.add(1);
      return town.run([during(town.sweep(2)), during(town.sweep(0)), during(town.join(3))], 3, 1);
    };
    expect(explore(make, { preemptions: 2 }).schedules).toBeGreaterThan(atLeast(1000));
  });

  it("while it leaves, as another one takes its seat", () => {
    const make = (): Run => {
      const town = new Town();
      alone(town.join(1));
      alone(town.take(1));
      return town.run([during(town.leave(1)), during(town.join(2)), during(town.sweep(0))], 0, 1);
    };
    expect(explore(make, { preemptions: 2 }).schedules).toBeGreaterThan(atLeast(1000));
  });

  it("a sweep that took the living for dead would be caught here", () => {
    const make = (): Run => {
      const town = new Town();
      alone(town.join(1));
      const wrong = steps.sweepEnded(town.table, town.cores[0]!, town.process(0), () => true);
      return town.run([during(wrong)], 1, 1);
    };
    expect(() => explore(make)).toThrow(/lives and lost its seat/);
  });
});

describe("who is judged", () => {
  it("nobody, from another PID namespace; and nobody whose start is not known", () => {
    const town = new Town();
    alone(town.join(1));
    const everybody = (): boolean => true;
    const sweep = (own: Parameters<typeof steps.sweepEnded>[2]): unknown =>
      alone(steps.sweepEnded(town.table, town.cores[0]!, own, everybody));
    expect(sweep({ ...town.process(0), namespace: 8 })).toEqual({ freed: 0, seats: 0 });
    const stranger = { pid: 102, start: undefined, namespace: 7 };
    expect(claimSeat(town.table, town.i32, town.layout, stranger, OwnerState.LIVE)).not.toBeNull();
    expect(sweep(town.process(0))).toEqual({ freed: 0, seats: 1 });
  });

  it("a table of another kind is not read", () => {
    const layout = layoutOf(checkShape({ size: 1, count: 1 }, "fresh"));
    const memory = new SharedArrayBuffer(bytesWithTable(layout));
    expect(readTable(memory, layout)).toMatch(/no table/);
    writeTable(memory, layout, { pid: 1, start: 1, namespace: 1 });
    expect(readTable(memory, layout)).toMatchObject({ namespace: 1 });
    new Int32Array(memory, bytesWithTable(layout) - 64 * (1 + layout.owners))[1] = 9;
    expect(readTable(memory, layout)).toMatch(/version 9/);
  });
});

describe("a forged seat", () => {
  const forged = (status: number): number[] => [
    status & ~OwnerState.MASK,
    (status & ~OwnerState.MASK) | OwnerState.LIVE,
    (status & ~OwnerState.MASK) | OwnerState.LEAVING,
    (status & ~OwnerState.MASK) | OwnerState.DYING,
  ];

  it("of a thread that sits there, of a free one, or of one that is cleared up: nobody sits down on it", () => {
    const pool = SharedPool.create({ size: 64, count: 2, owners: 3 });
    const { seat } = pool.reserve();
    const seats = [pool.owner, seat.owner, 2].flatMap((owner) =>
      forged(statusOf(pool.core, owner)).map((status) => ({ owner, status })),
    );
    const before = pool.core.i32.slice();
    for (const one of seats) expect(code(() => SharedPool.attach({ ...pool.handle, seat: one }))).toBe("ERR_POOL_DEAD");
    expect(pool.core.i32).toEqual(before);
    expect(SharedPool.attach({ ...pool.handle, seat }).owner).toBe(seat.owner);
  });

  it("takes no process's row from it", () => {
    const town = new Town();
    alone(town.join(1));
    const { table, i32, layout } = town;
    const rows = table.rows.slice();
    for (let owner = 0; owner < layout.owners; owner++) {
      for (const status of forged(statusOf(town.cores[0]!, owner))) {
        expect(alone(steps.takeOver(table, i32, layout, { owner, status }, town.process(2)))).toBeUndefined();
      }
    }
    expect(table.rows).toEqual(rows);
  });
});

describe("-0", () => {
  it("is no lease, and no lease is 0", () => {
    const pool = SharedPool.create({ size: 64, count: 2, owners: 3 });
    const id = pool.tryTake();
    expect([id > 0, pool.isHeld(id), pool.isHeld(-0)]).toEqual([true, true, false]);
    for (const use of [
      () => pool.give(-0),
      () => pool.keep(-0),
      () => pool.bytesOf(-0),
      () => pool.offsetOf(-0),
      () => pool.release({ ...pool.slot(id), id: -0 }),
    ]) {
      expect(code(use)).toBe("ERR_FOREIGN_RELEASE");
    }
    pool.give(id);
    expect(pool.stats().free).toBe(2);
  });

  it("as the number of a seat is 0", () => {
    const pool = SharedPool.create({ size: 64, count: 1, owners: 2 });
    const other = SharedPool.attach(pool.handle);
    expect(other.reclaim(-0)).toBe(0);
    const far = SharedPool.attach({ ...other.handle, seat: { ...other.reserve().seat, owner: -0 } });
    expect(Object.is(far.owner, 0)).toBe(true);
  });
});
