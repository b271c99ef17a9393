/** Child processes whose exit is looked at: a crash is an exit by signal, and no test may call that a success. */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end; what hangs is ended before the test is, so that the test can say what it printed. */
export function run(command: readonly string[], options: SpawnOptions = {}): Promise<Exit> {
  return exitOf(spawn(command[0]!, command.slice(1), { timeout: 100_000, ...options }));
}

/** What Node's permissions are to have beside those of a test, so that a child starts as fast as without them. */
export const MAY_KEEP_CODE: readonly string[] =
  process.env.NODE_COMPILE_CACHE === undefined
    ? []
    : [`--allow-fs-read=${process.env.NODE_COMPILE_CACHE}/*`, `--allow-fs-write=${process.env.NODE_COMPILE_CACHE}/*`];

/** What a child prints from now on, and how it ends. */
export function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve, reject) => {
    let stdout = "";
    let stderr = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** The JSON on the last line that a child printed; its whole output is the error when it did not end well. */
export function answerOf<T>(exit: Exit): T {
  if (exit.code !== 0) throw new Error(`exit ${exit.code ?? exit.signal}\n${exit.stdout}\n${exit.stderr}`);
  return JSON.parse(exit.stdout.trim().split("\n").at(-1)!) as T;
}

/** Ends a child that may have ended already, and waits until it has. */
export async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}
