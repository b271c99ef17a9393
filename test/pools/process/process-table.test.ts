// Shares its realm with other files: nothing that it changes outlives it.
/**
 * The memberships of processes: every moment at which one may be killed, while others join and clear up, on the code
 * itself.
 */
import { describe, expect, it } from "vitest";
import {
  bytesWithTable,
  claimRow,
  type ProcessTable,
  pidOf,
  readTable,
  type takeOver,
  writeTable,
} from "../../../src/pools/process/process-table.ts";
import { createCore } from "../../../src/pools/shared/core.ts";
import { checkShape, layoutOf, MemberState, type SharedLayout, writePool } from "../../../src/pools/shared/layout.ts";
import { noteProcess } from "../../../src/pools/shared/lineage.ts";
import { statusOf } from "../../../src/pools/shared/member-status.ts";
import { claimMembership } from "../../../src/pools/shared/membership.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { REPEATED } from "../../helpers/effort.ts";
import { code } from "../buffer/pools.ts";
import { alone, atLeast, explore, notify, type Run, type Step, steps, type Thread } from "../shared/interleave.ts";

const COUNT = 1;

/** A pool with a table, and processes that are threads of a run: number 100 + i started at tick i. */
class Processes {
  readonly layout: SharedLayout = layoutOf(checkShape({ size: 1, count: COUNT, members: 3 }, "fresh"));
  readonly i32: Int32Array;
  readonly table: ProcessTable;
  readonly ended: Set<number> = new Set();
  /** Memberships of those that live and believe to be members. */
  readonly seated: Map<number, number> = new Map();
  readonly cores: ReturnType<typeof createCore>[] = [];

  constructor() {
    const memory = new SharedArrayBuffer(bytesWithTable(this.layout));
    this.i32 = new Int32Array(memory, 0, this.layout.slotsAt >>> 2);
    writePool(this.i32, this.layout, 1);
    this.table = writeTable(memory, this.layout, this.process(0)).table;
    const membership = claimMembership(this.i32, this.layout, MemberState.LIVE)!;
    this.enter(0, membership.member, membership.status);
  }

  process(i: number): { pid: number; start: number; namespace: number } {
    return { pid: 100 + i, start: i, namespace: 7 };
  }

  enter(i: number, member: number, status: number): void {
    for (const [other, membership] of this.seated) {
      if (membership === member && !this.ended.has(other))
        throw new Error(`membership ${member} is that of ${other} and of ${i}`);
    }
    this.seated.set(i, member);
    this.cores[i] = createCore(this.i32, this.layout, member, status, () => {}, notify);
  }

  /** Joins, as ProcessPool.attach does. */
  *join(i: number): Step<boolean> {
    const claim = yield* steps.claimRow(this.table, this.i32, this.layout, this.process(i), MemberState.RESERVED);
    if (claim === null) return false;
    const { member, status } = (claim as NonNullable<ReturnType<typeof claimRow>>).membership;
    const live = yield* steps.activateReservation(this.i32, this.layout, member, status);
    if (live === 0) throw new Error(`the membership of ${i}, which lives, was taken back`);
    this.enter(i, member, live);
    return true;
  }

  /** Joins where everybody has ended, as ProcessPool.attach does then. */
  *inherit(i: number): Step<boolean> {
    const ended = (pid: number): boolean => this.ended.has(pid - 100);
    const { table, i32, layout } = this;
    const claim = yield* steps.inheritRow(table, i32, layout, this.process(i), ended);
    if (claim === null) return false;
    const { membership, isInherited } = claim as NonNullable<ReturnType<typeof claimRow>>;
    const live = yield* steps.activateReservation(i32, layout, membership.member, membership.status);
    if (live === 0) throw new Error(`the membership of ${i}, which lives, was taken back`);
    this.enter(i, membership.member, live);
    if (isInherited === true) yield* steps.disown(this.cores[i]!);
    return true;
  }

  *take(i: number): Step<number> {
    return yield* steps.tryAcquire(this.cores[i]!);
  }

  *reclaim(i: number): Step<void> {
    yield* steps.reclaimProcesses(this.table, this.cores[i]!, this.process(i), (pid) => this.ended.has(pid - 100));
  }

  *leave(i: number): Step<void> {
    const core = this.cores[i]!;
    this.seated.delete(i);
    yield* steps.leave(core);
    const word = Atomics.load(this.table.rows, core.member * 8);
    yield* steps.dropRow(this.table, core.member, word);
  }

  /** All that is left of the dead is cleared up by process 0, and then every membership and slot can be had again. */
  check(): void {
    alone(this.reclaim(0));
    const living = [...this.seated].filter(([i]) => !this.ended.has(i));
    for (const [i, member] of living) {
      const status = statusOf(this.cores[i]!, member);
      if (status !== this.cores[i]!.status) throw new Error(`process ${i} lives and lost its membership ${member}`);
    }
    const free = this.layout.members - living.length;
    for (let n = 0; n <= free; n++) {
      const claim = claimRow(this.table, this.i32, this.layout, this.process(50 + n), MemberState.LIVE);
      if ((claim !== null) !== n < free) throw new Error(`${free} memberships should be free, and ${n} were had`);
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
      const processes = new Processes();
      return processes.run([during(processes.join(1)), during(processes.join(2)), during(processes.reclaim(0))], 0, 1);
    };
    expect(explore(make, { preemptions: 2 }).schedules).toBeGreaterThan(atLeast(1000));
  });

  it("while it takes the only slot: it is to be had again", () => {
    const make = (): Run => {
      const processes = new Processes();
      const victim = function* (): Thread {
        if (yield* processes.join(1)) yield* processes.take(1);
      };
      const run = processes.run([victim(), during(processes.reclaim(0))], 0, 1);
      return {
        ...run,
        check() {
          if (!processes.ended.has(1)) return;
          run.check();
          if (alone(processes.take(0)) < 0) throw new Error("the slot is lost");
        },
      };
    };
    expect(explore(make, { preemptions: 3 }).schedules).toBeGreaterThan(100);
  });

  it("while it clears up after one that was killed: the next ends it, and the newcomer keeps his membership", () => {
    const make = (): Run => {
      const processes = new Processes();
      alone(processes.join(1));
      alone(processes.join(2));
      alone(processes.take(2));
      processes.ended.add(2);
      return processes.run(
        [during(processes.reclaim(1)), during(processes.reclaim(0)), during(processes.join(3))],
        0,
        1,
      );
    };
    expect(explore(make, { preemptions: 2 }).schedules).toBeGreaterThan(atLeast(1000));
  });

  it("after it had its row and before it was a member: two clear up, and one that comes then is not hit", () => {
    const make = (): Run => {
      const processes = new Processes();
      alone(processes.join(2));
      const joining = processes.join(1);
      const pid = (): number => pidOf(processes.table, processes.i32, processes.layout, 2);
      // Up to the step that takes the third row.
      while (pid() !== 101) joining.next();
      if ((statusOf(processes.cores[0]!, 2) & MemberState.MASK) !== MemberState.FREE)
        throw new Error("not where it should be");
      processes.ended.add(1);
      return processes.run(
        [during(processes.reclaim(2)), during(processes.reclaim(0)), during(processes.join(3))],
        3,
        1,
      );
    };
    expect(explore(make, { preemptions: 2 }).schedules).toBeGreaterThan(atLeast(1000));
  });

  it("while it leaves, as another one takes its membership", () => {
    const make = (): Run => {
      const processes = new Processes();
      alone(processes.join(1));
      alone(processes.take(1));
      return processes.run([during(processes.leave(1)), during(processes.join(2)), during(processes.reclaim(0))], 0, 1);
    };
    expect(explore(make, { preemptions: 2 }).schedules).toBeGreaterThan(atLeast(1000));
  });

  it("while it inherits the place of a process that held the only slot, as another one does: the slot is had once, and not lost", () => {
    const make = (): Run => {
      const processes = new Processes();
      alone(processes.join(1));
      alone(processes.take(1));
      processes.ended.add(0).add(1);
      const took = new Set<number>();
      const heir = function* (i: number): Thread {
        if (!(yield* processes.inherit(i))) return;
        yield* processes.reclaim(i);
        if ((yield* processes.take(i)) >= 0) took.add(i);
      };
      const run = processes.run([heir(2), heir(3)], 0, 2);
      return {
        ...run,
        check() {
          let [there] = [2, 3].filter((i) => processes.seated.has(i) && !processes.ended.has(i));
          if (there === undefined) {
            there = 4;
            if (!alone(processes.inherit(there))) throw new Error("nobody is there, and nobody can join");
          }
          alone(processes.reclaim(there));
          const holders = [...took].filter((i) => !processes.ended.has(i));
          if (holders.length > 1) throw new Error("two have the slot");
          if (holders.length === 0 && alone(processes.take(there)) < 0) throw new Error("the slot is lost");
        },
      };
    };
    expect(explore(make, { preemptions: 2 }).schedules).toBeGreaterThan(atLeast(1000));
  });

  it("a reclaim that took the living for dead would be caught here", () => {
    const make = (): Run => {
      const processes = new Processes();
      alone(processes.join(1));
      const wrong = steps.reclaimProcesses(processes.table, processes.cores[0]!, processes.process(0), () => true);
      return processes.run([during(wrong)], 1, 1);
    };
    expect(() => explore(make)).toThrow(/lives and lost its membership/);
  });
});

describe("who is judged", () => {
  it("nobody, from another PID namespace; and nobody whose start is not known", () => {
    const processes = new Processes();
    alone(processes.join(1));
    const everybody = (): boolean => true;
    const reclaim = (own: Parameters<typeof steps.reclaimProcesses>[2]): unknown =>
      alone(steps.reclaimProcesses(processes.table, processes.cores[0]!, own, everybody));
    expect(reclaim({ ...processes.process(0), namespace: 8 })).toEqual({ freed: 0, members: 0 });
    const stranger = { pid: 102, start: undefined, namespace: 7 };
    expect(claimRow(processes.table, processes.i32, processes.layout, stranger, MemberState.LIVE)).not.toBeNull();
    expect(reclaim(processes.process(0))).toEqual({ freed: 0, members: 1 });
  });

  it("a row without its member is given back by any look, and nobody who takes the place at that moment loses his", () => {
    const make = (): Run => {
      const processes = new Processes();
      // As one leaves it that left, was reclaimed by hand, or found the place taken.
      const { rows } = processes.table;
      rows[16] = (1n << 51n) | (1n << 22n) | 177n;
      const look = function* (): Thread {
        yield* steps.freeRows(processes.table, processes.i32, processes.layout);
      };
      const run = processes.run([during(processes.join(1)), during(processes.join(2)), look(), look()], 0, 1);
      return {
        ...run,
        check() {
          for (const [i, member] of processes.seated) {
            if (!processes.ended.has(i) && pidOf(processes.table, processes.i32, processes.layout, member) !== 100 + i)
              throw new Error(`the row of ${i} was given away`);
          }
          run.check();
        },
      };
    };
    expect(explore(make, { preemptions: 2 }).schedules).toBeGreaterThan(atLeast(500));
  });

  it("where a worker's worker, which has no row, is of a process that has ended, another one inherits, and clears up after it", () => {
    const processes = new Processes();
    const { i32, layout } = processes;
    alone(processes.join(1));
    noteProcess(processes.cores[1]!, 101, 1);
    const maker = processes.cores[1]!;
    const { member, status } = alone(
      steps.claimMembership(i32, layout, MemberState.RESERVED, 0, layout.members, maker),
    ) as NonNullable<ReturnType<typeof claimMembership>>;
    processes.enter(4, member, alone(steps.activateReservation(i32, layout, member, status)) as number);
    expect(alone(processes.take(4))).not.toBe(-1);
    // Its own maker has left the pool, and its process lives.
    alone(processes.leave(1));
    alone(processes.reclaim(0));
    expect(pidOf(processes.table, i32, layout, member)).toBe(101);
    alone(processes.join(2));
    processes.ended.add(0).add(2);
    expect(alone(processes.inherit(3))).toBe(false);
    processes.ended.add(1).add(4);
    expect(alone(processes.inherit(3))).toBe(true);
    alone(processes.reclaim(3));
    expect(alone(processes.take(3))).not.toBe(-1);
  });

  it("a table of another kind is not read", () => {
    const layout = layoutOf(checkShape({ size: 1, count: 1 }, "fresh"));
    const memory = new SharedArrayBuffer(bytesWithTable(layout));
    expect(readTable(memory, layout)).toMatch(/no table/);
    writeTable(memory, layout, { pid: 1, start: 1, namespace: 1 });
    expect(readTable(memory, layout)).toMatchObject({ namespace: 1 });
    new Int32Array(memory, bytesWithTable(layout) - 64 * (1 + layout.members))[1] = 9;
    expect(readTable(memory, layout)).toMatch(/version 9/);
  });
});

describe("a reservation that two processes use at once", REPEATED, () => {
  it("is one's, whose row and thread stay its own; the other is refused and changes nothing, and one may be killed", () => {
    const joined = { one: 0, none: 0 };
    const make = (): Run => {
      const processes = new Processes();
      const { table, i32, layout } = processes;
      const claim = claimRow(table, i32, layout, processes.process(0), MemberState.RESERVED, processes.cores[0]!)!;
      const { membership } = claim;
      const ended = (pid: number): boolean => processes.ended.has(pid - 100);
      const live: number[] = [];
      const attach = function* (i: number): Thread {
        const taken = yield* steps.takeOver(table, i32, layout, membership, processes.process(i), ended);
        if (taken === undefined) return;
        const { word, before } = taken as NonNullable<ReturnType<typeof takeOver>>;
        const status = yield* steps.activateReservation(i32, layout, membership.member, membership.status);
        if (status === 0) {
          yield* steps.returnRow(table, membership.member, word, before!) as Step<unknown>;
          return;
        }
        if (live.length > 0) throw new Error(`${live} and ${i} are one member`);
        live.push(i);
      };
      const check = (): void => {
        const [one] = live;
        if (one === undefined) joined.none++;
        else {
          joined.one++;
          const pid = pidOf(table, i32, layout, membership.member);
          if (pid !== 100 + one) throw new Error(`the row of ${one} names ${pid}`);
          if ((statusOf(processes.cores[0]!, membership.member) & MemberState.MASK) !== MemberState.LIVE)
            throw new Error("its membership was taken away");
        }
      };
      const died = (thread: number): void => {
        processes.ended.add(thread + 1);
      };
      return { threads: [attach(1), attach(2)], i32, mortal: [true, false], check, died };
    };
    expect(explore(make).schedules).toBeGreaterThanOrEqual(atLeast(20));
    expect(joined.one).toBeGreaterThan(0);
  });
});

describe("a forged membership", () => {
  const forged = (status: number): number[] => [
    status & ~MemberState.MASK,
    (status & ~MemberState.MASK) | MemberState.LIVE,
    (status & ~MemberState.MASK) | MemberState.LEAVING,
    (status & ~MemberState.MASK) | MemberState.RECLAIMING,
  ];

  it("of a thread that sits there, of a free one, or of one that is cleared up: nobody sits down on it", () => {
    const pool = SharedPool.create({ size: 64, count: 2, members: 3 });
    const { membership } = pool.reserve();
    const memberships = [pool.member, membership.member, 2].flatMap((member) =>
      forged(statusOf(pool.core, member)).map((status) => ({ member, status })),
    );
    const before = pool.core.i32.slice();
    for (const one of memberships)
      expect(code(() => SharedPool.attach({ ...pool.handle, membership: one }))).toBe("ERR_POOL_DEAD");
    expect(pool.core.i32).toEqual(before);
    expect(SharedPool.attach({ ...pool.handle, membership }).member).toBe(membership.member);
  });

  it("takes no process's row from it", () => {
    const processes = new Processes();
    alone(processes.join(1));
    const { table, i32, layout } = processes;
    const rows = table.rows.slice();
    for (let member = 0; member < layout.members; member++) {
      for (const status of forged(statusOf(processes.cores[0]!, member))) {
        const own = processes.process(2);
        expect(alone(steps.takeOver(table, i32, layout, { member, status }, own, () => false))).toBeUndefined();
      }
    }
    expect(table.rows).toEqual(rows);
  });
});

describe("-0", () => {
  it("is no lease, and no lease is 0", () => {
    const pool = SharedPool.create({ size: 64, count: 2, members: 3 });
    const id = pool.tryAcquireId();
    expect([id > 0, pool.isHeld(id), pool.isHeld(-0)]).toEqual([true, true, false]);
    for (const use of [
      () => pool.releaseId(-0),
      () => pool.retainId(-0),
      () => pool.bytesOf(-0),
      () => pool.offsetOf(-0),
      () => pool.release({ ...pool.lease(id), id: -0 }),
    ]) {
      expect(code(use)).toBe("ERR_FOREIGN_RELEASE");
    }
    pool.releaseId(id);
    expect(pool.stats().free).toBe(2);
  });

  it("as the number of a membership is 0", () => {
    const pool = SharedPool.create({ size: 64, count: 1, members: 2 });
    const other = SharedPool.attach(pool.handle);
    expect(other.reclaim(-0)).toBe(0);
    const far = SharedPool.attach({ ...other.handle, membership: { ...other.reserve().membership, member: -0 } });
    expect(Object.is(far.member, 0)).toBe(true);
  });
});
