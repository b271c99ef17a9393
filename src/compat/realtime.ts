/**
 * BeOS's front door: the rtm_* functions of the Media Kit in their own words, over RealtimePool. Where the contract (the Be
 * Book) and Haiku's implementation disagree, the contract holds; docs/differences.md has the list.
 */
import type { Memory } from "../memory/memory.ts";
import { isMillpondError } from "../observe/errors.ts";
import { RealtimePool } from "../pools/realtime-pool.ts";

/** Success; never thrown. */
export const B_OK = 0;
/** No memory for a new pool. */
export const B_NO_MEMORY = -2147483648;
/** A null pool or block, or a size or name that cannot be. */
export const B_BAD_VALUE = -2147483643;
/** The default pool exists already. */
export const EALREADY = -2147454939;

/** The error of a call that failed: branch on `status`. */
export class RtmError extends Error {
  /** The reference's number: {@link B_NO_MEMORY}, {@link B_BAD_VALUE} or {@link EALREADY}. */
  readonly status: number;

  /** Most callers only catch it. */
  constructor(status: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "RtmError";
    this.status = status;
  }
}

/** An opaque pool. */
export class rtm_pool {
  /** @internal */
  readonly pool: RealtimePool;

  /** @internal Use {@link rtm_create_pool}. */
  constructor(pool: RealtimePool) {
    this.pool = pool;
  }
}

/** A block, which stands for the pointer of the C call. */
export class rtm_block {
  /** @internal */
  readonly pool: RealtimePool;
  /** @internal */
  memory: Memory;

  /** @internal Use {@link rtm_alloc}. */
  constructor(pool: RealtimePool, memory: Memory) {
    this.pool = pool;
    this.memory = memory;
  }

  /** The bytes of the block. Throws `ERR_USE_AFTER_RELEASE` (a MillpondError) once it was freed or moved. */
  get bytes(): Uint8Array {
    const bytes = this.memory.lock("readwrite");
    this.memory.unlock("readwrite");
    return bytes;
  }
}

/** The core's codes in the reference's numbers; misuse that the reference does not notice keeps the core's own error. */
function translate<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (!isMillpondError(error)) throw error;
    const status = {
      ERR_ALREADY_EXISTS: EALREADY,
      ERR_ALLOCATION_FAILED: B_NO_MEMORY,
      ERR_OUT_OF_RANGE: B_BAD_VALUE,
      ERR_INVALID_ARG_TYPE: B_BAD_VALUE,
      ERR_INVALID_ARG_VALUE: B_BAD_VALUE,
    }[error.code as string];
    throw status === undefined ? error : new RtmError(status, error.message, { cause: error });
  }
}

/** The result, or null where the pool is full. */
function orNull<T>(call: () => T): T | null {
  try {
    return translate(call);
  } catch (error) {
    if (isMillpondError(error, "ERR_POOL_FULL")) return null;
    throw error;
  }
}

function known(block: rtm_block | null): rtm_block {
  if (block instanceof rtm_block) return block;
  throw new RtmError(B_BAD_VALUE, "the block is null, or none of rtm_alloc()");
}

let defaultPool: rtm_pool | undefined;

/** A new pool. Throws `B_BAD_VALUE` (size, or a name over 32 bytes), `B_NO_MEMORY`. */
export function rtm_create_pool(totalSize: number, name?: string | null): rtm_pool {
  return new rtm_pool(translate(() => RealtimePool.create(totalSize, name == null ? {} : { name })));
}

/** The C call with a null `outPool`: the default pool. Throws `EALREADY` when it exists, else as {@link rtm_create_pool}. */
export function rtm_create_default_pool(totalSize?: number): rtm_pool {
  translate(() => RealtimePool.createDefault(totalSize));
  return rtm_default_pool()!;
}

/** Deletes a pool. Throws `B_BAD_VALUE` for null and for the default pool; the core's `ERR_LIVE_OBJECTS` while blocks are live. */
export function rtm_delete_pool(pool: rtm_pool | null): void {
  if (!(pool instanceof rtm_pool)) throw new RtmError(B_BAD_VALUE, "the pool is null");
  if (pool.pool === RealtimePool.default) throw new RtmError(B_BAD_VALUE, "the default pool cannot be deleted");
  translate(() => pool.pool.delete());
}

/** The default pool, or null when nobody has created it. */
export function rtm_default_pool(): rtm_pool | null {
  const { default: pool } = RealtimePool;
  if (pool === undefined) return null;
  defaultPool ??= new rtm_pool(pool);
  return defaultPool;
}

/**
 * A block, or null when the pool is full or the size is 0. A null pool is the default pool, which is created if need be.
 * Throws `B_BAD_VALUE` for what is no size.
 */
export function rtm_alloc(pool: rtm_pool | null, size: number): rtm_block | null {
  if (size === 0) return null;
  const { pool: core } = pool ?? rtm_default_pool() ?? rtm_create_default_pool();
  return orNull(() => new rtm_block(core, core.allocate(size)));
}

/** Frees a block. Throws `B_BAD_VALUE` for null; the core's `ERR_DOUBLE_RELEASE` for the second time. */
export function rtm_free(block: rtm_block | null): void {
  const { pool, memory } = known(block);
  translate(() => pool.free(memory));
}

/**
 * Makes a block hold `newSize` bytes and answers it: the same one where it stayed in place, else another, and the old is dead.
 * Null: the pool is full, and the old block is still valid; or newSize was 0, and it is freed. A null block: {@link rtm_alloc} on
 * the default pool.
 */
export function rtm_realloc(block: rtm_block | null, newSize: number): rtm_block | null {
  if (block === null) return rtm_alloc(null, newSize);
  const { pool, memory } = known(block);
  if (newSize === 0) {
    rtm_free(block);
    return null;
  }
  const { byteOffset } = memory.region.bytes;
  const now = orNull(() => pool.reallocate(memory, newSize));
  if (now === null) return null;
  if (now !== memory && now.region.bytes.byteOffset !== byteOffset) return new rtm_block(pool, now);
  // The C pointer would still be the same, so the block is.
  block.memory = now;
  return block;
}

/** The bytes that were asked for. Throws `B_BAD_VALUE` for null. */
export function rtm_size_for(block: rtm_block | null): number {
  const { pool, memory } = known(block);
  return translate(() => pool.sizeOf(memory));
}

/** The bytes that the block can hold without moving; at least {@link rtm_size_for}. Throws `B_BAD_VALUE` for null. */
export function rtm_phys_size_for(block: rtm_block | null): number {
  const { pool, memory } = known(block);
  return translate(() => pool.physicalSizeOf(memory));
}
