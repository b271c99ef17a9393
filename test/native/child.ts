/** Child processes whose exit is looked at: a crash is an exit by signal, and no test may call that a success. */
import { type SpawnOptions, spawn } from "node:child_process";

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end, at most 50 s. */
export function run(command: readonly string[], options: SpawnOptions = {}): Promise<Exit> {
  return new Promise((resolve, reject) => {
    const child = spawn(command[0]!, command.slice(1), { timeout: 50_000, ...options });
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
