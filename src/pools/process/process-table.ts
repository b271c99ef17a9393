/**
 * Which process is which member of a pool that processes share: a table behind the pool's slots, in the same memory,
 * one row for each member. A row is one 64-bit word, and a member's place is only taken by the process that has its
 * row. So a process that is killed, at whatever instruction, leaves a row that names it. The next process that looks
 * finds the row, sees that the process has ended, and reclaims the member, whichever state it is in.
 *
 * ```
 *   | pool (layout.ts) | table header | row 0 | row 1 | ...        each on a line of its own
 *   a row: | "taken over" | times given away, 11 bits | "not to be judged" | start of the process, 28 bits | pid |
 *   after it, on its line: the same of the thread that has it, where that is not the first one of its process
 * ```
 */
import { hasEnded, hasThreadEnded, type ProcessIdentity, type ThreadIdentity } from "../../os/process-liveness.ts";
import type { Core } from "../shared/core.ts";
import { LINE, MemberState, MemberWord, type SharedLayout } from "../shared/layout.ts";
import { processOf, UNKNOWN_PROCESS } from "../shared/lineage.ts";
import { type Membership, nextFree } from "../shared/member-status.ts";
import { claimMembership, inheritMembership } from "../shared/membership.ts";
import { evictThread, isStray, reclaimAll } from "../shared/reclaim.ts";

/** "MPPT": a table of processes begins with it. */
const TABLE_MAGIC = 0x4d505054;
const TABLE_VERSION = 4;
/** Tries for one place: each but the last met one who gave its row back in that moment. */
const TRIES = 8;
/** 64 bytes, a cache line: as the pool's own words. */
const LINE_BYTES = 64;
/** Of 64-bit words. */
const ROW_STRIDE: number = LINE_BYTES / 8;

/** Where the thread is noted, after the row. */
const THREAD = 1;

/** /proc/sys/kernel/pid_max is at most 2^22. */
const PID_BITS = 22n;
const START_BITS = 28n;
const PID_MASK: bigint = (1n << PID_BITS) - 1n;
const START_MASK: bigint = (1n << START_BITS) - 1n;
/** Its number means nothing here: it counts in another namespace, or its start is not known. */
const NOT_JUDGED: bigint = 1n << (PID_BITS + START_BITS);
const EPOCH_SHIFT: bigint = PID_BITS + START_BITS + 1n;
const EPOCH_MASK = 0x7ffn;
/** Of a reservation that somebody is about to activate: nobody else may, while that one lives. */
const TAKEN: bigint = 1n << (EPOCH_SHIFT + 11n);
const OCCUPANT_MASK: bigint = (1n << EPOCH_SHIFT) - 1n;

/** The table, as one thread sees it. */
export interface ProcessTable {
  /** One word a row, 64 bytes apart. */
  readonly rows: BigInt64Array;
  /** The PID and time namespace of the process that made the pool; in another one, nobody is judged. */
  readonly namespace: number;
}

/** A row that is this process's, and the membership of it. */
export interface Claim {
  /** What the row holds while it is. */
  readonly word: bigint;
  /** The membership, reserved. */
  readonly membership: Membership;
  /** Whether it comes with what the last member in its place held; see {@link inheritRow}. */
  readonly isInherited?: boolean;
  /** What the row held before, of a membership that was reserved for this process; see {@link takeOver}. */
  readonly before?: bigint;
}

/** Bytes that a pool and its table need together. */
export function bytesWithTable(layout: SharedLayout): number {
  return tableAt(layout) + LINE_BYTES * (1 + layout.members);
}

/** Writes the table of a new pool, whose membership 0 is its maker's. Answers the maker's row too. */
export function writeTable(
  memory: SharedArrayBuffer,
  layout: SharedLayout,
  own: ProcessIdentity,
): { table: ProcessTable; word: bigint } {
  const header = headerOf(memory, layout);
  header[1] = TABLE_VERSION;
  header[2] = own.namespace | 0;
  const table = { rows: rowsOf(memory, layout), namespace: own.namespace | 0 };
  table.rows.fill(0n);
  const word = wordOf(table, own, 0n);
  table.rows[0] = word;
  Atomics.store(header, 0, TABLE_MAGIC);
  return { table, word };
}

/** The table behind a pool of that layout, or what is wrong with it. */
export function readTable(memory: SharedArrayBuffer, layout: SharedLayout): ProcessTable | string {
  const header = headerOf(memory, layout);
  if (Atomics.load(header, 0) !== TABLE_MAGIC) return "there is no table of processes behind its pool";
  if (header[1] !== TABLE_VERSION)
    return `its table of processes has version ${header[1]}, this millpond reads ${TABLE_VERSION}`;
  return { rows: rowsOf(memory, layout), namespace: header[2]! };
}

/** Takes a free row, and its membership, for `maker` where that reserves it; null when there is none. */
export function claimRow(
  table: ProcessTable,
  i32: Int32Array,
  layout: SharedLayout,
  own: ProcessIdentity,
  state: number,
  maker: Membership | null = null,
): Claim | null {
  const clean = takeFree(table, i32, layout, own, state, maker, true);
  return clean ?? takeFree(table, i32, layout, own, state, maker, false);
}

/** `onlyClean`: see `claimMembership`. */
function takeFree(
  table: ProcessTable,
  i32: Int32Array,
  layout: SharedLayout,
  own: ProcessIdentity,
  state: number,
  maker: Membership | null,
  onlyClean: boolean,
): Claim | null {
  for (let member = 0; member < layout.members; member++) {
    for (let n = 0; n < TRIES; n++) {
      // Before the row is taken: see freeRows().
      const free = Atomics.load(i32, statusAt(layout, member));
      const seen = rowOf(table, member);
      if ((seen & PID_MASK) !== 0n || (free & MemberState.MASK) !== MemberState.FREE) break;
      if (onlyClean && isStray(i32, layout, member)) break;
      const word = wordOf(table, own, seen);
      if (swapRow(table, member, seen, word) !== seen) break;
      const membership = claimMembership(i32, layout, state, member, member + 1, maker, free);
      if (membership !== null) return { word, membership };
      dropRow(table, member, word);
    }
  }
  return null;
}

/**
 * Gives back each row whose membership is empty: of one that left, was reclaimed in another way, or was never taken. No
 * row of a place that is being taken is lost: who takes it saw the status of the empty place first, and expects it;
 * that status changes here before the row is given back. Any thread may do so, and be stopped at it.
 */
export function freeRows(table: ProcessTable, i32: Int32Array, layout: SharedLayout): void {
  for (let member = 0; member < layout.members; member++) {
    const word = rowOf(table, member);
    const at = statusAt(layout, member);
    const status = Atomics.load(i32, at);
    if ((word & PID_MASK) === 0n || (status & MemberState.MASK) !== MemberState.FREE) continue;
    // After the status: a row that changed since is that of the next one.
    if (rowOf(table, member) !== word) continue;
    if (Atomics.compareExchange(i32, at, status, nextFree(status)) === status) dropRow(table, member, word);
  }
}

/**
 * Takes the row of a process that has ended, and its membership with all that it held: where every member is of such a
 * process, so that nobody is left to clear up. Null where somebody lives, or may live: he clears up.
 */
export function inheritRow(
  table: ProcessTable,
  i32: Int32Array,
  layout: SharedLayout,
  own: ProcessIdentity,
  ended: (pid: number, start: number) => boolean = hasEnded,
): Claim | null {
  if ((own.namespace | 0) !== table.namespace) return null;
  const left: { readonly seen: bigint; readonly membership: Membership }[] = [];
  for (let member = 0; member < layout.members; member++) {
    const seen = rowOf(table, member);
    const status = Atomics.load(i32, statusAt(layout, member));
    const state = status & MemberState.MASK;
    // Nobody is there any more, and what was held is a reclaim's.
    if (state === MemberState.RECLAIMING || state === MemberState.RECLAIMED) continue;
    if (state === MemberState.FREE && (seen & PID_MASK) === 0n) continue;
    const process = processWord(i32, layout, seen, { member, status });
    if (!namesEnded(process, own, ended) && !threadEnded(table, member, seen)) return null;
    left.push({ seen, membership: { member, status } });
  }
  for (const { seen, membership } of left) {
    const { member, status } = membership;
    const word = wordOf(table, own, seen);
    // Another one that would end this member looks at the row again first, or fails at the status.
    if (swapRow(table, member, seen, word) !== seen) continue;
    const isFree = (status & MemberState.MASK) === MemberState.FREE;
    const claimed = isFree
      ? claimMembership(i32, layout, MemberState.RESERVED, member, member + 1, null, status)
      : inheritMembership(i32, layout, membership);
    if (claimed !== null) return { word, membership: claimed, isInherited: !isFree };
    dropRow(table, member, word);
  }
  return null;
}

/**
 * Makes the row of a membership that was reserved for this process its own. Undefined, and nothing changed: it was
 * taken back or used, or another one is about to use it. Of any number who try one gets it, and no other one changes
 * its row, unless that one has ended before it activated the membership.
 */
export function takeOver(
  table: ProcessTable,
  i32: Int32Array,
  layout: SharedLayout,
  membership: Membership,
  own: ProcessIdentity,
  ended: (pid: number, start: number) => boolean = hasEnded,
): Claim | undefined {
  const at = statusAt(layout, membership.member);
  const seen = rowOf(table, membership.member);
  // A status that no reservation has is forged: the member there would share its rights and lose its row.
  if ((membership.status & MemberState.MASK) !== MemberState.RESERVED) return undefined;
  // Before the row is touched: it may be that of another one's membership by now.
  if ((seen & PID_MASK) === 0n || Atomics.load(i32, at) !== membership.status) return undefined;
  if ((seen & TAKEN) !== 0n && !namesEnded(seen, own, ended) && !threadEnded(table, membership.member, seen))
    return undefined;
  const word = wordOf(table, own, seen) | TAKEN;
  if (swapRow(table, membership.member, seen, word) !== seen) return undefined;
  if (Atomics.load(i32, at) === membership.status) return { word, membership, before: seen };
  // It was taken back in between, by one who is about to drop the row as well.
  swapRow(table, membership.member, word, seen);
  return undefined;
}

/** Gives the row of a membership back that this process took over and could not activate, as it was. */
export function returnRow(table: ProcessTable, member: number, word: bigint, before: bigint): void {
  swapRow(table, member, word, before);
}

/**
 * Makes the row of a membership that this thread has activated its process's, where it names another one. Undefined: it
 * is this process's already, or nobody's.
 */
export function takeRow(
  table: ProcessTable,
  i32: Int32Array,
  layout: SharedLayout,
  { member, status }: Membership,
  own: ProcessIdentity,
): bigint | undefined {
  const seen = rowOf(table, member);
  const word = wordOf(table, own, seen);
  const isOwn = (seen & OCCUPANT_MASK) === (word & OCCUPANT_MASK);
  if (isOwn || (seen & PID_MASK) === 0n || Atomics.load(i32, statusAt(layout, member)) !== status) return undefined;
  return swapRow(table, member, seen, word) === seen ? word : undefined;
}

/** Gives a row back, if it is still the one that was claimed. */
export function dropRow(table: ProcessTable, member: number, word: bigint): void {
  swapRow(table, member, word, word & ~OCCUPANT_MASK);
}

/** What a look for ended processes did. */
export interface Reclaimed {
  /** Slots that came free. */
  readonly freed: number;
  /** Memberships of ended processes that were cleared up. */
  readonly members: number;
}

/**
 * Clears up after every process that has ended. Any number of threads and processes may do so at once, and be killed at
 * it. A process that cannot be judged from here is left alone.
 */
export function reclaimProcesses(
  table: ProcessTable,
  core: Core,
  own: ProcessIdentity,
  ended: (pid: number, start: number) => boolean = hasEnded,
): Reclaimed {
  const { i32, layout } = core;
  let memberships = 0;
  if ((own.namespace | 0) === table.namespace) {
    for (let member = 0; member < layout.members; member++) {
      const word = rowOf(table, member);
      const status = Atomics.load(i32, statusAt(layout, member));
      const process = processWord(i32, layout, word, { member, status });
      if (!namesEnded(process, own, ended) && !threadEnded(table, member, word)) continue;
      // Somebody else has cleared it up since, and the status may be that of who came after.
      if (rowOf(table, member) !== word) continue;
      // It has come to another process meanwhile, and is that one's.
      if (processWord(i32, layout, word, { member, status }) !== process) continue;
      // 0 is not a status of a pool's membership. What ends with the thread ends here too; of a process all threads do.
      if (status !== 0) evictThread(core, { member, status });
      dropRow(table, member, word);
      memberships++;
    }
  }
  // All of them in one pass; and those that a process left which was killed while it cleared up.
  const freed = reclaimAll(core);
  freeRows(table, i32, layout);
  return { freed, members: memberships };
}

/**
 * Whether a place will be free when one of the others has looked: somebody who has ended has it, or nobody has it but
 * its row is taken.
 */
export function anyEnded(table: ProcessTable, i32: Int32Array, layout: SharedLayout, own: ProcessIdentity): boolean {
  const isJudge = (own.namespace | 0) === table.namespace;
  for (let member = 0; member < layout.members; member++) {
    const word = rowOf(table, member);
    const status = Atomics.load(i32, statusAt(layout, member));
    if ((status & MemberState.MASK) === MemberState.FREE) {
      if ((word & PID_MASK) !== 0n) return true;
    } else if (isJudge) {
      const process = processWord(i32, layout, word, { member, status });
      if (namesEnded(process, own, hasEnded) || threadEnded(table, member, word)) return true;
    }
  }
  return false;
}

/**
 * The process of a member, as the row of one says it: the row's word, and where nobody has the row, what its maker
 * noted beside its status. So the worker of a worker, which knows of no table, is known by its process as well. One
 * that came from another process than its maker's, and knows of no table, is nobody's to judge.
 */
function processWord(i32: Int32Array, layout: SharedLayout, row: bigint, membership: Membership): bigint {
  const { pid, start } = processOf(i32, layout, membership);
  // Its row is its maker's still, and it lives in a process that wrote none.
  if (pid === UNKNOWN_PROCESS) return NOT_JUDGED;
  if ((row & PID_MASK) !== 0n) return row;
  return ((BigInt(start) & START_MASK) << PID_BITS) | (BigInt(pid) & PID_MASK);
}

/** What {@link noteProcess} is to note for a member of this process: a process that nobody can judge is none. */
export function judged(table: ProcessTable, own: ProcessIdentity): { readonly pid: number; readonly start: number } {
  const { pid, start, namespace } = own;
  return start === undefined || (namespace | 0) !== table.namespace ? { pid: 0, start: 0 } : { pid, start };
}

function namesEnded(word: bigint, own: ProcessIdentity, ended: (pid: number, start: number) => boolean): boolean {
  const pid = Number(word & PID_MASK);
  if (pid === 0 || (word & NOT_JUDGED) !== 0n) return false;
  const start = Number((word >> PID_BITS) & START_MASK);
  return (pid !== own.pid || start !== own.start) && ended(pid, start);
}

/**
 * Says which thread of this process has a row whose word is `word`, so that its end is seen while the process lives.
 * Undefined: none that is told from the process.
 */
export function noteThread(
  { rows }: ProcessTable,
  member: number,
  word: bigint,
  thread: ThreadIdentity | undefined,
): void {
  const own = thread === undefined ? 0n : (BigInt(thread.start) << PID_BITS) | BigInt(thread.tid);
  const noted = own === 0n ? 0n : ((word >> EPOCH_SHIFT) << EPOCH_SHIFT) | own;
  Atomics.store(rows, member * ROW_STRIDE + THREAD, noted);
}

/** Whether the row is that of a thread that has ended, of a process that has not. */
function threadEnded({ rows }: ProcessTable, member: number, word: bigint): boolean {
  const pid = Number(word & PID_MASK);
  const thread = Atomics.load(rows, member * ROW_STRIDE + THREAD);
  if (thread === 0n || pid === 0 || (word & NOT_JUDGED) !== 0n) return false;
  // Of an earlier one in this row.
  if (thread >> EPOCH_SHIFT !== word >> EPOCH_SHIFT) return false;
  return hasThreadEnded(pid, Number(thread & PID_MASK), Number((thread >> PID_BITS) & START_MASK));
}

/** The members beside `member` that are, or may be, of this process: their rows name it, or nobody. */
export function othersOf(table: ProcessTable, core: Core, own: ProcessIdentity, member: number): number[] {
  const found: number[] = [];
  for (let other = 0; other < core.layout.members; other++) {
    const status = Atomics.load(core.i32, statusAt(core.layout, other));
    const state = status & MemberState.MASK;
    if (other === member || state === MemberState.FREE || state === MemberState.RECLAIMED) continue;
    const word = processWord(core.i32, core.layout, rowOf(table, other), { member: other, status });
    const pid = Number(word & PID_MASK);
    const isOwn = pid === own.pid && Number((word >> PID_BITS) & START_MASK) === (own.start ?? 0);
    if (pid === 0 || isOwn) found.push(other);
  }
  return found;
}

/** The process of a member: its number, or 0. For reports. */
export function pidOf(table: ProcessTable, i32: Int32Array, layout: SharedLayout, member: number): number {
  const status = Atomics.load(i32, statusAt(layout, member));
  return Number(processWord(i32, layout, rowOf(table, member), { member, status }) & PID_MASK);
}

/** Position of a membership's status. */
export function statusAt(layout: SharedLayout, member: number): number {
  return layout.membersAt + member * LINE + MemberWord.STATUS;
}

function tableAt(layout: SharedLayout): number {
  return Math.ceil(layout.bytes / LINE_BYTES) * LINE_BYTES;
}

function headerOf(memory: SharedArrayBuffer, layout: SharedLayout): Int32Array {
  return new Int32Array(memory, tableAt(layout), LINE_BYTES / 4);
}

function rowsOf(memory: SharedArrayBuffer, layout: SharedLayout): BigInt64Array {
  return new BigInt64Array(memory, tableAt(layout) + LINE_BYTES, layout.members * ROW_STRIDE);
}

function rowOf({ rows }: ProcessTable, member: number): bigint {
  return Atomics.load(rows, member * ROW_STRIDE);
}

function swapRow({ rows }: ProcessTable, member: number, from: bigint, to: bigint): bigint {
  return Atomics.compareExchange(rows, member * ROW_STRIDE, from, to);
}

/** The word of a row that this process takes over from one that holds `seen`: the times it was given away go on. */
function wordOf(table: ProcessTable, own: ProcessIdentity, seen: bigint): bigint {
  const epoch = ((seen >> EPOCH_SHIFT) + 1n) & EPOCH_MASK;
  const judged = own.start !== undefined && (own.namespace | 0) === table.namespace;
  return (
    (epoch << EPOCH_SHIFT) |
    (judged ? 0n : NOT_JUDGED) |
    (BigInt(own.start ?? 0) << PID_BITS) |
    (BigInt(own.pid) & PID_MASK)
  );
}
