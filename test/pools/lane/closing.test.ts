// Shares its realm with other files: nothing that it changes outlives it.
/**
 * The closing handshake, walked through: two ends of a lane over a port whose messages come one by one, in every order
 * in which they and the calls of both sides can follow each other.
 */
import { describe, expect, it } from "vitest";
import { type Carrier, Lane, type LanePort } from "../../../src/pools/lane/lane.ts";
import { endUsers } from "../../../src/pools/lane/liveness.ts";

type Side = 0 | 1;
type Call = "send" | "send unreadable" | "close" | "leave" | "leave by force";
type Step = readonly ["call" | "deliver" | "die", Side];

const END = Symbol("the port's end");

/** Two ports in one thread; a message comes when the test says so. */
class Wire {
  readonly queues: readonly [unknown[], unknown[]] = [[], []];
  readonly ports: readonly [LanePort, LanePort] = [this.#port(0), this.#port(1)];
  readonly #closers: readonly [(() => void)[], (() => void)[]] = [[], []];
  readonly #isClosed: [boolean, boolean] = [false, false];

  #port(side: Side): LanePort {
    const peer = (1 - side) as Side;
    return {
      onmessage: null,
      onmessageerror: null,
      postMessage: (message) => {
        if (!this.#isClosed[side]) this.queues[peer].push(message);
      },
      addEventListener: (_, listener) => this.#closers[side].push(listener),
      close: () => this.close(side),
    };
  }

  close(side: Side): void {
    if (this.#isClosed[side]) return;
    this.#isClosed[side] = true;
    this.queues[side].length = 0;
    this.queues[(1 - side) as Side].push(END);
  }

  isClosed(side: Side): boolean {
    return this.#isClosed[side];
  }

  deliver(side: Side): void {
    const message = this.queues[side].shift();
    if (this.#isClosed[side]) return;
    const port = this.ports[side];
    if (message === END) {
      this.#isClosed[side] = true;
      this.queues[side].length = 0;
      for (const closer of this.#closers[side]) closer();
    } else if (Array.isArray(message) && message[2] === "unreadable") port.onmessageerror?.({} as never);
    else port.onmessage?.({ data: message });
  }
}

/** Both ends and what they hold; who a lease belongs to is known as in shared memory, whatever messages say. */
class World {
  readonly wire: Wire = new Wire();
  readonly holders: (Side | "free")[] = [];
  /** Sides that were told that nobody answers them any more. */
  readonly untold: Set<Side> = new Set();
  readonly lanes: readonly [Lane<string>, Lane<string>];
  readonly hasClosed: [boolean, boolean] = [false, false];
  readonly dead: Set<Side> = new Set();
  readonly hasLeft: Set<Side> = new Set();
  readonly #pools: object[] = [];

  constructor() {
    this.lanes = [this.#lane(0), this.#lane(1)];
  }

  #lane(side: Side): Lane<string> {
    const pool = { name: "frames", release: ({ id }: { id: number }) => this.#free(id, side) };
    this.#pools[side] = pool;
    const carrier: Carrier = {
      pool: pool as never,
      lossNote: "",
      send: ({ id }, post) => {
        post(id);
        this.holders[id] = (1 - side) as Side;
      },
      receive: (id) => ({ id, release: () => this.#free(id as number, side) }) as never,
      control: () => undefined,
      isPoolClosed: () => true,
      unread() {},
      unreadable: (id) => {
        if (id === undefined) this.untold.add(side);
        else this.#free(id, side);
      },
      ended() {},
    };
    return new Lane<string>(this.wire.ports[side], carrier, { window: 4 });
  }

  #free(id: number, side: Side): void {
    if (this.holders[id] !== side) expect.fail(`lease ${id} of ${String(this.holders[id])} is given back by ${side}`);
    this.holders[id] = "free";
  }

  call(side: Side, call: Call): void {
    const lane = this.lanes[side];
    if (call === "close") {
      void lane.close().then(() => {
        this.hasClosed[side] = true;
      });
    } else if (call === "leave by force" || call === "leave") {
      // Refused where something is held.
      if (call === "leave" && this.holders.includes(side)) return;
      for (const [id, holder] of this.holders.entries()) if (holder === side) this.holders[id] = "free";
      this.hasLeft.add(side);
      endUsers(this.#pools[side]!, () => new Error("left"), call === "leave" ? "closed" : "left");
    } else if (lane.isOpen) {
      const id = this.holders.push(side) - 1;
      expect(lane.trySend({ id } as never, call === "send" ? "good" : "unreadable")).toBe(true);
    }
  }

  die(side: Side): void {
    this.dead.add(side);
    this.wire.close(side);
    for (const [id, holder] of this.holders.entries()) if (holder === side) this.holders[id] = "free";
  }

  /** Takes and gives back whatever has come. */
  drain(side: Side): void {
    for (;;) {
      try {
        const delivery = this.lanes[side].tryReceive();
        if (delivery === undefined) return;
        delivery.lease.release();
      } catch (error) {
        expect(error).toMatchObject({ code: "ERR_BAD_DATA" });
      }
    }
  }
}

const isSame = (a: Step, b: Step): boolean => a[0] === b[0] && a[1] === b[1];

/** Takes the steps; answers what can follow, or nothing where all is said. */
function walk(world: World, calls: readonly [Call[], Call[]], steps: readonly Step[]): Step[] {
  const left: readonly [Call[], Call[]] = [[...calls[0]], [...calls[1]]];
  for (const [what, side] of steps) {
    if (what === "call") world.call(side, left[side].shift()!);
    else if (what === "deliver") world.wire.deliver(side);
    else world.die(side);
  }
  const next: Step[] = [];
  for (const side of [0, 1] as const) {
    if (world.dead.has(side)) continue;
    if (left[side].length > 0) next.push(["call", side]);
    if (world.wire.queues[side].length > 0) next.push(["deliver", side]);
  }
  return next;
}

/**
 * Every order, with one side dead after each step where `mayDie`; `judge` sees each at its end. Answers how many. Of
 * orders that differ only in which of two sides was first with what the other does not see, one is walked (sleep sets:
 * Godefroid, Partial-Order Methods, 1996).
 */
async function everyOrder(
  calls: readonly [Call[], Call[]],
  mayDie: boolean,
  judge: (world: World) => Promise<string[]>,
): Promise<number> {
  let count = 0;
  const open: { steps: Step[]; asleep: Step[] }[] = [{ steps: [], asleep: [] }];
  for (let one = open.pop(); one !== undefined; one = open.pop()) {
    const { steps } = one;
    const world = new World();
    const next = walk(world, calls, steps);
    const deaths: Step[] =
      mayDie && world.dead.size === 0 && next.length > 0
        ? [
            ["die", 0],
            ["die", 1],
          ]
        : [];
    const asleep = [...one.asleep];
    for (const step of [...next, ...deaths]) {
      if (asleep.some((other) => isSame(other, step))) continue;
      const isDeath = step[0] === "die";
      open.push({
        steps: [...steps, step],
        asleep: isDeath ? [] : asleep.filter(([what, side]) => what !== "die" && side !== step[1]),
      });
      asleep.push(step);
    }
    if (next.length > 0) continue;
    count++;
    const wrong = await judge(world);
    if (wrong.length > 0) expect.fail(`${wrong.join("; ")}, after ${steps.map((step) => step.join(" ")).join(", ")}`);
  }
  return count;
}

it("an end that the other side has ended releases at its close() what came and was not taken", async () => {
  for (const end of ["close", "die"] as const) {
    const world = new World();
    world.call(0, "send");
    if (end === "close") world.call(0, "close");
    while (world.wire.queues[1].length > 0) world.wire.deliver(1);
    while (world.wire.queues[0].length > 0) world.wire.deliver(0);
    if (end === "die") world.die(0);
    while (world.wire.queues[1].length > 0) world.wire.deliver(1);
    expect([world.wire.isClosed(1), world.holders]).toEqual([true, [1]]);
    await world.lanes[1].close();
    expect([world.holders, world.lanes[1].tryReceive()]).toEqual([["free"], undefined]);
  }
});

describe("two ends of a lane, in every order of their calls and messages", () => {
  const cases: readonly (readonly [string, Call[], Call[]])[] = [
    ["the sender closes behind what cannot be read, and the other side too", ["send unreadable", "close"], ["close"]],
    ["the sender closes, and the other side is left to the lane", ["send", "send unreadable", "close"], []],
    ["the receiver closes", ["send unreadable", "send"], ["close"]],
    ["both send what cannot be read, and both close", ["send unreadable", "close"], ["send unreadable", "close"]],
    ["both send and close", ["send", "close"], ["send unreadable", "close"]],
    ["two that cannot be read are under way", ["send unreadable", "send unreadable", "close"], ["close"]],
  ];

  it.each(cases)("%s: both end, and each lease is where it belongs", async (_, ...calls) => {
    const count = await everyOrder(calls, false, async (world) => {
      await undefined;
      await undefined;
      const wrong: string[] = [];
      for (const side of [0, 1] as const) {
        world.drain(side);
        if (!world.wire.isClosed(side)) wrong.push(`side ${side} has not ended`);
        if (calls[side].includes("close") && !world.hasClosed[side]) wrong.push(`close() of ${side} has not ended`);
        if (world.untold.has(side)) wrong.push(`side ${side} was not answered`);
      }
      if (world.holders.some((holder) => holder !== "free")) wrong.push(`held: ${world.holders.join()}`);
      return wrong;
    });
    expect(count).toBeGreaterThan(0);
  });

  const deaths: readonly (readonly [string, Call[], Call[]])[] = [
    ["one sends what cannot be read, both close", ["send unreadable", "close"], ["close"]],
    ["one sends and the other closes", ["send"], ["close"]],
    ["both send, one closes", ["send unreadable"], ["send unreadable", "close"]],
  ];

  it.each(deaths)("%s, and one dies at any moment: the other side ends", async (_, ...calls) => {
    const count = await everyOrder(calls, true, async (world) => {
      await undefined;
      await undefined;
      const wrong: string[] = [];
      for (const side of [0, 1] as const) {
        if (world.dead.has(side)) continue;
        world.drain(side);
        const mustEnd = world.dead.size > 0 || calls[side].includes("close");
        if (mustEnd && !world.wire.isClosed(side)) wrong.push(`side ${side} has not ended`);
        // The carrier knows that there may be one.
        if (world.holders.includes(side) && !world.untold.has(side)) wrong.push(`side ${side} has what nobody told of`);
      }
      return wrong;
    });
    expect(count).toBeGreaterThan(0);
  });

  const leaves: readonly (readonly [string, Call[], Call[]])[] = [
    ["the sender of what cannot be read leaves the pool", ["send unreadable", "leave"], ["close"]],
    ["both send, one leaves the pool", ["send", "leave"], ["send unreadable", "close"]],
    ["one closes and leaves the pool", ["send unreadable", "close", "leave"], ["send"]],
    ["one leaves the pool by force", ["send unreadable", "leave by force"], ["send unreadable", "close"]],
    ["both leave the pool by force", ["send", "leave by force"], ["send", "leave by force"]],
  ];

  it.each(leaves)("%s: who is left ends, and knows that there may be more", async (_, ...calls) => {
    const count = await everyOrder(calls, false, async (world) => {
      await undefined;
      await undefined;
      const wrong: string[] = [];
      for (const side of [0, 1] as const) {
        if (!world.hasLeft.has(side)) world.drain(side);
        const mustEnd = world.hasLeft.size > 0 || calls[side].includes("close");
        if (mustEnd && !world.wire.isClosed(side)) wrong.push(`side ${side} has not ended`);
        const peer = (1 - side) as Side;
        // Who leaves by force has what is sent to it reclaimed by the others.
        if (world.hasLeft.has(side)) continue;
        if (world.holders.includes(side) && !world.untold.has(side)) wrong.push(`side ${side} has what nobody told of`);
        if (world.untold.has(side) && !world.hasLeft.has(peer)) wrong.push(`side ${side} was not answered`);
      }
      return wrong;
    });
    expect(count).toBeGreaterThan(0);
  });
});
