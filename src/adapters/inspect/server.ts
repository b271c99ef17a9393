/**
 * serveInspector: what `millpond top` and the page read, from inside the program that they look at.
 *
 * Life-cycle: it listens until {@link InspectorServer.close} or the end of the process, which it never delays. The
 * socket is removed by both; that of a process which was killed is removed by the next one that looks.
 *
 * Invariants: no request changes anything in the program; what is sent has no bytes of buffers; nobody but this user
 * can open the socket, and nobody without the token gets an answer on a port; there is a hub only while something is
 * served; a path is taken by linking a bound socket to it, which fails where anything is.
 */
import { type BigIntStats, linkSync, lstatSync, mkdtempSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { setTimeout } from "node:timers";
import { isMainThread } from "node:worker_threads";
import { ownFile } from "../../os/own-file.ts";
import { onExit, process } from "../../os/process.ts";
import { disposeAsyncBy } from "../../util/dispose.ts";
import { MillpondError } from "../../util/errors.ts";
import { badValue, checkOptions, wholeNumber, word } from "../../util/validate.ts";
import { Listener, loopbackHosts, SOCKET_HOSTS } from "./listener.ts";
import type { RealmHub } from "./realms.ts";
import type { Gate } from "./requests.ts";
import { checkSocketPath, closeToOthers, findSockets, probeSocket, removeStale, socketFolder } from "./sockets.ts";
import { answerMainThread, makeInspector, watchChildren } from "./threads.ts";

/** How the inspector is served. */
export interface InspectorOptions {
  /** A port of 127.0.0.1, 0 for any; then requests need a token, which is part of the server's `url`. Default: none. */
  port?: number;
  /** The socket's path. Default: one in this user's private folder, where `millpond top` finds it. */
  path?: string;
}

/** What the main thread knows of all realms; made when somebody looks. */
let hub: Promise<RealmHub> | undefined;
/** Ends a worker's answers, or the main thread's notes of its workers. */
let endPart: (() => void) | undefined;
// What the program puts in its place later is not called.
const removeNow = rmSync;

/** Servers that listen, or are about to. */
let users = 0;
/** The server that is found by itself: there is one a process, which all who asked for it share. */
let found: Shared | undefined;

/**
 * Serves the inspector of this process: over a socket that only this user can open, or on a port of 127.0.0.1 with a
 * token. In a worker it serves nothing by itself: the worker answers the main thread, which serves both.
 *
 * Without options all calls share one server, which listens until each of them has closed what it got, or the process
 * ends. Resolves when it listens. Rejects with
 * `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`, `ERR_ALREADY_EXISTS` for a path or port that is
 * taken, `ERR_UNSUPPORTED` where there is no folder for a socket (and on Windows, without a port).
 */
export async function serveInspector(options: InspectorOptions = {}): Promise<InspectorServer> {
  const { port, path } = checkOptions("options", options, ["port", "path"]);
  if (port !== undefined) wholeNumber("options.port", port, 0, 65_535);
  if (path !== undefined && (word("options.path", path) === "" || path.includes("\0"))) {
    throw badValue("options.path", "a path, not empty and without a null character", path);
  }
  if (path !== undefined && port !== undefined) {
    throw badValue("options.path", "left out beside options.port: the inspector is served by one of them", path);
  }
  if (path !== undefined) checkSocketPath("options.path", resolve(path));
  if (!isMainThread) return await shareOf(share(() => ({})));
  if (port !== undefined) return await shareOf(share(() => servePort(port)));
  if (process.platform === "win32") {
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      "the inspector's socket is not served on Windows; use serveInspector({ port: 0 }) and its url",
    );
  }
  if (path !== undefined) return await shareOf(share(() => servePath(resolve(path))));
  found ??= share(serveFound);
  return await shareOf(found);
}

/** What is served: where, and what ends it. */
interface Served {
  readonly listener?: Listener;
  readonly path?: string;
  readonly url?: string;
  /** Removes the socket. */
  readonly remove?: () => void;
}

/** What is served, for all who share it. */
interface Shared {
  readonly served: Served | Promise<Served>;
  /** Who shares it; with the last one it ends. */
  users: number;
}

/** This thread takes part from before anything is waited for, since the program may make workers meanwhile. */
function share(serve: () => Served | Promise<Served>): Shared {
  takePart();
  return { served: serve(), users: 0 };
}

/** One share of it. It is counted at once: the others may end theirs while this one waits. */
async function shareOf(shared: Shared): Promise<InspectorServer> {
  shared.users++;
  try {
    return new InspectorServer(shared, await shared.served);
  } catch (error) {
    if (found === shared) found = undefined;
    if (--shared.users === 0) leavePart();
    throw error;
  }
}

/** Ends one share of it. In one turn: who asks from now on gets another one, at the same path. */
async function endShare(shared: Shared, { listener, remove }: Served): Promise<void> {
  if (--shared.users > 0) return;
  remove?.();
  if (found === shared) found = undefined;
  await listener?.close();
  leavePart();
}

async function servePort(port: number): Promise<Served> {
  const { makeToken } = await import("./token.ts");
  const { token, isToken } = makeToken();
  let hosts: Gate["hosts"] = [];
  const listener = listenerFor({
    get hosts() {
      return hosts;
    },
    isToken,
  });
  await listen(listener, { host: "127.0.0.1", port }, `port ${port}`);
  hosts = loopbackHosts(listener.port);
  const url = `http://127.0.0.1:${listener.port}/?token=${token}`;
  return { listener, url };
}

/** At a path of the caller's: it is never there with other rights, and takes nothing's place but an ended one's. */
async function servePath(path: string): Promise<Served> {
  const present = identityOf(path);
  if (present !== undefined && (!present.isSocket || (await probeSocket(path)) === "listens")) throw takenError(path);
  const listener = listenerFor({ hosts: SOCKET_HOSTS, isToken: undefined });
  let folder: string;
  try {
    folder = mkdtempSync(join(dirname(path), ".mp-"));
  } catch (cause) {
    throw refusedError(path, cause);
  }
  try {
    const draft = checkSocketPath("options.path", join(folder, "s"));
    await listen(listener, { path: draft }, path);
    closeToOthers(draft);
    // That one was left behind; what came since is somebody's.
    if (present !== undefined && identityOf(path)?.is === present.is) rmSync(path);
    try {
      linkSync(draft, path);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "EEXIST") throw takenError(path, cause);
      throw refusedError(path, cause);
    }
    return { listener, path, remove: ownFile(path) };
  } catch (error) {
    await listener.close();
    throw error;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Which file is there: another one has another number, while the one before is open. Throws `ERR_UNSUPPORTED` for a
 * path that cannot be followed.
 */
function identityOf(path: string): { readonly is: string; readonly isSocket: boolean } | undefined {
  let found: BigIntStats | undefined;
  try {
    found = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  } catch (cause) {
    throw refusedError(path, cause);
  }
  return found === undefined
    ? undefined
    : { is: `${found.dev}:${found.ino}:${found.ctimeNs}`, isSocket: found.isSocket() };
}

/** In this user's folder, under the process's number. */
async function serveFound(): Promise<Served> {
  const folder = socketFolder();
  let path = join(folder, `${process.pid}.sock`);
  const present = lstatSync(path, { throwIfNoEntry: false });
  if (present !== undefined) {
    // Of an ended process of this number; or of a live one in another container, or of another copy of this module.
    if ((await probeSocket(path)) === "listens") {
      path = join(folder, `${process.pid}.${Math.random().toString(36).slice(2, 8)}.sock`);
    } else rmSync(path, { force: true });
  }
  const listener = listenerFor({ hosts: SOCKET_HOSTS, isToken: undefined });
  // Before it is there: a short program ends before it hears that it listens.
  const remove = (): void => {
    removeNow(path, { force: true });
    forget();
  };
  const forget = onExit(remove);
  try {
    await listen(listener, { path }, path);
    closeToOthers(path);
  } catch (error) {
    remove();
    throw error;
  }
  return { listener, path, remove };
}

/** The sockets of processes that were killed, some time after the start: a short program need not pay for it. */
export function sweepLater(): void {
  setTimeout(async () => {
    try {
      for (const socket of findSockets()) if (socket.pid !== process.pid) await removeStale(socket);
    } catch {
      // The next one that looks does it.
    }
  }, 2000).unref();
}

function listenerFor(gate: Gate): Listener {
  return new Listener(async () => {
    const { answerRequests } = await import("./requests.ts");
    const { readPage } = await import("./page-file.ts");
    return answerRequests(await loadHub(), gate, readPage);
  });
}

function loadHub(): Promise<RealmHub> {
  // A connection may have come before the end of what it was for.
  if (users === 0) return Promise.reject(new Error("nothing is served any more"));
  hub ??= (async () => {
    const { RealmHub: Hub } = await import("./realms.ts");
    return new Hub(await makeInspector());
  })();
  return hub;
}

async function listen(listener: Listener, where: { path: string } | { host: string; port: number }, what: string) {
  try {
    await listener.listen(where);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "EADDRINUSE") throw takenError(what, cause);
    throw refusedError(what, cause);
  }
}

function takenError(what: string, cause?: unknown): MillpondError {
  return new MillpondError(
    "ERR_ALREADY_EXISTS",
    `the inspector cannot be served at ${what}, which is in use; give serveInspector() another one`,
    { at: what },
    { cause },
  );
}

function refusedError(what: string, cause: unknown): MillpondError {
  return new MillpondError(
    "ERR_UNSUPPORTED",
    `the inspector cannot be served at ${what}: ${(cause as Error).message}`,
    { at: what },
    { cause },
  );
}

/** This thread takes part from now on: the main thread as the one that asks, a worker as one that answers. */
function takePart(): void {
  users++;
  endPart ??= isMainThread ? watchChildren() : answerMainThread();
}

function leavePart(): void {
  if (--users > 0) return;
  endPart?.();
  endPart = undefined;
  void hub?.then((one) => one.close()).catch(() => {});
  hub = undefined;
}

/** An inspector that is served; see {@link serveInspector}. */
export class InspectorServer {
  /** The socket; undefined on a port and in a worker. */
  readonly path: string | undefined;
  /** The page with its token; undefined on a socket and in a worker. Who has it can look: do not log it. */
  readonly url: string | undefined;
  /** {@link close}, for `await using` where the platform has `Symbol.asyncDispose`. */
  declare [Symbol.asyncDispose]: () => Promise<void>;
  readonly #shared: Shared;
  readonly #served: Served;
  #closing: Promise<void> | undefined;

  /** @internal Made by {@link serveInspector}. */
  constructor(shared: Shared, served: Served) {
    this.#shared = shared;
    this.#served = served;
    this.path = served.path;
    this.url = served.url;
  }

  /**
   * Ends open streams, listens no more, and removes the socket; where others called {@link serveInspector} without
   * options, too, the last one to close it does. A second call waits for the first.
   */
  close(): Promise<void> {
    this.#closing ??= endShare(this.#shared, this.#served);
    return this.#closing;
  }
}

disposeAsyncBy(InspectorServer, "close");
