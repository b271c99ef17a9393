/**
 * PageCache: every block of one PagePool, which of them are idle, and in what order they go. Bookkeeping only: the
 * allocator decides who may have a block, and when time is looked at.
 *
 * ```
 *   source.allocate() ──> leased ──(release)──> idle ──(the last freed of its class first)──> leased again
 *                                                 └──(age, bound, trim: the first freed of all first)───> the source
 *
 *   class of 760 pages    top -> block -> block -> block <- bottom
 *                         freed last              freed first: the next to age out
 * ```
 * The last freed block is leased first, because its pages are warm, and the first freed ages first; one list with two
 * ends does both.
 *
 * Invariants: a block is leased or idle, never both; `count` and `bytes` are those of all blocks and stay within the
 * bounds; a class exists as long as one of its blocks does. Leasing and releasing are O(1), dropping the oldest
 * O(classes), counting idle bytes O(blocks).
 */

import { claimBytes } from "../../memory/claims.ts";
import { heldAlreadyError } from "../../memory/errors.ts";
import { answered, type Memory } from "../../memory/memory.ts";
import { opaqueRegion, Region, revokeViews, zeroBytes } from "../../memory/region.ts";
import type { PoolRegistration } from "../../observe/registry.ts";
import { MillpondError, saysGone, throwLater } from "../../util/errors.ts";
import type { Site } from "../../util/stack.ts";
import { corruptedError } from "../common/lease-errors.ts";
import { type PageConfig, pageWords } from "./options.ts";

/** A block of whole pages; it lives as long as its pages, over many leases. */
export class PageBlock {
  /** Its equals. */
  declare readonly cls: PageClass;
  /** What the source gave; released when the block goes. */
  declare readonly memory: Memory;
  /** What the leases are of. */
  declare region: Region;
  /** The lease that has it now, or null while it is idle. */
  declare lease: Memory | null;
  /** The live sub-memories of that lease; null: it never had one. */
  declare children: Set<Memory> | null;
  /** When it was leased or freed last, in milliseconds of the pool's clock. */
  declare stamp: number;
  /**
   * Counts up with every call of the pool: the order in which blocks were freed, also between two readings of the
   * clock.
   */
  declare order: number;
  /** Where it stands in the pool's table of blocks. */
  declare index: number;
  /** The step of the decay that it was freed in. */
  declare step: number;
  /** Where the lease was made, when tracing is on. */
  declare site: Site | undefined;
  /** The block that was freed after this one. */
  declare above: PageBlock | null;
  /** The block that was freed before this one. */
  declare below: PageBlock | null;

  /** A block that is neither leased nor idle yet. */
  constructor(cls: PageClass, memory: Memory, region: Region) {
    this.cls = cls;
    this.memory = memory;
    this.region = region;
    this.lease = null;
    this.children = null;
    this.stamp = Number.NEGATIVE_INFINITY;
    this.order = 0;
    this.index = -1;
    this.step = 0;
    this.site = undefined;
    this.above = null;
    this.below = null;
  }
}

/** The blocks of one size (and alignment); the idle ones are its list. */
class PageClass {
  /** What finds it in the pool's table. */
  declare readonly key: number;
  /** Bytes of each block. */
  declare readonly bytes: number;
  /** Alignment of each block, in bytes. */
  declare readonly align: number;
  /** Blocks of this class that exist, idle and leased. */
  declare count: number;
  /** The block that was freed last, or null. */
  declare top: PageBlock | null;
  /** The block that was freed first; means nothing while `top` is null. */
  declare bottom: PageBlock | null;

  /** An empty class. */
  constructor(key: number, bytes: number, align: number) {
    this.key = key;
    this.bytes = bytes;
    this.align = align;
    this.count = 0;
    this.top = null;
    this.bottom = null;
  }

  /** Holds a block. @realtime */
  push(block: PageBlock): void {
    const { top } = this;
    block.below = top;
    block.above = null;
    if (top === null) this.bottom = block;
    else top.above = block;
    this.top = block;
  }

  /** Takes the block that was freed last. @realtime */
  pop(): PageBlock | null {
    const { top } = this;
    if (top === null) return null;
    this.top = top.below;
    top.below = null;
    return top;
  }

  /** Takes the block that was freed first. @realtime */
  shift(): PageBlock | null {
    const { bottom } = this;
    if (this.top === null || bottom === null) return null;
    if (bottom === this.top) {
      this.top = null;
      this.bottom = null;
    } else {
      this.bottom = bottom.above;
      bottom.above!.below = null;
    }
    bottom.above = null;
    return bottom;
  }
}

/** 2^8 classes in the table that the short way looks into: far more than the number of sizes any pipeline uses. */
const TABLE_BITS = 8;

/**
 * Where the class of `pages` pages stands in the table. Media sizes are multiples of large powers of two, so the low
 * bits say little; Knuth's multiplicative hash (2^32 over the golden ratio) spreads them. @realtime
 */
export function hashPages(pages: number): number {
  return Math.imul(pages, 0x9e3779b1) >>> (32 - TABLE_BITS);
}

/** Every block of one pool. */
export class PageCache {
  /** The plain class of n pages at `placeOf(n)`, if no other took the place. */
  readonly table: (PageClass | undefined)[] = new Array<PageClass | undefined>(2 ** TABLE_BITS).fill(undefined);
  /** Idle blocks. */
  idle = 0;
  /** Bytes of all blocks. */
  bytes = 0;
  /** Blocks that went to make room. */
  evicted = 0;
  /** Blocks that went by age. */
  agedOut = 0;
  /**
   * How many calls of the source, or of a clock of the application's, are running: the pool takes no call from inside
   * one.
   */
  calling = 0;
  /** The pool, once it is registered. */
  registration: PoolRegistration | undefined = undefined;
  readonly #onCalling: () => void;
  readonly #config: PageConfig;
  readonly #classes: Map<number, PageClass> = new Map();
  readonly #blocks: PageBlock[] = [];

  /** Empty. `onCalling` is told when {@link calling} leaves 0 or comes back to it. */
  constructor(config: PageConfig, onCalling: () => void) {
    this.#config = config;
    this.#onCalling = onCalling;
  }

  /** Code that is not the pool's is about to be called; {@link leaveCall} ends that, whatever it throws. */
  enterCall(): void {
    if (this.calling++ === 0) this.#onCalling();
  }

  /** The reverse of {@link enterCall}. */
  leaveCall(): void {
    if (--this.calling === 0) this.#onCalling();
  }

  #obtain(cls: PageClass): PageBlock {
    this.enterCall();
    try {
      return obtainBlock(this.#config, cls);
    } finally {
      this.leaveCall();
    }
  }

  /** Blocks that exist. */
  get count(): number {
    return this.#blocks.length;
  }

  /** Every block, in no order. */
  get blocks(): readonly PageBlock[] {
    return this.#blocks;
  }

  /** The bytes of whole pages that `size` bytes take. Throws `ERR_ALLOCATION_FAILED` beyond 2^53. */
  rounded(size: number): number {
    const page = this.#config.pageSize;
    const bytes = Math.ceil(size / page) * page;
    if (bytes <= Number.MAX_SAFE_INTEGER) return bytes;
    throw new MillpondError("ERR_ALLOCATION_FAILED", `page pool "${this.#config.name}" cannot hold ${size} bytes`);
  }

  /** The class for a size and an alignment; a new one is not kept before it has a block. */
  classFor(size: number, align: number): PageClass {
    const page = this.#config.pageSize;
    const bytes = this.rounded(size);
    const pages = bytes / page;
    // Pages are aligned to themselves; larger alignments get classes of their own, under negative keys (32 of them a
    // size).
    const key = align <= page ? pages : -(pages * 32 + Math.log2(align));
    const cls = this.#classes.get(key);
    if (cls === undefined) return new PageClass(key, bytes, Math.max(align, page));
    if (key > 0) this.table[hashPages(key)] = cls;
    return cls;
  }

  /** Takes an idle block of a class, or null. A idle block that lost its bytes to a stale view goes on the way. */
  take(cls: PageClass): PageBlock | null {
    for (;;) {
      const block = cls.pop();
      if (block === null) return null;
      this.idle--;
      if (!isLost(block)) return block;
      this.drop(block);
    }
  }

  /**
   * Makes a block. Idle ones go, oldest first, if the bounds or the source want it. Null: the bounds do not allow it.
   */
  make(cls: PageClass): PageBlock | null {
    if (!this.hasRoom(cls.bytes)) return null;
    while (this.#exceeds(cls.bytes)) {
      this.evicted++;
      this.drop(this.#shiftOldest()!);
    }
    let block: PageBlock;
    try {
      block = this.#obtain(cls);
    } catch (error) {
      // What is kept for later may be what is missing now.
      if (this.idle === 0) throw error;
      this.evicted += this.trim();
      block = this.#obtain(cls);
    }
    block.index = this.#blocks.push(block) - 1;
    this.registration?.resized(this.count);
    block.region.handle = block;
    this.bytes += cls.bytes;
    if (cls.count++ === 0) {
      // Making room may have taken the last block of this very class away.
      this.#classes.set(cls.key, cls);
      if (cls.key > 0) this.table[hashPages(cls.key)] = cls;
    }
    return block;
  }

  /** Whether a new block of `bytes` fits into the bounds once every idle one is gone. O(blocks) when it is tight. */
  hasRoom(bytes: number): boolean {
    if (!this.#exceeds(bytes)) return true;
    const { maxBytes, max } = this.#config;
    return this.bytes - this.idleBytes() + bytes <= maxBytes && this.count - this.idle + 1 <= max;
  }

  #exceeds(bytes: number): boolean {
    return this.bytes + bytes > this.#config.maxBytes || this.count + 1 > this.#config.max;
  }

  /** Bytes of the idle blocks. O(blocks). */
  idleBytes(): number {
    let bytes = 0;
    for (const cls of this.#classes.values()) {
      for (let block = cls.top; block !== null; block = block.below) bytes += cls.bytes;
    }
    return bytes;
  }

  /** The idle block that was freed first, or null. O(classes). */
  oldest(): PageBlock | null {
    let oldest: PageBlock | null = null;
    for (const cls of this.#classes.values()) {
      if (cls.top === null) continue;
      const { bottom } = cls;
      if (oldest === null || bottom!.order < oldest.order) oldest = bottom;
    }
    return oldest;
  }

  #shiftOldest(): PageBlock | null {
    const block = this.oldest()?.cls.shift() ?? null;
    if (block !== null) this.idle--;
    return block;
  }

  /** Drops the oldest idle block; false when there is none. */
  dropOldest(): boolean {
    const block = this.#shiftOldest();
    if (block === null) return false;
    this.drop(block);
    return true;
  }

  /** Drops every idle block; returns how many. */
  trim(): number {
    let dropped = 0;
    while (this.dropOldest()) dropped++;
    return dropped;
  }

  /** Gives a block that is neither idle nor leased back to the source. A source that throws does so in a later turn. */
  drop(block: PageBlock): void {
    this.remove(block);
    this.giveBack(block);
  }

  /** Takes a block that is neither idle nor leased out of the pool; {@link giveBack} follows. */
  remove(block: PageBlock): void {
    const { cls, index } = block;
    const last = this.#blocks.pop()!;
    if (last !== block) {
      this.#blocks[index] = last;
      last.index = index;
    }
    this.bytes -= cls.bytes;
    this.#forget(cls);
    this.registration?.resized(this.count);
  }

  /** Gives a block that was removed back to the source. A source that throws does so in a later turn. */
  giveBack(block: PageBlock): void {
    const lost = isLost(block);
    block.region.handle = undefined;
    // A pool above that revoked views moved the bytes to another ArrayBuffer; the source must find them there.
    if (!lost && block.memory.region.isDetached) block.memory.region.bytes = block.region.bytes;
    this.enterCall();
    try {
      block.memory.releaseOrLater();
    } catch (error) {
      // A source that is a pool itself says that it lost them, or was closed by force: who did that knows.
      if (!lost && !saysGone(error)) throwLater(error);
    } finally {
      this.leaveCall();
    }
  }

  /** Classes go with their last block: a pool that sees a thousand sizes once keeps none of them. */
  #forget(cls: PageClass): void {
    if (--cls.count > 0) return;
    this.#classes.delete(cls.key);
    const place = hashPages(cls.key);
    if (this.table[place] === cls) this.table[place] = undefined;
  }

  /** Throws `ERR_CORRUPTED` when an invariant does not hold. O(blocks). */
  validate(): void {
    const idle = new Set<PageBlock>();
    let bytes = 0;
    let counted = 0;
    for (const cls of this.#classes.values()) {
      let above: PageBlock | null = null;
      counted += cls.count;
      for (let block = cls.top; block !== null; block = block.below) {
        this.#assert(!idle.has(block), "a list of idle blocks has a cycle");
        idle.add(block);
        this.#assert(block.lease === null && block.cls === cls, "an idle block is leased, or in the wrong class");
        this.#assert(
          above === null || (above.stamp >= block.stamp && above.order > block.order),
          "idle blocks are not in the order of their age",
        );
        if (above !== null) this.#assert(block.above === above, "a link upwards is wrong");
        above = block;
      }
      if (cls.top !== null) this.#assert(cls.bottom === above, "the bottom is not the oldest block");
    }
    this.#assert(idle.size === this.idle, `${idle.size} blocks are idle, not ${this.idle}`);
    for (const [index, block] of this.#blocks.entries()) {
      bytes += block.cls.bytes;
      this.#assert(block.index === index, "a block stands at the wrong place");
      this.#assert(idle.has(block) !== (block.lease !== null), "a block is neither idle nor leased, or both");
      if (block.lease !== null) this.#assert(block.lease.refCount > 0, "a leased block's memory is dead");
    }
    this.#assert(bytes === this.bytes, `the blocks have ${bytes} bytes, not ${this.bytes}`);
    this.#assert(counted === this.count, `the classes count ${counted} blocks, not ${this.count}`);
    const { maxBytes, max } = this.#config;
    this.#assert(bytes <= maxBytes && this.count <= max, "the pool exceeds its bounds");
  }

  #assert(holds: boolean, what: string): void {
    if (!holds) throw corruptedError(pageWords(this.#config), what);
  }
}

/**
 * Makes a block of the class over a memory of the source, zeroed as the policy wants it.
 * Throws `ERR_UNSUPPORTED` when bytes without an address would have to be zeroed or revoked, and what the source
 * throws; nothing is kept then.
 */
function obtainBlock(config: PageConfig, cls: PageClass): PageBlock {
  const { source, zero, name } = config;
  const memory = answered(source, source.allocate(cls.bytes, { align: cls.align }), cls.bytes);
  const { region: pages, offset } = memory;
  if (!claimBytes(source, memory, pages.isPlain ? pages.bytes : undefined)) {
    memory.releaseOrLater();
    throw heldAlreadyError(source, memory);
  }
  if (!pages.isPlain) {
    if (zero === "acquire" || zero === "release" || config.mustRevoke) {
      memory.releaseOrLater();
      const wish = config.mustRevoke ? "revoke: false" : 'zero: "never" or "fresh"';
      throw new MillpondError(
        "ERR_UNSUPPORTED",
        `page pool "${name}" cannot reach the bytes of "${source.name}" (${source.memoryType}) by address; choose ${wish}`,
      );
    }
    return new PageBlock(cls, memory, opaqueRegion(cls.bytes, undefined));
  }
  const whole = pages.bytes;
  const bytes = whole.length === cls.bytes ? whole : whole.subarray(offset, offset + cls.bytes);
  const region = new Region(bytes);
  // The attempt is the question: some buffers cannot be detached, and nothing else tells.
  if (config.mustRevoke && !revokeViews(region)) {
    memory.releaseOrLater();
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      `page pool "${name}" cannot revoke views of "${source.name}" (${source.memoryType}): its memory is shared, a part of a larger buffer, or not transferable; use revoke: false`,
    );
  }
  if (config.mustRevoke) pages.bytes = region.bytes;
  region.wipe = config.wipe;
  if (zero !== "never" && !source.zeroInitialized) zeroBytes(region.bytes);
  return new PageBlock(cls, memory, region);
}

/** Revokes every view of a block that was handed out, if its memory allows it. O(1). */
export function revokeBlock(block: PageBlock): void {
  const { region } = block;
  if (!revokeViews(region)) return;
  // A revocable region is the whole ArrayBuffer, so the source's view of it is the same, and is detached with the
  // others.
  block.memory.region.bytes = region.bytes;
}

/** True when the bytes were transferred away. */
export function isLost(block: PageBlock): boolean {
  return block.region.isDetached;
}
