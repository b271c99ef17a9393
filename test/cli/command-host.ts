/**
 * The command without a process for each run: the fast lane asks one process that stays, per process of the tests, for
 * the runs of which no process of its own is looked at. At full length, every run is the built command in its own
 * process.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { join } from "node:path";
import { isFullLength } from "../helpers/effort.ts";

/** What the host is told to run. */
export interface Told {
  readonly args: readonly string[];
  /** The current folder of the run. */
  readonly folder: string;
  /** Set for this run. */
  readonly env: Readonly<Record<string, string>>;
  /** Ends what the run says on either stream. */
  readonly mark: string;
}

/** How a run ended; with a code and a signal of the process when it took the host with it. */
export interface Hosted {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly isHung: boolean;
}

/**
 * Whether the fast lane need not start a process for this run; a test of nothing else is tagged `REPEATED`, so that it
 * has its process at full length. It needs one where the streams or the end of the process itself matter: standard
 * streams and descriptors by name, `--compare` with its own processes, threads that hang until the process ends, and
 * what depends on whether this process has given a file its name before.
 */
export function canBeHosted(args: readonly string[], env: Readonly<Record<string, string>> = {}): boolean {
  if (env.NODE_OPTIONS !== undefined || /^(hang|leak)/.test(env.MILLPOND_TEST_FAULT ?? "")) return false;
  return !args.some((arg) => arg === "-" || /(^| )-( |$)|\/dev\/(?!full|null)|^--(compare|graph)/.test(arg));
}

/** Whether it is hosted in this lane. */
export function isHosted(args: readonly string[], env: Readonly<Record<string, string>>): boolean {
  return !isFullLength && canBeHosted(args, env);
}

/** It ends with the process that asks it, by the end of their channel; test files that share their realm share it. */
let host: ChildProcess | undefined;
let last: Promise<unknown> = Promise.resolve();
let count = 0;

/** Runs the command in the host, after all that it was asked for before; what takes longer than `boundMs` is ended. */
export function runHosted(
  args: readonly string[],
  folder: string,
  env: Readonly<Record<string, string>>,
  boundMs: number,
): Promise<Hosted> {
  const run = last.then(() => runAlone(args, folder, env, boundMs));
  last = run.catch(() => {});
  return run;
}

async function runAlone(
  args: readonly string[],
  folder: string,
  env: Readonly<Record<string, string>>,
  boundMs: number,
): Promise<Hosted> {
  host ??= startHost();
  const child = host;
  const mark = `\u0000end of run ${++count}\u0000`;
  let isHung = false;
  const bound = setTimeout(() => {
    isHung = true;
    child.kill("SIGKILL");
  }, boundMs);
  try {
    const said = Promise.all([untilMark(child.stdout!, mark), untilMark(child.stderr!, mark)]);
    const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
      const onExit = (code: number | null, signal: NodeJS.Signals | null): void => {
        child.off("message", onMessage);
        host = undefined;
        resolve({ code, signal });
      };
      const onMessage = (code: unknown): void => {
        child.off("exit", onExit);
        resolve({ code: code as number, signal: null });
      };
      child.once("exit", onExit).once("message", onMessage);
    });
    child.send({ args, folder, env, mark } satisfies Told);
    const { code, signal } = await ended;
    const [stdout, stderr] = await said;
    return { code, signal, stdout, stderr, isHung };
  } finally {
    clearTimeout(bound);
  }
}

function startHost(): ChildProcess {
  const { MILLPOND_TEST_FAULT: _, MILLPOND_DEBUG: __, FORCE_COLOR: ___, ...env } = process.env;
  const child = spawn(process.execPath, [join(import.meta.dirname, "host.ts")], {
    env,
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  // It keeps nobody alive.
  for (const handle of [child, child.channel!, child.stdout as Socket, child.stderr as Socket]) handle.unref();
  return child;
}

/** What comes before the mark; all that came when the stream ends without it. */
async function untilMark(stream: NodeJS.ReadableStream, mark: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const over = new AbortController();
  const onData = (chunk: Buffer): void => {
    chunks.push(chunk);
    if (Buffer.concat(chunks).includes(mark)) over.abort();
  };
  stream.on("data", onData);
  try {
    await once(stream, "end", { signal: over.signal });
  } catch {
    // The mark has come.
  }
  stream.off("data", onData);
  const all = Buffer.concat(chunks);
  const end = all.indexOf(mark);
  return end < 0 ? all : all.subarray(0, end);
}
