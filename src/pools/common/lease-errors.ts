/**
 * The errors that every pool has, in one wording: closed, in use, full, starved, released twice, used after release,
 * foreign, detached, corrupted. Each says what happened, to which lease, where it was taken, and how to mend it. They
 * take plain data: a pool says in a {@link PoolWords} what it is called, and brings the words for its own leases,
 * holders and remedies.
 *
 * Built on slow paths only: nothing here runs before something went wrong.
 */
import { type ErrorDetails, MillpondError, throwAll } from "../../util/errors.ts";

/** What a pool and its leases are called in messages. */
export interface PoolWords {
  /** The kind of pool: `page pool`. */
  readonly kind: string;
  /** The pool's name, in quotation marks behind its kind. */
  readonly name: string;
  /** What one lease is of: `block`. */
  readonly unit: string;
  /** How a lease ends, where it can end otherwise than by release(): `released or sent away`. */
  readonly over?: string;
}

/** One holder, as a message shows it: `slot 3 for 12 ms by "encoder" (note), taken at f (file.ts:1:2)`. */
export interface HolderText {
  /** Which lease it is: `slot 3`. */
  readonly lease: string;
  /** Milliseconds since it was taken. */
  readonly age?: number | undefined;
  /** What the holder calls itself. */
  readonly tag?: string | undefined;
  /** What else there is to know. */
  readonly note?: string | undefined;
  /** Where it was taken: a stack, of which the first line is shown. */
  readonly site?: string | undefined;
}

/** A pool's holders, whole, and how a message shows one. */
export interface Holders<H> {
  /** All, longest first; or the first of so many that a list of them is slow to make. */
  readonly list: readonly H[];
  /** How many there are; absent: those in the list. */
  readonly total?: number;
  /** How a message shows one. */
  readonly show: (holder: H) => HolderText;
}

/** A message names this many holders; the whole list is in `details.holders`. */
const MAX_SHOWN = 8;

/** The pool as messages call it: `page pool "frames"`. */
export function poolText({ kind, name }: PoolWords): string {
  return `${kind} "${name}"`;
}

/** Who holds what, in one clause. */
function holdersText<H>({ list, show, total = list.length }: Holders<H>): string {
  if (list.length === 0) return "nobody holds any";
  const shown = list.slice(0, MAX_SHOWN).map((holder) => {
    const { lease, age, tag, note, site } = show(holder);
    return (
      lease +
      (age === undefined ? "" : ` for ${Math.round(age)} ms`) +
      (tag === undefined ? "" : ` by "${tag}"`) +
      (note === undefined ? "" : ` (${note})`) +
      (site === undefined ? "" : `, taken ${site.split("\n", 1)[0]}`)
    );
  });
  const more = total > shown.length ? `, and ${total - shown.length} more` : "";
  return `held: ${shown.join("; ")}${more}`;
}

/** A call on a pool that has ended. `how`: which end it was, where the pool knows or has one only. */
export function closedError(pool: PoolWords, verb: string, how = "retired or closed"): MillpondError {
  return new MillpondError("ERR_POOL_DEAD", `cannot ${verb} ${poolText(pool)}: it was ${how}; make a new one`, {
    pool: pool.name,
  });
}

/** A call on a lease that `close({ force: true })` ended. `lease` as messages call it, `details` its facts. */
export function takenBackError(pool: PoolWords, lease: string, verb: string, details?: ErrorDetails): MillpondError {
  return new MillpondError(
    "ERR_POOL_DEAD",
    `cannot ${verb} ${lease}: ${poolText(pool)} was closed by force and took its ${pool.unit}s back; ` +
      "release everything before close(), or use retire()",
    { pool: pool.name, ...details },
  );
}

/** A call that needs every lease back. `remedy`: what to do, as a main clause. */
export function inUseError<H>(pool: PoolWords, verb: string, holders: Holders<H>, remedy: string): MillpondError {
  const { length } = holders.list;
  return new MillpondError(
    "ERR_IN_USE",
    `cannot ${verb} ${poolText(pool)}: ${length === 1 ? `1 ${pool.unit} is` : `${length} ${pool.unit}s are`} leased; ` +
      `${holdersText(holders)}. ${remedy}`,
    { pool: pool.name, holders: holders.list },
  );
}

/** A request that a bound refuses. `wanted`: what for (`a block of 64 bytes`); `bound`: which (`maxBytes 4096`). */
export function fullError<H>(
  pool: PoolWords,
  wanted: string,
  bound: string,
  holders: Holders<H>,
  remedy: string,
  details?: ErrorDetails,
): MillpondError {
  return new MillpondError(
    "ERR_POOL_FULL",
    `${poolText(pool)} has no room for ${wanted} within ${bound}; ${holdersText(holders)}. ${remedy}`,
    { pool: pool.name, ...details, holders: holders.list },
  );
}

/**
 * A wait that ended without a lease. `missing`: what did not come, as the start of the sentence (`no buffer of pool
 * "frames" came back`); `state`: how the pool stands, if that says more than the holders.
 */
export function starvedError<H>(
  pool: PoolWords,
  missing: string,
  waited: number,
  holders: Holders<H>,
  remedy: string,
  state?: string,
  details?: ErrorDetails,
): MillpondError {
  const how = state === undefined ? "; " : `: ${state}; `;
  return new MillpondError(
    "ERR_STARVED",
    `${missing} within ${Math.round(waited)} ms${how}${holdersText(holders)}. ${remedy}`,
    { pool: pool.name, ...details, waited, holders: holders.list },
  );
}

/**
 * A lease that was released before, given back or used again: `ERR_DOUBLE_RELEASE` for `release`, else
 * `ERR_USE_AFTER_RELEASE`. `now`: who has its place, if somebody has.
 */
export function overError(
  pool: PoolWords,
  lease: string,
  verb: string,
  now?: string,
  details?: ErrorDetails,
): MillpondError {
  const place = now === undefined ? "" : `; ${now}`;
  const facts = { pool: pool.name, ...details };
  const { over = "released" } = pool;
  if (verb === "release") {
    return new MillpondError(
      "ERR_DOUBLE_RELEASE",
      `${lease} was already ${over}${place}; find the second release(), or retain() once for each holder`,
      facts,
    );
  }
  return new MillpondError(
    "ERR_USE_AFTER_RELEASE",
    `cannot ${verb} ${lease}: it was ${over}${place}; use it before, or retain() it`,
    facts,
  );
}

/** Something that the pool never handed out. `what`: as messages call it; `remedy`: what to do, as a main clause. */
export function foreignError(pool: PoolWords, what: string, remedy: string, details?: ErrorDetails): MillpondError {
  return new MillpondError("ERR_FOREIGN_RELEASE", `${what} is not of ${poolText(pool)}; ${remedy}`, {
    pool: pool.name,
    ...details,
  });
}

/** A lease that came back without its bytes. */
export function detachedError(pool: PoolWords, lease: string, details?: ErrorDetails): MillpondError {
  return new MillpondError(
    "ERR_DETACHED",
    `${lease} came back without its bytes: its ArrayBuffer was transferred (postMessage with a transfer list, a byte stream, ` +
      `structuredClone). The lease is over, and the pool makes a new ${pool.unit}; copy before transferring`,
    { pool: pool.name, ...details },
  );
}

/** An invariant that does not hold. `cause`: whose doing it is, if that is known; default: a bug of the library. */
export function corruptedError(
  pool: PoolWords,
  what: string,
  cause = "this is a bug in millpond",
  details?: ErrorDetails,
): MillpondError {
  return new MillpondError("ERR_CORRUPTED", `${poolText(pool)}: ${what}; ${cause}`, { pool: pool.name, ...details });
}

/** The end of a call that went on whatever hooks and allocators threw; see {@link throwAll}. */
export function rethrow(pool: PoolWords, failures: readonly unknown[]): void {
  throwAll(failures, `${failures.length} hooks of ${poolText(pool)} or its allocator threw`);
}
