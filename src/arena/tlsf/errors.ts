/** The errors of arenas, built off the fast path. */
import { MillpondError } from "../../util/errors.ts";
import { outOfRange, wrongType } from "../../util/validate.ts";
import { CLOSED, Control, MAGIC, pointerTo, SIZE_MASK } from "./layout.ts";

/** Whether the arena was closed, by this view of it or by another one: a close leaves zeros where the format stood. */
export function isClosed(words: Int32Array): boolean {
  return words === CLOSED || words[Control.MAGIC] === 0;
}

/** Whether its bytes are an arena. */
export function isArena(words: Int32Array): boolean {
  return words[Control.MAGIC] === MAGIC;
}

/** The bytes are no arena: it was closed, by this view or by another one, or the bytes are gone. */
export function unreachable(words: Int32Array): MillpondError {
  if (words.length > 0) {
    return new MillpondError(
      "ERR_POOL_DEAD",
      "this arena was closed by another view of it, or its first bytes were overwritten; create another one",
    );
  }
  if (words === CLOSED) return new MillpondError("ERR_POOL_DEAD", "this arena was closed; create another one");
  return new MillpondError(
    "ERR_DETACHED",
    "the buffer of this arena is detached: it was transferred, or a WebAssembly.Memory has grown; do not transfer it, or refresh() after growing",
  );
}

/** A live arena begins where another one is to be made. */
export function liveArena(byteOffset: number): MillpondError {
  return new MillpondError(
    "ERR_ALREADY_EXISTS",
    `there is a live arena at byte ${byteOffset} of options.source; attach() to it, or close() it first`,
    { byteOffset },
  );
}

/** Blocks are live, so the arena cannot be closed. */
export function liveBlocks(live: number, pointers: readonly number[]): MillpondError {
  const more = live > pointers.length ? ", ..." : "";
  return new MillpondError(
    "ERR_IN_USE",
    `this arena cannot be closed: ${live === 1 ? "1 block is" : `${live} blocks are`} live (${pointers.join(", ")}${more}); free them, or close({ force: true })`,
    { live, pointers },
  );
}

/** The size is not a number of bytes. */
export function badSize(size: unknown): MillpondError {
  if (typeof size !== "number") return wrongType("size", "a number of bytes", size);
  return outOfRange("size", "a whole number of bytes from 1", size);
}

/** The pointer is not a number. */
export function badPointer(pointer: unknown): MillpondError {
  return wrongType("pointer", "a number that alloc() gave", pointer);
}

/** Words of the arena are not what they were left as. */
export function corrupt(what: string, pointer?: number): MillpondError {
  return new MillpondError("ERR_CORRUPTED", `arena: ${what}`, pointer === undefined ? undefined : { pointer });
}

/** A link of a free list leads where no free block begins. */
export function corruptFreeList(words: Int32Array, block: number): MillpondError {
  if (!isArena(words)) return unreachable(words);
  const pointer = pointerTo(block);
  return corrupt(
    `a free list leads to block ${pointer}, which is not what it was: a free block was written to; find who kept a pointer after free()`,
    pointer,
  );
}

/** A header was overwritten, most likely from the end of the block in front of it. */
export function overrun(words: Int32Array, segment: number, previous: number, at: number): MillpondError {
  if (previous === 0) {
    return corrupt(
      `the start of the segment at ${segment * 4} was overwritten: by the bytes in front of the arena's blocks`,
    );
  }
  const pointer = pointerTo(previous);
  const size = ((words[previous + 1]! & SIZE_MASK) - 2) * 4;
  return corrupt(
    `the header at byte ${at * 4} was overwritten: block ${pointer} (${size} bytes) was overrun, or the block behind it was written to in front of its start`,
    pointer,
  );
}
