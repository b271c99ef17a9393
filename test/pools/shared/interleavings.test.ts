// Shares its realm with other files: nothing that it changes outlives it.
/**
 * Interleavings of every pair of operations, at every access to shared memory, on the pool's own code; and the moments
 * at which one of them may die. Which of them are run, interleave.ts says.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Core, holds, leaseOf } from "../../../src/pools/shared/core.ts";
import { leaseError } from "../../../src/pools/shared/errors.ts";
import {
  checkShape,
  Header,
  LINE,
  layoutOf,
  MemberState,
  MemberWord,
  PoolState,
  writePool,
} from "../../../src/pools/shared/layout.ts";
import { rememberMembership } from "../../../src/pools/shared/lineage.ts";
import { isSameMember, statusOf } from "../../../src/pools/shared/member-status.ts";
import { claimMembership } from "../../../src/pools/shared/membership.ts";
import { CLEAR_BYTES } from "../../../src/pools/shared/reclaim.ts";
import { BY_RING, TransferResult } from "../../../src/pools/shared/transfer.ts";
import type { SharedWaiter } from "../../../src/pools/shared/waiter.ts";
import { FULL, REPEATED, seedOf, times } from "../../helpers/effort.ts";
import { alone, type Explored, explore, notify, type Run, type Step, steps, type Thread, walk } from "./interleave.ts";
import { World, type WorldOptions } from "./world.ts";

/** A thread's part, and what must be so before it starts. */
type Operation = (world: World, thread: number) => Thread;

const hold = (world: World, thread: number): number => alone(world.take(thread));

const operations: Readonly<Record<string, Operation>> = {
  *take(world, thread) {
    yield* world.take(thread);
  },
  *"take two"(world, thread) {
    yield* world.take(thread);
    yield* world.take(thread);
  },
  *"take and give"(world, thread) {
    const id = yield* world.take(thread);
    if (id >= 0) yield* world.give(thread, id);
  },
  give(world, thread) {
    const id = hold(world, thread);
    return (function* () {
      if (id >= 0) yield* world.give(thread, id);
    })();
  },
  "give and take"(world, thread) {
    const id = hold(world, thread);
    return (function* () {
      if (id >= 0) yield* world.give(thread, id);
      yield* world.take(thread);
    })();
  },
  "keep, give, give"(world, thread) {
    const id = hold(world, thread);
    return (function* () {
      if (id < 0) return;
      if (!(yield* steps.retain(world.cores[thread]!, id))) throw new Error("could not keep its own lease");
      yield* world.give(thread, id, false);
      yield* world.give(thread, id);
    })() as Thread;
  },
  "take and give again"(world, thread) {
    const id = hold(world, thread);
    if (id >= 0) alone(world.give(thread, id));
    return (function* () {
      yield* world.take(thread);
      if (id >= 0 && (yield* world.giveStep(thread, id))) throw new Error("an old lease was given back again");
    })();
  },
};

const names = Object.keys(operations);
const pairs = names.flatMap((first, i) => names.slice(i).map((second) => [first, second] as const));
const sizes: readonly WorldOptions[] = [
  { count: 1, threads: 3 },
  { count: 2, threads: 3 },
  { count: 2, threads: 3, batch: true },
  { count: 1, threads: 3, zero: "release" },
  { count: 1, threads: 3, zero: "acquire" },
  { count: 1, threads: 3, generationBits: 2 },
];

/** Whether there are releases that close a slot before they free it. */
const closes = (size: WorldOptions): boolean => size.zero !== undefined || size.generationBits !== undefined;

const situations = sizes.flatMap((size) => pairs.map(([first, second]) => [first, second, size] as const));

/**
 * The fast lane has each sixth situation: every pair of operations in one of the sizes, and each size with many pairs.
 */
function eachSituation(
  name: (first: string, second: string) => string,
  test: (first: string, second: string, size: WorldOptions) => void,
): void {
  for (const [nth, [first, second, size]] of situations.entries()) {
    const isOfFastLane = (Math.floor(nth / pairs.length) + (nth % pairs.length)) % sizes.length === 0;
    it(`${name(first, second)} ${JSON.stringify(size)}`, isOfFastLane ? REPEATED : FULL, () =>
      test(first, second, size),
    );
  }
}

/** Thread 0 and 1 do these; thread 2 looks at the end. */
function pair(first: string, second: string, size: WorldOptions): Run {
  const world = new World(size);
  const threads = [operations[first]!(world, 0), operations[second]!(world, 1)];
  return world.run(threads, 2);
}

const total = { schedules: 0, points: 0 };
function tally(explored: Explored): Explored {
  total.schedules += explored.schedules;
  total.points += explored.points;
  return explored;
}

describe("every interleaving of two operations", REPEATED, () => {
  const side = (first: string, second: string): string => `${first} | ${second}`;
  eachSituation(side, (first, second, size) => {
    // Two walks over all slots have 10^8 interleavings; those with at most 4 switches stand for them. One slot: all of
    // them, but for pools that close a slot before they free it, where 5 switches are one for each of its steps.
    const bounds = size.count > 1 ? { preemptions: 4 } : closes(size) ? { preemptions: 5 } : {};
    expect(tally(explore(() => pair(first, second, size), bounds)).schedules).toBeGreaterThan(1);
  });

  it("an exploration that finds nothing would be no test: a pool whose claim is a load and a store is caught", () => {
    const broken = (): Run => {
      const world = new World({ count: 1, threads: 2 });
      const at = world.layout.statesAt;
      const program = function* (thread: number): Thread {
        const core = world.cores[thread]!;
        yield;
        const state = world.i32[at]!;
        yield;
        if ((state & core.takenMask) === 0) {
          world.i32[at] = state | core.me;
          world.took(thread, 0);
        }
      };
      return world.run([program(0), program(1)]);
    };
    expect(() => explore(broken)).toThrow(/handed out twice/);
  });
});

describe("a lease that two threads know", REPEATED, () => {
  const shared = (first: (world: World, id: number) => Thread, second: (world: World, id: number) => Thread): Run => {
    const world = new World({ count: 1, threads: 3 });
    const id = hold(world, 0);
    return world.run([first(world, id), second(world, id)], 2);
  };
  const keeps = function* (world: World, id: number): Thread {
    if (yield* steps.retain(world.cores[1]!, id)) world.holders[0]!.add(1);
  };
  const gives = (thread: number) =>
    function* (world: World, id: number): Thread {
      yield* world.give(thread, id);
    };

  it("one gives it back while the other joins: it joins in time, or is told", () => {
    expect(explore(() => shared(gives(0), keeps)).schedules).toBeGreaterThan(5);
  });

  it("one gives it back and takes again while the other joins the old lease", () => {
    const again = function* (world: World, id: number): Thread {
      yield* world.give(0, id);
      yield* world.take(0);
    };
    expect(explore(() => shared(again, keeps)).schedules).toBeGreaterThan(20);
  });

  /** Joins, and looks whether what it joined is that lease, and whether its bytes stay as they are. */
  const joins = (zero: "fresh" | "release" | "acquire") =>
    function* (world: World, id: number): Thread {
      const core = world.cores[1]!;
      const before = world.cleared[0];
      if (!(yield* steps.retain(core, id))) return;
      const state = world.i32[world.layout.statesAt]!;
      if (leaseOf(core, 0, state) !== id || (state & core.me) === 0) throw new Error("joined another lease");
      if (zero === "release" && world.cleared[0] !== before) throw new Error("cleared while it was joined");
      world.holders[0]!.add(1);
      yield* world.give(1, id);
    };

  it("zero: release. One gives it back while the other joins: what was joined is never cleared in its hands", () => {
    const make = (): Run => {
      const world = new World({ count: 1, threads: 3, zero: "release" });
      const id = hold(world, 0);
      return world.run([gives(0)(world, id), joins("release")(world, id)], 2);
    };
    expect(tally(explore(make)).schedules).toBeGreaterThan(20);
  });

  it.each([
    { zero: "release" },
    { zero: "acquire" },
    { zero: "release", generationBits: 2 },
    { zero: "acquire", generationBits: 2 },
  ] as const)(
    "%o: one who joins what the words say, while another gives back and takes, joins a lease that was handed out",
    (size) => {
      const joined = { leases: 0, refused: 0 };
      const make = (): Run => {
        const world = new World({ count: 1, threads: 3, ...size });
        const id = hold(world, 0);
        const giver = function* (): Thread {
          yield* world.give(0, id);
          yield* world.take(0);
        };
        let isJoined = false;
        for (const core of world.cores) {
          const { clear } = core;
          const looks = (index: number, from: number, to: number): void => {
            if (isJoined) throw new Error("cleared while it was joined");
            clear(index, from, to);
          };
          Object.assign(core, { clear: looks });
        }
        const joiner = function* (): Thread {
          const core = world.cores[1]!;
          yield;
          const now = world.i32[world.layout.statesAt]!;
          // Of a slot that is cleared, too: as one who knows how leases are numbered.
          const next = yield* steps.leaseOf(core, 0, now);
          if (!(yield* steps.retain(core, next))) {
            joined.refused++;
            return;
          }
          if (next !== id && world.cleared[0] === 0) throw new Error("joined the former holder's bytes");
          joined.leases++;
          isJoined = true;
          yield;
          isJoined = false;
          if (!(yield* world.giveStep(1, next))) throw new Error("what it joined is over");
        };
        return world.run([giver(), joiner()], 2);
      };
      tally(explore(make, { preemptions: 5 }));
      expect(Math.min(joined.leases, joined.refused)).toBeGreaterThan(0);
    },
  );

  it("zero: acquire. One that was declared dead while it clears gets no lease, and another clears and has the slot", () => {
    const make = (): Run => {
      const world = new World({ count: 1, threads: 3, zero: "acquire" });
      const late = function* (): Thread {
        const id = yield* steps.tryAcquire(world.cores[0]!);
        // Before it was declared dead.
        if (id >= 0) world.seen.add(id);
      };
      Object.assign(world.cores[0]!, { clear: () => {} });
      const other = function* (): Thread {
        yield* world.reclaim(1, 0);
        const id = yield* world.take(1);
        if (id < 0) return;
        yield;
        if (!holds(world.cores[1]!, world.i32[world.layout.statesAt]!, id)) throw new Error("its lease is over");
        yield* world.give(1, id);
      };
      const check = (): void => {
        // It may have taken the slot after it was declared dead, which the next reclaim finds.
        alone(world.reclaim(1, 0));
        world.check(2);
      };
      return { ...world.run([late(), other()], 2), check };
    };
    expect(tally(explore(make, { preemptions: 4 })).schedules).toBeGreaterThan(100);
  });

  it("the low part of the generation comes round while one joins an old lease: it joins that lease or none", () => {
    const again = function* (world: World, id: number): Thread {
      yield* world.give(0, id);
      // Three uses are a round: the state is as it was, and the lease is another.
      for (let n = 0; n < 3; n++) {
        const next = yield* world.take(0);
        if (next < 0) return;
        if (n < 2) yield* world.give(0, next);
      }
    };
    for (const zero of ["fresh", "release"] as const) {
      const make = (): Run => {
        const world = new World({ count: 1, threads: 3, zero, generationBits: 2 });
        const id = hold(world, 0);
        return world.run([again(world, id), joins(zero)(world, id)], 2);
      };
      expect(tally(explore(make, { preemptions: 3 })).schedules).toBeGreaterThan(100);
    }
  });

  it.each([
    { zero: "release" },
    { zero: "acquire" },
    { generationBits: 2 },
    { zero: "release", generationBits: 2 },
    { zero: "acquire", generationBits: 2 },
  ] as const)(
    "%o: the giver dies at any point while one joins and another clears up: nothing is lost or cleared in a hand",
    (size) => {
      for (const uses of [0, 1, 2]) {
        const make = (): Run => {
          const world = new World({ count: 1, threads: 4, ...size });
          // One of these begins at the last generation before a carry.
          for (let n = 0; n < uses; n++) alone(world.give(0, hold(world, 0)));
          const id = hold(world, 0);
          let over = false;
          const giver = function* (): Thread {
            yield* world.give(0, id);
            over = true;
          };
          const reclaimer = function* (): Thread {
            yield { until: () => over };
            yield* world.reclaim(2, 0);
            const next = yield* world.take(2);
            if (next >= 0) yield* world.give(2, next);
          };
          return world.run([giver(), joins(size.zero ?? "fresh")(world, id), reclaimer()], 3, {
            mortal: [true, false, false],
            died: () => {
              over = true;
            },
          });
        };
        expect(tally(explore(make, { preemptions: 2 })).schedules).toBeGreaterThan(100);
      }
    },
  );

  it("one that was declared dead while it carries goes on late: the new holder's lease stays what it is", () => {
    const make = (): Run => {
      const world = new World({ count: 1, threads: 4, generationBits: 2 });
      // The second use is the last before a carry.
      alone(world.give(0, hold(world, 0)));
      const id = hold(world, 0);
      world.holders[0]!.delete(0);
      const late = function* (): Thread {
        yield* world.giveStep(0, id);
      };
      const other = function* (): Thread {
        yield* world.reclaim(1, 0);
        const next = yield* world.take(1);
        if (next < 0) return;
        const core = world.cores[1]!;
        for (let n = 0; n < 3; n++) {
          yield;
          if (leaseOf(core, 0, world.i32[world.layout.statesAt]!) !== next) throw new Error("its generation moved");
        }
        yield* world.give(1, next);
      };
      return world.run([late(), other()], 3);
    };
    expect(tally(explore(make, { preemptions: 4 })).schedules).toBeGreaterThan(100);
  });

  it("the pool is closed and its memory gets another one, at any point of what a thread does: the new lease stays", () => {
    const doings: Readonly<Record<string, (world: World, id: number) => Thread>> = {
      give: function* (world, id) {
        yield* world.giveStep(0, id);
      },
      "keep and give": function* (world, id) {
        yield* steps.retain(world.cores[0]!, id) as Step<unknown>;
        yield* world.giveStep(0, id);
        yield* world.giveStep(0, id);
      },
      take: function* (world) {
        yield* steps.tryAcquire(world.cores[0]!);
      },
    };
    for (const doing of Object.values(doings)) {
      for (const generationBits of [2, 10]) {
        const make = (): Run => {
          const world = new World({ count: 1, threads: 2, generationBits });
          const id = hold(world, 0);
          const maker = function* (): Thread {
            alone(steps.closePool(world.cores[1]!));
            yield;
            // As one step: what is half written is no pool yet.
            writePool(world.i32, world.layout, 2);
            world.forget(0);
            yield;
            const member = world.join();
            const next = yield* world.take(member);
            yield;
            const state = world.i32[world.layout.statesAt]!;
            if (next >= 0 && !holds(world.cores[member]!, state, next))
              throw new Error("an old lease freed the new one");
          };
          return { threads: [doing(world, id), maker()], i32: world.i32, check() {} };
        };
        expect(tally(explore(make, { preemptions: 4 })).schedules).toBeGreaterThan(5);
      }
    }
  });

  it.each(["fresh", "release"] as const)(
    "a pool retires (zero: %s), at any point of a take, a give, a leaving and a death: closed with its last lease",
    (zero) => {
      const ends: Readonly<Record<string, (world: World, id: number) => Thread>> = {
        give: gives(0),
        leave: function* (world) {
          world.forget(0);
          yield* steps.leave(world.cores[0]!) as Step<unknown>;
        },
      };
      for (const [how, end] of Object.entries(ends)) {
        const make = (): Run => {
          const world = new World({ count: 1, threads: 3, zero });
          const id = hold(world, 0);
          const dead: number[] = [];
          const other = function* (): Thread {
            const taken = yield* world.take(1);
            if (taken >= 0) yield* world.give(1, taken);
          };
          const retires = function* (): Thread {
            yield* steps.retirePool(world.cores[2]!) as Step<unknown>;
          };
          return {
            threads: [end(world, id), other(), retires()],
            i32: world.i32,
            mortal: [true, true, false],
            died(thread) {
              world.forget(thread);
              dead.push(thread);
            },
            check() {
              for (const thread of dead) alone(world.reclaim(2, thread));
              if (world.i32[Header.STATE] !== PoolState.DEAD) throw new Error(`${how}: the pool goes on`);
              if (alone(steps.tryAcquire(world.cores[2]!)) >= 0) throw new Error(`${how}: a slot was given out`);
            },
          };
        };
        expect(tally(explore(make, { preemptions: 2 })).schedules).toBeGreaterThan(100);
      }
    },
  );

  it("both give their hold back: the slot is free once, and cleared once", () => {
    const make = (): Run => {
      const world = new World({ count: 1, threads: 3, zero: "release" });
      const id = hold(world, 0);
      alone(steps.retain(world.cores[1]!, id));
      world.holders[0]!.add(1);
      const run = world.run([gives(0)(world, id), gives(1)(world, id)], 2);
      return {
        ...run,
        check() {
          if (world.cleared[0] !== 1) throw new Error(`cleared ${world.cleared[0]} times`);
          run.check();
        },
      };
    };
    expect(explore(make).schedules).toBeGreaterThan(5);
  });
});

describe("death between any two instructions", REPEATED, () => {
  const mortal = (first: string, second: string, size: WorldOptions): Run => {
    const world = new World(size);
    let died = false;
    const program = function* (): Thread {
      yield* operations[second]!(world, 1);
      // Whatever became of thread 0, at some moment it is declared dead; dead it is when it has done all or died.
      yield { until: () => died || ended };
      yield* world.reclaim(1, 0);
    };
    let ended = false;
    const victim = function* (): Thread {
      yield* operations[first]!(world, 0);
      ended = true;
    };
    return world.run([victim(), program()], 2, {
      mortal: [true, false],
      died: () => {
        died = true;
      },
    });
  };

  const dies = (first: string, second: string): string => `${first} dies | ${second}, then reclaims it`;
  eachSituation(dies, (first, second, size) => {
    expect(
      tally(explore(() => mortal(first, second, size), { preemptions: size.count > 1 ? 2 : 3 })).schedules,
    ).toBeGreaterThan(5);
  });

  it("two threads reclaim the same one, and its membership is given away: nobody reclaims the newcomer", () => {
    const make = (zero: "fresh" | "release") => (): Run => {
      const world = new World({ count: 2, threads: 4, zero });
      hold(world, 0);
      const reclaim = (by: number) =>
        function* (): Thread {
          yield* world.reclaim(by, 0);
        };
      const newcomer = function* (): Thread {
        const membership = yield* steps.claimMembership(world.i32, world.layout, MemberState.RESERVED);
        if (membership === null) return;
        const thread = world.activate(membership.member, membership.status);
        yield* world.take(thread);
        yield* world.take(thread);
      };
      return world.run([reclaim(1)(), reclaim(2)(), newcomer()], 3);
    };
    for (const zero of ["fresh", "release"] as const) {
      expect(tally(explore(make(zero), { preemptions: 2 })).schedules).toBeGreaterThan(100);
    }
  });

  it("the reclaimer dies at any point of his work: the next one ends it", () => {
    const make = (zero: "fresh" | "release") => (): Run => {
      const world = new World({ count: 2, threads: 4, zero });
      hold(world, 0);
      hold(world, 1);
      let died = false;
      let ended = false;
      const reclaimer = function* (): Thread {
        yield* world.reclaim(1, 0);
        ended = true;
      };
      const next = function* (): Thread {
        yield { until: () => died || ended };
        world.forget(0);
        yield* world.reclaim(2, 1);
        yield* world.reclaim(2, 0);
      };
      return world.run([reclaimer(), next()], 3, {
        mortal: [true, false],
        died: () => {
          died = true;
        },
      });
    };
    for (const zero of ["fresh", "release"] as const) {
      expect(tally(explore(make(zero), { preemptions: 2 })).schedules).toBeGreaterThan(50);
    }
  });

  it("the reclaimer is stopped at any point of its work, and is not dead: another one frees all but the slot that it clears", () => {
    const make = (zero: "fresh" | "release") => (): Run => {
      const world = new World({ count: 3, threads: 4, zero });
      for (let n = 0; n < 3; n++) hold(world, 0);
      let stopped = false;
      let ended = false;
      const reclaimer = function* (): Thread {
        yield* world.reclaim(1, 0);
        ended = true;
      };
      const other = function* (): Thread {
        yield { until: () => stopped || ended };
        yield* world.reclaim(2, 0);
      };
      const run = world.run([reclaimer(), other()], 3, {
        mortal: [true, false],
        died: () => {
          stopped = true;
        },
      });
      const check = (): void => {
        const free = world.drain(2).length;
        if (free < (stopped ? 2 : 3)) throw new Error(`${free} slots are free`);
      };
      return { ...run, check };
    };
    for (const zero of ["fresh", "release"] as const) {
      expect(tally(explore(make(zero), { preemptions: 2 })).schedules).toBeGreaterThan(50);
    }
  });

  it("one that reserves dies at any point of it: its reservation ends with it, unless the one it is for has joined", () => {
    let joinings = 0;
    const make = (): Run => {
      const world = new World({ count: 1, threads: 3 });
      const maker = world.cores[0]!;
      const place = maker.layout.membersAt + 3 * LINE + MemberWord.STATUS;
      let reserved: { member: number; status: number } | null = null;
      let joined = -1;
      let isOver = false;
      let reclaimed = false;
      const reserver = function* (): Thread {
        reserved = yield* steps.claimMembership(world.i32, world.layout, MemberState.RESERVED, 0, 4, maker);
        isOver = true;
      };
      const joiner = function* (): Thread {
        yield { until: () => isOver };
        joined = yield* steps.activateReservation(world.i32, world.layout, reserved!.member, reserved!.status);
        if (joined !== 0) joinings++;
      };
      const reclaimer = function* (): Thread {
        yield { until: () => isOver };
        yield* world.reclaim(1, 0);
        reclaimed = true;
      };
      const run = world.run([reserver(), joiner(), reclaimer()], 2, {
        mortal: [true, false, false],
        died: () => {
          isOver = true;
          reserved ??= { member: 3, status: 0 };
        },
      });
      const check = (): void => {
        if (!reclaimed) throw new Error("it was not reclaimed");
        const state = world.i32[place]! & MemberState.MASK;
        const expected = joined > 0 ? MemberState.LIVE : MemberState.FREE;
        if (state !== expected) throw new Error(`the place is ${state}, and not ${expected}`);
      };
      return { ...run, check };
    };
    const found = explore(make, { preemptions: 2 });
    expect(tally(found).schedules).toBeGreaterThan(20);
    expect(joinings).toBeGreaterThan(0);
  });

  it("one that joins dies at any point of it, and who offered it with it: its end and that one's leave nothing of it", () => {
    const make = (): Run => {
      const world = new World({ count: 1, threads: 3 });
      const [offerer, joiner, other] = world.cores as [Core, Core, Core];
      // It has a membership already, by which its end is told when it has left that.
      const known = rememberMembership(undefined, joiner);
      const promised = claimMembership(world.i32, world.layout, MemberState.RESERVED, 0, 4, offerer)!;
      const join = function* (): Thread {
        yield* steps.leave(joiner);
        yield* steps.activateReservation(world.i32, world.layout, promised.member, promised.status, known);
      };
      const lives = function* (): Thread {
        const id = yield* world.take(2);
        if (id >= 0) yield* world.give(2, id);
      };
      const check = (): void => {
        for (const thread of [joiner, offerer]) {
          const { thread: word } = thread === joiner ? known : { thread: 0 };
          alone(steps.reclaimThread(other, thread, word));
        }
        const left = world.cores.map(({ member }) => member).concat(promised.member);
        const states = left.map((member) => statusOf(other, member) & MemberState.MASK);
        if (states.join() !== [0, 0, MemberState.LIVE, 0].join()) throw new Error(`the places are ${states}`);
        world.check(2);
      };
      return { ...world.run([join(), lives()], 2, { mortal: [true, false] }), check };
    };
    expect(tally(explore(make, { preemptions: 2 })).schedules).toBeGreaterThan(20);
  });

  it("two clear up after one each at any pace, and the memberships are given away: nobody reclaims a newcomer, no membership is lost", () => {
    const make = (zero: "fresh" | "release") => (): Run => {
      const world = new World({ count: 1, threads: 5, zero });
      hold(world, 0);
      const reclaim = function* (by: number, dead: number): Thread {
        yield* world.reclaim(by, dead);
      };
      const newcomer = function* (): Thread {
        const membership = yield* steps.claimMembership(world.i32, world.layout, MemberState.RESERVED);
        if (membership === null) return;
        const thread = world.activate(membership.member, membership.status);
        yield* world.take(thread);
      };
      const run = world.run([reclaim(2, 0), reclaim(3, 1), newcomer()], 4);
      const check = (): void => {
        alone(steps.reclaimAll(world.cores[4]!));
        run.check();
        const left = world.cores.slice(0, 2).filter(({ member, status }) => {
          const now = world.i32[world.layout.membersAt + member * LINE + MemberWord.STATUS]!;
          return now === ((status & ~MemberState.MASK) | MemberState.RECLAIMED);
        });
        if (left.length > 0)
          throw new Error(`the memberships of ${left.map(({ member }) => member)} were not given back`);
      };
      return { ...run, check };
    };
    for (const zero of ["fresh", "release"] as const) {
      expect(tally(explore(make(zero), { preemptions: 2 })).schedules).toBeGreaterThan(100);
    }
  });

  it("a pool in the memory of one that was closed by force: refused while a slot is cleared, or nothing is cleared any more", () => {
    const outcomes = { refused: 0, made: 0 };
    const make = (): Run => {
      const world = new World({ count: 1, threads: 2, zero: "release" });
      const id = hold(world, 0);
      let isMade = false;
      const clear = (): void => {
        if (isMade) throw new Error("bytes of the new pool are cleared");
      };
      Object.assign(world.cores[0]!, { clear });
      const gives = function* (): Thread {
        yield* world.giveStep(0, id);
        yield { until: () => world.i32[Header.STATE] !== PoolState.LIVE };
        yield* steps.leaveEnded(world.cores[0]!) as Step<unknown>;
      };
      const makes = function* (): Thread {
        yield* steps.closePool(world.cores[1]!) as Step<unknown>;
        if ((yield* steps.takeMemory(world.i32, world.i32.length)) >= 0) {
          outcomes.refused++;
          return;
        }
        writePool(world.i32, world.layout, 2);
        isMade = true;
        outcomes.made++;
      };
      const check = (): void => {
        if (!isMade) return;
        // What the late thread did has left no mark in the new pool.
        world.i32[Header.STATE] = PoolState.DEAD;
        if (alone(steps.takeMemory(world.i32, world.i32.length)) >= 0) throw new Error("the new pool is marked");
      };
      return { threads: [gives(), makes()], i32: world.i32, check };
    };
    // The giver is stopped once, anywhere, and goes on later.
    explore(make, { preemptions: 2 });
    expect(Math.min(outcomes.refused, outcomes.made)).toBeGreaterThan(0);
  });

  const late: Readonly<Record<string, (world: World, id: number) => Step<unknown>>> = {
    *"looks for a slot"(world) {
      yield* steps.acquireSlow(world.cores[0]!);
    },
    *"takes from its magazine"(world) {
      yield* steps.tryAcquire(world.cores[0]!);
    },
    *"gives, and takes"(world, id) {
      yield* world.giveStep(0, id);
      yield* steps.tryAcquire(world.cores[0]!);
    },
    *"joins, and gives"(world) {
      const other = world.cores[1]!.localLease[0]!;
      if (yield* steps.retain(world.cores[0]!, other)) yield* world.giveStep(0, other);
    },
    *sends(world, id) {
      const { member, status } = world.cores[2]!;
      if ((yield* steps.prepareTransfer(world.cores[0]!, id, member, status)) === TransferResult.DONE)
        yield* steps.commitTransfer(world.cores[0]!, id, member, status, BY_RING);
    },
    *leaves(world) {
      yield* steps.leave(world.cores[0]!);
    },
    *retires(world) {
      yield* steps.retirePool(world.cores[0]!);
    },
    *closes(world) {
      yield* steps.closePool(world.cores[0]!);
    },
    *"leaves, and closes"(world) {
      yield* steps.leave(world.cores[0]!);
      yield* steps.closePool(world.cores[0]!);
    },
    *"says that another has ended"(world) {
      yield* steps.reclaim(world.cores[0]!, 2, 0);
    },
    *"leaves, and says of the ended pool that another has ended"(world) {
      yield* steps.leave(world.cores[0]!);
      yield* steps.endMember(world.cores[0]!, 2, 0);
    },
    *"leaves, and attaches anew"(world) {
      yield* steps.leave(world.cores[0]!);
      if (!(yield* steps.visit(world.i32, 1))) return;
      const isLive = world.i32[Header.STATE] === PoolState.LIVE;
      const own = isLive ? yield* steps.claimMembership(world.i32, world.layout, MemberState.LIVE) : null;
      yield* steps.endVisit(world.i32);
      if (own !== null) Object.assign(world.cores[0]!, own, { statusAt: world.layout.membersAt + own.member * LINE });
    },
  };

  it.each(Object.entries(late))(
    "a pool of another shape in the memory of one that was closed while a thread %s: no word of it is the late thread's",
    (_, doing) => {
      const outcomes = { refused: 0, made: 0 };
      for (const zero of ["fresh", "release"] as const) {
        const make = (): Run => {
          const world = new World({ count: 3, threads: 3, zero });
          const { i32 } = world;
          const id = hold(world, 0);
          hold(world, 1);
          Object.assign(world.cores[0]!, { clear: () => {} });
          const shape = checkShape({ size: 64, count: 1, members: 1 }, "never");
          const other = layoutOf(shape);
          // What is in the new pool's only slot: just what the thread saw there in the old one.
          const bytes = i32.slice(other.slotsAt >>> 2);
          let made: Int32Array | undefined;
          let isClosed = false;
          const doer = function* (): Thread {
            yield* doing(world, id);
            yield { until: () => isClosed };
            yield* steps.leaveEnded(world.cores[0]!) as Step<unknown>;
          };
          const maker = function* (): Thread {
            yield* steps.closePool(world.cores[1]!) as Step<unknown>;
            isClosed = true;
            yield* steps.endMember(world.cores[1]!, 2, 0) as Step<unknown>;
            if ((yield* steps.takeMemory(i32, i32.length)) >= 0) {
              outcomes.refused++;
              return;
            }
            outcomes.made++;
            // As one step: what is half written is no pool yet.
            writePool(i32, other, 2);
            i32.set(bytes, other.slotsAt >>> 2);
            made = i32.slice();
          };
          const check = (): void => {
            if (made === undefined) return;
            // Of the header, wake-ups are counted once too often, no more.
            if (i32[Header.VISITORS] !== 0) throw new Error("a visitor is counted who is gone");
            for (let at: number = Header.NOBODY; at < i32.length; at++) {
              if (at !== Header.WAKES && at !== Header.UNRECLAIMED && i32[at] !== made[at])
                throw new Error(`word ${at} of the new pool was ${made[at]}, and is ${i32[at]}`);
            }
          };
          return { threads: [doer(), maker()], i32, check };
        };
        tally(explore(make, { preemptions: 3 }));
      }
      expect(Math.min(outcomes.refused, outcomes.made)).toBeGreaterThan(0);
    },
  );

  it.each([
    ["zeros", (): void => {}],
    ["words of another program, one of which is as a live pool's state", (i32: Int32Array): void => void i32.fill(1)],
    ["words of another program, one of which is as a closed pool's state", (i32: Int32Array): void => void i32.fill(2)],
    [
      "a closed pool",
      (i32: Int32Array): void => {
        writePool(i32, layoutOf(checkShape({ size: 8, count: 1, members: 1 }, "never")), 9);
        i32[Header.STATE] = PoolState.DEAD;
      },
    ],
    [
      "a closed pool of another version",
      (i32: Int32Array): void => {
        writePool(i32, layoutOf(checkShape({ size: 8, count: 1, members: 1 }, "never")), 9);
        i32[Header.VERSION] = 1;
        i32[Header.STATE] = PoolState.DEAD;
      },
    ],
  ])("two threads make a pool at once in a memory of %s, and one may die: one of them does", (_, fill) => {
    const layout = layoutOf(checkShape({ size: 8, count: 2, members: 2 }, "never"));
    const make = (): Run => {
      const i32 = new Int32Array(layout.slotsAt >>> 2);
      fill(i32);
      const made: number[] = [];
      let hasDied = false;
      const maker = function* (pool: number): Thread {
        const found = yield* steps.takeMemory(i32, i32.length);
        if (found >= 0) return;
        yield;
        writePool(i32, layout, pool);
        made.push(pool);
      };
      const check = (): void => {
        if (made.length > 1 || (made.length === 0 && !hasDied)) throw new Error(`${made.length} pools were made`);
        if (made.length === 1 && i32[Header.POOL] !== made[0]) throw new Error("the pool is another one");
        // Whatever was done, all of it or a part, it is nobody else's; and free for all once it is zeros.
        const nobody = made.length === 0 && alone(steps.takeMemory(i32, i32.length)) < 0;
        if (nobody && alone(steps.takeMemory(i32, i32.length)) < 0) throw new Error("two have claimed it");
        i32.fill(0);
        if (alone(steps.takeMemory(i32, i32.length)) >= 0) throw new Error("a memory of zeros is refused");
      };
      const died = (): void => {
        hasDied = true;
      };
      return { threads: [maker(1), maker(2)], i32, check, mortal: [true, true], died };
    };
    expect(tally(explore(make)).schedules).toBeGreaterThan(5);
  });

  it("slots that take several passes to clear, cleared by two in turns and at once, one of whom may die: whole, and then free", () => {
    const make = (dies: boolean) => (): Run => {
      const world = new World({ count: 1, threads: 4, zero: "release", size: 2.5 * CLEAR_BYTES });
      hold(world, 0);
      let died = false;
      let ended = false;
      const first = function* (): Thread {
        yield* world.reclaim(1, 0);
        yield* world.reclaim(1, 0);
        ended = true;
      };
      const second = function* (): Thread {
        yield* world.reclaim(2, 0);
        yield* world.reclaim(2, 0);
        yield { until: () => ended || died };
        if (died) yield* world.reclaim(2, 1);
        for (let n = 0; n < 4; n++) yield* steps.reclaimAll(world.cores[2]!) as Step<unknown>;
        const id = yield* world.take(2);
        if (id < 0) throw new Error("the slot is not free");
        yield* world.give(2, id);
      };
      return world.run([first(), second()], 3, {
        mortal: [dies, false],
        died: () => {
          died = true;
        },
      });
    };
    for (const dies of [false, true]) {
      expect(tally(explore(make(dies), { preemptions: dies ? 1 : 2 })).schedules).toBeGreaterThan(50);
    }
  });

  it("an evicted member, declared dead while it lives, cannot touch the new holder's lease", () => {
    const make = (): Run => {
      const world = new World({ count: 1, threads: 3 });
      const id = hold(world, 0);
      const evicted = function* (): Thread {
        // True only while it was not yet reclaimed: then it gave back what was its own.
        yield* world.giveStep(0, id);
        yield* world.giveStep(0, id);
      };
      const other = function* (): Thread {
        yield* world.reclaim(1, 0);
        yield* world.take(1);
      };
      return world.run([evicted(), other()], 2);
    };
    expect(tally(explore(make, { preemptions: 4 })).schedules).toBeGreaterThan(100);
  });

  it("one who leaves frees what it holds, while others take", () => {
    const make = (): Run => {
      const world = new World({ count: 2, threads: 3 });
      hold(world, 0);
      const leaver = function* (): Thread {
        world.forget(0);
        yield* steps.leave(world.cores[0]!);
      };
      const other = function* (): Thread {
        yield* world.take(1);
        yield* world.take(1);
      };
      return world.run([leaver(), other()], 2);
    };
    expect(tally(explore(make, { preemptions: 3 })).schedules).toBeGreaterThan(50);
  });
});

describe.each(["its identity", "its low bits, as a ring does"])(
  "a lease on its way to a thread that hears %s",
  (told) => {
    interface Mail {
      id: number | undefined;
    }
    const LOW = 0x3fffffff;

    /** As a connection does it: announce, post, move. */
    function* send(world: World, from: number, to: number, id: number, mail: Mail): Step<number> {
      const core = world.cores[from]!;
      const { member, status } = world.cores[to]!;
      const begun = (yield* steps.prepareTransfer(core, id, member, status)) as number;
      if (begun !== TransferResult.DONE) return begun;
      mail.id = id;
      // From here on it may be the receiver's, and free if that one dies.
      world.holders[0]!.delete(from);
      const done = (yield* steps.commitTransfer(core, id, member, status, BY_RING)) as number;
      if (done === TransferResult.GONE) world.holders[0]!.add(from);
      return done;
    }

    function* receive(world: World, thread: number, from: number, mail: Mail, end: () => boolean): Thread {
      yield { until: () => mail.id !== undefined || end() };
      if (mail.id === undefined) return;
      for (;;) {
        // Before the look: what changes during it is not waited for.
        const at = world.layout.statesAt;
        const state = world.i32[at];
        const core = world.cores[thread]!;
        if (
          told !== "its identity" &&
          ((yield* steps.acceptCommitted(core, mail.id & LOW, LOW)) as number) === mail.id
        ) {
          world.holders[0]!.add(thread);
          return;
        }
        const outcome = (yield* steps.acceptTransfer(core, mail.id, world.cores[from]!.member, BY_RING)) as number;
        if (outcome === TransferResult.NOT_YET) {
          yield { until: () => world.i32[at] !== state };
          continue;
        }
        if (outcome === TransferResult.DONE) world.holders[0]!.add(thread);
        return;
      }
    }

    const giver = (world: World, mail: Mail, done: { value: boolean }) =>
      (function* (): Thread {
        const id = world.cores[0]!.localLease[0]!;
        yield* send(world, 0, 1, id, mail);
        done.value = true;
      })();

    it("moves: the receiver has it, the giver has not, at every moment one of them", () => {
      const make = (): Run => {
        const world = new World({ count: 1, threads: 3 });
        hold(world, 0);
        const mail: Mail = { id: undefined };
        const done = { value: false };
        const taker = function* (): Thread {
          yield* world.take(2);
        };
        return world.run([giver(world, mail, done), receive(world, 1, 0, mail, () => done.value), taker()], 2);
      };
      expect(tally(explore(make, { preemptions: 3 })).schedules).toBeGreaterThan(100);
    });

    it("is not the giver's to give back while it is on its way back", () => {
      const make = (): Run => {
        const world = new World({ count: 1, threads: 3 });
        const id = hold(world, 0);
        const [there, back]: Mail[] = [{ id: undefined }, { id: undefined }];
        const first = function* (): Thread {
          yield* send(world, 0, 1, id, there!);
          if (yield* world.giveStep(0, id)) throw new Error("what was sent away was given back");
          yield* receive(world, 0, 1, back!, () => false);
          yield* world.give(0, id);
        };
        const second = function* (): Thread {
          yield* receive(world, 1, 0, there!, () => false);
          yield* send(world, 1, 0, id, back!);
        };
        return world.run([first(), second()], 2);
      };
      expect(tally(explore(make, { preemptions: 3 })).schedules).toBeGreaterThan(100);
    });

    it.each(["giver", "receiver"] as const)(
      "the %s dies at any point, is reclaimed, its membership given away: nothing is lost",
      (who) => {
        const make = (): Run => {
          const world = new World({ count: 1, threads: 3 });
          hold(world, 0);
          const mail: Mail = { id: undefined };
          const done = { value: false };
          let died = false;
          let over = false;
          const victim = who === "giver" ? 0 : 1;
          const both: Thread[] = [
            giver(world, mail, done),
            (function* (): Thread {
              yield* receive(world, 1, 0, mail, () => done.value || (died && who === "giver"));
              over = true;
            })(),
          ];
          const undertaker = function* (): Thread {
            yield { until: () => died || (done.value && over) };
            if (died) {
              yield* world.reclaim(2, victim);
              const membership = yield* steps.claimMembership(world.i32, world.layout, MemberState.RESERVED);
              if (membership === null) return;
              const thread = world.activate(membership.member, membership.status);
              yield* world.take(thread);
            }
          };
          return world.run([...both, undertaker()], 2, {
            mortal: [who === "giver", who === "receiver", false],
            died: () => {
              died = true;
            },
          });
        };
        expect(tally(explore(make, { preemptions: 2 })).schedules).toBeGreaterThan(100);
      },
    );

    it("both die, the receiver first, and its membership is given away: what the giver was about to give comes free", () => {
      const make = (): Run => {
        const world = new World({ count: 1, threads: 4 });
        hold(world, 0);
        const mail: Mail = { id: undefined };
        let died = false;
        let gave = false;
        const sender = function* (): Thread {
          yield* send(world, 0, 1, world.cores[0]!.localLease[0]!, mail);
          gave = true;
        };
        const undertaker = function* (): Thread {
          yield* world.reclaim(2, 1);
          const membership = yield* steps.claimMembership(world.i32, world.layout, MemberState.RESERVED);
          if (membership !== null) world.activate(membership.member, membership.status);
          yield { until: () => died || gave };
          if (died) yield* world.reclaim(2, 0);
        };
        return world.run([sender(), undertaker()], 3, {
          mortal: [true, false],
          died: () => {
            died = true;
          },
        });
      };
      expect(tally(explore(make, { preemptions: 3 })).schedules).toBeGreaterThan(100);
    });

    /** Joins the lease, looks, gives its hold back: at any point of the transfer, also before the message is read. */
    const looks = (world: World, id: number, mail: Mail, received: { value: number }, first: boolean) =>
      (function* (): Thread {
        const core = world.cores[1]!;
        const takesIn = function* (): Step<void> {
          const got = yield* receiveOnce(world, mail);
          if (got) received.value++;
        };
        const isJoined = (yield* steps.retain(core, id)) as boolean;
        if (isJoined && first && mail.id !== undefined) yield* takesIn();
        if (isJoined && !(yield* world.giveStep(1, id))) throw new Error("a hold that was joined is over");
        if (received.value === 0) yield* takesIn();
      })() as Thread;

    /** What comes is the lease, once; false: nothing comes any more, or what came is over. */
    function* receiveOnce(world: World, mail: Mail & { isOver?: boolean }): Step<boolean> {
      const held = world.holders[0]!.has(1);
      yield* receive(world, 1, 0, mail, () => mail.isOver === true);
      return !held && world.holders[0]!.has(1);
    }

    it.each([
      ["once", 1, false],
      ["once, and the receiver reads while it looks", 1, true],
      ["twice", 2, false],
    ])(
      "held %s: the receiver joins it meanwhile and gives its hold back, and what was sent arrives",
      (_, holds, first) => {
        const seen = { refusedJoin: 0, refusedSend: 0, both: 0 };
        const make = (): Run => {
          const world = new World({ count: 1, threads: 3 });
          const id = hold(world, 0);
          for (let n = 1; n < holds; n++) alone(steps.retain(world.cores[0]!, id));
          const mail: Mail & { isOver?: boolean } = { id: undefined };
          const received = { value: 0 };
          let sent: number | undefined;
          const sender = function* (): Thread {
            sent = yield* send(world, 0, 1, id, mail);
            if (holds > 1 && sent === TransferResult.DONE && !(yield* world.giveStep(0, id)))
              throw new Error("the other hold is over");
            mail.isOver = true;
          };
          const check = (): void => {
            if (sent === TransferResult.DONE) {
              if (received.value !== 1) throw new Error(`sent, and received ${received.value} times`);
              if (!alone(world.giveStep(1, id))) throw new Error("what was received is over");
              seen.both++;
            } else {
              if (sent !== TransferResult.HAS_IT || mail.id !== undefined) throw new Error(`the send says ${sent}`);
              for (let n = 0; n < holds; n++)
                if (!alone(world.giveStep(0, id))) throw new Error("a refused send took a hold");
              seen.refusedSend++;
            }
            world.holders[0]!.clear();
            world.check(2);
          };
          return { ...world.run([sender(), looks(world, id, mail, received, first)], 2), check };
        };
        expect(tally(explore(make, { preemptions: 4 })).schedules).toBeGreaterThan(100);
        expect(Math.min(seen.both, seen.refusedSend)).toBeGreaterThan(0);
      },
    );

    it.each(["giver", "receiver"] as const)(
      "the receiver joins it meanwhile and the %s dies at any point: nothing is lost, and it can be joined and sent",
      (who) => {
        const make = (): Run => {
          const world = new World({ count: 1, threads: 4 });
          const id = hold(world, 0);
          const mail: Mail & { isOver?: boolean } = { id: undefined };
          const received = { value: 0 };
          const victim = who === "giver" ? 0 : 1;
          let died = false;
          let ended = 0;
          const note = function* (program: Thread): Thread {
            yield* program;
            ended++;
          };
          const sender = function* (): Thread {
            yield* send(world, 0, 1, id, mail);
            mail.isOver = true;
          };
          const undertaker = function* (): Thread {
            yield { until: () => died || ended === 2 };
            if (died) yield* world.reclaim(2, victim);
          };
          const check = (): void => {
            // Whoever lives gives back what is left, and then the slot goes between the living as ever.
            if (who === "receiver" || !died) while (alone(world.giveStep(0, id)));
            if (who === "giver" || !died) while (alone(world.giveStep(1, id)));
            world.holders[0]!.clear();
            const next = hold(world, 2);
            if (next < 0) throw new Error("the slot is lost");
            const to = died ? (who === "giver" ? 1 : 0) : 1;
            if (!alone(steps.retain(world.cores[to]!, next))) throw new Error("nobody can join it");
            if (!alone(world.giveStep(to, next))) throw new Error("joined, and over");
            const { member, status } = world.cores[to]!;
            if (alone(steps.prepareTransfer(world.cores[2]!, next, member, status)) !== TransferResult.DONE)
              throw new Error("it cannot be sent");
          };
          const threads = [note(sender()), note(looks(world, id, mail, received, true)), undertaker()];
          return {
            ...world.run(threads, 3, {
              mortal: [who === "giver", who === "receiver", false],
              died: () => {
                died = true;
                mail.isOver = true;
              },
            }),
            check,
          };
        };
        expect(tally(explore(make, { preemptions: 2 })).schedules).toBeGreaterThan(100);
      },
    );

    it("cannot be joined by the receiver after it was announced and before it has moved; after that it can", () => {
      for (const holds of [1, 2]) {
        const world = new World({ count: 1, threads: 3 });
        const [giver, taker] = world.cores as [Core, Core];
        const id = hold(world, 0);
        if (holds === 2) alone(steps.retain(giver, id));
        expect(alone(steps.prepareTransfer(giver, id, taker.member, taker.status))).toBe(TransferResult.DONE);
        expect(alone(steps.retain(taker, id))).toBe(false);
        expect(leaseError({ name: "p", core: taker }, id, "retain").code).toBe("ERR_FOREIGN_RELEASE");
        expect(alone(steps.commitTransfer(giver, id, taker.member, taker.status, BY_RING))).toBe(TransferResult.DONE);
        expect(alone(steps.retain(taker, id))).toBe(true);
        expect(alone(world.giveStep(taker.member, id))).toBe(true);
        expect(alone(steps.acceptTransfer(taker, id, giver.member, BY_RING))).toBe(TransferResult.DONE);
        expect(alone(world.giveStep(taker.member, id))).toBe(true);
      }
    });

    it("two holders send it to one thread at once: each transfer that is done arrives", () => {
      const seen = { one: 0, refused: 0 };
      const make = (): Run => {
        const world = new World({ count: 1, threads: 4 });
        const id = hold(world, 0);
        alone(steps.retain(world.cores[3]!, id));
        const mails: (Mail & { isOver?: boolean })[] = [{ id: undefined }, { id: undefined }];
        const sent: number[] = [];
        let received = 0;
        const sender = (thread: number, mail: Mail & { isOver?: boolean }) =>
          (function* (): Thread {
            sent.push(yield* send(world, thread, 1, id, mail));
            mail.isOver = true;
          })();
        const receiver = function* (): Thread {
          for (const [at, from] of [0, 3].entries()) {
            world.holders[0]!.delete(1);
            yield* receive(world, 1, from, mails[at]!, () => mails[at]!.isOver === true);
            if (!world.holders[0]!.has(1)) continue;
            received++;
            if (!(yield* world.giveStep(1, id))) throw new Error("what was received is over");
          }
        };
        const check = (): void => {
          const done = sent.filter((outcome) => outcome === TransferResult.DONE).length;
          if (received !== done) throw new Error(`${done} were sent, and ${received} received`);
          if (done === 1) seen.one++;
          if (sent.includes(TransferResult.HAS_IT)) seen.refused++;
        };
        return { ...world.run([sender(0, mails[0]!), receiver(), sender(3, mails[1]!)], 2), check };
      };
      expect(tally(explore(make, { preemptions: 3 })).schedules).toBeGreaterThan(100);
      expect(Math.min(seen.one, seen.refused)).toBeGreaterThan(0);
    });

    it("the receiver leaves in good order meanwhile: the giver keeps it, or the leaving frees it", () => {
      const make = (): Run => {
        const world = new World({ count: 1, threads: 3 });
        hold(world, 0);
        const mail: Mail = { id: undefined };
        const leaver = function* (): Thread {
          yield* steps.leave(world.cores[1]!);
        };
        const sender = function* (): Thread {
          yield* send(world, 0, 1, world.cores[0]!.localLease[0]!, mail);
        };
        return world.run([sender(), leaver()], 2);
      };
      expect(tally(explore(make, { preemptions: 4 })).schedules).toBeGreaterThan(100);
    });
  },
);

describe("waiting", REPEATED, () => {
  const waiter: SharedWaiter = { wait() {}, notify };
  const waits = (world: World, thread: number, after: (id: number) => Step<void>) =>
    (function* (): Thread {
      const id = yield* steps.acquireIdSync(world.cores[thread]!, waiter, Number.POSITIVE_INFINITY, false);
      if (id < 0) throw new Error("a wait without end ended without a slot");
      world.took(thread, id);
      yield* after(id);
    })();
  const giveBack = (world: World, thread: number) =>
    function* (id: number): Step<void> {
      yield* world.give(thread, id);
    };

  it("no wake-up is lost: one gives back, one waits", () => {
    const make = (): Run => {
      const world = new World({ count: 1, threads: 3 });
      const id = hold(world, 0);
      const giver = function* (): Thread {
        yield* world.give(0, id);
      };
      return world.run([giver(), waits(world, 1, giveBack(world, 1))], 2);
    };
    expect(tally(explore(make, { preemptions: 4 })).schedules).toBeGreaterThan(100);
  });

  it("two wait for one slot: one gives it to the other", () => {
    const make = (): Run => {
      const world = new World({ count: 1, threads: 4 });
      const id = hold(world, 0);
      const giver = function* (): Thread {
        yield* world.give(0, id);
      };
      const threads = [giver(), waits(world, 1, giveBack(world, 1)), waits(world, 2, giveBack(world, 2))];
      return world.run(threads, 3);
    };
    expect(tally(explore(make, { preemptions: 2 })).schedules).toBeGreaterThan(100);
  });

  it("one of two who wait dies, perhaps with the wake-up that was the other's: reclaiming it passes it on", () => {
    const make = (): Run => {
      const world = new World({ count: 1, threads: 4 });
      const id = hold(world, 0);
      let died = false;
      const ended = [false, false, false];
      const giver = function* (): Thread {
        yield* world.give(0, id);
        yield { until: () => died || (ended[1] === true && ended[2] === true) };
        if (died) yield* world.reclaim(0, 1);
      };
      const note = (thread: number, program: Thread): Thread =>
        (function* (): Thread {
          yield* program;
          ended[thread] = true;
        })();
      const threads = [
        giver(),
        note(1, waits(world, 1, giveBack(world, 1))),
        note(2, waits(world, 2, giveBack(world, 2))),
      ];
      return world.run(threads, 3, {
        mortal: [false, true, false],
        died: () => {
          died = true;
        },
      });
    };
    expect(tally(explore(make, { preemptions: 1 })).schedules).toBeGreaterThan(50);
  });

  it("says that nobody waits when nobody does", () => {
    const world = new World({ count: 1, threads: 2 });
    alone(waits(world, 1, giveBack(world, 1)));
    expect([world.i32[Header.WAITING], isSameMember(world.cores[1]!.status, world.cores[1]!.status)]).toEqual([
      0,
      true,
    ]);
  });
});

describe("random schedules of longer programs", REPEATED, () => {
  it("four threads take, keep and give in any order; one of them may die", () => {
    const command = fc.constantFrom("take", "give", "keep");
    const programs = fc.array(fc.array(command, { minLength: 1, maxLength: 8 }), { minLength: 4, maxLength: 4 });
    const numRuns = times(100, 1500, "MILLPOND_WALKS");
    fc.assert(
      fc.property(
        programs,
        fc.infiniteStream(fc.nat()),
        fc.integer({ min: 1, max: 3 }),
        fc.boolean(),
        (plan, choices, count, batch) => {
          const world = new World({ count, threads: 5, batch });
          let died = false;
          const ended = [false, false, false, false];
          const threads = plan.map((list, thread) =>
            (function* (): Thread {
              const ids: number[] = [];
              for (const what of list) {
                if (what === "take") {
                  const id = yield* world.take(thread);
                  if (id >= 0) ids.push(id);
                } else if (what === "keep" && ids.length > 0) {
                  const id = ids[0]!;
                  if (!(yield* steps.retain(world.cores[thread]!, id))) throw new Error("could not keep its own lease");
                  ids.push(id);
                } else if (what === "give" && ids.length > 0) {
                  const id = ids.pop()!;
                  yield* world.give(thread, id, !ids.includes(id));
                }
              }
              ended[thread] = true;
              if (thread === 1) yield { until: () => died || ended.every(Boolean) };
              if (thread === 1 && died) yield* world.reclaim(1, 0);
            })(),
          );
          const run = world.run(threads, 4, {
            mortal: [true, false, false, false],
            died: () => {
              died = true;
            },
          });
          walk(run, (options) => choices.next().value % options);
        },
      ),
      { numRuns, seed: seedOf("random schedules") },
    );
  });
});

it("tells how much was explored", REPEATED, () => {
  console.log(`${total.schedules} schedules, ${total.points} accesses to shared memory`);
  expect(total.schedules).toBeGreaterThan(times(3_000, 10_000));
});
