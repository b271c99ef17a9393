/**
 * The check before a view of one plane is made, the same for pictures and for blocks of audio.
 */
import { outOfRange, wholeNumber, wrongType } from "../../util/validate.ts";

/** What {@link checkPlane} needs of a layout. @internal */
interface PlaneLengths {
  /** Bytes of the whole picture or block. */
  readonly size: number;
  /** How many planes it has, by their list. */
  readonly planes: readonly unknown[];
  /** How messages name it. */
  toString(): string;
}

/**
 * Checks that `bytes` holds `layout` and has a plane of that index; nothing is allocated unless it throws.
 * Throws `ERR_INVALID_ARG_TYPE` (no Uint8Array, no number) and `ERR_OUT_OF_RANGE` (too short, no such plane).
 * @internal
 */
export function checkPlane(layout: PlaneLengths, bytes: Uint8Array, index: number): void {
  // By tag and not by instanceof: bytes from an iframe or a vm context are Uint8Arrays of another realm. Views with
  // wider elements would count their length in those.
  if ((bytes as Partial<Uint8Array> | null | undefined)?.[Symbol.toStringTag] !== "Uint8Array") {
    throw wrongType("bytes", "a Uint8Array", bytes);
  }
  wholeNumber("index", index, 0, layout.planes.length - 1);
  if (bytes.length < layout.size) {
    throw outOfRange("bytes.length", `at least ${layout.size}, for ${layout}`, bytes.length);
  }
}
