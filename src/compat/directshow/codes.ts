/**
 * DirectShow's numbers: HRESULTs, GetBuffer flags, sample flags. Facts of the interface, named as there; and the errors
 * that carry them.
 */

import type { DoorCode, ErrorCode, MillpondError } from "../../util/errors.ts";
import { show } from "../../util/validate.ts";
import { DoorError, messageOf } from "../door-error.ts";

/** Success and failure codes, unsigned 32-bit. */
export const HRESULTS = {
  /** Success. */
  S_OK: 0,
  /** Success, with the answer "no". */
  S_FALSE: 1,
  /** `GetTime`: only a start is set. */
  VFW_S_NO_STOP_TIME: 0x00040270,
  /** A null pointer. */
  E_POINTER: 0x80004003,
  /** An argument that is not allowed. */
  E_INVALIDARG: 0x80070057,
  /** No memory. */
  E_OUTOFMEMORY: 0x8007000e,
  /** Not implemented. */
  E_NOTIMPL: 0x80004001,
  /** No such interface. */
  E_NOINTERFACE: 0x80004002,
  /** Unspecified failure. */
  E_FAIL: 0x80004005,
  /** Catastrophic failure. */
  E_UNEXPECTED: 0x8000ffff,
  /** A media type that the pin refuses. */
  VFW_E_INVALIDMEDIATYPE: 0x80040200,
  /** The pin is connected already. */
  VFW_E_ALREADY_CONNECTED: 0x80040204,
  /** The pin is not connected. */
  VFW_E_NOT_CONNECTED: 0x80040209,
  /** The pin has no allocator. */
  VFW_E_NO_ALLOCATOR: 0x8004020a,
  /** A fatal error happened before. */
  VFW_E_RUNTIME_ERROR: 0x8004020b,
  /** No buffers were set (defined; millpond uses VFW_E_SIZENOTSET). */
  VFW_E_BUFFER_NOTSET: 0x8004020c,
  /** More data than the buffer holds. */
  VFW_E_BUFFER_OVERFLOW: 0x8004020d,
  /** An alignment that cannot be had. */
  VFW_E_BADALIGN: 0x8004020e,
  /** The allocator is committed. */
  VFW_E_ALREADY_COMMITTED: 0x8004020f,
  /** Samples are out. */
  VFW_E_BUFFERS_OUTSTANDING: 0x80040210,
  /** The allocator is not committed. */
  VFW_E_NOT_COMMITTED: 0x80040211,
  /** Count or size was not set. */
  VFW_E_SIZENOTSET: 0x80040212,
  /** The pin or filter is stopped. */
  VFW_E_WRONG_STATE: 0x80040227,
  /** A renderer dropped the sample. */
  VFW_E_SAMPLE_REJECTED: 0x8004022b,
  /** Nothing came in time. */
  VFW_E_TIMEOUT: 0x8004022e,
  /** No time is set. */
  VFW_E_SAMPLE_TIME_NOT_SET: 0x80040249,
  /** No media time is set. */
  VFW_E_MEDIA_TIME_NOT_SET: 0x80040251,
  /** The connection would close a circle of filters. */
  VFW_E_CIRCULAR_GRAPH: 0x80040231,
  /** The stream is read-only. */
  VFW_E_READ_ONLY: 0x80040262,
  /** The pins share no transport. */
  VFW_E_NO_TRANSPORT: 0x80040266,
} as const;

/** The name of a code. */
export type HResultName = keyof typeof HRESULTS;

/** The name of a failure code. */
export type FailureName = Exclude<HResultName, "S_OK" | "S_FALSE" | "VFW_S_NO_STOP_TIME">;

/** `GetBuffer`: the caller dropped the frame before; a hint. */
export const AM_GBF_PREVFRAMESKIPPED = 1;
/** `GetBuffer`: not a key frame; a hint. */
export const AM_GBF_NOTASYNCPOINT = 2;
/** `GetBuffer`: fail instead of waiting. */
export const AM_GBF_NOWAIT = 4;
/** `GetBuffer`: an unlocked surface; a hint. */
export const AM_GBF_NODDSURFACELOCK = 8;

/** Bits of `dwSampleFlags`. */
export const SampleFlags = {
  /** A sync point. */
  SPLICEPOINT: 0x01,
  /** Preroll. */
  PREROLL: 0x02,
  /** Data discontinuity. */
  DATADISCONTINUITY: 0x04,
  /** A media type is attached. */
  TYPECHANGED: 0x08,
  /** The start time is valid. */
  TIMEVALID: 0x10,
  /** Time discontinuity. */
  TIMEDISCONTINUITY: 0x40,
  /** Flush on pause. */
  FLUSH_ON_PAUSE: 0x80,
  /** The stop time is valid. */
  STOPVALID: 0x100,
  /** Reserved; setting it is refused. */
  ENDOFSTREAM: 0x200,
} as const;

/**
 * What a failing call throws: `hresult` says what the reference returns, `code` its name, or which misuse of millpond's
 * it was.
 */
export class DirectShowError extends DoorError {
  /** The code, unsigned 32-bit. */
  readonly hresult: number;

  /** As {@link DoorError}: the HRESULT in front. */
  constructor(hresult: number, code: ErrorCode | DoorCode, message: string, options?: ErrorOptions) {
    super(hresult, code, message, undefined, options);
    this.hresult = hresult;
  }
}

/** The error of a call that failed as the reference's does: branch on `code` or `hresult`. */
export class HResultError extends DirectShowError {
  /** The code's name. */
  declare readonly code: FailureName;

  /** Most callers only catch it. */
  constructor(code: FailureName, message: string, options?: ErrorOptions) {
    super(typeof code === "string" ? HRESULTS[code] : Number.NaN, code, message, options);
  }
}

/** What a field of options may be, beside absent. */
export type FieldType = "function" | "boolean" | "object";

/**
 * A copy of a caller's options: each field read once, known, and of its type; functions keep the caller's object as
 * `this`. Throws `E_POINTER` where there is no object or no function called `required`, `E_INVALIDARG`.
 */
export function readOptions<T extends object>(
  of: string,
  given: T,
  fields: Readonly<Record<keyof T, FieldType>>,
  required: keyof T & string,
  why: string,
): T {
  if (typeof given !== "object" || given === null)
    throw new HResultError("E_POINTER", `${of} needs ${required}(), ${why}`);
  checkFields(of, given, Object.keys(fields));
  const own: Partial<T> = {};
  for (const name of Object.keys(fields) as (keyof T & string)[]) {
    const value: unknown = given[name];
    if (value === undefined) continue;
    const type = fields[name];
    if (value === null || typeof value !== type) {
      const article = type === "object" ? "an" : "a";
      throw new HResultError("E_INVALIDARG", `${name} of ${of} must be ${article} ${type}, but it is ${show(value)}`);
    }
    own[name] = (typeof value === "function" ? value.bind(given) : value) as T[typeof name];
  }
  if (own[required] === undefined) throw new HResultError("E_POINTER", `${of} needs ${required}(), ${why}`);
  return own as T;
}

/**
 * Refuses a field that a struct or options do not have: a misspelled one would silently do nothing. Throws
 * `E_INVALIDARG`.
 */
export function checkFields(of: string, given: object, known: readonly string[]): void {
  const unknown = Object.keys(given).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const text = `${of} has no ${show(unknown)}; its fields are ${known.join(", ")}`;
  throw new HResultError("E_INVALIDARG", text);
}

/** The bit that says "failed" in an HRESULT. */
const FAILED = 0x80000000;

/**
 * What a callback that answers an HRESULT means: a success code as it is. Throws a failure code (also as the negative
 * number that it is in C) as the error that it names, `E_UNEXPECTED` for what is not an HRESULT.
 */
export function checkHresult(callback: string, result: unknown): number {
  if (typeof result !== "number" || (result >>> 0 !== result && (result | 0) !== result)) {
    throw new HResultError("E_UNEXPECTED", `${callback} must answer an HRESULT, but it is ${show(result)}`);
  }
  const hresult = result >>> 0;
  if (hresult < FAILED) return result;
  const name = Object.keys(HRESULTS).find((key) => HRESULTS[key as HResultName] === hresult) as FailureName | undefined;
  const text = `${callback} answered 0x${hresult.toString(16)}`;
  throw name === undefined ? new DirectShowError(hresult, "E_FAIL", text) : new HResultError(name, text);
}

/** What the core refuses, in this door's words: `call` was made with or on `subject`. */
export function translated(call: string, subject: string, cause: MillpondError): DirectShowError {
  const [hresult, why] = MISUSE[cause.code] ?? [HRESULTS.E_UNEXPECTED, messageOf(cause)];
  return new DirectShowError(hresult, cause.code, `${call}() refuses ${subject}: ${why}`, { cause });
}

/** The error of an object whose last reference was released. */
export function released(call: string, subject: string): DirectShowError {
  const code = call === "Release" ? "ERR_DOUBLE_RELEASE" : "ERR_USE_AFTER_RELEASE";
  const [hresult, why] = MISUSE[code]!;
  return new DirectShowError(hresult, code, `${call}() refuses ${subject}: ${why}`);
}

const MISUSE: Readonly<Record<string, readonly [number, string]>> = {
  ERR_DOUBLE_RELEASE: [
    HRESULTS.E_UNEXPECTED,
    "its last reference was released already; AddRef() once for each Release()",
  ],
  ERR_USE_AFTER_RELEASE: [HRESULTS.E_UNEXPECTED, "its last reference was released; AddRef() it to keep it"],
  ERR_FOREIGN_RELEASE: [HRESULTS.E_INVALIDARG, "it is of another allocator; Release() gives it back to its own"],
  ERR_NOT_WRITABLE: [HRESULTS.E_UNEXPECTED, "the buffer underneath is held elsewhere too, so it cannot change"],
  ERR_MAPPED: [HRESULTS.E_UNEXPECTED, "the buffer underneath is still mapped; end the mapping first"],
  ERR_DETACHED: [
    HRESULTS.E_UNEXPECTED,
    "its bytes were transferred away, and the allocator makes new ones; copy them before posting them",
  ],
  ERR_ALLOCATION_FAILED: [HRESULTS.E_OUTOFMEMORY, "the bytes could not be allocated"],
};
