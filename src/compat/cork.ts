/**
 * libcork's front door: `cork_mempool` in the words of its first generation, where the caller owns the struct, over SlabPool.
 *
 * A "pointer" is a payload offset, as if blocks lay one after the other: the number of the block times the block size, plus the
 * distance from the first payload of its block. A pool of 8-byte objects in 64-byte blocks gives 32, 16, 0, then 96, 80, 64. So
 * 0 is a pointer, and `null` is none. `cork_mempool_bytes` gives what the C pointer gives for free.
 */
import { wrongType } from "../observe/arguments.ts";
import { isMillpondError, MillpondError } from "../observe/errors.ts";
import { foreignPointer } from "../pools/slab-errors.ts";
import { SlabPool } from "../pools/slab-pool.ts";

/** libcork's default block size in bytes. */
const DEFAULT_BLOCK = 4096;

/** The header in front of each object, which is part of the stride. */
const HEADER = 8;

type Hook = (userData: unknown, ptr: number) => void;

/** The caller-owned struct; `cork_mempool_init*` makes it usable, `cork_mempool_done` ends it, and it may be initialised again. */
export class cork_mempool {
  /** @internal */
  pool: SlabPool | undefined = undefined;
  /** @internal */
  initObject: Hook | undefined = undefined;
  /** @internal */
  doneObject: Hook | undefined = undefined;
  /** @internal */
  userData: unknown = undefined;
  /** @internal */
  destroyUserData: ((userData: unknown) => void) | undefined = undefined;
}

/** Initialises a pool of `element_size` bytes in blocks of 4096. Throws as {@link cork_mempool_init_size_ex}. */
export function cork_mempool_init_size(mp: cork_mempool, element_size: number): void {
  cork_mempool_init_size_ex(mp, element_size, DEFAULT_BLOCK);
}

/**
 * Initialises a pool with a block size in bytes; no block is allocated yet. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE` when not
 * one element fits into a block, `ERR_ALREADY_EXISTS` when the struct holds a pool that is not done.
 */
export function cork_mempool_init_size_ex(mp: cork_mempool, element_size: number, block_size: number): void {
  if (structOf(mp).pool?.isClosed === false) {
    throw new MillpondError(
      "ERR_ALREADY_EXISTS",
      "this cork_mempool is initialised already; cork_mempool_done() it first",
    );
  }
  const pool: SlabPool = new SlabPool({
    name: "cork_mempool",
    elementSize: element_size,
    blockSize: block_size,
    init: (pointer) => mp.initObject?.(mp.userData, toPtr(pool, pointer)),
    done: (pointer) => mp.doneObject?.(mp.userData, toPtr(pool, pointer)),
  });
  mp.pool = pool;
}

/** Initialises a pool for a struct layout. Throws as {@link cork_mempool_init_size_ex}. */
export function cork_mempool_init(mp: cork_mempool, type: { readonly size: number }): void {
  cork_mempool_init_ex(mp, type, DEFAULT_BLOCK);
}

/** Initialises a pool for a struct layout, with a block size. Throws as {@link cork_mempool_init_size_ex}. */
export function cork_mempool_init_ex(mp: cork_mempool, type: { readonly size: number }, block_size: number): void {
  if (type === null || typeof type !== "object") throw wrongType("type", "a layout with a size", type);
  cork_mempool_init_size_ex(mp, type.size, block_size);
}

/** A new object, or null when no memory is left. Throws `ERR_POOL_DEAD`, `ERR_NOT_CONFIGURED`, and what the init hook throws. */
export function cork_mempool_new(mp: cork_mempool): number | null {
  const pool = poolOf(mp);
  try {
    return toPtr(pool, pool.alloc());
  } catch (error) {
    if (isMillpondError(error, "ERR_ALLOCATION_FAILED") || isMillpondError(error, "ERR_POOL_FULL")) return null;
    throw error;
  }
}

/**
 * Frees an object. Throws where the original corrupts its list: `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE` (also for a pointer into
 * an object), `ERR_INVALID_ARG_TYPE` for null, `ERR_POOL_DEAD`.
 */
export function cork_mempool_free(mp: cork_mempool, ptr: number): void {
  const pool = poolOf(mp);
  pool.free(fromPtr(pool, ptr, "free"));
}

/** Ends the pool: done hooks, blocks, user data. Throws `ERR_LIVE_OBJECTS` with the count, and then nothing has changed. */
export function cork_mempool_done(mp: cork_mempool): void {
  const pool = poolOf(mp);
  try {
    pool.close();
  } finally {
    if (pool.isClosed) cork_mempool_set_user_data(mp, undefined);
  }
}

/** Sets what is called once for each slot of the blocks that are carved from now on. Throws `ERR_INVALID_ARG_TYPE`. */
export function cork_mempool_set_init_object(mp: cork_mempool, fn: Hook | null): void {
  structOf(mp).initObject = hook(fn);
}

/** Sets what is called once for each slot when the pool ends, also for slots that exist already. Throws `ERR_INVALID_ARG_TYPE`. */
export function cork_mempool_set_done_object(mp: cork_mempool, fn: Hook | null): void {
  structOf(mp).doneObject = hook(fn);
}

/** Sets what the hooks get; the value before is destroyed, also when it is the same. Throws `ERR_INVALID_ARG_TYPE`. */
export function cork_mempool_set_user_data(
  mp: cork_mempool,
  data: unknown,
  destroy?: ((userData: unknown) => void) | null,
): void {
  const { userData, destroyUserData } = structOf(mp);
  mp.destroyUserData = hook(destroy);
  mp.userData = data;
  destroyUserData?.(userData);
}

/** The bytes of an object; a new view. Throws `ERR_USE_AFTER_RELEASE` and what {@link cork_mempool_free} throws. */
export function cork_mempool_bytes(mp: cork_mempool, ptr: number): Uint8Array {
  const pool = poolOf(mp);
  return pool.bytes(fromPtr(pool, ptr, "use"));
}

function structOf(mp: cork_mempool): cork_mempool {
  if (mp instanceof cork_mempool) return mp;
  throw wrongType("mp", "a cork_mempool", mp);
}

function poolOf(mp: cork_mempool): SlabPool {
  const { pool } = structOf(mp);
  if (pool !== undefined) return pool;
  throw new MillpondError("ERR_NOT_CONFIGURED", "this cork_mempool is not initialised; call cork_mempool_init() first");
}

function hook<F>(fn: F | null | undefined): F | undefined {
  if (fn !== null && fn !== undefined && typeof fn !== "function") throw wrongType("fn", "a function or null", fn);
  return fn ?? undefined;
}

function toPtr(pool: SlabPool, pointer: number): number {
  const slot = pointer & ((1 << pool.shift) - 1);
  return (pointer >> pool.shift) * pool.blockSize + slot * (pool.elementSize + HEADER);
}

function fromPtr(pool: SlabPool, ptr: number, verb: "free" | "use"): number {
  if (typeof ptr !== "number") throw wrongType("ptr", "a number that cork_mempool_new() gave", ptr);
  const slot = (ptr % pool.blockSize) / (pool.elementSize + HEADER);
  // A closed pool has its own word for every pointer, so it is asked.
  if (pool.isClosed) return 0;
  if (!Number.isInteger(ptr) || ptr < 0 || !Number.isInteger(slot) || slot >= pool.capacity) {
    throw foreignPointer(pool.name, ptr, verb);
  }
  return Math.floor(ptr / pool.blockSize) * 2 ** pool.shift + slot;
}
