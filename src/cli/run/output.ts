/**
 * Result files that are either whole or absent: written under another name in the same folder, renamed when they are
 * complete, removed when the run ends in any other way.
 */
import { rmdirSync } from "node:fs";
import { mkdir, rmdir, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { OutputFile } from "../../adapters/node/output-file.ts";
import { explain, Failure } from "../exit.ts";

/** Folders that were made for results which are not there yet, the innermost first. */
const emptyFolders: Set<string> = new Set();

/** Makes the folder for results. Throws {@link Failure} when it cannot be one. */
export async function prepareFolder(path: string): Promise<void> {
  try {
    const first = await makeFolders(resolve(path));
    if (first !== undefined) {
      if (emptyFolders.size === 0) process.once("exit", removeEmptyFoldersNow);
      for (let at = resolve(path); ; at = dirname(at)) {
        emptyFolders.add(at);
        if (at === resolve(first) || at === dirname(at)) break;
      }
    }
    if (!(await stat(path)).isDirectory()) throw new Failure(`${path} is not a folder`);
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`the results cannot be written to ${path}: ${explain(error)}`, 1, { cause: error });
  }
}

/**
 * Makes a folder and those above it that are missing; the outermost one that it made, or undefined. One by one: where a file
 * system answers ENOENT for a folder whose parent is there (/proc does), `mkdir` with `recursive` tries again without end.
 */
async function makeFolders(path: string): Promise<string | undefined> {
  const present = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
  if (present?.isDirectory() === true) return undefined;
  if (present !== undefined) throw Object.assign(new Error("EEXIST"), { code: "EEXIST", syscall: "mkdir", path });
  const above = dirname(path) === path ? undefined : await makeFolders(dirname(path));
  try {
    await mkdir(path);
    return above ?? path;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Another run made it meanwhile.
    if (code === "EEXIST" && (await stat(path)).isDirectory()) return above;
    // The folder above is there: this one cannot be made in it.
    if (code === "ENOENT") throw Object.assign(error as Error, { code: "EPERM" });
    throw error;
  }
}

/** The results are there: the folders that were made for them stay. */
export function keepFolders(): void {
  emptyFolders.clear();
}

/** Removes the folders that were made for results which did not come about; one that has something in it stays. */
export async function removeEmptyFolders(): Promise<void> {
  for (const path of emptyFolders) await rmdir(path).catch(() => {});
  emptyFolders.clear();
}

/** The same for an exit that cannot wait; the temporary files in them have gone by then. */
function removeEmptyFoldersNow(): void {
  for (const path of emptyFolders) {
    try {
      rmdirSync(path);
    } catch {
      // Something is in it, or it has gone: both are fine.
    }
  }
}

/** A file that appears under its name only when it is complete. */
export class WholeFile {
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
    const path = join(folder, name);
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
