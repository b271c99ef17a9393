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
import { chmodSync, existsSync, linkSync, lstatSync, renameSync, rmSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { resolve } from "node:path";
import {
  closeDescriptor,
  connectDescriptors,
  connectDescriptorsSoon,
  type DescriptorServer,
  type DescriptorWait,
  receiveDescriptor,
  sendDescriptor,
  serveDescriptors,
} from "../../os/descriptors.ts";
import { nativeOps } from "../../os/load.ts";
import type { NativeOps } from "../../os/native-ops.ts";
import { ownFile, type RemoveOwn } from "../../os/own-file.ts";
import { onExit } from "../../os/process.ts";
import { hasEnded } from "../../os/process-liveness.ts";
import { type NotDone, notDone, type Outcome } from "../../os/result.ts";
import { systemClock } from "../../util/clock.ts";
import { cut } from "../../util/cut.ts";
import { isMillpondError, MillpondError } from "../../util/errors.ts";
import { abortSignal, badValue, isMade, milliseconds, readOptions, word, wrongType } from "../../util/validate.ts";
import { type ConnectOptions, checkConnectOptions } from "../lane/connect.ts";
import type { Lane } from "../lane/lane.ts";
import { lookNowAndThen, onPoolEnd } from "../lane/liveness.ts";
import { SharedConnection } from "../lane/shared-transport.ts";
import {
  answer,
  firstMessage,
  giveUp,
  joining,
  type ProcessConnection,
  type ProcessOffer,
  processLane,
  ready,
  refusalText,
  tellFailure,
} from "./connect.ts";
import { checkAttach, nativeError, orThrow, type ProcessOpenOptions } from "./open.ts";
import { socketPort } from "./ports.ts";
import { ProcessPool } from "./process-pool.ts";
import { MAX_GREETING, MAX_MESSAGE } from "./wire.ts";

/** Both sides have 5 seconds to greet each other: a stranger must not hold a place for longer. */
const GREETING_MS = 5000;

/**
 * Of those that have said nothing yet: beyond `most`, those go that were given time to say a word, which one that
 * honestly comes says at once; beyond `all`, the oldest goes at once. Of those that have said a word and shown no
 * ticket yet there are as many as `all` at most.
 */
const SILENT: { readonly most: number; readonly graceMs: number; readonly all: number } = {
  most: 64,
  graceMs: 100,
  all: 256,
};

/** What each side says first. */
const HELLO = "hello";

/** Characters of the pool's name that a process is told, so that the offer fits into a message. */
const MAX_NAME = 1000;

/** Looks at the other socket while somebody is greeted: 1, 2, 4 ... 20 ms apart. */
const LOOK_MS: { readonly first: number; readonly most: number } = { first: 1, most: 20 };

/** Connections that are taken at one look: as many as may wait there. */
const MAX_TAKEN = 128;

/** Bytes of a path: a socket's name has 107, and three are the other one's. */
const MAX_PATH = 104;

/** Of a draft's name, where there is room: enough that no other file has it. */
const DRAFT_BYTES = 20;

/** Names that are tried for a socket before it gets its own. */
const DRAFTS = 8;

/** Where processes of this user connect to a pool. */
export interface ProcessServer<Data = unknown> {
  /** Where. */
  readonly path: string;
  /**
   * The lanes of those who connect, as they come, until the server is closed, or its pool is retired or ends, here or
   * by another process. Of several iterations each lane comes to one.
   */
  [Symbol.asyncIterator](): AsyncGenerator<Lane<Data>, void, void>;
  /** Takes no more connections and removes the path; lanes that exist go on. */
  close(): void;
}

/** A socket has a name in the file system: an abstract one (which begins with NUL) has no permissions. */
function checkPath(path: string): void {
  if (word("path", path) === "" || path.includes("\0")) throw badValue("path", "the path of a Unix socket", path);
}

/** The other socket's path. */
const forDescriptors = (path: string): string => `${path}.fd`;

/**
 * Serves a pool at a path, which must not exist (at most 104 bytes), and at that path with ".fd" behind it, where a
 * socket of a server that has ended is replaced. Rejects with `ERR_INVALID_ARG_TYPE`, `ERR_BAD_DATA` for a path that
 * does not fit, and `ERR_INACTIVE` for one that cannot be had (the reason is in the message).
 */
export async function serveProcesses<Data = unknown>(
  pool: ProcessPool,
  path: string,
  options: Omit<ConnectOptions, "signal" | "timeout"> = {},
): Promise<ProcessServer<Data>> {
  if (!isMade(ProcessPool, pool, "block")) {
    throw wrongType("pool", "a ProcessPool with its block", pool);
  }
  checkPath(path);
  const given = readOptions<typeof options>("options", options, ["window", "clock"]);
  checkConnectOptions(given);
  if (Buffer.byteLength(path) > MAX_PATH) {
    throw nativeError(notDone("refused", "ENAMETOOLONG", `at most ${MAX_PATH} bytes`), `cannot serve at ${path}`);
  }
  const desk = new ProcessAcceptor<Data>(pool, given);
  const server = createServer((socket) => void desk.greet(socket));
  let remove: RemoveOwn | undefined;
  try {
    remove = await listening(server, path);
    // In the same turn: nobody who has come is greeted before.
    const descriptors = orThrow(serveHandOver(forDescriptors(path), pool.ops), `cannot serve at ${path}`);
    desk.listensOn(server, remove, descriptors);
  } catch (cause) {
    remove?.();
    server.close();
    desk.close();
    if (isMillpondError(cause)) throw cause;
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

/**
 * The other socket, of one who has the path before it: so what is there is of a server that was killed, or of one whose
 * path was taken away while it runs. A socket of the former may still be open: in a process that inherited it.
 */
function serveHandOver(path: string, ops: NativeOps): Outcome<DescriptorServer> {
  const served = serveDescriptors(path, ops);
  if (served.ok || served.errno !== "EADDRINUSE") return served;
  const other = connectDescriptors(path, ops);
  if (other.ok) {
    const listener = listenerOf(other.value, ops);
    closeDescriptor(other.value, ops);
    if (listener === 0 || !hasEnded(listener)) return taken(path, listener);
  } else if (other.errno !== "ECONNREFUSED" || !lstatSync(path).isSocket()) return taken(path, 0);
  rmSync(path);
  return serveDescriptors(path, ops);
}

/** The number of the process that began to listen there; 0: unknown. */
function listenerOf(socket: number, ops: NativeOps): number {
  const peer = ops.sockets.peer(socket);
  return peer.ok ? peer.value.pid : 0;
}

function taken(path: string, listener: number): NotDone {
  const who = listener === 0 ? "something else is" : `a server of process ${listener} is`;
  return notDone("failed", "EADDRINUSE", `${who} at ${path}; if it is not in use, remove that file as well`);
}

/**
 * Greets those who connect. What happens at the other socket is no single greeting's: each that comes there gets the
 * block and a ticket, and each that shows a ticket here is served. So one that came there and went, or came here and
 * says nothing, is in nobody's way.
 */
class ProcessAcceptor<Data> {
  readonly #pool: ProcessPool;
  readonly #options: Omit<ConnectOptions, "signal" | "timeout">;
  readonly #tickets: Set<string> = new Set();
  readonly #lanes: Lane<Data>[] = [];
  readonly #sockets: Set<Socket> = new Set();
  /** Those that have said nothing, and when they came; the oldest first. */
  readonly #silent: Map<AbortController, number> = new Map();
  /** Those that have said a word and shown no ticket, the oldest first. */
  readonly #greeted: Set<AbortController> = new Set();
  #isSweeping = false;
  readonly #loops: Set<() => void> = new Set();
  readonly #leavePool: () => void;
  #stopLooking: (() => void) | undefined;
  #server: Server | undefined;
  #remove: RemoveOwn | undefined;
  #descriptors: DescriptorServer | undefined;
  #closed = false;

  constructor(pool: ProcessPool, options: Omit<ConnectOptions, "signal" | "timeout">) {
    this.#pool = pool;
    this.#options = options;
    this.#leavePool = onPoolEnd(pool, { poolEnded: () => this.close(), poolRetired: () => this.close() });
  }

  /** Closes these, too; at once where the pool has ended before they could listen. */
  listensOn(server: Server, remove: RemoveOwn, descriptors: DescriptorServer): void {
    this.#server = server;
    this.#remove = remove;
    this.#descriptors = descriptors;
    if (this.#closed) this.#closeSockets();
  }

  async greet(socket: Socket): Promise<void> {
    const port = socketPort(socket);
    port.most = MAX_GREETING;
    this.#sockets.add(socket);
    const gone = new AbortController();
    let connection: SharedConnection | undefined;
    try {
      if (this.#closed) throw new Error("it was closed");
      if (this.#pool.descriptor < 0) throw new Error("the descriptor of its pool was closed");
      const { clock = systemClock, window } = this.#options;
      const greeting = { signal: gone.signal, timeout: GREETING_MS, clock };
      port.postMessage(HELLO);
      const said = firstMessage(
        port,
        greeting,
        joining("a process", GREETING_MS),
        undefined,
        (word) => !this.#isHello(word, gone),
      );
      await this.#ticket(said, gone);
      port.most = MAX_MESSAGE;
      connection = SharedConnection.offer(this.#pool).connection;
      const offer: ProcessOffer = {
        membership: connection.peer,
        from: this.#pool.membership,
        window,
        name: cut(this.#pool.name, MAX_NAME),
      };
      const answered = firstMessage(port, greeting, joining("a process", GREETING_MS));
      port.postMessage({ offer });
      await ready(answered);
      this.#lanes.push(processLane<Data>(port, this.#pool, connection, { window, clock }));
      this.#wake();
    } catch (error) {
      tellFailure(port, error);
      // One that has joined and lives may hold leases: the looks for processes that have ended find its end.
      if (connection !== undefined) giveUp(port, this.#pool, connection);
      else port.close();
    } finally {
      this.#sockets.delete(socket);
    }
  }

  /** Whether that is the first word of one that has said nothing yet. */
  #isHello(said: unknown, gone: AbortController): boolean {
    if (said !== HELLO || !this.#silent.delete(gone)) return false;
    this.#greeted.add(gone);
    const [oldest] = this.#greeted;
    if (this.#greeted.size > SILENT.all) this.#sendAway(oldest!);
    return true;
  }

  #sendAway(gone: AbortController): void {
    this.#silent.delete(gone);
    this.#greeted.delete(gone);
    gone.abort(new Error("too many connect at once"));
  }

  /** Sends those away that say nothing, where they are too many. */
  #sweep(): void {
    if (this.#isSweeping || this.#silent.size <= SILENT.most) return;
    const { clock = systemClock } = this.#options;
    this.#isSweeping = true;
    clock.setTimer(
      () => {
        this.#isSweeping = false;
        let left = this.#silent.size - SILENT.most;
        for (const [gone, since] of this.#silent) {
          if (left-- <= 0 || clock.now() - since < SILENT.graceMs) break;
          this.#sendAway(gone);
        }
        this.#sweep();
      },
      SILENT.graceMs,
      true,
    );
  }

  /** Waits until one that was greeted shows a ticket, and hands them out meanwhile. */
  async #ticket(said: Promise<unknown>, gone: AbortController): Promise<void> {
    this.#silent.set(gone, (this.#options.clock ?? systemClock).now());
    const [oldest] = this.#silent.keys();
    if (this.#silent.size > SILENT.all) this.#sendAway(oldest!);
    this.#sweep();
    const stop = this.#handOut();
    try {
      const ticket = await said;
      if (typeof ticket !== "string" || !this.#tickets.delete(ticket))
        throw new Error("that ticket was never given out");
    } finally {
      stop();
      this.#silent.delete(gone);
      this.#greeted.delete(gone);
    }
  }

  /** Looks at the other socket again and again, until what this returns is called. */
  #handOut(): () => void {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let pause = LOOK_MS.first;
    const look = (): void => {
      void this.#serveWaiting();
      timer = setTimeout(look, pause);
      pause = Math.min(pause * 2, LOOK_MS.most);
    };
    look();
    return () => clearTimeout(timer);
  }

  /** Gives the block, and a ticket, to every process of this user that waits at the other socket. */
  async #serveWaiting(): Promise<void> {
    const { ops } = this.#pool;
    for (let taken = 0; taken < MAX_TAKEN; taken++) {
      const accepted = await this.#descriptors?.accept({ timeout: 0, ops });
      if (accepted?.ok === true) this.#give(accepted.value);
      // Without a descriptor to spare they wait there for the next look.
      else if (accepted?.errno !== "FOREIGN_USER") return;
    }
  }

  #give(socket: number): void {
    const { ops, descriptor } = this.#pool;
    const ticket = randomUUID();
    const note = new TextEncoder().encode(ticket);
    if (descriptor >= 0 && sendDescriptor(socket, descriptor, note, ops).ok) {
      this.#tickets.add(ticket);
      // A ticket that is not used at once expires.
      setTimeout(() => this.#tickets.delete(ticket), 2 * GREETING_MS).unref();
    }
    closeDescriptor(socket, ops);
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
    this.#closeSockets();
    for (const socket of this.#sockets) socket.destroy();
    this.#wake();
  }

  /** The files first: see own-file.ts. */
  #closeSockets(): void {
    this.#remove?.();
    this.#descriptors?.close();
    this.#server?.close();
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
  const socket = createConnection({ path });
  const port = socketPort(socket);
  port.most = MAX_GREETING;
  const greeting = { signal, timeout, clock };
  const who = `the server at ${path}`;
  const expect = async <T>(isIt: (said: unknown) => said is T): Promise<T> => {
    const said = await firstMessage(port, greeting, (how) =>
      how === "ended"
        ? `${who} closed the connection: it has ended, or too many connect at once`
        : `${who} did not answer within ${timeout} ms`,
    );
    if (isIt(said)) return said;
    throw new MillpondError("ERR_INACTIVE", `${who} refused: ${refusalText(said)}`);
  };
  let received: number | undefined;
  try {
    // At once: one that says nothing may be sent away.
    port.postMessage(HELLO);
    await expect((said): said is typeof HELLO => said === HELLO);
    const bounds = signal === undefined ? { timeout, ops } : { timeout, ops, signal };
    const { descriptor, note } = orThrow(await fetchBlock(forDescriptors(path), bounds), `cannot connect to ${path}`);
    received = descriptor;
    // The kernel has said whose process it is.
    port.most = MAX_MESSAGE;
    const offered = expect(isOffer);
    port.postMessage(new TextDecoder().decode(note));
    const { offer } = await offered;
    received = undefined;
    const pool = ProcessPool.attach(descriptor, { ...rest, name: offer.name, membership: offer.membership });
    return { pool, lane: answer<Data>(port, pool, offer, clock) };
  } catch (error) {
    if (received !== undefined) closeDescriptor(received, ops);
    tellFailure(port, error);
    port.close();
    throw error;
  }
}

/** What came is another process's word for it: the offer is read no further before it is one. */
function isOffer(said: unknown): said is { readonly offer: ProcessOffer } {
  const { offer } = (said ?? {}) as { readonly offer?: Partial<ProcessOffer> | null };
  return typeof offer === "object" && offer !== null && typeof offer.name === "string";
}

/** The block's descriptor, and the ticket beside it. */
async function fetchBlock(path: string, bounds: DescriptorWait): ReturnType<typeof receiveDescriptor> {
  const socket = await connectDescriptorsSoon(path, bounds);
  if (!socket.ok) return socket;
  try {
    return await receiveDescriptor(socket.value, bounds);
  } finally {
    closeDescriptor(socket.value, bounds.ops);
  }
}

/**
 * Listens at a path that does not exist. The socket gets another name first and then, whole and private, this one: so
 * of several one gets it, and the runtime, which removes what it was told at the end, whatever that is by then, finds
 * nothing. Answers what removes the path.
 */
async function listening(server: Server, path: string): Promise<RemoveOwn> {
  const absolute = resolve(path);
  const draft = await listenAside(server, path);
  const made = resolve(draft);
  try {
    chmodSync(made, 0o600);
    moveTo(made, absolute);
    return ownFile(absolute);
  } finally {
    rmSync(made, { force: true });
  }
}

/** The path with at least three more bytes: as long as that of the other socket. */
async function listenAside(server: Server, path: string): Promise<string> {
  for (let left = DRAFTS; ; left--) {
    // With a letter that no number has: of what reads as one, the runtime makes a port of TCP.
    const draft = `${path}.m${randomUUID().slice(0, 1 + Math.min(MAX_PATH - Buffer.byteLength(path), DRAFT_BYTES))}`;
    const made = resolve(draft);
    // The process may end before it hears that it listens. Until it does, a file of that name is another one's.
    const forget = onExit(() => {
      if (server.listening) rmSync(made, { force: true });
    });
    try {
      await new Promise<void>((done, failed) => {
        server.once("error", failed);
        // In a cluster the primary process would share it with others, which have other pools.
        server.listen({ path: draft, exclusive: true }, () => {
          server.removeListener("error", failed);
          done();
        });
      });
      return draft;
    } catch (error) {
      if (left === 0 || (error as { code?: unknown }).code !== "EADDRINUSE") throw error;
    } finally {
      forget();
    }
  }
}

/** Gives a file another name that is free. */
function moveTo(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch (error) {
    const { code } = error as { code?: unknown };
    // A file system without hard links: there two may take one name at once.
    if (code === "EEXIST" || existsSync(to)) throw error;
    renameSync(from, to);
  }
}
