/** Folders that only this user may enter, for names and sockets that processes find each other by. */
import { chmodSync, lstatSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { made, notDone, type Outcome } from "./result.ts";

/** Where this user's folder is: in the runtime folder, or in the temporary one. Nothing is made. */
export function userFolder(runtime: string = process.env.XDG_RUNTIME_DIR ?? ""): string {
  const user = process.geteuid?.() ?? 0;
  return runtime !== "" ? join(runtime, "millpond") : join(tmpdir(), `millpond-${user}`);
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
    mkdirSync(folder, { recursive: true, mode: 0o700 });
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
    /^(?:EACCES|EPERM|ERR_ACCESS_DENIED|NotCapable|PermissionDenied)$/.test(code) ? "forbidden" : "failed",
    code,
    hint,
  );
}
