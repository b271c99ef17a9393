/** The errors of a SharedPool: slow paths that find out what went wrong, and say it. */

import { MillpondError } from "../../util/errors.ts";
import { show } from "../../util/validate.ts";
import * as common from "../common/lease-errors.ts";
import type { SharedHolder } from "./attach.ts";
import { type Core, holds, isCurrent, isLease, isLocalHolder, isPinned, stateAt } from "./core.ts";
import { DEAD_SLOT, Header, MemberState } from "./layout.ts";
import { statusOf } from "./member-status.ts";
import { isAlive, isOpen } from "./pool-state.ts";

/** A pool, as far as messages need it. */
interface Named {
  /** The pool's name. */
  readonly name: string;
  /** This thread's view of it. */
  readonly core: Core;
}

/**
 * The error for a lease that cannot be given back, used, held on to or sent. `isPast`: this thread's hold is over that
 * the lease object is of, whatever the lease itself is.
 */
export function leaseError({ name, core }: Named, id: unknown, verb: string, isPast = false): MillpondError {
  // Once the pool has ended, the memory may be another one's, and says nothing about a number.
  if (!isAlive(core) && Number.isSafeInteger(id) && (id as number) > 0 && !isIdentity(core, id)) {
    return common.closedError(words(name), `${verb} lease ${show(id)} of`, "closed");
  }
  // A generation that the slot has not reached was never handed out.
  // In a pool that is over, the words may be gone too: a process that left reads zeros.
  const isAhead =
    isIdentity(core, id) && isAlive(core) && generationOf(core, id) > currentGeneration(core, id & core.indexMask);
  if (!isIdentity(core, id) || isAhead) {
    const remedy =
      typeof id === "object" ? `${verb} a lease by its number, lease.id` : `${verb} what it handed out, unchanged`;
    return common.foreignError(words(name), `lease ${show(id)}`, remedy);
  }
  const index = id & core.indexMask;
  const generation = generationOf(core, id);
  const lease = `lease ${generation} of slot ${index} of shared pool "${name}"`;
  const state = Atomics.load(core.i32, stateAt(core, index));
  const details = {
    pool: name,
    slot: index,
    generation,
    current: currentGeneration(core, index),
    holders: holdersOf(core, state),
  };
  // Only where this process has ended its mapping.
  if (core.i32[Header.POOL] === 0) {
    const text = `cannot ${verb} ${lease}: this process takes part in the pool no more, it left, or the pool has ended`;
    return new MillpondError("ERR_POOL_DEAD", `${text}; attach anew, or make a new pool`, details);
  }
  if ((state & DEAD_SLOT) !== 0 || !isAlive(core)) {
    return new MillpondError("ERR_POOL_DEAD", `cannot ${verb} ${lease}: the pool was closed; make a new one`, details);
  }
  if (isEvicted(core)) return evictedError({ name, core }, `${verb} ${lease}`);
  if (isPast && holds(core, state, id) && isCurrent(core, index, id)) {
    const now = "it has come back since, as another lease object, which has its own release()";
    return common.overError(words(name), lease, verb, now, details);
  }
  if (isPinned(core, index) && isLocalHolder(core, index, id)) {
    return new MillpondError(
      "ERR_FOREIGN_RELEASE",
      `cannot ${verb} ${lease}: it is held by a buffer, and only the buffer's release() ends that; ` +
        `retain() it first, and ${verb} that hold`,
      details,
    );
  }
  if (holds(core, state, id) && isLocalHolder(core, index, id)) return damagedError(name, lease, verb, details);
  const known = core.lastLease[index] === id || isLocalHolder(core, index, id);
  const over = !isLease(core, state, id) || !isCurrent(core, index, id);
  if (!over && verb === "retain" && !isPast) {
    return new MillpondError(
      "ERR_FOREIGN_RELEASE",
      `cannot retain ${lease}: another thread is sending it to this one (member ${core.member}); receive it, or try again`,
      details,
    );
  }
  if (!over && !known) {
    return new MillpondError(
      "ERR_FOREIGN_RELEASE",
      (state & core.me) !== 0
        ? `cannot ${verb} ${lease}: it is on its way to this thread (member ${core.member}); receive it first, or retain() it for a hold besides`
        : `cannot ${verb} ${lease}: this thread (member ${core.member}) does not hold it, ${sayHolders(core, state)}; ` +
            "retain() it first, or let its holder send it",
      details,
    );
  }
  const now = (state & core.holderMask) === 0 ? "the slot is free now" : sayHolders(core, state);
  return common.overError(words(name), lease, verb, now, details);
}

/** The error for a lease of another pool, and for what is no lease. */
export function otherPoolError({ name }: Named, lease: { readonly pool: unknown }, verb: string): MillpondError {
  const what = typeof lease.pool === "number" ? `a lease of pool ${lease.pool}` : show(lease);
  return common.foreignError(words(name), what, `${verb} what it handed out, unchanged`);
}

/** Whether a value can be the identity of a lease at all. No lease has 0, so that -0 is none either. */
export function isIdentity(core: Core, id: unknown): id is number {
  return typeof id === "number" && Number.isSafeInteger(id) && id > 0 && (id & core.indexMask) < core.count;
}

function generationOf(core: Core, id: number): number {
  return Math.floor(id / 2 ** core.indexBits);
}

function currentGeneration(core: Core, index: number): number {
  const at = stateAt(core, index);
  const low = (Atomics.load(core.i32, at) >>> core.memberBits) & core.generationMask;
  return (Atomics.load(core.i32, at + 1) & core.highMask) * (core.generationMask + 1) + low;
}

/** The error of a step that was tried some thousand times, each time in vain: threads of one pool do not do that. */
function damagedError(name: string, lease: string, verb: string, details: Record<string, unknown>): MillpondError {
  return new MillpondError(
    "ERR_CORRUPTED",
    `cannot ${verb} ${lease}: something writes into the control words of shared pool "${name}" without end; nothing has changed, ` +
      "find the thread or process that does",
    details,
  );
}

/** Whether this thread was declared dead. */
export function isEvicted(core: Core): boolean {
  return Atomics.load(core.i32, core.statusAt) !== core.status;
}

/** The error of a thread that was declared dead, or has left, and goes on. */
export function evictedError({ name, core }: Named, verb: string): MillpondError {
  return new MillpondError(
    "ERR_POOL_DEAD",
    `cannot ${verb}: this thread is member ${core.member} of shared pool "${name}" no more, it left or was reclaimed; ` +
      "attach anew, and call reclaim() only for threads that have ended",
    { pool: name, member: core.member },
  );
}

/** The error of a wait that would block a thread which must not. */
export function cannotBlock(name: string, cause: unknown): MillpondError {
  return new MillpondError(
    "ERR_UNSUPPORTED",
    `this thread must not block, so it cannot wait here for a slot of shared pool "${name}"; await acquire()`,
    undefined,
    { cause },
  );
}

/** The error of a call that a dead pool, or a dead member, refuses. */
export function refusal(named: Named, verb: string): MillpondError | undefined {
  if (!isAlive(named.core)) return common.closedError(words(named.name), verb, "closed");
  return isEvicted(named.core) ? evictedError(named, `${verb} it`) : undefined;
}

/** The error of a call that asks for a slot or a membership: also a pool that retires refuses it. */
export function acquireRefusal(named: Named, verb: string): MillpondError | undefined {
  const error = refusal(named, verb);
  return error === undefined && !isOpen(named.core) ? common.closedError(words(named.name), verb, "retired") : error;
}

/** A pool that can say who holds its slots. */
interface Held extends Named {
  holders(): readonly SharedHolder[];
}

/** A pool that can say who holds its first slots, and how many are held. */
interface Counted extends Named {
  firstHolders(most: number): { readonly list: readonly SharedHolder[]; readonly total: number };
}

/** A wait ends in a turn of an event loop: objects for a million holders would take 100 ms of it. */
const MAX_HOLDERS = 1024;

/** The error of a wait that ended without a slot: who has them. */
export function starvedError(pool: Counted, waited: number): MillpondError {
  const missing = `no slot of shared pool "${pool.name}" came back`;
  const remedy = "Release them sooner, or create the pool with a larger count";
  return common.starvedError(
    words(pool.name),
    missing,
    waited,
    { ...shownBy(pool), ...pool.firstHolders(MAX_HOLDERS) },
    remedy,
  );
}

/** The error of a close while slots are leased. */
export function inUseError(pool: Held): MillpondError {
  const remedy = "Wait for them, reclaim() members that have ended, or close({ force: true })";
  return common.inUseError(words(pool.name), "close", { ...shownBy(pool), list: pool.holders() }, remedy);
}

function words(name: string): common.PoolWords {
  return { kind: "shared pool", name, unit: "slot", over: "released or sent away" };
}

function shownBy({ core }: Named): Pick<common.Holders<SharedHolder>, "show"> {
  return {
    show: ({ slot, members }) => ({
      lease: `slot ${slot}`,
      note: members.map((member) => memberText(core, member)).join(", "),
    }),
  };
}

function memberText(core: Core, member: number): string {
  if (member === core.member) return `member ${member}: this thread`;
  const isLive = (statusOf(core, member) & MemberState.MASK) === MemberState.LIVE;
  return isLive ? `member ${member}` : `member ${member}: not live, reclaim() it`;
}

/** Numbers of the members in a state. */
export function holdersOf(core: Core, state: number): number[] {
  const members: number[] = [];
  for (let left = state & core.holderMask; left !== 0; left &= left - 1) members.push(31 - Math.clz32(left & -left));
  return members;
}

/** Adds the holders of a state to how many slots each member holds. */
export function countHolders(core: Core, state: number, holds: number[]): void {
  for (let left = state & core.holderMask; left !== 0; left &= left - 1) holds[31 - Math.clz32(left & -left)]!++;
}

function sayHolders(core: Core, state: number): string {
  const holders = holdersOf(core, state);
  return `held by member${holders.length === 1 ? "" : "s"} ${holders.join(", ")}`;
}
