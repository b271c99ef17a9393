/**
 * The errors of a BufferPool, in the wording of every pool (pools/common/lease-errors.ts), and those that only it has.
 */
import type { BufferSlot } from "../../media/buffer/slot.ts";
import type { PoolPhase } from "../../observe/pool-info.ts";
import { MillpondError } from "../../util/errors.ts";
import * as common from "../common/lease-errors.ts";
import type { ActualPoolConfig } from "./config.ts";
import type { Holder } from "./stats.ts";

function words(name: string): common.PoolWords {
  return { kind: "pool", name, unit: "buffer" };
}

function holdersOf(list: readonly Holder[]): common.Holders<Holder> {
  return {
    list,
    show: ({ slot, age, tag, refCount, site }) => ({
      lease: `slot ${slot}`,
      age,
      tag,
      note: refCount === 0 ? "released, but a copy or sub-memory still holds its bytes" : undefined,
      site,
    }),
  };
}

function leaseText(name: string, slot: BufferSlot, generation: number): string {
  return `lease ${generation} of slot ${slot.index} of pool "${name}"`;
}

/** The error of an acquire that ended without a buffer. */
export function starvedError(
  name: string,
  config: ActualPoolConfig,
  waited: number,
  holders: readonly Holder[],
): MillpondError {
  const traced = holders.some((holder) => holder.site !== undefined);
  const hint = traced ? "" : "; switch pool.trace on to see where each was taken";
  return common.starvedError(
    words(name),
    `no buffer of pool "${name}" came back`,
    waited,
    holdersOf(holders),
    `Release them sooner, or configure a larger max${hint}`,
    `all ${holders.length} of at most ${config.max} are leased`,
  );
}

/** The error for a handle of an old lease; `closed`: the pool was closed by force. */
export function staleLeaseError(
  name: string,
  slot: BufferSlot,
  generation: number,
  verb: string,
  closed: boolean,
): MillpondError {
  const lease = leaseText(name, slot, generation);
  const details = { slot: slot.index, generation, current: slot.generation };
  if (closed) return common.takenBackError(words(name), lease, verb, details);
  const holder = slot.tag === undefined ? "" : ` to "${slot.tag}"`;
  const now = slot.refCount > 0 ? `the slot is on lease ${slot.generation}${holder} now` : undefined;
  return common.overError(words(name), lease, verb, now, details);
}

/** The error of a call that the pool's state forbids. */
export function refusedError(name: string, state: PoolPhase, verb: string): MillpondError {
  const refused = `cannot ${verb} pool "${name}"`;
  if (state === "closed" || state === "retired") return common.closedError(words(name), verb);
  if (state === "flushing")
    return new MillpondError("ERR_FLUSHING", `${refused}: it is flushing; setFlushing(false) ends that`);
  if (state === "active")
    return new MillpondError("ERR_ACTIVE", `${refused}: it is active; deactivate() it first, or make a new pool`);
  return new MillpondError("ERR_INACTIVE", `${refused}: it is not active; activate() it first`);
}

/** The error of a call that needs every lease back. */
export function inUseError(name: string, verb: string, holders: readonly Holder[]): MillpondError {
  // Only a pool that drains refuses to be configured; drained() of an active one resolves at once.
  const remedy =
    verb === "close"
      ? "Release them, use retire(), or close({ force: true })"
      : "Wait for drained(), or use another pool";
  return common.inUseError(words(name), verb, holdersOf(holders), remedy);
}

/** Throws what hooks threw while the pool was closed; several as one AggregateError. */
export function rethrow(name: string, failures: readonly unknown[]): void {
  common.rethrow(words(name), failures);
}

/** The error for a buffer of another pool, or of none. */
export function foreignError(name: string, other: string | undefined): MillpondError {
  const what = other === undefined ? "this buffer without a pool" : `this buffer of pool "${other}"`;
  return common.foreignError(words(name), what, "call buffer.release()");
}

/** The error of a last release under a live mapping. */
export function mappedError(name: string, slot: BufferSlot): MillpondError {
  return new MillpondError(
    "ERR_MAPPED",
    `${leaseText(name, slot, slot.generation)} is still mapped; unmap() before the last release()`,
    { pool: name, slot: slot.index },
  );
}

/** The error of a buffer that came back without its bytes. */
export function detachedError(name: string, slot: BufferSlot): MillpondError {
  return common.detachedError(words(name), leaseText(name, slot, slot.generation - 1), { slot: slot.index });
}

/** The error for an invariant that does not hold. */
export function corruptedError(name: string, what: string): MillpondError {
  return common.corruptedError(words(name), what, "this is a bug in millpond, or bytes were overrun");
}
