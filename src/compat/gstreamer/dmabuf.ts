/**
 * GstDmaBufMemory and GstUdmabufAllocator, as far as this machine has them: DMA buffers made of a sealed memfd's pages
 * by udmabuf, or from a dma-heap. `import "millpond/native"` brings them; without it, and on kernels without either
 * device, the answer is `NOT_SUPPORTED`. A plain memfd is never passed off as a DMA buffer.
 */
import type { DmabufAllocator, DmabufReport } from "../../allocators/native/dmabuf.ts";
import { allocators } from "../../allocators/registry.ts";
import type { Allocator as CoreAllocator } from "../../memory/allocator.ts";
import { Allocator, coreMemory, type Memory } from "./memory.ts";
import { note, refuse } from "./words.ts";

function isDmabuf(core: CoreAllocator | undefined): core is DmabufAllocator {
  return core?.memoryType === "DmabufMemory" && typeof (core as Partial<DmabufAllocator>).reportOf === "function";
}

/** The allocator of DMA buffers made of ordinary memory. */
export const UdmabufAllocator = {
  /** It, or null where this machine makes none; {@link lastError} says which step is missing (status NOT_SUPPORTED). */
  get(): Allocator | null {
    const core = allocators.find("dmabuf");
    if (!isDmabuf(core)) {
      note(refuse("ERR_UNSUPPORTED", 'no allocator makes DMA buffers here; import "millpond/native" on Linux'));
      return null;
    }
    const why = core.lacks("memory:DMABuf");
    if (why !== undefined) {
      note(refuse("ERR_UNSUPPORTED", `this machine makes no DMA buffers: ${why}`));
      return null;
    }
    return Allocator.of(core);
  },
} as const;

function reportOf(memory: Memory): DmabufReport | undefined {
  const core = coreMemory("memory", memory);
  const root = core.parent ?? core;
  return isDmabuf(root.allocator) && root.refCount > 0 ? root.allocator.reportOf(root) : undefined;
}

/** Whether a memory really is a DMA buffer. */
export function is_dmabuf_memory(memory: Memory): boolean {
  const kind = reportOf(memory)?.kind;
  return kind === "udmabuf" || kind === "dma-heap";
}

/** The descriptor of a DMA buffer, which lives as long as the memory; -1 for any other memory. */
export function dmabuf_memory_get_fd(memory: Memory): number {
  return is_dmabuf_memory(memory) ? reportOf(memory)!.descriptor : -1;
}
