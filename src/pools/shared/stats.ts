/** What a shared pool tells about itself, and the check of its invariants. Slow paths; other threads go on meanwhile. */
import { MillpondError } from "../../util/errors.ts";
import { type Core, holds, isCurrent, MANY, NOTHING, ownerWord, stateAt } from "./core.ts";
import { countHolders, holdersOf } from "./errors.ts";
import type { SharedOwnerStats, SharedPoolStats } from "./handle.ts";
import { DEAD_SLOT, Header, Owner, OwnerState } from "./layout.ts";
import { statusOf } from "./membership.ts";

const STATES = ["reserved", "live", "leaving", "dying"] as const;

/** A snapshot. O(count). */
export function readStats(core: Core): SharedPoolStats {
  const { i32, layout } = core;
  const counts = new Array<number>(layout.owners).fill(0);
  let free = 0;
  let held = 0;
  let heldByMany = 0;
  for (let index = 0; index < core.count; index++) {
    const state = Atomics.load(i32, stateAt(core, index));
    const holders = (state & DEAD_SLOT) === 0 ? state & core.holderMask : 0;
    if ((state & core.takenMask) === 0) free++;
    if (holders === 0) continue;
    held++;
    if ((holders & (holders - 1)) !== 0) heldByMany++;
    countHolders(core, holders, counts);
  }
  const waiting = Atomics.load(i32, Header.WAITING);
  const owners: SharedOwnerStats[] = [];
  for (let owner = 0; owner < layout.owners; owner++) {
    const status = statusOf(core, owner) & OwnerState.MASK;
    const state = status === OwnerState.SWEPT ? "dying" : STATES[status - 1];
    if (state === undefined && counts[owner] === 0) continue;
    const at = ownerWord(core, owner);
    owners.push({
      owner,
      self: owner === core.owner,
      state: state ?? "dying",
      holds: counts[owner]!,
      waiting: (waiting & (1 << owner)) !== 0,
      misses: i32[at + Owner.MISSES]!,
      waits: i32[at + Owner.WAITS]!,
    });
  }
  const { bytes, size, count } = layout;
  return {
    count,
    free,
    held,
    heldByMany,
    bytes,
    wastedBytes: bytes - size * count,
    reclaimed: Atomics.load(i32, Header.SWEPT),
    owners,
  };
}

/** Checks a pool at rest: what this thread believes to hold, and what the shared words say. Throws `ERR_CORRUPTED`. */
export function assertPool({ core, name }: { readonly core: Core; readonly name: string }): void {
  const fail = (what: string): never => {
    throw new MillpondError("ERR_CORRUPTED", `shared pool "${name}": ${what}`);
  };
  const { i32, layout } = core;
  let live = 0;
  for (let owner = 0; owner < layout.owners; owner++) {
    const status = statusOf(core, owner) & OwnerState.MASK;
    if (status > OwnerState.SWEPT) fail(`the seat of owner ${owner} has status ${status}`);
    if (status === OwnerState.RESERVED || status === OwnerState.LIVE) live |= 1 << owner;
  }
  for (let index = 0; index < core.count; index++) {
    const state = Atomics.load(i32, stateAt(core, index));
    if ((state & DEAD_SLOT) !== 0) continue;
    const holders = state & core.holderMask;
    if ((state & ~core.stateMask) !== 0) fail(`slot ${index} has bits that mean nothing: ${state}`);
    if ((holders & ~live) !== 0)
      fail(`slot ${index} is held by owners ${holdersOf(core, holders & ~live)}, who are gone`);
    const mine = core.mine[index]!;
    const many = mine !== NOTHING && mine < 0;
    const id = many ? MANY - mine : mine;
    const believed = mine !== NOTHING && holds(core, state, id) && isCurrent(core, index, id);
    if ((state & core.lastState) === core.lastState) fail(`slot ${index} is closed, and nobody is at it`);
    if (many && !believed) fail(`this thread counts holds of slot ${index}, which it does not hold`);
    if (many && core.extra[index]! < 1) fail(`this thread has a wrong count for slot ${index}`);
  }
  if ((Atomics.load(i32, Header.WAITING) & ~live) !== 0) fail("somebody waits who is gone");
}
