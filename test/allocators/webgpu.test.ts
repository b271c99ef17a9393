// Shares its realm with other files: nothing that it changes outlives it.
/**
 * WebGPU staging memory against a strict fake of the interface; test/browser runs it on a device where Chromium has
 * one.
 */
import { describe, expect, it } from "vitest";
import { allocators } from "../../src/allocators/registry.ts";
import { type StagingBuffer, type StagingDevice, WebGpuAllocator } from "../../src/allocators/webgpu.ts";
import { SystemAllocator } from "../../src/memory/allocator.ts";
import { code } from "../pools/buffer/pools.ts";

/** Refuses everything that the standard refuses. */
class FakeBuffer implements StagingBuffer {
  state: "unmapped" | "pending" | "mapped" | "destroyed" = "unmapped";
  readonly content: Uint8Array;
  readonly usage: number;
  #range: ArrayBuffer | undefined;

  constructor(size: number, usage: number) {
    if (size % 4 !== 0) throw new Error("OperationError: size is not a multiple of 4");
    if (usage !== (1 | 8) && usage !== (2 | 4)) throw new Error("OperationError: usage");
    this.content = new Uint8Array(size);
    this.usage = usage;
  }
  async mapAsync(mode: number): Promise<void> {
    if (this.state !== "unmapped") throw new Error(`OperationError: buffer is ${this.state}`);
    if ((this.usage & mode) === 0) throw new Error("OperationError: mode does not fit the usage");
    this.state = "pending";
    await null;
    this.state = "mapped";
  }
  getMappedRange(): ArrayBuffer {
    if (this.state !== "mapped" || this.#range !== undefined)
      throw new Error("OperationError: not mapped, or taken already");
    this.#range = this.content.slice().buffer;
    return this.#range;
  }
  unmap(): void {
    if (this.state !== "mapped") throw new Error("OperationError: not mapped");
    if (this.#range !== undefined)
      this.content.set(new Uint8Array(structuredClone(this.#range, { transfer: [this.#range] })));
    this.#range = undefined;
    this.state = "unmapped";
  }
  destroy(): void {
    this.state = "destroyed";
  }
}

const made: FakeBuffer[] = [];
const device: StagingDevice = {
  createBuffer({ size, usage }) {
    made.push(new FakeBuffer(size, usage));
    return made.at(-1)!;
  },
};

describe("WebGpuAllocator (fake)", () => {
  it("maps only asynchronously, gives the bytes back to the GPU at unmap, and kills the view", async () => {
    const memory = new WebGpuAllocator(device, "write").allocate(6);
    const gpu = made.at(-1)!;
    expect([code(() => memory.map("write")), gpu.content.length, memory.isType("GpuStagingMemory")]).toEqual([
      "ERR_NOT_MAPPABLE",
      8,
      true,
    ]);
    const mapping = await memory.mapAsync("write");
    const view = mapping.bytes;
    view.set([1, 2, 3]);
    mapping.unmap();
    expect([view.length, gpu.content[2], gpu.state, WebGpuAllocator.bufferOf(memory.region)]).toEqual([
      0,
      3,
      "unmapped",
      gpu,
    ]);
    expect(WebGpuAllocator.bufferOf(memory)).toBe(gpu);
    for (const foreign of [new SystemAllocator().allocate(8), gpu, undefined]) {
      expect(code(() => WebGpuAllocator.bufferOf(foreign as never))).toBe("ERR_INVALID_ARG_TYPE");
    }
    memory.release();
    expect(gpu.state).toBe("destroyed");
    expect(code(() => WebGpuAllocator.bufferOf(memory))).toBe("ERR_USE_AFTER_RELEASE");
  });

  it("two who map at once share one request; the GPU gets the bytes back with the last", async () => {
    const memory = new WebGpuAllocator(device, "read").allocate(8);
    const [a, b] = await Promise.all([memory.mapAsync("read"), memory.mapAsync("read")]);
    const c = memory.map("read");
    a.unmap();
    b.unmap();
    expect(made.at(-1)!.state).toBe("mapped");
    c.unmap();
    expect(made.at(-1)!.state).toBe("unmapped");
    memory.release();
  });

  it("the other direction cannot be had, and leaves no lock behind", async () => {
    const memory = new WebGpuAllocator(device, "read").allocate(8);
    await expect(memory.mapAsync("write")).rejects.toMatchObject({ code: "ERR_NOT_MAPPABLE" });
    expect(memory.isMapped).toBe(false);
    expect([
      code(() => new WebGpuAllocator({} as never, "read")),
      code(() => new WebGpuAllocator(device, "both" as never)),
    ]).toEqual(["ERR_INVALID_ARG_TYPE", "ERR_INVALID_ARG_VALUE"]);
    memory.release();
  });

  it("a copy goes to the default allocator, and a refused one has allocated nothing", async () => {
    const allocator = new WebGpuAllocator(device, "read");
    const plain = allocators.default.allocate(8);
    expect(code(() => allocator.copyMemory(plain, 4, 8))).toBe("ERR_OUT_OF_RANGE");
    const copy = allocator.copyMemory(plain, 0, 8);
    expect([copy.allocator, allocator.stats().allocations]).toEqual([allocators.default, 0]);
    copy.release();
    plain.release();
  });
});
