/**
 * The blocks of a PagePool: which exist, which are held and by age, which go. Bookkeeping only; who may take one and when time
 * is looked at is the allocator's business.
 */
import { MillpondError, throwLater } from "../../util/errors.ts";
import type { PageConfig } from "./options.ts";
import { type PageBlock, PageClass } from "./page-block.ts";
import { isLost, obtainBlock } from "./page-source.ts";

/** 2^8 classes in the table that the short way looks into: far more than the number of sizes any pipeline uses. */
const TABLE_BITS = 8;

/**
 * Where the class of `pages` pages stands in the table. Media sizes are multiples of large powers of two, so the low bits say little;
 * Knuth's multiplicative hash (2^32 over the golden ratio) spreads them. @realtime
 */
export function hashPages(pages: number): number {
  return Math.imul(pages, 0x9e3779b1) >>> (32 - TABLE_BITS);
}

/** Every block of one pool. */
export class PageCache {
  /** The plain class of n pages at `placeOf(n)`, if no other took the place. */
  readonly table: (PageClass | undefined)[] = new Array<PageClass | undefined>(2 ** TABLE_BITS).fill(undefined);
  /** Blocks held. */
  idle = 0;
  /** Bytes of all blocks. */
  bytes = 0;
  /** Blocks that went to make room. */
  evicted = 0;
  /** Blocks that went by age. */
  agedOut = 0;
  /** How many calls of the source, or of a clock of the application's, are running: the pool takes no call from inside one. */
  calling = 0;
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
    // Pages are aligned to themselves; larger alignments get classes of their own, under negative keys (32 of them a size).
    const key = align <= page ? pages : -(pages * 32 + Math.log2(align));
    const cls = this.#classes.get(key);
    if (cls === undefined) return new PageClass(key, bytes, Math.max(align, page));
    if (key > 0) this.table[hashPages(key)] = cls;
    return cls;
  }

  /** Takes a held block of a class, or null. A held block that lost its bytes to a stale view goes on the way. */
  take(cls: PageClass): PageBlock | null {
    for (;;) {
      const block = cls.pop();
      if (block === null) return null;
      this.idle--;
      if (!isLost(block)) return block;
      this.drop(block);
    }
  }

  /** Makes a block. Held ones go, oldest first, if the bounds or the source want it. Null: the bounds do not allow it. */
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
      // What is held for later may be what is missing now.
      if (this.idle === 0) throw error;
      this.evicted += this.flush();
      block = this.#obtain(cls);
    }
    block.index = this.#blocks.push(block) - 1;
    block.region.handle = block;
    this.bytes += cls.bytes;
    if (cls.count++ === 0) {
      // Making room may have taken the last block of this very class away.
      this.#classes.set(cls.key, cls);
      if (cls.key > 0) this.table[hashPages(cls.key)] = cls;
    }
    return block;
  }

  /** Whether a new block of `bytes` fits into the bounds once every held one is gone. O(blocks) when it is tight. */
  hasRoom(bytes: number): boolean {
    if (!this.#exceeds(bytes)) return true;
    const { maxBytes, max } = this.#config;
    return this.bytes - this.idleBytes() + bytes <= maxBytes && this.count - this.idle + 1 <= max;
  }

  #exceeds(bytes: number): boolean {
    return this.bytes + bytes > this.#config.maxBytes || this.count + 1 > this.#config.max;
  }

  /** Bytes of the held blocks. O(blocks). */
  idleBytes(): number {
    let bytes = 0;
    for (const cls of this.#classes.values()) {
      for (let block = cls.top; block !== null; block = block.below) bytes += cls.bytes;
    }
    return bytes;
  }

  /** The held block that was freed first, or null. O(classes). */
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

  /** Lets the oldest held block go; false when none is held. */
  dropOldest(): boolean {
    const block = this.#shiftOldest();
    if (block === null) return false;
    this.drop(block);
    return true;
  }

  /** Lets every held block go; returns how many. */
  flush(): number {
    let dropped = 0;
    while (this.dropOldest()) dropped++;
    return dropped;
  }

  /** Gives a block that is neither held nor lent back to the source. A source that throws does so in a later turn. */
  drop(block: PageBlock): void {
    const { cls, index } = block;
    const last = this.#blocks.pop()!;
    if (last !== block) {
      this.#blocks[index] = last;
      last.index = index;
    }
    this.bytes -= cls.bytes;
    this.#forget(cls);
    const lost = isLost(block);
    block.region.handle = undefined;
    // A pool above that revoked views moved the bytes to another ArrayBuffer; the source must find them there.
    if (!lost && block.memory.region.isDetached) block.memory.region.bytes = block.region.bytes;
    this.enterCall();
    try {
      block.memory.release();
    } catch (error) {
      // A source that is a pool itself complains about lost bytes too; whoever lost them has been told already.
      if (!lost) throwLater(error);
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
    const held = new Set<PageBlock>();
    let bytes = 0;
    let counted = 0;
    for (const cls of this.#classes.values()) {
      let above: PageBlock | null = null;
      counted += cls.count;
      for (let block = cls.top; block !== null; block = block.below) {
        this.#assert(!held.has(block), "a list of held blocks has a cycle");
        held.add(block);
        this.#assert(block.lease === null && block.cls === cls, "a held block is lent, or in the wrong class");
        this.#assert(
          above === null || (above.stamp >= block.stamp && above.order > block.order),
          "held blocks are not in the order of their age",
        );
        if (above !== null) this.#assert(block.above === above, "a link upwards is wrong");
        above = block;
      }
      if (cls.top !== null) this.#assert(cls.bottom === above, "the bottom is not the oldest block");
    }
    this.#assert(held.size === this.idle, `${held.size} blocks are held, not ${this.idle}`);
    for (const [index, block] of this.#blocks.entries()) {
      bytes += block.cls.bytes;
      this.#assert(block.index === index, "a block stands at the wrong place");
      this.#assert(held.has(block) !== (block.lease !== null), "a block is neither held nor lent, or both");
      if (block.lease !== null) this.#assert(block.lease.refCount > 0, "a lent block's memory is dead");
    }
    this.#assert(bytes === this.bytes, `the blocks have ${bytes} bytes, not ${this.bytes}`);
    this.#assert(counted === this.count, `the classes count ${counted} blocks, not ${this.count}`);
    const { maxBytes, max } = this.#config;
    this.#assert(bytes <= maxBytes && this.count <= max, "the pool exceeds its bounds");
  }

  #assert(holds: boolean, what: string): void {
    if (!holds)
      throw new MillpondError("ERR_CORRUPTED", `page pool "${this.#config.name}": ${what}; this is a bug in millpond`);
  }
}
