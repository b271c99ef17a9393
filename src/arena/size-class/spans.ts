/**
 * The spans of size classes: made, bump-allocated from, and given back when no object in them is live. All of it is off
 * the fast path.
 *
 * Invariant: the stack of a class has room for every object of the class, so that a free never has to grow it.
 */

import { MillpondError } from "../../util/errors.ts";
import { outOfRange } from "../../util/validate.ts";
import { memalign } from "../tlsf/core.ts";
import { corrupt, unreachable } from "../tlsf/errors.ts";
import { blockWords, Control } from "../tlsf/layout.ts";
import type { TlsfArena } from "../tlsf/tlsf-arena.ts";
import {
  CLASSES,
  Class,
  classOf,
  objectsIn,
  PAGE,
  PAGE_BITS,
  RECORD_BITS,
  RECORDS,
  ROOT_MAGIC,
  rootWords,
  SPAN_HEADER,
  sizeOfClass,
  spanPages,
} from "./class-table.ts";

/** No class has a page. */
const NO_CLASS = 0xff;

/** Where in its arena the tables of a SizeClassArena lie. */
export interface Root {
  /** First word of the class records. */
  readonly records: number;
  /** First word of the bits. */
  readonly bits: number;
  /** First byte of the page table. */
  readonly pages: number;
}

function rootAt(pointer: number, length: number): Root {
  const { pages, bits } = rootWords(length);
  const first = pointer >>> 2;
  return { records: first + RECORDS, bits: first + bits, pages: (first + pages) * 4 };
}

/** Makes the tables in an empty arena. Throws `ERR_OUT_OF_RANGE` when they do not fit. */
export function makeRoot(arena: TlsfArena): Root {
  const { bytes, words } = arena;
  const { total } = rootWords(bytes.length);
  const pointer = arena.alloc(total * 4);
  if (pointer === 0) throw outOfRange("options.initial", `enough for tables of ${total * 4} bytes`, arena.available);
  arena.tag(pointer, true);
  const root = rootAt(pointer, bytes.length);
  words.fill(0, pointer >>> 2, (pointer >>> 2) + total);
  bytes.fill(NO_CLASS, root.pages, root.bits * 4);
  words[pointer >>> 2] = ROOT_MAGIC;
  words[Control.ROOT] = pointer;
  return root;
}

/** Finds the tables that {@link makeRoot} made. Throws `ERR_BAD_DATA`. */
export function findRoot(arena: TlsfArena): Root {
  const pointer = arena.words[Control.ROOT]! >>> 0;
  if (pointer === 0 || !arena.isTagged(pointer) || arena.words[pointer >>> 2] !== ROOT_MAGIC) {
    throw new MillpondError(
      "ERR_BAD_DATA",
      "this arena has no size classes; SizeClassArena.create() it, or attach with TlsfArena",
    );
  }
  return rootAt(pointer, arena.bytes.length);
}

/**
 * Pointers to the spans of a class, the newest first. Each is checked before it is answered, and all together take no
 * more pages than the arena has, so a walk over the objects of all ends, whatever was written over the headers. Throws
 * `ERR_CORRUPTED`.
 */
export function* spansOf(words: Int32Array, root: Root, index: number): IterableIterator<number> {
  const record = root.records + (index << RECORD_BITS);
  let left = Math.floor(words.length / (PAGE / 4)) + 1;
  for (let span = words[record + Class.SPANS]! >>> 0; span !== 0; span = words[span >>> 2]! >>> 0) {
    const header = span >>> 2;
    const [objects, pages] = [words[header + 1]!, words[header + 3]!];
    const isSpan = span % PAGE === 0 && words[header + 2] === index && pages >= 1 && pages <= left;
    if (
      !isSpan ||
      objects < 1 ||
      objects > objectsIn(pages, sizeOfClass(index)) ||
      header + pages * (PAGE / 4) - 2 > words.length
    ) {
      throw corrupt(`the span at ${span} was written to in front of its first object`, span);
    }
    left -= pages;
    yield span;
  }
}

/**
 * The stack of a class: the words from `base` to `top` are pointers to free objects. Throws `ERR_CORRUPTED` when the
 * record of the class does not say what the arena says of that block.
 */
export function stackOf(arena: TlsfArena, root: Root, index: number): { readonly base: number; readonly top: number } {
  const { words } = arena;
  const record = root.records + (index << RECORD_BITS);
  const [top, base, end] = [words[record]!, words[record + Class.BASE]!, words[record + Class.END]!];
  const pointer = base * 4;
  const isEmpty = base === 0 && top === 0 && end === 0;
  const isStack =
    base > 0 &&
    top >= base &&
    top <= end &&
    arena.isTagged(pointer) &&
    (pointer + arena.ownSizeOf(pointer)) / 4 === end;
  if (!isEmpty && !isStack) throw corrupt(`the record of the class of ${sizeOfClass(index)} bytes was written to`);
  return { base, top };
}

/** Throws `ERR_CORRUPTED` unless the object for `size` bytes that a word of a stack points to lies in the arena. */
export function assertInside(words: Int32Array, top: number, size: number): void {
  const pointer = words[top]! >>> 0;
  const object = sizeOfClass(classOf(size));
  if (pointer + object <= words.length * 4) return;
  throw corrupt(
    `the stack of free objects of ${object} bytes leads to ${pointer}, outside the arena: it was written to`,
  );
}

/**
 * An object of a class that was never handed out; makes a span where there is none. 0: the arena is full. Throws
 * `ERR_CORRUPTED` when the record of the class leads out of the arena, or to a page of another class.
 */
export function bumpAllocate(arena: TlsfArena, root: Root, index: number): number {
  const { words, bytes } = arena;
  if (words.length === 0) throw unreachable(words);
  const record = root.records + (index << RECORD_BITS);
  if (words[record + Class.FRESH] === words[record + Class.FRESH_END] && !addSpan(arena, root, index)) return 0;
  const pointer = words[record + Class.FRESH]! >>> 0;
  const size = sizeOfClass(index);
  const end = words[record + Class.FRESH_END]! >>> 0;
  if (pointer + size > end || end > bytes.length || bytes[root.pages + (pointer >>> PAGE_BITS)] !== index) {
    throw corrupt(`the record of the class of ${size} bytes was written to: its next fresh object is no object`);
  }
  words[record + Class.FRESH] = pointer + size;
  words[record + Class.BUMPED]!++;
  return pointer;
}

function addSpan(arena: TlsfArena, root: Root, index: number): boolean {
  const { words, bytes } = arena;
  const record = root.records + (index << RECORD_BITS);
  const size = sizeOfClass(index);
  let pages = spanPages(size, words[record + Class.OBJECTS]!);
  let span = allocateSpan(arena, pages);
  if (span === 0) {
    // Full, but perhaps not for a small one.
    pages = spanPages(size, 0);
    span = allocateSpan(arena, pages);
    if (span === 0) return false;
  }
  const objects = objectsIn(pages, size);
  if (!growStack(arena, record, words[record + Class.OBJECTS]! + objects)) {
    arena.free(span);
    return false;
  }
  arena.tag(span, true);
  bytes.fill(index, root.pages + (span >>> PAGE_BITS), root.pages + (span >>> PAGE_BITS) + pages);
  const header = span >>> 2;
  words[header] = words[record + Class.SPANS]!;
  words[header + 1] = objects;
  words[header + 2] = index;
  words[header + 3] = pages;
  words[record + Class.SPANS] = span;
  words[record + Class.OBJECTS]! += objects;
  words[record + Class.FRESH] = span + SPAN_HEADER;
  words[record + Class.FRESH_END] = span + SPAN_HEADER + objects * size;
  return true;
}

/**
 * Whole pages of the arena but for the last 8 bytes, where the next block's header stands: spans then follow each other
 * closely.
 */
function allocateSpan(arena: TlsfArena, pages: number): number {
  return memalign(arena.words, blockWords(pages * PAGE - 8), PAGE, 0);
}

/** Makes room for every object of the class on its stack, so that a free never has to. */
function growStack(arena: TlsfArena, record: number, objects: number): boolean {
  const { words } = arena;
  const [base, end] = [words[record + Class.BASE]!, words[record + Class.END]!];
  if (objects <= end - base) return true;
  const wanted = Math.max(objects, 16, Math.ceil((end - base) * 1.5)) * 4;
  let stack: number;
  if (base === 0) stack = arena.alloc(wanted);
  else {
    arena.tag(base * 4, false);
    stack = arena.realloc(base * 4, wanted);
    if (stack === 0) arena.tag(base * 4, true);
  }
  if (stack === 0) return false;
  arena.tag(stack, true);
  words[record + Class.TOP] = (stack >>> 2) + words[record + Class.TOP]! - base;
  words[record + Class.BASE] = stack >>> 2;
  words[record + Class.END] = (stack + arena.ownSizeOf(stack)) >>> 2;
  return true;
}

/** Gives the spans of a class back in which no object lives. O(objects of the class). Throws `ERR_CORRUPTED`. */
export function trimSpans(arena: TlsfArena, root: Root, index: number): void {
  const { words } = arena;
  const record = root.records + (index << RECORD_BITS);
  const size = sizeOfClass(index);
  const empty = new Set(emptySpans(words, root, index));
  if (empty.size === 0) return;
  // Both are checked before the first word changes.
  const stack = stackOf(arena, root, index);
  const pageOf = (pointer: number): number => root.pages + (pointer >>> PAGE_BITS);
  // The page table says first which objects are gone: looking each up among the spans would take the square of their
  // number.
  for (const span of empty) arena.bytes.fill(NO_CLASS, pageOf(span), pageOf(span) + words[(span >>> 2) + 3]!);
  let top = stack.base;
  for (let at = top; at < stack.top; at++) {
    if (arena.bytes[pageOf(words[at]!)] === index) words[top++] = words[at]!;
  }
  words[record + Class.TOP] = top;
  let link = record + Class.SPANS;
  for (const span of [...spansOf(words, root, index)]) {
    const header = span >>> 2;
    if (!empty.has(span)) {
      link = header;
      continue;
    }
    words[link] = words[header]!;
    words[record + Class.BUMPED]! -= bumpedIn(words, record, span, size);
    words[record + Class.OBJECTS]! -= words[header + 1]!;
    if (isFresh(words, record, span, size)) words[record + Class.FRESH] = words[record + Class.FRESH_END] = 0;
    arena.tag(span, false);
    arena.free(span);
  }
}

/** True for the span that objects are bump-allocated from, or were last. */
function isFresh(words: Int32Array, record: number, span: number, size: number): boolean {
  return words[record + Class.FRESH_END] === (span + SPAN_HEADER + words[(span >>> 2) + 1]! * size) >> 0;
}

/** Objects of a span that were handed out at least once. */
export function bumpedIn(words: Int32Array, record: number, span: number, size: number): number {
  if (!isFresh(words, record, span, size)) return words[(span >>> 2) + 1]!;
  return ((words[record + Class.FRESH]! >>> 0) - span - SPAN_HEADER) / size;
}

/** True for the first byte of a live object. */
export function isLiveObject(words: Int32Array, root: Root, pointer: number): boolean {
  return (words[root.bits + (pointer >>> 9)]! & (1 << (pointer >>> 4))) !== 0;
}

function anyLive(words: Int32Array, root: Root, span: number, size: number): boolean {
  const first = span + SPAN_HEADER;
  const end = first + words[(span >>> 2) + 1]! * size;
  for (let at = first; at < end; at += size) if (isLiveObject(words, root, at)) return true;
  return false;
}

function emptySpans(words: Int32Array, root: Root, index: number): number[] {
  const size = sizeOfClass(index);
  return [...spansOf(words, root, index)].filter((span) => !anyLive(words, root, span, size));
}

/** Bytes of the objects that wait on free lists. O(classes). */
export function cachedBytes(words: Int32Array, root: Root): number {
  let bytes = 0;
  for (const index of CLASS_INDICES) {
    const record = root.records + (index << RECORD_BITS);
    bytes += (words[record]! - words[record + Class.BASE]!) * sizeOfClass(index);
  }
  return bytes;
}

/** The classes, for walks. */
export const CLASS_INDICES: readonly number[] = Array.from({ length: CLASSES }, (_, index) => index);
