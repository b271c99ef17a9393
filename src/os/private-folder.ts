/** Folders that only this user may enter, for names and sockets that processes find each other by. */
import { chmodSync, lstatSync, mkdirSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { process } from "./process.ts";
import { made, notDone, type Outcome } from "./result.ts";

/**
 * Where this user's folder is, whatever folder the program works in: in the runtime folder, or in the temporary one. A
 * runtime folder that is not absolute is ignored, as its specification says. Nothing is made.
 */
export function userFolder(runtime: string = process.env.XDG_RUNTIME_DIR ?? ""): string {
  const user = process.geteuid?.() ?? 0;
  return isAbsolute(runtime) ? join(runtime, "millpond") : resolve(tmpdir(), `millpond-${user}`);
}

/**
 * Makes a folder with mode 0700, or checks that the one of that name is this user's own, and closes it to others. A
 * link, a file and somebody else's folder are refused ("FOREIGN_FOLDER").
 */
export function privateFolder(where: string | (() => string)): Outcome<string> {
  let folder = "the folder of names";
  try {
    // Inside, because each of these may want a permission that this process has not got.
    folder = typeof where === "string" ? where : where();
    const user = process.geteuid?.() ?? 0;
    makeLevels(folder);
    const facts = lstatSync(folder);
    if (!facts.isDirectory() || facts.uid !== user) return foreignFolder(folder);
    if ((facts.mode & 0o077) !== 0) chmodSync(folder, 0o700);
    return made(folder);
  } catch (error) {
    // A file in its place, or a link to nothing.
    if ((error as { code?: unknown }).code === "EEXIST") return foreignFolder(folder);
    return fileFailure(error, `${folder} cannot be used`);
  }
}

/**
 * Makes a folder, and those above it that are missing: each is tried twice at most. Node's recursive `mkdir` never ends
 * where a system says that the parent is missing although it is there, as /proc does.
 */
function makeLevels(folder: string): void {
  if (tryMake(folder)) return;
  const above = dirname(folder);
  if (above !== folder) makeLevels(above);
  if (!tryMake(folder)) throw Object.assign(new Error(`${folder} cannot be made`), { code: "ENOENT" });
}

/** Whether it is there now; false: the folder above it is missing, or said to be. Throws what else is wrong. */
function tryMake(folder: string): boolean {
  try {
    mkdirSync(folder, { mode: 0o700 });
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return false;
    // A link to nothing has no facts; a file in its place is refused by the one who asks.
    if (code === "EEXIST" && statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true) return true;
    throw error;
  }
}

function foreignFolder(folder: string): ReturnType<typeof notDone> {
  return notDone(
    "refused",
    "FOREIGN_FOLDER",
    `${folder} is not a folder of this user; remove it, or set XDG_RUNTIME_DIR`,
  );
}

/** What a file's error means as the answer of a step. */
export function fileFailure(error: unknown, hint: string): ReturnType<typeof notDone> {
  const code = String((error as { code?: unknown }).code ?? (error as Error).name);
  return notDone(
    /^(?:EACCES|EPERM|ERR_ACCESS_DENIED|NotCapable|PermissionDenied)$/.test(code)
      ? "forbidden"
      : /^(?:EMFILE|ENFILE|ENOMEM|ENOSPC)$/.test(code)
        ? "limit"
        : "failed",
    code,
    hint,
  );
}
