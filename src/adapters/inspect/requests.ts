/**
 * What the inspector answers over HTTP, on a socket or a port. Four paths, GET only, and nothing that changes anything:
 *
 * - `GET /snapshot`: one ProcessSnapshot.
 * - `GET /stream?interval=1000&events=1&holders=0`: an InspectorUpdate every `interval` ms (50 to 60,000), one a line
 *   of NDJSON, or as server-sent events for `Accept: text/event-stream`. Events are recorded while it is open;
 *   `events=0` leaves them out. Where many leases are out, they are listed every `holders` ms (0 to 60,000): between
 *   that, pools whose events tell of them are marked `unlisted`. Without events they are listed always.
 * - `GET /trace?seconds=5`: a Trace Event JSON file of the last so many seconds (1 to 60; default: all that is kept).
 *   When nothing is recorded yet, it records for that time first.
 * - `GET /`: the page.
 *
 * On a port each needs `token`, and the Host of a loopback address: a page of another origin, also one whose name was
 * rebound to 127.0.0.1, gets nothing. Who reads too slowly misses updates; who reads nothing is cut off.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { clearTimeout, setTimeout } from "node:timers";
import { process } from "../../os/process.ts";
import { ownTitle, type RealmHub } from "./realms.ts";
import { traceFileSteps } from "./trace-file.ts";

/** Whom a server answers. */
export interface Gate {
  /** The value that the Host header must have, one of these. */
  readonly hosts: readonly string[];
  /** Whether the token is right; undefined: none is needed. */
  readonly isToken: ((token: string) => boolean) | undefined;
}

/** Bounds of what viewers may cost, of all servers of a process together. */
export interface Limits {
  /** Open streams. */
  readonly streams: number;
  /** Traces that are made at a time: each has up to 14 MB. */
  readonly traces: number;
  /** Milliseconds without a byte read, once or twice as long, after which an answer is cut off. */
  readonly stalled: number;
}

/** Eight pages are seven more than anybody looks at. */
export const LIMITS: Limits = { streams: 8, traces: 2, stalled: 30_000 };

const MIN_INTERVAL = 50;
const MAX_INTERVAL = 60_000;
const DEFAULT_INTERVAL = 1000;
const MAX_SECONDS = 60;
const DEFAULT_SECONDS = 5;
/** Bytes of a request's target. */
const MAX_TARGET = 1024;

/** A request that is refused. */
class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The page, and what its policy allows of it. */
export interface Page {
  /** One file of HTML. */
  readonly html: string | Uint8Array;
  /** Hashes of its scripts, as `Content-Security-Policy` names them. */
  readonly scripts: readonly string[];
}

/** The paths that are answered, with the keys that their queries may have beside the token. */
const ROUTES: Readonly<Record<string, readonly string[]>> = {
  "/": [],
  "/snapshot": [],
  "/stream": ["interval", "events", "holders"],
  "/trace": ["seconds"],
};

type Answerer = (
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
  query: URLSearchParams,
) => void | Promise<void>;

/** Checks requests, answers the page, and has `answer` do the rest. */
export function answerWith(
  gate: Gate,
  readPage: () => Page,
  answer: Answerer,
  stalled: number = LIMITS.stalled,
): RequestListener {
  return (request, response) => {
    // Written to a viewer that has gone: the program must not hear of it.
    response.on("error", () => {});
    request.on("error", () => {});
    harden(response);
    cutOff(response, stalled);
    void (async () => {
      try {
        const { path, values } = admit(request, gate);
        const keys = Object.hasOwn(ROUTES, path) ? ROUTES[path] : undefined;
        if (keys === undefined) throw new Refusal(404, `there is only ${Object.keys(ROUTES).join(", ")}`);
        for (const key of values.keys()) {
          if (key !== "token" && !keys.includes(key)) throw new Refusal(400, "the query has an unknown key");
          if (values.getAll(key).length > 1) throw new Refusal(400, "the query has a key twice");
        }
        if (path !== "/") {
          await answer(request, response, path, values);
          return;
        }
        const { html, scripts } = readPage();
        response.setHeader("Content-Security-Policy", policyOf(scripts));
        send(response, "text/html; charset=utf-8", html);
      } catch (error) {
        refuse(response, error);
      }
    })();
  };
}

/** Answers requests about the realms of `hub`. */
export function answerRequests(
  hub: RealmHub,
  gate: Gate,
  readPage: () => Page,
  limits: Limits = LIMITS,
): RequestListener {
  const { open } = hub;
  const answer: Answerer = async (request, response, path, query) => {
    if (path === "/snapshot") {
      await hub.view(({ snapshot }) => send(response, "application/json; charset=utf-8", snapshot));
    } else if (path === "/stream") {
      const interval = numberOf(query, "interval", MIN_INTERVAL, MAX_INTERVAL) ?? DEFAULT_INTERVAL;
      const hasEvents = (numberOf(query, "events", 0, 1) ?? 1) === 1;
      if (open.streams >= limits.streams) throw new Refusal(503, `there are ${open.streams} viewers already`);
      const isEventSource = String(request.headers.accept ?? "").includes("text/event-stream");
      const listEvery = hasEvents ? (numberOf(query, "holders", 0, MAX_INTERVAL) ?? 0) : 0;
      const options = { interval, hasEvents, listEvery, isEventSource };
      const stream = new Stream(hub, response, options, () => open.streams--);
      open.streams++;
      stream.start();
    } else {
      const seconds = numberOf(query, "seconds", 1, MAX_SECONDS);
      if (open.traces >= limits.traces) throw new Refusal(503, `there are ${open.traces} traces under way already`);
      if (response.destroyed) return;
      open.traces++;
      response.on("close", () => open.traces--);
      // What is recorded for another trace has begun just now, or is over as soon as that one is.
      const isKept = hub.isRecording && open.streams > 0;
      const end = hub.look();
      // Before anything is waited for: however the viewer goes, the look goes with it.
      response.on("close", end);
      try {
        if (!isKept) await recordFor(hub, seconds ?? DEFAULT_SECONDS, response);
        await sendTrace(hub, isKept ? seconds : undefined, response);
      } finally {
        end();
      }
    }
  };
  return answerWith(gate, readPage, answer, limits.stalled);
}

/** Refuses a request that no viewer of ours sends; else its path and query. Every way out takes the same checks. */
function admit(request: IncomingMessage, gate: Gate): { readonly path: string; readonly values: URLSearchParams } {
  const { headers, url: target = "" } = request;
  if (request.headersDistinct.host?.length !== 1) throw new Refusal(400, "a request has one Host");
  if (!gate.hosts.includes(headers.host ?? "")) throw new Refusal(403, "the Host is not this server");
  const { origin } = headers;
  if (origin !== undefined && origin !== `http://${headers.host}`) throw new Refusal(403, "the Origin is another one");
  const site = headers["sec-fetch-site"];
  // "none": typed by the user, or opened from a terminal.
  if (site !== undefined && site !== "same-origin" && site !== "none")
    throw new Refusal(403, "the page is another one");
  if (!target.startsWith("/") || target.length > MAX_TARGET) throw new Refusal(400, "the target is not a path");
  const [path = "", ...rest] = target.split("?");
  const values = new URLSearchParams(rest.join("?"));
  if (gate.isToken?.(values.get("token") ?? "") === false) throw new Refusal(401, "the token is missing or wrong");
  if (request.method !== "GET") throw new Refusal(405, "only GET is answered");
  if (headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined) {
    throw new Refusal(400, "a request has no body");
  }
  return { path, values };
}

function numberOf(query: URLSearchParams, name: string, min: number, max: number): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  const value = Number(text);
  if (!/^\d{1,6}$/.test(text) || value < min || value > max) {
    throw new Refusal(400, `${name} is a whole number from ${min} to ${max}`);
  }
  return value;
}

/** For every answer: nothing is kept, guessed, framed, or told to another page. One connection has one answer. */
function harden(response: ServerResponse): void {
  response.setHeader("Cache-Control", "no-store");
  response.setHeader("X-Content-Type-Options", "nosniff");
  response.setHeader("X-Frame-Options", "DENY");
  response.setHeader("Referrer-Policy", "no-referrer");
  response.setHeader("Cross-Origin-Resource-Policy", "same-origin");
  response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
  response.setHeader("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
  response.setHeader("Connection", "close");
}

function policyOf(scripts: readonly string[]): string {
  return [
    "default-src 'none'",
    `script-src ${scripts.length === 0 ? "'none'" : scripts.map((hash) => `'${hash}'`).join(" ")}`,
    "style-src 'unsafe-inline'",
    "img-src data: blob:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}

function send(response: ServerResponse, type: string, body: string | Uint8Array): void {
  if (response.destroyed) return;
  response.setHeader("Content-Type", type);
  response.end(body);
}

function refuse(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const isForeseen = error instanceof Refusal;
  response.statusCode = isForeseen ? error.status : 500;
  if (response.statusCode === 405) response.setHeader("Allow", "GET");
  const text = error instanceof Error ? error.message : String(error);
  send(response, "text/plain; charset=utf-8", `${isForeseen ? text : `the inspector failed: ${text}`}\n`);
}

interface StreamOptions {
  readonly interval: number;
  readonly hasEvents: boolean;
  /** Milliseconds for which the leases need not be listed again. */
  readonly listEvery: number;
  readonly isEventSource: boolean;
}

/** Updates for one viewer until it goes. One update at most is on its way; what it could not take is left out. */
class Stream {
  readonly #hub: RealmHub;
  readonly #response: ServerResponse;
  readonly #options: StreamOptions;
  readonly #endLook: () => void;
  readonly #onEnd: () => void;
  #next: number;
  /** When the leases were listed last, by performance.now(). */
  #listedAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(hub: RealmHub, response: ServerResponse, options: StreamOptions, onEnd: () => void) {
    this.#hub = hub;
    this.#response = response;
    this.#options = options;
    this.#onEnd = onEnd;
    this.#endLook = hub.look();
    this.#next = hub.oldest;
    response.on("close", () => this.#end());
  }

  start(): void {
    if (this.#response.destroyed) {
      this.#end();
      return;
    }
    const type = this.#options.isEventSource ? "text/event-stream" : "application/x-ndjson; charset=utf-8";
    this.#response.setHeader("Content-Type", type);
    this.#response.flushHeaders();
    void this.#tick();
  }

  async #tick(): Promise<void> {
    try {
      await this.#update();
    } catch {
      // A realm that cannot be read now may be read later; a viewer that is gone has ended the stream.
    }
    if (this.#isOver) return;
    this.#timer = setTimeout(() => void this.#tick(), this.#options.interval);
    this.#timer.unref();
  }

  async #update(): Promise<void> {
    const { hasEvents, listEvery, isEventSource } = this.#options;
    const response = this.#response;
    if (response.writableNeedDrain) return;
    const now = performance.now();
    await this.#hub.view(
      (view) => {
        if (this.#isOver) return;
        // Where events are missing, only a list says what has become of the leases.
        if (!view.isWhole(this.#next)) this.#listedAt = Number.NEGATIVE_INFINITY;
        else if (view.isListed) this.#listedAt = now;
        response.write(view.update(hasEvents ? this.#next : undefined, isEventSource));
        this.#next = view.next;
      },
      now - this.#listedAt >= listEvery,
    );
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#endLook();
    this.#onEnd();
  }
}

/** Lets some seconds be recorded, for a viewer that asks for a trace before it looks. */
async function recordFor(hub: RealmHub, seconds: number, response: ServerResponse): Promise<void> {
  // Once in between, so that workers begin now too.
  await hub.view(() => {});
  if (response.destroyed) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    timer.unref();
    response.on("close", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/**
 * An answer of which nothing is read for so many milliseconds is given up, with its connection. Node's timer of a
 * socket begins again whenever the system took some of what was written.
 */
function cutOff(response: ServerResponse, milliseconds: number): void {
  response.setTimeout(milliseconds, () => {
    // Nothing waits to be read: a stream with a long interval, or a trace that is made.
    if (response.writableLength > 0) response.destroy();
  });
}

/** Made and sent piece by piece, at the speed of a viewer that reads some of it. */
async function sendTrace(hub: RealmHub, seconds: number | undefined, response: ServerResponse): Promise<void> {
  const isWanted = (): boolean => !response.destroyed;
  const recordings = await hub.recordings(isWanted);
  const steps = traceFileSteps(recordings, { title: ownTitle(), pid: process.pid }, seconds);
  while (isWanted()) {
    const { done, value } = await hub.tracing.slice(steps);
    if (!isWanted()) return;
    if (!response.headersSent) {
      response.setHeader("Content-Disposition", `attachment; filename="millpond-${process.pid}.json"`);
      response.setHeader("Content-Type", "application/json; charset=utf-8");
    }
    if (done) {
      response.end();
      return;
    }
    if (value !== undefined && !response.write(value)) await drained(response);
  }
}

/** What was written has been read, or the viewer is gone, or was cut off because it reads nothing. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const finish = (): void => {
      response.off("drain", finish);
      response.off("close", finish);
      resolve();
    };
    response.on("drain", finish);
    response.on("close", finish);
  });
}
