/**
 * What a SizeClassArena says about itself: counts by class, whether all of it agrees, what a wrong pointer points at.
 */

import { MillpondError } from "../../util/errors.ts";
import { show } from "../../util/validate.ts";
import { corrupt } from "../tlsf/errors.ts";
import type { ArenaHolder, TlsfArena } from "../tlsf/tlsf-arena.ts";
import { misuse } from "../tlsf/validate.ts";
import { Class, PAGE, RECORD_BITS, SPAN_HEADER, sizeOfClass } from "./class-table.ts";
import { bumpedIn, CLASS_INDICES, isLiveObject, type Root, spansOf } from "./spans.ts";

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
    const bumped = words[record + Class.BUMPED]!;
    classes.push({ size, live: bumped - free, free, fresh: objects - bumped });
    liveBytes += (bumped - free) * size;
  }
  const { used, peak } = arena.stats();
  return { classes, liveBytes, used, peak };
}

/** The live objects of all classes and the live blocks beside them, in the order of their addresses. */
export function classHolders(arena: TlsfArena, root: Root): ArenaHolder[] {
  const { words } = arena;
  const holders: ArenaHolder[] = [];
  for (const { pointer, size, free, tagged } of arena.blocks()) if (!free && !tagged) holders.push({ pointer, size });
  for (const index of CLASS_INDICES) {
    const size = sizeOfClass(index);
    for (const span of spansOf(words, root, index)) {
      const end = span + SPAN_HEADER + words[(span >>> 2) + 1]! * size;
      for (let pointer = span + SPAN_HEADER; pointer < end; pointer += size) {
        if (isLiveObject(words, root, pointer)) holders.push({ pointer, size });
      }
    }
  }
  return holders.sort((a, b) => a.pointer - b.pointer);
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
  let [objects, bumped, live, found] = [0, 0, 0, 0];
  for (const span of spansOf(words, root, index)) {
    const header = span >>> 2;
    if (words[header + 2] !== index)
      throw corrupt(`the span at ${span} was written to in front of its first object`, span);
    objects += words[header + 1]!;
    const used = bumpedIn(words, record, span, size);
    bumped += used;
    for (let page = 0; page < words[header + 3]!; page++) {
      if (bytes[root.pages + span / PAGE + page] !== index)
        throw corrupt(`page ${span / PAGE + page} is of another class`);
    }
    for (let at = 0; at < words[header + 1]!; at++) {
      const pointer = span + SPAN_HEADER + at * size;
      const isLive = isLiveObject(words, root, pointer);
      if (isLive && (at >= used || free.has(pointer)))
        throw corrupt(`object ${pointer} is both free and live`, pointer);
      if (isLive) live++;
      else if (at < used) {
        if (!free.has(pointer)) throw corrupt(`object ${pointer} is neither free nor live`, pointer);
        found++;
      }
    }
  }
  if (found !== listed) throw corrupt(`the free list of ${size} bytes holds pointers of objects that do not exist`);
  if (
    objects !== words[record + Class.OBJECTS] ||
    bumped !== words[record + Class.BUMPED] ||
    live !== bumped - listed
  ) {
    throw corrupt(`the counters of the class of ${size} bytes are wrong`);
  }
}

/** The error for a pointer that is not a live block: what it really points at. */
export function classMisuse(arena: TlsfArena, root: Root, pointer: number, verb: string): MillpondError {
  const { words } = arena;
  for (const index of CLASS_INDICES) {
    for (const span of spansOf(words, root, index)) {
      if (pointer < span || pointer >= span + words[(span >>> 2) + 3]! * PAGE) continue;
      const size = sizeOfClass(index);
      const used = bumpedIn(words, root.records + (index << RECORD_BITS), span, size);
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
