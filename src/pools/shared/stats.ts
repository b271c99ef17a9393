/**
 * What a shared pool tells about itself, and the check of its invariants. Slow paths; other threads go on meanwhile.
 */
import { MillpondError } from "../../util/errors.ts";
import type { SharedHolder, SharedMemberStats, SharedPoolStats } from "./attach.ts";
import { type Core, holds, isCurrent, leaseOf, MANY, memberAt, NOTHING, stateAt } from "./core.ts";
import { countHolders, holdersOf } from "./errors.ts";
import { DEAD_SLOT, Header, MemberState, MemberWord, RETIRING } from "./layout.ts";
import { statusOf } from "./membership.ts";

const STATES = ["reserved", "live", "leaving", "reclaiming"] as const;

/** A snapshot. O(count). */
export function readStats(core: Core): SharedPoolStats {
  const { i32, layout } = core;
  const counts = new Array<number>(layout.members).fill(0);
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
  const members: SharedMemberStats[] = [];
  for (let member = 0; member < layout.members; member++) {
    const status = statusOf(core, member) & MemberState.MASK;
    const state = status === MemberState.RECLAIMED ? "reclaiming" : STATES[status - 1];
    if (state === undefined && counts[member] === 0) continue;
    const at = memberAt(core, member);
    members.push({
      member,
      self: member === core.member,
      state: state ?? "reclaiming",
      holds: counts[member]!,
      waiting: (waiting & (1 << member)) !== 0,
      misses: i32[at + MemberWord.MISSES]!,
      waits: i32[at + MemberWord.WAITS]!,
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
    reclaimed: Atomics.load(i32, Header.RECLAIMED),
    members,
  };
}

/** Who has each slot that is held. O(count). */
export function readHolders(core: Core): SharedHolder[] {
  const holders: SharedHolder[] = [];
  for (let slot = 0; slot < core.count; slot++) {
    const state = Atomics.load(core.i32, stateAt(core, slot));
    if ((state & DEAD_SLOT) !== 0 || (state & core.holderMask) === 0) continue;
    holders.push({ slot, id: leaseOf(core, slot, state), members: holdersOf(core, state) });
  }
  return holders;
}

/** Checks a pool at rest: what this thread believes to hold, and what the shared words say. Throws `ERR_CORRUPTED`. */
export function validatePool({ core, name }: { readonly core: Core; readonly name: string }): void {
  const fail = (what: string): never => {
    throw new MillpondError("ERR_CORRUPTED", `shared pool "${name}": ${what}`);
  };
  const { i32, layout } = core;
  let live = 0;
  for (let member = 0; member < layout.members; member++) {
    const status = statusOf(core, member) & MemberState.MASK;
    if (status > MemberState.RECLAIMED) fail(`the membership of member ${member} has status ${status}`);
    if (status === MemberState.RESERVED || status === MemberState.LIVE) live |= 1 << member;
  }
  for (let index = 0; index < core.count; index++) {
    const state = Atomics.load(i32, stateAt(core, index));
    if ((state & DEAD_SLOT) !== 0) continue;
    const holders = state & core.holderMask;
    if ((state & ~core.stateMask) !== 0) fail(`slot ${index} has bits that mean nothing: ${state}`);
    if ((holders & ~live) !== 0)
      fail(`slot ${index} is held by members ${holdersOf(core, holders & ~live)}, who are gone`);
    const mine = core.localLease[index]!;
    const many = mine !== NOTHING && mine < 0;
    const id = many ? MANY - mine : mine;
    const believed = mine !== NOTHING && holds(core, state, id) && isCurrent(core, index, id);
    if ((state & core.lastState) === core.lastState) fail(`slot ${index} is closed, and nobody is at it`);
    if (many && !believed) fail(`this thread counts holds of slot ${index}, which it does not hold`);
    if (many && core.localRefs[index]! < 1) fail(`this thread has a wrong count for slot ${index}`);
  }
  if ((Atomics.load(i32, Header.WAITING) & ~(live | RETIRING)) !== 0) fail("somebody waits who is gone");
}
