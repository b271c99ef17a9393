/** What a SizeClassArena says about itself: counts by class, whether all of it agrees, what a wrong pointer points at. */

import { MillpondError } from "../../util/errors.ts";
import { show } from "../../util/validate.ts";
import { corrupt } from "../tlsf/errors.ts";
import type { TlsfArena } from "../tlsf/tlsf-arena.ts";
import { misuse } from "../tlsf/validate.ts";
import { Class, PAGE, RECORD_BITS, SPAN_HEADER, sizeOfClass } from "./class-table.ts";
import { CLASS_INDICES, carvedIn, type Root, spansOf } from "./spans.ts";

/** One size class, counted. */
export interface SizeClassCount {
  /** Bytes of an object. */
  readonly size: number;
  /** Objects handed out. */
  readonly live: number;
  /** Objects that wait on the free list. */
  readonly free: number;
  /** Objects that were never handed out. */
  readonly fresh: number;
}

/** A snapshot of a SizeClassArena. */
export interface SizeClassStats {
  /** The classes that have spans. */
  readonly classes: readonly SizeClassCount[];
  /** Bytes in live objects of classes. */
  readonly liveBytes: number;
  /** Bytes of the arena that are taken: spans, tables, and blocks too large for a class. */
  readonly used: number;
  /** The most that `used` has been. */
  readonly peak: number;
}

/** Counts by class. */
export function classStats(arena: TlsfArena, root: Root): SizeClassStats {
  const { words } = arena;
  const classes: SizeClassCount[] = [];
  let liveBytes = 0;
  for (const index of CLASS_INDICES) {
    const record = root.records + (index << RECORD_BITS);
    const objects = words[record + Class.OBJECTS] ?? 0;
    if (objects === 0) continue;
    const size = sizeOfClass(index);
    const free = words[record]! - words[record + Class.BASE]!;
    const carved = words[record + Class.CARVED]!;
    classes.push({ size, live: carved - free, free, fresh: objects - carved });
    liveBytes += (carved - free) * size;
  }
  const { used, peak } = arena.stats();
  return { classes, liveBytes, used, peak };
}

/** Walks every class. Throws `ERR_CORRUPTED`. */
export function validateClasses(arena: TlsfArena, root: Root): void {
  for (const index of CLASS_INDICES) validateClass(arena.words, arena.bytes, root, index);
}

function validateClass(words: Int32Array, bytes: Uint8Array, root: Root, index: number): void {
  const record = root.records + (index << RECORD_BITS);
  const size = sizeOfClass(index);
  const free = new Set<number>();
  for (let at = words[record + Class.BASE]!; at < words[record]!; at++) free.add(words[at]! >>> 0);
  const listed = words[record]! - words[record + Class.BASE]!;
  if (free.size !== listed) throw corrupt(`an object of ${size} bytes is on the free list twice`);
  let [objects, carved, live, found] = [0, 0, 0, 0];
  for (const span of spansOf(words, root, index)) {
    const header = span >>> 2;
    if (words[header + 2] !== index)
      throw corrupt(`the span at ${span} was written to in front of its first object`, span);
    objects += words[header + 1]!;
    const used = carvedIn(words, record, span, size);
    carved += used;
    for (let page = 0; page < words[header + 3]!; page++) {
      if (bytes[root.pages + span / PAGE + page] !== index)
        throw corrupt(`page ${span / PAGE + page} is of another class`);
    }
    for (let at = 0; at < words[header + 1]!; at++) {
      const pointer = span + SPAN_HEADER + at * size;
      const isLive = (words[root.bits + (pointer >>> 9)]! & (1 << (pointer >>> 4))) !== 0;
      if (isLive && (at >= used || free.has(pointer)))
        throw corrupt(`object ${pointer} is both free and live`, pointer);
      if (isLive) live++;
      else if (at < used) {
        if (!free.has(pointer)) throw corrupt(`object ${pointer} is neither free nor live`, pointer);
        found++;
      }
    }
  }
  if (found !== listed) throw corrupt(`the free list of ${size} bytes holds pointers that are none`);
  if (
    objects !== words[record + Class.OBJECTS] ||
    carved !== words[record + Class.CARVED] ||
    live !== carved - listed
  ) {
    throw corrupt(`the counters of the class of ${size} bytes are wrong`);
  }
}

/** What a pointer that is no live block really is. */
export function classMisuse(arena: TlsfArena, root: Root, pointer: number, verb: string): MillpondError {
  const { words } = arena;
  for (const index of CLASS_INDICES) {
    for (const span of spansOf(words, root, index)) {
      if (pointer < span || pointer >= span + words[(span >>> 2) + 3]! * PAGE) continue;
      const size = sizeOfClass(index);
      const used = carvedIn(words, root.records + (index << RECORD_BITS), span, size);
      const at = (pointer - span - SPAN_HEADER) / size;
      const name = `cannot ${verb} ${show(pointer)}`;
      if (!Number.isInteger(at) || at < 0 || at >= used) {
        return new MillpondError(
          "ERR_FOREIGN_RELEASE",
          `${name}: it lies between the objects of ${size} bytes that begin at ${span + SPAN_HEADER}; ${verb} what alloc() gave, unchanged`,
          { pointer },
        );
      }
      const code = verb === "free" ? "ERR_DOUBLE_RELEASE" : "ERR_USE_AFTER_RELEASE";
      return new MillpondError(code, `${name}: it is free already; find the first free() of it`, { pointer });
    }
  }
  return misuse(words, pointer, verb);
}
