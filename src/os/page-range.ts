/** Which pages a range of bytes is on: all of them (to lock), or only those it has to itself (to give back). */

import { alignUp } from "../util/align.ts";

/** A run of whole pages. */
interface PageRange {
  /** Where it starts, a multiple of the page size. */
  readonly address: bigint;
  /** Bytes in it, a multiple of the page size. */
  readonly bytes: number;
}

/** Every page that holds at least one of the bytes. */
export function outerPages(address: bigint, bytes: number, pageSize: number): PageRange {
  const lead = Number(address % BigInt(pageSize));
  return { address: address - BigInt(lead), bytes: alignUp(lead + bytes, pageSize) };
}

/** Every page whose bytes are all in the range; may be none. */
export function innerPages(address: bigint, bytes: number, pageSize: number): PageRange {
  const lead = Number(address % BigInt(pageSize));
  const skip = lead === 0 ? 0 : pageSize - lead;
  return {
    address: address + BigInt(skip),
    bytes: bytes <= skip ? 0 : Math.floor((bytes - skip) / pageSize) * pageSize,
  };
}

/** Bytes from `address` to the next multiple of `align`. */
export function bytesToBoundary(address: bigint, align: number): number {
  const past = Number(address % BigInt(align));
  return past === 0 ? 0 : align - past;
}
