/**
 * The allocator that a RealtimePool is: it makes Memories over blocks of the pool, so that buffers and other pools can
 * stand on it. Each Memory is a lease of its own: once released it stays released, wherever its bytes go next.
 *
 * Life-cycle of a lease: `allocate()` takes a block and enters the lease; `replace()` moves the block to a new lease;
 * the Memory's last release takes the lease out and gives the block back; `closeLeases()` puts the bytes of all
 * Memories out of reach when the pool ends. All of it is O(1) but for `closeLeases`, O(leases).
 */
import { Allocator } from "../../memory/allocator.ts";
import { Memory } from "../../memory/memory.ts";
import { type AllocationParams, MemoryFlags, type ResolvedParams } from "../../memory/params.ts";
import { opaqueRegion, Region } from "../../memory/region.ts";
import type { MillpondError } from "../../util/errors.ts";

/** What is known of a block that was handed out as a Memory. */
interface RealtimeLease {
  /** The block's pointer in the pool; 0 once it went to another lease, or back. */
  pointer: number;
  /** Bytes asked for. */
  requested: number;
  /** Null while it is being made. */
  memory: Memory | null;
  /** Its live sub-memories; null: it never had one. */
  children: Set<Memory> | null;
  /** Its Memory is dead, and the block stays out for good: a holder may have kept views of it. */
  isWithheld: boolean;
  /** Where it stands in {@link RealtimeAllocator.leases}. */
  index: number;
}

/** What the allocator needs of its pool. */
export interface BlockSource {
  /** The pool's name. */
  readonly name: string;
  /** A block for a Memory, set apart from the integer interface. Throws `ERR_POOL_FULL`, `ERR_POOL_DEAD`. */
  take(size: number, align: number): { pointer: number; bytes: Uint8Array };
  /** Takes it back. */
  give(pointer: number): void;
  /** Throws `ERR_CORRUPTED` when the block was overrun (and the pool is debugged). */
  check(pointer: number): void;
  /** The error of a call from inside the pool's source; undefined: the source is not being called. */
  reentrant(verb: string): MillpondError | undefined;
  /** The error of a call on a closed pool; undefined: it is open. */
  closed(verb: string): MillpondError | undefined;
}

/** Blocks of a RealtimePool as Memories. */
export class RealtimeAllocator extends Allocator {
  /** The live leases, in no order. */
  readonly leases: RealtimeLease[] = [];
  readonly #blocks: BlockSource;

  /** @internal Made by the pool. */
  constructor(blocks: BlockSource) {
    super(blocks.name === "" ? "realtime pool" : blocks.name, { memoryType: "RealtimeMemory" });
    this.#blocks = blocks;
  }

  /** As {@link Allocator.allocate}; also throws `ERR_POOL_FULL`, `ERR_POOL_DEAD`. */
  override allocate(size: number, params?: AllocationParams): Memory {
    const memory = super.allocate(size, params);
    const lease = leaseOf(memory);
    lease.memory = memory;
    lease.requested = size;
    return memory;
  }

  /** @internal An arena divides its areas, which are claimed where they are made. */
  override get givesOnce(): boolean {
    return true;
  }

  /** A block of the pool; one byte at least, because pointers must differ. */
  protected override allocateRegion(size: number, params: ResolvedParams): Region {
    const { pointer, bytes } = this.#blocks.take(Math.max(size, 1), params.align);
    return this.enter(pointer, bytes);
  }

  /** Gives the block back, unless another lease has it by now. */
  protected override freeRegion(region: Region): void {
    const lease = region.handle as RealtimeLease;
    const last = this.leases.pop()!;
    if (last !== lease) {
      this.leases[lease.index] = last;
      last.index = lease.index;
    }
    if (lease.pointer !== 0) this.#blocks.give(lease.pointer);
  }

  /** Only the bytes of a closed pool are out of reach. Throws `ERR_POOL_DEAD`. */
  protected override mapRegion(): Uint8Array | undefined {
    const closed = this.#blocks.closed("map a memory of");
    if (closed !== undefined) throw closed;
    return undefined;
  }

  /** As {@link Allocator.shareMemory}, and remembers the child, which ends with the pool. */
  override shareMemory(memory: Memory, offset: number, size: number): Memory {
    const child = super.shareMemory(memory, offset, size);
    const lease = leaseOf(memory);
    lease.children ??= new Set();
    lease.children.add(child);
    return child;
  }

  /** @internal */
  override releaseRefusal(): MillpondError | undefined {
    return this.#blocks.reentrant("release a memory into");
  }

  /** @internal A block that was overrun stays with its Memory; into a closed pool nothing can be released. */
  override onRelease(memory: Memory): void {
    const lease = leaseOf(memory);
    const refusal = this.releaseRefusal();
    if (refusal !== undefined) {
      memory.references = 1;
      throw refusal;
    }
    if (memory.parent !== null) lease.children?.delete(memory);
    else if (lease.pointer !== 0) {
      // Live while it is checked, and still so when the check throws.
      memory.references = 1;
      this.#blocks.check(lease.pointer);
      memory.references = 0;
    }
    super.onRelease(memory);
    const closed = this.#blocks.closed("release a memory into");
    if (closed !== undefined) throw closed;
  }

  /** @internal A part of an area cannot be taken back from old views, so its block is never handed out again. */
  override withhold(memory: Memory): void {
    leaseOf(memory).isWithheld = true;
  }

  /** @internal A BufferPool gives the next holder another Memory over the same block. */
  override onHandleReplaced(fresh: Memory): void {
    leaseOf(fresh).memory = fresh;
  }

  /** @internal A region and its lease over a block. */
  enter(pointer: number, bytes: Uint8Array): Region {
    const lease: RealtimeLease = {
      pointer,
      requested: bytes.length,
      memory: null,
      children: null,
      isWithheld: false,
      index: this.leases.length,
    };
    this.leases.push(lease);
    return new Region(bytes, lease);
  }

  /** @internal A Memory over the same block with other bounds; the old one is released, and its lease ends. */
  replace(old: Memory, bytes: Uint8Array, size: number): Memory {
    const lease = leaseOf(old);
    const { pointer } = lease;
    lease.pointer = 0;
    const region = this.enter(pointer, bytes);
    // Made without allocate(), so it is counted by hand; the old one is uncounted as if it had been released.
    // Of the bytes behind it nothing is known here.
    const flags = old.currentFlags & ~MemoryFlags.ZERO_PADDED;
    const fresh = this.adopt(new Memory(this, region, null, old.align, old.currentOffset, size, flags));
    const entered = leaseOf(fresh);
    entered.memory = fresh;
    entered.requested = size;
    region.wipe = old.region.wipe;
    old.references = 0;
    old.view = null;
    super.onRelease(old);
    return fresh;
  }

  /** @internal */
  override deadMemoryError(_memory: Memory, verb: string): MillpondError | undefined {
    return this.#blocks.closed(`${verb} a memory of`);
  }

  /**
   * @internal Puts the bytes of every live Memory out of reach: the pool ends. Every later use of a Memory throws
   * `ERR_POOL_DEAD`, also of one that is mapped, locked or retained; one that a buffer has goes with the buffer.
   */
  closeLeases(): void {
    for (const lease of this.leases) {
      lease.pointer = 0;
      const { memory } = lease;
      if (memory === null) continue;
      memory.region.bytes = opaqueRegion(0, undefined).bytes;
      const memories = [memory, ...(lease.children ?? [])];
      for (const one of memories) one.view = null;
      if (lease.isWithheld) continue;
      // As for a PagePool: an owner of the root beside its parts is a buffer.
      const parts = memories.slice(1);
      if (memory.ownerCount > parts.length || parts.some(({ ownerCount }) => ownerCount > 0)) continue;
      for (const one of memories) {
        // The access word stays: unmap() and unlock() of a holder that cleans up find their locks.
        one.references = 0;
        one.ownerCount = 0;
        one.parentBuffer = null;
      }
      this.liveMemoryCount -= memories.length;
      this.liveByteCount -= memory.region.size;
    }
  }
}

/** The lease of a Memory, or of the root that it was cut from. */
export function leaseOf(memory: Memory): RealtimeLease {
  return memory.region.handle as RealtimeLease;
}
