/**
 * Memory for devices: a DMA buffer from a dma-heap, or made of a sealed memfd's pages by udmabuf. Where the kernel has
 * neither, what is handed out is a plain memfd and is labeled so: an encoder or GPU then copies or imports host
 * memory. It is never passed off as a DMA buffer.
 *
 * Experimental: the DMA kinds are written from the kernel's documentation and have not met a device yet.
 */
import { Allocator } from "../../memory/allocator.ts";
import { isMemory, type MapMode, type Memory } from "../../memory/memory.ts";
import type { ResolvedParams } from "../../memory/params.ts";
import { opaqueRegion, Region } from "../../memory/region.ts";
import { checkOps } from "../../os/load.ts";
import type { NativeOps } from "../../os/native-ops.ts";
import { made, type NotDone, type Outcome } from "../../os/result.ts";
import { createSharedMemory, type SharedMemory } from "../../os/shared-memory.ts";
import { MillpondError } from "../../util/errors.ts";
import { checkOptions, flag, show, text } from "../../util/validate.ts";
import { refusal } from "./process-shared.ts";

/**
 * What a memory of a {@link DmabufAllocator} really is. Only the first two can be given to a device as a DMA buffer.
 */
export type DmabufKind = "dma-heap" | "udmabuf" | "memfd";

/** What was made, and why nothing better. */
export interface DmabufReport {
  /** What it really is. */
  readonly kind: DmabufKind;
  /** The descriptor to import: of the DMA buffer, or of the memfd. It lives as long as the memory. */
  readonly descriptor: number;
  /** Bytes in it. */
  readonly bytes: number;
  /** The steps that were tried before and did not work, in order. */
  readonly refused: readonly NotDone[];
}

/** How a {@link DmabufAllocator} is made. */
export interface DmabufOptions {
  /** The name in messages; default "dmabuf". */
  readonly name?: string;
  /** The heap under /dev/dma_heap; default "system". */
  readonly heap?: string;
  /** Refuse (`ERR_UNSUPPORTED`) rather than hand out a memfd; default false. */
  readonly required?: boolean;
  /** @internal The operations; default this process's. */
  readonly ops?: NativeOps;
}

interface DmaRecord {
  readonly report: DmabufReport;
  /** The memfd's block, or for a dma-heap the device's own pages laid over one. */
  readonly block: { readonly bytes: Uint8Array; retire(): unknown };
}

/** Makes DMA buffers where the kernel can, else labeled memfds. */
export class DmabufAllocator extends Allocator {
  readonly #ops: NativeOps;
  readonly #heap: string;
  readonly #required: boolean;

  /** Throws `ERR_INVALID_ARG_TYPE`. */
  constructor(options?: DmabufOptions) {
    const given = checkOptions("options", options, ["name", "heap", "required", "ops"]);
    super(text("options.name", given.name, "dmabuf"), { memoryType: "DmabufMemory" });
    this.#ops = checkOps("options.ops", given.ops);
    this.#heap = text("options.heap", given.heap, "system");
    this.#required = flag("options.required", given.required, false);
  }

  /** What a live memory of this allocator really is. Throws `ERR_FOREIGN_RELEASE`. */
  reportOf(memory: Memory): DmabufReport {
    if (isMemory(memory) && memory.allocator === this && memory.refCount > 0)
      return (memory.region.handle as DmaRecord).report;
    throw new MillpondError("ERR_FOREIGN_RELEASE", `${show(memory)} is not a live memory of allocator "${this.name}"`);
  }

  /** Makes one page and frees it: which kind this machine gives, or why none. */
  probe(): Outcome<DmabufReport> {
    const made_ = this.#make(this.#ops.pageSize);
    if (!made_.ok) return made_;
    this.#discard(made_.value);
    return made(made_.value.report);
  }

  /** "memory:DMABuf" where a page that is made for the question really is one; see {@link probe}. */
  override lacks(feature: string): string | undefined {
    if (feature !== "memory:DMABuf") return super.lacks(feature);
    const page = this.probe();
    if (!page.ok) return page.hint;
    return page.value.kind === "memfd" ? page.value.refused.map((step) => step.hint).join("; ") : undefined;
  }

  #make(bytes: number): Outcome<DmaRecord> {
    const refused: NotDone[] = [];
    const fromHeap = this.#fromHeap(bytes);
    if (fromHeap.ok) return fromHeap;
    refused.push(fromHeap);
    const shared = createSharedMemory(bytes, "millpond-dma", this.#ops);
    if (!shared.ok) return shared;
    const fromShared = this.#ops.dma.fromShared(shared.value.descriptor, shared.value.size);
    if (fromShared.ok) return made(recordOf("udmabuf", fromShared.value, shared.value, refused));
    refused.push(fromShared);
    if (!this.#required) return made(recordOf("memfd", shared.value.descriptor, shared.value, refused));
    shared.value.retire();
    return fromShared;
  }

  #fromHeap(bytes: number): Outcome<DmaRecord> {
    const whole = Math.ceil(bytes / this.#ops.pageSize) * this.#ops.pageSize;
    const descriptor = this.#ops.dma.fromHeap(whole, this.#heap);
    if (!descriptor.ok) return descriptor;
    const mapped = this.#ops.dma.map(descriptor.value, whole);
    if (!mapped.ok) {
      this.#ops.shared.close(descriptor.value);
      return mapped;
    }
    const { address } = mapped.value;
    const block = { bytes: mapped.value.bytes, retire: () => this.#ops.retire(address, whole) };
    return made(recordOf("dma-heap", descriptor.value, block, []));
  }

  #discard(record: DmaRecord): void {
    record.block.retire();
    // The memfd's own descriptor went with its block.
    if (record.report.kind !== "memfd") this.#ops.shared.close(record.report.descriptor);
  }

  /** The best kind there is; throws `ERR_UNSUPPORTED` or `ERR_ALLOCATION_FAILED`. */
  protected override allocateRegion(size: number, _params: ResolvedParams): Region | undefined {
    const record = this.#make(Math.max(size, 1));
    if (!record.ok) throw refusal(this.name, record);
    const { block, report } = record.value;
    // A device's caches have to be told of an access, so a DMA buffer is reached through the map hook only.
    return report.kind === "memfd" ? new Region(block.bytes, record.value) : opaqueRegion(report.bytes, record.value);
  }

  /** Tells the device that the processor is about to touch the bytes. */
  protected override mapRegion(region: Region, mode: MapMode): Uint8Array | undefined {
    const { report, block } = region.handle as DmaRecord;
    return this.#ops.dma.sync(report.descriptor, "start", mode).ok ? block.bytes : undefined;
  }

  /** Tells the device that the processor is done. */
  protected override unmapRegion(region: Region, mode: MapMode): void {
    this.#ops.dma.sync((region.handle as DmaRecord).report.descriptor, "end", mode);
  }

  /** Closes the descriptor; a device that imported the buffer keeps it. */
  protected override freeRegion(region: Region): void {
    this.#discard(region.handle as DmaRecord);
  }
}

function recordOf(
  kind: DmabufKind,
  descriptor: number,
  block: SharedMemory | DmaRecord["block"],
  refused: readonly NotDone[],
): DmaRecord {
  return { report: { kind, descriptor, bytes: block.bytes.length, refused }, block };
}
