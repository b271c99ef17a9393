/** How much is in a queue, by count, time and bytes, and whether something more fits under bounds on all three. */
import { wholeNumber, wrongType } from "../../util/validate.ts";

/** What one item adds to a queue. */
export interface ItemMeasure {
  /** Nanoseconds, 0 or more. */
  readonly time: bigint;
  /** Bytes. */
  readonly bytes: number;
}

/** The bounds of a queue; what is absent is unbounded. */
export interface QueueLimits {
  /** Most items. */
  count?: number | undefined;
  /** Most nanoseconds. */
  time?: bigint | undefined;
  /** Most bytes. */
  bytes?: number | undefined;
}

/** What is in a queue. Invariant: the sums of what was added and not removed. Every call is O(1). */
export class QueueLevel {
  /** Items. */
  count = 0;
  /** Nanoseconds. */
  time = 0n;
  /** Bytes. */
  bytes = 0;

  /** An item came in. */
  add(item: ItemMeasure): void {
    this.count++;
    this.time += item.time;
    this.bytes += item.bytes;
  }

  /** An item that was added went out. */
  remove(item: ItemMeasure): void {
    this.count--;
    this.time -= item.time;
    this.bytes -= item.bytes;
  }

  /** Everything went out. */
  clear(): void {
    this.count = 0;
    this.time = 0n;
    this.bytes = 0;
  }

  /**
   * Whether one item more stays inside. The only one may exceed bounds on time and bytes: it would never get in
   * otherwise.
   */
  fits(limits: QueueLimits, item: ItemMeasure): boolean {
    if (limits.count !== undefined && this.count >= limits.count) return false;
    if (this.count === 0) return true;
    if (limits.time !== undefined && this.time + item.time > limits.time) return false;
    return limits.bytes === undefined || this.bytes + item.bytes <= limits.bytes;
  }
}

/** Checks bounds. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. */
export function checkLimits(name: string, limits: QueueLimits): QueueLimits {
  const { count, time, bytes } = limits;
  if (count !== undefined) wholeNumber(`${name}.count`, count, 1);
  if (bytes !== undefined) wholeNumber(`${name}.bytes`, bytes, 1);
  if (time !== undefined && (typeof time !== "bigint" || time < 1n))
    throw wrongType(`${name}.time`, "nanoseconds as a bigint, 1n or more", time);
  return { count, time, bytes };
}
