/**
 * Whose a membership is: which thread has it, which member made it, and which threads and which process it ends with.
 * reclaim.ts asks this file what has ended when a thread has.
 *
 * A thread has one word in a pool, the same in each membership that it ever has there ({@link threadOf}); it writes
 * that before the membership is live, so there is no live membership of which it is not known whose it is. Each
 * member's line names all threads that its own ends with, by those words, so that a member in between that has left the
 * pool is no gap. Who is to see a thread's end remembers its word, and needs no membership of it: numbers may be used
 * again. A member also names its process, where there is a table of processes: the end of that is the end of each of
 * its members.
 *
 * Protocol. A reservation's epoch names its maker from the first step on ({@link stepsToMaker}); then the maker writes
 * the rest ({@link noteMaker}, and {@link adopt} where the thread is its worker). The thread that activates it adds
 * itself while the place is JOINING, when nobody else can have it ({@link noteThreadOf}). After it has joined it tells
 * its own memberships, its workers and theirs what it has learned ({@link noteLineage}).
 *
 * Invariant. What stands beside a status says for which member it was written, by that one's epoch ({@link isNotedAt}),
 * and who reads it looks at that before and after, or at the status after: no word of the last member in a place, or of
 * the next one, is taken for this one's.
 *
 * Complexity: one member's words O(1), a maker's reservations O(members), {@link noteLineage} O(members^2).
 */
import { type Core, memberAt } from "./core.ts";
import { Header, LINE, MemberState, MemberWord, type SharedLayout } from "./layout.ts";
import {
  epochAndNumber,
  hasLeft,
  isPresent,
  isReservation,
  type Membership,
  NUMBER_BITS,
  statusOf,
} from "./member-status.ts";

/** How far up it is known whose worker a thread is, past members that have left the pool and live on. */
const ANCESTORS: number = LINE - 1;

/** Memberships that a thread had, of which its entry has room for the newest. */
const MOST_EARLIER: number = LINE - MemberWord.EARLIER;

/**
 * A reservation's epoch, modulo this, is the number of the member that made it, + 1; 0: nobody's. So the step that
 * makes it names its maker: one that is killed right after it leaves no reservation that belongs to nobody.
 */
const MAKERS = 32;

/** Bits of a status below its epoch. */
const STATE_BITS: number = Math.log2(MemberState.EPOCH);

/** What a thread remembers of itself in a pool. */
export interface ThreadMemory {
  /** Its word, see {@link threadOf}. */
  readonly thread: number;
  /** The threads that it ends with. */
  readonly above: readonly number[];
  /** The memberships that it had, the newest first. */
  readonly earlier: readonly number[];
}

/** Epochs from that status to the next one that names this maker: at least 1. */
export function stepsToMaker(status: number, maker: number): number {
  return MAKERS - (((status >>> STATE_BITS) - maker - 1) & (MAKERS - 1)) - 1 || MAKERS;
}

/**
 * Writes who made a member, and its process. `isWorker`: its thread is a worker of the maker's, and so ends with that
 * thread and with each that the maker's ends with; else it belongs to its maker until it is activated. The maker calls
 * it.
 */
export function noteMaker(
  i32: Int32Array,
  layout: SharedLayout,
  { member, status }: Membership,
  maker: Membership,
  isWorker: boolean,
): void {
  const at = layout.membersAt + member * LINE;
  const makerAt = layout.membersAt + maker.member * LINE;
  const isNoted = isNotedAt(i32, makerAt, maker.status);
  i32[at + MemberWord.PROCESS] = isNoted ? i32[makerAt + MemberWord.PROCESS]! : 0;
  i32[at + MemberWord.PROCESS_START] = i32[makerAt + MemberWord.PROCESS_START]!;
  // Threads first: where the line ends, memberships are left out.
  const thread = threadOf(i32, layout, maker);
  const above = lineOf(i32, layout, maker);
  const memberships = [epochAndNumber(maker.status, maker.member), ...earlierOf(i32, layout, maker)];
  writeLine(i32, member, isWorker ? [thread, ...above, ...memberships] : []);
  i32[at + MemberWord.PARENT_STATUS] = maker.status & ~MemberState.MASK;
  // The maker's number and the member's epoch, so that the word of the last member in this place fits no other one.
  Atomics.store(i32, at + MemberWord.PARENT, epochAndNumber(status, maker.member));
}

/** Says that the thread of a reserved membership is a worker of this thread: it ends with this one. */
export function adopt(core: Core, membership: Membership): void {
  const { i32, layout } = core;
  for (let n = 0; n < ANCESTORS; n++) {
    const before = lineOf(i32, layout, core).join();
    noteMaker(i32, layout, membership, core, true);
    // It may have learned of an ancestor meanwhile, see noteLineage(), when nobody knew of this member.
    if (lineOf(i32, layout, core).join() === before) break;
  }
}

/** Writes whose end is that of a member's thread. Of as many as the line has room for. */
function writeLine(i32: Int32Array, member: number, words: readonly number[]): void {
  const line = ancestorsAt(member);
  const written: number[] = [];
  for (const word of words) {
    if (word === 0 || written.includes(word) || written.length === ANCESTORS) continue;
    i32[line + written.length] = word;
    written.push(word);
  }
  for (let n = written.length; n < ANCESTORS; n++) i32[line + n] = 0;
}

/** Whose end is that of a member's thread, the nearest first; none where another member is in its place by now. */
export function lineOf(i32: Int32Array, layout: SharedLayout, { member, status }: Membership): number[] {
  const found: number[] = [];
  const at = layout.membersAt + member * LINE;
  if (!isNotedAt(i32, at, status)) return found;
  const line = ancestorsAt(member);
  for (let n = 0; n < ANCESTORS; n++) {
    const word = Atomics.load(i32, line + n);
    if (word === 0) break;
    found.push(word);
  }
  return isNotedAt(i32, at, status) ? found : [];
}

/** Where it stands whose end is the end of that member's thread: the nearest first, up to a 0. */
function ancestorsAt(member: number): number {
  return Header.ANCESTORS + member * LINE;
}

/** Whether what stands beside a status was written for the member that has it. */
function isNotedAt(i32: Int32Array, at: number, status: number): boolean {
  const noted = Atomics.load(i32, at + MemberWord.PARENT);
  return noted >>> NUMBER_BITS === epochAndNumber(status, 0) >>> NUMBER_BITS;
}

/** The memberships that a member's thread had before, as far as they are known. */
export function earlierOf(i32: Int32Array, layout: SharedLayout, { member, status }: Membership): number[] {
  const found: number[] = [];
  const at = layout.membersAt + member * LINE;
  const own = epochAndNumber(status, member);
  if (Atomics.load(i32, at + MemberWord.THREAD_OF) !== own) return found;
  for (let n = MemberWord.EARLIER; n < LINE; n++) {
    const word = i32[at + n]!;
    if (word === 0) break;
    found.push(word);
  }
  return Atomics.load(i32, at + MemberWord.THREAD_OF) === own ? found : [];
}

/**
 * The reservations that this member made, or that the one in its place is about to name its maker, and that nobody has
 * activated; of a maker that has ended also those by which a thread joins, for it may have ended with that. O(members).
 */
export function reservationsOf(core: Core, maker: Membership, hasEnded: boolean): Membership[] {
  const { i32, layout } = core;
  const found: Membership[] = [];
  for (let member = 0; member < layout.members; member++) {
    const at = memberAt(core, member);
    const status = statusOf(core, member);
    const isJoining = (status & MemberState.MASK) === MemberState.JOINING;
    if (
      !(isReservation(status) || (isJoining && hasEnded)) ||
      ((status >>> STATE_BITS) & (MAKERS - 1)) !== maker.member + 1
    )
      continue;
    // Its maker was stopped between the two steps where the words are not there: the one who is in that place still.
    const then =
      Atomics.load(i32, at + MemberWord.PARENT) === epochAndNumber(status, maker.member)
        ? i32[at + MemberWord.PARENT_STATUS]!
        : statusOf(core, maker.member);
    if ((then & ~MemberState.MASK) === (maker.status & ~MemberState.MASK)) found.push({ member, status });
  }
  return found;
}

/**
 * The thread that has, or had, a membership: one word for each thread and pool, which no membership's word is. Of one
 * that nobody has noted: a word of its own.
 */
export function threadOf(i32: Int32Array, layout: SharedLayout, membership: Membership): number {
  return notedThread(i32, layout, membership) || ~epochAndNumber(membership.status, membership.member);
}

/** The same, and 0 where nobody has noted it, or another one has joined in that place since. */
export function notedThread(i32: Int32Array, layout: SharedLayout, { member, status }: Membership): number {
  const at = layout.membersAt + member * LINE;
  const own = epochAndNumber(status, member);
  const noted = Atomics.load(i32, at + MemberWord.THREAD_OF);
  const thread = i32[at + MemberWord.THREAD]!;
  // The words may be those of the next one in this place, whose thread is being noted.
  return noted === own && Atomics.load(i32, at + MemberWord.THREAD_OF) === own ? thread : 0;
}

/** As {@link ThreadMemory}, with one membership more. */
export function rememberMembership(known: ThreadMemory | undefined, { member, status }: Membership): ThreadMemory {
  const own = epochAndNumber(status, member);
  const { thread, above, earlier }: ThreadMemory = known ?? { thread: ~own, above: [], earlier: [] };
  return { thread, above, earlier: [own, ...earlier].slice(0, MOST_EARLIER) };
}

/**
 * Says which thread has a membership: from here on it ends with that thread. The thread calls it, when nobody else can
 * have the place: JOINING, or as soon as it was claimed.
 */
export function noteThreadOf(
  i32: Int32Array,
  layout: SharedLayout,
  { member, status }: Membership,
  known: ThreadMemory | undefined,
): void {
  const at = layout.membersAt + member * LINE;
  const own = epochAndNumber(status, member);
  const above = known === undefined ? [] : known.above;
  const earlier = known === undefined ? [] : known.earlier;
  // Its maker has ended, and the place may be another one's by now.
  if (hasLeft(Atomics.load(i32, at + MemberWord.STATUS), status)) return;
  if (isNotedAt(i32, at, status)) writeLine(i32, member, [...lineOf(i32, layout, { member, status }), ...above]);
  else {
    // Nobody made it.
    i32[at + MemberWord.PROCESS] = 0;
    writeLine(i32, member, above);
    Atomics.store(i32, at + MemberWord.PARENT, epochAndNumber(status, -1));
  }
  i32[at + MemberWord.THREAD] = known === undefined ? ~own : known.thread;
  for (let n = 0; n < MOST_EARLIER; n++) i32[at + MemberWord.EARLIER + n] = n < earlier.length ? earlier[n]! : 0;
  Atomics.store(i32, at + MemberWord.THREAD_OF, own);
}

/**
 * What this thread knows of itself after it has joined: the threads that it ends with, as any of its memberships says,
 * or as it knew. Says so in each of them, and in those of its workers and of theirs, which may have joined when this
 * one did not know. O(members^2).
 */
export function noteLineage(core: Core, known: ThreadMemory): ThreadMemory {
  const { i32, layout } = core;
  const own = [known.thread, ...known.earlier];
  const above: number[] = [];
  for (let member = 0; member < layout.members; member++) {
    const membership = { member, status: statusOf(core, member) };
    if (isPresent(membership.status) && threadOf(i32, layout, membership) === known.thread) {
      own.push(epochAndNumber(membership.status, member));
      for (const word of lineOf(i32, layout, membership)) above.push(word);
    }
  }
  const found = [...known.above, ...above].filter((word, n, all) => !own.includes(word) && all.indexOf(word) === n);
  found.length = Math.min(found.length, ANCESTORS);
  // Once more after each change: a worker that has joined meanwhile may have been told what its maker knew before.
  for (let n = 0, changed = found.length > 0; changed && n < layout.members; n++) {
    changed = false;
    for (let member = 0; member < layout.members; member++) {
      const membership = { member, status: statusOf(core, member) };
      if (!isPresent(membership.status)) continue;
      const line = lineOf(i32, layout, membership);
      const isOwn = threadOf(i32, layout, membership) === known.thread;
      if ((isOwn || line.some((word) => own.includes(word))) && extendLine(core, membership, line, found))
        changed = true;
    }
  }
  return { thread: known.thread, above: found, earlier: known.earlier };
}

/** Adds to what a member's thread ends with; whether there was something to add, and room for it. */
function extendLine(core: Core, { member, status }: Membership, line: number[], above: readonly number[]): boolean {
  const { i32, layout } = core;
  let changed = false;
  for (const word of above) {
    if (line.includes(word) || line.length === ANCESTORS) continue;
    // The place may be another one's by now, who ends with none of this.
    if (!isNotedAt(i32, layout.membersAt + member * LINE, status)) return false;
    Atomics.store(i32, ancestorsAt(member) + line.length, word);
    line.push(word);
    changed = true;
  }
  return changed;
}

/**
 * Says which process this member is of: its number and start, or 0 where nobody can judge it. What it connects or
 * reserves is of the same process, also where no row of a table says so.
 */
export function noteProcess(core: Core, pid: number, start: number): void {
  const { i32, status, member } = core;
  const at = memberAt(core, member);
  const isNoted = isNotedAt(i32, at, status);
  // A process and the start of another one would be one that has ended.
  Atomics.store(i32, at + MemberWord.PROCESS, 0);
  i32[at + MemberWord.PROCESS_START] = start;
  Atomics.store(i32, at + MemberWord.PROCESS, pid);
  if (isNoted) return;
  i32[ancestorsAt(member)] = 0;
  // Nobody made it.
  Atomics.store(i32, at + MemberWord.PARENT, epochAndNumber(status, -1));
}

/** The process of a member that none can name: one of another process than its maker's, which knows of no table. */
export const UNKNOWN_PROCESS = -1;

/**
 * Says that a membership that was reserved in one process is another one's now: it ends neither with its maker's
 * process nor with a thread of that. Who has just activated it calls this; nothing changes in its maker's process.
 */
export function noteTravel(i32: Int32Array, layout: SharedLayout, { member, status }: Membership): void {
  const at = layout.membersAt + member * LINE;
  const pid = isNotedAt(i32, at, status) ? i32[at + MemberWord.PROCESS]! : 0;
  if (pid === 0 || pid === (globalThis as Program).process?.pid) return;
  i32[ancestorsAt(member)] = 0;
  Atomics.store(i32, at + MemberWord.PROCESS, UNKNOWN_PROCESS);
}

/** Where a program knows its process; an AudioWorklet does not. */
interface Program {
  readonly process?: { readonly pid?: number };
}

/** The process that a member with that status was noted to be of: its number and its start; 0: none. */
export function processOf(
  i32: Int32Array,
  layout: SharedLayout,
  { member, status }: Membership,
): { readonly pid: number; readonly start: number } {
  const at = layout.membersAt + member * LINE;
  const state = status & MemberState.MASK;
  if ((!isPresent(status) && state !== MemberState.LEAVING) || !isNotedAt(i32, at, status)) return { pid: 0, start: 0 };
  const pid = i32[at + MemberWord.PROCESS]!;
  const start = i32[at + MemberWord.PROCESS_START]!;
  // Of the next one in this place, which is written there after its status.
  return hasLeft(Atomics.load(i32, at + MemberWord.STATUS), status) ? { pid: 0, start: 0 } : { pid, start };
}
