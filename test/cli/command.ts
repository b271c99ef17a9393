/** Runs the real command, as a user would. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { type Exit, exitOf } from "../helpers/child.ts";
import { HANGS_MS } from "../helpers/effort.ts";
import { isHosted, runHosted } from "./command-host.ts";

export const ROOT: string = fileURLToPath(new URL("../../", import.meta.url));
/**
 * The built command when it is as new as its sources, which it is under `npm test`: it starts in half the processor
 * time. The command in the source tree otherwise, so that one file can be run without a build.
 */
export const MAIN: string = builtIsNew() ? join(ROOT, "dist/cli.js") : join(ROOT, "src/cli/main.ts");
export const CLIP: string = join(ROOT, "assets/clip.mp4");

export interface RunningCommand {
  readonly child: ChildProcess;
  readonly done: Promise<Exit>;
}

export interface CommandOptions {
  readonly fault?: string;
  readonly stdin?: Readable | Uint8Array;
  readonly stdout?: number;
}

export function start(args: readonly string[], options: CommandOptions = {}): RunningCommand {
  const { MILLPOND_TEST_FAULT: _, FORCE_COLOR: __, ...env } = process.env;
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: options.fault === undefined ? env : { ...env, MILLPOND_TEST_FAULT: options.fault },
    stdio: [options.stdin === undefined ? "ignore" : "pipe", options.stdout ?? "pipe", "pipe"],
  });
  const done = exitOf(child);
  const { stdin } = options;
  if (child.stdin !== null && stdin !== undefined) {
    // The command may rightly end before it has read everything.
    child.stdin.on("error", () => {});
    if (stdin instanceof Uint8Array) child.stdin.end(stdin);
    else stdin.pipe(child.stdin);
  }
  return { child, done };
}

/** Runs the command to its end; in the fast lane without a process of its own, where none is looked at. */
export async function millpond(args: readonly string[], options: CommandOptions = {}): Promise<Exit> {
  const { fault, stdin, stdout } = options;
  const env: Record<string, string> = fault === undefined ? {} : { MILLPOND_TEST_FAULT: fault };
  if (stdin !== undefined || stdout !== undefined || !isHosted(args, env)) return start(args, options).done;
  const hosted = await runHosted(args, process.cwd(), env, HANGS_MS);
  return { ...hosted, stdout: hosted.stdout.toString(), stderr: hosted.stderr.toString() };
}

function builtIsNew(): boolean {
  const built = statSync(join(ROOT, "dist/cli.js"), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const source = join(ROOT, "src");
  return readdirSync(source, { recursive: true, encoding: "utf8" }).every(
    (file) => statSync(join(source, file)).mtimeMs <= built,
  );
}

/** A folder that is gone after the test file. */
export function scratchFolder(): { readonly path: string; readonly remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "millpond-test-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Everything in a folder, hidden files too; empty when there is none. */
export function filesIn(path: string): string[] {
  return existsSync(path) ? readdirSync(path).sort() : [];
}

/** big-buck-bunny.mp4 beside the repository, or undefined with the reason printed. */
export function bigBuckBunny(): string | undefined {
  const folder = process.env.MILLPOND_MEDIA ?? join(ROOT, "../shared/media");
  const path = join(folder, "big-buck-bunny.mp4");
  if (existsSync(path)) return path;
  console.warn(
    "skipped: big-buck-bunny.mp4 is not there; set MILLPOND_MEDIA to the folder that has it (it is not part of the package)",
  );
  return undefined;
}

/** Waits until the command listens for signals, or has ended. */
export async function untilListening(child: ChildProcess): Promise<void> {
  const began = performance.now();
  while (child.exitCode === null && !listens(child, began)) await new Promise((resolve) => setTimeout(resolve, 10));
}

/**
 * Whether the process catches SIGQUIT, which Node by itself does not; where nothing tells, long enough after its start.
 */
function listens(child: ChildProcess, began: number): boolean {
  try {
    const mask = /^SigCgt:\s*(\w+)$/m.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1];
    return mask !== undefined && (BigInt(`0x${mask}`) & 4n) !== 0n;
  } catch {
    return performance.now() - began > 5_000;
  }
}
