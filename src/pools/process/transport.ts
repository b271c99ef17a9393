/**
 * Carries leases of a pool between processes: the slot stays where it is, and its member's bit moves, as between
 * threads. What is different is that a message can be lost: a killed process takes with it what it had written and the
 * kernel had not. The lease may be this process's by then, unknown to it. When a peer is gone, such leases are found
 * and given back.
 */
import type { Carrier, Lane } from "../lane/lane.ts";
import { sharedCarrier } from "../lane/shared-transport.ts";
import { isLease, isLocalHolder, leaseOf, stateAt } from "../shared/core.ts";
import type { Membership } from "../shared/membership.ts";
import type { ProcessPool } from "./process-pool.ts";

/**
 * One second: a message between threads of this process, which cannot be asked whether it is under way, is here by
 * then.
 */
const GRACE_MS = 1000;

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
  const inner = sharedCarrier(pool, peer, () => {});
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
  const suspects = unknownLeases(pool);
  if (suspects.length === 0) return 0;
  await Promise.all([pause(GRACE_MS), ...[...open].map((lane) => answered(lane, open))]);
  if (pool.isOver) return 0;
  let given = 0;
  const still = new Set(unknownLeases(pool));
  for (const id of suspects) {
    if (!still.has(id)) continue;
    // To join a lease that is on its way here is to take it in.
    pool.retainId(id);
    pool.releaseId(id);
    given++;
  }
  return given;
}

/** Leases that have this thread's bit, and that it does not know. */
export function unknownLeases(pool: ProcessPool): number[] {
  const { core } = pool;
  const found: number[] = [];
  for (let index = 0; index < core.count; index++) {
    const state = Atomics.load(core.i32, stateAt(core, index));
    const id = leaseOf(core, index, state);
    if ((state & core.me) !== 0 && isLease(core, state, id) && !isLocalHolder(core, index, id)) found.push(id);
  }
  return found;
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
