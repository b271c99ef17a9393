/**
 * The slots of a BufferPool: made, leased, given back, restored, freed. Bookkeeping only: who may acquire, who waits
 * and what state the pool is in, is the pool's business.
 *
 * ```
 *   slots[]   [ slot 0 | slot 1 | (vacant) | slot 3 ]      vacant: [2]
 *   head  ->  slot 3 -> slot 0                             free; the last returned first, because its pages are warm
 *             slot 1                                       leased, awaiting its memory, or returning
 * ```
 *
 * The life of a slot is drawn at {@link BufferPool}. Every hook runs between `#enterHook` and `#leaveHook`. Meanwhile
 * the pool refuses what would change it (`ERR_REENTRANT`), and leases that end wait in {@link SlotStore.queueReturn}
 * until the hook has returned.
 *
 * Invariants: a slot is on the free list, or it counts as outstanding; what a hook can see of the pool is whole; hooks
 * never nest; a generation of a slot number never comes back, also when the slot was freed and made anew; every slot is
 * judged after the last hook that could change it.
 *
 * Complexity: taking and keeping a slot O(1), or O(size) where bytes are zeroed; stats, leased and validate O(buffers).
 */

import { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { dropMemories, totalSize } from "../../media/buffer/memory-list.ts";
import { assertUnlocked, BufferSlot, endLocks, SlotFlags, type SlotPool, timesIn } from "../../media/buffer/slot.ts";
import { freeMetas, metaFlags, poolMetas, recycleMetas } from "../../media/meta/attach.ts";
import { claimBytes, isClaimed } from "../../memory/claims.ts";
import { heldAlreadyError } from "../../memory/errors.ts";
import { type Memory, releaseFailed, replaceHandle } from "../../memory/memory.ts";
import { revokeViews, Wipe, wipeRegion, zeroBytes } from "../../memory/region.ts";
import type { PoolRegistration } from "../../observe/registry.ts";
import { MillpondError, reentrantError, saysGone, throwLater } from "../../util/errors.ts";
import { type ActualPoolConfig, bytesPerBuffer } from "./config.ts";
import { corruptedError, detachedError, mappedError } from "./errors.ts";
import type { BufferPoolStats, DiscardReason } from "./stats.ts";

/** What a pool's subclass may override; an absent one costs nothing. */
interface PoolHooks {
  /** Fills a new buffer. */
  readonly populate: (buffer: MediaBuffer, config: ActualPoolConfig, hint: unknown) => void;
  /** A buffer came back. */
  readonly reset: ((buffer: MediaBuffer) => void) | undefined;
  /** Whether a clean buffer is kept. */
  readonly recycle: ((buffer: MediaBuffer) => boolean) | undefined;
  /** A buffer is about to be freed. */
  readonly dispose: ((buffer: MediaBuffer) => void) | undefined;
}

/** How a return ended: kept (no reason), or discarded, perhaps with an error for the caller of release(). */
interface ReturnResult {
  /** Why the buffer was freed; absent: it is free for the next lease. */
  readonly reason: DiscardReason | undefined;
  /** What the caller of release() must hear. */
  readonly error: unknown;
}

/** The part of a pool's stats that its slots know. */
type SlotStats = Omit<
  BufferPoolStats,
  "name" | "active" | "size" | "max" | "maxBytes" | "waiting" | "waits" | "starved"
>;

const KEPT: ReturnResult = /* @__PURE__ */ Object.freeze({ reason: undefined, error: undefined });
/** Views that were to end with the lease cannot be ended, so nobody else gets the bytes. */
const UNENDED: ReturnResult = /* @__PURE__ */ Object.freeze({ reason: "memory-unfit", error: undefined });

/** The slots of one pool. The pool's fast paths change the four public fields themselves. */
export class SlotStore {
  /** The free slot that was returned last, or null. */
  head: BufferSlot | null = null;
  /** Slots that are leased, awaiting their memory or returning. */
  outstanding = 0;
  /** The most slots that were outstanding at a time. */
  highWater = 0;
  /** Leases since the beginning. */
  acquires = 0;
  readonly #pool: SlotPool;
  readonly #hooks: PoolHooks;
  readonly #onHook: (runs: boolean) => void;
  #hookDepth = 0;
  /** Slots whose lease ended while a hook ran, in order. */
  readonly queued: BufferSlot[] = [];
  /** Numbers of free slots that were found without their bytes, and are gone; the pool tells of them. */
  readonly lost: number[] = [];
  readonly #slots: (BufferSlot | undefined)[] = [];
  /** Indices without a slot, the one that became vacant last on top. */
  readonly #vacant: number[] = [];
  /** The last generation of each vacant index, so that a new slot there never repeats a lease. */
  readonly #lastGeneration: number[] = [];
  readonly #discards: Partial<Record<DiscardReason, number>> = {};
  #config!: ActualPoolConfig;
  #count = 0;
  #bytes = 0;
  #misses = 0;
  /** Where errors of a freed slot's hooks and allocators go while close() frees; null: to a later turn. */
  #failures: unknown[] | null = null;

  /** The pool, once it is registered. */
  registration: PoolRegistration | undefined = undefined;

  /**
   * @param pool what slots point back to
   * @param onHook told when hooks begin and end to run
   */
  constructor(pool: SlotPool, hooks: PoolHooks, onHook: (runs: boolean) => void) {
    this.#pool = pool;
    this.#hooks = hooks;
    this.#onHook = onHook;
  }

  /** A hook is about to run. Ends with {@link #leaveHook}, whatever the hook throws. */
  #enterHook(): void {
    if (this.#hookDepth++ === 0) this.#onHook(true);
  }

  /** The hook has returned. */
  #leaveHook(): void {
    if (--this.#hookDepth === 0) this.#onHook(false);
  }

  /** True while a hook of the pool runs. */
  get inHook(): boolean {
    return this.#hookDepth > 0;
  }

  /** Calls `fn` as a hook. */
  callHook<T>(fn: () => T): T {
    this.#enterHook();
    try {
      return fn();
    } finally {
      this.#leaveHook();
    }
  }

  /** Throws `ERR_REENTRANT` while a hook runs. */
  assertNoHook(verb: string): void {
    if (this.#hookDepth > 0) throw reentrantError(`pool "${this.#pool.name}"`, verb);
  }

  /** Takes a slot whose lease is over into the queue when a hook runs; false when none does. */
  queueReturn(slot: BufferSlot): boolean {
    if (this.#hookDepth === 0) return false;
    slot.slotFlags |= SlotFlags.IN_HOOK | SlotFlags.RETURNING;
    this.queued.push(slot);
    return true;
  }

  /** The next slot that {@link queueReturn} took, or null, also while a hook runs. */
  nextQueued(): BufferSlot | null {
    // shift() of an empty list is a call that takes 4 ns, at every return with a hook.
    return this.#hookDepth > 0 || this.queued.length === 0 ? null : this.queued.shift()!;
  }

  /** True when returns have to run a hook. */
  get hasHooks(): boolean {
    return this.#hooks.reset !== undefined || this.#hooks.recycle !== undefined;
  }

  /** Slots that can be leased at once. */
  get free(): number {
    return this.#count - this.outstanding;
  }

  /** Sets what new slots are made from. */
  open(config: ActualPoolConfig): void {
    this.#config = config;
  }

  /** Makes slots until `min` exist, all or none. */
  preallocate(): void {
    const made: BufferSlot[] = [];
    try {
      while (this.#count < this.#config.min) {
        const slot = this.#make(undefined);
        made.push(slot);
        this.#push(slot);
      }
    } catch (error) {
      // The newest first: each is the head of the list then, and nothing is searched. One by one, so that a dispose()
      // sees the others where they are: free.
      for (const slot of made.reverse()) {
        this.#unlink(slot);
        this.outstanding++;
        this.#free(slot);
      }
      throw error;
    }
  }

  /** Takes a slot to lease: a free one, a new one, or null when the bound is reached. Throws what allocation throws. */
  take(hint?: unknown): BufferSlot | null {
    let slot = this.#takeFree();
    if (slot === null) {
      const { max, maxBytes } = this.#config;
      if (this.#count >= max || this.#bytes + bytesPerBuffer(this.#config) > maxBytes) return null;
      slot = this.#make(hint);
      this.#misses++;
    }
    if (this.#config.zero === "acquire") zeroSlot(slot);
    slot.refCount = 1;
    this.acquires++;
    this.outstanding++;
    if (this.outstanding > this.highWater) this.highWater = this.outstanding;
    return slot;
  }

  /**
   * The free slot that was returned last, or null. Its bytes are judged before it is anybody's: one that lost them to a
   * view of an earlier lease goes on the way.
   */
  #takeFree(): BufferSlot | null {
    for (let slot = this.head; slot !== null; slot = this.head) {
      this.head = slot.next;
      slot.next = null;
      if (!isLost(slot)) return slot;
      this.outstanding++;
      const lost = slot;
      this.callHook(() => this.#discard(lost, "detached"));
      this.lost.push(lost.index);
    }
    return null;
  }

  /** Throws `ERR_MAPPED` when the last release would take bytes away from under a live mapping. */
  assertReturnable(slot: BufferSlot): void {
    assertUnlocked(slot);
    const { memories } = slot;
    for (const memory of memories) {
      // A list may hold a memory several times, with a reference for each.
      if (memory.accessWord === 0 || memory.references > timesIn(memories, memory, 0, memories.length)) continue;
      throw mappedError(this.#pool.name, slot);
    }
  }

  /**
   * Drops the memories of a released slot that the pool did not make for it; returns what their allocators had to say.
   */
  dropAdded(slot: BufferSlot): unknown {
    if (!slot.memoryChanged) return undefined;
    const added = slot.memories.filter((memory) => memory.parentBuffer !== slot);
    if (added.length === 0) return undefined;
    slot.memories = slot.memories.filter((memory) => memory.parentBuffer === slot);
    return dropMemories(slot, added);
  }

  /**
   * The one end of a lease, for every way that it ends. The slot's handles are void already; what is left are the
   * hooks, with a handle of their own, then the judgment of what they left, then the slot is kept, wiped, or freed.
   * Freed memory is wiped by its region's demand when its last holder lets go, so no way round this function skips it.
   *
   * @param because why the slot is freed in any case; undefined: it is kept when it is fit for another lease
   */
  finish(slot: BufferSlot, because: DiscardReason | undefined): ReturnResult {
    const { reset, recycle } = this.#hooks;
    if (because === undefined && reset === undefined && recycle === undefined && slot.metas === null) {
      slot.resetFields();
      const reason = this.#discardReason(slot);
      if (reason !== undefined) return this.#discardReturned(slot, this.#discardResult(slot, reason, undefined));
      return this.#keep(slot) ? KEPT : this.#discardReturned(slot, UNENDED);
    }
    slot.refCount = 1;
    slot.slotFlags |= SlotFlags.IN_HOOK | SlotFlags.RETURNING;
    this.#enterHook();
    try {
      if (because !== undefined) {
        slot.resetFields();
        return this.#discardReturned(slot, { reason: because, error: undefined });
      }
      const result = this.#restore(slot, new MediaBuffer(slot));
      if (result !== KEPT) return this.#discardReturned(slot, result);
      return this.#keep(slot) ? KEPT : this.#discardReturned(slot, UNENDED);
    } finally {
      this.#leaveHook();
    }
  }

  /** Why a slot cannot be leased again, or undefined; what can be mended is mended. */
  #discardReason(slot: BufferSlot): DiscardReason | undefined {
    if (
      (slot.slotFlags & SlotFlags.MEMORY_CHANGED) === 0 &&
      slot.hasFreshMemory() &&
      slot.baseMemory!.parent === null &&
      (slot.baseMemory!.region.wipe & (Wipe.FORCED | Wipe.IN_USE)) === 0
    )
      return undefined;
    return discardReason(slot, this.#config.size);
  }

  #discardReturned(slot: BufferSlot, result: ReturnResult): ReturnResult {
    this.callHook(() => this.#discard(slot, result.reason!));
    return result;
  }

  #discardResult(slot: BufferSlot, reason: DiscardReason, error: unknown): ReturnResult {
    return { reason, error: reason === "detached" ? detachedError(this.#pool.name, slot) : error };
  }

  /** Runs the hooks of a return and judges the slot after each of them that can change it. */
  #restore(slot: BufferSlot, buffer: MediaBuffer): ReturnResult {
    const { reset, recycle } = this.#hooks;
    let error: unknown;
    let reason: DiscardReason | undefined;
    try {
      reset?.(buffer);
    } catch (thrown) {
      reason = "hook";
      error = thrown;
    }
    recycleMetas(slot, buffer);
    if ((slot.slotFlags & SlotFlags.DIRTY_FIELDS) !== 0) slot.resetFields();
    reason ??= this.#discardReason(slot);
    if (reason === undefined && recycle !== undefined) {
      try {
        if (recycle(buffer) === false) reason = "hook";
      } catch (thrown) {
        reason = "hook";
        error = thrown;
      }
      if ((slot.slotFlags & SlotFlags.DIRTY_FIELDS) !== 0) slot.resetFields();
      reason ??= this.#discardReason(slot);
    }
    return reason === undefined ? KEPT : this.#discardResult(slot, reason, error);
  }

  /**
   * The slot is fit: other memory objects where the old ones were seen, wiped bytes, fresh views, and onto the free
   * list. False: not so, because views of its bytes cannot be ended; it is as it was then.
   */
  #keep(slot: BufferSlot): boolean {
    if ((slot.slotFlags & SlotFlags.SHARED) !== 0) replaceHandles(slot);
    if (!wipeSlot(slot, wipeOf(this.#config))) return false;
    slot.generation++;
    slot.refCount = 0;
    slot.dropped = null;
    cacheViews(slot);
    slot.slotFlags &= ~(SlotFlags.IN_HOOK | SlotFlags.RETURNING);
    this.outstanding--;
    this.#push(slot);
    return true;
  }

  /** Frees every free slot. Each counts as outstanding while its hooks run. */
  freeUnused(reason: DiscardReason): void {
    this.#enterHook();
    try {
      for (let slot = this.head; slot !== null; slot = this.head) {
        this.head = slot.next;
        slot.next = null;
        this.outstanding++;
        this.#discard(slot, reason);
      }
    } finally {
      this.#leaveHook();
    }
  }

  /**
   * Voids every lease, then frees what can be freed: memory that others hold, or have mapped, stays theirs until they
   * let go. All leases are void before the first hook runs, so that no hook can give back what is about to be taken.
   */
  takeBackAll(): void {
    const slots = this.leased();
    // Of a lease that is over already, what it has locked keeps the slot.
    const leases = slots.map((slot) => (slot.awaitingMemory ? slot.generation - 1 : slot.generation));
    for (const slot of slots) {
      if (slot.refCount > 1) slot.countSharer(-1);
      slot.generation++;
      slot.refCount = 0;
      slot.awaitingMemory = false;
      slot.slotFlags |= SlotFlags.IN_HOOK | SlotFlags.RETURNING;
      for (const memory of slot.memories) {
        if (memory.parentBuffer === slot) memory.parentBuffer = null;
        // The holder may have kept views, also of memory that was added to the list.
        memory.endByForce();
      }
      for (const memory of slot.dropped ?? []) if (memory.references > 0) memory.endByForce();
    }
    // The lease's own locks end with it; its mappings can be unmapped still.
    for (const [i, slot] of slots.entries()) endLocks(slot, leases[i]!);
    for (const slot of slots) this.finish(slot, "closed");
  }

  /** Slots that are leased, awaiting their memory or returning. O(buffers). */
  leased(): BufferSlot[] {
    return this.#slots.filter((slot): slot is BufferSlot => slot !== undefined && slot.state !== "FREE");
  }

  /** The part of the stats that the store knows. */
  stats(): SlotStats {
    let awaitingMemory = 0;
    let wastedBytes = 0;
    for (const slot of this.#slots) {
      if (slot === undefined) continue;
      if (slot.awaitingMemory) awaitingMemory++;
      wastedBytes += regionBytes(slot) - bytesPerBuffer(this.#config);
    }
    return {
      count: this.#count,
      bytes: this.#bytes,
      wastedBytes: Math.max(0, wastedBytes),
      free: this.free,
      outstanding: this.outstanding,
      awaitingMemory,
      acquires: this.acquires,
      misses: this.#misses,
      highWater: this.highWater,
      discards: { ...this.#discards },
    };
  }

  /** Throws `ERR_CORRUPTED` when an invariant does not hold. O(buffers). */
  validate(): void {
    const seen = new Set<BufferSlot>();
    for (let slot = this.head; slot !== null; slot = slot.next) {
      this.#assert(!seen.has(slot), "the free list has a cycle");
      seen.add(slot);
      this.#assert(this.#slots[slot.index] === slot, "a free slot is not in the table");
      this.#assert(slot.refCount === 0 && !slot.awaitingMemory, "a free slot is leased");
      this.#assert(slot.isExclusive() && slot.memories.length > 0, "a free slot's memory is held elsewhere");
      this.#assert((slot.slotFlags & ~SlotFlags.METAS) === 0 && slot.pts === undefined, "a free slot was not reset");
    }
    this.#assert(seen.size === this.free, `${seen.size} slots are free, not ${this.free}`);
    this.#assert(
      this.leased().length === this.outstanding,
      `${this.leased().length} slots are out, not ${this.outstanding}`,
    );
    const present = this.#slots.filter((slot) => slot !== undefined);
    this.#assert(present.length === this.#count, `${present.length} slots exist, not ${this.#count}`);
    if (this.#count > 0) this.#assert(this.#count <= this.#config.max, `${this.#count} slots exceed the bound`);
    this.#assert(this.#bytes <= (this.#config?.maxBytes ?? Infinity), `${this.#bytes} bytes exceed the bound`);
  }

  #assert(holds: boolean, what: string): void {
    if (!holds) throw corruptedError(this.#pool.name, what);
  }

  #make(hint: unknown): BufferSlot {
    const index = this.#vacant.pop() ?? this.#slots.push(undefined) - 1;
    const slot = new BufferSlot(this.#pool, index);
    slot.generation = (this.#lastGeneration[index] ?? 0) + 1;
    slot.refCount = 1;
    slot.slotFlags = SlotFlags.IN_HOOK | SlotFlags.FILLING;
    const buffer = new MediaBuffer(slot);
    let failure: unknown;
    this.#enterHook();
    try {
      try {
        this.#hooks.populate(buffer, this.#config, hint);
      } finally {
        // Before anything is done to the bytes, also by what follows an error.
        failure = dropHeld(slot);
      }
      if (failure !== undefined) throw failure;
      this.#assertPopulated(slot);
    } catch (error) {
      this.#lastGeneration[index] = slot.generation + 1;
      this.#vacant.push(index);
      // Views that the hook kept end with the bytes. Memory that came from elsewhere is not the pool's to wipe.
      const own = slot.memories.filter((memory) => memory.allocator === this.#config.allocator);
      demandWipe(own, wipeOf(this.#config));
      emptySlot(slot, buffer);
      throw error;
    } finally {
      this.#leaveHook();
    }
    slot.refCount = 0;
    slot.generation++;
    slot.resetFields();
    slot.slotFlags = 0;
    slot.dropped = null;
    // A memory object that populate() kept must not reach the first lease.
    replaceHandles(slot);
    for (const memory of slot.memories) memory.parentBuffer = slot;
    slot.baseOffset = slot.memories[0]!.offset;
    if (slot.memories.length > 1) slot.baseExtents = slot.memories.flatMap(({ offset, size }) => [offset, size]);
    demandWipe(slot.memories, wipeOf(this.#config));
    // Nor may a view that it kept, where its memory allows that.
    if (this.#config.revoke) {
      for (const memory of slot.memories) if (revokeViews(memory.region)) memory.view = null;
    }
    poolMetas(slot);
    slot.slotFlags = metaFlags(slot);
    // The allocator that was asked may not be the one that populate() took: the memory knows.
    const dirty = slot.memories.some((memory) => !memory.allocator.zeroInitialized);
    if (this.#config.zero !== "never" && dirty) zeroSlot(slot);
    cacheViews(slot);
    this.#slots[index] = slot;
    this.#count++;
    this.#bytes += bytesPerBuffer(this.#config);
    this.registration?.resized(this.#count);
    return slot;
  }

  #assertPopulated(slot: BufferSlot): void {
    const { size, mustRevoke, allocator } = this.#config;
    const got = totalSize(slot);
    if (slot.memories.length === 0 || got !== size) {
      throw new MillpondError(
        "ERR_ALLOCATION_FAILED",
        `a new buffer of pool "${this.#pool.name}" has ${got} bytes in ${slot.memories.length} memories instead of ${size}; mend its populate() hook`,
      );
    }
    const { memories } = slot;
    if (
      !slot.isExclusive() ||
      new Set(memories).size < memories.length ||
      memories.some((memory) => memory.parentBuffer !== null)
    ) {
      throw new MillpondError(
        "ERR_ALLOCATION_FAILED",
        `the memory of a new buffer of pool "${this.#pool.name}" is mapped, held by somebody else, or in it twice; its populate() ` +
          "hook must give memory that is the buffer's alone",
      );
    }
    if (memories.some((memory) => memory.region.isDetached)) {
      throw new MillpondError(
        "ERR_ALLOCATION_FAILED",
        `the memory of a new buffer of pool "${this.#pool.name}" has lost its bytes; its populate() hook must not transfer them`,
      );
    }
    // The attempt is the question: some buffers cannot be detached, and nothing else tells.
    if (mustRevoke && !memories.every((memory) => memory.parent === null && revokeViews(memory.region))) {
      throw new MillpondError(
        "ERR_UNSUPPORTED",
        `pool "${this.#pool.name}" shall revoke views, but the memory of allocator "${allocator.name}" cannot be taken back ` +
          "(shared, resizable, part of a larger buffer, or not transferable); use the system allocator, or revoke: false",
      );
    }
  }

  #push(slot: BufferSlot): void {
    slot.next = this.head;
    this.head = slot;
  }

  #unlink(slot: BufferSlot): void {
    if (this.head === slot) {
      this.head = slot.next;
    } else {
      for (let at = this.head; at !== null; at = at.next) if (at.next === slot) at.next = slot.next;
    }
    slot.next = null;
  }

  #discard(slot: BufferSlot, reason: DiscardReason): void {
    this.#discards[reason] = (this.#discards[reason] ?? 0) + 1;
    this.#free(slot);
  }

  #fail(error: unknown): void {
    if (this.#failures === null) throwLater(error);
    else this.#failures.push(error);
  }

  /** Calls `end`; returns what it threw, and what hooks and allocators threw while it freed slots. */
  collectFailures(end: () => void): readonly unknown[] {
    const failures: unknown[] = [];
    this.#failures = failures;
    try {
      end();
    } catch (error) {
      failures.push(error);
    } finally {
      this.#failures = null;
    }
    return failures;
  }

  /** Frees a slot that is counted as outstanding. */
  #free(slot: BufferSlot): void {
    slot.refCount = 1;
    slot.slotFlags |= SlotFlags.IN_HOOK | SlotFlags.RETURNING;
    const buffer = new MediaBuffer(slot);
    try {
      this.#hooks.dispose?.(buffer);
    } catch (error) {
      // The call that frees the buffer goes on; the hook's error comes after it.
      this.#fail(error);
    }
    const failure = emptySlot(slot, buffer);
    // A holder that lost the bytes has heard of it by release(), and who closed their pool by force knows.
    if (failure !== undefined && !saysGone(failure)) this.#fail(failure);
    this.#slots[slot.index] = undefined;
    this.#vacant.push(slot.index);
    this.#lastGeneration[slot.index] = slot.generation;
    this.#count--;
    this.outstanding--;
    this.#bytes -= bytesPerBuffer(this.#config);
    this.registration?.resized(this.#count);
  }
}

/**
 * Why a returned slot cannot be leased again, or undefined. A resize in place is undone on the way, as GStreamer does
 * it.
 */
function discardReason(slot: BufferSlot, size: number): DiscardReason | undefined {
  if (isLost(slot)) return "detached";
  if (slot.memoryChanged) return "memory-changed";
  if (!slot.isExclusive() || slot.memories.some((memory) => memory.parent !== null)) return "memory-unfit";
  // Another pool's buffer shared these bytes and was taken back by force: its holder may have kept views of them. Or a
  // stream may still read them.
  if (slot.memories.some(({ region }) => (region.wipe & (Wipe.FORCED | Wipe.IN_USE)) !== 0)) return "memory-unfit";
  undoResize(slot, size);
  return totalSize(slot) === size ? undefined : "memory-unfit";
}

/** Every memory has the part of its region that it had when the pool made the slot. */
function undoResize(slot: BufferSlot, size: number): void {
  const { memories, baseExtents } = slot;
  if (memories.length === 1) {
    putBack(memories[0]!, slot.baseOffset, size);
    return;
  }
  for (let i = 0; i < memories.length; i++) putBack(memories[i]!, baseExtents[2 * i]!, baseExtents[2 * i + 1]!);
}

function putBack(memory: Memory, offset: number, size: number): void {
  if (memory.currentSize !== size || memory.currentOffset !== offset) memory.setExtent(offset, size);
}

/** True when a slot lost the bytes of one of its memories: a view of them was transferred. */
function isLost({ memories }: BufferSlot): boolean {
  for (let i = 0; i < memories.length; i++) if (memories[i]!.region.isDetached) return true;
  return false;
}

/**
 * Drops all memories and metas of a slot and voids its leases; returns what an allocator had to say about its memory.
 * Each memory is wiped as its region demands when its last holder lets go, which may be later: a copy, or a mapping.
 */
function emptySlot(slot: BufferSlot, buffer: MediaBuffer): unknown {
  slot.slotFlags |= SlotFlags.IN_HOOK | SlotFlags.RETURNING;
  const { memories } = slot;
  slot.memories = [];
  const failure = dropMemories(slot, memories);
  freeMetas(slot, buffer);
  slot.refCount = 0;
  slot.generation++;
  // What a meta's hook put into the buffer goes too; no handle reaches the slot any more.
  const late = dropMemories(slot, slot.memories);
  slot.dropped = null;
  if (late !== undefined) throwLater(late);
  return failure;
}

/**
 * Claims the memories of a new slot. Those that somebody has already leave it, unwiped; the error for the first one, or
 * undefined. A part of a memory is its owner's to divide, and what is of another buffer has a reference of its own.
 */
function dropHeld(slot: BufferSlot): MillpondError | undefined {
  let refused: MillpondError | undefined;
  if (slot.memories.every((memory) => memory.allocator.givesOnce)) return refused;
  slot.memories = slot.memories.filter((memory, i, all) => {
    const { allocator, parent, region } = memory;
    if (parent !== null || allocator.givesOnce || all.indexOf(memory) < i || memory.claim?.isShown) return true;
    const held = isClaimed(memory);
    if (!held && claimBytes(allocator, memory, region.isPlain ? region.bytes : undefined, true)) return true;
    refused ??= heldAlreadyError(allocator, memory);
    memory.dropOwnership();
    // Who has the memory, or its region, would lose it.
    if (!held) releaseFailed(memory);
    return false;
  });
  return refused;
}

/** Gives the next lease other memory objects than those that were handed out. */
function replaceHandles(slot: BufferSlot): void {
  for (let i = 0; i < slot.memories.length; i++) {
    const memory = slot.memories[i]!;
    if (memory.parent === null) slot.memories[i] = replaceHandle(memory);
  }
  slot.slotFlags &= ~SlotFlags.SHARED;
}

/** Sets all bytes of a slot to zero, prefix and padding included. O(size). */
function zeroSlot(slot: BufferSlot): void {
  for (const memory of slot.memories) if (memory.region.isPlain) zeroBytes(memory.region.bytes);
}

/** What the end of a lease demands of its bytes: {@link Wipe} bits. */
function wipeOf({ zero, revoke }: ActualPoolConfig): number {
  return (zero === "release" ? Wipe.ZERO : 0) | (revoke ? Wipe.REVOKE : 0);
}

/**
 * Notes with the bytes of a new slot what the end of every lease over them demands, beside what others demand of them.
 */
function demandWipe(memories: readonly Memory[], wipe: number): void {
  for (const memory of memories) if (memory.parent === null) memory.region.wipe |= wipe;
}

/**
 * Wipes the bytes of a slot that is kept, as its own pool wants it (an allocator's demand is for the day when it gets
 * the bytes back); the demand stays. False: views that had to end cannot be ended. O(size) when it zeroes.
 */
function wipeSlot(slot: BufferSlot, own: number): boolean {
  let left = 0;
  for (const memory of slot.memories) {
    const { region } = memory;
    const { wipe, bytes } = region;
    if ((wipe & own) === 0) continue;
    region.wipe = wipe & own;
    wipeRegion(region);
    left |= region.wipe;
    region.wipe |= wipe;
    if (region.bytes !== bytes) memory.view = null;
  }
  return left === 0;
}

/**
 * Views are made once, here, so that the first use of a lease allocates nothing; they also tell a fresh slot from a
 * used one.
 */
function cacheViews(slot: BufferSlot): void {
  for (const memory of slot.memories) if (memory.view === null && memory.region.isPlain) memory.map("read").unmap();
  const [only] = slot.memories;
  slot.baseMemory = slot.memories.length === 1 && only !== undefined && only.view !== null ? only : null;
  slot.baseView = slot.baseMemory?.view ?? null;
  slot.line = null;
}

/** Bytes that the regions of a slot take. */
function regionBytes(slot: BufferSlot): number {
  let bytes = 0;
  for (const memory of slot.memories) bytes += memory.region.size;
  return bytes;
}
