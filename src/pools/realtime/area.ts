/**
 * An area of a RealtimePool: bytes from the source, touched and locked as far as that can be had, with an arena in
 * them.
 */
import { unreachable } from "../../arena/tlsf/errors.ts";
import { TlsfArena } from "../../arena/tlsf/tlsf-arena.ts";
import type { Allocator } from "../../memory/allocator.ts";
import { claimBytes } from "../../memory/claims.ts";
import { heldAlreadyError } from "../../memory/errors.ts";
import { answered, type Memory, releaseFailed } from "../../memory/memory.ts";
import { canPin, lockPages, lockReportOf, prefault, type StepResult } from "../../memory/pinning.ts";
import { revokeViews } from "../../memory/region.ts";
import { MillpondError, saysGone, throwLater } from "../../util/errors.ts";
import { poolText, sourceClosedError } from "./errors.ts";
import type { ResolvedRealtimeOptions } from "./options.ts";

/** A page: what locks work on, and so what areas are multiples of and begin at. */
const PAGE = 4096;

/** One stretch of a pool's bytes. */
export interface Area {
  /** What the source gave. */
  readonly memory: Memory;
  /** What divides it. */
  readonly arena: TlsfArena;
  /** What is added to the arena's pointers to make the pool's: 0 for the first area. */
  readonly base: number;
  /** Bytes of the largest block of an empty area. */
  readonly size: number;
  /** What came of locking it. */
  readonly lock: StepResult;
  /** What came of touching its pages. */
  readonly prefault: StepResult;
}

const NOT_ASKED: StepResult = { ok: false, errno: "off", hint: "it was not asked for" };

const DISABLED: StepResult = {
  ok: false,
  errno: "disabled",
  hint: "the user's preference has no allocator; MILLPOND_REALTIME=allocator or setRealtimePreference() puts it there",
};

/**
 * Takes bytes from the source and makes an area of them. What the source throws passes; with lock "required" a lock
 * that cannot be had is `ERR_UNSUPPORTED` or `ERR_ALLOCATION_FAILED`, and the bytes are given back first.
 */
export function makeArea(options: ResolvedRealtimeOptions, size: number, base: number): Area {
  const { source, name } = options;
  const needed = TlsfArena.bytesFor(size);
  const bytes = Math.ceil(needed / PAGE) * PAGE;
  const memory = answered(source, source.allocate(bytes, { align: PAGE }), bytes);
  try {
    if (!memory.region.isPlain) {
      throw new MillpondError(
        "ERR_UNSUPPORTED",
        `pool "${name}" cannot live in memory of "${source.name}": it has to be mapped first; choose another source`,
      );
    }
    if (!claimBytes(source, memory, memory.region.bytes)) throw heldAlreadyError(source, memory);
    const touched = options.prefault ? prefault(source, memory.region) : NOT_ASKED;
    // What lay here before may have been an arena: these bytes are this pool's alone.
    memory.region.bytes.fill(0, 0, 8);
    const arena = TlsfArena.create({ source: memory.region.bytes, byteLength: needed });
    arena.label = ` of ${poolText(name)}`;
    arena.whyLost = () => (memory.refCount === 0 ? sourceClosedError(name, source.name, "use") : undefined);
    return { memory, arena, base, size, lock: lockArea(options, memory), prefault: touched };
  } catch (error) {
    releaseFailed(memory);
    throw error;
  }
}

function lockArea({ lock, source, name }: ResolvedRealtimeOptions, memory: Memory): StepResult {
  if (lock === "off") return NOT_ASKED;
  if (lock === "disabled") return DISABLED;
  const result = pin(source, memory);
  if (result.ok || lock === "auto") return result;
  throw new MillpondError(
    result.errno === "unsupported" ? "ERR_UNSUPPORTED" : "ERR_ALLOCATION_FAILED",
    `pool "${name}" was to be locked, and cannot be: ${result.errno}: ${result.hint}; raise the limit, or use lock: "auto"`,
    { errno: result.errno },
  );
}

/** Locked by its source already, on request, or not at all. */
function pin(source: Allocator, memory: Memory): StepResult {
  const { locked, lockedBytes, lockReason } = lockReportOf(memory);
  if (locked) return { ok: true, bytes: lockedBytes };
  if (canPin(source)) return lockPages(source, memory.region);
  const { name } = source;
  return { ok: false, errno: "unsupported", hint: `allocator "${name}" cannot lock memory: ${lockReason}` };
}

/**
 * Gives an area's bytes back to the source. With `stale` views about (a pool that was closed under live blocks), they
 * go back only where they cannot be reached through those: the garbage collector frees what the system allocator gave,
 * and plain memory of others can be revoked; of anything else the source
 * decides, as of every lease that was ended by force.
 */
export function closeArea({ memory, lock }: Area, stale: boolean): void {
  const { allocator, region } = memory;
  try {
    if (lock.ok && memory.refCount > 0 && canPin(allocator)) allocator.unlockRegion(region);
  } catch (error) {
    // The bytes go back all the same; who made the allocator hears of it.
    throwLater(error);
  }
  if (stale && !revokeViews(region)) memory.endByForce();
  try {
    memory.releaseOrLater();
  } catch (error) {
    // The source was closed by force, or the bytes were transferred: who did that knows.
    if (!saysGone(error)) throw error;
  }
}

/**
 * Whether an area lost its bytes: its source was closed by force, or they were transferred. Its blocks went with them.
 */
export function isLost(area: Area): boolean {
  return area.arena.words.length === 0 || wasTaken(area);
}

/** The error of a call on the pool of that name that needs the bytes of an area that {@link isLost}. */
export function lostError(area: Area, name: string, verb: string): MillpondError {
  if (wasTaken(area)) return sourceClosedError(name, area.memory.allocator.name, verb);
  return unreachable(area.arena.words);
}

/** Whether the source was closed by force. Bytes that cannot be detached are still there, and may have been wiped. */
function wasTaken({ memory }: Area): boolean {
  return memory.refCount === 0;
}

/** The area that a pool's pointer lies in, or undefined. */
export function areaOf(areas: readonly Area[], pointer: number): Area | undefined {
  // By the size that it was made with: of one that lost its bytes the arena says so.
  return areas.findLast(({ base, memory }) => pointer >= base && pointer < base + memory.region.size);
}
