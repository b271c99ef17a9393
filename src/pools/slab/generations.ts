/**
 * SlabGenerations: pointers that carry a generation, `generation * span + number`, where `number` is the plain pointer
 * of the element and `span` the power of two above all numbers of the pool. A stale pointer is told apart although its
 * element was handed out again.
 *
 * Life-cycle: one for each pool with `generations: true`, as long as the pool. It starts empty; `grow()` makes the
 * pointers of new numbers, with generation 1. Each `free()` raises the element's generation (`retire()`).
 *
 * Invariants: each element has one present pointer, below 2^53, so that a double holds it exactly. A plain number is
 * none. With 2^n elements at most there are 2^(53 - n) generations, from 8 million (a pool without `maxBlocks`)
 * upwards; after so many uses of one element its generations begin again.
 *
 * Complexity: O(1), but for `grow()`, which copies all pointers.
 */

/** Whole numbers below it are exact in a double. */
const MAX_EXACT = 2 ** 53;

/** The present pointers of a pool's elements. */
export class SlabGenerations {
  /** Bits of a pointer that are the element's number. */
  readonly mask: number;
  /** The present pointer of each element, by its number. */
  pointers: Float64Array = new Float64Array(0);
  readonly #span: number;

  /** For numbers below `count`, at most 2^30. */
  constructor(count: number) {
    this.#span = 2 ** (32 - Math.clz32(Math.max(count - 1, 1)));
    this.mask = this.#span - 1;
  }

  /** Makes room for numbers below `count`. Throws `RangeError` when there is no memory for it. */
  grow(count: number): void {
    const { length } = this.pointers;
    if (count <= length) return;
    const grown = new Float64Array(count);
    grown.set(this.pointers);
    // Generation 1, so that a plain number is not a pointer.
    for (let number = length; number < count; number++) grown[number] = this.#span + number;
    this.pointers = grown;
  }

  /** The element was freed: its pointer is stale from now on. */
  retire(number: number): void {
    const next = this.pointers[number]! + this.#span;
    this.pointers[number] = next < MAX_EXACT ? next : this.#span + number;
  }

  /** Whether a number was once a pointer of that element, or may have been. */
  isPast(pointer: number): boolean {
    return Number.isInteger(pointer) && pointer >= this.#span && pointer < this.pointers[pointer & this.mask]!;
  }
}
