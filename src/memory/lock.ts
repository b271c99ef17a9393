/**
 * The locks of a memory, as arithmetic on one small integer, so that a memory costs no second object. Who accesses the
 * bytes now is the access word; who owns the memory (buffers, sub-memories) is a plain count beside it.
 *
 * The rules are those of GStreamer's lockable mini objects, with one difference: the held mode is the union of the
 * locks that are really held, so releasing the outermost of two nested locks first leaves no stale mode behind.
 *
 * | first lock held | READ | WRITE             | READ+WRITE        | another owner             |
 * | --------------- | ---- | ----------------- | ----------------- | ------------------------- |
 * | none            | ok   | ok if owners <= 1 | ok if owners <= 1 | always                    |
 * | READ            | ok   | no                | no                | ok                        |
 * | WRITE           | no   | ok                | no                | ok while owners stay <= 1 |
 * | READ+WRITE      | ok   | ok                | ok                | as WRITE                  |
 *
 * ```
 *   access word   | 28 .. 20: read+write locks | 19 .. 10: write locks | 9 .. 0: read locks |
 * ```
 * 29 bits keep it a small integer in every engine; 1,023 nested locks of a kind (511 of read+write) are more than any
 * sane program has. What one lock adds is its unit; callers name it by a {@link MapMode}, the rules by {@link Access}
 * bits.
 */
import type { MillpondError } from "../util/errors.ts";
import { badValue, wrongType } from "../util/validate.ts";
import type { MapMode } from "./memory.ts";
import { MemoryFlags } from "./params.ts";

/** Bits of a lock request. */
export const Access = { READ: 1, WRITE: 2, EXCLUSIVE: 4 } as const;

const COUNT_MASK = 0x3ff;

/** What one read lock adds to an access word. */
export const ONE_READ = 1;
/** What one write lock adds to an access word. */
export const ONE_WRITE = 1024;
/** What one read+write lock adds to an access word. */
export const ONE_BOTH = 1048576;

/** The most read+write locks. */
const MOST_BOTH = 511;

/** What {@link addAccess} and {@link removeAccess} answer when the rules forbid it. */
export const REFUSED: number = -1;

/** The union of the modes that an access word holds: 0, READ, WRITE or both. @realtime */
export function heldAccess(word: number): number {
  if (word === 0) return 0;
  if (word >= ONE_BOTH) return Access.READ | Access.WRITE;
  return ((word & COUNT_MASK) !== 0 ? Access.READ : 0) | (word >= ONE_WRITE ? Access.WRITE : 0);
}

/** The word with one lock of `mode` more, or {@link REFUSED}. @realtime */
export function addAccess(word: number, owners: number, mode: number, flags: MemoryFlags): number {
  if ((mode & Access.WRITE) !== 0 && (owners > 1 || (flags & MemoryFlags.READONLY) !== 0)) return REFUSED;
  if (word !== 0 && (heldAccess(word) & mode) !== mode) return REFUSED;
  if (mode === Access.READ) return (word & COUNT_MASK) === COUNT_MASK ? REFUSED : word + ONE_READ;
  if (mode === Access.WRITE) return ((word >> 10) & COUNT_MASK) === COUNT_MASK ? REFUSED : word + ONE_WRITE;
  return word >> 20 === MOST_BOTH ? REFUSED : word + ONE_BOTH;
}

/** The word with one lock of `mode` less, or {@link REFUSED} when no such lock is held. @realtime */
export function removeAccess(word: number, mode: number): number {
  if (mode === Access.READ) return (word & COUNT_MASK) === 0 ? REFUSED : word - ONE_READ;
  if (mode === Access.WRITE) return ((word >> 10) & COUNT_MASK) === 0 ? REFUSED : word - ONE_WRITE;
  return word < ONE_BOTH ? REFUSED : word - ONE_BOTH;
}

/** The lock unit of a mode; throws `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE`. @realtime */
export function unitOf(mode: MapMode): number {
  if (mode === "read") return ONE_READ;
  if (mode === "readwrite") return ONE_BOTH;
  if (mode === "write") return ONE_WRITE;
  throw badModeError(mode);
}

/** The {@link Access} bits of a lock unit. @realtime */
export function accessOfUnit(unit: number): number {
  return unit === ONE_READ ? Access.READ : unit === ONE_WRITE ? Access.WRITE : Access.READ | Access.WRITE;
}

/** The lock unit of {@link Access} bits. @realtime */
export function unitOfAccess(mode: number): number {
  return mode === Access.READ ? ONE_READ : mode === Access.WRITE ? ONE_WRITE : ONE_BOTH;
}

/** The mode of a lock unit. @realtime */
export function modeOf(unit: number): MapMode {
  return unit === ONE_READ ? "read" : unit === ONE_WRITE ? "write" : "readwrite";
}

/** An access word with one lock of that unit less, or {@link REFUSED}. @realtime */
export function lessUnit(word: number, unit: number): number {
  return removeAccess(word, accessOfUnit(unit));
}

/** True when one owner more is allowed: with two or more owners there may be no write lock. @realtime */
export function canShare(word: number, owners: number): boolean {
  return owners === 0 || (heldAccess(word) & Access.WRITE) === 0;
}

/** What a mode means, for messages. */
export function describeAccess(mode: number): string {
  const kind = mode & (Access.READ | Access.WRITE);
  return kind === 3 ? "reading and writing" : kind === 2 ? "writing" : kind === 1 ? "reading" : "nothing";
}

function badModeError(mode: unknown): MillpondError {
  if (typeof mode !== "string") return wrongType("mode", '"read", "write" or "readwrite"', mode);
  return badValue("mode", '"read", "write" or "readwrite"', mode);
}
