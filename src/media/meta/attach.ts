/** Metas on a slot: add, remove, iterate, and what a copy takes along. Functions over a live slot. */
import { throwLater } from "../../util/errors.ts";
import { CopyFlags } from "../buffer/flags.ts";
import type { MediaBuffer } from "../buffer/media-buffer.ts";
import { type BufferSlot, inHookError, SlotFlags, sharedBuffer } from "../buffer/slot.ts";
import {
  type CopyTransform,
  lockedMeta,
  type Meta,
  MetaFlags,
  type MetaType,
  TAG_MEMORY,
  TAG_MEMORY_REFERENCE,
} from "./meta.ts";

/** Adds an instance; undefined when its type's `init` refuses. O(1). */
export function addMeta(slot: BufferSlot, buffer: MediaBuffer, type: MetaType, params: unknown): Meta | undefined {
  if (slot.refCount !== 1) throw sharedBuffer(slot, "add a meta to");
  if ((slot.slotFlags & SlotFlags.RETURNING) !== 0) throw inHookError(slot, "add a meta to");
  const meta = new type.instance(type);
  const { init } = type;
  if (init !== undefined) {
    if (init(meta, params, buffer) === false) return undefined;
    if (slot.generation !== buffer.generation || slot.refCount !== 1) abandonMeta(slot, buffer, meta);
  }
  slot.slotFlags |= SlotFlags.METAS;
  if (slot.metas === null) slot.metas = [meta];
  else slot.metas.push(meta);
  return meta;
}

/**
 * The buffer is not the caller's alone any more after a meta's `init`: what init took is given back, and the caller
 * hears why.
 */
function abandonMeta(slot: BufferSlot, buffer: MediaBuffer, meta: Meta): never {
  endMeta(meta, buffer);
  buffer.live("add a meta to");
  throw sharedBuffer(slot, "add a meta to");
}

/**
 * Removes an instance; false when it is not on this slot. Throws `ERR_META_LOCKED`; what its `free` throws surfaces in
 * a later turn. O(metas).
 */
export function removeMeta(slot: BufferSlot, buffer: MediaBuffer, meta: Meta): boolean {
  if (slot.refCount !== 1) throw sharedBuffer(slot, "remove a meta from");
  if ((slot.slotFlags & SlotFlags.RETURNING) !== 0) throw inHookError(slot, "remove a meta from");
  const { metas } = slot;
  if (metas === null || metas.length === 0) return false;
  // The youngest goes first in nearly every use; only another one is searched for.
  if (metas[metas.length - 1] === meta) {
    if ((meta.flags & MetaFlags.LOCKED) !== 0) throw lockedMeta(meta);
    metas.pop();
  } else if (!removeOlder(metas, meta)) {
    return false;
  }
  endMeta(meta, buffer);
  return true;
}

function removeOlder(metas: Meta[], meta: Meta): boolean {
  const at = metas.indexOf(meta);
  if (at < 0) return false;
  if ((meta.flags & MetaFlags.LOCKED) !== 0) throw lockedMeta(meta);
  metas.splice(at, 1);
  return true;
}

/** {@link SlotFlags.METAS} when recycling must look at the metas, else 0. O(metas). */
export function metaFlags(slot: BufferSlot): number {
  if (slot.metas === null) return 0;
  for (const meta of slot.metas) {
    if ((meta.flags & MetaFlags.POOLED) === 0 || meta.type.spec.clear !== undefined) return SlotFlags.METAS;
  }
  return 0;
}

/** The oldest instance of an API or of a type, or undefined. O(metas). */
export function firstMeta(slot: BufferSlot, type: MetaType | string): Meta | undefined {
  const { metas } = slot;
  if (metas === null) return undefined;
  for (const meta of metas) if (typeof type === "string" ? meta.type.api === type : meta.type === type) return meta;
  return undefined;
}

/** Ends every meta of a buffer that goes away; LOCKED does not help here. */
export function freeMetas(slot: BufferSlot, buffer: MediaBuffer): void {
  const { metas } = slot;
  if (metas === null) return;
  slot.metas = null;
  for (const meta of metas) endMeta(meta, buffer);
}

/**
 * Takes what keeps other buffers from a slot whose lease is over, and which waits for its memory; the answer lets go of
 * them. What a fresh buffer of the pool carries stays.
 */
export function takeKeepers(slot: BufferSlot): (() => void) | undefined {
  const { metas } = slot;
  const gone = metas?.filter((meta) => meta.type.letGo !== undefined && (meta.flags & MetaFlags.POOLED) === 0);
  if (gone === undefined || gone.length === 0) return undefined;
  slot.metas = metas!.filter((meta) => !gone.includes(meta));
  return () => {
    for (const meta of gone) {
      try {
        meta.type.letGo!(meta);
      } catch (error) {
        throwLater(error);
      }
    }
  };
}

/** Calls a hook in the middle of bookkeeping: one that throws must not stop it. */
function endMeta(meta: Meta, buffer: MediaBuffer): void {
  try {
    meta.type.spec.free?.(meta, buffer);
  } catch (error) {
    throwLater(error);
  }
}

/** What recycling does to metas: POOLED ones are cleared and stay, all others go, even LOCKED ones. */
export function recycleMetas(slot: BufferSlot, buffer: MediaBuffer): void {
  const { metas } = slot;
  if (metas === null) return;
  let kept = 0;
  for (const meta of metas) {
    if ((meta.flags & MetaFlags.POOLED) === 0) {
      endMeta(meta, buffer);
      continue;
    }
    metas[kept++] = meta;
    try {
      meta.type.spec.clear?.(meta, buffer);
    } catch (error) {
      throwLater(error);
    }
  }
  metas.length = kept;
  slot.slotFlags = (slot.slotFlags & ~SlotFlags.METAS) | metaFlags(slot);
}

/** Everything a fresh pool buffer carries belongs to the pool from now on. */
export function poolMetas(slot: BufferSlot): void {
  if (slot.metas !== null) for (const meta of slot.metas) meta.flags |= MetaFlags.POOLED | MetaFlags.LOCKED;
}

/**
 * Carries the metas of `source` over to `target` by their transform. Left behind are those without a "copy" transform,
 * those bound to the memory layout when the layout changes, and those bound to the very memory on a deep copy. A
 * transform that throws loses its one meta; the copy goes on, and the errors are returned, for a caller that reports
 * them.
 */
export function copyMetas(
  source: BufferSlot,
  from: MediaBuffer,
  target: MediaBuffer,
  flags: CopyFlags,
  data: CopyTransform,
): unknown[] {
  const { metas } = source;
  const errors: unknown[] = [];
  if (metas === null) return errors;
  const deep = (flags & CopyFlags.DEEP) !== 0;
  const layoutKept = !data.partial && (flags & CopyFlags.MEMORY) !== 0 && (flags & CopyFlags.MERGE) === 0;
  // Transforms may add to the list of a buffer that is copied into itself's sibling; walk what is there now.
  for (const meta of metas.slice()) {
    const { spec } = meta.type;
    if (spec.transform === undefined) continue;
    if (!layoutKept && meta.type.hasTag(TAG_MEMORY)) continue;
    if (deep && meta.type.hasTag(TAG_MEMORY_REFERENCE)) continue;
    try {
      spec.transform(target, meta, from, "copy", data);
    } catch (error) {
      errors.push(error);
    }
  }
  return errors;
}
