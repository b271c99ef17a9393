/**
 * WebGPU staging buffers as memory: mapped with `memory.mapAsync`, never with `map`, because the GPU has to be done
 * with them first. The interface is structural, so that the core needs no WebGPU types. Exercised in Chromium on a
 * software adapter, and against a strict fake of the interface; on no real GPU yet.
 */
import { Allocator, AllocatorFlags } from "../memory/allocator.ts";
import { usedAfterReleaseError } from "../memory/errors.ts";
import { isMemory, type MapMode, type Memory } from "../memory/memory.ts";
import { opaqueRegion, Region } from "../memory/region.ts";
import { isMade, oneOf, wrongType } from "../util/validate.ts";

/** What is used of a GPUBuffer. */
export interface StagingBuffer {
  /** Waits until the GPU is done and the bytes can be reached. */
  mapAsync(mode: number, offset?: number, size?: number): Promise<unknown>;
  /** The bytes, while mapped. */
  getMappedRange(offset?: number, size?: number): ArrayBuffer;
  /** Gives the bytes back to the GPU; detaches what getMappedRange gave. */
  unmap(): void;
  /** Frees it. */
  destroy(): void;
}

/** What is used of a GPUDevice. */
export interface StagingDevice {
  /** Makes a buffer. */
  createBuffer(descriptor: { size: number; usage: number }): StagingBuffer;
}

/** GPUMapMode and GPUBufferUsage: numbers of the standard, which realms without WebGPU do not have by name. */
const MAP_READ = 1;
const MAP_WRITE = 2;
const COPY_SRC = 4;
const COPY_DST = 8;

interface Staged {
  readonly buffer: StagingBuffer;
  maps: number;
  bytes: Uint8Array | undefined;
  pending: Promise<unknown> | undefined;
}

/** Staging memory of one direction: "read" (the GPU wrote it) or "write" (the GPU will read it). */
export class WebGpuAllocator extends Allocator {
  readonly #device: StagingDevice;
  readonly #direction: "read" | "write";

  /** Throws `ERR_INVALID_ARG_TYPE`. */
  constructor(device: StagingDevice, direction: "read" | "write") {
    super(`webgpu-${oneOf("direction", direction, ["read", "write"])}`, {
      memoryType: "GpuStagingMemory",
      // No copy can be written into it without waiting for the GPU: copies go to the default allocator.
      flags: AllocatorFlags.NO_COPY,
    });
    if (typeof device?.createBuffer !== "function") throw wrongType("device", "a GPUDevice", device);
    this.#device = device;
    this.#direction = direction;
  }

  /**
   * The GPU buffer behind a memory or a region, for copy commands. The bytes of a memory begin `memory.offset` bytes
   * into it. Throws `ERR_INVALID_ARG_TYPE`, `ERR_USE_AFTER_RELEASE` for a memory that was released.
   */
  static bufferOf(memory: Memory | Region): StagingBuffer {
    const isOfMemory = isMemory(memory);
    if (isOfMemory && memory.refCount === 0) throw usedAfterReleaseError(memory, "find the GPU buffer of");
    const region = isOfMemory ? memory.region : memory;
    const handle: unknown = isMade(Region, region, "bytes") ? region.handle : undefined;
    if (typeof handle !== "object" || handle === null || !("pending" in handle)) {
      throw wrongType("memory", "a memory or a region of a WebGpuAllocator", memory);
    }
    return (handle as Staged).buffer;
  }

  /** Sizes are multiples of 4, as the standard wants them. */
  protected override allocateRegion(size: number): Region {
    const whole = Math.max(4, Math.ceil(size / 4) * 4);
    const usage = this.#direction === "read" ? MAP_READ | COPY_DST : MAP_WRITE | COPY_SRC;
    const staged: Staged = {
      buffer: this.#device.createBuffer({ size: whole, usage }),
      maps: 0,
      bytes: undefined,
      pending: undefined,
    };
    return opaqueRegion(whole, staged);
  }

  /** Frees the GPU buffer. */
  protected override freeRegion(region: Region): void {
    (region.handle as Staged).buffer.destroy();
  }

  /** A nested map gets the bytes of the outer one. */
  protected override mapRegion(region: Region): Uint8Array | undefined {
    const staged = region.handle as Staged;
    if (staged.bytes !== undefined) staged.maps++;
    return staged.bytes;
  }

  /** Waits for the GPU; a mode other than the buffer's direction cannot be had. */
  protected override async mapRegionAsync(region: Region, mode: MapMode): Promise<Uint8Array | undefined> {
    if (mode !== this.#direction) return undefined;
    const staged = region.handle as Staged;
    if (staged.bytes === undefined) {
      // Two who map at once share one request: the standard refuses a second one while the first is pending.
      staged.pending ??= staged.buffer.mapAsync(mode === "read" ? MAP_READ : MAP_WRITE);
      try {
        await staged.pending;
      } finally {
        staged.pending = undefined;
      }
      staged.bytes ??= new Uint8Array(staged.buffer.getMappedRange());
    }
    staged.maps++;
    return staged.bytes;
  }

  /** The last unmap gives the bytes back to the GPU; every view of them is detached then. */
  protected override unmapRegion(region: Region): void {
    const staged = region.handle as Staged;
    if (--staged.maps > 0) return;
    staged.bytes = undefined;
    staged.buffer.unmap();
  }
}
