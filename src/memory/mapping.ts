/**
 * Access to bytes: modes, and the object that stands for one access. After GStreamer's GstMapInfo, made safe: the view is
 * reachable only while the access lasts, and ending it twice is harmless.
 */

import { disposeBy } from "../util/dispose.ts";
import { MillpondError } from "../util/errors.ts";
import { badValue, wrongType } from "../util/validate.ts";
import { notLocked } from "./errors.ts";
import { Access, ONE_BOTH, ONE_READ, ONE_WRITE, REFUSED, removeAccess } from "./lock.ts";
import type { Memory } from "./memory.ts";

/** How bytes are mapped. "write" does not imply "read": ask for "readwrite" to do both. */
export type MapMode = "read" | "write" | "readwrite";

/** Bits beside the lock in what a mapping remembers; above every lock unit. */
export const MappingBits = {
  /** The bytes came from the allocator's map hook, which wants to hear of the end. */
  OPAQUE: 16777216,
} as const;

/**
 * Access to the bytes of a memory, until {@link Mapping.unmap}. Hold it as short as possible: what is mapped cannot be
 * released, and what is mapped for writing cannot be shared.
 */
export class Mapping {
  /** @internal The memory that is mapped. */
  declare readonly source: Memory;
  /** Use it as `using mapping = memory.map("read")` where the platform has `Symbol.dispose`. */
  declare [Symbol.dispose]: () => void;
  /** @internal */
  declare readonly view: Uint8Array;
  /** @internal the lock unit and {@link MappingBits}; negative once the access is over (three fields keep it at 48 bytes) */
  declare word: number;

  /** @internal Mappings are made by {@link Memory.map}. */
  constructor(memory: Memory, view: Uint8Array, word: number) {
    this.source = memory;
    this.view = view;
    this.word = word;
  }

  /** The valid part of the memory as it was when it was mapped. Throws `ERR_USE_AFTER_RELEASE` after {@link unmap}. @realtime */
  get bytes(): Uint8Array {
    if (this.word < 0) throw staleMapping(this.source);
    return this.view;
  }

  /**
   * The memory that is mapped, for as long as it is: afterwards it may belong to another lease. Throws `ERR_USE_AFTER_RELEASE` after
   * {@link unmap}.
   */
  get memory(): Memory {
    if (this.word < 0) throw staleMapping(this.source);
    this.source.parentBuffer?.onShared();
    return this.source;
  }

  /** Bytes mapped; stays readable after {@link unmap}. */
  get size(): number {
    return this.view.length;
  }

  /** How it was mapped. */
  get mode(): MapMode {
    return modeOf(Math.abs(this.word) & UNITS);
  }

  /** True until {@link unmap}. */
  get isLive(): boolean {
    return this.word > 0;
  }

  /**
   * Ends the access; a second call does nothing. @realtime
   * Throws `ERR_OUT_OF_RANGE` when somebody ended this very lock by `memory.unlock()`, and what an allocator's unmap hook throws.
   */
  unmap(): void {
    const { word } = this;
    if (word < 0) return;
    this.word = -word;
    if (word >= MappingBits.OPAQUE) endSpecial(this.source, word);
    else this.source.unlockUnit(word);
  }
}
disposeBy(Mapping, "unmap");

const UNITS: number = ONE_READ | ONE_WRITE | ONE_BOTH;

function endSpecial(memory: Memory, word: number): void {
  const unit = word & UNITS;
  // An unlock() that ended this lock has told the allocator already.
  const held = removeAccess(memory.accessWord, accessOfUnit(unit)) !== REFUSED;
  try {
    if (!held) throw notLocked(memory, modeOf(unit));
    if ((word & MappingBits.OPAQUE) !== 0) memory.allocator.closeRegion(memory.region, modeOf(unit));
  } finally {
    // What throws is the caller's to hear of, but the lock may not outlive the mapping.
    if (held) memory.unlockUnit(unit);
  }
}

/** The lock unit of a mode; throws `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE`. @realtime */
export function unitOf(mode: MapMode): number {
  if (mode === "read") return ONE_READ;
  if (mode === "readwrite") return ONE_BOTH;
  if (mode === "write") return ONE_WRITE;
  throw badMode(mode);
}

/** The {@link Access} bits of a lock unit. @realtime */
export function accessOfUnit(unit: number): number {
  return unit === ONE_READ ? Access.READ : unit === ONE_WRITE ? Access.WRITE : Access.READ | Access.WRITE;
}

/** The mode of a lock unit. @realtime */
export function modeOf(unit: number): MapMode {
  return unit === ONE_READ ? "read" : unit === ONE_WRITE ? "write" : "readwrite";
}

function badMode(mode: unknown): MillpondError {
  if (typeof mode !== "string") return wrongType("mode", '"read", "write" or "readwrite"', mode);
  return badValue("mode", '"read", "write" or "readwrite"', mode);
}

function staleMapping(memory: Memory): MillpondError {
  return new MillpondError(
    "ERR_USE_AFTER_RELEASE",
    `this mapping of ${memory} was unmapped; map() again, and keep no view of the old one`,
  );
}
