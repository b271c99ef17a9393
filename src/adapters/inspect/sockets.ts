/**
 * Where processes that serve their inspector are found: sockets of mode 0600 named after the process's number, in a
 * folder of mode 0700 that belongs to this user. Folders of others, links and files in their place are refused.
 *
 * A process that was killed leaves its socket behind. Nobody listens there, and the process's number is unknown: both
 * together say that it may be removed, because another container may share the folder and not the numbers.
 */
import { Buffer } from "node:buffer";
import { chmodSync, lstatSync, readdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { privateFolder, userFolder } from "../../os/private-folder.ts";
import { process } from "../../os/process.ts";
import { closeOnStandard } from "../../os/standard-descriptors.ts";
import { MillpondError } from "../../util/errors.ts";

/** A process that serves, or did. */
export interface FoundSocket {
  /** The socket. */
  readonly path: string;
  /** The process's number, by the socket's name. */
  readonly pid: number;
}

const NAME = /^(\d{1,10})(?:\.[a-z0-9]{1,12})?\.sock$/;

/** Bytes of a socket's path, its closing zero included: sun_path of Linux has 108, that of the others 104. */
const MAX_PATH = process.platform === "linux" ? 107 : 103;

/** What a folder of sockets is called inside the user's folder. */
const FOLDER = "inspect";

/** The folder for the sockets of this user's processes; it is made if need be. Throws `ERR_UNSUPPORTED`. */
export function socketFolder(): string {
  // Where the runtime folder cannot be used, the temporary one serves: who looks for sockets looks in both.
  let refusal = "";
  for (const base of [userFolder, () => userFolder("")]) {
    const outer = privateFolder(base);
    const inner = outer.ok ? privateFolder(join(outer.value, FOLDER)) : outer;
    if (inner.ok && Buffer.byteLength(join(inner.value, "0123456789.abcd.sock")) <= MAX_PATH) return inner.value;
    refusal ||= inner.ok ? `${inner.value} is too long for the path of a socket` : inner.hint;
  }
  throw new MillpondError(
    "ERR_UNSUPPORTED",
    `there is no folder for the inspector's socket: ${refusal}; or give serveInspector() a path or a port`,
  );
}

/** Throws `ERR_OUT_OF_RANGE` for a path that the system would cut. */
export function checkSocketPath(name: string, path: string): string {
  if (Buffer.byteLength(path) <= MAX_PATH) return path;
  throw new MillpondError(
    "ERR_OUT_OF_RANGE",
    `${name} must be at most ${MAX_PATH} bytes long, which is the system's limit for sockets, but it has ${Buffer.byteLength(path)}`,
    { name },
  );
}

/** The sockets in this user's folders, by process number. Nothing is made, nothing is asked. */
export function findSockets(): FoundSocket[] {
  const user = process.geteuid?.() ?? 0;
  const bases = new Set([userFolder(), userFolder(`/run/user/${user}`), userFolder("")]);
  const found: FoundSocket[] = [];
  for (const base of bases) {
    const folder = join(base, FOLDER);
    if (!isPrivate(base, user) || !isPrivate(folder, user)) continue;
    for (const name of namesIn(folder)) {
      const pid = Number(NAME.exec(name)?.[1] ?? 0);
      const path = join(folder, name);
      if (pid > 0 && isSocket(path, user)) found.push({ path, pid });
    }
  }
  return found.sort((a, b) => a.pid - b.pid || (a.path < b.path ? -1 : 1));
}

/** Whether a folder belongs to this user, who alone may enter it. */
function isPrivate(folder: string, user: number): boolean {
  try {
    const facts = lstatSync(folder);
    return facts.isDirectory() && facts.uid === user && (facts.mode & 0o077) === 0;
  } catch {
    return false;
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function isSocket(path: string, user: number): boolean {
  try {
    const facts = lstatSync(path);
    return facts.isSocket() && facts.uid === user;
  } catch {
    return false;
  }
}

/** Whether somebody listens: "refused" when nobody does, "absent" when there is no such socket. */
export function probeSocket(path: string): Promise<"listens" | "refused" | "absent"> {
  return new Promise((resolve) => {
    const socket = connect(path);
    // The program may have closed one of these numbers: nothing of ours is to be there, not even for a moment longer.
    if (closeOnStandard(socket)) {
      socket.destroy();
      resolve("listens");
      return;
    }
    socket.unref();
    socket.on("connect", () => {
      socket.destroy();
      resolve("listens");
    });
    socket.on("error", ({ code }: NodeJS.ErrnoException) => {
      // Busy, or not permitted: somebody may be there.
      resolve(code === "ECONNREFUSED" ? "refused" : code === "ENOENT" ? "absent" : "listens");
    });
  });
}

/** Removes a socket that its process left behind; whether it was removed. */
export async function removeStale({ path, pid }: FoundSocket): Promise<boolean> {
  if (isRunning(pid) || (await probeSocket(path)) !== "refused") return false;
  rmSync(path, { force: true });
  return true;
}

/** Whether a process of that number is known here. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/** A socket that was bound is for its user alone. */
export function closeToOthers(path: string): void {
  chmodSync(path, 0o600);
}
