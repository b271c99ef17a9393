/**
 * libcork's front door: `cork_mempool` in the words of its first generation, where the caller owns the struct, over SlabPool.
 * A "pointer" is the core's integer; `cork_mempool_bytes` gives what the C pointer gives for free.
 */
import { isMillpondError } from "../observe/errors.ts";
import { SlabPool } from "../pools/slab-pool.ts";

/** libcork's default block size in bytes. */
const DEFAULT_BLOCK = 4096;

type Hook = (userData: unknown, ptr: number) => void;

/** The caller-owned struct; `cork_mempool_init*` makes it usable. */
export class cork_mempool {
  /** @internal */
  pool: SlabPool | undefined;
  /** @internal */
  initObject: Hook | undefined;
  /** @internal */
  doneObject: Hook | undefined;
  /** @internal */
  userData: unknown;
  /** @internal */
  destroyUserData: ((userData: unknown) => void) | undefined;
}

/** Initialises a pool of `element_size` bytes in blocks of 4096. Throws `ERR_OUT_OF_RANGE` when none fits. */
export function cork_mempool_init_size(mp: cork_mempool, element_size: number): void {
  cork_mempool_init_size_ex(mp, element_size, DEFAULT_BLOCK);
}

/** Initialises a pool with a block size. Throws `ERR_OUT_OF_RANGE` when not one element fits into a block. */
export function cork_mempool_init_size_ex(mp: cork_mempool, element_size: number, block_size: number): void {
  mp.pool = new SlabPool({
    name: "cork_mempool",
    elementSize: element_size,
    blockSize: block_size,
    init: (pointer) => mp.initObject?.(mp.userData, pointer),
    done: (pointer) => mp.doneObject?.(mp.userData, pointer),
  });
}

/** Initialises a pool for a struct layout. */
export function cork_mempool_init(mp: cork_mempool, type: { readonly size: number }): void {
  cork_mempool_init_size(mp, type.size);
}

/** Initialises a pool for a struct layout, with a block size. */
export function cork_mempool_init_ex(mp: cork_mempool, type: { readonly size: number }, block_size: number): void {
  cork_mempool_init_size_ex(mp, type.size, block_size);
}

/** A new object, or null when no memory is left. */
export function cork_mempool_new(mp: cork_mempool): number | null {
  try {
    return poolOf(mp).alloc();
  } catch (error) {
    if (isMillpondError(error, "ERR_ALLOCATION_FAILED") || isMillpondError(error, "ERR_POOL_FULL")) return null;
    throw error;
  }
}

/** Frees an object. Throws `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE` where the original corrupts its list. */
export function cork_mempool_free(mp: cork_mempool, ptr: number): void {
  poolOf(mp).free(ptr);
}

/** Ends the pool: done hooks, blocks, user data. Throws `ERR_LIVE_OBJECTS` with the count, and then nothing has changed. */
export function cork_mempool_done(mp: cork_mempool): void {
  poolOf(mp).close();
  mp.pool = undefined;
  cork_mempool_set_user_data(mp, undefined);
}

/** Sets what is called once for each slot of the blocks that are carved from now on. */
export function cork_mempool_set_init_object(mp: cork_mempool, fn: Hook | null): void {
  mp.initObject = fn ?? undefined;
}

/** Sets what is called once for each slot when the pool ends. */
export function cork_mempool_set_done_object(mp: cork_mempool, fn: Hook | null): void {
  mp.doneObject = fn ?? undefined;
}

/** Sets what the hooks get; the value before is destroyed first, also when it is the same. */
export function cork_mempool_set_user_data(
  mp: cork_mempool,
  data: unknown,
  destroy?: (userData: unknown) => void,
): void {
  mp.destroyUserData?.(mp.userData);
  mp.userData = data;
  mp.destroyUserData = destroy;
}

/** The bytes of an object; a new view. Throws `ERR_USE_AFTER_RELEASE`, `ERR_FOREIGN_RELEASE`. */
export function cork_mempool_bytes(mp: cork_mempool, ptr: number): Uint8Array {
  return poolOf(mp).bytes(ptr);
}

function poolOf(mp: cork_mempool): SlabPool {
  if (mp.pool === undefined) throw new TypeError("this cork_mempool is not initialised, or is done");
  return mp.pool;
}
