/**
 * Which allocator stands in for an absent one. Apart from allocator.ts, so that a pool that needs no Memory can ask
 * without loading any: SlabPool by itself is 6.3 kB instead of 11.1 (minified, brotli) for that.
 */
import type { Allocator } from "./allocator.ts";

let replacement: Allocator | undefined;

/** The allocator that was made the default; undefined: none was, the system allocator is. */
export function replacedDefault(): Allocator | undefined {
  return replacement;
}

/** Makes an allocator the default; undefined: the system allocator again. */
export function replaceDefault(allocator: Allocator | undefined): void {
  replacement = allocator;
}
