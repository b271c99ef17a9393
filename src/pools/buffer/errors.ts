/** The errors of a BufferPool: what happened, to which lease, who has the buffers, and how to mend it. */
import type { BufferSlot } from "../../media/buffer/slot.ts";
import { MillpondError } from "../../util/errors.ts";
import type { ActualPoolConfig } from "./config.ts";
import type { Holder } from "./stats.ts";

/** What state a pool is in; what it answers when it refuses follows from it. */
export type PoolState = "inactive" | "active" | "flushing" | "draining" | "retired" | "closed";

/** Who holds what, in one paragraph. */
export function describeHolders(holders: readonly Holder[]): string {
  if (holders.length === 0) return "nobody holds one";
  const shown = holders.slice(0, MAX_HOLDERS_SHOWN).map((holder) => {
    const who = holder.tag === undefined ? "" : ` by "${holder.tag}"`;
    const how = holder.refCount === 0 ? " (released, but a copy or sub-memory still holds its bytes)" : "";
    const where = holder.site === undefined ? "" : `, taken ${holder.site.split("\n", 1)[0]}`;
    return `slot ${holder.slot} for ${Math.round(holder.age)} ms${who}${how}${where}`;
  });
  const more = holders.length > MAX_HOLDERS_SHOWN ? `, and ${holders.length - MAX_HOLDERS_SHOWN} more` : "";
  return `held: ${shown.join("; ")}${more}`;
}

/** A message names this many holders; the whole list is in `details.holders`. */
const MAX_HOLDERS_SHOWN = 8;

/** The error of an acquire that ended without a buffer. */
export function starvedError(
  name: string,
  config: ActualPoolConfig,
  waited: number,
  holders: readonly Holder[],
): MillpondError {
  const traced = holders.some((holder) => holder.site !== undefined);
  const hint = traced ? "" : "; switch pool.trace on to see where each was taken";
  return new MillpondError(
    "ERR_STARVED",
    `no buffer of pool "${name}" came back within ${Math.round(waited)} ms: all ${holders.length} of at most ${config.max} are leased; ` +
      `${describeHolders(holders)}. Release them sooner, or configure a larger max${hint}`,
    { pool: name, waited, holders },
  );
}

/** The error for a handle of an old lease. */
export function staleLeaseError(
  name: string,
  slot: BufferSlot,
  generation: number,
  verb: string,
  closed: boolean,
): MillpondError {
  const lease = `lease ${generation} of slot ${slot.index} of pool "${name}"`;
  const now =
    slot.refCount > 0
      ? `; the slot is on lease ${slot.generation}${slot.tag === undefined ? "" : ` to "${slot.tag}"`} now`
      : "";
  const details = { pool: name, slot: slot.index, generation, current: slot.generation };
  if (closed) {
    return new MillpondError(
      "ERR_POOL_DEAD",
      `cannot ${verb} ${lease}: the pool was closed by force and took its buffers back; release everything before close(), or use retire()`,
      details,
    );
  }
  if (verb === "release") {
    return new MillpondError(
      "ERR_DOUBLE_RELEASE",
      `${lease} was already released${now}; find the second release(), or retain() once for each holder`,
      details,
    );
  }
  return new MillpondError(
    "ERR_USE_AFTER_RELEASE",
    `cannot ${verb} ${lease}: it was released${now}; use it before release(), or retain() it`,
    details,
  );
}

/** The error of a call that the pool's state forbids. */
export function refusedError(name: string, state: PoolState, verb: string): MillpondError {
  if (state === "closed" || state === "retired") {
    return new MillpondError(
      "ERR_POOL_DEAD",
      `cannot ${verb} pool "${name}": it was retired or closed; make a new one`,
    );
  }
  if (state === "flushing") {
    return new MillpondError(
      "ERR_FLUSHING",
      `cannot ${verb} pool "${name}": it is flushing; setFlushing(false) ends that`,
    );
  }
  if (state === "active") {
    return new MillpondError(
      "ERR_ACTIVE",
      `cannot ${verb} pool "${name}": it is active; deactivate() it first, or make a new pool`,
    );
  }
  return new MillpondError("ERR_INACTIVE", `cannot ${verb} pool "${name}": it is not active; activate() it first`);
}

/** The error of a call that needs every lease back. */
export function inUseError(name: string, verb: string, holders: readonly Holder[]): MillpondError {
  return new MillpondError(
    "ERR_IN_USE",
    `cannot ${verb} pool "${name}": ${holders.length} buffers are leased; ${describeHolders(holders)}. Wait for drained(), or use another pool`,
    { pool: name, holders },
  );
}

/** The error of a last release under a live mapping. */
export function mappedError(name: string, slot: BufferSlot): MillpondError {
  return new MillpondError(
    "ERR_MAPPED",
    `lease ${slot.generation} of slot ${slot.index} of pool "${name}" is still mapped; unmap() before the last release()`,
    { pool: name, slot: slot.index },
  );
}

/** The error of a buffer that came back without its bytes. */
export function detachedError(name: string, slot: BufferSlot): MillpondError {
  return new MillpondError(
    "ERR_DETACHED",
    `lease ${slot.generation - 1} of slot ${slot.index} of pool "${name}" came back without its bytes: its ArrayBuffer was transferred ` +
      "(postMessage with a transfer list, a byte stream, structuredClone). The lease is over and the pool makes a new block; copy before transferring",
    { pool: name, slot: slot.index },
  );
}
