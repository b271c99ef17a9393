/**
 * A custom allocator in thirty lines: pieces of one ArrayBuffer, never given back, for bytes that live as long as the program.
 * Two methods are all it takes; alignment, prefix, padding, counting, sharing and copying are done by the base class, and
 * every pool can draw from it.
 *
 *   npx node examples/custom-allocator.ts
 */
import { Allocator, BufferPool, Region, type ResolvedParams } from "../src/index.ts";

export class BumpAllocator extends Allocator {
  readonly #arena: ArrayBuffer;
  #used = 0;

  constructor(bytes: number) {
    super("bump");
    this.#arena = new ArrayBuffer(bytes);
  }

  protected override allocateRegion(size: number, { align }: ResolvedParams): Region | undefined {
    const start = Math.ceil(this.#used / align) * align;
    if (start + size > this.#arena.byteLength) return undefined; // the caller gets ERR_ALLOCATION_FAILED
    this.#used = start + size;
    return new Region(new Uint8Array(this.#arena, start, size));
  }

  protected override freeRegion(_region: Region): void {}
}

const pool = BufferPool.create({
  name: "headers",
  size: 60,
  align: 64,
  min: 4,
  max: 4,
  allocator: new BumpAllocator(1024),
});
const offsets = [1, 2, 3, 4].map(() => pool.tryAcquire()!.bytes.byteOffset);
console.log(`four buffers of one ArrayBuffer, at ${offsets.join(", ")}`);
