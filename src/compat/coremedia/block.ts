/**
 * A block of memory, or the promise of one, that block buffers share: it lives as long as one of them holds it.
 * Life-cycle: promised, allocated by {@link assure}, freed with its last holder. The promise is kept at most once.
 */
import { type Allocator, defaultAllocator, wrapMemory } from "../../memory/allocator.ts";
import { isMemory, type MapMode, type Memory, releaseWhenUnmapped } from "../../memory/memory.ts";
import type { ErrorCode, MillpondError } from "../../util/errors.ts";
import { throwLater } from "../../util/errors.ts";
import { DoorError, fromHook, inDoor, messageOf, wants } from "../door-error.ts";
import {
  kCMBlockBufferBadCustomBlockSourceErr,
  kCMBlockBufferBadPointerParameterErr,
  kCMBlockBufferBlockAllocationFailedErr,
  kCMBlockBufferUnallocatedBlockErr,
} from "./codes.ts";

/** What stands for the original's pointer to a block: a memory of an allocator, or plain bytes. */
export type CMMemoryBlock = Memory | Uint8Array;

/** Where a block comes from and goes to, in the caller's own code. */
export interface CMBlockBufferCustomBlockSource {
  /** Must be 0; absent: 0. */
  readonly version?: number;
  /** Gives a block of so many bytes; null: there is none. Needed unless the caller brings the block. */
  readonly AllocateBlock?: ((refCon: unknown, sizeInBytes: number) => CMMemoryBlock | null) | null;
  /**
   * Gets the block back, once, when nobody holds it any more; absent: the block is not freed. What it throws surfaces
   * as an uncaught error in a later turn.
   */
  readonly FreeBlock?: ((refCon: unknown, doomedMemoryBlock: CMMemoryBlock, sizeInBytes: number) => void) | null;
  /** Passed to both. */
  readonly refCon?: unknown;
}

/** @internal A source, each of its fields read once. */
export interface BlockSource {
  readonly allocate: ((refCon: unknown, sizeInBytes: number) => CMMemoryBlock | null) | null;
  readonly free: ((refCon: unknown, doomedMemoryBlock: CMMemoryBlock, sizeInBytes: number) => void) | null;
  readonly refCon: unknown;
}

/** @internal See the module text. */
export class Block {
  /** Bytes of the whole block. */
  readonly length: number;
  #memory: Memory | null = null;
  /** Called when the memory is freed; null: the memory's own allocator does all. */
  #onFree: (() => void) | null = null;
  #holders = 0;
  #making = false;
  readonly #allocator: Allocator | null;
  readonly #source: BlockSource | null;

  /** A promise. A null allocator is the default one of the time of the call. */
  constructor(length: number, allocator: Allocator | null, source: BlockSource | null) {
    this.length = length;
    this.#allocator = allocator ?? (source === null ? defaultAllocator() : null);
    this.#source = source;
  }

  /** True when the bytes are there. */
  get isAllocated(): boolean {
    return this.#memory !== null;
  }

  /** The memory, without a reference for the caller. Throws -12707 while there is none. */
  memory(call: string): Memory {
    if (this.#memory !== null) return this.#memory;
    throw new DoorError(
      kCMBlockBufferUnallocatedBlockErr,
      "ERR_NOT_MAPPABLE",
      `${call}(): a block of ${this.length} bytes is not allocated yet; call CMBlockBufferAssureBlockMemory() first`,
    );
  }

  /** The bytes, for as long as the block lives. Throws -12705 where they cannot be had now, -12707. */
  bytes(mode: MapMode, call: string): Uint8Array {
    const memory = this.memory(call);
    const bytes = inDoor(
      () => {
        const view = memory.lock(mode);
        memory.unlock(mode);
        return view;
      },
      (cause) => this.#refused(call, memory, cause),
    );
    if (bytes.length >= this.length) return bytes;
    throw new DoorError(
      kCMBlockBufferBadPointerParameterErr,
      "ERR_OUT_OF_RANGE",
      `${call}(): ${memory} was made smaller than the ${this.length} bytes of the block that it is`,
    );
  }

  /**
   * Takes a block that the caller has, with the caller's reference where the allocator frees it. Throws -12705; nothing
   * is taken then.
   */
  adopt(given: CMMemoryBlock, callerKeeps: boolean): void {
    if (this.#source !== null) this.#adoptFromSource(given);
    else if (!isMemory(given)) this.#memory = this.#wrap(given, undefined);
    else this.#memory = callerKeeps ? given.retain() : given;
  }

  /** Adds a holder. */
  retain(): void {
    this.#holders++;
  }

  /** Throws where {@link release} would have to free bytes that are mapped. */
  assertFreeable(call: string): void {
    const memory = this.#memory;
    if (this.#holders > 1 || memory === null || memory.refCount !== 1 || !memory.isMapped) return;
    throw new DoorError(
      kCMBlockBufferBadPointerParameterErr,
      "ERR_MAPPED",
      `${call}() would free ${memory}, and its bytes are mapped; unmap() the mapping first`,
    );
  }

  /** Takes a holder away; the last one frees the bytes. */
  release(): void {
    if (--this.#holders === 0) this.unmake();
  }

  /** Allocates what was promised. Throws -12701, -12702, and what AllocateBlock throws. */
  make(): void {
    if (this.#making) {
      throw new DoorError(
        kCMBlockBufferBadCustomBlockSourceErr,
        "ERR_REENTRANT",
        "AllocateBlock() asked for the block that it is to allocate; return it first",
      );
    }
    this.#making = true;
    try {
      if (this.#source === null) this.#memory = this.#allocate();
      else this.#allocateFromSource(this.#source);
    } finally {
      this.#making = false;
    }
  }

  /** Frees the bytes; the promise stands again. */
  unmake(): void {
    const memory = this.#memory;
    const onFree = this.#onFree;
    this.#memory = null;
    this.#onFree = null;
    try {
      if (memory !== null)
        inDoor(
          () => releaseWhenUnmapped(memory),
          (cause) => this.#refused("CFRelease", memory, cause),
        );
    } finally {
      if (onFree !== null) callFree(onFree);
    }
  }

  #allocate(): Memory {
    const allocator = this.#allocator!;
    return inDoor(
      () => allocator.allocate(this.length),
      (cause) =>
        allocationFailed(`${allocator} could not have ${this.length} bytes: ${messageOf(cause)}`, cause.code, cause),
    );
  }

  #allocateFromSource(source: BlockSource): void {
    // Only a source that was named together with a block may have none, and such a block is never made.
    const allocate = source.allocate!;
    const given = fromHook(() => allocate(source.refCon, this.length));
    if (given === null || given === undefined)
      throw allocationFailed(`AllocateBlock() gave no block of ${this.length} bytes`, "ERR_ALLOCATION_FAILED");
    try {
      checkBlock("AllocateBlock()'s block", given, this.length, kCMBlockBufferBadCustomBlockSourceErr);
      this.#adoptFromSource(given);
    } catch (error) {
      // What it gave is its own, of whatever kind.
      callFree(() => source.free?.(source.refCon, given, this.length));
      throw error;
    }
  }

  #adoptFromSource(given: CMMemoryBlock): void {
    const { free, refCon } = this.#source!;
    const onFree = free === null ? undefined : (): void => free(refCon, given, this.length);
    if (isMemory(given)) {
      this.#memory = given.retain();
      this.#onFree = onFree ?? null;
    } else this.#memory = this.#wrap(given, onFree);
  }

  #wrap(bytes: Uint8Array, onRelease: (() => void) | undefined): Memory {
    return inDoor(
      () => wrapMemory(bytes, onRelease === undefined ? undefined : { onRelease }),
      (cause) =>
        new DoorError(kCMBlockBufferBadPointerParameterErr, cause.code, messageOf(cause), undefined, { cause }),
    );
  }

  #refused(call: string, memory: Memory, cause: MillpondError): DoorError {
    const why: Partial<Record<string, string>> = {
      ERR_MAPPED: "its bytes are mapped elsewhere; unmap() that mapping first",
      ERR_NOT_WRITABLE: "its bytes are read-only, or buffers that share them exist",
      ERR_USE_AFTER_RELEASE:
        "it was deallocated, and this block buffer owned it; pass kCFAllocatorNull for a block that you free",
      ERR_DOUBLE_RELEASE:
        "it was deallocated, and this block buffer owned it; pass kCFAllocatorNull for a block that you free",
      ERR_FOREIGN_RELEASE:
        "it was deallocated, and this block buffer owned it; pass kCFAllocatorNull for a block that you free",
      ERR_DETACHED: "its bytes were transferred away; copy them before posting them",
    };
    return new DoorError(
      kCMBlockBufferBadPointerParameterErr,
      cause.code,
      `${call}() refuses ${memory}: ${why[cause.code] ?? messageOf(cause)}`,
      undefined,
      { cause },
    );
  }
}

/**
 * As for wrapped bytes of the core: what FreeBlock throws must not interrupt a release; it surfaces in a later turn.
 */
function callFree(free: () => void): void {
  try {
    free();
  } catch (error) {
    throwLater(error);
  }
}

/** @internal Allocates all blocks that are promises still; when one cannot be had, none of them was allocated. */
export function assure(blocks: readonly Block[]): void {
  const made: Block[] = [];
  // A source of the caller's may release the buffer meanwhile.
  for (const block of blocks) block.retain();
  try {
    for (const block of blocks) {
      if (block.isAllocated) continue;
      block.make();
      made.push(block);
    }
  } catch (error) {
    for (const block of made) block.unmake();
    throw error;
  } finally {
    for (const block of blocks) block.release();
  }
}

/** @internal Checks what is to be a block of `length` bytes. Throws `status`. */
export function checkBlock(name: string, given: CMMemoryBlock, length: number, status: number): void {
  let size: number;
  let code: ErrorCode = "ERR_OUT_OF_RANGE";
  if (isMemory(given)) {
    if (given.refCount === 0) code = "ERR_USE_AFTER_RELEASE";
    size = given.refCount === 0 ? -1 : given.size;
  } else if (given instanceof Uint8Array) size = given.byteLength;
  else throw new DoorError(status, "ERR_INVALID_ARG_TYPE", wants(name, "a Memory or a Uint8Array", given));
  if (size >= length) return;
  const what = code === "ERR_OUT_OF_RANGE" ? `has ${size} bytes, and ${length} were due` : "is deallocated already";
  throw new DoorError(status, code, `${name} ${what}`);
}

function allocationFailed(message: string, code: MillpondError["code"], cause?: MillpondError): DoorError {
  const options = cause === undefined ? undefined : { cause };
  return new DoorError(kCMBlockBufferBlockAllocationFailedErr, code, message, undefined, options);
}
