/**
 * Core Media's front door: `CMMemoryPool` in its own words, over PagePool. Bytes are a {@link Memory} where the original has a
 * pointer.
 *
 * ```ts
 * const pool = CMMemoryPoolCreate({ [kCMMemoryPoolOption_AgeOutPeriod]: 1 }); // seconds
 * const allocator = CMMemoryPoolGetAllocator(pool);
 * const block = CFAllocatorAllocate(allocator, 3_110_400);
 * CFAllocatorDeallocate(allocator, block);                                    // kept a second for the next
 * CMMemoryPoolInvalidate(pool);                                               // the allocator stays usable
 * ```
 */
import { Allocator } from "../memory/allocator.ts";
import { Memory } from "../memory/memory.ts";
import { show } from "../observe/arguments.ts";
import { type Clock, systemClock } from "../observe/clock.ts";
import { type ErrorCode, MillpondError } from "../observe/errors.ts";
import { PageAllocator } from "../pools/page-allocator.ts";
import { PagePool } from "../pools/page-pool.ts";

/** The option for the age in seconds, fractions allowed; default 0.5, 0: nothing is held, `Infinity`: for ever. */
export const kCMMemoryPoolOption_AgeOutPeriod = "AgeOutPeriod";

/** `status` of an error: pages could not be had. */
export const kCMMemoryPoolError_AllocationFailed = -15490;

/** `status` of an error: an argument is missing or not allowed. */
export const kCMMemoryPoolError_InvalidParameter = -15491;

/** What the pool's allocator is here: any Allocator of the core. */
export type CFAllocator = Allocator;

/** The core's error with Core Media's number. */
export class CMMemoryPoolError extends MillpondError {
  /** One of the two `kCMMemoryPoolError` constants. */
  readonly status: number;

  /** As {@link MillpondError}, with the number in front. */
  constructor(status: number, code: ErrorCode, message: string, options?: ErrorOptions) {
    super(code, message, { status }, options);
    this.status = status;
  }
}

/** A pool, opaque; {@link CMMemoryPoolCreate} makes it. */
export class CMMemoryPool {
  /** @internal */
  readonly pool: PagePool;

  /** @internal */
  constructor(pool: PagePool) {
    this.pool = pool;
  }
}

/**
 * Makes a pool. Unknown options are ignored.
 * @param options the age under {@link kCMMemoryPoolOption_AgeOutPeriod}; null or absent: defaults
 * @param clock milliseconds; with a clock of one's own, age is looked at inside allocate and deallocate only (the documented
 * rule). Without, a background timer also empties an idle pool.
 * Throws {@link CMMemoryPoolError} InvalidParameter.
 */
export function CMMemoryPoolCreate(options?: Record<string, unknown> | null, clock?: () => number): CMMemoryPool {
  if (options !== undefined && options !== null && typeof options !== "object") {
    throw invalid("options", "an object or null", options);
  }
  if (clock !== undefined && typeof clock !== "function") throw invalid("clock", "a function", clock);
  const seconds = options?.[kCMMemoryPoolOption_AgeOutPeriod] ?? 0.5;
  if (typeof seconds !== "number" || !(seconds >= 0)) {
    throw invalid(kCMMemoryPoolOption_AgeOutPeriod, "a number of seconds, 0 or more", seconds);
  }
  const time: Clock = clock === undefined ? systemClock : { ...systemClock, now: clock };
  return new CMMemoryPool(
    new PagePool({ name: "CMMemoryPool", ageOut: seconds * 1000, clock: time, timer: clock === undefined }),
  );
}

/** The pool's allocator: the same object at every call, valid also when the pool is invalidated. Throws InvalidParameter. */
export function CMMemoryPoolGetAllocator(pool: CMMemoryPool): CFAllocator {
  return poolOf(pool).allocator;
}

/** Gives everything that is held back, whatever its age; blocks on loan are not touched. Throws InvalidParameter. */
export function CMMemoryPoolFlush(pool: CMMemoryPool): void {
  poolOf(pool).flush();
}

/** Ends recycling for good and gives back what is held; twice: nothing. Throws InvalidParameter. */
export function CMMemoryPoolInvalidate(pool: CMMemoryPool): void {
  poolOf(pool).invalidate();
}

/** "CMMP": any number but 0 would do; it says only that two objects are of one kind. */
const TYPE_ID = 0x434d4d50;

/** The number of this kind of object; the same at every call, never 0. @realtime */
export function CMMemoryPoolGetTypeID(): number {
  return TYPE_ID;
}

/**
 * Allocates; null for size 0. The hint is ignored, as no allocator of the system defines one.
 * Throws {@link CMMemoryPoolError}: InvalidParameter, AllocationFailed (with the core's error as its cause).
 */
export function CFAllocatorAllocate(allocator: CFAllocator, size: number, _hint?: number): Memory | null {
  const bytes = sizeOf(allocator, size);
  if (bytes === 0) return null;
  try {
    return allocator.allocate(bytes);
  } catch (error) {
    if (!(error instanceof MillpondError)) throw error;
    throw new CMMemoryPoolError(kCMMemoryPoolError_AllocationFailed, error.code, error.message, { cause: error });
  }
}

/**
 * Changes the size of a block: in place within its pages, else by a copy of what both have. Null and a size: allocates. A block and
 * 0: deallocates, null. Null and 0: null. When it throws, the old block is as it was.
 * Throws {@link CMMemoryPoolError}, and what `Memory.release` throws of a block that is mapped, owned or dead.
 */
export function CFAllocatorReallocate(
  allocator: CFAllocator,
  memory: Memory | null,
  size: number,
  hint?: number,
): Memory | null {
  const bytes = sizeOf(allocator, size);
  if (memory === null || memory === undefined) return CFAllocatorAllocate(allocator, size, hint);
  assertOurs(allocator, memory);
  if (bytes === 0) {
    memory.release();
    return null;
  }
  if (bytes <= memory.maxSize && rounded(allocator, bytes) === rounded(allocator, memory.size)) {
    memory.resize(0, bytes);
    return memory;
  }
  return moved(allocator, memory, bytes);
}

function moved(allocator: CFAllocator, memory: Memory, bytes: number): Memory {
  const target = CFAllocatorAllocate(allocator, bytes)!;
  try {
    const source = memory.map("read");
    const sink = target.map("write");
    sink.bytes.set(source.bytes.subarray(0, Math.min(bytes, memory.size)));
    sink.unmap();
    source.unmap();
    memory.release();
    return target;
  } catch (error) {
    target.release();
    throw error;
  }
}

/** Frees a block; null: nothing. Throws InvalidParameter for another allocator's, and what `Memory.release` throws. */
export function CFAllocatorDeallocate(allocator: CFAllocator, memory: Memory | null): void {
  sizeOf(allocator, 0);
  if (memory === null || memory === undefined) return;
  assertOurs(allocator, memory);
  memory.release();
}

/** Bytes that a request of `size` really gets: whole pages. 0 and less come back unchanged. Throws InvalidParameter. */
export function CFAllocatorGetPreferredSizeForSize(allocator: CFAllocator, size: number, _hint?: number): number {
  if (typeof size === "number" && size <= 0) return size;
  return rounded(allocator, sizeOf(allocator, size));
}

function rounded(allocator: CFAllocator, size: number): number {
  return allocator instanceof PageAllocator ? allocator.shelf.rounded(size) : size;
}

function sizeOf(allocator: CFAllocator, size: number): number {
  if (!(allocator instanceof Allocator)) throw invalid("allocator", "an allocator", allocator);
  if (!Number.isSafeInteger(size) || size < 0) throw invalid("size", "a whole number of bytes, 0 or more", size);
  return size;
}

function assertOurs(allocator: CFAllocator, memory: Memory): void {
  if (!(memory instanceof Memory)) throw invalid("memory", "a Memory or null", memory);
  if (memory.allocator === allocator) return;
  throw new CMMemoryPoolError(
    kCMMemoryPoolError_InvalidParameter,
    "ERR_FOREIGN_RELEASE",
    `${memory} is not of allocator "${allocator.name}"; give it back where it was taken`,
  );
}

function poolOf(pool: CMMemoryPool): PagePool {
  if (pool instanceof CMMemoryPool) return pool.pool;
  throw invalid("pool", "a CMMemoryPool", pool);
}

function invalid(name: string, expected: string, value: unknown): CMMemoryPoolError {
  return new CMMemoryPoolError(
    kCMMemoryPoolError_InvalidParameter,
    typeof value === "number" ? "ERR_OUT_OF_RANGE" : "ERR_INVALID_ARG_TYPE",
    `${name} must be ${expected}, but it is ${show(value)}`,
  );
}
