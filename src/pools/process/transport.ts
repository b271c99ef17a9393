/**
 * Carries leases of a pool between processes: the slot stays where it is, and its member's bit moves, as between
 * threads. What is different is that a message can be lost: a killed process takes with it what it had written and the
 * kernel had not. The lease may be this process's by then, unknown to it. When a peer is gone, such leases are found
 * and given back.
 */

import { isMillpondError } from "../../util/errors.ts";
import type { Carrier, Lane } from "../lane/lane.ts";
import { sharedCarrier } from "../lane/shared-transport.ts";
import { isLease, isLocalHolder, leaseOf, stateAt } from "../shared/core.ts";
import { isOnTheWay, itemsOnTheWay } from "../shared/lease-ring.ts";
import type { Membership } from "../shared/membership.ts";
import type { ProcessPool } from "./process-pool.ts";

/**
 * One second: a message between threads of this process, which cannot be asked whether it is under way, is here by
 * then.
 */
const GRACE_MS = 1000;

/** A turn of the event loop spends so long on slots; the clock is read every 64 of them. */
const TURN_MS = 4;
const SLOTS_A_LOOK = 64;

/**
 * The lanes of a pool in this process. A peer that answers after another was lost has received every message that was
 * sent to it before.
 */
const lanes: WeakMap<ProcessPool, Set<Lane<unknown>>> = new WeakMap();
const answers: Map<string, () => void> = new Map();
let questions = 0;

/** A lane's carrier, and how it learns of its lane. */
interface ProcessCarrier extends Carrier {
  /** Called once the lane is made. */
  joined(lane: Lane<unknown>): void;
}

/** The carrier of this side; `peer` is the other process's membership, `ended` is called when the lane is over. */
export function processCarrier(pool: ProcessPool, peer: Membership, ended: (lost: boolean) => void): ProcessCarrier {
  const open = lanes.get(pool) ?? new Set<Lane<unknown>>();
  lanes.set(pool, open);
  let own: Lane<unknown> | undefined;
  // Whichever side it is: the looks for processes that have ended find the other one.
  const inner = sharedCarrier(pool, peer, true, () => {});
  return {
    ...inner,
    joined(lane) {
      own = lane;
      open.add(lane);
    },
    control(message, post) {
      const [what, question] = Array.isArray(message) ? (message as unknown[]) : [];
      if (what === "ask") post(["answer", question]);
      else if (what === "answer" && typeof question === "string") answers.get(question)?.();
    },
    ended(lost) {
      if (own !== undefined) open.delete(own);
      if (lost) void giveBackUnknown(pool, open);
      ended(lost);
    },
  };
}

/**
 * Gives back leases that were sent to this thread and that it will never get a message about. Answers how many there
 * were.
 */
export async function giveBackUnknown(pool: ProcessPool, open: ReadonlySet<Lane<unknown>>): Promise<number> {
  const suspects: number[] = [];
  await inTurns(pool, (index) => {
    const id = unknownLease(pool, index);
    if (id !== undefined) suspects.push(id);
  });
  if (suspects.length === 0) return 0;
  await Promise.all([pause(GRACE_MS), ...[...open].map((lane) => answered(lane, open))]);
  let given = 0;
  const unknown = new Set(suspects);
  // Those in a ring are known to the ring, and nothing else.
  const pushed = itemsOnTheWay(pool);
  await inTurns(pool, (index) => {
    const id = unknownLease(pool, index);
    if (id === undefined || !unknown.has(id) || isOnTheWay(pushed, id)) return;
    try {
      // To join a lease that is on its way here is to take it in.
      pool.retainId(id);
      pool.releaseId(id);
      given++;
    } catch (error) {
      // Another process may write into these words without end; what it has made of them is then no lease of ours.
      if (!isMillpondError(error)) throw error;
    }
  });
  return given;
}

/** Calls `look` for each slot, a few milliseconds in a turn of the event loop; ends early with the pool. */
async function inTurns(pool: ProcessPool, look: (index: number) => void): Promise<void> {
  let began = performance.now();
  for (let index = 0; index < pool.core.count; index++) {
    if (index % SLOTS_A_LOOK === 0 && performance.now() - began > TURN_MS) {
      await new Promise((resolve) => setImmediate(resolve));
      began = performance.now();
    }
    if (pool.isOver) return;
    look(index);
  }
}

/** The lease of a slot, if it has this thread's bit and this thread does not know it. */
export function unknownLease({ core }: ProcessPool, index: number): number | undefined {
  const state = Atomics.load(core.i32, stateAt(core, index));
  if ((state & core.me) === 0) return undefined;
  const id = leaseOf(core, index, state);
  return isLease(core, state, id) && !isLocalHolder(core, index, id) ? id : undefined;
}

/**
 * Resolves when that lane's other side has answered, after everything that it sent before; or when the lane is over.
 */
async function answered(lane: Lane<unknown>, open: ReadonlySet<Lane<unknown>>): Promise<void> {
  const question = `${process.pid}:${++questions}`;
  let heard = false;
  answers.set(question, () => {
    heard = true;
  });
  try {
    lane.control(["ask", question]);
    while (!heard && open.has(lane)) await pause(GRACE_MS / 20);
  } catch {
    // The other side is gone: nothing comes from there.
  } finally {
    answers.delete(question);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
