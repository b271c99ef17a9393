/** The regions of an arena: the stretches of its bytes that are divided into blocks. */

import { MillpondError } from "../../util/errors.ts";
import { outOfRange, wholeNumber, wrongType } from "../../util/validate.ts";
import { insert, unlink } from "./free-lists.ts";
import { Control, controlWords, FREE, GRANULE, MIN_BLOCK, REGION_COST } from "./layout.ts";

/** First words of the regions, the one added last first. */
export function* regionsOf(words: Int32Array): IterableIterator<number> {
  for (let region = words[Control.REGIONS]!; region > 0; region = words[region]!) yield region;
}

/** Words of a region, its header and sentinel included. They are stored odd, so that no wild pointer takes them for a block's. */
export function regionWords(words: Int32Array, region: number): number {
  return words[region + 1]! - 1;
}

/** Adds a region of bytes as one free block. Throws `ERR_OUT_OF_RANGE`. */
export function addRegion(words: Int32Array, start: number, length: number): void {
  const control = controlWords(words[Control.ROWS]!) * 4;
  wholeNumber("start", start, control, words.length * 4);
  wholeNumber("length", length, (REGION_COST + MIN_BLOCK) * 4, words.length * 4 - start);
  if (start % GRANULE !== 0) throw outOfRange("start", `a multiple of ${GRANULE}`, start);
  const region = start >>> 2;
  const size = (length >>> 3) << 1;
  for (const other of regionsOf(words)) {
    if (other < region + size && region < other + regionWords(words, other)) {
      throw outOfRange("start", `such that the region overlaps none (one begins at ${other * 4})`, start);
    }
  }
  const block = region + 2;
  const free = size - REGION_COST;
  words[region] = words[Control.REGIONS]!;
  words[region + 1] = size + 1;
  words[block] = 0;
  words[block + 1] = free | FREE;
  words[block + free] = block | FREE;
  words[block + free + 1] = 0;
  words[Control.REGIONS] = region;
  words[Control.TOTAL]! += free;
  insert(words, block, free);
}

/** Removes a region that is one free block. Throws `ERR_OUT_OF_RANGE`, `ERR_IN_USE`. */
export function removeRegion(words: Int32Array, start: number): void {
  if (typeof start !== "number") throw wrongType("start", "the start of a region", start);
  const region = start >>> 2;
  let link: number = Control.REGIONS;
  while (words[link] !== region || region * 4 !== start) {
    link = words[link]!;
    if (!(link > 0)) throw outOfRange("start", "the start of a region", start);
  }
  const free = regionWords(words, region) - REGION_COST;
  const block = region + 2;
  if (words[block + 1] !== (free | FREE)) {
    throw new MillpondError(
      "ERR_IN_USE",
      `the region at ${start} holds live blocks; free them, then remove it (blocks() lists them)`,
    );
  }
  unlink(words, block, free);
  // Pointers into it are foreign from now on.
  words[block + 1] = 0;
  words[link] = words[region]!;
  words[Control.TOTAL]! -= free;
}
