/**
 * The size classes, and where a SizeClassArena keeps what it knows: one block of its arena, the root.
 *
 * ```
 *   root      | 16 words | 44 classes of 8 words | a byte a page of the arena | a bit for each 16 bytes of it |
 *   class     | top | base | fresh | fresh end | spans | bumped | end | objects |
 *                top, base, end: words of its stack
 *   stack     | pointer | pointer | ... free to top | ... room to end |                as many as the class has objects
 *   span      | next span | objects | class | - | object | object | ...    whole pages but for the last 8 bytes
 * ```
 * A page is of one class; a set bit is a live object that begins there. Free lists lie beside the objects, not in them:
 * neither call touches an object's bytes.
 * The names follow mimalloc and jemalloc: a free object waits on a stack, a fresh one is bump-allocated from the newest
 * span.
 */

/** Bytes of a page; 4 KiB keeps the page table small (64 KiB for an arena of 256 MiB), and a span's slack below one. */
export const PAGE = 4096;

/** log2 of {@link PAGE}. */
export const PAGE_BITS = 12;

/**
 * The largest size that has a class; larger blocks go to the arena itself, whose 80 ns are little beside filling them.
 */
export const MAX_CLASS_SIZE = 65_536;

/** 16 to 128 bytes in steps of 16, then four classes an octave to 64 KiB: at most a fifth of a block is slack. */
export const CLASSES = 44;

/** Words of a class's record, half a cache line. */
export const RECORD_BITS = 3;

/** Words in front of the records: the mark, then room. */
export const RECORDS = 16;

/** "MPC1": a root begins here. */
export const ROOT_MAGIC = 0x4d504331;

/** Words of a class's record. */
export const Class = {
  /** One above the last free pointer on the stack. */
  TOP: 0,
  /** First word of the stack. */
  BASE: 1,
  /** The next object of the newest span that was never handed out. */
  FRESH: 2,
  /** Where that span ends. */
  FRESH_END: 3,
  /** Pointer to the newest span. */
  SPANS: 4,
  /** Objects that were handed out at least once. */
  BUMPED: 5,
  /** One above the last word of the stack. */
  END: 6,
  /** Objects in all spans. */
  OBJECTS: 7,
} as const;

/** Bytes of a span in front of its first object; they keep objects on 16. */
export const SPAN_HEADER = 16;

/**
 * Objects from here on have spans of their own: a twelfth is lost to whole pages, but each goes back to the arena as
 * soon as it is free, while the last object of four would keep three.
 */
const SINGLE = 16_384;

/** Bytes of the largest span: a class that holds this much grows by an eighth, or by this. */
const MAX_SPAN = 262_144;

/** The class of a size from 1 to {@link MAX_CLASS_SIZE}. @realtime */
export function classOf(size: number): number {
  if (size <= 128) return (size - 1) >>> 4;
  const top = 31 - Math.clz32(size - 1);
  return ((top - 5) << 2) + (((size - 1) >>> (top - 2)) & 3);
}

/** Bytes of an object of a class. @realtime */
export function sizeOfClass(index: number): number {
  if (index < 8) return (index + 1) << 4;
  const base = 32 << (index >>> 2);
  return base + ((index & 3) + 1) * (base >>> 2);
}

/**
 * Pages of the next span of a class that has `objects` already: an eighth more, so that no class takes much more than
 * it uses.
 */
export function spanPages(size: number, objects: number): number {
  if (size >= SINGLE) return Math.ceil((size + SPAN_HEADER + 8) / PAGE);
  const wanted = Math.min(Math.max((objects * size) >>> 3, size), MAX_SPAN);
  return Math.ceil((wanted + SPAN_HEADER + 8) / PAGE);
}

/** Objects of a class in a span. */
export function objectsIn(pages: number, size: number): number {
  return Math.floor((pages * PAGE - 8 - SPAN_HEADER) / size);
}

/** Words of the root of an arena of `length` bytes. */
export function rootWords(length: number): { pages: number; bits: number; total: number } {
  const pages = RECORDS + (CLASSES << RECORD_BITS);
  const bits = pages + Math.ceil(Math.ceil(length / PAGE) / 4);
  return { pages, bits, total: bits + Math.ceil(length / 512) };
}
