/**
 * What the five front doors agree on when a call fails. An error is a {@link MillpondError}, so one handler serves them
 * all; it also carries the status of the door's own system; its message names that system's calls and the values that
 * the caller passed. The core's error, in the core's words, is its `cause`.
 *
 * A door calls the core through {@link inDoor}, which lets no error of the core out as it is.
 */

import { type DoorCode, type ErrorCode, type ErrorDetails, MillpondError } from "../util/errors.ts";
import { show } from "../util/validate.ts";

/** An error of a front door: branch on `status` as that system's callers do, or on `code`. */
export class DoorError extends MillpondError {
  /** The status that the system itself returns here. */
  readonly status: number;

  /** As {@link MillpondError}, with the status in front; the message does not name the code, which is added to it. */
  constructor(
    status: number,
    code: ErrorCode | DoorCode,
    message: string,
    details?: ErrorDetails,
    options?: ErrorOptions,
  ) {
    super(code, message, withStatus(details, status), options);
    this.status = status;
  }
}

function withStatus(details: ErrorDetails | undefined, status: number): ErrorDetails {
  if (typeof status !== "number") throw new MillpondError("ERR_INVALID_ARG_TYPE", wants("status", "a number", status));
  if (details !== undefined && (typeof details !== "object" || details === null)) {
    throw new MillpondError("ERR_INVALID_ARG_TYPE", wants("details", "an object", details));
  }
  return { ...details, status };
}

/**
 * Runs a call into the core. An error of the core leaves as what `translate` makes of it; an error that a door has
 * worded already, and what the caller's own hooks throw, passes.
 */
export function inDoor<T>(call: () => T, translate: (cause: MillpondError) => MillpondError): T {
  try {
    return call();
  } catch (error) {
    throw inDoorWords(error, translate);
  }
}

/** Errors that hooks of the caller threw: they are the caller's, also where they are MillpondErrors. */
const hookErrors: WeakSet<object> = new WeakSet();

/** Runs a hook of the caller; what it throws passes through {@link inDoor} unchanged. */
export function fromHook<T>(hook: () => T): T {
  try {
    return hook();
  } catch (error) {
    if (typeof error === "object" && error !== null) hookErrors.add(error);
    throw error;
  }
}

/** True for what {@link fromHook} let through. */
export function isFromHook(error: object): boolean {
  return hookErrors.has(error);
}

/** What {@link inDoor} throws for `error`; for calls that answer a promise. */
export function inDoorWords(error: unknown, translate: (cause: MillpondError) => MillpondError): unknown {
  const ofTheCore = error instanceof MillpondError && !(error instanceof DoorError) && !isFromHook(error);
  return ofTheCore ? translate(error) : error;
}

/** A core error's message without the code behind it, for a door that repeats it. */
export function messageOf(cause: MillpondError): string {
  const suffix = ` [${cause.code}]`;
  return cause.message.endsWith(suffix) ? cause.message.slice(0, -suffix.length) : cause.message;
}

/** What a wrong argument is: `name must be expected, but it is value`. */
export function wants(name: string, expected: string, value: unknown): string {
  return `${name} must be ${expected}, but it is ${show(value)}`;
}

/** The code of a wrong number: of another type, or outside its range. */
export function argumentCode(value: unknown): ErrorCode {
  return typeof value === "number" ? "ERR_OUT_OF_RANGE" : "ERR_INVALID_ARG_TYPE";
}

/** Given to the constructors of handles by the doors, and to nobody else. */
export const MAKE: unique symbol = Symbol("millpond.compat.make");

/** Refuses to construct a handle that only `maker` makes. */
export function assertMaker(key: unknown, handle: string, maker: string, status: number): void {
  if (key === MAKE) return;
  throw new DoorError(status, "ERR_UNSUPPORTED", `new ${handle}() makes no usable handle; call ${maker}`);
}
