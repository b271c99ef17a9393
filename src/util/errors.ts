/**
 * One error class, many codes. A caller branches on `code`; a reader gets a message that says what happened, to which
 * lease, where it was taken, and how to mend it.
 */

/**
 * Every code that millpond throws, with its meaning in one line; docs/errors.md has the usual cause of each and its
 * mend. The first five are kinds of misuse. They are detected in every pool, except that a number without a generation
 * (of `SlabPool` unless `generations` is set, of `RealtimePool`) cannot tell an ended lease from the next one of its
 * place.
 */
export const ERROR_CODES = {
  /** A lease was given back twice. */
  ERR_DOUBLE_RELEASE: "the lease was already released",
  /** Something was given to a pool that it never handed out. */
  ERR_FOREIGN_RELEASE: "the object does not belong to this pool",
  /** A lease, memory or mapping was used after it was given back. */
  ERR_USE_AFTER_RELEASE: "the lease was already released; its bytes may belong to another lease",
  /** The bytes came back detached: the ArrayBuffer was transferred. */
  ERR_DETACHED: "the ArrayBuffer behind the lease was transferred away",
  /** A lease or a pool was used after the pool was closed. */
  ERR_POOL_DEAD: "the pool was retired or closed",

  /** An argument has the wrong type. */
  ERR_INVALID_ARG_TYPE: "an argument has the wrong type",
  /** An argument has the right type and an impossible value. */
  ERR_INVALID_ARG_VALUE: "an argument has a value that is not allowed",
  /** A number or index is outside its range. */
  ERR_OUT_OF_RANGE: "a number is outside its range",

  /** The operation needs exclusive ownership, and the object is shared or read-only. */
  ERR_NOT_WRITABLE: "the object is shared or read-only",
  /** The operation cannot happen while the bytes are mapped, or the map conflicts with a live one. */
  ERR_MAPPED: "the bytes are mapped",
  /** The memory cannot be mapped as asked. */
  ERR_NOT_MAPPABLE: "the memory cannot be mapped as asked",
  /** The memory refuses to be shared. */
  ERR_NOT_SHAREABLE: "the memory refuses to be shared",
  /** A meta is locked and cannot be removed. */
  ERR_META_LOCKED: "the meta is locked",
  /** A hook called back into the object that runs it, with a call that has to wait until the hook returns. */
  ERR_REENTRANT: "a hook called back into what runs it",
  /** A name is already registered. */
  ERR_ALREADY_REGISTERED: "the name is already registered",

  /** No memory could be allocated. */
  ERR_ALLOCATION_FAILED: "the memory could not be allocated",
  /** A bound in bytes or in count was reached. */
  ERR_POOL_FULL: "the pool has reached its bound",
  /** A wait for a buffer ran out of time. */
  ERR_STARVED: "no buffer came back in time",
  /** The pool is flushing. */
  ERR_FLUSHING: "the pool is flushing",
  /** The pool is not active. */
  ERR_INACTIVE: "the pool is not active",
  /** The pool is active, and the operation needs it inactive. */
  ERR_ACTIVE: "the pool is active",
  /** Leases are out, and the operation needs them back. */
  ERR_IN_USE: "leases are still out",
  /** The pool has no configuration. */
  ERR_NOT_CONFIGURED: "the pool is not configured",
  /** The pool cannot do exactly what was asked; the adjusted configuration is on the error. */
  ERR_CONFIG_ADJUSTED: "the pool adjusted the configuration",
  /** A front door's own word for {@link ERROR_CODES.ERR_IN_USE}: cork's and realtime's objects are still live. */
  ERR_LIVE_OBJECTS: "objects are still live",
  /** A shared default object exists already. */
  ERR_ALREADY_EXISTS: "it exists already",
  /** An internal invariant does not hold: memory was overrun, or this is a bug in millpond. */
  ERR_CORRUPTED: "an invariant does not hold",
  /** The platform or the build cannot do this. */
  ERR_UNSUPPORTED: "not supported here",
  /** Stages could not agree on a format or a pool. */
  ERR_NOT_NEGOTIATED: "the stages could not agree",
  /** Input data is not what it claims to be. */
  ERR_BAD_DATA: "the data is not what it claims to be",
  /** A file, a body or a message has more bytes than the caller allows. */
  ERR_TOO_LARGE: "there are more bytes than the caller allows",
  /** A stream, a file or a connection was used after its end. */
  ERR_ENDED: "the stream or connection has ended",
  /** Nothing arrived or left for as long as the caller allows. */
  ERR_TIMED_OUT: "nothing happened for as long as the caller allows",
  /**
   * A child process could not be started, or failed; `details` has its exit code, its signal and the end of its stderr.
   */
  ERR_PROCESS_FAILED: "a child process failed",
} as const;

/** A code that a {@link MillpondError} carries. */
export type ErrorCode = keyof typeof ERROR_CODES;

/** A code of a front door whose system names its failures itself: DirectShow's `VFW_E_TIMEOUT`, `E_POINTER`. */
export type DoorCode = `E_${string}` | `VFW_E_${string}`;

/** Plain facts attached to a {@link MillpondError}, for machines: lease ids, sizes, holders. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

/**
 * The only error class of millpond's own (compat front doors add their own codes to it). What comes from elsewhere
 * comes as it is: a missing file is Node's `ENOENT`, an aborted call throws the signal's reason, and several hooks that
 * throw give an AggregateError. Node-style: branch on `code`, read `message`, look into `details`.
 */
export class MillpondError extends Error {
  /** What kind of failure this is; stable across releases. */
  readonly code: ErrorCode | DoorCode;
  /** Plain facts for machines: lease ids, sizes, the list of holders. */
  readonly details: ErrorDetails | undefined;

  /**
   * @param code one of {@link ERROR_CODES}
   * @param message what happened, to which lease, taken where, and how to mend it
   * @param details plain facts for machines
   * @param options the standard `cause`
   */
  constructor(code: ErrorCode | DoorCode, message: string, details?: ErrorDetails, options?: ErrorOptions) {
    for (const [name, value] of [
      ["code", code],
      ["message", message],
    ]) {
      if (typeof value !== "string")
        throw new MillpondError("ERR_INVALID_ARG_TYPE", `${name} must be a string, but it is of type ${typeof value}`);
    }
    checkObject("details", details);
    checkObject("options", options);
    super(`${message} [${code}]`, options);
    this.name = "MillpondError";
    this.code = code;
    this.details = details;
  }
}

function checkObject(name: string, value: unknown): void {
  if (value === undefined || (typeof value === "object" && value !== null)) return;
  throw new MillpondError("ERR_INVALID_ARG_TYPE", `${name} must be an object, but it is of type ${typeof value}`);
}

/**
 * The error of a call that came back into a pool from code that the pool was calling. Nothing has changed.
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

/**
 * True for a {@link MillpondError} (of any copy of the library), optionally of one code.
 *
 * @param value anything that was thrown
 * @param code the code to look for; absent: any
 */
export function isMillpondError(value: unknown, code?: ErrorCode | DoorCode): value is MillpondError {
  try {
    if (!(value instanceof Error) || value.name !== "MillpondError") return false;
    return code === undefined || (value as MillpondError).code === code;
  } catch {
    // What was thrown may be anything: a revoked proxy, an error whose getters throw.
    return false;
  }
}

/** What was thrown, as its message without the code behind it: for a message of another error, or for a person. */
export function plainMessage(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/ \[ERR_\w+\]$/, "");
}

/**
 * Ends a call whose steps were all taken, whatever they threw: nothing when they did not, the one error as it is,
 * several as an AggregateError with that message.
 */
export function throwAll(failures: readonly unknown[], message: string): void {
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new AggregateError(failures, message);
}

/**
 * Lets an error surface as an uncaught one in a later turn. For callbacks that are called in the middle of bookkeeping
 * (a listener, a meta's free hook): the work is finished first, and the error is still not swallowed.
 */
export function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}

/**
 * True when a release says that the bytes have been lost before it: they were transferred, or their own pool was closed
 * by force. The memory is released, its allocator counts what was lost, and where nobody released it by hand, nobody
 * has to hear.
 */
export function saysGone(error: unknown): boolean {
  return isMillpondError(error, "ERR_DETACHED") || isMillpondError(error, "ERR_POOL_DEAD");
}
