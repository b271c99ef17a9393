/**
 * `millpond top [pid]`: the pools of a running process, in the terminal, as JSON, or as a page in the browser.
 *
 * Ends with 0 when it is quit or the process has ended, with 1 when there is no process to look at.
 */
import { setTimeout as delay } from "node:timers/promises";
import { ReadError, readSnapshot, watchProcess } from "../adapters/inspect/client.ts";
import { type FoundSocket, findSockets, isRunning, removeStale } from "../adapters/inspect/sockets.ts";
import type { InspectorUpdate, ProcessSnapshot } from "../observe/snapshot.ts";
import type { TopOptions } from "./args.ts";
import { ExitCode, Failure, type Interruption, listenForSignals, print } from "./exit.ts";
import { complain, paintFor } from "./terminal.ts";
import { clip, shown } from "./top/cells.ts";
import { type Look, TopModel } from "./top/model.ts";
import { Screen } from "./top/screen.ts";

/** How long a process may take for its first answer. */
const ANSWER_MS = 5000;
/** How long each of several may take to say who it is. */
const NAME_MS = 1000;
/** How often the screen is drawn beside updates: ages go on, and silence shows. */
const REDRAW_MS = 500;
/** Milliseconds between updates, unless told. */
const DEFAULT_INTERVAL = 1000;
/** Before a stream that ended is opened again. */
const RETRY_MS = 250;
/** Between the two snapshots of a table that is printed once: rates need two. */
const ONCE_MS = 500;

/** What is said of a process that tells nothing. */
const SILENT = "does not answer: its main thread is blocked or stopped";

/** A process that serves. */
interface Found extends FoundSocket {
  /** What it calls itself; undefined: it did not answer. */
  readonly title: string | undefined;
}

/** Runs the command; resolves with the exit code. Throws {@link Failure}. */
export async function top(options: TopOptions): Promise<ExitCode> {
  const stop = new AbortController();
  const forget = listenForSignals(stop);
  try {
    const target = await choose(options, stop.signal);
    if (target === undefined) return ExitCode.OK;
    if (options.web) return await web(target, options.port, stop.signal);
    if (options.json) return await json(target, options.interval, stop.signal);
    if (!isLive()) return await plain(target, options.interval, stop.signal);
    return await live(target, options.interval ?? DEFAULT_INTERVAL, stop.signal);
  } finally {
    forget();
  }
}

/** Whether there is a terminal to draw on. */
function isLive(): boolean {
  return process.stdout.isTTY === true && process.env.TERM !== "dumb";
}

/** Which process is meant; undefined: the user chose none. */
async function choose({ pid, json: isJson, web: isWeb }: TopOptions, signal: AbortSignal): Promise<Found | undefined> {
  const sockets = await liveSockets(pid);
  const [first] = sockets;
  if (first === undefined) throw new Failure(await whyNone(pid));
  if (sockets.length === 1) return { ...first, title: undefined };
  // Two copies of this package in one process.
  if (pid !== undefined) return await fullest(sockets);
  const found = await Promise.all(sockets.map(nameOf));
  if (!isLive() || process.stdin.isTTY !== true || isJson || isWeb) {
    const list = found.map(describe).join(", ");
    throw new Failure(
      `${found.length} processes serve an inspector: ${list}; which one? Give its number: millpond top ${first.pid}`,
    );
  }
  return await chooseFrom(found, signal);
}

/** The one that knows the most pools. Each has the time of a first answer: they are one process, which may be busy. */
async function fullest(sockets: readonly FoundSocket[]): Promise<Found> {
  const counted = await Promise.all(
    sockets.map(async (socket) => {
      const snapshot = await readSnapshot(socket.path, ANSWER_MS).catch(() => undefined);
      const pools = snapshot?.realms.reduce((sum, realm) => sum + realm.pools.length, 0) ?? -1;
      return { socket, pools };
    }),
  );
  const { socket } = counted.reduce((best, one) => (one.pools > best.pools ? one : best));
  return { ...socket, title: undefined };
}

/** The sockets that somebody listens on; those that ended processes left behind are removed. */
async function liveSockets(pid: number | undefined): Promise<FoundSocket[]> {
  const sockets = findSockets().filter((socket) => pid === undefined || socket.pid === pid);
  const stale = await Promise.all(sockets.map(removeStale));
  return sockets.filter((_, i) => !stale[i]);
}

async function whyNone(pid: number | undefined): Promise<string> {
  const how = "start the program with: node --import millpond/inspect app.js";
  if (pid === undefined) return `no process of this user serves an inspector; ${how}`;
  if (!isRunning(pid)) return `there is no process ${pid}`;
  const others = await Promise.all((await liveSockets(undefined)).map(nameOf));
  const list = others.length === 0 ? how : `these do: ${others.map(describe).join(", ")}`;
  return `process ${pid} serves no inspector to this user; ${list}`;
}

async function nameOf(socket: FoundSocket): Promise<Found> {
  const snapshot = await readSnapshot(socket.path, NAME_MS).catch(() => undefined);
  return { ...socket, title: snapshot?.title };
}

function describe({ pid, title }: Found): string {
  return `${pid} (${title === undefined ? "does not answer" : clip(shown(title), 60)})`;
}

async function chooseFrom(found: readonly Found[], signal: AbortSignal): Promise<Found | undefined> {
  const { paint } = lookOf();
  let at = 0;
  return await new Promise<Found | undefined>((resolve, reject) => {
    const finish = (chosen: Found | undefined): void => {
      screen.close();
      resolve(chosen);
    };
    const draw = (): void => {
      const [columns, rows] = screen.size;
      const room = Math.max(1, rows - 3);
      const from = Math.max(0, Math.min(at - room + 1, found.length - room));
      const lines = found.slice(from, from + room).map((one, i) => {
        const text = clip(
          `${from + i === at ? "> " : "  "}${one.pid}  ${shown(one.title ?? "does not answer")}`,
          columns,
        );
        return from + i === at ? paint.bold(text) : text;
      });
      screen.draw(
        [clip("Which process?", columns), "", ...lines, paint.dim(clip("Enter look at it  q quit", columns))].slice(
          0,
          rows,
        ),
      );
    };
    const screen = new Screen(
      process.stdin,
      process.stdout,
      (action) => {
        if (action === "quit" || action === "back") return finish(undefined);
        if (action === "open") return finish(found[at]);
        const by = { up: -1, down: 1, first: -found.length, last: found.length }[action as string] ?? 0;
        at = Math.max(0, Math.min(found.length - 1, at + by));
        draw();
      },
      draw,
    );
    const onAbort = (): void => {
      screen.close();
      reject(signal.reason);
    };
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    screen.open();
    draw();
  });
}

function lookOf(): Look {
  const { LC_ALL, LC_CTYPE, LANG, TERM } = process.env;
  const locale = LC_ALL || LC_CTYPE || LANG || "";
  return { paint: paintFor(process.stdout), unicode: TERM !== "linux" && /utf-?8/i.test(locale) };
}

/** The live table. */
async function live(target: Found, interval: number, signal: AbortSignal): Promise<ExitCode> {
  const quit = new AbortController();
  const model = new TopModel();
  const look = lookOf();
  let heardAt = performance.now();
  const draw = (): void => {
    const silent = performance.now() - heardAt;
    const [columns, rows] = screen.size;
    screen.draw(model.render(columns, rows, look, silent > patience(interval) ? silent : undefined));
  };
  const screen = new Screen(
    process.stdin,
    process.stdout,
    (action) => {
      if (model.act(action)) quit.abort();
      else draw();
    },
    draw,
  );
  const ended = AbortSignal.any([signal, quit.signal]);
  // Before the first answer too: q ends a wait for a process that is blocked.
  screen.open();
  draw();
  const redraw = setInterval(draw, REDRAW_MS);
  let title = `process ${target.pid}`;
  try {
    for await (const { snapshot } of watch(target, interval, ended)) {
      heardAt = performance.now();
      title = titleOf(target, snapshot);
      model.accept(snapshot);
      draw();
    }
  } catch (error) {
    if (!ended.aborted) throw explainRead(error, target);
  } finally {
    clearInterval(redraw);
    screen.close();
  }
  return await finish(target, title, signal, quit.signal.aborted);
}

/**
 * Updates until the process ends or serves no more. A stream may end before: that of a viewer which was stopped for a
 * while is cut off.
 */
async function* watch(target: Found, interval: number, signal: AbortSignal): AsyncGenerator<InspectorUpdate> {
  const until = performance.now() + ANSWER_MS;
  let hasTold = false;
  for (;;) {
    // All answers without an update together have the time of the first one.
    const timeout = hasTold ? ANSWER_MS : Math.max(1, until - performance.now());
    try {
      for await (const update of watchProcess({ path: target.path, interval, timeout, signal })) {
        hasTold = true;
        yield update;
      }
    } catch (error) {
      if (!hasTold) throw error;
      if (error instanceof ReadError && error.kind === "gone") return;
    }
    if (signal.aborted || !isThere(target)) return;
    if (!hasTold && performance.now() >= until) throw new ReadError("silent", "its answers end before an update");
    await delay(RETRY_MS, undefined, { signal }).catch(() => {});
  }
}

/** How a watch is over: by a signal, by the user, or because there is nothing left to watch. */
async function finish({ pid }: Found, title: string, signal: AbortSignal, isQuit = false): Promise<ExitCode> {
  if (signal.aborted) return (signal.reason as Interruption).exitCode;
  // Its socket goes some moments before it does.
  for (let i = 0; i < 10 && !isQuit && isRunning(pid); i++) await delay(RETRY_MS / 5);
  if (!isQuit) complain(`${title} ${isRunning(pid) ? "serves its inspector no more" : "has ended"}`);
  return ExitCode.OK;
}

function titleOf({ pid }: Found, { title }: ProcessSnapshot): string {
  return `process ${pid} (${clip(shown(title), 60)})`;
}

/** After how many milliseconds without an update a process is called silent. */
function patience(interval: number): number {
  return Math.max(2000, 3 * interval);
}

/** A table for a pipe or a file: once, or again and again. */
async function plain(target: Found, interval: number | undefined, signal: AbortSignal): Promise<ExitCode> {
  const model = new TopModel();
  const look = lookOf();
  const columns = Math.max(40, process.stdout.columns || Number(process.env.COLUMNS) || 120);
  const table = (): string => `${model.table(columns, look).join("\n")}\n`;
  let title = `process ${target.pid}`;
  let count = 0;
  // A table that is printed once says what there is, also of a process that told once and is blocked since.
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const ended = AbortSignal.any([signal, late.signal]);
  try {
    for await (const { snapshot } of tellingSilence(target, interval, watch(target, interval ?? ONCE_MS, ended))) {
      title = titleOf(target, snapshot);
      model.accept(snapshot);
      count++;
      if (interval !== undefined) await print(`${table()}\n`);
      else if (count === 2) break;
      else timer = setTimeout(() => late.abort(), ANSWER_MS);
    }
    if (interval === undefined && (count === 2 || late.signal.aborted)) {
      await print(table());
      if (count === 2) return ExitCode.OK;
      throw explainRead(new ReadError("silent", "it told once"), target);
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    if (!signal.aborted) throw explainRead(error, target);
  } finally {
    clearTimeout(timer);
  }
  return await finish(target, title, signal);
}

/** The same updates; where they come again and again, a silence between two is told once, on standard error. */
async function* tellingSilence(
  { pid }: Found,
  interval: number | undefined,
  updates: AsyncIterable<InspectorUpdate>,
): AsyncGenerator<InspectorUpdate> {
  let timer: NodeJS.Timeout | undefined;
  try {
    for await (const update of updates) {
      clearTimeout(timer);
      yield update;
      if (interval !== undefined)
        timer = setTimeout(() => complain(`process ${pid} ${SILENT}; it is waited for`), patience(interval));
    }
  } finally {
    clearTimeout(timer);
  }
}

/** One snapshot, or one a line. */
async function json(target: Found, interval: number | undefined, signal: AbortSignal): Promise<ExitCode> {
  try {
    if (interval === undefined) {
      await print(`${jsonOf(await readSnapshot(target.path, ANSWER_MS))}\n`);
      return ExitCode.OK;
    }
    for await (const { snapshot } of tellingSilence(target, interval, watch(target, interval, signal))) {
      await print(`${jsonOf(snapshot)}\n`);
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    if (!signal.aborted) throw explainRead(error, target);
  }
  return await finish(target, `process ${target.pid}`, signal);
}

/** JSON leaves some characters as they are that a terminal takes for commands, or shows in another order. */
export function jsonOf(snapshot: ProcessSnapshot): string {
  return JSON.stringify(snapshot).replaceAll(/[\u007f-\u009f\u2028\u2029]|\p{Cf}/gu, (character) => {
    const units = Array.from({ length: character.length }, (_, at) => character.charCodeAt(at));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
  });
}

/** Serves the page until a signal or the end of the process. */
async function web(target: Found, port: number, signal: AbortSignal): Promise<ExitCode> {
  // That it answers is known before an address is printed.
  const { title } = await readSnapshot(target.path, ANSWER_MS).catch((error: unknown) => {
    throw explainRead(error, target);
  });
  const { servePage } = await import("../adapters/inspect/proxy.ts");
  const page = await servePage(target.path, port).catch((error: NodeJS.ErrnoException) => {
    const why = error.code === "EADDRINUSE" ? "it is in use" : error.message;
    throw new Failure(`port ${port} cannot be listened on: ${why}; --port 0 takes any`, ExitCode.FAILED, {
      cause: error,
    });
  });
  try {
    await print(`${page.url}\n`);
    complain(
      `serves ${clip(shown(title), 60)} (process ${target.pid}) until Ctrl-C; everyone with the address can look`,
    );
    while (!signal.aborted && isThere(target)) await delay(1000, undefined, { signal }).catch(() => {});
  } finally {
    await page.close();
  }
  return await finish(target, `process ${target.pid}`, signal);
}

/** Whether it runs, and has its socket. */
function isThere({ pid, path }: Found): boolean {
  return isRunning(pid) && findSockets().some((socket) => socket.path === path);
}

function explainRead(error: unknown, { pid }: Found): Failure {
  // What was read and cannot be shown is another version's.
  const kind = error instanceof ReadError ? error.kind : "odd";
  const text = {
    gone: isRunning(pid) ? `process ${pid} serves its inspector no more` : `process ${pid} has ended`,
    busy: `process ${pid} has as many viewers as it serves; end one of them`,
    silent: `process ${pid} ${SILENT}`,
    odd: `process ${pid} does not answer as an inspector of this version does`,
  }[kind];
  return new Failure(text, ExitCode.FAILED, { cause: error });
}
