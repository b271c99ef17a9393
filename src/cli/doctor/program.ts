/**
 * `millpond doctor app.js`: runs a program as Node would, with its standard streams, arguments, signals and exit code,
 * and the preload in it that counts; then reads what it wrote, and says what a pool would do.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ThreadProfile } from "../../adapters/node/profile/profile.ts";
import type { ProgramOptions } from "../args.ts";
import { MILLPOND_VERSION } from "../args.ts";
import { Failure, print } from "../exit.ts";
import { type Advice, advise } from "./advise.ts";
import { merge, type Profile, readProfiles } from "./profile.ts";
import { reportText } from "./report.ts";

const PRELOAD = fileURLToPath(
  new URL(
    import.meta.url.endsWith(".ts") ? "../../adapters/node/profile/doctor-preload.ts" : "./doctor-preload.cjs",
    import.meta.url,
  ),
);

/** How the program ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What `--json` writes. */
export interface Diagnosis {
  readonly millpond: string;
  readonly program: readonly string[];
  readonly ending: Ending;
  /** null: the program told nothing. */
  readonly profile: Profile | null;
  readonly advice: Advice | null;
}

/** Runs the program and reports on it; answers the program's exit code. */
export async function examine({ program, args, threshold, json }: ProgramOptions): Promise<number> {
  // Node finds a file without its ending, and a folder's index.
  const endings = ["", ".js", ".json", ".node", ".cjs", ".mjs", ".ts"];
  if (program !== "-" && !endings.some((ending) => existsSync(program + ending))) {
    throw new Failure(`there is no file ${program}`);
  }
  if (process.versions.bun !== undefined || process.versions.deno !== undefined) {
    throw new Failure("millpond doctor app.js needs Node: it counts with what V8 and Node tell");
  }
  const { ending, threads } = await watch(program, args, threshold);
  const profile = merge(threads, threshold);
  const advice = profile === undefined ? undefined : advise(profile);
  if (json === false) {
    await print(reportText([program, ...args], ending, profile, advice), process.stderr);
  } else {
    const diagnosis: Diagnosis = {
      millpond: MILLPOND_VERSION,
      program: [program, ...args],
      ending,
      profile: profile ?? null,
      advice: advice ?? null,
    };
    const text = `${JSON.stringify(diagnosis, null, 2)}\n`;
    if (json === true) await print(text, process.stderr);
    else writeFileSync(json, text);
  }
  return ending.code ?? 128 + (ending.signal === null ? 0 : constants.signals[ending.signal]);
}

/** Runs the program with the preload in it; answers how it ended, and what its threads wrote. */
async function watch(
  program: string,
  args: readonly string[],
  threshold: number,
): Promise<{ readonly ending: Ending; readonly threads: readonly ThreadProfile[] }> {
  // From here to the end of the folder: nothing but the program ends by a signal, so that nothing is left behind.
  const signals = new PassedSignals();
  let folder: string | undefined;
  let isInUse = false;
  try {
    folder = mkdtempSync(join(tmpdir(), "millpond-doctor-"));
    const preload = join(folder, "preload.cjs");
    const options = {
      folder,
      threshold,
      root: `${dirname(PRELOAD)
        .replaceAll("\\", "/")
        .replace(/\/adapters\/node\/profile$/, "")}/`,
    };
    // Options in a file of their own: the program's environment stays what it is, and workers and forks inherit the
    // file.
    writeFileSync(preload, `require(${JSON.stringify(PRELOAD)}).start(${JSON.stringify(options)});\n`, { mode: 0o600 });
    const file = program.startsWith("-") && program !== "-" ? `./${program}` : program;
    const ending = await run(["--require", preload, file, ...args], signals);
    const threads = readProfiles(folder);
    // Each worker that such a process starts from now on loads the file.
    isInUse = threads.some(({ pid }) => isAlive(pid));
    return { ending, threads };
  } finally {
    if (folder !== undefined && !isInUse) rmSync(folder, { recursive: true, force: true });
    signals.end();
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Signals that the program is to get. */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const;

/** Signals go to the program instead of this process, until {@link end}. */
class PassedSignals {
  program: ChildProcess | undefined;
  readonly #listeners: readonly (readonly [NodeJS.Signals, () => void])[] = SIGNALS.map((signal) => {
    const pass = (): void => {
      // A terminal's own signals reach every process in front of it: passed on, the program would get them twice.
      if (signal !== "SIGTERM" && process.stdin.isTTY === true) return;
      this.program?.kill(signal);
    };
    process.on(signal, pass);
    return [signal, pass] as const;
  });

  end(): void {
    for (const [signal, pass] of this.#listeners) process.removeListener(signal, pass);
  }
}

function run(args: readonly string[], signals: PassedSignals): Promise<Ending> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: "inherit" });
    signals.program = child;
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
}
