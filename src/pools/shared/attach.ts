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
  Owner,
  OwnerState,
  PoolState,
  type SharedLayout,
  writePool,
} from "./layout.ts";
import { type Seat, sitDown, takeSeat } from "./membership.ts";
import { type Arena, makeArena } from "./memory-budget.ts";

/** A pool that was made, and this thread's seat in it. */
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
  readonly arena: Arena | undefined;
  /** This thread's. */
  readonly seat: Seat;
}

/** Writes a new pool into new or given memory. */
export function makePool(options: SharedPoolOptions): Made {
  const layout = layoutOf(checkShape(options, options.memory === undefined ? "fresh" : "release"));
  const { memory: given } = options;
  const name = text("options.name", options.name, "shared");
  if (given !== undefined) checkMemory(given, layout);
  const made = given === undefined ? makeArena(layout.bytes) : undefined;
  const memory = given ?? made!.memory;
  // 30 bits of chance: to tell pools apart, not to keep secrets.
  const pool = 1 + Math.floor(Math.random() * (2 ** 30 - 1));
  const i32 = new Int32Array(memory, 0, layout.slotsAt >>> 2);
  writePool(i32, layout, pool);
  return { layout, memory, name, pool, arena: made?.arena, seat: takeSeat(i32, layout, OwnerState.LIVE)! };
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
    throw new MillpondError("ERR_POOL_DEAD", `cannot attach to shared pool "${handle.name}": it was destroyed`);
  }
  const { name, pool } = handle;
  const seat = findSeat(i32, layout, handle);
  // Destroyed since the first look, and another pool made in the memory: the seat is that one's.
  if (i32[Header.POOL] !== pool) {
    Atomics.compareExchange(
      i32,
      layout.ownersAt + seat.owner * LINE + Owner.STATUS,
      seat.status,
      seat.status & ~OwnerState.MASK,
    );
    throw new MillpondError("ERR_POOL_DEAD", `cannot attach to shared pool "${name}": it was destroyed`);
  }
  return { layout, memory, name, pool, arena: undefined, seat };
}

/** The error of one who finds no seat. */
export function noSeat(name: string, owners: number): MillpondError {
  return new MillpondError(
    "ERR_POOL_FULL",
    `all ${owners} seats of shared pool "${name}" are taken; detach() threads that are done, reclaim() those that ended, or create it with more owners`,
    { pool: name, owners },
  );
}

function findSeat(i32: Int32Array, layout: SharedLayout, handle: SharedHandle): Seat {
  const { seat } = handle;
  if (seat === undefined) {
    const found = takeSeat(i32, layout, OwnerState.LIVE);
    if (found === null) throw noSeat(handle.name, layout.owners);
    return found;
  }
  if (seat === null || typeof seat !== "object") throw wrongType("handle.seat", "the seat of a reserved handle", seat);
  const owner = wholeNumber("handle.seat.owner", seat.owner, 0, layout.owners - 1);
  const status = sitDown(i32, layout, owner, wholeNumber("handle.seat.status", seat.status, 0, 2 ** 30));
  if (status === 0) {
    throw new MillpondError(
      "ERR_POOL_DEAD",
      `the seat of shared pool "${handle.name}" that was reserved for this thread was taken back or used; reserve() another`,
      { pool: handle.name, owner },
    );
  }
  return { owner, status };
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
      "there is a live shared pool in that memory; attach() to it, or destroy() it first",
    );
  }
}
