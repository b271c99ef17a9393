/**
 * Result files that are either whole or absent: written under another name in the same folder, renamed when they are
 * complete, removed when the run ends in any other way.
 */
import { unlinkSync } from "node:fs";
import { type FileHandle, mkdir, open, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { explain, Failure } from "../exit.ts";

const unfinished: Set<string> = new Set();

/** Removes every file that is not complete, at once: for an exit that cannot wait. */
export function removeUnfinished(): void {
  for (const path of unfinished) {
    try {
      unlinkSync(path);
    } catch {
      // Nothing more can be done about it on the way out.
    }
  }
  unfinished.clear();
}

/** Makes the folder for results. Throws {@link Failure} when it cannot be one. */
export async function prepareFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
    if (!(await stat(path)).isDirectory()) throw new Failure(`${path} is no folder`);
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`the results cannot be written to ${path}: ${explain(error)}`, 1, { cause: error });
  }
}

/** A file that appears under its name only when it is complete. */
export class WholeFile {
  /** Where it will be. */
  readonly path: string;
  readonly #temporary: string;
  readonly #handle: FileHandle;
  readonly #failAfter: number;
  #written = 0;
  #open = true;

  private constructor(path: string, temporary: string, handle: FileHandle, failAfter: number) {
    this.path = path;
    this.#temporary = temporary;
    this.#handle = handle;
    this.#failAfter = failAfter;
  }

  /**
   * Starts a file in `folder`. Throws {@link Failure}.
   *
   * @param failAfter for tests: bytes after which the disk is full
   */
  static async create(folder: string, name: string, failAfter: number = Number.POSITIVE_INFINITY): Promise<WholeFile> {
    const path = join(folder, name);
    // The process id keeps two runs into one folder apart; the last to finish wins with a whole file.
    const temporary = join(folder, `.${name}.${process.pid}.part`);
    try {
      const handle = await open(temporary, "w");
      unfinished.add(temporary);
      return new WholeFile(path, temporary, handle, failAfter);
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
      await this.#handle.writeFile(bytes);
    } catch (error) {
      await this.discard();
      throw cannotWrite(this.path, error);
    }
  }

  /** Completes it: from now on it is there under its name. Throws {@link Failure}; the file is gone then. */
  async commit(): Promise<void> {
    try {
      // A full disk may show only here, where the system has kept the bytes back until now.
      await this.#handle.sync();
      await this.#handle.close();
      this.#open = false;
      await rename(this.#temporary, this.path);
      unfinished.delete(this.#temporary);
    } catch (error) {
      await this.discard();
      throw cannotWrite(this.path, error);
    }
  }

  /** Removes what there is of it; after {@link commit} it does nothing. */
  async discard(): Promise<void> {
    if (this.#open) {
      this.#open = false;
      await this.#handle.close().catch(() => {});
    }
    if (!unfinished.delete(this.#temporary)) return;
    await unlink(this.#temporary).catch(() => {});
  }
}

function cannotWrite(path: string, error: unknown): Failure {
  const { code } = error as NodeJS.ErrnoException;
  const reason = code === "ENOSPC" ? "the disk is full (ENOSPC)" : explain(error);
  return new Failure(`${path} could not be written: ${reason}. Nothing half-written was left behind`, 1, {
    cause: error,
  });
}
