/** The blocks of a slab pool: memories that stay mapped while they exist, under numbers that are used again, and their ages. */
import type { Allocator } from "../../memory/allocator.ts";
import type { Mapping } from "../../memory/mapping.ts";
import type { SlabLayout } from "./layout.ts";

/** The set of blocks. */
export class SlabBlocks {
  /** The bytes of each block; undefined where a number is vacant. */
  readonly views: (Uint8Array | undefined)[] = [];
  /** The same bytes for cursors, which go from block to block and must not make a view (50 ns and garbage) at each step. */
  readonly dataViews: (DataView | undefined)[] = [];
  /** Blocks added since the beginning. */
  carved = 0;
  readonly #source: Allocator;
  readonly #layout: SlabLayout;
  readonly #mappings: (Mapping | undefined)[] = [];
  /** When each block was first seen empty; Infinity: not empty. */
  readonly #idleSince: number[] = [];
  /** Numbers in order of their carving. */
  #order: number[] = [];

  /** No blocks yet. */
  constructor(source: Allocator, layout: SlabLayout) {
    this.#source = source;
    this.#layout = layout;
  }

  /** Blocks that exist. */
  get count(): number {
    return this.#order.length;
  }

  /** The number that the next block gets: the lowest vacant one. O(blocks) while one is vacant. */
  nextNumber(): number {
    return this.count === this.views.length ? this.count : this.views.indexOf(undefined);
  }

  /** Makes block `number`. Throws what the allocator and the mapping throw; there is no new block then. */
  add(number: number): void {
    const memory = this.#source.allocate(this.#layout.blockSize, { align: this.#layout.align });
    let mapping: Mapping;
    try {
      // For the block's life: memory that is not plain is reachable only while it is mapped.
      mapping = memory.map("readwrite");
    } catch (error) {
      memory.release();
      throw error;
    }
    this.#mappings[number] = mapping;
    const { bytes } = mapping;
    this.views[number] = bytes;
    this.dataViews[number] = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#idleSince[number] = Number.POSITIVE_INFINITY;
    this.#order.push(number);
    this.carved++;
  }

  /** Block numbers, the one carved last first. */
  newestFirst(): number[] {
    return [...this.#order].reverse();
  }

  /** Gives blocks back to the allocator, the newest first; the answer is what its hooks threw, which keeps no block from going. */
  drop(gone: ReadonlySet<number>): unknown[] {
    const failures: unknown[] = [];
    for (const number of this.newestFirst()) {
      if (!gone.has(number)) continue;
      const mapping = this.#mappings[number]!;
      this.#mappings[number] = undefined;
      this.views[number] = undefined;
      this.dataViews[number] = undefined;
      attempt(failures, () => mapping.unmap());
      attempt(failures, () => mapping.source.release());
    }
    this.#order = this.#order.filter((number) => !gone.has(number));
    return failures;
  }

  /** Forgets what was seen empty: all slots of all blocks are live now. O(blocks). */
  allBusy(): void {
    this.#idleSince.fill(Number.POSITIVE_INFINITY);
  }

  /** The blocks that were empty at visits `age` ms apart, with this visit as one. */
  old(now: number, age: number, isEmpty: (number: number) => boolean): Set<number> {
    const old = new Set<number>();
    for (const number of this.#order) {
      if (!isEmpty(number)) {
        this.#idleSince[number] = Number.POSITIVE_INFINITY;
        continue;
      }
      // The smaller of both also mends the stamp when the clock went backwards.
      const since = Math.min(this.#idleSince[number]!, now);
      this.#idleSince[number] = since;
      if (now - since >= age) old.add(number);
    }
    return old;
  }
}

function attempt(failures: unknown[], fn: () => void): void {
  try {
    fn();
  } catch (error) {
    failures.push(error);
  }
}
