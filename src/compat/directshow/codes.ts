/** DirectShow's numbers: HRESULTs, GetBuffer flags, sample flags. Facts of the interface, named as there. */

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
  /** The stream is read-only. */
  VFW_E_READ_ONLY: 0x80040262,
  /** The pins share no transport. */
  VFW_E_NO_TRANSPORT: 0x80040266,
} as const;

/** The name of a code. */
export type HResultName = keyof typeof HRESULTS;

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

/** The error of a call that failed: branch on `code` or `hresult`. */
export class HResultError extends Error {
  /** The code, unsigned 32-bit. */
  readonly hresult: number;
  /** The code's name. */
  readonly code: HResultName;

  /** Most callers only catch it. */
  constructor(code: HResultName, message: string, options?: ErrorOptions) {
    super(`${message} [${code}]`, options);
    this.name = "HResultError";
    this.code = code;
    this.hresult = HRESULTS[code];
  }
}
