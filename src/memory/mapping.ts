/**
 * Access to bytes: modes, and the object that stands for one access. After GStreamer's GstMapInfo, made safe: the view is
 * reachable only while the access lasts, and ending it twice is harmless.
 */
import { show, wrongType } from "../observe/arguments.ts";
import { disposeBy } from "../observe/dispose.ts";
import { MillpondError } from "../observe/errors.ts";
import { Access } from "./lock.ts";
import type { Memory } from "./memory.ts";

/** How bytes are mapped. "write" does not imply "read": ask for "readwrite" to do both. */
export type MapMode = "read" | "write" | "readwrite";

/**
 * Access to the bytes of a memory, until {@link Mapping.unmap}. Hold it as short as possible: what is mapped cannot be
 * released, and what is mapped for writing cannot be shared.
 */
export class Mapping {
  /** The memory that is mapped. */
  readonly memory: Memory;
  /** Use it as `using mapping = memory.map("read")` where the platform has `Symbol.dispose`. */
  declare [Symbol.dispose]: () => void;
  /** @internal the mapping holds the only reference of its memory and drops it on unmap (a temporary merge) */
  takesMemory: boolean;
  readonly #bytes: Uint8Array;
  readonly #access: number;
  #live: boolean;

  /** @internal Mappings are made by {@link Memory.map}. */
  constructor(memory: Memory, bytes: Uint8Array, access: number) {
    this.memory = memory;
    this.#bytes = bytes;
    this.#access = access;
    this.takesMemory = false;
    this.#live = true;
  }

  /** The valid part of the memory as it was when it was mapped. Throws `ERR_USE_AFTER_RELEASE` after {@link unmap}. */
  get bytes(): Uint8Array {
    if (!this.#live) throw staleMapping(this.memory);
    return this.#bytes;
  }

  /** Bytes mapped; stays readable after {@link unmap}. */
  get size(): number {
    return this.#bytes.length;
  }

  /** How it was mapped. */
  get mode(): MapMode {
    return modeOf(this.#access);
  }

  /** True until {@link unmap}. */
  get isLive(): boolean {
    return this.#live;
  }

  /** Ends the access; a second call does nothing. @realtime */
  unmap(): void {
    if (!this.#live) return;
    this.#live = false;
    const { memory } = this;
    if (!memory.region.isPlain) memory.allocator.closeRegion(memory.region, modeOf(this.#access));
    memory.unlockAccess(this.#access);
    if (this.takesMemory) memory.release();
  }
}
disposeBy(Mapping, "unmap");

/** The lock bits of a mode; throws `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE`. @realtime */
export function accessOf(mode: MapMode): number {
  if (mode === "read") return Access.READ;
  if (mode === "readwrite") return Access.READ | Access.WRITE;
  if (mode === "write") return Access.WRITE;
  if (typeof mode !== "string") throw wrongType("mode", '"read", "write" or "readwrite"', mode);
  throw new MillpondError("ERR_INVALID_ARG_VALUE", `mode must be "read", "write" or "readwrite", not ${show(mode)}`);
}

/** The mode of lock bits. @realtime */
export function modeOf(access: number): MapMode {
  return access === Access.READ ? "read" : access === Access.WRITE ? "write" : "readwrite";
}

function staleMapping(memory: Memory): MillpondError {
  return new MillpondError(
    "ERR_USE_AFTER_RELEASE",
    `this mapping of ${memory} was unmapped; map() again, and keep no view of the old one`,
  );
}
