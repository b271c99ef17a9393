/**
 * `IMemAllocator` over BufferPool. The pool is the state machine: active is committed, draining is
 * decommit-in-progress. Where the core decided otherwise than DirectShow (waiters are refused at once by Decommit,
 * memory goes at Decommit, the requested size is what must not be zero), see docs/differences.md.
 */

import { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import { isMillpondError, type MillpondError } from "../../util/errors.ts";
import { UNCLONEABLE } from "../../util/uncloneable.ts";
import { show } from "../../util/validate.ts";
import { inDoor } from "../door-error.ts";
import { AM_GBF_NOWAIT, checkFields, type DirectShowError, HResultError, translated } from "./codes.ts";
import { endSample, isSample, type MediaSample, makeSample, referencesOf } from "./sample.ts";
import { type IUnknown, queryInterface, ReferenceCount } from "./unknown.ts";

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
export interface IMemAllocator extends IUnknown {
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

/**
 * A sample's bookkeeping takes about a kilobyte whatever its size: more of them would exhaust the heap before the
 * memory.
 */
const MAX_BUFFERS = 262_144;

let allocators = 0;

/**
 * The default memory allocator (CLSID_MemoryAllocator). `new` gives one reference; the last `Release()` decommits it. A
 * sample has a reference of its allocator while it is out, and so has a `GetBuffer` that waits.
 */
export class MemAllocator implements IMemAllocator {
  /** @internal */
  readonly uncloneable: symbol = UNCLONEABLE;
  readonly #name = `MemAllocator #${++allocators}`;
  readonly #pool = new BufferPool({ name: this.#name });
  readonly #references = new ReferenceCount(this, () => this.Decommit());
  #actual: ALLOCATOR_PROPERTIES = { cBuffers: 0, cbBuffer: 0, cbAlign: 0, cbPrefix: 0 };
  #requestedSize = 0;
  #unlisten: (() => void) | undefined;

  /** Interfaces: IUnknown, IMemAllocator, IMemAllocatorCallbackTemp. Throws `E_NOINTERFACE`, `E_POINTER`. */
  QueryInterface(iid: string): this {
    return queryInterface(this, iid, ["IMemAllocator", "IMemAllocatorCallbackTemp"]);
  }

  /** One reference more; returns the count. Throws `ERR_USE_AFTER_RELEASE`. */
  AddRef(): number {
    return this.#references.add();
  }

  /** One reference less; the last one decommits. Returns the count. Throws `ERR_DOUBLE_RELEASE`. */
  Release(): number {
    return this.#references.drop();
  }

  /**
   * Stores what the next Commit shall make; the request is not changed. Zero and negative counts and sizes are accepted
   * here and fail at Commit. Throws `E_POINTER`, `E_INVALIDARG`, `VFW_E_BADALIGN`, then `VFW_E_ALREADY_COMMITTED`,
   * `VFW_E_BUFFERS_OUTSTANDING`; the old properties stay then.
   *
   * @returns count, alignment and prefix as asked for, and the size rounded so that slots follow each other aligned
   */
  SetProperties(request: ALLOCATOR_PROPERTIES): ALLOCATOR_PROPERTIES {
    this.#references.assert("SetProperties");
    if (request === null || typeof request !== "object") {
      throw new HResultError("E_POINTER", "SetProperties(): the request is missing");
    }
    checkFields("ALLOCATOR_PROPERTIES", request, Object.keys(this.#actual));
    const { cBuffers, cbBuffer, cbAlign, cbPrefix } = request;
    for (const [name, value] of Object.entries({ cBuffers, cbBuffer, cbAlign, cbPrefix })) {
      if (!Number.isInteger(value) || Math.abs(value) > MAX_BLOCK) {
        throw new HResultError("E_INVALIDARG", `${name} must be a 32-bit whole number, but it is ${show(value)}`);
      }
    }
    if (cbAlign < 1 || cbAlign > MAX_ALIGN || (cbAlign & (cbAlign - 1)) !== 0) {
      throw new HResultError(
        "VFW_E_BADALIGN",
        `cbAlign must be a power of two up to ${MAX_ALIGN}, but it is ${cbAlign}`,
      );
    }
    if (this.#pool.isActive) {
      throw new HResultError("VFW_E_ALREADY_COMMITTED", `${this.#name} is committed; Decommit() it first`);
    }
    const out = this.#pool.outstanding;
    if (out > 0) {
      const text = `${out} samples of ${this.#name} are still out; Release() them first`;
      throw new HResultError("VFW_E_BUFFERS_OUTSTANDING", text);
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
    this.#references.assert("Commit");
    const pool = this.#pool;
    if (pool.isActive) return;
    try {
      if (!pool.isDraining) this.#configure();
      pool.activate();
    } catch (cause) {
      if (cause instanceof HResultError) throw cause;
      const text = `the buffers of ${this.#name} could not be allocated`;
      throw new HResultError("E_OUTOFMEMORY", text, { cause });
    }
  }

  #configure(): void {
    const { cBuffers, cbAlign, cbPrefix } = this.#actual;
    const size = this.#requestedSize;
    if (cBuffers <= 0 || size <= 0 || cbAlign <= 0) {
      const text = `${this.#name} has ${cBuffers} buffers of ${size} bytes at alignment ${cbAlign}; SetProperties() all three above 0 first`;
      throw new HResultError("VFW_E_SIZENOTSET", text);
    }
    if (cBuffers > MAX_BUFFERS) {
      const text = `${this.#name} has at most ${MAX_BUFFERS} buffers, and cBuffers is ${cBuffers}`;
      throw new HResultError("E_OUTOFMEMORY", text);
    }
    if (cbPrefix < 0 || cBuffers * (this.#actual.cbBuffer + cbPrefix) > MAX_BLOCK) {
      const text = `the buffers of ${this.#name} would exceed 2 GiB, or the prefix ${cbPrefix} is negative`;
      throw new HResultError("E_OUTOFMEMORY", text);
    }
    const [min, max] = [cBuffers, cBuffers];
    this.#pool.configure({ size, min, max, align: cbAlign, prefix: cbPrefix, roundSize: true });
  }

  /** Refuses every waiter and takes the buffers away; those that are out go when they come back. Always succeeds. */
  Decommit(): void {
    this.#pool.deactivate();
  }

  /**
   * Gives a buffer with one reference and clean metadata; waits in line while none is free. The times are hints and are
   * not written to the sample. Rejects with `VFW_E_NOT_COMMITTED` (also when Decommit comes while waiting),
   * `VFW_E_TIMEOUT` (`AM_GBF_NOWAIT`), `E_INVALIDARG`.
   */
  async GetBuffer(_start?: bigint | null, _end?: bigint | null, flags = 0): Promise<MediaSample> {
    if (!Number.isInteger(flags)) {
      throw new HResultError("E_INVALIDARG", `GetBuffer(): flags must be AM_GBF_ bits, but they are ${show(flags)}`);
    }
    if (this.#references.count === 0) throw this.#noBuffer(undefined);
    // What becomes the sample's reference: an allocator that is waited for is in use.
    this.#references.add();
    try {
      return makeSample(await this.#pool.acquire({ nowait: (flags & AM_GBF_NOWAIT) !== 0 }), this);
    } catch (error) {
      this.#references.drop();
      throw isMillpondError(error) ? this.#noBuffer(error) : error;
    }
  }

  #noBuffer(cause: MillpondError | undefined): DirectShowError {
    if (cause?.code === "ERR_STARVED") {
      const text = `all ${this.#actual.cBuffers} buffers of ${this.#name} are out; Release() one, or wait without AM_GBF_NOWAIT`;
      return new HResultError("VFW_E_TIMEOUT", text, { cause });
    }
    if (cause === undefined || cause.code === "ERR_INACTIVE") {
      const text = `${this.#name} is not committed, or was decommitted while this call waited; Commit() it first`;
      return new HResultError("VFW_E_NOT_COMMITTED", text, cause && { cause });
    }
    return translated("GetBuffer", String(this), cause);
  }

  /**
   * Takes a sample back; the sample calls it itself at its last Release. Throws `E_POINTER`; `E_UNEXPECTED` for a
   * sample with two references or more; {@link DirectShowError} with `ERR_FOREIGN_RELEASE`, `ERR_DOUBLE_RELEASE` where
   * the original corrupts its list.
   */
  ReleaseBuffer(sample: MediaSample): void {
    if (!isSample(sample)) throw new HResultError("E_POINTER", "ReleaseBuffer(): the sample is missing");
    const references = referencesOf(sample);
    if (references > 1) {
      const text = `ReleaseBuffer() refuses ${sample}: it has ${references} references; Release() each`;
      throw new HResultError("E_UNEXPECTED", text);
    }
    let isOver = true;
    try {
      inDoor(
        () => this.#pool.release(sample.buffer),
        (cause) => {
          // A sample whose bytes are gone is over all the same; everything else is refused.
          isOver = cause.code === "ERR_DETACHED";
          return translated("ReleaseBuffer", String(sample), cause);
        },
      );
    } finally {
      if (isOver) {
        endSample(sample);
        this.#references.drop();
      }
    }
  }

  /** Sets who is told when a sample comes back; null: nobody. One at a time. Throws `E_INVALIDARG`. */
  SetNotify(callback: IMemAllocatorNotifyCallbackTemp | null): void {
    this.#references.assert("SetNotify");
    if (callback !== null && typeof callback?.NotifyRelease !== "function") {
      const text = `SetNotify(): the callback must have NotifyRelease(), or be null, but it is ${show(callback)}`;
      throw new HResultError("E_INVALIDARG", text);
    }
    this.#unlisten?.();
    this.#unlisten = callback === null ? undefined : this.#pool.on("release", () => callback.NotifyRelease());
  }

  /** Buffers that could be had: the configured count less the samples that are out. 0 when never set. */
  GetFreeCount(): number {
    return this.#actual.cBuffers - this.#pool.outstanding;
  }

  /** Which allocator this is, what it has, and how it stands. */
  toString(): string {
    const { cBuffers, cbBuffer } = this.#actual;
    const pool = this.#pool;
    const state = pool.isActive ? "committed" : pool.isDraining ? "decommit pending" : "decommitted";
    return `${this.#name} (${cBuffers} x ${cbBuffer} bytes, ${state}, ${pool.outstanding} out)`;
  }
}

/** Slots follow each other aligned: the slack is given to the buffer, and the prefix eats into it. */
function roundedSize(size: number, align: number, prefix: number): number {
  return Math.ceil((size + prefix) / align) * align - prefix;
}
