/** Making a shared pool in a memory, and joining one: all checks, before anything is changed. */

import { MillpondError } from "../../util/errors.ts";
import { badValue, text, wholeNumber, wrongType } from "../../util/validate.ts";
import { copyHandle, isShared, readHandle, type SharedHandle, type SharedPoolOptions } from "./handle.ts";
import {
  checkPool,
  checkShape,
  Header,
  LINE,
  layoutOf,
  MAGIC,
  MemberState,
  MemberWord,
  PoolState,
  type SharedLayout,
  writePool,
} from "./layout.ts";
import { activateReservation, claimMembership, type Membership } from "./membership.ts";
import { allocateCounted, type BudgetEntry } from "./memory-budget.ts";

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
}

/** Writes a new pool into new or given memory. */
export function makePool(options: SharedPoolOptions): Made {
  const layout = layoutOf(checkShape(options, options.memory === undefined ? "fresh" : "release"));
  const { memory: given } = options;
  const name = text("options.name", options.name, "shared");
  if (given !== undefined) checkMemory(given, layout);
  const made = given === undefined ? allocateCounted(layout.bytes) : undefined;
  const memory = given ?? made!.memory;
  // 30 bits of chance: to tell pools apart, not to keep secrets.
  const pool = 1 + Math.floor(Math.random() * (2 ** 30 - 1));
  const i32 = new Int32Array(memory, 0, layout.slotsAt >>> 2);
  writePool(i32, layout, pool);
  return {
    layout,
    memory,
    name,
    pool,
    budget: made?.entry,
    isNew: true,
    membership: claimMembership(i32, layout, MemberState.LIVE)!,
  };
}

/** Bytes that a memory must have for such a pool; as {@link makePool} takes a memory that is given. */
export function bytesFor(options: SharedPoolOptions): number {
  const { bytes } = layoutOf(checkShape(options, "release"));
  text("options.name", options.name, "shared");
  if (options.memory !== undefined) checkShared(options.memory);
  return bytes;
}

/** Joins the pool that a handle names. */
export function joinPool(untrusted: SharedHandle, given: SharedArrayBuffer | undefined): Made {
  const handle = copyHandle(untrusted);
  const { layout, memory } = readHandle(handle, given);
  const i32 = new Int32Array(memory, 0, layout.slotsAt >>> 2);
  const wrong = checkPool(i32, layout, handle.pool);
  if (wrong !== undefined) {
    throw new MillpondError("ERR_BAD_DATA", `cannot attach to shared pool "${handle.name}": of its memory, ${wrong}`);
  }
  if (Atomics.load(i32, Header.STATE) !== PoolState.LIVE) {
    throw new MillpondError("ERR_POOL_DEAD", `cannot attach to shared pool "${handle.name}": it was closed`);
  }
  const { name, pool } = handle;
  const membership = findMembership(i32, layout, handle);
  // Destroyed since the first look, and another pool made in the memory: the membership is that one's.
  if (i32[Header.POOL] !== pool) {
    Atomics.compareExchange(
      i32,
      layout.membersAt + membership.member * LINE + MemberWord.STATUS,
      membership.status,
      membership.status & ~MemberState.MASK,
    );
    throw new MillpondError("ERR_POOL_DEAD", `cannot attach to shared pool "${name}": it was closed`);
  }
  return { layout, memory, name, pool, budget: undefined, isNew: false, membership };
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

function checkShared(memory: unknown): asserts memory is SharedArrayBuffer {
  if (!isShared(memory)) throw wrongType("options.memory", "a SharedArrayBuffer", memory);
}

function checkMemory(memory: unknown, layout: SharedLayout): void {
  checkShared(memory);
  if (memory.byteLength < layout.bytes) {
    throw badValue("options.memory", `of at least ${layout.bytes} bytes (SharedPool.bytesNeeded)`, memory.byteLength);
  }
  const i32 = new Int32Array(memory, 0, Header.END);
  if (i32[Header.MAGIC] === MAGIC && Atomics.load(i32, Header.STATE) === PoolState.LIVE) {
    throw new MillpondError(
      "ERR_ALREADY_EXISTS",
      "there is a live shared pool in that memory; attach() to it, or close() it first",
    );
  }
}
