/**
 * Whether bytes are pinned in RAM. An allocator that locks pages says so here, by the ArrayBuffer; whoever stands on it, however
 * many pools are between, asks with the memory that it got. Code that locks nothing answers for itself: not locked.
 */
import { checkOptions, wholeNumber, word, wrongType, yesOrNo } from "../util/validate.ts";
import type { Memory } from "./memory.ts";

/** What is known about the lock on one memory. */
export interface LockReport {
  /** True when every byte is pinned: it will not be swapped out and never faults. */
  readonly locked: boolean;
  /** Why not, in one line; empty when locked. */
  readonly lockReason: string;
  /** Bytes pinned for it, whole pages; 0 when not locked. */
  readonly lockedBytes: number;
}

const NOT_ASKED: LockReport = Object.freeze({
  locked: false,
  lockReason: 'its allocator does not lock pages; use allocators.find("locked") of millpond/native',
  lockedBytes: 0,
});

const reports: WeakMap<ArrayBufferLike, LockReport> = new WeakMap();

/**
 * Whether a memory is locked, and if not why. Give it a live memory of any allocator or pool, or a view of its bytes. O(1). Throws
 * `ERR_INVALID_ARG_TYPE`.
 */
export function lockReportOf(source: Memory | Uint8Array): LockReport {
  const bytes = ArrayBuffer.isView(source) ? source : source?.region?.bytes;
  if (bytes === undefined) throw wrongType("source", "a Memory or a view of its bytes", source);
  return reports.get(bytes.buffer) ?? NOT_ASKED;
}

/** For allocators: says what became of the lock on all of a buffer's bytes; undefined: nothing is known any more. */
export function reportLock(buffer: ArrayBufferLike, report: LockReport | undefined): void {
  const tag = Object.prototype.toString.call(buffer);
  if (tag !== "[object ArrayBuffer]" && tag !== "[object SharedArrayBuffer]") {
    throw wrongType("buffer", "an ArrayBuffer or a SharedArrayBuffer", buffer);
  }
  if (report === undefined) reports.delete(buffer);
  else {
    const { locked, lockReason, lockedBytes } = checkOptions("report", report, ["locked", "lockReason", "lockedBytes"]);
    yesOrNo("report.locked", locked);
    word("report.lockReason", lockReason);
    wholeNumber("report.lockedBytes", lockedBytes);
    reports.set(buffer, report);
  }
}

/** @internal The same bytes live in another ArrayBuffer now. */
export function moveLockReport(from: ArrayBufferLike, to: ArrayBufferLike): void {
  const report = reports.get(from);
  if (report === undefined) return;
  reports.delete(from);
  reports.set(to, report);
}
