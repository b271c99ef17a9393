/** Blocks of a RealtimePool that change their size: in place where that is possible, else moved. */
import type { Memory } from "../../memory/memory.ts";
import { Wipe, zeroBytes } from "../../memory/region.ts";
import { MillpondError } from "../../util/errors.ts";
import { leaseOf } from "./allocator.ts";
import type { RealtimePool } from "./realtime-pool.ts";

/** True when a block that is to shrink should keep its bytes: the reference's rule, more than a third is still in use. */
function keeps(physical: number, size: number): boolean {
  return size <= physical && size > Math.floor(physical / 3);
}

function busy(memory: Memory): MillpondError | undefined {
  if (memory.isMapped) {
    return new MillpondError(
      "ERR_MAPPED",
      `${memory} is mapped; unmap() it before it is reallocated, its bytes may move`,
    );
  }
  if (memory.refCount === 1 && memory.owners === 0) return undefined;
  return new MillpondError(
    "ERR_NOT_WRITABLE",
    `${memory} is held elsewhere too (${memory.refCount} references, ${memory.owners} owners); only its only holder may reallocate it`,
  );
}

/** {@link RealtimePool.reallocate}, for a live Memory of the pool and a checked size. */
export function resizeMemory(pool: RealtimePool, memory: Memory, size: number): Memory {
  const error = busy(memory);
  if (error !== undefined) throw error;
  const lease = leaseOf(memory);
  pool.checkBlock(lease.pointer);
  // What the bytes in front of the valid part (a prefix) take is kept as it is.
  const front = memory.offset;
  if (keeps(memory.maxSize, front + size)) {
    if (pool.debug?.sizeOf(lease.pointer) === undefined) {
      memory.setExtent(front, size);
      lease.requested = size;
      return memory;
    }
  }
  // What a shorter block gives back is cleared before the arena writes its links there.
  const { region } = memory;
  if ((region.wipe & Wipe.ZERO) !== 0 && front + size < region.size) zeroBytes(region.bytes.subarray(front + size));
  const bytes = inPlace(pool, lease.pointer, front + size);
  if (bytes !== undefined) return pool.allocator.replace(memory, bytes, size);
  return move(pool, memory, front, size);
}

function move(pool: RealtimePool, memory: Memory, front: number, size: number): Memory {
  const fresh = pool.allocator.allocate(size, { align: memory.align, ...(front === 0 ? {} : { prefix: front }) });
  const from = memory.region.bytes.subarray(0, Math.min(front + memory.size, front + size));
  fresh.region.bytes.set(from);
  fresh.region.wipe = memory.region.wipe;
  memory.release();
  return fresh;
}

/** The bytes of a block that holds `size` bytes where it stands, or undefined. A guard moves along. */
function inPlace(pool: RealtimePool, pointer: number, size: number): Uint8Array | undefined {
  const { arena, base } = pool.areaFor(pointer, "reallocate");
  const local = pointer - base;
  const guarded = pool.debug?.sizeOf(pointer);
  const before = guarded ?? arena.ownSizeOf(local);
  if (!arena.resize(local, size + (guarded === undefined ? 0 : (pool.debug?.extra ?? 0)))) return undefined;
  if (guarded !== undefined) {
    if (size > before) pool.debug?.grown(arena, local, before);
    pool.debug?.guard(arena, local, pointer, size);
  }
  const usable = guarded === undefined ? arena.ownSizeOf(local) : size;
  return arena.bytes.subarray(local, local + usable);
}

/** {@link RealtimePool.realloc}, for a checked size: the pointer that the block has now. */
export function resizePointer(pool: RealtimePool, pointer: number, size: number): number {
  const { arena, base } = pool.areaFor(pointer, "reallocate");
  const local = pointer - base;
  const physical = pool.physicalSizeOf(pointer);
  if (arena.isTagged(local)) arena.free(local); // throws: the block belongs to a Memory
  pool.debug?.check(pointer);
  pool.moment();
  const guarded = pool.debug?.sizeOf(pointer) !== undefined;
  if (!guarded && keeps(physical, size)) return pointer;
  if (inPlace(pool, pointer, size) !== undefined) return pointer;
  const moved = pool.alloc(size);
  pool.bytes(moved).set(pool.bytes(pointer).subarray(0, Math.min(physical, size)));
  pool.free(pointer);
  return moved;
}
