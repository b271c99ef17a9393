/**
 * Which files the stages of a pipeline read and write, and that none of those that are written is read, or written
 * twice. It is asked before anything is opened: afterwards the input would be gone.
 */
import { fstatSync, type Stats } from "node:fs";
import { lstat, readlink, realpath, stat } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import type { Element } from "../../pipeline/base/element.ts";
import { MillpondError } from "../../util/errors.ts";
import { badValue, word } from "../../util/validate.ts";

/** Checks a path before the file system sees it. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`. */
export function pathOf(name: string, value: unknown): string {
  const path = word(name, value);
  if (path === "" || path.includes("\0")) throw badValue(name, "a path, not empty and without a null character", path);
  return path;
}

/** What a stage that knows files says of them; "-" is standard input or output. */
interface FileUser {
  /** Paths that it reads. */
  readonly readsFiles?: readonly string[];
  /** Paths that it writes. */
  readonly writesFiles?: readonly string[];
}

/** A path, and how a message names who uses it. */
interface FileUse {
  /** As the user wrote it. */
  readonly path: string;
  /** `"encode"`, `--graph`. */
  readonly by: string;
}

/**
 * Rejects with `ERR_INVALID_ARG_VALUE` when a file that is written is also read, or written by another. Two names are
 * one file when device and inode are the same. Devices and pipes may be used as often as one likes.
 */
export async function assertPathsApart(reads: readonly FileUse[], writes: readonly FileUse[]): Promise<void> {
  const taken = new Map<string, { readonly use: FileUse; readonly isRead: boolean }>();
  for (const use of reads) {
    const id = await identify(use.path, 0);
    if (id !== undefined) taken.set(id, { use, isRead: true });
  }
  for (const use of writes) {
    const id = await identify(use.path, 1);
    if (id === undefined) continue;
    const other = taken.get(id);
    if (other !== undefined) throw clash(use, other.use, other.isRead);
    taken.set(id, { use, isRead: false });
  }
}

/** The same for all stages that are linked with one, in any direction. */
export async function assertFilesApart(element: Element): Promise<void> {
  const { reads, writes } = filesOf(linkedWith(element));
  if (writes.length > 0) await assertPathsApart(reads, writes);
}

/** What those stages read and write. */
export function filesOf(elements: Iterable<Element>): { readonly reads: FileUse[]; readonly writes: FileUse[] } {
  const reads: FileUse[] = [];
  const writes: FileUse[] = [];
  for (const element of elements) {
    const { readsFiles = [], writesFiles = [] } = element as FileUser;
    for (const path of readsFiles) reads.push({ path, by: `"${element.name}"` });
    for (const path of writesFiles) writes.push({ path, by: `"${element.name}"` });
  }
  return { reads, writes };
}

function linkedWith(element: Element): Set<Element> {
  const found = new Set([element]);
  for (const one of found) {
    for (const pad of [...one.inputs, ...one.outputs]) if (pad.peer !== null) found.add(pad.peer.element);
  }
  return found;
}

/** What makes two names one file; undefined for what is not a regular file. */
async function identify(path: string, descriptor: 0 | 1): Promise<string | undefined> {
  if (path === "-") return identityOf(ownStream(descriptor));
  const found = await stat(path).catch(() => undefined);
  if (found !== undefined) return identityOf(found);
  // Not there yet, and a link may lead there. What cannot be followed is not opened either.
  return await followLinks(path).catch(() => resolve(path));
}

/** As many links as the kernel follows. */
export const MAX_LINKS = 40;

/**
 * The path without links, also when what it leads to is not there yet, or the folders above it: where an output is
 * written. Rejects with what the file system says.
 */
export async function followLinks(path: string, budget: { links: number } = { links: MAX_LINKS }): Promise<string> {
  let at = await inItsFolder(path, budget);
  for (;;) {
    const found = await lstat(at).catch(absent);
    // Links to pipes and sockets (/dev/fd/3) show no path that could be followed by hand.
    if (found === undefined || !found.isSymbolicLink()) return at;
    const whole = await realpath(at).catch(absent);
    if (whole !== undefined) return whole;
    if ((await stat(at).catch(absent)) !== undefined) return at;
    if (budget.links-- === 0) throw Object.assign(new Error("ELOOP: too many symbolic links"), { code: "ELOOP", path });
    const target = await readlink(at);
    at = await inItsFolder(isAbsolute(target) ? target : `${dirname(at)}/${target}`, budget);
  }
}

/** The path by way of its folder as the system finds it: `a/..` is where the link `a` leads, and up from there. */
async function inItsFolder(path: string, budget: { links: number }): Promise<string> {
  const folder = dirname(path);
  const found = await realpath(folder).catch(absent);
  if (found !== undefined) return join(found, basename(path));
  // Not there yet: also a link in its place, or above it, leads to where it will be.
  return folder === path ? path : join(await followLinks(folder, budget), basename(path));
}

/** For what may be absent; another error is thrown. */
export function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT") return undefined;
  throw error;
}

function identityOf(found: Stats | undefined): string | undefined {
  return found?.isFile() === true ? `${found.dev}:${found.ino}` : undefined;
}

function ownStream(descriptor: number): Stats | undefined {
  try {
    return fstatSync(descriptor);
  } catch {
    return undefined;
  }
}

function clash(use: FileUse, other: FileUse, isRead: boolean): MillpondError {
  const path = use.path === "-" ? "standard output" : use.path;
  const otherPath = other.path !== "-" ? other.path : isRead ? "standard input" : "standard output";
  const same = path === otherPath ? "" : `, the same file as ${otherPath}`;
  if (!isRead && use.by === other.by && same !== "") {
    return new MillpondError(
      "ERR_INVALID_ARG_VALUE",
      `${use.by} would write ${path} and ${otherPath}, which are one file: one result would be lost. Remove the link`,
      { path: use.path },
    );
  }
  return new MillpondError(
    "ERR_INVALID_ARG_VALUE",
    isRead
      ? `${use.by} would write ${path}${same}, which ${other.by} reads: the input would be lost. Give the result another name`
      : `${other.by} and ${use.by} would both write ${path}${same}: one result would be lost. Give one of them another name`,
    { path: use.path },
  );
}
