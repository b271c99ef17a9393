/**
 * Making a shared pool in a memory, and joining one: all checks, before anything is changed.
 *
 * Life-cycle. Making: the options are checked, memory is allocated or taken over from a pool that has ended, the header
 * and the states are written, the maker gets the first membership. Joining: the handle is copied and checked, the
 * memory is compared with it, this thread counts itself in as a visitor, claims a membership, and counts itself out.
 *
 * Invariants: each field of a handle is read once; a call that throws leaves the memory as it was, and takes no
 * membership; no pool is made over one that lives or that a thread may still be at.
 *
 * Complexity: making O(slots), joining O(members^2).
 */

import type { Clock } from "../../util/clock.ts";
import { MillpondError } from "../../util/errors.ts";
import { badValue, show, text, wholeNumber, wrongType } from "../../util/validate.ts";
import { type Core, NONE } from "./core.ts";
import {
  checkPool,
  checkShape,
  generationStart,
  Header,
  isShared,
  LAYOUT_VERSION,
  LINE,
  layoutOf,
  MAGIC,
  MAX_MEMBERS,
  MemberState,
  PoolState,
  type SharedLayout,
  type SharedShape,
  writePool,
} from "./layout.ts";
import { noteLineage, noteThreadOf, rememberMembership, type ThreadMemory } from "./lineage.ts";
import type { Membership } from "./member-status.ts";
import { activateReservation, claimMembership } from "./membership.ts";
import { allocateCounted, type BudgetEntry, countUntil } from "./memory-budget.ts";
import { endVisit, Occupied, takeMemory, visit } from "./pool-state.ts";
import type { SharedWaiter } from "./waiter.ts";

/** How this thread takes part. */
export interface AttachOptions {
  /** How threads sleep and wake; default: Atomics, which reaches every thread of this process. */
  waiter?: SharedWaiter;
  /** Time; default: the platform's. */
  clock?: Clock;
  /**
   * The memory, where it did not come in the handle: a handle that went to another process as JSON, and shared memory
   * that was laid over the same pages there.
   */
  memory?: SharedArrayBuffer;
}

/** How a SharedPool is made. */
export interface SharedPoolOptions extends AttachOptions {
  /** Bytes of a slot. */
  size: number;
  /** Slots; at most 2^20. */
  count: number;
  /** Alignment of each slot within the memory, in bytes, a power of two; default 64. */
  align?: number;
  /** Threads that can be attached at once; default 12, at most 20. */
  members?: number;
  /**
   * When bytes are cleared; default "fresh": the engine's new memory is zero, and that is all. For a `memory` that was
   * passed in, which other processes may see: "release".
   */
  zero?: SharedShape["zero"];
  /** For messages; default "shared". */
  name?: string;
}

/** What `attach` needs: post it, or put it into `workerData`. */
export interface SharedHandle extends SharedShape {
  /** Says what this is. */
  readonly kind: "millpond.SharedPool";
  /** Version of the memory's layout; `attach` reads its own only. */
  readonly version: number;
  /** For messages. */
  readonly name: string;
  /** Number of the pool, also in its memory. */
  readonly pool: number;
  /** The memory; absent when it travels another way. */
  readonly memory?: SharedArrayBuffer;
  /** The membership that was reserved for who attaches; absent: the next free one. */
  readonly membership?: { readonly member: number; readonly status: number };
}

/**
 * What a pool tells about itself. Other threads go on meanwhile: exact only while they rest. Of a pool that has ended
 * there is nothing to tell but its size: no slot is free or held, and nobody takes part.
 */
export interface SharedPoolStats {
  /** Slots. */
  readonly count: number;
  /** Slots that are free. */
  readonly free: number;
  /** Slots that somebody holds. */
  readonly held: number;
  /** Of those, held by several members. */
  readonly heldByMany: number;
  /** Bytes of the whole memory. */
  readonly bytes: number;
  /** Of those, bytes in no slot: state, and what alignment costs. */
  readonly wastedBytes: number;
  /** Members, and memberships reserved for one, that were reclaimed since the pool was made, each once. */
  readonly reclaimed: number;
  /** Who takes part. */
  readonly members: readonly SharedMemberStats[];
}

/** A slot that is not free. */
export interface SharedHolder {
  /** Which slot. */
  readonly slot: number;
  /** Its lease, as the integer API calls it; -1 while the slot is cleared, which is between two leases. */
  readonly id: number;
  /** Numbers of the members that hold it. */
  readonly members: readonly number[];
}

/** One who takes part. */
export interface SharedMemberStats {
  /** Its number. */
  readonly member: number;
  /** Whether it is this thread. */
  readonly self: boolean;
  /** What it is doing there. */
  readonly state: "reserved" | "live" | "leaving" | "reclaiming";
  /** Slots it holds. */
  readonly holds: number;
  /** Whether somebody waits there. */
  readonly waiting: boolean;
  /** How often it found no slot without waiting. */
  readonly misses: number;
  /** How often it waited. */
  readonly waits: number;
}

/** A pool that was made, and this thread's membership in it. */
export interface Made {
  /** Where everything lies. */
  readonly layout: SharedLayout;
  /** What it lies in. */
  readonly memory: SharedArrayBuffer;
  /** For messages. */
  readonly name: string;
  /** The pool's number. */
  readonly pool: number;
  /** What was counted for it; undefined for memory that was given. */
  readonly budget: BudgetEntry | undefined;
  /** Whether this thread made the pool. */
  readonly isNew: boolean;
  /** This thread's. */
  readonly membership: Membership;
  /** This thread in that pool, see `threadOf` in lineage.ts. */
  readonly thread: number;
}

/** Writes a new pool into new or given memory. */
export function makePool(options: SharedPoolOptions): Made {
  const layout = layoutOf(checkShape(options, options.memory === undefined ? "fresh" : "release"));
  const { memory: given } = options;
  const name = text("options.name", options.name, "shared");
  if (given !== undefined) checkMemory(given, layout);
  const made = given === undefined ? allocateCounted(layout.bytes) : undefined;
  const memory = given ?? made!.memory;
  // To tell pools apart, not to keep secrets: 30 bits in the number, at most 29 in the first generation.
  const [number, start] = randomWords();
  const pool = 1 + (number % (2 ** 30 - 1));
  const i32 = new Int32Array(memory, 0, layout.slotsAt >>> 2);
  if (given !== undefined) takeOver(given);
  writePool(i32, layout, pool, generationStart(layout, start));
  if (made !== undefined) countUntil(made.entry, memory, isDead);
  const membership = claimMembership(i32, layout, MemberState.LIVE)!;
  noteThreadOf(i32, layout, membership, undefined);
  return {
    layout,
    memory,
    name,
    pool,
    budget: made?.entry,
    isNew: true,
    membership,
    thread: remember(pool, membership),
  };
}

/** By pool, what this thread remembers of itself, also where it has left. The newest last. */
const selves = new Map<number, ThreadMemory>();
/** Pools that are remembered, some 200 bytes each: of one that was left so many pools ago a thread is a new one. */
const MOST_REMEMBERED = 4096;

/** This thread has joined a pool: its word there. */
function remember(pool: number, membership: Membership): number {
  const self = rememberMembership(selves.get(pool), membership);
  selves.delete(pool);
  selves.set(pool, self);
  const [oldest] = selves.keys();
  if (selves.size > MOST_REMEMBERED) selves.delete(oldest!);
  return self.thread;
}

/**
 * What this thread ends with, as its memberships say it: kept for the next one, and told in each. Called after it has
 * joined, and before it leaves. O(members^2).
 */
export function rememberLineage(core: Core): void {
  const self = selves.get(core.pool);
  if (self?.thread === core.thread) selves.set(core.pool, noteLineage(core, self));
}

/** Whether the pool that was made in a memory has ended, by whichever thread. */
function isDead(memory: SharedArrayBuffer): boolean {
  return Atomics.load(new Int32Array(memory, 0, Header.END), Header.STATE) === PoolState.DEAD;
}

/** Where there is one; an AudioWorklet has none. */
interface Random {
  readonly crypto?: { getRandomValues(words: Uint32Array): unknown };
}

/** Two random 32-bit words, also where a program has seeded or replaced `Math.random`. */
function randomWords(): [number, number] {
  const words = Uint32Array.from({ length: 2 }, () => Math.floor(Math.random() * 2 ** 32));
  (globalThis as Random).crypto?.getRandomValues(words);
  return [words[0]!, words[1]!];
}

/** Bytes that a memory must have for such a pool; as {@link makePool} takes a memory that is given. */
export function bytesFor(options: SharedPoolOptions): number {
  const { bytes } = layoutOf(checkShape(options, "release"));
  text("options.name", options.name, "shared");
  if (options.memory !== undefined) checkShared(options.memory);
  return bytes;
}

/** Joins the pool that a handle names. What `check` throws passes, before any membership is taken. */
export function joinPool(
  untrusted: SharedHandle,
  given: SharedArrayBuffer | undefined,
  check?: (memory: SharedArrayBuffer, layout: SharedLayout, name: string) => void,
): Made {
  const handle = copyHandle(untrusted);
  const { layout, memory } = readHandle(handle, given);
  const i32 = new Int32Array(memory, 0, layout.slotsAt >>> 2);
  const wrong = checkPool(i32, layout, handle.pool);
  if (wrong !== undefined) {
    throw new MillpondError("ERR_BAD_DATA", `cannot attach to shared pool "${handle.name}": of its memory, ${wrong}`);
  }
  const { name, pool } = handle;
  const dead = (): MillpondError =>
    new MillpondError("ERR_POOL_DEAD", `cannot attach to shared pool "${name}": it was closed`);
  if (Atomics.load(i32, Header.STATE) !== PoolState.LIVE) throw dead();
  check?.(memory, layout, name);
  // Not a member yet: only what counts it in keeps another pool out of this memory.
  if (!visit(i32, pool)) throw dead();
  try {
    if (Atomics.load(i32, Header.STATE) !== PoolState.LIVE) throw dead();
    const membership = findMembership(i32, layout, handle);
    const thread = remember(pool, membership);
    return { layout, memory, name, pool, budget: undefined, isNew: false, membership, thread };
  } finally {
    endVisit(i32);
  }
}

/** The error of one who finds no membership. */
export function poolFullError(name: string, members: number): MillpondError {
  return new MillpondError(
    "ERR_POOL_FULL",
    `all ${members} memberships of shared pool "${name}" are taken; leave() in threads that are done, reclaim() those that ended, or create it with more members`,
    { pool: name, members },
  );
}

function findMembership(i32: Int32Array, layout: SharedLayout, handle: SharedHandle): Membership {
  const { membership } = handle;
  if (membership === undefined) {
    const found = claimMembership(i32, layout, MemberState.LIVE);
    if (found === null) throw poolFullError(handle.name, layout.members);
    noteThreadOf(i32, layout, found, selves.get(handle.pool));
    return found;
  }
  if (membership === null || typeof membership !== "object")
    throw wrongType("handle.membership", "the membership of a reserved handle", membership);
  const member = wholeNumber("handle.membership.member", membership.member, 0, layout.members - 1);
  const status = activateReservation(
    i32,
    layout,
    member,
    wholeNumber("handle.membership.status", membership.status, 0, 2 ** 30),
    selves.get(handle.pool),
  );
  if (status === 0) {
    throw new MillpondError(
      "ERR_POOL_DEAD",
      `the membership of shared pool "${handle.name}" that was reserved for this thread was taken back or used; reserve() another`,
      { pool: handle.name, member },
    );
  }
  return { member, status };
}

/** Whether a pool of that state has leases, or may have. */
function isRunning(state: number): boolean {
  return state === PoolState.LIVE || state === PoolState.RETIRING;
}

function checkShared(memory: unknown): asserts memory is SharedArrayBuffer {
  if (!isShared(memory)) throw wrongType("options.memory", "a SharedArrayBuffer", memory);
}

function checkMemory(memory: unknown, layout: SharedLayout): void {
  checkShared(memory);
  if (memory.byteLength < layout.bytes) {
    throw badValue("options.memory", `of at least ${layout.bytes} bytes (SharedPool.bytesNeeded)`, memory.byteLength);
  }
  const i32 = new Int32Array(memory, 0, Header.END);
  if (i32[Header.MAGIC] === MAGIC && isRunning(Atomics.load(i32, Header.STATE))) throw runningError();
}

function runningError(): MillpondError {
  return new MillpondError(
    "ERR_ALREADY_EXISTS",
    "there is a live shared pool in that memory; attach() to it, or close() it first",
  );
}

/**
 * The last step before a pool is written into memory that was given: from now on it is this thread's. Nothing has
 * changed if it throws.
 */
function takeOver(memory: SharedArrayBuffer): void {
  const words = Math.min(memory.byteLength >>> 2, Header.END + MAX_MEMBERS * LINE);
  const i32 = new Int32Array(memory, 0, words);
  const found = takeMemory(i32, i32.length);
  if (found === NONE) return;
  if (found === Occupied.RUNNING) throw runningError();
  const inUse = (text: string, details?: Record<string, unknown>): MillpondError =>
    new MillpondError("ERR_IN_USE", text, details);
  if (found === Occupied.MAKING)
    throw inUse(
      "another thread makes a shared pool in that memory; attach() to it, or use other memory; if that thread ended before it was done, fill the memory with zeros",
    );
  if (found === Occupied.VISITED) {
    throw inUse(
      "a thread is at the words of the shared pool that was closed in that memory, to attach or to close it; try again, or use other memory if that thread has ended",
    );
  }
  if (found >= Occupied.CLEARING) {
    const member = found - Occupied.CLEARING;
    throw inUse(
      `member ${member} of the shared pool that was closed in that memory still clears a slot; try again when its call has returned, or use other memory if that thread has ended`,
      { member },
    );
  }
  throw inUse(
    `member ${found} of the shared pool that was closed in that memory has not left it, and may be inside an operation; call leave() in its thread, which may be this one, or reclaim(${found}) if that has ended, or use other memory`,
    { member: found },
  );
}

/**
 * A copy of a handle, each field read once: one that was torn on its way, or whose getters change their minds, is the
 * same in every check. Throws `ERR_INVALID_ARG_TYPE`.
 */
function copyHandle(handle: SharedHandle): SharedHandle {
  if (handle === null || typeof handle !== "object")
    throw wrongType("handle", "the handle of a SharedPool (pool.handle)", handle);
  const { kind, version, name, pool, size, count, align, members, zero, memory, membership } = handle;
  if (kind !== "millpond.SharedPool") throw wrongType("handle", "the handle of a SharedPool (pool.handle)", handle);
  if (typeof name !== "string") throw wrongType("handle.name", "a string", name);
  if (typeof pool !== "number") throw wrongType("handle.pool", "a number", pool);
  if (membership !== undefined && (membership === null || typeof membership !== "object")) {
    throw wrongType("handle.membership", "the membership of a reserved handle", membership);
  }
  return {
    kind,
    version,
    name,
    pool,
    size,
    count,
    align,
    members,
    zero,
    ...(memory === undefined ? {} : { memory }),
    ...(membership === undefined ? {} : { membership: { member: membership.member, status: membership.status } }),
  };
}

/**
 * Checks a handle's copy and computes its layout. Throws `ERR_INVALID_ARG_TYPE`, `ERR_UNSUPPORTED` for another version,
 * `ERR_BAD_DATA`.
 */
function readHandle(
  handle: SharedHandle,
  given?: SharedArrayBuffer,
): { layout: SharedLayout; memory: SharedArrayBuffer } {
  const { name } = handle;
  if (handle.version !== LAYOUT_VERSION) {
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      `the handle of shared pool "${name}" has layout version ${show(handle.version)}, this millpond reads ${LAYOUT_VERSION}; use one millpond on both sides`,
    );
  }
  wholeNumber("handle.pool", handle.pool, 0, 2 ** 31 - 1);
  // What is missing would be filled in as an option is, and the layout be another one's.
  wholeNumber("handle.align", handle.align);
  wholeNumber("handle.members", handle.members);
  if (typeof handle.zero !== "string") throw wrongType("handle.zero", "a string", handle.zero);
  const layout = layoutOf(checkShape(handle, handle.zero));
  const memory = given ?? handle.memory;
  if (memory === undefined || !isShared(memory))
    throw wrongType("handle.memory", "a SharedArrayBuffer (JSON has none: pass { memory })", memory);
  if (memory.byteLength < layout.bytes) {
    throw new MillpondError(
      "ERR_BAD_DATA",
      `the memory of shared pool "${name}" has ${memory.byteLength} bytes, its handle promises ${layout.bytes}`,
    );
  }
  return { layout, memory };
}
