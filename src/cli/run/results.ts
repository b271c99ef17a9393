/**
 * The results of `--out`: contact-sheet.png and frames.json, which are either both whole or both absent.
 *
 * Life: `open` makes the folder and begins frames.json, `flush` writes the lines of the frames as they come,
 * `drawSheet` encodes the sheet; then `commit` gives both files their names. `discard` at any time before it removes
 * the files, and the folders that were made for them.
 */
import { rmdirSync } from "node:fs";
import { mkdir, rmdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { assertPathsApart, followLinks } from "../../adapters/node/file-paths.ts";
import { encodePng, loadPng } from "../../adapters/node/media-sinks.ts";
import { OutputFile, removeUnfinished } from "../../adapters/node/output-file.ts";
import { ContactSheet } from "../../video/contact-sheet.ts";
import type { RunOptions } from "../args.ts";
import { explain, Failure } from "../exit.ts";
import type { RunSummary } from "./report.ts";
import type { OpenSource } from "./source.ts";

/** Names of the results in the folder of `--out`. */
const OUTPUT_NAMES = { sheet: "contact-sheet.png", frames: "frames.json" } as const;

/** The two result files, and what is collected for them. */
export class Results {
  #sheet: ContactSheet | undefined;
  readonly #options: RunOptions;
  readonly #diskAfter: number | undefined;
  readonly #lines: string[] = [];
  readonly #files: WholeFile[] = [];
  #separator = "";

  /** @param diskAfter for tests: bytes of a file after which the disk is full */
  constructor(options: RunOptions, diskAfter: number | undefined) {
    this.#options = options;
    this.#diskAfter = diskAfter;
  }

  /** Chooses pictures; undefined when nothing is to be written, and before {@link open}. */
  get sheet(): ContactSheet | undefined {
    return this.#sheet;
  }

  /** The journal's lines come here; undefined when nothing is to be written. */
  get line(): ((json: string) => void) | undefined {
    if (this.#options.out === undefined) return undefined;
    return (json) => {
      this.#lines.push(this.#separator, json);
      this.#separator = ",\n";
    };
  }

  /** Makes the folder, and begins frames.json. Throws {@link Failure}. */
  async open(source: OpenSource): Promise<void> {
    const { out, trace, json, quiet } = this.#options;
    const names = out === undefined ? [] : Object.values(OUTPUT_NAMES).map((name) => inFolder(out, name));
    const writes = names.map((path) => ({ path, by: "--out" }));
    if (trace !== undefined) writes.push({ path: trace, by: "--trace" });
    if (json || !quiet) writes.push({ path: "-", by: "the report" });
    await assertPathsApart([{ path: this.#options.input, by: "this run" }], writes);
    if (out === undefined) return;
    this.#sheet = new ContactSheet(this.#options.tiles, source.facts.expectedFrames ?? undefined);
    // At the end of a long film it would be late to hear that a package is missing.
    await loadPng();
    await prepareFolder(out);
    const file = await WholeFile.create(out, OUTPUT_NAMES.frames, this.#diskAfter);
    this.#files.push(file);
    await file.write(`{\n"schema": "millpond.frames/1",\n"source": ${JSON.stringify(source.facts)},\n"frames": [\n`);
  }

  /** Writes the lines that came since. Throws {@link Failure}. */
  async flush(): Promise<void> {
    if (this.#lines.length === 0) return;
    const text = this.#lines.join("");
    this.#lines.length = 0;
    await this.#files[0]?.write(text);
  }

  /** Paths of what will be there after {@link commit}. */
  get paths(): RunSummary["outputs"] {
    const [frames] = this.#files;
    const sheet = this.#files[1];
    return { contactSheet: sheet?.path ?? null, frames: frames?.path ?? null, trace: this.#options.trace ?? null };
  }

  /** Draws the sheet next to the measures, without publishing either. */
  async drawSheet(): Promise<void> {
    const { out } = this.#options;
    const picture = this.sheet?.draw();
    if (out === undefined || picture === undefined) return;
    const png = await encodePng(picture);
    const file = await WholeFile.create(out, OUTPUT_NAMES.sheet, this.#diskAfter);
    this.#files.push(file);
    await file.write(png);
  }

  /** Both files get their names. Throws {@link Failure}; neither is there then. */
  async commit(summary: RunSummary): Promise<void> {
    await this.flush();
    await this.#files[0]?.write(`\n],\n"summary": ${JSON.stringify(summary, undefined, 1)}\n}\n`);
    for (const file of this.#files) await file.seal();
    for (const file of this.#files) await file.commit();
    keepFolders();
  }

  /** Removes what is not complete; after {@link commit} it does nothing. */
  async discard(): Promise<void> {
    for (const file of this.#files) await file.discard();
    await removeEmptyFolders();
  }
}

/** `join()` would take `link/..` away, where the system goes up from where the link leads. */
function inFolder(folder: string, name: string): string {
  return `${folder.replace(/\/+$/, "")}/${name}`;
}

/** Folders that were made for results which are not there yet, the outermost first. */
const emptyFolders: Set<string> = new Set();

/** Makes the folder for results. Throws {@link Failure} when it cannot be one. */
async function prepareFolder(path: string): Promise<void> {
  try {
    await makeFolders(await followLinks(path));
    if (!(await stat(path)).isDirectory()) throw new Failure(`${path} is not a folder`);
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`the results cannot be written to ${path}: ${explain(error)}`, 1, { cause: error });
  }
}

/**
 * Makes a folder and those above it that are missing; each is listed before it is there, so that an exit at any moment
 * removes it. One by one: where a file system answers ENOENT for a folder whose parent is there (/proc does), `mkdir`
 * with `recursive` tries again without end.
 */
async function makeFolders(path: string): Promise<void> {
  const present = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
  if (present?.isDirectory() === true) return;
  if (present !== undefined) throw Object.assign(new Error("EEXIST"), { code: "EEXIST", syscall: "mkdir", path });
  if (dirname(path) !== path) await makeFolders(dirname(path));
  if (emptyFolders.size === 0) process.on("exit", removeEmptyFoldersNow);
  emptyFolders.add(path);
  try {
    await mkdir(path);
  } catch (error) {
    emptyFolders.delete(path);
    if (emptyFolders.size === 0) keepFolders();
    const { code } = error as NodeJS.ErrnoException;
    // Another run made it meanwhile.
    if (code === "EEXIST" && (await stat(path)).isDirectory()) return;
    // The folder above is there: this one cannot be made in it.
    if (code === "ENOENT") throw Object.assign(error as Error, { code: "EPERM" });
    throw error;
  }
}

/** The results are there: the folders that were made for them stay. */
function keepFolders(): void {
  emptyFolders.clear();
  process.off("exit", removeEmptyFoldersNow);
}

/** Removes the folders that were made for results which did not come about; one that has something in it stays. */
async function removeEmptyFolders(): Promise<void> {
  for (const path of [...emptyFolders].reverse()) await rmdir(path).catch(() => {});
  keepFolders();
}

/** The same for an exit that cannot wait: first the files that are not complete, in whatever order listeners run. */
function removeEmptyFoldersNow(): void {
  removeUnfinished();
  for (const path of [...emptyFolders].reverse()) {
    try {
      rmdirSync(path);
    } catch {
      // Something is in it, or it has gone: both are fine.
    }
  }
}

/** A file that appears under its name only when it is complete. */
class WholeFile {
  /** Where it will be. */
  readonly path: string;
  readonly #file: OutputFile;
  readonly #failAfter: number;
  #written = 0;

  private constructor(path: string, file: OutputFile, failAfter: number) {
    this.path = path;
    this.#file = file;
    this.#failAfter = failAfter;
  }

  /**
   * Starts a file in `folder`. Throws {@link Failure}.
   *
   * @param failAfter for tests: bytes after which the disk is full
   */
  static async create(folder: string, name: string, failAfter: number = Number.POSITIVE_INFINITY): Promise<WholeFile> {
    const path = inFolder(folder, name);
    try {
      return new WholeFile(path, await OutputFile.open(path), failAfter);
    } catch (error) {
      throw cannotWrite(path, error);
    }
  }

  /** Appends. Throws {@link Failure}; the file is gone then. */
  async write(data: string | Uint8Array): Promise<void> {
    try {
      const bytes = typeof data === "string" ? Buffer.from(data) : data;
      this.#written += bytes.length;
      if (this.#written > this.#failAfter) throw Object.assign(new Error("no space left"), { code: "ENOSPC" });
      await this.#file.write(bytes);
    } catch (error) {
      await this.discard();
      throw cannotWrite(this.path, error);
    }
  }

  /** Does all of {@link commit} that can fail. Throws {@link Failure}; the file is gone then. */
  async seal(): Promise<void> {
    try {
      await this.#file.seal();
    } catch (error) {
      await this.discard();
      throw cannotWrite(this.path, error);
    }
  }

  /** Completes it: from now on it is there under its name. Throws {@link Failure}; the file is gone then. */
  async commit(): Promise<void> {
    try {
      await this.#file.commit();
    } catch (error) {
      await this.discard();
      throw cannotWrite(this.path, error);
    }
  }

  /** Removes what there is of it; after {@link commit} it does nothing. */
  discard(): Promise<void> {
    return this.#file.discard();
  }
}

function cannotWrite(path: string, error: unknown): Failure {
  const { code } = error as NodeJS.ErrnoException;
  const reason = code === "ENOSPC" ? "the disk is full (ENOSPC)" : explain(error);
  return new Failure(`${path} could not be written: ${reason}. Nothing half-written was left behind`, 1, {
    cause: error,
  });
}
