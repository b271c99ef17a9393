/**
 * A lease whose bytes a reader takes away and brings back in another ArrayBuffer: what a BYOB reader of a stream does
 * to every buffer that it fills. The slot goes on with the one that came back, so nothing is copied and nothing is new.
 *
 * Life-cycle: {@link bytesToGive} says what may be given; while the reader has it the lease's own bytes are detached,
 * so the lease must not have been handed out yet; {@link takeBytesBack} ends that. When the reader keeps the bytes, the
 * release of the lease finds them detached, and its pool frees the slot.
 *
 * Invariants: only memory whose allocator allows it is given (`Region.replaceable`), and only while nobody but this
 * lease refers to it; a buffer that came back is as long as the one that went. Whether it is the same one cannot be
 * told, so what was in the bytes that went counts as lost: the caller gives nothing that is filled, and takes only what
 * the reader says it wrote. Everything is O(1).
 */
import { moveClaims } from "../../memory/claims.ts";
import type { Memory } from "../../memory/memory.ts";
import { isReplaceable, revokeViews } from "../../memory/region.ts";
import type { MediaBuffer } from "./media-buffer.ts";
import type { BufferSlot } from "./slot.ts";

/** The valid bytes of a lease, where a reader may take their ArrayBuffer; undefined where they have to be copied. */
export function bytesToGive(buffer: MediaBuffer): Uint8Array<ArrayBuffer> | undefined {
  const slot = buffer.live("read into");
  const memory = slot.memories[0];
  if (memory === undefined || slot.memories.length > 1 || slot.refCount > 1 || memory.parent !== null) return undefined;
  if (memory.references > 1 || memory.accessWord !== 0 || !memory.isWritable) return undefined;
  const { region, offset, size } = memory;
  // A reader detaches what it is given, so what cannot be detached is not given.
  if (!isReplaceable(region) || !revokeViews(region)) return undefined;
  cacheView(slot, memory);
  return new Uint8Array(region.bytes.buffer as ArrayBuffer, region.bytes.byteOffset + offset, size);
}

/**
 * Puts what a reader gave back in the place of the bytes that it took. False when that is not an ArrayBuffer of the
 * same length: the lease stays without bytes. Throws `ERR_POOL_DEAD` when the pool was closed by force meanwhile.
 */
export function takeBytesBack(buffer: MediaBuffer, given: ArrayBufferLike): boolean {
  const slot = buffer.live("read into");
  const memory = slot.memories[0]!;
  const { region } = memory;
  // A reader that copied has left the bytes where they were.
  if (given === region.bytes.buffer) return true;
  if (!region.isDetached || !isFixed(given) || given.byteLength !== region.size) return false;
  moveClaims(region.bytes.buffer, given);
  region.bytes = new Uint8Array(given);
  cacheView(slot, memory);
  return true;
}

/** The region has other bytes: they are what the slot knows as fresh. */
function cacheView(slot: BufferSlot, memory: Memory): void {
  memory.view = null;
  memory.map("read").unmap();
  if (slot.baseMemory === memory) slot.baseView = memory.view;
}

function isFixed(buffer: ArrayBufferLike): buffer is ArrayBuffer {
  return buffer instanceof ArrayBuffer && (buffer as { resizable?: boolean }).resizable !== true;
}
