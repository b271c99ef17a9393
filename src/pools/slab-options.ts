/** What a SlabPool is made from, and what it tells about itself. */
import type { Allocator } from "../memory/allocator.ts";
import type { Clock } from "../observe/clock.ts";

/** How a {@link SlabPool} is made. */
export interface SlabPoolOptions {
  /** Bytes of an element; 0 is allowed, pointers are distinct all the same. This or `struct`. */
  elementSize?: number;
  /** The layout of an element (see {@link struct}), in place of its size. */
  struct?: { readonly size: number };
  /** Bytes of a block; default 4096. */
  blockSize?: number;
  /** Where blocks come from; default: the default allocator. */
  source?: Allocator;
  /** The most blocks; default: as many as pointers fit into 31 bits. */
  maxBlocks?: number;
  /** Milliseconds after which {@link SlabPool.maintain} gives an empty block back; default `Infinity`: never. */
  ageOut?: number;
  /** Called once for each slot when its block is carved. */
  init?: (pointer: number) => void;
  /** Called once for each slot when its block goes: at {@link SlabPool.close}, or by age. */
  done?: (pointer: number) => void;
  /** For messages; default "slab". */
  name?: string;
  /** Time; default: the platform's. */
  clock?: Clock;
}

/** A snapshot of a pool's counters. */
export interface SlabPoolStats {
  /** Elements handed out. */
  readonly live: number;
  /** Elements that can be handed out without a new block. */
  readonly free: number;
  /** Blocks that exist. */
  readonly blocks: number;
  /** Bytes of those blocks. */
  readonly bytes: number;
  /** Of those, bytes in no element: links, headers, tails. */
  readonly wastedBytes: number;
  /** Elements a block. */
  readonly capacity: number;
}
