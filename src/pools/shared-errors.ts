/** The errors of a SharedPool: slow paths that find out what went wrong, and say it. */
import { show } from "../observe/arguments.ts";
import { MillpondError } from "../observe/errors.ts";
import { type Core, MANY, stateAt } from "./shared-core.ts";
import { DEAD_SLOT, OwnerState } from "./shared-layout.ts";
import { isAlive, statusOf } from "./shared-owners.ts";

/** A pool, as far as messages need it. */
export interface Named {
  /** The pool's name. */
  readonly name: string;
  /** This thread's view of it. */
  readonly core: Core;
}

/** The error for a lease that cannot be given back, used, held on to or sent. */
export function leaseError({ name, core }: Named, id: unknown, verb: string): MillpondError {
  if (
    typeof id !== "number" ||
    !Number.isInteger(id) ||
    id < 0 ||
    Object.is(id, -0) ||
    id >= 2 ** 30 ||
    (id & core.indexMask) >= core.count
  ) {
    return new MillpondError(
      "ERR_FOREIGN_RELEASE",
      `${show(id)} is no lease of shared pool "${name}"; ${verb} what it handed out, unchanged`,
    );
  }
  const index = id & core.indexMask;
  const generation = id >>> core.indexBits;
  const lease = `lease ${generation} of slot ${index} of shared pool "${name}"`;
  const state = Atomics.load(core.i32, stateAt(core, index));
  const details = {
    pool: name,
    slot: index,
    generation,
    current: state >>> core.ownerBits,
    holders: holdersOf(core, state),
  };
  if ((state & DEAD_SLOT) !== 0 || !isAlive(core)) {
    return new MillpondError(
      "ERR_POOL_DEAD",
      `cannot ${verb} ${lease}: the pool was destroyed; make a new one`,
      details,
    );
  }
  if (isGhost(core)) return ghostError({ name, core }, `${verb} ${lease}`);
  const known = core.gone[index] === id || core.mine[index] === id || core.mine[index] === MANY - id;
  const over = state >>> core.ownerBits !== generation || (state & core.takenMask) === 0;
  if (!over && !known) {
    return new MillpondError(
      "ERR_FOREIGN_RELEASE",
      `cannot ${verb} ${lease}: this thread (owner ${core.owner}) does not hold it, ${sayHolders(core, state)}; ` +
        "retain() it first, or let its holder send it",
      details,
    );
  }
  const now = (state & core.takenMask) === 0 ? "the slot is free now" : sayHolders(core, state);
  if (verb === "release") {
    return new MillpondError(
      "ERR_DOUBLE_RELEASE",
      `${lease} was released or sent away before; ${now}. Find the second release(), or retain() once for each holder`,
      details,
    );
  }
  return new MillpondError(
    "ERR_USE_AFTER_RELEASE",
    `cannot ${verb} ${lease}: it was released or sent away; ${now}. Use it before, or retain() it`,
    details,
  );
}

/** Whether this thread was declared dead. */
export function isGhost(core: Core): boolean {
  return statusOf(core, core.owner) !== core.status;
}

/** The error of a thread that was declared dead, or has detached itself, and goes on. */
export function ghostError({ name, core }: Named, verb: string): MillpondError {
  return new MillpondError(
    "ERR_POOL_DEAD",
    `cannot ${verb}: this thread is owner ${core.owner} of shared pool "${name}" no more, it detached or was reclaimed; ` +
      "attach anew, and call reclaim() only for threads that have ended",
    { pool: name, owner: core.owner },
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

/** The error of a call that a dead pool, or a dead owner, refuses. */
export function refusal(named: Named, verb: string): MillpondError | undefined {
  if (!isAlive(named.core)) {
    return new MillpondError(
      "ERR_POOL_DEAD",
      `cannot ${verb} shared pool "${named.name}": it was destroyed; make a new one`,
    );
  }
  return isGhost(named.core) ? ghostError(named, `${verb} it`) : undefined;
}

/** The error of a wait that ended without a slot: who has them. */
export function starvedError({ name, core }: Named, waited: number): MillpondError {
  const holds = new Map<number, number>();
  for (let index = 0; index < core.count; index++) {
    for (const owner of holdersOf(core, Atomics.load(core.i32, stateAt(core, index)))) {
      holds.set(owner, (holds.get(owner) ?? 0) + 1);
    }
  }
  const who = [...holds].map(([owner, slots]) => {
    const state = statusOf(core, owner) & OwnerState.MASK;
    const what = owner === core.owner ? " (this thread)" : state === OwnerState.LIVE ? "" : " (not live: reclaim() it)";
    return `owner ${owner}${what} ${slots}`;
  });
  return new MillpondError(
    "ERR_STARVED",
    `no slot of shared pool "${name}" came back within ${Math.round(waited)} ms: of ${core.count}, ${who.join(", ")}; ` +
      "release them sooner, or create the pool with a larger count",
    { pool: name, waited, holders: Object.fromEntries(holds) },
  );
}

/** Numbers of the owners in a state. */
export function holdersOf(core: Core, state: number): number[] {
  const owners: number[] = [];
  for (let owner = 0; owner < core.ownerBits; owner++) if ((state & (1 << owner)) !== 0) owners.push(owner);
  return owners;
}

function sayHolders(core: Core, state: number): string {
  const holders = holdersOf(core, state);
  return `held by owner${holders.length === 1 ? "" : "s"} ${holders.join(", ")}`;
}
