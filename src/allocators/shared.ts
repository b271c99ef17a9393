/** Shared memory: one SharedArrayBuffer a memory, visible to every worker that it is posted to, without a copy. */

import { Allocator } from "../memory/allocator.ts";
import type { Memory } from "../memory/memory.ts";
import type { ResolvedParams } from "../memory/params.ts";
import { Region } from "../memory/region.ts";
import { MillpondError } from "../util/errors.ts";

/**
 * Makes memories over SharedArrayBuffers. The engine does not count them as garbage-collection pressure, so an unpooled
 * use of this allocator grows without bound (measured: 3.3 GB after 400 frames of 8 MB); let a pool draw from it.
 *
 * In a page without cross-origin isolation there is no SharedArrayBuffer: every allocation throws `ERR_UNSUPPORTED`.
 */
export class SharedAllocator extends Allocator {
  /** Its own name, "shared" unless told otherwise. */
  constructor(name = "shared") {
    super(name, { memoryType: "SharedMemory" });
  }

  /** True when this realm has SharedArrayBuffer. */
  static get isSupported(): boolean {
    return typeof SharedArrayBuffer === "function";
  }

  /** The engine zeroes every new SharedArrayBuffer. */
  override get zeroInitialized(): boolean {
    return true;
  }

  /** The garbage collector waits for the last view. */
  override get viewsOutliveFree(): boolean {
    return true;
  }

  /** A fresh, zeroed SharedArrayBuffer; throws `ERR_UNSUPPORTED` where there is none. */
  protected override allocateRegion(size: number, _params: ResolvedParams): Region | undefined {
    if (!SharedAllocator.isSupported) {
      throw new MillpondError(
        "ERR_UNSUPPORTED",
        "there is no SharedArrayBuffer here; serve the page with COOP and COEP headers, or use the system allocator",
      );
    }
    return new Region(new Uint8Array(new SharedArrayBuffer(size)));
  }

  /** @internal The garbage collector waits for what uses them, unless a subclass recycles. */
  override withhold(memory: Memory): void {
    if (this.viewsOutliveFree) this.onRelease(memory);
  }

  /** The garbage collector takes it when no agent refers to it any more. */
  protected override freeRegion(_region: Region): void {}
}
