// Shares its realm with other files: nothing that it changes outlives it.
/**
 * Leases whose message is lost with their sender: every interleaving of sending, receiving, the end of the lane and the
 * reclaim, on the pool's own code, with the sender killed at any point. The message is written after the transfer, as
 * between processes.
 */
import { describe, expect, it } from "vitest";
import { type Core, senderAt } from "../../../src/pools/shared/core.ts";
import { MemberState } from "../../../src/pools/shared/layout.ts";
import { BY_RING, senderWord, TransferResult } from "../../../src/pools/shared/transfer.ts";
import { isFullLength, REPEATED } from "../../helpers/effort.ts";
import { alone, atLeast, explore, type Run, type Step, steps, type Thread } from "./interleave.ts";
import { World } from "./world.ts";

/** What the system has of a lane's messages, and whether more can come. */
interface Channel {
  id: number | undefined;
  isOver: boolean;
}

const channel = (): Channel => ({ id: undefined, isOver: false });

const wordOf = (core: Core, way: "lane" | "ring"): number => (way === "ring" ? BY_RING : senderWord(core));

/** As a lane between processes: announce, move, and then write; as a ring: announce, put it in, move. */
function* send(world: World, from: number, id: number, way: "lane" | "ring", to: Channel): Thread {
  const core = world.cores[from]!;
  const { member, status } = world.cores[1]!;
  const begun = (yield* steps.prepareTransfer(core, id, member, status)) as number;
  if (begun === TransferResult.DONE) {
    if (way === "ring") to.id = id;
    world.holders[0]!.delete(from);
    const done = (yield* steps.commitTransfer(core, id, member, status, wordOf(core, way))) as number;
    if (done === TransferResult.GONE) world.holders[0]!.add(from);
    yield;
    if (done === TransferResult.DONE) to.id = id;
  }
  to.isOver = true;
}

/** Takes in what comes by a channel; whether it was a lease. */
function* receive(world: World, from: number, { id }: Channel, way: "lane" | "ring" = "lane"): Step<boolean> {
  const core = world.cores[1]!;
  const word = wordOf(world.cores[from]!, way);
  if (id === undefined) return false;
  for (;;) {
    const state = world.i32[world.layout.statesAt];
    const outcome = (yield* steps.acceptTransfer(core, id, world.cores[from]!.member, word)) as number;
    if (outcome === TransferResult.DONE) world.holders[0]!.add(1);
    if (outcome !== TransferResult.NOT_YET) return outcome === TransferResult.DONE;
    yield { until: () => world.i32[world.layout.statesAt] !== state };
  }
}

/** The end of the lane to a thread, when all that came was taken in. */
function* endOfLane(world: World, from: number): Step<boolean> {
  return (yield* steps.dropLost(world.cores[1]!, 0, senderWord(world.cores[from]!))) as boolean;
}

const giveBack = (world: World, thread: number, id: number): Step<boolean> => world.giveStep(thread, id);

describe("a sender that is killed after each of its steps, alone", () => {
  it.each([
    ["the lane ends before it is reclaimed", true],
    ["it is reclaimed before the lane ends", false],
  ])("%s: the lease was received, or the slot is free", (_, endsFirst) => {
    const outcomes = new Set<string>();
    for (let steps = 0, isDone = false; !isDone; steps++) {
      const world = new World({ count: 1, threads: 3 });
      const id = alone(world.take(0));
      const lane = channel();
      const sender = send(world, 0, id, "lane", lane);
      for (let n = 0; n < steps && !isDone; n++) isDone = sender.next().done === true;
      if (!endsFirst) alone(world.reclaim(2, 0));
      // One that is not there before the reclaim, of a sender that did not come to its second step, is over then.
      const isReceived = lane.id !== undefined && alone(receive(world, 0, lane));
      const isLost = alone(endOfLane(world, 0));
      if (endsFirst) alone(world.reclaim(2, 0));
      expect(isReceived && isLost).toBe(false);
      outcomes.add(isReceived ? "received" : isLost ? "lost" : "kept");
      expect(alone(giveBack(world, 1, id))).toBe(isReceived);
      world.holders[0]!.clear();
      world.check(2);
    }
    expect([...outcomes].sort()).toEqual(["kept", "lost", "received"]);
  });
});

describe("a sender that is killed at any point", REPEATED, () => {
  it.each([
    ["", false, "fresh"],
    [", and its bytes are cleared first", false, "release"],
    ["; the receiver joins the lease besides, at any point", true, "fresh"],
  ] as const)("the lease comes to the receiver, or is free when the lane has ended%s", (_, joins, zero) => {
    const seen = { received: 0, lost: 0, kept: 0 };
    const make = (): Run => {
      const world = new World({ count: 1, threads: 3, zero });
      const id = alone(world.take(0));
      const lane = channel();
      let died = false;
      let isReceived = false;
      let isLost = false;
      const receiver = function* (): Thread {
        const joined = joins && ((yield* steps.retain(world.cores[1]!, id)) as boolean);
        if (joined) world.holders[0]!.add(1);
        yield { until: () => lane.id !== undefined || lane.isOver };
        isReceived = yield* receive(world, 0, lane);
        yield { until: () => lane.isOver };
        isLost = yield* endOfLane(world, 0);
        if (isReceived && isLost) throw new Error("a hold that was taken over is lost");
        if (!joined) return;
        if (!isReceived) world.holders[0]!.delete(1);
        if (!(yield* giveBack(world, 1, id))) throw new Error("the hold that was joined is over");
      };
      const reclaimer = function* (): Thread {
        yield { until: () => lane.isOver };
        if (died) yield* world.reclaim(2, 0);
      };
      const run = world.run([send(world, 0, id, "lane", lane), receiver(), reclaimer()], 2, {
        mortal: [true, false, false],
        died: () => {
          died = true;
          lane.isOver = true;
        },
      });
      const check = (): void => {
        if (isReceived) seen.received++;
        else if (isLost) seen.lost++;
        else seen.kept++;
        // Where the join kept the send away, the sender has its lease.
        if (!died && !isReceived && !joins) throw new Error("what a living thread sent did not come");
        if (!died && !isReceived) world.holders[0]!.add(0);
        run.check();
      };
      return { ...run, check };
    };
    expect(explore(make, { preemptions: 2 }).schedules).toBeGreaterThanOrEqual(atLeast(500));
    if (isFullLength) expect(Math.min(seen.received, seen.lost, seen.kept)).toBeGreaterThan(0);
  });

  it.each([
    ["by a lane", "lane"],
    ["by a ring", "ring"],
  ] as const)("another thread sends the same lease there %s: only the dead one's message is given up", (_, way) => {
    const seen = { lost: 0, other: 0 };
    const make = (): Run => {
      const world = new World({ count: 1, threads: 4 });
      const id = alone(world.take(0));
      if (!alone(steps.retain(world.cores[2]!, id))) throw new Error("it could not be joined");
      world.holders[0]!.add(2);
      const [dead, other] = [channel(), channel()];
      // Of an earlier lease, and of the one that dies.
      world.i32[senderAt(world.cores[1]!, 0, 1)] = senderWord(world.cores[0]!);
      let died = false;
      let received = 0;
      let isLost = false;
      const receiver = function* (): Thread {
        yield { until: () => dead.id !== undefined || dead.isOver };
        if (yield* receive(world, 0, dead)) received++;
        yield { until: () => dead.isOver };
        isLost = yield* endOfLane(world, 0);
        yield { until: () => other.isOver };
        if (yield* receive(world, 2, other, way)) received++;
        if (yield* endOfLane(world, 0)) throw new Error("a second hold was lost");
      };
      const reclaimer = function* (): Thread {
        yield { until: () => dead.isOver };
        if (died) yield* world.reclaim(3, 0);
      };
      const run = world.run(
        [send(world, 0, id, "lane", dead), receiver(), send(world, 2, id, way, other), reclaimer()],
        3,
        {
          mortal: [true, false, false, false],
          died: () => {
            died = true;
            dead.isOver = true;
          },
        },
      );
      const check = (): void => {
        if (isLost) seen.lost++;
        const isOtherSent = (world.i32[world.layout.statesAt]! & world.cores[2]!.me) === 0;
        const isDeadSent = dead.id !== undefined && way === "lane";
        if (isOtherSent && !isDeadSent) {
          seen.other++;
          if (received === 0) throw new Error("what the other one sent is lost");
        }
        for (const thread of [0, 1, 2]) while (alone(giveBack(world, thread, id)));
        world.holders[0]!.clear();
        run.check();
      };
      return { ...run, check };
    };
    expect(explore(make, { preemptions: 1 }).schedules).toBeGreaterThanOrEqual(atLeast(500));
    if (isFullLength) expect(Math.min(seen.lost, seen.other)).toBeGreaterThan(0);
  });

  it("the receiver is reclaimed meanwhile and its place given away: the next one keeps what it takes", () => {
    const make = (): Run => {
      const world = new World({ count: 1, threads: 4 });
      const id = alone(world.take(0));
      const lane = channel();
      let died = false;
      const undertaker = function* (): Thread {
        yield* world.reclaim(2, 1);
        const membership = yield* steps.claimMembership(world.i32, world.layout, MemberState.RESERVED);
        const next = membership === null ? undefined : world.activate(membership.member, membership.status);
        const taken = next === undefined ? -1 : ((yield* world.take(next)) as number);
        yield { until: () => lane.isOver };
        if (died) yield* world.reclaim(2, 0);
        if (next === undefined) return;
        const core = world.cores[next]!;
        if (yield* steps.dropLost(core, 0, senderWord(world.cores[0]!))) throw new Error("its own lease was ended");
        if (taken >= 0) yield* world.give(next, taken);
      };
      return world.run([send(world, 0, id, "lane", lane), undertaker()], 3, {
        mortal: [true, false],
        died: () => {
          died = true;
          lane.isOver = true;
        },
      });
    };
    expect(explore(make, { preemptions: 2 }).schedules).toBeGreaterThanOrEqual(atLeast(100));
  });
});

describe("a sender whose lease is given back while it is posted", REPEATED, () => {
  it("another thread sends that slot there and ends, at any point of the refused send: the slot is free", () => {
    const seen = { sent: 0, none: 0 };
    const make = (): Run => {
      const world = new World({ count: 1, threads: 4 });
      const id = alone(world.take(0));
      const lane = channel();
      let isBack = false;
      const refused = function* (): Thread {
        const [core, { member, status }] = [world.cores[0]!, world.cores[1]!];
        if ((yield* steps.prepareTransfer(core, id, member, status)) !== TransferResult.DONE)
          throw new Error("the send was refused too early");
        yield* world.give(0, id);
        isBack = true;
        const done = yield* steps.commitTransfer(core, id, member, status, senderWord(core));
        if (done !== TransferResult.NOT_HELD) throw new Error(`a lease that was given back moved: ${done}`);
      };
      const other = function* (): Thread {
        yield { until: () => isBack };
        yield* send(world, 2, yield* world.take(2), "lane", lane);
      };
      // The message was not readable, and its sender does not say which lease it was.
      const receiver = function* (): Thread {
        yield { until: () => lane.isOver };
        const isLost = yield* endOfLane(world, 2);
        if (isLost !== (lane.id !== undefined)) throw new Error("the lease that was lost is not known by its sender");
        seen[isLost ? "sent" : "none"]++;
      };
      return world.run([refused(), other(), receiver()], 3);
    };
    expect(explore(make, { preemptions: 1 }).schedules).toBeGreaterThanOrEqual(atLeast(20));
    expect(seen.sent).toBeGreaterThan(0);
  });

  /** A sender, a receiver and another holder of the same lease. */
  const begin = () => {
    const world = new World({ count: 1, threads: 4 });
    const id = alone(world.take(0));
    const [near, there, other] = world.cores as [Core, Core, Core];
    const word = senderAt(there, 0, there.member);
    world.i32[word] = 5;
    const commit = (): number =>
      alone(steps.commitTransfer(near, id, there.member, there.status, senderWord(near))) as number;
    const prepare = (): number => alone(steps.prepareTransfer(near, id, there.member, there.status)) as number;
    return { world, id, near, there, other, word, commit, prepare };
  };

  it("and is sent back by another holder by then: it moves nothing, and what is on its way here comes", () => {
    const { world, id, near, there, other, word, commit, prepare } = begin();
    expect(alone(steps.retain(other, id))).toBe(true);
    expect(prepare()).toBe(TransferResult.DONE);
    expect(alone(giveBack(world, 0, id))).toBe(true);
    // By another one to the sender, whose bit is set and who does not know it yet.
    expect(alone(steps.prepareTransfer(other, id, near.member, near.status))).toBe(TransferResult.DONE);
    expect(alone(steps.commitTransfer(other, id, near.member, near.status, senderWord(other)))).toBe(
      TransferResult.DONE,
    );
    expect(commit()).toBe(TransferResult.NOT_HELD);
    expect([world.i32[word], alone(steps.retain(there, id))]).toEqual([5, true]);
    expect(alone(giveBack(world, 1, id))).toBe(true);
    expect(alone(steps.acceptTransfer(near, id, other.member, senderWord(other)))).toBe(TransferResult.DONE);
    expect(alone(giveBack(world, 0, id))).toBe(true);
    world.holders[0]!.clear();
    world.check(3);
  });

  it("and is held once more, joined again, or held by another one: it moves where this thread holds it still", () => {
    for (const what of ["once more", "again", "not"] as const) {
      const { world, id, near, there, other, word, commit, prepare } = begin();
      expect(alone(steps.retain(other, id))).toBe(true);
      if (what === "once more") expect(alone(steps.retain(near, id))).toBe(true);
      expect(prepare()).toBe(TransferResult.DONE);
      expect(alone(giveBack(world, 0, id))).toBe(true);
      if (what === "again") expect(alone(steps.retain(near, id))).toBe(true);
      const moves = what !== "not";
      expect(commit()).toBe(moves ? TransferResult.DONE : TransferResult.NOT_HELD);
      expect(world.i32[word]).toBe(moves ? senderWord(near) : 5);
      expect(alone(steps.dropLost(there, 0, senderWord(near)))).toBe(moves);
      expect([alone(giveBack(world, 0, id)), alone(giveBack(world, 2, id))]).toEqual([false, true]);
      world.holders[0]!.clear();
      world.check(3);
    }
  });
});

describe("a peer that announces what it has not given", REPEATED, () => {
  it("before, between and behind its own transfer: each transfer comes once, by the lane of the one that made it", () => {
    const make = (): Run => {
      const world = new World({ count: 1, threads: 4 });
      const id = alone(world.take(0));
      const [liar, here, there] = world.cores as [Core, Core, Core];
      /** What came by the lanes of the liar, and to and from the other one. */
      const lies: number[] = [];
      const sent: number[] = [];
      const back: number[] = [];
      const move = function* (from: Core, to: Core, mails: number[]): Step<void> {
        if ((yield* steps.prepareTransfer(from, id, to.member, to.status)) !== TransferResult.DONE)
          throw new Error("it could not be announced");
        world.holders[0]!.delete(from.member);
        const done = yield* steps.commitTransfer(from, id, to.member, to.status, senderWord(from));
        if (done !== TransferResult.DONE) throw new Error("it did not move");
        mails.push(id);
      };
      const take = function* (core: Core, from: Core, mails: number[]): Step<boolean> {
        yield { until: () => mails.length > 0 };
        for (const at = world.layout.statesAt; ; ) {
          const state = world.i32[at];
          const outcome = yield* steps.acceptTransfer(core, mails[0]!, from.member, senderWord(from));
          if (outcome === TransferResult.NOT_YET) {
            yield { until: () => world.i32[at] !== state };
            continue;
          }
          mails.shift();
          if (outcome !== TransferResult.DONE) return false;
          if (world.holders[0]!.has(core.member)) throw new Error("it was given twice");
          world.holders[0]!.add(core.member);
          return true;
        }
      };
      const lying = function* (): Thread {
        lies.push(id);
        yield* move(liar, here, lies);
        lies.push(id);
        yield;
        lies.push(id);
      };
      const receiving = function* (): Thread {
        if (!(yield* take(here, liar, lies))) throw new Error("what was sent did not come");
        yield* move(here, there, sent);
        for (let left = 3; left > 0; left--) {
          if (yield* take(here, liar, lies)) throw new Error("a lie took a lease");
          if (left !== 2) continue;
          if (!(yield* take(here, there, back))) throw new Error("what the other one sent did not come");
        }
        yield* world.give(1, id);
      };
      const other = function* (): Thread {
        if (!(yield* take(there, here, sent))) throw new Error("what was sent on did not come");
        yield* move(there, here, back);
      };
      return world.run([lying(), receiving(), other()], 3);
    };
    expect(explore(make, { preemptions: 2 }).schedules).toBeGreaterThanOrEqual(atLeast(100));
  });

  it("one that was declared dead takes its step late, at any point: the next lease of the slot comes all the same", () => {
    let lateSteps = 0;
    for (let first = 0, isDone = false; !isDone; first++) {
      const world = new World({ count: 1, threads: 4 });
      const [late, here, other] = world.cores as [Core, Core, Core];
      const id = alone(world.take(0));
      expect(alone(steps.prepareTransfer(late, id, here.member, here.status))).toBe(TransferResult.DONE);
      const step = steps.commitTransfer(late, id, here.member, here.status, senderWord(late));
      for (let n = 0; n < first && !isDone; n++) isDone = step.next().done === true;
      if (isDone) break;
      // Before its bit is there, or else the lease has moved.
      if ((world.i32[world.layout.statesAt]! & here.me) !== 0) break;
      alone(world.reclaim(3, 0));
      const next = alone(world.take(2));
      expect(alone(steps.prepareTransfer(other, next, here.member, here.status))).toBe(TransferResult.DONE);
      expect(alone(steps.commitTransfer(other, next, here.member, here.status, senderWord(other)))).toBe(
        TransferResult.DONE,
      );
      expect(alone(step)).toBe(TransferResult.NOT_HELD);
      expect(alone(steps.acceptTransfer(here, next, other.member, senderWord(other)))).toBe(TransferResult.DONE);
      expect(alone(giveBack(world, 1, next))).toBe(true);
      lateSteps++;
    }
    // Also between its look at its own hold and the word.
    expect(lateSteps).toBeGreaterThan(3);
  });
});

describe("a sender word", () => {
  const pair = (): { world: World; id: number; there: Core; at: number } => {
    const world = new World({ count: 1, threads: 3 });
    const there = world.cores[1]!;
    return { world, id: alone(world.take(0)), there, at: senderAt(there, 0, 1) };
  };

  it("that says anything ends no hold that was taken over, and nobody else's", () => {
    for (const count of [1, 2000]) {
      const world = new World({ count, threads: 20 - 1 });
      const [near, there] = [world.cores[0]!, world.cores[1]!];
      const [id, own] = [alone(world.take(0)), alone(world.take(1))];
      const words = [0, -1, 2 ** 31 - 1, -(2 ** 31), senderWord(near), senderWord(there)];
      for (const word of words) {
        for (const index of [id, own].filter((lease) => lease >= 0).map((lease) => lease & near.indexMask)) {
          world.i32[senderAt(there, index, 1)] = word;
          expect(alone(steps.dropLost(there, index, word))).toBe(false);
        }
      }
      expect(alone(giveBack(world, 0, id))).toBe(true);
      if (own >= 0) expect(alone(giveBack(world, 1, own))).toBe(true);
    }
  });

  it("is of one membership: the next member in that place ends nothing that the last one sent", () => {
    const { world, id, there, at } = pair();
    const [near] = world.cores as [Core];
    expect(alone(steps.prepareTransfer(near, id, 1, there.status))).toBe(TransferResult.DONE);
    expect(alone(steps.commitTransfer(near, id, 1, there.status, senderWord(near)))).toBe(TransferResult.DONE);
    alone(steps.leave(near));
    const next = alone(steps.claimMembership(world.i32, world.layout, MemberState.LIVE))!;
    expect(next.member).toBe(near.member);
    expect(alone(steps.dropLost(there, 0, senderWord(next)))).toBe(false);
    expect(world.i32[at]).toBe(senderWord(near));
    expect(alone(steps.acceptTransfer(there, id, near.member, senderWord(near)))).toBe(TransferResult.DONE);
  });

  it("each slot and each member has one of its own, in no other's words, for every shape", () => {
    for (const [count, threads] of [
      [3, 1],
      [1024, 11],
      [1024, 12],
      [1024, 19],
      [1025, 11],
      [3000, 19],
    ] as const) {
      const { layout } = new World({ count, threads });
      const taken = new Set<number>();
      const take = (at: number): void => {
        if (taken.has(at)) throw new Error(`word ${at} has two meanings`);
        taken.add(at);
      };
      const isSpread = count <= 1024;
      for (let index = 0; index < count; index++) {
        const at = layout.statesAt + (index << layout.stateShift);
        for (let word = 0; word < (isSpread ? 4 : 2); word++) take(at + word);
        for (let to = 0; to < layout.members; to++) take(senderAt(layout as unknown as Core, index, to));
      }
      expect(Math.min(...taken)).toBe(layout.statesAt);
      expect(Math.max(...taken)).toBeLessThan(layout.slotsAt / 4);
    }
  });
});
