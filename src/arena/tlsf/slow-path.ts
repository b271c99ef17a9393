/** The long ways of an arena: the search for an exact fit before giving up, aligned blocks, blocks that change their size. */
import { detached } from "./errors.ts";
import { countUsed, findList, insert, occupy, unlink } from "./free-lists.ts";
import { Control, FREE, HEADER, listOf, MIN_BLOCK, pointerTo, searchList, TAGGED } from "./layout.ts";
import type { TlsfArena } from "./tlsf-arena.ts";

/**
 * Blocks that are looked at, beyond the lists that fit by their name, before an arena counts as full. The search rounds sizes
 * up, so the list of the exact size may hold a block that is large enough; eight keeps the time constant and finds nearly all.
 */
const LAST_LOOKS = 8;

/** A free block of at least `need` words from the list whose blocks may or may not be that large, out of its list; 0: none. */
export function allocateLast(arena: TlsfArena, need: number): number {
  const { words } = arena;
  if (words.length === 0) throw detached();
  let block = words[Control.HEADS + listOf(need)] ?? 0;
  for (let looks = 0; block !== 0 && looks < LAST_LOOKS; looks++) {
    const size = words[block + 1]! ^ FREE;
    if (size >= need) {
      unlink(words, block, size);
      return block;
    }
    block = words[block + 2]!;
  }
  return 0;
}

/** Words that must stay in front of an aligned payload in a block: 0, or enough for a free block of its own. */
function gapFor(block: number, base: number, align: number): number {
  const payload = base + (block + HEADER) * 4;
  let gap = (align - (payload % align)) % align;
  // An alignment below the smallest block's size needs more than one step to make room for it.
  while (gap > 0 && gap < MIN_BLOCK * 4) gap += align;
  return gap / 4;
}

/**
 * A block whose payload is aligned, counted from `base` bytes in front of the arena; what is in front of it stays free. The
 * pointer, or 0.
 */
export function allocateAligned(
  arena: TlsfArena,
  need: number,
  align: number,
  base: number = arena.byteOffset,
): number {
  const { words } = arena;
  if (words.length === 0) throw detached();
  // From the exact size on first: the size that is certain to do may be far larger than what is free.
  let looks = 2 * LAST_LOOKS;
  for (let list = findList(words, listOf(need)); list >= 0 && looks > 0; list = findList(words, list + 1)) {
    for (let block = words[Control.HEADS + list]!; block !== 0 && looks-- > 0; block = words[block + 2]!) {
      const size = words[block + 1]! ^ FREE;
      const gap = gapFor(block, base, align);
      if (size >= need + gap) return takeAligned(words, block, size, gap, need);
    }
  }
  const list = findList(words, searchList(need + align / 4 + MIN_BLOCK));
  if (list < 0) return 0;
  const block = words[Control.HEADS + list]!;
  return takeAligned(words, block, words[block + 1]! ^ FREE, gapFor(block, base, align), need);
}

function takeAligned(words: Int32Array, block: number, size: number, gap: number, need: number): number {
  unlink(words, block, size);
  let live = block;
  if (gap > 0) {
    live = block + gap;
    words[block + 1] = gap | FREE;
    words[live] = block | FREE;
    insert(words, block, gap);
  }
  countUsed(words, occupy(words, live, size - gap, need));
  words[Control.LIVE]!++;
  return pointerTo(live);
}

/** Gives a live block of `present` words `need` words in place, out of itself and the free block behind it; false: not enough. */
export function resizeBlock(words: Int32Array, block: number, present: number, need: number): boolean {
  const next = block + present;
  const following = words[next + 1]!;
  const beyond = (following & FREE) !== 0 ? following ^ FREE : 0;
  const total = present + beyond;
  if (need > total) return false;
  // Too little to stand alone, and nothing to join it: it stays.
  if (beyond === 0 && total - need < MIN_BLOCK) return true;
  const tagged = words[block + 1]! & TAGGED;
  if (beyond > 0) {
    unlink(words, next, beyond);
    words[next + 1] = 0;
  }
  countUsed(words, occupy(words, block, total, need) - present);
  words[block + 1]! |= tagged;
  return true;
}
