/** What a shared pool is made from, what is posted to other threads, and what it tells about itself: plain data. */

import type { Clock } from "../../util/clock.ts";
import { MillpondError } from "../../util/errors.ts";
import { show, wholeNumber, wrongType } from "../../util/validate.ts";
import { checkShape, LAYOUT_VERSION, layoutOf, type SharedLayout, type SharedShape } from "./layout.ts";
import type { SharedWaiter } from "./wait.ts";

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

/** What a pool tells about itself. Other threads go on meanwhile: exact only while they rest. */
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
  /** Members that were reclaimed since the pool was made. */
  readonly reclaimed: number;
  /** Who takes part. */
  readonly members: readonly SharedMemberStats[];
}

/** A slot that is not free. */
export interface SharedHolder {
  /** Which slot. */
  readonly slot: number;
  /** Its lease, as the integer API calls it. */
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

/**
 * A copy of a handle, each field read once: one that was torn on its way, or whose getters change their minds, is the same in every
 * check. Throws `ERR_INVALID_ARG_TYPE`.
 */
export function copyHandle(handle: SharedHandle): SharedHandle {
  if (handle === null || typeof handle !== "object") throw wrongType("handle", "the handle of a SharedPool", handle);
  const { kind, version, name, pool, size, count, align, members, zero, memory, membership } = handle;
  if (kind !== "millpond.SharedPool") throw wrongType("handle", "the handle of a SharedPool", handle);
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

/** Checks a handle's copy and computes its layout. Throws `ERR_INVALID_ARG_TYPE`, `ERR_UNSUPPORTED` for another version, `ERR_BAD_DATA`. */
export function readHandle(
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
  if (memory === undefined || !isShared(memory)) throw wrongType("handle.memory", "a SharedArrayBuffer", memory);
  if (memory.byteLength < layout.bytes) {
    throw new MillpondError(
      "ERR_BAD_DATA",
      `the memory of shared pool "${name}" has ${memory.byteLength} bytes, its handle promises ${layout.bytes}`,
    );
  }
  return { layout, memory };
}

const bytesOfShared =
  typeof SharedArrayBuffer === "function"
    ? Object.getOwnPropertyDescriptor(SharedArrayBuffer.prototype, "byteLength")?.get
    : undefined;

/** Also one of another realm. The engine is asked: what an object says that it is, anybody can write. */
export function isShared(value: unknown): value is SharedArrayBuffer {
  try {
    return typeof bytesOfShared?.call(value) === "number";
  } catch {
    return false;
  }
}
