/**
 * The free list of a slab pool and its hot path: one 32-bit word a pointer, in a table beside the blocks.
 *
 * ```
 *   links   [ next free pointer, or END | LIVE | GONE | FAILED ]
 * ```
 * libcork keeps the links in the elements' headers. The room for them is kept here, so that its numbers hold, but the links
 * are not in it: finding a block's words first makes a random replacement 1.6 times slower (4.9 ns against 3.0), elements of
 * odd sizes would leave them unaligned, and an element that is overrun cannot break a list that is elsewhere.
 *
 * The word says both where the list goes on and whether the pointer is handed out, so the check costs one comparison with a
 * word that is loaded anyway.
 */

/** End of the free list. */
export const END = -1;

/** There is no such slot: its block is gone, not carved yet, or never was. */
export const GONE = -3;
/** The slot's `init` threw; it is used no more while its block lasts. */
export const FAILED = -4;

/** {@link LIVE} once more: an exported constant is read from its module's cell at each use, which the compiler does not fold (0.7 ns). */
const TAKEN = -2;
/** The pointer is handed out. */
export const LIVE: number = TAKEN;

/**
 * Stands in for the links while a hook runs: nothing in it is live, so the hot path refuses without a check of its own. As long as
 * the links, because a read beyond a table would slow that place down for good; of zeros, which cost no memory until they are read.
 */
let barrier: Int32Array = new Int32Array(0);

/** A barrier for `length` pointers; one for all pools. Throws `RangeError` when there is no memory for it. */
export function barrierOf(length: number): Int32Array {
  if (barrier.length < length) barrier = new Int32Array(length);
  return barrier;
}

/**
 * The list. Its fields are the first of the object, in a base class and `declare`d, because V8 would put them behind the pool's
 * own fields otherwise, out of the object, where each access costs one load more (a tenth of a replacement).
 */
export abstract class SlabLinks {
  /** @internal The pointer that is handed out next, or {@link END}. */
  declare protected head: number;
  /** @internal One word a pointer. */
  declare protected links: Int32Array;

  /** @internal An empty list. */
  constructor() {
    this.head = END;
    this.links = new Int32Array(0);
  }

  /** @internal Hands out an element although the list is empty, or throws. */
  protected abstract allocSlow(): number;

  /** @internal The error for a pointer that is not handed out. */
  protected abstract misuse(pointer: unknown, verb: "free" | "use"): Error;

  /**
   * Hands out an element, the one freed last first; a new block is carved when none is free. @realtime while one is free.
   * Throws `ERR_POOL_FULL`, `ERR_POOL_DEAD`, `ERR_REENTRANT` from a hook, the source or the clock, and what the allocator and `init` throw.
   */
  alloc(): number {
    const pointer = this.head;
    if (pointer < 0) return this.allocSlow();
    const { links } = this;
    this.head = links[pointer]!;
    links[pointer] = TAKEN;
    return pointer;
  }

  /**
   * Takes an element back; its bytes stay as they are for the next one. @realtime
   * Throws `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE` (a number that no alloc here gave: between elements, negative, NaN),
   * `ERR_INVALID_ARG_TYPE` (no number), `ERR_POOL_DEAD`, `ERR_REENTRANT` from a hook. A number that is somebody's live element here is
   * freed, whoever it was given to: neither a stale copy from before it was handed out again nor another pool's is told apart.
   */
  free(pointer: number): void {
    const { links } = this;
    if (typeof pointer !== "number" || links[pointer] !== TAKEN) throw this.misuse(pointer, "free");
    links[pointer] = this.head;
    // -0 is element 0 to an array, but would turn the field into a double for good.
    this.head = pointer | 0;
  }
}
