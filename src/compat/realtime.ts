/**
 * BeOS's front door: the rtm_* functions and the roster's realtime flags of the Media Kit in their own words, over
 * RealtimePool. Where the contract (the Be Book) and Haiku's implementation disagree, the contract holds;
 * docs/doors/realtime.md goes function by function.
 *
 * ```ts
 * BMediaRoster.Roster().SetRealtimeFlags(B_MEDIA_REALTIME_ALLOCATOR);   // pools from now on are locked into RAM
 * const pool = rtm_create_pool(65_536, "mixer");
 * const block = rtm_alloc(pool, 512);                                   // null: the pool is full
 * rtm_free(block);
 * rtm_delete_pool(pool);
 * ```
 */
import type { Memory } from "../memory/memory.ts";
import { RealtimeFlags, realtimePreference, setRealtimePreference } from "../pools/realtime/preference.ts";
import { RealtimePool } from "../pools/realtime/realtime-pool.ts";
import { type ErrorCode, isMillpondError, type MillpondError } from "../util/errors.ts";
import { argumentCode, assertMaker, DoorError, inDoor, MAKE, messageOf, wants } from "./door-error.ts";

/** Success; never thrown. */
export const B_OK = 0;
/** Any other failure: blocks are live, a block was overrun. */
export const B_ERROR = -1;
/** No memory for a new pool. */
export const B_NO_MEMORY = -2147483648;
/** A null pool or block, one that is dead or of another make, or a size or name that cannot be. */
export const B_BAD_VALUE = -2147483643;
/** The default pool exists already. */
export const EALREADY = -2147454939;

/** Flag: realtime pools are locked into RAM. */
export const B_MEDIA_REALTIME_ALLOCATOR = 1;
/** Flag: audio runs as realtime work. */
export const B_MEDIA_REALTIME_AUDIO = 2;
/** Flag: video runs as realtime work. */
export const B_MEDIA_REALTIME_VIDEO = 4;
/** All flags, also those that are not defined yet. */
export const B_MEDIA_REALTIME_ANYKIND = 0xffff;
/** Status: it was asked for, and the user's preference is not to. */
export const B_MEDIA_REALTIME_DISABLED = -2147467135;
/** Status: it was asked for, and this machine or process cannot do it. */
export const B_MEDIA_REALTIME_UNAVAILABLE = -2147467134;

/** The error of a call that failed: branch on `status`. */
export class RtmError extends DoorError {
  /** Most callers only catch it. */
  constructor(status: number, code: ErrorCode, message: string, options?: ErrorOptions) {
    super(status, code, message, undefined, options);
  }
}

let makePool: (pool: RealtimePool) => rtm_pool;
let isPool: (value: unknown) => value is rtm_pool;
let makeBlock: (pool: RealtimePool, memory: Memory) => rtm_block;
let isBlock: (value: unknown) => value is rtm_block;
let memoryOf: (block: rtm_block) => Memory;
let setMemory: (block: rtm_block, memory: Memory) => void;

/** An opaque pool; {@link rtm_create_pool} makes it. */
export class rtm_pool {
  /** The core's pool underneath, with its statistics and its integer interface. */
  readonly pool: RealtimePool;
  /** No other object is a pool, to the compiler and at run time. */
  readonly #made: boolean;

  private constructor(key: symbol, pool: RealtimePool) {
    assertMaker(key, "rtm_pool", "rtm_create_pool()", B_BAD_VALUE);
    this.#made = true;
    this.pool = pool;
  }

  /**
   * What came of locking the pool into RAM when it was made: `B_OK`; {@link B_MEDIA_REALTIME_DISABLED} where the
   * ALLOCATOR flag was off; {@link B_MEDIA_REALTIME_UNAVAILABLE} where it was on and the bytes could not be locked
   * (`pool.lockReason` says why).
   */
  get lockStatus(): number {
    const { locked, lockReason } = this.pool;
    if (locked) return B_OK;
    return lockReason?.startsWith("disabled:") === true ? B_MEDIA_REALTIME_DISABLED : B_MEDIA_REALTIME_UNAVAILABLE;
  }

  /** What this pool is and holds. */
  toString(): string {
    const { pool } = this;
    if (isClosed(pool)) return `rtm_pool "${pool.name}" (deleted)`;
    const { totalSize, liveBlocks } = pool.stats();
    return `rtm_pool "${pool.name}" of ${totalSize} bytes (${liveBlocks} blocks, ${pool.locked ? "locked" : "not locked"})`;
  }

  static {
    makePool = (pool) => new rtm_pool(MAKE, pool);
    isPool = (value): value is rtm_pool => typeof value === "object" && value !== null && #made in value && value.#made;
  }
}

/** A block, which stands for the pointer of the C call; {@link rtm_alloc} makes it. */
export class rtm_block {
  /** The core's pool that it lies in. */
  readonly pool: RealtimePool;
  #memory: Memory;

  private constructor(key: symbol, pool: RealtimePool, memory: Memory) {
    assertMaker(key, "rtm_block", "rtm_alloc()", B_BAD_VALUE);
    this.pool = pool;
    this.#memory = memory;
  }

  /** The bytes of the block. Throws `B_BAD_VALUE` once it was freed or moved, or its pool is deleted. */
  get bytes(): Uint8Array {
    return inDoor(
      () => {
        const bytes = this.#memory.lock("readwrite");
        this.#memory.unlock("readwrite");
        return bytes;
      },
      (cause) => blockError("rtm_block.bytes", this, cause),
    );
  }

  /** What this block is. */
  toString(): string {
    const { pool } = this;
    const where = isClosed(pool) ? `deleted pool "${pool.name}"` : `pool "${pool.name}"`;
    if (this.#memory.refCount === 0) return `rtm_block of ${where} (freed)`;
    return `rtm_block of ${this.#memory.size} bytes in ${where}`;
  }

  static {
    makeBlock = (pool, memory) => new rtm_block(MAKE, pool, memory);
    isBlock = (value): value is rtm_block => typeof value === "object" && value !== null && #memory in value;
    memoryOf = (block) => block.#memory;
    setMemory = (block, memory) => {
      block.#memory = memory;
    };
  }
}

function isClosed(pool: RealtimePool): boolean {
  return pool.isClosed;
}

/** A wrong argument: `B_BAD_VALUE`, with the value as the caller passed it. */
function badArgument(call: string, name: string, expected: string, value: unknown, code?: ErrorCode): RtmError {
  return new RtmError(B_BAD_VALUE, code ?? argumentCode(value), `${call}(): ${wants(name, expected, value)}`);
}

/** What the core refuses about a pool. */
function poolError(call: string, pool: string, cause: MillpondError): RtmError {
  if (cause.code === "ERR_POOL_DEAD") {
    const text = `${call}() refuses ${pool}: rtm_delete_pool() was called on it already`;
    return new RtmError(B_BAD_VALUE, "ERR_POOL_DEAD", text, { cause });
  }
  const status = {
    ERR_ALREADY_EXISTS: EALREADY,
    ERR_ALLOCATION_FAILED: B_NO_MEMORY,
    ERR_OUT_OF_RANGE: B_BAD_VALUE,
    ERR_INVALID_ARG_TYPE: B_BAD_VALUE,
    ERR_INVALID_ARG_VALUE: B_BAD_VALUE,
  }[cause.code as string];
  // The core's option is this door's argument.
  const text = `${call}(): ${messageOf(cause).replace(/^options\./, "")}`;
  return new RtmError(status ?? B_ERROR, cause.code as ErrorCode, text, { cause });
}

/** What the core refuses about a block. */
function blockError(call: string, block: rtm_block, cause: MillpondError): RtmError {
  const why: Readonly<Record<string, string>> = {
    ERR_DOUBLE_RELEASE: "it is freed already; find the first rtm_free() of it",
    ERR_USE_AFTER_RELEASE: "it was freed, or rtm_realloc() moved it; use what that returned",
    ERR_DETACHED: "the bytes of its pool were transferred away; copy them before posting them",
  };
  if (isClosed(block.pool)) {
    const text = `${call}() refuses ${block}: its pool was deleted`;
    return new RtmError(B_BAD_VALUE, "ERR_POOL_DEAD", text, { cause });
  }
  const known = why[cause.code];
  if (known !== undefined) {
    return new RtmError(B_BAD_VALUE, cause.code as ErrorCode, `${call}() refuses ${block}: ${known}`, { cause });
  }
  return poolError(call, String(block), cause);
}

/** The result, or null where the pool is full. */
function orNull<T>(call: () => T, translate: (cause: MillpondError) => RtmError): T | null {
  try {
    return call();
  } catch (error) {
    if (isMillpondError(error, "ERR_POOL_FULL")) return null;
    throw isMillpondError(error) ? translate(error) : error;
  }
}

function poolOf(call: string, pool: rtm_pool): rtm_pool {
  if (isPool(pool)) return pool;
  throw badArgument(call, "pool", "a pool of rtm_create_pool()", pool, "ERR_INVALID_ARG_TYPE");
}

function blockOf(call: string, block: rtm_block | null): rtm_block {
  if (isBlock(block)) return block;
  throw badArgument(call, "block", "a block of rtm_alloc()", block, "ERR_INVALID_ARG_TYPE");
}

/** A size of 0 is not an error here. */
function checkSize(call: string, name: string, size: number): void {
  if (Number.isInteger(size) && size >= 0) return;
  throw badArgument(call, name, "a whole number of bytes, 0 or more", size);
}

let defaultPool: rtm_pool | undefined;

/**
 * A new pool, locked into RAM if {@link B_MEDIA_REALTIME_ALLOCATOR} is on and that can be done; {@link
 * rtm_pool.lockStatus} says.
 * Throws `B_BAD_VALUE` (size, or a name over 32 bytes), `B_NO_MEMORY`.
 */
export function rtm_create_pool(totalSize: number, name?: string | null): rtm_pool {
  const options = { lock: "preference", ...(name === null || name === undefined ? {} : { name }) } as const;
  return makePool(
    inDoor(
      () => RealtimePool.create({ totalSize, ...options }),
      (cause) => poolError("rtm_create_pool", "", cause),
    ),
  );
}

/**
 * The C call with a null `outPool`: the default pool. Throws `EALREADY` when it exists, else as {@link
 * rtm_create_pool}.
 */
export function rtm_create_default_pool(totalSize?: number): rtm_pool {
  inDoor(
    () => RealtimePool.createDefault({ lock: "preference", ...(totalSize === undefined ? {} : { totalSize }) }),
    (cause) => {
      if (cause.code !== "ERR_ALREADY_EXISTS") return poolError("rtm_create_default_pool", "", cause);
      const text = "rtm_create_default_pool(): the default pool exists already; rtm_default_pool() is it";
      return new RtmError(EALREADY, "ERR_ALREADY_EXISTS", text, { cause });
    },
  );
  return rtm_default_pool()!;
}

/**
 * Deletes a pool. Throws `B_BAD_VALUE` for null, for the default pool and for one that is deleted; `B_ERROR` with the
 * code `ERR_LIVE_OBJECTS` while blocks are live.
 */
export function rtm_delete_pool(pool: rtm_pool | null): void {
  const { pool: core } = poolOf("rtm_delete_pool", pool as rtm_pool);
  if (core === RealtimePool.default) {
    const text = "rtm_delete_pool(): the default pool cannot be deleted; others may be using it";
    throw new RtmError(B_BAD_VALUE, "ERR_UNSUPPORTED", text);
  }
  if (isClosed(core)) {
    const text = `rtm_delete_pool() refuses ${pool}: rtm_delete_pool() was called on it already`;
    throw new RtmError(B_BAD_VALUE, "ERR_POOL_DEAD", text);
  }
  const live = core.holders();
  if (live.length > 0) {
    const sizes = live.slice(0, 8).map(({ size }) => size);
    const some = `${sizes.join(", ")}${live.length > sizes.length ? ", ..." : ""} bytes`;
    const text = `rtm_delete_pool() refuses ${pool}: ${live.length === 1 ? "1 block is" : `${live.length} blocks are`} live (${some}); rtm_free() them first`;
    throw new RtmError(B_ERROR, "ERR_LIVE_OBJECTS", text);
  }
  inDoor(
    () => core.close(),
    (cause) => poolError("rtm_delete_pool", String(pool), cause),
  );
}

/** The default pool, or null when nobody has created it. */
export function rtm_default_pool(): rtm_pool | null {
  const { default: pool } = RealtimePool;
  if (pool === undefined) return null;
  defaultPool ??= makePool(pool);
  return defaultPool;
}

/**
 * A block, or null when the pool is full or the size is 0. A null pool is the default pool, which is created if need
 * be.
 * Throws `B_BAD_VALUE` for what is not a pool, a deleted one, and what is not a size.
 */
export function rtm_alloc(pool: rtm_pool | null, size: number): rtm_block | null {
  const asked = pool === null ? null : poolOf("rtm_alloc", pool);
  checkSize("rtm_alloc", "size", size);
  if (size === 0) return null;
  const { pool: core } = asked ?? rtm_default_pool() ?? rtm_create_default_pool();
  return orNull(
    () => makeBlock(core, core.allocate(size)),
    (cause) => poolError("rtm_alloc", `pool "${core.name}"`, cause),
  );
}

/** Frees a block. Throws `B_BAD_VALUE` for null, for one that is freed already, and where its pool is deleted. */
export function rtm_free(block: rtm_block | null): void {
  const known = blockOf("rtm_free", block);
  inDoor(
    () => known.pool.release(memoryOf(known)),
    (cause) => blockError("rtm_free", known, cause),
  );
}

/**
 * Makes a block hold `newSize` bytes and answers it: the same one where it stayed in place, else another, and the old
 * is dead. Null: the pool is full, and the old block is still valid; or newSize was 0, and it is freed. A null block:
 * {@link rtm_alloc} on the default pool. Throws as {@link rtm_free}, and `B_BAD_VALUE` for what is not a size.
 */
export function rtm_realloc(block: rtm_block | null, newSize: number): rtm_block | null {
  checkSize("rtm_realloc", "newSize", newSize);
  if (block === null) return rtm_alloc(null, newSize);
  const known = blockOf("rtm_realloc", block);
  const { pool } = known;
  const memory = memoryOf(known);
  const translate = (cause: MillpondError): RtmError => blockError("rtm_realloc", known, cause);
  if (newSize === 0) {
    inDoor(() => pool.release(memory), translate);
    return null;
  }
  const { byteOffset } = memory.region.bytes;
  const now = orNull(() => pool.reallocate(memory, newSize), translate);
  if (now === null) return null;
  if (now !== memory && now.region.bytes.byteOffset !== byteOffset) return makeBlock(pool, now);
  // The C pointer would still be the same, so the block is.
  setMemory(known, now);
  return known;
}

/** The bytes that were asked for. Throws `B_BAD_VALUE` for null and for a block that is freed. */
export function rtm_size_for(block: rtm_block | null): number {
  const known = blockOf("rtm_size_for", block);
  return inDoor(
    () => known.pool.sizeOf(memoryOf(known)),
    (cause) => blockError("rtm_size_for", known, cause),
  );
}

/** The bytes that the block can hold without moving; at least {@link rtm_size_for}. Throws as that. */
export function rtm_phys_size_for(block: rtm_block | null): number {
  const known = blockOf("rtm_phys_size_for", block);
  return inDoor(
    () => known.pool.physicalSizeOf(memoryOf(known)),
    (cause) => blockError("rtm_phys_size_for", known, cause),
  );
}

let makeRoster: () => BMediaRoster;

/**
 * The part of the media roster that has the user's realtime preference. It begins as the environment variable
 * `MILLPOND_REALTIME` says (`none`, `any`, or some of `allocator,audio,video`; default `allocator`).
 */
export class BMediaRoster {
  private constructor(key: symbol) {
    assertMaker(key, "BMediaRoster", "BMediaRoster.Roster()", B_BAD_VALUE);
  }

  /** The roster of this realm: the same object at every call. */
  static Roster(): BMediaRoster {
    roster ??= makeRoster();
    return roster;
  }

  /** The flags that hold now: `B_MEDIA_REALTIME_*`. */
  GetRealtimeFlags(): number {
    return realtimePreference();
  }

  /**
   * Sets the flags for pools that are made from now on. Returns a status: `B_OK`, or `B_BAD_VALUE` and nothing has
   * changed.
   */
  SetRealtimeFlags(flags: number): number {
    if (!Number.isInteger(flags) || flags < 0 || flags > RealtimeFlags.ANYKIND) return B_BAD_VALUE;
    setRealtimePreference(flags);
    return B_OK;
  }

  /** The roster and its flags. */
  toString(): string {
    return `BMediaRoster (realtime flags 0x${this.GetRealtimeFlags().toString(16)})`;
  }

  static {
    makeRoster = () => new BMediaRoster(MAKE);
  }
}

let roster: BMediaRoster | undefined;
