/** The error of a call that comes back into a pool from code that the pool is calling. */
import { MillpondError } from "./errors.ts";

/**
 * Builds it; nothing has changed when it is thrown.
 *
 * @param what the pool, as messages name it
 * @param verb what was asked of it: "allocate from"
 */
export function reentrantError(what: string, verb: string): MillpondError {
  return new MillpondError(
    "ERR_REENTRANT",
    `cannot ${verb} ${what} from inside code that it is calling (its source, its clock or one of its hooks); ` +
      "do it after that has returned, or use another pool there",
    { pool: what },
  );
}
