/**
 * A region is the long-lived half of a memory: a range of an ArrayBuffer with one view that is made once. Pools keep
 * regions and hand out a new {@link Memory} over one each time, because a view costs 20 ns and garbage when it is made.
 *
 * ```
 *   ArrayBuffer   |......................................................|
 *   Region                 |<------------- bytes.length ------------>|
 *   Memory                 |-- prefix --|==== size ====|-- padding --|
 *                          0            offset                       maxSize
 * ```
 * Zeroing and revoking are here too, because both are done to regions. Revoking detaches every view that was handed
 * out: the same bytes, at the same address, go on in a new ArrayBuffer that only the pool knows.
 *
 * Invariants: `size` never changes; a plain region whose view is shorter lost its bytes (detached); what `wipe` asks
 * for is done once, by the release that frees the region, and a copy inherits it ({@link inheritWipe}). Bytes of a
 * lease that was ended by force reach an allocator that recycles only without old views.
 */
import { wholeNumber, wrongType } from "../util/validate.ts";
import { moveClaims } from "./claims.ts";
import { endViews } from "./detach.ts";
import { moveLockReport } from "./pinning.ts";

/** The view of a region whose bytes cannot be reached by address (GPU memory before it is mapped). */
const NO_BYTES: Uint8Array = new Uint8Array(0);

/**
 * What a pool demands for the end of a lease, kept with the bytes: it is done before they go back to their allocator,
 * on every way there. A copy of the bytes (copy on write, a merge) has the same demand.
 */
export const Wipe = {
  /** Set all bytes to zero. */
  ZERO: 1,
  /** Detach the views that were handed out, where the memory allows it. */
  REVOKE: 2,
  /**
   * The lease was ended by force, so its holder may have kept a view. Where the allocator's `viewsOutliveFree` is
   * false, the views are detached; where the memory does not allow that, the bytes stay out for good.
   */
  FORCED: 4,
  /**
   * Code that cannot be asked may still read the bytes: the system, or a stream that closed under a write. They are
   * neither zeroed nor detached, and no later memory gets them.
   */
  IN_USE: 8,
} as const;

/** A range of bytes that an allocator owns, with its cached view. */
export class Region {
  /** The whole range. Revocation replaces it by a view of the same bytes in a new ArrayBuffer. */
  declare bytes: Uint8Array;
  /** Bytes in the range when it was made. */
  declare readonly size: number;
  /** What the allocator needs to find its own record again: a GPU buffer, a block index, a file descriptor. */
  declare handle: unknown;
  /** @internal What is done to the bytes before they go back to the allocator: {@link Wipe} bits. */
  declare wipe: number;
  /**
   * @internal Whether the bytes may go on in any other ArrayBuffer of their length: its allocator made this one for the
   * region alone, and cares neither for its identity nor for its address. See {@link isReplaceable}.
   */
  declare replaceable: boolean;

  /**
   * @param bytes the whole range
   * @param handle the allocator's own record, if it needs one
   * @param size bytes in the range; only a region that {@link opaqueRegion} makes differs from `bytes.length`
   */
  constructor(bytes: Uint8Array, handle?: unknown, size: number = bytes.length) {
    if (!(bytes instanceof Uint8Array)) throw wrongType("bytes", "a Uint8Array", bytes);
    if (typeof size !== "number") throw wrongType("size", "a number", size);
    this.bytes = bytes;
    this.size = size;
    this.handle = handle;
    this.wipe = 0;
    this.replaceable = false;
  }

  /** True when the bytes are reachable without the allocator's map hook. */
  get isPlain(): boolean {
    return this.bytes !== NO_BYTES;
  }

  /** True when the ArrayBuffer was transferred away under this region, or a resizable one was shrunk. */
  get isDetached(): boolean {
    return this.bytes.length !== this.size && this.bytes !== NO_BYTES;
  }
}

/** Makes a region whose bytes only the allocator's map hook can reach. `size` in bytes. */
export function opaqueRegion(size: number, handle: unknown): Region {
  return new Region(NO_BYTES, handle, wholeNumber("size", size));
}

/**
 * Views any kind of byte source as a fixed-length Uint8Array without copying.
 * Accepts ArrayBuffer, SharedArrayBuffer (also growable and resizable ones: the view has their present length) and any
 * typed array or DataView, from any realm. Returns undefined for anything else.
 */
export function viewBytes(source: unknown): Uint8Array | undefined {
  if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  let tag: string;
  try {
    tag = Object.prototype.toString.call(source);
  } catch {
    // A Proxy that was revoked.
    return undefined;
  }
  if (tag === "[object ArrayBuffer]" || tag === "[object SharedArrayBuffer]") {
    const buffer = source as ArrayBufferLike;
    return new Uint8Array(buffer, 0, buffer.byteLength);
  }
  return undefined;
}

/**
 * 64 KiB: large enough that the per-call cost of `set` vanishes (16 calls a megabyte), small enough to stay in the
 * second level cache while it is the source of every copy.
 */
const BLOCK = 64 * 1024;

let zeros: Uint8Array | undefined;

/**
 * Sets bytes to zero. `fill` on shared memory stores byte by byte (measured: ten times slower than on plain memory), so
 * shared bytes are overwritten from a block of zeros instead. O(length).
 */
export function zeroBytes(bytes: Uint8Array): void {
  // fill() and set() throw a TypeError where a region of 0 bytes lies in an ArrayBuffer that was transferred away.
  if (bytes.length === 0) return;
  if (bytes.buffer instanceof ArrayBuffer) {
    bytes.fill(0);
    return;
  }
  zeros ??= new Uint8Array(BLOCK);
  let at = 0;
  for (; at + BLOCK <= bytes.length; at += BLOCK) bytes.set(zeros, at);
  if (at < bytes.length) bytes.set(zeros.subarray(0, bytes.length - at), at);
}

/**
 * Buffers that cannot be transferred although they look like any other: WebAssembly's, foreign memory on Node 20, and
 * those that {@link revokeViews} has tried.
 */
const fixed: WeakSet<ArrayBufferLike> = new WeakSet();

/** For allocators: says that a buffer can never be transferred, so that no pool promises to revoke its views. */
export function forbidRevocation(buffer: ArrayBufferLike): void {
  fixed.add(buffer);
}

/**
 * True when the views of a region can be revoked, as far as can be told without trying: an ArrayBuffer of its own,
 * fixed in length. Shared memory cannot be taken back from another agent, and to detach a part of a larger buffer would
 * detach all of it. Only {@link revokeViews} knows of a buffer that the program has made untransferable.
 */
export function isRevocable(region: Region): boolean {
  const { buffer } = region.bytes;
  return (
    region.isPlain &&
    buffer instanceof ArrayBuffer &&
    buffer.byteLength === region.size &&
    !fixed.has(buffer) &&
    (buffer as { resizable?: boolean }).resizable !== true
  );
}

/**
 * Detaches every view of a region and gives the region a new one. False, and nothing has changed: its bytes cannot be
 * taken back from their views. Never throws. O(1): 0.2 to 0.9 us for 8 MB. The first detach in an isolate slows its
 * typed-array loops for good (1.3 to 2.4 times), which is why revoking is opt-in.
 */
export function revokeViews(region: Region): boolean {
  if (!isRevocable(region)) return false;
  const old = region.bytes.buffer as ArrayBuffer;
  const next = endViews(old);
  if (next === undefined) {
    fixed.add(old);
    return false;
  }
  moveLockReport(old, next);
  moveClaims(old, next);
  region.bytes = new Uint8Array(next);
  return true;
}

/**
 * True when a reader may take the region's ArrayBuffer and give back another one of its length (a BYOB reader of a
 * stream): its allocator has allowed it, and the buffer is still as the allocator made it.
 */
export function isReplaceable(region: Region): boolean {
  return region.replaceable && isRevocable(region);
}

/**
 * A copy of bytes is as secret as the bytes: what the end of a lease demands of them goes along. Not
 * {@link Wipe.FORCED}, because nobody has seen a view of the copy yet.
 */
export function inheritWipe(copy: Region, source: Region): void {
  copy.wipe |= source.wipe & (Wipe.ZERO | Wipe.REVOKE);
}

/** True when the views of a copy of these bytes have to be revocable too: somebody was promised it. */
export function promisesRevocation(source: Region): boolean {
  return (source.wipe & Wipe.REVOKE) !== 0 && isRevocable(source);
}

/**
 * Does what {@link Region.wipe} says, once: zeroes the bytes, then detaches every view of them. A region that looked as
 * if it could be revoked, and could not, is left as one whose lease was ended by force ({@link Wipe.FORCED}): its
 * holder has views that nobody can end. O(size) when it zeroes.
 */
export function wipeRegion(region: Region): void {
  const { wipe } = region;
  if ((wipe & Wipe.IN_USE) !== 0) return;
  region.wipe = 0;
  // Views of opaque bytes ended with their mapping, those of detached ones with the transfer.
  if (!region.isPlain || region.isDetached) return;
  if ((wipe & Wipe.ZERO) !== 0) zeroBytes(region.bytes);
  if ((wipe & Wipe.REVOKE) === 0 || region.size === 0) return;
  const mustEnd = (wipe & Wipe.FORCED) !== 0 || isRevocable(region);
  if (!revokeViews(region) && mustEnd) region.wipe = Wipe.FORCED;
}

/**
 * As {@link wipeRegion}, for bytes that go back to their allocator. False: they must not, because something may still
 * read them ({@link Wipe.IN_USE}), or because `recycles` says that a later memory may get them, and views that had to
 * end with the lease cannot be detached.
 */
export function wipeToFree(region: Region, recycles: boolean): boolean {
  if ((region.wipe & Wipe.IN_USE) !== 0) return false;
  if ((region.wipe & Wipe.FORCED) !== 0 && recycles) region.wipe |= Wipe.REVOKE;
  wipeRegion(region);
  return !recycles || (region.wipe & Wipe.FORCED) === 0;
}
