/**
 * `millpond doctor app.js`: runs a program as Node would, with its standard streams, arguments, signals and exit code,
 * and the preload in it that counts; then reads what it wrote, and says what a pool would do.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, lstatSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { constants, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { isRunning } from "../../adapters/inspect/sockets.ts";
import { assertPathsApart } from "../../adapters/node/file-paths.ts";
import { OutputFile } from "../../adapters/node/output-file.ts";
import type { ThreadProfile } from "../../adapters/node/profile/profile.ts";
import type { ProgramOptions } from "../args.ts";
import { MILLPOND_VERSION } from "../args.ts";
import { explain, Failure, print } from "../exit.ts";
import { complain } from "../terminal.ts";
import { type Advice, advise } from "./advise.ts";
import { notForReports, ownDescriptor } from "./own-descriptor.ts";
import { merge, type Profile, pidsIn, readProfiles } from "./profile.ts";
import { reportText } from "./report.ts";
import { PassedSignals } from "./signals.ts";

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

/**
 * Runs the program and reports on it; answers the program's exit code, whatever comes of the report. Throws
 * {@link Failure} before the program runs.
 */
export async function examine(options: ProgramOptions): Promise<number> {
  const { program, args, threshold, json, nodeOptions } = options;
  const file = fileOf(program);
  if (process.versions.bun !== undefined || process.versions.deno !== undefined) {
    throw new Failure("millpond doctor app.js needs Node: it counts with what V8 and Node tell");
  }
  const output = typeof json === "string" ? await Output.open(json, file) : undefined;
  const { ending, threads } = await watch(program, args, threshold, nodeOptions);
  const code = ending.code ?? 128 + (ending.signal === null ? 0 : constants.signals[ending.signal]);
  try {
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
      if (output === undefined) await print(text, process.stderr);
      else await output.write(text);
    }
  } catch (error) {
    // The program has ended in its own way, which is what scripts ask about.
    complain(`the doctor has no report: ${explain(error)}`);
  }
  return code;
}

/** Endings that Node finds a program without, some of its versions. */
const ENDINGS = ["", ".js", ".json", ".node", ".cjs", ".mjs", ".ts"];

/** The file that Node will run; undefined: standard input. */
function fileOf(program: string): string | undefined {
  if (program === "-") return undefined;
  const path = resolve(program);
  const files = ENDINGS.map((ending) => path + ending).filter((one) => existsSync(one));
  const [first] = files;
  if (first === undefined) throw new Failure(`there is no file ${program}`);
  if (!statSync(first).isDirectory()) return first;
  // A file of that name with an ending comes before the folder, and then what the folder says.
  try {
    return createRequire(join(path, "x")).resolve(path);
  } catch {
    throw new Failure(`${program} is a folder without a program: neither an index.js nor a "main" in its package.json`);
  }
}

/** Where the report goes, as far as it can be known before the program runs. */
class Output {
  readonly #path: string;
  /** A pipe or device is opened once; a file only tried. */
  readonly #opened: OutputFile | undefined;

  /** One of this process's own descriptors instead. */
  readonly #descriptor: number | undefined;

  private constructor(path: string, opened: OutputFile | undefined, descriptor?: number) {
    this.#path = path;
    this.#opened = opened;
    this.#descriptor = descriptor;
  }

  /** Throws {@link Failure} when it cannot be written, or is the program. */
  static async open(name: string, program: string | undefined): Promise<Output> {
    // Standard output is the program's.
    const path = name === "-" ? "./-" : name;
    const descriptor = ownDescriptor(path);
    const why = descriptor === undefined ? undefined : notForReports(descriptor);
    if (why !== undefined) throw new Failure(`the report of --json cannot go to ${name}: ${why}`);
    const streams = descriptor === undefined ? [{ path: "-", by: "the program" }] : [];
    const reads = program === undefined ? [] : [{ path: program, by: "Node" }];
    await assertPathsApart([...reads, ...streams], [...streams, { path, by: "--json" }]);
    if (descriptor !== undefined) return new Output(path, undefined, descriptor);
    // A pipe gets its reader when the report is there.
    if (statSync(path, { throwIfNoEntry: false })?.isFIFO() === true) return new Output(path, undefined);
    try {
      const file = await OutputFile.open(path);
      if (!file.isSeekable) return new Output(path, file);
      await file.discard();
      return new Output(path, undefined);
    } catch (error) {
      throw new Failure(`the report of --json could not be written: ${explain(error)}`, 1, { cause: error });
    }
  }

  /** The report goes to standard error instead when this fails: the program will not run again for it. */
  async write(text: string): Promise<void> {
    let file: OutputFile | undefined;
    try {
      const descriptor = this.#descriptor;
      if (descriptor === 1 || descriptor === 2) {
        await print(text, descriptor === 1 ? process.stdout : process.stderr);
        return;
      }
      if (descriptor !== undefined) {
        // At its place, behind what is there.
        writeFileSync(descriptor, text);
        return;
      }
      file = this.#opened ?? (await OutputFile.open(this.#path));
      await file.write(Buffer.from(text));
      await file.commit();
    } catch (error) {
      await file?.discard().catch(() => {});
      complain(`the report could not be written, and is here: ${explain(error)}`);
      await print(text, process.stderr);
    }
  }
}

/** Names of folders: with the number of the doctor that made it. */
const FOLDER = /^millpond-doctor-(\d{1,10})-\w+$/;
/** A folder that nothing was written to for so long, by nobody who lives, was left behind. */
const LEFT_MS = 3_600_000;

/** The folder that the program's threads write into. */
class Folder {
  readonly path: string;

  /** Throws {@link Failure}. */
  constructor() {
    // The program may change its working directory.
    const base = resolve(tmpdir());
    try {
      this.path = mkdtempSync(join(base, `millpond-doctor-${process.pid}-`));
    } catch (cause) {
      throw Folder.#failure(base, cause);
    }
  }

  /** Writes a file. Throws {@link Failure}, without a folder. */
  write(name: string, text: string): string {
    const file = join(this.path, name);
    try {
      writeFileSync(file, text, { mode: 0o600 });
    } catch (cause) {
      this.remove();
      throw Folder.#failure(this.path, cause);
    }
    return file;
  }

  /** What the threads wrote; then it goes, unless a process that lives needs it for each worker that it starts. */
  take(): ThreadProfile[] {
    try {
      const threads = readProfiles(this.path);
      if (!pidsIn(this.path).some(isRunning)) this.remove();
      return threads;
    } catch {
      // The program removed it, or may have.
      return [];
    }
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }

  static #failure(path: string, cause: unknown): Failure {
    const why = explain(cause).replace(/^.*?: /, "");
    return new Failure(`the doctor keeps its notes in ${path}, which it cannot write: ${why}`, 1, { cause });
  }
}

/** Removes what doctors left behind that were killed, or whose programs had children that lived on. */
function sweep(): void {
  try {
    const base = resolve(tmpdir());
    for (const name of readdirSync(base)) {
      const doctor = FOLDER.exec(name)?.[1];
      if (doctor === undefined) continue;
      const path = join(base, name);
      const { uid, mtimeMs } = lstatSync(path);
      const isOwn = uid === process.geteuid?.() && Date.now() - mtimeMs > LEFT_MS;
      if (isOwn && !isRunning(Number(doctor)) && !pidsIn(path).some(isRunning)) rmSync(path, { recursive: true });
    }
  } catch {
    // The next doctor tries again.
  }
}

/** Runs the program with the preload in it; answers how it ended, and what its threads wrote. */
async function watch(
  program: string,
  args: readonly string[],
  threshold: number,
  nodeOptions: string | undefined,
): Promise<{ readonly ending: Ending; readonly threads: readonly ThreadProfile[] }> {
  // From here to the end of the folder: nothing but the program ends by a signal, so that nothing is left behind.
  const signals = new PassedSignals();
  let folder: Folder | undefined;
  try {
    folder = new Folder();
    const options = {
      folder: folder.path,
      threshold,
      root: `${dirname(PRELOAD)
        .replaceAll("\\", "/")
        .replace(/\/adapters\/node\/profile$/, "")}/`,
    };
    // Options in a file of their own: the program's environment stays what it is, and workers and forks inherit the
    // file. What fails in it is no reason for the program to fail, and it is no module that the program knows.
    const preload = folder.write(
      "preload.cjs",
      `try {
  const { start } = require(${JSON.stringify(PRELOAD)});
  for (const name of [__filename, require.resolve(${JSON.stringify(PRELOAD)})]) delete require.cache[name];
  start(${JSON.stringify(options)});
} catch {}
`,
    );
    const file = program.startsWith("-") && program !== "-" ? `./${program}` : program;
    const ending = await run(["--require", preload, file, ...args], nodeOptions, signals);
    const threads = folder.take();
    sweep();
    return { ending, threads };
  } catch (error) {
    folder?.remove();
    throw error;
  } finally {
    signals.end();
  }
}

function run(args: readonly string[], nodeOptions: string | undefined, signals: PassedSignals): Promise<Ending> {
  return new Promise((resolve, reject) => {
    const env = nodeOptions === undefined ? process.env : { ...process.env, NODE_OPTIONS: nodeOptions };
    const refuse = (cause: unknown): void => {
      reject(new Failure(`the program could not be started: ${explain(cause)}`, 1, { cause }));
    };
    let child: ChildProcess;
    try {
      child = spawn(process.execPath, args, { stdio: "inherit", env });
    } catch (error) {
      refuse(error);
      return;
    }
    signals.program = child;
    child.once("error", refuse);
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
}
