/**
 * When a stream of Node is over, whatever class it is. One place for all that reads or writes one, because the classes
 * do not agree on how they say it:
 *
 * | stream                                                   | what it says                                         |
 * | -------------------------------------------------------- | ---------------------------------------------------- |
 * | most                                                     | "close", behind "error" where one is the reason      |
 * | with `emitClose: false`, or of readable-stream@2          | nothing                                              |
 * | HTTP/2, reset by the peer without an error               | "aborted"; its pending writes are never called back  |
 * | HTTP/2, so reset behind its `end()`                      | nothing: see {@link onHttp2Close}                    |
 * | HTTP/2, reset while it is read                           | "end", as at its proper end                          |
 * | the response of `http2` for compatibility                | "close", and has neither `destroyed` nor `closed`    |
 * | the response to a pipelined request, without a socket yet | nothing in Node 20; the request's socket "close"     |
 * | whose `_destroy()` never calls back                      | nothing: it is over some turns after our destroy()   |
 *
 * Life: a watch listens until {@link WriteWatch.stop}, or until the stream has closed; then nothing listens any more.
 * Only what receives its errors stays until "close", as with Node's `finished()`: a stream may fail twice, or behind
 * its end, and an error without a receiver ends the process.
 */
import { finished, type Readable, type Writable } from "node:stream";

/**
 * Turns of the event loop that a stream which was destroyed or has failed has to close by itself. A pipe and a socket
 * take 1, TLS and HTTP/2 up to 3; a file waits for a thread and may take any number.
 */
const CLOSE_TURNS = 8;

type Listener = (...args: unknown[]) => void;

/** What is used of any emitter. */
interface Emitter {
  on(event: string, listener: Listener): unknown;
  off(event: string, listener: Listener): unknown;
}

/** What is used of a stream of HTTP/2. */
interface Http2 extends Emitter {
  readonly aborted: boolean;
  readonly closed: boolean;
  readonly destroyed: boolean;
  readonly rstCode: number;
  /** As nghttp2 has it; empty once it is destroyed. */
  readonly state: { readonly state?: number; readonly localClose?: number };
  readonly writableFinished: boolean;
}

/** `NGHTTP2_STREAM_STATE_IDLE`: nghttp2 knows it no more; and `NGHTTP2_STREAM_STATE_CLOSED`. */
const GONE_STATES: readonly (number | undefined)[] = [1, 7];

/** The stream of HTTP/2 that this is, or that a request or response of its compatibility layer stands on. */
function http2Of(stream: object): Http2 | undefined {
  const { stream: inner = stream } = stream as { stream?: unknown };
  return typeof inner === "object" && inner !== null && "rstCode" in inner && "on" in inner
    ? (inner as Http2)
    : undefined;
}

/** Whether a stream is one of HTTP/2, or a request or response of it. */
export function isHttp2(stream: object): boolean {
  return http2Of(stream) !== undefined;
}

/** Whether a Writable was destroyed; the response of HTTP/2's compatibility layer does not say so itself. */
export function isDestroyed(writable: Writable): boolean {
  return writable.destroyed === true || http2Of(writable)?.destroyed === true;
}

/** The connection of a request, for a response that has no socket of its own yet. */
function waitingFor(writable: object): Emitter | undefined {
  const { socket, req } = writable as { socket?: unknown; req?: { socket?: unknown } };
  if (socket !== null || typeof req !== "object" || req === null) return undefined;
  const connection = req.socket as Partial<Emitter> | null | undefined;
  return typeof connection?.on === "function" && typeof connection.off === "function"
    ? (connection as Emitter)
    : undefined;
}

/** Whether a Writable takes nothing any more. */
export function isWriteOver(writable: Writable): boolean {
  if (writable.destroyed || writable.writableEnded || writable.closed) return true;
  const http2 = http2Of(writable);
  if (http2 !== undefined) return http2.destroyed || http2.closed;
  const connection = waitingFor(writable) as { readonly destroyed?: boolean } | undefined;
  return connection?.destroyed === true;
}

/** What a {@link watchWrites} tells. */
interface WriteListener {
  /** All that was written is out: "finish". */
  onFinish(): void;
  /** It has failed, and takes nothing any more. */
  onError(error: unknown): void;
  /** It is over, and what it has not called back for by now need not be waited for. Once, and the last call. */
  onClose(): void;
}

/** A watch on the writing side of a stream. */
export interface WriteWatch {
  /** It was destroyed: `onClose` comes within {@link CLOSE_TURNS} turns, whether the stream says so or not. */
  expectClose(): void;
  /** Ends the watch. */
  stop(): void;
}

/** Tells how the writing side of a stream goes, from now on. */
export function watchWrites(writable: Writable, listener: WriteListener): WriteWatch {
  const undo: (() => void)[] = [];
  let isOver = false;
  let isExpected = false;
  const on = (emitter: Emitter, event: string, call: Listener): void => {
    emitter.on(event, call);
    undo.push(() => void emitter.off(event, call));
  };
  const stop = (): void => {
    if (isOver) return;
    isOver = true;
    ignoreErrors(writable);
    for (const each of undo.splice(0)) each();
  };
  const close = (): void => {
    if (isOver) return;
    stop();
    listener.onClose();
  };
  const expectClose = (): void => {
    if (isExpected) return;
    isExpected = true;
    afterTurns(CLOSE_TURNS, close);
  };
  const http2 = http2Of(writable);
  // The response of the compatibility layer says it at the close of its stream, for which the client has to end, too.
  on(http2 ?? (writable as Emitter), "finish", () => listener.onFinish());
  on(writable, "error", (error: unknown) => {
    listener.onError(error);
    expectClose();
  });
  on(writable, "close", close);
  if (http2 !== undefined) {
    // Only while its writing side is open: what is pending is never sent, and only some resets destroy it.
    on(http2, "aborted", close);
    // The compatibility layer does not hand on each.
    if (http2 !== (writable as object)) on(http2, "close", close);
    onHttp2Close(http2, undo, () => {
      // One whose end was sent calls back when the socket has taken it; one that is destroyed says "close".
      if (http2.destroyed || http2.state.localClose === 1) return;
      // A close() of its owner waits for what is written. nghttp2 has the stream then; one that was reset is gone.
      setImmediate(() => {
        if (!http2.destroyed && !http2.writableFinished && GONE_STATES.includes(http2.state.state)) close();
      });
    });
  }
  const connection = waitingFor(writable);
  if (connection !== undefined) undo.push(onConnectionClose(connection, close));
  undo.push(onSilentClose(writable, expectClose, close));
  return { expectClose, stop };
}

/** Receives what a stream that is given up still fails with, until it has closed; nothing where it has no events. */
export function ignoreErrors(stream: Writable | Readable): void {
  if (typeof stream.on !== "function" || typeof stream.off !== "function") return;
  if (hasClosed(stream) || ignored.has(stream)) return;
  ignored.add(stream);
  const ignore = (): void => {};
  const onClosed = (): void => {
    ignored.delete(stream);
    stream.off("error", ignore);
    stream.off("close", onClosed);
  };
  stream.on("error", ignore);
  stream.on("close", onClosed);
}

/**
 * Whether a stream has said "close". Its `closed` is true some ticks before, and an error that it was destroyed with
 * comes in between.
 */
function hasClosed(stream: object): boolean {
  const {
    _writableState: writable,
    _readableState: readable,
    closed,
  } = stream as {
    _writableState?: StreamState | null;
    _readableState?: StreamState | null;
    closed?: boolean;
  };
  const told = writable?.closeEmitted ?? readable?.closeEmitted;
  return told ?? closed === true;
}

/**
 * What a stream that is over has failed with; undefined where it has not, or does not say. Its errors are received from
 * now on: who is refused a stream because it was destroyed is the one who hears why, and nobody else listens.
 */
export function takeError(stream: Readable | Writable): unknown {
  ignoreErrors(stream);
  return stream.errored ?? (http2Of(stream) as { readonly errored?: unknown } | undefined)?.errored ?? undefined;
}

/** Streams with a listener of {@link ignoreErrors}. */
const ignored: WeakSet<object> = new WeakSet();

/** Calls behind so many turns of the event loop. */
function afterTurns(turns: number, call: () => void): void {
  if (turns === 0) call();
  else setImmediate(() => afterTurns(turns - 1, call));
}

/** Who waits for a connection to close. One listener for each, because a client may pipeline many requests. */
const waiting: WeakMap<object, Set<() => void>> = new WeakMap();

function onConnectionClose(connection: Emitter, call: () => void): () => void {
  let calls = waiting.get(connection);
  if (calls === undefined) {
    const all: Set<() => void> = new Set();
    calls = all;
    waiting.set(connection, all);
    connection.on("close", () => {
      for (const each of [...all]) each();
    });
  }
  const all = calls;
  all.add(call);
  return () => void all.delete(call);
}

interface StreamState {
  readonly emitClose?: boolean;
  readonly closeEmitted?: boolean;
}

/**
 * Sees a stream close that does not say so (`emitClose` false, or unknown to readable-stream@2): its `_destroy()`,
 * which Node calls once, is wrapped until the watch ends.
 */
function onSilentClose(stream: object, onDestroy: () => void, onClose: () => void): () => void {
  const own = stream as {
    _writableState?: StreamState;
    _readableState?: StreamState;
    _destroy?: (error: Error | null, callback: (error?: Error | null) => void) => void;
  };
  const states = [own._writableState, own._readableState].filter((state) => state !== undefined && state !== null);
  const inner = own._destroy;
  if (states.length === 0 || states.some((state) => state.emitClose === true) || typeof inner !== "function") {
    return () => {};
  }
  const before = Object.getOwnPropertyDescriptor(own, "_destroy");
  const wrapped: typeof inner = (error, callback) => {
    onDestroy();
    inner.call(stream, error, (failure) => {
      callback(failure);
      // Behind the callbacks of what was queued, which Node calls in a tick that it has asked for by now.
      process.nextTick(onClose);
    });
  };
  // Not by assignment: its class may have an accessor. One that cannot have it goes without.
  if (!Reflect.defineProperty(own, "_destroy", { value: wrapped, configurable: true, writable: true })) return () => {};
  return () => {
    if (own._destroy !== wrapped) return;
    if (before === undefined) delete own._destroy;
    else Object.defineProperty(own, "_destroy", before);
  };
}

/**
 * Calls once when nothing more comes of a Readable: with undefined at its proper end, else with an error. A stream of
 * HTTP/2 that was cut off is never taken for one that has ended; `isCut` says that Node would. Returns what ends the
 * watch.
 */
export function onReadEnd(readable: Readable, call: (error: Error | undefined, isCut: boolean) => void): () => void {
  const undo: (() => void)[] = [];
  let isOver = false;
  const stop = (): void => {
    if (isOver) return;
    isOver = true;
    ignoreErrors(readable);
    for (const each of undo.splice(0)) each();
  };
  const end = (error: Error | undefined): void => {
    if (isOver) return;
    const isCut = error === undefined && (wasCut() || isLegacyCut);
    stop();
    call(isCut ? cutError(http2Of(readable)) : error, isCut);
  };
  const wasCut = watchHttp2(readable, undo);
  // A stream of readable-stream@2 and 3 that is destroyed "ends"; one of Node does not.
  let isLegacyCut = false;
  if (!("readableEnded" in readable)) {
    const onEnd = (): void => {
      isLegacyCut = (readable as Readable).destroyed === true;
    };
    (readable as Readable).on("end", onEnd);
    undo.push(() => void (readable as Readable).off("end", onEnd));
  }
  undo.push(finished(readable, { writable: false }, (error) => end(error ?? undefined)));
  const silent = (): void => {
    if (hasEnded(readable)) end(undefined);
    else end(readable.errored ?? cutError(undefined));
  };
  undo.push(onSilentClose(readable, () => afterTurns(CLOSE_TURNS, silent), silent));
  return stop;
}

/**
 * Whether a stream of HTTP/2 was reset with an error, or closed before its end had come. Node ends it then as if it
 * had. (A reset without an error behind the end is in order: so a server stops an upload that it has answered.)
 */
function watchHttp2(readable: Readable, undo: (() => void)[]): () => boolean {
  const http2 = http2Of(readable);
  if (http2 === undefined) return () => false;
  const hasEnded = (): boolean => (http2 as unknown as Partial<ReadableState>)._readableState?.ended === true;
  // Whether the end had come before a close that is over already cannot be told. A server that has answered without
  // reading closes its stream, and has lost what had not come; an answer is mostly closed when it is first seen.
  let isCut = http2.closed && (http2.aborted || "respond" in http2);
  const onClosing = (): void => {
    isCut ||= !hasEnded();
  };
  onHttp2Close(http2, undo, onClosing);
  http2.on("aborted", onClosing);
  undo.push(() => void http2.off("aborted", onClosing));
  return () => isCut || http2.rstCode !== 0;
}

/**
 * Calls when a stream of HTTP/2 closes, in the turn in which it does, before it ends its readable side. Its events tell
 * of a close only while its writing side is open, so the moment is known by what Node does at each: it removes the
 * listeners of "timeout".
 */
function onHttp2Close(http2: Http2, undo: (() => void)[], call: () => void): void {
  const onTimeout = (): void => {};
  const onRemove = (event: unknown, listener: unknown): void => {
    if (event === "timeout" && listener === onTimeout && !isStopping && http2.closed) call();
  };
  let isStopping = false;
  // Twice, because Node 20 does not tell when the only listener of an event is removed.
  http2.on("timeout", onTimeout);
  http2.on("timeout", onTimeout);
  http2.on("removeListener", onRemove);
  undo.push(() => {
    isStopping = true;
    http2.off("timeout", onTimeout);
    http2.off("timeout", onTimeout);
    http2.off("removeListener", onRemove);
  });
}

interface ReadableState {
  readonly _readableState: { readonly ended?: boolean; readonly endEmitted?: boolean };
}

/** Whether a Readable was read to its end; older classes say so only in their state. */
export function hasEnded(readable: Readable): boolean {
  const { readableEnded, _readableState: state } = readable as Readable & Partial<ReadableState>;
  return readableEnded ?? state?.endEmitted === true;
}

/**
 * Whether a stream of HTTP/2 has ended in order without a byte, which nobody need have read: Node ends one by itself
 * whose empty body came behind its headers. False once it is closed, because what ended it cannot be told then.
 */
export function hasEndedEmpty(readable: Readable): boolean {
  const http2 = http2Of(readable);
  if (http2 !== (readable as object) || !hasEnded(readable) || readable.readableDidRead !== false) return false;
  return !http2.closed && !http2.destroyed && !http2.aborted && http2.rstCode === 0;
}

/** As Node says it of HTTP/1. */
function cutError(http2: Http2 | undefined): Error {
  const how = http2 === undefined ? "it was destroyed" : `its stream of HTTP/2 was reset with code ${http2.rstCode}`;
  return Object.assign(new Error(`the stream was cut off before its end: ${how}`), {
    code: "ERR_STREAM_PREMATURE_CLOSE",
  });
}
