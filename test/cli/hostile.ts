/**
 * One runner for every hostile run of the command. A table says how the command is called and what it has to say; this
 * file holds each run to the promises that all of them share: it ends, with one message, with the right code, without a
 * stack, and leaves nothing half-written.
 *
 * The built command runs, as users have it: `npm run build` first, which `npm test` does. In the fast lane only where
 * its process itself is looked at; the other runs go through one process that stays (command-host.ts).
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { expect, it } from "vitest";
import { FULL, isFullLength, REPEATED } from "../helpers/effort.ts";
import { ROOT } from "./command.ts";
import { canBeHosted, runHosted } from "./command-host.ts";

/** The command as it is packed. */
const BUILT_MAIN: string = join(ROOT, "dist/cli.js");

/** What hangs is killed then, and fails. A run takes a second; a machine with much else to do may need thirty. */
export const BOUND_MS = 60_000;

/** How a run ended. */
export interface HostileResult {
  /** Exit code; null when a signal ended the process. */
  readonly code: number | null;
  /** The signal that ended it, if one did. */
  readonly signal: NodeJS.Signals | null;
  /** Standard output. */
  readonly stdout: Buffer;
  /** Standard error. */
  readonly stderr: string;
  /** Standard error as one line: the messages are wrapped to the width of a terminal. */
  readonly message: string;
  /** Milliseconds from the start to the end. */
  readonly elapsed: number;
  /** True when it was killed after {@link BOUND_MS}. */
  readonly isHung: boolean;
}

/** One line of a table. */
export interface HostileRun {
  /** A sentence: what is done to the command, and what it does. */
  readonly name: string;
  /** What stands behind `millpond`; `folder` is empty but for what `arrange` put there, and is the current folder. */
  readonly args: readonly string[] | ((folder: string) => readonly string[]);
  /** The exit code, or those that are right. */
  readonly code: number | readonly number[];
  /** What the message says, on one line. */
  readonly message?: RegExp;
  /** One of many that show the same: it runs in `npm run test:all` only. */
  readonly isMore?: boolean;
  /** A reason to skip the run here, told aloud. */
  readonly skip?: string | undefined;
  /** Prepares the folder. */
  readonly arrange?: (folder: string) => void | Promise<void>;
  /** Something that happens while the command runs, such as a signal. */
  readonly during?: (child: ChildProcess, folder: string) => void | Promise<void>;
  /** Standard input; a file descriptor is inherited. Default: none. */
  readonly stdin?: Readable | Uint8Array | number | undefined;
  /** A file descriptor for standard output. Default: it is collected. */
  readonly stdout?: number;
  /** In the fast lane, too, the run has a process of its own. */
  readonly isAlone?: boolean;
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /**
   * Names that may be new in the folder afterwards. Default: none for a run that fails, anything that is not a
   * temporary file for one that does not.
   */
  readonly leaves?: readonly string[];
  /** Names of arranged files that the run may change. Default: none. */
  readonly changes?: readonly string[];
  /** More to check. */
  readonly check?: (result: HostileResult, folder: string) => void | Promise<void>;
}

/** Makes a test of each line of the table. */
export function hostileRuns(runs: readonly HostileRun[]): void {
  for (const run of runs) {
    const isShort = typeof run.args !== "function" && needsNoProcess(run.args, run);
    it(run.name, run.isMore === true ? FULL : isShort ? REPEATED : {}, async (context) => {
      if (run.skip !== undefined) {
        console.warn(`skipped: ${run.name}: ${run.skip}`);
        context.skip(run.skip);
      }
      await hold(run);
    });
  }
}

/** Runs one line and asserts all that every run promises; for tests that need the result. */
export async function hold(run: HostileRun): Promise<HostileResult> {
  const folder = mkdtempSync(join(tmpdir(), "millpond-hostile-"));
  try {
    await run.arrange?.(folder);
    const before = contentsOf(folder);
    const args = typeof run.args === "function" ? run.args(folder) : run.args;
    const result = await runCommand(args, run, folder);
    expectOneEnd(result, run);
    expectNothingHalfWritten(result, run, before, contentsOf(folder));
    await run.check?.(result, folder);
    return result;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What a run is given beside its arguments. */
type How = Pick<HostileRun, "during" | "env" | "isAlone" | "stdin" | "stdout">;

function needsNoProcess(args: readonly string[], { during, env, isAlone, stdin, stdout }: How): boolean {
  if (isAlone === true || during !== undefined || stdin !== undefined || stdout !== undefined) return false;
  return canBeHosted(args, env);
}

/** Runs the command in `folder`, bounded, and asserts nothing. */
export async function runCommand(
  args: readonly string[],
  how: How = {},
  folder: string = ROOT,
): Promise<HostileResult> {
  if (isFullLength || !needsNoProcess(args, how)) return runBuilt(args, how, folder);
  const began = performance.now();
  const hosted = await runHosted(args, folder, how.env ?? {}, BOUND_MS);
  const stderr = hosted.stderr.toString();
  const message = stderr.replace(/\s+/g, " ").trim();
  return { ...hosted, stderr, message, elapsed: performance.now() - began };
}

async function runBuilt(args: readonly string[], how: How, folder: string): Promise<HostileResult> {
  if (!existsSync(BUILT_MAIN)) throw new Error("dist/cli.js is missing: npm run build");
  const { MILLPOND_TEST_FAULT: _, MILLPOND_DEBUG: __, FORCE_COLOR: ___, ...env } = process.env;
  const began = performance.now();
  const child = spawn(process.execPath, [BUILT_MAIN, ...args], {
    cwd: folder,
    env: { ...env, ...how.env },
    stdio: [stdinOf(how.stdin), how.stdout ?? "pipe", "pipe"],
  });
  const chunks: Buffer[] = [];
  let stderr = "";
  child.stdout?.on("data", (chunk: Buffer) => chunks.push(chunk));
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  feed(child, how.stdin);
  let isHung = false;
  const bound = setTimeout(() => {
    isHung = true;
    child.kill("SIGKILL");
  }, BOUND_MS);
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal }));
  });
  try {
    await Promise.all([how.during?.(child, folder), ended]);
    const elapsed = performance.now() - began;
    const message = stderr.replace(/\s+/g, " ").trim();
    return { ...(await ended), stdout: Buffer.concat(chunks), stderr, message, elapsed, isHung };
  } finally {
    clearTimeout(bound);
    child.kill("SIGKILL");
  }
}

function stdinOf(stdin: HostileRun["stdin"]): "ignore" | "pipe" | number {
  if (typeof stdin === "number") return stdin;
  return stdin === undefined ? "ignore" : "pipe";
}

function feed(child: ChildProcess, stdin: HostileRun["stdin"]): void {
  if (child.stdin === null || stdin === undefined || typeof stdin === "number") return;
  // The command may rightly end before it has read everything.
  child.stdin.on("error", () => {});
  if (stdin instanceof Uint8Array) child.stdin.end(stdin);
  else stdin.pipe(child.stdin);
}

/** One end: in time, with an exit code of ours, one message in plain words, no stack. */
export function expectOneEnd(result: HostileResult, { code, message }: Pick<HostileRun, "code" | "message">): void {
  const { stderr, signal } = result;
  const said = `\ncode ${result.code}, signal ${signal}, standard error:\n${stderr}`;
  expect(result.isHung, `it hung for ${BOUND_MS / 1000} s${said}`).toBe(false);
  expect(signal, `a signal ended it${said}`).toBeNull();
  const right = typeof code === "number" ? [code] : code;
  expect(right, `the exit code${said}`).toContain(result.code);
  const lines = stderr.split("\n").filter((line) => line !== "");
  const messages = lines.filter((line) => /^millpond:(?: (?!warning: )|$)/.test(line));
  expect(messages.length, `messages besides warnings${said}`).toBe(result.code === 0 ? 0 : 1);
  // A message is wrapped with two spaces in front; what stands at the margin and is not ours came past us.
  const foreign = lines.filter((line) => !/^(millpond:( |$)| {2})/.test(line));
  expect(foreign, `lines that are not messages of the command${said}`).toEqual([]);
  expect(stderr, "a stack").not.toMatch(/^\s+at .*:\d+:\d+\)?$/m);
  expect(stderr).not.toMatch(/unforeseen|please report|node:internal|\[object Object\]|undefined|\.part\b/);
  if (message !== undefined) expect(result.message).toMatch(message);
}

/** Nothing half-written: no temporary file, no new file of a failed run, no arranged file that is not as it was. */
function expectNothingHalfWritten(
  { code, stderr }: HostileResult,
  { leaves, changes = [] }: HostileRun,
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): void {
  const fresh = [...after.keys()].filter((name) => !before.has(name));
  expect(
    fresh.filter((name) => /\.part$|(^|\/)\.[^/]*$/.test(name)),
    "temporary files",
  ).toEqual([]);
  const failed = code !== 0 && code !== 2 && code !== 3;
  if (leaves !== undefined) expect(fresh.sort(), `files that are new\n${stderr}`).toEqual([...leaves].sort());
  else if (failed) expect(fresh, `files of a run that failed\n${stderr}`).toEqual([]);
  for (const [name, content] of before) {
    if (!changes.includes(name)) expect(`${name}: ${after.get(name)}`).toBe(`${name}: ${content}`);
  }
}

/**
 * Every path below a folder with what it is: files by their digest, links by where they point, the rest by its kind.
 */
function contentsOf(folder: string, below = ""): Map<string, string> {
  const found = new Map<string, string>();
  for (const name of readdirSync(join(folder, below))) {
    const path = below === "" ? name : `${below}/${name}`;
    const full = join(folder, path);
    const stat = lstatSync(full);
    if (stat.isSymbolicLink()) found.set(path, `link to ${readlinkSync(full)}`);
    else if (stat.isFile()) found.set(path, createHash("sha256").update(readFileSync(full)).digest("hex"));
    else if (stat.isDirectory()) {
      found.set(path, "folder");
      for (const [inner, what] of contentsOf(folder, path)) found.set(inner, what);
    } else found.set(path, stat.isFIFO() ? "fifo" : "special");
  }
  return found;
}
