/** Blocks of one shared memory for the slab pools of several workers: a word a block says whose it is. */
import { Allocator } from "../../../src/memory/allocator.ts";
import { Region } from "../../../src/memory/region.ts";

/** The memory that workers share: as many owner words as blocks, then the blocks. */
export interface SharedBlocksHandle {
  readonly owners: SharedArrayBuffer;
  readonly bytes: SharedArrayBuffer;
  readonly blockSize: number;
}

/** Makes the memory, all blocks free. */
export function makeSharedBlocks(count: number, blockSize: number): SharedBlocksHandle {
  return {
    owners: new SharedArrayBuffer(count * Int32Array.BYTES_PER_ELEMENT),
    bytes: new SharedArrayBuffer(count * blockSize),
    blockSize,
  };
}

/** One worker's way to the blocks. */
export class SharedBlocks extends Allocator {
  readonly #owners: Int32Array;
  readonly #handle: SharedBlocksHandle;
  readonly #owner: number;

  /** `owner` is not 0, which means free. */
  constructor(handle: SharedBlocksHandle, owner: number) {
    super(`shared-blocks-${owner}`, { memoryType: "SharedMemory" });
    this.#handle = handle;
    this.#owners = new Int32Array(handle.owners);
    this.#owner = owner;
  }

  protected override allocateRegion(size: number): Region | undefined {
    const { bytes, blockSize } = this.#handle;
    if (size !== blockSize) return undefined;
    for (let i = 0; i < this.#owners.length; i++) {
      if (Atomics.compareExchange(this.#owners, i, 0, this.#owner) !== 0) continue;
      return new Region(new Uint8Array(bytes, i * blockSize, blockSize), i);
    }
    return undefined;
  }

  protected override freeRegion(region: Region): void {
    const was = Atomics.compareExchange(this.#owners, region.handle as number, this.#owner, 0);
    if (was !== this.#owner) throw new Error(`block ${region.handle} belongs to ${was}, not to ${this.#owner}`);
  }
}
