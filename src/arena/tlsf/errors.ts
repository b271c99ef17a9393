/** The errors of arenas, built off the hot path: a walk over the blocks finds out what a wrong pointer points at. */

import { MillpondError } from "../../util/errors.ts";
import { outOfRange, show, wrongType } from "../../util/validate.ts";
import { corrupted } from "./corrupted.ts";
import { FREE, GRANULE, pointerTo, SIZE_MASK, TAGGED } from "./layout.ts";
import { regionsOf, regionWords } from "./regions.ts";
import type { TlsfArena } from "./tlsf-arena.ts";

/** The bytes of an arena are gone. */
export function detached(): MillpondError {
  return new MillpondError(
    "ERR_DETACHED",
    "the buffer of this arena is detached: it was transferred, or a WebAssembly.Memory has grown; do not transfer it, or refresh() after growing",
  );
}

/** A size that is none. */
export function badSize(size: unknown): MillpondError {
  if (typeof size !== "number") return wrongType("size", "a number of bytes", size);
  return outOfRange("size", "a whole number of bytes from 1", size);
}

/** A pointer that is none. */
export function badPointer(pointer: unknown): MillpondError {
  return wrongType("pointer", "a number that alloc() gave", pointer);
}

/** The error of a header that was overwritten: whoever wrote past the end of the block in front of it. */
export function overrun(words: Int32Array, region: number, previous: number, at: number): MillpondError {
  if (previous === 0) {
    return corrupted(
      `the start of the region at ${region * 4} was overwritten: by the bytes in front of the arena's blocks`,
    );
  }
  const pointer = pointerTo(previous);
  const size = ((words[previous + 1]! & SIZE_MASK) - 2) * 4;
  return corrupted(
    `the header at byte ${at * 4} was overwritten: block ${pointer} (${size} bytes) was overrun, or the block behind it was written to in front of its start`,
    pointer,
  );
}

/** What a pointer that is not live really is. `verb`: free, use, resize ... */
export function misuse(arena: TlsfArena, pointer: number, verb: string): MillpondError {
  const { words } = arena;
  if (words.length === 0) return detached();
  if (typeof pointer !== "number") return badPointer(pointer);
  const name = `cannot ${verb} ${show(pointer)}`;
  const foreign = (what: string): MillpondError =>
    new MillpondError("ERR_FOREIGN_RELEASE", `${name}: ${what}; ${verb} what alloc() gave, unchanged`, { pointer });
  if (!Number.isInteger(pointer) || pointer <= 0 || pointer % GRANULE !== 0) {
    return foreign(`it is no pointer (whole, positive, a multiple of ${GRANULE})`);
  }
  for (const region of regionsOf(words)) {
    const end = region + regionWords(words, region) - 2;
    if (pointer < region * 4 || pointer > end * 4) continue;
    let previous = 0;
    for (let block = region + 2; block < end; ) {
      const word = words[block + 1]!;
      const size = word & SIZE_MASK;
      if (size < 4 || block + size > end || (words[block]! & ~FREE) !== previous)
        return overrun(words, region, previous, block);
      const payload = pointerTo(block);
      if (pointer < payload + size * 4 - 8) return judge(words, block, word, payload, pointer, name, foreign, verb);
      previous = block;
      block += size;
    }
    return overrunOrForeign(words, region, end, previous, foreign);
  }
  return foreign("it lies in no region of this arena");
}

function overrunOrForeign(
  words: Int32Array,
  region: number,
  end: number,
  previous: number,
  foreign: (what: string) => MillpondError,
): MillpondError {
  return (words[end]! & ~FREE) !== previous || words[end + 1] !== 0
    ? overrun(words, region, previous, end)
    : foreign("it lies behind the last block");
}

function judge(
  words: Int32Array,
  block: number,
  word: number,
  payload: number,
  pointer: number,
  name: string,
  foreign: (what: string) => MillpondError,
  verb: string,
): MillpondError {
  if ((word & FREE) !== 0) {
    const code = verb === "free" ? "ERR_DOUBLE_RELEASE" : "ERR_USE_AFTER_RELEASE";
    return new MillpondError(code, `${name}: it is free already; find the first free() of it`, { pointer });
  }
  if (pointer !== payload) {
    return foreign(pointer < payload ? "it points at a block's header" : `it points into the block at ${payload}`);
  }
  if ((word & TAGGED) !== 0) return foreign("this block belongs to a Memory; release that");
  const size = word & SIZE_MASK;
  if (words[block + size] !== block) {
    return new MillpondError(
      "ERR_CORRUPTED",
      `${name}: the header behind this block of ${(size - 2) * 4} bytes was overwritten: the block was overrun`,
      { pointer },
    );
  }
  return foreign("it is no live block");
}
