/**
 * The state of a pool, from the memory that it is made in to the next pool there; and who may be at its words.
 *
 * Life-cycle of a pool, which is one word of its header:
 * ```
 *   NONE --is written--> LIVE --retire--> RETIRING --the last lease ends--> DEAD --take the memory--> MAKING
 *                         |                   |                               |                          |
 *                         +------ close ------+-------------------------------+       LIVE <--is written-+
 * ```
 * A pool is open while it is LIVE: slots are given out. It is alive while it is LIVE or RETIRING: leases are good. A
 * close marks every slot; the holders' bits stay, and say who had leases.
 *
 * Invariant. Nobody is at the words of a pool that is not there any more. A memory is given to another pool only when
 * the last one is closed, no member is LIVE or LEAVING, and nobody clears a slot ({@link takeMemory}). A member of a
 * pool that was closed is LIVE until its own thread gives that up between two operations ({@link leaveEnded}), or
 * another one says that it has ended (`endMember` in reclaim.ts). Who is no member counts itself in ({@link visit})
 * before it looks, and out after.
 *
 * Complexity: O(1) to visit or to look at the state, O(members) to take a memory, O(count) to close or to retire, and
 * to look at what a pool that is over left.
 */
import { ALL_WAITERS, type Core, closeFree, depart, NONE, stateAt, wake } from "./core.ts";
import {
  DEAD_SLOT,
  Header,
  LAYOUT_VERSION,
  LINE,
  MAGIC,
  MAKING_MAGIC,
  MAX_MEMBERS,
  MemberState,
  MemberWord,
  PoolState,
  RETIRING,
} from "./layout.ts";

/** Why a memory gets no other pool: see {@link takeMemory}. */
export const Occupied = { CLEARING: 100, VISITED: 200, MAKING: 201, RUNNING: 202 } as const;

/**
 * Claims a memory for the thread that writes a pool into it; of any number of threads one succeeds: {@link NONE}. What
 * comes out else says why not, and nothing has changed then: the number of a member that may be inside an operation,
 * `Occupied.CLEARING` plus that of one that clears a slot, or another of {@link Occupied}.
 *
 * Where no pool has been, the claim is one step on the first word, whatever is there: no step that expects another
 * value than {@link MAGIC} there meets a pool. Where one has been it is one step on its state, and the mark comes
 * before the looks, so that one who attaches, or closes the pool after it left, either is seen here or sees the mark. A
 * reservation is nobody's: what would make it live is such a visit. `end`: words of the memory.
 */
export function takeMemory(i32: Int32Array, end: number): number {
  const magic = Atomics.load(i32, Header.MAGIC);
  if (magic !== MAGIC) {
    if (magic === MAKING_MAGIC) return Occupied.MAKING;
    return Atomics.compareExchange(i32, Header.MAGIC, magic, MAKING_MAGIC) === magic ? NONE : Occupied.MAKING;
  }
  const was = Atomics.load(i32, Header.STATE);
  if (was === PoolState.LIVE || was === PoolState.RETIRING) return Occupied.RUNNING;
  if (was === PoolState.MAKING || Atomics.compareExchange(i32, Header.STATE, was, PoolState.MAKING) !== was)
    return Occupied.MAKING;
  // The members of a pool of another version are elsewhere.
  if (i32[Header.VERSION] !== LAYOUT_VERSION) return NONE;
  let found: number = Atomics.load(i32, Header.VISITORS) === 0 ? NONE : Occupied.VISITED;
  const members = Math.min(i32[Header.MEMBERS]!, MAX_MEMBERS, (end - Header.END) / LINE);
  for (let member = 0; found === NONE && member < members; member++) {
    const state = Atomics.load(i32, Header.END + member * LINE + MemberWord.STATUS) & MemberState.MASK;
    if (state === MemberState.LIVE || state === MemberState.LEAVING) found = member;
  }
  for (let member = 0; found === NONE && member < MAX_MEMBERS; member++) {
    if (Atomics.load(i32, Header.CLEARING + member * LINE) !== 0) found = Occupied.CLEARING + member;
  }
  if (found !== NONE) Atomics.compareExchange(i32, Header.STATE, PoolState.MAKING, was);
  return found;
}

/**
 * Counts in a thread that is not a member of the pool with that number, for some steps at its words. True: it is the
 * pool in this memory, and stays that until {@link endVisit}.
 */
export function visit(i32: Int32Array, pool: number): boolean {
  Atomics.add(i32, Header.VISITORS, 1);
  // After that step: `takeMemory` marks the pool first and counts then.
  const state = Atomics.load(i32, Header.STATE);
  if (state !== PoolState.MAKING && i32[Header.POOL] === pool) return true;
  endVisit(i32);
  return false;
}

/** Counts a thread out that {@link visit} counted in. */
export function endVisit(i32: Int32Array): void {
  Atomics.sub(i32, Header.VISITORS, 1);
}

/** Whether leases are good: the pool is live or retires, and is still the one in this memory. */
export function isAlive(core: Core): boolean {
  const { i32 } = core;
  const state = Atomics.load(i32, Header.STATE);
  return (state === PoolState.LIVE || state === PoolState.RETIRING) && i32[Header.POOL] === core.pool;
}

/** Whether slots are given out. */
export function isOpen(core: Core): boolean {
  const { i32 } = core;
  return Atomics.load(i32, Header.STATE) === PoolState.LIVE && i32[Header.POOL] === core.pool;
}

/**
 * Ends the pool with its last lease: no slot is given out from now on. The bit sends each last release to {@link wake},
 * which closes what came free, and the pool with the last slot. Returns how many slots are held. Nothing happens in a
 * pool that retires or is closed.
 */
export function retirePool(core: Core): number {
  const { i32 } = core;
  if (Atomics.compareExchange(i32, Header.STATE, PoolState.LIVE, PoolState.RETIRING) !== PoolState.LIVE) return 0;
  // First this: a slot that is released after the pass has looked at it meets the bit.
  Atomics.or(i32, Header.WAITING, RETIRING);
  const held = closeFree(core);
  wake(core, ALL_WAITERS);
  return held;
}

/**
 * Whether a pool that is over ended with its last lease, after {@link retirePool}: then nobody holds a slot. A close by
 * force leaves the holders' bits. False where another pool is in this memory by now. O(count).
 */
export function hasRetired(core: Core): boolean {
  const { i32, pool } = core;
  if (!visit(i32, pool)) return false;
  let isWhole = (Atomics.load(i32, Header.WAITING) & RETIRING) !== 0;
  for (let index = 0; isWhole && index < core.count; index++)
    isWhole = (Atomics.load(i32, stateAt(core, index)) & core.holderMask) === 0;
  endVisit(i32);
  return isWhole;
}

/**
 * Ends the pool: every lease is over, no slot is free; and this thread's part in it. Returns how many slots were held.
 */
export function closePool(core: Core): number {
  const { i32 } = core;
  const isMember = Atomics.load(i32, core.statusAt) === core.status;
  if (!isMember && !visit(i32, core.pool)) return 0;
  Atomics.store(i32, Header.STATE, PoolState.DEAD);
  let held = 0;
  for (let index = 0; index < core.count; index++) {
    const state = Atomics.or(i32, stateAt(core, index), DEAD_SLOT);
    if ((state & DEAD_SLOT) === 0 && (state & core.holderMask) !== 0) held++;
  }
  if (isMember) leaveEnded(core);
  else endVisit(i32);
  wake(core, ALL_WAITERS);
  return held;
}

/**
 * Gives up this thread's membership in a pool that has ended. Only between two operations of this thread: from now on
 * the memory may get another pool.
 */
export function leaveEnded(core: Core): void {
  const { i32, status, statusAt } = core;
  depart(core);
  if (statusAt === core.statusAt || Atomics.load(i32, statusAt) !== status) return;
  Atomics.and(i32, Header.WAITING, ~core.me);
  Atomics.compareExchange(i32, statusAt, status, status & ~MemberState.MASK);
}

/** Whether this thread had leases of a pool when that was closed by force: it may be at their bytes still. O(count). */
export function hadLeases(core: Core): boolean {
  const { i32, pool, me } = core;
  if (!visit(i32, pool)) return false;
  let had = false;
  for (let index = 0; !had && index < core.count; index++) had = (Atomics.load(i32, stateAt(core, index)) & me) !== 0;
  endVisit(i32);
  return had;
}
