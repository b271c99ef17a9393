/**
 * libcork's front door: `cork_mempool` in the words of its first generation, where the caller owns the struct, over
 * SlabPool; docs/doors/cork.md goes function by function.
 *
 * A "pointer" is a payload offset, as if blocks lay one after the other: the number of the block times the block size,
 * plus the distance from the first payload of its block. A pool of 8-byte objects in 64-byte blocks gives 32, 16, 0,
 * then 96, 80, 64. So 0 is a pointer, and `null` is none. `cork_mempool_bytes` gives what the C pointer gives for free.
 *
 * Two pools may give out the same numbers: a number of another pool that is live in this one cannot be told from its
 * own.
 */

import { SlabPool } from "../pools/slab/slab-pool.ts";
import { type ErrorCode, isMillpondError, type MillpondError } from "../util/errors.ts";
import { DoorError, fromHook, inDoor, isFromHook, messageOf, wants } from "./door-error.ts";

export { DoorError } from "./door-error.ts";

/** libcork's default block size in bytes. */
const DEFAULT_BLOCK = 4096;

/** The header in front of each object, which is part of the stride. */
const HEADER = 8;

/** The status of every error here: what libcork's functions that return an int return when they fail. */
export const CORK_FAILURE = -1;

/** libcork's `cork_init_f`: makes one object. */
export type cork_init_f = (userData: unknown, ptr: number) => void;

/** libcork's `cork_done_f`: ends one object. */
export type cork_done_f = cork_init_f;

/** What a struct holds from init to the next init. */
class State {
  pool: SlabPool | undefined = undefined;
  initObject: cork_init_f | undefined = undefined;
  doneObject: cork_init_f | undefined = undefined;
  userData: unknown = undefined;
  destroyUserData: ((userData: unknown) => void) | undefined = undefined;
}

let stateOf: (mp: unknown) => State | undefined;

/**
 * The caller-owned struct; `cork_mempool_init*` makes it usable, `cork_mempool_done` ends it, and it may be initialized
 * again.
 */
export class cork_mempool {
  readonly #state: State = new State();

  /** What this pool is and holds. */
  toString(): string {
    const { pool } = this.#state;
    if (pool === undefined) return "cork_mempool (not initialized)";
    const what = `cork_mempool of ${pool.elementSize}-byte objects in blocks of ${pool.blockSize}`;
    return pool.isClosed ? `${what} (done)` : `${what} (${pool.live} live)`;
  }

  static {
    stateOf = (mp) => (typeof mp === "object" && mp !== null && #state in mp ? mp.#state : undefined);
  }
}

/** Initializes a pool of `element_size` bytes in blocks of 4096. Throws as {@link cork_mempool_init_size_ex}. */
export function cork_mempool_init_size(mp: cork_mempool, element_size: number): void {
  initialize("cork_mempool_init_size", mp, "element_size", element_size);
}

/**
 * Initializes a pool with a block size in bytes; no block is allocated yet, and there are no hooks and no user data.
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE` when not one element fits into a block, `ERR_ALREADY_EXISTS` when
 * the struct holds a pool that is not done.
 */
export function cork_mempool_init_size_ex(mp: cork_mempool, element_size: number, block_size: number): void {
  const blockSize = blockSizeOf("cork_mempool_init_size_ex", block_size);
  initialize("cork_mempool_init_size_ex", mp, "element_size", element_size, blockSize);
}

/** Initializes a pool for a struct layout. Throws as {@link cork_mempool_init_size_ex}. */
export function cork_mempool_init(mp: cork_mempool, type: { readonly size: number }): void {
  initialize("cork_mempool_init", mp, "type.size", sizeOf("cork_mempool_init", type));
}

/** Initializes a pool for a struct layout, with a block size. Throws as {@link cork_mempool_init_size_ex}. */
export function cork_mempool_init_ex(mp: cork_mempool, type: { readonly size: number }, block_size: number): void {
  const blockSize = blockSizeOf("cork_mempool_init_ex", block_size);
  initialize("cork_mempool_init_ex", mp, "type.size", sizeOf("cork_mempool_init_ex", type), blockSize);
}

function sizeOf(call: string, type: { readonly size: number }): number {
  if (type !== null && typeof type === "object") return type.size;
  throw wrongType(call, "type", "a layout with a size", type);
}

/** The core takes no block size for its default; here that is a size that was left out. */
function blockSizeOf(call: string, blockSize: number): number {
  if (blockSize !== null && blockSize !== undefined) return blockSize;
  throw wrongType(call, "block_size", "a number", blockSize);
}

function initialize(call: string, mp: cork_mempool, sizeName: string, elementSize: number, blockSize?: number): void {
  const state = structOf(call, mp);
  if (state.pool?.isClosed === false) {
    throw refused(call, "ERR_ALREADY_EXISTS", `${mp} is initialized already; cork_mempool_done() it first`);
  }
  const pool: SlabPool = inDoor(
    () =>
      SlabPool.create({
        name: "cork_mempool",
        elementSize,
        blockSize: blockSize ?? DEFAULT_BLOCK,
        init: (pointer) => fromHook(() => state.initObject?.(state.userData, toPtr(pool, pointer))),
        destroy: (pointer) => fromHook(() => state.doneObject?.(state.userData, toPtr(pool, pointer))),
      }),
    (cause) => {
      // A caller who named no block size learns about the one size that he named.
      const isTooLarge = blockSize === undefined && cause.details?.name === "options.blockSize";
      const text = isTooLarge
        ? wants(
            sizeName,
            `at most ${DEFAULT_BLOCK - 2 * HEADER}, one object to a block of ${DEFAULT_BLOCK}`,
            elementSize,
          )
        : messageOf(cause).replace("options.elementSize", sizeName).replace("options.blockSize", "block_size");
      return refused(call, cause.code as ErrorCode, text, cause);
    },
  );
  Object.assign(state, new State(), { pool });
}

/**
 * A new object, or null when no memory is left. Throws `ERR_POOL_DEAD`, `ERR_NOT_CONFIGURED`, and what the init hook
 * throws.
 */
export function cork_mempool_new(mp: cork_mempool): number | null {
  const pool = poolOf("cork_mempool_new", mp);
  try {
    return toPtr(pool, pool.alloc());
  } catch (error) {
    if (!isMillpondError(error) || isFromHook(error)) throw error;
    if (error.code === "ERR_ALLOCATION_FAILED" || error.code === "ERR_POOL_FULL") return null;
    throw translated("cork_mempool_new", String(mp), error);
  }
}

/**
 * Frees an object. Throws where the original corrupts its list: `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE` (also for a
 * pointer into an object), `ERR_INVALID_ARG_TYPE` for null, `ERR_POOL_DEAD`.
 */
export function cork_mempool_free(mp: cork_mempool, ptr: number): void {
  const pool = poolOf("cork_mempool_free", mp);
  const pointer = fromPtr("cork_mempool_free", mp, pool, ptr);
  inDoor(
    () => pool.free(pointer),
    (cause) => translated("cork_mempool_free", `object ${ptr}`, cause),
  );
}

/**
 * Ends the pool: done hooks, blocks, user data. Throws `ERR_LIVE_OBJECTS` with the count, and then nothing has changed;
 * `ERR_POOL_DEAD` the second time.
 */
export function cork_mempool_done(mp: cork_mempool): void {
  const state = usable("cork_mempool_done", mp);
  const pool = poolOf("cork_mempool_done", mp);
  try {
    inDoor(
      () => pool.close(),
      (cause) => {
        const live = cause.details?.live;
        if (typeof live !== "number") return translated("cork_mempool_done", String(mp), cause);
        const text = `${live} objects are live; cork_mempool_free() them first`;
        return refused("cork_mempool_done", "ERR_LIVE_OBJECTS", text, cause);
      },
    );
  } finally {
    if (pool.isClosed) {
      const { userData, destroyUserData } = state;
      Object.assign(state, new State(), { pool });
      destroyUserData?.(userData);
    }
  }
}

/**
 * Sets what is called once for each slot of the blocks that are carved from now on, until the pool is done. Throws
 * `ERR_INVALID_ARG_TYPE`, `ERR_NOT_CONFIGURED`, `ERR_POOL_DEAD`.
 */
export function cork_mempool_set_init_object(mp: cork_mempool, fn: cork_init_f | null): void {
  const hook = hookOf("cork_mempool_set_init_object", "init_object", fn);
  usable("cork_mempool_set_init_object", mp).initObject = hook;
}

/**
 * Sets what is called once for each slot when the pool ends, also for slots that exist already. Throws as {@link
 * cork_mempool_set_init_object}.
 */
export function cork_mempool_set_done_object(mp: cork_mempool, fn: cork_done_f | null): void {
  const hook = hookOf("cork_mempool_set_done_object", "done_object", fn);
  usable("cork_mempool_set_done_object", mp).doneObject = hook;
}

/**
 * Sets what the hooks get; the value before is destroyed, also when it is the same. Throws as {@link
 * cork_mempool_set_init_object}.
 */
export function cork_mempool_set_user_data(
  mp: cork_mempool,
  data: unknown,
  destroy?: ((userData: unknown) => void) | null,
): void {
  const hook = hookOf("cork_mempool_set_user_data", "destroy", destroy ?? null);
  const state = usable("cork_mempool_set_user_data", mp);
  const { userData, destroyUserData } = state;
  state.destroyUserData = hook;
  state.userData = data;
  destroyUserData?.(userData);
}

/** The bytes of an object; a new view. Throws `ERR_USE_AFTER_RELEASE` and what {@link cork_mempool_free} throws. */
export function cork_mempool_bytes(mp: cork_mempool, ptr: number): Uint8Array {
  const pool = poolOf("cork_mempool_bytes", mp);
  const pointer = fromPtr("cork_mempool_bytes", mp, pool, ptr);
  return inDoor(
    () => pool.bytes(pointer),
    (cause) => translated("cork_mempool_bytes", `object ${ptr}`, cause),
  );
}

function refused(call: string, code: ErrorCode, text: string, cause?: MillpondError): DoorError {
  return new DoorError(CORK_FAILURE, code, `${call}(): ${text}`, cause?.details, cause && { cause });
}

function wrongType(call: string, name: string, expected: string, value: unknown): DoorError {
  return refused(call, "ERR_INVALID_ARG_TYPE", wants(name, expected, value));
}

/** What the core refuses about a pool or an object. */
function translated(call: string, subject: string, cause: MillpondError): DoorError {
  const why: Readonly<Record<string, string>> = {
    ERR_POOL_DEAD: "cork_mempool_done() ended this cork_mempool; cork_mempool_init() it again",
    ERR_REENTRANT: "it cannot be called from a hook of its own pool; a hook may read and write objects, no more",
    ERR_DOUBLE_RELEASE: `${subject} is free already; find the first cork_mempool_free() of it`,
    ERR_USE_AFTER_RELEASE: `${subject} is free; its bytes belong to the next cork_mempool_new()`,
    ERR_FOREIGN_RELEASE: `${subject} is not an object of this cork_mempool; pass what cork_mempool_new() gave, unchanged`,
    ERR_DETACHED: `the block of ${subject} was transferred away; copy bytes before posting them`,
  };
  return refused(call, cause.code as ErrorCode, why[cause.code] ?? `${subject}: ${messageOf(cause)}`, cause);
}

function structOf(call: string, mp: cork_mempool): State {
  const state = stateOf(mp);
  if (state !== undefined) return state;
  throw wrongType(call, "mp", "a cork_mempool", mp);
}

/** The struct, with a pool in it that is not done. */
function usable(call: string, mp: cork_mempool): State {
  const state = structOf(call, mp);
  if (!poolOf(call, mp).isClosed) return state;
  throw refused(call, "ERR_POOL_DEAD", "cork_mempool_done() ended this cork_mempool; cork_mempool_init() it again");
}

function poolOf(call: string, mp: cork_mempool): SlabPool {
  const { pool } = structOf(call, mp);
  if (pool === undefined) {
    throw refused(call, "ERR_NOT_CONFIGURED", "this cork_mempool is not initialized; call cork_mempool_init() first");
  }
  return pool;
}

/** A hook, or undefined for the null that takes it away. */
function hookOf<F>(call: string, name: string, fn: F | null): F | undefined {
  if (fn === null || typeof fn === "function") return fn ?? undefined;
  throw wrongType(call, name, "a function or null", fn);
}

function toPtr(pool: SlabPool, pointer: number): number {
  const slot = pointer & ((1 << pool.shift) - 1);
  return (pointer >> pool.shift) * pool.blockSize + slot * (pool.elementSize + HEADER);
}

/** The core's number of a pointer. A pool that is done has one word for every pointer, so it is asked. */
function fromPtr(call: string, mp: cork_mempool, pool: SlabPool, ptr: number): number {
  if (typeof ptr !== "number") throw wrongType(call, "ptr", "a number that cork_mempool_new() gave", ptr);
  if (pool.isClosed) usable(call, mp);
  const slot = (ptr % pool.blockSize) / (pool.elementSize + HEADER);
  if (!Number.isInteger(ptr) || ptr < 0 || !Number.isInteger(slot) || slot >= pool.capacity) {
    const text = `${ptr} is not an object of this cork_mempool; pass what cork_mempool_new() gave, unchanged`;
    throw refused(call, "ERR_FOREIGN_RELEASE", text);
  }
  return Math.floor(ptr / pool.blockSize) * 2 ** pool.shift + slot;
}
