/**
 * Pinning: keeping pages in RAM, and having them there before the first use. The core cannot do either, so both are
 * optional methods of an allocator ({@link PinningAllocator}); the native allocators have them. Each step may be
 * refused (by the system, by a limit), and says so instead of throwing.
 *
 * The result of a lock is noted by ArrayBuffer ({@link reportLock}), so that a user of any pool between can ask with
 * the memory that it has ({@link lockReportOf}). A revoked buffer hands its note on to the one that its bytes move to.
 * Everything is O(1) but for touching pages.
 */
import { checkOptions, show, wholeNumber, word, wrongType, yesOrNo } from "../util/validate.ts";
import type { Allocator } from "./allocator.ts";
import type { Memory } from "./memory.ts";
import type { Region } from "./region.ts";

/** The result of a step that the system may refuse: the bytes it was done to, or why not. */
export type StepResult =
  | { readonly ok: true; readonly bytes: number }
  | { readonly ok: false; readonly errno: string; readonly hint: string };

/** The optional methods of an {@link Allocator} that can pin its regions. */
export interface PinningAllocator {
  /**
   * Locks the pages of a region into RAM until {@link unlockRegion} or until it is freed. A region that is locked
   * already: ok.
   */
  lockRegion(region: Region): StepResult;
  /** Undoes {@link lockRegion}; it must not throw. Called before a locked region is given back. */
  unlockRegion(region: Region): void;
  /** Has every page of a region resident and writable; absent: its user writes one byte a page. */
  prefaultRegion?(region: Region): StepResult;
}

/** True when an allocator has the methods of {@link PinningAllocator}. */
export function canPin(allocator: Allocator): allocator is Allocator & PinningAllocator {
  const { lockRegion, unlockRegion } = allocator as Partial<PinningAllocator>;
  return typeof lockRegion === "function" && typeof unlockRegion === "function";
}

/** Has an allocator lock a region; what it throws, or answers instead of a result, is a step that failed. */
export function lockPages(allocator: PinningAllocator & Allocator, region: Region): StepResult {
  return attempt(allocator, "lockRegion", () => allocator.lockRegion(region));
}

function attempt(allocator: Allocator, name: string, step: () => StepResult): StepResult {
  const failed = (errno: string, what: string): StepResult => ({
    ok: false,
    errno,
    hint: `${name}() of allocator "${allocator.name}" ${what}`,
  });
  try {
    const result = step() as Partial<StepResult> | undefined;
    if (result?.ok === true && typeof result.bytes === "number") return { ok: true, bytes: result.bytes };
    if (result?.ok === false) return { ok: false, errno: String(result.errno), hint: String(result.hint) };
    return failed("no result", `answered ${show(result)}, which is no result of a step`);
  } catch (error) {
    return failed("failed", `threw ${error instanceof Error ? error.message : show(error)}`);
  }
}

/** Bytes between two touches: the smallest page of any system in use, so that none is skipped. */
const PAGE = 4096;

/** Has every page of a region written to once, by its allocator or by hand; its bytes stay what they are. O(pages). */
export function prefault(allocator: Allocator, region: Region): StepResult {
  const native = (allocator as Partial<PinningAllocator>).prefaultRegion;
  if (typeof native === "function") {
    const result = attempt(allocator, "prefaultRegion", () => native.call(allocator, region));
    if (result.ok) return result;
  }
  const { bytes } = region;
  for (let at = 0; at < bytes.length; at += PAGE) bytes[at] = bytes[at]!;
  return { ok: true, bytes: bytes.length };
}

/** What is known about the lock on one memory. */
export interface LockReport {
  /** True when every byte is pinned: it will not be swapped out and never faults. */
  readonly locked: boolean;
  /** Why not, in one line; empty when locked. */
  readonly lockReason: string;
  /** Bytes pinned for it, whole pages; 0 when not locked. */
  readonly lockedBytes: number;
}

const NOT_ASKED: LockReport = /* @__PURE__ */ Object.freeze({
  locked: false,
  lockReason: 'its allocator does not lock pages; import "millpond/native" and use allocators.get("locked")',
  lockedBytes: 0,
});

const reports: WeakMap<ArrayBufferLike, LockReport> = new WeakMap();

/**
 * Whether a memory is locked, and if not why. Give it a live memory of any allocator or pool, or a view of its bytes.
 * O(1). Throws `ERR_INVALID_ARG_TYPE`.
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
