/**
 * A listener whose connections get one answer each, over a socket or on loopback. It keeps no process alive and loads
 * `node:http` with the first connection, so that it costs nothing while nobody looks.
 */
import type { Server as HttpServer, RequestListener } from "node:http";
import { createServer, type ListenOptions, type Server, type Socket } from "node:net";
import { clearTimeout, setTimeout } from "node:timers";
import { closeOnStandard } from "../../os/standard-descriptors.ts";
import type { Gate } from "./requests.ts";

/** Connections at a time; more are closed at once. */
const MAX_CONNECTIONS = 32;
/** Until a request is complete: half of one occupies a place no longer. */
const REQUEST_MS = 5000;
/** Bytes of a request's headers. */
const MAX_HEADERS = 8192;

/** How a listener deals with its connections. */
export interface ListenerOptions {
  /** Milliseconds until a request must be complete. */
  readonly requestTimeout?: number;
  /** Connections at a time. */
  readonly maxConnections?: number;
  /** Keeps the process alive, for a process that does nothing else. */
  readonly keepsAlive?: boolean;
}

/** Listens, and answers by what `load` gives. */
export class Listener {
  readonly #server: Server;
  readonly #sockets: Set<Socket> = new Set();
  readonly #load: () => Promise<RequestListener>;
  readonly #options: ListenerOptions;
  #http: Promise<HttpServer> | undefined;

  /** Listens to nothing yet. */
  constructor(load: () => Promise<RequestListener>, options: ListenerOptions = {}) {
    this.#load = load;
    this.#options = options;
    this.#server = createServer((socket) => this.#onConnection(socket));
    if (options.keepsAlive !== true) this.#server.unref();
  }

  /** Listens; rejects with the system's error. */
  listen(where: ListenOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      // Not shared with the other workers of a cluster.
      this.#server.listen({ ...where, exclusive: true }, () => {
        this.#server.removeListener("error", reject);
        // A descriptor that cannot be accepted is no reason to end the program.
        this.#server.on("error", () => {});
        if (closeOnStandard(this.#server)) {
          reject(
            new Error(
              "the program has closed its standard input, output or error, and the server would take its place",
            ),
          );
        } else resolve();
      });
    });
  }

  /** The port that it listens on; 0 for a socket. */
  get port(): number {
    const address = this.#server.address();
    return address === null || typeof address === "string" ? 0 : address.port;
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Ends all connections, and listens no more. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      for (const socket of this.#sockets) socket.destroy();
      this.#http?.then(
        (http) => http.close(),
        () => {},
      );
    });
  }

  #onConnection(socket: Socket): void {
    // Not by maxConnections of the server: what that drops never comes here, and keeps such a number for good.
    const { maxConnections = MAX_CONNECTIONS } = this.#options;
    if (closeOnStandard(socket) || this.#sockets.size >= maxConnections) return void socket.destroy();
    if (this.#options.keepsAlive !== true) socket.unref();
    this.#sockets.add(socket);
    socket.on("error", () => {});
    const timer = setTimeout(() => socket.destroy(), this.#options.requestTimeout ?? REQUEST_MS);
    timer.unref();
    deadlines.set(socket, timer);
    socket.on("close", () => {
      clearTimeout(timer);
      this.#sockets.delete(socket);
    });
    this.#http ??= this.#loadHttp();
    this.#http.then(
      (http) => http.emit("connection", socket),
      () => {
        // Descriptors were short, for example: the next one tries again.
        this.#http = undefined;
        socket.destroy();
      },
    );
  }

  async #loadHttp(): Promise<HttpServer> {
    const asked = new WeakSet<object>();
    const [{ createServer: createHttp }, answer] = await Promise.all([import("node:http"), this.#load()]);
    const http = createHttp({ maxHeaderSize: MAX_HEADERS, keepAliveTimeout: 1 }, (request, response) => {
      clearTimeout(deadlines.get(request.socket));
      // One request a connection, which its answer closes. An answer to another one would never hear of its own end.
      if (asked.has(request.socket)) return;
      asked.add(request.socket);
      answer(request, response);
    });
    http.on("clientError", (_error, socket) => socket.destroy());
    http.on("connect", (_request, socket) => socket.destroy());
    return http;
  }
}

const deadlines: WeakMap<object, NodeJS.Timeout> = new WeakMap();

/** The Host headers that mean a loopback server of this port. */
export function loopbackHosts(port: number): Gate["hosts"] {
  const names = ["127.0.0.1", "localhost", "[::1]"];
  const hosts = names.map((name) => `${name}:${port}`);
  // Clients leave out the port that http has by itself.
  return port === 80 ? [...names, ...hosts] : hosts;
}

/** What clients of a socket send as Host. */
export const SOCKET_HOSTS: Gate["hosts"] = ["localhost"];
