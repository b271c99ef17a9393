/**
 * Whole pages that are worked on by address: backed by huge pages, made present before they are used, pinned. Every
 * step is best effort and says what became of it ({@link PagesAllocator.reportOf}); the bytes are there in any case.
 *
 * The memory belongs to the engine (WebAssembly's, which is page aligned and fresh), so no view can outlive it. When a
 * memory is freed its physical pages go back to the system at once; a view that was kept reads zeros until the engine
 * takes the range.
 */
import { Allocator } from "../../memory/allocator.ts";
import type { Memory } from "../../memory/memory.ts";
import type { ResolvedParams } from "../../memory/params.ts";
import { type PinningAllocator, reportLock } from "../../memory/pinning.ts";
import { forbidRevocation, Region } from "../../memory/region.ts";
import { checkOps } from "../../os/load.ts";
import type { NativeOps, PageOps } from "../../os/native-ops.ts";
import { bytesToBoundary } from "../../os/pages.ts";
import { describeResult, done, notDone, type Result } from "../../os/result.ts";
import { alignUp } from "../../util/align.ts";
import { MillpondError } from "../../util/errors.ts";
import { checkOptions, flag, isMade, oneOf, readOptions, text, wrongType } from "../../util/validate.ts";
import { wasmBuffer } from "../wasm.ts";

/**
 * Where pages come from.
 * - "engine": an unshared WebAssembly memory; cannot be transferred away.
 * - "shared": a shared one, for workers.
 * - "mapped": mapped by the system, exactly as many pages as asked for. Accepted and transferable like any ArrayBuffer;
 *   when it is freed its address range is retired and never used again, so give it to a pool rather than to a loop.
 */
export type PagesBacking = "engine" | "shared" | "mapped";

/** How a {@link PagesAllocator} is made. */
export interface PagesOptions {
  /** The name in messages; default "pages". */
  readonly name?: string;
  /** Where the pages come from; default "engine". */
  readonly backing?: PagesBacking;
  /** Ask for huge pages; regions of at least one huge page then start on a boundary of one. Default false. */
  readonly huge?: boolean;
  /** Make every page present at allocation, so that no later access faults. Default false. */
  readonly prefault?: boolean;
  /** Pin every page, which makes it present too. Default false. */
  readonly lock?: boolean;
  /** @internal The operations; default this process's. */
  readonly ops?: NativeOps;
}

/** What became of each step that was asked for; a step that was not asked for is absent. */
export interface PagesReport {
  /** What the bytes really are: "array" is an ArrayBuffer, taken when WebAssembly has no address space left. */
  readonly backing: "wasm" | "mapped" | "array";
  /** Bytes in the region, whole pages. */
  readonly bytes: number;
  /** The request for huge pages. Whether the kernel had some, only /proc/PID/smaps says. */
  readonly huge?: Result;
  /** Making the pages present. */
  readonly prefault?: Result;
  /** Pinning them. */
  readonly lock?: Result;
}

interface PageRecord {
  report: PagesReport;
  readonly address: bigint;
}

/**
 * Engine memories of this realm that were collected. Each reserves up to 10 GiB of address space, so that some 16,000
 * exhaust it, and an engine that finds none collects all garbage twice before it says so: 236 ms a time. So an
 * allocator that was told so does not ask again before memories were collected.
 */
let collectedMemories = 0;
const collection: FinalizationRegistry<undefined> = new FinalizationRegistry(() => {
  collectedMemories++;
});

/** Where space was found in pieces too small, an allocator waits for twice as many, up to this. */
const MAX_COLLECTED = 1024;

/** Makes memories of whole pages. */
export class PagesAllocator extends Allocator implements PinningAllocator {
  readonly #ops: NativeOps;
  readonly #options: Required<Omit<PagesOptions, "name" | "ops">>;
  #lockedBytes = 0;
  /** How many memories must have been collected before the engine is asked for one again. */
  #askFrom = 0;
  #backOff = 1;

  /** Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`. */
  constructor(options?: PagesOptions) {
    const given = checkOptions("options", options, ["name", "backing", "huge", "prefault", "lock", "ops"]);
    super(text("options.name", given.name, "pages"), { memoryType: "PagesMemory" });
    this.#ops = checkOps("options.ops", given.ops);
    this.#options = {
      backing: oneOf("options.backing", given.backing === undefined ? "engine" : given.backing, [
        "engine",
        "shared",
        "mapped",
      ]),
      huge: flag("options.huge", given.huge, false),
      prefault: flag("options.prefault", given.prefault, false),
      lock: flag("options.lock", given.lock, false),
    };
  }

  /** The operations that its steps go through; `availability` says whether there are any. */
  get native(): PageOps {
    return this.#ops;
  }

  /** Bytes of its live memories that are pinned now. */
  get lockedBytes(): number {
    return this.#lockedBytes;
  }

  /** Fresh pages are zero. */
  override get zeroInitialized(): boolean {
    return true;
  }

  /** The engine waits for the last view, and what was mapped is never used again. */
  override get viewsOutliveFree(): boolean {
    return true;
  }

  /** Pins a region of this allocator; one that is pinned already: ok. */
  lockRegion(region: Region): Result {
    const record = this.#recordOfRegion(region);
    const { lock } = record.report;
    if (lock?.ok === true) return lock;
    const result = this.#lock(region, record.report.backing);
    record.report = { ...record.report, lock: result };
    return result;
  }

  /** Takes the pin of {@link lockRegion} away. */
  unlockRegion(region: Region): void {
    this.#unlock(region, this.#recordOfRegion(region));
  }

  /** Makes every page of a region present. O(bytes). */
  prefaultRegion(region: Region): Result {
    this.#recordOfRegion(region);
    return populate(this.#ops, region.bytes);
  }

  #recordOfRegion(region: Region): PageRecord {
    const record: unknown = isMade(Region, region, "bytes") ? region.handle : undefined;
    if (typeof record !== "object" || record === null || !("report" in record)) {
      throw wrongType("region", `a region of allocator "${this.name}"`, region);
    }
    return record as PageRecord;
  }

  /**
   * What became of each step for a memory of this allocator. Throws `ERR_FOREIGN_RELEASE` for another's,
   * `ERR_INVALID_ARG_TYPE`.
   */
  reportOf(memory: Memory): PagesReport {
    return this.#recordOf(memory).report;
  }

  /**
   * Gives the physical pages of a memory back and keeps the memory; it reads zero afterwards where the platform says so
   * (`native.releaseZeroes`), else anything. Locked pages are unlocked for it and stay so. Nobody may be using the
   * bytes.
   */
  decommit(memory: Memory): Result {
    const record = this.#recordOf(memory);
    this.#unlock(memory.region, record);
    return this.#ops.advise(memory.region.bytes, "release");
  }

  /** Makes every page of a memory present. O(bytes). */
  prefault(memory: Memory): Result {
    this.#recordOf(memory);
    return populate(this.#ops, memory.region.bytes);
  }

  #recordOf(memory: Memory): PageRecord {
    if (typeof memory !== "object" || memory === null || memory.region === undefined) {
      throw wrongType("memory", "a Memory", memory);
    }
    if (memory.allocator === this && memory.refCount > 0) return memory.region.handle as PageRecord;
    throw new MillpondError("ERR_FOREIGN_RELEASE", `${memory} is not a live memory of allocator "${this.name}"`);
  }

  /** Fresh pages, with every step taken that was asked for. */
  protected override allocateRegion(size: number, params: ResolvedParams): Region | undefined {
    const { huge, prefault, lock } = this.#options;
    const bytes = alignUp(Math.max(size, 1), this.#ops.pageSize);
    const hugePage = huge && bytes >= this.#ops.hugePageSize ? this.#ops.hugePageSize : 0;
    const region = this.#obtain(bytes, Math.max(params.align, hugePage));
    if (region === undefined) return undefined;
    const record = region.handle as PageRecord;
    // Before the first touch: huge pages are given when a page is first needed.
    const steps: { -readonly [Step in "huge" | "prefault" | "lock"]?: Result } = {};
    if (huge) steps.huge = this.#ops.advise(region.bytes, "huge");
    if (prefault) steps.prefault = populate(this.#ops, region.bytes);
    if (lock) steps.lock = this.#lock(region, record.report.backing);
    record.report = { ...record.report, ...steps };
    return region;
  }

  #obtain(bytes: number, align: number): Region | undefined {
    // An engine that resets the ranges it collects ends the process over a lock on them (measured on Bun): those are
    // mapped instead.
    const risky = this.#options.lock && this.#options.backing === "engine" && this.#ops.recyclesRanges;
    if (this.#options.backing === "mapped" || risky) {
      const mapped = this.#ops.map(bytes, align);
      if (mapped.ok) return regionOf("mapped", mapped.value.bytes, bytes, mapped.value.address);
      if (mapped.status !== "unsupported") return undefined;
      // Without native code there is still memory, and the report says what it is.
    }
    // A huge boundary may have to be found inside; what is in front of it and behind is never touched.
    const slack = align > this.#ops.pageSize ? align : 0;
    const shared = this.#options.backing === "shared";
    let buffer = shared ? wasmBuffer(bytes + slack, shared) : this.#engineBuffer(bytes + slack);
    let backing: PagesReport["backing"] = "wasm";
    if (buffer === undefined) {
      if (shared) return undefined;
      buffer = new ArrayBuffer(bytes + Math.max(slack, this.#ops.pageSize));
      backing = "array";
    }
    const start = this.#ops.addressOf(new Uint8Array(buffer));
    const boundary = Math.max(align, this.#ops.pageSize);
    const lead = start === 0n ? 0 : bytesToBoundary(start, boundary);
    // A page-aligned engine start is all that a wasm memory without slack promises, and all that is needed then.
    const offset = lead + bytes <= buffer.byteLength ? lead : 0;
    return regionOf(backing, new Uint8Array(buffer, offset, bytes), bytes, start === 0n ? 0n : start + BigInt(offset));
  }

  /** Undefined where there is no WebAssembly, or no address space for one more. */
  #engineBuffer(bytes: number): ArrayBufferLike | undefined {
    if (collectedMemories < this.#askFrom) return undefined;
    try {
      const buffer = wasmBuffer(bytes, false);
      if (buffer !== undefined) collection.register(buffer, undefined);
      this.#backOff = 1;
      return buffer;
    } catch {
      this.#askFrom = collectedMemories + this.#backOff;
      this.#backOff = Math.min(this.#backOff * 2, MAX_COLLECTED);
      return undefined;
    }
  }

  #lock(region: Region, backing: PagesReport["backing"]): Result {
    const result =
      this.#ops.recyclesRanges && backing !== "mapped"
        ? notDone(
            "refused",
            "ENGINE_RESETS",
            "this engine would end the process when it collects locked memory of its own",
          )
        : this.#ops.lock(region.bytes);
    if (result.ok) this.#lockedBytes += result.bytes;
    reportLock(region.bytes.buffer, {
      locked: result.ok,
      lockReason: result.ok ? "" : describeResult(result),
      lockedBytes: result.ok ? result.bytes : 0,
    });
    return result;
  }

  #unlock(region: Region, record: PageRecord): void {
    if (record.report.lock?.ok !== true) return;
    this.#lockedBytes -= record.report.lock.bytes;
    const lock = notDone("refused", "UNLOCKED", "its pages were given back");
    record.report = { ...record.report, lock };
    if (region.isDetached) return;
    this.#ops.unlock(region.bytes);
    reportLock(region.bytes.buffer, { locked: false, lockReason: describeResult(lock), lockedBytes: 0 });
  }

  /** By the real address where it is known; else as far as can be seen. */
  protected override isAligned(region: Region, align: number): boolean {
    const { address } = region.handle as PageRecord;
    return address === 0n ? super.isAligned(region, align) : address % BigInt(align) === 0n;
  }

  /** Gives the physical pages back at once; the address range stays with the engine, or is retired. */
  protected override freeRegion(region: Region): void {
    const record = region.handle as PageRecord;
    this.#unlock(region, record);
    if (record.report.backing === "mapped") this.#ops.retire(record.address, record.report.bytes);
    else if (!region.isDetached) this.#ops.advise(region.bytes, "release");
  }
}

function regionOf(backing: PagesReport["backing"], bytes: Uint8Array, size: number, address: bigint): Region {
  const record: PageRecord = { report: { backing, bytes: size }, address };
  // Foreign memory can be transferred with transfer() only, which Node 20 lacks: structuredClone would copy it instead.
  if (backing === "mapped" && !("transfer" in ArrayBuffer.prototype)) forbidRevocation(bytes.buffer);
  return new Region(bytes, record);
}

/** Every page present: by the system, or by touching each where the system has no call for it. */
function populate(ops: NativeOps, bytes: Uint8Array): Result {
  const result = ops.advise(bytes, "populate");
  if (result.ok || result.status === "limit") return result;
  // An atomic "or" with nothing writes the page and changes no byte, even while somebody else writes it.
  for (let at = 0; at < bytes.length; at += ops.pageSize) Atomics.or(bytes, at, 0);
  return done(bytes.length);
}

/** Makes memories whose pages are pinned in RAM, or says why they are not; see `lockReportOf`. */
export class LockedAllocator extends PagesAllocator {
  /** Throws as {@link PagesAllocator}. */
  constructor(options?: Omit<PagesOptions, "lock">) {
    const given = readOptions("options", options, ["name", "backing", "huge", "prefault", "ops"]);
    super({ ...given, name: text("options.name", given.name, "locked"), lock: true });
  }
}
