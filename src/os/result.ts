/**
 * What a native step answers. Nothing in this layer throws for what a machine cannot do: a pool asks for locked pages,
 * reads that it got none and why, and goes on. Only a caller's mistake (a detached view, a foreign socket) throws.
 */

import { isRevoked, wholeNumber, word, wrongType, yesOrNo } from "../util/validate.ts";

/** Why a step was not done, in words that a program may branch on. */
export type FailureStatus =
  /** There is no such step here: no koffi, no such call on this platform, no such kernel feature. */
  | "unsupported"
  /** The step exists and a limit is in its way: RLIMIT_MEMLOCK, the number of mappings, memory itself. */
  | "limit"
  /** The step exists and this process may not take it. */
  | "forbidden"
  /** The bytes, descriptor or peer are not fit for it: too small, not sealed, of another user. */
  | "refused"
  /** The wait ended before anything came. */
  | "timeout"
  /** The system said no for another reason: see errno. */
  | "failed";

/** A step that was done. */
export interface Done {
  /** True: it was done. */
  readonly ok: true;
  /** Bytes that the step really covered, whole pages. */
  readonly bytes: number;
}

/** A step that was not done; nothing has changed. */
export interface NotDone {
  /** False: it was not done. */
  readonly ok: false;
  /** Why, for programs. */
  readonly status: FailureStatus;
  /** The system's name of the error ("ENOMEM"), or this layer's own ("KOFFI_ABSENT", "NOT_SEALED"). */
  readonly errno: string;
  /** Why, and what would mend it, for people. */
  readonly hint: string;
}

/** The result of one native step. */
export type Result = Done | NotDone;

/** The result of a step that makes something. */
export type Outcome<T> = { readonly ok: true; readonly value: T } | NotDone;

/** Builds the result of a step that was done over so many bytes. */
export function done(bytes: number): Done {
  return { ok: true, bytes };
}

/** Builds the result of a step that was not done. */
export function notDone(status: FailureStatus, errno: string, hint: string): NotDone {
  return { ok: false, status, errno, hint };
}

/** Builds the result of a step that made something. */
export function made<T>(value: T): { readonly ok: true; readonly value: T } {
  return { ok: true, value };
}

/**
 * One line for reports: "ok, 8192 bytes" or "limit (ENOMEM): ...". Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 * for what is not an answer.
 */
export function describeResult(result: Result | Outcome<unknown>): string {
  if (result === null || typeof result !== "object" || isRevoked(result)) {
    throw wrongType("result", "what a native step answered", result);
  }
  // Each property is read once: the answer may be one that a caller made.
  const { ok, status, errno, hint, bytes } = result as Partial<Done & Omit<NotDone, "ok">>;
  if (yesOrNo("result.ok", ok)) {
    // What made something says no number of bytes.
    const covered = bytes === undefined && "value" in result ? 0 : wholeNumber("result.bytes", bytes);
    return covered > 0 ? `ok, ${covered} bytes` : "ok";
  }
  return `${word("result.status", status)} (${word("result.errno", errno)}): ${word("result.hint", hint)}`;
}

const STATUS_OF_ERRNO: Readonly<Record<string, FailureStatus>> = {
  EPERM: "forbidden",
  EACCES: "forbidden",
  ENOSYS: "unsupported",
  EOPNOTSUPP: "unsupported",
  ENOTSUP: "unsupported",
  ENOTTY: "unsupported",
  ENODEV: "unsupported",
  ENOMEM: "limit",
  EAGAIN: "limit",
  EMFILE: "limit",
  ENFILE: "limit",
  ENOSPC: "limit",
  EFBIG: "limit",
  ETIMEDOUT: "timeout",
};

/** Builds the answer of a system call that failed with the error of that name. */
export function systemFailure(call: string, errno: string, hint: string): NotDone {
  return notDone(STATUS_OF_ERRNO[errno] ?? "failed", errno, `${call}: ${hint}`);
}
