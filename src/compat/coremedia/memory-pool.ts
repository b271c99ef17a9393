/**
 * `CMMemoryPool` over PagePool, and the part of Core Foundation's allocator interface that it needs. Bytes are a {@link
 * Memory} where the original has a pointer.
 *
 * ```ts
 * const pool = CMMemoryPoolCreate({ [kCMMemoryPoolOption_AgeOutPeriod]: 1 }); // seconds
 * const allocator = CMMemoryPoolGetAllocator(pool);
 * const block = CFAllocatorAllocate(allocator, 3_110_400);
 * CFAllocatorDeallocate(allocator, block);                                    // kept a second for the next
 * CMMemoryPoolInvalidate(pool);                                               // the allocator stays usable
 * ```
 */
import { Allocator } from "../../memory/allocator.ts";
import { exchangeFor, isMemory, type Mapping, type Memory, releaseFailed, unmapFailed } from "../../memory/memory.ts";
import { MemoryFlags } from "../../memory/params.ts";
import { inheritWipe } from "../../memory/region.ts";
import { PageAllocator } from "../../pools/page/page-allocator.ts";
import { PagePool } from "../../pools/page/page-pool.ts";
import { type Clock, systemClock } from "../../util/clock.ts";
import { type DoorCode, type ErrorCode, isMillpondError, type MillpondError } from "../../util/errors.ts";
import { isMade } from "../../util/validate.ts";
import { argumentCode, DoorError, inDoor, MAKE, messageOf, wants } from "../door-error.ts";
import { assertAlive, CFType, isFinalized } from "./cf-type.ts";

/** The option for the age in seconds, fractions allowed; default 0.5, 0: nothing is kept, `Infinity`: without end. */
export const kCMMemoryPoolOption_AgeOutPeriod = "AgeOutPeriod";

/** `status` of an error: pages could not be had. */
export const kCMMemoryPoolError_AllocationFailed = -15490;

/** `status` of an error: an argument is missing or not allowed. */
export const kCMMemoryPoolError_InvalidParameter = -15491;

/** What the pool's allocator is here: any Allocator of the core. */
export type CFAllocator = Allocator;

/** Stands for the default allocator of the time of the call. */
export const kCFAllocatorDefault = null;

class NullAllocator extends Allocator {
  protected override allocateRegion(): undefined {
    return undefined;
  }
  protected override freeRegion(): void {}
}

/** Allocates nothing and frees nothing: as the allocator of a block that is somebody else's to free. */
export const kCFAllocatorNull: CFAllocator = new NullAllocator("kCFAllocatorNull");

/**
 * The error of a call that failed with one of Core Media's numbers; misuse of a block is a {@link DoorError} with one
 * too.
 */
export class CMMemoryPoolError extends DoorError {
  /** As {@link DoorError}: one of the two `kCMMemoryPoolError` constants in front. */
  constructor(status: number, code: ErrorCode | DoorCode, message: string, options?: ErrorOptions) {
    super(status, code, message, undefined, options);
  }
}

let makePool: (pool: PagePool) => CMMemoryPool;
let isPool: (value: unknown) => value is CMMemoryPool;

/** "CMMP": any number but 0 would do; it says only that two objects are of one kind. */
const TYPE_ID = 0x434d4d50;

const KIND = {
  name: "CMMemoryPool",
  maker: "CMMemoryPoolCreate()",
  typeID: TYPE_ID,
  status: kCMMemoryPoolError_InvalidParameter,
  finalize: ({ pool }: CMMemoryPool): void => invalidateOrLater(pool),
} as const;

/** The last reference is gone whatever happens: a pool that is calling its clock ends when the call stack is done. */
function invalidateOrLater(pool: PagePool): void {
  try {
    pool.invalidate();
  } catch (error) {
    if (!isMillpondError(error, "ERR_REENTRANT")) throw error;
    queueMicrotask(() => invalidateOrLater(pool));
  }
}

/** A pool, opaque; {@link CMMemoryPoolCreate} makes it. Its last `CFRelease` invalidates it. */
export class CMMemoryPool extends CFType {
  /** The core's pool underneath, with its statistics. */
  readonly pool: PagePool;
  /** No other object is a pool, to the compiler and at run time. */
  readonly #made: boolean;

  private constructor(key: symbol, pool: PagePool) {
    super(key, KIND);
    this.#made = true;
    this.pool = pool;
  }

  /** What this pool is and holds. */
  override toString(): string {
    if (isFinalized(this)) return "CMMemoryPool (released)";
    const { bytes, live, idle } = this.pool.stats();
    return `CMMemoryPool of ${bytes} bytes (${live} blocks in use, ${idle} idle)`;
  }

  static {
    makePool = (pool) => new CMMemoryPool(MAKE, pool);
    isPool = (value): value is CMMemoryPool =>
      typeof value === "object" && value !== null && #made in value && value.#made;
  }
}

/**
 * Makes a pool. Unknown options are ignored.
 * @param options the age under {@link kCMMemoryPoolOption_AgeOutPeriod}; null or absent: defaults
 * @param clock milliseconds; with a clock of one's own, age is looked at inside allocate and deallocate only (the
 * documented rule). Without, a background timer also empties an idle pool. Throws {@link CMMemoryPoolError}
 * InvalidParameter.
 */
export function CMMemoryPoolCreate(options?: Record<string, unknown> | null, clock?: () => number): CMMemoryPool {
  if (options !== undefined && options !== null && typeof options !== "object") {
    throw invalid("options", "an object or null", options);
  }
  if (clock !== undefined && typeof clock !== "function") throw invalid("clock", "a function", clock);
  const seconds = options?.[kCMMemoryPoolOption_AgeOutPeriod] ?? 0.5;
  if (typeof seconds !== "number" || !(seconds >= 0)) {
    throw invalid(kCMMemoryPoolOption_AgeOutPeriod, "a number of seconds, 0 or more", seconds, true);
  }
  const time: Clock = clock === undefined ? systemClock : { ...systemClock, now: clock };
  return makePool(
    PagePool.create({ name: "CMMemoryPool", ageOut: seconds * 1000, clock: time, timer: clock === undefined }),
  );
}

/**
 * The pool's allocator: the same object at every call, valid also when the pool is invalidated. Throws
 * InvalidParameter.
 */
export function CMMemoryPoolGetAllocator(pool: CMMemoryPool): CFAllocator {
  return poolOf("CMMemoryPoolGetAllocator", pool).allocator;
}

/** Gives every idle block back, of any age; allocated blocks are not touched. Throws InvalidParameter. */
export function CMMemoryPoolFlush(pool: CMMemoryPool): void {
  const core = poolOf("CMMemoryPoolFlush", pool);
  inDoor(
    () => core.trim(),
    (cause) => refusedPool("CMMemoryPoolFlush", pool, cause),
  );
}

/** Ends recycling for good and gives every idle block back; twice: nothing. Throws InvalidParameter. */
export function CMMemoryPoolInvalidate(pool: CMMemoryPool): void {
  const core = poolOf("CMMemoryPoolInvalidate", pool);
  inDoor(
    () => core.invalidate(),
    (cause) => refusedPool("CMMemoryPoolInvalidate", pool, cause),
  );
}

/** The number of this kind of object; the same at every call, never 0. @realtime */
export function CMMemoryPoolGetTypeID(): number {
  return TYPE_ID;
}

/**
 * Allocates; null for size 0. The hint is ignored, as no allocator of the system defines one.
 * Throws {@link CMMemoryPoolError}: InvalidParameter, AllocationFailed (with the core's error as its cause).
 */
export function CFAllocatorAllocate(allocator: CFAllocator, size: number, hint?: number): Memory | null {
  const bytes = sizeOf(allocator, size);
  assertHint(hint);
  if (bytes === 0) return null;
  return inDoor(
    () => allocator.allocate(bytes),
    (cause) => failed("CFAllocatorAllocate", bytes, cause),
  );
}

/**
 * Changes the size of a block: in place within its pages, else by a copy of what both have. Null and a size: allocates.
 * A block and 0: deallocates, null. Null and 0: null. When it throws, the old block is as it was. Throws {@link
 * CMMemoryPoolError}; {@link DoorError} InvalidParameter for a block that is mapped, held elsewhere or deallocated.
 */
export function CFAllocatorReallocate(
  allocator: CFAllocator,
  memory: Memory | null,
  size: number,
  hint?: number,
): Memory | null {
  const bytes = sizeOf(allocator, size);
  assertHint(hint);
  if (memory === null) return CFAllocatorAllocate(allocator, size, hint);
  assertOurs(allocator, memory);
  if (bytes === 0) {
    deallocate("CFAllocatorReallocate", memory);
    return null;
  }
  if (bytes <= memory.maxSize && rounded(allocator, bytes) === rounded(allocator, memory.size)) {
    inDoor(
      () => memory.resize(0, bytes),
      (cause) => misuse("CFAllocatorReallocate", memory, cause),
    );
    return memory;
  }
  return moved(allocator, memory, bytes);
}

function moved(allocator: CFAllocator, memory: Memory, bytes: number): Memory {
  const target = CFAllocatorAllocate(allocator, bytes)!;
  return inDoor(
    () => {
      copyOver(memory, target);
      return exchangeFor(memory, target);
    },
    (cause) => misuse("CFAllocatorReallocate", memory, cause),
  );
}

/** Copies what both have. When it throws, nothing is mapped, and the target is released. */
function copyOver(memory: Memory, target: Memory): void {
  let source: Mapping | undefined;
  let sink: Mapping | undefined;
  try {
    source = memory.map("read");
    sink = target.map("write");
    sink.bytes.set(source.bytes.subarray(0, Math.min(target.size, memory.size)));
    sink.unmap();
    source.unmap();
    // What may not be written or shared stays so where it lies now; what the padding is like is not known there.
    target.currentFlags = memory.flags & ~(MemoryFlags.ZERO_PREFIXED | MemoryFlags.ZERO_PADDED);
    inheritWipe(target.region, memory.region);
  } catch (error) {
    unmapFailed(sink);
    unmapFailed(source);
    releaseFailed(target);
    throw error;
  }
}

/**
 * Frees a block; null: nothing. Throws InvalidParameter for another allocator's; {@link DoorError} InvalidParameter for
 * one that is deallocated already, mapped, or held elsewhere.
 */
export function CFAllocatorDeallocate(allocator: CFAllocator, memory: Memory | null): void {
  sizeOf(allocator, 0);
  if (memory === null) return;
  assertOurs(allocator, memory);
  deallocate("CFAllocatorDeallocate", memory);
}

function deallocate(call: string, memory: Memory): void {
  inDoor(
    () => memory.release(),
    (cause) => misuse(call, memory, cause),
  );
}

/** Bytes that a request of `size` really gets: whole pages. 0 and less come back unchanged. Throws InvalidParameter. */
export function CFAllocatorGetPreferredSizeForSize(allocator: CFAllocator, size: number, hint?: number): number {
  assertHint(hint);
  if (Number.isSafeInteger(size) && size <= 0) return sizeOf(allocator, 0) || size;
  return rounded(allocator, sizeOf(allocator, size));
}

function rounded(allocator: CFAllocator, size: number): number {
  if (!(allocator instanceof PageAllocator)) return size;
  return inDoor(
    () => allocator.cache.rounded(size),
    (cause) => failed("CFAllocatorGetPreferredSizeForSize", size, cause),
  );
}

/** What a clock of the caller's may not do. */
const REENTRANT = "it cannot be called from the clock of its own pool";

function refusedPool(call: string, pool: CMMemoryPool, cause: MillpondError): CMMemoryPoolError {
  const why = cause.code === "ERR_REENTRANT" ? REENTRANT : messageOf(cause);
  return new CMMemoryPoolError(kCMMemoryPoolError_InvalidParameter, cause.code, `${call}() refuses ${pool}: ${why}`, {
    cause,
  });
}

function failed(call: string, size: number, cause: MillpondError): CMMemoryPoolError {
  if (cause.code === "ERR_REENTRANT") {
    const text = `${call}() refuses ${size} bytes: ${REENTRANT}`;
    return new CMMemoryPoolError(kCMMemoryPoolError_InvalidParameter, cause.code, text, { cause });
  }
  return new CMMemoryPoolError(
    kCMMemoryPoolError_AllocationFailed,
    cause.code,
    `${call}() could not have ${size} bytes: ${messageOf(cause)}`,
    { cause },
  );
}

function sizeOf(allocator: CFAllocator, size: number): number {
  if (!isMade(Allocator, allocator, "name")) throw invalid("allocator", "an allocator", allocator);
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0)
    throw invalid("size", "a whole number of bytes, 0 or more", size, true);
  return size;
}

/** Nobody reads a hint; a wrong one would still be a mistake, of the place of an argument perhaps. */
function assertHint(hint: unknown): void {
  if (hint !== undefined && typeof hint !== "number") throw invalid("hint", "a number, or absent", hint);
}

function assertOurs(allocator: CFAllocator, memory: Memory): void {
  if (!isMemory(memory)) throw invalid("memory", "a Memory or null", memory);
  if (memory.allocator === allocator) return;
  throw new CMMemoryPoolError(
    kCMMemoryPoolError_InvalidParameter,
    "ERR_FOREIGN_RELEASE",
    `${memory} is not of allocator "${allocator.name}"; pass the allocator that CFAllocatorAllocate() was given`,
  );
}

/** What the core refuses about a block, in this door's words. */
function misuse(call: string, memory: Memory, cause: MillpondError): DoorError {
  const why: Partial<Record<string, string>> = {
    ERR_DOUBLE_RELEASE: "it is deallocated already; find the first CFAllocatorDeallocate() of it",
    ERR_USE_AFTER_RELEASE: "it is deallocated, or CFAllocatorReallocate() moved it; use what that returned",
    ERR_FOREIGN_RELEASE: "a buffer or a part of it still holds it, and the reference to give back is not yours",
    ERR_NOT_WRITABLE: "others hold it too, so its size cannot change",
    ERR_MAPPED: "its bytes are mapped; unmap() the mapping first",
    ERR_REENTRANT: REENTRANT,
    ERR_DETACHED: "its bytes were transferred away; copy them before posting them",
  };
  return new DoorError(
    kCMMemoryPoolError_InvalidParameter,
    cause.code,
    `${call}() refuses ${memory}: ${why[cause.code] ?? messageOf(cause)}`,
    undefined,
    { cause },
  );
}

function poolOf(call: string, pool: CMMemoryPool): PagePool {
  if (!isPool(pool)) throw invalid("pool", "a CMMemoryPool", pool);
  assertAlive(call, pool);
  return pool.pool;
}

/** InvalidParameter: another type, or, where a number was due, a number outside its range. */
function invalid(name: string, expected: string, value: unknown, isNumber = false): CMMemoryPoolError {
  const code = isNumber ? argumentCode(value) : "ERR_INVALID_ARG_TYPE";
  return new CMMemoryPoolError(kCMMemoryPoolError_InvalidParameter, code, wants(name, expected, value));
}
