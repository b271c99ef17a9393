/** The errors of an arena whose words are not what they were left as. Apart from the others, because the lists need them too. */
import { MillpondError } from "../../util/errors.ts";
import { pointerTo } from "./layout.ts";

/** Something in the arena is not as it was left. */
export function corrupted(what: string, pointer?: number): MillpondError {
  return new MillpondError("ERR_CORRUPTED", `arena: ${what}`, pointer === undefined ? undefined : { pointer });
}

/** A link of the free list leads where no free block is. */
export function strayLink(block: number): MillpondError {
  const pointer = pointerTo(block);
  return corrupted(
    `a free list leads to block ${pointer}, which is not what it was: a free block was written to; find who kept a pointer after free()`,
    pointer,
  );
}
