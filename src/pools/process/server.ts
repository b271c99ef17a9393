/**
 * Lanes between processes that did not start each other: one serves its pool at a path, the others connect there. Two
 * Unix sockets do it: one carries the block's descriptor, and there the kernel says on both ends which user the other
 * one is; the other carries the lane, and proves by a ticket that it is of a process that got the block.
 *
 * ```ts
 * const server = await serveProcesses(pool, "/run/user/1000/camera");
 * for await (const lane of server) ...
 * // elsewhere: const { lane, pool } = await connectToPool("/run/user/1000/camera");
 * ```
 */
import { randomUUID } from "node:crypto";
import { chmodSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { isAbsolute } from "node:path";
import {
  closeDescriptor,
  connectDescriptors,
  type DescriptorServer,
  receiveDescriptor,
  sendDescriptor,
  serveDescriptors,
} from "../../os/descriptors.ts";
import { nativeOps } from "../../os/load.ts";
import { systemClock } from "../../util/clock.ts";
import { MillpondError } from "../../util/errors.ts";
import { abortSignal, badValue, milliseconds, readOptions, word, wrongType } from "../../util/validate.ts";
import { type ConnectOptions, checkConnectOptions } from "../lane/connect.ts";
import type { Lane } from "../lane/lane.ts";
import { lookNowAndThen, onPoolEnd } from "../lane/liveness.ts";
import type { SharedHandle } from "../shared/attach.ts";
import { cancelReservation, type Membership } from "../shared/membership.ts";
import {
  answer,
  firstMessage,
  type ProcessConnection,
  type ProcessOffer,
  processLane,
  ready,
  refusalText,
} from "./connect.ts";
import { checkAttach, nativeError, orThrow, type ProcessOpenOptions } from "./open.ts";
import { type ProcessPort, socketPort } from "./ports.ts";
import { ProcessPool } from "./process-pool.ts";

/** Both sides have 5 seconds to greet each other: a stranger must not hold a place for longer. */
const GREETING_MS = 5000;

/** Connections that were greeted and not yet taken by the iteration. */
const MAX_PENDING = 16;

/** Where processes of this user connect to a pool. */
export interface ProcessServer<Data = unknown> {
  /** Where. */
  readonly path: string;
  /**
   * The lanes of those who connect, as they come, until the server is closed, or its pool ends here or by another
   * process. Of several iterations each lane comes to one.
   */
  [Symbol.asyncIterator](): AsyncGenerator<Lane<Data>, void, void>;
  /** Takes no more connections and removes the path; lanes that exist go on. */
  close(): void;
}

/** A socket has a name in the file system: an abstract one (which begins with NUL) has no permissions. */
function checkPath(path: string): void {
  if (word("path", path) === "" || path.includes("\0")) throw badValue("path", "the path of a Unix socket", path);
}

/**
 * The same path, which node:net cannot take for the number of a TCP port: one that every user of every machine could
 * reach.
 */
function socketPath(path: string): string {
  return isAbsolute(path) ? path : `./${path}`;
}

/** The other socket's path. */
const forDescriptors = (path: string): string => `${path}.fd`;

/**
 * Serves a pool at a path, which must not exist (at most 104 bytes). Rejects with `ERR_INVALID_ARG_TYPE`,
 * `ERR_BAD_DATA` for a path that does not fit, and `ERR_INACTIVE` for one that cannot be had (the reason is in the
 * message).
 */
export async function serveProcesses<Data = unknown>(
  pool: ProcessPool,
  path: string,
  options: Omit<ConnectOptions, "signal" | "timeout"> = {},
): Promise<ProcessServer<Data>> {
  if (!(pool instanceof ProcessPool) || pool.block === undefined) {
    throw wrongType("pool", "a ProcessPool with its block", pool);
  }
  checkPath(path);
  const given = readOptions<typeof options>("options", options, ["window", "clock"]);
  checkConnectOptions(given);
  const descriptors = orThrow(serveDescriptors(forDescriptors(path), pool.ops), `cannot serve at ${path}`);
  const desk = new ProcessAcceptor<Data>(pool, descriptors, given);
  const server = createServer((socket) => void desk.greet(socket));
  try {
    await listening(server, path);
    desk.listensOn(server);
  } catch (cause) {
    desk.close();
    const hint = (cause as Error).message;
    throw new MillpondError("ERR_INACTIVE", `cannot serve at ${path}: ${hint}`, { path }, { cause });
  }
  return {
    path,
    [Symbol.asyncIterator]: () => desk.lanes(),
    close() {
      desk.close();
    },
  };
}

/** Greets those who connect, one after the other. */
class ProcessAcceptor<Data> {
  readonly #pool: ProcessPool;
  readonly #descriptors: DescriptorServer;
  readonly #options: Omit<ConnectOptions, "signal" | "timeout">;
  readonly #tickets: Set<string> = new Set();
  readonly #lanes: Lane<Data>[] = [];
  readonly #sockets: Set<Socket> = new Set();
  readonly #loops: Set<() => void> = new Set();
  readonly #leavePool: () => void;
  #stopLooking: (() => void) | undefined;
  #server: Server | undefined;
  #sending: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(pool: ProcessPool, descriptors: DescriptorServer, options: Omit<ConnectOptions, "signal" | "timeout">) {
    this.#pool = pool;
    this.#descriptors = descriptors;
    this.#options = options;
    this.#leavePool = onPoolEnd(pool, { poolEnded: () => this.close() });
  }

  /** Closes that one too; at once where the pool has ended before it could listen. */
  listensOn(server: Server): void {
    this.#server = server;
    if (this.#closed) server.close();
  }

  async greet(socket: Socket): Promise<void> {
    const port = socketPort(socket);
    this.#sockets.add(socket);
    const gone = new AbortController();
    socket.once("close", () => gone.abort());
    let handle: (SharedHandle & { readonly membership: Membership }) | undefined;
    try {
      if (this.#closed || this.#sockets.size > MAX_PENDING) throw new Error("too many connect at once");
      const { clock = systemClock, window } = this.#options;
      const greeting = { signal: undefined, timeout: GREETING_MS, clock };
      // One after the other: another process of this user may come to the second socket, and gets the ticket then.
      this.#sending = this.#sending.then(() => this.#sendDescriptor(gone.signal)).catch(() => undefined);
      port.postMessage("hello");
      await this.#sending;
      const ticket = await firstMessage(port, greeting, "a process");
      if (typeof ticket !== "string" || !this.#tickets.delete(ticket))
        throw new Error("that ticket was never given out");
      handle = this.#pool.reserve();
      const offer: ProcessOffer = {
        membership: handle.membership,
        from: this.#pool.membership,
        window,
        name: this.#pool.name,
      };
      const answered = firstMessage(port, greeting, "a process");
      port.postMessage({ offer });
      await ready(answered);
      this.#lanes.push(processLane<Data>(port, this.#pool, handle.membership, { window, clock }));
      this.#wake();
    } catch (error) {
      port.postMessage({ failed: (error as Error).message });
      port.close();
      // One that has joined and lives may hold leases: the looks for processes that have ended find its end.
      if (handle !== undefined) cancelReservation(this.#pool.core, handle.membership);
      this.#pool.reclaimEnded();
    } finally {
      this.#sockets.delete(socket);
    }
  }

  /** Gives the block, and a ticket, to the next process of this user that comes to the other socket. */
  async #sendDescriptor(signal: AbortSignal): Promise<void> {
    const { ops, descriptor } = this.#pool;
    const accepted = await this.#descriptors.accept({ timeout: GREETING_MS, ops, signal });
    if (!accepted.ok) return;
    const ticket = randomUUID();
    this.#tickets.add(ticket);
    // A ticket that is not used at once expires.
    setTimeout(() => this.#tickets.delete(ticket), 2 * GREETING_MS).unref();
    sendDescriptor(accepted.value, descriptor, new TextEncoder().encode(ticket), ops);
    closeDescriptor(accepted.value, ops);
  }

  async *lanes(): AsyncGenerator<Lane<Data>, void, void> {
    for (;;) {
      const lane = this.#lanes.shift();
      if (lane !== undefined) yield lane;
      else if (this.#closed) return;
      else {
        // The pool may be ended by another process, which tells nobody.
        this.#stopLooking ??= lookNowAndThen(this.#options.clock ?? systemClock, () => this.#pool.lookForEnd());
        await new Promise<void>((resolve) => {
          this.#loops.add(resolve);
        });
      }
    }
  }

  /** Each loop looks anew: one of them finds the lane, or all that there are no more. */
  #wake(): void {
    this.#stopLooking?.();
    this.#stopLooking = undefined;
    for (const loop of this.#loops) loop();
    this.#loops.clear();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#leavePool();
    this.#descriptors.close();
    this.#server?.close();
    for (const socket of this.#sockets) socket.destroy();
    this.#wake();
  }
}

/** How {@link connectToPool} connects. */
export interface ConnectToPoolOptions extends Omit<ProcessOpenOptions, "membership" | "name"> {
  /** Gives the attempt up; rejects with its reason. */
  signal?: AbortSignal;
  /** Milliseconds for each answer of the other side; default 5000. */
  timeout?: number;
}

/**
 * Connects to a pool that another process of this user serves at a path. Rejects with the signal's reason,
 * `ERR_INACTIVE` when nobody serves there, the server is full or does not answer in time, `ERR_BAD_DATA` when it is
 * another user's, and as {@link ProcessPool.attach}.
 */
export async function connectToPool<Data = unknown>(
  path: string,
  options: ConnectToPoolOptions = {},
): Promise<ProcessConnection<Data>> {
  checkPath(path);
  const given = readOptions("options", options, ["signal", "timeout", "asyncWait", "stop", "watch", "clock", "ops"]);
  const { signal, timeout = GREETING_MS, ...rest } = given;
  milliseconds("options.timeout", timeout);
  abortSignal("options.signal", signal);
  checkAttach(rest);
  if (signal?.aborted === true) throw signal.reason;
  const { clock = systemClock, ops = nativeOps() } = rest;
  if (!ops.availability.ok) throw nativeError(ops.availability, `cannot connect to ${path}`);
  const socket = createConnection(socketPath(path));
  const port = socketPort(socket);
  const greeting = { signal, timeout, clock };
  const who = `the server at ${path}`;
  const expect = async <T>(isIt: (said: unknown) => said is T): Promise<T> => {
    const said = await firstMessage(port, greeting, who);
    if (isIt(said)) return said;
    throw new MillpondError("ERR_INACTIVE", `${who} refused: ${refusalText(said)}`);
  };
  let received: number | undefined;
  try {
    await expect((said): said is "hello" => said === "hello");
    const door = orThrow(connectDescriptors(forDescriptors(path), ops), `cannot connect to ${path}`);
    const block = await receiveDescriptor(door, signal === undefined ? { timeout, ops } : { timeout, ops, signal });
    closeDescriptor(door, ops);
    const { descriptor, note } = orThrow(block, `cannot connect to ${path}`);
    received = descriptor;
    const offered = expect(isOffer);
    port.postMessage(new TextDecoder().decode(note));
    const { offer } = await offered;
    received = undefined;
    const pool = ProcessPool.attach(descriptor, { ...rest, name: offer.name, membership: offer.membership });
    return { pool, lane: answer<Data>(port, pool, offer, clock) };
  } catch (error) {
    if (received !== undefined) closeDescriptor(received, ops);
    tell(port, error);
    throw error;
  }
}

/** What came is another process's word for it: the offer is read no further before it is one. */
function isOffer(said: unknown): said is { readonly offer: ProcessOffer } {
  const { offer } = (said ?? {}) as { readonly offer?: Partial<ProcessOffer> | null };
  return typeof offer === "object" && offer !== null && typeof offer.name === "string";
}

function tell(port: ProcessPort, error: unknown): void {
  port.postMessage({ failed: (error as Error).message });
  port.close();
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(socketPath(path), () => {
      server.removeListener("error", reject);
      try {
        // Others who connect before this get no ticket.
        chmodSync(path, 0o600);
        resolve();
      } catch (error) {
        server.close();
        reject(error as Error);
      }
    });
  });
}
