/** The errors of a PagePool: what happened, to which loan, who holds the pages, and how to mend it. */

import type { Memory } from "../../memory/memory.ts";
import { MillpondError } from "../../util/errors.ts";
import { callerOf } from "../../util/stack.ts";
import type { PageConfig, PageHolder } from "./options.ts";
import type { PageBlock } from "./page-block.ts";

/** A message names this many holders; the whole list is in `details.holders`. */
const MOST_HOLDERS = 8;

function describe(holders: readonly PageHolder[]): string {
  if (holders.length === 0) return "nobody holds any";
  const shown = holders.slice(0, MOST_HOLDERS).map((holder) => {
    const where = holder.site === undefined ? "" : `, taken ${holder.site.split("\n", 1)[0]}`;
    return `memory #${holder.memory} (${holder.size} bytes) for ${Math.round(holder.age)} ms${where}`;
  });
  const more = holders.length > MOST_HOLDERS ? `, and ${holders.length - MOST_HOLDERS} more` : "";
  return `held: ${shown.join("; ")}${more}`;
}

/** The loan of a block, for reports. */
export function pageHolder(block: PageBlock, lease: Memory, now: number): PageHolder {
  return {
    memory: lease.id,
    size: lease.size,
    bytes: block.cls.bytes,
    age: Math.max(0, now - block.stamp),
    site: block.site === undefined ? undefined : callerOf(block.site),
  };
}

/** The error of an allocation beyond the bounds. */
export function pagesFullError(config: PageConfig, bytes: number, holders: readonly PageHolder[]): MillpondError {
  return new MillpondError(
    "ERR_POOL_FULL",
    `page pool "${config.name}" has no room for a block of ${bytes} bytes within maxBytes ${config.maxBytes} and max ${config.max}; ` +
      `${describe(holders)}. Release some, wait with pool.acquire(), or raise the bounds`,
    { pool: config.name, bytes, holders },
  );
}

/** The error of a wait that ended without pages. */
export function pagesStarvedError(
  config: PageConfig,
  bytes: number,
  waited: number,
  holders: readonly PageHolder[],
): MillpondError {
  const hint = config.trace ? "" : "; trace: true tells where each was taken";
  return new MillpondError(
    "ERR_STARVED",
    `no room for ${bytes} bytes in page pool "${config.name}" within ${Math.round(waited)} ms; ${describe(holders)}. ` +
      `Release them sooner, or raise the bounds${hint}`,
    { pool: config.name, bytes, waited, holders },
  );
}

/** The error of a call on a pool that has ended. */
export function pagesDeadError(config: PageConfig, verb: string): MillpondError {
  return new MillpondError(
    "ERR_POOL_DEAD",
    `cannot ${verb} page pool "${config.name}": it was retired or closed; make a new one`,
  );
}

/** The error of a call that needs every loan home. */
export function pagesOutError(config: PageConfig, verb: string, holders: readonly PageHolder[]): MillpondError {
  return new MillpondError(
    "ERR_IN_USE",
    `cannot ${verb} page pool "${config.name}": ${holders.length} blocks are on loan; ${describe(holders)}. ` +
      "Release them, use retire(), or close({ force: true })",
    { pool: config.name, holders },
  );
}

/** The error for a block that came back without its bytes. */
export function pagesDetachedError(config: PageConfig, bytes: number): MillpondError {
  return new MillpondError(
    "ERR_DETACHED",
    `a block of ${bytes} bytes of page pool "${config.name}" came back without its bytes: its ArrayBuffer was transferred ` +
      "(postMessage with a transfer list, a byte stream, structuredClone). The loan is over; copy before transferring",
    { pool: config.name, bytes },
  );
}

/** The error for a lease that close({ force: true }) ended. */
export function pagesTakenError(config: PageConfig, memory: Memory, verb: string): MillpondError {
  return new MillpondError(
    "ERR_POOL_DEAD",
    `cannot ${verb} ${memory}: page pool "${config.name}" was closed by force and took its blocks back; release everything before close(), or use retire()`,
    { pool: config.name, memory: memory.id },
  );
}

/** The error for a memory that this pool did not make. */
export function foreignPagesError(config: PageConfig, memory: Memory): MillpondError {
  return new MillpondError(
    "ERR_FOREIGN_RELEASE",
    `page pool "${config.name}" did not make ${memory}; release it with the allocator or pool that did, or with its own release()`,
    { pool: config.name, memory: memory.id },
  );
}
