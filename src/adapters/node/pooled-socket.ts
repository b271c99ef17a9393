/**
 * PooledSocket: a connection whose bytes the system reads straight into slots of a BufferPool, and writes straight out
 * of leases. It stands on `net.connect({ onread })`; connections that a server accepts, and TLS, have no such way in
 * Node.
 *
 * ```
 *   kernel --> [ front ] --copy--> [ slot ] --full, or nothing more has come--> waits for the loop --> the loop
 *      |        4 KiB               ^    ^                                                               |
 *      +---- the rest, read(2) -----+    +------------------- the pool <------------------ release() ---+
 * ```
 * The front. The event loop keeps the address of `onread`'s buffer between two reads. Were that a slot, a pool closed
 * by force, or a stale view of it that is transferred to a worker, would have the kernel write into memory of somebody
 * else. So the first 4 KiB of what has come lie in a block of the socket's own, and are copied; when there may be more,
 * the rest is read in the same moment, by calls that end before anything else runs, into slots that were looked at in
 * that moment. A connection that waits for bytes has no slot at all. Where the descriptor cannot be had (Windows), the
 * front has 64 KiB, and all bytes are copied once.
 *
 * Life-cycle: connecting, open, ended (by the other side), closed; `destroy()`, the signal, an error and leaving the
 * loop close it from anywhere. Reading begins with the first `read()`.
 *
 * | reading | goes on                                                              |
 * | ------- | -------------------------------------------------------------------- |
 * | idle    | when the loop asks: it has not yet, or `ahead` leases wait for it    |
 * | waiting | when the pool has a free slot; at most the front waits for it        |
 * | on      | until one of the others; meanwhile the kernel stops the sender       |
 *
 * Invariants: bytes come in order, each once; at most `ahead` leases wait for the loop. A lease that is written is
 * mapped until its bytes are out, so that a release meanwhile is refused (`ERR_MAPPED`) and a pool that is closed by
 * force keeps its bytes. When the socket is destroyed it holds no lease but those that are being written; when `closed`
 * has settled, none but those that wait to be read.
 *
 * Complexity: a lease is one or two system calls and one small object. The view of a slot is made once for each slot.
 */
import type { LookupAddress } from "node:dns";
import { readSync } from "node:fs";
import { isIP, type LookupFunction, type NetConnectOpts, connect as netConnect, type Socket } from "node:net";
import { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { giveBack, releaseOrPass } from "../../media/buffer/release.ts";
import type { Mapping } from "../../memory/memory.ts";
import { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import { abortOf, onAbort } from "../../util/abortable.ts";
import { disposeWith } from "../../util/dispose.ts";
import { type ErrorCode, isMillpondError, MillpondError } from "../../util/errors.ts";
import {
  abortSignal,
  badValue,
  callback,
  instance,
  MAX_TIMER,
  milliseconds,
  oneOf,
  outOfRange,
  readOptions,
  wholeNumber,
  word,
  wrongType,
  yesOrNo,
} from "../../util/validate.ts";
import { takeLease, untakeLease } from "./taken-leases.ts";

/** How a {@link PooledSocket} hands out what arrives. */
export interface PooledSocketOptions {
  /**
   * When a slot is handed out. "any" (default): when it is full or the kernel has nothing more at the moment, so that a
   * message is not kept waiting for the next. "full": only when it is full, and the last one at the end; for bulk.
   */
  fill?: "any" | "full";
  /** Leases that may wait for the loop before reading stops: 1 to 64, default 2. */
  ahead?: number;
  /** Destroys the connection; what waits rejects with its reason. */
  signal?: AbortSignal;
}

/** Where to connect to, in the words of `net.connect`. Either `port` or `path` is there. */
export interface SocketAddress {
  /** A TCP port, 0 to 65535. */
  port?: number;
  /** A name or an address; default "localhost". */
  host?: string;
  /** The path of a Unix socket, or the name of a pipe of Windows, in the place of port and host. */
  path?: string;
  /** The address that this end has. */
  localAddress?: string;
  /** The port that this end has. */
  localPort?: number;
  /** Which addresses of the host are tried: 4, 6, or 0 for both (default). */
  family?: 0 | 4 | 6;
  /**
   * Finds the addresses of a host; default: the system does. Its first answer counts: an error, an address, or a list
   * of `{ address, family }`. What is no address is `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE`, also an empty
   * list.
   */
  lookup?: LookupFunction;
  /** Send small writes at once; default false. */
  noDelay?: boolean;
  /** Ask the other side now and then whether it is still there; default false. */
  keepAlive?: boolean;
  /** Milliseconds of silence before the first such question. */
  keepAliveInitialDelay?: number;
  /** Try addresses of both families in turn; default true. */
  autoSelectFamily?: boolean;
  /** Milliseconds for each of them. */
  autoSelectFamilyAttemptTimeout?: number;
  /** Keep the sending side open when the other side has ended; default false. */
  allowHalfOpen?: boolean;
  /**
   * Milliseconds without a byte in or out, after which the connection ends with `ERR_TIMED_OUT`. Default: `Infinity`.
   */
  timeout?: number;
}

const OPTION_KEYS = ["fill", "ahead", "signal"] as const;

const ADDRESS_KEYS: readonly (keyof SocketAddress)[] = [
  "port",
  "host",
  "path",
  "localAddress",
  "localPort",
  "family",
  "lookup",
  "noDelay",
  "keepAlive",
  "keepAliveInitialDelay",
  "autoSelectFamily",
  "autoSelectFamilyAttemptTimeout",
  "allowHalfOpen",
  "timeout",
];

/** What only TLS takes. */
const TLS_KEYS = [
  "tls",
  "ca",
  "cert",
  "key",
  "pfx",
  "servername",
  "rejectUnauthorized",
  "secureContext",
  "ALPNProtocols",
];

const DEFAULT_AHEAD = 2;
const MAX_AHEAD = 64;

/** 4 KiB: to copy it costs less than the system call that brought it; most messages are smaller. */
const FRONT_BYTES = 4096;

/** Where all bytes are copied: as much as one read brings. */
const WHOLE_FRONT_BYTES = 1 << 16;

/**
 * Connects, and reads into slots of `pool`. Returns at once; `opened` resolves when the connection is there.
 *
 * While nothing arrives, a connection holds no slot. While bytes arrive, it holds the slot that is being filled and at
 * most `how.ahead` leases that wait for the loop. With no free slot reading stops until one comes back, and TCP stops
 * the sender. Give each connection a pool of its own where none may wait for another one's loop.
 *
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`, and `ERR_UNSUPPORTED` for options of TLS.
 *
 * @param options where to. The time in which the loop or the pool was what the connection waited for does not count for
 *   `timeout`
 * @param pool where arriving bytes go; active, with buffers of one memory
 * @param how how bytes are handed out, and a signal
 */
export function connectSocket(options: SocketAddress, pool: BufferPool, how?: PooledSocketOptions): PooledSocket {
  const address = checkAddress(options);
  instance("pool", "a BufferPool", BufferPool, pool);
  const given = readOptions<PooledSocketOptions>("how", how, OPTION_KEYS);
  const { fill = "any", ahead = DEFAULT_AHEAD } = given;
  oneOf("how.fill", fill, ["any", "full"]);
  wholeNumber("how.ahead", ahead, 1, MAX_AHEAD);
  const signal = abortSignal("how.signal", given.signal);
  return new PooledSocket(address, pool, fill, ahead, signal);
}

/** What `net.connect` is to get: a copy, checked, and only what was given. */
function checkAddress(options: SocketAddress): SocketAddress {
  if (options === undefined) throw wrongType("options", "an object with port or path", options);
  if (typeof options === "object" && options !== null) {
    const tls = TLS_KEYS.find((key) => key in options);
    if (tls !== undefined) {
      throw new MillpondError(
        "ERR_UNSUPPORTED",
        `options.${tls} is for TLS, whose bytes Node decrypts into memory of its own: there is no way to have them in a slot; ` +
          "use node:tls, and collect() or frames() over its stream",
      );
    }
  }
  const given = readOptions<SocketAddress>("options", options, ADDRESS_KEYS);
  const { port, path, family, timeout } = given;
  if (path !== undefined) {
    if (word("options.path", path) === "") throw badValue("options.path", "a path", path);
  } else if (port === undefined) {
    throw wrongType("options.port", "a port, or options.path a path", port);
  }
  for (const key of ["port", "localPort"] as const) {
    if (given[key] !== undefined) wholeNumber(`options.${key}`, given[key], 0, 65_535);
  }
  for (const key of ["host", "localAddress"] as const) {
    if (given[key] !== undefined) word(`options.${key}`, given[key]);
  }
  for (const key of ["noDelay", "keepAlive", "autoSelectFamily", "allowHalfOpen"] as const) {
    if (given[key] !== undefined) yesOrNo(`options.${key}`, given[key]);
  }
  for (const key of ["keepAliveInitialDelay", "autoSelectFamilyAttemptTimeout"] as const) {
    if (given[key] !== undefined) wholeNumber(`options.${key}`, given[key], 0, MAX_TIMER);
  }
  const lookup = callback("options.lookup", given.lookup);
  if (lookup !== undefined) given.lookup = checkedLookup(lookup);
  if (family !== undefined && wholeNumber("options.family", family) !== 0 && family !== 4 && family !== 6) {
    throw badValue("options.family", "0, 4 or 6", family);
  }
  if (timeout !== undefined && milliseconds("options.timeout", timeout) > MAX_TIMER) {
    if (timeout !== Infinity) throw outOfRange("options.timeout", `at most ${MAX_TIMER}, or Infinity`, timeout);
    delete given.timeout;
  }
  // Node reads some of them by whether they are there.
  for (const key of ADDRESS_KEYS) if (given[key] === undefined) delete given[key];
  return given;
}

/** An address as Node takes it from a lookup. */
interface FoundAddress extends LookupAddress {
  readonly family: 4 | 6;
}

/**
 * A lookup whose first answer counts, and reaches Node only as what Node expects: an error, or addresses that were read
 * once and are addresses. With anything else Node throws in whatever called back, or connects twice.
 */
function checkedLookup(lookup: LookupFunction): LookupFunction {
  return (host, options, answer) => {
    let isAnswered = false;
    const onAnswer = (given: unknown, found?: unknown, family?: unknown): void => {
      if (isAnswered) return;
      isAnswered = true;
      let error = given;
      let addresses: FoundAddress[] = [];
      try {
        if (!error) addresses = addressesIn(found, family);
        // Node looks at it, too.
        else void (error as Error).stack;
      } catch (cause) {
        error = isMillpondError(cause) ? cause : notFoundError(found, cause);
      }
      const first = addresses[0];
      if (first === undefined) answer(error as Error, "");
      else if (options.all === true) answer(null, addresses);
      else answer(null, first.address, first.family);
    };
    try {
      lookup(host, options, onAnswer);
    } catch (error) {
      onAnswer(error || notFoundError(undefined, error));
    }
  };
}

/**
 * The addresses of an answer: at least one. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, what getters throw.
 */
function addressesIn(found: unknown, family: unknown): FoundAddress[] {
  if (typeof found === "string") return [addressOf(found, family)];
  if (!Array.isArray(found)) throw notFoundError(found);
  const addresses = Array.from(found, (each: unknown) => {
    if (typeof each !== "object" || each === null) throw notFoundError(each);
    const one = each as { readonly address?: unknown; readonly family?: unknown };
    return addressOf(one.address, one.family);
  });
  if (addresses.length > 0) return addresses;
  throw badValue(LOOKUP_ANSWER, "an address or a list of them, or an error where there is none", found);
}

function addressOf(address: unknown, family: unknown): FoundAddress {
  if (typeof address !== "string") throw wrongType("an address that options.lookup() found", "a string", address);
  const version = isIP(address);
  if (version === 0) throw badValue("an address that options.lookup() found", "an IPv4 or IPv6 address", address);
  if (family !== undefined && family !== null && family !== 0 && family !== version) {
    throw badValue(`the family that options.lookup() found for ${address}`, `${version}, or 0`, family);
  }
  return { address, family: version as 4 | 6 };
}

const LOOKUP_ANSWER = "what options.lookup() found";

function notFoundError(found: unknown, cause?: unknown): MillpondError {
  const error = wrongType(LOOKUP_ANSWER, "an address or a list of them", found);
  if (cause !== undefined) error.cause = cause;
  return error;
}

/** A slot that is being filled. */
class Target {
  readonly buffer: MediaBuffer;
  readonly size: number;
  filled = 0;

  constructor(buffer: MediaBuffer) {
    this.buffer = buffer;
    this.size = buffer.size;
  }

  get isFull(): boolean {
    return this.filled === this.size;
  }

  /** All bytes of the slot, looked at now. Throws `ERR_POOL_DEAD`, `ERR_DETACHED`, `ERR_NOT_MAPPABLE`. */
  get bytes(): Uint8Array {
    return this.buffer.bytes;
  }

  /** Copies as much as there is room for; returns what is left. */
  fill(bytes: Uint8Array): Uint8Array {
    const count = Math.min(bytes.length, this.size - this.filled);
    this.bytes.set(count === bytes.length ? bytes : bytes.subarray(0, count), this.filled);
    this.filled += count;
    return bytes.subarray(count);
  }

  /** The lease, as large as what has arrived. Throws `ERR_POOL_DEAD`. */
  finish(): MediaBuffer {
    const { buffer, filled } = this;
    if (filled < this.size) buffer.resize(0, filled);
    return buffer;
  }

  drop(): void {
    giveBack(this.buffer);
  }
}

interface Reader {
  resolve(lease: MediaBuffer | undefined): void;
  reject(error: unknown): void;
}

/**
 * A connection whose bytes the system reads straight into slots of a BufferPool, and writes straight out of leases.
 * {@link connectSocket} makes it. Iterate over it, or call {@link PooledSocket.read}, for what arrives; reading begins
 * with the first of these. While nothing arrives it holds no slot; at most `ahead` leases wait for the loop. A lease
 * that is written is mapped until its bytes are out. It is closed by the other side's end, `destroy()`, the signal, an
 * error, and leaving the loop.
 */
export class PooledSocket implements AsyncIterable<MediaBuffer> {
  /** Resolves when the connection is there; rejects with what prevents it. Need not be looked at. */
  readonly opened: Promise<void>;
  /**
   * Settles when the descriptor is closed, every write has ended, and the socket holds no lease but those that wait to
   * be read. Rejects when that was because of an error, with it. Need not be looked at.
   */
  readonly closed: Promise<void>;
  /** Destroys it at the end of a block, where the platform has `Symbol.dispose`. */
  declare [Symbol.dispose]: () => void;
  readonly #socket: Socket;
  readonly #pool: BufferPool;
  readonly #isEager: boolean;
  readonly #ahead: number;
  /** Leases that wait for the loop, in order. */
  readonly #ready: MediaBuffer[] = [];
  /** Calls of read() that wait for a lease, in order. While there is one, `#ready` is empty. */
  readonly #readers: Reader[] = [];
  /** What is being filled; undefined while nothing has come. */
  #target: Target | undefined;
  /** What the event loop reads into. */
  #front: Uint8Array;
  /** What came in the front and is in no slot yet, in order. */
  #held: Uint8Array[] = [];
  #state: "idle" | "waiting" | "on" = "idle";
  /** The other side has ended: no byte comes any more. */
  #isEnded = false;
  /** Destroyed, or failed; what waited was refused. */
  #isOver = false;
  #isClosed = false;
  /** A read() has told the end, or it is the caller's own: the signal changes nothing of it any more. */
  #isTold = false;
  readonly #signal: AbortSignal | undefined;
  #failure: { readonly error: unknown } | undefined;
  #ending: Promise<void> | undefined;
  /** Writes that have not ended. */
  #writes = 0;
  #settleClosed: () => void = () => {};
  readonly #allowHalfOpen: boolean;
  /** Milliseconds without a byte that end the connection; 0: none do. */
  readonly #timeout: number;
  #bytesRead = 0;
  /** Ends the wait for a slot. */
  readonly #stop: AbortController = new AbortController();
  readonly #undo: (() => void)[] = [];

  /** @internal Made by {@link connectSocket}. */
  constructor(
    address: SocketAddress,
    pool: BufferPool,
    fill: "any" | "full",
    ahead: number,
    signal: AbortSignal | undefined,
  ) {
    this.#pool = pool;
    this.#isEager = fill === "any";
    this.#signal = signal;
    this.#ahead = ahead;
    this.#allowHalfOpen = address.allowHalfOpen === true;
    this.#timeout = address.timeout ?? 0;
    this.#front = new Uint8Array(process.platform === "win32" ? WHOLE_FRONT_BYTES : FRONT_BYTES);
    const socket = openSocket({
      ...address,
      onread: {
        buffer: () => this.#front,
        callback: (count: number, bytes: Uint8Array) => this.#onRead(count, bytes),
      },
    } as NetConnectOpts);
    this.#socket = socket;
    // Or it would read before anybody asks.
    socket.pause();
    this.opened = new Promise((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("close", () => reject(this.#refusal("open")));
    });
    this.closed = new Promise((resolve, reject) => {
      this.#settleClosed = () => (this.#failure === undefined ? resolve() : reject(this.#failure.error));
    });
    // Who does not look at them hears of the error from read() and write().
    this.opened.catch(() => {});
    this.closed.catch(() => {});
    socket.on("error", (error) => this.#shut({ error }));
    socket.on("timeout", () => this.#onTimeout());
    socket.once("end", () => this.#onEnd());
    socket.once("close", () => this.#onClose());
    // A pool that is closed by force tells by this alone.
    this.#undo.push(pool.on("drained", () => this.#onPoolDrained()));
    try {
      this.#undo.push(onAbort(signal, (reason) => this.#shut({ error: reason })));
    } catch (error) {
      this.destroy();
      throw error;
    }
  }

  /** Bytes that have arrived. */
  get bytesRead(): number {
    return this.#bytesRead;
  }

  /** Bytes that were given to the socket to send. */
  get bytesWritten(): number {
    return this.#socket.bytesWritten ?? 0;
  }

  /**
   * The next lease, as large as what it holds; undefined when the other side has ended. The caller releases it. Several
   * calls are served in order. Rejects with the signal's reason (also where the connection has ended before the abort,
   * and no call has told it), the connection's error (`ECONNRESET`), `ERR_TIMED_OUT`, `ERR_ENDED` after {@link
   * destroy}, and what `pool.acquire` rejects with, which destroys the connection.
   */
  read(): Promise<MediaBuffer | undefined> {
    const aborted = this.#isTold ? undefined : abortOf(this.#signal);
    if (aborted !== undefined) {
      this.#shut(aborted);
      this.#isTold = true;
      return Promise.reject(aborted.error);
    }
    // What has come while nobody asked is handed out as it is.
    if (this.#ready.length === 0 && this.#isEager && (this.#target?.filled ?? 0) > 0) this.#handOut();
    const lease = this.#ready.shift();
    if (lease !== undefined) {
      this.#start();
      this.#stopListening();
      return Promise.resolve(lease);
    }
    if (this.#isOver) {
      this.#isTold = true;
      return Promise.reject(this.#refusal("read"));
    }
    // What came in the front may still wait for a slot.
    if (this.#isEnded && this.#held.length === 0) {
      this.#isTold = true;
      return Promise.resolve(undefined);
    }
    return new Promise((resolve, reject) => {
      this.#readers.push({ resolve, reject });
      this.#start();
    });
  }

  /** Reads to the end, lease by lease, as {@link read}. Leaving the loop early destroys the connection. */
  [Symbol.asyncIterator](): AsyncIterableIterator<MediaBuffer, undefined> {
    const iterator: AsyncIterableIterator<MediaBuffer, undefined> = {
      next: async () => {
        const value = await this.read();
        return value === undefined ? { done: true, value } : { done: false, value };
      },
      return: async () => {
        this.destroy();
        // The loop has ended for a reason of its own.
        await this.closed.catch(() => {});
        return { done: true, value: undefined };
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  /**
   * Sends the bytes of a lease, of any pool, without a copy. The lease is the socket's from now on: it is released when
   * its bytes are out, or cannot get out any more, and the promise settles after that. Until then it is mapped, and a
   * `release()` of yours is refused (`ERR_MAPPED`). Not awaited, writes are sent in order.
   *
   * Rejects with the connection's error, the signal's reason, `ERR_ENDED` after {@link end} or {@link destroy}, and
   * after the other side's end unless `allowHalfOpen` is set. The lease stays yours only when it is none
   * (`ERR_INVALID_ARG_TYPE`), is over (`ERR_USE_AFTER_RELEASE`), or has no bytes that can be reached
   * (`ERR_NOT_MAPPABLE`, `ERR_MAPPED`, `ERR_DETACHED`), and that of an earlier write when it is being written already
   * (`ERR_MAPPED`).
   */
  async write(lease: MediaBuffer): Promise<void> {
    instance("lease", "a MediaBuffer", MediaBuffer, lease);
    lease.live("write");
    takeLease("lease", lease);
    let mappings: Mapping[];
    try {
      mappings = mapAll(lease);
    } catch (error) {
      untakeLease(lease);
      throw error;
    }
    this.#writes++;
    try {
      if (!this.#canSend) throw this.#refusal("write to");
      await this.#send(mappings);
    } finally {
      for (const mapping of mappings) mapping.unmap();
      untakeLease(lease);
      this.#writes--;
      try {
        // A pool that was closed by force has it already.
        if (lease.isLive) releaseOrPass(lease);
      } finally {
        this.#settle();
      }
    }
  }

  /** False from the other side's end on, unless half-open is allowed: Node ends this side then, some turns later. */
  get #canSend(): boolean {
    if (this.#isOver || this.#isClosed || this.#ending !== undefined) return false;
    return this.#allowHalfOpen || !this.#isEnded;
  }

  #send(mappings: readonly Mapping[]): Promise<void> {
    const socket = this.#socket;
    return new Promise((resolve, reject) => {
      const done = this.#onDone(resolve, reject, "write to");
      if (mappings.length === 0) {
        done();
        return;
      }
      // Several memories leave in one system call.
      if (mappings.length > 1) socket.cork();
      mappings.forEach((mapping, i) => {
        if (i < mappings.length - 1) socket.write(mapping.bytes);
        else socket.write(mapping.bytes, done);
      });
      if (mappings.length > 1) socket.uncork();
    });
  }

  /**
   * Ends the sending side when everything is written; resolves then, also where the other side's end has ended it
   * before. Reading goes on until the other side has ended: read to the end, or {@link destroy}. A second call gives
   * the same promise, which need not be looked at.
   */
  end(): Promise<void> {
    if (this.#ending === undefined) {
      this.#ending = this.#finish();
      this.#ending.catch(() => {});
    }
    return this.#ending;
  }

  /** Resolves when the sending side has finished, also where the other side or an earlier call ended it. */
  #finish(): Promise<void> {
    const socket = this.#socket;
    return new Promise((resolve, reject) => {
      if (this.#isOver) reject(this.#refusal("end"));
      else if (socket.writableFinished) resolve();
      else if (this.#isClosed) reject(this.#refusal("end"));
      else {
        socket.once("finish", this.#onDone(resolve, reject, "end"));
        // Behind a "finish" it changes nothing.
        socket.once("close", () => reject(this.#refusal("end")));
        if (!socket.writableEnded) socket.end();
      }
    });
  }

  /** What Node calls at the end of a write; a write that was cut off is reported as one that went well. */
  #onDone(resolve: () => void, reject: (error: unknown) => void, verb: string): (error?: Error | null) => void {
    return (error) => {
      if (this.#isOver) reject(this.#refusal(verb));
      else if (error === undefined || error === null) resolve();
      else reject(error);
    };
  }

  /**
   * Closes the connection now. What waits to be read is released; calls that wait reject with `error`, or with
   * `ERR_ENDED` without one; leases that are being written come back before {@link closed} settles. Twice: nothing.
   */
  destroy(error?: unknown): void {
    if (!this.#isOver) this.#isTold = true;
    this.#shut(error === undefined ? undefined : { error });
  }

  /**
   * Ends everything but what the kernel may still work on, which comes back at the "close" event. The first call
   * counts.
   */
  #shut(failure: { readonly error: unknown } | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#failure = failure;
    this.#stop.abort();
    this.#socket.destroy();
    this.#target?.drop();
    this.#target = undefined;
    this.#held = [];
    for (const lease of this.#ready.splice(0)) giveBack(lease);
    if (this.#readers.length > 0) this.#isTold = true;
    for (const reader of this.#readers.splice(0)) reader.reject(this.#refusal("read"));
    this.#stopListening();
  }

  #refusal(verb: string): unknown {
    if (this.#failure !== undefined) return this.#failure.error;
    const why = this.#isOver
      ? "it was destroyed"
      : this.#ending !== undefined
        ? "end() was called before"
        : this.#isClosed
          ? "it is closed"
          : "the other side has ended it (options.allowHalfOpen keeps this side open then)";
    return new MillpondError("ERR_ENDED", `cannot ${verb} the connection: ${why}; connectSocket() makes another one`);
  }

  /** Begins to read again, when reading stopped for want of somebody to read for. */
  #start(): void {
    if (this.#state === "idle" && !this.#isOver) this.#readOn(false);
  }

  /** Places what was held, then lets the kernel go on. */
  #readOn(mayHaveMore: boolean): void {
    this.#state = "on";
    if (!this.#pump(mayHaveMore) || this.#isEnded) return;
    // The time that the loop or the pool took is not the other side's.
    if (this.#timeout > 0) this.#socket.setTimeout(this.#timeout);
    this.#socket.resume();
  }

  /** The kernel has written `count` bytes into the front. True: it may go on. */
  #onRead(count: number, bytes: Uint8Array): boolean {
    if (this.#isOver) return false;
    this.#bytesRead += count;
    this.#held.push(bytes.subarray(0, count));
    // A stream that was paused may still deliver once: it is held until reading goes on.
    const canGoOn = this.#state === "on" && this.#pump(count === bytes.length);
    if (this.#held.length > 0) this.#front = new Uint8Array(this.#front.length);
    return canGoOn;
  }

  /**
   * Puts what is held into slots, then what the kernel has, when it may have more. False: reading has stopped, and goes
   * on by itself.
   */
  #pump(mayHaveMore: boolean): boolean {
    try {
      while (!this.#isOver) {
        const held = this.#held[0];
        if (held === undefined && !mayHaveMore) {
          this.#onDrained();
          return !this.#isOver;
        }
        const target = this.#target ?? this.#nextTarget();
        if (target === undefined) break;
        if (held === undefined) mayHaveMore = this.#readInto(target);
        else if (held.length > target.size - target.filled) this.#held[0] = target.fill(held);
        else {
          target.fill(held);
          this.#held.shift();
        }
        if (target.isFull) this.#handOut();
      }
    } catch (error) {
      this.#shut({ error });
    }
    if (!this.#isOver) this.#socket.pause();
    return false;
  }

  /** Reads what the kernel has into the rest of a slot. True: it may have more. */
  #readInto(target: Target): boolean {
    // Gone when the socket was destroyed, so that no number is read that belongs to another file by now.
    const descriptor = (this.#socket as unknown as { _handle: { fd?: number } | null })._handle?.fd ?? -1;
    if (this.#isOver || descriptor < 0) return false;
    let count: number;
    try {
      count = readSync(descriptor, target.bytes, target.filled, target.size - target.filled, null);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") return false;
      throw error;
    }
    target.filled += count;
    this.#bytesRead += count;
    // At the end it is 0, and the event loop finds that too.
    return count > 0 && target.isFull;
  }

  /** Takes a slot to fill; undefined: nobody reads what is ready, or none is free, and then it comes by itself. */
  #nextTarget(): Target | undefined {
    if (this.#ready.length >= this.#ahead) {
      this.#state = "idle";
      return undefined;
    }
    const buffer = this.#pool.tryAcquire();
    if (buffer !== undefined) {
      this.#target = new Target(buffer);
      if (!this.#isOver) return this.#target;
      // A hook of the pool has destroyed the connection meanwhile.
      this.#target.drop();
      this.#target = undefined;
      return undefined;
    }
    this.#state = "waiting";
    this.#pool.acquire({ signal: this.#stop.signal }).then(
      (late) => this.#onSlot(late),
      (error: unknown) => this.#shut({ error }),
    );
    return undefined;
  }

  #onSlot(buffer: MediaBuffer): void {
    if (this.#isOver) {
      giveBack(buffer);
      return;
    }
    try {
      this.#target = new Target(buffer);
    } catch (error) {
      // The pool was closed by force while the slot was on its way.
      this.#shut({ error });
      return;
    }
    this.#readOn(!this.#isEnded);
  }

  /** Hands the target out, to who waits for it or to who comes. */
  #handOut(): void {
    const target = this.#target!;
    this.#target = undefined;
    let lease: MediaBuffer;
    try {
      lease = target.finish();
    } catch (error) {
      target.drop();
      this.#shut({ error });
      return;
    }
    const reader = this.#readers.shift();
    if (reader === undefined) this.#ready.push(lease);
    else reader.resolve(lease);
  }

  /** All that has come is in slots. */
  #onDrained(): void {
    const target = this.#target;
    if (target !== undefined && target.filled === 0) {
      this.#target = undefined;
      target.drop();
    } else if (target !== undefined && (this.#isEnded || (this.#isEager && this.#readers.length > 0))) this.#handOut();
    if (this.#isEnded) this.#finishReaders();
  }

  /** The other side has ended. */
  #onEnd(): void {
    if (this.#isOver) return;
    this.#isEnded = true;
    // What is held waits for a slot, or for a read().
    if (this.#held.length === 0) this.#onDrained();
  }

  #finishReaders(): void {
    if (this.#readers.length > 0) this.#isTold = true;
    for (const reader of this.#readers.splice(0)) reader.resolve(undefined);
  }

  #onTimeout(): void {
    const isOurs = !this.#socket.connecting && this.#state !== "on" && this.#socket.writableLength === 0;
    if (isOurs) this.#socket.setTimeout(this.#timeout);
    else this.#shut({ error: timedOutError(this.#timeout) });
  }

  /** No lease of the pool is out: leases that are here are dead, and a pool that has ended gives no others. */
  #onPoolDrained(): void {
    const target = this.#target?.buffer;
    const isReading = this.#readers.length > 0 || target !== undefined || this.#ready.length > 0;
    if (!isReading || this.#pool.isActive) return;
    try {
      (target ?? this.#ready[0])?.live("read");
      this.#pool.tryAcquire();
    } catch (error) {
      // A pool that is only inactive may be active again when bytes come.
      if (!isMillpondError(error, "ERR_INACTIVE")) this.#shut({ error });
    }
  }

  #onClose(): void {
    // Closed by neither side's end and by no error: nothing will come.
    if (!this.#isEnded) this.#shut(undefined);
    this.#isClosed = true;
    this.#settle();
    this.#stopListening();
  }

  #settle(): void {
    if (this.#isClosed && this.#writes === 0) this.#settleClosed();
  }

  /** The signal and the pool are listened to for as long as there is something to give back. */
  #stopListening(): void {
    if (!this.#isClosed || this.#ready.length > 0 || this.#held.length > 0) return;
    for (const undo of this.#undo.splice(0)) undo();
  }
}
disposeWith(PooledSocket, function (this: PooledSocket): void {
  this.destroy();
});

/** `net.connect`, whose refusals of arguments are millpond's. */
function openSocket(options: NetConnectOpts): Socket {
  try {
    return netConnect(options);
  } catch (cause) {
    const given = cause instanceof Error && "code" in cause ? String(cause.code) : "";
    if (!given.startsWith("ERR_")) throw cause;
    const code: ErrorCode =
      given === "ERR_INVALID_ARG_TYPE"
        ? "ERR_INVALID_ARG_TYPE"
        : given === "ERR_OUT_OF_RANGE" || given === "ERR_SOCKET_BAD_PORT"
          ? "ERR_OUT_OF_RANGE"
          : "ERR_INVALID_ARG_VALUE";
    throw new MillpondError(
      code,
      `options cannot be connected to: ${(cause as Error).message}`,
      { name: "options" },
      { cause },
    );
  }
}

/** Maps each memory of a lease to read. Throws what `map` throws; nothing is mapped then. */
function mapAll(lease: MediaBuffer): Mapping[] {
  const mappings: Mapping[] = [];
  try {
    const count = lease.memoryCount;
    for (let i = 0; i < count; i++) mappings.push(lease.mapRange(i, 1, "read"));
    return mappings;
  } catch (error) {
    for (const mapping of mappings) mapping.unmap();
    throw error;
  }
}

function timedOutError(timeout: number): MillpondError {
  return new MillpondError(
    "ERR_TIMED_OUT",
    `the connection was idle for ${timeout} ms (options.timeout), so it was destroyed; raise it, or connect again`,
    { timeout },
  );
}
