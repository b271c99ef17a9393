/**
 * `IMemAllocator` over BufferPool. The pool is the state machine: active is committed, draining is decommit-in-progress.
 * Where the core decided otherwise than DirectShow (waiters are refused at once by Decommit, memory goes at Decommit, the
 * requested size is what must not be zero), see docs/differences.md.
 */
import type { MediaBuffer } from "../../media/media-buffer.ts";
import { isMillpondError } from "../../observe/errors.ts";
import { BufferPool } from "../../pools/buffer-pool.ts";
import { AM_GBF_NOWAIT, HResultError } from "./codes.ts";
import { MediaSample } from "./sample.ts";

/** What an allocator has, or shall have. Whole numbers, 32-bit. */
export interface ALLOCATOR_PROPERTIES {
  /** Buffers. */
  cBuffers: number;
  /** Usable bytes of each, without the prefix. */
  cbBuffer: number;
  /** Alignment of the slot in bytes: of its first prefix byte. */
  cbAlign: number;
  /** Private bytes in front of each buffer. */
  cbPrefix: number;
}

/** The allocator's contract. `Promise` stands where the original blocks the thread. */
export interface IMemAllocator {
  /** Asks for properties; gives the actual ones. */
  SetProperties(request: ALLOCATOR_PROPERTIES): ALLOCATOR_PROPERTIES;
  /** The actual properties; zeros when never set. */
  GetProperties(): ALLOCATOR_PROPERTIES;
  /** Makes the buffers. */
  Commit(): void;
  /** Takes them away; samples that are out stay usable. */
  Decommit(): void;
  /** Waits for a buffer. */
  GetBuffer(start?: bigint | null, end?: bigint | null, flags?: number): Promise<MediaSample>;
  /** Takes a sample back. */
  ReleaseBuffer(sample: MediaSample): void;
}

/** Who is told that a sample came back. */
export interface IMemAllocatorNotifyCallbackTemp {
  /** A sample is free. Runs after the fact, outside the allocator's bookkeeping. */
  NotifyRelease(): void;
}

/** The allocation granularity that DirectShow's bases are aligned to; a larger alignment cannot be delivered there. */
const MAX_ALIGN = 65_536;

/** Sizes are signed 32-bit; the whole block must stay below this. */
const MAX_BLOCK = 0x7fffffff;

/** The default memory allocator (CLSID_MemoryAllocator). */
export class MemAllocator implements IMemAllocator {
  readonly #pool = new BufferPool({ name: "MemAllocator" });
  #actual: ALLOCATOR_PROPERTIES = { cBuffers: 0, cbBuffer: 0, cbAlign: 0, cbPrefix: 0 };
  #requestedSize = 0;
  #unlisten: (() => void) | undefined;

  /**
   * Stores what the next Commit shall make; the request is not changed. Zero and negative counts and sizes are accepted here
   * and fail at Commit. Throws `E_POINTER`, `E_INVALIDARG`, `VFW_E_BADALIGN`, then `VFW_E_ALREADY_COMMITTED`,
   * `VFW_E_BUFFERS_OUTSTANDING`; the old properties stay then.
   *
   * @returns count, alignment and prefix as asked for, and the size rounded so that slots follow each other aligned
   */
  SetProperties(request: ALLOCATOR_PROPERTIES): ALLOCATOR_PROPERTIES {
    if (request === null || typeof request !== "object") throw new HResultError("E_POINTER", "the request is missing");
    const { cBuffers, cbBuffer, cbAlign, cbPrefix } = request;
    for (const [name, value] of Object.entries({ cBuffers, cbBuffer, cbAlign, cbPrefix })) {
      if (!Number.isInteger(value) || Math.abs(value) > MAX_BLOCK) {
        throw new HResultError("E_INVALIDARG", `${name} must be a 32-bit whole number, but it is ${String(value)}`);
      }
    }
    if (cbAlign < 1 || cbAlign > MAX_ALIGN || (cbAlign & (cbAlign - 1)) !== 0) {
      throw new HResultError(
        "VFW_E_BADALIGN",
        `cbAlign must be a power of two up to ${MAX_ALIGN}, but it is ${cbAlign}`,
      );
    }
    if (this.#pool.isActive) throw new HResultError("VFW_E_ALREADY_COMMITTED", "Decommit() before setting properties");
    if (this.#pool.outstanding > 0) {
      throw new HResultError(
        "VFW_E_BUFFERS_OUTSTANDING",
        `${this.#pool.outstanding} samples are still out; wait for them`,
      );
    }
    this.#requestedSize = cbBuffer;
    this.#actual = { cBuffers, cbBuffer: roundedSize(cbBuffer, cbAlign, cbPrefix), cbAlign, cbPrefix };
    return this.GetProperties();
  }

  /** The actual properties. */
  GetProperties(): ALLOCATOR_PROPERTIES {
    return { ...this.#actual };
  }

  /**
   * Makes the buffers, all or none. Committed already: nothing (commits are not counted). Decommit pending: cancels it.
   * Throws `VFW_E_SIZENOTSET`, `E_OUTOFMEMORY`; the allocator stays decommitted then.
   */
  Commit(): void {
    const pool = this.#pool;
    if (pool.isActive) return;
    if (!pool.isDraining) this.#configure();
    try {
      pool.activate();
    } catch (cause) {
      throw new HResultError("E_OUTOFMEMORY", "the buffers could not be allocated", { cause });
    }
  }

  #configure(): void {
    const { cBuffers, cbAlign, cbPrefix } = this.#actual;
    const size = this.#requestedSize;
    if (cBuffers <= 0 || size <= 0 || cbAlign <= 0) {
      throw new HResultError("VFW_E_SIZENOTSET", "SetProperties() a count, a size and an alignment above 0 first");
    }
    if (cbPrefix < 0 || cBuffers * (this.#actual.cbBuffer + cbPrefix) > MAX_BLOCK) {
      throw new HResultError("E_OUTOFMEMORY", "the buffers would exceed 2 GiB, or the prefix is negative");
    }
    const [min, max] = [cBuffers, cBuffers];
    this.#pool.configure({ size, min, max, align: cbAlign, prefix: cbPrefix, roundSize: true });
  }

  /** Refuses every waiter and takes the buffers away; those that are out go when they come back. Always succeeds. */
  Decommit(): void {
    this.#pool.deactivate();
  }

  /**
   * Lends a buffer with one reference and clean metadata; waits in line while none is free. The times are hints and are not
   * written to the sample. Rejects with `VFW_E_NOT_COMMITTED` (also when Decommit comes while waiting), `VFW_E_TIMEOUT`
   * (`AM_GBF_NOWAIT`).
   */
  async GetBuffer(_start?: bigint | null, _end?: bigint | null, flags = 0): Promise<MediaSample> {
    try {
      return new MediaSample(await this.#pool.acquire({ nowait: (flags & AM_GBF_NOWAIT) !== 0 }), this);
    } catch (cause) {
      if (isMillpondError(cause, "ERR_STARVED")) throw new HResultError("VFW_E_TIMEOUT", cause.message, { cause });
      if (isMillpondError(cause, "ERR_INACTIVE"))
        throw new HResultError("VFW_E_NOT_COMMITTED", cause.message, { cause });
      throw cause;
    }
  }

  /**
   * Takes a sample back; the sample calls it itself at its last Release. Throws `E_POINTER`; MillpondError
   * `ERR_FOREIGN_RELEASE`, `ERR_DOUBLE_RELEASE` where the original corrupts its list.
   */
  ReleaseBuffer(sample: MediaSample): void {
    if (!(sample instanceof MediaSample)) throw new HResultError("E_POINTER", "the sample is missing");
    this.#pool.release(bufferOf(sample));
  }

  /** Sets who is told when a sample comes back; null: nobody. One at a time. */
  SetNotify(callback: IMemAllocatorNotifyCallbackTemp | null): void {
    this.#unlisten?.();
    this.#unlisten = callback === null ? undefined : this.#pool.on("release", () => callback.NotifyRelease());
  }

  /** Buffers that could be had: the configured count less the samples that are out. 0 when never set. */
  GetFreeCount(): number {
    return this.#actual.cBuffers - this.#pool.outstanding;
  }
}

function bufferOf(sample: MediaSample): MediaBuffer {
  return sample.buffer;
}

/** Slots follow each other aligned: the slack is given to the buffer, and the prefix eats into it. */
function roundedSize(size: number, align: number, prefix: number): number {
  return Math.ceil((size + prefix) / align) * align - prefix;
}
