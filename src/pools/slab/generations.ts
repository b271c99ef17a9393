/**
 * Pointers that carry a generation: `generation * span + number`, where `number` is the plain pointer of the element and `span` the
 * power of two above all numbers of the pool. The generation goes up with each `free()`, so a stale pointer is told apart although
 * its element was handed out again. A double holds 53 bits exactly: with 2^n elements at most, 2^(53 - n) generations, from 8 million
 * (a pool without `maxBlocks`) upwards; after so many uses of one element its generations begin again.
 */

/** A double's exact whole numbers. */
const LIMIT = 2 ** 53;

/** The pointer that each element has now. */
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
    // Generation 1, so that a plain number is nobody's pointer.
    for (let number = length; number < count; number++) grown[number] = this.#span + number;
    this.pointers = grown;
  }

  /** The element was freed: its pointer is stale from now on. */
  retire(number: number): void {
    const next = this.pointers[number]! + this.#span;
    this.pointers[number] = next < LIMIT ? next : this.#span + number;
  }

  /** Whether a number was once a pointer of that element, or may have been. */
  isPast(pointer: number): boolean {
    return Number.isInteger(pointer) && pointer >= this.#span && pointer < this.pointers[pointer & this.mask]!;
  }
}
