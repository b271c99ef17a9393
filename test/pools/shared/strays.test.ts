// Shares its realm with other files: nothing that it changes outlives it.
/**
 * A thread that is declared dead while it lives, at any access to shared memory of what it does, and goes on after that
 * or is killed: no slot stays with a member that is gone. On the pool's own code, every schedule.
 */
import { describe, expect, it } from "vitest";
import { holds } from "../../../src/pools/shared/core.ts";
import { Header, LINE, MemberState, MemberWord } from "../../../src/pools/shared/layout.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { BY_RING, TransferResult } from "../../../src/pools/shared/transfer.ts";
import { REPEATED } from "../../helpers/effort.ts";
import { alone, atLeast, explore, type Run, type Step, steps, type Thread } from "./interleave.ts";
import { World, type WorldOptions } from "./world.ts";

/** What the thread does that is declared dead, thread 0; thread 1 holds a lease of slot 0, `known`. */
type Doing = (world: World, known: number) => Step<unknown>;

const doings: Readonly<Record<string, Doing>> = {
  "takes from its magazine": (world) => {
    const core = world.cores[0]!;
    core.mask = 0b10;
    return steps.tryAcquire(core);
  },
  "looks for a slot": (world) => steps.acquireSlow(world.cores[0]!),
  "joins a lease": (world, known) => steps.retain(world.cores[0]!, known),
  *"joins a lease and gives it back"(world, known) {
    if (yield* steps.retain(world.cores[0]!, known)) yield* world.giveStep(0, known);
  },
  "sends a lease to one that leaves": (world) => {
    const core = world.cores[0]!;
    const own = alone(steps.tryAcquire(core));
    const { member, status } = world.cores[2]!;
    return (function* () {
      if ((yield* steps.prepareTransfer(core, own, member, status)) !== TransferResult.DONE) return;
      yield* steps.commitTransfer(core, own, member, status, BY_RING);
    })() as Step<unknown>;
  },
  "sends one of two holds to one that leaves": (world, known) => {
    const core = world.cores[0]!;
    alone(steps.retain(core, known));
    const { member, status } = world.cores[2]!;
    return (function* () {
      if ((yield* steps.prepareTransfer(core, known, member, status)) !== TransferResult.DONE) return;
      yield* steps.commitTransfer(core, known, member, status, BY_RING);
    })() as Step<unknown>;
  },
};

/** What a thread does, without what it answers. */
function* only(step: Step<unknown>): Thread {
  yield* step;
}

const isGone = (world: World, member: number): boolean =>
  (world.i32[world.layout.membersAt + member * LINE + MemberWord.STATUS]! & MemberState.MASK) === MemberState.FREE;

/** Fails when a slot has a bit of a place in which nobody is, or cannot be had, once somebody has looked for a slot. */
function nothingStays(world: World, survivor: number): void {
  const core = world.cores[survivor]!;
  const taken: number[] = [];
  for (;;) {
    const id = alone(steps.acquireSlow(core));
    if (id < 0 && alone(steps.resumeReclaim(core)) === 0) break;
    if (id >= 0) taken.push(id);
  }
  for (let index = 0; index < world.layout.count; index++) {
    const state = world.i32[world.layout.statesAt + (index << world.layout.stateShift)]!;
    for (let member = 0; member < world.layout.members; member++) {
      if ((state & (1 << member)) !== 0 && isGone(world, member))
        throw new Error(`slot ${index} is held by member ${member}, who is gone`);
    }
  }
  if (taken.length !== world.layout.count) throw new Error(`${taken.length} slots are to be had`);
  if (world.i32[Header.UNRECLAIMED] !== 0) throw new Error("something is left to clear up");
}

const sizes: readonly WorldOptions[] = [
  { count: 2, threads: 4 },
  { count: 2, threads: 4, zero: "release" },
  { count: 2, threads: 4, zero: "acquire" },
];
const situations = Object.keys(doings).flatMap((name) => sizes.map((size) => [name, size] as const));

describe("a thread is declared dead while it lives, goes on, and may be killed", REPEATED, () => {
  it.each(situations)("%s %j: no slot stays with a member that is gone", (name, size) => {
    const make = (): Run => {
      const world = new World(size);
      const known = alone(steps.tryAcquire(world.cores[1]!));
      const late = only(doings[name]!(world, known));
      const leaves = name.startsWith("sends");
      const receiver = function* (): Thread {
        if (leaves) yield* steps.leave(world.cores[2]!);
      };
      const reclaimer = function* (): Thread {
        yield* steps.reclaim(world.cores[3]!, world.cores[0]!.member, world.cores[0]!.status);
      };
      const check = (): void => {
        if (!alone(world.giveStep(1, known))) throw new Error("the other holder's lease is over");
        // What came to the receiver is its own.
        alone(steps.leave(world.cores[2]!));
        nothingStays(world, 3);
      };
      return {
        threads: leaves ? [late, reclaimer(), receiver()] : [late, reclaimer()],
        i32: world.i32,
        mortal: [true, false, false],
        check,
      };
    };
    expect(explore(make, { preemptions: name.startsWith("sends") ? 1 : 2 }).schedules).toBeGreaterThanOrEqual(
      atLeast(100),
    );
  });

  it.each(situations.filter(([name]) => !name.startsWith("sends")))(
    "%s %j, and its place is another one's by then: what that one has stays its own",
    (name, size) => {
      const make = (): Run => {
        const world = new World(size);
        const known = alone(steps.tryAcquire(world.cores[1]!));
        const late = only(doings[name]!(world, known));
        let newcomer = -1;
        let own = -1;
        const reclaimer = function* (): Thread {
          const { member, status } = world.cores[0]!;
          yield* steps.reclaim(world.cores[3]!, member, status);
          const reserved = yield* steps.claimMembership(
            world.i32,
            world.layout,
            MemberState.RESERVED,
            member,
            member + 1,
          );
          if (reserved === null) return;
          newcomer = world.activate(member, reserved.status);
          own = yield* steps.tryAcquire(world.cores[newcomer]!);
        };
        const check = (): void => {
          const core = world.cores[newcomer];
          if (
            own >= 0 &&
            !holds(core!, world.i32[world.layout.statesAt + ((own & core!.indexMask) << world.layout.stateShift)]!, own)
          )
            throw new Error("the newcomer's lease is over");
          if (!alone(world.giveStep(1, known))) throw new Error("the other holder's lease is over");
          if (core !== undefined) alone(steps.leave(core));
          nothingStays(world, 3);
        };
        return { threads: [late, reclaimer()], i32: world.i32, mortal: [true, false], check };
      };
      expect(explore(make, { preemptions: 2 }).schedules).toBeGreaterThanOrEqual(atLeast(100));
    },
  );
});

describe("a bit that a killed thread has left in a slot, of a place that is free", () => {
  /** As a thread leaves it that is killed between its step and its look at its status. */
  const leave = (pool: SharedPool, slot: number, member: number): void => {
    const { i32, statesAt, stateShift } = pool.core;
    i32[statesAt + (slot << stateShift)]! |= 1 << member;
  };

  it("is ended by the next search that finds no slot", () => {
    const pool = SharedPool.create({ size: 64, count: 2, members: 3 });
    leave(pool, 1, 2);
    expect([pool.tryAcquireId(), pool.tryAcquireId()].every((id) => id >= 0)).toBe(true);
    expect(pool.tryAcquireId()).toBe(-1);
    pool.close({ force: true });
  });

  it("holds nothing in stats() and holders(), which change nothing", () => {
    const pool = SharedPool.create({ size: 64, count: 2, members: 3 });
    const id = pool.tryAcquireId();
    leave(pool, id & pool.core.indexMask, 2);
    leave(pool, 1 - (id & pool.core.indexMask), 2);
    const before = pool.core.i32.slice();
    expect(pool.stats()).toMatchObject({ free: 1, held: 1, heldByMany: 0 });
    expect(pool.holders()).toEqual([{ slot: id & pool.core.indexMask, id, members: [0] }]);
    expect(pool.core.i32).toEqual(before);
    pool.releaseId(id);
    expect([pool.tryAcquireId(), pool.tryAcquireId()].every((one) => one >= 0)).toBe(true);
    pool.close({ force: true });
  });

  it("is ended by a reclaim of another one", () => {
    const pool = SharedPool.create({ size: 64, count: 2, members: 3 });
    leave(pool, 1, 2);
    pool.reclaim(pool.reserve());
    expect(pool.stats().free).toBe(2);
    pool.validate();
    pool.close();
  });

  it("keeps its place from the next member while another one is free", () => {
    const pool = SharedPool.create({ size: 64, count: 2, members: 3 });
    leave(pool, 1, 1);
    expect(pool.reserve().membership.member).toBe(2);
    pool.close({ force: true });
  });
});
