/**
 * A block of whole pages and the class of its equals.
 *
 * ```
 *   class of 760 pages    top -> block -> block -> block <- bottom
 *                         freed last              freed first: the next to age out
 * ```
 * The last freed is lent first (its pages are warm), the first freed ages first; one list with two ends does both in O(1).
 */
import type { Memory } from "../../memory/memory.ts";
import type { Region } from "../../memory/region.ts";

/** A block of whole pages; it lives as long as its pages, over many loans. */
export class PageBlock {
  /** Its equals. */
  declare readonly cls: PageClass;
  /** What the source gave; released when the block goes. */
  declare readonly memory: Memory;
  /** What loans lie over. */
  declare region: Region;
  /** The loan that has it now, or null while it is held. */
  declare lease: Memory | null;
  /** When it was lent or freed last, in milliseconds of the pool's clock. */
  declare stamp: number;
  /** Counts up with every call of the pool: the order in which blocks were freed, also between two readings of the clock. */
  declare order: number;
  /** Where it stands in the pool's table of blocks. */
  declare index: number;
  /** The step of the decay that it was freed in. */
  declare step: number;
  /** Where the loan was made, when tracing is on. */
  declare site: Error | undefined;
  /** The block that was freed after this one. */
  declare above: PageBlock | null;
  /** The block that was freed before this one. */
  declare below: PageBlock | null;

  /** A block that nobody holds yet. */
  constructor(cls: PageClass, memory: Memory, region: Region) {
    this.cls = cls;
    this.memory = memory;
    this.region = region;
    this.lease = null;
    this.stamp = Number.NEGATIVE_INFINITY;
    this.order = 0;
    this.index = -1;
    this.step = 0;
    this.site = undefined;
    this.above = null;
    this.below = null;
  }
}

/** The blocks of one size (and alignment) that wait for a borrower. */
export class PageClass {
  /** What finds it in the pool's table. */
  declare readonly key: number;
  /** Bytes of each block. */
  declare readonly bytes: number;
  /** Alignment of each block, in bytes. */
  declare readonly align: number;
  /** Blocks of this class that exist, held and lent. */
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
